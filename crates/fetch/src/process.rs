//! From a body to a stored image and its EXIF: sniff, decode, filter, resize, encode. CPU work for
//! rayon's threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use sightline_core::{Digest, EncodedImage};
use sightline_imaging::reshape::{ReshapeSpec, reshape};
use sightline_imaging::{DecodeError, DecodeOptions, EncodeSpec, decode_rgb, encode, exif};
use sightline_shard::python_json;

use crate::spec::{FetchSpec, HashKind};
use crate::status::{DownloadError, FetchStatus, INTERNAL_ERROR};

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
}

/// A stored image.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) image: EncodedImage,
    /// Width and height as stored, then as decoded and turned upright.
    pub(crate) sizes: [i32; 4],
    /// Of the body, as JSON; `None` when it is damaged, or not wanted.
    pub(crate) exif: Option<String>,
    /// Of the body.
    pub(crate) digest: Option<Digest>,
}

impl Outcome {
    pub(crate) fn failed(status: FetchStatus, message: impl Into<String>) -> Self {
        Self {
            status,
            message: Some(message.into()),
            done: None,
            downloaded: 0,
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
    image: ReshapeSpec,
    encode: EncodeSpec,
    extract_exif: bool,
    hash: Option<HashKind>,
}

impl Processor {
    pub(crate) fn new(spec: &FetchSpec) -> Self {
        Self {
            decode: spec.decode,
            image: spec.image.clone(),
            encode: spec.encode,
            extract_exif: spec.extract_exif,
            hash: spec.compute_hash,
        }
    }

    /// The outcome of a row whose body is `body`. A panic in a decoder costs the row, not the run.
    pub(crate) fn run(&self, body: &[u8]) -> Outcome {
        let made = catch_unwind(AssertUnwindSafe(|| self.image(body)));
        let mut outcome = match made {
            Ok(Ok(done)) => Outcome {
                status: FetchStatus::Success,
                message: None,
                done: Some(done),
                downloaded: 0,
            },
            Ok(Err(message)) => Outcome::failed(FetchStatus::FailedToResize, message),
            Err(_) => Outcome::internal_error(),
        };
        outcome.downloaded = body.len() as u64;
        outcome
    }

    fn image(&self, body: &[u8]) -> Result<Done, String> {
        let decoded = decode_rgb(body, &self.decode).map_err(|e| message(&e))?;
        let original = decoded.pixels.size();
        let reshaped = reshape(decoded.pixels, &self.image)
            .map_err(|e| e.status_message().to_owned())?
            .pixels;
        let bytes = encode(&reshaped, &self.encode).map_err(|e| e.to_string())?;
        let stored = reshaped.size();
        Ok(Done {
            image: EncodedImage {
                format: self.encode.format,
                bytes: Bytes::from(bytes),
            },
            sizes: [stored.width, stored.height, original.width, original.height]
                .map(|side| i32::try_from(side).unwrap_or(i32::MAX)),
            exif: self.extract_exif.then(|| exif_text(body)).flatten(),
            digest: self.hash.map(|HashKind::Sha256| Digest::of(body)),
        })
    }
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
    use sightline_core::ImageFormat;
    use sightline_imaging::{Channels, Pixels};

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
        let outcome = processor().run(&body);
        assert_eq!(outcome.status, FetchStatus::Success);
        let done = outcome.done.unwrap();
        assert_eq!(done.sizes, [256, 256, 400, 100]);
        assert_eq!(done.image.format, ImageFormat::Jpg);
        assert!(done.image.bytes.starts_with(b"\xff\xd8\xff"));
        assert_eq!(done.digest, Some(Digest::of(&body)));
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
        let run = |body: &[u8]| processor().run(body).done.unwrap();
        let done = run(&with(b"II"));
        assert_eq!(
            done.exif.as_deref(),
            Some(r#"{"Image Orientation": "Rotated 90 CW"}"#)
        );
        assert_eq!(done.sizes[2..], [4, 6]);
        assert_eq!(run(&with(b"XX")).exif, None);
        let mut without = processor();
        without.extract_exif = false;
        assert_eq!(without.run(&with(b"II")).done.unwrap().exif, None);
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
            let outcome = processor.run(body);
            assert_eq!(outcome.status, FetchStatus::FailedToResize);
            assert_eq!(outcome.message.as_deref(), Some(message));
            assert!(outcome.done.is_none());
        }
    }
}
