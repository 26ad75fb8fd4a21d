//! What the page's template is filled in with: every number already written for people.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::{Environment, Value, value::Serde};
use serde::Serialize;
use sightline_core::Digest;
use sightline_core::text::{count, counted};
use sightline_core::{statistics::holm, theme};

use crate::captions::numbers::p_value;
use crate::comparison::{Comparison, FigureView, figures};
use crate::error::Error;
use crate::evidence::{Pair, PairMetric, TaskEvidence};
use crate::export::Export;
use crate::format::{
    Scale, asked, bytes, command, commit, confidence, encode, fast_pixels, link, metric_parts,
    millions, percent_of_time, rate, rounded, seconds,
};
use crate::matrix::{MatrixView, matrix};
use crate::record::{Record, Score, TaskOutcome};
use crate::standings::{self, Cell, Column, Mark, Row, Suite, Table, Task};
use crate::store::Stored;
use crate::trend::{self, SparkView};

/// The page, without its style and script.
const TEMPLATE: &str = include_str!("templates/board.html");
pub(crate) static STYLE: LazyLock<String> =
    LazyLock::new(|| style(include_str!("templates/board.css")));
static SCRIPT: LazyLock<String> = LazyLock::new(|| script(include_str!("templates/board.js")));

/// Longest table in bytes that the page holds as a link.
const MAX_HELD_BYTES: usize = 1 << 20;

/// The style of a page: the colours and rules of all, and its own.
pub(crate) fn style(own: &str) -> String {
    [theme::STYLE, include_str!("templates/base.css"), own].concat()
}

/// The script of a page of the board: what both have, and its own.
pub(crate) fn script(own: &str) -> String {
    [include_str!("templates/page.js"), own].concat()
}

/// How many records the page does not show, and why.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hidden {
    pub(crate) older: usize,
    pub(crate) superseded: usize,
}

/// What the page is made of.
pub(crate) struct Made<'a> {
    pub(crate) suites: &'a [Suite<'a>],
    /// The records that the suites are made of.
    pub(crate) records: &'a [&'a Stored],
    /// The link to the folder of each record.
    pub(crate) links: &'a [Option<String>],
    pub(crate) hidden: Hidden,
    pub(crate) evidence: &'a [TaskEvidence],
    pub(crate) comparisons: &'a [Comparison],
    /// Links to the pages of tasks, by suite and task.
    pub(crate) pages: &'a [(String, String, String)],
    /// All tables, for the links that hold them.
    pub(crate) export: Option<&'a Export>,
}

impl Made<'_> {
    /// What is known of the main table of a task.
    pub(crate) fn evidence_of(&self, suite: &str, task: &str) -> Option<&TaskEvidence> {
        let is_it = |one: &&TaskEvidence| one.suite == suite && one.task == task;
        self.evidence.iter().find(is_it)
    }
}

/// The page for what is `made`.
pub(crate) fn page(made: &Made<'_>) -> Result<String, Error> {
    let template = |source| Error::Template { source };
    let mut environment = Environment::new();
    environment
        .add_template("board.html", TEMPLATE)
        .map_err(template)?;
    let suites = made.suites.iter().map(|suite| suite_view(suite, made));
    let view = PageView {
        suites: suites.collect(),
        style: &STYLE,
        style_hash: hash(&STYLE),
        script: &SCRIPT,
        script_hash: hash(&SCRIPT),
        overview: overview(made.suites, made.records),
        hidden: hidden_note(made.hidden),
        csv: made
            .export
            .and_then(|all| data_link("text/csv", &all.csv())),
        json: made
            .export
            .and_then(|all| data_link("application/json", &all.json())),
    };
    let page = environment.get_template("board.html").map_err(template)?;
    page.render(Value::from(Serde(view))).map_err(template)
}

/// A link that holds the file itself; `None` where it would be most of the page.
fn data_link(media_type: &str, text: &str) -> Option<String> {
    (text.len() <= MAX_HELD_BYTES).then(|| {
        let held = BASE64_STANDARD.encode(text);
        format!("data:{media_type};charset=utf-8;base64,{held}")
    })
}

