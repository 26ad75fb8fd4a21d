//! WebP, lossy and lossless; the first frame of an animation on its canvas.

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};
use sightline_core::ImageFormat;

use super::{DecodeError, filled, malformed, reading};
use crate::native::{Native, Raster};
use crate::orient::orientation_of;
use crate::{Channels, Limits};

const FORMAT: ImageFormat = ImageFormat::Webp;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Native, DecodeError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|e| error(&e))?;
    decoder.set_memory_limit(usize::try_from(limits.decoder_bytes()).unwrap_or(usize::MAX));
    let (width, height) = decoder.dimensions();
    limits.check_size(width.into(), height.into())?;
    let channels = if decoder.has_alpha() {
        Channels::Rgba
    } else {
        Channels::Rgb
    };
    let mut data = vec![0; width as usize * height as usize * channels.count()];
    decoder.read_image(&mut data).map_err(|e| error(&e))?;
    // A broken EXIF chunk says nothing about the orientation, and nothing else is read from it.
    let exif = decoder.exif_metadata().ok().flatten();
    Ok(Native {
        format: FORMAT,
        orientation: exif.as_deref().map_or(1, orientation_of),
        raster: Raster::Direct(filled(FORMAT, (width, height), channels, data)?),
        transparent: None,
    })
}

fn error(error: &DecodingError) -> DecodeError {
    match error {
        DecodingError::IoError(e) => reading(FORMAT, e),
        e => malformed(FORMAT, e),
    }
}
