//! Pixels as their file stores them, and Pillow's rules for turning them into RGB.
//!
//! Pipelines that resize first and convert afterwards (`open_clip`) see the difference: a palette
//! cannot be averaged, and alpha has to be multiplied in. ICC profiles are passed over, as by every
//! reference.

use sightline_core::ImageFormat;
use sightline_core::image_spec::{CropRounding, Filter, Size};

use crate::crop::{Crop, Padding};
use crate::decode::{Alpha, Deep};
use crate::resize::{
    PassOrder, ResizeError, resize_pillow, resize_pillow_inks, resize_pillow_wide,
};
use crate::{Channels, Pixels, PixelsError};

/// A decoded image in the mode of its file, not turned upright (except TIFF, which is by every
/// reader).
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    /// The file format.
    pub format: ImageFormat,
    /// EXIF orientation, 1 to 8; 1 when the file says nothing or something else.
    pub orientation: u8,
    /// The pixels.
    pub raster: Raster,
    /// The colour that stands for full transparency in an 8-bit file without alpha channel (PNG
    /// `tRNS`).
    pub transparent: Option<[u8; 3]>,
}

/// Pixels in one of the modes that files have.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Raster {
    /// Black and white: one byte a pixel, 0 or 255.
    Bilevel(Pixels),
    /// Eight bits a channel, with or without colour and alpha.
    Direct(Pixels),
    /// Indices into a palette, one byte a pixel.
    Palette(Pixels, Box<Palette>),
    /// Four inks a pixel, 0 meaning none.
    Cmyk(Samples<u8>),
    /// Sixteen bits a channel; Pillow keeps them for grey only.
    Deep(Samples<u16>, Channels),
    /// 32-bit integers, one channel.
    Integer(Samples<i32>),
    /// 32-bit floating point, one channel.
    Float(Samples<f32>),
}

/// The colours of a palette image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Palette {
    /// Red, green and blue of each of the 256 indices; what the file leaves out is black.
    pub colours: [[u8; 3]; 256],
    /// Alpha of each index; 255 where the file says nothing.
    pub alpha: [u8; 256],
}

impl Palette {
    /// A palette of the colours in `rgb`, three bytes each; more than 256 are passed over.
    pub fn new(rgb: &[u8]) -> Self {
        let mut palette = Self {
            colours: [[0; 3]; 256],
            alpha: [255; 256],
        };
        for (colour, given) in palette.colours.iter_mut().zip(rgb.as_chunks::<3>().0) {
            *colour = *given;
        }
        palette
    }
}

/// Interleaved samples wider than a byte, or of a colour space that [`Channels`] does not name.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples<T> {
    /// Columns and rows.
    pub size: Size,
    /// Samples of a pixel.
    pub count: usize,
    /// `width * height * count` samples, row by row.
    pub data: Vec<T>,
}

/// Modes by Pillow's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// `1`.
    Bilevel,
    /// `L`.
    Grey,
    /// `LA`.
    GreyAlpha,
    /// `P`.
    Palette,
    /// `RGB`.
    Rgb,
    /// `RGBA`.
    Rgba,
    /// `CMYK`.
    Cmyk,
    /// `I;16`.
    Grey16,
    /// `I`.
    Integer,
    /// `F`.
    Float,
}

impl Mode {
    /// Pillow's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bilevel => "1",
            Self::Grey => "L",
            Self::GreyAlpha => "LA",
            Self::Palette => "P",
            Self::Rgb => "RGB",
            Self::Rgba => "RGBA",
            Self::Cmyk => "CMYK",
            Self::Grey16 => "I;16",
            Self::Integer => "I",
            Self::Float => "F",
        }
    }
}

impl Native {
    /// Columns and rows as stored.
    pub fn size(&self) -> Size {
        match &self.raster {
            Raster::Bilevel(pixels) | Raster::Direct(pixels) | Raster::Palette(pixels, _) => {
                pixels.size()
            }
            Raster::Cmyk(samples) => samples.size,
            Raster::Deep(samples, _) => samples.size,
            Raster::Integer(samples) => samples.size,
            Raster::Float(samples) => samples.size,
        }
    }

