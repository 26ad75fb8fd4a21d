//! Kernels on feature maps `[images, height, width, channels]`: with the channels last, all that belongs to one
//! position lies side by side, so each loop over channels is one over neighbours.
//!
//! Sums over a window have a fixed order: the bias, then the window's rows from the top, each from the left.

use std::ops::Range;

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::rows::{Pieces, Room, Rows};
use super::{activated, for_rows};
use crate::activation::Activation;

/// Rows that are summed before they are added to the total, so that the mean of a large map does not lose the
/// small ones.
const PARTIAL_ROWS: usize = 64;

/// A square window that slides over a map, and what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sliding {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    /// Side of the window.
    pub(crate) side: usize,
    pub(crate) stride: usize,
    /// Rows above and columns to the left of the map that the window covers at its first place.
    pub(crate) before: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
}

impl Sliding {
    /// Image, row and column of an output position.
    #[inline(always)]
    fn place(&self, position: usize) -> (usize, usize, usize) {
        let (line, column) = (position / self.out_width, position % self.out_width);
        (line / self.out_height, line % self.out_height, column)
    }

    /// The row of the map under the window's row `ky`, if it lies on the map.
    #[inline(always)]
    fn row(&self, out_row: usize, ky: usize) -> Option<usize> {
        let row = (out_row * self.stride + ky).checked_sub(self.before)?;
        (row < self.height).then_some(row)
    }

    /// The window's columns `from..to` that lie on the map, and the map's column under the first of them.
    #[inline(always)]
    fn columns(&self, out_column: usize) -> (usize, usize, usize) {
        let left = out_column * self.stride;
        let from = self.before.saturating_sub(left).min(self.side);
        let to = (self.width + self.before).saturating_sub(left);
        let to = to.clamp(from, self.side);
        (from, to, (left + from).saturating_sub(self.before))
    }

    /// Calls `f` for each place of the window that lies on the map, with its number and the place of its first
    /// channel in the map.
    #[inline(always)]
    fn covered(&self, position: usize, mut f: impl FnMut(usize, usize)) {
        let (image, out_row, out_column) = self.place(position);
        let (from, to, column) = self.columns(out_column);
        for ky in 0..self.side {
            let Some(row) = self.row(out_row, ky) else {
                continue;
            };
            let line = (image * self.height + row) * self.width + column;
            for kx in from..to {
                f(ky * self.side + kx, (line + kx - from) * self.channels);
            }
        }
    }
}

/// What a window sees at each of its places, as rows `[side * side * channels]`, zeros where it lies beside the map.
pub(crate) struct Windows<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) sliding: &'a Sliding,
}

impl Rows for Windows<'_> {
    #[inline(always)]
    fn write(&self, row: usize, range: Range<usize>, to: &mut [f32]) {
        let sliding = self.sliding;
        let (image, out_row, out_column) = sliding.place(row);
        let (from, until, column) = sliding.columns(out_column);
        let (from, until) = (from * sliding.channels, until * sliding.channels);
        let line_len = sliding.side * sliding.channels;
        let mut done = 0;
        while done < to.len() {
            // The part of a row of the window that is asked for.
            let at = range.start + done;
            let (ky, start) = (at / line_len, at % line_len);
            let len = (line_len - start).min(to.len() - done);
            let seen = from.clamp(start, start + len)..until.clamp(start, start + len);
            match sliding.row(out_row, ky) {
                Some(row) if seen.start < seen.end => {
                    let line_start = (image * sliding.height + row) * sliding.width + column;
                    let x = &self.x[line_start * sliding.channels + seen.start - from..];
                    let (before, behind) = (seen.start - start, seen.end - start);
                    if before > 0 {
                        to[done..done + before].fill(0.0);
                    }
                    copy_some(&mut to[done + before..], x, seen.len());
                    if behind < len {
                        to[done + behind..done + len].fill(0.0);
                    }
                }
                _ => to[done..done + len].fill(0.0),
            }
            done += len;
        }
    }

    #[inline(always)]
    fn pieces<'p>(&'p self, rows: Range<usize>, _len: usize, room: &'p mut Room) -> Pieces<'p> {
        let sliding = self.sliding;
        let channels = sliding.channels;
        let covered = |places: usize| places.saturating_sub(1) * sliding.stride + sliding.side;
        let is_inside = sliding.before == 0
            && covered(sliding.out_height) <= sliding.height
            && covered(sliding.out_width) <= sliding.width;
        room.starts.clear();
        let (elements, width) = if is_inside {
            room.starts.extend(rows.map(|row| {
                let (image, row, column) = sliding.place(row);
                let line = image * sliding.height + row * sliding.stride;
                (line * sliding.width + column * sliding.stride) * channels
            }));
            (self.x, sliding.width)
        } else {
            let width = covered(sliding.out_width);
            self.write_covered(rows, width, room);
            (&*room.elements, width)
        };
        Pieces {
            elements,
            starts: &room.starts,
            count: sliding.side,
            len: sliding.side * channels,
            stride: width * channels,
        }
    }
}

