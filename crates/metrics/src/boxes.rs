//! Axis-aligned boxes and how much two of them overlap.
//!
//! A box is `[x, y, width, height]` in pixels, as in COCO's files; coordinates are continuous, so a box
//! of width 3 spans 3 pixels and nothing is added to its sides.

use crate::{Error, Result};

/// A box of finite numbers. Its sides may be zero or negative, as in files that models write; such a
/// box overlaps nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundingBox {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl BoundingBox {
    /// The box `[x, y, width, height]`, in pixels from the upper left corner of the image; an error if
    /// one of the numbers is not finite.
    pub fn new([x, y, width, height]: [f64; 4]) -> Result<Self> {
        for (name, value) in [("x", x), ("y", y), ("width", width), ("height", height)] {
            finite(name, value)?;
        }
        Ok(Self {
            x,
            y,
            width,
            height,
        })
    }

    /// `[x, y, width, height]`.
    pub fn xywh(&self) -> [f64; 4] {
        [self.x, self.y, self.width, self.height]
    }

    /// Width times height, in square pixels.
    pub fn area(&self) -> f64 {
        self.width * self.height
    }

    /// The point in the middle, `[x, y]`.
    pub fn centre(&self) -> [f64; 2] {
        [self.x + self.width / 2.0, self.y + self.height / 2.0]
    }

    /// Whether the point `[x, y]` is inside or on an edge.
    pub fn contains(&self, [x, y]: [f64; 2]) -> bool {
        (self.x..=self.x + self.width).contains(&x) && (self.y..=self.y + self.height).contains(&y)
    }

    /// Intersection over union, 0 to 1. In the order of operations of pycocotools 2.0.11, `bbIou`; where
    /// that divides 0 by 0 or infinity by infinity, in boxes of unheard-of sizes, this is 0.
    pub fn iou(&self, other: &Self) -> f64 {
        let both = self.intersection(other);
        share(both, self.area() + other.area() - both)
    }

    /// The share of this box that lies in `region`: what pycocotools takes instead of the intersection
    /// over union when `region` is a crowd.
    pub fn share_inside(&self, region: &Self) -> f64 {
        share(self.intersection(region), self.area())
    }

    /// The smallest box around all of `boxes`; `None` of none.
    pub fn around(boxes: &[Self]) -> Option<Self> {
        let (first, rest) = boxes.split_first()?;
        Some(rest.iter().fold(*first, |all, one| {
            let x = all.x.min(one.x);
            let y = all.y.min(one.y);
            Self {
                x,
                y,
                width: (all.x + all.width).max(one.x + one.width) - x,
                height: (all.y + all.height).max(one.y + one.height) - y,
            }
        }))
    }

    fn intersection(&self, other: &Self) -> f64 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        if width <= 0.0 || height <= 0.0 {
            0.0
        } else {
            width * height
        }
    }
}

/// `value` if it is finite, else an error that calls it `name`.
pub(crate) fn finite(name: &'static str, value: f64) -> Result<f64> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(Error::OutOfRange {
            what: name,
            value,
            expected: "a finite number",
        })
    }
}

fn share(part: f64, whole: f64) -> f64 {
    let share = part / whole;
    if part > 0.0 && !share.is_nan() {
        share
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bbox(xywh: [f64; 4]) -> BoundingBox {
        BoundingBox::new(xywh).unwrap()
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
    fn overlaps_by_hand() {
        let a = bbox([0.0, 0.0, 4.0, 2.0]);
        assert_eq!(a.iou(&bbox([2.0, 0.0, 4.0, 2.0])), 4.0 / 12.0);
        assert_eq!(a.iou(&a), 1.0);
        assert_eq!(a.iou(&bbox([4.0, 0.0, 1.0, 1.0])), 0.0, "edges only");
        assert_eq!(a.share_inside(&bbox([1.0, 0.0, 9.0, 9.0])), 0.75);
        assert_eq!(
            BoundingBox::around(&[a, bbox([5.0, -1.0, 1.0, 1.0])]),
            Some(bbox([0.0, -1.0, 6.0, 3.0]))
        );
        assert!(a.contains([4.0, 2.0]) && !a.contains([4.1, 1.0]));
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "0 is exact")]
    fn boxes_without_area_and_of_extreme_size_overlap_nothing() {
        let a = bbox([0.0, 0.0, 4.0, 2.0]);
        for odd in [
            [1.0, 1.0, 0.0, 1.0],
            [3.0, 1.0, -2.0, 1.0],
            [3.0, 2.0, -2.0, -2.0],
            [0.0, 0.0, 1e-200, 1e-200],
        ] {
            let odd = bbox(odd);
            assert_eq!((a.iou(&odd), odd.iou(&odd)), (0.0, 0.0), "{odd:?}");
        }
        let huge = bbox([0.0, 0.0, 1e200, 1e200]);
        assert_eq!(huge.iou(&huge), 0.0);
        assert_eq!(huge.share_inside(&huge), 0.0);
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused_by_name() {
        let error = BoundingBox::new([0.0, 0.0, f64::NAN, 1.0]).unwrap_err();
        assert_eq!(error.to_string(), "width is NaN, expected a finite number");
    }
}
