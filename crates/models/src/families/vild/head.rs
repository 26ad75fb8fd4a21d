//! The heads of `ViLD`: a region's feature into CLIP's space, and how well it fits classes there.

use candle_core::{DType, Tensor};
use sightline_nn::convolution::{channels_first, channels_last};
use sightline_nn::{Activation, ConvNorm, Linear, Weights, unit_length};

use super::config::{REGION_SIDE, VildConfig};
use crate::detect::clipped;
use crate::loss::log_softmax;
use crate::{Error, Result};

/// What box corrections were multiplied by in training: those of top, left, height and width.
const BOX_SCALES: [f32; 4] = [10.0, 10.0, 5.0, 5.0];

/// The most that a height or a width is stretched by: `ln(1000 / 16)`.
const STRETCH: f32 = 4.135_166_6;

/// How much the text head counts for classes whose boxes were seen in training; the image head counts the rest. For other
/// classes it is the other way round (section 3.4, "Model ensembling").
pub const BASE_SHARE: f64 = 2.0 / 3.0;

/// A region's feature to its place in CLIP's space.
pub struct RegionHead {
    convolutions: Vec<ConvNorm>,
    fc6: Linear,
    fc7: Linear,
    project: Linear,
    channels: usize,
}

/// What a head makes of `R` regions.
pub struct Encoded {
    /// `[R, fc_dim]`: the last hidden state.
    pub hidden: Tensor,
    /// `[R, D]`, unit length, f32.
    pub embedding: Tensor,
}

impl RegionHead {
    fn load(weights: &Weights, config: &VildConfig) -> Result<Self> {
        let convolutions = config.convolutions().enumerate().map(|(number, spec)| {
            let weights = weights.scope("convs").scope(number);
            ConvNorm::load_with_bias(&weights, &spec)
        });
        let flat = config.last_channels() * REGION_SIDE * REGION_SIDE;
        Ok(Self {
            convolutions: convolutions.collect::<Result<_, _>>()?,
            fc6: Linear::load(&weights.scope("fc6"), flat, config.fc_dim)?,
            fc7: Linear::load(&weights.scope("fc7"), config.fc_dim, config.fc_dim)?,
            project: Linear::load(&weights.scope("project"), config.fc_dim, config.clip_dim)?,
            channels: config.channels,
        })
    }

    /// `features` `[R, channels, side, side]`.
    pub fn forward(&self, features: &Tensor) -> Result<Encoded> {
        let (_, channels, _, _) = features.dims4()?;
        if channels != self.channels {
            let (found, wanted) = (channels, self.channels);
            return Err(Error::FeatureWidth { found, wanted });
        }
        let mut map = channels_last(features)?;
        for convolution in &self.convolutions {
            map = convolution.forward_activated(&map, Activation::Relu)?;
        }
        // The first linear map was trained on channels first.
        let flat = channels_first(&map)?.contiguous()?.flatten_from(1)?;
        let hidden = self.fc6.forward_activated(&flat, Activation::Relu)?;
        let hidden = self.fc7.forward_activated(&hidden, Activation::Relu)?;
        let embedding = unit_length(&self.project.forward(&hidden)?)?;
        Ok(Encoded { hidden, embedding })
    }
}

/// One head, or one for each teacher.
pub struct Heads {
    text: RegionHead,
    /// `None` where one head learned from both.
    image: Option<RegionHead>,
    correction: Linear,
    /// `[1, D]`, unit length: what is no object.
    background: Tensor,
    temperature: f64,
}

/// What the heads make of `R` regions and `K` classes.
pub struct Outputs {
    /// Of the text head.
    pub text: Encoded,
    /// Of the head that learned from the image encoder.
    pub image: Encoded,
    /// `[R, 1 + K]`, the background first.
    pub text_logits: Tensor,
    /// `[R, K]`.
    pub image_logits: Tensor,
}

