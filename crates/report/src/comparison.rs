//! Comparisons: outcomes that a suite's manifest puts side by side to make a point, as a figure and as text.
//!
//! A row is a model at a task. Rows may be of several tasks (a model's classes that it has seen, and those that it has not;
//! the same questions behind more and more examples), which the tables keep apart: what they have in common is the author's
//! to say, in the title. Values are those of the main table of the task, or else of the first that has the model, so that
//! nothing is computed here and a row always leads to where its number stands.

use std::fmt::Write as _;

use serde::Serialize;
use sightline_core::text::{count, printable};

use crate::format::{Scale, confidence};
use crate::record::{Record, Score};
use crate::standings::{Row, Suite, standings};

/// Characters of a bar in the terminal.
const BAR: usize = 32;

/// Outcomes side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The suite.
    pub suite: String,
    /// Its name within the suite.
    pub name: String,
    /// What it shows, in a sentence.
    pub title: String,
    /// Metric id.
    pub metric: String,
    /// What is compared.
    pub rows: Vec<ComparedRow>,
    /// A line that bars are seen against.
    pub line: Option<Line>,
}

/// A model at a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComparedRow {
    /// The model.
    pub model: String,
    /// The task.
    pub task: String,
    /// What it is called.
    pub label: String,
}

/// A line that bars are seen against.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// At the value that guessing has.
    Chance(f64),
    /// At the value of this row.
    Floor(ComparedRow),
}

/// A comparison with the values of its rows.
pub(crate) struct Figure<'a> {
    pub(crate) comparison: &'a Comparison,
    pub(crate) rows: Vec<FigureRow<'a>>,
    /// What the line is called, its value, and its row if it is one's.
    pub(crate) line: Option<(&'a str, f64, Option<FigureRow<'a>>)>,
    pub(crate) scale: Scale,
    /// Values at both ends of the bars.
    ends: [f64; 2],
}

/// A row with what is known of it.
pub(crate) struct FigureRow<'a> {
    pub(crate) named: &'a ComparedRow,
    /// Place of the task within the suite, its row there and its score; `None` where there is no record.
    pub(crate) found: Option<(usize, &'a Row<'a>, &'a Score)>,
}

impl<'a> FigureRow<'a> {
    fn of(named: &'a ComparedRow, metric: &str, suite: &'a Suite<'a>) -> Self {
        let mut tasks = suite.tasks.iter().enumerate();
        let task = tasks.find(|(_, task)| task.name == named.task);
        let found = task.and_then(|(at, task)| {
            let mut rows = task.tables.iter().flat_map(|table| &table.rows);
            let row = rows.find(|row| row.record.model.name == named.model)?;
            let mut scores = row.outcome.scores.iter();
            let score = scores.find(|score| score.metric == metric)?;
            Some((at, row, score))
        });
        Self { named, found }
    }

