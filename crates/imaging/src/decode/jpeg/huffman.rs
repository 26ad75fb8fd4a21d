//! Huffman codes and the values that follow them.

use super::bits::Bits;

/// Bits that one look into the tables resolves.
const LOOK: u32 = 9;

/// A table of codes.
pub(super) struct Huffman {
    /// Length and symbol of the code that the next [`LOOK`] bits begin with; length 0 when it is longer.
    short: [(u8, u8); 1 << LOOK],
    /// Where code, run and value fit into [`LOOK`] bits: value, run, length; length 0 elsewhere.
    values: [(i16, u8, u8); 1 << LOOK],
    /// Largest code of each length, -1 for none; longer than 16 bits, everything fits.
    largest: [i32; 18],
    /// What to add to a code of each length to find its symbol.
    offset: [i32; 17],
    symbols: [u8; 256],
}

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
            short: [(0, 0); 1 << LOOK],
            values: [(0, 0, 0); 1 << LOOK],
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
                    let free = LOOK as usize - length;
                    let first = (code as usize) << free;
                    let Some(places) = table.short.get_mut(first..first + (1 << free)) else {
                        return Err("Huffman table with codes that do not fit");
                    };
                    places.fill((length as u8, symbols[index]));
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
        table.fill_values();
        Ok(table)
    }

    fn fill_values(&mut self) {
        for (bits, value) in (0u32..).zip(&mut self.values) {
            let (length, symbol) = self.short[bits as usize];
            let (run, size) = (symbol >> 4, u32::from(symbol & 15));
            let total = u32::from(length) + size;
            if length > 0 && size > 0 && total <= LOOK {
                let extra = (bits >> (LOOK - total)) & ((1 << size) - 1);
                *value = (extend(extra, size) as i16, run, total as u8);
            }
        }
    }

    /// The value, run and length of what the next bits hold, if one look resolves all of it.
    #[inline]
    pub(super) fn value(&self, bits: &Bits<'_>) -> (i16, u8, u8) {
        self.values[bits.peek(LOOK) as usize]
    }

    /// The next symbol; 0 for a code that does not exist, as in libjpeg. [`Bits::refill`] comes first.
    #[inline]
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> u8 {
        let (length, symbol) = self.short[bits.peek(LOOK) as usize];
        if length > 0 {
            bits.drop(length.into());
            return symbol;
        }
        self.long_symbol(bits)
    }

    #[cold]
    fn long_symbol(&self, bits: &mut Bits<'_>) -> u8 {
        let mut length = LOOK + 1;
        while bits.peek(length) as i32 > self.largest[length as usize] {
            length += 1;
        }
        let code = bits.peek(length) as i32;
        bits.drop(length);
        if length > 16 {
            return 0;
        }
        self.symbols[((code + self.offset[length as usize]) & 0xff) as usize]
    }
}

/// The signed value that `size` bits stand for.
#[inline]
pub(super) fn extend(bits: u32, size: u32) -> i32 {
    let value = bits as i32;
    if size > 0 && value < 1 << (size - 1) {
        value - (1 << size) + 1
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes 0, 10, 110, …: one of each length up to 16.
    fn ladder() -> Huffman {
        let symbols: Vec<u8> = (0..16).collect();
        Huffman::new(&[1; 16], &symbols, true).unwrap()
    }

    #[test]
    fn short_and_long_codes_are_found_and_missing_ones_are_zero() {
        // 10, then 11 ones and a zero, then 17 ones (no such code), then 0.
        let bits = [
            0b1011_1111,
            0b1111_1011,
            0b1111_1110,
            0b1111_1111,
            0,
            0b1100_0000,
            0,
            0,
            0,
            0,
        ];
        let table = ladder();
        let mut bits = Bits::new(&bits, 0);
        bits.refill();
        assert_eq!(table.symbol(&mut bits), 1);
        assert_eq!(table.symbol(&mut bits), 11);
        bits.refill();
        assert_eq!(table.symbol(&mut bits), 9);
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
        assert_eq!((extend(0, 1), extend(1, 1), extend(0, 0)), (-1, 1, 0));
        assert_eq!((extend(0, 16), extend(0xffff, 16)), (-65535, 65535));
    }
}
