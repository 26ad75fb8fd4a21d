//! METEOR: statistics, scores, alignments, corpora.
//!
//! Needs the compiled tables, which `sightline metrics setup` makes (`just metrics-data`).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use sightline_metrics::meteor::{self, Sums, Tables};
use sightline_metrics::metric::merged;
use sightline_metrics::{Caption, CaptionItem, Metric, Resources};
use sightline_store::Mapped;
use sightline_testkit::cache;
use sightline_testkit::golden::Report;

use crate::files::{Folder, close};
use crate::text::{alone_or_followed, equal};

/// Allowed of a score.
const TOLERANCE: f64 = 1e-12;

/// The compiled tables of the published data.
pub(crate) fn tables() -> Result<Arc<Tables>, String> {
    static TABLES: OnceLock<Result<Arc<Tables>, String>> = OnceLock::new();
    TABLES
        .get_or_init(|| {
            let path = cache::folder()
                .ok_or("no cache folder: HOME is not set")?
                .join(meteor::file_name());
            let map = Mapped::open(&path)
                .map_err(|e| format!("{e}; make METEOR's tables with `just metrics-data`"))?;
            Tables::open(Arc::new(map))
                .map(Arc::new)
                .map_err(|e| format!("{}: {e}", path.display()))
        })
        .clone()
}

/// What the reference program gave for one segment.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Expected {
    pub(crate) meteor: f64,
    /// 23 numbers, printed as Java prints doubles.
    pub(crate) meteor_stats: String,
}

/// Compares the sums of one segment.
pub(crate) fn segment(sums: &Sums, expected: &Expected) -> Result<(), String> {
    let line: Vec<String> = sums
        .line()
        .iter()
        .map(|&number| format!("{:?}", number as f64))
        .collect();
    let line = line.join(" ");
    if line != expected.meteor_stats {
        return Err(format!(
            "statistics are\n  {line}\ninstead of\n  {}",
            expected.meteor_stats
        ));
    }
    close(sums.score(), expected.meteor, TOLERANCE)
}

/// The sums of every item.
pub(crate) fn sums(items: &[CaptionItem]) -> Result<Vec<Sums>, String> {
    let resources = Resources {
        meteor: Some(tables()?),
        ..Resources::default()
    };
    let lexicon = meteor::METEOR
        .corpus(items, &resources)
        .map_err(|e| e.to_string())?;
    Ok(items
        .iter()
        .map(|item| meteor::METEOR.stats(&lexicon, item))
        .collect())
}

