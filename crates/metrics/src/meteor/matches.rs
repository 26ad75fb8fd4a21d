//! What an alignment is made of: matches of words and phrases.

/// Why two words or phrases match, in the order of the modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// The same word.
    Exact,
    /// Different words of one stem.
    Stem,
    /// Different words of one synonym set.
    Synonym,
    /// Two phrases of the paraphrase table.
    Paraphrase,
}

impl Module {
    /// Every module, in order.
    pub const ALL: [Self; 4] = [Self::Exact, Self::Stem, Self::Synonym, Self::Paraphrase];

    /// The name in explanations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Stem => "stem",
            Self::Synonym => "synonym",
            Self::Paraphrase => "paraphrase",
        }
    }

    /// What one matched word counts in the score (METEOR 1.5, English).
    pub fn weight(self) -> f64 {
        [1.0, 0.6, 0.8, 0.6][self as usize]
    }
}

/// A word or phrase of the candidate and one of the reference that could be aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// First word in the candidate.
    pub candidate: u32,
    /// Number of words in the candidate.
    pub candidate_len: u16,
    /// First word in the reference.
    pub reference: u32,
    /// Number of words in the reference.
    pub reference_len: u16,
    /// Why they match.
    pub module: Module,
}

impl Match {
    /// Positions in the candidate.
    pub(super) fn in_candidate(&self) -> std::ops::Range<usize> {
        let start = self.candidate as usize;
        start..start + usize::from(self.candidate_len)
    }

    /// Positions in the reference.
    pub(super) fn in_reference(&self) -> std::ops::Range<usize> {
        let start = self.reference as usize;
        start..start + usize::from(self.reference_len)
    }
}

/// The possible matches of a candidate and a reference, by the position in the reference at which they
/// start.
#[derive(Debug, Default)]
pub(super) struct Lists {
    matches: Vec<Match>,
    /// For each position and one more: its first match.
    starts: Vec<u32>,
}

impl Lists {
    /// Lists for the positions of a reference of `positions` words. Matches that start at one position stay
    /// in the order given.
    pub(super) fn new(mut matches: Vec<Match>, positions: usize) -> Self {
        matches.sort_by_key(|one| one.reference);
        let mut starts = Vec::with_capacity(positions + 1);
        let mut before = 0;
        for position in 0..positions as u32 {
            starts.push(before as u32);
            let rest = matches[before..].iter();
            before += rest.take_while(|one| one.reference == position).count();
        }
        starts.push(before as u32);
        Self { matches, starts }
    }

    /// Number of positions.
    pub(super) fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The matches that start at `position`.
    pub(super) fn at(&self, position: usize) -> &[Match] {
        &self.matches[self.starts[position] as usize..self.starts[position + 1] as usize]
    }

    /// Every match, in the order of the positions.
    pub(super) fn all(&self) -> &[Match] {
        &self.matches
    }
}
