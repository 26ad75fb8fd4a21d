//! Decoding JPEG files smaller than they are.

use serde::{Deserialize, Serialize};
use sightline_core::image_spec::Size;

/// How small a JPEG file is decoded. Its blocks of 8 by 8 are transformed into smaller ones, which is faster than
/// decoding all pixels and resizing them, and gives other pixels: those of libjpeg's scaled decoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// As large as it is.
    #[default]
    Full,
    /// Half as wide and half as high, rounded up.
    Half,
    /// A quarter of each side.
    Quarter,
    /// An eighth of each side.
    Eighth,
    /// The smallest of these that is not smaller than the given size, as stored, on either side, as Pillow's
    /// `Image.draft` chooses it; full if there is none.
    AtLeast(Size),
}

impl Scale {
    /// How many pixels of an image of `size` become one, along each side: 1, 2, 4 or 8.
    pub fn divisor(self, size: Size) -> u32 {
        match self {
            Self::Full => 1,
            Self::Half => 2,
            Self::Quarter => 4,
            Self::Eighth => 8,
            Self::AtLeast(least) => {
                let times = |side: u32, least: u32| side.checked_div(least).unwrap_or(side);
                let most = times(size.width, least.width).min(times(size.height, least.height));
                [8, 4, 2].into_iter().find(|&d| d <= most).unwrap_or(1)
            }
        }
    }

    /// What becomes of an image of size `full`.
    pub fn announce(self, full: Size) -> Announced {
        Announced {
            full,
            divisor: self.divisor(full),
        }
    }
}

/// What is known of an image before its pixels are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Size at full scale.
    pub full: Size,
    /// How many of those pixels become one, along each side.
    pub divisor: u32,
}

impl Announced {
    /// Size of the image that is decoded.
    pub fn size(&self) -> Size {
        Size {
            width: self.full.width.div_ceil(self.divisor),
            height: self.full.height.div_ceil(self.divisor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn sides_are_rounded_up() {
        let scaled = [Scale::Full, Scale::Half, Scale::Quarter, Scale::Eighth]
            .map(|scale| scale.announce(size(383, 8)).size());
        let expected = [size(383, 8), size(192, 4), size(96, 2), size(48, 1)];
        assert_eq!(scaled, expected);
    }

    #[test]
    fn the_smallest_scale_that_is_large_enough_is_chosen() {
        let divisor = |least| Scale::AtLeast(least).divisor(size(383, 500));
        assert_eq!(divisor(size(100, 100)), 2);
        assert_eq!(divisor(size(95, 125)), 4);
        assert_eq!(divisor(size(1, 1)), 8);
        assert_eq!(divisor(size(0, 0)), 8);
        assert_eq!(divisor(size(383, 251)), 1);
        assert_eq!(divisor(size(1000, 1)), 1);
    }
}
