//! The edit distance of TER: insertions, deletions and substitutions of one each, searched for in a band
//! around the diagonal only, and what it says about which words are in the wrong place.
//!
//! Costs fill a table of one row for each word of the candidate and one column for each word of the
//! reference, with a row and a column more for nothing at all. A row holds the columns of the band, so
//! the table grows with the sum of the lengths and not with their product.
//!
//! Shifts are tried by the thousand, so what a shift does to the distance is not computed from
//! scratch: rows before the shifted words stay, and once the words are those of the table again the
//! new distance lies as far from the old one as the new row lies from the old row, give or take the
//! spread of that difference. When there is no spread left, or not enough hope, the rest is known.

use std::ops::Range;

/// Half the width of the band, where lengths are less than 50 times each other.
const BEAM_WIDTH: usize = 25;

/// Cost of what lies outside the band. Sums of two stay in range.
const UNREACHABLE: u32 = u32::MAX / 4;

/// Costs of making a reference from a candidate.
pub(super) struct Table<'a> {
    reference: &'a [u32],
    words: Vec<u32>,
    band: Band,
    /// Rows one after another.
    costs: Vec<u32>,
    /// Where each row starts in `costs`, and where the last one ends.
    starts: Vec<usize>,
}

impl<'a> Table<'a> {
    pub(super) fn new(words: Vec<u32>, reference: &'a [u32]) -> Self {
        let band = Band::new(words.len(), reference.len());
        let mut starts = Vec::with_capacity(words.len() + 2);
        let mut end = 0;
        starts.push(0);
        for row in 0..=words.len() {
            end += band.columns(row).len();
            starts.push(end);
        }
        let mut table = Self {
            reference,
            words,
            band,
            costs: vec![0; end],
            starts,
        };
        for (cost, column) in table.costs.iter_mut().zip(0..=reference.len() as u32) {
            *cost = column;
        }
        table.fill_after(0);
        table
    }

    /// The candidate as it is now.
    pub(super) fn words(&self) -> &[u32] {
        &self.words
    }

    /// The words of the reference.
    pub(super) fn reference(&self) -> &'a [u32] {
        self.reference
    }

    /// The distance.
    pub(super) fn distance(&self) -> u32 {
        self.costs.last().copied().unwrap_or(UNREACHABLE)
    }

    /// Makes `shift` to the candidate.
    pub(super) fn apply(&mut self, shift: &Shift) {
        shift.rotate(&mut self.words[shift.window.clone()]);
        self.fill_after(shift.window.start);
    }

    /// The distance after `shift`, if it is at most `most`.
    pub(super) fn distance_after(
        &self,
        shift: &Shift,
        most: u32,
        scratch: &mut Scratch,
    ) -> Option<u32> {
        let Scratch { words, row, next } = scratch;
        words.clear();
        words.extend_from_slice(&self.words[shift.window.clone()]);
        shift.rotate(words);
        let unchanged = shift.window.start;
        row.clear();
        row.extend_from_slice(self.row(unchanged).costs);
        let shifted = words.iter().chain(&self.words[shift.window.end..]);
        for (number, &word) in (unchanged + 1..).zip(shifted) {
            let above = Row {
                first: self.band.columns(number - 1).start,
                costs: row,
            };
            let columns = self.band.columns(number);
            next.resize(columns.len(), 0);
            fill(above, word, self.reference, columns.start, next);
            std::mem::swap(row, next);
            if number >= shift.window.end {
                let (least, largest) = spread(self.row(number).costs, row);
                let after = |change: i64| i64::from(self.distance()).saturating_add(change);
                if after(least) > i64::from(most) {
                    return None;
                }
                if least == largest {
                    return u32::try_from(after(least)).ok();
                }
            }
        }
        // The last row of a shift that changes some of its costs more than others.
        row.last().copied().filter(|&distance| distance <= most)
    }

    /// Which words match which, by the cheapest way through the table. Of equally cheap ones a match or
    /// a substitution goes first, then leaving out a word of the candidate.
    pub(super) fn alignment(&self) -> Alignment {
        let (mut row, mut column) = (self.words.len(), self.reference.len());
        let mut alignment = Alignment {
            landing: vec![0; column],
            reference_wrong: vec![false; column],
            candidate_wrong: vec![false; row],
        };
        while row > 0 || column > 0 {
            match self.last_step(row, column) {
                Step::Both { equal } => {
                    alignment.landing[column - 1] = row;
                    alignment.reference_wrong[column - 1] = !equal;
                    alignment.candidate_wrong[row - 1] = !equal;
                    row -= 1;
                    column -= 1;
                }
                Step::Candidate => {
                    alignment.candidate_wrong[row - 1] = true;
                    row -= 1;
                }
                Step::Reference => {
                    alignment.landing[column - 1] = row;
                    alignment.reference_wrong[column - 1] = true;
                    column -= 1;
                }
            }
        }
        alignment
    }

    /// The step by which the cheapest way arrives at a cell other than the first.
    fn last_step(&self, row: usize, column: usize) -> Step {
        if row == 0 {
            return Step::Reference;
        }
        if column == 0 {
            return Step::Candidate;
        }
        let cost = self.row(row).at(column);
        let above = self.row(row - 1);
        let equal = self.words[row - 1] == self.reference[column - 1];
        if cost == above.at(column - 1) + u32::from(!equal) {
            Step::Both { equal }
        } else if cost == above.at(column) + 1 {
            Step::Candidate
        } else {
            Step::Reference
        }
    }

    /// Computes the rows after `row`.
    fn fill_after(&mut self, row: usize) {
        for number in row + 1..=self.words.len() {
            let start = self.starts[number];
            let (before, rest) = self.costs.split_at_mut(start);
            let above = Row {
                first: self.band.columns(number - 1).start,
                costs: &before[self.starts[number - 1]..],
            };
            let out = &mut rest[..self.starts[number + 1] - start];
            let first = self.band.columns(number).start;
            fill(above, self.words[number - 1], self.reference, first, out);
        }
    }

    fn row(&self, number: usize) -> Row<'_> {
        Row {
            first: self.band.columns(number).start,
            costs: &self.costs[self.starts[number]..self.starts[number + 1]],
        }
    }
}

