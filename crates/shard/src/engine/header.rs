//! Headers of Parquet pages: those of their numbers that decide how much memory a page takes.
//!
//! A header is a struct of Thrift's compact protocol. Fields that are not needed are passed over. What the format
//! does not allow is an error, also where the crate `parquet` would let it pass, so that both never read one
//! header in two ways: the fields MUST have the types and the ascending ids of `parquet.thrift`.

use std::io::{self, Read};

use super::thrift::{Compact, kind, malformed};

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
        let mut thrift = Compact::new(bytes);
        let mut header = Self::default();
        let (mut has_stored, mut has_unpacked) = (false, false);
        let mut last = 0;
        while let Some((id, kind)) = next_field(&mut thrift, &mut last)? {
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
                (8, kind::STRUCT) => version_2(&mut thrift, &mut header)?,
                (_, kind) => thrift.skip(kind)?,
            }
        }
        if !has_stored || !has_unpacked {
            return Err(malformed("a length is missing"));
        }
        header.len_bytes = thrift.len_bytes();
        Ok(header)
    }
}

/// Reads the part of a header that only pages of version 2 have.
fn version_2(thrift: &mut Compact<impl Read>, header: &mut PageHeader) -> io::Result<()> {
    let mut last = 0;
    while let Some((id, kind)) = next_field(thrift, &mut last)? {
        match (id, kind) {
            (5 | 6, kind::I32) => header.level_bytes += thrift.size()?,
            (5 | 6, _) => return Err(malformed("a length is no number")),
            (7, kind::FALSE) => header.is_plain = true,
            (_, kind) => thrift.skip(kind)?,
        }
    }
    Ok(())
}

/// The next field of a struct whose fields stand in order.
fn next_field(thrift: &mut Compact<impl Read>, last: &mut i64) -> io::Result<Option<(i64, u8)>> {
    let before = *last;
    let field = thrift.field(last)?;
    if field.is_some() && *last <= before {
        return Err(malformed("its fields are not in order"));
    }
    Ok(field)
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
        let nested = [&[0x1c; 40][..], &[0; 42]].concat();
        for (bytes, problem) in [
            (&[0x00][..], "a length is missing"),
            (&[0x25, 0x01, 0x15, 0x02, 0x00], "a number is out of range"),
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
