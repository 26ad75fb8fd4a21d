//! The horizontal pass: groups of neighbouring pixels, four rows at a time.
//!
//! A group (four pixels of three or four channels) is loaded at once, and its bytes are put beside each other so that
//! `vpmaddwd` adds the products of two pixels of a channel. Each weight is read once for all four rows.

use std::arch::x86_64::{__m128i, __m256i};

use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use super::{Axis, FixedAxis, View, joined, part_of, parts};
use crate::resize::passes::array_at;
use crate::resize::passes::groups::{Groups, lanes};

/// Bytes of a load.
const LOAD: usize = 16;
/// 16-bit numbers in a register, and so products of a group.
const PRODUCTS: usize = 16;
/// Rows that are resized together.
const ROWS: usize = 4;

/// [`super::super::plain::horizontal`] for the first rows; returns how many. These are none without AVX2 or for very
/// narrow images, and not the last row where a load would leave the image.
pub(in super::super) fn horizontal(source: View<'_>, fixed: &FixedAxis, out: &mut [u8]) -> usize {
    let Some(simd) = V3::try_new() else {
        return 0;
    };
    match (source.channels, fixed.weights.rows.parts) {
        (_, 0) => 0,
        (1, 1) => Rows::<1, 1>::resize(simd, source, fixed, out),
        (1, _) => Rows::<1, 2>::resize(simd, source, fixed, out),
        (2, 1) => Rows::<2, 1>::resize(simd, source, fixed, out),
        (2, _) => Rows::<2, 2>::resize(simd, source, fixed, out),
        (3, 1) => Rows::<3, 1>::resize(simd, source, fixed, out),
        (3, _) => Rows::<3, 2>::resize(simd, source, fixed, out),
        (_, 1) => Rows::<4, 1>::resize(simd, source, fixed, out),
        (_, _) => Rows::<4, 2>::resize(simd, source, fixed, out),
    }
}

/// The weights of an axis in the order in which the registers hold the pixels.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct RowWeights {
    /// 1 for weights of 16 bits, 2 for split ones; 0 if they cannot be used or the source is narrower than the groups
    /// of a target pixel.
    parts: usize,
    groups: Groups,
    /// For each target pixel, for each of its groups, for each part: the factors of all products.
    factors: Vec<[i16; PRODUCTS]>,
}

impl RowWeights {
    /// Takes over the weights of `axis`, which reads rows of `source` pixels.
    pub(in super::super) fn arrange(&mut self, axis: &Axis<i32>, source: usize, channels: usize) {
        let Self {
            parts: count,
            groups,
            factors,
        } = self;
        *count = parts(axis).unwrap_or(0);
        factors.clear();
        let fits = groups.arrange(axis, source, group_pixels(channels), |weight| {
            for part in 0..*count {
                let factor = |product| part_of(weight(place(product, channels).0), part, *count);
                factors.push(std::array::from_fn(factor));
            }
        });
        if !fits {
            *count = 0;
        }
    }
}

/// Pixels of a group.
const fn group_pixels(channels: usize) -> usize {
    PRODUCTS / lanes(channels)
}

/// Pixel of its group, and channel, that a product is of. Neighbouring products are of neighbouring pixels and the
/// same channel, because they are added.
const fn place(product: usize, channels: usize) -> (usize, usize) {
    let (pair, second) = (product / 2, product % 2);
    (pair / lanes(channels) * 2 + second, pair % lanes(channels))
}

/// Which loaded byte each byte of a register takes to make 16-bit numbers of bytes; negative: zero.
const fn shuffle(channels: usize) -> [i8; 2 * PRODUCTS] {
    let mut bytes = [-1; 2 * PRODUCTS];
    let mut product = 0;
    while product < PRODUCTS {
        let (pixel, channel) = place(product, channels);
        if channel < channels {
            bytes[2 * product] = (pixel * channels + channel) as i8;
        }
        product += 1;
    }
    bytes
}

/// A one in the first sum of each channel: where half of the last place is added.
const fn first_sums(channels: usize) -> [i32; 8] {
    let mut sums = [0; 8];
    let mut channel = 0;
    while channel < channels {
        sums[channel] = 1;
        channel += 1;
    }
    sums
}

