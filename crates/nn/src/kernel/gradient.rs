//! Gradients of the element-wise kernels, of layer norm and of attention.
//!
//! What is summed over rows is summed in groups of rows of a fixed size and in their order, so that the bits do not depend on
//! the number of threads.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::attention::{Attended, Sizes};
use super::{LANES, TASK_ELEMENTS, exp, for_rows, sum, sum_products};
use crate::activation::Activation;

/// Rows whose share in a sum over all rows is taken together.
const GROUP_ROWS: usize = 64;

/// `gradient *= activation'(x)`.
pub(crate) fn activation(gradient: &mut [f32], x: &[f32], activation: Activation) {
    for_rows(gradient, 1, |gradient, first| {
        let x = &x[first..first + gradient.len()];
        Arch::new().dispatch(Activate {
            gradient,
            x,
            activation,
        });
    });
}

struct Activate<'a> {
    gradient: &'a mut [f32],
    x: &'a [f32],
    activation: Activation,
}

impl NullaryFnOnce for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (gradient, x) = (self.gradient, self.x);
        match self.activation {
            Activation::QuickGelu => times(gradient, x, |x| {
                let s = 1.0 / (1.0 + exp(-1.702 * x));
                s + 1.702 * x * s * (1.0 - s)
            }),
            // Φ(x) + x φ(x).
            Activation::Gelu => times(gradient, x, |x| {
                /// 1 / sqrt(2 π).
                const DENSITY: f32 = 0.398_942_3;
                let below = 0.5 * (1.0 + super::erf(x * std::f32::consts::FRAC_1_SQRT_2));
                below + x * DENSITY * exp(-0.5 * x * x)
            }),
            Activation::GeluTanh => times(gradient, x, |x| {
                /// `2 sqrt(2 / π)`.
                const TWICE: f32 = 1.595_769;
                let s = 1.0 / (1.0 + exp(-TWICE * (x + 0.044_715 * x * x * x)));
                s + x * s * (1.0 - s) * TWICE * (1.0 + 3.0 * 0.044_715 * x * x)
            }),
            Activation::Relu => times(gradient, x, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Activation::Silu => times(gradient, x, |x| {
                let s = 1.0 / (1.0 + exp(-x));
                s + x * s * (1.0 - s)
            }),
            Activation::Sigmoid => times(gradient, x, |x| {
                let s = 1.0 / (1.0 + exp(-x));
                s * (1.0 - s)
            }),
        }
    }
}

#[inline(always)]
fn times(gradient: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    for (gradient, &x) in gradient.iter_mut().zip(x) {
        *gradient *= f(x);
    }
}

/// Sums of the rows of `x`, as wide as `out`.
pub(crate) fn sum_rows(out: &mut [f32], x: &[f32]) {
    let width = out.len();
    let groups = x.par_chunks((GROUP_ROWS * width).max(1)).map(|rows| {
        let mut part = vec![0.0f32; width];
        for row in rows.chunks_exact(width) {
            part.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
        }
        part
    });
    let groups: Vec<Vec<f32>> = groups.collect();
    for part in groups {
        out.iter_mut().zip(part).for_each(|(sum, v)| *sum += v);
    }
}

/// What a layer norm's input gets, and its weight and bias, of the gradient of its output; all of rows as wide as `weight`.
pub(crate) fn layer_norm(
    gradient: &[f32],
    x: &[f32],
    weight: &[f32],
    eps: f32,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let width = weight.len().max(1);
    let mut of_x = vec![0.0f32; x.len()];
    let group = GROUP_ROWS * width;
    let parts = of_x.par_chunks_mut(group).zip(x.par_chunks(group));
    let parts = parts.zip(gradient.par_chunks(group));
    let parts: Vec<Vec<f32>> = parts
        .map(|((out, x), gradient)| {
            // Of the weight, and behind it of the bias.
            let mut affine = vec![0.0f32; 2 * width];
            Arch::new().dispatch(LayerNorm {
                out,
                affine: &mut affine,
                gradient,
                x,
                weight,
                eps,
            });
            affine
        })
        .collect();
    let mut affine = vec![0.0f32; 2 * width];
    for part in parts {
        affine.iter_mut().zip(part).for_each(|(sum, v)| *sum += v);
    }
    let of_bias = affine.split_off(width);
    (of_x, affine, of_bias)
}

struct LayerNorm<'a> {
    out: &'a mut [f32],
    affine: &'a mut [f32],
    gradient: &'a [f32],
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
}

