//! Comparisons of a suite: from what is written to what is planned.
//!
//! A row is a model at a task. Both must be of the suite, whether or not the command line leaves them out, and the task
//! must compute the metric: a figure with a row that can never have a value is refused before anything runs.

use std::sync::Arc;

use toml::Spanned;

use crate::check::Checker;
use crate::error::Fault;
use crate::plan::{PlannedComparison, PlannedRow};
use crate::rules;
use crate::schema::{Comparison, ComparisonRow};
use crate::span::SourceFile;

/// Fewest rows: one alone is compared with nothing.
const LEAST_ROWS: usize = 2;

/// A task of the suite, as far as comparisons refer to it.
#[derive(Debug)]
pub(crate) struct Comparable {
    /// Its name.
    pub(crate) task: String,
    /// The models that do it.
    pub(crate) models: Vec<String>,
    /// What it computes.
    pub(crate) metrics: Vec<String>,
}

impl Checker<'_> {
    /// The comparisons of a suite with these tasks; `None` if one is wrong.
    pub(crate) fn comparisons(
        &mut self,
        file: &Arc<SourceFile>,
        written: &[Spanned<Comparison>],
        tasks: &[Comparable],
    ) -> Option<Vec<PlannedComparison>> {
        let mut all: Vec<PlannedComparison> = Vec::new();
        let mut is_whole = true;
        for (at, one) in written.iter().enumerate() {
            let one = one.get_ref();
            self.keep(file, one.name.span(), rules::name(one.name.get_ref()));
            let mut before = written[..at].iter();
            if before.any(|other| other.get_ref().name == one.name) {
                let fault = Fault::Duplicate {
                    kind: "comparison",
                    name: one.name.get_ref().clone(),
                };
                self.tell_at(file, one.name.span(), fault);
            }
            match self.comparison(file, one, tasks) {
                Some(planned) => all.push(planned),
                None => is_whole = false,
            }
        }
        is_whole.then_some(all)
    }

    fn comparison(
        &mut self,
        file: &Arc<SourceFile>,
        written: &Comparison,
        tasks: &[Comparable],
    ) -> Option<PlannedComparison> {
        self.some_text(file, "title", &written.title);
        let rows = written.rows.get_ref();
        if rows.len() < LEAST_ROWS {
            let fault = Fault::Range {
                field: "rows",
                value: rows.len().to_string(),
                limit: format!("{LEAST_ROWS} or more"),
            };
            self.tell_at(file, written.rows.span(), fault);
        }
        for (at, row) in rows.iter().enumerate() {
            let row = row.get_ref();
            self.some_text(file, "label", &row.label);
            let others = || rows[..at].iter().map(Spanned::get_ref);
            if others().any(|other| other.model == row.model && other.task == row.task) {
                let name = format!("{} at {}", row.model.get_ref(), row.task.get_ref());
                let fault = Fault::Duplicate { kind: "row", name };
                self.tell_at(file, row.model.span(), fault);
            }
            if others().any(|other| other.label == row.label) {
                let fault = Fault::Duplicate {
                    kind: "label",
                    name: row.label.get_ref().clone(),
                };
                self.tell_at(file, row.label.span(), fault);
            }
        }
        if let Some(chance) = &written.chance {
            if !chance.get_ref().is_finite() {
                let fault = Fault::Range {
                    field: "chance",
                    value: chance.get_ref().to_string(),
                    limit: "a finite number, in the unit of the metric".to_owned(),
                };
                self.tell_at(file, chance.span(), fault);
            }
            if written.floor.is_some() {
                let fault = Fault::MeaninglessWith {
                    field: "chance",
                    with: "`floor`: there is one line".to_owned(),
                };
                self.tell_at(file, chance.span(), fault);
            }
        }

        let all = rows.iter().chain(&written.floor);
        let found: Vec<Option<&Comparable>> = all
            .map(|row| self.task_of(file, row.get_ref(), tasks))
            .collect();
        self.metric_of(file, written, &found);
        let planned = |row: &Spanned<ComparisonRow>| {
            let row = row.get_ref();
            PlannedRow {
                model: row.model.get_ref().clone(),
                task: row.task.get_ref().clone(),
                label: row.label.get_ref().clone(),
            }
        };
        found
            .iter()
            .all(Option::is_some)
            .then(|| PlannedComparison {
                name: written.name.get_ref().clone(),
                title: written.title.get_ref().clone(),
                metric: written.metric.get_ref().clone(),
                rows: rows.iter().map(planned).collect(),
                chance: written.chance.as_ref().map(|chance| *chance.get_ref()),
                floor: written.floor.as_ref().map(planned),
            })
    }

    /// The task of a row, if there is one and the row's model does it.
    fn task_of<'t>(
        &mut self,
        file: &Arc<SourceFile>,
        row: &ComparisonRow,
        tasks: &'t [Comparable],
    ) -> Option<&'t Comparable> {
        let names = tasks.iter().map(|task| &task.task);
        let name = self.known("task", file, &row.task, names)?;
        let task = tasks.iter().find(|task| task.task == name)?;
        self.known("model of the task", file, &row.model, &task.models)?;
        Some(task)
    }

    /// Checks that every row's task computes the metric.
    fn metric_of(
        &mut self,
        file: &Arc<SourceFile>,
        written: &Comparison,
        found: &[Option<&Comparable>],
    ) {
        let metric = written.metric.get_ref();
        let computes = |task: &&Comparable| task.metrics.contains(metric);
        let known = || found.iter().flatten();
        if known().next().is_some() && !known().any(computes) {
            let mut metrics: Vec<String> =
                known().flat_map(|task| &task.metrics).cloned().collect();
            metrics.sort_unstable();
            metrics.dedup();
            self.known("metric of the rows' tasks", file, &written.metric, &metrics);
            return;
        }
        let rows = written.rows.get_ref().iter().chain(&written.floor);
        for (row, task) in rows.zip(found) {
            let Some(task) = task.filter(|task| !computes(task)) else {
                continue;
            };
            let fault = Fault::NotComputed {
                task: task.task.clone(),
                metric: metric.clone(),
            };
            self.tell_at(file, row.get_ref().task.span(), fault);
        }
    }

    fn some_text(&mut self, file: &Arc<SourceFile>, field: &'static str, text: &Spanned<String>) {
        if text.get_ref().trim().is_empty() {
            self.tell_at(file, text.span(), Fault::Empty { field });
        }
    }
}
