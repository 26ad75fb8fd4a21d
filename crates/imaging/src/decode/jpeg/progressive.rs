//! Blocks of progressive scans (annex G of the standard).

use super::bits::Bits;
use super::huffman::Huffman;
use super::tables::ZIGZAG;

/// The coefficients of a block.
pub(super) struct Block<'a> {
    /// In rows of eight.
    pub(super) coefficients: &'a mut [i16; 64],
    /// A bit for each that may not be zero, in zigzag order from the lowest bit on.
    pub(super) known: &'a mut u64,
}

impl Block<'_> {
    #[inline(always)]
    fn at(&mut self, k: usize) -> &mut i16 {
        &mut self.coefficients[usize::from(ZIGZAG[k] & 63)]
    }

    /// Sets an AC coefficient; damaged data may count up to 15 beyond the last one.
    #[inline(always)]
    fn begin(&mut self, k: usize, value: i16) {
        *self.at(k) = value;
        *self.known |= 1 << k.min(63);
    }
}

/// The coefficients of an AC scan, first to last in zigzag order, and the bit that it ends with.
#[derive(Clone, Copy)]
pub(super) struct Spectrum {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) shift: u8,
}

/// The high bits of a DC value.
#[inline(always)]
pub(super) fn dc_first(
    bits: &mut Bits<'_>,
    dc: &Huffman,
    previous: &mut i32,
    shift: u8,
    block: &mut Block<'_>,
) {
    bits.refill();
    *previous = previous.wrapping_add(dc.difference(bits));
    block.coefficients[0] = (*previous << shift) as i16;
}

/// One more bit of a DC value.
#[inline(always)]
pub(super) fn dc_refine(bits: &mut Bits<'_>, shift: u8, block: &mut Block<'_>) {
    if bits.bit() {
        block.coefficients[0] |= 1 << shift;
    }
}

impl Spectrum {
    /// The high bits of AC values. `end_of_band` is the number of blocks that are still without any.
    #[inline(always)]
    pub(super) fn first(
        &self,
        bits: &mut Bits<'_>,
        ac: &Huffman,
        end_of_band: &mut u32,
        block: &mut Block<'_>,
    ) {
        if *end_of_band > 0 {
            *end_of_band -= 1;
            return;
        }
        let mut k = self.first;
        while k <= self.last {
            bits.refill();
            let (run, value) = ac.coefficient(bits);
            k += run;
            if value != 0 {
                block.begin(k, (value << self.shift) as i16);
            } else if run < 15 {
                *end_of_band = (1 << run) + bits.take(run as u32) - 1;
                return;
            }
            k += 1;
        }
    }

    /// One more bit of each AC value that is known, and new ones of that bit between them.
    #[inline(always)]
    pub(super) fn refine(
        &self,
        bits: &mut Bits<'_>,
        ac: &Huffman,
        end_of_band: &mut u32,
        block: &mut Block<'_>,
    ) {
        let one = 1i16 << self.shift;
        let mut k = self.first;
        while *end_of_band == 0 && k <= self.last {
            bits.refill();
            let (run, size) = ac.symbol(bits);
            let mut new = 0;
            if size > 0 {
                new = if bits.take(1) == 1 { one } else { -one };
            } else if run < 15 {
                *end_of_band = (1 << run) + bits.take(run as u32);
                break;
            }
            k = self.refine_known(bits, k, run, block);
            if new != 0 {
                block.begin(k, new);
            }
            k += 1;
        }
        if *end_of_band > 0 {
            self.refine_known(bits, k, usize::MAX, block);
            *end_of_band -= 1;
        }
    }

    /// From coefficient `k` on over known coefficients, refining them, and `run` unknown ones, to the next
    /// unknown one.
    #[inline(always)]
    fn refine_known(
        &self,
        bits: &mut Bits<'_>,
        mut k: usize,
        mut run: usize,
        block: &mut Block<'_>,
    ) -> usize {
        let end = self.last + 1;
        while k < end {
            let next_known = (k + (*block.known >> k).trailing_zeros() as usize).min(end);
            let unknown = next_known - k;
            if run < unknown {
                return k + run;
            }
            run -= unknown;
            k = next_known;
            if k < end {
                let coefficient = block.at(k);
                *coefficient = self.refined(*coefficient, bits.bit());
                k += 1;
            }
        }
        k
    }

    /// A coefficient and one more bit of its magnitude.
    #[inline(always)]
    fn refined(&self, coefficient: i16, bit: bool) -> i16 {
        let sign = coefficient >> 15;
        // Damaged files may come with a bit that is set already.
        let missing = i16::from(bit) & !(coefficient >> self.shift);
        let step = missing << self.shift;
        coefficient.wrapping_add((step ^ sign) - sign)
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::Intervals;
    use super::*;

    const SPECTRUM: Spectrum = Spectrum {
        first: 1,
        last: 5,
        shift: 1,
    };

    #[test]
    fn refinement_passes_over_known_and_unknown_coefficients() {
        let mut coefficients = [0; 64];
        (coefficients[1], coefficients[16]) = (4, -4);
        let mut known = 1 << 1 | 1 << 3;
        let mut block = Block {
            coefficients: &mut coefficients,
            known: &mut known,
        };
        let mut data = Vec::new();
        let file = [0b1100_0000, 0xff, 0xd9];
        let intervals = Intervals::new(&file, 0, &mut data);
        let mut bits = intervals.bits();
        bits.refill();
        assert_eq!(SPECTRUM.refine_known(&mut bits, 1, 1, &mut block), 4);
        assert_eq!(block.coefficients[..2], [0, 6]);
        assert_eq!(block.coefficients[16], -6);
        assert_eq!(SPECTRUM.refine_known(&mut bits, 4, 9, &mut block), 6);
    }

    #[test]
    fn a_bit_counts_once_and_away_from_zero() {
        let refined = |value| SPECTRUM.refined(value, true);
        assert_eq!([4, -4, 6, -8].map(refined), [6, -6, 6, -10]);
        // In two's complement the bit of -6 is not set.
        assert_eq!(refined(-6), -6);
        assert_eq!(SPECTRUM.refined(5, false), 5);
    }
}
