//! The horizontal pass in NEON: groups of neighbouring pixels, four rows at a time.
//!
//! A group (four pixels of three or four channels) is loaded at once, its bytes become 32-bit numbers, and those are
//! multiplied and summed modulo 2^32 as in the plain form, so that no weight has to be split. Each weight is read once
//! for all four rows. The vertical pass has no form of its own: the compiler makes the same instructions of the plain
//! one.

use std::arch::aarch64::{int32x4_t, uint8x16_t};

use pulp::aarch64::Neon;
use pulp::{NullaryFnOnce, cast};

use super::groups::{Groups, lanes};
use super::{FixedAxis, View, array_at};
use crate::resize::weights::Axis;

/// Bytes of a load, and numbers of a group.
const LOAD: usize = 16;
/// Rows that are resized together.
const ROWS: usize = 4;

/// The weights of an axis as its pass reads them.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    groups: Groups,
    /// For each target pixel, for each of its groups: the factors of all numbers.
    factors: Vec<[i32; LOAD]>,
    /// Whether the source is wide enough for the groups.
    fits: bool,
}

impl Weights {
    /// Takes over the weights of `axis` for rows of `source` pixels.
    pub(super) fn arrange_rows(&mut self, axis: &Axis<i32>, source: usize, channels: usize) {
        let Self {
            groups,
            factors,
            fits,
        } = self;
        factors.clear();
        *fits = groups.arrange(axis, source, LOAD / lanes(channels), |weight| {
            factors.push(std::array::from_fn(|number| {
                weight(number / lanes(channels))
            }));
        });
    }

    /// Columns need nothing.
    pub(super) fn arrange_columns(&mut self, _: &Axis<i32>) {}
}

/// Nothing is done here; see above.
pub(super) fn vertical(_: View<'_>, _: &FixedAxis, _: &mut [u8]) -> bool {
    false
}

/// [`super::plain::horizontal`] for the first rows; returns how many. These are none for very narrow images, and not
/// the last row where a load would leave the image.
pub(super) fn horizontal(source: View<'_>, fixed: &FixedAxis, out: &mut [u8]) -> usize {
    let Some(simd) = Neon::try_new().filter(|_| fixed.weights.fits) else {
        return 0;
    };
    match source.channels {
        1 => Rows::<1>::resize(simd, source, fixed, out),
        2 => Rows::<2>::resize(simd, source, fixed, out),
        3 => Rows::<3>::resize(simd, source, fixed, out),
        _ => Rows::<4>::resize(simd, source, fixed, out),
    }
}

/// Which loaded byte each number is; those out of range become zero.
const fn order(channels: usize) -> [u8; LOAD] {
    let mut bytes = [u8::MAX; LOAD];
    let mut number = 0;
    while number < LOAD {
        let (pixel, channel) = (number / lanes(channels), number % lanes(channels));
        if channel < channels {
            bytes[number] = (pixel * channels + channel) as u8;
        }
        number += 1;
    }
    bytes
}

/// The pass for pixels of `C` channels.
struct Rows<'a, const C: usize> {
    simd: Neon,
    source: View<'a>,
    fixed: &'a FixedAxis,
    /// How many rows there are to do; not zero.
    count: usize,
    out: &'a mut [u8],
}

impl<'a, const C: usize> Rows<'a, C> {
    /// Bytes from a group to the next.
    const STEP: usize = LOAD / lanes(C) * C;
    /// Bytes behind a row that the last load may touch.
    const MARGIN: usize = LOAD - Self::STEP;

    /// Resizes as many of the first rows as have the margin; returns how many.
    fn resize(simd: Neon, source: View<'a>, fixed: &'a FixedAxis, out: &'a mut [u8]) -> usize {
        let last = source.height - 1;
        let has_margin = source.row_with_margin(last, Self::MARGIN).is_some();
        let count = if has_margin { last + 1 } else { last };
        if count > 0 {
            simd.vectorize(Self {
                simd,
                source,
                fixed,
                count,
                out,
            });
        }
        count
    }

