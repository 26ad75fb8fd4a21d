//! PBM, PGM and PPM, by the `image` crate.

use std::io::Cursor;

use image::codecs::pnm::PnmDecoder;
use image::{ColorType, ImageDecoder, ImageError};
use sightline_core::ImageFormat;
use sightline_core::image_spec::Size;

use super::{DecodeError, filled, malformed, reading};
use crate::native::{Native, Raster, Samples};
use crate::{Channels, Limits};

const FORMAT: ImageFormat = ImageFormat::Pnm;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Native, DecodeError> {
    let decoder = PnmDecoder::new(Cursor::new(bytes)).map_err(|e| error(&e))?;
    let (width, height) = decoder.dimensions();
    limits.check_size(width.into(), height.into())?;
    let bilevel = matches!(bytes.get(1), Some(b'1' | b'4'));
    let colour = decoder.color_type();
    let mut data = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut data).map_err(|e| error(&e))?;

    let raster = match colour {
        ColorType::L8 => {
            let pixels = filled(FORMAT, (width, height), Channels::Grey, data)?;
            if bilevel {
                Raster::Bilevel(pixels)
            } else {
                Raster::Direct(pixels)
            }
        }
        ColorType::Rgb8 => Raster::Direct(filled(FORMAT, (width, height), Channels::Rgb, data)?),
        ColorType::L16 | ColorType::Rgb16 => {
            let channels = match colour {
                ColorType::L16 => Channels::Grey,
                _ => Channels::Rgb,
            };
            let (pairs, _) = data.as_chunks::<2>();
            let samples = Samples {
                size: Size { width, height },
                count: channels.count(),
                data: pairs.iter().map(|&pair| u16::from_ne_bytes(pair)).collect(),
            };
            Raster::Deep(samples, channels)
        }
        other => {
            return Err(malformed(
                FORMAT,
                format!("unexpected colour type {other:?}"),
            ));
        }
    };
    Ok(Native {
        format: FORMAT,
        orientation: 1,
        raster,
        transparent: None,
    })
}

fn error(error: &ImageError) -> DecodeError {
    match error {
        ImageError::IoError(e) => reading(FORMAT, e),
        e => malformed(FORMAT, e),
    }
}
