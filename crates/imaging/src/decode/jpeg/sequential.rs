//! Blocks of sequential scans, and the interleaved scan that holds a whole picture: it is transformed while
//! it is decoded, so that no coefficients are kept.

use std::ops::Range;

use super::bands::Band;
use super::bits::{Bits, Intervals};
use super::few::Few;
use super::huffman::Huffman;
use super::layout::{COEFFICIENTS, Part};
use super::tables::ZIGZAG;
use super::vector::{Kernel, Vector, dispatch};

/// Looks for coefficients that one refill allows: 10 bits each, of 56.
const LOOKS: usize = 5;

/// Decodes all coefficients of a block, which is zero before, in rows of eight; returns the last one in
/// zigzag order that is not zero.
#[inline(always)]
pub(super) fn block(
    bits: &mut Bits<'_>,
    tables: (&Huffman, &Huffman),
    previous: &mut i32,
    block: &mut [i16; 64],
) -> usize {
    first_of_block(bits, tables, previous, COEFFICIENTS, block).0
}

/// The same for the first `end` coefficients, perhaps with some behind them; passes over the others.
#[inline(always)]
fn low_block(
    bits: &mut Bits<'_>,
    tables: (&Huffman, &Huffman),
    previous: &mut i32,
    end: usize,
    block: &mut [i16; 64],
) -> usize {
    let (last, next) = first_of_block(bits, tables, previous, end, block);
    pass_over(bits, tables.1, next);
    last
}

/// Passes over a block, whose DC value counts for the next one.
#[inline(always)]
fn no_block(bits: &mut Bits<'_>, (dc, ac): (&Huffman, &Huffman), previous: &mut i32) {
    bits.refill();
    *previous = previous.wrapping_add(dc.difference(bits));
    pass_over(bits, ac, 1);
}

/// Decodes coefficients until the place is `end` or later. Returns the place of the last one that is not zero, and of
/// the first that was not decoded: 64 or more if there is none.
#[inline(always)]
fn first_of_block(
    bits: &mut Bits<'_>,
    (dc, ac): (&Huffman, &Huffman),
    previous: &mut i32,
    end: usize,
    block: &mut [i16; 64],
) -> (usize, usize) {
    let mut store = |k: usize, value: i16| block[usize::from(ZIGZAG[k & 127] & 63)] = value;
    bits.refill();
    *previous = previous.wrapping_add(dc.difference(bits));
    store(0, *previous as i16);

    let (mut last, mut k) = (0, 1);
    'coefficients: while k < end {
        bits.refill();
        for _ in 0..LOOKS {
            let pair = ac.pair(bits);
            // Behind the last place of a block stands the next one, which has other codes.
            if k + pair.count() >= COEFFICIENTS {
                bits.refill();
                let (run, value) = ac.coefficient(bits);
                if value != 0 {
                    last = k + run;
                    store(last, value as i16);
                } else if run < 15 {
                    return (last.min(63), COEFFICIENTS);
                }
                k += run + 1;
                continue 'coefficients;
            }
            bits.skip(pair.length());
            for (place, value) in pair.coefficients() {
                store(k + place, value);
            }
            last = k + pair.count() - 1;
            k += pair.advance();
            if k >= end {
                break 'coefficients;
            }
        }
    }
    (last.min(63), k)
}

/// Passes over the coefficients of a block from place `k` on, several at a time.
#[inline(always)]
fn pass_over(bits: &mut Bits<'_>, ac: &Huffman, mut k: usize) {
    while k < COEFFICIENTS {
        bits.refill();
        let leap = ac.leap(bits);
        // Behind the last place of a block stands the next one, which has other codes.
        if leap.length() > 0 && k + leap.count() < COEFFICIENTS {
            bits.skip(leap.length());
            if leap.ends() {
                return;
            }
            k += leap.count();
            continue;
        }
        let (run, value) = ac.coefficient(bits);
        if value == 0 && run < 15 {
            return;
        }
        k += run + 1;
    }
}

/// When restart markers are due.
#[derive(Clone, Copy)]
pub(super) struct Restarts {
    /// MCUs between them, 0 for none.
    interval: usize,
    to_go: usize,
}

impl Restarts {
    pub(super) fn new(interval: u32) -> Self {
        Self {
            interval: interval as usize,
            to_go: interval as usize,
        }
    }

