//! A page about a dataset that was fetched: what became of the rows, of which hosts and sizes the images are, how long
//! servers took, and some of the images. Everything is inside the page, so that it can be moved and opened anywhere.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::{Environment, Value, value::Serde};
use serde::Serialize;
use sightline_core::text::{count, counted, printable};

use crate::error::Error;
use crate::format::{bytes, command};
use crate::page::{hash, style};

const TEMPLATE: &str = include_str!("templates/fetch.html");
static STYLE: LazyLock<String> = LazyLock::new(|| style(include_str!("templates/fetch.css")));

/// Width and height of a histogram's drawing, in its own units.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 120.0;
/// Width of the longest bar of a list.
const BAR: f64 = 240.0;

/// What the page shows.
#[derive(Clone, Debug)]
pub struct FetchPage<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// The command line, program first.
    pub command: &'a [String],
    /// The folder of the dataset.
    pub folder: &'a str,
    /// Shards that are finished.
    pub shards: u64,
    /// Their rows.
    pub rows: u64,
    /// Rows whose image is stored.
    pub images: u64,
    /// Bytes of bodies.
    pub bytes_downloaded: u64,
    /// Reasons of failure with their rows, the most frequent first, and the rows of all others.
    pub failures: (Vec<(String, u64)>, u64),
    /// Hosts with their rows and how many of these are stored, and the rows of all others.
    pub hosts: (Vec<(String, [u64; 2])>, u64),
    /// Number of different hosts.
    pub different_hosts: u64,
    /// Histograms, by title.
    pub histograms: Vec<FetchHistogram>,
    /// Some of the images.
    pub pictures: Vec<FetchPicture>,
}

/// How often values lie between two ends.
#[derive(Clone, Debug)]
pub struct FetchHistogram {
    /// What is counted: `Shorter side, pixels`.
    pub title: String,
    /// Lower end of each bin in words, and how many values are in it.
    pub bins: Vec<(String, u64)>,
}

