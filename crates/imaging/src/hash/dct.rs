//! The discrete cosine transform of 32 numbers, in the floating-point operations of `scipy.fftpack.dct`.
//!
//! Which bits a perceptual hash has depends on comparisons with a median. In images of one colour, and in those that
//! mirror themselves, coefficients are zero in theory and equal in truth: there the order of additions decides. So this is
//! the algorithm of `SciPy` (pocketfft: a real transform with the factors 2, 4, 4 between two passes of twiddles), with twiddles that
//! are as far from exact as its own.

use std::f64::consts::{PI, SQRT_2};

/// Numbers of a transform.
pub(super) const N: usize = 32;

/// The factors of the transform, in the order of its passes.
const FACTORS: [usize; 3] = [2, 4, 4];

/// `exp(2πi x / n)` as real and imaginary part.
type Complex = (f64, f64);

/// The twiddles of a transform, computed once.
#[derive(Clone, Debug)]
pub(super) struct Dct {
    /// `cos(2π (i + 1) / 4N)`.
    outer: [f64; N],
    /// `exp(2πi x / N)` for `x` below `N`.
    inner: [Complex; N],
}

impl Dct {
    /// The twiddles.
    pub(super) fn new() -> Self {
        let (long, short) = (Twiddles::new(4 * N), Twiddles::new(N));
        Self {
            outer: std::array::from_fn(|i| long.at(i + 1).0),
            inner: std::array::from_fn(|i| short.at(i)),
        }
    }

    /// Replaces `c` by its transform of type 2: `2 Σ c[n] cos(π k (2n + 1) / 2N)`.
    pub(super) fn transform(&self, c: &mut [f64; N]) {
        c[0] *= 2.0;
        c[N - 1] *= 2.0;
        for k in (1..N - 1).step_by(2) {
            (c[k], c[k + 1]) = (c[k + 1] + c[k], c[k + 1] - c[k]);
        }
        self.backward(c);
        let half = N / 2;
        for k in 1..half {
            let (a, b) = (self.outer[k - 1], self.outer[N - k - 1]);
            let sum = a * c[N - k] + b * c[k];
            let difference = a * c[k] - b * c[N - k];
            c[k] = 0.5 * (sum + difference);
            c[N - k] = 0.5 * (sum - difference);
        }
        c[half] *= self.outer[half - 1];
    }

    /// The real transform of half-complex numbers.
    fn backward(&self, c: &mut [f64; N]) {
        let mut other = [0.0; N];
        let mut stride = 1;
        for factor in FACTORS {
            let pass = Pass {
                len: N / (factor * stride),
                stride,
                factor,
                inner: &self.inner,
            };
            match factor {
                2 => pass.by_two(c, &mut other),
                _ => pass.by_four(c, &mut other),
            }
            std::mem::swap(c, &mut other);
            stride *= factor;
        }
    }
}

/// One pass: `stride` butterflies over rows of `len` numbers.
struct Pass<'a> {
    len: usize,
    stride: usize,
    factor: usize,
    inner: &'a [Complex; N],
}

