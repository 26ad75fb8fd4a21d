//! Which outcomes stand beside each other, in which order, and which of them are best.
//!
//! Outcomes of one task are ranked together only if they are of the same data: equal protocol (what the
//! task asked) and equal digests of the dataset's files. Each such group is a table of its own. In a
//! table a model has one row: its latest, whatever its weights were before. Outcomes on the first samples alone are
//! shown and never ranked: their tables come last, by name.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use sightline_core::Digest;
use sightline_core::digest::Hasher;
use sightline_core::statistics::{holm, normal_cdf, normal_quantile};

use crate::record::{Record, Score, TaskOutcome};

/// Chance of calling any model worse than the best of a column that is not.
pub(crate) const LEVEL: f64 = 0.05;

/// Everything about one suite.
#[derive(Debug)]
pub(crate) struct Suite<'a> {
    pub(crate) name: &'a str,
    pub(crate) tasks: Vec<Task<'a>>,
}

/// Everything about one task of a suite.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) dataset: &'a str,
    /// The main table first: the one with the most rows, or else the latest; limited ones last.
    pub(crate) tables: Vec<Table<'a>>,
}

/// Outcomes that can be compared.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// Digest of the dataset's files.
    pub(crate) data: Digest,
    /// Digest of what the task asked.
    pub(crate) protocol: Digest,
    pub(crate) columns: Vec<Column>,
    /// Best first, by the first column.
    pub(crate) rows: Vec<Row<'a>>,
}

impl Table<'_> {
    /// How many samples its outcomes are limited to, if they are.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.rows.iter().find_map(|row| row.outcome.limit)
    }

    /// Why its rows cannot stand in the table `main`.
    pub(crate) fn why_apart(&self, main: &Self) -> String {
        let mut reasons = Vec::new();
        if self.data != main.data {
            reasons.push("read other files of the dataset".to_owned());
        }
        match self.limit() {
            Some(limit) => reasons.push(format!("looked at the first {limit} samples only")),
            None if self.protocol != main.protocol => {
                reasons.push(
                    "were asked otherwise (dataset settings, prompt, decoding or seed)".to_owned(),
                );
            }
            None => {}
        }
        format!("these runs {}", reasons.join(" and "))
    }
}

/// A metric, in one version of its definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Column {
    pub(crate) metric: String,
    pub(crate) version: u32,
}

/// One model's outcome.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// Which of the records it is from.
    pub(crate) source: usize,
    pub(crate) record: &'a Record,
    pub(crate) outcome: &'a TaskOutcome,
    /// One for each column.
    pub(crate) cells: Vec<Option<Cell<'a>>>,
}

/// A score in a column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a> {
    pub(crate) score: &'a Score,
    pub(crate) mark: Mark,
}

/// How a score stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Neither of the below, or nothing to compare with.
    None,
    /// The best, and every other differs from it: two-sided tests at [`LEVEL`], corrected (Holm) for the
    /// number of others.
    Best,
    /// Cannot be told from the best, or is the best and another cannot be told from it.
    Tied,
}

/// Rows of one task by protocol and data.
type Rows<'a> = BTreeMap<(Digest, Digest), Vec<Row<'a>>>;