    /// The mode in which Pillow opens the file.
    pub fn mode(&self) -> Mode {
        match &self.raster {
            Raster::Bilevel(_) => Mode::Bilevel,
            Raster::Direct(pixels) => match pixels.channels() {
                Channels::Grey => Mode::Grey,
                Channels::GreyAlpha => Mode::GreyAlpha,
                Channels::Rgb => Mode::Rgb,
                Channels::Rgba => Mode::Rgba,
            },
            Raster::Palette(..) => Mode::Palette,
            Raster::Cmyk(_) => Mode::Cmyk,
            Raster::Deep(_, Channels::Grey) => Mode::Grey16,
            Raster::Deep(_, Channels::Rgb) => Mode::Rgb,
            Raster::Deep(..) => Mode::Rgba,
            Raster::Integer(_) => Mode::Integer,
            Raster::Float(_) => Mode::Float,
        }
    }

    /// RGB pixels. Pillow's `convert("RGB")` is `Alpha::Drop` with `Deep::Clip`.
    pub fn into_rgb(self, alpha: Alpha, deep: Deep) -> Pixels {
        match alpha {
            Alpha::Over(background) if self.has_transparency() => {
                over(&self.into_rgba(deep), background)
            }
            _ => self.into_opaque(deep),
        }
    }

    /// RGB pixels as OpenCV's `IMREAD_COLOR` makes them, not turned: alpha dropped, the high byte of 16
    /// bits, and its own conversion of inks.
    pub fn into_opencv_rgb(self) -> Pixels {
        match &self.raster {
            Raster::Cmyk(inks) => opencv_inks(inks),
            _ => self.into_rgb(Alpha::Drop, Deep::HighByte),
        }
    }

    /// RGBA pixels by the rules of Pillow's `convert("RGBA")`: palettes bring their alpha, a
    /// transparent colour becomes alpha 0.
    pub fn into_rgba(self, deep: Deep) -> Pixels {
        let size = self.size();
        let key = self.transparent;
        let data: Vec<u8> = match self.raster {
            Raster::Palette(indices, palette) => indices
                .data()
                .iter()
                .flat_map(|&i| {
                    let [r, g, b] = palette.colours[usize::from(i)];
                    [r, g, b, palette.alpha[usize::from(i)]]
                })
                .collect(),
            Raster::Direct(pixels) if pixels.channels().has_alpha() => match pixels.channels() {
                Channels::Rgba => return pixels,
                _ => pixels
                    .data()
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .flat_map(|&[v, a]| [v, v, v, a])
                    .collect(),
            },
            Raster::Deep(samples, Channels::GreyAlpha | Channels::Rgba) => samples
                .data
                .chunks_exact(samples.count)
                .flat_map(|pixel| {
                    let high = |i: usize| (pixel[i] >> 8) as u8;
                    match pixel.len() {
                        2 => [high(0), high(0), high(0), high(1)],
                        _ => [high(0), high(1), high(2), high(3)],
                    }
                })
                .collect(),
            raster => Self { raster, ..self }
                .into_opaque(deep)
                .data()
                .as_chunks::<3>()
                .0
                .iter()
                .flat_map(|&[r, g, b]| [r, g, b, if key == Some([r, g, b]) { 0 } else { 255 }])
                .collect(),
        };
        pixels(size, Channels::Rgba, data)
    }

