//! Outcomes, in row order, into shards: one shard at a time, its statistics last.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sightline_core::{Digest, Metadata, Progress, Sample, SampleKey, ShardId};
use sightline_shard::{Error as ShardError, ShardSummary, ShardWriter};

use crate::dedup::Dedup;
use crate::error::{Error, Result};
use crate::layout::{Images, Renamed};
use crate::pipeline::{Begun, Event, Shared, StopFlag};
use crate::process::Outcome;
use crate::resume::Output;
use crate::spec::FetchSpec;
use crate::stats::{Counts, FetchSummary, Origin, ShardStats, UnmatchedRows};
use crate::status::FetchStatus;
use crate::status_table::StatusTable;
use crate::table::{Row, ShardRows};

/// How often the stop flag is looked at while nothing arrives.
const POLL: Duration = Duration::from_millis(50);
/// Time between two messages beside the progress bar.
const MESSAGES: Duration = Duration::from_millis(500);
/// Reasons of failure in the message, and among the numbers for machines.
const FAILURES_SHOWN: usize = 2;
const FAILURES_COUNTED: usize = 20;
/// Metadata field in which shards keep several captions.
const CAPTIONS: &str = "captions";

/// Writes the shards of a run.
pub(crate) struct Writer<'a> {
    spec: &'a FetchSpec,
    output: Arc<Output>,
    shared: Arc<Shared>,
    progress: &'a dyn Progress,
    meter: Meter,
    /// Which images are stored once, if any are.
    pub(crate) dedup: Option<Dedup>,
    /// Shards that have begun, oldest first.
    shards: VecDeque<Begun>,
    /// Outcomes that wait for their turn.
    waiting: HashMap<u64, Outcome>,
    /// Why the table ended early; said when everything before it is written.
    table_error: Option<Error>,
    pub(crate) summary: FetchSummary,
    /// Images that this run made.
    pub(crate) images: u64,
}

