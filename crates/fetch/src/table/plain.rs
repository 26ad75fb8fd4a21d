//! Tables that cannot be scanned as they are, rewritten into ones that can.
//!
//! Compressed files are decompressed; a JSON array is rewritten as one compact object a line, which
//! keeps no more than one object in memory. The result lies in the output folder, where there is room,
//! under a name that is removed when it is dropped or, after a kill, at the next start.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::diagnose::unreadable;
use super::files::{InputFile, InputFormat};
use super::problem::{Part, PartProblem, TableProblem};
use crate::error::{Error, Result};

/// How `serde_json` says that a text is not UTF-8.
const NOT_UTF8: &str = "invalid unicode code point";
/// How the name of the rewritten table in the output folder begins; the number of the process follows.
const SCRATCH: &str = ".table.scratch";

/// A file that can be scanned.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) path: PathBuf,
    pub(super) format: InputFormat,
    is_scratch: bool,
}

impl Plain {
    /// Makes `file` scannable, with room for it in the folder `scratch`; `None` when `is_stopped` before
    /// it is.
    pub(super) fn of(
        file: &InputFile,
        scratch: &Path,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Self>> {
        if !file.gzip && file.format != InputFormat::Json {
            return Ok(Some(Self {
                path: file.place().to_owned(),
                format: file.format,
                is_scratch: false,
            }));
        }
        let plain = Self {
            path: scratch.join(format!("{SCRATCH}.{}", std::process::id())),
            format: match file.format {
                InputFormat::Json => InputFormat::Jsonl,
                format => format,
            },
            is_scratch: true,
        };
        let target = File::create(&plain.path).map_err(Error::output("create", &plain.path))?;
        let mut target = BufWriter::with_capacity(1 << 20, target);
        let mut source = Stoppable {
            source: open(file)?,
            is_stopped,
        };
        if is_stopped() {
            return Ok(None);
        }
        if file.format == InputFormat::Json {
            let written = array_to_lines(&mut source, &mut target);
            if is_stopped() {
                return Ok(None);
            }
            written.map_err(|e| {
                let problem = e.to_string();
                match e.classify() {
                    Category::Io => unreadable(file, e.into()),
                    Category::Syntax if problem.starts_with(NOT_UTF8) => TableProblem::Part {
                        part: Part::Line,
                        number: e.line() as u64,
                        problem: PartProblem::NotUtf8,
                    }
                    .of(file),
                    _ => TableProblem::Json(problem).of(file),
                }
            })?;
        } else {
            copy(&mut source, &mut target, file, &plain.path)?;
        }
        target
            .flush()
            .map_err(Error::output("write", &plain.path))?;
        Ok((!is_stopped()).then_some(plain))
    }

    /// Where a downloaded table lies in the folder `scratch`; one of a process at a time.
    pub(super) fn download(scratch: &Path) -> PathBuf {
        scratch.join(format!("{SCRATCH}.{}.download", std::process::id()))
    }

    /// Removes what a killed run left in the folder `scratch`.
    pub(super) fn clean(scratch: &Path) -> Result<()> {
        for entry in fs::read_dir(scratch).map_err(Error::output("list", scratch))? {
            let entry = entry.map_err(Error::output("list", scratch))?;
            if !entry.file_name().to_string_lossy().starts_with(SCRATCH) {
                continue;
            }
            let path = entry.path();
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::output("remove", &path)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if self.is_scratch {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The content of `file`, decompressed.
pub(super) fn open(file: &InputFile) -> Result<Box<dyn BufRead + Send>> {
    let source = File::open(file.place()).map_err(Error::read_table(&file.path))?;
    let source = BufReader::with_capacity(1 << 18, source);
    Ok(if file.gzip {
        Box::new(BufReader::with_capacity(
            1 << 18,
            MultiGzDecoder::new(source),
        ))
    } else {
        Box::new(source)
    })
}

/// A table that ends when it is told to.
struct Stoppable<'a> {
    source: Box<dyn BufRead + Send>,
    is_stopped: &'a dyn Fn() -> bool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_stopped)() {
            return Ok(0);
        }
        self.source.read(buffer)
    }
}

/// Copies, and tells errors of the source from errors of the target.
fn copy(
    source: &mut dyn Read,
    target: &mut dyn Write,
    file: &InputFile,
    path: &Path,
) -> Result<()> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => target
                .write_all(&buffer[..n])
                .map_err(Error::output("write", path))?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(file, e)),
        }
    }
}

fn array_to_lines(source: &mut dyn Read, target: &mut dyn Write) -> serde_json::Result<()> {
    let mut source = BufReader::with_capacity(1 << 16, source);
    // JSON must not have a byte order mark, and tools write it all the same.
    let start = source.fill_buf().map_err(serde_json::Error::io)?;
    if start.starts_with(b"\xef\xbb\xbf") {
        source.consume(3);
    }
    let mut deserializer = serde_json::Deserializer::from_reader(source);
    deserializer.deserialize_seq(Lines { target })?;
    deserializer.end()
}

/// Writes each object of an array as a line.
struct Lines<'a> {
    target: &'a mut dyn Write,
}

impl<'de> Visitor<'de> for Lines<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(object) = items.next_element::<Map<String, Value>>()? {
            serde_json::to_writer(&mut *self.target, &object)
                .map_err(serde::de::Error::custom)
                .and_then(|()| {
                    self.target
                        .write_all(b"\n")
                        .map_err(serde::de::Error::custom)
                })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(json: &str) -> Result<String, String> {
        let mut out = Vec::new();
        array_to_lines(&mut json.as_bytes(), &mut out).map_err(|e| e.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_array_becomes_a_line_for_each_object() {
        assert_eq!(
            lines("\u{feff} [ {\"a\": 1,\n \"b\": [\"x\\ny\"]}, {} ] \n").unwrap(),
            "{\"a\":1,\"b\":[\"x\\ny\"]}\n{}\n"
        );
        assert_eq!(lines("[]").unwrap(), "");
    }

    #[test]
    fn what_is_no_array_of_objects_is_refused_with_its_place() {
        for (json, problem) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            (
                "{\"url\": {}}",
                "invalid type: map, expected an array of objects",
            ),
            (
                "[{}, 3]",
                "invalid type: integer `3`, expected a map at line 1 column 7",
            ),
            ("[{}", "EOF while parsing a list at line 1 column 3"),
            ("[] x", "trailing characters at line 1 column 4"),
        ] {
            let error = lines(json).unwrap_err();
            assert!(error.starts_with(problem), "{json}: {error}");
        }
    }
}
