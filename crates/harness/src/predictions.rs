//! Predictions between model and scores: one file for each model and task.
//!
//! # Format
//!
//! JSON lines in UTF-8. The first is the header:
//!
//! ```json
//! {"schema":1,"suite":"quickstart","model":"clip","task":"retrieval-scenes","kind":"retrieval","inputs":"…64 digits…"}
//! ```
//!
//! `asked` may follow: what the model was asked to do, by which rule it does that where it is not its own head that
//! does, and how texts are written ([`Asked`]).
//!
//! `inputs` is the digest of everything a prediction depends on: protocol of the task, family and tokenizer
//! of the model, digest of every file of dataset and model, and [`NUMERICS`]. Then follows one line for each
//! sample, in the order of the dataset, with its key and exactly one of `prediction` (its content is the
//! task kind's), `failed` and `skipped` (each with a reason in few words, so that reasons can be counted):
//!
//! ```json
//! {"key":"000000017","prediction":{"classes":30,"top":[[4,0.25],[7,0.125]]}}
//! {"key":"000000018","failed":"truncated"}
//! {"key":"000000019","skipped":"no caption"}
//! ```
//!
//! While it grows, the file is called `<task>.jsonl.part`; when every sample has its line it is flushed and
//! renamed to `<task>.jsonl`, so that a file of this name is whole. A writer that finds a `.part` cuts it
//! after its last whole line and continues; lines are appended in order only, so what was lost is the end.
//! Where a model outside the program left examples without an answer, another run renames the whole file to
//! `<task>.jsonl.before`, takes what is in it, and asks again for the rest. A part of several is called
//! `<task>.2-of-4.jsonl`: it has the lines of every fourth example, from the second on.
//! Readers MUST refuse a `schema` they do not know, a line without an end and keys in another order than the
//! dataset's.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_core::digest::Hasher;
use sightline_core::{Digest, SampleKey};
use sightline_report::record::{Asked, Record, TaskOutcome};

use crate::error::LineProblem;
use crate::{Error, Result};

/// Version of the layout.
pub const SCHEMA: u32 = 1;

/// Raised whenever equal inputs could give other predictions than before: another order of additions, another
/// way to normalise. Predictions of an earlier revision are then not taken up again.
pub const NUMERICS: u32 = 1;

/// Longest line in bytes: a hundred captions in a space of 8192 dimensions.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// What the predictions of a file were made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the suite.
    pub suite: String,
    /// Name of the model.
    pub model: String,
    /// Name of the task.
    pub task: String,
    /// Kind of task.
    pub kind: String,
    /// Digest of everything a prediction depends on.
    pub inputs: Digest,
    /// How the model was asked, where there are several ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
}

/// What became of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// What the model predicted, as the task kind writes it.
    Predicted(Value),
    /// Something broke.
    Failed(String),
    /// The task does not apply.
    Skipped(String),
}

/// How reasons begin that lie with a model outside this process: asked again, it may answer.
const UNANSWERED: &str = "adapter: ";

impl Outcome {
    /// A model outside this process did not answer, for this `reason`.
    pub(crate) fn unanswered(reason: &str) -> Self {
        Self::Failed(format!("{UNANSWERED}{reason}"))
    }

    /// Whether another run asks again.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self, Self::Failed(reason) if reason.starts_with(UNANSWERED))
    }
}

/// A line of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Key of the sample.
    pub key: SampleKey,
    /// What became of it.
    pub outcome: Outcome,
}

/// A line as it is written.
#[derive(Serialize, Deserialize)]
struct RawLine {
    key: SampleKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prediction: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
}

impl Line {
    fn parse(text: &[u8]) -> Result<Self, LineProblem> {
        let raw: RawLine = serde_json::from_slice(text).map_err(LineProblem::Json)?;
        let outcome = match (raw.prediction, raw.failed, raw.skipped) {
            (Some(value), None, None) => Outcome::Predicted(value),
            (None, Some(reason), None) => Outcome::Failed(reason),
            (None, None, Some(reason)) => Outcome::Skipped(reason),
            _ => return Err(LineProblem::Outcome),
        };
        Ok(Self {
            key: raw.key,
            outcome,
        })
    }

