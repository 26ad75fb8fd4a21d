//! Tokens drawn at random, from a seed.

use sightline_core::Seed;
use sightline_core::seed::Rng;

use super::{Choice, Hypothesis, Predictions, Row, Search};

/// What may be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingSpec {
    /// Tokens that end a sequence.
    pub ends: Vec<u32>,
    /// Most tokens.
    pub limit: usize,
    /// Logits are divided by it, which MUST be above 0: below 1 makes likely tokens likelier.
    pub temperature: f32,
    /// Only so many of the most likely tokens; `None` for all.
    pub top_k: Option<usize>,
    /// Only the nucleus of this probability (Holtzman et al. 2020, arXiv 1904.09751); 1 for all.
    pub top_p: f32,
    /// Whether a token must not follow itself (VirTex).
    pub forbids_repeats: bool,
}

impl SamplingSpec {
    /// The nucleus of probability `p`, nothing else; no end token is set.
    pub fn nucleus(p: f32, limit: usize) -> Self {
        Self {
            ends: Vec::new(),
            limit,
            temperature: 1.0,
            top_k: None,
            top_p: p,
            forbids_repeats: false,
        }
    }
}

/// Draws one token after the other.
#[derive(Clone, Debug)]
pub struct Sampling {
    spec: SamplingSpec,
    rng: Rng,
    found: Hypothesis,
}

impl Sampling {
    /// The same `seed` draws the same from the same predictions.
    pub fn new(spec: SamplingSpec, seed: Seed) -> Self {
        Self {
            spec,
            rng: seed.rng(),
            found: Hypothesis::empty(),
        }
    }

    /// Probabilities of which the next token is drawn.
    fn probabilities(&self, log_probabilities: &[f32]) -> Vec<f64> {
        let last = self.found.ids.last().copied();
        let without = last.filter(|_| self.spec.forbids_repeats);
        let scaled: Vec<f32> = log_probabilities
            .iter()
            .map(|value| value / self.spec.temperature)
            .collect();
        let count = self.spec.top_k.unwrap_or(usize::MAX);
        kept(&scaled, count, self.spec.top_p, without)
    }
}

impl Search for Sampling {
    fn advance(&mut self, predictions: Predictions<'_>) -> Vec<Choice> {
        let row = predictions.rows().next();
        let row = row.map(Row::values).unwrap_or_default();
        if self.found.ids.len() >= self.spec.limit || row.is_empty() {
            return Vec::new();
        }
        let token = draw(&self.probabilities(row), self.rng.unit());
        let score = self.found.score + row[token];
        let token = token as u32;
        self.found = self.found.followed_by(token, score);
        let is_done = self.spec.ends.contains(&token) || self.found.ids.len() == self.spec.limit;
        let choice = Choice { parent: 0, token };
        if is_done { Vec::new() } else { vec![choice] }
    }

    fn finish(self) -> Vec<Hypothesis> {
        vec![self.found]
    }
}

/// The distribution over the nucleus of probability `p`: the most likely tokens, each as long as those before it have
/// at most `p` together, without the token `without`; all others have 0. If nothing is left, every token is as likely
/// as any other, as in VirTex. `logits` need not be normalised.
pub fn nucleus(logits: &[f32], p: f32, without: Option<u32>) -> Vec<f64> {
    kept(logits, usize::MAX, p, without)
}

/// [`nucleus`] of the `count` most likely tokens.
fn kept(logits: &[f32], count: usize, p: f32, without: Option<u32>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Stable: of equal tokens the lower id comes first. NaN is the least likely.
    let key = |i: &usize| {
        if logits[*i].is_nan() {
            f32::NEG_INFINITY
        } else {
            logits[*i]
        }
    };
    order.sort_by(|a, b| key(b).total_cmp(&key(a)));
    order.truncate(count);
    let largest = order.first().map_or(0.0, key);
    let weight = |i: usize| f64::from(key(&i) - largest).exp();
    let total: f64 = order.iter().map(|&i| weight(i)).sum();

    let mut probabilities = vec![0.0; logits.len()];
    let mut before = 0.0;
    for i in order {
        if before / total > f64::from(p) {
            break;
        }
        before += weight(i);
        if without != Some(i as u32) {
            probabilities[i] = weight(i);
        }
    }
    let kept: f64 = probabilities.iter().sum();
    if kept > 0.0 {
        for value in &mut probabilities {
            *value /= kept;
        }
    } else {
        let len = probabilities.len() as f64;
        probabilities.fill(1.0 / len);
    }
    probabilities
}