    /// Resizes in the file's own mode as Pillow does: two-colour and palette images by nearest
    /// neighbour whatever `filter` says, alpha multiplied in, everything else with `filter`. Colour
    /// with 16 bits is cut to the high byte first.
    pub fn resized(
        self,
        size: Size,
        filter: Filter,
        order: PassOrder,
    ) -> Result<Self, ResizeError> {
        let wide = |samples: &Samples<_>| {
            resize_pillow_wide(&samples.data, samples.size, size, filter, order)
        };
        let nearest = |pixels: &Pixels| resize_pillow(pixels, size, Filter::Nearest, order, None);
        let raster = match self.raster {
            Raster::Bilevel(pixels) => Raster::Bilevel(nearest(&pixels)?),
            Raster::Palette(indices, palette) => Raster::Palette(nearest(&indices)?, palette),
            Raster::Direct(pixels) => {
                Raster::Direct(resize_pillow(&pixels, size, filter, order, None)?)
            }
            Raster::Cmyk(inks) => Raster::Cmyk(resize_pillow_inks(&inks, size, filter, order)?),
            Raster::Deep(samples, Channels::Grey) => Raster::Deep(
                Samples {
                    size,
                    count: 1,
                    data: wide(&samples)?,
                },
                Channels::Grey,
            ),
            Raster::Deep(samples, channels) => {
                let native = Self {
                    raster: Raster::Deep(samples, channels),
                    ..self
                };
                let pixels = match channels {
                    Channels::Rgb => native.into_opaque(Deep::HighByte),
                    _ => native.into_rgba(Deep::HighByte),
                };
                Raster::Direct(resize_pillow(&pixels, size, filter, order, None)?)
            }
            Raster::Integer(samples) => Raster::Integer(Samples {
                size,
                count: 1,
                data: resize_pillow_wide(&samples.data, samples.size, size, filter, order)?,
            }),
            Raster::Float(samples) => Raster::Float(Samples {
                size,
                count: 1,
                data: resize_pillow_wide(&samples.data, samples.size, size, filter, order)?,
            }),
        };
        Ok(Self { raster, ..self })
    }

    /// The centre in `size`, in the file's own mode: what is missing is zero, which is index 0 in a palette
    /// and no ink in CMYK. Fails only when `size` has no content.
    pub fn cropped(
        self,
        size: Size,
        rounding: CropRounding,
        padding: Padding,
    ) -> Result<Self, PixelsError> {
        fn samples<T: Copy + Default>(samples: &Samples<T>, crop: &Crop, size: Size) -> Samples<T> {
            Samples {
                size,
                count: samples.count,
                data: crop.apply(&samples.data, &vec![T::default(); samples.count]),
            }
        }
        let crop = Crop::new(self.size(), size, rounding, padding);
        let pixels = |from: &Pixels| {
            let data = crop.apply(from.data(), &[0; 4][..from.channels().count()]);
            Pixels::new(size.width, size.height, from.channels(), data)
        };
        let raster = match &self.raster {
            Raster::Bilevel(from) => Raster::Bilevel(pixels(from)?),
            Raster::Direct(from) => Raster::Direct(pixels(from)?),
            Raster::Palette(from, palette) => Raster::Palette(pixels(from)?, palette.clone()),
            _ if size.width == 0 || size.height == 0 => {
                return Err(PixelsError::NoContent {
                    width: size.width,
                    height: size.height,
                });
            }
            Raster::Cmyk(from) => Raster::Cmyk(samples(from, &crop, size)),
            Raster::Deep(from, channels) => Raster::Deep(samples(from, &crop, size), *channels),
            Raster::Integer(from) => Raster::Integer(samples(from, &crop, size)),
            Raster::Float(from) => Raster::Float(samples(from, &crop, size)),
        };
        Ok(Self { raster, ..self })
    }

    fn has_transparency(&self) -> bool {
        self.transparent.is_some()
            || match &self.raster {
                Raster::Direct(pixels) => pixels.channels().has_alpha(),
                Raster::Deep(_, channels) => channels.has_alpha(),
                Raster::Palette(_, palette) => palette.alpha != [255; 256],
                _ => false,
            }
    }

