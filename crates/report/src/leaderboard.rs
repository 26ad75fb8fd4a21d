//! The static leaderboard: one page and its data, a pure function of records.
//!
//! [`board`] writes `index.html` (style and script inside, nothing loaded from anywhere, a content
//! security policy that says so) and `board.json` with the same and more. The same records give the
//! same bytes: there is no clock and no machine in them. The page works without its script, which only
//! sorts columns and copies commands.
//!
//! `board.json`: `schema` is 1. `records` holds every record with its id, path and standing (`shown`,
//! `older` or `superseded`). `suites` holds the tables as shown: rows name their record by id and have
//! one entry in `scores` for each of `columns` (`null` where the record has none).

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use sightline_core::Digest;

use crate::error::Error;
use crate::format::encode;
use crate::page::{self, Hidden};
use crate::record::{Record, Score, TaskOutcome};
use crate::standings::{Mark, Suite, Table, standings};
use crate::store::{Stored, replace, sorted, superseded};

/// Version of the layout of `board.json` and of [`Summary`].
pub const SCHEMA: u32 = 1;

/// Stands in the first bytes of every page, so that no other page is overwritten.
const GENERATOR: &str = r#"<meta name="generator" content="sightline board">"#;
const GENERATOR_WITHIN_BYTES: u64 = 1024;

/// What a board was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The page.
    pub page: PathBuf,
    /// The data.
    pub data: PathBuf,
    /// Records given.
    pub records: usize,
    /// Records with a row on the page.
    pub shown: usize,
    /// Records for whose rows there are later ones.
    pub older: usize,
    /// Records that another one supersedes.
    pub superseded: usize,
    /// Suites.
    pub suites: usize,
    /// Tasks of all suites.
    pub tasks: usize,
    /// Tables beyond the first of each task: outcomes on other data or with other settings.
    pub incomparable: usize,
}

/// Writes the page and data for `records` into the folder `out`, which is made if it is not there.
pub fn board(records: &[Stored], out: &Path) -> Result<Summary, Error> {
    fs::create_dir_all(out).map_err(Error::io(out))?;
    let (page, data) = (out.join("index.html"), out.join("board.json"));
    if !may_replace(&page).map_err(Error::io(&page))? {
        return Err(Error::ForeignPage { path: page });
    }
    let board = Board::new(records);
    let links: Vec<Option<String>> = board
        .records
        .iter()
        .map(|stored| link_to(out, &stored.folder))
        .collect::<Result<_, _>>()?;
    let html = board.html(&links)?;
    let json = board.json()?;
    replace(out, &data, json.as_bytes()).map_err(Error::io(&data))?;
    replace(out, &page, html.as_bytes()).map_err(Error::io(&page))?;
    Ok(board.summary(page, data))
}

/// Records, and the tables they make.
struct Board<'a> {
    /// By suite, model, date and id, whatever order they were given in.
    records: Vec<&'a Stored>,
    standing: Vec<Standing>,
    /// Where in `records` those are that the tables are made of.
    current: Vec<usize>,
    suites: Vec<Suite<'a>>,
}

/// Whether a record is on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Standing {
    /// At least one of its outcomes is.
    Shown,
    /// For all of its outcomes there are later ones.
    Older,
    /// Another record supersedes it.
    Superseded,
}

impl<'a> Board<'a> {
    fn new(records: &'a [Stored]) -> Self {
        let records = sorted(records);
        let superseded = superseded(&records);
        let current: Vec<usize> = (0..records.len()).filter(|&at| !superseded[at]).collect();
        let sources: Vec<&Record> = current.iter().map(|&at| &records[at].record).collect();
        let suites = standings(&sources);
        let mut standing: Vec<Standing> = superseded
            .into_iter()
            .map(|is| {
                if is {
                    Standing::Superseded
                } else {
                    Standing::Older
                }
            })
            .collect();
        let tables = suites.iter().flat_map(|s| &s.tasks).flat_map(|t| &t.tables);
        for row in tables.flat_map(|table| &table.rows) {
            standing[current[row.source]] = Standing::Shown;
        }
        Self {
            records,
            standing,
            current,
            suites,
        }
    }

    fn count(&self, standing: Standing) -> usize {
        self.standing.iter().filter(|s| **s == standing).count()
    }

    fn html(&self, links: &[Option<String>]) -> Result<String, Error> {
        let records: Vec<&Stored> = self.current.iter().map(|&at| self.records[at]).collect();
        let links: Vec<Option<String>> = self.current.iter().map(|&at| links[at].clone()).collect();
        let hidden = Hidden {
            older: self.count(Standing::Older),
            superseded: self.count(Standing::Superseded),
        };
        page::page(&self.suites, &records, &links, hidden)
    }

