//! What pickles of plain data mean, as NumPy and MMF write them.
//!
//! This reader of [`sightline_pickle`] knows the few names that arrays need; nothing is ever called:
//!
//! | global | becomes |
//! | --- | --- |
//! | `numpy.core.multiarray._reconstruct`, also below `numpy._core` | an array, filled by its state |
//! | `numpy.core.multiarray.scalar` | an array without axes |
//! | `numpy.dtype`, `numpy.ndarray` | an element type; the word for an array |
//! | `_codecs.encode` to Latin-1, `builtins.bytes` without arguments | bytes, as Python 3 writes them in protocol 2 |
//!
//! Every other name is refused, and with it the file. Nothing here knows arrays, so that the fuzz target `pickle` can have
//! this file without them.

use sightline_pickle::{Arena, Call, Foreign, How, Meaning, Name, Reason};

/// A value; what only NumPy has as [`Made`].
pub(super) type Value = sightline_pickle::Value<Made>;

/// Most axes of an array, as NumPy has it.
const RANK_LIMIT: usize = 64;

/// Opcodes in a pickle; the regions of an image take some hundred. One takes up to 500 bytes of memory, that of an
/// array with all its axes.
const OPCODE_LIMIT: usize = 1 << 18;

/// What a name of NumPy, or a call of it, becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Global(Global),
    /// By its number among the element types.
    Dtype(u32),
    /// By its number among the arrays.
    Array(u32),
}

/// The names that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    Reconstruct,
    Scalar,
    NdArray,
    Dtype,
    Encode,
    Bytes,
}

/// An element type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dtype {
    /// Its name without the sign of its byte order, a text.
    pub(super) name: Value,
    pub(super) is_big_endian: bool,
}

/// What an array was filled with.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) dtype: u32,
    pub(super) shape: Vec<usize>,
    pub(super) is_fortran: bool,
    pub(super) data: Value,
}

/// NumPy's names, and what their calls made.
#[derive(Debug, Default)]
pub(super) struct NumPy {
    pub(super) dtypes: Vec<Dtype>,
    pub(super) arrays: Vec<Option<State>>,
}

impl Meaning for NumPy {
    type Made = Made;
    const FOREIGN: Foreign = Foreign::Refused;
    const OPCODE_LIMIT: usize = OPCODE_LIMIT;

    fn name(&mut self, arena: &Arena<'_, Made>, name: Name) -> Option<Made> {
        let known = match (arena.bytes(name.module), arena.bytes(name.name)) {
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => {
                Global::Reconstruct
            }
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"scalar") => Global::Scalar,
            (b"numpy", b"ndarray") => Global::NdArray,
            (b"numpy", b"dtype") => Global::Dtype,
            (b"_codecs", b"encode") => Global::Encode,
            (b"builtins" | b"__builtin__", b"bytes") => Global::Bytes,
            _ => return None,
        };
        Some(Made::Global(known))
    }

    /// The known names with their arguments, as data.
    fn call(
        &mut self,
        arena: &mut Arena<'_, Made>,
        call: Call<Made>,
    ) -> Result<Option<Value>, Reason> {
        let (Made::Global(global), How::Function) = (call.callable, call.how) else {
            return Ok(None);
        };
        let arguments = arena.tuple(call.arguments).unwrap_or_default();
        let made = match (global, arguments) {
            (Global::Reconstruct, [Value::Made(Made::Global(Global::NdArray)), ..]) => {
                self.add_array(None)
            }
            (Global::Scalar, &[Value::Made(Made::Dtype(dtype)), data])
                if arena.raw(data).is_some() =>
            {
                self.add_array(Some(State {
                    dtype,
                    shape: Vec::new(),
                    is_fortran: false,
                    data,
                }))
            }
            (Global::Dtype, &[name, ..]) => {
                let is_text = |bytes| std::str::from_utf8(bytes).is_ok();
                if !arena.raw(name).is_some_and(is_text) {
                    return Err("an element type without a name".into());
                }
                self.dtypes.push(Dtype {
                    name,
                    is_big_endian: false,
                });
                Value::Made(Made::Dtype(self.dtypes.len() as u32 - 1))
            }
            (Global::Encode, &[text, codec]) => return arena.latin1(text, codec),
            (Global::Bytes, []) => arena.no_bytes(),
            _ => return Ok(None),
        };
        Ok(Some(made))
    }

    fn build(
        &mut self,
        arena: &mut Arena<'_, Made>,
        object: Made,
        state: Value,
    ) -> Result<Option<()>, Reason> {
        let items = arena.tuple(state).unwrap_or_default();
        match (object, items) {
            (Made::Dtype(number), &[Value::Int(3 | 4), order, ..]) => {
                let is_big = match arena.raw(order) {
                    Some(b"<" | b"|" | b"=") => false,
                    Some(b">") => true,
                    _ => return Err("an element type of no byte order".into()),
                };
                if let Some(dtype) = self.dtypes.get_mut(number as usize) {
                    dtype.is_big_endian = is_big;
                }
            }
            (
                Made::Array(number),
                &[
                    Value::Int(1),
                    shape,
                    Value::Made(Made::Dtype(dtype)),
                    fortran,
                    data,
                ],
            ) => {
                let is_fortran = match fortran {
                    Value::Bool(is_fortran) => is_fortran,
                    Value::Int(number) => number != 0,
                    _ => return Ok(None),
                };
                let state = State {
                    dtype,
                    shape: shape_of(arena, shape).ok_or("an impossible shape")?,
                    is_fortran,
                    data,
                };
                if let Some(array) = self.arrays.get_mut(number as usize) {
                    *array = Some(state);
                }
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }
}

impl NumPy {
    fn add_array(&mut self, state: Option<State>) -> Value {
        self.arrays.push(state);
        Value::Made(Made::Array(self.arrays.len() as u32 - 1))
    }
}

/// A tuple of few whole numbers that are not negative.
fn shape_of(arena: &Arena<'_, Made>, value: Value) -> Option<Vec<usize>> {
    let dims = arena.tuple(value).unwrap_or_default();
    let dim = |dim: &Value| match *dim {
        Value::Int(n) => usize::try_from(n).ok(),
        _ => None,
    };
    let is_short = dims.len() <= RANK_LIMIT;
    is_short.then(|| dims.iter().map(dim).collect())?
}