impl Windows<'_> {
    /// Writes the lines of the map that windows at the places `rows` cover, with zeros around it and `width` wide, and where each
    /// of them begins.
    fn write_covered(&self, rows: Range<usize>, width: usize, room: &mut Room) {
        let sliding = self.sliding;
        let channels = sliding.channels;
        let (first_image, first_row, first_column) = sliding.place(rows.start);
        let (last_image, last_row, _) = sliding.place(rows.end - 1);
        room.elements.clear();
        let mut first_column = first_column;
        for image in first_image..=last_image {
            let from = if image == first_image { first_row } else { 0 };
            let to = if image == last_image {
                last_row
            } else {
                sliding.out_height - 1
            };
            let start = room.elements.len();
            let lines = (to - from) * sliding.stride + sliding.side;
            room.elements.resize(start + lines * width * channels, 0.0);
            // The part of a line of the map that is seen.
            let seen = width.saturating_sub(sliding.before).min(sliding.width) * channels;
            let written = room.elements[start..].chunks_exact_mut(width * channels);
            for (number, line) in written.enumerate() {
                let row = (from * sliding.stride + number).checked_sub(sliding.before);
                let Some(row) = row.filter(|&row| row < sliding.height) else {
                    continue;
                };
                let x = &self.x[(image * sliding.height + row) * sliding.width * channels..];
                if seen > 0 {
                    line[sliding.before * channels..][..seen].copy_from_slice(&x[..seen]);
                }
            }
            for row in 0..=to - from {
                let line = start + row * sliding.stride * width * channels;
                let places = std::mem::take(&mut first_column)..sliding.out_width;
                let places = places.map(|column| line + column * sliding.stride * channels);
                room.starts.extend(places);
            }
        }
        room.starts.truncate(rows.len());
    }
}

/// Copies `len` elements, and where they are few what lies behind them to where something is written next: short pieces are done
/// before a call has begun.
#[inline(always)]
fn copy_some(to: &mut [f32], from: &[f32], len: usize) {
    const STEP: usize = 8;
    const FEW: usize = 40;
    if len > FEW {
        to[..len].copy_from_slice(&from[..len]);
        return;
    }
    let mut done = 0;
    while done < len {
        let steps = (
            to[done..].first_chunk_mut::<STEP>(),
            from[done..].first_chunk::<STEP>(),
        );
        let (Some(to), Some(from)) = steps else {
            to[done..len].copy_from_slice(&from[done..len]);
            return;
        };
        *to = *from;
        done += STEP;
    }
}

/// Writes all rows of windows, each as wide as `width`.
pub(crate) fn write_windows(out: &mut [f32], width: usize, windows: &Windows<'_>) {
    for_rows(out, width, |rows, first| {
        for (row, number) in rows.chunks_exact_mut(width).zip(first..) {
            windows.write(number, 0..width, row);
        }
    });
}

