//! A prepared dataset as shards: each example with its image, as it lies in the published files, one after the other.
//!
//! | an example | captions | metadata |
//! | --- | --- | --- |
//! | with captions or a class | its captions | `class`, its number in the list of classes, and `class_name` if there is a list |
//! | a question | | `question`, `answers` |
//! | a statement | | `text`, `label` |
//!
//! Keys are those of the examples, which predictions have too; images are the files' bytes, unchanged. Suites read shards with
//! captions and classes; questions and statements are for training elsewhere. What has several images, boxes, or candidates
//! with tags stays in its published files.
//!
//! The folder has WebDataset tars and [`NOTE`], which says what they were made from and which are whole. A tar appears
//! whole, and the note is written after it: a process that ends anywhere is gone on from by the next one, to the same
//! bytes. `complete` is true in the note once nothing is missing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sightline_core::{Digest, EncodedImage, Hint, ImageFormat, Sample, ShardId};
use sightline_shard::webdataset::WebDataset;
use sightline_shard::{ShardFormat, ShardSummary};
use sightline_store::{Folder, digest_file};

use super::{Preparing, SCHEMA, io_at};
use crate::dataset::{CLASSES, Classes, IMAGE};
use crate::example::{Class, Content, Example};
use crate::predictions::Outcome;
use crate::visuals::Library;
use crate::{Error, Result};

/// File that says what a folder of shards was made from.
pub const NOTE: &str = "prepared.json";
/// Locked while shards are being written.
const LOCK: &str = ".lock";

/// Where shards go.
#[derive(Clone, Copy, Debug)]
pub struct Sharding<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// Samples of a shard; the last one may have fewer.
    pub samples_per_shard: u64,
}

/// A folder of shards: the content of its note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shards {
    /// Version of this form: 1.
    pub schema: u32,
    /// Whether all are there.
    pub complete: bool,
    /// The digest of what they are made from: annotations, names and lengths of images, list of classes.
    pub source: Digest,
    /// Samples of a shard.
    pub samples_per_shard: u64,
    /// Those that are whole, in order: the first is `00000.tar`.
    pub shards: Vec<ShardSummary>,
}

impl Shards {
    /// Samples of all shards.
    pub fn samples(&self) -> u64 {
        self.shards.iter().map(|shard| shard.samples).sum()
    }
}

/// Why a dataset does not become shards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardingError {
    /// It is shards already.
    #[error("the dataset `{dataset}` is shards already")]
    Already {
        /// The dataset.
        dataset: String,
    },
    /// An example that no sample of a shard holds.
    #[error("example `{key}` is {what}, which shards do not hold")]
    Content {
        /// Its key.
        key: String,
        /// What it is.
        what: &'static str,
    },
    /// An image that cannot be taken.
    #[error("the image `{image}` of example `{key}` cannot be taken: {reason}")]
    Image {
        /// The example.
        key: String,
        /// Its image.
        image: String,
        /// Why.
        reason: String,
    },
    /// A folder with something else in it.
    #[error("`{}` {what}", folder.display())]
    Other {
        /// The folder.
        folder: PathBuf,
        /// What is in it.
        what: &'static str,
    },
}

impl Hint for ShardingError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Already { .. } => "Use `sightline shards convert` or `reshard`.",
            Self::Content { .. } => {
                "Suites read such datasets from their published files, as they are."
            }
            Self::Image { .. } => {
                "Mend or add the file, and run the same command again: it goes on where it was."
            }
            Self::Other { .. } => "Name another folder, or remove this one.",
        };
        vec![hint.to_owned()]
    }
}

