//! Rectangles of an image's pixels.

use sightline_core::image_spec::Size;

use crate::Pixels;

/// A rectangle of an image's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Columns to the left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its columns.
    pub width: u32,
    /// Its rows.
    pub height: u32,
}

impl Window {
    /// All pixels of an image.
    pub fn whole(size: Size) -> Self {
        Self {
            left: 0,
            top: 0,
            width: size.width,
            height: size.height,
        }
    }

    /// Whether it holds pixels, and only such as an image of `size` has.
    pub fn is_inside(&self, size: Size) -> bool {
        let fits = |from: u32, len: u32, side: u32| {
            len > 0 && from.checked_add(len).is_some_and(|end| end <= side)
        };
        fits(self.left, self.width, size.width) && fits(self.top, self.height, size.height)
    }

    /// Columns and rows.
    pub fn size(&self) -> Size {
        Size {
            width: self.width,
            height: self.height,
        }
    }

    /// The same pixels counted from the corner of `outer`; `None` if it does not hold all of them.
    pub(crate) fn within(self, outer: Self) -> Option<Self> {
        let moved = Self {
            left: self.left.checked_sub(outer.left)?,
            top: self.top.checked_sub(outer.top)?,
            ..self
        };
        moved.is_inside(outer.size()).then_some(moved)
    }

    /// Where its pixels are stored in a file that `orientation` turns into an image of `size`.
    pub(crate) fn before_turning(self, size: Size, orientation: u8) -> Self {
        let Self {
            left,
            top,
            width,
            height,
        } = self;
        let right = size.width - left - width;
        let bottom = size.height - top - height;
        let (left, top) = match orientation {
            2 => (right, top),
            3 => (right, bottom),
            4 => (left, bottom),
            5 => (top, left),
            6 => (top, right),
            7 => (bottom, right),
            8 => (bottom, left),
            _ => (left, top),
        };
        let (width, height) = match orientation {
            5..=8 => (height, width),
            _ => (width, height),
        };
        Self {
            left,
            top,
            width,
            height,
        }
    }

    /// These pixels of an image.
    ///
    /// # Panics
    /// When they are not inside of it: see [`Self::is_inside`].
    pub fn cut(&self, pixels: Pixels) -> Pixels {
        if *self == Self::whole(pixels.size()) {
            return pixels;
        }
        let count = pixels.channels().count();
        let columns = self.left as usize * count..(self.left + self.width) as usize * count;
        let rows = pixels.rows().skip(self.top as usize);
        let mut data = Vec::with_capacity(columns.len() * self.height as usize);
        for row in rows.take(self.height as usize) {
            data.extend_from_slice(&row[columns.clone()]);
        }
        Pixels::new(self.width, self.height, pixels.channels(), data)
            .expect("a window inside an image holds its rows")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channels;
    use crate::orient::upright;

    const SIZE: Size = Size {
        width: 5,
        height: 4,
    };

    fn window(left: u32, top: u32, width: u32, height: u32) -> Window {
        Window {
            left,
            top,
            width,
            height,
        }
    }

    #[test]
    fn windows_hold_pixels_of_the_image_only() {
        assert!(Window::whole(SIZE).is_inside(SIZE));
        assert!(window(4, 3, 1, 1).is_inside(SIZE));
        for outside in [
            window(0, 0, 0, 4),
            window(1, 0, 5, 4),
            window(0, 4, 1, 1),
            window(u32::MAX, 0, 2, 1),
        ] {
            assert!(!outside.is_inside(SIZE), "{outside:?}");
        }
    }

    #[test]
    fn cutting_before_or_after_turning_gives_the_same_pixels() {
        let data: Vec<u8> = (0..20).collect();
        for orientation in 0..=9 {
            let stored = Pixels::new(5, 4, Channels::Grey, data.clone()).unwrap();
            let turned = upright(stored.clone(), orientation);
            let window = window(1, 2, 3, 1);
            let before = window.before_turning(turned.size(), orientation);
            assert!(before.is_inside(SIZE), "{orientation}");
            let first_cut = upright(before.cut(stored), orientation);
            assert_eq!(first_cut.data(), window.cut(turned).data(), "{orientation}");
        }
    }
}
