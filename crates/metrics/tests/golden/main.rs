//! Golden files of the area `metrics`: one module for each kind of file.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and names the file it reads"
)]

mod average_precision;
mod bootstrap;
mod captions;
mod clipscore;
mod detection;
mod files;
mod lvis;
mod meteor;
mod nltk;
mod retrieval;
mod rouge_score;
mod sacrebleu;
mod systems;
mod text;
mod vqa;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sightline_testkit::golden::{Report, Root};

use files::{Folder, Runner};

/// What runs a file: its name without `.gz`, where `*` stands for any name without a dot. The first
/// pattern that matches counts.
const HANDLED: &[(&str, Runner)] = &[
    ("average_precision.json", average_precision::run),
    ("bootstrap.json", bootstrap::run),
    ("clipscore.json", clipscore::run),
    ("detection.json", detection::run),
    ("lvis.json", lvis::run),
    ("meteor_alignments.jsonl", meteor::alignments),
    ("meteor_corpora.json", meteor::corpora),
    ("meteor_raw_edge.jsonl", meteor::raw_edge),
    ("nltk.json", nltk::run),
    ("normalizer.jsonl", text::normalizer),
    ("prose.jsonl", meteor::prose),
    ("retrieval.json", retrieval::run),
    ("rouge_score.*.jsonl", rouge_score::run),
    ("sacrebleu.json", sacrebleu::run),
    ("stems.tsv", text::stems),
    ("tokenizer.jsonl", text::tokenizer),
    ("vqa.json", vqa::run),
    ("*.corpus.json", captions::corpus),
    ("*.refs.jsonl", captions::references),
    ("*.*.jsonl", captions::system),
];

/// Recorded for metrics that do not exist yet.
const UNHANDLED: &[&str] = &[];

/// Not golden files themselves.
const BESIDE: &[&str] = &["README.md", "sha256.json"];

#[test]
fn metrics() {
    let Some(path) = Root::find().area("metrics") else {
        return;
    };
    run(&path).finish();
}

/// Runs every file in the folder. It may hold some of the files only.
fn run(path: &Path) -> Report {
    let mut report = Report::new("metrics");
    let names: BTreeSet<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !BESIDE.contains(&name.as_str()))
        .collect();
    let folder = Folder {
        path: path.to_owned(),
        names,
    };
    if folder.path.join("sha256.json").is_file() {
        report.case("sha256", "sha256.json", folder.checksums());
    }
    for name in &folder.names {
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        if plain != name && folder.names.contains(plain) {
            let problem = format!("`{plain}` is there as well, and only one of them is read");
            report.case(name, "file", Err(problem));
            continue;
        }
        let handled = HANDLED
            .iter()
            .find(|(pattern, _)| files::matches(pattern, plain));
        if let Some((_, run)) = handled {
            let outcome = run(&folder, plain, &mut report);
            report.case(plain, "file", outcome);
        } else if UNHANDLED
            .iter()
            .any(|pattern| files::matches(pattern, plain))
        {
            report.unhandled(plain);
        } else {
            report.case(plain, "file", Err("no test knows this file".to_owned()));
        }
    }
    report
}

#[test]
fn what_lacks_its_partner_is_passed_over_and_what_is_unknown_is_not() {
    let hypothesis = r#"{"id": 1, "hyp": "A dog.", "ptb": "a dog .", "tok": "a dog",
        "bleu": [1, 1, 1, 1], "rouge_l": 1, "cider_d": 0, "cider": 0, "meteor": 1, "meteor_stats": ""}"#;
    let hypothesis = hypothesis.replace('\n', "");
    let corpus = r#"{"human": {"n": 1, "bleu": [1, 1, 1, 1], "rouge_l": 1, "cider_d": 0, "cider": 0,
        "meteor": 1}}"#;
    let failures = |name: &str, text: &str| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        run(folder.path()).failures().to_vec()
    };
    let none: [&str; 0] = [];
    assert_eq!(failures("x.human.jsonl", &hypothesis), none);
    assert_eq!(failures("x.corpus.json", corpus), none);
    assert_eq!(
        failures("meteor_corpora.json", r#"{"prose": 0.5, "raw_edge": 0.5}"#),
        none
    );
    for (name, text) in [
        ("x.human.jsonl", hypothesis.replace("a dog .", "a dogs .")),
        (
            "x.human.jsonl",
            hypothesis.replace("\"hyp\"", "\"x\": 1, \"hyp\""),
        ),
        ("x.corpus.json", corpus.replace("\"n\"", "\"x\": 1, \"n\"")),
        ("meteor_corpora.json", r#"{"poems": 0.5}"#.to_owned()),
        ("poems.json", "{}".to_owned()),
    ] {
        assert_ne!(failures(name, &text), none, "{name}: {text}");
    }
}
