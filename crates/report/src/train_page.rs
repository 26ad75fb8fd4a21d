//! A page about a training run: its losses, learning rate and gradients over the steps. Everything is inside the page, so that it can be moved and
//! opened anywhere, and nothing in it depends on when it was made.

use std::fmt::Write as _;

use minijinja::{Environment, Value, value::Serde};
use serde::Serialize;
use sightline_core::text::{count, printable};

use crate::error::Error;
use crate::page::hash;

const TEMPLATE: &str = include_str!("templates/train.html");
const STYLE: &str = concat!(
    include_str!("templates/base.css"),
    include_str!("templates/train.css"),
);

/// Size of a plot, in its own units, and the room for its labels.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 28.0;
const BOTTOM: f64 = 28.0;
/// About how many lines of the grid a plot has.
const LINES: f64 = 5.0;
/// Looks that a curve can have: `train.css` has a class for each.
const LOOKS: usize = 6;

/// What the page shows.
#[derive(Clone, Debug)]
pub struct TrainPage<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// Name of the run.
    pub name: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// Facts by name, in this order: family, objective, steps, …
    pub facts: Vec<(&'a str, String)>,
    /// The plots.
    pub plots: Vec<Plot>,
}

/// Curves over the same steps.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What is drawn.
    pub title: String,
    /// Whether the values are drawn by their logarithm; those that are not positive are then left out.
    pub is_logarithmic: bool,
    /// The curves.
    pub curves: Vec<Curve>,
    /// Steps at which a stage ends.
    pub ends: Vec<f64>,
}

/// A curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// Step and value.
    pub points: Vec<(f64, f64)>,
    /// Whether each point is marked: for few ones.
    pub is_dotted: bool,
}

#[derive(Serialize)]
struct PageView<'a> {
    style: &'static str,
    style_hash: String,
    version: &'a str,
    name: String,
    description: String,
    facts: Vec<(&'a str, String)>,
    plots: Vec<PlotView>,
}

#[derive(Serialize)]
struct PlotView {
    id: usize,
    title: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    floor: f64,
    curves: Vec<CurveView>,
    /// Place and label.
    rows: Vec<(f64, String)>,
    columns: Vec<(f64, String)>,
    ends: Vec<f64>,
}

#[derive(Serialize)]
struct CurveView {
    look: usize,
    name: String,
    path: String,
    dots: Vec<(f64, f64, String)>,
    last: String,
}

/// The page.
pub fn train_page(page: &TrainPage<'_>) -> Result<String, Error> {
    let template = |source| Error::Template { source };
    let mut environment = Environment::new();
    environment
        .add_template("train.html", TEMPLATE)
        .map_err(template)?;
    let plots = page.plots.iter().filter(|plot| plot.extent().is_some());
    let view = PageView {
        style: STYLE,
        style_hash: hash(STYLE),
        version: page.version,
        name: printable(page.name),
        description: printable(page.description),
        facts: page.facts.clone(),
        plots: plots
            .enumerate()
            .map(|(id, plot)| plot_view(id, &plot.on_its_scale()))
            .collect(),
    };
    let page = environment.get_template("train.html").map_err(template)?;
    page.render(Value::from(Serde(view))).map_err(template)
}

impl Plot {
    /// The value as it is drawn.
    fn drawn(&self, value: f64) -> Option<f64> {
        let drawn = if self.is_logarithmic {
            value.log10()
        } else {
            value
        };
        drawn.is_finite().then_some(drawn)
    }

    /// The same; without logarithms where they would span less than a decade, which has no round numbers to label.
    fn on_its_scale(&self) -> Self {
        let span = self.extent().map_or(0.0, |(_, low, high)| high - low);
        Self {
            is_logarithmic: self.is_logarithmic && span >= 1.0,
            ..self.clone()
        }
    }

    /// Last step, least and largest drawn value; `None` without a point.
    fn extent(&self) -> Option<(f64, f64, f64)> {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let drawn = points.filter_map(|(step, value)| Some((*step, self.drawn(*value)?)));
        drawn.fold(None, |extent, (step, value)| {
            let (last, low, high) = extent.unwrap_or((step, value, value));
            Some((last.max(step), low.min(value), high.max(value)))
        })
    }
}

/// A round number that divides `span` into about `parts`.
fn round_step(span: f64, parts: f64) -> f64 {
    let rough = span / parts;
    let unit = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * unit >= rough)
        .unwrap_or(10.0);
    factor * unit
}

/// A number as people write it: four digits that count.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs().log10().floor();
    if (-3.0..6.0).contains(&size) {
        let decimals = (3.0 - size).max(0.0) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') {
            return text.trim_end_matches('0').trim_end_matches('.').to_owned();
        }
        return text;
    }
    format!("{value:.2e}")
}

