//! A folder of images behind a server, a request for them, and what came of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use polars::prelude::*;
use serde_json::Value;
use sightline_core::progress::Silent;
use sightline_core::{ImageFormat, Sample};
use sightline_fetch::{FetchSpec, FetchSummary, Result, StopFlag, fetch};
use sightline_imaging::{Channels, EncodeSpec, Pixels, encode};
use sightline_shard::{ShardFormat, webdataset::WebDataset};
use sightline_store::Folder;
use sightline_testkit::http::Server;
use tempfile::TempDir;

/// A server with images, and a folder for tables and outputs.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) dir: TempDir,
    site: TempDir,
}

impl World {
    /// A world whose server has the images `0.png`, `1.jpg`, `2.webp`, `3.png`, … up to `images`.
    pub(crate) fn new(images: u32) -> Self {
        let site = tempfile::tempdir().unwrap();
        for n in 0..images {
            let (name, spec) = image_name(n);
            let (width, height) = (20 + n % 37, 30 + n % 23);
            let pixels: Vec<u8> = (0..width * height * 3)
                .map(|i| (i * (n + 3)) as u8)
                .collect();
            let pixels = Pixels::new(width, height, Channels::Rgb, pixels).unwrap();
            fs::write(site.path().join(name), encode(&pixels, &spec).unwrap()).unwrap();
        }
        Self {
            server: Server::start(site.path()).unwrap(),
            dir: tempfile::tempdir().unwrap(),
            site,
        }
    }