#[derive(Serialize)]
struct PageView {
    style: &'static str,
    style_hash: String,
    script: &'static str,
    script_hash: String,
    overview: String,
    hidden: Option<String>,
    csv: Option<String>,
    json: Option<String>,
    suites: Vec<SuiteView>,
}

#[derive(Serialize)]
struct SuiteView {
    id: String,
    name: String,
    matrix: Option<MatrixView>,
    comparisons: Vec<FigureView>,
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
    /// Link to its page.
    page: Option<String>,
    /// What is on that page.
    page_holds: String,
    /// What could not be found out about it.
    problems: Vec<String>,
}

#[derive(Serialize)]
struct TableView {
    caption: String,
    /// Why it stands apart from the table above.
    apart: Option<String>,
    limit: Option<String>,
    has_shots: bool,
    has_trend: bool,
    /// Records that have no point in the trend.
    left_out: Option<String>,
    /// A metric with columns for several versions.
    versions: Option<String>,
    /// Whether differences to the row above were tested.
    is_tested: bool,
    first_metric: String,
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
    shots: Option<u32>,
    above: Option<AboveView>,
    trend: Option<SparkView>,
    cost: Option<CostView>,
    latency_number: Option<f64>,
    memory: Option<String>,
    memory_number: Option<u64>,
    parameters: Option<String>,
    weights_bytes: Option<String>,
    size_number: Option<u64>,
    lock: String,
    version: String,
    commit: Option<String>,
}

/// How a row differs from the one above it.
#[derive(Serialize)]
struct AboveView {
    difference: String,
    interval: Option<String>,
    p: Option<String>,
    number: f64,
    differs: bool,
}

#[derive(Serialize)]
struct CostView {
    p50: String,
    p90: String,
    batch_p50: String,
    batch_p90: String,
    batch_size: u64,
    batches: String,
    overhead: Option<String>,
}

#[derive(Serialize)]
struct TargetView {
    value: String,
    delta: String,
    source: String,
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
    target: Option<TargetView>,
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
    verify: String,
    lock_digest: String,
    size: Option<String>,
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

fn suite_view(suite: &Suite<'_>, made: &Made<'_>) -> SuiteView {
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
    let task_id = |at: usize| format!("{id}-task-{}", at + 1);
    SuiteView {
        name: suite.name.to_owned(),
        matrix: matrix(suite, task_id),
        comparisons: figures(suite, made.comparisons)
            .iter()
            .map(|figure| {
                figure.view(&id, |task, source| {
                    row_id(&task_id(task), &made.records[source].id.short())
                })
            })
            .collect(),
        tasks: suite
            .tasks
            .iter()
            .enumerate()
            .map(|(at, task)| task_view(task_id(at), suite.name, task, made))
            .collect(),
        runs: used
            .into_iter()
            .map(|at| run_view(made.records[at], made.links[at].as_deref()))
            .collect(),
        id,
    }
}

/// The place on the page of a record's row in the section `task` of a task.
fn row_id(task: &str, run: &str) -> String {
    format!("{task}-row-{run}")
}

/// As the template names it.
pub(crate) fn mark_of(mark: Mark) -> &'static str {
    match mark {
        Mark::None => "",
        Mark::Best => "best",
        Mark::Tied => "tied",
    }
}

fn task_view(id: String, suite: &str, task: &Task<'_>, made: &Made<'_>) -> TaskView {
    let evidence = made.evidence_of(suite, task.name);
    let mut pages = made.pages.iter();
    let page = pages.find(|(of, name, _)| of == suite && name == task.name);
    let page_holds = evidence.map_or_else(Vec::new, |evidence| {
        let pairs = evidence.pairs.len();
        let samples = evidence.samples.len();
        let mut holds = Vec::new();
        if pairs > 0 {
            holds.push(counted(pairs, "comparison"));
        }
        if samples > 0 {
            holds.push(counted(samples, "sample"));
        }
        holds
    });
    TaskView {
        id,
        name: task.name.to_owned(),
        kind: task.kind.to_owned(),
        dataset: task.dataset.to_owned(),
        page: page.map(|(_, _, link)| link.clone()),
        page_holds: page_holds.join(", "),
        problems: evidence.map_or_else(Vec::new, |evidence| evidence.problems.clone()),
        tables: task
            .tables
            .iter()
            .enumerate()
            .map(|(at, table)| {
                let main = &task.tables[0];
                let apart = (at > 0).then(|| table.why_apart(main));
                let evidence = evidence.filter(|_| at == 0);
                table_view(suite, task, table, apart, evidence, made)
            })
            .collect(),
    }
}

