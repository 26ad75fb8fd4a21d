//! Getting the files of a published dataset to where its manifest expects them, and saying whether all is there.
//!
//! Each source of the manifest is taken from the user's copy (a folder that holds the published files, or the files
//! as they are unpacked), else from `downloads/` of the data folder, else fetched into it where the manifest has an address.
//! Length and digests are checked before anything is unpacked. What was done is noted in `.prepared/` of the data folder,
//! so that the same command goes on where another one was stopped; each file is written under another name first.
//!
//! Then what the manifest promises is counted: files of images, and examples of the annotations. [`Preparing::shards`] makes
//! shards of them.

mod ids;
mod shards;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::MultiGzDecoder;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use sightline_core::{Digest, Progress};
use sightline_manifest::{DatasetCard, DatasetSource, PlannedDataset, Roots};
use sightline_store::{AtomicFile, Stores, digest_file};
use zip::ZipArchive;

use crate::annotations::{Files, form};
use crate::dataset::{IDS, IMAGE, Ids, below, folder_of, places};
use crate::example::Example;
use crate::{Error, Result};

pub use ids::{Amount, Drawn};
pub use shards::{NOTE, Sharding, ShardingError, Shards};

/// Folder of fetched files below the data folder.
const DOWNLOADS: &str = "downloads";
/// Folder of the notes below the data folder.
const NOTES: &str = ".prepared";
/// Version of the notes.
const SCHEMA: u32 = 1;
/// Bytes that are copied between two looks at the stop flag.
const PIECE: usize = 1 << 20;

/// Files by their role.
type Found = BTreeMap<String, Vec<PathBuf>>;

/// What is prepared, and from what.
pub struct Preparing<'a> {
    /// What the manifest says for people.
    pub card: &'a DatasetCard,
    /// What it says for programs.
    pub dataset: &'a PlannedDataset,
    /// The data folder and that of the manifests.
    pub roots: &'a Roots,
    /// The user's copy.
    pub from: Option<&'a Path>,
    /// Opens addresses; `None`: nothing is fetched.
    pub stores: Option<&'a Stores>,
    /// Told of files.
    pub progress: &'a dyn Progress,
    /// Ends the work between two pieces of a file.
    pub stop: &'a AtomicBool,
}

/// What became of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preparation {
    /// Each source, in the order of the manifest.
    pub sources: Vec<SourceOutcome>,
    /// What was counted.
    pub checks: Vec<Check>,
}

impl Preparation {
    /// Whether all is there that the manifest promises.
    pub fn is_complete(&self) -> bool {
        let is_there =
            |source: &SourceOutcome| !matches!(source.state, SourceState::Missing { .. });
        self.sources.iter().all(is_there) && self.checks.iter().all(Check::is_right)
    }
}

/// What became of a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceOutcome {
    /// What it is called.
    pub file: String,
    /// What became of it.
    pub state: SourceState,
}

/// What became of a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum SourceState {
    /// It was there before.
    There,
    /// It was taken from the user's copy, or from what was fetched before.
    Taken,
    /// It was fetched.
    Fetched,
    /// It is not there.
    Missing {
        /// What a person can do.
        why: String,
    },
}

/// Something that was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// How many there are.
    pub found: u64,
    /// How many there must be; `None` where the manifest does not say, and one is enough.
    pub expected: Option<u64>,
}

impl Check {
    /// Whether there are as many as there must be.
    pub fn is_right(&self) -> bool {
        match self.expected {
            Some(expected) => self.found == expected,
            None => self.found > 0,
        }
    }
}

/// A note of what was done.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    schema: u32,
    /// The source as the manifest had it.
    source: Digest,
    /// Files that were written, below the data folder, with their lengths.
    files: BTreeMap<String, u64>,
}

