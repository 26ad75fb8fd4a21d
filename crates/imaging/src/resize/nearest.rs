//! Nearest neighbour: target pixels are source pixels.

use super::view::View;
use super::weights::AxisSpec;

/// How nearest neighbour finds its positions; they differ in the last bits, which matters on a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// Each position is the one before plus a step (Pillow's scaling of most modes).
    Accumulated,
    /// Each position is computed from its number (Pillow's general transform, mode `I;16`).
    Direct,
    /// The same in single precision (torch's `nearest-exact`), and never behind the last pixel.
    Single,
}

/// The source pixel of each target pixel in the window; `None` where rounding pushes it outside.
pub(super) fn picks(axis: &AxisSpec, steps: Steps) -> impl Iterator<Item = Option<u32>> + Clone {
    let &AxisSpec {
        source,
        region: (from, to),
        target,
        window,
        ..
    } = axis;
    let step = f64::from(to - from) / f64::from(target);
    let mut sum = f64::from(from) + step * 0.5;
    let single_step = source as f32 / target as f32;
    (0..window.0 + window.1)
        .map(move |i| {
            let at = match steps {
                Steps::Accumulated => sum as u32,
                Steps::Direct => (step * (f64::from(i) + 0.5) + f64::from(from)) as u32,
                Steps::Single => (((i as f32 + 0.5) * single_step) as u32).min(source - 1),
            };
            sum += step;
            (at < source).then_some(at)
        })
        .skip(window.0 as usize)
}

/// Picks pixels of `source`, whose first one is `origin` of the image that the axes are about; what lies outside is
/// zero.
pub(super) fn resize<T: Copy + Default>(
    source: View<'_, T>,
    origin: (u32, u32),
    (across, down): (&AxisSpec, &AxisSpec),
    steps: Steps,
    out: &mut Vec<T>,
) {
    let channels = source.channels;
    out.clear();
    for y in picks(down, steps) {
        let row = y.map(|y| source.row((y - origin.1) as usize));
        for x in picks(across, steps) {
            match (row, x) {
                (Some(row), Some(x)) => {
                    let start = (x - origin.0) as usize * channels;
                    out.extend_from_slice(&row[start..start + channels]);
                }
                _ => out.extend(std::iter::repeat_n(T::default(), channels)),
            }
        }
    }
}
