//! Which files make up the table, and in which format.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Format of a table, whether or not it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputFormat {
    /// One URL a line.
    Txt,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// Apache Parquet.
    Parquet,
}

impl InputFormat {
    /// Every format.
    pub const ALL: [Self; 6] = [
        Self::Txt,
        Self::Csv,
        Self::Tsv,
        Self::Jsonl,
        Self::Json,
        Self::Parquet,
    ];

    /// Its file extension, which is also its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Txt => "txt",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }

    /// The format and compression that a file name tells.
    fn of(path: &Path) -> Option<(Self, bool)> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let (name, gzip) = match name.strip_suffix(".gz") {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        let (_, extension) = name.rsplit_once('.')?;
        let format = match extension {
            "ndjson" => Self::Jsonl,
            "pq" => Self::Parquet,
            extension => *Self::ALL.iter().find(|f| f.as_str() == extension)?,
        };
        Some((format, gzip))
    }
}

/// One file of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputFile {
    pub(crate) path: PathBuf,
    pub(crate) format: InputFormat,
    pub(crate) gzip: bool,
}

impl InputFile {
    /// Whether rows can be read without those before them.
    pub(crate) fn can_seek(&self) -> bool {
        self.format == InputFormat::Parquet && !self.gzip
    }
}

/// The files of the table at `path`, in order.
pub(crate) fn find(path: &Path, format: Option<InputFormat>) -> Result<Vec<InputFile>> {
    let metadata = fs::metadata(path).map_err(Error::read_table(path))?;
    if !metadata.is_dir() {
        let told = InputFormat::of(path);
        let gzip = match told {
            Some((_, gzip)) => gzip,
            None => path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("gz")),
        };
        let format =
            format
                .or(told.map(|(format, _)| format))
                .ok_or_else(|| Error::TableFormat {
                    path: path.to_owned(),
                })?;
        return Ok(vec![InputFile {
            path: path.to_owned(),
            format,
            gzip,
        }]);
    }

    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::read_table(path))? {
        let entry = entry.map_err(Error::read_table(path))?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let Some((found, gzip)) = InputFormat::of(&path).filter(|_| !hidden) else {
            continue;
        };
        if format.is_none_or(|format| format == found) && path.is_file() {
            files.push(InputFile {
                path,
                format: found,
                gzip,
            });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut formats: Vec<InputFormat> = files.iter().map(|file| file.format).collect();
    formats.sort_by_key(|format| format.as_str());
    formats.dedup();
    match formats.len() {
        0 => Err(Error::NoTable {
            path: path.to_owned(),
        }),
        1 => Ok(files),
        _ => Err(Error::MixedFormats {
            path: path.to_owned(),
            formats: formats.iter().map(|f| f.as_str().to_owned()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_format_and_compression() {
        let of = |name: &str| InputFormat::of(Path::new(name));
        assert_eq!(of("a.csv"), Some((InputFormat::Csv, false)));
        assert_eq!(of("a.b.PARQUET.GZ"), Some((InputFormat::Parquet, true)));
        assert_eq!(of("a.ndjson.gz"), Some((InputFormat::Jsonl, true)));
        assert_eq!(of("csv"), None);
        assert_eq!(of("a.gz"), None);
        assert_eq!(of("a.xlsx"), None);
    }

    #[test]
    fn a_folder_is_its_files_of_one_format_sorted() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| fs::write(dir.path().join(name), "").unwrap();
        let names = |format| -> Vec<String> {
            let files = find(dir.path(), format).unwrap();
            files
                .iter()
                .map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        assert!(matches!(find(dir.path(), None), Err(Error::NoTable { .. })));
        for name in ["b.csv", "a.csv.gz", "README.md", ".hidden.csv"] {
            touch(name);
        }
        fs::create_dir(dir.path().join("folder.csv")).unwrap();
        assert_eq!(names(None), ["a.csv.gz", "b.csv"]);
        touch("c.parquet");
        let error = find(dir.path(), None).unwrap_err();
        assert!(error.to_string().contains("csv, parquet"), "{error}");
        assert_eq!(names(Some(InputFormat::Parquet)), ["c.parquet"]);
    }

    #[test]
    fn a_missing_file_and_an_unknown_name_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("urls");
        assert!(matches!(find(&path, None), Err(Error::ReadTable { .. })));
        fs::write(&path, "").unwrap();
        assert!(matches!(find(&path, None), Err(Error::TableFormat { .. })));
        assert!(find(&path, Some(InputFormat::Txt)).is_ok());
    }
}
