//! The merging of byte-pair encoding, by a queue of pairs.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::SentencePiece;
use super::model::Kind;

/// A part of the text, and its neighbours that are still there.
struct Symbol {
    start: usize,
    /// Equal to `start` once merged into its left neighbour.
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
    /// A user-defined piece: never merged.
    is_frozen: bool,
}

/// Two neighbours whose concatenation is a piece.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl SentencePiece {
    /// Cuts a normalised text into pieces and into characters that are none.
    pub(super) fn merge<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut symbols = self.symbols(text);
        let mut queue = BinaryHeap::new();
        let propose = |symbols: &[Symbol], left: Option<usize>, right: Option<usize>| {
            let (left, right) = (left?, right?);
            let (a, b) = (&symbols[left], &symbols[right]);
            if a.is_frozen || b.is_frozen {
                return None;
            }
            let piece = &self.pieces[*self.ids.get(&text[a.start..b.end])? as usize];
            matches!(piece.kind, Kind::Normal | Kind::UserDefined).then_some(Pair {
                score: piece.score,
                left,
                right,
                len: b.end - a.start,
            })
        };
        for right in 1..symbols.len() {
            queue.extend(propose(&symbols, Some(right - 1), Some(right)));
        }
        while let Some(pair) = queue.pop() {
            let (left, right) = (&symbols[pair.left], &symbols[pair.right]);
            let is_stale = left.start == left.end
                || right.start == right.end
                || right.end - left.start != pair.len
                || left.next != Some(pair.right);
            if is_stale {
                continue;
            }
            let (previous, next) = (left.previous, right.next);
            symbols[pair.left].end = right.end;
            symbols[pair.left].next = next;
            symbols[pair.right].end = symbols[pair.right].start;
            if let Some(next) = next {
                symbols[next].previous = Some(pair.left);
            }
            queue.extend(propose(&symbols, previous, Some(pair.left)));
            queue.extend(propose(&symbols, Some(pair.left), next));
        }
        symbols
            .iter()
            .filter(|symbol| symbol.start < symbol.end)
            .map(|symbol| &text[symbol.start..symbol.end])
            .collect()
    }

    /// Characters, and user-defined pieces in one.
    fn symbols(&self, text: &str) -> Vec<Symbol> {
        let mut symbols = Vec::new();
        let mut start = 0;
        while let Some(first) = text[start..].chars().next() {
            let frozen = self.user_defined(&text[start..]);
            let len = if frozen > 0 { frozen } else { first.len_utf8() };
            let index: usize = symbols.len();
            let end = start + len;
            symbols.push(Symbol {
                start,
                end,
                previous: index.checked_sub(1),
                next: (end < text.len()).then_some(index + 1),
                is_frozen: frozen > 0,
            });
            start = end;
        }
        symbols
    }
}

/// The largest pair is merged first: the best score, then the leftmost.
impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then_with(|| (other.left, other.len).cmp(&(self.left, self.len)))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
