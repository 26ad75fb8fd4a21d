//! Target sizes as the tools compute them; a pixel more or less changes the whole image.

use sightline_core::image_spec::Size;

/// torchvision's `Resize(int)` and Hugging Face's `shortest_edge`: the short side becomes `edge`, the
/// long one `trunc(edge * long / short)`.
pub fn shortest_edge(from: Size, edge: u32) -> Size {
    let long = |short: u32, long: u32| {
        let exact = f64::from(edge) * f64::from(long) / f64::from(short);
        (exact as u32).max(1)
    };
    if from.width <= from.height {
        Size {
            width: edge,
            height: long(from.width, from.height),
        }
    } else {
        Size {
            width: long(from.height, from.width),
            height: edge,
        }
    }
}

/// `open_clip`'s `ResizeKeepRatio`: the whole image fits into `target` (`longest`), or covers it; both
/// sides are rounded, halves to even.
pub fn keep_ratio(from: Size, target: Size, longest: bool) -> Size {
    let across = f64::from(from.width) / f64::from(target.width);
    let down = f64::from(from.height) / f64::from(target.height);
    let ratio = if longest {
        across.max(down)
    } else {
        across.min(down)
    };
    let side = |side: u32| (f64::from(side) / ratio).round_ties_even() as u32;
    Size {
        width: side(from.width),
        height: side(from.height),
    }
}

/// Pillow's `Image.thumbnail`: the largest size of about the same shape inside `within`; the image's
/// own size when it is already there.
pub fn thumbnail(from: Size, within: Size) -> Size {
    let (x, y) = (within.width, within.height);
    if x >= from.width && y >= from.height {
        return from;
    }
    let aspect = f64::from(from.width) / f64::from(from.height);
    // The neighbour whose shape is nearer; the lower one on equality.
    let nearer = |exact: f64, error: &dyn Fn(f64) -> f64| {
        let (below, above) = (exact.floor(), exact.ceil());
        let best = if error(above) < error(below) {
            above
        } else {
            below
        };
        (best as u32).max(1)
    };
    if f64::from(x) / f64::from(y) >= aspect {
        let error = |n: f64| (aspect - n / f64::from(y)).abs();
        Size {
            width: nearer(f64::from(y) * aspect, &error),
            height: y,
        }
    } else {
        let error = |n: f64| {
            if n == 0.0 {
                0.0
            } else {
                (aspect - f64::from(x) / n).abs()
            }
        };
        Size {
            width: x,
            height: nearer(f64::from(x) / aspect, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn the_long_side_is_cut_not_rounded() {
        assert_eq!(shortest_edge(size(640, 480), 224), size(298, 224));
        assert_eq!(shortest_edge(size(480, 640), 224), size(224, 298));
        assert_eq!(shortest_edge(size(5, 5), 224), size(224, 224));
        assert_eq!(shortest_edge(size(4000, 1), 3), size(12000, 3));
    }

    #[test]
    fn keep_ratio_fits_or_covers() {
        assert_eq!(keep_ratio(size(100, 50), size(48, 48), true), size(48, 24));
        assert_eq!(keep_ratio(size(100, 50), size(48, 48), false), size(96, 48));
        assert_eq!(keep_ratio(size(383, 500), size(48, 48), true), size(37, 48));
    }

    #[test]
    fn thumbnails_keep_the_shape_as_well_as_pixels_allow() {
        assert_eq!(thumbnail(size(383, 500), size(96, 80)), size(61, 80));
        assert_eq!(thumbnail(size(639, 90), size(96, 80)), size(96, 14));
        assert_eq!(thumbnail(size(90, 70), size(96, 80)), size(90, 70));
        assert_eq!(thumbnail(size(10_000, 1), size(10, 10)), size(10, 1));
    }
}
