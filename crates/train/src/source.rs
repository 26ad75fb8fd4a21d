//! Where samples are from: shards, or scenes that are drawn when the run begins.
//!
//! Training reads an endless row of epochs, each in an order of its own ([`sightline_shard::order`]); a step is a range of positions in it.
//! What a step sees is therefore a function of the data, the seed and the number of the step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sightline_core::digest::Hasher;
use sightline_core::{Digest, ObjectSource, Progress, Sample, Seed};
use sightline_dataset::{NamedShard, ReadSpec, Reader, count};
use sightline_manifest::train::{PlannedData, PlannedSource};
use sightline_shard::format::of_name;
use sightline_shard::order::{Order, OrderSpec, Remainder, Share};
use sightline_shard::{Cursor, FORMATS, ShardFormat};
use sightline_store::glob::locate;
use sightline_store::{Folder, Stores};
use sightline_synth::ScenesSpec;
use sightline_synth::samples::samples as draw;
use sightline_synth::splits::Split;

use crate::regions::Place;
use crate::{Error, Result, Roots};

/// Bytes of encoded samples that wait to be decoded.
const AHEAD_BYTES: u64 = 32 << 20;

/// Shards that are digested byte for byte; of more only names, lengths and numbers of samples are.
pub(crate) const DIGEST_LIMIT_BYTES: u64 = 1 << 30;

/// Name of what is learned from.
pub const TRAIN: &str = "train";
/// Name of what is measured on.
pub const VALIDATION: &str = "validation";

/// Samples of one split.
#[derive(Clone)]
pub struct Samples {
    kind: Kind,
    /// How it is called in messages: a path, or `scenes`.
    name: String,
    len: u64,
    digest: Digest,
}

#[derive(Clone)]
enum Kind {
    Shards {
        source: Arc<dyn ObjectSource>,
        names: Vec<NamedShard>,
        lens: Vec<u64>,
    },
    Memory(Arc<Vec<Sample>>),
}

/// What is learned from, and what is measured on.
pub struct Data {
    /// To learn from.
    pub train: Samples,
    /// To measure on.
    pub validation: Option<Samples>,
    /// The regions of both, as far as something says where they are.
    pub regions: [Option<Place>; 2],
}

impl Data {
    /// Opens what `plan` says.
    pub fn open(plan: &PlannedData, roots: &Roots, progress: &dyn Progress) -> Result<Self> {
        match &plan.source {
            PlannedSource::Shards {
                train,
                validation,
                format,
            } => {
                let format = format.as_deref();
                let open = |place| Samples::shards(&roots.path(place), format, progress);
                let regions = [&plan.train, &plan.validation].map(|files| {
                    Some(Place::Files {
                        regions: roots.path(files.regions.as_ref()?),
                        objects: files.objects.as_ref().map(|place| roots.path(place)),
                    })
                });
                Ok(Self {
                    train: open(train)?,
                    validation: validation.as_ref().map(open).transpose()?,
                    regions,
                })
            }
            PlannedSource::Scenes {
                train,
                val,
                size,
                max_objects,
                seed,
            } => {
                let spec = ScenesSpec {
                    train: *train,
                    val: *val,
                    test: 0,
                    size: *size,
                    max_objects: *max_objects,
                    seed: *seed,
                    ..ScenesSpec::default()
                };
                let drawn = |split| -> Result<Samples> {
                    Ok(Samples::memory("scenes", draw(&spec, split)?))
                };
                Ok(Self {
                    train: drawn(Split::Train)?,
                    validation: (*val > 0).then(|| drawn(Split::Val)).transpose()?,
                    regions: [Split::Train, Split::Val]
                        .map(|split| Some(Place::Drawn(spec.clone(), split))),
                })
            }
        }
    }

    /// Both, with their names and where their regions are.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Samples, Option<&Place>)> {
        let [of_train, of_validation] = &self.regions;
        let validation = self.validation.as_ref();
        std::iter::once((TRAIN, &self.train, of_train.as_ref()))
            .chain(validation.map(|samples| (VALIDATION, samples, of_validation.as_ref())))
    }

    /// A digest of each part, and of the files about its regions.
    pub fn digests(&self) -> Result<BTreeMap<String, Digest>> {
        let mut digests = BTreeMap::new();
        for (name, samples, regions) in self.parts() {
            digests.insert(name.to_owned(), samples.digest());
            if let Some(digest) = regions.map(Place::digest).transpose()?.flatten() {
                digests.insert(format!("{name}_regions"), digest);
            }
        }
        Ok(digests)
    }
}

