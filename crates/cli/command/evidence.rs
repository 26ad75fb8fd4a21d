//! What the board shows beside records: from the suites' manifests and data, as far as they are there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sightline_core::image_spec::{Filter, Size};
use sightline_harness::{Looking, sentence};
use sightline_imaging::resize::{PassOrder, resize_pillow};
use sightline_imaging::sizes::thumbnail;
use sightline_imaging::{DecodeOptions, EncodeSpec, decode_rgb, encode};
use sightline_manifest::{Plan, PlannedComparison, PlannedRow, Roots, manifests_folder};
use sightline_report::evidence::{TaskEvidence, Thumbnail};
use sightline_report::{ComparedRow, Comparison, Line, MainTable, Stored, main_tables};

use crate::command::{compare, run};
use crate::output::Bar;

/// Longest side of an image on the board.
const SIDE: u32 = 192;
const QUALITY: u8 = 75;
/// Up to so many models every pair is compared.
const ALL_PAIRS: usize = 8;

/// Where suites and their data are.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Manifests of suites, and the data folder of each if it has one of its own.
    pub(crate) suites: Vec<(PathBuf, Option<PathBuf>)>,
    /// The data folder of every other suite.
    pub(crate) data: PathBuf,
    /// Most samples of a task that are shown.
    pub(crate) samples: usize,
}

impl Sources {
    /// What can be found out about every task of `records`.
    pub(crate) fn evidence(&self, records: &[Stored]) -> Vec<TaskEvidence> {
        let tables = main_tables(records);
        tables.iter().map(|table| self.of_table(table)).collect()
    }

    /// What the suites of `records` put side by side, and why that of a suite is not known, each as a sentence.
    pub(crate) fn comparisons(&self, records: &[Stored]) -> (Vec<Comparison>, Vec<String>) {
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        let suites: BTreeSet<&str> = records
            .iter()
            .map(|stored| stored.record.suite.as_str())
            .collect();
        for suite in suites {
            let (file, _) = self.suite(suite);
            let records = records.iter().map(|stored| &stored.record);
            let of_suite = records.filter(|record| record.suite == suite);
            match compare::plan_of(&file, of_suite, None, None) {
                Ok(plan) => found.extend(comparisons(&plan)),
                Err(error) => problems.push(format!(
                    "no comparisons of suite `{}`: {}",
                    file.display(),
                    sentence(&error)
                )),
            }
        }
        (found, problems)
    }

    fn of_table(&self, table: &MainTable<'_>) -> TaskEvidence {
        let without = |problem: String| TaskEvidence {
            suite: table.suite.clone(),
            task: table.task.clone(),
            problems: vec![format!(
                "Neither tests between models nor samples: {problem}"
            )],
            ..TaskEvidence::default()
        };
        let (file, data) = self.suite(&table.suite);
        let records = table.rows.iter().map(|(stored, _)| &stored.record);
        let tasks = Some(vec![table.task.clone()]);
        let plan = match compare::plan_of(&file, records, tasks, table.limit) {
            Ok(plan) => plan,
            Err(error) => {
                return without(format!("suite `{}`: {}", file.display(), sentence(&error)));
            }
        };
        let manifests = match manifests_folder(&file) {
            Ok(folder) => folder,
            Err(error) => return without(sentence(&error)),
        };
        let resources = match run::resources(&plan) {
            Ok(resources) => resources,
            Err(failure) => return without(failure.to_string().replace("\n ", "")),
        };
        let roots = Roots {
            data,
            manifests,
            ..Roots::default()
        };
        let looking = Looking {
            plan: &plan,
            roots: &roots,
            resources: &resources,
            samples: self.samples,
            all_pairs: ALL_PAIRS,
        };
        looking.table(&table.task, &table.rows, &small, &Bar::default())
    }

    /// The manifest of the suite called `name`, and where its data are.
    fn suite(&self, name: &str) -> (PathBuf, PathBuf) {
        let is_it = |file: &Path| file.file_stem().is_some_and(|stem| stem == name);
        match self.suites.iter().find(|(file, _)| is_it(file)) {
            Some((file, data)) => {
                let data = data.as_ref().unwrap_or(&self.data);
                (file.clone(), data.clone())
            }
            None => (compare::suite_called(name), self.data.clone()),
        }
    }
}

/// What the suite of `plan` puts side by side.
pub(crate) fn comparisons(plan: &Plan) -> Vec<Comparison> {
    let row = |row: &PlannedRow| ComparedRow {
        model: row.model.clone(),
        task: row.task.clone(),
        label: row.label.clone(),
    };
    let comparison = |one: &PlannedComparison| Comparison {
        suite: plan.suite.clone(),
        name: one.name.clone(),
        title: one.title.clone(),
        metric: one.metric.clone(),
        rows: one.rows.iter().map(row).collect(),
        line: match (one.chance, &one.floor) {
            (Some(chance), _) => Some(Line::Chance(chance)),
            (None, Some(floor)) => Some(Line::Floor(row(floor))),
            (None, None) => None,
        },
    };
    plan.comparisons.iter().map(comparison).collect()
}

fn small(bytes: &[u8]) -> Result<Thumbnail, String> {
    let decoded = decode_rgb(bytes, &DecodeOptions::sane()).map_err(|e| e.to_string())?;
    let size = thumbnail(decoded.pixels.size(), Size::square(SIDE));
    let pixels = resize_pillow(
        &decoded.pixels,
        size,
        Filter::Bicubic,
        PassOrder::Adaptive,
        None,
    );
    let pixels = pixels.map_err(|e| e.to_string())?;
    Ok(Thumbnail {
        jpeg: encode(&pixels, &EncodeSpec::jpeg(QUALITY)).map_err(|e| e.to_string())?,
        width: pixels.width(),
        height: pixels.height(),
    })
}
