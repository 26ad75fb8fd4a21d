//! Attention.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Shape, Tensor};

use super::{gradient_of, tensor, with};
use crate::Result;
use crate::kernel::attention::{Attended, Positions, Sizes};
use crate::kernel::{self, gradient};
use crate::linear::elements;

/// How heads look at what is seen.
#[derive(Clone, Copy)]
pub(crate) struct HeadShape {
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) scale: f32,
}

/// `queries` `[B, T, heads * head_dim]` look at `seen` `[B, S, 2 * heads * head_dim]`, keys before values, under `mask`
/// `[B or 1, heads or 1, T or 1, S]`; see [`crate::Attention`]. Returns `[B, T, heads * head_dim]`.
pub(crate) fn attention(
    queries: &Tensor,
    seen: &Tensor,
    mask: Option<&Tensor>,
    heads: HeadShape,
) -> Result<Tensor> {
    let (queries, seen) = (queries.contiguous()?, seen.contiguous()?);
    let look = Look { heads };
    Ok(match mask {
        Some(mask) => queries.apply_op3(&seen, &mask.contiguous()?, look)?,
        None => queries.apply_op2(&seen, look)?,
    })
}

/// The same of sequences that look at themselves: `all` `[B, T, 3 * heads * head_dim]`, queries before keys before values.
pub(crate) fn own_attention(
    all: &Tensor,
    mask: Option<&Tensor>,
    heads: HeadShape,
) -> Result<Tensor> {
    let all = all.contiguous()?;
    let look = LookAtOwn { heads };
    Ok(match mask {
        Some(mask) => all.apply_op2(&mask.contiguous()?, look)?,
        None => all.apply_op1(look)?,
    })
}

/// Elements of a mask `[items or 1, heads or 1, queries or 1, keys]`, and its dimensions.
type MaskElements<'m> = (&'m [f32], &'m [usize]);

/// Row of a mask.
fn row_of<'m>(
    (mask, dims): MaskElements<'m>,
) -> impl Fn(usize, usize, usize) -> Option<&'m [f32]> + Sync {
    let (items, heads, queries, keys) = match *dims {
        [items, heads, queries, keys] => (items, heads, queries, keys),
        _ => (1, 1, 1, mask.len()),
    };
    move |item, head, query| {
        let row = ((item % items) * heads + head % heads) * queries + query % queries;
        mask.get(row * keys..(row + 1) * keys)
    }
}

impl HeadShape {
    fn inner(&self) -> usize {
        self.heads * self.head_dim
    }

    /// `len` queries of each item and `keys` keys and values that lie in two tensors.
    fn apart<'a>(
        &self,
        (queries, len): (&'a [f32], usize),
        (seen, keys): (&'a [f32], usize),
    ) -> Attended<'a> {
        let inner = self.inner();
        let queries = Positions {
            elements: queries,
            item: len * inner,
            position: inner,
        };
        let seen = Positions {
            elements: seen,
            item: keys * 2 * inner,
            position: 2 * inner,
        };
        self.attended(queries, seen, (len, keys))
    }

    /// The same of sequences of length `len` that lie in one tensor.
    fn together<'a>(&self, all: &'a [f32], len: usize) -> Attended<'a> {
        let inner = self.inner();
        let queries = Positions {
            elements: all,
            item: len * 3 * inner,
            position: 3 * inner,
        };
        let seen = Positions {
            elements: all.get(inner..).unwrap_or_default(),
            ..queries
        };
        self.attended(queries, seen, (len, len))
    }

    fn attended<'a>(
        &self,
        queries: Positions<'a>,
        seen: Positions<'a>,
        (len, keys): (usize, usize),
    ) -> Attended<'a> {
        let values = seen.elements.get(self.inner()..).unwrap_or_default();
        Attended {
            queries,
            keys: seen,
            values: Positions {
                elements: values,
                ..seen
            },
            sizes: Sizes {
                queries: len,
                keys,
                heads: self.heads,
                head_dim: self.head_dim,
            },
            scale: self.scale,
        }
    }

    /// What the queries of `batch` items see.
    fn run(
        &self,
        attended: &Attended<'_>,
        batch: usize,
        mask: Option<MaskElements<'_>>,
    ) -> (CpuStorage, Shape) {
        let shape = Shape::from((batch, attended.sizes.queries, self.inner()));
        let mut out = vec![0.0f32; shape.elem_count()];
        match mask {
            None => kernel::attention::attend(&mut out, attended, |_, _, _| None),
            Some(mask) => kernel::attention::attend(&mut out, attended, row_of(mask)),
        }
        (CpuStorage::F32(out), shape)
    }
}

/// What queries get and what is seen, of the gradient of what queries see; `of_scores` as for [`gradient::attention`].
fn back(
    gradient: &[f32],
    attended: &Attended<'_>,
    mask: Option<MaskElements<'_>>,
    of_scores: Option<&mut Vec<f32>>,
) -> (Vec<f32>, Vec<f32>) {
    let of_scores = of_scores.map(Vec::as_mut_slice);
    match mask {
        None => gradient::attention(gradient, attended, |_, _, _| None, of_scores),
        Some(mask) => gradient::attention(gradient, attended, row_of(mask), of_scores),
    }
}

/// Room for the gradient of scores `[B, heads, T, S]`, if the mask is trained.
fn room_for_scores(mask: &Tensor, shape: [usize; 4]) -> Option<Vec<f32>> {
    mask.track_op()
        .then(|| vec![0.0f32; shape.iter().product()])
}

