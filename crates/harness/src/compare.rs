//! Two records compared sample by sample, from their predictions and the annotations alone.
//!
//! Samples are paired by their ids: a sample counts where both models predicted it, so that a failure is never a wrong
//! answer on one side and nothing on the other. What each failed or skipped is counted. Two records are compared only if
//! they are of the same thing: equal protocols (what the task asked), equal files of the dataset, predictions with the
//! digest that the record names, and metrics of the version of this program. Anything else is refused by name.

use std::collections::BTreeMap;

use sightline_core::{Progress, SampleKey};
use sightline_manifest::{Lock, Plan, PlannedTask, Roots};
use sightline_metrics::{Comparison, Observations, Resources, registry};
use sightline_report::Stored;
use sightline_report::record::{File, Record, TaskOutcome};

use crate::dataset::owner;
use crate::example::{Example, Truth, read_truth};
use crate::predictions::{Line, Outcome, Reader};
use crate::score::{bootstrap, check_end, line_of};
use crate::task::{self, Verdict};
use crate::{Error, Result, make_lock};

/// How two records compare at one task.
#[derive(Clone, Debug)]
pub struct TaskComparison {
    /// Name of the task.
    pub task: String,
    /// Name of the dataset.
    pub dataset: String,
    /// Samples of the dataset.
    pub samples: u64,
    /// Samples that count: both predicted them, and they can be scored.
    pub paired: u64,
    /// Samples that the first failed, and the second.
    pub failed: [u64; 2],
    /// The metrics of the task, in the order of the suite.
    pub metrics: Vec<MetricComparison>,
}

/// How two records compare by one metric.
#[derive(Clone, Debug)]
pub struct MetricComparison {
    /// Id of the metric.
    pub metric: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Values, difference (the second minus the first), interval, tests.
    pub comparison: Comparison,
    /// p-value of randomisation, corrected (Holm) for all metrics of all tasks that were compared.
    pub p_corrected: Option<f64>,
    /// Items that the second does better, those that it does worse, and those that it does as well, each by its own value.
    pub wins: u64,
    /// See [`Self::wins`].
    pub losses: u64,
    /// See [`Self::wins`].
    pub ties: u64,
    /// Items whose value changed, those that lost most first, then those that won most.
    pub flips: Vec<Flip>,
}

impl MetricComparison {
    /// The difference, above 0 where the second is better.
    pub fn gain(&self) -> Option<f64> {
        let sign = if self.higher_is_better { 1.0 } else { -1.0 };
        self.comparison
            .difference
            .map(|difference| sign * difference)
    }
}

/// An item whose value changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Flip {
    /// Its sample; `None` of metrics whose items are not samples (captions that find their image, phrases).
    pub key: Option<SampleKey>,
    /// Its number among the items, from 0.
    pub item: usize,
    /// Its value by the first and by the second.
    pub values: [f64; 2],
}

/// What a task asks.
pub(crate) struct Asked {
    /// The plan of that task alone, without models.
    pub(crate) plan: Plan,
    /// Its files.
    pub(crate) lock: Lock,
    /// Its annotations.
    pub(crate) truth: Truth,
}

/// What is compared.
#[derive(Clone, Copy)]
pub struct Comparing<'a> {
    /// The suite of both records.
    pub plan: &'a Plan,
    /// Where its datasets are.
    pub roots: &'a Roots,
    /// Tables that some metrics need.
    pub resources: &'a Resources,
    /// Most flips that are listed of a metric, of losses and of wins.
    pub flips: usize,
}

