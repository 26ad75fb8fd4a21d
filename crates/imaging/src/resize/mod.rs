//! Resizing in the exact arithmetic of Pillow, torchvision and OpenCV.
//!
//! All three filter one axis at a time; they differ in weights, rounding, the order of the passes and
//! what they do at the borders, by up to 18 levels on noise. A model that was trained behind one of
//! them scores differently behind another, so each is its own function here and none is "the" resize.
//!
//! ```
//! use sightline_core::image_spec::{Filter, Size};
//! use sightline_imaging::resize::{PassOrder, resize_pillow, resize_torchvision_u8};
//! use sightline_imaging::{Channels, Pixels};
//!
//! let step = Pixels::new(4, 1, Channels::Grey, vec![0, 0, 255, 255])?;
//! let size = Size { width: 3, height: 1 };
//! let pillow = resize_pillow(&step, size, Filter::Bicubic, PassOrder::Adaptive, None)?;
//! let tensor = resize_torchvision_u8(&step, size, Filter::Bicubic)?;
//! assert_eq!(pillow.data(), tensor.data());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alpha;
mod nearest;
pub mod opencv;
mod passes;
mod pillow;
mod reduce;
mod resizer;
mod spec;
mod tables;
mod taps;
mod torchvision;
mod view;
mod weights;
mod wide;

pub use nearest::Steps;
pub use pillow::resize_pillow;
pub(crate) use pillow::resize_pillow_inks;
pub use reduce::resize_pillow_with_gap;
pub use resizer::{Part, Resizer};
pub use spec::{
    Arithmetic, MAX_TARGET_PIXELS, MAX_TARGET_SIDE, PassOrder, ResizeError, ResizeSpec,
};
pub use taps::{FixedTaps, FloatTaps, Taps};
pub use torchvision::{resize_torchvision_f32, resize_torchvision_u8};
pub use wide::{Wide, resize_pillow_wide};
