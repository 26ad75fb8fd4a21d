//! Turns a network that predicts the next token into sequences.
//!
//! A [`Network`] continues many sequences, its *rows*, by a token each and says how likely every token is to come
//! next. A [`Search`] is the rule by which one prompt is continued: it sees the predictions for its own rows and
//! chooses which go on with which token. [`run`] does the rest for a batch of prompts: it asks the network about all
//! rows at once, puts its memory in the chosen order and drops prompts that have ended. So no rule knows of batches
//! or caches, no network knows of rules, and a result does not depend on what else is in the batch.
//!
//! | rule | source |
//! | --- | --- |
//! | [`Greedy`] | always the most likely token |
//! | [`NodeBeam`] | AllenNLP's beam search: each hypothesis proposes its few best continuations; VirTex's with [`NodeBeam::forbid_repeats`] |
//! | [`LengthBeam`] | Hugging Face's beam search (transformers 4.57): scores divided by a power of the length |
//! | [`Sampling`] | nucleus, top-k and temperature, from a seed |
//! | [`contrastive()`] | contrastive search, and with a [`Judge`] MAGIC's: it looks a token ahead, so it drives the network itself |
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use sightline_nn::decode::{Greedy, Network, run};
//!
//! /// After token `t` comes `t - 1`.
//! struct Countdown;
//!
//! impl Network for Countdown {
//!     fn step(&mut self, tokens: &[u32]) -> sightline_nn::Result<Tensor> {
//!         let next = |&token: &u32| (0..4).map(move |i| if i + 1 == token { 5f32 } else { 0.0 });
//!         let logits: Vec<f32> = tokens.iter().flat_map(next).collect();
//!         Ok(Tensor::from_vec(logits, (tokens.len(), 4), &Device::Cpu)?)
//!     }
//!
//!     fn select(&mut self, _: &[usize]) -> sightline_nn::Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! let first = Countdown.step(&[4, 2])?;
//! let found = run(&mut Countdown, &first, vec![Greedy::new(&[0], 10); 2])?;
//! let ids = |i: usize| found[i][0].ids.as_slice();
//! assert_eq!((ids(0), ids(1)), (&[3, 2, 1, 0][..], &[1, 0][..]));
//! # Ok::<(), sightline_nn::Error>(())
//! ```

mod contrastive;
mod greedy;
mod length_beam;
mod node_beam;
mod sampling;

use candle_core::{DType, Device, Tensor};

use crate::kernel;
use crate::{Error, Result};

pub use contrastive::{ContrastiveSpec, ContrastiveStep, Judge, StateNetwork, contrastive};
pub use greedy::Greedy;
pub use length_beam::LengthBeam;
pub use node_beam::NodeBeam;
pub use sampling::{Sampling, SamplingSpec, nucleus};

/// A network that predicts the next token of its rows and remembers what they consist of.
pub trait Network {
    /// Continues each row by its token. Returns the logits of what comes next `[rows, V]`, which the next step may
    /// overwrite.
    fn step(&mut self, tokens: &[u32]) -> Result<Tensor>;

    /// The rows become those that `parents` names, in this order, each as often as it is named. Rows of one prompt
    /// stay side by side and in the order of the prompts.
    fn select(&mut self, parents: &[usize]) -> Result<()>;
}

/// A rule by which one prompt is continued.
pub trait Search {
    /// Chooses how to go on. `predictions` has a row for each choice of the last answer, in its order, and one for
    /// the prompt at first. Nothing chosen: the search has ended and is not asked again.
    fn advance(&mut self, predictions: Predictions<'_>) -> Vec<Choice>;

    /// How many of the most likely tokens of each row it looks at; `None`: at all. Predictions that were made on a GPU
    /// may then leave out the others.
    fn looks_at(&self) -> Option<usize> {
        None
    }

    /// What was found, the best first.
    fn finish(self) -> Vec<Hypothesis>;
}

/// A row of the last step, and the token by which it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Number of the row among those of the search.
    pub parent: usize,
    /// The next token.
    pub token: u32,
}

/// A continuation of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, the end token included if it came to that.
    pub ids: Vec<u32>,
    /// By what its rule ranks it: the sum of log-probabilities, or what the rule makes of it.
    pub score: f32,
}

impl Hypothesis {
    /// Nothing yet.
    fn empty() -> Self {
        Self {
            ids: Vec::new(),
            score: 0.0,
        }
    }

    /// One token more, which changes the score to `score`.
    fn followed_by(&self, token: u32, score: f32) -> Self {
        let mut ids = self.ids.clone();
        ids.push(token);
        Self { ids, score }
    }
}

