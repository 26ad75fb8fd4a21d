//! The alignment: which of the possible matches are taken.
//!
//! A word can be part of one match only. A match that shares no word with any other is certain and is
//! taken at once; among the others a beam search goes over the reference from left to right and keeps
//! the [`BEAM`] paths that cover most, in the fewest chunks, with the least displacement.
//!
//! The search follows the reference program where it differs from the paper: it weighs a match by 1
//! (exact) or ½ (all others), not by the weights of the score, and truncates the running sums to whole
//! words, so that a single word matched by stem, synonym or paraphrase adds nothing.

use super::matches::{Match, Module};

/// Paths kept after each position.
const BEAM: usize = 40;
/// No chunk is open.
const CLOSED: u32 = u32::MAX;
/// The path took no match of its own yet.
const ROOT: u32 = u32::MAX;

/// A path up to some position of the reference.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    /// Words covered in the candidate and in the reference, as the search counts them.
    covered: [u32; 2],
    chunks: u32,
    distance: u64,
    /// First position of the reference that is not decided yet.
    next: u32,
    /// One past the candidate's last word of the open chunk, or [`CLOSED`].
    last: u32,
    /// The last step of its own, in [`Search::steps`].
    step: u32,
}

impl Path {
    /// The path with a match taken; the displacement is the caller's to add.
    fn taking(mut self, one: &Match) -> Self {
        let half_words = if one.module == Module::Exact { 2 } else { 1 };
        let lens = [one.candidate_len, one.reference_len];
        for (covered, len) in self.covered.iter_mut().zip(lens) {
            *covered += u32::from(len) * half_words / 2;
        }
        if self.last != CLOSED && one.candidate != self.last {
            self.chunks += 1;
        }
        self.next = one.reference + u32::from(one.reference_len);
        self.last = one.candidate + u32::from(one.candidate_len);
        self
    }

    /// The path with one more position left unmatched.
    fn skipping(self) -> Self {
        let mut path = self.closing();
        path.next += 1;
        path
    }

    /// The path without an open chunk.
    fn closing(mut self) -> Self {
        if self.last != CLOSED {
            self.chunks += 1;
            self.last = CLOSED;
        }
        self
    }

    /// Smaller is better: more words covered, then fewer chunks, then less displacement.
    fn order(&self) -> u128 {
        let covered = u32::MAX - (self.covered[0] + self.covered[1]);
        u128::from(covered) << 96 | u128::from(self.chunks) << 64 | u128::from(self.distance)
    }
}

fn displacement(one: &Match) -> u64 {
    u64::from(one.reference.abs_diff(one.candidate))
}

/// Takes matches out of `lists`, which hold those that start at each position of the reference, so that
/// no word of the candidate (`candidate_len` words) or the reference is taken twice. In the order of
/// the reference.
pub(super) fn align(lists: &[Vec<Match>], candidate_len: usize) -> Vec<Match> {
    let certain = certain(lists, candidate_len);
    let mut search = Search::new(lists, candidate_len, &certain);
    for position in 0..lists.len() {
        search.step(position);
    }
    search.taken()
}

/// For each position the match that starts there and that shares no word with another.
fn certain(lists: &[Vec<Match>], candidate_len: usize) -> Vec<Option<Match>> {
    let mut in_candidate = vec![0u32; candidate_len];
    let mut in_reference = vec![0u32; lists.len()];
    for one in lists.iter().flatten() {
        one.in_candidate().for_each(|word| in_candidate[word] += 1);
        one.in_reference().for_each(|word| in_reference[word] += 1);
    }
    let is_certain = |one: &Match| {
        one.in_candidate().all(|word| in_candidate[word] == 1)
            && one.in_reference().all(|word| in_reference[word] == 1)
    };
    lists
        .iter()
        .map(|list| match list.as_slice() {
            [one] if is_certain(one) => Some(*one),
            _ => None,
        })
        .collect()
}

/// A path that may go on, before it is written out.
#[derive(Clone, Copy)]
struct Proposal {
    path: Path,
    parent: u32,
    /// The match taken, by its place in the position's list.
    taken: Option<u32>,
}

struct Search<'a> {
    lists: &'a [Vec<Match>],
    certain: &'a [Option<Match>],
    paths: Vec<Path>,
    /// For each path the words taken: those of the candidate, then those of the reference, a bit each.
    used: Vec<u64>,
    /// Words of 64 bits for one path.
    width: usize,
    /// Words of 64 bits before those of the reference.
    offset: usize,
    /// Every match taken by some path, and the step before.
    steps: Vec<(u32, Match)>,
    proposals: Vec<Proposal>,
    /// Proposals by [`Path::order`] and then by number.
    order: Vec<(u128, u32)>,
    next_used: Vec<u64>,
}

