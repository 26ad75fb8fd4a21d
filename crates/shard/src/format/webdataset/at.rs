//! Samples of an archive, each by itself.

use std::sync::Arc;

use sightline_core::{ObjectSource, ReadAt, Sample};

use super::layout::walk;
use super::reader;
use crate::format::{SampleAt, ShardReader};
use crate::input::{self, Input};
use crate::slice::Slice;
use crate::tar::BLOCK;
use crate::{Compression, Error, Limits, Result};

/// An archive that is not compressed, and where its samples begin.
struct Archive {
    object: Arc<dyn ReadAt>,
    shard: String,
    /// Where each sample begins, and where the last one ends.
    bounds: Vec<u64>,
}

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
    Ok(Some(Box::new(Archive {
        object,
        shard: name.to_owned(),
        bounds,
    })))
}

impl SampleAt for Archive {
    fn samples(&self) -> u64 {
        self.bounds.len() as u64 - 1
    }

    fn sample(&self, row: u64) -> Result<Sample> {
        let none = || Error::NoSample {
            shard: self.shard.clone(),
            row,
            samples: self.samples(),
        };
        let at = usize::try_from(row).map_err(|_| none())?;
        let bounds = self.bounds.get(at..).and_then(|rest| rest.first_chunk());
        let &[start, end] = bounds.ok_or_else(none)?;
        let slice = Slice {
            object: Arc::clone(&self.object),
            range: start..end,
            zeros: 2 * BLOCK as u64,
        };
        let sample = Input::new(Arc::new(slice), &self.shard, Limits::default())
            .and_then(|input| reader(input).next_sample());
        sample
            .map_err(|error| error.moved(start, row))?
            .ok_or_else(none)
    }
}
