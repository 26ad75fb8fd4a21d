//! Where EXIF begins in a file.

use super::ExifError;

/// How far behind the segments that precede it EXIF is searched in a JPEG.
const JPEG_WINDOW: usize = 4000;

/// Position of the TIFF header, which begins with the byte order; `None` for files without EXIF.
pub(super) fn tiff_header(file: &[u8]) -> Result<Option<usize>, ExifError> {
    match file {
        [b'I', b'I', ..] | [b'M', b'M', ..] => Ok(Some(0)),
        // The standard demands a handler box, at which the program fails.
        [
            _,
            _,
            _,
            _,
            b'f',
            b't',
            b'y',
            b'p',
            b'h',
            b'e',
            b'i',
            b'c',
            ..,
        ] => Err(ExifError::Heic),
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
        ] => webp(file),
        [0xff, 0xd8, ..] => jpeg(file),
        _ => Ok(None),
    }
}

/// Walks the chunks of a WebP file. Paddings of odd chunks are not skipped.
fn webp(file: &[u8]) -> Result<Option<usize>, ExifError> {
    if file.get(12..16) != Some(b"VP8X") {
        return Ok(None);
    }
    // The program takes the length of the header for its flags.
    let flags = file.get(16).ok_or(ExifError::NoSegment)?;
    if flags & 8 == 0 {
        return Ok(None);
    }
    let mut at = 30;
    while let Some((name, len)) = chunk(file, at) {
        if name == b"EXIF" {
            return Ok(Some(at + 8));
        }
        at += 8 + len;
    }
    Ok(None)
}

/// Name and length of the chunk at `at`.
fn chunk(file: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (name, rest) = file.get(at..)?.split_at_checked(4)?;
    let len = rest.first_chunk::<4>()?;
    Some((name, u32::from_le_bytes(*len) as usize))
}

/// Walks the segments of a JPEG file.
fn jpeg(file: &[u8]) -> Result<Option<usize>, ExifError> {
    const LEADING: [&[u8]; 4] = [b"JFIF", b"JFXX", b"OLYM", b"Phot"];
    const MARKED: [&[u8]; 3] = [b"Exif", b"Ducky", b"Adobe"];

    if file.len() < 4 {
        return Err(ExifError::NoSegment);
    }
    let mut at = 2;
    while *file.get(at).ok_or(ExifError::NoSegment)? == 0xff
        && LEADING.iter().any(|word| has_word(file, at, word))
    {
        match be16(file, at + 2) {
            Some(len @ 8..) => at += 2 + len,
            _ => return Err(ExifError::NoSegment),
        }
    }

    let window = &file[..file.len().min(at + JPEG_WINDOW)];
    loop {
        let marker = window.get(at..at + 2).unwrap_or_default();
        let len = be16(window, at + 2);
        match (marker, len) {
            ([0xff, 0xe1], Some(_)) if has_word(window, at, b"Exif") => return Ok(Some(at + 10)),
            // Quantisation tables end the search, unless they look like EXIF themselves.
            ([0xff, 0xdb], _) => {
                let first = window.get(at + 2).ok_or(ExifError::NoSegment)?;
                let is_marked = MARKED.iter().any(|word| has_word(window, at + 2, word));
                return Ok((*first == 0xff && is_marked).then_some(at + 12));
            }
            (_, Some(len)) => at += 2 + len,
            ([0xff, 0xd8 | 0xe0 | 0xe1 | 0xe2 | 0xec | 0xee], None) => {
                return Err(ExifError::NoSegment);
            }
            (_, None) => return Ok(None),
        }
    }
}

/// Whether the segment at `at` begins with `word`, behind its marker and length.
fn has_word(file: &[u8], at: usize, word: &[u8]) -> bool {
    file.get(at + 4..at + 4 + word.len()) == Some(word)
}

fn be16(file: &[u8], at: usize) -> Option<usize> {
    let number = file.get(at..)?.first_chunk::<2>()?;
    Some(usize::from(u16::from_be_bytes(*number)))
}
