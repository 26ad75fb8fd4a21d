//! Names of devices that prepare images, on the command line: those of models, `cpu` and `cuda[:N]`, and `webgpu[:N]`.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use sightline_core::registry::UnknownName;
use sightline_models::DeviceName as ModelDevice;
use sightline_preprocess::Decode;

use crate::exit::Failure;

/// Who decodes JPEG files when the device is a card of NVIDIA's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecodeArg {
    /// Whoever is free: the card's engines and multiprocessors, and the host's threads
    Any,
    /// The host's threads: exactly the pixels of --device cpu
    Host,
    /// The card, apart from what it cannot decode
    Card,
}

impl From<DecodeArg> for Decode {
    fn from(decode: DecodeArg) -> Self {
        match decode {
            DecodeArg::Any => Self::Any,
            DecodeArg::Host => Self::Host,
            DecodeArg::Card => Self::Card,
        }
    }
}

/// A failure where a choice of who decodes was made, and `device` is no card.
pub(crate) fn no_choice(device: impl fmt::Display) -> Failure {
    Failure::usage(
        format!("opening device `{device}`"),
        "--decode is a choice of the cards of --device cuda",
    )
}

/// What work is done on. GPUs are counted from 0, those of NVIDIA by CUDA, all that Vulkan, Metal or DX12 can use by
/// WebGPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DeviceName {
    /// The processor's cores.
    #[default]
    Cpu,
    /// A GPU of NVIDIA's.
    Cuda(usize),
    /// Any GPU.
    WebGpu(usize),
}

/// A text that names no device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoDevice {
    name: String,
    /// What was perhaps meant.
    nearest: Option<String>,
}

impl fmt::Display for NoDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nearest } = self;
        write!(
            f,
            "unknown device `{name}`; devices are cpu, cuda, cuda:N, webgpu and webgpu:N"
        )?;
        match nearest {
            Some(nearest) => write!(f, " (did you mean {nearest}?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NoDevice {}

impl FromStr for DeviceName {
    type Err = NoDevice;

    fn from_str(name: &str) -> Result<Self, NoDevice> {
        match name.parse() {
            Ok(ModelDevice::Cpu) => return Ok(Self::Cpu),
            Ok(ModelDevice::Cuda(index)) => return Ok(Self::Cuda(index)),
            Err(_) => {}
        }
        // A second GPU is counted as one of CUDA's is.
        let as_cuda = name.replacen("webgpu", "cuda", 1);
        match as_cuda.parse() {
            Ok(ModelDevice::Cuda(index)) if name.starts_with("webgpu") => Ok(Self::WebGpu(index)),
            _ => {
                let kind = name.split(':').next().unwrap_or_default();
                Err(NoDevice {
                    name: name.to_owned(),
                    nearest: UnknownName::among("device", kind, ["cpu", "cuda", "webgpu"])
                        .nearest
                        .into_iter()
                        .find(|nearest| nearest != kind),
                })
            }
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::WebGpu(index) => write!(f, "webgpu:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for device in [
            DeviceName::Cpu,
            DeviceName::Cuda(0),
            DeviceName::Cuda(11),
            DeviceName::WebGpu(3),
        ] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        assert_eq!("webgpu".parse(), Ok(DeviceName::WebGpu(0)));
    }

    #[test]
    fn other_names_are_told_with_those_that_there_are() {
        for name in [
            "",
            "gpu",
            "cpu:0",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "webgpu:x",
            "CUDA",
            "webgpu:99999999999999999999",
        ] {
            let error = name.parse::<DeviceName>().unwrap_err().to_string();
            let list = format!(
                "unknown device `{name}`; devices are cpu, cuda, cuda:N, webgpu and webgpu:N"
            );
            assert!(error.starts_with(&list), "{error}");
        }
        let error = "wepgpu:1".parse::<DeviceName>().unwrap_err().to_string();
        assert!(error.ends_with(" (did you mean webgpu?)"), "{error}");
    }
}
