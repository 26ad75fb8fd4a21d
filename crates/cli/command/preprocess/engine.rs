//! Who prepares the images: the CPU's threads, or a GPU and they.

#[cfg_attr(not(feature = "cuda-kernels"), path = "engine/no_cuda.rs")]
mod cuda;
#[cfg_attr(not(feature = "webgpu"), path = "engine/no_webgpu.rs")]
mod webgpu;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;

use serde::Serialize;
use sightline_core::{Decoded, PixelDeviation};
use sightline_preprocess::{Element, Mode, PrepareError, Preprocessor};

use super::timing::in_flight;
use crate::command::device::{DecodeArg, DeviceName, no_choice};
use crate::exit::Failure;
use cuda::OnCuda;
use webgpu::WebGpu;

/// A preprocessor on its device.
pub(super) enum Engine {
    Cpu(Box<Preprocessor>),
    WebGpu(Box<WebGpu>),
    Cuda(Box<OnCuda>),
}

/// A GPU and what it did, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct PrintedGpu {
    adapter: String,
    backend: &'static str,
    driver: String,
    /// It is a program on the CPU.
    software: bool,
    /// Images that were resized on it.
    images: u64,
    /// Images that the CPU resized instead, by the reason.
    on_cpu: BTreeMap<&'static str, u64>,
    /// By whom JPEG files were decoded, where the card may do it.
    decoded: Option<Decoded>,
    submissions: u64,
    /// Times that memory was short and a batch was halved.
    halvings: u64,
    memory_bytes: u64,
}

impl Engine {
    /// The preprocessor with its device ready; `threads` of the CPU decode.
    pub(super) fn open(
        preprocessor: Preprocessor,
        device: DeviceName,
        decode: Option<DecodeArg>,
        threads: NonZeroUsize,
    ) -> Result<Self, Failure> {
        if decode.is_some() && !matches!(device, DeviceName::Cuda(_)) {
            return Err(no_choice(device));
        }
        match device {
            DeviceName::Cpu => Ok(Self::Cpu(Box::new(preprocessor))),
            DeviceName::WebGpu(_) => {
                Ok(Self::WebGpu(Box::new(WebGpu::open(preprocessor, device)?)))
            }
            DeviceName::Cuda(number) => {
                let decode = decode.unwrap_or(DecodeArg::Any);
                let on_cuda = OnCuda::open(preprocessor, number, decode, threads)?;
                Ok(Self::Cuda(Box::new(on_cuda)))
            }
        }
    }

    pub(super) fn preprocessor(&self) -> &Preprocessor {
        match self {
            Self::Cpu(preprocessor) => preprocessor,
            Self::WebGpu(gpu) => gpu.preprocessor(),
            Self::Cuda(gpu) => gpu.preprocessor(),
        }
    }

    /// Prepares `images` and calls `sink` with each one's values, in their order, on this thread.
    pub(super) fn prepare_stream<T: Element, B: AsRef<[u8]> + Send + Sync>(
        &mut self,
        images: impl IntoIterator<Item = B>,
        threads: NonZeroUsize,
        sink: impl FnMut(Result<&[T], PrepareError>),
    ) -> Result<(), Failure> {
        match self {
            Self::Cpu(preprocessor) => {
                preprocessor.prepare_stream(images, in_flight(threads), sink);
                Ok(())
            }
            Self::WebGpu(gpu) => gpu.prepare_stream(images, sink),
            Self::Cuda(gpu) => gpu.prepare_stream(images, sink),
        }
    }

    /// The GPU and what it has done so far.
    pub(super) fn printed(&self) -> Option<PrintedGpu> {
        match self {
            Self::Cpu(_) => None,
            Self::WebGpu(gpu) => Some(gpu.printed()),
            Self::Cuda(gpu) => Some(gpu.printed()),
        }
    }

    /// How far pixels are from those of the exact mode on the CPU, on some images; `None` where they are the same.
    pub(super) fn deviation(&self, images: &[Vec<u8>]) -> Result<Option<PixelDeviation>, Failure> {
        match self {
            Self::Cpu(preprocessor) if preprocessor.mode() == Mode::Fast => {
                Ok(Some(preprocessor.deviation_from_exact(images)))
            }
            Self::Cuda(gpu) => gpu.deviation(images),
            Self::Cpu(_) | Self::WebGpu(_) => Ok(None),
        }
    }
}

impl fmt::Display for PrintedGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.adapter, self.backend, self.driver)
    }
}

impl PrintedGpu {
    /// What a person should know: images that the CPU had to resize, memory that was short.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let on_cpu: u64 = self.on_cpu.values().sum();
        if on_cpu > 0 {
            let reasons: Vec<String> = self
                .on_cpu
                .iter()
                .map(|(reason, images)| format!("{reason}: {images}"))
                .collect();
            remarks.push(format!(
                "{on_cpu} of {} images were resized on the CPU ({})",
                on_cpu + self.images,
                reasons.join(", ")
            ));
        }
        if self.halvings > 0 {
            remarks.push(format!(
                "memory of the GPU was short: batches were halved {} times",
                self.halvings
            ));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gpu_has_not_done_is_told() {
        let mut printed = PrintedGpu {
            adapter: "llvmpipe".to_owned(),
            backend: "Vulkan",
            driver: String::new(),
            software: true,
            images: 5,
            on_cpu: BTreeMap::new(),
            decoded: None,
            submissions: 1,
            halvings: 0,
            memory_bytes: 4096,
        };
        assert!(printed.remarks().is_empty());
        printed.on_cpu = BTreeMap::from([("own-mode", 2), ("too-large-for-gpu", 1)]);
        printed.halvings = 3;
        assert_eq!(
            printed.remarks(),
            [
                "3 of 8 images were resized on the CPU (own-mode: 2, too-large-for-gpu: 1)",
                "memory of the GPU was short: batches were halved 3 times"
            ]
        );
    }
}