    pub(crate) fn site(&self) -> &Path {
        self.site.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A CSV table `name` of `rows` rows with ids and captions; every seventh image is missing.
    pub(crate) fn table(&self, name: &str, rows: u32) -> PathBuf {
        let mut csv = "id,url,text\n".to_owned();
        for n in 0..rows {
            let image = if n % 7 == 6 {
                "missing.png".to_owned()
            } else {
                image_name(n).0
            };
            let url = self.server.url(&format!("/{image}"));
            writeln!(csv, "{n},{url},\"caption, {n} é\"").unwrap();
        }
        self.write(name, &csv)
    }

    /// A request for `table` with small shards and images, from this machine.
    pub(crate) fn spec(&self, table: impl Into<PathBuf>, out: &str) -> FetchSpec {
        let mut spec = FetchSpec::new(table, self.path(out));
        spec.number_sample_per_shard = 10;
        spec.image.image_size = 32;
        spec.network.allow_private_addresses = true;
        spec.network.concurrency = Some(16);
        spec.network.timeout = Duration::from_secs(20);
        spec
    }

    /// The same with captions and ids.
    pub(crate) fn captioned(&self, table: impl Into<PathBuf>, out: &str) -> FetchSpec {
        let mut spec = self.spec(table, out);
        spec.caption_col = Some("text".to_owned());
        spec.save_additional_columns = vec!["id".to_owned()];
        spec
    }
}

/// Name and encoding of image number `n`.
pub(crate) fn image_name(n: u32) -> (String, EncodeSpec) {
    match n % 3 {
        0 => (format!("{n}.png"), EncodeSpec::lossless(ImageFormat::Png)),
        1 => (format!("{n}.jpg"), EncodeSpec::jpeg(90)),
        _ => (format!("{n}.webp"), EncodeSpec::lossless(ImageFormat::Webp)),
    }
}

pub(crate) fn run(spec: &FetchSpec) -> Result<FetchSummary> {
    fetch(spec, &Silent, &StopFlag::new())
}

/// Name and content of every file in `folder`, statistics left out: they hold times.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    names(folder)
        .into_iter()
        .filter(|name| !name.ends_with("_stats.json"))
        .map(|name| {
            let content = fs::read(folder.join(&name)).unwrap();
            (name, content)
        })
        .collect()
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The samples of the shard `name`.
pub(crate) fn samples(folder: &Path, name: &str) -> Vec<Sample> {
    let folder = Folder::open(folder).unwrap();
    let mut reader = WebDataset.open(&folder, name).unwrap();
    let mut samples = Vec::new();
    while let Some(sample) = reader.next_sample().unwrap() {
        samples.push(sample);
    }
    samples
}

pub(crate) fn status_table(folder: &Path, id: u32) -> DataFrame {
    let file = fs::File::open(folder.join(format!("{id:05}.parquet"))).unwrap();
    ParquetReader::new(file).finish().unwrap()
}

/// The texts of a column of every status table, in order.
pub(crate) fn column(folder: &Path, name: &str) -> Vec<Option<String>> {
    let mut texts = Vec::new();
    for id in 0.. {
        if !folder.join(format!("{id:05}.parquet")).exists() {
            return texts;
        }
        let table = status_table(folder, id);
        let column = table.column(name).unwrap().cast(&DataType::String).unwrap();
        let column = column.str().unwrap();
        texts.extend(column.iter().map(|text| text.map(str::to_owned)));
    }
    texts
}

pub(crate) fn stats(folder: &Path, id: u32) -> Value {
    let text = fs::read(folder.join(format!("{id:05}_stats.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Checks what holds for every finished output: a row for each row, samples for the successes only and
/// in order, statistics that agree.
pub(crate) fn check(folder: &Path, summary: &FetchSummary, rows: u64) {
    let mut total = 0;
    let is_shard = |name: &&String| name.strip_suffix(".tar").is_some();
    let shards = names(folder).iter().filter(is_shard).count() as u32;
    assert_eq!(
        u64::from(shards),
        summary.shards_done + summary.shards_skipped
    );
    for id in 0..shards {
        let table = status_table(folder, id);
        let text = |name: &str| -> Vec<Option<String>> {
            let column = table.column(name).unwrap().str().unwrap();
            column.iter().map(|text| text.map(str::to_owned)).collect()
        };
        let (keys, statuses, messages) = (text("key"), text("status"), text("error_message"));
        let successes: Vec<&str> = keys
            .iter()
            .zip(&statuses)
            .filter(|(_, status)| status.as_deref() == Some("success"))
            .map(|(key, _)| key.as_deref().unwrap())
            .collect();
        let samples = samples(folder, &format!("{id:05}.tar"));
        let stored: Vec<&str> = samples.iter().map(|sample| sample.key.as_str()).collect();
        assert_eq!(stored, successes, "shard {id}");
        for (status, message) in statuses.iter().zip(&messages) {
            assert_eq!(status.as_deref() == Some("success"), message.is_none());
        }
        let stats = stats(folder, id);
        assert_eq!(stats["count"], keys.len() as u64);
        assert_eq!(stats["successes"], successes.len() as u64);
        total += keys.len() as u64;
    }
    assert_eq!(total, rows);
    assert_eq!(summary.rows, rows);
    let parts = summary.successes
        + summary.failed_to_download
        + summary.failed_to_resize
        + summary.duplicates;
    assert_eq!(parts, rows);
    let failures: u64 = summary.failures.values().flat_map(|m| m.values()).sum();
    assert_eq!(failures, rows - summary.successes);
    assert!(!summary.interrupted);
}

/// A stop flag, and a progress that sets it after some rows.
pub(crate) struct StopAfter {
    pub(crate) flag: StopFlag,
    rows: std::sync::atomic::AtomicU64,
    after: u64,
}

impl StopAfter {
    pub(crate) fn new(after: u64) -> Arc<Self> {
        Arc::new(Self {
            flag: StopFlag::new(),
            rows: 0.into(),
            after,
        })
    }
}

impl sightline_core::Progress for StopAfter {
    fn start(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, steps: u64) {
        let order = std::sync::atomic::Ordering::SeqCst;
        if self.rows.fetch_add(steps, order) + steps >= self.after {
            self.flag.stop();
        }
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}