impl Preparing<'_> {
    /// Writes the dataset, which is prepared, as shards; those that are whole are kept.
    pub fn shards(&self, to: &Sharding<'_>) -> Result<Shards> {
        let (_, found) = self.found()?;
        let Some(examples) = self.examples(&found)? else {
            let dataset = self.card.name.clone();
            return Err(ShardingError::Already { dataset }.into());
        };
        let one = |role: &str| found.get(role).and_then(|paths| paths.first());
        let names = match one(CLASSES) {
            Some(path) => Classes::read(None, path)?.names,
            None => Vec::new(),
        };
        let images = found.get(IMAGE).cloned().unwrap_or_default();
        let mut note = Shards {
            schema: SCHEMA,
            complete: false,
            source: self.source_digest(&found)?,
            samples_per_shard: to.samples_per_shard.max(1),
            shards: Vec::new(),
        };
        fs::create_dir_all(to.folder).map_err(io_at(to.folder))?;
        let lock = lock(to.folder)?;
        note.shards = whole(to.folder, &note)?;
        let folder = Folder::open(to.folder)?;
        let library = Library::files(&self.card.name, images)?;
        self.progress.start("samples", Some(examples.len() as u64));
        let chunks = examples.chunks(note.samples_per_shard as usize);
        for (id, chunk) in (0..).zip(chunks) {
            self.progress.advance(chunk.len() as u64);
            if note.shards.len() > id {
                continue;
            }
            let mut sink = folder.clone();
            let shard = |source| Error::Shard { source };
            let mut writer = WebDataset
                .create(&mut sink, ShardId(id as u64))
                .map_err(shard)?;
            for example in chunk {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Error::Stopped);
                }
                let sample = sample(example, &library, &names)?;
                writer.write(&sample).map_err(shard)?;
            }
            note.shards.push(writer.finish().map_err(shard)?);
            write_note(to.folder, &note)?;
        }
        self.progress.finish();
        note.complete = true;
        write_note(to.folder, &note)?;
        drop(lock);
        let path = to.folder.join(LOCK);
        fs::remove_file(&path).map_err(io_at(&path))?;
        Ok(note)
    }

    /// The digest of all that decides which shards are made.
    fn source_digest(&self, found: &super::Found) -> Result<Digest> {
        let mut files = Vec::new();
        for (role, paths) in found {
            for path in paths {
                let name = path.strip_prefix(&self.roots.data).unwrap_or(path);
                let name = name.to_string_lossy();
                let len = fs::metadata(path).map_err(io_at(path))?.len();
                // Of images, which may be hundreds of gigabytes, the lengths have to do.
                let digest = match role.as_str() {
                    IMAGE => None,
                    _ => Some(digest_file(path)?.sha256),
                };
                files.push(json!([role, name, len, digest]));
            }
        }
        let annotations = &self.dataset.annotations;
        Ok(Digest::of_json(
            &json!({ "annotations": annotations, "files": files }),
        )?)
    }
}

/// Holds the folder against other processes.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false);
    let file = options.open(&path).map_err(io_at(&path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(other(folder, "is being written by another process")),
        // Where locks are not supported, whoever runs two of these at once has to know.
        _ => Ok(file),
    }
}

/// The shards of `folder` that are whole, if it was begun with the same source.
fn whole(folder: &Path, begun: &Shards) -> Result<Vec<ShardSummary>> {
    let path = folder.join(NOTE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let entries = fs::read_dir(folder).map_err(io_at(folder))?;
            let mut names = entries.flatten().map(|entry| entry.file_name());
            // One shard without a note is what a process that was killed leaves.
            let first = WebDataset.file_name(ShardId(0));
            let is_ours = |name: &std::ffi::OsString| {
                let name = name.to_string_lossy();
                name == first || name.starts_with('.')
            };
            if names.any(|name| !is_ours(&name)) {
                return Err(other(folder, "holds something else"));
            }
            return Ok(Vec::new());
        }
        Err(error) => return Err(io_at(&path)(error)),
    };
    let note: Shards = serde_json::from_slice(&bytes)
        .map_err(|_| other(folder, "has a note of another version"))?;
    let is_same = (note.schema, note.source, note.samples_per_shard)
        == (begun.schema, begun.source, begun.samples_per_shard);
    if !is_same {
        return Err(other(
            folder,
            "holds shards of other files, or of another number of samples",
        ));
    }
    let is_there = |(id, shard): &(u64, ShardSummary)| {
        let path = folder.join(WebDataset.file_name(ShardId(*id)));
        fs::metadata(path).is_ok_and(|found| found.len() == shard.len_bytes)
    };
    let there = (0..).zip(note.shards).take_while(is_there);
    Ok(there.map(|(_, shard)| shard).collect())
}

