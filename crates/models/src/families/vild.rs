//! `ViLD`: a detector that learns from CLIP, for classes that are named when it is asked (Gu et al. 2021, arXiv 2104.13921).
//!
//! A region's feature, 7 x 7 cells cut out of a map by RoI align, goes through a head into CLIP's space. There its cosines to
//! the classes, sentences in CLIP's text encoder, are its logits.
//!
//! - **ViLD-text** (section 3.2): softmax over the classes and a learned vector for what is no object.
//! - **ViLD-image** (section 3.3): the head's vectors are near those of CLIP's image encoder for the same crops.
//! - **ViLD**: one head learned both. **ViLD-ensemble** (section 3.4): a head for each, their probabilities multiplied, each
//!   to a power that says how much it counts.
//!
//! Without any training CLIP itself judges the crops ([`Mode::Crops`], section 3.1): a crop's vector is the mean of those of the
//! box and of the box at 1.5 times its size; its score is the square root of its probability times the objectness.
//!
//! The heads take features of regions that were computed before; the network that makes them, and the one that proposes
//! regions, are not part of this.

mod config;
pub mod head;
pub mod loss;
pub mod prompts;

use candle_core::{Device, Tensor};
use sightline_nn::{Weights, unit_length};

pub use config::{Mode, REGION_SIDE, VildConfig};
pub use head::Heads;

use self::head::{corrected, cosines, log_softmax};
use crate::detect::{
    Class, Detect, Judged, Proposal, RegionBatch, RegionView, Seen, Selection, Vocabulary, clipped,
};
use crate::encoder::encoder;
use crate::folder::{self, CONFIG};
use crate::{
    Capability, CheckpointFile, Embed, Error, Family, FileRole, Model, ModelSpec, Result,
    VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "vild",
    paper: "https://arxiv.org/abs/2104.13921",
    capabilities: &[Capability::Detect],
    needs_checkpoint: true,
    files,
    offers: |_| Ok(FAMILY.capabilities),
    input: |spec| {
        let folder = spec.folder(FAMILY.name)?;
        let config = VildConfig::read(folder)?;
        let (clip, spec) = encoder(spec, config.encoders(folder)?, FAMILY.name)?;
        Ok(match config.mode {
            Mode::Head => features(&config),
            Mode::Crops => (clip.input)(&spec)?,
        })
    },
    load: |spec, device| Ok(Box::new(Vild::load(spec, device)?)),
};

/// By how much a box is scaled for each of its crops.
pub const CROP_SCALES: [f32; 2] = [1.0, 1.5];

/// A `ViLD` model.
pub struct Vild {
    config: VildConfig,
    clip: Box<dyn Model>,
    /// `None` where CLIP judges crops.
    heads: Option<Heads>,
    input: VisualSpec,
}

fn features(config: &VildConfig) -> VisualSpec {
    VisualSpec::Regions {
        width: config.feature_width(),
        regions: config.max_proposals,
    }
}

fn files(spec: &ModelSpec) -> Result<Vec<CheckpointFile>> {
    let folder = spec.folder(FAMILY.name)?;
    let config = VildConfig::read(folder)?;
    let file = |path, role| CheckpointFile { path, role };
    let mut files = vec![file(folder.join(CONFIG), FileRole::Config)];
    if config.mode == Mode::Head {
        let weights = Weights::files(folder)?.into_iter();
        files.extend(weights.map(|path| file(path, FileRole::Weights)));
    }
    let (clip, spec) = encoder(spec, config.encoders(folder)?, FAMILY.name)?;
    files.extend((clip.files)(&spec)?);
    Ok(files)
}

impl Vild {
    /// Loads the heads and the encoders.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let config = VildConfig::read(folder)?;
        let (family, of_clip) = encoder(spec, config.encoders(folder)?, FAMILY.name)?;
        let heads = load_heads(spec, &config, device)?;
        let clip = (family.load)(&of_clip, device)?;
        let width = embed(clip.as_ref())?.width();
        if heads.is_some() && width != config.clip_dim {
            let found = format!("{}, that of `{}` is {width}", config.clip_dim, family.name);
            return Err(config.wrong(folder, "clip_dim", &found));
        }
        let input = match config.mode {
            Mode::Head => features(&config),
            Mode::Crops => clip.input().clone(),
        };
        Ok(Self {
            config,
            clip,
            heads,
            input,
        })
    }

    /// How well crops, one for each scale, fit the classes; and where they are.
    fn judge_crops(
        &self,
        crops: &[Tensor],
        proposals: &[Proposal],
        size: [f32; 2],
        classes: &Vocabulary,
    ) -> Result<Judged> {
        let embed = embed(self.clip.as_ref())?;
        let mut vectors = Vec::new();
        for crops in crops {
            vectors.push(embed.embed_images(crops)?);
        }
        let vectors = Tensor::stack(&vectors, 0)?.mean(0)?;
        let temperature = self.config.temperature;
        let scores = crop_scores(&vectors, &classes.embeddings, temperature, proposals)?;
        let edges = proposals.iter().map(|p| clipped(p.edges, size));
        Ok(Judged {
            edges: edges.collect(),
            scores: scores.to_vec2()?,
        })
    }
}

