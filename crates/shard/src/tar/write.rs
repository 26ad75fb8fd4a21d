//! Plain USTAR: no extended headers, no times, so that equal members give equal bytes.

use std::io::{self, Write};

use super::{BLOCK, RECORD, padding};

/// Longest name: the field of a USTAR header that every reader knows.
const NAME_LEN_BYTES: usize = 100;

/// Longest data: eleven octal digits.
const MAX_LEN_BYTES: u64 = (1 << 33) - 1;

/// Who owns every member, as in the shards of webdataset and img2dataset.
const OWNER: &[u8] = b"bigdata";

/// Writes one member, readable by all and writable by none.
pub(crate) fn member(out: &mut impl Write, name: &str, data: &[u8]) -> io::Result<()> {
    out.write_all(&header(name, data.len() as u64)?)?;
    out.write_all(data)?;
    out.write_all(&[0; BLOCK][..padding(data.len() as u64) as usize])
}

/// Writes the end mark of an archive that is `len` bytes long.
pub(crate) fn end(out: &mut impl Write, len: u64) -> io::Result<()> {
    let marked = len + 2 * BLOCK as u64;
    let whole = marked.next_multiple_of(RECORD);
    out.write_all(&vec![0; (whole - len) as usize])
}

fn header(name: &str, len: u64) -> io::Result<[u8; BLOCK]> {
    if name.is_empty() || name.len() > NAME_LEN_BYTES || len > MAX_LEN_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a tar header cannot hold a member `{name}` of {len} bytes"),
        ));
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000444\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{len:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(265, OWNER);
    put(297, OWNER);
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_end_in_two_blocks_of_zeros_and_fill_their_record() {
        for (len, whole) in [(0, 10240), (9216, 10240), (9728, 20480), (10240, 20480)] {
            let mut out = Vec::new();
            end(&mut out, len).unwrap();
            assert_eq!(len + out.len() as u64, whole);
        }
    }

    #[test]
    fn what_a_header_cannot_hold_is_refused() {
        assert!(header(&"n".repeat(100), MAX_LEN_BYTES).is_ok());
        assert!(header(&"n".repeat(101), 0).is_err());
        assert!(header("n", MAX_LEN_BYTES + 1).is_err());
    }
}
