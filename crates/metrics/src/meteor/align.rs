//! The alignment: which of the possible matches are taken.
//!
//! A word can be part of one match only. A match that shares no word with any other is certain and is
//! taken at once; among the others a beam search goes over the reference from left to right and keeps
//! the [`BEAM`] paths that cover most, in the fewest chunks, with the least displacement.
//!
//! The search follows the reference program where it differs from the paper: it weighs a match by 1
//! (exact) or ½ (all others), not by the weights of the score, and truncates the running sums to whole
//! words, so that a single word matched by stem, synonym or paraphrase adds nothing.

use super::matches::{Lists, Match, Module};

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

    /// The path past `position`, at which it starts no match of its own choice: it is within a phrase, takes
    /// the certain match, or leaves the word unmatched.
    fn passing(self, position: usize, certain: Option<&Match>) -> Self {
        if self.next as usize > position {
            return self;
        }
        if let Some(one) = certain {
            let mut path = self.taking(one);
            path.distance += displacement(one);
            return path;
        }
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
    fn order(&self) -> Order {
        let covered = u32::MAX - (self.covered[0] + self.covered[1]);
        (
            u64::from(covered) << 32 | u64::from(self.chunks),
            self.distance,
        )
    }
}

type Order = (u64, u64);

fn displacement(one: &Match) -> u64 {
    u64::from(one.reference.abs_diff(one.candidate))
}

/// Takes matches out of `lists` so that no word of the candidate (`candidate_len` words) or the
/// reference is taken twice. In the order of the reference.
pub(super) fn align(lists: &Lists, candidate_len: usize) -> Vec<Match> {
    let certain = certain(lists, candidate_len);
    let is_small = candidate_len.max(lists.len()) <= 64;
    if certain.iter().flatten().count() == lists.all().len() {
        certain.into_iter().flatten().collect()
    } else if is_small {
        Search::<[u64; 2]>::new(lists, [0, 0], &certain).run()
    } else {
        let bits = |len: usize| vec![0; len.div_ceil(64)];
        let nothing = [bits(candidate_len), bits(lists.len())];
        Search::<[Vec<u64>; 2]>::new(lists, nothing, &certain).run()
    }
}

/// For each position the match that starts there and that shares no word with another.
fn certain(lists: &Lists, candidate_len: usize) -> Vec<Option<Match>> {
    let mut in_candidate = vec![0u32; candidate_len];
    let mut in_reference = vec![0u32; lists.len()];
    for one in lists.all() {
        one.in_candidate().for_each(|word| in_candidate[word] += 1);
        one.in_reference().for_each(|word| in_reference[word] += 1);
    }
    let is_certain = |one: &Match| {
        one.in_candidate().all(|word| in_candidate[word] == 1)
            && one.in_reference().all(|word| in_reference[word] == 1)
    };
    (0..lists.len())
        .map(|position| match lists.at(position) {
            [one] if is_certain(one) => Some(*one),
            _ => None,
        })
        .collect()
}

/// Which words of the candidate and of the reference a path has taken, a bit each.
trait Taken: Clone {
    /// Whether no word of `one` is taken.
    fn is_free(&self, one: &Match) -> bool;

    /// Takes every word of `one`.
    fn take(&mut self, one: &Match);
}

/// Both sides have at most 64 words.
impl Taken for [u64; 2] {
    fn is_free(&self, one: &Match) -> bool {
        let [candidate, reference] = bits(one);
        self[0] & candidate == 0 && self[1] & reference == 0
    }

    fn take(&mut self, one: &Match) {
        let [candidate, reference] = bits(one);
        self[0] |= candidate;
        self[1] |= reference;
    }
}

/// The bits of the words of a match, which end before bit 64.
fn bits(one: &Match) -> [u64; 2] {
    let run = |start: u32, len: u16| u64::MAX >> (64 - u32::from(len)) << start;
    [
        run(one.candidate, one.candidate_len),
        run(one.reference, one.reference_len),
    ]
}

/// Any number of words.
impl Taken for [Vec<u64>; 2] {
    fn is_free(&self, one: &Match) -> bool {
        !one.in_candidate().any(|word| is_set(&self[0], word))
            && !one.in_reference().any(|word| is_set(&self[1], word))
    }

    fn take(&mut self, one: &Match) {
        one.in_candidate().for_each(|word| set(&mut self[0], word));
        one.in_reference().for_each(|word| set(&mut self[1], word));
    }
}

fn is_set(bits: &[u64], bit: usize) -> bool {
    bits[bit / 64] >> (bit % 64) & 1 == 1
}

fn set(bits: &mut [u64], bit: usize) {
    bits[bit / 64] |= 1 << (bit % 64);
}

/// A path that may go on, before it is written out.
struct Proposal {
    path: Path,
    parent: u32,
    taken: Option<Match>,
}

struct Search<'a, T> {
    lists: &'a Lists,
    certain: &'a [Option<Match>],
    /// The paths so far, best first.
    paths: Vec<(Path, T)>,
    /// Every match taken by some path, and the step before.
    steps: Vec<(u32, Match)>,
    proposals: Vec<Proposal>,
    /// Proposals by [`Path::order`] and then by number.
    order: Vec<(Order, u32)>,
    next_paths: Vec<(Path, T)>,
}

