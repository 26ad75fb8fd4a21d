//! `EfficientNet` (Tan and Le 2019, arXiv 1905.11946) as ALIGN has it, under the names that Hugging Face gives it.
//!
//! Three rules are its own. The padding of a window that moves by 2 does not depend on the size of the map. The
//! first block of a stage has no residual connection, even if its input and output have the same shape. The width of
//! squeeze and excitation follows from a block's input, not from its expanded channels. There is neither a
//! convolution behind the blocks nor a classifier.

use candle_core::Tensor;

use crate::activation::add_activated;
use crate::convolution::{channels_first, channels_last};
use crate::pool::{max_positions, mean_positions, scale_channels};
use crate::{Activation, ConvNorm, ConvolutionSpec, Error, Linear, Padding, Result, Weights};

/// What an `EfficientNet` looks like, after its coefficients were applied.
#[derive(Clone, Debug, PartialEq)]
pub struct EfficientNetSpec {
    /// Channels behind the stem.
    pub stem: usize,
    /// The blocks of all stages.
    pub blocks: Vec<MbConvSpec>,
    /// Activation of every layer.
    pub activation: Activation,
    /// Added to the variance in the norms.
    pub norm_eps: f64,
}

/// A block: a wide layer with a filter per channel between two narrow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MbConvSpec {
    /// Channels of its input.
    pub input: usize,
    /// Channels between the ends; equal to `input` for a block without expansion.
    pub expanded: usize,
    /// Channels of its output.
    pub output: usize,
    /// Height and width of the filters.
    pub kernel: usize,
    /// Rows, and columns, from one place of the filters to the next.
    pub stride: usize,
    /// Zeros around the map.
    pub padding: Padding,
    /// Width inside squeeze and excitation.
    pub squeezed: usize,
    /// Whether the input is added to the output.
    pub is_residual: bool,
}

/// An `EfficientNet`.
#[derive(Clone, Debug)]
pub struct EfficientNet {
    stem: ConvNorm,
    blocks: Vec<MbConv>,
    activation: Activation,
}

impl EfficientNet {
    /// Reads `embeddings` and `encoder.blocks`.
    pub fn load(weights: &Weights, spec: &EfficientNetSpec) -> Result<Self> {
        let stem = ConvolutionSpec {
            stride: 2,
            padding: Padding {
                before: 0,
                after: 1,
            },
            ..ConvolutionSpec::new(3, spec.stem, 3)
        };
        let embeddings = weights.scope("embeddings");
        let stem = ConvNorm::load(
            &embeddings.scope("convolution"),
            &embeddings.scope("batchnorm"),
            &stem,
            spec.norm_eps,
        )?;
        let blocks = weights.scope("encoder.blocks");
        Ok(Self {
            stem,
            blocks: (0..)
                .zip(&spec.blocks)
                .map(|(i, block): (usize, &MbConvSpec)| MbConv::load(&blocks.scope(i), block, spec))
                .collect::<Result<_>>()?,
            activation: spec.activation,
        })
    }

    /// `pixels` `[B, 3, H, W]`, normalised; returns the last map `[B, C, h, w]`.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        channels_first(&self.run(pixels, &mut |_| {})?)
    }

    /// As [`Self::forward`], with the maps behind the stem and behind each block.
    pub fn forward_with_hidden(&self, pixels: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
        let mut maps = Vec::new();
        let last = self.run(pixels, &mut |map| maps.push(map.clone()))?;
        let maps = maps.iter().map(channels_first).collect::<Result<_>>()?;
        Ok((channels_first(&last)?, maps))
    }

    fn run(&self, pixels: &Tensor, done: &mut dyn FnMut(&Tensor)) -> Result<Tensor> {
        if !matches!(pixels.dims(), [_, 3, height, width] if *height > 1 && *width > 1) {
            return Err(Error::Shape {
                what: "the batch of images",
                found: pixels.dims().to_vec(),
                wanted: "[B, 3, H, W], at least 2 x 2 pixels".to_owned(),
            });
        }
        let pixels = channels_last(pixels)?;
        let mut map = self.stem.forward_activated(&pixels, self.activation)?;
        done(&map);
        for block in &self.blocks {
            map = block.forward(&map, self.activation)?;
            done(&map);
        }
        Ok(map)
    }
}

/// How the last map becomes a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all positions.
    #[default]
    Mean,
    /// Their maximum.
    Max,
}

impl Pooling {
    /// `map` `[B, C, h, w]`; returns `[B, C]`.
    pub fn forward(self, map: &Tensor) -> Result<Tensor> {
        let map = channels_last(map)?;
        match self {
            Self::Mean => mean_positions(&map),
            Self::Max => max_positions(&map),
        }
    }
}

