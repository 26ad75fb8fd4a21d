//! The folder of the manifests: where a manifest of a name is, and which there are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use sightline_core::registry::nearest;

use crate::error::{Error, Fault, Problem, Where};
use crate::nightly::is_nightly;
use crate::schema::{self, Dataset, Model, Suite};
use crate::span::{ReadError, SourceFile};

/// The kinds of manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dataset,
    Model,
    Suite,
    Train,
}

impl Kind {
    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Model => "model",
            Self::Suite => "suite",
            Self::Train => "train",
        }
    }

    /// The folder below that of the manifests.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Dataset => "datasets",
            Self::Model => "models",
            Self::Suite => "suites",
            Self::Train => "train",
        }
    }
}

/// Every manifest of a folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// Datasets by name.
    pub datasets: Vec<Entry>,
    /// Models by name.
    pub models: Vec<Entry>,
    /// Suites by name.
    pub suites: Vec<Entry>,
    /// What is wrong with those that could not be read.
    pub problems: Vec<Problem>,
}

/// A manifest in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the file, without `.toml`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// As written; `None` when the manifest could not be read.
    pub description: Option<String>,
}

/// The folder of the manifests that the suite at `path` belongs to: the parent of `suites/`.
pub fn manifests_folder(path: &Path) -> Result<PathBuf, Error> {
    let suites = path
        .parent()
        .filter(|folder| folder.file_name() == Some(Kind::Suite.folder().as_ref()));
    let Some(suites) = suites else {
        return Err(Error::NoManifestsFolder {
            path: path.to_owned(),
        });
    };
    let folder = suites.parent().unwrap_or(Path::new(""));
    Ok(if folder.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        folder.to_owned()
    })
}

/// Lists the manifests below `folder`, with their descriptions. Only their layout is checked, not
/// what they refer to.
pub fn list(folder: &Path) -> Result<Listing, Error> {
    let mut problems = Vec::new();
    Ok(Listing {
        datasets: entries(folder, Kind::Dataset, &mut problems, |m: Dataset| {
            m.description
        })?,
        models: entries(folder, Kind::Model, &mut problems, |m: Model| m.description)?,
        suites: entries(folder, Kind::Suite, &mut problems, |m: Suite| m.description)?,
        problems,
    })
}

fn entries<T: DeserializeOwned>(
    folder: &Path,
    kind: Kind,
    problems: &mut Vec<Problem>,
    description: fn(T) -> String,
) -> Result<Vec<Entry>, Error> {
    let names = names(folder, kind).map_err(|source| Error::Io {
        path: folder.join(kind.folder()),
        source,
    })?;
    let mut entries = Vec::new();
    for name in names {
        let path = path_of(folder, kind, &name);
        let parsed = match SourceFile::read(&path) {
            // A list of suites stands among them.
            Ok(file) if kind == Kind::Suite && is_nightly(file.text()) => continue,
            Ok(file) => schema::parse::<T>(&Arc::new(file), problems),
            Err(source) => {
                problems.push(unreadable(&path, source));
                None
            }
        };
        entries.push(Entry {
            name,
            path,
            description: parsed
                .filter(|parsed| parsed.is_whole)
                .map(|parsed| description(parsed.value)),
        });
    }
    Ok(entries)
}

/// Path of the manifest of this kind and name.
pub(crate) fn path_of(folder: &Path, kind: Kind, name: &str) -> PathBuf {
    folder.join(kind.folder()).join(format!("{name}.toml"))
}

/// Names of the manifests of this kind, sorted; none when there is no such folder.
pub(crate) fn names(folder: &Path, kind: Kind) -> io::Result<Vec<String>> {
    names_in(&folder.join(kind.folder()))
}

/// The problem of a manifest that cannot be read, with the nearest names that its folder has.
pub(crate) fn unreadable(path: &Path, source: ReadError) -> Problem {
    let is_missing =
        matches!(&source, ReadError::Io { source } if source.kind() == io::ErrorKind::NotFound);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let near = match path.parent().map(names_in) {
        Some(Ok(names)) if is_missing => nearest(&stem, names.iter().map(String::as_str)),
        _ => Vec::new(),
    };
    Problem {
        fault: Fault::Unreadable {
            path: path.to_owned(),
            source,
            nearest: near,
        },
        place: Where::Nowhere,
    }
}

fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let files = match fs::read_dir(folder) {
        Ok(files) => files,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for file in files {
        let name = file?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".toml")) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_parent_of_suites() {
        let folder = |path: &str| manifests_folder(Path::new(path)).ok();
        assert_eq!(folder("m/suites/a.toml"), Some(PathBuf::from("m")));
        assert_eq!(folder("suites/a.toml"), Some(PathBuf::from(".")));
        assert_eq!(folder("/m/suites/a.toml"), Some(PathBuf::from("/m")));
        assert_eq!(folder("m/a.toml"), None);
        assert_eq!(folder("a.toml"), None);
    }

    #[test]
    fn a_broken_manifest_is_listed_and_told() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            (
                "models/b.toml",
                "schema = 1\nmodel = 'b'\nfamily = 'x'\ndescription = 'B.'",
            ),
            ("models/a.toml", "schema = 1\nmodel = 'a'"),
            ("models/c.toml", "schema"),
            ("models/notes.txt", ""),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let listing = list(folder.path()).unwrap();
        let models: Vec<_> = listing
            .models
            .iter()
            .map(|m| (m.name.as_str(), m.description.as_deref()))
            .collect();
        assert_eq!(models, [("a", None), ("b", Some("B.")), ("c", None)]);
        assert!(listing.datasets.is_empty() && listing.suites.is_empty());
        assert_eq!(listing.problems.len(), 3, "{:?}", listing.problems);
    }
}