impl NullaryFnOnce for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.weight.len();
        let (of_weight, of_bias) = self.affine.split_at_mut(width);
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.gradient.chunks_exact(width));
        for (out, (x, gradient)) in self.out.chunks_exact_mut(width).zip(rows) {
            let mean = sum(x, |v| v) / width as f32;
            let variance = sum(x, |v| (v - mean) * (v - mean)) / width as f32;
            let inverse = 1.0 / (variance + self.eps).sqrt();
            for (out, &x) in out.iter_mut().zip(x) {
                *out = (x - mean) * inverse;
            }
            let affine = of_weight.iter_mut().zip(of_bias.iter_mut());
            for ((of_weight, of_bias), (&standard, &g)) in affine.zip(out.iter().zip(gradient)) {
                *of_weight += g * standard;
                *of_bias += g;
            }
            // What the standardised values get: its mean, and its mean along them.
            let mut level = 0.0;
            let mut slope = 0.0;
            for ((&g, &w), &standard) in gradient.iter().zip(self.weight).zip(out.iter()) {
                level += g * w;
                slope += g * w * standard;
            }
            let (level, slope) = (level / width as f32, slope / width as f32);
            for ((out, &g), &w) in out.iter_mut().zip(gradient).zip(self.weight) {
                *out = inverse * (g * w - level - *out * slope);
            }
        }
    }
}

/// What queries `[items, queries, heads * head_dim]` get, and keys with values behind them
/// `[items, keys, 2 * heads * head_dim]`, of the gradient of what [`super::attention::attend`] makes. With `of_scores`, which
/// then has `items * heads * queries * keys` elements, the gradient of the scores behind the mask is written there.
pub(crate) fn attention<'m>(
    gradient: &[f32],
    attended: &Attended<'_>,
    mask_of: impl Fn(usize, usize, usize) -> Option<&'m [f32]> + Sync,
    of_scores: Option<&mut [f32]>,
) -> (Vec<f32>, Vec<f32>) {
    let Sizes {
        queries,
        keys,
        heads,
        head_dim,
    } = attended.sizes;
    let inner = heads * head_dim;
    let items = gradient.len() / (queries * inner).max(1);
    let mut of_queries = vec![0.0f32; items * queries * inner];
    let mut of_seen = vec![0.0f32; items * keys * 2 * inner];
    if items == 0 || queries == 0 || keys == 0 || inner == 0 {
        return (of_queries, of_seen);
    }
    let of_item = heads * queries * keys;
    let mut nothing = Vec::new();
    let scores: Vec<Option<&mut [f32]>> = if let Some(scores) = of_scores {
        scores.chunks_exact_mut(of_item).map(Some).collect()
    } else {
        nothing.resize_with(items, || None);
        nothing
    };
    let parts: Vec<_> = of_queries
        .chunks_exact_mut(queries * inner)
        .zip(of_seen.chunks_exact_mut(keys * 2 * inner))
        .zip(gradient.chunks_exact(queries * inner))
        .zip(scores)
        .enumerate()
        .collect();
    let each = |(item, (((of_queries, of_seen), gradient), scores)): (usize, Part<'_>)| {
        Arch::new().dispatch(Item {
            number: item,
            of_queries,
            of_seen,
            gradient,
            attended,
            mask_of: &mask_of,
            scores,
        });
    };
    if items * of_item * head_dim < TASK_ELEMENTS {
        parts.into_iter().for_each(each);
    } else {
        parts.into_par_iter().for_each(each);
    }
    (of_queries, of_seen)
}

/// What an item's queries get, what is seen, what the item gets, and what its scores get.
type Part<'a> = (
    ((&'a mut [f32], &'a mut [f32]), &'a [f32]),
    Option<&'a mut [f32]>,
);

/// An item of [`attention`].
struct Item<'o, 'a, M> {
    number: usize,
    of_queries: &'o mut [f32],
    of_seen: &'o mut [f32],
    gradient: &'o [f32],
    attended: &'a Attended<'a>,
    mask_of: &'a M,
    scores: Option<&'o mut [f32]>,
}

