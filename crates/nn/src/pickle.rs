//! A restricted reader of pickles: it can build names, numbers and tensor descriptions, and nothing else.
//!
//! A pickle is a program for a stack machine that may call any function of any module. This reader knows the
//! few functions that PyTorch's `state_dict` needs and *interprets* them as data:
//!
//! | global | becomes |
//! | --- | --- |
//! | `collections.OrderedDict` | an empty dictionary |
//! | `torch._utils._rebuild_tensor_v2` | a view of a storage |
//! | `torch._utils._rebuild_parameter` | its first argument |
//! | `torch.Size` | its argument |
//! | `torch.FloatStorage`, … | the element type of a storage |
//! | anything else | an opaque value that cannot be used |
//!
//! So an optimiser's state beside the weights, a function or an attack is carried along as an opaque value and
//! ends there. All objects live in one arena and refer to each other by number: a pickle can neither make
//! cycles that leak nor nest so deeply that freeing it overflows the stack. The number of opcodes is bounded,
//! and with it memory; texts, storage keys and dimensions that no tensor has are opaque, so that a reference
//! repeated a million times costs no more than a reference.
//!
//! Opcodes: all that protocols 2 to 5 write, but not the text forms of protocol 0, persistent ids as text,
//! the extension registry and out-of-band buffers.

mod machine;

use candle_core::DType;

use crate::FormatError;
use crate::checkpoint::ElementType;

use machine::Machine;

/// Opcodes in a pickle; a tensor takes about 40.
const OPCODE_LIMIT: usize = 1 << 21;

/// A value; composite ones by their number in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    None,
    Bool,
    Int(i64),
    /// A text, by its place in the pickle.
    Text(usize, usize),
    Global(Global),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
    /// Something that is of no use here, or that only running code could make.
    Opaque,
}

/// The globals that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Storage(Element),
}

/// Element types of storages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Float(DType),
    Other(&'static str, usize),
}

impl Element {
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Float(dtype) => dtype.size_in_bytes(),
            Self::Other(_, size) => size,
        }
    }

    pub(crate) fn element_type(self) -> ElementType {
        match self {
            Self::Float(dtype) => ElementType::Float(dtype),
            Self::Other(name, _) => ElementType::Other(name.to_owned()),
        }
    }
}

/// A storage that a persistent id names.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub(crate) element: Element,
    pub(crate) key: String,
}

/// A view of a storage; offset and strides in elements.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) storage: usize,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

#[derive(Debug)]
enum Object {
    /// Items of a tuple or list; keys and values of a dictionary in turn.
    Items(Vec<Value>),
    Storage(Storage),
    View(View),
}

/// What a pickle built.
#[derive(Debug)]
pub(crate) struct Unpickled<'a> {
    bytes: &'a [u8],
    objects: Vec<Object>,
    /// The object on top of the stack at the end.
    pub(crate) root: Value,
    /// Bytes up to and including the final opcode.
    pub(crate) len: usize,
}

impl<'a> Unpickled<'a> {
    /// Runs the pickle at the start of `bytes`.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut machine = Machine::new(bytes);
        for _ in 0..OPCODE_LIMIT {
            let offset = machine.at();
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => {
                    return Ok(Self {
                        bytes,
                        root,
                        len: machine.at(),
                        objects: machine.into_objects(),
                    });
                }
                Err(reason) => return Err(FormatError::Pickle { offset, reason }),
            }
        }
        Err(FormatError::Pickle {
            offset: machine.at(),
            reason: format!("more than {OPCODE_LIMIT} opcodes"),
        })
    }

    /// The text of a value that is one.
    pub(crate) fn text(&self, value: Value) -> Option<&'a str> {
        text(self.bytes, value)
    }

    /// Keys and values of a dictionary, in the order they were set.
    pub(crate) fn entries(&self, value: Value) -> Option<impl Iterator<Item = (Value, Value)>> {
        let Value::Dict(id) = value else { return None };
        let pairs = self.items(id).chunks_exact(2);
        Some(pairs.map(|pair| (pair[0], pair[1])))
    }

    /// Items of a list.
    pub(crate) fn list(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::List(id) => Some(self.items(id)),
            _ => None,
        }
    }

    /// The view that a tensor is.
    pub(crate) fn view(&self, value: Value) -> Option<&View> {
        match (value, self.objects.get(as_index(value)?)?) {
            (Value::Tensor(_), Object::View(view)) => Some(view),
            _ => None,
        }
    }

    /// The storage with the number `id`.
    pub(crate) fn storage(&self, id: usize) -> Option<&Storage> {
        match self.objects.get(id)? {
            Object::Storage(storage) => Some(storage),
            _ => None,
        }
    }

    /// Every storage that was named.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    fn items(&self, id: usize) -> &[Value] {
        match self.objects.get(id) {
            Some(Object::Items(items)) => items,
            _ => &[],
        }
    }
}

fn as_index(value: Value) -> Option<usize> {
    match value {
        Value::Tensor(id) | Value::Storage(id) => Some(id),
        _ => None,
    }
}

fn text(bytes: &[u8], value: Value) -> Option<&str> {
    match value {
        Value::Text(from, to) => std::str::from_utf8(bytes.get(from..to)?).ok(),
        _ => None,
    }
}

