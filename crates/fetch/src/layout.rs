//! Where a request puts its images: in shards, in the status tables, or nowhere.

use std::io;

use sightline_core::{ObjectSource, ShardId};
use sightline_shard::{FORMATS, ShardFormat};
use sightline_store::Folder;

use crate::error::{Error, Result};

/// The table that is the shard, as in img2dataset's Parquet output.
pub(crate) const PARQUET: &str = "parquet";
/// Nothing but tables and statistics.
pub(crate) const DUMMY: &str = "dummy";

/// Where a request puts its images.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// In shards of a format, each beside its status table.
    Shards(&'static dyn ShardFormat),
    /// In the last column of the status table.
    Table,
    /// Nowhere: images are made and counted, and only the status table is kept.
    Nothing,
}

impl Layout {
    /// The layout that `--output-format` calls `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            PARQUET => Some(Self::Table),
            DUMMY => Some(Self::Nothing),
            _ => {
                let found = FORMATS.iter().find(|format| format.name() == name);
                found.map(|format| Self::Shards(*format))
            }
        }
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
        match self {
            Self::Shards(format) => Some(format.file_name(id)),
            Self::Table => Some(table_name(id)),
            Self::Nothing => None,
        }
    }

    /// The file by which other programs find the samples of a whole folder.
    pub(crate) fn index_file(self) -> Option<&'static str> {
        match self {
            Self::Shards(format) => format.index_file(),
            Self::Table | Self::Nothing => None,
        }
    }

    /// Removes the members of shard `id` in `out`, where its format keeps them as files of their own: a run that was killed
    /// may have left some that the next one does not write. Files that are called otherwise stay.
    pub(crate) fn remove_members(self, out: &Folder, id: ShardId) -> Result<()> {
        let Self::Shards(format) = self else {
            return Ok(());
        };
        let Some(folder) = format.folder_name(id) else {
            return Ok(());
        };
        let names = match out.list(&folder) {
            Ok(names) => names,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::output("list", &out.shown(&folder))(e)),
        };
        // Keys begin with the number of their shard.
        let prefix = format!("{folder}/{id}");
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

/// Name of the status table of shard `id`.
pub(crate) fn table_name(id: ShardId) -> String {
    format!("{id}.parquet")
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
            let layout = Layout::named(name).unwrap();
            let file = layout.file_name(ShardId(7));
            assert_eq!(file.is_none(), name == DUMMY);
            assert!(file.is_none_or(|file| file.contains('7')), "{name}");
        }
        assert!(Layout::named("tar").is_none());
    }

    #[test]
    fn only_members_of_the_shard_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = Layout::named("files").unwrap();
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
