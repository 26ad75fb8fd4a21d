//! The hashes themselves.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sightline_core::image_spec::{Filter, Size};

use super::dct::{Dct, N};
use crate::resize::{PassOrder, resize_pillow};
use crate::{Channels, Pixels};

/// The distance up to which two images are said to be alike when nobody says otherwise. Copies at another scale or
/// quality of JPEG are 0 to 4 bits apart; of two different photographs some 32 bits differ, and below 10 is rare.
pub const ALIKE: u32 = 4;

/// Rows and columns of the bits of a hash.
const SIDE: usize = 8;

/// The perceptual hash of an image: 64 bits, row by row, the first being the highest. Shown, parsed and serialised as 16
/// hexadecimal digits, as `str()` of an `ImageHash` in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageHash(pub u64);

impl ImageHash {
    /// In how many bits two hashes differ, 0 to 64.
    pub fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }

    fn of_bits(bits: impl Iterator<Item = bool>) -> Self {
        Self(bits.fold(0, |hash, bit| hash << 1 | u64::from(bit)))
    }
}

impl fmt::Display for ImageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A text that is not 16 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a perceptual hash (16 hexadecimal digits)")]
pub struct ParseHashError(String);

impl FromStr for ImageHash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hash = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let hash = u64::from_str_radix(text, 16).ok().filter(|_| is_hash);
        hash.map(Self)
            .ok_or_else(|| ParseHashError(text.chars().take(80).collect()))
    }
}

impl Serialize for ImageHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The hash of the lowest 8 × 8 waves of the image, each compared with their median: `imagehash.phash`. It stays the same
/// under changes of scale, brightness and quality, and is the one to look for duplicates with.
pub fn phash(pixels: &Pixels) -> ImageHash {
    static DCT: LazyLock<Dct> = LazyLock::new(Dct::new);
    let small = small(pixels, N, N);
    // Columns first, of which all are needed, then the rows of the lowest frequencies.
    let mut rows = [[0.0; N]; SIDE];
    for x in 0..N {
        let mut column: [f64; N] = std::array::from_fn(|y| f64::from(small[y * N + x]));
        DCT.transform(&mut column);
        for (row, &value) in rows.iter_mut().zip(&column) {
            row[x] = value;
        }
    }
    let mut waves = [0.0; SIDE * SIDE];
    for (row, waves) in rows.iter_mut().zip(waves.chunks_exact_mut(SIDE)) {
        DCT.transform(row);
        waves.copy_from_slice(&row[..SIDE]);
    }
    let mut sorted = waves;
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    // As NumPy takes a mean.
    let median = f64::midpoint(sorted[middle - 1], sorted[middle]);
    ImageHash::of_bits(waves.iter().map(|&wave| wave > median))
}

/// Whether each pixel of the image at 9 × 8 is lighter than the one to its left: `imagehash.dhash`.
pub fn dhash(pixels: &Pixels) -> ImageHash {
    let small = small(pixels, SIDE + 1, SIDE);
    let rows = small.chunks_exact(SIDE + 1);
    ImageHash::of_bits(rows.flat_map(|row| row.windows(2).map(|pair| pair[1] > pair[0])))
}

/// Whether each pixel of the image at 8 × 8 is lighter than their mean: `imagehash.average_hash`.
pub fn average_hash(pixels: &Pixels) -> ImageHash {
    let small = small(pixels, SIDE, SIDE);
    let sum: u32 = small.iter().copied().map(u32::from).sum();
    let count = small.len() as u32;
    ImageHash::of_bits(small.iter().map(|&v| u32::from(v) * count > sum))
}

/// Luminance at a small size, as Pillow's `convert("L")` and `resize(…, LANCZOS)` make it.
fn small(pixels: &Pixels, width: usize, height: usize) -> Vec<u8> {
    let data = luminance(pixels);
    let grey = Pixels::new(pixels.width(), pixels.height(), Channels::Grey, data)
        .expect("one byte for each pixel of an image");
    let size = Size {
        width: width as u32,
        height: height as u32,
    };
    resize_pillow(&grey, size, Filter::Lanczos, PassOrder::Adaptive, None)
        .expect("a whole image to a few pixels, which is within the limits")
        .into_data()
}

/// The luminance of each pixel by ITU-R 601-2, in Pillow's integers; alpha is passed over.
fn luminance(pixels: &Pixels) -> Vec<u8> {
    let data = pixels.data();
    let luma = |r: u8, g: u8, b: u8| {
        let sum = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7471 * u32::from(b);
        ((sum + 0x8000) >> 16) as u8
    };
    match pixels.channels() {
        Channels::Grey => data.to_vec(),
        Channels::GreyAlpha => data.as_chunks().0.iter().map(|&[v, _]| v).collect(),
        Channels::Rgb => {
            let pixels = data.as_chunks().0.iter();
            pixels.map(|&[r, g, b]| luma(r, g, b)).collect()
        }
        Channels::Rgba => {
            let pixels = data.as_chunks().0.iter();
            pixels.map(|&[r, g, b, _]| luma(r, g, b)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_sixteen_digits() {
        let hash = ImageHash(0x0123_4567_89ab_cdef);
        assert_eq!(hash.to_string(), "0123456789abcdef");
        assert_eq!("0123456789abcdef".parse::<ImageHash>().unwrap(), hash);
        assert_eq!(
            serde_json::to_string(&hash).unwrap(),
            "\"0123456789abcdef\""
        );
        for text in ["", "123", "+123456789abcdef", "0123456789abcdeg"] {
            assert!(text.parse::<ImageHash>().is_err(), "{text}");
        }
        assert_eq!(hash.distance(ImageHash(!hash.0)), 64);
    }

    #[test]
    fn a_ramp_is_lighter_on_its_right() {
        let data = (0..64 * 32).map(|i| (i % 64 * 4) as u8).collect();
        let ramp = Pixels::new(64, 32, Channels::Grey, data).unwrap();
        assert_eq!(dhash(&ramp), ImageHash(u64::MAX));
        assert_eq!(average_hash(&ramp), ImageHash(0x0f0f_0f0f_0f0f_0f0f));
    }

    #[test]
    fn colours_without_waves_have_one_hash() {
        for channels in [
            Channels::Grey,
            Channels::GreyAlpha,
            Channels::Rgb,
            Channels::Rgba,
        ] {
            let colour = [77, 77, 77, 255];
            let image = Pixels::filled(5, 3, channels, &colour[..channels.count()]).unwrap();
            assert_eq!(phash(&image), ImageHash(1 << 63), "{channels:?}");
        }
    }
}
