//! Operations through which gradients flow, as one step each instead of a dozen of candle's: training on a CPU spends most
//! of its time between them otherwise.
//!
//! Each takes `f32` on the CPU; [`is_trainable`] says whether tensors are that. Their values are those of the kernels that
//! compute without gradients, their gradients those of [`kernel::gradient`].

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Shape, Tensor};

use crate::activation::Activation;
use crate::kernel::attention::{Attended, Positions, Sizes};
use crate::kernel::map::{self, Sliding, Windows};
use crate::kernel::product::{Finish, Matrix, Packed, Rows, multiply};
use crate::kernel::{self, gradient};
use crate::linear::{elements, with_elements};
use crate::{Precision, Result};

/// Whether the operations here may take the tensors.
pub(crate) fn is_trainable(tensors: &[&Tensor]) -> bool {
    tensors
        .iter()
        .all(|x| x.device().is_cpu() && x.dtype() == DType::F32)
}

/// A new tensor of the shape of `like`.
fn tensor(values: Vec<f32>, like: &Tensor) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// The gradient `values` of `of`; none for what is not tracked, or candle would keep it.
fn gradient_of(of: &Tensor, values: Vec<f32>) -> candle_core::Result<Option<Tensor>> {
    of.track_op().then(|| tensor(values, of)).transpose()
}

/// `f` of the elements of tensors, brought into order first.
fn with<T>(tensors: &[&Tensor], f: impl FnOnce(&[&[f32]]) -> T) -> candle_core::Result<T> {
    let ordered = tensors.iter().map(|x| x.contiguous());
    let ordered = ordered.collect::<candle_core::Result<Vec<_>>>()?;
    let borrowed: Vec<&Tensor> = ordered.iter().collect();
    with_elements(&borrowed, f).map_err(candle_core::Error::wrap)
}

/// Layer norm over the last dimension; see [`crate::LayerNorm`].
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
    Ok(x.apply_op3(&weight, &bias, Norm { eps })?)
}

/// The operation of [`layer_norm`], which has the values of the kernel with gradients and without.
pub(crate) struct Norm {
    pub(crate) eps: f32,
}

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = elements(x, x_layout)?;
        let weight = elements(weight, weight_layout)?;
        let bias = elements(bias, bias_layout)?;
        let width = x_layout.dims().last().copied().unwrap_or(0);
        if weight.len() != width || bias.len() != width {
            candle_core::bail!("layer norm of width {} over rows of {width}", weight.len());
        }
        let mut out = vec![0.0; x.len()];
        kernel::layer_norm(&mut out, x, weight, bias, self.eps);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_weight, of_bias) = with(&[gradient, x, weight], |values| {
            gradient::layer_norm(values[0], values[1], values[2], self.eps)
        })?;
        Ok((
            gradient_of(x, of_x)?,
            gradient_of(weight, of_weight)?,
            gradient_of(bias, of_bias)?,
        ))
    }
}

/// An activation; see [`Activation`].
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(Activate(activation))?)
}

struct Activate(Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut out = elements(x, layout)?.to_vec();
        kernel::activate(&mut out, self.0);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let of_x = with(&[gradient, x], |values| {
            let mut of_x = values[0].to_vec();
            gradient::activation(&mut of_x, values[1], self.0);
            of_x
        })?;
        tensor(of_x, x).map(Some)
    }
}

/// `activation(x wᵀ + bias)`: `x` `[N, input]`, `weight` `[output, input]`, `bias` `[output]`; see [`crate::Linear`].
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let map = Map {
        activation,
        before: OnceLock::new(),
    };
    Ok(match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, map)?,
        None => x.apply_op2(&weight, map)?,
    })
}

struct Map {
    activation: Option<Activation>,
    /// What the activation was taken of.
    before: OnceLock<Vec<f32>>,
}

impl Map {
    fn run(
        &self,
        x: &[f32],
        x_layout: &Layout,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, input) = x_layout.shape().dims2()?;
        let output = weight.len() / input.max(1);
        let packed = Packed::from_columns(&[weight], input, Precision::F32);
        let mut out = vec![0.0f32; rows * output];
        let matrix = Matrix {
            elements: x,
            stride: input,
        };
        let finish = Finish {
            bias,
            activation: None,
        };
        multiply(&mut out, &matrix, &packed, finish);
        if let Some(activation) = self.activation {
            // Only a gradient asks for it, and there is one run.
            self.before.get_or_init(|| out.clone());
            kernel::activate(&mut out, activation);
        }
        Ok((CpuStorage::F32(out), (rows, output).into()))
    }

    /// The gradients of input, weight and bias; of an input that is not tracked none.
    fn back(
        &self,
        x: &Tensor,
        weight: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Tensor)> {
        let mut gradient = gradient.contiguous()?;
        if let Some(activation) = self.activation {
            let before = self.before.get().map_or(&[][..], Vec::as_slice);
            let values = with(&[&gradient], |values| {
                let mut values = values[0].to_vec();
                gradient::activation(&mut values, before, activation);
                values
            })?;
            gradient = tensor(values, &gradient)?;
        }
        let of_x = x.track_op().then(|| gradient.matmul(weight)).transpose()?;
        let of_weight = weight.track_op().then(|| gradient.t()?.matmul(x));
        Ok((of_x, of_weight.transpose()?, gradient))
    }
}

