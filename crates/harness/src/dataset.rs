//! A planned dataset on this machine: its locked files as one stream of examples, and its classes.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sightline_core::SampleKey;
use sightline_core::registry::UnknownName;
use sightline_manifest::{Lock, LockedFile, Place, Plan, PlannedDataset, PlannedTask, Roots};
use sightline_models::VisualSpec;
use sightline_shard::{FORMATS, ShardFormat, ShardReader};
use sightline_store::Folder;

use crate::annotations::{Files, form};
use crate::error::ClassesProblem;
use crate::example::{Class, Content, Example};
use crate::task::ClassUse;
use crate::visuals::{Library, field_for};
use crate::{Error, Result};

/// Role of a shard in a lock.
pub(crate) const SHARD: &str = "shard";
/// Role of the list of classes in a lock.
pub(crate) const CLASSES: &str = "classes";
/// Role of an image file in a lock.
pub(crate) const IMAGE: &str = "image";
/// Role of a file of region features in a lock.
pub(crate) const REGIONS: &str = "regions";
/// Role of the list of keys in a lock.
pub(crate) const IDS: &str = "ids";
/// Role of a file of annotations in a lock, before what it is for.
const ANNOTATIONS: &str = "annotations-";

/// Longest list of classes in bytes.
const MAX_CLASSES_BYTES: u64 = 16 << 20;

/// A dataset whose files are where the lock says.
pub(crate) struct Dataset {
    /// Its name.
    pub(crate) name: String,
    source: Source,
    /// The samples of shards that are there, if not all are.
    ids: Option<Ids>,
    images: Vec<PathBuf>,
    regions: Vec<PathBuf>,
    pub(crate) classes: Classes,
}

/// Where examples come from.
enum Source {
    Shards {
        folder: Folder,
        shards: Vec<String>,
        format: &'static dyn ShardFormat,
    },
    /// Read as a whole: the largest published file has half a million examples.
    Annotations(Vec<Example>),
}

/// An example, and the bytes of its image where shards hold them.
pub(crate) struct Read {
    pub(crate) example: Example,
    pub(crate) image: Option<Bytes>,
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
    /// The dataset of `task`.
    pub(crate) fn open(
        plan: &Plan,
        lock: &Lock,
        roots: &Roots,
        task: &PlannedTask,
    ) -> Result<Self> {
        Self::open_beside(plan, lock, roots, task, &task.dataset)
    }

    /// The dataset called `name`, which `task` reads: its files are those of the lock, in the order of their names.
    /// Classes are read only for tasks that use them.
    pub(crate) fn open_beside(
        plan: &Plan,
        lock: &Lock,
        roots: &Roots,
        task: &PlannedTask,
        name: &str,
    ) -> Result<Self> {
        let planned = planned_beside(plan, task, name)?;
        let found = Found {
            owner: owner(name),
            lock,
            roots,
        };
        let all = |role, place: &Option<Place>| match place {
            Some(place) => found.paths(role, place),
            None => Ok(Vec::new()),
        };
        let (images, regions) = (
            all(IMAGE, &planned.images)?,
            all(REGIONS, &planned.regions)?,
        );
        let ids = match &planned.ids {
            Some(place) => Some(Ids::read(name, &found.one(IDS, place)?)?),
            None => None,
        };
        let source = match (&planned.shards, &planned.format, &planned.annotations) {
            (Some(place), Some(name), _) => {
                found.paths(SHARD, place)?;
                Source::Shards {
                    folder: folder_of(roots, place)?,
                    shards: found.names(SHARD),
                    format: format(name)?,
                }
            }
            (_, _, Some(annotations)) => {
                let mut paths = Vec::new();
                for (role, place) in &annotations.files {
                    let files = found.paths(&annotation_role(role), place)?;
                    paths.extend(files.into_iter().map(|path| (role.clone(), path)));
                }
                let form = form(&annotations.form)?;
                let files = Files::new(form, annotations.split.as_deref(), paths);
                let examples = form.read(&files.with_images(&images))?;
                Source::Annotations(match &ids {
                    Some(ids) => ids.only(examples)?,
                    None => examples,
                })
            }
            _ => {
                return Err(Error::NotLocked {
                    owner: found.owner,
                    role: SHARD.to_owned(),
                });
            }
        };
        let mut classes = Classes::default();
        let use_of_classes = crate::task::task(&task.kind)?.classes();
        if let Some(place) = planned
            .classes
            .as_ref()
            .filter(|_| use_of_classes != ClassUse::No)
        {
            let path = found.one(CLASSES, place)?;
            classes = Classes::read(planned.class_field.clone(), &path)?;
        }
        if use_of_classes == ClassUse::Needed
            && let Source::Annotations(examples) = &source
        {
            check_classes(name, examples, &classes)?;
        }
        Ok(Self {
            name: name.to_owned(),
            source,
            ids: ids.filter(|_| planned.shards.is_some()),
            images,
            regions,
            classes,
        })
    }

