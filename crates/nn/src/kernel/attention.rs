//! Attention of several heads, without the matrix of all scores: a task takes some queries of an item, and of each
//! head keeps their scores only.
//!
//! The two products are those of [`super::product`], with keys and values as right sides. Few queries, as in a step of
//! a decoder, are not worth the preparation: their products are taken key by key.

use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};
use rayon::prelude::*;

use super::rows::Matrix;
use super::tiles::{Aligned, Panel, Tiles, WIDEST_PANEL, pack_columns, panel_len, panel_width};
use super::{Softmax, TASK_ELEMENTS, sum_products};

/// Queries of a task, at least (if there are as many) and at most.
const QUERIES: (usize, usize) = (16, 96);

/// Queries below which keys and values are taken as they lie.
const FEW: usize = 4;

/// Vectors of the positions of several items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Positions<'a> {
    pub(crate) elements: &'a [f32],
    /// Elements from an item to the next one.
    pub(crate) item: usize,
    /// Elements from a position to the next one.
    pub(crate) position: usize,
}

impl<'a> Positions<'a> {
    #[inline(always)]
    fn of_item(&self, item: usize, start: usize) -> &'a [f32] {
        &self.elements[item * self.item + start..]
    }
}

/// How many there are of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
}

/// What is attended to: queries, keys and values, vectors of all heads side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attended<'a> {
    pub(crate) queries: Positions<'a>,
    pub(crate) keys: Positions<'a>,
    pub(crate) values: Positions<'a>,
    pub(crate) sizes: Sizes,
    /// Factor of the scores.
    pub(crate) scale: f32,
}

/// `out = softmax(scale * q k + mask) v` in each head, `out` `[items, queries, heads * head_dim]`; `mask_of` gives the
/// additive mask of an item's head's query.
pub(crate) fn attend<'m>(
    out: &mut [f32],
    attended: &Attended<'_>,
    mask_of: impl Fn(usize, usize, usize) -> Option<&'m [f32]> + Sync,
) {
    let sizes = attended.sizes;
    let inner = sizes.heads * sizes.head_dim;
    let item = sizes.queries * inner;
    if item == 0 || out.is_empty() {
        return;
    }
    if sizes.keys == 0 {
        return out.fill(0.0);
    }
    let items = out.len() / item;
    let block = |item: usize, first_query: usize, out: &mut [f32]| {
        Arch::new().dispatch(Block {
            out,
            item,
            first_query,
            attended,
            mask_of: &mask_of,
        });
    };
    let threads = rayon::current_num_threads();
    if threads == 1 || items * sizes.queries * sizes.keys * sizes.heads < TASK_ELEMENTS {
        for (number, out) in out.chunks_exact_mut(item).enumerate() {
            for (part, out) in out.chunks_mut(QUERIES.1 * inner).enumerate() {
                block(number, part * QUERIES.1, out);
            }
        }
        return;
    }
    // Enough tasks for the threads to end together.
    let wanted = sizes.queries.div_ceil((2 * threads).div_ceil(items));
    let queries = wanted.clamp(QUERIES.0, QUERIES.1);
    out.par_chunks_exact_mut(item)
        .enumerate()
        .for_each(|(number, out)| {
            out.par_chunks_mut(queries * inner)
                .enumerate()
                .for_each(|(part, out)| block(number, part * queries, out));
        });
}

/// Some queries of an item.
struct Block<'o, 'a, M> {
    out: &'o mut [f32],
    item: usize,
    first_query: usize,
    attended: &'a Attended<'a>,
    mask_of: &'a M,
}

impl<'m, M: Fn(usize, usize, usize) -> Option<&'m [f32]>> WithSimd for Block<'_, '_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Sizes {
            heads, head_dim, ..
        } = self.attended.sizes;
        if self.out.len() / (heads * head_dim) < FEW {
            self.one_by_one();
        } else {
            self.together(simd);
        }
    }
}

