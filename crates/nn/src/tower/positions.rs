//! Tables over a grid of patches, brought to another grid.

use candle_core::{DType, Tensor};

use crate::Result;

/// Slope of the cubic convolution kernel, as in PyTorch's `interpolate(mode="bicubic")`.
const A: f32 = -0.75;

/// Bicubic resampling of `table` `[rows * columns, width]`, a grid in row-major order, to another grid; pixel
/// centres are aligned, not corners, and nothing is smoothed when the grid shrinks. Returns
/// `[rows * columns of the new grid, width]`.
pub fn interpolate(table: &Tensor, from: (usize, usize), to: (usize, usize)) -> Result<Tensor> {
    let (rows, columns) = (taps(from.0, to.0), taps(from.1, to.1));
    resampled(table, from, to, |cell| {
        let columns = columns[cell % to.1];
        let row = move |(y, wy)| columns.into_iter().map(move |(x, wx)| (y, x, wy * wx));
        rows[cell / to.1].into_iter().flat_map(row)
    })
}

/// As [`interpolate`], but bilinear, as PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
pub fn interpolate_bilinear(
    table: &Tensor,
    from: (usize, usize),
    to: (usize, usize),
) -> Result<Tensor> {
    let (rows, columns) = (neighbours(from.0, to.0), neighbours(from.1, to.1));
    resampled(table, from, to, |cell| {
        let columns = columns[cell % to.1];
        let row = move |(y, wy)| columns.into_iter().map(move |(x, wx)| (y, x, wy * wx));
        rows[cell / to.1].into_iter().flat_map(row)
    })
}

/// `parts` says for each new cell of which old rows and columns it is made, and how much each counts.
fn resampled<P: Iterator<Item = (usize, usize, f32)>>(
    table: &Tensor,
    from: (usize, usize),
    to: (usize, usize),
    parts: impl Fn(usize) -> P,
) -> Result<Tensor> {
    let width = table.dim(1)?;
    let (old, new) = (from.0 * from.1, to.0 * to.1);
    if table.track_op() {
        // One product, so that a gradient flows back into the table.
        let mut shares = vec![0f32; new * old];
        for (cell, row) in shares.chunks_exact_mut(old.max(1)).enumerate() {
            for (y, x, weight) in parts(cell) {
                row[y * from.1 + x] += weight;
            }
        }
        let shares = Tensor::from_vec(shares, (new, old), table.device())?;
        let out = shares.matmul(&table.to_dtype(DType::F32)?.contiguous()?)?;
        return Ok(out.to_dtype(table.dtype())?);
    }
    let values = table
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let mut out = vec![0f32; new * width];
    for (cell, vector) in out.chunks_exact_mut(width.max(1)).enumerate() {
        for (y, x, weight) in parts(cell) {
            let source = &values[(y * from.1 + x) * width..][..width];
            for (v, s) in vector.iter_mut().zip(source) {
                *v += weight * s;
            }
        }
    }
    let out = Tensor::from_vec(out, (new, width), table.device())?;
    Ok(out.to_dtype(table.dtype())?)
}

/// For each new cell of a line, the two old cells that it lies between and their weights.
fn neighbours(from: usize, to: usize) -> Vec<[(usize, f32); 2]> {
    let scale = from as f32 / to as f32;
    let last = from.saturating_sub(1);
    let cell = |i: usize| {
        let centre = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
        let base = (centre as usize).min(last);
        let t = centre - base as f32;
        [(base, 1.0 - t), ((base + 1).min(last), t)]
    };
    (0..to).map(cell).collect()
}

/// For each new cell of a line, the four old cells that it is made of and their weights.
fn taps(from: usize, to: usize) -> Vec<[(usize, f32); 4]> {
    let scale = from as f32 / to as f32;
    let last = from.saturating_sub(1) as f32;
    (0..to)
        .map(|i| {
            let centre = scale * (i as f32 + 0.5) - 0.5;
            let base = centre.floor();
            let t = centre - base;
            let weights = [outer(t + 1.0), inner(t), inner(1.0 - t), outer(2.0 - t)];
            let cell = |k: usize| (base + k as f32 - 1.0).clamp(0.0, last) as usize;
            std::array::from_fn(|k| (cell(k), weights[k]))
        })
        .collect()
}

/// Keys' kernel for distances up to 1.
fn inner(x: f32) -> f32 {
    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
}

/// Keys' kernel for distances from 1 to 2.
fn outer(x: f32) -> f32 {
    ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_same_grid_changes_nothing_and_constants_stay() {
        let values: Vec<f32> = (0..24).map(|i| (i * i % 17) as f32).collect();
        let table = Tensor::from_vec(values.clone(), (12, 2), &Device::Cpu).unwrap();
        let flat = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(interpolate(&table, (3, 4), (3, 4)).unwrap()), values);
        let ones = Tensor::ones((12, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        for value in flat(interpolate(&ones, (3, 4), (5, 2)).unwrap()) {
            assert!((value - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_trained_table_gives_the_same_and_gets_a_gradient() {
        let values: Vec<f32> = (0..24).map(|i| (i * i % 17) as f32).collect();
        let table = candle_core::Var::from_vec(values, (12, 2), &Device::Cpu).unwrap();
        for resample in [interpolate, interpolate_bilinear] {
            let fixed = resample(&table.as_detached_tensor(), (3, 4), (5, 2)).unwrap();
            let tracked = resample(table.as_tensor(), (3, 4), (5, 2)).unwrap();
            let apart = (fixed - &tracked).unwrap().abs().unwrap();
            assert!(apart.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-4);
            let gradients = tracked.sum_all().unwrap().backward().unwrap();
            // Every new cell is a mean of old ones, so that their shares sum to the number of new cells.
            let sum = gradients.get(&table).unwrap().sum_all().unwrap();
            assert!((sum.to_scalar::<f32>().unwrap() - 20.0).abs() < 1e-3);
        }
    }

    #[test]
    fn a_bilinear_line_lies_between_its_neighbours() {
        let table = Tensor::from_vec(vec![1f32, 2.0, 4.0], (3, 1), &Device::Cpu).unwrap();
        let line = |to| {
            let out = interpolate_bilinear(&table, (1, 3), (1, to)).unwrap();
            out.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(line(6), [1.0, 1.25, 1.75, 2.5, 3.5, 4.0]);
        assert_eq!(line(3), [1.0, 2.0, 4.0]);
        assert_eq!(line(1), [2.0]);
        let table = table.reshape((3, 1)).unwrap();
        let down = interpolate_bilinear(&table, (3, 1), (6, 1)).unwrap();
        assert_eq!(
            down.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            line(6)
        );
    }

    #[test]
    fn doubling_a_line_gives_the_exact_weights() {
        // By hand: the kernel at distances 0.25, 0.75, 1.25 and 1.75 is 225, 67, -27 and -9 / 256.
        let table = Tensor::from_vec(vec![1f32, 2.0, 4.0], (3, 1), &Device::Cpu).unwrap();
        let out = interpolate(&table, (1, 3), (1, 6)).unwrap();
        let expected = [229.0, 296.0, 400.0, 655.0, 917.0, 1078.0].map(|v: f32| v / 256.0);
        let out = out.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (value, expected) in out.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{out:?}");
        }
    }
}