/// The pass for pixels of `C` channels and weights of `PARTS` parts.
struct Rows<'a, const C: usize, const PARTS: usize> {
    simd: V3,
    source: View<'a>,
    fixed: &'a FixedAxis,
    /// How many rows there are to do; not zero.
    count: usize,
    out: &'a mut [u8],
}

impl<'a, const C: usize, const PARTS: usize> Rows<'a, C, PARTS> {
    /// Bytes from a group to the next.
    const STEP: usize = group_pixels(C) * C;
    /// Bytes behind a row that the last load may touch.
    const MARGIN: usize = LOAD - Self::STEP;

    /// Resizes as many of the first rows as have the margin; returns how many.
    fn resize(simd: V3, source: View<'a>, fixed: &'a FixedAxis, out: &'a mut [u8]) -> usize {
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
    fn pixel(
        &self,
        rows: [&[u8]; ROWS],
        weights: &[[[i16; PRODUCTS]; PARTS]],
        start: [__m256i; PARTS],
    ) -> [[u8; 4]; ROWS] {
        let avx2 = self.simd.avx2;
        let order: __m256i = cast(const { shuffle(C) });
        let mut sums = [start; ROWS];
        for (group, parts) in weights.iter().enumerate() {
            for (sums, row) in sums.iter_mut().zip(rows) {
                let bytes: &[u8; LOAD] = array_at(row, group * Self::STEP);
                let bytes = avx2._mm256_broadcastsi128_si256(cast(*bytes));
                let values = avx2._mm256_shuffle_epi8(bytes, order);
                for (sum, weights) in sums.iter_mut().zip(parts) {
                    let products = avx2._mm256_madd_epi16(values, cast(*weights));
                    *sum = avx2._mm256_add_epi32(*sum, products);
                }
            }
        }
        self.bytes(sums)
    }

    /// Puts the parts and then the sums of each channel together, and rounds.
    #[inline(always)]
    fn bytes(&self, sums: [[__m256i; PARTS]; ROWS]) -> [[u8; 4]; ROWS] {
        let sse2 = self.simd.sse2;
        let bits = sse2._mm_cvtsi32_si128(self.fixed.bits as i32);
        let mut rows = [sse2._mm_setzero_si128(); ROWS];
        for (row, parts) in rows.iter_mut().zip(&sums) {
            let sum = joined(self.simd, parts);
            let [lower, upper]: [__m128i; 2] = cast(sum);
            let mut sum = sse2._mm_add_epi32(lower, upper);
            if C <= 2 {
                sum = sse2._mm_add_epi32(sum, sse2._mm_shuffle_epi32::<0b01_00_11_10>(sum));
            }
            if C == 1 {
                sum = sse2._mm_add_epi32(sum, sse2._mm_shuffle_epi32::<0b10_11_00_01>(sum));
            }
            *row = sse2._mm_sra_epi32(sum, bits);
        }
        let [a, b, c, d] = rows;
        // Both packings saturate, so that bytes are clamped to 0 and 255.
        let (ab, cd) = (sse2._mm_packs_epi32(a, b), sse2._mm_packs_epi32(c, d));
        cast(sse2._mm_packus_epi16(ab, cd))
    }
}

impl<const C: usize, const PARTS: usize> NullaryFnOnce for Rows<'_, C, PARTS> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let RowWeights {
            groups, factors, ..
        } = &self.fixed.weights.rows;
        let (weights, _) = factors.as_chunks::<PARTS>();
        let half: [i32; 8] = const { first_sums(C) }.map(|one| one * self.fixed.half());
        // Only the last part, which is not shifted any more, starts with the half.
        let mut start = [cast([0i32; 8]); PARTS];
        start[PARTS - 1] = cast(half);
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
            let targets = groups.firsts.iter().zip(weights.chunks_exact(groups.count));
            for (x, (&first, weights)) in targets.enumerate() {
                let mut spans = rows;
                for span in &mut spans {
                    *span = &span[first * C..][..len];
                }
                let bytes = self.pixel(spans, weights, start);
                for (y, bytes) in ys.into_iter().zip(bytes) {
                    self.out[y * out_len + x * C..][..C].copy_from_slice(&bytes[..C]);
                }
            }
        }
    }
}
