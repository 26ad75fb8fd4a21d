//! Element-wise kernels on `f32` slices: bias and activation, softmax, layer norm.
//!
//! Each is plain Rust that the compiler vectorises; [`pulp::Arch::dispatch`] compiles it once more for
//! AVX2 and for AVX-512 and chooses at run time. Multiplications and additions are never fused and sums have a fixed order
//! of [`LANES`] partial sums, so a row gives the same bits on every machine, with any number of threads and
//! in any batch. NaN stays NaN.
//!
//! The example `clip_speed` of `sightline-models` measures what they are part of.

#![expect(
    clippy::inline_always,
    reason = "only what is inlined into the dispatched function is compiled for its instructions"
)]

pub(crate) mod attention;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
pub(crate) mod gradient;
pub(crate) mod map;
pub(crate) mod outer;
pub(crate) mod product;
pub(crate) mod rows;
mod tiles;

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use crate::activation::Activation;

/// Partial sums per row.
const LANES: usize = 16;

/// Elements that one task takes, so that small inputs stay on one thread.
const TASK_ELEMENTS: usize = 1 << 14;

/// `x = activation(x)`.
pub(crate) fn activate(x: &mut [f32], activation: Activation) {
    for_rows(x, 1, |rows, _| activated(rows, activation));
}

/// As [`activate`], on this thread.
fn activated(rows: &mut [f32], activation: Activation) {
    Arch::new().dispatch(Activate { rows, activation });
}

/// `x = activation(x + other)`, both of the same length.
pub(crate) fn add_activate(x: &mut [f32], other: &[f32], activation: Option<Activation>) {
    for_rows(x, 1, |rows, first| {
        let bias = &other[first..first + rows.len()];
        Arch::new().dispatch(BiasActivation {
            rows,
            bias,
            activation,
        });
    });
}

/// `row = log(softmax(row))` for rows of `width` elements.
pub(crate) fn log_softmax(x: &mut [f32], width: usize) {
    for_rows(x, width, |rows, _| {
        for row in rows.chunks_exact_mut(width) {
            Arch::new().dispatch(LogSoftmax { row });
        }
    });
}

/// `out = (x - mean) / sqrt(variance + eps) * weight + bias` for rows as wide as `weight`; two passes, so
/// that a large mean does not swallow the variance.
pub(crate) fn layer_norm(out: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32], eps: f32) {
    let width = weight.len();
    for_rows(out, width, |rows, first| {
        let from = &x[first * width..][..rows.len()];
        Arch::new().dispatch(LayerNorm {
            rows,
            from,
            weight,
            bias,
            eps,
        });
    });
}

/// Calls `f` with groups of whole rows and the number of their first row, on rayon's threads.
fn for_rows(x: &mut [f32], width: usize, f: impl Fn(&mut [f32], usize) + Sync) {
    if width == 0 || x.is_empty() {
        return;
    }
    let rows = (TASK_ELEMENTS / width).max(1);
    if x.len() <= rows * width {
        return f(x, 0);
    }
    x.par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(task, group)| f(group, task * rows));
}

struct BiasActivation<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
    activation: Option<Activation>,
}

impl NullaryFnOnce for BiasActivation<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let rows = self.rows.chunks_exact_mut(self.bias.len());
        match self.activation {
            None => rows.for_each(|row| add(row, self.bias, |v| v)),
            Some(Activation::QuickGelu) => rows.for_each(|row| add(row, self.bias, quick_gelu)),
            Some(Activation::Gelu) => rows.for_each(|row| add(row, self.bias, gelu)),
            Some(Activation::GeluTanh) => rows.for_each(|row| add(row, self.bias, gelu_tanh)),
            Some(Activation::Relu) => rows.for_each(|row| add(row, self.bias, relu)),
            Some(Activation::Silu) => rows.for_each(|row| add(row, self.bias, silu)),
            Some(Activation::Sigmoid) => rows.for_each(|row| add(row, self.bias, sigmoid)),
        }
    }
}

#[inline(always)]
fn add(row: &mut [f32], bias: &[f32], f: impl Fn(f32) -> f32) {
    for (v, &b) in row.iter_mut().zip(bias) {
        *v = f(*v + b);
    }
}

struct Activate<'a> {
    rows: &'a mut [f32],
    activation: Activation,
}

impl NullaryFnOnce for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        activate_here(self.rows, self.activation);
    }
}

/// As [`activate`], as part of a function that is dispatched.
#[inline(always)]
fn activate_here(x: &mut [f32], activation: Activation) {
    match activation {
        Activation::QuickGelu => x.iter_mut().for_each(|v| *v = quick_gelu(*v)),
        Activation::Gelu => x.iter_mut().for_each(|v| *v = gelu(*v)),
        Activation::GeluTanh => x.iter_mut().for_each(|v| *v = gelu_tanh(*v)),
        Activation::Relu => x.iter_mut().for_each(|v| *v = relu(*v)),
        Activation::Silu => x.iter_mut().for_each(|v| *v = silu(*v)),
        Activation::Sigmoid => x.iter_mut().for_each(|v| *v = sigmoid(*v)),
    }
}