impl Samples {
    /// Samples in memory, called `name`.
    pub fn memory(name: &str, samples: Vec<Sample>) -> Self {
        let mut hasher = Hasher::new();
        for sample in &samples {
            hasher.update(sample.key.as_str().as_bytes());
            hasher.update(&[0]);
            if let Some(image) = &sample.image {
                hasher.update(&image.bytes);
            }
            for caption in &sample.captions {
                hasher.update(caption.as_bytes());
                hasher.update(&[0]);
            }
        }
        Self {
            len: samples.len() as u64,
            kind: Kind::Memory(samples.into()),
            name: name.to_owned(),
            digest: hasher.finish(),
        }
    }

    /// The shards that `typed` means: a folder, a file or a pattern.
    pub fn shards(typed: &Path, format: Option<&str>, progress: &dyn Progress) -> Result<Self> {
        let name = typed.display().to_string();
        let (folder, names) = find(&name, format)?;
        let source = folder.shared();
        let lens = count(&*source, &names, progress)?;
        let len = lens.iter().sum();
        if len == 0 {
            return Err(Error::NoSamples { name });
        }
        Ok(Self {
            digest: digest(&folder, &names, &lens)?,
            kind: Kind::Shards {
                source,
                names,
                lens,
            },
            name,
            len,
        })
    }

    /// How many there are; at least one.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How messages call them.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of all bytes of small data; of large data, of names, lengths and numbers of samples.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The endless row of epochs from the position `from` on, shuffled by `seed`, fetched by `threads`.
    pub fn epochs(&self, spec: OrderSpec, from: u64, threads: usize) -> Epochs {
        Epochs {
            samples: self.clone(),
            spec,
            position: from,
            threads,
            reader: None,
        }
    }

    /// Every sample once, as they lie there.
    pub fn in_order(&self, threads: usize) -> impl Iterator<Item = Result<Sample>> + Send + use<> {
        let spec = OrderSpec {
            seed: Seed(0),
            shuffle: false,
            lanes: 1,
            window: 1,
        };
        let len = usize::try_from(self.len).unwrap_or(usize::MAX);
        self.epochs(spec, 0, threads).take(len)
    }

    /// The first sample of each shard, or the first of all, with where it lies.
    pub fn first_of_each(&self) -> Result<Vec<(String, Sample)>> {
        match &self.kind {
            Kind::Memory(samples) => {
                let first = samples.first().cloned();
                Ok(first.map(|s| (self.name.clone(), s)).into_iter().collect())
            }
            Kind::Shards { source, names, .. } => {
                let mut firsts = Vec::new();
                for (name, format) in names {
                    let mut reader = format
                        .open(&**source, name)
                        .map_err(sightline_dataset::Error::from)?;
                    let first = reader
                        .next_sample()
                        .map_err(sightline_dataset::Error::from)?;
                    firsts.extend(first.map(|sample| (name.clone(), sample)));
                }
                Ok(firsts)
            }
        }
    }
}

/// Samples of epochs after each other, without end.
pub struct Epochs {
    samples: Samples,
    spec: OrderSpec,
    position: u64,
    threads: usize,
    reader: Option<Epoch>,
}

enum Epoch {
    Shards(Reader),
    Memory(std::vec::IntoIter<usize>),
}

impl Epochs {
    fn open(&self) -> Result<Epoch> {
        let (number, sample) = (
            self.position / self.samples.len,
            self.position % self.samples.len,
        );
        match &self.samples.kind {
            Kind::Memory(samples) => {
                // One shard in one lane: all are shuffled together.
                let spec = OrderSpec {
                    lanes: 1,
                    window: 1,
                    ..self.spec
                };
                let order = Order::new(&[samples.len() as u64], spec, number);
                let mut locator = order.locator();
                let rows: Vec<usize> = (sample..self.samples.len)
                    .map(|position| locator.locate(position).row as usize)
                    .collect();
                Ok(Epoch::Memory(rows.into_iter()))
            }
            Kind::Shards {
                source,
                names,
                lens,
            } => {
                let named: Vec<(&str, u64)> = names
                    .iter()
                    .zip(lens)
                    .map(|((name, _), len)| (name.as_str(), *len))
                    .collect();
                let cursor = Cursor::new(&named, self.spec, number).after(sample, 1);
                let share = Share::new(0, 1, 0, 0, 1).map_err(|_| Error::NoSamples {
                    name: self.samples.name.clone(),
                })?;
                let spec = ReadSpec {
                    share,
                    cursor,
                    remainder: Remainder::Pad,
                    threads: self.threads,
                    ahead_bytes: AHEAD_BYTES,
                    cache: None,
                    dataset: self.samples.name.clone(),
                    scratch: std::env::temp_dir(),
                };
                Ok(Epoch::Shards(Reader::new(
                    Arc::clone(source),
                    names,
                    lens,
                    &spec,
                )?))
            }
        }
    }
}