fn global(module: &[u8], name: &[u8]) -> Value {
    let known = match (module, name) {
        (b"collections", b"OrderedDict") => Global::OrderedDict,
        (b"torch._utils", b"_rebuild_tensor_v2") => Global::RebuildTensor,
        (b"torch._utils", b"_rebuild_parameter") => Global::RebuildParameter,
        (b"torch", b"Size") => Global::Size,
        (b"torch", b"FloatStorage") => Global::Storage(Element::Float(DType::F32)),
        (b"torch", b"DoubleStorage") => Global::Storage(Element::Float(DType::F64)),
        (b"torch", b"HalfStorage") => Global::Storage(Element::Float(DType::F16)),
        (b"torch", b"BFloat16Storage") => Global::Storage(Element::Float(DType::BF16)),
        (b"torch", b"LongStorage") => Global::Storage(Element::Other("I64", 8)),
        (b"torch", b"IntStorage") => Global::Storage(Element::Other("I32", 4)),
        (b"torch", b"ShortStorage") => Global::Storage(Element::Other("I16", 2)),
        (b"torch", b"CharStorage") => Global::Storage(Element::Other("I8", 1)),
        (b"torch", b"ByteStorage") => Global::Storage(Element::Other("U8", 1)),
        (b"torch", b"BoolStorage") => Global::Storage(Element::Other("BOOL", 1)),
        _ => return Value::Opaque,
    };
    Value::Global(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(bytes: &[u8]) -> String {
        match Unpickled::read(bytes).unwrap_err() {
            FormatError::Pickle { reason, .. } => reason,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn nothing_is_executed() {
        // cos\nsystem\n(X..."touch /tmp/x"tR. : os.system("touch …")
        let attack = b"\x80\x02cos\nsystem\n(X\x07\x00\x00\x00touch xtR.";
        assert_eq!(Unpickled::read(attack).unwrap().root, Value::Opaque);
        // The same inside a dictionary leaves the other entries usable.
        let inside = b"\x80\x02}(X\x01\x00\x00\x00acos\nsystem\n)RX\x01\x00\x00\x00bK\x07u.";
        let read = Unpickled::read(inside).unwrap();
        let entries: Vec<_> = read
            .entries(read.root)
            .unwrap()
            .map(|(key, value)| (read.text(key).unwrap(), value))
            .collect();
        assert_eq!(entries, [("a", Value::Opaque), ("b", Value::Int(7))]);
    }

    #[test]
    fn numbers_keep_their_sign() {
        for (bytes, value) in [
            (&b"J\xff\xff\xff\xff."[..], Value::Int(-1)),
            (b"\x8a\x01\xfe.", Value::Int(-2)),
            (b"\x8a\x02\x00\x01.", Value::Int(256)),
            (b"\x8a\x00.", Value::Int(0)),
            (b"M\x00\x80.", Value::Int(0x8000)),
            (b"\x8a\x09123456789.", Value::Opaque),
        ] {
            assert_eq!(Unpickled::read(bytes).unwrap().root, value, "{bytes:?}");
        }
    }

    #[test]
    fn containers_are_shared_through_the_memo() {
        // A list that is memoised first and filled afterwards, seen twice in a tuple.
        let bytes = b"\x80\x02]q\x00(K\x01K\x02eh\x00\x86.";
        let read = Unpickled::read(bytes).unwrap();
        let Value::Tuple(id) = read.root else {
            panic!()
        };
        let &[a, b] = read.items(id) else { panic!() };
        assert_eq!(a, b);
        assert_eq!(read.list(a).unwrap(), [Value::Int(1), Value::Int(2)]);
        assert_eq!(read.len, bytes.len());
    }

    #[test]
    fn damaged_programs_are_errors() {
        assert_eq!(reason(b""), "unexpected end");
        assert_eq!(reason(b"."), "empty stack");
        assert_eq!(reason(b"t"), "no mark on the stack");
        assert_eq!(reason(b"(."), "empty stack");
        assert_eq!(reason(b"N(0"), "empty stack");
        assert_eq!(reason(b"h\x05"), "unknown memo entry");
        assert_eq!(reason(b"K\x01K\x02a"), "items for what is no container");
        assert_eq!(reason(b"X\xff\xff\xff\xffabc"), "unexpected end");
        assert_eq!(
            reason(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff"),
            "unexpected end"
        );
        assert_eq!(reason(b"cos"), "unexpected end");
        assert_eq!(reason(b"\x82\x01"), "unsupported opcode 0x82");
    }

    #[test]
    fn neither_depth_nor_repetition_harms() {
        // A million tuples, each inside the next, are freed without recursion.
        let mut deep = b"N".to_vec();
        deep.extend(vec![0x85; 1_000_000]);
        deep.push(b'.');
        assert!(matches!(
            Unpickled::read(&deep).unwrap().root,
            Value::Tuple(_)
        ));
        let many = vec![b'}'; OPCODE_LIMIT + 1];
        assert_eq!(reason(&many), format!("more than {OPCODE_LIMIT} opcodes"));

        // A shape of a million dimensions, used a hundred thousand times.
        let mut shapes = b"\x80\x02](".to_vec();
        shapes.extend(b"(");
        shapes.extend(b"K\x01".repeat(1_000_000));
        shapes.extend(b"tq\x01");
        shapes.extend(
            b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000NK\x01tQq\x02",
        );
        for _ in 0..100_000 {
            shapes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(h\x02K\x00h\x01h\x01tR");
        }
        shapes.extend(b"e.");
        let read = Unpickled::read(&shapes).unwrap();
        let items = read.list(read.root).unwrap();
        assert_eq!(items.len(), 100_002);
        assert_eq!(items[100_001], Value::Opaque);
    }
}
