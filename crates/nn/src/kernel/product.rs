//! Products of `f32` matrices whose right side is prepared once.
//!
//! The right side is cut into panels of a few columns ([`Packed`]), the left side into tiles of a few rows while it is
//! multiplied, so that the inner loop reads both in order and keeps a tile's sums in registers (Goto and van de Geijn
//! 2008). What follows a product (bias, activation) is done while its result is near.
//!
//! Each element of the result is a sum over the inner dimension in order, in stretches whose length depends on that
//! dimension only: it has the same bits in any batch and with any number of threads, and on every machine that
//! multiplies and adds in one rounding (x86-64 with FMA, 64-bit ARM).

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::activate_here;
use crate::activation::Activation;
use crate::precision::Precision;

/// Longest stretch of the inner dimension that is summed up in registers; a multiple of [`STEP`].
const DEPTH: usize = 768;

/// Rows of the left side that are brought together: with [`DEPTH`], half a megabyte at most.
const BLOCK_ROWS: usize = 168;

/// Elements of a row that lie side by side in a tile; both sides are filled up with zeros to a multiple of it.
const STEP: usize = 8;

/// Vectors side by side in a panel, but where half as many leave fewer columns of zeros.
pub(super) const VECTORS: usize = 2;

/// The most rows of a tile: its sums, the vectors of the panel and one of the tile have to fit into the registers.
pub(super) const MOST_ROWS: usize = 12;

/// The most columns of a panel: two vectors of the widest registers.
pub(super) const WIDEST_PANEL: usize = 64;

/// Panels that a task has at least, when the columns are divided among threads.
const TASK_PANELS: usize = 4;

/// With this many panels or fewer so few rows are brought together that they stay in the nearest cache: they are read
/// hardly more often than they are written.
const FEW_PANELS: usize = 4;
const FEW_ROWS: usize = 2 * MOST_ROWS;

/// Panels that a single row is multiplied with by turns: then most of the time is spent on waiting for memory, which has more on
/// its way where several places are read.
const STREAMS: usize = 4;

/// Multiplications below which a product stays on one thread.
const TASK_PRODUCTS: usize = 1 << 18;

/// Rows of a left side, however they are stored.
pub(crate) trait Rows: Sync {
    /// Writes the elements `range` of a row to `to`, which has that length.
    fn write(&self, row: usize, range: Range<usize>, to: &mut [f32]);

    /// The elements `range` of a row, where they lie side by side.
    #[inline(always)]
    fn slice(&self, _row: usize, _range: Range<usize>) -> Option<&[f32]> {
        None
    }
}

/// Rows that begin `stride` elements after each other.
pub(crate) struct Matrix<'a> {
    pub(crate) elements: &'a [f32],
    pub(crate) stride: usize,
}

impl Rows for Matrix<'_> {
    #[inline(always)]
    fn write(&self, row: usize, range: Range<usize>, to: &mut [f32]) {
        let start = row * self.stride;
        to.copy_from_slice(&self.elements[start + range.start..start + range.end]);
    }

    #[inline(always)]
    fn slice(&self, row: usize, range: Range<usize>) -> Option<&[f32]> {
        let start = row * self.stride;
        Some(&self.elements[start + range.start..start + range.end])
    }
}

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

/// The size of parts of about the same size, none above `most`.
pub(super) fn balanced(whole: usize, most: usize) -> usize {
    whole.div_ceil(whole.div_ceil(most).max(1)).max(1)
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
        let most = if columns <= FEW_PANELS * b.width {
            FEW_ROWS
        } else {
            BLOCK_ROWS
        };
        let block = balanced(self.rows.len(), most);
        let mut tiles = Tiles::new(simd, block, depth, b.width);
        let mut room = Vec::new();
        let mut all = std::mem::take(&mut self.rows);
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

/// Some columns of a right side, a row of them after the other.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) elements: &'a [f32],
    /// What [`panel_width`] says of some number of columns.
    pub(super) width: usize,
}

/// Whether panels of `width` columns are one vector wide.
#[inline(always)]
fn is_narrow<S: Simd>(_: S, width: usize) -> bool {
    width < VECTORS * S::F32_LANES
}

/// Rows of a left side, brought together for the inner loop: tiles one after the other, of each a step of all its rows
/// after the other.
pub(super) struct Tiles {
    elements: Aligned,
    rows: usize,
    /// Rows of a tile; the last one may have fewer.
    tile_rows: usize,
    /// Elements of a row in use, whole steps.
    depth: usize,
    /// A row on its way.
    row: Vec<f32>,
}

