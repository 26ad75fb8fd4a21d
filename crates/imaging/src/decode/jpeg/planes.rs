//! Planes of samples to pixels: chroma upsampling by libjpeg's triangle filter, then colour in its
//! 16-bit fixed point.

use sightline_core::image_spec::Size;

use super::super::{DecodeError, malformed};
use super::FORMAT;
use super::header::Colour;

/// The samples of all components.
pub(super) struct Planes {
    pub(super) size: Size,
    pub(super) planes: Vec<Plane>,
}

/// The samples of one component.
pub(super) struct Plane {
    pub(super) samples: Vec<u8>,
    pub(super) stride: usize,
    /// Samples in a row and rows that are real; the rest is padding of blocks.
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// Pixels for each sample, along rows and columns.
    pub(super) across: usize,
    pub(super) down: usize,
}

/// Pixels whose colour is computed together.
const BLOCK: usize = 32;

impl Planes {
    /// One byte a pixel.
    pub(super) fn grey(&self) -> Result<Vec<u8>, DecodeError> {
        let [plane] = self.planes.as_slice() else {
            return Err(unexpected());
        };
        let width = self.size.width as usize;
        let rows = plane.samples.chunks_exact(plane.stride);
        Ok(rows
            .take(self.size.height as usize)
            .flat_map(|row| &row[..width])
            .copied()
            .collect())
    }

    /// Three bytes a pixel.
    pub(super) fn rgb(&self, colour: Colour) -> Result<Vec<u8>, DecodeError> {
        let [first, second, third] = self.planes.as_slice() else {
            return Err(unexpected());
        };
        let width = self.size.width as usize;
        let mut rows = [(); 3].map(|()| Rows::default());
        let mut out = vec![0; width * self.size.height as usize * 3];
        for (y, out) in out.chunks_exact_mut(width * 3).enumerate() {
            let [a, b, c] = &mut rows;
            let (a, b, c) = (a.row(first, y), b.row(second, y), c.row(third, y));
            let (out, _) = out.as_chunks_mut::<3>();
            if colour == Colour::YCbCr {
                convert(a, b, c, out);
            } else {
                for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                    *out = [a, b, c];
                }
            }
        }
        Ok(out)
    }

    /// Four bytes a pixel, 0 for no ink. Files hold inks inverted, as Adobe began to.
    pub(super) fn inks(&self, colour: Colour) -> Result<Vec<u8>, DecodeError> {
        let [first, second, third, black] = self.planes.as_slice() else {
            return Err(unexpected());
        };
        let width = self.size.width as usize;
        let mut rows = [(); 4].map(|()| Rows::default());
        let mut rgb = vec![[0; 3]; width];
        let mut out = Vec::with_capacity(width * self.size.height as usize * 4);
        for y in 0..self.size.height as usize {
            let [a, b, c, k] = &mut rows;
            let (a, b, c) = (a.row(first, y), b.row(second, y), c.row(third, y));
            let k = k.row(black, y);
            if colour == Colour::Ycck {
                // The complement of the colour is the stored ink, and its complement the ink.
                convert(a, b, c, &mut rgb);
                out.extend(
                    rgb.iter()
                        .zip(k)
                        .flat_map(|(&[r, g, b], &k)| [r, g, b, 255 - k]),
                );
            } else {
                let stored = a.iter().zip(b).zip(c).zip(k).take(width);
                out.extend(
                    stored.flat_map(|(((&c, &m), &y), &k)| [c, m, y, k].map(|ink| 255 - ink)),
                );
            }
        }
        Ok(out)
    }
}

fn unexpected() -> DecodeError {
    malformed(
        FORMAT,
        "another number of components than the colour space has",
    )
}

/// YCbCr to RGB. The constants 1.402, 1.772 and -0.71414 are split into a whole part and a fraction that
/// fits 16 bits, which changes nothing in the sums and lets them be vectorised.
fn convert(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]) {
    const HALF: i32 = 1 << 15;
    let pixel = |y: u8, cb: u8, cr: u8| {
        let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
        let red = y + cr + ((26_345 * cr + HALF) >> 16);
        let green = y - cr + ((18_734 * cr - 22_554 * cb + HALF) >> 16);
        let blue = y + 2 * cb + ((-14_942 * cb + HALF) >> 16);
        [red, green, blue].map(|v| v.clamp(0, 255) as u8)
    };
    let width = out.len();
    let (y, cb, cr) = (&y[..width], &cb[..width], &cr[..width]);
    let (y_blocks, y_rest) = y.as_chunks::<BLOCK>();
    let (cb_blocks, cb_rest) = cb.as_chunks::<BLOCK>();
    let (cr_blocks, cr_rest) = cr.as_chunks::<BLOCK>();
    let (out_blocks, out_rest) = out.as_chunks_mut::<BLOCK>();
    for (((out, y), cb), cr) in out_blocks
        .iter_mut()
        .zip(y_blocks)
        .zip(cb_blocks)
        .zip(cr_blocks)
    {
        // Channel by channel first: that is what vector registers can do.
        let mut colours = [[0; BLOCK]; 3];
        for i in 0..BLOCK {
            let [r, g, b] = pixel(y[i], cb[i], cr[i]);
            colours[0][i] = r;
            colours[1][i] = g;
            colours[2][i] = b;
        }
        for (i, out) in out.iter_mut().enumerate() {
            *out = [colours[0][i], colours[1][i], colours[2][i]];
        }
    }
    for (((out, &y), &cb), &cr) in out_rest.iter_mut().zip(y_rest).zip(cb_rest).zip(cr_rest) {
        *out = pixel(y, cb, cr);
    }
}