impl Pass<'_> {
    /// Where the number `a` of row `b` of butterfly `k` is read.
    fn from(&self, a: usize, b: usize, k: usize) -> usize {
        a + self.len * (b + self.factor * k)
    }

    /// Where the number `a` of row `b` of butterfly `k` is written.
    fn to(&self, a: usize, k: usize, b: usize) -> usize {
        a + self.len * (k + self.stride * b)
    }

    /// Writes the pair of numbers `i - 1` and `i` of row `b`, turned.
    fn put_turned(&self, out: &mut [f64; N], (i, k, b): (usize, usize, usize), re: f64, im: f64) {
        let (cos, sin) = self.inner[b * self.stride * (i / 2)];
        out[self.to(i, k, b)] = cos * im + sin * re;
        out[self.to(i - 1, k, b)] = cos * re - sin * im;
    }

    fn by_two(&self, c: &[f64; N], out: &mut [f64; N]) {
        let last = self.len - 1;
        for k in 0..self.stride {
            let at = |a, b| c[self.from(a, b, k)];
            out[self.to(0, k, 0)] = at(0, 0) + at(last, 1);
            out[self.to(0, k, 1)] = at(0, 0) - at(last, 1);
            if self.len.is_multiple_of(2) {
                out[self.to(last, k, 0)] = 2.0 * at(last, 0);
                out[self.to(last, k, 1)] = -2.0 * at(0, 1);
            }
            for i in (2..self.len).step_by(2) {
                let j = self.len - i;
                out[self.to(i - 1, k, 0)] = at(i - 1, 0) + at(j - 1, 1);
                out[self.to(i, k, 0)] = at(i, 0) - at(j, 1);
                let re = at(i - 1, 0) - at(j - 1, 1);
                let im = at(i, 0) + at(j, 1);
                self.put_turned(out, (i, k, 1), re, im);
            }
        }
    }

    fn by_four(&self, c: &[f64; N], out: &mut [f64; N]) {
        let last = self.len - 1;
        for k in 0..self.stride {
            let at = |a, b| c[self.from(a, b, k)];
            let (r2, r1) = sum_and_difference(at(0, 0), at(last, 3));
            let (r3, r4) = (2.0 * at(last, 1), 2.0 * at(0, 2));
            out[self.to(0, k, 0)] = r2 + r3;
            out[self.to(0, k, 2)] = r2 - r3;
            out[self.to(0, k, 3)] = r1 + r4;
            out[self.to(0, k, 1)] = r1 - r4;
            if self.len.is_multiple_of(2) {
                let (i1, i2) = sum_and_difference(at(0, 3), at(0, 1));
                let (r2, r1) = sum_and_difference(at(last, 0), at(last, 2));
                out[self.to(last, k, 0)] = r2 + r2;
                out[self.to(last, k, 1)] = SQRT_2 * (r1 - i1);
                out[self.to(last, k, 2)] = i2 + i2;
                out[self.to(last, k, 3)] = -SQRT_2 * (r1 + i1);
            }
            for i in (2..self.len).step_by(2) {
                let j = self.len - i;
                let (r2, r1) = sum_and_difference(at(i - 1, 0), at(j - 1, 3));
                let (i1, i2) = sum_and_difference(at(i, 0), at(j, 3));
                let (r4, i3) = sum_and_difference(at(i, 2), at(j, 1));
                let (r3, i4) = sum_and_difference(at(i - 1, 2), at(j - 1, 1));
                out[self.to(i - 1, k, 0)] = r2 + r3;
                out[self.to(i, k, 0)] = i2 + i3;
                self.put_turned(out, (i, k, 1), r1 - r4, i1 + i4);
                self.put_turned(out, (i, k, 2), r2 - r3, i2 - i3);
                self.put_turned(out, (i, k, 3), r1 + r4, i1 - i4);
            }
        }
    }
}

fn sum_and_difference(a: f64, b: f64) -> (f64, f64) {
    (a + b, a - b)
}

/// `exp(2πi x / n)` as pocketfft makes it: the product of two table entries, each computed in the first octant.
struct Twiddles {
    n: usize,
    shift: u32,
    fine: Vec<Complex>,
    coarse: Vec<Complex>,
}

impl Twiddles {
    fn new(n: usize) -> Self {
        let values = n / 2 + 1;
        let mut shift = 1;
        while (1 << shift) * (1 << shift) < values {
            shift += 1;
        }
        let step = 1 << shift;
        Self {
            n,
            shift,
            fine: (0..step).map(|x| root(x, n)).collect(),
            coarse: (0..values.div_ceil(step))
                .map(|x| root(x * step, n))
                .collect(),
        }
    }

    fn at(&self, x: usize) -> Complex {
        let mirrored = 2 * x > self.n;
        let x = if mirrored { self.n - x } else { x };
        let (a, b) = (
            self.fine[x & ((1 << self.shift) - 1)],
            self.coarse[x >> self.shift],
        );
        let im = a.0 * b.1 + a.1 * b.0;
        (a.0 * b.0 - a.1 * b.1, if mirrored { -im } else { im })
    }
}

/// `exp(2πi x / n)` for `x` up to `n / 2`, from angles of at most an eighth of a turn.
fn root(x: usize, n: usize) -> Complex {
    let angle = |eighths: usize| (eighths as f64 * (0.25 * PI / n as f64)).sin_cos();
    let x = 8 * x;
    if x < n {
        let (sin, cos) = angle(x);
        (cos, sin)
    } else if x < 2 * n {
        let (sin, cos) = angle(2 * n - x);
        (sin, cos)
    } else if x < 3 * n {
        let (sin, cos) = angle(x - 2 * n);
        (-sin, cos)
    } else {
        let (sin, cos) = angle(4 * n - x);
        (-cos, sin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_cosine_transform() {
        let numbers: [f64; N] = std::array::from_fn(|i| ((i * i * 7 + 3 * i) % 256) as f64);
        let mut transformed = numbers;
        Dct::new().transform(&mut transformed);
        for (k, found) in transformed.into_iter().enumerate() {
            let expected: f64 = (0..N)
                .map(|n| {
                    let angle = PI * k as f64 * (2 * n + 1) as f64 / (2 * N) as f64;
                    2.0 * numbers[n] * angle.cos()
                })
                .sum();
            assert!(
                (found - expected).abs() < 1e-10,
                "{k}: {found}, not {expected}"
            );
        }
    }

    #[test]
    fn equal_numbers_have_no_waves() {
        let mut numbers = [37.0; N];
        Dct::new().transform(&mut numbers);
        assert!(numbers[0] > 0.0);
        let is_none = |wave: &f64| wave.to_bits() << 1 == 0;
        assert!(numbers[1..].iter().all(is_none), "{numbers:?}");
    }
}
