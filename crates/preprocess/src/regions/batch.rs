//! Regions of several images as tensors of one shape.

use std::borrow::Borrow;

use candle_core::{Device, Tensor};
use sightline_core::image_spec::Size;

use super::{Regions, RegionsError};

/// Regions of an image in a batch; detectors give about a hundred.
const REGIONS_LIMIT: usize = 1 << 16;

/// Values of a batch in memory: 16 GiB.
const VALUES_LIMIT: usize = 1 << 32;

/// What a batch looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSpec {
    /// R: images with fewer regions are padded with zeros, those with more are cut.
    pub regions: usize,
    /// The order of an image's regions, and so which are kept.
    pub order: Order,
    /// D; without it, that of the first image that has a region.
    pub width: Option<usize>,
    /// Whether there are boxes, and how they are measured.
    pub boxes: Option<BoxForm>,
    /// What all of `visual_token_type_ids` are.
    pub token_type: i64,
}

impl Default for BatchSpec {
    /// `VisualBERT` on VQA: 100 regions in the order of the file, no boxes, type 1. `VisualGPT` takes 50.
    fn default() -> Self {
        Self {
            regions: 100,
            order: Order::File,
            width: None,
            boxes: None,
            token_type: 1,
        }
    }
}

/// The order of an image's regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As in the file.
    #[default]
    File,
    /// Greatest confidence first; equal ones as in the file, those that are not a number last.
    Confidence,
}

/// How boxes are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxForm {
    /// `[x1, y1, x2, y2]` in pixels.
    Pixels,
    /// `[x1 / W, y1 / H, x2 / W, y2 / H]`.
    Fractions,
    /// As fractions, and the share of the image's area as the fifth: `(x2 - x1) (y2 - y1) / (W H)`.
    FractionsAndArea,
}

impl BoxForm {
    /// Values of a box.
    pub fn width(self) -> usize {
        match self {
            Self::Pixels | Self::Fractions => 4,
            Self::FractionsAndArea => 5,
        }
    }
}

/// A batch of B images.
#[derive(Clone, Debug)]
pub struct RegionBatch {
    /// `[B, R, D]`, float32, zeros beyond the regions of an image.
    pub visual_embeds: Tensor,
    /// `[B, R]`, float32: 1 for a region, 0 for padding.
    pub visual_attention_mask: Tensor,
    /// `[B, R]`, int64: the type of [`BatchSpec`] everywhere.
    pub visual_token_type_ids: Tensor,
    /// `[B, R, 4]` or `[B, R, 5]`, float32, zeros beyond the regions of an image.
    pub boxes: Option<Tensor>,
}

/// Pads or cuts `regions`, of B images, to the shape of `spec`, on `device`.
pub fn batch(
    regions: &[impl Borrow<Regions>],
    spec: &BatchSpec,
    device: &Device,
) -> Result<RegionBatch, RegionsError> {
    spec.check()?;
    let width = spec.width.or_else(|| width_of(regions));
    let width = width.ok_or(RegionsError::NoWidth {
        images: regions.len(),
    })?;
    let values = regions
        .len()
        .checked_mul(spec.regions)
        .and_then(|n| n.checked_mul(width));
    if values.is_none_or(|values| values > VALUES_LIMIT) {
        let value = values.map_or(u64::MAX, |values| values as u64);
        let limit = VALUES_LIMIT as u64;
        return Err(RegionsError::Batch {
            what: "number of values",
            value,
            limit,
        });
    }
    let mut all = Padded::default();
    for regions in regions {
        let one = pad(regions.borrow(), spec, width)?;
        all.embeds.extend(one.embeds);
        all.mask.extend(one.mask);
        all.boxes.extend(one.boxes);
    }
    let (b, r) = (regions.len(), spec.regions);
    let boxes = spec
        .boxes
        .map(|form| Tensor::from_vec(all.boxes, (b, r, form.width()), device));
    Ok(RegionBatch {
        visual_embeds: Tensor::from_vec(all.embeds, (b, r, width), device)?,
        visual_attention_mask: Tensor::from_vec(all.mask, (b, r), device)?,
        visual_token_type_ids: Tensor::full(spec.token_type, (b, r), device)?,
        boxes: boxes.transpose()?,
    })
}

/// A batch as models take it: as many regions as the image with the most of them has, one at least and `most` at most, each with a feature
/// of `width` values.
pub fn stack(
    regions: &[impl Borrow<Regions>],
    width: usize,
    most: usize,
    device: &Device,
) -> Result<RegionBatch, RegionsError> {
    let found = regions.iter().map(|regions| regions.borrow().len()).max();
    let spec = BatchSpec {
        regions: found.unwrap_or(0).clamp(1, most.max(1)),
        width: Some(width),
        ..BatchSpec::default()
    };
    batch(regions, &spec, device)
}

