//! `INTER_AREA` where both axes shrink: the mean of the area that a target pixel covers.
//!
//! This is what downloading spends its time on after decoding, so the loops are arranged for vector
//! registers: sums run over the bytes of a row, and colour pixels are added four floats at a time, of two rows together where
//! there is AVX2.

#[cfg(target_arch = "x86_64")]
mod avx2;

use super::axis::{Axis, round_u8};
use crate::Pixels;

/// Shrinks pixels of `C` channels; both scales are 1 or more.
pub(super) fn shrink<const C: usize>(pixels: &Pixels, x: Axis, y: Axis) -> Vec<u8> {
    match (x.whole(), y.whole()) {
        (Some(2), Some(2)) if C != 2 => halve::<C>(pixels),
        // Sums of larger blocks would not fit; OpenCV's overflow at half of that.
        (Some(columns), Some(rows)) if columns.saturating_mul(rows) <= 1 << 24 => {
            whole::<C>(pixels, columns, rows)
        }
        _ if C == 3 => colour::<C>(pixels, x, y),
        _ => fractional::<C, C>(pixels, x, y),
    }
}

/// Any other scale of pixels of three channels.
fn colour<const C: usize>(pixels: &Pixels, x: Axis, y: Axis) -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    if let Some(data) = avx2::shrink(pixels, x, y) {
        return data;
    }
    fractional::<C, 4>(pixels, x, y)
}

/// Blocks of 2x2 pixels, for which OpenCV has a loop of its own that rounds half up; images of two
/// channels do not take it.
fn halve<const C: usize>(pixels: &Pixels) -> Vec<u8> {
    let stride = pixels.stride();
    let mut data = vec![0; pixels.data().len() / 4];
    let mut sums = vec![0u16; stride];
    for (out, rows) in data
        .chunks_exact_mut(stride / 2)
        .zip(pixels.data().chunks_exact(2 * stride))
    {
        let (upper, lower) = rows.split_at(stride);
        for ((sum, &a), &b) in sums.iter_mut().zip(upper).zip(lower) {
            *sum = u16::from(a) + u16::from(b) + 1;
        }
        for (out, pair) in out.chunks_exact_mut(C).zip(sums.chunks_exact(2 * C)) {
            let (left, right) = pair.split_at(C);
            for ((out, &a), &b) in out.iter_mut().zip(left).zip(right) {
                *out = ((a + b) >> 2) as u8;
            }
        }
    }
    data
}

/// Blocks of `columns` x `rows` pixels: exact sums, one product, one rounding.
fn whole<const C: usize>(pixels: &Pixels, columns: usize, rows: usize) -> Vec<u8> {
    let stride = pixels.stride();
    let factor = 1.0 / (columns * rows) as f32;
    let mut data = Vec::with_capacity(pixels.data().len() / (columns * rows));
    let mut sums = vec![0u32; stride];
    for block in pixels.data().chunks_exact(stride * rows) {
        let (first, rest) = block.split_at(stride);
        for (sum, &value) in sums.iter_mut().zip(first) {
            *sum = value.into();
        }
        for row in rest.chunks_exact(stride) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += u32::from(value);
            }
        }
        for block in sums.chunks_exact(columns * C) {
            let mut totals = [0u32; C];
            for pixel in block.chunks_exact(C) {
                for (total, &sum) in totals.iter_mut().zip(pixel) {
                    *total += sum;
                }
            }
            data.extend(totals.map(|total| round_u8(total as f32 * factor)));
        }
    }
    data
}

/// Any other scale: each target pixel covers whole source pixels and parts of two more an axis. Sums
/// are in single precision, along the rows first, in the order of the source.
///
/// Pixels are summed in `LANES` floats at a time. Where that is more than `C`, the last lanes hold what
/// comes after a pixel and are dropped at the end: three channels alone do not fill a vector register.
fn fractional<const C: usize, const LANES: usize>(pixels: &Pixels, x: Axis, y: Axis) -> Vec<u8> {
    let (columns, rows) = (Cover::new(x), Cover::new(y));
    let mut data = Vec::with_capacity(x.target * y.target * C);
    let mut source = RowSums::<C, LANES>::new(pixels, &columns);
    let mut totals = vec![[0f32; LANES]; x.target];
    for (first, weights) in rows.cells() {
        for (k, &weight) in weights.iter().enumerate() {
            let sums = source.row(first + k);
            if k == 0 {
                for (total, sum) in totals
                    .as_flattened_mut()
                    .iter_mut()
                    .zip(sums.as_flattened())
                {
                    *total = sum * weight;
                }
            } else {
                for (total, sum) in totals
                    .as_flattened_mut()
                    .iter_mut()
                    .zip(sums.as_flattened())
                {
                    *total += sum * weight;
                }
            }
        }
        for total in &totals {
            let rounded = total.map(round_u8);
            data.extend_from_slice(&rounded[..C]);
        }
    }
    data
}

/// Source rows that are summed together, so that each weight is read once for all of them; with four
/// the sums no longer stay in registers.
const BATCH: usize = 2;

/// Sums along source rows, a batch of rows at a time.
struct RowSums<'a, const C: usize, const LANES: usize> {
    pixels: &'a Pixels,
    columns: &'a Cover,
    /// The last row, with room behind it for the lanes that are dropped.
    last: Vec<u8>,
    /// First row that `sums` holds.
    start: Option<usize>,
    sums: [Vec<[f32; LANES]>; BATCH],
}

