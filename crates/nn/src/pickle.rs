//! Pickles of PyTorch, run by [`sightline_pickle`] and understood by [`meaning`].

mod meaning;

use candle_core::DType;
use sightline_pickle::Built;

use crate::FormatError;
use crate::checkpoint::ElementType;

pub(crate) use meaning::{Element, Storage, Value};

use meaning::{ForeignCall, Made, Torch, sizes, text};

/// A view of a storage; offset and strides in elements.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) storage: Storage,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

impl Element {
    pub(crate) fn element_type(self) -> ElementType {
        ElementType::Float(match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            other => return ElementType::Other(other.name().to_owned()),
        })
    }
}

/// What a pickle built.
#[derive(Debug)]
pub(crate) struct Unpickled<'a> {
    built: Built<'a, Made>,
    torch: Torch,
}

impl<'a> Unpickled<'a> {
    /// Runs the pickle at the start of `bytes`.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut torch = Torch::default();
        let built =
            sightline_pickle::read(bytes, &mut torch).map_err(|error| FormatError::Pickle {
                offset: error.offset,
                reason: error.reason.to_string(),
            })?;
        Ok(Self { built, torch })
    }

    /// Fails if the pickle calls what no honest checkpoint calls.
    pub(crate) fn refuse_attacks(&self) -> Result<(), FormatError> {
        match self.torch.first_attack {
            Some(call) => Err(self.refusal(call)),
            None => Ok(()),
        }
    }

    /// Why the pickle holds no tensors: because of a call of something that is not known, if it has one.
    pub(crate) fn no_tensors(&self) -> FormatError {
        match self.torch.first_call {
            Some(call) => self.refusal(call),
            None => FormatError::NotStateDict,
        }
    }

    fn refusal(&self, call: ForeignCall) -> FormatError {
        FormatError::PickleCall {
            name: call.name.display(&self.built.arena),
            opcode: call.opcode,
            offset: call.offset,
        }
    }

    /// The object on top of the stack at the end.
    pub(crate) fn root(&self) -> Value {
        self.built.root
    }

    /// Bytes up to and including the final opcode.
    pub(crate) fn len_bytes(&self) -> usize {
        self.built.len_bytes
    }

    /// The text of a value that is one, unless it is too long for a name.
    pub(crate) fn text(&self, value: Value) -> Option<&str> {
        text(&self.built.arena, value)
    }

    /// Keys and values of a dictionary, in the order they were set.
    pub(crate) fn entries(&self, value: Value) -> Option<impl Iterator<Item = (Value, Value)>> {
        self.built.arena.entries(value)
    }

    /// Items of a list.
    pub(crate) fn list(&self, value: Value) -> Option<&[Value]> {
        self.built.arena.list(value)
    }

    /// The view that a tensor is.
    pub(crate) fn view(&self, value: Value) -> Option<View> {
        let Value::Made(Made::Tensor(number)) = value else {
            return None;
        };
        let raw = self.torch.views.get(number as usize)?;
        Some(View {
            storage: *self.torch.storages.get(raw.storage as usize)?,
            offset: raw.offset,
            shape: sizes(&self.built.arena, raw.shape)?,
            strides: sizes(&self.built.arena, raw.strides)?,
        })
    }

    /// Names and values of the attributes of a scripted module.
    pub(crate) fn attributes(&self, value: Value) -> Option<impl Iterator<Item = (Value, Value)>> {
        let Value::Made(Made::Module(number)) = value else {
            return None;
        };
        self.entries(*self.torch.modules.get(number as usize)?)
    }

    /// Every storage that was named.
    pub(crate) fn storages(&self) -> &[Storage] {
        &self.torch.storages
    }

    /// The key of a storage.
    pub(crate) fn key(&self, storage: Storage) -> &str {
        self.text(storage.key).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::meaning::OPCODE_LIMIT;
    use super::*;

    #[test]
    fn nothing_is_executed() {
        // cos\nsystem\n(X..."touch /tmp/x"tR. : os.system("touch …")
        let attack = b"\x80\x02cos\nsystem\n(X\x07\x00\x00\x00touch xtR.";
        let read = Unpickled::read(attack).unwrap();
        assert_eq!(read.root(), Value::Opaque);
        assert_eq!(
            read.refuse_attacks().unwrap_err().to_string(),
            "its pickle calls `os.system` (REDUCE at byte 27), which is no part of a checkpoint; nothing was run"
        );
        // The same inside a dictionary leaves the other entries readable.
        let inside = b"\x80\x02}(X\x01\x00\x00\x00acfoo\nbar\n)RX\x01\x00\x00\x00bK\x07u.";
        let read = Unpickled::read(inside).unwrap();
        let entries: Vec<_> = read
            .entries(read.root())
            .unwrap()
            .map(|(key, value)| (read.text(key).unwrap(), value))
            .collect();
        assert_eq!(entries, [("a", Value::Opaque), ("b", Value::Int(7))]);
        assert!(read.refuse_attacks().is_ok());
        assert!(read.no_tensors().to_string().contains("`foo.bar` (REDUCE"));
    }

    #[test]
    fn every_way_to_call_an_attack_is_named() {
        for (program, name, opcode) in [
            (
                &b"cposix\nsystem\n(S'ls'\ntR."[..],
                "posix.system",
                "REDUCE",
            ),
            (b"(S'ls'\nios\nsystem\n.", "os.system", "INST"),
            (b"(c__builtin__\neval\nS'1'\no.", "__builtin__.eval", "OBJ"),
            (
                b"\x80\x02csubprocess\nPopen\n)\x81.",
                "subprocess.Popen",
                "NEWOBJ",
            ),
            (
                b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93)}\x92.",
                "builtins.exec",
                "NEWOBJ_EX",
            ),
            (b"cos.path\njoin\n)R.", "os.path.join", "REDUCE"),
        ] {
            let read = Unpickled::read(program).unwrap();
            let message = read.refuse_attacks().unwrap_err().to_string();
            assert!(
                message.contains(&format!("`{name}` ({opcode} at byte")),
                "{message}"
            );
        }
        // What honest training checkpoints call beside the weights.
        for program in [
            &b"cargparse\nNamespace\n)\x81}b."[..],
            b"cbuiltins\nset\n)R.",
            b"cnumpy.core.multiarray\nscalar\n(NNtR.",
            b"ctorch\ndevice\n(S'cpu'\ntR.",
            b"cpathlib\nPosixPath\n(S'/'\ntR.",
        ] {
            let read = Unpickled::read(program).unwrap();
            assert!(read.refuse_attacks().is_ok());
        }
    }

    #[test]
    fn a_dictionary_of_python_2_is_a_list_of_pairs() {
        let bytes = b"\x80\x02ccollections\nOrderedDict\n](](U\x01aK\x01e](U\x01bK\x02ee\x85R.";
        let read = Unpickled::read(bytes).unwrap();
        let entries: Vec<_> = read
            .entries(read.root())
            .unwrap()
            .map(|(key, value)| (read.text(key).unwrap(), value))
            .collect();
        assert_eq!(entries, [("a", Value::Int(1)), ("b", Value::Int(2))]);
        // One list, used again and again, would be as many copies.
        let mut many = b"ccollections\nOrderedDict\nq\x00](".to_vec();
        many.extend(b"(NNt".repeat(20_000));
        many.extend(b"e\x85q\x01");
        many.extend(b"h\x00h\x01R".repeat(1000));
        many.push(b'.');
        let error = Unpickled::read(&many).unwrap_err().to_string();
        assert!(error.contains("more items than opcodes"), "{error}");
    }

    #[test]
    fn neither_depth_nor_repetition_harms() {
        // A million tuples, each inside the next, are freed without recursion.
        let mut deep = b"N".to_vec();
        deep.extend(vec![0x85; 1_000_000]);
        deep.push(b'.');
        assert!(matches!(
            Unpickled::read(&deep).unwrap().root(),
            Value::Tuple(_)
        ));
        let many = vec![b'}'; OPCODE_LIMIT + 1];
        let error = Unpickled::read(&many).unwrap_err().to_string();
        assert!(
            error.contains(&format!("more than {OPCODE_LIMIT} opcodes")),
            "{error}"
        );

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
        let items = read.list(read.root()).unwrap();
        assert_eq!(items.len(), 100_002);
        assert_eq!(items[100_001], Value::Opaque);
    }
}
