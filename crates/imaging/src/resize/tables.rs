//! Weight tables that are kept, since images of a data set share their sizes.

use super::passes::FixedAxis;
use super::weights::{Axis, AxisSpec};

/// Tables that are kept: those of a few sizes of image.
const CAPACITY: usize = 16;

/// Fractional bits of Pillow's weights for bytes, and the most that torchvision's have.
const BITS: u32 = 22;

/// What a table is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TableSpec {
    pub(super) axis: AxisSpec,
    pub(super) precision: Precision,
    /// Bytes of a pixel when rows are resized, `None` when columns are.
    pub(super) channels: Option<usize>,
}

/// How weights are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// To 22 fractional bits, like Pillow.
    Fixed,
    /// To as many, up to 22, as let the largest weight of the axis stay below 2^15, like torchvision.
    Fitted,
}

impl Precision {
    /// Fractional bits of the weights of an axis; `exact` is memory.
    fn bits(self, axis: &AxisSpec, exact: &mut Axis<f64>) -> u32 {
        match self {
            Self::Fixed => BITS,
            Self::Fitted => {
                let window = (0, axis.target);
                exact.fill(&AxisSpec { window, ..*axis });
                fitted_bits(&exact.weights)
            }
        }
    }
}

/// Fractional bits of the weights of an axis.
pub(super) fn fixed_bits(axis: &AxisSpec, precision: Precision) -> u32 {
    precision.bits(axis, &mut Axis::default())
}

/// The tables used last, in memory that is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    kept: Vec<Table>,
    /// Tables asked for so far.
    clock: u64,
    /// The weights before they are rounded.
    exact: Axis<f64>,
}

#[derive(Clone, Debug)]
struct Table {
    spec: TableSpec,
    /// The clock when it was asked for last.
    used: u64,
    fixed: FixedAxis,
}

/// Where a table is; it stays there while one other is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(usize);

impl Tables {
    /// Finds the table of `spec`, or makes it in place of the one that was not used for longest. Nearest neighbour has
    /// no weights.
    pub(super) fn find(&mut self, spec: TableSpec) -> Place {
        self.clock += 1;
        let place = match self.kept.iter().position(|table| table.spec == spec) {
            Some(place) => place,
            None => self.make(spec),
        };
        self.kept[place].used = self.clock;
        Place(place)
    }

    pub(super) fn get(&self, place: Place) -> &FixedAxis {
        &self.kept[place.0].fixed
    }

    fn make(&mut self, spec: TableSpec) -> usize {
        let place = self.room(spec);
        let bits = spec.precision.bits(&spec.axis, &mut self.exact);
        self.exact.fill(&spec.axis);
        let read = self.exact.shift_to_zero();
        let table = &mut self.kept[place];
        table.spec = spec;
        table
            .fixed
            .round(&self.exact, bits, read.len(), spec.channels);
        place
    }

    /// A place for one more table.
    fn room(&mut self, spec: TableSpec) -> usize {
        if self.kept.len() < CAPACITY {
            self.kept.push(Table {
                spec,
                used: 0,
                fixed: FixedAxis::default(),
            });
            return self.kept.len() - 1;
        }
        let oldest = (0..CAPACITY).min_by_key(|&place| self.kept[place].used);
        oldest.expect("the capacity is not zero")
    }
}

/// The most fractional bits, up to 22, with which the largest weight stays below 2^15.
fn fitted_bits(weights: &[f64]) -> u32 {
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let fits = |bits: u32| 0.5 + largest * f64::from(1u32 << bits) < f64::from(1 << 15);
    let mut bits = 0;
    while bits < BITS && fits(bits + 1) {
        bits += 1;
    }
    // A weight is at most a little over 1, so at least 14 bits fit; 1 keeps the arithmetic defined.
    bits.max(1)
}

#[cfg(test)]
mod tests {
    use sightline_core::image_spec::Filter;

    use super::*;

    fn spec(source: u32, target: u32) -> TableSpec {
        TableSpec {
            axis: AxisSpec::whole(Filter::Lanczos, source, target),
            precision: Precision::Fitted,
            channels: Some(3),
        }
    }

    #[test]
    fn precision_leaves_room_for_the_largest_weight() {
        for (source, target) in [(100, 10), (10, 100), (7, 6), (1, 9)] {
            let exact = Axis::new(&spec(source, target).axis).unwrap();
            let bits = fitted_bits(&exact.weights);
            let largest = exact.weights.iter().copied().fold(0.0, f64::max);
            let largest = (largest * f64::from(1u32 << bits) + 0.5) as i32;
            assert!(largest < 1 << 15, "{source} to {target}: {largest}");
            assert!(bits == 22 || largest >= 1 << 13, "{source} to {target}");
        }
    }

    #[test]
    fn tables_are_kept_until_others_are_used_more_recently() {
        let mut tables = Tables::default();
        let first = tables.find(spec(50, 20)).0;
        for source in 100..100 + CAPACITY as u32 - 1 {
            tables.find(spec(source, 20));
            assert_eq!(tables.find(spec(50, 20)).0, first);
        }
        // There is no room for the next; the oldest goes, which is not the first.
        let next = tables.find(spec(7, 20)).0;
        assert_eq!(next, 1);
        assert_eq!(tables.find(spec(50, 20)).0, first);
        assert_eq!(tables.kept.len(), CAPACITY);
    }
}
