//! What the page's template is filled in with: every number already written for people.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::{Environment, Value, value::Serde};
use serde::Serialize;
use sightline_core::Digest;
use sightline_core::text::{count, counted};

use crate::error::Error;
use crate::format::{
    Scale, asked, bytes, command, commit, confidence, encode, fast_pixels, link, metric_parts,
    rate, rounded,
};
use crate::record::{Record, Score};
use crate::standings::{self, Cell, Column, Mark, Row, Suite, Table, Task};
use crate::store::Stored;

/// The page, without its style and script.
const TEMPLATE: &str = include_str!("templates/board.html");
const STYLE: &str = concat!(
    include_str!("templates/base.css"),
    include_str!("templates/board.css"),
);
const SCRIPT: &str = include_str!("templates/board.js");

/// How many records the page does not show, and why.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hidden {
    pub(crate) older: usize,
    pub(crate) superseded: usize,
}

/// The page for `suites`, which are made of `records`; `links` has the link to each record's folder.
pub(crate) fn page(
    suites: &[Suite<'_>],
    records: &[&Stored],
    links: &[Option<String>],
    hidden: Hidden,
) -> Result<String, Error> {
    let template = |source| Error::Template { source };
    let mut environment = Environment::new();
    environment
        .add_template("board.html", TEMPLATE)
        .map_err(template)?;
    let views: Vec<SuiteView> = suites
        .iter()
        .map(|suite| suite_view(suite, records, links))
        .collect();
    let page = environment.get_template("board.html").map_err(template)?;
    let view = PageView {
        style: STYLE,
        style_hash: hash(STYLE),
        script: SCRIPT,
        script_hash: hash(SCRIPT),
        overview: overview(suites, records),
        hidden: hidden_note(hidden),
        suites: views,
    };
    page.render(Value::from(Serde(view))).map_err(template)
}

#[derive(Serialize)]
struct PageView {
    style: &'static str,
    style_hash: String,
    script: &'static str,
    script_hash: String,
    overview: String,
    hidden: Option<String>,
    suites: Vec<SuiteView>,
}

#[derive(Serialize)]
struct SuiteView {
    id: String,
    name: String,
    tasks: Vec<TaskView>,
    runs: Vec<RunView>,
}

#[derive(Serialize)]
struct TaskView {
    id: String,
    name: String,
    kind: String,
    dataset: String,
    tables: Vec<TableView>,
}

#[derive(Serialize)]
struct TableView {
    caption: String,
    data: String,
    protocol: String,
    interval: Option<String>,
    columns: Vec<ColumnView>,
    rows: Vec<RowView>,
}

#[derive(Serialize)]
struct ColumnView {
    id: String,
    name: String,
    way: Option<String>,
    version: u32,
    unit: &'static str,
    higher_is_better: bool,
    /// Items of every value, where all have as many.
    items: Option<String>,
}

#[derive(Serialize)]
struct RowView {
    model: String,
    family: String,
    baseline: bool,
    /// By which rule the model's answers are made, if by one.
    derived: Option<String>,
    asked: Option<String>,
    fast_pixels: Option<String>,
    weights: Option<String>,
    rounded: Option<String>,
    cells: Vec<Option<CellView>>,
    attempted: String,
    scored: String,
    failed: u64,
    skipped: u64,
    reasons: Vec<(String, String)>,
    scored_number: u64,
    rate: Option<String>,
    rate_number: f64,
    device: String,
    run: String,
    date: String,
}

#[derive(Serialize)]
struct CellView {
    value: Option<String>,
    number: Option<f64>,
    half: Option<String>,
    low: Option<String>,
    high: Option<String>,
    /// Items of this value, where not all of the column have as many.
    items: Option<String>,
    ties: Option<String>,
    mark: &'static str,
    bar: Option<Bar>,
}

/// Positions on a bar, from 0 to 100.
#[derive(Serialize)]
struct Bar {
    value: f64,
    low: f64,
    width: f64,
    floor: Option<f64>,
}

#[derive(Serialize)]
struct RunView {
    id: String,
    digest: String,
    model: String,
    family: String,
    description: String,
    baseline: bool,
    created: String,
    version: String,
    commit: Option<String>,
    platform: String,
    processor: Option<String>,
    threads: String,
    device: String,
    seed: String,
    plan: String,
    lock: String,
    files: Vec<(String, String)>,
    command: String,
    record: Option<String>,
    predictions: Vec<PredictionsView>,
}

#[derive(Serialize)]
struct PredictionsView {
    task: String,
    path: String,
    link: Option<String>,
    lines: String,
    digest: String,
}

fn suite_view(suite: &Suite<'_>, records: &[&Stored], links: &[Option<String>]) -> SuiteView {
    let mut used: Vec<usize> = suite
        .tasks
        .iter()
        .flat_map(|task| &task.tables)
        .flat_map(|table| &table.rows)
        .map(|row| row.source)
        .collect();
    used.sort_unstable();
    used.dedup();
    let id = format!("suite-{}", encode(suite.name));
    SuiteView {
        name: suite.name.to_owned(),
        tasks: suite
            .tasks
            .iter()
            .enumerate()
            .map(|(at, task)| task_view(format!("{id}-task-{}", at + 1), task, records))
            .collect(),
        runs: used
            .into_iter()
            .map(|at| run_view(records[at], links[at].as_deref()))
            .collect(),
        id,
    }
}

fn task_view(id: String, task: &Task<'_>, records: &[&Stored]) -> TaskView {
    TaskView {
        id,
        name: task.name.to_owned(),
        kind: task.kind.to_owned(),
        dataset: task.dataset.to_owned(),
        tables: task
            .tables
            .iter()
            .map(|table| table_view(task, table, records))
            .collect(),
    }
}

fn table_view(task: &Task<'_>, table: &Table<'_>, records: &[&Stored]) -> TableView {
    let scores = |at: usize| {
        table
            .rows
            .iter()
            .filter_map(move |row| row.cells[at].as_ref())
    };
    let columns: Vec<(ColumnView, ColumnScale)> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let scale = ColumnScale {
                scale: Scale::of(scores(at).map(|cell| cell.score)),
                end: end_of_bar(scores(at).map(|cell| cell.score)),
                items: shared_items(scores(at).map(|cell| cell.score)),
                floor: floor(table, at),
            };
            let first = scores(at).next().map(|cell| cell.score);
            (column_view(column, &scale, first), scale)
        })
        .collect();
    let mut levels: Vec<String> = table
        .rows
        .iter()
        .flat_map(|row| row.cells.iter().flatten())
        .filter_map(|cell| Some(confidence(cell.score.interval.as_ref()?.confidence)))
        .collect();
    levels.sort_unstable();
    levels.dedup();
    TableView {
        caption: format!("{}: {} on {}", task.name, task.kind, task.dataset),
        data: table.data.short(),
        protocol: table.protocol.short(),
        interval: (!levels.is_empty()).then(|| levels.join(" or ")),
        rows: table
            .rows
            .iter()
            .map(|row| {
                let scales = columns.iter().map(|(_, scale)| scale);
                row_view(row, scales, records)
            })
            .collect(),
        columns: columns.into_iter().map(|(view, _)| view).collect(),
    }
}