/// Prepares a dataset. What is missing is told and no error; a file that is another one than the manifest says is.
pub fn prepare(preparing: &Preparing<'_>) -> Result<Preparation> {
    let data = &preparing.roots.data;
    fs::create_dir_all(data).map_err(io_at(data))?;
    let count = preparing.card.sources.len() as u64;
    preparing.progress.start("files", Some(count));
    let mut sources = Vec::new();
    for source in &preparing.card.sources {
        preparing.progress.message(&source.file);
        let state = preparing.source(source)?;
        preparing.progress.advance(1);
        sources.push(SourceOutcome {
            file: source.file.clone(),
            state,
        });
    }
    preparing.progress.finish();
    let is_whole = sources
        .iter()
        .all(|source| !matches!(source.state, SourceState::Missing { .. }));
    let checks = if is_whole {
        preparing.checks()?
    } else {
        Vec::new()
    };
    Ok(Preparation { sources, checks })
}

impl Preparing<'_> {
    fn source(&self, source: &DatasetSource) -> Result<SourceState> {
        let digest = Digest::of_json(source)?;
        let note = self
            .roots
            .data
            .join(NOTES)
            .join(format!("{}.json", digest.short()));
        if self.is_done(&note, digest) {
            return Ok(SourceState::There);
        }
        let target = self.roots.data.join(&source.to);
        let downloaded = self.roots.data.join(DOWNLOADS).join(&source.file);
        let given = self.from.map(|from| from.join(&source.file));
        let unpacked = self.from.map(|from| from.join(&source.to));
        let (files, state) = if let Some(path) = given.filter(|path| path.is_file()) {
            self.check(source, &path)?;
            (self.place(source, &path, &target)?, SourceState::Taken)
        } else if let Some(path) = unpacked.filter(|path| path.exists() && *path != target) {
            // As it lies unpacked there is no digest to compare: what is counted must do.
            (self.copy_tree(&path, &target)?, SourceState::Taken)
        } else if downloaded.is_file() {
            self.check(source, &downloaded)?;
            (
                self.place(source, &downloaded, &target)?,
                SourceState::Taken,
            )
        } else if target.exists() && (!source.unpack || has_files(&target)) {
            // Put there by hand.
            if !source.unpack {
                self.check(source, &target)?;
            }
            return Ok(SourceState::There);
        } else {
            let (Some(url), Some(stores)) = (&source.url, self.stores) else {
                let why = self.advice(source);
                return Ok(SourceState::Missing { why });
            };
            self.fetch(stores, url, &downloaded)?;
            self.check(source, &downloaded)?;
            let files = self.place(source, &downloaded, &target)?;
            (files, SourceState::Fetched)
        };
        let note_of = Note {
            schema: SCHEMA,
            source: digest,
            files,
        };
        fs::create_dir_all(self.roots.data.join(NOTES)).map_err(io_at(&note))?;
        sightline_store::write_atomic(&note, &serde_json::to_vec(&note_of)?)?;
        Ok(state)
    }

    /// Whether a note says that a source was placed, and its files are there.
    fn is_done(&self, note: &Path, source: Digest) -> bool {
        let Ok(bytes) = fs::read(note) else {
            return false;
        };
        let Ok(note) = serde_json::from_slice::<Note>(&bytes) else {
            return false;
        };
        let is_there = |(name, bytes): (&String, &u64)| {
            let found = fs::metadata(self.roots.data.join(name));
            found.is_ok_and(|found| found.len() == *bytes)
        };
        note.schema == SCHEMA && note.source == source && note.files.iter().all(is_there)
    }

    /// What a person can do about a source that is not there.
    fn advice(&self, source: &DatasetSource) -> String {
        let page = self.card.published.as_ref().map(|published| {
            let first = match published.access {
                sightline_manifest::Access::Open => "Get it from",
                sightline_manifest::Access::Login => "It needs an account: log in at",
                sightline_manifest::Access::Agreement => "It needs an agreement: see the terms at",
            };
            format!(
                "{first} {} (licence: {})",
                published.page, published.licence
            )
        });
        let page = page.unwrap_or_else(|| "The manifest does not say where it is".to_owned());
        format!(
            "{page}; put `{}` into a folder and name that with --from, or put it into `{}`.",
            source.file,
            self.roots.data.join(DOWNLOADS).display()
        )
    }

    fn fetch(&self, stores: &Stores, url: &str, to: &Path) -> Result<()> {
        let folder = self.roots.data.join(DOWNLOADS);
        fs::create_dir_all(&folder).map_err(io_at(&folder))?;
        let (place, name) = stores.object(Path::new(url))?;
        let part = folder.join(format!("{}.part", file_name(to)));
        let is_stopped = || self.stop.load(Ordering::Relaxed);
        if place.download(&name, &part, &is_stopped)?.is_none() {
            return Err(Error::Stopped);
        }
        fs::rename(&part, to).map_err(io_at(to))
    }

    /// Compares a published file with what the manifest says of it.
    fn check(&self, source: &DatasetSource, path: &Path) -> Result<()> {
        let differs = |what, found: String, expected: String| Error::OtherSource {
            path: path.to_owned(),
            what,
            found,
            expected,
        };
        let found = fs::metadata(path).map_err(io_at(path))?.len();
        if let Some(bytes) = source.bytes.filter(|&bytes| bytes != found) {
            return Err(differs("length", found.to_string(), bytes.to_string()));
        }
        if let Some(expected) = &source.sha256 {
            let found = digest_file(path)?.sha256.to_string();
            if found != *expected {
                return Err(differs("SHA-256", found, expected.clone()));
            }
        }
        if let Some(expected) = &source.md5 {
            let mut hasher = Hashed(Md5::new());
            let file = File::open(path).map_err(io_at(path))?;
            self.copy(file, &mut hasher, path)?;
            let mut found = String::new();
            for byte in hasher.0.finalize() {
                let _ = write!(found, "{byte:02x}");
            }
            if found != *expected {
                return Err(differs("MD5", found, expected.clone()));
            }
        }
        Ok(())
    }

    /// Puts a published file to where the manifest wants it; returns what was written.
    fn place(
        &self,
        source: &DatasetSource,
        path: &Path,
        target: &Path,
    ) -> Result<BTreeMap<String, u64>> {
        let mut written = BTreeMap::new();
        if !source.unpack {
            let file = File::open(path).map_err(io_at(path))?;
            self.write(file, target, path, &mut written)?;
            return Ok(written);
        }
        let open = || File::open(path).map_err(io_at(path));
        match Packing::of(&source.file) {
            Some(Packing::Zip) => self.unzip(open()?, source, path, target, &mut written)?,
            Some(Packing::Tar) => self.untar(open()?, source, path, target, &mut written)?,
            Some(Packing::TarGz) => {
                let plain = MultiGzDecoder::new(open()?);
                self.untar(plain, source, path, target, &mut written)?;
            }
            Some(Packing::Gz(plain)) => {
                let to = target.join(plain);
                self.write(MultiGzDecoder::new(open()?), &to, path, &mut written)?;
            }
            None => {
                return Err(Error::Archive {
                    path: path.to_owned(),
                    reason: "has no ending that is known: .zip, .tar, .tar.gz, .tgz or .gz"
                        .to_owned(),
                });
            }
        }
        Ok(written)
    }

    fn unzip(
        &self,
        file: impl Read + Seek,
        source: &DatasetSource,
        path: &Path,
        target: &Path,
        written: &mut BTreeMap<String, u64>,
    ) -> Result<()> {
        let broken = |error: zip::result::ZipError| Error::Archive {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut archive = ZipArchive::new(file).map_err(broken)?;
        for number in 0..archive.len() {
            let member = archive.by_index(number).map_err(broken)?;
            if !member.is_file() {
                continue;
            }
            let name = member.name().map_err(broken)?.into_owned();
            if let Some(to) = place_of_member(path, target, &name, source.strip)? {
                self.write(member, &to, path, written)?;
            }
        }
        Ok(())
    }

    fn untar(
        &self,
        file: impl Read,
        source: &DatasetSource,
        path: &Path,
        target: &Path,
        written: &mut BTreeMap<String, u64>,
    ) -> Result<()> {
        let broken = |error: io::Error| Error::Archive {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut archive = tar::Archive::new(file);
        for entry in archive.entries().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
            if let Some(to) = place_of_member(path, target, &name, source.strip)? {
                self.write(entry, &to, path, written)?;
            }
        }
        Ok(())
    }

    /// Copies a file or a folder with all that is in it.
    fn copy_tree(&self, from: &Path, to: &Path) -> Result<BTreeMap<String, u64>> {
        let mut written = BTreeMap::new();
        let mut left = vec![(from.to_owned(), to.to_owned())];
        while let Some((from, to)) = left.pop() {
            if from.is_dir() {
                for entry in fs::read_dir(&from).map_err(io_at(&from))? {
                    let entry = entry.map_err(io_at(&from))?;
                    left.push((entry.path(), to.join(entry.file_name())));
                }
                continue;
            }
            let file = File::open(&from).map_err(io_at(&from))?;
            self.write(file, &to, &from, &mut written)?;
        }
        Ok(written)
    }

    /// Writes the file `to` from what `reader` gives, which is a part of `from`.
    fn write(
        &self,
        reader: impl Read,
        to: &Path,
        from: &Path,
        written: &mut BTreeMap<String, u64>,
    ) -> Result<()> {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(io_at(folder))?;
        }
        let mut file = AtomicFile::create_with(to, sightline_store::Durability::Process)?;
        let bytes = self.copy(reader, &mut file, from)?;
        file.commit()?;
        let below = to.strip_prefix(&self.roots.data).unwrap_or(to);
        written.insert(below.to_string_lossy().into_owned(), bytes);
        Ok(())
    }

    fn copy(&self, mut reader: impl Read, to: &mut impl Write, from: &Path) -> Result<u64> {
        let mut buffer = vec![0; PIECE];
        let mut bytes = 0;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let read = reader.read(&mut buffer).map_err(io_at(from))?;
            if read == 0 {
                return Ok(bytes);
            }
            to.write_all(&buffer[..read]).map_err(io_at(from))?;
            bytes += read as u64;
        }
    }

    /// Counts what the manifest promises.
    fn checks(&self) -> Result<Vec<Check>> {
        let (mut checks, found) = self.found()?;
        let is_there = checks.iter().all(|check| check.found > 0);
        if is_there && let Some(examples) = self.examples(&found)? {
            let published = self.card.published.as_ref();
            checks.push(Check {
                what: "examples".to_owned(),
                found: examples.len() as u64,
                expected: published.and_then(|published| published.examples),
            });
        }
        if is_there && self.dataset.shards.is_some() {
            let published = self.card.published.as_ref();
            let mut samples = 0;
            self.each_shard(&found, |folder, format, name| {
                samples += format.count(folder, name)?;
                Ok(())
            })?;
            checks.push(Check {
                what: "samples".to_owned(),
                found: samples,
                expected: published.and_then(|published| published.examples),
            });
        }
        Ok(checks)
    }

    /// The files of each role, counted.
    fn found(&self) -> Result<(Vec<Check>, Found)> {
        let published = self.card.published.as_ref();
        let mut checks = Vec::new();
        let mut found = Found::new();
        for (role, place) in places(self.dataset) {
            let folder = folder_of(self.roots, place)?;
            // What is not there is counted as none.
            let names = folder.expand(&[below(place)]).unwrap_or_default();
            let expected = published.and_then(|published| published.images);
            checks.push(Check {
                what: format!("files of `{role}`"),
                found: names.len() as u64,
                expected: expected.filter(|_| role == IMAGE),
            });
            let paths = names.iter().map(|name| folder.path_of(name));
            found.insert(role, paths.collect::<std::result::Result<_, _>>()?);
        }
        Ok((checks, found))
    }

    /// What the annotations say about the samples that are there; `None` of a dataset of shards.
    fn examples(&self, found: &Found) -> Result<Option<Vec<Example>>> {
        let Some(annotations) = &self.dataset.annotations else {
            return Ok(None);
        };
        let form = form(&annotations.form)?;
        let files = annotations.files.keys().flat_map(|role| {
            let paths = found.get(&crate::dataset::annotation_role(role));
            let paths = paths.into_iter().flatten();
            paths.map(|path| (role.clone(), path.clone()))
        });
        let files = Files::new(form, annotations.split.as_deref(), files.collect());
        let images = found.get(IMAGE).map_or(&[][..], Vec::as_slice);
        let examples = form.read(&files.with_images(images))?;
        let ids = found.get(IDS).and_then(|paths| paths.first());
        Ok(Some(match ids {
            Some(path) => Ids::read(&self.card.name, path)?.only(examples)?,
            None => examples,
        }))
    }
}

