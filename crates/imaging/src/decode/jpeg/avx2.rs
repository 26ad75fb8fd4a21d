//! The inverse transforms in AVX2 instructions, through safe functions.
//!
//! The same sums as in [`transform`](super::transform), eight lanes at once: products of two samples are
//! added by one `pmaddwd`, as in libjpeg-turbo. Left to itself the compiler spends more on moving lanes
//! about than on arithmetic (86 ns a block against 18 on an AMD EPYC of the Zen 4 generation).

use std::arch::x86_64::{__m128i, __m256i};
use std::array::from_fn;

use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use super::reduced::{C0_211, C0_509, C0_601, C1_061, C1_451, C2_172};
use super::transform::{
    BITS, C0_298, C0_390, C0_541, C0_765, C0_899, C1_175, C1_501, C1_847, C1_961, C2_053, C2_562,
    C3_072, KEPT, flat, store,
};
use super::vector::{Kernel, PIXELS, Vector};

/// Fractional bits that the passes take away.
const COLUMNS: i32 = (BITS - KEPT) as i32;
const ROWS: i32 = (BITS + KEPT + 3) as i32;
/// Those of them that the second pass leaves to be shifted out of 16-bit lanes. If the compiler could tell that
/// nothing saturates in between, it would replace one instruction by several.
const LATER: i32 = 5;

