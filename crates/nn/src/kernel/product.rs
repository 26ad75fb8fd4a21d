//! Products of `f32` matrices whose right side is prepared once.
//!
//! The right side is cut into panels of a few columns ([`Packed`]), the left side into tiles of a few rows while it is
//! multiplied, so that the inner loop reads both in order and keeps a tile's sums in registers (Goto and van de Geijn
//! 2008). With few columns the rows are read where they lie instead ([`Pieces`](super::rows::Pieces)): a convolution of few
//! channels then copies no windows, which would take as long as to multiply them. What follows a product (bias, activation) is done while its result is near.
//!
//! Each element of the result is a sum over the inner dimension in order, in stretches whose length depends on that
//! dimension only: it has the same bits in any batch and with any number of threads, and on every machine that
//! multiplies and adds in one rounding (x86-64 with FMA, 64-bit ARM).

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::activate_here;
use super::rows::{Room, Rows};
use super::tiles::{
    Aligned, Panel, STEP, STREAMS, Tiles, balanced, is_narrow, pack_columns, panel_width,
};
use crate::activation::Activation;
use crate::precision::Precision;

/// Longest stretch of the inner dimension that is summed up in registers; a multiple of [`STEP`].
const DEPTH: usize = 768;

/// Rows of the left side that are brought together: with [`DEPTH`], half a megabyte at most.
const BLOCK_ROWS: usize = 168;

/// Panels that a task has at least, when the columns are divided among threads.
const TASK_PANELS: usize = 4;

/// With this many panels or fewer rows are read where they lie: to bring them together would take as long as to multiply them.
const FEW_PANELS: usize = 4;

/// Where those are longer than a stretch so few are brought together that they stay in the nearest cache.
const FEW_ROWS: usize = 24;

/// Multiplications below which a product stays on one thread.
const TASK_PRODUCTS: usize = 1 << 18;

/// A right side `[input, output]` in panels: of each, a row of its columns after the other. Rows and columns are
/// filled up with zeros to whole steps and panels.
#[derive(Debug)]
pub(crate) struct Packed {
    panels: Panels,
    input: usize,
    output: usize,
    /// Columns of a panel.
    width: usize,
}

/// The elements of the panels, in one order whatever they are kept as.
#[derive(Debug)]
enum Panels {
    F32(Aligned),
    /// Upper halves of `f32`.
    Bf16(Vec<u16>),
    /// Whole numbers, and for each column what one of them is worth.
    Int8(Vec<i8>, Vec<f32>),
}

impl Panels {
    fn zeros(precision: Precision, len: usize, columns: usize) -> Self {
        match precision {
            // Tensors of 16 bits are not packed: candle multiplies them.
            Precision::F32 | Precision::F16 => Self::F32(Aligned::zeros(len)),
            Precision::Bf16 => Self::Bf16(vec![0; len]),
            Precision::Int8 => Self::Int8(vec![0; len], vec![0.0; columns]),
        }
    }
}

/// The nearest number that fits into the upper half of a `f32`, halves to even. What is no number stays so.
fn to_bf16(value: f32) -> u16 {
    half::bf16::from_f32(value).to_bits()
}

/// A column as whole numbers of −127 to 127, each worth what is returned. A column with an element that is not finite
/// is worth NaN: it must not look like weights.
fn to_int8(column: &[f32], to: &mut [i8]) -> f32 {
    let largest = column.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    if !column.iter().all(|v| v.is_finite()) {
        to.fill(1);
        return f32::NAN;
    }
    let worth = largest / 127.0;
    if worth > 0.0 {
        for (to, v) in to.iter_mut().zip(column) {
            *to = (v / worth).round_ties_even() as i8;
        }
    }
    worth
}