impl Comparing<'_> {
    /// Compares `a` with `b` at the tasks of the plan that both have, in the order of the plan.
    pub fn records(
        &self,
        a: &Stored,
        b: &Stored,
        progress: &dyn Progress,
    ) -> Result<Vec<TaskComparison>> {
        let mut all = Vec::new();
        for task in &self.plan.tasks {
            let of = |stored: &Stored| {
                let mut tasks = stored.record.tasks.iter();
                tasks.find(|outcome| outcome.task == task.name).cloned()
            };
            if let (Some(of_a), Some(of_b)) = (of(a), of(b)) {
                progress.message(&task.name);
                all.push(self.task(task, [(a, &of_a), (b, &of_b)], progress)?);
            }
        }
        if all.is_empty() {
            let tasks = |stored: &Stored| {
                let names = stored
                    .record
                    .tasks
                    .iter()
                    .map(|outcome| outcome.task.as_str());
                names.collect::<Vec<_>>().join(", ")
            };
            return Err(Error::NothingToCompare {
                tasks: [tasks(a), tasks(b)],
            });
        }
        correct(all.iter_mut());
        Ok(all)
    }

    /// As [`Self::records`], but what is wrong with one task does not keep the others from being compared.
    pub fn each(
        &self,
        a: &Stored,
        b: &Stored,
        progress: &dyn Progress,
    ) -> Vec<(String, Result<TaskComparison>)> {
        let mut all = Vec::new();
        for task in &self.plan.tasks {
            let of = |stored: &Stored| {
                let mut tasks = stored.record.tasks.iter();
                tasks.find(|outcome| outcome.task == task.name).cloned()
            };
            if let (Some(of_a), Some(of_b)) = (of(a), of(b)) {
                progress.message(&task.name);
                let compared = self.task(task, [(a, &of_a), (b, &of_b)], progress);
                all.push((task.name.clone(), compared));
            }
        }
        correct(
            all.iter_mut()
                .filter_map(|(_, compared)| compared.as_mut().ok()),
        );
        all
    }

    fn task(
        &self,
        task: &PlannedTask,
        both: [(&Stored, &TaskOutcome); 2],
        progress: &dyn Progress,
    ) -> Result<TaskComparison> {
        self.check_protocols(task, both)?;
        let asked = self.asked(task, both[0], progress)?;
        self.pair(task, both, &asked.truth)
    }

    /// Compares two outcomes of one task, whose annotations are `truth`. p-values are not corrected.
    pub(crate) fn pair(
        &self,
        task: &PlannedTask,
        both: [(&Stored, &TaskOutcome); 2],
        truth: &Truth,
    ) -> Result<TaskComparison> {
        self.check_protocols(task, both)?;
        let kind = task::task(&task.kind)?;
        let mut readers = both
            .map(|(stored, outcome)| Reader::of_record(&stored.folder, &stored.record, outcome));
        let [Ok(of_a), Ok(of_b)] = &mut readers else {
            let failed = readers.into_iter().find_map(Result::err);
            return Err(failed.unwrap_or(Error::Stopped));
        };

        let mut observers = [kind.observer(truth), kind.observer(truth)];
        let (mut keys, mut failed) = (Vec::new(), [0; 2]);
        for (number, example) in (0..).zip(&truth.examples) {
            let lines = [
                line_of(of_a, example, number, truth)?,
                line_of(of_b, example, number, truth)?,
            ];
            for (line, failed) in lines.iter().zip(&mut failed) {
                *failed += u64::from(matches!(line.outcome, Outcome::Failed(_)));
            }
            if let Some(key) = observe(&mut observers, lines, example, [of_a, of_b])? {
                keys.push(key);
            }
        }
        check_end(of_a, truth)?;
        check_end(of_b, truth)?;
        for (reader, (stored, outcome)) in readers.into_iter().zip(both) {
            let reader = reader?;
            let path = reader.path().to_owned();
            let (_, found) = reader.finish();
            if found != outcome.predictions.sha256 {
                return Err(Error::OtherThanRecorded {
                    path,
                    record: stored.path.clone(),
                });
            }
        }

        let [a, b] = observers.map(|observer| {
            let mut observations = observer.finish()?;
            observations.set_resources(self.resources.clone());
            Ok::<_, Error>(observations)
        });
        let (a, b) = (a?, b?);
        let metrics = task.metrics.iter();
        let metrics = metrics.map(|id| self.metric(task, id, both, [&a, &b], &keys));
        Ok(TaskComparison {
            task: task.name.clone(),
            dataset: task.dataset.clone(),
            samples: truth.examples.len() as u64,
            paired: keys.len() as u64,
            failed,
            metrics: metrics.collect::<Result<_>>()?,
        })
    }

    /// Refuses outcomes of different questions.
    fn check_protocols(
        &self,
        task: &PlannedTask,
        both: [(&Stored, &TaskOutcome); 2],
    ) -> Result<()> {
        let differ = |what: &'static str| Error::Incomparable {
            task: task.name.clone(),
            what,
        };
        let [(a, of_a), (b, of_b)] = both;
        if of_a.protocol != of_b.protocol {
            return Err(differ(
                "was asked otherwise: another dataset, limit, prompt, decoding or seed",
            ));
        }
        if files(&a.record, &task.dataset) != files(&b.record, &task.dataset) {
            return Err(differ("was asked about other files of the dataset"));
        }
        if self.plan.protocol(task)? != of_a.protocol {
            return Err(Error::OtherProtocol {
                task: task.name.clone(),
            });
        }
        Ok(())
    }

    /// What `task` asks, from the files that the record of an outcome names.
    pub(crate) fn asked(
        &self,
        task: &PlannedTask,
        (stored, outcome): (&Stored, &TaskOutcome),
        progress: &dyn Progress,
    ) -> Result<Asked> {
        if self.plan.protocol(task)? != outcome.protocol {
            return Err(Error::OtherProtocol {
                task: task.name.clone(),
            });
        }
        let mut plan = self.plan.clone();
        plan.models.clear();
        // The annotations of what is asked about are all that scores need.
        plan.datasets.retain(|name, _| *name == task.dataset);
        plan.tasks = vec![PlannedTask {
            models: Vec::new(),
            train: None,
            demonstrations: None,
            ..task.clone()
        }];
        let lock = make_lock(&plan, self.roots, progress)?;
        let recorded = files(&stored.record, &task.dataset);
        for file in &lock.files {
            let is_same = recorded
                .get(file.name.as_str())
                .is_some_and(|it| it.sha256 == file.sha256);
            if !is_same {
                return Err(Error::OtherData {
                    dataset: task.dataset.clone(),
                    file: file.name.clone(),
                });
            }
        }
        let truth = read_truth(&plan, &lock, self.roots, &plan.tasks[0])?;
        Ok(Asked { plan, lock, truth })
    }

    fn metric(
        &self,
        task: &PlannedTask,
        id: &str,
        both: [(&Stored, &TaskOutcome); 2],
        observations: [&Observations; 2],
        keys: &[SampleKey],
    ) -> Result<MetricComparison> {
        let metric = registry::metric(id).map_err(|source| Error::UnknownName { source })?;
        let info = metric.info();
        for (stored, outcome) in both {
            let mut scores = outcome.scores.iter();
            if let Some(score) =
                scores.find(|score| score.metric == id && score.version != info.version)
            {
                return Err(Error::OtherMetric {
                    metric: id.to_owned(),
                    record: stored.path.clone(),
                    versions: [score.version, info.version],
                });
            }
        }
        let [a, b] = observations;
        let comparison = metric.compare(a, b, &bootstrap(self.plan, task, info.input))?;
        let values = metric.per_item(a)?.into_iter().zip(metric.per_item(b)?);
        let values: Vec<Option<[f64; 2]>> = values.map(|(a, b)| Some([a?, b?])).collect();
        let sign = if info.higher_is_better { 1.0 } else { -1.0 };
        let gain = |[a, b]: [f64; 2]| sign * (b - a);
        let are_samples = values.len() == keys.len();
        let mut changed: Vec<Flip> = (0..)
            .zip(&values)
            .filter_map(|(item, values)| Some((item, (*values)?)))
            .filter(|&(_, values)| gain(values) != 0.0)
            .map(|(item, values)| Flip {
                key: are_samples.then(|| keys[item].clone()),
                item,
                values,
            })
            .collect();
        changed.sort_by(|x, y| gain(x.values).total_cmp(&gain(y.values)));
        let losses = changed
            .iter()
            .filter(|flip| gain(flip.values) < 0.0)
            .count();
        let wins = changed.len() - losses;
        let mut flips: Vec<Flip> = changed[..losses.min(self.flips)].to_vec();
        flips.extend(changed[losses..].iter().rev().take(self.flips).cloned());
        Ok(MetricComparison {
            metric: id.to_owned(),
            higher_is_better: info.higher_is_better,
            comparison,
            p_corrected: None,
            wins: wins as u64,
            losses: losses as u64,
            ties: (values.iter().flatten().count() - changed.len()) as u64,
            flips,
        })
    }
}

