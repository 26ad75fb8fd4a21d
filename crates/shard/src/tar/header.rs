//! One header block, and the records of an extended header.

use super::BLOCK;
use crate::Problem;

/// What a header block says about the data after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Name of the member, as bytes.
    pub(super) name: Vec<u8>,
    /// Length of the data.
    pub(super) len: u64,
    /// What the data are.
    pub(super) kind: Kind,
}

/// What follows a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file's bytes.
    File,
    /// Records that describe the next member.
    PaxRecords,
    /// The next member's name.
    LongName,
    /// A file with holes.
    Sparse,
    /// Nothing: a folder, a link, a device. Their length says something else.
    Bare,
    /// Data that mean nothing here.
    Other,
}

/// Reads a header block; `None` for a block of zeros.
pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Option<Header>, Problem> {
    if block.iter().all(|&b| b == 0) {
        return Ok(None);
    }
    check(block)?;
    let name = until_nul(&block[..100]);
    let kind = match block[156] {
        // Before POSIX, folders were files whose names end in a slash.
        0 if name.ends_with(b"/") => Kind::Bare,
        0 | b'0' | b'7' => Kind::File,
        b'1'..=b'6' => Kind::Bare,
        b'x' => Kind::PaxRecords,
        b'L' => Kind::LongName,
        b'S' => Kind::Sparse,
        _ => Kind::Other,
    };
    let prefix = until_nul(&block[345..500]);
    let is_posix = &block[257..263] == b"ustar\0";
    let name = if is_posix && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    };
    let len = number(&block[124..136]).ok_or(Problem::Number { field: "length" })?;
    Ok(Some(Header { name, len, kind }))
}

/// Compares the checksum: the sum of all bytes with the checksum itself taken as spaces. Some old
/// writers summed signed bytes.
fn check(block: &[u8; BLOCK]) -> Result<(), Problem> {
    let stored = number(&block[148..156]).ok_or(Problem::Checksum)?;
    let (mut unsigned, mut signed) = (0u64, 0i64);
    for (at, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        unsigned += u64::from(byte);
        signed += i64::from(byte as i8);
    }
    if stored == unsigned || i64::try_from(stored) == Ok(signed) {
        return Ok(());
    }
    Err(Problem::Checksum)
}

/// An octal number between spaces or NULs, or a big-endian one marked by the highest bit of its
/// first byte.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] == 0x80 {
        return field[1..]
            .iter()
            .try_fold(0u64, |n, &byte| Some(n.checked_mul(256)? + u64::from(byte)));
    }
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0u64, |n, &byte| match byte {
        b'0'..=b'7' => Some(n.checked_mul(8)? + u64::from(byte - b'0')),
        _ => None,
    })
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or(field)
}

/// What an extended header changes in the next header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extended {
    /// The whole name.
    pub(super) name: Option<Vec<u8>>,
    /// The length of the data.
    pub(super) len: Option<u64>,
    /// Whether the data are a file with holes.
    pub(super) is_sparse: bool,
}

impl Extended {
    /// Adds the records of a PAX header, each `LEN KEY=VALUE\n` where LEN counts all of it.
    pub(super) fn add_pax(&mut self, mut records: &[u8]) -> Result<(), Problem> {
        while !records.is_empty() && records[0] != 0 {
            let (key, value, rest) = record(records).ok_or(Problem::ExtendedHeader)?;
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"size" => {
                    let text = std::str::from_utf8(value).ok();
                    let len = text.and_then(|text| text.parse().ok());
                    self.len = Some(len.ok_or(Problem::Number { field: "length" })?);
                }
                _ if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
                _ => {}
            }
            records = rest;
        }
        Ok(())
    }

    /// Takes the data of a GNU header as the name.
    pub(super) fn add_gnu_name(&mut self, data: &[u8]) {
        self.name = Some(until_nul(data).to_vec());
    }
}

/// Splits the first record off: key, value, rest.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(20).position(|&b| b == b' ')?;
    let digits = std::str::from_utf8(&records[..space]).ok()?;
    let len: usize = digits.parse().ok()?;
    let (record, rest) = records.split_at_checked(len)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&b| b == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"00000000017\0"), Some(15));
        assert_eq!(number(b"    17 \0"), Some(15));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"00000000018\0"), None);
        assert_eq!(number(b"-0000000017\0"), None);
        assert_eq!(
            number(b"\x80\0\0\0\0\0\0\0\x02\0\0\x01"),
            Some((2 << 24) + 1)
        );
        assert_eq!(number(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(number(&[0xff; 12]), None);
    }

    #[test]
    fn pax_records_may_hold_anything_but_must_have_their_length() {
        let mut extended = Extended::default();
        let records = b"30 mtime=1700000000.123456789\n12 path=a=b\n12 comment=\n10 size=7\n";
        extended.add_pax(records).unwrap();
        assert_eq!(extended.name.as_deref(), Some(&b"a=b"[..]));
        assert_eq!(extended.len, Some(7));
        assert!(!extended.is_sparse);
        for bad in [
            &b"x"[..],
            b"9 path=a=b\n",
            b"11 path=a=b\n",
            b"0 \n",
            b"3 \n",
            b"18446744073709551616 a=b\n",
            b"11 size=-10\n",
            b"99 path=a\n",
        ] {
            let outcome = Extended::default().add_pax(bad);
            assert!(outcome.is_err(), "{}", bad.escape_ascii());
        }
    }
}
