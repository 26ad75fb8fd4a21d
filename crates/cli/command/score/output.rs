//! The scores as JSON and as aligned text.

use std::fmt::Write as _;

use serde::Serialize;
use sightline_core::text::counted;
use sightline_core::{Digest, Seed};
use sightline_harness::captions::{LeftOut, Unpaired};
use sightline_metrics::comparison::{FEWEST_ITEMS, minimum_detectable_difference};
use sightline_metrics::{Bootstrap, DynMetric, Method, Outcome};

use super::files::Source;

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
    pub(crate) left_out: LeftOut,
    pub(crate) intervals: Option<Intervals>,
    /// Number of images that `detectable` is for.
    pub(crate) detectable_at: u64,
    /// What METEOR's tables were compiled from.
    pub(crate) meteor_tables: Option<Digest>,
    /// Those that CIDEr was given instead of the references' own.
    pub(crate) document_frequencies: Option<Source>,
    pub(crate) metrics: Vec<Score>,
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
    /// Images for which the metric is not defined; they are not in the value.
    pub(crate) without_value: u64,
    /// What the value depends on, as the published program writes it.
    pub(crate) signature: Option<String>,
    pub(crate) range: [Option<f64>; 2],
    pub(crate) higher_is_better: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<Compared>,
}

/// The difference from the baseline.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    /// Images that have a value on both sides; everything here is of them.
    pub(crate) images: u64,
    pub(crate) value: Option<f64>,
    pub(crate) baseline: Option<f64>,
    pub(crate) difference: Option<f64>,
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) standard_error: Option<f64>,
    /// The smallest difference on the same images that would be found.
    pub(crate) detectable: Option<f64>,
    pub(crate) p_bootstrap: Option<f64>,
    pub(crate) p_bootstrap_corrected: Option<f64>,
    pub(crate) p_randomisation: Option<f64>,
    pub(crate) p_randomisation_corrected: Option<f64>,
}

