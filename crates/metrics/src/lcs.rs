//! Longest common subsequences, 64 columns of the table at a time.
//!
//! With `t[i][j]` the length for the first `i` words of one text (rows) and the first `j` of the other
//! (columns), neighbours in a row differ by 0 or 1. A row is therefore kept as bits: bit `j - 1` is 0
//! where `t[i][j] = t[i][j - 1] + 1`. The next row follows by one addition (Hyyrö, "Bit-parallel
//! LCS-length computation revisited", 2004): with `m` the columns that hold the row's word and
//! `u = v & m`, it is `(v + u) | (v & !m)`.
//!
//! Only blocks of 64 columns that hold the word, or that the addition carries into, are touched. Memory
//! grows with the sum of both lengths, time with their product divided by 64 at worst.

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt};

/// No entry follows.
const END: u32 = u32::MAX;

/// A text prepared as the columns of tables.
#[derive(Debug)]
pub(crate) struct Columns<W> {
    len: usize,
    /// For each word, its entry of the lowest block.
    first: HashMap<W, u32>,
    entries: Vec<Entry>,
}

/// The columns of one block that hold one word.
#[derive(Clone, Copy, Debug)]
struct Entry {
    block: u32,
    /// The same word's entry of the next higher block that holds it.
    next: u32,
    mask: u64,
}

impl<W: Copy + Eq + Hash> Columns<W> {
    /// Prepares `words`.
    pub(crate) fn new(words: &[W]) -> Self {
        let mut columns = Self {
            len: words.len(),
            first: HashMap::with_capacity(words.len()),
            entries: Vec::with_capacity(words.len()),
        };
        // From the last column to the first, so that each word's entries are chained upwards.
        for (column, &word) in words.iter().enumerate().rev() {
            let (block, bit) = ((column / 64) as u32, 1 << (column % 64));
            let first = columns.first.entry(word).or_insert(END);
            match columns.entries.get_mut(*first as usize) {
                Some(entry) if entry.block == block => entry.mask |= bit,
                _ => {
                    let next = *first;
                    *first = columns.entries.len() as u32;
                    let mask = bit;
                    columns.entries.push(Entry { block, next, mask });
                }
            }
        }
        columns
    }

    /// Length of the longest common subsequence with `rows`.
    pub(crate) fn longest_with(&self, rows: impl IntoIterator<Item = W>) -> usize {
        let mut row = self.row_zero();
        for word in rows {
            self.advance(&mut row, word);
        }
        count_steps(&row, self.len)
    }

    fn row_zero(&self) -> Vec<u64> {
        vec![u64::MAX; self.len.div_ceil(64)]
    }

    /// Makes the next row of `row`, the row of `word`.
    fn advance(&self, row: &mut [u64], word: W) {
        let mut at = self.first.get(&word).copied().unwrap_or(END);
        let mut block = 0;
        let mut carry = false;
        while let Some(entry) = self.entries.get(at as usize) {
            let next = entry.block as usize;
            if carry {
                carry = carry_over(&mut row[block..next]);
            }
            let before = row[next];
            let (sum, over) = before.overflowing_add(before & entry.mask);
            let (sum, over_by_carry) = sum.overflowing_add(u64::from(carry));
            row[next] = sum | (before & !entry.mask);
            carry = over || over_by_carry;
            block = next + 1;
            at = entry.next;
        }
        if carry {
            carry_over(&mut row[block..]);
        }
    }
}

/// Adds a carry to blocks without the word; whether it is carried out of the last.
fn carry_over(blocks: &mut [u64]) -> bool {
    for block in blocks {
        let (sum, carry) = block.overflowing_add(1);
        *block |= sum;
        if !carry {
            return false;
        }
    }
    true
}

/// `t[i][columns]` of the row `i`.
fn count_steps(row: &[u64], columns: usize) -> usize {
    let (whole, rest) = (columns / 64, columns % 64);
    let mut steps: usize = row[..whole].iter().map(|b| b.count_zeros() as usize).sum();
    if rest > 0 {
        let outside = u64::MAX << rest;
        steps += (row[whole] | outside).count_zeros() as usize;
    }
    steps
}

/// Whether `t[i][column + 1]` is one more than `t[i][column]` in the row `i`.
fn is_step(row: &[u64], column: usize) -> bool {
    (row[column / 64] >> (column % 64)) & 1 == 0
}

/// Calls `matched` with the rows of one longest common subsequence, last first: the one that is found by
/// walking back from the last row and column, taking every equal pair met, and else going one column
/// back if `t[i][j - 1] > t[i - 1][j]`, one row back if not.
pub(crate) fn backtrack<W: Copy + Eq + Hash>(
    columns: &Columns<W>,
    column_words: &[W],
    rows: &[W],
    mut matched: impl FnMut(usize),
) {
    let mut table = Table::new(columns, rows);
    let (mut i, mut j) = (rows.len(), column_words.len());
    while i > 0 && j > 0 {
        let (above, row) = table.rows_until(i);
        let (mut length_above, length) = (count_steps(above, j), count_steps(row, j));
        while j > 0 && rows[i - 1] != column_words[j - 1] {
            if length - usize::from(is_step(row, j - 1)) <= length_above {
                break;
            }
            length_above -= usize::from(is_step(above, j - 1));
            j -= 1;
        }
        if j > 0 && rows[i - 1] == column_words[j - 1] {
            matched(i - 1);
            j -= 1;
        }
        i -= 1;
    }
}

