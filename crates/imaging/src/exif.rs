//! The EXIF tags of a file as text, in the words of ExifRead-nocycle 3.0.1, which img2dataset calls.
//!
//! [`exif`] gives for any bytes what that program's `process_file(file, details=False)` gives: the same
//! tags, in the same order, with the same names and texts. So it also follows the program where it leaves
//! the standard:
//!
//! | what | what becomes of it |
//! | --- | --- |
//! | PNG, GIF, BMP, PNM and AVIF files | no tags, whatever they hold |
//! | a JPEG segment beyond the first 4000 bytes behind the JFIF ones | not found |
//! | the EXIF chunk of a WebP file behind a chunk of odd length | not found |
//! | a HEIC file | [`ExifError::Heic`]: the program ends with an exception at its handler box |
//! | numbers of one byte (BYTE, UNDEFINED) | 0, so that versions are empty texts |
//! | 1000 numbers and more | none, `[]` |
//! | maker notes, user comments, XMP | left out; thumbnails too, but not their tags |
//! | a second tag of the same name | takes the place of the first |
//! | a number that is cut by the end of the file | an error for all tags, see [`ExifError`] |
//!
//! Python 3.11 shows in the texts: lists in brackets, fractions reduced, floats as tuples of one, texts that
//! are not UTF-8 as bytes. Letters that Unicode 14 does not know may differ where `repr` escapes them. The
//! program has no limits; here a file that needs too much is [`ExifError::TooMuch`].
//!
//! ```
//! use sightline_imaging::exif::exif;
//!
//! let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
//! assert_eq!(exif(tiff)?["Image Orientation"], "Rotated 90 CW");
//! assert!(exif(b"\x89PNG\r\n\x1a\n")?.is_empty());
//! # Ok::<(), sightline_imaging::exif::ExifError>(())
//! ```

mod container;
mod directory;
mod tags;
mod value;
mod words;

use sightline_core::Metadata;

/// What may be read for the tags of one file, in bytes, those read twice counted twice. Files whose
/// directories overlap would otherwise take hours.
const MAX_BYTES_READ: usize = 8 << 20;

/// Longest text of all tags of a file together, in bytes. The EXIF segment of a JPEG has 64 KiB.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// Why a file has no tags at all. Except for [`ExifError::TooMuch`] the program ends with an exception,
/// and img2dataset records no EXIF, which is not the same as EXIF without tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExifError {
    /// The file ends within the segment or chunk that may hold EXIF.
    #[error("the file ends where its EXIF may begin")]
    NoSegment,
    /// EXIF does not begin with the name of a byte order.
    #[error("EXIF names no byte order")]
    NoByteOrder,
    /// The file ends within a number.
    #[error("the file ends within a number at byte {at}")]
    CutNumber {
        /// Where the number begins.
        at: i64,
    },
    /// A position lies before the beginning of the file.
    #[error("position {at} is before the file")]
    BeforeFile {
        /// The position.
        at: i64,
    },
    /// The tag that leads to another directory holds no number, or one divided by zero.
    #[error("a tag leads to no directory")]
    NoDirectory,
    /// EXIF in HEIC files is not read.
    #[error("EXIF in HEIC files is not read")]
    Heic,
    /// The program would give tags, after a long time or with very long texts.
    #[error(
        "tags need more than {MAX_BYTES_READ} bytes read or have more than {MAX_TEXT_BYTES} bytes of text"
    )]
    TooMuch,
}

/// The tags of `file` by name, each a text; none when it is of a kind that holds no EXIF, or holds none.
pub fn exif(file: &[u8]) -> Result<Metadata, ExifError> {
    match container::tiff_header(file)? {
        Some(at) => directory::tags(file, at),
        None => Ok(Metadata::new()),
    }
}
