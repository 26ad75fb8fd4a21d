//! Files in, batches in the card's memory out.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sightline_core::image_spec::{Layout, Size};
use sightline_core::{Decoded, Hint, PixelDeviation};
use sightline_cuda::layout::{self, Shape, row_bytes};
use sightline_cuda::library::Places;
use sightline_cuda::nvjpeg::Nvjpeg;
use sightline_cuda::nvrtc::Nvrtc;
use sightline_cuda::{
    Addresses, Card, CudaStream, DeviceBuffer, Error, Marker, PinnedBuffer, upload,
};
use sightline_imaging::{JpegKind, JpegOutline};

use super::Decode;
use super::queue::Queue;
use super::sizes::{Sized, Sizes};
use super::worker::{Counts, ENGINES, Engines, Item, Made, Round, Route, Thread};
use crate::fast::Comparison;
use crate::{Element, Mode, PrepareError, Preprocessor};

/// How work is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaOptions {
    /// Who decodes JPEG files.
    pub decode: Decode,
    /// Threads of the host that decode.
    pub threads: NonZeroUsize,
    /// Batches that are worked on at the same time.
    pub in_flight: NonZeroUsize,
    /// Threads that feed the engines: one parses and submits while files of the others are decoded.
    pub engine_threads: NonZeroUsize,
    /// Files that each of them gives the engines at once.
    pub engine_batch: usize,
}

/// Threads that feed the engines. More than two submit no faster, as they wait for one another in the library
/// (docs/gpu.md).
const ENGINE_THREADS: usize = 2;

impl Default for CudaOptions {
    /// [`Self::of_threads`] with all cores.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self::of_threads(cores, Decode::default())
    }
}

impl CudaOptions {
    /// So many threads of the host in all: two feed the engines with 64 files each, the others decode; three batches in
    /// flight.
    pub fn of_threads(threads: NonZeroUsize, decode: Decode) -> Self {
        let at_least_one = |count: usize| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        let feeding = match decode {
            Decode::Host => 0,
            // One decodes what the engines do not know.
            Decode::Any | Decode::Card => ENGINE_THREADS.min(threads.get().saturating_sub(1)),
        };
        Self {
            decode,
            threads: at_least_one(threads.get() - feeding),
            in_flight: at_least_one(3),
            engine_threads: at_least_one(feeding),
            engine_batch: 64,
        }
    }
}

/// What ends the work, other than files that cannot be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The card, or a library of its maker.
    #[error(transparent)]
    Cuda(#[from] Error),
    /// A specification whose values the kernel does not make.
    #[error("the card prepares no images in the fast mode, which is the CPU's")]
    Mode,
    /// The tensor could not be made.
    #[error("cannot make the batch's tensor")]
    Tensor(#[from] candle_core::Error),
    /// A bug: a thread has panicked.
    #[error("a thread that decodes has panicked")]
    Panic,
}

impl Hint for GpuError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Cuda(error) => error.hints(),
            Self::Mode => vec!["take --mode exact, or --device cpu".to_owned()],
            Self::Tensor(_) | Self::Panic => Vec::new(),
        }
    }
}

/// What was done, by whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Files whose values were made.
    pub images: usize,
    /// Files that could not be prepared.
    pub broken: usize,
    /// Files that the card's engines decoded.
    pub engines: usize,
    /// Files that the card's multiprocessors decoded, with a thread of the host for each.
    pub multiprocessors: usize,
    /// Files that the host's threads decoded alone.
    pub threads: usize,
    /// Files whose values the host made as well: other formats, extreme shapes, resizes in the file's own mode.
    pub values: usize,
    /// Batches of the engines that were refused for one of their files, and went to the host's threads.
    pub refused: usize,
    /// Batches that were cut in half because the card had no memory.
    pub halved: usize,
    /// Batches whose values were made.
    pub batches: usize,
    /// Most bytes of the card's memory that batches took at once.
    pub memory_bytes: usize,
    /// Files a second of the engines and of the threads, as measured last.
    pub rates: [f64; 2],
    /// Seconds that the threads which feed the engines spent, all together.
    pub feeding: Feeding,
    /// Seconds in which the thread that called read headers and found room, and in which it waited for batches.
    pub calling: [f64; 2],
}

