//! `AdamW` (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2) and gradient clipping, on plain numbers.
//!
//! The arithmetic is that of `torch.optim.AdamW` with `foreach=False`, in 32 bits, corrections and rates in 64; clipping is that of
//! `torch.nn.utils.clip_grad_norm_` with a sum in 64 bits. The state is what is written into checkpoints: two moments for
//! each tensor, and how many steps it has seen. Tensors without a gradient in a step stay as they are, with their moments, as in torch.
//!
//! ```
//! use sightline_train::adamw::{AdamW, Moments, Rates};
//!
//! let adamw = AdamW { betas: [0.9, 0.999], eps: 1e-8 };
//! let (mut values, mut moments) = (vec![1.0, -1.0], Moments::zero(2));
//! adamw.step(&mut values, &[0.5, -0.5], &mut moments, Rates { lr: 0.1, weight_decay: 0.0 });
//! // The first step moves each number by the rate, whatever the size of its gradient.
//! assert!((values[0] - 0.9).abs() < 1e-6 && (values[1] + 0.9).abs() < 1e-6);
//! ```

/// What all tensors have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decays of the two moments.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
}

/// What a tensor's group says for this step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The learning rate.
    pub lr: f64,
    /// The decay, which is multiplied by the rate.
    pub weight_decay: f64,
}

/// What is remembered of the gradients of a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Steps that the tensor has seen.
    pub steps: u64,
    /// Mean of the gradients.
    pub mean: Vec<f32>,
    /// Mean of their squares.
    pub square: Vec<f32>,
}

impl Moments {
    /// Those of a tensor of `len` numbers that has seen nothing.
    pub fn zero(len: usize) -> Self {
        Self {
            steps: 0,
            mean: vec![0.0; len],
            square: vec![0.0; len],
        }
    }
}

impl AdamW {
    /// Moves `values` against `gradient`, both of as many numbers as `moments`.
    pub fn step(&self, values: &mut [f32], gradient: &[f32], moments: &mut Moments, rates: Rates) {
        moments.steps += 1;
        let [beta1, beta2] = self.betas;
        let power = i32::try_from(moments.steps).unwrap_or(i32::MAX);
        let correction1 = 1.0 - beta1.powi(power);
        let correction2 = (1.0 - beta2.powi(power)).sqrt();
        let shrink = (1.0 - rates.lr * rates.weight_decay) as f32;
        let size = (rates.lr / correction1) as f32;
        let correction2 = correction2 as f32;
        let eps = self.eps as f32;
        let (weight1, beta2, weight2) = ((1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32);
        let moments = moments.mean.iter_mut().zip(&mut moments.square);
        for ((value, &gradient), (mean, square)) in values.iter_mut().zip(gradient).zip(moments) {
            // torch's `lerp`, which is exact at both ends: its second form is for weights from a half on.
            *mean = if weight1 < 0.5 {
                *mean + weight1 * (gradient - *mean)
            } else {
                gradient - (gradient - *mean) * (1.0 - weight1)
            };
            *square = *square * beta2 + weight2 * gradient * gradient;
            let denominator = square.sqrt() / correction2 + eps;
            *value = *value * shrink - size * (*mean / denominator);
        }
    }
}

/// The length of all `gradients` together. Not finite where one of them is not.
pub fn norm<'a>(gradients: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    let squares = |gradient: &[f32]| -> f64 {
        // Sixteen sums side by side: one alone waits for itself.
        let mut sums = [0.0f64; 16];
        let (chunks, rest) = gradient.as_chunks::<16>();
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(*value) * f64::from(*value);
            }
        }
        let rest: f64 = rest.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
        sums.iter().sum::<f64>() + rest
    };
    gradients.into_iter().map(squares).sum::<f64>().sqrt()
}

/// What gradients of length `norm` are multiplied by so that they are no longer than `most`.
pub fn clip_factor(norm: f64, most: f64) -> f32 {
    // torch adds this to the length, lest it divide by zero.
    (most / (norm + 1e-6)).min(1.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decay_is_decoupled_from_the_gradient() {
        let adamw = AdamW {
            betas: [0.9, 0.999],
            eps: 1e-8,
        };
        let rates = Rates {
            lr: 0.5,
            weight_decay: 0.1,
        };
        let (mut values, mut moments) = (vec![2.0], Moments::zero(1));
        adamw.step(&mut values, &[0.0], &mut moments, rates);
        assert_eq!(values, [1.9]);
        assert_eq!(moments.mean, [0.0]);
    }

    #[test]
    fn long_gradients_are_cut_and_short_ones_left() {
        let gradients: [&[f32]; 2] = [&[3.0; 20], &[4.0]];
        let length = norm(gradients);
        assert!((length - (20.0f64 * 9.0 + 16.0).sqrt()).abs() < 1e-12);
        assert_eq!(clip_factor(0.5, 1.0).to_bits(), 1f32.to_bits());
        assert!((clip_factor(4.0, 1.0) - 0.25).abs() < 1e-6);
        assert!(norm([&[f32::NAN][..]]).is_nan());
    }
}
