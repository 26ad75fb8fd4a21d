//! The folder of a dataset: what lies where, when it is complete, and when it is left alone.
//!
//! | file | holds |
//! |---|---|
//! | `images/<split>/<key>.<ext>` | the images; the key has six digits |
//! | `urls/<split>.{csv,parquet}` | one row a scene: address, captions, class |
//! | `annotations/{captions,descriptions,names}_<split>.json` | five captions of every scene in COCO's form; the one description in a fixed form; and the name of its class |
//! | `annotations/foils_<split>.json` | descriptions and their foils, which have one wrong word, in VALSE's form |
//! | `annotations/{instances,objects}_<split>.json` | boxes in COCO's form; `instances` have their shapes as categories, `objects` the classes |
//! | `annotations/{questions,answers}_<split>.json` | questions and answers in VQA v2's form |
//! | `regions/<split>.tsv` | boxes and features of all objects, in bottom-up-attention's form |
//! | `scenes_<split>.jsonl` | every scene in full, a line each |
//! | `classes.txt` | all class names, a line each |
//! | `classes_{seen,held_out}.txt` | those that training sees, and those that it never does |
//! | `dataset.json` | what was asked for, counts and digests; written last |
//!
//! Rules: a folder with `dataset.json` is complete. While a dataset is being written the folder has
//! `dataset.partial.json` instead, so that a run that was killed is told from a folder that holds
//! something else; such a folder MUST NOT be written to. A split without scenes has no files.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_core::digest::Hasher;
use sightline_core::{Digest, Progress};
use sightline_store::{
    AtomicFile, Durability, FileDigest, Folder, digest_file, remove_stale_temporaries, write_atomic,
};

use crate::Error;
use crate::annotations::annotations;
use crate::error::{Damage, Difference};
use crate::record::Record;
use crate::regions;
use crate::spec::ScenesSpec;
use crate::splits::{Pair, Pairs, Split};
use crate::tables::tables;

/// Version of the description and of the summary.
const SCHEMA: u32 = 1;

/// Raised whenever the same spec would give other bytes.
const GENERATOR: u32 = 5;

const COMPLETE: &str = "dataset.json";
const PARTIAL: &str = "dataset.partial.json";

/// Images between two words to a person.
const IMAGES_PER_STEP: usize = 256;

/// What was written, or found complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Version of this form: 1.
    pub schema: u32,
    /// Whether everything was there already.
    pub unchanged: bool,
    /// The splits that have scenes.
    pub splits: Vec<SplitSummary>,
    /// The classes that training never sees.
    pub held_out_classes: Vec<String>,
    /// Files of the folder.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a split holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitSummary {
    /// Which one.
    pub split: Split,
    /// Its scenes, each with an image.
    pub scenes: u64,
    /// Those whose large object is of a class that training never sees.
    pub held_out: u64,
    /// Objects in all scenes.
    pub objects: u64,
    /// Captions of all scenes.
    pub captions: u64,
    /// Questions about all scenes.
    pub questions: u64,
    /// Bytes of all images.
    pub image_bytes: u64,
    /// Digest of the digests of the images, in the order of their keys.
    pub images_sha256: Digest,
}

/// The content of `dataset.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    schema: u32,
    name: String,
    generator: u32,
    spec: Value,
    classes: usize,
    held_out_classes: Vec<String>,
    splits: Vec<SplitSummary>,
    files: Vec<Listed>,
}

/// The content of `dataset.partial.json`, and what of `dataset.json` decides whether it is the same.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    schema: u32,
    name: String,
    generator: u32,
    spec: Value,
}

/// A file besides the images.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    path: String,
    #[serde(rename = "bytes")]
    len_bytes: u64,
    sha256: Digest,
}

