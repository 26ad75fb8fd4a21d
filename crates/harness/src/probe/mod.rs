//! Linear classifiers on frozen features: how far what a model sees carries, without changing the model.
//!
//! | probe | classifier | what is chosen how |
//! | --- | --- | --- |
//! | [`logistic`] | multinomial logistic regression, L-BFGS in `f64` to its optimum | the L2 strength, on a validation part |
//! | [`svm`] | a squared-hinge SVM of each class | the cost, by three-fold average precision (VirTex's VOC07 protocol) |
//! | [`sgd`] | multinomial logistic regression by VirTex's `ImageNet` recipe | nothing |
//!
//! All are functions of the features, their order and a seed, and of nothing else: sums are taken in parts of fixed size
//! that are added in their order, so that the number of threads changes no bit.
//!
//! ```
//! use sightline_harness::probe::{Features, logistic};
//!
//! let features = Features::new(vec![0.0, 1.0, 2.0, 3.0], 1).unwrap();
//! let fitted = logistic::fit(&features, &[0, 0, 1, 1], 2, 1.0);
//! assert!(fitted.scores(&[3.0])[1] > fitted.scores(&[3.0])[0]);
//! ```

mod lbfgs;
pub mod logistic;
mod parts;
pub mod sgd;
pub mod svm;

/// Features of images, `[N, D]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    values: Vec<f32>,
    width: usize,
}

impl Features {
    /// Rows of `width` values behind each other; `None` for what is no whole number of rows.
    pub fn new(values: Vec<f32>, width: usize) -> Option<Self> {
        let is_whole = width > 0 && values.len().is_multiple_of(width);
        is_whole.then_some(Self { values, width })
    }

    /// N.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// D.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The features of one image.
    pub fn row(&self, number: usize) -> &[f32] {
        &self.values[number * self.width..(number + 1) * self.width]
    }

    /// The features of these images, in this order.
    #[must_use]
    pub fn select(&self, numbers: &[usize]) -> Self {
        let rows = numbers.iter().flat_map(|&number| self.row(number));
        Self {
            values: rows.copied().collect(),
            width: self.width,
        }
    }

    /// The same directions at unit length; what has no length stays as it is.
    #[must_use]
    pub fn unit_length(mut self) -> Self {
        for row in self.values.chunks_mut(self.width.max(1)) {
            unit_length(row);
        }
        self
    }
}

/// Scales `row` to unit length, unless it has none.
pub fn unit_length(row: &mut [f32]) {
    let square: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    if square > 0.0 {
        let norm = square.sqrt();
        for value in row {
            *value = (f64::from(*value) / norm) as f32;
        }
    }
}

/// A linear map with a constant: `[K, D]` and `[K]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    weights: Vec<f64>,
    bias: Vec<f64>,
    width: usize,
}

impl Linear {
    /// `parameters` are those of the map, row by row, and then the constants.
    fn new(mut parameters: Vec<f64>, rows: usize, width: usize) -> Self {
        let bias = parameters.split_off(rows * width);
        Self {
            weights: parameters,
            bias,
            width,
        }
    }

    /// The weights of each class, `[K, D]`.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The constant of each class, `[K]`.
    pub fn bias(&self) -> &[f64] {
        &self.bias
    }

    /// The score of each class for the features of an image, `[K]`.
    pub fn scores(&self, row: &[f32]) -> Vec<f64> {
        let row: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        let weights = self.weights.chunks(self.width.max(1));
        let of = |(weights, bias): (&[f64], &f64)| parts::dot(weights, &row) + bias;
        weights.zip(&self.bias).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_whole_selected_and_scaled() {
        assert!(Features::new(vec![1.0; 3], 2).is_none());
        assert!(Features::new(Vec::new(), 0).is_none());
        let features = Features::new(vec![3.0, 4.0, 0.0, 0.0], 2).unwrap();
        assert_eq!((features.len(), features.width()), (2, 2));
        assert_eq!(features.select(&[1, 0]).row(1), [3.0, 4.0]);
        let unit = features.unit_length();
        assert_eq!(
            (unit.row(0), unit.row(1)),
            (&[0.6, 0.8][..], &[0.0, 0.0][..])
        );
    }
}
