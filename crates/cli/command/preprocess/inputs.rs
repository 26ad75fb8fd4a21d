//! The images that a person names: files, folders of files, and shards.

use std::fs;
use std::path::{Path, PathBuf};

use sightline_core::ImageFormat;
use sightline_shard::{FORMATS, ShardReader};
use sightline_store::Folder;

use crate::command::exits;
use crate::exit::{Exit, Failure};

/// An image as it is stored.
pub(super) struct Input {
    /// Its file, or its shard and key.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Goes over the images one by one, in the order given; folders by name.
pub(super) struct Inputs {
    /// In reverse.
    files: Vec<PathBuf>,
    shard: Option<(PathBuf, Box<dyn ShardReader>)>,
}

impl Inputs {
    /// Lists folders; a path that is not there is an error before anything is read.
    pub(super) fn new(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for path in paths {
            let about = fs::metadata(path).map_err(|error| reading(path, &error))?;
            if about.is_dir() {
                files.extend(folder(path)?);
            } else {
                files.push(path.clone());
            }
        }
        files.reverse();
        Ok(Self { files, shard: None })
    }

    fn of_shard(&mut self) -> Result<Option<Input>, Failure> {
        let Some((path, reader)) = &mut self.shard else {
            return Ok(None);
        };
        loop {
            let sample = reader.next_sample().map_err(|error| {
                let doing = format!("reading shard `{}`", path.display());
                Failure::new(Exit::Environment, doing, &error)
            })?;
            let Some(sample) = sample else {
                self.shard = None;
                return Ok(None);
            };
            if let Some(image) = sample.image {
                return Ok(Some(Input {
                    name: format!("{}/{}", path.display(), sample.key),
                    bytes: image.bytes.into(),
                }));
            }
        }
    }

    fn step(&mut self) -> Result<Option<Input>, Failure> {
        loop {
            if let Some(input) = self.of_shard()? {
                return Ok(Some(input));
            }
            let Some(path) = self.files.pop() else {
                return Ok(None);
            };
            if is_shard(&path) {
                self.shard = Some((path.clone(), open_shard(&path)?));
                continue;
            }
            let bytes = fs::read(&path).map_err(|error| reading(&path, &error))?;
            let name = path.display().to_string();
            return Ok(Some(Input { name, bytes }));
        }
    }
}

impl Iterator for Inputs {
    type Item = Result<Input, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

fn reading(path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(format!("reading `{}`", path.display()), error).with_exit(exits::io(error))
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default()
}

fn is_shard(path: &Path) -> bool {
    extension(path).eq_ignore_ascii_case("tar")
}

/// The images and shards of a folder and of those below it, by name.
fn folder(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let entries = fs::read_dir(path).map_err(|error| reading(path, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| reading(path, &error))?;
        let kind = entry.file_type().map_err(|error| reading(path, &error))?;
        let child = entry.path();
        if kind.is_dir() {
            found.extend(folder(&child)?);
        } else if is_shard(&child) || ImageFormat::from_extension(extension(&child)).is_some() {
            found.push(child);
        }
    }
    found.sort();
    Ok(found)
}

fn open_shard(path: &Path) -> Result<Box<dyn ShardReader>, Failure> {
    let doing = || format!("opening shard `{}`", path.display());
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Failure::usage(doing(), "the name is not valid UTF-8"))?;
    let folder = Folder::open(parent)
        .map_err(|error| Failure::new(exits::store(&error), doing(), &error))?;
    FORMATS[0]
        .open(&folder, name)
        .map_err(|error| Failure::new(Exit::Environment, doing(), &error))
}
