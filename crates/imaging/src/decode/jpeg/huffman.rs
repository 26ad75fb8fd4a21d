//! Huffman codes and the values that follow them.

use super::bits::Bits;

/// Bits that one look into the table resolves.
const LOOK: u32 = 10;

/// A table of codes. Symbols are those of the standard: the size of a value in the low half, and before it,
/// for AC coefficients, the run of zeros in front of it.
pub(super) struct Huffman {
    looks: [Look; 1 << LOOK],
    /// What passing over coefficients takes; nothing before [`Self::prepare_to_pass_over`].
    leaps: [Leap; 1 << LOOK],
    /// Largest code of each length, -1 for none; longer than 16 bits, everything fits.
    largest: [i32; 18],
    /// What to add to a code of each length to find its symbol.
    offset: [i32; 17],
    symbols: [u8; 256],
}

/// What the next [`LOOK`] bits tell: a code and its value if both fit, else a code, else nothing.
///
/// From high to low: the value (16 bits; 0 when it does not fit or has no size), its size (4 bits), the
/// run before it (4 bits), and the bits to pass over (8 bits; 0 for a longer code).
#[derive(Clone, Copy, Default)]
struct Look(i32);

/// How many of the next bits are coefficients that end within a block, and what they amount to.
///
/// From high to low: the coefficients, zeros included (8 bits), whether the end of the block follows (1 bit), and the
/// bits to pass over (7 bits; 0 where the first code is a longer one).
#[derive(Clone, Copy, Default)]
pub(super) struct Leap(u16);

#[derive(Clone, Copy)]
struct Symbol(u8);

