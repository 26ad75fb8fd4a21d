//! Where a request puts its images: in shards, in the status tables, or nowhere; and what the files of a shard are called.

use std::io;

use serde_json::Value;
use sightline_core::{ObjectSink, ObjectSource, ObjectWriter, ShardId};
use sightline_shard::{FORMATS, ShardFormat};
use sightline_store::Folder;

use crate::error::{Error, Result};

/// The table that is the shard, as in img2dataset's Parquet output.
pub(crate) const PARQUET: &str = "parquet";
/// Nothing but tables and statistics.
pub(crate) const DUMMY: &str = "dummy";

/// Where a request puts its images, and what their files are called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) images: Images,
    pub(crate) names: ShardNames,
}

/// Where a request puts its images.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Images {
    /// In shards of a format, each beside its status table.
    Shards(&'static dyn ShardFormat),
    /// In the last column of the status table.
    Table,
    /// Nowhere: images are made and counted, and only the status table is kept.
    Nothing,
}

/// How shards are called: by their number, in at least so many digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardNames {
    pub(crate) digits: usize,
}

impl ShardNames {
    /// Digits of a shard's number in its name and in its samples' keys where nothing else is asked for, as img2dataset has it.
    pub(crate) const DIGITS: usize = 5;

    /// Most digits: as many as the largest number has.
    pub(crate) const MOST_DIGITS: usize = 20;

    /// As the settings of an output say, which tell only what is not the default.
    pub(crate) fn of_setting(digits: Option<&Value>) -> Self {
        let digits = digits.and_then(Value::as_u64);
        let digits = digits.filter(|digits| *digits <= Self::MOST_DIGITS as u64);
        digits.map_or_else(Self::default, |digits| Self {
            digits: digits as usize,
        })
    }

    /// The number of a shard.
    pub(crate) fn number(self, id: ShardId) -> String {
        format!("{:0width$}", id.0, width = self.digits)
    }

    /// Name of the status table of a shard.
    pub(crate) fn table(self, id: ShardId) -> String {
        format!("{}.parquet", self.number(id))
    }

    /// Name of the statistics of a shard.
    pub(crate) fn stats(self, id: ShardId) -> String {
        format!("{}_stats.json", self.number(id))
    }

    /// The name of an object of a shard, which its format calls `name`. Formats whose names begin otherwise are read by
    /// programs that know no other names.
    fn of_format(self, id: ShardId, name: &str) -> String {
        match name.strip_prefix(&id.to_string()) {
            Some(rest) => format!("{}{rest}", self.number(id)),
            None => name.to_owned(),
        }
    }
}

impl Default for ShardNames {
    fn default() -> Self {
        Self {
            digits: Self::DIGITS,
        }
    }
}

/// Where the objects of a shard go, under their names here.
pub(crate) struct Renamed<'a> {
    pub(crate) sink: &'a mut dyn ObjectSink,
    pub(crate) names: ShardNames,
    pub(crate) id: ShardId,
}

impl ObjectSink for Renamed<'_> {
    fn create(&mut self, name: &str) -> io::Result<Box<dyn ObjectWriter + '_>> {
        self.sink.create(&self.names.of_format(self.id, name))
    }
}

impl Layout {
    /// The layout that `--output-format` calls `name`.
    pub(crate) fn named(name: &str, names: ShardNames) -> Option<Self> {
        let images = match name {
            PARQUET => Images::Table,
            DUMMY => Images::Nothing,
            _ => {
                let found = FORMATS.iter().find(|format| format.name() == name);
                Images::Shards(*found?)
            }
        };
        Some(Self { images, names })
    }

    /// Status tables and statistics alone, which are called the same in every layout.
    pub(crate) fn without_images() -> Self {
        Self {
            images: Images::Nothing,
            names: ShardNames::default(),
        }
    }

    /// The same with other names.
    pub(crate) fn called(self, names: ShardNames) -> Self {
        Self { names, ..self }
    }

    /// Whether the number of a shard may have any number of digits.
    pub(crate) fn has_free_names(self) -> bool {
        let longer = ShardNames {
            digits: ShardNames::DIGITS + 1,
        };
        let id = ShardId(0);
        self.file_name(id).is_none() || self.file_name(id) != self.called(longer).file_name(id)
    }

