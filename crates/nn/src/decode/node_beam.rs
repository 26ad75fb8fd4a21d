//! Beam search in which each hypothesis proposes its few best continuations (AllenNLP's `BeamSearch`), with VirTex's
//! addition (`AutoRegressiveBeamSearch`).

use super::{Choice, Hypothesis, Predictions, Row, Search, largest};

/// What a token has for a log-probability that must not come next. Not minus infinity: where nothing else is left,
/// it is taken after all.
const FORBIDDEN: f32 = -1e4;

/// 1. The best `width` first tokens are kept.
/// 2. Each hypothesis proposes its `per_node` best next tokens. One that has ended proposes its end token with the
///    log-probability 0: it competes on with the score that it has.
/// 3. The best `width` of all proposals are kept, by the sum of log-probabilities; of equal ones the earlier.
/// 4. It stops when every hypothesis has ended, or at the limit.
///
/// Scores are never divided by lengths, and running hypotheses are among the results.
#[derive(Clone, Debug)]
pub struct NodeBeam {
    width: usize,
    per_node: usize,
    end: u32,
    limit: usize,
    forbids_repeats: bool,
    /// The best first.
    hypotheses: Vec<Hypothesis>,
    /// For each row of the next predictions the number of its hypothesis.
    rows: Vec<usize>,
}

impl NodeBeam {
    /// `width` hypotheses of at most `limit` tokens, each with `per_node` continuations; `end` ends a sequence.
    pub fn new(width: usize, per_node: usize, end: u32, limit: usize) -> Self {
        Self {
            width,
            per_node,
            end,
            limit,
            forbids_repeats: false,
            hypotheses: vec![Hypothesis::empty()],
            rows: vec![0],
        }
    }

    /// A token must not follow itself: its log-probability becomes -10000 (VirTex).
    #[must_use]
    pub fn forbid_repeats(mut self) -> Self {
        self.forbids_repeats = true;
        self
    }

    fn has_ended(&self, hypothesis: &Hypothesis) -> bool {
        hypothesis.ids.last() == Some(&self.end)
    }

    /// The best continuations of a hypothesis, with the sums of log-probabilities.
    fn proposals(&self, parent: usize, row: Row<'_>, count: usize) -> Vec<(usize, u32, f32)> {
        let hypothesis = &self.hypotheses[parent];
        let last = hypothesis.ids.last().filter(|_| self.forbids_repeats);
        let allowed = row.entries().map(|(id, value)| match last {
            Some(&last) if last == id => FORBIDDEN,
            _ => value,
        });
        let best = largest(allowed, count);
        let proposal = |(i, value)| (parent, row.id(i), hypothesis.score + value);
        best.into_iter().map(proposal).collect()
    }

    /// How many tokens the next proposals of a hypothesis are.
    fn count(&self) -> usize {
        if self.hypotheses[0].ids.is_empty() {
            self.width
        } else {
            self.per_node
        }
    }
}