    pub(super) fn are_used(&self) -> bool {
        self.interval > 0
    }

    /// Whether a marker stands before the next MCU.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.interval > 0 && self.to_go == 0;
        if due {
            self.to_go = self.interval;
        }
        due
    }

    /// How many of `most` MCUs there are before the next marker.
    pub(super) fn run(&mut self, most: usize) -> usize {
        if self.interval == 0 {
            return most;
        }
        let run = most.min(self.to_go);
        self.to_go -= run;
        run
    }
}

/// Tables and state of one component in a scan.
#[derive(Clone, Copy)]
pub(super) struct Coder<'a> {
    /// Position in the frame.
    pub(super) index: usize,
    pub(super) part: Part,
    pub(super) tables: (&'a Huffman, &'a Huffman),
    pub(super) quantisation: &'a [u16; 64],
    /// The DC value of the block before.
    pub(super) previous: i32,
}

/// A scan of all components, decoded from MCU row to MCU row.
pub(super) struct Stream<'s, 'a> {
    pub(super) intervals: &'s mut Intervals<'a>,
    pub(super) coders: Few<Option<Coder<'s>>>,
    pub(super) restarts: Restarts,
    /// Columns and rows of MCUs.
    pub(super) mcus: (usize, usize),
}

impl Stream<'_, '_> {
    /// Decodes one MCU row; the blocks of the columns `wanted` are transformed into `bands`.
    pub(super) fn decode_row(&mut self, wanted: Range<usize>, bands: &mut [Band]) {
        dispatch(DecodeRow {
            stream: self,
            wanted,
            bands,
        });
    }

    /// Passes over the MCU rows from `row` on. They are decoded only if it takes that to find out where the
    /// scan ends, and whether it is whole.
    pub(super) fn pass_over_rest(&mut self, row: usize, bands: &mut [Band]) {
        if row < self.mcus.1 && !self.intervals.pass_over(self.restarts.are_used()) {
            for _ in row..self.mcus.1 {
                self.decode_row(0..0, bands);
            }
        }
    }

    #[inline(always)]
    fn row(&mut self, vector: impl Vector, wanted: &Range<usize>, bands: &mut [Band]) {
        let mut x = 0;
        while x < self.mcus.0 {
            if self.restarts.is_due() {
                self.intervals.restart();
                self.coders
                    .iter_mut()
                    .flatten()
                    .for_each(|c| c.previous = 0);
            }
            let run = self.restarts.run(self.mcus.0 - x);
            self.run(vector, x..x + run, wanted, bands);
            x += run;
        }
    }

    /// MCUs of a row without a restart between them.
    #[inline(always)]
    fn run(
        &mut self,
        vector: impl Vector,
        mcus: Range<usize>,
        wanted: &Range<usize>,
        bands: &mut [Band],
    ) {
        let mut bits = self.intervals.bits();
        let mut mcu = Mcu::default();
        for x in mcus {
            let missing = bits.are_missing();
            if wanted.contains(&x) {
                if missing {
                    mcu = Mcu::default();
                } else {
                    mcu.decode(&mut bits, &mut self.coders);
                }
                mcu.transform(vector, &self.coders, x - wanted.start, bands);
            } else if !missing {
                for coder in self.coders.iter_mut().flatten() {
                    for _ in 0..coder.part.h * coder.part.v {
                        no_block(&mut bits, coder.tables, &mut coder.previous);
                    }
                }
            }
        }
        let progress = bits.progress();
        self.intervals.put_back(progress);
    }
}

/// Blocks in an MCU, by the standard.
const MCU_BLOCKS: usize = 10;

/// The coefficients of an MCU. All are decoded before the first is transformed, because reading eight of them
/// at once right after writing them one by one stalls the processor.
struct Mcu {
    blocks: [[i16; 64]; MCU_BLOCKS],
    /// The last coefficient of each block, in zigzag order, that is not zero.
    last: [u8; MCU_BLOCKS],
}

impl Default for Mcu {
    #[inline(always)]
    fn default() -> Self {
        Self {
            blocks: [[0; 64]; MCU_BLOCKS],
            last: [0; MCU_BLOCKS],
        }
    }
}

