//! `fused.cu`.

use candle_core::cpu::erf::erf_f64;
use half::{bf16, f16};

use super::element::{Element, Elements, Numbers};
use super::library::{FUSED, Grid, Kernels};
use super::mask::{Allowed, Mask};

/// As `bias_activation_*` and `bias_activation_chunks_*`.
type BiasActivation<T> = unsafe extern "C" fn(
    x: *const T,
    bias: *const T,
    out: *mut T,
    count: usize,
    width: u32,
    activation: i32,
);
type AddActivation<T> =
    unsafe extern "C" fn(x: *const T, y: *const T, out: *mut T, count: usize, activation: i32);
type LayerNorm<T> = unsafe extern "C" fn(
    x: *const T,
    weight: *const f32,
    bias: *const f32,
    out: *mut T,
    width: u32,
    eps: f32,
);
type LayerNormChunks<T> = unsafe extern "C" fn(
    x: *const T,
    weight: *const f32,
    bias: *const f32,
    out: *mut T,
    rows: usize,
    width: u32,
    eps: f32,
);
type Softmax<T> = unsafe extern "C" fn(
    x: *const T,
    mask: *const f32,
    out: *mut T,
    rows: usize,
    heads: u32,
    queries: u32,
    keys: u32,
    mask_batch: u32,
    mask_heads: u32,
    mask_queries: u32,
    scale: f32,
);

/// The activations in the order of their numbers, as `Activation` defines them.
const ACTIVATIONS: [fn(f64) -> f64; 7] = [
    |x| x,
    |x| x * sigmoid(1.702 * x),
    |x| x * (1.0 + erf_f64(x / 2f64.sqrt())) / 2.0,
    |x| x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))),
    |x| if x < 0.0 { 0.0 } else { x },
    |x| x * sigmoid(x),
    sigmoid,
];

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Panics unless `found` is what `exact` rounds to when it was computed with an error of at most `slack`.
fn assert_near<T: Element>(found: T, exact: f64, slack: f64, what: impl Fn() -> String) {
    let is_same = found == T::of(exact) || (found.wide().is_nan() && exact.is_nan());
    let bound = T::ROUNDING * exact.abs() + T::TINY + slack;
    let error = (found.wide() - exact).abs();
    assert!(
        is_same || error <= bound,
        "{} {}: {} for {exact} within {bound:e}",
        T::NAME,
        what(),
        found.wide()
    );
}

