//! The search for shifts: words that stand in both texts, but in another place, move one block at a
//! time as long as that saves more edits than it costs.
//!
//! The search is the reference program's, limits and order of ties included, as its results depend on
//! both: blocks of up to [`MAX_SHIFT_SIZE`] words that are at most [`MAX_SHIFT_DIST`] words from their
//! place, and in all at most [`MAX_SHIFT_CANDIDATES`] shifts tried. When that many were tried, what the
//! last round found is not used any more.

use std::cmp::Reverse;

use super::edit_distance::{Scratch, Shift, Table};

/// Most words that move at once.
const MAX_SHIFT_SIZE: usize = 10;
/// Farthest that equal words may stand apart.
const MAX_SHIFT_DIST: usize = 50;
/// Most shifts tried for one pair of texts.
const MAX_SHIFT_CANDIDATES: usize = 1000;

/// Edits and shifts that make `reference` from `candidate`, as few as the search finds.
///
/// Time grows with the sum of the lengths, by a factor that depends on the texts: each of at most 1,000
/// shifts tried looks at 50 words around each word until its effect is known, most of the time after a few.
pub(super) fn edits(candidate: Vec<u32>, reference: &[u32]) -> u64 {
    if reference.is_empty() {
        return candidate.len() as u64;
    }
    let mut search = Search {
        table: Table::new(candidate, reference),
        tried: 0,
        scratch: Scratch::default(),
    };
    let mut shifts = 0;
    while let Some(shift) = search.best_shift() {
        search.table.apply(&shift);
        shifts += 1;
    }
    shifts + u64::from(search.table.distance())
}

struct Search<'a> {
    table: Table<'a>,
    tried: usize,
    scratch: Scratch,
}

/// How good a shift is. Greater is better: edits saved, words moved, then the earlier start and the
/// earlier target.
type Rank = (u32, usize, Reverse<usize>, Reverse<usize>);

impl Search<'_> {
    /// The shift that saves most edits; `None` if none saves any, or too many were tried.
    fn best_shift(&mut self) -> Option<Shift> {
        let alignment = self.table.alignment();
        let candidate_wrong = Sums::new(&alignment.candidate_wrong);
        let reference_wrong = Sums::new(&alignment.reference_wrong);
        let (len, reference_len) = (self.table.words().len(), self.table.reference().len());
        let mut best: Option<(Rank, Shift)> = None;

        for start in 0..len {
            // Saves the look at every place of the reference where no block could be tried.
            if !candidate_wrong.any(start, MAX_SHIFT_SIZE) {
                continue;
            }
            let nearest = start.saturating_sub(MAX_SHIFT_DIST);
            for place in nearest..reference_len.min(start + MAX_SHIFT_DIST + 1) {
                let words = self.table.words()[start..].iter();
                let same = words
                    .zip(&self.table.reference()[place..])
                    .take(MAX_SHIFT_SIZE)
                    .take_while(|(word, other)| word == other)
                    .count();
                for length in 1..=same {
                    if !candidate_wrong.any(start, length) || !reference_wrong.any(place, length) {
                        continue;
                    }
                    // Words that would move within themselves stay.
                    if (start + 1..=start + length).contains(&alignment.landing[place]) {
                        continue;
                    }
                    let before = place.checked_sub(1).map_or(0, |i| alignment.landing[i]);
                    let inside = &alignment.landing[place..(place + length).min(reference_len)];
                    let mut last = None;
                    for target in std::iter::once(before).chain(inside.iter().copied()) {
                        if last == Some(target) {
                            continue;
                        }
                        last = Some(target);
                        self.tried += 1;
                        self.consider(start, length, target, &mut best);
                    }
                    if self.tried >= MAX_SHIFT_CANDIDATES {
                        return None;
                    }
                }
            }
        }
        best.map(|(_, shift)| shift)
    }

    /// Makes a shift the best one if it saves an edit and is better.
    fn consider(
        &mut self,
        start: usize,
        length: usize,
        target: usize,
        best: &mut Option<(Rank, Shift)>,
    ) {
        let now = self.table.distance();
        let rank = |saved| (saved, length, Reverse(start), Reverse(target));
        let saved = match best {
            Some((best, _)) if rank(best.0) > *best => best.0,
            Some((best, _)) => best.0 + 1,
            None => 1,
        };
        let Some(most) = now.checked_sub(saved) else {
            return;
        };
        let shift = Shift::new(start, length, target, self.table.words().len());
        if let Some(after) = self.table.distance_after(&shift, most, &mut self.scratch) {
            *best = Some((rank(now - after), shift));
        }
    }
}

/// How many words before each place are wrong.
struct Sums(Vec<usize>);

impl Sums {
    fn new(wrong: &[bool]) -> Self {
        let mut sum = 0;
        let sums = wrong.iter().map(|&wrong| {
            sum += usize::from(wrong);
            sum
        });
        Self(std::iter::once(0).chain(sums).collect())
    }

    /// Whether any of `length` words from `start` on is wrong, as far as there are any.
    fn any(&self, start: usize, length: usize) -> bool {
        let end = (start + length).min(self.0.len() - 1);
        self.0[end] > self.0[start]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ter(candidate: &[u32], reference: &[u32]) -> u64 {
        edits(candidate.to_vec(), reference)
    }

    #[test]
    fn a_block_in_the_wrong_place_is_one_edit() {
        assert_eq!(ter(&[3, 4, 5, 1, 2], &[1, 2, 3, 4, 5]), 1);
        assert_eq!(ter(&[1, 2, 3], &[1, 2, 3]), 0);
        assert_eq!(ter(&[1, 2, 3], &[]), 3);
        assert_eq!(ter(&[], &[1, 2, 3]), 3);
    }

    #[test]
    fn two_swapped_words_cost_a_shift_each() {
        assert_eq!(ter(&[2, 1, 4, 3], &[1, 2, 3, 4]), 2);
    }

    /// Everything out of place: the limit on tried shifts ends the search, not time.
    #[test]
    fn long_texts_end() {
        let reference: Vec<u32> = (0..20_000).map(|i| i % 97).collect();
        let candidate: Vec<u32> = (0..20_000).map(|i| (i * 31 + i / 7) % 97).collect();
        let edits = ter(&candidate, &reference);
        assert!((10_000..=20_000).contains(&edits), "{edits}");
    }
}