/// The heads of the checkpoint of `spec`; `None` where CLIP judges crops.
pub(crate) fn load_heads(
    spec: &ModelSpec,
    config: &VildConfig,
    device: &Device,
) -> Result<Option<Heads>> {
    if config.mode == Mode::Crops {
        return Ok(None);
    }
    let folder = spec.folder(FAMILY.name)?;
    let weights = Weights::open(folder, device)?.with_precision(spec.precision)?;
    let heads = Heads::load(&weights, config);
    folder::finish(&weights, folder)?;
    heads.map(Some)
}

/// `[R, K]`: the square root of how likely each class is for a crop, times how likely an object is there. `vectors`
/// `[R, D]` of any length, `classes` `[K, D]` of unit length.
pub(crate) fn crop_scores(
    vectors: &Tensor,
    classes: &Tensor,
    temperature: f64,
    proposals: &[Proposal],
) -> Result<Tensor> {
    let objectness: Vec<f32> = proposals.iter().map(|p| p.objectness).collect();
    let objectness = Tensor::new(objectness, vectors.device())?.unsqueeze(1)?;
    let likely = crop_probabilities(vectors, classes, temperature)?;
    Ok(likely.broadcast_mul(&objectness)?.sqrt()?)
}

/// `[R, K]`: how likely each class is for a crop; there is no background.
pub(crate) fn crop_probabilities(
    vectors: &Tensor,
    classes: &Tensor,
    temperature: f64,
) -> Result<Tensor> {
    let logits = cosines(&unit_length(vectors)?, classes, temperature)?;
    Ok(log_softmax(&logits)?.exp()?)
}

fn embed(model: &dyn Model) -> Result<&dyn Embed> {
    model.embed().ok_or(Error::Head {
        capability: Capability::Embed.name(),
    })
}

impl Model for Vild {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn detect(&self) -> Option<&dyn Detect> {
        Some(self)
    }
}

impl Detect for Vild {
    fn view(&self) -> RegionView {
        match self.config.mode {
            Mode::Head => RegionView::Features(self.config.feature_width()),
            Mode::Crops => RegionView::Crops(CROP_SCALES.to_vec()),
        }
    }

    fn vocabulary(&self, classes: &[Class<'_>]) -> Result<Vocabulary> {
        prompts::vocabulary(embed(self.clip.as_ref())?, classes)
    }

    fn judge(&self, regions: &RegionBatch<'_>, vocabulary: &Vocabulary) -> Result<Judged> {
        let RegionBatch {
            size, proposals, ..
        } = *regions;
        regions.check(&self.view())?;
        if proposals.is_empty() || vocabulary.is_base.is_empty() {
            return Ok(Judged {
                edges: proposals.iter().map(|p| clipped(p.edges, size)).collect(),
                scores: vec![Vec::new(); proposals.len()],
            });
        }
        match (&regions.seen, &self.heads) {
            (Seen::Crops(crops), _) => self.judge_crops(crops, proposals, size, vocabulary),
            (Seen::Features(features), Some(heads)) => {
                let shape = (
                    proposals.len(),
                    self.config.channels,
                    REGION_SIDE,
                    REGION_SIDE,
                );
                let outputs = heads.forward(&features.reshape(shape)?, &vocabulary.embeddings)?;
                let scores = heads.probabilities(&outputs, &vocabulary.is_base)?;
                let corrections = heads.corrections(&outputs.text)?.to_vec2::<f32>()?;
                let edges = proposals.iter().zip(&corrections).map(|(proposal, row)| {
                    let correction = [row[0], row[1], row[2], row[3]];
                    corrected(proposal.edges, correction, size)
                });
                Ok(Judged {
                    edges: edges.collect(),
                    scores: scores.to_vec2()?,
                })
            }
            (Seen::Features(_), None) => Err(Error::Visual {
                wanted: "crops of regions",
                found: "features of regions",
            }),
        }
    }

    fn selection(&self) -> Selection {
        self.config.selection()
    }
}
