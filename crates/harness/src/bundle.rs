//! A suite as one file, for a machine without a network.
//!
//! # Format
//!
//! A tar of regular files whose owners and times are zero, so that the same suite gives the same bytes:
//!
//! | name | what |
//! | --- | --- |
//! | `bundle.json` | the first: [`Contents`] |
//! | `lock.json` | the lock |
//! | `manifests/…` | the suite, its datasets and models, and what lies beside them |
//! | `data/…` | files of datasets, checkpoints and programs below the data folder |
//! | `checkpoints/<model>/…` | checkpoints from elsewhere |
//!
//! The others follow in the order of their names. Readers MUST refuse a `schema` they do not know, a name that leaves the
//! folder, a file that `bundle.json` does not list, and other bytes than it says. Unpacked, `bundle.json` is written last:
//! a folder that has it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_core::digest::Hasher;
use sightline_core::{Digest, Hint, Progress};
use sightline_manifest::{Lock, LockedFile, Place, Plan, PlannedOutside, Roots};
use sightline_store::{AtomicFile, digest_file};
use tar::{Archive, Builder, EntryType, Header};

use crate::dataset::{owner, path_of, places};

/// Version of the layout.
pub const SCHEMA: u32 = 1;
/// The file that says what is in a bundle.
pub const CONTENTS: &str = "bundle.json";
/// The lock in a bundle.
pub const LOCK: &str = "lock.json";

/// Longest list of contents in bytes.
const MAX_CONTENTS_BYTES: u64 = 1 << 28;

/// What is in a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the suite.
    pub suite: String,
    /// What of the suite was chosen.
    pub chosen: Chosen,
    /// Folders of checkpoints from elsewhere: by the name of the model that one was given for, or its name on the hub.
    pub checkpoints: BTreeMap<String, String>,
    /// Models whose checkpoint is from the hub, and where it is there.
    pub sources: BTreeMap<String, String>,
    /// Every other file, sorted by name.
    pub files: Vec<Packed>,
}

/// What of a suite was chosen on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Models instead of the suite's.
    pub models: Option<Vec<String>>,
    /// Tasks of the suite.
    pub tasks: Option<Vec<String>>,
    /// Only the first so many examples.
    pub limit: Option<u64>,
    /// Models whose checkpoint was given.
    pub given: Vec<String>,
}

