//! The blocks of a scan: decoded, and transformed at once where nothing can refine them later.

use super::super::{DecodeError, malformed, truncated};
use super::FORMAT;
use super::bits::Bits;
use super::header::{Frame, Scan, Tables, ZIGZAG};
use super::huffman::{Huffman, extend};
use super::planes::{Plane, Planes};
use super::transform::inverse;

/// A picture on its way from scans to planes of samples.
pub(super) struct Picture {
    pub(super) frame: Frame,
    parts: Vec<Part>,
}

/// What is known of one component.
struct Part {
    /// Columns and rows of blocks that hold real samples.
    blocks: (usize, usize),
    /// Blocks in a row, padded to whole groups.
    stride: usize,
    /// Samples, `8 * stride` in a row.
    plane: Vec<u8>,
    /// Coefficients of all blocks; progressive files only.
    coefficients: Vec<[i16; 64]>,
    /// The quantisation table at the time of the first scan.
    table: Option<[u16; 64]>,
}

impl Picture {
    pub(super) fn new(frame: Frame) -> Self {
        let (mcus_x, mcus_y) = frame.mcus();
        let parts = frame
            .components
            .iter()
            .map(|component| {
                let (columns, rows) = frame.samples(component);
                let stride = (mcus_x * component.h) as usize;
                let blocks = stride * (mcus_y * component.v) as usize;
                let coefficients = if frame.progressive { blocks } else { 0 };
                Part {
                    blocks: (columns.div_ceil(8) as usize, rows.div_ceil(8) as usize),
                    stride,
                    // Grey, for what no scan fills.
                    plane: vec![128; blocks * 64],
                    coefficients: vec![[0; 64]; coefficients],
                    table: None,
                }
            })
            .collect();
        Self { frame, parts }
    }

    /// Whether every component was seen and none can be refined.
    pub(super) fn is_complete(&self) -> bool {
        !self.frame.progressive && self.parts.iter().all(|part| part.table.is_some())
    }

    /// Blocks that a scan goes through.
    pub(super) fn blocks_of(&self, scan: &Scan) -> u64 {
        let blocks = |index: usize| {
            let part = &self.parts[index];
            (part.blocks.0 * part.blocks.1) as u64
        };
        scan.components.iter().map(|c| blocks(c.index)).sum()
    }

