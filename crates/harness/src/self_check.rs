//! A few examples of a task asked again in other ways that must change nothing: other batches, orders and numbers of
//! threads.

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc;

use candle_core::Device;
use rayon::ThreadPoolBuilder;
use sightline_core::{SampleKey, Seed};
use sightline_report::record::SelfCheck;

use crate::batches::{AHEAD, Feed};
use crate::dataset::Dataset;
use crate::execute::{At, Run};
use crate::models::Loaded;
use crate::predictions::{Outcome, Reader};
use crate::task::{self, Work};
use crate::{Error, Result};

/// Another way to ask the same.
struct Way {
    words: &'static str,
    /// Examples at once; `None` for all.
    batch: Option<usize>,
    order: Order,
    /// `None` for as many threads as there are cores.
    threads: Option<usize>,
}

enum Order {
    Same,
    Backwards,
    Shuffled,
}

const WAYS: [Way; 3] = [
    Way {
        words: "one by one, on one thread",
        batch: Some(1),
        order: Order::Same,
        threads: Some(1),
    },
    Way {
        words: "backwards in batches of 7, on three threads",
        batch: Some(7),
        order: Order::Backwards,
        threads: Some(3),
    },
    Way {
        words: "shuffled in one batch, on all threads",
        batch: None,
        order: Order::Shuffled,
        threads: None,
    },
];

impl Run<'_> {
    /// Whether the first examples of a task, of which all predictions are there, have the same answers in every way.
    pub(crate) fn self_check(
        &self,
        at: At<'_>,
        loaded: &Loaded,
        device: &Device,
    ) -> Result<SelfCheck> {
        let most = self.options.self_check;
        let kind = task::task(&at.task.kind)?;
        let dataset = Dataset::open(self.plan, self.lock, self.roots, at.task)?;
        let way = at.planned.way(kind, &at.task.name, &self.lock.adapters)?;
        let beside = self.beside(at, loaded, device, &dataset)?;
        let setting = self.setting(at, loaded, &dataset, way, &beside)?;
        let library = dataset.library(loaded.model.input())?;
        let feed = Feed {
            dataset: &dataset,
            task: kind,
            library: &library,
            preparer: &loaded.preparer,
            model: at.planned.name,
            batch_size: most,
            limit: Some(at.task.limit.unwrap_or(u64::MAX).min(most as u64)),
            part: None,
            known: &HashMap::new(),
            cache: None,
            done: &[],
            path: at.path,
            shown: beside.shown.as_ref(),
            stop: self.stop,
        };
        let (sender, receiver) = mpsc::sync_channel(AHEAD);
        // One batch holds all of it, which the channel has room for.
        feed.run(&sender)?;
        drop(sender);
        let items = receiver.into_iter().flat_map(|batch| batch.items);
        let works: Vec<(SampleKey, Work)> = items
            .filter_map(|item| Some((item.key, item.work.ok()?)))
            .collect();

        let mut told: HashMap<SampleKey, String> = HashMap::new();
        let mut reader = Reader::open(at.path, at.header)?;
        for _ in 0..most {
            let Some(line) = reader.next_line()? else {
                break;
            };
            told.insert(line.key, text(&line.outcome));
        }
        let mut differing = BTreeSet::new();
        for other in &WAYS {
            let order = other.order.of(works.len(), self.plan.seed);
            let mut asked = Vec::with_capacity(works.len());
            let ask = || -> Result<Vec<Outcome>> {
                let forward = self.forward(at, loaded, &dataset, device);
                let mut predictor = kind.predictor(forward, way, &setting)?;
                let mut outcomes = Vec::with_capacity(works.len());
                for part in order.chunks(other.batch.unwrap_or(most).max(1)) {
                    let batch = part.iter().map(|&at| works[at].1.clone()).collect();
                    outcomes.extend(predictor.predict(batch)?);
                }
                Ok(outcomes)
            };
            let outcomes = match other.threads {
                None => ask()?,
                Some(threads) => {
                    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
                    let pool = pool.map_err(|error| Error::Io {
                        path: at.path.to_owned(),
                        source: std::io::Error::other(error),
                    })?;
                    pool.install(ask)?
                }
            };
            asked.extend(order.iter().zip(outcomes));
            for (&number, outcome) in asked {
                let key = &works[number].0;
                if told.get(key) != Some(&text(&outcome)) {
                    differing.insert(key.to_string());
                }
            }
        }
        Ok(SelfCheck {
            examples: works.len() as u64,
            ways: WAYS.iter().map(|way| way.words.to_owned()).collect(),
            differing: differing.into_iter().collect(),
        })
    }
}

impl Order {
    /// The numbers below `count` in this order.
    fn of(&self, count: usize, seed: Seed) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        match self {
            Self::Same => {}
            Self::Backwards => all.reverse(),
            Self::Shuffled => seed.child("self-check", 0).rng().shuffle(&mut all),
        }
        all
    }
}

/// An outcome as its line has it.
fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Predicted(value) => value.to_string(),
        Outcome::Failed(reason) => format!("failed: {reason}"),
        Outcome::Skipped(reason) => format!("skipped: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_every_number_once() {
        for order in [Order::Same, Order::Backwards, Order::Shuffled] {
            let mut all = order.of(33, Seed(1));
            all.sort_unstable();
            assert!(all.into_iter().eq(0..33));
        }
        assert_ne!(Order::Shuffled.of(33, Seed(1)), Order::Same.of(33, Seed(1)));
    }
}
