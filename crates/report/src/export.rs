//! The board as a table for other programs: a line for each score.

use serde_json::Value;
use sightline_core::Digest;

use crate::evidence::TaskEvidence;
use crate::page::Made;
use crate::standings::{Row, Suite, Table};

/// The columns, in order.
const COLUMNS: [&str; 41] = [
    "suite",
    "task",
    "kind",
    "dataset",
    "model",
    "family",
    "baseline",
    "ranked",
    "apart",
    "metric",
    "version",
    "value",
    "low",
    "high",
    "confidence",
    "items",
    "higher_is_better",
    "attempted",
    "scored",
    "failed",
    "skipped",
    "limit",
    "shots",
    "paper_value",
    "paper_source",
    "above_difference",
    "above_p",
    "samples_per_second",
    "sample_seconds_p50",
    "sample_seconds_p90",
    "overhead",
    "peak_memory_bytes",
    "parameters",
    "weights_bytes",
    "device",
    "created",
    "tool",
    "commit",
    "record",
    "lock",
    "protocol",
];

/// All tables, a row for each score.
pub(crate) struct Export(Vec<[Value; COLUMNS.len()]>);

impl Export {
    /// What is `made`, row by row in the order of the page.
    pub(crate) fn of(made: &Made<'_>) -> Self {
        let mut rows = Vec::new();
        for suite in made.suites {
            for task in &suite.tasks {
                let evidence = made.evidence_of(suite.name, task.name);
                for (at, table) in task.tables.iter().enumerate() {
                    let names = Names {
                        suite,
                        task: [task.name, task.kind, task.dataset],
                        apart: (at > 0).then(|| table.why_apart(&task.tables[0])),
                    };
                    let evidence = evidence.filter(|_| at == 0);
                    for row in 0..table.rows.len() {
                        add(&mut rows, &names, table, row, evidence, made);
                    }
                }
            }
        }
        Self(rows)
    }

    /// As CSV (RFC 4180), a header first. Values have all their digits. A text that a spreadsheet would take for a formula
    /// begins with `'`.
    pub(crate) fn csv(&self) -> String {
        let mut text = COLUMNS.join(",");
        text.push_str("\r\n");
        for row in &self.0 {
            let cells: Vec<String> = row.iter().map(cell).collect();
            text.push_str(&cells.join(","));
            text.push_str("\r\n");
        }
        text
    }

    /// As a list of objects with the same fields.
    pub(crate) fn json(&self) -> String {
        let object = |row: &[Value; COLUMNS.len()]| {
            let fields = COLUMNS.iter().zip(row);
            let fields = fields.map(|(name, value)| ((*name).to_owned(), value.clone()));
            Value::Object(fields.collect())
        };
        Value::Array(self.0.iter().map(object).collect()).to_string()
    }
}

struct Names<'a> {
    suite: &'a Suite<'a>,
    task: [&'a str; 3],
    apart: Option<String>,
}

fn add(
    rows: &mut Vec<[Value; COLUMNS.len()]>,
    names: &Names<'_>,
    table: &Table<'_>,
    at: usize,
    evidence: Option<&TaskEvidence>,
    made: &Made<'_>,
) {
    let row = &table.rows[at];
    let (record, outcome) = (row.record, row.outcome);
    let id = |row: &Row<'_>| made.records[row.source].id;
    let above = at
        .checked_sub(1)
        .map(|above| [id(&table.rows[above]), id(row)]);
    for score in row.cells.iter().flatten().map(|cell| cell.score) {
        let ends = score.interval.as_ref();
        let target = outcome
            .paper_targets
            .iter()
            .find(|target| target.metric == score.metric);
        let (difference, p) = above
            .zip(evidence)
            .and_then(|(ids, evidence)| tested(evidence, ids, &score.metric))
            .unwrap_or_default();
        let cost = outcome.cost;
        let size = record.model.size;
        rows.push([
            names.suite.name.into(),
            names.task[0].into(),
            names.task[1].into(),
            names.task[2].into(),
            record.model.name.as_str().into(),
            record.model.family.as_str().into(),
            record.model.baseline.into(),
            table.limit().is_none().into(),
            names.apart.as_deref().into(),
            score.metric.as_str().into(),
            score.version.into(),
            score.value.into(),
            ends.map(|ends| ends.low).into(),
            ends.map(|ends| ends.high).into(),
            ends.map(|ends| ends.confidence).into(),
            score.items.into(),
            score.higher_is_better.into(),
            outcome.counts.attempted.into(),
            outcome.counts.scored.into(),
            outcome.counts.failed.into(),
            outcome.counts.skipped.into(),
            table.limit().into(),
            outcome.shots.into(),
            target.map(|target| target.value).into(),
            target.map(|target| target.source.as_str()).into(),
            difference.into(),
            p.into(),
            outcome.throughput.samples_per_second().into(),
            cost.map(|cost| cost.sample_seconds.p50).into(),
            cost.map(|cost| cost.sample_seconds.p90).into(),
            cost.and_then(|cost| cost.overhead()).into(),
            cost.and_then(|cost| cost.peak_memory_bytes).into(),
            size.and_then(|size| size.parameters).into(),
            size.map(|size| size.weights_bytes).into(),
            record.machine.device.as_str().into(),
            record.created.as_str().into(),
            record.tool.version.as_str().into(),
            record.tool.commit.as_deref().into(),
            id(row).to_string().into(),
            record.lock.to_string().into(),
            table.protocol.to_string().into(),
        ]);
    }
}

/// The difference of the second record from the first by a metric, and its p-value, if they were compared.
fn tested(
    evidence: &TaskEvidence,
    ids: [Digest; 2],
    metric: &str,
) -> Option<(Option<f64>, Option<f64>)> {
    evidence.pairs.iter().find_map(|pair| {
        let sign = match pair.records {
            records if records == ids => 1.0,
            [b, a] if [a, b] == ids => -1.0,
            _ => return None,
        };
        let one = pair.metrics.iter().find(|one| one.metric == metric)?;
        Some((one.difference.map(|difference| sign * difference), one.p))
    })
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_never_formulas() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(cell(&Value::Null), "");
        assert_eq!(cell(&0.1.into()), "0.1");
        assert_eq!(cell(&(-0.5).into()), "-0.5", "numbers stay numbers");
    }
}
