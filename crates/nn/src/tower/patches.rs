//! Images cut into squares.

use candle_core::Tensor;

use crate::{Error, Result};

/// The squares of `side` pixels of `pixels` `[B, C, H, W]`, row by row: `[B, rows * columns, C * side * side]`, the
/// elements of each in the order of a convolution's weight. A convolution whose kernel and stride are `side` is a linear
/// map of them. Pixels beyond the last whole square do not count, as in the convolution.
pub fn patches(pixels: &Tensor, side: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = pixels.dims4()?;
    let (rows, columns) = (height / side.max(1), width / side.max(1));
    if rows == 0 || columns == 0 {
        return Err(Error::Shape {
            what: "the batch of images",
            found: pixels.dims().to_vec(),
            wanted: format!("[B, C, H, W], at least {side} pixels each way"),
        });
    }
    let whole = pixels
        .narrow(2, 0, rows * side)?
        .narrow(3, 0, columns * side)?
        .contiguous()?;
    let cut = whole
        .reshape(&[batch, channels, rows, side, columns, side][..])?
        .permute([0, 2, 4, 1, 3, 5])?;
    Ok(cut.reshape((batch, rows * columns, channels * side * side))?)
}
