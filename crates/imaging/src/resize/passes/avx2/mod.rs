//! Both passes in AVX2, where `vpmaddwd` multiplies 16-bit numbers in pairs and adds the two products.
//!
//! Weights of more bits are split into `weight = high * 2^12 + low` with `0 <= low < 2^12`, summed apart and put together
//! at the end: `sum(v * weight) = sum(v * high) * 2^12 + sum(v * low)`. This is exact for all bytes: two products of a
//! byte and a 16-bit number add up to less than 2^31, and everything behind that is 32-bit arithmetic modulo 2^32,
//! like the sum in one piece.

mod columns;
mod rows;

use std::arch::x86_64::__m256i;

use pulp::x86::V3;

use columns::ColumnWeights;
pub(super) use columns::vertical;
use rows::RowWeights;
pub(super) use rows::horizontal;

use super::{FixedAxis, View};
use crate::resize::weights::Axis;

/// The weights of an axis as its pass reads them.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    rows: RowWeights,
    columns: ColumnWeights,
}

impl Weights {
    /// Takes over the weights of `axis` for rows of `source` pixels.
    pub(super) fn arrange_rows(&mut self, axis: &Axis<i32>, source: usize, channels: usize) {
        self.rows.arrange(axis, source, channels);
    }

    /// The same for columns.
    pub(super) fn arrange_columns(&mut self, axis: &Axis<i32>) {
        self.columns.arrange(axis);
    }
}

/// Bits of the lower part of a split weight.
const SPLIT: u32 = 12;

/// How many 16-bit parts the weights of an axis need: 1 or 2, or `None` for weights that no filter has.
fn parts(axis: &Axis<i32>) -> Option<usize> {
    let fit = |shift: u32| {
        let mut weights = axis.weights.iter();
        weights.all(|&weight| i16::try_from(weight >> shift).is_ok())
    };
    if fit(0) {
        return Some(1);
    }
    fit(SPLIT).then_some(2)
}

/// Part `part` of a weight in `parts` parts, the higher one first.
fn part_of(weight: i32, part: usize, parts: usize) -> i16 {
    let high = weight >> SPLIT;
    match (parts, part) {
        (1, _) => weight as i16,
        (_, 0) => high as i16,
        _ => (weight - (high << SPLIT)) as i16,
    }
}

/// The sums of all parts in one.
#[inline(always)]
fn joined<const PARTS: usize>(simd: V3, parts: &[__m256i; PARTS]) -> __m256i {
    let mut sum = parts[0];
    for &low in &parts[1..] {
        let high = simd.avx2._mm256_slli_epi32::<{ SPLIT as i32 }>(sum);
        sum = simd.avx2._mm256_add_epi32(high, low);
    }
    sum
}
