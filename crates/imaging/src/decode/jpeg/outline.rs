//! What a JPEG file is, from its headers alone: another decoder may be asked for the rest.

use sightline_core::image_spec::Size;

use super::super::{DecodeError, malformed, truncated};
use super::header::{Colour, Frame, next_marker, segment};
use super::{FORMAT, Limits};
use crate::orient::orientation_of;

/// The headers of a JPEG file in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegOutline {
    /// Size as stored.
    pub size: Size,
    /// How it is coded.
    pub kind: JpegKind,
    /// EXIF orientation, 1 to 8.
    pub orientation: u8,
    /// Whether the last bytes are the marker that ends an image. If not, the file may be cut off, or have something else
    /// behind it.
    pub is_closed: bool,
}

/// How a JPEG file is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JpegKind {
    /// YCbCr, one scan after the other, 8 bits a sample: what cameras write.
    Baseline,
    /// The same in shades of grey.
    BaselineGrey,
    /// YCbCr or grey that gets finer scan by scan.
    Progressive,
    /// Colours that are stored as RGB, CMYK or YCCK.
    OtherColours,
}

impl JpegOutline {
    /// Reads the headers up to the frame's. Errors are those that decoding would end with.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        limits.check_bytes(bytes.len())?;
        if !bytes.starts_with(&[0xff, 0xd8]) {
            return Err(malformed(FORMAT, "no start of image"));
        }
        let (mut jfif, mut adobe, mut orientation, mut at) = (false, None, 1, 2);
        loop {
            let (marker, start) = next_marker(bytes, at)
                .ok_or_else(|| truncated(FORMAT, "no end-of-image marker"))?;
            if matches!(marker, 0x01 | 0xd0..=0xd7) {
                at = start + 2;
                continue;
            }
            if marker == 0xd9 || marker == 0xda {
                return Err(malformed(FORMAT, "a scan before the frame header"));
            }
            let (content, end) = segment(bytes, start)?;
            at = end;
            match marker {
                0xc0..=0xc2 => {
                    let frame = Frame::read(content, marker == 0xc2)?;
                    let Size { width, height } = frame.size;
                    limits.check_size(width.into(), height.into())?;
                    let kind = match frame.colour(jfif, adobe)? {
                        Colour::Grey | Colour::YCbCr if frame.progressive => JpegKind::Progressive,
                        Colour::Grey => JpegKind::BaselineGrey,
                        Colour::YCbCr => JpegKind::Baseline,
                        Colour::Rgb | Colour::Cmyk | Colour::Ycck => JpegKind::OtherColours,
                    };
                    return Ok(Self {
                        size: frame.size,
                        kind,
                        orientation,
                        is_closed: bytes.ends_with(&[0xff, 0xd9]),
                    });
                }
                0xc3 | 0xc5..=0xcb | 0xcd..=0xcf => {
                    return Err(DecodeError::Unsupported {
                        what: format!(
                            "JPEG (arithmetic, lossless or hierarchical, marker {marker:x})"
                        ),
                    });
                }
                0xe0 if content.starts_with(b"JFIF\0") => jfif = true,
                0xe1 if content.starts_with(b"Exif\0\0") => orientation = orientation_of(content),
                0xee if content.starts_with(b"Adobe") => adobe = content.get(11).copied().or(adobe),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Channels, EncodeSpec, Pixels, encode};

    fn outline(bytes: &[u8]) -> Result<JpegOutline, DecodeError> {
        JpegOutline::read(bytes, &Limits::default())
    }

    #[test]
    fn headers_say_what_a_file_is() {
        let file = |channels, colour: &[u8]| {
            let pixels = Pixels::filled(21, 9, channels, colour).unwrap();
            encode(&pixels, &EncodeSpec::default()).unwrap()
        };
        let rgb = file(Channels::Rgb, &[10, 200, 30]);
        let size = Size {
            width: 21,
            height: 9,
        };
        let expected = JpegOutline {
            size,
            kind: JpegKind::Baseline,
            orientation: 1,
            is_closed: true,
        };
        assert_eq!(outline(&rgb), Ok(expected));
        let grey = outline(&file(Channels::Grey, &[7])).unwrap();
        assert_eq!(grey.kind, JpegKind::BaselineGrey);
        let cut = outline(&rgb[..rgb.len() - 1]).unwrap();
        assert!(!cut.is_closed && cut.size == size);
        let mut progressive = rgb.clone();
        let frame = progressive
            .windows(2)
            .position(|two| two == [0xff, 0xc0])
            .unwrap();
        progressive[frame + 1] = 0xc2;
        assert_eq!(outline(&progressive).unwrap().kind, JpegKind::Progressive);
        progressive[frame + 1] = 0xc9;
        assert_eq!(
            outline(&progressive).unwrap_err().class(),
            "unsupported-format"
        );
    }

    #[test]
    fn what_is_cut_or_no_jpeg_is_an_error() {
        let pixels = Pixels::filled(8, 8, Channels::Rgb, &[1, 2, 3]).unwrap();
        let file = encode(&pixels, &EncodeSpec::default()).unwrap();
        for end in 0..file.len() {
            if let Err(error) = outline(&file[..end]) {
                assert!(
                    matches!(error.class(), "truncated" | "malformed"),
                    "{end}: {error}"
                );
            }
        }
        assert!(outline(b"\x89PNG\r\n").is_err());
        let small = Limits {
            max_side: 7,
            ..Limits::default()
        };
        assert_eq!(
            JpegOutline::read(&file, &small).unwrap_err().class(),
            "side-too-long"
        );
    }
}
