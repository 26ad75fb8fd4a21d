//! The pixels of a colour JPEG file: what `jpeg-encoder` writes, sooner.
//!
//! Quantisation and code tables are read back from the head that the crate wrote, so they have one source. The arithmetic is
//! the crate's scalar arithmetic (and that is libjpeg's: the accurate integer transform, chroma averaged with alternating
//! rounding), arranged so that the compiler finds vectors of eight. It is all in integers, so every machine writes the same
//! bytes; `encode::tests::colour_files_are_those_of_the_crate` compares them with the crate's.

/// Places in a block in the order in which they are written.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];
/// Rows of luma, and of each chroma before it is halved, that are held at a time.
const ROWS: usize = 16;
/// Pixels that are converted at a time.
const LANES: usize = 16;

/// A colour file of `width` by `height` pixels up to the first of them, made from one of another size.
pub(super) fn head_of(mut file: Vec<u8>, width: u16, height: u16) -> Option<Vec<u8>> {
    const FRAME: u8 = 0xc0;
    const SCAN: u8 = 0xda;
    let mut at = 2;
    loop {
        let &[0xff, marker, high, low] = file.get(at..at + 4)? else {
            return None;
        };
        if marker == FRAME {
            file.get_mut(at + 5..at + 7)?
                .copy_from_slice(&height.to_be_bytes());
            file.get_mut(at + 7..at + 9)?
                .copy_from_slice(&width.to_be_bytes());
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if marker == SCAN {
            file.truncate(at);
            return Some(file);
        }
    }
}

/// Eight rows, or columns, of eight values.
type Block = [[i32; 8]; 8];

/// The tables of a file with two sets of them: of luma and of chroma.
pub(super) struct Tables {
    quantisers: [Quantiser; 2],
    dc: [Codes; 2],
    ac: [Codes; 2],
}

impl Tables {
    /// Reads them from the head of a file, which ends with the header of its only scan; `None` where it is no such head.
    pub(super) fn of_head(head: &[u8]) -> Option<Self> {
        let mut quantisers = [None, None];
        let (mut dc, mut ac) = ([None, None], [None, None]);
        let mut rest = head.get(2..)?;
        while let [0xff, marker, high, low, ..] = *rest {
            let len = usize::from(u16::from_be_bytes([high, low]));
            let segment = rest.get(4..2 + len)?;
            match (marker, segment) {
                (0xdb, [id, values @ ..]) => {
                    *quantisers.get_mut(usize::from(*id))? =
                        Some(Quantiser::new(values.try_into().ok()?));
                }
                (0xc4, [id, codes @ ..]) => {
                    let set = if id & 0x10 == 0 { &mut dc } else { &mut ac };
                    *set.get_mut(usize::from(id & 0xf))? = Some(Codes::new(codes)?);
                }
                _ => {}
            }
            rest = &rest[2 + len..];
        }
        let [luma, chroma] = quantisers;
        let ([dc_luma, dc_chroma], [ac_luma, ac_chroma]) = (dc, ac);
        Some(Self {
            quantisers: [luma?, chroma?],
            dc: [dc_luma?, dc_chroma?],
            ac: [ac_luma?, ac_chroma?],
        })
    }
}

/// Division by a quantisation table, of coefficients that are eight times too large.
struct Quantiser {
    reciprocals: Block,
    corrections: Block,
}

impl Quantiser {
    const SHIFT: u32 = 15;

    /// Of values in the order of a file.
    fn new(values: &[u8; 64]) -> Self {
        let mut quantiser = Self {
            reciprocals: [[0; 8]; 8],
            corrections: [[0; 8]; 8],
        };
        for (&place, &value) in ZIGZAG.iter().zip(values) {
            let divisor = u32::from(value) * 8;
            let (mut reciprocal, rest) =
                ((1 << Self::SHIFT) / divisor, (1 << Self::SHIFT) % divisor);
            let mut correction = divisor / 2;
            if rest != 0 && rest <= correction {
                correction += 1;
            } else if rest != 0 {
                reciprocal += 1;
            }
            let (row, column) = (usize::from(place / 8), usize::from(place % 8));
            quantiser.reciprocals[row][column] = reciprocal as i32;
            quantiser.corrections[row][column] = correction as i32;
        }
        quantiser
    }

    #[inline(always)]
    fn divide(&self, block: &Block) -> [i16; 64] {
        let mut out = [0; 64];
        for (row, out) in out.chunks_exact_mut(8).enumerate() {
            let (reciprocals, corrections) = (&self.reciprocals[row], &self.corrections[row]);
            for lane in 0..8 {
                // Coefficients have 16 bits.
                let value = i32::from(block[row][lane] as i16);
                let size = ((value.abs() + corrections[lane]) * reciprocals[lane]) >> Self::SHIFT;
                let sign = value >> 31;
                out[lane] = ((size ^ sign) - sign) as i16;
            }
        }
        out
    }
}

/// Lengths and bits of the codes of the symbols.
struct Codes([(u8, u16); 256]);

impl Codes {
    /// Of the numbers of codes of each length and the symbols in their order.
    fn new(segment: &[u8]) -> Option<Self> {
        let (counts, symbols) = segment.split_at_checked(16)?;
        let mut codes = [(0, 0); 256];
        let (mut symbols, mut code) = (symbols.iter(), 0u32);
        for (len, &count) in (1..).zip(counts) {
            for _ in 0..count {
                codes[usize::from(*symbols.next()?)] = (len, code as u16);
                code += 1;
            }
            code <<= 1;
        }
        Some(Self(codes))
    }
}

/// Bits on their way into a file.
struct Bits {
    file: Vec<u8>,
    /// The last `64 - free` of it are taken.
    buffer: u64,
    free: u32,
}

impl Bits {
    /// Adds the lowest `len` bits of `value`, in which no other is set.
    #[inline(always)]
    fn push(&mut self, value: u32, len: u32) {
        if let Some(free) = self.free.checked_sub(len) {
            self.buffer = self.buffer << len | u64::from(value);
            self.free = free;
            return;
        }
        let over = len - self.free;
        let full = self.buffer << self.free | u64::from(value >> over);
        self.write(full);
        self.buffer = u64::from(value);
        self.free = 64 - over;
    }

    /// Writes eight bytes, each 0xff with a zero behind it.
    #[inline(always)]
    fn write(&mut self, full: u64) {
        const HIGH: u64 = 0x8080_8080_8080_8080;
        const ONES: u64 = 0x0101_0101_0101_0101;
        if full & HIGH & !full.wrapping_add(ONES) == 0 {
            self.file.extend_from_slice(&full.to_be_bytes());
            return;
        }
        for byte in full.to_be_bytes() {
            self.file.push(byte);
            if byte == 0xff {
                self.file.push(0);
            }
        }
    }

    /// Ends the last byte with ones.
    fn finish(mut self) -> Vec<u8> {
        self.push(0x7f, 7);
        while self.free <= 56 {
            let byte = (self.buffer >> (56 - self.free)) as u8;
            self.file.push(byte);
            if byte == 0xff {
                self.file.push(0);
            }
            self.free += 8;
        }
        self.file
    }

    /// A number with the code of its length and of `run`, the zeros before it.
    #[inline(always)]
    fn number(&mut self, value: i16, run: u32, codes: &Codes) {
        let len = 16 - value.unsigned_abs().leading_zeros();
        let (code_len, code) = codes.0[(run << 4 | len) as usize & 0xff];
        let bits = (i32::from(value) + i32::from(value >> 15)) as u32 & ((1 << len) - 1);
        self.push(u32::from(code) << len | bits, u32::from(code_len) + len);
    }

    #[inline(always)]
    fn block(&mut self, block: &[i16; 64], before: &mut i16, dc: &Codes, ac: &Codes) {
        let mut ordered = [0i16; 64];
        for (to, &from) in ordered.iter_mut().zip(&ZIGZAG) {
            *to = block[usize::from(from)];
        }
        self.number(
            ordered[0].wrapping_sub(std::mem::replace(before, ordered[0])),
            0,
            dc,
        );
        let mut left = 0u64;
        for (at, &value) in ordered.iter().enumerate().skip(1) {
            left |= u64::from(value != 0) << at;
        }
        let mut last = 0;
        while left != 0 {
            let at = left.trailing_zeros();
            let mut run = at - last - 1;
            while run > 15 {
                let (len, code) = ac.0[0xf0];
                self.push(code.into(), len.into());
                run -= 16;
            }
            self.number(ordered[at as usize & 63], run, ac);
            last = at;
            left &= left - 1;
        }
        if last != 63 {
            let (len, code) = ac.0[0];
            self.push(code.into(), len.into());
        }
    }
}

/// Adds the scan of an RGB picture of `width` columns to `head`, chroma halved both ways, and the end of the file.
pub(super) fn add_scan(head: Vec<u8>, tables: &Tables, pixels: &[u8], width: usize) -> Vec<u8> {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || scan(head, tables, pixels, width),
    )
}

