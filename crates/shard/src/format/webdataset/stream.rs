//! Samples to a pipe: an archive of any length whose end nobody waits for.

use std::io::{self, Write};

use bytes::Bytes;
use sightline_core::{Sample, SampleKey};

use crate::tar::{BLOCK, RECORD, padding, write};
use crate::{Error, Limits, Result, members};

/// Writes samples as an archive to `W`, without a shard around it: keys may come again, and nothing is kept of them.
#[derive(Debug)]
pub struct StreamWriter<W> {
    out: W,
    name: String,
    len: u64,
    last: Option<SampleKey>,
}

impl<W: Write> StreamWriter<W> {
    /// An archive in `out`, called `name` in errors.
    pub fn new(out: W, name: &str) -> Self {
        Self {
            out,
            name: name.to_owned(),
            len: 0,
            last: None,
        }
    }

    /// Writes `sample`. One with the key of the sample before is refused, since readers would take both for one.
    pub fn write(&mut self, sample: &Sample) -> Result<()> {
        if self.last.as_ref() == Some(&sample.key) {
            return Err(Error::DuplicateKey {
                shard: self.name.clone(),
                key: sample.key.clone(),
            });
        }
        let members = members::of_sample(sample, &self.name, &Limits::default())?;
        for (name, data) in members {
            let wrote = write::member(&mut self.out, &name, &data);
            wrote.map_err(|source| self.failed(source))?;
            let len = data.len() as u64;
            self.len += BLOCK as u64 + len + padding(len);
        }
        self.last = Some(sample.key.clone());
        Ok(())
    }

    /// Hands on what was written so far.
    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(|source| self.failed(source))
    }

    /// Writes the end mark.
    pub fn finish(mut self) -> Result<()> {
        let wrote = write::end(&mut self.out, self.len);
        wrote.map_err(|source| self.failed(source))?;
        self.flush()
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io {
            action: "write",
            shard: self.name.clone(),
            source,
        }
    }
}

/// The files that `sample` is, `KEY.jpg`, `KEY.json` and `KEY.txt`, sorted by name.
pub fn members(sample: &Sample) -> Result<Vec<(String, Bytes)>> {
    members::of_sample(sample, sample.key.as_str(), &Limits::default())
}

/// How long an archive of one `sample` is without its end mark. With the end mark and its padding, an archive of several is as long as they are
/// together and at most [`END_LEN_BYTES`] more.
pub fn len_bytes(sample: &Sample) -> Result<u64> {
    let lens = members(sample)?.into_iter().map(|(_, data)| {
        let len = data.len() as u64;
        BLOCK as u64 + len + padding(len)
    });
    Ok(lens.sum())
}

/// Longest end mark: two blocks, and what fills a record.
pub const END_LEN_BYTES: u64 = RECORD + BLOCK as u64;

#[cfg(test)]
mod tests {
    use sightline_core::ShardId;
    use sightline_core::io::Memory;

    use super::*;
    use crate::{ShardFormat, conformance, webdataset::WebDataset};

    #[test]
    fn a_stream_is_an_archive() {
        let samples = conformance::samples();
        let mut shards = Memory::default();
        let mut shard = WebDataset.create(&mut shards, ShardId(0)).unwrap();
        let mut bytes = Vec::new();
        let mut stream = StreamWriter::new(&mut bytes, "standard output");
        let mut len = 0;
        for sample in &samples {
            shard.write(sample).unwrap();
            stream.write(sample).unwrap();
            len += len_bytes(sample).unwrap();
        }
        let again = stream.write(&samples[samples.len() - 1]);
        assert!(
            matches!(again, Err(Error::DuplicateKey { .. })),
            "{again:?}"
        );
        stream.finish().unwrap();
        shard.finish().unwrap();
        assert_eq!(shards.bytes("00000.tar").unwrap(), bytes);
        let end = bytes.len() as u64 - len;
        assert!((2 * BLOCK as u64..=END_LEN_BYTES).contains(&end), "{end}");
    }
}
