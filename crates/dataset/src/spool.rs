//! Samples in a file that only this machine reads: what does not fit the memory, and shards in which nothing can be found without reading all of
//! them.
//!
//! ```text
//! samples | u64 offsets[n + 1] | u64 n | "SLSPOOL1"
//! ```
//!
//! A sample is the lengths of its parts and the parts; numbers are little endian. The form is no promise: a file of another version is not read.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use sightline_core::{EncodedImage, ImageFormat, ReadAt, Sample, SampleKey};
use sightline_shard::{ReaderStats, SampleAt};

const MAGIC: &[u8; 8] = b"SLSPOOL1";

/// Length of what stands behind the offsets.
const FOOTER_LEN_BYTES: u64 = 16;

/// Writes samples to a file.
pub(crate) struct SpoolWriter<W> {
    out: W,
    offsets: Vec<u64>,
    buffer: Vec<u8>,
}

impl<W: Write> SpoolWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            offsets: vec![0],
            buffer: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, sample: &Sample) -> io::Result<()> {
        self.buffer.clear();
        encode(sample, &mut self.buffer)?;
        let end = self.offsets[self.offsets.len() - 1] + self.buffer.len() as u64;
        self.offsets.push(end);
        self.out.write_all(&self.buffer)
    }

    /// Writes the offsets and gives back what is below.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        for offset in &self.offsets {
            self.out.write_all(&offset.to_le_bytes())?;
        }
        let samples = self.offsets.len() as u64 - 1;
        self.out.write_all(&samples.to_le_bytes())?;
        self.out.write_all(MAGIC)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Samples of a file, each by itself.
pub(crate) struct Spool {
    object: Arc<dyn ReadAt>,
    offsets: Vec<u64>,
    shard: String,
}

impl Spool {
    /// The samples in `object`, which are those of `shard`.
    pub(crate) fn open(object: Arc<dyn ReadAt>, shard: &str) -> io::Result<Self> {
        let len = object.len()?;
        let end = len.checked_sub(FOOTER_LEN_BYTES).ok_or_else(damaged)?;
        let mut footer = object.read_at(end..len)?;
        let samples = footer.get_u64_le();
        let table_len = samples.checked_add(1).and_then(|n| n.checked_mul(8));
        let start = table_len.and_then(|table| end.checked_sub(table));
        let start = start
            .filter(|_| footer[..] == MAGIC[..])
            .ok_or_else(damaged)?;
        let mut table = object.read_at(start..end)?;
        let mut offsets = Vec::with_capacity(samples as usize + 1);
        while table.has_remaining() {
            offsets.push(table.get_u64_le());
        }
        if offsets.is_sorted() && offsets.last() == Some(&start) {
            Ok(Self {
                object,
                offsets,
                shard: shard.to_owned(),
            })
        } else {
            Err(damaged())
        }
    }
}

impl SampleAt for Spool {
    fn samples(&self) -> u64 {
        self.offsets.len() as u64 - 1
    }

    fn read(&self, row: u64, _: &mut ReaderStats) -> sightline_shard::Result<Sample> {
        let bounds = usize::try_from(row)
            .ok()
            .and_then(|at| self.offsets.get(at..)?.first_chunk());
        let &[start, end] = bounds.ok_or_else(|| sightline_shard::Error::NoSample {
            shard: self.shard.clone(),
            row,
            samples: self.samples(),
        })?;
        let read = self.object.read_at(start..end).and_then(decode);
        read.map_err(|source| sightline_shard::Error::Io {
            action: "read",
            shard: self.shard.clone(),
            source,
        })
    }
}

/// Adds `sample` to `out`.
pub(crate) fn encode(sample: &Sample, out: &mut Vec<u8>) -> io::Result<()> {
    let key = sample.key.as_str().as_bytes();
    let meta = serde_json::to_vec(&sample.meta)?;
    let format = sample.image.as_ref().map_or(0, |image| {
        let at = ImageFormat::ALL.iter().position(|f| *f == image.format);
        at.map_or(u8::MAX, |at| at as u8 + 1)
    });
    out.put_u8(key.len() as u8);
    out.put_u8(format);
    out.put_u32_le(sample.captions.len() as u32);
    out.put_u64_le(meta.len() as u64);
    for caption in &sample.captions {
        out.put_u64_le(caption.len() as u64);
    }
    out.put_slice(key);
    out.put_slice(&meta);
    for caption in &sample.captions {
        out.put_slice(caption.as_bytes());
    }
    // What is left is the image, which is not copied when it is read.
    if let Some(image) = &sample.image {
        out.put_slice(&image.bytes);
    }
    Ok(())
}

/// The sample that `bytes` are.
pub(crate) fn decode(bytes: Bytes) -> io::Result<Sample> {
    parse(bytes).ok_or_else(damaged)
}

fn parse(mut bytes: Bytes) -> Option<Sample> {
    let key_len = bytes.try_get_u8().ok()?;
    let format = bytes.try_get_u8().ok()?;
    let captions = bytes.try_get_u32_le().ok()?;
    let meta_len = bytes.try_get_u64_le().ok()?;
    if u64::from(captions) * 8 > bytes.len() as u64 {
        return None;
    }
    let lens: Vec<u64> = (0..captions).map(|_| bytes.get_u64_le()).collect();
    let mut take = |len: u64| {
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= bytes.len())?;
        Some(bytes.split_to(len))
    };
    let text = |bytes: Bytes| String::from_utf8(bytes.into()).ok();
    let key = SampleKey::new(text(take(u64::from(key_len))?)?).ok()?;
    let meta = serde_json::from_slice(&take(meta_len)?).ok()?;
    let captions: Option<Vec<String>> = lens.into_iter().map(|len| text(take(len)?)).collect();
    let image = match format {
        0 => None,
        format => Some(EncodedImage {
            format: *ImageFormat::ALL.get(usize::from(format) - 1)?,
            bytes,
        }),
    };
    Some(Sample {
        key,
        image,
        captions: captions?,
        meta,
    })
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a temporary file of samples is damaged",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sightline_shard::conformance;

    use super::*;

    #[test]
    fn every_sample_round_trips_and_is_found_by_its_number() {
        let samples = conformance::samples();
        let mut writer = SpoolWriter::new(Vec::new());
        for sample in &samples {
            writer.write(sample).unwrap();
        }
        let bytes = Bytes::from(writer.finish().unwrap());
        let spool = Spool::open(Arc::new(bytes.clone()), "a.tar.gz").unwrap();
        assert_eq!(spool.samples(), samples.len() as u64);
        for (row, sample) in samples.iter().enumerate().rev() {
            assert_eq!(&spool.sample(row as u64).unwrap(), sample);
        }
        let error = spool.sample(samples.len() as u64).unwrap_err();
        assert!(error.to_string().contains("a.tar.gz"), "{error}");
        for len in 0..bytes.len().min(300) {
            assert!(Spool::open(Arc::new(bytes.slice(..len)), "a").is_err());
        }
        assert!(Spool::open(Arc::new(bytes.slice(..bytes.len() - 1)), "a").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_order(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(bytes.clone().into());
            let footed = [&bytes[..], &[2, 0, 0, 0, 0, 0, 0, 0], MAGIC].concat();
            if let Ok(spool) = Spool::open(Arc::new(Bytes::from(footed)), "a") {
                for row in 0..3 {
                    let _ = spool.sample(row);
                }
            }
        }
    }
}