/// Why writing ended early.
enum Halt {
    Stopped,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        spec: &'a FetchSpec,
        output: Arc<Output>,
        shared: Arc<Shared>,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            spec,
            output,
            shared,
            progress,
            meter: Meter::new(),
            dedup: None,
            shards: VecDeque::new(),
            waiting: HashMap::new(),
            table_error: None,
            summary: FetchSummary::new(),
            images: 0,
        }
    }

    /// Writes until there is nothing left, and says whether the run was stopped instead.
    pub(crate) fn run(&mut self, inbox: &Receiver<Event>, stop: &StopFlag) -> Result<bool> {
        loop {
            let next = match self.next_shard(inbox, stop) {
                Ok(Some(shard)) => self.write_shard(&shard, inbox, stop),
                Ok(None) => return self.table_error.take().map_or(Ok(false), Err),
                Err(halt) => Err(halt),
            };
            match next {
                Ok(()) => {}
                Err(Halt::Stopped) => return Ok(true),
                Err(Halt::Failed(error)) => return Err(error),
            }
        }
    }

    fn next_shard(
        &mut self,
        inbox: &Receiver<Event>,
        stop: &StopFlag,
    ) -> Result<Option<Begun>, Halt> {
        loop {
            if let Some(shard) = self.shards.pop_front() {
                return Ok(Some(shard));
            }
            if !self.receive(inbox, stop)? {
                return Ok(None);
            }
        }
    }

    /// The outcome of the row `number`, when its turn has come.
    fn take(
        &mut self,
        number: u64,
        inbox: &Receiver<Event>,
        stop: &StopFlag,
    ) -> Result<Outcome, Halt> {
        if stop.is_stopped() {
            return Err(Halt::Stopped);
        }
        self.shared.window.turn_of(number);
        loop {
            if let Some(outcome) = self.waiting.remove(&number) {
                self.shared.window.leave(outcome.len_bytes());
                return Ok(outcome);
            }
            if !self.receive(inbox, stop)? {
                return Err(Halt::Failed(Error::LostRow { row: number }));
            }
        }
    }

    /// Takes one event, or waits a little; `false` when no more will come.
    fn receive(&mut self, inbox: &Receiver<Event>, stop: &StopFlag) -> Result<bool, Halt> {
        if stop.is_stopped() {
            return Err(Halt::Stopped);
        }
        match inbox.recv_timeout(POLL) {
            Ok(Event::Shard(begun)) => self.shards.push_back(begun),
            Ok(Event::Skipped(stats)) => {
                self.progress.advance(stats.count);
                self.summary.add(&stats, true);
            }
            Ok(Event::Elsewhere { rows }) => {
                self.progress.advance(rows);
                self.summary.shards_elsewhere += 1;
            }
            Ok(Event::Row { number, outcome }) => {
                self.waiting.insert(number, outcome);
            }
            Ok(Event::Failed(error)) => self.table_error = Some(error),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
        Ok(true)
    }

    /// Tells the progress of a row that is done.
    fn show(&mut self, outcome: &Outcome) {
        self.meter.add(outcome);
        self.progress.advance(1);
        if self.meter.is_due() {
            let connections = self.shared.connections();
            self.progress.message(&self.meter.message(connections));
            self.progress.facts(self.meter.facts(connections));
        }
    }

    fn write_shard(
        &mut self,
        begun: &Begun,
        inbox: &Receiver<Event>,
        stop: &StopFlag,
    ) -> Result<(), Halt> {
        let rows = &begun.rows;
        let (started, clock) = begun.at;
        let output = Arc::clone(&self.output);
        output.unfinish(rows.id)?;
        if let Some(dedup) = &mut self.dedup {
            dedup.begin(rows.id, &output)?;
        }
        let names = output.layout.names;
        let mut folder = output.folder.clone();
        let mut sink = Renamed {
            sink: &mut folder,
            names,
            id: rows.id,
        };
        let mut shard = match output.layout.images {
            Images::Shards(format) => Some(format.create(&mut sink, rows.id)?),
            Images::Table | Images::Nothing => None,
        };
        let mut table = StatusTable::new(rows.rows.len(), self.spec);
        let mut counts = Counts::default();
        let mut images = 0;

        for (at, row) in (0u64..).zip(&rows.rows) {
            let mut outcome = self.take(begun.first_row + at, inbox, stop)?;
            let key = key(self.spec, rows.id, at)?;
            if let Some(refused) = self.dedup.as_ref().and_then(|dedup| dedup.refuse(&outcome)) {
                outcome = refused;
            }
            table.push(&key, &outcome);
            if let Some(shard) = shard.as_mut().filter(|_| outcome.done.is_some()) {
                let sample = sample(row, &key, &outcome, &table);
                if let Err(error) = shard.write(&sample) {
                    let message = too_large(error)?;
                    outcome = Outcome {
                        downloaded: outcome.downloaded,
                        latency: outcome.latency,
                        ..Outcome::failed(FetchStatus::FailedToResize, message)
                    };
                    table.replace_last(&outcome);
                }
            }
            if let (Some(dedup), Some(done)) = (&mut self.dedup, &outcome.done) {
                dedup.keep(&key, done);
            }
            images += u64::from(outcome.done.is_some());
            counts.add(outcome.status, outcome.message.as_deref());
            counts.bytes_downloaded += outcome.downloaded;
            if let Some(latency) = outcome.latency {
                counts.add_latency(latency);
            }
            self.show(&outcome);
        }

        let summary = shard.map(ShardWriter::finish).transpose()?;
        let written = table.write(&rows.frame, &output.folder, &names.table(rows.id))?;
        let table_len_bytes = written.len_bytes;
        let summary = match (summary, output.layout.images) {
            (Some(summary), _) => summary,
            (None, Images::Table) => ShardSummary {
                samples: images,
                len_bytes: table_len_bytes,
                sha256: written.sha256,
            },
            (None, _) => ShardSummary {
                samples: 0,
                len_bytes: 0,
                sha256: Digest::of(b""),
            },
        };
        self.images += images;
        let mut origin = Origin::new(
            output.settings.clone(),
            rows.digest,
            output.first(),
            (summary, table_len_bytes),
            &counts,
        );
        origin.unmatched = self.unmatched(rows)?;
        let stats = ShardStats::new(&counts, started, clock.elapsed(), origin);
        let name = names.stats(rows.id);
        let text = stats.to_text().map_err(|e| Error::Output {
            action: "write",
            path: output.folder.shown(&name),
            source: e.into(),
        })?;
        output.folder.write(&name, text.as_bytes())?;
        output.release(rows.id)?;
        tracing::info!(
            shard = rows.id.0,
            rows = stats.count,
            samples = stats.successes,
            "shard finished"
        );
        self.summary.add(&stats, false);
        self.progress
            .facts(self.meter.facts(self.shared.connections()));
        Ok(())
    }
}

