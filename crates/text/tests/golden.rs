//! Golden files of tokenizers: every text of `clip_bpe.json`, `bert_wordpiece.json`, `virtex_sentencepiece.json` and
//! `gpt2`, ids exactly equal.

#![expect(clippy::unwrap_used, reason = "a broken fixture fails the test")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use sightline_testkit::golden::{Report, Root};
use sightline_text::{
    BertTokenizer, ClipTokenizer, Gpt2Tokenizer, PairTokenizer, Tokenizer, VirTexTokenizer,
    normalise_caption,
};

/// Files of the area that are tables for tests, not cases.
const TABLES: &[&str] = &["README.md", "vocab"];

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
        } else if name == "bert_wordpiece.json" {
            bert(&folder, &mut report);
        } else if name == "virtex_sentencepiece.json" {
            virtex(&folder, &mut report);
        } else if name == "gpt2" {
            gpt2(&folder.join(name), &mut report);
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

fn gpt2(folder: &Path, report: &mut Report) {
    let tokenizer = Gpt2Tokenizer::from_folder(folder).unwrap();
    for case in cases(&read(&folder.join("strings.json"))) {
        let text = case["text"].as_str().unwrap();
        let ids = tokenizer.encode(text).map_err(|e| e.to_string());
        for (column, expected) in case.as_object().unwrap() {
            let actual = match (column.as_str(), &ids) {
                ("text", _) => continue,
                (_, Err(error)) => Err(error.clone()),
                ("ids", Ok(ids)) => Ok(ids.clone().into()),
                ("decoded", Ok(ids)) => tokenizer
                    .decode_with_special(ids)
                    .map(Value::from)
                    .map_err(|e| e.to_string()),
                _ => Err("unknown to this test".to_owned()),
            };
            let outcome = actual.and_then(|actual| equal(&actual, expected));
            report.case(&format!("gpt2/{column}"), text, outcome);
        }
    }
}

fn bert(folder: &Path, report: &mut Report) {
    let document = read(&folder.join("bert_wordpiece.json"));
    let vocabulary = folder.join("vocab/bert-base-uncased-vocab.txt");
    let tokenizer = BertTokenizer::from_vocabulary(&vocabulary).unwrap();
    for (name, value) in document.as_object().unwrap() {
        let outcome = match name.as_str() {
            "cases" | "strings_equal_fast_and_slow" => continue,
            "vocab_size" => equal(&(tokenizer.vocabulary_size() as u64).into(), value),
            "pad" => equal(&tokenizer.pad().into(), value),
            "unk" => equal(&tokenizer.unknown().into(), value),
            "cls" => equal(&tokenizer.start().into(), value),
            "sep" => equal(&tokenizer.end().into(), value),
            "mask" => equal(&tokenizer.mask().into(), value),
            _ => Err("unknown to this test".to_owned()),
        };
        report.case("bert_wordpiece/header", name, outcome);
    }
    for case in cases(&document) {
        let text = case["text"].as_str().unwrap();
        for (column, expected) in case.as_object().unwrap() {
            if matches!(column.as_str(), "text" | "pair_with") {
                continue;
            }
            let outcome =
                bert_column(&tokenizer, case, column).and_then(|actual| equal(&actual, expected));
            report.case(&format!("bert_wordpiece/{column}"), text, outcome);
        }
    }
}

/// What a column of `bert_wordpiece.json` should hold for a case. Numbers in names are lengths.
fn bert_column(tokenizer: &BertTokenizer, case: &Value, column: &str) -> Result<Value, String> {
    let text = case["text"].as_str().ok_or("no text")?;
    let encode = |text: &str, context_length: usize| {
        tokenizer
            .encode(text, context_length)
            .map_err(|e| e.to_string())
    };
    match column {
        "fast" | "slow" => return Ok(encode(text, usize::MAX)?.ids.into()),
        "visualbert_vqa" => {
            return Ok(encode(&format!("{text} ? [MASK]"), usize::MAX)?.ids.into());
        }
        "decoded" => {
            let ids = encode(text, usize::MAX)?.ids;
            return Ok(tokenizer.decode(&ids).map_err(|e| e.to_string())?.into());
        }
        _ => {}
    }
    let mut parts = column.split('_');
    let (kind, len) = (parts.next(), parts.next().and_then(|len| len.parse().ok()));
    let (Some(kind), Some(len)) = (kind, len) else {
        return Err("unknown to this test".to_owned());
    };
    match (kind, parts.next()) {
        ("align", None) => Ok(encode(text, len)?.padded(len, tokenizer.pad()).ids.into()),
        ("align", Some("ones")) => Ok(encode(text, len)?.len.into()),
        ("pair", part @ (None | Some("types"))) => {
            let second = case["pair_with"].as_str().ok_or("no pair_with")?;
            let pair = tokenizer.encode_pair(text, Some(second), len);
            let pair = pair.map_err(|e| e.to_string())?;
            Ok(if part.is_some() { pair.types } else { pair.ids }.into())
        }
        _ => Err("unknown to this test".to_owned()),
    }
}

fn virtex(folder: &Path, report: &mut Report) {
    let document = read(&folder.join("virtex_sentencepiece.json"));
    let model = folder.join("vocab/coco_10k.model");
    let tokenizer = VirTexTokenizer::from_file(&model).unwrap();
    for (name, value) in document.as_object().unwrap() {
        let outcome = match name.as_str() {
            "cases" | "max_caption_length" => continue,
            "vocab_size" => equal(&(tokenizer.vocabulary_size() as u64).into(), value),
            "unk_and_pad" => equal(&tokenizer.unknown().into(), value),
            "sos" => equal(&tokenizer.start().into(), value),
            "eos" => equal(&tokenizer.end().into(), value),
            "mask" => equal(&tokenizer.mask().into(), value),
            _ => Err("unknown to this test".to_owned()),
        };
        report.case("virtex_sentencepiece/header", name, outcome);
    }
    let limit = document["max_caption_length"].as_u64().unwrap() as usize;
    for case in cases(&document) {
        let text = case["text"].as_str().unwrap();
        for (column, expected) in case.as_object().unwrap() {
            if column != "text" {
                let outcome = virtex_column(&tokenizer, text, column, limit)
                    .and_then(|actual| equal(&actual, expected));
                report.case(&format!("virtex_sentencepiece/{column}"), text, outcome);
            }
        }
    }
}

/// What a column of `virtex_sentencepiece.json` should hold for a text.
fn virtex_column(
    tokenizer: &VirTexTokenizer,
    text: &str,
    column: &str,
    limit: usize,
) -> Result<Value, String> {
    let normalised = normalise_caption(text);
    let pieces = tokenizer.sentencepiece();
    let decode = |ids: &[u32]| pieces.decode(ids).map_err(|e| e.to_string());
    Ok(match column {
        "normalised" => normalised.into(),
        "ids" => pieces.encode(&normalised).into(),
        "pieces" => {
            let pieces = pieces.pieces(&normalised).into_iter();
            pieces.map(|piece| piece.text).collect()
        }
        "model_ids" => tokenizer.encode(text, limit).into(),
        "noitpac_ids" => {
            let mut ids = tokenizer.encode(text, limit);
            ids.reverse();
            ids.into()
        }
        "decoded" => decode(&pieces.encode(&normalised))?.into(),
        "decoded_with_trailing_eos" => {
            let mut ids = pieces.encode(&normalised);
            ids.extend([tokenizer.end(); 3]);
            decode(&ids)?.into()
        }
        _ => return Err("unknown to this test".to_owned()),
    })
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
