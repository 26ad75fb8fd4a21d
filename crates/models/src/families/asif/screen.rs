//! Products of many rows with a few queries in whole numbers of 16 bits: which rows can be near is found at twice the rate
//! of `f32`, and without the rounding of sums.
//!
//! Values lie in −1 to 1 and are kept as multiples of [`STEP`]. Two neighbours are multiplied and added to a sum of 32
//! bits at once, as `vpmaddwd` does, which processors with VNNI join with the addition (`vpdpwssd`). Queries stand side by
//! side in the lanes of a register ([`Panel`]), rows as they are in memory.
//!
//! Sums cannot leave 32 bits: by Cauchy and Schwarz each is at most the product of the two lengths, about 2³⁰.

#![expect(
    clippy::inline_always,
    reason = "only what is inlined into the dispatched function is compiled for its instructions"
)]

use pulp::NullaryFnOnce;

/// What one of a whole number is worth.
pub(super) const STEP: f32 = 1.0 / 32767.0;

/// Queries side by side.
pub(super) const LANES: usize = 16;

/// Rows of a block, divided by the rows that each machine takes at once: as whole numbers they stay in the nearest cache, with
/// the queries.
pub(super) const ROWS: usize = 12;

/// Neighbours of a row.
type Pair = [i16; 2];

/// Pairs of a row that are together in memory.
const PAIRS: usize = 16;

/// Values of a row in a [`Tile`].
const VALUES: usize = 2 * PAIRS;

/// A piece of some rows. All that is multiplied together is at fixed distances.
type Tile = [[Pair; PAIRS]; ROWS];

/// Up to [`LANES`] queries: of each pair of their values, those of all queries.
#[derive(Clone)]
pub(super) struct Panel(Vec<[Pair; LANES]>);

impl Panel {
    /// Of queries of one length, filled up with zeros.
    pub(super) fn new<'q>(queries: impl Iterator<Item = &'q [f32]>, width: usize) -> Self {
        let mut panel = vec![[[0; 2]; LANES]; width.div_ceil(VALUES) * PAIRS];
        for (lane, query) in queries.enumerate() {
            for (at, &value) in query.iter().enumerate() {
                panel[at / 2][lane][at % 2] = whole(value);
            }
        }
        Self(panel)
    }
}

/// The nearest multiple of [`STEP`].
#[inline(always)]
pub(super) fn whole(value: f32) -> i16 {
    /// Added to a number below 2²², this leaves its whole part in the lowest bits: a cast that saturates is slower.
    const SHIFT: f32 = 12_582_912.0;
    (value.clamp(-1.0, 1.0) * 32767.0 + SHIFT).to_bits() as i16
}

/// The numbers below `count` in an order that reads memory at several places by turns: each is fetched ahead, so that more is on
/// its way at any time than of one.
#[inline(always)]
pub(super) fn in_streams(count: usize) -> impl Iterator<Item = usize> {
    const STREAMS: usize = 4;
    let each = count.div_ceil(STREAMS);
    let numbers = (0..each * STREAMS).map(move |turn| turn % STREAMS * each + turn / STREAMS);
    numbers.filter(move |&number| number < count)
}

/// A row and a query that may be near.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hit {
    /// In the block.
    pub(super) row: usize,
    pub(super) query: usize,
    pub(super) product: f32,
}

/// Up to [`ROWS`] rows as whole numbers.
#[derive(Default)]
pub(super) struct Block {
    /// A piece of all rows after the other.
    tiles: Vec<Tile>,
    /// Of each row, what the product of one and one is worth.
    worth: Vec<f32>,
    /// The number of the first row.
    first: usize,
    /// A row.
    wide: Vec<i16>,
}

impl Block {
    /// Makes this the block of rows of `width` values, `rows` one behind the other, each with what one times one is worth. The
    /// blocks before MUST have had the same width.
    #[inline(always)]
    pub(super) fn fill<V: Copy>(
        &mut self,
        first: usize,
        rows: &[V],
        width: usize,
        whole: impl Fn(V) -> i16,
        worth: impl Iterator<Item = f32>,
    ) {
        let depth = width.div_ceil(VALUES);
        self.first = first;
        self.worth.clear();
        self.worth.extend(worth);
        self.tiles.resize(depth, [[[0; 2]; PAIRS]; ROWS]);
        // In two steps: the compiler vectorises a long loop, and not one of so few values as a tile has of a row.
        self.wide.resize(depth * VALUES, 0);
        for (number, row) in rows.chunks_exact(width).take(ROWS).enumerate() {
            for (to, &value) in self.wide.iter_mut().zip(row) {
                *to = whole(value);
            }
            for (tile, piece) in self.tiles.iter_mut().zip(self.wide.as_chunks::<VALUES>().0) {
                tile[number].as_flattened_mut().copy_from_slice(piece);
            }
        }
    }

