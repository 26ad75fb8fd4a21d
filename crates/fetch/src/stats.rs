//! Counts: a shard's statistics file and the summary of a run.
//!
//! `NNNNN_stats.json` is what img2dataset writes, so that its readers and scripts work, with one more
//! field, `sightline`, that says what the shard was made from. It is written last: a shard is finished
//! if and only if its statistics exist, agree with the request and match the files beside them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sightline_core::{Digest, Metadata};
use sightline_shard::{ShardSummary, python_json};

use crate::join::Join;
use crate::status::FetchStatus;

/// Version of the field `sightline` and of [`FetchSummary`].
const SCHEMA: u32 = 1;

/// Statistics of one shard, in img2dataset's fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShardStats {
    pub(crate) count: u64,
    pub(crate) successes: u64,
    pub(crate) failed_to_download: u64,
    pub(crate) failed_to_resize: u64,
    /// Seconds.
    pub(crate) duration: f64,
    /// Seconds since 1970.
    pub(crate) start_time: f64,
    /// Seconds since 1970.
    pub(crate) end_time: f64,
    /// Rows by `success` or error message.
    pub(crate) status_dict: Map<String, Value>,
    /// What the shard was made from; missing when another program made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sightline: Option<Origin>,
}

/// What a shard was made from, and what it became.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) schema: u32,
    /// Version of the program.
    pub(crate) version: String,
    /// What decides the bytes besides the rows and what servers answer.
    pub(crate) settings: Map<String, Value>,
    /// Digest of the rows.
    pub(crate) rows: Digest,
    /// Shard with which the numbering of this table begins.
    pub(crate) first_shard: u64,
    /// The shard file.
    pub(crate) shard: ShardSummary,
    /// Length of the status table. Statistics that lack it match no table, so that their shard is made
    /// again.
    #[serde(default)]
    pub(crate) table_len_bytes: u64,
    /// Bytes of bodies received.
    pub(crate) bytes_downloaded: u64,
    /// Rows by the time from the first request to the body or the failure; see [`latency_bin_ms`].
    #[serde(default)]
    pub(crate) latency: Vec<u64>,
    /// Failed rows by status and message.
    pub(crate) failures: BTreeMap<FetchStatus, BTreeMap<String, u64>>,
    /// Rows that the joined table does not have, where one is joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unmatched: Option<UnmatchedRows>,
}

/// Rows of a shard that the joined table does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnmatchedRows {
    pub(crate) rows: u64,
    /// Keys of the first of them.
    pub(crate) keys: Vec<String>,
}

/// Bins of latencies, each twice as wide as the one before.
pub(crate) const LATENCY_BINS: usize = 24;

/// The lower end of a bin in milliseconds: 0, 1, 2, 4, …
pub(crate) fn latency_bin_ms(bin: usize) -> u64 {
    match bin {
        0 => 0,
        bin => 1 << (bin - 1),
    }
}

/// The bin of a latency.
fn latency_bin(latency: Duration) -> usize {
    let bins = u128::BITS - latency.as_millis().leading_zeros();
    (bins as usize).min(LATENCY_BINS - 1)
}

impl Origin {
    /// Whether this version of the program understands it.
    pub(crate) fn is_known(&self) -> bool {
        self.schema == SCHEMA
    }

    pub(crate) fn new(
        settings: Map<String, Value>,
        rows: Digest,
        first_shard: u64,
        (shard, table_len_bytes): (ShardSummary, u64),
        counts: &Counts,
    ) -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings,
            rows,
            first_shard,
            shard,
            table_len_bytes,
            bytes_downloaded: counts.bytes_downloaded,
            latency: counts.latency.to_vec(),
            failures: counts.failures(),
            unmatched: None,
        }
    }
}

impl ShardStats {
    /// The statistics of a shard that was made from `start` (since 1970) on for `duration`.
    pub(crate) fn new(
        counts: &Counts,
        start: Duration,
        duration: Duration,
        origin: Origin,
    ) -> Self {
        let of = |status| counts.of(status);
        Self {
            count: counts.rows(),
            successes: of(FetchStatus::Success),
            failed_to_download: of(FetchStatus::FailedToDownload),
            failed_to_resize: of(FetchStatus::FailedToResize),
            duration: duration.as_secs_f64(),
            start_time: start.as_secs_f64(),
            end_time: (start + duration).as_secs_f64(),
            status_dict: counts.status_dict(),
            sightline: Some(origin),
        }
    }

