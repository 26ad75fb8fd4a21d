//! The board as text, for the terminal.

use std::collections::BTreeSet;

use sightline_core::text::{count, printable};

use crate::format::{Scale, asked, confidence, fast_pixels, metric_parts, rate, rounded};
use crate::record::{Record, Score};
use crate::standings::{self, Cell, Mark, Row, Table, Task, standings};

/// Longest line in characters: columns that do not fit go on below, with the models again.
const WIDTH: usize = 100;
/// Between two columns.
const GAP: &str = "  ";

/// The outcomes of `records` as aligned text without colour: for each task a table with a row for
/// each model, best first, then how many samples were scored and how fast.
pub fn text_table<'a>(records: impl IntoIterator<Item = &'a Record>) -> String {
    let records: Vec<&Record> = records.into_iter().collect();
    let mut text = String::new();
    let mut legend = Legend::default();
    for suite in standings(&records) {
        for task in &suite.tasks {
            for (at, table) in task.tables.iter().enumerate() {
                heading(&mut text, suite.name, task, at);
                scores(&mut text, table, &mut legend);
                remarks(&mut text, table);
            }
        }
    }
    if text.is_empty() {
        return "no records\n".to_owned();
    }
    text.push('\n');
    text.push_str(&legend.line());
    text.push('\n');
    text
}

/// What the signs of the tables mean, for those that occur.
#[derive(Default)]
struct Legend {
    levels: BTreeSet<String>,
    has_best: bool,
    has_tied: bool,
}

impl Legend {
    fn add(&mut self, cell: &Cell<'_>) {
        let level = cell
            .score
            .interval
            .as_ref()
            .map(|i| confidence(i.confidence));
        self.levels.extend(level);
        self.has_best |= cell.mark == Mark::Best;
        self.has_tied |= cell.mark == Mark::Tied;
    }

    fn line(&self) -> String {
        let levels: Vec<&str> = self.levels.iter().map(String::as_str).collect();
        let mut line = format!("[low, high]: {} bootstrap interval", levels.join(" or "));
        if levels.is_empty() {
            "no intervals".clone_into(&mut line);
        }
        if self.has_best {
            line.push_str(" · *: best, every other differs (5 %, Holm)");
        }
        if self.has_tied {
            line.push_str(" · ~: cannot be told from the best");
        }
        line
    }
}

fn heading(text: &mut String, suite: &str, task: &Task<'_>, at: usize) {
    if !text.is_empty() {
        text.push('\n');
    }
    let line = format!(
        "{suite} · {} ({} on {})",
        task.name, task.kind, task.dataset
    );
    text.push_str(&printable(&line));
    text.push('\n');
    if at > 0 {
        text.push_str("  OTHER DATA OR SETTINGS: not comparable with the table above\n");
    }
}

/// The table of scores, and behind it samples and speed.
fn scores(text: &mut String, table: &Table<'_>, legend: &mut Legend) {
    let mut groups: Vec<Group> = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let cells: Vec<Option<Cell<'_>>> = table.rows.iter().map(|row| row.cells[at]).collect();
        let scale = Scale::of(cells.iter().flatten().map(|cell| cell.score));
        let (name, way) = metric_parts(&column.metric);
        let version = match column.version {
            1 => String::new(),
            version => format!(" v{version}"),
        };
        let unit = match scale.unit {
            "" => String::new(),
            unit => format!(" {unit}"),
        };
        let mut lines = vec![
            printable(&format!("{name}{version}{unit}")),
            printable(way.as_deref().unwrap_or_default()),
        ];
        lines.extend(cells.iter().map(|cell| match cell {
            Some(cell) => {
                legend.add(cell);
                score(cell, &scale)
            }
            None => "·".to_owned(),
        }));
        match groups.last_mut() {
            Some(group) if group.way == way => group.columns.push(lines),
            _ => groups.push(Group {
                way,
                columns: vec![lines],
            }),
        }
    }
    groups.push(samples(table));
    fold(text, &models(table), groups);
}

/// Columns that stay together if they can.
struct Group {
    /// The second part of their metric ids.
    way: Option<String>,
    columns: Vec<Vec<String>>,
}

/// What became of the samples, and how fast.
fn samples(table: &Table<'_>) -> Group {
    let counts = |name: &str, value: fn(&Row<'_>) -> u64| {
        let mut lines = vec![name.to_owned(), String::new()];
        lines.extend(table.rows.iter().map(|row| count(value(row))));
        lines
    };
    let mut speed = vec!["samples/s".to_owned(), String::new()];
    speed.extend(table.rows.iter().map(|row| {
        let rate = row.outcome.throughput.samples_per_second().map(rate);
        let rate = rate.unwrap_or_else(|| "·".to_owned());
        printable(&format!("{rate} ({})", row.record.machine.device))
    }));
    Group {
        way: None,
        columns: vec![
            counts("samples", |row| row.outcome.counts.attempted),
            counts("scored", |row| row.outcome.counts.scored),
            counts("failed", |row| row.outcome.counts.failed),
            counts("skipped", |row| row.outcome.counts.skipped),
            speed,
        ],
    }
}

