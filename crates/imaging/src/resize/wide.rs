//! Pillow's resize of one-channel images with more than eight bits: modes `I;16`, `I` and `F`.

use sightline_core::image_spec::{Filter, Size};

use super::pillow::{
    PassOrder, ResizeError, Steps, check, crop, full, nearest, needed, whole_crop,
};
use super::weights::{Axis, axis, support};

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
    let region = check(from, size, None)?;
    if source.len() as u64 != u64::from(from.width) * u64::from(from.height) {
        return Err(ResizeError::Region {
            region,
            width: from.width,
            height: from.height,
        });
    }
    if let Some(origin) = whole_crop(full(from), size) {
        return Ok(crop(source, from, 1, size, origin));
    }
    let Some(support) = support(filter) else {
        return Ok(nearest(source, from, 1, size, region, T::STEPS));
    };
    let across = needed(from.width, size.width, region[0], region[2]).then(|| {
        axis(
            filter,
            support,
            from.width as usize,
            (region[0], region[2]),
            size.width as usize,
        )
    });
    let down = needed(from.height, size.height, region[1], region[3]).then(|| {
        axis(
            filter,
            support,
            from.height as usize,
            (region[1], region[3]),
            size.height as usize,
        )
    });
    let width = from.width as usize;
    Ok(match (across, down) {
        (None, None) => source.to_vec(),
        (Some(across), None) => horizontal(source, width, &across),
        (None, Some(down)) => vertical(source, width, &down),
        (Some(across), Some(down)) if order.vertical_first(from, size) => {
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
