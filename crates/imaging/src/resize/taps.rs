//! A resize as numbers: all that a kernel on another device needs to make the same bytes.

use super::nearest::picks;
use super::passes::rounded;
use super::spec::{Arithmetic, Method, ResizeError, ResizeSpec};
use super::tables::{Precision, fixed_bits};
use super::weights::{Axis, AxisSpec};
use crate::Window;

/// Both passes of a resize of bytes, each `u8((half + sum(source * weight)) >> bits)` in 32-bit integers that wrap,
/// where `half` is `1 << (bits - 1)` and `u8` clamps. An axis that is not filtered has one weight of `1 << bits` for
/// each target pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedTaps {
    /// The part of the source that is read; pixels below are counted from its corner.
    pub read: Window,
    /// Whether rows are summed before columns.
    pub vertical_first: bool,
    /// Weights of the columns that make each target column of the window.
    pub across: Taps<i32>,
    /// Fractional bits of those.
    pub across_bits: u32,
    /// Weights of the rows that make each target row of the window.
    pub down: Taps<i32>,
    /// Fractional bits of those.
    pub down_bits: u32,
}

/// Both passes of a resize in single precision, columns first, without rounding between them: what torchvision does with
/// float tensors, and with bytes on a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatTaps {
    /// The part of the source that is read; pixels below are counted from its corner.
    pub read: Window,
    /// Weights of the columns that make each target column of the window.
    pub across: Taps<f32>,
    /// Weights of the rows that make each target row of the window.
    pub down: Taps<f32>,
}

/// The source pixels that each target pixel along an axis is the sum of, and their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taps<W> {
    /// First source pixel and number of them, for each target pixel.
    pub spans: Vec<(u32, u32)>,
    /// Weights from one target pixel to the next.
    pub stride: usize,
    /// `stride` weights for each target pixel; only as many as its span has count.
    pub weights: Vec<W>,
}

/// Fractional bits of an axis that is not filtered.
const COPY_BITS: u32 = 22;

impl<W> Taps<W> {
    /// The weights of a target pixel.
    pub fn of(&self, target: usize) -> &[W] {
        let count = self.spans[target].1 as usize;
        &self.weights[target * self.stride..][..count]
    }

    /// One weight a target pixel; none where there is no source pixel.
    fn single(picked: impl Iterator<Item = Option<u32>>, one: impl Fn() -> W) -> Self {
        let spans: Vec<_> = picked.map(|at| at.map_or((0, 0), |at| (at, 1))).collect();
        Self {
            weights: spans.iter().map(|_| one()).collect(),
            stride: 1,
            spans,
        }
    }

    fn new<V: Copy>(axis: &Axis<V>, convert: impl Fn(V) -> W) -> Self {
        let narrow = |&(first, count): &(usize, usize)| (first as u32, count as u32);
        Self {
            spans: axis.spans.iter().map(narrow).collect(),
            stride: axis.taps,
            weights: axis.weights.iter().map(|&weight| convert(weight)).collect(),
        }
    }
}

impl ResizeSpec {
    /// The resize in fixed point. [`Resizer`](super::Resizer) makes the same bytes.
    pub fn fixed_taps(&self) -> Result<FixedTaps, ResizeError> {
        let read = self.source()?;
        let precision = match self.arithmetic {
            Arithmetic::Pillow(_) => Precision::Fixed,
            Arithmetic::TorchvisionU8 => Precision::Fitted,
        };
        let taps = |axis: &AxisSpec, start: u32| {
            if let Some(exact) = self.filtered(axis) {
                let bits = fixed_bits(axis, precision);
                return (Taps::new(&exact, |weight| rounded(weight, bits)), bits);
            }
            (
                Taps::single(self.picked(axis, start), || 1 << COPY_BITS),
                COPY_BITS,
            )
        };
        let (across, across_bits) = taps(&self.across(), read.left);
        let (down, down_bits) = taps(&self.down(), read.top);
        Ok(FixedTaps {
            read,
            vertical_first: self.vertical_first(),
            across,
            across_bits,
            down,
            down_bits,
        })
    }

    /// The resize in single precision, as [`resize_torchvision_f32`](super::resize_torchvision_f32) does it; the
    /// arithmetic of the specification only says how nearest neighbour steps.
    pub fn float_taps(&self) -> Result<FloatTaps, ResizeError> {
        let read = self.source()?;
        let taps = |axis: &AxisSpec, start: u32| match self.filtered(axis) {
            Some(exact) => Taps::new(&exact, |weight| weight as f32),
            None => Taps::single(self.picked(axis, start), || 1.0),
        };
        Ok(FloatTaps {
            read,
            across: taps(&self.across(), read.left),
            down: taps(&self.down(), read.top),
        })
    }

    /// The weights of an axis that is filtered, which count pixels from the first that is read.
    fn filtered(&self, axis: &AxisSpec) -> Option<Axis<f64>> {
        if self.method() != Method::Filter || !axis.is_needed() {
            return None;
        }
        let mut exact = Axis::new(axis)?;
        exact.shift_to_zero();
        Some(exact)
    }

    /// The source pixel that each target pixel of an axis that is not filtered equals.
    fn picked<'a>(
        &self,
        axis: &'a AxisSpec,
        start: u32,
    ) -> Box<dyn Iterator<Item = Option<u32>> + 'a> {
        match self.method() {
            Method::Pick(steps) => {
                Box::new(picks(axis, steps).map(move |at| at.map(|at| at - start)))
            }
            Method::Copy | Method::Filter => Box::new((0..axis.window.1).map(Some)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The two passes as the fields of [`FixedTaps`] say them.
    pub(crate) fn resized(taps: &FixedTaps, source: &[u8], channels: usize) -> Vec<u8> {
        let (width, height) = (taps.read.width as usize, taps.read.height as usize);
        let across = |data: &[u8], width: usize| -> Vec<u8> {
            let rows = data.chunks_exact(width * channels);
            rows.flat_map(|row| {
                (0..taps.across.spans.len() * channels).map(move |i| {
                    let first = taps.across.spans[i / channels].0 as usize;
                    let at = |k: usize| row[(first + k) * channels + i % channels];
                    sum(taps.across.of(i / channels), taps.across_bits, at)
                })
            })
            .collect()
        };
        let down = |data: &[u8], width: usize| -> Vec<u8> {
            let len = width * channels;
            (0..taps.down.spans.len() * len)
                .map(|i| {
                    let first = taps.down.spans[i / len].0 as usize;
                    let at = |k: usize| data[(first + k) * len + i % len];
                    sum(taps.down.of(i / len), taps.down_bits, at)
                })
                .collect()
        };
        assert_eq!(source.len(), width * height * channels);
        if taps.vertical_first {
            across(&down(source, width), width)
        } else {
            down(&across(source, width), taps.across.spans.len())
        }
    }

    fn sum(weights: &[i32], bits: u32, at: impl Fn(usize) -> u8) -> u8 {
        let mut sum = 1i32 << (bits - 1);
        for (k, weight) in weights.iter().enumerate() {
            sum = sum.wrapping_add(i32::from(at(k)).wrapping_mul(*weight));
        }
        (sum >> bits).clamp(0, 255) as u8
    }
}