impl Writer<'_> {
    /// The rows of a shard that the joined table does not have, by key.
    fn unmatched(&self, rows: &ShardRows) -> Result<Option<UnmatchedRows>> {
        let Some(unmatched) = &rows.unmatched else {
            return Ok(None);
        };
        let first = unmatched.first.iter();
        let keys: Result<_> = first
            .map(|&at| Ok(key(self.spec, rows.id, at)?.to_string()))
            .collect();
        Ok(Some(UnmatchedRows {
            rows: unmatched.rows,
            keys: keys?,
        }))
    }
}

/// The key of row `at` of a shard, as img2dataset forms it: the shard's number and the row's, in as many
/// digits as both may need.
pub(crate) fn key(spec: &FetchSpec, id: ShardId, at: u64) -> Result<SampleKey> {
    let digits = spec.sample_digits();
    let number = 10u64
        .checked_pow(digits)
        .and_then(|scale| scale.checked_mul(id.0))
        .and_then(|base| base.checked_add(at));
    let too_many = || Error::TooManyShards {
        id: id.0,
        rows: spec.number_sample_per_shard,
    };
    let width = spec.key_digits();
    let number = number.ok_or_else(too_many)?;
    SampleKey::new(format!("{number:0width$}")).map_err(|_| too_many())
}

/// The sample of a success. Its metadata are the input columns, then the columns of the status table.
fn sample(row: &Row, key: &SampleKey, outcome: &Outcome, table: &StatusTable) -> Sample {
    let mut meta = row.columns.clone();
    let captions = captions(row, &mut meta);
    table.describe_last(&mut meta);
    Sample {
        key: key.clone(),
        image: outcome.done.as_ref().map(|done| done.image.clone()),
        captions,
        meta,
    }
}

/// All captions of a row, the one of the caption column first. A saved column `captions` that holds a
/// list of texts leaves the metadata for them: shards keep several captions under that name.
fn captions(row: &Row, meta: &mut Metadata) -> Vec<String> {
    let listed: Option<Vec<String>> = meta
        .get(CAPTIONS)
        .and_then(Value::as_array)
        .filter(|items| !items.is_empty())
        .and_then(|items| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect()
        });
    let Some(mut listed) = listed else {
        let has_column = meta.contains_key("caption");
        // A missing caption is an empty file in img2dataset.
        return has_column
            .then(|| row.caption.clone().unwrap_or_default())
            .into_iter()
            .collect();
    };
    meta.shift_remove(CAPTIONS);
    if let Some(main) = &row.caption {
        if let Some(at) = listed.iter().position(|caption| caption == main) {
            listed.remove(at);
        }
        listed.insert(0, main.clone());
    }
    listed
}

/// The message of a row that the shard refuses because of its size; every other error is one.
fn too_large(error: ShardError) -> Result<String> {
    match error {
        ShardError::TooLarge { limit_bytes, .. } => {
            Ok(format!("sample larger than {limit_bytes} bytes"))
        }
        error => Err(error.into()),
    }
}

/// Rates and failures so far, for the message beside the progress bar.
struct Meter {
    start: Instant,
    shown: Instant,
    counts: Counts,
}

