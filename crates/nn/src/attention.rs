//! Multi-head attention (Vaswani et al. 2017, section 3.2), the only one here.

use candle_core::{CpuStorage, D, InplaceOp1, InplaceOp2, Layout, Tensor};

use crate::kernel;
use crate::linear::{elements, elements_mut, is_fusable};
use crate::{Error, Linear, Mask, Result, Weights};

/// What an attention layer looks like.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Width of queries and output.
    pub width: usize,
    /// Heads.
    pub heads: usize,
    /// Width of one head; usually `width / heads`.
    pub head_dim: usize,
    /// Where keys and values come from.
    pub key_value: KeyValue,
    /// Names in the checkpoint.
    pub names: AttentionNames,
}

/// Where keys and values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyValue {
    /// From the same sequence as the queries.
    Own,
    /// From another sequence.
    Other {
        /// Width of that sequence.
        width: usize,
    },
}

/// Names of the four projections, each with `.weight` and `.bias`.
///
/// If query, key and value have the same name, there is one tensor `{name}_weight` for the three, their rows one
/// after the other, and one `{name}_bias`: see [`AttentionNames::PACKED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionNames {
    /// `[heads * head_dim, width]`.
    pub query: &'static str,
    /// `[heads * head_dim, key-value width]`.
    pub key: &'static str,
    /// `[heads * head_dim, key-value width]`.
    pub value: &'static str,
    /// `[width, heads * head_dim]`.
    pub out: &'static str,
}

impl AttentionNames {
    /// Those of PyTorch's `MultiheadAttention`: `in_proj_weight` `[3 * heads * head_dim, width]`, `in_proj_bias`,
    /// `out_proj.weight` and `out_proj.bias`. Queries, keys and values MUST come from sequences of the same width.
    pub const PACKED: Self = Self {
        query: "in_proj",
        key: "in_proj",
        value: "in_proj",
        out: "out_proj",
    };

    fn are_packed(&self) -> bool {
        self.query == self.key && self.query == self.value
    }
}

/// `out(softmax(q kᵀ / sqrt(head_dim) + mask) v)` in several heads.
#[derive(Clone, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    heads: usize,
    head_dim: usize,
    key_value: KeyValue,
}

impl Attention {
    /// Reads the four projections.
    pub fn load(weights: &Weights, spec: &AttentionSpec) -> Result<Self> {
        Self::load_to(weights, spec, spec.width)
    }

    /// As [`Self::load`], with an output of `output` instead of the queries' width.
    pub fn load_to(weights: &Weights, spec: &AttentionSpec, output: usize) -> Result<Self> {
        let inner = spec.heads * spec.head_dim;
        let names = &spec.names;
        let [query, key, value] = if names.are_packed() {
            let shape = [3 * inner, spec.width];
            let weight = weights.tensor(&format!("{}_weight", names.query), &shape)?;
            let bias = weights.tensor(&format!("{}_bias", names.query), &shape[..1])?;
            let third = |i: usize| {
                let weight = weight.narrow(0, i * inner, inner)?;
                Linear::new(&weight, Some(bias.narrow(0, i * inner, inner)?))
            };
            [third(0)?, third(1)?, third(2)?]
        } else {
            let source = match spec.key_value {
                KeyValue::Own => spec.width,
                KeyValue::Other { width } => width,
            };
            let linear = |name, input| Linear::load(&weights.scope(name), input, inner);
            [
                linear(names.query, spec.width)?,
                linear(names.key, source)?,
                linear(names.value, source)?,
            ]
        };
        Ok(Self {
            query,
            key,
            value,
            out: Linear::load(&weights.scope(names.out), inner, output)?,
            heads: spec.heads,
            head_dim: spec.head_dim,
            key_value: spec.key_value,
        })
    }