/// Writes the scenes of `spec` to the folder `out`, or checks those that are there.
///
/// Equal specs give equal bytes, on any machine and any number of threads. Nothing of another kind is
/// ever overwritten; a run that was killed is begun anew by the next one.
pub fn write_scenes(
    spec: &ScenesSpec,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Summary, Error> {
    let spec = spec.checked()?;
    let begun = Begun::new(&spec)?;
    let folder = Folder::create(out)?;
    if let Some(text) = read(&out.join(COMPLETE))? {
        let description = begun.same(out, COMPLETE, &text)?;
        return verify(&folder, &spec, description, progress);
    }
    match read(&out.join(PARTIAL))? {
        Some(text) => {
            begun.same::<Begun>(out, PARTIAL, &text)?;
        }
        None => empty(out)?,
    }
    write_atomic(out.join(PARTIAL), &json(PARTIAL, &begun)?)?;
    let summary = Writer::new(&folder, &spec)?.write(progress, begun)?;
    let partial = out.join(PARTIAL);
    fs::remove_file(&partial).map_err(Error::file("remove", partial))?;
    Ok(summary)
}

impl Begun {
    fn new(spec: &ScenesSpec) -> Result<Self, Error> {
        Ok(Self {
            schema: SCHEMA,
            name: "scenes".to_owned(),
            generator: GENERATOR,
            spec: serde_json::to_value(spec).map_err(Error::table(COMPLETE))?,
        })
    }

    /// Reads the description `file` of `out`, which must be of the same spec.
    fn same<T: for<'a> Deserialize<'a>>(
        &self,
        out: &Path,
        file: &str,
        text: &[u8],
    ) -> Result<T, Error> {
        let damaged = |e: serde_json::Error| Error::Damaged {
            path: out.join(file),
            problem: Damage::Description {
                schema: SCHEMA,
                reason: e.to_string(),
            },
        };
        let found: Self = serde_json::from_slice(text).map_err(damaged)?;
        let mut differences = Vec::new();
        let mut compare = |field: &str, found: Option<&Value>, asked: Option<&Value>| {
            let show = |v: Option<&Value>| v.map_or_else(|| "absent".to_owned(), Value::to_string);
            if found != asked {
                differences.push(Difference {
                    field: field.to_owned(),
                    found: show(found),
                    asked: show(asked),
                });
            }
        };
        for (field, found, asked) in [
            ("schema", found.schema.into(), self.schema.into()),
            ("name", found.name.clone().into(), self.name.clone().into()),
            ("generator", found.generator.into(), self.generator.into()),
        ] {
            let (found, asked): (Value, Value) = (found, asked);
            compare(field, Some(&found), Some(&asked));
        }
        let fields = |spec: &Value| spec.as_object().cloned().unwrap_or_default();
        let (there, asked) = (fields(&found.spec), fields(&self.spec));
        for (field, value) in &asked {
            compare(field, there.get(field), Some(value));
        }
        for (field, value) in there
            .iter()
            .filter(|(field, _)| !asked.contains_key(*field))
        {
            compare(field, Some(value), None);
        }
        if !differences.is_empty() {
            return Err(Error::OtherSpec {
                path: out.to_owned(),
                differences,
            });
        }
        serde_json::from_slice(text).map_err(damaged)
    }
}

/// Writes one dataset.
struct Writer<'a> {
    folder: &'a Folder,
    spec: &'a ScenesSpec,
    pairs: Pairs,
    files: Vec<Listed>,
}

impl<'a> Writer<'a> {
    fn new(folder: &'a Folder, spec: &'a ScenesSpec) -> Result<Self, Error> {
        remove_stale_temporaries(folder.root())?;
        for (split, n) in counts(spec) {
            if n > 0 {
                Folder::create(folder.root().join("images").join(split.name()))?;
            }
        }
        for name in ["urls", "annotations", "regions"] {
            Folder::create(folder.root().join(name))?;
            remove_stale_temporaries(folder.root().join(name))?;
        }
        Ok(Self {
            folder,
            spec,
            pairs: Pairs::draw(spec.seed),
            files: Vec::new(),
        })
    }

