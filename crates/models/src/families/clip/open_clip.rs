//! Sizes of a CLIP in `open_clip`'s layout: from `open_clip_config.json`, or from the shapes of OpenAI's own weights,
//! which have no configuration beside them.
//!
//! Keys and defaults are those of `CLIPVisionCfg` and `CLIPTextCfg` (`open_clip` 3.3). The program builds other
//! networks too (timm's, Hugging Face's, `CoCa`, sigmoid losses); a setting that would compute something else than
//! CLIP is refused, and so is another tokenizer.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use sightline_nn::Weights;

use super::layout::text_scope;
use crate::Result;
use crate::check::{Check, limit};
use crate::folder::read_json;

/// Width of every head of OpenAI's models.
const OPENAI_HEAD_WIDTH: usize = 64;

/// Scalars that OpenAI's files hold beside the weights, and copies of them do not.
const OPENAI_MARK: &str = "input_resolution";

/// Sizes of both towers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct OpenClipConfig {
    /// Width of the common space.
    pub embed_dim: usize,
    /// The vision tower.
    pub vision_cfg: OpenClipVision,
    /// The text tower.
    pub text_cfg: OpenClipText,
    /// Whether the feed-forward layers have OpenAI's approximation of gelu.
    pub quick_gelu: bool,
}

/// Sizes of the vision tower.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct OpenClipVision {
    /// Height and width of an image in pixels.
    pub image_size: ImageSize,
    /// Blocks.
    pub layers: Layers,
    /// Width of a transformer, channels behind a residual network's stem.
    pub width: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Width inside the feed-forward layers as a multiple of `width`.
    pub mlp_ratio: f64,
    /// Height and width of a patch in pixels; no residual network has patches.
    pub patch_size: Option<usize>,
    /// Settings of the norms.
    pub norm_kwargs: Option<Norm>,
}

/// Sizes of the text tower.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct OpenClipText {
    /// Longest sequence.
    pub context_length: usize,
    /// Rows of the token table.
    pub vocab_size: usize,
    /// Width of the tower.
    pub width: usize,
    /// Heads per block.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Width inside the feed-forward layers as a multiple of `width`.
    pub mlp_ratio: f64,
    /// Settings of the norms.
    pub norm_kwargs: Option<Norm>,
}

/// One number for both sides of an image, or each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ImageSize {
    /// Height and width.
    Square(usize),
    /// Height, width.
    Sides([usize; 2]),
}

/// Blocks of a transformer, or of each of the four stages of a residual network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Layers {
    /// A transformer.
    Transformer(usize),
    /// A modified residual network.
    ResNet([usize; 4]),
}

/// Settings of a layer norm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Norm {
    /// Added to the variance.
    pub eps: Option<f64>,
}

impl Default for OpenClipConfig {
    /// ViT-B/16 with gelu.
    fn default() -> Self {
        Self {
            embed_dim: 512,
            vision_cfg: OpenClipVision::default(),
            text_cfg: OpenClipText::default(),
            quick_gelu: false,
        }
    }
}

impl Default for OpenClipVision {
    fn default() -> Self {
        Self {
            image_size: ImageSize::Square(224),
            layers: Layers::Transformer(12),
            width: 768,
            head_width: 64,
            mlp_ratio: 4.0,
            patch_size: Some(16),
            norm_kwargs: None,
        }
    }
}

impl Default for OpenClipText {
    fn default() -> Self {
        Self {
            context_length: 77,
            vocab_size: 49_408,
            width: 512,
            heads: 8,
            layers: 12,
            mlp_ratio: 4.0,
            norm_kwargs: None,
        }
    }
}

impl OpenClipVision {
    /// Height and width of an image; 0 for one that is not square, which no check lets pass.
    pub(super) fn side(&self) -> usize {
        match self.image_size {
            ImageSize::Square(side) => side,
            ImageSize::Sides([height, width]) if height == width => height,
            ImageSize::Sides(_) => 0,
        }
    }

