//! Tar archives: a bounded reader of what writers in use produce, and a writer of plain USTAR.
//!
//! An archive is a sequence of blocks of 512 bytes. Each member is a header block and its data,
//! padded to whole blocks; two blocks of zeros end the archive. A name that does not fit the header
//! comes before it, in a PAX (`x`) or a GNU (`L`) extended header.

pub(crate) mod header;
pub(crate) mod read;
pub(crate) mod write;

/// Length of a block in bytes.
pub(crate) const BLOCK: usize = 512;

/// Archives are padded to whole records of twenty blocks.
pub(crate) const RECORD: u64 = 20 * BLOCK as u64;

/// Bytes that pad `len` to whole blocks.
pub(crate) fn padding(len: u64) -> u64 {
    len.wrapping_neg() % BLOCK as u64
}
