//! Shards of one format into shards of another: `sightline shards convert`.
//!
//! Samples keep their order. By default each shard becomes one of the same place in the row; with a number of
//! samples a shard they are cut anew. A sample that cannot be written ends the run with its name: none is lost
//! silently. Members that a sample has no place for are counted.

use std::collections::BTreeMap;
use std::slice;

use serde::{Deserialize, Serialize};
use sightline_core::{ObjectSource, Progress, Sample, ShardId};
use sightline_shard::{ShardFormat, ShardReader, ShardSummary};
use sightline_store::Folder;

use crate::{Error, Result};

/// Version of the serialised form.
const SCHEMA: u32 = 1;

/// A shard's name and the format that reads it.
pub type NamedShard = (String, &'static dyn ShardFormat);

/// How to convert.
#[derive(Clone, Debug)]
pub struct ConvertSpec {
    /// The format of the new shards.
    pub to: &'static dyn ShardFormat,
    /// Samples of a new shard; by default as many as the old one has.
    pub samples_per_shard: Option<u64>,
    /// Whether shards that exist are replaced.
    pub force: bool,
}

/// What was converted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Converted {
    /// Version of this form: 1.
    pub schema: u32,
    /// Samples written.
    pub samples: u64,
    /// The new shards.
    pub shards: Vec<NewShard>,
    /// Members of samples that were passed over, by extension or column.
    pub passed_over: BTreeMap<String, u64>,
    /// Members that belong to no sample.
    pub outside_samples: u64,
}

/// A shard that was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewShard {
    /// Its name.
    pub name: String,
    /// Samples in it.
    pub samples: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Digest of its bytes, as 64 hexadecimal digits.
    pub sha256: String,
}

impl NewShard {
    pub(crate) fn new(name: String, summary: &ShardSummary) -> Self {
        Self {
            name,
            samples: summary.samples,
            len_bytes: summary.len_bytes,
            sha256: summary.sha256.to_string(),
        }
    }
}

/// Converts the shards `names` of `source` into `out`.
pub fn convert(
    source: &Folder,
    names: &[NamedShard],
    out: &Folder,
    spec: &ConvertSpec,
    progress: &dyn Progress,
) -> Result<Converted> {
    let mut converted = Converted {
        schema: SCHEMA,
        ..Converted::default()
    };
    progress.start("shards", Some(names.len() as u64));
    match spec.samples_per_shard {
        None => {
            for (id, shard) in (0..).zip(names) {
                let mut samples = Samples::new(source, slice::from_ref(shard), progress);
                converted.write(&mut samples, out, spec, ShardId(id), u64::MAX)?;
                converted.take(samples);
            }
        }
        Some(most) => {
            let mut samples = Samples::new(source, names, progress);
            for id in 0.. {
                let is_first = id == 0;
                if !is_first && samples.peek()?.is_none() {
                    break;
                }
                converted.write(&mut samples, out, spec, ShardId(id), most.max(1))?;
            }
            converted.take(samples);
        }
    }
    progress.finish();
    Ok(converted)
}

impl Converted {
    /// Writes up to `most` samples as the shard `id`.
    fn write(
        &mut self,
        samples: &mut Samples<'_>,
        out: &Folder,
        spec: &ConvertSpec,
        id: ShardId,
        most: u64,
    ) -> Result<()> {
        let name = spec.to.file_name(id);
        if !spec.force && out.entry(&name)?.is_some() {
            return Err(Error::Exists { name });
        }
        let mut sink = out.clone();
        let mut writer = spec.to.create(&mut sink, id)?;
        for _ in 0..most {
            let Some(sample) = samples.next()? else {
                break;
            };
            writer.write(&sample)?;
        }
        let summary = writer.finish()?;
        self.samples += summary.samples;
        self.shards.push(NewShard::new(name, &summary));
        Ok(())
    }

    fn take(&mut self, samples: Samples<'_>) {
        self.outside_samples += samples.outside;
        for (name, n) in samples.passed_over {
            *self.passed_over.entry(name).or_default() += n;
        }
    }
}

/// The samples of several shards, one after the other.
pub(crate) struct Samples<'a> {
    source: &'a dyn ObjectSource,
    shards: slice::Iter<'a, NamedShard>,
    progress: &'a dyn Progress,
    reader: Option<Box<dyn ShardReader>>,
    next: Option<Sample>,
    /// The name of the shard of the last sample.
    shard: &'a str,
    pub(crate) passed_over: BTreeMap<String, u64>,
    pub(crate) outside: u64,
}

impl<'a> Samples<'a> {
    /// `progress` is told each shard that ends.
    pub(crate) fn new(
        source: &'a dyn ObjectSource,
        shards: &'a [NamedShard],
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            source,
            shards: shards.iter(),
            progress,
            reader: None,
            next: None,
            shard: "",
            passed_over: BTreeMap::new(),
            outside: 0,
        }
    }

    fn peek(&mut self) -> Result<Option<&Sample>> {
        if self.next.is_none() {
            self.next = self.read()?;
        }
        Ok(self.next.as_ref())
    }

    /// The name of the shard of the last sample that was read.
    pub(crate) fn shard(&self) -> &'a str {
        self.shard
    }

    /// Passes over the next `samples`, of shards that hold `lens`; whole shards are not opened. Only before anything is read.
    pub(crate) fn skip(&mut self, mut samples: u64, lens: &[u64]) -> Result<()> {
        for len in lens {
            if samples < *len {
                break;
            }
            samples -= len;
            self.shards.next();
        }
        for _ in 0..samples {
            self.next()?;
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<Option<Sample>> {
        match self.next.take() {
            Some(sample) => Ok(Some(sample)),
            None => self.read(),
        }
    }

    fn read(&mut self) -> Result<Option<Sample>> {
        loop {
            if let Some(reader) = &mut self.reader {
                if let Some(sample) = reader.next_sample()? {
                    return Ok(Some(sample));
                }
                let stats = reader.stats();
                self.outside += stats.outside_samples;
                for (name, n) in &stats.passed_over {
                    *self.passed_over.entry(name.clone()).or_default() += n;
                }
                self.progress.advance(1);
                self.reader = None;
            }
            let Some((name, format)) = self.shards.next() else {
                return Ok(None);
            };
            self.shard = name;
            self.reader = Some(format.open(self.source, name)?);
        }
    }
}
