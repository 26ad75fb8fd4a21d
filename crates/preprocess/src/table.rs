//! From bytes to the values of a tensor: 256 values a channel, each computed once in the exact
//! arithmetic of the reference.

use half::{bf16, f16};
use sightline_core::image_spec::{ImageSpec, Layout, Rescale, Size};
use sightline_imaging::{Channels, Pixels};

use crate::Element;

/// The value of every byte in every channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Table<T = f32> {
    pub(crate) channels: [[T; 256]; 3],
}

/// The same values in every type that a tensor may have.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(crate) f32: Table<f32>,
    pub(crate) f16: Table<f16>,
    pub(crate) bf16: Table<bf16>,
}

/// Pixels in their place in a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    /// Rows of pixels without gaps.
    pub(crate) data: &'a [u8],
    pub(crate) channels: Channels,
    /// Size of the pixels.
    pub(crate) size: Size,
    /// Columns to the left, rows above.
    pub(crate) place: (u32, u32),
    /// Size of the tensor.
    pub(crate) within: Size,
    /// What is around them, RGB.
    pub(crate) fill: [u8; 3],
}

impl Placed<'_> {
    /// Copies the pixels to their place among the bytes of an image of the tensor's size.
    pub(crate) fn copy_into(&self, out: &mut [u8]) {
        let count = self.channels.count();
        let (len, stride) = (
            self.size.width as usize * count,
            self.within.width as usize * count,
        );
        let rows = out.chunks_exact_mut(stride).skip(self.place.1 as usize);
        for (out, row) in rows.zip(self.data.chunks_exact(len)) {
            out[self.place.0 as usize * count..][..len].copy_from_slice(row);
        }
    }
}

impl Tables {
    pub(crate) fn new(spec: &ImageSpec) -> Self {
        let table = Table::new(spec);
        Self {
            f16: table.converted(),
            bf16: table.converted(),
            f32: table,
        }
    }
}

impl Table {
    /// The table of `spec`'s rescaling and normalisation.
    pub fn new(spec: &ImageSpec) -> Self {
        Self {
            channels: std::array::from_fn(|c| {
                let (mean, std) = (spec.mean[c], spec.std[c]);
                std::array::from_fn(|v| value(v as u8, spec.rescale, mean, std))
            }),
        }
    }

    /// The value of a byte in a channel: 0 is red, 1 green, 2 blue.
    pub fn value(&self, channel: usize, byte: u8) -> f32 {
        self.channels[channel][usize::from(byte)]
    }

    /// The values of RGB pixels, channel by channel: `3 * height * width` of them. Grey counts for all
    /// three channels; alpha is passed over.
    pub fn apply(&self, pixels: &Pixels) -> Vec<f32> {
        let size = pixels.size();
        let mut out = vec![0.0; 3 * size.width as usize * size.height as usize];
        let placed = Placed {
            data: pixels.data(),
            channels: pixels.channels(),
            size,
            place: (0, 0),
            within: size,
            fill: [0; 3],
        };
        self.apply_into(placed, Layout::Nchw, &mut out);
        out
    }

    fn converted<T: Element>(&self) -> Table<T> {
        Table {
            channels: self.channels.map(|values| values.map(T::from_f32)),
        }
    }
}

impl<T: Element> Table<T> {
    /// Appends the bytes of all values, little-endian, channel by channel.
    #[cfg(feature = "cuda-kernels")]
    pub(crate) fn write_le(&self, out: &mut Vec<u8>) {
        for values in &self.channels {
            T::write_le(values, out);
        }
    }

    /// Fills a tensor.
    pub(crate) fn apply_into(&self, pixels: Placed<'_>, layout: Layout, out: &mut [T]) {
        if pixels.size != pixels.within {
            self.fill(pixels.fill, layout, out);
        }
        match pixels.channels {
            Channels::Grey => self.paint::<1>(pixels, layout, out),
            Channels::GreyAlpha => self.paint::<2>(pixels, layout, out),
            Channels::Rgb => self.paint::<3>(pixels, layout, out),
            Channels::Rgba => self.paint::<4>(pixels, layout, out),
        }
    }

    fn fill(&self, [r, g, b]: [u8; 3], layout: Layout, out: &mut [T]) {
        let [reds, greens, blues] = &self.channels;
        let fill = [
            reds[usize::from(r)],
            greens[usize::from(g)],
            blues[usize::from(b)],
        ];
        match layout {
            Layout::Nchw => {
                let plane = out.len() / 3;
                for (plane, fill) in out.chunks_exact_mut(plane).zip(fill) {
                    plane.fill(fill);
                }
            }
            Layout::Nhwc => out.as_chunks_mut().0.fill(fill),
        }
    }

