//! Which files make up the table, and in which format.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sightline_core::Digest;
use sightline_store::glob::locate_in;
use sightline_store::{Kind, Location, Stores, is_address};

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
    /// Where it is, as it is shown to people.
    pub(crate) path: PathBuf,
    pub(crate) format: InputFormat,
    pub(crate) gzip: bool,
    /// The address of an object that is to be downloaded.
    pub(crate) origin: Option<PathBuf>,
    /// Where that is, once it is.
    pub(crate) local: Option<PathBuf>,
    /// Length and digest that it must have then.
    pub(crate) expected: Option<(u64, Digest)>,
}

impl InputFile {
    /// The file at `place`, a path or an address.
    pub(super) fn new(place: PathBuf, format: InputFormat, gzip: bool) -> Self {
        let origin = is_address(&place).then(|| place.clone());
        Self {
            path: shown(place),
            format,
            gzip,
            origin,
            local: None,
            expected: None,
        }
    }

    /// The file to open.
    pub(crate) fn place(&self) -> &Path {
        self.local.as_deref().unwrap_or(&self.path)
    }

    /// Whether it is read where it lies, and needs no room for a copy.
    pub(crate) fn is_read_in_place(&self) -> bool {
        let is_rewritten = self.gzip || self.format == InputFormat::Json;
        !is_rewritten && self.origin.is_none()
    }

    /// Whether rows can be read without those before them.
    pub(crate) fn can_seek(&self) -> bool {
        self.format == InputFormat::Parquet && !self.gzip
    }
}

/// A place without the query that an address may have, which may be a signature.
fn shown(place: PathBuf) -> PathBuf {
    match Location::of(&place) {
        Ok(Location::Remote(address)) => address.to_string().into(),
        _ => place,
    }
}

/// Whether `path` stands for several files: it has a wildcard, and no file is called so.
pub(crate) fn is_pattern(path: &Path) -> bool {
    let has_wildcard = path
        .to_str()
        .is_some_and(|text| text.contains(['*', '[', '{', '?']));
    let is_web = path.starts_with("http:") || path.starts_with("https:");
    has_wildcard && !is_web && !path.exists()
}

/// The files of the table at `path`, in order: a file, those of a folder, or those that a pattern matches.
pub(crate) fn find(
    stores: &Stores,
    path: &Path,
    format: Option<InputFormat>,
) -> Result<Vec<InputFile>> {
    let failed = |error| Error::read_from(&shown(path.to_owned()))(error);
    if is_pattern(path) {
        let pattern = path.to_string_lossy();
        let (folder, names) = locate_in(stores, &pattern, "*").map_err(failed)?;
        let places = names.into_iter().map(|name| folder.shown(&name));
        let all: Vec<PathBuf> = places.collect();
        return match format {
            // What a pattern names is meant, whatever it is called.
            Some(_) => all.into_iter().map(|place| single(place, format)).collect(),
            None => of_one_format(path, &all, None),
        };
    }
    match stores.kind(path).map_err(failed)? {
        Kind::Object => Ok(vec![single(path.to_owned(), format)?]),
        Kind::Folder => {
            let folder = stores.folder(path).map_err(failed)?;
            let entries = folder.entries().map_err(failed)?;
            let all: Vec<PathBuf> = entries
                .into_iter()
                .filter(|entry| !entry.name.starts_with('.'))
                .map(|entry| folder.shown(&entry.name))
                .collect();
            of_one_format(path, &all, format)
        }
        Kind::Nothing => {
            let missing = || std::io::ErrorKind::NotFound.into();
            let source = if is_address(path) {
                missing()
            } else {
                std::fs::metadata(path).err().unwrap_or_else(missing)
            };
            Err(Error::read_table(path)(source))
        }
    }
}

