//! PNG in its own mode: palettes, 16 bits and `tRNS` are kept, text and colour profiles never inflated.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Info, Transformations};
use sightline_core::ImageFormat;
use sightline_core::image_spec::Size;

use super::{DecodeError, filled, malformed, reading, truncated};
use crate::native::{Native, Palette, Raster, Samples};
use crate::orient::orientation_of;
use crate::{Channels, Limits};

const FORMAT: ImageFormat = ImageFormat::Png;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Native, DecodeError> {
    let memory = png::Limits {
        bytes: usize::try_from(limits.decoder_bytes()).unwrap_or(usize::MAX),
    };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), memory);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::IDENTITY);
    let header = decoder.read_header_info().map_err(|e| error(&e))?;
    limits.check_size(header.width.into(), header.height.into())?;

    let mut reader = decoder.read_info().map_err(|e| error(&e))?;
    let len = reader
        .output_buffer_size()
        .ok_or_else(|| malformed(FORMAT, "image does not fit into memory"))?;
    let mut data = vec![0; len];
    if reader.info().interlaced {
        reader.next_frame(&mut data).map_err(|e| error(&e))?;
    } else {
        // Row by row, because a file that only lacks its end lacks nothing.
        let stride = len / reader.info().height as usize;
        for row in data.chunks_exact_mut(stride) {
            let read = reader.read_row(row).map_err(|e| error(&e))?;
            read.ok_or_else(|| truncated(FORMAT, "rows are missing"))?;
        }
        match reader.finish().map_err(|e| error(&e)) {
            Ok(()) | Err(DecodeError::Truncated { .. }) => {}
            Err(e) => return Err(e),
        }
    }

    let info = reader.info();
    let raster = match info.bit_depth {
        BitDepth::Sixteen => deep(info, &data),
        BitDepth::Eight => shallow(info, data)?,
        BitDepth::One | BitDepth::Two | BitDepth::Four => shallow(info, unpacked(info, &data))?,
    };
    Ok(Native {
        format: FORMAT,
        orientation: info.exif_metadata.as_deref().map_or(1, orientation_of),
        raster,
        transparent: transparent(info),
    })
}

fn shallow(info: &Info<'_>, data: Vec<u8>) -> Result<Raster, DecodeError> {
    let channels = match info.color_type {
        ColorType::Grayscale | ColorType::Indexed => Channels::Grey,
        ColorType::GrayscaleAlpha => Channels::GreyAlpha,
        ColorType::Rgb => Channels::Rgb,
        ColorType::Rgba => Channels::Rgba,
    };
    let pixels = filled(FORMAT, (info.width, info.height), channels, data)?;
    Ok(match info.color_type {
        ColorType::Indexed => {
            let mut palette = Palette::new(info.palette.as_deref().unwrap_or_default());
            let alpha = info.trns.as_deref().unwrap_or_default();
            for (to, &from) in palette.alpha.iter_mut().zip(alpha) {
                *to = from;
            }
            Raster::Palette(pixels, Box::new(palette))
        }
        ColorType::Grayscale if info.bit_depth == BitDepth::One => Raster::Bilevel(pixels),
        _ => Raster::Direct(pixels),
    })
}

fn deep(info: &Info<'_>, data: &[u8]) -> Raster {
    let channels = match info.color_type {
        ColorType::GrayscaleAlpha => Channels::GreyAlpha,
        ColorType::Rgb => Channels::Rgb,
        ColorType::Rgba => Channels::Rgba,
        ColorType::Grayscale | ColorType::Indexed => Channels::Grey,
    };
    let (pairs, _) = data.as_chunks::<2>();
    let samples = Samples {
        size: Size {
            width: info.width,
            height: info.height,
        },
        count: channels.count(),
        data: pairs.iter().map(|&pair| u16::from_be_bytes(pair)).collect(),
    };
    Raster::Deep(samples, channels)
}

/// One byte a pixel from rows of packed bits; grey is spread over 0 to 255, indices stay.
fn unpacked(info: &Info<'_>, data: &[u8]) -> Vec<u8> {
    let bits = info.bit_depth as usize;
    let width = info.width as usize;
    let most = (1u8 << bits) - 1;
    let spread = match info.color_type {
        ColorType::Grayscale => 255 / most,
        _ => 1,
    };
    let stride = (width * bits).div_ceil(8);
    let mut out = Vec::with_capacity(width * info.height as usize);
    for row in data.chunks_exact(stride) {
        out.extend((0..width).map(|x| {
            let shift = 8 - bits - x * bits % 8;
            ((row[x * bits / 8] >> shift) & most) * spread
        }));
    }
    out
}

/// The colour of `tRNS`, spread like the pixels. Keys of 16-bit images are passed over: their pixels
/// are cut to eight bits before anything compares them.
fn transparent(info: &Info<'_>) -> Option<[u8; 3]> {
    let key = info.trns.as_deref()?;
    let most = match info.bit_depth {
        BitDepth::Sixteen => return None,
        depth => (1u16 << depth as u8) - 1,
    };
    let spread = |v: u8| (u16::from(v).min(most) * (255 / most)) as u8;
    match (info.color_type, key) {
        (ColorType::Grayscale, [grey, ..]) => Some([spread(*grey); 3]),
        (ColorType::Rgb, [r, g, b, ..]) => Some([*r, *g, *b]),
        _ => None,
    }
}

fn error(error: &DecodingError) -> DecodeError {
    match error {
        DecodingError::IoError(e) => reading(FORMAT, e),
        e => malformed(FORMAT, e),
    }
}
