//! EXIF orientation: the eight ways a camera can be held.

use sightline_core::image_spec::Size;

use crate::Pixels;

/// The orientation that an EXIF block asks for, 1 to 8; 1 when it says nothing, something else, or is
/// broken. JPEG's prefix may stand before the TIFF header, as some writers put it into WebP as well.
pub fn orientation_of(exif: &[u8]) -> u8 {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    image::metadata::Orientation::from_exif_chunk(exif)
        .map_or(1, image::metadata::Orientation::to_exif)
}

/// Turns an image upright that was stored with `orientation`; values outside 1 to 8 mean 1.
pub fn upright(pixels: Pixels, orientation: u8) -> Pixels {
    if !(2..=8).contains(&orientation) {
        return pixels;
    }
    let (size, channels) = (pixels.size(), pixels.channels());
    let (data, size) = upright_samples(pixels.data(), size, channels.count(), orientation);
    Pixels::new(size.width, size.height, channels, data).expect("turning keeps every pixel")
}

/// The size that an image stored with `orientation` has upright.
pub fn upright_size(size: Size, orientation: u8) -> Size {
    let turned = Size {
        width: size.height,
        height: size.width,
    };
    if (5..=8).contains(&orientation) {
        turned
    } else {
        size
    }
}

/// The same on any samples, `count` of them a pixel.
pub(crate) fn upright_samples<T: Copy>(
    source: &[T],
    size: Size,
    count: usize,
    orientation: u8,
) -> (Vec<T>, Size) {
    let (w, h) = (size.width as usize, size.height as usize);
    let to = upright_size(size, orientation);
    let mut out = Vec::with_capacity(source.len());
    for y in 0..to.height as usize {
        for x in 0..to.width as usize {
            let (from_x, from_y) = match orientation {
                2 => (w - 1 - x, y),
                3 => (w - 1 - x, h - 1 - y),
                4 => (x, h - 1 - y),
                5 => (y, x),
                6 => (y, h - 1 - x),
                7 => (w - 1 - y, h - 1 - x),
                8 => (w - 1 - y, x),
                _ => (x, y),
            };
            let at = (from_y * w + from_x) * count;
            out.extend_from_slice(&source[at..at + count]);
        }
    }
    (out, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channels;

    /// What the file stores under each orientation when the scene is `ab / cd / ef`, two wide.
    const STORED: [(u8, u32, &[u8]); 8] = [
        (1, 2, b"abcdef"),
        (2, 2, b"badcfe"),
        (3, 2, b"fedcba"),
        (4, 2, b"efcdab"),
        (5, 3, b"acebdf"),
        (6, 3, b"bdface"),
        (7, 3, b"fdbeca"),
        (8, 3, b"ecafdb"),
    ];

    #[test]
    fn every_orientation_shows_the_same_scene() {
        for (orientation, width, stored) in STORED {
            let pixels = Pixels::new(width, 6 / width, Channels::Grey, stored.to_vec()).unwrap();
            let scene = upright(pixels, orientation);
            assert_eq!((scene.width(), scene.height()), (2, 3), "{orientation}");
            assert_eq!(scene.data(), b"abcdef", "{orientation}");
        }
    }

    #[test]
    fn values_out_of_range_change_nothing() {
        let pixels = Pixels::new(2, 1, Channels::Grey, vec![1, 2]).unwrap();
        for orientation in [0, 9, 255] {
            assert_eq!(upright(pixels.clone(), orientation), pixels);
        }
    }

    #[test]
    fn exif_blocks_are_read_in_both_byte_orders() {
        let little = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        assert_eq!((orientation_of(little), orientation_of(big)), (6, 6));
        assert_eq!(orientation_of(&[b"Exif\0\0", &little[..]].concat()), 6);
        for len in 0..little.len() {
            let orientation = orientation_of(&little[..len]);
            assert!(orientation == 1 || orientation == 6);
        }
    }
}
