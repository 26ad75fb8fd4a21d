//! A planned dataset on this machine: its locked shards as one stream of samples, and its classes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use sightline_core::Sample;
use sightline_core::registry::UnknownName;
use sightline_manifest::{Lock, LockedFile, Place, Plan, PlannedDataset, PlannedTask, Roots};
use sightline_shard::{FORMATS, ShardFormat, ShardReader};
use sightline_store::Folder;

use crate::error::ClassesProblem;
use crate::{Error, Result};

/// Role of a shard in a lock.
pub(crate) const SHARD: &str = "shard";
/// Role of the list of classes in a lock.
pub(crate) const CLASSES: &str = "classes";

/// Longest list of classes in bytes.
const MAX_CLASSES_BYTES: u64 = 16 << 20;

/// A dataset whose files are where the lock says.
#[derive(Debug)]
pub(crate) struct Dataset {
    folder: Folder,
    shards: Vec<String>,
    format: &'static dyn ShardFormat,
    pub(crate) classes: Classes,
}

/// The classes of a dataset, and where a sample names its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    /// Metadata field.
    pub(crate) field: Option<String>,
    /// Names in the order of the list.
    pub(crate) names: Vec<String>,
    by_name: HashMap<String, Name>,
}

/// What a name of the list stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The class of this index.
    Of(u32),
    /// Several classes, as "crane" does in some published lists.
    Ambiguous,
}

impl Dataset {
    /// The dataset of `task`: the shards are those of the lock, in the order of their names. Classes
    /// are read only for tasks that need them.
    pub(crate) fn open(
        plan: &Plan,
        lock: &Lock,
        roots: &Roots,
        task: &PlannedTask,
    ) -> Result<Self> {
        let planned = planned(plan, task)?;
        let owner = owner(&task.dataset);
        let locked = |role: &str| -> Vec<&LockedFile> {
            let mut files: Vec<&LockedFile> = lock
                .files
                .iter()
                .filter(|file| file.owner == owner && file.role == role)
                .collect();
            files.sort_by(|a, b| a.name.cmp(&b.name));
            files
        };
        let shards = locked(SHARD);
        if shards.is_empty() {
            return Err(Error::NotLocked { owner, role: SHARD });
        }
        let folder = folder_of(roots, &planned.shards)?;
        for shard in &shards {
            unchanged(&folder.path_of(&shard.name)?, shard)?;
        }
        let mut classes = Classes::default();
        let needs_classes = crate::task::task(&task.kind)?.needs_classes();
        if let Some(place) = planned.classes.as_ref().filter(|_| needs_classes) {
            let [file] = locked(CLASSES)[..] else {
                return Err(Error::NotLocked {
                    owner,
                    role: CLASSES,
                });
            };
            let path = path_of(roots, place)?;
            unchanged(&path, file)?;
            classes = Classes::read(planned.class_field.clone(), &path)?;
        }
        Ok(Self {
            folder,
            shards: shards.into_iter().map(|file| file.name.clone()).collect(),
            format: format(&planned.format)?,
            classes,
        })
    }

    /// The first `limit` samples of all shards, in order; after an error nothing more.
    pub(crate) fn samples(&self, limit: Option<u64>) -> Samples<'_> {
        Samples {
            dataset: self,
            shards: self.shards.iter(),
            reader: None,
            left: limit.unwrap_or(u64::MAX),
        }
    }
}

/// Samples of a dataset in order.
pub(crate) struct Samples<'a> {
    dataset: &'a Dataset,
    shards: std::slice::Iter<'a, String>,
    reader: Option<Box<dyn ShardReader>>,
    left: u64,
}

impl Samples<'_> {
    fn read(&mut self) -> sightline_shard::Result<Option<Sample>> {
        loop {
            if let Some(reader) = &mut self.reader
                && let Some(sample) = reader.next_sample()?
            {
                return Ok(Some(sample));
            }
            let Some(shard) = self.shards.next() else {
                self.reader = None;
                return Ok(None);
            };
            self.reader = Some(self.dataset.format.open(&self.dataset.folder, shard)?);
        }
    }
}

impl Iterator for Samples<'_> {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Result<Sample>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        match self.read() {
            Ok(sample) => sample.map(Ok),
            Err(source) => {
                self.left = 0;
                Some(Err(Error::Shard { source }))
            }
        }
    }
}

