//! From a body to a stored image and its EXIF: sniff, decode, filter, resize, encode. CPU work for
//! rayon's threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use sightline_core::EncodedImage;
use sightline_imaging::hash::{ImageHash, phash};
use sightline_imaging::icc::{icc_profile, to_srgb};
use sightline_imaging::orient::upright_size;
use sightline_imaging::reshape::{ReshapeSpec, reshape_of};
use sightline_imaging::{
    DecodeError, DecodeOptions, Decoded, Decoder, EncodeSpec, Mode, RelativeBox,
    encode_with_profile, exif, image_format,
};
use sightline_shard::python_json;

use crate::spec::{FetchSpec, HashKind, IccMode, Reencode};
use crate::status::{DownloadError, FetchStatus, INTERNAL_ERROR};
use crate::table::Row;

/// The EXIF orientation of a file that is upright as it is stored.
const UPRIGHT: u8 = 1;

/// What became of a row.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: FetchStatus,
    /// `None` for a success.
    pub(crate) message: Option<String>,
    /// `Some` for a success.
    pub(crate) done: Option<Done>,
    /// Bytes of the body.
    pub(crate) downloaded: u64,
    /// Time on the network, waiting for a free connection left out.
    pub(crate) latency: Option<Duration>,
    /// Where the image is stored already, for a duplicate.
    pub(crate) duplicate_of: Option<String>,
}

/// A stored image.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) image: EncodedImage,
    /// Width and height as stored, then as decoded and turned upright; `None` of a file that was not decoded.
    pub(crate) sizes: Option<[i32; 4]>,
    /// Of the body, as JSON; `None` when it is damaged, or not wanted.
    pub(crate) exif: Option<String>,
    /// Of the body, in hexadecimal digits.
    pub(crate) digest: Option<String>,
    /// The perceptual hash of the picture as decoded, where pictures are compared.
    pub(crate) phash: Option<ImageHash>,
}

impl Outcome {
    pub(crate) fn failed(status: FetchStatus, message: impl Into<String>) -> Self {
        Self {
            status,
            message: Some(message.into()),
            done: None,
            downloaded: 0,
            latency: None,
            duplicate_of: None,
        }
    }

    pub(crate) fn not_downloaded(error: &DownloadError) -> Self {
        Self::failed(FetchStatus::FailedToDownload, error.to_string())
    }

    /// A row whose worker failed.
    pub(crate) fn internal_error() -> Self {
        Self::failed(FetchStatus::FailedToResize, INTERNAL_ERROR)
    }

    /// Memory that the outcome takes until it is written.
    pub(crate) fn len_bytes(&self) -> u64 {
        const OVERHEAD: u64 = 512;
        let len = |done: &Done| done.image.bytes.len() + done.exif.as_ref().map_or(0, String::len);
        OVERHEAD + self.done.as_ref().map_or(0, len) as u64
    }
}

/// Turns bodies into images.
#[derive(Debug)]
pub(crate) struct Processor {
    decode: DecodeOptions,
    /// As many as there are threads.
    decoders: Mutex<Vec<Decoder>>,
    image: ReshapeSpec,
    encode: EncodeSpec,
    reencode: Reencode,
    icc: IccMode,
    bbox_col: Option<String>,
    extract_exif: bool,
    needs_looks: bool,
    hash: Option<HashKind>,
    check: Option<HashKind>,
}

impl Processor {
    pub(crate) fn new(spec: &FetchSpec) -> Self {
        Self {
            decode: spec.decode,
            decoders: Mutex::default(),
            image: spec.image.clone(),
            encode: spec.encode,
            reencode: spec.reencode,
            icc: spec.icc,
            bbox_col: spec.bbox_col.clone(),
            extract_exif: spec.extract_exif,
            needs_looks: spec.dedup.needs_looks(),
            hash: spec.compute_hash,
            check: spec.verify_hash.as_ref().map(|check| check.kind),
        }
    }

    /// The outcome of `row`, whose body is `body`. A panic in a decoder costs the row, not the run.
    pub(crate) fn run(&self, body: &[u8], row: &Row) -> Outcome {
        let mut outcome = if self.is_other_than_expected(body, row) {
            Outcome::failed(FetchStatus::FailedToDownload, "hash mismatch")
        } else {
            self.made(body, row)
        };
        outcome.downloaded = body.len() as u64;
        outcome
    }