/// The instructions, known to be there.
#[derive(Clone, Copy)]
pub(super) struct Avx2(V3);

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        V3::try_new().map(Self)
    }

    /// Runs `kernel` as compiled for these instructions.
    pub(super) fn run(self, kernel: impl Kernel) {
        struct Run<K>(K, Avx2);

        impl<K: Kernel> NullaryFnOnce for Run<K> {
            type Output = ();

            #[inline(always)]
            fn call(self) {
                self.0.run(self.1);
            }
        }

        self.0.vectorize(Run(kernel, self));
    }

    /// `[a0, b0, a1, b1, …]`
    #[inline(always)]
    fn pairs(self, a: __m128i, b: __m128i) -> __m256i {
        let V3 {
            sse2, avx, avx2, ..
        } = self.0;
        let low = avx._mm256_castsi128_si256(sse2._mm_unpacklo_epi16(a, b));
        avx2._mm256_inserti128_si256::<1>(low, sse2._mm_unpackhi_epi16(a, b))
    }

    /// `a * a_times + b * b_times` of each pair.
    #[inline(always)]
    fn dot(self, pairs: __m256i, a_times: i32, b_times: i32) -> __m256i {
        let both = self
            .0
            .avx
            ._mm256_set1_epi32(b_times << 16 | a_times & 0xffff);
        self.0.avx2._mm256_madd_epi16(pairs, both)
    }

    /// One pass over eight rows of eight lanes; the results have `SHIFT` fractional bits fewer than the sums, to
    /// which half of the last bit that will be kept is added. They come as rows 0 and 4, 1 and 5, 2 and 6, 3
    /// and 7, four lanes of each and then the other four.
    #[inline(always)]
    fn pass<const SHIFT: i32>(self, v: [__m128i; 8], half: i32) -> [__m256i; 4] {
        let V3 {
            sse2, avx, avx2, ..
        } = self.0;
        let add = |a, b| avx2._mm256_add_epi32(a, b);
        let sub = |a, b| avx2._mm256_sub_epi32(a, b);

        // Even part; what rounds the results is added to all of them here.
        let half = avx._mm256_set1_epi32(half);
        let whole = |v| {
            let v = avx2._mm256_slli_epi32::<{ BITS as i32 }>(avx2._mm256_cvtepi16_epi32(v));
            add(v, half)
        };
        let t0 = whole(sse2._mm_add_epi16(v[0], v[4]));
        let t1 = whole(sse2._mm_sub_epi16(v[0], v[4]));
        let v26 = self.pairs(v[2], v[6]);
        let t2 = self.dot(v26, C0_541, C0_541 - C1_847);
        let t3 = self.dot(v26, C0_541 + C0_765, C0_541);
        let even = [add(t0, t3), add(t1, t2), sub(t1, t2), sub(t0, t3)];

        // Odd part.
        let z = self.pairs(
            sse2._mm_add_epi16(v[7], v[3]),
            sse2._mm_add_epi16(v[5], v[1]),
        );
        let z3 = self.dot(z, C1_175 - C1_961, C1_175);
        let z4 = self.dot(z, C1_175, C1_175 - C0_390);
        let (v71, v53) = (self.pairs(v[7], v[1]), self.pairs(v[5], v[3]));
        let odd = [
            add(self.dot(v71, -C0_899, C1_501 - C0_899), z4),
            add(self.dot(v53, -C2_562, C3_072 - C2_562), z3),
            add(self.dot(v53, C2_053 - C2_562, -C2_562), z4),
            add(self.dot(v71, C0_298 - C0_899, -C0_899), z3),
        ];

        let up = |i: usize| avx2._mm256_srai_epi32::<SHIFT>(add(even[i], odd[i]));
        let down = |i: usize| avx2._mm256_srai_epi32::<SHIFT>(sub(even[i], odd[i]));
        let pack = |a, b| avx2._mm256_packs_epi32(a, b);
        [
            pack(up(0), down(3)),
            pack(up(1), down(2)),
            pack(up(2), down(1)),
            pack(up(3), down(0)),
        ]
    }

    /// One pass of the transform into 4 by 4 samples: `whole` holds the first of eight rows, `pairs` rows 2 and
    /// 6, 1 and 5, 3 and 7. Shift and rounding are as in [`Self::pass`].
    #[inline(always)]
    fn four<const SHIFT: i32>(
        self,
        whole: __m128i,
        [v26, v15, v37]: [__m256i; 3],
        half: i32,
    ) -> [__m256i; 4] {
        let V3 { avx, avx2, .. } = self.0;
        let add = |a, b| avx2._mm256_add_epi32(a, b);
        let sub = |a, b| avx2._mm256_sub_epi32(a, b);
        let t0 = avx2._mm256_slli_epi32::<{ BITS as i32 + 1 }>(avx2._mm256_cvtepi16_epi32(whole));
        let t0 = add(t0, avx._mm256_set1_epi32(half));
        let t2 = self.dot(v26, C1_847, -C0_765);
        let (t10, t12) = (add(t0, t2), sub(t0, t2));
        let o0 = add(
            self.dot(v15, C1_061, C1_451),
            self.dot(v37, -C2_172, -C0_211),
        );
        let o2 = add(
            self.dot(v15, C2_562, -C0_601),
            self.dot(v37, C0_899, -C0_509),
        );
        [add(t10, o2), add(t12, o0), sub(t12, o0), sub(t10, o2)]
            .map(|sum| avx2._mm256_srai_epi32::<SHIFT>(sum))
    }

    /// The first pass of [`Self::four`]: columns 0 and 1, 4 and 5, 2 and 3, 6 and 7, four samples of each.
    #[inline(always)]
    fn four_columns(self, v: [__m128i; 8]) -> [__m128i; 4] {
        let V3 { avx, avx2, .. } = self.0;
        let pairs = [(2, 6), (1, 5), (3, 7)].map(|(a, b): (usize, usize)| self.pairs(v[a], v[b]));
        let [r0, r1, r2, r3] = self.four::<{ COLUMNS + 1 }>(v[0], pairs, 1 << COLUMNS);
        let r02 = avx2._mm256_packs_epi32(r0, r2);
        let r13 = avx2._mm256_packs_epi32(r1, r3);
        let r01 = avx2._mm256_unpacklo_epi16(r02, r13);
        let r23 = avx2._mm256_unpackhi_epi16(r02, r13);
        let c0145 = avx2._mm256_unpacklo_epi32(r01, r23);
        let c2367 = avx2._mm256_unpackhi_epi32(r01, r23);
        let low = |v| avx._mm256_castsi256_si128(v);
        let high = |v| avx2._mm256_extracti128_si256::<1>(v);
        [low(c0145), high(c0145), low(c2367), high(c2367)]
    }

    /// The second pass, to rows of samples.
    #[inline(always)]
    fn four_rows(self, [c01, c45, c23, c67]: [__m128i; 4]) -> [[u8; 4]; 4] {
        let V3 {
            sse2, ssse3, avx, ..
        } = self.0;
        let pairs = [
            sse2._mm_unpacklo_epi16(c23, c67),
            sse2._mm_unpackhi_epi16(c01, c45),
            sse2._mm_unpackhi_epi16(c23, c67),
        ]
        .map(|pairs| avx._mm256_castsi128_si256(pairs));
        let columns = self.four::<{ ROWS + 1 - LATER }>(c01, pairs, 1 << ROWS);
        let [c0, c1, c2, c3] = columns.map(|v| avx._mm256_castsi256_si128(v));
        let later = |v| sse2._mm_srai_epi16::<LATER>(v);
        let bytes = sse2._mm_packs_epi16(
            later(sse2._mm_packs_epi32(c0, c1)),
            later(sse2._mm_packs_epi32(c2, c3)),
        );
        let by_row: [u8; 16] = from_fn(|i| (i % 4 * 4 + i / 4) as u8);
        let bytes = ssse3._mm_shuffle_epi8(bytes, cast(by_row));
        cast(sse2._mm_add_epi8(bytes, sse2._mm_set1_epi8(i8::MIN)))
    }

    /// Coefficients times the steps of the quantisation table, in rows of eight.
    #[inline(always)]
    fn dequantised(self, coefficients: &[i16; 64], quantisation: &[u16; 64]) -> [__m128i; 8] {
        let V3 { sse2, .. } = self.0;
        let (rows, _) = coefficients.as_chunks::<8>();
        let (steps, _) = quantisation.as_chunks::<8>();
        from_fn(|y| sse2._mm_mullo_epi16(cast(rows[y]), cast(steps[y])))
    }

    /// Turns what [`Self::pass`] gives into columns 0 and 4, 1 and 5, 2 and 6, 3 and 7.
    ///
    /// The order of the rounds matters: where two of them have the same two sources, the compiler merges them
    /// into one that takes more instructions.
    #[inline(always)]
    fn transpose(self, [v04, v15, v26, v37]: [__m256i; 4]) -> [__m256i; 4] {
        let V3 { avx2, .. } = self.0;
        let v01 = avx2._mm256_unpacklo_epi16(v04, v15);
        let v45 = avx2._mm256_unpackhi_epi16(v04, v15);
        let v23 = avx2._mm256_unpacklo_epi16(v26, v37);
        let v67 = avx2._mm256_unpackhi_epi16(v26, v37);
        let upper = [
            avx2._mm256_unpacklo_epi32(v01, v23),
            avx2._mm256_unpackhi_epi32(v01, v23),
        ];
        let lower = [
            avx2._mm256_unpacklo_epi32(v45, v67),
            avx2._mm256_unpackhi_epi32(v45, v67),
        ];
        [
            avx2._mm256_unpacklo_epi64(upper[0], lower[0]),
            avx2._mm256_unpackhi_epi64(upper[0], lower[0]),
            avx2._mm256_unpacklo_epi64(upper[1], lower[1]),
            avx2._mm256_unpackhi_epi64(upper[1], lower[1]),
        ]
    }
}