/// How a column's values are written and drawn.
struct ColumnScale {
    scale: Scale,
    /// Value at the right end of a bar.
    end: f64,
    /// Value of the best baseline.
    floor: Option<f64>,
    /// Items of every value, where all have as many.
    items: Option<u64>,
}

fn column_view(column: &Column, scale: &ColumnScale, score: Option<&Score>) -> ColumnView {
    let (name, way) = metric_parts(&column.metric);
    ColumnView {
        id: column.metric.clone(),
        name: name.to_owned(),
        way,
        version: column.version,
        unit: scale.scale.unit,
        higher_is_better: score.is_none_or(|score| score.higher_is_better),
        items: scale.items.map(count),
    }
}

/// The largest possible value where the range ends at 1, else the largest that occurs.
fn end_of_bar<'a>(scores: impl Iterator<Item = &'a Score>) -> f64 {
    let mut end: f64 = 0.0;
    for score in scores {
        let high = score.interval.as_ref().map(|interval| interval.high);
        let largest = if score.range[1] <= 1.0 {
            Some(score.range[1])
        } else {
            high.or(score.value)
        };
        end = end.max(largest.unwrap_or(0.0));
    }
    end
}

/// How many items every one of the scores is of, if all are of as many.
fn shared_items<'a>(mut scores: impl Iterator<Item = &'a Score>) -> Option<u64> {
    let items = scores.next()?.items;
    scores.all(|score| score.items == items).then_some(items)
}

