//! The static leaderboard: a page, a page for each task, and the data, a pure function of records and evidence.
//!
//! [`board`] writes into a folder
//!
//! | file | holds |
//! | --- | --- |
//! | `index.html` | every table, the runs, how to make each again |
//! | `pages/<suite>-<task>-<digest>.html` | comparisons two by two, trends, single samples, where there is evidence |
//! | `board.json` | the same as the page and more |
//! | `board.csv` | a line for each score |
//!
//! Style and script are inside the pages, nothing is loaded from anywhere, and a content security policy says so. The same
//! records and evidence give the same bytes: there is no clock and no machine in them. The pages can be read without their
//! scripts, which sort, filter, choose and copy.
//!
//! The page is never half of one board and half of another: pages of tasks have the digest of their content in their names,
//! the index that names them is written last, as a whole, and what only an older index named is removed afterwards, one
//! generation later.
//!
//! `board.json`: `schema` is 1. `records` holds every record with its id, path and standing (`shown`,
//! `older` or `superseded`). `suites` holds the tables as shown: rows name their record by id and have
//! one entry in `scores` for each of `columns` (`null` where the record has none); `comparisons`, where there are any, have
//! the scores of their rows. `pages` names the pages of tasks.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use sightline_core::Digest;

use crate::comparison::{Comparison, Figure, FigureData, figures};
use crate::error::Error;
use crate::evidence::TaskEvidence;
use crate::export::Export;
use crate::format::encode;
use crate::page::{self, Hidden, Made};
use crate::record::{Record, Score, TaskOutcome};
use crate::standings::{Mark, Suite, Table, standings};
use crate::store::{Stored, replace, sorted, superseded};
use crate::task_page::task_page;

/// Version of the layout of `board.json` and of [`Summary`].
pub const SCHEMA: u32 = 1;

/// Stands in the first bytes of every page, so that no other page is overwritten.
const GENERATOR: &str = r#"<meta name="generator" content="sightline board">"#;
const GENERATOR_WITHIN_BYTES: u64 = 1024;

/// Folder of the pages of tasks.
const PAGES: &str = "pages";

/// What a board was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The page.
    pub page: PathBuf,
    /// The data.
    pub data: PathBuf,
    /// Pages of tasks.
    pub pages: usize,
    /// Bytes of all pages.
    pub page_bytes: u64,
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

/// Writes the pages and data for `records`, with what is known beside them and what their suites put side by side, into the
/// folder `out`, which is made if it is not there.
pub fn board(
    records: &[Stored],
    evidence: &[TaskEvidence],
    comparisons: &[Comparison],
    out: &Path,
) -> Result<Summary, Error> {
    fs::create_dir_all(out).map_err(Error::io(out))?;
    let (page, data) = (out.join("index.html"), out.join("board.json"));
    if !may_replace(&page).map_err(Error::io(&page))? {
        return Err(Error::ForeignPage { path: page });
    }
    let board = Board::new(records);
    let links: Vec<Option<String>> = board
        .current
        .iter()
        .map(|&at| link_to(out, &board.records[at].folder))
        .collect::<Result<_, _>>()?;
    let current: Vec<&Stored> = board.current.iter().map(|&at| board.records[at]).collect();

    let pages = board.pages(&current, evidence)?;
    let folder = out.join(PAGES);
    let before = named_pages(&data);
    let mut page_bytes = 0;
    if !pages.is_empty() {
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    }
    for (_, _, name, html) in &pages {
        let path = folder.join(name);
        replace(&folder, &path, html.as_bytes()).map_err(Error::io(&path))?;
        page_bytes += html.len() as u64;
    }
    let linked: Vec<(String, String, String)> = pages
        .iter()
        .map(|(suite, task, name, _)| (suite.clone(), task.clone(), format!("{PAGES}/{name}")))
        .collect();
    let mut made = Made {
        suites: &board.suites,
        records: &current,
        links: &links,
        hidden: Hidden {
            older: board.count(Standing::Older),
            superseded: board.count(Standing::Superseded),
        },
        evidence,
        comparisons,
        pages: &linked,
        export: None,
    };
    let export = Export::of(&made);
    let table = export.csv();
    made.export = Some(&export);
    let html = page::page(&made)?;
    let names: Vec<&str> = pages.iter().map(|(_, _, name, _)| name.as_str()).collect();
    let json = board.json(&names, comparisons)?;
    let csv_file = out.join("board.csv");
    replace(out, &csv_file, table.as_bytes()).map_err(Error::io(&csv_file))?;
    replace(out, &data, json.as_bytes()).map_err(Error::io(&data))?;
    replace(out, &page, html.as_bytes()).map_err(Error::io(&page))?;
    remove_old(&folder, &names, &before).map_err(Error::io(&folder))?;
    let mut summary = board.summary(page, data);
    summary.pages = pages.len();
    summary.page_bytes = page_bytes + html.len() as u64;
    Ok(summary)
}