impl BatchSpec {
    /// Whether a batch can be of this shape.
    pub(super) fn check(&self) -> Result<(), RegionsError> {
        let within = |what, value: usize, limit: usize| {
            let (value, limit) = (value as u64, limit as u64);
            let is_within = (1..=limit).contains(&value);
            if is_within {
                Ok(())
            } else {
                Err(RegionsError::Batch { what, value, limit })
            }
        };
        within("number of regions", self.regions, REGIONS_LIMIT)?;
        within(
            "length of a feature",
            self.width.unwrap_or(1),
            REGIONS_LIMIT,
        )
    }
}

/// D of the first image that has a region.
fn width_of(regions: &[impl Borrow<Regions>]) -> Option<usize> {
    let mut all = regions.iter().map(Borrow::borrow);
    all.find(|regions| !regions.is_empty()).map(Regions::width)
}

/// Rows of one image, or of several: `[R, D]`, `[R]`, `[R, 4 or 5]` or nothing.
#[derive(Debug, Default)]
pub(super) struct Padded {
    pub(super) embeds: Vec<f32>,
    pub(super) mask: Vec<f32>,
    pub(super) boxes: Vec<f32>,
}

/// The rows of one image.
pub(super) fn pad(
    regions: &Regions,
    spec: &BatchSpec,
    width: usize,
) -> Result<Padded, RegionsError> {
    let id = || regions.id().to_owned();
    let lacks = |what, purpose| RegionsError::Lacks {
        id: id(),
        what,
        purpose,
    };
    if !regions.is_empty() && regions.width() != width {
        return Err(RegionsError::Width {
            id: id(),
            width: regions.width(),
            expected: width,
        });
    }
    let mut order: Vec<usize> = (0..regions.len()).collect();
    if spec.order == Order::Confidence {
        let confidence = regions.parts().confidence.as_ref();
        let confidence = confidence.ok_or_else(|| lacks("confidence", "the order of regions"))?;
        let key = |&at: &usize| {
            Some(confidence[at])
                .filter(|c| !c.is_nan())
                .unwrap_or(f32::NEG_INFINITY)
        };
        order.sort_by(|a, b| key(b).total_cmp(&key(a)));
    }
    order.truncate(spec.regions);

    let mut padded = Padded {
        embeds: Vec::with_capacity(spec.regions * width),
        mask: vec![1.0; order.len()],
        boxes: Vec::new(),
    };
    for &at in &order {
        padded.embeds.extend_from_slice(regions.feature(at));
    }
    if let Some(form) = spec.boxes {
        let boxes = regions
            .parts()
            .boxes
            .as_ref()
            .ok_or_else(|| lacks("boxes", "the batch"))?;
        let size = match (form, regions.parts().size) {
            (BoxForm::Pixels, _) => Size {
                width: 1,
                height: 1,
            },
            (_, Some(size)) if size.width > 0 && size.height > 0 => size,
            _ => return Err(lacks("size", "a box as fractions")),
        };
        for &at in &order {
            measure(boxes[at], size, form, &mut padded.boxes);
        }
        padded.boxes.resize(spec.regions * form.width(), 0.0);
    }
    padded.embeds.resize(spec.regions * width, 0.0);
    padded.mask.resize(spec.regions, 0.0);
    Ok(padded)
}

