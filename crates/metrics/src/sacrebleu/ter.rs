//! TER (Snover et al. 2006) as sacrebleu computes it: the edits that make a reference of the
//! candidate, where moving a block of words is one edit, in percent of the references' mean length.
//!
//! Of several references the one that needs fewest edits counts, and the mean of all lengths. The search
//! for moves is bounded (at most 1,000 tried for a pair of texts), so captions of any length are
//! scored; a caption of a megabyte against a reference of the same size takes about 50 MB.

use super::References;
use super::shifts::edits;
use super::signature::{VERSION, case, over, yes_no};
use crate::metric::{Metric, MetricInfo, Stats, merged};
use crate::words::{self, Vocabulary};
use crate::{CaptionItem, Input, Resources, Result};

/// `sacrebleu-ter`.
pub static TER: TerMetric = TerMetric {
    settings: Ter::DEFAULT,
};

/// Settings of TER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four switches that the reference program has, free of each other"
)]
pub struct Ter {
    /// Whether punctuation is made into words and XML entities into characters.
    pub normalized: bool,
    /// Whether `. , ? : ; ! " ( )` are removed.
    pub no_punct: bool,
    /// Whether the two above know ideographs and their punctuation.
    pub asian_support: bool,
    /// Whether upper and lower case differ.
    pub case_sensitive: bool,
}

impl Ter {
    const DEFAULT: Self = Self {
        normalized: false,
        no_punct: false,
        asian_support: false,
        case_sensitive: false,
    };

    /// What scores depend on, as sacrebleu writes it.
    pub fn signature(&self, references: References) -> String {
        format!(
            "nrefs:{references}|case:{}|tok:tercom|norm:{}|punct:{}|asian:{}|version:{VERSION}",
            case(!self.case_sensitive),
            yes_no(self.normalized),
            yes_no(!self.no_punct),
            yes_no(self.asian_support),
        )
    }

    /// The counts of one item; of nothing if it has no references.
    pub fn counts(&self, item: &CaptionItem) -> TerCounts {
        let candidate = self.tokenize(item.candidate.raw());
        let mut vocabulary = Vocabulary::default();
        let candidate: Vec<u32> = words::split(&candidate)
            .map(|word| vocabulary.add(word))
            .collect();
        let mut lengths = 0;
        let mut fewest: Option<u64> = None;
        for reference in &item.references {
            let reference = self.tokenize(reference.raw());
            let reference: Vec<u32> = words::split(&reference)
                .map(|word| vocabulary.find(word))
                .collect();
            lengths += reference.len();
            let edits = edits(candidate.clone(), &reference);
            fewest = Some(fewest.map_or(edits, |fewest| fewest.min(edits)));
        }
        match fewest {
            Some(edits) => TerCounts {
                items: 1,
                edits,
                reference_len: lengths as f64 / item.references.len() as f64,
            },
            None => TerCounts::default(),
        }
    }

    /// The score of merged counts, in percent; `None` of no items. Edits of empty references count as
    /// 100.
    pub fn score(&self, counts: &TerCounts) -> Option<f64> {
        if counts.items == 0 {
            None
        } else if counts.reference_len > 0.0 {
            Some(100.0 * (counts.edits as f64 / counts.reference_len))
        } else if counts.edits > 0 {
            Some(100.0)
        } else {
            Some(0.0)
        }
    }

    /// The score of items together, `corpus_score` of sacrebleu, in percent.
    pub fn corpus(&self, items: &[CaptionItem]) -> Option<f64> {
        let counts: Vec<TerCounts> = items.iter().map(|item| self.counts(item)).collect();
        self.score(&merged(&counts))
    }
}

/// What TER counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TerCounts {
    /// Items with references.
    pub items: u64,
    /// Edits that the best reference of each item needs.
    pub edits: u64,
    /// Mean number of words of each item's references.
    pub reference_len: f64,
}

impl Stats for TerCounts {
    fn merge(&mut self, other: &Self) {
        self.items += other.items;
        self.edits += other.edits;
        self.reference_len += other.reference_len;
    }
}

/// TER in the registry.
#[derive(Debug)]
pub struct TerMetric {
    settings: Ter,
}

impl Metric for TerMetric {
    type Item = CaptionItem;
    type Corpus = ();
    type Stats = TerCounts;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "sacrebleu-ter",
            version: 1,
            input: Input::Caption,
            range: [0.0, f64::INFINITY],
            higher_is_better: false,
            description: "TER of sacrebleu 2.6.0 with its default settings: edits and moves in \
                percent of the references' length, without regard to case.",
        }
    }

    fn signature(&self, items: Option<&[CaptionItem]>) -> Option<String> {
        Some(over(items, |references| {
            self.settings.signature(references)
        }))
    }

    fn corpus(&self, _: &[CaptionItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &CaptionItem) -> TerCounts {
        self.settings.counts(item)
    }

    fn value(&self, counts: &TerCounts) -> Option<f64> {
        self.settings.score(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of sacrebleu 2.6.0.
    #[test]
    fn scores_agree_with_sacrebleu() {
        let is = |candidate, references: &[&str], expected: f64| {
            let item = CaptionItem::new(candidate, references);
            let score = Ter::DEFAULT.corpus(&[item]).unwrap();
            assert!((score - expected).abs() < 1e-9, "{candidate}: {score}");
        };
        is("", &["a cat on a mat", "the cat sat"], 75.0);
        is("", &[""], 0.0);
        is("a", &[""], 100.0);
        is(
            "b a d c f e h g",
            &["a b c d e f g h", "h g f e d c b a"],
            50.0,
        );
        is("A MAN", &["a man"], 0.0);
        is(
            "the man the woman the dog the cat the bird the tree",
            &[
                "the tree the bird the cat the dog the woman the man",
                "the the the man woman dog",
            ],
            55.555_555_555_555_55,
        );
    }

    #[test]
    fn signatures_name_all_settings() {
        let ter = Ter {
            normalized: true,
            no_punct: true,
            asian_support: true,
            case_sensitive: true,
        };
        assert_eq!(
            ter.signature(References::Vary),
            "nrefs:var|case:mixed|tok:tercom|norm:yes|punct:no|asian:yes|version:2.6.0"
        );
    }
}
