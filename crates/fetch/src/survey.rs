//! What a folder of finished shards holds, for the page of `sightline fetch report`.

use std::collections::{BTreeMap, HashMap};

use sightline_core::{Progress, Sample, ShardId};
use sightline_shard::ShardFormat;
use sightline_shard::parquet::Parquet;
use sightline_store::Folder;
use url::Url;

use crate::error::{Error, Result};
use crate::layout::{Images, Layout};
use crate::resume::{finished_shards, layout_of};
use crate::stats::{FetchSummary, LATENCY_BINS, latency_bin_ms};
use crate::status::FetchStatus;
use crate::status_columns::StatusColumns;

/// Hosts that are counted one by one.
const MAX_HOSTS: usize = 1 << 17;
/// Upper ends of the bins of shapes: longer to shorter side.
const ASPECTS: [f64; 12] = [
    1.05,
    1.1,
    1.2,
    1.3,
    1.4,
    1.6,
    1.8,
    2.0,
    2.5,
    3.0,
    5.0,
    f64::INFINITY,
];
/// Bins of sizes: a quarter of a doubling each, from 16 pixels on.
const SIZES: usize = 40;
const SMALLEST_SIZE: f64 = 16.0;

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// Counts of rows and failures.
    pub summary: FetchSummary,
    /// Rows and stored images by host; those of hosts beyond a limit are under the empty name.
    pub hosts: BTreeMap<String, [u64; 2]>,
    /// Images by the shorter side of the original, in pixels.
    pub sizes: Vec<(String, u64)>,
    /// Images by the ratio of the longer to the shorter side of the original.
    pub aspects: Vec<(String, u64)>,
    /// Rows by the time until the body was there or the request had failed.
    pub latencies: Vec<(String, u64)>,
    /// Some of the samples, spread over the shards.
    pub samples: Vec<Sample>,
}

/// Looks at every finished shard in `folder` and reads up to `samples` of their samples.
pub fn survey(folder: &Folder, samples: usize, progress: &dyn Progress) -> Result<Survey> {
    let mut survey = Survey {
        summary: FetchSummary::new(),
        ..Survey::default()
    };
    let mut sizes = [0; SIZES];
    let mut aspects = [0; ASPECTS.len()];
    let mut latencies = [0; LATENCY_BINS];
    let mut hosts: HashMap<String, [u64; 2]> = HashMap::new();
    let none = || Error::NoShards {
        path: folder.root().to_owned(),
    };
    let layout = layout_of(folder)?.ok_or_else(none)?;
    let finished = finished_shards(folder, layout)?;
    progress.start("shards", Some(finished.len() as u64));
    for (id, stats) in &finished {
        survey.summary.add(stats, true);
        if let Some(origin) = &stats.sightline {
            survey.summary.bytes_downloaded += origin.bytes_downloaded;
            for (sum, count) in latencies.iter_mut().zip(&origin.latency) {
                *sum += count;
            }
        }
        let name = layout.names.table(*id);
        read_table(folder, &name, &mut hosts, &mut sizes, &mut aspects)?;
        progress.advance(1);
    }
    progress.finish();
    survey.hosts = hosts.into_iter().collect();
    let size = |at: usize| SMALLEST_SIZE * 2f64.powf(at as f64 / 4.0);
    survey.sizes = trimmed((0..SIZES).map(|at| (format!("{:.0}", size(at)), sizes[at])));
    let mut low = 1.0;
    survey.aspects = ASPECTS
        .iter()
        .zip(aspects)
        .map(|(high, count)| (format!("{}", std::mem::replace(&mut low, *high)), count))
        .collect();
    let latency = |at| format!("{} ms", latency_bin_ms(at));
    survey.latencies = trimmed((0..LATENCY_BINS).map(|at| (latency(at), latencies[at])));
    survey.samples = some_samples(folder, layout, &finished, samples)?;
    Ok(survey)
}

/// Without the empty bins at both ends.
fn trimmed(bins: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut bins: Vec<(String, u64)> = bins.skip_while(|(_, count)| *count == 0).collect();
    while bins.last().is_some_and(|(_, count)| *count == 0) {
        bins.pop();
    }
    bins
}

/// Counts the rows of a status table.
fn read_table(
    folder: &Folder,
    name: &str,
    hosts: &mut HashMap<String, [u64; 2]>,
    sizes: &mut [u64; SIZES],
    aspects: &mut [u64; ASPECTS.len()],
) -> Result<()> {
    let columns = ["url", "status", "original_width", "original_height"];
    StatusColumns::open(folder, name)?.values(&columns, &mut |row| {
        let (url, status) = (row[0].as_str(), row[1].as_str());
        let side = |at: usize| {
            let side = row[at].as_i64().and_then(|side| i32::try_from(side).ok());
            side.map(|side| side.max(1))
        };
        let host = url.and_then(|url| Url::parse(url).ok());
        let host = host.as_ref().and_then(Url::host_str).unwrap_or("no host");
        let is_counted = hosts.len() < MAX_HOSTS || hosts.contains_key(host);
        let host = if is_counted { host } else { "" };
        let counts = hosts.entry(host.to_owned()).or_default();
        counts[0] += 1;
        counts[1] += u64::from(status == Some(FetchStatus::Success.as_str()));
        let (Some(width), Some(height)) = (side(2), side(3)) else {
            return;
        };
        let (short, long) = (f64::from(width.min(height)), f64::from(width.max(height)));
        let size = (4.0 * (short / SMALLEST_SIZE).log2()).max(0.0) as usize;
        sizes[size.min(SIZES - 1)] += 1;
        let aspect = ASPECTS.iter().position(|high| long / short < *high);
        aspects[aspect.unwrap_or(ASPECTS.len() - 1)] += 1;
    })
}

/// Up to `wanted` samples, a few of each of some shards.
fn some_samples(
    folder: &Folder,
    layout: Layout,
    finished: &[(ShardId, crate::stats::ShardStats)],
    wanted: usize,
) -> Result<Vec<Sample>> {
    const OF_SHARD: usize = 6;
    let format: &dyn ShardFormat = match layout.images {
        Images::Shards(format) => format,
        Images::Table => &Parquet,
        Images::Nothing => return Ok(Vec::new()),
    };
    let shards = wanted.div_ceil(OF_SHARD).max(1);
    let mut samples = Vec::new();
    for (id, stats) in finished
        .iter()
        .step_by(finished.len().div_ceil(shards).max(1))
    {
        let name = layout.file_name(*id).unwrap_or_default();
        let mut reader = format.open(folder, &name)?;
        let pass_over = (stats.successes / OF_SHARD as u64).saturating_sub(1);
        for _ in 0..OF_SHARD {
            let Some(sample) = reader.next_sample()? else {
                break;
            };
            // Rows of a table that failed have no image.
            if samples.len() < wanted && sample.image.is_some() {
                samples.push(sample);
            }
            reader.skip(pass_over)?;
        }
    }
    Ok(samples)
}
