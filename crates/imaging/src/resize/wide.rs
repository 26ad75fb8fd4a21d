//! Pillow's resize of one-channel images with more than eight bits: modes `I;16`, `I` and `F`.

use sightline_core::image_spec::{Filter, Size};

use super::nearest::{self, Steps};
use super::spec::{Arithmetic, Method, PassOrder, ResizeError, ResizeSpec};
use super::view::View;
use super::weights::{Axis, AxisSpec};

/// A sample type that Pillow resizes in double precision.
pub trait Wide: Copy + Default {
    /// Whether nearest neighbour adds up its steps, or computes each position anew.
    const STEPS: Steps = Steps::Accumulated;
    /// The sample as a double.
    fn widen(self) -> f64;
    /// A sum of weighted samples, rounded as the mode does.
    fn narrow(sum: f64) -> Self;
}

impl Wide for u16 {
    const STEPS: Steps = Steps::Direct;
    fn widen(self) -> f64 {
        f64::from(self)
    }
    fn narrow(sum: f64) -> Self {
        // Halves go away from zero; the conversion saturates.
        sum.round() as u16
    }
}

impl Wide for i32 {
    fn widen(self) -> f64 {
        f64::from(self)
    }
    fn narrow(sum: f64) -> Self {
        sum.round() as i32
    }
}

impl Wide for f32 {
    fn widen(self) -> f64 {
        f64::from(self)
    }
    fn narrow(sum: f64) -> Self {
        sum as f32
    }
}

/// Resizes one channel of `source` (rows of `from.width` samples) to `size` in Pillow's arithmetic.
pub fn resize_pillow_wide<T: Wide>(
    source: &[T],
    from: Size,
    size: Size,
    filter: Filter,
    order: PassOrder,
) -> Result<Vec<T>, ResizeError> {
    let spec = ResizeSpec::new(from, size, filter, Arithmetic::Pillow(order));
    spec.source()?;
    if source.len() as u64 != u64::from(from.width) * u64::from(from.height) {
        return Err(ResizeError::Region {
            region: spec.region,
            width: from.width,
            height: from.height,
        });
    }
    let (across, down) = (spec.across(), spec.down());
    match spec.method() {
        Method::Copy => return Ok(source.to_vec()),
        Method::Pick(_) => {
            let mut out = Vec::new();
            let view = View::packed(source, from.width as usize, 1);
            nearest::resize(view, (0, 0), (&across, &down), T::STEPS, &mut out);
            return Ok(out);
        }
        Method::Filter => {}
    }
    let width = from.width as usize;
    let weights = |axis: &AxisSpec| Axis::new(axis).filter(|_| axis.is_needed());
    Ok(match (weights(&across), weights(&down)) {
        (None, None) => source.to_vec(),
        (Some(across), None) => horizontal(source, width, &across),
        (None, Some(down)) => vertical(source, width, &down),
        (Some(across), Some(down)) if spec.vertical_first() => {
            horizontal(&vertical(source, width, &down), width, &across)
        }
        (Some(across), Some(down)) => vertical(
            &horizontal(source, width, &across),
            size.width as usize,
            &down,
        ),
    })
}

fn horizontal<T: Wide>(source: &[T], width: usize, axis: &Axis<f64>) -> Vec<T> {
    source
        .chunks_exact(width)
        .flat_map(|row| {
            axis.iter().map(|(first, weights)| {
                let samples = row[first..].iter().zip(weights);
                T::narrow(samples.fold(0.0, |sum, (v, weight)| sum + v.widen() * weight))
            })
        })
        .collect()
}

fn vertical<T: Wide>(source: &[T], width: usize, axis: &Axis<f64>) -> Vec<T> {
    axis.iter()
        .flat_map(|(first, weights)| {
            (0..width).map(move |x| {
                let column = source[first * width + x..].iter().step_by(width);
                T::narrow(
                    column
                        .zip(weights)
                        .fold(0.0, |sum, (v, weight)| sum + v.widen() * weight),
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_saturate_and_floats_do_not() {
        let from = Size {
            width: 4,
            height: 1,
        };
        let to = Size {
            width: 7,
            height: 1,
        };
        let resize = |source: &[u16]| {
            resize_pillow_wide(source, from, to, Filter::Lanczos, PassOrder::Adaptive).unwrap()
        };
        assert!(resize(&[0, 65535, 65535, 0]).contains(&65535));
        assert_eq!(resize(&[40_000; 4]), [40_000; 7]);
        let floats = [0.0f32, 1.0, 1.0, 0.0];
        let out =
            resize_pillow_wide(&floats, from, to, Filter::Lanczos, PassOrder::Adaptive).unwrap();
        assert!(out.iter().any(|&v| v > 1.0) && out.iter().any(|&v| v < 0.0));
        assert!(
            resize_pillow_wide(&floats[..3], from, to, Filter::Box, PassOrder::Adaptive).is_err()
        );
    }
}