/// `row = softmax(scale * row + mask)`, as part of a function that is dispatched.
struct Softmax<'a> {
    row: &'a mut [f32],
    scale: f32,
    mask: Option<&'a [f32]>,
}

impl NullaryFnOnce for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let row = self.row;
        match self.mask {
            Some(mask) => {
                for (v, &m) in row.iter_mut().zip(mask) {
                    *v = *v * self.scale + m;
                }
            }
            None => row.iter_mut().for_each(|v| *v *= self.scale),
        }
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for v in row.iter_mut() {
            *v = exp(*v - max);
        }
        let inverse = 1.0 / sum(row, |v| v);
        for v in row {
            *v *= inverse;
        }
    }
}

struct LogSoftmax<'a> {
    row: &'a mut [f32],
}

impl NullaryFnOnce for LogSoftmax<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let max = self.row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shift = max + sum(self.row, |v| exp(v - max)).ln();
        self.row.iter_mut().for_each(|v| *v -= shift);
    }
}

struct LayerNorm<'a> {
    rows: &'a mut [f32],
    from: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl NullaryFnOnce for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.weight.len();
        let rows = self.rows.chunks_exact_mut(width);
        for (out, x) in rows.zip(self.from.chunks_exact(width)) {
            let mean = sum(x, |v| v) / width as f32;
            let variance = sum(x, |v| (v - mean) * (v - mean)) / width as f32;
            let inverse = 1.0 / (variance + self.eps).sqrt();
            let affine = self.weight.iter().zip(self.bias);
            for ((o, &v), (&w, &b)) in out.iter_mut().zip(x).zip(affine) {
                *o = (v - mean) * inverse * w + b;
            }
        }
    }
}

/// Sum of `f` over `x` in [`LANES`] partial sums, then the rest.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    let mut total = 0.0;
    for lane in lanes {
        total += lane;
    }
    for &v in rest {
        total += f(v);
    }
    total
}

/// Sum of the products of two rows of the same length, in [`LANES`] partial sums, then the rest.
#[inline(always)]
fn sum_products(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    let mut total = 0.0;
    for lane in lanes {
        total += lane;
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        total += a * b;
    }
    total
}

/// `x * sigmoid(1.702 x)` (Hendrycks and Gimpel 2016, section 2).
#[inline(always)]
fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

/// `x * Φ(x)` with the exact normal distribution function.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `x * (1 + tanh(u)) / 2`, which is `x * sigmoid(2 u)`, with `u = sqrt(2 / π) (x + 0.044715 x³)`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    /// `2 sqrt(2 / π)`.
    const TWICE: f32 = 1.595_769;
    x / (1.0 + exp(-TWICE * (x + 0.044_715 * x * x * x)))
}

/// `max(x, 0)`; NaN stays.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `x * sigmoid(x)`, also called swish.
#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// e^x within 2 units in the last place; 0 below -87 and infinity above 88.3.
///
/// Range reduction by multiples of ln 2 in two parts and a polynomial of degree 6 (Cephes `expf`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding and subtracting it rounds to an integer, which its low bits then hold.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const LOWEST: f32 = -87.0;
    const HIGHEST: f32 = 88.3;

    let inside = if x < LOWEST { LOWEST } else { x };
    let inside = if inside > HIGHEST { HIGHEST } else { inside };
    let shifted = inside * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = inside - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_2e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let two_to_n = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    let y = (p * r * r + r + 1.0) * two_to_n;
    let y = if x < LOWEST { 0.0 } else { y };
    if x > HIGHEST { f32::INFINITY } else { y }
}

