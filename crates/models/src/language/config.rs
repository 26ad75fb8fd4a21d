//! `config.json` of language models.
//!
//! | `model_type` | models | positions | what is refused |
//! | --- | --- | --- | --- |
//! | `gpt2` | GPT-2 | learned | `scale_attn_weights: false`, `scale_attn_by_inverse_layer_idx: true` |
//! | `gptj` | GPT-J | rotary, neighbours | |
//! | `gpt_neox` | GPT-NeoX, Pythia, RedPajama-INCITE | rotary, halves | `rope_scaling` |
//! | `mpt` | MPT | ALiBi | `alibi: false`, `qk_ln`, `clip_qkv`, `prefix_lm`, biases |
//! | `opt` | OPT | learned, from the third row on | |
//!
//! Names that a file does not hold have the values that transformers gives them.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sightline_nn::causal::{Arrangement, CausalNames, CausalSpec, HeadName, Pairing, Positions};
use sightline_nn::{Activation, Weights};

use crate::Result;
use crate::check::{Check, limit};
use crate::folder::read_json;

/// The kinds that are read.
const KINDS: &str = "`gpt2`, `gptj`, `gpt_neox`, `mpt` or `opt`";

/// What a configuration says.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageConfig {
    /// `model_type`.
    pub kind: &'static str,
    /// The network.
    pub spec: CausalSpec,
    /// The token before every text, if the model has one.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    /// What may stand before the tensors' names, the published form first.
    pub prefixes: &'static [&'static str],
}

impl LanguageConfig {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, read_json(path)?)
    }

    /// Reads `config`, which is that of the file at `path`.
    pub fn parse(path: &Path, config: Value) -> Result<Self> {
        let check = Check::new(path);
        let kind = config.get("model_type").and_then(Value::as_str);
        let kind = kind.unwrap_or("not there").to_owned();
        let tokens: Tokens = from(check, config.clone())?;
        let (kind, prefixes, spec): (_, &[&str], _) = match kind.as_str() {
            "gpt2" => ("gpt2", &["transformer"], gpt2(check, from(check, config)?)?),
            "gptj" => (
                "gptj",
                &["transformer"],
                gptj(check, &from(check, config)?)?,
            ),
            "gpt_neox" => (
                "gpt_neox",
                &["gpt_neox"],
                neox(check, from(check, config)?)?,
            ),
            "mpt" => ("mpt", &["transformer"], mpt(check, from(check, config)?)?),
            "opt" => (
                "opt",
                &["model.decoder", "decoder"],
                opt(check, from(check, config)?)?,
            ),
            _ => return Err(check.wrong("model_type", &kind, KINDS)),
        };
        check_spec(check, &spec)?;
        Ok(Self {
            kind,
            spec,
            bos: tokens.bos_token_id,
            eos: match tokens.eos_token_id {
                Some(Value::Array(ids)) => ids.iter().filter_map(token).collect(),
                Some(id) => token(&id).into_iter().collect(),
                None => Vec::new(),
            },
            prefixes,
        })
    }

    /// Where in `weights` the parts of the network are: below one of the prefixes, or not. Where nothing fits, it is the
    /// published place, so that its names are told as missing.
    pub fn body(&self, weights: &Weights) -> Weights {
        let tokens = format!("{}.weight", self.spec.names.tokens);
        let is_there = |scope: &Weights| scope.shape(&tokens).is_some();
        let prefixed = self.prefixes.iter().map(|prefix| weights.scope(prefix));
        let published = weights.scope(self.prefixes.first().unwrap_or(&"transformer"));
        let mut scopes = prefixed.chain([weights.clone()]);
        scopes.find(is_there).unwrap_or(published)
    }
}

fn from<T: for<'de> Deserialize<'de>>(check: Check<'_>, config: Value) -> Result<T> {
    serde_json::from_value(config).map_err(|source| check.json(source))
}

fn token(id: &Value) -> Option<u32> {
    id.as_u64().and_then(|id| u32::try_from(id).ok())
}

#[derive(Deserialize)]
struct Tokens {
    bos_token_id: Option<u32>,
    eos_token_id: Option<Value>,
}

fn yes() -> bool {
    true
}

fn eps() -> f64 {
    1e-5
}

fn base() -> f64 {
    1e4
}

/// Of GPT-2 and GPT-J.
#[derive(Deserialize)]
struct Gpt {
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    #[serde(default = "gelu_tanh")]
    activation_function: Activation,
    #[serde(default = "eps")]
    layer_norm_epsilon: f64,
    tie_word_embeddings: Option<bool>,
    #[serde(default = "yes")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    /// GPT-J's.
    rotary_dim: Option<usize>,
}

fn gelu_tanh() -> Activation {
    Activation::GeluTanh
}

