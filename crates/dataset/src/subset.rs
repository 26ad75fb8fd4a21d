//! A dataset without some of its samples: what `filter` and `dedup` write.
//!
//! Samples keep their order. By default each shard becomes one of the same format without what is left out, and one of which
//! nothing stays becomes none; the new ones are counted from 0. With a number of samples a shard they are cut anew. The
//! output folder appears when all is written.

use serde::Serialize;
use sightline_core::{Progress, Sample, ShardId};
use sightline_shard::{ReaderStats, ShardFormat};
use sightline_store::Folder;

use crate::convert::{NamedShard, NewShard, Samples};
use crate::cut::{Series, complete};
use crate::staging::{Job, Staging, Target};
use crate::{PassedOver, Result};

/// Where the rest of a dataset goes.
#[derive(Clone, Debug)]
pub struct Output {
    /// The new folder; nothing is written where there is none.
    pub folder: Option<Target>,
    /// The format of the new shards; by default that of the first old one.
    pub to: Option<&'static dyn ShardFormat>,
    /// Samples of a new shard; by default what stays of an old one.
    pub samples_per_shard: Option<u64>,
    /// Whether a folder that is there is replaced.
    pub force: bool,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Subset {
    /// Samples read.
    pub read: u64,
    /// Samples that stay.
    pub kept: u64,
    /// The new shards; none where nothing is written.
    pub shards: Vec<NewShard>,
    /// What was not taken over.
    #[serde(flatten)]
    pub passed_over: PassedOver,
}

/// Says which samples stay.
pub(crate) trait Judge {
    /// Whether `sample` of the shard `shard` stays. Asked once for each, in their order.
    fn keeps(&mut self, shard: &str, sample: &Sample) -> Result<bool>;

    /// An error where the output must not appear after all; asked when all samples are read.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Writes those samples of the shards `names` of `source` that `judge` keeps.
pub(crate) fn write_subset(
    source: &Folder,
    names: &[NamedShard],
    output: &Output,
    progress: &dyn Progress,
    judge: &mut dyn Judge,
) -> Result<Subset> {
    let mut subset = Subset::default();
    let Some((_, first)) = names.first() else {
        return Ok(subset);
    };
    let to = output.to.unwrap_or(*first);
    let staging = match &output.folder {
        Some(folder) => Some(Staging::begin(folder, output.force, Job::anew())?),
        None => None,
    };
    let folder = staging.as_ref().map(Staging::folder).transpose()?;
    let mut series = match &folder {
        Some(folder) => Some(Series::new(to, folder, &[])?),
        None => None,
    };
    progress.start("shards", Some(names.len() as u64));
    // Each of these becomes a row of shards of its own.
    let rows = match output.samples_per_shard {
        None => names.chunks(1),
        Some(_) => names.chunks(names.len()),
    };
    let most = output.samples_per_shard.unwrap_or(u64::MAX).max(1);
    let mut stats = ReaderStats::default();
    let mut id = 0;
    for row in rows {
        let mut kept = Kept {
            samples: Samples::new(source, row, progress),
            judge: &mut *judge,
            read: 0,
        };
        while let Some(first) = kept.next()? {
            subset.kept += 1;
            let Some(series) = &mut series else {
                continue;
            };
            let shard = series.write(ShardId(id), |writer| {
                writer.write(&first)?;
                for _ in 1..most {
                    let Some(sample) = kept.next()? else {
                        break;
                    };
                    writer.write(&sample)?;
                    subset.kept += 1;
                }
                Ok(())
            })?;
            subset.shards.push(shard);
            id += 1;
        }
        subset.read += kept.read;
        stats.add(&kept.samples.into_stats());
    }
    progress.finish();
    subset.passed_over = stats.into();
    judge.check()?;
    if let (Some(staging), Some(folder)) = (staging, folder) {
        complete(&folder, to, &subset.shards)?;
        staging.finish()?;
    }
    Ok(subset)
}

/// The samples that are kept.
struct Kept<'a, 'b> {
    samples: Samples<'a>,
    judge: &'b mut dyn Judge,
    read: u64,
}

impl Kept<'_, '_> {
    fn next(&mut self) -> Result<Option<Sample>> {
        while let Some(sample) = self.samples.next()? {
            self.read += 1;
            let shard = self.samples.shard();
            if self.judge.keeps(shard, &sample)? {
                return Ok(Some(sample));
            }
        }
        Ok(None)
    }
}

/// An error when `output` would replace something, before anything is read.
pub(crate) fn check_vacant(output: &Output) -> Result<()> {
    match output.folder.as_ref().filter(|_| !output.force) {
        Some(folder) => folder.check_vacant(),
        None => Ok(()),
    }
}
