//! Which of the judged regions are kept.

use super::Judged;

/// What is kept of judged regions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// Of two boxes of a class whose intersection over union is above it, the better one is kept.
    pub nms_iou: f32,
    /// Scores that are not above it are left out.
    pub score_threshold: f32,
    /// The most of an image.
    pub max_detections: usize,
}

/// An object that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Its class, by its number in the vocabulary.
    pub class: usize,
    /// 0 to 1 of families; of a model outside the process any number, more is surer.
    pub score: f32,
    /// Left, top, right and bottom in pixels.
    pub edges: [f32; 4],
}

impl Selection {
    /// The best, the best first. Non-maximum suppression is within a class; of equal scores the lower class comes first,
    /// then the earlier region. A score that is not a number is none.
    pub fn select(&self, judged: &Judged) -> Vec<Detection> {
        let overlaps = Overlaps::new(&judged.edges, self.nms_iou);
        let classes = judged.scores.first().map_or(0, Vec::len);
        let mut kept = Vec::new();
        for class in 0..classes {
            let scores = judged
                .scores
                .iter()
                .map(|scores| scores.get(class).copied());
            let scores: Vec<f32> = scores.map(|score| score.unwrap_or(f32::NAN)).collect();
            let mut order: Vec<usize> = (0..scores.len().min(judged.edges.len()))
                .filter(|&region| scores[region] > self.score_threshold)
                .collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            for region in overlaps.suppress(&order, self.max_detections) {
                kept.push(Detection {
                    class,
                    score: scores[region],
                    edges: judged.edges[region],
                });
            }
        }
        // Stable: classes are in order, and regions by their scores.
        kept.sort_by(|a, b| b.score.total_cmp(&a.score));
        kept.truncate(self.max_detections);
        kept
    }
}

/// Which regions overlap by too much. Boxes are the same for every class, and there may be a thousand classes, so this is
/// found once.
struct Overlaps {
    /// Words of 64 regions in a row.
    words: usize,
    bits: Vec<u64>,
}

impl Overlaps {
    fn new(edges: &[[f32; 4]], iou: f32) -> Self {
        let words = edges.len().div_ceil(64);
        let mut bits = vec![0u64; edges.len() * words];
        for (row, (one, bits)) in edges
            .iter()
            .zip(bits.chunks_exact_mut(words.max(1)))
            .enumerate()
        {
            for (other, edges) in edges.iter().enumerate() {
                if other != row && intersection_over_union(one, edges) > f64::from(iou) {
                    bits[other / 64] |= 1 << (other % 64);
                }
            }
        }
        Self { words, bits }
    }

    /// Of the regions in this order those that overlap none before them that was kept; at most `most`.
    fn suppress(&self, order: &[usize], most: usize) -> Vec<usize> {
        let mut gone = vec![0u64; self.words];
        let mut kept = Vec::new();
        for &region in order {
            if kept.len() == most {
                break;
            }
            if gone[region / 64] >> (region % 64) & 1 == 1 {
                continue;
            }
            kept.push(region);
            let row = &self.bits[region * self.words..(region + 1) * self.words];
            for (gone, row) in gone.iter_mut().zip(row) {
                *gone |= row;
            }
        }
        kept
    }
}

/// 0 to 1; 0 where a box is empty.
fn intersection_over_union(a: &[f32; 4], b: &[f32; 4]) -> f64 {
    let [a, b] = [a, b].map(|edges| edges.map(f64::from));
    let area = |e: [f64; 4]| (e[2] - e[0]).max(0.0) * (e[3] - e[1]).max(0.0);
    let both = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let either = area(a) + area(b) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECTION: Selection = Selection {
        nms_iou: 0.5,
        score_threshold: 0.1,
        max_detections: 10,
    };

    fn judged(regions: &[([f32; 4], &[f32])]) -> Judged {
        Judged {
            edges: regions.iter().map(|(edges, _)| *edges).collect(),
            scores: regions.iter().map(|(_, scores)| scores.to_vec()).collect(),
        }
    }

    fn found(judged: &Judged, selection: Selection) -> Vec<(usize, f32, f32)> {
        let found = selection.select(judged).into_iter();
        found.map(|d| (d.class, d.score, d.edges[0])).collect()
    }

    /// Suppression within a class leaves the box of another class alone.
    #[test]
    fn suppression_is_within_a_class() {
        let boxes = judged(&[
            ([0.0, 0.0, 10.0, 10.0], &[0.5, 0.9]),
            ([1.0, 0.0, 11.0, 10.0], &[0.6, 0.2]),
            ([50.0, 0.0, 60.0, 10.0], &[0.1, f32::NAN]),
        ]);
        let all = found(&boxes, SELECTION);
        // Neither a score at the threshold nor one that is no number.
        assert_eq!(all, [(1, 0.9, 0.0), (0, 0.6, 1.0)]);
        let most = Selection {
            max_detections: 1,
            ..SELECTION
        };
        assert_eq!(found(&boxes, most), [(1, 0.9, 0.0)]);
        let loose = Selection {
            nms_iou: 0.9,
            ..SELECTION
        };
        assert_eq!(found(&boxes, loose).len(), 4);
    }

    /// A box that is suppressed suppresses nothing: the third overlaps the second only.
    #[test]
    fn what_is_gone_takes_nothing_with_it() {
        let boxes = judged(&[
            ([0.0, 0.0, 10.0, 10.0], &[0.9]),
            ([3.0, 0.0, 13.0, 10.0], &[0.8]),
            ([6.0, 0.0, 16.0, 10.0], &[0.7]),
        ]);
        assert_eq!(found(&boxes, SELECTION), [(0, 0.9, 0.0), (0, 0.7, 6.0)]);
    }

    #[test]
    fn equal_scores_keep_their_order_and_nothing_is_nothing() {
        let far = |at: f32| [at, 0.0, at + 1.0, 1.0];
        let regions: Vec<([f32; 4], &[f32])> = (0..100)
            .map(|at| (far(at as f32 * 2.0), &[0.5, 0.5][..]))
            .collect();
        let found = found(&judged(&regions), SELECTION);
        let wanted: Vec<(usize, f32, f32)> = (0..10).map(|at| (0, 0.5, at as f32 * 2.0)).collect();
        assert_eq!(found, wanted);
        assert!(SELECTION.select(&Judged::default()).is_empty());
        let empty = judged(&[
            ([3.0, 3.0, 3.0, 3.0], &[0.4]),
            ([3.0, 3.0, 3.0, 3.0], &[0.4]),
        ]);
        assert_eq!(SELECTION.select(&empty).len(), 2);
    }
}