#[derive(Clone, Debug)]
struct MbConv {
    expansion: Option<ConvNorm>,
    depthwise: ConvNorm,
    squeeze: Linear,
    excite: Linear,
    projection: ConvNorm,
    is_residual: bool,
}

impl MbConv {
    fn load(weights: &Weights, block: &MbConvSpec, spec: &EfficientNetSpec) -> Result<Self> {
        let &MbConvSpec {
            input,
            expanded,
            output,
            squeezed,
            ..
        } = block;
        let layer = |part: &str, names: [&str; 2], convolution: &ConvolutionSpec| {
            let weights = weights.scope(part);
            let [name, norm] = names.map(|name| weights.scope(name));
            ConvNorm::load(&name, &norm, convolution, spec.norm_eps)
        };
        let expansion = || {
            let names = ["expand_conv", "expand_bn"];
            layer(
                "expansion",
                names,
                &ConvolutionSpec::new(input, expanded, 1),
            )
        };
        let filters = ConvolutionSpec {
            stride: block.stride,
            padding: block.padding,
            groups: expanded,
            ..ConvolutionSpec::new(expanded, expanded, block.kernel)
        };
        let projection = ConvolutionSpec::new(expanded, output, 1);
        // 1 x 1 convolutions of a single position.
        let linear = |name: &str, input: usize, output: usize| {
            let weights = weights.scope("squeeze_excite").scope(name);
            let weight = weights.tensor("weight", &[output, input, 1, 1])?;
            let bias = weights.tensor("bias", &[output])?;
            Linear::new(&weight.reshape((output, input))?, Some(bias))
        };
        Ok(Self {
            expansion: (expanded != input).then(expansion).transpose()?,
            depthwise: layer(
                "depthwise_conv",
                ["depthwise_conv", "depthwise_norm"],
                &filters,
            )?,
            squeeze: linear("reduce", expanded, squeezed)?,
            excite: linear("expand", squeezed, expanded)?,
            projection: layer("projection", ["project_conv", "project_bn"], &projection)?,
            is_residual: block.is_residual,
        })
    }

    /// `x` `[B, H, W, C]`, channels last.
    fn forward(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let wide = match &self.expansion {
            Some(expansion) => expansion.forward_activated(x, activation)?,
            None => x.clone(),
        };
        let filtered = self.depthwise.forward_activated(&wide, activation)?;
        let squeezed = self
            .squeeze
            .forward_activated(&mean_positions(&filtered)?, activation)?;
        let factors = self
            .excite
            .forward_activated(&squeezed, Activation::Sigmoid)?;
        let y = self
            .projection
            .forward(&scale_channels(filtered, &factors)?)?;
        if self.is_residual {
            add_activated(y, x, None)
        } else {
            Ok(y)
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use sightline_core::Seed;

    use super::*;

    const NARROW: MbConvSpec = MbConvSpec {
        input: 8,
        expanded: 8,
        output: 8,
        kernel: 3,
        stride: 1,
        padding: Padding {
            before: 1,
            after: 1,
        },
        squeezed: 2,
        is_residual: false,
    };

    #[test]
    fn maps_have_the_sizes_of_even_padding() {
        let wide = MbConvSpec {
            expanded: 24,
            output: 16,
            kernel: 5,
            stride: 2,
            padding: Padding {
                before: 1,
                after: 2,
            },
            ..NARROW
        };
        let spec = EfficientNetSpec {
            stem: 8,
            blocks: vec![
                NARROW,
                MbConvSpec {
                    is_residual: true,
                    ..NARROW
                },
                wide,
            ],
            activation: Activation::Silu,
            norm_eps: 1e-3,
        };
        let weights = Weights::random(Seed(5), &Device::Cpu);
        let net = EfficientNet::load(&weights, &spec).unwrap();
        let has_expansion: Vec<_> = net.blocks.iter().map(|b| b.expansion.is_some()).collect();
        assert_eq!(has_expansion, [false, false, true]);
        let pixels = Tensor::randn(0f32, 1.0, (2, 3, 37, 30), &Device::Cpu).unwrap();
        let (last, maps) = net.forward_with_hidden(&pixels).unwrap();
        let dims: Vec<_> = maps.iter().map(|map| map.dims().to_vec()).collect();
        let [stem, half] = [[2, 8, 18, 15], [2, 16, 9, 7]];
        assert_eq!(dims, [stem, stem, stem, half]);

        let flat = last.flatten_from(2).unwrap();
        for (pooling, expected) in [
            (Pooling::Mean, flat.mean(2).unwrap()),
            (Pooling::Max, flat.max(2).unwrap()),
        ] {
            let pooled = pooling.forward(&last).unwrap();
            let difference = (pooled - expected).unwrap().abs().unwrap();
            assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-6);
        }
        assert!(net.forward(&pixels.narrow(2, 0, 1).unwrap()).is_err());
    }
}
