//! A lock: the digest and size of every file that a plan reads.
//!
//! A lock is written once beside the records and compared later: `run --locked` refuses to start when
//! [`Lock::compare`] finds a difference. On disk it is JSON with sorted keys; readers MUST refuse a
//! `schema` they do not know and MUST ignore fields they do not know.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_core::Digest;

use crate::error::Error;

/// Version of the lock's layout.
pub const SCHEMA: u32 = 1;

/// Longest lock in bytes: several million files.
const MAX_LOCK_BYTES: u64 = 1 << 30;

/// What a plan reads, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the suite.
    pub suite: String,
    /// Digest of the plan.
    pub plan: Digest,
    /// Every file, sorted by owner and name.
    pub files: Vec<LockedFile>,
    /// How each model's images are prepared, sorted by owner.
    #[serde(default)]
    pub inputs: Vec<LockedInput>,
    /// What each task asks and of which examples, in the order of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<LockedTask>,
    /// In what each model's weights are kept, sorted by owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<LockedWeights>,
    /// The program and what it computes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<LockedProgram>,
    /// What models outside the program said about themselves, sorted by owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<LockedAdapter>,
    /// Checkpoints that are from the hub, sorted by owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<LockedSource>,
}

/// What a task asks, and of which examples.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedTask {
    /// Its name.
    pub task: String,
    /// Digest of what stands before the model: templates, prompt and decoding.
    pub prompts: Digest,
    /// Metrics and the versions of their definitions: `cider-d@1`.
    pub metrics: Vec<String>,
    /// How many examples there are; `None` for a dataset that cannot be read to its end.
    pub examples: Option<u64>,
    /// Digest of their keys in their order, each followed by a line feed.
    pub keys: Option<Digest>,
}

/// In what a model's weights are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedWeights {
    /// The model: `model:clip-vit-b32`.
    pub owner: String,
    /// `f32`, `bf16`, `f16` or `int8`.
    pub dtype: String,
}

/// The program, and what it computes on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedProgram {
    /// Its version.
    pub version: String,
    /// The commit that it was built from, if that is known.
    pub commit: Option<String>,
    /// Digest of the `Cargo.lock` that it was built with.
    pub dependencies: Digest,
    /// Kind of device: `cpu` or `cuda`.
    pub device: String,
}

/// A model outside the program. Its files are among the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedAdapter {
    /// The model: `model:mine`.
    pub owner: String,
    /// Digest of how it is started, or where it is.
    pub command: Digest,
    /// Digest of what it said about itself.
    pub hello: Digest,
    /// What it offers to tasks.
    pub offers: Vec<String>,
}

/// Where a checkpoint is from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedSource {
    /// The model: `model:clip-vit-b32`.
    pub owner: String,
    /// `hf:OWNER/NAME@COMMIT`, whatever revision was asked for.
    pub source: String,
}

/// How images are prepared for a model: the same specification gives other pixels where the program
/// computes them in another way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedInput {
    /// The model: `model:clip-vit-b32`.
    pub owner: String,
    /// Digest of the image specification.
    pub image_spec: Digest,
    /// Digest of what a picture within the program becomes.
    pub pixels: Digest,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedFile {
    /// The dataset or model that reads it: `dataset:scenes-test`, `model:clip-vit-b32`.
    pub owner: String,
    /// Path below the owner's place, with `/` between its parts.
    pub name: String,
    /// What it is: `shard`, `classes`, `weights`, `config`, `tokenizer`, `preprocessor`.
    pub role: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: Digest,
}

impl Lock {
    /// The digest of the lock's canonical JSON; the order of its files does not matter.
    pub fn digest(&self) -> serde_json::Result<Digest> {
        Digest::of_json(&self.sorted())
    }