impl Classes {
    /// Classes of these names; `field` is where a sample names its own.
    pub(crate) fn new(field: Option<String>, names: Vec<String>) -> Self {
        let mut by_name = HashMap::new();
        for (name, index) in names.iter().zip(0..) {
            by_name
                .entry(name.clone())
                .and_modify(|name| *name = Name::Ambiguous)
                .or_insert(Name::Of(index));
        }
        Self {
            field,
            names,
            by_name,
        }
    }

    /// What `name` stands for.
    pub(crate) fn named(&self, name: &str) -> Option<Name> {
        self.by_name.get(name).copied()
    }

    /// Reads a list of names: UTF-8, one a line, none empty.
    fn read(field: Option<String>, path: &Path) -> Result<Self> {
        let refuse = |line, problem| Error::Classes {
            path: path.to_owned(),
            line,
            problem,
        };
        let bytes = fs::read(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        if bytes.len() as u64 > MAX_CLASSES_BYTES {
            let limit = MAX_CLASSES_BYTES;
            return Err(refuse(1, ClassesProblem::TooLong { limit }));
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = before.split(|&b| b == b'\n').count();
            refuse(line, ClassesProblem::NotUtf8)
        })?;
        let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        if names.is_empty() {
            return Err(refuse(1, ClassesProblem::None));
        }
        if let Some(number) = names.iter().position(String::is_empty) {
            return Err(refuse(number + 1, ClassesProblem::Empty));
        }
        Ok(Self::new(field, names))
    }
}

/// The plan of a task's dataset.
pub(crate) fn planned<'a>(plan: &'a Plan, task: &PlannedTask) -> Result<&'a PlannedDataset> {
    plan.datasets
        .get(&task.dataset)
        .ok_or_else(|| Error::Unplanned {
            task: task.name.clone(),
            kind: "dataset",
            name: task.dataset.clone(),
        })
}

/// How a lock names a dataset.
pub(crate) fn owner(dataset: &str) -> String {
    format!("dataset:{dataset}")
}

/// The folder below which the pattern of a place is expanded.
pub(crate) fn folder_of(roots: &Roots, place: &Place) -> Result<Folder> {
    Ok(Folder::open(match place {
        Place::Data(_) => roots.data.clone(),
        Place::Manifests(_) => roots.manifests.clone(),
        Place::Given(_) | Place::Hub(_) => path_of(roots, place)?,
    })?)
}

/// What a place says below its root.
pub(crate) fn below(place: &Place) -> &str {
    match place {
        Place::Data(path) | Place::Manifests(path) => path,
        Place::Given(_) | Place::Hub(_) => "",
    }
}

/// The path of a place on this machine.
pub(crate) fn path_of(roots: &Roots, place: &Place) -> Result<PathBuf> {
    roots.path(place).ok_or_else(|| Error::NotGiven {
        model: match place {
            Place::Given(model) | Place::Hub(model) => model.clone(),
            Place::Data(path) | Place::Manifests(path) => path.clone(),
        },
    })
}

/// Checks that a file still has the length it was locked with: what is cheap to check before every
/// run. Its bytes are compared when a lock is made again.
pub(crate) fn unchanged(path: &Path, locked: &LockedFile) -> Result<()> {
    let found = fs::metadata(path).map(|meta| meta.len());
    match found {
        Ok(bytes) if bytes == locked.bytes => Ok(()),
        Ok(bytes) => Err(Error::Changed {
            path: path.to_owned(),
            locked: locked.bytes,
            found: bytes,
        }),
        Err(source) => Err(Error::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

fn format(name: &str) -> Result<&'static dyn ShardFormat> {
    let found = FORMATS.iter().find(|format| format.name() == name);
    found.copied().ok_or_else(|| Error::UnknownName {
        source: UnknownName::among("shard format", name, FORMATS.iter().map(|f| f.name())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Classes> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("classes.txt");
        fs::write(&path, text).unwrap();
        Classes::read(None, &path)
    }

    #[test]
    fn class_names_stand_one_a_line() {
        let classes = read("red circle\r\n  blé \n".as_bytes()).unwrap();
        assert_eq!(classes.names, ["red circle", "blé"]);
        assert_eq!(classes.named("blé"), Some(Name::Of(1)));
        let classes = read(b"crane\ncat\ncrane\n").unwrap();
        assert_eq!(classes.named("crane"), Some(Name::Ambiguous));
        assert_eq!(classes.named("cat"), Some(Name::Of(1)));
        for (text, message) in [
            (&b""[..], "line 1: holds no class"),
            (b"a\n\nb\n", "line 2: is empty"),
            (b"a\nb\n\xff\n", "line 3: is not UTF-8"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.ends_with(message), "{error}");
        }
    }
}
