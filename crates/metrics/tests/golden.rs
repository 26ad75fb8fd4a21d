//! Golden files of the area `metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use sightline_core::{Digest, Seed};
use sightline_metrics::bootstrap::{self, Method, interval_from, resample_at};
use sightline_metrics::metric::{Mean, merged};
use sightline_metrics::{Input, Interval, Observations, Rank, TiePolicy, registry};
use sightline_testkit::golden::{Report, Root};

/// Resamples behind the `statistical` intervals of the area's README.
const STATISTICAL_RESAMPLES: u32 = 19_999;

/// Runs every case of a file's bytes.
type Runner = fn(&[u8], &mut Report) -> Result<(), String>;

/// What runs a file: its name without `.gz`.
const HANDLED: &[(&str, Runner)] = &[
    ("bootstrap.json", bootstrap_file),
    ("retrieval.json", retrieval_file),
];

/// Recorded for metrics that do not exist yet.
const UNHANDLED: &[&str] = &[
    "clipscore.json",
    "coco.corpus.json",
    "coco.human.jsonl",
    "coco.neighbour.jsonl",
    "coco.noisy.jsonl",
    "coco.refs.jsonl",
    "detection.json",
    "edge.corpus.json",
    "edge.edge.jsonl",
    "edge.refs.jsonl",
    "fakecap.corpus.json",
    "fakecap.fakecap.jsonl",
    "fakecap.refs.jsonl",
    "meteor_alignments.jsonl",
    "meteor_corpora.json",
    "meteor_raw_edge.jsonl",
    "nltk.json",
    "normalizer.jsonl",
    "prose.jsonl",
    "rouge_score.coco.jsonl",
    "rouge_score.edge.jsonl",
    "sacrebleu.json",
    "stems.tsv",
    "tokenizer.jsonl",
    "vqa.json",
];

/// Not golden files themselves.
const BESIDE: &[&str] = &["README.md", "sha256.json"];

#[test]
fn metrics() {
    let Some(folder) = Root::find().area("metrics") else {
        return;
    };
    let mut report = Report::new("metrics");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !BESIDE.contains(&name.as_str()) {
            names.insert(name);
        }
    }
    report.case("sha256", "sha256.json", checksums(&folder, &names));
    for name in &names {
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        if UNHANDLED.contains(&plain) {
            report.unhandled(plain);
        } else if let Some((_, run)) = HANDLED.iter().find(|(handled, _)| *handled == plain) {
            let outcome = read(&folder.join(name)).and_then(|bytes| run(&bytes, &mut report));
            if let Err(reason) = outcome {
                report.case(plain, "file", Err(reason));
            }
        } else {
            report.case(plain, "file", Err("no test knows this file".to_owned()));
        }
    }
    report.finish();
}

