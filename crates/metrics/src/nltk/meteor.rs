//! nltk's METEOR (the formula of Lavie and Agarwal 2007) where no `WordNet` is installed: words match if
//! they are equal, or else if their Porter stems are.
//!
//! Candidates are matched from their last word on, each to the last free place of its word in the
//! reference, first all equal words and then all equal stems. With `m` matches in `c` runs that are
//! adjacent in both texts, precision P and recall R, the score is
//! `PR/(0.9 P + 0.1 R) · (1 - 0.5 (c/m)³)`; of several references the best counts.
//!
//! A perfect caption of `n` words scores `1 - 0.5/n³`: it is one run of `n` matches, and runs are charged.
//! nltk has no score for a corpus; the value of one is the mean over items.

use foldhash::HashMap;
use sightline_text::porter;

use crate::metric::{Mean, Metric, MetricInfo};
use crate::words;
use crate::{CaptionItem, Input, Resources, Result};

const ALPHA: f64 = 0.9;
const BETA: i32 = 3;
const GAMMA: f64 = 0.5;

/// `nltk-meteor-no-wordnet`.
pub static METEOR_NO_WORDNET: MeteorMetric = MeteorMetric;

/// `meteor_score` of nltk without `WordNet`, over tokenized captions; `None` without references, where
/// nltk raises an error.
pub fn meteor(item: &CaptionItem) -> Option<f64> {
    let candidate = Text::new(item.candidate.tokenized());
    let scores = item
        .references
        .iter()
        .map(|reference| score(&candidate, &Text::new(reference.tokenized())));
    scores.reduce(f64::max)
}

/// The words of a caption, in lower case.
struct Text {
    words: Vec<String>,
}

impl Text {
    fn new(tokenized: &str) -> Self {
        Self {
            words: words::split(tokenized).map(str::to_lowercase).collect(),
        }
    }
}

fn score(candidate: &Text, reference: &Text) -> f64 {
    let matches = aligned(&candidate.words, &reference.words);
    if matches.is_empty() {
        return 0.0;
    }
    let count = matches.len() as f64;
    let precision = count / candidate.words.len() as f64;
    let recall = count / reference.words.len() as f64;
    let mean = precision * recall / (ALPHA * precision + (1.0 - ALPHA) * recall);
    let fragmentation = chunks(&matches) as f64 / count;
    (1.0 - GAMMA * fragmentation.powi(BETA)) * mean
}

/// Places of matching words in the candidate and in the reference, in the order of the candidate.
fn aligned(candidate: &[String], reference: &[String]) -> Vec<(usize, usize)> {
    let mut places: Vec<Option<usize>> = vec![None; candidate.len()];
    let mut is_taken = vec![false; reference.len()];
    let words = |text: &[String], place: usize| text[place].clone();
    take_matches(candidate, reference, words, &mut places, &mut is_taken);
    let stems = |text: &[String], place: usize| porter::stem(&text[place]);
    take_matches(candidate, reference, stems, &mut places, &mut is_taken);
    let taken = places.into_iter().enumerate();
    taken
        .filter_map(|(place, other)| Some((place, other?)))
        .collect()
}

/// Matches words that are still free by what `form` makes of them.
fn take_matches(
    candidate: &[String],
    reference: &[String],
    form: impl Fn(&[String], usize) -> String,
    places: &mut [Option<usize>],
    is_taken: &mut [bool],
) {
    let mut free: HashMap<String, Vec<usize>> = HashMap::default();
    for place in (0..reference.len()).filter(|&place| !is_taken[place]) {
        free.entry(form(reference, place)).or_default().push(place);
    }
    for place in (0..candidate.len()).rev() {
        if places[place].is_none()
            && let Some(other) = free.get_mut(&form(candidate, place)).and_then(Vec::pop)
        {
            places[place] = Some(other);
            is_taken[other] = true;
        }
    }
}

/// Runs of matches that are adjacent in both texts.
fn chunks(matches: &[(usize, usize)]) -> usize {
    let breaks = matches
        .windows(2)
        .filter(|pair| pair[1] != (pair[0].0 + 1, pair[0].1 + 1));
    1 + breaks.count()
}

/// nltk's METEOR in the registry.
#[derive(Debug)]
pub struct MeteorMetric;

impl Metric for MeteorMetric {
    type Item = CaptionItem;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "nltk-meteor-no-wordnet",
            version: 1,
            input: Input::Caption,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: "METEOR of nltk 3.10.4 without WordNet: equal words and equal Porter \
                stems, the formula of 2007; a corpus by the mean over items.",
        }
    }

    /// What one run of twelve words, those of the conformance kit's perfect captions, is charged.
    fn shortfall(&self) -> f64 {
        GAMMA / 12f64.powi(BETA)
    }

    fn corpus(&self, _: &[CaptionItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &CaptionItem) -> Mean {
        meteor(item).map_or_else(Mean::default, Mean::of)
    }

    fn value(&self, mean: &Mean) -> Option<f64> {
        mean.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Caption;

    fn score_of(candidate: &str, references: &[&str]) -> Option<f64> {
        let caption = |text: &str| Caption::from_tokens(text, text);
        meteor(&CaptionItem {
            candidate: caption(candidate),
            references: references.iter().copied().map(caption).collect(),
        })
    }

    /// Values of nltk 3.10.4.
    #[test]
    fn scores_agree_with_nltk() {
        let is = |candidate, references: &[&str], expected: f64| {
            let score = score_of(candidate, references).unwrap();
            assert!((score - expected).abs() < 1e-12, "{candidate}: {score}");
        };
        let church = [
            "a traffic light hanging from a wire above a street",
            "a tall church tower sitting on the corner of a street",
        ];
        is("a", &church, 0.054_945_054_945_054_944);
        is(
            "a rustic fireplace along a wall in a living room",
            &["a rustic fireplace along a wall in a living room"],
            0.9995,
        );
        is(
            "a person laying crushed underneath luggages",
            &["person crushes luggage"],
            0.454_545_454_545_454_53,
        );
        is("", &["a"], 0.0);
        is("a", &[""], 0.0);
        assert_eq!(score_of("a", &[]), None);
    }

    #[test]
    fn each_word_takes_the_last_free_place() {
        let words = |text: &str| words::split(text).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            aligned(&words("the dogs the"), &words("the the dog the")),
            [(0, 1), (1, 2), (2, 3)]
        );
    }
}
