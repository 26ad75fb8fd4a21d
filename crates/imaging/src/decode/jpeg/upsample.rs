//! Chroma upsampling as libjpeg does it: by a triangle filter where there are two pixels for each sample
//! along rows, columns or both, else by repetition.

use super::bands::Band;
use super::layout::Part;

/// Rows shorter than this are repeated and not filtered along the row.
const SHORTEST: usize = 3;

/// Makes full rows of samples, with room for the work.
#[derive(Default)]
pub(super) struct Upsampler {
    /// Sums of two rows, weighted 3 to 1.
    sums: Vec<u16>,
    row: Vec<u8>,
}

impl Upsampler {
    /// Row `y` of the picture, as far as `band` holds it.
    #[inline(always)]
    pub(super) fn row<'a>(&'a mut self, part: &Part, band: &'a Band, y: usize) -> &'a [u8] {
        let mixes_along = part.mixes && part.samples.0 >= SHORTEST;
        match (part.across, part.down) {
            (1, 1) => return band.row(y),
            (2, 1) if mixes_along => {
                self.resize(2 * band.row(y).len());
                double(band.row(y), &mut self.row);
            }
            (1, 2) if part.mixes => {
                self.sum(part, band, y);
                self.resize(self.sums.len());
                // Rows above their sample are rounded down, rows below it up.
                let bias = 1 + (y % 2) as u16;
                for (out, &sum) in self.row.iter_mut().zip(&self.sums) {
                    *out = ((sum + bias) >> 2) as u8;
                }
            }
            (2, 2) if mixes_along => {
                self.sum(part, band, y);
                self.resize(2 * self.sums.len());
                double_sums(&self.sums, &mut self.row);
            }
            (across, down) => {
                let row = band.row(y / down);
                self.row.clear();
                self.row
                    .extend(row.iter().flat_map(|&v| std::iter::repeat_n(v, across)));
            }
        }
        &self.row
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) {
        self.row.resize(len, 0);
    }

    /// Three times the sample row of `y` plus the one on the other side of `y`; the first and the last
    /// row are their own neighbours.
    #[inline(always)]
    fn sum(&mut self, part: &Part, band: &Band, y: usize) {
        let near = y / 2;
        let far = if y.is_multiple_of(2) {
            near.saturating_sub(1)
        } else {
            (near + 1).min(part.samples.1 - 1)
        };
        let (near, far) = (band.row(near), band.row(far));
        self.sums.resize(near.len(), 0);
        for ((sum, &near), &far) in self.sums.iter_mut().zip(near).zip(far) {
            *sum = 3 * u16::from(near) + u16::from(far);
        }
    }
}

/// Two pixels of each of at least two samples: three quarters of it and one quarter of the neighbour.
#[inline(always)]
fn double(samples: &[u8], out: &mut [u8]) {
    let n = samples.len();
    let (pairs, _) = out.as_chunks_mut::<2>();
    let quarter =
        |near: u8, far: u8, bias: u16| ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
    let neighbours = samples.iter().zip(&samples[2..]);
    for ((pair, &at), (&left, &right)) in pairs[1..].iter_mut().zip(&samples[1..]).zip(neighbours) {
        *pair = [quarter(at, left, 1), quarter(at, right, 2)];
    }
    pairs[0] = [samples[0], quarter(samples[0], samples[1], 2)];
    pairs[n - 1] = [quarter(samples[n - 1], samples[n - 2], 1), samples[n - 1]];
}

/// The same on sums of two rows, which count four times as much.
#[inline(always)]
fn double_sums(sums: &[u16], out: &mut [u8]) {
    let n = sums.len();
    let (pairs, _) = out.as_chunks_mut::<2>();
    let quarter = |near: u16, far: u16, bias: u16| ((3 * near + far + bias) >> 4) as u8;
    let neighbours = sums.iter().zip(&sums[2..]);
    for ((pair, &at), (&left, &right)) in pairs[1..].iter_mut().zip(&sums[1..]).zip(neighbours) {
        *pair = [quarter(at, left, 8), quarter(at, right, 7)];
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
    fn rows_at_the_edges_are_their_own_neighbours() {
        let part = Part {
            h: 1,
            v: 1,
            side: 2,
            samples: (2, 2),
            across: 1,
            down: 2,
            mixes: true,
            ..Part::default()
        };
        let mut band = Band::default();
        band.begin(&part, &(0..1), 0);
        band.block(0, 0).0.copy_from_slice(&[10, 20, 50, 60]);
        let mut upsampler = Upsampler::default();
        let rows = [[10, 20], [20, 30], [40, 50], [50, 60]];
        for (y, expected) in rows.iter().enumerate() {
            assert_eq!(upsampler.row(&part, &band, y), expected);
        }
    }
}
