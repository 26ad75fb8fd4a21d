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
//! Rows are admitted in order and begin in order, and only while outcomes that wait for their turn take less than their
//! share of memory ([`Window`]); the oldest row is always admitted already and may always go on, so the writer never waits for
//! a row that waits for the writer. A row whose task or thread fails still gets an outcome from its ticket.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use polars::prelude::DataFrame;
use rayon::{ThreadPool, ThreadPoolBuilder};
use sightline_core::{Progress, ShardId};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc as queue, watch};
use tokio::task::{JoinSet, unconstrained};
use tokio::time::interval;

use crate::client::{Client, Turn};
use crate::concurrency::{Controller, Round, TICK};
use crate::dedup::Dedup;
use crate::error::{Error, Result};
use crate::filter::RowFilter;
use crate::join::Join;
use crate::plan::{FetchPlan, PlannedShard};
use crate::process::{Outcome, Processor};
use crate::resume::Output;
use crate::spec::FetchSpec;
use crate::stats::{FetchSummary, JoinSummary, ShardStats};
use crate::status::FetchStatus;
use crate::table::{self, Columns, InputFile, Scratch, ShardRows, TableProblem, TableReader};
use crate::window::Window;
use crate::writer::{Writer, key};

/// Rows under way for each connection: some wait for their host, some to be decoded.
const ROWS_PER_CONNECTION: usize = 16;
/// The same where the number of connections is found while the run goes on.
const ROWS_UNDER_WAY: usize = 4096;
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
    let files = table::find(&spec.stores, &spec.url_list, spec.input_format)?;
    let mut filter = RowFilter::new(&spec.filter, &spec.stores)?;
    let dedup = Dedup::new(spec, false)?;
    let join = Join::read(spec, &|| stop.is_stopped())?;
    if join.is_none() && spec.join.is_some() {
        return Ok(FetchSummary::interrupted());
    }
    let joined_rows = join.as_ref().map(JoinSummary::of);
    let spec = &spec.with_earlier(&filter, dedup.as_ref(), join.as_ref());
    let output = Arc::new(Output::open(spec)?);
    let reader = table_reader(spec)?;
    if output.folder.is_local() {
        TableReader::clean(&spec.out)?;
    }

    progress.start("rows", reader.count(&files));
    let joined = Joined::new(join, spec);
    let table = move |feed: &Feed| read_table(&files, (&reader, &joined), &mut filter, feed);
    let summary = run(spec, table, (&output, dedup), progress, stop);
    progress.finish();
    Ok(summary?.joined(joined_rows))
}