    pub(crate) fn score(&self) -> Option<&'a Score> {
        self.found.map(|(_, _, score)| score)
    }

    pub(crate) fn value(&self) -> Option<f64> {
        self.score()?.value
    }

    /// What has to be known beside the value: that samples failed, or that not all were asked about.
    pub(crate) fn remark(&self) -> Option<String> {
        let (_, row, _) = self.found?;
        let failed = row.outcome.counts.failed;
        let parts = [
            (failed > 0).then(|| format!("{} failed", count(failed))),
            (row.outcome.limit).map(|limit| format!("the first {} only", count(limit))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// The comparisons of `suite` of which at least one row has a record.
pub(crate) fn figures<'a>(suite: &'a Suite<'a>, comparisons: &'a [Comparison]) -> Vec<Figure<'a>> {
    let of_suite = comparisons.iter().filter(|one| one.suite == suite.name);
    of_suite
        .map(|comparison| Figure::of(comparison, suite))
        .filter(|figure| figure.rows.iter().any(|row| row.found.is_some()))
        .collect()
}

impl<'a> Figure<'a> {
    fn of(comparison: &'a Comparison, suite: &'a Suite<'a>) -> Self {
        let row = |named| FigureRow::of(named, &comparison.metric, suite);
        let rows: Vec<FigureRow<'a>> = comparison.rows.iter().map(row).collect();
        let line = match &comparison.line {
            None => None,
            Some(Line::Chance(value)) => Some(("chance", *value, None)),
            Some(Line::Floor(named)) => {
                let floor = row(named);
                let value = floor.value();
                value.map(|value| (named.label.as_str(), value, Some(floor)))
            }
        };
        let scores = || rows.iter().filter_map(FigureRow::score);
        let is_share = scores().all(|score| score.range[1] <= 1.0);
        let [mut low, mut high] = [0.0, if is_share { 1.0 } else { 0.0 }];
        let ends = scores().flat_map(|score| {
            let interval = score.interval.as_ref().map(|i| [i.low, i.high]);
            interval.into_iter().flatten().chain(score.value)
        });
        for value in ends.chain(line.as_ref().map(|(_, value, _)| *value)) {
            low = f64::min(low, value);
            high = f64::max(high, value);
        }
        Self {
            comparison,
            scale: Scale::of(scores()),
            ends: [low, high],
            rows,
            line,
        }
    }

    /// Where `value` is on a bar, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let [low, high] = self.ends;
        if high > low {
            ((value - low) / (high - low)).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// The metric with its unit: `accuracy@1, %`.
    pub(crate) fn measure(&self) -> String {
        let mut scores = self.rows.iter().filter_map(FigureRow::score);
        let lower = scores.any(|score| !score.higher_is_better);
        let mut text = self.comparison.metric.clone();
        if !self.scale.unit.is_empty() {
            let _ = write!(text, ", {}", self.scale.unit);
        }
        if lower {
            text.push_str(", lower is better");
        }
        text
    }

    /// Which share of resamples the intervals hold: `95 %`.
    pub(crate) fn confidence(&self) -> Option<String> {
        let mut intervals = self.rows.iter().filter_map(FigureRow::score);
        let interval = intervals.find_map(|score| score.interval.as_ref())?;
        Some(confidence(interval.confidence))
    }

    /// Whether its rows are by several versions of the metric.
    pub(crate) fn has_versions(&self) -> bool {
        let mut versions = self.rows.iter().filter_map(FigureRow::score);
        let first = versions.next().map(|score| score.version);
        versions.any(|score| Some(score.version) != first)
    }
}

/// A comparison, written for the page.
#[derive(Serialize)]
pub(crate) struct FigureView {
    id: String,
    title: String,
    measure: String,
    confidence: Option<String>,
    has_versions: bool,
    low: String,
    high: String,
    rows: Vec<FigureRowView>,
    line: Option<LineView>,
}

#[derive(Serialize)]
struct FigureRowView {
    label: String,
    model: String,
    task: String,
    /// Where the number stands.
    link: Option<String>,
    baseline: bool,
    value: Option<String>,
    low: Option<String>,
    high: Option<String>,
    items: Option<String>,
    remark: Option<String>,
    bar: Option<Bar>,
}

#[derive(Serialize)]
struct LineView {
    label: String,
    value: String,
    at: f64,
    link: Option<String>,
}

/// Positions from 0 to 100.
#[derive(Serialize)]
struct Bar {
    /// Left end and width: bars begin at 0.
    left: f64,
    width: f64,
    low: f64,
    spread: f64,
}

impl Figure<'_> {
    /// The figure for the page; `task_id` names the section of a task, and rows have theirs by their record.
    pub(crate) fn view(
        &self,
        suite_id: &str,
        row_id: impl Fn(usize, usize) -> String,
    ) -> FigureView {
        let link = |row: &FigureRow<'_>| {
            let (task, row, _) = row.found?;
            Some(format!("#{}", row_id(task, row.source)))
        };
        let rows = self.rows.iter().map(|row| {
            let interval = row.score().and_then(|score| score.interval.as_ref());
            FigureRowView {
                label: row.named.label.clone(),
                model: row.named.model.clone(),
                task: row.named.task.clone(),
                link: link(row),
                baseline: row
                    .found
                    .is_some_and(|(_, row, _)| row.record.model.baseline),
                value: row.value().map(|value| self.scale.number(value)),
                low: interval.map(|i| self.scale.number(i.low)),
                high: interval.map(|i| self.scale.number(i.high)),
                items: row.score().map(|score| count(score.items)),
                remark: row.remark(),
                bar: row.value().map(|value| {
                    let [start, end] = [0.0, value].map(|value| self.percent(value));
                    let (low, high) = interval.map_or((value, value), |i| (i.low, i.high));
                    let [low, high] = [low, high].map(|value| self.percent(value));
                    Bar {
                        left: start.min(end),
                        width: hundredths((end - start).abs()),
                        low,
                        spread: hundredths(high - low),
                    }
                }),
            }
        });
        let line = self.line.as_ref().map(|(label, value, row)| LineView {
            label: (*label).to_owned(),
            value: self.scale.number(*value),
            at: self.percent(*value),
            link: row.as_ref().and_then(link),
        });
        let [low, high] = self.ends.map(|end| self.scale.number(end));
        FigureView {
            id: format!("{suite_id}-comparison-{}", self.comparison.name),
            title: self.comparison.title.clone(),
            measure: self.measure(),
            confidence: self.confidence(),
            has_versions: self.has_versions(),
            low,
            high,
            rows: rows.collect(),
            line,
        }
    }

    fn percent(&self, value: f64) -> f64 {
        hundredths(self.place(value) * 100.0)
    }
}

