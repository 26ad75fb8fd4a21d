//! Long work as people and machines watch it: a bar, lines of JSON, a page for Prometheus.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use sightline_core::Progress;

use crate::exit::Failure;
use crate::output::{Bar, note};

/// Time between two lines of JSON.
const EVERY: Duration = Duration::from_secs(1);
/// A scraper that takes longer is left.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most of a scraper's request that is read.
const MAX_REQUEST: u64 = 8 << 10;

/// How long work is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// A bar on a terminal, nothing elsewhere
    #[default]
    Bar,
    /// A line of JSON on stderr each second
    Json,
    /// Nothing
    None,
}

/// Arguments of commands that take long.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct MonitorArgs {
    /// How to show how far the work has come
    #[arg(
        long,
        value_enum,
        default_value = "bar",
        value_name = "HOW",
        help_heading = "Progress"
    )]
    pub(crate) progress: ProgressMode,

    /// Serve the counts for Prometheus at http://127.0.0.1:PORT/metrics while the work lasts; 0 for any free port
    #[arg(long, value_name = "PORT", help_heading = "Progress")]
    pub(crate) metrics_port: Option<u16>,
}

/// Watches one piece of work.
#[derive(Debug)]
pub(crate) struct Monitor {
    mode: ProgressMode,
    bar: Bar,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    what: String,
    total: Option<u64>,
    done: u64,
    began: Option<Instant>,
    printed: Option<Instant>,
    facts: Map<String, Value>,
}

impl Monitor {
    /// As the arguments ask.
    pub(crate) fn new(args: MonitorArgs) -> Result<Self, Failure> {
        let state: Arc<Mutex<State>> = Arc::default();
        if let Some(port) = args.metrics_port {
            serve(port, &state)
                .map_err(|e| Failure::io("serving the counts for Prometheus", &e))?;
        }
        Ok(Self {
            mode: args.progress,
            bar: Bar::default(),
            state,
        })
    }

    /// Changes what is known, and prints a line if that is due or `at_once`.
    fn change(&self, at_once: bool, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let is_due = state.printed.is_none_or(|at| at.elapsed() >= EVERY);
        if self.mode == ProgressMode::Json && (is_due || at_once) {
            state.printed = Some(Instant::now());
            let line = state.line();
            drop(state);
            note(&line.to_string());
        }
    }
}

impl State {
    fn seconds(&self) -> f64 {
        self.began
            .map_or(0.0, |began| began.elapsed().as_secs_f64())
    }

    /// Everything that is known, and the seconds that the rest will take at the rate so far.
    fn line(&self) -> Value {
        let seconds = self.seconds();
        let left = self
            .total
            .map(|total| total.saturating_sub(self.done) as f64);
        let eta = left
            .filter(|_| self.done > 0)
            .map(|left| left * seconds / self.done as f64);
        let mut line = Map::new();
        line.insert("work".to_owned(), json!(self.what));
        line.insert("done".to_owned(), json!(self.done));
        line.insert("total".to_owned(), json!(self.total));
        line.insert("seconds".to_owned(), json!(seconds));
        line.insert("eta_seconds".to_owned(), json!(eta));
        line.extend(self.facts.clone());
        Value::Object(line)
    }

    /// The counts in Prometheus' text format, version 0.0.4: numbers as gauges, objects of numbers with a label.
    fn page(&self) -> String {
        let mut page = String::new();
        let mut facts = Map::new();
        facts.insert(format!("{}_done", self.what), json!(self.done));
        if let Some(total) = self.total {
            facts.insert(format!("{}_total", self.what), json!(total));
        }
        facts.insert("seconds".to_owned(), json!(self.seconds()));
        facts.extend(self.facts.clone());
        for (name, value) in &facts {
            let name: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            let name = format!("sightline_{name}");
            match value {
                Value::Number(number) => {
                    // Writing to a string cannot fail.
                    let _ = write!(page, "# TYPE {name} gauge\n{name} {number}\n");
                }
                Value::Object(by_label) => {
                    let _ = writeln!(page, "# TYPE {name} gauge");
                    for (label, number) in by_label {
                        // Prometheus' escapes of a label are those of a JSON text.
                        let label = Value::from(label.as_str());
                        let _ = writeln!(page, "{name}{{reason={label}}} {number}");
                    }
                }
                _ => {}
            }
        }
        page
    }
}

impl Progress for Monitor {
    fn start(&self, what: &str, total: Option<u64>) {
        if self.mode == ProgressMode::Bar {
            self.bar.start(what, total);
        }
        self.change(false, |state| {
            *state = State {
                what: what.to_owned(),
                total,
                began: Some(Instant::now()),
                ..State::default()
            };
        });
    }

    fn advance(&self, steps: u64) {
        self.bar.advance(steps);
        self.change(false, |state| state.done += steps);
    }

    fn message(&self, text: &str) {
        self.bar.message(text);
    }

    fn facts(&self, facts: Map<String, Value>) {
        self.change(false, |state| state.facts.extend(facts));
    }

    fn finish(&self) {
        self.bar.finish();
        self.change(true, |_| {});
    }
}

/// Answers scrapers on loopback until the process ends.
fn serve(port: u16, state: &Arc<Mutex<State>>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    note(&format!(
        "counts at http://{}/metrics",
        listener.local_addr()?
    ));
    let state = Arc::clone(state);
    thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                // A scraper that goes away is none of our business.
                let _ = answer(&stream, &state);
            }
        })?;
    Ok(())
}

fn answer(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = BufReader::new(stream.take(MAX_REQUEST));
    let mut first = String::new();
    request.read_line(&mut first)?;
    let mut line = String::new();
    while request.read_line(&mut line)? > 0 && !line.trim_end().is_empty() {
        line.clear();
    }
    let (status, body) = if first.starts_with("GET /metrics ") {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        ("200 OK", state.page())
    } else {
        ("404 Not Found", "the counts are at /metrics\n".to_owned())
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let facts = json!({
            "images_per_second": 12.5,
            "failures": { "HTTP Error 404: Not Found": 3, "a \"quote\"\n": 1 },
            "note": "not a number",
        });
        State {
            what: "rows".to_owned(),
            total: Some(100),
            done: 40,
            began: Instant::now().checked_sub(Duration::from_secs(4)),
            printed: None,
            facts: facts.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn a_line_says_how_far_and_how_long_yet() {
        let line = state().line();
        assert_eq!(
            (&line["work"], &line["done"], &line["total"]),
            (&json!("rows"), &json!(40), &json!(100))
        );
        let eta = line["eta_seconds"].as_f64().unwrap();
        assert!((eta - 6.0).abs() < 0.5, "{eta}");
        assert_eq!(line["images_per_second"], 12.5);
        let unknown = State {
            total: None,
            ..state()
        };
        assert_eq!(unknown.line()["eta_seconds"], Value::Null);
    }

    #[test]
    fn the_page_is_prometheus_text() {
        let page = state().page();
        for line in [
            "# TYPE sightline_rows_done gauge",
            "sightline_rows_done 40",
            "sightline_rows_total 100",
            "sightline_images_per_second 12.5",
            r#"sightline_failures{reason="HTTP Error 404: Not Found"} 3"#,
            r#"sightline_failures{reason="a \"quote\"\n"} 1"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("note"));
    }
}