/// Makes full rows of a plane, with room for the work.
#[derive(Default)]
struct Rows {
    /// Sums of two rows, weighted 3 to 1.
    sums: Vec<u16>,
    row: Vec<u8>,
}

impl Rows {
    /// Row `y` of the picture, at least as long as its width.
    fn row<'a>(&'a mut self, plane: &'a Plane, y: usize) -> &'a [u8] {
        match (plane.across, plane.down) {
            (1, 1) => &plane.samples[y * plane.stride..(y + 1) * plane.stride],
            (2, 1) if plane.columns > 2 => {
                self.row.resize(plane.columns * 2, 0);
                double(plane.row(y), &mut self.row);
                &self.row
            }
            (1, 2) => {
                // Rows above their sample are rounded down, rows below it up.
                let bias = 1 + (y % 2) as u16;
                self.sum(plane, y);
                self.row.clear();
                self.row
                    .extend(self.sums.iter().map(|&sum| ((sum + bias) >> 2) as u8));
                &self.row
            }
            (2, 2) if plane.columns > 2 => {
                self.sum(plane, y);
                self.row.resize(plane.columns * 2, 0);
                double_sums(&self.sums, &mut self.row);
                &self.row
            }
            (across, down) => {
                self.row.clear();
                let row = plane.row(y / down);
                self.row
                    .extend(row.iter().flat_map(|&v| std::iter::repeat_n(v, across)));
                &self.row
            }
        }
    }

    /// Three times the sample row of `y` plus the one on the other side of `y`; the first and the last
    /// row are their own neighbours.
    fn sum(&mut self, plane: &Plane, y: usize) {
        let near = y / 2;
        let far = if y.is_multiple_of(2) {
            near.saturating_sub(1)
        } else {
            (near + 1).min(plane.rows - 1)
        };
        self.sums.clear();
        self.sums.extend(
            plane
                .row(near)
                .iter()
                .zip(plane.row(far))
                .map(|(&near, &far)| 3 * u16::from(near) + u16::from(far)),
        );
    }
}

impl Plane {
    /// The real samples of a row.
    fn row(&self, y: usize) -> &[u8] {
        &self.samples[y * self.stride..][..self.columns]
    }
}

/// Two pixels of each sample: three quarters of it and one quarter of the neighbour.
fn double(samples: &[u8], out: &mut [u8]) {
    let (pairs, _) = out.as_chunks_mut::<2>();
    let n = samples.len();
    let quarter =
        |near: u8, far: u8, bias: u16| ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
    for (pair, three) in pairs[1..].iter_mut().zip(samples.windows(3)) {
        *pair = [
            quarter(three[1], three[0], 1),
            quarter(three[1], three[2], 2),
        ];
    }
    pairs[0] = [samples[0], quarter(samples[0], samples[1], 2)];
    pairs[n - 1] = [quarter(samples[n - 1], samples[n - 2], 1), samples[n - 1]];
}

/// The same on sums of two rows, which count four times as much.
fn double_sums(sums: &[u16], out: &mut [u8]) {
    let (pairs, _) = out.as_chunks_mut::<2>();
    let n = sums.len();
    let quarter = |near: u16, far: u16, bias: u16| ((3 * near + far + bias) >> 4) as u8;
    for (pair, three) in pairs[1..].iter_mut().zip(sums.windows(3)) {
        *pair = [
            quarter(three[1], three[0], 8),
            quarter(three[1], three[2], 7),
        ];
    }
    pairs[0] = [((4 * sums[0] + 8) >> 4) as u8, quarter(sums[0], sums[1], 7)];
    pairs[n - 1] = [
        quarter(sums[n - 1], sums[n - 2], 8),
        ((4 * sums[n - 1] + 7) >> 4) as u8,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upsampling_keeps_ends_and_mixes_neighbours() {
        let mut out = [0; 6];
        double(&[0, 100, 40], &mut out);
        assert_eq!(out, [0, 25, 75, 85, 55, 40]);
        double_sums(&[0, 400, 160], &mut out);
        assert_eq!(out, [0, 25, 75, 85, 55, 40]);
    }

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
            let mut out = vec![[0; 3]; 256];
            convert(&[100; 256], &[cb; 256], &cr, &mut out);
            for (&cr, &out) in cr.iter().zip(&out) {
                assert_eq!(out, whole(100, cb.into(), cr.into()), "{cb} {cr}");
            }
        }
    }

    #[test]
    fn rows_at_the_edges_are_their_own_neighbours() {
        let plane = Plane {
            samples: vec![10, 20, 30, 50, 60, 70],
            stride: 3,
            columns: 3,
            rows: 2,
            across: 1,
            down: 2,
        };
        let mut rows = Rows::default();
        assert_eq!(rows.row(&plane, 0), [10, 20, 30]);
        assert_eq!(rows.row(&plane, 1), [20, 30, 40]);
        assert_eq!(rows.row(&plane, 2), [40, 50, 60]);
        assert_eq!(rows.row(&plane, 3), [50, 60, 70]);
    }
}