#[inline(always)]
fn scan(head: Vec<u8>, tables: &Tables, pixels: &[u8], width: usize) -> Vec<u8> {
    let stride = width.next_multiple_of(16);
    let height = pixels.len() / (3 * width);
    let mut luma = vec![0u8; ROWS * stride];
    // Full rows of both, two at a time, and eight halved ones.
    let mut full = [vec![0u8; 2 * stride], vec![0u8; 2 * stride]];
    let mut halved = [vec![0u8; 4 * stride], vec![0u8; 4 * stride]];
    let mut bits = Bits {
        file: head,
        buffer: 0,
        free: 64,
    };
    let mut before = [0i16; 3];
    for top in (0..height).step_by(ROWS) {
        for row in 0..ROWS {
            let y = (top + row).min(height - 1);
            let from = &pixels[3 * width * y..][..3 * width];
            let [blue, red] = &mut full;
            let at = row % 2 * stride;
            convert(
                from,
                &mut luma[row * stride..][..stride],
                &mut blue[at..][..stride],
                &mut red[at..][..stride],
            );
            if row % 2 == 1 {
                for (full, halved) in full.iter().zip(&mut halved) {
                    let (upper, lower) = full.split_at(stride);
                    halve(
                        upper,
                        lower,
                        &mut halved[row / 2 * (stride / 2)..][..stride / 2],
                    );
                }
            }
        }
        for left in (0..stride).step_by(16) {
            for (down, right) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
                let block = transform(&luma[down * stride + left + right..], stride);
                let block = tables.quantisers[0].divide(&block);
                bits.block(&block, &mut before[0], &tables.dc[0], &tables.ac[0]);
            }
            for (plane, before) in halved.iter().zip(&mut before[1..]) {
                let block = transform(&plane[left / 2..], stride / 2);
                let block = tables.quantisers[1].divide(&block);
                bits.block(&block, before, &tables.dc[1], &tables.ac[1]);
            }
        }
    }
    let mut file = bits.finish();
    file.extend([0xff, 0xd9]);
    file
}

