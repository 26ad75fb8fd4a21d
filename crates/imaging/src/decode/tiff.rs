//! TIFF: the first image of a file, turned upright as every reader does.

use std::io::Cursor;

use sightline_core::ImageFormat;
use sightline_core::image_spec::Size;
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::{ByteOrder, Tag};
use tiff::{ColorType, TiffError};

use super::{DecodeError, malformed, reading};
use crate::native::{Native, Palette, Raster, Samples};
use crate::orient::upright_samples;
use crate::{Channels, Limits, Pixels};

const FORMAT: ImageFormat = ImageFormat::Tiff;

/// Photometric interpretations.
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u16 = 3;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Native, DecodeError> {
    read(bytes, limits, false)
}

/// Decodes a file; `as_grey` says that it is known to hold indices.
fn read(bytes: &[u8], limits: &Limits, as_grey: bool) -> Result<Native, DecodeError> {
    let mut memory = tiff::decoder::Limits::default();
    memory.decoding_buffer_size = usize::try_from(limits.decoder_bytes()).unwrap_or(usize::MAX);
    memory.intermediate_buffer_size = memory.decoding_buffer_size;
    let mut decoder = Decoder::new(Cursor::new(bytes))
        .map_err(|e| error(&e))?
        .with_limits(memory);
    let (width, height) = decoder.dimensions().map_err(|e| error(&e))?;
    limits.check_size(width.into(), height.into())?;
    let photometric = decoder.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation);
    if !as_grey && matches!(photometric, Ok(Some(PALETTE))) {
        return indexed(bytes, &mut decoder, limits);
    }
    let colour = decoder.colortype().map_err(|e| error(&e))?;
    let orientation = decoder
        .find_tag_unsigned::<u8>(Tag::Orientation)
        .ok()
        .flatten()
        .unwrap_or(1);
    let mut data = DecodingResult::U8(Vec::new());
    let layout = decoder
        .read_image_to_buffer(&mut data)
        .map_err(|e| error(&e))?;
    if data.as_buffer(0).as_bytes().len() < layout.complete_len {
        return Err(malformed(
            FORMAT,
            "colour planes do not fit into the memory limit",
        ));
    }
    let shape = Shape {
        size: Size { width, height },
        count: usize::from(colour.num_samples()),
        planar: layout.planes > 1,
        orientation,
        as_grey,
    };
    Ok(Native {
        format: FORMAT,
        orientation: 1,
        raster: raster(colour, data, &shape)?,
        transparent: None,
    })
}

/// How the samples of a file lie.
struct Shape {
    size: Size,
    count: usize,
    planar: bool,
    orientation: u8,
    /// Whether small samples are indices, which are not to be spread.
    as_grey: bool,
}

fn raster(colour: ColorType, data: DecodingResult, shape: &Shape) -> Result<Raster, DecodeError> {
    let unsupported = || DecodeError::Unsupported {
        what: format!("TIFF {colour:?}"),
    };
    let direct = |channels, data| {
        let samples = arranged(data, shape)?;
        let (size, data) = (samples.size, samples.data);
        Pixels::new(size.width, size.height, channels, data).map_err(|e| malformed(FORMAT, e))
    };
    let channels = match colour {
        ColorType::Gray(_) => Channels::Grey,
        ColorType::GrayA(_) | ColorType::Multiband { num_samples: 2, .. } => Channels::GreyAlpha,
        ColorType::RGB(_) => Channels::Rgb,
        ColorType::RGBA(_) => Channels::Rgba,
        ColorType::CMYK(8) => match data {
            DecodingResult::U8(data) => return Ok(Raster::Cmyk(arranged(data, shape)?)),
            _ => return Err(unsupported()),
        },
        _ => return Err(unsupported()),
    };
    Ok(match (data, colour.bit_depth()) {
        (DecodingResult::U8(data), 8) => Raster::Direct(direct(channels, data)?),
        (DecodingResult::U8(data), bits @ (1 | 2 | 4)) if shape.count == 1 => {
            let spread = if shape.as_grey {
                1
            } else {
                255 / ((1u8 << bits) - 1)
            };
            let data = unpacked(&data, shape.size, usize::from(bits), spread);
            let pixels = direct(channels, data)?;
            if bits == 1 {
                Raster::Bilevel(pixels)
            } else {
                Raster::Direct(pixels)
            }
        }
        (DecodingResult::U16(data), 16) => Raster::Deep(arranged(data, shape)?, channels),
        (DecodingResult::U32(data), 32) if shape.count == 1 => {
            // Pillow reads unsigned samples as signed ones.
            let data = data.into_iter().map(u32::cast_signed).collect();
            Raster::Integer(arranged(data, shape)?)
        }
        (DecodingResult::I32(data), 32) if shape.count == 1 => {
            Raster::Integer(arranged(data, shape)?)
        }
        (DecodingResult::I16(data), 16) if shape.count == 1 => {
            let data = data.into_iter().map(i32::from).collect();
            Raster::Integer(arranged(data, shape)?)
        }
        (DecodingResult::F32(data), 32) if shape.count == 1 => {
            Raster::Float(arranged(data, shape)?)
        }
        _ => return Err(unsupported()),
    })
}

