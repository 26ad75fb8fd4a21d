//! `ViLD`: a detector that learns from CLIP, for classes that are named when it is asked (Gu et al. 2021, arXiv 2104.13921).
//!
//! A region's feature, 7 x 7 cells cut out of a map by `RoIAlign`, goes through a head into CLIP's space. There its cosines to
//! the classes, sentences in CLIP's text encoder, are its logits.
//!
//! - **`ViLD-text`** (section 3.2): softmax over the classes and a learned vector for what is no object.
//! - **`ViLD-image`** (section 3.3): the head's vectors are near those of CLIP's image encoder for the same crops.
//! - **`ViLD`**: one head learned both. **`ViLD-ensemble`** (section 3.4): a head for each, their probabilities multiplied, each
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
mod objective;
pub mod prompts;

use candle_core::{Device, Tensor};
use sightline_nn::{Weights, unit_length};

pub use config::{Mode, REGION_SIDE, VildConfig};
pub use head::Heads;

pub(crate) use self::objective::TRAINABLE;

use self::head::{corrected, cosines};
use crate::detect::{
    Class, Detect, Judged, Proposal, RegionBatch, RegionView, Seen, Selection, Vocabulary, clipped,
};
use crate::encoder::encoder;
use crate::folder::{self, CONFIG};
use crate::loss::log_softmax;
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
            return Err(VildConfig::wrong(folder, "clip_dim", &found));
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
        let vectors = crop_vectors(embed(self.clip.as_ref())?, crops)?;
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

/// `[R, D]`: what an image encoder makes of regions (section 3.3), the mean over scales of its vectors of the crops `[R, 3, H, W]` of each scale
/// ([`CROP_SCALES`]).
pub fn crop_vectors(embed: &dyn Embed, crops: &[Tensor]) -> Result<Tensor> {
    let vectors = crops.iter().map(|crops| embed.embed_images(crops));
    let vectors = vectors.collect::<Result<Vec<Tensor>>>()?;
    Ok(Tensor::stack(&vectors, 0)?.mean(0)?)
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use candle_core::DType;
    use sightline_core::Seed;

    use super::*;
    use crate::TokenizerChoice;

    fn fixture(name: &str) -> PathBuf {
        Path::new("../../tests/fixtures/models").join(name)
    }

    fn spec(checkpoint: &Path) -> ModelSpec {
        ModelSpec {
            checkpoint: Some(checkpoint.to_owned()),
            tokenizer: TokenizerChoice::WordHash,
            ..ModelSpec::without_checkpoint(Seed(0))
        }
    }

    /// The heads of a fixture behind another configuration.
    fn changed(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let source = fixture("vild/ensemble");
        let folder = tempfile::tempdir().unwrap();
        let weights = "model.safetensors";
        fs::copy(source.join(weights), folder.path().join(weights)).unwrap();
        let mut config = folder::read_json(&source.join(CONFIG)).unwrap();
        let clip = fs::canonicalize(fixture("clip/hf_gelu_eosid_bin")).unwrap();
        config["clip"] = clip.to_str().unwrap().into();
        change(&mut config);
        fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
        let loaded = Vild::load(&spec(folder.path()), &Device::Cpu);
        loaded.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn checkpoints_and_encoders_that_do_not_fit_are_told_with_both_sides() {
        assert_eq!(changed(|_| {}), "");
        let wide = fs::canonicalize(fixture("clip/hf_quickgelu_eos2")).unwrap();
        let told = changed(|config| config["clip"] = wide.to_str().unwrap().into());
        assert!(
            told.contains("`clip_dim` is 16, that of `clip` is 24"),
            "{told}"
        );
        let told = changed(|config| config["clip"] = serde_json::Value::Null);
        assert!(told.contains("`clip` is absent"), "{told}");
        let captioner = fs::canonicalize(fixture("visualgpt/tau02")).unwrap();
        let told = changed(|config| config["clip"] = captioner.to_str().unwrap().into());
        assert!(told.contains("which cannot be an encoder here"), "{told}");
        // Heads of another release: every tensor that is missing or of another shape.
        let told = changed(|config| config["head_convs"] = 3.into());
        assert!(told.contains("text_head.convs.2.weight"), "{told}");
        let told = changed(|config| config["fc_dim"] = 32.into());
        assert!(told.contains("text_head.fc7.weight"), "{told}");
    }

    /// The heads of one teacher read a checkpoint of two, and leave the other's tensors alone.
    #[test]
    fn one_head_answers_with_its_own_probabilities() {
        assert_eq!(changed(|config| config["ensemble"] = false.into()), "");
    }

    /// Both crops count alike, whatever their vectors' lengths were; the objectness is under the root.
    #[test]
    fn crops_count_alike_and_scores_are_roots_of_products() {
        let model = Vild::load(&spec(&fixture("vild/crops")), &Device::Cpu).unwrap();
        let class = |name| Class {
            names: vec![name],
            is_base: true,
        };
        let classes = model.vocabulary(&[class("cat"), class("dog")]).unwrap();
        let VisualSpec::Pixels(input) = &model.input else {
            panic!("crops are pixels");
        };
        let shape = (1, 3, input.size.height as usize, input.size.width as usize);
        let tight = Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let wide = (tight.ones_like().unwrap() * -1.0).unwrap();
        let scores = |crops: [&Tensor; 2], objectness| {
            let proposals = [Proposal {
                edges: [0.0, 0.0, 10.0, 10.0],
                objectness,
            }];
            let batch = RegionBatch {
                size: [20.0, 20.0],
                proposals: &proposals,
                seen: Seen::Crops(crops.map(Tensor::clone).to_vec()),
            };
            model.judge(&batch, &classes).unwrap().scores.remove(0)
        };
        let one = scores([&tight, &wide], 1.0);
        let sum: f32 = one.iter().map(|score| score * score).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{one:?}");
        for (a, b) in one.iter().zip(scores([&wide, &tight], 1.0)) {
            assert!((a - b).abs() < 1e-5);
        }
        for (a, b) in one.iter().zip(scores([&tight, &wide], 0.25)) {
            assert!((a * 0.5 - b).abs() < 1e-5);
        }
        let embed = embed(model.clip.as_ref()).unwrap();
        let mean =
            (embed.embed_images(&tight).unwrap() + embed.embed_images(&wide).unwrap()).unwrap();
        let likely = crop_probabilities(&mean, &classes.embeddings, 20.0).unwrap();
        for (a, b) in one.iter().zip(&likely.to_vec2::<f32>().unwrap()[0]) {
            assert!((a * a - b).abs() < 1e-5);
        }
    }
}