    /// Heads of each block, or of a residual network's pooling attention.
    pub(super) fn heads(&self) -> usize {
        let width = match self.layers {
            Layers::Transformer(_) => self.width,
            Layers::ResNet(_) => 32 * self.width,
        };
        width / self.head_width.max(1)
    }
}

/// `int(width * ratio)`, as Python computes it.
pub(super) fn hidden(width: usize, mlp_ratio: f64) -> usize {
    (width as f64 * mlp_ratio) as usize
}

/// Added to variances.
pub(super) fn eps(norm: Option<Norm>) -> f64 {
    norm.and_then(|norm| norm.eps).unwrap_or(1e-5)
}

/// Values of settings under which the network is CLIP's; others would compute something else. An absent setting and
/// `null` are CLIP's as well.
fn neutral_settings() -> Value {
    json!({
        "vision_cfg": {
            "act_kwargs": {},
            "attentional_pool": false,
            "final_ln_after_pool": false,
            "global_average_pool": false,
            "input_patchnorm": false,
            "ls_init_value": null,
            "no_ln_pre": false,
            "pool_type": "tok",
            "pos_embed_type": "learnable",
            "timm_model_name": null,
        },
        "text_cfg": {
            "act_kwargs": {},
            "embed_cls": false,
            "final_ln_after_pool": false,
            "hf_model_name": null,
            "hf_tokenizer_name": null,
            "ls_init_value": null,
            "no_causal_mask": false,
            "pool_type": "argmax",
            "proj_type": "linear",
            "tokenizer_kwargs": {},
        },
    })
}

impl OpenClipConfig {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let value = read_json(path)?;
        let check = Check::new(path);
        let model = &value["model_cfg"];
        if !model.is_object() {
            return Err(check.wrong("model_cfg", model, "an object"));
        }
        if !model["multimodal_cfg"].is_null() {
            let found = &model["multimodal_cfg"];
            return Err(check.wrong("multimodal_cfg", found, "null: a CLIP"));
        }
        let neutral = neutral_settings();
        for (part, settings) in neutral.as_object().into_iter().flatten() {
            for (key, neutral) in settings.as_object().into_iter().flatten() {
                let found = &model[part][key];
                if !found.is_null() && found != neutral {
                    return Err(check.part(part).wrong(key, found, neutral.to_string()));
                }
            }
        }
        let config = Self::deserialize(model).map_err(|source| check.json(source))?;
        config.check(check)?;
        Ok(config)
    }

    /// The sizes of OpenAI's weights; `path` is where a configuration was looked for, and what an error names.
    pub(super) fn from_shapes(weights: &Weights, path: &Path) -> Result<Self> {
        let Some(config) = shapes(weights) else {
            // Says that the file is not there.
            return Self::read(path);
        };
        config.check(Check::new(path))?;
        if weights.shape(OPENAI_MARK).is_none() {
            tracing::warn!(
                missing = %path.display(),
                "no configuration: the activation is taken to be quick_gelu, as in OpenAI's models"
            );
        }
        Ok(config)
    }

    fn check(&self, check: Check<'_>) -> Result<()> {
        let (vision, text) = (&self.vision_cfg, &self.text_cfg);
        check.range("embed_dim", self.embed_dim, 1, limit::WIDTH)?;

        let of = check.part("vision_cfg");
        of.range("width", vision.width, 2, limit::WIDTH)?;
        of.range("head_width", vision.head_width, 1, limit::WIDTH)?;
        let side = vision.side();
        let (blocks, total) = match vision.layers {
            Layers::Transformer(depth) => {
                of.range("image_size", side, 1, limit::IMAGE)?;
                of.range("patch_size", vision.patch_size.unwrap_or(0), 1, side)?;
                (depth, vision.width)
            }
            Layers::ResNet(layers) => {
                of.range("image_size", side, 32, limit::IMAGE)?;
                if side % 32 != 0 {
                    return Err(of.wrong("image_size", &side, "a multiple of 32"));
                }
                if vision.width % 2 != 0 {
                    return Err(of.wrong("width", &vision.width, "an even number"));
                }
                for depth in layers {
                    of.range("layers", depth, 1, limit::DEPTH)?;
                }
                (1, 32 * vision.width)
            }
        };
        of.range("layers", blocks, 1, limit::DEPTH)?;
        if total % vision.head_width != 0 {
            let wanted = format!("a divisor of {total}");
            return Err(of.wrong("head_width", &vision.head_width, wanted));
        }
        feed_forward(of, vision.width, vision.mlp_ratio)?;
        norm(of, vision.norm_kwargs)?;

        let of = check.part("text_cfg");
        of.range("vocab_size", text.vocab_size, 3, limit::VOCABULARY)?;
        of.range("context_length", text.context_length, 2, limit::CONTEXT)?;
        of.range("width", text.width, 1, limit::WIDTH)?;
        of.range("layers", text.layers, 1, limit::DEPTH)?;
        of.range("heads", text.heads, 1, limit::WIDTH)?;
        if text.width % text.heads != 0 {
            let wanted = format!("a divisor of `width`, {}", text.width);
            return Err(of.wrong("heads", &text.heads, wanted));
        }
        feed_forward(of, text.width, text.mlp_ratio)?;
        norm(of, text.norm_kwargs)
    }
}

