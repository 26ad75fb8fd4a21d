//! Convolutions, each with the batch norm behind it.
//!
//! Maps have their channels last, `[B, H, W, C]`. Then a 1 x 1 convolution is a linear map of each position, any
//! other is one of the patches under its window, and a filter per channel is arithmetic on neighbours in memory;
//! bias and activation are those of [`Linear`]. [`channels_last`] and [`channels_first`] convert.
//!
//! A batch norm (Ioffe and Szegedy 2015) in a network that is not trained is `x * scale + shift` per channel, so
//! [`ConvNorm`] multiplies it into the convolution when it is loaded. Where a gradient is tracked the two stay
//! apart, and the convolution is made of candle's operations.

use candle_core::{DType, Tensor};

use crate::kernel::map::{Sliding, Windows};
use crate::linear::{is_fusable, with_elements};
use crate::tracked::{self, is_trainable};
use crate::{Activation, Error, Linear, Result, Weights};

/// What a convolution looks like. It has no bias of its own: a batch norm follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionSpec {
    /// Channels of its input.
    pub input: usize,
    /// Channels of its output.
    pub output: usize,
    /// Height and width of the window.
    pub kernel: usize,
    /// Rows, and columns, from one place of the window to the next; 1 or more.
    pub stride: usize,
    /// Zeros around the map.
    pub padding: Padding,
    /// Groups of channels that do not see each other: 1, or `input` for a filter per channel.
    pub groups: usize,
}

/// Zeros around a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Rows above, and columns to the left.
    pub before: usize,
    /// Rows below, and columns to the right.
    pub after: usize,
}

impl Padding {
    /// As many rows and columns on each side.
    pub fn even(size: usize) -> Self {
        Self {
            before: size,
            after: size,
        }
    }
}

impl ConvolutionSpec {
    /// With stride 1, all channels in one group, and the padding with which an odd window keeps the map's size.
    pub fn new(input: usize, output: usize, kernel: usize) -> Self {
        Self {
            input,
            output,
            kernel,
            stride: 1,
            padding: Padding::even(kernel.saturating_sub(1) / 2),
            groups: 1,
        }
    }

    /// Shape of its weight.
    pub(crate) fn weight(&self) -> [usize; 4] {
        let inputs = self.input / self.groups.max(1);
        [self.output, inputs, self.kernel, self.kernel]
    }

    fn is_linear(&self) -> bool {
        (self.kernel, self.stride, self.groups) == (1, 1, 1) && self.padding == Padding::even(0)
    }

    fn is_depthwise(&self) -> bool {
        self.groups == self.input && self.groups == self.output
    }
}

/// `x` `[B, C, H, W]` as `[B, H, W, C]`, in order.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((0, 2, 3, 1))?.contiguous()?)
}

/// `x` `[B, H, W, C]` seen as `[B, C, H, W]`; no element moves.
pub fn channels_first(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((0, 3, 1, 2))?)
}

/// A convolution and the batch norm behind it.
#[derive(Clone, Debug)]
pub struct ConvNorm {
    convolution: Convolution,
}

impl ConvNorm {
    /// Reads `weight` `[output, input / groups, kernel, kernel]` from `convolution`, and from `norm` the vectors
    /// `weight`, `bias`, `running_mean` and `running_var`, all `[output]`; `eps` is added to the variance.
    pub fn load(
        convolution: &Weights,
        norm: &Weights,
        spec: &ConvolutionSpec,
        eps: f64,
    ) -> Result<Self> {
        let weight = convolution.tensor_f32("weight", &spec.weight())?;
        let norm = BatchNorm::load(norm, spec.output, eps)?;
        Self::new(&weight, &norm, spec, convolution.dtype())
    }

    /// Reads `weight` `[output, input / groups, kernel, kernel]` and `bias` `[output]`: a convolution whose norm was
    /// multiplied into it by whoever wrote it down, or that has none.
    pub fn load_with_bias(convolution: &Weights, spec: &ConvolutionSpec) -> Result<Self> {
        let weight = convolution.tensor("weight", &spec.weight())?;
        let bias = convolution.tensor("bias", &[spec.output])?;
        Ok(Self {
            convolution: Convolution::new(&weight, Some(bias), spec)?,
        })
    }

