//! Parts of an image, each prepared as an image of its own.

use rayon::prelude::*;
use sightline_imaging::{Channels, Pixels, decode_rgb};

use crate::{PrepareError, Preprocessor};

/// A decoded image, from which parts are cut.
#[derive(Clone, Debug)]
pub struct Canvas(Pixels);

impl Canvas {
    /// Columns and rows.
    pub fn size(&self) -> [u32; 2] {
        [self.0.width(), self.0.height()]
    }

    /// The pixels from `left`, `top` to before `right`, `bottom`; as far as they are there.
    fn cut(&self, [left, top, right, bottom]: [u32; 4]) -> Result<Pixels, PrepareError> {
        let [width, height] = self.size();
        let (right, bottom) = (right.min(width), bottom.min(height));
        let (left, top) = (left.min(right), top.min(bottom));
        let channels: Channels = self.0.channels();
        let columns = left as usize * channels.count()..right as usize * channels.count();
        let rows = self.0.rows().skip(top as usize);
        let rows = rows.take((bottom - top) as usize);
        let data: Vec<u8> = rows
            .flat_map(|row| &row[columns.clone()])
            .copied()
            .collect();
        Ok(Pixels::new(right - left, bottom - top, channels, data)?)
    }
}

impl Preprocessor {
    /// The image that is encoded in `bytes`, as RGB.
    pub fn canvas(&self, bytes: &[u8]) -> Result<Canvas, PrepareError> {
        Ok(Canvas(decode_rgb(bytes, &self.options)?.pixels))
    }

    /// The values of parts (left, top, right and bottom, in pixels) of an image, each prepared as an image of its own, on
    /// rayon's threads. A part without pixels is an error.
    pub fn prepare_crops(
        &self,
        canvas: &Canvas,
        crops: &[[u32; 4]],
    ) -> Result<Vec<Vec<f32>>, PrepareError> {
        let prepare = |crop: &[u32; 4]| self.prepare_pixels(&canvas.cut(*crop)?);
        crops.par_iter().map(prepare).collect()
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::ImageFormat;
    use sightline_core::image_spec::{CropRounding, Filter, Fit, ImageSpec, Reference, Size};
    use sightline_imaging::{EncodeSpec, Limits, encode};

    use super::*;

    /// An image whose red says the column and whose green says the row.
    #[test]
    fn parts_are_the_pixels_of_their_box() {
        let size = Size::square(2);
        let crop = CropRounding::Floor;
        let fit = Fit::CropOnly { crop };
        let spec = ImageSpec::new(size, fit, Filter::Bilinear, Reference::Pillow13);
        let preprocessor = Preprocessor::new(spec, Limits::default()).unwrap();
        let data = (0..5u8).flat_map(|y| (0..7u8).flat_map(move |x| [x, y, 0]));
        let pixels = Pixels::new(7, 5, Channels::Rgb, data.collect()).unwrap();
        let file = encode(&pixels, &EncodeSpec::lossless(ImageFormat::Png)).unwrap();

        let canvas = preprocessor.canvas(&file).unwrap();
        assert_eq!(canvas.size(), [7, 5]);
        let prepared = preprocessor
            .prepare_crops(&canvas, &[[3, 1, 5, 3], [5, 3, 99, 99]])
            .unwrap();
        assert_eq!(prepared[0][..8], [3.0, 4.0, 3.0, 4.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(prepared[1][..4], [5.0, 6.0, 5.0, 6.0]);
        assert!(
            preprocessor
                .prepare_crops(&canvas, &[[9, 9, 9, 9]])
                .is_err()
        );
        assert!(preprocessor.canvas(b"no image").is_err());
    }
}
