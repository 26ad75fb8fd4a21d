//! Frozen: images become vectors that a language model reads like words (Tsimpoukelli et al. 2021, arXiv 2106.13884),
//! and its open relatives: ClipCap's mapper of a pooled vector (Mokady et al. 2021, arXiv 2111.09734), LiMBeR's linear map
//! of every cell of a grid (Merullo et al. 2022, arXiv 2209.15162).
//!
//! No weights of the paper are public. `config.json` ([`FrozenConfig`]) names the parts; `encoder.*` has timm's names
//! for `nf_resnet50`, `mapper.*` is ours, `clip_project.model.*` is ClipCap's, `lm.*` holds the published names of the
//! language model. A prompt is any row of images and texts.

use std::path::Path;

use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::Value;
use sightline_nn::causal::{CausalNetwork, Next, continuation_log_probabilities};
use sightline_nn::tower::{NfResNet, NfResNetSpec};
use sightline_nn::{Linear, Weights};

use crate::check::{Check, limit};
use crate::folder::{self, CONFIG, read_json};
use crate::language::LanguageConfig;
use crate::{Error, LanguageModel, Result};

/// The family's name in configurations.
const NAME: &str = "frozen";

/// `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FrozenConfig {
    /// `frozen`.
    pub family: String,
    /// What looks at images.
    pub encoder: Encoder,
    /// What makes vectors for the language model.
    pub mapper: Mapper,
    /// n: vectors of an image.
    pub prefix_tokens: usize,
    /// `config.json` of the language model.
    pub lm_config: Value,
    /// Height and width of an image, of an NF-ResNet.
    #[serde(default)]
    pub image_size: usize,
    /// Channels behind the first convolution, of an NF-ResNet.
    #[serde(default)]
    pub stem: usize,
    /// Blocks of each stage, of an NF-ResNet.
    #[serde(default)]
    pub depths: Vec<usize>,
    /// Channels behind each stage, of an NF-ResNet.
    #[serde(default)]
    pub channels: Vec<usize>,
    /// Width of features that another program made.
    #[serde(default)]
    pub feature_dim: usize,
}

/// What looks at images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// timm's `nf_resnet50`, in any size.
    NfResnet,
    /// Another program, whose features are given.
    Precomputed,
}

/// What makes vectors for the language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mapper {
    /// The pooled feature to all vectors by one map (Frozen).
    Linear,
    /// Each cell of the last map to a vector (LiMBeR).
    GridLinear,
    /// The pooled feature by two maps with tanh between (ClipCap).
    Mlp,
}

/// What the model gets to see of images, for the paper's ablations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The image.
    Seen,
    /// Zeros in its place: `train_blind`, `vqa_blind`.
    Blind,
}

