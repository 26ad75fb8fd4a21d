//! `sightline fetch report`: a page about a folder of shards.

use std::cmp::Reverse;
use std::path::PathBuf;

use clap::Args;
use sightline_core::{ImageFormat, Sample};
use sightline_fetch::survey;
use sightline_report::fetch_page::{FetchHistogram, FetchPage, FetchPicture, fetch_page};
use sightline_store::{is_address, write_atomic};

use super::failure;
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print};
use crate::stores::stores;

/// Arguments of `sightline fetch report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Folder of shards that `fetch` made, also at s3://, gs:// or az://
    folder: PathBuf,

    /// The page [default: report.html in the folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Images on the page
    #[arg(long, default_value_t = 48, value_name = "N")]
    images: usize,
}

pub(super) fn write_report(args: &ReportArgs) -> Result<Exit, Failure> {
    const SHOWN: usize = 30;
    let doing = format!("looking at `{}`", args.folder.display());
    let unopened = |error| Failure::new(exits::store(&error), doing.clone(), &error);
    let folder = stores().folder(&args.folder).map_err(unopened)?;
    let survey = survey(&folder, args.images, &Bar::default()).map_err(failure(&doing))?;
    let summary = &survey.summary;
    let failures = summary.failures.values().flatten();
    let mut failures: Vec<(String, u64)> = failures
        .map(|(reason, rows)| (reason.clone(), *rows))
        .collect();
    failures.sort_by_key(|(reason, rows)| (Reverse(*rows), reason.clone()));
    let (mut hosts, beyond): (Vec<_>, Vec<_>) =
        survey.hosts.iter().partition(|(name, _)| !name.is_empty());
    hosts.sort_by_key(|(name, [rows, _])| (Reverse(*rows), *name));
    let failed = summary.failed_to_download + summary.failed_to_resize + summary.duplicates;
    let shown_failures = failures
        .iter()
        .take(SHOWN)
        .map(|(_, rows)| rows)
        .sum::<u64>();
    let shown_hosts = hosts
        .iter()
        .take(SHOWN)
        .map(|(_, [rows, _])| rows)
        .sum::<u64>();
    let command: Vec<String> = std::env::args().collect();
    let histogram = |title: &str, bins: &[(String, u64)]| FetchHistogram {
        title: title.to_owned(),
        bins: bins.to_vec(),
    };
    let page = FetchPage {
        version: env!("CARGO_PKG_VERSION"),
        command: &command,
        folder: &args.folder.display().to_string(),
        shards: summary.shards_skipped,
        rows: summary.rows,
        images: summary.successes,
        bytes_downloaded: summary.bytes_downloaded,
        failures: (
            failures.iter().take(SHOWN).cloned().collect(),
            failed.saturating_sub(shown_failures),
        ),
        different_hosts: (hosts.len() + beyond.len()) as u64,
        hosts: (
            hosts
                .iter()
                .take(SHOWN)
                .map(|(name, counts)| ((*name).clone(), **counts))
                .collect(),
            summary.rows.saturating_sub(shown_hosts),
        ),
        histograms: vec![
            histogram("Shorter side of the originals, pixels", &survey.sizes),
            histogram("Longer to shorter side of the originals", &survey.aspects),
            histogram("Time of a request, milliseconds", &survey.latencies),
        ],
        pictures: survey.samples.iter().filter_map(picture).collect(),
    };
    let html = fetch_page(&page)
        .map_err(|error| Failure::new(exits::report(&error), doing.clone(), &error))?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| args.folder.join("report.html"));
    let written = if is_address(&out) {
        stores()
            .object(&out)
            .and_then(|(folder, name)| folder.write(&name, html.as_bytes()))
    } else {
        write_atomic(&out, html.as_bytes())
    };
    written.map_err(unopened)?;
    print(&format!("`{}`", out.display()))?;
    Ok(Exit::Done)
}

fn picture(sample: &Sample) -> Option<FetchPicture> {
    let image = sample.image.as_ref()?;
    Some(FetchPicture {
        key: sample.key.to_string(),
        caption: sample.captions.first().cloned().unwrap_or_default(),
        media_type: match image.format {
            ImageFormat::Jpg => "image/jpeg",
            ImageFormat::Png => "image/png",
            ImageFormat::Webp => "image/webp",
            _ => return None,
        },
        bytes: image.bytes.to_vec(),
    })
}