/// The error function within 3e-7: a quotient of polynomials on [-4, 4], beyond which `f32` knows only
/// ±1 (the approximation that Eigen and XLA use).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = if x < -4.0 { -4.0 } else { x };
    let x = if x > 4.0 { 4.0 } else { x };
    let square = x * x;
    let mut p = -2.726_142_3e-10;
    p = p * square + 2.770_681_4e-8;
    p = p * square - 2.101_024e-6;
    p = p * square - 5.692_506_5e-5;
    p = p * square - 7.349_906_3e-4;
    p = p * square - 2.954_6e-3;
    p = p * square - 1.609_603_3e-2;
    let mut q = -1.456_607_2e-5;
    q = q * square - 2.133_740_6e-4;
    q = q * square - 1.682_827e-3;
    q = q * square - 7.373_329e-3;
    q = q * square - 1.426_474e-2;
    x * p / q
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use super::*;

    fn softmax<'a>(
        x: &mut [f32],
        width: usize,
        scale: f32,
        mask_of: impl Fn(usize) -> Option<&'a [f32]>,
    ) {
        for (i, row) in x.chunks_exact_mut(width).enumerate() {
            let mask = mask_of(i);
            Arch::new().dispatch(Softmax { row, scale, mask });
        }
    }

    fn sweep() -> impl Iterator<Item = f32> {
        (-40_000i32..=40_000).map(|i| i as f32 * 1e-3)
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for x in sweep().chain((-870..=883).map(|i| i as f32 * 0.1)) {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.4e-7, "exp({x}) is off by {error:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn activations_are_as_exact_as_f32_allows() {
        let exact = |activation: Activation, x: f64| {
            let x = candle_core::Tensor::new(x, &candle_core::Device::Cpu).unwrap();
            activation.composed(&x).unwrap().to_scalar::<f64>().unwrap()
        };
        for activation in [
            Activation::QuickGelu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Silu,
            Activation::Sigmoid,
        ] {
            for x in sweep().step_by(7) {
                let mut y = [x];
                activate(&mut y, activation);
                let error = (f64::from(y[0]) - exact(activation, f64::from(x))).abs();
                assert!(
                    error < 4e-7 + 2e-7 * f64::from(x.abs()),
                    "{activation:?}({x}) is off by {error:e}"
                );
            }
            let mut nan = [f32::NAN];
            activate(&mut nan, activation);
            assert!(nan[0].is_nan());
        }
    }

    #[test]
    fn maps_are_added_element_by_element() {
        let x: Vec<f32> = (0..40_000).map(|i| (i % 11) as f32 - 5.0).collect();
        let other: Vec<f32> = (0..40_000).map(|i| (i % 7) as f32 - 3.0).collect();
        let mut sum = x.clone();
        add_activate(&mut sum, &other, Some(Activation::Relu));
        for ((s, a), b) in sum.iter().zip(&x).zip(&other) {
            assert_eq!(*s, (a + b).max(0.0));
        }
    }

    #[test]
    fn softmax_rows_sum_to_one_and_masked_elements_are_zero() {
        let mask = [0.0, 0.0, f32::MIN, 0.0, f32::NEG_INFINITY];
        let mut x = vec![1.0, 2.0, 50.0, -3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        softmax(&mut x, 5, 0.5, |row| (row == 0).then_some(&mask[..]));
        let (e1, e2, e3) = (0.5f32.exp(), 1.0f32.exp(), (-1.5f32).exp());
        let total = e1 + e2 + e3;
        for (found, exact) in x.iter().zip([e1 / total, e2 / total, 0.0, e3 / total, 0.0]) {
            assert!((found - exact).abs() < 1e-7, "{x:?}");
        }
        assert_eq!(x[2], 0.0);
        assert_eq!(x[5..], [0.2; 5]);
    }

    #[test]
    fn log_softmax_is_the_logarithm_of_the_softmax() {
        let logits: Vec<f32> = (0..66).map(|i| (i * 37 % 23) as f32 * 0.9 - 8.0).collect();
        let mut logs = logits.clone();
        log_softmax(&mut logs, 33);
        for (logits, logs) in logits.chunks(33).zip(logs.chunks(33)) {
            let total: f64 = logits.iter().map(|&v| f64::from(v).exp()).sum();
            for (&logit, &log) in logits.iter().zip(logs) {
                let exact = f64::from(logit) - total.ln();
                assert!((f64::from(log) - exact).abs() < 2e-6, "{log} {exact}");
            }
        }
        let mut nan = [1.0, f32::NAN];
        log_softmax(&mut nan, 2);
        assert!(nan.iter().all(|v| v.is_nan()));
    }

    #[test]
    fn a_row_of_masked_elements_is_uniform_and_nan_spreads() {
        let mut x = vec![3.0, 5.0];
        softmax(&mut x, 2, 1.0, |_| Some(&[f32::MIN, f32::MIN]));
        assert_eq!(x, [0.5, 0.5]);
        let mut x = vec![3.0, f32::NAN];
        softmax(&mut x, 2, 1.0, |_| None);
        assert!(x.iter().all(|v| v.is_nan()));
    }

    #[test]
    fn layer_norm_keeps_its_precision_beside_a_large_mean() {
        let x: Vec<f32> = (0..50).map(|i| 4096.0 + (i % 2) as f32).collect();
        let (weight, bias) = (vec![2.0; 50], vec![0.25; 50]);
        let mut out = vec![0.0; 50];
        layer_norm(&mut out, &x, &weight, &bias, 0.0);
        for (i, v) in out.iter().enumerate() {
            let exact = if i % 2 == 0 { -1.75 } else { 2.25 };
            assert!((v - exact).abs() < 1e-5, "{v}");
        }
    }
}
