//! The inner loop of products: some rows of the left side and a panel of the right, whose sums stay in registers.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::rows::{Pieces, Rows};

/// Elements of a row that lie side by side in a tile; both sides are filled up with zeros to a multiple of it.
pub(super) const STEP: usize = 8;

/// Vectors side by side in a panel, but where half as many leave fewer columns of zeros.
pub(super) const VECTORS: usize = 2;

/// The most rows of a tile: its sums, the vectors of the panel and one of the tile have to fit into the registers.
pub(super) const MOST_ROWS: usize = 12;

/// The most columns of a panel: two vectors of the widest registers.
pub(super) const WIDEST_PANEL: usize = 64;

/// Panels that a single row is multiplied with by turns: then most of the time is spent on waiting for memory, which has more on
/// its way where several places are read.
pub(super) const STREAMS: usize = 4;

/// Evaluates an expression with the constant `$name` of the value `$count`, which is [`MOST_ROWS`] at most.
macro_rules! with_count {
    ($count:expr, $name:ident => $value:expr) => {
        with_count!($count, $name => $value, 1 2 3 4 5 6 7 8 9 10 11 12)
    };
    ($count:expr, $name:ident => $value:expr, $($literal:literal)*) => {
        match $count {
            $($literal => {
                const $name: usize = $literal;
                $value
            })*
            _ => {}
        }
    };
}
pub(super) use with_count;

/// The most rows of a tile with panels of `width` columns.
#[inline(always)]
pub(super) fn most_rows<S: Simd>(simd: S, width: usize) -> usize {
    if S::REGISTER_COUNT >= 32 || is_narrow(simd, width) {
        MOST_ROWS
    } else {
        MOST_ROWS / 2
    }
}

/// The size of parts of about the same size, none above `most`.
pub(super) fn balanced(whole: usize, most: usize) -> usize {
    whole.div_ceil(whole.div_ceil(most).max(1)).max(1)
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
pub(super) fn is_narrow<S: Simd>(_: S, width: usize) -> bool {
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
        Self {
            elements: Aligned::zeros(rows * depth),
            rows,
            tile_rows: balanced(rows, most_rows(simd, width)),
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
            with_count!(rows.len(), ROWS => {
                let sums = sums::<S, ROWS, VECTORS>(simd, tile, panel);
                store(simd, rows, columns.clone(), &sums, is_first);
            });
        }
    }
}

impl Tiles {
    /// Writes, or adds, the product of the only row and some panels to the columns of `row`, which are as many.
    #[inline(always)]
    pub(super) fn multiply_row<S: Simd>(
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

impl Pieces<'_> {
    /// As [`Tiles::multiply`], of rows that are read where they lie, and with the same bits where those have one stretch.
    #[inline(always)]
    pub(super) fn multiply<S: Simd>(
        &self,
        simd: S,
        rows: &mut [&mut [f32]],
        columns: Range<usize>,
        panel: Panel<'_>,
    ) {
        let Panel { elements, width } = panel;
        let tile_rows = balanced(rows.len(), most_rows(simd, width));
        if is_narrow(simd, width) {
            self.multiply_vectors::<S, 1>(simd, rows, columns, elements, tile_rows);
        } else {
            self.multiply_vectors::<S, VECTORS>(simd, rows, columns, elements, tile_rows);
        }
    }

    #[inline(always)]
    fn multiply_vectors<S: Simd, const VECTORS: usize>(
        &self,
        simd: S,
        rows: &mut [&mut [f32]],
        columns: Range<usize>,
        panel: &[f32],
        tile_rows: usize,
    ) {
        let starts = self.starts.chunks(tile_rows);
        for (rows, starts) in rows.chunks_mut(tile_rows).zip(starts) {
            with_count!(rows.len(), ROWS => {
                if let Some(starts) = starts.first_chunk::<ROWS>() {
                    let sums = self.sums::<S, ROWS, VECTORS>(simd, starts, panel);
                    store(simd, rows, columns.clone(), &sums, true);
                }
            });
        }
    }

    /// Products of the rows that begin at `starts` with the columns of a panel.
    #[inline(always)]
    fn sums<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        starts: &[usize; ROWS],
        panel: &[f32],
    ) -> [[S::f32s; VECTORS]; ROWS] {
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        let (panel, _) = S::as_simd_f32s(panel);
        let (panel, _) = panel.as_chunks::<VECTORS>();
        let pieces = panel.chunks_exact(self.len).take(self.count);
        for (number, panel) in pieces.enumerate() {
            let piece = &self.elements[number * self.stride..];
            let rows = starts.map(|start| &piece[start..start + panel.len()]);
            for (k, panel) in panel.iter().enumerate() {
                for i in 0..ROWS {
                    let factor = simd.splat_f32s(rows[i][k]);
                    for v in 0..VECTORS {
                        sums[i][v] = simd.mul_add_f32s(factor, panel[v], sums[i][v]);
                    }
                }
            }
        }
        sums
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
