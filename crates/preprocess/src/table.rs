//! From bytes to the values of a tensor: 256 values a channel, each computed once in the exact
//! arithmetic of the reference.

use sightline_core::image_spec::{ImageSpec, Rescale};
use sightline_imaging::{Channels, Pixels};

/// The value of every byte in every channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    channels: [[f32; 256]; 3],
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

    /// The values of RGB pixels, channel by channel: `3 * height * width` of them. Grey counts for all
    /// three channels; alpha is passed over.
    pub fn apply(&self, pixels: &Pixels) -> Vec<f32> {
        let count = pixels.channels().count();
        let colours = match pixels.channels() {
            Channels::Grey | Channels::GreyAlpha => [0, 0, 0],
            Channels::Rgb | Channels::Rgba => [0, 1, 2],
        };
        let mut out = Vec::with_capacity(3 * pixels.data().len() / count);
        for (table, offset) in self.channels.iter().zip(colours) {
            out.extend(
                pixels
                    .data()
                    .chunks_exact(count)
                    .map(|pixel| table[usize::from(pixel[offset])]),
            );
        }
        out
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
mod tests {
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
