//! What the pickles of PyTorch mean: names, numbers and descriptions of tensors, and nothing else.
//!
//! This reader of [`sightline_pickle`] knows the few names that a state dictionary or a
//! scripted module needs, and *interprets* calls of them as data:
//!
//! | global | becomes |
//! | --- | --- |
//! | `collections.OrderedDict` | a dictionary, empty or of the pairs in a list, as Python 2 wrote it |
//! | `torch._utils._rebuild_tensor_v2`, `_rebuild_tensor` | a view of a storage |
//! | `torch._utils._rebuild_parameter`, `_rebuild_parameter_with_state` | its first argument |
//! | `torch._tensor._rebuild_from_type_v2` | what its first argument makes of its third |
//! | `torch.Size` | its argument |
//! | `torch.FloatStorage`, … | the element type of a storage |
//! | `__torch__.…` | a scripted module, filled by its state |
//! | anything else | an opaque value that cannot be used |
//!
//! So an optimiser's state beside the weights is carried along as an opaque value and ends there. What could only be
//! an attack (`os.system`, `builtins.eval`, …) would end there too, but no honest file calls it: the first such call
//! is remembered.
//!
//! Texts of more than 256 bytes and shapes of more than 16 dimensions are no names and no shapes of tensors.
//!
//! Nothing here knows tensors, so that the fuzz target `pickle` can have this file without them.

use sightline_pickle::{Arena, Call, Foreign, How, Meaning, Name, Reason};

/// A value; what only PyTorch has as [`Made`].
pub(crate) type Value = sightline_pickle::Value<Made>;

/// Longest text that names something.
const TEXT_LIMIT_BYTES: usize = 256;

/// Most dimensions of a tensor.
const RANK_LIMIT: usize = 16;

/// Opcodes in a pickle; a tensor takes about 40.
pub(super) const OPCODE_LIMIT: usize = 1 << 21;

/// What a name of PyTorch, or a call of it, becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Global(Global),
    /// By its number among the storages.
    Storage(u32),
    /// By its number among the views.
    Tensor(u32),
    /// By its number among the scripted modules.
    Module(u32),
    /// A name that is not known, by its number among them.
    Foreign(u32),
}

/// The globals that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    RebuildFromType,
    Size,
    Storage(Element),
    ScriptedClass,
}

/// Element types of storages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Element {
    fn of_storage(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"DoubleStorage" => Self::F64,
            b"FloatStorage" => Self::F32,
            b"HalfStorage" => Self::F16,
            b"BFloat16Storage" => Self::BF16,
            b"LongStorage" => Self::I64,
            b"IntStorage" => Self::I32,
            b"ShortStorage" => Self::I16,
            b"CharStorage" => Self::I8,
            b"ByteStorage" => Self::U8,
            b"BoolStorage" => Self::Bool,
            _ => return None,
        })
    }

    pub(crate) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Its name in safetensors files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }
}

/// A storage that a persistent id names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storage {
    pub(crate) element: Element,
    /// Elements of the storage before its first; only files of PyTorch before 0.4 have views of storages.
    pub(crate) skipped: usize,
    pub(super) key: Value,
}

/// A view of a storage; offset and strides in elements, shape and strides still in the arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawView {
    pub(super) storage: u32,
    pub(super) offset: usize,
    pub(super) shape: Value,
    pub(super) strides: Value,
}

/// A call of a name that is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForeignCall {
    pub(super) name: Name,
    pub(super) opcode: &'static str,
    pub(super) offset: usize,
}

/// PyTorch's names, and what their calls made.
#[derive(Debug, Default)]
pub(super) struct Torch {
    pub(super) storages: Vec<Storage>,
    pub(super) views: Vec<RawView>,
    /// The state of each scripted module.
    pub(super) modules: Vec<Value>,
    foreign: Vec<Name>,
    pub(super) first_call: Option<ForeignCall>,
    pub(super) first_attack: Option<ForeignCall>,
    /// Items of dictionaries that were copied from lists.
    copied_items: usize,
}

impl Meaning for Torch {
    type Made = Made;
    const FOREIGN: Foreign = Foreign::Opaque;
    const OPCODE_LIMIT: usize = OPCODE_LIMIT;

