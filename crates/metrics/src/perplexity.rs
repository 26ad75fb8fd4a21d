//! Perplexity and bits per byte: how well a model predicts texts that people wrote.
//!
//! With ℓ the natural-log likelihood of a text, Σ over all texts, T its number of predicted tokens and B
//! its number of UTF-8 bytes:
//!
//! | id | value | range |
//! | --- | --- | --- |
//! | `perplexity` | exp(−Σℓ / ΣT) | 1 to ∞ |
//! | `bits-per-byte` | −Σℓ / (ΣB · ln 2) | 0 to ∞ |
//!
//! Both are of the corpus, not means over texts. Perplexities of models with different tokenizers
//! cannot be compared, since a token is not the same amount of text; bits per byte can. The first token is
//! usually given and then not counted in T; whoever makes the items decides, for all of them alike.

use std::f64::consts::LN_2;

use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::metric::{Metric, MetricInfo, Stats};
use crate::{Error, Input, Item, Resources, Result};

/// `bits-per-byte`.
pub static BITS_PER_BYTE: Perplexity = Perplexity {
    per_byte: true,
    id: "bits-per-byte",
    description: "Negative log-likelihood of all texts, base 2, over their number of bytes.",
};

/// `perplexity`.
pub static PERPLEXITY: Perplexity = Perplexity {
    per_byte: false,
    id: "perplexity",
    description: "Exponential of the mean negative log-likelihood of all predicted tokens.",
};

/// The likelihood of one text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Likelihood {
    log_probability: f64,
    tokens: u64,
    bytes: u64,
}

impl Likelihood {
    /// A text of `bytes` bytes from the natural-log probabilities of its predicted tokens, each finite
    /// and at most 0. A token of probability 0 would make every value infinite, and is refused.
    pub fn new(log_probabilities: &[f64], bytes: u64) -> Result<Self> {
        if let Some(&value) = log_probabilities
            .iter()
            .find(|log| !log.is_finite() || **log > 0.0)
        {
            return Err(Error::OutOfRange {
                what: "the log-probability of a token",
                value,
                expected: "a finite number of at most 0",
            });
        }
        let log_probability: f64 = log_probabilities.iter().sum();
        if !log_probability.is_finite() {
            return Err(Error::OutOfRange {
                what: "the log-probability of a text",
                value: log_probability,
                expected: "a finite number of at most 0",
            });
        }
        Ok(Self {
            log_probability,
            tokens: log_probabilities.len() as u64,
            bytes,
        })
    }
}

impl Item for Likelihood {}

impl Examples for Likelihood {
    fn random(rng: &mut Rng) -> Self {
        let tokens = 1 + rng.below(12);
        Self {
            log_probability: (0..tokens).map(|_| rng.between(-6.0, 0.0)).sum(),
            tokens,
            bytes: tokens * (1 + rng.below(5)),
        }
    }

    fn perfect(rng: &mut Rng) -> Self {
        let tokens = 1 + rng.below(12);
        Self {
            log_probability: 0.0,
            tokens,
            bytes: 4 * tokens,
        }
    }

    fn empty() -> Option<Self> {
        Some(Self::default())
    }
}

impl Stats for Likelihood {
    fn merge(&mut self, other: &Self) {
        self.log_probability += other.log_probability;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
    }
}

/// Perplexity, or bits per byte.
#[derive(Debug)]
pub struct Perplexity {
    per_byte: bool,
    id: &'static str,
    description: &'static str,
}

impl Metric for Perplexity {
    type Item = Likelihood;
    type Corpus = ();
    type Stats = Likelihood;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::Likelihood,
            range: [if self.per_byte { 0.0 } else { 1.0 }, f64::INFINITY],
            higher_is_better: false,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        "perplexity"
    }

    fn corpus(&self, _: &[Likelihood], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), likelihood: &Likelihood) -> Likelihood {
        *likelihood
    }

    fn value(&self, stats: &Likelihood) -> Option<f64> {
        // Subtracting from 0 keeps a certain text from scoring minus zero.
        let surprise = 0.0 - stats.log_probability;
        if self.per_byte {
            (stats.bytes > 0).then(|| surprise / (stats.bytes as f64 * LN_2))
        } else {
            (stats.tokens > 0).then(|| (surprise / stats.tokens as f64).exp())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    #[test]
    fn texts_are_weighted_by_their_tokens() {
        // Three tokens of probability 1/2 and one of 1/8: (2 · 2 · 2 · 8)^(1/4) = 2^1.5.
        let half = 0.5f64.ln();
        let texts = [
            Likelihood::new(&[half, half, half], 8).unwrap(),
            Likelihood::new(&[0.125f64.ln()], 4).unwrap(),
        ];
        let sum = merged(&texts);
        let perplexity = PERPLEXITY.value(&sum).unwrap();
        assert!((perplexity - 8.0f64.sqrt()).abs() < 1e-14, "{perplexity}");
        let bits = BITS_PER_BYTE.value(&sum).unwrap();
        assert!((bits - 0.5).abs() < 1e-15, "6 bits over 12 bytes: {bits}");
    }

    #[test]
    fn nothing_predicted_has_no_value() {
        let nothing = Likelihood::new(&[], 0).unwrap();
        assert_eq!(PERPLEXITY.value(&nothing), None);
        assert_eq!(BITS_PER_BYTE.value(&nothing), None);
        let certain = Likelihood::new(&[0.0], 1).unwrap();
        assert_eq!(PERPLEXITY.value(&certain), Some(1.0));
        assert_eq!(BITS_PER_BYTE.value(&certain).map(f64::to_bits), Some(0));
    }

    #[test]
    fn impossible_and_improper_probabilities_are_refused() {
        for log in [f64::NEG_INFINITY, f64::NAN, 0.1] {
            assert!(Likelihood::new(&[-1.0, log], 4).is_err(), "{log}");
        }
        assert!(Likelihood::new(&[f64::MIN, f64::MIN], 4).is_err());
    }
}
