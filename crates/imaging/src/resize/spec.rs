//! What is asked of a resize: sizes, filter, arithmetic, and the part of the target that is wanted.

use std::ops::Range;

use sightline_core::image_spec::{Filter, Size};

use super::nearest::{Steps, picks};
use super::weights::AxisSpec;
use crate::Window;

/// No resize makes more pixels than this, whatever a file or a manifest says.
pub const MAX_TARGET_PIXELS: u64 = 1 << 28;

/// No resize makes a side longer than this.
pub const MAX_TARGET_SIDE: u32 = 1 << 18;

/// A resize of an image of bytes. Its fields are public, and are checked when it is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResizeSpec {
    /// Size of the source.
    pub from: Size,
    /// Left, top, right and bottom of the part of the source that is resized, fractions allowed.
    pub region: [f32; 4],
    /// Size of the whole target.
    pub to: Size,
    /// The part of the target that is wanted. Its pixels are those of the whole target; the others are not computed.
    pub window: Window,
    /// The filter.
    pub filter: Filter,
    /// Whose arithmetic is matched.
    pub arithmetic: Arithmetic,
}

/// Whose arithmetic a resize follows, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Pillow's `Image.resize`: weights of 22 bits, colour multiplied by alpha.
    Pillow(PassOrder),
    /// torchvision's `v2` functional `resize` of an 8-bit tensor on a CPU with `antialias=True`: weights of up to 15
    /// bits, horizontal pass first, alpha a channel like the others.
    TorchvisionU8,
}

/// Which of the two passes comes first; results differ by clamping and rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassOrder {
    /// Pillow 13: the vertical one if it removes rows, and more than twice as many as columns go.
    Adaptive,
    /// Pillow up to 12: the horizontal one, except for sources over 100 times taller than wide.
    HorizontalFirst,
}

impl PassOrder {
    pub(super) fn vertical_first(self, from: Size, to: Size) -> bool {
        let rows = i64::from(from.height) - i64::from(to.height);
        let columns = i64::from(from.width) - i64::from(to.width);
        match self {
            Self::Adaptive => rows > 0 && rows > 2 * columns,
            Self::HorizontalFirst => {
                rows > 0 && u64::from(from.height) > 100 * u64::from(from.width)
            }
        }
    }
}

/// A resize that cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// The target has no pixels.
    #[error("target size {width}x{height} has no content")]
    NoContent {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The target is larger than any image may be.
    #[error("target size {width}x{height} is more than {max} pixels")]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// [`MAX_TARGET_PIXELS`].
        max: u64,
    },
    /// A side of the target is longer than any image's may be.
    #[error("target size {width}x{height}, limit is {max} a side")]
    SideTooLong {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// [`MAX_TARGET_SIDE`].
        max: u32,
    },
    /// The region leaves the source or has no content.
    #[error("region {region:?} is not inside an image of {width}x{height} pixels")]
    Region {
        /// Left, top, right, bottom.
        region: [f32; 4],
        /// Columns of the source.
        width: u32,
        /// Rows of the source.
        height: u32,
    },
    /// The window leaves the target or has no content.
    #[error("window {window:?} is not inside a target of {width}x{height} pixels")]
    Window {
        /// The part of the target that was asked for.
        window: Window,
        /// Columns of the target.
        width: u32,
        /// Rows of the target.
        height: u32,
    },
    /// The pixels given are not all those that are read.
    #[error("pixels of {given:?} of the source are given, {read:?} is read")]
    Source {
        /// The part of the source that was given.
        given: Window,
        /// The part that is needed.
        read: Window,
    },
    /// The reducing gap is below 1.
    #[error("reducing gap {gap} is below 1")]
    Gap {
        /// The gap asked for.
        gap: f64,
    },
}

/// How pixels are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    /// They are pixels of the source, next to each other as they were.
    Copy,
    /// They are pixels of the source.
    Pick(Steps),
    /// They are weighted sums along one axis or both.
    Filter,
}

impl ResizeSpec {
    /// A resize of the whole source to the whole target.
    pub fn new(from: Size, to: Size, filter: Filter, arithmetic: Arithmetic) -> Self {
        Self {
            from,
            region: full(from),
            to,
            window: Window::whole(to),
            filter,
            arithmetic,
        }
    }

    /// The window of the source that the window is computed from: nothing else has to be decoded.
    pub fn source(&self) -> Result<Window, ResizeError> {
        self.check()?;
        let (columns, rows) = (self.read(&self.across()), self.read(&self.down()));
        Ok(Window {
            left: columns.start,
            top: rows.start,
            width: columns.end - columns.start,
            height: rows.end - rows.start,
        })
    }