    fn json(&self) -> Result<String, Error> {
        let records = self
            .records
            .iter()
            .zip(&self.standing)
            .map(|(stored, &standing)| RecordData {
                id: stored.id,
                path: &stored.path,
                standing,
                record: &stored.record,
            });
        let data = BoardData {
            schema: SCHEMA,
            records: records.collect(),
            suites: self.suites.iter().map(|suite| self.suite(suite)).collect(),
        };
        let json = |source| Error::Json { source };
        let mut value = serde_json::to_value(data).map_err(json)?;
        value.sort_all_objects();
        let mut text = serde_json::to_string_pretty(&value).map_err(json)?;
        text.push('\n');
        Ok(text)
    }

    fn suite(&self, suite: &Suite<'a>) -> SuiteData<'a> {
        let tasks = suite.tasks.iter().map(|task| TaskData {
            task: task.name,
            kind: task.kind,
            dataset: task.dataset,
            tables: task.tables.iter().map(|table| self.table(table)).collect(),
        });
        SuiteData {
            suite: suite.name,
            tasks: tasks.collect(),
        }
    }

    fn table(&self, table: &Table<'a>) -> TableData<'a> {
        let columns = table.columns.iter().map(|column| ColumnData {
            metric: column.metric.clone(),
            version: column.version,
        });
        let rows = table.rows.iter().map(|row| RowData {
            record: self.records[self.current[row.source]].id,
            model: &row.record.model.name,
            baseline: row.record.model.baseline,
            outcome: row.outcome,
            scores: row
                .cells
                .iter()
                .map(|cell| {
                    cell.map(|cell| ScoreData {
                        score: cell.score,
                        mark: match cell.mark {
                            Mark::None => None,
                            Mark::Best => Some("best"),
                            Mark::Tied => Some("tied"),
                        },
                    })
                })
                .collect(),
        });
        TableData {
            data: table.data,
            protocol: table.protocol,
            columns: columns.collect(),
            rows: rows.collect(),
        }
    }

    fn summary(&self, page: PathBuf, data: PathBuf) -> Summary {
        let tasks: usize = self.suites.iter().map(|suite| suite.tasks.len()).sum();
        let tables = self
            .suites
            .iter()
            .flat_map(|s| &s.tasks)
            .map(|t| t.tables.len());
        Summary {
            schema: SCHEMA,
            page,
            data,
            records: self.records.len(),
            shown: self.count(Standing::Shown),
            older: self.count(Standing::Older),
            superseded: self.count(Standing::Superseded),
            suites: self.suites.len(),
            tasks,
            incomparable: tables.sum::<usize>() - tasks,
        }
    }
}

#[derive(Serialize)]
struct BoardData<'a> {
    schema: u32,
    records: Vec<RecordData<'a>>,
    suites: Vec<SuiteData<'a>>,
}

#[derive(Serialize)]
struct RecordData<'a> {
    id: Digest,
    path: &'a str,
    standing: Standing,
    record: &'a Record,
}

#[derive(Serialize)]
struct SuiteData<'a> {
    suite: &'a str,
    tasks: Vec<TaskData<'a>>,
}

#[derive(Serialize)]
struct TaskData<'a> {
    task: &'a str,
    kind: &'a str,
    dataset: &'a str,
    tables: Vec<TableData<'a>>,
}

#[derive(Serialize)]
struct TableData<'a> {
    data: Digest,
    protocol: Digest,
    columns: Vec<ColumnData>,
    rows: Vec<RowData<'a>>,
}

#[derive(Serialize)]
struct ColumnData {
    metric: String,
    version: u32,
}

#[derive(Serialize)]
struct RowData<'a> {
    record: Digest,
    model: &'a str,
    baseline: bool,
    outcome: &'a TaskOutcome,
    scores: Vec<Option<ScoreData<'a>>>,
}

#[derive(Serialize)]
struct ScoreData<'a> {
    score: &'a Score,
    mark: Option<&'static str>,
}

/// Whether nothing is at `page`, or a page of ours.
fn may_replace(page: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    match fs::File::open(page) {
        Ok(file) => file.take(GENERATOR_WITHIN_BYTES).read_to_end(&mut start)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
    };
    Ok(String::from_utf8_lossy(&start).contains(GENERATOR))
}

/// The link from a page in `from` to the folder `to`; `None` when no relative path leads there.
fn link_to(from: &Path, to: &Path) -> Result<Option<String>, Error> {
    let from = fs::canonicalize(from).map_err(Error::io(from))?;
    let to = fs::canonicalize(to).map_err(Error::io(to))?;
    Ok(relative(&from, &to))
}

