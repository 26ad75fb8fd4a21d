//! Segments of a JPEG file and what they say.

use sightline_core::image_spec::Size;

use super::super::{DecodeError, malformed, truncated};
use super::huffman::Huffman;
use super::{FORMAT, standard};

/// Position of each coefficient of the zigzag order in rows of eight; damaged data may count up to 15
/// beyond the last one.
pub(super) const ZIGZAG: [u8; 80] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63,
];

/// The next marker at or after `at` and the place of its `ff`; bytes between segments are passed over,
/// as libjpeg does.
pub(super) fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let mut at = at;
    loop {
        at += bytes.get(at..)?.iter().position(|&b| b == 0xff)?;
        match *bytes.get(at + 1)? {
            0 => at += 2,
            // Any number of fill bytes may stand before a marker.
            0xff => at += 1,
            marker => return Some((marker, at)),
        }
    }
}

/// The content of the segment whose marker is at `start`, and where it ends.
pub(super) fn segment(bytes: &[u8], start: usize) -> Result<(&[u8], usize), DecodeError> {
    let cut = || truncated(FORMAT, "file ends within a segment");
    let length: [u8; 2] = *bytes
        .get(start + 2..)
        .and_then(<[u8]>::first_chunk)
        .ok_or_else(cut)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length < 2 {
        return Err(malformed(FORMAT, format!("segment of length {length}")));
    }
    let end = start + 2 + length;
    let content = bytes.get(start + 4..end).ok_or_else(cut)?;
    Ok((content, end))
}

/// Tables that segments define and later scans use; each may be defined again.
#[derive(Default)]
pub(super) struct Tables {
    /// In rows of eight, not in zigzag order.
    pub(super) quantisation: [Option<[u16; 64]>; 4],
    pub(super) dc: [Option<Huffman>; 4],
    pub(super) ac: [Option<Huffman>; 4],
    /// Blocks groups between restart markers; 0 for none.
    pub(super) restart_interval: u32,
}

impl Tables {
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
            *slot = Some(Huffman::new(counts, symbols, is_dc).map_err(|e| malformed(FORMAT, e))?);
            content = rest;
        }
        Ok(())
    }

    /// Puts the tables of the standard where a sequential file defines none.
    pub(super) fn fill_in_standard(&mut self) {
        for (number, slot) in self.dc.iter_mut().enumerate() {
            *slot = slot.take().or_else(|| standard::dc(number));
        }
        for (number, slot) in self.ac.iter_mut().enumerate() {
            *slot = slot.take().or_else(|| standard::ac(number));
        }
    }

    pub(super) fn read_restart_interval(&mut self, content: &[u8]) -> Result<(), DecodeError> {
        let &[high, low] = content else {
            return Err(malformed(FORMAT, "restart interval of another length"));
        };
        self.restart_interval = u16::from_be_bytes([high, low]).into();
        Ok(())
    }
}

/// How a file stores colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Grey,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

/// The frame header.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) size: Size,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
    /// Largest sampling factors.
    pub(super) h_max: u32,
    pub(super) v_max: u32,
}

/// One component of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    id: u8,
    /// Sampling factors, 1 to 4.
    pub(super) h: u32,
    pub(super) v: u32,
    /// Number of its quantisation table.
    pub(super) table: u8,
}

impl Frame {
    pub(super) fn read(content: &[u8], progressive: bool) -> Result<Self, DecodeError> {
        let [precision, h0, h1, w0, w1, count, components @ ..] = content else {
            return Err(malformed(FORMAT, "frame header is too short"));
        };
        if *precision != 8 {
            return Err(DecodeError::Unsupported {
                what: format!("JPEG with {precision} bits a sample"),
            });
        }
        let size = Size {
            width: u16::from_be_bytes([*w0, *w1]).into(),
            height: u16::from_be_bytes([*h0, *h1]).into(),
        };
        if size.width == 0 || size.height == 0 {
            return Err(malformed(FORMAT, "image without rows or columns"));
        }
        let (given, rest) = components.as_chunks::<3>();
        if given.len() != usize::from(*count) || !rest.is_empty() {
            return Err(malformed(FORMAT, "frame header of another length"));
        }
        if !matches!(given.len(), 1 | 3 | 4) {
            return Err(DecodeError::Unsupported {
                what: format!("JPEG with {count} components"),
            });
        }
        let components: Vec<Component> = given
            .iter()
            .map(|&[id, sampling, table]| Component {
                id,
                h: u32::from(sampling >> 4),
                v: u32::from(sampling & 15),
                table,
            })
            .collect();
        let in_range = |factor: u32| (1..=4).contains(&factor);
        if !components.iter().all(|c| in_range(c.h) && in_range(c.v)) {
            return Err(malformed(FORMAT, "sampling factor out of range"));
        }
        let h_max = components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = components.iter().map(|c| c.v).max().unwrap_or(1);
        if components
            .iter()
            .any(|c| h_max % c.h != 0 || v_max % c.v != 0)
        {
            return Err(DecodeError::Unsupported {
                what: "JPEG with fractional sampling".to_owned(),
            });
        }
        Ok(Self {
            size,
            progressive,
            components,
            h_max,
            v_max,
        })
    }

