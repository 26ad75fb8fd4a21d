//! The first frame of a GIF, with its palette, on the canvas that Pillow would give it.

use std::io::Cursor;
use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};
use sightline_core::ImageFormat;

use super::{DecodeError, filled, malformed, reading, truncated};
use crate::native::{Native, Palette, Raster};
use crate::{Channels, Limits};

const FORMAT: ImageFormat = ImageFormat::Gif;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Native, DecodeError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.allow_unknown_blocks(true);
    if let Some(memory) = NonZeroU64::new(limits.decoder_bytes()) {
        options.set_memory_limit(MemoryLimit::Bytes(memory));
    }
    let mut decoder = options
        .read_info(Cursor::new(bytes))
        .map_err(|e| error(&e))?;
    let screen = (usize::from(decoder.width()), usize::from(decoder.height()));
    let frame = decoder
        .next_frame_info()
        .map_err(|e| error(&e))?
        .ok_or_else(|| truncated(FORMAT, "file ends before the first frame"))?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (wide, high) = (usize::from(frame.width), usize::from(frame.height));
    let transparent = frame.transparent;
    // A frame that leaves the screen makes the screen larger.
    let (width, height) = (screen.0.max(left + wide), screen.1.max(top + high));
    limits.check_size(width as u64, height as u64)?;

    let mut inside = vec![0; wide * high];
    if !inside.is_empty() {
        decoder
            .read_into_buffer(&mut inside)
            .map_err(|e| error(&e))?;
    }
    let colours = decoder.palette().map_err(|e| error(&e))?;
    let grey = colours
        .as_chunks::<3>()
        .0
        .iter()
        .enumerate()
        .all(|(i, colour)| *colour == [i as u8; 3]);
    let mut palette = Palette::new(colours);
    if let Some(index) = transparent {
        palette.alpha[usize::from(index)] = 0;
    }

    // What the frame leaves free is transparent if it names a transparent index, else index 0.
    let mut canvas = vec![transparent.unwrap_or(0); width * height];
    for (row, out) in inside
        .chunks_exact(wide.max(1))
        .zip(canvas.chunks_exact_mut(width.max(1)).skip(top))
    {
        out[left..left + wide].copy_from_slice(row);
    }
    let pixels = filled(
        FORMAT,
        (width as u32, height as u32),
        Channels::Grey,
        canvas,
    )?;
    Ok(Native {
        format: FORMAT,
        orientation: 1,
        // A palette that is a grey ramp is none.
        raster: if grey {
            Raster::Direct(pixels)
        } else {
            Raster::Palette(pixels, Box::new(palette))
        },
        transparent: transparent.filter(|_| grey).map(|index| [index; 3]),
    })
}

fn error(error: &DecodingError) -> DecodeError {
    match error {
        DecodingError::Io(e) => reading(FORMAT, e),
        e => malformed(FORMAT, e),
    }
}
