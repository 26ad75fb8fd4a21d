//! stdout for data, stderr for everything else.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use sightline_core::Progress;

use crate::exit::{Exit, Failure};

/// Writes `text` and a line end to stdout. A reader that has closed the pipe is content with what it
/// has: the program then ends well.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("writing to standard output", &e))
        }
        _ => Ok(()),
    }
}

/// Prints `value` as JSON when `json`, else `text`.
pub(crate) fn print_either(
    json: bool,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if !json {
        return print(&text());
    }
    match serde_json::to_string_pretty(value) {
        Ok(json) => print(&json),
        Err(e) => Err(Failure::io("writing JSON", &io::Error::from(e))),
    }
}

/// Writes `text` to stderr.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints `failure` and says how the program ends.
pub(crate) fn fail(failure: &Failure) -> Exit {
    note(&failure.to_string());
    failure.exit()
}

/// A progress bar on stderr where that is a terminal; otherwise nothing but the final line.
#[derive(Debug, Default)]
pub(crate) struct Bar(Mutex<Option<ProgressBar>>);

impl Bar {
    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        if let Ok(bar) = self.0.lock()
            && let Some(bar) = bar.as_ref()
        {
            act(bar);
        }
    }
}

impl Progress for Bar {
    fn start(&self, what: &str, total: Option<u64>) {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = if total.is_some() {
            "{prefix} {bar:30} {human_pos}/{human_len} {per_sec:.0} {eta} {msg}"
        } else {
            "{prefix} {spinner} {human_pos} {per_sec:.0} {elapsed} {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Ok(mut slot) = self.0.lock()
            && let Some(old) = slot.replace(bar)
        {
            old.finish_and_clear();
        }
    }

    fn advance(&self, steps: u64) {
        self.with(|bar| bar.inc(steps));
    }

    fn message(&self, text: &str) {
        self.with(|bar| bar.set_message(text.to_owned()));
    }

    fn finish(&self) {
        self.with(ProgressBar::finish_and_clear);
    }
}
