//! A dataset as plain files: `sightline shards export`.
//!
//! A sample becomes `KEY.jpg` (or what its image is), `KEY.txt` with its first caption and `KEY.json` with its metadata, all captions among them where there are
//! several: the members that an archive of WebDataset has. Each shard has a folder of its own, named like it; without them all files lie
//! together. The files survive the end of the process, but they are not flushed one by one: a loss of power soon after may empty some.
//!
//! # Names
//!
//! Keys come from strangers. A key cannot leave the folder (no shard with such a key is read), and here nothing in a name acts on a file system or a shell:
//! control characters, invisible ones, `< > : " | ? * \ %`, a dot or a dash at the beginning, a dot or a space at the end, every dot in the name of a
//! folder and the names of devices of Windows (`con`, `nul`, `com1`, …) are written as `%` and two hexadecimal digits for each byte. A name that becomes longer than 200
//! bytes ends in a digest instead. Two samples that would be the same file, as on file systems that do not tell upper from lower case, are an
//! error: no file is written over another. A store tells upper from lower case; there each file is put with a request of its own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;
use sightline_core::text::is_hidden;
use sightline_core::{Digest, ObjectSource, Progress, Sample};
use sightline_shard::{ReaderStats, webdataset};
use sightline_store::Folder;

use crate::convert::NamedShard;
use crate::reshard::check_space;
use crate::select::Select;
use crate::staging::{Job, Staging, Target, failed};
use crate::{Error, PassedOver, Result};

/// Version of the serialised form.
const SCHEMA: u32 = 1;

/// Longest name that is kept, below the 255 bytes that file systems allow.
const NAME_LEN_BYTES: usize = 200;

/// How to export.
#[derive(Clone)]
pub struct ExportSpec<'a> {
    /// Whether all files lie in one folder.
    pub flat: bool,
    /// Which samples are written.
    pub select: &'a dyn Select,
    /// Whether an output that is there is replaced.
    pub force: bool,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Version of this form: 1.
    pub schema: u32,
    /// Samples written.
    pub samples: u64,
    /// Samples that were not meant.
    pub left_out: u64,
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub len_bytes: u64,
    /// What was not taken over.
    #[serde(flatten)]
    pub passed_over: PassedOver,
}

/// Writes the samples of the shards `names` of `source` as files into the folder `out`.
pub fn export(
    source: &dyn ObjectSource,
    names: &[NamedShard],
    out: impl Into<Target>,
    spec: &ExportSpec<'_>,
    progress: &dyn Progress,
) -> Result<Exported> {
    let out = out.into();
    let bytes: u64 = names
        .iter()
        .filter_map(|(name, _)| source.object(name).and_then(|object| object.len()).ok())
        .sum();
    check_space(&out, bytes)?;
    let staging = Staging::begin(&out, spec.force, Job::anew())?;
    let root = staging.folder()?;
    progress.start("shards", Some(names.len() as u64));
    let counts: Result<Vec<(Exported, ReaderStats)>> = names
        .par_iter()
        .map(|(name, format)| {
            let folder = if spec.flat {
                String::new()
            } else {
                folder_of(name, format.extension()) + "/"
            };
            let mut counts = Exported::default();
            let mut reader = format.open(source, name)?;
            while let Some(sample) = reader.next_sample()? {
                if spec.select.keeps(name, &sample)? {
                    counts.write(&root, &folder, &sample)?;
                } else {
                    counts.left_out += 1;
                }
            }
            progress.advance(1);
            Ok((counts, reader.stats().clone()))
        })
        .collect();
    progress.finish();
    let mut all = Exported {
        schema: SCHEMA,
        ..Exported::default()
    };
    let mut all_stats = ReaderStats::default();
    for (counts, stats) in counts? {
        all_stats.add(&stats);
        all.samples += counts.samples;
        all.left_out += counts.left_out;
        all.files += counts.files;
        all.len_bytes += counts.len_bytes;
    }
    all.passed_over = all_stats.into();
    staging.finish()?;
    Ok(all)
}

