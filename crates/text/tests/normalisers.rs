//! Golden files of the metrics that record what their normalisers make of a text, all equal.
//!
//! METEOR's normaliser needs the prefix list of its jar (`nonbreaking/english.prefixes`, not part of this
//! repository): its cases run when `SIGHTLINE_METEOR_PREFIXES` names the file, and are counted as not
//! handled otherwise. A folder that holds none of the files this test can run is skipped aloud.

#![expect(clippy::unwrap_used, reason = "a broken fixture fails the test")]

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;
use sightline_testkit::golden::{Report, Root};
use sightline_text::{answer, meteor, snowball};

/// Files whose cases need nothing else.
const STANDALONE: &[&str] = &["stems.tsv.gz", "vqa.json.gz"];

/// Files whose cases need the prefix list.
const NEED_PREFIXES: &[&str] = &[
    "meteor_alignments.jsonl.gz",
    "meteor_raw_edge.jsonl.gz",
    "normalizer.jsonl.gz",
    "prose.jsonl.gz",
];

#[test]
fn normalisers_equal_the_reference_programs() {
    let Some(folder) = Root::find().area("metrics") else {
        return;
    };
    let normalizer = env::var_os("SIGHTLINE_METEOR_PREFIXES").map(|path| {
        let prefixes = fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", Path::new(&path).display()));
        meteor::Normalizer::new(&prefixes)
    });
    let standalone = STANDALONE.iter().copied();
    let runnable = standalone.chain(
        NEED_PREFIXES
            .iter()
            .copied()
            .filter(|_| normalizer.is_some()),
    );
    if !runnable.into_iter().any(|file| folder.join(file).is_file()) {
        let _ = writeln!(
            io::stderr(),
            "golden metrics: skipped, {} has no file of the normalisers that can be run",
            folder.display()
        );
        return;
    }

    let mut report = Report::new("metrics");
    if let Some(stems) = read(&folder, "stems.tsv.gz") {
        stemmer(&stems, &mut report);
    }
    if let Some(answers) = read(&folder, "vqa.json.gz") {
        vqa(&serde_json::from_str(&answers).unwrap(), &mut report);
    }
    for (file, check) in [
        ("normalizer.jsonl.gz", normalised as Check),
        ("prose.jsonl.gz", word_counts),
        ("meteor_raw_edge.jsonl.gz", word_counts),
    ] {
        let lines = read(&folder, file).unwrap_or_default();
        for line in lines.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            match &normalizer {
                Some(normalizer) => check(normalizer, &case, &mut report),
                None => report.unhandled(&without_prefixes(file)),
            }
        }
    }
    alignments(&folder, normalizer.as_ref(), &mut report);
    report.finish();
}

type Check = fn(&meteor::Normalizer, &Value, &mut Report);

fn stemmer(table: &str, report: &mut Report) {
    for line in table.lines() {
        let (word, expected) = line.split_once('\t').unwrap();
        report.case("stems", word, equal(&snowball::stem(word), expected));
    }
}

fn vqa(document: &Value, report: &mut Report) {
    for pair in document["normalise"].as_array().unwrap() {
        let outcome = equal(&answer::normalize(text(&pair[0])), text(&pair[1]));
        report.case("vqa/normalise", text(&pair[0]), outcome);
    }
    for question in document["questions"].as_array().unwrap() {
        let answers = question["answers"].as_array().unwrap();
        let normalised = question["answers_norm"].as_array().unwrap();
        assert_eq!(answers.len(), normalised.len());
        let prediction = (&question["prediction"], &question["prediction_norm"]);
        for (raw, expected) in answers.iter().zip(normalised).chain([prediction]) {
            let outcome = equal(
                &answer::normalize(&answer::clean(text(raw))),
                text(expected),
            );
            report.case("vqa/questions", text(raw), outcome);
        }
    }
}

fn normalised(normalizer: &meteor::Normalizer, case: &Value, report: &mut Report) {
    let raw = text(&case["text"]);
    let outcome = equal(&normalizer.normalize(raw), text(&case["norm"]));
    report.case("normalizer", raw, outcome);
}

/// The statistics of a scored pair begin with the numbers of words of both sides.
fn word_counts(normalizer: &meteor::Normalizer, case: &Value, report: &mut Report) {
    let Some(statistics) = case["meteor_stats"].as_str() else {
        return;
    };
    let reference = case.get("ref").unwrap_or(&case["text"]);
    let counts = [&case["hyp"], reference]
        .map(|side| meteor::words(&normalizer.normalize(text(side))).count());
    let expected: Vec<&str> = statistics.split(' ').take(2).collect();
    let found = counts.map(|count| format!("{count}.0"));
    let outcome = if expected == found {
        Ok(())
    } else {
        Err(format!("{found:?} words instead of {expected:?}"))
    };
    report.case("word counts", text(&case["hyp"]), outcome);
}

/// The sides of an alignment are the normalised tokens of the first images' hypotheses and first references.
fn alignments(folder: &Path, normalizer: Option<&meteor::Normalizer>, report: &mut Report) {
    const FILE: &str = "meteor_alignments.jsonl.gz";
    let files = [FILE, "coco.noisy.jsonl.gz", "coco.refs.jsonl.gz"];
    let lines = files.map(|name| read(folder, name).unwrap_or_default());
    let [cases, hypotheses, references] = lines.each_ref().map(|file| {
        let parse = |line| serde_json::from_str(line).unwrap();
        file.lines().map(parse).collect::<Vec<Value>>()
    });
    for (i, case) in cases.iter().enumerate() {
        let Some(normalizer) = normalizer else {
            report.unhandled(&without_prefixes(FILE));
            continue;
        };
        let (Some(hypothesis), Some(reference)) = (hypotheses.get(i), references.get(i)) else {
            report.unhandled(&format!(
                "{FILE} without the captions of {}",
                files[1..].join(", ")
            ));
            continue;
        };
        for (raw, expected) in [
            (&hypothesis["tok"], &case["hyp"]),
            (&reference["tok"][0], &case["ref"]),
        ] {
            let outcome = equal(&normalizer.normalize(text(raw)), text(expected));
            report.case("alignments", text(raw), outcome);
        }
    }
}

fn without_prefixes(file: &str) -> String {
    format!("{file} without SIGHTLINE_METEOR_PREFIXES")
}

/// The unpacked text of a golden file, or `None` if the folder does not have it.
fn read(folder: &Path, name: &str) -> Option<String> {
    let path = folder.join(name);
    if !path.is_file() {
        return None;
    }
    let mut text = String::new();
    GzDecoder::new(File::open(&path).unwrap())
        .read_to_string(&mut text)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(text)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn equal(actual: &str, expected: &str) -> Result<(), String> {
    if actual == expected {
        return Ok(());
    }
    Err(format!("{actual:?} instead of {expected:?}"))
}