impl Vector for Avx2 {
    #[inline(always)]
    fn inverse(
        self,
        coefficients: &[i16; 64],
        quantisation: &[u16; 64],
        last: usize,
        out: &mut [u8],
        stride: usize,
    ) {
        if last == 0 {
            return flat(coefficients[0], quantisation[0], out, stride);
        }
        let V3 { avx, avx2, .. } = self.0;
        let product = self.dequantised(coefficients, quantisation);
        let columns = self.transpose(self.pass::<COLUMNS>(product, 1 << (COLUMNS - 1)));
        let low = |v| avx._mm256_castsi256_si128(v);
        let high = |v| avx2._mm256_extracti128_si256::<1>(v);
        let columns: [__m128i; 8] = from_fn(|x| match x {
            0..4 => low(columns[x]),
            _ => high(columns[x - 4]),
        });
        let rows = self.transpose(self.pass::<{ ROWS - LATER }>(columns, 1 << (ROWS - 1)));
        let rows = rows.map(|row| avx2._mm256_srai_epi16::<LATER>(row));

        // Saturated to bytes around zero, then lifted.
        let middle = avx._mm256_set1_epi8(i8::MIN);
        let bytes = |a, b| avx2._mm256_add_epi8(avx2._mm256_packs_epi16(a, b), middle);
        let [y0, y1, y4, y5]: [[u8; 8]; 4] = cast(bytes(rows[0], rows[1]));
        let [y2, y3, y6, y7]: [[u8; 8]; 4] = cast(bytes(rows[2], rows[3]));
        store([y0, y1, y2, y3, y4, y5, y6, y7], out, stride);
    }

