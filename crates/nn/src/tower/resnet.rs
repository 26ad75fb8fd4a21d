//! Residual networks (He et al. 2016, arXiv 1512.03385) in torchvision's form and under its names: a stem of one
//! 7 x 7 convolution with stride 2 and a 3 x 3 maximum with stride 2, then stages that double the channels and
//! halve the sides. In a bottleneck the stride stands on the 3 x 3 convolution.
//!
//! There is neither the mean over positions nor the classifier behind it: the result is the last stage's map.

use candle_core::Tensor;

use super::residual::{Residual, ResidualSpec, numbered};
use crate::convolution::{ConvNorm, ConvolutionSpec, channels_first, channels_last};
use crate::pool::max_pool;
use crate::{Activation, Error, Result, Weights, in_parts};

/// Images that are taken together: the first maps of each have 3 MB.
const PART_IMAGES: usize = 2;

/// What a residual network looks like.
///
/// ```
/// use sightline_nn::tower::{ResNetBlock, ResNetSpec};
///
/// let resnet_50 = ResNetSpec {
///     block: ResNetBlock::Bottleneck,
///     stem_channels: 64,
///     width_per_group: 64,
///     layers: vec![3, 4, 6, 3],
/// };
/// assert_eq!(resnet_50.channels(), [256, 512, 1024, 2048]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNetSpec {
    /// What the stages are made of.
    pub block: ResNetBlock,
    /// Channels behind the stem, and base of those of the stages; 64 in every published network.
    pub stem_channels: usize,
    /// Width of a bottleneck's 3 x 3 convolution per 64 channels: 64, or 128 in a wide network with factor 2. A
    /// basic block has no such width.
    pub width_per_group: usize,
    /// Blocks of each stage; four stages in a whole network.
    pub layers: Vec<usize>,
}

/// The two kinds of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResNetBlock {
    /// Two 3 x 3 convolutions: ResNet-18 and 34.
    Basic,
    /// 1 x 1, 3 x 3 and 1 x 1, the last to four times the channels: ResNet-50 and deeper.
    Bottleneck,
}

impl ResNetBlock {
    /// Channels behind a block per channel inside.
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

impl ResNetSpec {
    /// Channels behind each stage.
    pub fn channels(&self) -> Vec<usize> {
        let stages = 0..self.layers.len();
        stages
            .map(|stage| self.planes(stage) * self.block.expansion())
            .collect()
    }

    fn planes(&self, stage: usize) -> usize {
        self.stem_channels << stage
    }

    /// A block of `stage` behind `input` channels.
    fn residual(&self, stage: usize, input: usize, stride: usize) -> ResidualSpec {
        let planes = self.planes(stage);
        let output = planes * self.block.expansion();
        let new = ConvolutionSpec::new;
        let strided = |spec| ConvolutionSpec { stride, ..spec };
        let convolutions = match self.block {
            ResNetBlock::Basic => vec![strided(new(input, planes, 3)), new(planes, output, 3)],
            ResNetBlock::Bottleneck => {
                let inner = planes * self.width_per_group / 64;
                vec![
                    new(input, inner, 1),
                    strided(new(inner, inner, 3)),
                    new(inner, output, 1),
                ]
            }
        };
        ResidualSpec {
            convolutions,
            pool: 1,
            shortcut: (stride != 1 || input != output).then(|| strided(new(input, output, 1))),
        }
    }
}

/// A residual network.
#[derive(Clone, Debug)]
pub struct ResNet {
    stem: ConvNorm,
    stages: Vec<Vec<Residual>>,
}

impl ResNet {
    /// Reads `conv1`, `bn1` and `layer1`, `layer2`, … below `weights`.
    pub fn load(weights: &Weights, spec: &ResNetSpec) -> Result<Self> {
        let stem = ConvolutionSpec {
            stride: 2,
            ..ConvolutionSpec::new(3, spec.stem_channels, 7)
        };
        let mut input = spec.stem_channels;
        let mut stages = Vec::new();
        for (stage, (&depth, output)) in spec.layers.iter().zip(spec.channels()).enumerate() {
            let weights = weights.scope(format!("layer{}", stage + 1));
            let mut blocks = Vec::new();
            for i in 0..depth {
                let stride = if i == 0 && stage > 0 { 2 } else { 1 };
                let block = spec.residual(stage, input, stride);
                blocks.push(Residual::load(&weights.scope(i), &block)?);
                input = output;
            }
            stages.push(blocks);
        }
        Ok(Self {
            stem: numbered(weights, 1, &stem)?,
            stages,
        })
    }

    /// `pixels` `[B, 3, H, W]`, normalised; returns the last stage's map `[B, C, h, w]`, `h` and `w` a 32nd of
    /// the sides (rounded up) behind four stages. It is a view of memory with the channels last: bringing it to
    /// `[B, h * w, C]` copies nothing.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let last = in_parts(pixels, PART_IMAGES, |pixels| self.run(pixels, &mut |_| {}))?;
        channels_first(&last)
    }

    /// As [`Self::forward`], but the maps of all stages, the largest first.
    pub fn stages(&self, pixels: &Tensor) -> Result<Vec<Tensor>> {
        let mut maps = Vec::new();
        self.run(pixels, &mut |map| maps.push(map.clone()))?;
        maps.iter().map(channels_first).collect()
    }

    fn run(&self, pixels: &Tensor, stage_done: &mut dyn FnMut(&Tensor)) -> Result<Tensor> {
        if !matches!(pixels.dims(), [_, 3, height, width] if *height > 0 && *width > 0) {
            return Err(Error::Shape {
                what: "the batch of images",
                found: pixels.dims().to_vec(),
                wanted: "[B, 3, H, W]".to_owned(),
            });
        }
        let pixels = channels_last(pixels)?;
        let map = self.stem.forward_activated(&pixels, Activation::Relu)?;
        let mut map = max_pool(&map, 3, 2)?;
        for blocks in &self.stages {
            for block in blocks {
                map = block.forward(&map)?;
            }
            stage_done(&map);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use sightline_core::Seed;

    use super::*;

    #[test]
    fn blocks_shapes_and_names_are_those_of_torchvision() {
        for (block, width_per_group, channels) in [
            (ResNetBlock::Basic, 64, [4, 8, 16]),
            (ResNetBlock::Bottleneck, 128, [16, 32, 64]),
        ] {
            let spec = ResNetSpec {
                block,
                stem_channels: 4,
                width_per_group,
                layers: vec![1, 2, 1],
            };
            assert_eq!(spec.channels(), channels);
            let weights = Weights::random(Seed(2), &Device::Cpu);
            let net = ResNet::load(&weights.scope("cnn"), &spec).unwrap();
            // A basic block keeps its channels in the first stage, a bottleneck never does.
            let has_shortcut = |stage: usize| net.stages[stage][0].has_shortcut();
            assert_eq!(has_shortcut(0), block == ResNetBlock::Bottleneck);
            assert!(has_shortcut(1) && !net.stages[1][1].has_shortcut());

            let pixels = Tensor::randn(0f32, 1.0, (2, 3, 45, 64), &Device::Cpu).unwrap();
            let maps = net.stages(&pixels).unwrap();
            let sides = [(12, 16), (6, 8), (3, 4)];
            for ((map, channels), (height, width)) in maps.iter().zip(channels).zip(sides) {
                assert_eq!(map.dims(), [2, channels, height, width]);
            }
            let last = net.forward(&pixels).unwrap();
            let difference = (&last - &maps[2]).unwrap().abs().unwrap();
            assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-6);
            assert!(net.forward(&pixels.narrow(1, 0, 1).unwrap()).is_err());
        }
    }
}
