//! The run: table thread, network tasks, decoding threads, and the writer, joined by bounded queues.
//!
//! ```text
//! table thread ── rows of a shard, two at a time ──► admission (tokio)
//!                                                      │ a task for each row, no more than `admitted`
//!                                                      ▼
//!                                               client (tokio): body, within the memory budget
//!                                                      ▼
//!                                               processor (rayon): image
//!                                                      ▼ outcome, in any order
//!                                        writer (the caller's thread): row order, one shard at a time
//! ```
//!
//! Rows are admitted in order, and only while outcomes that wait for their turn take less than their
//! share of memory; the oldest row is always admitted already, so the writer never waits for a row that
//! waits for the writer. A row whose task or thread fails still gets an outcome from its ticket.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rayon::{ThreadPool, ThreadPoolBuilder};
use sightline_core::{Progress, ShardId};
use sightline_shard::FORMATS;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc as queue, watch};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::process::{Outcome, Processor};
use crate::resume::Output;
use crate::spec::FetchSpec;
use crate::stats::{FetchSummary, ShardStats};
use crate::table::{self, Columns, InputFile, ShardRows, TableProblem, TableReader};
use crate::writer::Writer;

/// Rows under way for each connection: some wait for their host, some to be decoded.
const ROWS_PER_CONNECTION: usize = 16;
/// How long name look-ups, which cannot be called back, may hold up the end of a run.
const SHUTDOWN: Duration = Duration::from_millis(200);

/// Asks a run to stop, from a signal handler or another thread.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl From<Arc<AtomicBool>> for StopFlag {
    /// The flag that a signal handler sets.
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }
}

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop. Finished shards are kept, the others are made again by the next run.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Fetches a table of URLs into shards.
///
/// Returns when every row is in a finished shard, or when `stop` was set; then the summary says so and
/// the same request resumes. A row's failure is in the status table and the summary, never an error.
pub fn fetch(spec: &FetchSpec, progress: &dyn Progress, stop: &StopFlag) -> Result<FetchSummary> {
    spec.validate()?;
    let format = FORMATS
        .iter()
        .find(|format| format.name() == spec.output_format)
        .copied()
        .ok_or_else(|| spec.unknown_format())?;
    let files = table::find(&spec.url_list, spec.input_format)?;
    let output = Arc::new(Output::open(spec, format)?);
    let columns = Columns {
        url: spec.url_col.clone(),
        caption: spec.caption_col.clone(),
        additional: spec.save_additional_columns.clone(),
    };
    let rows = usize::try_from(spec.number_sample_per_shard)
        .ok()
        .and_then(NonZeroUsize::new)
        .unwrap_or(NonZeroUsize::MIN);
    let reader = TableReader::new(columns, rows, &spec.out)?;

    progress.start("rows", reader.count(&files));
    let summary = run(spec, files, reader, &output, progress, stop);
    progress.finish();
    summary
}

fn run(
    spec: &FetchSpec,
    files: Vec<InputFile>,
    reader: TableReader,
    output: &Arc<Output>,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<FetchSummary> {
    let start = Instant::now();
    let threads = |problem: String| Error::Threads { problem };
    let shared = Arc::new(Shared {
        client: Client::new(&spec.network, spec.memory_budget_bytes / 2)?,
        processor: Processor::new(spec),
        pool: ThreadPoolBuilder::new()
            .num_threads(spec.threads.unwrap_or(0))
            .thread_name(|n| format!("image-{n}"))
            .build()
            .map_err(|e| threads(e.to_string()))?,
        window: Window::new(spec.memory_budget_bytes / 2),
        cancelled: AtomicBool::new(false),
    });
    let runtime = runtime().map_err(|e| threads(e.to_string()))?;
    let (cancel, cancelled) = watch::channel(false);
    let (events, inbox) = mpsc::channel();
    let (shards, admitted) = queue::channel(1);

    let table = thread::Builder::new().name("rows".to_owned()).spawn({
        let (output, events) = (Arc::clone(output), events.clone());
        move || read_table(&files, &reader, &output, &shards, &events)
    });
    let table = table.map_err(|e| threads(e.to_string()))?;
    let rows = ROWS_PER_CONNECTION.saturating_mul(spec.network.concurrency);
    runtime.spawn(admit(
        Arc::clone(&shared),
        admitted,
        events,
        rows,
        cancelled,
    ));

    let mut writer = Writer::new(spec, Arc::clone(output), Arc::clone(&shared), progress);
    let outcome = writer.run(&inbox, stop);

    // Whatever happened, everything that was started ends here: tasks are told to, threads notice that
    // their queue has no other end, and the inbox closes when the last ticket is gone.
    shared.cancelled.store(true, Ordering::Relaxed);
    cancel.send_replace(true);
    while inbox.recv().is_ok() {}
    let table = table.join();
    runtime.shutdown_timeout(SHUTDOWN);

    let mut summary = writer.summary;
    summary.close(start.elapsed(), writer.images);
    summary.interrupted = outcome?;
    match table {
        Ok(()) => Ok(summary),
        Err(_) => Err(threads("the table's thread failed".to_owned())),
    }
}

fn runtime() -> std::io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(2, NonZeroUsize::get);
    Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, 8))
        .thread_name("network")
        .enable_all()
        .build()
}

/// What tasks and threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    client: Client,
    processor: Processor,
    pool: ThreadPool,
    pub(crate) window: Window,
    cancelled: AtomicBool,
}