/// Adds what windows see, rows as those of [`Windows`], to where they see it.
pub(crate) fn put_back(x: &mut [f32], seen: &[f32], sliding: &Sliding) {
    let map = sliding.height * sliding.width * sliding.channels;
    let places = sliding.out_height * sliding.out_width;
    let row = sliding.side * sliding.side * sliding.channels;
    if map == 0 || places * row == 0 {
        return;
    }
    let images = x.par_chunks_exact_mut(map);
    images
        .zip(seen.par_chunks_exact(places * row))
        .for_each(|(x, seen)| {
            for (place, seen) in seen.chunks_exact(row).enumerate() {
                sliding.covered(place, |tap, start| {
                    let to = &mut x[start..start + sliding.channels];
                    let from = &seen[tap * sliding.channels..][..sliding.channels];
                    to.iter_mut().zip(from).for_each(|(sum, v)| *sum += v);
                });
            }
        });
}

/// A filter of its own for each channel: `taps` `[side * side, channels]`, `bias` `[channels]`.
pub(crate) fn depthwise(
    out: &mut [f32],
    x: &[f32],
    (taps, bias): (&[f32], &[f32]),
    sliding: &Sliding,
    activation: Option<Activation>,
) {
    for_rows(out, sliding.channels, |rows, first| {
        Arch::new().dispatch(Depthwise {
            rows,
            first,
            filters: Filters { x, taps, bias },
            sliding,
        });
        if let Some(activation) = activation {
            activated(rows, activation);
        }
    });
}

/// What the map `x` and the filters' `taps` get of the gradient of what [`depthwise`] makes of them. The taps' is summed
/// image by image, whatever the number of threads.
pub(crate) fn depthwise_gradient(
    (of_x, of_taps): (&mut [f32], &mut [f32]),
    gradient: &[f32],
    (x, taps): (&[f32], &[f32]),
    sliding: &Sliding,
) {
    let map = sliding.height * sliding.width * sliding.channels;
    let out = sliding.out_height * sliding.out_width * sliding.channels;
    if map * out == 0 {
        return;
    }
    let images = of_x.par_chunks_exact_mut(map).zip(x.par_chunks_exact(map));
    let each = images.zip(gradient.par_chunks_exact(out));
    let each = each.map(|((of_x, x), gradient)| {
        let mut of_taps = vec![0.0f32; taps.len()];
        Arch::new().dispatch(DepthwiseGradient {
            of_x,
            of_taps: &mut of_taps,
            gradient,
            x,
            taps,
            sliding,
        });
        of_taps
    });
    for image in each.collect::<Vec<_>>() {
        of_taps
            .iter_mut()
            .zip(&image)
            .for_each(|(sum, v)| *sum += v);
    }
}

/// Of one image.
struct DepthwiseGradient<'a> {
    of_x: &'a mut [f32],
    of_taps: &'a mut [f32],
    gradient: &'a [f32],
    x: &'a [f32],
    taps: &'a [f32],
    sliding: &'a Sliding,
}

impl NullaryFnOnce for DepthwiseGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let channels = self.sliding.channels;
        for (place, gradient) in self.gradient.chunks_exact(channels).enumerate() {
            self.sliding.covered(place, |tap, at| {
                let taps = &self.taps[tap * channels..][..channels];
                let of_x = &mut self.of_x[at..][..channels];
                for ((of_x, tap), gradient) in of_x.iter_mut().zip(taps).zip(gradient) {
                    *of_x += tap * gradient;
                }
                let x = &self.x[at..][..channels];
                let of_taps = &mut self.of_taps[tap * channels..][..channels];
                for ((of_tap, x), gradient) in of_taps.iter_mut().zip(x).zip(gradient) {
                    *of_tap += x * gradient;
                }
            });
        }
    }
}

