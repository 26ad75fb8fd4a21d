//! A residual network without normalisation of activations (Brock et al. 2021, arXiv 2101.08692), timm's `nf_resnet50`.
//!
//! Weights are standardised instead (scaled weight standardisation), once, when they are read.

use candle_core::{D, Tensor};

use crate::convolution::{by_windows, channels_first, channels_last, sliding};
use crate::pool::max_pool;
use crate::tracked::is_trainable;
use crate::{Padding, Result, Weights};

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

#[derive(Clone, Debug)]
struct Block {
    /// 1 over the expected deviation of the input.
    beta: f64,
    convolutions: [Convolution; 3],
    /// Of blocks that change the shape.
    shortcut: Option<Convolution>,
    stride: usize,
}

#[derive(Clone, Debug)]
struct Convolution {
    weight: Tensor,
    /// `[1, channels, 1, 1]`.
    bias: Tensor,
    stride: usize,
    padding: usize,
}

impl NfResNet {
    /// Reads the network. `channels` MUST have a number for each of `depths`.
    pub fn load(weights: &Weights, spec: &NfResNetSpec) -> Result<Self> {
        let stem = weights.scope("stem").scope("conv");
        let stem = Convolution::load(&stem, 3, spec.stem, 7, 2)?;
        let mut blocks = Vec::new();
        let (mut input, mut variance) = (spec.stem, 1.0f64);
        for (s, (&depth, &output)) in spec.depths.iter().zip(&spec.channels).enumerate() {
            for b in 0..depth {
                let scope = weights.scope("stages").scope(s).scope(b);
                let stride = if s > 0 && b == 0 { 2 } else { 1 };
                let beta = 1.0 / variance.sqrt();
                blocks.push(Block::load(&scope, input, output, stride, beta)?);
                // The first block of a stage sets the variance back; each one adds to it.
                if b == 0 {
                    variance = 1.0;
                }
                variance += ALPHA * ALPHA;
                input = output;
            }
        }
        Ok(Self { stem, blocks })
    }

    /// `pixels` `[B, 3, H, W]`, normalised; returns the last map `[B, C, h, w]`, behind its ReLU.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let x = self.stem.forward(pixels)?;
        let x = max_pool(&channels_last(&x)?, 3, 2)?;
        let mut x = channels_first(&x)?.contiguous()?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        Ok(x.relu()?)
    }
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
        let conv = |name: &str, input, output, side, stride| {
            Convolution::load(&weights.scope(name), input, output, side, stride)
        };
        let changes = stride != 1 || input != output;
        let shortcut = changes.then(|| conv("downsample.conv", input, output, 1, 1));
        Ok(Self {
            beta,
            convolutions: [
                conv("conv1", input, inner, 1, 1)?,
                conv("conv2", inner, inner, 3, stride)?,
                conv("conv3", inner, output, 1, 1)?,
            ],
            shortcut: shortcut.transpose()?,
            stride,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let out = (x.relu()? * self.beta)?;
        let shortcut = match &self.shortcut {
            Some(shortcut) if self.stride == 1 => shortcut.forward(&out)?,
            Some(shortcut) => shortcut.forward(&halved(&out)?)?,
            None => x.clone(),
        };
        let [first, second, third] = &self.convolutions;
        let r = second.forward(&first.forward(&out)?.relu()?)?;
        let r = third.forward(&r.relu()?)?;
        Ok(((r * ALPHA)? + shortcut)?)
    }
}

/// Means of squares of two, those at an odd edge of what is there.
fn halved(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    // A repeated edge leaves the mean of what is there as it is.
    let x = x
        .pad_with_same(2, 0, height % 2)?
        .pad_with_same(3, 0, width % 2)?;
    Ok(x.avg_pool2d(2)?)
}

impl Convolution {
    /// `gain * γ / sqrt(fan-in) * (W - mean) / sqrt(variance + 1e-5)`, mean and variance of each output channel.
    fn load(
        weights: &Weights,
        input: usize,
        output: usize,
        side: usize,
        stride: usize,
    ) -> Result<Self> {
        let shape = [output, input, side, side];
        let weight = weights.tensor_f32("weight", &shape)?;
        let gain = weights.tensor_f32("gain", &[output, 1, 1, 1])?;
        let bias = weights.tensor("bias", &[output])?;
        let fan_in = input * side * side;
        let flat = weight.reshape((output, fan_in))?;
        let centred = flat.broadcast_sub(&flat.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let standardised = centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)?;
        let scale = (gain * (RELU_GAIN / (fan_in as f64).sqrt()))?;
        Ok(Self {
            weight: standardised
                .reshape(&shape)?
                .broadcast_mul(&scale)?
                .to_dtype(weights.dtype())?,
            bias: bias.reshape((1, output, 1, 1))?,
            stride,
            padding: side / 2,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.to_dtype(self.weight.dtype())?;
        let is_tracked = x.track_op() || self.weight.track_op();
        if is_tracked && is_trainable(&[&x, &self.weight, &self.bias]) {
            let x = channels_last(&x)?;
            let (output, input, side, _) = self.weight.dims4()?;
            let padding = Padding::even(self.padding);
            let sliding = sliding(&x, input, (side, self.stride), padding)?;
            let bias = self.bias.reshape(output)?;
            let map = by_windows(&x, &self.weight, Some(&bias), sliding, None)?;
            return channels_first(&map);
        }
        let y = x.conv2d(&self.weight, self.padding, self.stride, 1, 1)?;
        Ok(y.broadcast_add(&self.bias)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use sightline_core::Seed;

    use super::*;

    #[test]
    fn odd_edges_count_for_what_is_there() {
        let x = Tensor::arange(0f32, 9.0, &Device::Cpu).unwrap();
        let halved = halved(&x.reshape((1, 1, 3, 3)).unwrap()).unwrap();
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
        let variances: Vec<f64> = net.blocks.iter().map(|b| b.beta.powi(-2)).collect();
        let expected = [1.0, 1.04, 1.04, 1.08];
        let near = |(a, b): (&f64, f64)| (a - b).abs() < 1e-9;
        assert!(variances.iter().zip(expected).all(near), "{variances:?}");
        let pixels = Tensor::zeros((2, 3, 32, 32), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert_eq!(net.forward(&pixels).unwrap().dims(), [2, 16, 2, 2]);
    }
}
