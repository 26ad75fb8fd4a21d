//! Any GPU that Vulkan, Metal or DX12 can use.

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;

use sightline_core::ImageSpec;
use sightline_core::image_spec::{Layout, Rescale};
use sightline_imaging::{Channels, Limits, Pixels};
use sightline_preprocess::Preprocessor;
use sightline_preprocess::webgpu::{Device, Error, OnGpu, Options};
use sightline_testkit as testkit;

use super::Engine;

/// A device that one preprocessor after the other uses.
pub(crate) struct Gpu {
    /// The GPU, as its driver describes it.
    pub(crate) name: String,
    device: RefCell<Option<Device>>,
    images: Cell<u64>,
}

impl Gpu {
    /// The first GPU; `None`, said aloud, where there is none.
    pub(crate) fn open() -> Option<Self> {
        let opened = Device::open(0, Options::default());
        let device = testkit::gpu::device(opened, Error::is_missing, "SIGHTLINE_REQUIRE_WEBGPU")?;
        Some(Self {
            name: device.adapter().to_string(),
            device: RefCell::new(Some(device)),
            images: Cell::new(0),
        })
    }

    /// Images that were resized on it so far, and not on the CPU.
    pub(crate) fn images(&self) -> u64 {
        self.images.get()
    }

    fn with(
        &self,
        preprocessor: &Preprocessor,
        prepare: impl FnOnce(&mut OnGpu, &mut Option<Result<Vec<f32>, String>>) -> Result<(), Error>,
    ) -> Result<Vec<f32>, String> {
        let device = self.device.take().expect("a device that is not lost");
        let mut gpu = OnGpu::new(preprocessor.clone(), device);
        let mut values = None;
        // A failed device is no failed case.
        prepare(&mut gpu, &mut values).unwrap_or_else(|e| panic!("{e}"));
        self.images.set(self.images.get() + gpu.counts().on_gpu);
        self.device.replace(Some(gpu.into_device()));
        values.ok_or("no values")?
    }
}

impl Engine for Gpu {
    fn prepare(&self, preprocessor: &Preprocessor, bytes: &[u8]) -> Result<Vec<f32>, String> {
        self.with(preprocessor, |gpu, out| {
            gpu.prepare_stream::<f32, _>([bytes], NonZeroUsize::MIN, |values| {
                *out = Some(values.map(<[f32]>::to_vec).map_err(|e| e.to_string()));
            })
        })
    }

    fn prepare_pixels(
        &self,
        preprocessor: &Preprocessor,
        pixels: &Pixels,
    ) -> Result<Vec<f32>, String> {
        self.with(preprocessor, |gpu, out| {
            gpu.prepare_pixels::<f32>(vec![pixels.clone()], |values| {
                *out = Some(values.map(<[f32]>::to_vec).map_err(|e| e.to_string()));
            })
        })
    }

    fn fit(&self, preprocessor: &Preprocessor, pixels: &Pixels) -> Result<Pixels, String> {
        // Without rescaling, values are levels.
        let spec = ImageSpec {
            rescale: Rescale::None,
            mean: [0.0; 3],
            std: [1.0; 3],
            layout: Layout::Nhwc,
            ..preprocessor.spec().clone()
        };
        let size = spec.size;
        let levels = Preprocessor::new(spec, Limits::default()).map_err(|e| e.to_string())?;
        let values = self.prepare_pixels(&levels, pixels)?;
        let data = values.into_iter().map(|value| value as u8).collect();
        Pixels::new(size.width, size.height, Channels::Rgb, data).map_err(|e| e.to_string())
    }
}