/// Where a member of an archive goes, which must be below the target; `None` for one of which nothing is left.
fn place_of_member(
    archive: &Path,
    target: &Path,
    name: &str,
    strip: u32,
) -> Result<Option<PathBuf>> {
    let parts: Vec<Component<'_>> = Path::new(name)
        .components()
        .filter(|part| !matches!(part, Component::CurDir))
        .collect();
    if !parts
        .iter()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        return Err(Error::Archive {
            path: archive.to_owned(),
            reason: format!("its member `{name}` would leave the folder"),
        });
    }
    let left: PathBuf = parts.into_iter().skip(strip as usize).collect();
    Ok((!left.as_os_str().is_empty()).then(|| target.join(left)))
}

/// How a published file is packed, by its ending.
enum Packing<'a> {
    Zip,
    Tar,
    TarGz,
    /// One file, of this name.
    Gz(&'a str),
}

impl<'a> Packing<'a> {
    fn of(file: &'a str) -> Option<Self> {
        let (stem, end) = file.rsplit_once('.')?;
        let is_tar = Path::new(stem)
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("tar"));
        match end.to_ascii_lowercase().as_str() {
            "zip" => Some(Self::Zip),
            "tar" => Some(Self::Tar),
            "tgz" => Some(Self::TarGz),
            "gz" if is_tar => Some(Self::TarGz),
            "gz" => Some(Self::Gz(stem)),
            _ => None,
        }
    }
}