    /// Whether the table says that the body of `row` is another one.
    fn is_other_than_expected(&self, body: &[u8], row: &Row) -> bool {
        match (self.check, &row.check) {
            (Some(kind), Some(expected)) => !kind.digest(body).eq_ignore_ascii_case(expected),
            _ => false,
        }
    }

    fn made(&self, body: &[u8], row: &Row) -> Outcome {
        let made = catch_unwind(AssertUnwindSafe(|| self.image(body, row)));
        match made {
            Ok(Ok(done)) => Outcome {
                status: FetchStatus::Success,
                message: None,
                done: Some(done),
                downloaded: 0,
                latency: None,
                duplicate_of: None,
            },
            Ok(Err(message)) => Outcome::failed(FetchStatus::FailedToResize, message),
            Err(_) => Outcome::internal_error(),
        }
    }

    fn image(&self, body: &[u8], row: &Row) -> Result<Done, String> {
        let (bytes, sizes, phash) = if self.reencode == Reencode::Never {
            image_format(body, &self.decode.limits).map_err(|e| message(&e))?;
            (Bytes::copy_from_slice(body), None, None)
        } else {
            let (bytes, sizes, phash) = self.reshaped(body, row)?;
            (bytes, Some(sizes), phash)
        };
        Ok(Done {
            image: EncodedImage {
                format: self.encode.format,
                bytes,
            },
            sizes,
            exif: self.extract_exif.then(|| exif_text(body)).flatten(),
            digest: self.hash.map(|kind| kind.digest(body)),
            phash,
        })
    }

    /// Decodes with the memory of an earlier image, which no other thread is using.
    fn decoded(&self, body: &[u8]) -> Result<Decoded, DecodeError> {
        let spare = self
            .decoders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut decoder = spare.unwrap_or_default();
        let decoded = decoder.decode_rgb(body, &self.decode);
        self.decoders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(decoder);
        decoded
    }

    /// The file to store; its width and height, and those of the image as decoded; the perceptual hash of that, if wanted.
    fn reshaped(&self, body: &[u8], row: &Row) -> Result<Reshaped, String> {
        let cell = self
            .bbox_col
            .as_ref()
            .and_then(|column| row.columns.get(column));
        let boxes = cell.map_or(Ok(Vec::new()), boxes)?;
        let decoded = self.decoded(body).map_err(|e| message(&e))?;
        let orientation = if self.decode.orient {
            decoded.orientation
        } else {
            UPRIGHT
        };
        let original = upright_size(decoded.stored, orientation);
        // Pixels that the file does not show as they are stored have to be written.
        // Of inks the levels are gone by now, and their profile means nothing any more.
        let profile = (self.icc != IccMode::Drop && decoded.mode != Mode::Cmyk)
            .then(|| icc_profile(body))
            .flatten();
        let (pixels, is_converted) = match &profile {
            Some(profile) if self.icc == IccMode::Srgb => (to_srgb(decoded.pixels, profile), true),
            _ => (decoded.pixels, false),
        };
        let is_as_stored = !is_converted
            && decoded.format == self.encode.format
            && matches!(decoded.mode, Mode::Bilevel | Mode::Grey | Mode::Rgb)
            && orientation == UPRIGHT;
        let looks = self.needs_looks.then(|| phash(&pixels));
        let reshaped = reshape_of(pixels, original, &self.image, &boxes)
            .map_err(|e| e.status_message().to_owned())?;
        let stored = reshaped.pixels.size();
        let keeps_file =
            self.reencode == Reencode::WhenChanged && is_as_stored && !reshaped.changed;
        let bytes = if keeps_file {
            Bytes::copy_from_slice(body)
        } else {
            let profile = profile.filter(|_| self.icc == IccMode::Keep);
            let encoded = encode_with_profile(&reshaped.pixels, &self.encode, profile.as_deref())
                .map_err(|e| e.to_string())?;
            Bytes::from(encoded)
        };
        let sizes = [stored.width, stored.height, original.width, original.height]
            .map(|side| i32::try_from(side).unwrap_or(i32::MAX));
        Ok((bytes, sizes, looks))
    }
}

/// A file, its sizes, and the perceptual hash of what it was made from.
type Reshaped = (Bytes, [i32; 4], Option<ImageHash>);