    #[inline(always)]
    fn inverse_4x4(
        self,
        coefficients: &[i16; 64],
        quantisation: &[u16; 64],
        out: &mut [u8],
        stride: usize,
    ) {
        let columns = self.four_columns(self.dequantised(coefficients, quantisation));
        let rows = self.four_rows(columns);
        let (out, _) = out.as_chunks_mut::<4>();
        for (y, row) in rows.into_iter().enumerate() {
            out[y * stride / 4] = row;
        }
    }

    #[inline(always)]
    fn interleave(self, &[a, b, c]: &[[u8; PIXELS]; 3], out: &mut [[u8; 3]; PIXELS]) {
        let V3 { avx2, .. } = self.0;
        let (halves, _) = out.as_flattened_mut().as_chunks_mut::<48>();
        let [first, second] = halves else {
            unreachable!("there are 96 bytes")
        };
        for (third, places) in PLACES.iter().enumerate() {
            let spread = |channel: [u8; PIXELS], places: [u8; 32]| {
                avx2._mm256_shuffle_epi8(cast(channel), cast(places))
            };
            let [a, b, c] = [
                spread(a, places[0]),
                spread(b, places[1]),
                spread(c, places[2]),
            ];
            let mixed = avx2._mm256_or_si256(avx2._mm256_or_si256(a, b), c);
            let [of_first, of_second]: [[u8; 16]; 2] = cast(mixed);
            first[16 * third..][..16].copy_from_slice(&of_first);
            second[16 * third..][..16].copy_from_slice(&of_second);
        }
    }
}

/// For each third of 16 pixels, and each channel: which pixel's value goes to which byte. The same for
/// both halves of a register.
const PLACES: [[[u8; 32]; 3]; 3] = {
    /// Not a value of this channel.
    const NONE: u8 = 128;
    let mut places = [[[NONE; 32]; 3]; 3];
    let mut byte = 0;
    while byte < 48 {
        let (third, channel, pixel) = (byte / 16, byte % 3, byte / 3);
        places[third][channel][byte % 16] = pixel as u8;
        places[third][channel][byte % 16 + 16] = pixel as u8;
        byte += 1;
    }
    places
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::jpeg::vector::Portable;

    /// Mostly zeros and small values, as in photographs, and some that only damaged files hold.
    fn coefficient() -> impl Strategy<Value = i16> {
        prop_oneof![4 => Just(0), 4 => -100i16..100, 1 => any::<i16>()]
    }

    fn step() -> impl Strategy<Value = u16> {
        prop_oneof![8 => 1u16..100, 1 => any::<u16>()]
    }

    proptest! {
        #[test]
        fn samples_equal_those_of_plain_rust(
            coefficients in prop::collection::vec(coefficient(), 64),
            quantisation in prop::collection::vec(step(), 64),
        ) {
            let Some(avx2) = Avx2::detect() else { return Ok(()) };
            let coefficients = coefficients.try_into().unwrap();
            let quantisation = quantisation.try_into().unwrap();
            let (mut fast, mut plain) = ([0; 128], [0; 128]);
            avx2.inverse(&coefficients, &quantisation, 63, &mut fast, 16);
            Portable.inverse(&coefficients, &quantisation, 63, &mut plain, 16);
            prop_assert_eq!(fast, plain);
            avx2.inverse_4x4(&coefficients, &quantisation, &mut fast, 12);
            Portable.inverse_4x4(&coefficients, &quantisation, &mut plain, 12);
            prop_assert_eq!(fast, plain);
        }

        #[test]
        fn pixels_equal_those_of_plain_rust(channels in any::<[[u8; PIXELS]; 3]>()) {
            let Some(avx2) = Avx2::detect() else { return Ok(()) };
            let (mut fast, mut plain) = ([[0; 3]; PIXELS], [[0; 3]; PIXELS]);
            avx2.interleave(&channels, &mut fast);
            Portable.interleave(&channels, &mut plain);
            prop_assert_eq!(fast, plain);
        }
    }
}
