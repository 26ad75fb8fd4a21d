//! Interleaved 8-bit pixels whose size and data always agree.

use sightline_core::image_spec::Size;

/// What the bytes of a pixel mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channels {
    /// One byte of luminance.
    Grey,
    /// Luminance and alpha.
    GreyAlpha,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha; the colour is not premultiplied.
    Rgba,
}

impl Channels {
    /// Bytes of a pixel.
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }

    /// Whether the last byte of a pixel is alpha.
    pub fn has_alpha(self) -> bool {
        matches!(self, Self::GreyAlpha | Self::Rgba)
    }
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rect {
    /// Columns to the left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    /// All of an image of that size.
    pub fn of(size: Size) -> Self {
        Self {
            left: 0,
            top: 0,
            width: size.width,
            height: size.height,
        }
    }

    /// Columns and rows.
    pub fn size(self) -> Size {
        Size {
            width: self.width,
            height: self.height,
        }
    }

    /// Whether `other` leaves this rectangle nowhere.
    pub fn contains(self, other: Self) -> bool {
        let inside = |start: u32, len: u32, other_start: u32, other_len: u32| {
            let end = |start: u32, len: u32| u64::from(start) + u64::from(len);
            start <= other_start && end(other_start, other_len) <= end(start, len)
        };
        inside(self.left, self.width, other.left, other.width)
            && inside(self.top, self.height, other.top, other.height)
    }
}

/// An image in memory: rows from top to bottom without padding, pixels from left to right. Neither
/// side is ever zero.
#[derive(Clone, PartialEq, Eq)]
pub struct Pixels {
    width: u32,
    height: u32,
    channels: Channels,
    data: Vec<u8>,
}

/// Data that does not make an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PixelsError {
    /// A side is zero.
    #[error("image of {width}x{height} pixels has no content")]
    NoContent {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Width, height and channels do not multiply to the length of the data.
    #[error(
        "{len} bytes of pixels, expected {width}x{height} times {channels} channels",
        channels = channels.count()
    )]
    Length {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes of a pixel.
        channels: Channels,
        /// Bytes given.
        len: usize,
    },
}

impl Pixels {
    /// Checks that `data` holds exactly `width * height` pixels.
    pub fn new(
        width: u32,
        height: u32,
        channels: Channels,
        data: Vec<u8>,
    ) -> Result<Self, PixelsError> {
        if width == 0 || height == 0 {
            return Err(PixelsError::NoContent { width, height });
        }
        let expected = (width as usize)
            .checked_mul(height as usize)
            .and_then(|n| n.checked_mul(channels.count()));
        if expected != Some(data.len()) {
            return Err(PixelsError::Length {
                width,
                height,
                channels,
                len: data.len(),
            });
        }
        Ok(Self {
            width,
            height,
            channels,
            data,
        })
    }

    /// An image of one colour; `colour` holds one byte a channel.
    pub fn filled(
        width: u32,
        height: u32,
        channels: Channels,
        colour: &[u8],
    ) -> Result<Self, PixelsError> {
        let pixels = (width as usize).saturating_mul(height as usize);
        if colour.len() != channels.count() {
            return Err(PixelsError::Length {
                width,
                height,
                channels,
                len: pixels.saturating_mul(colour.len()),
            });
        }
        Self::new(width, height, channels, colour.repeat(pixels))
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Columns and rows.
    pub fn size(&self) -> Size {
        Size {
            width: self.width,
            height: self.height,
        }
    }

    /// What the bytes of a pixel mean.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// All bytes, row by row.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// All bytes, row by row, to change in place.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The bytes, row by row, without copying.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// Bytes of a row.
    pub fn stride(&self) -> usize {
        self.width as usize * self.channels.count()
    }

    /// The rows from top to bottom.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.data.chunks_exact(self.stride())
    }

    /// The mean of each channel.
    pub fn means(&self) -> Vec<f64> {
        let count = self.channels.count();
        let mut sums = vec![0u64; count];
        for pixel in self.data.chunks_exact(count) {
            for (sum, &v) in sums.iter_mut().zip(pixel) {
                *sum += u64::from(v);
            }
        }
        let pixels = (self.data.len() / count) as f64;
        sums.into_iter().map(|sum| sum as f64 / pixels).collect()
    }
}

/// The size and channels; a million numbers help nobody.
impl std::fmt::Debug for Pixels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Pixels({}x{} {:?})",
            self.width, self.height, self.channels
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_another_length_is_refused() {
        assert!(Pixels::new(2, 3, Channels::Rgb, vec![0; 18]).is_ok());
        for len in [0, 17, 19] {
            let error = Pixels::new(2, 3, Channels::Rgb, vec![0; len]).unwrap_err();
            assert!(matches!(error, PixelsError::Length { .. }), "{error}");
        }
        let error = Pixels::new(0, 3, Channels::Rgb, Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "image of 0x3 pixels has no content");
        assert!(Pixels::new(u32::MAX, u32::MAX, Channels::Rgba, vec![0; 4]).is_err());
    }

    #[test]
    fn rows_and_means_follow_the_layout() {
        let pixels = Pixels::new(2, 2, Channels::GreyAlpha, (0..8).collect()).unwrap();
        assert_eq!(pixels.rows().nth(1), Some([4, 5, 6, 7].as_slice()));
        assert_eq!(pixels.means(), [3.0, 4.0]);
        let filled = Pixels::filled(3, 1, Channels::Rgb, &[1, 2, 3]).unwrap();
        assert_eq!(filled.data(), [1, 2, 3, 1, 2, 3, 1, 2, 3]);
        assert!(Pixels::filled(3, 1, Channels::Rgb, &[1, 2]).is_err());
    }
}
