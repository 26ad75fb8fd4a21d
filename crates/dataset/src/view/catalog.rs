//! The samples of a dataset by their places.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sightline_core::Sample;
use sightline_shard::{SampleAt, ShardFormat, ShardReader};
use sightline_store::Folder;

use crate::convert::NamedShard;
use crate::repair::chain;

/// Images that were read lately are kept up to this many bytes.
const MAX_KEPT_BYTES: usize = 192 << 20;

/// Shards that are kept open where they were left, so that the next page is not read from the start.
const MAX_OPEN: usize = 4;

/// Samples that are read from a place at once.
const AT_ONCE: u64 = 48;

/// A place in a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The shard, by its number among those that are looked at.
    pub(super) shard: usize,
    /// The sample in it, counted from 0.
    pub(super) row: u64,
}

/// Shards, and what of them is in memory.
pub(super) struct Catalog {
    pub(super) title: String,
    folder: Folder,
    pub(super) names: Vec<NamedShard>,
    open: Mutex<VecDeque<Open>>,
    kept: Mutex<Kept>,
}

/// A shard that is open: where its samples can be read one by one, or left before one of them.
enum Open {
    Anywhere(usize, Arc<dyn SampleAt>),
    Before(Row, Box<dyn ShardReader>),
}

/// Samples that were read lately, oldest first.
#[derive(Default)]
struct Kept {
    samples: VecDeque<(Row, Arc<Sample>)>,
    bytes: usize,
}

/// Some samples after each other, and why there are no more of the shard, if it is damaged.
#[derive(Default)]
pub(super) struct Page {
    pub(super) samples: Vec<(Row, Arc<Sample>)>,
    pub(super) damage: Option<String>,
}

impl Catalog {
    pub(super) fn new(title: String, folder: Folder, names: Vec<NamedShard>) -> Self {
        Self {
            title,
            folder,
            names,
            open: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// Length of a shard in bytes, if it can be read.
    pub(super) fn len_bytes(&self, shard: usize) -> Option<u64> {
        let (name, _) = self.names.get(shard)?;
        let path = self.folder.path_of(name).ok()?;
        Some(std::fs::metadata(path).ok()?.len())
    }

    /// Calls `take` with every sample of a shard until it says no; why there are no more, if the shard is damaged.
    pub(super) fn each(
        &self,
        shard: usize,
        take: &mut dyn FnMut(Sample) -> bool,
    ) -> Option<String> {
        let (name, format) = self.names.get(shard)?;
        let mut reader = match format.open(&self.folder, name) {
            Ok(reader) => reader,
            Err(error) => return Some(chain(&error)),
        };
        loop {
            match reader.next_sample() {
                Ok(Some(sample)) => {
                    if !take(sample) {
                        return None;
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(chain(&error)),
            }
        }
    }

    /// Up to `count` samples of a shard from `from` on.
    pub(super) fn page(&self, from: Row, count: u64) -> Page {
        if let Some(page) = self.kept_page(from, count) {
            return page;
        }
        let Some((name, format)) = self.names.get(from.shard) else {
            return Page::default();
        };
        let page = match self.anywhere(from.shard, name, *format) {
            Some(shard) => Page::at(&*shard, from, count),
            None => self.page_in_order(from, count, name, *format),
        };
        self.keep(&page.samples);
        page
    }

    /// A shard whose samples can be read in any order. One that is damaged is read in order, up to its damage.
    fn anywhere(
        &self,
        shard: usize,
        name: &str,
        format: &dyn ShardFormat,
    ) -> Option<Arc<dyn SampleAt>> {
        for open in &*self.open() {
            if let Open::Anywhere(at, found) = open
                && *at == shard
            {
                return Some(Arc::clone(found));
            }
        }
        let found: Arc<dyn SampleAt> = format.open_at(&self.folder, name).ok()??.into();
        self.leave_open(Open::Anywhere(shard, Arc::clone(&found)));
        Some(found)
    }

    fn page_in_order(&self, from: Row, count: u64, name: &str, format: &dyn ShardFormat) -> Page {
        let mut page = Page::default();
        let reader = self.take_reader(from).map_or_else(
            || {
                let mut reader = format.open(&self.folder, name)?;
                reader.skip(from.row)?;
                Ok(reader)
            },
            Ok,
        );
        let mut reader = match reader {
            Ok(reader) => reader,
            Err(error) => {
                page.damage = Some(chain(&error));
                return page;
            }
        };
        let mut next = from;
        let end = from.row.saturating_add(count);
        while next.row < end {
            match reader.next_sample() {
                Ok(Some(sample)) => page.samples.push((next, Arc::new(sample))),
                Ok(None) => break,
                Err(error) => {
                    page.damage = Some(chain(&error));
                    return page;
                }
            }
            next.row += 1;
        }
        self.leave_open(Open::Before(next, reader));
        page
    }

    /// One sample.
    pub(super) fn sample(&self, row: Row) -> Option<Arc<Sample>> {
        let kept = self.kept_page(row, 1);
        let page = kept.unwrap_or_else(|| self.page(row, AT_ONCE));
        let (_, sample) = page.samples.into_iter().next()?;
        Some(sample)
    }

    /// A page all of whose samples are in memory.
    fn kept_page(&self, from: Row, count: u64) -> Option<Page> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples = Vec::new();
        for row in from.row..from.row.checked_add(count)? {
            let row = Row { row, ..from };
            let (_, sample) = kept.samples.iter().find(|(at, _)| *at == row)?;
            samples.push((row, Arc::clone(sample)));
        }
        Some(Page {
            samples,
            damage: None,
        })
    }

    fn keep(&self, samples: &[(Row, Arc<Sample>)]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, sample) in samples {
            if kept.samples.iter().any(|(at, _)| at == row) {
                continue;
            }
            kept.bytes += bytes(sample);
            kept.samples.push_back((*row, Arc::clone(sample)));
        }
        while kept.bytes > MAX_KEPT_BYTES && kept.samples.len() > 1 {
            if let Some((_, sample)) = kept.samples.pop_front() {
                kept.bytes -= bytes(&sample);
            }
        }
    }

    fn take_reader(&self, from: Row) -> Option<Box<dyn ShardReader>> {
        let mut open = self.open();
        let is_meant = |open: &Open| matches!(open, Open::Before(next, _) if *next == from);
        let at = open.iter().position(is_meant)?;
        match open.remove(at)? {
            Open::Before(_, reader) => Some(reader),
            Open::Anywhere(..) => None,
        }
    }

    fn leave_open(&self, shard: Open) {
        let mut open = self.open();
        open.push_back(shard);
        if open.len() > MAX_OPEN {
            open.pop_front();
        }
    }

    fn open(&self) -> MutexGuard<'_, VecDeque<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    fn at(shard: &dyn SampleAt, from: Row, count: u64) -> Self {
        let mut page = Self::default();
        let end = from.row.saturating_add(count).min(shard.samples());
        for row in from.row..end {
            match shard.sample(row) {
                Ok(sample) => page.samples.push((Row { row, ..from }, Arc::new(sample))),
                Err(error) => {
                    page.damage = Some(chain(&error));
                    break;
                }
            }
        }
        page
    }
}

/// Readers are nobody's business.
impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog")
            .field("title", &self.title)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// What a sample takes, roughly.
fn bytes(sample: &Sample) -> usize {
    let image = sample.image.as_ref().map_or(0, |image| image.bytes.len());
    let captions: usize = sample.captions.iter().map(String::len).sum();
    image + captions + 4096
}
