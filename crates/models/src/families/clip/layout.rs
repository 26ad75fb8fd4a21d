//! The two layouts of CLIP checkpoints: what their tensors are called, and the towers of a configuration of each.

use sightline_nn::attention::AttentionNames;
use sightline_nn::block::BlockNames;
use sightline_nn::tower::{ModifiedResNetSpec, TextNames, TextTransformerSpec, VitNames, VitSpec};
use sightline_nn::{Activation, AttentionSpec, BlockSpec, KeyValue, NormPlace, Weights};

use super::config::{ClipConfig, TextEnd};
use super::open_clip::{Layers, OpenClipConfig, eps, hidden};

/// Who wrote a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Hugging Face: `vision_model.*` and `text_model.*`.
    HuggingFace,
    /// `open_clip` and OpenAI: `visual.*`, and the text tower beside it or below `text.`.
    OpenClip,
}

impl Layout {
    /// What the names of the tensors say.
    pub(super) fn of(weights: &Weights) -> Self {
        if weights.scope("visual").is_empty() {
            Self::HuggingFace
        } else {
            Self::OpenClip
        }
    }
}

/// Where `open_clip`'s text tower lies: below `text.` in newer configurations.
pub(super) fn text_scope(weights: &Weights) -> Weights {
    let below = weights.scope("text");
    if below.is_empty() {
        weights.clone()
    } else {
        below
    }
}

/// A CLIP, whatever the layout.
#[derive(Clone, Debug)]
pub(super) struct ClipSpec {
    pub(super) layout: Layout,
    pub(super) vision: VisionSpec,
    pub(super) text: TextTransformerSpec,
    /// Width of the common space.
    pub(super) width: usize,
    pub(super) end: TextEnd,
    /// Start and end ids for a tokenizer that has no vocabulary.
    pub(super) start_and_end: (u32, u32),
}

/// The vision tower.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a model has one, and nobody moves it about"
)]
pub(super) enum VisionSpec {
    Transformer(VitSpec),
    ResNet(ModifiedResNetSpec),
}

impl ClipSpec {
    /// Height and width of an image in pixels.
    pub(super) fn image_size(&self) -> usize {
        match &self.vision {
            VisionSpec::Transformer(vit) => vit.image_size,
            VisionSpec::ResNet(net) => net.image_size,
        }
    }
}

impl From<&ClipConfig> for ClipSpec {
    fn from(config: &ClipConfig) -> Self {
        let (text, vision) = (&config.text, &config.vision);
        let block = |width, heads, hidden, (activation, norm_eps)| BlockSpec {
            attention: attention(width, heads, hugging_face::ATTENTION),
            hidden,
            activation,
            norm_place: NormPlace::Pre,
            norm_eps,
            names: hugging_face::BLOCK,
        };
        Self {
            layout: Layout::HuggingFace,
            vision: VisionSpec::Transformer(VitSpec {
                image_size: vision.image_size,
                patch_size: vision.patch_size,
                depth: vision.num_hidden_layers,
                block: block(
                    vision.hidden_size,
                    vision.num_attention_heads,
                    vision.intermediate_size,
                    (vision.hidden_act, vision.layer_norm_eps),
                ),
                names: hugging_face::VISION,
            }),
            text: TextTransformerSpec {
                vocabulary_size: text.vocab_size,
                context_length: text.max_position_embeddings,
                depth: text.num_hidden_layers,
                block: block(
                    text.hidden_size,
                    text.num_attention_heads,
                    text.intermediate_size,
                    (text.hidden_act, text.layer_norm_eps),
                ),
                names: hugging_face::TEXT,
            },
            width: config.projection_dim,
            end: text.end(),
            start_and_end: text.start_and_end(),
        }
    }
}

