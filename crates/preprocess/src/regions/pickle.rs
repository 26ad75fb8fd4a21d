//! Pickles of plain data, run by [`sightline_pickle`] and understood by [`meaning`]. Protocols MUST be 2, 3 or 4.

mod meaning;

use sightline_pickle::{Built, Reason};

use super::Problem;
use super::array::{Array, Element, Layout};
use super::fields::Field;

use meaning::{Made, NumPy, Value};

/// What a pickle built.
#[derive(Debug)]
pub(super) struct Unpickled<'a> {
    built: Built<'a, Made>,
    numpy: NumPy,
}

impl<'a> Unpickled<'a> {
    /// Runs the pickle at the start of `bytes`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        if !matches!(bytes, [0x80, 2..=4, ..]) {
            return Err(Problem::PickleProtocol);
        }
        let mut numpy = NumPy::default();
        let built = sightline_pickle::read(bytes, &mut numpy).map_err(|error| {
            let offset = error.offset;
            match error.reason {
                Reason::Name(name) => Problem::PickleGlobal { offset, name },
                reason => Problem::Pickle {
                    offset,
                    reason: reason.to_string(),
                },
            }
        })?;
        Ok(Self { built, numpy })
    }

    /// What the dictionary has under `name`; texts, lists and the like count as nothing. `np.save` wraps a
    /// dictionary in an array of one object.
    pub(super) fn field(&self, name: &str) -> Result<Option<Field<'_>>, Problem> {
        let arena = &self.built.arena;
        let entries = arena.entries(self.dictionary()).ok_or(Problem::Pickle {
            offset: 0,
            reason: "no dictionary".to_owned(),
        })?;
        // The last one wins, as in Python.
        let found = entries
            .rev()
            .find(|(key, _)| arena.raw(*key) == Some(name.as_bytes()));
        match found.map(|(_, value)| value) {
            Some(Value::Int(number)) => Ok(Some(Field::Int(number))),
            Some(Value::Bool(value)) => Ok(Some(Field::Int(value.into()))),
            Some(Value::Made(Made::Array(number))) => Ok(self.array(number)?.map(Field::Array)),
            _ => Ok(None),
        }
    }

    fn dictionary(&self) -> Value {
        let root = self.built.root;
        if let Value::Made(Made::Array(number)) = root
            && let Some(Some(state)) = self.numpy.arrays.get(number as usize)
            && let Some(&[only]) = self.built.arena.list(state.data)
        {
            return only;
        }
        root
    }

    /// An array, unless it was never filled.
    fn array(&self, number: u32) -> Result<Option<Array<'_>>, Problem> {
        let Some(Some(state)) = self.numpy.arrays.get(number as usize) else {
            return Ok(None);
        };
        let Some(dtype) = self.numpy.dtypes.get(state.dtype as usize) else {
            return Ok(None);
        };
        let name = self.built.arena.raw(dtype.name).unwrap_or_default();
        let layout = Layout {
            element: Element::of_numpy(std::str::from_utf8(name).unwrap_or_default()),
            is_big_endian: dtype.is_big_endian,
            shape: state.shape.clone(),
            is_fortran: state.is_fortran,
        };
        let bytes = self.built.arena.raw(state.data).unwrap_or_default();
        let array = Array::new(layout, bytes)?;
        Ok((!array.is_object()).then_some(array))
    }
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
        for (opcode, name) in [
            (b'i', "INST"),
            (b'o', "OBJ"),
            (b'P', "PERSID"),
            (b'Q', "BINPERSID"),
            (0x81, "NEWOBJ"),
            (0x82, "EXT1"),
            (0x92, "NEWOBJ_EX"),
            (0x8f, "EMPTY_SET"),
            (0x97, "NEXT_BUFFER"),
        ] {
            let text = refused(&[0x80, 2, b'(', opcode, b'.']);
            assert_eq!(
                text,
                format!(
                    "its pickle cannot be read: the opcode {name}, which is not plain data, at byte 3"
                )
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
        assert!(refused(&deep).contains("more than 262144 opcodes"));
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