/// A file in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Its name, with `/` between its parts.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// Why a bundle cannot be made or unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file that the system does not let us read or write.
    #[error("`{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file of the store.
    #[error(transparent)]
    Store(#[from] sightline_store::Error),
    /// A plan or lock without the files that it needs.
    #[error(transparent)]
    Harness(#[from] Box<crate::Error>),
    /// A file that lies outside the folders of its suite.
    #[error("`{name}` of {owner} lies outside its folder and cannot be packed")]
    Outside {
        /// The dataset or model.
        owner: String,
        /// The file.
        name: String,
    },
    /// A file that changed while it was packed.
    #[error("`{}` changed while it was packed", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// No bundle, or a damaged one.
    #[error("`{}` {problem}", path.display())]
    Damaged {
        /// The bundle.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder that has something in it.
    #[error("`{}` is not empty", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A model behind an address.
    #[error("model `{model}` is behind the address `{url}`, which no file holds")]
    Server {
        /// The model.
        model: String,
        /// The address.
        url: String,
    },
}

impl Hint for BundleError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Store(error) => return error.hints(),
            Self::Harness(error) => return error.hints(),
            Self::Outside { .. } => "Put the file into the folder of its dataset or checkpoint.",
            Self::Changed { .. } => "Run the same command again.",
            Self::Damaged { .. } => "Copy the bundle again, or make it again.",
            Self::NotEmpty { .. } => "Choose a folder that is new or empty.",
            Self::Server { .. } => "Leave the model out with --models.",
            Self::Io { .. } => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

type Result<T, E = BundleError> = std::result::Result<T, E>;

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> BundleError + use<> {
    let path = path.to_owned();
    move |source| BundleError::Io { path, source }
}

/// Packs a suite with everything that `lock` names into the file `target`; `chosen` is what the plan was made with.
pub fn pack(
    plan: &Plan,
    lock: &Lock,
    roots: &Roots,
    chosen: &Chosen,
    target: &Path,
    progress: &dyn Progress,
) -> Result<Contents> {
    let mut found: BTreeMap<String, (PathBuf, Option<LockedFile>)> = BTreeMap::new();
    for file in &lock.files {
        let (name, path) = placed(plan, roots, file)?;
        found.insert(name, (path, Some(file.clone())));
    }
    let written = [("suites", vec![&plan.suite])]
        .into_iter()
        .chain([("datasets", plan.datasets.keys().collect())])
        .chain([("models", plan.models.keys().collect())]);
    for (folder, names) in written {
        for name in names {
            let below = format!("{folder}/{name}.toml");
            let path = roots.manifests.join(&below);
            found.insert(format!("manifests/{below}"), (path, None));
        }
    }
    let (mut checkpoints, mut sources) = (BTreeMap::new(), BTreeMap::new());
    for (name, model) in &plan.models {
        if let Some(PlannedOutside::Endpoint(endpoint)) = &model.outside {
            let (model, url) = (name.clone(), endpoint.url.clone());
            return Err(BundleError::Server { model, url });
        }
        if let Some(Place::Given(key) | Place::Hub(key)) = &model.checkpoint {
            checkpoints.insert(key.clone(), format!("checkpoints/{name}"));
        }
        if let Some(source) = roots.sources.get(name) {
            sources.insert(name.clone(), source.clone());
        }
    }
    let lock_text = lock.to_json().map_err(|e| io_at(target)(e.into()))?;
    let mut files = vec![Packed {
        name: LOCK.to_owned(),
        bytes: lock_text.len() as u64,
        sha256: Digest::of(lock_text.as_bytes()),
    }];
    for (name, (path, locked)) in &found {
        let (bytes, sha256) = if let Some(locked) = locked {
            (locked.bytes, locked.sha256)
        } else {
            let digest = digest_file(path)?;
            (digest.len_bytes, digest.sha256)
        };
        files.push(Packed {
            name: name.clone(),
            bytes,
            sha256,
        });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let contents = Contents {
        schema: SCHEMA,
        suite: plan.suite.clone(),
        chosen: chosen.clone(),
        checkpoints,
        sources,
        files,
    };

    progress.start("files", Some(contents.files.len() as u64));
    let mut archive = Builder::new(BufWriter::with_capacity(
        1 << 20,
        AtomicFile::create(target)?,
    ));
    let text = json(&contents).map_err(io_at(target))?;
    append(&mut archive, CONTENTS, text.len() as u64, text.as_bytes()).map_err(io_at(target))?;
    for file in &contents.files {
        if file.name == LOCK {
            append(&mut archive, LOCK, file.bytes, lock_text.as_bytes()).map_err(io_at(target))?;
        } else if let Some((path, _)) = found.get(&file.name) {
            let opened = File::open(path).map_err(io_at(path))?;
            let mut reader = Digesting {
                inner: BufReader::with_capacity(1 << 20, opened).take(file.bytes),
                hasher: Hasher::new(),
                bytes: 0,
            };
            append(&mut archive, &file.name, file.bytes, &mut reader).map_err(io_at(path))?;
            if (reader.bytes, reader.hasher.finish()) != (file.bytes, file.sha256) {
                return Err(BundleError::Changed { path: path.clone() });
            }
        }
        progress.advance(1);
    }
    let file = archive
        .into_inner()
        .and_then(|file| file.into_inner().map_err(io::Error::from));
    file.map_err(io_at(target))?.commit()?;
    progress.finish();
    Ok(contents)
}

/// The name in a bundle of a locked file, and where it is.
fn placed(plan: &Plan, roots: &Roots, file: &LockedFile) -> Result<(String, PathBuf)> {
    let outside = || BundleError::Outside {
        owner: file.owner.clone(),
        name: file.name.clone(),
    };
    if !is_below(&file.name) {
        return Err(outside());
    }
    if let Some((_, dataset)) = plan
        .datasets
        .iter()
        .find(|(name, _)| owner(name) == file.owner)
    {
        let mut places = places(dataset).into_iter();
        let (_, place) = places
            .find(|(role, _)| *role == file.role)
            .ok_or_else(outside)?;
        return match place {
            Place::Data(_) => Ok((format!("data/{}", file.name), roots.data.join(&file.name))),
            Place::Manifests(_) => Ok((
                format!("manifests/{}", file.name),
                roots.manifests.join(&file.name),
            )),
            _ => Err(outside()),
        };
    }
    let of_model = |name: &&String| format!("model:{name}") == file.owner;
    let name = plan.models.keys().find(of_model).ok_or_else(outside)?;
    let model = &plan.models[name];
    let place = match &model.outside {
        Some(PlannedOutside::Process(process)) => &process.folder,
        _ => model.checkpoint.as_ref().ok_or_else(outside)?,
    };
    let path = path_of(roots, place).map_err(Box::new)?.join(&file.name);
    let folder = match place {
        Place::Data(folder) => format!("data/{folder}"),
        Place::Manifests(folder) => format!("manifests/{folder}"),
        Place::Given(_) | Place::Hub(_) => format!("checkpoints/{name}"),
    };
    Ok((format!("{folder}/{}", file.name), path))
}

/// Whether a name stays below the folder that it is joined to.
fn is_below(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn json(contents: &Contents) -> io::Result<String> {
    let mut text = serde_json::to_string_pretty(contents)?;
    text.push('\n');
    Ok(text)
}

fn append(
    archive: &mut Builder<impl Write>,
    name: &str,
    bytes: u64,
    data: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    archive.append_data(&mut header, name, data)
}

/// A reader that digests what it reads.
struct Digesting<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..len]);
        self.bytes += len as u64;
        Ok(len)
    }
}