/// Appends a box; the arithmetic is that of `ViLBERT`'s reader, in single precision.
fn measure([x1, y1, x2, y2]: [f32; 4], size: Size, form: BoxForm, out: &mut Vec<f32>) {
    let (width, height) = (size.width as f32, size.height as f32);
    match form {
        BoxForm::Pixels => out.extend([x1, y1, x2, y2]),
        BoxForm::Fractions | BoxForm::FractionsAndArea => {
            out.extend([x1 / width, y1 / height, x2 / width, y2 / height]);
        }
    }
    if form == BoxForm::FractionsAndArea {
        let area = f64::from(size.width) * f64::from(size.height);
        out.push((y2 - y1) * (x2 - x1) / area as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::super::RegionParts;
    use super::*;

    /// n regions whose features are `[10 i, 10 i + 1]`.
    fn regions(id: &str, confidence: &[f32]) -> Regions {
        let n = confidence.len();
        let parts = RegionParts {
            size: Some(Size {
                width: 40,
                height: 20,
            }),
            width: 2,
            features: (0..n)
                .flat_map(|i| [10.0 * i as f32, 10.0 * i as f32 + 1.0])
                .collect(),
            boxes: Some((0..n).map(|i| [i as f32, 5.0, 20.0, 10.0]).collect()),
            confidence: Some(confidence.to_vec()),
            ..RegionParts::default()
        };
        Regions::new(id, parts).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn made(images: &[Regions], spec: &BatchSpec) -> Result<RegionBatch, RegionsError> {
        batch(images, spec, &Device::Cpu)
    }

    #[test]
    fn few_are_padded_and_many_are_cut_in_the_order_of_the_file() {
        let images = [
            regions("a", &[0.5]),
            regions("b", &[0.1, 0.9, 0.8]),
            regions("c", &[]),
        ];
        let spec = BatchSpec {
            regions: 2,
            boxes: Some(BoxForm::Pixels),
            ..Default::default()
        };
        let batch = made(&images, &spec).unwrap();
        assert_eq!(batch.visual_embeds.dims(), [3, 2, 2]);
        assert_eq!(
            values(&batch.visual_embeds),
            [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 10.0, 11.0, 0.0, 0.0, 0.0, 0.0]
        );
        assert_eq!(
            values(&batch.visual_attention_mask),
            [1.0, 0.0, 1.0, 1.0, 0.0, 0.0]
        );
        assert_eq!(
            batch.visual_token_type_ids.to_vec2::<i64>().unwrap(),
            [[1, 1]; 3]
        );
        assert_eq!(
            values(&batch.boxes.unwrap())[8..16],
            [0.0, 5.0, 20.0, 10.0, 1.0, 5.0, 20.0, 10.0]
        );
    }

    #[test]
    fn the_most_confident_come_first_and_ties_stay() {
        let images = [regions("a", &[0.1, f32::NAN, 0.8, 0.1, 0.8])];
        let firsts = |r| {
            let spec = BatchSpec {
                regions: r,
                order: Order::Confidence,
                ..Default::default()
            };
            let embeds = values(&made(&images, &spec).unwrap().visual_embeds);
            embeds
                .iter()
                .step_by(2)
                .map(|&v| v as usize / 10)
                .collect::<Vec<_>>()
        };
        assert_eq!(firsts(3), [2, 4, 0]);
        assert_eq!(firsts(5), [2, 4, 0, 3, 1]);
    }

    #[test]
    fn boxes_become_fractions_and_area() {
        let spec = BatchSpec {
            regions: 2,
            boxes: Some(BoxForm::FractionsAndArea),
            ..Default::default()
        };
        let batch = made(&[regions("a", &[0.5])], &spec).unwrap();
        let expected = [0.0, 0.25, 0.5, 0.5, 0.125, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(values(&batch.boxes.unwrap()), expected);
    }

    #[test]
    fn what_a_batch_needs_is_asked_for() {
        let bare = |width: usize| {
            let parts = RegionParts {
                width,
                features: vec![0.0; width],
                ..Default::default()
            };
            Regions::new("a", parts).unwrap()
        };
        let spec = BatchSpec {
            regions: 2,
            ..Default::default()
        };
        let say =
            |images: &[Regions], spec: &BatchSpec| made(images, spec).unwrap_err().to_string();
        let sorted = BatchSpec {
            order: Order::Confidence,
            ..spec.clone()
        };
        assert_eq!(
            say(&[bare(2)], &sorted),
            "image `a` has no confidence, which the order of regions needs"
        );
        let boxed = BatchSpec {
            boxes: Some(BoxForm::Fractions),
            ..spec.clone()
        };
        assert_eq!(
            say(&[bare(2)], &boxed),
            "image `a` has no boxes, which the batch needs"
        );
        assert_eq!(
            say(&[bare(2), bare(3)], &spec),
            "features of image `a` have 3 values a region, those of the batch 2"
        );
        assert_eq!(
            say(&[regions("a", &[])], &spec),
            "none of the 1 images has a region, so the length of a feature is not known"
        );
        let none = BatchSpec {
            regions: 0,
            ..spec.clone()
        };
        assert_eq!(
            say(&[bare(2)], &none),
            "number of regions is 0, allowed is 1 to 65536"
        );
        let told = BatchSpec {
            width: Some(2),
            ..spec
        };
        assert_eq!(
            made(&[regions("a", &[])], &told)
                .unwrap()
                .visual_embeds
                .dims(),
            [1, 2, 2]
        );
    }
}