/// Where the time of the threads that feed the engines went, in seconds, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Feeding {
    /// Nothing waited that they could take.
    pub waiting: f64,
    /// Files were parsed and handed to the engines.
    pub submitting: f64,
    /// The engines decoded.
    pub decoding: f64,
    /// What was done was noted; the last of a batch starts its kernel.
    pub noting: f64,
}

impl AddAssign for Feeding {
    fn add_assign(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.submitting += other.submitting;
        self.decoding += other.decoding;
        self.noting += other.noting;
    }
}

impl Report {
    /// By whom files were decoded.
    pub fn decoded(&self) -> Decoded {
        Decoded {
            engines: self.engines as u64,
            multiprocessors: self.multiprocessors as u64,
            threads: self.threads as u64,
            host: self.values as u64,
        }
    }
}

/// What another run did comes on top; rates are the latest, and memory is that of the run that took most.
impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.images += other.images;
        self.broken += other.broken;
        self.engines += other.engines;
        self.multiprocessors += other.multiprocessors;
        self.threads += other.threads;
        self.values += other.values;
        self.refused += other.refused;
        self.halved += other.halved;
        self.batches += other.batches;
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        self.rates = other.rates;
        self.feeding += other.feeding;
        for (seconds, more) in self.calling.iter_mut().zip(other.calling) {
            *seconds += more;
        }
    }
}

/// A preprocessor on a card.
#[derive(Debug)]
pub struct Cuda {
    preprocessor: Preprocessor,
    card: Arc<Card>,
    nvjpeg: Option<Arc<Nvjpeg>>,
    options: CudaOptions,
    sizes: Sizes,
    /// Kept from run to run.
    slots: Mutex<Vec<Slot>>,
    threads: Mutex<Vec<Thread>>,
    engines: Mutex<Vec<Engines>>,
}

/// Most bytes of pixels of a batch; one that needs more is cut.
const MOST_PIXELS: usize = 8 << 30;

/// Where pixels of an image start.
const ALIGNMENT: usize = 256;

/// A batch of tensors in the card's memory.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Number of the first file in the stream.
    pub first: usize,
    /// What became of each file; where it is an error, the values are zero.
    pub outcomes: Vec<Result<(), PrepareError>>,
    out: &'a DeviceBuffer,
    stream: &'a CudaStream,
    bytes: usize,
}

impl Batch<'_> {
    /// Address of the values, `[images, 3, height, width]` or `[images, height, width, 3]`, in the type that was asked
    /// for. They are there; the memory is used again once the batch has been handed back.
    pub fn address(&self) -> u64 {
        self.out.address()
    }

    /// Bytes of the values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies the values, as they are in memory.
    pub fn read(&self, to: &mut Vec<u8>) -> Result<(), GpuError> {
        to.resize(self.bytes, 0);
        Ok(self.out.download(to, self.stream)?)
    }
}

/// Memory of a batch.
#[derive(Debug)]
pub(super) struct Slot {
    pixels: DeviceBuffer,
    out: DeviceBuffer,
    tables: DeviceBuffer,
    staged: Mutex<(PinnedBuffer, layout::Batch)>,
    stream: Arc<CudaStream>,
    /// After each worker's last work for the batch.
    marks: Vec<Marker>,
    done: Marker,
}

impl Slot {
    fn new(card: &Card, workers: usize) -> Result<Self, GpuError> {
        let context = card.context();
        let marks = (0..workers).map(|_| Marker::new(context));
        Ok(Self {
            pixels: DeviceBuffer::new(context),
            out: DeviceBuffer::new(context),
            tables: DeviceBuffer::new(context),
            staged: Mutex::new((PinnedBuffer::new(context), layout::Batch::default())),
            stream: card.stream()?,
            marks: marks.collect::<Result<_, _>>()?,
            done: Marker::new(context)?,
        })
    }