impl CustomOp2 for Map {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let weight = elements(weight, weight_layout)?;
        self.run(elements(x, x_layout)?, x_layout, weight, None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_weight, _) = self.back(x, weight, gradient)?;
        Ok((of_x, of_weight))
    }
}

impl CustomOp3 for Map {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let weight = elements(weight, weight_layout)?;
        let bias = elements(bias, bias_layout)?;
        self.run(elements(x, x_layout)?, x_layout, weight, Some(bias))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_weight, gradient) = self.back(x, weight, gradient)?;
        let of_bias = if bias.track_op() {
            let sums = with(&[&gradient], |values| {
                let mut sums = vec![0.0f32; bias.elem_count()];
                gradient::sum_rows(&mut sums, values[0]);
                sums
            })?;
            Some(tensor(sums, bias)?)
        } else {
            None
        };
        Ok((of_x, of_weight, of_bias))
    }
}

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

struct Look {
    heads: HeadShape,
}

/// Row of a mask `[items or 1, heads or 1, queries or 1, keys]`.
fn row_of<'m>(
    mask: &'m [f32],
    dims: &[usize],
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

impl Look {
    fn attended<'a>(
        &self,
        queries: &'a [f32],
        (batch, len, inner): (usize, usize, usize),
        seen: &'a [f32],
        keys: usize,
    ) -> Attended<'a> {
        let seen_positions = Positions {
            elements: seen,
            item: keys * 2 * inner,
            position: 2 * inner,
        };
        debug_assert_eq!(queries.len(), batch * len * inner);
        Attended {
            queries: Positions {
                elements: queries,
                item: len * inner,
                position: inner,
            },
            keys: seen_positions,
            values: Positions {
                elements: seen.get(inner..).unwrap_or_default(),
                ..seen_positions
            },
            sizes: Sizes {
                queries: len,
                keys,
                heads: self.heads.heads,
                head_dim: self.heads.head_dim,
            },
            scale: self.heads.scale,
        }
    }

    fn run(
        &self,
        queries: &[f32],
        queries_layout: &Layout,
        seen: &[f32],
        seen_layout: &Layout,
        mask: Option<(&[f32], &[usize])>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = queries_layout.shape().dims3()?;
        let (_, keys, _) = seen_layout.shape().dims3()?;
        let attended = self.attended(queries, shape, seen, keys);
        let mut out = vec![0.0f32; queries.len()];
        match mask {
            None => kernel::attention::attend(&mut out, &attended, |_, _, _| None),
            Some((mask, dims)) => {
                kernel::attention::attend(&mut out, &attended, row_of(mask, dims));
            }
        }
        Ok((CpuStorage::F32(out), queries_layout.shape().clone()))
    }

    fn back(
        &self,
        queries: &Tensor,
        seen: &Tensor,
        mask: Option<&Tensor>,
        gradient: &Tensor,
        of_mask: Option<&mut [f32]>,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let shape = queries.dims3()?;
        let (_, keys, _) = seen.dims3()?;
        let tensors: Vec<&Tensor> = [gradient, queries, seen].into_iter().chain(mask).collect();
        let (of_queries, of_seen) = with(&tensors, |values| {
            let attended = self.attended(values[1], shape, values[2], keys);
            match (values.get(3), mask) {
                (Some(values_of_mask), Some(mask)) => {
                    let row = row_of(values_of_mask, mask.dims());
                    gradient::attention(values[0], &attended, row, of_mask)
                }
                _ => gradient::attention(values[0], &attended, |_, _, _| None, of_mask),
            }
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
        let queries = elements(queries, queries_layout)?;
        let seen = elements(seen, seen_layout)?;
        self.run(queries, queries_layout, seen, seen_layout, None)
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
        let queries = elements(queries, queries_layout)?;
        let seen = elements(seen, seen_layout)?;
        let mask = Some((elements(mask, mask_layout)?, mask_layout.dims()));
        self.run(queries, queries_layout, seen, seen_layout, mask)
    }

    fn bwd(
        &self,
        queries: &Tensor,
        seen: &Tensor,
        mask: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if !mask.track_op() {
            let (of_queries, of_seen) = self.back(queries, seen, Some(mask), gradient, None)?;
            return Ok((of_queries, of_seen, None));
        }
        let (batch, len, _) = queries.dims3()?;
        let (_, keys, _) = seen.dims3()?;
        let shape = (batch, self.heads.heads, len, keys);
        let mut of_scores = vec![0.0f32; batch * self.heads.heads * len * keys];
        let (of_queries, of_seen) =
            self.back(queries, seen, Some(mask), gradient, Some(&mut of_scores))?;
        let mut of_mask = Tensor::from_vec(of_scores, shape, mask.device())?;
        for (dim, &size) in mask.dims().iter().enumerate() {
            if size == 1 && of_mask.dim(dim)? != 1 {
                of_mask = of_mask.sum_keepdim(dim)?;
            }
        }
        Ok((of_queries, of_seen, Some(of_mask)))
    }
}

/// What a window sees at each of its places on `x` `[B, H, W, C]`, as rows `[B * h * w, side * side * C]`.
pub(crate) fn windows(x: &Tensor, sliding: Sliding) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(Cut { sliding })?)
}