/// Every file that `sha256.json` lists is there and has the digest listed, and every file that a test
/// runs is listed.
fn checksums(folder: &Path, names: &BTreeSet<String>) -> Result<(), String> {
    let text = fs::read(folder.join("sha256.json")).map_err(|e| e.to_string())?;
    let listed: BTreeMap<String, Digest> =
        serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    for (handled, _) in HANDLED {
        let of_it = |name: &&String| name.strip_suffix(".gz").unwrap_or(name) == *handled;
        if let Some(name) = names.iter().find(of_it)
            && !listed.contains_key(name)
        {
            return Err(format!("`{name}` is not listed"));
        }
    }
    for (name, expected) in listed {
        let bytes = fs::read(folder.join(&name)).map_err(|e| e.to_string())?;
        let actual = Digest::of(&bytes);
        if actual != expected {
            return Err(format!(
                "`{name}` has digest {actual}, listed is {expected}"
            ));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice())
        .read_to_end(&mut plain)
        .map_err(|e| e.to_string())?;
    Ok(plain)
}

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

fn retrieval_file(bytes: &[u8], report: &mut Report) -> Result<(), String> {
    let cases: Vec<RetrievalCase> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
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
        // The metrics order ties by index; ties settled beforehand leave them none to order.
        let mut observations = Observations::default();
        let settled = ranks.iter().map(|rank| rank.settled(policy)).collect();
        observations.set_ranks(input, settled);
        for (key, &value) in values {
            let id = match key.as_str() {
                "median_rank" => format!("median-rank.{name}"),
                "mrr" => format!("mrr.{name}"),
                recall => match recall.strip_prefix("R@") {
                    Some(k) => format!("recall@{k}.{name}"),
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BootstrapCase {
    name: String,
    values: Vec<f64>,
    mean: f64,
    se: f64,
    #[serde(default)]
    indices: Vec<Vec<usize>>,
    distribution_mean: Option<f64>,
    /// By method and confidence: `percentile:0.95`. Computed from `indices`.
    #[serde(default)]
    exact: BTreeMap<String, [f64; 2]>,
    /// By method, 95 %, from 19,999 resamples of the reference's own.
    statistical: BTreeMap<String, [f64; 2]>,
}

fn bootstrap_file(bytes: &[u8], report: &mut Report) -> Result<(), String> {
    let cases: Vec<BootstrapCase> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    for case in &cases {
        report.case("bootstrap", &case.name, bootstrap_case(case));
    }
    Ok(())
}

fn bootstrap_case(case: &BootstrapCase) -> Result<(), String> {
    let stats: Vec<Mean> = case.values.iter().map(|&value| Mean::of(value)).collect();
    close(Mean::value(&merged(&stats)), case.mean, 1e-9).map_err(|e| format!("mean: {e}"))?;
    close(Some(standard_error(&case.values)), case.se, 1e-9).map_err(|e| format!("se: {e}"))?;

    let resampled = resample_at(&stats, Mean::value, &case.indices);
    if let Some(expected) = case.distribution_mean {
        let mean = resampled.iter().sum::<f64>() / resampled.len() as f64;
        close(Some(mean), expected, 1e-9).map_err(|e| format!("distribution_mean: {e}"))?;
    }
    for (key, expected) in &case.exact {
        let (name, confidence) = key.split_once(':').ok_or("no confidence in a key")?;
        let confidence = confidence.parse().map_err(|_| format!("`{key}`"))?;
        let method = method(name)?;
        let ends = interval_from(&stats, Mean::value, resampled.clone(), confidence, method);
        let differences = differences(ends, *expected).map_err(|e| format!("{key}: {e}"))?;
        if differences
            .into_iter()
            .any(|difference| difference.is_nan() || difference > 1e-9)
        {
            return Err(format!("{key}: {ends:?} instead of {expected:?}"));
        }
    }
    let resampled = bootstrap::resample(&stats, Mean::value, STATISTICAL_RESAMPLES, Seed(17));
    for (key, &expected) in &case.statistical {
        let method = method(key)?;
        let ends = |confidence| {
            interval_from(&stats, Mean::value, resampled.clone(), confidence, method)
                .ok_or_else(|| format!("{key}: no interval"))
        };
        let found = ends(0.95)?;
        let share = if method == Method::Bca { 0.05 } else { 0.03 };
        let allowed = share * (expected[1] - expected[0]);
        let near = differences(Some(found), expected)?.map(|difference| difference <= allowed);
        // Both sides drew their own resamples. Where items have few distinct values an end can only
        // jump, by more than that share of the width, when the draws put the 2.5 % mark on one side of a
        // jump or the other. So an end also agrees if its tail share does: four standard errors of
        // the difference of two shares counted in this many draws.
        let tail = 0.025f64;
        let slack = 4.0 * (2.0 * tail * (1.0 - tail) / f64::from(STATISTICAL_RESAMPLES)).sqrt();
        let inner = ends(1.0 - 2.0 * (tail + slack))?;
        let outer = ends(1.0 - 2.0 * (tail - slack))?;
        let within = |low: f64, end: f64, high: f64| low - 1e-9 <= end && end <= high + 1e-9;
        let jumped = [
            within(outer.low, expected[0], inner.low),
            within(inner.high, expected[1], outer.high),
        ];
        if (0..2).any(|end| !near[end] && !jumped[end]) {
            return Err(format!(
                "{key}: {found:?} instead of {expected:?}, allowed is {allowed:.6}"
            ));
        }
    }
    Ok(())
}

fn method(name: &str) -> Result<Method, String> {
    match name {
        "percentile" => Ok(Method::Percentile),
        "basic" => Ok(Method::Basic),
        "BCa" => Ok(Method::Bca),
        other => Err(format!("unknown method `{other}`")),
    }
}

fn standard_error(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (squares / (n - 1.0) / n).sqrt()
}

fn differences(actual: Option<Interval>, expected: [f64; 2]) -> Result<[f64; 2], String> {
    let actual = actual.ok_or("no interval")?;
    Ok([
        (actual.low - expected[0]).abs(),
        (actual.high - expected[1]).abs(),
    ])
}

fn close(actual: Option<f64>, expected: f64, tolerance: f64) -> Result<(), String> {
    match actual {
        Some(actual) if (actual - expected).abs() <= tolerance => Ok(()),
        other => Err(format!("{other:?} instead of {expected}")),
    }
}
