//! The vision transformer (Dosovitskiy et al. 2021), in CLIP's form: a class vector, learned positions and a
//! norm before the blocks.

use candle_core::Tensor;

use super::patches::patches;
use super::positions::interpolate;
use crate::block::Stack;
use crate::{BlockSpec, Error, LayerNorm, Linear, Result, Weights};

/// What a vision transformer looks like.
#[derive(Clone, Debug)]
pub struct VitSpec {
    /// Height and width of the images in pixels.
    pub image_size: usize,
    /// Height and width of a patch in pixels.
    pub patch_size: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Every block; its attention gives the tower's width.
    pub block: BlockSpec,
    /// Names in the checkpoint.
    pub names: VitNames,
}

/// Names of the tower's parts.
#[derive(Clone, Copy, Debug)]
pub struct VitNames {
    /// The class vector `[width]`.
    pub class: &'static str,
    /// The patch convolution `[width, 3, patch, patch]`.
    pub patch: &'static str,
    /// The position table `[1 + patches, width]`, the class vector's first.
    pub positions: &'static str,
    /// The norm before the blocks.
    pub norm_before: &'static str,
    /// What stands before the blocks' numbers.
    pub blocks: &'static str,
    /// The norm of the pooled vector.
    pub norm_after: &'static str,
}

/// A vision transformer.
#[derive(Clone, Debug)]
pub struct Vit {
    class: Tensor,
    patch: Linear,
    positions: Tensor,
    norm_before: LayerNorm,
    blocks: Stack,
    norm_after: LayerNorm,
    patch_size: usize,
    /// Height and width of the images in pixels.
    image_size: (usize, usize),
}

impl Vit {
    /// Reads the tower's tensors.
    pub fn load(weights: &Weights, spec: &VitSpec) -> Result<Self> {
        let width = spec.block.attention.width;
        let eps = spec.block.norm_eps;
        let (patch_size, names) = (spec.patch_size.max(1), &spec.names);
        let side = spec.image_size / patch_size;
        let tokens = 1 + side * side;
        let patch = [width, 3, patch_size, patch_size];
        Ok(Self {
            class: weights.tensor(names.class, &[width])?,
            patch: Linear::new(&weights.tensor(names.patch, &patch)?.flatten_from(1)?, None)?,
            positions: weights.tensor(names.positions, &[tokens, width])?,
            norm_before: LayerNorm::load(&weights.scope(names.norm_before), width, eps)?,
            blocks: Stack::load(&weights.scope(names.blocks), spec.depth, &spec.block)?,
            norm_after: LayerNorm::load(&weights.scope(names.norm_after), width, eps)?,
            patch_size,
            image_size: (spec.image_size, spec.image_size),
        })
    }

    /// The same tower for images of another size, with the positions of the patches interpolated
    /// (Hugging Face's `interpolate_pos_encoding`).
    pub fn with_image_size(&self, height: usize, width: usize) -> Result<Self> {
        let (from, to) = (self.grid(), self.grid_of(height, width));
        if to.0 == 0 || to.1 == 0 {
            return Err(Error::Shape {
                what: "the image",
                found: vec![height, width],
                wanted: format!("at least one patch of {} pixels", self.patch_size),
            });
        }
        let class = self.positions.narrow(0, 0, 1)?;
        let patches = self.positions.narrow(0, 1, from.0 * from.1)?;
        let patches = interpolate(&patches, from, to)?;
        Ok(Self {
            positions: Tensor::cat(&[&class, &patches], 0)?,
            image_size: (height, width),
            ..self.clone()
        })
    }

