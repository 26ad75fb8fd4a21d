//! Any GPU that Vulkan, Metal or DX12 can use.

use std::num::NonZeroUsize;

use sightline_preprocess::webgpu::{Device, OnGpu, Options};
use sightline_preprocess::{Element, PrepareError, Preprocessor};

use super::PrintedGpu;
use crate::command::device::DeviceName;
use crate::exit::{Exit, Failure};
use crate::output::note;

/// Images that are handed over together.
const BATCH: NonZeroUsize = NonZeroUsize::new(32).expect("not zero");

/// A preprocessor on a GPU.
pub(crate) struct WebGpu {
    gpu: OnGpu,
    name: DeviceName,
}

impl WebGpu {
    /// Makes the GPU ready that `name` counts.
    pub(super) fn open(preprocessor: Preprocessor, name: DeviceName) -> Result<Self, Failure> {
        let index = match name {
            DeviceName::WebGpu(index) | DeviceName::Cuda(index) => index,
            DeviceName::Cpu => 0,
        };
        let device = Device::open(index, Options::default()).map_err(|error| {
            Failure::new(
                Exit::Environment,
                format!("opening device `{name}`"),
                &error,
            )
        })?;
        if device.adapter().is_software {
            note(&format!(
                "`{}` is a GPU in software: correct, and slower than --device cpu",
                device.adapter().name
            ));
        }
        Ok(Self {
            gpu: OnGpu::new(preprocessor, device),
            name,
        })
    }

    pub(super) fn preprocessor(&self) -> &Preprocessor {
        self.gpu.preprocessor()
    }

    pub(super) fn prepare_stream<T: Element, B: AsRef<[u8]> + Send>(
        &mut self,
        images: impl IntoIterator<Item = B>,
        sink: impl FnMut(Result<&[T], PrepareError>),
    ) -> Result<(), Failure> {
        self.gpu
            .prepare_stream(images, BATCH, sink)
            .map_err(|error| {
                let doing = format!("preparing images on device `{}`", self.name);
                Failure::new(Exit::Environment, doing, &error)
            })
    }

    pub(super) fn printed(&self) -> PrintedGpu {
        let (adapter, counts) = (self.gpu.adapter(), self.gpu.counts());
        let done = self.gpu.statistics();
        PrintedGpu {
            adapter: adapter.name.clone(),
            backend: adapter.backend,
            driver: adapter.driver.clone(),
            software: adapter.is_software,
            images: counts.on_gpu,
            on_cpu: counts.on_cpu.clone(),
            decoded: None,
            submissions: done.submissions,
            halvings: done.halvings,
            memory_bytes: done.memory_bytes,
        }
    }
}