impl Tiles {
    /// For so many rows of `depth` elements at most, and panels of `width` columns.
    #[inline(always)]
    pub(super) fn new<S: Simd>(simd: S, rows: usize, depth: usize, width: usize) -> Self {
        let depth = depth.next_multiple_of(STEP);
        let most = if S::REGISTER_COUNT >= 32 || is_narrow(simd, width) {
            MOST_ROWS
        } else {
            MOST_ROWS / 2
        };
        Self {
            elements: Aligned::zeros(rows * depth),
            rows,
            tile_rows: balanced(rows, most),
            depth,
            row: vec![0.0; depth],
        }
    }

    /// Takes in the elements `range` of the rows `of` of `a`.
    #[inline(always)]
    pub(super) fn fill(&mut self, a: &impl Rows, of: Range<usize>, range: Range<usize>) {
        let len = range.len();
        self.rows = of.len();
        self.depth = len.next_multiple_of(STEP);
        let elements = self.elements.as_mut_slice();
        let tiles = elements[..self.rows * self.depth].chunks_mut(self.tile_rows * self.depth);
        let room = &mut self.row[..len];
        for (number, tile) in tiles.enumerate() {
            let rows = tile.len() / self.depth;
            let (tile, _) = tile.as_chunks_mut::<STEP>();
            for i in 0..rows {
                let row = of.start + number * self.tile_rows + i;
                let elements = if let Some(elements) = a.slice(row, range.clone()) {
                    elements
                } else {
                    a.write(row, range.clone(), room);
                    &*room
                };
                let (steps, rest) = elements.as_chunks::<STEP>();
                for (to, from) in tile[i..].iter_mut().step_by(rows).zip(steps) {
                    *to = *from;
                }
                if !rest.is_empty() {
                    let last = &mut tile[i + steps.len() * rows];
                    *last = [0.0; STEP];
                    last[..rest.len()].copy_from_slice(rest);
                }
            }
        }
    }

    /// Writes, or adds, the product of the tiles and a panel to the columns `columns` of `rows`.
    #[inline(always)]
    pub(super) fn multiply<S: Simd>(
        &self,
        simd: S,
        rows: &mut [&mut [f32]],
        columns: Range<usize>,
        panel: Panel<'_>,
        is_first: bool,
    ) {
        let Panel { elements, width } = panel;
        if is_narrow(simd, width) {
            self.multiply_vectors::<S, 1>(simd, rows, columns, elements, is_first);
        } else {
            self.multiply_vectors::<S, VECTORS>(simd, rows, columns, elements, is_first);
        }
    }

    #[inline(always)]
    fn multiply_vectors<S: Simd, const VECTORS: usize>(
        &self,
        simd: S,
        rows: &mut [&mut [f32]],
        columns: Range<usize>,
        panel: &[f32],
        is_first: bool,
    ) {
        let tiles = self.elements.as_slice().chunks(self.tile_rows * self.depth);
        for (rows, tile) in rows.chunks_mut(self.tile_rows).zip(tiles) {
            let tile = &tile[..rows.len() * self.depth];
            macro_rules! by_rows {
                ($($count:literal)*) => {
                    match rows.len() {
                        $($count => {
                            let sums = sums::<S, $count, VECTORS>(simd, tile, panel);
                            store(simd, rows, columns.clone(), &sums, is_first);
                        })*
                        _ => {}
                    }
                };
            }
            by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
        }
    }
}

impl Tiles {
    /// Writes, or adds, the product of the only row and some panels to the columns of `row`, which are as many.
    #[inline(always)]
    fn multiply_row<S: Simd>(
        &self,
        simd: S,
        row: &mut [f32],
        panels: &[&[f32]; STREAMS],
        is_first: bool,
    ) {
        let (tile, _) = self.elements.as_slice()[..self.depth].as_chunks::<STEP>();
        let panels: [&[[[S::f32s; VECTORS]; STEP]]; STREAMS] = std::array::from_fn(|number| {
            let (panel, _) = S::as_simd_f32s(panels[number]);
            let (panel, _) = panel.as_chunks::<VECTORS>();
            &panel.as_chunks::<STEP>().0[..tile.len()]
        });
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; STREAMS];
        for (step, factors) in tile.iter().enumerate() {
            for (sums, panel) in sums.iter_mut().zip(panels) {
                for k in 0..STEP {
                    let factor = simd.splat_f32s(factors[k]);
                    for v in 0..VECTORS {
                        sums[v] = simd.mul_add_f32s(factor, panel[step][k][v], sums[v]);
                    }
                }
            }
        }
        let width = VECTORS * S::F32_LANES;
        for (row, sums) in row.chunks_exact_mut(width).zip(&sums) {
            store_row(simd, row, sums, is_first);
        }
    }
}