impl Exported {
    fn write(&mut self, root: &Folder, folder: &str, sample: &Sample) -> Result<()> {
        let stem = format!("{folder}{}", path_of(sample.key.as_str()));
        for (member, data) in webdataset::members(sample)? {
            let extension = member.rsplit('.').next().unwrap_or_default();
            write_new(root, &format!("{stem}.{extension}"), &data)?;
            self.files += 1;
            self.len_bytes += data.len() as u64;
        }
        self.samples += 1;
        Ok(())
    }
}

fn write_new(root: &Folder, name: &str, data: &[u8]) -> Result<()> {
    let is_new = if root.is_local() {
        write_new_file(&root.path_of(name)?, data)?
    } else {
        root.write_new(name, data)?
    };
    if is_new {
        return Ok(());
    }
    Err(Error::SameFile {
        name: name.rsplit('/').next().unwrap_or_default().to_owned(),
    })
}

/// Writes a file unless there is one, and does not flush it: `false` if there is.
fn write_new_file(path: &Path, data: &[u8]) -> Result<bool> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
    }
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    match opened.and_then(|mut file| file.write_all(data)) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        written => written.map(|()| true).map_err(failed("write", path)),
    }
}

/// The folder of a shard's files: its name without the extension.
fn folder_of(name: &str, extension: &str) -> String {
    let stem = name.strip_suffix(extension).unwrap_or(name);
    let stem = stem.strip_suffix('.').unwrap_or(stem);
    let parts = stem
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."));
    let parts: Vec<String> = parts.map(|part| safe(part, true)).collect();
    parts.join("/")
}

/// The path of a key's files, without their extension.
fn path_of(key: &str) -> String {
    let last = key.split('/').count() - 1;
    let parts = key.split('/').enumerate();
    let parts: Vec<String> = parts.map(|(at, part)| safe(part, at < last)).collect();
    parts.join("/")
}

/// `part` as the name of a file or of a folder.
fn safe(part: &str, is_folder: bool) -> String {
    let last = part.chars().count().saturating_sub(1);
    let is_device = is_device(part);
    let mut name = String::with_capacity(part.len());
    for (at, c) in part.chars().enumerate() {
        let acts = is_hidden(c)
            || "<>:\"|?*\\/%".contains(c)
            || (at == 0 && (is_device || matches!(c, '.' | '-' | ' ' | '~')))
            || (at == last && matches!(c, '.' | ' '))
            || (is_folder && c == '.');
        if acts {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
                name.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        } else {
            name.push(c);
        }
    }
    if name.len() > NAME_LEN_BYTES {
        let digest = Digest::of(part.as_bytes()).short();
        name.truncate(name.floor_char_boundary(NAME_LEN_BYTES - digest.len() - 1));
        name.push('~');
        name.push_str(&digest);
    }
    name
}

