//! From a dataset to batches of prepared examples, ahead of the model.
//!
//! Batches are cut at multiples of the batch size in the order of the dataset, whatever was predicted
//! before: a batch that is partly done is predicted again as a whole, and only its missing lines are
//! written.

use std::collections::{HashMap, HashSet};
use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use bytes::Bytes;
use sightline_core::{Digest, SampleKey};

use crate::cache::{Cache, digest_of};
use crate::dataset::{Dataset, Read};
use crate::demonstrations::{Demonstrations, Shown};
use crate::error::LineProblem;
use crate::example::Truth;
use crate::parts::Part;
use crate::pixels::PixelPreparer;
use crate::predictions::Outcome;
use crate::task::{Ask, Task, Work};
use crate::visuals::{Library, Prepared, Preparer};
use crate::{Error, Result};

/// Batches that wait for the model, beside the one being prepared.
pub(crate) const AHEAD: usize = 2;

/// Consecutive examples.
pub(crate) struct Batch {
    /// Number of the first.
    pub(crate) first: usize,
    /// Keys, and what the model has to do, or what became of the example without it.
    pub(crate) items: Vec<Item>,
}

/// An example on its way to the model, or past it.
pub(crate) struct Item {
    pub(crate) key: SampleKey,
    /// What the model has to do, or what became of the example without it.
    pub(crate) work: Result<Work, Outcome>,
    /// What the model is asked, where answers are kept.
    pub(crate) request: Option<Digest>,
}

/// Where batches come from.
pub(crate) struct Feed<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) task: &'a dyn Task,
    pub(crate) library: &'a Library,
    pub(crate) preparer: &'a Preparer,
    /// Name of the model, for messages.
    pub(crate) model: &'a str,
    pub(crate) batch_size: usize,
    pub(crate) limit: Option<u64>,
    /// Which of the examples; `None` for all.
    pub(crate) part: Option<Part>,
    /// What became of examples in an earlier run, in which others were left without an answer.
    pub(crate) known: &'a HashMap<SampleKey, Outcome>,
    /// Answers of earlier runs.
    pub(crate) cache: Option<&'a Cache>,
    /// Keys of the samples that have their lines already.
    pub(crate) done: &'a [SampleKey],
    /// The file of these lines.
    pub(crate) path: &'a Path,
    /// What is shown before each question.
    pub(crate) shown: Option<&'a Demonstrations>,
    pub(crate) stop: &'a AtomicBool,
}