impl<'a, T: Taken> Search<'a, T> {
    fn new(lists: &'a Lists, mut taken: T, certain: &'a [Option<Match>]) -> Self {
        for one in certain.iter().flatten() {
            taken.take(one);
        }
        let path = Path {
            last: CLOSED,
            step: ROOT,
            ..Path::default()
        };
        Self {
            lists,
            certain,
            paths: vec![(path, taken)],
            steps: Vec::new(),
            proposals: Vec::new(),
            order: Vec::new(),
            next_paths: Vec::new(),
        }
    }

    fn run(mut self) -> Vec<Match> {
        for position in 0..self.lists.len() {
            if self.lists.at(position).is_empty() || self.certain[position].is_some() {
                self.pass(position);
            } else {
                self.branch(position);
            }
        }
        self.taken()
    }

    /// Goes over a position at which there is nothing to decide.
    fn pass(&mut self, position: usize) {
        for (path, _) in &mut self.paths {
            *path = path.passing(position, self.certain[position].as_ref());
        }
        if !self.paths.is_sorted_by_key(|(path, _)| path.order()) {
            self.paths.sort_by_key(|(path, _)| path.order());
        }
    }

    /// Tries every match that starts at a position, and none.
    fn branch(&mut self, position: usize) {
        self.proposals.clear();
        for (parent, (path, taken)) in (0u32..).zip(&self.paths) {
            let mut path = *path;
            // Within a phrase that the path has taken no match is free.
            for one in self.lists.at(position) {
                if taken.is_free(one) {
                    self.proposals.push(Proposal {
                        path: path.taking(one),
                        parent,
                        taken: Some(*one),
                    });
                    // The reference program adds it to the path it copied from: later siblings see it.
                    path.distance += displacement(one);
                }
            }
            self.proposals.push(Proposal {
                path: path.passing(position, None),
                parent,
                taken: None,
            });
        }
        // Equal paths stay in the order in which they were proposed.
        self.order.clear();
        let orders = self.proposals.iter().map(|proposal| proposal.path.order());
        self.order.extend(orders.zip(0u32..));
        if self.order.len() > BEAM {
            self.order.select_nth_unstable(BEAM);
            self.order.truncate(BEAM);
        }
        self.order.sort_unstable();
        self.next_paths.clear();
        for &(_, proposal) in &self.order {
            let Proposal {
                mut path,
                parent,
                taken,
            } = self.proposals[proposal as usize];
            let mut words = self.paths[parent as usize].1.clone();
            if let Some(one) = taken {
                words.take(&one);
                self.steps.push((path.step, one));
                path.step = self.steps.len() as u32 - 1;
            }
            self.next_paths.push((path, words));
        }
        std::mem::swap(&mut self.paths, &mut self.next_paths);
    }

    /// The matches of the best path, in the order of the reference.
    fn taken(self) -> Vec<Match> {
        let mut taken: Vec<Match> = self.certain.iter().flatten().copied().collect();
        // Paths are in the order of the last step, in which open chunks do not count yet; of those that are
        // equal once every chunk is closed the first wins.
        let paths = self.paths.iter().map(|(path, _)| path);
        let best = paths.min_by_key(|path| path.closing().order());
        let mut step = best.map_or(ROOT, |path| path.step);
        while let Some((before, one)) = self.steps.get(step as usize) {
            taken.push(*one);
            step = *before;
        }
        taken.sort_by_key(|one| one.reference);
        taken
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
        let lists = Lists::new(vec![exact(1, 0), exact(0, 1), exact(2, 1)], 2);
        assert_eq!(align(&lists, 3), [exact(1, 0), exact(2, 1)]);
    }

    #[test]
    fn a_single_word_that_is_certain_is_taken_and_one_proposed_twice_is_not() {
        let once = Lists::new(vec![stem(0, 0)], 1);
        assert_eq!(align(&once, 1), [stem(0, 0)]);
        let twice = Lists::new(vec![stem(0, 0), stem(0, 0)], 1);
        assert_eq!(align(&twice, 1), []);
    }

    #[test]
    fn nothing_to_align_is_no_alignment() {
        assert_eq!(align(&Lists::new(Vec::new(), 0), 0), []);
        assert_eq!(align(&Lists::new(Vec::new(), 2), 3), []);
    }

    #[test]
    fn captions_of_more_words_than_bits_are_aligned_alike() {
        // The same matches among few words, and with 100 unmatched words behind.
        let matches = || {
            vec![
                exact(1, 0),
                exact(0, 1),
                exact(2, 1),
                stem(3, 2),
                exact(4, 2),
            ]
        };
        let few = align(&Lists::new(matches(), 3), 5);
        assert_eq!(few, [exact(1, 0), exact(2, 1), exact(4, 2)]);
        assert_eq!(align(&Lists::new(matches(), 103), 5), few);
        assert_eq!(align(&Lists::new(matches(), 3), 105), few);
    }
}
