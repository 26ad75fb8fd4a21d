//! `sightline score --explain`: how the scores of one image come about.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;
use sightline_core::registry::UnknownName;
use sightline_core::text::printable;
use sightline_harness::captions::Paired;
use sightline_metrics::cider::{self, Cider, DocumentFrequencies};
use sightline_metrics::meteor::{self, Tables};
use sightline_metrics::{Caption, CaptionItem, DynMetric, Input, Observations};

use super::scoring;
use crate::exit::{Exit, Failure};

/// N-grams of a reference that the text shows; of the rest it gives the sum.
const PARTS_SHOWN: usize = 12;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    schema: u32,
    id: String,
    /// What the id is: `image_id`, `filename`.
    id_name: &'static str,
    candidate: Text,
    references: Vec<Text>,
    metrics: Vec<Value>,
    /// Of METEOR and its relative, where they are called for.
    alignments: Vec<Alignment>,
    /// Of CIDEr-D and CIDEr, where they are called for.
    ngrams: Vec<Ngrams>,
}

#[derive(Debug, Serialize)]
struct Text {
    raw: String,
    tokens: String,
}

impl From<&Caption> for Text {
    fn from(caption: &Caption) -> Self {
        Self {
            raw: caption.raw().to_owned(),
            tokens: caption.tokenized().to_owned(),
        }
    }
}

/// A metric's value of the image alone.
#[derive(Debug, Serialize)]
struct Value {
    id: &'static str,
    value: Option<f64>,
}

