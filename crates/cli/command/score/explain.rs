//! `sightline score --explain`: how the scores of one image come about.

use std::fmt::Write as _;
use std::sync::Arc;

use sightline_metrics::cider::{self, DocumentFrequencies};
use sightline_metrics::meteor::{self, Alignment, Tables};
use sightline_metrics::{CaptionItem, DynMetric, Resources};

/// Parts of CIDEr-D that are shown for a reference; the rest is summed.
const PARTS: usize = 12;

/// The captions of `item`, METEOR's alignment and the n-grams of CIDEr-D, as text; `values` are those
/// of the metrics called for.
pub(super) fn text(
    id: &str,
    item: &CaptionItem,
    items: &[CaptionItem],
    resources: &Resources,
    values: &[(&'static dyn DynMetric, Option<f64>)],
) -> String {
    let mut text = format!("image {id}\n\n");
    let _ = writeln!(text, "candidate    {:?}", item.candidate.raw());
    let _ = writeln!(text, "  tokens     {}", item.candidate.tokenized());
    for (number, reference) in item.references.iter().enumerate() {
        let _ = writeln!(text, "reference {number}  {:?}", reference.raw());
        let _ = writeln!(text, "  tokens     {}", reference.tokenized());
    }
    text.push('\n');
    for (metric, value) in values {
        let value = value.map_or("none".to_owned(), |value| format!("{value:.6}"));
        let _ = writeln!(text, "{:12} {value}", metric.info().id);
    }
    let ids: Vec<&str> = values.iter().map(|(metric, _)| metric.info().id).collect();
    let has = |id: &str| ids.contains(&id);
    if has("meteor")
        && let Some(tables) = &resources.meteor
    {
        text.push_str(&alignment("meteor", item, tables));
    }
    if has("meteor-lite") {
        text.push_str(&alignment("meteor-lite", item, &Arc::new(Tables::empty())));
    }
    if has("cider-d") {
        let frequencies = resources
            .document_frequencies
            .clone()
            .unwrap_or_else(|| Arc::new(DocumentFrequencies::from_items(items)));
        text.push_str(&ngrams(item, &frequencies));
    }
    text.truncate(text.trim_end().len());
    text
}

fn alignment(id: &str, item: &CaptionItem, tables: &Arc<Tables>) -> String {
    let Some(Alignment {
        reference,
        candidate_words,
        reference_words,
        matches,
        sums,
    }) = meteor::alignment(item, tables)
    else {
        return String::new();
    };
    let mut text = format!("\n{id}: best with reference {reference}\n");
    let _ = writeln!(text, "  candidate  {}", candidate_words.join(" "));
    let _ = writeln!(text, "  reference  {}", reference_words.join(" "));
    for one in &matches {
        let words = |words: &[String], start: u32, len: u16| {
            let start = start as usize;
            words[start..start + usize::from(len)].join(" ")
        };
        let _ = writeln!(
            text,
            "  {:10} {} ~ {}",
            one.module.name(),
            words(&candidate_words, one.candidate, one.candidate_len),
            words(&reference_words, one.reference, one.reference_len),
        );
    }
    let _ = writeln!(
        text,
        "  precision {:.4}, recall {:.4}, {} chunks, penalty {:.4}, score {:.4}",
        sums.precision(),
        sums.recall(),
        sums.chunks,
        sums.penalty(),
        sums.score().unwrap_or(0.0)
    );
    text
}

fn ngrams(item: &CaptionItem, frequencies: &DocumentFrequencies) -> String {
    let mut text = format!(
        "\ncider-d: document frequencies of {} images\n",
        frequencies.images()
    );
    for contribution in cider::explain(item, frequencies) {
        let sum: f64 = contribution.parts.iter().map(|part| part.adds).sum();
        let _ = writeln!(
            text,
            "  reference {} adds {sum:.4}; its length leaves {:.4}",
            contribution.reference, contribution.penalty
        );
        for part in contribution.parts.iter().take(PARTS) {
            let _ = writeln!(
                text,
                "    {:.4}  {}  (idf {:.3}, {} in the candidate, {} in the reference)",
                part.adds, part.ngram, part.idf, part.in_candidate, part.in_reference
            );
        }
        if let Some(rest) = contribution
            .parts
            .get(PARTS..)
            .filter(|rest| !rest.is_empty())
        {
            let sum: f64 = rest.iter().map(|part| part.adds).sum();
            let _ = writeln!(text, "    {sum:.4}  {} more n-grams", rest.len());
        }
    }
    text
}