impl<'m, M: Fn(usize, usize, usize) -> Option<&'m [f32]>> NullaryFnOnce for Item<'_, '_, M> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let Sizes {
            queries,
            keys,
            heads,
            head_dim,
        } = self.attended.sizes;
        let inner = heads * head_dim;
        let of = |positions: &super::attention::Positions<'_>, at: usize, head: usize| {
            self.number * positions.item + at * positions.position + head * head_dim
        };
        let attended = self.attended;
        let scale = attended.scale;
        // Columns of keys and values side by side, so that a query's scores are sums of rows. Rows are filled up with zeros to
        // whole registers: short ones would be all remainder.
        let wide = keys.next_multiple_of(LANES);
        let mut key_columns = vec![0.0f32; head_dim * wide];
        let mut value_columns = vec![0.0f32; head_dim * wide];
        // Of each query, its share in every key, and the gradient of its scores.
        let mut shares = vec![0.0f32; queries * wide];
        let mut slopes = vec![0.0f32; queries * wide];
        for head in 0..heads {
            let query =
                |t| &attended.queries.elements[of(&attended.queries, t, head)..][..head_dim];
            let key = |s| &attended.keys.elements[of(&attended.keys, s, head)..][..head_dim];
            let value = |s| &attended.values.elements[of(&attended.values, s, head)..][..head_dim];
            let column = head * head_dim;
            let gradient = |t: usize| &self.gradient[t * inner + column..][..head_dim];
            for s in 0..keys {
                let (key, value) = (key(s), value(s));
                for d in 0..head_dim {
                    key_columns[d * wide + s] = key[d];
                    value_columns[d * wide + s] = value[d];
                }
            }
            let rows = shares
                .chunks_exact_mut(wide)
                .zip(slopes.chunks_exact_mut(wide));
            for (t, (shares, slopes)) in rows.enumerate() {
                let (query, gradient) = (query(t), gradient(t));
                combine(shares, head_dim, |d| {
                    (query[d], &key_columns[d * wide..][..wide])
                });
                match (self.mask_of)(self.number, head, t) {
                    Some(mask) => {
                        for (v, &m) in shares.iter_mut().zip(mask) {
                            *v = *v * scale + m;
                        }
                    }
                    None => shares.iter_mut().for_each(|v| *v *= scale),
                }
                shares[keys..].fill(f32::NEG_INFINITY);
                let max = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                for v in shares.iter_mut() {
                    *v = exp(*v - max);
                }
                let inverse = 1.0 / sum(shares, |v| v);
                for v in shares.iter_mut() {
                    *v *= inverse;
                }
                combine(slopes, head_dim, |d| {
                    (gradient[d], &value_columns[d * wide..][..wide])
                });
                let level = sum_products(shares, slopes);
                for (slope, &share) in slopes.iter_mut().zip(shares.iter()) {
                    *slope = share * (*slope - level);
                }
                if let Some(scores) = &mut self.scores {
                    let row = (head * queries + t) * keys;
                    scores[row..row + keys].copy_from_slice(&slopes[..keys]);
                }
                for v in slopes.iter_mut() {
                    *v *= scale;
                }
                let of_query = &mut self.of_queries[t * inner + column..][..head_dim];
                combine(of_query, keys, |s| (slopes[s], key(s)));
            }
            for s in 0..keys {
                let row = &mut self.of_seen[s * 2 * inner..(s + 1) * 2 * inner];
                let (of_key, of_value) = row.split_at_mut(inner);
                let of_key = &mut of_key[column..column + head_dim];
                combine(of_key, queries, |t| (slopes[t * wide + s], query(t)));
                let of_value = &mut of_value[column..column + head_dim];
                combine(of_value, queries, |t| (shares[t * wide + s], gradient(t)));
            }
        }
    }
}

/// `out` = the sum of `count` rows, each as long and times its factor, added in order.
#[inline(always)]
fn combine<'r>(out: &mut [f32], count: usize, row: impl Fn(usize) -> (f32, &'r [f32])) {
    let mut at = 0;
    at = combine_stretches::<{ 2 * LANES }>(out, at, count, &row);
    at = combine_stretches::<LANES>(out, at, count, &row);
    at = combine_stretches::<4>(out, at, count, &row);
    combine_stretches::<1>(out, at, count, &row);
}

/// Of [`combine`], as many whole stretches of columns as there are from `at` on: their sums stay in registers. Returns where
/// what is left begins.
#[inline(always)]
fn combine_stretches<'r, const WIDTH: usize>(
    out: &mut [f32],
    mut at: usize,
    count: usize,
    row: &impl Fn(usize) -> (f32, &'r [f32]),
) -> usize {
    while at + WIDTH <= out.len() {
        let mut sums = [0.0f32; WIDTH];
        for number in 0..count {
            let (factor, row) = row(number);
            let row = &row[at..at + WIDTH];
            for lane in 0..WIDTH {
                sums[lane] += factor * row[lane];
            }
        }
        out[at..at + WIDTH].copy_from_slice(&sums);
        at += WIDTH;
    }
    at
}

/// Of `rows` of logits, each with the label of the same number: what the logits get of the mean cross entropy times
/// `factor`.
pub(crate) fn cross_entropy(logits: &mut [f32], labels: &[u32], factor: f32) {
    let width = logits.len() / labels.len().max(1);
    let each = factor / labels.len().max(1) as f32;
    for_rows(logits, width, |rows, first| {
        for (row, &label) in rows.chunks_exact_mut(width).zip(&labels[first..]) {
            Arch::new().dispatch(Shares { row, each });
            row[label as usize] -= each;
        }
    });
}

struct Shares<'a> {
    row: &'a mut [f32],
    each: f32,
}

impl NullaryFnOnce for Shares<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let max = self.row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for v in self.row.iter_mut() {
            *v = exp(*v - max);
        }
        let inverse = self.each / sum(self.row, |v| v);
        self.row.iter_mut().for_each(|v| *v *= inverse);
    }
}
