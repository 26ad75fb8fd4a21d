//! A residual network without normalisation of activations (Brock et al. 2021, arXiv 2101.08692), timm's `nf_resnet50`.
//!
//! Weights are standardised instead (scaled weight standardisation), once, when they are read.

use candle_core::{D, Tensor};

use crate::activation::add_activated;
use crate::convolution::{Convolution, ConvolutionSpec, channels_first, channels_last};
use crate::pool::{average_pool, max_pool};
use crate::{Activation, Error, Result, Weights};

/// What keeps the variance behind a ReLU at 1: `sqrt(2 / (1 - 1 / π))`.
const RELU_GAIN: f64 = 1.713_958_859_444_663_6;

/// α: what a block adds counts so much.
const ALPHA: f64 = 0.2;

/// What a network looks like. Names and defaults are those of timm's `nf_resnet50`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NfResNetSpec {
    /// Channels behind the first convolution; 64.
    pub stem: usize,
    /// Blocks of each stage; 3, 4, 6, 3.
    pub depths: Vec<usize>,
    /// Channels behind each stage; 256, 512, 1024, 2048. A block's inner ones are a quarter of them.
    pub channels: Vec<usize>,
}

/// The network.
#[derive(Clone, Debug)]
pub struct NfResNet {
    stem: Convolution,
    blocks: Vec<Block>,
}

/// `x + α f(β relu(x))`, β being 1 over the expected deviation of `x`; both factors are in the convolutions.
#[derive(Clone, Debug)]
struct Block {
    convolutions: [Convolution; 3],
    /// Of blocks that change the shape.
    shortcut: Option<Convolution>,
    stride: usize,
}

/// Factors of a convolution's weight and bias.
#[derive(Clone, Copy)]
struct Factors(f64, f64);

const PLAIN: Factors = Factors(1.0, 1.0);

impl NfResNet {
    /// Reads the network. `channels` MUST have a number for each of `depths`.
    pub fn load(weights: &Weights, spec: &NfResNetSpec) -> Result<Self> {
        let stem = ConvolutionSpec {
            stride: 2,
            ..ConvolutionSpec::new(3, spec.stem, 7)
        };
        let stem = convolution(&weights.scope("stem").scope("conv"), stem, PLAIN)?;
        let mut blocks = Vec::new();
        let mut input = spec.stem;
        let mut variances = variances(&spec.depths).into_iter();
        for (s, (&depth, &output)) in spec.depths.iter().zip(&spec.channels).enumerate() {
            for (b, variance) in (0..depth).zip(&mut variances) {
                let scope = weights.scope("stages").scope(s).scope(b);
                let stride = if s > 0 && b == 0 { 2 } else { 1 };
                let beta = 1.0 / variance.sqrt();
                blocks.push(Block::load(&scope, input, output, stride, beta)?);
                input = output;
            }
        }
        Ok(Self { stem, blocks })
    }

    /// `pixels` `[B, 3, H, W]`, normalised; returns the last map `[B, C, h, w]`, behind its ReLU. It is a view of memory with
    /// the channels last.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        if !matches!(pixels.dims(), [_, 3, height, width] if *height > 0 && *width > 0) {
            return Err(Error::Shape {
                what: "the batch of images",
                found: pixels.dims().to_vec(),
                wanted: "[B, 3, H, W]".to_owned(),
            });
        }
        let x = self.stem.forward(&channels_last(pixels)?, None)?;
        let mut x = max_pool(&x, 3, 2)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        channels_first(&Activation::Relu.forward(&x)?)
    }
}

/// Expected variances of the blocks' inputs. The first block of a stage sets it back; each one adds to it.
fn variances(depths: &[usize]) -> Vec<f64> {
    let mut all = Vec::new();
    let mut variance = 1.0;
    for &depth in depths {
        for b in 0..depth {
            all.push(variance);
            variance = if b == 0 { 1.0 } else { variance } + ALPHA * ALPHA;
        }
    }
    all
}