    fn to_json(&self) -> serde_json::Result<String> {
        let mut raw = RawLine {
            key: self.key.clone(),
            prediction: None,
            failed: None,
            skipped: None,
        };
        match &self.outcome {
            Outcome::Predicted(value) => raw.prediction = Some(value.clone()),
            Outcome::Failed(reason) => raw.failed = Some(reason.clone()),
            Outcome::Skipped(reason) => raw.skipped = Some(reason.clone()),
        }
        serde_json::to_string(&raw)
    }
}

/// Where whole predictions are that are made again in part.
fn before_of(target: &Path) -> PathBuf {
    target.with_added_extension("before")
}

/// Sets a whole predictions file aside if a model outside the program left some of its examples without an answer, and
/// says whether that is so.
pub(crate) fn set_aside_unanswered(target: &Path, header: &Header) -> Result<bool> {
    let mut reader = Reader::open(target, header)?;
    while let Some(line) = reader.next_line()? {
        if line.outcome.is_unanswered() {
            let before = before_of(target);
            return match fs::rename(target, &before) {
                Ok(()) => Ok(true),
                Err(source) => Err(Error::Io {
                    path: before,
                    source,
                }),
            };
        }
    }
    Ok(false)
}

/// What became of examples in a file that was set aside, but of those that were left without an answer.
pub(crate) fn set_aside(target: &Path, header: &Header) -> Result<HashMap<SampleKey, Outcome>> {
    let before = before_of(target);
    let mut known = HashMap::new();
    if !before.is_file() {
        return Ok(known);
    }
    let mut reader = Reader::open(&before, header)?;
    while let Some(line) = reader.next_line()? {
        if !line.outcome.is_unanswered() {
            // The first of two examples with one key; the second has failed for that.
            known.entry(line.key).or_insert(line.outcome);
        }
    }
    Ok(known)
}

/// Puts the lines of the whole files `parts` into the file `target`, which begins with the header that they share: line k
/// of part i of n is line k n + i.
pub(crate) fn merge(parts: &[PathBuf], target: &Path, header: &Header) -> Result<()> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    let part = part_of(target);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(io(folder))?;
    }
    let mut file = BufWriter::with_capacity(1 << 16, File::create(&part).map_err(io(&part))?);
    let mut all = Vec::with_capacity(parts.len());
    let mut first: Option<Vec<u8>> = None;
    for path in parts {
        let opened = File::open(path).map_err(io(path))?;
        let mut lines = Lines::new(BufReader::with_capacity(1 << 16, opened), path);
        let text = lines.next_text()?.unwrap_or_default().to_vec();
        check_header(&text, path, header)?;
        if first.get_or_insert_with(|| text.clone()) != &text {
            let reason = "it was asked otherwise";
            return Err(Error::OtherPart {
                path: path.clone(),
                reason,
            });
        }
        all.push(lines);
    }
    let mut put = |text: &[u8]| {
        file.write_all(text)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(io(&part))
    };
    put(&first.unwrap_or_default())?;
    'rounds: loop {
        for at in 0..all.len() {
            if let Some(text) = all[at].next_text()? {
                put(text)?;
                continue;
            }
            // The examples end here; the parts behind and before this one have none left.
            for other in (0..all.len()).filter(|&other| other != at) {
                if all[other].next_text()?.is_some() {
                    let (path, reason) = (parts[other].clone(), "it has more examples");
                    return Err(Error::OtherPart { path, reason });
                }
            }
            break 'rounds;
        }
        if all.is_empty() {
            break;
        }
    }
    file.flush().map_err(io(&part))?;
    file.get_ref().sync_all().map_err(io(&part))?;
    fs::rename(&part, target).map_err(io(target))
}

/// Appends to an unfinished predictions file.
#[derive(Debug)]
pub(crate) struct Writer {
    file: BufWriter<File>,
    part: PathBuf,
    target: PathBuf,
    /// Keys of the lines that were there already, in order.
    pub(crate) found: Vec<SampleKey>,
}

/// Where `target` is written until it is whole.
pub(crate) fn part_of(target: &Path) -> PathBuf {
    target.with_added_extension("part")
}

