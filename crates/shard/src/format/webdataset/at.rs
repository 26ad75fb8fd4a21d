//! Samples of an archive, each by itself.

use std::sync::Arc;

use sightline_core::ObjectSource;

use super::layout::walk;
use super::reader;
use crate::format::{SampleAt, ShardReader};
use crate::input::{self, Input};
use crate::slice::Bounded;
use crate::tar::BLOCK;
use crate::{Compression, Limits, Result};

/// The archive `name`, unless it is compressed.
pub(super) fn open(source: &dyn ObjectSource, name: &str) -> Result<Option<Box<dyn SampleAt>>> {
    let object = input::object(source, name)?;
    let input = Input::new(Arc::clone(&object), name, Limits::default())?;
    if input.compression() != Compression::None {
        return Ok(None);
    }
    let mut bounds = Vec::new();
    let end = walk(input, |member| {
        if member.is_first {
            bounds.push(member.entry.offset);
        }
    })?;
    bounds.push(end);
    Ok(Some(Box::new(Bounded {
        object,
        shard: name.to_owned(),
        bounds,
        // The end mark.
        zeros: 2 * BLOCK as u64,
        read: |input, _, _, stats| {
            let mut reader = reader(input);
            let sample = reader.next_sample()?;
            stats.add(reader.stats());
            Ok(sample)
        },
    })))
}
