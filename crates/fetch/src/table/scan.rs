//! Rows of a file, one shard's worth at a time.

use std::fs::File;
use std::io::{BufRead, Read};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;

use polars::prelude::*;
use sightline_store::Stores;

use super::diagnose::{Refusal, unreadable};
use super::files::{InputFile, InputFormat};
use super::parquet;
use super::plain::{Plain, open};
use super::problem::{Part, PartProblem, TableProblem};
use super::rows::{CHECK, is_representable};
use super::scratch::Scratch;
use super::types::{all_are, storable, truth};
use crate::error::{Error, Result};

/// Name of the threads here in which the table engine runs.
const TABLE_THREAD: &str = "table-engine";

/// How the names of threads begin in which nothing but the table engine runs: those started here and the
/// engine's own. It panics on some damaged files; that is caught and becomes an error, so a program that
/// installs a panic hook may keep it silent for these.
pub const TABLE_THREADS: [&str; 3] = [TABLE_THREAD, "async-executor-", "polars-"];

/// Longest line of a txt table; what comes after it on the line is dropped, and the row fails as the
/// URL that it then is.
const MAX_LINE: u64 = 1 << 20;

/// The columns to read.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// Of the URLs.
    pub(crate) url: String,
    /// Of the captions.
    pub(crate) caption: Option<String>,
    /// Kept as they are.
    pub(crate) additional: Vec<String>,
    /// Of the digests that bodies must have; not kept.
    pub(crate) check: Option<String>,
}

/// Reads the files of a table.
#[derive(Debug)]
pub(crate) struct TableReader {
    columns: Columns,
    rows: NonZeroUsize,
    scratch: Scratch,
    stores: Stores,
}

/// A file that is on this machine; a download is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Brought {
    file: InputFile,
    is_download: bool,
}

