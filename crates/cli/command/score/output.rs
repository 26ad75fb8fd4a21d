//! The scores as JSON and as aligned text.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sightline_core::{Digest, Seed};
use sightline_harness::captions::Unpaired;
use sightline_metrics::comparison::minimum_detectable_difference;
use sightline_metrics::{Bootstrap, DynMetric, Outcome};
use sightline_store::digest_file;

use crate::command::exits;
use crate::exit::Failure;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Printed {
    pub(crate) schema: u32,
    pub(crate) references: Source,
    pub(crate) predictions: Source,
    pub(crate) baseline: Option<Source>,
    /// What the ids are: `image_id`, `filename`.
    pub(crate) ids: &'static str,
    pub(crate) images: usize,
    pub(crate) left_out: Unpaired,
    pub(crate) intervals: Option<Intervals>,
    /// Number of images that `detectable` is for.
    pub(crate) detectable_at: u64,
    /// What METEOR's tables were compiled from.
    pub(crate) meteor_tables: Option<Digest>,
    pub(crate) metrics: Vec<Score>,
}

/// A file that was read.
#[derive(Debug, Serialize)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) sha256: Digest,
}

impl Source {
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        let digest = digest_file(path).map_err(|error| {
            let doing = format!("reading `{}`", path.display());
            Failure::new(exits::store(&error), doing, &error)
        })?;
        Ok(Self {
            path: path.to_owned(),
            sha256: digest.sha256,
        })
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Intervals {
    pub(crate) confidence: f64,
    pub(crate) resamples: u32,
    pub(crate) method: &'static str,
    pub(crate) seed: Seed,
}

impl Intervals {
    pub(crate) fn new(settings: &Bootstrap) -> Self {
        Self {
            confidence: settings.confidence,
            resamples: settings.resamples,
            method: settings.method.name(),
            seed: settings.seed,
        }
    }
}

/// A metric's value. An end of the range that is not finite is `null`.
#[derive(Debug, Serialize)]
pub(crate) struct Score {
    pub(crate) id: &'static str,
    pub(crate) version: u32,
    pub(crate) value: Option<f64>,
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) standard_error: Option<f64>,
    /// The smallest difference from a model on other images that would be found.
    pub(crate) detectable: Option<f64>,
    pub(crate) items: u64,
    pub(crate) range: [Option<f64>; 2],
    pub(crate) higher_is_better: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<Compared>,
}

/// The difference from the baseline.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) baseline: Option<f64>,
    pub(crate) difference: Option<f64>,
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) standard_error: Option<f64>,
    /// The smallest difference on the same images that would be found.
    pub(crate) detectable: Option<f64>,
    pub(crate) p_bootstrap: Option<f64>,
    pub(crate) p_bootstrap_corrected: f64,
    pub(crate) p_randomisation: Option<f64>,
    pub(crate) p_randomisation_corrected: f64,
}

impl Score {
    pub(crate) fn new(metric: &dyn DynMetric, outcome: &Outcome, more_images: f64) -> Self {
        let info = metric.info();
        Self {
            id: info.id,
            version: info.version,
            value: outcome.value,
            interval: outcome.interval.map(|ends| [ends.low, ends.high]),
            standard_error: outcome.standard_error,
            // Two models of this standard error, each on images of its own.
            detectable: outcome.standard_error.map(|error| {
                minimum_detectable_difference(error * std::f64::consts::SQRT_2, more_images)
            }),
            items: outcome.items,
            range: info.range.map(|end| end.is_finite().then_some(end)),
            higher_is_better: info.higher_is_better,
            comparison: None,
        }
    }

    /// The id, with what sets it apart.
    pub(crate) fn name(&self) -> String {
        let version = match self.version {
            1 => String::new(),
            version => format!(" v{version}"),
        };
        let direction = if self.higher_is_better {
            ""
        } else {
            " (less is better)"
        };
        format!("{}{version}{direction}", self.id)
    }
}

/// The scores as aligned text.
pub(crate) fn table(printed: &Printed) -> String {
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
    let ends = |ends: Option<[f64; 2]>| {
        ends.map_or(String::new(), |[low, high]| {
            format!("[{low:.4}, {high:.4}]")
        })
    };
    let columns = ["metric", "value", "interval", "std. error", "detectable"];
    let shown = if printed.intervals.is_some() {
        columns.len()
    } else {
        2
    };
    let mut rows = vec![
        columns[..shown]
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
    ];
    for score in &printed.metrics {
        let value = score
            .value
            .map_or("none".to_owned(), |value| format!("{value:.4}"));
        let mut row = vec![score.name(), value];
        if printed.intervals.is_some() {
            row.extend([
                ends(score.interval),
                number(score.standard_error),
                number(score.detectable),
            ]);
        }
        rows.push(row);
    }
    let mut text = aligned(&rows);

    let mut compared = vec![
        [
            "metric",
            "baseline",
            "difference",
            "interval",
            "p bootstrap",
            "p randomisation",
            "detectable",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for score in &printed.metrics {
        if let Some(comparison) = &score.comparison {
            let difference = comparison
                .difference
                .map_or(String::new(), |d| format!("{d:+.4}"));
            compared.push(vec![
                score.name(),
                number(comparison.baseline),
                difference,
                ends(comparison.interval),
                format!("{:.4}", comparison.p_bootstrap_corrected),
                format!("{:.4}", comparison.p_randomisation_corrected),
                number(comparison.detectable),
            ]);
        }
    }
    if compared.len() > 1 {
        let _ = write!(
            text,
            "\n\nagainst the baseline; p-values two-sided, corrected for {} metrics (Holm)\n{}",
            compared.len() - 1,
            aligned(&compared)
        );
    }
    let _ = write!(text, "\n{} images", printed.images);
    if let Some(intervals) = &printed.intervals {
        let _ = write!(
            text,
            "; intervals: {} bootstrap, {} resamples of the images, {} % inside; detectable: the smallest \
             difference that {} images show with 80 % chance at the 5 % level",
            intervals.method,
            intervals.resamples,
            intervals.confidence * 100.0,
            printed.detectable_at
        );
    }
    text
}

/// Columns side by side, the first to the left and all others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            rows.iter()
                .filter_map(|row| Some(row.get(at)?.len()))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(at, (cell, &width))| {
                    if at == 0 {
                        format!("{cell:width$}")
                    } else {
                        format!("{cell:>width$}")
                    }
                });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}
