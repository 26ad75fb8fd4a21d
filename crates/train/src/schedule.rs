//! The learning rate of each step: a warm-up, then constant, or down to nothing along a line or half a cosine.
//!
//! Factors equal those of `get_constant_schedule_with_warmup`, `get_linear_schedule_with_warmup` and
//! `get_cosine_schedule_with_warmup` of transformers 4.x, whose step 0 has the factor `0 / warmup`. A run of `N` steps
//! takes the factors of the steps `1 ..= N` less one: ours begin at step 0 too.

/// How the rate changes after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Stays.
    Constant,
    /// Falls along a line to 0 at the end.
    Linear,
    /// Falls along half a cosine to 0 at the end.
    Cosine,
}

impl Shape {
    /// The shape called `name` in manifests.
    pub fn named(name: &str) -> Self {
        match name {
            "linear" => Self::Linear,
            "cosine" => Self::Cosine,
            _ => Self::Constant,
        }
    }
}

/// What the learning rate is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What comes after the warm-up.
    pub shape: Shape,
    /// Steps of the warm-up.
    pub warmup_steps: u64,
    /// Steps of the stage.
    pub steps: u64,
}

impl Schedule {
    /// The factor of step `step`, counted from 0, in `[0, 1]`.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let done = (step - self.warmup_steps) as f64;
        match self.shape {
            Shape::Constant => 1.0,
            Shape::Linear => (self.steps.saturating_sub(step) as f64 / rest).max(0.0),
            Shape::Cosine => {
                let progress = done / rest;
                (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_rise_and_fall() {
        let schedule = |shape| Schedule {
            shape,
            warmup_steps: 2,
            steps: 6,
        };
        let factors = |shape| (0..7).map(|step| schedule(shape).factor(step)).collect();
        let linear: Vec<f64> = factors(Shape::Linear);
        assert_eq!(linear, [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]);
        let constant: Vec<f64> = factors(Shape::Constant);
        assert_eq!(constant, [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let cosine: Vec<f64> = factors(Shape::Cosine);
        assert!((cosine[4] - 0.5).abs() < 1e-12 && cosine[6].abs() < 1e-12);
        let short = Schedule {
            shape: Shape::Linear,
            warmup_steps: 9,
            steps: 3,
        };
        assert_eq!(short.factor(0).to_bits(), 0f64.to_bits());
    }
}