impl Brought {
    /// The file.
    pub(crate) fn file(&self) -> &InputFile {
        &self.file
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        if self.is_download
            && let Some(path) = &self.file.local
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl TableReader {
    /// A reader of batches of `rows` rows, with room for downloaded and rewritten tables in `scratch`.
    pub(crate) fn new(
        columns: Columns,
        rows: NonZeroUsize,
        scratch: Scratch,
        stores: &Stores,
    ) -> Self {
        Self {
            columns,
            rows,
            scratch,
            stores: stores.clone(),
        }
    }

    /// Downloads `file` where it is in an object store; `None` when `is_stopped` before it is there.
    pub(crate) fn bring(
        &self,
        file: &InputFile,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Brought>> {
        let mut brought = Brought {
            file: file.clone(),
            is_download: false,
        };
        let Some(origin) = file.origin.as_ref().filter(|_| file.local.is_none()) else {
            return Ok(Some(brought));
        };
        let failed = |error| Error::read_from(&file.path)(error);
        let (folder, name) = self.stores.object(origin).map_err(failed)?;
        let path = Plain::download(self.scratch.path());
        brought.file.local = Some(path.clone());
        brought.is_download = true;
        let Some(found) = folder.download(&name, &path, is_stopped).map_err(failed)? else {
            return Ok(None);
        };
        let expected = file.expected.is_none_or(|(len_bytes, sha256)| {
            (len_bytes, sha256) == (found.len_bytes, found.sha256)
        });
        if !expected {
            return Err(Error::OtherTable {
                path: file.path.clone(),
            });
        }
        Ok(Some(brought))
    }

    /// Removes what killed runs left in the folder `scratch`, which no other process may be using.
    pub(crate) fn clean(scratch: &Path) -> Result<()> {
        Plain::clean(scratch)
    }

    /// Hands over the rows of `file` in order, in batches of exactly the wanted size but for the last,
    /// until `each` says to stop (`false`). Columns have the names of the status table. Long work before
    /// the first batch ends early, without any batch, when `is_stopped`.
    pub(crate) fn read(
        &self,
        file: &InputFile,
        is_stopped: &dyn Fn() -> bool,
        each: &mut dyn FnMut(DataFrame) -> Result<bool>,
    ) -> Result<()> {
        let Some(brought) = self.bring(file, is_stopped)? else {
            return Ok(());
        };
        let file = brought.file();
        if file.format == InputFormat::Txt {
            return self.read_txt(file, each);
        }
        let Some(plain) = Plain::of(file, self.scratch.path(), is_stopped)? else {
            return Ok(());
        };
        let refused = |refusal: Refusal| refusal.explain(file, &plain);
        let opened = File::open(&plain.path).map_err(Error::read_table(&file.path))?;
        if opened.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            if plain.format == InputFormat::Jsonl {
                return Ok(()); // no lines, no rows
            }
            return Err(match plain.format {
                InputFormat::Parquet => {
                    TableProblem::DamagedParquet("the file is empty".to_owned())
                }
                _ => TableProblem::Empty,
            }
            .of(file));
        }
        if plain.format == InputFormat::Parquet {
            let mut next = |row| Ok((!is_stopped()).then_some(row));
            return self.read_parquet(file, &plain, &mut next, &mut |_, frame| each(frame));
        }
        // Without the columns that nobody asked for, lines with too many fields would go unnoticed.
        let lazy = guard(|| scan(&plain)).map_err(refused)?;
        let mut lazy = lazy.with_projection_pushdown(false);
        let schema = guard(|| lazy.collect_schema()).map_err(refused)?;
        let is_text = matches!(plain.format, InputFormat::Csv | InputFormat::Tsv);
        let selection = if is_text {
            self.check_columns(file, &schema)?;
            let types = self.text_types(&lazy, &refused, is_stopped)?;
            if is_stopped() {
                return Ok(());
            }
            self.selection(true, |column| types.get(column).cloned())
        } else {
            self.check_columns(file, &schema)?;
            self.check_types(file, &schema)?;
            self.selection(false, |column| schema.get(column).map(storable))
        };
        batches(lazy.select(selection), self.rows, &refused, each)
    }

    /// Hands over batches of a file whose rows can be read without those before them ([`InputFile::can_seek`]), each with the
    /// number of its first row, until `each` says to stop. `next` is asked where the next one begins, at or behind a row.
    pub(crate) fn read_wanted(
        &self,
        file: &InputFile,
        next: &mut dyn FnMut(u64) -> Result<Option<u64>>,
        each: &mut dyn FnMut(u64, DataFrame) -> Result<bool>,
    ) -> Result<()> {
        let Some(plain) = Plain::of(file, self.scratch.path(), &|| false)? else {
            return Ok(());
        };
        self.read_parquet(file, &plain, next, each)
    }

    /// Rows of all `files`, as far as that is known without reading them at length: Parquet files say
    /// it, and other plain files are counted when together they are small.
    pub(crate) fn count(&self, files: &[InputFile]) -> Option<u64> {
        const SMALL: u64 = 64 << 20;
        let mut read = 0;
        let mut rows = 0;
        for file in files {
            if file.gzip || file.format == InputFormat::Json || file.origin.is_some() {
                return None;
            }
            if file.format != InputFormat::Parquet {
                read += std::fs::metadata(&file.path).ok()?.len();
                if read > SMALL {
                    return None;
                }
            }
            rows += count_rows(file, self.scratch.path())?;
        }
        Some(rows)
    }

    fn read_txt(
        &self,
        file: &InputFile,
        each: &mut dyn FnMut(DataFrame) -> Result<bool>,
    ) -> Result<()> {
        if let Some(column) = self.asked().find(|column| **column != self.columns.url) {
            return Err(Error::MissingColumn {
                path: file.path.clone(),
                column: column.clone(),
                found: vec!["url".to_owned()],
            });
        }
        let mut source = open(file)?;
        let mut urls: Vec<String> = Vec::new();
        let mut send = |urls: &mut Vec<String>| {
            let column = Column::new("url".into(), std::mem::take(urls));
            let frame = DataFrame::new_infer_height(vec![column]);
            each(frame.map_err(|e| TableProblem::Other(e.to_string()).of(file))?)
        };
        let mut is_first = true;
        while let Some(line) = read_line(&mut *source).map_err(|e| unreadable(file, e))? {
            let mut line = line.as_slice();
            if std::mem::take(&mut is_first) {
                line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            }
            if line.is_empty() {
                continue;
            }
            urls.push(String::from_utf8_lossy(line).into_owned());
            if urls.len() == self.rows.get() && !send(&mut urls)? {
                return Ok(());
            }
        }
        if !urls.is_empty() {
            send(&mut urls)?;
        }
        Ok(())
    }

    pub(super) fn asked(&self) -> impl Iterator<Item = &String> {
        self.columns
            .additional
            .iter()
            .chain(&self.columns.caption)
            .chain(&self.columns.check)
            .chain([&self.columns.url])
    }

    /// Whether a column is read as text, whatever else it is for.
    pub(super) fn is_text(&self, name: &str) -> bool {
        [&self.columns.caption, &self.columns.check]
            .into_iter()
            .flatten()
            .chain([&self.columns.url])
            .any(|text| text == name)
    }

    /// The columns of the status table in its order: where each is from, what it is called, whether it is text.
    pub(super) fn renamed(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let columns = &self.columns;
        let additional = columns.additional.iter();
        let additional = additional.map(|name| (name.as_str(), name.as_str(), false));
        let caption = columns
            .caption
            .as_deref()
            .map(|name| (name, "caption", true));
        let check = columns.check.as_deref().map(|name| (name, CHECK, true));
        additional
            .chain(caption)
            .chain([(columns.url.as_str(), "url", true)])
            .chain(check)
    }

    /// Rows of a batch.
    pub(super) fn batch_rows(&self) -> usize {
        self.rows.get()
    }

    fn check_columns(&self, file: &InputFile, schema: &Schema) -> Result<()> {
        match self.asked().find(|column| !schema.contains(column)) {
            None => Ok(()),
            // The engine reads the names of columns leniently, and only them.
            Some(_)
                if matches!(file.format, InputFormat::Csv | InputFormat::Tsv)
                    && schema.iter_names().any(|name| name.contains('\u{fffd}')) =>
            {
                Err(TableProblem::Part {
                    part: Part::Line,
                    number: 1,
                    problem: PartProblem::NotUtf8,
                }
                .of(file))
            }
            Some(column) => Err(Error::MissingColumn {
                path: file.path.clone(),
                column: column.clone(),
                found: schema.iter_names().map(ToString::to_string).collect(),
            }),
        }
    }

    fn check_types(&self, file: &InputFile, schema: &Schema) -> Result<()> {
        for column in self.asked() {
            let Some(dtype) = schema.get(column) else {
                continue;
            };
            let is_text = self.is_text(column);
            let problem = if is_text && (dtype.is_nested() || dtype.is_binary()) {
                "is no text; lists can be kept with --save-additional-columns"
            } else if !is_text && !is_representable(&storable(dtype)) {
                "cannot be saved; write it as another type"
            } else {
                continue;
            };
            return Err(Error::ColumnType {
                path: file.path.clone(),
                column: column.clone(),
                dtype: dtype.to_string(),
                problem,
            });
        }
        Ok(())
    }

    /// The columns under their names in the status table; `dtype` gives the types of additional ones.
    fn selection(&self, is_text: bool, dtype: impl Fn(&str) -> Option<DataType>) -> Vec<Expr> {
        let mut selection: Vec<Expr> = Vec::new();
        for column in &self.columns.additional {
            let plain = col(column.as_str());
            selection.push(match dtype(column) {
                Some(DataType::Boolean) if is_text => truth(plain),
                Some(dtype) => plain.cast(dtype),
                None => plain,
            });
        }
        if let Some(column) = &self.columns.caption {
            let text = col(column.as_str()).cast(DataType::String);
            selection.push(text.alias("caption"));
        }
        let url = col(self.columns.url.as_str()).cast(DataType::String);
        selection.push(url.alias("url"));
        if let Some(column) = &self.columns.check {
            let text = col(column.as_str()).cast(DataType::String);
            selection.push(text.alias(CHECK));
        }
        // Two columns of the output may come from one of the input, so aliases are for all.
        for (expression, column) in selection.iter_mut().zip(&self.columns.additional) {
            *expression = expression.clone().alias(column.as_str());
        }
        selection
    }

    /// The narrowest type that every value of each additional text column has, of whole numbers, other
    /// numbers, truth values and text. Empty fields count for every type.
    fn text_types(
        &self,
        lazy: &LazyFrame,
        refused: &dyn Fn(Refusal) -> Error,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<PlHashMap<String, DataType>> {
        const CANDIDATES: [DataType; 3] = [DataType::Int64, DataType::Float64, DataType::Boolean];
        let mut types = PlHashMap::new();
        if self.columns.additional.is_empty() {
            return Ok(types);
        }
        let mut fits = vec![[true; 3]; self.columns.additional.len()];
        let selection: Vec<Expr> = self
            .columns
            .additional
            .iter()
            .map(|c| col(c.as_str()))
            .collect();
        let rows = NonZeroUsize::new(1 << 16).unwrap_or(NonZeroUsize::MIN);
        batches(
            lazy.clone().select(selection),
            rows,
            refused,
            &mut |frame| {
                for (series, fits) in frame.columns().iter().zip(&mut fits) {
                    for (dtype, fits) in CANDIDATES.iter().zip(fits) {
                        *fits = *fits
                            && all_are(series, dtype).map_err(|e| refused(Refusal::Error(e)))?;
                    }
                }
                Ok(fits.iter().flatten().any(|&fits| fits) && !is_stopped())
            },
        )?;
        for (column, fits) in self.columns.additional.iter().zip(&fits) {
            let narrowest = CANDIDATES.iter().zip(fits).find(|(_, fits)| **fits);
            let dtype = narrowest.map_or(DataType::String, |(dtype, _)| dtype.clone());
            types.insert(column.clone(), dtype);
        }
        Ok(types)
    }
}

/// Rows of a plain file, `None` where it cannot be read.
fn count_rows(file: &InputFile, scratch: &Path) -> Option<u64> {
    match file.format {
        InputFormat::Txt => {
            let mut source = open(file).ok()?;
            let mut rows = 0;
            while let Some(line) = read_line(&mut *source).ok()? {
                rows += u64::from(!line.is_empty());
            }
            Some(rows)
        }
        InputFormat::Parquet => {
            let plain = Plain::of(file, scratch, &|| false).ok()??;
            Some(parquet::open(file, &plain).ok()?.rows())
        }
        _ => {
            let plain = Plain::of(file, scratch, &|| false).ok()??;
            let mut rows = 0;
            let batch = NonZeroUsize::new(1 << 16)?;
            let lazy = guard(|| scan(&plain)).ok()?;
            let refused = |refusal: Refusal| refusal.explain(file, &plain);
            batches(lazy, batch, &refused, &mut |frame| {
                rows += frame.height() as u64;
                Ok(true)
            })
            .ok()?;
            Some(rows)
        }
    }
}

fn scan(plain: &Plain) -> PolarsResult<LazyFrame> {
    let file = File::open(&plain.path)?;
    let sources = ScanSources::Files([file].into());
    match plain.format {
        InputFormat::Csv | InputFormat::Tsv => {
            let separator = if plain.format == InputFormat::Csv {
                b','
            } else {
                b'\t'
            };
            LazyCsvReader::new_with_sources(sources)
                .with_glob(false)
                .with_separator(separator)
                .with_infer_schema_length(Some(0))
                .with_missing_is_null(false)
                .finish()
        }
        _ => LazyJsonLineReader::new_with_sources(sources)
            .with_infer_schema_length(None)
            .finish(),
    }
}

/// Runs `lazy` and hands over its rows in order, until `each` says to stop.
fn batches(
    lazy: LazyFrame,
    rows: NonZeroUsize,
    refused: &dyn Fn(Refusal) -> Error,
    each: &mut dyn FnMut(DataFrame) -> Result<bool>,
) -> Result<()> {
    let (sender, batches) = sync_channel(1);
    let worker = thread::Builder::new()
        .name(TABLE_THREAD.to_owned())
        .spawn(move || {
            let callback =
                PlanCallback::new(move |frame: DataFrame| Ok(sender.send(frame).is_err()));
            lazy.sink_batches(callback, true, Some(rows))?
                .collect_with_engine(Engine::Streaming)
                .map(drop)
        })
        .map_err(|e| Error::Threads {
            problem: e.to_string(),
        })?;
    let mut outcome = Ok(());
    for frame in &batches {
        match each(frame) {
            Ok(true) => {}
            Ok(false) => break,
            Err(e) => {
                outcome = Err(e);
                break;
            }
        }
    }
    // Tells the worker, which may be waiting to hand over the next batch, to stop.
    drop(batches);
    match worker.join() {
        Ok(Ok(())) => outcome,
        Ok(Err(e)) => outcome.and_then(|()| Err(refused(Refusal::Error(e)))),
        Err(panic) => outcome.and_then(|()| Err(refused(Refusal::Panic(panic_text(&*panic))))),
    }
}

/// Runs `f` in a thread of the table engine, so that its panic on a foreign file ends only that.
fn guard<T: Send>(f: impl FnOnce() -> PolarsResult<T> + Send) -> Result<T, Refusal> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name(TABLE_THREAD.to_owned())
            .spawn_scoped(scope, f)
            .map_err(|e| Refusal::Error(e.into()))?;
        match worker.join() {
            Ok(result) => result.map_err(Refusal::Error),
            Err(panic) => Err(Refusal::Panic(panic_text(&*panic))),
        }
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no reason given").to_owned()
}

/// The next line without its end, or `None` after the last.
fn read_line(source: &mut dyn BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if source.take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else {
        source.skip_until(b'\n')?;
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::fs;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use sightline_core::ShardId;

    use super::super::rows::ShardRows;

    const CSV: &str = "id,url,text,score,flag,code\n\
                       1,http://a/1.jpg,one,0.5,true,007\n\
                       2,http://a/2.jpg,\"two, \"\"quoted\"\"\nlines\",1,false,x\n\
                       3,http://a/3.jpg,,2,,\n";

    fn reader(dir: &Path, caption: Option<&str>, additional: &[&str], rows: usize) -> TableReader {
        let columns = Columns {
            url: "url".to_owned(),
            caption: caption.map(str::to_owned),
            additional: additional.iter().map(|&c| c.to_owned()).collect(),
            check: None,
        };
        let (rows, scratch) = (NonZeroUsize::new(rows).unwrap(), Scratch::at(dir));
        TableReader::new(columns, rows, scratch, &Stores::default())
    }

    fn write(dir: &Path, name: &str, content: &[u8]) -> InputFile {
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        super::super::find(&Stores::default(), &path, None)
            .unwrap()
            .remove(0)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Every row as compact JSON, batch by batch.
    fn read(reader: &TableReader, file: &InputFile) -> Result<Vec<Vec<String>>> {
        let mut all = Vec::new();
        reader.read(file, &|| false, &mut |frame| {
            let shard = ShardRows::new(ShardId(0), frame).unwrap();
            let rows = shard.rows.iter();
            all.push(
                rows.map(|row| serde_json::to_string(&row.columns).unwrap())
                    .collect(),
            );
            Ok(true)
        })?;
        Ok(all)
    }

    fn parquet(frame: &mut DataFrame) -> Vec<u8> {
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).finish(frame).unwrap();
        bytes
    }

    #[test]
    fn every_format_gives_the_same_rows_compressed_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let jsonl = "{\"url\":\"http://a/1.jpg\",\"text\":\"one\"}\n\
                     {\"text\":\"two, é\",\"url\":\"http://a/2.jpg\"}\n\
                     {\"url\":\"http://a/3.jpg\"}\n";
        let json = format!("[{}]", jsonl.trim_end().replace('\n', ",\n"));
        let csv = "text,url\none,http://a/1.jpg\n\"two, é\",http://a/2.jpg\n,http://a/3.jpg\n";
        let tsv = "text\turl\none\thttp://a/1.jpg\ntwo, é\thttp://a/2.jpg\n\thttp://a/3.jpg\n";
        let mut frame = DataFrame::new_infer_height(vec![
            Column::new("text".into(), [Some("one"), Some("two, é"), None]),
            Column::new(
                "url".into(),
                ["http://a/1.jpg", "http://a/2.jpg", "http://a/3.jpg"],
            ),
        ])
        .unwrap();
        let parquet = parquet(&mut frame);
        let row =
            |caption: &str, n: u32| format!(r#"{{"caption":{caption},"url":"http://a/{n}.jpg"}}"#);
        for (name, content, nothing) in [
            ("a.csv", csv.as_bytes(), "\"\""),
            ("a.tsv", tsv.as_bytes(), "\"\""),
            ("a.jsonl", jsonl.as_bytes(), "null"),
            ("a.json", json.as_bytes(), "null"),
            ("a.parquet", &parquet, "null"),
        ] {
            let expected = [
                vec![row("\"one\"", 1), row("\"two, é\"", 2)],
                vec![row(nothing, 3)],
            ];
            let reader = reader(dir.path(), Some("text"), &[], 2);
            let plain = write(dir.path(), name, content);
            assert_eq!(read(&reader, &plain).unwrap(), expected, "{name}");
            let compressed = write(dir.path(), &format!("{name}.gz"), &gzip(content));
            assert_eq!(read(&reader, &compressed).unwrap(), expected, "{name}.gz");
        }
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().starts_with('.'))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn a_txt_line_is_a_url_whatever_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let txt = "\u{feff}http://a/1,2.jpg\r\n\n  http://a/\"x\"\nlast \u{e9}";
        let reader = reader(dir.path(), None, &[], 2);
        let expected = [
            vec![
                r#"{"url":"http://a/1,2.jpg"}"#.to_owned(),
                r#"{"url":"  http://a/\"x\""}"#.to_owned(),
            ],
            vec![r#"{"url":"last é"}"#.to_owned()],
        ];
        for (name, content) in [
            ("a.txt", txt.as_bytes().to_vec()),
            ("a.txt.gz", gzip(txt.as_bytes())),
        ] {
            let file = write(dir.path(), name, &content);
            assert_eq!(read(&reader, &file).unwrap(), expected, "{name}");
        }
        let empty = write(dir.path(), "empty.txt", b"");
        assert!(read(&reader, &empty).unwrap().is_empty());
        let binary = write(dir.path(), "b.txt", b"http://a/\xff\n");
        assert_eq!(
            read(&reader, &binary).unwrap()[0][0],
            "{\"url\":\"http://a/\u{fffd}\"}"
        );
    }

    #[test]
    fn a_txt_line_without_end_does_not_fill_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut content = vec![b'x'; (2 << 20) + 1];
        content.extend_from_slice(b"\nhttp://a/");
        let file = write(dir.path(), "a.txt", &content);
        let rows = read(&reader(dir.path(), None, &[], 10), &file).unwrap();
        assert_eq!(rows[0].len(), 2);
        assert!(rows[0][0].len() < (1 << 20) + 100);
        assert_eq!(rows[0][1], r#"{"url":"http://a/"}"#);
    }

    #[test]
    fn text_columns_have_the_type_that_all_their_rows_have() {
        let dir = tempfile::tempdir().unwrap();
        let reader = reader(
            dir.path(),
            Some("text"),
            &["id", "score", "flag", "code"],
            10,
        );
        let file = write(dir.path(), "a.csv", CSV.as_bytes());
        assert_eq!(
            read(&reader, &file).unwrap()[0],
            [
                r#"{"id":1,"score":0.5,"flag":true,"code":"007","caption":"one","url":"http://a/1.jpg"}"#,
                r#"{"id":2,"score":1.0,"flag":false,"code":"x","caption":"two, \"quoted\"\nlines","url":"http://a/2.jpg"}"#,
                r#"{"id":3,"score":2.0,"flag":null,"code":"","caption":"","url":"http://a/3.jpg"}"#,
            ]
        );
    }

    #[test]
    fn a_late_row_changes_the_type_and_does_not_fail() {
        let dir = tempfile::tempdir().unwrap();
        let mut csv = "url,n\n".to_owned();
        let mut jsonl = String::new();
        for n in 0..200_000 {
            writeln!(csv, "http://a/,{n}").unwrap();
            writeln!(jsonl, "{{\"url\":\"http://a/\",\"n\":{n}}}").unwrap();
        }
        csv.push_str("http://a/,many\n");
        jsonl.push_str("{\"url\":\"http://a/\",\"n\":\"many\",\"new\":1}\n");
        let reader = reader(dir.path(), None, &["n"], 100_000);
        for file in [
            write(dir.path(), "a.csv", csv.as_bytes()),
            write(dir.path(), "a.jsonl", jsonl.as_bytes()),
        ] {
            let batches = read(&reader, &file).unwrap();
            let lens: Vec<usize> = batches.iter().map(Vec::len).collect();
            assert_eq!(lens, [100_000, 100_000, 1]);
            assert_eq!(batches[0][7], r#"{"n":"7","url":"http://a/"}"#);
            assert_eq!(batches[2][0], r#"{"n":"many","url":"http://a/"}"#);
        }
    }

    #[test]
    fn lists_of_captions_stay_lists() {
        let dir = tempfile::tempdir().unwrap();
        let jsonl = "{\"url\":\"u\",\"captions\":[\"a\",\"b\"],\"caption\":\"a\"}\n\
                     {\"url\":\"v\",\"captions\":[],\"caption\":\"c\"}\n\
                     {\"url\":\"w\",\"captions\":null,\"caption\":null}\n";
        let file = write(dir.path(), "a.jsonl", jsonl.as_bytes());
        let lists = reader(dir.path(), Some("caption"), &["captions"], 10);
        assert_eq!(
            read(&lists, &file).unwrap()[0],
            [
                r#"{"captions":["a","b"],"caption":"a","url":"u"}"#,
                r#"{"captions":[],"caption":"c","url":"v"}"#,
                r#"{"captions":null,"caption":null,"url":"w"}"#,
            ]
        );
        let wrong = reader(dir.path(), Some("captions"), &[], 10);
        let error = read(&wrong, &file).unwrap_err().to_string();
        assert!(
            error.contains("column `captions` holds list[str], which is no text"),
            "{error}"
        );
    }

    #[test]
    fn one_column_may_be_caption_and_saved() {
        let dir = tempfile::tempdir().unwrap();
        let reader = reader(dir.path(), Some("text"), &["text"], 10);
        let file = write(dir.path(), "a.csv", b"url,text\nu,t\n");
        assert_eq!(
            read(&reader, &file).unwrap()[0],
            [r#"{"text":"t","caption":"t","url":"u"}"#]
        );
    }

    #[test]
    fn missing_columns_are_named_with_those_that_exist() {
        let dir = tempfile::tempdir().unwrap();
        let reader = reader(dir.path(), Some("caption"), &[], 10);
        for (name, content) in [
            ("a.csv", "URL,TEXT\nu,t\n"),
            ("a.jsonl", "{\"URL\":1,\"TEXT\":2}\n"),
        ] {
            let file = write(dir.path(), name, content.as_bytes());
            let error = read(&reader, &file).unwrap_err().to_string();
            assert!(
                error.ends_with("has no column `caption`; its columns are `URL`, `TEXT`"),
                "{error}"
            );
        }
        let txt = write(dir.path(), "a.txt", b"http://a/\n");
        let error = read(&reader, &txt).unwrap_err().to_string();
        assert!(error.ends_with("its columns are `url`"), "{error}");
    }

    #[test]
    fn unreadable_tables_name_file_and_cause() {
        let dir = tempfile::tempdir().unwrap();
        let reader = reader(dir.path(), None, &[], 10);
        for (name, content) in [
            ("empty.csv", &b""[..]),
            ("ragged.csv", b"url,a\nu,1\nv,2,3\n"),
            ("bad.jsonl", b"{\"url\":\"u\"}\nnot json\n"),
            ("scalar.jsonl", b"3\n"),
            ("bad.json", b"[{\"url\":\"u\"}"),
            ("table.json", b"{\"url\":{\"0\":\"u\"}}"),
            ("bad.parquet", b"PAR1 is how it starts"),
            ("empty.parquet", b""),
            ("bad.csv.gz", b"url\nu\n"),
        ] {
            let file = write(dir.path(), name, content);
            let error = read(&reader, &file).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(matches!(error, Error::Table { .. }), "{error:?}");
        }
    }

    #[test]
    fn parquet_types_are_kept_or_refused_and_never_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let mut frame = DataFrame::new_infer_height(vec![
            Column::new("url".into(), ["u", "v"]),
            Column::new("small".into(), [1i32, 2]),
            Column::new("float".into(), [0.5f32, 1.5]),
            Column::new("bytes".into(), [b"a".as_slice(), b"b"]),
            Column::new("nothing".into(), [None::<i64>, None])
                .cast(&DataType::Null)
                .unwrap(),
            Column::new("day".into(), [0i32, 19_000])
                .cast(&DataType::Date)
                .unwrap(),
        ])
        .unwrap();
        let file = write(dir.path(), "a.parquet", &parquet(&mut frame));
        let kept = reader(dir.path(), None, &["small", "float", "nothing", "day"], 10);
        assert_eq!(
            read(&kept, &file).unwrap()[0],
            [
                r#"{"small":1,"float":0.5,"nothing":null,"day":"1970-01-01","url":"u"}"#,
                r#"{"small":2,"float":1.5,"nothing":null,"day":"2022-01-08","url":"v"}"#,
            ]
        );
        let refused = reader(dir.path(), None, &["bytes"], 10);
        let error = read(&refused, &file).unwrap_err().to_string();
        assert!(error.contains("column `bytes` holds binary"), "{error}");
    }

    #[test]
    fn every_changed_byte_of_a_parquet_table_gives_every_row_or_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut frame = DataFrame::new_infer_height(vec![
            Column::new("url".into(), ["http://a/1", "http://a/2", "http://b/"]),
            Column::new("text".into(), [Some("one"), None, Some("three")]),
            Column::new("id".into(), [1i64, 2, 3]),
        ])
        .unwrap();
        let whole = parquet(&mut frame);
        let reader = reader(dir.path(), Some("text"), &["id"], 2);
        let (mut read_on, mut refused) = (0, 0);
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let file = write(dir.path(), "urls.parquet", &bytes);
                match read(&reader, &file) {
                    Ok(batches) => {
                        let rows: usize = batches.iter().map(Vec::len).sum();
                        assert_eq!(rows, 3, "byte {at} ^ {flip}");
                        read_on += 1;
                    }
                    Err(error) => {
                        let error = error.to_string();
                        assert!(
                            error.contains("urls.parquet"),
                            "byte {at} ^ {flip}: {error}"
                        );
                        refused += 1;
                    }
                }
            }
        }
        assert!(read_on > 0 && refused > 0, "{read_on} and {refused}");
    }

    #[test]
    fn any_wanted_batches_of_a_parquet_table_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let urls: Vec<String> = (0..95).map(|n| format!("http://a/{n}")).collect();
        let mut frame = DataFrame::new_infer_height(vec![Column::new("url".into(), urls)]).unwrap();
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes)
            .with_row_group_size(Some(17))
            .finish(&mut frame)
            .unwrap();
        let file = write(dir.path(), "a.parquet", &bytes);
        let reader = reader(dir.path(), None, &[], 10);
        let wanted = [20u64, 30, 60, 90, 100];
        let mut next = |row| Ok(wanted.iter().copied().find(|first| *first >= row));
        let mut found = Vec::new();
        let mut each = |first: u64, frame: DataFrame| {
            let urls = frame.column("url").unwrap().str().unwrap().clone();
            found.push((first, urls.get(0).unwrap().to_owned(), frame.height()));
            Ok(true)
        };
        reader.read_wanted(&file, &mut next, &mut each).unwrap();
        let expected = [(20, 10), (30, 10), (60, 10), (90, 5)]
            .map(|(first, rows)| (first, format!("http://a/{first}"), rows));
        assert_eq!(found, expected);
    }