    /// The colour, whatever covers it.
    fn into_opaque(self, deep: Deep) -> Pixels {
        let size = self.size();
        let data: Vec<u8> = match self.raster {
            Raster::Direct(pixels) if pixels.channels() == Channels::Rgb => return pixels,
            Raster::Bilevel(pixels) | Raster::Direct(pixels) => match pixels.channels() {
                Channels::Rgba => pixels
                    .data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .flat_map(|&[r, g, b, _]| [r, g, b])
                    .collect(),
                channels => pixels
                    .data()
                    .chunks_exact(channels.count())
                    .flat_map(|pixel| [pixel[0]; 3])
                    .collect(),
            },
            Raster::Palette(indices, palette) => indices
                .data()
                .iter()
                .flat_map(|&i| palette.colours[usize::from(i)])
                .collect(),
            Raster::Cmyk(inks) => inks
                .data
                .as_chunks::<4>()
                .0
                .iter()
                .flat_map(|&[c, m, y, k]| [ink(c, k), ink(m, k), ink(y, k)])
                .collect(),
            Raster::Deep(samples, Channels::Grey) => samples
                .data
                .iter()
                .flat_map(|&v| match deep {
                    Deep::Clip => [v.min(255) as u8; 3],
                    Deep::HighByte => [(v >> 8) as u8; 3],
                })
                .collect(),
            Raster::Deep(samples, _) => samples
                .data
                .chunks_exact(samples.count)
                .flat_map(|pixel| {
                    let high = |i: usize| (pixel[i] >> 8) as u8;
                    match pixel.len() {
                        2 => [high(0); 3],
                        _ => [high(0), high(1), high(2)],
                    }
                })
                .collect(),
            Raster::Integer(samples) => samples
                .data
                .iter()
                .flat_map(|&v| [v.clamp(0, 255) as u8; 3])
                .collect(),
            // The conversion cuts towards zero and saturates.
            Raster::Float(samples) => samples.data.iter().flat_map(|&v| [v as u8; 3]).collect(),
        };
        pixels(size, Channels::Rgb, data)
    }
}

/// One channel of RGB from an ink and black, as Pillow computes it.
fn ink(ink: u8, black: u8) -> u8 {
    let light = 255 - i32::from(black);
    let t = i32::from(ink) * light + 128;
    (light - (((t >> 8) + t) >> 8)).clamp(0, 255) as u8
}

/// OpenCV's own conversion of inks, which cuts where Pillow rounds: up to two levels apart.
pub fn opencv_inks(inks: &Samples<u8>) -> Pixels {
    let data = inks
        .data
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|&[c, m, y, k]| {
            let light = u32::from(255 - k);
            [c, m, y].map(|ink| (light - ((u32::from(ink) * light) >> 8)) as u8)
        })
        .collect();
    pixels(inks.size, Channels::Rgb, data)
}

/// Composes RGBA over an opaque colour, in the fixed point of Pillow's `alpha_composite`.
pub fn over(rgba: &Pixels, background: [u8; 3]) -> Pixels {
    let data = rgba
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|&[r, g, b, a]| {
            // The result is opaque, so its alpha times 255 is 65025.
            let front = u32::from(a) * 255 * 255 * 128 / 65025;
            let back = 255 * 128 - front;
            let blend = |c: u8, under: u8| {
                let t = u32::from(c) * front + u32::from(under) * back + (0x80 << 7);
                ((((t >> 8) + t) >> 8) >> 7) as u8
            };
            match a {
                0 => background,
                _ => [
                    blend(r, background[0]),
                    blend(g, background[1]),
                    blend(b, background[2]),
                ],
            }
        })
        .collect();
    pixels(rgba.size(), Channels::Rgb, data)
}

