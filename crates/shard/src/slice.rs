//! A part of an object as an object.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sightline_core::{ReadAt, Sample};

use crate::format::SampleAt;
use crate::input::Input;
use crate::{Error, Limits, ReaderStats, Result};

/// The bytes of a range of an object, and zeros behind them: a sample of an archive with an end mark of its own.
pub(crate) struct Slice {
    pub(crate) object: Arc<dyn ReadAt>,
    pub(crate) range: Range<u64>,
    pub(crate) zeros: u64,
}

/// A file that is not compressed, and where its samples begin: those of a format that lie one behind the other.
pub(crate) struct Bounded {
    pub(crate) object: Arc<dyn ReadAt>,
    pub(crate) shard: String,
    /// Where each sample begins, and where the last one ends.
    pub(crate) bounds: Vec<u64>,
    /// Zeros that the format needs behind a sample.
    pub(crate) zeros: u64,
    /// Reads the one sample of a shard, which is that of the given row.
    pub(crate) read: fn(Input, &str, u64, &mut ReaderStats) -> Result<Option<Sample>>,
}

impl SampleAt for Bounded {
    fn samples(&self) -> u64 {
        self.bounds.len() as u64 - 1
    }

    fn read(&self, row: u64, stats: &mut ReaderStats) -> Result<Sample> {
        let none = || Error::NoSample {
            shard: self.shard.clone(),
            row,
            samples: self.samples(),
        };
        let at = usize::try_from(row).map_err(|_| none())?;
        let bounds = self.bounds.get(at..).and_then(|rest| rest.first_chunk());
        let &[start, end] = bounds.ok_or_else(none)?;
        let slice = Slice {
            object: Arc::clone(&self.object),
            range: start..end,
            zeros: self.zeros,
        };
        let sample = Input::new(Arc::new(slice), &self.shard, Limits::default())
            .and_then(|input| (self.read)(input, &self.shard, row, stats));
        sample
            .map_err(|error| error.moved(start, row))?
            .ok_or_else(none)
    }
}

impl ReadAt for Slice {
    fn len(&self) -> io::Result<u64> {
        Ok(self.range.end.saturating_sub(self.range.start) + self.zeros)
    }

    fn read_at(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.start > range.end || range.end > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = self.len()? - self.zeros;
        let held = range.start.min(len)..range.end.min(len);
        let wanted = (range.end - range.start) as usize;
        let start = self.range.start;
        let bytes = self.object.read_at(start + held.start..start + held.end)?;
        if bytes.len() == wanted {
            return Ok(bytes);
        }
        let mut padded = BytesMut::with_capacity(wanted);
        padded.extend_from_slice(&bytes);
        padded.resize(wanted, 0);
        Ok(padded.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_follow_the_bytes_of_the_range() {
        let slice = Slice {
            object: Arc::new(Bytes::from_static(b"abcdef")),
            range: 2..4,
            zeros: 3,
        };
        assert_eq!(slice.len().unwrap(), 5);
        assert_eq!(slice.read_at(0..5).unwrap(), &b"cd\0\0\0"[..]);
        assert_eq!(slice.read_at(1..2).unwrap(), &b"d"[..]);
        assert_eq!(slice.read_at(3..5).unwrap(), &b"\0\0"[..]);
        assert!(slice.read_at(3..6).is_err());
    }
}