    /// Bytes of one target pixel in each of `rows`, of which only the first `C` count.
    #[inline(always)]
    fn pixel(&self, rows: [&[u8]; ROWS], factors: &[[i32; LOAD]]) -> [[u8; 4]; ROWS] {
        let neon = self.simd.neon;
        let order: uint8x16_t = cast(const { order(C) });
        // Two sums for each row: an addition need not wait for the one before it.
        let mut sums = [[neon.vdupq_n_s32(0); 2]; ROWS];
        for (group, factors) in factors.iter().enumerate() {
            let factors: [int32x4_t; 4] = cast(*factors);
            for ([even, odd], row) in sums.iter_mut().zip(rows) {
                let bytes: &[u8; LOAD] = array_at(row, group * Self::STEP);
                let bytes = neon.vqtbl1q_u8(cast(*bytes), order);
                let lower = neon.vmovl_u8(neon.vget_low_u8(bytes));
                let upper = neon.vmovl_high_u8(bytes);
                let numbers = [
                    neon.vmovl_u16(neon.vget_low_u16(lower)),
                    neon.vmovl_high_u16(lower),
                    neon.vmovl_u16(neon.vget_low_u16(upper)),
                    neon.vmovl_high_u16(upper),
                ]
                .map(|numbers| cast(numbers));
                *even = neon.vmlaq_s32(*even, numbers[0], factors[0]);
                *odd = neon.vmlaq_s32(*odd, numbers[1], factors[1]);
                *even = neon.vmlaq_s32(*even, numbers[2], factors[2]);
                *odd = neon.vmlaq_s32(*odd, numbers[3], factors[3]);
            }
        }
        sums.map(|[even, odd]| self.bytes(neon.vaddq_s32(even, odd)))
    }

    /// Puts the sums of each channel together, and rounds; both narrowings saturate, so that bytes are clamped.
    #[inline(always)]
    fn bytes(&self, mut sum: int32x4_t) -> [u8; 4] {
        let neon = self.simd.neon;
        if C <= 2 {
            // `[a, b, c, d]` becomes `[a + c, b + d, ..]`.
            sum = neon.vaddq_s32(sum, neon.vextq_s32::<2>(sum, sum));
        }
        if C == 1 {
            sum = neon.vaddq_s32(sum, neon.vextq_s32::<1>(sum, sum));
        }
        let sum = neon.vaddq_s32(sum, neon.vdupq_n_s32(self.fixed.half()));
        // A shift to the left by a negative number is one to the right.
        let sum = neon.vshlq_s32(sum, neon.vdupq_n_s32(-(self.fixed.bits as i32)));
        let words = neon.vqmovun_s32(sum);
        let bytes: [u8; 8] = cast(neon.vqmovn_u16(neon.vcombine_u16(words, words)));
        [bytes[0], bytes[1], bytes[2], bytes[3]]
    }
}

impl<const C: usize> NullaryFnOnce for Rows<'_, C> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Weights {
            groups, factors, ..
        } = &self.fixed.weights;
        let len = (groups.count - 1) * Self::STEP + LOAD;
        let out_len = groups.firsts.len() * C;
        for y in (0..self.count).step_by(ROWS) {
            // Behind the last row, that row is done again.
            let ys: [usize; ROWS] = std::array::from_fn(|i| (y + i).min(self.count - 1));
            let mut rows = [[].as_slice(); ROWS];
            for (row, y) in rows.iter_mut().zip(ys) {
                let with_margin = self.source.row_with_margin(y, Self::MARGIN);
                *row = with_margin.expect("`resize` counts only rows that have it");
            }
            let targets = groups.firsts.iter().zip(factors.chunks_exact(groups.count));
            for (x, (&first, factors)) in targets.enumerate() {
                let mut spans = rows;
                for span in &mut spans {
                    *span = &span[first * C..][..len];
                }
                for (y, bytes) in ys.into_iter().zip(self.pixel(spans, factors)) {
                    self.out[y * out_len + x * C..][..C].copy_from_slice(&bytes[..C]);
                }
            }
        }
    }
}