fn write_note(folder: &Path, note: &Shards) -> Result<()> {
    let mut text = serde_json::to_string_pretty(note)?;
    text.push('\n');
    sightline_store::write_atomic(folder.join(NOTE), text.as_bytes())?;
    Ok(())
}

fn other(folder: &Path, what: &'static str) -> Error {
    let folder = folder.to_owned();
    ShardingError::Other { folder, what }.into()
}

/// An example as a sample.
fn sample(example: &Example, library: &Library, classes: &[String]) -> Result<Sample> {
    let key = example.key.to_string();
    let refuse = |what| {
        let key = key.clone();
        Err(ShardingError::Content { key, what }.into())
    };
    let [image] = &example.images[..] else {
        return refuse("about several images");
    };
    let mut captions = Vec::new();
    let meta = match &example.content {
        Content::Sample {
            class,
            captions: own,
        } => {
            captions.clone_from(own);
            match class {
                Class::Known(number) => {
                    let name = classes.get(*number as usize);
                    name.map_or_else(
                        || json!({ "class": number }),
                        |name| json!({ "class": number, "class_name": name }),
                    )
                }
                Class::Missing | Class::Unknown | Class::Ambiguous => json!({}),
            }
        }
        Content::Question { question, answers } => {
            json!({ "question": question, "answers": answers })
        }
        Content::Statement { text, label, .. } => json!({ "text": text, "label": label }),
        Content::Boxes { .. } => return refuse("of boxes"),
        Content::Labels(_) => return refuse("of several classes"),
        Content::Choices { .. } => return refuse("a question with candidates"),
        Content::Phrases { .. } => return refuse("of phrases with boxes"),
        Content::Objects { .. } => return refuse("of objects by their names"),
        Content::Episode { .. } => return refuse("an episode"),
    };
    let serde_json::Value::Object(mut meta) = meta else {
        return refuse("no object");
    };
    let wrong = |reason: &str| ShardingError::Image {
        key: key.clone(),
        image: image.clone(),
        reason: reason.to_owned(),
    };
    let bytes = library.bytes(image).map_err(|outcome| match outcome {
        Outcome::Failed(reason) => wrong(&reason),
        _ => wrong("it cannot be read"),
    })?;
    let path = library.path(image).unwrap_or(Path::new(""));
    // Of several questions about an image each has a key of its own: features of regions are found by the image's name.
    if let (Content::Question { .. } | Content::Statement { .. }, Some(name)) =
        (&example.content, path.file_name())
    {
        let name = name.to_string_lossy().into_owned();
        meta.insert("image_name".to_owned(), name.into());
    }
    let ending = path.extension().and_then(|ending| ending.to_str());
    let format = ending.and_then(ImageFormat::from_extension);
    let format = format.ok_or_else(|| wrong("its name has no ending of an image"))?;
    Ok(Sample {
        key: example.key.clone(),
        image: Some(EncodedImage {
            format,
            bytes: Bytes::from(bytes),
        }),
        captions,
        meta,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use sightline_core::progress::Silent;
    use sightline_manifest::{DatasetCard, Place, PlannedAnnotations, PlannedDataset, Roots};

    use super::*;

    /// A dataset in a form, with files of it and images below its folder `images`.
    struct Published {
        dir: tempfile::TempDir,
        card: DatasetCard,
        dataset: PlannedDataset,
        roots: Roots,
    }

    impl Published {
        fn new(form: &str, role: &str, text: &str, images: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for image in images {
                let path = dir.path().join("data/images").join(image);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, format!("bytes of {image}")).unwrap();
            }
            fs::write(dir.path().join("data/published"), text).unwrap();
            let data = |path: &str| Place::Data(path.to_owned());
            let files = (role.to_owned(), data("published"));
            Self {
                card: DatasetCard {
                    name: "tiny".to_owned(),
                    description: "Tiny.".to_owned(),
                    published: None,
                    sources: Vec::new(),
                    paper_targets: Vec::new(),
                },
                dataset: PlannedDataset {
                    images: Some(data("images/**/*")),
                    annotations: Some(PlannedAnnotations {
                        form: form.to_owned(),
                        split: (form == "karpathy").then(|| "test".to_owned()),
                        files: [files].into_iter().filter(|_| !text.is_empty()).collect(),
                    }),
                    ..PlannedDataset::default()
                },
                roots: Roots {
                    data: dir.path().join("data"),
                    manifests: dir.path().join("data"),
                    ..Roots::default()
                },
                dir,
            }
        }

        fn shards(&self, folder: &str, samples_per_shard: u64) -> Result<Shards, String> {
            let preparing = Preparing {
                card: &self.card,
                dataset: &self.dataset,
                roots: &self.roots,
                from: None,
                stores: None,
                progress: &Silent,
                stop: &AtomicBool::new(false),
            };
            let made = preparing.shards(&Sharding {
                folder: &self.dir.path().join(folder),
                samples_per_shard,
            });
            made.map_err(|error| error.to_string())
        }

        fn samples(&self, folder: &str, shard: &str) -> Vec<Sample> {
            let folder = Folder::open(self.dir.path().join(folder)).unwrap();
            let mut reader = WebDataset.open(&folder, shard).unwrap();
            std::iter::from_fn(|| reader.next_sample().unwrap()).collect()
        }

        fn files(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
            let entries = fs::read_dir(self.dir.path().join(folder)).unwrap();
            let read = entries.map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read(entry.path()).unwrap())
            });
            let mut files: Vec<_> = read.collect();
            files.sort();
            files
        }
    }

    const KARPATHY: &str = r#"{"dataset": "flickr30k", "images": [
        {"filename": "10.jpg", "imgid": 0, "split": "test", "sentids": [0, 1],
         "sentences": [{"raw": "A dog.", "sentid": 0, "imgid": 0, "tokens": ["a", "dog"]}, {"raw": "It runs.", "sentid": 1, "imgid": 0, "tokens": ["it", "runs"]}]},
        {"filename": "11.jpg", "imgid": 1, "split": "train", "sentids": [2],
         "sentences": [{"raw": "Not of this split.", "sentid": 2, "imgid": 1, "tokens": ["no"]}]},
        {"filename": "12.jpg", "imgid": 2, "split": "test", "sentids": [3],
         "sentences": [{"raw": "A cat.", "sentid": 3, "imgid": 2, "tokens": ["a", "cat"]}]},
        {"filename": "13.jpg", "imgid": 3, "split": "test", "sentids": [4],
         "sentences": [{"raw": "A bird.", "sentid": 4, "imgid": 3, "tokens": ["a", "bird"]}]}]}"#;

    #[test]
    fn captions_and_images_of_the_split_are_in_the_shards_as_published() {
        let published = Published::new(
            "karpathy",
            "dataset",
            KARPATHY,
            &["10.jpg", "11.jpg", "12.jpg", "13.jpg"],
        );
        let made = published.shards("out", 2).unwrap();
        assert!(made.complete);
        assert_eq!((made.samples(), made.shards.len()), (3, 2));
        let samples = published.samples("out", "00000.tar");
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[0].captions, ["A dog.", "It runs."]);
        let image = samples[0].image.as_ref().unwrap();
        assert_eq!(image.format, ImageFormat::Jpg);
        assert_eq!(&image.bytes[..], b"bytes of 10.jpg");
        assert_eq!(
            published.samples("out", "00001.tar")[0].captions,
            ["A bird."]
        );
    }

    #[test]
    fn a_process_that_ends_anywhere_is_gone_on_from_to_the_same_bytes() {
        let published = Published::new(
            "karpathy",
            "dataset",
            KARPATHY,
            &["10.jpg", "12.jpg", "13.jpg"],
        );
        published.shards("out", 1).unwrap();
        let whole = published.files("out");
        assert_eq!(whole.len(), 4, "three shards and the note");
        let out = published.dir.path().join("out");
        let note: Shards = serde_json::from_slice(&fs::read(out.join(NOTE)).unwrap()).unwrap();
        let cut = |shards: usize| Shards {
            complete: false,
            shards: note.shards[..shards].to_vec(),
            ..note.clone()
        };
        // Killed behind the note of a shard, and between a shard and its note; a shard that was lost or cut.
        write_note(&out, &cut(1)).unwrap();
        published.shards("out", 1).unwrap();
        assert_eq!(published.files("out"), whole);
        fs::remove_file(out.join(NOTE)).unwrap();
        for shard in ["00001.tar", "00002.tar"] {
            fs::remove_file(out.join(shard)).unwrap();
        }
        published.shards("out", 1).unwrap();
        assert_eq!(published.files("out"), whole);
        fs::write(out.join("00001.tar"), "short").unwrap();
        published.shards("out", 1).unwrap();
        assert_eq!(published.files("out"), whole);

        // An image that is not there is named, and what was made before it stays.
        let lost = published.dir.path().join("data/images/12.jpg");
        let bytes = fs::read(&lost).unwrap();
        fs::remove_file(&lost).unwrap();
        let told = published.shards("lost", 1).unwrap_err();
        assert!(told.contains("the image `12.jpg` of example"), "{told}");
        assert_eq!(
            published.files("lost").len(),
            3,
            "a shard, the note, the lock"
        );
        fs::write(&lost, bytes).unwrap();
        assert!(
            published
                .shards("lost", 1)
                .unwrap_err()
                .contains("other files")
        );

        assert!(
            published
                .shards("out", 2)
                .unwrap_err()
                .contains("another number of samples")
        );
        fs::create_dir(published.dir.path().join("mine")).unwrap();
        fs::write(published.dir.path().join("mine/file"), "x").unwrap();
        assert!(
            published
                .shards("mine", 1)
                .unwrap_err()
                .contains("holds something else")
        );
    }

    #[test]
    fn folders_are_classes_with_their_names() {
        let mut published = Published::new(
            "image-folders",
            "synsets",
            "n2 tench\nn1 goldfish\n",
            &["n1/n1_7.JPEG", "n2/n2_5.png"],
        );
        fs::write(
            published.roots.data.join("classes.txt"),
            "tench\ngoldfish\n",
        )
        .unwrap();
        published.dataset.classes = Some(Place::Data("classes.txt".to_owned()));
        published.shards("out", 10).unwrap();
        let samples = published.samples("out", "00000.tar");
        let told: Vec<_> = samples
            .iter()
            .map(|sample| {
                (
                    sample.key.as_str(),
                    &sample.meta["class"],
                    &sample.meta["class_name"],
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("n1/n1_7", &json!(1), &json!("goldfish")),
                ("n2/n2_5", &json!(0), &json!("tench"))
            ]
        );
    }

    #[test]
    fn what_a_sample_does_not_hold_is_refused_by_name() {
        let valse = r#"{"a": {"image_file": "1.jpg", "caption": "One.", "foil": "Two."}}"#;
        let published = Published::new("valse", "examples", valse, &["1.jpg"]);
        let told = published.shards("out", 10).unwrap_err();
        assert_eq!(
            told,
            "example `a` is a question with candidates, which shards do not hold"
        );
    }
}