impl Writer {
    /// Begins or continues the file `target`, whose folder is made where it is missing.
    pub(crate) fn open(target: &Path, header: &Header) -> Result<Self> {
        let part = part_of(target);
        let io = |source| Error::Io {
            path: part.clone(),
            source,
        };
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)
            .map_err(io)?;
        // Where the system has no locks, two processes are the person's own doing.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(Error::InUse { path: part });
        }
        let (found, mut end) = whole_lines(&file, &part, header)?;
        let len = file.metadata().map_err(io)?.len();
        if end < len {
            tracing::warn!(path = %part.display(), bytes = len - end, "cut the unfinished end of predictions");
            file.set_len(end).map_err(io)?;
        }
        file.seek(SeekFrom::Start(end)).map_err(io)?;
        if end == 0 {
            let mut line = serde_json::to_string(header)?;
            line.push('\n');
            file.write_all(line.as_bytes()).map_err(io)?;
            end = line.len() as u64;
        }
        tracing::debug!(path = %part.display(), samples = found.len(), bytes = end, "predictions opened");
        Ok(Self {
            file: BufWriter::with_capacity(1 << 16, file),
            part,
            target: target.to_owned(),
            found,
        })
    }

    /// Appends `lines` and hands them to the system, so that they outlive this process.
    pub(crate) fn append(&mut self, lines: &[Line]) -> Result<()> {
        for line in lines {
            let mut text = line.to_json()?;
            text.push('\n');
            let written = self.file.write_all(text.as_bytes());
            written.map_err(|source| self.io(source))?;
        }
        self.file.flush().map_err(|source| self.io(source))
    }

    /// Marks the file as whole: flushes it to the disk and moves it to its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(|source| self.io(source))?;
        let file = self.file.get_ref();
        file.sync_all().map_err(|source| self.io(source))?;
        fs::rename(&self.part, &self.target).map_err(|source| self.io(source))?;
        match fs::remove_file(before_of(&self.target)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(self.io(source));
            }
            _ => {}
        }
        match self.target.parent() {
            Some(folder) if cfg!(unix) => File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|source| self.io(source)),
            _ => Ok(()),
        }
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io {
            path: self.part.clone(),
            source,
        }
    }
}

/// Keys of the lines from the start that are whole, and where they end. Nothing is whole before a whole
/// header; a header of something else is an error.
fn whole_lines(file: &File, path: &Path, header: &Header) -> Result<(Vec<SampleKey>, u64)> {
    let mut lines = Lines::new(BufReader::new(file), path);
    let mut keys = Vec::new();
    let text = match lines.next_text() {
        Ok(Some(text)) => text,
        Ok(None) | Err(Error::Predictions { .. }) => return Ok((keys, 0)),
        Err(error) => return Err(error),
    };
    check_header(text, path, header)?;
    let mut end = lines.position;
    loop {
        match lines.next_line() {
            Ok(Some(line)) => keys.push(line.key),
            Ok(None) | Err(Error::Predictions { .. }) => return Ok((keys, end)),
            Err(error) => return Err(error),
        }
        end = lines.position;
    }
}

/// Compares the header of a file with the one it must have, how the model was asked apart: `inputs` decides that.
fn check_header(text: &[u8], path: &Path, expected: &Header) -> Result<Header> {
    let problem = |problem| Error::Predictions {
        path: path.to_owned(),
        line: 1,
        problem,
    };
    let value: Value = serde_json::from_slice(text).map_err(|e| problem(LineProblem::Json(e)))?;
    let differs = |field: &'static str, found: &dyn ToString, expected: &dyn ToString| {
        Error::OtherPredictions {
            path: path.to_owned(),
            field,
            found: found.to_string(),
            expected: expected.to_string(),
        }
    };
    let schema = value.get("schema").unwrap_or(&Value::Null);
    if *schema != SCHEMA {
        return Err(differs("schema", schema, &SCHEMA));
    }
    let found: Header = serde_json::from_value(value).map_err(|e| problem(LineProblem::Json(e)))?;
    for (field, found, expected) in [
        ("suite", &found.suite, &expected.suite),
        ("model", &found.model, &expected.model),
        ("task", &found.task, &expected.task),
        ("kind", &found.kind, &expected.kind),
    ] {
        if found != expected {
            return Err(differs(field, found, expected));
        }
    }
    if found.inputs != expected.inputs {
        return Err(differs("inputs", &found.inputs, &expected.inputs));
    }
    Ok(found)
}

