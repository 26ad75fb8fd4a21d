//! ROUGE-L (Lin 2004) as the COCO caption tools compute it (pycocoevalcap 1.2).
//!
//! The longest common subsequence with each reference, divided by the length of the candidate
//! (precision) and of the reference (recall). The best precision and the best recall count, which may
//! come from different references:
//!
//! ```text
//! rouge-l = (1 + β²) · P · R / (R + β² · P),  β = 1.2
//! ```
//!
//! and 0 where either is. The value of a corpus is the mean. An item without references adds nothing and
//! has no value.
//!
//! Words are what stands between single spaces of the tokenised caption, so that an empty caption is one
//! empty word: empty against empty is 1. [`crate::rouge_score`] is another measure of a similar name.
//!
//! Time for one reference is at worst the product of both lengths divided by 64: under a second for two
//! captions of 200,000 words that are all the same word, a few for two megabytes of one-letter words.

use crate::lcs::Columns;
use crate::metric::{Mean, Metric, MetricInfo};
use crate::{CaptionItem, Input, Resources, Result};

/// Weight of recall.
const BETA: f64 = 1.2;

/// `rouge-l`.
pub static ROUGE_L: RougeL = RougeL;

/// ROUGE-L of the COCO caption tools.
#[derive(Debug)]
pub struct RougeL;

impl Metric for RougeL {
    type Item = CaptionItem;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "rouge-l",
            version: 1,
            input: Input::Caption,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: "F-measure of the longest common subsequence, precision and recall each from their best reference, as in the COCO caption tools.",
        }
    }

    fn corpus(&self, _: &[CaptionItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &CaptionItem) -> Mean {
        if item.references.is_empty() {
            Mean::default()
        } else {
            Mean::of(score(item))
        }
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

fn score(item: &CaptionItem) -> f64 {
    let candidate: Vec<&str> = item.candidate.tokenized().split(' ').collect();
    let columns = Columns::new(&candidate);
    let (mut precision, mut recall) = (0.0f64, 0.0f64);
    for reference in &item.references {
        let mut words = 0usize;
        let reference = reference.tokenized().split(' ').inspect(|_| words += 1);
        let common = columns.longest_with(reference) as f64;
        precision = precision.max(common / candidate.len() as f64);
        recall = recall.max(common / words as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    (1.0 + BETA * BETA) * precision * recall / (recall + BETA * BETA * precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score_of(candidate: &str, references: &[&str]) -> f64 {
        score(&CaptionItem::from_tokens(candidate, references))
    }

    #[test]
    fn precision_and_recall_come_from_different_references() {
        // The first reference gives a precision of 3/4 and a recall of 3/8, the second 2/4 and 2/2.
        let value = score_of("a b c d", &["a x b y c z u v", "a d"]);
        let (precision, recall) = (0.75, 1.0);
        let expected = 2.44 * precision * recall / (recall + 1.44 * precision);
        assert!((value - expected).abs() < 1e-15, "{value}");
    }

    #[test]
    fn an_empty_caption_is_one_empty_word() {
        assert!((score_of("", &[""]) - 1.0).abs() < 1e-15);
        assert!(score_of("", &["a dog"]).abs() < 1e-15);
        assert!(score_of("a dog", &[""]).abs() < 1e-15);
    }

    #[test]
    fn without_references_there_is_no_value() {
        let none = ROUGE_L.stats(&(), &CaptionItem::from_tokens("a dog", &[] as &[&str]));
        assert_eq!(ROUGE_L.value(&none), None);
    }
}
