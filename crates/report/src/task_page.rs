//! The page of one task: how its models compare two by two, how their scores went, and single samples.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::{Environment, Value, value::Serde};
use serde::Serialize;
use sightline_core::Digest;
use sightline_core::text::{count, printable};

use crate::captions::numbers::p_value;
use crate::error::Error;
use crate::evidence::{Answer, Pair, Said, Shown, TaskEvidence};
use crate::format::{Scale, bytes};
use crate::page::{STYLE, hash, scores, script};
use crate::standings::{Table, Task};
use crate::store::Stored;
use crate::trend::{self, PlotView};

const TEMPLATE: &str = include_str!("templates/task.html");
static SCRIPT: LazyLock<String> = LazyLock::new(|| script(include_str!("templates/task.js")));

/// Most bytes of images in a page; those beyond are left out and said to be.
const MAX_IMAGE_BYTES: usize = 8 << 20;

#[derive(Serialize)]
struct PageView {
    style: &'static str,
    style_hash: String,
    script: &'static str,
    script_hash: String,
    suite: String,
    task: String,
    kind: String,
    dataset: String,
    /// Ids and names of the models, for the script.
    models_json: String,
    plots: Vec<NamedPlotView>,
    left_out: usize,
    pairs: Vec<PairView>,
    samples: Vec<SampleView>,
    chosen: String,
    problems: Vec<String>,
    /// Images of the page in bytes, and how many had no room.
    image_bytes: String,
    without_room: usize,
    metrics: Vec<String>,
}

#[derive(Serialize)]
struct ModelView {
    id: String,
    name: String,
    date: String,
}

#[derive(Serialize)]
struct NamedPlotView {
    metric: String,
    plot: PlotView,
}

#[derive(Serialize)]
struct PairView {
    a: ModelView,
    b: ModelView,
    paired: String,
    metrics: Vec<PairMetricView>,
}

#[derive(Serialize)]
struct PairMetricView {
    metric: String,
    values: [Option<String>; 2],
    difference: Option<String>,
    interval: Option<String>,
    p: Option<String>,
    /// `better`, `worse` or nothing: whether the second is, and surely so.
    verdict: &'static str,
    wins: String,
    losses: String,
    ties: String,
    flips: Vec<FlipView>,
}

#[derive(Serialize)]
struct FlipView {
    key: String,
    /// Where the sample is on this page, if it is.
    at: Option<usize>,
    values: [String; 2],
}

#[derive(Serialize)]
struct SampleView {
    number: usize,
    key: String,
    differs: bool,
    has_failed: bool,
    images: Vec<ImageView>,
    asked: String,
    references: Vec<String>,
    answers: Vec<AnswerView>,
}

#[derive(Serialize)]
struct ImageView {
    data: Option<String>,
    width: u32,
    height: u32,
    problem: String,
}

#[derive(Serialize)]
struct AnswerView {
    model: String,
    kind: &'static str,
    text: String,
    values: Vec<(String, String)>,
}

/// The page of `task`, whose main table is shown with what is known beside its records; `None` where there is nothing to
/// show.
pub(crate) fn task_page(
    suite: &str,
    task: &Task<'_>,
    records: &[&Stored],
    evidence: &TaskEvidence,
) -> Result<Option<String>, Error> {
    let Some(table) = task.tables.first() else {
        return Ok(None);
    };
    let shown = Page {
        table,
        records,
        scales: (0..table.columns.len())
            .map(|at| {
                (
                    table.columns[at].metric.clone(),
                    Scale::of(scores(table, at)),
                )
            })
            .collect(),
        evidence,
    };
    let models: Vec<[String; 2]> = table
        .rows
        .iter()
        .map(|row| {
            let model = shown.model(records[row.source].id);
            [model.id, model.name]
        })
        .collect();
    let mut plots = Vec::new();
    let mut left_out = 0;
    for (column, (_, scale)) in table.columns.iter().zip(&shown.scales) {
        let (series, without) = trend::series(records, suite, task.name, table, column);
        left_out = left_out.max(without);
        if let Some(plot) = trend::plot(&series, scale) {
            let metric = column.metric.clone();
            plots.push(NamedPlotView { metric, plot });
        }
    }
    if plots.is_empty() && evidence.pairs.is_empty() && evidence.samples.is_empty() {
        return Ok(None);
    }
    let mut room = Room::default();
    let samples = evidence.samples.iter().enumerate();
    let samples: Vec<SampleView> = samples
        .map(|(at, one)| shown.sample(at, one, &mut room))
        .collect();
    let view = PageView {
        style: &STYLE,
        style_hash: hash(&STYLE),
        script: &SCRIPT,
        script_hash: hash(&SCRIPT),
        suite: suite.to_owned(),
        task: task.name.to_owned(),
        kind: task.kind.to_owned(),
        dataset: task.dataset.to_owned(),
        models_json: serde_json::to_string(&models).map_err(|source| Error::Json { source })?,
        plots,
        left_out,
        pairs: evidence.pairs.iter().map(|pair| shown.pair(pair)).collect(),
        chosen: evidence.chosen.clone(),
        problems: evidence.problems.clone(),
        metrics: metrics_of(&samples),
        samples,
        image_bytes: bytes(room.used as u64),
        without_room: room.without,
    };
    let template = |source| Error::Template { source };
    let mut environment = Environment::new();
    environment
        .add_template("task.html", TEMPLATE)
        .map_err(template)?;
    let page = environment.get_template("task.html").map_err(template)?;
    let html = page.render(Value::from(Serde(view))).map_err(template)?;
    Ok(Some(html))
}

