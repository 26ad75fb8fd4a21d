//! Large batches in parts.

use candle_core::Tensor;

use crate::Result;

/// `f` of the items of `x` `[B, ..]`, as many at a time as `items` or as there are threads, with the results one behind
/// the other. What is made on the way then stays in the caches, and its memory is used again; the results are the same.
/// On other devices all items are taken at once, and so are all but the first ones where a gradient is tracked: then what is
/// made on the way is kept anyway, and every part would be steps of its own in the gradient.
pub fn in_parts(x: &Tensor, items: usize, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let batch = x.dim(0)?;
    let most = items.max(rayon::current_num_threads());
    if batch <= most || !x.device().is_cpu() {
        return f(x);
    }
    let part = |start, len: usize| f(&x.narrow(0, start, len.min(batch - start))?);
    let first = part(0, most)?;
    let step = if first.track_op() { batch } else { most };
    let mut parts = vec![first];
    for start in (most..batch).step_by(step) {
        parts.push(part(start, step)?);
    }
    Ok(Tensor::cat(&parts, 0)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp};

    use super::*;

    #[test]
    fn parts_are_put_together_in_order() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        pool.unwrap().install(|| {
            for batch in 1..8 {
                let x = Tensor::arange(0f32, 2.0 * batch as f32, &Device::Cpu).unwrap();
                let x = x.reshape((batch, 2)).unwrap();
                let y = in_parts(&x, 3, |x| {
                    assert!(x.dim(0)? <= 3);
                    Ok((x.i((.., 1))? * 2.0)?)
                });
                let expected: Vec<f32> = (0..batch).map(|i| 4.0 * i as f32 + 2.0).collect();
                assert_eq!(y.unwrap().to_vec1::<f32>().unwrap(), expected);
            }
        });
    }
}