    /// The first `limit` examples, in order; after an error nothing more.
    pub(crate) fn examples(&self, limit: Option<u64>) -> Examples<'_> {
        Examples {
            dataset: self,
            rest: match &self.source {
                Source::Shards { shards, .. } => Rest::Shards {
                    shards: shards.iter(),
                    reader: None,
                    missing: self.ids.as_ref().map(|ids| ids.keys.clone()),
                },
                Source::Annotations(examples) => Rest::Annotations(examples.iter()),
            },
            left: limit.unwrap_or(u64::MAX),
        }
    }

    fn not_there(&self, key: &SampleKey) -> Error {
        Error::IdNotThere {
            dataset: self.name.clone(),
            key: key.to_string(),
        }
    }

    /// Its images as a model with this `input` takes them.
    pub(crate) fn library(&self, input: &VisualSpec) -> Result<Library> {
        match (input, &self.source) {
            (VisualSpec::Pixels(_) | VisualSpec::Encoded, Source::Shards { .. }) => {
                Ok(Library::Shards)
            }
            (VisualSpec::Pixels(_) | VisualSpec::Encoded, _) if !self.images.is_empty() => {
                Library::files(&self.name, self.images.clone())
            }
            (VisualSpec::Regions { .. }, _) if !self.regions.is_empty() => {
                Library::regions(&self.name, &self.regions)
            }
            _ => Err(Error::NoVisuals {
                dataset: self.name.clone(),
                field: field_for(input),
            }),
        }
    }
}

/// Checks that a planned dataset has what a model with this `input` takes.
pub(crate) fn check_visuals(
    name: &str,
    dataset: &PlannedDataset,
    input: &VisualSpec,
) -> Result<()> {
    let has = match input {
        VisualSpec::Pixels(_) | VisualSpec::Encoded => {
            dataset.shards.is_some() || dataset.images.is_some()
        }
        VisualSpec::Regions { .. } => dataset.regions.is_some(),
        _ => false,
    };
    if has {
        return Ok(());
    }
    Err(Error::NoVisuals {
        dataset: name.to_owned(),
        field: field_for(input),
    })
}

/// Every file of a planned dataset: its place and its role in the lock.
pub(crate) fn places(dataset: &PlannedDataset) -> Vec<(String, &Place)> {
    let annotations = dataset.annotations.iter().flat_map(|a| &a.files);
    [
        (SHARD, &dataset.shards),
        (CLASSES, &dataset.classes),
        (IMAGE, &dataset.images),
        (REGIONS, &dataset.regions),
        (IDS, &dataset.ids),
    ]
    .into_iter()
    .filter_map(|(role, place)| Some((role.to_owned(), place.as_ref()?)))
    .chain(annotations.map(|(role, place)| (annotation_role(role), place)))
    .collect()
}

