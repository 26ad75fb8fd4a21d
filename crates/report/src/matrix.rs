//! Models × tasks: a suite at a glance, each task by its first metric.
//!
//! A column holds what stands in the task's main table and nothing else: a value of other data, of another way of asking or of
//! another version of the metric leaves its place empty, with the reason. What is limited is not ranked and has no column.

use serde::Serialize;

use crate::format::Scale;
use crate::page::mark_of;
use crate::record::Record;
use crate::standings::{Row, Suite, Table, Task};

/// The table.
#[derive(Serialize)]
pub(crate) struct MatrixView {
    columns: Vec<MatrixColumnView>,
    rows: Vec<MatrixRowView>,
    /// Whether a cell is empty because its value cannot stand in the column.
    has_apart: bool,
}

#[derive(Serialize)]
struct MatrixColumnView {
    task: String,
    id: String,
    metric: String,
    version: u32,
    unit: &'static str,
    higher_is_better: bool,
}

#[derive(Serialize)]
struct MatrixRowView {
    model: String,
    family: String,
    baseline: bool,
    cells: Vec<MatrixCellView>,
}

#[derive(Serialize)]
struct MatrixCellView {
    value: Option<String>,
    half: Option<String>,
    number: Option<f64>,
    mark: &'static str,
    failed: u64,
    /// Why there is a value, but not here.
    apart: Option<String>,
}

/// The table of a suite with several tasks; `task_id` says where the table of each is on the page.
pub(crate) fn matrix(suite: &Suite<'_>, task_id: impl Fn(usize) -> String) -> Option<MatrixView> {
    // A task whose every outcome is limited has no column: nothing of it is ranked.
    let mut columns: Vec<(MatrixColumnView, &Task<'_>, &Table<'_>, Scale)> = Vec::new();
    for (at, task) in suite.tasks.iter().enumerate() {
        let Some(table) = task.tables.first().filter(|table| table.limit().is_none()) else {
            continue;
        };
        let Some(column) = table.columns.first() else {
            continue;
        };
        let cells = || table.rows.iter().filter_map(|row| row.cells[0].as_ref());
        let scale = Scale::of(cells().map(|cell| cell.score));
        let view = MatrixColumnView {
            task: task.name.to_owned(),
            id: task_id(at),
            metric: column.metric.clone(),
            version: column.version,
            unit: scale.unit,
            higher_is_better: cells()
                .next()
                .is_none_or(|cell| cell.score.higher_is_better),
        };
        columns.push((view, task, table, scale));
    }
    if columns.len() < 2 {
        return None;
    }
    let mut models: Vec<&Record> = Vec::new();
    let all = suite.tasks.iter().flat_map(|task| &task.tables);
    for row in all.flat_map(|table| &table.rows) {
        if !models
            .iter()
            .any(|known| known.model.name == row.record.model.name)
        {
            models.push(row.record);
        }
    }
    // In the order of their mean place among all rows; those that are nowhere ranked come last.
    let place = |name: &str| {
        let places: Vec<f64> = columns
            .iter()
            .filter_map(|(_, _, table, _)| {
                let at = table
                    .rows
                    .iter()
                    .position(|row| row.record.model.name == name)?;
                Some(at as f64 / table.rows.len() as f64)
            })
            .collect();
        let mean = places.iter().sum::<f64>() / places.len() as f64;
        (places.is_empty(), mean)
    };
    models.sort_by(|a, b| {
        let ((none_a, a_mean), (none_b, b_mean)) = (place(&a.model.name), place(&b.model.name));
        none_a
            .cmp(&none_b)
            .then_with(|| a_mean.total_cmp(&b_mean))
            .then_with(|| a.model.name.cmp(&b.model.name))
    });
    let rows: Vec<MatrixRowView> = models
        .into_iter()
        .map(|record| MatrixRowView {
            model: record.model.name.clone(),
            family: record.model.family.clone(),
            baseline: record.model.baseline,
            cells: columns
                .iter()
                .map(|(_, task, table, scale)| matrix_cell(&record.model.name, task, table, scale))
                .collect(),
        })
        .collect();
    Some(MatrixView {
        has_apart: rows
            .iter()
            .flat_map(|row| &row.cells)
            .any(|cell| cell.apart.is_some()),
        columns: columns.into_iter().map(|(view, ..)| view).collect(),
        rows,
    })
}

fn matrix_cell(model: &str, task: &Task<'_>, main: &Table<'_>, scale: &Scale) -> MatrixCellView {
    let is_it = |row: &&Row<'_>| row.record.model.name == model;
    let found = main.rows.iter().find(is_it);
    let cell = found.and_then(|row| row.cells[0].as_ref());
    let interval = cell.and_then(|cell| cell.score.interval.as_ref());
    let elsewhere = || {
        let mut others = task.tables.iter().skip(1);
        let other = others.find(|table| table.rows.iter().any(|row| is_it(&row)))?;
        Some(other.why_apart(main))
    };
    let other_version = || {
        let row = found.filter(|_| cell.is_none())?;
        let (column, mut scores) = (&main.columns[0], row.outcome.scores.iter());
        let score = scores.find(|score| score.metric == column.metric)?;
        Some(format!(
            "this run has version {} of {}",
            score.version, column.metric
        ))
    };
    MatrixCellView {
        value: cell.and_then(|cell| Some(scale.number(cell.score.value?))),
        half: interval.map(|i| scale.number((i.high - i.low) / 2.0)),
        number: cell.and_then(|cell| cell.score.value),
        mark: cell.map_or("", |cell| mark_of(cell.mark)),
        failed: found.map_or(0, |row| row.outcome.counts.failed),
        apart: match found {
            None => elsewhere(),
            Some(_) => other_version(),
        },
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Digest;

    use super::*;
    use crate::record::examples;
    use crate::standings::standings;

    fn made(change: impl Fn(&mut [Record; 3])) -> Option<MatrixView> {
        let mut records = ["constant", "random", "clip"].map(examples::record);
        change(&mut records);
        let records: Vec<&Record> = records.iter().collect();
        matrix(&standings(&records)[0], |at| at.to_string())
    }

    #[test]
    fn models_stand_by_their_mean_place() {
        let matrix = made(|_| {}).unwrap();
        let names: Vec<&str> = matrix.rows.iter().map(|row| row.model.as_str()).collect();
        assert_eq!(names, ["clip", "random", "constant"]);
        assert_eq!((matrix.columns.len(), matrix.has_apart), (2, false));
        assert_eq!(matrix.columns[1].metric, "recall@1.image-to-text");
    }

    #[test]
    fn what_is_not_comparable_leaves_its_place_and_says_why() {
        let matrix = made(|records| {
            records[0].tasks[0].protocol = Digest::of(b"other prompts");
            records[1].tasks[1].scores[0].version = 2;
        })
        .unwrap();
        let cell = |model: &str, at: usize| {
            let row = matrix.rows.iter().find(|row| row.model == model).unwrap();
            (
                row.cells[at].number,
                row.cells[at].apart.clone().unwrap_or_default(),
            )
        };
        assert!(
            cell("constant", 0).1.contains("asked otherwise"),
            "{:?}",
            cell("constant", 0)
        );
        assert_eq!(cell("constant", 0).0, None);
        assert!(
            cell("random", 1).1.contains("version 2"),
            "{:?}",
            cell("random", 1)
        );
        assert!(matrix.has_apart);
    }

    #[test]
    fn one_task_needs_no_table_of_all() {
        assert!(
            made(|records| records
                .iter_mut()
                .for_each(|record| record.tasks.truncate(1)))
            .is_none()
        );
    }
}