impl Packed {
    /// The matrix whose columns are the rows of `parts`, one part after the other: each holds rows of `input` elements,
    /// as the weights of linear maps do.
    pub(crate) fn from_columns(parts: &[&[f32]], input: usize, precision: Precision) -> Self {
        let output = parts.iter().map(|part| part.len()).sum::<usize>() / input.max(1);
        let width = panel_width(output);
        let size = width * input.next_multiple_of(STEP);
        let count = output.div_ceil(width);
        let mut panels = Panels::zeros(precision, count * size, count * width);
        if input > 0 {
            let parts = parts.iter().flat_map(|part| part.chunks_exact(input));
            let columns: Vec<&[f32]> = parts.collect();
            let columns = columns.par_chunks(width);
            match &mut panels {
                Panels::F32(panels) => panels
                    .as_mut_slice()
                    .par_chunks_mut(size)
                    .zip(columns)
                    .for_each(|(panel, columns)| pack_columns(panel, columns, width)),
                Panels::Bf16(panels) => {
                    panels
                        .par_chunks_mut(size)
                        .zip(columns)
                        .for_each(|(panel, columns)| {
                            for (i, column) in columns.iter().enumerate() {
                                let places = panel[i..].iter_mut().step_by(width);
                                for (to, &from) in places.zip(*column) {
                                    *to = to_bf16(from);
                                }
                            }
                        });
                }
                Panels::Int8(panels, worths) => panels
                    .par_chunks_mut(size)
                    .zip(worths.par_chunks_mut(width))
                    .zip(columns)
                    .for_each(|((panel, worths), columns)| {
                        let mut whole = vec![0i8; input];
                        for (i, (column, worth)) in columns.iter().zip(worths).enumerate() {
                            whole.fill(0);
                            *worth = to_int8(column, &mut whole);
                            let places = panel[i..].iter_mut().step_by(width);
                            for (to, &from) in places.zip(&whole) {
                                *to = from;
                            }
                        }
                    }),
            }
        }
        Self {
            panels,
            input,
            output,
            width,
        }
    }

    /// Rows.
    pub(crate) fn input(&self) -> usize {
        self.input
    }

    /// Columns.
    pub(crate) fn output(&self) -> usize {
        self.output
    }

    /// The columns one after the other, as [`Self::from_columns`] took them but for rounding.
    pub(crate) fn columns(&self) -> Vec<f32> {
        let mut columns = vec![0.0; self.input * self.output];
        let mut room = Vec::new();
        for (number, column) in columns.chunks_exact_mut(self.input.max(1)).enumerate() {
            let rows = 0..self.input.next_multiple_of(STEP);
            let panel = self.rows_of_panel(number / self.width, rows, &mut room);
            let elements = panel[number % self.width..].iter().step_by(self.width);
            for (to, &from) in column.iter_mut().zip(elements) {
                *to = from;
            }
        }
        columns
    }

    /// All panels, where they are kept as `f32`.
    #[inline(always)]
    fn as_f32(&self) -> Option<&[f32]> {
        match &self.panels {
            Panels::F32(elements) => Some(elements.as_slice()),
            Panels::Bf16(_) | Panels::Int8(..) => None,
        }
    }

    /// Rows of a panel as `f32`; written to `room` if they are kept as something else.
    #[inline(always)]
    fn rows_of_panel<'p>(
        &'p self,
        number: usize,
        rows: Range<usize>,
        room: &'p mut Vec<f32>,
    ) -> &'p [f32] {
        let start = self.width * (number * self.input.next_multiple_of(STEP) + rows.start);
        let part = start..start + self.width * rows.len();
        if !matches!(self.panels, Panels::F32(_)) {
            room.resize(part.len(), 0.0);
        }
        match &self.panels {
            Panels::F32(elements) => return &elements.as_slice()[part],
            Panels::Bf16(elements) => {
                for (to, &from) in room.iter_mut().zip(&elements[part]) {
                    *to = f32::from_bits(u32::from(from) << 16);
                }
            }
            Panels::Int8(elements, worths) => {
                let worths = &worths[number * self.width..(number + 1) * self.width];
                let rows = elements[part].chunks_exact(self.width);
                for (to, from) in room.chunks_exact_mut(self.width).zip(rows) {
                    for ((to, &from), worth) in to.iter_mut().zip(from).zip(worths) {
                        *to = f32::from(from) * worth;
                    }
                }
            }
        }
        room
    }
}

/// What is done to a product before it is left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finish<'a> {
    /// Added to every row.
    pub(crate) bias: Option<&'a [f32]>,
    /// Applied last.
    pub(crate) activation: Option<Activation>,
}

