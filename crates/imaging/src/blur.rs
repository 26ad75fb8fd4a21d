//! Blurring faces and other boxes, so that what is in them cannot be made out.
//!
//! The boxes are grown, and the border between blurred and sharp is soft, as in the face obfuscation of `ImageNet` (Yang
//! et al., *A Study of Face Obfuscation in `ImageNet`*, ICML 2022), which img2dataset follows: each box grows by a tenth of
//! its longer side, the deviation σ of the blur is a tenth of the longest side of all boxes, and the mask of the boxes
//! is blurred like the image. The Gaussian is made of three means over windows (Wells, *Efficient Synthesis of Gaussian
//! Filters*, 1986), so that the time does not depend on the size of the boxes; pixels are not those of img2dataset,
//! which draws σ at random.

use crate::Pixels;

/// A box in shares of the width and the height of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelativeBox([f64; 4]);

impl RelativeBox {
    /// From `[x0, y0, x1, y1]`: left and top edge, right and bottom edge. What is outside of the image is cut off; `None`
    /// where an edge is not finite or the edges are in the wrong order.
    pub fn new(edges: [f64; 4]) -> Option<Self> {
        let [x0, y0, x1, y1] = edges;
        let is_box = edges.iter().all(|edge| edge.is_finite()) && x0 <= x1 && y0 <= y1;
        is_box.then(|| Self(edges.map(|edge| edge.clamp(0.0, 1.0))))
    }

    /// In pixels of an image of `width` and `height`, rounded towards zero.
    fn in_pixels(self, width: u32, height: u32) -> [f64; 4] {
        let [x0, y0, x1, y1] = self.0;
        let (width, height) = (f64::from(width), f64::from(height));
        [x0 * width, y0 * height, x1 * width, y1 * height].map(f64::trunc)
    }
}

/// Share of a box's longer side by which the box grows on each side, and of the longest side that is σ.
const SHARE: f64 = 0.1;

/// Blurs `boxes`, in one go: boxes that overlap are blurred once. Alpha is blurred like the colours.
#[must_use]
pub fn blur_boxes(pixels: Pixels, boxes: &[RelativeBox]) -> Pixels {
    if boxes.is_empty() {
        return pixels;
    }
    let (width, height, channels) = (pixels.width(), pixels.height(), pixels.channels());
    let (columns, rows) = (width as usize, height as usize);
    let mut mask = vec![0.0f32; columns * rows];
    let mut longest = 0.0f64;
    for one in boxes {
        let [x0, y0, x1, y1] = one.in_pixels(width, height);
        let side = (x1 - x0).max(y1 - y0);
        longest = longest.max(side);
        let grown = |edge: f64, by: f64, count: usize| {
            // Casts of floats saturate, so what is left of the image becomes 0.
            ((edge + by * side).trunc() as usize).min(count)
        };
        let (left, right) = (grown(x0, -SHARE, columns), grown(x1, SHARE, columns));
        for row in mask
            .chunks_exact_mut(columns)
            .take(grown(y1, SHARE, rows))
            .skip(grown(y0, -SHARE, rows))
        {
            row[left..right].fill(1.0);
        }
    }
    let radii = radii(SHARE * longest);
    let mut room = vec![0.0; mask.len()];
    let mut soft = mask;
    gaussian(&mut soft, &mut room, columns, radii);

    let count = channels.count();
    let mut data = pixels.into_data();
    let mut plane = vec![0.0f32; soft.len()];
    for channel in 0..count {
        let values = data.iter().skip(channel).step_by(count);
        for (plane, &value) in plane.iter_mut().zip(values) {
            *plane = f32::from(value);
        }
        gaussian(&mut plane, &mut room, columns, radii);
        let values = data.iter_mut().skip(channel).step_by(count);
        for ((value, &blurred), &share) in values.zip(&plane).zip(&soft) {
            let sharp = f32::from(*value);
            *value = (sharp + (blurred - sharp) * share).round() as u8;
        }
    }
    Pixels::new(width, height, channels, data).expect("the size did not change")
}

/// Radii of three means whose succession has the deviation `sigma`, nearly: the widths differ by two at most (Kovesi,
/// *Fast Almost-Gaussian Filtering*, 2010).
fn radii(sigma: f64) -> [usize; 3] {
    let variance = 12.0 * sigma * sigma;
    // The largest odd width whose three means have no more than the variance.
    let ideal = (variance / 3.0 + 1.0).sqrt().floor() as usize;
    let lower = (ideal - usize::from(ideal.is_multiple_of(2))).max(1);
    let width = lower as f64;
    let left = 3.0 * width * width + 12.0 * width + 9.0 - variance;
    let smaller = (left / (4.0 * width + 4.0)).round() as usize;
    std::array::from_fn(|at| (lower - 1) / 2 + usize::from(at >= smaller))
}