/// The tables of `records`, suites by name and tasks in the order of the latest record.
pub(crate) fn standings<'a>(records: &[&'a Record]) -> Vec<Suite<'a>> {
    let mut latest_first: Vec<(usize, &'a Record)> = records.iter().copied().enumerate().collect();
    latest_first.sort_by(|(i, a), (j, b)| (&b.created, j).cmp(&(&a.created, i)));

    let mut suites: BTreeMap<&'a str, Vec<(Task<'a>, Rows<'a>)>> = BTreeMap::new();
    for (source, record) in latest_first {
        let tasks = suites.entry(&record.suite).or_default();
        for outcome in &record.tasks {
            let name = (
                outcome.task.as_str(),
                outcome.kind.as_str(),
                outcome.dataset.as_str(),
            );
            let is_it = |(task, _): &(Task<'a>, _)| (task.name, task.kind, task.dataset) == name;
            let at = tasks.iter().position(is_it).unwrap_or_else(|| {
                let task = Task {
                    name: name.0,
                    kind: name.1,
                    dataset: name.2,
                    tables: Vec::new(),
                };
                tasks.push((task, BTreeMap::new()));
                tasks.len() - 1
            });
            let data = files(record, "dataset", &outcome.dataset);
            let rows = tasks[at].1.entry((outcome.protocol, data)).or_default();
            // Later records come first: what a model was before is its trend.
            if !rows
                .iter()
                .any(|row| row.record.model.name == record.model.name)
            {
                rows.push(Row {
                    source,
                    record,
                    outcome,
                    cells: Vec::new(),
                });
            }
        }
    }
    suites
        .into_iter()
        .map(|(name, tasks)| Suite {
            name,
            tasks: tasks
                .into_iter()
                .map(|(task, tables)| finish(task, tables))
                .collect(),
        })
        .collect()
}

fn finish<'a>(mut task: Task<'a>, tables: Rows<'a>) -> Task<'a> {
    task.tables = tables
        .into_iter()
        .map(|((protocol, data), rows)| table(protocol, data, rows))
        .collect();
    let latest = |table: &Table<'a>| {
        table
            .rows
            .iter()
            .map(|row| &row.record.created)
            .max()
            .cloned()
    };
    // The sort is stable and the tables come by digest: the order never depends on chance.
    task.tables.sort_by_key(|table| {
        let is_limited = table.limit().is_some();
        (is_limited, Reverse((table.rows.len(), latest(table))))
    });
    task
}

fn table<'a>(protocol: Digest, data: Digest, mut rows: Vec<Row<'a>>) -> Table<'a> {
    let mut columns: Vec<Column> = Vec::new();
    for score in rows.iter().flat_map(|row| &row.outcome.scores) {
        let column = column(score);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    for row in &mut rows {
        let cell = |wanted: &Column| {
            let score = row.outcome.scores.iter().find(|s| column(s) == *wanted)?;
            let mark = Mark::None;
            Some(Cell { score, mark })
        };
        row.cells = columns.iter().map(cell).collect();
    }
    let is_ranked = rows.iter().all(|row| row.outcome.limit.is_none());
    for at in 0..columns.len() {
        if is_ranked {
            mark(&mut rows, at);
        }
    }
    rows.sort_by(|a, b| {
        let by_score = match (a.score(0), b.score(0)) {
            _ if !is_ranked => Ordering::Equal,
            (Some(a), Some(b)) => better_first(a, b),
            (a, b) => a.is_none().cmp(&b.is_none()),
        };
        let name = |row: &Row<'a>| (&row.record.model.name, &row.record.created, row.source);
        by_score.then_with(|| name(a).cmp(&name(b)))
    });
    Table {
        data,
        protocol,
        columns,
        rows,
    }
}

impl<'a> Row<'a> {
    /// The score in column `at`, if it has a value.
    fn score(&self, at: usize) -> Option<&'a Score> {
        let score = self.cells.get(at)?.as_ref()?.score;
        score.value.map(|_| score)
    }
}

fn column(score: &Score) -> Column {
    Column {
        metric: score.metric.clone(),
        version: score.version,
    }
}

/// Orders two scores of a column that have values.
fn better_first(a: &Score, b: &Score) -> Ordering {
    let (low, high) = if a.higher_is_better { (b, a) } else { (a, b) };
    match (low.value, high.value) {
        (Some(low), Some(high)) => low.total_cmp(&high),
        _ => Ordering::Equal,
    }
}

