//! L-BFGS with a line search for the strong Wolfe conditions (Nocedal and Wright 2006, algorithms 7.4, 3.5 and 3.6).

use std::collections::VecDeque;

use super::parts::{add_scaled, dot};

/// Steps whose curvature is remembered; scipy's number.
const MEMORY: usize = 10;
/// Least decrease of the value, as a share of what the slope promises.
const DECREASE: f64 = 1e-4;
/// Largest slope behind a step, as a share of the one before.
const CURVATURE: f64 = 0.9;
/// Evaluations of one line search.
const TRIALS: usize = 40;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// No value of the gradient is larger.
    pub(super) gradient: f64,
    /// So many steps were made.
    pub(super) steps: usize,
}

/// A place, the value there and the gradient.
struct Place {
    at: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// Walks from `at` to a minimum of the function that `evaluate` computes with its gradient.
///
/// It ends as `stop` says, or where rounding leaves no step that goes down.
pub(super) fn minimise(
    at: Vec<f64>,
    stop: Stop,
    evaluate: impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> Vec<f64> {
    let evaluate = |at: Vec<f64>| {
        let (value, gradient) = evaluate(&at);
        Place {
            at,
            value,
            gradient,
        }
    };
    let mut place = evaluate(at);
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
    for _ in 0..stop.steps {
        let largest = place.gradient.iter().fold(0.0f64, |a, g| a.max(g.abs()));
        if largest <= stop.gradient {
            break;
        }
        let mut direction = direction(&place.gradient, &memory);
        if dot(&direction, &place.gradient) >= 0.0 {
            // Rounding has spoiled the curvature: begin with the slope again.
            memory.clear();
            direction = place.gradient.iter().map(|g| -g).collect();
        }
        let first = if memory.is_empty() {
            let length = dot(&direction, &direction).sqrt();
            (1.0 / length).min(1.0)
        } else {
            1.0
        };
        let Some(next) = search(&place, &direction, first, &evaluate) else {
            if memory.is_empty() {
                break;
            }
            memory.clear();
            continue;
        };
        let step: Vec<f64> = difference(&next.at, &place.at);
        let change: Vec<f64> = difference(&next.gradient, &place.gradient);
        let curvature = dot(&step, &change);
        if curvature > 0.0 {
            memory.push_back((step, change, 1.0 / curvature));
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        place = next;
    }
    place.at
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Where the remembered curvature says that the minimum lies (algorithm 7.4).
fn direction(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut factors = Vec::with_capacity(memory.len());
    for (step, change, inverse) in memory.iter().rev() {
        let factor = inverse * dot(step, &direction);
        add_scaled(&mut direction, -factor, change);
        factors.push(factor);
    }
    if let Some((step, change, _)) = memory.back() {
        let scale = dot(step, change) / dot(change, change);
        for value in &mut direction {
            *value *= scale;
        }
    }
    for ((step, change, inverse), factor) in memory.iter().zip(factors.iter().rev()) {
        let correction = factor - inverse * dot(change, &direction);
        add_scaled(&mut direction, correction, step);
    }
    direction
}

/// A point along the way: how far, the value and the slope there.
#[derive(Clone, Copy)]
struct Point {
    step: f64,
    value: f64,
    slope: f64,
}

/// A place from `from` along `direction` that meets the strong Wolfe conditions, or the lowest that was found; `None`
/// where nothing goes down.
fn search(
    from: &Place,
    direction: &[f64],
    first: f64,
    evaluate: &impl Fn(Vec<f64>) -> Place,
) -> Option<Place> {
    let start = Point {
        step: 0.0,
        value: from.value,
        slope: dot(direction, &from.gradient),
    };
    let is_low = |p: &Point| p.value <= start.value + DECREASE * p.step * start.slope;
    let is_flat = |p: &Point| p.slope.abs() <= -CURVATURE * start.slope;
    let mut best: Option<Place> = None;
    let mut try_step = |step: f64| {
        let mut at = from.at.clone();
        add_scaled(&mut at, step, direction);
        let place = evaluate(at);
        let point = Point {
            step,
            value: place.value,
            slope: dot(direction, &place.gradient),
        };
        let lowest = best.as_ref().map_or(start.value, |best| best.value);
        let is_found = is_low(&point) && is_flat(&point);
        if is_found || place.value < lowest {
            best = Some(place);
        }
        (point, is_found)
    };

    let (mut low, mut high) = (start, None);
    let mut step = first;
    for _ in 0..TRIALS {
        let (point, is_found) = try_step(step);
        if is_found {
            break;
        }
        match &mut high {
            // Looking for an interval that holds such a place.
            None => {
                if !is_low(&point) || point.value >= low.value && low.step > 0.0 {
                    high = Some(point);
                } else if point.slope >= 0.0 {
                    high = Some(low);
                    low = point;
                } else {
                    low = point;
                    step *= 4.0;
                    continue;
                }
            }
            // Closing in.
            Some(end) => {
                if !is_low(&point) || point.value >= low.value {
                    *end = point;
                } else {
                    if point.slope * (end.step - low.step) >= 0.0 {
                        *end = low;
                    }
                    low = point;
                }
            }
        }
        if let Some(end) = &high {
            step = between(&low, end);
            // Rounding leaves nothing between the ends.
            if step.to_bits() == low.step.to_bits() || step.to_bits() == end.step.to_bits() {
                break;
            }
        }
    }
    best
}

/// The minimum of the cubic through both points and their slopes (equation 3.59), or the middle where that is too near to
/// an end.
fn between(a: &Point, b: &Point) -> f64 {
    let middle = f64::midpoint(a.step, b.step);
    if !(b.value.is_finite() && b.slope.is_finite()) {
        return middle;
    }
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.step - b.step);
    let square = d1 * d1 - a.slope * b.slope;
    if square < 0.0 {
        return middle;
    }
    let d2 = (b.step - a.step).signum() * square.sqrt();
    let step = b.step - (b.step - a.step) * (b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2);
    let (from, to) = (a.step.min(b.step), a.step.max(b.step));
    let margin = 0.1 * (to - from);
    if step > from + margin && step < to - margin {
        step
    } else {
        middle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Stop = Stop {
        gradient: 1e-10,
        steps: 1000,
    };

    #[test]
    fn a_bowl_and_a_bent_valley_have_their_minimum() {
        let bowl = |at: &[f64]| {
            let value = at
                .iter()
                .zip(1..)
                .map(|(x, k)| f64::from(k) * (x - 1.0).powi(2));
            let gradient = at
                .iter()
                .zip(1..)
                .map(|(x, k)| 2.0 * f64::from(k) * (x - 1.0));
            (value.sum(), gradient.collect())
        };
        for x in minimise(vec![30.0; 50], STOP, bowl) {
            assert!((x - 1.0).abs() < 1e-10, "{x}");
        }
        // Rosenbrock's function.
        let valley = |at: &[f64]| {
            let (x, y) = (at[0], at[1]);
            let (a, b) = (1.0 - x, y - x * x);
            (
                a * a + 100.0 * b * b,
                vec![-2.0 * a - 400.0 * x * b, 200.0 * b],
            )
        };
        for x in minimise(vec![-1.2, 1.0], STOP, valley) {
            assert!((x - 1.0).abs() < 1e-9, "{x}");
        }
    }

    #[test]
    fn what_has_no_minimum_ends() {
        let slope = |at: &[f64]| (at[0], vec![1.0]);
        let found = minimise(vec![0.0], Stop { steps: 5, ..STOP }, slope);
        assert!(found[0] < 0.0);
        let hole = |at: &[f64]| (if at[0] == 0.0 { 0.0 } else { f64::NAN }, vec![1.0]);
        assert_eq!(minimise(vec![0.0], STOP, hole), [0.0]);
    }
}
