//! Whole samples out of damaged shards: `sightline shards repair`.
//!
//! Each damaged shard is read to its end, and what is whole is written as a new shard of the same name into another folder. The
//! damaged one stays as it is. A sample that is damaged in itself (text that is no JSON, a checksum) is left out. Where a header is, an
//! archive is looked through for the next one, and the samples on both sides, of which something may be missing, are left out
//! too. In other formats, and behind damage of a compressed stream, nothing can be told to be a sample any more.

use std::collections::HashSet;
use std::error::Error as _;
use std::io;

use serde::Serialize;
use sightline_core::{Hint, ObjectSink, ObjectWriter, Progress, Sample, ShardId};
use sightline_shard::{ShardFormat, ShardReader};
use sightline_store::Folder;

use crate::convert::NamedShard;
use crate::{Error, Result};

/// Version of the serialised form.
const SCHEMA: u32 = 1;

/// What was salvaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// Version of this form: 1.
    pub schema: u32,
    /// The damaged shards; whole ones are not touched.
    pub shards: Vec<RepairedShard>,
    /// Shards that are whole.
    pub whole: u64,
}

/// What was salvaged of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepairedShard {
    /// Name of the damaged shard.
    pub name: String,
    /// Name of the new one; nothing where no sample was whole.
    pub new: Option<String>,
    /// Whole samples.
    pub samples: u64,
    /// Everything that is damaged, in its order.
    pub damages: Vec<String>,
    /// What to do about it.
    pub hints: Vec<String>,
}

/// Salvages the damaged ones among the shards `names` of `source` into `out`.
pub fn repair(
    source: &Folder,
    names: &[NamedShard],
    out: &Folder,
    force: bool,
    progress: &dyn Progress,
) -> Result<Repaired> {
    let mut repaired = Repaired {
        schema: SCHEMA,
        shards: Vec::new(),
        whole: 0,
    };
    progress.start("shards", Some(names.len() as u64));
    let mut taken = HashSet::new();
    for (name, format) in names {
        let mut samples = 0;
        let damages = whole_samples(source, name, *format, &mut |_| {
            samples += 1;
            Ok(())
        })?;
        progress.advance(1);
        if damages.is_empty() {
            repaired.whole += 1;
            continue;
        }
        if let Some(at) = damages.iter().position(is_store_failure) {
            let mut damages = damages;
            return Err(damages.swap_remove(at).into());
        }
        let new = if samples == 0 {
            None
        } else {
            let mut new = Renamed::of(out.clone(), name, *format, &mut taken);
            if !force && out.entry(&new.to)?.is_some() {
                return Err(Error::Exists { name: new.to });
            }
            let id = new.id;
            let mut writer = format.create(&mut new, id)?;
            whole_samples(source, name, *format, &mut |sample| {
                writer.write(sample).map_err(Error::from)
            })?;
            writer.finish()?;
            Some(new.to)
        };
        repaired.shards.push(RepairedShard {
            name: name.clone(),
            new,
            samples,
            damages: damages.iter().map(chain).collect(),
            hints: damages.first().map(hints).unwrap_or_default(),
        });
    }
    progress.finish();
    Ok(repaired)
}

/// Gives every whole sample of a shard to `each`, and says what is damaged in it.
pub(crate) fn whole_samples(
    source: &Folder,
    name: &str,
    format: &dyn ShardFormat,
    each: &mut dyn FnMut(&Sample) -> Result<()>,
) -> Result<Vec<sightline_shard::Error>> {
    let mut damages = Vec::new();
    let mut reader = match format.open(source, name) {
        Ok(reader) => reader,
        Err(error) => return Ok(vec![error]),
    };
    loop {
        match reader.next_sample() {
            Ok(Some(sample)) => each(&sample)?,
            Ok(None) => break,
            Err(error) => {
                damages.push(error);
                if !recovers(&mut *reader, &mut damages) {
                    break;
                }
            }
        }
    }
    Ok(damages)
}

