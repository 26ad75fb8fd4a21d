//! The vertical pass: blocks of neighbouring bytes, two rows of the source at a time.

use std::arch::x86_64::__m256i;

use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use super::{Axis, FixedAxis, View, joined, part_of, parts};
use crate::resize::passes::array_at;

/// Bytes that are summed together.
const BLOCK: usize = 32;
/// Registers that hold the sums of a block.
const SUMS: usize = 4;

/// [`super::super::plain::vertical`]; false, and nothing done, without AVX2 or where rows are too short.
pub(in super::super) fn vertical(source: View<'_>, fixed: &FixedAxis, out: &mut [u8]) -> bool {
    let fits = source.row_len() >= BLOCK && fixed.weights.columns.parts > 0;
    let Some(simd) = V3::try_new().filter(|_| fits) else {
        return false;
    };
    if fixed.weights.columns.parts == 1 {
        simd.vectorize(Columns::<1>::new(simd, source, fixed, out));
    } else {
        simd.vectorize(Columns::<2>::new(simd, source, fixed, out));
    }
    true
}

/// The weights of an axis, two at a time.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct ColumnWeights {
    /// 1 for weights of 16 bits, 2 for split ones; 0 if they cannot be used.
    parts: usize,
    /// Pairs of a target pixel.
    count: usize,
    /// For each target pixel, for each of its pairs, for each part.
    weights: Vec<[i16; 2]>,
}

impl ColumnWeights {
    /// Takes over the weights of `axis`.
    pub(in super::super) fn arrange(&mut self, axis: &Axis<i32>) {
        self.parts = parts(axis).unwrap_or(0);
        let longest = axis.spans.iter().map(|span| span.1).max().unwrap_or(0);
        self.count = longest.div_ceil(2);
        self.weights.clear();
        for (_, weights) in axis.iter() {
            for pair in 0..self.count {
                let weight = |k: usize| weights.get(2 * pair + k).copied().unwrap_or(0);
                for part in 0..self.parts {
                    let part = |k: usize| part_of(weight(k), part, self.parts);
                    self.weights.push([part(0), part(1)]);
                }
            }
        }
    }
}

/// The pass for weights of `PARTS` parts.
struct Columns<'a, const PARTS: usize> {
    simd: V3,
    source: View<'a>,
    fixed: &'a FixedAxis,
    out: &'a mut [u8],
}

impl<'a, const PARTS: usize> Columns<'a, PARTS> {
    fn new(simd: V3, source: View<'a>, fixed: &'a FixedAxis, out: &'a mut [u8]) -> Self {
        Self {
            simd,
            source,
            fixed,
            out,
        }
    }

    /// The bytes of one block of a target row, from the source rows of `span` and their weights.
    #[inline(always)]
    fn block(
        &self,
        start: usize,
        (first, len): (usize, usize),
        weights: &[[[i16; 2]; PARTS]],
    ) -> [u8; BLOCK] {
        let avx2 = self.simd.avx2;
        let mut sums = [self.half(); SUMS];
        for (pair, parts) in weights[..len.div_ceil(2)].iter().enumerate() {
            // An odd row out is its own partner, with weight 0.
            let y = first + 2 * pair;
            let partner = (y + 1).min(first + len - 1);
            let upper: &[u8; BLOCK] = array_at(self.source.row(y), start);
            let lower: &[u8; BLOCK] = array_at(self.source.row(partner), start);
            let values = self.interleaved(cast(*upper), cast(*lower));
            for (sums, values) in sums.iter_mut().zip(values) {
                for (sum, weights) in sums.iter_mut().zip(parts) {
                    let weights = self.simd.avx._mm256_set1_epi32(cast(*weights));
                    let products = avx2._mm256_madd_epi16(values, weights);
                    *sum = avx2._mm256_add_epi32(*sum, products);
                }
            }
        }
        self.bytes(&sums)
    }

    /// Where the sums start: only the last part, which is not shifted any more, with the half.
    #[inline(always)]
    fn half(&self) -> [__m256i; PARTS] {
        let avx = self.simd.avx;
        let mut start = [avx._mm256_setzero_si256(); PARTS];
        start[PARTS - 1] = avx._mm256_set1_epi32(self.fixed.half());
        start
    }

    /// 16-bit pairs of an upper and a lower byte.
    #[inline(always)]
    fn interleaved(&self, upper: __m256i, lower: __m256i) -> [__m256i; SUMS] {
        let avx2 = self.simd.avx2;
        let zero = self.simd.avx._mm256_setzero_si256();
        let left = avx2._mm256_unpacklo_epi8(upper, lower);
        let right = avx2._mm256_unpackhi_epi8(upper, lower);
        [
            avx2._mm256_unpacklo_epi8(left, zero),
            avx2._mm256_unpackhi_epi8(left, zero),
            avx2._mm256_unpacklo_epi8(right, zero),
            avx2._mm256_unpackhi_epi8(right, zero),
        ]
    }

    /// Rounds the sums. Packing saturates, so that bytes are clamped, and undoes the order of [`Self::interleaved`].
    #[inline(always)]
    fn bytes(&self, sums: &[[__m256i; PARTS]; SUMS]) -> [u8; BLOCK] {
        let avx2 = self.simd.avx2;
        let bits = self.simd.sse2._mm_cvtsi32_si128(self.fixed.bits as i32);
        let mut rounded = [self.simd.avx._mm256_setzero_si256(); SUMS];
        for (rounded, parts) in rounded.iter_mut().zip(sums) {
            *rounded = avx2._mm256_sra_epi32(joined(self.simd, parts), bits);
        }
        let [a, b, c, d] = rounded;
        let (left, right) = (avx2._mm256_packs_epi32(a, b), avx2._mm256_packs_epi32(c, d));
        cast(avx2._mm256_packus_epi16(left, right))
    }
}

impl<const PARTS: usize> NullaryFnOnce for Columns<'_, PARTS> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let len = self.source.row_len();
        let pairs = &self.fixed.weights.columns;
        let (weights, _) = pairs.weights.as_chunks::<PARTS>();
        let weights = weights.chunks_exact(pairs.count);
        for (y, (&span, weights)) in self.fixed.axis.spans.iter().zip(weights).enumerate() {
            // The last block ends with the row and repeats what it shares with the one before.
            for start in (0..len - BLOCK).step_by(BLOCK).chain([len - BLOCK]) {
                let block = self.block(start, span, weights);
                self.out[y * len + start..][..BLOCK].copy_from_slice(&block);
            }
        }
    }
}
