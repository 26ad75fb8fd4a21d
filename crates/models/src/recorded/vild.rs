//! Recorded outputs of `ViLD`, on regions that are given.
//!
//! | input | shape |
//! | --- | --- |
//! | `feature_map` | `[1, C, h, w]`, `stride` pixels of the configuration from cell to cell |
//! | `boxes`, `objectness` | `[R, 4]` left, top, right, bottom in pixels; `[R]` |
//! | `text_embeddings`, `is_base` | `[K, D]` of any length; `[K]` |
//! | `crop_embeddings` | `[R, D]`: CLIP's vectors of the crops, of any length |
//! | `labels` | `[R]`: 0 for what is no object, 1 to K for classes |
//!
//! | output | what it is |
//! | --- | --- |
//! | `roi_features` | `[R, C, 7, 7]` |
//! | `text_embedding`, `image_embedding` | `[R, D]`, unit length, of each head |
//! | `text_logits` | `[R, 1 + K]`, the background first |
//! | `p_text`, `p_image`, `p_ensemble` | `[R, K]` without the background; the last is what regions are judged by |
//! | `text_loss`, `text_loss_zeroed`, `image_loss` | novel classes left out of the softmax; zeroed; distance to the crops |
//! | `box_deltas`, `decoded_boxes` | `[R, 4]` |
//! | `clip_only`, `clip_objectness` | `[R, K]`: of CLIP alone; with the objectness |
//! | `detections.N.score`, `.class`, `.box` | what is kept, the best first |
//!
//! Tolerance: 2e-4 absolute; boxes 1e-3 pixels; classes equal.

use candle_core::{Device, Tensor};
use sightline_nn::convolution::{channels_first, channels_last};
use sightline_nn::{roi_align, unit_length};

use super::loss::cross_entropy;
use super::values::Values;
use super::{RecordedError, Replay, Result, Tolerance};
use crate::ModelSpec;
use crate::detect::{Detection, Judged, Proposal};
use crate::families::vild::head::{Outputs, corrected};
use crate::families::vild::loss::{Novel, distillation, training_logits};
use crate::families::vild::{
    FAMILY, Heads, VildConfig, crop_probabilities, crop_scores, load_heads,
};
use crate::loss::log_softmax;

/// Inputs of cases that do not mark them.
pub(super) const INPUTS: &[&str] = &[
    "boxes",
    "crop_embeddings",
    "feature_map",
    "is_base",
    "labels",
    "objectness",
    "text_embeddings",
];

/// The encoders are not part of a case: their vectors come as inputs.
struct Vild {
    config: VildConfig,
    heads: Option<Heads>,
}

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    let config = VildConfig::read(spec.folder(FAMILY.name)?)?;
    let heads = load_heads(spec, &config, device)?;
    Ok(Box::new(Vild { config, heads }))
}

impl Replay for Vild {
    fn inputs(&self) -> &'static [&'static str] {
        INPUTS
    }

    fn tolerance(&self, output: &str) -> Tolerance {
        let absolute = match last(output) {
            "class" => return Tolerance::EXACT,
            "box" | "decoded_boxes" => 1e-3,
            _ => 2e-4,
        };
        Tolerance {
            absolute,
            relative: 0.0,
        }
    }

    fn compute(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        let classes = || unit(values.input("text_embeddings")?);
        let temperature = self.config.temperature;
        match output {
            "roi_features" => return self.features(values).map(Some),
            "clip_only" => {
                let crops = values.input("crop_embeddings")?;
                let likely = crop_probabilities(crops, &classes()?, temperature)?;
                return Ok(Some(likely));
            }
            "clip_objectness" => {
                let (crops, proposals) = (values.input("crop_embeddings")?, proposals(values)?);
                let scores = crop_scores(crops, &classes()?, temperature, &proposals)?;
                return Ok(Some(scores));
            }
            _ => {}
        }
        let Some(heads) = &self.heads else {
            return Ok(None);
        };
        let outputs = heads.forward(&self.features(values)?, &classes()?)?;
        Ok(Some(match output {
            "text_embedding" => outputs.text.embedding,
            "image_embedding" => outputs.image.embedding,
            "text_logits" => outputs.text_logits,
            "p_text" => {
                let shares = log_softmax(&outputs.text_logits)?.exp()?;
                shares.narrow(1, 1, shares.dim(1)?.saturating_sub(1))?
            }
            "p_image" => log_softmax(&outputs.image_logits)?.exp()?,
            "p_ensemble" => heads.probabilities(&outputs, &is_base(values)?)?,
            "text_loss" => text_loss(values, &outputs, Novel::Exclude)?,
            "text_loss_zeroed" => text_loss(values, &outputs, Novel::Zero)?,
            "image_loss" => {
                let crops = values.input("crop_embeddings")?;
                distillation(&outputs.image.embedding, crops)?.reshape(1)?
            }
            "box_deltas" => heads.corrections(&outputs.text)?,
            "decoded_boxes" => {
                let edges = self.judged(values, heads, &outputs)?.edges;
                let rows = edges.len();
                Tensor::from_vec(edges.concat(), (rows, 4), &Device::Cpu)?
            }
            output => {
                let judged = self.judged(values, heads, &outputs)?;
                let found = self.config.selection().select(&judged);
                return detection(values, &found, output);
            }
        }))
    }
}

