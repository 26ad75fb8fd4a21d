//! `sightline score`: metrics on files of captions, no model needed.

mod compare;
mod explain;
mod files;
mod output;
mod page;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rayon::prelude::*;
use sightline_core::{Digest, Seed};
use sightline_harness::captions::Paired;
use sightline_metrics::cider::DocumentFrequencies;
use sightline_metrics::{
    Bootstrap, Caption, CaptionItem, DynMetric, Input, Method, Observations, Resources, registry,
};
use sightline_store::write_atomic;

use crate::command::{exits, metrics, target};
use crate::exit::{Exit, Failure};
use crate::output::{note, print_either};
use files::{Files, Source};
use output::{Intervals, Printed, Score, table};
use page::Side;

pub(crate) use files::{columns, references};

/// What is computed unless a person chooses.
const DEFAULT_METRICS: &str = "bleu-1,bleu-2,bleu-3,bleu-4,rouge-l,meteor,cider-d";

/// Fewest resamples that make an interval; with 95 % inside, its ends are then two or three values from
/// the outermost.
const FEWEST_RESAMPLES: u32 = 100;

/// Arguments of `sightline score`.
#[derive(Debug, Args)]
#[command(after_help = "\
Files: COCO caption JSON, COCO results, Karpathy's splits (.json), JSON lines with `id` and `caption`
or `captions`, or a predictions file of a run (.jsonl), tables with the columns `id` and `caption`
(.csv, .tsv, .parquet); all but Parquet also with .gz. CSV may be quoted, TSV is not; an empty cell is
an empty caption, which is scored, so leave out the rows of predictions that failed, or give null in
Parquet. Predictions name an image once, with one caption; references may have a row for each caption. METEOR refuses captions of more
than 2,000 words.")]
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

    /// Predictions of another model on the same images, by whatever ids the references know: also test whether the two differ (paired
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

    /// Column or field of the ids in the references [default: that of --id-col]
    #[arg(long, value_name = "NAME")]
    references_id_col: Option<String>,

    /// Column or field of the captions in the references [default: that of --caption-col]
    #[arg(long, value_name = "NAME")]
    references_caption_col: Option<String>,

    /// Document frequencies for CIDEr instead of those of the references: a file of `sightline metrics
    /// document-frequencies`, or a published pickle with `document_frequency` and `ref_len`
    #[arg(long, value_name = "FILE")]
    document_frequencies: Option<PathBuf>,

    /// Resamples of the bootstrap, 100 at least; 0 for no intervals and no tests
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = parse_resamples)]
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

    /// Replace files of --per-sample and --report that hold something else
    #[arg(long)]
    force: bool,

    /// Show how the scores of one image come about, instead of scoring all: METEOR's alignment and, of each
    /// reference, the n-grams that add most to CIDEr and the sum of the others; all of them with --json
    #[arg(long, value_name = "ID", conflicts_with_all = ["baseline", "per_sample", "report"])]
    explain: Option<String>,

    /// Print as JSON
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

fn parse_resamples(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(resamples) if resamples == 0 || resamples >= FEWEST_RESAMPLES => Ok(resamples),
        _ => Err(format!(
            "expected 0 or a number from {FEWEST_RESAMPLES} on: fewer make no interval"
        )),
    }
}

impl ScoreArgs {
    /// The files that are written, by flag.
    fn targets(&self) -> Vec<(&'static str, &Path)> {
        let per_sample = self
            .per_sample
            .as_deref()
            .map(|path| ("--per-sample", path));
        let report = self.report.as_deref().map(|path| ("--report", path));
        per_sample.into_iter().chain(report).collect()
    }

    /// The files that are read, by flag.
    fn sources(&self) -> Vec<(&'static str, &Path)> {
        let optional = [
            ("--baseline", &self.baseline),
            ("--document-frequencies", &self.document_frequencies),
        ];
        [
            ("--references", self.references.as_path()),
            ("--predictions", self.predictions.as_path()),
        ]
        .into_iter()
        .chain(
            optional
                .into_iter()
                .filter_map(|(flag, path)| Some((flag, path.as_deref()?))),
        )
        .collect()
    }
}