    /// Appends the hits of a block of rows: those whose product with a query is above its `floor`. Queries are those of one panel or
    /// two, counted through both: a value of a row is multiplied with all while it is in a register.
    pub(super) fn above(&self, panels: &[Panel], floors: &[[f32; LANES]; 2], hits: &mut Vec<Hit>) {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(lanes) = x86::Vnni::try_new() {
                return lanes.vectorize(Score(lanes, self, panels, floors, hits));
            }
            if let Some(lanes) = pulp::x86::V3::try_new() {
                return lanes.vectorize(Score(lanes, self, panels, floors, hits));
            }
        }
        Score(Plain, self, panels, floors, hits).call();
    }
}

/// Sums of products of [`LANES`] queries.
trait Lanes: Copy {
    /// A sum for each query.
    type Sums: Copy;

    /// Rows whose sums fit into the registers beside a line of a panel.
    const TILE: usize;

    fn zero(self) -> Self::Sums;

    /// Adds the products of a pair of a row with those of all queries.
    fn add(self, sums: Self::Sums, line: &[Pair; LANES], pair: Pair) -> Self::Sums;

    fn store(sums: Self::Sums) -> [i32; LANES];
}

/// Without instructions of a certain machine.
#[derive(Clone, Copy)]
struct Plain;

impl Lanes for Plain {
    type Sums = [i32; LANES];

    const TILE: usize = 4;

    #[inline(always)]
    fn zero(self) -> Self::Sums {
        [0; LANES]
    }

    #[inline(always)]
    fn add(self, mut sums: Self::Sums, line: &[Pair; LANES], pair: Pair) -> Self::Sums {
        let [first, second] = pair.map(i32::from);
        for (sum, query) in sums.iter_mut().zip(line) {
            let product = i32::from(query[0]) * first + i32::from(query[1]) * second;
            *sum = sum.wrapping_add(product);
        }
        sums
    }

    #[inline(always)]
    fn store(sums: Self::Sums) -> [i32; LANES] {
        sums
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256i, __m512i};

    use pulp::x86::V3;

    use super::{LANES, Lanes, Pair};

    pulp::simd_type!({
        /// AVX-512 with the instructions for neural networks.
        pub(super) struct Vnni {
            pub(super) avx2: target_feature!("avx2"),
            pub(super) avx512f: target_feature!("avx512f"),
            pub(super) avx512bw: target_feature!("avx512bw"),
            pub(super) avx512dq: target_feature!("avx512dq"),
            pub(super) avx512vl: target_feature!("avx512vl"),
            pub(super) avx512vnni: target_feature!("avx512vnni"),
        }
    });

    impl Lanes for Vnni {
        type Sums = __m512i;

        const TILE: usize = 12;

        #[inline(always)]
        fn zero(self) -> __m512i {
            self.avx512f._mm512_set1_epi32(0)
        }

        #[inline(always)]
        fn add(self, sums: __m512i, line: &[Pair; LANES], pair: Pair) -> __m512i {
            let pair = self.avx512f._mm512_set1_epi32(pulp::cast(pair));
            let products = self.avx512bw._mm512_madd_epi16(pulp::cast(*line), pair);
            self.avx512f._mm512_add_epi32(sums, products)
        }

        #[inline(always)]
        fn store(sums: __m512i) -> [i32; LANES] {
            pulp::cast(sums)
        }
    }

    impl Lanes for V3 {
        type Sums = [__m256i; 2];

        const TILE: usize = 4;

        #[inline(always)]
        fn zero(self) -> [__m256i; 2] {
            [self.avx._mm256_set1_epi32(0); 2]
        }

        #[inline(always)]
        fn add(self, sums: [__m256i; 2], line: &[Pair; LANES], pair: Pair) -> [__m256i; 2] {
            let pair = self.avx._mm256_set1_epi32(pulp::cast(pair));
            let line: [__m256i; 2] = pulp::cast(*line);
            std::array::from_fn(|half| {
                let products = self.avx2._mm256_madd_epi16(line[half], pair);
                self.avx2._mm256_add_epi32(sums[half], products)
            })
        }

        #[inline(always)]
        fn store(sums: [__m256i; 2]) -> [i32; LANES] {
            pulp::cast(sums)
        }
    }
}

struct Score<'a, L>(
    L,
    &'a Block,
    &'a [Panel],
    &'a [[f32; LANES]; 2],
    &'a mut Vec<Hit>,
);

impl<L: Lanes> NullaryFnOnce for Score<'_, L> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(lanes, block, panels, floors, hits) = self;
        match (panels, L::TILE) {
            ([one], 12) => score::<L, 12, 1>(lanes, block, [one], floors, hits),
            ([one, two], 12) => score::<L, 6, 2>(lanes, block, [one, two], floors, hits),
            ([one], _) => score::<L, 4, 1>(lanes, block, [one], floors, hits),
            ([one, two], _) => score::<L, 2, 2>(lanes, block, [one, two], floors, hits),
            _ => unreachable!("panels come one by one or in pairs"),
        }
    }
}