fn pixels(size: Size, channels: Channels, data: Vec<u8>) -> Pixels {
    Pixels::new(size.width, size.height, channels, data)
        .expect("a conversion makes one pixel of each pixel")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(raster: Raster) -> Native {
        Native {
            format: ImageFormat::Png,
            orientation: 1,
            raster,
            transparent: None,
        }
    }

    fn direct(channels: Channels, data: Vec<u8>) -> Native {
        let width = (data.len() / channels.count()) as u32;
        native(Raster::Direct(
            Pixels::new(width, 1, channels, data).unwrap(),
        ))
    }

    #[test]
    fn alpha_is_dropped_or_composed() {
        let rgba = direct(
            Channels::Rgba,
            vec![10, 20, 30, 0, 10, 20, 30, 255, 0, 0, 0, 128],
        );
        let dropped = rgba.clone().into_rgb(Alpha::Drop, Deep::Clip);
        assert_eq!(dropped.data(), [10, 20, 30, 10, 20, 30, 0, 0, 0]);
        let white = rgba.into_rgb(Alpha::Over([255; 3]), Deep::Clip);
        assert_eq!(white.data(), [255, 255, 255, 10, 20, 30, 127, 127, 127]);
        let grey = direct(Channels::GreyAlpha, vec![9, 0]);
        assert_eq!(grey.into_rgb(Alpha::Drop, Deep::Clip).data(), [9, 9, 9]);
    }

    #[test]
    fn a_transparent_colour_counts_only_when_composed() {
        let keyed = Native {
            transparent: Some([1, 2, 3]),
            ..direct(Channels::Rgb, vec![1, 2, 3, 1, 2, 4])
        };
        assert_eq!(
            keyed.clone().into_rgb(Alpha::Drop, Deep::Clip).data(),
            [1, 2, 3, 1, 2, 4]
        );
        assert_eq!(
            keyed.into_rgb(Alpha::Over([0, 9, 0]), Deep::Clip).data(),
            [0, 9, 0, 1, 2, 4]
        );
    }

    #[test]
    fn sixteen_bits_clip_or_keep_the_high_byte() {
        let size = Size {
            width: 3,
            height: 1,
        };
        let samples = Samples {
            size,
            count: 1,
            data: vec![7, 0x0203, 0xff00],
        };
        let grey = native(Raster::Deep(samples, Channels::Grey));
        assert_eq!(grey.mode().name(), "I;16");
        let clipped = grey.clone().into_rgb(Alpha::Drop, Deep::Clip);
        assert_eq!(clipped.data(), [7, 7, 7, 255, 255, 255, 255, 255, 255]);
        let high = grey.into_rgb(Alpha::Drop, Deep::HighByte);
        assert_eq!(high.data(), [0, 0, 0, 2, 2, 2, 255, 255, 255]);
    }

    #[test]
    fn inks_integers_and_floats_follow_pillow() {
        assert_eq!(
            (ink(0, 0), ink(255, 0), ink(0, 255), ink(128, 64)),
            (255, 0, 0, 95)
        );
        let size = Size {
            width: 4,
            height: 1,
        };
        let integers = native(Raster::Integer(Samples {
            size,
            count: 1,
            data: vec![-5, 0, 200, 70_000],
        }));
        let rgb = integers.into_rgb(Alpha::Drop, Deep::Clip);
        assert_eq!(
            rgb.rows().next().unwrap()[6..],
            [200, 200, 200, 255, 255, 255]
        );
        let floats = native(Raster::Float(Samples {
            size,
            count: 1,
            data: vec![f32::NAN, -1.0, 3.99, 1e9],
        }));
        let rgb = floats.into_rgb(Alpha::Drop, Deep::Clip);
        assert_eq!(rgb.data(), [0, 0, 0, 0, 0, 0, 3, 3, 3, 255, 255, 255]);
    }

    #[test]
    fn what_a_crop_adds_is_zero_in_the_files_own_mode() {
        let size = Size {
            width: 1,
            height: 1,
        };
        let wide = Size {
            width: 3,
            height: 1,
        };
        let rgb = |raster| {
            native(raster)
                .cropped(wide, CropRounding::HalfEven, Padding::LargerAfter)
                .unwrap()
                .into_rgb(Alpha::Drop, Deep::Clip)
                .into_data()
        };
        let black = Raster::Cmyk(Samples {
            size,
            count: 4,
            data: vec![0, 0, 0, 255],
        });
        assert_eq!(rgb(black), [255, 255, 255, 0, 0, 0, 255, 255, 255]);
        let index = Pixels::new(1, 1, Channels::Grey, vec![1]).unwrap();
        let palette = Box::new(Palette::new(&[9, 8, 7, 1, 2, 3]));
        assert_eq!(
            rgb(Raster::Palette(index, palette)),
            [9, 8, 7, 1, 2, 3, 9, 8, 7]
        );
    }

    #[test]
    fn palettes_are_looked_up_and_are_black_beyond_their_end() {
        let mut palette = Palette::new(&[1, 2, 3, 4, 5, 6]);
        palette.alpha[1] = 0;
        let indices = Pixels::new(3, 1, Channels::Grey, vec![0, 1, 200]).unwrap();
        let native = native(Raster::Palette(indices, Box::new(palette)));
        assert_eq!(
            native.clone().into_rgb(Alpha::Drop, Deep::Clip).data(),
            [1, 2, 3, 4, 5, 6, 0, 0, 0]
        );
        assert_eq!(
            native.into_rgb(Alpha::Over([7; 3]), Deep::Clip).data(),
            [1, 2, 3, 7, 7, 7, 0, 0, 0]
        );
    }
}