impl Huffman {
    /// Codes by the number of them of each length (1 to 16) and their symbols in order.
    pub(super) fn new(
        counts: &[u8; 16],
        symbols: &[u8],
        is_dc: bool,
    ) -> Result<Self, &'static str> {
        if symbols.len() > 256 {
            return Err("Huffman table of more than 256 codes");
        }
        if is_dc && symbols.iter().any(|&symbol| symbol > 15) {
            return Err("Huffman table with a size of more than 15 bits");
        }
        let mut table = Self {
            looks: [Look::default(); 1 << LOOK],
            leaps: [Leap::default(); 1 << LOOK],
            largest: [-1; 18],
            offset: [0; 17],
            symbols: [0; 256],
        };
        table.symbols[..symbols.len()].copy_from_slice(symbols);
        table.largest[17] = i32::MAX;
        let (mut code, mut index) = (0i32, 0usize);
        for (length, &count) in (1..).zip(counts) {
            if count > 0 {
                table.offset[length] = index as i32 - code;
            }
            for _ in 0..count {
                if length <= LOOK as usize {
                    table.fill(code as usize, length as u32, Symbol(symbols[index]))?;
                }
                code += 1;
                index += 1;
            }
            if count > 0 {
                table.largest[length] = code - 1;
            }
            // All ones is a code, but nothing may be beyond it.
            if code > 1 << length {
                return Err("Huffman table with codes that do not fit");
            }
            code <<= 1;
        }
        Ok(table)
    }

    /// Enters a code wherever the next bits begin with it.
    fn fill(&mut self, code: usize, length: u32, symbol: Symbol) -> Result<(), &'static str> {
        let free = LOOK - length;
        let first = code << free;
        let places = self
            .looks
            .get_mut(first..first + (1 << free))
            .ok_or("Huffman table with codes that do not fit")?;
        let size = symbol.size();
        if size == 0 || size > free {
            places.fill(Look::new(0, symbol, length));
            return Ok(());
        }
        // Each value is followed by all bits that one look sees beyond it.
        let beyond = 1 << (free - size);
        for (bits, places) in (0..).zip(places.chunks_exact_mut(beyond)) {
            places.fill(Look::new(extend(bits, size), symbol, length + size));
        }
        Ok(())
    }

    /// Makes the table of [`Self::leap`], for AC coefficients.
    pub(super) fn prepare_to_pass_over(&mut self) {
        for next in 0..1 << LOOK {
            let (mut length, mut count, mut ends) = (0, 0, false);
            while length < LOOK && !ends {
                // Behind the bits that are known there are zeros, and a code that needs them is none.
                let look = self.looks[next << length & ((1 << LOOK) - 1)];
                let code = look.length() - if look.value() == 0 { 0 } else { look.size() };
                if look.length() == 0 || length + code > LOOK {
                    break;
                }
                ends = look.size() == 0 && look.run() < 15;
                count += if ends { 0 } else { look.run() + 1 };
                length += code + look.size();
            }
            self.leaps[next] = Leap::new(count, ends, length);
        }
    }

    /// What the next bits amount to; takes none. At most 25 bits can then be passed over.
    #[inline(always)]
    pub(super) fn leap(&self, bits: &Bits<'_>) -> Leap {
        self.leaps[bits.peek(LOOK) as usize]
    }

    /// The difference that the next bits code, of a DC value from the one before. [`Bits::refill`] comes
    /// first, as for all that follow.
    #[inline(always)]
    pub(super) fn difference(&self, bits: &mut Bits<'_>) -> i32 {
        let look = self.look(bits);
        if look.value() != 0 {
            bits.skip(look.length());
            return look.value();
        }
        let (_, size) = self.symbol_of(look, bits);
        bits.take_value(size)
    }

    /// The next run of zeros and the coefficient behind it, if one look finds both; takes at most [`LOOK`]
    /// bits.
    #[inline(always)]
    pub(super) fn short_coefficient(&self, bits: &mut Bits<'_>) -> Option<(usize, i32)> {
        let look = self.look(bits);
        if look.value() == 0 {
            return None;
        }
        bits.skip(look.length());
        Some((look.run(), look.value()))
    }

    /// The next run of zeros and the coefficient behind it; of a symbol without a value the run and 0.
    #[inline(always)]
    pub(super) fn coefficient(&self, bits: &mut Bits<'_>) -> (usize, i32) {
        let look = self.look(bits);
        if look.value() != 0 {
            bits.skip(look.length());
            return (look.run(), look.value());
        }
        let (run, size) = self.symbol_of(look, bits);
        (run, bits.take_value(size))
    }

    /// The next run and size; 0 and 0 for a code that does not exist, as in libjpeg.
    #[inline(always)]
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> (usize, u32) {
        let look = self.look(bits);
        if look.value() == 0 {
            return self.symbol_of(look, bits);
        }
        bits.skip(look.length() - look.size());
        (look.run(), look.size())
    }

    #[inline(always)]
    fn look(&self, bits: &Bits<'_>) -> Look {
        self.looks[bits.peek(LOOK) as usize]
    }

    /// Run and size of a symbol whose value is still to come.
    #[inline(always)]
    fn symbol_of(&self, look: Look, bits: &mut Bits<'_>) -> (usize, u32) {
        if look.length() > 0 {
            bits.skip(look.length());
            return (look.run(), look.size());
        }
        let (symbol, length) = self.long_symbol(bits.peek(17));
        bits.skip(length);
        (symbol.run(), symbol.size())
    }

    /// The symbol that `next`, 17 bits, begins with, and the length of its code.
    #[cold]
    #[inline(never)]
    fn long_symbol(&self, next: u32) -> (Symbol, u32) {
        let code = |length: u32| (next >> (17 - length)) as i32;
        let mut length = LOOK + 1;
        while code(length) > self.largest[length as usize] {
            length += 1;
        }
        if length > 16 {
            return (Symbol(0), length);
        }
        let index = (code(length) + self.offset[length as usize]) & 0xff;
        (Symbol(self.symbols[index as usize]), length)
    }
}

impl Symbol {
    fn run(self) -> usize {
        usize::from(self.0 >> 4)
    }

    fn size(self) -> u32 {
        u32::from(self.0 & 15)
    }
}

impl Leap {
    fn new(count: usize, ends: bool, length: u32) -> Self {
        Self((count as u16) << 8 | u16::from(ends) << 7 | length as u16)
    }

    /// Coefficients, zeros included.
    #[inline(always)]
    pub(super) fn count(self) -> usize {
        usize::from(self.0 >> 8)
    }