/// Natural logarithms of the probabilities of tokens, a row for each hypothesis of a search.
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    /// `None`: every token has a value.
    ids: Option<&'a [u32]>,
    values: &'a [f32],
    /// Values of a row.
    width: usize,
}

/// A row of [`Predictions`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    ids: Option<&'a [u32]>,
    values: &'a [f32],
}

impl<'a> Predictions<'a> {
    /// `values` is `[rows, vocabulary_size]`, row after row.
    pub fn new(values: &'a [f32], vocabulary_size: usize) -> Self {
        Self {
            ids: None,
            values,
            width: vocabulary_size,
        }
    }

    /// Of each row `count` tokens, in the order of their ids.
    fn some(ids: &'a [u32], values: &'a [f32], count: usize) -> Self {
        Self {
            ids: Some(ids),
            values,
            width: count,
        }
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'a>> + use<'a> {
        let Self { ids, values, width } = *self;
        // A vocabulary of nothing has no rows either: `chunks_exact` must not be given 0.
        let rows = values.chunks_exact(width.max(1)).enumerate();
        rows.map(move |(row, values)| Row {
            ids: ids.map(|ids| &ids[row * width..][..width]),
            values,
        })
    }
}

impl<'a> Row<'a> {
    /// Tokens and their values, in the order of the ids: all, or as many of the most likely ones as
    /// [the search looks at](Search::looks_at).
    pub fn entries(self) -> impl Iterator<Item = (u32, f32)> + use<'a> {
        let values = self.values.iter().copied().enumerate();
        values.map(move |(i, value)| (self.id(i), value))
    }

    /// The token of an entry.
    fn id(self, entry: usize) -> u32 {
        self.ids.map_or(entry as u32, |ids| ids[entry])
    }

    /// The value of every token, for searches that look at all.
    pub fn values(self) -> &'a [f32] {
        debug_assert!(self.ids.is_none(), "the search said that it looks at few");
        self.values
    }

    /// The `count` most likely tokens, the most likely first, of equal ones that with the lower id.
    fn best(self, count: usize) -> Vec<(u32, f32)> {
        let best = largest(self.values.iter().copied(), count);
        let entry = |(i, value)| (self.id(i), value);
        best.into_iter().map(entry).collect()
    }
}

/// What was predicted for all rows.
struct Predicted {
    ids: Option<Vec<u32>>,
    values: Vec<f32>,
    width: usize,
}

impl Predicted {
    /// Of logits, which must have `rows` rows; `looks_at` says how many tokens of each suffice.
    fn new(logits: &Tensor, rows: usize, looks_at: Option<usize>) -> Result<Self> {
        let (found, vocabulary_size) = logits.dims2()?;
        if found != rows {
            return Err(Error::Shape {
                what: "the logits of the next tokens",
                found: vec![found, vocabulary_size],
                wanted: format!("[{rows}, {vocabulary_size}]"),
            });
        }
        #[cfg(feature = "cuda")]
        if let Some(count) = looks_at.filter(|&count| count < vocabulary_size)
            && let Some((ids, values)) = kernel::cuda::step::best(logits, count)?
        {
            return Ok(Self::in_order(&ids, &values, count));
        }
        let _ = looks_at;
        let logits = logits.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let mut values = logits.flatten_all()?.to_vec1()?;
        kernel::log_softmax(&mut values, vocabulary_size);
        Ok(Self {
            ids: None,
            values,
            width: vocabulary_size,
        })
    }

    /// `count` tokens of each row in the order of their ids.
    #[cfg(any(test, feature = "cuda"))]
    fn in_order(ids: &[u32], values: &[f32], count: usize) -> Self {
        let pairs = ids.iter().copied().zip(values.iter().copied());
        let mut pairs: Vec<(u32, f32)> = pairs.collect();
        for row in pairs.chunks_mut(count.max(1)) {
            row.sort_unstable_by_key(|&(id, _)| id);
        }
        let (ids, values) = pairs.into_iter().unzip();
        Self {
            ids: Some(ids),
            values,
            width: count,
        }
    }

    /// Those of `rows` rows from `first` on.
    fn of(&self, first: usize, rows: usize) -> Predictions<'_> {
        let range = first * self.width..(first + rows) * self.width;
        let values = &self.values[range.clone()];
        match &self.ids {
            None => Predictions::new(values, self.width),
            Some(ids) => Predictions::some(&ids[range], values, self.width),
        }
    }
}

/// Continues a prompt by each of `searches`. `first` `[searches, V]` are the logits behind the prompts, which
/// `network` has seen, a row each. Returns what each search found, the best first.
pub fn run<N: Network, S: Search>(
    network: &mut N,
    first: &Tensor,
    searches: Vec<S>,
) -> Result<Vec<Vec<Hypothesis>>> {
    run_by(network, first, searches, Predicted::new)
}

