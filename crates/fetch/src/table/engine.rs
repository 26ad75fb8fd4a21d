//! The table engine: scans of files, and what it hands over, batch by batch.

use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::mpsc::sync_channel;
use std::thread;

use polars::prelude::*;

use super::diagnose::Refusal;
use super::files::InputFormat;
use super::plain::Plain;
use crate::error::{Error, Result};

/// Name of the threads here in which the table engine runs.
const TABLE_THREAD: &str = "table-engine";

/// How the names of threads begin in which nothing but the table engine runs: those started here and the
/// engine's own. It panics on some damaged files; that is caught and becomes an error, so a program that
/// installs a panic hook may keep it silent for these.
pub const TABLE_THREADS: [&str; 3] = [TABLE_THREAD, "async-executor-", "polars-"];

pub(super) fn scan(plain: &Plain) -> PolarsResult<LazyFrame> {
    let file = File::open(&plain.path)?;
    let sources = ScanSources::Files([file].into());
    match plain.format {
        InputFormat::Csv | InputFormat::Tsv => {
            let separator = if plain.format == InputFormat::Csv {
                b','
            } else {
                b'\t'
            };
            LazyCsvReader::new_with_sources(sources)
                .with_glob(false)
                .with_separator(separator)
                .with_infer_schema_length(Some(0))
                .with_missing_is_null(false)
                .finish()
        }
        _ => LazyJsonLineReader::new_with_sources(sources)
            .with_infer_schema_length(None)
            .finish(),
    }
}

/// Runs `lazy` and hands over its rows in order, until `each` says to stop.
pub(super) fn batches(
    lazy: LazyFrame,
    rows: NonZeroUsize,
    refused: &dyn Fn(Refusal) -> Error,
    each: &mut dyn FnMut(DataFrame) -> Result<bool>,
) -> Result<()> {
    let (sender, batches) = sync_channel(1);
    let worker = thread::Builder::new()
        .name(TABLE_THREAD.to_owned())
        .spawn(move || {
            let callback =
                PlanCallback::new(move |frame: DataFrame| Ok(sender.send(frame).is_err()));
            lazy.sink_batches(callback, true, Some(rows))?
                .collect_with_engine(Engine::Streaming)
                .map(drop)
        })
        .map_err(|e| Error::Threads {
            problem: e.to_string(),
        })?;
    let mut outcome = Ok(());
    for frame in &batches {
        match each(frame) {
            Ok(true) => {}
            Ok(false) => break,
            Err(e) => {
                outcome = Err(e);
                break;
            }
        }
    }
    // Tells the worker, which may be waiting to hand over the next batch, to stop.
    drop(batches);
    match worker.join() {
        Ok(Ok(())) => outcome,
        Ok(Err(e)) => outcome.and_then(|()| Err(refused(Refusal::Error(e)))),
        Err(panic) => outcome.and_then(|()| Err(refused(Refusal::Panic(panic_text(&*panic))))),
    }
}

/// Runs `f` in a thread of the table engine, so that its panic on a foreign file ends only that.
pub(super) fn guard<T: Send>(f: impl FnOnce() -> PolarsResult<T> + Send) -> Result<T, Refusal> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name(TABLE_THREAD.to_owned())
            .spawn_scoped(scope, f)
            .map_err(|e| Refusal::Error(e.into()))?;
        match worker.join() {
            Ok(result) => result.map_err(Refusal::Error),
            Err(panic) => Err(Refusal::Panic(panic_text(&*panic))),
        }
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no reason given").to_owned()
}