/// A part of a prompt.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Vectors `[n, width]` that stand for an image, of [`Frozen::visual_prefix`].
    Image(&'a Tensor),
    /// Token ids.
    Text(&'a [u32]),
}

/// A Frozen model.
pub struct Frozen {
    config: FrozenConfig,
    encoder: Option<NfResNet>,
    maps: Vec<Linear>,
    language: LanguageModel,
}

impl Frozen {
    /// The model in `folder`.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let path = folder.join(CONFIG);
        let check = Check::new(&path);
        let config: FrozenConfig =
            serde_json::from_value(read_json(&path)?).map_err(|source| check.json(source))?;
        check_config(check, &config)?;
        let language = LanguageConfig::parse(&path, config.lm_config.clone())?;
        let weights = Weights::open(folder, device)?;
        let model = Self::assemble(config, language, &weights);
        folder::finish(&weights, folder)?;
        model
    }

    fn assemble(config: FrozenConfig, language: LanguageConfig, weights: &Weights) -> Result<Self> {
        let (encoder, features) = match config.encoder {
            Encoder::NfResnet => {
                let spec = NfResNetSpec {
                    stem: config.stem,
                    depths: config.depths.clone(),
                    channels: config.channels.clone(),
                };
                let net = NfResNet::load(&weights.scope("encoder"), &spec)?;
                (Some(net), config.channels.last().copied().unwrap_or(0))
            }
            Encoder::Precomputed => (None, config.feature_dim),
        };
        let width = language.spec.embedding_width;
        let all = config.prefix_tokens * width;
        let maps = match config.mapper {
            Mapper::Linear => vec![Linear::load(&weights.scope("mapper"), features, all)?],
            Mapper::GridLinear => vec![Linear::load(&weights.scope("mapper"), features, width)?],
            Mapper::Mlp => {
                let maps = weights.scope("clip_project.model");
                // ClipCap's middle has half the width of its output.
                vec![
                    Linear::load(&maps.scope(0), features, all / 2)?,
                    Linear::load(&maps.scope(2), all / 2, all)?,
                ]
            }
        };
        Ok(Self {
            language: LanguageModel::load(language, &weights.scope("lm"))?,
            config,
            encoder,
            maps,
        })
    }

    /// What `config.json` says.
    pub fn config(&self) -> &FrozenConfig {
        &self.config
    }

    /// The language model.
    pub fn language(&self) -> &LanguageModel {
        &self.language
    }

    /// The vectors that stand for images: `images` is pixels `[B, 3, H, W]`, normalised, or features `[B, D]` where the
    /// encoder is another program. Returns `[B, n, width]`.
    pub fn visual_prefix(&self, images: &Tensor, sight: Sight) -> Result<Tensor> {
        let side = self.config.image_size;
        let (wanted, name) = match &self.encoder {
            Some(_) => (vec![3, side, side], "pixels"),
            None => (vec![self.config.feature_dim], "features"),
        };
        if images.dims().get(1..) != Some(wanted.as_slice()) {
            return Err(sightline_nn::Error::Shape {
                what: "the batch of images",
                found: images.dims().to_vec(),
                wanted: format!("{name} [B, {}]", shown(&wanted)),
            }
            .into());
        }
        let images = match sight {
            Sight::Seen => images.clone(),
            Sight::Blind => images.zeros_like()?,
        };
        let features = match &self.encoder {
            None => images,
            Some(net) => {
                // `[B, cells, C]`.
                let cells = net.forward(&images)?.flatten_from(2)?.transpose(1, 2)?;
                match self.config.mapper {
                    Mapper::GridLinear => cells.contiguous()?,
                    Mapper::Linear | Mapper::Mlp => cells.mean(1)?,
                }
            }
        };
        let mut x = features;
        for (i, map) in self.maps.iter().enumerate() {
            x = map.forward(&if i == 0 { x } else { x.tanh()? })?;
        }
        let width = self.language.config().spec.embedding_width;
        let shape = (images_of(&x)?, self.config.prefix_tokens, width);
        if x.elem_count() != shape.0 * shape.1 * shape.2 {
            return Err(sightline_nn::Error::Shape {
                what: "the grid of an image",
                found: x.dims().to_vec(),
                wanted: format!("`prefix_tokens`, {}, cells", shape.1),
            }
            .into());
        }
        Ok(x.reshape(shape)?)
    }

    /// The vectors of a prompt `[1, T, width]`. One that is empty, or longer than the context together with `room` more
    /// tokens, is refused.
    pub fn prompt(&self, parts: &[Part<'_>], room: usize) -> Result<Tensor> {
        let network = self.language.transformer();
        let mut vectors = Vec::new();
        for part in parts {
            match part {
                Part::Image(prefix) => vectors.push(prefix.unsqueeze(0)?),
                Part::Text([]) => {}
                Part::Text(ids) => vectors.push(network.embed(&[ids.to_vec()])?),
            }
        }
        if vectors.is_empty() {
            return Err(Error::Prompt {
                wanted: "images and texts, at least one of them",
            });
        }
        let prompt = Tensor::cat(&vectors, 1)?;
        let len = prompt.dim(1)?;
        let what = "a prompt with what is written behind it";
        self.language
            .check_context(what, len.saturating_add(room))?;
        Ok(prompt)
    }

    /// Reads a prompt of [`Self::prompt`]; returns it as decoding sees it, and the logits behind it `[1, V]`.
    pub fn read(&self, prompt: &Tensor) -> Result<(CausalNetwork<'_>, Tensor)> {
        let network = self.language.transformer();
        let (reading, hidden) = CausalNetwork::read(network, Next::new(prompt))?;
        let last = hidden.narrow(1, hidden.dim(1)? - 1, 1)?.squeeze(1)?;
        Ok((reading, network.logits(&last)?))
    }

    /// The natural logarithm of the probability of each token of each of `continuations` behind a prompt of
    /// [`Self::prompt`], which is read once.
    pub fn continuations(
        &self,
        prompt: &Tensor,
        continuations: &[Vec<u32>],
    ) -> Result<Vec<Vec<f32>>> {
        let (reading, last) = self.read(prompt)?;
        let network = self.language.transformer();
        let last = last.get(0)?;
        let (cache, rows) = (reading.cache(), continuations);
        Ok(continuation_log_probabilities(network, cache, &last, rows)?)
    }
}

fn images_of(x: &Tensor) -> Result<usize> {
    Ok(x.dim(0)?)
}

fn shown(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    dims.join(", ")
}

fn check_config(check: Check<'_>, config: &FrozenConfig) -> Result<()> {
    if config.family != NAME {
        return Err(check.wrong("family", &config.family, format!("`{NAME}`")));
    }
    check.range("prefix_tokens", config.prefix_tokens, 1, limit::CONTEXT)?;
    match config.encoder {
        Encoder::NfResnet => {
            check.range("image_size", config.image_size, 1, limit::IMAGE)?;
            check.range("stem", config.stem, 1, limit::WIDTH)?;
            check.range("depths", config.depths.len(), 1, limit::DEPTH)?;
            if config.channels.len() != config.depths.len() {
                let wanted = format!("{} numbers, as `depths`", config.depths.len());
                return Err(check.wrong("channels", &config.channels.len(), wanted));
            }
            for &depth in &config.depths {
                check.range("depths", depth, 1, limit::DEPTH)?;
            }
            for &channels in &config.channels {
                check.range("channels", channels, 4, limit::WIDTH)?;
            }
        }
        Encoder::Precomputed => {
            check.range("feature_dim", config.feature_dim, 1, limit::WIDTH)?;
            if config.mapper == Mapper::GridLinear {
                let wanted = "`linear` or `mlp`, for features that are one vector";
                return Err(check.wrong("mapper", &"grid_linear", wanted));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use serde_json::json;
    use sightline_core::Seed;

    use super::*;

    fn config(encoder: &str, mapper: &str) -> Value {
        json!({
            "family": "frozen", "encoder": encoder, "mapper": mapper, "prefix_tokens": 4,
            "image_size": 64, "stem": 4, "depths": [1, 1], "channels": [8, 12], "feature_dim": 5,
            "lm_config": {
                "model_type": "gpt2", "vocab_size": 7, "n_positions": 12, "n_embd": 4, "n_layer": 1,
                "n_head": 2,
            },
        })
    }

    fn model(encoder: &str, mapper: &str) -> Frozen {
        let config: FrozenConfig = serde_json::from_value(config(encoder, mapper)).unwrap();
        check_config(Check::new(Path::new("c")), &config).unwrap();
        let language = LanguageConfig::parse(Path::new("c"), config.lm_config.clone()).unwrap();
        let weights = Weights::random(Seed(2), &Device::Cpu);
        Frozen::assemble(config, language, &weights).unwrap()
    }

    fn ones(shape: &[usize]) -> Tensor {
        Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
    }

    fn told<T>(result: Result<T>) -> String {
        result.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn images_and_texts_come_in_any_order() {
        let model = model("precomputed", "mlp");
        let prefix = model.visual_prefix(&ones(&[2, 5]), Sight::Seen).unwrap();
        assert_eq!(prefix.dims(), [2, 4, 4]);
        let first = prefix.get(0).unwrap();
        let image = Part::Image(&first);
        let prompt = model.prompt(&[Part::Text(&[1, 2]), image, Part::Text(&[3])], 5);
        assert_eq!(prompt.unwrap().dims(), [1, 7, 4]);
    }

    #[test]
    fn a_blind_model_sees_every_image_alike() {
        for (encoder, shape) in [("precomputed", vec![5]), ("nf_resnet", vec![3, 64, 64])] {
            let model = model(encoder, "linear");
            let images = |value: f64| {
                let shape = [&[1], shape.as_slice()].concat();
                (ones(&shape) * value).unwrap()
            };
            let see = |value, sight| {
                let prefix = model.visual_prefix(&images(value), sight).unwrap();
                prefix.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            assert_ne!(see(1.0, Sight::Seen), see(3.0, Sight::Seen));
            assert_eq!(see(1.0, Sight::Blind), see(3.0, Sight::Blind));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_sides() {
        let model = model("precomputed", "mlp");
        let found = told(model.visual_prefix(&ones(&[2, 6]), Sight::Seen));
        assert_eq!(
            found,
            "the batch of images has the shape [2, 6], needed is features [B, 5]"
        );
        let long = [1; 10];
        let found = told(model.prompt(&[Part::Text(&long)], 3));
        let wanted = "has 13 tokens, the model's context is 12";
        assert!(found.ends_with(wanted), "{found}");
        assert!(told(model.prompt(&[], 0)).contains("at least one"));
        assert!(told(model.prompt(&[Part::Text(&[7])], 0)).contains("vocabulary of 7"));
        let grid = self::model("nf_resnet", "grid_linear");
        // 64 pixels make 16 x 16 cells behind the stem, 8 x 8 behind the second stage.
        let found = told(grid.visual_prefix(&ones(&[1, 3, 64, 64]), Sight::Seen));
        assert!(found.contains("`prefix_tokens`, 4, cells"), "{found}");
    }

    #[test]
    fn configurations_that_cannot_be_are_refused() {
        let refused = |field: &str, value: Value, wanted: &str| {
            let mut config = config("precomputed", "mlp");
            config[field] = value;
            let config: FrozenConfig = serde_json::from_value(config).unwrap();
            let found = told(check_config(Check::new(Path::new("c")), &config));
            assert!(found.contains(wanted), "{found}");
        };
        refused(
            "family",
            json!("clip"),
            "`family` is clip, expected `frozen`",
        );
        refused("prefix_tokens", json!(0), "`prefix_tokens` is 0");
        refused("feature_dim", json!(0), "`feature_dim` is 0");
        refused(
            "mapper",
            json!("grid_linear"),
            "features that are one vector",
        );
        let mut config = config("nf_resnet", "linear");
        config["channels"] = json!([8]);
        let config: FrozenConfig = serde_json::from_value(config).unwrap();
        let found = told(check_config(Check::new(Path::new("c")), &config));
        assert!(
            found.ends_with("expected 2 numbers, as `depths`"),
            "{found}"
        );
    }
}
