//! Multi-head attention (Vaswani et al. 2017, section 3.2), the only one here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{D, DType, Layout, Storage, Tensor};

use crate::kernel::{
    self,
    attention::{Attended, Positions, Sizes},
};
use crate::linear::{self, is_fusable, on_cpu, with_elements};
use crate::tracked::{self, HeadShape, is_trainable};
use crate::{Error, Linear, Mask, Precision, Result, Weights, at_places};

/// What rotary positions do with queries or keys `[B, T, heads * head_dim]`.
pub(crate) type Turn<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;

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
/// after the other, and one `{name}_bias`: see [`AttentionNames::PACKED`]. If key and value alone have the same name,
/// `{name}.weight` holds the rows of both, and none of the three projections has a bias (Flamingo, ClipCap).
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

    fn are_paired(&self) -> bool {
        self.key == self.value && self.query != self.key
    }
}

/// `out(softmax(q kᵀ / sqrt(head_dim) + mask) v)` in several heads.
#[derive(Clone, Debug)]
pub struct Attention {
    projections: Projections,
    out: Linear,
    heads: usize,
    head_dim: usize,
    key_value: KeyValue,
}

/// What makes queries, keys and values. Those of the same sequence stand side by side, in this order: one product
/// instead of two or three.
#[derive(Clone, Debug)]
enum Projections {
    /// All three of one sequence.
    Own(Linear),
    /// Queries of one sequence, keys and values of another.
    Apart(Linear, Linear),
}

impl Attention {
    /// Reads the four projections.
    pub fn load(weights: &Weights, spec: &AttentionSpec) -> Result<Self> {
        Self::load_to(weights, spec, spec.width)
    }

    /// As [`Self::load`], with an output of `output` instead of the queries' width.
    pub fn load_to(weights: &Weights, spec: &AttentionSpec, output: usize) -> Result<Self> {
        let inner = spec.heads * spec.head_dim;
        let out = Linear::load(&weights.scope(spec.names.out), inner, output)?;
        Self::load_with_out(weights, spec, out)
    }

    /// As [`Self::load`], with a last map from `heads * head_dim` that was read elsewhere.
    pub fn load_with_out(weights: &Weights, spec: &AttentionSpec, out: Linear) -> Result<Self> {
        Ok(Self {
            projections: Projections::load(weights, spec)?,
            out,
            heads: spec.heads,
            head_dim: spec.head_dim,
            key_value: spec.key_value,
        })
    }

