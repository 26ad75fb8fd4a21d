//! Quantisation and Huffman tables, which segments define and later scans use.

use super::super::{DecodeError, malformed};
use super::header::{Frame, Scan, ScanComponent};
use super::huffman::Huffman;
use super::{FORMAT, standard};

/// Position of each coefficient of the zigzag order in rows of eight; damaged data may count up to 15
/// beyond the last one. As many as seven bits count, so that no place has to be checked.
pub(super) const ZIGZAG: [u8; 128] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63,
];

/// Tables that segments define and later scans use; each may be defined again. Their memory stays from file to file,
/// and so do Huffman tables that the next file defines again.
#[derive(Default)]
pub(super) struct Tables {
    /// In rows of eight, not in zigzag order.
    pub(super) quantisation: [Option<[u16; 64]>; 4],
    dc: [Slot; 4],
    ac: [Slot; 4],
    /// MCUs between restart markers; 0 for none.
    pub(super) restart_interval: u32,
}

/// Where a Huffman table is kept.
#[derive(Default)]
struct Slot {
    /// Whether the file at hand defines it.
    defined: bool,
    table: Option<Box<Huffman>>,
}

impl Slot {
    fn define(
        &mut self,
        (counts, symbols): (&[u8; 16], &[u8]),
        is_dc: bool,
    ) -> Result<(), &'static str> {
        self.defined = false;
        let table = self.table.get_or_insert_default();
        if !table.has(counts, symbols) {
            table.set(counts, symbols, is_dc)?;
        }
        self.defined = true;
        Ok(())
    }

    fn get(&self) -> Option<&Huffman> {
        self.table.as_deref().filter(|_| self.defined)
    }

    fn get_mut(&mut self) -> Option<&mut Huffman> {
        self.table.as_deref_mut().filter(|_| self.defined)
    }
}

impl Tables {
    /// Forgets what the file before defined.
    pub(super) fn begin(&mut self) {
        self.quantisation = Default::default();
        self.restart_interval = 0;
        for slot in self.dc.iter_mut().chain(&mut self.ac) {
            slot.defined = false;
        }
    }

    pub(super) fn read_quantisation(&mut self, mut content: &[u8]) -> Result<(), DecodeError> {
        let short = || malformed(FORMAT, "quantisation table is too short");
        while let [head, rest @ ..] = content {
            let (wide, index) = (head >> 4 != 0, usize::from(head & 15));
            let slot = self
                .quantisation
                .get_mut(index)
                .ok_or_else(|| malformed(FORMAT, format!("quantisation table number {index}")))?;
            let len = if wide { 128 } else { 64 };
            let (values, rest) = rest.split_at_checked(len).ok_or_else(short)?;
            let mut table = [0; 64];
            for (i, &to) in ZIGZAG[..64].iter().enumerate() {
                table[usize::from(to)] = if wide {
                    u16::from_be_bytes([values[2 * i], values[2 * i + 1]])
                } else {
                    values[i].into()
                };
            }
            *slot = Some(table);
            content = rest;
        }
        Ok(())
    }

    pub(super) fn read_huffman(&mut self, mut content: &[u8]) -> Result<(), DecodeError> {
        let short = || malformed(FORMAT, "Huffman table is too short");
        while let [head, rest @ ..] = content {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
            let total: usize = counts.iter().map(|&n| usize::from(n)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or_else(short)?;
            let number = || malformed(FORMAT, format!("Huffman table number {head:x}"));
            let is_dc = head & 0x10 == 0;
            let slots = if is_dc { &mut self.dc } else { &mut self.ac };
            let slot = slots.get_mut(usize::from(head & 0xef)).ok_or_else(number)?;
            slot.define((counts, symbols), is_dc)
                .map_err(|e| malformed(FORMAT, e))?;
            content = rest;
        }
        Ok(())
    }

    /// Puts the tables of the standard where a sequential file defines none.
    pub(super) fn fill_in_standard(&mut self) {
        let (dc, ac) = (&mut self.dc, &mut self.ac);
        let standard = [(dc, &standard::DC, true), (ac, &standard::AC, false)];
        for (slots, codes, is_dc) in standard {
            for (slot, (counts, symbols)) in slots.iter_mut().zip(codes) {
                // Those of the standard are sound.
                slot.defined = slot.defined || slot.define((counts, symbols), is_dc).is_ok();
            }
        }
    }

    /// Makes decoding the blocks of sequential scans faster.
    pub(super) fn prepare_to_decode(&mut self) {
        self.ac
            .iter_mut()
            .filter_map(Slot::get_mut)
            .for_each(Huffman::prepare_to_decode);
    }

    /// Makes passing over coefficients faster.
    pub(super) fn prepare_to_pass_over(&mut self) {
        self.ac
            .iter_mut()
            .filter_map(Slot::get_mut)
            .for_each(Huffman::prepare_to_pass_over);
    }

    pub(super) fn read_restart_interval(&mut self, content: &[u8]) -> Result<(), DecodeError> {
        let &[high, low] = content else {
            return Err(malformed(FORMAT, "restart interval of another length"));
        };
        self.restart_interval = u16::from_be_bytes([high, low]).into();
        Ok(())
    }

    /// The tables of a component in a scan; those that the scan needs are there.
    pub(super) fn of_component(
        &self,
        frame: &Frame,
        scan: &Scan,
        component: &ScanComponent,
    ) -> Result<ScanTables<'_>, DecodeError> {
        let number = usize::from(frame.components[component.index].table);
        let quantisation = self.quantisation.get(number).and_then(Option::as_ref);
        let missing = || malformed(FORMAT, format!("no quantisation table {number}"));
        let quantisation = quantisation.ok_or_else(missing)?;
        let dc = self.dc.get(component.dc).and_then(Slot::get);
        let ac = self.ac.get(component.ac).and_then(Slot::get);
        let needs_dc = scan.first == 0 && !scan.refine;
        let needs_ac = scan.first > 0;
        let needs = if frame.progressive {
            (needs_dc, needs_ac)
        } else {
            (true, true)
        };
        if (needs.0 && dc.is_none()) || (needs.1 && ac.is_none()) {
            return Err(malformed(FORMAT, "scan without its Huffman table"));
        }
        Ok(ScanTables {
            quantisation,
            dc,
            ac,
        })
    }
}

/// The tables of one component in a scan.
#[derive(Clone, Copy)]
pub(super) struct ScanTables<'a> {
    pub(super) quantisation: &'a [u16; 64],
    pub(super) dc: Option<&'a Huffman>,
    pub(super) ac: Option<&'a Huffman>,
}
