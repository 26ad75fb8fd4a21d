//! The histogram of a metric as a picture: where each line of it goes.

use serde::Serialize;
use sightline_core::text::{count, counted, printable};

use super::data::{MetricColumn, value_of};
use super::histogram::{self, Histogram};
use super::numbers::{number, short};

// The picture, in units that are pixels on a phone.
const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 176.0;
const LEFT: f64 = 40.0;
const RIGHT: f64 = 332.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 138.0;

#[derive(Serialize)]
pub(super) struct HistogramView {
    id: String,
    /// The picture in words.
    summary: String,
    plot: Option<PlotView>,
    facts: String,
}

#[derive(Serialize)]
struct PlotView {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    bottom: f64,
    top: f64,
    bars: Vec<BarView>,
    outline: Option<String>,
    mean: MeanView,
    x_ticks: Vec<(f64, String)>,
    y_ticks: Vec<(f64, String)>,
}

#[derive(Serialize)]
struct BarView {
    title: String,
    x: f64,
    width: f64,
    y: f64,
    height: f64,
    /// Height of the part that stands for values of 0.
    zeros: f64,
    zeros_y: f64,
}

#[derive(Serialize)]
struct MeanView {
    x: f64,
    anchor: &'static str,
    label: String,
}

/// The histogram of a metric, over that of the baseline if there is one.
pub(super) fn histogram_view(metric: &MetricColumn<'_>) -> HistogramView {
    let values = numbers(&metric.values);
    let others = metric.comparison.as_ref().map(|c| numbers(&c.values));
    let all = values.iter().chain(others.iter().flatten()).copied();
    let range = histogram::range(all);
    let without = metric.values.len() - values.len();
    let found = range.and_then(|range| Histogram::new(values, range));
    let other = range
        .zip(others)
        .and_then(|(range, values)| Histogram::new(values, range));

    let mut facts = Vec::new();
    if let Some(histogram) = &found {
        facts.push(format!("mean {}", number(histogram.mean)));
        facts.push(format!("median {}", number(histogram.median)));
        facts.push(match histogram.zeros() {
            0 => "none at 0".to_owned(),
            zeros => format!("{} at 0", counted(zeros, "image")),
        });
    }
    if let Some(other) = &other {
        facts.push(format!("mean of the baseline {}", number(other.mean)));
    }
    if without > 0 {
        facts.push(format!("{} without a value", counted(without, "image")));
    }
    if facts.is_empty() {
        facts.push("no image has a value".to_owned());
    }
    // A line does not begin with a dot.
    let facts = facts.join("\u{a0}· ");
    HistogramView {
        id: printable(metric.id),
        summary: format!("Histogram of {}: {facts}", printable(metric.id)),
        plot: found.map(|histogram| plot(&histogram, other.as_ref())),
        facts,
    }
}

/// The values that are numbers.
fn numbers(values: &[Option<f64>]) -> Vec<f64> {
    (0..values.len())
        .filter_map(|row| value_of(values, row))
        .collect()
}

fn plot(histogram: &Histogram, other: Option<&Histogram>) -> PlotView {
    let most = histogram
        .bins
        .iter()
        .chain(other.iter().flat_map(|other| &other.bins))
        .map(|bin| bin.count)
        .max()
        .unwrap_or(1)
        .max(1);
    let height = |n: usize| {
        let height = (BOTTOM - TOP) * n as f64 / most as f64;
        // One image among thousands is still seen.
        round(if n > 0 { height.max(1.5) } else { 0.0 })
    };
    let x = |share: f64| round(LEFT + (RIGHT - LEFT) * share);
    // A single bin, of equal values, is drawn as wide as one of many, in the middle.
    let (first, width) = match histogram.bins.len() {
        1 => (0.475, 0.05),
        bins => (0.0, 1.0 / bins as f64),
    };
    let bars = histogram.bins.iter().enumerate().map(|(at, bin)| {
        let left = x(first + at as f64 * width);
        let (tall, zeros) = (height(bin.count), height(bin.zeros));
        let zeros_text = match bin.zeros {
            0 => String::new(),
            n => format!(", {} at 0", count(n as u64)),
        };
        BarView {
            title: format!(
                "{} to {}: {}{zeros_text}",
                number(histogram.edge(at)),
                number(histogram.edge(at + 1)),
                counted(bin.count, "image"),
            ),
            x: left,
            width: round(x(first + (at + 1) as f64 * width) - left - 1.0),
            y: round(BOTTOM - tall),
            height: tall,
            zeros,
            zeros_y: round(BOTTOM - zeros),
        }
    });
    let outline = other.map(|other| {
        let steps = other.bins.iter().enumerate().map(|(at, bin)| {
            let right = x(first + (at + 1) as f64 * width);
            format!("V{}H{right}", round(BOTTOM - height(bin.count)))
        });
        format!(
            "M{} {BOTTOM}{}V{BOTTOM}",
            x(first),
            steps.collect::<String>()
        )
    });
    let mean = histogram.position(histogram.mean);
    let counts = histogram::ticks(0.0, most as f64);
    PlotView {
        width: WIDTH,
        height: HEIGHT,
        left: LEFT,
        right: RIGHT,
        bottom: BOTTOM,
        top: TOP,
        bars: bars.collect(),
        outline,
        mean: MeanView {
            x: x(mean),
            anchor: match mean {
                m if m < 0.2 => "start",
                m if m > 0.8 => "end",
                _ => "middle",
            },
            label: format!("mean {}", short(round4(histogram.mean))),
        },
        x_ticks: histogram
            .ticks()
            .into_iter()
            .map(|tick| (x(histogram.position(tick)), short(tick)))
            .collect(),
        y_ticks: counts
            .into_iter()
            .filter(|n| n.fract() == 0.0)
            .map(|n| {
                let y = BOTTOM - (BOTTOM - TOP) * n / most as f64;
                (round(y), count(n as u64))
            })
            .collect(),
    }
}

/// Two decimals: a hundredth of a pixel is not seen.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn round4(value: f64) -> f64 {
    let rounded = (value * 1e4).round() / 1e4;
    if rounded.is_finite() { rounded } else { value }
}