/// `out = activation(a b + bias)`; `out` has as many rows as fit, `b.output()` elements each, and `a` at
/// least as many.
pub(crate) fn multiply(out: &mut [f32], a: &impl Rows, b: &Packed, finish: Finish<'_>) {
    let columns = b.output;
    if columns == 0 || out.is_empty() {
        return;
    }
    let rows = out.len() / columns;
    let threads = if rows * b.input * columns < TASK_PRODUCTS {
        1
    } else {
        rayon::current_num_threads()
    };
    let block = balanced(rows, BLOCK_ROWS);
    let panels = columns.div_ceil(b.width);
    // Enough tasks for the threads to end together.
    let wanted = if threads == 1 { 1 } else { 2 * threads };
    let split = wanted
        .div_ceil(rows.div_ceil(block))
        .min(panels / TASK_PANELS);
    let task_columns = panels.div_ceil(split.max(1)) * b.width;

    let tasks = out.chunks_mut(block * columns).enumerate();
    let tasks = tasks.flat_map(|(number, rows)| {
        let task = |part: usize| Task {
            rows: Vec::with_capacity(rows.len() / columns),
            first_row: number * block,
            first_column: part * task_columns,
            a,
            b,
            finish,
        };
        let mut tasks: Vec<_> = (0..columns.div_ceil(task_columns)).map(task).collect();
        for row in rows.chunks_exact_mut(columns) {
            for (task, part) in tasks.iter_mut().zip(row.chunks_mut(task_columns)) {
                task.rows.push(part);
            }
        }
        tasks
    });
    if threads == 1 {
        tasks.for_each(|task| Arch::new().dispatch(task));
    } else {
        let tasks: Vec<_> = tasks.collect();
        tasks
            .into_par_iter()
            .with_max_len(1)
            .for_each(|task| Arch::new().dispatch(task));
    }
}

/// A part of the result.
struct Task<'o, 'a, R> {
    rows: Vec<&'o mut [f32]>,
    first_row: usize,
    first_column: usize,
    a: &'a R,
    b: &'a Packed,
    finish: Finish<'a>,
}

impl<R: Rows> WithSimd for Task<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let b = self.b;
        let whole = b.input.next_multiple_of(STEP);
        let depth = balanced(whole, DEPTH).next_multiple_of(STEP);
        let columns = self.rows.first().map_or(0, |row| row.len());
        let first_panel = self.first_column / b.width;
        let is_few = columns <= FEW_PANELS * b.width;
        let mut room = Vec::new();
        let mut all = std::mem::take(&mut self.rows);
        if is_few && depth == whole && b.input > 0 {
            let mut pieces_room = Room::default();
            let of = self.first_row..self.first_row + all.len();
            let pieces = self.a.pieces(of, b.input, &mut pieces_room);
            for (number, from) in (0..columns).step_by(b.width).enumerate() {
                let panel = Panel {
                    elements: b.rows_of_panel(first_panel + number, 0..whole, &mut room),
                    width: b.width,
                };
                let part = from..(from + b.width).min(columns);
                pieces.multiply(simd, &mut all, part.clone(), panel);
                self.finish(&mut all, part);
            }
            return;
        }
        let block = balanced(all.len(), if is_few { FEW_ROWS } else { BLOCK_ROWS });
        let mut tiles = Tiles::new(simd, block, depth, b.width);
        for (number, rows) in all.chunks_mut(block).enumerate() {
            let first_row = self.first_row + number * block;
            for start in (0..whole).step_by(depth) {
                let end = (start + depth).min(whole);
                let of = first_row..first_row + rows.len();
                tiles.fill(self.a, of, start..end.min(b.input));
                let mut in_streams = 0;
                let is_wide = !is_narrow(simd, b.width);
                if let ([row], Some(panels), true) = (&mut *rows, b.as_f32(), is_wide) {
                    let panels =
                        panels[first_panel * b.width * whole..].chunks_exact(b.width * whole);
                    let panels: Vec<&[f32]> = panels
                        .map(|panel| &panel[start * b.width..end * b.width])
                        .take(columns / b.width)
                        .collect();
                    let (groups, _) = panels.as_chunks::<STREAMS>();
                    for (row, panels) in row.chunks_mut(STREAMS * b.width).zip(groups) {
                        tiles.multiply_row(simd, row, panels, start == 0);
                    }
                    in_streams = groups.len() * STREAMS;
                    if end == whole {
                        self.finish(rows, 0..in_streams * b.width);
                    }
                }
                for number in in_streams..columns.div_ceil(b.width) {
                    let panel = b.rows_of_panel(first_panel + number, start..end, &mut room);
                    let from = number * b.width;
                    let part = from..(from + b.width).min(columns);
                    let panel = Panel {
                        elements: panel,
                        width: b.width,
                    };
                    tiles.multiply(simd, rows, part.clone(), panel, start == 0);
                    if end == whole {
                        self.finish(rows, part);
                    }
                }
            }
        }
    }
}