    #[test]
    fn reading_stops_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let csv = format!("url\n{}", "http://a/\n".repeat(100_000));
        let file = write(dir.path(), "a.csv", csv.as_bytes());
        let mut batches = 0;
        reader(dir.path(), None, &[], 10)
            .read(&file, &|| false, &mut |_| {
                batches += 1;
                Ok(batches < 3)
            })
            .unwrap();
        assert_eq!(batches, 3);
        for name in ["a.csv", "a.csv.gz", "a.json"] {
            let file = match name {
                "a.json" => write(dir.path(), name, b"[{\"url\":\"u\"}]"),
                "a.csv.gz" => write(dir.path(), name, &gzip(csv.as_bytes())),
                _ => file.clone(),
            };
            let reader = reader(dir.path(), None, &[], 10);
            let mut batches = 0;
            reader
                .read(&file, &|| true, &mut |_| {
                    batches += 1;
                    Ok(false)
                })
                .unwrap();
            assert!(batches <= u32::from(name == "a.csv"), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_lines_give_a_row_each(lines in prop::collection::vec("[^\r\n\u{feff}]{1,20}", 0..40), rows in 1usize..20) {
            let dir = tempfile::tempdir().unwrap();
            let file = write(dir.path(), "a.txt", lines.join("\n").as_bytes());
            let batches = read(&reader(dir.path(), None, &[], rows), &file).unwrap();
            prop_assert!(batches.iter().rev().skip(1).all(|batch| batch.len() == rows));
            let read: Vec<String> = batches.into_iter().flatten().collect();
            let expected: Vec<String> = lines
                .iter()
                .map(|line| format!("{{\"url\":{}}}", serde_json::to_string(line).unwrap()))
                .collect();
            prop_assert_eq!(read, expected);
        }
    }
}