    /// The text of the file: `json.dump(…, indent=4)`.
    pub(crate) fn to_text(&self) -> serde_json::Result<String> {
        let fields: Metadata = match serde_json::to_value(self)? {
            Value::Object(fields) => fields,
            _ => Metadata::new(),
        };
        Ok(python_json::to_string(&fields))
    }

    pub(crate) fn from_text(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }
}

/// Counts rows while a shard is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// In the order in which each message was first seen.
    by_message: Vec<(FetchStatus, String, u64)>,
    positions: std::collections::HashMap<(FetchStatus, String), usize>,
    by_status: BTreeMap<FetchStatus, u64>,
    pub(crate) bytes_downloaded: u64,
    latency: [u64; LATENCY_BINS],
}

impl Counts {
    /// Distinct messages that are counted; beyond it only the more frequent half is kept, as
    /// img2dataset does.
    const MAX_MESSAGES: usize = 100_000;

    /// Counts one row; a success has no message.
    pub(crate) fn add(&mut self, status: FetchStatus, message: Option<&str>) {
        *self.by_status.entry(status).or_default() += 1;
        let key = (status, message.unwrap_or(status.as_str()).to_owned());
        if let Some(&at) = self.positions.get(&key) {
            self.by_message[at].2 += 1;
            return;
        }
        if self.by_message.len() == Self::MAX_MESSAGES {
            self.keep_most_frequent();
        }
        self.positions.insert(key.clone(), self.by_message.len());
        self.by_message.push((key.0, key.1, 1));
    }

    /// Counts the time that a row took on the network.
    pub(crate) fn add_latency(&mut self, latency: Duration) {
        self.latency[latency_bin(latency)] += 1;
    }

    fn keep_most_frequent(&mut self) {
        self.by_message
            .sort_by_key(|entry| std::cmp::Reverse(entry.2));
        self.by_message.truncate(Self::MAX_MESSAGES / 2);
        self.positions = self
            .by_message
            .iter()
            .enumerate()
            .map(|(at, (status, message, _))| ((*status, message.clone()), at))
            .collect();
    }

    pub(crate) fn rows(&self) -> u64 {
        self.by_status.values().sum()
    }

    pub(crate) fn of(&self, status: FetchStatus) -> u64 {
        self.by_status.get(&status).copied().unwrap_or(0)
    }

    /// Rows by message alone, as img2dataset counts them.
    fn status_dict(&self) -> Map<String, Value> {
        let mut dict: Map<String, Value> = Map::new();
        for (_, message, count) in &self.by_message {
            let before = dict.get(message).and_then(Value::as_u64).unwrap_or(0);
            dict.insert(message.clone(), (before + count).into());
        }
        dict
    }

    /// The `most` frequent reasons of failure with their rows, the most frequent first.
    pub(crate) fn most_frequent_failures(&self, most: usize) -> Vec<(&str, u64)> {
        let failures = self
            .by_message
            .iter()
            .filter(|(status, ..)| *status != FetchStatus::Success);
        let mut failures: Vec<(&str, u64)> = failures
            .map(|(_, message, count)| (message.as_str(), *count))
            .collect();
        failures.sort_by_key(|(message, count)| (std::cmp::Reverse(*count), *message));
        failures.truncate(most);
        failures
    }