/// The token at `unit`, in 0..1, of the cumulated probabilities.
fn draw(probabilities: &[f64], unit: f64) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (i, &probability) in probabilities.iter().enumerate() {
        sum += probability;
        if probability > 0.0 {
            last = i;
            if unit < sum {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::super::tests::{exact, found};
    use super::*;

    fn spec() -> SamplingSpec {
        SamplingSpec {
            ends: vec![0],
            ..SamplingSpec::nucleus(1.0, 1)
        }
    }

    /// How often each token comes first behind prompt 1, of 4,000 draws.
    fn shares(spec: &SamplingSpec) -> Vec<f64> {
        let mut counts = [0u32; 6];
        let first = exact(&[1], 6);
        let row: Vec<f32> = first.iter().map(|&value| value as f32).collect();
        for seed in 0..4000 {
            let mut search = Sampling::new(spec.clone(), Seed(seed));
            search.advance(Predictions::new(&row, 6));
            counts[search.finish()[0].ids[0] as usize] += 1;
        }
        counts
            .iter()
            .map(|&count| f64::from(count) / 4000.0)
            .collect()
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let exact: Vec<f64> = exact(&[1], 6).iter().map(|value| value.exp()).collect();
        for (share, exact) in shares(&spec()).iter().zip(&exact) {
            assert!((share - exact).abs() < 0.03, "{share} {exact}");
        }
        let top_k = SamplingSpec {
            top_k: Some(2),
            ..spec()
        };
        assert_eq!(
            shares(&top_k).iter().filter(|&&share| share > 0.0).count(),
            2
        );
        let cold = SamplingSpec {
            temperature: 0.01,
            ..spec()
        };
        let best = exact.iter().copied().fold(0.0, f64::max);
        let at = exact.iter().position(|&value| value >= best).unwrap();
        assert!((shares(&cold)[at] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_seed_draws_the_same_again() {
        let spec = SamplingSpec {
            limit: 20,
            ..spec()
        };
        let ids = |seed| {
            found(&[1], 6, &Sampling::new(spec.clone(), Seed(seed)))[0][0]
                .ids
                .clone()
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(
            (0..9).map(ids).collect::<Vec<_>>(),
            (9..18).map(ids).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_nucleus_keeps_what_stands_before_the_limit() {
        let logits: Vec<f32> = [0.1f32, 0.5, 0.15, 0.25].iter().map(|p| p.ln()).collect();
        let near = |found: Vec<f64>, expected: [f64; 4]| {
            assert!(
                found
                    .iter()
                    .zip(expected)
                    .all(|(a, b)| (a - b).abs() < 1e-6),
                "{found:?}"
            );
        };
        near(
            nucleus(&logits, 0.6, None),
            [0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0],
        );
        near(
            nucleus(&logits, 0.8, None),
            [0.0, 5.0 / 9.0, 1.5 / 9.0, 2.5 / 9.0],
        );
        near(nucleus(&logits, 0.4, None), [0.0, 1.0, 0.0, 0.0]);
        near(nucleus(&logits, 0.8, Some(1)), [0.0, 0.0, 0.375, 0.625]);
        near(nucleus(&logits, 0.4, Some(1)), [0.25; 4]);
        assert_eq!(nucleus(&[], 0.5, None), [0.0; 0]);
        near(nucleus(&[f32::NAN; 4], 0.5, None), [0.25; 4]);
    }
}
