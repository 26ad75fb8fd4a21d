//! Which n-grams a CIDEr-D or CIDEr comes from, for people.

use std::collections::BTreeMap;

use super::{Cider, DocumentFrequencies, LONGEST, SCALE, SIGMA};
use crate::{CaptionItem, words};

/// What one reference adds to the value of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Contribution {
    /// Number of the reference.
    pub reference: usize,
    /// What the difference in length leaves, from 0 to 1; CIDEr leaves all.
    pub penalty: f64,
    /// The n-grams that candidate and reference share, what they add most first.
    pub parts: Vec<Part>,
}

/// What one n-gram adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The words.
    pub ngram: String,
    /// ln(N) - ln(df).
    pub idf: f64,
    /// How often the candidate has it.
    pub in_candidate: u32,
    /// How often the reference has it.
    pub in_reference: u32,
    /// Its part in the value of the item.
    pub adds: f64,
}

/// What each reference and n-gram adds to `metric` of `item`; all parts together are its value.
pub fn explain(
    metric: &Cider,
    item: &CaptionItem,
    frequencies: &DocumentFrequencies,
) -> Vec<Contribution> {
    let idf = |ngram: &str| {
        let df = f64::from(frequencies.count(ngram).max(1));
        f64::from(frequencies.images()).ln() - df.ln()
    };
    let vector = |caption: &str| {
        let words: Vec<&str> = words::split(caption).collect();
        let mut counts: [BTreeMap<String, u32>; LONGEST] = Default::default();
        for (order, counts) in counts.iter_mut().enumerate() {
            for ngram in words.windows(order + 1) {
                *counts.entry(ngram.join(" ")).or_default() += 1;
            }
        }
        (words.len(), counts)
    };
    let norm = |counts: &BTreeMap<String, u32>| {
        let squares = counts.iter().map(|(ngram, &count)| {
            let weight = f64::from(count) * idf(ngram);
            weight * weight
        });
        squares.sum::<f64>().sqrt()
    };
    let (candidate_words, candidate) = vector(item.candidate.tokenized());
    let share = SCALE / LONGEST as f64 / item.references.len() as f64;

    let explain_one = |(number, reference): (usize, &crate::Caption)| {
        let (reference_words, reference) = vector(reference.tokenized());
        let bigrams = |words: usize| words.saturating_sub(1);
        let difference = bigrams(candidate_words).abs_diff(bigrams(reference_words)) as f64;
        let penalty = if metric.is_d {
            (-(difference * difference) / (2.0 * SIGMA * SIGMA)).exp()
        } else {
            1.0
        };
        let mut parts = Vec::new();
        for (candidate, reference) in candidate.iter().zip(&reference) {
            let norms = norm(candidate) * norm(reference);
            for (ngram, &in_candidate) in candidate {
                let Some(&in_reference) = reference.get(ngram) else {
                    continue;
                };
                let idf = idf(ngram);
                let weight = f64::from(in_reference) * idf;
                let candidate = f64::from(in_candidate) * idf;
                let clipped = if metric.is_d {
                    candidate.min(weight)
                } else {
                    candidate
                };
                let product = clipped * weight;
                let cosine = if norms == 0.0 { 0.0 } else { product / norms };
                parts.push(Part {
                    ngram: ngram.clone(),
                    idf,
                    in_candidate,
                    in_reference,
                    adds: cosine * penalty * share,
                });
            }
        }
        parts.sort_by(|a, b| b.adds.total_cmp(&a.adds));
        Contribution {
            reference: number,
            penalty,
            parts,
        }
    };
    item.references
        .iter()
        .enumerate()
        .map(explain_one)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cider::{CIDER, CIDER_D};
    use crate::{Resources, metric::Metric};

    #[test]
    fn the_parts_of_every_item_are_its_value() {
        let items = [
            CaptionItem::new(
                "a dog runs on grass",
                &["a dog runs on the grass", "the dog", "dog dog dog"],
            ),
            CaptionItem::new("two cats", &["two cats on a sofa", "cats cats"]),
            CaptionItem::new("", &["a plate"]),
        ];
        let frequencies = CIDER_D.corpus(&items, &Resources::default()).unwrap();
        for metric in [&CIDER, &CIDER_D] {
            for item in &items {
                let value = metric.value(&metric.stats(&frequencies, item)).unwrap();
                let contributions = explain(metric, item, &frequencies);
                let parts = contributions.iter().flat_map(|c| &c.parts);
                let sum: f64 = parts.map(|part| part.adds).sum();
                assert!((sum - value).abs() < 1e-12, "{sum} {value}");
            }
        }
    }
}