    /// Bytes of the card's memory.
    fn room(&self) -> usize {
        self.pixels.room() + self.out.room() + self.tables.room()
    }

    /// Address of a place among the pixels.
    pub(super) fn pixels_at(&self, offset: usize) -> u64 {
        self.pixels.address() + offset as u64
    }

    /// Address of a place among the values.
    pub(super) fn out_at(&self, offset: usize) -> u64 {
        self.out.address() + offset as u64
    }

    /// Marks the work that a worker has put on its stream.
    pub(super) fn mark(&self, worker: usize, stream: &CudaStream) -> Result<(), GpuError> {
        Ok(self.marks[worker].record(stream)?)
    }
}

/// What all workers of a run share.
pub(super) struct Shared<'a, B> {
    pub(super) preprocessor: &'a Preprocessor,
    pub(super) card: &'a Card,
    pub(super) options: CudaOptions,
    pub(super) sizes: &'a Sizes,
    pub(super) queue: &'a Queue<Item<B>>,
    pub(super) counts: &'a Counts,
    pub(super) engine_workers: usize,
    pub(super) thread_workers: usize,
    done: Sender<Result<Arc<Round<B>>, GpuError>>,
}

impl<B> Clone for Shared<'_, B> {
    fn clone(&self) -> Self {
        Self {
            done: self.done.clone(),
            ..*self
        }
    }
}

impl<B: AsRef<[u8]> + Send + Sync> Shared<'_, B> {
    /// Hands on an error that ends a thread. Nobody listens any more if the run has failed.
    fn tell(&self, outcome: Result<(), GpuError>) {
        if let Err(error) = outcome {
            let _ = self.done.send(Err(error));
        }
    }

    /// What becomes of a file's pixels in the kernel; nothing where that is not possible, or not with the card's memory.
    pub(super) fn fitting(&self, item: &Item<B>) -> Option<Arc<Sized>> {
        let size = item.size()?;
        // Errors of the size are found again by the host, in their order.
        let sized = self.sizes.of(self.preprocessor, size).ok()?;
        sized.fits(self.card.most_shared()).then_some(sized)
    }

    /// Gives files back that the card does not decode.
    pub(super) fn return_to_host(&self, items: Vec<Item<B>>) {
        self.queue.push(items.into_iter().map(|item| Item {
            card: false,
            ..item
        }));
    }

    /// Puts the kernel on the stream of a round whose files are all done, and hands the round on.
    pub(super) fn finish<T: Element>(&self, round: &Arc<Round<B>>) -> Result<(), GpuError> {
        let slot = &round.slot;
        let preprocessor = self.preprocessor;
        let bytes = preprocessor.len() * size_of::<T>();
        for (mark, used) in slot.marks.iter().zip(&round.used) {
            if used.load(Ordering::Acquire) {
                mark.hold(&slot.stream)?;
            }
        }
        let mut staged = slot.staged.lock().unwrap_or_else(PoisonError::into_inner);
        let (pinned, batch) = &mut *staged;
        batch.clear();
        for (place, outcome) in round.outcomes.iter().enumerate() {
            match &*outcome.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(Ok(Made::Pixels {
                    sized,
                    source,
                    stride,
                    whole,
                })) => {
                    let image = if *whole {
                        sized.of_whole(*source, *stride)
                    } else {
                        sized.of_window(*source, *stride)
                    };
                    assert!(
                        batch.push(&image, place as u32, self.card.most_shared()),
                        "images that do not fit are prepared by the host"
                    );
                }
                Some(Ok(Made::Values)) => {}
                _ => slot.out.clear(place * bytes, bytes, &slot.stream)?,
            }
        }
        if !batch.is_empty() {
            let values = preprocessor.value_bits::<T>();
            let words = [&values[..], batch.jobs(), batch.tables()];
            let len: usize = words.iter().map(|words| 4 * words.len()).sum();
            let to = pinned.bytes(len)?;
            let parts = words.iter().flat_map(|words| words.iter());
            for (to, word) in to.as_chunks_mut::<4>().0.iter_mut().zip(parts) {
                *to = word.to_le_bytes();
            }
            let start = slot.tables.address();
            assert!(len <= slot.tables.room(), "room was made for every table");
            // SAFETY: there is room; the pinned memory is not touched again before the round is over.
            unsafe { upload(start, to, &slot.stream)? };
            let addresses = Addresses {
                values: start,
                jobs: start + 4 * values.len() as u64,
                tables: start + 4 * (values.len() + batch.jobs().len()) as u64,
                out: slot.out.address(),
            };
            let shape = preprocessor.shape::<T>();
            // SAFETY: all of it is memory of the slot, which stays until the round is over.
            unsafe { self.card.resize(batch, &shape, &addresses, &slot.stream)? };
        }
        slot.done.record(&slot.stream)?;
        drop(staged);
        // Nobody listens any more if the run has failed.
        let _ = self.done.send(Ok(Arc::clone(round)));
        Ok(())
    }
}

