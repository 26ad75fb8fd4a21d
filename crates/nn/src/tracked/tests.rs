//! Values and gradients beside those of candle's own operations.

use candle_core::{Device, Var};

use super::*;
use crate::convolution::{Padding, picked, sliding};
use crate::kernel::map::Pool;

/// Numbers that look random and are the same in every run; no two of the first hundreds are equal.
fn wave(shape: &[usize], step: f64) -> Tensor {
    let count: usize = shape.iter().product();
    let angles = Tensor::arange(0f32, count as f32, &Device::Cpu).unwrap();
    let values = (angles * step).unwrap().sin().unwrap();
    values.reshape(shape).unwrap()
}

fn vars(shapes: &[&[usize]]) -> Vec<Var> {
    let steps = (1..).map(|i| 0.37 + 0.21 * f64::from(i));
    let waves = shapes
        .iter()
        .zip(steps)
        .map(|(shape, step)| wave(shape, step));
    waves.map(|x| Var::from_tensor(&x).unwrap()).collect()
}

/// Whether two functions of the same variables have the same value, and the same gradients where each element of the value
/// counts differently.
fn assert_same(
    what: &str,
    vars: &[Var],
    a: impl Fn(&[Tensor]) -> Result<Tensor>,
    b: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let tensors: Vec<Tensor> = vars.iter().map(|x| x.as_tensor().clone()).collect();
    let (a, b) = (a(&tensors).unwrap(), b(&tensors).unwrap());
    let close = |name: &str, a: &Tensor, b: &Tensor| {
        assert_eq!(a.dims(), b.dims(), "{what}: {name}");
        let largest = |x: &Tensor| -> f32 {
            let largest = x.abs().unwrap().max_all().unwrap();
            largest.to_scalar().unwrap()
        };
        let off = largest(&(a - b).unwrap());
        assert!(
            off <= 2e-6 * largest(b).max(1.0),
            "{what}: {name} is off by {off}"
        );
    };
    close("the value", &a, &b);
    let gradients = |x: &Tensor| {
        let weighted = (x * wave(x.dims(), 0.91)).unwrap();
        weighted.sum_all().unwrap().backward().unwrap()
    };
    let (of_a, of_b) = (gradients(&a), gradients(&b));
    for (number, var) in vars.iter().enumerate() {
        let name = format!("gradient {number}");
        close(&name, of_a.get(var).unwrap(), of_b.get(var).unwrap());
    }
}

/// What a window sees at each of its places on `x` `[B, H, W, C]`, of shifted copies: `[B, h, w, side * side, C]`.
fn seen(x: &Tensor, (side, stride, padding): (usize, usize, usize)) -> Result<Tensor> {
    let padded = x.pad_with_zeros(1, padding, padding)?;
    let padded = padded.pad_with_zeros(2, padding, padding)?;
    let places = |dim| (padded.dim(dim).unwrap() - side) / stride + 1;
    let at = |shift: usize| move |i: usize| i * stride + shift;
    let mut shifted = Vec::new();
    for ky in 0..side {
        let rows = picked(&padded, 1, (0..places(1)).map(at(ky)))?;
        for kx in 0..side {
            shifted.push(picked(&rows, 2, (0..places(2)).map(at(kx)))?);
        }
    }
    Ok(Tensor::stack(&shifted, 3)?)
}

fn activated(map: Tensor, activation: Option<Activation>) -> Result<Tensor> {
    match activation {
        None => Ok(map),
        Some(activation) => activate(&map, activation),
    }
}

#[test]
fn convolutions_have_the_gradients_of_their_definition() {
    for window in [(3, 1, 1), (3, 2, 1), (7, 2, 3), (1, 2, 0), (2, 2, 0)] {
        let (side, stride, padding) = window;
        for activation in [None, Some(Activation::Relu), Some(Activation::Silu)] {
            let vars = vars(&[&[5, 9, 8, 3], &[4, side * side * 3], &[4]]);
            let ours = |x: &[Tensor]| {
                let sliding = sliding(&x[0], 3, (side, stride), Padding::even(padding))?;
                convolution(&x[0], &x[1], Some(&x[2]), sliding, activation)
            };
            let theirs = |x: &[Tensor]| {
                let seen = seen(&x[0], window)?.flatten_from(3)?;
                let map = seen.broadcast_matmul(&x[1].t()?)?;
                activated(map.broadcast_add(&x[2])?, activation)
            };
            assert_same(&format!("{window:?} {activation:?}"), &vars, ours, theirs);
        }
    }
}

#[test]
fn a_large_convolution_is_the_sum_of_its_groups_of_images() {
    // Windows see 230,400 values of each image, so that each is a group of its own.
    let vars = vars(&[&[3, 40, 40, 16], &[4, 3 * 3 * 16]]);
    let run = |x: &Tensor, weight: &Tensor| {
        let sliding = sliding(x, 16, (3, 1), Padding::even(1))?;
        convolution(x, weight, None, sliding, None)
    };
    let one_by_one = |x: &[Tensor]| -> Result<Tensor> {
        let maps = (0..3).map(|i| run(&x[0].narrow(0, i, 1)?, &x[1]));
        let maps = maps.collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&maps, 0)?)
    };
    // Sums of 1,600 products in another order.
    assert_same(
        "groups",
        &vars,
        |x| Ok((run(&x[0], &x[1])? / 64.0)?),
        |x| Ok((one_by_one(x)? / 64.0)?),
    );
}

