//! Resampling filters and the weights they give to the source pixels of each target pixel.
//!
//! Everything is in double precision and in the order of Pillow's `precompute_coeffs`, because the
//! last bits decide how a weight is rounded to fixed point.

use std::f64::consts::PI;
use std::ops::Range;

use sightline_core::image_spec::Filter;

/// The weights of one axis: target pixel `i` is the sum of the source pixels of `spans[i]`, each times
/// its weight.
#[derive(Clone, Debug, Default)]
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

    /// Takes over another axis in the same memory, with weights of another type.
    pub(super) fn assign<V: Copy>(&mut self, other: &Axis<V>, convert: impl Fn(V) -> W) {
        self.spans.clone_from(&other.spans);
        self.taps = other.taps;
        self.weights.clear();
        self.weights
            .extend(other.weights.iter().map(|&weight| convert(weight)));
    }
}

/// Which pixels an axis has, and what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct AxisSpec {
    pub(super) filter: Filter,
    /// Pixels of the source.
    pub(super) source: u32,
    /// The part of the source that is resized, in single precision as in Pillow.
    pub(super) region: (f32, f32),
    /// Pixels that the region becomes.
    pub(super) target: u32,
    /// First of the target pixels that are wanted, and their number.
    pub(super) window: (u32, u32),
}

impl AxisSpec {
    /// All of the source to all of the target.
    #[cfg(test)]
    pub(super) fn whole(filter: Filter, source: u32, target: u32) -> Self {
        Self {
            filter,
            source,
            region: (0.0, source as f32),
            target,
            window: (0, target),
        }
    }

    /// Whether the axis has to be resampled at all.
    pub(super) fn is_needed(&self) -> bool {
        let kept = (0.0, self.target as f32);
        self.source != self.target || self.region != kept
    }

    /// The source pixels from which a filter makes the window.
    pub(super) fn read(&self) -> Range<u32> {
        let Some(kernel) = Kernel::new(self) else {
            return 0..self.source;
        };
        let (start, count) = self.window;
        let first = kernel.span(start).first;
        let last = kernel.span(start + count.saturating_sub(1));
        first as u32..(last.first + last.len) as u32
    }
}

/// A filter stretched over the source.
struct Kernel {
    filter: Filter,
    /// Pixels of the source.
    source: usize,
    /// Where the region starts.
    start: f64,
    /// Source pixels of a target pixel.
    scale: f64,
    /// How far the filter reaches from its centre, in source pixels.
    support: f64,
    /// Distances in the filter's own units are this times those in source pixels.
    inverse: f64,
}

/// Where the filter lies for one target pixel.
struct Span {
    centre: f64,
    /// The first source pixel.
    first: usize,
    /// Number of source pixels.
    len: usize,
}

impl Kernel {
    /// `None` for nearest neighbour.
    fn new(spec: &AxisSpec) -> Option<Self> {
        let scale = f64::from(spec.region.1 - spec.region.0) / f64::from(spec.target);
        let stretch = scale.max(1.0);
        Some(Self {
            filter: spec.filter,
            source: spec.source as usize,
            start: f64::from(spec.region.0),
            scale,
            support: support(spec.filter)? * stretch,
            inverse: 1.0 / stretch,
        })
    }

    /// The most source pixels that a target pixel has.
    fn taps(&self) -> usize {
        self.support.ceil() as usize * 2 + 1
    }

    fn span(&self, target: u32) -> Span {
        let centre = self.start + (f64::from(target) + 0.5) * self.scale;
        // Conversions to integers cut towards zero and saturate at both ends.
        let first = ((centre - self.support + 0.5) as usize).min(self.source);
        let end = ((centre + self.support + 0.5) as usize).min(self.source);
        Span {
            centre,
            first,
            len: end.saturating_sub(first).min(self.taps()),
        }
    }

    /// Fills in the weights of the pixels of a span.
    fn weigh(&self, span: &Span, weights: &mut [f64]) {
        let mut sum = 0.0;
        for (j, weight) in weights.iter_mut().enumerate() {
            let distance = (j + span.first) as f64 - span.centre + 0.5;
            *weight = value(self.filter, distance * self.inverse);
            sum += *weight;
        }
        if sum != 0.0 {
            for weight in weights {
                *weight /= sum;
            }
        }
    }
}

impl Axis<f64> {
    /// Weights of the target pixels of `spec`, each one's summing to 1; `None` for nearest neighbour, which has none.
    pub(super) fn new(spec: &AxisSpec) -> Option<Self> {
        let mut axis = Self::default();
        axis.fill(spec)?;
        Some(axis)
    }

    /// The same in memory that is already there.
    pub(super) fn fill(&mut self, spec: &AxisSpec) -> Option<()> {
        let kernel = Kernel::new(spec)?;
        let (start, count) = spec.window;
        self.taps = kernel.taps();
        self.spans.clear();
        self.weights.clear();
        self.weights.resize(self.taps * count as usize, 0.0);
        for (target, weights) in (start..).zip(self.weights.chunks_exact_mut(self.taps)) {
            let span = kernel.span(target);
            kernel.weigh(&span, &mut weights[..span.len]);
            self.spans.push((span.first, span.len));
        }
        Some(())
    }

    /// Makes the first source pixel that is read number 0; returns which one it was and how many are read.
    pub(super) fn shift_to_zero(&mut self) -> Range<usize> {
        let start = self.spans.first().map_or(0, |span| span.0);
        let end = self.spans.last().map_or(0, |span| span.0 + span.1);
        for span in &mut self.spans {
            span.0 -= start;
        }
        start..end
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
            source in 1u32..400, target in 1u32..400, filter in 0usize..5, from in 0.0f32..0.4, to in 0.6f32..1.0,
        ) {
            let filter = FILTERS[filter];
            let region = (from * source as f32, to * source as f32);
            let spec = AxisSpec { region, ..AxisSpec::whole(filter, source, target) };
            let mut axis = Axis::new(&spec).unwrap();
            prop_assert_eq!(axis.spans.len(), target as usize);
            for (first, weights) in axis.iter() {
                prop_assert!(!weights.is_empty() && first + weights.len() <= source as usize);
                let sum: f64 = weights.iter().sum();
                prop_assert!((sum - 1.0).abs() < 1e-9, "{filter:?}: {sum}");
            }
            let (first, last) = (axis.spans[0].0, axis.spans[target as usize - 1]);
            prop_assert_eq!(axis.shift_to_zero(), first..last.0 + last.1);
            prop_assert!(axis.spans.iter().all(|span| span.0 + span.1 <= last.0 + last.1 - first));
        }

        #[test]
        fn a_window_has_the_weights_of_the_whole(
            source in 1u32..400, target in 1u32..400, filter in 0usize..5, part in prop::array::uniform2(0.0f64..1.0),
        ) {
            let spec = AxisSpec::whole(FILTERS[filter], source, target);
            let ends = part.map(|share| (share * f64::from(target)) as u32);
            let (from, to) = (ends[0].min(ends[1]), ends[0].max(ends[1]) + 1);
            let whole = Axis::new(&spec).unwrap();
            let window = Axis::new(&AxisSpec { window: (from, to - from), ..spec }).unwrap();
            let kept = whole.iter().skip(from as usize).take(window.spans.len());
            prop_assert!(kept.eq(window.iter()));
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