/// An image file as it is stored.
#[derive(Clone, Debug)]
pub struct FetchPicture {
    /// Its key.
    pub key: String,
    /// Its caption, or empty.
    pub caption: String,
    /// Media type: `image/jpeg`.
    pub media_type: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

#[derive(Serialize)]
struct PageView {
    style: &'static str,
    style_hash: String,
    version: String,
    command: String,
    folder: String,
    numbers: Vec<(&'static str, String)>,
    failures: Vec<BarView>,
    hosts: Vec<BarView>,
    different_hosts: String,
    histograms: Vec<HistogramView>,
    pictures: Vec<PictureView>,
}

#[derive(Serialize)]
struct BarView {
    name: String,
    count: String,
    share: String,
    width: String,
    inner: String,
}

#[derive(Serialize)]
struct HistogramView {
    title: String,
    total: String,
    columns: Vec<ColumnView>,
    labels: Vec<(String, String)>,
    most: String,
}

#[derive(Serialize)]
struct ColumnView {
    x: String,
    y: String,
    width: String,
    height: String,
    title: String,
}

#[derive(Serialize)]
struct PictureView {
    key: String,
    caption: String,
    data: String,
}

/// The page for `page`.
pub fn fetch_page(page: &FetchPage<'_>) -> Result<String, Error> {
    let template = |source| Error::Template { source };
    let mut environment = Environment::new();
    environment
        .add_template("fetch.html", TEMPLATE)
        .map_err(template)?;
    let html = environment.get_template("fetch.html").map_err(template)?;
    html.render(Value::from(Serde(view(page))))
        .map_err(template)
}

fn view(page: &FetchPage<'_>) -> PageView {
    let share = |part: u64| percent(part, page.rows);
    PageView {
        style: &STYLE,
        style_hash: hash(&STYLE),
        version: printable(page.version),
        command: printable(&command(page.command)),
        folder: printable(page.folder),
        numbers: vec![
            ("rows", count(page.rows)),
            (
                "images stored",
                format!("{} ({})", count(page.images), share(page.images)),
            ),
            ("shards", count(page.shards)),
            ("downloaded", bytes(page.bytes_downloaded)),
        ],
        failures: {
            let (failures, others) = &page.failures;
            let rows = failures
                .iter()
                .map(|(name, rows)| (name.as_str(), [*rows, 0]));
            bars(rows, *others, page.rows)
        },
        hosts: {
            let (hosts, others) = &page.hosts;
            let rows = hosts.iter().map(|(name, counts)| (name.as_str(), *counts));
            bars(rows, *others, page.rows)
        },
        different_hosts: counted(page.different_hosts as usize, "host"),
        histograms: page.histograms.iter().map(histogram).collect(),
        pictures: page
            .pictures
            .iter()
            .map(|picture| PictureView {
                key: printable(&picture.key),
                caption: printable(&picture.caption),
                data: format!(
                    "{};base64,{}",
                    picture.media_type,
                    BASE64_STANDARD.encode(&picture.bytes)
                ),
            })
            .collect(),
    }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Bars of rows; the second number of each is the part that is drawn darker.
fn bars<'a>(
    rows: impl Iterator<Item = (&'a str, [u64; 2])>,
    others: u64,
    whole: u64,
) -> Vec<BarView> {
    let mut rows: Vec<(&str, [u64; 2])> = rows.collect();
    if others > 0 {
        rows.push(("all others", [others, 0]));
    }
    let most = rows
        .iter()
        .map(|(_, [count, _])| *count)
        .max()
        .unwrap_or(0)
        .max(1) as f64;
    let width = |count: u64| format!("{:.1}", BAR * count as f64 / most);
    rows.into_iter()
        .map(|(name, [rows, part])| BarView {
            name: printable(name),
            count: count(rows),
            share: percent(rows, whole),
            width: width(rows),
            inner: width(part),
        })
        .collect()
}

fn histogram(histogram: &FetchHistogram) -> HistogramView {
    let most = histogram.bins.iter().map(|(_, n)| *n).max().unwrap_or(0);
    let step = WIDTH / histogram.bins.len().max(1) as f64;
    let columns = histogram.bins.iter().enumerate().map(|(at, (label, n))| {
        let height = HEIGHT * *n as f64 / most.max(1) as f64;
        ColumnView {
            x: format!("{:.1}", at as f64 * step + 0.5),
            y: format!("{:.1}", HEIGHT - height),
            width: format!("{:.1}", (step - 1.0).max(0.5)),
            height: format!("{height:.1}"),
            title: format!("{label}: {}", count(*n)),
        }
    });
    // As many labels as have room.
    let every = histogram.bins.len().div_ceil(8).max(1);
    HistogramView {
        title: histogram.title.clone(),
        total: count(histogram.bins.iter().map(|(_, n)| n).sum()),
        columns: columns.collect(),
        labels: histogram
            .bins
            .iter()
            .enumerate()
            .step_by(every)
            .map(|(at, (label, _))| (format!("{:.1}", at as f64 * step), label.clone()))
            .collect(),
        most: count(most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> FetchPage<'static> {
        FetchPage {
            version: "0.1.0",
            command: &[],
            folder: "shards <b>",
            shards: 2,
            rows: 20,
            images: 15,
            bytes_downloaded: 1_500_000,
            failures: (vec![("HTTP Error 404: <Not Found>".to_owned(), 4)], 1),
            hosts: (vec![("example.com".to_owned(), [12, 10])], 8),
            different_hosts: 3,
            histograms: vec![FetchHistogram {
                title: "Shorter side, pixels".to_owned(),
                bins: vec![("64".to_owned(), 5), ("128".to_owned(), 10)],
            }],
            pictures: vec![FetchPicture {
                key: "000000000".to_owned(),
                caption: "a \"caption\" & more".to_owned(),
                media_type: "image/jpeg",
                bytes: vec![0xff, 0xd8, 0xff],
            }],
        }
    }

    #[test]
    fn the_page_holds_every_number_and_escapes_what_is_foreign() {
        let html = fetch_page(&page()).unwrap();
        for text in [
            "HTTP Error 404: &lt;Not Found&gt;",
            "15 (75.0 %)",
            "all others",
            "example.com",
            "3 hosts",
            "128: 10",
            ";base64,&#x2f;9j&#x2f;",
            "a &quot;caption&quot; &amp; more",
            "shards &lt;b&gt;",
        ] {
            assert!(html.contains(text), "{text}\n{html}");
        }
        assert!(!html.contains("<b>"));
    }

    #[test]
    fn an_empty_dataset_has_a_page() {
        let empty = FetchPage {
            rows: 0,
            images: 0,
            failures: (Vec::new(), 0),
            hosts: (Vec::new(), 0),
            histograms: Vec::new(),
            pictures: Vec::new(),
            ..page()
        };
        assert!(fetch_page(&empty).unwrap().contains("0 (0.0 %)"));
    }
}