/// Unpacks the bundle at `path` into the folder `target`, which is new or empty, and checks every byte.
pub fn unpack(path: &Path, target: &Path, progress: &dyn Progress) -> Result<Contents> {
    let damaged = |problem: String| BundleError::Damaged {
        path: path.to_owned(),
        problem,
    };
    fs::create_dir_all(target).map_err(io_at(target))?;
    if fs::read_dir(target)
        .map_err(io_at(target))?
        .next()
        .is_some()
    {
        return Err(BundleError::NotEmpty {
            path: target.to_owned(),
        });
    }
    let file = File::open(path).map_err(io_at(path))?;
    let mut archive = Archive::new(BufReader::with_capacity(1 << 20, file));
    let mut entries = archive.entries().map_err(io_at(path))?;
    let no_bundle = |e: io::Error| damaged(format!("is no bundle: {e}"));

    let first = entries
        .next()
        .ok_or_else(|| damaged("is empty".to_owned()))?;
    let mut first = first.map_err(no_bundle)?;
    if first.path_bytes().as_ref() != CONTENTS.as_bytes() {
        return Err(damaged(format!(
            "is no bundle: it does not begin with `{CONTENTS}`"
        )));
    }
    let mut text = Vec::new();
    (&mut first)
        .take(MAX_CONTENTS_BYTES)
        .read_to_end(&mut text)
        .map_err(no_bundle)?;
    let contents = read_contents(&text).map_err(damaged)?;
    let mut missing: BTreeMap<&str, &Packed> = contents
        .files
        .iter()
        .map(|file| (file.name.as_str(), file))
        .collect();

    progress.start("files", Some(contents.files.len() as u64));
    let mut folders = BTreeSet::new();
    for entry in entries {
        let mut entry = entry.map_err(|e| damaged(format!("is cut off or damaged: {e}")))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let packed = missing.remove(name.as_str()).ok_or_else(|| {
            damaged(format!(
                "holds `{name}`, which `{CONTENTS}` does not list, or lists once"
            ))
        })?;
        if entry.header().entry_type() != EntryType::Regular {
            return Err(damaged(format!("holds `{name}`, which is no regular file")));
        }
        let to = target.join(&packed.name);
        if let Some(folder) = to
            .parent()
            .filter(|folder| folders.insert(folder.to_path_buf()))
        {
            fs::create_dir_all(folder).map_err(io_at(folder))?;
        }
        let mut file = BufWriter::new(File::create(&to).map_err(io_at(&to))?);
        let mut reader = Digesting {
            inner: &mut entry,
            hasher: Hasher::new(),
            bytes: 0,
        };
        copy(&mut reader, &mut file).map_err(|error| match error {
            Copy::Read(e) => damaged(format!("is cut off or damaged in `{name}`: {e}")),
            Copy::Write(e) => io_at(&to)(e),
        })?;
        if (reader.bytes, reader.hasher.finish()) != (packed.bytes, packed.sha256) {
            return Err(damaged(format!(
                "has other bytes of `{name}` than `{CONTENTS}` says"
            )));
        }
        progress.advance(1);
    }
    if let Some(name) = missing.keys().next() {
        return Err(damaged(format!("is cut off: `{name}` is missing")));
    }
    sightline_store::write_atomic(target.join(CONTENTS), &text)?;
    progress.finish();
    Ok(contents)
}

