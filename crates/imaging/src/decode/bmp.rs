//! Windows bitmaps, by the `image` crate; palettes are kept, or dropped by Pillow's rules.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::{ColorType, ImageDecoder, ImageError};
use sightline_core::ImageFormat;

use super::{DecodeError, filled, malformed, reading};
use crate::native::{Native, Palette, Raster};
use crate::{Channels, Limits, Pixels};

const FORMAT: ImageFormat = ImageFormat::Bmp;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Native, DecodeError> {
    let mut decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(|e| error(&e))?;
    let (width, height) = decoder.dimensions();
    limits.check_size(width.into(), height.into())?;
    let palette = Indexed::read(bytes, &decoder);
    // The decoder gives indices only where a byte is one; other palettes are found by their colours.
    let indices = palette.as_ref().is_some_and(|palette| palette.bits == 8);
    decoder.set_indexed_color(indices);
    let channels = match decoder.color_type() {
        ColorType::L8 => Channels::Grey,
        ColorType::Rgba8 => Channels::Rgba,
        _ => Channels::Rgb,
    };
    let mut data = vec![0; width as usize * height as usize * channels.count()];
    decoder.read_image(&mut data).map_err(|e| error(&e))?;
    let raster = match palette {
        None => Raster::Direct(filled(FORMAT, (width, height), channels, data)?),
        Some(palette) => {
            let data = match channels {
                Channels::Grey => data,
                _ => palette.indices(&data, channels.count()),
            };
            palette.raster(filled(FORMAT, (width, height), Channels::Grey, data)?)
        }
    };
    Ok(Native {
        format: FORMAT,
        orientation: 1,
        raster,
        transparent: None,
    })
}

/// The palette of a file with at most eight bits a pixel.
struct Indexed {
    colours: Vec<[u8; 3]>,
    bits: u16,
}

impl Indexed {
    fn read(bytes: &[u8], decoder: &BmpDecoder<Cursor<&[u8]>>) -> Option<Self> {
        let header = u32::from_le_bytes(*bytes.get(14..)?.first_chunk()?);
        let at = if header == 12 { 24 } else { 28 };
        let bits = u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        if !(1..=8).contains(&bits) {
            return None;
        }
        let used = match header {
            12 => 0,
            _ => u32::from_le_bytes(*bytes.get(46..)?.first_chunk()?),
        };
        let used = if used == 0 { 1 << bits } else { used as usize };
        let colours = decoder.get_palette()?;
        Some(Self {
            colours: colours[..used.min(colours.len())].to_vec(),
            bits,
        })
    }

    /// The first index of each pixel's colour.
    fn indices(&self, data: &[u8], count: usize) -> Vec<u8> {
        data.chunks_exact(count)
            .map(|pixel| {
                let same = |colour: &[u8; 3]| colour[..] == pixel[..3];
                self.colours.iter().position(same).unwrap_or(0) as u8
            })
            .collect()
    }

    /// Black and white, grey or a palette: a palette that is a grey ramp is none.
    fn raster(self, mut indices: Pixels) -> Raster {
        if self.colours == [[0; 3], [255; 3]] {
            for index in indices.data_mut() {
                *index = if *index == 0 { 0 } else { 255 };
            }
            return Raster::Bilevel(indices);
        }
        let ramp = (0u8..=255).map(|v| [v; 3]);
        if self.colours.len() != 2 && self.colours.iter().copied().zip(ramp).all(|(a, b)| a == b) {
            return Raster::Direct(indices);
        }
        let palette = Palette::new(self.colours.as_flattened());
        Raster::Palette(indices, Box::new(palette))
    }
}

fn error(error: &ImageError) -> DecodeError {
    match error {
        ImageError::IoError(e) => reading(FORMAT, e),
        ImageError::Unsupported(e) => DecodeError::Unsupported {
            what: e.to_string(),
        },
        e => malformed(FORMAT, e),
    }
}