impl Iterator for Epochs {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.samples.is_empty() {
            return None;
        }
        loop {
            let mut epoch = match self.reader.take() {
                Some(epoch) => epoch,
                None => match self.open() {
                    Ok(epoch) => epoch,
                    Err(error) => return Some(Err(error)),
                },
            };
            let next = match (&mut epoch, &self.samples.kind) {
                (Epoch::Memory(rows), Kind::Memory(samples)) => rows
                    .next()
                    .and_then(|row| samples.get(row).cloned())
                    .map(Ok),
                (Epoch::Shards(reader), _) => reader
                    .next()
                    .map(|read| read.map(|(_, sample)| sample).map_err(Error::from)),
                (Epoch::Memory(_), Kind::Shards { .. }) => None,
            };
            if let Some(sample) = next {
                self.position += 1;
                self.reader = Some(epoch);
                return Some(sample);
            }
        }
    }
}

/// Shards of the first format that `typed`, a folder, holds any of; or what a pattern matches.
fn find(typed: &str, format: Option<&str>) -> Result<(Folder, Vec<NamedShard>)> {
    let given = format.and_then(|name| FORMATS.iter().copied().find(|f| f.name() == name));
    if let Some(format) = given {
        let (folder, names) = locate(typed, &format!("*.{}", format.extension()))?;
        let names = names.into_iter().map(|name| (name, format)).collect();
        return Ok((folder, names));
    }
    let is_folder = Stores::default().kind(Path::new(typed))? == sightline_store::Kind::Folder;
    let mut last = None;
    for format in FORMATS.iter().filter(|_| is_folder) {
        match locate(typed, &format!("*.{}", format.extension())) {
            Ok((folder, names)) if !names.is_empty() => return with_formats(folder, names),
            Ok(_) => {}
            Err(error) => {
                last.get_or_insert(error);
            }
        }
    }
    if let Some(error) = last {
        return Err(error.into());
    }
    let (folder, names) = locate(typed, "*.tar")?;
    with_formats(folder, names)
}

fn with_formats(folder: Folder, names: Vec<String>) -> Result<(Folder, Vec<NamedShard>)> {
    let mut named: Vec<(String, &'static dyn ShardFormat)> = Vec::new();
    for name in names {
        match of_name(&name) {
            Some(format) => named.push((name, format)),
            None => {
                return Err(Error::NoFormat {
                    name: PathBuf::from(name).display().to_string(),
                });
            }
        }
    }
    Ok((folder, named))
}

fn digest(folder: &Folder, names: &[NamedShard], lens: &[u64]) -> Result<Digest> {
    let mut hasher = Hasher::new();
    let mut sizes = Vec::new();
    for (name, _) in names {
        // A folder of plain files is no object.
        let entry = folder.entry(name).ok().flatten();
        sizes.push(entry.map_or(0, |entry| entry.len_bytes));
    }
    let is_small = sizes.iter().sum::<u64>() <= DIGEST_LIMIT_BYTES;
    for (((name, _), len), size) in names.iter().zip(lens).zip(&sizes) {
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        hasher.update(&len.to_le_bytes());
        hasher.update(&size.to_le_bytes());
        if is_small && *size > 0 {
            hasher.update(folder.digest(name)?.sha256.as_bytes());
        }
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_epochs_goes_on_at_any_position() {
        let spec = ScenesSpec {
            train: 7,
            ..ScenesSpec::default()
        };
        let samples = Samples::memory("scenes", draw(&spec, Split::Train).unwrap());
        let order = OrderSpec {
            seed: Seed(3),
            ..OrderSpec::default()
        };
        let keys = |from, n| -> Vec<String> {
            let epochs = samples.epochs(order, from, 1).take(n);
            epochs.map(|s| s.unwrap().key.to_string()).collect()
        };
        let whole = keys(0, 20);
        for from in [1, 6, 7, 8, 13] {
            assert_eq!(keys(from, 20 - from as usize), whole[from as usize..]);
        }
        let mut first = whole[..7].to_vec();
        assert_ne!(first, whole[7..14]);
        first.sort();
        first.dedup();
        assert_eq!(first.len(), 7);
    }
}