/// The best value of a baseline in column `at`.
fn floor(table: &Table<'_>, at: usize) -> Option<f64> {
    let baselines = table.rows.iter().filter(|row| row.record.model.baseline);
    let scores = baselines.filter_map(|row| Some(row.cells[at]?.score));
    let values = scores.filter_map(|score| Some((score.value?, score.higher_is_better)));
    values
        .reduce(|a, b| if (a.0 >= b.0) == a.1 { a } else { b })
        .map(|(value, _)| value)
}

fn row_view<'s>(
    row: &Row<'_>,
    scales: impl Iterator<Item = &'s ColumnScale>,
    records: &[&Stored],
) -> RowView {
    let (record, outcome) = (row.record, row.outcome);
    let rate_number = outcome.throughput.samples_per_second();
    RowView {
        model: record.model.name.clone(),
        family: record.model.family.clone(),
        baseline: record.model.baseline,
        derived: outcome.asked.as_ref().and_then(|asked| asked.rule.clone()),
        asked: outcome.asked.as_ref().and_then(asked),
        fast_pixels: outcome.pixel_deviation.as_ref().map(fast_pixels),
        weights: record.model.weights.clone(),
        rounded: record.model.weights.as_deref().map(rounded),
        cells: row
            .cells
            .iter()
            .zip(scales)
            .map(|(cell, scale)| cell.as_ref().map(|cell| cell_view(cell, scale)))
            .collect(),
        attempted: count(outcome.counts.attempted),
        scored: count(outcome.counts.scored),
        failed: outcome.counts.failed,
        skipped: outcome.counts.skipped,
        reasons: standings::reasons(outcome)
            .into_iter()
            .map(|(reason, n)| (count(n), reason.to_owned()))
            .collect(),
        scored_number: outcome.counts.scored,
        rate: rate_number.map(rate),
        rate_number: rate_number.unwrap_or(0.0),
        device: record.machine.device.clone(),
        run: records[row.source].id.short(),
        date: date(record).to_owned(),
    }
}

fn cell_view(cell: &Cell<'_>, column: &ColumnScale) -> CellView {
    let (score, scale) = (cell.score, &column.scale);
    let interval = score.interval.as_ref();
    CellView {
        value: score.value.map(|value| scale.number(value)),
        number: score.value,
        half: interval.map(|i| scale.number((i.high - i.low) / 2.0)),
        low: interval.map(|i| scale.number(i.low)),
        high: interval.map(|i| scale.number(i.high)),
        items: column.items.is_none().then(|| count(score.items)),
        ties: (score.ties > 0).then(|| count(score.ties)),
        mark: match cell.mark {
            Mark::None => "",
            Mark::Best => "best",
            Mark::Tied => "tied",
        },
        bar: score.value.and_then(|value| bar(value, score, column)),
    }
}