#[test]
fn pools_have_the_gradients_of_their_definition() {
    // All positive: zeros in the padding are never the largest.
    let x = (wave(&[2, 7, 6, 3], 0.37) + 2.0).unwrap();
    let vars = [Var::from_tensor(&x).unwrap()];
    for (pool_of, window) in [
        (Pool::Max, (3, 2, 1)),
        (Pool::Max, (5, 1, 2)),
        (Pool::Mean, (2, 2, 0)),
    ] {
        let (side, stride, padding) = window;
        let ours = |x: &[Tensor]| {
            let sliding = sliding(&x[0], 3, (side, stride), Padding::even(padding))?;
            pool(&x[0], sliding, pool_of)
        };
        let theirs = |x: &[Tensor]| {
            let seen = seen(&x[0], window)?;
            Ok(match pool_of {
                Pool::Max => seen.max(3)?,
                Pool::Mean => seen.mean(3)?,
            })
        };
        assert_same(&format!("{pool_of:?} {window:?}"), &vars, ours, theirs);
    }
    let means = |x: &[Tensor]| Ok(x[0].flatten(1, 2)?.mean(1)?);
    assert_same("positions", &vars, |x| mean_positions(&x[0]), means);
}

#[test]
fn of_equal_maxima_the_first_gets_the_gradient() {
    let x = Var::from_vec(
        vec![1.0f32, 3.0, 3.0, 3.0, 0.0, 3.0],
        (1, 2, 3, 1),
        &Device::Cpu,
    )
    .unwrap();
    let all = sliding(&x, 1, (2, 1), Padding::even(0)).unwrap();
    let gradients = pool(&x, all, Pool::Max)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let of_x = gradients.get(&x).unwrap().flatten_all().unwrap();
    assert_eq!(
        of_x.to_vec1::<f32>().unwrap(),
        [0.0, 2.0, 0.0, 0.0, 0.0, 0.0]
    );
}

#[test]
fn channels_and_sums_have_the_gradients_of_their_definition() {
    let scaled = |x: &[Tensor]| Ok(x[0].broadcast_mul(&x[1].reshape((2, 1, 1, 3))?)?);
    let both = vars(&[&[2, 7, 6, 3], &[2, 3]]);
    assert_same("scale", &both, |x| scale_channels(&x[0], &x[1]), scaled);

    let both = vars(&[&[2, 5, 3], &[2, 5, 3]]);
    for activation in [Activation::Relu, Activation::Gelu] {
        let composed = |x: &[Tensor]| activate(&(&x[0] + &x[1])?, activation);
        let ours = |x: &[Tensor]| add_activate(&x[0], &x[1], activation);
        assert_same("sum", &both, ours, composed);
    }
}

#[test]
fn depthwise_filters_have_the_gradients_of_their_definition() {
    for activation in [None, Some(Activation::Relu), Some(Activation::Silu)] {
        let vars = vars(&[&[2, 7, 6, 3], &[9, 3], &[3]]);
        let ours = |x: &[Tensor]| {
            let sliding = sliding(&x[0], 3, (3, 2), Padding::even(1))?;
            depthwise(&x[0], &x[1], &x[2], sliding, activation)
        };
        let theirs = |x: &[Tensor]| {
            let products = seen(&x[0], (3, 2, 1))?.broadcast_mul(&x[1])?;
            activated(products.sum(3)?.broadcast_add(&x[2])?, activation)
        };
        assert_same(&format!("{activation:?}"), &vars, ours, theirs);
    }
}

#[test]
fn what_lies_side_by_side_sees_itself_as_what_is_cut() {
    let heads = HeadShape {
        heads: 2,
        head_dim: 4,
        scale: 0.5,
    };
    let apart = |all: &Tensor, mask: Option<&Tensor>| {
        let queries = all.narrow(2, 0, 8)?;
        attention(&queries, &all.narrow(2, 8, 16)?, mask, heads)
    };
    let alone = vars(&[&[3, 5, 24]]);
    let ours = |x: &[Tensor]| own_attention(&x[0], None, heads);
    assert_same("without a mask", &alone, ours, |x| apart(&x[0], None));
    // One mask for all items and queries, and one of each head.
    for shape in [[1, 1, 1, 5], [3, 2, 5, 5]] {
        let both = vars(&[&[3, 5, 24], &shape]);
        let ours = |x: &[Tensor]| own_attention(&x[0], Some(&x[1]), heads);
        assert_same("with a mask", &both, ours, |x| apart(&x[0], Some(&x[1])));
    }
}
