//! Demonstrations: examples of another dataset that a model is shown before each question.
//!
//! Which ones is a function of the question's key and of seeds, or of its image and theirs, and of nothing else: not of
//! the batch, the order or the number of devices.
//!
//! - The pool: all samples of the dataset that can be shown, or `pool` of them, drawn by their keys.
//! - `random`: `shots` of the pool without repetition, drawn by the question's key.
//! - `nearest`: those whose images another model's embeddings find the likest (RICES, Yang et al. 2022), the likest last,
//!   as OpenFlamingo has it; equal ones in the order of the dataset.
//!
//! A sample with the key of the question is never shown.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use rayon::prelude::*;
use sightline_core::{SampleKey, Seed};
use sightline_manifest::PlannedDemonstrations;
use sightline_metrics::similarity::dot;

use crate::dataset::{Dataset, Read};
use crate::example::Example;
use crate::task::{Shot, Task};
use crate::visuals::Library;
use crate::{Error, Result};

/// Bytes of image files that are held where shards hold them.
const MAX_HELD_BYTES: usize = 8 << 30;

/// Examples to be shown, and which ones before which question.
pub(crate) struct Demonstrations {
    /// Name of their dataset.
    pub(crate) dataset: String,
    /// Their images.
    pub(crate) library: Library,
    pool: Vec<Shown>,
    seed: Seed,
    shots: usize,
    texts: usize,
    nearest: Option<HashMap<SampleKey, Vec<u32>>>,
}

/// An example to be shown.
pub(crate) struct Shown {
    key: SampleKey,
    /// Names of its images.
    pub(crate) images: Vec<String>,
    /// The file of its image, where shards hold it.
    pub(crate) bytes: Option<Bytes>,
    /// What it says.
    pub(crate) shot: Shot,
}

/// The embeddings of images by key, of unit length.
pub(crate) type Embedded = Vec<(SampleKey, Vec<f32>)>;

impl Demonstrations {
    /// Reads the pool. `embedded` are the images of the pool's dataset and of the questions as the model embeds them that
    /// chooses the nearest ones.
    pub(crate) fn read(
        planned: &PlannedDemonstrations,
        task: &dyn Task,
        dataset: &Dataset,
        library: Library,
        seed: Seed,
        embedded: Option<(Embedded, Embedded)>,
    ) -> Result<Self> {
        let mut pool: Vec<Shown> = Vec::new();
        let mut seen = HashSet::new();
        for read in dataset.examples(None) {
            let Read { example, image } = read?;
            let is_there = !matches!(library, Library::Shards) || image.is_some();
            if let Some(shot) = task.demonstration(&example.content)
                && is_there
                && seen.insert(example.key.clone())
            {
                let Example { key, images, .. } = example;
                pool.push(Shown {
                    key,
                    images,
                    bytes: None,
                    shot,
                });
            }
        }
        if let Some(most) = planned.pool {
            pool = drawn(pool, most as usize, seed.child("pool", 0));
        }
        let mut all = Self {
            dataset: dataset.name.clone(),
            library,
            pool,
            seed: seed.child("shots", 0),
            shots: planned.shots as usize,
            texts: planned.texts.unwrap_or(0) as usize,
            nearest: None,
        };
        let wanted = all.shots.max(all.texts);
        if all.pool.len() <= wanted {
            return Err(Error::FewDemonstrations {
                dataset: all.dataset,
                found: all.pool.len(),
                wanted,
            });
        }
        if let Some((theirs, questions)) = embedded {
            all.nearest = Some(all.find_nearest(&theirs, &questions));
        }
        if matches!(all.library, Library::Shards) && all.shots > 0 {
            all.hold_images(dataset)?;
        }
        Ok(all)
    }

    /// What stands before the question of that key, and whether images are shown.
    pub(crate) fn of(&self, key: &SampleKey) -> (Vec<&Shown>, bool) {
        let count = if self.shots == 0 {
            self.texts
        } else {
            self.shots
        };
        let numbers: Vec<usize> = match self.nearest.as_ref().map(|nearest| nearest.get(key)) {
            Some(Some(numbers)) => numbers.iter().map(|&number| number as usize).collect(),
            // The question's own image could not be embedded: it fails, whatever stands before it.
            Some(None) | None => self.random(key, count),
        };
        let shown = numbers.into_iter().map(|number| &self.pool[number]);
        (shown.collect(), self.shots > 0)
    }

    fn random(&self, key: &SampleKey, count: usize) -> Vec<usize> {
        let mut rng = self.seed.child(key.as_str(), 0).rng();
        let mut numbers: Vec<usize> = Vec::with_capacity(count);
        let others = self.pool.iter().filter(|shown| shown.key != *key).count();
        while numbers.len() < count.min(others) {
            let number = rng.below(self.pool.len() as u64) as usize;
            if self.pool[number].key != *key && !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        numbers
    }

    /// For each question the pool's nearest, the likest last.
    fn find_nearest(
        &self,
        theirs: &Embedded,
        questions: &Embedded,
    ) -> HashMap<SampleKey, Vec<u32>> {
        let count = if self.shots == 0 {
            self.texts
        } else {
            self.shots
        };
        let by_key: HashMap<&SampleKey, &Vec<f32>> =
            theirs.iter().map(|(key, vector)| (key, vector)).collect();
        let pool: Vec<(u32, &Shown, &Vec<f32>)> = (0..)
            .zip(&self.pool)
            .filter_map(|(number, shown)| Some((number, shown, *by_key.get(&shown.key)?)))
            .collect();
        questions
            .par_iter()
            .map(|(key, question)| {
                let mut near: Vec<(f32, u32)> = pool
                    .iter()
                    .filter(|(_, shown, _)| shown.key != *key)
                    .map(|(number, _, vector)| (dot(question, vector), *number))
                    .collect();
                let order = |a: &(f32, u32), b: &(f32, u32)| {
                    let by_likeness = b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal);
                    by_likeness.then(a.1.cmp(&b.1))
                };
                if near.len() > count && count > 0 {
                    near.select_nth_unstable_by(count - 1, order);
                }
                near.truncate(count);
                near.sort_by(order);
                let numbers = near.into_iter().rev().map(|(_, number)| number);
                (key.clone(), numbers.collect())
            })
            .collect()
    }