    /// Checks everything that is not a type.
    fn check(&self) -> Result<(), ResizeError> {
        check_target(self.to)?;
        let Size { width, height } = self.from;
        let region = self.region;
        let inside = region[0] >= 0.0
            && region[1] >= 0.0
            && region[0] < region[2]
            && region[1] < region[3]
            && region[2] <= width as f32
            && region[3] <= height as f32;
        if !inside {
            return Err(ResizeError::Region {
                region,
                width,
                height,
            });
        }
        let window = self.window;
        if !window.is_inside(self.to) {
            return Err(ResizeError::Window {
                window,
                width: self.to.width,
                height: self.to.height,
            });
        }
        Ok(())
    }

    pub(super) fn method(&self) -> Method {
        let is_cut = whole_corner(self.region, self.to).is_some();
        match (self.arithmetic, self.filter) {
            _ if is_cut => Method::Copy,
            (Arithmetic::Pillow(_), Filter::Nearest) => Method::Pick(Steps::Accumulated),
            (Arithmetic::TorchvisionU8, Filter::Nearest) => Method::Pick(Steps::Single),
            _ => Method::Filter,
        }
    }

    /// Whether colours are multiplied by alpha before, and divided by it after.
    pub(super) fn multiplies_alpha(&self) -> bool {
        let is_full = self.region.map(f32::to_bits) == full(self.from).map(f32::to_bits);
        let is_same = self.from == self.to && is_full;
        matches!(self.arithmetic, Arithmetic::Pillow(_))
            && self.filter != Filter::Nearest
            && !is_same
    }

    pub(super) fn vertical_first(&self) -> bool {
        match self.arithmetic {
            Arithmetic::Pillow(order) => order.vertical_first(self.from, self.to),
            Arithmetic::TorchvisionU8 => false,
        }
    }

    pub(super) fn across(&self) -> AxisSpec {
        AxisSpec {
            filter: self.filter,
            source: self.from.width,
            region: (self.region[0], self.region[2]),
            target: self.to.width,
            window: (self.window.left, self.window.width),
        }
    }

    pub(super) fn down(&self) -> AxisSpec {
        AxisSpec {
            filter: self.filter,
            source: self.from.height,
            region: (self.region[1], self.region[3]),
            target: self.to.height,
            window: (self.window.top, self.window.height),
        }
    }

    /// The source pixels that the window reads along an axis.
    fn read(&self, axis: &AxisSpec) -> Range<u32> {
        let start = axis.window.0;
        let copied = start..start + axis.window.1;
        match self.method() {
            Method::Copy => {
                let offset = axis.region.0 as u32;
                copied.start + offset..copied.end + offset
            }
            Method::Pick(steps) => {
                let mut indices = picks(axis, steps).flatten();
                // All pixels may lie outside; then they are zero, and any source pixel will do.
                let first = indices.next().unwrap_or(0);
                indices.fold(first..first + 1, |read, index| {
                    read.start.min(index)..read.end.max(index + 1)
                })
            }
            Method::Filter if axis.is_needed() => axis.read(),
            Method::Filter => copied,
        }
    }
}

/// Checks that a target is within the limits.
pub(super) fn check_target(to: Size) -> Result<(), ResizeError> {
    let Size { width, height } = to;
    if width == 0 || height == 0 {
        return Err(ResizeError::NoContent { width, height });
    }
    if width.max(height) > MAX_TARGET_SIDE {
        return Err(ResizeError::SideTooLong {
            width,
            height,
            max: MAX_TARGET_SIDE,
        });
    }
    if u64::from(width) * u64::from(height) > MAX_TARGET_PIXELS {
        return Err(ResizeError::TooLarge {
            width,
            height,
            max: MAX_TARGET_PIXELS,
        });
    }
    Ok(())
}

/// The whole of an image as a region.
pub(super) fn full(size: Size) -> [f32; 4] {
    [0.0, 0.0, size.width as f32, size.height as f32]
}

/// The corner of a region that has whole coordinates and exactly the target's size.
#[expect(clippy::float_cmp, reason = "Pillow compares exactly")]
pub(super) fn whole_corner(region: [f32; 4], to: Size) -> Option<(usize, usize)> {
    let [left, top, right, bottom] = region;
    let whole = left.fract() == 0.0
        && top.fract() == 0.0
        && right - left == to.width as f32
        && bottom - top == to.height as f32;
    whole.then_some((left as usize, top as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn order_of_passes_follows_the_version() {
        let adaptive = |from, to| PassOrder::Adaptive.vertical_first(from, to);
        assert!(adaptive(size(10, 100), size(10, 10)));
        assert!(!adaptive(size(100, 100), size(10, 10)));
        assert!(adaptive(size(10, 100), size(20, 99)));
        assert!(!adaptive(size(10, 100), size(5, 100)));
        let horizontal = |from, to| PassOrder::HorizontalFirst.vertical_first(from, to);
        assert!(!horizontal(size(10, 1000), size(10, 10)));
        assert!(horizontal(size(10, 1001), size(10, 10)));
        assert!(!horizontal(size(10, 1001), size(10, 1001)));
    }
}