fn feed_forward(check: Check<'_>, width: usize, mlp_ratio: f64) -> Result<()> {
    if (1..=limit::HIDDEN).contains(&hidden(width, mlp_ratio)) {
        return Ok(());
    }
    let wanted = format!("a ratio that makes {width} to 1 to {}", limit::HIDDEN);
    Err(check.wrong("mlp_ratio", &mlp_ratio, wanted))
}

fn norm(check: Check<'_>, norm: Option<Norm>) -> Result<()> {
    let eps = eps(norm);
    if eps > 0.0 && eps < 1.0 {
        return Ok(());
    }
    Err(check.wrong("norm_kwargs.eps", &eps, "a number between 0 and 1"))
}

/// Sizes that follow from shapes, or `None` where a tensor that tells one is missing.
fn shapes(weights: &Weights) -> Option<OpenClipConfig> {
    let visual = weights.scope("visual");
    let text = text_scope(weights);
    let &[vocab_size, width] = text.shape("token_embedding.weight")? else {
        return None;
    };
    let context_length = *text.shape("positional_embedding")?.first()?;
    let text_cfg = OpenClipText {
        context_length,
        vocab_size,
        width,
        heads: width / OPENAI_HEAD_WIDTH,
        layers: numbered(&text, |i| format!("transformer.resblocks.{i}.ln_1.weight")),
        mlp_ratio: ratio(
            text.shape("transformer.resblocks.0.mlp.c_fc.weight")?,
            width,
        ),
        norm_kwargs: None,
    };

    let (vision_cfg, embed_dim) = if let Some(&[width, embed_dim]) = visual.shape("proj") {
        let patch_size = *visual.shape("conv1.weight")?.last()?;
        let positions = *visual.shape("positional_embedding")?.first()?;
        let vision = OpenClipVision {
            image_size: ImageSize::Square(root(positions.checked_sub(1)?)? * patch_size),
            layers: Layers::Transformer(numbered(&visual, |i| {
                format!("transformer.resblocks.{i}.ln_1.weight")
            })),
            width,
            head_width: OPENAI_HEAD_WIDTH,
            mlp_ratio: ratio(
                visual.shape("transformer.resblocks.0.mlp.c_fc.weight")?,
                width,
            ),
            patch_size: Some(patch_size),
            norm_kwargs: None,
        };
        (vision, embed_dim)
    } else {
        let pool = visual.scope("attnpool");
        let positions = *pool.shape("positional_embedding")?.first()?;
        let depth = |stage: usize| numbered(&visual, |i| format!("layer{stage}.{i}.conv1.weight"));
        let vision = OpenClipVision {
            image_size: ImageSize::Square(root(positions.checked_sub(1)?)? * 32),
            layers: Layers::ResNet([depth(1), depth(2), depth(3), depth(4)]),
            width: *visual.shape("conv3.weight")?.first()?,
            head_width: OPENAI_HEAD_WIDTH,
            patch_size: None,
            ..OpenClipVision::default()
        };
        (vision, *pool.shape("c_proj.weight")?.first()?)
    };
    Some(OpenClipConfig {
        embed_dim,
        vision_cfg,
        text_cfg,
        quick_gelu: true,
    })
}

