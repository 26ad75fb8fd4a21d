//! How scores went over the nights: a point for each record, and drawings of them.
//!
//! Only records that can be compared with the table have a point: of equal data, equal protocol and the same version of the
//! metric. A night on which nothing had changed made no record and has none.

use serde::Serialize;

use crate::format::Scale;
use crate::standings::{Column, Table, files};
use crate::store::Stored;

/// Width and height of the drawing beside a row, in its own units.
const SPARK: [f64; 2] = [84.0, 22.0];
/// Width and height of the large drawing.
const PLOT: [f64; 2] = [760.0, 260.0];
/// Room around the curves of the large drawing: left, right, top, bottom.
const ROOM: [f64; 4] = [52.0, 170.0, 12.0, 26.0];
/// Least distance of two names at the right end.
const LINE: f64 = 15.0;
/// Colours of curves; more models take them again, with another dash.
const COLOURS: usize = 6;

/// A model's score in one record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    /// Day and time, as in the record.
    pub(crate) created: String,
    /// Seconds since 0000-03-01.
    at: f64,
    pub(crate) value: f64,
    low: f64,
    high: f64,
}

/// The scores of one model, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) model: String,
    pub(crate) points: Vec<Point>,
}

/// The series of every model of `table`, in its order, and how many records of the task are left out because they cannot be
/// compared with it.
pub(crate) fn series(
    records: &[&Stored],
    suite: &str,
    task: &str,
    table: &Table<'_>,
    column: &Column,
) -> (Vec<Series>, usize) {
    let mut all: Vec<Series> = Vec::new();
    for row in &table.rows {
        let model = &row.record.model.name;
        if !all.iter().any(|series| series.model == *model) {
            all.push(Series {
                model: model.clone(),
                points: Vec::new(),
            });
        }
    }
    let mut left_out = 0;
    for stored in records.iter().filter(|stored| stored.record.suite == suite) {
        let record = &stored.record;
        let Some(outcome) = record.tasks.iter().find(|outcome| outcome.task == task) else {
            continue;
        };
        let Some(series) = all
            .iter_mut()
            .find(|series| series.model == record.model.name)
        else {
            continue;
        };
        let mut scores = outcome.scores.iter();
        let score = scores.find(|s| s.metric == column.metric && s.version == column.version);
        let is_comparable = outcome.protocol == table.protocol
            && files(record, "dataset", &outcome.dataset) == table.data;
        match score
            .filter(|_| is_comparable)
            .map(|score| (score.value, &score.interval))
        {
            Some((Some(value), interval)) => {
                let ends = interval.as_ref().map_or([value; 2], |i| [i.low, i.high]);
                series.points.push(Point {
                    created: record.created.clone(),
                    at: seconds(&record.created),
                    value,
                    low: ends[0],
                    high: ends[1],
                });
            }
            _ => left_out += 1,
        }
    }
    for series in &mut all {
        series.points.sort_by(|a, b| a.created.cmp(&b.created));
    }
    (all, left_out)
}