/// The main tables of `records`, as the board has them: suite, task and rows, best first.
pub fn main_tables(records: &[Stored]) -> Vec<MainTable<'_>> {
    let board = Board::new(records);
    let mut tables = Vec::new();
    for suite in &board.suites {
        for task in &suite.tasks {
            let Some(table) = task.tables.first() else {
                continue;
            };
            let rows = table.rows.iter();
            tables.push(MainTable {
                suite: suite.name.to_owned(),
                task: task.name.to_owned(),
                limit: table.limit(),
                rows: rows
                    .map(|row| (board.records[board.current[row.source]], row.outcome))
                    .collect(),
            });
        }
    }
    tables
}

/// The outcomes that stand in the main table of a task.
#[derive(Debug)]
pub struct MainTable<'a> {
    /// The suite.
    pub suite: String,
    /// The task.
    pub task: String,
    /// How many samples its outcomes are limited to, if they are.
    pub limit: Option<u64>,
    /// Best first.
    pub rows: Vec<(&'a Stored, &'a TaskOutcome)>,
}

/// Names of the pages that the board in `data` has; none where there is no board.
fn named_pages(data: &Path) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(default)]
        pages: Vec<String>,
    }
    let text = fs::read(data).unwrap_or_default();
    serde_json::from_slice(&text).map_or_else(|_| Vec::new(), |named: Named| named.pages)
}