fn table_view(
    suite: &str,
    task: &Task<'_>,
    table: &Table<'_>,
    apart: Option<String>,
    evidence: Option<&TaskEvidence>,
    made: &Made<'_>,
) -> TableView {
    let columns: Vec<(ColumnView, ColumnScale)> = (0..table.columns.len())
        .map(|at| {
            let scale = ColumnScale::of(table, at);
            let first = scores(table, at).next();
            (column_view(&table.columns[at], &scale, first), scale)
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
    let (series, left_out) = match table.columns.first() {
        Some(column) => trend::series(made.records, suite, task.name, table, column),
        None => (Vec::new(), 0),
    };
    let above = above(
        table,
        evidence,
        made.records,
        columns.first().map(|(_, scale)| scale),
    );
    let rows: Vec<RowView> = table
        .rows
        .iter()
        .zip(above)
        .map(|(row, above)| {
            let scales = columns.iter().map(|(_, scale)| scale);
            let own = series.iter().find(|one| one.model == row.record.model.name);
            let scale = columns.first().map(|(_, scale)| &scale.scale);
            let spark = own
                .zip(scale)
                .and_then(|(own, scale)| trend::sparkline(own, scale));
            row_view(row, scales, made.records, above, spark)
        })
        .collect();
    TableView {
        caption: format!("{}: {} on {}", task.name, task.kind, task.dataset),
        apart,
        limit: table.limit().map(count),
        has_shots: rows.iter().any(|row| row.shots.is_some()),
        has_trend: rows.iter().any(|row| row.trend.is_some()),
        left_out: (left_out > 0).then(|| counted(left_out, "record")),
        versions: several_versions(&table.columns),
        is_tested: rows.iter().any(|row| row.above.is_some()),
        first_metric: table
            .columns
            .first()
            .map_or_else(String::new, |c| c.metric.clone()),
        data: table.data.short(),
        protocol: table.protocol.short(),
        interval: (!levels.is_empty()).then(|| levels.join(" or ")),
        rows,
        columns: columns.into_iter().map(|(view, _)| view).collect(),
    }
}

/// A metric that the table has in several versions of its definition.
fn several_versions(columns: &[Column]) -> Option<String> {
    let is_again = |(at, column): (usize, &Column)| {
        let mut before = columns[..at].iter();
        before
            .any(|other| other.metric == column.metric)
            .then(|| column.metric.clone())
    };
    columns.iter().enumerate().find_map(is_again)
}

/// The scores in column `at` of a table.
pub(crate) fn scores<'t>(table: &'t Table<'_>, at: usize) -> impl Iterator<Item = &'t Score> {
    let cells = table
        .rows
        .iter()
        .filter_map(move |row| row.cells[at].as_ref());
    cells.map(|cell| cell.score)
}

/// How each row differs from the one above it by the first metric, where that was tested; p-values are corrected for all
/// of the table.
fn above(
    table: &Table<'_>,
    evidence: Option<&TaskEvidence>,
    records: &[&Stored],
    scale: Option<&ColumnScale>,
) -> Vec<Option<AboveView>> {
    let none = || table.rows.iter().map(|_| None).collect();
    let (Some(evidence), Some(scale), Some(column)) = (evidence, scale, table.columns.first())
    else {
        return none();
    };
    let id = |at: usize| records[table.rows[at].source].id;
    let found: Vec<Option<(f64, &PairMetric)>> = (0..table.rows.len())
        .map(|at| {
            let (a, b) = (id(at.checked_sub(1)?), id(at));
            let metric =
                |pair: &'_ Pair| pair.metrics.iter().position(|m| m.metric == column.metric);
            evidence.pairs.iter().find_map(|pair| {
                let sign = match pair.records {
                    records if records == [a, b] => 1.0,
                    records if records == [b, a] => -1.0,
                    _ => return None,
                };
                Some((sign, &pair.metrics[metric(pair)?]))
            })
        })
        .collect();
    let tested: Vec<f64> = found
        .iter()
        .flatten()
        .filter_map(|(_, one)| one.p)
        .collect();
    let mut corrected = holm(&tested).into_iter();
    found
        .into_iter()
        .map(|found| {
            let (sign, one) = found?;
            let p = one.p.and_then(|_| corrected.next());
            let difference = sign * one.difference?;
            let interval = one.interval.map(|[low, high]| {
                let (low, high) = if sign < 0.0 {
                    (-high, -low)
                } else {
                    (low, high)
                };
                format!("{}, {}", scale.scale.signed(low), scale.scale.signed(high))
            });
            Some(AboveView {
                difference: scale.scale.signed(difference),
                interval,
                p: p.map(p_value),
                number: difference,
                differs: p.is_some_and(|p| p < standings::LEVEL),
            })
        })
        .collect()
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

impl ColumnScale {
    /// That of column `at` of a table.
    fn of(table: &Table<'_>, at: usize) -> Self {
        Self {
            scale: Scale::of(scores(table, at)),
            end: end_of_bar(scores(table, at)),
            items: shared_items(scores(table, at)),
            floor: floor(table, at),
        }
    }
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
    above: Option<AboveView>,
    trend: Option<SparkView>,
) -> RowView {
    let (record, outcome) = (row.record, row.outcome);
    let size = record.model.size;
    let memory = outcome.cost.and_then(|cost| cost.peak_memory_bytes);
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
            .map(|(cell, scale)| cell.as_ref().map(|cell| cell_view(cell, scale, outcome)))
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
        shots: outcome.shots,
        above,
        trend,
        cost: outcome.cost.map(|cost| CostView {
            p50: seconds(cost.sample_seconds.p50),
            p90: seconds(cost.sample_seconds.p90),
            batch_p50: seconds(cost.batch_seconds.p50),
            batch_p90: seconds(cost.batch_seconds.p90),
            batch_size: cost.batch_size,
            batches: count(cost.batches),
            overhead: cost.overhead().map(percent_of_time),
        }),
        latency_number: outcome.cost.map(|cost| cost.sample_seconds.p50),
        memory: memory.map(bytes),
        memory_number: memory,
        parameters: size.and_then(|size| size.parameters).map(millions),
        weights_bytes: size.map(|size| bytes(size.weights_bytes)),
        size_number: size.map(|size| size.weights_bytes),
        lock: record.lock.short(),
        version: record.tool.version.clone(),
        commit: record.tool.commit.as_deref().map(commit),
    }
}

/// What others report of the model by this metric.
fn target_view(score: &Score, scale: &Scale, outcome: &TaskOutcome) -> Option<TargetView> {
    let mut targets = outcome.paper_targets.iter();
    let target = targets.find(|target| target.metric == score.metric)?;
    Some(TargetView {
        value: scale.number(target.value),
        delta: scale.signed(score.value? - target.value),
        source: target.source.clone(),
    })
}

fn cell_view(cell: &Cell<'_>, column: &ColumnScale, outcome: &TaskOutcome) -> CellView {
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
        mark: mark_of(cell.mark),
        target: target_view(score, scale, outcome),
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
        verify: command(&["sightline", "verify", &stored.path].map(str::to_owned)),
        lock_digest: record.lock.to_string(),
        size: record.model.size.map(|size| {
            let parameters = size.parameters.map_or_else(
                || "number of parameters unknown".to_owned(),
                |n| format!("{} parameters", count(n)),
            );
            format!("{parameters}, {} of weights", bytes(size.weights_bytes))
        }),
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