    fn failures(&self) -> BTreeMap<FetchStatus, BTreeMap<String, u64>> {
        let mut failures: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (status, message, count) in &self.by_message {
            if *status != FetchStatus::Success {
                let messages = failures.entry(*status).or_default();
                messages.insert(message.clone(), *count);
            }
        }
        failures
    }
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FetchSummary {
    /// Version of this structure.
    pub schema: u32,
    /// Whether the run was stopped before the end of the table; the same request resumes it.
    pub interrupted: bool,
    /// Shards that this run finished.
    pub shards_done: u64,
    /// Shards that were finished already.
    pub shards_skipped: u64,
    /// Shards that another worker was making.
    pub shards_elsewhere: u64,
    /// Rows of finished shards, now and before.
    pub rows: u64,
    /// Of these, rows whose image is in a shard.
    pub successes: u64,
    /// Of these, rows that gave no body.
    pub failed_to_download: u64,
    /// Of these, rows whose body gave no image.
    pub failed_to_resize: u64,
    /// Of these, rows whose image is stored for an earlier row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Rows without an image of their own by status and message.
    pub failures: BTreeMap<FetchStatus, BTreeMap<String, u64>>,
    /// Bytes of bodies received by this run.
    pub bytes_downloaded: u64,
    /// Duration of this run.
    pub wall_seconds: f64,
    /// Images that this run put into shards, each second.
    pub images_per_second: f64,
    /// What became of the rows of another table, where one is joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinSummary>,
}

/// How two tables fit together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinSummary {
    /// Rows of finished shards, now and before, that the joined table does not have.
    pub unmatched: u64,
    /// Keys of some of them, in order.
    pub unmatched_keys: Vec<String>,
    /// Rows of the joined table; not known where it is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_rows: Option<u64>,
    /// Of these, rows whose key an earlier one has, which are not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_rows_repeated: Option<u64>,
}

impl JoinSummary {
    /// Keys that are named.
    const NAMED: usize = 10;

    /// Of a table, before any row.
    pub(crate) fn of(join: &Join) -> Self {
        Self {
            table_rows: Some(join.rows),
            table_rows_repeated: Some(join.repeated),
            ..Self::default()
        }
    }

    fn add(&mut self, unmatched: &UnmatchedRows) {
        self.unmatched += unmatched.rows;
        self.unmatched_keys.extend(unmatched.keys.iter().cloned());
        // Shards that were finished before are told of first, whatever their number is.
        self.unmatched_keys.sort_unstable();
        self.unmatched_keys.truncate(Self::NAMED);
    }
}

impl FetchSummary {
    pub(crate) fn new() -> Self {
        Self {
            schema: SCHEMA,
            ..Self::default()
        }
    }

    /// Adds a finished shard that this run made, or (`skipped`) found.
    pub(crate) fn add(&mut self, stats: &ShardStats, skipped: bool) {
        self.rows += stats.count;
        self.successes += stats.successes;
        self.failed_to_download += stats.failed_to_download;
        self.failed_to_resize += stats.failed_to_resize;
        if skipped {
            self.shards_skipped += 1;
        } else {
            self.shards_done += 1;
        }
        let Some(origin) = &stats.sightline else {
            return;
        };
        if !skipped {
            self.bytes_downloaded += origin.bytes_downloaded;
        }
        if let Some(unmatched) = &origin.unmatched {
            self.join.get_or_insert_default().add(unmatched);
        }
        let duplicates = origin.failures.get(&FetchStatus::Duplicate);
        self.duplicates += duplicates.map_or(0, |messages| messages.values().sum());
        for (status, messages) in &origin.failures {
            let into = self.failures.entry(*status).or_default();
            for (message, count) in messages {
                // Bounded like the shards' own counts; the totals above count every row.
                if into.len() < Counts::MAX_MESSAGES || into.contains_key(message) {
                    *into.entry(message.clone()).or_default() += count;
                }
            }
        }
    }

    /// Of a run that was stopped before its first row.
    pub(crate) fn interrupted() -> Self {
        Self {
            interrupted: true,
            ..Self::new()
        }
    }

    /// With what the other table says of itself.
    pub(crate) fn joined(mut self, table: Option<JoinSummary>) -> Self {
        if let Some(table) = table {
            let join = self.join.get_or_insert_default();
            join.table_rows = table.table_rows;
            join.table_rows_repeated = table.table_rows_repeated;
        }
        self
    }