/// Removes the pages of ours that neither this board has nor the one before: somebody may still have that one open.
fn remove_old(folder: &Path, now: &[&str], before: &[String]) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_named = now.contains(&name.as_str()) || before.contains(&name);
        let path = entry.path();
        if !is_named && path.extension().is_some_and(|e| e == "html") && may_replace(&path)? {
            fs::remove_file(path)?;
        }
    }
    Ok(())
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

    /// The pages of tasks: suite, task, name of the file, content.
    fn pages(
        &self,
        current: &[&Stored],
        evidence: &[TaskEvidence],
    ) -> Result<Vec<(String, String, String, String)>, Error> {
        let mut pages = Vec::new();
        for suite in &self.suites {
            for task in &suite.tasks {
                let is_it = |one: &&TaskEvidence| one.suite == suite.name && one.task == task.name;
                let none = TaskEvidence::default();
                let evidence = evidence.iter().find(is_it).unwrap_or(&none);
                let Some(html) = task_page(suite.name, task, current, evidence)? else {
                    continue;
                };
                let digest = Digest::of(html.as_bytes()).short();
                let name = format!("{}-{}-{digest}.html", plain(suite.name), plain(task.name));
                pages.push((suite.name.to_owned(), task.name.to_owned(), name, html));
            }
        }
        Ok(pages)
    }

    fn json(&self, pages: &[&str], comparisons: &[Comparison]) -> Result<String, Error> {
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
            pages,
            records: records.collect(),
            suites: self
                .suites
                .iter()
                .map(|suite| self.suite(suite, comparisons))
                .collect(),
        };
        let json = |source| Error::Json { source };
        let mut value = serde_json::to_value(data).map_err(json)?;
        value.sort_all_objects();
        let mut text = serde_json::to_string_pretty(&value).map_err(json)?;
        text.push('\n');
        Ok(text)
    }

    fn suite<'s>(&'s self, suite: &'s Suite<'a>, comparisons: &'s [Comparison]) -> SuiteData<'s> {
        let tasks = suite.tasks.iter().map(|task| TaskData {
            task: task.name,
            kind: task.kind,
            dataset: task.dataset,
            tables: task.tables.iter().map(|table| self.table(table)).collect(),
        });
        SuiteData {
            suite: suite.name,
            tasks: tasks.collect(),
            comparisons: figures(suite, comparisons)
                .iter()
                .map(Figure::data)
                .collect(),
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
            pages: 0,
            page_bytes: 0,
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
    pages: &'a [&'a str],
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    comparisons: Vec<FigureData<'a>>,
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

/// `text` as a part of a file's name: letters, digits and hyphens, not longer than a name may be.
fn plain(text: &str) -> String {
    let plain = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    plain.take(80).collect()
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
        let summary = board(&stored, &[], &[], &folder.path().join("site")).unwrap();
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
        // The two tasks, and both side by side.
        assert_eq!(html.matches("<table ").count(), 3);
        assert_eq!(html.matches("<caption").count(), 3);
        assert_eq!(html.matches("scope=\"row\"").count(), 9);
        assert_eq!(
            html.matches("scope=\"col\"").count(),
            (7 + 2) + (7 + 6) + (1 + 2)
        );
        assert_eq!(
            html.matches("<tr role=\"row\" class=\"baseline\"").count(),
            6
        );
        assert_eq!(html.matches("class=\"value best\"").count(), 2 + 6 + 2);
        assert!(html.contains("1 failed"), "failures are on the page");
        assert!(html.contains("2 × no label"), "and their reasons");
        let command = "sightline run manifests/suites/quickstart.toml --data 'out/my data'";
        let html = html.replace("&#x2f;", "/").replace("&#x27;", "'");
        assert_eq!(html.matches(command).count(), 3);
        assert_eq!(html.matches("sightline verify quickstart/").count(), 3);
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
            let summary = board(stored, &[], &[], &site).unwrap();
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
        let summary = board(&stored, &[], &[], &site).unwrap();
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
        assert_eq!(html.matches("<table ").count(), 5);
        assert_eq!(
            html.matches(">not comparable<").count(),
            2,
            "in the table of all"
        );
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
        let error = board(&stored, &[], &[], folder.path()).unwrap_err();
        assert!(matches!(error, Error::ForeignPage { .. }), "{error}");
        assert!(!folder.path().join("board.json").exists());
    }

    fn evidence(stored: &[Stored]) -> TaskEvidence {
        use crate::evidence::{Answer, Pair, PairMetric, Said, Shown, Thumbnail};
        let metric = PairMetric {
            metric: "accuracy@1".to_owned(),
            higher_is_better: true,
            values: [Some(0.41), Some(0.1)],
            difference: Some(-0.31),
            interval: Some([-0.34, -0.28]),
            p: Some(0.001),
            wins: 3,
            losses: 313,
            ties: 684,
            flips: vec![("000001".to_owned(), [1.0, 0.0])],
        };
        let id = |model: &str| {
            let mut stored = stored.iter();
            stored
                .find(|one| one.record.model.name == model)
                .unwrap()
                .id
        };
        TaskEvidence {
            suite: "quickstart".to_owned(),
            task: "zero-shot-scenes-test".to_owned(),
            pairs: vec![Pair {
                records: [id("clip-tiny-random"), id("random")],
                paired: 1000,
                metrics: vec![metric],
            }],
            samples: vec![Shown {
                key: "000001".to_owned(),
                differs: true,
                images: vec![
                    Ok(Thumbnail {
                        jpeg: vec![0xff, 0xd8, 0xff],
                        width: 2,
                        height: 1,
                    }),
                    Err("truncated".to_owned()),
                ],
                asked: "what is <b>this</b>?".to_owned(),
                references: vec!["a fox".to_owned()],
                answers: vec![Answer {
                    record: id("random"),
                    said: Said::Failed("broken".to_owned()),
                    values: Vec::new(),
                }],
            }],
            of_samples: 1000,
            chosen: "1 of 1000 samples.".to_owned(),
            problems: vec!["The predictions of constant are gone.".to_owned()],
        }
    }

    #[test]
    fn what_predictions_say_is_on_the_page_and_on_one_of_its_own() {
        let mut records = three();
        records[2] = examples::measured("clip-tiny-random");
        let (folder, stored) = stored(&records);
        let evidence = [evidence(&stored)];
        let site = folder.path().join("site");
        let summary = board(&stored, &evidence, &[], &site).unwrap();
        let html = fs::read_to_string(&summary.page).unwrap();
        for part in [
            "The predictions of constant are gone.",
            "−31.0 pp",
            "differs</span>",
            "paper 50.0",
            "−9.0 pp",
            "2.50 ms · 3.12 ms",
            "1.0 GiB",
            "151.3 M",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert_eq!(summary.pages, 1);
        let page = fs::read_dir(site.join("pages"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let page = fs::read_to_string(page.path())
            .unwrap()
            .replace("&#x2f;", "/");
        for part in [
            "data:image/jpeg;base64,/9j/",
            "truncated",
            "what is &lt;b&gt;this&lt;/b&gt;?",
            "failed: broken",
            "href=\"#sample-0\"",
            "data-differs",
            "data-failed",
            "[−34.0 pp, −28.0 pp]",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(
            fs::read_to_string(site.join("board.csv"))
                .unwrap()
                .lines()
                .count(),
            1 + 3 * 8
        );

        // The next board of other content keeps this page, the one after that does not.
        let pages = || fs::read_dir(site.join("pages")).unwrap().count();
        let mut other = evidence.clone();
        other[0].chosen = "Others.".to_owned();
        board(&stored, &other, &[], &site).unwrap();
        assert_eq!(pages(), 2);
        board(&stored, &other, &[], &site).unwrap();
        assert_eq!(pages(), 1);
    }

    #[test]
    fn comparisons_are_drawn_and_lead_to_their_rows() {
        let (folder, stored) = stored(&three());
        let comparison = crate::comparison::examples::comparison();
        let site = folder.path().join("site");
        let summary = board(&stored, &[], &[comparison], &site).unwrap();
        let html = fs::read_to_string(&summary.page).unwrap();
        let figure = html.split("<figure ").nth(1).unwrap();
        let figure = figure.split("</figure>").next().unwrap();
        for part in [
            "Whoever sees nothing is no better than one who guesses.",
            "accuracy@1, %",
            "95 % bootstrap interval",
            "<b>41.0</b>",
            "[39.0, 43.0]",
            "no record",
            "10.4",
        ] {
            assert!(figure.contains(part), "{part}\n{figure}");
        }
        assert_eq!(figure.matches("class=\"fill\"").count(), 2, "bars");
        assert_eq!(figure.matches("class=\"floor\"").count(), 4, "one line");
        let links = figure.split("href=\"#").skip(1);
        let links: Vec<&str> = links.filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(links.len(), 3, "two rows and the line");
        for link in links {
            assert_eq!(html.matches(&format!("id=\"{link}\"")).count(), 1, "{link}");
        }
        assert!(!html.contains(" style="), "the policy of the page");
        let data = fs::read_to_string(&summary.data).unwrap();
        let data: serde_json::Value = serde_json::from_str(&data).unwrap();
        let comparisons = &data["suites"][0]["comparisons"];
        let value = three()[2].tasks[0].scores[0].value;
        assert_eq!(comparisons[0]["rows"][0]["score"]["value"].as_f64(), value);
        assert!(comparisons[0]["rows"][2]["score"].is_null());
        assert_eq!(comparisons[0]["line"]["label"], "a guess");
    }

    #[test]
    fn limited_runs_are_said_not_to_be_ranked() {
        let mut records = three();
        for record in &mut records {
            record.tasks[0].limit = Some(10);
        }
        let (html, ..) = made(&records);
        assert_eq!(html.matches("Not ranked:").count(), 1);
        assert_eq!(
            html.matches("class=\"value best\"").count(),
            6,
            "those of the other task"
        );
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
