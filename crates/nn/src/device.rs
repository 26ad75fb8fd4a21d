//! The device that a model computes on: the CPU, or a GPU of NVIDIA's in a program built with the feature `cuda`.

use std::fmt;
use std::str::FromStr;

use candle_core::{Device, DeviceLocation};

#[cfg(not(feature = "cuda"))]
use crate::Error;
use crate::Result;

/// A device by its name: `cpu`, `cuda` (the first GPU) or `cuda:N`, counted from 0.
///
/// ```
/// use sightline_nn::DeviceName;
///
/// assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
/// assert_eq!(DeviceName::Cuda(1).to_string(), "cuda:1");
/// assert!(DeviceName::Cpu.open()?.is_cpu());
/// # Ok::<(), sightline_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// The GPU of this number among those that `CUDA_VISIBLE_DEVICES` leaves.
    Cuda(usize),
}

/// Text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `cpu`, `cuda` or `cuda:N`, for example `cuda:0`")]
pub struct NoDeviceName;

impl FromStr for DeviceName {
    type Err = NoDeviceName;

    fn from_str(text: &str) -> std::result::Result<Self, NoDeviceName> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let number = text.strip_prefix("cuda:").ok_or(NoDeviceName)?;
                let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
                let number = number.parse().ok().filter(|_| is_plain);
                number.map(Self::Cuda).ok_or(NoDeviceName)
            }
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl DeviceName {
    /// The device, ready to be computed on.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => self.open_cuda(number),
        }
    }

    #[cfg(feature = "cuda")]
    fn open_cuda(self, number: usize) -> Result<Device> {
        crate::kernel::cuda::open(number).map_err(|source| crate::Error::Device {
            device: self.to_string(),
            source: Box::new(source),
        })
    }

    #[cfg(not(feature = "cuda"))]
    fn open_cuda(self, _: usize) -> Result<Device> {
        Err(Error::NoCuda {
            device: self.to_string(),
        })
    }
}

/// The name of `device`, as [`DeviceName`] reads it.
pub fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => DeviceName::Cpu.to_string(),
        DeviceLocation::Cuda { gpu_id } => DeviceName::Cuda(gpu_id).to_string(),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// What a record says of `device`: its name, and of a GPU the card and the driver's version.
pub fn describe(device: &Device) -> String {
    let parts = [Some(name(device)), card(device), driver(device)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The most bytes of memory that tensors on a GPU have had at once; `None` on a CPU.
pub fn peak_memory_bytes(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    let peak = crate::kernel::cuda::peak_bytes(device);
    #[cfg(not(feature = "cuda"))]
    let peak = None.filter(|_: &u64| !device.is_cpu());
    peak
}

/// Whether an error says that a GPU's memory is full, so that fewer samples at a time may go well.
pub fn is_out_of_memory(error: &candle_core::Error) -> bool {
    #[cfg(feature = "cuda")]
    let is_full = crate::kernel::cuda::is_out_of_memory(error);
    #[cfg(not(feature = "cuda"))]
    let is_full = {
        let _ = error;
        false
    };
    is_full
}

#[cfg(feature = "cuda")]
fn card(device: &Device) -> Option<String> {
    crate::kernel::cuda::card(device)
}

#[cfg(not(feature = "cuda"))]
fn card(_: &Device) -> Option<String> {
    None
}

/// The version of the driver's kernel module, where the system shows it.
fn driver(device: &Device) -> Option<String> {
    if device.is_cpu() {
        return None;
    }
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let version = text.lines().next().and_then(driver_version)?;
    Some(format!("driver {version}"))
}

/// `580.95.05` in `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 …`.
fn driver_version(line: &str) -> Option<&str> {
    let is_version = |word: &&str| {
        let mut parts = word.split('.');
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        word.contains('.') && parts.all(is_number)
    };
    line.split_whitespace().find(is_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (text, device) in [
            ("cpu", DeviceName::Cpu),
            ("cuda:0", DeviceName::Cuda(0)),
            ("cuda:12", DeviceName::Cuda(12)),
        ] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        for text in [
            "",
            "gpu",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda:1x",
            "CPU",
            "cuda:99999999999999999999",
        ] {
            assert_eq!(text.parse::<DeviceName>(), Err(NoDeviceName), "{text}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_program_without_cuda_says_where_the_other_one_is() {
        let error = DeviceName::Cuda(1).open().unwrap_err();
        assert_eq!(error.to_string(), "this program has no code for cuda:1");
        assert!(sightline_core::Hint::hints(&error)[0].contains("just build-cuda"));
    }

    #[test]
    fn the_driver_is_found_in_the_systems_text() {
        let line =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build";
        assert_eq!(driver_version(line), Some("580.95.05"));
        assert_eq!(driver_version("nothing"), None);
        assert_eq!(describe(&Device::Cpu), "cpu");
    }
}
