//! sacrebleu: corpus scores with the signature that names their settings, and sentence scores.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use sightline_metrics::sacrebleu::{
    Bleu, BleuScore, CHRF, CHRF_PLUS_PLUS, Chrf, References, TER, Ter, VERSION,
};
use sightline_metrics::{Caption, CaptionItem, DynMetric, Input, Observations};
use sightline_testkit::golden::Report;

use crate::files::{Folder, close};
use crate::systems::{self, Captions};
use crate::text::equal;

const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    /// By name of the system, whose captions are in the files `<corpus>.<system>.jsonl` and
    /// `<corpus>.refs.jsonl`.
    corpus: BTreeMap<String, Vec<Corpus>>,
    sentence: Vec<Sentence>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    metric: String,
    /// How many images are scored, from the first on; all if it is not said.
    first: Option<usize>,
    /// Whether only the first reference counts.
    #[serde(default)]
    one_ref: bool,
    signature: String,
    score: f64,
    counts: Option<[u64; 4]>,
    totals: Option<[u64; 4]>,
    precisions: Option<[f64; 4]>,
    bp: Option<f64>,
    sys_len: Option<u64>,
    ref_len: Option<u64>,
}

#[derive(Deserialize)]
struct Sentence {
    name: Option<String>,
    hyp: String,
    refs: Vec<String>,
    /// `bleu.<smoothing>`, `chrf`, `chrf++`, `ter`; any other key is a failure.
    #[serde(flatten)]
    scores: BTreeMap<String, Value>,
}

pub(crate) fn run(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let File {
        version,
        corpus,
        sentence,
    } = folder.json(file)?;
    report.case("sacrebleu", "version", equal(VERSION, &version));
    for (number, case) in sentence.iter().enumerate() {
        let name = case.name.clone().unwrap_or_else(|| number.to_string());
        report.case("sacrebleu/sentence", &name, sentence_scores(case));
    }
    let systems = systems::all(folder)?;
    for (system, cases) in &corpus {
        let named: Vec<&Captions> = systems.iter().filter(|s| s.system == *system).collect();
        let captions = match named.as_slice() {
            [] => {
                let captions = format!("*.{system}.jsonl with its references");
                report.without(&format!("sacrebleu/{system}"), &captions);
                continue;
            }
            [captions] => captions,
            _ => return Err(format!("two corpora have a system `{system}`")),
        };
        for case in cases {
            let name = format!("{system}: {}", case.signature);
            let outcome = corpus_score(case, captions);
            report.case("sacrebleu/corpus", &name, outcome);
        }
    }
    Ok(())
}

fn item(candidate: &str, references: &[String]) -> CaptionItem {
    // sacrebleu reads captions as they were written.
    let caption = |text: &str| Caption::from_tokens(text, "");
    CaptionItem {
        candidate: caption(candidate),
        references: references.iter().map(|text| caption(text)).collect(),
    }
}

fn observed(items: &[CaptionItem]) -> Observations {
    let mut observations = Observations::default();
    observations.set(Input::Caption, items.to_vec());
    observations
}

fn sentence_scores(case: &Sentence) -> Result<(), String> {
    let items = [item(&case.hyp, &case.refs)];
    let observations = observed(&items);
    let registered = |metric: &dyn DynMetric| {
        let values = metric.per_item(&observations);
        values.map(|values| values[0]).map_err(|e| e.to_string())
    };
    for (key, expected) in &case.scores {
        let expected = expected
            .as_f64()
            .ok_or_else(|| format!("`{key}` is {expected}"))?;
        let found = match key.as_str() {
            "chrf" => registered(&CHRF)?,
            "chrf++" => registered(&CHRF_PLUS_PLUS)?,
            "ter" => registered(&TER)?,
            "bleu.exp" => registered(&sightline_metrics::sacrebleu::BLEU)?,
            other => {
                let smoothing = other
                    .strip_prefix("bleu.")
                    .ok_or_else(|| format!("unknown score `{key}`"))?;
                let bleu = Bleu {
                    smoothing: smoothing.parse().map_err(|e| format!("{e}"))?,
                    effective_order: true,
                    ..Bleu::default()
                };
                bleu.corpus(&items).map(|score| score.score)
            }
        };
        close(found, expected, TOLERANCE).map_err(|e| format!("{key}: {e}"))?;
    }
    Ok(())
}

