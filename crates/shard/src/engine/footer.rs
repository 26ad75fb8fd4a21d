//! The footer of a Parquet file, looked through before the crate reads it.
//!
//! The crate calls itself for each column in a column, and passes over lists of truths as if they took no bytes: a
//! file of a few kilobytes could fill the stack, or take hours.

use std::io;

use sightline_core::ReadAt;

use super::thrift::{Compact, kind, malformed};

/// Groups of columns in each other.
const MAX_DEPTH: usize = 64;
/// What a file ends with, behind the length of the footer.
const MAGIC: &[u8] = b"PAR1";

/// Refuses a footer that the crate could not bear. Whatever else is wrong with the file is left to the crate.
pub(super) fn check(object: &dyn ReadAt, len: u64) -> io::Result<()> {
    let Some(end) = len.checked_sub(8) else {
        return Ok(());
    };
    let tail = object.read_at(end..len)?;
    let Some((length, MAGIC)) = tail.split_first_chunk() else {
        return Ok(());
    };
    let Some(start) = end.checked_sub(u32::from_le_bytes(*length).into()) else {
        return Ok(());
    };
    let footer = object.read_at(start..end)?;
    let mut thrift = Compact::new(&footer[..]);
    let mut last = 0;
    while let Some((id, kind)) = thrift.field(&mut last)? {
        match (id, kind) {
            (2, kind::LIST) => schema(&mut thrift)?,
            (_, kind) => thrift.skip(kind)?,
        }
    }
    Ok(())
}

/// Follows the columns, of which each group is followed by those in it.
fn schema(thrift: &mut Compact<&[u8]>) -> io::Result<()> {
    let (element, columns) = thrift.list()?;
    if element != kind::STRUCT {
        return Err(malformed("its columns are no structs"));
    }
    // Columns that are left of each group around the next one.
    let mut left: Vec<u64> = Vec::new();
    for _ in 0..columns {
        while left.pop_if(|left| *left == 0).is_some() {}
        if let Some(left) = left.last_mut() {
            *left -= 1;
        }
        let (mut inner, mut last) = (0, 0);
        while let Some((id, kind)) = thrift.field(&mut last)? {
            match (id, kind) {
                (5, kind::I32) => inner = thrift.size()?,
                (_, kind) => thrift.skip(kind)?,
            }
        }
        left.push(inner);
        if left.len() > MAX_DEPTH {
            return Err(malformed("its columns are nested too deeply"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn checked(footer: &[u8]) -> Result<(), String> {
        let len = (footer.len() as u32).to_le_bytes();
        let file = Bytes::from([footer, &len, MAGIC].concat());
        check(&file, file.len() as u64).map_err(|error| error.to_string())
    }

    /// Version 1 and `depth` groups of one column each in the other.
    fn nested(depth: u8) -> Vec<u8> {
        let group = [0x48, 0x01, b'g', 0x15, 0x02, 0x00];
        let groups = group.repeat(depth.into());
        [&[0x15, 0x02, 0x19, 0xfc, depth][..], &groups, &[0x00]].concat()
    }

    #[test]
    fn groups_in_groups_are_followed_up_to_a_depth() {
        assert_eq!(checked(&nested(64)), Ok(()));
        assert_eq!(
            checked(&nested(65)),
            Err("its columns are nested too deeply".to_owned())
        );
        // Columns beside each other: a root of two.
        let flat = [
            &[0x15, 0x02, 0x19, 0x3c, 0x55, 0x04, 0x00][..],
            &[0x48, 0x01, b'a', 0x00, 0x48, 0x01, b'b', 0x00, 0x00],
        ];
        assert_eq!(checked(&flat.concat()), Ok(()));
        let truths = [0x15, 0x02, 0x39, 0xf1, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(checked(&truths), Err("it has a list of truths".to_owned()));
    }

    #[test]
    fn what_is_no_file_is_left_to_the_crate() {
        for bytes in [
            &b""[..],
            b"PAR1",
            b"no parquet at all",
            b"\xff\xff\xff\xffPAR1",
        ] {
            assert!(check(&Bytes::from_static(bytes), bytes.len() as u64).is_ok());
        }
    }
}