    /// Reads the images of all that may be shown out of their shards.
    fn hold_images(&mut self, dataset: &Dataset) -> Result<()> {
        let needed: Option<HashSet<u32>> = self
            .nearest
            .as_ref()
            .map(|nearest| nearest.values().flatten().copied().collect());
        let mut places: HashMap<SampleKey, usize> = HashMap::new();
        for (number, shown) in self.pool.iter().enumerate() {
            if needed
                .as_ref()
                .is_none_or(|all| all.contains(&(number as u32)))
            {
                places.insert(shown.key.clone(), number);
            }
        }
        let mut held = 0;
        for read in dataset.examples(None) {
            let Read { example, image } = read?;
            // The first of two samples with one key is the one that is shown.
            if let Some(image) = image
                && let Some(number) = places.remove(&example.key)
            {
                held += image.len();
                if held > MAX_HELD_BYTES {
                    return Err(Error::ManyDemonstrations {
                        dataset: self.dataset.clone(),
                        limit: MAX_HELD_BYTES,
                    });
                }
                self.pool[number].bytes = Some(image);
            }
        }
        Ok(())
    }
}

/// `most` of the pool, drawn by their keys, in the order of the dataset.
fn drawn(pool: Vec<Shown>, most: usize, seed: Seed) -> Vec<Shown> {
    let mut order: Vec<(u64, usize)> = pool
        .iter()
        .map(|shown| seed.child(shown.key.as_str(), 0).rng().bits())
        .zip(0..)
        .collect();
    order.sort_unstable();
    order.truncate(most);
    let kept: HashSet<usize> = order.into_iter().map(|(_, number)| number).collect();
    let numbered = pool.into_iter().enumerate();
    let kept = numbered.filter(|(number, _)| kept.contains(number));
    kept.map(|(_, shown)| shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> SampleKey {
        SampleKey::new(name).unwrap()
    }

    fn shown(names: &[&str]) -> Vec<Shown> {
        let one = |name: &&str| Shown {
            key: key(name),
            images: vec![(*name).to_owned()],
            bytes: None,
            shot: Shot {
                text: String::new(),
                answer: (*name).to_owned(),
            },
        };
        names.iter().map(one).collect()
    }

    fn of(pool: Vec<Shown>, shots: usize, seed: u64) -> Demonstrations {
        Demonstrations {
            dataset: "pool".to_owned(),
            library: Library::Shards,
            pool,
            seed: Seed(seed),
            shots,
            texts: 2,
            nearest: None,
        }
    }

    fn answers(all: &Demonstrations, of: &str) -> Vec<String> {
        let (shown, _) = all.of(&key(of));
        shown
            .iter()
            .map(|shown| shown.shot.answer.clone())
            .collect()
    }

    #[test]
    fn random_ones_are_different_and_a_function_of_the_key_and_the_seed() {
        let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all = of(shown(&names), 8, 1);
        for question in ["q", "r", "7"] {
            let found = answers(&all, question);
            assert_eq!(found, answers(&all, question));
            assert_eq!(found.iter().collect::<HashSet<_>>().len(), 8, "{found:?}");
            assert!(!found.contains(&question.to_owned()), "{found:?}");
        }
        assert_ne!(answers(&all, "q"), answers(&all, "r"));
        assert_ne!(answers(&all, "q"), answers(&of(shown(&names), 8, 2), "q"));
        let texts = of(shown(&names), 0, 1);
        let (none, has_images) = texts.of(&key("q"));
        assert_eq!((none.len(), has_images), (2, false));
    }

    #[test]
    fn the_nearest_come_last_and_never_the_question_itself() {
        let mut all = of(shown(&["a", "b", "c", "d"]), 2, 1);
        let theirs = vec![
            (key("a"), vec![1.0, 0.0]),
            (key("b"), vec![0.0, 1.0]),
            (key("c"), vec![0.6, 0.8]),
            (key("d"), vec![0.6, 0.8]),
        ];
        let questions = vec![(key("q"), vec![0.0, 1.0]), (key("b"), vec![0.0, 1.0])];
        all.nearest = Some(all.find_nearest(&theirs, &questions));
        assert_eq!(answers(&all, "q"), ["c", "b"]);
        assert_eq!(answers(&all, "b"), ["d", "c"]);
    }

    #[test]
    fn a_pool_is_drawn_by_keys_and_keeps_its_order() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let kept = |seed| -> Vec<String> {
            let kept = drawn(shown(&names), 3, Seed(seed)).into_iter();
            kept.map(|shown| shown.key.to_string()).collect()
        };
        assert_eq!(kept(1), kept(1));
        assert!(kept(1).is_sorted() && kept(1).len() == 3);
        assert!((2..20).any(|seed| kept(seed) != kept(1)));
    }
}
