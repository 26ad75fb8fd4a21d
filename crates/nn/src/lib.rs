//! Attention, convolutions, blocks, towers and weight loading shared by every model family.
//!
//! A family describes its towers by spec structs ([`tower::vit::VitSpec`], [`block::BlockSpec`], …), which
//! also carry the names that its checkpoints use; the code here reads the weights by those names and
//! computes. There is one [`attention::Attention`] and one [`block::Block`] for all of them, and one
//! [`convolution::ConvNorm`] for those that convolve.
//!
//! On a CPU products with fixed weights, attention and the element-wise work (bias, activation, softmax, layer norm)
//! run in the vectorised kernels of `kernel`, in place where the memory is ours. Anywhere else, and wherever a gradient is tracked, the same
//! formulas are composed of candle's differentiable operations: no path drops a gradient silently.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use sightline_core::Seed;
//! use sightline_nn::{Linear, Weights};
//!
//! let weights = Weights::random(Seed(1), &Device::Cpu);
//! let linear = Linear::load(&weights.scope("projection"), 4, 3)?;
//! assert!(weights.finish()?.is_empty());
//! let x = Tensor::ones((2, 4), candle_core::DType::F32, &Device::Cpu)?;
//! assert_eq!(linear.forward(&x)?.dims(), [2, 3]);
//! # Ok::<(), sightline_nn::Error>(())
//! ```

pub mod activation;
pub mod attention;
pub mod batch;
pub mod block;
pub mod causal;
mod checkpoint;
pub mod convolution;
pub mod decode;
pub mod decoder;
pub mod device;
pub mod dropout;
pub mod embedding;
pub mod entropy;
pub mod error;
pub mod export;
mod initial;
mod kernel;
pub mod linear;
pub mod mask;
pub mod norm;
mod pickle;
pub mod pool;
pub mod precision;
pub mod roi;
mod safetensors;
pub mod sequence;
mod torch;
pub mod tower;
mod tracked;
pub mod weights;

pub use activation::Activation;
pub use attention::{Attention, AttentionSpec, KeyValue, KeysValues};
pub use batch::in_parts;
pub use block::{Block, BlockSpec, NormPlace, Stack, StackCache};
pub use causal::{CausalCache, CausalSpec, CausalTransformer};
pub use convolution::{ConvNorm, ConvolutionSpec, Padding};
pub use decoder::{Decoder, DecoderCache, DecoderSpec};
pub use device::DeviceName;
pub use dropout::{Dropout, dropped};
pub use embedding::Embedding;
pub use entropy::cross_entropy;
pub use error::{Error, FormatError, Result, TensorProblem};
pub use export::Tensors;
pub use linear::Linear;
pub use mask::Mask;
pub use norm::{LayerNorm, unit_length};
pub use precision::Precision;
pub use roi::{RoiAlignSpec, roi_align};
pub use sequence::at_places;
pub use weights::Weights;
