//! Segments of a JPEG file and what they say.

use sightline_core::image_spec::Size;

use super::super::{DecodeError, malformed, truncated};
use super::FORMAT;
use super::few::Few;

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
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) size: Size,
    pub(super) progressive: bool,
    pub(super) components: Few<Component>,
    /// Largest sampling factors.
    pub(super) h_max: u32,
    pub(super) v_max: u32,
}

/// One component of a frame.
#[derive(Clone, Copy, Debug, Default)]
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
        let mut components: Few<Component> = given
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
        // Its factors mean nothing to a component that is alone.
        if let [alone] = &mut *components {
            (alone.h, alone.v) = (1, 1);
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
        let ids: Few<u8> = self.components.iter().map(|c| c.id).collect();
        match (&*ids, adobe) {
            ([_], _) => Ok(Colour::Grey),
            ([_, _, _], _) if jfif => Ok(Colour::YCbCr),
            ([_, _, _], Some(0)) | ([b'R', b'G', b'B'], None) => Ok(Colour::Rgb),
            ([_, _, _], _) => Ok(Colour::YCbCr),
            ([_, _, _, _], None | Some(0)) => Ok(Colour::Cmyk),
            ([_, _, _, _], Some(_)) => Ok(Colour::Ycck),
            _ => Err(malformed(FORMAT, "no colour space")),
        }
    }
}

/// The header of a scan.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) components: Few<ScanComponent>,
    /// First and last coefficient, in zigzag order.
    pub(super) first: u8,
    pub(super) last: u8,
    /// Whether a bit is added to coefficients that earlier scans began.
    pub(super) refine: bool,
    /// The bit that the scan ends with.
    pub(super) shift: u8,
}

/// A component in a scan.
#[derive(Clone, Copy, Debug, Default)]
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
        if !(1..=4).contains(&count) {
            return Err(malformed(FORMAT, format!("scan of {count} components")));
        }
        let mut components = Few::<ScanComponent>::default();
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