impl<R> Task<'_, '_, R> {
    /// Bias and activation for some rows and columns of this part.
    #[inline(always)]
    fn finish(&self, rows: &mut [&mut [f32]], part: Range<usize>) {
        let columns = self.first_column + part.start..self.first_column + part.end;
        for row in rows {
            let row = &mut row[part.clone()];
            if let Some(bias) = self.finish.bias {
                for (v, &b) in row.iter_mut().zip(&bias[columns.clone()]) {
                    *v += b;
                }
            }
            if let Some(activation) = self.finish.activation {
                activate_here(row, activation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::{Matrix, Pieces};
    use super::*;

    /// The same numbers in every run.
    fn wave(len: usize, step: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * step).sin()).collect()
    }

    fn matrix(elements: &[f32], stride: usize) -> Matrix<'_> {
        Matrix { elements, stride }
    }

    #[test]
    fn every_size_gives_what_the_sums_say() {
        // Whole and broken tiles, panels, steps and stretches, and more rows than a block has.
        for (rows, input, output) in [
            (1, 1, 1),
            (1, 1543, 700),
            (1, 40, 256),
            (2, 8, 32),
            (5, 7, 33),
            (13, 40, 70),
            (50, 768, 9),
            (171, 20, 64),
            (340, 9, 300),
            (3, 1543, 5),
        ] {
            let (a, w) = (wave(rows * input, 0.37), wave(output * input, 0.73));
            let bias = wave(output, 0.11);
            // Two parts, as of two linear maps side by side.
            let (first, second) = w.split_at(output / 2 * input);
            let packed = Packed::from_columns(&[first, second], input, Precision::F32);
            assert_eq!(packed.columns(), w);
            assert_eq!((packed.input(), packed.output()), (input, output));
            let mut out = vec![f32::NAN; rows * output];
            let finish = Finish {
                bias: Some(&bias),
                activation: Some(Activation::Relu),
            };
            multiply(&mut out, &matrix(&a, input), &packed, finish);
            for (row, out) in out.chunks_exact(output).enumerate() {
                for (column, &found) in out.iter().enumerate() {
                    let pairs = a[row * input..]
                        .iter()
                        .zip(&w[column * input..])
                        .take(input);
                    let sum: f64 = pairs.map(|(&a, &w)| f64::from(a) * f64::from(w)).sum();
                    let exact = (sum + f64::from(bias[column])).max(0.0);
                    let error = (f64::from(found) - exact).abs();
                    assert!(error < 3e-5, "{rows} {input} {output}: {found} {exact}");
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_company() {
        let (rows, input, output) = (37, 800, 290);
        let (a, w) = (wave(rows * input, 0.61), wave(output * input, 0.29));
        let packed = Packed::from_columns(&[&w], input, Precision::F32);
        let run = |a: &[f32]| {
            let mut out = vec![f32::NAN; a.len() / input * output];
            multiply(&mut out, &matrix(a, input), &packed, Finish::default());
            out
        };
        let all = run(&a);
        for row in 0..rows {
            let alone = run(&a[row * input..(row + 1) * input]);
            assert_eq!(alone, all[row * output..(row + 1) * output], "{row}");
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(5).build();
        assert_eq!(pool.unwrap().install(|| run(&a)), all);
    }

    /// Rows of several pieces, which lie apart.
    struct Apart<'a>(&'a [f32], usize);

    impl Rows for Apart<'_> {
        fn write(&self, row: usize, range: Range<usize>, to: &mut [f32]) {
            for (to, i) in to.iter_mut().zip(range) {
                *to = self.0[row * 3 + i / self.1 * 100 + i % self.1];
            }
        }

        fn pieces<'p>(&'p self, rows: Range<usize>, len: usize, room: &'p mut Room) -> Pieces<'p> {
            room.starts.clear();
            room.starts.extend(rows.map(|row| row * 3));
            Pieces {
                elements: self.0,
                starts: &room.starts,
                count: len / self.1,
                len: self.1,
                stride: 100,
            }
        }
    }

    #[test]
    fn columns_have_the_same_bits_however_many_there_are() {
        // With few columns rows are read where they lie, with many they are brought together.
        let (rows, piece, input, many) = (29, 21, 147, 300);
        let a = wave(2000, 0.61);
        let w = wave(many * input, 0.29);
        let run = |output: usize| {
            let packed = Packed::from_columns(&[&w[..output * input]], input, Precision::F32);
            let mut out = vec![f32::NAN; rows * output];
            multiply(&mut out, &Apart(&a, piece), &packed, Finish::default());
            out
        };
        let all = run(many);
        for few in [1, 8, 16, 33, 100] {
            for (row, found) in run(few).chunks_exact(few).enumerate() {
                assert_eq!(found, &all[row * many..][..few], "{few} {row}");
            }
        }
    }

    #[test]
    fn nothing_times_something_is_nothing() {
        let packed = Packed::from_columns(&[], 4, Precision::F32);
        multiply(&mut [], &matrix(&[], 4), &packed, Finish::default());
        let none = Packed::from_columns(&[&[1.0; 8]], 4, Precision::F32);
        multiply(&mut [], &matrix(&[], 4), &none, Finish::default());
        assert_eq!(none.output(), 2);
    }

    #[test]
    fn a_nan_spreads_over_its_row_only() {
        let (input, output) = (20, 40);
        let mut a = wave(3 * input, 0.5);
        a[input + 3] = f32::NAN;
        let packed = Packed::from_columns(&[&wave(input * output, 0.2)], input, Precision::F32);
        let mut out = vec![0.0; 3 * output];
        multiply(&mut out, &matrix(&a, input), &packed, Finish::default());
        let is_nan: Vec<bool> = out
            .chunks_exact(output)
            .map(|row| row[0].is_nan())
            .collect();
        assert_eq!(is_nan, [false, true, false]);
    }

    #[test]
    fn fewer_bits_are_the_product_of_rounded_weights() {
        let (rows, input, output) = (9, 1543, 70);
        let (a, w) = (wave(rows * input, 0.37), wave(output * input, 0.73));
        let multiplied = |packed: &Packed| {
            let mut out = vec![f32::NAN; rows * output];
            multiply(&mut out, &matrix(&a, input), packed, Finish::default());
            out
        };
        for precision in [Precision::Bf16, Precision::Int8] {
            let packed = Packed::from_columns(&[&w], input, precision);
            let rounded = packed.columns();
            for (column, wanted) in rounded.chunks(input).zip(w.chunks(input)) {
                let largest = wanted.iter().fold(0.0f32, |most, v| most.max(v.abs()));
                for (found, wanted) in column.iter().zip(wanted) {
                    let allowed = match precision {
                        Precision::Bf16 => wanted.abs() / 256.0,
                        _ => largest / 254.0 * 1.0001,
                    };
                    assert!((found - wanted).abs() <= allowed, "{found} {wanted}");
                }
            }
            let plain = Packed::from_columns(&[&rounded], input, Precision::F32);
            assert_eq!(multiplied(&packed), multiplied(&plain), "{precision:?}");
        }
    }

    #[test]
    fn fewer_bits_hide_no_nan() {
        for precision in [Precision::Bf16, Precision::Int8] {
            for bad in [f32::NAN, f32::INFINITY] {
                let packed = Packed::from_columns(&[&[1.0, bad, 0.0, 0.0]], 2, precision);
                let columns = packed.columns();
                assert!(
                    columns[..2].iter().any(|v| !v.is_finite()),
                    "{precision:?} {bad}"
                );
                assert_eq!(columns[2..], [0.0, 0.0]);
            }
        }
    }
}