#[inline(always)]
fn score<L: Lanes, const TAKEN: usize, const PANELS: usize>(
    lanes: L,
    block: &Block,
    panels: [&Panel; PANELS],
    floors: &[[f32; LANES]; 2],
    hits: &mut Vec<Hit>,
) {
    let panels = panels.map(|panel| panel.0.as_chunks::<PAIRS>().0);
    for taken in (0..ROWS).step_by(TAKEN) {
        let mut sums = [[lanes.zero(); PANELS]; TAKEN];
        for (at, tile) in block.tiles.iter().enumerate() {
            let lines: [&[[Pair; LANES]; PAIRS]; PANELS] =
                std::array::from_fn(|panel| &panels[panel][at]);
            let tile: &[[Pair; PAIRS]; TAKEN] = tile[taken..]
                .first_chunk()
                .expect("ROWS is a multiple of TAKEN");
            for pair in 0..PAIRS {
                for (sums, row) in sums.iter_mut().zip(tile) {
                    for (sums, lines) in sums.iter_mut().zip(lines) {
                        *sums = lanes.add(*sums, &lines[pair], row[pair]);
                    }
                }
            }
        }
        let worth = block.worth.get(taken..).unwrap_or_default().iter();
        for (row, (&worth, sums)) in worth.zip(sums).enumerate() {
            for (panel, sums) in sums.into_iter().enumerate() {
                let sums = L::store(sums);
                let mut is_any = false;
                for lane in 0..LANES {
                    is_any |= sums[lane] as f32 * worth > floors[panel][lane];
                }
                if is_any {
                    for lane in 0..LANES {
                        let product = sums[lane] as f32 * worth;
                        if product > floors[panel][lane] {
                            hits.push(Hit {
                                row: block.first + taken + row,
                                query: panel * LANES + lane,
                                product,
                            });
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;

    use super::*;

    fn unit(count: usize, width: usize, name: &str) -> Vec<Vec<f32>> {
        let mut rng = Seed(5).child(name, 0).rng();
        let row = |_| {
            let row: Vec<f64> = (0..width).map(|_| rng.normal()).collect();
            let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            row.iter().map(|v| (v / length) as f32).collect()
        };
        (0..count).map(row).collect()
    }

    /// On every machine that this one can be.
    fn all(rows: &[Vec<f32>], panel: &Panel, floor: &[f32; LANES]) -> Vec<Vec<Hit>> {
        let mut found = Vec::new();
        let mut block = Block::default();
        let worth = rows.iter().map(|_| STEP * STEP);
        block.fill(7, &rows.concat(), rows[0].len(), whole, worth);
        let block = &block;
        let floors = [*floor; 2];
        for panels in [&[panel.clone()][..], &[panel.clone(), panel.clone()]] {
            let mut add = |score: &mut dyn FnMut(&mut Vec<Hit>)| {
                let mut hits = Vec::new();
                score(&mut hits);
                // The second panel is the first once more.
                let (first, mut second): (Vec<Hit>, Vec<Hit>) =
                    hits.into_iter().partition(|hit| hit.query < LANES);
                if panels.len() == 2 {
                    for hit in &mut second {
                        hit.query -= LANES;
                    }
                    assert_eq!(second, first);
                }
                found.push(first);
            };
            add(&mut |hits| block.above(panels, &floors, hits));
            add(&mut |hits| Score(Plain, block, panels, &floors, hits).call());
            #[cfg(target_arch = "x86_64")]
            if let Some(lanes) = pulp::x86::V3::try_new() {
                add(&mut |hits| lanes.vectorize(Score(lanes, block, panels, &floors, hits)));
            }
        }
        found
    }

    #[test]
    fn hits_are_the_products_above_the_floor_on_every_machine() {
        let (rows, queries) = (unit(11, 38, "row"), unit(5, 38, "query"));
        let panel = Panel::new(queries.iter().map(Vec::as_slice), 38);
        let mut floor = [0.1; LANES];
        floor[3] = f32::NEG_INFINITY;
        floor[5..].fill(f32::INFINITY);
        let mut wanted = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            for (lane, query) in queries.iter().enumerate() {
                let product: f32 = row.iter().zip(query).map(|(a, b)| a * b).sum();
                assert!((product - 0.1).abs() > 1e-4, "a case that rounding decides");
                if product > floor[lane] {
                    wanted.push((7 + number, lane, product));
                }
            }
        }
        assert!(wanted.len() > 11);
        for found in all(&rows, &panel, &floor) {
            assert_eq!(found.len(), wanted.len());
            for (hit, &(row, query, product)) in found.iter().zip(&wanted) {
                assert_eq!((hit.row, hit.query), (row, query));
                assert!((hit.product - product).abs() < 2e-4);
            }
        }
    }

    /// Lengths of one: the largest sums that there can be.
    #[test]
    fn no_sum_leaves_its_bits() {
        for width in [2, 512, 1 << 16] {
            for row in [vec![(1.0 / width as f32).sqrt(); width], {
                let mut row = vec![0.0; width];
                row[1] = -1.0;
                row
            }] {
                let panel = Panel::new(std::iter::once(&row[..]), width);
                let mut floor = [f32::INFINITY; LANES];
                for (least, is_above) in [(0.9, true), (1.1, false)] {
                    floor[0] = least;
                    for found in all(std::slice::from_ref(&row), &panel, &floor) {
                        assert_eq!(found.len() == 1, is_above, "{width} {least} {found:?}");
                    }
                }
            }
        }
    }
}
