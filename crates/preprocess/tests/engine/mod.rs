//! Who prepares the images of a case.

#[cfg(feature = "webgpu")]
mod gpu;

use sightline_imaging::Pixels;
use sightline_preprocess::Preprocessor;

#[cfg(feature = "webgpu")]
pub(crate) use gpu::Gpu;

/// Prepares images as a preprocessor says.
pub(crate) trait Engine {
    /// The values of an encoded image.
    fn prepare(&self, preprocessor: &Preprocessor, bytes: &[u8]) -> Result<Vec<f32>, String>;

    /// The values of decoded pixels.
    fn prepare_pixels(
        &self,
        preprocessor: &Preprocessor,
        pixels: &Pixels,
    ) -> Result<Vec<f32>, String>;

    /// The pixels just before rescaling.
    fn fit(&self, preprocessor: &Preprocessor, pixels: &Pixels) -> Result<Pixels, String>;
}

/// The preprocessor itself.
pub(crate) struct Cpu;

impl Engine for Cpu {
    fn prepare(&self, preprocessor: &Preprocessor, bytes: &[u8]) -> Result<Vec<f32>, String> {
        preprocessor.prepare(bytes).map_err(|e| e.to_string())
    }

    fn prepare_pixels(
        &self,
        preprocessor: &Preprocessor,
        pixels: &Pixels,
    ) -> Result<Vec<f32>, String> {
        preprocessor
            .prepare_pixels(pixels)
            .map_err(|e| e.to_string())
    }

    fn fit(&self, preprocessor: &Preprocessor, pixels: &Pixels) -> Result<Pixels, String> {
        preprocessor.fit(pixels).map_err(|e| e.to_string())
    }
}