    /// Writes the lock to `path` as JSON for people to read and for tools to compare: keys and files
    /// sorted, two spaces of indentation. The file appears whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let error = |source: io::Error| Error::Io {
            path: path.to_owned(),
            source,
        };
        let json = self.to_json().map_err(|e| error(e.into()))?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".lock-").suffix(".tmp");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder).map_err(error)?;
        file.write_all(json.as_bytes()).map_err(error)?;
        file.as_file().sync_all().map_err(error)?;
        file.persist(path).map_err(|e| error(e.error))?;
        Ok(())
    }

    /// Reads a lock. Fields that this version does not know are ignored; another schema is refused.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let json = |source| Error::LockJson {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(io)?;
        file.take(MAX_LOCK_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        if bytes.len() as u64 > MAX_LOCK_BYTES {
            return Err(Error::LockTooLong {
                path: path.to_owned(),
                limit: MAX_LOCK_BYTES,
            });
        }
        let value: Value = serde_json::from_slice(&bytes).map_err(json)?;
        let found = value.get("schema").unwrap_or(&Value::Null);
        if *found != SCHEMA {
            return Err(Error::LockSchema {
                path: path.to_owned(),
                found: found.to_string().chars().take(40).collect(),
            });
        }
        serde_json::from_value(value).map_err(json)
    }

    /// How `found` differs from this lock, file by file.
    pub fn compare(&self, found: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        if self.suite != found.suite {
            differences.push(Difference::Suite {
                locked: self.suite.clone(),
                found: found.suite.clone(),
            });
        } else if self.plan != found.plan {
            differences.push(Difference::Plan {
                locked: self.plan,
                found: found.plan,
            });
        }
        let by_name = |lock: &'_ Self| -> BTreeMap<(String, String), LockedFile> {
            lock.files
                .iter()
                .map(|file| ((file.owner.clone(), file.name.clone()), file.clone()))
                .collect()
        };
        let more = self.compare_settings(found);
        let (inputs, sources, adapters) = (&found.inputs, &found.sources, &found.adapters);
        let (mut locked, found) = (by_name(self), by_name(found));
        let mut of_files = Vec::new();
        for (key, found) in found {
            of_files.push(match locked.remove(&key) {
                Some(locked) if locked == found => continue,
                Some(locked) => (key, Difference::Changed { locked, found }),
                None => (key, Difference::Added { found }),
            });
        }
        for (key, locked) in locked {
            of_files.push((key, Difference::Removed { locked }));
        }
        of_files.sort_by(|(a, _), (b, _)| a.cmp(b));
        differences.extend(of_files.into_iter().map(|(_, difference)| difference));
        differences.extend(self.compare_inputs(inputs));
        differences.extend(self.compare_adapters(adapters));
        differences.extend(more);
        differences.extend(self.compare_sources(sources));
        differences
    }

    /// What a task, a model's weights or the program have otherwise. What an older lock does not say is not compared.
    fn compare_settings(&self, found: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut tell = |what: String, locked: String, now: String| {
            if locked != now {
                differences.push(Difference::Setting {
                    what,
                    locked,
                    found: now,
                });
            }
        };
        for locked in &self.tasks {
            let Some(now) = found.tasks.iter().find(|now| now.task == locked.task) else {
                continue;
            };
            let of = |what: &str| format!("{what} of task `{}`", locked.task);
            let known = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
            let count = |task: &LockedTask| known(task.examples.map(|n| n.to_string()));
            let keys = |task: &LockedTask| known(task.keys.map(|keys| keys.to_string()));
            tell(
                of("prompts and decoding"),
                locked.prompts.to_string(),
                now.prompts.to_string(),
            );
            tell(
                of("metrics"),
                locked.metrics.join(", "),
                now.metrics.join(", "),
            );
            tell(of("number of examples"), count(locked), count(now));
            tell(of("list of keys"), keys(locked), keys(now));
        }
        for locked in &self.weights {
            if let Some(now) = found.weights.iter().find(|now| now.owner == locked.owner) {
                let what = format!("type of the weights of {}", locked.owner);
                tell(what, locked.dtype.clone(), now.dtype.clone());
            }
        }
        if let (Some(locked), Some(now)) = (&self.program, &found.program) {
            let commit = |program: &LockedProgram| {
                program
                    .commit
                    .clone()
                    .unwrap_or_else(|| "unknown".to_owned())
            };
            tell(
                "version of the program".to_owned(),
                locked.version.clone(),
                now.version.clone(),
            );
            tell(
                "commit of the program".to_owned(),
                commit(locked),
                commit(now),
            );
            tell(
                "Cargo.lock of the program".to_owned(),
                locked.dependencies.to_string(),
                now.dependencies.to_string(),
            );
            tell(
                "kind of device".to_owned(),
                locked.device.clone(),
                now.device.clone(),
            );
        }
        differences
    }

    /// Models outside the program that say something else about themselves.
    fn compare_adapters(&self, found: &[LockedAdapter]) -> Vec<Difference> {
        let of = |owner: &str| found.iter().find(|adapter| adapter.owner == owner);
        self.adapters
            .iter()
            .filter_map(|locked| Some((locked, of(&locked.owner)?)))
            .filter(|(locked, found)| locked != found)
            .map(|(locked, found)| Difference::Adapter {
                locked: locked.clone(),
                found: found.clone(),
            })
            .collect()
    }

    /// Models whose checkpoint is from elsewhere. One that was given as a folder this time has its files compared, and
    /// no more.
    fn compare_sources(&self, found: &[LockedSource]) -> Vec<Difference> {
        let of = |owner: &str| found.iter().find(|source| source.owner == owner);
        self.sources
            .iter()
            .filter_map(|locked| Some((locked, of(&locked.owner)?)))
            .filter(|(locked, found)| locked != found)
            .map(|(locked, found)| Difference::Source {
                locked: locked.clone(),
                found: found.clone(),
            })
            .collect()
    }

    /// Models whose images are prepared in another way. A model that only one lock has differs by its
    /// files or by the plan already.
    fn compare_inputs(&self, found: &[LockedInput]) -> Vec<Difference> {
        let of = |owner: &str| found.iter().find(|input| input.owner == owner);
        self.inputs
            .iter()
            .filter_map(|locked| Some((locked, of(&locked.owner)?)))
            .filter(|(locked, found)| locked != found)
            .map(|(locked, found)| Difference::Input {
                locked: locked.clone(),
                found: found.clone(),
            })
            .collect()
    }

    fn sorted(&self) -> Self {
        let mut lock = self.clone();
        lock.files.sort();
        lock.inputs.sort();
        lock.weights.sort();
        lock.adapters.sort();
        lock.sources.sort();
        lock
    }

    /// The text that [`Lock::write`] writes.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut value = serde_json::to_value(self.sorted())?;
        value.sort_all_objects();
        let mut text = serde_json::to_string_pretty(&value)?;
        text.push('\n');
        Ok(text)
    }
}

