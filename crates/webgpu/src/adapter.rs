//! The GPUs of this machine.

use std::fmt;

use wgpu::{
    Backend, Backends, DeviceType, DownlevelFlags, Instance, InstanceDescriptor, InstanceFlags,
};

use crate::Error;
use crate::block_on::block_on;

/// Storage buffers that the kernel binds at once.
const STORAGE_BUFFERS: u32 = 7;

/// What is asked for GPUs.
const BACKENDS: Backends = Backends::VULKAN
    .union(Backends::METAL)
    .union(Backends::DX12);

/// A GPU, as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// Its name.
    pub name: String,
    /// `Vulkan`, `Metal` or `DX12`.
    pub backend: &'static str,
    /// Name and version of the driver.
    pub driver: String,
    /// Whether it is a program on the CPU that does as if it were a GPU.
    pub is_software: bool,
}

impl Adapter {
    pub(crate) fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        Self {
            backend: match info.backend {
                Backend::Metal => "Metal",
                Backend::Dx12 => "DX12",
                _ => "Vulkan",
            },
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .to_owned(),
            is_software: info.device_type == DeviceType::Cpu,
            name: info.name,
        }
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, self.backend)?;
        if !self.driver.is_empty() {
            write!(f, ", {}", self.driver)?;
        }
        if self.is_software {
            f.write_str(", in software")?;
        }
        f.write_str(")")
    }
}

/// The GPUs of this machine in the order in which they are counted: those with memory of their own, those without,
/// those in software.
pub fn adapters() -> Vec<Adapter> {
    list().iter().map(Adapter::of).collect()
}

/// The GPU that is counted as `index`, if it can run the kernel.
pub(crate) fn choose(index: usize) -> Result<wgpu::Adapter, Error> {
    let mut found = list();
    if index >= found.len() {
        return Err(Error::NoAdapter {
            index,
            looked_for: looked_for(),
            found: found
                .iter()
                .map(|adapter| adapter.get_info().name)
                .collect(),
        });
    }
    let adapter = found.swap_remove(index);
    let unfit = |reason: String| {
        Err(Error::Unfit {
            adapter: adapter.get_info().name,
            reason,
        })
    };
    let flags = adapter.get_downlevel_capabilities().flags;
    if !flags.contains(DownlevelFlags::COMPUTE_SHADERS) {
        return unfit("it has no compute shaders".to_owned());
    }
    let buffers = adapter.limits().max_storage_buffers_per_shader_stage;
    if buffers < STORAGE_BUFFERS {
        return unfit(format!(
            "it binds {buffers} buffers at once, {STORAGE_BUFFERS} are needed"
        ));
    }
    Ok(adapter)
}

fn list() -> Vec<wgpu::Adapter> {
    // Of a system without any of them wgpu makes no instance.
    if Instance::enabled_backend_features().is_empty() {
        return Vec::new();
    }
    let instance = Instance::new(InstanceDescriptor {
        backends: BACKENDS,
        // Neither validation layers nor names of objects, whatever this build is.
        flags: InstanceFlags::empty(),
        ..InstanceDescriptor::new_without_display_handle()
    });
    let mut found = block_on(instance.enumerate_adapters(BACKENDS));
    found.sort_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    found
}

/// What this build asks on this system.
fn looked_for() -> String {
    let mut names = Vec::new();
    for (backend, name) in [
        (Backends::VULKAN, "Vulkan"),
        (Backends::METAL, "Metal"),
        (Backends::DX12, "DX12"),
    ] {
        if Instance::enabled_backend_features().contains(backend) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return "a build without Vulkan, Metal or DX12".to_owned();
    }
    names.join(" or ")
}