enum Copy {
    Read(io::Error),
    Write(io::Error),
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), Copy> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        let len = from.read(&mut buffer).map_err(Copy::Read)?;
        if len == 0 {
            return to.flush().map_err(Copy::Write);
        }
        to.write_all(&buffer[..len]).map_err(Copy::Write)?;
    }
}

/// What an unpacked bundle holds, if `folder` is one.
pub fn contents(folder: &Path) -> Result<Option<Contents>> {
    let path = folder.join(CONTENTS);
    match fs::read(&path) {
        Ok(text) => read_contents(&text)
            .map(Some)
            .map_err(|problem| BundleError::Damaged { path, problem }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BundleError::Io { path, source }),
    }
}

fn read_contents(text: &[u8]) -> Result<Contents, String> {
    let value: Value =
        serde_json::from_slice(text).map_err(|e| format!("has contents that are no JSON: {e}"))?;
    let schema = value.get("schema").unwrap_or(&Value::Null);
    if *schema != SCHEMA {
        return Err(format!("has schema {schema}, this version reads {SCHEMA}"));
    }
    let contents: Contents =
        serde_json::from_value(value).map_err(|e| format!("has contents of another form: {e}"))?;
    let folders = contents.checkpoints.values();
    let mut names = contents.files.iter().map(|file| &file.name).chain(folders);
    match names.find(|name| !is_below(name)) {
        Some(name) => Err(format!("names `{name}`, which leaves its folder")),
        None => Ok(contents),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents_of(name: &str) -> Vec<u8> {
        let contents = Contents {
            schema: SCHEMA,
            suite: "s".to_owned(),
            chosen: Chosen::default(),
            checkpoints: BTreeMap::new(),
            sources: BTreeMap::new(),
            files: vec![Packed {
                name: name.to_owned(),
                bytes: 3,
                sha256: Digest::of(b"abc"),
            }],
        };
        json(&contents).unwrap().into_bytes()
    }

    fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        for (name, data) in entries {
            append(&mut archive, name, data.len() as u64, *data).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn only_what_is_listed_and_right_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.tar");
        let list = contents_of("data/a");
        let mut number = 0;
        let mut unpacked = |bytes: &[u8]| {
            number += 1;
            fs::write(&path, bytes).unwrap();
            let to = dir.path().join(number.to_string());
            let result = unpack(&path, &to, &sightline_core::progress::Silent);
            assert_eq!(result.is_ok(), to.join(CONTENTS).is_file());
            result.map_err(|error| error.to_string())
        };
        let good = tar(&[(CONTENTS, &list), ("data/a", b"abc")]);
        assert!(unpacked(&good).is_ok());
        for (bytes, words) in [
            (tar(&[(CONTENTS, &list), ("data/a", b"abd")]), "other bytes"),
            (
                tar(&[(CONTENTS, &list), ("data/a", b"abc"), ("data/a", b"abc")]),
                "lists once",
            ),
            (
                tar(&[(CONTENTS, &list), ("data/b", b"abc")]),
                "does not list",
            ),
            (tar(&[(CONTENTS, &list)]), "is missing"),
            (tar(&[("data/a", b"abc")]), "does not begin with"),
            (tar(&[(CONTENTS, b"{\"schema\": 2}")]), "schema 2"),
            (
                tar(&[(CONTENTS, &contents_of("../a"))]),
                "leaves its folder",
            ),
            (
                tar(&[(CONTENTS, &contents_of("/etc/a"))]),
                "leaves its folder",
            ),
            (good[..good.len() / 2].to_vec(), ""),
            (b"nothing of the kind".to_vec(), "is"),
            (Vec::new(), "is empty"),
        ] {
            let told = unpacked(&bytes).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), "").unwrap();
        let path = dir.path().join("b.tar");
        let error = unpack(&path, dir.path(), &sightline_core::progress::Silent).unwrap_err();
        assert!(matches!(error, BundleError::NotEmpty { .. }), "{error}");
    }
}
