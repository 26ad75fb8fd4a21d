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
mod tests;