/// Two decimals: a hundredth of a percent of a bar is below a pixel.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A comparison in `board.json`.
#[derive(Serialize)]
pub(crate) struct FigureData<'a> {
    comparison: &'a str,
    title: &'a str,
    metric: &'a str,
    line: Option<LineData<'a>>,
    rows: Vec<FigureRowData<'a>>,
}

#[derive(Serialize)]
struct LineData<'a> {
    label: &'a str,
    value: f64,
}

#[derive(Serialize)]
struct FigureRowData<'a> {
    label: &'a str,
    model: &'a str,
    task: &'a str,
    score: Option<&'a Score>,
}

impl<'a> Figure<'a> {
    pub(crate) fn data(&self) -> FigureData<'a> {
        FigureData {
            comparison: &self.comparison.name,
            title: &self.comparison.title,
            metric: &self.comparison.metric,
            line: (self.line.as_ref()).map(|&(label, value, _)| LineData { label, value }),
            rows: self
                .rows
                .iter()
                .map(|row| FigureRowData {
                    label: &row.named.label,
                    model: &row.named.model,
                    task: &row.named.task,
                    score: row.score(),
                })
                .collect(),
        }
    }
}

/// The comparisons as text for the terminal, those of which `records` have at least one row; empty without any.
///
/// ```text
/// quickstart · sees: Whoever sees nothing is no better than one who guesses.
///   accuracy@1, %  0.0                        100.0
///   sees nothing   ███░│░░░░░░░░░░░░░░░░░░░░░░░░░░░  10.0 [8.0, 12.0]  n 1,000
///   chance             │                             12.5
/// ```
pub fn comparisons_text<'r>(
    records: impl IntoIterator<Item = &'r Record>,
    comparisons: &[Comparison],
) -> String {
    let records: Vec<&Record> = records.into_iter().collect();
    let suites = standings(&records);
    let mut text = String::new();
    for suite in &suites {
        for figure in figures(suite, comparisons) {
            if !text.is_empty() {
                text.push('\n');
            }
            figure.write(&mut text);
        }
    }
    text
}

