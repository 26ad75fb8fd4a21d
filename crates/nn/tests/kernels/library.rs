//! The kernels' sources as libraries of this machine, and how a kernel is launched.

use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::sync::LazyLock;

use half::{bf16, f16};
use libloading::{Library, Symbol};
use sightline_testkit::compiled_cxx;

use super::element::untyped;

/// `launch` of host.h.
type Launch = unsafe extern "C" fn(
    blocks: *const u32,
    threads: u32,
    backwards: bool,
    kernel: unsafe extern "C" fn(*mut c_void),
    arguments: *mut c_void,
) -> *const c_char;

/// A source of kernels, compiled.
pub(crate) struct Kernels {
    library: Library,
    _folder: tempfile::TempDir,
}

/// What a kernel is launched with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: [usize; 3],
    pub(crate) threads: usize,
    /// Whether the last block and the last thread come first.
    pub(crate) backwards: bool,
}

/// Those of a source; none where there is no C++ compiler.
pub(crate) static ATTENTION: LazyLock<Option<Kernels>> =
    LazyLock::new(|| Kernels::new("attention"));
pub(crate) static FUSED: LazyLock<Option<Kernels>> = LazyLock::new(|| Kernels::new("fused"));
pub(crate) static STEP: LazyLock<Option<Kernels>> = LazyLock::new(|| Kernels::new("step"));

impl Kernels {
    fn new(name: &str) -> Option<Self> {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().expect("a folder can be made");
        let include = format!("-I{}", crate_folder.join("tests/kernels/host").display());
        let arguments = [
            include.as_str(),
            // Kernels read memory as larger types, at addresses that GPUs need to be multiples of their size.
            "-fno-strict-aliasing",
            "-fsanitize=alignment",
            "-fsanitize-undefined-trap-on-error",
            // It would not let a thread go on with its own stack.
            "-U_FORTIFY_SOURCE",
        ];
        let source = crate_folder.join(format!("src/kernel/cuda/{name}.cu"));
        let path = compiled_cxx(source, folder.path(), &arguments)?;
        // SAFETY: it was just compiled, and has no initialisers.
        let library = unsafe { Library::new(path) }.expect("it opens");
        Some(Self {
            library,
            _folder: folder,
        })
    }

    /// The function of that name.
    ///
    /// # Safety
    /// `F` MUST be a pointer to functions as it is one.
    pub(crate) unsafe fn function<F: Copy>(&self, name: &str) -> F {
        // SAFETY: the caller's promise.
        let function: Symbol<'_, F> = unsafe { self.library.get(name.as_bytes()) }
            .unwrap_or_else(|error| panic!("`{name}`: {error}"));
        *function
    }

    /// Calls `kernel` for every thread of the grid.
    ///
    /// # Panics
    /// If the host says that the kernel does what no GPU does.
    pub(crate) fn launch(&self, grid: Grid, mut kernel: &dyn Fn()) {
        unsafe extern "C" fn call(kernel: *mut c_void) {
            // SAFETY: it is the address of the reference below, which outlives the launch.
            unsafe { (*kernel.cast::<&dyn Fn()>())() }
        }
        // SAFETY: the function of that name has that type.
        let launch: Launch = unsafe { self.function("launch") };
        let blocks = grid.blocks.map(|n| n as u32);
        let threads = grid.threads as u32;
        // SAFETY: there are three sizes, and `call` takes the address.
        let failure = unsafe {
            launch(
                blocks.as_ptr(),
                threads,
                grid.backwards,
                call,
                untyped(&mut kernel),
            )
        };
        if !failure.is_null() {
            // SAFETY: it is a literal of the host's.
            let failure = unsafe { CStr::from_ptr(failure) };
            panic!("{}", failure.to_string_lossy());
        }
    }
}

#[test]
fn numbers_of_16_bits_are_rounded_as_those_of_half() {
    let Some(kernels) = FUSED.as_ref() else {
        return;
    };
    // SAFETY: the functions of these names have these types.
    let (narrow, narrow_bf): (
        unsafe extern "C" fn(f32) -> u16,
        unsafe extern "C" fn(f32) -> u16,
    ) = unsafe {
        (
            kernels.function("narrowed_f16"),
            kernels.function("narrowed_bf16"),
        )
    };
    // SAFETY: as above.
    let (widen, widen_bf): (
        unsafe extern "C" fn(u16) -> f32,
        unsafe extern "C" fn(u16) -> f32,
    ) = unsafe {
        (
            kernels.function("widened_f16"),
            kernels.function("widened_bf16"),
        )
    };
    let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    for bits in 0..=u16::MAX {
        let (x, y) = (f16::from_bits(bits), bf16::from_bits(bits));
        // SAFETY: they take any number.
        let found = unsafe { (widen(bits), widen_bf(bits)) };
        assert!(
            same(found.0, x.to_f32()) && same(found.1, y.to_f32()),
            "{bits:#x}"
        );
        // Numbers, what lies halfway to the next one, and what lies just beside that.
        for (x, step) in [(x.to_f32(), 1u32 << 12), (y.to_f32(), 1 << 15)] {
            for step in [0, step - 1, step, step + 1] {
                let x = f32::from_bits(x.to_bits().wrapping_add(step));
                // SAFETY: they take any number.
                let found = unsafe { (narrow(x), narrow_bf(x)) };
                let found = (f16::from_bits(found.0), bf16::from_bits(found.1));
                let exact = (f16::from_f32(x), bf16::from_f32(x));
                assert!(same(found.0.to_f32(), exact.0.to_f32()), "{x:e} as f16");
                assert!(same(found.1.to_f32(), exact.1.to_f32()), "{x:e} as bf16");
            }
        }
    }
}