    /// Decodes the scan whose entropy-coded data begin at `at`; returns where to look for the next marker.
    pub(super) fn decode(
        &mut self,
        scan: &Scan,
        tables: &Tables,
        bytes: &[u8],
        at: usize,
    ) -> Result<usize, DecodeError> {
        let mut coders = Vec::with_capacity(scan.components.len());
        for component in &scan.components {
            let part = &mut self.parts[component.index];
            if part.table.is_none() {
                let number = usize::from(self.frame.components[component.index].table);
                let table = tables.quantisation.get(number).copied().flatten();
                let missing = || malformed(FORMAT, format!("no quantisation table {number}"));
                part.table = Some(table.ok_or_else(missing)?);
            }
            let find = |tables: &'_ [Option<Huffman>; 4], number: usize| {
                tables.get(number).is_some_and(Option::is_some)
            };
            let needs_dc = scan.first == 0 && !scan.refine;
            let needs_ac = !self.frame.progressive || scan.first > 0;
            if (needs_dc && !find(&tables.dc, component.dc))
                || (needs_ac && !find(&tables.ac, component.ac))
            {
                return Err(malformed(FORMAT, "scan without its Huffman table"));
            }
            coders.push(Coder {
                dc: tables.dc.get(component.dc).and_then(Option::as_ref),
                ac: tables.ac.get(component.ac).and_then(Option::as_ref),
                previous: 0,
            });
        }
        let mut run = Run {
            scan,
            progressive: self.frame.progressive,
            bits: Bits::new(bytes, at),
            coders,
            end_of_band: 0,
            interval: tables.restart_interval,
            to_go: tables.restart_interval,
        };
        if let [only] = scan.components.as_slice() {
            // A single component is not padded to groups.
            let (columns, rows) = self.parts[only.index].blocks;
            for y in 0..rows {
                for x in 0..columns {
                    if run.begin_group() {
                        run.block(0, &mut self.parts[only.index], x, y);
                    }
                }
            }
        } else {
            let (mcus_x, mcus_y) = self.frame.mcus();
            for mcu_y in 0..mcus_y {
                for mcu_x in 0..mcus_x {
                    if !run.begin_group() {
                        continue;
                    }
                    for (i, component) in scan.components.iter().enumerate() {
                        let factors = &self.frame.components[component.index];
                        for v in 0..factors.v {
                            for h in 0..factors.h {
                                let x = (mcu_x * factors.h + h) as usize;
                                let y = (mcu_y * factors.v + v) as usize;
                                run.block(i, &mut self.parts[component.index], x, y);
                            }
                        }
                    }
                }
            }
        }
        if run.bits.ended {
            return Err(truncated(FORMAT, "file ends within a scan"));
        }
        Ok(run.bits.position())
    }

    /// Transforms what is still coefficients.
    pub(super) fn into_planes(self) -> Planes {
        let mut planes = Vec::with_capacity(self.parts.len());
        for (component, mut part) in self.frame.components.iter().zip(self.parts) {
            let (columns, rows) = self.frame.samples(component);
            let stride = part.stride * 8;
            if let Some(table) = &part.table {
                let coefficients = part.coefficients.chunks_exact(part.stride);
                for (band, row) in part.plane.chunks_exact_mut(stride * 8).zip(coefficients) {
                    for (x, block) in row.iter().enumerate() {
                        let last = if block[1..] == [0; 63] { 0 } else { 63 };
                        inverse(block, table, last, &mut band[x * 8..], stride);
                    }
                }
            }
            planes.push(Plane {
                samples: part.plane,
                stride,
                columns: columns as usize,
                rows: rows as usize,
                across: (self.frame.h_max / component.h) as usize,
                down: (self.frame.v_max / component.v) as usize,
            });
        }
        Planes {
            size: self.frame.size,
            planes,
        }
    }
}

/// Tables and state of one component in a scan.
struct Coder<'a> {
    dc: Option<&'a Huffman>,
    ac: Option<&'a Huffman>,
    /// The DC value of the block before.
    previous: i32,
}

/// The state of one scan.
struct Run<'a> {
    scan: &'a Scan,
    progressive: bool,
    bits: Bits<'a>,
    coders: Vec<Coder<'a>>,
    /// Blocks that are still to be passed over (progressive AC scans).
    end_of_band: u32,
    interval: u32,
    to_go: u32,
}