    /// `pixels` `[B, 3, H, W]`, normalised, of the tower's image size; returns the sequence before the last
    /// norm `[B, 1 + patches, width]`.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.run(pixels, &mut |_| {})
    }

    /// As [`Self::forward`], with the state after the first norm and after each block.
    pub fn forward_with_hidden(&self, pixels: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
        let mut states = Vec::new();
        let last = self.run(pixels, &mut |state| states.push(state.clone()))?;
        Ok((last, states))
    }

    /// The class vector's place of a sequence `[B, tokens, width]` after the last norm; `[B, width]`.
    pub fn pool(&self, sequence: &Tensor) -> Result<Tensor> {
        let class = sequence.narrow(1, 0, 1)?.squeeze(1)?;
        self.norm_after.forward(&class)
    }

    /// What [`Self::pool`] makes of [`Self::forward`], `[B, width]`; of the last block nothing else is computed.
    pub fn pooled(&self, pixels: &Tensor) -> Result<Tensor> {
        let sequence = self.sequence(pixels)?;
        let places = vec![0; sequence.dim(0)?];
        let class = self.blocks.forward_at(sequence, None, &places)?;
        self.norm_after.forward(&class)
    }

    fn run(&self, pixels: &Tensor, hidden: &mut dyn FnMut(&Tensor)) -> Result<Tensor> {
        self.blocks.forward(self.sequence(pixels)?, None, hidden)
    }

    /// What the blocks see.
    fn sequence(&self, pixels: &Tensor) -> Result<Tensor> {
        let patches = self.embed(pixels)?;
        let (batch, _, width) = patches.dims3()?;
        let class = self.class.reshape((1, 1, width))?;
        let class = class.broadcast_as((batch, 1, width))?;
        let sequence = Tensor::cat(&[&class, &patches], 1)?;
        let sequence = sequence.broadcast_add(&self.positions)?;
        self.norm_before.forward(&sequence)
    }

    /// The patch convolution as one matrix product: kernel and stride are equal, so each pixel is used once.
    fn embed(&self, pixels: &Tensor) -> Result<Tensor> {
        let (height, width) = self.image_size;
        let batch = match *pixels.dims() {
            [batch, 3, h, w] if (h, w) == (height, width) => batch,
            _ => {
                return Err(Error::Shape {
                    what: "the batch of images",
                    found: pixels.dims().to_vec(),
                    wanted: format!("[B, 3, {height}, {width}]"),
                });
            }
        };
        let patches = self.patch.forward(&patches(pixels, self.patch_size)?)?;
        let (rows, columns) = self.grid();
        Ok(patches.reshape((batch, rows * columns, ()))?)
    }

    fn grid(&self) -> (usize, usize) {
        self.grid_of(self.image_size.0, self.image_size.1)
    }

    fn grid_of(&self, height: usize, width: usize) -> (usize, usize) {
        (height / self.patch_size, width / self.patch_size)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use sightline_core::Seed;

    use super::*;
    use crate::attention::AttentionNames;
    use crate::block::BlockNames;
    use crate::{Activation, AttentionSpec, KeyValue, NormPlace};

    fn tower() -> (Weights, Vit) {
        let spec = VitSpec {
            image_size: 14,
            patch_size: 4,
            depth: 1,
            block: BlockSpec {
                attention: AttentionSpec {
                    width: 8,
                    heads: 2,
                    head_dim: 4,
                    key_value: KeyValue::Own,
                    names: AttentionNames {
                        query: "q",
                        key: "k",
                        value: "v",
                        out: "o",
                    },
                },
                hidden: 16,
                activation: Activation::QuickGelu,
                norm_place: NormPlace::Pre,
                norm_eps: 1e-5,
                names: BlockNames {
                    attention: "attention",
                    attention_norm: "norm1",
                    expand: "up",
                    contract: "down",
                    feed_forward_norm: "norm2",
                },
            },
            names: VitNames {
                class: "class",
                patch: "patch.weight",
                positions: "positions",
                norm_before: "before",
                blocks: "blocks",
                norm_after: "after",
            },
        };
        let weights = Weights::random(Seed(7), &Device::Cpu);
        let vit = Vit::load(&weights, &spec).unwrap();
        (weights, vit)
    }

    #[test]
    fn patches_are_those_of_the_convolution() {
        let (weights, vit) = tower();
        // 14 pixels hold three patches of 4; the last two rows and columns do not count.
        let pixels = Tensor::randn(0f32, 1.0, (2, 3, 14, 14), &Device::Cpu).unwrap();
        let kernel = weights.tensor("patch.weight", &[8, 3, 4, 4]).unwrap();
        let maps = pixels.conv2d(&kernel, 0, 4, 1, 1).unwrap();
        let expected = maps.flatten_from(2).unwrap().transpose(1, 2).unwrap();
        let patches = vit.embed(&pixels).unwrap();
        assert_eq!(patches.dims(), [2, 9, 8]);
        let difference = (patches - expected).unwrap().abs().unwrap();
        assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
    }

    #[test]
    fn pooling_early_changes_nothing() {
        let (_, vit) = tower();
        let pixels = Tensor::randn(0f32, 1.0, (3, 3, 14, 14), &Device::Cpu).unwrap();
        let whole = vit.pool(&vit.forward(&pixels).unwrap()).unwrap();
        let early = vit.pooled(&pixels).unwrap();
        let difference = (whole - early).unwrap().abs().unwrap();
        assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
    }

    #[test]
    fn another_image_size_needs_another_tower() {
        let (_, vit) = tower();
        let wide = Tensor::zeros((1, 3, 8, 20), candle_core::DType::F32, &Device::Cpu).unwrap();
        let error = vit.forward(&wide).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the batch of images has the shape [1, 3, 8, 20], needed is [B, 3, 14, 14]"
        );
        let vit = vit.with_image_size(8, 20).unwrap();
        assert_eq!(vit.forward(&wide).unwrap().dims(), [1, 11, 8]);
        assert!(vit.with_image_size(3, 20).is_err());
    }
}