/// A shard whose rows are under way.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) rows: Arc<ShardRows>,
    /// Number of its first row since the start of the run.
    pub(crate) first_row: u64,
    /// When its first row was admitted: since 1970, and on the clock that only runs forward.
    pub(crate) at: (Duration, Instant),
}

/// What reaches the writer.
#[derive(Debug)]
pub(crate) enum Event {
    /// A shard begins.
    Shard(Begun),
    /// A shard was finished by an earlier run.
    Skipped(Box<ShardStats>),
    /// A row has its outcome.
    Row { number: u64, outcome: Outcome },
    /// The table cannot be read further.
    Failed(Error),
}

/// Reads the table to its end and sends the shards that are not finished.
fn read_table(
    files: &[InputFile],
    reader: &TableReader,
    output: &Output,
    shards: &queue::Sender<Arc<ShardRows>>,
    events: &Sender<Event>,
) {
    let mut next: Option<u64> = None;
    let mut read = || {
        for file in files {
            // The queue has no other end once the run is cancelled.
            let is_stopped = || shards.is_closed();
            let mut stopped = false;
            reader.read(file, &is_stopped, &mut |frame| {
                let mut rows = ShardRows::new(ShardId(0), frame).map_err(|e| Error::Table {
                    path: file.path.clone(),
                    format: file.format.as_str(),
                    problem: TableProblem::Other(e.to_string()),
                })?;
                let id = next.unwrap_or_else(|| output.first_shard(rows.digest));
                next = Some(id + 1);
                rows.id = ShardId(id);
                stopped = match output.finished(&rows)? {
                    Some(stats) => events.send(Event::Skipped(Box::new(stats))).is_err(),
                    None => shards.blocking_send(Arc::new(rows)).is_err(),
                };
                Ok(!stopped)
            })?;
            if stopped || is_stopped() {
                return Ok(());
            }
        }
        output.check_end(next.unwrap_or(0))
    };
    if let Err(error) = read() {
        // Nobody listens only when the run has ended already.
        let _ = events.send(Event::Failed(error));
    }
}

/// Starts a task for each row, in order, and ends when all have ended or the run is cancelled.
async fn admit(
    shared: Arc<Shared>,
    mut shards: queue::Receiver<Arc<ShardRows>>,
    events: Sender<Event>,
    rows_under_way: usize,
    mut cancelled: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    let admitted = Arc::new(Semaphore::new(rows_under_way.min(Semaphore::MAX_PERMITS)));
    let work = async {
        let mut number = 0;
        while let Some(rows) = shards.recv().await {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
            let begun = Begun {
                rows: Arc::clone(&rows),
                first_row: number,
                at: (since_epoch.unwrap_or_default(), Instant::now()),
            };
            if events.send(Event::Shard(begun)).is_err() {
                return;
            }
            for row in &rows.rows {
                shared.window.room().await;
                let Ok(permit) = Arc::clone(&admitted).acquire_owned().await else {
                    return;
                };
                let ticket = Ticket {
                    number,
                    events: events.clone(),
                    shared: Arc::clone(&shared),
                    outcome: None,
                    _permit: permit,
                };
                number += 1;
                tasks.spawn(fetch_row(row.url.clone(), ticket));
                while tasks.try_join_next().is_some() {}
            }
        }
        while tasks.join_next().await.is_some() {}
    };
    tokio::select! {
        () = work => {}
        _ = cancelled.wait_for(|cancelled| *cancelled) => {}
    }
    tasks.shutdown().await;
}

async fn fetch_row(url: Option<String>, ticket: Ticket) {
    let shared = Arc::clone(&ticket.shared);
    match shared.client.get(url.as_deref()).await {
        Err(error) => ticket.report(Outcome::not_downloaded(&error)),
        Ok(download) => shared.pool.spawn(move || {
            let shared = Arc::clone(&ticket.shared);
            if shared.cancelled.load(Ordering::Relaxed) {
                return;
            }
            let outcome = shared.processor.run(&download.bytes);
            drop(download);
            ticket.report(outcome);
        }),
    }
}

/// The duty to report the outcome of a row; done when dropped, whatever happens to its holder.
#[derive(Debug)]
struct Ticket {
    number: u64,
    events: Sender<Event>,
    shared: Arc<Shared>,
    outcome: Option<Outcome>,
    _permit: OwnedSemaphorePermit,
}

impl Ticket {
    fn report(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(Outcome::internal_error);
        self.shared.window.enter(&outcome);
        // Nobody listens only when the run has ended already.
        let _ = self.events.send(Event::Row {
            number: self.number,
            outcome,
        });
    }
}

/// Memory of outcomes that wait for the rows before them.
#[derive(Debug)]
pub(crate) struct Window {
    bytes: AtomicU64,
    limit: u64,
    left: Notify,
}

impl Window {
    fn new(limit: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            limit: limit.max(1),
            left: Notify::new(),
        }
    }

    /// Waits until less than the limit waits.
    async fn room(&self) {
        loop {
            let left = self.left.notified();
            if self.bytes.load(Ordering::SeqCst) < self.limit {
                return;
            }
            left.await;
        }
    }

    fn enter(&self, outcome: &Outcome) {
        self.bytes.fetch_add(outcome.len_bytes(), Ordering::SeqCst);
    }

    /// An outcome has its turn.
    pub(crate) fn leave(&self, outcome: &Outcome) {
        self.bytes.fetch_sub(outcome.len_bytes(), Ordering::SeqCst);
        self.left.notify_waiters();
    }
}