fn models(table: &Table<'_>) -> Vec<String> {
    let mut lines = vec!["model".to_owned(), String::new()];
    lines.extend(table.rows.iter().map(|row| {
        let floor = if row.record.model.baseline {
            " (floor)"
        } else {
            ""
        };
        printable(&format!("{}{floor}", row.record.model.name))
    }));
    lines
}

fn score(cell: &Cell<'_>, scale: &Scale) -> String {
    let Score {
        value, interval, ..
    } = cell.score;
    let Some(value) = value else {
        return "none".to_owned();
    };
    let mark = match cell.mark {
        Mark::None => "",
        Mark::Best => "*",
        Mark::Tied => "~",
    };
    let value = scale.number(*value);
    match interval {
        Some(i) => format!(
            "{mark}{value} [{}, {}]",
            scale.number(i.low),
            scale.number(i.high)
        ),
        None => format!("{mark}{value}"),
    }
}

/// Writes groups of columns side by side, each line starting with `first`; groups that do not fit go
/// on below.
fn fold(text: &mut String, first: &[String], groups: Vec<Group>) {
    let room = WIDTH.saturating_sub(2 + width(first));
    let mut blocks: Vec<Vec<Vec<String>>> = Vec::new();
    let mut used = usize::MAX;
    for group in groups {
        let whole: usize = group.columns.iter().map(|c| GAP.len() + width(c)).sum();
        let is_split = whole > room;
        if used.saturating_add(whole) > room && !is_split {
            blocks.push(Vec::new());
            used = 0;
        }
        for column in group.columns {
            let needed = GAP.len() + width(&column);
            if used.saturating_add(needed) > room {
                blocks.push(Vec::new());
                used = 0;
            }
            used += needed;
            if let Some(block) = blocks.last_mut() {
                block.push(column);
            }
        }
    }
    for (at, block) in blocks.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        write_block(text, first, block);
    }
}

/// Writes columns side by side, the first left-aligned and the others right-aligned.
fn write_block(text: &mut String, first: &[String], columns: &[Vec<String>]) {
    let first_width = width(first);
    for line in 0..first.len() {
        let mut cells = vec![format!("  {:<first_width$}", first[line])];
        for column in columns {
            let width = width(column);
            cells.push(format!("{:>width$}", column[line]));
        }
        let line = cells.join(GAP);
        if !line.trim().is_empty() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
}

fn width(column: &[String]) -> usize {
    let widths = column.iter().map(|cell| cell.chars().count());
    widths.max().unwrap_or(0)
}

/// Why samples failed or were skipped.
/// Why samples were not scored, how a model was asked, and what of it was rounded.
fn remarks(text: &mut String, table: &Table<'_>) {
    for row in &table.rows {
        let reasons: Vec<String> = standings::reasons(row.outcome)
            .iter()
            .map(|&(reason, n)| format!("{} × {reason}", count(n)))
            .collect();
        let reasons = (!reasons.is_empty()).then(|| reasons.join(", "));
        let pixels = row.outcome.pixel_deviation.as_ref().map(fast_pixels);
        let asked = row.outcome.asked.as_ref().and_then(asked);
        let weights = row.record.model.weights.as_deref().map(rounded);
        for remark in reasons
            .into_iter()
            .chain(asked)
            .chain(pixels)
            .chain(weights)
        {
            text.push_str(&printable(&format!(
                "  {}: {remark}",
                row.record.model.name
            )));
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Asked, examples};
    use sightline_core::{Digest, PixelDeviation};

    #[test]
    fn models_stand_beside_their_floor() {
        let records = ["constant", "random", "clip-tiny-random"].map(examples::record);
        insta::assert_snapshot!(text_table(&records));
    }

    #[test]
    fn what_cannot_be_compared_or_scored_is_said() {
        let mut records = ["constant", "random", "clip-tiny-random"].map(examples::record);
        records[0].files[0].sha256 = Digest::of(b"other");
        for record in &mut records {
            record.tasks.truncate(1);
        }
        records[1].tasks[0].scores[0].value = None;
        records[1].tasks[0].scores.truncate(1);
        records[1].tasks[0].throughput.samples = 0;
        records[2].tasks[0].scores[0].version = 2;
        records[2].tasks[0].asked = Some(Asked {
            capability: "choose".to_owned(),
            rule: Some("from `embed`: the nearest".to_owned()),
            decoding: Some("beam of width 5".to_owned()),
            prompt: None,
        });
        records[2].tasks[0].pixel_deviation = Some(PixelDeviation {
            images: 64,
            mean_levels: 0.934,
            max_levels: 19,
            ..PixelDeviation::default()
        });
        records[2].model.weights = Some("int8".to_owned());
        insta::assert_snapshot!(text_table(&records));
    }

    #[test]
    fn no_line_is_wider_than_a_wide_terminal_and_foreign_text_is_harmless() {
        let mut record = examples::record("clip");
        record.tasks[0].task = "evil\u{1b}[31m\u{202e}".to_owned();
        record.tasks[0].reasons = [("\u{7}bell".to_owned(), 3)].into();
        record.machine.device = "cpu\u{1b}[0m".to_owned();
        let text = text_table([&record]);
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
        assert!(!text.contains('\u{202e}'));
    }

    #[test]
    fn no_records_are_no_table() {
        assert_eq!(text_table([]), "no records\n");
    }
}