impl Vild {
    /// `[R, C, 7, 7]`.
    fn features(&self, values: &Values) -> Result<Tensor> {
        let map = channels_last(values.input("feature_map")?)?.squeeze(0)?;
        let features = roi_align(&map, &boxes(values)?, &self.config.roi_align())?;
        Ok(channels_first(&features)?.contiguous()?)
    }

    fn judged(&self, values: &Values, heads: &Heads, outputs: &Outputs) -> Result<Judged> {
        let [height, width] = self.config.image_size.ok_or(RecordedError::Missing {
            input: "image_size".to_owned(),
        })?;
        let corrections = heads.corrections(&outputs.text)?.to_vec2::<f32>()?;
        let boxes = boxes(values)?.into_iter().zip(&corrections);
        let edges = boxes.map(|(edges, row)| {
            let correction = [row[0], row[1], row[2], row[3]];
            corrected(edges, correction, [width, height])
        });
        let scores = heads.probabilities(outputs, &is_base(values)?)?;
        Ok(Judged {
            edges: edges.collect(),
            scores: scores.to_vec2()?,
        })
    }
}

/// What stands behind the last dot of a name.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

fn unit(vectors: &Tensor) -> Result<Tensor> {
    Ok(unit_length(vectors)?)
}

fn boxes(values: &Values) -> Result<Vec<[f32; 4]>> {
    let boxes = values.input("boxes")?;
    let (_, columns) = boxes.dims2()?;
    if columns != 4 {
        return Err(RecordedError::Shape {
            found: vec![columns],
            expected: vec![4],
        });
    }
    let rows = boxes.to_vec2::<f32>()?;
    Ok(rows.iter().map(|r| [r[0], r[1], r[2], r[3]]).collect())
}

fn proposals(values: &Values) -> Result<Vec<Proposal>> {
    let objectness = values.input("objectness")?.to_vec1::<f32>()?;
    let boxes = boxes(values)?.into_iter().zip(objectness);
    let proposal = |(edges, objectness)| Proposal { edges, objectness };
    Ok(boxes.map(proposal).collect())
}

fn is_base(values: &Values) -> Result<Vec<bool>> {
    let is_base = values.numbers::<u8>("is_base")?;
    Ok(is_base.into_iter().map(|base| base != 0).collect())
}

fn text_loss(values: &Values, outputs: &Outputs, novel: Novel) -> Result<Tensor> {
    let logits = training_logits(&outputs.text_logits, &is_base(values)?, novel)?;
    let labels = values.numbers::<i64>("labels")?;
    Ok(cross_entropy(&logits, "labels", &labels, -1)?.reshape(1)?)
}

/// What `output` asks of the detections, of which there must be as many as were recorded.
fn detection(values: &Values, found: &[Detection], output: &str) -> Result<Option<Tensor>> {
    if output == "detections" {
        // Written so when there is none.
        return Ok(Some(Tensor::zeros(
            found.len(),
            candle_core::DType::F32,
            &Device::Cpu,
        )?));
    }
    let Some((number, what)) = output
        .strip_prefix("detections.")
        .and_then(|rest| rest.split_once('.'))
    else {
        return Ok(None);
    };
    let is_score = |name: &&str| name.starts_with("detections.") && last(name) == "score";
    let recorded = values.outputs().filter(is_score).count();
    if recorded != found.len() {
        return Err(RecordedError::Shape {
            found: vec![found.len()],
            expected: vec![recorded],
        });
    }
    let number = number.parse::<usize>().ok();
    let Some(detection) = number.and_then(|number| found.get(number)) else {
        return Ok(None);
    };
    Ok(Some(match what {
        "score" => Tensor::new(detection.score, &Device::Cpu)?,
        "class" => Tensor::new(detection.class as i64, &Device::Cpu)?,
        "box" => Tensor::new(&detection.edges, &Device::Cpu)?,
        _ => return Ok(None),
    }))
}
