//! Huffman codes and the values that follow them.

use super::bits::Bits;

/// Bits that one look into the table resolves.
const LOOK: u32 = 10;

/// A table of codes. Symbols are those of the standard: the size of a value in the low half, and before it,
/// for AC coefficients, the run of zeros in front of it.
pub(super) struct Huffman {
    looks: [Look; 1 << LOOK],
    /// What decoding a block takes, once [`Self::prepare_to_decode`] made it.
    pairs: [Pair; 1 << LOOK],
    /// What passing over coefficients takes, once [`Self::prepare_to_pass_over`] made it.
    leaps: [Leap; 1 << LOOK],
    pairs_are_made: bool,
    leaps_are_made: bool,
    /// Largest code of each length, -1 for none; longer than 16 bits, everything fits.
    largest: [i32; 18],
    /// What to add to a code of each length to find its symbol.
    offset: [i32; 17],
    /// Codes of each length.
    counts: [u8; 16],
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

/// The one or two coefficients that the next [`LOOK`] bits hold, and whether the block ends behind them.
///
/// One is stored like two of the same place and value, and the end of the block alone like a zero: so nothing has
/// to be decided about them. From high to low: the values (16 bits each), their places after the one that is due (8
/// bits each), how far they lead (8 bits: the coefficients, zeros included, and [`Self::END`]), and the bits of all
/// this (8 bits).
#[derive(Clone, Copy)]
pub(super) struct Pair(u64);

#[derive(Clone, Copy)]
struct Symbol(u8);

/// What no file says: more codes than there are symbols.
const NO_COUNTS: [u8; 16] = [u8::MAX; 16];

impl Default for Huffman {
    /// Nothing yet; [`Self::set`] comes first.
    fn default() -> Self {
        Self {
            looks: [Look::default(); 1 << LOOK],
            pairs: [Pair::NONE; 1 << LOOK],
            leaps: [Leap::default(); 1 << LOOK],
            pairs_are_made: false,
            leaps_are_made: false,
            largest: [-1; 18],
            offset: [0; 17],
            counts: NO_COUNTS,
            symbols: [0; 256],
        }
    }
}

impl Huffman {
    /// Whether these are the codes of the table.
    pub(super) fn has(&self, counts: &[u8; 16], symbols: &[u8]) -> bool {
        self.counts == *counts && self.symbols.starts_with(symbols)
    }

    /// Puts other codes into the table, by the number of them of each length (1 to 16) and their symbols in order. It
    /// is of no use after an error.
    pub(super) fn set(
        &mut self,
        counts: &[u8; 16],
        symbols: &[u8],
        is_dc: bool,
    ) -> Result<(), &'static str> {
        self.counts = NO_COUNTS;
        if symbols.len() > 256 {
            return Err("Huffman table of more than 256 codes");
        }
        if is_dc && symbols.iter().any(|&symbol| symbol > 15) {
            return Err("Huffman table with a size of more than 15 bits");
        }
        self.looks.fill(Look::default());
        if std::mem::take(&mut self.pairs_are_made) {
            self.pairs.fill(Pair::NONE);
        }
        if std::mem::take(&mut self.leaps_are_made) {
            self.leaps.fill(Leap::default());
        }
        (self.largest, self.offset) = ([-1; 18], [0; 17]);
        self.symbols[..symbols.len()].copy_from_slice(symbols);
        self.largest[17] = i32::MAX;
        let (mut code, mut index) = (0i32, 0usize);
        for (length, &count) in (1..).zip(counts) {
            if count > 0 {
                self.offset[length] = index as i32 - code;
            }
            for _ in 0..count {
                if length <= LOOK as usize {
                    self.fill(code as usize, length as u32, Symbol(symbols[index]))?;
                }
                code += 1;
                index += 1;
            }
            if count > 0 {
                self.largest[length] = code - 1;
            }
            // All ones is a code, but nothing may be beyond it.
            if code > 1 << length {
                return Err("Huffman table with codes that do not fit");
            }
            code <<= 1;
        }
        self.counts = *counts;
        Ok(())
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

    /// Makes the table of [`Self::pair`], for AC coefficients.
    pub(super) fn prepare_to_decode(&mut self) {
        if std::mem::replace(&mut self.pairs_are_made, true) {
            return;
        }
        for next in 0..1 << LOOK {
            // Behind the bits that are known there are zeros, and a code that needs them is none.
            let look = |from: u32| self.looks[next << from & ((1 << LOOK) - 1)];
            let fits = |look: Look, from: u32| look.length() > 0 && from + look.length() <= LOOK;
            let is_end = |look: Look| look.size() == 0 && look.run() < 15;
            let first = look(0);
            self.pairs[next] = if !fits(first, 0) {
                Pair::NONE
            } else if is_end(first) {
                Pair::new([(0, 0); 2], Pair::END, first.length())
            } else if first.value() == 0 {
                // Sixteen zeros, or a value that does not fit.
                Pair::NONE
            } else {
                let one = (first.run(), first.value());
                let (behind, from) = (first.run() + 1, first.length());
                let second = look(from);
                if !fits(second, from) {
                    Pair::new([one; 2], behind, from)
                } else if is_end(second) {
                    Pair::new([one; 2], behind + Pair::END, from + second.length())
                } else if second.value() == 0 {
                    Pair::new([one; 2], behind, from)
                } else {
                    let other = (behind + second.run(), second.value());
                    Pair::new([one, other], other.0 + 1, from + second.length())
                }
            };
        }
    }

