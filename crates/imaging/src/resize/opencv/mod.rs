//! OpenCV's `resize` on 8-bit images, as img2dataset, albumentations and VirTex call it.
//!
//! Only [`Interpolation::Area`] looks at every source pixel when an image shrinks; the others take the
//! few pixels around each target position, so that fine patterns turn into noise. The arithmetic is
//! that of OpenCV 4.14 on x86, checked byte by byte: weights rounded to 11 bits where they
//! are, single precision in the same order of additions where it is not. OpenCV numbers pixels by
//! their centres, `scale` is `1 / (target / source)` in double precision (not `source / target`,
//! which can differ in the last bit), and an axis that keeps its length is still interpolated unless
//! both do.
//!
//! ```
//! use sightline_core::image_spec::Size;
//! use sightline_imaging::resize::opencv::{Interpolation, resize_opencv};
//! use sightline_imaging::{Channels, Pixels};
//!
//! let ramp = Pixels::new(4, 1, Channels::Grey, vec![0, 10, 20, 31])?;
//! let half = Size { width: 2, height: 1 };
//! let small = resize_opencv(&ramp, half, Interpolation::Area)?;
//! // The mean of 20 and 31 is a tie, which goes to the even neighbour.
//! assert_eq!(small.data(), [5, 26]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod area;
mod axis;
mod cubic;
mod interpolation;
mod lanczos4;
mod linear;
mod nearest;
mod taps;

pub use cubic::CubicPath;
pub use interpolation::{Interpolation, resize_opencv, resize_opencv_cubic};
