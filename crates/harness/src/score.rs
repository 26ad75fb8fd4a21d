//! From a predictions file and a dataset's annotations to scores. No model, no image, no network.

use std::collections::BTreeMap;

use sightline_core::{Digest, Seed};
use sightline_manifest::{Plan, PlannedTask};
use sightline_metrics::{
    Bootstrap, Method, Observations, Outcome as MetricOutcome, Resources, registry,
};
use sightline_report::record::{Counts, Interval, Score};

use crate::error::LineProblem;
use crate::example::Truth;
use crate::predictions::{Outcome, Reader};
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
    let mut examples = truth.examples.iter();
    while let Some(line) = predictions.next_line()? {
        let Some(example) = examples.next() else {
            return Err(predictions.refuse(LineProblem::Count {
                found: counts.attempted + 1,
                expected: counts.attempted,
            }));
        };
        if line.key != example.key {
            return Err(predictions.refuse(LineProblem::Key {
                found: line.key.to_string(),
                expected: example.key.to_string(),
            }));
        }
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
    if examples.next().is_some() {
        return Err(predictions.refuse(LineProblem::Count {
            found: counts.attempted,
            expected: truth.examples.len() as u64,
        }));
    }

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

fn score_of(
    plan: &Plan,
    task: &PlannedTask,
    id: &str,
    observations: &Observations,
) -> Result<Score> {
    let metric = registry::metric(id).map_err(|source| Error::UnknownName { source })?;
    let info = metric.info();
    let settings = Bootstrap {
        resamples: plan.bootstrap.resamples,
        confidence: plan.bootstrap.confidence,
        method: METHOD,
        seed: seed(plan.seed, &task.name, info.input.name()),
    };
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

/// The same for every model and every metric of the same items, so that resamples can be paired.
fn seed(plan: Seed, task: &str, input: &str) -> Seed {
    plan.child("bootstrap", 0).child(task, 0).child(input, 0)
}