impl Block {
    fn load(
        weights: &Weights,
        input: usize,
        output: usize,
        stride: usize,
        beta: f64,
    ) -> Result<Self> {
        let inner = output / 4;
        let conv = |name: &str, spec, factors| convolution(&weights.scope(name), spec, factors);
        let new = ConvolutionSpec::new;
        let second = ConvolutionSpec {
            stride,
            ..new(inner, inner, 3)
        };
        let behind_beta = Factors(beta, 1.0);
        let changes = stride != 1 || input != output;
        let shortcut = changes.then(|| conv("downsample.conv", new(input, output, 1), behind_beta));
        Ok(Self {
            convolutions: [
                conv("conv1", new(input, inner, 1), behind_beta)?,
                conv("conv2", second, PLAIN)?,
                conv("conv3", new(inner, output, 1), Factors(ALPHA, ALPHA))?,
            ],
            shortcut: shortcut.transpose()?,
            stride,
        })
    }

    /// `x` `[B, H, W, C]`, channels last.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let relu = Some(Activation::Relu);
        let out = Activation::Relu.forward(x)?;
        let shortcut = match &self.shortcut {
            Some(shortcut) if self.stride == 1 => shortcut.forward(&out, None)?,
            Some(shortcut) => shortcut.forward(&halved(&out)?, None)?,
            None => x.clone(),
        };
        let [first, second, third] = &self.convolutions;
        let r = second.forward(&first.forward(&out, relu)?, relu)?;
        add_activated(third.forward(&r, None)?, &shortcut, None)
    }
}

/// Means of squares of two of `x` `[B, H, W, C]`, those at an odd edge of what is there.
fn halved(x: &Tensor) -> Result<Tensor> {
    let (_, height, width, _) = x.dims4()?;
    // A repeated edge leaves the mean of what is there as it is.
    let x = x
        .pad_with_same(1, 0, height % 2)?
        .pad_with_same(2, 0, width % 2)?;
    average_pool(&x, 2)
}

/// The convolution of `gain * γ / sqrt(fan-in) * (W - mean) / sqrt(variance + 1e-5)`, mean and variance of each output channel.
fn convolution(
    weights: &Weights,
    spec: ConvolutionSpec,
    Factors(of_weight, of_bias): Factors,
) -> Result<Convolution> {
    let shape = spec.weight();
    let output = spec.output;
    let weight = weights.tensor_f32("weight", &shape)?;
    let gain = weights.tensor_f32("gain", &[output, 1, 1, 1])?;
    let bias = weights.tensor_f32("bias", &[output])?;
    let fan_in: usize = shape[1..].iter().product();
    let flat = weight.reshape((output, fan_in))?;
    let centred = flat.broadcast_sub(&flat.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let standardised = centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)?;
    let scale = (gain * (of_weight * RELU_GAIN / (fan_in as f64).sqrt()))?;
    let weight = standardised.reshape(&shape)?.broadcast_mul(&scale)?;
    let bias = (bias * of_bias)?;
    let dtype = weights.dtype();
    Convolution::new(&weight.to_dtype(dtype)?, Some(bias.to_dtype(dtype)?), &spec)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use sightline_core::Seed;

    use super::*;

    #[test]
    fn odd_edges_count_for_what_is_there() {
        let x = Tensor::arange(0f32, 9.0, &Device::Cpu).unwrap();
        let halved = halved(&x.reshape((1, 3, 3, 1)).unwrap()).unwrap();
        let values = halved.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values, [2.0, 3.5, 6.5, 8.0]);
    }

    #[test]
    fn each_stage_but_the_first_halves_the_map() {
        let spec = NfResNetSpec {
            stem: 4,
            depths: vec![1, 2, 1],
            channels: vec![8, 12, 16],
        };
        let weights = Weights::random(Seed(1), &Device::Cpu);
        let net = NfResNet::load(&weights, &spec).unwrap();
        let variances = variances(&spec.depths);
        let expected = [1.0, 1.04, 1.04, 1.08];
        let near = |(a, b): (&f64, f64)| (a - b).abs() < 1e-9;
        assert!(variances.iter().zip(expected).all(near), "{variances:?}");
        let pixels = Tensor::zeros((2, 3, 32, 32), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert_eq!(net.forward(&pixels).unwrap().dims(), [2, 16, 2, 2]);
    }
}