/// One file, which is a table because the person says so.
fn single(place: PathBuf, format: Option<InputFormat>) -> Result<InputFile> {
    let path = shown(place.clone());
    let told = InputFormat::of(&path);
    let gzip = match told {
        Some((_, gzip)) => gzip,
        None => path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gz")),
    };
    let format = format
        .or(told.map(|(format, _)| format))
        .ok_or(Error::TableFormat { path })?;
    Ok(InputFile::new(place, format, gzip))
}

/// The tables among `all`, which must be of one format.
fn of_one_format(
    path: &Path,
    all: &[PathBuf],
    format: Option<InputFormat>,
) -> Result<Vec<InputFile>> {
    let mut files: Vec<InputFile> = all
        .iter()
        .filter_map(|place| {
            let (found, gzip) = InputFormat::of(place)?;
            let is_wanted = format.is_none_or(|format| format == found);
            is_wanted.then(|| InputFile::new(place.clone(), found, gzip))
        })
        .collect();
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
    use std::fs;

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
            let files = find(&Stores::default(), dir.path(), format).unwrap();
            files
                .iter()
                .map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        assert!(matches!(
            find(&Stores::default(), dir.path(), None),
            Err(Error::NoTable { .. })
        ));
        for name in ["b.csv", "a.csv.gz", "README.md", ".hidden.csv"] {
            touch(name);
        }
        fs::create_dir(dir.path().join("folder.csv")).unwrap();
        assert_eq!(names(None), ["a.csv.gz", "b.csv"]);
        touch("c.parquet");
        let error = find(&Stores::default(), dir.path(), None).unwrap_err();
        assert!(error.to_string().contains("csv, parquet"), "{error}");
        assert_eq!(names(Some(InputFormat::Parquet)), ["c.parquet"]);
    }

    #[test]
    fn a_missing_file_and_an_unknown_name_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("urls");
        assert!(matches!(
            find(&Stores::default(), &path, None),
            Err(Error::ReadTable { .. })
        ));
        fs::write(&path, "").unwrap();
        assert!(matches!(
            find(&Stores::default(), &path, None),
            Err(Error::TableFormat { .. })
        ));
        assert!(find(&Stores::default(), &path, Some(InputFormat::Txt)).is_ok());
    }

    #[test]
    fn tables_of_stores_are_objects_folders_and_patterns() {
        let stores = Stores::in_memory();
        let bucket = stores.create(Path::new("s3://b")).unwrap();
        for name in [
            "t/b.csv",
            "t/a.csv.gz",
            "t/README.md",
            "t/below/c.csv",
            "u.parquet",
        ] {
            bucket.write(name, b"").unwrap();
        }
        let names = |place: &str| -> Vec<String> {
            let files = find(&stores, Path::new(place), None).unwrap();
            files.iter().map(|f| f.path.display().to_string()).collect()
        };
        assert_eq!(names("s3://b/t"), ["s3://b/t/a.csv.gz", "s3://b/t/b.csv"]);
        assert_eq!(names("s3://b/t/b.csv"), ["s3://b/t/b.csv"]);
        assert_eq!(
            names("s3://b/**/*.csv"),
            ["s3://b/t/b.csv", "s3://b/t/below/c.csv"]
        );
        assert_eq!(
            names("https://h/u.parquet?sig=secret"),
            ["https://h/u.parquet"]
        );
        for (place, expected) in [("s3://b/none", "s3://b/none"), ("s3://b/*.csv", "*.csv")] {
            let error = find(&stores, Path::new(place), None).unwrap_err();
            let text = format!("{error} {:?}", std::error::Error::source(&error));
            assert!(matches!(error, Error::ReadTable { .. }), "{text}");
            assert!(error.is_usage() && text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_of_local_files_too() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.csv", "b.csv", "c.txt", "[d].csv"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found = |name: &str| find(&Stores::default(), &dir.path().join(name), None).unwrap();
        assert_eq!(found("*.csv").len(), 3);
        assert_eq!(found("{a,b}.csv").len(), 2);
        assert_eq!(
            found("[d].csv").len(),
            1,
            "a file that is called like a pattern"
        );
    }
}
