//! The report page: the scores with every image's values and captions.

use sightline_harness::captions::Paired;
use sightline_metrics::{CaptionItem, DynMetric};
use sightline_report::captions::{
    Caption, CaptionReport, Comparison, ImageRow, Intervals, LeftOut, MetricColumn, SourceFile,
    Unpaired, caption_page,
};

use super::files::Source;
use super::output::{Compared, Printed, Score};
use crate::command::exits;
use crate::exit::Failure;

/// Worst and best images that are shown.
const IMAGES_SHOWN: usize = 20;

/// A list of images: their captions and, for each metric, their values.
pub(super) struct Side<'a> {
    pub(super) items: &'a [CaptionItem],
    /// For each metric the value of each image.
    pub(super) values: Vec<Vec<Option<f64>>>,
}

/// The page for `printed`, with the images of the predictions and of the baseline.
pub(super) fn html(
    printed: &Printed,
    metrics: &[&'static dyn DynMetric],
    paired: &Paired,
    predictions: &Side<'_>,
    baseline: Option<&Side<'_>>,
) -> Result<String, Failure> {
    let command: Vec<String> = std::env::args_os()
        .enumerate()
        .map(|(at, argument)| match at {
            0 => "sightline".to_owned(),
            _ => argument.to_string_lossy().into_owned(),
        })
        .collect();
    let title = format!(
        "{} against {}",
        printed.predictions.path.display(),
        printed.references.path.display()
    );
    let paths = [
        Some(&printed.references),
        Some(&printed.predictions),
        printed.baseline.as_ref(),
        printed.document_frequencies.as_ref(),
    ]
    .map(|source| source.map_or(String::new(), |source| source.path.display().to_string()));
    let source = |source: &Source, at: usize| SourceFile {
        path: &paths[at],
        sha256: source.sha256,
    };
    let report = CaptionReport {
        title: &title,
        version: env!("CARGO_PKG_VERSION"),
        command: &command,
        references: source(&printed.references, 0),
        predictions: source(&printed.predictions, 1),
        baseline: printed.baseline.as_ref().map(|one| source(one, 2)),
        document_frequencies: printed
            .document_frequencies
            .as_ref()
            .map(|one| source(one, 3)),
        id_name: printed.ids,
        left_out: LeftOut {
            without_references: printed.left_out.without_references,
            predictions: unpaired(printed.left_out.predictions),
            baseline: printed.left_out.baseline.map(unpaired),
        },
        intervals: printed.intervals.as_ref().map(|intervals| Intervals {
            confidence: intervals.confidence,
            resamples: intervals.resamples,
            method: intervals.method,
            seed: intervals.seed,
        }),
        metrics: metrics
            .iter()
            .zip(&printed.metrics)
            .enumerate()
            .map(|(at, (metric, score))| column(at, *metric, score, predictions, baseline))
            .collect(),
        images: (0..paired.ids.len())
            .map(|at| row(&paired.ids[at], at, predictions, baseline))
            .collect(),
        ranked_by: None,
        images_shown: IMAGES_SHOWN,
    };
    caption_page(&report)
        .map_err(|error| Failure::new(exits::report(&error), "making the report", &error))
}

fn unpaired(unpaired: sightline_harness::captions::Unpaired) -> Unpaired {
    Unpaired {
        missing: unpaired.missing,
        extra: unpaired.extra,
        failed: unpaired.failed,
    }
}

fn column<'a>(
    at: usize,
    metric: &dyn DynMetric,
    score: &'a Score,
    predictions: &Side<'_>,
    baseline: Option<&Side<'_>>,
) -> MetricColumn<'a> {
    let info = metric.info();
    let comparison = score.comparison.as_ref().zip(baseline);
    MetricColumn {
        id: info.id,
        version: info.version,
        description: info.description,
        signature: score.signature.as_deref(),
        value: score.value,
        interval: score.interval,
        standard_error: score.standard_error,
        // The page speaks of the baseline where there is one.
        detectable: comparison.map_or(score.detectable, |(compared, _)| compared.detectable),
        range: info.range,
        higher_is_better: info.higher_is_better,
        values: predictions.values[at].clone(),
        comparison: comparison
            .map(|(compared, baseline)| self::comparison(compared, baseline.values[at].clone())),
    }
}

fn comparison(compared: &Compared, values: Vec<Option<f64>>) -> Comparison {
    Comparison {
        images: compared.images as usize,
        value: compared.baseline,
        difference: compared.difference,
        interval: compared.interval,
        p_bootstrap: compared.p_bootstrap,
        p_bootstrap_corrected: compared.p_bootstrap_corrected,
        p_randomisation: compared.p_randomisation,
        p_randomisation_corrected: compared.p_randomisation_corrected,
        values,
    }
}

fn row<'a>(
    id: &'a str,
    at: usize,
    predictions: &Side<'a>,
    baseline: Option<&Side<'a>>,
) -> ImageRow<'a> {
    let item = &predictions.items[at];
    ImageRow {
        id,
        candidate: caption(&item.candidate),
        references: item.references.iter().map(caption).collect(),
        baseline: baseline.map(|side| caption(&side.items[at].candidate)),
    }
}

fn caption(caption: &sightline_metrics::Caption) -> Caption<'_> {
    Caption {
        raw: caption.raw(),
        tokenized: caption.tokenized(),
    }
}
