//! Ranks and what is computed from them, under both tie policies.

use std::collections::BTreeMap;

use serde::Deserialize;
use sightline_metrics::{Input, Observations, Rank, TiePolicy, registry};
use sightline_testkit::golden::Report;

use crate::files::{Folder, close};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetrievalCase {
    n_images: usize,
    captions_per_image: usize,
    /// One row for each image, one column for each caption.
    scores: Vec<Vec<f64>>,
    ties: bool,
    image_to_text: Direction,
    text_to_image: Direction,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Direction {
    optimistic: BTreeMap<String, f64>,
    by_index: BTreeMap<String, f64>,
    ranks_by_index: Vec<u32>,
}

pub(crate) fn run(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let cases: Vec<RetrievalCase> = folder.json(file)?;
    for (number, case) in cases.iter().enumerate() {
        report.case("retrieval", &number.to_string(), retrieval(case));
    }
    Ok(())
}

fn retrieval(case: &RetrievalCase) -> Result<(), String> {
    let captions = case.n_images * case.captions_per_image;
    if case.scores.len() != case.n_images || case.scores.iter().any(|row| row.len() != captions) {
        return Err(format!("scores are not {} x {captions}", case.n_images));
    }
    let rank = |scores: &[f64], own: &[usize]| {
        Rank::of(scores, own).ok_or_else(|| "a query without a right answer".to_owned())
    };
    let image_to_text: Vec<Rank> = case
        .scores
        .iter()
        .enumerate()
        .map(|(image, row)| {
            let first = image * case.captions_per_image;
            let own: Vec<usize> = (first..first + case.captions_per_image).collect();
            rank(row, &own)
        })
        .collect::<Result<_, _>>()?;
    let text_to_image: Vec<Rank> = (0..captions)
        .map(|caption| {
            let column: Vec<f64> = case.scores.iter().map(|row| row[caption]).collect();
            rank(&column, &[caption / case.captions_per_image])
        })
        .collect::<Result<_, _>>()?;
    if !case.ties
        && image_to_text
            .iter()
            .chain(&text_to_image)
            .any(|r| r.is_tied())
    {
        return Err("ties in a case without ties".to_owned());
    }
    direction(Input::ImageToText, &image_to_text, &case.image_to_text)?;
    direction(Input::TextToImage, &text_to_image, &case.text_to_image)
}

fn direction(input: Input, ranks: &[Rank], expected: &Direction) -> Result<(), String> {
    let name = input.name();
    let by_index: Vec<u32> = ranks.iter().map(|r| r.place(TiePolicy::ByIndex)).collect();
    if by_index != expected.ranks_by_index {
        return Err(format!("{name}: places by index differ: {by_index:?}"));
    }
    for (policy, values) in [
        (TiePolicy::ByIndex, &expected.by_index),
        (TiePolicy::Optimistic, &expected.optimistic),
    ] {
        let mut observations = Observations::default();
        observations.set(input, ranks.to_vec());
        let suffix = match policy {
            TiePolicy::ByIndex => "",
            TiePolicy::Optimistic => ".optimistic",
        };
        for (key, &value) in values {
            let id = match key.as_str() {
                "median_rank" => format!("median-rank.{name}{suffix}"),
                "mrr" => format!("mrr.{name}{suffix}"),
                recall => match recall.strip_prefix("R@") {
                    Some(k) => format!("recall@{k}.{name}{suffix}"),
                    None => return Err(format!("unknown value `{key}`")),
                },
            };
            let metric = registry::metric(&id).map_err(|e| e.to_string())?;
            let outcome = metric
                .evaluate(&observations, None)
                .map_err(|e| e.to_string())?;
            close(outcome.value, value, 1e-9).map_err(|e| format!("{id} {policy:?}: {e}"))?;
        }
    }
    Ok(())
}
