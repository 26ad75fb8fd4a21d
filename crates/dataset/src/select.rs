//! Which samples of a dataset are meant.

use sightline_core::Sample;

use crate::{FilterSpec, Result};

/// Chooses samples, for every tool that takes some of them.
pub trait Select: Send + Sync {
    /// Whether `sample` of the shard called `shard` is meant.
    fn keeps(&self, shard: &str, sample: &Sample) -> Result<bool>;
}

/// Every sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct All;

impl Select for All {
    fn keeps(&self, _: &str, _: &Sample) -> Result<bool> {
        Ok(true)
    }
}

/// Those for which the condition holds.
impl Select for FilterSpec {
    fn keeps(&self, shard: &str, sample: &Sample) -> Result<bool> {
        Ok(self.first_failing(shard, sample).is_none())
    }
}