/// Whether Windows takes `name` for a device.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let stem = stem.to_ascii_lowercase();
    let numbered = |stem: &str| {
        let number = stem
            .strip_prefix("com")
            .or_else(|| stem.strip_prefix("lpt"));
        number.is_some_and(|n| {
            n.chars().count() == 1 && n.chars().all(|c| "0123456789¹²³".contains(c))
        })
    };
    matches!(
        stem.as_str(),
        "con" | "prn" | "aux" | "nul" | "conin$" | "conout$"
    ) || numbered(&stem)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sightline_core::io::Memory;
    use sightline_core::progress::Silent;
    use sightline_core::{Metadata, SampleKey, ShardId};
    use sightline_shard::{FORMATS, ShardFormat as _, conformance, files};

    use super::*;
    use crate::select::All;

    const SPEC: ExportSpec<'_> = ExportSpec {
        flat: false,
        select: &All,
        force: false,
    };

    #[test]
    fn shards_of_every_format_become_the_files_of_their_samples() {
        let samples = conformance::samples();
        for format in FORMATS {
            let mut shards = Memory::default();
            let mut writer = format.create(&mut shards, ShardId(0)).unwrap();
            for sample in &samples {
                writer.write(sample).unwrap();
            }
            writer.finish().unwrap();
            let names: [NamedShard; 1] = [(format.file_name(ShardId(0)), *format)];
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join("out");
            for flat in [false, true] {
                let spec = ExportSpec {
                    flat,
                    force: true,
                    ..SPEC
                };
                let done = export(&shards, &names, &out, &spec, &Silent).unwrap();
                assert_eq!(done.samples, samples.len() as u64, "{}", format.name());
            }
            for sample in &samples {
                for (member, data) in webdataset::members(sample).unwrap() {
                    // None of these keys needs other names, but for the dot of a folder.
                    let path = out.join(member.replace("folder.v1", "folder%2ev1"));
                    assert_eq!(fs::read(path).unwrap(), data, "{}: {member}", format.name());
                }
            }
        }
    }

    #[test]
    fn exported_files_are_read_as_a_folder_of_samples() {
        let samples = &conformance::samples()[..4];
        let mut shards = Memory::default();
        let mut writer = webdataset::WebDataset
            .create(&mut shards, ShardId(7))
            .unwrap();
        for sample in samples {
            writer.write(sample).unwrap();
        }
        writer.finish().unwrap();
        let names: [NamedShard; 1] = [("00007.tar".to_owned(), &webdataset::WebDataset)];
        let dir = tempfile::tempdir().unwrap();
        export(&shards, &names, &dir.path().join("out"), &SPEC, &Silent).unwrap();
        let folder = sightline_store::Folder::open(dir.path().join("out")).unwrap();
        let mut reader = files::Files.open(&folder, "00007").unwrap();
        for sample in samples {
            assert_eq!(reader.next_sample().unwrap().as_ref(), Some(sample));
        }
    }

    #[test]
    fn samples_that_would_be_the_same_file_are_an_error() {
        let mut shards = Memory::default();
        let mut names: Vec<NamedShard> = Vec::new();
        for id in 0..2 {
            let mut writer = webdataset::WebDataset
                .create(&mut shards, ShardId(id))
                .unwrap();
            let sample = Sample {
                key: SampleKey::new("a").unwrap(),
                image: None,
                captions: Vec::new(),
                meta: Metadata::new(),
            };
            writer.write(&sample).unwrap();
            writer.finish().unwrap();
            names.push((format!("{}.tar", ShardId(id)), &webdataset::WebDataset));
        }
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let flat = ExportSpec { flat: true, ..SPEC };
        let error = export(&shards, &names, &out, &flat, &Silent).unwrap_err();
        assert!(error.to_string().contains("`a.json`"), "{error}");
        assert!(!out.exists());
        assert_eq!(
            export(&shards, &names, &out, &SPEC, &Silent).unwrap().files,
            2
        );
    }

    #[test]
    fn nothing_in_a_name_acts_on_the_file_system() {
        for (key, path) in [
            ("000000001", "000000001"),
            ("a/b", "a/b"),
            ("v.1/b", "v%2e1/b"),
            ("con", "%63on"),
            ("COM1", "%43OM1"),
            ("console", "console"),
            ("-rf", "%2drf"),
            ("a:b?", "a%3ab%3f"),
            ("100%", "100%25"),
            ("a\u{202e}b", "a%e2%80%aeb"),
            (" a ", "%20a%20"),
            ("été 😀", "été 😀"),
        ] {
            assert_eq!(path_of(key), path, "{key:?}");
        }
        let long = path_of(&"?".repeat(90));
        assert!(
            long.len() <= NAME_LEN_BYTES && long.starts_with("%3f"),
            "{long}"
        );
        assert_eq!(folder_of("a/../b/00000.tar.gz", "tar.gz"), "a/b/00000");
    }

    proptest! {
        #[test]
        fn different_keys_are_different_files(a in "[.:%a-c/ -]{1,6}", b in "[.:%a-c/ -]{1,6}") {
            if let (Ok(a), Ok(b)) = (SampleKey::new(a), SampleKey::new(b)) {
                prop_assert_eq!(path_of(a.as_str()) == path_of(b.as_str()), a == b);
            }
        }

        #[test]
        fn every_key_has_a_path_of_as_many_parts(key in ".{1,40}") {
            if let Ok(key) = SampleKey::new(key) {
                let path = path_of(key.as_str());
                let path = Path::new(&path);
                prop_assert!(path.is_relative());
                prop_assert_eq!(path.components().count(), key.as_str().split('/').count());
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
            }
        }
    }
}
