//! The place of a card in a program without the feature `cuda-kernels`.

use std::num::NonZeroUsize;

use sightline_core::PixelDeviation;
use sightline_preprocess::{Element, PrepareError, Preprocessor};

use super::PrintedGpu;
use crate::command::device::{DecodeArg, DeviceName};
use crate::exit::Failure;

/// There is none.
pub(crate) enum OnCuda {}

impl OnCuda {
    pub(super) fn open(
        _: Preprocessor,
        number: usize,
        _: DecodeArg,
        _: NonZeroUsize,
    ) -> Result<Self, Failure> {
        let device = DeviceName::Cuda(number);
        Err(Failure::usage(
            format!("opening device `{device}`"),
            format!("this program has no code for {device}"),
        )
        .with_hint(
            "Build it with `cargo build --release --features cuda-kernels`, or with `just build-cuda`, which does models as well.",
        ))
    }

    pub(super) fn preprocessor(&self) -> &Preprocessor {
        match *self {}
    }

    pub(super) fn prepare_stream<T: Element, B: AsRef<[u8]> + Send + Sync>(
        &mut self,
        _: impl IntoIterator<Item = B>,
        _: impl FnMut(Result<&[T], PrepareError>),
    ) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) fn deviation(&self, _: &[Vec<u8>]) -> Result<Option<PixelDeviation>, Failure> {
        match *self {}
    }

    pub(super) fn printed(&self) -> PrintedGpu {
        match *self {}
    }
}
