//! The place of a GPU in a program without the feature `webgpu`.

use sightline_preprocess::{Element, PrepareError, Preprocessor};

use super::PrintedGpu;
use crate::command::device::DeviceName;
use crate::exit::Failure;

/// There is none.
pub(crate) enum WebGpu {}

impl WebGpu {
    pub(super) fn open(_: Preprocessor, name: DeviceName) -> Result<Self, Failure> {
        let doing = format!("opening device `{name}`");
        Err(
            Failure::usage(doing, "this program was built without the feature `webgpu`")
                .with_hint("Build it with `cargo build --release --features webgpu`."),
        )
    }

    pub(super) fn preprocessor(&self) -> &Preprocessor {
        match *self {}
    }

    pub(super) fn prepare_stream<T: Element, B: AsRef<[u8]> + Send>(
        &mut self,
        _: impl IntoIterator<Item = B>,
        _: impl FnMut(Result<&[T], PrepareError>),
    ) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) fn printed(&self) -> PrintedGpu {
        match *self {}
    }
}