impl Gpt {
    fn spec(&self) -> CausalSpec {
        CausalSpec {
            width: self.n_embd,
            embedding_width: self.n_embd,
            vocabulary_size: self.vocab_size,
            context: self.n_positions,
            depth: self.n_layer,
            heads: self.n_head,
            hidden: self.n_inner.unwrap_or(self.n_embd.saturating_mul(4)),
            activation: self.activation_function,
            norm_eps: self.layer_norm_epsilon,
            arrangement: Arrangement::Pre,
            positions: Positions::Learned {
                rows: self.n_positions,
                offset: 0,
            },
            attention_bias: true,
            feed_forward_bias: true,
            norm_bias: true,
            is_transposed: true,
            adapter: None,
            names: CausalNames::GPT2,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it reads as its siblings do")]
fn gpt2(check: Check<'_>, config: Gpt) -> Result<CausalSpec> {
    if !config.scale_attn_weights {
        return Err(check.wrong("scale_attn_weights", &false, "true"));
    }
    if config.scale_attn_by_inverse_layer_idx {
        return Err(check.wrong("scale_attn_by_inverse_layer_idx", &true, "false"));
    }
    let mut spec = config.spec();
    if config.tie_word_embeddings == Some(false) {
        spec.names.head = own_head();
    }
    Ok(spec)
}

fn gptj(check: Check<'_>, config: &Gpt) -> Result<CausalSpec> {
    Ok(CausalSpec {
        arrangement: Arrangement::Parallel,
        positions: Positions::Rotary {
            dims: match config.rotary_dim {
                Some(dims) => dims,
                None => return Err(check.wrong("rotary_dim", &"not there", "a number")),
            },
            base: base(),
            pairing: Pairing::Neighbours,
        },
        attention_bias: false,
        is_transposed: false,
        names: CausalNames::GPTJ,
        ..config.spec()
    })
}

fn own_head() -> HeadName {
    HeadName::Own {
        name: "lm_head",
        has_bias: false,
    }
}

#[derive(Deserialize)]
struct NeoX {
    vocab_size: usize,
    max_position_embeddings: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: Activation,
    #[serde(default = "eps")]
    layer_norm_eps: f64,
    rotary_pct: Option<f64>,
    partial_rotary_factor: Option<f64>,
    #[serde(default = "base")]
    rotary_emb_base: f64,
    rope_scaling: Option<Value>,
    #[serde(default = "yes")]
    use_parallel_residual: bool,
    #[serde(default = "yes")]
    attention_bias: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
}

fn neox(check: Check<'_>, config: NeoX) -> Result<CausalSpec> {
    if let Some(scaling) = config.rope_scaling {
        return Err(check.wrong("rope_scaling", &scaling, "null"));
    }
    let share = config.rotary_pct.or(config.partial_rotary_factor);
    let share = share.unwrap_or(0.25);
    if !(0.0..=1.0).contains(&share) {
        return Err(check.wrong("rotary_pct", &share, "0 to 1"));
    }
    let head_dim = config.hidden_size / config.num_attention_heads.max(1);
    let mut names = CausalNames::NEOX;
    if config.tie_word_embeddings {
        names.head = HeadName::Tied;
    }
    Ok(CausalSpec {
        width: config.hidden_size,
        embedding_width: config.hidden_size,
        vocabulary_size: config.vocab_size,
        context: config.max_position_embeddings,
        depth: config.num_hidden_layers,
        heads: config.num_attention_heads,
        hidden: config.intermediate_size,
        activation: config.hidden_act,
        norm_eps: config.layer_norm_eps,
        arrangement: if config.use_parallel_residual {
            Arrangement::Parallel
        } else {
            Arrangement::Pre
        },
        positions: Positions::Rotary {
            dims: (head_dim as f64 * share) as usize,
            base: config.rotary_emb_base,
            pairing: Pairing::Halves,
        },
        attention_bias: config.attention_bias,
        feed_forward_bias: true,
        norm_bias: true,
        is_transposed: false,
        adapter: None,
        names,
    })
}

#[derive(Deserialize)]
struct Mpt {
    vocab_size: usize,
    max_seq_len: usize,
    d_model: usize,
    n_layers: usize,
    n_heads: usize,
    #[serde(default = "four")]
    expansion_ratio: usize,
    #[serde(default = "yes")]
    no_bias: bool,
    #[serde(default = "eps")]
    layer_norm_epsilon: f64,
    attn_config: MptAttention,
}

#[derive(Deserialize)]
struct MptAttention {
    #[serde(default = "yes")]
    alibi: bool,
    #[serde(default = "eight")]
    alibi_bias_max: f64,
    #[serde(default)]
    qk_ln: bool,
    #[serde(default)]
    prefix_lm: bool,
    clip_qkv: Option<f64>,
    softmax_scale: Option<f64>,
}

fn four() -> usize {
    4
}

fn eight() -> f64 {
    8.0
}

#[expect(clippy::needless_pass_by_value, reason = "it reads as its siblings do")]
fn mpt(check: Check<'_>, config: Mpt) -> Result<CausalSpec> {
    let attention = &config.attn_config;
    let part = check.part("attn_config");
    for (field, found, wanted) in [
        ("alibi", attention.alibi, true),
        ("qk_ln", attention.qk_ln, false),
        ("prefix_lm", attention.prefix_lm, false),
    ] {
        if found != wanted {
            return Err(part.wrong(field, &found, wanted.to_string()));
        }
    }
    for (field, found) in [
        ("clip_qkv", attention.clip_qkv),
        ("softmax_scale", attention.softmax_scale),
    ] {
        if let Some(found) = found {
            return Err(part.wrong(field, &found, "null"));
        }
    }
    if !config.no_bias {
        return Err(check.wrong("no_bias", &false, "true"));
    }
    Ok(CausalSpec {
        width: config.d_model,
        embedding_width: config.d_model,
        vocabulary_size: config.vocab_size,
        context: config.max_seq_len,
        depth: config.n_layers,
        heads: config.n_heads,
        hidden: config.d_model.saturating_mul(config.expansion_ratio),
        activation: Activation::Gelu,
        norm_eps: config.layer_norm_epsilon,
        arrangement: Arrangement::Pre,
        positions: Positions::Alibi {
            bias_max: attention.alibi_bias_max,
        },
        attention_bias: false,
        feed_forward_bias: false,
        norm_bias: false,
        is_transposed: false,
        adapter: None,
        names: CausalNames::MPT,
    })
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as published")]
struct Opt {
    vocab_size: usize,
    max_position_embeddings: usize,
    hidden_size: usize,
    ffn_dim: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    activation_function: Activation,
    word_embed_proj_dim: Option<usize>,
    #[serde(default = "yes")]
    do_layer_norm_before: bool,
    #[serde(default, rename = "_remove_final_layer_norm")]
    remove_final_layer_norm: bool,
    #[serde(default = "yes")]
    enable_bias: bool,
    #[serde(default = "yes")]
    layer_norm_elementwise_affine: bool,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
}

#[expect(clippy::needless_pass_by_value, reason = "it reads as its siblings do")]
fn opt(check: Check<'_>, config: Opt) -> Result<CausalSpec> {
    if !config.layer_norm_elementwise_affine {
        return Err(check.wrong("layer_norm_elementwise_affine", &false, "true"));
    }
    let mut names = CausalNames::OPT;
    if !config.do_layer_norm_before || config.remove_final_layer_norm {
        names.norm_after = None;
    }
    if !config.tie_word_embeddings {
        names.head = own_head();
    }
    Ok(CausalSpec {
        width: config.hidden_size,
        embedding_width: config.word_embed_proj_dim.unwrap_or(config.hidden_size),
        vocabulary_size: config.vocab_size,
        context: config.max_position_embeddings,
        depth: config.num_hidden_layers,
        heads: config.num_attention_heads,
        hidden: config.ffn_dim,
        activation: config.activation_function,
        norm_eps: eps(),
        arrangement: if config.do_layer_norm_before {
            Arrangement::Pre
        } else {
            Arrangement::Post
        },
        positions: Positions::Learned {
            rows: config.max_position_embeddings,
            offset: 2,
        },
        attention_bias: config.enable_bias,
        feed_forward_bias: config.enable_bias,
        norm_bias: true,
        is_transposed: false,
        adapter: None,
        names,
    })
}

/// Whether a network can have this form. Fields are told by what they mean: each kind has its own names for them.
fn check_spec(check: Check<'_>, spec: &CausalSpec) -> Result<()> {
    check.range("width of the layers", spec.width, 1, limit::WIDTH)?;
    let embedding = spec.embedding_width;
    check.range("width of the embeddings", embedding, 1, limit::WIDTH)?;
    check.range("vocab_size", spec.vocabulary_size, 1, limit::VOCABULARY)?;
    check.range("number of positions", spec.context, 1, limit::CONTEXT)?;
    check.range("number of layers", spec.depth, 1, limit::DEPTH)?;
    check.range(
        "width of the feed-forward layer",
        spec.hidden,
        1,
        limit::HIDDEN,
    )?;
    check.range("number of heads", spec.heads, 1, limit::WIDTH)?;
    if !spec.width.is_multiple_of(spec.heads) {
        let wanted = format!("a divisor of the layers' width, {}", spec.width);
        return Err(check.wrong("number of heads", &spec.heads, wanted));
    }
    if !(spec.norm_eps > 0.0 && spec.norm_eps < 1.0) {
        let wanted = "a number between 0 and 1";
        return Err(check.wrong("what is added to the variance", &spec.norm_eps, wanted));
    }
    match spec.positions {
        Positions::Rotary { dims, base, .. } => {
            let head_dim = spec.width / spec.heads;
            if dims < 2 || dims > head_dim || dims % 2 != 0 {
                let wanted = format!("an even number of 2 to {head_dim}, the width of a head");
                return Err(check.wrong("number of rotary elements", &dims, wanted));
            }
            if !(base.is_finite() && base > 1.0) {
                return Err(check.wrong("rotary base", &base, "a number above 1"));
            }
        }
        Positions::Alibi { bias_max } => {
            if !(bias_max.is_finite() && bias_max > 0.0) {
                let wanted = "a number above 0";
                return Err(check.wrong("attn_config.alibi_bias_max", &bias_max, wanted));
            }
        }
        Positions::Learned { .. } => {}
    }
    Ok(())
}