/// Reads a finished predictions file line by line, and digests it on the way.
#[derive(Debug)]
pub struct Reader {
    lines: Lines<BufReader<File>>,
    path: PathBuf,
    /// How the model was asked.
    asked: Option<Asked>,
}

impl Reader {
    /// Opens the file `path`, which must have been made from what `header` says.
    pub fn open(path: &Path, header: &Header) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        let mut lines = Lines::new(BufReader::with_capacity(1 << 16, file), path);
        let text = lines.next_text()?.unwrap_or_default();
        let asked = check_header(text, path, header)?.asked;
        Ok(Self {
            lines,
            path: path.to_owned(),
            asked,
        })
    }

    /// Opens the predictions of `outcome`, one of `record`'s tasks, below the records folder `records`. Who has read them
    /// to their end compares their digest with the record's.
    pub fn of_record(records: &Path, record: &Record, outcome: &TaskOutcome) -> Result<Self> {
        let relative = Path::new(&outcome.predictions.path);
        let path = records.join(relative);
        let inside = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(Error::PredictionsOutside { path });
        }
        let first = {
            let file = File::open(&path).map_err(|source| Error::Io {
                path: path.clone(),
                source,
            })?;
            let mut lines = Lines::new(BufReader::new(file), &path);
            lines.next_text()?.unwrap_or_default().to_vec()
        };
        let header: Header = serde_json::from_slice(&first).map_err(|e| Error::Predictions {
            path: path.clone(),
            line: 1,
            problem: LineProblem::Json(e),
        })?;
        let expected = Header {
            schema: SCHEMA,
            suite: record.suite.clone(),
            model: record.model.name.clone(),
            task: outcome.task.clone(),
            kind: outcome.kind.clone(),
            ..header
        };
        Self::open(&path, &expected)
    }

    /// Where it reads.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the model was asked, where there are several ways.
    pub fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    /// The next sample's line, or `None` after the last.
    pub fn next_line(&mut self) -> Result<Option<Line>> {
        self.lines.next_line()
    }

    /// The error that the line read last has this problem.
    pub fn refuse(&self, problem: LineProblem) -> Error {
        Error::Predictions {
            path: self.path.clone(),
            line: self.lines.number,
            problem,
        }
    }

    /// Lines and digest of what was read, the header included.
    pub fn finish(self) -> (u64, Digest) {
        (self.lines.number, self.lines.hasher.finish())
    }
}