/// Seconds of `2026-11-23T17:04:11Z` since 0000-03-01, in the Gregorian calendar; 0 of anything else.
fn seconds(created: &str) -> f64 {
    let part = |range: std::ops::Range<usize>| -> Option<u32> { created.get(range)?.parse().ok() };
    let parts = [0..4, 5..7, 8..10, 11..13, 14..16, 17..19].map(part);
    let [
        Some(year),
        Some(month),
        Some(day),
        Some(hour),
        Some(minute),
        Some(second),
    ] = parts
    else {
        return 0.0;
    };
    // Years begin in March, so that the day that leap years add comes last.
    let (year, month) = match month {
        3.. => (year, month - 3),
        _ => (year.saturating_sub(1), month + 9),
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    f64::from(days) * 86_400.0 + f64::from(3600 * hour + 60 * minute + second)
}

/// A line of text width that shows how a score went.
#[derive(Debug, Serialize)]
pub(crate) struct SparkView {
    width: f64,
    height: f64,
    points: String,
    x: String,
    y: String,
    /// What it shows, in words.
    words: String,
}

/// The curve of a series of two points or more.
pub(crate) fn sparkline(series: &Series, scale: &Scale) -> Option<SparkView> {
    let [first, .., last] = &series.points[..] else {
        return None;
    };
    let frame = Frame::around(std::slice::from_ref(series), SPARK, [3.0; 4], false)?;
    let at = |point: &Point| format!("{:.1},{:.1}", frame.x(point.at), frame.y(point.value));
    let points: Vec<String> = series.points.iter().map(at).collect();
    Some(SparkView {
        width: SPARK[0],
        height: SPARK[1],
        points: points.join(" "),
        x: format!("{:.1}", frame.x(last.at)),
        y: format!("{:.1}", frame.y(last.value)),
        words: format!(
            "{} records from {} to {}: {} to {}{}",
            series.points.len(),
            day(&first.created),
            day(&last.created),
            scale.number(first.value),
            scale.number(last.value),
            scale.unit,
        ),
    })
}

/// The large drawing of all models.
#[derive(Debug, Serialize)]
pub(crate) struct PlotView {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    bottom: f64,
    /// Grid lines: where, and what stands there.
    values: Vec<(String, String)>,
    days: Vec<(String, String)>,
    curves: Vec<CurveView>,
}

#[derive(Debug, Serialize)]
struct CurveView {
    model: String,
    /// Class of its colour.
    colour: usize,
    is_dashed: bool,
    points: String,
    dots: Vec<DotView>,
    /// Where its name stands.
    label: String,
    /// Its last point, from where a line leads to the name: what was recorded holds until the next record.
    end: [String; 2],
}

#[derive(Debug, Serialize)]
struct DotView {
    x: String,
    y: String,
    low: String,
    high: String,
    words: String,
}

/// The drawing of `all`, unless no model has two points.
pub(crate) fn plot(all: &[Series], scale: &Scale) -> Option<PlotView> {
    if !all.iter().any(|series| series.points.len() > 1) {
        return None;
    }
    let frame = Frame::around(all, PLOT, ROOM, true)?;
    let mut curves: Vec<(f64, CurveView)> = Vec::new();
    for (at, series) in all.iter().enumerate() {
        let Some(last) = series.points.last() else {
            continue;
        };
        let dots = series.points.iter().map(|point| DotView {
            x: format!("{:.1}", frame.x(point.at)),
            y: format!("{:.1}", frame.y(point.value)),
            low: format!("{:.1}", frame.y(point.low)),
            high: format!("{:.1}", frame.y(point.high)),
            words: format!(
                "{}, {}: {}{}",
                series.model,
                day(&point.created),
                scale.number(point.value),
                scale.unit
            ),
        });
        let dots: Vec<DotView> = dots.collect();
        let points: Vec<String> = dots
            .iter()
            .map(|dot| format!("{},{}", dot.x, dot.y))
            .collect();
        let y = frame.y(last.value);
        curves.push((
            y,
            CurveView {
                model: series.model.clone(),
                colour: at % COLOURS + 1,
                is_dashed: at / COLOURS % 2 == 1,
                points: points.join(" "),
                dots,
                label: String::new(),
                end: [format!("{:.1}", frame.x(last.at)), format!("{y:.1}")],
            },
        ));
    }
    // Names that would lie on each other move down, then all of them up if the last left the drawing.
    curves.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = f64::NEG_INFINITY;
    let mut places: Vec<f64> = Vec::new();
    for (y, _) in &curves {
        lowest = (lowest + LINE).max(*y);
        places.push(lowest);
    }
    let over = (lowest - (PLOT[1] - 6.0)).max(0.0);
    for ((_, curve), place) in curves.iter_mut().zip(places) {
        curve.label = format!("{:.1}", place - over);
    }
    let marks = |number: usize, low: f64, high: f64| -> Vec<f64> {
        let step = (high - low) / (number - 1) as f64;
        (0..number).map(|at| low + step * at as f64).collect()
    };
    let values = marks(4, frame.value[0], frame.value[1]);
    let values = values.iter().map(|&value| {
        (
            format!("{:.1}", frame.y(value)),
            format!("{}{}", scale.number(value), scale.unit),
        )
    });
    let mut days: Vec<(String, String)> = Vec::new();
    let mut points: Vec<&Point> = all.iter().flat_map(|series| &series.points).collect();
    points.sort_by(|a, b| a.created.cmp(&b.created));
    let mut free_from = f64::NEG_INFINITY;
    for point in points {
        let x = frame.x(point.at);
        let is_new = days
            .last()
            .is_none_or(|(_, last)| last != day(&point.created));
        if x >= free_from && is_new {
            days.push((format!("{x:.1}"), day(&point.created).to_owned()));
            free_from = x + 84.0;
        }
    }
    Some(PlotView {
        width: PLOT[0],
        height: PLOT[1],
        left: ROOM[0],
        right: PLOT[0] - ROOM[1],
        bottom: PLOT[1] - ROOM[3],
        values: values.collect(),
        days,
        curves: curves.into_iter().map(|(_, curve)| curve).collect(),
    })
}

/// Where times and values lie in a drawing.
struct Frame {
    size: [f64; 2],
    room: [f64; 4],
    time: [f64; 2],
    value: [f64; 2],
}

impl Frame {
    fn around(all: &[Series], size: [f64; 2], room: [f64; 4], intervals: bool) -> Option<Self> {
        let points = || all.iter().flat_map(|series| &series.points);
        points().next()?;
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| {
                [low.min(value), high.max(value)]
            })
        };
        let time = ends(&mut points().map(|point| point.at));
        let value = if intervals {
            ends(&mut points().flat_map(|point| [point.low, point.high]))
        } else {
            ends(&mut points().map(|point| point.value))
        };
        Some(Self {
            size,
            room,
            time,
            value,
        })
    }

    fn x(&self, at: f64) -> f64 {
        let [left, right, ..] = self.room;
        left + share(at, self.time) * (self.size[0] - left - right)
    }

    fn y(&self, value: f64) -> f64 {
        let [_, _, top, bottom] = self.room;
        self.size[1] - bottom - share(value, self.value) * (self.size[1] - top - bottom)
    }
}