    /// A convolution in `dtype`, of a weight and a norm in `f32`: they are rounded as one. Gradients flow through the
    /// product too, which is much smaller than the maps that the norm would have to be computed on.
    fn new(
        weight: &Tensor,
        norm: &BatchNorm,
        spec: &ConvolutionSpec,
        dtype: DType,
    ) -> Result<Self> {
        // What stands in for a missing tensor is not in order and must not be multiplied: it has no memory. Who asked for
        // it is told that it is missing, and computes nothing.
        let is_there = |tensor: &Tensor| tensor.is_contiguous();
        if !is_there(weight) || !norm.tensors().into_iter().all(is_there) {
            return Ok(Self {
                convolution: Convolution::new(weight, None, spec)?,
            });
        }
        let (scale, shift) = norm.scale_and_shift()?;
        let weight = weight.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?;
        let (weight, shift) = (weight.to_dtype(dtype)?, shift.to_dtype(dtype)?);
        Ok(Self {
            convolution: Convolution::new(&weight, Some(shift), spec)?,
        })
    }

    /// `x` `[B, H, W, input]`; returns `[B, h, w, output]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.convolution.forward(x, None)
    }

    /// As [`Self::forward`], then `activation`.
    pub fn forward_activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.convolution.forward(x, Some(activation))
    }
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias` per channel, with the statistics of the training data.
#[derive(Clone, Debug)]
struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: f64,
}

impl BatchNorm {
    fn load(weights: &Weights, channels: usize, eps: f64) -> Result<Self> {
        let vector = |name| weights.tensor_f32(name, &[channels]);
        Ok(Self {
            weight: vector("weight")?,
            bias: vector("bias")?,
            mean: vector("running_mean")?,
            variance: vector("running_var")?,
            eps,
        })
    }

    fn tensors(&self) -> [&Tensor; 4] {
        [&self.weight, &self.bias, &self.mean, &self.variance]
    }

    /// The norm as `x * scale + shift`.
    fn scale_and_shift(&self) -> Result<(Tensor, Tensor)> {
        let deviation = (&self.variance + self.eps)?.sqrt()?;
        let scale = (&self.weight / deviation)?;
        // Negated first: candle would keep a gradient for the mean itself.
        let shift = (&self.bias + (self.mean.neg()? * &scale)?)?;
        Ok((scale, shift))
    }
}

/// A convolution, with a bias when a norm was multiplied into it.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    spec: ConvolutionSpec,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// 1 x 1: a linear map of each position.
    Position(Linear),
    /// A linear map of each patch `[kernel * kernel * input]`.
    Patch(Linear),
    /// A filter per channel, `[kernel * kernel, channels]`, and the bias.
    Channel(Tensor, Tensor),
    /// Weight and bias for candle's operations: with gradients, on other devices, in groups of several channels.
    Composed(Tensor, Option<Tensor>),
}

impl Convolution {
    /// `weight` `[output, input / groups, kernel, kernel]`, `bias` `[output]`.
    pub(crate) fn new(
        weight: &Tensor,
        bias: Option<Tensor>,
        spec: &ConvolutionSpec,
    ) -> Result<Self> {
        let is_fast = is_fusable(weight) && bias.as_ref().is_none_or(is_fusable);
        let form = match bias {
            bias if spec.is_linear() => {
                Form::Position(Linear::new(&weight.flatten_from(1)?, bias)?)
            }
            bias if is_fast && spec.groups == 1 => {
                let rows = weight.permute((0, 2, 3, 1))?.contiguous()?;
                Form::Patch(Linear::new(&rows.flatten_from(1)?, bias)?)
            }
            Some(bias) if is_fast && spec.is_depthwise() => {
                Form::Channel(weight.flatten_from(1)?.t()?.contiguous()?, bias)
            }
            bias => Form::Composed(weight.clone(), bias),
        };
        Ok(Self { spec: *spec, form })
    }

    /// `x` `[B, H, W, input]`; returns `[B, h, w, output]`.
    pub(crate) fn forward(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        let spec = &self.spec;
        let sliding = sliding(x, spec.input, (spec.kernel, spec.stride), spec.padding)?;
        let x = &x.contiguous()?;
        match &self.form {
            Form::Position(linear) => linear.run(x, activation),
            Form::Patch(linear) if is_fusable(x) => by_patches(linear, x, &sliding, activation),
            Form::Channel(taps, bias) if is_fusable(x) => {
                tracked::depthwise(x, taps, bias, sliding, activation)
            }
            _ => self.composed(x, activation),
        }
    }

    /// The same from candle's operations, through which gradients flow.
    fn composed(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        let spec = &self.spec;
        let (weight, bias) = self.weight_and_bias()?;
        let x = &x.to_dtype(weight.dtype())?;
        if is_trainable(&[x, &weight]) {
            let sliding = sliding(x, spec.input, (spec.kernel, spec.stride), spec.padding)?;
            match &bias {
                bias if spec.groups == 1 => {
                    let rows = weight
                        .permute((0, 2, 3, 1))?
                        .contiguous()?
                        .flatten_from(1)?;
                    return tracked::convolution(x, &rows, bias.as_ref(), sliding, activation);
                }
                Some(bias) if spec.is_depthwise() => {
                    let taps = weight.flatten_from(1)?.t()?.contiguous()?;
                    return tracked::depthwise(x, &taps, bias, sliding, activation);
                }
                _ => {}
            }
        }
        let map = if spec.is_depthwise() {
            self.composed_by_channel(x, &weight)?
        } else {
            let Padding { before, after } = spec.padding;
            let (padding, x) = if before == after {
                (before, x.clone())
            } else {
                (0, self.padded(x)?)
            };
            let map = channels_first(&x)?.contiguous()?;
            channels_last(&map.conv2d(&weight, padding, spec.stride, 1, spec.groups)?)?
        };
        let map = match bias {
            Some(bias) => map.broadcast_add(&bias)?,
            None => map,
        };
        match activation {
            Some(activation) => activation.composed(&map),
            None => Ok(map),
        }
    }

    /// A sum of shifted maps, each multiplied by one tap of every channel. candle would compute each channel by
    /// itself.
    fn composed_by_channel(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let spec = &self.spec;
        let sliding = sliding(x, spec.input, (spec.kernel, spec.stride), spec.padding)?;
        let taps = weight.flatten_from(1)?.t()?.contiguous()?;
        let padded = self.padded(x)?;
        let every = |shift: usize| move |i: usize| i * spec.stride + shift;
        let mut sum = None;
        for ky in 0..spec.kernel {
            let rows = picked(&padded, 1, (0..sliding.out_height).map(every(ky)))?;
            for kx in 0..spec.kernel {
                let seen = picked(&rows, 2, (0..sliding.out_width).map(every(kx)))?;
                let part = seen.broadcast_mul(&taps.get(ky * spec.kernel + kx)?)?;
                sum = Some(match sum {
                    None => part,
                    Some(sum) => (sum + part)?,
                });
            }
        }
        sum.map_or_else(|| Ok(padded), Ok)
    }

    fn padded(&self, x: &Tensor) -> Result<Tensor> {
        let Padding { before, after } = self.spec.padding;
        let tall = x.pad_with_zeros(1, before, after)?;
        Ok(tall.pad_with_zeros(2, before, after)?)
    }

    /// Weight `[output, input / groups, kernel, kernel]` and bias, whatever the form.
    fn weight_and_bias(&self) -> Result<(Tensor, Option<Tensor>)> {
        let [output, inputs, kernel, _] = self.spec.weight();
        Ok(match &self.form {
            Form::Composed(weight, bias) => (weight.clone(), bias.clone()),
            Form::Channel(taps, bias) => {
                let weight = taps.t()?.contiguous()?.reshape(&self.spec.weight())?;
                (weight, Some(bias.clone()))
            }
            Form::Position(linear) | Form::Patch(linear) => {
                let (rows, bias) = linear.weight_and_bias()?;
                let rows = rows.reshape((output, kernel, kernel, inputs))?;
                (rows.permute((0, 3, 1, 2))?.contiguous()?, bias)
            }
        })
    }
}

/// How a square window of `(side, stride)` slides over `x`, which MUST be `[B, H, W, channels]`.
pub(crate) fn sliding(
    x: &Tensor,
    channels: usize,
    (side, stride): (usize, usize),
    padding: Padding,
) -> Result<Sliding> {
    let places = |size: usize| {
        let padded = size + padding.before + padding.after;
        padded
            .checked_sub(side)
            .map(|free| free / stride.max(1) + 1)
    };
    match *x.dims() {
        [_, height, width, found] if found == channels => {
            if let (Some(out_height), Some(out_width)) = (places(height), places(width)) {
                return Ok(Sliding {
                    height,
                    width,
                    channels,
                    side,
                    stride,
                    before: padding.before,
                    out_height,
                    out_width,
                });
            }
        }
        _ => {}
    }
    Err(Error::Shape {
        what: "the map",
        found: x.dims().to_vec(),
        wanted: format!(
            "[B, H, W, {channels}], and with padding at least {side} in height and width"
        ),
    })
}

/// The slices of `x` along `dim` at the given places, one after the other.
pub(crate) fn picked(
    x: &Tensor,
    dim: usize,
    places: impl Iterator<Item = usize>,
) -> Result<Tensor> {
    let places: Vec<u32> = places.map(|place| place as u32).collect();
    let count = places.len();
    let places = Tensor::from_vec(places, count, x.device())?;
    Ok(x.index_select(&places, dim)?)
}

/// One matrix product, whose rows are what the window sees at each place: no patch is kept.
fn by_patches(
    linear: &Linear,
    x: &Tensor,
    sliding: &Sliding,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let (batch, height, width) = (x.dim(0)?, sliding.out_height, sliding.out_width);
    let (_, output) = linear.sizes();
    let dims = [batch, height, width, output];
    with_elements(&[x], |elements| {
        let windows = Windows {
            x: elements[0],
            sliding,
        };
        linear.run_rows(&windows, batch * height * width, activation, &dims)
    })?
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use sightline_core::Seed;

    use super::*;

    const EPS: f64 = 1e-3;

    /// Numbers that look random and are the same in every run.
    fn wave(shape: &[usize], step: f64) -> Tensor {
        let count: usize = shape.iter().product();
        let angles = Tensor::arange(0f32, count as f32, &Device::Cpu).unwrap();
        let values = (angles * step).unwrap().sin().unwrap();
        values.reshape(shape).unwrap()
    }

    /// candle's convolution, padded by hand.
    fn reference(x: &Tensor, weight: &Tensor, spec: &ConvolutionSpec) -> Tensor {
        let Padding { before, after } = spec.padding;
        let x = x.pad_with_zeros(1, before, after).unwrap();
        let x = x.pad_with_zeros(2, before, after).unwrap();
        let x = channels_first(&x).unwrap().contiguous().unwrap();
        let map = x.conv2d(weight, 0, spec.stride, 1, spec.groups).unwrap();
        channels_last(&map).unwrap()
    }

    fn norm(channels: usize) -> BatchNorm {
        BatchNorm {
            weight: (wave(&[channels], 0.7) + 1.5).unwrap(),
            bias: wave(&[channels], 1.1),
            mean: wave(&[channels], 1.3),
            variance: (wave(&[channels], 1.7) + 1.1).unwrap(),
            eps: EPS,
        }
    }

    /// A norm as it is written down, behind the map `x` `[.., channels]`.
    fn behind(norm: &BatchNorm, x: &Tensor) -> Tensor {
        let deviation = (&norm.variance + norm.eps).unwrap().sqrt().unwrap();
        let standard = x.broadcast_sub(&norm.mean).unwrap();
        let standard = standard.broadcast_div(&deviation).unwrap();
        let scaled = standard.broadcast_mul(&norm.weight).unwrap();
        scaled.broadcast_add(&norm.bias).unwrap()
    }

    fn distance(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        let difference = (a - b).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }

    /// Linear, patches with even and uneven padding, a filter per channel, groups, and a window as large as the map.
    fn specs() -> Vec<ConvolutionSpec> {
        let new = ConvolutionSpec::new;
        let uneven = Padding {
            before: 0,
            after: 1,
        };
        vec![
            new(6, 4, 1),
            ConvolutionSpec {
                stride: 2,
                ..new(6, 4, 1)
            },
            new(6, 4, 3),
            ConvolutionSpec {
                stride: 2,
                padding: uneven,
                ..new(6, 4, 3)
            },
            ConvolutionSpec {
                stride: 2,
                ..new(6, 4, 7)
            },
            ConvolutionSpec {
                groups: 6,
                ..new(6, 6, 5)
            },
            ConvolutionSpec {
                groups: 6,
                stride: 2,
                padding: uneven,
                ..new(6, 6, 3)
            },
            ConvolutionSpec {
                groups: 2,
                ..new(6, 4, 3)
            },
            ConvolutionSpec {
                padding: Padding::even(0),
                ..new(6, 4, 5)
            },
        ]
    }

    #[test]
    fn a_norm_within_the_convolution_equals_one_behind_it() {
        let x = wave(&[2, 5, 7, 6], 0.37);
        for spec in specs() {
            let weight = wave(&spec.weight(), 0.53);
            let folded = ConvNorm::new(&weight, &norm(spec.output), &spec, DType::F32).unwrap();
            let tracked = Var::from_tensor(&weight).unwrap();
            let tracked =
                ConvNorm::new(tracked.as_tensor(), &norm(spec.output), &spec, DType::F32).unwrap();
            for activation in [None, Some(Activation::Relu), Some(Activation::Silu)] {
                let plain = reference(&x, &weight, &spec);
                let plain = behind(&norm(spec.output), &plain);
                let plain = match activation {
                    Some(activation) => activation.composed(&plain).unwrap(),
                    None => plain,
                };
                let largest = plain.abs().unwrap().max_all().unwrap();
                let tolerance = 2e-6 * largest.to_scalar::<f32>().unwrap().max(10.0);
                let fast = folded.convolution.forward(&x, activation).unwrap();
                let composed = folded.convolution.composed(&x, activation).unwrap();
                let tracked = tracked.convolution.forward(&x, activation).unwrap();
                for found in [fast, composed, tracked] {
                    let off = distance(&found, &plain);
                    assert!(off < tolerance, "{spec:?} {activation:?}: {off}");
                }
            }
        }
    }

    #[test]
    fn gradients_flow_to_weights_and_input() {
        for spec in specs() {
            let weight = Var::from_tensor(&wave(&spec.weight(), 0.53)).unwrap();
            let x = Var::from_tensor(&wave(&[1, 5, 7, 6], 0.37)).unwrap();
            let trained =
                ConvNorm::new(weight.as_tensor(), &norm(spec.output), &spec, DType::F32).unwrap();
            let y = trained.forward_activated(&x, Activation::Silu).unwrap();
            let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let size = |gradient: Option<&Tensor>| -> f32 {
                let sum = gradient.unwrap().abs().unwrap().sum_all().unwrap();
                sum.to_scalar().unwrap()
            };
            assert!(size(gradients.get(&weight)) > 0.0, "{spec:?}");
            assert!(size(gradients.get(&x)) > 0.0, "{spec:?}");

            let frozen = weight.as_detached_tensor();
            let frozen = ConvNorm::new(&frozen, &norm(spec.output), &spec, DType::F32).unwrap();
            let y = frozen.forward(x.as_tensor()).unwrap();
            let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            assert!(size(gradients.get(&x)) > 0.0, "{spec:?}");
        }
    }

    #[test]
    fn images_do_not_see_each_other() {
        // Large enough for several groups of images.
        let spec = ConvolutionSpec::new(8, 3, 7);
        let weights = Weights::random(Seed(3), &Device::Cpu);
        let conv = ConvNorm::load(&weights.scope("conv"), &weights.scope("norm"), &spec, 1.0);
        let conv = conv.unwrap();
        let x = wave(&[5, 80, 90, 8], 0.37);
        let all = conv.forward(&x).unwrap();
        for i in 0..5 {
            let one = conv.forward(&x.narrow(0, i, 1).unwrap()).unwrap();
            assert!(distance(&one, &all.narrow(0, i, 1).unwrap()) < 1e-6);
        }
        let none = conv.forward(&x.narrow(0, 0, 0).unwrap()).unwrap();
        assert_eq!(none.dims(), [0, 80, 90, 3]);
    }

    #[test]
    fn a_map_that_does_not_fit_is_named() {
        let spec = ConvolutionSpec {
            padding: Padding::even(0),
            ..ConvolutionSpec::new(6, 4, 5)
        };
        let conv = ConvNorm::new(&wave(&spec.weight(), 0.5), &norm(4), &spec, DType::F32).unwrap();
        for shape in [&[2, 5, 7, 5][..], &[2, 4, 7, 6], &[5, 7, 6]] {
            let error = conv.forward(&wave(shape, 0.1)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "the map has the shape {shape:?}, needed is [B, H, W, 6], and with padding at \
                     least 5 in height and width"
                )
            );
        }
    }
}