impl Figure<'_> {
    fn write(&self, text: &mut String) {
        let comparison = self.comparison;
        let heading = format!(
            "{} · {}: {}",
            comparison.suite, comparison.name, comparison.title
        );
        let measure = printable(&self.measure());
        let line = self.line.as_ref();
        let labels = self.rows.iter().map(|row| printable(&row.named.label));
        let labels: Vec<String> = labels.collect();
        let line_label = line.map(|(label, ..)| printable(label)).unwrap_or_default();
        let all = labels.iter().chain([&measure, &line_label]);
        let width = all.map(|label| label.chars().count()).max().unwrap_or(0);
        let [low, high] = self.ends.map(|end| self.scale.number(end));
        let high_width = BAR.saturating_sub(low.chars().count());
        let _ = writeln!(text, "{}", printable(&heading));
        let _ = writeln!(text, "  {measure:<width$}  {low}{high:>high_width$}");
        for (row, label) in self.rows.iter().zip(&labels) {
            let _ = write!(text, "  {label:<width$}  {}", self.bar(row.value(), '░'));
            match (row.score(), row.value()) {
                (None, _) => text.push_str("  no record"),
                (Some(_), None) => text.push_str("  nothing scored"),
                (Some(score), Some(value)) => {
                    let _ = write!(text, "  {}", self.scale.number(value));
                    if let Some(interval) = &score.interval {
                        let [low, high] =
                            [interval.low, interval.high].map(|end| self.scale.number(end));
                        let _ = write!(text, " [{low}, {high}]");
                    }
                    let _ = write!(text, "  n {}", count(score.items));
                }
            }
            if let Some(remark) = row.remark() {
                let _ = write!(text, ", {remark}");
            }
            text.push('\n');
        }
        if let Some((_, value, _)) = line {
            let bar = self.bar(None, ' ');
            let value = self.scale.number(*value);
            let _ = writeln!(text, "  {line_label:<width$}  {bar}  {value}");
        }
        if self.has_versions() {
            let _ = writeln!(
                text,
                "  The rows are by several versions of {}: their values cannot be compared.",
                printable(&comparison.metric)
            );
        }
    }

    /// A bar up to `value`, `rest` behind it, and the line across.
    fn bar(&self, value: Option<f64>, rest: char) -> String {
        let place = |value| (self.place(value) * BAR as f64).round() as usize;
        let end = value.map_or(0, place);
        let line = (self.line.as_ref()).map(|&(_, value, _)| place(value).min(BAR - 1));
        (0..BAR)
            .map(|at| match (Some(at) == line, at < end) {
                (true, _) => '│',
                (false, true) => '█',
                (false, false) => rest,
            })
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod examples {
    use super::*;

    /// A comparison of the models of [`crate::record::examples`].
    pub(crate) fn comparison() -> Comparison {
        let row = |model: &str, task: &str, label: &str| ComparedRow {
            model: model.to_owned(),
            task: format!("{task}-scenes-test"),
            label: label.to_owned(),
        };
        Comparison {
            suite: "quickstart".to_owned(),
            name: "sees".to_owned(),
            title: "Whoever sees nothing is no better than one who guesses.".to_owned(),
            metric: "accuracy@1".to_owned(),
            rows: vec![
                row("clip-tiny-random", "zero-shot", "sees"),
                row("constant", "zero-shot", "sees nothing"),
                row("frozen", "zero-shot", "never ran"),
            ],
            line: Some(Line::Floor(row("random", "zero-shot", "a guess"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::examples::comparison;
    use super::*;
    use crate::record::examples;

    fn three() -> [Record; 3] {
        ["constant", "random", "clip-tiny-random"].map(examples::record)
    }

    #[test]
    fn rows_have_the_values_of_the_tables_and_a_line_across() {
        insta::assert_snapshot!(comparisons_text(&three(), &[comparison()]));
    }

    #[test]
    fn chance_is_a_number_and_remarks_are_said() {
        let mut records = three();
        records[0].tasks[0].limit = Some(10);
        records[0].tasks[0].scores[0].version = 2;
        records[2].tasks[0].scores[0].value = None;
        let chance = Comparison {
            line: Some(Line::Chance(0.125)),
            ..comparison()
        };
        insta::assert_snapshot!(comparisons_text(&records, &[chance]));
    }

    #[test]
    fn comparisons_without_a_record_are_not_there() {
        let other = Comparison {
            suite: "another".to_owned(),
            ..comparison()
        };
        let mut nobody = comparison();
        for row in &mut nobody.rows {
            "nobody".clone_into(&mut row.model);
        }
        assert_eq!(comparisons_text(&three(), &[other, nobody]), "");
        assert_eq!(comparisons_text(&three(), &[]), "");
    }

    #[test]
    fn values_of_no_share_end_at_the_largest() {
        let mut records = three();
        for record in &mut records {
            let score = &mut record.tasks[0].scores[0];
            score.range = [0.0, 10.0];
            score.value = score.value.map(|value| value * 4.0);
            score.interval = None;
        }
        let suite = standings(&records.iter().collect::<Vec<_>>());
        let comparisons = [comparison()];
        let figures = figures(&suite[0], &comparisons);
        let largest = figures[0].rows[0].value().unwrap();
        let [low, high] = figures[0].ends;
        assert!(low == 0.0 && (high - largest).abs() < 1e-12);
        assert_eq!(figures[0].measure(), "accuracy@1");
        assert!((figures[0].place(largest / 2.0) - 0.5).abs() < 1e-12);
    }
}