/// Space for rows that are not kept.
#[derive(Default)]
pub(super) struct Scratch {
    words: Vec<u32>,
    row: Vec<u32>,
    next: Vec<u32>,
}

/// Words of the candidate that move, and those they move past.
#[derive(Clone, Debug)]
pub(super) struct Shift {
    /// Words that change their place.
    window: Range<usize>,
    /// How many of them are the block that moves.
    length: usize,
    is_to_front: bool,
}

impl Shift {
    /// Moves `length` words at `start` before the word that is now at `target`; where `target` is inside
    /// the block, as many words on as it is past `start`. `len` is the number of all words.
    pub(super) fn new(start: usize, length: usize, target: usize, len: usize) -> Self {
        let end = start + length;
        let (window, is_to_front) = if target < start {
            (target..end, true)
        } else if target > end {
            (start..target, false)
        } else {
            (start..(target + length).min(len), false)
        };
        Self {
            window,
            length,
            is_to_front,
        }
    }

    /// Moves the block within the words of the window.
    fn rotate(&self, words: &mut [u32]) {
        if self.is_to_front {
            words.rotate_right(self.length);
        } else {
            words.rotate_left(self.length);
        }
    }
}

/// What an alignment says about each word.
pub(super) struct Alignment {
    /// For each word of the reference how many words of the candidate are used up with it.
    pub(super) landing: Vec<usize>,
    /// Whether a word of the reference is missing or replaced.
    pub(super) reference_wrong: Vec<bool>,
    /// Whether a word of the candidate is replaced or too many.
    pub(super) candidate_wrong: Vec<bool>,
}

enum Step {
    Both { equal: bool },
    Candidate,
    Reference,
}

/// Which columns of a row are searched.
struct Band {
    rows: usize,
    reference_len: usize,
    slope: f64,
    width: usize,
}

impl Band {
    fn new(rows: usize, reference_len: usize) -> Self {
        let slope = if rows > 0 {
            reference_len as f64 / rows as f64
        } else {
            1.0
        };
        // Where the reference is much longer, bands of neighbouring rows would not meet otherwise.
        let width = if (BEAM_WIDTH as f64) < slope / 2.0 {
            (slope / 2.0 + BEAM_WIDTH as f64).ceil() as usize
        } else {
            BEAM_WIDTH
        };
        Self {
            rows,
            reference_len,
            slope,
            width,
        }
    }

    fn columns(&self, row: usize) -> Range<usize> {
        if row == 0 {
            return 0..self.reference_len + 1;
        }
        let diagonal = (row as f64 * self.slope).floor() as usize;
        let end = if row == self.rows {
            self.reference_len + 1
        } else {
            (diagonal + self.width).min(self.reference_len + 1)
        };
        diagonal.saturating_sub(self.width)..end
    }
}

