//! How far a tensor is from a recorded one.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use super::{RecordedError, Result};

/// How near an element has to be: `absolute + relative * |recorded|`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// The part that is the same for every element.
    pub absolute: f64,
    /// The part that grows with the recorded element.
    pub relative: f64,
}

impl Tolerance {
    /// For ids and answers.
    pub const EXACT: Self = Self::both(0.0);

    /// The same number for both parts.
    pub const fn both(value: f64) -> Self {
        Self {
            absolute: value,
            relative: value,
        }
    }
}

/// How far the elements of an output are from those that were recorded. Differences are infinite where one element of
/// a pair is not a number, and zero where both are not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Elements compared.
    pub elements: usize,
    /// The largest `|computed - recorded|`.
    pub absolute: f64,
    /// The largest `|computed - recorded| / |recorded|` over the recorded elements that are not zero.
    pub relative: f64,
    /// What is allowed.
    pub tolerance: Tolerance,
    /// The element that is the farthest in terms of the tolerance; `None` where all are equal.
    pub worst: Option<Worst>,
}

/// An element that differs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Worst {
    /// Its number in row-major order, from 0.
    pub element: usize,
    /// The model's value.
    pub computed: f64,
    /// The recorded value.
    pub recorded: f64,
    /// Its difference as a multiple of what is allowed.
    pub times_tolerance: f64,
}

impl Difference {
    /// Compares all elements of two tensors, which must have one shape.
    pub(super) fn between(
        computed: &Tensor,
        recorded: &Tensor,
        tolerance: Tolerance,
    ) -> Result<Self> {
        if computed.dims() != recorded.dims() {
            return Err(RecordedError::Shape {
                found: computed.dims().to_vec(),
                expected: recorded.dims().to_vec(),
            });
        }
        let flat = |tensor: &Tensor| {
            let here = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
            here.flatten_all()?.to_vec1::<f64>()
        };
        Ok(Self::of(&flat(computed)?, &flat(recorded)?, tolerance))
    }

    #[expect(
        clippy::float_cmp,
        reason = "equal infinities have no difference that is a number"
    )]
    fn of(computed: &[f64], recorded: &[f64], tolerance: Tolerance) -> Self {
        let mut all = Self {
            elements: recorded.len(),
            absolute: 0.0,
            relative: 0.0,
            tolerance,
            worst: None,
        };
        for (element, (&computed, &recorded)) in computed.iter().zip(recorded).enumerate() {
            if computed == recorded || (computed.is_nan() && recorded.is_nan()) {
                continue;
            }
            let difference = (computed - recorded).abs();
            let difference = if difference.is_nan() {
                f64::INFINITY
            } else {
                difference
            };
            all.absolute = all.absolute.max(difference);
            if recorded != 0.0 {
                // Of something infinite from something infinite.
                let relative = difference / recorded.abs();
                all.relative = all.relative.max(if relative.is_nan() {
                    f64::INFINITY
                } else {
                    relative
                });
            }
            let allowed = tolerance.absolute + tolerance.relative * recorded.abs();
            let times_tolerance = if difference.is_infinite() {
                f64::INFINITY
            } else {
                difference / allowed
            };
            if all
                .worst
                .is_none_or(|worst| times_tolerance > worst.times_tolerance)
            {
                all.worst = Some(Worst {
                    element,
                    computed,
                    recorded,
                    times_tolerance,
                });
            }
        }
        all
    }

    /// Whether every element is as near as it has to be.
    pub fn is_within(&self) -> bool {
        self.worst.is_none_or(|worst| worst.times_tolerance <= 1.0)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(worst) = self.worst else {
            return f.write_str("equal");
        };
        let Tolerance { absolute, relative } = self.tolerance;
        write!(
            f,
            "element {}: {} instead of {}, {:.3} times the tolerance {absolute:e} + {relative:e} * |x|",
            worst.element, worst.computed, worst.recorded, worst.times_tolerance
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(computed: &[f64], recorded: &[f64], absolute: f64, relative: f64) -> Difference {
        Difference::of(computed, recorded, Tolerance { absolute, relative })
    }

    #[test]
    fn the_largest_differences_may_be_of_different_elements() {
        let found = of(&[1.0, 100.5, 0.1], &[1.0, 100.0, 0.0], 1.0, 0.0);
        assert_eq!((found.elements, found.absolute), (3, 0.5));
        assert!((found.relative - 0.005).abs() < 1e-12, "{found:?}");
        assert_eq!(found.worst.unwrap().element, 1);
        assert!(found.is_within());
        assert!(!of(&[1.0], &[1.1], 0.05, 0.0).is_within());
        assert!(of(&[1.0], &[1.1], 0.0, 0.1).is_within());
        // Without any tolerance only equal elements are near enough.
        assert!(of(&[3.0], &[3.0], 0.0, 0.0).is_within());
        assert!(!of(&[3.0], &[4.0], 0.0, 0.0).is_within());
        assert!(of(&[], &[], 0.0, 0.0).is_within());
    }

    #[test]
    fn what_is_no_number_is_near_to_nothing_else() {
        let (nan, infinite) = (f64::NAN, f64::INFINITY);
        for (computed, recorded, is_within) in [
            (nan, nan, true),
            (infinite, infinite, true),
            (nan, 1.0, false),
            (1.0, nan, false),
            (infinite, -infinite, false),
            (infinite, 1.0, false),
            (1.0, infinite, false),
        ] {
            let found = of(&[computed], &[recorded], 1e9, 1e9);
            assert_eq!(found.is_within(), is_within, "{computed} {recorded}");
            assert_eq!(found.absolute.is_infinite(), !is_within);
        }
    }
}
