//! A reader of pickles that hold plain data, as NumPy and MMF write them; nothing is ever called.
//!
//! A pickle is a program for a stack machine that may call any function of any module. This reader runs the
//! opcodes that build data, and knows the few names that arrays need:
//!
//! | global | becomes |
//! | --- | --- |
//! | `numpy.core.multiarray._reconstruct`, also below `numpy._core` | an array, filled by its state |
//! | `numpy.core.multiarray.scalar` | an array without axes |
//! | `numpy.dtype`, `numpy.ndarray` | an element type; the word for an array |
//! | `_codecs.encode` to Latin-1, `builtins.bytes` without arguments | bytes, as Python 3 writes them in protocol 2 |
//!
//! Every other name is refused, and with it the file. Protocols MUST be 2, 3 or 4. Values live in one arena and
//! refer to each other by number, so that neither cycles nor depth can harm; the number of opcodes is bounded, and
//! that of decoded bytes by the length of the pickle.

mod machine;

use super::Problem;
use super::array::{Array, Element, Layout};
use super::fields::Field;

use machine::Machine;

/// A value; composite ones by their number in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    None,
    Int(i64),
    /// UTF-8, by its place in the pickle.
    Text(usize, usize),
    /// Bytes or an old string, by its place in the pickle.
    Bytes(usize, usize),
    /// Bytes that had to be decoded, by their number.
    Decoded(usize),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Global(Global),
    Dtype(usize),
    Array(usize),
    /// A truth value, a float, a number of more than 64 bits: data, but of no use here.
    Other,
}

/// The names that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Global {
    Reconstruct,
    Scalar,
    NdArray,
    Dtype,
    Encode,
    Bytes,
}

#[derive(Debug)]
enum Object {
    /// Items of a tuple or list; keys and values of a dictionary in turn.
    Items(Vec<Value>),
    Decoded(Vec<u8>),
    Dtype {
        element: Element,
        is_big_endian: bool,
    },
    Array(Option<State>),
}

/// What an array was filled with.
#[derive(Clone, Debug)]
struct State {
    dtype: usize,
    shape: Vec<usize>,
    is_fortran: bool,
    data: Value,
}

/// What a pickle built.
#[derive(Debug)]
pub(super) struct Unpickled<'a> {
    bytes: &'a [u8],
    objects: Vec<Object>,
    root: Value,
}

impl<'a> Unpickled<'a> {
    /// Runs the pickle at the start of `bytes`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        if !matches!(bytes, [0x80, 2..=4, ..]) {
            return Err(Problem::PickleProtocol);
        }
        let mut machine = Machine::new(bytes);
        let root = machine.run()?;
        let objects = machine.into_objects();
        Ok(Self {
            bytes,
            objects,
            root,
        })
    }

    /// What the dictionary has under `name`; texts, lists and the like count as nothing. `np.save` wraps a
    /// dictionary in an array of one object.
    pub(super) fn field(&self, name: &str) -> Result<Option<Field<'_>>, Problem> {
        let entries = self.entries()?;
        // The last one wins, as in Python.
        let found = entries
            .rchunks_exact(2)
            .find(|pair| self.text(pair[0]) == Some(name.as_bytes()));
        match found.map(|pair| pair[1]) {
            Some(Value::Int(number)) => Ok(Some(Field::Int(number))),
            Some(Value::Array(id)) => Ok(self.array(id)?.map(Field::Array)),
            _ => Ok(None),
        }
    }

    fn entries(&self) -> Result<&[Value], Problem> {
        let mut root = self.root;
        if let Value::Array(id) = root
            && let Some(Object::Array(Some(State {
                data: Value::List(items),
                ..
            }))) = self.objects.get(id)
            && let [only] = self.items(*items)
        {
            root = *only;
        }
        match root {
            Value::Dict(id) => Ok(self.items(id)),
            _ => Err(Problem::Pickle {
                offset: 0,
                reason: "no dictionary",
            }),
        }
    }

    /// An array, unless it was never filled.
    fn array(&self, id: usize) -> Result<Option<Array<'_>>, Problem> {
        let Some(Object::Array(Some(state))) = self.objects.get(id) else {
            return Ok(None);
        };
        let Some(Object::Dtype {
            element,
            is_big_endian,
        }) = self.objects.get(state.dtype)
        else {
            return Ok(None);
        };
        let layout = Layout {
            element: element.clone(),
            is_big_endian: *is_big_endian,
            shape: state.shape.clone(),
            is_fortran: state.is_fortran,
        };
        let array = Array::new(layout, self.text(state.data).unwrap_or_default())?;
        Ok((!array.is_object()).then_some(array))
    }

    /// The bytes of a text or of bytes.
    fn text(&self, value: Value) -> Option<&[u8]> {
        match value {
            Value::Text(from, to) | Value::Bytes(from, to) => self.bytes.get(from..to),
            Value::Decoded(id) => match self.objects.get(id) {
                Some(Object::Decoded(bytes)) => Some(bytes),
                _ => None,
            },
            _ => None,
        }
    }

    fn items(&self, id: usize) -> &[Value] {
        match self.objects.get(id) {
            Some(Object::Items(items)) => items,
            _ => &[],
        }
    }
}

