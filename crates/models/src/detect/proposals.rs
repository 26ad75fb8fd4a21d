//! A simple generator of proposals, for images of which nothing else proposes regions.
//!
//! Windows of several sizes and shapes at places of a regular grid, as detectors had them before regions were learned. It
//! knows nothing of the image, so that every window is as likely as the other: boxes that fit an object well are the
//! exception, and scores are worth little beside those on learned proposals.

use super::Proposal;

/// Windows that slide over an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Sliding {
    /// Sizes: the side of a square window as a share of the image's shorter side.
    pub sizes: Vec<f32>,
    /// Shapes: height over width. The area of a window is that of its size's square.
    pub shapes: Vec<f32>,
    /// From one window to the next, as a share of the window's own width, or height; at least 0.05.
    pub step: f32,
    /// The most windows; of more the largest ones are kept.
    pub limit: usize,
}

impl Default for Sliding {
    /// Four sizes, three shapes, half a window from one to the next: 500 to 1,000 windows of an image.
    fn default() -> Self {
        Self {
            sizes: vec![0.9, 0.5, 0.3, 0.2],
            shapes: vec![1.0, 0.5, 2.0],
            step: 0.5,
            limit: 1000,
        }
    }
}

/// The whole image, then windows within it, the larger sizes first; all with an objectness of 1.
pub fn sliding([width, height]: [f32; 2], windows: &Sliding) -> Vec<Proposal> {
    let proposal = |edges| Proposal {
        edges,
        objectness: 1.0,
    };
    if !(width > 0.0 && height > 0.0) {
        return Vec::new();
    }
    let mut sizes = windows.sizes.clone();
    sizes.sort_by(|a, b| b.total_cmp(a));
    let mut found = vec![proposal([0.0, 0.0, width, height])];
    for size in sizes {
        let side = size * width.min(height);
        for shape in &windows.shapes {
            let (across, down) = (side / shape.sqrt(), side * shape.sqrt());
            let is_within = (1.0..=width).contains(&across) && (1.0..=height).contains(&down);
            if !is_within {
                continue;
            }
            for top in places(height, down, windows.step) {
                for left in places(width, across, windows.step) {
                    if found.len() >= windows.limit {
                        found.truncate(windows.limit);
                        return found;
                    }
                    found.push(proposal([left, top, left + across, top + down]));
                }
            }
        }
    }
    found.truncate(windows.limit);
    found
}

/// Where windows of `side` begin along `length`: evenly spread from edge to edge.
fn places(length: f32, side: f32, step: f32) -> impl Iterator<Item = f32> {
    let room = length - side;
    let steps = (room / (side * step.max(0.05))).ceil().max(0.0) as usize;
    (0..=steps).map(move |at| room * at as f32 / steps.max(1) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_within_the_image_and_reach_its_edges() {
        let found = sliding([640.0, 480.0], &Sliding::default());
        assert!((300..=1000).contains(&found.len()), "{}", found.len());
        assert_eq!(found[0].edges.to_vec(), [0.0, 0.0, 640.0, 480.0]);
        for Proposal { edges, .. } in &found {
            let [left, top, right, bottom] = *edges;
            assert!(left >= 0.0 && top >= 0.0 && right <= 640.01 && bottom <= 480.01);
            assert!(right > left && bottom > top);
        }
        let right = found[1..].iter().map(|p| p.edges[2]).fold(0.0, f32::max);
        assert!((right - 640.0).abs() < 0.01);
    }

    #[test]
    fn the_limit_keeps_the_largest_and_odd_sizes_are_no_panic() {
        let windows = Sliding {
            limit: 7,
            ..Sliding::default()
        };
        assert_eq!(sliding([640.0, 480.0], &windows).len(), 7);
        assert!(sliding([0.0, 480.0], &windows).is_empty());
        assert!(sliding([f32::NAN, 480.0], &windows).is_empty());
        assert_eq!(sliding([1.0, 1.0], &windows).len(), 1);
        let odd = Sliding {
            sizes: vec![f32::NAN, -1.0, 1e9, 1.0],
            shapes: vec![0.0, -2.0, f32::INFINITY, 1.0],
            step: 0.0,
            limit: 50,
        };
        assert!(sliding([10.0, 10.0], &odd).len() <= 50);
    }
}