/// The candidate beside the reference that scores best. Words are counted from 0.
#[derive(Debug, Serialize)]
struct Alignment {
    metric: &'static str,
    reference: usize,
    candidate_words: Vec<String>,
    reference_words: Vec<String>,
    matches: Vec<Match>,
    precision: f64,
    recall: f64,
    chunks: u64,
    penalty: f64,
    score: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Match {
    module: &'static str,
    candidate: Phrase,
    reference: Phrase,
}

/// Words of a caption, from `start` up to `end`.
#[derive(Debug, Serialize)]
struct Phrase {
    start: usize,
    end: usize,
    text: String,
}

impl Phrase {
    fn new(words: &[String], start: u32, len: u16) -> Self {
        let start = start as usize;
        let end = start + usize::from(len);
        Self {
            start,
            end,
            text: words[start..end].join(" "),
        }
    }
}

/// What each n-gram adds to a CIDEr; all together are the value.
#[derive(Debug, Serialize)]
struct Ngrams {
    metric: &'static str,
    /// Images of the document frequencies.
    images: u32,
    references: Vec<Contribution>,
}

#[derive(Debug, Serialize)]
struct Contribution {
    reference: usize,
    adds: f64,
    /// What the difference in length leaves, from 0 to 1.
    length_leaves: f64,
    parts: Vec<Part>,
}

#[derive(Debug, Serialize)]
struct Part {
    ngram: String,
    adds: f64,
    idf: f64,
    in_candidate: u32,
    in_reference: u32,
}

/// How the scores of image `id` come about.
pub(super) fn explain(
    id: &str,
    metrics: &[&'static dyn DynMetric],
    paired: &Paired,
    observations: &Observations,
) -> Result<Explained, Failure> {
    let known = || paired.ids.iter().map(String::as_str);
    let at = known().position(|known| known == id).ok_or_else(|| {
        let error = UnknownName::among("image", id, known());
        Failure::new(Exit::Usage, "explaining a score", &error)
    })?;
    let values = metrics
        .iter()
        .map(|metric| {
            let values = metric
                .per_item(observations)
                .map_err(|error| scoring(&error, &paired.ids, ""))?;
            Ok(Value {
                id: metric.info().id,
                value: values[at],
            })
        })
        .collect::<Result<Vec<Value>, Failure>>()?;

    let items: &[CaptionItem] = observations.items(Input::Caption).unwrap_or_default();
    let item = &items[at];
    let resources = observations.resources();
    let mut alignments = Vec::new();
    let mut ngrams = Vec::new();
    for Value { id, .. } in &values {
        match (*id, &resources.meteor) {
            ("meteor", Some(tables)) => alignments.extend(alignment("meteor", item, tables)),
            ("meteor-lite", _) => {
                alignments.extend(alignment("meteor-lite", item, &Arc::new(Tables::empty())));
            }
            ("cider-d", _) => ngrams.push((*id, &cider::CIDER_D)),
            ("cider", _) => ngrams.push((*id, &cider::CIDER)),
            _ => {}
        }
    }
    let frequencies = match &resources.document_frequencies {
        _ if ngrams.is_empty() => Arc::default(),
        Some(given) => Arc::clone(given),
        None => Arc::new(DocumentFrequencies::from_items(items)),
    };
    Ok(Explained {
        schema: 1,
        id: id.to_owned(),
        id_name: paired.id_name,
        candidate: (&item.candidate).into(),
        references: item.references.iter().map(Text::from).collect(),
        metrics: values,
        alignments,
        ngrams: ngrams
            .into_iter()
            .map(|(id, metric)| self::ngrams(id, metric, item, &frequencies))
            .collect(),
    })
}

fn alignment(metric: &'static str, item: &CaptionItem, tables: &Arc<Tables>) -> Option<Alignment> {
    let found = meteor::alignment(item, tables)?;
    let (candidate, reference) = (found.candidate_words, found.reference_words);
    let matches = found.matches.iter().map(|one| Match {
        module: one.module.name(),
        candidate: Phrase::new(&candidate, one.candidate, one.candidate_len),
        reference: Phrase::new(&reference, one.reference, one.reference_len),
    });
    Some(Alignment {
        metric,
        reference: found.reference,
        matches: matches.collect(),
        candidate_words: candidate,
        reference_words: reference,
        precision: found.sums.precision(),
        recall: found.sums.recall(),
        chunks: found.sums.chunks,
        penalty: found.sums.penalty(),
        score: found.sums.score(),
    })
}

fn ngrams(
    id: &'static str,
    metric: &Cider,
    item: &CaptionItem,
    frequencies: &DocumentFrequencies,
) -> Ngrams {
    let part = |part: cider::Part| Part {
        ngram: part.ngram,
        adds: part.adds,
        idf: part.idf,
        in_candidate: part.in_candidate,
        in_reference: part.in_reference,
    };
    let references = cider::explain(metric, item, frequencies).into_iter();
    let references = references.map(|one| Contribution {
        reference: one.reference,
        adds: one.parts.iter().map(|part| part.adds).sum(),
        length_leaves: one.penalty,
        parts: one.parts.into_iter().map(part).collect(),
    });
    Ngrams {
        metric: id,
        images: frequencies.images(),
        references: references.collect(),
    }
}

impl Explained {
    /// The same for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} {}\n\n", self.id_name, printable(&self.id));
        let _ = writeln!(text, "candidate    {:?}", self.candidate.raw);
        let _ = writeln!(text, "  tokens     {}", self.candidate.tokens);
        for (number, reference) in self.references.iter().enumerate() {
            let _ = writeln!(text, "reference {number}  {:?}", reference.raw);
            let _ = writeln!(text, "  tokens     {}", reference.tokens);
        }
        text.push('\n');
        for Value { id, value } in &self.metrics {
            let value = value.map_or("none".to_owned(), |value| format!("{value:.6}"));
            let _ = writeln!(text, "{id:12} {value}");
        }
        for alignment in &self.alignments {
            alignment.write(&mut text);
        }
        for ngrams in &self.ngrams {
            ngrams.write(&mut text);
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl Alignment {
    fn write(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n{}: best with reference {}; words are counted from 0",
            self.metric, self.reference
        );
        let _ = writeln!(text, "  candidate  {}", self.candidate_words.join(" "));
        let _ = writeln!(text, "  reference  {}", self.reference_words.join(" "));
        let place = |phrase: &Phrase| match phrase.end - phrase.start {
            1 => format!("{} {}", phrase.start, phrase.text),
            _ => format!("{}-{} {}", phrase.start, phrase.end - 1, phrase.text),
        };
        for one in &self.matches {
            let (candidate, reference) = (place(&one.candidate), place(&one.reference));
            let _ = writeln!(text, "  {:10} {candidate} ~ {reference}", one.module);
        }
        let _ = writeln!(
            text,
            "  precision {:.4}, recall {:.4}, {} chunks, penalty {:.4}, score {:.4}",
            self.precision,
            self.recall,
            self.chunks,
            self.penalty,
            self.score.unwrap_or(0.0)
        );
    }
}

impl Ngrams {
    fn write(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n{}: document frequencies of {} images",
            self.metric, self.images
        );
        for one in &self.references {
            let _ = writeln!(
                text,
                "  reference {} adds {:.4}; its length leaves {:.4}",
                one.reference, one.adds, one.length_leaves
            );
            let (shown, rest) = one.parts.split_at(one.parts.len().min(PARTS_SHOWN));
            for part in shown {
                let _ = writeln!(
                    text,
                    "    {:.4}  {}  (idf {:.3}, {} in the candidate, {} in the reference)",
                    part.adds, part.ngram, part.idf, part.in_candidate, part.in_reference
                );
            }
            if !rest.is_empty() {
                let sum: f64 = rest.iter().map(|part| part.adds).sum();
                let _ = writeln!(text, "    {sum:.4}  {} more n-grams", rest.len());
            }
        }
    }
}
