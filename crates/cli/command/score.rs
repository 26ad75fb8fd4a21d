//! `sightline score`: metrics on files of captions, no model needed.

mod explain;
mod output;
mod page;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rayon::prelude::*;
use sightline_core::Seed;
use sightline_core::registry::UnknownName;
use sightline_core::statistics::holm;
use sightline_harness::captions::{
    CaptionColumns, Paired, Unpaired, pair, read_predictions, read_references,
};
use sightline_metrics::cider::DocumentFrequencies;
use sightline_metrics::comparison::minimum_detectable_difference;
use sightline_metrics::{
    Bootstrap, CaptionItem, Comparison, DynMetric, Input, Method, Observations, Resources, registry,
};
use sightline_store::write_atomic;

use crate::command::{exits, metrics};
use crate::exit::{Exit, Failure};
use crate::output::{note, print, print_either};
use output::{Compared, Intervals, Printed, Score, Source, table};
use page::Side;

/// What is computed unless a person chooses.
const DEFAULT_METRICS: &str = "bleu-1,bleu-2,bleu-3,bleu-4,rouge-l,meteor,cider-d";

/// Arguments of `sightline score`.
#[derive(Debug, Args)]
#[command(after_help = "\
Files: COCO caption JSON, COCO results, Karpathy's splits (.json), JSON lines with `id` and `caption`
or `captions`, or a predictions file of a run (.jsonl), tables with the columns `id` and `caption`
(.csv, .tsv, .parquet); all but Parquet also with .gz.")]
pub(crate) struct ScoreArgs {
    /// What people wrote
    #[arg(long, value_name = "FILE")]
    references: PathBuf,

    /// What a model wrote
    #[arg(long, value_name = "FILE")]
    predictions: PathBuf,

    /// Metrics to compute; `sightline metrics list` names them all
    #[arg(long, value_delimiter = ',', default_value = DEFAULT_METRICS, value_name = "ID,…")]
    metrics: Vec<String>,

    /// Predictions of another model on the same images: also test whether the two differ (paired
    /// bootstrap and approximate randomisation, corrected for the number of metrics)
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Score the images that have both and count the others, instead of refusing
    #[arg(long)]
    partial: bool,

    /// Split of Karpathy's file [default: test]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,

    /// Column or field of the ids
    #[arg(long, default_value = "id", value_name = "NAME")]
    id_col: String,

    /// Column or field of the captions
    #[arg(long, default_value = "caption", value_name = "NAME")]
    caption_col: String,

    /// Document frequencies for CIDEr instead of those of the references
    #[arg(long, value_name = "FILE")]
    document_frequencies: Option<PathBuf>,

    /// Resamples of the bootstrap; 0 for no intervals
    #[arg(long, default_value_t = 1000, value_name = "N")]
    resamples: u32,

    /// Share of resampled values inside an interval
    #[arg(long, default_value_t = 0.95, value_name = "SHARE", value_parser = parse_confidence)]
    confidence: f64,

    /// How intervals are made
    #[arg(long, value_enum, default_value = "percentile")]
    interval: IntervalArg,

    /// From which every resample derives
    #[arg(long, default_value_t = 17, value_name = "N")]
    seed: u64,

    /// Number of images for which to say how small a difference could be found [default: those scored]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    detectable_at: Option<u64>,

    /// Write the value of every image as JSON lines
    #[arg(long, value_name = "FILE")]
    per_sample: Option<PathBuf>,

    /// Write a page with histograms, the worst and best images and what they differ in
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    /// Show how the scores of one image come about, instead of scoring all
    #[arg(long, value_name = "ID")]
    explain: Option<String>,

    /// Print the scores as JSON
    #[arg(long)]
    json: bool,
}

/// How intervals are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IntervalArg {
    /// Quantiles of the resampled values
    Percentile,
    /// Quantiles mirrored at the value
    Basic,
    /// Bias-corrected and accelerated
    Bca,
}

impl From<IntervalArg> for Method {
    fn from(interval: IntervalArg) -> Self {
        match interval {
            IntervalArg::Percentile => Self::Percentile,
            IntervalArg::Basic => Self::Basic,
            IntervalArg::Bca => Self::Bca,
        }
    }
}

fn parse_confidence(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("expected a number between 0 and 1, for example 0.95".to_owned()),
    }
}