/// Makes the shards `wanted` of `plan`, as far as they are not finished and no other worker is making them.
pub(crate) fn run_planned(
    plan: &FetchPlan,
    wanted: &[u64],
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<FetchSummary> {
    let spec = &plan.spec;
    let mut filter = RowFilter::new(&spec.filter, &spec.stores)?;
    let dedup = Dedup::new(spec, true)?;
    let join = Join::read(spec, &|| stop.is_stopped())?;
    if join.is_none() && spec.join.is_some() {
        return Ok(FetchSummary::interrupted());
    }
    let joined_rows = join.as_ref().map(JoinSummary::of);
    let joined = Joined::new(join, spec);
    let output = Arc::new(Output::open_shared(spec)?);
    let reader = table_reader(spec)?;
    // By file, each in the order in which it is first wanted.
    let mut files: Vec<(InputFile, Vec<Planned>)> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    for &id in wanted {
        let PlannedShard {
            file,
            first_row,
            rows,
        } = plan.shards[id as usize];
        let place = *places.entry(file).or_insert_with(|| {
            files.push((plan.files[file].input(), Vec::new()));
            files.len() - 1
        });
        let id = ShardId(id);
        files[place].1.push(Planned {
            id,
            first_row,
            rows,
        });
    }
    let table = move |feed: &Feed| {
        for (file, shards) in &files {
            if !read_planned(file, shards, (&reader, &joined, &mut filter), feed)? {
                return Ok(());
            }
        }
        Ok(())
    };
    let summary = run(spec, table, (&output, dedup), progress, stop)?;
    Ok(summary.joined(joined_rows))
}

/// Reads the table of a request.
pub(crate) fn table_reader(spec: &FetchSpec) -> Result<TableReader> {
    let columns = Columns {
        url: spec.url_col.clone(),
        caption: spec.caption_col.clone(),
        additional: spec.saved_columns(),
        check: spec.verify_hash.as_ref().map(|check| check.column.clone()),
        join: spec
            .join
            .as_ref()
            .and_then(|join| join.own_column().map(str::to_owned)),
    };
    let rows = usize::try_from(spec.number_sample_per_shard)
        .ok()
        .and_then(NonZeroUsize::new)
        .unwrap_or(NonZeroUsize::MIN);
    let scratch = Scratch::of(spec)?;
    Ok(TableReader::new(columns, rows, scratch, &spec.stores))
}

/// Runs everything; `table` hands over the shards on a thread of its own.
fn run(
    spec: &FetchSpec,
    table: impl FnOnce(&Feed) -> Result<()> + Send + 'static,
    (output, dedup): (&Arc<Output>, Option<Dedup>),
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<FetchSummary> {
    let start = Instant::now();
    let threads = |problem: String| Error::Threads { problem };
    let shared = Arc::new(Shared {
        client: Client::new(
            &spec.network,
            spec.memory_budget() / 2,
            spec.image_threads(),
        )?,
        processor: Processor::new(spec),
        pool: ThreadPoolBuilder::new()
            .num_threads(spec.image_threads())
            .thread_name(|n| format!("image-{n}"))
            .build()
            .map_err(|e| threads(e.to_string()))?,
        window: Window::new(spec.memory_budget() / 2),
        queued: AtomicUsize::new(0),
        cancelled: AtomicBool::new(false),
    });
    let runtime = runtime().map_err(|e| threads(e.to_string()))?;
    let (cancel, cancelled) = watch::channel(false);
    let (events, inbox) = mpsc::channel();
    let (shards, admitted) = queue::channel(1);

    let feed = Feed {
        output: Arc::clone(output),
        shards,
        events: events.clone(),
    };
    let table = thread::Builder::new()
        .name("rows".to_owned())
        .spawn(move || {
            if let Err(error) = table(&feed) {
                // Nobody listens only when the run has ended already.
                let _ = feed.events.send(Event::Failed(error));
            }
        });
    let table = table.map_err(|e| threads(e.to_string()))?;
    let rows = if let Some(connections) = spec.network.concurrency {
        ROWS_PER_CONNECTION.saturating_mul(connections)
    } else {
        let controller = Controller::new(spec.image_threads(), spec.memory_budget() / 2);
        runtime.spawn(steer(Arc::clone(&shared), controller));
        ROWS_UNDER_WAY
    };
    runtime.spawn(breathe(Arc::clone(&shared)));
    runtime.spawn(admit(
        Arc::clone(&shared),
        admitted,
        events,
        rows,
        cancelled,
    ));

    let mut writer = Writer::new(spec, Arc::clone(output), Arc::clone(&shared), progress);
    writer.dedup = dedup;
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
    /// Bodies that wait for a thread of `pool`.
    queued: AtomicUsize,
    cancelled: AtomicBool,
}

impl Shared {
    /// How many requests there may be at present.
    pub(crate) fn connections(&self) -> usize {
        self.client.connections.limit()
    }
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
    /// Another worker is making a shard of `rows` rows.
    Elsewhere { rows: u64 },
    /// A row has its outcome.
    Row { number: u64, outcome: Outcome },
    /// The table cannot be read further.
    Failed(Error),
}

/// Where the table's thread hands over shards.
struct Feed {
    output: Arc<Output>,
    shards: queue::Sender<Arc<ShardRows>>,
    events: Sender<Event>,
}

impl Feed {
    /// Whether nobody takes shards any more: the queue has no other end once the run is cancelled.
    fn is_closed(&self) -> bool {
        self.shards.is_closed()
    }

    /// Hands over a shard to make; `false` when nobody takes it.
    fn send(&self, rows: ShardRows) -> bool {
        self.shards.blocking_send(Arc::new(rows)).is_ok()
    }

    /// Tells of a shard that is not made; `false` when nobody listens.
    fn tell(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }
}

/// Reads the table to its end and sends the shards that are not finished.
fn read_table(
    files: &[InputFile],
    (reader, joined): (&TableReader, &Joined),
    filter: &mut RowFilter,
    feed: &Feed,
) -> Result<()> {
    let mut next: Option<u64> = None;
    for file in files {
        let mut goes_on = true;
        reader.read(file, &|| feed.is_closed(), &mut |frame| {
            // Only rows that are added to a folder begin at another number, and those are not joined by key.
            let mut rows = joined.rows(file, frame, ShardId(next.unwrap_or(0)))?;
            filter.mark(&mut rows);
            let id = next.unwrap_or_else(|| feed.output.first_shard(rows.digest));
            next = Some(id + 1);
            rows.id = ShardId(id);
            goes_on = match feed.output.finished(&rows)? {
                Some(stats) => feed.tell(Event::Skipped(Box::new(stats))),
                None => feed.send(rows),
            };
            Ok(goes_on)
        })?;
        if !goes_on || feed.is_closed() {
            return Ok(());
        }
    }
    feed.output.check_end(next.unwrap_or(0))
}

/// Makes the rows of shards, with the columns of another table if there is one.
struct Joined {
    join: Option<Join>,
    /// Columns of the table before those of the other.
    kept: usize,
    spec: FetchSpec,
}

impl Joined {
    fn new(join: Option<Join>, spec: &FetchSpec) -> Self {
        Self {
            join,
            kept: spec.saved_columns().len(),
            spec: spec.clone(),
        }
    }

    /// The rows in `frame`, which are those of shard `id`.
    fn rows(&self, file: &InputFile, mut frame: DataFrame, id: ShardId) -> Result<ShardRows> {
        let key = |at| key(&self.spec, id, at).map_or(String::new(), |key| key.to_string());
        let join = self.join.as_ref();
        join.map(|join| join.add(&mut frame, self.kept, &key))
            .transpose()
            .and_then(|unmatched| {
                let rows = ShardRows::new(id, frame)?;
                Ok(ShardRows { unmatched, ..rows })
            })
            .map_err(|e| Error::Table {
                path: file.path.clone(),
                format: file.format.as_str(),
                problem: TableProblem::Other(e.to_string()),
            })
    }
}

/// A shard that is wanted of a file.
struct Planned {
    id: ShardId,
    first_row: u64,
    rows: u64,
}

/// Sends the shards of one file that are neither finished nor made by another worker; `false` when nobody takes them any
/// more. Parquet files are read where the shards are; others once, from their beginning.
fn read_planned(
    file: &InputFile,
    shards: &[Planned],
    (reader, joined, filter): (&TableReader, &Joined, &mut RowFilter),
    feed: &Feed,
) -> Result<bool> {
    let is_open = |shard: &Planned| {
        let event = match feed.output.finished_planned(shard.id)? {
            Some(stats) => Event::Skipped(Box::new(stats)),
            None if feed.output.lease(shard.id)? => return Ok(true),
            None => Event::Elsewhere { rows: shard.rows },
        };
        feed.tell(event);
        Ok::<_, Error>(false)
    };
    let mut send = |shard: &Planned, frame: DataFrame| {
        if frame.height() as u64 != shard.rows {
            return Err(Error::OtherTable {
                path: file.path.clone(),
            });
        }
        let mut rows = joined.rows(file, frame, shard.id)?;
        filter.mark(&mut rows);
        Ok(feed.send(rows))
    };
    let is_closed = || feed.is_closed();
    if file.can_seek() {
        // Once for all shards of it.
        let Some(brought) = reader.bring(file, &is_closed)? else {
            return Ok(false);
        };
        // Shards may be wanted in any order; each pass reads those that follow each other.
        let mut left = shards.iter().peekable();
        while left.peek().is_some() && !is_closed() {
            let begun = Cell::new(None);
            let mut next = |row: u64| {
                while let Some(shard) = left.next_if(|shard| shard.first_row >= row) {
                    if is_closed() {
                        return Ok(None);
                    }
                    if is_open(shard)? {
                        begun.set(Some(shard));
                        return Ok(Some(shard.first_row));
                    }
                }
                Ok(None)
            };
            reader.read_wanted(
                brought.file(),
                &mut next,
                &mut |_, frame| match begun.take() {
                    Some(shard) => send(shard, frame),
                    None => Ok(false),
                },
            )?;
            if let Some(shard) = begun.take() {
                // The file has no such row any more.
                return send(shard, DataFrame::empty());
            }
        }
        return Ok(!is_closed());
    }
    let by_row: HashMap<u64, &Planned> = shards.iter().map(|s| (s.first_row, s)).collect();
    let (mut row, mut left) = (0, by_row.len());
    reader.read(file, &is_closed, &mut |frame| {
        let first_row = row;
        row += frame.height() as u64;
        let Some(shard) = by_row.get(&first_row) else {
            return Ok(true);
        };
        left -= 1;
        let goes_on = !is_open(shard)? || send(shard, frame)?;
        Ok(goes_on && left > 0)
    })?;
    Ok(!is_closed())
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
            for at in 0..rows.rows.len() {
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
                let mut row = Box::pin(fetch_row(Arc::clone(&rows), at, ticket));
                if !begins(row.as_mut()).await {
                    tasks.spawn(row);
                }
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

/// Takes the first step of a row here, and says whether that was all. Tasks take their first steps in any order, and a row
/// that waits for its host or a connection waits behind those that asked before it: rows of slow servers from far behind would
/// be in front of those that the writer needs next.
async fn begins(mut row: Pin<&mut impl Future<Output = ()>>) -> bool {
    let step = poll_fn(|context| Poll::Ready(row.as_mut().poll(context).is_ready()));
    // With its budget spent, the runtime would end the step before the row stands in a queue.
    unconstrained(step).await
}

/// Fetches the row at `at` of `rows`.
async fn fetch_row(rows: Arc<ShardRows>, at: usize, ticket: Ticket) {
    if let Some(reason) = rows.rows[at].refused {
        return ticket.report(Outcome::failed(FetchStatus::FailedToDownload, reason));
    }
    let shared = Arc::clone(&ticket.shared);
    let turn = Turn {
        window: &shared.window,
        number: ticket.number,
    };
    let (result, latency) = shared.client.get(rows.rows[at].url.as_deref(), turn).await;
    match result {
        Err(error) => ticket.report(Outcome {
            latency,
            ..Outcome::not_downloaded(&error)
        }),
        Ok(download) => {
            shared.queued.fetch_add(1, Ordering::Relaxed);
            shared.pool.spawn(move || {
                let shared = Arc::clone(&ticket.shared);
                shared.queued.fetch_sub(1, Ordering::Relaxed);
                if shared.cancelled.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = shared.processor.run(&download.bytes, &rows.rows[at]);
                drop(download);
                ticket.report(Outcome { latency, ..outcome });
            });
        }
    }
}

/// Gives bodies as much of their memory as the image threads need to have work, until the run ends.
async fn breathe(shared: Arc<Shared>) {
    let threads = shared.pool.current_num_threads();
    let mut ticks = interval(TICK);
    loop {
        ticks.tick().await;
        let queued = shared.queued.load(Ordering::Relaxed);
        shared.client.memory.adapt(queued, threads);
    }
}

/// Finds out how many connections bring most, until the run ends.
async fn steer(shared: Arc<Shared>, mut controller: Controller) {
    let connections = &shared.client.connections;
    let counts = || {
        [
            &connections.bytes,
            &connections.answers,
            &connections.starved,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    };
    let mut ticks = interval(TICK);
    let (mut began, mut before) = (Instant::now(), counts());
    let (mut under_way, mut queued, mut looks) = (0.0, 0.0, 0.0);
    loop {
        ticks.tick().await;
        looks += 1.0;
        under_way += connections.under_way() as f64;
        queued += shared.queued.load(Ordering::Relaxed) as f64;
        let now = counts();
        let [bytes, answers, starved] = std::array::from_fn(|at| now[at] - before[at]);
        let round = Round {
            elapsed: began.elapsed(),
            bytes,
            answers,
            under_way: under_way / looks,
            queued: queued / looks,
            is_starved: starved > 0,
        };
        if round.is_over(controller.limit()) {
            connections.set_limit(controller.round(&round));
            tracing::debug!(connections = controller.limit(), ?round, "round");
            (began, before) = (Instant::now(), now);
            (under_way, queued, looks) = (0.0, 0.0, 0.0);
        }
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
        self.shared.window.enter(outcome.len_bytes());
        // Nobody listens only when the run has ended already.
        let _ = self.events.send(Event::Row {
            number: self.number,
            outcome,
        });
    }
}