    /// Makes the table of [`Self::leap`], for AC coefficients.
    pub(super) fn prepare_to_pass_over(&mut self) {
        if std::mem::replace(&mut self.leaps_are_made, true) {
            return;
        }
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

    /// The coefficients that the next bits hold; takes none of them.
    #[inline(always)]
    pub(super) fn pair(&self, bits: &Bits<'_>) -> Pair {
        self.pairs[bits.peek(LOOK) as usize]
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

impl Pair {
    /// Added to the coefficients where the block ends behind them.
    const END: usize = 64;
    /// Where not even the first code and its value fit: more coefficients than a block can have behind its first.
    const NONE: Self = Self(63 << 8);

    fn new(coefficients: [(usize, i32); 2], advance: usize, length: u32) -> Self {
        let [(first, a), (second, b)] = coefficients;
        let values = u64::from(a as u16) << 48 | u64::from(b as u16) << 32;
        let places = (first << 24 | second << 16 | advance << 8) as u64;
        Self(values | places | u64::from(length))
    }

    /// Places, counted from the one that is due, and values.
    #[inline(always)]
    pub(super) fn coefficients(self) -> [(usize, i16); 2] {
        let place = |shift: u32| (self.0 >> shift & 0xff) as usize;
        [
            (place(24), (self.0 >> 48) as i16),
            (place(16), (self.0 >> 32) as i16),
        ]
    }

    /// Coefficients, zeros included.
    #[inline(always)]
    pub(super) fn count(self) -> usize {
        self.advance() & (Self::END - 1)
    }

    /// The same, and at least a whole block where it ends behind them.
    #[inline(always)]
    pub(super) fn advance(self) -> usize {
        (self.0 >> 8 & 0xff) as usize
    }

    /// Bits of all this.
    #[inline(always)]
    pub(super) fn length(self) -> u32 {
        (self.0 & 0xff) as u32
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

    fn table(counts: &[u8; 16], symbols: &[u8], is_dc: bool) -> Result<Box<Huffman>, &'static str> {
        let mut table = Box::<Huffman>::default();
        table.set(counts, symbols, is_dc)?;
        Ok(table)
    }

    /// Codes 0, 10, 110, …: one of each length up to 16.
    fn ladder() -> Box<Huffman> {
        let symbols: Vec<u8> = (0..16).collect();
        table(&[1; 16], &symbols, true).unwrap()
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
        let ladder = ladder();
        let found = with_bits(&file, |bits| {
            [(); 4].map(|()| {
                bits.refill();
                ladder.symbol(bits)
            })
        });
        assert_eq!(found, [(0, 1), (0, 11), (0, 0), (0, 1)]);
    }

    #[test]
    fn values_are_found_with_their_codes_or_behind_them() {
        // Runs and sizes 0/1, 2/3, 1/9, 0/0, with codes 00, 01, 10, 110.
        let mut counts = [0; 16];
        (counts[1], counts[2]) = (3, 1);
        let codes = table(&counts, &[0x01, 0x23, 0x19, 0], false).unwrap();
        // 00 1, 01 010, 10 100000001, 110.
        let file = [0b0010_1010, 0b1010_0000, 0b0011_1000];
        let found = with_bits(&file, |bits| [(); 4].map(|()| codes.coefficient(bits)));
        assert_eq!(found, [(0, 1), (2, -5), (1, 257), (0, 0)]);
        let sizes = with_bits(&file, |bits| {
            [(); 2].map(|()| {
                let (run, size) = codes.symbol(bits);
                (run, size, bits.take(size))
            })
        });
        assert_eq!(sizes, [(0, 1, 1), (2, 3, 2)]);
    }

    #[test]
    fn tables_that_make_no_prefix_code_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(table(&counts, &[1, 2, 3], false).is_err());
        assert!(table(&[255; 16], &[0; 255 * 16], false).is_err());
        counts[0] = 1;
        assert!(table(&counts, &[16], true).is_err());
        assert!(table(&counts, &[16], false).is_ok());
        assert!(table(&[0; 16], &[], false).is_ok());
    }

    #[test]
    fn a_table_holds_the_codes_that_were_set_last() {
        let mut codes = table(&[1; 16], &(0..16).collect::<Vec<u8>>(), false).unwrap();
        codes.prepare_to_decode();
        assert!(codes.has(&[1; 16], &(0..16).collect::<Vec<u8>>()));
        let first = |codes: &Huffman| with_bits(&[0; 3], |bits| codes.pair(bits).length());
        assert_eq!(first(&codes), 1);
        let mut counts = [0; 16];
        counts[1] = 1;
        codes.set(&counts, &[0], false).unwrap();
        assert_eq!(first(&codes), 0);
        codes.prepare_to_decode();
        assert_eq!(first(&codes), 2);
        // No codes at all, at first and after others.
        for mut none in [Box::<Huffman>::default(), codes] {
            assert!(!none.has(&[0; 16], &[]));
            none.set(&[0; 16], &[], false).unwrap();
            none.prepare_to_decode();
            assert!(none.has(&[0; 16], &[]));
            assert_eq!(with_bits(&[0; 3], |bits| none.coefficient(bits)), (0, 0));
            assert!(none.set(&[255; 16], &[0; 255 * 16], false).is_err());
            assert!(!none.has(&[0; 16], &[]));
        }
    }

    #[test]
    fn small_values_extend_below_zero() {
        assert_eq!([0, 1, 2, 3].map(|v| extend(v, 2)), [-3, -2, 2, 3]);
        assert_eq!((extend(0, 1), extend(1, 1)), (-1, 1));
    }
}