impl Heads {
    /// Reads `text_head`, `image_head` if there are two, and `background`.
    pub fn load(weights: &Weights, config: &VildConfig) -> Result<Self> {
        let text = weights.scope("text_head");
        let image = config
            .ensemble
            .then(|| RegionHead::load(&weights.scope("image_head"), config));
        let background = weights.tensor_f32("background", &[config.clip_dim])?;
        Ok(Self {
            correction: Linear::load(&text.scope("box"), config.fc_dim, 4)?,
            text: RegionHead::load(&text, config)?,
            image: image.transpose()?,
            background: background.unsqueeze(0)?,
            temperature: config.temperature,
        })
    }

    /// `features` `[R, channels, side, side]`, `classes` `[K, D]` of unit length.
    pub fn forward(&self, features: &Tensor, classes: &Tensor) -> Result<Outputs> {
        let text = self.text.forward(features)?;
        let image = match &self.image {
            Some(head) => head.forward(features)?,
            None => Encoded {
                hidden: text.hidden.clone(),
                embedding: text.embedding.clone(),
            },
        };
        let with_background = Tensor::cat(&[&unit_length(&self.background)?, classes], 0)?;
        Ok(Outputs {
            text_logits: cosines(&text.embedding, &with_background, self.temperature)?,
            image_logits: cosines(&image.embedding, classes, self.temperature)?,
            text,
            image,
        })
    }

    /// `[R, 4]`, f32: corrections of top, left, height and width.
    pub fn corrections(&self, encoded: &Encoded) -> Result<Tensor> {
        let corrections = self.correction.forward(&encoded.hidden)?;
        Ok(corrections.to_dtype(DType::F32)?)
    }

    /// Probabilities `[R, K]`: of the text head, or of both together where there are two.
    pub fn probabilities(&self, outputs: &Outputs, is_base: &[bool]) -> Result<Tensor> {
        let text = log_softmax(&outputs.text_logits)?;
        let text = text.narrow(1, 1, text.dim(1)?.saturating_sub(1))?;
        if self.image.is_none() {
            return Ok(text.exp()?);
        }
        let image = log_softmax(&outputs.image_logits)?;
        ensemble(&text, &image, is_base)
    }
}

/// `p_text ^ λ * p_image ^ (1 - λ)` from the logarithms `[R, K]` of both, λ being [`BASE_SHARE`] for classes whose boxes
/// were seen in training and the rest to 1 for others.
fn ensemble(text: &Tensor, image: &Tensor, is_base: &[bool]) -> Result<Tensor> {
    let share = |&is_base: &bool| {
        if is_base {
            BASE_SHARE
        } else {
            1.0 - BASE_SHARE
        }
    };
    let shares: Vec<f32> = is_base.iter().map(|base| share(base) as f32).collect();
    let shares = Tensor::new(shares, text.device())?.unsqueeze(0)?;
    let rest = shares.affine(-1.0, 1.0)?;
    let sum = (text.broadcast_mul(&shares)? + image.broadcast_mul(&rest)?)?;
    Ok(sum.exp()?)
}

/// `temperature` times the cosines of `rows` `[R, D]` and `classes` `[K, D]`, both of unit length; `[R, K]`.
pub(crate) fn cosines(rows: &Tensor, classes: &Tensor, temperature: f64) -> Result<Tensor> {
    Ok((rows.matmul(&classes.t()?)? * temperature)?)
}

/// `edges` (left, top, right, bottom) corrected by the head, within an image of `size` (width, height).
pub fn corrected(edges: [f32; 4], correction: [f32; 4], size: [f32; 2]) -> [f32; 4] {
    let [left, top, right, bottom] = edges;
    let mut scaled = correction;
    for (value, scale) in scaled.iter_mut().zip(BOX_SCALES) {
        *value /= scale;
    }
    let [down, across, taller, wider] = scaled;
    let (width, height) = (right - left, bottom - top);
    let x = left + width / 2.0 + across * width;
    let y = top + height / 2.0 + down * height;
    let half_width = width * wider.min(STRETCH).exp() / 2.0;
    let half_height = height * taller.min(STRETCH).exp() / 2.0;
    let edges = [
        x - half_width,
        y - half_height,
        x + half_width,
        y + half_height,
    ];
    clipped(edges, size)
}

