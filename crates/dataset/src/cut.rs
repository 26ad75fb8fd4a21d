//! Samples into shards of one folder.

use sightline_core::progress::Silent;
use sightline_core::{Sample, ShardId};
use sightline_shard::{ShardFormat, ShardWriter, webdataset};
use sightline_store::Folder;

use crate::convert::NewShard;
use crate::index::{IndexSpec, Manifest, ManifestShard, needed_by};
use crate::{Error, Result};

/// Where a row of samples is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cutting {
    /// Most samples of a shard.
    pub(crate) samples: Option<u64>,
    /// Longest shard in bytes, measured as an archive that is not compressed. A sample that is longer has a shard of its own.
    pub(crate) len_bytes: Option<u64>,
    /// So many shards of so many samples together, as equal as can be, the longer ones first.
    pub(crate) shares: Option<Shares>,
}

/// Samples shared out among shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) shards: u64,
    pub(crate) samples: u64,
}

impl Cutting {
    /// Whether a shard that holds `samples` of `len` bytes has no room for one of `next` bytes.
    fn is_full(&self, shard: u64, samples: u64, len: u64, next: u64) -> bool {
        let limit = |limit: u64| samples > 0 && len + next + webdataset::END_LEN_BYTES > limit;
        let most = match self.shares {
            Some(Shares {
                shards,
                samples: all,
            }) => Some(all / shards + u64::from(shard < all % shards)),
            None => self.samples,
        };
        most.is_some_and(|most| samples >= most) || self.len_bytes.is_some_and(limit)
    }

    /// Whether the shard with this number is the last.
    fn is_last(&self, shard: u64) -> bool {
        self.shares.is_some_and(|shares| shard + 1 >= shares.shards)
    }
}

/// The shards of a dataset that is being written: the first settles for the others what its format lets it.
pub(crate) struct Series<'a> {
    to: &'a dyn ShardFormat,
    after: Option<Box<dyn ShardFormat>>,
    out: &'a Folder,
}

impl<'a> Series<'a> {
    /// Goes on behind those that are `done`.
    pub(crate) fn new(to: &'a dyn ShardFormat, out: &'a Folder, done: &[NewShard]) -> Result<Self> {
        let mut series = Self {
            to,
            after: None,
            out,
        };
        if let Some(first) = done.first() {
            series.settle(first)?;
        }
        Ok(series)
    }

    /// Writes the shard `id`, of what `fill` gives its writer.
    pub(crate) fn write(
        &mut self,
        id: ShardId,
        fill: impl FnOnce(&mut dyn ShardWriter) -> Result<()>,
    ) -> Result<NewShard> {
        let format = self.after.as_deref().unwrap_or(self.to);
        let mut sink = self.out.clone();
        let mut writer = format.create(&mut sink, id)?;
        fill(&mut *writer)?;
        let shard = NewShard::new(format.file_name(id), &writer.finish()?);
        if id == ShardId(0) {
            self.settle(&shard)?;
        }
        Ok(shard)
    }

    fn settle(&mut self, first: &NewShard) -> Result<()> {
        self.after = self.to.after(self.out, &first.name)?;
        Ok(())
    }
}

/// Writes what `next` yields as shards of `out`, at least one, behind those that are `done`, and says which they all are. `finished` is
/// told of each.
pub(crate) fn write_shards(
    mut next: impl FnMut() -> Result<Option<Sample>>,
    out: &Folder,
    to: &dyn ShardFormat,
    cutting: Cutting,
    done: &[NewShard],
    mut finished: impl FnMut(&NewShard) -> Result<()>,
) -> Result<Vec<NewShard>> {
    let mut shards = done.to_vec();
    let mut series = Series::new(to, out, done)?;
    let mut pending = next()?;
    if pending.is_none() && !done.is_empty() {
        return Ok(shards);
    }
    for id in done.len() as u64.. {
        let shard = series.write(ShardId(id), |writer| {
            let (mut samples, mut len) = (0, 0);
            while let Some(sample) = pending.take() {
                let sample_len = match cutting.len_bytes {
                    Some(_) => webdataset::len_bytes(&sample)?,
                    None => 0,
                };
                if cutting.is_full(id, samples, len, sample_len) {
                    pending = Some(sample);
                    break;
                }
                writer.write(&sample)?;
                samples += 1;
                len += sample_len;
                pending = next()?;
            }
            Ok(())
        })?;
        finished(&shard)?;
        shards.push(shard);
        let is_last = cutting.is_last(id) || (pending.is_none() && cutting.shares.is_none());
        if is_last {
            break;
        }
    }
    Ok(shards)
}

/// Writes what belongs beside `shards`: the index without which nobody reads them, and last the list with their digests.
pub(crate) fn complete(out: &Folder, to: &dyn ShardFormat, shards: &[NewShard]) -> Result<()> {
    if let Some(index) = needed_by(to).filter(|_| !shards.is_empty()) {
        let names: Vec<String> = shards.iter().map(|shard| shard.name.clone()).collect();
        index.write(out, &names, &IndexSpec::default(), &Silent)?;
    }
    let listed: Result<Vec<ManifestShard>> = shards
        .iter()
        .map(|shard| {
            let sha256 = shard.sha256.parse().map_err(|_| Error::Io {
                action: "list",
                name: shard.name.clone(),
                source: std::io::ErrorKind::InvalidData.into(),
            })?;
            Ok(ManifestShard {
                name: shard.name.clone(),
                format: to.name().to_owned(),
                samples: shard.samples,
                len_bytes: shard.len_bytes,
                sha256,
            })
        })
        .collect();
    Manifest::of(listed?).write(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lengths of the shards of `samples` samples that are `len` bytes long each.
    fn cut(cutting: Cutting, samples: u64, len: u64) -> Vec<u64> {
        let mut shards = Vec::new();
        let mut left = samples;
        for id in 0.. {
            let mut held = 0;
            while left > 0 && !cutting.is_full(id, held, held * len, len) {
                held += 1;
                left -= 1;
            }
            shards.push(held);
            if cutting.is_last(id) || (left == 0 && cutting.shares.is_none()) {
                break;
            }
        }
        shards
    }

    proptest! {
        #[test]
        fn shares_are_as_equal_as_can_be(samples in 0u64..200, shards in 1u64..40) {
            let cutting = Cutting { shares: Some(Shares { shards, samples }), ..Cutting::default() };
            let lens = cut(cutting, samples, 1);
            prop_assert_eq!(lens.len() as u64, shards);
            prop_assert_eq!(lens.iter().sum::<u64>(), samples);
            prop_assert!(lens[0] - lens[lens.len() - 1] <= 1 && lens.is_sorted_by(|a, b| a >= b));
        }

        #[test]
        fn no_shard_is_longer_than_asked(samples in 1u64..200, len in 1u64..5000, limit in 1u64..40_000, most in 1u64..9) {
            let cutting = Cutting { samples: Some(most), len_bytes: Some(limit), shares: None };
            let lens = cut(cutting, samples, len);
            prop_assert_eq!(lens.iter().sum::<u64>(), samples);
            for held in lens {
                prop_assert!(held <= most && held > 0);
                prop_assert!(held == 1 || held * len + webdataset::END_LEN_BYTES <= limit);
            }
        }
    }
}