impl<'a> Search<'a> {
    fn new(lists: &'a [Vec<Match>], candidate_len: usize, certain: &'a [Option<Match>]) -> Self {
        let offset = candidate_len.div_ceil(64);
        let width = offset + lists.len().div_ceil(64);
        let mut used = vec![0; width];
        for one in certain.iter().flatten() {
            take(&mut used, offset, one);
        }
        Self {
            lists,
            certain,
            paths: vec![Path {
                last: CLOSED,
                step: ROOT,
                ..Path::default()
            }],
            used,
            width,
            offset,
            steps: Vec::new(),
            proposals: Vec::new(),
            order: Vec::new(),
            next_used: Vec::new(),
        }
    }

    /// Decides about one position of the reference.
    fn step(&mut self, position: usize) {
        self.proposals.clear();
        for parent in 0..self.paths.len() {
            self.propose(position, parent);
        }
        if self.proposals.is_empty() {
            return;
        }
        // Equal paths stay in the order in which they were proposed.
        self.order.clear();
        let orders = self.proposals.iter().map(|proposal| proposal.path.order());
        self.order.extend(orders.zip(0u32..));
        self.order.sort_unstable();
        self.next_used.clear();
        self.paths.clear();
        for &(_, proposal) in self.order.iter().take(BEAM) {
            let proposal = &self.proposals[proposal as usize];
            let start = proposal.parent as usize * self.width;
            let from = self.next_used.len();
            self.next_used
                .extend_from_slice(&self.used[start..start + self.width]);
            let mut path = proposal.path;
            if let Some(taken) = proposal.taken {
                let one = self.lists[position][taken as usize];
                take(&mut self.next_used[from..], self.offset, &one);
                self.steps.push((path.step, one));
                path.step = self.steps.len() as u32 - 1;
            }
            self.paths.push(path);
        }
        std::mem::swap(&mut self.used, &mut self.next_used);
    }

    fn propose(&mut self, position: usize, parent: usize) {
        let mut path = self.paths[parent];
        let used = &self.used[parent * self.width..(parent + 1) * self.width];
        let mut push = |path, taken| {
            self.proposals.push(Proposal {
                path,
                parent: parent as u32,
                taken,
            });
        };
        if is_used(&used[self.offset..], position) {
            if path.next as usize > position {
                push(path, None);
            } else if let Some(one) = &self.certain[position] {
                path = path.taking(one);
                path.distance += displacement(one);
                push(path, None);
            }
            return;
        }
        for (place, one) in self.lists[position].iter().enumerate() {
            let is_free = one.in_candidate().all(|word| !is_used(used, word))
                && one
                    .in_reference()
                    .all(|word| !is_used(&used[self.offset..], word));
            if is_free {
                push(path.taking(one), Some(place as u32));
                // The reference program adds it to the path it copied from: later siblings see it.
                path.distance += displacement(one);
            }
        }
        push(path.skipping(), None);
    }

    /// The matches of the best path, in the order of the reference.
    fn taken(self) -> Vec<Match> {
        let mut taken: Vec<Match> = self.certain.iter().flatten().copied().collect();
        // Paths are in the order of the last step, in which open chunks do not count yet; of those that are
        // equal once every chunk is closed the first wins.
        let best = self.paths.iter().min_by_key(|path| path.closing().order());
        let mut step = best.map_or(ROOT, |path| path.step);
        while let Some((before, one)) = self.steps.get(step as usize) {
            taken.push(*one);
            step = *before;
        }
        taken.sort_by_key(|one| one.reference);
        taken
    }
}

fn is_used(bits: &[u64], word: usize) -> bool {
    bits[word / 64] >> (word % 64) & 1 == 1
}

fn take(bits: &mut [u64], offset: usize, one: &Match) {
    for word in one.in_candidate() {
        bits[word / 64] |= 1 << (word % 64);
    }
    for word in one.in_reference() {
        bits[offset + word / 64] |= 1 << (word % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(candidate: u32, reference: u32) -> Match {
        Match {
            candidate,
            candidate_len: 1,
            reference,
            reference_len: 1,
            module: Module::Exact,
        }
    }

    fn stem(candidate: u32, reference: u32) -> Match {
        Match {
            module: Module::Stem,
            ..exact(candidate, reference)
        }
    }

    #[test]
    fn of_equal_words_the_one_that_continues_the_chunk_is_taken() {
        // Candidate "the a the", reference "a the": the second "the" follows "a".
        let lists = [vec![exact(1, 0)], vec![exact(0, 1), exact(2, 1)]];
        assert_eq!(align(&lists, 3), [exact(1, 0), exact(2, 1)]);
    }

    #[test]
    fn a_single_word_that_is_certain_is_taken_and_one_proposed_twice_is_not() {
        assert_eq!(align(&[vec![stem(0, 0)]], 1), [stem(0, 0)]);
        assert_eq!(align(&[vec![stem(0, 0), stem(0, 0)]], 1), []);
    }

    #[test]
    fn nothing_to_align_is_no_alignment() {
        assert_eq!(align(&[], 0), []);
        assert_eq!(align(&[Vec::new(), Vec::new()], 3), []);
    }
}