    /// `x` `[B, T, width]`; `other` `[B, S, its width]` exactly when keys and values come from there; `mask`
    /// `[B or 1, heads or 1, T or 1, S]`. Returns `[B, T, width]`.
    pub fn forward(
        &self,
        x: &Tensor,
        other: Option<&Tensor>,
        mask: Option<&Mask>,
    ) -> Result<Tensor> {
        let source = match (self.key_value, other) {
            (KeyValue::Own, None) => x,
            (KeyValue::Other { .. }, Some(other)) => other,
            (key_value, other) => {
                return Err(Error::Shape {
                    what: "the sequence that keys and values come from",
                    found: other.map_or_else(Vec::new, |t| t.dims().to_vec()),
                    wanted: match key_value {
                        KeyValue::Own => "none: this attention looks at its own".to_owned(),
                        KeyValue::Other { width } => format!("[B, S, {width}]"),
                    },
                });
            }
        };
        self.look_at(x, &self.keys_values(source)?, mask)
    }

    /// What queries look at, for a `source` `[B, S, its width]` that is looked at several times.
    pub fn keys_values(&self, source: &Tensor) -> Result<KeysValues> {
        Ok(KeysValues {
            keys: self.split(&self.key.forward(source)?)?,
            values: self.split(&self.value.forward(source)?)?,
        })
    }

    /// `x` `[B, T, width]` looks at keys and values that this layer made of `B` sequences; `mask` as for
    /// [`Self::forward`]. Returns `[B, T, width]`.
    pub fn look_at(&self, x: &Tensor, seen: &KeysValues, mask: Option<&Mask>) -> Result<Tensor> {
        let q = self.split(&self.query.forward(x)?)?;
        let scores = q.matmul(&seen.keys.transpose(2, 3)?)?;
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        let shares = softmax(scores, scale, mask)?;
        let mixed = shares.matmul(&seen.values)?;
        let mixed = mixed.transpose(1, 2)?.flatten_from(2)?;
        self.out.forward(&mixed)
    }

    /// `[B, T, heads * head_dim]` to `[B, heads, T, head_dim]`.
    fn split(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, len, _) = x.dims3()?;
        let heads = x.reshape((batch, len, self.heads, self.head_dim))?;
        Ok(heads.transpose(1, 2)?.contiguous()?)
    }
}

/// Keys and values of sequences, as one attention layer made them.
#[derive(Clone, Debug)]
pub struct KeysValues {
    /// `[B, heads, S, head_dim]`.
    keys: Tensor,
    /// `[B, heads, S, head_dim]`.
    values: Tensor,
}

impl KeysValues {
    /// Number `S` of positions.
    pub fn len(&self) -> Result<usize> {
        Ok(self.keys.dim(2)?)
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// These positions and behind them those of `more`, of the same sequences.
    pub fn followed_by(&self, more: &Self) -> Result<Self> {
        Ok(Self {
            keys: Tensor::cat(&[&self.keys, &more.keys], 2)?,
            values: Tensor::cat(&[&self.values, &more.values], 2)?,
        })
    }

    /// The sequences that `rows` names, each as often as it is named.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        let index: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        let index = Tensor::from_vec(index, rows.len(), self.keys.device())?;
        Ok(Self {
            keys: self.keys.index_select(&index, 0)?,
            values: self.values.index_select(&index, 0)?,
        })
    }
}

/// Softmax of `scale * scores + mask` over the last dimension of the fresh `scores` `[B, heads, T, S]`.
fn softmax(scores: Tensor, scale: f32, mask: Option<&Mask>) -> Result<Tensor> {
    if let Some(mask) = mask {
        check_mask(&scores, mask.values())?;
    }
    let fused = is_fusable(&scores) && mask.is_none_or(|mask| is_fusable(mask.values()));
    if fused {
        match mask {
            None => scores.inplace_op1(&Softmax { scale })?,
            Some(mask) => scores.inplace_op2(mask.values(), &Softmax { scale })?,
        }
        return Ok(scores);
    }
    let scaled = (&scores * f64::from(scale))?;
    let masked = match mask {
        Some(mask) => scaled.broadcast_add(mask.values())?,
        None => scaled,
    };
    Ok(if masked.track_op() {
        candle_nn::ops::softmax(&masked, D::Minus1)?
    } else {
        candle_nn::ops::softmax_last_dim(&masked)?
    })
}