    fn write(mut self, progress: &dyn Progress, begun: Begun) -> Result<Summary, Error> {
        let bar = Bar::start(progress, total(self.spec));
        let mut splits = Vec::new();
        for (split, n) in counts(self.spec) {
            if n > 0 {
                splits.push(self.split(split, n, &bar)?);
            }
        }
        for (name, pairs) in [
            ("classes.txt", Pair::all().to_vec()),
            ("classes_seen.txt", self.pairs.seen().to_vec()),
            ("classes_held_out.txt", self.pairs.held_out().to_vec()),
        ] {
            let mut names: Vec<String> = pairs.iter().map(Pair::to_string).collect();
            names.push(String::new());
            self.put(name.to_owned(), names.join("\n").as_bytes())?;
        }
        let description = Description {
            schema: begun.schema,
            name: begun.name,
            generator: begun.generator,
            spec: begun.spec,
            classes: Pair::all().len(),
            held_out_classes: self.pairs.held_out().iter().map(Pair::to_string).collect(),
            splits,
            files: self.files,
        };
        let text = json(COMPLETE, &description)?;
        write_atomic(self.folder.path_of(COMPLETE)?, &text)?;
        Ok(description.summary(text.len() as u64, false))
    }

    fn split(&mut self, split: Split, n: u32, bar: &Bar) -> Result<SplitSummary, Error> {
        let records = Record::of_split(split, n, self.spec, &self.pairs);
        remove_stale_temporaries(self.folder.path_of(&format!("images/{}", split.name()))?)?;
        let mut images = Hasher::new();
        let mut image_bytes = 0;
        for step in records.chunks(IMAGES_PER_STEP) {
            let written: Vec<FileDigest> = step
                .par_iter()
                .map(|record| self.image(record))
                .collect::<Result<_, Error>>()?;
            for image in written {
                images.update(image.sha256.as_bytes());
                image_bytes += image.len_bytes;
            }
            bar.0.advance(step.len() as u64);
        }

        let mut lines = Vec::new();
        let name = format!("scenes_{}.jsonl", split.name());
        for record in &records {
            serde_json::to_writer(&mut lines, &record.line()).map_err(Error::table(&name))?;
            lines.push(b'\n');
        }
        self.put(name, &lines)?;
        for (name, bytes) in annotations(split, &records, self.spec)? {
            self.put(name, &bytes)?;
        }
        for (name, bytes) in tables(split, &records, self.spec)? {
            self.put(name, &bytes)?;
        }
        let regions = regions::table(&records, self.spec)?;
        self.put(format!("regions/{}.tsv", split.name()), &regions)?;
        let sum = |of: fn(&Record) -> usize| records.iter().map(|r| of(r) as u64).sum();
        Ok(SplitSummary {
            split,
            scenes: u64::from(n),
            held_out: sum(|r| usize::from(r.is_held_out())),
            objects: sum(|r| r.scene.objects.len()),
            captions: sum(|r| r.captions.len()),
            questions: sum(|r| r.questions.len()),
            image_bytes,
            images_sha256: images.finish(),
        })
    }

    fn image(&self, record: &Record) -> Result<FileDigest, Error> {
        let bytes = record.image(self.spec)?;
        let path = self.folder.path_of(&record.image_name(self.spec))?;
        let mut file = AtomicFile::create_with(&path, Durability::Process)?;
        file.write_all(&bytes).map_err(Error::file("write", path))?;
        file.commit()?;
        Ok(FileDigest {
            len_bytes: bytes.len() as u64,
            sha256: Digest::of(&bytes),
        })
    }

    fn put(&mut self, path: String, bytes: &[u8]) -> Result<(), Error> {
        write_atomic(self.folder.path_of(&path)?, bytes)?;
        self.files.push(Listed {
            path,
            len_bytes: bytes.len() as u64,
            sha256: Digest::of(bytes),
        });
        Ok(())
    }
}