/// A row of RGB as luma and both chromas; the last pixel goes on to the end of the rows.
#[inline(always)]
fn convert(row: &[u8], luma: &mut [u8], blue: &mut [u8], red: &mut [u8]) {
    let width = row.len() / 3;
    let outs = luma
        .chunks_exact_mut(LANES)
        .zip(blue.chunks_exact_mut(LANES))
        .zip(red.chunks_exact_mut(LANES));
    for (at, ((luma, blue), red)) in outs.enumerate() {
        let first = at * LANES;
        let mut pixels = [0u8; 3 * LANES];
        let there = width.saturating_sub(first).min(LANES);
        if there == LANES {
            pixels.copy_from_slice(&row[3 * first..][..3 * LANES]);
        } else {
            let last = &row[row.len() - 3..];
            for (place, pixel) in pixels.chunks_exact_mut(3).enumerate() {
                let from = row
                    .get(3 * (first + place)..)
                    .filter(|rest| !rest.is_empty());
                pixel.copy_from_slice(from.map_or(last, |rest| &rest[..3]));
            }
        }
        let mut channels = [[0i32; LANES]; 3];
        for (place, pixel) in pixels.chunks_exact(3).enumerate() {
            for (channel, &value) in channels.iter_mut().zip(pixel) {
                channel[place] = value.into();
            }
        }
        let [r, g, b] = channels;
        for lane in 0..LANES {
            let (r, g, b) = (r[lane], g[lane], b[lane]);
            let half = 0x7fff;
            luma[lane] = ((19595 * r + 38470 * g + 7471 * b + half) >> 16) as u8;
            let middle = (128 << 16) + half;
            blue[lane] = ((-11059 * r - 21709 * g + 32768 * b + middle) >> 16) as u8;
            red[lane] = ((32768 * r - 27439 * g - 5329 * b + middle) >> 16) as u8;
        }
    }
}