/// How many of the names with the numbers 0, 1, … there are.
fn numbered(weights: &Weights, name: impl Fn(usize) -> String) -> usize {
    (0..limit::DEPTH)
        .take_while(|&i| weights.shape(&name(i)).is_some())
        .count()
}

/// The hidden width, the first dimension, in terms of `width`.
fn ratio(shape: &[usize], width: usize) -> f64 {
    shape
        .first()
        .map_or(0.0, |&hidden| hidden as f64 / width as f64)
}

/// The side of a square grid of `places`.
fn root(places: usize) -> Option<usize> {
    let side = places.isqrt();
    (side * side == places).then_some(side)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use candle_core::{DType, Device, Tensor};

    use super::*;

    fn read(model: &Value) -> Result<OpenClipConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("open_clip_config.json");
        fs::write(&path, json!({ "model_cfg": model }).to_string()).unwrap();
        OpenClipConfig::read(&path)
    }

    #[test]
    fn absent_settings_are_those_of_the_program() {
        assert_eq!(read(&json!({})).unwrap(), OpenClipConfig::default());
        // As published for ViT-g-14 and RN50.
        let giant = read(&json!({
            "embed_dim": 1024,
            "vision_cfg": {
                "image_size": [224, 224], "layers": 40, "width": 1408, "head_width": 88,
                "mlp_ratio": 4.3637, "patch_size": 14, "pool_type": "tok", "timm_pool": "avg",
            },
            "text_cfg": { "width": 1024, "heads": 16, "layers": 24, "norm_kwargs": { "eps": 1e-6 } },
        }))
        .unwrap();
        let vision = &giant.vision_cfg;
        assert_eq!((vision.side(), vision.heads()), (224, 16));
        assert_eq!(hidden(vision.width, vision.mlp_ratio), 6144);
        assert!((eps(giant.text_cfg.norm_kwargs) - 1e-6).abs() < 1e-12);
        let resnet = read(&json!({
            "quick_gelu": true,
            "vision_cfg": { "layers": [3, 4, 6, 3], "width": 64, "patch_size": null },
        }));
        let resnet = resnet.unwrap();
        assert!(resnet.quick_gelu);
        assert_eq!(resnet.vision_cfg.heads(), 32);
    }

    #[test]
    fn settings_of_other_networks_are_refused() {
        for (model, expected) in [
            (
                json!({ "vision_cfg": { "timm_model_name": "vit_base" } }),
                "`vision_cfg.timm_model_name` is \"vit_base\", expected null",
            ),
            (
                json!({ "text_cfg": { "pool_type": "last" } }),
                "`text_cfg.pool_type` is \"last\", expected \"argmax\"",
            ),
            (
                json!({ "text_cfg": { "act_kwargs": { "approximate": "tanh" } } }),
                "`text_cfg.act_kwargs` is {\"approximate\":\"tanh\"}, expected {}",
            ),
            (
                json!({ "multimodal_cfg": { "width": 512 } }),
                "`multimodal_cfg` is {\"width\":512}, expected null: a CLIP",
            ),
            (
                json!({ "vision_cfg": { "image_size": [224, 336] } }),
                "`vision_cfg.image_size` is 0, expected 1 to 16384",
            ),
            (
                json!({ "vision_cfg": { "image_size": 225, "layers": [1, 1, 1, 1] } }),
                "`vision_cfg.image_size` is 225, expected a multiple of 32",
            ),
            (
                json!({ "vision_cfg": { "head_width": 100 } }),
                "`vision_cfg.head_width` is 100, expected a divisor of 768",
            ),
            (
                json!({ "text_cfg": { "mlp_ratio": -1.0 } }),
                "`text_cfg.mlp_ratio` is -1, expected a ratio that makes 512 to 1 to 262144",
            ),
            (json!([]), "`model_cfg` is [], expected an object"),
        ] {
            let error = read(&model).unwrap_err().to_string();
            let (_, told) = error.split_once(": ").unwrap();
            assert_eq!(told, expected);
        }
    }

    fn shapes_of(tensors: &[(&str, &[usize])]) -> Option<OpenClipConfig> {
        let folder = tempfile::tempdir().unwrap();
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F16, &Device::Cpu).unwrap();
        let tensors: std::collections::HashMap<_, _> = tensors
            .iter()
            .map(|(name, shape)| (*name, zeros(shape)))
            .collect();
        let path = folder.path().join("model.safetensors");
        candle_core::safetensors::save(&tensors, path).unwrap();
        shapes(&Weights::open(folder.path(), &Device::Cpu).unwrap())
    }

    const TEXT: [(&str, &[usize]); 4] = [
        ("token_embedding.weight", &[99, 128]),
        ("positional_embedding", &[16, 128]),
        ("transformer.resblocks.0.ln_1.weight", &[128]),
        ("transformer.resblocks.0.mlp.c_fc.weight", &[512, 128]),
    ];

    #[test]
    fn sizes_of_a_transformer_follow_from_shapes() {
        let mut tensors = TEXT.to_vec();
        assert_eq!(shapes_of(&tensors), None);
        tensors.extend([
            ("visual.proj", &[64, 24][..]),
            ("visual.conv1.weight", &[64, 3, 8, 8]),
            ("visual.positional_embedding", &[17, 64]),
            ("visual.transformer.resblocks.0.ln_1.weight", &[64]),
            ("visual.transformer.resblocks.1.ln_1.weight", &[64]),
            ("visual.transformer.resblocks.0.mlp.c_fc.weight", &[256, 64]),
        ]);
        let config = shapes_of(&tensors).unwrap();
        let expected = OpenClipConfig {
            embed_dim: 24,
            vision_cfg: OpenClipVision {
                image_size: ImageSize::Square(32),
                layers: Layers::Transformer(2),
                width: 64,
                patch_size: Some(8),
                ..OpenClipVision::default()
            },
            text_cfg: OpenClipText {
                context_length: 16,
                vocab_size: 99,
                width: 128,
                heads: 2,
                layers: 1,
                ..OpenClipText::default()
            },
            quick_gelu: true,
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn sizes_of_a_residual_network_follow_from_shapes() {
        let mut tensors = TEXT.to_vec();
        tensors.extend([
            ("visual.conv3.weight", &[4, 2, 3, 3][..]),
            ("visual.layer1.0.conv1.weight", &[4, 4, 1, 1]),
            ("visual.layer2.0.conv1.weight", &[8, 16, 1, 1]),
            ("visual.layer2.1.conv1.weight", &[8, 32, 1, 1]),
            ("visual.layer3.0.conv1.weight", &[16, 32, 1, 1]),
            ("visual.layer4.0.conv1.weight", &[32, 64, 1, 1]),
            ("visual.attnpool.positional_embedding", &[5, 128]),
            ("visual.attnpool.c_proj.weight", &[20, 128]),
        ]);
        let config = shapes_of(&tensors).unwrap();
        assert_eq!(config.embed_dim, 20);
        let vision = &config.vision_cfg;
        assert_eq!(vision.layers, Layers::ResNet([1, 2, 1, 1]));
        assert_eq!((vision.side(), vision.width, vision.heads()), (64, 4, 2));
    }
}