impl<'m, M: Fn(usize, usize, usize) -> Option<&'m [f32]>> Block<'_, '_, M> {
    #[inline(always)]
    fn one_by_one(self) {
        let Attended {
            queries,
            keys,
            values,
            sizes,
            scale,
        } = *self.attended;
        let Sizes {
            keys: len,
            heads,
            head_dim,
            ..
        } = sizes;
        let mut scores = vec![0.0f32; len];
        for (i, row) in self.out.chunks_exact_mut(heads * head_dim).enumerate() {
            let query = self.first_query + i;
            for (head, out) in row.chunks_exact_mut(head_dim).enumerate() {
                let start = head * head_dim;
                let vector = queries.of_item(self.item, query * queries.position + start);
                let vector = &vector[..head_dim];
                let all = keys.of_item(self.item, start).chunks(keys.position);
                for (score, key) in scores.iter_mut().zip(all) {
                    *score = sum_products(vector, &key[..head_dim]);
                }
                let mask = (self.mask_of)(self.item, head, query);
                let row = &mut scores[..];
                Softmax { row, scale, mask }.call();
                out.fill(0.0);
                let all = values.of_item(self.item, start).chunks(values.position);
                for (&share, value) in scores.iter().zip(all) {
                    for (sum, &value) in out.iter_mut().zip(&value[..head_dim]) {
                        *sum += share * value;
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn together<S: Simd>(self, simd: S) {
        let Attended {
            queries,
            keys,
            values,
            sizes,
            scale,
        } = *self.attended;
        let Sizes {
            keys: len,
            heads,
            head_dim,
            ..
        } = sizes;
        let (key_width, value_width) = (panel_width(len), panel_width(head_dim));
        let mut out: Vec<&mut [f32]> = self.out.chunks_exact_mut(heads * head_dim).collect();
        let rows = out.len();
        let mut scores = vec![0.0f32; rows * len];
        let mut query_tiles = Tiles::new(simd, rows, head_dim, key_width);
        let mut share_tiles = Tiles::new(simd, rows, len, value_width);
        let mut key_panel = Aligned::zeros(panel_len(key_width, head_dim));
        let mut value_panel = Aligned::zeros(panel_len(value_width, len));
        for head in 0..heads {
            let start = head * head_dim;
            let matrix = Matrix {
                elements: queries.of_item(self.item, start),
                stride: queries.position,
            };
            let of = self.first_query..self.first_query + rows;
            query_tiles.fill(&matrix, of, 0..head_dim);
            let all = keys.of_item(self.item, start);
            let mut score_rows: Vec<&mut [f32]> = scores.chunks_exact_mut(len).collect();
            for from in (0..len).step_by(key_width) {
                let to = (from + key_width).min(len);
                let mut columns = [&[][..]; WIDEST_PANEL];
                for (column, i) in columns.iter_mut().zip(from..to) {
                    *column = &all[i * keys.position..][..head_dim];
                }
                let panel = key_panel.as_mut_slice();
                pack_columns(panel, &columns[..to - from], key_width);
                let panel = Panel {
                    elements: panel,
                    width: key_width,
                };
                query_tiles.multiply(simd, &mut score_rows, from..to, panel, true);
            }
            for (i, row) in scores.chunks_exact_mut(len).enumerate() {
                let mask = (self.mask_of)(self.item, head, self.first_query + i);
                Softmax { row, scale, mask }.call();
            }
            let shares = Matrix {
                elements: &scores,
                stride: len,
            };
            share_tiles.fill(&shares, 0..rows, 0..len);
            let all = values.of_item(self.item, start);
            for from in (0..head_dim).step_by(value_width) {
                let to = (from + value_width).min(head_dim);
                let panel = value_panel.as_mut_slice();
                let rows = panel.chunks_exact_mut(value_width).take(len);
                for (row, value) in rows.zip(all.chunks(values.position)) {
                    row[..to - from].copy_from_slice(&value[from..to]);
                }
                let columns = start + from..start + to;
                let panel = Panel {
                    elements: panel,
                    width: value_width,
                };
                share_tiles.multiply(simd, &mut out, columns, panel, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same numbers in every run.
    fn wave(len: usize, step: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * step).sin()).collect()
    }

    /// What the formula says, in 64 bits.
    fn exact(a: &Attended<'_>, items: usize, mask: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let Sizes {
            queries,
            keys,
            heads,
            head_dim,
        } = a.sizes;
        let at = |p: &Positions<'_>, item: usize, t: usize, i: usize| {
            f64::from(p.elements[item * p.item + t * p.position + i])
        };
        let mut out = Vec::new();
        for item in 0..items {
            for t in 0..queries {
                for head in 0..heads {
                    let dims = head * head_dim..(head + 1) * head_dim;
                    let scores = (0..keys).map(|s| {
                        let products = dims
                            .clone()
                            .map(|i| at(&a.queries, item, t, i) * at(&a.keys, item, s, i));
                        let score: f64 = products.sum();
                        (score * f64::from(a.scale) + f64::from(mask(t, s))).exp()
                    });
                    let scores: Vec<f64> = scores.collect();
                    let total: f64 = scores.iter().sum();
                    for i in dims {
                        let sum: f64 = (0..keys)
                            .map(|s| scores[s] * at(&a.values, item, s, i))
                            .sum();
                        out.push((sum / total) as f32);
                    }
                }
            }
        }
        out
    }

    #[test]
    fn every_number_of_queries_and_keys_gives_what_the_formula_says() {
        let (items, heads, head_dim) = (2, 3, 5);
        let inner = heads * head_dim;
        for (queries, keys) in [(1, 1), (3, 7), (4, 40), (50, 33), (130, 70)] {
            // Keys and values side by side, as one projection makes them.
            let q = wave(items * queries * inner, 0.37);
            let kv = wave(items * keys * 2 * inner, 0.73);
            let side = |start: usize| Positions {
                elements: &kv[start..],
                item: keys * 2 * inner,
                position: 2 * inner,
            };
            let attended = Attended {
                queries: Positions {
                    elements: &q,
                    item: queries * inner,
                    position: inner,
                },
                keys: side(0),
                values: side(inner),
                sizes: Sizes {
                    queries,
                    keys,
                    heads,
                    head_dim,
                },
                scale: 0.7,
            };
            let masks: Vec<f32> = (0..queries * keys)
                .map(|i| if i % 5 == 4 { -1e9 } else { 0.0 })
                .collect();
            let mut out = vec![f32::NAN; items * queries * inner];
            attend(&mut out, &attended, |_, _, t| {
                masks.get(t * keys..(t + 1) * keys)
            });
            let expected = exact(&attended, items, |t, s| masks[t * keys + s]);
            for (found, expected) in out.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() < 2e-6,
                    "{queries} {keys}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn an_item_has_the_same_bits_alone_as_among_others() {
        let (items, queries, inner) = (3, 9, 8);
        let x = wave(items * queries * inner, 0.61);
        let run = |x: &[f32]| {
            let positions = Positions {
                elements: x,
                item: queries * inner,
                position: inner,
            };
            let attended = Attended {
                queries: positions,
                keys: positions,
                values: positions,
                sizes: Sizes {
                    queries,
                    keys: queries,
                    heads: 2,
                    head_dim: inner / 2,
                },
                scale: 0.5,
            };
            let mut out = vec![f32::NAN; x.len()];
            attend(&mut out, &attended, |_, _, _| None);
            out
        };
        let all = run(&x);
        let item = queries * inner;
        assert_eq!(run(&x[item..2 * item]), all[item..2 * item]);
    }
}