/// As [`run`]; `predict` makes predictions of the logits of so many rows, of which so many tokens are looked at.
fn run_by<N: Network, S: Search>(
    network: &mut N,
    first: &Tensor,
    mut searches: Vec<S>,
    predict: impl Fn(&Tensor, usize, Option<usize>) -> Result<Predicted>,
) -> Result<Vec<Vec<Hypothesis>>> {
    // Searches that go on, with the number of their rows.
    let mut running: Vec<(usize, usize)> = (0..searches.len()).map(|search| (search, 1)).collect();
    let mut logits = first.clone();
    while !running.is_empty() {
        let rows: usize = running.iter().map(|(_, rows)| rows).sum();
        let looks_at = running
            .iter()
            .map(|&(search, _)| searches[search].looks_at());
        let looks_at = looks_at.collect::<Option<Vec<_>>>();
        let looks_at = looks_at.and_then(|counts| counts.into_iter().max());
        let predicted = predict(&logits, rows, looks_at)?;
        let (mut parents, mut tokens, mut next) = (Vec::new(), Vec::new(), Vec::new());
        let mut first_row = 0;
        for &(search, rows) in &running {
            let choices = searches[search].advance(predicted.of(first_row, rows));
            if !choices.is_empty() {
                next.push((search, choices.len()));
            }
            parents.extend(choices.iter().map(|choice| first_row + choice.parent));
            tokens.extend(choices.iter().map(|choice| choice.token));
            first_row += rows;
        }
        running = next;
        if running.is_empty() {
            break;
        }
        if !parents.iter().copied().eq(0..rows) {
            network.select(&parents)?;
        }
        logits = network.step(&tokens)?;
    }
    Ok(searches.into_iter().map(Search::finish).collect())
}

