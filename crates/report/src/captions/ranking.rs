//! Which images are shown.

/// The images at both ends of a metric's values, as row numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Worst first.
    pub(super) worst: Vec<usize>,
    /// Best first. No image is in both lists.
    pub(super) best: Vec<usize>,
    /// Images that lie between.
    pub(super) between: usize,
    /// Images without a value.
    pub(super) without: usize,
}

/// The `most` worst and the `most` best of the images. Images of equal value stay in the order of their
/// rows, so that the lists are the same every time.
pub(super) fn ends(values: &[Option<f64>], higher_is_better: bool, most: usize) -> Ends {
    let order = sorted(values, if higher_is_better { 1.0 } else { -1.0 });
    let worst = most.min(order.len().div_ceil(2));
    let best = most.min(order.len() - worst);
    Ends {
        between: order.len() - worst - best,
        without: values.len() - order.len(),
        worst: order[..worst].to_vec(),
        best: order[order.len() - best..].iter().rev().copied().collect(),
    }
}

/// The images on which two models differ, as row numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// Images on which the model is better than the baseline, the largest difference first.
    pub(super) better: Vec<usize>,
    /// Images on which it is worse, the largest difference first.
    pub(super) worse: Vec<usize>,
    /// How many images each list would have if it had all.
    pub(super) counts: [usize; 2],
    /// Images on which both have the same value.
    pub(super) equal: usize,
    /// Images without a value of one of the two.
    pub(super) without: usize,
}

/// The images with the `most` largest of `differences` (model minus baseline) to either side.
pub(super) fn differences(
    differences: &[Option<f64>],
    higher_is_better: bool,
    most: usize,
) -> Differences {
    let side = |sign: f64| {
        let kept = differences
            .iter()
            .map(|difference| difference.filter(|d| d * sign > 0.0));
        sorted(&kept.collect::<Vec<_>>(), -sign)
    };
    let sign = if higher_is_better { 1.0 } else { -1.0 };
    let (mut better, mut worse) = (side(sign), side(-sign));
    let counts = [better.len(), worse.len()];
    better.truncate(most);
    worse.truncate(most);
    let without = differences.iter().filter(|d| d.is_none()).count();
    Differences {
        better,
        worse,
        counts,
        equal: differences.len() - counts[0] - counts[1] - without,
        without,
    }
}

/// The rows that have a value, by `sign` times that value.
fn sorted(values: &[Option<f64>], sign: f64) -> Vec<usize> {
    let mut rows: Vec<(usize, f64)> = values
        .iter()
        .enumerate()
        .filter_map(|(row, value)| Some((row, (*value)? * sign)))
        .collect();
    // A stable sort. Adding 0 makes -0 equal to 0.
    rows.sort_by(|a, b| (a.1 + 0.0).total_cmp(&(b.1 + 0.0)));
    rows.into_iter().map(|(row, _)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_and_best_are_from_both_ends_and_never_the_same_image() {
        let values = [Some(0.5), None, Some(0.1), Some(0.9), Some(0.1), Some(0.7)];
        let found = ends(&values, true, 2);
        assert_eq!((found.worst, found.best), (vec![2, 4], vec![3, 5]));
        assert_eq!((found.between, found.without), (1, 1));
        let found = ends(&values, false, 2);
        assert_eq!((found.worst, found.best), (vec![3, 5], vec![4, 2]));
        let found = ends(&values, true, 20);
        assert_eq!((found.worst, found.best), (vec![2, 4, 0], vec![3, 5]));
        assert_eq!(found.between, 0);
    }

    #[test]
    fn few_images_make_short_lists() {
        assert_eq!(ends(&[], true, 20), Ends::default());
        let one = ends(&[Some(1.0)], true, 20);
        assert_eq!((one.worst, one.best), (vec![0], vec![]));
        let none = ends(&[None, None], true, 20);
        assert_eq!((none.worst.len(), none.without), (0, 2));
        let nothing_shown = ends(&[Some(0.0), Some(1.0)], true, 0);
        assert_eq!(nothing_shown.between, 2);
    }

    #[test]
    fn zeros_of_either_sign_are_equal() {
        let found = ends(&[Some(0.0), Some(-0.0), Some(0.0)], false, 1);
        assert_eq!((found.worst, found.best), (vec![0], vec![2]));
    }

    #[test]
    fn differences_are_sorted_to_either_side() {
        let found = [
            Some(0.1),
            Some(-0.3),
            None,
            Some(0.0),
            Some(0.4),
            Some(-0.2),
        ];
        let higher = differences(&found, true, 1);
        assert_eq!((higher.better, higher.worse), (vec![4], vec![1]));
        assert_eq!(
            (higher.counts, higher.equal, higher.without),
            ([2, 2], 1, 1)
        );
        let lower = differences(&found, false, 5);
        assert_eq!((lower.better, lower.worse), (vec![1, 5], vec![4, 0]));
    }
}
