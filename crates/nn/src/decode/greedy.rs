//! Always the most likely token.

use super::{Choice, Hypothesis, Predictions, Search};

/// Takes the most likely token (of equal ones the lower id) until one of the end tokens, which is kept, or the limit.
#[derive(Clone, Debug)]
pub struct Greedy {
    ends: Vec<u32>,
    limit: usize,
    found: Hypothesis,
}

impl Greedy {
    /// At most `limit` tokens, the last of which may be one of `ends`.
    pub fn new(ends: &[u32], limit: usize) -> Self {
        Self {
            ends: ends.to_vec(),
            limit,
            found: Hypothesis::empty(),
        }
    }
}

impl Search for Greedy {
    fn advance(&mut self, predictions: Predictions<'_>) -> Vec<Choice> {
        let best = predictions.rows().next().map(|row| row.best(1));
        let Some(&(token, log_probability)) = best.as_ref().and_then(|best| best.first()) else {
            return Vec::new();
        };
        if self.found.ids.len() >= self.limit {
            return Vec::new();
        }
        let score = self.found.score + log_probability;
        self.found = self.found.followed_by(token, score);
        let is_done = self.ends.contains(&token) || self.found.ids.len() == self.limit;
        let choice = Choice { parent: 0, token };
        if is_done { Vec::new() } else { vec![choice] }
    }

    fn looks_at(&self) -> Option<usize> {
        Some(1)
    }

    fn finish(self) -> Vec<Hypothesis> {
        vec![self.found]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{exact, found};
    use super::*;

    #[test]
    fn each_token_is_the_most_likely_one() {
        for prompt in 0..20 {
            let hypothesis = &found(&[prompt], 6, &Greedy::new(&[0], 8))[0][0];
            let mut row = vec![prompt];
            let mut sum = 0.0;
            for &id in &hypothesis.ids {
                let exact = exact(&row, 6);
                assert!(exact.iter().all(|&other| other <= exact[id as usize]));
                sum += exact[id as usize];
                row.push(id);
            }
            assert!((f64::from(hypothesis.score) - sum).abs() < 1e-5);
            let (last, before) = hypothesis.ids.split_last().unwrap();
            assert!(!before.contains(&0) && (*last == 0 || hypothesis.ids.len() == 8));
        }
    }

    #[test]
    fn no_tokens_are_no_tokens() {
        assert_eq!(found(&[1], 6, &Greedy::new(&[0], 0))[0][0].ids, [0; 0]);
    }
}