pub(crate) fn run(args: &ScoreArgs) -> Result<Exit, Failure> {
    let metrics = chosen(&args.metrics)?;
    let mut paired = paired(args, &args.predictions)?;
    let baseline = match &args.baseline {
        Some(path) => {
            let mut baseline = self::paired(args, path)?;
            keep_common(&mut paired, &mut baseline);
            Some(baseline)
        }
        None => None,
    };
    let resources = resources(args, &metrics)?;
    let observations = observe(&paired, &resources);
    if let Some(id) = &args.explain {
        print(&explained(id, &metrics, &paired, &observations)?)?;
        return Ok(Exit::Done);
    }

    let settings = (args.resamples > 0).then(|| Bootstrap {
        resamples: args.resamples,
        confidence: args.confidence,
        method: args.interval.into(),
        seed: Seed(args.seed),
    });
    let more_images = args
        .detectable_at
        .map_or(1.0, |images| images as f64 / paired.ids.len().max(1) as f64);
    let score = |metric: &&'static dyn DynMetric| {
        let outcome = metric
            .evaluate(&observations, settings.as_ref())
            .map_err(|error| scoring(&error))?;
        Ok(Score::new(*metric, &outcome, more_images))
    };
    // Each metric shares its work among threads, but not all of it: several at once keep all of them busy.
    let (scores, sources) = rayon::join(
        || metrics.par_iter().map(score).collect::<Vec<_>>(),
        || [&args.references, &args.predictions].map(|path| Source::of(path)),
    );
    let mut scores = scores
        .into_iter()
        .collect::<Result<Vec<Score>, Failure>>()?;
    let [references, predictions] = sources;
    let baseline = baseline.map(|paired| observe(&paired, &resources));
    if let (Some(baseline), Some(settings)) = (&baseline, &settings) {
        compare(
            &metrics,
            baseline,
            &observations,
            settings,
            more_images,
            &mut scores,
        )?;
    }
    let printed = Printed {
        schema: 1,
        references: references?,
        predictions: predictions?,
        baseline: args.baseline.as_deref().map(Source::of).transpose()?,
        ids: paired.id_name,
        images: paired.ids.len(),
        left_out: paired.unpaired,
        intervals: settings.as_ref().map(Intervals::new),
        detectable_at: args.detectable_at.unwrap_or(paired.ids.len() as u64),
        meteor_tables: resources.meteor.as_ref().map(|tables| tables.digest()),
        metrics: scores,
    };
    if args.per_sample.is_some() || args.report.is_some() {
        let predictions = side(&metrics, &observations)?;
        if let Some(path) = &args.per_sample {
            write(path, &per_sample(&metrics, &paired, &predictions))?;
        }
        if let Some(path) = &args.report {
            let baseline = baseline
                .as_ref()
                .map(|observations| side(&metrics, observations))
                .transpose()?;
            let html = page::html(&printed, &metrics, &paired, &predictions, baseline.as_ref())?;
            write(path, &html)?;
        }
    }
    print_either(args.json, &printed, || table(&printed))?;
    tell(&paired.unpaired);
    Ok(Exit::Done)
}

/// Keeps the images that both have; with `--partial` they may be others.
fn keep_common(a: &mut Paired, b: &mut Paired) {
    if a.ids == b.ids {
        return;
    }
    let ids: [HashSet<String>; 2] = [&*a, &*b].map(|one| one.ids.iter().cloned().collect());
    for one in [a, b] {
        let kept: Vec<usize> = (0..one.ids.len())
            .filter(|&at| ids.iter().all(|ids| ids.contains(&one.ids[at])))
            .collect();
        one.unpaired.missing += one.ids.len() - kept.len();
        one.captions = kept.iter().map(|&at| one.captions[at].clone()).collect();
        one.ids = kept.iter().map(|&at| one.ids[at].clone()).collect();
    }
}

