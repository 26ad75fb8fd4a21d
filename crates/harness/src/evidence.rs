//! What the board shows beside records: tests between the models of a task, and single samples with what each model said.
//!
//! Everything is computed from predictions, annotations and the dataset's images, never from a model. What is not there any
//! more is said in a sentence, and the rest is made without it.

mod words;

use sightline_core::{Progress, SampleKey};
use sightline_manifest::{Plan, PlannedTask, Roots};
use sightline_metrics::{Resources, registry};
use sightline_report::Stored;
use sightline_report::evidence::{Answer, Pair, PairMetric, Said, Shown, TaskEvidence, Thumbnail};
use sightline_report::record::TaskOutcome;

use self::words::Words;
use crate::compare::{Asked, Comparing, MetricComparison};
use crate::dataset::{Dataset, IMAGE, Read, locked_paths};
use crate::predictions::{Outcome, Reader};
use crate::score::{check_end, line_of};
use crate::task::{self, Verdict};
use crate::visuals::Library;
use crate::{Error, Result};

/// Flips of a pair that are listed, of losses and of wins.
const FLIPS: usize = 5;
/// Every third sample that is shown is one on which the models differ.
const DIFFERING: usize = 3;
/// Most images of a sample that are shown.
const IMAGES: usize = 4;

/// Makes an image file small, or says why not.
pub type Thumbnailer<'a> = &'a dyn Fn(&[u8]) -> Result<Thumbnail, String>;

/// What is looked at, and how closely.
#[derive(Clone, Copy)]
pub struct Looking<'a> {
    /// The suite of the records.
    pub plan: &'a Plan,
    /// Where its datasets are.
    pub roots: &'a Roots,
    /// Tables that some metrics need.
    pub resources: &'a Resources,
    /// Most samples that are shown.
    pub samples: usize,
    /// Up to so many models every pair is compared; of more, each with the next.
    pub all_pairs: usize,
}

/// A row of a table: a record and what it says about the task.
type Row<'a> = (&'a Stored, &'a TaskOutcome);

/// What one record's predictions came to, example by example.
struct Column {
    verdicts: Vec<Said>,
    /// For each metric whose items are samples the value of each example.
    values: Vec<(String, Vec<Option<f64>>)>,
}

