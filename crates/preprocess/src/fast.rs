//! The fast mode, and how far it is from the exact one.

use sightline_core::PixelDeviation;
use sightline_core::image_spec::{ImageSpec, Layout, Rescale};

use crate::{Preprocessor, Table};

/// Whether pixels equal those of the reference processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Bit for bit.
    #[default]
    Exact,
    /// Nearly: JPEG files are decoded at the smallest scale that is not smaller than the resized image, and resized
    /// with weights of 15 bits. What it costs is measured by [`Preprocessor::deviation_from_exact`], and belongs into
    /// the record of a run that uses it.
    Fast,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Exact, Self::Fast];

    /// Its name: `exact` or `fast`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        }
    }
}

impl Preprocessor {
    /// Images whose deviation is measured where nobody says how many: the first of a run.
    pub const COMPARED: usize = 64;

    /// Prepares images in this mode and in the exact one, and compares. All is zero if this is the exact mode.
    pub fn deviation_from_exact<B: AsRef<[u8]>>(
        &self,
        images: impl IntoIterator<Item = B>,
    ) -> PixelDeviation {
        let ours = self.with_spec(self.levels());
        let exact = ours.clone().with_mode(Mode::Exact);
        let mut comparison = Comparison::new(self);
        for image in images {
            let image = image.as_ref();
            comparison.add(ours.prepare(image).ok(), exact.prepare(image).ok());
        }
        comparison.finish()
    }

    /// The same specification without rescaling: values are levels, pixel by pixel.
    pub(crate) fn levels(&self) -> ImageSpec {
        ImageSpec {
            rescale: Rescale::None,
            mean: [0.0; 3],
            std: [1.0; 3],
            layout: Layout::Nhwc,
            ..self.spec().clone()
        }
    }
}

/// Sums up how far levels of images are from those of the exact mode.
pub(crate) struct Comparison {
    table: Table,
    /// Values of an image.
    len: usize,
    deviation: PixelDeviation,
    sum_levels: f64,
    sum: f64,
}

impl Comparison {
    pub(crate) fn new(preprocessor: &Preprocessor) -> Self {
        Self {
            table: Table::new(preprocessor.spec()),
            len: preprocessor.len(),
            deviation: PixelDeviation::default(),
            sum_levels: 0.0,
            sum: 0.0,
        }
    }

    /// Adds the [levels](Preprocessor::levels) of an image; nothing where it could not be prepared.
    pub(crate) fn add(&mut self, ours: Option<Vec<f32>>, exact: Option<Vec<f32>>) {
        let deviation = &mut self.deviation;
        let (Some(ours), Some(exact)) = (ours, exact) else {
            deviation.failed += 1;
            return;
        };
        deviation.images += 1;
        for (i, (ours, exact)) in ours.into_iter().zip(exact).enumerate() {
            let (ours, exact) = (ours as u8, exact as u8);
            let levels = ours.abs_diff(exact);
            let value = |level| f64::from(self.table.value(i % 3, level));
            let difference = (value(ours) - value(exact)).abs();
            self.sum_levels += f64::from(levels);
            self.sum += difference;
            deviation.max_levels = deviation.max_levels.max(levels);
            deviation.max = deviation.max.max(difference);
        }
    }

    pub(crate) fn finish(self) -> PixelDeviation {
        let values = (self.deviation.images as f64 * self.len as f64).max(1.0);
        PixelDeviation {
            mean_levels: self.sum_levels / values,
            mean: self.sum / values,
            ..self.deviation
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_core::image_spec::hugging_face::from_hugging_face;
    use sightline_imaging::{Channels, EncodeSpec, Limits, Pixels, encode};

    use super::*;

    fn photo(width: u32, height: u32) -> Vec<u8> {
        let wave =
            |a: u32, b: u32| (127.0 + 90.0 * (a as f32 * 0.07 + b as f32 * 0.031).sin()) as u8;
        let data = (0..width * height)
            .flat_map(|i| {
                let (x, y) = (i % width, i / width);
                [wave(x, y), wave(y, x), wave(x + y, 3 * x)]
            })
            .collect();
        let pixels = Pixels::new(width, height, Channels::Rgb, data).unwrap();
        encode(&pixels, &EncodeSpec::jpeg(90)).unwrap()
    }

    #[test]
    fn the_fast_mode_is_near_the_exact_one_and_says_how_near() {
        let config = json!({ "size": 50, "crop_size": 48, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5] });
        let exact =
            Preprocessor::new(from_hugging_face(&config).unwrap(), Limits::default()).unwrap();
        let images = [
            photo(301, 203),
            photo(203, 421),
            b"broken".to_vec(),
            photo(60, 50),
        ];
        let none = exact.deviation_from_exact(&images);
        assert_eq!(
            none,
            PixelDeviation {
                images: 3,
                failed: 1,
                ..PixelDeviation::default()
            }
        );
        let fast = exact.with_mode(Mode::Fast).deviation_from_exact(&images);
        assert!(fast.max_levels > 0 && fast.max_levels <= 24, "{fast:?}");
        assert!(fast.mean_levels > 0.0 && fast.mean_levels < 1.5, "{fast:?}");
        // A level is 2 / 255 of a value here.
        assert!(
            (fast.mean - fast.mean_levels * 2.0 / 255.0).abs() < 1e-6,
            "{fast:?}"
        );
        assert!(
            (fast.max - f64::from(fast.max_levels) * 2.0 / 255.0).abs() < 1e-6,
            "{fast:?}"
        );
    }
}
