//! Beam search as Hugging Face's `generate` does it (transformers 4.57).

use super::{Choice, Hypothesis, Predictions, Row, Search, largest};

/// Keeps `width` running hypotheses, ranked by their sums of log-probabilities, and apart from them the `width` best
/// finished ones, ranked by that sum divided by `length ^ penalty`, the end token counted and the prompt not.
///
/// Each step takes the best `2 * width` continuations of all running hypotheses (more with several end tokens). One
/// with an end token is finished, but only if its rank is below `width`; on the last step every one of such a rank
/// is. The best `width` of the others run on. It stops when `width` hypotheses are finished and either
/// [`Self::stop_early`] was asked for or the best running sum, divided by the power of its present length, is not
/// above the worst finished score.
#[derive(Clone, Debug)]
pub struct LengthBeam {
    width: usize,
    ends: Vec<u32>,
    limit: usize,
    length_penalty: f64,
    stops_early: bool,
    running: Vec<Hypothesis>,
    /// The best first.
    finished: Vec<Hypothesis>,
}

impl LengthBeam {
    /// `width` hypotheses of at most `limit` tokens, the last of which may be one of `ends`; length penalty 1.
    pub fn new(width: usize, ends: &[u32], limit: usize) -> Self {
        Self {
            width,
            ends: ends.to_vec(),
            limit,
            length_penalty: 1.0,
            stops_early: false,
            running: vec![Hypothesis::empty()],
            finished: Vec::new(),
        }
    }

    /// Scores are sums divided by this power of the length: 0 for plain sums, more for longer texts.
    #[must_use]
    pub fn length_penalty(mut self, power: f64) -> Self {
        self.length_penalty = power;
        self
    }

    /// `width` finished hypotheses are enough, whatever could still be found (`early_stopping=True`).
    #[must_use]
    pub fn stop_early(mut self) -> Self {
        self.stops_early = true;
        self
    }

    /// How many continuations of all running hypotheses a step takes.
    fn candidates(&self) -> usize {
        self.width.saturating_mul((1 + self.ends.len()).max(2))
    }

    fn may_improve(&self, divisor: f32) -> bool {
        let Some(best) = self.running.first() else {
            return false;
        };
        match self.finished.last() {
            Some(worst) if self.finished.len() >= self.width => {
                !self.stops_early && best.score / divisor > worst.score
            }
            _ => true,
        }
    }
}

impl Search for LengthBeam {
    fn advance(&mut self, predictions: Predictions<'_>) -> Vec<Choice> {
        let len = self.running.first().map_or(0, |first| first.ids.len()) + 1;
        if len > self.limit {
            return Vec::new();
        }
        let divisor = (len as f64).powf(self.length_penalty) as f32;
        let rows = self.running.iter().zip(predictions.rows());
        let sums = rows.flat_map(|(before, row)| {
            let score = before.score;
            row.entries().map(move |(_, value)| score + value)
        });
        let candidates = largest(sums, self.candidates());

        let rows: Vec<Row<'_>> = predictions.rows().collect();
        let width = predictions.width.max(1);
        let (mut running, mut choices) = (Vec::new(), Vec::new());
        for (rank, (i, sum)) in candidates.into_iter().enumerate() {
            let (parent, token) = (i / width, rows[i / width].id(i % width));
            let followed = |score| self.running[parent].followed_by(token, score);
            if len == self.limit || self.ends.contains(&token) {
                if rank < self.width {
                    self.finished.push(followed(sum / divisor));
                }
            } else if running.len() < self.width {
                running.push(followed(sum));
                choices.push(Choice { parent, token });
            }
        }
        // A stable sort: of equal scores the one that was found first stays ahead.
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(self.width);
        self.running = running;
        if self.may_improve(divisor) {
            choices
        } else {
            Vec::new()
        }
    }

    fn looks_at(&self) -> Option<usize> {
        Some(self.candidates())
    }