struct Depthwise<'a> {
    rows: &'a mut [f32],
    first: usize,
    filters: Filters<'a>,
    sliding: &'a Sliding,
}

impl NullaryFnOnce for Depthwise<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let channels = self.sliding.channels;
        let mut covered = Vec::with_capacity(self.sliding.side * self.sliding.side);
        for (i, row) in self.rows.chunks_exact_mut(channels).enumerate() {
            covered.clear();
            self.sliding.covered(self.first + i, |tap, at| {
                covered.push((tap * channels, at));
            });
            // Wide groups of channels stay in registers while the window is walked.
            let mut done = 0;
            while done + 32 <= channels {
                self.filters.sum::<32>(row, done, &covered);
                done += 32;
            }
            while done + 8 <= channels {
                self.filters.sum::<8>(row, done, &covered);
                done += 8;
            }
            while done < channels {
                self.filters.sum::<1>(row, done, &covered);
                done += 1;
            }
        }
    }
}

struct Filters<'a> {
    x: &'a [f32],
    taps: &'a [f32],
    bias: &'a [f32],
}

impl Filters<'_> {
    /// The channels from `start` on of one output position; `covered` holds the places of taps and of values.
    #[inline(always)]
    fn sum<const N: usize>(&self, row: &mut [f32], start: usize, covered: &[(usize, usize)]) {
        let mut sums = [0.0f32; N];
        sums.copy_from_slice(&self.bias[start..start + N]);
        for &(tap, at) in covered {
            let taps = &self.taps[tap + start..tap + start + N];
            let values = &self.x[at + start..at + start + N];
            for ((sum, &tap), &value) in sums.iter_mut().zip(taps).zip(values) {
                *sum += tap * value;
            }
        }
        row[start..start + N].copy_from_slice(&sums);
    }
}

/// What a window's values become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// Their maximum; what lies beside the map does not count.
    Max,
    /// Their sum divided by the window's area.
    Mean,
}

/// Pools each channel by itself.
pub(crate) fn pool(out: &mut [f32], x: &[f32], sliding: &Sliding, pool: Pool) {
    for_rows(out, sliding.channels, |rows, first| {
        Arch::new().dispatch(Pooling {
            rows,
            first,
            x,
            sliding,
            pool,
        });
    });
}

struct Pooling<'a> {
    rows: &'a mut [f32],
    first: usize,
    x: &'a [f32],
    sliding: &'a Sliding,
    pool: Pool,
}

impl NullaryFnOnce for Pooling<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let channels = self.sliding.channels;
        let area = (self.sliding.side * self.sliding.side) as f32;
        for (i, row) in self.rows.chunks_exact_mut(channels).enumerate() {
            let position = self.first + i;
            match self.pool {
                Pool::Max => {
                    row.fill(f32::NEG_INFINITY);
                    self.sliding.covered(position, |_, at| {
                        let values = &self.x[at..at + channels];
                        for (most, &value) in row.iter_mut().zip(values) {
                            // A NaN, once met, stays.
                            let is_more = value > *most || value.is_nan();
                            *most = if is_more { value } else { *most };
                        }
                    });
                }
                Pool::Mean => {
                    row.fill(0.0);
                    self.sliding.covered(position, |_, at| {
                        let values = &self.x[at..at + channels];
                        for (sum, &value) in row.iter_mut().zip(values) {
                            *sum += value;
                        }
                    });
                    for sum in row.iter_mut() {
                        *sum /= area;
                    }
                }
            }
        }
    }
}

