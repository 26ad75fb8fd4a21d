//! Gradients of the element-wise kernels, of layer norm and of attention.
//!
//! What is summed over rows is summed in groups of rows of a fixed size and in their order, so that the bits do not depend on
//! the number of threads.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::attention::{Attended, Sizes};
use super::{TASK_ELEMENTS, exp, for_rows, sum, sum_products};
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
        // Columns of keys and values side by side, so that a query's scores are sums of rows, and what keys and values get too.
        let mut key_columns = vec![0.0f32; head_dim * keys];
        let mut value_columns = vec![0.0f32; head_dim * keys];
        let mut of_key_columns = vec![0.0f32; head_dim * keys];
        let mut of_value_columns = vec![0.0f32; head_dim * keys];
        let mut shares = vec![0.0f32; keys];
        let mut slopes = vec![0.0f32; keys];
        for head in 0..heads {
            for s in 0..keys {
                let key = of(&attended.keys, s, head);
                let value = of(&attended.values, s, head);
                for d in 0..head_dim {
                    key_columns[d * keys + s] = attended.keys.elements[key + d];
                    value_columns[d * keys + s] = attended.values.elements[value + d];
                }
            }
            of_key_columns.fill(0.0);
            of_value_columns.fill(0.0);
            for t in 0..queries {
                let query = of(&attended.queries, t, head);
                let query = &attended.queries.elements[query..query + head_dim];
                let start = t * inner + head * head_dim;
                let gradient = &self.gradient[start..start + head_dim];
                combine(&mut shares, query, &key_columns);
                match (self.mask_of)(self.number, head, t) {
                    Some(mask) => {
                        for (v, &m) in shares.iter_mut().zip(mask) {
                            *v = *v * scale + m;
                        }
                    }
                    None => shares.iter_mut().for_each(|v| *v *= scale),
                }
                let max = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                for v in &mut shares {
                    *v = exp(*v - max);
                }
                let inverse = 1.0 / sum(&shares, |v| v);
                for v in &mut shares {
                    *v *= inverse;
                }
                combine(&mut slopes, gradient, &value_columns);
                let level = sum_products(&shares, &slopes);
                for (slope, &share) in slopes.iter_mut().zip(&shares) {
                    *slope = share * (*slope - level);
                }
                if let Some(scores) = &mut self.scores {
                    let row = (head * queries + t) * keys;
                    scores[row..row + keys].copy_from_slice(&slopes);
                }
                let of_query = &mut self.of_queries[start..start + head_dim];
                for (d, of_query) in of_query.iter_mut().enumerate() {
                    let column = d * keys..(d + 1) * keys;
                    *of_query = scale * sum_products(&slopes, &key_columns[column.clone()]);
                    add(
                        &mut of_key_columns[column.clone()],
                        scale * query[d],
                        &slopes,
                    );
                    add(&mut of_value_columns[column], gradient[d], &shares);
                }
            }
            for s in 0..keys {
                let at = s * 2 * inner + head * head_dim;
                for d in 0..head_dim {
                    self.of_seen[at + d] = of_key_columns[d * keys + s];
                    self.of_seen[at + inner + d] = of_value_columns[d * keys + s];
                }
            }
        }
    }
}

/// `out = row * columns`, `columns` as many rows as `row` is long.
#[inline(always)]
fn combine(out: &mut [f32], row: &[f32], columns: &[f32]) {
    out.fill(0.0);
    for (&factor, column) in row.iter().zip(columns.chunks_exact(out.len())) {
        add(out, factor, column);
    }
}

/// `out += factor * column`.
#[inline(always)]
fn add(out: &mut [f32], factor: f32, column: &[f32]) {
    for (sum, &v) in out.iter_mut().zip(column) {
        *sum += factor * v;
    }
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