/// The `count` largest of `values`, the largest first, of equal ones that with the lower index; NaN counts as the
/// smallest.
fn largest(values: impl Iterator<Item = f32>, count: usize) -> Vec<(usize, f32)> {
    let mut best: Vec<(usize, f32)> = Vec::new();
    for (i, value) in values.enumerate() {
        let value = if value.is_nan() {
            f32::NEG_INFINITY
        } else {
            value
        };
        if best.len() == count && best.last().is_none_or(|&(_, last)| value <= last) {
            continue;
        }
        let at = best.partition_point(|&(_, better)| better >= value);
        best.insert(at, (i, value));
        best.truncate(count);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits that depend on the whole row, so that a row out of place shows.
    pub(super) struct Toy {
        pub(super) rows: Vec<Vec<u32>>,
        pub(super) vocabulary_size: u32,
        pub(super) steps: usize,
    }

    impl Toy {
        pub(super) fn new(prompts: &[u32], vocabulary_size: u32) -> Self {
            Self {
                rows: prompts.iter().map(|&prompt| vec![prompt]).collect(),
                vocabulary_size,
                steps: 0,
            }
        }

        /// The same for anyone who asks about the same row.
        pub(super) fn logits(row: &[u32], vocabulary_size: u32) -> Vec<f32> {
            let mix = |hash: u32, id: u32| (hash ^ id).wrapping_mul(0x9e37_79b1).rotate_left(13);
            let hash = row.iter().copied().fold(7, mix);
            let logit = |id| (mix(hash, id + 100) >> 8) as f32 / (1 << 22) as f32;
            (0..vocabulary_size).map(logit).collect()
        }

        pub(super) fn predict(&self) -> Tensor {
            let of_row = |row: &Vec<u32>| Self::logits(row, self.vocabulary_size);
            let logits: Vec<f32> = self.rows.iter().flat_map(of_row).collect();
            let shape = (self.rows.len(), self.vocabulary_size as usize);
            Tensor::from_vec(logits, shape, &Device::Cpu).unwrap()
        }
    }

    impl Network for Toy {
        fn step(&mut self, tokens: &[u32]) -> Result<Tensor> {
            assert_eq!(tokens.len(), self.rows.len());
            self.steps += 1;
            for (row, &token) in self.rows.iter_mut().zip(tokens) {
                row.push(token);
            }
            Ok(self.predict())
        }

        fn select(&mut self, parents: &[usize]) -> Result<()> {
            self.rows = parents.iter().map(|&row| self.rows[row].clone()).collect();
            Ok(())
        }
    }

    /// What `search` finds behind each of `prompts`, all at once.
    pub(super) fn found<S: Search + Clone>(
        prompts: &[u32],
        vocabulary_size: u32,
        search: &S,
    ) -> Vec<Vec<Hypothesis>> {
        let mut network = Toy::new(prompts, vocabulary_size);
        let first = network.predict();
        run(&mut network, &first, vec![search.clone(); prompts.len()]).unwrap()
    }

    /// Log-probability of each token behind a row, in double precision.
    pub(super) fn exact(row: &[u32], vocabulary_size: u32) -> Vec<f64> {
        let logits = Toy::logits(row, vocabulary_size);
        let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let log = |&logit: &f32| f64::from(logit) - total.ln();
        logits.iter().map(log).collect()
    }

    fn check_in_a_batch_and_alone<S: Search + Clone>(search: &S) {
        let prompts: Vec<u32> = (0..9).collect();
        let together = found(&prompts, 6, search);
        let lengths: Vec<usize> = together.iter().map(|found| found[0].ids.len()).collect();
        assert!(lengths.iter().any(|len| *len != lengths[0]), "{lengths:?}");
        for (&prompt, together) in prompts.iter().zip(&together) {
            assert_eq!(&found(&[prompt], 6, search)[0], together, "prompt {prompt}");
        }
    }

    #[test]
    fn every_rule_finds_the_same_in_a_batch_as_alone() {
        check_in_a_batch_and_alone(&Greedy::new(&[0], 8));
        check_in_a_batch_and_alone(&NodeBeam::new(3, 2, 0, 8));
        check_in_a_batch_and_alone(&LengthBeam::new(3, &[0], 8));
        let spec = SamplingSpec {
            ends: vec![0],
            ..SamplingSpec::nucleus(0.9, 8)
        };
        check_in_a_batch_and_alone(&Sampling::new(spec, sightline_core::Seed(3)));
    }

    /// Predictions as a GPU makes them: of each row no more than are looked at.
    fn predict_few(logits: &Tensor, rows: usize, looks_at: Option<usize>) -> Result<Predicted> {
        let whole = Predicted::new(logits, rows, None)?;
        let count = looks_at.unwrap_or(whole.width).min(whole.width);
        let best = whole.of(0, rows).rows().flat_map(|row| row.best(count));
        let (ids, values): (Vec<u32>, Vec<f32>) = best.unzip();
        Ok(Predicted::in_order(&ids, &values, count))
    }

    fn check_with_few<S: Search + Clone>(search: &S) {
        let count = search.looks_at().unwrap();
        assert!(count < 12, "{count} are not few");
        for prompt in 0..20 {
            let mut network = Toy::new(&[prompt], 12);
            let first = network.predict();
            let few = run_by(&mut network, &first, vec![search.clone()], predict_few).unwrap();
            assert_eq!(few, found(&[prompt], 12, search), "prompt {prompt}");
        }
    }

    #[test]
    fn the_tokens_that_a_rule_looks_at_suffice() {
        check_with_few(&Greedy::new(&[0], 8));
        check_with_few(&NodeBeam::new(3, 2, 0, 8));
        check_with_few(&NodeBeam::new(3, 2, 0, 8).forbid_repeats());
        check_with_few(&LengthBeam::new(3, &[0], 8));
        check_with_few(&LengthBeam::new(3, &[0, 1], 8).length_penalty(0.5));
        assert!(
            Sampling::new(SamplingSpec::nucleus(0.9, 8), sightline_core::Seed(3))
                .looks_at()
                .is_none()
        );
    }

    #[test]
    fn a_batch_stops_with_its_longest_prompt() {
        let mut network = Toy::new(&[1, 2, 3], 6);
        let first = network.predict();
        let found = run(&mut network, &first, vec![Greedy::new(&[0], 8); 3]).unwrap();
        let longest = found.iter().map(|found| found[0].ids.len()).max().unwrap();
        assert_eq!(network.steps, longest - 1);
        let none: Vec<Greedy> = Vec::new();
        assert!(run(&mut network, &first, none).unwrap().is_empty());
    }

    #[test]
    fn logits_of_another_number_of_rows_are_an_error() {
        let mut network = Toy::new(&[1, 2], 6);
        let first = network.predict();
        let error = run(&mut network, &first, vec![Greedy::new(&[0], 8); 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the logits of the next tokens has the shape [2, 6], needed is [3, 6]"
        );
    }

    #[test]
    fn the_largest_come_first_and_of_equals_the_earlier() {
        let values = [1.0, f32::NAN, 3.0, 1.0, 3.0, f32::NEG_INFINITY];
        let best = |count| -> Vec<usize> {
            let best = largest(values.into_iter(), count);
            best.into_iter().map(|(i, _)| i).collect()
        };
        assert_eq!(best(0), [0; 0]);
        assert_eq!(best(3), [2, 4, 0]);
        assert_eq!(best(9), [2, 4, 0, 3, 1, 5]);
    }
}
