//! The kernel as Metal and DX12 are given it: this machine's driver may only have seen Vulkan's form.

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

const KERNEL: &str = include_str!("../src/kernel.wgsl");
const PASSES: [&str; 3] = ["first", "second", "values"];

/// The kernel, valid without any feature of a device's.
fn kernel() -> (naga::Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(KERNEL)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string(KERNEL)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string(KERNEL)));
    (module, info)
}

#[test]
fn sums_wrap_in_metal() {
    let (module, info) = kernel();
    let (text, _) = msl::write_string(
        &module,
        &info,
        &msl::Options::default(),
        &msl::PipelineOptions::default(),
    )
    .unwrap();
    for pass in PASSES {
        assert!(text.contains(&format!("kernel void {pass}")), "{text}");
    }
    // Signed overflow is undefined there, so sums and products are those of unsigned numbers.
    let sums = text.matches("= as_type<metal::int3>(as_type<metal::uint3>(");
    assert_eq!(sums.count(), 2, "{text}");
}

#[test]
fn every_pass_is_written_for_dx12_and_vulkan() {
    let (module, info) = kernel();
    for pass in PASSES {
        let mut text = String::new();
        let options = hlsl::Options::default();
        let pipeline = hlsl::PipelineOptions {
            entry_point: Some((naga::ShaderStage::Compute, pass.to_owned())),
        };
        hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap();
        assert!(text.contains("numthreads(64, 1, 1)"), "{text}");
    }
    let words = spv::write_vec(&module, &info, &spv::Options::default(), None).unwrap();
    assert!(!words.is_empty());
}
