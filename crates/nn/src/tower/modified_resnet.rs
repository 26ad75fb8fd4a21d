//! CLIP's modified residual network (Radford et al. 2021, section 2.4): a stem of three convolutions, means of
//! squares instead of strides, and attention that pools the last map.
//!
//! Names are those of OpenAI's and `open_clip`'s checkpoints, which have no others for it.

use candle_core::Tensor;

use super::residual::{Residual, ResidualSpec, numbered};
use crate::attention::AttentionNames;
use crate::convolution::{ConvNorm, ConvolutionSpec, channels_first, channels_last};
use crate::pool::{average_pool, mean_positions};
use crate::{Activation, Attention, AttentionSpec, Error, KeyValue, Result, Weights};

/// Channels behind a block per channel inside.
const EXPANSION: usize = 4;

/// What a modified residual network looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifiedResNetSpec {
    /// Height and width of the images in pixels; at least 32.
    pub image_size: usize,
    /// Channels behind the stem; even.
    pub width: usize,
    /// Blocks of each of the four stages.
    pub layers: [usize; 4],
    /// Heads of the pooling attention; a divisor of 32 times `width`.
    pub heads: usize,
    /// Width of the pooled vector.
    pub output: usize,
}

impl ModifiedResNetSpec {
    /// Channels of the last map.
    pub fn channels(&self) -> usize {
        self.width * 8 * EXPANSION
    }

    /// Rows and columns of the last map: the sides are halved five times.
    pub fn side(&self) -> usize {
        self.image_size / 32
    }
}

/// The network up to its last map, before the attention that pools it.
#[derive(Clone, Debug)]
pub struct ModifiedResNetTrunk {
    stem: Vec<ConvNorm>,
    stages: Vec<Vec<Residual>>,
    image_size: usize,
}

impl ModifiedResNetTrunk {
    /// Reads `conv1` to `conv3` and `layer1` to `layer4`; of `spec` what belongs to the pooling is not looked at.
    pub fn load(weights: &Weights, spec: &ModifiedResNetSpec) -> Result<Self> {
        let half = spec.width / 2;
        let stem = [
            ConvolutionSpec {
                stride: 2,
                ..ConvolutionSpec::new(3, half, 3)
            },
            ConvolutionSpec::new(half, half, 3),
            ConvolutionSpec::new(half, spec.width, 3),
        ];
        let mut input = spec.width;
        let mut stages = Vec::new();
        for (stage, &depth) in spec.layers.iter().enumerate() {
            let weights = weights.scope(format!("layer{}", stage + 1));
            let mut blocks = Vec::new();
            for i in 0..depth {
                let pool = if i == 0 && stage > 0 { 2 } else { 1 };
                let block = residual(input, spec.width << stage, pool);
                blocks.push(Residual::load(&weights.scope(i), &block)?);
                input = (spec.width << stage) * EXPANSION;
            }
            stages.push(blocks);
        }
        Ok(Self {
            stem: (1..)
                .zip(&stem)
                .map(|(number, spec)| numbered(weights, number, spec))
                .collect::<Result<_>>()?,
            stages,
            image_size: spec.image_size,
        })
    }

    /// `pixels` `[B, 3, H, W]`, normalised, of the tower's image size; returns the last map `[B, C, h, w]`, the sides a
    /// 32nd of the images'. It is a view of memory with the channels last.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        channels_first(&self.run(pixels, &mut |_| {})?)
    }

    /// The last map `[B, h, w, C]`; `done` sees it and each one before.
    fn run(&self, pixels: &Tensor, done: &mut dyn FnMut(&Tensor)) -> Result<Tensor> {
        let side = self.image_size;
        if !matches!(pixels.dims(), [_, 3, h, w] if (*h, *w) == (side, side)) {
            return Err(Error::Shape {
                what: "the batch of images",
                found: pixels.dims().to_vec(),
                wanted: format!("[B, 3, {side}, {side}]"),
            });
        }
        let mut map = channels_last(pixels)?;
        for convolution in &self.stem {
            map = convolution.forward_activated(&map, Activation::Relu)?;
        }
        map = average_pool(&map, 2)?;
        done(&map);
        for blocks in &self.stages {
            for block in blocks {
                map = block.forward(&map)?;
            }
            done(&map);
        }
        Ok(map)
    }
}

