//! Shards as one compressed stream: gzip or zstd around any format that is read from start to end.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use sightline_core::ReadAt;
use sightline_core::io::Sequential;

/// Largest window that a zstd stream may ask for: 128 MiB, what its own tools accept unasked.
pub(crate) const MAX_WINDOW_LOG: u32 = 27;

/// Bytes that are decompressed at a time where nobody wants them.
const PIECE: usize = 1 << 16;

/// How a shard is compressed as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, level 6, without a name or a time.
    Gzip,
    /// Zstandard, level 3, with a checksum of the contents.
    Zstd,
}

impl Compression {
    /// What the first bytes say.
    fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Compresses what is written to it into `W`.
pub(crate) enum Compressor<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    pub(crate) fn new(compression: Compression, out: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(out),
            Compression::Gzip => Self::Gzip(GzEncoder::new(out, flate2::Compression::new(6))),
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(out, 3)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Writes what is left and gives back what is below.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// The contents of an object from start to end, decompressed where it begins like a compressed one.
///
/// Positions count decompressed bytes. A compressed object that ends early gives an error of kind
/// `UnexpectedEof`, one whose checksum is wrong another.
pub(crate) struct Stream {
    inner: Inner,
    compression: Compression,
    position: u64,
}

enum Inner {
    Plain(Sequential),
    Gzip(Box<MultiGzDecoder<Sequential>>),
    Zstd(Box<zstd::Decoder<'static, io::BufReader<Sequential>>>),
}

impl Stream {
    pub(crate) fn new(source: Arc<dyn ReadAt>) -> io::Result<Self> {
        let len = source.len()?;
        let compression = Compression::sniff(&source.read_at(0..len.min(4))?);
        let bytes = Sequential::new(source)?;
        let inner = match compression {
            Compression::None => Inner::Plain(bytes),
            Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(bytes))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::new(bytes)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        Ok(Self {
            inner,
            compression,
            position: 0,
        })
    }

    /// Offset of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// How the object is compressed.
    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// Whether `n` more bytes cannot be there; compressed objects do not say.
    pub(crate) fn lacks(&self, n: u64) -> bool {
        match &self.inner {
            Inner::Plain(bytes) => bytes.remaining() < n,
            Inner::Gzip(_) | Inner::Zstd(_) => false,
        }
    }

    /// Passes over up to `n` bytes and says how many there were.
    pub(crate) fn skip(&mut self, n: u64) -> io::Result<u64> {
        if let Inner::Plain(bytes) = &mut self.inner {
            let skipped = bytes.skip(n);
            self.position += skipped;
            return Ok(skipped);
        }
        let mut buffer = vec![0; PIECE.min(usize::try_from(n).unwrap_or(PIECE))];
        let mut left = n;
        while left > 0 {
            let piece = left.min(buffer.len() as u64) as usize;
            let read = self.fill(&mut buffer[..piece])?;
            left -= read as u64;
            if read < piece {
                break;
            }
        }
        Ok(n - left)
    }

    /// Fills `buffer` as far as there are bytes and says how far.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// The next `len` bytes, or those that there are. Memory grows with what is read, never with
    /// what is only promised.
    pub(crate) fn next_bytes(&mut self, len: u64) -> io::Result<Vec<u8>> {
        let exact = matches!(self.inner, Inner::Plain(_)) && !self.lacks(len);
        let mut bytes = Vec::with_capacity(if exact { len as usize } else { 0 });
        Read::take(&mut *self, len).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.inner {
            Inner::Plain(bytes) => bytes.read(buffer)?,
            Inner::Gzip(decoder) => decoder.read(buffer)?,
            Inner::Zstd(decoder) => decoder.read(buffer)?,
        };
        self.position += n as u64;
        Ok(n)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("compression", &self.compression)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn compressed(compression: Compression, data: &[u8]) -> Bytes {
        let mut out = Compressor::new(compression, Vec::new()).unwrap();
        out.write_all(data).unwrap();
        out.finish().unwrap().into()
    }

    #[test]
    fn what_is_compressed_is_read_and_skipped_alike() {
        let data: Vec<u8> = (0..500_000u32).map(|i| (i / 7) as u8).collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let bytes = compressed(compression, &data);
            let mut stream = Stream::new(Arc::new(bytes.clone())).unwrap();
            assert_eq!(stream.compression(), compression);
            assert_eq!(stream.next_bytes(1000).unwrap(), data[..1000]);
            assert_eq!(stream.skip(200_000).unwrap(), 200_000);
            assert_eq!(stream.position(), 201_000);
            assert_eq!(stream.next_bytes(10).unwrap(), data[201_000..201_010]);
            assert_eq!(stream.skip(u64::MAX).unwrap(), 298_990);
            assert_eq!(stream.next_bytes(u64::MAX).unwrap(), b"");
            if compression != Compression::None {
                let cut = bytes.slice(..bytes.len() - 1);
                let mut stream = Stream::new(Arc::new(cut)).unwrap();
                let error = stream.next_bytes(u64::MAX).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
            }
        }
    }
}
