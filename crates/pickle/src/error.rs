//! Why a pickle cannot be read.

/// Where a pickle cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct Error {
    /// Offset of the opcode.
    pub offset: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with an opcode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The program contradicts itself or ends too early.
    #[error("{0}")]
    Malformed(&'static str),
    /// An opcode that does more than build plain data.
    #[error("the opcode {0}, which is not plain data,")]
    Opcode(&'static str),
    /// A byte that is no opcode.
    #[error("the unknown opcode {0:#04x}")]
    UnknownOpcode(u8),
    /// A name that the reader does not know.
    #[error("it names `{0}`")]
    Name(String),
    /// More opcodes than the reader allows.
    #[error("more than {0} opcodes")]
    Opcodes(usize),
}

impl From<&'static str> for Reason {
    fn from(reason: &'static str) -> Self {
        Self::Malformed(reason)
    }
}