impl Preprocessor {
    /// The bits of the values of all bytes, 256 for each channel.
    fn value_bits<T: Element>(&self) -> Vec<u32> {
        let mut bytes = Vec::new();
        T::table(self.tables()).write_le(&mut bytes);
        let word = |value: &[u8]| {
            let mut word = [0; 4];
            word[..value.len()].copy_from_slice(value);
            u32::from_le_bytes(word)
        };
        bytes.chunks_exact(size_of::<T>()).map(word).collect()
    }

    fn shape<T: Element>(&self) -> Shape {
        let spec = self.spec();
        Shape {
            width: spec.size.width,
            height: spec.size.height,
            fill: spec.fill,
            channels_last: self.layout() == Layout::Nhwc,
            wide: size_of::<T>() == 4,
        }
    }
}

/// Tells when a thread ends by a panic, so that nobody waits for it.
struct Watch<'a, B>(&'a Shared<'a, B>);

impl<B> Drop for Watch<'_, B> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.done.send(Err(GpuError::Panic));
        }
    }
}

impl Cuda {
    /// A preprocessor on the card `cuda:number`. nvJPEG is optional: without it the host's threads decode.
    pub fn open(
        preprocessor: Preprocessor,
        number: usize,
        places: &Places,
        options: CudaOptions,
    ) -> Result<Self, GpuError> {
        sightline_cuda::driver()?;
        let nvrtc = Nvrtc::open(places)?;
        let card = Arc::new(Card::open(number, &nvrtc)?);
        let nvjpeg = match options.decode {
            Decode::Host => None,
            Decode::Any => Nvjpeg::open(places).ok(),
            Decode::Card => Some(Nvjpeg::open(places)?),
        };
        Self::on(preprocessor, card, nvjpeg, options)
    }

    /// The same on a card that is open.
    pub fn on(
        preprocessor: Preprocessor,
        card: Arc<Card>,
        nvjpeg: Option<Arc<Nvjpeg>>,
        options: CudaOptions,
    ) -> Result<Self, GpuError> {
        if preprocessor.mode() != Mode::Exact {
            return Err(GpuError::Mode);
        }
        let this = Self {
            preprocessor,
            card,
            nvjpeg,
            options,
            sizes: Sizes::default(),
            slots: Mutex::default(),
            threads: Mutex::default(),
            engines: Mutex::default(),
        };
        this.card.bind()?;
        if let Some(nvjpeg) = &this.nvjpeg {
            // A card without engines has none for the first either.
            let engines = || Engines::new(&this.card, nvjpeg);
            if let Ok(first) = engines() {
                let mut all = this.engines.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(first);
                for _ in 1..options.engine_threads.get() {
                    all.push(engines()?);
                }
            }
        }
        let mut threads = this.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..options.threads.get() {
            threads.push(Thread::new(&this.card, this.nvjpeg.as_ref())?);
        }
        drop(threads);
        Ok(this)
    }

    /// The card.
    pub fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// The file of nvJPEG, if it was found.
    pub fn nvjpeg(&self) -> Option<&std::path::Path> {
        self.nvjpeg.as_ref().map(|nvjpeg| nvjpeg.path())
    }