/// Part of a row of the table.
#[derive(Clone, Copy)]
struct Row<'a> {
    first: usize,
    costs: &'a [u32],
}

impl Row<'_> {
    fn at(&self, column: usize) -> u32 {
        column
            .checked_sub(self.first)
            .and_then(|offset| self.costs.get(offset).copied())
            .unwrap_or(UNREACHABLE)
    }
}

/// Computes the costs of the columns from `first` on in the row of `word`, from those of the row above.
fn fill(above: Row<'_>, word: u32, reference: &[u32], first: usize, out: &mut [u32]) {
    let mut left = UNREACHABLE;
    let mut diagonal = match first.checked_sub(1) {
        Some(before) => above.at(before),
        None => UNREACHABLE,
    };
    for (column, out) in (first..).zip(out) {
        let up = above.at(column);
        let replaced = match column.checked_sub(1) {
            Some(before) => diagonal + u32::from(reference[before] != word),
            None => UNREACHABLE,
        };
        left = replaced.min(up + 1).min(left + 1).min(UNREACHABLE);
        diagonal = up;
        *out = left;
    }
}

/// Least and largest of how much more the new costs are. Cells out of reach do not count; they are so
/// in both rows, as the band alone decides.
fn spread(old: &[u32], new: &[u32]) -> (i64, i64) {
    let changes = old
        .iter()
        .zip(new)
        .filter(|&(&old, _)| old != UNREACHABLE)
        .map(|(&old, &new)| i64::from(new) - i64::from(old));
    changes.fold((i64::MAX, i64::MIN), |(least, largest), change| {
        (least.min(change), largest.max(change))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sightline_core::Seed;

    fn random_words(len: u64, rng: &mut sightline_core::seed::Rng) -> Vec<u32> {
        (0..len).map(|_| rng.below(6) as u32).collect()
    }

    #[test]
    fn distance_of_short_texts_is_that_of_levenshtein() {
        let distance = |a: &[u32], b: &[u32]| Table::new(a.to_vec(), b).distance();
        assert_eq!(distance(&[1, 2, 3], &[1, 2, 3]), 0);
        assert_eq!(distance(&[], &[1, 2, 3]), 3);
        assert_eq!(distance(&[1, 9, 3, 4], &[1, 2, 3]), 2);
    }

    #[test]
    fn shifts_move_blocks_as_tercom_does() {
        let moved = |start, length, target| {
            let mut table = Table::new(vec![0, 1, 2, 3, 4, 5], &[0]);
            table.apply(&Shift::new(start, length, target, 6));
            table.words
        };
        assert_eq!(moved(3, 2, 1), [0, 3, 4, 1, 2, 5], "to the front");
        assert_eq!(moved(1, 2, 5), [0, 3, 4, 1, 2, 5], "to the back");
        assert_eq!(moved(1, 3, 3), [0, 4, 5, 1, 2, 3], "into itself");
        assert_eq!(moved(3, 2, 5), [0, 1, 2, 5, 3, 4], "past the end");
    }

    #[test]
    fn what_a_shift_does_is_what_a_new_table_says() {
        let mut rng = Seed(17).rng();
        let mut scratch = Scratch::default();
        for round in 0..3000 {
            let longest = [8, 40, 200][round % 3];
            let len = 1 + rng.below(longest);
            let words = random_words(len, &mut rng);
            let reference = match rng.below(3) {
                0 => words.clone(),
                _ => random_words(1 + rng.below(longest), &mut rng),
            };
            let table = Table::new(words, &reference);
            let start = rng.below(len);
            let length = 1 + rng.below((len - start).min(10));
            let target = rng.below(len + 1);
            let shift = Shift::new(
                start as usize,
                length as usize,
                target as usize,
                len as usize,
            );
            let mut shifted = Table::new(table.words.clone(), &reference);
            shifted.apply(&shift);
            let expected = Table::new(shifted.words.clone(), &reference).distance();
            assert_eq!(shifted.distance(), expected);
            for most in [expected - expected.min(1), expected, expected + 1, u32::MAX] {
                assert_eq!(
                    table.distance_after(&shift, most, &mut scratch),
                    (expected <= most).then_some(expected),
                    "at most {most}"
                );
            }
        }
    }
}
