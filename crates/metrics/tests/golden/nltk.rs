//! nltk: sentence BLEU by each smoothing method, METEOR without `WordNet`, corpus BLEU.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use sightline_metrics::nltk::{BleuSums, METEOR_NO_WORDNET, SentenceBleu, Smoothing, Undefined};
use sightline_metrics::{Caption, CaptionItem, DynMetric, Input, Observations, Stats, registry};
use sightline_testkit::golden::Report;

use crate::files::{Folder, close};
use crate::systems::{self, Captions};
use crate::text::equal;

const TOLERANCE: f64 = 1e-9;

/// The version whose scores are recorded.
const VERSION: &str = "3.10.4";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    sentence: Vec<Sentence>,
    /// Of more captions of the same system, by smoothing method.
    corpus_bleu: BTreeMap<String, f64>,
    #[expect(dead_code, reason = "says in words what the numbers are")]
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sentence {
    tok: String,
    refs: Vec<String>,
    /// By smoothing method: a score, or the error that nltk raises.
    bleu: BTreeMap<String, Value>,
    meteor_no_wordnet: f64,
}

pub(crate) fn run(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let cases: File = folder.json(file)?;
    report.case("nltk", "version", equal(VERSION, &cases.version));

    let items = cases.sentence.iter().map(|case| CaptionItem {
        candidate: caption(&case.tok),
        references: case.refs.iter().map(|text| caption(text)).collect(),
    });
    let mut observations = Observations::default();
    observations.set(Input::Caption, items.collect::<Vec<_>>());

    for smoothing in Smoothing::ALL {
        sentences(smoothing, &cases.sentence, &observations, report)?;
    }
    for case in &cases.sentence {
        let methods = Smoothing::ALL.map(Smoothing::name);
        let unknown = case
            .bleu
            .keys()
            .find(|key| !methods.contains(&key.as_str()));
        let outcome = unknown.map_or(Ok(()), |key| Err(format!("unknown method `{key}`")));
        report.case("nltk/methods", &case.tok, outcome);
    }
    let meteor = METEOR_NO_WORDNET
        .per_item(&observations)
        .map_err(|e| e.to_string())?;
    for (case, score) in cases.sentence.iter().zip(meteor) {
        let outcome = close(score, case.meteor_no_wordnet, TOLERANCE);
        report.case("nltk/meteor_no_wordnet", &case.tok, outcome);
    }
    let systems = systems::all(folder)?;
    let is_scored = |captions: &&Captions| {
        let said = captions.candidates.iter().map(|candidate| &candidate.tok);
        said.take(cases.sentence.len())
            .eq(cases.sentence.iter().map(|case| &case.tok))
    };
    match systems.iter().find(is_scored) {
        Some(captions) => report.case(
            "nltk/corpus_bleu",
            &captions.system,
            corpus(captions, &cases),
        ),
        None => report.without("nltk/corpus_bleu", "the file of its captions"),
    }
    Ok(())
}

/// The registry's values of items and the errors behind those that have none.
fn sentences(
    smoothing: Smoothing,
    cases: &[Sentence],
    observations: &Observations,
    report: &mut Report,
) -> Result<(), String> {
    let name = smoothing.name();
    let values = metric(smoothing)?
        .per_item(observations)
        .map_err(|e| e.to_string())?;
    let items: &[CaptionItem] = observations.items(Input::Caption).ok_or("no items")?;
    for ((case, item), value) in cases.iter().zip(items).zip(values) {
        let Some(expected) = case.bleu.get(name) else {
            continue;
        };
        let scored = SentenceBleu::new(item).and_then(|sentence| sentence.score(smoothing));
        let outcome = match (expected, scored) {
            (Value::String(error), Err(undefined)) if value.is_none() => {
                equal(&format!("error: {}", exception(item, undefined)), error)
            }
            (Value::Number(expected), Ok(score)) => {
                let expected = expected.as_f64().ok_or("not a number")?;
                close(Some(score), expected, TOLERANCE)
                    .and_then(|()| close(value, expected, TOLERANCE))
            }
            (expected, scored) => Err(format!(
                "{scored:?}, {value:?} by the registry, instead of {expected}"
            )),
        };
        report.case(&format!("nltk/{name}"), &case.tok, outcome);
    }
    Ok(())
}

/// What nltk raises.
fn exception(item: &CaptionItem, undefined: Undefined) -> &'static str {
    match undefined {
        Undefined::NoTrigram => "AssertionError",
        // Which word of the candidate the references have is asked first, which has no answer either.
        Undefined::NoReferences if item.candidate.tokenized().is_empty() => "ValueError",
        Undefined::NoReferences => "KeyError",
    }
}

/// Whether the recorded scores are those of the captions from the first on. The file does not say of
/// how many, nor whether more than four references of an image count; all scores must agree at once.
fn corpus(captions: &Captions, cases: &File) -> Result<(), String> {
    let mut methods = Vec::new();
    for (method, &expected) in &cases.corpus_bleu {
        let smoothing = Smoothing::ALL[..5].iter().find(|s| s.name() == method);
        let smoothing = smoothing.ok_or_else(|| {
            format!("corpus BLEU by `{method}` is unknown or depends on the order of items")
        })?;
        methods.push((*smoothing, expected));
    }
    for references in [usize::MAX, 4] {
        let mut items = Vec::new();
        let mut sums = BleuSums::default();
        for (candidate, annotated) in captions.candidates.iter().zip(&captions.references) {
            let item = CaptionItem {
                candidate: caption(&candidate.tok),
                references: annotated
                    .tok
                    .iter()
                    .take(references)
                    .map(|text| caption(text))
                    .collect(),
            };
            sums.merge(&BleuSums::new(&item));
            items.push(item);
            let agrees = |&(smoothing, expected): &(Smoothing, f64)| {
                close(sums.score(smoothing), expected, TOLERANCE).is_ok()
            };
            if items.len() >= cases.sentence.len() && methods.iter().all(agrees) {
                return methods.iter().try_for_each(|&(smoothing, expected)| {
                    registered(smoothing, &items, expected)
                });
            }
        }
    }
    Err("no number of captions has these scores".to_owned())
}

fn registered(smoothing: Smoothing, items: &[CaptionItem], expected: f64) -> Result<(), String> {
    let mut observations = Observations::default();
    observations.set(Input::Caption, items.to_vec());
    let outcome = metric(smoothing)?
        .evaluate(&observations, None)
        .map_err(|e| e.to_string())?;
    close(outcome.value, expected, TOLERANCE).map_err(|e| format!("{}: {e}", smoothing.name()))
}

fn metric(smoothing: Smoothing) -> Result<&'static dyn DynMetric, String> {
    let id = format!("nltk-bleu-{}", smoothing.name());
    registry::metric(&id).map_err(|e| e.to_string())
}

fn caption(text: &str) -> Caption {
    Caption::from_tokens(text, text)
}