    /// Whether the card has engines for JPEG files.
    pub fn has_engines(&self) -> bool {
        !self
            .engines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// The preprocessor whose values are made.
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// How far the pixels of files that the card decodes are from those of the CPU, resized and cropped. What this
    /// preprocessor is asked to decode where does not matter.
    pub fn deviation_from_exact<B: AsRef<[u8]> + Send + Sync>(
        &self,
        images: impl IntoIterator<Item = B>,
    ) -> Result<PixelDeviation, GpuError> {
        let levels = self.preprocessor.with_spec(self.preprocessor.levels());
        let options = CudaOptions {
            decode: Decode::Card,
            threads: NonZeroUsize::MIN,
            engine_threads: NonZeroUsize::MIN,
            ..self.options
        };
        let (card, nvjpeg) = (Arc::clone(&self.card), self.nvjpeg.clone());
        let ours = Self::on(levels.clone(), card, nvjpeg, options)?;
        let mut comparison = Comparison::new(&self.preprocessor);
        let images: Vec<B> = images.into_iter().collect();
        let files: Vec<&[u8]> = images.iter().map(AsRef::as_ref).collect();
        let mut bytes = Vec::new();
        ours.run::<f32, &[u8]>([files.clone()], |batch| {
            batch.read(&mut bytes)?;
            let rows = bytes.chunks_exact(levels.len() * size_of::<f32>());
            for ((outcome, row), file) in batch.outcomes.iter().zip(rows).zip(&files[batch.first..])
            {
                let found = outcome.as_ref().ok().map(|()| {
                    let mut values = vec![0.0; levels.len()];
                    f32::read_ne(row, &mut values);
                    values
                });
                comparison.add(found, levels.prepare(file).ok());
            }
            Ok(true)
        })?;
        Ok(comparison.finish())
    }

    /// Prepares batches of files as values of type `T` and calls `sink` with each, in their order; a batch may come in
    /// parts when the card has no memory for all of it. `sink` says whether to go on.
    pub fn run<T: Element, B: AsRef<[u8]> + Send + Sync>(
        &self,
        batches: impl IntoIterator<Item = Vec<B>>,
        mut sink: impl FnMut(Batch<'_>) -> Result<bool, GpuError>,
    ) -> Result<Report, GpuError> {
        // It may be another thread than the one that opened the card.
        self.card.bind()?;
        let mut engines =
            std::mem::take(&mut *self.engines.lock().unwrap_or_else(PoisonError::into_inner));
        let mut threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let workers = threads.len();
        let (queue, counts) = (Queue::new(2), Counts::default());
        if engines.is_empty() {
            // There is nobody to share with.
            queue.note(
                ENGINES,
                1,
                1,
                std::time::Duration::from_secs(1_000_000),
                true,
            );
        }
        let (done, finished) = channel();
        let shared = Shared {
            preprocessor: &self.preprocessor,
            card: &self.card,
            options: self.options,
            sizes: &self.sizes,
            queue: &queue,
            counts: &counts,
            engine_workers: engines.len(),
            thread_workers: threads.len(),
            done,
        };
        let mut feed = Feed {
            cuda: self,
            queue: &queue,
            workers,
            free: Vec::new(),
            slots: 0,
            round: 0,
            first: 0,
            report: Report::default(),
        };
        let outcome = std::thread::scope(|scope| {
            let mut number = 0;
            let mut next = || {
                number += 1;
                (number - 1, shared.clone())
            };
            for engines in &mut engines {
                let shared = shared.clone();
                scope.spawn(move || {
                    let _watch = Watch(&shared);
                    shared.tell(engines.work::<T, B>(&shared));
                });
            }
            for thread in &mut threads {
                let (number, shared) = next();
                scope.spawn(move || {
                    let _watch = Watch(&shared);
                    shared.tell(thread.work::<T, B>(&shared, number));
                });
            }
            let outcome = feed.all::<T>(batches.into_iter(), &finished, &mut sink);
            queue.abandon(outcome.is_err());
            queue.close();
            outcome
        });
        let mut report = feed.report;
        report.memory_bytes = feed.free.iter().map(Slot::room).sum();
        *self.slots.lock().unwrap_or_else(PoisonError::into_inner) = feed.free;
        *self.engines.lock().unwrap_or_else(PoisonError::into_inner) = engines;
        *self.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        outcome?;
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        report.engines = count(&counts.engines);
        report.multiprocessors = count(&counts.multiprocessors);
        report.threads = count(&counts.threads);
        report.values = count(&counts.values);
        report.refused = count(&counts.refused);
        report.rates = queue.rates().try_into().unwrap_or_default();
        let stages = &counts.engine_stages;
        let seconds = |stage: &AtomicU64| stage.load(Ordering::Relaxed) as f64 / 1e9;
        report.feeding = Feeding {
            waiting: seconds(&stages.waiting),
            submitting: seconds(&stages.submitting),
            decoding: seconds(&stages.decoding),
            noting: seconds(&stages.noting),
        };
        Ok(report)
    }

    /// Where a file can go, and the pixels that it needs room for.
    fn route(&self, bytes: &[u8]) -> (Route, usize) {
        let preprocessor = &self.preprocessor;
        let Ok(outline) = JpegOutline::read(bytes, &preprocessor.options.limits) else {
            return (Route::Values, 0);
        };
        let turned = preprocessor.options.orient && outline.orientation != 1;
        if turned || !preprocessor.is_planned_for(bytes) || outline.kind == JpegKind::OtherColours {
            return (Route::Values, 0);
        }
        let Size { width, height } = outline.size;
        let route = Route::Pixels {
            offset: 0,
            size: outline.size,
            card: self.nvjpeg.is_some() && outline.kind == JpegKind::Baseline && outline.is_closed,
        };
        (route, row_bytes(width) as usize * height as usize)
    }
}

/// What the thread that called does: puts batches into the queue and takes them out when they are done.
struct Feed<'a, B> {
    cuda: &'a Cuda,
    queue: &'a Queue<Item<B>>,
    workers: usize,
    free: Vec<Slot>,
    /// Slots that there are.
    slots: usize,
    /// Rounds and files so far.
    round: usize,
    first: usize,
    report: Report,
}

impl<B: AsRef<[u8]> + Send + Sync> Feed<'_, B> {
    fn all<T: Element>(
        &mut self,
        mut batches: impl Iterator<Item = Vec<B>>,
        finished: &Receiver<Result<Arc<Round<B>>, GpuError>>,
        sink: &mut impl FnMut(Batch<'_>) -> Result<bool, GpuError>,
    ) -> Result<(), GpuError> {
        let mut pending: VecDeque<Vec<B>> = VecDeque::new();
        let mut early = BTreeMap::new();
        let mut handed_on = 0;
        loop {
            while self.round - handed_on < self.cuda.options.in_flight.get() {
                let Some(files) = pending.pop_front().or_else(|| batches.next()) else {
                    break;
                };
                if !files.is_empty() {
                    let start = Instant::now();
                    self.start::<T>(files, &mut pending)?;
                    self.report.calling[0] += start.elapsed().as_secs_f64();
                }
            }
            if self.round == handed_on {
                return Ok(());
            }
            let start = Instant::now();
            let round = loop {
                if let Some(round) = early.remove(&handed_on) {
                    break round;
                }
                let round = finished.recv().map_err(|_| GpuError::Panic)??;
                early.insert(round.number, round);
            };
            self.report.calling[1] += start.elapsed().as_secs_f64();
            handed_on += 1;
            if !self.hand_on::<T>(round, sink)? {
                return Ok(());
            }
        }
    }

    /// Puts the files of a batch into the queue; without memory for all, those that are left come back to `pending`.
    fn start<T: Element>(
        &mut self,
        mut files: Vec<B>,
        pending: &mut VecDeque<Vec<B>>,
    ) -> Result<(), GpuError> {
        let bytes = self.cuda.preprocessor.len() * size_of::<T>();
        let mut routed: Vec<(Route, usize)> = files
            .iter()
            .map(|file| self.cuda.route(file.as_ref()))
            .collect();
        let mut slot = self.slot()?;
        loop {
            let mut offset = 0;
            for (route, room) in &mut routed {
                if let Route::Pixels { offset: place, .. } = route {
                    *place = offset;
                    offset += room.next_multiple_of(ALIGNMENT);
                }
            }
            // A table has a word for each source pixel at most, and some for each target pixel; two for each image.
            let size = self.cuda.preprocessor.spec().size;
            let made = (size.width + size.height) as usize;
            let tables: usize = routed
                .iter()
                .map(|(route, _)| match route {
                    Route::Pixels { size, .. } => {
                        4 * (made * 16 + 16 * (size.width + size.height) as usize + 64)
                    }
                    Route::Values => 0,
                })
                .sum();
            let reserved = if offset > MOST_PIXELS && routed.len() > 1 {
                Err(Error::Memory { bytes: offset })
            } else {
                slot.pixels
                    .reserve(offset)
                    .and_then(|()| slot.out.reserve(bytes * routed.len()))
                    .and_then(|()| slot.tables.reserve(tables + (4 << 10) + 40 * routed.len()))
            };
            match reserved {
                Ok(()) => break,
                Err(Error::Memory { .. }) if routed.len() > 1 => {
                    let half = routed.len() / 2;
                    routed.truncate(half);
                    pending.push_front(files.split_off(half));
                    self.report.halved += 1;
                }
                Err(Error::Memory { .. }) if routed[0].0 != Route::Values => {
                    // The host needs no room for the pixels.
                    routed[0] = (Route::Values, 0);
                    self.report.halved += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let round = Arc::new(Round {
            number: self.round,
            first: self.first,
            outcomes: files.iter().map(|_| Mutex::new(None)).collect(),
            left: AtomicUsize::new(files.len()),
            used: (0..self.workers).map(|_| AtomicBool::new(false)).collect(),
            routes: routed.iter().map(|(route, _)| *route).collect(),
            files,
            slot,
        });
        self.round += 1;
        self.first += round.files.len();
        self.queue.push((0..round.files.len()).map(|index| Item {
            card: matches!(round.routes[index], Route::Pixels { card: true, .. }),
            round: Arc::clone(&round),
            index,
        }));
        Ok(())
    }

    fn slot(&mut self) -> Result<Slot, GpuError> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        let mut kept = self
            .cuda
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = kept.pop_if(|slot| slot.marks.len() == self.workers) {
            return Ok(slot);
        }
        self.slots += 1;
        Slot::new(&self.cuda.card, self.workers)
    }

    /// Waits for a round and hands it to `sink`.
    fn hand_on<T: Element>(
        &mut self,
        round: Arc<Round<B>>,
        sink: &mut impl FnMut(Batch<'_>) -> Result<bool, GpuError>,
    ) -> Result<bool, GpuError> {
        round.slot.done.wait()?;
        // The worker that finished the round lets go of it a moment later.
        let mut round = round;
        let round = loop {
            match Arc::try_unwrap(round) {
                Ok(round) => break round,
                Err(shared) => {
                    round = shared;
                    std::thread::yield_now();
                }
            }
        };
        let outcomes: Vec<Result<(), PrepareError>> = round
            .outcomes
            .into_iter()
            .map(|outcome| {
                let made = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
                made.expect("every file of a finished round is done")
                    .map(|_| ())
            })
            .collect();
        self.report.broken += outcomes.iter().filter(|outcome| outcome.is_err()).count();
        self.report.images += outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let goes_on = sink(Batch {
            first: round.first,
            bytes: outcomes.len() * self.cuda.preprocessor.len() * size_of::<T>(),
            outcomes,
            out: &round.slot.out,
            stream: &round.slot.stream,
        });
        self.report.batches += 1;
        self.free.push(round.slot);
        goes_on
    }
}