/// Tests each metric, and corrects the p-values of all.
fn compare(
    metrics: &[&'static dyn DynMetric],
    baseline: &Observations,
    observations: &Observations,
    settings: &Bootstrap,
    more_images: f64,
    scores: &mut [Score],
) -> Result<(), Failure> {
    let comparisons = metrics
        .iter()
        .map(|metric| {
            metric
                .compare(baseline, observations, settings)
                .map_err(|error| scoring(&error))
        })
        .collect::<Result<Vec<Comparison>, Failure>>()?;
    let corrected = |p: fn(&Comparison) -> Option<f64>| {
        holm(
            &comparisons
                .iter()
                .map(|c| p(c).unwrap_or(1.0))
                .collect::<Vec<_>>(),
        )
    };
    let bootstrap = corrected(|c| c.p_bootstrap);
    let randomisation = corrected(|c| c.p_randomisation);
    for (at, (score, comparison)) in scores.iter_mut().zip(&comparisons).enumerate() {
        score.comparison = Some(Compared {
            baseline: comparison.a,
            difference: comparison.difference,
            interval: comparison.interval.map(|ends| [ends.low, ends.high]),
            standard_error: comparison.standard_error,
            detectable: comparison
                .standard_error
                .map(|error| minimum_detectable_difference(error, more_images)),
            p_bootstrap: comparison.p_bootstrap,
            p_bootstrap_corrected: bootstrap[at],
            p_randomisation: comparison.p_randomisation,
            p_randomisation_corrected: randomisation[at],
        });
    }
    Ok(())
}

/// How the scores of image `id` come about.
fn explained(
    id: &str,
    metrics: &[&'static dyn DynMetric],
    paired: &Paired,
    observations: &Observations,
) -> Result<String, Failure> {
    let at = paired
        .ids
        .iter()
        .position(|known| known == id)
        .ok_or_else(|| {
            let known = paired.ids.iter().map(String::as_str);
            let error = UnknownName::among("image", id, known);
            Failure::new(Exit::Usage, "explaining a score", &error)
        })?;
    let items: &[CaptionItem] = observations.items(Input::Caption).unwrap_or_default();
    let values = metrics
        .iter()
        .map(|metric| {
            let values = metric
                .per_item(observations)
                .map_err(|error| scoring(&error))?;
            Ok((*metric, values[at]))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(explain::text(
        id,
        &items[at],
        items,
        observations.resources(),
        &values,
    ))
}

fn scoring(error: &sightline_metrics::Error) -> Failure {
    Failure::new(Exit::Usage, "scoring", error)
}

/// The metrics called for, each once.
fn chosen(ids: &[String]) -> Result<Vec<&'static dyn DynMetric>, Failure> {
    let mut chosen: Vec<&'static dyn DynMetric> = Vec::new();
    for id in ids {
        let metric = registry::metric(id)
            .map_err(|error| Failure::new(Exit::Usage, "choosing metrics", &error))?;
        let info = metric.info();
        if info.input != Input::Caption {
            let cause = format!(
                "metric `{id}` is computed from {} items, not from captions",
                info.input.name()
            );
            return Err(Failure::usage("choosing metrics", cause).with_hint(
                "`sightline metrics list --json` says what each metric is computed from.",
            ));
        }
        if chosen.iter().all(|known| known.info().id != info.id) {
            chosen.push(metric);
        }
    }
    Ok(chosen)
}

/// The references with the predictions at `path`.
fn paired(args: &ScoreArgs, path: &Path) -> Result<Paired, Failure> {
    let columns = CaptionColumns {
        id: args.id_col.clone(),
        caption: args.caption_col.clone(),
    };
    let (references, predictions) = rayon::join(
        || read_references(&args.references, &columns, args.split.as_deref()),
        || read_predictions(path, &columns),
    );
    let references = references
        .map_err(|error| Failure::new(exits::harness(&error), "reading references", &error))?;
    let predictions = predictions
        .map_err(|error| Failure::new(exits::harness(&error), "reading predictions", &error))?;
    pair(references, &predictions, args.partial).map_err(|error| {
        let doing = format!(
            "bringing together `{}` and `{}`",
            args.references.display(),
            path.display()
        );
        Failure::new(exits::captions(&error), doing, &error)
    })
}

/// The tables that the metrics need. METEOR's are opened only for METEOR.
fn resources(args: &ScoreArgs, metrics: &[&'static dyn DynMetric]) -> Result<Resources, Failure> {
    let needs_meteor = metrics.iter().any(|metric| metric.info().id == "meteor");
    let document_frequencies = args
        .document_frequencies
        .as_deref()
        .map(document_frequencies)
        .transpose()?;
    Ok(Resources {
        meteor: if needs_meteor {
            metrics::meteor_tables()?
        } else {
            None
        },
        document_frequencies: document_frequencies.map(Arc::new),
    })
}

fn observe(paired: &Paired, resources: &Resources) -> Observations {
    let mut observations = Observations::default();
    observations.set(Input::Caption, CaptionItem::all(&paired.captions));
    observations.set_resources(resources.clone());
    observations
}

/// Says what was left out.
fn tell(left_out: &Unpaired) {
    let Unpaired {
        missing,
        extra,
        failed,
    } = left_out;
    if missing + extra + failed > 0 {
        note(&format!(
            "left out: {missing} images without prediction, {failed} failed predictions, \
             {extra} predictions without references"
        ));
    }
}

/// The captions and values of every image.
fn side<'a>(
    metrics: &[&'static dyn DynMetric],
    observations: &'a Observations,
) -> Result<Side<'a>, Failure> {
    let values = metrics
        .iter()
        .map(|metric| {
            metric
                .per_item(observations)
                .map_err(|error| scoring(&error))
        })
        .collect::<Result<_, Failure>>()?;
    Ok(Side {
        items: observations.items(Input::Caption).unwrap_or_default(),
        values,
    })
}

/// A JSON line for each image: its id and the value of each metric.
fn per_sample(metrics: &[&'static dyn DynMetric], paired: &Paired, side: &Side<'_>) -> String {
    let mut lines = String::new();
    for (row, id) in paired.ids.iter().enumerate() {
        let mut line = serde_json::Map::new();
        line.insert("id".to_owned(), id.as_str().into());
        for (metric, values) in metrics.iter().zip(&side.values) {
            line.insert(metric.info().id.to_owned(), values[row].into());
        }
        lines.push_str(&serde_json::Value::Object(line).to_string());
        lines.push('\n');
    }
    lines
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    write_atomic(path, text.as_bytes()).map_err(|error| {
        let doing = format!("writing `{}`", path.display());
        Failure::new(exits::store(&error), doing, &error)
    })
}

fn document_frequencies(path: &Path) -> Result<DocumentFrequencies, Failure> {
    let doing = || format!("reading document frequencies `{}`", path.display());
    let bytes = fs::read(path)
        .map_err(|error| Failure::io(doing(), &error).with_exit(exits::io(&error)))?;
    DocumentFrequencies::from_json(&bytes)
        .map_err(|error| Failure::new(Exit::Usage, doing(), &error))
}
