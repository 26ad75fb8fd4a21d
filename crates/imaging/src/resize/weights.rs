//! Resampling filters and the weights they give to the source pixels of each target pixel.
//!
//! Everything is in double precision and in the order of Pillow's `precompute_coeffs`, because the
//! last bits decide how a weight is rounded to fixed point.

use std::f64::consts::PI;

use sightline_core::image_spec::Filter;

/// The weights of one axis: target pixel `i` is the sum of the source pixels of `spans[i]`, each times
/// its weight.
#[derive(Clone, Debug)]
pub(super) struct Axis<W> {
    /// First source pixel and number of them, for each target pixel.
    pub(super) spans: Vec<(usize, usize)>,
    /// Room for weights of one target pixel.
    pub(super) taps: usize,
    /// `taps` weights for each target pixel; only the first ones, as many as its span has, count.
    pub(super) weights: Vec<W>,
}

impl<W: Copy> Axis<W> {
    /// Span and weights of each target pixel.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[W])> {
        self.spans
            .iter()
            .zip(self.weights.chunks_exact(self.taps))
            .map(|(&(first, len), weights)| (first, &weights[..len]))
    }

    /// The source pixels that any target pixel reads.
    pub(super) fn source_range(&self) -> std::ops::Range<usize> {
        let first = self.spans.first().map_or(0, |span| span.0);
        first..self.spans.last().map_or(0, |span| span.0 + span.1)
    }

    /// The same target pixels on a source whose first `rows` pixels are missing.
    pub(super) fn shifted_by(mut self, rows: usize) -> Self {
        for span in &mut self.spans {
            span.0 -= rows;
        }
        self
    }

    pub(super) fn map<V>(self, convert: impl FnMut(W) -> V) -> Axis<V> {
        Axis {
            spans: self.spans,
            taps: self.taps,
            weights: self.weights.into_iter().map(convert).collect(),
        }
    }
}

/// Half of the source pixels that a filter reads when it does not shrink; `None` for nearest.
pub(super) fn support(filter: Filter) -> Option<f64> {
    match filter {
        Filter::Nearest => None,
        Filter::Box => Some(0.5),
        Filter::Bilinear | Filter::Hamming => Some(1.0),
        Filter::Bicubic => Some(2.0),
        Filter::Lanczos => Some(3.0),
    }
}

/// Weights for `target` pixels from the part `region` of `source` pixels, each target pixel's weights
/// summing to 1. `region` is in single precision as in Pillow, the rest in double.
pub(super) fn axis(
    filter: Filter,
    support: f64,
    source: usize,
    region: (f32, f32),
    target: usize,
) -> Axis<f64> {
    let scale = f64::from(region.1 - region.0) / target as f64;
    let stretch = scale.max(1.0);
    let support = support * stretch;
    let taps = support.ceil() as usize * 2 + 1;
    let inverse = 1.0 / stretch;

    let mut spans = Vec::with_capacity(target);
    let mut weights = vec![0.0; taps * target];
    for (i, weights) in weights.chunks_exact_mut(taps).enumerate() {
        let centre = f64::from(region.0) + (i as f64 + 0.5) * scale;
        // Conversions to integers cut towards zero and saturate at both ends.
        let first = ((centre - support + 0.5) as usize).min(source);
        let end = ((centre + support + 0.5) as usize).min(source);
        let len = end.saturating_sub(first).min(taps);
        let mut sum = 0.0;
        for (j, weight) in weights[..len].iter_mut().enumerate() {
            *weight = value(filter, ((j + first) as f64 - centre + 0.5) * inverse);
            sum += *weight;
        }
        if sum != 0.0 {
            for weight in &mut weights[..len] {
                *weight /= sum;
            }
        }
        spans.push((first, len));
    }
    Axis {
        spans,
        taps,
        weights,
    }
}

/// The filter's value at `x`.
fn value(filter: Filter, x: f64) -> f64 {
    match filter {
        Filter::Nearest | Filter::Box => f64::from(x > -0.5 && x <= 0.5),
        Filter::Bilinear => (1.0 - x.abs()).max(0.0),
        Filter::Hamming => {
            let x = x.abs();
            if x == 0.0 {
                return 1.0;
            }
            if x >= 1.0 {
                return 0.0;
            }
            let x = x * PI;
            // The two constants are single precision in the reference.
            x.sin() / x * (f64::from(0.54f32) + f64::from(0.46f32) * x.cos())
        }
        Filter::Bicubic => {
            const A: f64 = -0.5;
            let x = x.abs();
            if x < 1.0 {
                ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
            } else if x < 2.0 {
                (((x - 5.0) * x + 8.0) * x - 4.0) * A
            } else {
                0.0
            }
        }
        Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
        Filter::Lanczos => 0.0,
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILTERS: [Filter; 5] = [
        Filter::Box,
        Filter::Bilinear,
        Filter::Hamming,
        Filter::Bicubic,
        Filter::Lanczos,
    ];

    proptest! {
        #[test]
        fn weights_sum_to_one_and_stay_inside(
            source in 1usize..400, target in 1usize..400, filter in 0usize..5, from in 0.0f32..0.4, to in 0.6f32..1.0,
        ) {
            let filter = FILTERS[filter];
            let region = (from * source as f32, to * source as f32);
            let axis = axis(filter, support(filter).unwrap(), source, region, target);
            prop_assert_eq!(axis.spans.len(), target);
            for (first, weights) in axis.iter() {
                prop_assert!(!weights.is_empty() && first + weights.len() <= source);
                let sum: f64 = weights.iter().sum();
                prop_assert!((sum - 1.0).abs() < 1e-9, "{filter:?}: {sum}");
            }
            prop_assert!(axis.source_range().end <= source);
        }
    }

    #[test]
    fn filters_are_one_at_zero_and_nothing_beyond_their_support() {
        for filter in FILTERS {
            let support = support(filter).unwrap();
            assert!((value(filter, 0.0) - 1.0).abs() < 1e-15, "{filter:?}");
            for x in [support + 1e-9, -support - 1e-9, 17.0] {
                assert!(value(filter, x).abs() < 1e-15, "{filter:?} at {x}");
            }
        }
        assert!((value(Filter::Bicubic, 0.5) - 0.5625).abs() < 1e-15);
        assert!((value(Filter::Bicubic, 1.5) + 0.0625).abs() < 1e-15);
    }
}