impl Search for NodeBeam {
    fn advance(&mut self, predictions: Predictions<'_>) -> Vec<Choice> {
        let count = self.count();
        if self.limit == 0 || self.width == 0 {
            return Vec::new();
        }
        let mut rows = self.rows.iter().zip(predictions.rows());
        let mut proposals = Vec::new();
        for (number, hypothesis) in self.hypotheses.iter().enumerate() {
            if self.has_ended(hypothesis) {
                proposals.push((number, self.end, hypothesis.score));
            } else if let Some((&parent, row)) = rows.next() {
                debug_assert_eq!(parent, number, "rows are in the order of the hypotheses");
                proposals.extend(self.proposals(parent, row, count));
            }
        }
        let best = largest(proposals.iter().map(|&(_, _, score)| score), self.width);

        let row_of = |parent: usize| self.rows.iter().position(|&row| row == parent);
        let (mut kept, mut choices, mut next_rows) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (i, _)) in best.into_iter().enumerate() {
            let (parent, token, score) = proposals[i];
            let hypothesis = &self.hypotheses[parent];
            if self.has_ended(hypothesis) {
                kept.push(hypothesis.clone());
                continue;
            }
            kept.push(hypothesis.followed_by(token, score));
            if token != self.end {
                choices.extend(row_of(parent).map(|parent| Choice { parent, token }));
                next_rows.push(number);
            }
        }
        if kept.is_empty() {
            return choices;
        }
        self.hypotheses = kept;
        self.rows = next_rows;
        let longest = self.hypotheses.iter().map(|found| found.ids.len()).max();
        if longest.is_none_or(|len| len >= self.limit) {
            choices.clear();
        }
        choices
    }

    fn looks_at(&self) -> Option<usize> {
        // One more in the place of one that is forbidden.
        Some(self.count() + usize::from(self.forbids_repeats))
    }

    fn finish(self) -> Vec<Hypothesis> {
        self.hypotheses
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{exact, found};
    use super::*;

    const VOCABULARY: u32 = 6;

    /// The rules above in double precision, written for one prompt and without rows: every hypothesis is asked about
    /// in every step, ended ones too.
    fn by_the_book(
        prompt: u32,
        width: usize,
        per_node: usize,
        limit: usize,
    ) -> Vec<(Vec<u32>, f64)> {
        let best = |mut all: Vec<(Vec<u32>, f64)>, count: usize| {
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            all.truncate(count);
            all
        };
        let mut beams = vec![(Vec::new(), 0.0)];
        for step in 0..limit {
            if step > 0 && beams.iter().all(|(ids, _)| ids.last() == Some(&0)) {
                break;
            }
            let mut all = Vec::new();
            for (ids, score) in &beams {
                let row: Vec<u32> = [&[prompt][..], ids].concat();
                let mut values = exact(&row, VOCABULARY);
                match ids.last() {
                    Some(0) => values = vec![0.0, -1e30, -1e30, -1e30, -1e30, -1e30],
                    Some(&last) => values[last as usize] = -1e4,
                    None => {}
                }
                let next = (0..).zip(values).map(|(id, value)| {
                    let mut ids = ids.clone();
                    ids.push(id);
                    (ids, score + value)
                });
                all.extend(best(
                    next.collect(),
                    if step == 0 { width } else { per_node },
                ));
            }
            beams = best(all, width);
        }
        beams
    }

    #[test]
    fn hypotheses_and_scores_are_those_of_the_rules() {
        for prompt in 0..30 {
            for (width, per_node, limit) in [(1, 1, 7), (3, 2, 7), (5, 2, 9), (4, 4, 3), (2, 1, 1)]
            {
                let search = NodeBeam::new(width, per_node, 0, limit).forbid_repeats();
                let found = &found(&[prompt], VOCABULARY, &search)[0];
                let expected = by_the_book(prompt, width, per_node, limit);
                assert_eq!(found.len(), expected.len());
                for (found, (ids, score)) in found.iter().zip(expected) {
                    let ended = ids.iter().position(|&id| id == 0);
                    let len = ended.map_or(ids.len(), |at| at + 1);
                    assert_eq!(found.ids, ids[..len], "prompt {prompt}, width {width}");
                    assert!((f64::from(found.score) - score).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn a_token_follows_itself_only_where_that_is_allowed() {
        let repeats = |search: &NodeBeam| {
            let found = found(&(0..50).collect::<Vec<u32>>(), VOCABULARY, search);
            let mut pairs = found
                .iter()
                .flatten()
                .flat_map(|found| found.ids.windows(2));
            pairs.any(|pair| pair[0] == pair[1])
        };
        let search = NodeBeam::new(3, 2, 0, 8);
        assert!(repeats(&search));
        assert!(!repeats(&search.forbid_repeats()));
    }

    #[test]
    fn degenerate_sizes_are_no_panic() {
        for (width, per_node, limit) in [(0, 2, 5), (3, 0, 5), (3, 2, 0), (100, 100, 4)] {
            found(
                &[1, 2],
                VOCABULARY,
                &NodeBeam::new(width, per_node, 0, limit),
            );
        }
        let nan = [f32::NAN; 6];
        let mut search = NodeBeam::new(2, 2, 0, 5);
        assert_eq!(search.advance(Predictions::new(&nan, 6)).len(), 1);
        search.advance(Predictions::new(&nan, 6));
    }
}
