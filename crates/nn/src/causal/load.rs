//! Reads a language model.

use candle_core::Tensor;

use super::{Arrangement, CausalSpec, CausalTransformer, HeadName, Positions, Projections};
use crate::block::{Adapter, Block, NormPlace};
use crate::{Attention, Embedding, LayerNorm, Linear, Result, Weights};

impl CausalTransformer {
    /// Reads the parts from `body`, and the head, where it is one of its own, from `root`.
    pub fn load(body: &Weights, root: &Weights, spec: &CausalSpec) -> Result<Self> {
        let names = &spec.names;
        let (width, embedding) = (spec.width, spec.embedding_width);
        let tokens = Embedding::load(&body.scope(names.tokens), spec.vocabulary_size, embedding)?;
        let positions = match spec.positions {
            Positions::Learned { rows, offset } => {
                let scope = body.scope(names.positions);
                Some(Embedding::load(&scope, rows.saturating_add(offset), width)?)
            }
            Positions::Rotary { .. } | Positions::Alibi { .. } => None,
        };
        let project = if width == embedding {
            None
        } else {
            let [into, out] = names.project.map(|name| body.scope(name));
            Some((
                Linear::load_without_bias(&into, embedding, width)?,
                Linear::load_without_bias(&out, width, embedding)?,
            ))
        };
        let layers = body.scope(names.layers);
        let layers = (0..spec.depth).map(|i| layer(&layers.scope(i), spec));
        let norm_after = names.norm_after.map(|name| norm(&body.scope(name), spec));
        let head = match names.head {
            HeadName::Tied => {
                // Some files hold the tied copy as well.
                root.disregard("lm_head");
                Linear::new(tokens.table(), None)?
            }
            HeadName::Own { name, has_bias } => {
                let load = if has_bias {
                    Linear::load
                } else {
                    Linear::load_without_bias
                };
                load(&root.scope(name), embedding, spec.vocabulary_size)?
            }
        };
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            norm_after: norm_after.transpose()?,
            slopes: match spec.positions {
                Positions::Alibi { bias_max } => Some(slopes(spec.heads, bias_max)),
                Positions::Learned { .. } | Positions::Rotary { .. } => None,
            },
            tokens,
            positions,
            project,
            head,
            spec: spec.clone(),
            #[cfg(feature = "cuda")]
            replays: super::replay::Replays::default(),
        })
    }
}

fn norm(weights: &Weights, spec: &CausalSpec) -> Result<LayerNorm> {
    let load = if spec.norm_bias {
        LayerNorm::load
    } else {
        LayerNorm::load_without_bias
    };
    load(weights, spec.width, spec.norm_eps)
}

fn layer(weights: &Weights, spec: &CausalSpec) -> Result<Block> {
    let names = &spec.names;
    for buffer in names.buffers {
        weights.disregard(buffer);
    }
    let (width, hidden) = (spec.width, spec.hidden);
    let linear = |name, input, output, has_bias| -> Result<Linear> {
        let part = parts(&weights.scope(name), spec, input, output, has_bias)?;
        Linear::side_by_side(vec![part], weights.precision())
    };
    let out = linear(names.out, width, width, spec.attention_bias)?;
    let head_dim = width / spec.heads.max(1);
    let (expand, contract) = match &spec.adapter {
        Some(adapter) => (adapter.names.expand, adapter.names.contract),
        None => (names.expand, names.contract),
    };
    Ok(Block {
        attention: Attention::own_parts(
            projections(weights, spec)?,
            out,
            (spec.heads, head_dim),
            weights.precision(),
        )?,
        attention_norm: norm(&weights.scope(names.attention_norm), spec)?,
        expand: linear(expand, width, hidden, spec.feed_forward_bias)?,
        contract: linear(contract, hidden, width, spec.feed_forward_bias)?,
        adapter: adapter(weights, spec)?,
        feed_forward_norm: norm(&weights.scope(names.feed_forward_norm), spec)?,
        activation: spec.activation,
        norm_place: match spec.arrangement {
            Arrangement::Post => NormPlace::Post,
            Arrangement::Pre | Arrangement::Parallel => NormPlace::Pre,
        },
        dropout: weights.dropout(),
    })
}

/// The adapter of the layer that `weights` are of, if the model has adapters.
pub(super) fn adapter(weights: &Weights, spec: &CausalSpec) -> Result<Option<Adapter>> {
    let Some(adapter) = &spec.adapter else {
        return Ok(None);
    };
    let (down, up) = (adapter.names.down, adapter.names.up);
    Ok(Some(Adapter {
        down: Linear::load(&weights.scope(down), spec.width, adapter.hidden)?,
        up: Linear::load(&weights.scope(up), adapter.hidden, spec.width)?,
    }))
}

type Parts = (Tensor, Option<Tensor>);

/// Weight `[output, input]` and bias `[output]`, however they are stored.
fn parts(
    weights: &Weights,
    spec: &CausalSpec,
    input: usize,
    output: usize,
    has_bias: bool,
) -> Result<Parts> {
    let weight = if spec.is_transposed {
        weights
            .tensor("weight", &[input, output])?
            .t()?
            .contiguous()?
    } else {
        weights.tensor("weight", &[output, input])?
    };
    let bias = has_bias.then(|| weights.tensor("bias", &[output]));
    Ok((weight, bias.transpose()?))
}

fn projections(weights: &Weights, spec: &CausalSpec) -> Result<[Parts; 3]> {
    let width = spec.width;
    let read = |name, output| {
        parts(
            &weights.scope(name),
            spec,
            width,
            output,
            spec.attention_bias,
        )
    };
    match spec.names.projections {
        Projections::Apart { query, key, value } => {
            Ok([read(query, width)?, read(key, width)?, read(value, width)?])
        }
        Projections::Together(name) => {
            let (weight, bias) = read(name, 3 * width)?;
            third(|i| {
                let bias = bias.as_ref().map(|bias| bias.narrow(0, i * width, width));
                Ok((weight.narrow(0, i * width, width)?, bias.transpose()?))
            })
        }
        Projections::PerHead(name) => {
            let (weight, bias) = read(name, 3 * width)?;
            let (heads, head_dim) = (spec.heads, width / spec.heads.max(1));
            let weight = weight.reshape((heads, 3, head_dim, width))?;
            third(|i| {
                let of_bias = |bias: &Tensor| {
                    let bias = bias.reshape((heads, 3, head_dim))?;
                    bias.narrow(1, i, 1)?.contiguous()?.reshape(width)
                };
                let bias = bias.as_ref().map(of_bias).transpose()?;
                let weight = weight.narrow(1, i, 1)?.contiguous()?;
                Ok((weight.reshape((width, width))?, bias))
            })
        }
    }
}

fn third(part: impl Fn(usize) -> Result<Parts>) -> Result<[Parts; 3]> {
    Ok([part(0)?, part(1)?, part(2)?])
}

/// Slopes of ALiBi as MPT has them: for a power of two of heads `2^(-bias_max * h / heads)`, `h` from 1; for another
/// number those of the next power of two, every second one first.
fn slopes(heads: usize, bias_max: f64) -> Vec<f32> {
    let power = heads.max(1).next_power_of_two();
    let all: Vec<f32> = (1..=power)
        .map(|h| (-bias_max * h as f64 / power as f64).exp2() as f32)
        .collect();
    if power == heads {
        return all;
    }
    let odd = all.iter().skip(1).step_by(2);
    let ordered = odd.chain(all.iter().step_by(2));
    ordered.copied().take(heads).collect()
}