/// How a lock names the role of a file of annotations.
pub(crate) fn annotation_role(role: &str) -> String {
    format!("{ANNOTATIONS}{role}")
}

/// Where the files of `role` of a dataset are, which start from `place`; none may have changed its length.
pub(crate) fn locked_paths(
    lock: &Lock,
    roots: &Roots,
    dataset: &str,
    role: &str,
    place: &Place,
) -> Result<Vec<PathBuf>> {
    let owner = owner(dataset);
    Found { owner, lock, roots }.paths(role, place)
}

/// The locked files of a dataset.
struct Found<'a> {
    owner: String,
    lock: &'a Lock,
    roots: &'a Roots,
}

impl<'a> Found<'a> {
    /// Those of `role`, in the order of their names.
    fn locked(&self, role: &str) -> Vec<&'a LockedFile> {
        let mut files: Vec<&LockedFile> = self
            .lock
            .files
            .iter()
            .filter(|file| file.owner == self.owner && file.role == role)
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    /// The one file of `role`, which is at `place`.
    fn one(&self, role: &str, place: &Place) -> Result<PathBuf> {
        let [file] = self.locked(role)[..] else {
            return Err(Error::NotLocked {
                owner: self.owner.clone(),
                role: role.to_owned(),
            });
        };
        let path = path_of(self.roots, place)?;
        unchanged(&path, file)?;
        Ok(path)
    }

    fn names(&self, role: &str) -> Vec<String> {
        let files = self.locked(role).into_iter();
        files.map(|file| file.name.clone()).collect()
    }

    /// Where the files of `role` are, which start from `place`; none may have changed its length.
    fn paths(&self, role: &str, place: &Place) -> Result<Vec<PathBuf>> {
        let files = self.locked(role);
        if files.is_empty() {
            return Err(Error::NotLocked {
                owner: self.owner.clone(),
                role: role.to_owned(),
            });
        }
        let folder = folder_of(self.roots, place)?;
        files
            .into_iter()
            .map(|file| {
                let path = folder.path_of(&file.name)?;
                unchanged(&path, file)?;
                Ok(path)
            })
            .collect()
    }
}

/// Examples of a dataset in order.
pub(crate) struct Examples<'a> {
    dataset: &'a Dataset,
    rest: Rest<'a>,
    left: u64,
}

enum Rest<'a> {
    Shards {
        shards: std::slice::Iter<'a, String>,
        reader: Option<Box<dyn ShardReader>>,
        /// Keys that are still to be found.
        missing: Option<HashSet<SampleKey>>,
    },
    Annotations(std::slice::Iter<'a, Example>),
}

impl Examples<'_> {
    fn read(&mut self) -> Result<Option<Read>> {
        let Source::Shards { folder, format, .. } = &self.dataset.source else {
            return Ok(match &mut self.rest {
                Rest::Annotations(examples) => examples.next().map(|example| Read {
                    example: example.clone(),
                    image: None,
                }),
                Rest::Shards { .. } => None,
            });
        };
        let Rest::Shards {
            shards,
            reader,
            missing,
        } = &mut self.rest
        else {
            return Ok(None);
        };
        loop {
            if let Some(reader) = reader
                && let Some(mut sample) = reader.next_sample().map_err(shard)?
            {
                let is_listed =
                    (self.dataset.ids.as_ref()).is_none_or(|ids| ids.keys.contains(&sample.key));
                if !is_listed {
                    continue;
                }
                if let Some(missing) = missing {
                    missing.remove(&sample.key);
                }
                let image = sample.image.take().map(|image| image.bytes);
                let example = self.dataset.classes.example(sample);
                return Ok(Some(Read { example, image }));
            }
            let Some(name) = shards.next() else {
                *reader = None;
                return match missing.iter().flatten().min() {
                    Some(key) => Err(self.dataset.not_there(key)),
                    None => Ok(None),
                };
            };
            *reader = Some(format.open(folder, name).map_err(shard)?);
        }
    }
}

