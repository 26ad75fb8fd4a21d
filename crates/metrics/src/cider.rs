//! CIDEr-D and CIDEr (Vedantam et al. 2015) as the COCO caption tools compute them (pycocoevalcap 1.2).
//!
//! For n of 1 to 4 a caption is a vector over its n-grams g, count · idf(g) with
//! `idf(g) = ln(N) - ln(max(1, df(g)))`: N is the number of images and df(g) in how many of them a
//! reference has g. With h the candidate's vector and r a reference's,
//!
//! ```text
//! cider   = 10 · mean over references and n of  Σ h·r / (|h| |r|)
//! cider-d = 10 · mean over references and n of  Σ min(h, r)·r / (|h| |r|) · exp(-d² / 72)
//! ```
//!
//! where d is the difference of the numbers of bigrams and a quotient with a zero norm is 0. The value
//! of a corpus is the mean over images. What the COCO tools print as "CIDEr" is `cider-d`. Both range
//! from 0 to 10, and papers print them times 100: a "CIDEr of 113" is 1.13 here.
//!
//! Document frequencies are those of the evaluated references, so a score depends on which images are
//! evaluated together, and one image alone scores 0, since ln 1 = 0. [`DocumentFrequencies`] in
//! [`crate::Resources`] take their place when given; N is then that of the table.
//!
//! Frequencies stay pinned while resampling: intervals, and values of items and of parts, start from
//! the sums that were made once with the frequencies of all items. An item without references is not
//! counted in N, adds nothing and has no value.
//!
//! Words are what stands between white space in the tokenised caption ([`crate::Caption::tokenized`]).

mod explain;
mod frequencies;
mod json;
mod pickle;
mod vectors;

use std::sync::Arc;

pub use explain::{Contribution, Part, explain};
pub use frequencies::DocumentFrequencies;

use vectors::Space;

use crate::metric::{Metric, MetricInfo, Stats};
use crate::{CaptionItem, Error, Input, Resources, Result};

/// Words of the longest n-grams.
const LONGEST: usize = 4;
/// Standard deviation of the Gaussian over differences in length.
const SIGMA: f64 = 6.0;
/// Factor of the published programs.
const SCALE: f64 = 10.0;

/// `cider`.
pub static CIDER: Cider = Cider {
    is_d: false,
    id: "cider",
    description: "Mean cosine of the tf-idf vectors of one to four words with those of the references, times 10.",
};

/// `cider-d`.
pub static CIDER_D: Cider = Cider {
    is_d: true,
    id: "cider-d",
    description: "CIDEr with counts clipped to the reference and a penalty for other lengths: what the COCO caption tools print as CIDEr.",
};

/// CIDEr or CIDEr-D.
#[derive(Debug)]
pub struct Cider {
    is_d: bool,
    id: &'static str,
    description: &'static str,
}

/// What both sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Items.
    pub items: u64,
    /// Sum of the items' CIDEr.
    pub cider: f64,
    /// Sum of the items' CIDEr-D.
    pub cider_d: f64,
}

impl Stats for Sums {
    fn merge(&mut self, other: &Self) {
        self.items += other.items;
        self.cider += other.cider;
        self.cider_d += other.cider_d;
    }
}

impl Metric for Cider {
    type Item = CaptionItem;
    type Corpus = Arc<DocumentFrequencies>;
    type Stats = Sums;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::Caption,
            range: [0.0, SCALE],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        "cider"
    }

    fn corpus(&self, items: &[CaptionItem], resources: &Resources) -> Result<Self::Corpus> {
        match &resources.document_frequencies {
            Some(given) if given.images() == 0 => Err(Error::FrequenciesOfNothing),
            Some(given) => Ok(Arc::clone(given)),
            None => Ok(Arc::new(DocumentFrequencies::from_items(items))),
        }
    }

    fn stats(&self, frequencies: &Self::Corpus, item: &CaptionItem) -> Sums {
        if item.references.is_empty() {
            return Sums::default();
        }
        let lengths = item.references.iter().map(|r| r.tokenized().len());
        let mut space = Space::new(frequencies, item.candidate.tokenized(), lengths.sum());
        let (mut cider, mut cider_d) = (0.0, 0.0);
        for reference in &item.references {
            let similarity = space.similarity(reference.tokenized());
            cider += similarity.cosine;
            cider_d += similarity.clipped;
        }
        let scale = SCALE / item.references.len() as f64;
        Sums {
            items: 1,
            cider: cider * scale,
            cider_d: cider_d * scale,
        }
    }

    fn value(&self, sums: &Sums) -> Option<f64> {
        let sum = if self.is_d { sums.cider_d } else { sums.cider };
        (sums.items > 0).then(|| sum / sums.items as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(items: &[CaptionItem], resources: &Resources) -> Vec<Sums> {
        let corpus = CIDER_D.corpus(items, resources).unwrap();
        items
            .iter()
            .map(|item| CIDER_D.stats(&corpus, item))
            .collect()
    }

    #[test]
    fn one_image_alone_scores_nothing() {
        let item = CaptionItem::from_tokens("a dog on a bench", &["a dog on a bench"]);
        let one = sums(&[item], &Resources::default());
        assert_eq!((one[0].cider, one[0].cider_d, one[0].items), (0.0, 0.0, 1));
    }

    #[test]
    fn a_longer_candidate_loses_by_the_gaussian_and_a_repeated_word_by_clipping() {
        let items = [
            CaptionItem::from_tokens("x x", &["x"]),
            CaptionItem::from_tokens("y", &["z"]),
        ];
        let sums = sums(&items, &Resources::default());
        // Only words are in both; their vectors are parallel, and one bigram is more than none.
        let unigram = 10.0 / 4.0;
        assert!((sums[0].cider - unigram).abs() < 1e-12);
        let clipped = unigram / 2.0 * (-1.0f64 / 72.0).exp();
        assert!((sums[0].cider_d - clipped).abs() < 1e-12);
        assert_eq!((sums[1].cider, sums[1].cider_d), (0.0, 0.0));
    }

    #[test]
    fn an_item_without_references_changes_no_other() {
        let mut items = vec![
            CaptionItem::from_tokens("a dog on a bench", &["a dog on the bench", "a dog"]),
            CaptionItem::from_tokens("a cat", &["the cat sits"]),
        ];
        let before = sums(&items, &Resources::default());
        items.push(CaptionItem::from_tokens("a dog", &[] as &[&str]));
        let after = sums(&items, &Resources::default());
        assert_eq!(before, after[..2]);
        assert_eq!(CIDER.value(&after[2]), None);
    }

    #[test]
    fn given_frequencies_take_the_place_of_those_of_the_references() {
        let items = [
            CaptionItem::from_tokens("a dog runs", &["a dog runs", "the dog"]),
            CaptionItem::from_tokens("a cat", &["a cat sits"]),
        ];
        let own = sums(&items, &Resources::default());
        let resources = Resources {
            document_frequencies: Some(Arc::new(DocumentFrequencies::from_items(&items))),
            ..Resources::default()
        };
        assert_eq!(sums(&items, &resources), own);
        let alone = sums(&items[..1], &resources);
        assert_eq!(alone[0], own[0]);

        let resources = Resources {
            document_frequencies: Some(Arc::new(DocumentFrequencies::from_items(&[]))),
            ..Resources::default()
        };
        let refused = CIDER.corpus(&items, &resources).unwrap_err();
        assert_eq!(refused.to_string(), "document frequencies are of no images");
    }
}
