//! Sums over images that do not depend on the number of threads.

use rayon::prelude::*;

use super::Features;

/// Parts into which images are cut, whatever the number of threads is: each is summed by one thread, and the sums are
/// added in the order of the parts.
const PARTS: usize = 16;

/// Images that are looked at together, so that their values stay in the cache while the classes go by.
const BLOCK: usize = 32;

/// The sum over all images of what `add` adds for a block of them to `size` sums and one value; `add` is given the
/// numbers of the block's images and their features, `[block, D]`.
pub(super) fn sum(
    features: &Features,
    size: usize,
    add: impl Fn(std::ops::Range<usize>, &[f64], &mut [f64]) -> f64 + Sync,
) -> (f64, Vec<f64>) {
    let count = features.len();
    let of_part = |part: usize| {
        let (mut value, mut sums) = (0.0, vec![0.0; size]);
        let (from, to) = (count * part / PARTS, count * (part + 1) / PARTS);
        let mut rows = Vec::with_capacity(BLOCK * features.width());
        for first in (from..to).step_by(BLOCK) {
            let block = first..(first + BLOCK).min(to);
            rows.clear();
            for number in block.clone() {
                rows.extend(features.row(number).iter().map(|&v| f64::from(v)));
            }
            value += add(block, &rows, &mut sums);
        }
        (value, sums)
    };
    let parts: Vec<(f64, Vec<f64>)> = (0..PARTS).into_par_iter().map(of_part).collect();
    let (mut value, mut sums) = (0.0, vec![0.0; size]);
    for (of_part, sums_of_part) in parts {
        value += of_part;
        for (sum, of_part) in sums.iter_mut().zip(sums_of_part) {
            *sum += of_part;
        }
    }
    (value, sums)
}

/// The dot product, in an order that leaves the additions independent of each other.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// Adds `factor` times `row` to `to`.
pub(super) fn add_scaled(to: &mut [f64], factor: f64, row: &[f64]) {
    for (to, value) in to.iter_mut().zip(row) {
        *to += factor * value;
    }
}