/// What the head is to say of a region with `edges` that shows the object with the box `object`; [`corrected`] takes it
/// back.
pub(super) fn box_target(edges: [f32; 4], object: [f32; 4]) -> [f32; 4] {
    // Boxes of no size would have no logarithm.
    let place = |[left, top, right, bottom]: [f32; 4]| {
        let (width, height) = ((right - left).max(1.0), (bottom - top).max(1.0));
        (left + width / 2.0, top + height / 2.0, width, height)
    };
    let (x, y, width, height) = place(edges);
    let (to_x, to_y, to_width, to_height) = place(object);
    let mut target = [
        (to_y - y) / height,
        (to_x - x) / width,
        (to_height / height).ln(),
        (to_width / width).ln(),
    ];
    for (value, scale) in target.iter_mut().zip(BOX_SCALES) {
        *value *= scale;
    }
    target
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Corrections come as top, left, height, width, boxes as left, top, right, bottom.
    #[test]
    fn corrections_are_of_y_before_x() {
        let edges = [10.0, 20.0, 30.0, 60.0];
        let size = [100.0, 100.0];
        assert_eq!(corrected(edges, [0.0; 4], size).to_vec(), edges);
        // A tenth of 40 rows down, a twentieth of 20 columns to the right.
        let moved = corrected(edges, [1.0, 0.5, 0.0, 0.0], size);
        assert_eq!(moved.to_vec(), [11.0, 24.0, 31.0, 64.0]);
        let twice = 5.0 * 2.0_f32.ln();
        let wide = corrected(edges, [0.0, 0.0, 0.0, twice], size);
        assert!((wide[0] - 0.0).abs() < 1e-4 && (wide[2] - 40.0).abs() < 1e-4);
        assert_eq!((wide[1], wide[3]), (20.0, 60.0));
        // Neither beyond the image nor without end.
        assert_eq!(
            corrected(edges, [0.0, 0.0, 1e9, 1e9], size).to_vec(),
            [0.0, 0.0, 100.0, 100.0]
        );
    }

    #[test]
    fn a_target_is_what_corrects_a_region_to_its_object() {
        let (edges, object) = ([10.0, 20.0, 30.0, 60.0], [5.0, 30.0, 45.0, 50.0]);
        let back = corrected(edges, box_target(edges, object), [100.0, 100.0]);
        for (found, expected) in back.iter().zip(object) {
            assert!((found - expected).abs() < 1e-4, "{back:?}");
        }
        assert!(
            box_target(edges, [3.0; 4])
                .iter()
                .all(|value| value.is_finite())
        );
    }

    /// Two thirds of the text head for classes with boxes, one third for others.
    #[test]
    fn the_text_head_counts_more_for_base_classes() {
        let log = |values: &[f32]| {
            let values: Vec<f32> = values.iter().map(|v| v.ln()).collect();
            Tensor::new(values, &Device::Cpu)
                .unwrap()
                .unsqueeze(0)
                .unwrap()
        };
        let both = ensemble(
            &log(&[0.8, 0.8, 0.0]),
            &log(&[0.1, 0.1, 0.1]),
            &[true, false, true],
        );
        let both = both.unwrap().to_vec2::<f32>().unwrap();
        let expected = [
            0.8_f32.powf(2.0 / 3.0) * 0.1_f32.powf(1.0 / 3.0),
            0.8_f32.powf(1.0 / 3.0) * 0.1_f32.powf(2.0 / 3.0),
            0.0,
        ];
        for (found, expected) in both[0].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