fn corpus_score(case: &Corpus, captions: &Captions) -> Result<(), String> {
    let settings: BTreeMap<&str, &str> = case
        .signature
        .split('|')
        .map(|part| part.split_once(':').ok_or("a signature without a colon"))
        .collect::<Result<_, _>>()?;
    let setting = |key: &str| settings.get(key).copied().unwrap_or_default();
    let streams = match setting("nrefs") {
        "var" => usize::MAX,
        count => count.parse().map_err(|_| format!("nrefs is `{count}`"))?,
    };
    if case.one_ref && streams != 1 {
        return Err("one reference, but not by the signature".to_owned());
    }
    let items: Vec<CaptionItem> = captions
        .references
        .iter()
        .zip(&captions.candidates)
        .take(case.first.unwrap_or(usize::MAX))
        .map(|(annotated, candidate)| {
            let streams = streams.min(annotated.refs.len());
            item(&candidate.hyp, &annotated.refs[..streams])
        })
        .collect();
    let counts = References::of(&items);
    let lowercase = setting("case") == "lc";

    let (signature, score) = match case.metric.as_str() {
        "bleu" => {
            let bleu = Bleu {
                tokenizer: setting("tok").parse().map_err(|e| format!("{e}"))?,
                lowercase,
                smoothing: setting("smooth").parse().map_err(|e| format!("{e}"))?,
                effective_order: setting("eff") == "yes",
            };
            let score = bleu.corpus(&items).ok_or("no items")?;
            parts(case, &score)?;
            if bleu == Bleu::default() {
                registered(&sightline_metrics::sacrebleu::BLEU, &items, score.score)?;
            }
            (bleu.signature(counts), Some(score.score))
        }
        "chrf" => {
            let number = |key: &str| {
                let text = setting(key);
                text.parse().map_err(|_| format!("{key} is `{text}`"))
            };
            let chrf = Chrf {
                char_order: number("nc")?,
                word_order: number("nw")?,
                lowercase,
                whitespace: setting("space") == "yes",
                eps_smoothing: setting("eff") == "no",
                ..Chrf::default()
            };
            no_parts(case)?;
            let score = chrf.corpus(&items);
            for (metric, word_order) in [(&CHRF, 0), (&CHRF_PLUS_PLUS, 2)] {
                let default = Chrf {
                    word_order,
                    ..Chrf::default()
                };
                if chrf == default {
                    registered(metric, &items, score.ok_or("no items")?)?;
                }
            }
            (chrf.signature(counts), score)
        }
        "ter" => {
            let ter = Ter {
                normalized: setting("norm") == "yes",
                no_punct: setting("punct") == "no",
                asian_support: setting("asian") == "yes",
                case_sensitive: !lowercase,
            };
            no_parts(case)?;
            let score = ter.corpus(&items);
            if ter == Ter::default() {
                registered(&TER, &items, score.ok_or("no items")?)?;
            }
            (ter.signature(counts), score)
        }
        other => return Err(format!("unknown metric `{other}`")),
    };
    equal(&signature, &case.signature)?;
    close(score, case.score, TOLERANCE)
}

/// Whether the registry's metric gives the value of the settings it stands for.
fn registered(metric: &dyn DynMetric, items: &[CaptionItem], score: f64) -> Result<(), String> {
    let outcome = metric
        .evaluate(&observed(items), None)
        .map_err(|e| e.to_string())?;
    close(outcome.value, score, 0.0).map_err(|e| format!("{}: {e}", metric.info().id))
}

fn parts(case: &Corpus, score: &BleuScore) -> Result<(), String> {
    let counts = &score.counts;
    let same = |what: &str, found: &[u64], expected: Option<&[u64]>| match expected {
        Some(expected) if expected != found => {
            Err(format!("{what} are {found:?} instead of {expected:?}"))
        }
        _ => Ok(()),
    };
    same(
        "counts",
        &counts.matches,
        case.counts.as_ref().map(|c| &c[..]),
    )?;
    same(
        "totals",
        &counts.possible,
        case.totals.as_ref().map(|c| &c[..]),
    )?;
    same(
        "sys_len",
        &[counts.candidate_len],
        case.sys_len.as_ref().map(std::slice::from_ref),
    )?;
    same(
        "ref_len",
        &[counts.reference_len],
        case.ref_len.as_ref().map(std::slice::from_ref),
    )?;
    if let Some(expected) = case.bp {
        close(Some(score.brevity_penalty), expected, TOLERANCE).map_err(|e| format!("bp: {e}"))?;
    }
    for (found, expected) in score
        .precisions
        .iter()
        .zip(case.precisions.iter().flatten())
    {
        close(Some(*found), *expected, TOLERANCE).map_err(|e| format!("precisions: {e}"))?;
    }
    Ok(())
}

/// Only BLEU has parts.
fn no_parts(case: &Corpus) -> Result<(), String> {
    let has_parts = case.counts.is_some()
        || case.totals.is_some()
        || case.precisions.is_some()
        || case.bp.is_some()
        || case.sys_len.is_some()
        || case.ref_len.is_some();
    if has_parts {
        return Err(format!("parts of a score of `{}`", case.metric));
    }
    Ok(())
}