    /// The layer of `spec` made of projections that were read in another layout: weights
    /// `[heads * head_dim, their source's width]` and biases of query, key and value, and the last map. The names of
    /// `spec` are not looked at.
    pub fn assemble(
        spec: &AttentionSpec,
        query_key_value: [(Tensor, Option<Tensor>); 3],
        out: Linear,
    ) -> Result<Self> {
        Ok(Self {
            projections: Projections::assemble(spec.key_value, query_key_value, Precision::F32)?,
            out,
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
        self.out.forward(&self.mixed(x, other, mask)?)
    }

    /// As [`Self::forward`], before the last map: all heads' results side by side, `[B, T, heads * head_dim]`.
    pub(crate) fn mixed(
        &self,
        x: &Tensor,
        other: Option<&Tensor>,
        mask: Option<&Mask>,
    ) -> Result<Tensor> {
        match (self.key_value, other) {
            (KeyValue::Own, None) => Ok(self.mix_own(x, mask)?.0),
            (KeyValue::Other { .. }, Some(other)) => {
                let seen = self.keys_values(other)?;
                self.mix_heads(&self.queries(x)?, &seen, mask)
            }
            (key_value, other) => Err(Error::Shape {
                what: "the sequence that keys and values come from",
                found: other.map_or_else(Vec::new, |t| t.dims().to_vec()),
                wanted: match key_value {
                    KeyValue::Own => "none: this attention looks at its own".to_owned(),
                    KeyValue::Other { width } => format!("[B, S, {width}]"),
                },
            }),
        }
    }

    /// As [`Self::look_on`] for one position of each sequence, `x` `[B, width]`, and before the last map, with what was seen
    /// in memory of the caller's, which the position is written to. The sequence MUST be its own. Returns `[B, heads *
    /// head_dim]`.
    #[cfg(feature = "cuda")]
    pub(crate) fn look_back(
        &self,
        x: &Tensor,
        seen: kernel::cuda::step::Seen<'_>,
    ) -> Result<Tensor> {
        let Projections::Own(all) = &self.projections else {
            return Err(candle_core::Error::msg("keys and values are of another sequence").into());
        };
        let all = all.forward(x)?;
        let (head_dim, scale) = (self.head_dim, self.scale());
        Ok(kernel::cuda::step::look_back(&all, seen, head_dim, scale)?)
    }

    /// What queries look at, for a `source` `[B, S, its width]` that is looked at several times.
    pub fn keys_values(&self, source: &Tensor) -> Result<KeysValues> {
        match &self.projections {
            Projections::Own(_) => Ok(self.own(source)?.1),
            Projections::Apart(_, keys_values) => Ok(KeysValues::new(keys_values.forward(source)?)),
        }
    }

    /// `x` `[B, T, width]` looks at keys and values that this layer made of `B` sequences; `mask` as for
    /// [`Self::forward`]. Returns `[B, T, width]`.
    pub fn look_at(&self, x: &Tensor, seen: &KeysValues, mask: Option<&Mask>) -> Result<Tensor> {
        self.mix(&self.queries(x)?, seen, mask)
    }

    fn queries(&self, x: &Tensor) -> Result<Tensor> {
        match &self.projections {
            Projections::Own(_) => Ok(self.own(x)?.0),
            Projections::Apart(queries, _) => queries.forward(x),
        }
    }

    /// The attention of projections that were read elsewhere: weight `[heads * head_dim, width]` and bias of queries,
    /// keys and values, of which all or none have one. Keys and values come from the own sequence.
    pub(crate) fn own_parts(
        [query, key, value]: [(Tensor, Option<Tensor>); 3],
        out: Linear,
        (heads, head_dim): (usize, usize),
        precision: Precision,
    ) -> Result<Self> {
        let parts = vec![query, key, value];
        Ok(Self {
            projections: Projections::Own(Linear::side_by_side(parts, precision)?),
            out,
            heads,
            head_dim,
            key_value: KeyValue::Own,
        })
    }

    /// As [`Self::look_at`], at `seen` `[B, S]` and behind it at `x` itself, which is then seen as well; `mask`
    /// `[B or 1, heads or 1, T or 1, S + T]`.
    pub fn look_on(
        &self,
        x: &Tensor,
        seen: Option<&KeysValues>,
        mask: Option<&Mask>,
    ) -> Result<(Tensor, KeysValues)> {
        self.look_on_turned(x, seen, None, mask)
    }

    /// As [`Self::look_on`], with new queries and keys turned by their positions.
    pub(crate) fn look_on_turned(
        &self,
        x: &Tensor,
        seen: Option<&KeysValues>,
        turn: Option<Turn<'_>>,
        mask: Option<&Mask>,
    ) -> Result<(Tensor, KeysValues)> {
        if seen.is_none() && turn.is_none() && self.key_value == KeyValue::Own {
            return self.look_at_own(x, mask);
        }
        let (mut queries, mut new) = match &self.projections {
            Projections::Own(_) => self.own(x)?,
            Projections::Apart(queries, _) => (queries.forward(x)?, self.keys_values(x)?),
        };
        if let Some(turn) = turn {
            let inner = self.heads * self.head_dim;
            let keys = new.vectors.narrow(2, 0, inner)?;
            let values = new.vectors.narrow(2, inner, inner)?;
            queries = turn(&queries)?;
            let parts = [&turn(&keys)?, &values.contiguous()?];
            new = KeysValues::new(Tensor::cat(&parts, 2)?);
        }
        let seen = match seen {
            Some(seen) => seen.followed_by(&new)?,
            None => new,
        };
        Ok((self.mix(&queries, &seen, mask)?, seen))
    }

    /// As [`Self::forward`] on the own sequence, but only what a place of each sequence sees, `places` `[B]`; returns
    /// `[B, 1, width]`.
    pub(crate) fn forward_at(
        &self,
        x: &Tensor,
        mask: Option<&Mask>,
        places: &[usize],
    ) -> Result<Tensor> {
        let (queries, seen) = self.own(x)?;
        let queries = at_places(&queries, places)?.unsqueeze(1)?;
        let mask = mask.map(|mask| mask.at_places(places)).transpose()?;
        self.mix(&queries, &seen, mask.as_ref())
    }

    /// What `x` `[B, T, width]` sees of itself, `[B, T, width]`; and its keys and values.
    fn look_at_own(&self, x: &Tensor, mask: Option<&Mask>) -> Result<(Tensor, KeysValues)> {
        let (mixed, seen) = self.mix_own(x, mask)?;
        Ok((self.out.forward(&mixed)?, seen))
    }

    /// As [`Self::look_at_own`], before the last map.
    fn mix_own(&self, x: &Tensor, mask: Option<&Mask>) -> Result<(Tensor, KeysValues)> {
        if let Projections::Own(all) = &self.projections {
            let all = all.forward(x)?;
            let values = mask.map(Mask::values);
            let tensors: Vec<&Tensor> = [&all].into_iter().chain(values).collect();
            if all.track_op() && all.elem_count() > 0 && is_trainable(&tensors) {
                // Their gradient is one too: what lies side by side is not cut.
                let (batch, len, _) = all.dims3()?;
                if let Some(values) = values {
                    check_mask(&[batch, self.heads, len, len], values)?;
                }
                let mixed = tracked::own_attention(&all, values, self.head_shape())?;
                return Ok((mixed, self.cut(&all)?.1));
            }
            let (queries, seen) = self.cut(&all)?;
            return Ok((self.mix_heads(&queries, &seen, mask)?, seen));
        }
        let (queries, seen) = self.own(x)?;
        Ok((self.mix_heads(&queries, &seen, mask)?, seen))
    }

    /// Queries, keys and values of one sequence `[B, T, width]`.
    fn own(&self, x: &Tensor) -> Result<(Tensor, KeysValues)> {
        match &self.projections {
            Projections::Own(all) => self.cut(&all.forward(x)?),
            Projections::Apart(queries, keys_values) => {
                let keys_values = KeysValues::new(keys_values.forward(x)?);
                Ok((queries.forward(x)?, keys_values))
            }
        }
    }

    /// What lies side by side, `[B, T, 3 * heads * head_dim]`.
    fn cut(&self, all: &Tensor) -> Result<(Tensor, KeysValues)> {
        let inner = self.heads * self.head_dim;
        let keys_values = all.narrow(2, inner, 2 * inner)?;
        Ok((all.narrow(2, 0, inner)?, KeysValues::new(keys_values)))
    }

    /// `queries` `[B, T, heads * head_dim]` look at `seen`; returns `[B, T, output]`.
    fn mix(&self, queries: &Tensor, seen: &KeysValues, mask: Option<&Mask>) -> Result<Tensor> {
        self.out.forward(&self.mix_heads(queries, seen, mask)?)
    }

    /// As [`Self::mix`], before the last map.
    fn mix_heads(
        &self,
        queries: &Tensor,
        seen: &KeysValues,
        mask: Option<&Mask>,
    ) -> Result<Tensor> {
        let (batch, len, _) = queries.dims3()?;
        let keys = seen.len()?;
        if let Some(mask) = mask {
            check_mask(&[batch, self.heads, len, keys], mask.values())?;
        }
        let mask = mask.map(Mask::values);
        let is_plain = |x: &Tensor| is_fixed(x) && x.stride().last() == Some(&1);
        #[cfg(feature = "cuda")]
        if kernel::cuda::is_attendable(queries)
            && kernel::cuda::is_attendable(&seen.vectors)
            && queries.dtype() == seen.vectors.dtype()
            && mask.is_none_or(kernel::cuda::is_fusable)
            && self.head_dim <= kernel::cuda::WIDEST_HEAD
        {
            let (head_dim, scale) = (self.head_dim, self.scale());
            let vectors = &seen.vectors;
            return Ok(kernel::cuda::attention(
                queries, vectors, mask, head_dim, scale,
            )?);
        }
        let fused = is_plain(queries)
            && is_plain(&seen.vectors)
            && seen.vectors.dims()[0] == batch
            && mask.is_none_or(is_fusable);
        let tensors: Vec<&Tensor> = [queries, &seen.vectors].into_iter().chain(mask).collect();
        if fused {
            self.fused(queries, seen, mask)
        } else if seen.vectors.dims()[0] == batch && keys > 0 && is_trainable(&tensors) {
            tracked::attention(queries, &seen.vectors, mask, self.head_shape())
        } else {
            self.composed(queries, seen, mask)
        }
    }

    /// The last map.
    pub(crate) fn out(&self) -> &Linear {
        &self.out
    }

    fn head_shape(&self) -> HeadShape {
        HeadShape {
            heads: self.heads,
            head_dim: self.head_dim,
            scale: self.scale(),
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// All heads' results side by side, `[B, T, heads * head_dim]`.
    fn fused(&self, queries: &Tensor, seen: &KeysValues, mask: Option<&Tensor>) -> Result<Tensor> {
        let (batch, len, inner) = queries.dims3()?;
        let keys = seen.len()?;
        let mut out = vec![0.0; batch * len * inner];
        let (query_guard, query_layout) = queries.storage_and_layout();
        let (seen_guard, seen_layout) = seen.vectors.storage_and_layout();
        let query_positions = positions(&query_guard, query_layout)?;
        let key_positions = positions(&seen_guard, seen_layout)?;
        let attended = Attended {
            queries: query_positions,
            keys: key_positions,
            values: Positions {
                elements: key_positions.elements.get(inner..).unwrap_or_default(),
                ..key_positions
            },
            sizes: Sizes {
                queries: len,
                keys,
                heads: self.heads,
                head_dim: self.head_dim,
            },
            scale: self.scale(),
        };
        match mask {
            None => kernel::attention::attend(&mut out, &attended, |_, _, _| None),
            Some(mask) => {
                let (batch, heads, queries, _) = mask.dims4()?;
                with_elements(&[mask], |values| {
                    kernel::attention::attend(&mut out, &attended, |item, head, t| {
                        let leading = (item % batch) * heads + head % heads;
                        let row = leading * queries + t % queries;
                        values[0].get(row * keys..(row + 1) * keys)
                    });
                })?;
            }
        }
        Ok(Tensor::from_vec(
            out,
            (batch, len, inner),
            queries.device(),
        )?)
    }

    /// The same from candle's operations, through which gradients flow.
    fn composed(
        &self,
        queries: &Tensor,
        seen: &KeysValues,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let inner = self.heads * self.head_dim;
        let queries = self.split(queries)?;
        let keys = self.split(&seen.vectors.narrow(2, 0, inner)?)?;
        let values = self.split(&seen.vectors.narrow(2, inner, inner)?)?;
        let dtype = queries.dtype();
        let scores = queries.matmul(&keys.transpose(2, 3)?)?;
        #[cfg(feature = "cuda")]
        if kernel::cuda::is_fusable(&scores) && mask.is_none_or(kernel::cuda::is_fusable) {
            let shares = kernel::cuda::softmax(&scores, mask, self.scale())?;
            return Ok(shares.matmul(&values)?.transpose(1, 2)?.flatten_from(2)?);
        }
        let scores = (scores.to_dtype(DType::F32)? * f64::from(self.scale()))?;
        let masked = match mask {
            Some(mask) => scores.broadcast_add(mask)?,
            None => scores,
        };
        let shares = if masked.track_op() {
            candle_nn::ops::softmax(&masked, D::Minus1)?
        } else {
            candle_nn::ops::softmax_last_dim(&masked)?
        };
        let shares = shares.to_dtype(dtype)?;
        Ok(shares.matmul(&values)?.transpose(1, 2)?.flatten_from(2)?)
    }

    /// `[B, T, heads * head_dim]` to `[B, heads, T, head_dim]`.
    fn split(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, len, _) = x.dims3()?;
        let heads = x.reshape((batch, len, self.heads, self.head_dim))?;
        Ok(heads.transpose(1, 2)?.contiguous()?)
    }
}

impl Projections {
    fn load(weights: &Weights, spec: &AttentionSpec) -> Result<Self> {
        let inner = spec.heads * spec.head_dim;
        let names = &spec.names;
        let source = match spec.key_value {
            KeyValue::Own => spec.width,
            KeyValue::Other { width } => width,
        };
        let query_key_value = if names.are_packed() {
            let shape = [3 * inner, spec.width];
            let weight = weights.tensor(&format!("{}_weight", names.query), &shape)?;
            let bias = weights.tensor(&format!("{}_bias", names.query), &shape[..1])?;
            let third = |i: usize| -> Result<_> {
                let bias = bias.narrow(0, i * inner, inner)?;
                Ok((weight.narrow(0, i * inner, inner)?, Some(bias)))
            };
            [third(0)?, third(1)?, third(2)?]
        } else if names.are_paired() {
            let query = weights.scope(names.query);
            let query = query.tensor("weight", &[inner, spec.width])?;
            let both = weights.scope(names.key);
            let both = both.tensor("weight", &[2 * inner, source])?;
            [
                (query, None),
                (both.narrow(0, 0, inner)?, None),
                (both.narrow(0, inner, inner)?, None),
            ]
        } else {
            let read = |name, input| linear::parts(&weights.scope(name), input, inner);
            [
                read(names.query, spec.width)?,
                read(names.key, source)?,
                read(names.value, source)?,
            ]
        };
        Self::assemble(spec.key_value, query_key_value, weights.precision())
    }

    fn assemble(
        source: KeyValue,
        [query, key, value]: [(Tensor, Option<Tensor>); 3],
        precision: Precision,
    ) -> Result<Self> {
        let beside = |parts| Linear::side_by_side(parts, precision);
        Ok(match source {
            KeyValue::Own => Self::Own(beside(vec![query, key, value])?),
            KeyValue::Other { .. } => Self::Apart(beside(vec![query])?, beside(vec![key, value])?),
        })
    }
}

/// Keys and values of sequences, as one attention layer made them: `[B, S, 2 * heads * head_dim]`, the keys first.
///
/// What follows is written behind them where there is room, so that a token more does not copy what was seen before it.
#[derive(Clone, Debug)]
pub struct KeysValues {
    vectors: Tensor,
    behind: Behind,
}

/// What is behind keys and values in memory.
#[derive(Clone, Debug)]
enum Behind {
    /// Something else: they are as they were made or chosen, and may be looked at only.
    Other,
    /// Nothing: they followed others, and are likely to be followed.
    End,
    Room {
        /// `[B, S and more, 2 * heads * head_dim]`, of which they are the first positions.
        all: Tensor,
        /// Positions that are taken, by these keys and values or by what follows another copy of them.
        taken: Arc<AtomicUsize>,
    },
}

/// Positions for which memory is taken at once.
const ROOM: usize = 64;

impl KeysValues {
    /// `vectors` `[B, S, 2 * heads * head_dim]`, keys before values.
    pub(crate) fn new(vectors: Tensor) -> Self {
        Self {
            vectors,
            behind: Behind::Other,
        }
    }

    /// Number `S` of positions.
    pub fn len(&self) -> Result<usize> {
        Ok(self.vectors.dim(1)?)
    }

    /// Keys before values, `[B, S, 2 * heads * head_dim]`; vectors may lie apart.
    #[cfg(feature = "cuda")]
    pub(crate) fn vectors(&self) -> &Tensor {
        &self.vectors
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// These positions and behind them those of `more`, of the same sequences.
    pub fn followed_by(&self, more: &Self) -> Result<Self> {
        let seen = &self.vectors;
        let more = match &more.behind {
            // It may be the same memory.
            Behind::Room { .. } => more.vectors.force_contiguous()?,
            Behind::Other | Behind::End => more.vectors.contiguous()?,
        };
        let is_tracked = seen.track_op() || more.track_op();
        if is_tracked || matches!(self.behind, Behind::Other) {
            let behind = if is_tracked {
                Behind::Other
            } else {
                Behind::End
            };
            let vectors = Tensor::cat(&[&seen.contiguous()?, &more], 1)?;
            return Ok(Self { vectors, behind });
        }
        let len = self.len()?;
        let now = len + more.dim(1)?;
        if let Behind::Room { all, taken } = &self.behind
            && now <= all.dim(1)?
            // Of copies that are followed by different things, one only has the room.
            && taken
                .compare_exchange(len, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            all.slice_set(&more, 1, len)?;
            return Ok(Self {
                vectors: all.narrow(1, 0, now)?,
                behind: self.behind.clone(),
            });
        }
        let (batch, _, width) = seen.dims3()?;
        let all = Tensor::zeros((batch, now + ROOM, width), seen.dtype(), seen.device())?;
        all.slice_set(&seen.contiguous()?, 1, 0)?;
        all.slice_set(&more, 1, len)?;
        Ok(Self {
            vectors: all.narrow(1, 0, now)?,
            behind: Behind::Room {
                all,
                taken: Arc::new(AtomicUsize::new(now)),
            },
        })
    }

    /// The sequences that `rows` names, each as often as it is named.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        let index: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        let index = Tensor::from_vec(index, rows.len(), self.vectors.device())?;
        Ok(Self::new(
            self.vectors.contiguous()?.index_select(&index, 0)?,
        ))
    }
}

/// Whether no gradient is tracked through an `f32` tensor on the CPU, whatever its order.
fn is_fixed(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32 && !x.track_op()
}

/// The vectors of a tensor `[B, T, width]` whose last stride is 1.
fn positions<'a>(storage: &'a Storage, layout: &Layout) -> candle_core::Result<Positions<'a>> {
    let elements = on_cpu(storage)?.as_slice::<f32>()?;
    let stride = layout.stride();
    Ok(Positions {
        elements: &elements[layout.start_offset()..],
        item: stride[0],
        position: stride[1],
    })
}

fn check_mask(scores: &[usize], mask: &Tensor) -> Result<()> {
    let found = mask.dims();
    let (Some((keys, leading)), Some((mask_keys, mask_leading))) =
        (scores.split_last(), found.split_last())
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
        wanted: format!("{scores:?}, or 1 in any place but the last"),
    })
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "the same operations in the same order give the same bits"
)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{Device, Var};
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
    fn what_follows_keys_and_values_never_changes_others() {
        let positions = |len: usize| Tensor::randn(0f32, 1.0, (2, len, 6), &Device::Cpu).unwrap();
        let same = |found: &KeysValues, parts: &[Tensor]| {
            assert_eq!(
                distance(&found.vectors, &Tensor::cat(parts, 1).unwrap()),
                0.0
            );
        };
        let mut parts = vec![positions(5)];
        let mut seen = KeysValues::new(parts[0].clone());
        let mut kept = Vec::new();
        for step in 0..2 * ROOM + 9 {
            let more = positions(1 + step % 3);
            let next = seen.followed_by(&KeysValues::new(more.clone())).unwrap();
            // Another continuation of the same.
            if step % 5 == 0 {
                let other = positions(2);
                let branch = seen.followed_by(&KeysValues::new(other.clone())).unwrap();
                kept.push((branch, [&parts[..], &[other]].concat()));
                kept.push((seen.clone(), parts.clone()));
            }
            parts.push(more);
            seen = next;
            same(&seen, &parts);
        }
        for (seen, parts) in &kept {
            same(seen, parts);
        }
        let wrong = KeysValues::new(positions(1).narrow(0, 0, 1).unwrap());
        assert!(seen.followed_by(&wrong).is_err());
        let twice = seen.followed_by(&seen).unwrap();
        same(&twice, &[&parts[..], &parts[..]].concat());
    }

    #[test]
    fn gradients_flow_through_what_is_followed() {
        let x = Var::randn(0f32, 1.0, (2, 1, 6), &Device::Cpu).unwrap();
        let part = || KeysValues::new(x.as_tensor().affine(2.0, 0.0).unwrap());
        let fixed = KeysValues::new(x.as_detached_tensor());
        let seen = (0..3).fold(fixed, |seen, _| seen.followed_by(&part()).unwrap());
        let gradients = seen.vectors.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&x).unwrap().flatten_all().unwrap();
        assert_eq!(gradient.to_vec1::<f32>().unwrap(), [6.0; 12]);
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
    fn fused_and_differentiable_attention_agree_under_every_mask_shape() {
        let device = Device::Cpu;
        let weights = Weights::random(Seed(12), &device);
        let x = Var::randn(0f32, 3.0, (2, 5, 6), &device).unwrap();
        for key_value in [KeyValue::Own, KeyValue::Other { width: 6 }] {
            let attention = Attention::load(&weights, &spec(key_value)).unwrap();
            let run = |x: &Tensor, mask: Option<&Mask>| {
                let other = (key_value != KeyValue::Own).then_some(x);
                attention.forward(x, other, mask)
            };
            for shape in [
                (1, 1, 1, 5),
                (2, 1, 1, 5),
                (1, 2, 5, 5),
                (2, 2, 5, 5),
                (1, 1, 5, 5),
            ] {
                let values = Tensor::rand(0f32, 1.0, shape, &device).unwrap();
                let blocked = values.lt(0.3).unwrap().to_dtype(DType::F32).unwrap();
                let mask = Mask((blocked * f64::from(f32::MIN)).unwrap());
                let fused = run(&x.as_detached_tensor(), Some(&mask)).unwrap();
                let tracked = run(x.as_tensor(), Some(&mask)).unwrap();
                assert!(distance(&fused, &tracked) < 1e-6, "{shape:?}");
                let gradients = tracked.sum_all().unwrap().backward().unwrap();
                let size = gradients.get(&x).unwrap().abs().unwrap().sum_all().unwrap();
                assert!(size.to_scalar::<f32>().unwrap() > 0.0, "{shape:?}");
            }
            let wrong = Mask(Tensor::zeros((3, 1, 1, 5), DType::F32, &device).unwrap());
            let error = run(&x.as_detached_tensor(), Some(&wrong)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the attention mask has the shape [3, 1, 1, 5], needed is [2, 2, 5, 5], or 1 in any \
                 place but the last"
            );
        }
    }

    #[test]
    fn trained_projections_are_those_of_fixed_ones_and_every_gradient_flows() {
        let device = Device::Cpu;
        let weights = Weights::random(Seed(9), &device);
        let fixed = Attention::load(&weights, &spec(KeyValue::Own)).unwrap();
        let vars: Vec<(Var, Var)> = ["q", "k", "v"]
            .iter()
            .map(|name| {
                let (weight, bias) = linear::parts(&weights.scope(name), 6, 6).unwrap();
                let var = |x: &Tensor| Var::from_tensor(x).unwrap();
                (var(&weight), var(&bias.unwrap()))
            })
            .collect();
        let parts = vars
            .iter()
            .map(|(weight, bias)| (weight.as_tensor().clone(), Some(bias.as_tensor().clone())));
        let trained = Attention {
            projections: Projections::Own(
                Linear::side_by_side(parts.collect(), Precision::F32).unwrap(),
            ),
            ..fixed.clone()
        };
        let x = Tensor::randn(0f32, 1.0, (2, 5, 6), &device).unwrap();
        let a = fixed.forward(&x, None, None).unwrap();
        let b = trained.forward(&x, None, None).unwrap();
        assert!(distance(&a, &b) < 1e-6);
        let gradients = b.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for (weight, bias) in &vars {
            assert!(gradients.get(weight).is_some() && gradients.get(bias).is_some());
        }
    }
}