/// Names of the metrics by which samples have values.
fn metrics_of(samples: &[SampleView]) -> Vec<String> {
    let answers = samples.iter().flat_map(|sample| &sample.answers);
    let longest = answers.max_by_key(|answer| answer.values.len());
    let values = longest.iter().flat_map(|answer| &answer.values);
    values.map(|(metric, _)| metric.clone()).collect()
}

/// How much room images have taken.
#[derive(Default)]
struct Room {
    used: usize,
    without: usize,
}

struct Page<'a> {
    table: &'a Table<'a>,
    records: &'a [&'a Stored],
    /// How values are written, by metric.
    scales: Vec<(String, Scale)>,
    evidence: &'a TaskEvidence,
}

impl Page<'_> {
    fn model(&self, id: Digest) -> ModelView {
        let mut rows = self.table.rows.iter();
        let row = rows.find(|row| self.records[row.source].id == id);
        let record = row.map(|row| row.record);
        ModelView {
            id: id.short(),
            name: record.map_or_else(|| id.short(), |record| record.model.name.clone()),
            date: record.map_or_else(String::new, |record| {
                record
                    .created
                    .split('T')
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            }),
        }
    }

    /// How the values of a metric are written.
    fn scale(&self, metric: &str) -> Scale {
        let mut scales = self.scales.iter();
        let found = scales.find(|(name, _)| name == metric);
        found.map_or_else(|| Scale::of([]), |(_, scale)| *scale)
    }

    fn pair(&self, pair: &Pair) -> PairView {
        let metrics = pair.metrics.iter().map(|one| {
            let scale = self.scale(&one.metric);
            let value = |value: f64| format!("{}{}", scale.number(value), scale.unit);
            let gain = one.difference.map(|difference| {
                let sign = if one.higher_is_better { 1.0 } else { -1.0 };
                sign * difference
            });
            let is_sure = one.p.is_some_and(|p| p < crate::standings::LEVEL);
            PairMetricView {
                metric: one.metric.clone(),
                values: one.values.map(|side| side.map(value)),
                difference: one.difference.map(|d| scale.signed(d)),
                interval: one
                    .interval
                    .map(|[low, high]| format!("{}, {}", scale.signed(low), scale.signed(high))),
                p: one.p.map(p_value),
                verdict: match gain {
                    Some(gain) if is_sure && gain > 0.0 => "better",
                    Some(gain) if is_sure && gain < 0.0 => "worse",
                    _ => "",
                },
                wins: count(one.wins),
                losses: count(one.losses),
                ties: count(one.ties),
                flips: one
                    .flips
                    .iter()
                    .map(|(key, values)| self.flip(key, *values))
                    .collect(),
            }
        });
        PairView {
            a: self.model(pair.records[0]),
            b: self.model(pair.records[1]),
            paired: count(pair.paired),
            metrics: metrics.collect(),
        }
    }

    fn flip(&self, key: &str, values: [f64; 2]) -> FlipView {
        FlipView {
            key: printable(key),
            at: self
                .evidence
                .samples
                .iter()
                .position(|sample| sample.key == key),
            values: values.map(short),
        }
    }

    fn sample(&self, number: usize, sample: &Shown, room: &mut Room) -> SampleView {
        let images = sample.images.iter().map(|image| match image {
            Ok(image) if room.used + image.jpeg.len() <= MAX_IMAGE_BYTES => {
                room.used += image.jpeg.len();
                ImageView {
                    data: Some(BASE64_STANDARD.encode(&image.jpeg)),
                    width: image.width,
                    height: image.height,
                    problem: String::new(),
                }
            }
            Ok(_) => {
                room.without += 1;
                no_image("no room left on this page")
            }
            Err(problem) => no_image(problem),
        });
        SampleView {
            images: images.collect(),
            number,
            key: printable(&sample.key),
            differs: sample.differs,
            has_failed: sample
                .answers
                .iter()
                .any(|answer| matches!(answer.said, Said::Failed(_))),
            asked: printable(&sample.asked),
            references: sample
                .references
                .iter()
                .map(|text| printable(text))
                .collect(),
            answers: sample
                .answers
                .iter()
                .map(|answer| self.answer(answer))
                .collect(),
        }
    }

    fn answer(&self, answer: &Answer) -> AnswerView {
        let (kind, text) = match &answer.said {
            Said::This(text) => ("said", text),
            Said::Failed(text) => ("failed", text),
            Said::Skipped(text) => ("skipped", text),
        };
        let values = answer.values.iter();
        AnswerView {
            model: self.model(answer.record).name,
            kind,
            text: printable(text),
            values: values
                .map(|(metric, value)| (metric.clone(), short(*value)))
                .collect(),
        }
    }
}

fn no_image(problem: &str) -> ImageView {
    ImageView {
        data: None,
        width: 0,
        height: 0,
        problem: printable(problem),
    }
}

/// A value of one sample: most are 0 or 1.
fn short(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}