impl Mcu {
    #[inline(always)]
    fn decode(&mut self, bits: &mut Bits<'_>, coders: &mut [Option<Coder<'_>>]) {
        let mut blocks = self.blocks.iter_mut().zip(&mut self.last);
        for coder in coders.iter_mut().flatten() {
            let count = coder.part.h * coder.part.v;
            for (coefficients, last) in blocks.by_ref().take(count) {
                *coefficients = [0; 64];
                let (tables, previous) = (coder.tables, &mut coder.previous);
                *last = match coder.part.needed {
                    COEFFICIENTS => block(bits, tables, previous, coefficients),
                    end => low_block(bits, tables, previous, end, coefficients),
                } as u8;
            }
        }
    }

    /// Writes the samples of all blocks; `x` is the column of the MCU in `bands`.
    #[inline(always)]
    fn transform(
        &self,
        vector: impl Vector,
        coders: &[Option<Coder<'_>>],
        x: usize,
        bands: &mut [Band],
    ) {
        let mut blocks = self.blocks.iter().zip(&self.last);
        for coder in coders.iter().flatten() {
            let Part { h, v, side, .. } = coder.part;
            for row in 0..v {
                for (column, (coefficients, &last)) in blocks.by_ref().take(h).enumerate() {
                    let band = &mut bands[coder.index];
                    let out = band.block((x * h + column) * side, row * side);
                    let quantisation = coder.quantisation;
                    vector.inverse_to(side, coefficients, quantisation, last.into(), out);
                }
            }
        }
    }
}

/// One MCU row of a [`Stream`].
struct DecodeRow<'r, 's, 'a> {
    stream: &'r mut Stream<'s, 'a>,
    wanted: Range<usize>,
    bands: &'r mut [Band],
}

impl Kernel for DecodeRow<'_, '_, '_> {
    #[inline(always)]
    fn run(self, vector: impl Vector) {
        self.stream.row(vector, &self.wanted, self.bands);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::standard;
    use super::*;

    fn table((counts, symbols): &standard::Codes, is_dc: bool) -> Box<Huffman> {
        let mut table = Box::<Huffman>::default();
        table.set(counts, symbols, is_dc).unwrap();
        table
    }

    proptest! {
        /// Whatever the bits are: no code, codes beyond the end of a block, data that end within one.
        #[test]
        fn passing_over_takes_the_bits_of_decoding(
            data in prop::collection::vec(any::<u8>(), 0..200), number in 0usize..2, end in 1usize..64,
        ) {
            let (dc, single) = (table(&standard::DC[number], true), table(&standard::AC[number], false));
            let mut ac = table(&standard::AC[number], false);
            ac.prepare_to_decode();
            ac.prepare_to_pass_over();
            let (tables, one_by_one) = ((&*dc, &*ac), (&*dc, &*single));
            let file: Vec<u8> = data.into_iter().flat_map(|v| [v, 0].into_iter().take(if v == 255 { 2 } else { 1 })).collect();
            let mut memory = Vec::new();
            let intervals = Intervals::new(&file, 0, &mut memory);
            let [mut whole, mut low, mut none, mut plain] = [(); 4].map(|()| intervals.bits());
            let mut previous = [0; 4];
            for _ in 0..20 {
                let (mut blocks, [a, b, c, d]) = ([[0; 64]; 3], &mut previous);
                let last = block(&mut whole, tables, a, &mut blocks[0]);
                // Zeros may be counted where a code says that they precede something, and nothing follows.
                prop_assert!(last >= block(&mut plain, one_by_one, d, &mut blocks[2]));
                prop_assert_eq!(blocks[0], blocks[2]);
                low_block(&mut low, tables, b, end, &mut blocks[1]);
                no_block(&mut none, tables, c);
                for &place in &ZIGZAG[..end] {
                    prop_assert_eq!(blocks[0][usize::from(place)], blocks[1][usize::from(place)]);
                }
                let bits = |bits: &mut Bits<'_>| {
                    bits.refill();
                    (bits.peek(32), bits.are_missing())
                };
                let expected = bits(&mut whole);
                prop_assert_eq!(bits(&mut low), expected);
                prop_assert_eq!(bits(&mut none), expected);
                prop_assert_eq!(bits(&mut plain), expected);
            }
            prop_assert!(previous.iter().all(|v| *v == previous[0]));
        }
    }
}
