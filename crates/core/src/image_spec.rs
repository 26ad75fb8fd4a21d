//! What a model expects of its pixels, as data.
//!
//! | read from | by |
//! | --- | --- |
//! | `preprocessor_config.json` of Hugging Face | [`hugging_face`] |
//! | `open_clip_config.json` | [`open_clip`] |
//! | a model's `config.json` of timm, or its `pretrained_cfg` | [`timm`] |
//!
//! [`ImageSpec::from_json`] tells them apart. The crate `manifest` reads TOML, field by field.

mod config;
pub mod hugging_face;
pub mod open_clip;
mod steps;
pub mod timm;

use serde::{Deserialize, Serialize};

pub use config::ImageSpecError;

/// How an image becomes the `[3, height, width]` tensor a model is fed: convert to RGB, resize,
/// centre crop, rescale, normalise, in this order. It is part of a plan, since it moves scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// How what a file stores becomes RGB.
    #[serde(default)]
    pub colour: Colour,
    /// Whether the EXIF orientation is applied.
    #[serde(default)]
    pub upright: bool,
    /// Size of the tensor.
    pub size: Size,
    /// How an image of another shape is brought to `size`.
    pub fit: Fit,
    /// Resampling filter.
    pub filter: Filter,
    /// Whose arithmetic is matched.
    pub reference: Reference,
    /// Where the padding goes when the crop is larger than the image.
    #[serde(default)]
    pub padding: Padding,
    /// The colour of the padding, RGB.
    #[serde(default)]
    pub fill: [u8; 3],
    /// From bytes to floating point.
    pub rescale: Rescale,
    /// Subtracted per channel after rescaling.
    pub mean: [f32; 3],
    /// Divided by per channel, last.
    pub std: [f32; 3],
    /// Order of the tensor's axes.
    #[serde(default)]
    pub layout: Layout,
    /// Type of the tensor's values.
    #[serde(default)]
    pub dtype: Dtype,
}

impl ImageSpec {
    /// Pillow's colours, not turned, padded with black to the right, values as they are, `[N, 3, H, W]`
    /// in 32 bits: what is left to be said by the caller.
    pub fn new(size: Size, fit: Fit, filter: Filter, reference: Reference) -> Self {
        Self {
            colour: Colour::default(),
            upright: false,
            size,
            fit,
            filter,
            reference,
            padding: Padding::default(),
            fill: [0; 3],
            rescale: Rescale::None,
            mean: [0.0; 3],
            std: [1.0; 3],
            layout: Layout::default(),
            dtype: Dtype::default(),
        }
    }

    /// Reads a config of Hugging Face, `open_clip` or timm, whichever it is by its keys.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, ImageSpecError> {
        let has = |key: &str| json.get(key).is_some();
        if has("preprocess_cfg") || has("resize_mode") {
            open_clip::from_open_clip(json)
        } else if has("pretrained_cfg") || has("input_size") {
            timm::from_timm(json)
        } else {
            hugging_face::from_hugging_face(json)
        }
    }

    /// Refuses what no image can satisfy.
    pub fn check(&self) -> Result<(), ImageSpecError> {
        let is_side = |side: u32| (1..=MAX_SIDE).contains(&side);
        let mut sizes = vec![self.size];
        match self.fit {
            Fit::ShortestEdge { edge, .. } | Fit::SmallestMaxSize { edge, .. } => {
                sizes.push(Size::square(edge));
            }
            Fit::Squash { size, .. } | Fit::Cover { size, .. } | Fit::Contain { size, .. } => {
                sizes.push(size);
            }
            Fit::CropOnly { .. } => {}
        }
        if let Some(size) = sizes
            .into_iter()
            .find(|size| !is_side(size.width) || !is_side(size.height))
        {
            return Err(ImageSpecError::Size {
                size,
                max: MAX_SIDE,
            });
        }
        if self.std.iter().any(|std| *std == 0.0 || !std.is_finite())
            || self.mean.iter().any(|mean| !mean.is_finite())
        {
            return Err(ImageSpecError::Statistics {
                mean: self.mean,
                std: self.std,
            });
        }
        Ok(())
    }
}

/// Longest side of a tensor; a mistyped one must not become an allocation.
pub const MAX_SIDE: u32 = 16_384;

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// Both sides alike.
    pub fn square(side: u32) -> Self {
        Self {
            width: side,
            height: side,
        }
    }
}

/// How what a file stores becomes RGB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Colour {
    /// Pillow's `convert("RGB")` before anything else: alpha dropped, 16-bit grey clipped.
    #[default]
    Pillow,
    /// The same after resize and crop, which are done in the file's own mode: a palette is not
    /// interpolated, and colour counts by its alpha (`open_clip`).
    PillowLast,
    /// OpenCV's `IMREAD_COLOR`: alpha dropped, the high byte of 16 bits, its own CMYK.
    OpenCv,
    /// What a person sees: over white, the high byte of 16 bits.
    Sane,
}

/// On which side the larger half of an odd padding goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Padding {
    /// Right and bottom: torchvision, `open_clip`, Hugging Face "fast".
    #[default]
    LargerAfter,
    /// Left and top: Hugging Face "slow".
    LargerBefore,
    /// Nowhere: an image smaller than the crop is an error (albumentations).
    Refuse,
}

/// Order of the axes of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Image, channel, row, column.
    #[default]
    Nchw,
    /// Image, row, column, channel.
    Nhwc,
}

/// Type of the values of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dtype {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 16-bit floating point, rounded to nearest even.
    F16,
    /// bfloat16, rounded to nearest even.
    Bf16,
}

/// How the shape of an image is brought to the shape of the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Fit {
    /// Resize so that the short side is `edge` (long side `trunc(edge * long / short)`), then crop
    /// the centre: torchvision's `Resize(int)`, Hugging Face's `shortest_edge`.
    ShortestEdge {
        /// Short side after the resize.
        edge: u32,
        /// Rounding of the crop's offset.
        crop: CropRounding,
    },
    /// The same with both sides `round(side * edge / short)`: albumentations' `SmallestMaxSize`.
    SmallestMaxSize {
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
    /// Resize so that `size` is covered, both sides rounded, then crop the centre: timm's
    /// `ResizeKeepRatio` for tensors that are not square.
    Cover {
        /// What is covered.
        size: Size,
        /// Rounding of the crop's offset.
        crop: CropRounding,
    },
    /// Resize so that the whole image fits into `size`, both sides rounded, then pad or crop:
    /// `ResizeKeepRatio` with `longest`.
    Contain {
        /// What the image fits into.
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
    /// torchvision's floating-point path (its first interface, and any GPU).
    TorchvisionF32,
    /// OpenCV's `resize`, portable path. Its filters are other ones, and only `box`, which is its `AREA`,
    /// averages when shrinking: `bilinear` is `LINEAR`, `bicubic` is `CUBIC`, `lanczos` is `LANCZOS4`.
    OpenCv,
}

/// From a byte `v` to floating point, in the arithmetic of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
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
