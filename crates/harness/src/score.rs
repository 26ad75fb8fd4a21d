//! From a predictions file and a dataset's annotations to scores. No model, no image, no network.

use std::collections::BTreeMap;

use sightline_core::Digest;
use sightline_manifest::{Plan, PlannedTask};
use sightline_metrics::{
    Bootstrap, Input, Method, Observations, Outcome as MetricOutcome, Resources, registry,
};
use sightline_report::record::{Counts, Interval, Score};

use crate::error::LineProblem;
use crate::example::{Example, Truth};
use crate::predictions::{Line, Outcome, Reader};
use crate::task::{self, Verdict};
use crate::{Error, Result};

/// How intervals are made. Percentiles never leave the range of a metric, which matters for shares near
/// 0 and 1.
const METHOD: Method = Method::Percentile;

/// Scores and what they count.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// What became of every sample.
    pub counts: Counts,
    /// Reasons of failed and skipped samples, with how many had each.
    pub reasons: BTreeMap<String, u64>,
    /// Scores in the order of the task's metrics.
    pub scores: Vec<Score>,
    /// Lines of the predictions file, the header included.
    pub lines: u64,
    /// Digest of the predictions file.
    pub sha256: Digest,
}

/// Scores the `predictions` of `task` against `truth`. There must be one line for each example, in order. `resources`
/// are what some metrics need beside them.
pub fn score(
    plan: &Plan,
    task: &PlannedTask,
    mut predictions: Reader,
    truth: &Truth,
    resources: &Resources,
) -> Result<Scored> {
    let mut observer = task::task(&task.kind)?.observer(truth);
    let mut counts = Counts::default();
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for example in &truth.examples {
        let line = line_of(&mut predictions, example, counts.attempted, truth)?;
        counts.attempted += 1;
        let mut reason = |text: String| *reasons.entry(text).or_default() += 1;
        match line.outcome {
            Outcome::Predicted(prediction) => match observer.add(prediction, example) {
                Ok(Verdict::Scored) => counts.scored += 1,
                Ok(Verdict::Skipped(why)) => {
                    counts.skipped += 1;
                    reason(why.to_owned());
                }
                Err(problem) => return Err(predictions.refuse(problem)),
            },
            Outcome::Failed(why) => {
                counts.failed += 1;
                reason(why);
            }
            Outcome::Skipped(why) => {
                counts.skipped += 1;
                reason(why);
            }
        }
    }
    check_end(&mut predictions, truth)?;

    let mut observations = observer.finish()?;
    observations.set_resources(resources.clone());
    let scores = task
        .metrics
        .iter()
        .map(|id| score_of(plan, task, id, &observations))
        .collect::<Result<_>>()?;
    let (lines, sha256) = predictions.finish();
    Ok(Scored {
        counts,
        reasons,
        scores,
        lines,
        sha256,
    })
}

/// The line of `example`, the `number`-th from 0.
pub(crate) fn line_of(
    predictions: &mut Reader,
    example: &Example,
    number: u64,
    truth: &Truth,
) -> Result<Line> {
    let Some(line) = predictions.next_line()? else {
        return Err(predictions.refuse(LineProblem::Count {
            found: number,
            expected: truth.examples.len() as u64,
        }));
    };
    if line.key != example.key {
        return Err(predictions.refuse(LineProblem::Key {
            found: line.key.to_string(),
            expected: example.key.to_string(),
        }));
    }
    Ok(line)
}

/// Refuses lines behind those of all examples.
pub(crate) fn check_end(predictions: &mut Reader, truth: &Truth) -> Result<()> {
    let expected = truth.examples.len() as u64;
    match predictions.next_line()? {
        None => Ok(()),
        Some(_) => Err(predictions.refuse(LineProblem::Count {
            found: expected + 1,
            expected,
        })),
    }
}

/// How intervals of a task's metrics of `input` are made: the same for every model and every metric of the same items, so
/// that resamples can be paired.
pub(crate) fn bootstrap(plan: &Plan, task: &PlannedTask, input: Input) -> Bootstrap {
    let seed = plan.seed.child("bootstrap", 0).child(&task.name, 0);
    Bootstrap {
        resamples: plan.bootstrap.resamples,
        confidence: plan.bootstrap.confidence,
        method: METHOD,
        seed: seed.child(input.name(), 0),
    }
}

fn score_of(
    plan: &Plan,
    task: &PlannedTask,
    id: &str,
    observations: &Observations,
) -> Result<Score> {
    let metric = registry::metric(id).map_err(|source| Error::UnknownName { source })?;
    let info = metric.info();
    let settings = bootstrap(plan, task, info.input);
    let MetricOutcome {
        value,
        interval,
        standard_error: _,
        items,
        ties,
        undefined: _,
    } = metric.evaluate(observations, Some(&settings))?;
    Ok(Score {
        metric: info.id.to_owned(),
        version: info.version,
        value,
        interval: interval.map(|ends| Interval {
            low: ends.low,
            high: ends.high,
            confidence: settings.confidence,
            resamples: settings.resamples,
            method: METHOD.name().to_owned(),
        }),
        range: info.range,
        higher_is_better: info.higher_is_better,
        items,
        ties,
    })
}
