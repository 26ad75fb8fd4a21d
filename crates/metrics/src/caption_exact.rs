//! Exact captions: the share of captions that say one of the references, word for word.
//!
//! Sensible where captions have a fixed form, as descriptions of drawn scenes have, and hardly anywhere else. What
//! does not change what is said does not count: case, white space before, between and after the words (as Python's
//! `str.split`), and punctuation at the end (`.`, `!`, `?`, `,`, `;`, `:`, any number of them, spaces between). All
//! other marks do: `t-shirt` is not `t shirt`.
//!
//! An item without references adds nothing and has no value. No published program computes this under this name.
//!
//! ```
//! use sightline_metrics::caption_exact::is_exact;
//!
//! assert!(is_exact("a red  circle", &["A red circle."]));
//! assert!(!is_exact("a red circle", &["A red circle above a blue star."]));
//! ```

use crate::metric::{Mean, Metric, MetricInfo};
use crate::words::{is_space, split};
use crate::{Caption, CaptionItem, Input, Resources, Result};

/// `caption-exact`.
pub static CAPTION_EXACT: CaptionExact = CaptionExact;

/// Whether `candidate` says what one of `references` says.
pub fn is_exact(candidate: &str, references: &[impl AsRef<str>]) -> bool {
    let candidate = said(candidate);
    references
        .iter()
        .any(|reference| said(reference.as_ref()) == candidate)
}

/// What counts of a caption: its words in lower case, single spaces between, without the marks at its end.
fn said(caption: &str) -> String {
    let is_end = |c: char| is_space(c) || matches!(c, '.' | '!' | '?' | ',' | ';' | ':');
    let words: Vec<&str> = split(caption.trim_end_matches(is_end)).collect();
    words.join(" ").to_lowercase()
}

/// Exact captions.
#[derive(Debug)]
pub struct CaptionExact;

impl Metric for CaptionExact {
    type Item = CaptionItem;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "caption-exact",
            version: 1,
            input: Input::Caption,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: "Share of captions that equal a reference; case, white space and the marks at the end apart.",
        }
    }

    fn corpus(&self, _: &[CaptionItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &CaptionItem) -> Mean {
        if item.references.is_empty() {
            return Mean::default();
        }
        let references: Vec<&str> = item.references.iter().map(Caption::raw).collect();
        let exact = is_exact(item.candidate.raw(), &references);
        Mean::of(f64::from(u8::from(exact)))
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    #[test]
    fn what_says_the_same_is_exact() {
        let reference = ["A large red circle above a small blue star."];
        for same in [
            "A large red circle above a small blue star.",
            "a large red circle above a small blue star",
            "  a large red circle\tabove a small\nblue star . ",
            "A LARGE RED CIRCLE ABOVE A SMALL BLUE STAR!?",
        ] {
            assert!(is_exact(same, &reference), "{same}");
        }
        for other in [
            "",
            ".",
            "a large red circle above a small blue",
            "a large red circle, above a small blue star.",
            "a small blue star below a large red circle.",
        ] {
            assert!(!is_exact(other, &reference), "{other}");
        }
        assert!(is_exact("two", &["one", "Two."]), "of several, any");
        assert!(is_exact("ÉTÉ", &["été."]));
    }

    #[test]
    fn the_value_is_the_share_of_captions_with_references() {
        let none: [&str; 0] = [];
        let items = [
            CaptionItem::new("a dog", &["A dog."]),
            CaptionItem::new("a dog", &["a cat"]),
            CaptionItem::new("", &["a cat"]),
            CaptionItem::new("a dog", &none),
        ];
        let stats: Vec<Mean> = items.iter().map(|i| CAPTION_EXACT.stats(&(), i)).collect();
        assert_eq!(CAPTION_EXACT.value(&merged(&stats)), Some(1.0 / 3.0));
        assert_eq!(CAPTION_EXACT.value(&stats[3]), None);
    }
}