impl Run<'_> {
    /// Restarts when a marker is due; whether there are data for the next group of blocks.
    fn begin_group(&mut self) -> bool {
        if self.interval > 0 {
            if self.to_go == 0 {
                self.bits.restart();
                for coder in &mut self.coders {
                    coder.previous = 0;
                }
                self.end_of_band = 0;
                self.to_go = self.interval;
            }
            self.to_go -= 1;
        }
        self.bits.refill();
        !self.bits.starved
    }

    fn block(&mut self, coder: usize, part: &mut Part, x: usize, y: usize) {
        if self.progressive {
            let block = &mut part.coefficients[y * part.stride + x];
            match (self.scan.first, self.scan.refine) {
                (0, false) => self.dc_first(coder, block),
                (0, true) => {
                    if self.bits.bit() {
                        block[0] |= 1 << self.scan.shift;
                    }
                }
                (_, false) => self.ac_first(coder, block),
                (_, true) => self.ac_refine(coder, block),
            }
            return;
        }
        let mut block = [0; 64];
        let last = self.sequential(coder, &mut block);
        if let Some(table) = &part.table {
            let stride = part.stride * 8;
            inverse(
                &block,
                table,
                last,
                &mut part.plane[y * 8 * stride + x * 8..],
                stride,
            );
        }
    }

    /// All coefficients of a block; returns the last one that is not zero.
    fn sequential(&mut self, coder: usize, block: &mut [i16; 64]) -> usize {
        let bits = &mut self.bits;
        let coder = &mut self.coders[coder];
        let (Some(dc), Some(ac)) = (coder.dc, coder.ac) else {
            return 0;
        };
        coder.previous = coder.previous.wrapping_add(difference(bits, dc));
        block[0] = coder.previous as i16;

        let (mut k, mut last) = (1, 0);
        while k < 64 {
            bits.refill();
            let (value, run, length) = ac.value(bits);
            let value = if length > 0 {
                bits.drop(length.into());
                k += usize::from(run);
                value
            } else {
                let symbol = ac.symbol(bits);
                let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                if size == 0 {
                    if run < 15 {
                        break;
                    }
                    k += 16;
                    continue;
                }
                k += run;
                extend(bits.take(size), size) as i16
            };
            last = k.min(63);
            block[usize::from(ZIGZAG[k])] = value;
            k += 1;
        }
        last
    }

    fn dc_first(&mut self, coder: usize, block: &mut [i16; 64]) {
        let coder = &mut self.coders[coder];
        let Some(dc) = coder.dc else { return };
        coder.previous = coder.previous.wrapping_add(difference(&mut self.bits, dc));
        block[0] = (coder.previous << self.scan.shift) as i16;
    }

    fn ac_first(&mut self, coder: usize, block: &mut [i16; 64]) {
        if self.end_of_band > 0 {
            self.end_of_band -= 1;
            return;
        }
        let bits = &mut self.bits;
        let Some(ac) = self.coders[coder].ac else {
            return;
        };
        let mut k = usize::from(self.scan.first);
        while k <= usize::from(self.scan.last) {
            bits.refill();
            let symbol = ac.symbol(bits);
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size > 0 {
                k += run as usize;
                let value = extend(bits.take(size), size) << self.scan.shift;
                block[usize::from(ZIGZAG[k])] = value as i16;
                k += 1;
            } else if run == 15 {
                k += 16;
            } else {
                self.end_of_band = (1 << run) + bits.take(run) - 1;
                break;
            }
        }
    }

    /// A bit more of each coefficient that is known, and new ones of that bit between them.
    fn ac_refine(&mut self, coder: usize, block: &mut [i16; 64]) {
        let bits = &mut self.bits;
        let Some(ac) = self.coders[coder].ac else {
            return;
        };
        let one = 1i16 << self.scan.shift;
        let last = usize::from(self.scan.last);
        let mut k = usize::from(self.scan.first);
        if self.end_of_band == 0 {
            while k <= last {
                bits.refill();
                let symbol = ac.symbol(bits);
                let (mut run, size) = (u32::from(symbol >> 4), symbol & 15);
                let mut new = 0;
                if size > 0 {
                    new = if bits.take(1) == 1 { one } else { -one };
                } else if run < 15 {
                    self.end_of_band = (1 << run) + bits.take(run);
                    break;
                }
                // Over known coefficients, refining them, and `run` unknown ones.
                while k <= last {
                    let coefficient = &mut block[usize::from(ZIGZAG[k])];
                    if *coefficient != 0 {
                        refine(bits, coefficient, one);
                    } else if run == 0 {
                        break;
                    } else {
                        run -= 1;
                    }
                    k += 1;
                }
                if new != 0 {
                    block[usize::from(ZIGZAG[k])] = new;
                }
                k += 1;
            }
        }
        if self.end_of_band > 0 {
            while k <= last {
                let coefficient = &mut block[usize::from(ZIGZAG[k])];
                if *coefficient != 0 {
                    refine(bits, coefficient, one);
                }
                k += 1;
            }
            self.end_of_band -= 1;
        }
    }
}

fn refine(bits: &mut Bits<'_>, coefficient: &mut i16, one: i16) {
    if bits.bit() && *coefficient & one == 0 {
        let step = if *coefficient >= 0 { one } else { -one };
        *coefficient = coefficient.wrapping_add(step);
    }
}

/// The difference of a DC value from the one before.
fn difference(bits: &mut Bits<'_>, dc: &Huffman) -> i32 {
    bits.refill();
    let size = u32::from(dc.symbol(bits));
    extend(bits.take(size), size)
}
