//! Tokens, stems and normalised text.

use serde::Deserialize;
use sightline_testkit::golden::Report;
use sightline_text::{ptb, snowball};

use crate::files::Folder;
use crate::meteor::tables;

/// Whether two texts are the same.
pub(crate) fn equal(actual: &str, expected: &str) -> Result<(), String> {
    if actual == expected {
        Ok(())
    } else {
        Err(format!("{actual:?} instead of {expected:?}"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tokenized {
    text: String,
    ptb: String,
    tok: String,
}

pub(crate) fn tokenizer(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let cases: Vec<Tokenized> = folder.json_lines(file)?;
    let lines: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
    for (at, case) in cases.iter().enumerate() {
        let outcome = alone_or_followed(&lines[at..], |text, following| {
            tokens(text, following, &case.ptb, &case.tok)
        });
        report.case("tokenizer", &case.text, outcome);
    }
    Ok(())
}

/// Lines of the file that a line is read with.
const FOLLOWING: usize = 3;

/// What comes after the first of `lines` in the file that the reference program read.
pub(crate) fn following(lines: &[&str]) -> String {
    let rest = lines.get(1..).unwrap_or_default();
    rest[..rest.len().min(FOLLOWING)].join("\n")
}

/// Checks the first of `lines` by itself or, where that fails, with those that follow it: of constructed
/// strings and of prose it is not said whether the reference program read them one by one or as a file.
pub(crate) fn alone_or_followed(
    lines: &[&str],
    check: impl Fn(&str, &str) -> Result<(), String>,
) -> Result<(), String> {
    let text = lines.first().copied().unwrap_or_default();
    check(text, "").or_else(|alone| check(text, &following(lines)).map_err(|_| alone))
}

/// Whether `text` has these tokens with and without punctuation. The reference program reads a file of
/// captions at once: a period at the end of one can depend on what is `following`.
pub(crate) fn tokens(text: &str, following: &str, ptb: &str, tok: &str) -> Result<(), String> {
    let tokens = ptb::tokenize_before(text, following);
    equal(&tokens.join(" "), ptb)?;
    let kept: Vec<&str> = tokens
        .iter()
        .map(String::as_str)
        .filter(|token| !ptb::is_dropped(token))
        .collect();
    equal(kept.join(" ").trim_end(), tok)?;
    if tokens == ptb::tokenize(text) {
        equal(&ptb::caption(text), tok)?;
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Normalized {
    text: String,
    norm: String,
}

pub(crate) fn normalizer(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let tables = tables()?;
    for case in folder.json_lines::<Normalized>(file)? {
        let outcome = equal(&tables.normalizer().normalize(&case.text), &case.norm);
        report.case("normalizer", &case.text, outcome);
    }
    Ok(())
}

pub(crate) fn stems(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let text = String::from_utf8(folder.read(file)?).map_err(|e| e.to_string())?;
    for line in text.lines() {
        let outcome = match line.split_once('\t') {
            Some((word, stem)) => equal(&snowball::stem(word), stem),
            None => Err("no tab".to_owned()),
        };
        report.case("stems", line, outcome);
    }
    Ok(())
}