fn plot_view(id: usize, plot: &Plot) -> PlotView {
    let (last, low, high) = plot.extent().unwrap_or((1.0, 0.0, 1.0));
    let last = last.max(1.0);
    // A flat curve lies in the middle.
    let margin = if high > low {
        (high - low) * 0.04
    } else if high == 0.0 {
        1.0
    } else {
        high.abs() * 0.5
    };
    let (mut low, high) = (low - margin, high + margin);
    // Zero is on the page where it is near.
    if !plot.is_logarithmic && low > 0.0 && low < (high - low) * 0.5 {
        low = 0.0;
    }
    let rough = round_step(high - low, LINES);
    let step = if plot.is_logarithmic {
        rough.max(1.0)
    } else {
        rough
    };
    // Two decimals are below a pixel, and make the same page everywhere.
    let hundredths = |at: f64| (at * 100.0).round() / 100.0;
    let x = |step: f64| hundredths(LEFT + step / last * (WIDTH - LEFT - RIGHT));
    let floor = HEIGHT - BOTTOM;
    let y = |value: f64| hundredths(8.0 + (high - value) / (high - low) * (floor - 8.0));
    let curves = plot.curves.iter().enumerate().map(|(at, curve)| {
        let mut path = String::new();
        let mut dots = Vec::new();
        for (step, value) in &curve.points {
            let Some(drawn) = plot.drawn(*value) else {
                continue;
            };
            let sign = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{sign}{} {}", x(*step), y(drawn));
            if curve.is_dotted {
                let words = format!("step {}: {}", count(*step as u64), number(*value));
                dots.push((x(*step), y(drawn), words));
            }
        }
        CurveView {
            look: at % LOOKS,
            name: printable(&curve.name),
            path,
            dots,
            last: curve
                .points
                .last()
                .map_or_else(String::new, |(_, value)| number(*value)),
        }
    });
    let lines = |from: f64, to: f64, step: f64| {
        let first = (from / step).ceil() as i64;
        let most = (to / step).floor() as i64;
        (first..=most).map(move |n| n as f64 * step)
    };
    let rows = lines(low, high, step).map(|value| {
        let written = if plot.is_logarithmic {
            number(10f64.powf(value))
        } else {
            number(value)
        };
        (y(value), written)
    });
    let columns = lines(0.0, last, round_step(last, 8.0).max(1.0));
    let ends = plot.ends.iter().filter(|end| **end < last);
    PlotView {
        id,
        title: printable(&plot.title),
        width: WIDTH,
        height: HEIGHT,
        left: LEFT,
        right: WIDTH - RIGHT,
        floor,
        curves: curves.collect(),
        rows: rows.collect(),
        columns: columns.map(|step| (x(step), count(step as u64))).collect(),
        ends: ends.map(|end| x(*end)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_lines_round() {
        assert_eq!(number(0.000_123_4), "1.23e-4");
        assert_eq!(number(2.5), "2.5");
        assert_eq!(number(1234.5), "1234");
        assert_eq!(number(0.002), "0.002");
        assert_eq!(number(round_step(1.0, 5.0)), "0.2");
        assert_eq!(number(round_step(7.0, 5.0)), "2");
    }

    #[test]
    fn a_page_holds_every_curve_and_nothing_foreign() {
        let curve = |name: &str, points: &[(f64, f64)]| Curve {
            name: name.to_owned(),
            points: points.to_vec(),
            is_dotted: points.len() < 3,
        };
        let plot = |title: &str, curves| Plot {
            title: title.to_owned(),
            is_logarithmic: title == "log",
            curves,
            ends: vec![5.0],
        };
        let page = train_page(&TrainPage {
            version: "0.1.0",
            name: "<b>tiny</b>",
            description: "On scenes.",
            facts: vec![("family", "simvlm".to_owned())],
            plots: vec![
                plot(
                    "loss",
                    vec![
                        curve("loss", &[(1.0, 3.0), (5.0, 2.0), (10.0, 1.0)]),
                        curve("held out", &[(10.0, 1.5)]),
                    ],
                ),
                plot(
                    "log",
                    vec![curve("gradient", &[(1.0, 0.0), (2.0, 1.0), (3.0, 100.0)])],
                ),
                plot("empty", vec![curve("nothing", &[(1.0, f64::NAN)])]),
            ],
        })
        .unwrap();
        assert!(page.contains("&lt;b&gt;tiny"), "{page}");
        assert_eq!(page.matches("class=\"plot\"").count(), 2);
        assert_eq!(page.matches("<circle").count(), 1);
        assert!(page.contains("held out") && !page.contains("NaN") && !page.contains("http:"));
    }
}