pub(crate) fn run(args: &ScoreArgs) -> Result<Exit, Failure> {
    target::refuse_overlap(&args.targets(), &args.sources())?;
    let metrics = chosen(&args.metrics)?;
    let frequencies = args.document_frequencies.as_deref();
    let frequencies = frequencies.map(document_frequencies).transpose()?;
    let (frequencies, frequencies_file) = frequencies.unzip();
    let (files, tables) = rayon::join(|| files::read(args), || meteor_tables(&metrics));
    let Files {
        mut paired,
        references,
        predictions,
        baseline: baseline_file,
    } = files?;
    let resources = Resources {
        meteor: tables?,
        document_frequencies: frequencies.map(Arc::new),
    };
    let (observations, baseline) = observe(&mut paired, &resources);
    if let Some(id) = &args.explain {
        let explained = explain::explain(id, &metrics, &paired, &observations)?;
        print_either(args.json, &explained, || explained.text())?;
        return Ok(Exit::Done);
    }

    let settings = Bootstrap {
        resamples: args.resamples,
        confidence: args.confidence,
        method: args.interval.into(),
        seed: Seed(args.seed),
    };
    let intervals = (args.resamples > 0).then_some(&settings);
    let images = paired.ids.len();
    let more_images = args
        .detectable_at
        .map_or(1.0, |wanted| wanted as f64 / images as f64);
    // Each metric shares its work among threads, but not all of it: several at once keep all of them busy.
    let scores: Vec<Result<Score, Failure>> = metrics
        .par_iter()
        .map(|metric| {
            let outcome = metric
                .evaluate(&observations, intervals)
                .map_err(|error| scoring(&error, &paired.ids, ""))?;
            let signature = metric.signature(Some(&observations));
            Ok(Score::new(*metric, &outcome, signature, more_images))
        })
        .collect();
    let mut scores = scores
        .into_iter()
        .collect::<Result<Vec<Score>, Failure>>()?;
    if let Some(baseline) = &baseline {
        let compared = compare::compare(&metrics, baseline, &observations, &settings, more_images)
            .map_err(|error| scoring(&error, &paired.ids, " of the baseline"))?;
        for (score, compared) in scores.iter_mut().zip(compared) {
            score.comparison = Some(compared);
        }
    }
    let printed = Printed {
        schema: 1,
        references,
        predictions,
        baseline: baseline_file,
        ids: paired.id_name,
        images,
        left_out: paired.left_out,
        intervals: intervals.map(Intervals::new),
        detectable_at: args.detectable_at.unwrap_or(images as u64),
        meteor_tables: resources.meteor.as_ref().map(|tables| tables.digest()),
        document_frequencies: frequencies_file,
        metrics: scores,
    };
    write(
        args,
        &printed,
        &metrics,
        &paired,
        &observations,
        baseline.as_ref(),
    )?;
    print_either(args.json, &printed, || table(&printed))?;
    for line in output::left_out(&paired.left_out) {
        note(&line);
    }
    Ok(Exit::Done)
}

/// Writes the values of every image and the page, if they are asked for: both or, where one is refused,
/// none.
fn write(
    args: &ScoreArgs,
    printed: &Printed,
    metrics: &[&'static dyn DynMetric],
    paired: &Paired,
    observations: &Observations,
    baseline: Option<&Observations>,
) -> Result<(), Failure> {
    if args.targets().is_empty() {
        return Ok(());
    }
    let predictions = side(metrics, observations, &paired.ids)?;
    let mut texts = Vec::new();
    if let Some(path) = &args.per_sample {
        texts.push((path, per_sample(metrics, paired, &predictions)));
    }
    if let Some(path) = &args.report {
        let baseline = baseline
            .map(|observations| side(metrics, observations, &paired.ids))
            .transpose()?;
        let html = page::html(printed, metrics, paired, &predictions, baseline.as_ref())?;
        texts.push((path, html));
    }
    let mut changed = Vec::new();
    for (path, text) in &texts {
        if target::is_to_be_written(path, text.as_bytes(), args.force)? {
            changed.push((path, text));
        }
    }
    for (path, text) in changed {
        write_atomic(path, text.as_bytes()).map_err(|error| {
            let doing = format!("writing `{}`", path.display());
            Failure::new(exits::store(&error), doing, &error)
        })?;
    }
    Ok(())
}

/// A score that cannot be computed, with the id of the image that is at fault, if one is.
fn scoring(error: &sightline_metrics::Error, ids: &[String], whose: &str) -> Failure {
    let doing = match error.item().and_then(|item| ids.get(item)) {
        Some(id) => format!("scoring image `{id}`{whose}"),
        None => "scoring".to_owned(),
    };
    Failure::new(Exit::Usage, doing, error)
}

/// The metrics called for, each once.
fn chosen(ids: &[String]) -> Result<Vec<&'static dyn DynMetric>, Failure> {
    let mut chosen: Vec<&'static dyn DynMetric> = Vec::new();
    for id in ids.iter().map(|id| id.trim()) {
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

/// METEOR's tables, opened only for METEOR.
fn meteor_tables(
    metrics: &[&'static dyn DynMetric],
) -> Result<Option<Arc<sightline_metrics::meteor::Tables>>, Failure> {
    if metrics.iter().any(|metric| metric.info().id == "meteor") {
        metrics::meteor_tables()
    } else {
        Ok(None)
    }
}

/// What there is to score: the predictions and, with the same references, the baseline.
///
/// Takes the captions out of `paired`: there may be millions, and from here on the items hold them.
fn observe(paired: &mut Paired, resources: &Resources) -> (Observations, Option<Observations>) {
    let observe = |items| {
        let mut observations = Observations::default();
        observations.set(Input::Caption, items);
        observations.set_resources(resources.clone());
        observations
    };
    let items = CaptionItem::all(std::mem::take(&mut paired.captions));
    let baseline = paired.baseline.take().map(|captions| {
        let pairs = items.par_iter().zip(captions);
        let items = pairs.map(|(item, caption)| CaptionItem {
            candidate: Caption::new(caption),
            references: item.references.clone(),
        });
        observe(items.collect())
    });
    (observe(items), baseline)
}

/// The captions and values of every image.
fn side<'a>(
    metrics: &[&'static dyn DynMetric],
    observations: &'a Observations,
    ids: &[String],
) -> Result<Side<'a>, Failure> {
    let values = metrics
        .iter()
        .map(|metric| {
            metric
                .per_item(observations)
                .map_err(|error| scoring(&error, ids, ""))
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

fn document_frequencies(path: &Path) -> Result<(DocumentFrequencies, Source), Failure> {
    let doing = || format!("reading document frequencies `{}`", path.display());
    let bytes = fs::read(path)
        .map_err(|error| Failure::io(doing(), &error).with_exit(exits::io(&error)))?;
    let frequencies = DocumentFrequencies::from_bytes(&bytes)
        .map_err(|error| Failure::new(Exit::Usage, doing(), &error))?;
    Ok((frequencies, Source::new(path, Digest::of(&bytes))))
}
