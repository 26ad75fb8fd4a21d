//! What a record holds, and when two say the same.

use sightline_manifest::{Lock, PlannedTask};
use sightline_models::device::describe;
use sightline_report::record::{File, ModelInfo, Record, SCHEMA, TaskOutcome, Throughput};

use crate::dataset::owner;
use crate::models::Planned;
use crate::{Options, Result, environment};

/// The record of a model whose tasks are all scored. Its lock is the part of `lock` that the model and its
/// datasets have, so that it can be made again without the files of other models.
pub(crate) fn record_of(
    planned: Planned<'_>,
    lock: &Lock,
    options: &Options,
    tasks: Vec<TaskOutcome>,
) -> Result<Record> {
    let mut owners: Vec<String> = tasks.iter().map(|task| owner(&task.dataset)).collect();
    owners.push(planned.owner());
    let is_recorded = |task: &&PlannedTask| tasks.iter().any(|outcome| outcome.task == task.name);
    for task in planned.plan.tasks.iter().filter(is_recorded) {
        owners.extend(task.other_datasets().map(|name| owner(name)));
        owners.extend(task.chooser().map(|name| format!("model:{name}")));
    }
    let mut lock = lock.clone();
    lock.files.retain(|file| owners.contains(&file.owner));
    lock.files.sort();
    lock.sources.retain(|source| owners.contains(&source.owner));
    Ok(Record {
        schema: SCHEMA,
        suite: planned.plan.suite.clone(),
        model: ModelInfo {
            name: planned.name.to_owned(),
            family: planned.model.family.clone(),
            description: planned.model.description.clone(),
            baseline: !planned.family()?.needs_checkpoint,
            weights: planned.model.weights.clone(),
            source: (lock
                .sources
                .iter()
                .find(|source| source.owner == planned.owner()))
            .map(|source| source.source.clone()),
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

/// Whether two records say the same about the same model, files and tasks. When, where, how fast and by which
/// build it happened is not part of that, nor what else the suite held.
pub(crate) fn same_outcome(a: &Record, b: &Record) -> bool {
    let timeless = |task: &TaskOutcome| TaskOutcome {
        throughput: Throughput::default(),
        ..task.clone()
    };
    a.suite == b.suite
        && a.model == b.model
        && a.seed == b.seed
        && a.files == b.files
        && a.tasks
            .iter()
            .map(timeless)
            .eq(b.tasks.iter().map(timeless))
}
