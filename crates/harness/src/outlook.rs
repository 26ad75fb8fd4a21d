//! What a run will need, told before it begins: which files are there and which are missing, how many bytes it will read,
//! which predictions are there already, and how long it took before.
//!
//! Nothing is digested and nothing is asked of the network. A time is that of the last record of the same model at the
//! same task on the same dataset, by sample; without such a record there is none.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Serialize;
use sightline_manifest::{Plan, PlannedTask, Roots};
use sightline_report::{Stored, read_records};

use crate::Result;
use crate::dataset::{below, folder_of, places};
use crate::models::Planned;

/// What a run will need.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outlook {
    /// What is read, by owner: `dataset:NAME` and `model:NAME`.
    pub inputs: Vec<Inputs>,
    /// What is made, for each model and task.
    pub work: Vec<Work>,
}

/// Files of a dataset or a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inputs {
    /// `dataset:NAME` or `model:NAME`.
    pub owner: String,
    /// Files that are there.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Patterns and files of which nothing is there.
    pub missing: Vec<String>,
}

/// A model at a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Work {
    /// Name of the model.
    pub model: String,
    /// Name of the task.
    pub task: String,
    /// Whether a record holds it for the same protocol; predictions are then taken up if the files are the same, too.
    pub is_recorded: bool,
    /// Seconds that it took before, for as many samples as are asked for now; `None` where nobody measured it.
    pub seconds: Option<f64>,
}

impl Outlook {
    /// Whether something is missing.
    pub fn is_missing_files(&self) -> bool {
        self.inputs.iter().any(|inputs| !inputs.missing.is_empty())
    }

    /// Seconds of all work that was measured before and is not recorded, and how much of it was never measured.
    pub fn seconds(&self) -> (f64, usize) {
        let left = self.work.iter().filter(|work| !work.is_recorded);
        let left: Vec<&Work> = left.collect();
        let known = left.iter().filter_map(|work| work.seconds).sum();
        (
            known,
            left.iter().filter(|work| work.seconds.is_none()).count(),
        )
    }
}

/// What `plan` will need on this machine; `records` is the folder where a run writes, which need not be there.
pub fn outlook(plan: &Plan, roots: &Roots, records: &Path) -> Result<Outlook> {
    let stored = if records.is_dir() {
        read_records(records)?
    } else {
        Vec::new()
    };
    let mut outlook = Outlook::default();
    for (name, dataset) in &plan.datasets {
        let mut inputs = Inputs {
            owner: crate::dataset::owner(name),
            ..Inputs::default()
        };
        for (_, place) in places(dataset) {
            // A folder that is not there has no files.
            let folder = folder_of(roots, place).ok();
            let names = folder
                .as_ref()
                .and_then(|folder| folder.expand(&[below(place)]).ok())
                .unwrap_or_default();
            let paths = folder.iter().flat_map(|folder| {
                let paths = names.iter().map(|name| folder.path_of(name));
                paths.flatten()
            });
            let before = inputs.files;
            inputs.add(paths.collect());
            if inputs.files == before {
                inputs.missing.push(below(place).to_owned());
            }
        }
        outlook.inputs.push(inputs);
    }
    for (name, model) in &plan.models {
        let planned = Planned {
            plan,
            roots,
            name,
            model,
        };
        let mut inputs = Inputs {
            owner: planned.owner(),
            ..Inputs::default()
        };
        match planned.files() {
            Ok(files) => inputs.add(files.into_iter().map(|file| file.path).collect()),
            // Which files a checkpoint has is known when it is there.
            Err(_) => inputs.missing.push("its checkpoint".to_owned()),
        }
        outlook.inputs.push(inputs);
    }
    for task in &plan.tasks {
        for model in &task.models {
            outlook.work.push(work(plan, task, model, &stored)?);
        }
    }
    Ok(outlook)
}

impl Inputs {
    fn add(&mut self, paths: Vec<std::path::PathBuf>) {
        // A file may match two patterns.
        for path in paths.into_iter().collect::<BTreeSet<_>>() {
            match fs::metadata(&path) {
                Ok(found) => {
                    self.files += 1;
                    self.bytes += found.len();
                }
                Err(_) => self.missing.push(path.display().to_string()),
            }
        }
    }
}

fn work(plan: &Plan, task: &PlannedTask, model: &str, stored: &[Stored]) -> Result<Work> {
    let protocol = plan.protocol(task)?;
    let mut work = Work {
        model: model.to_owned(),
        task: task.name.clone(),
        is_recorded: false,
        seconds: None,
    };
    let mut last = "";
    for stored in stored
        .iter()
        .filter(|stored| stored.record.model.name == model)
    {
        let record = &stored.record;
        for outcome in &record.tasks {
            if (&outcome.kind, &outcome.dataset) != (&task.kind, &task.dataset) {
                continue;
            }
            work.is_recorded |= outcome.protocol == protocol && record.suite == plan.suite;
            let took = &outcome.throughput;
            // A record whose predictions were there before measured nothing.
            if took.samples > 0 && record.created.as_str() >= last {
                last = &record.created;
                let whole = outcome.counts.attempted;
                let wanted = task.limit.map_or(whole, |limit| limit.min(whole));
                work.seconds = Some(took.seconds / took.samples as f64 * wanted as f64);
            }
        }
    }
    Ok(work)
}