/// Blurs a plane of `columns` columns along both axes; beyond an edge the outermost value goes on.
fn gaussian(plane: &mut [f32], room: &mut [f32], columns: usize, radii: [usize; 3]) {
    for radius in radii {
        for (row, out) in plane
            .chunks_exact(columns)
            .zip(room.chunks_exact_mut(columns))
        {
            mean_of_row(row, out, radius);
        }
        mean_of_columns(room, plane, columns, radius);
    }
}

/// The mean of the `2 · radius + 1` values around each.
fn mean_of_row(row: &[f32], out: &mut [f32], radius: usize) {
    let last = row.len() - 1;
    let at = |index: isize| f64::from(row[index.clamp(0, last as isize) as usize]);
    let (reach, width) = (radius as isize, (2 * radius + 1) as f64);
    let mut sum: f64 = (-reach..=reach).map(at).sum();
    for (index, out) in (0isize..).zip(out) {
        *out = (sum / width) as f32;
        sum += at(index + reach + 1) - at(index - reach);
    }
}

/// The same down the columns, row by row, so that memory is read in its order.
fn mean_of_columns(plane: &[f32], out: &mut [f32], columns: usize, radius: usize) {
    let last = (plane.len() / columns - 1) as isize;
    let row = |index: isize| {
        let start = index.clamp(0, last) as usize * columns;
        &plane[start..start + columns]
    };
    let (reach, width) = (radius as isize, (2 * radius + 1) as f64);
    let mut sums = vec![0.0f64; columns];
    for index in -reach..=reach {
        for (sum, &value) in sums.iter_mut().zip(row(index)) {
            *sum += f64::from(value);
        }
    }
    for (index, out) in (0isize..).zip(out.chunks_exact_mut(columns)) {
        let (enters, leaves) = (row(index + reach + 1), row(index - reach));
        for (((sum, out), &enters), &leaves) in sums.iter_mut().zip(out).zip(enters).zip(leaves) {
            *out = (*sum / width) as f32;
            *sum += f64::from(enters) - f64::from(leaves);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channels;

    /// Columns that alternate between black and white.
    fn stripes(width: u32, height: u32) -> Pixels {
        let row = (0..width).flat_map(|x| [if x % 2 == 0 { 0 } else { 255 }; 3]);
        let data = row.collect::<Vec<u8>>().repeat(height as usize);
        Pixels::new(width, height, Channels::Rgb, data).unwrap()
    }

    fn relative(edges: [f64; 4]) -> RelativeBox {
        RelativeBox::new(edges).unwrap()
    }

    #[test]
    fn boxes_are_blurred_and_what_is_far_from_them_is_not() {
        let sharp = stripes(100, 80);
        let blurred = blur_boxes(sharp.clone(), &[relative([0.3, 0.25, 0.7, 0.75])]);
        let at = |pixels: &Pixels, x: usize, y: usize| pixels.data()[(y * 100 + x) * 3];
        for (x, y) in [(40, 40), (50, 30), (60, 50), (36, 26), (62, 54)] {
            let found = i32::from(at(&blurred, x, y));
            assert!((found - 128).abs() < 12, "{found} at {x}, {y}");
        }
        for (x, y) in [(0, 0), (99, 79), (10, 40), (50, 0), (91, 40)] {
            assert_eq!(at(&blurred, x, y), at(&sharp, x, y), "{x}, {y}");
        }
        assert_eq!(blur_boxes(sharp.clone(), &[]), sharp);
    }

    #[test]
    fn any_box_in_any_image_is_blurred_without_a_panic() {
        for (width, height) in [(1, 1), (1, 50), (50, 1), (7, 3)] {
            for edges in [
                [0.0, 0.0, 1.0, 1.0],
                [0.5, 0.5, 0.5, 0.5],
                [-3.0, -1e300, 1e300, 2.0],
                [0.99, 0.99, 1.0, 1.0],
            ] {
                let blurred = blur_boxes(stripes(width, height), &[relative(edges)]);
                assert_eq!((blurred.width(), blurred.height()), (width, height));
            }
        }
        for edges in [
            [0.5, 0.0, 0.4, 1.0],
            [f64::NAN, 0.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, f64::INFINITY],
        ] {
            assert_eq!(RelativeBox::new(edges), None);
        }
    }

    #[test]
    fn three_means_have_the_deviation_asked_for() {
        for sigma in [0.0f64, 0.3, 1.0, 2.5, 10.0, 40.0] {
            let variance: f64 = radii(sigma)
                .map(|radius| ((2 * radius + 1).pow(2) - 1) as f64 / 12.0)
                .iter()
                .sum();
            let step = 2.0 * sigma.max(0.5);
            assert!(
                (variance - sigma * sigma).abs() <= step,
                "{sigma}: {variance}"
            );
        }
    }

    #[test]
    fn a_plain_image_stays_as_it_is() {
        let plain = Pixels::filled(40, 30, Channels::Rgba, &[9, 200, 31, 255]).unwrap();
        assert_eq!(
            blur_boxes(plain.clone(), &[relative([0.1, 0.1, 0.9, 0.9])]),
            plain
        );
    }
}