/// One way in which the files of today differ from a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The lock is of another suite.
    Suite {
        /// Suite of the lock.
        locked: String,
        /// Suite of today.
        found: String,
    },
    /// The plan says something else, whatever the files.
    Plan {
        /// Plan of the lock.
        locked: Digest,
        /// Plan of today.
        found: Digest,
    },
    /// A file that the lock does not have.
    Added {
        /// The file.
        found: LockedFile,
    },
    /// A file that only the lock has.
    Removed {
        /// The file.
        locked: LockedFile,
    },
    /// A file with other bytes, or another role.
    Changed {
        /// As locked.
        locked: LockedFile,
        /// As it is.
        found: LockedFile,
    },
    /// Something else that is locked is otherwise.
    Setting {
        /// What, with whose it is.
        what: String,
        /// As locked.
        locked: String,
        /// As it is.
        found: String,
    },
    /// A model outside the program is another one.
    Adapter {
        /// As locked.
        locked: LockedAdapter,
        /// As it is.
        found: LockedAdapter,
    },
    /// A model's checkpoint is from elsewhere.
    Source {
        /// As locked.
        locked: LockedSource,
        /// As it is.
        found: LockedSource,
    },
    /// A model's images are prepared in another way.
    Input {
        /// As locked.
        locked: LockedInput,
        /// As it is.
        found: LockedInput,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |file: &LockedFile| format!("{} `{}`", file.owner, file.name);
        let bytes = |file: &LockedFile| {
            let (role, bytes, sha256) = (&file.role, file.bytes, file.sha256);
            format!("{role} of {bytes} bytes, sha256 {sha256}")
        };
        match self {
            Self::Suite { locked, found } => {
                write!(f, "the lock is of suite `{locked}`, this is `{found}`")
            }
            Self::Plan { locked, found } => {
                write!(f, "the plan changed: locked {locked}, now {found}")
            }
            Self::Added { found } => {
                write!(f, "{} is new: {}", name(found), bytes(found))
            }
            Self::Removed { locked } => {
                write!(f, "{} is gone: {}", name(locked), bytes(locked))
            }
            Self::Changed { locked, found } => write!(
                f,
                "{} changed: locked {}; now {}",
                name(locked),
                bytes(locked),
                bytes(found)
            ),
            Self::Setting {
                what,
                locked,
                found,
            } => {
                write!(f, "the {what} changed: locked {locked}, now {found}")
            }
            Self::Adapter { locked, found } if locked.command != found.command => write!(
                f,
                "{} is started otherwise: locked command {}, now {}",
                locked.owner, locked.command, found.command
            ),
            Self::Adapter { locked, found } => write!(
                f,
                "{} says something else about itself: locked hello {}, now {}",
                locked.owner, locked.hello, found.hello
            ),
            Self::Source { locked, found } => write!(
                f,
                "{} is from elsewhere: locked {}, now {}",
                locked.owner, locked.source, found.source
            ),
            Self::Input { locked, found } if locked.image_spec != found.image_spec => write!(
                f,
                "{} prepares its images otherwise: locked image specification {}, now {}",
                locked.owner, locked.image_spec, found.image_spec
            ),
            Self::Input { locked, found } => write!(
                f,
                "{} gets other pixels by the same specification: a test picture became {}, now {}",
                locked.owner, locked.pixels, found.pixels
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> LockedFile {
        LockedFile {
            owner: "dataset:scenes-test".to_owned(),
            name: name.to_owned(),
            role: "shard".to_owned(),
            bytes: content.len() as u64,
            sha256: Digest::of(content.as_bytes()),
        }
    }

    fn input(spec: &str, pixels: &str) -> LockedInput {
        LockedInput {
            owner: "model:clip".to_owned(),
            image_spec: Digest::of(spec.as_bytes()),
            pixels: Digest::of(pixels.as_bytes()),
        }
    }

    fn lock() -> Lock {
        Lock {
            schema: SCHEMA,
            suite: "quickstart".to_owned(),
            plan: Digest::of(b"plan"),
            files: vec![file("00000.tar", "zero"), file("00001.tar", "one")],
            inputs: vec![input("spec", "pixels")],
            tasks: vec![LockedTask {
                task: "retrieval".to_owned(),
                prompts: Digest::of(b"prompts"),
                metrics: vec!["mrr@1".to_owned()],
                examples: Some(7),
                keys: Some(Digest::of(b"keys")),
            }],
            weights: vec![LockedWeights {
                owner: "model:clip".to_owned(),
                dtype: "f32".to_owned(),
            }],
            program: Some(LockedProgram {
                version: "0.1.0".to_owned(),
                commit: Some("0123456789ab".to_owned()),
                dependencies: Digest::of(b"Cargo.lock"),
                device: "cpu".to_owned(),
            }),
            adapters: Vec::new(),
            sources: Vec::new(),
        }
    }

    #[test]
    fn writes_canonical_json_and_reads_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quickstart.lock");
        let mut shuffled = lock();
        shuffled.files.reverse();
        shuffled.write(&path).unwrap();
        insta::assert_snapshot!(std::fs::read_to_string(&path).unwrap());
        assert_eq!(Lock::read(&path).unwrap(), lock());
        assert_eq!(shuffled.digest().unwrap(), lock().digest().unwrap());
        let mut other = lock();
        other.files[0].bytes += 1;
        assert_ne!(other.digest().unwrap(), lock().digest().unwrap());
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_written_lock_can_be_read_by_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, plain) = (folder.path().join("a.lock"), folder.path().join("plain"));
        lock().write(&path).unwrap();
        std::fs::write(&plain, "").unwrap();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(path), mode(plain));
    }

    #[test]
    fn reads_unknown_fields_and_refuses_other_schemas() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let text = lock().to_json().unwrap();
        std::fs::write(&path, text.replacen('{', "{\"later\": 1,", 1)).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), lock());

        std::fs::write(&path, text.replace("\"schema\": 1", "\"schema\": 2")).unwrap();
        let error = Lock::read(&path).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("has schema 2, this version reads 1"),
            "{error}"
        );
        assert!(!sightline_core::Hint::hints(&error).is_empty());

        for text in ["", "[]", "{\"schema\": 1}", "\u{0}"] {
            std::fs::write(&path, text).unwrap();
            assert!(Lock::read(&path).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_lock_of_an_older_program_is_compared_in_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.lock");
        let old = Lock {
            tasks: Vec::new(),
            weights: Vec::new(),
            program: None,
            ..lock()
        };
        old.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains("program") && !text.contains("tasks"),
            "{text}"
        );
        assert_eq!(Lock::read(&path).unwrap().compare(&lock()), []);
        let mut now = lock();
        now.weights[0].dtype = "bf16".to_owned();
        let told: Vec<String> = lock()
            .compare(&now)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            ["the type of the weights of model:clip changed: locked f32, now bf16"]
        );
    }

    #[test]
    fn differences_name_the_file_and_both_digests() {
        let mut found = lock();
        found.plan = Digest::of(b"other plan");
        found.files = vec![file("00001.tar", "two"), file("00002.tar", "three")];
        let text: Vec<String> = lock()
            .compare(&found)
            .iter()
            .map(ToString::to_string)
            .collect();
        insta::assert_snapshot!(text.join("\n"));
        assert_eq!(lock().compare(&lock()), []);
        for (spec, pixels, words) in [
            ("other", "pixels", "prepares its images otherwise"),
            ("spec", "other", "other pixels by the same specification"),
        ] {
            let mut found = lock();
            found.inputs = vec![input(spec, pixels)];
            let text = lock().compare(&found)[0].to_string();
            assert!(text.contains(words), "{text}");
        }
        let at = |commit: &str| LockedSource {
            owner: "model:clip".to_owned(),
            source: format!("hf:a/b@{commit}"),
        };
        let (mut locked, mut found) = (lock(), lock());
        locked.sources = vec![at("1")];
        assert_eq!(locked.compare(&found), []);
        found.sources = vec![at("2")];
        let text = locked.compare(&found)[0].to_string();
        assert!(text.contains("locked hf:a/b@1, now hf:a/b@2"), "{text}");
        // Locks of versions that did not have inputs say nothing about them.
        let mut old = lock();
        old.inputs.clear();
        assert_eq!(old.compare(&lock()), []);
    }
}