impl From<&OpenClipConfig> for ClipSpec {
    fn from(config: &OpenClipConfig) -> Self {
        let (text, vision) = (&config.text_cfg, &config.vision_cfg);
        let activation = if config.quick_gelu {
            Activation::QuickGelu
        } else {
            Activation::Gelu
        };
        let block = |width, heads, mlp_ratio, norm| BlockSpec {
            attention: attention(width, heads, AttentionNames::PACKED),
            hidden: hidden(width, mlp_ratio),
            activation,
            norm_place: NormPlace::Pre,
            norm_eps: eps(norm),
            names: open_clip::BLOCK,
        };
        let vision = match vision.layers {
            Layers::Transformer(depth) => VisionSpec::Transformer(VitSpec {
                image_size: vision.side(),
                patch_size: vision.patch_size.unwrap_or(0),
                depth,
                block: block(
                    vision.width,
                    vision.heads(),
                    vision.mlp_ratio,
                    vision.norm_kwargs,
                ),
                names: open_clip::VISION,
            }),
            Layers::ResNet(layers) => VisionSpec::ResNet(ModifiedResNetSpec {
                image_size: vision.side(),
                width: vision.width,
                layers,
                heads: vision.heads(),
                output: config.embed_dim,
            }),
        };
        let last = text.vocab_size.saturating_sub(1) as u32;
        Self {
            layout: Layout::OpenClip,
            vision,
            text: TextTransformerSpec {
                vocabulary_size: text.vocab_size,
                context_length: text.context_length,
                depth: text.layers,
                block: block(text.width, text.heads, text.mlp_ratio, text.norm_kwargs),
                names: open_clip::TEXT,
            },
            width: config.embed_dim,
            end: TextEnd::LargestId,
            start_and_end: (last.saturating_sub(1), last),
        }
    }
}

fn attention(width: usize, heads: usize, names: AttentionNames) -> AttentionSpec {
    AttentionSpec {
        width,
        heads,
        head_dim: width / heads.max(1),
        key_value: KeyValue::Own,
        names,
    }
}

/// Names below `vision_model` and `text_model`.
mod hugging_face {
    use super::{AttentionNames, BlockNames, TextNames, VitNames};

    pub(super) const BLOCK: BlockNames = BlockNames {
        attention: "self_attn",
        attention_norm: "layer_norm1",
        expand: "mlp.fc1",
        contract: "mlp.fc2",
        feed_forward_norm: "layer_norm2",
    };

    pub(super) const ATTENTION: AttentionNames = AttentionNames {
        query: "q_proj",
        key: "k_proj",
        value: "v_proj",
        out: "out_proj",
    };

    pub(super) const VISION: VitNames = VitNames {
        class: "embeddings.class_embedding",
        patch: "embeddings.patch_embedding.weight",
        positions: "embeddings.position_embedding.weight",
        // Spelled like this in every published file.
        norm_before: "pre_layrnorm",
        blocks: "encoder.layers",
        norm_after: "post_layernorm",
    };

    pub(super) const TEXT: TextNames = TextNames {
        tokens: "embeddings.token_embedding",
        positions: "embeddings.position_embedding.weight",
        blocks: "encoder.layers",
        norm_after: "final_layer_norm",
    };
}

pub(crate) use open_clip::{BLOCK as OPEN_CLIP_BLOCK, VISION as OPEN_CLIP_VISION};

/// Names below `visual`, and of the text tower.
mod open_clip {
    use super::{BlockNames, TextNames, VitNames};

    pub(crate) const BLOCK: BlockNames = BlockNames {
        attention: "attn",
        attention_norm: "ln_1",
        expand: "mlp.c_fc",
        contract: "mlp.c_proj",
        feed_forward_norm: "ln_2",
    };

    pub(crate) const VISION: VitNames = VitNames {
        class: "class_embedding",
        patch: "conv1.weight",
        positions: "positional_embedding",
        norm_before: "ln_pre",
        blocks: "transformer.resblocks",
        norm_after: "ln_post",
    };

    pub(super) const TEXT: TextNames = TextNames {
        tokens: "token_embedding",
        positions: "positional_embedding",
        blocks: "transformer.resblocks",
        norm_after: "ln_final",
    };
}
