//! The caption's side: GPT-2 with a look at the regions in each block (section 3.2 of the paper).

use candle_core::{Device, Tensor};
use sightline_nn::attention::{AttentionNames, KeysValues};
use sightline_nn::decode::Network;
use sightline_nn::{
    Activation, Attention, AttentionSpec, Dropout, Embedding, KeyValue, LayerNorm, Linear, Mask,
    Result, Weights, dropped,
};

use super::LEVELS;
use super::config::VisualGptConfig;
use super::encoder::Memory;

/// GPT-2 and what looks at regions.
pub struct CaptionDecoder {
    words: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    output: Linear,
    padding: u32,
}

struct Block {
    /// In front of both attentions, and of the regions: the published program has one norm for all three.
    norm: LayerNorm,
    own: Attention,
    /// One for all levels of the encoder.
    cross: Attention,
    /// One for each level.
    gates: Vec<Linear>,
    feed_norm: LayerNorm,
    expand: Linear,
    contract: Linear,
    tau: f64,
    dropout: Option<Dropout>,
}

/// Captions that are being written: what each row has seen.
pub struct Captions<'m> {
    decoder: &'m CaptionDecoder,
    /// For each block and each level the keys and values of every row's regions.
    memory: Vec<Vec<KeysValues>>,
    /// Which regions of every row are there.
    present: Tensor,
    /// For each block.
    tokens: Vec<Option<KeysValues>>,
    /// The image that each row is about.
    images: Vec<usize>,
    len: usize,
}

impl CaptionDecoder {
    pub(super) fn load(weights: &Weights, config: &VisualGptConfig) -> Result<Self> {
        let width = config.d_model;
        let words = Embedding::load(&weights.scope("wte"), config.vocab_size, width)?;
        let blocks = weights.scope("h");
        let block = |i| Block::load(&blocks.scope(i), config);
        Ok(Self {
            output: Linear::new(words.table(), None)?,
            words,
            positions: Embedding::load(&weights.scope("wpe"), config.n_positions, width)?,
            blocks: (0..config.n_layer).map(block).collect::<Result<_>>()?,
            norm: LayerNorm::load(&weights.scope("ln_f"), width, config.norm_eps)?,
            padding: config.pad_id,
        })
    }

    /// Empty captions about each image of `memory`.
    pub fn start(&self, memory: &Memory) -> Result<Captions<'_>> {
        let of_block = |block: &Block| {
            let level = |level: &Tensor| block.cross.keys_values(&block.norm.forward(level)?);
            memory.levels.iter().map(level).collect::<Result<Vec<_>>>()
        };
        Ok(Captions {
            decoder: self,
            memory: self.blocks.iter().map(of_block).collect::<Result<_>>()?,
            present: memory.present.clone(),
            tokens: vec![None; self.blocks.len()],
            images: (0..memory.present.dim(0)?).collect(),
            len: 0,
        })
    }
}

impl Captions<'_> {
    /// Continues every row by its `ids`, all of the same length `T`; returns the logits `[rows, T, V]` of what comes
    /// behind each.
    pub fn advance(&mut self, ids: &[Vec<u32>]) -> Result<Tensor> {
        let decoder = self.decoder;
        let words = decoder.words.forward(ids)?;
        let (rows, len, _) = words.dims3()?;
        let device = words.device().clone();
        let positions = decoder.positions.first(self.len + len)?;
        let positions = positions.narrow(0, self.len, len)?;
        let mut x = words.broadcast_add(&positions)?;

        let causal = Mask::causal_behind(self.len, len, &device)?;
        let regions = Mask::present(&self.present)?;
        let keep = decoder.keep(ids, (rows, len), &device)?;
        let seen = self.tokens.iter_mut().zip(&self.memory);
        for (block, (tokens, memory)) in decoder.blocks.iter().zip(seen) {
            x = block.forward(&x, tokens, &causal, memory, &regions, keep.as_ref())?;
        }
        self.len += len;
        decoder.output.forward(&decoder.norm.forward(&x)?)
    }
}