    /// Whether the end of the block is among the bits.
    #[inline(always)]
    pub(super) fn ends(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Bits of all this.
    #[inline(always)]
    pub(super) fn length(self) -> u32 {
        u32::from(self.0 & 0x7f)
    }
}

impl Look {
    fn new(value: i32, symbol: Symbol, length: u32) -> Self {
        let (run, size) = (symbol.run() as i32, symbol.size() as i32);
        Self(value << 16 | size << 12 | run << 8 | length as i32)
    }

    #[inline(always)]
    fn value(self) -> i32 {
        self.0 >> 16
    }

    #[inline(always)]
    fn size(self) -> u32 {
        (self.0 >> 12) as u32 & 15
    }

    #[inline(always)]
    fn run(self) -> usize {
        (self.0 >> 8) as usize & 15
    }

    #[inline(always)]
    fn length(self) -> u32 {
        self.0 as u32 & 63
    }
}

/// The signed value that `size` bits stand for, 1 to 15 of them.
fn extend(bits: i32, size: u32) -> i32 {
    if bits < 1 << (size - 1) {
        bits - (1 << size) + 1
    } else {
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::Intervals;
    use super::*;

    /// Codes 0, 10, 110, …: one of each length up to 16.
    fn ladder() -> Huffman {
        let symbols: Vec<u8> = (0..16).collect();
        Huffman::new(&[1; 16], &symbols, true).unwrap()
    }

    fn with_bits<T>(file: &[u8], read: impl FnOnce(&mut Bits<'_>) -> T) -> T {
        let mut data = Vec::new();
        let intervals = Intervals::new(file, 0, &mut data);
        let mut bits = intervals.bits();
        bits.refill();
        read(&mut bits)
    }

    #[test]
    fn short_and_long_codes_are_found_and_missing_ones_are_zero() {
        // 10, then 11 ones and a zero, then 17 ones (no such code), then 10.
        let file = [0b1011_1111, 0b1111_1011, 0xff, 0, 0xff, 0, 0];
        let table = ladder();
        let found = with_bits(&file, |bits| {
            [(); 4].map(|()| {
                bits.refill();
                table.symbol(bits)
            })
        });
        assert_eq!(found, [(0, 1), (0, 11), (0, 0), (0, 1)]);
    }

    #[test]
    fn values_are_found_with_their_codes_or_behind_them() {
        // Runs and sizes 0/1, 2/3, 1/9, 0/0, with codes 00, 01, 10, 110.
        let mut counts = [0; 16];
        (counts[1], counts[2]) = (3, 1);
        let table = Huffman::new(&counts, &[0x01, 0x23, 0x19, 0], false).unwrap();
        // 00 1, 01 010, 10 100000001, 110.
        let file = [0b0010_1010, 0b1010_0000, 0b0011_1000];
        let found = with_bits(&file, |bits| [(); 4].map(|()| table.coefficient(bits)));
        assert_eq!(found, [(0, 1), (2, -5), (1, 257), (0, 0)]);
        let sizes = with_bits(&file, |bits| {
            [(); 2].map(|()| {
                let (run, size) = table.symbol(bits);
                (run, size, bits.take(size))
            })
        });
        assert_eq!(sizes, [(0, 1, 1), (2, 3, 2)]);
    }

    #[test]
    fn tables_that_make_no_prefix_code_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Huffman::new(&counts, &[1, 2, 3], false).is_err());
        assert!(Huffman::new(&[255; 16], &[0; 255 * 16], false).is_err());
        counts[0] = 1;
        assert!(Huffman::new(&counts, &[16], true).is_err());
        assert!(Huffman::new(&counts, &[16], false).is_ok());
        assert!(Huffman::new(&[0; 16], &[], false).is_ok());
    }

    #[test]
    fn small_values_extend_below_zero() {
        assert_eq!([0, 1, 2, 3].map(|v| extend(v, 2)), [-3, -2, 2, 3]);
        assert_eq!((extend(0, 1), extend(1, 1)), (-1, 1));
    }
}
