//! Linear maps: of rows, and of what a window sees at each of its places, which is a convolution.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::{Behind, tensor, with};
use crate::activation::Activation;
use crate::kernel::gradient;
use crate::kernel::map::{Sliding, Windows, put_back, write_windows};
use crate::kernel::outer::outer;
use crate::kernel::product::{Finish, Packed, multiply};
use crate::kernel::rows::Matrix;
use crate::linear::elements;
use crate::{Precision, Result};

/// Elements that windows see in the images whose gradients are computed together, about: as many as the nearer caches hold.
const GROUP_ELEMENTS: usize = 1 << 18;

/// The same of rows that are mapped themselves.
const GROUP_ROWS: usize = 2048;

/// Elements of a weight whose gradient is summed beside it in a cache; see [`outer`].
const SMALL_ELEMENTS: usize = 1 << 16;

/// `activation(x wᵀ + bias)`: `x` `[.., input]`, `weight` `[output, input]`, `bias` `[output]`; see [`crate::Linear`].
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    map(x, weight, bias, None, activation)
}

/// The same of what a window sees at each of its places on `x` `[B, H, W, C]`: `weight` `[output, side * side * C]`. Returns
/// `[B, h, w, output]`.
pub(crate) fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    sliding: Sliding,
    activation: Option<Activation>,
) -> Result<Tensor> {
    map(x, weight, bias, Some(sliding), activation)
}

fn map(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    sliding: Option<Sliding>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let tensors: Vec<&Tensor> = [&x, &weight].into_iter().chain(bias).collect();
    let behind = Behind::new(activation, &tensors);
    let map = Map { sliding, behind };
    Ok(match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, map)?,
        None => x.apply_op2(&weight, map)?,
    })
}

struct Map {
    /// How a window slides over the input; without it the input's rows are mapped themselves.
    sliding: Option<Sliding>,
    behind: Behind,
}

impl Map {
    fn run(
        &self,
        x: &[f32],
        x_layout: &Layout,
        weight: &[f32],
        weight_layout: &Layout,
        bias: Option<&[f32]>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (output, input) = weight_layout.shape().dims2()?;
        let mut dims = x_layout.dims().to_vec();
        if let Some(sliding) = &self.sliding {
            dims = vec![dims[0], sliding.out_height, sliding.out_width, output];
        } else if let Some(last) = dims.last_mut() {
            *last = output;
        }
        let packed = Packed::from_columns(&[weight], input, Precision::F32);
        let mut out = vec![0.0f32; dims.iter().product()];
        let finish = Finish {
            bias,
            activation: self.behind.within(),
        };
        if let Some(sliding) = &self.sliding {
            multiply(&mut out, &Windows { x, sliding }, &packed, finish);
        } else {
            let rows = Matrix {
                elements: x,
                stride: input,
            };
            multiply(&mut out, &rows, &packed, finish);
        }
        self.behind.apply(&mut out);
        Ok((CpuStorage::F32(out), dims.into()))
    }

    /// The gradients of input and weight, none of what is not tracked; and that of the product.
    fn back(
        &self,
        x: &Tensor,
        weight: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Tensor)> {
        let (output, input) = weight.dims2()?;
        let weight_is_tracked = weight.track_op();
        let gradient = self.behind.back(out, gradient)?;
        let gradient = gradient.detach().reshape(((), output))?;
        // What multiplies the gradient of the product gives that of the input.
        let backwards = || -> candle_core::Result<Packed> {
            with(&[&weight.detach().t()?], |weight| {
                Packed::from_columns(weight, output, Precision::F32)
            })
        };
        let backwards = x.track_op().then(backwards).transpose()?;
        let (of_x, of_weight) = match &self.sliding {
            None => {
                let of_x = backwards.map(|backwards| {
                    let of_x = with(&[&gradient], |gradient| times(gradient[0], &backwards))?;
                    tensor(of_x, x)
                });
                let of_weight = weight_is_tracked.then(|| of_weight(&gradient, x, input));
                (of_x.transpose()?, of_weight.transpose()?)
            }
            Some(sliding) => {
                let windows = WindowsGradient {
                    x,
                    backwards,
                    weight_len: input * output,
                    weight_is_tracked,
                    gradient: &gradient,
                    sliding,
                };
                windows.run()?
            }
        };
        Ok((of_x, of_weight, gradient))
    }
}