/// Where `value` lies between two ends, from 0 to 1; in the middle where they are one.
fn share(value: f64, [low, high]: [f64; 2]) -> f64 {
    if high > low {
        (value - low) / (high - low)
    } else {
        0.5
    }
}

fn day(created: &str) -> &str {
    created.split('T').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sightline_core::Digest;

    use super::*;
    use crate::record::{Record, examples};
    use crate::standings::standings;

    fn stored(day: u32, value: f64, change: impl Fn(&mut Record)) -> Stored {
        let mut record = examples::record("clip");
        record.created = format!("2026-11-{day:02}T03:00:00Z");
        record.tasks[0].scores[0].value = Some(value);
        change(&mut record);
        Stored {
            id: Digest::of_json(&record).unwrap(),
            path: String::new(),
            folder: "records".into(),
            record,
        }
    }

    #[test]
    fn records_that_can_be_compared_have_points_and_the_others_are_counted() {
        let all = [
            stored(22, 0.5, |_| {}),
            stored(20, 0.4, |_| {}),
            stored(21, 0.9, |record| {
                record.files[0].sha256 = Digest::of(b"other");
            }),
            stored(23, 0.6, |_| {}),
        ];
        let records: Vec<&Stored> = all.iter().collect();
        let plain: Vec<&Record> = all.iter().map(|stored| &stored.record).collect();
        let suites = standings(&plain);
        let task = &suites[0].tasks[0];
        let table = task
            .tables
            .iter()
            .find(|table| table.rows[0].record.created.contains("-23T"));
        let table = table.unwrap();
        let (series, left_out) =
            series(&records, "quickstart", task.name, table, &table.columns[0]);
        assert_eq!((series.len(), left_out), (1, 1));
        let values: Vec<f64> = series[0].points.iter().map(|point| point.value).collect();
        assert_eq!(values, [0.4, 0.5, 0.6]);

        let score = &table.rows[0].outcome.scores[0];
        let scale = Scale::of([score]);
        let spark = sparkline(&series[0], &scale).unwrap();
        assert!(
            spark
                .words
                .starts_with("3 records from 2026-11-20 to 2026-11-23"),
            "{}",
            spark.words
        );
        let plot = plot(&series, &scale).unwrap();
        assert_eq!((plot.curves.len(), plot.curves[0].dots.len()), (1, 3));
    }

    #[test]
    fn one_record_is_no_trend() {
        let series = Series {
            model: "clip".to_owned(),
            points: Vec::new(),
        };
        let scale = Scale::of([]);
        assert!(sparkline(&series, &scale).is_none());
        assert!(plot(&[series], &scale).is_none());
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let days = |a: &str, b: &str| (seconds(b) - seconds(a)) / 86_400.0;
        assert!((days("2024-02-28T00:00:00Z", "2024-03-01T12:00:00Z") - 2.5).abs() < 1e-9);
        assert!((days("2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z") - 1.0).abs() < 1e-9);
        assert!((days("2100-02-28T00:00:00Z", "2100-03-01T00:00:00Z") - 1.0).abs() < 1e-9);
    }
}