fn relative(from: &Path, to: &Path) -> Option<String> {
    let from: Vec<Component<'_>> = from.components().collect();
    let to: Vec<Component<'_>> = to.components().collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    if shared == 0 {
        return None;
    }
    let mut parts = vec!["..".to_owned(); from.len() - shared];
    for part in &to[shared..] {
        parts.push(encode(part.as_os_str().to_str()?));
    }
    Some(if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::examples;
    use crate::store::{read_records, write_record};

    /// A folder of records, as the harness writes them, and what is read back.
    fn stored(records: &[Record]) -> (tempfile::TempDir, Vec<Stored>) {
        let folder = tempfile::tempdir().unwrap();
        let records_folder = folder.path().join("records");
        fs::create_dir(&records_folder).unwrap();
        for record in records {
            write_record(&records_folder, record).unwrap();
        }
        let stored = read_records(&records_folder).unwrap();
        (folder, stored)
    }

    fn made(records: &[Record]) -> (String, serde_json::Value, Summary) {
        let (folder, stored) = stored(records);
        let summary = board(&stored, &folder.path().join("site")).unwrap();
        let html = fs::read_to_string(&summary.page).unwrap();
        let data = fs::read_to_string(&summary.data).unwrap();
        (html, serde_json::from_str(&data).unwrap(), summary)
    }

    fn three() -> [Record; 3] {
        ["constant", "random", "clip-tiny-random"].map(examples::record)
    }

    #[test]
    fn a_page_has_a_table_for_each_task_and_a_row_for_each_model() {
        let (html, data, summary) = made(&three());
        assert_eq!(
            (
                summary.records,
                summary.shown,
                summary.suites,
                summary.tasks,
                summary.incomparable
            ),
            (3, 3, 1, 2, 0)
        );
        assert_eq!(html.matches("<table ").count(), 2);
        assert_eq!(html.matches("<caption").count(), 2);
        assert_eq!(html.matches("scope=\"row\"").count(), 6);
        assert_eq!(html.matches("scope=\"col\"").count(), (4 + 2) + (4 + 6));
        assert_eq!(
            html.matches("<tr role=\"row\" class=\"baseline\">").count(),
            4
        );
        assert_eq!(html.matches("class=\"value best\"").count(), 2 + 6);
        assert!(html.contains("1 failed"), "failures are on the page");
        assert!(html.contains("2 × no label"), "and their reasons");
        let command = "sightline run manifests/suites/quickstart.toml --data 'out/my data'";
        let html = html.replace("&#x2f;", "/").replace("&#x27;", "'");
        assert_eq!(html.matches(command).count(), 3);
        assert_eq!(data["schema"], 1);
        assert_eq!(data["records"].as_array().unwrap().len(), 3);
        let rows = &data["suites"][0]["tasks"][0]["tables"][0]["rows"];
        assert_eq!(rows[0]["model"], "clip-tiny-random");
        assert_eq!(rows[0]["scores"][0]["mark"], "best");
        let value = rows[0]["scores"][0]["score"]["value"].as_f64();
        assert_eq!(value, three()[2].tasks[0].scores[0].value, "digit by digit");
    }

    #[test]
    fn the_same_records_give_the_same_bytes_in_any_order() {
        let (folder, mut stored) = stored(&three());
        let site = folder.path().join("site");
        let files = |stored: &[Stored]| {
            let summary = board(stored, &site).unwrap();
            (
                fs::read(summary.page).unwrap(),
                fs::read(summary.data).unwrap(),
            )
        };
        let first = files(&stored);
        assert_eq!(files(&stored), first);
        stored.rotate_left(1);
        let page = files(&stored).0;
        assert!(
            page == first.0,
            "the page does not depend on the order of the records"
        );
    }

    #[test]
    fn links_lead_from_the_page_to_the_files() {
        let (folder, stored) = stored(&three());
        let predictions = folder
            .path()
            .join("records")
            .join(&stored[0].record.tasks[0].predictions.path);
        fs::create_dir_all(predictions.parent().unwrap()).unwrap();
        fs::write(&predictions, "{}\n").unwrap();
        let site = folder.path().join("public/my site");
        let summary = board(&stored, &site).unwrap();
        let html = fs::read_to_string(summary.page)
            .unwrap()
            .replace("&#x2f;", "/");
        let links: Vec<&str> = html
            .split("href=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .filter(|link| link.starts_with(".."))
            .collect();
        assert_eq!(
            links.len(),
            3 * (1 + 2),
            "a record and two predictions each"
        );
        assert!(
            links.iter().all(|link| link.starts_with("../../records/")),
            "{links:?}"
        );
        let exists = |link: &&&str| site.join(link).exists();
        assert_eq!(links.iter().filter(exists).count(), 3 + 1, "{links:?}");
    }

    #[test]
    fn what_foreign_text_says_is_shown_and_never_done() {
        let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onclick='x";
        let mut record = examples::record("clip");
        evil.clone_into(&mut record.model.description);
        evil.clone_into(&mut record.model.family);
        evil.clone_into(&mut record.tool.version);
        evil.clone_into(&mut record.machine.device);
        record.tool.commit = Some(evil.to_owned());
        record.machine.processor = Some(evil.to_owned());
        record.command.push(evil.to_owned());
        record.files[0].owner = evil.to_owned();
        record.tasks[0].reasons = [(evil.to_owned(), 3)].into();
        record.tasks[0].scores[0].metric = evil.to_owned();
        evil.clone_into(&mut record.tasks[0].task);
        evil.clone_into(&mut record.tasks[0].kind);
        evil.clone_into(&mut record.tasks[0].dataset);
        "javascript:alert(1)".clone_into(&mut record.tasks[0].predictions.path);
        "../../../etc/passwd".clone_into(&mut record.tasks[1].predictions.path);
        let plain = made(&[examples::record("clip")]).0;
        let (html, ..) = made(&[record]);
        for tag in ["<script", "<img", "</script", "<svg"] {
            let at_least = plain.matches(tag).count();
            assert!(html.matches(tag).count() <= at_least, "{tag}");
        }
        assert!(
            html.contains("&lt;img src=x onerror=alert(1)&gt;"),
            "it is shown"
        );
        assert!(!html.contains("onclick='x"));
        assert!(!html.contains("href=\"javascript:"));
        assert!(!html.contains("etc/passwd\"") && !html.contains("etc&#x2f;passwd\""));
    }

    #[test]
    fn the_page_loads_nothing_and_its_policy_says_so() {
        let (html, ..) = made(&three());
        for foreign in [
            "http://", "https://", "//cdn", "@import", "url(", "src=", "<link", " style=",
            " onload",
        ] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        let policy = html
            .split("Content-Security-Policy\" content=\"")
            .nth(1)
            .unwrap();
        let policy = policy.split('"').next().unwrap().replace("&#x2f;", "/");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
            let text = html.split(&format!("<{tag}>")).nth(1).unwrap();
            let text = text.split(&format!("</{tag}>")).next().unwrap();
            let digest = Digest::of(text.as_bytes());
            let hash = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, digest.as_bytes());
            assert!(
                policy.contains(&format!("{directive} 'sha256-{hash}'")),
                "{policy}"
            );
        }
    }

    #[test]
    fn later_records_stand_for_earlier_ones_and_corrections_for_wrong_ones() {
        let mut wrong = examples::record("clip-tiny-random");
        wrong.created = "2026-11-24T00:00:00Z".to_owned();
        let mut corrected = wrong.clone();
        corrected.created = "2026-11-25T00:00:00Z".to_owned();
        corrected.supersedes = Some(Digest::of_json(&wrong).unwrap());
        let records = [examples::record("clip-tiny-random"), wrong, corrected];
        let (html, data, summary) = made(&records);
        assert_eq!(
            (summary.shown, summary.older, summary.superseded),
            (1, 1, 1)
        );
        assert!(html.contains("1 older record and 1 superseded record"));
        let standing: Vec<&str> = data["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["standing"].as_str().unwrap())
            .collect();
        assert_eq!(standing, ["older", "superseded", "shown"]);
    }

    #[test]
    fn incomparable_outcomes_are_ranked_apart_with_a_warning() {
        let mut records = three();
        records[0].files[0].sha256 = Digest::of(b"other bytes");
        let (html, _, summary) = made(&records);
        assert_eq!(summary.incomparable, 2);
        assert_eq!(
            html.matches("Not comparable with the table above").count(),
            2
        );
        assert_eq!(html.matches("<table ").count(), 4);
    }

    #[test]
    fn no_records_make_an_empty_board() {
        let (html, data, summary) = made(&[]);
        assert!(html.contains("No records yet."));
        assert_eq!(summary.records, 0);
        assert_eq!(data["suites"], serde_json::json!([]));
    }

    #[test]
    fn another_page_is_not_overwritten() {
        let (folder, stored) = stored(&three());
        fs::write(
            folder.path().join("index.html"),
            "<!doctype html><title>Home</title>",
        )
        .unwrap();
        let error = board(&stored, folder.path()).unwrap_err();
        assert!(matches!(error, Error::ForeignPage { .. }), "{error}");
        assert!(!folder.path().join("board.json").exists());
    }

    #[test]
    fn relative_links_go_up_and_down() {
        let link = |from: &str, to: &str| relative(Path::new(from), Path::new(to));
        assert_eq!(link("/a/site", "/a/records").as_deref(), Some("../records"));
        assert_eq!(link("/a", "/a/b c").as_deref(), Some("b%20c"));
        assert_eq!(link("/a", "/a").as_deref(), Some("."));
        assert_eq!(link("/x/y", "/").as_deref(), Some("../.."));
    }
}
