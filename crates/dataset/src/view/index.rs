//! Keys and captions of all samples, to be searched.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use regex::RegexBuilder;
use sightline_core::Sample;

use super::catalog::{Catalog, Row};

/// Keys and captions are kept up to this many bytes; what comes later can be looked at and not searched.
pub const MAX_INDEX_BYTES: usize = 1 << 30;

/// Most samples that a search lists.
pub(super) const MAX_FOUND: usize = 10_000;

/// Memory of a compiled search in bytes.
const MAX_REGEX: usize = 1 << 20;

/// Between the captions of a sample.
const BETWEEN: char = '\u{1f}';

/// The index, filled while it is searched.
#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<RwLock<Shard>>,
    progress: Mutex<Progress>,
    /// The last search, whose pages are asked for one after the other.
    last: Mutex<Option<(Search, u64, Vec<Row>)>>,
}

/// How far the reading has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) shards: u64,
    pub(super) samples: u64,
    pub(super) bytes: usize,
    /// Whether all shards are read.
    pub(super) is_done: bool,
    /// Whether there was no room for all.
    pub(super) is_cut: bool,
}

/// What is known of a shard.
#[derive(Debug, Default)]
struct Shard {
    /// Keys and captions, one after the other.
    text: String,
    /// Where the key and the captions of each sample end.
    ends: Vec<(u32, u32)>,
    samples: u64,
    damage: Option<String>,
    is_read: bool,
}

/// What is known of a shard so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) samples: u64,
    pub(super) damage: Option<String>,
    pub(super) is_read: bool,
}

/// What is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) text: String,
    /// Whether the text is a regular expression; else any captions that hold it are found, in capital or small letters.
    pub(super) is_regex: bool,
}

impl Index {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| RwLock::default()).collect(),
            progress: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// Reads all shards, one after the other.
    pub(super) fn fill(&self, catalog: &Catalog, stop: &AtomicBool) {
        for (at, slot) in self.shards.iter().enumerate() {
            let mut pending = Vec::new();
            let flush = |pending: &mut Vec<Sample>, damage: Option<String>, is_end: bool| {
                let mut shard = slot.write().unwrap_or_else(PoisonError::into_inner);
                let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
                for sample in pending.drain(..) {
                    shard.add(&sample, &mut progress);
                }
                shard.damage = damage;
                shard.is_read = is_end;
                progress.shards += u64::from(is_end);
            };
            let damage = catalog.each(at, &mut |sample| {
                pending.push(Sample {
                    image: None,
                    ..sample
                });
                if pending.len() == 512 {
                    flush(&mut pending, None, false);
                }
                !stop.load(Ordering::Relaxed)
            });
            if stop.load(Ordering::Relaxed) {
                return;
            }
            flush(&mut pending, damage, true);
        }
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.is_done = true;
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known(&self, shard: usize) -> Known {
        let shard = self.shards.get(shard).map(|shard| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            Known {
                samples: shard.samples,
                damage: shard.damage.clone(),
                is_read: shard.is_read,
            }
        });
        shard.unwrap_or_default()
    }

    /// The sample with the key `key`, among those read so far.
    pub(super) fn find(&self, key: &str) -> Option<Row> {
        self.first_row(|_, found, _| found == key)
    }

    /// Samples one of whose captions is meant by `search`, up to [`MAX_FOUND`]; an error where the regular expression is none.
    pub(super) fn search(&self, search: &Search) -> Result<Vec<Row>, String> {
        let read = self.progress().samples;
        {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((before, samples, rows)) = &*last
                && (before, *samples) == (search, read)
            {
                return Ok(rows.clone());
            }
        }
        let pattern = if search.is_regex {
            search.text.clone()
        } else {
            regex::escape(&search.text)
        };
        let regex = RegexBuilder::new(&pattern)
            .case_insensitive(!search.is_regex)
            .size_limit(MAX_REGEX)
            .build()
            .map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        self.first_row(|row, _, captions| {
            if captions
                .split(BETWEEN)
                .any(|caption| regex.is_match(caption))
            {
                found.push(row);
            }
            found.len() == MAX_FOUND
        });
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((search.clone(), read, found.clone()));
        Ok(found)
    }

    /// Calls `is_meant` with place, key and captions of each sample until it says yes.
    fn first_row(&self, mut is_meant: impl FnMut(Row, &str, &str) -> bool) -> Option<Row> {
        for (at, shard) in self.shards.iter().enumerate() {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let mut start = 0;
            for (row, &(key, captions)) in (0..).zip(&shard.ends) {
                let (key, captions) = (key as usize, captions as usize);
                let place = Row { shard: at, row };
                if is_meant(place, &shard.text[start..key], &shard.text[key..captions]) {
                    return Some(place);
                }
                start = captions;
            }
        }
        None
    }
}

impl Shard {
    fn add(&mut self, sample: &Sample, progress: &mut Progress) {
        self.samples += 1;
        progress.samples += 1;
        let captions = sample.captions.join(&BETWEEN.to_string());
        let len = sample.key.as_str().len() + captions.len();
        let is_full = progress.bytes + len > MAX_INDEX_BYTES
            || self.text.len() + len > u32::MAX as usize
            || self.ends.len() as u64 + 1 < self.samples;
        if is_full {
            progress.is_cut = true;
            return;
        }
        progress.bytes += len + size_of::<(u32, u32)>();
        self.text.push_str(sample.key.as_str());
        let key = self.text.len() as u32;
        self.text.push_str(&captions);
        self.ends.push((key, self.text.len() as u32));
    }
}