/// What the weight of rows `x`, `input` elements each, gets of the gradient of their product.
fn of_weight(gradient: &Tensor, x: &Tensor, input: usize) -> candle_core::Result<Tensor> {
    let (rows, output) = gradient.dims2()?;
    if input * output > SMALL_ELEMENTS {
        return gradient.t()?.matmul(&x.detach().reshape(((), input))?);
    }
    let parts: Vec<Vec<f32>> = with(&[gradient, x], |values| {
        let matrix = Matrix {
            elements: values[1],
            stride: input,
        };
        let of_group = |first: usize| {
            let group = first..(first + GROUP_ROWS).min(rows);
            let gradient = &values[0][first * output..group.end * output];
            outer(&matrix, group, input, gradient, output)
        };
        let groups: Vec<usize> = (0..rows).step_by(GROUP_ROWS).collect();
        groups.into_par_iter().map(of_group).collect()
    })?;
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| vec![0.0; input * output]);
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, v)| *sum += v);
    }
    Tensor::from_vec(sum, (output, input), x.device())
}

/// Rows as wide as `right` is high, times it.
fn times(rows: &[f32], right: &Packed) -> Vec<f32> {
    let mut out = vec![0.0f32; rows.len() / right.input().max(1) * right.output()];
    let rows = Matrix {
        elements: rows,
        stride: right.input(),
    };
    multiply(&mut out, &rows, right, Finish::default());
    out
}

/// What is needed for the gradients of a convolution.
struct WindowsGradient<'a> {
    /// `[B, H, W, C]`.
    x: &'a Tensor,
    /// The weight, `[output, side * side * C]`, where the input's gradient is asked for.
    backwards: Option<Packed>,
    weight_len: usize,
    weight_is_tracked: bool,
    /// `[B * h * w, output]`.
    gradient: &'a Tensor,
    sliding: &'a Sliding,
}

impl WindowsGradient<'_> {
    /// The gradients of input and weight, of some images after the other: what windows see is several times as large as the
    /// map, and would not stay in a cache. The weight's is summed in the order of images, whatever the number of threads.
    fn run(&self) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let sliding = self.sliding;
        let map = sliding.height * sliding.width * sliding.channels;
        let places = sliding.out_height * sliding.out_width;
        let width = sliding.side * sliding.side * sliding.channels;
        let output = self.weight_len / width.max(1);
        let is_small = self.weight_len <= SMALL_ELEMENTS;
        // A group whose sum of the weight is larger than what is summed would be more work than it saves.
        let group = GROUP_ELEMENTS.max(4 * self.weight_len) / (places * width).max(1);
        let group = group.max(1);
        let asked_for = self.backwards.as_ref().map_or(0, |_| self.x.elem_count());
        let mut of_x = vec![0.0f32; asked_for];
        let images = self.x.dim(0)?;
        let mut groups: Vec<_> = (0..images)
            .step_by(group)
            .map(|first| (first, group.min(images - first), None))
            .collect();
        if !of_x.is_empty() {
            let parts = of_x.chunks_mut(group * map);
            for ((_, _, part), of_x) in groups.iter_mut().zip(parts) {
                *part = Some(of_x);
            }
        }
        let parts = with(&[self.x, self.gradient], |values| {
            let of_group = |(first, count, of_x): (usize, usize, Option<&mut [f32]>)| {
                if let (Some(of_x), Some(backwards)) = (of_x, &self.backwards) {
                    let gradient = &values[1][first * places * output..][..count * places * output];
                    put_back(of_x, &times(gradient, backwards), sliding);
                }
                if !self.weight_is_tracked {
                    return Ok(None);
                }
                let windows = Windows {
                    x: &values[0][first * map..(first + count) * map],
                    sliding,
                };
                if is_small {
                    let gradient = &values[1][first * places * output..][..count * places * output];
                    let part = outer(&windows, 0..count * places, width, gradient, output);
                    return Tensor::from_vec(part, (output, width), self.x.device()).map(Some);
                }
                let gradient = self.gradient.narrow(0, first * places, count * places)?;
                let mut seen = vec![0.0f32; count * places * width];
                write_windows(&mut seen, width, &windows);
                let seen = Tensor::from_vec(seen, (count * places, width), self.x.device())?;
                gradient.t()?.matmul(&seen).map(Some)
            };
            groups
                .into_par_iter()
                .map(of_group)
                .collect::<candle_core::Result<Vec<_>>>()
        })??;
        let mut parts = parts.into_iter().flatten();
        let of_weight = match parts.next() {
            None => None,
            Some(first) => Some(parts.try_fold(first, |sum, part| sum + part)?),
        };
        let of_x = (!of_x.is_empty())
            .then(|| tensor(of_x, self.x))
            .transpose()?;
        Ok((of_x, of_weight))
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
        self.run(
            elements(x, x_layout)?,
            x_layout,
            weight,
            weight_layout,
            None,
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_weight, _) = self.back(x, weight, out, gradient)?;
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
        let bias = Some(elements(bias, bias_layout)?);
        self.run(
            elements(x, x_layout)?,
            x_layout,
            weight,
            weight_layout,
            bias,
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_weight, gradient) = self.back(x, weight, out, gradient)?;
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