/// Numbers as a model has them, and at the end some that it should not have.
fn some<T: Element>(count: usize, numbers: &mut Numbers) -> Elements<T> {
    let odd = [
        0.0,
        -0.0,
        1e30,
        -1e30,
        65504.0,
        1e-7,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let values = (0..count).map(|i| match count - 1 - i {
        last if last < odd.len() && count > 2 * odd.len() => odd[last],
        _ => numbers.normal() * 4.0,
    });
    Elements::new(values.collect::<Vec<_>>().into_iter(), 0)
}

/// Blocks of an element-wise kernel; fewer than it is launched with, so that threads take several elements.
fn grid(seed: usize) -> Grid {
    Grid {
        blocks: [1 + seed % 2, 1, 1],
        threads: 256,
        backwards: seed % 2 == 1,
    }
}

fn check_activations<T: Element>(kernels: &Kernels) {
    let lanes = 16 / size_of::<T>();
    let of_elements = [1, 7, 33, 300].map(|width| ("bias_activation", width));
    let of_chunks = [1, 3, 70].map(|chunks| ("bias_activation_chunks", chunks * lanes));
    for (number, (name, width)) in of_elements.into_iter().chain(of_chunks).enumerate() {
        // SAFETY: the functions of these names have this type.
        let kernel: BiasActivation<T> = unsafe { kernels.function(&format!("{name}_{}", T::NAME)) };
        for (code, activation) in ACTIVATIONS.into_iter().enumerate() {
            let seed = number * ACTIVATIONS.len() + code;
            let numbers = &mut Numbers::new(seed);
            let count = 5 * width;
            let x = some::<T>(count, numbers);
            let bias = Elements::<T>::new((0..width).map(|_| 0.0), 0);
            let mut bias = Some(bias).filter(|_| !seed.is_multiple_of(3));
            if let Some(bias) = &mut bias {
                bias.as_mut().fill_with(|| T::of(numbers.normal()));
            }
            let mut out = Elements::<T>::poison(count, 0);
            let to = out.as_mut().as_mut_ptr();
            let of_bias = bias
                .as_ref()
                .map_or(std::ptr::null(), |bias| bias.address(0));
            // SAFETY: the sizes are those of the elements.
            kernels.launch(grid(seed), &|| unsafe {
                kernel(x.address(0), of_bias, to, count, width as u32, code as i32);
            });
            let what = || format!("{name} {code} of rows of {width}");
            out.assert_written_inside_only(&what());
            let bias = bias.map_or_else(|| vec![0.0; width], |bias| bias.wide());
            for ((&found, x), b) in out.as_ref().iter().zip(x.wide()).zip(bias.iter().cycle()) {
                assert_activated(found, x + b, activation, what);
            }
        }
    }
    // SAFETY: the function of that name has this type.
    let kernel: AddActivation<T> =
        unsafe { kernels.function(&format!("add_activation_{}", T::NAME)) };
    for (code, activation) in ACTIVATIONS.into_iter().enumerate() {
        for count in [1, 31, 257, 1000] {
            let numbers = &mut Numbers::new(count + code);
            let (x, y) = (some::<T>(count, numbers), some::<T>(count, numbers));
            let mut out = Elements::<T>::poison(count, 0);
            let to = out.as_mut().as_mut_ptr();
            // SAFETY: the sizes are those of the elements.
            kernels.launch(grid(code), &|| unsafe {
                kernel(x.address(0), y.address(0), to, count, code as i32);
            });
            let what = || format!("add_activation {code} of {count}");
            out.assert_written_inside_only(&what());
            for ((&found, x), y) in out.as_ref().iter().zip(x.wide()).zip(y.wide()) {
                assert_activated(found, x + y, activation, what);
            }
        }
    }
}

fn assert_activated<T: Element>(
    found: T,
    x: f64,
    activation: fn(f64) -> f64,
    what: impl Fn() -> String,
) {
    let slack = 6e-7 * (1.0 + if x.is_finite() { x.abs() } else { 0.0 });
    assert_near(found, activation(x), slack, || format!("{} at {x}", what()));
}

/// The kernel `layer_norm` in one of its forms, for `rows` rows.
#[derive(Clone, Copy, Debug)]
enum Norm {
    /// A block for each row, of so many threads.
    Blocks(usize),
    /// A warp for each row, of which a lane has at most so many chunks.
    Chunks(usize),
}

fn check_layer_norm<T: Element>(kernels: &Kernels) {
    let widths = [1usize, 2, 3, 31, 32, 33, 50, 96, 257, 768, 1030];
    for (number, width) in widths.into_iter().enumerate() {
        let threads = width.div_ceil(4).next_multiple_of(32).clamp(32, 256);
        check_norm::<T>(kernels, Norm::Blocks(threads), width, number);
    }
    let lanes = 16 / size_of::<T>();
    for (number, (chunks, per)) in [(1, 4), (33, 4), (96, 4), (128, 4), (129, 8), (256, 8)]
        .into_iter()
        .enumerate()
    {
        check_norm::<T>(kernels, Norm::Chunks(per), chunks * lanes, number);
    }
}

fn check_norm<T: Element>(kernels: &Kernels, norm: Norm, width: usize, number: usize) {
    // A mean that is large beside the deviation is taken away exactly.
    for (mean, eps) in [(0.0, 1e-5f32), (4096.0, 1e-6)] {
        let numbers = &mut Numbers::new(number);
        let rows = 3;
        let value = |_| mean + numbers.normal() * 20.0;
        let values: Vec<f64> = (0..rows * width).map(value).collect();
        let is_odd = matches!(norm, Norm::Blocks(_));
        let x = Elements::<T>::new(values.into_iter(), if is_odd { number % 2 } else { 0 });
        let affine: Vec<f64> = (0..2 * width).map(|_| numbers.normal()).collect();
        let (weight, bias) = affine.split_at(width);
        let weight = Elements::<f32>::new(weight.iter().copied(), 0);
        let bias = Elements::<f32>::new(bias.iter().copied(), 0);
        let mut out = Elements::<T>::poison(rows * width, usize::from(is_odd));
        let to = out.as_mut().as_mut_ptr();
        let grid = |blocks, threads| Grid {
            blocks: [blocks, 1, 1],
            threads,
            backwards: number.is_multiple_of(2),
        };
        let threads = match norm {
            Norm::Blocks(threads) => {
                // SAFETY: the function of that name has this type.
                let kernel: LayerNorm<T> =
                    unsafe { kernels.function(&format!("layer_norm_{}", T::NAME)) };
                // SAFETY: the sizes are those of the elements.
                kernels.launch(grid(rows, threads), &|| unsafe {
                    let (weight, bias) = (weight.address(0), bias.address(0));
                    kernel(x.address(0), weight, bias, to, width as u32, eps);
                });
                threads
            }
            Norm::Chunks(per) => {
                let name = format!("layer_norm_chunks_{per}_{}", T::NAME);
                // SAFETY: the function of that name has this type.
                let kernel: LayerNormChunks<T> = unsafe { kernels.function(&name) };
                // SAFETY: the sizes are those of the elements.
                kernels.launch(grid(2, 64), &|| unsafe {
                    let (weight, bias) = (weight.address(0), bias.address(0));
                    kernel(x.address(0), weight, bias, to, rows, width as u32, eps);
                });
                32
            }
        };
        let what = || format!("{norm:?} of rows of {width} around {mean}");
        out.assert_written_inside_only(&what());
        let (x, weight, bias) = (x.wide(), weight.wide(), bias.wide());
        for (x, found) in x.chunks(width).zip(out.as_ref().chunks(width)) {
            let mean = x.iter().sum::<f64>() / width as f64;
            let squares: f64 = x.iter().map(|v| (v - mean).powi(2)).sum();
            let inverse = 1.0 / (squares / width as f64 + f64::from(eps)).sqrt();
            // Of sums in float: each thread's, then those of five steps in a warp and five between warps.
            let shift = mean.abs() * (width.div_ceil(threads) + 12) as f64 * f32::ROUNDING;
            for (((x, w), b), &found) in x.iter().zip(&weight).zip(&bias).zip(found) {
                let product = (x - mean) * inverse * w;
                let slack = shift * inverse * w.abs() + 4e-6 * (product.abs() + b.abs());
                assert_near(found, product + b, slack, what);
            }
        }
    }
}

fn check_softmax<T: Element>(kernels: &Kernels) {
    // SAFETY: the function of that name has this type.
    let kernel: Softmax<T> = unsafe { kernels.function(&format!("softmax_{}", T::NAME)) };
    let (batch, heads, queries, scale) = (2, 3, 5, 0.37f32);
    let rows = batch * heads * queries;
    for (number, keys) in [1, 7, 31, 32, 33, 130].into_iter().enumerate() {
        for allowed in Allowed::EACH {
            let numbers = &mut Numbers::new(number);
            let mask = Mask::new(allowed, [batch, heads, queries, keys], numbers);
            let values: Vec<f64> = (0..rows * keys).map(|_| numbers.normal() * 8.0).collect();
            let x = Elements::<T>::new(values.into_iter(), number % 2);
            let grid = Grid {
                blocks: [rows.div_ceil(8), 1, 1],
                threads: 256,
                backwards: number % 2 == 1,
            };
            let mut out = Elements::<T>::poison(rows * keys, 1);
            let to = out.as_mut().as_mut_ptr();
            let [mask_batch, mask_heads, mask_queries] = mask.counts();
            // SAFETY: the sizes are those of the elements.
            kernels.launch(grid, &|| unsafe {
                kernel(
                    x.address(0),
                    mask.address(),
                    to,
                    rows,
                    heads as u32,
                    queries as u32,
                    keys as u32,
                    mask_batch,
                    mask_heads,
                    mask_queries,
                    scale,
                );
            });
            let what = || format!("softmax over {keys} of {allowed:?}");
            out.assert_written_inside_only(&what());
            let x = x.wide();
            let found = out.as_ref().chunks(keys);
            for (row, (x, found)) in x.chunks(keys).zip(found).enumerate() {
                let mut shares: Vec<f64> = x.iter().map(|x| x * f64::from(scale)).collect();
                let place = [row / queries / heads, row / queries % heads, row % queries];
                mask.softmax(place, &mut shares);
                for (share, &found) in shares.into_iter().zip(found) {
                    assert_near(found, share, 4e-6 * share, what);
                }
            }
        }
    }
}

#[test]
fn activations_are_those_of_f64() {
    let Some(kernels) = FUSED.as_ref() else {
        return;
    };
    check_activations::<f32>(kernels);
    check_activations::<f16>(kernels);
    check_activations::<bf16>(kernels);
}

#[test]
fn layer_norm_is_that_of_f64() {
    let Some(kernels) = FUSED.as_ref() else {
        return;
    };
    check_layer_norm::<f32>(kernels);
    check_layer_norm::<f16>(kernels);
    check_layer_norm::<bf16>(kernels);
}

#[test]
fn softmax_is_that_of_f64() {
    let Some(kernels) = FUSED.as_ref() else {
        return;
    };
    check_softmax::<f32>(kernels);
    check_softmax::<f16>(kernels);
    check_softmax::<bf16>(kernels);
}
