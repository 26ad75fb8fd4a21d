//! Which instructions the arithmetic is compiled for.
//!
//! A [`Kernel`] is plain Rust; [`dispatch`] runs it as compiled for the baseline of the target or for AVX2,
//! whichever the machine has. Where the compiler cannot find the vector instructions by itself, the kernel
//! asks the [`Vector`] that it is given.

use super::reduced::{self, inverse_1x1, inverse_2x2};
use super::transform;

/// Pixels that [`Vector::interleave`] takes.
pub(super) const PIXELS: usize = 32;

/// The steps that differ between instruction sets. All implementations give the same samples.
pub(super) trait Vector: Copy {
    /// The inverse transform; see [`transform::inverse`].
    fn inverse(
        self,
        coefficients: &[i16; 64],
        quantisation: &[u16; 64],
        last: usize,
        out: &mut [u8],
        stride: usize,
    );

    /// The same into 4 by 4 samples; see [`reduced::inverse_4x4`].
    fn inverse_4x4(
        self,
        coefficients: &[i16; 64],
        quantisation: &[u16; 64],
        out: &mut [u8],
        stride: usize,
    );

    /// The same into `side` by `side` samples: 8, 4, 2 or 1.
    #[inline(always)]
    fn inverse_to(
        self,
        side: usize,
        coefficients: &[i16; 64],
        quantisation: &[u16; 64],
        last: usize,
        (out, stride): (&mut [u8], usize),
    ) {
        match side {
            8 => self.inverse(coefficients, quantisation, last, out, stride),
            4 => self.inverse_4x4(coefficients, quantisation, out, stride),
            2 => inverse_2x2(coefficients, quantisation, out, stride),
            _ => inverse_1x1(coefficients, quantisation, out),
        }
    }

    /// Pixels of three channels.
    fn interleave(self, channels: &[[u8; PIXELS]; 3], out: &mut [[u8; 3]; PIXELS]);
}

/// Work that is compiled for each instruction set. Everything below `run` has to be inlined into it.
pub(super) trait Kernel {
    fn run(self, vector: impl Vector);
}

/// Runs a kernel on the best instructions of the machine.
pub(super) fn dispatch(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = super::avx2::Avx2::detect() {
        return avx2.run(kernel);
    }
    kernel.run(Portable);
}

/// Whatever the compiler makes of plain Rust; SSE2 on `x86_64`, NEON on `aarch64`.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Vector for Portable {
    #[inline(always)]
    fn inverse(
        self,
        coefficients: &[i16; 64],
        quantisation: &[u16; 64],
        last: usize,
        out: &mut [u8],
        stride: usize,
    ) {
        transform::inverse(coefficients, quantisation, last, out, stride);
    }

    #[inline(always)]
    fn inverse_4x4(
        self,
        coefficients: &[i16; 64],
        quantisation: &[u16; 64],
        out: &mut [u8],
        stride: usize,
    ) {
        reduced::inverse_4x4(coefficients, quantisation, out, stride);
    }

    #[inline(always)]
    fn interleave(self, [a, b, c]: &[[u8; PIXELS]; 3], out: &mut [[u8; 3]; PIXELS]) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = [a[i], b[i], c[i]];
        }
    }
}