/// Takes what is written into a digest.
struct Hashed(Md5);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        path: path.clone(),
        source,
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn has_files(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use sightline_core::progress::Silent;
    use sightline_manifest::{Access, DatasetPublished, Place, PlannedAnnotations};

    use super::*;

    const CAPTIONS: &str = r#"{"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"image_id": 1, "id": 5, "caption": "x"}]}"#;

    fn zipped(members: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in members {
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored);
            writer.start_file(*name, options).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn source(file: &str, to: &str) -> DatasetSource {
        DatasetSource {
            file: file.to_owned(),
            url: None,
            to: to.to_owned(),
            unpack: true,
            strip: 1,
            bytes: None,
            sha256: None,
            md5: None,
        }
    }

    fn card(sources: Vec<DatasetSource>) -> DatasetCard {
        DatasetCard {
            name: "tiny".to_owned(),
            description: "Tiny.".to_owned(),
            published: Some(DatasetPublished {
                page: "https://example.org/tiny".to_owned(),
                licence: "CC0".to_owned(),
                citation: "Nobody 2026".to_owned(),
                access: Access::Agreement,
                examples: Some(1),
                images: Some(1),
                note: None,
            }),
            sources,
            paper_targets: Vec::new(),
        }
    }

    fn dataset() -> PlannedDataset {
        PlannedDataset {
            images: Some(Place::Data("tiny/*.jpg".to_owned())),
            annotations: Some(PlannedAnnotations {
                form: "coco-captions".to_owned(),
                split: None,
                files: [(
                    "captions".to_owned(),
                    Place::Data("tiny/captions.json".to_owned()),
                )]
                .into(),
            }),
            ..PlannedDataset::default()
        }
    }

    fn run(card: &DatasetCard, data: &Path, from: Option<&Path>) -> Result<Preparation> {
        let roots = Roots {
            data: data.to_owned(),
            ..Roots::default()
        };
        prepare(&Preparing {
            card,
            dataset: &dataset(),
            roots: &roots,
            from,
            stores: None,
            progress: &Silent,
            stop: &AtomicBool::new(false),
        })
    }

    #[test]
    fn a_copy_is_checked_unpacked_counted_and_not_taken_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (data, from) = (dir.path().join("data"), dir.path().join("copy"));
        fs::create_dir_all(&from).unwrap();
        let archive = zipped(&[
            ("top/captions.json", CAPTIONS),
            ("top/1.jpg", "an image"),
            ("top/", ""),
        ]);
        fs::write(from.join("tiny.zip"), &archive).unwrap();
        let mut tiny = source("tiny.zip", "tiny");
        tiny.bytes = Some(archive.len() as u64);
        tiny.sha256 = Some(Digest::of(&archive).to_string());
        let card_of = card(vec![tiny.clone()]);

        let missing = run(&card_of, &data, None).unwrap();
        let SourceState::Missing { why } = &missing.sources[0].state else {
            panic!("{missing:?}");
        };
        assert!(
            why.contains("needs an agreement: see the terms at https://example.org/tiny"),
            "{why}"
        );
        assert!(!missing.is_complete());

        let taken = run(&card_of, &data, Some(&from)).unwrap();
        assert_eq!(taken.sources[0].state, SourceState::Taken);
        assert!(taken.is_complete(), "{taken:?}");
        let there = run(&card_of, &data, None).unwrap();
        assert_eq!(there.sources[0].state, SourceState::There);
        // What was lost is taken again.
        fs::remove_file(data.join("tiny/1.jpg")).unwrap();
        let again = run(&card_of, &data, Some(&from)).unwrap();
        assert_eq!(
            (&again.sources[0].state, again.is_complete()),
            (&SourceState::Taken, true)
        );

        tiny.md5 = Some("0".repeat(32));
        let error = run(&card(vec![tiny]), &data, Some(&from))
            .unwrap_err()
            .to_string();
        assert!(error.contains("its MD5 is"), "{error}");
    }

    #[test]
    fn members_that_leave_the_folder_and_broken_archives_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("copy");
        fs::create_dir_all(&from).unwrap();
        fs::write(from.join("tiny.zip"), zipped(&[("a/../../b", "x")])).unwrap();
        fs::write(from.join("torn.zip"), b"PK").unwrap();
        fs::write(from.join("tiny.rar"), b"Rar").unwrap();
        for (file, message) in [
            ("tiny.zip", "its member `a/../../b` would leave the folder"),
            ("torn.zip", "cannot be unpacked"),
            ("tiny.rar", "has no ending that is known"),
        ] {
            let card = card(vec![source(file, "tiny")]);
            let error = run(&card, &dir.path().join("data"), Some(&from)).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
        assert!(!dir.path().join("b").exists());
    }

    #[test]
    fn other_numbers_than_promised_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("tiny")).unwrap();
        fs::write(data.join("tiny/captions.json"), CAPTIONS).unwrap();
        for name in ["1.jpg", "2.jpg"] {
            fs::write(data.join("tiny").join(name), "an image").unwrap();
        }
        let prepared = run(&card(Vec::new()), &data, None).unwrap();
        assert!(!prepared.is_complete());
        let wrong: Vec<&Check> = prepared
            .checks
            .iter()
            .filter(|check| !check.is_right())
            .collect();
        let [images] = &wrong[..] else {
            panic!("{wrong:?}");
        };
        assert_eq!(
            (images.what.as_str(), images.found, images.expected),
            ("files of `image`", 2, Some(1))
        );
    }
}
