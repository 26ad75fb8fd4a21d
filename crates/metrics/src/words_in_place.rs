//! Words in place: how much of what a reference says in fixed places the caption says in the same places.
//!
//! Of a caption of fixed form ("A large red circle above a small blue star.") the content words are its attributes:
//! size, colour, shape, relation, and so on. The value of a caption against a reference is the share of the
//! reference's content words that the caption has at the same place among its own; of several references the best
//! counts, and the value of a corpus is the mean over captions.
//!
//! - A word is a run of letters and digits, in lower case.
//! - Content words are all but `a`, `an`, `the`, `of`, `to` and `and`.
//! - One word that is missing or too many moves all that follow, and these are then wrong: that a caption has the
//!   form is part of what is asked.
//! - Words behind the reference's last cost nothing; [`caption_exact`](crate::caption_exact) counts them.
//! - A reference without content words is passed over; an item without another adds nothing and has no value.
//!
//! This is a measure of ours. No published program computes it, and no paper reports it.
//!
//! ```
//! use sightline_metrics::words_in_place::share_in_place;
//!
//! // `large`, `circle`, `above` and `star` of seven.
//! let share = share_in_place(
//!     "a large blue circle above the large red star",
//!     &["A large red circle above a small blue star."],
//! );
//! assert_eq!(share, Some(4.0 / 7.0));
//! ```

use crate::metric::{Mean, Metric, MetricInfo};
use crate::{Caption, CaptionItem, Input, Resources, Result};

/// `words-in-place`.
pub static WORDS_IN_PLACE: WordsInPlace = WordsInPlace;

/// Words that say nothing of a scene.
const FUNCTION_WORDS: [&str; 6] = ["a", "an", "the", "of", "to", "and"];

/// The share of a reference's content words that `candidate` has at the same place, 0 to 1, for the reference that
/// gives the largest; `None` where no reference has content words.
pub fn share_in_place(candidate: &str, references: &[impl AsRef<str>]) -> Option<f64> {
    let candidate = content_words(candidate);
    references
        .iter()
        .filter_map(|reference| {
            let reference = content_words(reference.as_ref());
            let pairs = reference.iter().zip(&candidate);
            let right = pairs.filter(|(reference, said)| reference == said).count();
            (!reference.is_empty()).then(|| right as f64 / reference.len() as f64)
        })
        .reduce(f64::max)
}

/// The content words of a text, in order.
fn content_words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .filter(|word| !FUNCTION_WORDS.contains(&word.as_str()))
        .collect()
}

/// Words in place.
#[derive(Debug)]
pub struct WordsInPlace;

impl Metric for WordsInPlace {
    type Item = CaptionItem;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "words-in-place",
            version: 1,
            input: Input::Caption,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: "Share of a reference's content words that the caption has at the same place among its own.",
        }
    }

    fn corpus(&self, _: &[CaptionItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &CaptionItem) -> Mean {
        let references: Vec<&str> = item.references.iter().map(Caption::raw).collect();
        match share_in_place(item.candidate.raw(), &references) {
            Some(share) => Mean::of(share),
            None => Mean::default(),
        }
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    const REFERENCE: [&str; 1] = ["A large red circle above a small blue star."];

    #[test]
    fn words_count_at_their_places() {
        for (candidate, right) in [
            ("a large red circle above a small blue star", 7.0),
            ("LARGE red-circle, above: small blue star and more", 7.0),
            ("a small red circle above a small blue star", 6.0),
            ("a large red circle", 3.0),
            // One word too many, and all that follows stands elsewhere.
            ("a very large red circle above a small blue star", 0.0),
            ("a small blue star below a large red circle", 0.0),
            ("", 0.0),
        ] {
            let share = share_in_place(candidate, &REFERENCE);
            assert_eq!(share, Some(right / 7.0), "{candidate}");
        }
        let best = share_in_place("a red star", &["a red circle", "the red star", ""]);
        assert_eq!(best, Some(1.0));
    }

    #[test]
    fn references_without_content_are_no_references() {
        assert_eq!(share_in_place("a dog", &["the", "."]), None);
        let none: [&str; 0] = [];
        let items = [
            CaptionItem::new("a red circle", &REFERENCE),
            CaptionItem::new("a large red star", &REFERENCE),
            CaptionItem::new("a dog", &["of the"]),
            CaptionItem::new("a dog", &none),
        ];
        let stats: Vec<Mean> = items.iter().map(|i| WORDS_IN_PLACE.stats(&(), i)).collect();
        assert_eq!(WORDS_IN_PLACE.value(&merged(&stats)), Some(1.0 / 7.0));
        assert_eq!(WORDS_IN_PLACE.value(&stats[2]), None);
    }
}