    /// The colour space by libjpeg's rules.
    pub(super) fn colour(&self, jfif: bool, adobe: Option<u8>) -> Result<Colour, DecodeError> {
        let ids: Vec<u8> = self.components.iter().map(|c| c.id).collect();
        match (ids.as_slice(), adobe) {
            ([_], _) => Ok(Colour::Grey),
            ([_, _, _], _) if jfif => Ok(Colour::YCbCr),
            ([_, _, _], Some(0)) | ([b'R', b'G', b'B'], None) => Ok(Colour::Rgb),
            ([_, _, _], _) => Ok(Colour::YCbCr),
            ([_, _, _, _], None | Some(0)) => Ok(Colour::Cmyk),
            ([_, _, _, _], Some(_)) => Ok(Colour::Ycck),
            _ => Err(malformed(FORMAT, "no colour space")),
        }
    }

    /// Columns and rows of blocks groups (MCUs) when all components are interleaved.
    pub(super) fn mcus(&self) -> (u32, u32) {
        (
            self.size.width.div_ceil(8 * self.h_max),
            self.size.height.div_ceil(8 * self.v_max),
        )
    }

    /// Columns and rows of samples that a component really has.
    pub(super) fn samples(&self, component: &Component) -> (u32, u32) {
        (
            (self.size.width * component.h).div_ceil(self.h_max),
            (self.size.height * component.v).div_ceil(self.v_max),
        )
    }
}

/// The header of a scan.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) components: Vec<ScanComponent>,
    /// First and last coefficient, in zigzag order.
    pub(super) first: u8,
    pub(super) last: u8,
    /// Whether a bit is added to coefficients that earlier scans began.
    pub(super) refine: bool,
    /// The bit that the scan ends with.
    pub(super) shift: u8,
}

/// A component in a scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanComponent {
    /// Position in the frame.
    pub(super) index: usize,
    /// Numbers of its Huffman tables.
    pub(super) dc: usize,
    pub(super) ac: usize,
}

impl Scan {
    pub(super) fn read(content: &[u8], frame: &Frame) -> Result<Self, DecodeError> {
        let short = || malformed(FORMAT, "scan header of another length");
        let (&count, rest) = content.split_first().ok_or_else(short)?;
        let (pairs, rest) = rest
            .split_at_checked(2 * usize::from(count))
            .ok_or_else(short)?;
        let &[first, last, bits] = rest else {
            return Err(short());
        };
        let mut components: Vec<ScanComponent> = Vec::new();
        for &[id, tables] in pairs.as_chunks::<2>().0 {
            let index = frame
                .components
                .iter()
                .enumerate()
                .position(|(i, c)| c.id == id && components.iter().all(|seen| seen.index != i))
                .ok_or_else(|| malformed(FORMAT, format!("scan of an unknown component {id}")))?;
            components.push(ScanComponent {
                index,
                dc: usize::from(tables >> 4),
                ac: usize::from(tables & 15),
            });
        }
        if !(1..=4).contains(&components.len()) {
            return Err(malformed(FORMAT, format!("scan of {count} components")));
        }
        let blocks: u32 = components
            .iter()
            .map(|c| frame.components[c.index].h * frame.components[c.index].v)
            .sum();
        if components.len() > 1 && blocks > 10 {
            return Err(malformed(
                FORMAT,
                format!("{blocks} blocks in a group, limit is 10"),
            ));
        }
        let scan = Self {
            components,
            first,
            last,
            refine: bits >> 4 != 0,
            shift: bits & 15,
        };
        if frame.progressive {
            scan.check_progression(bits >> 4)?;
        }
        Ok(scan)
    }

    fn check_progression(&self, previous: u8) -> Result<(), DecodeError> {
        let band = if self.first == 0 {
            self.last == 0
        } else {
            self.first <= self.last && self.last < 64 && self.components.len() == 1
        };
        let approximation =
            self.shift <= 13 && (previous == 0 || previous.checked_sub(1) == Some(self.shift));
        if band && approximation {
            return Ok(());
        }
        Err(malformed(
            FORMAT,
            format!(
                "progressive scan of coefficients {} to {}, bits {previous} to {}",
                self.first, self.last, self.shift
            ),
        ))
    }
}
