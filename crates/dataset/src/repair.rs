//! Whole samples out of damaged shards: `sightline shards repair`.
//!
//! Each shard is read up to its first damage, and what was whole before is written as a new shard of the same name
//! into another folder. The damaged shard stays as it is. What follows the damage is lost: where a length is
//! wrong, nothing behind it can be trusted to be a sample.

use std::error::Error as _;

use serde::Serialize;
use sightline_core::{Hint, Progress, ShardId};
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
    /// The damage.
    pub damage: String,
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
    for (at, (name, format)) in (0..).zip(names) {
        let damage = first_damage(source, name, *format);
        progress.advance(1);
        let Some((samples, damage)) = damage else {
            repaired.whole += 1;
            continue;
        };
        if is_store_failure(&damage) {
            return Err(damage.into());
        }
        let new = if samples == 0 {
            None
        } else {
            let id = ShardId(number(name).unwrap_or(at));
            let new = format.file_name(id);
            if !force && out.entry(&new)?.is_some() {
                return Err(Error::Exists { name: new });
            }
            let mut sink = out.clone();
            let mut reader = format.open(source, name)?;
            let mut writer = format.create(&mut sink, id)?;
            for _ in 0..samples {
                if let Some(sample) = reader.next_sample()? {
                    writer.write(&sample)?;
                }
            }
            writer.finish()?;
            Some(new)
        };
        repaired.shards.push(RepairedShard {
            name: name.clone(),
            new,
            samples,
            damage: chain(&damage),
            hints: hints(&damage),
        });
    }
    progress.finish();
    Ok(repaired)
}

/// Whole samples before the first damage of a shard, if it has one.
fn first_damage(
    source: &Folder,
    name: &str,
    format: &dyn sightline_shard::ShardFormat,
) -> Option<(u64, sightline_shard::Error)> {
    let mut reader = match format.open(source, name) {
        Ok(reader) => reader,
        Err(error) => return Some((0, error)),
    };
    let mut samples = 0;
    loop {
        match reader.next_sample() {
            Ok(Some(_)) => samples += 1,
            Ok(None) => return None,
            Err(error) => return Some((samples, error)),
        }
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