impl Meter {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            start: now,
            shown: now,
            counts: Counts::default(),
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        self.counts.add(outcome.status, outcome.message.as_deref());
        self.counts.bytes_downloaded += outcome.downloaded;
    }

    /// Whether it is time for another message; if so, the next one is due later.
    fn is_due(&mut self) -> bool {
        let is_due = self.shown.elapsed() >= MESSAGES;
        if is_due {
            self.shown = Instant::now();
        }
        is_due
    }

    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.start.elapsed().as_secs_f64()
    }

    /// Images a second, megabytes a second, the share of successes, connections, and what fails most.
    fn message(&self, connections: usize) -> String {
        let (rows, images) = (self.counts.rows(), self.counts.of(FetchStatus::Success));
        let mut text = format!(
            "{:.0} images/s, {:.1} MB/s, {:.1} % stored, {connections} connections",
            self.rate(images),
            self.rate(self.counts.bytes_downloaded) / 1e6,
            100.0 * images as f64 / rows.max(1) as f64
        );
        for (message, count) in self.counts.most_frequent_failures(FAILURES_SHOWN) {
            // Writing to a string cannot fail.
            let _ = write!(text, "; {count} {message}");
        }
        text
    }

    fn facts(&self, connections: usize) -> Metadata {
        let images = self.counts.of(FetchStatus::Success);
        let failures: Metadata = self
            .counts
            .most_frequent_failures(FAILURES_COUNTED)
            .into_iter()
            .map(|(message, count)| (message.to_owned(), count.into()))
            .collect();
        let facts = [
            ("images", json!(images)),
            (
                "failed_to_download",
                json!(self.counts.of(FetchStatus::FailedToDownload)),
            ),
            (
                "failed_to_resize",
                json!(self.counts.of(FetchStatus::FailedToResize)),
            ),
            ("duplicates", json!(self.counts.of(FetchStatus::Duplicate))),
            ("bytes_downloaded", json!(self.counts.bytes_downloaded)),
            ("images_per_second", json!(self.rate(images))),
            (
                "bytes_per_second",
                json!(self.rate(self.counts.bytes_downloaded)),
            ),
            ("connections", json!(connections)),
            ("failures", Value::Object(failures)),
        ];
        facts
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_img2dataset() {
        let mut spec = FetchSpec::new("urls.csv", "out");
        let key = |spec: &FetchSpec, id, at| key(spec, ShardId(id), at).unwrap().to_string();
        assert_eq!(key(&spec, 0, 0), "000000000");
        assert_eq!(key(&spec, 17, 42), "000170042");
        spec.number_sample_per_shard = 132;
        assert_eq!(key(&spec, 2, 131), "00002131");
        spec.number_sample_per_shard = 1;
        assert_eq!(key(&spec, 7, 0), "00007");
        spec.number_sample_per_shard = 10_000;
        assert_eq!(key(&spec, 123_456, 1), "1234560001");
        assert!(super::key(&spec, ShardId(u64::MAX), 0).is_err());
    }

    fn captions_of(columns: &Value) -> (Vec<String>, Vec<String>) {
        let mut meta = columns.as_object().unwrap().clone();
        let caption = meta
            .get("caption")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let row = Row {
            url: None,
            caption,
            columns: meta.clone(),
            check: None,
            refused: None,
        };
        let captions = captions(&row, &mut meta);
        (captions, meta.keys().cloned().collect())
    }

    #[test]
    fn captions_come_from_the_column_and_from_lists() {
        let cases = [
            (json!({"url": 1}), vec![], vec!["url"]),
            (
                json!({"caption": "a", "url": 1}),
                vec!["a"],
                vec!["caption", "url"],
            ),
            (json!({"caption": null}), vec![""], vec!["caption"]),
            (
                json!({"captions": ["a", "b"], "caption": "b", "url": 1}),
                vec!["b", "a"],
                vec!["caption", "url"],
            ),
            (
                json!({"captions": ["a"], "caption": "x"}),
                vec!["x", "a"],
                vec!["caption"],
            ),
            (
                json!({"captions": ["a", "b"], "caption": null}),
                vec!["a", "b"],
                vec!["caption"],
            ),
            (json!({"captions": ["a"]}), vec!["a"], vec![]),
            (
                json!({"captions": [], "caption": "a"}),
                vec!["a"],
                vec!["captions", "caption"],
            ),
            (
                json!({"captions": [1], "caption": "a"}),
                vec!["a"],
                vec!["captions", "caption"],
            ),
            (json!({"captions": "text"}), vec![], vec!["captions"]),
        ];
        for (columns, captions, left) in cases {
            let found = captions_of(&columns);
            assert_eq!(found.0, captions, "{columns}");
            assert_eq!(found.1, left, "{columns}");
        }
    }
}