impl Iterator for Examples<'_> {
    type Item = Result<Read>;

    fn next(&mut self) -> Option<Result<Read>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        match self.read() {
            Ok(read) => read.map(Ok),
            Err(error) => {
                self.left = 0;
                Some(Err(error))
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
    pub(crate) fn read(field: Option<String>, path: &Path) -> Result<Self> {
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

/// Checks that every class is one of the list.
fn check_classes(dataset: &str, examples: &[Example], classes: &Classes) -> Result<()> {
    let listed = classes.names.len();
    for example in examples {
        let found = match &example.content {
            Content::Sample {
                class: Class::Known(class),
                ..
            } => *class as usize + 1,
            Content::Labels(labels) => labels.len(),
            Content::Boxes { categories, .. } => categories.is_seen.len(),
            _ => continue,
        };
        let is_one = matches!(&example.content, Content::Sample { .. });
        if found > listed || (!is_one && found != listed) {
            return Err(Error::OtherClasses {
                dataset: dataset.to_owned(),
                found,
                listed,
            });
        }
    }
    Ok(())
}

/// A list of keys.
pub(crate) struct Ids {
    dataset: String,
    keys: HashSet<SampleKey>,
}

impl Ids {
    /// Reads a list: UTF-8, one key a line; blank lines say nothing, nor does what follows a `#` at the beginning of a line or
    /// behind a blank (keys of published files have others).
    pub(crate) fn read(dataset: &str, path: &Path) -> Result<Self> {
        let refuse = |line, problem| Error::Classes {
            path: path.to_owned(),
            line,
            problem,
        };
        let text = fs::read_to_string(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        let mut keys = HashSet::new();
        for (line, number) in text.lines().zip(1..) {
            let name = uncommented(line).trim();
            if name.is_empty() {
                continue;
            }
            let key = SampleKey::new(name)
                .map_err(|_| refuse(number, ClassesProblem::Key(name.to_owned())))?;
            if !keys.insert(key) {
                return Err(refuse(number, ClassesProblem::Twice(name.to_owned())));
            }
        }
        if keys.is_empty() {
            return Err(refuse(1, ClassesProblem::NoKey));
        }
        Ok(Self {
            dataset: dataset.to_owned(),
            keys,
        })
    }

    /// The examples of the list, in the order of the dataset. Each key must be there.
    pub(crate) fn only(&self, mut examples: Vec<Example>) -> Result<Vec<Example>> {
        examples.retain(|example| self.keys.contains(&example.key));
        let found: HashSet<&SampleKey> = examples.iter().map(|example| &example.key).collect();
        match self.keys.iter().filter(|key| !found.contains(key)).min() {
            None => Ok(examples),
            Some(key) => Err(Error::IdNotThere {
                dataset: self.dataset.clone(),
                key: key.to_string(),
            }),
        }
    }
}

/// A line of a list of keys without its comment.
fn uncommented(line: &str) -> &str {
    let mut marks = line.match_indices('#').map(|(at, _)| at);
    let begins = |at: &usize| {
        line[..*at]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace)
    };
    marks.find(begins).map_or(line, |at| &line[..at])
}

/// The plan of a task's dataset.
pub(crate) fn planned<'a>(plan: &'a Plan, task: &PlannedTask) -> Result<&'a PlannedDataset> {
    planned_beside(plan, task, &task.dataset)
}

/// The plan of the dataset called `name`, which a task reads.
pub(crate) fn planned_beside<'a>(
    plan: &'a Plan,
    task: &PlannedTask,
    name: &str,
) -> Result<&'a PlannedDataset> {
    plan.datasets.get(name).ok_or_else(|| Error::Unplanned {
        task: task.name.clone(),
        kind: "dataset",
        name: name.to_owned(),
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

fn shard(source: sightline_shard::Error) -> Error {
    Error::Shard { source }
}

pub(crate) fn format(name: &str) -> Result<&'static dyn ShardFormat> {
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