fn bar(value: f64, score: &Score, column: &ColumnScale) -> Option<Bar> {
    if column.end <= 0.0 {
        return None;
    }
    // Two decimals: a hundredth of a percent of a bar is below a pixel.
    let at = |value: f64| ((value / column.end).clamp(0.0, 1.0) * 10_000.0).round() / 100.0;
    let (low, high) = match &score.interval {
        Some(interval) => (at(interval.low), at(interval.high)),
        None => (at(value), at(value)),
    };
    Some(Bar {
        value: at(value),
        low,
        width: ((high - low) * 100.0).round() / 100.0,
        floor: column.floor.map(at),
    })
}

fn run_view(stored: &Stored, folder: Option<&str>) -> RunView {
    let record = &stored.record;
    let below = |path: &str| Some(format!("{}/{}", folder?, link(path)?));
    RunView {
        id: stored.id.short(),
        digest: stored.id.to_string(),
        model: record.model.name.clone(),
        family: record.model.family.clone(),
        description: record.model.description.clone(),
        baseline: record.model.baseline,
        created: record.created.replace('T', " ").replace('Z', " UTC"),
        version: record.tool.version.clone(),
        commit: record.tool.commit.as_deref().map(commit),
        platform: record.machine.platform.clone(),
        processor: record.machine.processor.clone(),
        threads: counted(record.machine.threads, "thread"),
        device: record.machine.device.clone(),
        seed: record.seed.0.to_string(),
        plan: record.plan.short(),
        lock: record.lock.short(),
        files: files(record),
        command: command(&record.command),
        record: below(&stored.path),
        predictions: record
            .tasks
            .iter()
            .map(|task| PredictionsView {
                task: task.task.clone(),
                path: task.predictions.path.clone(),
                link: below(&task.predictions.path),
                lines: count(task.predictions.lines),
                digest: task.predictions.sha256.short(),
            })
            .collect(),
    }
}

/// For each owner of files: how many, and how large together.
fn files(record: &Record) -> Vec<(String, String)> {
    let mut owners: Vec<(&str, usize, u64)> = Vec::new();
    for file in &record.files {
        match owners.iter_mut().find(|(owner, ..)| *owner == file.owner) {
            Some((_, n, size)) => {
                *n += 1;
                *size = size.saturating_add(file.bytes);
            }
            None => owners.push((&file.owner, 1, file.bytes)),
        }
    }
    owners
        .into_iter()
        .map(|(owner, n, size)| {
            (
                owner.to_owned(),
                format!("{}, {}", counted(n, "file"), bytes(size)),
            )
        })
        .collect()
}

/// `3 models · 2 tasks · 1 suite, from 3 records; the newest is of 2026-11-23`.
fn overview(suites: &[Suite<'_>], records: &[&Stored]) -> String {
    let mut models: Vec<&str> = records
        .iter()
        .map(|stored| stored.record.model.name.as_str())
        .collect();
    models.sort_unstable();
    models.dedup();
    let tasks = suites.iter().map(|suite| suite.tasks.len()).sum();
    let Some(newest) = records.iter().map(|stored| date(&stored.record)).max() else {
        return "No records yet.".to_owned();
    };
    format!(
        "{} on {} of {}, made from {}; the newest is of {newest}.",
        counted(models.len(), "model"),
        counted(tasks, "task"),
        counted(suites.len(), "suite"),
        counted(records.len(), "record"),
    )
}

fn hidden_note(hidden: Hidden) -> Option<String> {
    let mut parts = Vec::new();
    if hidden.older > 0 {
        parts.push(counted(hidden.older, "older record"));
    }
    if hidden.superseded > 0 {
        parts.push(counted(hidden.superseded, "superseded record"));
    }
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// The day of a record.
fn date(record: &Record) -> &str {
    record.created.split('T').next().unwrap_or_default()
}

/// A source expression of a content security policy that allows exactly `text`.
pub(crate) fn hash(text: &str) -> String {
    let digest = Digest::of(text.as_bytes());
    format!("sha256-{}", BASE64_STANDARD.encode(digest.as_bytes()))
}
