//! What a reader of pickles has to say.

use std::fmt::Debug;

use crate::arena::{Arena, Span, Value};
use crate::error::Reason;

/// What names, calls and states mean to one kind of pickle.
///
/// A name that is known becomes a value of the type [`Self::Made`], and so does what a call makes of it; anything
/// larger than a number stays in the reader itself.
pub trait Meaning {
    /// What the reader makes.
    type Made: Copy + Debug;

    /// What becomes of everything that the reader does not know.
    const FOREIGN: Foreign;

    /// Most opcodes that are run.
    const OPCODE_LIMIT: usize;

    /// The value for a name, `None` if it is not known.
    fn name(&mut self, arena: &Arena<'_, Self::Made>, name: Name) -> Option<Self::Made>;

    /// The value for a call of something that this reader made, `None` if the call is not known.
    fn call(
        &mut self,
        arena: &mut Arena<'_, Self::Made>,
        call: Call<Self::Made>,
    ) -> Result<Option<Value<Self::Made>>, Reason>;

    /// Takes the state of something that this reader made; `None` if it has no use for it.
    fn build(
        &mut self,
        _arena: &mut Arena<'_, Self::Made>,
        _object: Self::Made,
        _state: Value<Self::Made>,
    ) -> Result<Option<()>, Reason> {
        Ok(None)
    }

    /// The value for a persistent id, `None` if it is not known.
    fn persistent(
        &mut self,
        _arena: &mut Arena<'_, Self::Made>,
        _id: Value<Self::Made>,
    ) -> Option<Value<Self::Made>> {
        None
    }
}

/// What becomes of names, calls and objects that a reader does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// They end the reading. So do opcodes for sets, objects of classes and persistent ids.
    Refused,
    /// They become [`Value::Opaque`].
    Opaque,
}

/// A name by the places of its two parts; see [`Arena::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The module, such as `collections`.
    pub module: Span,
    /// The name in it, such as `OrderedDict`.
    pub name: Span,
}

/// Bytes of a part of a name that a message shows.
const SHOWN_BYTES: usize = 100;

impl Name {
    /// Module and name with a dot between, each cut if it is long.
    pub fn display<M: Copy>(self, arena: &Arena<'_, M>) -> String {
        let show = |span| {
            let bytes = arena.bytes(span);
            String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned()
        };
        format!("{}.{}", show(self.module), show(self.name))
    }
}

/// A call that a pickle asks for.
#[derive(Clone, Copy, Debug)]
pub struct Call<M> {
    /// What is called.
    pub callable: M,
    /// The arguments, which should be a tuple.
    pub arguments: Value<M>,
    /// As what it is called.
    pub how: How,
    /// Name of the opcode.
    pub opcode: &'static str,
    /// Its offset.
    pub offset: usize,
}

/// As what something is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A function (`REDUCE`).
    Function,
    /// A class, for a new object (`NEWOBJ`, `NEWOBJ_EX`, `INST`, `OBJ`).
    Class,
}

/// The meaning of pickles that hold nothing but numbers, texts and containers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Meaning for Plain {
    type Made = ();
    const FOREIGN: Foreign = Foreign::Refused;
    const OPCODE_LIMIT: usize = 1 << 20;

    fn name(&mut self, _: &Arena<'_, ()>, _: Name) -> Option<()> {
        None
    }

    fn call(&mut self, _: &mut Arena<'_, ()>, _: Call<()>) -> Result<Option<Value<()>>, Reason> {
        Ok(None)
    }
}
