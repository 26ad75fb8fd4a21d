//! Many images at once, on all threads, in their own order.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use sightline_core::image_spec::Layout;

use crate::{Element, PrepareError, Preprocessor};

impl Preprocessor {
    /// Prepares every image on rayon's threads; results are in the order of `images` and do not depend
    /// on the number of threads.
    pub fn prepare_all(&self, images: &[&[u8]]) -> Vec<Result<Vec<f32>, PrepareError>> {
        images.par_iter().map(|bytes| self.prepare(bytes)).collect()
    }

    /// Prepares every image on rayon's threads into `out`, which holds [`Self::len`] values for each; those of a broken
    /// image are left as they are.
    pub fn prepare_all_into<T: Element>(
        &self,
        images: &[&[u8]],
        out: &mut [T],
    ) -> Vec<Result<(), PrepareError>> {
        let places = out.par_chunks_exact_mut(self.len());
        if places.len() != images.len() {
            let expected = self.len() * images.len();
            let error = || PrepareError::Room {
                len: out.len(),
                expected,
            };
            return images.iter().map(|_| Err(error())).collect();
        }
        images
            .par_iter()
            .zip(places)
            .map(|(bytes, out)| {
                self.pool
                    .with(|workspace| self.prepare_into(bytes, workspace, out))
            })
            .collect()
    }

    /// Rows of [`Self::prepare`] as one tensor on `device`, `[B, 3, H, W]` or `[B, H, W, 3]`.
    pub fn stack(&self, rows: &[Vec<f32>], device: &Device) -> Result<Tensor, PrepareError> {
        let expected = self.len();
        if let Some((index, row)) = rows.iter().enumerate().find(|(_, r)| r.len() != expected) {
            return Err(PrepareError::Row {
                index,
                len: row.len(),
                expected,
            });
        }
        let size = self.spec().size;
        let (height, width) = (size.height as usize, size.width as usize);
        let shape = match self.layout() {
            Layout::Nchw => (rows.len(), 3, height, width),
            Layout::Nhwc => (rows.len(), height, width, 3),
        };
        Ok(Tensor::from_vec(rows.concat(), shape, device)?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;
    use sightline_core::ImageFormat;
    use sightline_core::image_spec::hugging_face::from_hugging_face;
    use sightline_imaging::{Channels, EncodeSpec, Limits, Pixels, encode};

    use super::*;

    pub(crate) fn preprocessor() -> Preprocessor {
        let spec = from_hugging_face(&json!({ "size": 8, "crop_size": 8 })).unwrap();
        Preprocessor::new(spec, Limits::default()).unwrap()
    }

    pub(crate) fn png(side: u32, colour: u8) -> Vec<u8> {
        let pixels = Pixels::filled(side, side + 3, Channels::Rgb, &[colour, 0, 255]).unwrap();
        encode(&pixels, &EncodeSpec::lossless(ImageFormat::Png)).unwrap()
    }

    #[test]
    fn a_broken_image_spoils_only_itself_and_order_is_kept() {
        let files: Vec<Vec<u8>> = (0..20u8).map(|i| png(10 + u32::from(i), i * 10)).collect();
        let mut images: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        images[7] = b"<html></html>";
        images[9] = &files[9][..40];
        let together = preprocessor().prepare_all(&images);
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let alone = threads.install(|| preprocessor().prepare_all(&images));
        for (i, (a, b)) in together.iter().zip(&alone).enumerate() {
            match (a, b) {
                (Ok(a), Ok(b)) => assert_eq!(a, b, "{i}"),
                (Err(a), Err(b)) => assert_eq!(a.class(), b.class(), "{i}"),
                _ => panic!("{i}: {a:?} and {b:?}"),
            }
        }
        let classes: Vec<_> = together.iter().filter_map(|r| r.as_ref().err()).collect();
        let mut values = vec![7.0; 20 * preprocessor().len()];
        let outcomes = preprocessor().prepare_all_into(&images, &mut values);
        let rows = values.chunks_exact(preprocessor().len());
        for ((outcome, row), expected) in outcomes.iter().zip(rows).zip(&together) {
            match expected {
                Ok(expected) => assert!(outcome.is_ok() && row == expected),
                Err(_) => assert!(outcome.is_err() && row == [7.0; 192]),
            }
        }
        assert_eq!(classes.len(), 2);
        assert_eq!(
            (classes[0].class(), classes[1].class()),
            ("not-an-image", "truncated")
        );
    }

    #[test]
    fn rows_stack_to_a_batch() {
        let preprocessor = preprocessor();
        let rows: Vec<Vec<f32>> = [1, 2]
            .map(|colour| preprocessor.prepare(&png(9, colour)).unwrap())
            .into();
        let batch = preprocessor.stack(&rows, &Device::Cpu).unwrap();
        assert_eq!(batch.dims(), [2, 3, 8, 8]);
        assert_eq!(
            batch
                .get(1)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap(),
            rows[1]
        );
        assert_eq!(
            preprocessor.stack(&[], &Device::Cpu).unwrap().dims(),
            [0, 3, 8, 8]
        );
        let error = preprocessor
            .stack(&[vec![0.0; 5]], &Device::Cpu)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 0 of the batch has 5 values, expected 192"
        );
    }
}