fn check_mask(scores: &Tensor, mask: &Tensor) -> Result<()> {
    let (wanted, found) = (scores.dims(), mask.dims());
    let (Some((keys, leading)), Some((mask_keys, mask_leading))) =
        (wanted.split_last(), found.split_last())
    else {
        return Ok(());
    };
    let fits = keys == mask_keys
        && leading.len() == mask_leading.len()
        && leading
            .iter()
            .zip(mask_leading)
            .all(|(w, m)| *m == 1 || w == m);
    if fits {
        return Ok(());
    }
    Err(Error::Shape {
        what: "the attention mask",
        found: found.to_vec(),
        wanted: format!("{wanted:?}, or 1 in any place but the last"),
    })
}

struct Softmax {
    scale: f32,
}

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, scores: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let keys = layout.dims().last().copied().unwrap_or(0);
        kernel::softmax(elements_mut(scores, layout)?, keys, self.scale, |_| None);
        Ok(())
    }
}

impl InplaceOp2 for Softmax {
    fn name(&self) -> &'static str {
        "masked-softmax"
    }

    fn cpu_fwd(
        &self,
        scores: &mut CpuStorage,
        layout: &Layout,
        mask: &CpuStorage,
        mask_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (_, heads, queries, keys) = layout.shape().dims4()?;
        let (mask_batch, mask_heads, mask_queries, _) = mask_layout.shape().dims4()?;
        let mask = elements(mask, mask_layout)?;
        let row_of = |row: usize| {
            let (t, head, item) = (row % queries, row / queries % heads, row / queries / heads);
            let leading = (item % mask_batch) * mask_heads + head % mask_heads;
            let row = leading * mask_queries + t % mask_queries;
            mask.get(row * keys..(row + 1) * keys)
        };
        kernel::softmax(elements_mut(scores, layout)?, keys, self.scale, row_of);
        Ok(())
    }
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "the same operations in the same order give the same bits"
)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Var};
    use sightline_core::Seed;

    use super::*;

    const NAMES: AttentionNames = AttentionNames {
        query: "q",
        key: "k",
        value: "v",
        out: "o",
    };

    fn spec(key_value: KeyValue) -> AttentionSpec {
        AttentionSpec {
            width: 6,
            heads: 2,
            head_dim: 3,
            key_value,
            names: NAMES,
        }
    }

    fn distance(a: &Tensor, b: &Tensor) -> f32 {
        let difference = (a - b).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn looking_at_another_sequence_that_is_the_same_changes_nothing() {
        let weights = Weights::random(Seed(3), &Device::Cpu);
        let own = Attention::load(&weights, &spec(KeyValue::Own)).unwrap();
        let other = Attention::load(&weights, &spec(KeyValue::Other { width: 6 })).unwrap();
        let x = Tensor::randn(0f32, 1.0, (2, 5, 6), &Device::Cpu).unwrap();
        let a = own.forward(&x, None, None).unwrap();
        let b = other.forward(&x, Some(&x), None).unwrap();
        assert_eq!(distance(&a, &b), 0.0);
        assert!(own.forward(&x, Some(&x), None).is_err());
        assert!(other.forward(&x, None, None).is_err());
    }

    #[test]
    fn packed_projections_are_those_one_by_one() {
        let tensor = |shape: &[usize], start: f32| {
            let count: usize = shape.iter().product();
            let values = Tensor::arange(start, start + count as f32, &Device::Cpu).unwrap();
            (values * 0.37)
                .unwrap()
                .sin()
                .unwrap()
                .reshape(shape)
                .unwrap()
        };
        let (weight, bias) = (tensor(&[18, 6], 0.0), tensor(&[18], 7.0));
        let mut tensors = HashMap::from([
            ("in_proj_weight".to_owned(), weight.clone()),
            ("in_proj_bias".to_owned(), bias.clone()),
        ]);
        for (i, name) in ["q", "k", "v"].into_iter().enumerate() {
            let rows = |t: &Tensor| t.narrow(0, i * 6, 6).unwrap();
            tensors.insert(format!("{name}.weight"), rows(&weight));
            tensors.insert(format!("{name}.bias"), rows(&bias));
        }
        for name in ["o", "out_proj"] {
            tensors.insert(format!("{name}.weight"), tensor(&[4, 6], 3.0));
            tensors.insert(format!("{name}.bias"), tensor(&[4], 5.0));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        candle_core::safetensors::save(&tensors, path).unwrap();
        let weights = Weights::open(folder.path(), &Device::Cpu).unwrap();
        let mut packed = spec(KeyValue::Own);
        packed.names = AttentionNames::PACKED;
        let packed = Attention::load_to(&weights, &packed, 4).unwrap();
        let single = Attention::load_to(&weights, &spec(KeyValue::Own), 4).unwrap();
        assert!(weights.finish().unwrap().is_empty());
        let x = tensor(&[2, 5, 6], 1.0);
        let (a, b) = (
            packed.forward(&x, None, None),
            single.forward(&x, None, None),
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.dims(), [2, 5, 4]);
        assert_eq!(distance(&a, &b), 0.0);
    }

    #[test]
    fn keys_and_values_can_be_kept_and_chosen_from() {
        let weights = Weights::random(Seed(10), &Device::Cpu);
        let attention = Attention::load(&weights, &spec(KeyValue::Own)).unwrap();
        let x = Tensor::randn(0f32, 1.0, (2, 5, 6), &Device::Cpu).unwrap();
        let part = |start, len| attention.keys_values(&x.narrow(1, start, len).unwrap());
        let seen = part(0, 3)
            .unwrap()
            .followed_by(&part(3, 2).unwrap())
            .unwrap();
        assert_eq!(seen.len().unwrap(), 5);
        let last = x.narrow(1, 4, 1).unwrap().contiguous().unwrap();
        let kept = attention.look_at(&last, &seen, None).unwrap();
        let whole = attention.forward(&x, None, None).unwrap();
        assert!(distance(&kept, &whole.narrow(1, 4, 1).unwrap()) < 1e-6);

        let chosen = seen.select(&[1, 1, 0]).unwrap();
        let rows = Tensor::new(&[1u32, 1, 0], &Device::Cpu).unwrap();
        let last = last.index_select(&rows, 0).unwrap();
        let again = attention.look_at(&last, &chosen, None).unwrap();
        let expected = kept.index_select(&rows, 0).unwrap();
        assert!(distance(&again, &expected) < 1e-6);
    }

    #[test]
    fn causal_attention_does_not_see_what_follows() {
        let weights = Weights::random(Seed(4), &Device::Cpu);
        let attention = Attention::load(&weights, &spec(KeyValue::Own)).unwrap();
        let x = Tensor::randn(0f32, 1.0, (2, 5, 6), &Device::Cpu).unwrap();
        let mask = Mask::causal(5, &Device::Cpu).unwrap();
        let all = attention.forward(&x, None, Some(&mask)).unwrap();
        let start = x.narrow(1, 0, 3).unwrap();
        let mask = Mask::causal(3, &Device::Cpu).unwrap();
        let part = attention.forward(&start, None, Some(&mask)).unwrap();
        assert!(distance(&all.narrow(1, 0, 3).unwrap(), &part) < 1e-6);
    }

    #[test]
    fn fused_and_differentiable_softmax_agree_under_every_mask_shape() {
        let device = Device::Cpu;
        let scores = Var::randn(0f32, 3.0, (2, 3, 4, 5), &device).unwrap();
        for shape in [
            (1, 1, 1, 5),
            (2, 1, 1, 5),
            (1, 3, 4, 5),
            (2, 3, 4, 5),
            (1, 1, 4, 5),
        ] {
            let values = Tensor::rand(0f32, 1.0, shape, &device).unwrap();
            let blocked = values.lt(0.3).unwrap().to_dtype(DType::F32).unwrap();
            let mask = Mask((blocked * f64::from(f32::MIN)).unwrap());
            let fused = softmax(
                scores.as_tensor().copy().unwrap().detach(),
                0.7,
                Some(&mask),
            );
            let tracked = softmax(scores.as_tensor().clone(), 0.7, Some(&mask)).unwrap();
            assert!(distance(&fused.unwrap(), &tracked) < 1e-6, "{shape:?}");
            assert!(tracked.track_op());
        }
        let wrong = Mask(Tensor::zeros((3, 1, 1, 5), DType::F32, &device).unwrap());
        let error = softmax(scores.as_tensor().clone(), 1.0, Some(&wrong)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the attention mask has the shape [3, 1, 1, 5], needed is [2, 3, 4, 5], or 1 in any \
             place but the last"
        );
    }
}