/// The rows of a table, read from the last to the first. Every √rows-th is kept and those between are
/// computed again when they are reached, so that memory grows with columns · √rows / 64.
struct Table<'a, W> {
    columns: &'a Columns<W>,
    rows: &'a [W],
    /// Blocks in a row.
    width: usize,
    stride: usize,
    /// Rows 0, `stride`, 2 · `stride` and so on.
    kept: Vec<u64>,
    /// `stride + 1` rows from `start`, or as many as there are.
    window: Vec<u64>,
    start: usize,
}

impl<'a, W: Copy + Eq + Hash> Table<'a, W> {
    fn new(columns: &'a Columns<W>, rows: &'a [W]) -> Self {
        let mut row = columns.row_zero();
        let stride = rows.len().isqrt().max(1);
        let mut kept = row.clone();
        for (number, &word) in (1..).zip(rows) {
            columns.advance(&mut row, word);
            if number % stride == 0 {
                kept.extend_from_slice(&row);
            }
        }
        Self {
            columns,
            rows,
            width: row.len(),
            stride,
            kept,
            window: Vec::new(),
            start: usize::MAX,
        }
    }

    /// Rows `last - 1` and `last`, of which the latter is at least 1.
    fn rows_until(&mut self, last: usize) -> (&[u64], &[u64]) {
        let start = (last - 1) / self.stride * self.stride;
        if start != self.start {
            self.fill(start);
        }
        let from = (last - 1 - start) * self.width;
        self.window[from..from + 2 * self.width].split_at(self.width)
    }

    fn fill(&mut self, start: usize) {
        let from = start / self.stride * self.width;
        let mut row = self.kept[from..from + self.width].to_vec();
        self.window.clear();
        self.window.extend_from_slice(&row);
        for &word in self.rows[start..].iter().take(self.stride) {
            self.columns.advance(&mut row, word);
            self.window.extend_from_slice(&row);
        }
        self.start = start;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole table, cell by cell.
    fn table(rows: &[u8], columns: &[u8]) -> Vec<Vec<usize>> {
        let mut t = vec![vec![0; columns.len() + 1]; rows.len() + 1];
        for i in 1..=rows.len() {
            for j in 1..=columns.len() {
                t[i][j] = if rows[i - 1] == columns[j - 1] {
                    t[i - 1][j - 1] + 1
                } else {
                    t[i - 1][j].max(t[i][j - 1])
                };
            }
        }
        t
    }

    fn walk(rows: &[u8], columns: &[u8]) -> Vec<usize> {
        let t = table(rows, columns);
        let (mut i, mut j) = (rows.len(), columns.len());
        let mut found = Vec::new();
        while i > 0 && j > 0 {
            if rows[i - 1] == columns[j - 1] {
                found.push(i - 1);
                (i, j) = (i - 1, j - 1);
            } else if t[i][j - 1] > t[i - 1][j] {
                j -= 1;
            } else {
                i -= 1;
            }
        }
        found
    }

    fn agrees(rows: &[u8], words: &[u8]) {
        let columns = Columns::new(words);
        let expected = table(rows, words)[rows.len()][words.len()];
        assert_eq!(columns.longest_with(rows.iter().copied()), expected);
        let mut found = Vec::new();
        backtrack(&columns, words, rows, |row| found.push(row));
        assert_eq!(found, walk(rows, words));
    }

    proptest! {
        #[test]
        fn short_texts_agree_with_the_table(
            rows in prop::collection::vec(0u8..4, 0..12),
            columns in prop::collection::vec(0u8..4, 0..12),
        ) {
            agrees(&rows, &columns);
        }

        #[test]
        fn texts_of_several_blocks_agree_with_the_table(
            rows in prop::collection::vec(0u8..40, 0..300),
            columns in prop::collection::vec(0u8..40, 0..300),
        ) {
            agrees(&rows, &columns);
        }

        #[test]
        fn repetitive_texts_agree_with_the_table(
            rows in prop::collection::vec(0u8..2, 100..300),
            columns in prop::collection::vec(0u8..2, 100..300),
        ) {
            agrees(&rows, &columns);
        }
    }

    #[test]
    fn blocks_that_are_full_and_texts_that_are_equal_agree_with_the_table() {
        for len in [1, 63, 64, 65, 128, 200] {
            agrees(&vec![1; len], &vec![1; len]);
            agrees(&vec![1; len], &[1; 64]);
            let rising: Vec<u8> = (0..len as u8).collect();
            agrees(&rising, &rising);
        }
    }

    #[test]
    fn texts_of_half_a_million_words_need_little_memory_and_time() {
        let words: Vec<u32> = (0..500_000).map(|i| i % 70_001).collect();
        let reversed: Vec<u32> = words.iter().rev().copied().collect();
        assert_eq!(
            Columns::new(&words).longest_with(words.iter().copied()),
            500_000
        );
        assert!(Columns::new(&words).longest_with(reversed) < 100);
    }
}
