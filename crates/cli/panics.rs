//! Panics of the table engine, which are answers about a file and no accidents.
//!
//! The engine panics on some damaged tables, in threads of its own. `sightline_fetch` catches that and
//! gives an error with a remedy; what is left to do here is to keep the words of the panic off the screen.

use std::panic;
use std::thread;

use sightline_fetch::TABLE_THREADS;

/// Panics of the table engine go to the log at level `debug`; all others to stderr, as ever.
pub(crate) fn log_those_of_the_table_engine() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", |location| location.file());
        if is_of_table_engine(thread::current().name()) || is_of_parquet_reader(file) {
            tracing::debug!(%panic, "the table engine gave up");
        } else {
            others(panic);
        }
    }));
}

fn is_of_table_engine(thread: Option<&str>) -> bool {
    thread.is_some_and(|name| TABLE_THREADS.iter().any(|start| name.starts_with(start)))
}

/// The readers of Parquet panic on some damaged files, in whatever thread reads; `sightline_shard` and the captions of
/// `sightline_harness` catch that.
fn is_of_parquet_reader(file: &str) -> bool {
    file.contains("/parquet-") || file.contains("/polars-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_threads_of_the_table_engine_are_kept_quiet() {
        assert!(is_of_table_engine(Some("async-executor-3")));
        assert!(!is_of_table_engine(Some("main")));
        assert!(!is_of_table_engine(Some("rows")));
        assert!(!is_of_table_engine(None));
    }
}
