//! Headers of Parquet pages: those of their numbers that decide how much memory a page takes.
//!
//! A header is a struct of Thrift's compact protocol. Fields that are not needed are passed over. What the format
//! does not allow is an error, also where the crate `parquet` would let it pass, so that both never read one
//! header in two ways: the fields MUST have the types and the ascending ids of `parquet.thrift`.

use std::io::{self, Read};

/// Structs in structs that are followed.
const MAX_DEPTH: u8 = 16;

/// Ids of the types of the compact protocol.
mod kind {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const STRUCT: u8 = 12;
}

/// What the header of a page says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// Bytes of the header itself.
    pub(super) len_bytes: u64,
    /// Whether it is a page of an index, which holds no values.
    pub(super) is_index: bool,
    /// Bytes of the page in the file.
    pub(super) stored_bytes: u64,
    /// Bytes of the page once it is unpacked.
    pub(super) unpacked_bytes: u64,
    /// Bytes of levels in front of the values of a page of version 2, which are never packed.
    pub(super) level_bytes: u64,
    /// Whether the values are not packed, whatever the codec of the column is.
    pub(super) is_plain: bool,
}

impl PageHeader {
    /// Reads the header with which `bytes` begins.
    pub(super) fn read(bytes: impl Read) -> io::Result<Self> {
        let mut thrift = Compact { bytes, read: 0 };
        let mut header = Self::default();
        let (mut has_stored, mut has_unpacked) = (false, false);
        let mut last = 0;
        while let Some((id, kind)) = thrift.field(&mut last)? {
            match (id, kind) {
                (1, kind::I32) => header.is_index = thrift.integer()? == 1,
                (2, kind::I32) => {
                    header.unpacked_bytes = thrift.size()?;
                    has_unpacked = true;
                }
                (3, kind::I32) => {
                    header.stored_bytes = thrift.size()?;
                    has_stored = true;
                }
                (1..=3, _) => return Err(malformed("a length is no number")),
                (8, kind::STRUCT) => thrift.version_2(&mut header)?,
                (_, kind) => thrift.skip(kind, MAX_DEPTH)?,
            }
        }
        if !has_stored || !has_unpacked {
            return Err(malformed("a length is missing"));
        }
        header.len_bytes = thrift.read;
        Ok(header)
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the header of a page is malformed: {what}"),
    )
}

/// A reader of the compact protocol that counts what it reads.
struct Compact<R> {
    bytes: R,
    read: u64,
}

impl<R: Read> Compact<R> {
    /// Reads the part of a header that only pages of version 2 have.
    fn version_2(&mut self, header: &mut PageHeader) -> io::Result<()> {
        let mut last = 0;
        while let Some((id, kind)) = self.field(&mut last)? {
            match (id, kind) {
                (5 | 6, kind::I32) => header.level_bytes += self.size()?,
                (5 | 6, _) => return Err(malformed("a length is no number")),
                (7, kind::FALSE) => header.is_plain = true,
                (_, kind) => self.skip(kind, MAX_DEPTH)?,
            }
        }
        Ok(())
    }

    /// The id and the type of the next field of a struct, or `None` at its end.
    fn field(&mut self, last: &mut i64) -> io::Result<Option<(i64, u8)>> {
        let byte = self.byte()?;
        if byte & 0xf == 0 {
            return Ok(None);
        }
        let id = match byte >> 4 {
            0 => self.integer()?,
            delta => *last + i64::from(delta),
        };
        if id <= *last || id > i64::from(i16::MAX) {
            return Err(malformed("its fields are not in order"));
        }
        *last = id;
        Ok(Some((id, byte & 0xf)))
    }

    fn skip(&mut self, kind: u8, depth: u8) -> io::Result<()> {
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
                let head = self.byte()?;
                let kind = head & 0xf;
                let len = match head >> 4 {
                    15 => self.varint()?,
                    len => u64::from(len),
                };
                // Truths in a list take a byte each by the protocol and none in some readers.
                if matches!(kind, kind::TRUE | kind::FALSE) {
                    return Err(malformed("it has a list of truths"));
                }
                (0..len).try_for_each(|_| self.skip(kind, depth))
            }
            kind::STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth)?;
                }
                Ok(())
            }
            _ => Err(malformed("it has a field of an unknown type")),
        }
    }

    fn pass(&mut self, len: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.bytes.by_ref().take(len), &mut io::sink())?;
        self.read += passed;
        if passed < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// A number of bytes.
    fn size(&mut self) -> io::Result<u64> {
        let size = i32::try_from(self.integer()?).ok();
        let size = size.and_then(|size| u64::try_from(size).ok());
        size.ok_or_else(|| malformed("a length is out of range"))
    }

    fn integer(&mut self) -> io::Result<i64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page of version 2 as `parquet` 60 heads it: 40 bytes, 9 of them levels, 31 stored.
    const VERSION_2: &[u8] = &[
        0x15, 0x06, 0x15, 0x50, 0x15, 0x3e, 0x5c, 0x15, 0x06, 0x15, 0x00, 0x15, 0x06, 0x15, 0x00,
        0x15, 0x0e, 0x15, 0x04, 0x12, 0x00, 0x00, 0xff,
    ];

    #[test]
    fn lengths_are_read_and_the_rest_is_passed_over() {
        assert_eq!(
            PageHeader::read(VERSION_2).unwrap(),
            PageHeader {
                len_bytes: VERSION_2.len() as u64 - 1,
                is_index: false,
                stored_bytes: 31,
                unpacked_bytes: 40,
                level_bytes: 9,
                is_plain: true,
            }
        );
        // Statistics behind: two texts and a number.
        let data = [
            0x15, 0x00, 0x15, 0x08, 0x15, 0x08, 0x2c, 0x15, 0x02, 0x5c, 0x18, 0x01, b'a', 0x18,
            0x01, b'b', 0x16, 0x00, 0x00, 0x00, 0x00,
        ];
        assert_eq!(PageHeader::read(&data[..]).unwrap().len_bytes, 21);
    }

    #[test]
    fn what_is_cut_or_malformed_is_an_error() {
        for len in 0..VERSION_2.len() - 1 {
            assert!(PageHeader::read(&VERSION_2[..len]).is_err(), "{len}");
        }
        let nested = [&[0x1c; 40][..], &[0; 41]].concat();
        for (bytes, problem) in [
            (&[0x00][..], "a length is missing"),
            (&[0x25, 0x01, 0x15, 0x02, 0x00], "a length is out of range"),
            (&[0x28, 0x00, 0x00], "a length is no number"),
            (
                &[0x25, 0x02, 0x05, 0x02, 0x02, 0x00],
                "its fields are not in order",
            ),
            (
                &[0x49, 0xf1, 0xff, 0xff, 0xff, 0x7f],
                "it has a list of truths",
            ),
            (&[0x4d, 0x00], "it has a field of an unknown type"),
            (
                &[
                    0x25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                ],
                "a number is too long",
            ),
            (&[&[0x4c][..], &nested].concat(), "it is nested too deeply"),
        ] {
            let error = PageHeader::read(bytes).unwrap_err().to_string();
            assert!(error.ends_with(problem), "{error}, not {problem}");
        }
    }
}
