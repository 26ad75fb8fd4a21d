//! What a file is by its first bytes; names and content types are never believed.

use sightline_core::ImageFormat;

/// What some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sniffed {
    /// A format that is decoded here.
    Image(ImageFormat),
    /// Something else that is recognised, so that the message can name it.
    Foreign(Foreign),
}

/// Recognised, but not decoded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Foreign {
    /// AV1 image.
    Avif,
    /// HEVC image.
    Heic,
    /// Windows icon or cursor.
    Ico,
    /// JPEG 2000.
    Jp2,
    /// JPEG XL.
    Jxl,
    /// Photoshop document.
    Psd,
    /// Vector graphics.
    Svg,
    /// A web page.
    Html,
    /// JSON text.
    Json,
    /// A PDF document.
    Pdf,
    /// A gzip stream.
    Gzip,
}

impl Foreign {
    /// The usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avif => "AVIF",
            Self::Heic => "HEIC",
            Self::Ico => "ICO",
            Self::Jp2 => "JPEG 2000",
            Self::Jxl => "JPEG XL",
            Self::Psd => "PSD",
            Self::Svg => "SVG",
            Self::Html => "HTML",
            Self::Json => "JSON",
            Self::Pdf => "PDF",
            Self::Gzip => "gzip",
        }
    }

    /// Whether it is an image all the same.
    pub fn is_image(self) -> bool {
        !matches!(self, Self::Html | Self::Json | Self::Pdf | Self::Gzip)
    }
}

/// What `bytes` are, by magic numbers only; `None` when nothing is recognised. The first kilobyte of
/// a file is enough.
pub fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    image(bytes)
        .map(Sniffed::Image)
        .or_else(|| foreign(bytes).map(Sniffed::Foreign))
}

fn image(bytes: &[u8]) -> Option<ImageFormat> {
    Some(match bytes {
        [0xff, 0xd8, 0xff, ..] => ImageFormat::Jpg,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => ImageFormat::Png,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => ImageFormat::Gif,
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => ImageFormat::Webp,
        [b'B', b'M', ..] => ImageFormat::Bmp,
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => ImageFormat::Tiff,
        [b'P', b'1'..=b'6', b' ' | b'\t' | b'\n' | b'\r' | b'#', ..] => ImageFormat::Pnm,
        _ => return None,
    })
}

fn foreign(bytes: &[u8]) -> Option<Foreign> {
    match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => return iso_media(brand),
        [0, 0, 1 | 2, 0, 1..=255, ..] => return Some(Foreign::Ico),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => return Some(Foreign::Jxl),
        [0xff, 0x4f, 0xff, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => {
            return Some(Foreign::Jp2);
        }
        [b'8', b'B', b'P', b'S', ..] => return Some(Foreign::Psd),
        [b'%', b'P', b'D', b'F', ..] => return Some(Foreign::Pdf),
        [0x1f, 0x8b, 8, ..] => return Some(Foreign::Gzip),
        _ => {}
    }
    text(bytes)
}

/// AVIF and HEIC are boxes of the ISO base media format; a few of the brands tell them apart.
fn iso_media(brands: &[u8]) -> Option<Foreign> {
    brands
        .chunks_exact(4)
        .take(8)
        .find_map(|brand| match brand {
            b"avif" | b"avis" => Some(Foreign::Avif),
            b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1" => {
                Some(Foreign::Heic)
            }
            _ => None,
        })
}

fn text(bytes: &[u8]) -> Option<Foreign> {
    let head = &bytes[..bytes.len().min(1024)];
    let head = head.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(head);
    let head = head.trim_ascii_start().to_ascii_lowercase();
    let holds = |needle: &[u8]| head.windows(needle.len()).any(|window| window == needle);
    match head.first()? {
        b'<' if holds(b"<svg") => Some(Foreign::Svg),
        b'<' if holds(b"<html")
            || holds(b"<!doctype html")
            || holds(b"<head")
            || holds(b"<body") =>
        {
            Some(Foreign::Html)
        }
        b'{' | b'[' if holds(b"\"") => Some(Foreign::Json),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        let image = |bytes: &[u8]| match sniff(bytes) {
            Some(Sniffed::Image(format)) => Some(format),
            _ => None,
        };
        assert_eq!(image(b"\xff\xd8\xff\xe0"), Some(ImageFormat::Jpg));
        assert_eq!(image(b"\x89PNG\r\n\x1a\n\0"), Some(ImageFormat::Png));
        assert_eq!(image(b"GIF89a"), Some(ImageFormat::Gif));
        assert_eq!(image(b"RIFF\0\0\0\0WEBPVP8 "), Some(ImageFormat::Webp));
        assert_eq!(image(b"BM\0\0"), Some(ImageFormat::Bmp));
        assert_eq!(image(b"II*\0"), Some(ImageFormat::Tiff));
        assert_eq!(image(b"MM\0*"), Some(ImageFormat::Tiff));
        assert_eq!(image(b"P6\n1 1\n255\n"), Some(ImageFormat::Pnm));
        assert_eq!(image(b"P7\n"), None);
        assert_eq!(image(b"RIFF\0\0\0\0WAVE"), None);
    }

    #[test]
    fn others_are_named() {
        let foreign = |bytes: &[u8]| match sniff(bytes) {
            Some(Sniffed::Foreign(foreign)) => Some(foreign.name()),
            _ => None,
        };
        assert_eq!(foreign(b"\0\0\0\x1cftypavif\0\0\0\0"), Some("AVIF"));
        assert_eq!(foreign(b"\0\0\0\x1cftypmif1\0\0\0\0heic"), Some("HEIC"));
        assert_eq!(foreign(b"  <!DOCTYPE html><p>"), Some("HTML"));
        assert_eq!(foreign(b"<?xml version='1.0'?><svg/>"), Some("SVG"));
        assert_eq!(foreign(b"{\"error\": 404}"), Some("JSON"));
        assert_eq!(foreign(b"\0\0\x01\0\x01\0"), Some("ICO"));
        assert_eq!(foreign(b"hello"), None);
        assert_eq!(sniff(b""), None);
    }
}
