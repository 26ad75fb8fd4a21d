//! How the values of a metric are spread.

/// Bins of a histogram.
pub(super) const BINS: usize = 20;

/// A value nearer to 0 is written as 0.0000, and is one: where no n-gram matches, the BLEU of the COCO
/// caption tools is not 0 but 1e-9 or less.
const ZERO: f64 = 0.00005;

/// Least and largest of the values of both models; `None` if there is no value.
pub(super) fn range(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    values.fold(None, |range, value| match range {
        None => Some([value, value]),
        Some([low, high]) => Some([low.min(value), high.max(value)]),
    })
}

/// Counts of values between two ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    /// Lower end of the first bin.
    low: f64,
    /// Upper end of the last bin.
    high: f64,
    /// [`BINS`] of equal width, or one if both ends are equal.
    pub(super) bins: Vec<Bin>,
    /// Values counted.
    pub(super) items: usize,
    /// Mean of the values.
    pub(super) mean: f64,
    /// The value in the middle, or the mean of the two.
    pub(super) median: f64,
}

/// Values from a lower end, inclusive, to an upper end, exclusive except in the last bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bin {
    /// Values in it.
    pub(super) count: usize,
    /// Those of them that are 0, to four decimals.
    pub(super) zeros: usize,
}

impl Histogram {
    /// Counts `values`, all of which lie in `range`; `None` if there is none.
    pub(super) fn new(mut values: Vec<f64>, [low, high]: [f64; 2]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let mut histogram = Self {
            low,
            high,
            bins: vec![Bin::default(); if low < high { BINS } else { 1 }],
            items: values.len(),
            mean,
            median: 0.0,
        };
        for &value in &values {
            let bin = histogram.bin_of(value);
            let bin = &mut histogram.bins[bin];
            bin.count += 1;
            bin.zeros += usize::from(value.abs() < ZERO);
        }
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        histogram.median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(histogram)
    }

    /// Values that are 0, to four decimals.
    pub(super) fn zeros(&self) -> usize {
        self.bins.iter().map(|bin| bin.zeros).sum()
    }

    /// The lower end of bin `at`, which is the upper end of the one before.
    pub(super) fn edge(&self, at: usize) -> f64 {
        if at >= self.bins.len() {
            return self.high;
        }
        self.low + (self.high - self.low) * (at as f64 / self.bins.len() as f64)
    }

    /// Where `value` lies between the ends, from 0 to 1.
    pub(super) fn position(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.5
        }
    }

    /// Round numbers between the ends, for the axis; the only value if all are the same.
    pub(super) fn ticks(&self) -> Vec<f64> {
        ticks(self.low, self.high)
    }

    fn bin_of(&self, value: f64) -> usize {
        let last = self.bins.len() - 1;
        let bin = ((self.position(value) * self.bins.len() as f64) as usize).min(last);
        // The division above rounds; the edges, which are shown, decide.
        if value < self.edge(bin) {
            bin.saturating_sub(1)
        } else if bin < last && value >= self.edge(bin + 1) {
            bin + 1
        } else {
            bin
        }
    }
}

/// About six multiples of 1, 2 or 5 times a power of ten from `low` to `high`.
pub(super) fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    // Neither equal ends nor ends so far apart, or so near, that steps are lost in rounding.
    if !rough.is_normal() || low + rough <= low {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.99)
        .unwrap_or(rough);
    // A tick a hundredth of a step beyond an end cannot be told from the end.
    let first = (low / step - 0.01).ceil();
    (0..8)
        .map(|at| (first + f64::from(at)) * step + 0.0)
        .take_while(|tick| *tick <= high + step * 0.01)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f64]) -> Histogram {
        let range = range(values.iter().copied()).unwrap();
        Histogram::new(values.to_vec(), range).unwrap()
    }

    fn counts(histogram: &Histogram) -> Vec<usize> {
        histogram.bins.iter().map(|bin| bin.count).collect()
    }

    #[test]
    fn bins_are_of_equal_width_over_the_observed_range() {
        let values: Vec<f64> = (0..=20).map(f64::from).collect();
        let found = histogram(&values);
        let mut expected = vec![1; BINS];
        expected[BINS - 1] = 2;
        assert_eq!(counts(&found), expected, "the last bin has both its ends");
        assert_eq!(
            (found.edge(0), found.edge(7), found.edge(20)),
            (0.0, 7.0, 20.0)
        );
        assert_eq!((found.items, found.mean, found.median), (21, 10.0, 10.0));
    }

    #[test]
    fn a_value_on_an_edge_is_in_the_bin_above() {
        // Whichever way the multiplication by 20 is rounded.
        for edge in 1..BINS {
            let value = edge as f64 / BINS as f64;
            let found = histogram(&[0.0, value, 1.0]);
            assert_eq!(found.edge(edge).to_bits(), value.to_bits());
            assert_eq!(
                found.bins[edge].count,
                1 + usize::from(edge == BINS - 1),
                "{value}"
            );
        }
    }

    #[test]
    fn every_value_is_counted_once() {
        let values: Vec<f64> = (0..1000)
            .map(|at| (f64::from(at) * 0.7).sin() / 3.0)
            .collect();
        let found = histogram(&values);
        assert_eq!(counts(&found).iter().sum::<usize>(), 1000);
        for (at, bin) in found.bins.iter().enumerate() {
            let inside = |value: &&f64| {
                **value >= found.edge(at) && (at == BINS - 1 || **value < found.edge(at + 1))
            };
            assert_eq!(bin.count, values.iter().filter(inside).count(), "bin {at}");
        }
    }

    #[test]
    fn zeros_are_counted_apart() {
        let found = histogram(&[0.0, 0.0, -0.0, 0.01, 1.0]);
        assert_eq!(found.bins[0], Bin { count: 4, zeros: 3 });
        assert_eq!(found.zeros(), 3);
        let found = histogram(&[1e-9, 7e-13, 0.000_049, -0.000_049, 0.000_051, 1.0]);
        assert_eq!(found.zeros(), 4, "what is written as 0.0000");
        let found = histogram(&[-1.0, 0.0, 1.0]);
        assert_eq!(found.bins[10], Bin { count: 1, zeros: 1 });
    }

    #[test]
    fn equal_values_are_one_bin() {
        let found = histogram(&[0.25; 3]);
        assert_eq!(found.bins, [Bin { count: 3, zeros: 0 }]);
        assert_eq!((found.position(0.25), found.ticks()), (0.5, vec![0.25]));
        assert_eq!((found.mean, found.median), (0.25, 0.25));
    }

    #[test]
    fn no_values_are_no_histogram() {
        assert_eq!(range([].into_iter()), None);
        assert_eq!(Histogram::new(vec![], [0.0, 1.0]), None);
    }

    #[test]
    fn values_far_apart_are_harmless() {
        for values in [
            [f64::MIN, f64::MAX],
            [0.0, f64::MIN_POSITIVE],
            [1e16, 1e16 + 2.0],
            [0.0, f64::from_bits(1)],
        ] {
            let found = histogram(&values);
            assert_eq!(counts(&found).iter().sum::<usize>(), 2, "{values:?}");
            assert!((1..=8).contains(&found.ticks().len()), "{values:?}");
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(0.0, 1.0).len(), 6);
        assert_eq!(ticks(1e-16, 1.0)[..1], [0.0]);
        assert_eq!(ticks(0.0, 3.7), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(ticks(0.13, 0.58), [0.2, 0.300_000_000_000_000_04, 0.4, 0.5]);
        assert_eq!(ticks(-3.0, 2.0), [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0]);
    }
}
