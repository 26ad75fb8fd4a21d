//! The images that a person names: files, folders of files, patterns of files, and shards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sightline_core::ImageFormat;
use sightline_preprocess::PrepareError;
use sightline_shard::format::of_name;
use sightline_shard::webdataset::WebDataset;
use sightline_shard::{ShardFormat, ShardReader};
use sightline_store::Folder;

use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::note;

/// An image as it is stored.
pub(crate) struct Input {
    /// Its file, or its shard and key.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// An image that cannot be prepared.
#[derive(Debug, Serialize)]
pub(crate) struct Broken {
    name: String,
    class: &'static str,
    message: String,
}

impl Broken {
    /// Says that the image called `name` is broken.
    pub(crate) fn tell(name: String, error: &PrepareError) -> Self {
        let doing = format!("preparing `{name}`");
        note(&Failure::new(Exit::No, doing, error).to_string());
        Self {
            name,
            class: error.class(),
            message: error.to_string(),
        }
    }
}

/// Goes over the images one by one, in the order given; folders by name.
pub(crate) struct Inputs {
    /// In reverse.
    files: Vec<PathBuf>,
    shard: Option<(PathBuf, Box<dyn ShardReader>)>,
}

impl Inputs {
    /// Lists folders and expands patterns; a path that is not there is an error before anything is read.
    pub(crate) fn new(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for path in paths {
            match fs::metadata(path) {
                Ok(about) if about.is_dir() => files.extend(folder(path)?),
                Ok(_) => files.push(path.clone()),
                Err(error) if error.kind() == io::ErrorKind::NotFound && is_pattern(path) => {
                    files.extend(expand(path)?);
                }
                Err(error) => return Err(reading(path, &error)),
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
    shard_format(path).is_some()
}

/// The format that the name of a shard says. Other programs too call files `.bin`, so that chunks of litData are none.
fn shard_format(path: &Path) -> Option<&'static dyn ShardFormat> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    of_name(&name).filter(|format| !format.name().starts_with("litdata"))
}

/// Whether a path that is no file's name stands for several.
fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '[', '{'])
}

/// The files that a pattern stands for, by name.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_part = |part: &std::path::Component<'_>| is_pattern(Path::new(part));
    let at = pattern
        .components()
        .take_while(|part| !is_part(part))
        .count();
    let mut parts = pattern.components();
    let root: PathBuf = parts.by_ref().take(at).collect();
    let below = parts.as_path().to_string_lossy();
    let here = if at == 0 { Path::new(".") } else { &root };
    let doing = || format!("looking for `{}`", pattern.display());
    let failed =
        |error: sightline_store::Error| Failure::new(exits::store(&error), doing(), &error);
    let names = Folder::open(here)
        .and_then(|folder| folder.expand(&[below]))
        .map_err(failed)?;
    Ok(names.iter().map(|name| root.join(name)).collect())
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
    shard_format(path)
        .unwrap_or(&WebDataset)
        .open(&folder, name)
        .map_err(|error| Failure::new(Exit::Environment, doing(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_files_and_a_name_with_a_star_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("a")).unwrap();
        for name in ["a/2.jpg", "a/1.jpg", "a/1.txt", "b*.jpg", "bc.jpg"] {
            fs::write(at(name), name).unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let inputs = Inputs::new(&[at(pattern)]).unwrap();
            inputs
                .map(|input| String::from_utf8(input.unwrap().bytes).unwrap())
                .collect()
        };
        assert_eq!(names("a/*.jpg"), ["a/1.jpg", "a/2.jpg"]);
        assert_eq!(names("**/{1,2}.jpg"), ["a/1.jpg", "a/2.jpg"]);
        assert_eq!(names("b*.jpg"), ["b*.jpg"]);
        let failure = Inputs::new(&[at("a/*.png")]).err().unwrap();
        assert!(
            failure.to_string().contains("no file matches `*.png`"),
            "{failure}"
        );
    }
}
