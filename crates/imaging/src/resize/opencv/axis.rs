//! One axis of a resize, and the rounding to bytes that all methods share.

/// Source and target length of an axis with OpenCV's ratios.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// Pixels before.
    pub(super) source: usize,
    /// Pixels after.
    pub(super) target: usize,
    /// `target / source`.
    pub(super) inverse: f64,
    /// `1 / inverse`; the last bit may differ from `source / target`.
    pub(super) scale: f64,
}

impl Axis {
    /// Neither length may be zero.
    pub(super) fn new(source: u32, target: u32) -> Self {
        let inverse = f64::from(target) / f64::from(source);
        Self {
            source: source as usize,
            target: target as usize,
            inverse,
            scale: 1.0 / inverse,
        }
    }

    /// The centre of a target pixel in source coordinates, where pixel 0 lies at 0.
    pub(super) fn centre(&self, target: usize) -> f64 {
        (target as f64 + 0.5) * self.scale - 0.5
    }

    /// The scale, when it is a whole number. One seventh of 343 is not: `1 / (7 / 343)` is a bit off 49.
    pub(super) fn whole(&self) -> Option<usize> {
        let rounded = self.scale.round_ties_even();
        ((self.scale - rounded).abs() < f64::EPSILON).then_some(rounded as usize)
    }
}

/// Rounds to the nearest byte, ties to even, and clamps. Adding 2^23 leaves no bits for a fraction, so
/// that the addition itself rounds; unlike `round_ties_even` this is a vector instruction everywhere.
pub(super) fn round_u8(value: f32) -> u8 {
    const NO_FRACTION: f32 = 8_388_608.0;
    (value.clamp(0.0, 255.0) + NO_FRACTION).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_to_even_and_clamped() {
        for (value, expected) in [
            (-3.0f32, 0u8),
            (0.5, 0),
            (1.5, 2),
            (2.5, 2),
            (2.500_001, 3),
            (254.5, 254),
            (255.4, 255),
            (1e9, 255),
        ] {
            assert_eq!(round_u8(value), expected, "{value}");
        }
    }

    #[test]
    fn a_whole_scale_is_exactly_whole() {
        assert_eq!(Axis::new(64, 32).whole(), Some(2));
        assert_eq!(Axis::new(600, 200).whole(), Some(3));
        assert_eq!(Axis::new(640, 341).whole(), None);
        // The reciprocal of a reciprocal: 1 / (1 / 49) is not 49 in double precision.
        assert_eq!(Axis::new(49, 1).whole(), None);
    }
}