impl<'a, const C: usize, const LANES: usize> RowSums<'a, C, LANES> {
    fn new(pixels: &'a Pixels, columns: &'a Cover) -> Self {
        let mut last = pixels.data()[pixels.data().len() - pixels.stride()..].to_vec();
        last.resize(pixels.stride() + LANES - C, 0);
        Self {
            pixels,
            columns,
            last,
            start: None,
            sums: std::array::from_fn(|_| vec![[0.0; LANES]; columns.cells.len()]),
        }
    }

    /// Sums of row `y`. Rows are asked for from top to bottom, the last of a target row once more for
    /// the next.
    fn row(&mut self, y: usize) -> &[[f32; LANES]] {
        let start = match self.start {
            Some(start) if (start..start + BATCH).contains(&y) => start,
            _ => {
                self.sum(std::array::from_fn(|i| y + i));
                self.start = Some(y);
                y
            }
        };
        &self.sums[y - start]
    }

    /// Sums the rows `batch`; what lies below the image is the last row again.
    fn sum(&mut self, batch: [usize; BATCH]) {
        let stride = self.pixels.stride();
        let rows = batch.map(|y| {
            let row = (y + 1 < self.pixels.height() as usize)
                .then(|| &self.pixels.data()[y * stride..][..stride + LANES - C]);
            row.unwrap_or(&self.last)
        });
        for (i, (first, weights)) in self.columns.cells().enumerate() {
            let covered = rows.map(|row| &row[first * C..][..weights.len() * C + LANES - C]);
            let mut sums = [[0f32; LANES]; BATCH];
            for (k, &weight) in weights.iter().enumerate() {
                for (sum, row) in sums.iter_mut().zip(covered) {
                    for (sum, &value) in sum.iter_mut().zip(&row[k * C..][..LANES]) {
                        *sum += f32::from(value) * weight;
                    }
                }
            }
            for (out, sum) in self.sums.iter_mut().zip(sums) {
                out[i] = sum;
            }
        }
    }
}

/// Which source indices each target index covers, and with which weights.
#[derive(Debug)]
struct Cover {
    /// First source index, and where its weights end in `weights`.
    cells: Vec<(usize, usize)>,
    weights: Vec<f32>,
}

impl Cover {
    fn new(axis: Axis) -> Self {
        /// Smaller parts of a pixel are left out.
        const NEGLIGIBLE: f64 = 1e-3;
        let mut cells = Vec::with_capacity(axis.target);
        let mut weights = Vec::with_capacity(axis.source + axis.target);
        for i in 0..axis.target {
            let start = i as f64 * axis.scale;
            let end = start + axis.scale;
            let width = axis.scale.min(axis.source as f64 - start);
            // Source pixels from `inner` up to `outer` lie inside, `outer` at the end in part.
            let outer = end.floor().min(axis.source as f64 - 1.0);
            let inner = start.ceil().min(outer);
            let mut first = inner;
            if inner - start > NEGLIGIBLE {
                first -= 1.0;
                weights.push(((inner - start) / width) as f32);
            }
            let inside = (outer - inner) as usize;
            weights.extend(std::iter::repeat_n((1.0 / width) as f32, inside));
            if end - outer > NEGLIGIBLE {
                weights.push(((end - outer).min(1.0).min(width) / width) as f32);
            }
            cells.push((first as usize, weights.len()));
        }
        Self { cells, weights }
    }

    /// First source index and weights of each target index.
    fn cells(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let mut start = 0;
        self.cells.iter().map(move |&(first, end)| {
            let weights = &self.weights[start..end];
            start = end;
            (first, weights)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sightline_core::Seed;

    use super::*;
    use crate::Channels;

    #[cfg(target_arch = "x86_64")]
    proptest! {
        #[test]
        fn four_rows_at_a_time_are_as_one_by_one(
            (width, height) in (1u32..90, 1u32..90),
            shares in (0.0..1.0f64, 0.0..1.0f64),
            seed in 0u64..1 << 40,
            extreme in any::<bool>(),
        ) {
            let side = |of: u32, share: f64| ((f64::from(of) * share) as u32).max(1);
            let (x, y) = (
                Axis::new(width, side(width, shares.0)),
                Axis::new(height, side(height, shares.1)),
            );
            let mut rng = Seed(seed).rng();
            // Sums of the largest values are where rounding would go beyond a byte.
            let data = (0..width as usize * height as usize * 3)
                .map(|_| if extreme { 255 * (rng.bits() as u8 & 1) } else { rng.bits() as u8 })
                .collect();
            let pixels = Pixels::new(width, height, Channels::Rgb, data).unwrap();
            if let Some(fast) = avx2::shrink(&pixels, x, y) {
                prop_assert_eq!(fast, fractional::<3, 4>(&pixels, x, y));
            }
        }
    }

    #[test]
    fn every_source_pixel_is_covered_once() {
        for (source, target) in [(7, 3), (640, 341), (451, 96), (49, 1), (1000, 999), (5, 4)] {
            let cover = Cover::new(Axis::new(source, target));
            let mut shares = vec![0f64; source as usize];
            let scale = f64::from(source) / f64::from(target);
            for (first, weights) in cover.cells() {
                let sum: f64 = weights.iter().copied().map(f64::from).sum();
                assert!((sum - 1.0).abs() < 3e-3, "{source} to {target}: {sum}");
                for (share, &weight) in shares[first..].iter_mut().zip(weights) {
                    *share += f64::from(weight) * scale;
                }
            }
            for share in shares {
                assert!((share - 1.0).abs() < 3e-3, "{source} to {target}: {share}");
            }
        }
    }
}