    fn finish(self) -> Vec<Hypothesis> {
        if self.finished.is_empty() {
            self.running
        } else {
            self.finished
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{exact, found};
    use super::*;

    /// Every sequence of `vocabulary_size` tokens that ends with 0 or has `limit` tokens, with its sum.
    fn all(prompt: u32, vocabulary_size: u32, limit: usize) -> Vec<(Vec<u32>, f64)> {
        let mut finished = Vec::new();
        let mut open = vec![(Vec::new(), 0.0)];
        while let Some((ids, sum)) = open.pop() {
            let row = [&[prompt][..], &ids].concat();
            for (id, value) in (0..).zip(exact(&row, vocabulary_size)) {
                let next = ([&ids[..], &[id]].concat(), sum + value);
                let is_done = id == 0 || next.0.len() == limit;
                if is_done { &mut finished } else { &mut open }.push(next);
            }
        }
        finished
    }

    #[test]
    fn a_beam_as_wide_as_everything_finds_the_best() {
        for prompt in 0..20 {
            for penalty in [-0.5, 0.0, 1.0, 2.0] {
                let score = |(ids, sum): &(Vec<u32>, f64)| sum / (ids.len() as f64).powf(penalty);
                let mut all = all(prompt, 3, 4);
                all.sort_by(|a, b| score(b).total_cmp(&score(a)));
                let search = LengthBeam::new(200, &[0], 4).length_penalty(penalty);
                let found = &found(&[prompt], 3, &search)[0];
                assert_eq!(found.len(), all.len());
                for (found, expected) in found.iter().zip(&all) {
                    // Sequences as good as one another to six digits may come in either order.
                    let itself = all.iter().find(|(ids, _)| *ids == found.ids).unwrap();
                    for exact in [score(expected), score(itself)] {
                        let difference = (f64::from(found.score) - exact).abs();
                        assert!(difference < 1e-4, "prompt {prompt}, penalty {penalty}");
                    }
                }
            }
        }
    }

    /// Predictions of one row: log-probabilities as they are given.
    fn advance(search: &mut LengthBeam, rows: &[[f32; 4]]) -> Vec<(usize, u32)> {
        let choices = search.advance(Predictions::new(rows.as_flattened(), 4));
        choices
            .into_iter()
            .map(|choice| (choice.parent, choice.token))
            .collect()
    }

    #[test]
    fn an_end_of_low_rank_is_dropped_and_others_run_on() {
        let mut search = LengthBeam::new(2, &[0], 9).length_penalty(0.0);
        // The end has rank 2: neither finished nor running.
        assert_eq!(
            advance(&mut search, &[[-3.0, -1.0, -2.0, -4.0]]),
            [(0, 1), (0, 2)]
        );
        assert!(search.finished.is_empty());
        // The two best continuations are ends, which finishes both; the best two others would run on, but nothing
        // that is below the worst finished score can pass it without a penalty.
        let rows = [[-0.1, -2.0, -3.0, -4.0], [-0.5, -0.6, -9.0, -9.0]];
        assert!(advance(&mut search, &rows).is_empty());
        let ids = |found: &[Hypothesis]| -> Vec<Vec<u32>> {
            found.iter().map(|found| found.ids.clone()).collect()
        };
        assert_eq!(ids(&search.running), [[2, 1], [1, 1]]);
        assert_eq!(ids(&search.finished), [[1, 0], [2, 0]]);
        assert!((search.finished[0].score + 1.1).abs() < 1e-6);
    }

    #[test]
    fn it_stops_when_nothing_better_can_come() {
        let rows = [[-1.0, -1.1, -6.0, -7.0]];
        let mut plain = LengthBeam::new(1, &[0], 9);
        assert!(advance(&mut plain, &rows).is_empty());
        // Of two, one is finished: the other may still come, unless the first is enough.
        let mut two = LengthBeam::new(2, &[0], 9);
        assert_eq!(advance(&mut two, &rows), [(0, 1), (0, 2)]);
        let mut open = LengthBeam::new(1, &[0], 3);
        assert_eq!(advance(&mut open, &[[-1.1, -1.0, -6.0, -7.0]]), [(0, 1)]);
        assert_eq!(advance(&mut open, &[[-2.0, -0.1, -6.0, -7.0]]), [(0, 1)]);
        assert!(advance(&mut open, &[[-2.0, -0.1, -6.0, -7.0]]).is_empty());
        let found = open.finish();
        assert_eq!(found[0].ids, [1, 1, 1]);
        assert!((found[0].score + 0.4).abs() < 1e-6);
    }

    #[test]
    fn stopping_early_takes_the_first_finished() {
        // By its length the running sum may still pass the finished score.
        let rows = [[-0.2, -0.1, -6.0, -7.0]];
        let search = LengthBeam::new(1, &[0], 9).length_penalty(2.0);
        let mut patient = search.clone();
        let mut early = search.stop_early();
        for (search, next) in [(&mut patient, 1), (&mut early, 0)] {
            search.running = vec![Hypothesis {
                ids: vec![1],
                score: -1.0,
            }];
            search.finished = vec![Hypothesis {
                ids: vec![0],
                score: -1.0,
            }];
            assert_eq!(advance(search, &rows).len(), next);
            assert_eq!(search.finished[0].ids, [0]);
        }
    }

    #[test]
    fn degenerate_sizes_are_no_panic() {
        for (width, limit) in [(0, 5), (3, 0), (100, 3)] {
            found(&[1, 2], 6, &LengthBeam::new(width, &[0], limit));
            found(&[1, 2], 6, &LengthBeam::new(width, &[], limit));
        }
    }
}