    fn name(&mut self, arena: &Arena<'_, Made>, place: Name) -> Option<Made> {
        let module = arena.bytes(place.module);
        let known = match (module, arena.bytes(place.name)) {
            (b"collections", b"OrderedDict") => Global::OrderedDict,
            (b"torch._utils", b"_rebuild_tensor_v2" | b"_rebuild_tensor") => Global::RebuildTensor,
            (b"torch._utils", b"_rebuild_parameter" | b"_rebuild_parameter_with_state") => {
                Global::RebuildParameter
            }
            (b"torch._tensor", b"_rebuild_from_type_v2") => Global::RebuildFromType,
            (b"torch", b"Size") => Global::Size,
            (b"torch", name) => match Element::of_storage(name) {
                Some(element) => Global::Storage(element),
                None => return Some(self.unknown(place)),
            },
            _ if module.starts_with(b"__torch__") => Global::ScriptedClass,
            _ => return Some(self.unknown(place)),
        };
        Some(Made::Global(known))
    }

    fn call(
        &mut self,
        arena: &mut Arena<'_, Made>,
        call: Call<Made>,
    ) -> Result<Option<Value>, Reason> {
        match (call.callable, call.how) {
            (Made::Global(Global::ScriptedClass), How::Class) => {
                self.modules.push(Value::None);
                let number = self.modules.len() as u32 - 1;
                Ok(Some(Value::Made(Made::Module(number))))
            }
            (Made::Global(global), How::Function) => self.known(arena, global, call.arguments),
            (Made::Foreign(number), _) => {
                self.note(arena, number, &call);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn build(
        &mut self,
        _: &mut Arena<'_, Made>,
        object: Made,
        state: Value,
    ) -> Result<Option<()>, Reason> {
        if let Made::Module(number) = object
            && let Some(own) = self.modules.get_mut(number as usize)
        {
            *own = state;
        }
        Ok(Some(()))
    }

    /// `('storage', type, key, location, elements)`; in older files with a sixth item, which is `None` or, for a view,
    /// `(key, offset, elements)`.
    fn persistent(&mut self, arena: &mut Arena<'_, Made>, id: Value) -> Option<Value> {
        let &[kind, element, key, _, Value::Int(_), ref rest @ ..] = arena.tuple(id)? else {
            return None;
        };
        let skipped = match *rest {
            [] | [Value::None] => 0,
            [view] => match arena.tuple(view)? {
                &[_, Value::Int(offset), _] => usize::try_from(offset).ok()?,
                _ => return None,
            },
            _ => return None,
        };
        let Value::Made(Made::Global(Global::Storage(element))) = element else {
            return None;
        };
        if text(arena, kind) != Some("storage") || text(arena, key).is_none() {
            return None;
        }
        self.storages.push(Storage {
            element,
            skipped,
            key,
        });
        let number = self.storages.len() as u32 - 1;
        Some(Value::Made(Made::Storage(number)))
    }
}

impl Torch {
    fn unknown(&mut self, name: Name) -> Made {
        self.foreign.push(name);
        Made::Foreign(self.foreign.len() as u32 - 1)
    }

    /// The known functions, as data.
    fn known(
        &mut self,
        arena: &mut Arena<'_, Made>,
        global: Global,
        arguments: Value,
    ) -> Result<Option<Value>, Reason> {
        let Some(arguments) = arena.tuple(arguments) else {
            return Ok(None);
        };
        let made = match (global, arguments) {
            (Global::OrderedDict, []) => arena.new_dict(Vec::new())?,
            (Global::OrderedDict, &[pairs]) => {
                let Some(items) = self.pairs(arena, pairs)? else {
                    return Ok(None);
                };
                arena.new_dict(items)?
            }
            (Global::RebuildParameter, &[data, ..]) => data,
            (Global::Size, &[tuple @ Value::Tuple(_)]) => tuple,
            (Global::RebuildFromType, &[Value::Made(Made::Global(function)), _, arguments, _])
                if function != Global::RebuildFromType =>
            {
                return self.known(arena, function, arguments);
            }
            (
                Global::RebuildTensor,
                &[
                    Value::Made(Made::Storage(storage)),
                    Value::Int(offset),
                    shape,
                    strides,
                    ..,
                ],
            ) => {
                let Ok(offset) = usize::try_from(offset) else {
                    return Ok(None);
                };
                let rank = |value| sizes(arena, value).map(|sizes| sizes.len());
                if rank(shape).is_none() || rank(shape) != rank(strides) {
                    return Ok(None);
                }
                self.views.push(RawView {
                    storage,
                    offset,
                    shape,
                    strides,
                });
                Value::Made(Made::Tensor(self.views.len() as u32 - 1))
            }
            _ => return Ok(None),
        };
        Ok(Some(made))
    }

    /// Keys and values in turn of a list of pairs. All together no more of them are copied than there may be opcodes,
    /// so that a list that is used again and again costs no more than one that is there once.
    fn pairs(
        &mut self,
        arena: &Arena<'_, Made>,
        list: Value,
    ) -> Result<Option<Vec<Value>>, Reason> {
        let Some(list) = arena.list(list) else {
            return Ok(None);
        };
        self.copied_items += list.len();
        if self.copied_items > OPCODE_LIMIT {
            return Err("more items than opcodes".into());
        }
        let pair = |&pair: &Value| match arena.list(pair).or_else(|| arena.tuple(pair)) {
            Some(&[key, value]) => Some([key, value]),
            _ => None,
        };
        let pairs: Option<Vec<[Value; 2]>> = list.iter().map(pair).collect();
        Ok(pairs.map(|pairs| pairs.concat()))
    }

    /// Remembers the first call of a name that is not known, and the first that no honest file has.
    fn note(&mut self, arena: &Arena<'_, Made>, number: u32, call: &Call<Made>) {
        let Some(&name) = self.foreign.get(number as usize) else {
            return;
        };
        let foreign = ForeignCall {
            name,
            opcode: call.opcode,
            offset: call.offset,
        };
        self.first_call.get_or_insert(foreign);
        if self.first_attack.is_none()
            && is_attack(arena.bytes(name.module), arena.bytes(name.name))
        {
            self.first_attack = Some(foreign);
        }
    }
}

/// Sizes or strides: a tuple of few whole numbers that are not negative.
pub(super) fn sizes(arena: &Arena<'_, Made>, value: Value) -> Option<Vec<usize>> {
    let items = arena
        .tuple(value)
        .filter(|items| items.len() <= RANK_LIMIT)?;
    let size = |item: &Value| match *item {
        Value::Int(n) => usize::try_from(n).ok(),
        _ => None,
    };
    items.iter().map(size).collect()
}

/// A text that is short enough to name something.
pub(super) fn text<'a>(arena: &'a Arena<'_, Made>, value: Value) -> Option<&'a str> {
    arena
        .text(value)
        .filter(|text| text.len() <= TEXT_LIMIT_BYTES)
}

/// Modules that a checkpoint has no reason to call, because they act on the machine.
const ATTACKING_MODULES: &[&[u8]] = &[
    b"_posixsubprocess",
    b"asyncio",
    b"bdb",
    b"code",
    b"commands",
    b"ctypes",
    b"ftplib",
    b"httplib",
    b"importlib",
    b"nt",
    b"os",
    b"pdb",
    b"pip",
    b"popen2",
    b"posix",
    b"pty",
    b"requests",
    b"runpy",
    b"shutil",
    b"smtplib",
    b"socket",
    b"subprocess",
    b"sys",
    b"telnetlib",
    b"timeit",
    b"urllib",
    b"urllib2",
    b"webbrowser",
];

/// Built-in functions that run code or open files.
const ATTACKING_BUILTINS: &[&[u8]] = &[
    b"__import__",
    b"apply",
    b"breakpoint",
    b"compile",
    b"eval",
    b"exec",
    b"execfile",
    b"exit",
    b"file",
    b"input",
    b"open",
    b"quit",
    b"raw_input",
];

/// Whether a call of `module.name` can only be an attack. Nothing is run either way: the list decides what a person is
/// told, not what is safe.
fn is_attack(module: &[u8], name: &[u8]) -> bool {
    let package = module.split(|&b| b == b'.').next().unwrap_or_default();
    match package {
        b"builtins" | b"__builtin__" => ATTACKING_BUILTINS.contains(&name),
        _ => ATTACKING_MODULES.contains(&package),
    }
}