    /// Closes the summary of a run that took `wall` and made `images`.
    pub(crate) fn close(&mut self, wall: Duration, images: u64) {
        self.wall_seconds = wall.as_secs_f64();
        self.images_per_second = if self.wall_seconds > 0.0 {
            images as f64 / self.wall_seconds
        } else {
            0.0
        };
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        let mut counts = Counts::default();
        let failed = FetchStatus::FailedToDownload;
        counts.add(failed, Some("HTTP Error 404: Not Found"));
        counts.add(FetchStatus::Success, None);
        counts.add(failed, Some("timed out é"));
        counts.add(failed, Some("HTTP Error 404: Not Found"));
        counts.add(FetchStatus::FailedToResize, Some("Image decoding error"));
        counts
    }

    fn stats() -> ShardStats {
        let shard = ShardSummary {
            samples: 1,
            len_bytes: 10_240,
            sha256: Digest::of(b"shard"),
        };
        let settings = Map::from_iter([("encode".to_owned(), "jpg".into())]);
        let origin = Origin::new(settings, Digest::of(b"rows"), 0, (shard, 700), &counts());
        let (start, duration) = (
            Duration::from_secs(1_700_000_000),
            Duration::from_millis(2500),
        );
        ShardStats::new(&counts(), start, duration, origin)
    }

    #[test]
    fn the_file_is_img2datasets_and_says_where_the_shard_is_from() {
        let text = stats().to_text().unwrap();
        let expected = r#"{
    "count": 5,
    "successes": 1,
    "failed_to_download": 3,
    "failed_to_resize": 1,
    "duration": 2.5,
    "start_time": 1700000000.0,
    "end_time": 1700000002.5,
    "status_dict": {
        "HTTP Error 404: Not Found": 2,
        "success": 1,
        "timed out \u00e9": 1,
        "Image decoding error": 1
    },
    "sightline": {
        "schema": 1,
"#;
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(ShardStats::from_text(text.as_bytes()).unwrap(), stats());
    }

    #[test]
    fn statistics_of_img2dataset_are_read() {
        let text = br#"{"count": 2, "successes": 2, "failed_to_download": 0, "failed_to_resize": 0,
            "duration": 1.5, "start_time": 1.0, "end_time": 2.5, "status_dict": {"success": 2}}"#;
        let stats = ShardStats::from_text(text).unwrap();
        assert_eq!((stats.count, stats.sightline), (2, None));
    }

    #[test]
    fn latencies_are_counted_in_bins_that_double() {
        let bins: Vec<usize> = [0, 1, 2, 3, 4, 7, 8, u64::MAX]
            .map(|ms| latency_bin(Duration::from_millis(ms)))
            .into();
        assert_eq!(bins, [0, 1, 2, 2, 3, 3, 4, LATENCY_BINS - 1]);
        assert_eq!([0, 1, 2, 3, 4].map(latency_bin_ms), [0, 1, 2, 4, 8]);
    }

    #[test]
    fn the_most_frequent_failures_come_first() {
        let expected = [
            ("HTTP Error 404: Not Found", 2),
            ("Image decoding error", 1),
        ];
        assert_eq!(counts().most_frequent_failures(2), expected);
    }

    #[test]
    fn the_number_of_messages_is_bounded() {
        let mut counts = Counts::default();
        counts.add(FetchStatus::Success, None);
        counts.add(FetchStatus::Success, None);
        for n in 0..Counts::MAX_MESSAGES + 10 {
            counts.add(FetchStatus::FailedToDownload, Some(&n.to_string()));
        }
        assert!(counts.by_message.len() <= Counts::MAX_MESSAGES);
        assert_eq!(counts.status_dict()["success"], 2);
        assert_eq!(counts.rows(), Counts::MAX_MESSAGES as u64 + 12);
    }

    #[test]
    fn summaries_add_up() {
        let mut summary = FetchSummary::new();
        summary.add(&stats(), false);
        summary.add(&stats(), true);
        summary.close(Duration::from_secs(2), 1);
        assert_eq!((summary.shards_done, summary.shards_skipped), (1, 1));
        assert_eq!((summary.rows, summary.successes), (10, 2));
        let failures = &summary.failures[&FetchStatus::FailedToDownload];
        assert_eq!(failures["HTTP Error 404: Not Found"], 4);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(
            json["failures"]["failed_to_resize"]["Image decoding error"],
            2
        );
    }
}