    /// Every name that [`Self::named`] knows, sorted.
    pub(crate) fn names() -> Vec<&'static str> {
        let mut names: Vec<_> = FORMATS.iter().map(|format| format.name()).collect();
        names.push(DUMMY);
        names.sort_unstable();
        names
    }

    /// The file that holds the images of shard `id`.
    pub(crate) fn file_name(self, id: ShardId) -> Option<String> {
        match self.images {
            Images::Shards(format) => Some(self.names.of_format(id, &format.file_name(id))),
            Images::Table => Some(self.names.table(id)),
            Images::Nothing => None,
        }
    }

    /// The file by which other programs find the samples of a whole folder.
    pub(crate) fn index_file(self) -> Option<&'static str> {
        match self.images {
            Images::Shards(format) => format.index_file(),
            Images::Table | Images::Nothing => None,
        }
    }

    /// Removes the members of shard `id` in `out`, where its format keeps them as files of their own: a run that was killed
    /// may have left some that the next one does not write. Files that are called otherwise stay.
    pub(crate) fn remove_members(self, out: &Folder, id: ShardId) -> Result<()> {
        let Images::Shards(format) = self.images else {
            return Ok(());
        };
        let Some(folder) = format.folder_name(id) else {
            return Ok(());
        };
        let folder = self.names.of_format(id, &folder);
        let names = match out.list(&folder) {
            Ok(names) => names,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::output("list", &out.shown(&folder))(e)),
        };
        // Keys begin with the number of their shard.
        let prefix = format!("{folder}/{}", self.names.number(id));
        for name in names {
            // What a person put into a folder below is not ours.
            let is_direct = !name[folder.len() + 1..].contains('/');
            if is_direct && name.starts_with(&prefix) {
                out.remove(&name)?;
            }
        }
        out.remove_folder(&folder)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_name_is_that_of_a_layout() {
        let names = Layout::names();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        for name in names {
            let layout = Layout::named(name, ShardNames::default()).unwrap();
            let file = layout.file_name(ShardId(7));
            assert_eq!(file.is_none(), name == DUMMY);
            assert!(file.is_none_or(|file| file.contains('7')), "{name}");
        }
        assert!(Layout::named("tar", ShardNames::default()).is_none());
    }

    #[test]
    fn shards_are_called_like_those_of_img2dataset() {
        // python3 -c 'for d in (1,3,5,7): print([f"{n:0{d}d}" for n in (0,7,99999,100000)])', the expression of img2dataset
        // 1.47.0 (`writer.py`), with CPython 3.11.
        for (digits, names) in [
            (1, ["0", "7", "99999", "100000"]),
            (3, ["000", "007", "99999", "100000"]),
            (5, ["00000", "00007", "99999", "100000"]),
            (7, ["0000000", "0000007", "0099999", "0100000"]),
        ] {
            let tar = Layout::named("webdataset", ShardNames { digits }).unwrap();
            for (id, name) in [0, 7, 99_999, 100_000].map(ShardId).into_iter().zip(names) {
                assert_eq!(tar.file_name(id).unwrap(), format!("{name}.tar"));
                assert_eq!(tar.names.table(id), format!("{name}.parquet"));
                assert_eq!(tar.names.stats(id), format!("{name}_stats.json"));
            }
        }
        for name in Layout::names() {
            let layout = Layout::named(name, ShardNames::default()).unwrap();
            let is_free = !name.starts_with("mds") && !name.starts_with("litdata");
            assert_eq!(layout.has_free_names(), is_free, "{name}");
        }
    }

    #[test]
    fn only_members_of_the_shard_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = Layout::named("files", ShardNames::default()).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        files.remove_members(&folder, ShardId(0)).unwrap();
        for name in ["00000/000001.jpg", "00001/000011.jpg", "00001/notes.txt"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        for id in [0, 1] {
            files.remove_members(&folder, ShardId(id)).unwrap();
        }
        assert!(!dir.path().join("00000").exists());
        let left: Vec<_> = fs::read_dir(dir.path().join("00001")).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