fn global(module: &[u8], name: &[u8]) -> Option<Global> {
    Some(match (module, name) {
        (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => {
            Global::Reconstruct
        }
        (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"scalar") => Global::Scalar,
        (b"numpy", b"ndarray") => Global::NdArray,
        (b"numpy", b"dtype") => Global::Dtype,
        (b"_codecs", b"encode") => Global::Encode,
        (b"builtins" | b"__builtin__", b"bytes") => Global::Bytes,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        Unpickled::read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn nothing_is_called_and_foreign_names_are_refused() {
        // os.system("touch …"), first bare, then as a value that nobody would ask for.
        let attack = b"\x80\x02cos\nsystem\n(X\x07\x00\x00\x00touch xtR.";
        assert_eq!(
            refused(attack),
            "its pickle names `os.system` at byte 2; only dictionaries, numbers, texts and NumPy arrays are read"
        );
        let inside = b"\x80\x04}(\x8c\x01a\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85Ru.";
        assert!(refused(inside).starts_with("its pickle names `posix.system`"));
        // Known names are data, not functions: bytes(1 << 40) is not made.
        let vast = b"\x80\x02cbuiltins\nbytes\n\x8a\x06\0\0\0\0\0\x01\x85R.";
        assert_eq!(
            refused(vast),
            "its pickle cannot be read: a call that is not known at byte 27"
        );
        for opcode in [b'i', b'o', b'P', b'Q', 0x81, 0x82, 0x92, 0x8f, 0x97] {
            let text = refused(&[0x80, 2, b'(', opcode, b'.']);
            assert!(
                text.contains("an opcode that is not plain data at byte 3"),
                "{opcode}: {text}"
            );
        }
    }

    #[test]
    fn other_protocols_are_refused() {
        for bytes in [&b"\x80\x05N."[..], b"\x80\x01N.", b"(dp0\n.", b"", b"\x80"] {
            assert_eq!(refused(bytes), "its pickle is not of protocol 2, 3 or 4");
        }
    }

    #[test]
    fn numbers_keep_their_sign_and_the_last_of_a_name_wins() {
        for (number, value) in [
            (&b"K\x07"[..], Some(7)),
            (b"M\x00\x80", Some(0x8000)),
            (b"J\xff\xff\xff\xff", Some(-1)),
            (b"\x8a\x01\xfe", Some(-2)),
            (b"\x8a\x00", Some(0)),
            (b"\x8a\x09123456789", None),
            (b"G\x00\x00\x00\x00\x00\x00\x00\x00", None),
            (b"N", None),
        ] {
            let bytes = [b"\x80\x03}(X\x01\0\0\0aK\x01X\x01\0\0\0a", number, b"u."].concat();
            let read = Unpickled::read(&bytes).unwrap();
            let found = match read.field("a").unwrap() {
                Some(Field::Int(number)) => Some(number),
                _ => None,
            };
            assert_eq!(found, value, "{number:?}");
        }
    }

    #[test]
    fn damaged_programs_are_errors() {
        for (program, reason) in [
            (&b""[..], "unexpected end at byte 2"),
            (b".", "empty stack at byte 2"),
            (b"t", "no mark on the stack at byte 2"),
            (b"N(0", "empty stack at byte 4"),
            (b"h\x05", "unknown memo entry at byte 2"),
            (b"K\x01K\x02a", "items for what is no container at byte 6"),
            (b"}K\x01a", "items for what is no container at byte 5"),
            (b"}(K\x01u", "a key without a value at byte 6"),
            (b"X\xff\xff\xff\xffabc", "unexpected end at byte 2"),
            (
                b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
                "unexpected end at byte 2",
            ),
            (b"K\x01K\x02b", "a state that is not known at byte 6"),
        ] {
            let bytes = [b"\x80\x02", program].concat();
            let text = refused(&bytes);
            assert_eq!(
                text,
                format!("its pickle cannot be read: {reason}"),
                "{program:?}"
            );
        }
    }

    #[test]
    fn neither_depth_nor_repetition_harms() {
        // Tuples, each inside the next, are freed without recursion.
        let mut deep = b"\x80\x02N".to_vec();
        deep.extend(vec![0x85; 200_000]);
        deep.push(b'.');
        assert!(Unpickled::read(&deep).unwrap().field("a").is_err());
        deep.splice(3..3, vec![0x85; 100_000]);
        assert!(refused(&deep).contains("more opcodes than any image needs"));
        // A list inside itself.
        let cycle = Unpickled::read(b"\x80\x02]q\0h\0a.").unwrap();
        assert!(cycle.field("a").is_err());
        // One text, decoded a thousand times, would be a thousand times its length.
        let mut many = b"\x80\x02](c_codecs\nencode\nq\0X\x10\x27\0\0".to_vec();
        many.extend(vec![b'a'; 10_000]);
        many.extend(b"X\x06\0\0\0latin1\x86q\x010");
        many.extend(b"h\0h\x01R".repeat(1000));
        many.extend(b"e.");
        assert!(refused(&many).contains("more bytes decoded than the pickle has"));
    }
}