/// Whether `reader` can go on behind its last error. What is damaged on the way is damage too, if it is another one.
fn recovers(reader: &mut dyn ShardReader, damages: &mut Vec<sightline_shard::Error>) -> bool {
    reader.recover().unwrap_or_else(|error| {
        let last = damages.last().map(ToString::to_string);
        if last != Some(error.to_string()) {
            damages.push(error);
        }
        reader.recover().unwrap_or(false)
    })
}

/// A folder in which a shard gets another name than that of its number.
struct Renamed {
    folder: Folder,
    id: ShardId,
    from: String,
    to: String,
}

impl Renamed {
    /// For a new shard in the place of `name`, whatever that is called. Shards whose members are files of their own are known by their
    /// number: theirs, or the next one that is not `taken`.
    fn of(folder: Folder, name: &str, format: &dyn ShardFormat, taken: &mut HashSet<u64>) -> Self {
        let mut id = number(name).unwrap_or(0);
        if format.folder_name(ShardId(id)).is_some() {
            while !taken.insert(id) {
                id += 1;
            }
        }
        let from = format.file_name(ShardId(id));
        let to = match format.folder_name(ShardId(id)) {
            Some(_) => from.clone(),
            None => name.rsplit('/').next().unwrap_or(name).to_owned(),
        };
        Self {
            folder,
            id: ShardId(id),
            from,
            to,
        }
    }
}

impl ObjectSink for Renamed {
    fn create(&mut self, name: &str) -> io::Result<Box<dyn ObjectWriter + '_>> {
        let name = if name == self.from { &self.to } else { name };
        self.folder.create(name)
    }
}

/// The number in a shard's file name: that of its last group of digits.
fn number(name: &str) -> Option<u64> {
    let base = name.rsplit('/').next()?;
    let mut digits = base.rsplit(|c: char| !c.is_ascii_digit());
    digits.find(|digits| !digits.is_empty())?.parse().ok()
}

/// Whether an object store failed, which says nothing of the shard. One that is not there is missing, though.
pub(crate) fn is_store_failure(error: &sightline_shard::Error) -> bool {
    let store = sightline_store::Error::behind(error);
    store.is_some_and(|error| {
        matches!(error, sightline_store::Error::Remote { .. }) && !error.is_usage()
    })
}

/// What to do about the error, or about what an object store answered.
pub(crate) fn hints(error: &sightline_shard::Error) -> Vec<String> {
    let hints = error.hints();
    match sightline_store::Error::behind(error) {
        Some(store) if hints.is_empty() => store.hints(),
        _ => hints,
    }
}