/// A modified residual network.
#[derive(Clone, Debug)]
pub struct ModifiedResNet {
    trunk: ModifiedResNetTrunk,
    positions: Tensor,
    attention: Attention,
}

impl ModifiedResNet {
    /// Reads `conv1` to `conv3`, `layer1` to `layer4` and `attnpool`.
    pub fn load(weights: &Weights, spec: &ModifiedResNetSpec) -> Result<Self> {
        let channels = spec.channels();
        let attention = AttentionSpec {
            width: channels,
            heads: spec.heads,
            head_dim: channels / spec.heads.max(1),
            key_value: KeyValue::Other { width: channels },
            names: AttentionNames {
                query: "q_proj",
                key: "k_proj",
                value: "v_proj",
                out: "c_proj",
            },
        };
        let pool = weights.scope("attnpool");
        let places = spec.side() * spec.side();
        Ok(Self {
            trunk: ModifiedResNetTrunk::load(weights, spec)?,
            positions: pool.tensor("positional_embedding", &[1 + places, channels])?,
            attention: Attention::load_to(&pool, &attention, spec.output)?,
        })
    }

    /// `pixels` `[B, 3, H, W]`, normalised, of the tower's image size; returns the pooled vectors `[B, output]`.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.pool(&self.trunk.run(pixels, &mut |_| {})?)
    }

    /// The maps behind the stem and behind each stage, `[B, C, h, w]`.
    pub fn maps(&self, pixels: &Tensor) -> Result<Vec<Tensor>> {
        let mut maps = Vec::new();
        self.trunk.run(pixels, &mut |map| maps.push(map.clone()))?;
        maps.iter().map(channels_first).collect()
    }

    /// Attention of the mean of `map` `[B, h, w, C]` to itself and every position; `[B, output]`.
    fn pool(&self, map: &Tensor) -> Result<Tensor> {
        let mean = mean_positions(map)?.unsqueeze(1)?;
        let places = map.flatten(1, 2)?;
        let sequence = Tensor::cat(&[&mean, &places], 1)?.broadcast_add(&self.positions)?;
        let mean = sequence.narrow(1, 0, 1)?;
        let pooled = self.attention.forward(&mean, Some(&sequence), None)?;
        Ok(pooled.squeeze(1)?)
    }
}

fn residual(input: usize, planes: usize, pool: usize) -> ResidualSpec {
    let new = ConvolutionSpec::new;
    let output = planes * EXPANSION;
    ResidualSpec {
        convolutions: vec![
            new(input, planes, 1),
            new(planes, planes, 3),
            new(planes, output, 1),
        ],
        pool,
        shortcut: (pool != 1 || input != output).then(|| new(input, output, 1)),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use sightline_core::Seed;

    use super::*;

    #[test]
    fn sides_are_halved_by_the_stem_twice_and_by_three_stages() {
        let spec = ModifiedResNetSpec {
            image_size: 64,
            width: 4,
            layers: [1, 2, 1, 1],
            heads: 8,
            output: 5,
        };
        let weights = Weights::random(Seed(4), &Device::Cpu);
        let net = ModifiedResNet::load(&weights, &spec).unwrap();
        let pixels = Tensor::randn(0f32, 1.0, (2, 3, 64, 64), &Device::Cpu).unwrap();
        let maps = net.maps(&pixels).unwrap();
        let dims: Vec<_> = maps.iter().map(|map| map.dims().to_vec()).collect();
        assert_eq!(
            dims,
            [
                [2, 4, 16, 16],
                [2, 16, 16, 16],
                [2, 32, 8, 8],
                [2, 64, 4, 4],
                [2, 128, 2, 2]
            ]
        );
        assert_eq!(net.forward(&pixels).unwrap().dims(), [2, 5]);
        // Without the pooling it is the same network.
        let trunk = ModifiedResNetTrunk::load(&weights, &spec).unwrap();
        let last = trunk.forward(&pixels).unwrap();
        let apart = (last - &maps[4]).unwrap().abs().unwrap().sum_all().unwrap();
        assert!(apart.to_scalar::<f32>().unwrap() < 1e-6);
        let small = pixels.narrow(2, 0, 32).unwrap();
        let error = net.forward(&small).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the batch of images has the shape [2, 3, 32, 64], needed is [B, 3, 64, 64]"
        );
    }
}