impl Score {
    pub(crate) fn new(
        metric: &dyn DynMetric,
        outcome: &Outcome,
        signature: Option<String>,
        more_images: f64,
    ) -> Self {
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
            without_value: outcome.undefined,
            signature,
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
    let has_intervals = printed.intervals.is_some();
    let mut rows = vec![cells(
        &["metric", "value"],
        &["interval", "std. error", "detectable"],
        has_intervals,
    )];
    for score in &printed.metrics {
        let value = score
            .value
            .map_or("none".to_owned(), |value| format!("{value:.4}"));
        let spread = [
            ends(score.interval),
            number(score.standard_error),
            number(score.detectable),
        ];
        rows.push(cells(&[score.name(), value], &spread, has_intervals));
    }
    let mut text = aligned(&rows);
    if printed.baseline.is_some() {
        text.push_str(&compared(printed));
    }
    let _ = write!(text, "\n{}", counted(printed.images, "image"));
    if let Some(intervals) = &printed.intervals {
        let _ = write!(
            text,
            "; intervals: {} bootstrap, {} resamples of the images, {} % inside; detectable: the smallest \
             difference that shows in {} with 80 % chance at the 5 % level",
            intervals.method,
            intervals.resamples,
            intervals.confidence * 100.0,
            counted(printed.detectable_at as usize, "image")
        );
    }
    for note in notes(printed) {
        let _ = write!(text, "\n{note}");
    }
    text
}

/// The differences from the baseline.
fn compared(printed: &Printed) -> String {
    let has_intervals = printed.intervals.is_some();
    let mut rows = vec![cells(
        &["metric", "baseline", "difference"],
        &["interval", "p bootstrap", "p randomisation", "detectable"],
        has_intervals,
    )];
    let p = |p: Option<f64>| p.map_or("none".to_owned(), |p| format!("{p:.4}"));
    let mut tested = 0;
    for (score, comparison) in printed
        .metrics
        .iter()
        .filter_map(|score| Some((score, score.comparison.as_ref()?)))
    {
        tested += usize::from(comparison.p_randomisation.is_some());
        let difference = comparison
            .difference
            .map_or("none".to_owned(), |d| format!("{d:+.4}"));
        let spread = [
            ends(comparison.interval),
            p(comparison.p_bootstrap_corrected),
            p(comparison.p_randomisation_corrected),
            number(comparison.detectable),
        ];
        let values = [score.name(), number(comparison.baseline), difference];
        rows.push(cells(&values, &spread, has_intervals));
    }
    let tests = match tested {
        0 => String::new(),
        _ => format!(
            "; p-values two-sided, corrected for {} (Holm)",
            counted(tested, "metric")
        ),
    };
    format!("\n\nagainst the baseline{tests}\n{}", aligned(&rows))
}

/// What a reader of the numbers has to know about some of them.
fn notes(printed: &Printed) -> Vec<String> {
    let mut notes = Vec::new();
    let is_compared = printed.baseline.is_some() && printed.intervals.is_some();
    let fewest = printed.metrics.iter().filter_map(|score| {
        let comparison = score.comparison.as_ref()?;
        Some(comparison.images)
    });
    if is_compared && fewest.min().is_some_and(|n| n < FEWEST_ITEMS as u64) {
        notes.push(format!(
            "p bootstrap: none below {FEWEST_ITEMS} images, whose resamples vary too little"
        ));
    }
    notes.extend(missing_intervals(printed));
    for score in &printed.metrics {
        if score.without_value > 0 {
            notes.push(format!(
                "{}: not defined for {} of {}, which count nothing in its value",
                score.id,
                score.without_value,
                counted(printed.images, "image")
            ));
        }
        if let Some(comparison) = &score.comparison
            && comparison.images < printed.images as u64
        {
            let value = comparison
                .value
                .map_or("none".to_owned(), |v| format!("{v:.4}"));
            notes.push(format!(
                "{}: compared on {} with a value on both sides, where it is {value}",
                score.id,
                counted(comparison.images as usize, "image"),
            ));
        }
        if let Some(signature) = &score.signature {
            notes.push(format!("{}: {signature}", score.id));
        }
    }
    if let Some(source) = &printed.document_frequencies {
        notes.push(format!(
            "document frequencies: {} (sha256 {})",
            source.path.display(),
            source.sha256.short()
        ));
    }
    notes
}

/// Why there are values and differences without an interval, a line for each reason.
fn missing_intervals(printed: &Printed) -> Vec<String> {
    let Some(intervals) = &printed.intervals else {
        return Vec::new();
    };
    let mut without = Vec::new();
    for score in &printed.metrics {
        if score.value.is_some() && score.interval.is_none() {
            without.push((score.items, score.id.to_owned()));
        }
        if let Some(one) = &score.comparison
            && one.difference.is_some()
            && one.interval.is_none()
        {
            without.push((one.images, format!("the difference of {}", score.id)));
        }
    }
    let (few, enough): (Vec<_>, Vec<_>) = without.into_iter().partition(|(items, _)| *items < 2);
    let reasons = [
        (few, "it takes two images"),
        (
            enough,
            // The other methods give one wherever there is a value.
            "BCa is not defined where all images, or nearly all, have one value; percentile and basic are",
        ),
    ];
    reasons
        .into_iter()
        .filter(|(without, _)| !without.is_empty())
        .filter(|(without, _)| without[0].0 < 2 || intervals.method == Method::Bca.name())
        .map(|(without, reason)| {
            let ids: Vec<String> = without.into_iter().map(|(_, id)| id).collect();
            format!("no interval for {}: {reason}", ids.join(", "))
        })
        .collect()
}

/// What was left out, a line for each file that lacked something.
pub(crate) fn left_out(left_out: &LeftOut) -> Vec<String> {
    let mut lines = Vec::new();
    if left_out.without_references > 0 {
        lines.push(format!(
            "left out for the references: {} without a caption",
            counted(left_out.without_references, "image")
        ));
    }
    let files = [
        ("predictions", Some(left_out.predictions)),
        ("baseline", left_out.baseline),
    ];
    for (file, unpaired) in files {
        let Some(unpaired) = unpaired.filter(|one| *one != Unpaired::default()) else {
            continue;
        };
        lines.push(format!(
            "left out for the {file}: {} without prediction, {}, {} without references",
            counted(unpaired.missing, "image"),
            counted(unpaired.failed, "failed prediction"),
            counted(unpaired.extra, "prediction")
        ));
    }
    lines
}

/// A row of values and, with intervals, of what is known about their spread.
fn cells<T: ToString>(values: &[T], spread: &[T], has_intervals: bool) -> Vec<String> {
    let spread = if has_intervals { spread } else { &[] };
    values.iter().chain(spread).map(T::to_string).collect()
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.4}"))
}

fn ends(ends: Option<[f64; 2]>) -> String {
    ends.map_or(String::new(), |[low, high]| {
        format!("[{low:.4}, {high:.4}]")
    })
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
