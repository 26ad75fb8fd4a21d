//! The normal distribution, and p-values of many tests at once.

/// Φ(z), the share of a standard normal below `z`.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// Φ⁻¹(p); infinite at 0 and 1, not a number outside.
///
/// Newton's method from 0 on the lower half, where Φ is convex: it approaches the root from above and
/// never passes it, in about z²/2 steps and a few more.
pub fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    if p == 0.0 {
        return f64::NEG_INFINITY;
    }
    if p.is_nan() || p < 0.0 {
        return f64::NAN;
    }
    let mut z = 0.0f64;
    loop {
        let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
        let next = z - (normal_cdf(z) - p) / density;
        // Rounding ends the descent at the root; far out, where the density is no longer a normal
        // number, `next` stops being one.
        if next.is_nan() || next >= z {
            return z;
        }
        z = next;
    }
}

/// p-values of several tests corrected so that the chance of any false positive among them stays at the
/// level (Holm 1979): compare each with the level as if it were the only one.
///
/// The smallest of m is multiplied by m, the next by m − 1, …; none becomes smaller than one before it,
/// or larger than 1.
///
/// ```
/// use sightline_core::statistics::holm;
/// assert_eq!(holm(&[0.25, 0.01, 0.5]), [0.5, 0.03, 0.5]);
/// ```
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut before = 0.0f64;
    for (rank, &test) in order.iter().enumerate() {
        let tests = (p_values.len() - rank) as f64;
        before = before.max((p_values[test] * tests).min(1.0));
        corrected[test] = before;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "infinities are equal or not")]
    fn normal_quantiles_agree_with_published_ones() {
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.025, -1.959_963_984_540_054),
            (0.9, 1.281_551_565_544_600_4),
            (0.999, 3.090_232_306_167_813_6),
            (1e-10, -6.361_340_902_404_056),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-9, "{p}");
            assert!((normal_cdf(z) - p).abs() < 1e-15, "{z}");
        }
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
        assert!(normal_quantile(1.5).is_nan() && normal_quantile(f64::NAN).is_nan());
    }

    #[test]
    fn corrected_p_values_keep_their_order_and_stay_below_one() {
        assert_eq!(holm(&[]), Vec::<f64>::new());
        assert_eq!(holm(&[0.25]), [0.25]);
        assert_eq!(holm(&[0.5, 0.75, 0.25]), [1.0, 1.0, 0.75]);
        // The second would be 0.03 · 1 alone, less than the first.
        assert_eq!(holm(&[0.03, 0.02]), [0.04, 0.04]);
    }
}