/// Means of two by two values, rounded down and up by turns.
#[inline(always)]
fn halve(upper: &[u8], lower: &[u8], out: &mut [u8]) {
    let pairs = upper.chunks_exact(4).zip(lower.chunks_exact(4));
    for (out, (upper, lower)) in out.chunks_exact_mut(2).zip(pairs) {
        let sum = |at: usize| {
            u16::from(upper[at])
                + u16::from(upper[at + 1])
                + u16::from(lower[at])
                + u16::from(lower[at + 1])
        };
        out[0] = ((sum(0) + 1) / 4) as u8;
        out[1] = ((sum(2) + 2) / 4) as u8;
    }
}

/// The forward transform of the eight by eight values at the start of `plane`: eight times the coefficients.
#[inline(always)]
fn transform(plane: &[u8], stride: usize) -> Block {
    let mut columns = [[0; 8]; 8];
    for row in 0..8 {
        let values: &[u8] = &plane[row * stride..][..8];
        for column in 0..8 {
            columns[column][row] = i32::from(values[column]) - 128;
        }
    }
    // Along the rows, eight rows in one vector; then along the columns.
    let rows = transposed(&pass::<11, true>(&columns));
    pass::<15, false>(&rows)
}

#[inline(always)]
fn transposed(block: &Block) -> Block {
    let mut out = [[0; 8]; 8];
    for (row, values) in block.iter().enumerate() {
        for (column, &value) in values.iter().enumerate() {
            out[column][row] = value;
        }
    }
    out
}

/// One dimension of the transform (Loeffler, Ligtenberg and Moschytz, as in libjpeg's `jfdctint.c`), on eight lines at once.
/// Products are scaled down by `SHIFT` bits; sums are scaled up by two bits when it `IS_FIRST`, and down after it.
#[inline(always)]
fn pass<const SHIFT: i32, const IS_FIRST: bool>(v: &Block) -> Block {
    let mut out = [[0; 8]; 8];
    for lane in 0..8 {
        let at = |n: usize| v[n][lane];
        let descale = |x: i32| (x + (1 << (SHIFT - 1))) >> SHIFT;
        let sum = |x: i32| if IS_FIRST { x << 2 } else { (x + 2) >> 2 };
        let (t0, t7) = (at(0) + at(7), at(0) - at(7));
        let (t1, t6) = (at(1) + at(6), at(1) - at(6));
        let (t2, t5) = (at(2) + at(5), at(2) - at(5));
        let (t3, t4) = (at(3) + at(4), at(3) - at(4));

        let (t10, t13, t11, t12) = (t0 + t3, t0 - t3, t1 + t2, t1 - t2);
        out[0][lane] = sum(t10 + t11);
        out[4][lane] = sum(t10 - t11);
        let z1 = (t12 + t13) * 4433;
        out[2][lane] = descale(z1 + t13 * 6270);
        out[6][lane] = descale(z1 - t12 * 15137);

        let z5 = (t4 + t6 + t5 + t7) * 9633;
        let z1 = (t4 + t7) * -7373;
        let z2 = (t5 + t6) * -20995;
        let z3 = (t4 + t6) * -16069 + z5;
        let z4 = (t5 + t7) * -3196 + z5;
        out[7][lane] = descale(t4 * 2446 + z1 + z3);
        out[5][lane] = descale(t5 * 16819 + z2 + z4);
        out[3][lane] = descale(t6 * 25172 + z2 + z3);
        out[1][lane] = descale(t7 * 12299 + z1 + z4);
    }
    out
}
