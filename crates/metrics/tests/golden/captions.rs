//! Caption metrics on a corpus: `<corpus>.refs.jsonl`, its systems `<corpus>.<system>.jsonl`, and their
//! values together, `<corpus>.corpus.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use sightline_metrics::cider::DocumentFrequencies;
use sightline_metrics::metric::merged;
use sightline_metrics::{
    Caption, CaptionItem, DynMetric, Input, Observations, Resources, registry,
};
use sightline_testkit::golden::Report;

use crate::files::{Folder, close};
use crate::meteor;
use crate::text::{following, tokens};

/// Per item and corpus.
const TOLERANCE: f64 = 1e-9;

const BLEU: [&str; 4] = ["bleu-1", "bleu-2", "bleu-3", "bleu-4"];

/// Images are numbered, edge cases named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Name(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct References {
    id: Id,
    refs: Vec<String>,
    ptb: Vec<String>,
    tok: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hypothesis {
    id: Id,
    hyp: String,
    ptb: String,
    tok: String,
    bleu: [f64; 4],
    rouge_l: f64,
    cider_d: f64,
    cider: f64,
    meteor: f64,
    meteor_stats: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    n: usize,
    bleu: [f64; 4],
    rouge_l: f64,
    cider_d: f64,
    cider: f64,
    meteor: f64,
    cider_d_external_df: Option<ExternalFrequencies>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExternalFrequencies {
    /// The frequencies are those of the first so many images.
    df_from_first: usize,
    /// Scored are the images from here on.
    scored_from: usize,
    mean: f64,
    /// Of the first of them.
    scores: Vec<f64>,
}

/// A system's captions with their references.
struct System {
    hypotheses: Vec<Hypothesis>,
    items: Vec<CaptionItem>,
}

impl System {
    fn read(folder: &Folder, corpus: &str, system: &str) -> Result<Self, String> {
        let references: Vec<References> = folder.json_lines(&format!("{corpus}.refs.jsonl"))?;
        let hypotheses: Vec<Hypothesis> = folder.json_lines(&format!("{corpus}.{system}.jsonl"))?;
        if hypotheses.len() != references.len() {
            return Err(format!(
                "{} captions for the references of {} images",
                hypotheses.len(),
                references.len()
            ));
        }
        let items = references
            .iter()
            .zip(&hypotheses)
            .map(|(references, hypothesis)| {
                if references.id != hypothesis.id {
                    return Err(format!("`{}` beside `{}`", hypothesis.id, references.id));
                }
                Ok(CaptionItem {
                    candidate: Caption::from_tokens(&hypothesis.hyp, &hypothesis.tok),
                    references: references
                        .refs
                        .iter()
                        .zip(&references.tok)
                        .map(|(raw, tokens)| Caption::from_tokens(raw, tokens))
                        .collect(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { hypotheses, items })
    }

    fn observations(&self) -> Observations {
        let mut observations = Observations::default();
        observations.set(Input::Caption, self.items.clone());
        observations
    }
}

/// `<corpus>.refs.jsonl`
pub(crate) fn references(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let images: Vec<References> = folder.json_lines(file)?;
    let ids: BTreeSet<&Id> = images.iter().map(|image| &image.id).collect();
    if ids.len() != images.len() {
        return Err("an id is there twice".to_owned());
    }
    let lines: Vec<&str> = images
        .iter()
        .flat_map(|image| image.refs.iter().map(String::as_str))
        .collect();
    let mut line = 0;
    for image in &images {
        let outcome = reference_tokens(image, &lines[line..]);
        line += image.refs.len();
        report.case(&format!("{file}: tokens"), &image.id.to_string(), outcome);
    }
    Ok(())
}

/// `lines` are the references of `image` and of all images behind it.
fn reference_tokens(image: &References, lines: &[&str]) -> Result<(), String> {
    if image.refs.is_empty() {
        return Err("no references".to_owned());
    }
    if image.ptb.len() != image.refs.len() || image.tok.len() != image.refs.len() {
        return Err(format!(
            "{} references with other numbers of tokens",
            image.refs.len()
        ));
    }
    image
        .ptb
        .iter()
        .zip(&image.tok)
        .enumerate()
        .try_for_each(|(at, (ptb, tok))| tokens(lines[at], &following(&lines[at..]), ptb, tok))
}

/// `<corpus>.<system>.jsonl`
pub(crate) fn system(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let (corpus, system) = names(file)?;
    hypothesis_tokens(folder, file, report)?;
    let references = format!("{corpus}.refs.jsonl");
    if !folder.has(&references) {
        report.without(&format!("{file}: scores"), &references);
        return Ok(());
    }
    let system = System::read(folder, corpus, system)?;
    let observations = system.observations();
    let values = |id: &str| {
        metric(id)?
            .per_item(&observations)
            .map_err(|e| e.to_string())
    };
    let [bleu_1, bleu_2, bleu_3, bleu_4] = BLEU;
    let bleu = [
        values(bleu_1)?,
        values(bleu_2)?,
        values(bleu_3)?,
        values(bleu_4)?,
    ];
    let (rouge_l, cider_d, cider) = (values("rouge-l")?, values("cider-d")?, values("cider")?);
    for (i, expected) in system.hypotheses.iter().enumerate() {
        let mut checks = vec![
            ("rouge_l", close(rouge_l[i], expected.rouge_l, TOLERANCE)),
            ("cider_d", close(cider_d[i], expected.cider_d, TOLERANCE)),
            ("cider", close(cider[i], expected.cider, TOLERANCE)),
        ];
        for (values, &expected) in bleu.iter().zip(&expected.bleu) {
            checks.push(("bleu", close(values[i], expected, TOLERANCE)));
        }
        report.case(file, &expected.id.to_string(), all(checks));
    }
    for (expected, sums) in system.hypotheses.iter().zip(&meteor::sums(&system.items)?) {
        let outcome = meteor::segment(
            sums,
            &meteor::Expected {
                meteor: expected.meteor,
                meteor_stats: expected.meteor_stats.clone(),
            },
        );
        report.case(
            &format!("{file}: meteor"),
            &expected.id.to_string(),
            outcome,
        );
    }
    Ok(())
}

/// The tokens of a system's captions, for which its references need not be there.
fn hypothesis_tokens(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let hypotheses: Vec<Hypothesis> = folder.json_lines(file)?;
    let lines: Vec<&str> = hypotheses.iter().map(|h| h.hyp.as_str()).collect();
    for (at, expected) in hypotheses.iter().enumerate() {
        let following = following(&lines[at..]);
        let outcome = tokens(lines[at], &following, &expected.ptb, &expected.tok);
        report.case(
            &format!("{file}: tokens"),
            &expected.id.to_string(),
            outcome,
        );
    }
    Ok(())
}

/// `<corpus>.corpus.json`
pub(crate) fn corpus(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let (corpus, _) = names(file)?;
    let systems: BTreeMap<String, Corpus> = folder.json(file)?;
    for (name, expected) in &systems {
        let needed = [name.as_str(), "refs"].map(|part| format!("{corpus}.{part}.jsonl"));
        if let Some(partner) = needed.iter().find(|partner| !folder.has(partner)) {
            report.without(&format!("{file}: {name}"), partner);
            continue;
        }
        let outcome =
            System::read(folder, corpus, name).and_then(|system| corpus_values(&system, expected));
        report.case(file, name, outcome);
    }
    Ok(())
}

fn corpus_values(system: &System, expected: &Corpus) -> Result<(), String> {
    if expected.n != system.items.len() {
        return Err(format!(
            "n: {} images instead of {}",
            system.items.len(),
            expected.n
        ));
    }
    let observations = system.observations();
    let check = |id: &str, expected: f64| {
        let outcome = metric(id)?.evaluate(&observations, None);
        close(
            outcome.map_err(|e| e.to_string())?.value,
            expected,
            TOLERANCE,
        )
    };
    let mut checks = vec![
        ("rouge_l", check("rouge-l", expected.rouge_l)),
        ("cider_d", check("cider-d", expected.cider_d)),
        ("cider", check("cider", expected.cider)),
        ("meteor", corpus_meteor(&system.items, expected.meteor)),
    ];
    if let Some(external) = &expected.cider_d_external_df {
        let outcome = external_frequencies(&system.items, external);
        checks.push(("cider_d_external_df", outcome));
    }
    for (id, &expected) in BLEU.iter().zip(&expected.bleu) {
        checks.push(("bleu", check(id, expected)));
    }
    all(checks)
}

fn corpus_meteor(items: &[CaptionItem], expected: f64) -> Result<(), String> {
    let sums = meteor::sums(items)?;
    close(merged(&sums).score(), expected, TOLERANCE)
}

fn external_frequencies(
    items: &[CaptionItem],
    expected: &ExternalFrequencies,
) -> Result<(), String> {
    let (counted, scored) = items
        .get(..expected.df_from_first)
        .zip(items.get(expected.scored_from..))
        .ok_or("fewer images than that")?;
    let counted = DocumentFrequencies::from_items(counted);
    // The file form is part of what is compared.
    let written = counted.to_json().map_err(|e| e.to_string())?;
    let read = DocumentFrequencies::from_json(written.as_bytes()).map_err(|e| e.to_string())?;
    for (name, frequencies) in [("counted", counted), ("read from a file", read)] {
        let mut observations = Observations::default();
        observations.set(Input::Caption, scored.to_vec());
        observations.set_resources(Resources {
            document_frequencies: Some(Arc::new(frequencies)),
            ..Resources::default()
        });
        let cider_d = metric("cider-d")?;
        let outcome = cider_d
            .evaluate(&observations, None)
            .map_err(|e| e.to_string())?;
        close(outcome.value, expected.mean, TOLERANCE).map_err(|e| format!("{name}: mean: {e}"))?;
        let scores = cider_d.per_item(&observations).map_err(|e| e.to_string())?;
        if scores.len() < expected.scores.len() {
            return Err(format!(
                "{} scores instead of {}",
                scores.len(),
                expected.scores.len()
            ));
        }
        for (number, (&score, &expected)) in scores.iter().zip(&expected.scores).enumerate() {
            close(score, expected, TOLERANCE)
                .map_err(|e| format!("{name}: score {number}: {e}"))?;
        }
    }
    Ok(())
}

/// The first two parts of a file's name.
fn names(file: &str) -> Result<(&str, &str), String> {
    let mut parts = file.split('.');
    parts
        .next()
        .zip(parts.next())
        .ok_or_else(|| format!("`{file}` is not named after a corpus"))
}

fn metric(id: &str) -> Result<&'static dyn DynMetric, String> {
    registry::metric(id).map_err(|e| e.to_string())
}

/// Every check that failed, by name of the field.
fn all(checks: Vec<(&str, Result<(), String>)>) -> Result<(), String> {
    let failed: Vec<String> = checks
        .into_iter()
        .filter_map(|(field, check)| check.err().map(|reason| format!("{field}: {reason}")))
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}