/// What the map `x` gets of the gradient of `out`, which [`pool`] made of it; added to `of_x`. Of equal maxima the first has it.
pub(crate) fn pool_gradient(
    of_x: &mut [f32],
    gradient: &[f32],
    (x, out): (&[f32], &[f32]),
    sliding: &Sliding,
    pool: Pool,
) {
    let map = sliding.height * sliding.width * sliding.channels;
    let pooled = sliding.out_height * sliding.out_width * sliding.channels;
    if map * pooled == 0 {
        return;
    }
    let images = of_x.par_chunks_exact_mut(map).zip(x.par_chunks_exact(map));
    let outs = gradient
        .par_chunks_exact(pooled)
        .zip(out.par_chunks_exact(pooled));
    images.zip(outs).for_each(|((of_x, x), (gradient, out))| {
        Arch::new().dispatch(PoolingGradient {
            of_x,
            gradient,
            x,
            out,
            sliding,
            pool,
        });
    });
}

/// Of one image.
struct PoolingGradient<'a> {
    of_x: &'a mut [f32],
    gradient: &'a [f32],
    x: &'a [f32],
    out: &'a [f32],
    sliding: &'a Sliding,
    pool: Pool,
}

impl NullaryFnOnce for PoolingGradient<'_> {
    type Output = ();

    #[inline(always)]
    #[expect(clippy::float_cmp, reason = "the maximum is one of the values")]
    fn call(self) {
        let channels = self.sliding.channels;
        let share = 1.0 / (self.sliding.side * self.sliding.side) as f32;
        // What no place of the window had yet.
        let mut left = vec![0.0f32; channels];
        let places = self.gradient.chunks_exact(channels);
        for (place, (gradient, out)) in places.zip(self.out.chunks_exact(channels)).enumerate() {
            match self.pool {
                Pool::Max => {
                    left.copy_from_slice(gradient);
                    self.sliding.covered(place, |_, at| {
                        let x = &self.x[at..][..channels];
                        let of_x = &mut self.of_x[at..][..channels];
                        let each = of_x.iter_mut().zip(&mut left).zip(x).zip(out);
                        for (((of_x, left), x), most) in each {
                            let taken = if x == most { *left } else { 0.0 };
                            *of_x += taken;
                            *left -= taken;
                        }
                    });
                }
                Pool::Mean => self.sliding.covered(place, |_, at| {
                    let of_x = &mut self.of_x[at..][..channels];
                    for (of_x, gradient) in of_x.iter_mut().zip(gradient) {
                        *of_x += gradient * share;
                    }
                }),
            }
        }
    }
}

/// The mean over the `positions` of each image; `out` `[images, channels]`.
pub(crate) fn mean_positions(out: &mut [f32], x: &[f32], positions: usize, channels: usize) {
    if channels == 0 || positions == 0 {
        return;
    }
    let images = x.par_chunks_exact(positions * channels);
    out.par_chunks_exact_mut(channels)
        .zip(images)
        .for_each(|(mean, image)| Arch::new().dispatch(MeanPositions { mean, image }));
}

struct MeanPositions<'a> {
    mean: &'a mut [f32],
    image: &'a [f32],
}

impl NullaryFnOnce for MeanPositions<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let channels = self.mean.len();
        let mut partial = vec![0.0; channels];
        self.mean.fill(0.0);
        for rows in self.image.chunks(PARTIAL_ROWS * channels) {
            partial.fill(0.0);
            for row in rows.chunks_exact(channels) {
                for (sum, &value) in partial.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            for (sum, &value) in self.mean.iter_mut().zip(&partial) {
                *sum += value;
            }
        }
        let positions = (self.image.len() / channels) as f32;
        for sum in self.mean.iter_mut() {
            *sum /= positions;
        }
    }
}

/// `x *= factor` for the `positions` of each image; `factors` `[images, channels]`.
pub(crate) fn scale_channels(x: &mut [f32], factors: &[f32], positions: usize, channels: usize) {
    for_rows(x, channels, |rows, first| {
        for (i, row) in rows.chunks_exact_mut(channels).enumerate() {
            let image = (first + i) / positions;
            let factors = &factors[image * channels..(image + 1) * channels];
            for (value, &factor) in row.iter_mut().zip(factors) {
                *value *= factor;
            }
        }
    });
}

