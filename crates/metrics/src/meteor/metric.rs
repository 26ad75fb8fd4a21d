//! The registered metrics.

use std::borrow::Cow;
use std::sync::Arc;

use sightline_text::meteor::Normalizer;

use super::align::align;
use super::find::Finder;
use super::matches::Match;
use super::stats::Sums;
use super::tables::Tables;
use super::word::{Lexicon, Line, Text};
use crate::error::WhichCaption;
use crate::metric::{Metric, MetricInfo};
use crate::{CaptionItem, Error, Input, Resources, Result};

/// Most words of a caption. The search takes time in proportion to the words of the candidate times
/// those of the reference.
pub const MAX_WORDS: usize = 2000;
/// `meteor`.
pub static METEOR: Meteor = Meteor {
    id: "meteor",
    has_tables: true,
    description: "METEOR 1.5, English, as the COCO caption tools call it: exact, stem, synonym and paraphrase matches; corpus value from summed statistics.",
};

/// `meteor-lite`.
pub static LITE: Meteor = Meteor {
    id: "meteor-lite",
    has_tables: false,
    description: "METEOR 1.5's alignment and formula with exact and stem matches only, every word a content word: needs no tables and is not comparable with `meteor`.",
};

/// METEOR 1.5 with its tables or without.
#[derive(Debug)]
pub struct Meteor {
    id: &'static str,
    has_tables: bool,
    description: &'static str,
}

impl Metric for Meteor {
    type Item = CaptionItem;
    type Corpus = Lexicon;
    type Stats = Sums;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::Caption,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn corpus(&self, items: &[CaptionItem], resources: &Resources) -> Result<Lexicon> {
        for (item, captions) in items.iter().enumerate() {
            let references = captions.references.iter().enumerate();
            let references = references.map(|(number, one)| (WhichCaption::Reference(number), one));
            let candidate = (WhichCaption::Candidate, &captions.candidate);
            for (caption, text) in references.chain([candidate]) {
                let words = words_bound(text.tokenized());
                if words > MAX_WORDS {
                    return Err(Error::TooLong {
                        metric: self.id,
                        item,
                        caption,
                        words,
                        limit: MAX_WORDS,
                    });
                }
            }
        }
        let tables = if self.has_tables {
            resources.meteor.clone().ok_or(Error::NeedsTable {
                metric: self.id,
                needs: "its table of synonyms and paraphrases",
                remedy: "Run `sightline metrics setup` once, or use `meteor-lite`, which is another metric.",
            })?
        } else {
            Arc::new(Tables::empty())
        };
        Ok(Lexicon::new(tables))
    }

    fn stats(&self, lexicon: &Lexicon, item: &CaptionItem) -> Sums {
        best(lexicon, item).map_or_else(Sums::default, |best| best.sums)
    }

    fn value(&self, sums: &Sums) -> Option<f64> {
        sums.score()
    }
}

/// At least as many words as a caption has. The normaliser makes a word of each character at worst, so
/// that short captions need no counting.
fn words_bound(tokenized: &str) -> usize {
    if tokenized.len() <= MAX_WORDS {
        tokenized.len()
    } else {
        let normalized = Normalizer::without_prefixes().normalize(tokenized);
        sightline_text::meteor::words(&normalized).count()
    }
}

/// The reference that scores best, and its alignment.
pub(super) struct Best {
    pub(super) reference: usize,
    pub(super) taken: Vec<Match>,
    pub(super) sums: Sums,
    score: Option<f64>,
}

/// Aligns the candidate with every reference; of equal scores the first counts. `None` without a
/// reference.
pub(super) fn best(lexicon: &Lexicon, item: &CaptionItem) -> Option<Best> {
    let tables = lexicon.tables();
    let mut known = lexicon.known();
    let candidate = known.line(&as_sent(item.candidate.tokenized()), tables);
    let references: Vec<Line> = item
        .references
        .iter()
        .map(|reference| known.line(reference.tokenized(), tables))
        .collect();
    let candidate = known.text(&candidate);
    let references: Vec<Text<'_>> = references.iter().map(|line| known.text(line)).collect();
    let mut finder = Finder::new(&candidate, &references, tables);
    let mut best: Option<Best> = None;
    for (number, reference) in references.iter().enumerate() {
        let taken = align(&finder.matches(reference), candidate.words.len());
        let sums = Sums::new(&candidate.words, &reference.words, &taken);
        let score = sums.score();
        if best.as_ref().is_none_or(|best| score > best.score) {
            best = Some(Best {
                reference: number,
                taken,
                sums,
                score,
            });
        }
    }
    best
}

/// The candidate as the Python wrapper sends it to the reference program.
pub(super) fn as_sent(candidate: &str) -> Cow<'_, str> {
    if candidate.contains("|||") || candidate.contains("  ") {
        candidate.replace("|||", "").replace("  ", " ").into()
    } else {
        candidate.into()
    }
}
