//! What a model expects of its pixels, as data.

pub mod hugging_face;

use serde::{Deserialize, Serialize};

/// How an image becomes the `[3, height, width]` tensor a model is fed: convert to RGB, resize,
/// centre crop, rescale, normalise, in this order. It is part of a plan, since it moves scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// Size of the tensor.
    pub size: Size,
    /// How an image of another shape is brought to `size`.
    pub fit: Fit,
    /// Resampling filter.
    pub filter: Filter,
    /// Whose arithmetic is matched.
    pub reference: Reference,
    /// From bytes to floating point.
    pub rescale: Rescale,
    /// Subtracted per channel after rescaling.
    pub mean: [f32; 3],
    /// Divided by per channel, last.
    pub std: [f32; 3],
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// How the shape of an image is brought to the shape of the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fit {
    /// Resize so that the short side is `edge` (long side `trunc(edge * long / short)`), then crop
    /// the centre.
    ShortestEdge {
        /// Short side after the resize.
        edge: u32,
        /// Rounding of the crop's offset.
        crop: CropRounding,
    },
    /// Resize to `size` whatever the ratio, then crop the centre (no crop when sizes agree).
    Squash {
        /// Size after the resize.
        size: Size,
        /// Rounding of the crop's offset.
        crop: CropRounding,
    },
    /// No resize: crop the centre of the image as it is.
    CropOnly {
        /// Rounding of the crop's offset.
        crop: CropRounding,
    },
}

/// Offset of a centre crop of `C` in `N`: tools differ by a pixel when `N - C` is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CropRounding {
    /// `(N - C) / 2` rounded down: Hugging Face processors, img2dataset, albumentations.
    Floor,
    /// Rounded to nearest, ties to even: torchvision and `open_clip`.
    HalfEven,
}

/// Resampling filters by their names in Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Nearest neighbour.
    Nearest,
    /// Box average.
    Box,
    /// Triangle.
    Bilinear,
    /// Hamming window.
    Hamming,
    /// Catmull–Rom, a = -0.5.
    Bicubic,
    /// Three lobes.
    Lanczos,
}

/// Whose resize arithmetic is matched, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reference {
    /// Pillow up to 12: horizontal pass first.
    Pillow12,
    /// Pillow 13: the order of the passes depends on the sizes.
    Pillow13,
    /// torchvision's fixed-point path for 8-bit tensors on a CPU (Hugging Face "fast" processors).
    TorchvisionU8,
}

/// From a byte `v` to floating point, in the arithmetic of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rescale {
    /// `f32(f64(v) * factor)`, minus 1 when `offset` (Hugging Face "slow" processors).
    Factor {
        /// Usually 1/255.
        factor: f64,
        /// Whether 1 is subtracted afterwards.
        offset: bool,
    },
    /// Rescaling fused into mean and deviation (Hugging Face "fast" processors):
    /// `(v - mean / factor) / (std / factor)`.
    Fused {
        /// Usually 1/255.
        factor: f64,
    },
    /// [`Rescale::Factor`], and after the normalisation the deviation divides a second time (Hugging
    /// Face's `include_top` of `EfficientNet`).
    FactorTop {
        /// Usually 1/255.
        factor: f64,
        /// Whether 1 is subtracted before the normalisation.
        offset: bool,
    },
    /// `f32(v) * f32(factor)` (Hugging Face "fast" processors that do not normalise).
    Single {
        /// Usually 1/255.
        factor: f64,
    },
    /// `f32(v) / 255` (torchvision's `ToTensor`, `open_clip`).
    Divide255,
    /// Bytes as they are.
    None,
}
