//! Which samples of a dataset are meant.

use sightline_core::Sample;

use crate::Result;

/// Chooses samples, for every tool that takes some of them.
pub trait Select: Send + Sync {
    /// Whether `sample` is meant.
    fn keeps(&self, sample: &Sample) -> Result<bool>;
}

/// Every sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct All;

impl Select for All {
    fn keeps(&self, _: &Sample) -> Result<bool> {
        Ok(true)
    }
}
