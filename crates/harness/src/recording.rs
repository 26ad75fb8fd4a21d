//! What a record holds, and when two say the same.

use std::collections::BTreeMap;

use sightline_manifest::{Lock, Plan, PlannedTask};
use sightline_models::device::describe;
use sightline_report::record::{File, ModelInfo, Record, SCHEMA, TaskOutcome, Throughput, Tool};
use sightline_report::{Stored, current};

use crate::dataset::owner;
use crate::models::Planned;
use crate::{Options, Result, environment, measure};

/// The record of a model whose tasks are all scored. Its lock is the part of `lock` that the model and its
/// datasets have, so that it can be made again without the files of other models.
pub(crate) fn record_of(
    planned: Planned<'_>,
    lock: &Lock,
    options: &Options,
    tasks: Vec<TaskOutcome>,
) -> Result<Record> {
    let is_recorded = |task: &&PlannedTask| tasks.iter().any(|outcome| outcome.task == task.name);
    let planned_tasks = planned.plan.tasks.iter().filter(is_recorded);
    let owners = owners_of(planned.name, planned_tasks);
    let lock = own_part(lock, &owners, |name| {
        tasks.iter().any(|task| task.task == name)
    });
    let size = measure::size(planned, &lock)?;
    Ok(Record {
        schema: SCHEMA,
        suite: planned.plan.suite.clone(),
        model: ModelInfo {
            name: planned.name.to_owned(),
            family: planned.model.family.clone(),
            description: planned.model.description.clone(),
            baseline: planned.is_baseline()?,
            weights: planned.model.weights.clone(),
            source: (lock
                .sources
                .iter()
                .find(|source| source.owner == planned.owner()))
            .map(|source| source.source.clone()),
            size,
        },
        created: environment::now(),
        supersedes: None,
        tool: options.tool.clone(),
        machine: environment::machine(&describe(&options.device)),
        command: options.command.clone(),
        seed: planned.plan.seed,
        plan: lock.plan,
        lock: lock.digest()?,
        files: lock
            .files
            .into_iter()
            .map(|file| File {
                owner: file.owner,
                name: file.name,
                bytes: file.bytes,
                sha256: file.sha256,
            })
            .collect(),
        tasks,
    })
}

/// Who owns the files that a model needs at `tasks`: itself, datasets, and models that choose what is shown before.
fn owners_of<'t>(model: &str, tasks: impl Iterator<Item = &'t PlannedTask>) -> Vec<String> {
    let mut owners = vec![format!("model:{model}")];
    for task in tasks {
        owners.push(owner(&task.dataset));
        owners.extend(task.other_datasets().map(|name| owner(name)));
        owners.extend(task.chooser().map(|name| format!("model:{name}")));
    }
    owners
}

/// The part of `lock` that some owners of files and some tasks have.
fn own_part(lock: &Lock, owners: &[String], has_task: impl Fn(&str) -> bool) -> Lock {
    let mut lock = lock.clone();
    lock.files.retain(|file| owners.contains(&file.owner));
    lock.files.sort();
    lock.sources.retain(|source| owners.contains(&source.owner));
    lock.adapters
        .retain(|adapter| owners.contains(&adapter.owner));
    lock.weights
        .retain(|weights| owners.contains(&weights.owner));
    lock.tasks.retain(|locked| has_task(&locked.task));
    // The record says these in places of their own; two programs may have made the same of the same.
    lock.program = None;
    lock
}

/// For each model of `plan` its latest record that was made from exactly the files of `lock` by this version of the program,
/// if there is one among `records`.
pub fn recorded<'r>(
    plan: &Plan,
    lock: &Lock,
    tool: &Tool,
    records: &'r [Stored],
) -> Result<BTreeMap<String, Option<&'r Stored>>> {
    let mut found = BTreeMap::new();
    for name in plan.models.keys() {
        let tasks = || plan.tasks.iter().filter(|task| task.models.contains(name));
        let owners = owners_of(name, tasks());
        let has_task = |name: &str| tasks().any(|task| task.name == name);
        let digest = own_part(lock, &owners, has_task).digest()?;
        let own = current(records).into_iter().filter(|stored| {
            let record = &stored.record;
            record.suite == plan.suite
                && record.model.name == *name
                && record.lock == digest
                && record.tool.version == tool.version
        });
        let latest = own.max_by(|a, b| a.record.created.cmp(&b.record.created));
        found.insert(name.clone(), latest);
    }
    Ok(found)
}

/// Whether two records say the same about the same model, files and tasks. When, where, how fast and by which
/// build it happened is not part of that, nor what else the suite held.
pub(crate) fn same_outcome(a: &Record, b: &Record) -> bool {
    let timeless = |task: &TaskOutcome| TaskOutcome {
        throughput: Throughput::default(),
        cost: None,
        ..task.clone()
    };
    let named = |record: &Record| ModelInfo {
        size: None,
        ..record.model.clone()
    };
    a.suite == b.suite
        && named(a) == named(b)
        && a.seed == b.seed
        && a.files == b.files
        && a.tasks
            .iter()
            .map(timeless)
            .eq(b.tasks.iter().map(timeless))
}