/// The boxes in a cell of the table: a list of `[x0, y0, x1, y1]`, or its text. A row whose boxes cannot be read has no
/// image: what should have been blurred must not be stored.
fn boxes(cell: &Value) -> Result<Vec<RelativeBox>, String> {
    let unreadable = || "bounding boxes not readable".to_owned();
    let parsed;
    let list = match cell {
        Value::Null => return Ok(Vec::new()),
        Value::String(text) if text.trim().is_empty() => return Ok(Vec::new()),
        Value::String(text) => {
            parsed = serde_json::from_str(text).map_err(|_| unreadable())?;
            &parsed
        }
        list => list,
    };
    let list: Vec<[f64; 4]> = Deserialize::deserialize(list).map_err(|_| unreadable())?;
    let boxes = list.into_iter().map(RelativeBox::new);
    boxes.collect::<Option<_>>().ok_or_else(unreadable)
}

/// The EXIF of a file as JSON on one line, as img2dataset writes it; where it writes null, `None`.
fn exif_text(body: &[u8]) -> Option<String> {
    exif(body).ok().map(|tags| python_json::to_line(&tags))
}

/// The text of a decoding error in the status table: without sizes and decoders' words, so that equal
/// reasons count as one. The text for broken images is img2dataset's.
fn message(error: &DecodeError) -> String {
    match error {
        DecodeError::Empty => "not an image: empty".to_owned(),
        DecodeError::NotAnImage { found: Some(found) } => {
            format!("not an image: {}", found.name().to_lowercase())
        }
        DecodeError::Unsupported { what } => format!("image format not supported: {what}"),
        DecodeError::TooManyBytes { max, .. } => format!("image file larger than {max} bytes"),
        DecodeError::TooManyPixels { max, .. } => format!("image larger than {max} pixels"),
        DecodeError::SideTooLong { max, .. } => format!("image side longer than {max} pixels"),
        _ => "Image decoding error".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sightline_core::{Digest, ImageFormat, Metadata};
    use sightline_imaging::{Channels, Pixels, encode};

    fn row() -> Row {
        Row {
            url: None,
            caption: None,
            columns: Metadata::new(),
            check: None,
            refused: None,
        }
    }

    /// With a cell of the column of boxes.
    fn with_boxes(boxes: Value) -> Row {
        let mut row = row();
        row.columns.insert("faces".to_owned(), boxes);
        row
    }

    fn processor() -> Processor {
        Processor::new(&FetchSpec::new("urls.csv", "out"))
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let pixels = Pixels::filled(width, height, Channels::Rgb, &[200, 30, 60]).unwrap();
        encode(&pixels, &EncodeSpec::lossless(ImageFormat::Png)).unwrap()
    }

    #[test]
    fn an_image_is_brought_to_size_and_digested() {
        let body = png(400, 100);
        let outcome = processor().run(&body, &row());
        assert_eq!(outcome.status, FetchStatus::Success);
        let done = outcome.done.unwrap();
        assert_eq!(done.sizes, Some([256, 256, 400, 100]));
        assert_eq!(done.image.format, ImageFormat::Jpg);
        assert!(done.image.bytes.starts_with(b"\xff\xd8\xff"));
        assert_eq!(done.digest, Some(Digest::of(&body).to_string()));
        assert_eq!(done.exif.as_deref(), Some("{}"));
        assert_eq!(outcome.downloaded, body.len() as u64);
    }

    #[test]
    fn exif_is_that_of_the_body_or_null_when_damaged() {
        let pixels = Pixels::filled(6, 4, Channels::Rgb, &[200, 30, 60]).unwrap();
        let plain = encode(&pixels, &EncodeSpec::default()).unwrap();
        let with = |order: &[u8]| {
            let exif = b"*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
            let segment = [b"\xff\xe1\0\x22Exif\0\0", order, exif].concat();
            [&plain[..2], &segment, &plain[2..]].concat()
        };
        let run = |body: &[u8]| processor().run(body, &row()).done.unwrap();
        let done = run(&with(b"II"));
        assert_eq!(
            done.exif.as_deref(),
            Some(r#"{"Image Orientation": "Rotated 90 CW"}"#)
        );
        assert_eq!(done.sizes.unwrap()[2..], [4, 6]);
        assert_eq!(run(&with(b"XX")).exif, None);
        let mut without = processor();
        without.extract_exif = false;
        assert_eq!(without.run(&with(b"II"), &row()).done.unwrap().exif, None);
    }

    #[test]
    fn what_is_no_image_says_what_it_is() {
        let mut small = processor();
        small.decode.limits.max_pixels = 100;
        let mut filter = processor();
        filter.image.min_image_size = 50;
        let truncated = {
            let mut bytes = png(64, 64);
            bytes.truncate(bytes.len() / 2);
            bytes
        };
        for (processor, body, message) in [
            (&small, &b""[..], "not an image: empty"),
            (
                &small,
                b"<!DOCTYPE html><html></html>",
                "not an image: html",
            ),
            (&small, b"{\"error\": 1}", "not an image: json"),
            (&small, b"whatever", "Image decoding error"),
            (&filter, &truncated, "Image decoding error"),
            (&small, &png(64, 64), "image larger than 100 pixels"),
            (&filter, &png(64, 49), "image too small"),
        ] {
            let outcome = processor.run(body, &row());
            assert_eq!(outcome.status, FetchStatus::FailedToResize);
            assert_eq!(outcome.message.as_deref(), Some(message));
            assert!(outcome.done.is_none());
        }
    }

    #[test]
    fn a_body_of_another_digest_is_refused() {
        let body = png(8, 8);
        for kind in [HashKind::Md5, HashKind::Sha256, HashKind::Sha512] {
            let mut checking = processor();
            (checking.check, checking.hash) = (Some(kind), Some(kind));
            let run = |check: Option<String>| checking.run(&body, &Row { check, ..row() });
            let done = run(None).done.unwrap();
            let digest = done.digest.unwrap();
            assert_eq!(
                run(Some(digest.to_uppercase())).status,
                FetchStatus::Success
            );
            let refused = run(Some(digest[1..].to_owned()));
            assert_eq!(refused.status, FetchStatus::FailedToDownload);
            assert_eq!(refused.message.as_deref(), Some("hash mismatch"));
            assert_eq!(refused.downloaded, body.len() as u64);
        }
        assert_eq!(
            HashKind::Md5.digest(b""),
            "d41d8cd98f00b204e9800998ecf8427e"
        );
        assert!(HashKind::Sha512.digest(b"").starts_with("cf83e1357eefb8bd"));
    }

    #[test]
    fn profiles_are_dropped_converted_or_kept() {
        let profile = {
            // Of a file of a scanner, cut to a matrix and three curves that are straight lines.
            let number = |value: f64| ((value * 65_536.0).round() as i32).to_be_bytes();
            let xyz =
                |values: [f64; 3]| [&b"XYZ \0\0\0\0"[..], &values.map(number).concat()].concat();
            let tags: Vec<(&[u8; 4], Vec<u8>)> = vec![
                (b"wtpt", xyz([0.9642, 1.0, 0.8249])),
                (b"rXYZ", xyz([0.6097, 0.3111, 0.0195])),
                (b"gXYZ", xyz([0.2053, 0.6257, 0.0609])),
                (b"bXYZ", xyz([0.1492, 0.0632, 0.7446])),
                (b"rTRC", b"curv\0\0\0\0\0\0\0\0".to_vec()),
                (b"gTRC", b"curv\0\0\0\0\0\0\0\0".to_vec()),
                (b"bTRC", b"curv\0\0\0\0\0\0\0\0".to_vec()),
            ];
            let mut profile = vec![0; 128];
            profile[8..12].copy_from_slice(&[2, 0x40, 0, 0]);
            profile[12..24].copy_from_slice(b"mntrRGB XYZ ");
            profile[36..40].copy_from_slice(b"acsp");
            profile[68..80].copy_from_slice(&[0.9642, 1.0, 0.8249].map(number).concat());
            profile.extend((tags.len() as u32).to_be_bytes());
            let mut at = 132 + 12 * tags.len() as u32;
            for (name, data) in &tags {
                profile.extend(
                    [
                        &name[..],
                        &at.to_be_bytes(),
                        &(data.len() as u32).to_be_bytes(),
                    ]
                    .concat(),
                );
                at += data.len() as u32;
            }
            profile.extend(tags.iter().flat_map(|(_, data)| data));
            profile[..4].copy_from_slice(&at.to_be_bytes());
            profile
        };
        let pixels = Pixels::filled(8, 8, Channels::Rgb, &[60, 60, 60]).unwrap();
        let png = EncodeSpec::lossless(ImageFormat::Png);
        let body = encode_with_profile(&pixels, &png, Some(&profile)).unwrap();
        let stored = |icc, reencode| {
            let mut processor = processor();
            (processor.icc, processor.encode, processor.reencode) = (icc, png, reencode);
            processor.image.image_size = 8;
            processor.run(&body, &row()).done.unwrap().image.bytes
        };
        let level = |file: &[u8]| {
            let decoded = Decoder::default()
                .decode_rgb(file, &DecodeOptions::sane())
                .unwrap();
            decoded.pixels.data()[0]
        };
        let dropped = stored(IccMode::Drop, Reencode::Always);
        assert_eq!((level(&dropped), icc_profile(&dropped)), (60, None));
        let kept = stored(IccMode::Keep, Reencode::Always);
        assert_eq!((level(&kept), icc_profile(&kept)), (60, Some(profile)));
        for reencode in [Reencode::Always, Reencode::WhenChanged] {
            let converted = stored(IccMode::Srgb, reencode);
            // Linear light of 60 / 255 is level 133 in sRGB.
            assert!(
                level(&converted).abs_diff(133) <= 1,
                "{}",
                level(&converted)
            );
            assert_eq!(icc_profile(&converted), None);
        }
        assert_eq!(stored(IccMode::Keep, Reencode::WhenChanged), body);
    }

    #[test]
    fn files_are_kept_where_nothing_is_done_to_them() {
        let mut keeping = processor();
        keeping.reencode = Reencode::WhenChanged;
        keeping.image.only_if_bigger = true;
        keeping.bbox_col = Some("faces".to_owned());
        let jpg = |side| {
            let pixels = Pixels::filled(side, side, Channels::Rgb, &[200, 30, 60]).unwrap();
            encode(&pixels, &EncodeSpec::jpeg(50)).unwrap()
        };
        let stored = |body: &[u8], row: &Row| keeping.run(body, row).done.unwrap().image.bytes;
        let small = jpg(100);
        assert_eq!(stored(&small, &row()), small);
        assert_ne!(stored(&jpg(300), &row()), jpg(300));
        // Other formats are encoded, and so is what was blurred.
        assert!(stored(&png(8, 8), &row()).starts_with(b"\xff\xd8\xff"));
        let faces = with_boxes(json!([[0.1, 0.1, 0.5, 0.5]]));
        assert_ne!(stored(&small, &faces), small);
        for nothing in [json!([]), Value::Null] {
            assert_eq!(stored(&small, &with_boxes(nothing)), small);
        }
        // What is stored must not need an orientation.
        let exif = b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let turned = [&small[..2], exif, &small[2..]].concat();
        assert_ne!(stored(&turned, &row()), turned);

        keeping.reencode = Reencode::Never;
        let done = keeping.run(&png(8, 8), &row()).done.unwrap();
        assert_eq!((&done.image.bytes[..], done.sizes), (&png(8, 8)[..], None));
        let page = keeping.run(b"<!DOCTYPE html><html></html>", &row());
        assert_eq!(page.message.as_deref(), Some("not an image: html"));
    }

    #[test]
    fn boxes_are_read_from_lists_and_texts_and_never_guessed() {
        let one = [0.1, 0.2, 0.5, 0.5];
        let expected = vec![RelativeBox::new(one).unwrap()];
        assert_eq!(boxes(&json!([one])).unwrap(), expected);
        assert_eq!(boxes(&json!("[[0.1, 0.2, 0.5, 0.5]]")).unwrap(), expected);
        assert_eq!(boxes(&json!("")).unwrap(), []);
        for cell in [
            json!("x"),
            json!([[0.1, 0.2, 0.5]]),
            json!([[0.5, 0.2, 0.1, 0.5]]),
            json!([null]),
            json!({"x0": 1}),
        ] {
            let mut blurring = processor();
            blurring.bbox_col = Some("faces".to_owned());
            let refused = blurring.run(&png(8, 8), &with_boxes(cell));
            assert_eq!(
                refused.message.as_deref(),
                Some("bounding boxes not readable")
            );
        }
    }
}