/// Lines that end with a line feed.
#[derive(Debug)]
struct Lines<R> {
    reader: R,
    path: PathBuf,
    buffer: Vec<u8>,
    hasher: Hasher,
    /// Lines read.
    number: u64,
    /// Bytes read.
    position: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R, path: &Path) -> Self {
        Self {
            reader,
            path: path.to_owned(),
            buffer: Vec::new(),
            hasher: Hasher::new(),
            number: 0,
            position: 0,
        }
    }

    /// The bytes of the next line without its end; `None` at the end of the file.
    fn next_text(&mut self) -> Result<Option<&[u8]>> {
        self.buffer.clear();
        let mut limited = (&mut self.reader).take(MAX_LINE_BYTES);
        let read = limited.read_until(b'\n', &mut self.buffer);
        let len = read.map_err(|source| Error::Io {
            path: self.path.clone(),
            source,
        })? as u64;
        if len == 0 {
            return Ok(None);
        }
        self.hasher.update(&self.buffer);
        self.number += 1;
        self.position += len;
        match self.buffer.strip_suffix(b"\n") {
            Some(text) => Ok(Some(text)),
            None if len == MAX_LINE_BYTES => Err(self.refuse(LineProblem::TooLong {
                limit: MAX_LINE_BYTES,
            })),
            None => Err(self.refuse(LineProblem::Torn)),
        }
    }

    fn next_line(&mut self) -> Result<Option<Line>> {
        let Some(text) = self.next_text()? else {
            return Ok(None);
        };
        match Line::parse(text) {
            Ok(line) => Ok(Some(line)),
            Err(problem) => Err(self.refuse(problem)),
        }
    }

    fn refuse(&self, problem: LineProblem) -> Error {
        Error::Predictions {
            path: self.path.clone(),
            line: self.number,
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_core::Hint;

    use super::*;

    fn header() -> Header {
        Header {
            schema: SCHEMA,
            suite: "s".to_owned(),
            model: "m".to_owned(),
            task: "t".to_owned(),
            kind: "zero-shot".to_owned(),
            inputs: Digest::of(b"inputs"),
            asked: None,
        }
    }

    fn lines() -> Vec<Line> {
        let line = |key: &str, outcome| Line {
            key: SampleKey::new(key).unwrap(),
            outcome,
        };
        vec![
            line(
                "a",
                Outcome::Predicted(json!({"classes": 2, "top": [[1, 0.5]]})),
            ),
            line("b", Outcome::Failed("truncated".to_owned())),
            line("dir/ç", Outcome::Skipped("no caption".to_owned())),
        ]
    }

    #[test]
    fn a_file_cut_anywhere_continues_after_its_last_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("p/t.jsonl");
        let mut writer = Writer::open(&target, &header()).unwrap();
        writer.append(&lines()).unwrap();
        writer.finish().unwrap();
        assert!(!part_of(&target).exists());
        let whole = fs::read(&target).unwrap();

        for cut in 0..=whole.len() {
            fs::write(part_of(&target), &whole[..cut]).unwrap();
            let mut writer = Writer::open(&target, &header()).unwrap();
            let done = writer.found.len();
            let pieces = whole[..cut].split(|&b| b == b'\n').count();
            assert_eq!(done, pieces.saturating_sub(2), "cut at {cut}");
            writer.append(&lines()[done..]).unwrap();
            writer.finish().unwrap();
            assert_eq!(fs::read(&target).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_written_is_read_with_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("t.jsonl");
        let mut writer = Writer::open(&target, &header()).unwrap();
        writer.append(&lines()).unwrap();
        writer.finish().unwrap();
        let mut reader = Reader::open(&target, &header()).unwrap();
        let mut read = Vec::new();
        while let Some(line) = reader.next_line().unwrap() {
            read.push(line);
        }
        assert_eq!(read, lines());
        let whole = fs::read(&target).unwrap();
        assert_eq!(reader.finish(), (4, Digest::of(&whole)));
    }

    #[test]
    fn predictions_of_something_else_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("t.jsonl");
        drop(Writer::open(&target, &header()).unwrap());
        let other = Header {
            inputs: Digest::of(b"other"),
            ..header()
        };
        let error = Writer::open(&target, &other).unwrap_err();
        assert!(error.to_string().contains("made with inputs"), "{error}");
        assert!(
            error.hints()[0].starts_with("Remove"),
            "{:?}",
            error.hints()
        );
        fs::write(part_of(&target), "{\"schema\":2}\n").unwrap();
        let error = Writer::open(&target, &header()).unwrap_err().to_string();
        assert!(error.contains("schema \"2\""), "{error}");
    }

    #[test]
    fn a_second_writer_is_refused_while_the_first_lives() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("t.jsonl");
        let first = Writer::open(&target, &header()).unwrap();
        let second = Writer::open(&target, &header());
        assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
        drop(first);
        assert!(Writer::open(&target, &header()).is_ok());
    }

    #[test]
    fn damaged_lines_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        let header_line = serde_json::to_string(&header()).unwrap();
        for (line, part) in [
            ("{\"key\":\"a\"}\n", "line 2: must hold one of"),
            (
                "{\"key\":\"a\",\"failed\":\"x\",\"skipped\":\"y\"}\n",
                "must hold one of",
            ),
            ("{\"key\":\"../a\",\"failed\":\"x\"}\n", "line 2: "),
            ("{\"key\":\"a\",\"failed\":\"x\"}", "line 2: has no end"),
            ("nothing\n", "line 2: "),
        ] {
            fs::write(&path, format!("{header_line}\n{line}")).unwrap();
            let mut reader = Reader::open(&path, &header()).unwrap();
            let error = reader.next_line().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        fs::write(&path, "").unwrap();
        assert!(Reader::open(&path, &header()).is_err());
    }
}