impl Description {
    /// `len_bytes` is the length of the description's own file.
    fn summary(self, len_bytes: u64, unchanged: bool) -> Summary {
        let scenes: u64 = self.splits.iter().map(|s| s.scenes).sum();
        let image_bytes: u64 = self.splits.iter().map(|s| s.image_bytes).sum();
        let listed: u64 = self.files.iter().map(|f| f.len_bytes).sum();
        Summary {
            schema: SCHEMA,
            unchanged,
            files: scenes + self.files.len() as u64 + 1,
            bytes: image_bytes + listed + len_bytes,
            splits: self.splits,
            held_out_classes: self.held_out_classes,
        }
    }
}

/// Reads every file of a complete dataset and compares it with its description.
fn verify(
    folder: &Folder,
    spec: &ScenesSpec,
    description: Description,
    progress: &dyn Progress,
) -> Result<Summary, Error> {
    let bar = Bar::start(progress, total(spec));
    for listed in &description.files {
        let path = folder.path_of(&listed.path)?;
        let found = digest(&path)?;
        if (found.len_bytes, found.sha256) != (listed.len_bytes, listed.sha256) {
            return Err(Error::Damaged {
                path,
                problem: Damage::Content,
            });
        }
    }
    for split in &description.splits {
        let images = folder.path_of(&format!("images/{}", split.split.name()))?;
        let extension = spec.format.extension();
        let scenes: Vec<u64> = (0..split.scenes).collect();
        let mut hasher = Hasher::new();
        for step in scenes.chunks(IMAGES_PER_STEP) {
            let found: Vec<FileDigest> = step
                .par_iter()
                .map(|index| digest(&images.join(format!("{index:06}.{extension}"))))
                .collect::<Result<_, Error>>()?;
            for image in found {
                hasher.update(image.sha256.as_bytes());
            }
            bar.0.advance(step.len() as u64);
        }
        if hasher.finish() != split.images_sha256 {
            return Err(Error::Damaged {
                path: images,
                problem: Damage::Images,
            });
        }
    }
    let path = folder.path_of(COMPLETE)?;
    let len_bytes = digest(&path)?.len_bytes;
    Ok(description.summary(len_bytes, true))
}

fn digest(path: &Path) -> Result<FileDigest, Error> {
    match digest_file(path) {
        Err(sightline_store::Error::File { source, .. })
            if source.kind() == ErrorKind::NotFound =>
        {
            Err(Error::Damaged {
                path: path.to_owned(),
                problem: Damage::Missing,
            })
        }
        result => Ok(result?),
    }
}

fn counts(spec: &ScenesSpec) -> [(Split, u32); 3] {
    [
        (Split::Train, spec.train),
        (Split::Val, spec.val),
        (Split::Test, spec.test),
    ]
}

fn total(spec: &ScenesSpec) -> u64 {
    counts(spec).iter().map(|(_, n)| u64::from(*n)).sum()
}

fn json(name: &str, content: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec_pretty(content).map_err(Error::table(name))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The file's bytes, `None` when it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", path)(e)),
    }
}

/// Refuses a folder that holds anything but what a run killed at its very start leaves.
fn empty(out: &Path) -> Result<(), Error> {
    remove_stale_temporaries(out)?;
    match fs::read_dir(out).map_err(Error::file("list", out))?.next() {
        None => Ok(()),
        Some(entry) => Err(Error::Foreign {
            path: out.to_owned(),
            name: entry
                .map_err(Error::file("list", out))?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        }),
    }
}

/// Ends the progress on every way out.
struct Bar<'a>(&'a dyn Progress);

impl<'a> Bar<'a> {
    fn start(progress: &'a dyn Progress, total: u64) -> Self {
        progress.start("scenes", Some(total));
        Self(progress)
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}