/// A palette file. The decoder does not read those, so it is shown the same file as grey, whose samples
/// are the indices.
fn indexed(
    bytes: &[u8],
    decoder: &mut Decoder<Cursor<&[u8]>>,
    limits: &Limits,
) -> Result<Native, DecodeError> {
    let colours = colour_map(decoder)?;
    let directory = decoder.ifd_pointer().map_or(0, |pointer| pointer.0);
    let little = decoder.byte_order() == ByteOrder::LittleEndian;
    let grey = grey_copy(bytes, directory, little).ok_or_else(|| DecodeError::Unsupported {
        what: "TIFF (palette in a large file)".to_owned(),
    })?;
    let native = read(&grey, limits, true)?;
    match native.raster {
        Raster::Direct(indices) | Raster::Bilevel(indices) => Ok(Native {
            raster: Raster::Palette(indices, Box::new(colours)),
            ..native
        }),
        _ => Err(DecodeError::Unsupported {
            what: "TIFF (palette of more than 8 bits)".to_owned(),
        }),
    }
}

/// The file with the photometric interpretation of the directory at `directory` set to grey; `None` if
/// it is not a classic TIFF of that shape.
fn grey_copy(bytes: &[u8], directory: u64, little: bool) -> Option<Vec<u8>> {
    let u16_at = |at: usize| {
        let pair = *bytes.get(at..)?.first_chunk::<2>()?;
        Some(if little {
            u16::from_le_bytes(pair)
        } else {
            u16::from_be_bytes(pair)
        })
    };
    if u16_at(2)? != 42 {
        return None;
    }
    let first = usize::try_from(directory).ok()?;
    let entries = usize::from(u16_at(first)?);
    let entry = (0..entries)
        .map(|i| first + 2 + 12 * i)
        .find(|&at| u16_at(at) == Some(Tag::PhotometricInterpretation.to_u16()))?;
    let mut copy = bytes.to_vec();
    let value = if little {
        BLACK_IS_ZERO.to_le_bytes()
    } else {
        BLACK_IS_ZERO.to_be_bytes()
    };
    copy.get_mut(entry + 8..entry + 10)?.copy_from_slice(&value);
    Some(copy)
}

/// Planes interleaved, the image turned upright, the number of samples checked.
fn arranged<T: Copy>(data: Vec<T>, shape: &Shape) -> Result<Samples<T>, DecodeError> {
    let &Shape { size, count, .. } = shape;
    let pixels = size.width as usize * size.height as usize;
    if data.len() != pixels * count {
        return Err(malformed(
            FORMAT,
            format!("{} samples for {pixels} pixels of {count}", data.len()),
        ));
    }
    let data = if shape.planar {
        (0..pixels)
            .flat_map(|i| data[i..].iter().step_by(pixels).copied())
            .collect()
    } else {
        data
    };
    let (data, size) = match shape.orientation {
        2..=8 => upright_samples(&data, size, count, shape.orientation),
        _ => (data, size),
    };
    Ok(Samples { size, count, data })
}

fn unpacked(data: &[u8], size: Size, bits: usize, spread: u8) -> Vec<u8> {
    let width = size.width as usize;
    let most = (1u8 << bits) - 1;
    let mut out = Vec::with_capacity(width * size.height as usize);
    for row in data.chunks_exact((width * bits).div_ceil(8)) {
        out.extend((0..width).map(|x| {
            let shift = 8 - bits - x * bits % 8;
            ((row[x * bits / 8] >> shift) & most) * spread
        }));
    }
    out
}

/// The colour map: all reds, all greens, all blues, 16 bits each, of which the high byte counts.
fn colour_map(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<Palette, DecodeError> {
    let map = decoder
        .get_tag_u16_vec(Tag::ColorMap)
        .map_err(|e| error(&e))?;
    let n = map.len() / 3;
    let high = |i: usize| (map[i] >> 8) as u8;
    let rgb: Vec<u8> = (0..n)
        .flat_map(|i| [high(i), high(n + i), high(2 * n + i)])
        .collect();
    Ok(Palette::new(&rgb))
}

fn error(error: &TiffError) -> DecodeError {
    match error {
        TiffError::IoError(e) => reading(FORMAT, e),
        TiffError::UnsupportedError(e) => DecodeError::Unsupported {
            what: format!("TIFF ({e})"),
        },
        e => malformed(FORMAT, e),
    }
}