/// The files of a dataset that a record names.
fn files<'r>(record: &'r Record, dataset: &str) -> BTreeMap<&'r str, &'r File> {
    let owner = owner(dataset);
    let own = record.files.iter().filter(|file| file.owner == owner);
    own.map(|file| (file.name.as_str(), file)).collect()
}

/// Gives both lines to their observers where both are predictions; the key, if they count.
fn observe(
    observers: &mut [Box<dyn task::Observer>; 2],
    [a, b]: [Line; 2],
    example: &Example,
    readers: [&Reader; 2],
) -> Result<Option<SampleKey>> {
    let (Outcome::Predicted(of_a), Outcome::Predicted(of_b)) = (a.outcome, b.outcome) else {
        return Ok(None);
    };
    let mut counts = true;
    for ((observer, prediction), reader) in observers.iter_mut().zip([of_a, of_b]).zip(readers) {
        let verdict = observer.add(prediction, example);
        let verdict = verdict.map_err(|problem| reader.refuse(problem))?;
        counts &= verdict == Verdict::Scored;
    }
    Ok(counts.then_some(a.key))
}

/// Corrects the p-values for their number.
fn correct<'t>(tasks: impl Iterator<Item = &'t mut TaskComparison>) {
    let mut tested: Vec<&mut MetricComparison> = tasks
        .flat_map(|task| &mut task.metrics)
        .filter(|one| one.comparison.p_randomisation.is_some())
        .collect();
    let p_values: Vec<f64> = tested
        .iter()
        .filter_map(|one| one.comparison.p_randomisation)
        .collect();
    for (one, p) in tested
        .iter_mut()
        .zip(sightline_core::statistics::holm(&p_values))
    {
        one.p_corrected = Some(p);
    }
}