/// Marks the best of column `at`, or those that cannot be told from it. Without an interval for each
/// value nothing is claimed.
fn mark(rows: &mut [Row<'_>], at: usize) {
    let scores: Vec<(usize, &Score)> = rows
        .iter()
        .enumerate()
        .filter_map(|(row, r)| Some((row, r.score(at)?)))
        .collect();
    let Some(&(best, best_score)) = scores.iter().min_by(|(_, a), (_, b)| better_first(a, b))
    else {
        return;
    };
    if scores.len() < 2 || scores.iter().any(|(_, score)| score.interval.is_none()) {
        return;
    }
    let others: Vec<(usize, f64)> = scores
        .iter()
        .filter(|(row, _)| *row != best)
        .map(|&(row, score)| (row, p_equal(score, best_score)))
        .collect();
    // Every other model is compared with the best: the more there are, the surer each has to be.
    let p_values: Vec<f64> = others.iter().map(|&(_, p)| p).collect();
    let tied: Vec<usize> = others
        .iter()
        .zip(holm(&p_values))
        .filter(|(_, p)| *p >= LEVEL)
        .map(|(&(row, _), _)| row)
        .collect();
    let mut set = |row: usize, mark: Mark| {
        if let Some(Some(cell)) = rows[row].cells.get_mut(at) {
            cell.mark = mark;
        }
    };
    let mark = if tied.is_empty() {
        Mark::Best
    } else {
        Mark::Tied
    };
    set(best, mark);
    for row in tied {
        set(row, Mark::Tied);
    }
}

/// How likely a difference as large as that of two scores is if there is none, by their intervals taken
/// as those of independent normal variables. The same samples make a difference surer than that, so
/// that this names a winner too seldom, never too often; `sightline compare` tests sample by sample.
fn p_equal(a: &Score, b: &Score) -> f64 {
    let error = |score: &Score| {
        score.interval.as_ref().map_or(f64::INFINITY, |i| {
            (i.high - i.low) / 2.0 / normal_quantile(0.5 + i.confidence / 2.0)
        })
    };
    let difference = match (a.value, b.value) {
        (Some(a), Some(b)) => (a - b).abs(),
        _ => 0.0,
    };
    if difference == 0.0 {
        return 1.0;
    }
    2.0 * normal_cdf(-difference / error(a).hypot(error(b)))
}

/// Why samples of an outcome failed or were skipped, the most frequent reason first.
pub(crate) fn reasons(outcome: &TaskOutcome) -> Vec<(&str, u64)> {
    let reasons = outcome.reasons.iter();
    let mut reasons: Vec<(&str, u64)> = reasons.map(|(reason, &n)| (reason.as_str(), n)).collect();
    reasons.sort_by_key(|&(_, n)| Reverse(n));
    reasons
}

/// Digest of the files that `kind:name` read in a record.
pub(crate) fn files(record: &Record, kind: &str, name: &str) -> Digest {
    let owner = format!("{kind}:{name}");
    let mut files: Vec<_> = record
        .files
        .iter()
        .filter(|file| file.owner == owner)
        .map(|file| (&file.name, file.sha256))
        .collect();
    files.sort_unstable();
    let mut hasher = Hasher::new();
    for (name, sha256) in files {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(sha256.as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::examples;

    fn marks(table: &Table<'_>, column: usize) -> Vec<(String, Mark)> {
        table
            .rows
            .iter()
            .filter_map(|row| Some((row.record.model.name.clone(), row.cells[column]?.mark)))
            .collect()
    }

    fn owned(marks: &[(&str, Mark)]) -> Vec<(String, Mark)> {
        marks
            .iter()
            .map(|(name, mark)| ((*name).to_owned(), *mark))
            .collect()
    }

    #[test]
    fn the_best_is_marked_only_when_every_other_differs() {
        let records = ["constant", "random", "clip"].map(examples::record);
        let records: Vec<&Record> = records.iter().collect();
        let suites = standings(&records);
        let table = &suites[0].tasks[0].tables[0];
        let expected = [
            ("clip", Mark::Best),
            ("random", Mark::None),
            ("constant", Mark::None),
        ];
        assert_eq!(marks(table, 0), owned(&expected));

        let suites = standings(&records[..2]);
        let table = &suites[0].tasks[0].tables[0];
        let expected = [("random", Mark::Tied), ("constant", Mark::Tied)];
        assert_eq!(marks(table, 0), owned(&expected));
    }

    #[test]
    fn nothing_is_claimed_without_intervals_or_company() {
        let mut records = ["random", "clip"].map(examples::record);
        records[0].tasks[0].scores[0].interval = None;
        records[0].tasks[0].scores[1].value = None;
        let records: Vec<&Record> = records.iter().collect();
        let suites = standings(&records);
        let table = &suites[0].tasks[0].tables[0];
        for column in [0, 1] {
            let marks = marks(table, column);
            assert!(
                marks.iter().all(|(_, mark)| *mark == Mark::None),
                "{marks:?}"
            );
        }
    }

    #[test]
    fn lower_is_better_where_the_metric_says_so() {
        let mut records = ["a", "b"].map(examples::record);
        for (record, value) in records.iter_mut().zip([9.0, 2.0]) {
            let score = &mut record.tasks[0].scores[0];
            *score = Score {
                higher_is_better: false,
                range: [1.0, 100.0],
                ..examples::score("median-rank", value, 1.0, 10)
            };
            score.interval.as_mut().unwrap().high = value + 1.0;
        }
        let records: Vec<&Record> = records.iter().collect();
        let suites = standings(&records);
        let expected = [("b", Mark::Best), ("a", Mark::None)];
        assert_eq!(marks(&suites[0].tasks[0].tables[0], 0), owned(&expected));
    }

    #[test]
    fn other_data_or_settings_are_other_tables() {
        let mut records = ["constant", "random", "clip", "clip"].map(examples::record);
        records[0].files[0].sha256 = Digest::of(b"other bytes");
        records[1].tasks[0].protocol = Digest::of(b"other prompts");
        records[3].files[2].sha256 = Digest::of(b"other weights");
        let records: Vec<&Record> = records.iter().collect();
        let suites = standings(&records);
        let sizes: Vec<Vec<usize>> = suites[0]
            .tasks
            .iter()
            .map(|task| task.tables.iter().map(|table| table.rows.len()).collect())
            .collect();
        // Other weights under one name are one row.
        assert_eq!(sizes, [vec![1, 1, 1], vec![2, 1]]);
    }

    #[test]
    fn limited_outcomes_come_last_and_are_not_ranked() {
        let mut records = ["random", "clip", "constant", "other"].map(examples::record);
        for record in &mut records[..3] {
            record.tasks[0].protocol = Digest::of(b"the first ten");
            record.tasks[0].limit = Some(10);
        }
        let records: Vec<&Record> = records.iter().collect();
        let suites = standings(&records);
        let [whole, limited] = &suites[0].tasks[0].tables[..] else {
            panic!("not two tables");
        };
        assert_eq!((whole.rows.len(), whole.limit()), (1, None));
        let names: Vec<&str> = limited
            .rows
            .iter()
            .map(|row| row.record.model.name.as_str())
            .collect();
        assert_eq!(names, ["clip", "constant", "random"]);
        assert!(
            marks(limited, 0)
                .iter()
                .all(|(_, mark)| *mark == Mark::None)
        );
        assert_eq!(
            limited.why_apart(whole),
            "these runs looked at the first 10 samples only"
        );
    }

    #[test]
    fn a_model_has_one_row_its_latest_whatever_the_order() {
        let mut old = examples::record("clip");
        old.created = "2026-11-22T00:00:00Z".to_owned();
        old.tasks[0].scores[0].value = Some(0.99);
        let (new, random) = (examples::record("clip"), examples::record("random"));
        for records in [[&old, &new, &random], [&random, &new, &old]] {
            let suites = standings(&records);
            let rows = &suites[0].tasks[0].tables[0].rows;
            let created: Vec<&str> = rows.iter().map(|row| row.record.created.as_str()).collect();
            assert_eq!(created, [&new.created, &random.created]);
        }
    }

    #[test]
    fn versions_of_a_metric_are_columns_of_their_own() {
        let mut records = ["random", "clip"].map(examples::record);
        records[1].tasks[0].scores[0].version = 2;
        let records: Vec<&Record> = records.iter().collect();
        let suites = standings(&records);
        let table = &suites[0].tasks[0].tables[0];
        assert_eq!(table.columns.len(), 3);
        assert!(marks(table, 0).iter().all(|(_, mark)| *mark == Mark::None));
    }
}