impl Looking<'_> {
    /// Looks at `rows`, the outcomes of `task` that stand in one table, best first.
    pub fn table(
        &self,
        task: &str,
        rows: &[Row<'_>],
        thumbnail: Thumbnailer<'_>,
        progress: &dyn Progress,
    ) -> TaskEvidence {
        let mut evidence = TaskEvidence {
            suite: self.plan.suite.clone(),
            task: task.to_owned(),
            ..TaskEvidence::default()
        };
        let Some(planned) = self.plan.tasks.iter().find(|planned| planned.name == task) else {
            let problem = format!("The suite has no task `{task}` any more.");
            evidence.problems.push(problem);
            return evidence;
        };
        if let Err(error) = self.fill(&mut evidence, planned, rows, thumbnail, progress) {
            evidence.problems.push(sentence(&error));
        }
        evidence
    }

    fn fill(
        &self,
        evidence: &mut TaskEvidence,
        task: &PlannedTask,
        rows: &[Row<'_>],
        thumbnail: Thumbnailer<'_>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Some(first) = rows.first() else {
            return Ok(());
        };
        progress.message(&format!("{}: samples and tests", task.name));
        let comparing = Comparing {
            plan: self.plan,
            roots: self.roots,
            resources: self.resources,
            flips: FLIPS,
        };
        let asked = comparing.asked(task, *first, progress)?;
        evidence.of_samples = asked.truth.examples.len() as u64;

        let mut columns: Vec<(Row<'_>, Column)> = Vec::new();
        for &row in rows {
            match self.column(task, row, &asked) {
                Ok(column) => columns.push((row, column)),
                Err(error) => {
                    let model = &row.0.record.model.name;
                    let problem = format!(
                        "{model} is not tested and has no samples here: {}",
                        sentence(&error)
                    );
                    evidence.problems.push(problem);
                }
            }
        }

        let all = columns.len() <= self.all_pairs;
        for (at, (a, _)) in columns.iter().enumerate() {
            let others = columns[at + 1..]
                .iter()
                .take(if all { usize::MAX } else { 1 });
            for (b, _) in others {
                let pair = comparing.pair(task, [*a, *b], &asked.truth)?;
                evidence.pairs.push(Pair {
                    records: [a.0.id, b.0.id],
                    paired: pair.paired,
                    metrics: pair.metrics.iter().map(pair_metric).collect(),
                });
            }
        }
        if !all {
            evidence.problems.push(format!(
                "Of {} models each is compared with the next one only; `sightline compare A B` compares any two.",
                columns.len()
            ));
        }

        let first: Vec<&[Option<f64>]> = columns
            .iter()
            .filter_map(|(_, column)| Some(&column.values.first()?.1[..]))
            .collect();
        let chosen = choose(&first, asked.truth.examples.len(), self.samples);
        evidence.chosen = format!(
            "{} of {} samples: one in {} or so through the dataset, and those on which the models differ most.",
            chosen.len(),
            asked.truth.examples.len(),
            (asked.truth.examples.len() / self.samples.max(1)).max(1),
        );
        if chosen.len() == asked.truth.examples.len() {
            "All samples.".clone_into(&mut evidence.chosen);
        }
        evidence.samples = self.samples(task, &asked, &columns, &chosen, thumbnail)?;
        Ok(())
    }

    /// Reads a record's predictions to their end and scores each sample alone.
    fn column(
        &self,
        task: &PlannedTask,
        (stored, outcome): Row<'_>,
        asked: &Asked,
    ) -> Result<Column> {
        let kind = task::task(&task.kind)?;
        let mut reader = Reader::of_record(&stored.folder, &stored.record, outcome)?;
        let mut observer = kind.observer(&asked.truth);
        let mut verdicts = Vec::new();
        let mut scored: Vec<usize> = Vec::new();
        for (number, example) in asked.truth.examples.iter().enumerate() {
            let line = line_of(&mut reader, example, number as u64, &asked.truth)?;
            verdicts.push(match line.outcome {
                Outcome::Failed(why) => Said::Failed(why),
                Outcome::Skipped(why) => Said::Skipped(why),
                Outcome::Predicted(prediction) => {
                    let verdict = observer.add(prediction, example);
                    match verdict.map_err(|problem| reader.refuse(problem))? {
                        Verdict::Skipped(why) => Said::Skipped(why.to_owned()),
                        Verdict::Scored => {
                            scored.push(number);
                            Said::This(String::new())
                        }
                    }
                }
            });
        }
        check_end(&mut reader, &asked.truth)?;
        let path = reader.path().to_owned();
        if reader.finish().1 != outcome.predictions.sha256 {
            let record = stored.path.clone();
            return Err(Error::OtherThanRecorded { path, record });
        }
        let mut observations = observer.finish()?;
        observations.set_resources(self.resources.clone());
        let mut values = Vec::new();
        for id in &task.metrics {
            let metric = registry::metric(id).map_err(|source| Error::UnknownName { source })?;
            let own = metric.per_item(&observations)?;
            if own.len() != scored.len() {
                continue; // Its items are captions or phrases.
            }
            let mut all = vec![None; asked.truth.examples.len()];
            for (&number, value) in scored.iter().zip(own) {
                all[number] = value;
            }
            values.push((id.clone(), all));
        }
        Ok(Column { verdicts, values })
    }

    fn samples(
        &self,
        task: &PlannedTask,
        asked: &Asked,
        columns: &[(Row<'_>, Column)],
        chosen: &[(usize, bool)],
        thumbnail: Thumbnailer<'_>,
    ) -> Result<Vec<Shown>> {
        let dataset = Dataset::open(&asked.plan, &asked.lock, self.roots, task)?;
        let mut words: Vec<Words> = Vec::new();
        for ((stored, outcome), _) in columns {
            let mut reader = Reader::of_record(&stored.folder, &stored.record, outcome)?;
            words.push(Words::read(
                &mut reader,
                asked,
                chosen,
                &dataset.classes.names,
            )?);
        }
        let library = Images::of(asked, self.roots, task)?;
        let mut wanted = chosen.iter().copied().peekable();
        let mut shown = Vec::with_capacity(chosen.len());
        for (number, read) in dataset.examples(task.limit).enumerate() {
            let Some(&(next, differs)) = wanted.peek() else {
                break;
            };
            let Read { example, image } = read?;
            if number != next {
                continue;
            }
            wanted.next();
            let answers = columns
                .iter()
                .zip(&words)
                .map(|(((stored, _), column), words)| Answer {
                    record: stored.id,
                    said: match &column.verdicts[number] {
                        Said::This(_) => Said::This(words.of(number)),
                        other => other.clone(),
                    },
                    values: column
                        .values
                        .iter()
                        .filter_map(|(metric, values)| Some((metric.clone(), values[number]?)))
                        .collect(),
                });
            let images = match image {
                Some(bytes) => vec![thumbnail(&bytes)],
                None => library.pictures(&example.images, thumbnail),
            };
            shown.push(Shown {
                key: example.key.to_string(),
                differs,
                images,
                asked: words::asked(&example.content),
                references: words::references(&example.content, &dataset.classes.names),
                answers: answers.collect(),
            });
        }
        Ok(shown)
    }
}

/// The image files of a dataset that keeps them apart from its annotations.
enum Images {
    None(&'static str),
    Files(Library),
}

impl Images {
    fn of(asked: &Asked, roots: &Roots, task: &PlannedTask) -> Result<Self> {
        let Some(planned) = asked.plan.datasets.get(&task.dataset) else {
            return Ok(Self::None("the dataset has no images"));
        };
        let Some(place) = &planned.images else {
            return Ok(Self::None("the dataset has no image files"));
        };
        let paths = locked_paths(&asked.lock, roots, &task.dataset, IMAGE, place)?;
        Ok(Self::Files(Library::files(&task.dataset, paths)?))
    }

    fn pictures(
        &self,
        names: &[String],
        thumbnail: Thumbnailer<'_>,
    ) -> Vec<Result<Thumbnail, String>> {
        let names = names.iter().take(IMAGES);
        let library = match self {
            Self::Files(library) => library,
            Self::None(why) => return names.map(|_| Err((*why).to_owned())).collect(),
        };
        names
            .map(|name| match library.bytes(name) {
                Ok(bytes) => thumbnail(&bytes),
                Err(Outcome::Failed(why) | Outcome::Skipped(why)) => Err(why),
                Err(Outcome::Predicted(_)) => Err("no image".to_owned()),
            })
            .collect()
    }
}

/// The numbers of `most` of `all` samples, in order, and whether one was chosen because the models differ on it: a third of
/// them are those with the largest differences of the first metric that samples have, the others lie evenly.
fn choose(columns: &[&[Option<f64>]], all: usize, most: usize) -> Vec<(usize, bool)> {
    if all <= most {
        return (0..all).map(|number| (number, false)).collect();
    }
    let spread = |number: usize| -> f64 {
        let values = columns.iter().filter_map(|values| values[number]);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        (high - low).max(0.0)
    };
    let mut by_spread: Vec<(f64, usize)> =
        (0..all).map(|number| (spread(number), number)).collect();
    by_spread.retain(|(spread, _)| *spread > 0.0 && spread.is_finite());
    by_spread.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    by_spread.truncate(most / DIFFERING);
    let mut chosen: Vec<(usize, bool)> = by_spread.iter().map(|&(_, n)| (n, true)).collect();
    let rest: Vec<usize> = (0..all)
        .filter(|&number| !chosen.contains(&(number, true)))
        .collect();
    let even = most - chosen.len();
    chosen.extend((0..even).map(|at| (rest[at * rest.len() / even], false)));
    chosen.sort_unstable();
    chosen
}

fn pair_metric(one: &MetricComparison) -> PairMetric {
    let of = &one.comparison;
    let named = one.flips.iter().filter_map(|flip| {
        let key = flip.key.as_ref().map(SampleKey::to_string)?;
        Some((key, flip.values))
    });
    PairMetric {
        metric: one.metric.clone(),
        higher_is_better: one.higher_is_better,
        values: [of.a, of.b],
        difference: of.difference,
        interval: of.interval.map(|ends| [ends.low, ends.high]),
        p: of.p_randomisation,
        wins: one.wins,
        losses: one.losses,
        ties: one.ties,
        flips: named.collect(),
    }
}

/// The messages of `error` and its causes as one sentence.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let message = source.to_string();
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = source.source();
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_samples_lie_evenly_and_some_are_those_on_which_models_differ() {
        let equal = vec![Some(0.0); 100];
        let mut other = equal.clone();
        other[41] = Some(1.0);
        other[7] = Some(0.5);
        other[8] = None;
        let columns = [&equal[..], &other[..]];
        let chosen = choose(&columns, 100, 12);
        assert!(
            chosen.contains(&(41, true)) && chosen.contains(&(7, true)),
            "{chosen:?}"
        );
        assert!(chosen.len() == 12 && chosen.is_sorted(), "{chosen:?}");
        assert!(
            chosen.iter().filter(|(_, differs)| !differs).count() >= 9,
            "{chosen:?}"
        );
        assert_eq!(choose(&columns, 5, 12).len(), 5);
        assert_eq!(choose(&columns, 5, 0).len(), 0);
    }
}