impl Feed<'_> {
    /// Sends every batch that is not done, until the end, an error, `stop`, or nobody receives. Returns the
    /// annotations of all samples; they are complete only in the first case. What precedes an error in a
    /// shard is sent before.
    pub(crate) fn run(&self, batches: &SyncSender<Batch>) -> Result<Truth> {
        let mut truth = Truth {
            examples: Vec::new(),
            classes: self.dataset.classes.names.len(),
        };
        let mut seen = HashSet::new();
        let mut waiting: Vec<(Read, bool)> = Vec::new();
        let mut examples = (0..).zip(self.dataset.examples(self.limit));
        loop {
            let next = examples.next();
            if let Some((index, Ok(read))) = next {
                let key = &read.example.key;
                let is_new = seen.insert(key.clone());
                if self.part.is_some_and(|part| !part.has(index)) {
                    continue;
                }
                self.check(truth.examples.len(), key)?;
                truth.examples.push(read.example.clone());
                waiting.push((read, is_new));
                if waiting.len() < self.batch_size {
                    continue;
                }
                if !self.send(&mut waiting, &truth, batches)? {
                    return Ok(truth);
                }
                continue;
            }
            if !self.send(&mut waiting, &truth, batches)? {
                return Ok(truth);
            }
            return match next {
                Some((_, Err(error))) => Err(error),
                _ if truth.examples.len() < self.done.len() => Err(self.refuse(
                    truth.examples.len(),
                    LineProblem::Count {
                        found: self.done.len() as u64,
                        expected: truth.examples.len() as u64,
                    },
                )),
                _ => Ok(truth),
            };
        }
    }

    /// Gives every batch to `take`, while the next ones are prepared on another thread. Returns the annotations.
    pub(crate) fn each(&self, mut take: impl FnMut(Batch) -> Result<()>) -> Result<Truth> {
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(AHEAD);
            let reader = scope.spawn(move || self.run(&sender));
            let mut take_all = || -> Result<()> {
                for batch in &receiver {
                    take(batch)?;
                }
                Ok(())
            };
            let taken = take_all();
            // Who still sends learns that nobody listens.
            drop(receiver);
            let read = match reader.join() {
                Ok(read) => read,
                Err(panicked) => panic::resume_unwind(panicked),
            };
            taken?;
            read
        })
    }

    /// Prepares what waits and sends it; whether to go on.
    fn send(
        &self,
        waiting: &mut Vec<(Read, bool)>,
        truth: &Truth,
        batches: &SyncSender<Batch>,
    ) -> Result<bool> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let read = std::mem::take(waiting);
        if read.is_empty() || truth.examples.len() <= self.done.len() {
            return Ok(true);
        }
        let first = truth.examples.len() - read.len();
        let items = self.prepare(read)?;
        Ok(batches.send(Batch { first, items }).is_ok())
    }

    fn prepare(&self, read: Vec<(Read, bool)>) -> Result<Vec<Item>> {
        let mut asked: Vec<Result<Ask, Outcome>> = read
            .iter()
            .map(|(read, is_new)| self.ask(read, *is_new))
            .collect();
        let sources: Vec<Vec<Source<'_>>> = read
            .iter()
            .zip(&asked)
            .map(|((read, _), asked)| match asked {
                Ok(_) => self.sources(read),
                Err(_) => Vec::new(),
            })
            .collect();
        let files = match self.preparer {
            Preparer::Regions { .. } => Vec::new(),
            _ => files(&sources),
        };
        let regions = match self.preparer {
            Preparer::Regions { width, .. } => self.regions(&sources, *width)?,
            _ => Vec::new(),
        };
        drop(sources);
        let requests = self.requests(&read, &mut asked, &files, &regions);
        let none = || vec![Ok(Vec::new()); read.len()];
        let (images, files) = match self.preparer {
            Preparer::Pixels(_) if self.task.takes_files() => {
                (vec![Ok(Vec::new()); read.len()], files)
            }
            Preparer::Pixels(preparer) => (self.pixels(preparer, files, &asked)?, none()),
            Preparer::Regions { .. } => (regions, none()),
            Preparer::Encoded => {
                let encoded =
                    |files: Vec<Bytes>| files.into_iter().map(Prepared::Encoded).collect();
                let images = files.into_iter().map(|files| files.map(encoded)).collect();
                (images, none())
            }
        };
        let keys = read.into_iter().map(|(read, _)| read.example.key);
        let prepared = images.into_iter().zip(files);
        let all = keys.zip(asked.into_iter().zip(prepared)).zip(requests);
        Ok(all
            .map(|((key, (asked, (images, files))), request)| {
                let work = asked.and_then(|ask| {
                    Ok(Work {
                        key: key.clone(),
                        images: images?,
                        files: files?,
                        ask,
                    })
                });
                Item { key, work, request }
            })
            .collect())
    }

    /// What the model is asked about each example, where answers are kept; an example whose answer is kept needs no model.
    fn requests(
        &self,
        read: &[(Read, bool)],
        asked: &mut [Result<Ask, Outcome>],
        files: &[Result<Vec<Bytes>, Outcome>],
        regions: &[Result<Vec<Prepared>, Outcome>],
    ) -> Vec<Option<Digest>> {
        let Some(cache) = self.cache else {
            return vec![None; read.len()];
        };
        let mut all = Vec::with_capacity(read.len());
        for (at, ((read, _), asked)) in read.iter().zip(asked).enumerate() {
            let images = match (files.get(at), regions.get(at)) {
                (Some(Ok(files)), _) => Some(
                    files
                        .iter()
                        .map(|file| Digest::of(file))
                        .collect::<Vec<_>>(),
                ),
                (_, Some(Ok(regions))) => Some(
                    regions
                        .iter()
                        .filter_map(|image| match image {
                            Prepared::Regions(regions) => Some(digest_of(regions)),
                            _ => None,
                        })
                        .collect(),
                ),
                _ => None,
            };
            let request = match (&asked, images) {
                (Ok(ask), Some(images)) => Some(cache.request(&read.example.key, ask, &images)),
                _ => None,
            };
            if let Some(answer) = request.and_then(|request| cache.get(&request)) {
                *asked = Err(Outcome::Predicted(answer));
                all.push(None);
            } else {
                all.push(request);
            }
        }
        all
    }

    /// Where the images of an example are: those of its demonstrations, then its own.
    fn sources<'s>(&'s self, read: &'s Read) -> Vec<Source<'s>> {
        let mut sources = Vec::new();
        if let Some(shown) = self.shown
            && let (demonstrations, true) = shown.of(&read.example.key)
        {
            for one in demonstrations {
                let files = || {
                    one.images
                        .iter()
                        .map(|name| Source::File(&shown.library, name))
                };
                match &one.bytes {
                    Some(bytes) => sources.push(Source::Shown(one, bytes)),
                    None => sources.extend(files()),
                }
            }
        }
        if let Some(image) = &read.image {
            sources.push(Source::Shard(image));
        } else {
            let names = read.example.images.iter();
            sources.extend(names.map(|name| Source::File(self.library, name)));
        }
        sources
    }

    /// The regions of each example's images.
    fn regions(
        &self,
        sources: &[Vec<Source<'_>>],
        width: usize,
    ) -> Result<Vec<Result<Vec<Prepared>, Outcome>>> {
        let dataset = &self.dataset.name;
        let mut all = Vec::with_capacity(sources.len());
        for sources in sources {
            let mut images = Ok(Vec::new());
            for source in sources {
                let Source::File(library, name) = source else {
                    continue;
                };
                let found = library.regions_of(dataset, self.model, name, width)?;
                images = images.and_then(|mut images: Vec<Prepared>| {
                    images.push(Prepared::Regions(found?));
                    Ok(images)
                });
            }
            all.push(images);
        }
        Ok(all)
    }

    /// The prepared pixels of each example's images, an image that several examples of the batch are about once.
    fn pixels(
        &self,
        preparer: &PixelPreparer,
        files: Vec<Result<Vec<Bytes>, Outcome>>,
        asked: &[Result<Ask, Outcome>],
    ) -> Result<Vec<Result<Vec<Prepared>, Outcome>>> {
        let mut once: Vec<Bytes> = Vec::new();
        // One file that several examples name is the same piece of memory.
        let mut by_place: HashMap<(*const u8, usize), usize> = HashMap::new();
        let mut places: Vec<Result<Vec<usize>, Outcome>> = Vec::with_capacity(files.len());
        for (files, asked) in files.into_iter().zip(asked) {
            let place = |file: Bytes| {
                *by_place
                    .entry((file.as_ptr(), file.len()))
                    .or_insert_with(|| {
                        once.push(file);
                        once.len() - 1
                    })
            };
            places.push(match asked {
                Ok(_) => files.map(|files| files.into_iter().map(place).collect()),
                Err(_) => Ok(Vec::new()),
            });
        }
        let bytes = once.iter().map(|file| &file[..]).collect();
        let prepared = preparer
            .prepare(bytes)
            .map_err(|source| Error::card(self.model, source))?;
        let one = |place: usize| match &prepared[place] {
            Ok(pixels) => Ok(Prepared::Pixels(pixels.clone())),
            Err(error) => {
                tracing::debug!(%error, "image cannot be prepared");
                Err(Outcome::Failed(format!("image: {}", error.class())))
            }
        };
        let all = places.into_iter();
        Ok(all
            .map(|places| places?.into_iter().map(one).collect())
            .collect())
    }

    /// What an example puts before the model, or what becomes of it without the model.
    fn ask(&self, read: &Read, is_new: bool) -> Result<Ask, Outcome> {
        if let Some(outcome) = self.known.get(&read.example.key).filter(|_| is_new) {
            return Err(outcome.clone());
        }
        if !is_new {
            return Err(Outcome::Failed("the key occurs twice".to_owned()));
        }
        let skip = |why: &str| Outcome::Skipped(why.to_owned());
        if matches!(self.library, Library::Shards) && read.image.is_none() {
            return Err(skip("no image"));
        }
        let mut ask = self.task.ask(&read.example.content).map_err(skip)?;
        if let Some(shown) = self.shown {
            let (demonstrations, _) = shown.of(&read.example.key);
            ask.shots = demonstrations
                .into_iter()
                .map(|one| one.shot.clone())
                .collect();
        }
        Ok(ask)
    }

    /// Checks that the line of an example that is done is that example's.
    fn check(&self, number: usize, expected: &SampleKey) -> Result<()> {
        match self.done.get(number) {
            Some(key) if key != expected => Err(self.refuse(
                number,
                LineProblem::Key {
                    found: key.to_string(),
                    expected: expected.to_string(),
                },
            )),
            _ => Ok(()),
        }
    }

    fn refuse(&self, number: usize, problem: LineProblem) -> Error {
        Error::Predictions {
            path: self.path.to_owned(),
            // The header is line 1.
            line: number as u64 + 2,
            problem,
        }
    }
}

