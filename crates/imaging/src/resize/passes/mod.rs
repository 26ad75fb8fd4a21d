//! One-dimensional passes over interleaved bytes in fixed point, shared by Pillow and torchvision.
//!
//! `out = u8((half + sum(source * weight)) >> bits)`, in 32-bit integers that wrap like the references' do. [`plain`]
//! is the specification, and what runs where there is neither AVX2 nor NEON.

#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(
        clippy::inline_always,
        reason = "only what is inlined into the function that pulp calls is compiled for its instructions"
    )
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod groups;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plain;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod portable;

#[cfg(target_arch = "x86_64")]
use avx2 as fast;
#[cfg(target_arch = "aarch64")]
use neon as fast;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use portable as fast;

use super::view::View;
use super::weights::Axis;

/// Weights of one axis as integers with `bits` fractional bits.
#[derive(Clone, Debug, Default)]
pub(super) struct FixedAxis {
    axis: Axis<i32>,
    bits: u32,
    /// The weights as the fast pass reads them.
    weights: fast::Weights,
}

impl FixedAxis {
    /// Rounds the weights of `exact` to `bits` fractional bits, halves away from zero. Rows of `source` pixels are
    /// resized with them, or columns where `channels` is `None`.
    pub(super) fn round(
        &mut self,
        exact: &Axis<f64>,
        bits: u32,
        source: usize,
        channels: Option<usize>,
    ) {
        self.bits = bits;
        self.axis.assign(exact, |weight| rounded(weight, bits));
        match channels {
            Some(channels) => self.weights.arrange_rows(&self.axis, source, channels),
            None => self.weights.arrange_columns(&self.axis),
        }
    }

    /// The start of every sum: half of the last place.
    fn half(&self) -> i32 {
        1 << (self.bits - 1)
    }
}

/// A weight with `bits` fractional bits, halves away from zero.
pub(super) fn rounded(weight: f64, bits: u32) -> i32 {
    let one = f64::from(1u32 << bits);
    (weight * one + 0.5f64.copysign(weight)) as i32
}

/// Resizes the rows of `source`; `out` gets as many rows of the new width.
pub(super) fn horizontal(source: View<'_>, fixed: &FixedAxis, out: &mut Vec<u8>) {
    let out_len = fixed.axis.spans.len() * source.channels;
    out.resize(source.height * out_len, 0);
    let done = fast::horizontal(source, fixed, out);
    if done < source.height {
        let rest = source.part(0..source.width, done..source.height);
        plain::horizontal(rest, fixed, &mut out[done * out_len..]);
    }
}

/// Resizes the columns of `source`; `out` gets rows of the same length.
pub(super) fn vertical(source: View<'_>, fixed: &FixedAxis, out: &mut Vec<u8>) {
    out.resize(fixed.axis.spans.len() * source.row_len(), 0);
    if !fast::vertical(source, fixed, out) {
        plain::vertical(source, fixed, out);
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
/// The `N` bytes from `start` on, as what the compiler loads in one piece.
#[inline(always)]
pub(super) fn array_at<const N: usize>(bytes: &[u8], start: usize) -> &[u8; N] {
    let bytes = &bytes[start..start + N];
    bytes.try_into().expect("the slice has that length")
}

fn to_byte(v: i32) -> u8 {
    v.clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sightline_core::image_spec::Filter;

    use super::*;
    use crate::resize::weights::AxisSpec;

    const FILTERS: [Filter; 5] = [
        Filter::Box,
        Filter::Bilinear,
        Filter::Hamming,
        Filter::Bicubic,
        Filter::Lanczos,
    ];

    /// An axis, with the part of the source that it reads.
    fn fixed(spec: AxisSpec, bits: u32, channels: Option<usize>) -> (FixedAxis, usize) {
        let mut exact = Axis::new(&spec).unwrap();
        let read = exact.shift_to_zero();
        let mut fixed = FixedAxis::default();
        fixed.round(&exact, bits, read.len(), channels);
        (fixed, read.len())
    }

    /// Bytes without order; with `extreme` only the least and the largest, with which sums leave the range of bytes.
    fn noise(len: usize, seed: u32, extreme: bool) -> Vec<u8> {
        let mut state = seed | 1;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len)
            .map(|_| match byte() {
                v if extreme => (v >> 7) * 255,
                v => v,
            })
            .collect()
    }

    proptest! {
        #[test]
        fn fast_rows_equal_plain_rows(
            source in 1u32..300, target in 1u32..120, rows in 1usize..10, channels in 1usize..5, filter in 0usize..5,
            bits in prop::sample::select(vec![14u32, 15, 18, 22]), seed: u32, extreme: bool, wider in 0usize..3,
        ) {
            let spec = AxisSpec::whole(FILTERS[filter], source, target);
            let (fixed, read) = fixed(spec, bits, Some(channels));
            let data = noise((read + wider) * channels * rows, seed, extreme);
            let view = View::packed(&data, read + wider, channels).part(wider..read + wider, 0..rows);
            let (mut fast, mut plain) = (Vec::new(), vec![0; rows * target as usize * channels]);
            horizontal(view, &fixed, &mut fast);
            plain::horizontal(view, &fixed, &mut plain);
            prop_assert_eq!(fast, plain);
        }

        #[test]
        fn fast_columns_equal_plain_columns(
            source in 1u32..120, target in 1u32..60, width in 1usize..80, channels in 1usize..5, filter in 0usize..5,
            bits in prop::sample::select(vec![14u32, 15, 18, 22]), seed: u32, extreme: bool, wider in 0usize..3,
        ) {
            let spec = AxisSpec::whole(FILTERS[filter], source, target);
            let (fixed, read) = fixed(spec, bits, None);
            let data = noise(read * (width + wider) * channels, seed, extreme);
            let view = View::packed(&data, width + wider, channels).part(wider..width + wider, 0..read);
            let (mut fast, mut plain) = (Vec::new(), vec![0; width * target as usize * channels]);
            vertical(view, &fixed, &mut fast);
            plain::vertical(view, &fixed, &mut plain);
            prop_assert_eq!(fast, plain);
        }
    }

    #[test]
    fn both_passes_sum_what_the_spans_name() {
        let exact = Axis {
            spans: vec![(0, 2), (1, 2)],
            taps: 3,
            weights: vec![0.5, 0.5, 99.0, 0.75, 0.25, 99.0],
        };
        let mut halves = FixedAxis::default();
        halves.round(&exact, 22, 3, Some(1));
        let mut out = Vec::new();
        horizontal(View::packed(&[10, 20, 41], 3, 1), &halves, &mut out);
        assert_eq!(out, [15, 25]);
        vertical(View::packed(&[10, 20, 41], 1, 1), &halves, &mut out);
        assert_eq!(out, [15, 25]);
        let wide: Vec<u8> = [10, 20, 41].iter().flat_map(|&v| [v; 70]).collect();
        vertical(View::packed(&wide, 70, 1), &halves, &mut out);
        assert_eq!(out, [[15; 70], [25; 70]].concat());
        let rgb = [10, 0, 255, 20, 0, 255, 41, 0, 255];
        horizontal(View::packed(&rgb, 3, 3), &halves, &mut out);
        assert_eq!(out, [15, 0, 255, 25, 0, 255]);
    }
}
