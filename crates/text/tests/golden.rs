//! Golden files of tokenizers: every text of `clip_bpe.json`, ids exactly equal.

#![expect(clippy::unwrap_used, reason = "a broken fixture fails the test")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use sightline_testkit::golden::{Report, Root};
use sightline_text::{ClipTokenizer, Tokenizer};

/// Files of the area that are tables for tests, not cases.
const TABLES: &[&str] = &["README.md", "vocab"];

/// Recorded tokenizers that no crate has yet, and the file in a folder that holds their cases.
const UNHANDLED: &[(&str, &str)] = &[
    ("bert_wordpiece.json", ""),
    ("gpt2", "strings.json"),
    ("virtex_sentencepiece.json", ""),
];

/// Columns of `clip_bpe.json` that need ftfy's repair of broken encodings.
const UNHANDLED_COLUMNS: &[&str] = &["openai", "openai_77", "openai_decoded", "hf_slow_with_ftfy"];

#[test]
fn models_tokenizers() {
    let Some(folder) = Root::find().area("models/tokenizers") else {
        return;
    };
    let mut report = Report::new("models/tokenizers");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in names {
        if TABLES.contains(&name.as_str()) {
            continue;
        }
        if name == "clip_bpe.json" {
            clip(&folder, &mut report);
        } else if let Some((_, inner)) = UNHANDLED.iter().find(|(file, _)| *file == name) {
            let file = folder.join(&name);
            let document = read(&if inner.is_empty() {
                file
            } else {
                file.join(inner)
            });
            for _ in cases(&document) {
                report.unhandled(&name);
            }
        } else {
            report.case(&name, "file", Err("unknown to this test".to_owned()));
        }
    }
    report.finish();
}

fn clip(folder: &Path, report: &mut Report) {
    let document = read(&folder.join("clip_bpe.json"));
    let merges = folder.join("vocab/bpe_simple_vocab_16e6.txt.gz");
    let tokenizer = ClipTokenizer::from_openai_merges(&merges).unwrap();
    for (name, value) in document.as_object().unwrap() {
        let outcome = match name.as_str() {
            "cases" | "strings_equal_openai_and_hf_fast" | "context_length" => continue,
            "vocab_size" => equal(&(tokenizer.vocabulary_size() as u64).into(), value),
            "bos" => equal(&tokenizer.start().into(), value),
            "eos" => equal(&tokenizer.end().into(), value),
            _ => Err("unknown to this test".to_owned()),
        };
        report.case("clip_bpe/header", name, outcome);
    }
    for case in cases(&document) {
        let text = case["text"].as_str().unwrap();
        for (column, expected) in case.as_object().unwrap() {
            let context_length = match column.strip_prefix("hf_fast") {
                Some("") => Some(usize::MAX),
                Some(cut) => cut.strip_prefix('_').and_then(|n| n.parse().ok()),
                None => None,
            };
            let group = format!("clip_bpe/{column}");
            if let Some(context_length) = context_length {
                let outcome = tokenizer
                    .encode(text, context_length)
                    .map_err(|e| e.to_string())
                    .and_then(|encoded| equal(&encoded.ids.into(), expected));
                report.case(&group, text, outcome);
            } else if UNHANDLED_COLUMNS.contains(&column.as_str()) {
                report.unhandled(&group);
            } else if column != "text" {
                report.case(&group, text, Err("unknown to this test".to_owned()));
            }
        }
    }
}

fn read(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn cases(document: &Value) -> impl Iterator<Item = &Value> {
    let list = document.as_array().or_else(|| document["cases"].as_array());
    list.expect("a list of cases").iter()
}

fn equal(actual: &Value, expected: &Value) -> Result<(), String> {
    if actual == expected {
        return Ok(());
    }
    Err(format!("{actual} instead of {expected}"))
}