/// The image files of each example, each read once for the batch.
fn files(sources: &[Vec<Source<'_>>]) -> Vec<Result<Vec<Bytes>, Outcome>> {
    let mut by_identity: HashMap<(usize, &str), Result<Bytes, Outcome>> = HashMap::new();
    let mut all = Vec::with_capacity(sources.len());
    for sources in sources {
        let mut of_example = Ok(Vec::with_capacity(sources.len()));
        for source in sources {
            let bytes = match source.identity() {
                Some(identity) => by_identity
                    .entry(identity)
                    .or_insert_with(|| source.bytes())
                    .clone(),
                None => source.bytes(),
            };
            of_example = of_example.and_then(|mut all: Vec<Bytes>| {
                all.push(bytes?);
                Ok(all)
            });
        }
        all.push(of_example);
    }
    all
}

/// Where an image is.
enum Source<'s> {
    /// A file of this name.
    File(&'s Library, &'s str),
    /// That of a demonstration, taken from a shard.
    Shown(&'s Shown, &'s Bytes),
    /// That of the example, taken from a shard.
    Shard(&'s Bytes),
}

impl<'s> Source<'s> {
    /// What is the same for the same image of a batch; `None` for one that no other example has.
    fn identity(&self) -> Option<(usize, &'s str)> {
        match self {
            Self::File(library, name) => Some((std::ptr::from_ref(*library).addr(), name)),
            Self::Shown(shown, _) => Some((std::ptr::from_ref(*shown).addr(), "")),
            Self::Shard(_) => None,
        }
    }

    fn bytes(&self) -> Result<Bytes, Outcome> {
        match self {
            Self::File(library, name) => Ok(library.bytes(name)?.into()),
            Self::Shown(_, bytes) | Self::Shard(bytes) => Ok((*bytes).clone()),
        }
    }
}
