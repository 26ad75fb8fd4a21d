//! stdout for data, stderr for everything else.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;
use sightline_core::Progress;
use sightline_core::text::{printable_json, printable_lines};

use crate::exit::{Exit, Failure};

/// Writes `text` and a line end to stdout, without characters that act on a terminal. A reader that has closed the pipe is content with what it
/// has: the program then ends well.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    put(&printable_lines(text))
}

fn put(text: &str) -> Result<(), Failure> {
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
        Ok(json) => put(&printable_json(&json)),
        Err(e) => Err(Failure::io("writing JSON", &io::Error::from(e))),
    }
}

/// Writes `text` to stderr, without characters that act on a terminal.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable_lines(text));
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
        if let Some(style) = style(total.is_some()) {
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

/// How a bar looks, with or without a known total. The rate is a key of ours, because what follows the
/// colon of a key is a width or a colour to the template, never a precision.
fn style(has_total: bool) -> Option<ProgressStyle> {
    let template = if has_total {
        "{prefix} {bar:30} {human_pos}/{human_len} {rate} {eta} {msg}"
    } else {
        "{prefix} {spinner} {human_pos} {rate} {elapsed} {msg}"
    };
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // A template has no way to fail.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    };
    let style = ProgressStyle::with_template(template).ok()?;
    Some(style.with_key("rate", rate))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indicatif::TermLike;

    use super::*;

    /// A terminal that remembers what is written to it.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            120
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn rates_are_whole_numbers() {
        for total in [Some(100), None] {
            let paper = Paper::default();
            let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
            let bar = ProgressBar::with_draw_target(total, target);
            bar.set_style(style(total.is_some()).unwrap());
            bar.set_prefix("images");
            bar.inc(17);
            bar.abandon();
            let drawn = paper.0.lock().unwrap().clone();
            let rate = drawn.split(' ').find_map(|word| word.strip_suffix("/s"));
            let rate = rate.unwrap_or_else(|| panic!("no rate in {drawn:?}"));
            assert!(rate.bytes().all(|b| b.is_ascii_digit()), "{drawn:?}");
        }
    }
}
