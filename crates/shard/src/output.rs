//! A shard that is being written: its bytes, and what every writer keeps count of.

use std::collections::HashSet;
use std::io::{self, Write};

use sightline_core::digest::Hasher;
use sightline_core::{ObjectSink, ObjectWriter, SampleKey};

use crate::{Error, Limits, Result, ShardSummary};

/// An object that counts and digests what goes into it.
pub(crate) struct Digesting<'a> {
    object: Box<dyn ObjectWriter + 'a>,
    hasher: Hasher,
    len: u64,
}

impl<'a> Digesting<'a> {
    /// Begins the object called `name`.
    pub(crate) fn create(sink: &'a mut dyn ObjectSink, name: &str) -> Result<Self> {
        match sink.create(name) {
            Ok(object) => Ok(Self {
                object,
                hasher: Hasher::new(),
                len: 0,
            }),
            Err(source) => Err(Error::Io {
                action: "create",
                shard: name.to_owned(),
                source,
            }),
        }
    }

    /// Commits the object of the shard that `ledger` is of.
    pub(crate) fn commit(self, ledger: &Ledger) -> Result<ShardSummary> {
        match self.object.commit() {
            Ok(()) => Ok(ShardSummary {
                samples: ledger.samples(),
                len_bytes: self.len,
                sha256: self.hasher.finish(),
            }),
            Err(source) => Err(Error::Io {
                action: "commit",
                shard: ledger.shard.clone(),
                source,
            }),
        }
    }
}

impl Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.object.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.object.flush()
    }
}

/// What every writer keeps: the keys of its shard, and whether a write has failed.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) shard: String,
    pub(crate) limits: Limits,
    keys: HashSet<SampleKey>,
    failed: bool,
}

impl Ledger {
    pub(crate) fn new(shard: &str) -> Self {
        Self {
            shard: shard.to_owned(),
            limits: Limits::default(),
            keys: HashSet::new(),
            failed: false,
        }
    }

    /// Refuses every step after a failed one.
    pub(crate) fn check(&self) -> Result<()> {
        if self.failed {
            return Err(Error::WriterFailed {
                shard: self.shard.clone(),
            });
        }
        Ok(())
    }

    /// Enters the key of a sample that is about to be written.
    pub(crate) fn admit(&mut self, key: &SampleKey) -> Result<()> {
        if self.keys.insert(key.clone()) {
            return Ok(());
        }
        Err(Error::DuplicateKey {
            shard: self.shard.clone(),
            key: key.clone(),
        })
    }

    /// The outcome of a write; after a failed one the shard is lost.
    pub(crate) fn wrote<T>(&mut self, outcome: io::Result<T>) -> Result<T> {
        outcome.map_err(|source| {
            self.failed = true;
            Error::Io {
                action: "write",
                shard: self.shard.clone(),
                source,
            }
        })
    }

    /// Samples entered.
    pub(crate) fn samples(&self) -> u64 {
        self.keys.len() as u64
    }
}