/// An item whose captions the reference program was given as they are, without the tokenizer.
fn raw(candidate: &str, reference: &str) -> CaptionItem {
    CaptionItem {
        candidate: Caption::from_tokens(candidate, candidate),
        references: vec![Caption::from_tokens(reference, reference)],
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEdge {
    name: String,
    hyp: String,
    #[serde(rename = "ref")]
    reference: String,
    meteor: f64,
    meteor_stats: String,
}

pub(crate) fn raw_edge(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let cases: Vec<RawEdge> = folder.json_lines(file)?;
    let items: Vec<CaptionItem> = cases.iter().map(|c| raw(&c.hyp, &c.reference)).collect();
    let sums = sums(&items)?;
    for (case, sums) in cases.iter().zip(&sums) {
        let expected = Expected {
            meteor: case.meteor,
            meteor_stats: case.meteor_stats.clone(),
        };
        report.case("meteor_raw_edge", &case.name, segment(sums, &expected));
    }
    corpus(folder, "raw_edge", &sums, report)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prose {
    text: String,
    ptb: String,
    hyp: Option<String>,
    meteor: Option<f64>,
    meteor_stats: Option<String>,
}

pub(crate) fn prose(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let cases: Vec<Prose> = folder.json_lines(file)?;
    let mut scored = Vec::new();
    let lines: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
    for (number, case) in cases.iter().enumerate() {
        let outcome = alone_or_followed(&lines[number..], |text, following| {
            let tokens = sightline_text::ptb::tokenize_before(text, following);
            equal(&tokens.join(" "), &case.ptb)
        });
        report.case("prose/tokens", &number.to_string(), outcome);
        match (&case.hyp, case.meteor, &case.meteor_stats) {
            (Some(hyp), Some(meteor), Some(meteor_stats)) => {
                let meteor_stats = meteor_stats.clone();
                let expected = Expected {
                    meteor,
                    meteor_stats,
                };
                scored.push((number, raw(hyp, &case.text), expected));
            }
            (None, None, None) => {}
            _ => {
                return Err(format!(
                    "line {number}: hyp, meteor and meteor_stats go together"
                ));
            }
        }
    }
    let items: Vec<CaptionItem> = scored.iter().map(|(_, item, _)| item.clone()).collect();
    let sums = sums(&items)?;
    for ((number, _, expected), sums) in scored.iter().zip(&sums) {
        report.case("prose/meteor", &number.to_string(), segment(sums, expected));
    }
    corpus(folder, "prose", &sums, report)
}

/// The corpus score of `name` in `meteor_corpora.json`, where that file is there.
fn corpus(folder: &Folder, name: &str, sums: &[Sums], report: &mut Report) -> Result<(), String> {
    const FILE: &str = "meteor_corpora.json";
    if folder.has(FILE) {
        let expected: BTreeMap<String, f64> = folder.json(FILE)?;
        if let Some(&expected) = expected.get(name) {
            report.case(
                "meteor_corpora",
                name,
                close(merged(sums).score(), expected, TOLERANCE),
            );
        }
    }
    Ok(())
}

/// Every entry of the file belongs to another file, which checks it if it is here.
pub(crate) fn corpora(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let expected: BTreeMap<String, f64> = folder.json(file)?;
    for name in expected.keys() {
        let of = match name.as_str() {
            "raw_edge" => "meteor_raw_edge.jsonl",
            "prose" => "prose.jsonl",
            other => return Err(format!("unknown corpus `{other}`")),
        };
        if !folder.has(of) {
            report.without(&format!("{file}: {name}"), of);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlignmentCase {
    /// Number, precision, recall, fragmentation penalty, score.
    head: [String; 5],
    /// Candidate start and length, reference start and length, module.
    rows: Vec<[u64; 5]>,
    hyp: String,
    #[serde(rename = "ref")]
    reference: String,
}

pub(crate) fn alignments(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let cases: Vec<AlignmentCase> = folder.json_lines(file)?;
    let tables = tables()?;
    for case in &cases {
        report.case("meteor_alignments", &case.head[0], alignment(case, &tables));
    }
    Ok(())
}

fn alignment(case: &AlignmentCase, tables: &Arc<Tables>) -> Result<(), String> {
    // Recorded after normalising, which is not to be done twice.
    let candidate: Vec<&str> = case.hyp.split_ascii_whitespace().collect();
    let reference: Vec<&str> = case.reference.split_ascii_whitespace().collect();
    let (matches, sums) = meteor::align_words(&candidate, &reference, tables);
    let rows: Vec<[u64; 5]> = matches
        .iter()
        .map(|one| {
            [
                u64::from(one.candidate),
                u64::from(one.candidate_len),
                u64::from(one.reference),
                u64::from(one.reference_len),
                one.module as u64,
            ]
        })
        .collect();
    if rows != case.rows {
        return Err(format!("{rows:?} instead of {:?}", case.rows));
    }
    let numbers = [
        Some(sums.precision()),
        Some(sums.recall()),
        Some(sums.penalty()),
        sums.score(),
    ];
    for (number, text) in numbers.into_iter().zip(&case.head[1..]) {
        // The reference program divides by the number of matches where there is none.
        let is_undefined = text == "NaN" && rows.is_empty();
        let expected = if is_undefined { Ok(0.0) } else { text.parse() };
        let expected: f64 = expected.map_err(|_| format!("`{text}`"))?;
        close(number, expected, TOLERANCE)?;
    }
    Ok(())
}