    /// Looks up the values of pixels of `C` bytes.
    fn paint<const C: usize>(&self, pixels: Placed<'_>, layout: Layout, out: &mut [T]) {
        let (width, stride) = (pixels.size.width as usize, pixels.within.width as usize);
        let first = pixels.place.1 as usize * stride + pixels.place.0 as usize;
        let starts = (first..).step_by(stride);
        let (data, _) = pixels.data.as_chunks::<C>();
        let [reds, greens, blues] = &self.channels;
        let colour = |pixel: &[u8; C]| {
            let [r, g, b] = if C < 3 { [0; 3] } else { [0, 1, 2] }.map(|c| usize::from(pixel[c]));
            [reds[r], greens[g], blues[b]]
        };
        match layout {
            Layout::Nchw => {
                let (red, rest) = out.split_at_mut(out.len() / 3);
                let (green, blue) = rest.split_at_mut(rest.len() / 2);
                for (row, start) in data.chunks_exact(width).zip(starts) {
                    let span = start..start + width;
                    let reds = red[span.clone()].iter_mut();
                    let values = reds.zip(&mut green[span.clone()]).zip(&mut blue[span]);
                    for (pixel, ((red, green), blue)) in row.iter().zip(values) {
                        [*red, *green, *blue] = colour(pixel);
                    }
                }
            }
            Layout::Nhwc => {
                let (out, _) = out.as_chunks_mut::<3>();
                for (row, start) in data.chunks_exact(width).zip(starts) {
                    for (pixel, out) in row.iter().zip(&mut out[start..start + width]) {
                        *out = colour(pixel);
                    }
                }
            }
        }
    }
}

fn value(v: u8, rescale: Rescale, mean: f32, std: f32) -> f32 {
    let normalise = |x: f32| (x - mean) / std;
    let slow = |factor: f64, offset: bool| {
        let x = (f64::from(v) * factor) as f32;
        if offset { x - 1.0 } else { x }
    };
    match rescale {
        Rescale::Factor { factor, offset } => normalise(slow(factor, offset)),
        Rescale::FactorTop { factor, offset } => normalise(slow(factor, offset)) / std,
        Rescale::Single { factor } => normalise(f32::from(v) * factor as f32),
        Rescale::Fused { factor } => {
            let inverse = (1.0 / factor) as f32;
            (f32::from(v) - mean * inverse) / (std * inverse)
        }
        Rescale::Divide255 => normalise(f32::from(v) / 255.0),
        // The enum may grow; what is unknown here is refused when a preprocessor is made.
        _ => normalise(f32::from(v)),
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use sightline_core::image_spec::{CropRounding, Filter, Fit, Reference};

    use super::*;

    const MEAN: f32 = 0.481_454_66;
    const STD: f32 = 0.268_629_54;

    #[test]
    fn slow_and_dividing_arithmetic_agree_bit_for_bit_and_fused_nearly() {
        let factor = 1.0 / 255.0;
        for v in 0..=255 {
            let slow = value(
                v,
                Rescale::Factor {
                    factor,
                    offset: false,
                },
                MEAN,
                STD,
            );
            let divided = value(v, Rescale::Divide255, MEAN, STD);
            assert_eq!(slow.to_bits(), divided.to_bits(), "{v}");
            let fused = value(v, Rescale::Fused { factor }, MEAN, STD);
            assert!((slow - fused).abs() < 1e-6, "{v}: {slow} {fused}");
        }
    }

    #[test]
    fn pixels_are_put_in_their_place_in_either_layout() {
        let size = Size {
            width: 3,
            height: 2,
        };
        let crop = CropRounding::Floor;
        let fit = Fit::CropOnly { crop };
        let spec = ImageSpec {
            mean: [-1.0, -2.0, -3.0],
            ..ImageSpec::new(size, fit, Filter::Box, Reference::Pillow13)
        };
        let placed = Placed {
            data: &[10, 20, 30, 40, 50, 60],
            channels: Channels::Rgb,
            size: Size {
                width: 2,
                height: 1,
            },
            place: (1, 1),
            within: spec.size,
            fill: [0; 3],
        };
        let tables = Tables::new(&spec);
        let mut planes = [0.0; 18];
        tables.f32.apply_into(placed, Layout::Nchw, &mut planes);
        let red = [1.0, 1.0, 1.0, 1.0, 11.0, 41.0];
        let green = [2.0, 2.0, 2.0, 2.0, 22.0, 52.0];
        let blue = [3.0, 3.0, 3.0, 3.0, 33.0, 63.0];
        assert_eq!(planes.as_chunks::<6>().0, [red, green, blue]);
        let mut pixels = [f16::ZERO; 18];
        tables.f16.apply_into(placed, Layout::Nhwc, &mut pixels);
        for (i, pixel) in pixels.as_chunks::<3>().0.iter().enumerate() {
            assert_eq!(pixel.map(f32::from), [red[i], green[i], blue[i]]);
        }
    }

    #[test]
    fn offset_spans_minus_one_to_one_and_top_divides_again() {
        let offset = Rescale::Factor {
            factor: 1.0 / 127.5,
            offset: true,
        };
        let ends = |rescale, mean, std| [0, 255].map(|v| value(v, rescale, mean, std).to_bits());
        assert_eq!(ends(offset, 0.0, 1.0), [-1.0f32, 1.0].map(f32::to_bits));
        let top = Rescale::FactorTop {
            factor: 1.0 / 255.0,
            offset: false,
        };
        assert_eq!(ends(top, 0.5, 0.5), [-2.0f32, 2.0].map(f32::to_bits));
        assert!((value(255, Rescale::None, 0.0, 1.0) - 255.0).abs() < f32::EPSILON);
    }
}