impl CaptionDecoder {
    /// `[rows, T, 1]`, 0 where padding stands; `None` where there is none.
    fn keep(
        &self,
        ids: &[Vec<u32>],
        shape: (usize, usize),
        device: &Device,
    ) -> Result<Option<Tensor>> {
        if ids.iter().flatten().all(|&id| id != self.padding) {
            return Ok(None);
        }
        let kept = ids
            .iter()
            .flatten()
            .map(|&id| f32::from(id != self.padding));
        let kept = Tensor::from_iter(kept, device)?;
        Ok(Some(kept.reshape((shape.0, shape.1, 1))?))
    }
}

impl Network for Captions<'_> {
    fn step(&mut self, tokens: &[u32]) -> Result<Tensor> {
        let ids: Vec<Vec<u32>> = tokens.iter().map(|&token| vec![token]).collect();
        Ok(self.advance(&ids)?.squeeze(1)?)
    }

    fn select(&mut self, parents: &[usize]) -> Result<()> {
        let images: Vec<usize> = parents
            .iter()
            .filter_map(|&parent| self.images.get(parent).copied())
            .collect();
        // Most steps only change the order within the images, whose regions then stay where they are.
        if images != self.images {
            for level in self.memory.iter_mut().flatten() {
                *level = level.select(parents)?;
            }
            let index: Vec<u32> = parents.iter().map(|&parent| parent as u32).collect();
            let index = Tensor::from_vec(index, parents.len(), self.present.device())?;
            self.present = self.present.index_select(&index, 0)?;
            self.images = images;
        }
        for seen in self.tokens.iter_mut().flatten() {
            *seen = seen.select(parents)?;
        }
        Ok(())
    }
}

impl Block {
    fn load(weights: &Weights, config: &VisualGptConfig) -> Result<Self> {
        let (width, eps) = (config.d_model, config.norm_eps);
        let norm = |name| LayerNorm::load(&weights.scope(name), width, eps);
        let gate = |level| {
            let name = format!("fc_alpha{level}");
            Linear::load(&weights.scope(name), 2 * width, width)
        };
        let feed = weights.scope("mlp");
        Ok(Self {
            norm: norm("ln_1")?,
            own: own(&weights.scope("attn"), config)?,
            cross: cross(&weights.scope("enc_dec_attn"), config)?,
            gates: (1..=LEVELS).map(gate).collect::<Result<_>>()?,
            feed_norm: norm("ln_2")?,
            expand: Linear::load_transposed(&feed.scope("c_fc"), width, 4 * width)?,
            contract: Linear::load_transposed(&feed.scope("c_proj"), 4 * width, width)?,
            tau: config.tau,
            dropout: weights.dropout(),
        })
    }

    /// `x` `[rows, T, width]` behind `tokens`, which take it in.
    fn forward(
        &self,
        x: &Tensor,
        tokens: &mut Option<KeysValues>,
        causal: &Mask,
        memory: &[KeysValues],
        regions: &Mask,
        keep: Option<&Tensor>,
    ) -> Result<Tensor> {
        let kept = |x: Tensor| match keep {
            Some(keep) => Ok(x.broadcast_mul(&keep.to_dtype(x.dtype())?)?),
            None => Ok::<_, sightline_nn::Error>(x),
        };
        let normed = self.norm.forward(x)?;
        let (looked, seen) = self.own.look_on(&normed, tokens.as_ref(), Some(causal))?;
        *tokens = Some(seen);
        let a = (x + dropped(self.dropout.as_ref(), looked, 0)?)?;

        let queries = self.norm.forward(&a)?;
        let mut sum: Option<Tensor> = None;
        for (level, gate) in memory.iter().zip(&self.gates) {
            let c = self.cross.look_at(&queries, level, Some(regions))?;
            let both = Tensor::cat(&[&a, &c], 2)?.contiguous()?;
            let alpha = gate.forward_activated(&both, Activation::Sigmoid)?;
            let unit = resurrecting(&a, &c, &alpha, self.tau)?;
            sum = Some(match sum {
                Some(sum) => (sum + unit)?,
                None => unit,
            });
        }
        let a = match sum {
            Some(sum) => kept((sum / (LEVELS as f64).sqrt())?)?,
            None => kept(a)?,
        };
        let fed = self
            .expand
            .forward_activated(&self.feed_norm.forward(&a)?, Activation::GeluTanh)?;
        let fed = dropped(self.dropout.as_ref(), self.contract.forward(&fed)?, 1)?;
        kept((&a + fed)?)
    }
}

