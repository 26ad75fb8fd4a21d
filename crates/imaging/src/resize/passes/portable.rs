//! Where there are no fast passes.

use super::{FixedAxis, View};
use crate::resize::weights::Axis;

/// Nothing is arranged.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights;

impl Weights {
    pub(super) fn arrange_rows(&mut self, _: &Axis<i32>, _: usize, _: usize) {}

    pub(super) fn arrange_columns(&mut self, _: &Axis<i32>) {}
}

/// No row is done.
pub(super) fn horizontal(_: View<'_>, _: &FixedAxis, _: &mut [u8]) -> usize {
    0
}

/// Nothing is done.
pub(super) fn vertical(_: View<'_>, _: &FixedAxis, _: &mut [u8]) -> bool {
    false
}
