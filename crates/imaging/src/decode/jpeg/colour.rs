//! Rows of samples to rows of pixels, in libjpeg's 16-bit fixed point.

use super::vector::{PIXELS, Vector};

/// YCbCr to RGB.
#[inline(always)]
pub(super) fn rgb_of_ycbcr(vector: impl Vector, [y, cb, cr]: [&[u8]; 3], out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<3>();
    let width = out.len();
    let (y_groups, y_rest) = y[..width].as_chunks::<PIXELS>();
    let (cb_groups, cb_rest) = cb[..width].as_chunks::<PIXELS>();
    let (cr_groups, cr_rest) = cr[..width].as_chunks::<PIXELS>();
    let (out_groups, out_rest) = out.as_chunks_mut::<PIXELS>();
    let groups = y_groups.iter().zip(cb_groups).zip(cr_groups);
    for (out, ((y, cb), cr)) in out_groups.iter_mut().zip(groups) {
        // Channel by channel first: that is what vector registers can do.
        let mut channels = [[0; PIXELS]; 3];
        for i in 0..PIXELS {
            let [r, g, b] = rgb(y[i], cb[i], cr[i]);
            channels[0][i] = r;
            channels[1][i] = g;
            channels[2][i] = b;
        }
        vector.interleave(&channels, out);
    }
    let rest = y_rest.iter().zip(cb_rest).zip(cr_rest);
    for (out, ((&y, &cb), &cr)) in out_rest.iter_mut().zip(rest) {
        *out = rgb(y, cb, cr);
    }
}

/// The constants 1.402, 1.772 and -0.71414 are split into a whole part and a fraction that fits 16 bits;
/// the products are shifted by one bit less and then halved upwards. Neither changes a result, and both
/// let vector registers hold more.
#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let half_of = |v: i16, times: i32| {
        let doubled = (i32::from(2 * v) * times) >> 16;
        (doubled as i16 + 1) >> 1
    };
    let [y, cb, cr] = [i16::from(y), i16::from(cb) - 128, i16::from(cr) - 128];
    let red = y + cr + half_of(cr, 26_345);
    let mixed = 18_734 * i32::from(cr) - 22_554 * i32::from(cb);
    let green = y - cr + ((mixed + HALF) >> 16) as i16;
    let blue = y + 2 * cb + half_of(cb, -14_942);
    [red, green, blue].map(|v| v.clamp(0, 255) as u8)
}

/// Samples of three components as they are.
#[inline(always)]
pub(super) fn interleave(vector: impl Vector, [a, b, c]: [&[u8]; 3], out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<3>();
    let width = out.len();
    let (a_groups, a_rest) = a[..width].as_chunks::<PIXELS>();
    let (b_groups, b_rest) = b[..width].as_chunks::<PIXELS>();
    let (c_groups, c_rest) = c[..width].as_chunks::<PIXELS>();
    let (out_groups, out_rest) = out.as_chunks_mut::<PIXELS>();
    let groups = a_groups.iter().zip(b_groups).zip(c_groups);
    for (out, ((&a, &b), &c)) in out_groups.iter_mut().zip(groups) {
        vector.interleave(&[a, b, c], out);
    }
    let rest = a_rest.iter().zip(b_rest).zip(c_rest);
    for (out, ((&a, &b), &c)) in out_rest.iter_mut().zip(rest) {
        *out = [a, b, c];
    }
}

/// CMYK to inks, 0 for none. Files hold inks inverted, as Adobe began to.
#[inline(always)]
pub(super) fn inks_of_cmyk([c, m, y, black]: [&[u8]; 4], out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<4>();
    let rows = c.iter().zip(m).zip(y).zip(black);
    for (out, (((&c, &m), &y), &k)) in out.iter_mut().zip(rows) {
        *out = [c, m, y, k].map(|stored| 255 - stored);
    }
}

/// YCCK to inks: the complement of the colour is the stored ink, and its complement the ink.
#[inline(always)]
pub(super) fn inks_of_ycck([y, cb, cr, black]: [&[u8]; 4], out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<4>();
    let rows = y.iter().zip(cb).zip(cr).zip(black);
    for (out, (((&y, &cb), &cr), &k)) in out.iter_mut().zip(rows) {
        let [c, m, y] = rgb(y, cb, cr);
        *out = [c, m, y, 255 - k];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::jpeg::vector::Portable;

    #[test]
    fn split_constants_equal_the_published_ones() {
        let whole = |y: i32, cb: i32, cr: i32| {
            let (cb, cr) = (cb - 128, cr - 128);
            let half = 1 << 15;
            [
                y + ((91_881 * cr + half) >> 16),
                y + ((-22_554 * cb - 46_802 * cr + half) >> 16),
                y + ((116_130 * cb + half) >> 16),
            ]
            .map(|v| v.clamp(0, 255) as u8)
        };
        for cb in 0..=255u8 {
            let cr: Vec<u8> = (0..=255).collect();
            let mut out = vec![0; 3 * 256];
            rgb_of_ycbcr(Portable, [&[100; 256], &[cb; 256], &cr], &mut out);
            for (&cr, &out) in cr.iter().zip(out.as_chunks::<3>().0) {
                assert_eq!(out, whole(100, cb.into(), cr.into()), "{cb} {cr}");
            }
        }
    }

    #[test]
    fn inks_are_inverted() {
        let mut out = [0; 8];
        inks_of_cmyk([&[1, 2], &[3, 4], &[5, 6], &[7, 8]], &mut out);
        assert_eq!(out, [254, 252, 250, 248, 253, 251, 249, 247]);
        inks_of_ycck([&[100], &[128], &[128], &[200]], &mut out);
        assert_eq!(out[..4], [100, 100, 100, 55]);
    }
}
