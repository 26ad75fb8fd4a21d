//! An alignment for people: which words were matched, and why.

use std::sync::Arc;

use super::align::align;
use super::find::Finder;
use super::matches::Match;
use super::metric::{as_sent, best};
use super::stats::Sums;
use super::tables::Tables;
use super::word::{Known, Lexicon};
use crate::CaptionItem;

/// The alignment of a candidate with the reference that scores best.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// Number of the reference.
    pub reference: usize,
    /// Words of the candidate, normalised.
    pub candidate_words: Vec<String>,
    /// Words of the reference, normalised.
    pub reference_words: Vec<String>,
    /// What is aligned, in the order of the reference.
    pub matches: Vec<Match>,
    /// What the score is computed from.
    pub sums: Sums,
}

/// Aligns `item`; `None` without a reference.
pub fn alignment(item: &CaptionItem, tables: &Arc<Tables>) -> Option<Alignment> {
    let lexicon = Lexicon::new(Arc::clone(tables));
    let best = best(&lexicon, item)?;
    let words = |line: &str| {
        let normalized = tables.normalizer().normalize(line);
        sightline_text::meteor::words(&normalized)
            .map(str::to_owned)
            .collect()
    };
    Some(Alignment {
        reference: best.reference,
        candidate_words: words(&as_sent(item.candidate.tokenized())),
        reference_words: words(item.references[best.reference].tokenized()),
        matches: best.taken,
        sums: best.sums,
    })
}

/// Aligns words that are normalised already: what is taken, in the order of the reference, and the sums.
pub fn align_words(
    candidate: &[&str],
    reference: &[&str],
    tables: &Arc<Tables>,
) -> (Vec<Match>, Sums) {
    let mut known = Known::default();
    let candidate = known.line_of(candidate.iter().copied(), tables);
    let reference = known.line_of(reference.iter().copied(), tables);
    let (candidate, reference) = (known.text(&candidate), [known.text(&reference)]);
    let mut finder = Finder::new(&candidate, &reference, tables);
    let [reference] = &reference;
    let taken = align(&finder.matches(reference), candidate.words.len());
    let sums = Sums::new(&candidate.words, &reference.words, &taken);
    (taken, sums)
}
