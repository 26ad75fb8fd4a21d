//! The place of a card in a program without the feature `cuda`.

use candle_core::{DType, Device};
use sightline_core::{Decoded, PixelDeviation};
use sightline_preprocess::{PrepareError, Preprocessor};

use super::{CardError, CardOptions, Pixels};

/// There is none.
pub(super) enum Card {}

impl Card {
    #[expect(clippy::unnecessary_wraps, reason = "a card may fail")]
    pub(super) fn open(
        _: &Preprocessor,
        _: &Device,
        _: DType,
        _: &CardOptions,
    ) -> Result<Option<Self>, CardError> {
        Ok(None)
    }

    pub(super) fn each<B, E>(
        &self,
        _: impl IntoIterator<Item = Vec<B>>,
        _: impl FnMut(Vec<Result<Pixels, PrepareError>>) -> Result<bool, E>,
    ) -> Result<(), E> {
        match *self {}
    }

    pub(super) fn deviation<B>(&self, _: &[B]) -> Result<Option<PixelDeviation>, CardError> {
        match *self {}
    }

    pub(super) fn take_decoded(&self) -> Decoded {
        match *self {}
    }
}
