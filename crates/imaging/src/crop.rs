//! Centre crops and the padding that stands in for missing pixels.
//!
//! Tools agree on neither when a difference is odd: torchvision and `open_clip` round the offset to even
//! and pad the larger half to the right, Hugging Face's slow processors cut the offset and pad the larger
//! half to the left. On a photo one pixel of offset changes most pixels.

pub use sightline_core::image_spec::Padding;
use sightline_core::image_spec::{CropRounding, Size};

use crate::{Channels, Pixels, PixelsError, Window};

/// First pixel of a crop of `crop` in `side` (`crop <= side`).
pub fn centre_offset(side: u32, crop: u32, rounding: CropRounding) -> u32 {
    let difference = side.saturating_sub(crop);
    match rounding {
        CropRounding::Floor => difference / 2,
        // Halves go to the even neighbour: 1 → 0, 3 → 2, 5 → 2, 7 → 4.
        CropRounding::HalfEven => difference / 2 + u32::from(difference % 4 == 3),
    }
}

/// The centre of `pixels` in `size`; where the image is smaller, `fill` is put around it first (its first
/// value in grey images, nothing where there is alpha). Fails only when `size` has no content.
pub fn centre_crop(
    pixels: &Pixels,
    size: Size,
    rounding: CropRounding,
    padding: Padding,
    fill: [u8; 3],
) -> Result<Pixels, PixelsError> {
    let channels = pixels.channels();
    let crop = Crop::new(pixels.size(), size, rounding, padding);
    let fill = match channels {
        Channels::Grey => &fill[..1],
        Channels::Rgb => &fill[..3],
        // What is missing cannot be seen.
        Channels::GreyAlpha | Channels::Rgba => &[0; 4][..channels.count()],
    };
    let data = crop.apply(pixels.data(), fill);
    Pixels::new(size.width, size.height, channels, data)
}

/// A centre crop, worked out for one size of image.
#[derive(Clone, Copy, Debug)]
pub struct Crop {
    from: Size,
    to: Size,
    x: Along,
    y: Along,
}

impl Crop {
    /// The centre of an image of size `from` in `to`.
    pub fn new(from: Size, to: Size, rounding: CropRounding, padding: Padding) -> Self {
        Self {
            from,
            to,
            x: Along::new(from.width, to.width, rounding, padding),
            y: Along::new(from.height, to.height, rounding, padding),
        }
    }

    /// The part of the image that is kept.
    pub fn kept(&self) -> Window {
        Window {
            left: self.x.from as u32,
            top: self.y.from as u32,
            width: self.x.len as u32,
            height: self.y.len as u32,
        }
    }

    /// Columns to the left of that part in the result, and rows above it; what is around it is padding.
    pub fn place(&self) -> (u32, u32) {
        (self.x.to as u32, self.y.to as u32)
    }

    /// Crops pixels of as many samples as `fill` has, which stands where pixels are missing.
    pub(crate) fn apply<T: Copy>(&self, data: &[T], fill: &[T]) -> Vec<T> {
        let count = fill.len();
        let (stride, to_stride) = (
            self.from.width as usize * count,
            self.to.width as usize * count,
        );
        let mut out = fill.repeat(self.to.width as usize * self.to.height as usize);
        let columns = self.x.from * count..(self.x.from + self.x.len) * count;
        for (out, row) in out
            .chunks_exact_mut(to_stride.max(1))
            .skip(self.y.to)
            .zip(data.chunks_exact(stride).skip(self.y.from).take(self.y.len))
        {
            out[self.x.to * count..][..columns.len()].copy_from_slice(&row[columns.clone()]);
        }
        out
    }
}

/// What is copied along one axis.
#[derive(Clone, Copy, Debug)]
struct Along {
    /// First source pixel.
    from: usize,
    /// First target pixel.
    to: usize,
    /// Number of pixels.
    len: usize,
}

impl Along {
    fn new(side: u32, crop: u32, rounding: CropRounding, padding: Padding) -> Self {
        let missing = crop.saturating_sub(side);
        let before = match padding {
            Padding::LargerBefore => missing.div_ceil(2),
            _ => missing / 2,
        };
        Self {
            from: centre_offset(side, crop, rounding) as usize,
            to: before as usize,
            len: side.min(crop) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Channels;

    #[test]
    fn offsets_differ_where_the_tools_do() {
        let offsets = |rounding| [1, 2, 3, 5, 7, 8].map(|d| centre_offset(10 + d, 10, rounding));
        assert_eq!(offsets(CropRounding::Floor), [0, 1, 1, 2, 3, 4]);
        assert_eq!(offsets(CropRounding::HalfEven), [0, 1, 2, 2, 4, 4]);
    }

    #[test]
    fn missing_pixels_are_black_and_odd_ones_where_the_tool_puts_them() {
        let pixels = Pixels::new(2, 1, Channels::Grey, vec![7, 9]).unwrap();
        let size = Size {
            width: 5,
            height: 1,
        };
        let crop =
            |padding| centre_crop(&pixels, size, CropRounding::Floor, padding, [0; 3]).unwrap();
        assert_eq!(crop(Padding::LargerAfter).data(), [0, 7, 9, 0, 0]);
        assert_eq!(crop(Padding::LargerBefore).data(), [0, 0, 7, 9, 0]);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_the_centre(w in 1u32..40, h in 1u32..40, cw in 1u32..40, ch in 1u32..40, even: bool) {
            let rounding = if even { CropRounding::HalfEven } else { CropRounding::Floor };
            let data = (0..w * h).map(|i| 1 + (i % 255) as u8).collect();
            let pixels = Pixels::new(w, h, Channels::Grey, data).unwrap();
            let out = centre_crop(&pixels, Size { width: cw, height: ch }, rounding, Padding::LargerAfter, [0; 3]).unwrap();
            prop_assert_eq!((out.width(), out.height()), (cw, ch));
            let kept = out.data().iter().filter(|&&v| v > 0).count() as u32;
            prop_assert_eq!(kept, w.min(cw) * h.min(ch));
            if cw <= w {
                let offset = centre_offset(w, cw, rounding);
                prop_assert!(offset + cw <= w);
                prop_assert!((i64::from(offset) * 2 - i64::from(w - cw)).abs() <= 1);
            }
        }
    }
}
