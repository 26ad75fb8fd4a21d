//! Alpha as Pillow treats it when it resizes: colours count as much as they can be seen.

use super::view::View;

/// Colour times alpha over 255, rounded as in Pillow's `MULDIV255`; alpha is the last channel.
pub(super) fn premultiply(source: View<'_>, out: &mut Vec<u8>) {
    source.copy_into(out);
    for pixel in out.chunks_exact_mut(source.channels) {
        if let [colour @ .., alpha] = pixel {
            for c in colour {
                let t = u32::from(*c) * u32::from(*alpha) + 128;
                *c = (((t >> 8) + t) >> 8) as u8;
            }
        }
    }
}

/// Colour times 255 over alpha, cut; full and no alpha leave the colour alone.
pub(super) fn unpremultiply(data: &mut [u8], channels: usize) {
    for pixel in data.chunks_exact_mut(channels) {
        if let [colour @ .., alpha @ 1..=254] = pixel {
            for c in colour {
                *c = (255 * u32::from(*c) / u32::from(*alpha)).min(255) as u8;
            }
        }
    }
}