struct Cut {
    sliding: Sliding,
}

impl CustomOp1 for Cut {
    fn name(&self) -> &'static str {
        "windows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let sliding = &self.sliding;
        let batch = layout.dims().first().copied().unwrap_or(0);
        let rows = batch * sliding.out_height * sliding.out_width;
        let width = sliding.side * sliding.side * sliding.channels;
        let windows = Windows {
            x: elements(x, layout)?,
            sliding,
        };
        let mut out = vec![0.0f32; rows * width];
        kernel::map::for_windows(&mut out, width, |row, to| windows.write(row, 0..width, to));
        Ok((CpuStorage::F32(out), (rows, width).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let of_x = with(&[gradient], |values| {
            let mut of_x = vec![0.0f32; x.elem_count()];
            map::put_back(&mut of_x, values[0], &self.sliding);
            of_x
        })?;
        tensor(of_x, x).map(Some)
    }
}

/// A filter of its own for each channel of `x` `[B, H, W, C]`: `taps` `[side * side, C]`, `bias` `[C]`. Returns `[B, h, w, C]`.
pub(crate) fn depthwise(
    x: &Tensor,
    taps: &Tensor,
    bias: &Tensor,
    sliding: Sliding,
) -> Result<Tensor> {
    let filters = Filters { sliding };
    Ok(x.contiguous()?
        .apply_op3(&taps.contiguous()?, &bias.contiguous()?, filters)?)
}

struct Filters {
    sliding: Sliding,
}

impl CustomOp3 for Filters {
    fn name(&self) -> &'static str {
        "depthwise-convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        taps: &CpuStorage,
        taps_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = &self.sliding;
        let batch = x_layout.dims().first().copied().unwrap_or(0);
        let dims = (batch, shape.out_height, shape.out_width, shape.channels);
        let mut out = vec![0.0; batch * shape.out_height * shape.out_width * shape.channels];
        let filters = (elements(taps, taps_layout)?, elements(bias, bias_layout)?);
        map::depthwise(&mut out, elements(x, x_layout)?, filters, shape, None);
        Ok((CpuStorage::F32(out), dims.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        taps: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_taps, of_bias) = with(&[gradient, x, taps], |values| {
            let mut of_x = vec![0.0f32; x.elem_count()];
            let mut of_taps = vec![0.0f32; taps.elem_count()];
            map::depthwise_gradient(
                (&mut of_x, &mut of_taps),
                values[0],
                (values[1], values[2]),
                &self.sliding,
            );
            let mut of_bias = vec![0.0f32; bias.elem_count()];
            gradient::sum_rows(&mut of_bias, values[0]);
            (of_x, of_taps, of_bias)
        })?;
        Ok((
            gradient_of(x, of_x)?,
            gradient_of(taps, of_taps)?,
            gradient_of(bias, of_bias)?,
        ))
    }
}

/// The mean cross entropy of `logits` `[N, C]` at `labels`, of which there are N, all below C; a scalar.
pub(crate) fn cross_entropy(logits: &Tensor, labels: Vec<u32>) -> Result<Tensor> {
    Ok(logits.contiguous()?.apply_op1(Entropy { labels })?)
}

struct Entropy {
    labels: Vec<u32>,
}

impl CustomOp1 for Entropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        if rows != self.labels.len() || self.labels.iter().any(|&l| l as usize >= width) {
            candle_core::bail!("{} labels for {rows} rows of {width}", self.labels.len());
        }
        let mut logs = elements(x, layout)?.to_vec();
        kernel::log_softmax(&mut logs, width);
        let own = logs.chunks_exact(width.max(1)).zip(&self.labels);
        let sum: f64 = own
            .map(|(row, &label)| f64::from(row[label as usize]))
            .sum();
        let mean = (-sum / rows.max(1) as f64) as f32;
        Ok((CpuStorage::F32(vec![mean]), Shape::from(())))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let factor = gradient.to_scalar::<f32>()?;
        let of_x = with(&[x], |values| {
            let mut of_x = values[0].to_vec();
            gradient::cross_entropy(&mut of_x, &self.labels, factor);
            of_x
        })?;
        tensor(of_x, x).map(Some)
    }
}