/// What a mask gets of the gradient of scores: sums where one of its elements counts for several.
fn of_mask(
    of_scores: Option<Vec<f32>>,
    shape: [usize; 4],
    mask: &Tensor,
) -> candle_core::Result<Option<Tensor>> {
    let Some(of_scores) = of_scores else {
        return Ok(None);
    };
    let mut of_mask = Tensor::from_vec(of_scores, &shape[..], mask.device())?;
    for (dim, &size) in mask.dims().iter().enumerate() {
        if size == 1 && of_mask.dim(dim)? != 1 {
            of_mask = of_mask.sum_keepdim(dim)?;
        }
    }
    Ok(Some(of_mask))
}

struct Look {
    heads: HeadShape,
}

impl Look {
    fn run(
        &self,
        queries: (&CpuStorage, &Layout),
        seen: (&CpuStorage, &Layout),
        mask: Option<MaskElements<'_>>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (batch, len, _) = queries.1.shape().dims3()?;
        let (_, keys, _) = seen.1.shape().dims3()?;
        let queries = elements(queries.0, queries.1)?;
        let seen = elements(seen.0, seen.1)?;
        let attended = self.heads.apart((queries, len), (seen, keys));
        Ok(self.heads.run(&attended, batch, mask))
    }

    fn back(
        &self,
        queries: &Tensor,
        seen: &Tensor,
        mask: Option<&Tensor>,
        gradient: &Tensor,
        of_scores: Option<&mut Vec<f32>>,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (len, keys) = (queries.dim(1)?, seen.dim(1)?);
        let tensors: Vec<&Tensor> = [gradient, queries, seen].into_iter().chain(mask).collect();
        let (of_queries, of_seen) = with(&tensors, |values| {
            let attended = self.heads.apart((values[1], len), (values[2], keys));
            let mask = mask.map(|mask| (values[3], mask.dims()));
            back(values[0], &attended, mask, of_scores)
        })?;
        Ok((
            gradient_of(queries, of_queries)?,
            gradient_of(seen, of_seen)?,
        ))
    }
}

/// Without a mask.
impl CustomOp2 for Look {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        queries_layout: &Layout,
        seen: &CpuStorage,
        seen_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run((queries, queries_layout), (seen, seen_layout), None)
    }

    fn bwd(
        &self,
        queries: &Tensor,
        seen: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        self.back(queries, seen, None, gradient, None)
    }
}

/// With a mask, which may be trained.
impl CustomOp3 for Look {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        queries_layout: &Layout,
        seen: &CpuStorage,
        seen_layout: &Layout,
        mask: &CpuStorage,
        mask_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let mask = (elements(mask, mask_layout)?, mask_layout.dims());
        self.run((queries, queries_layout), (seen, seen_layout), Some(mask))
    }

    fn bwd(
        &self,
        queries: &Tensor,
        seen: &Tensor,
        mask: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (batch, len, keys) = (queries.dim(0)?, queries.dim(1)?, seen.dim(1)?);
        let shape = [batch, self.heads.heads, len, keys];
        let mut scores = room_for_scores(mask, shape);
        let (of_queries, of_seen) =
            self.back(queries, seen, Some(mask), gradient, scores.as_mut())?;
        Ok((of_queries, of_seen, of_mask(scores, shape, mask)?))
    }
}

struct LookAtOwn {
    heads: HeadShape,
}

impl LookAtOwn {
    fn run(
        &self,
        all: &CpuStorage,
        all_layout: &Layout,
        mask: Option<MaskElements<'_>>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (batch, len, _) = all_layout.shape().dims3()?;
        let attended = self.heads.together(elements(all, all_layout)?, len);
        Ok(self.heads.run(&attended, batch, mask))
    }

    fn back(
        &self,
        all: &Tensor,
        mask: Option<&Tensor>,
        gradient: &Tensor,
        of_scores: Option<&mut Vec<f32>>,
    ) -> candle_core::Result<Tensor> {
        let (len, inner) = (all.dim(1)?, self.heads.inner().max(1));
        let tensors: Vec<&Tensor> = [gradient, all].into_iter().chain(mask).collect();
        let of_all = with(&tensors, |values| {
            let attended = self.heads.together(values[1], len);
            let mask = mask.map(|mask| (values[2], mask.dims()));
            let (of_queries, of_seen) = back(values[0], &attended, mask, of_scores);
            let mut of_all = Vec::with_capacity(of_queries.len() + of_seen.len());
            let parts = of_queries.chunks(inner).zip(of_seen.chunks(2 * inner));
            for (of_query, of_seen) in parts {
                of_all.extend_from_slice(of_query);
                of_all.extend_from_slice(of_seen);
            }
            of_all
        })?;
        tensor(of_all, all)
    }
}

/// Without a mask.
impl CustomOp1 for LookAtOwn {
    fn name(&self) -> &'static str {
        "own-attention"
    }

    fn cpu_fwd(
        &self,
        all: &CpuStorage,
        all_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run(all, all_layout, None)
    }

    fn bwd(
        &self,
        all: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        self.back(all, None, gradient, None).map(Some)
    }
}

/// With a mask, which may be trained.
impl CustomOp2 for LookAtOwn {
    fn name(&self) -> &'static str {
        "own-attention"
    }

    fn cpu_fwd(
        &self,
        all: &CpuStorage,
        all_layout: &Layout,
        mask: &CpuStorage,
        mask_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let mask = (elements(mask, mask_layout)?, mask_layout.dims());
        self.run(all, all_layout, Some(mask))
    }

    fn bwd(
        &self,
        all: &Tensor,
        mask: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (batch, len) = (all.dim(0)?, all.dim(1)?);
        let shape = [batch, self.heads.heads, len, len];
        let mut scores = room_for_scores(mask, shape);
        let of_all = self.back(all, Some(mask), gradient, scores.as_mut())?;
        let of_mask = of_mask(scores, shape, mask)?;
        Ok((all.track_op().then_some(of_all), of_mask))
    }
}