/// Products of the `ROWS` rows of a tile with the columns of a panel.
#[inline(always)]
fn sums<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    tile: &[f32],
    panel: &[f32],
) -> [[S::f32s; VECTORS]; ROWS] {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    let (tile, _) = tile.as_chunks::<STEP>();
    let (tile, _) = tile.as_chunks::<ROWS>();
    let (panel, _) = S::as_simd_f32s(panel);
    let (panel, _) = panel.as_chunks::<VECTORS>();
    let (panel, _) = panel.as_chunks::<STEP>();
    for (rows, panel) in tile.iter().zip(panel) {
        for k in 0..STEP {
            for i in 0..ROWS {
                let factor = simd.splat_f32s(rows[i][k]);
                for v in 0..VECTORS {
                    sums[i][v] = simd.mul_add_f32s(factor, panel[k][v], sums[i][v]);
                }
            }
        }
    }
    sums
}

/// Writes, or adds, a tile's sums to the columns `columns` of `rows`, which may be fewer than those of a panel.
#[inline(always)]
fn store<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    rows: &mut [&mut [f32]],
    columns: Range<usize>,
    sums: &[[S::f32s; VECTORS]; ROWS],
    is_first: bool,
) {
    let width = VECTORS * S::F32_LANES;
    for (row, sums) in rows.iter_mut().zip(sums) {
        let row = &mut row[columns.clone()];
        if row.len() == width {
            store_row(simd, row, sums, is_first);
        } else {
            let mut whole = [0.0f32; WIDEST_PANEL];
            let whole = &mut whole[..width];
            whole[..row.len()].copy_from_slice(row);
            store_row(simd, whole, sums, is_first);
            row.copy_from_slice(&whole[..row.len()]);
        }
    }
}

#[inline(always)]
fn store_row<S: Simd>(simd: S, row: &mut [f32], sums: &[S::f32s], is_first: bool) {
    let (row, _) = S::as_mut_simd_f32s(row);
    for (to, &sum) in row.iter_mut().zip(sums) {
        *to = if is_first {
            sum
        } else {
            simd.add_f32s(*to, sum)
        };
    }
}

/// Columns of a panel, on this machine, of a matrix of `columns` columns: half as many as registers would allow where that leaves
/// fewer columns of zeros.
pub(super) fn panel_width(columns: usize) -> usize {
    struct Width;
    impl WithSimd for Width {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            VECTORS * S::F32_LANES
        }
    }
    let wide = Arch::new().dispatch(Width);
    let narrow = wide / VECTORS;
    let filled_up = |width| columns.next_multiple_of(width);
    // A tile is read for half as many sums, which costs about a tenth more.
    if 5 * filled_up(narrow) <= 4 * filled_up(wide) {
        narrow
    } else {
        wide
    }
}

/// Elements of a panel of `width` columns of `input` elements.
pub(super) fn panel_len(width: usize, input: usize) -> usize {
    width * input.next_multiple_of(STEP)
}

/// Writes columns of the same length, `width` at most, side by side.
#[inline(always)]
pub(super) fn pack_columns(panel: &mut [f32], columns: &[&[f32]], width: usize) {
    /// Elements of a column that are written before those of the next one, so that they stay near.
    const STRETCH: usize = 128;
    for (number, part) in panel.chunks_mut(STRETCH * width).enumerate() {
        for (i, column) in columns.iter().enumerate() {
            let column = column.iter().skip(number * STRETCH);
            for (to, &from) in part[i..].iter_mut().step_by(width).zip(column) {
                *to = from;
            }
        }
    }
}

/// Elements that begin where a cache line does: a vector that lies on two lines is read twice.
#[derive(Debug)]
pub(super) struct Aligned {
    elements: Vec<f32>,
    start: usize,
}

impl Aligned {
    const LINE: usize = 64 / size_of::<f32>();

    pub(super) fn zeros(len: usize) -> Self {
        let mut elements = vec![0.0f32; len + Self::LINE];
        let start = elements.as_ptr().align_offset(64).min(Self::LINE);
        elements.truncate(start + len);
        Self { elements, start }
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        &self.elements[self.start..]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.elements[self.start..]
    }
}

#[cfg(test)]
mod tests {
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