/// The error and its causes in one line.
pub(crate) fn chain(error: &sightline_shard::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sightline_core::progress::Silent;
    use sightline_core::{Metadata, SampleKey};
    use sightline_shard::FORMATS;
    use sightline_shard::webdataset::WebDataset;

    use super::*;

    fn sample(number: usize) -> Sample {
        Sample {
            key: SampleKey::new(format!("{number:09}")).unwrap(),
            image: None,
            captions: vec![format!("caption {number}")],
            meta: Metadata::new(),
        }
    }

    /// A folder with the shard 3 of `format`, of samples 0 to 8.
    fn shard(format: &dyn ShardFormat) -> (tempfile::TempDir, Folder, String) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        let mut sink = folder.clone();
        let mut writer = format.create(&mut sink, ShardId(3)).unwrap();
        for number in 0..9 {
            writer.write(&sample(number)).unwrap();
        }
        writer.finish().unwrap();
        (dir, folder, format.file_name(ShardId(3)))
    }

    fn keys(folder: &Folder, name: &str, format: &dyn ShardFormat) -> Vec<usize> {
        let mut keys = Vec::new();
        let damages = whole_samples(folder, name, format, &mut |sample| {
            keys.push(sample.key.as_str().parse().unwrap());
            Ok(())
        });
        assert!(damages.unwrap().is_empty());
        keys
    }

    /// What stays of an archive after `damage` was done to it, and what is said of it.
    fn mended(damage: impl FnOnce(&mut Vec<u8>)) -> (Vec<usize>, Vec<String>) {
        let (dir, folder, name) = shard(&WebDataset);
        let path = dir.path().join(&name);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let moved = "part-00000-of-00002.tar";
        fs::rename(&path, dir.path().join(moved)).unwrap();
        let names: [NamedShard; 1] = [(moved.to_owned(), &WebDataset)];
        let out = Folder::create(dir.path().join("out")).unwrap();
        let mut repaired = repair(&folder, &names, &out, false, &Silent).unwrap();
        let shard = repaired.shards.remove(0);
        let new = shard.new.unwrap();
        assert_eq!(new, moved);
        let keys = keys(&out, &new, &WebDataset);
        assert_eq!(keys.len() as u64, shard.samples);
        (keys, shard.damages)
    }

    fn find(bytes: &[u8], text: &str) -> usize {
        let text = text.as_bytes();
        bytes.windows(text.len()).position(|at| at == text).unwrap()
    }

    #[test]
    fn samples_that_are_damaged_in_themselves_are_left_out() {
        let (keys, damages) = mended(|bytes| {
            for text in ["caption 2", "caption 7"] {
                let at = find(bytes, text);
                bytes[at] = 0xff;
            }
        });
        assert_eq!(keys, [0, 1, 3, 4, 5, 6, 8]);
        assert_eq!(damages.len(), 2);
        assert!(damages[1].contains("000000007.txt") && damages[1].contains("UTF-8"));
    }

    /// Neither of two samples is trusted between which something was passed over.
    #[test]
    fn behind_a_damaged_header_the_next_one_is_looked_for() {
        for (member, wanted) in [
            ("000000004.json", vec![0, 1, 2, 5, 6, 7, 8]),
            ("000000004.txt", vec![0, 1, 2, 3, 6, 7, 8]),
            ("000000000.json", vec![1, 2, 3, 4, 5, 6, 7, 8]),
        ] {
            let (keys, damages) = mended(|bytes| {
                let at = find(bytes, member);
                bytes[at + 3] ^= 1;
            });
            assert_eq!((keys, damages.len()), (wanted, 1), "{member}");
        }
        let (keys, damages) = mended(|bytes| bytes.truncate(find(bytes, "000000006.json")));
        assert_eq!(keys, [0, 1, 2, 3, 4]);
        assert_eq!(damages.len(), 1);
    }

    /// No damage makes a reader go round in circles, or give a sample that was not written.
    #[test]
    fn any_byte_of_any_format_may_be_damaged() {
        for format in FORMATS.iter().copied() {
            let (dir, folder, name) = shard(format);
            let path = dir.path().join(&name);
            let whole = fs::read(&path).unwrap();
            for at in (0..whole.len()).step_by(whole.len().div_ceil(150)) {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x10;
                fs::write(&path, bytes).unwrap();
                let mut samples = 0;
                let damages = whole_samples(&folder, &name, format, &mut |_| {
                    samples += 1;
                    Ok(())
                });
                let damages = damages.unwrap();
                assert!(samples <= 9 && damages.len() < 30, "{name} {at}");
            }
        }
    }

    #[test]
    fn shards_of_one_number_keep_their_names() {
        let (dir, folder, name) = shard(&WebDataset);
        let bytes = fs::read(dir.path().join(&name)).unwrap();
        let names = ["part-00000-of-00002.tar", "part-00001-of-00002.tar"];
        for name in names {
            fs::write(dir.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
        }
        let named: Vec<NamedShard> = names
            .map(|name| (name.to_owned(), &WebDataset as &'static dyn ShardFormat))
            .to_vec();
        let out = Folder::create(dir.path().join("out")).unwrap();
        let repaired = repair(&folder, &named, &out, false, &Silent).unwrap();
        let new: Vec<&str> = repaired
            .shards
            .iter()
            .filter_map(|shard| shard.new.as_deref())
            .collect();
        assert_eq!(new, names);
        for name in names {
            assert!(!keys(&out, name, &WebDataset).is_empty());
        }
    }
}