/// The sums over the `positions` of each image of products of two maps; `out` `[images, channels]`.
pub(crate) fn sum_products(
    out: &mut [f32],
    (a, b): (&[f32], &[f32]),
    positions: usize,
    channels: usize,
) {
    if channels == 0 || positions == 0 {
        return;
    }
    let image = positions * channels;
    let images = a.par_chunks_exact(image).zip(b.par_chunks_exact(image));
    out.par_chunks_exact_mut(channels)
        .zip(images)
        .for_each(|(sums, (a, b))| {
            sums.fill(0.0);
            let rows = a.chunks_exact(channels).zip(b.chunks_exact(channels));
            for (a, b) in rows {
                for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                    *sum += a * b;
                }
            }
        });
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use super::*;

    /// A 3 x 4 map of two channels: `10 * row + column`, and the same plus 100.
    fn map() -> Vec<f32> {
        let cells = (0..3).flat_map(|row| (0..4).map(move |column| (10 * row + column) as f32));
        cells.flat_map(|v| [v, v + 100.0]).collect()
    }

    fn sliding(side: usize, stride: usize, before: usize, out: (usize, usize)) -> Sliding {
        Sliding {
            height: 3,
            width: 4,
            channels: 2,
            side,
            stride,
            before,
            out_height: out.0,
            out_width: out.1,
        }
    }

    /// All rows of the windows, taken in stretches of `step` elements.
    fn patches(out: &mut [f32], x: &[f32], sliding: &Sliding, step: usize) {
        let windows = Windows { x, sliding };
        let width = sliding.side * sliding.side * sliding.channels;
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            for (part, out) in out.chunks_mut(step).enumerate() {
                windows.write(row, part * step..part * step + out.len(), out);
            }
        }
    }

    #[test]
    fn patches_hold_zeros_beside_the_map() {
        for step in 1..=8 {
            patches_of_two_by_two(step);
        }
    }

    fn patches_of_two_by_two(step: usize) {
        // Padding of one before and, by the size of the output, of two behind.
        let mut out = vec![f32::NAN; 3 * 3 * 8];
        patches(&mut out, &map(), &sliding(2, 2, 1, (3, 3)), step);
        let patch = |row: usize, column: usize| out[(row * 3 + column) * 8..][..8].to_vec();
        assert_eq!(patch(0, 0), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0]);
        assert_eq!(
            patch(1, 1),
            [11.0, 111.0, 12.0, 112.0, 21.0, 121.0, 22.0, 122.0]
        );
        assert_eq!(patch(0, 2), [0.0, 0.0, 0.0, 0.0, 3.0, 103.0, 0.0, 0.0]);
        assert_eq!(patch(2, 0), [0.0; 8]);
    }

    #[test]
    fn pieces_are_what_is_written() {
        // Three images.
        let x: Vec<f32> = (0..3)
            .flat_map(|_| map())
            .enumerate()
            .map(|(i, v)| v + i as f32)
            .collect();
        let mut room = Room::default();
        for side in 1..=5 {
            for stride in 1..=4 {
                for (before, after) in [(0, 0), (0, 1), (1, 1), (2, 0), (1, 4), (6, 0), (7, 9)] {
                    let places = |size: usize| {
                        (size + before + after)
                            .checked_sub(side)
                            .map(|free| free / stride + 1)
                    };
                    let (Some(height), Some(width)) = (places(3), places(4)) else {
                        continue;
                    };
                    let sliding = sliding(side, stride, before, (height, width));
                    let windows = Windows {
                        x: &x,
                        sliding: &sliding,
                    };
                    let (count, len) = (3 * height * width, side * side * 2);
                    let mut written = vec![f32::NAN; len];
                    for first in 0..count {
                        let until = (first + 1 + first * 7 % count).min(count);
                        let pieces = windows.pieces(first..until, len, &mut room);
                        assert_eq!(pieces.starts.len(), until - first);
                        assert_eq!(pieces.count * pieces.len, len);
                        for (row, &start) in (first..until).zip(pieces.starts) {
                            windows.write(row, 0..len, &mut written);
                            for (number, written) in written.chunks_exact(pieces.len).enumerate() {
                                let found = &pieces.elements[start + number * pieces.stride..];
                                assert_eq!(&found[..pieces.len], written, "{sliding:?} {row}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_window_larger_than_the_map_covers_all_of_it() {
        let mut out = vec![f32::NAN; 7 * 7 * 2];
        patches(&mut out, &map(), &sliding(7, 1, 2, (1, 1)), 20);
        let (rows, columns) = (2..5, 2..6);
        for (i, pair) in out.chunks_exact(2).enumerate() {
            let (row, column) = (i / 7, i % 7);
            let on_map = rows.contains(&row) && columns.contains(&column);
            let value = if on_map {
                (10 * (row - 2) + column - 2) as f32
            } else {
                0.0
            };
            assert_eq!(pair[0], value, "{row} {column}");
        }
    }

    #[test]
    fn every_group_of_channels_is_filtered() {
        // 43 channels: a wide group, a narrow one and three single ones.
        let channels = 43;
        let shape = Sliding {
            height: 1,
            width: 3,
            channels,
            side: 3,
            stride: 1,
            before: 1,
            out_height: 1,
            out_width: 3,
        };
        let x: Vec<f32> = (0..3 * channels).map(|i| i as f32).collect();
        let taps: Vec<f32> = (0..9 * channels).map(|i| (i % 7) as f32).collect();
        let bias: Vec<f32> = (0..channels).map(|i| i as f32 * 0.5).collect();
        let mut out = vec![f32::NAN; 3 * channels];
        depthwise(&mut out, &x, (&taps, &bias), &shape, None);
        for column in 0..3usize {
            for (c, &bias) in bias.iter().enumerate() {
                let mut sum = bias;
                for kx in 0..3 {
                    if let Some(from) = (column + kx).checked_sub(1).filter(|&from| from < 3) {
                        sum += taps[(3 + kx) * channels + c] * x[from * channels + c];
                    }
                }
                assert_eq!(out[column * channels + c], sum, "{column} {c}");
            }
        }
    }

    #[test]
    fn pools_and_means() {
        let mut out = vec![f32::NAN; 2 * 2 * 2];
        let negative: Vec<f32> = map().iter().map(|v| v - 500.0).collect();
        pool(&mut out, &negative, &sliding(3, 2, 1, (2, 2)), Pool::Max);
        // The zeros beside the map are no values of it.
        let expected = [11.0, 111.0, 13.0, 113.0, 21.0, 121.0, 23.0, 123.0];
        assert_eq!(out, expected.map(|v| v - 500.0));

        let mut out = vec![f32::NAN; 4];
        pool(&mut out, &map(), &sliding(2, 2, 0, (1, 2)), Pool::Mean);
        assert_eq!(out, [5.5, 105.5, 7.5, 107.5]);

        let mut out = vec![f32::NAN; 2];
        mean_positions(&mut out, &map(), 12, 2);
        assert_eq!(out, [11.5, 111.5]);

        let mut x = vec![1.0; 2 * 3 * 2];
        scale_channels(&mut x, &[1.0, 2.0, 3.0, 4.0], 3, 2);
        assert_eq!(
            x,
            [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 3.0, 4.0]
        );
    }

    #[test]
    fn a_nan_is_the_maximum_of_its_windows() {
        let mut x = map();
        x[0] = f32::NAN;
        let mut out = vec![0.0; 8];
        pool(&mut out, &x, &sliding(3, 2, 1, (2, 2)), Pool::Max);
        assert!(out[0].is_nan() && !out[2].is_nan());
    }
}
