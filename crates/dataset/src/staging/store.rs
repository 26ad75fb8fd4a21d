//! An output in a folder of a store.

use sightline_store::{Folder, Leases};

use super::{Job, MARK};
use crate::{Error, Result};

/// Held while the folder is written.
const LEASE: &str = "shards.lease";

/// A folder of a store that is being written: [`MARK`] is in it until it is whole.
#[derive(Debug)]
pub(super) struct StoreStaging {
    folder: Folder,
    /// Folders in it that are marked too.
    parts: Vec<Folder>,
    /// Given back when it is dropped.
    _leases: Leases,
}

impl StoreStaging {
    /// Begins the folder, or goes on where the same job ended. What is there of another output is only removed by `force`, and
    /// at once: shards have one name.
    pub(super) fn begin(folder: &Folder, force: bool, job: Job) -> Result<(Self, Job)> {
        let leases = Leases::new(folder)?;
        if !leases.take(LEASE)? {
            return Err(Error::Busy {
                path: folder.root().to_owned(),
            });
        }
        let mark = folder.read(MARK)?;
        let found = match &mark {
            Some(mark) => job.found(mark, folder)?,
            None => None,
        };
        let job = found.unwrap_or(job);
        let is_output = |name: &&String| !matches!(name.as_str(), MARK | LEASE);
        let names = folder.names()?;
        let old = || names.iter().filter(is_output);
        if mark.is_none() && old().next().is_some() {
            if !force {
                return Err(Error::Exists {
                    name: folder.root().display().to_string(),
                });
            }
            if folder.is_bucket() {
                return Err(Error::WholeBucket {
                    path: folder.root().to_owned(),
                });
            }
        }
        let staging = Self {
            folder: folder.clone(),
            parts: Vec::new(),
            _leases: leases,
        };
        // First, so that nobody takes what is left for a whole output.
        staging.mark(&job.text()?)?;
        for name in old() {
            if !job.keeps(name) {
                folder.remove(name)?;
            }
        }
        Ok((staging, job))
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) fn mark(&self, text: &[u8]) -> Result<()> {
        Ok(self.folder.write(MARK, text)?)
    }

    /// Marks `part`, a folder in this one.
    pub(super) fn mark_part(&mut self, part: &Folder, text: &[u8]) -> Result<()> {
        part.write(MARK, text)?;
        self.parts.push(part.clone());
        Ok(())
    }

    pub(super) fn finish(self) -> Result<()> {
        for part in &self.parts {
            part.remove(MARK)?;
        }
        self.folder.remove(MARK)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sightline_store::Stores;

    use super::*;
    use crate::convert::NewShard;
    use crate::staging::{Staging, Target, is_unfinished};

    fn shard(folder: &Folder, name: &str) -> NewShard {
        folder.write(name, name.as_bytes()).unwrap();
        NewShard {
            name: name.to_owned(),
            samples: 1,
            len_bytes: name.len() as u64,
            sha256: "0".repeat(64),
        }
    }

    #[test]
    fn an_output_is_marked_until_it_is_whole_and_the_same_job_goes_on() {
        let stores = Stores::in_memory();
        let folder = stores.create("s3://bucket/out".as_ref()).unwrap();
        let target = Target::Store(folder.clone());
        let mut staging = Staging::begin(&target, false, Job::of(["a"])).unwrap();
        assert!(is_unfinished(&folder).unwrap());
        let busy = Staging::begin(&target, true, Job::of(["a"])).unwrap_err();
        assert!(matches!(busy, Error::Busy { .. }), "{busy}");
        let members = Some("0".to_owned());
        staging.record(&shard(&folder, "0.tar"), members).unwrap();
        shard(&folder, "0/a");
        shard(&folder, "01/a");
        shard(&folder, "1.tar");
        drop(staging);

        let staging = Staging::begin(&target, false, Job::of(["a"])).unwrap();
        assert_eq!(staging.done().len(), 1);
        drop(staging);
        assert_eq!(folder.names().unwrap(), ["0.tar", "0/a", MARK]);
        // A shard that is not what was written, and another job.
        folder.write("0.tar", b"longer than before").unwrap();
        for job in [Job::of(["a"]), Job::of(["b"]), Job::anew(), Job::anew()] {
            let staging = Staging::begin(&target, false, job).unwrap();
            assert!(staging.done().is_empty());
            assert!(folder.entry("0.tar").unwrap().is_none());
            shard(&folder, "0.tar");
        }
        target.check_vacant().unwrap();

        let staging = Staging::begin(&target, false, Job::of(["a"])).unwrap();
        shard(&folder, "0.tar");
        staging.finish().unwrap();
        assert_eq!(folder.names().unwrap(), ["0.tar"]);
        let there = Staging::begin(&target, false, Job::of(["a"])).unwrap_err();
        assert!(matches!(there, Error::Exists { .. }), "{there}");
        assert!(target.check_vacant().is_err());
        let staging = Staging::begin(&target, true, Job::of(["a"])).unwrap();
        drop(staging);
        assert_eq!(folder.names().unwrap(), [MARK]);
    }

    #[test]
    fn parts_are_marked_too() {
        let stores = Stores::in_memory();
        let folder = stores.create("s3://bucket/out".as_ref()).unwrap();
        let target = Target::Store(folder.clone());
        let mut staging = Staging::begin(&target, false, Job::anew()).unwrap();
        let part = staging.part("train").unwrap();
        assert!(is_unfinished(&part).unwrap());
        shard(&part, "0.tar");
        drop(staging);
        let mut staging = Staging::begin(&target, false, Job::anew()).unwrap();
        assert!(part.is_empty().unwrap());
        shard(&staging.part("train").unwrap(), "0.tar");
        staging.finish().unwrap();
        assert_eq!(folder.names().unwrap(), ["train/0.tar"]);
    }

    #[test]
    fn a_whole_bucket_is_not_emptied() {
        let stores = Stores::in_memory();
        let bucket = stores.create("s3://bucket".as_ref()).unwrap();
        bucket.write("else", b"x").unwrap();
        let refused = Staging::begin(&Target::Store(bucket.clone()), true, Job::anew());
        assert!(matches!(refused, Err(Error::WholeBucket { .. })));
        assert_eq!(bucket.names().unwrap(), ["else"]);
    }
}
