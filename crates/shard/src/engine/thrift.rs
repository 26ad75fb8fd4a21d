//! Thrift's compact protocol, in which Parquet describes files and pages.

use std::io::{self, Read};

/// Structs and lists in each other that are followed.
const MAX_DEPTH: u8 = 32;

/// Ids of the types of the compact protocol.
pub(super) mod kind {
    pub(in crate::engine) const TRUE: u8 = 1;
    pub(in crate::engine) const FALSE: u8 = 2;
    pub(in crate::engine) const BYTE: u8 = 3;
    pub(in crate::engine) const I16: u8 = 4;
    pub(in crate::engine) const I32: u8 = 5;
    pub(in crate::engine) const I64: u8 = 6;
    pub(in crate::engine) const DOUBLE: u8 = 7;
    pub(in crate::engine) const BINARY: u8 = 8;
    pub(in crate::engine) const LIST: u8 = 9;
    pub(in crate::engine) const SET: u8 = 10;
    pub(in crate::engine) const STRUCT: u8 = 12;
}

/// An error that says what is wrong.
pub(super) fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A reader of the compact protocol that counts what it reads.
pub(super) struct Compact<R> {
    bytes: R,
    read: u64,
}

impl<R: Read> Compact<R> {
    pub(super) fn new(bytes: R) -> Self {
        Self { bytes, read: 0 }
    }

    /// Bytes that were read.
    pub(super) fn len_bytes(&self) -> u64 {
        self.read
    }

    /// The id and the type of the next field of a struct, or `None` at its end. `last` is the id of the field
    /// before, 0 at the beginning.
    pub(super) fn field(&mut self, last: &mut i64) -> io::Result<Option<(i64, u8)>> {
        let byte = self.byte()?;
        let (delta, kind) = (byte >> 4, byte & 0xf);
        if kind == 0 {
            return Ok(None);
        }
        let id = match delta {
            0 => self.integer()?,
            delta => *last + i64::from(delta),
        };
        if !(0..=i64::from(i16::MAX)).contains(&id) {
            return Err(malformed("the id of a field is out of range"));
        }
        *last = id;
        Ok(Some((id, kind)))
    }

    /// Passes over a value of type `kind`.
    pub(super) fn skip(&mut self, kind: u8) -> io::Result<()> {
        self.skip_within(kind, MAX_DEPTH)
    }

    fn skip_within(&mut self, kind: u8, depth: u8) -> io::Result<()> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(malformed("it is nested too deeply"));
        };
        match kind {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.byte().map(drop),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.pass(8),
            kind::BINARY => {
                let len = self.varint()?;
                self.pass(len)
            }
            kind::LIST | kind::SET => {
                let (kind, len) = self.list()?;
                // Truths in a list take a byte each by the protocol and none in some readers.
                if matches!(kind, kind::TRUE | kind::FALSE) {
                    return Err(malformed("it has a list of truths"));
                }
                (0..len).try_for_each(|_| self.skip_within(kind, depth))
            }
            kind::STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip_within(kind, depth)?;
                }
                Ok(())
            }
            _ => Err(malformed("it has a field of an unknown type")),
        }
    }

    /// The type and the number of the values of a list that follows.
    pub(super) fn list(&mut self) -> io::Result<(u8, u64)> {
        let head = self.byte()?;
        let len = match head >> 4 {
            15 => self.varint()?,
            len => u64::from(len),
        };
        Ok((head & 0xf, len))
    }

    fn pass(&mut self, len: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.bytes.by_ref().take(len), &mut io::sink())?;
        self.read += passed;
        if passed < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// A number of bytes or of things, from 0 to 2³¹ - 1.
    pub(super) fn size(&mut self) -> io::Result<u64> {
        let size = i32::try_from(self.integer()?).ok();
        let size = size.and_then(|size| u64::try_from(size).ok());
        size.ok_or_else(|| malformed("a number is out of range"))
    }

    /// A number with a sign.
    pub(super) fn integer(&mut self) -> io::Result<i64> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("a number is too long"))
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.bytes.read_exact(&mut byte)?;
        self.read += 1;
        Ok(byte[0])
    }
}