/// The self-resurrecting unit (section 3.3 of the paper): `alpha` says element by element how much the language `a` and
/// how much the image `c` counts, and each share is cut where it is not above `tau`; where neither is cut both count.
fn resurrecting(a: &Tensor, c: &Tensor, alpha: &Tensor, tau: f64) -> Result<Tensor> {
    let language = (alpha * alpha.gt(tau as f32)?.to_dtype(alpha.dtype())?)?;
    let visual = (1.0 - alpha)?;
    let visual = (visual * alpha.lt((1.0 - tau) as f32)?.to_dtype(alpha.dtype())?)?;
    Ok(((language * a)? + (visual * c)?)?)
}

fn spec(config: &VisualGptConfig, key_value: KeyValue) -> AttentionSpec {
    AttentionSpec {
        width: config.d_model,
        heads: config.n_heads,
        head_dim: config.d_model / config.n_heads,
        key_value,
        names: AttentionNames {
            query: "fc_q",
            key: "fc_k",
            value: "fc_v",
            out: "c_proj",
        },
    }
}

/// GPT-2's attention: one tensor `c_attn` `[width, 3 * width]`.
fn own(weights: &Weights, config: &VisualGptConfig) -> Result<Attention> {
    let width = config.d_model;
    let all = weights.scope("c_attn");
    let weight = all.tensor("weight", &[width, 3 * width])?.t()?;
    let bias = all.tensor("bias", &[3 * width])?;
    let part = |i: usize| -> Result<(Tensor, Option<Tensor>)> {
        let weight = weight.narrow(0, i * width, width)?.contiguous()?;
        Ok((
            weight,
            Some(bias.narrow(0, i * width, width)?.contiguous()?),
        ))
    };
    let out = Linear::load_transposed(&weights.scope("c_proj"), width, width)?;
    let parts = [part(0)?, part(1)?, part(2)?];
    Attention::assemble(&spec(config, KeyValue::Own), parts, out)
}

/// The look at the regions: three maps as elsewhere, and the last one transposed.
fn cross(weights: &Weights, config: &VisualGptConfig) -> Result<Attention> {
    let width = config.d_model;
    let part = |name: &str| -> Result<(Tensor, Option<Tensor>)> {
        let weights = weights.scope(name);
        let weight = weights.tensor("weight", &[width, width])?;
        Ok((weight, Some(weights.tensor("bias", &[width])?)))
    };
    let out = Linear::load_transposed(&weights.scope("c_proj"), width, width)?;
    let parts = [part("fc_q")?, part("fc_k")?, part("fc_v")?];
    Attention::assemble(&spec(config, KeyValue::Other { width }), parts, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gate_is_cut_on_its_own_and_both_may_be_open() {
        let device = Device::Cpu;
        let tensor = |values: [f32; 3]| Tensor::new(&values, &device).unwrap();
        let (a, c) = (tensor([1.0; 3]), tensor([10.0; 3]));
        let alpha = tensor([0.1, 0.4, 0.9]);
        let found = |tau| {
            let unit = resurrecting(&a, &c, &alpha, tau).unwrap();
            unit.to_vec1::<f32>().unwrap()
        };
        let near = |found: Vec<f32>, expected: [f32; 3]| {
            assert!(
                found
                    .iter()
                    .zip(expected)
                    .all(|(a, b)| (a - b).abs() < 1e-6),
                "{found:?}"
            );
        };
        near(found(0.2), [9.0, 6.4, 0.9]);
        near(found(0.0), [9.1, 6.4, 1.9]);
    }
}
