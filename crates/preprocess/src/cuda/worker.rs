//! What a thread does with the files of the queue.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sightline_core::image_spec::Size;
use sightline_cuda::layout::row_bytes;
use sightline_cuda::nvjpeg::{Hardware, Hybrid, Nvjpeg, Target};
use sightline_cuda::{Card, CudaStream, Marker, PinnedBuffer, upload};
use sightline_imaging::{Channels, Pixels};

use super::Decode;
use super::pipeline::{GpuError, Shared, Slot};
use super::sizes::Sized;
use crate::{Element, PrepareError, Workspace};

/// The card's engines, in the queue's books.
pub(super) const ENGINES: usize = 0;
/// The host's threads.
pub(super) const THREADS: usize = 1;

/// Files that are prepared together.
#[derive(Debug)]
pub(super) struct Round<B> {
    pub(super) files: Vec<B>,
    /// What is known of each before it is decoded.
    pub(super) routes: Vec<Route>,
    /// Number of the round, and of its first file.
    pub(super) number: usize,
    pub(super) first: usize,
    pub(super) outcomes: Vec<Mutex<Option<Result<Made, PrepareError>>>>,
    /// Files that are not done.
    pub(super) left: AtomicUsize,
    pub(super) slot: Slot,
    /// Workers whose streams hold work for the round.
    pub(super) used: Vec<AtomicBool>,
}

/// Where a file can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Its pixels have room in the card's memory, from `offset` on.
    Pixels {
        offset: usize,
        size: Size,
        /// Whether the card may decode it.
        card: bool,
    },
    /// The host makes its values.
    Values,
}

/// What has been made of a file; the work may still be on a stream.
#[derive(Debug)]
pub(super) enum Made {
    /// Pixels: all, or those that are read.
    Pixels {
        sized: Arc<Sized>,
        source: u64,
        stride: u32,
        whole: bool,
    },
    /// Values in their place.
    Values,
}

/// One file of a round.
#[derive(Debug)]
pub(super) struct Item<B> {
    pub(super) round: Arc<Round<B>>,
    pub(super) index: usize,
    /// Whether the card may decode it.
    pub(super) card: bool,
}

impl<B: AsRef<[u8]>> Item<B> {
    fn bytes(&self) -> &[u8] {
        self.round.files[self.index].as_ref()
    }

    /// Size of the picture, if its pixels go to the card.
    pub(super) fn size(&self) -> Option<Size> {
        match self.round.routes[self.index] {
            Route::Pixels { size, .. } => Some(size),
            Route::Values => None,
        }
    }

    /// Where the whole picture goes, and its size.
    fn target(&self) -> Option<(Target, Size)> {
        match self.round.routes[self.index] {
            Route::Pixels { offset, size, .. } => Some((
                Target {
                    address: self.round.slot.pixels_at(offset),
                    stride: row_bytes(size.width),
                },
                size,
            )),
            Route::Values => None,
        }
    }
}

/// How many files each way took.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) engines: AtomicUsize,
    pub(super) multiprocessors: AtomicUsize,
    pub(super) threads: AtomicUsize,
    pub(super) values: AtomicUsize,
    pub(super) refused: AtomicUsize,
    pub(super) engine_stages: Stages,
}

/// Where the time of threads that feed the engines goes, in nanoseconds, all together.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// Nothing waits that they could take.
    pub(super) waiting: AtomicU64,
    /// Files are parsed and handed to the engines.
    pub(super) submitting: AtomicU64,
    /// The engines decode.
    pub(super) decoding: AtomicU64,
    /// What is done is noted; the last of a batch starts its kernel.
    pub(super) noting: AtomicU64,
}

/// Adds the time since `since` to a stage, which ends now.
fn passed(stage: &AtomicU64, since: &mut Instant) {
    let now = Instant::now();
    stage.fetch_add((now - *since).as_nanos() as u64, Ordering::Relaxed);
    *since = now;
}

/// Notes what became of a file. Work for it may still be on the stream of the worker of that number.
fn done<T: Element, B: AsRef<[u8]> + Send + Sync>(
    shared: &Shared<'_, B>,
    waiting: Option<(usize, &CudaStream)>,
    item: &Item<B>,
    outcome: Result<Made, PrepareError>,
) -> Result<(), GpuError> {
    let round = &item.round;
    *round.outcomes[item.index]
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    if let Some((number, stream)) = waiting {
        round.slot.mark(number, stream)?;
        round.used[number].store(true, Ordering::Release);
    }
    if round.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        shared.finish::<T>(round)?;
    }
    Ok(())
}

/// What a thread that feeds the card's engines keeps from run to run.
#[derive(Debug)]
pub(super) struct Engines {
    hardware: Hardware,
    stream: Arc<CudaStream>,
    finished: Marker,
}

impl Engines {
    pub(super) fn new(card: &Card, nvjpeg: &Arc<Nvjpeg>) -> Result<Self, GpuError> {
        Ok(Self {
            hardware: Hardware::new(nvjpeg)?,
            stream: card.stream()?,
            finished: Marker::new(card.context())?,
        })
    }

    /// Feeds the engines until the queue ends.
    pub(super) fn work<T: Element, B: AsRef<[u8]> + Send + Sync>(
        &mut self,
        shared: &Shared<'_, B>,
    ) -> Result<(), GpuError> {
        shared.card.bind()?;
        let mut sizes = vec![shared.options.engine_batch.max(1)];
        while let Some(smaller) = sizes.last().map(|size| size / 4).filter(|&size| size > 0) {
            sizes.push(smaller);
        }
        let stages = &shared.counts.engine_stages;
        let mut since = Instant::now();
        while let Some(items) = shared.queue.take(ENGINES, &sizes, |item| item.card) {
            passed(&stages.waiting, &mut since);
            let start = since;
            let engines = &mut self.hardware;
            // Shapes for which the kernel has no room are the host's too.
            let is_known =
                |item: &Item<B>| engines.accepts(item.bytes()) && shared.fitting(item).is_some();
            let (known, unknown): (Vec<_>, Vec<_>) = items.into_iter().partition(is_known);
            shared.return_to_host(unknown);
            if known.is_empty() {
                continue;
            }
            let files: Vec<&[u8]> = known.iter().map(Item::bytes).collect();
            let targets: Vec<Target> = known
                .iter()
                .filter_map(Item::target)
                .map(|(target, _)| target)
                .collect();
            let stream = self.stream.cu_stream().cast();
            // SAFETY: the rounds keep files and memory until their work is done; each target has room for its picture.
            match unsafe { engines.decode(&files, &targets, stream) } {
                Ok(()) => {}
                Err(sightline_cuda::Error::Nvjpeg { status, .. }) if status.is_of_the_file() => {
                    // One of them is broken, which is not said; the host's threads find out.
                    shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                    // Whatever was begun writes no more once others decode to the same places.
                    self.finished.record(&self.stream)?;
                    self.finished.wait()?;
                    shared.return_to_host(known);
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            self.finished.record(&self.stream)?;
            passed(&stages.submitting, &mut since);
            self.finished.wait()?;
            passed(&stages.decoding, &mut since);
            let is_whole = known.len() == sizes[0];
            shared.queue.note(
                ENGINES,
                shared.engine_workers,
                known.len(),
                start.elapsed(),
                is_whole,
            );
            shared
                .counts
                .engines
                .fetch_add(known.len(), Ordering::Relaxed);
            for (item, target) in known.iter().zip(targets) {
                let Some(sized) = shared.fitting(item) else {
                    unreachable!("the host has those")
                };
                let made = Made::Pixels {
                    sized,
                    source: target.address,
                    stride: target.stride,
                    whole: true,
                };
                done::<T, B>(shared, None, item, Ok(made))?;
            }
            passed(&stages.noting, &mut since);
        }
        Ok(())
    }
}

/// How long a thread takes for a pixel, one way and the other.
#[derive(Debug, Default)]
struct Costs {
    /// Seconds a pixel by each way; 0 where nothing is known.
    seconds: [f64; WAYS],
    files: usize,
}

/// Ways in which a thread decodes.
const WAYS: usize = 3;
/// The thread by itself.
const ALONE: usize = 0;
/// The thread reads the codes, the card does the rest.
const WITH_CARD: usize = 1;
/// The card reads the codes too, which pays for large files.
const ON_CARD: usize = 2;

impl Costs {
    /// The fastest of `ways`; now and then another, to see whether that has changed.
    fn choose(&mut self, ways: &[usize]) -> usize {
        /// Every so many files another way is tried.
        const TRIAL: usize = 64;
        self.files += 1;
        let seconds = |way: &usize| self.seconds[*way];
        if let Some(&unknown) = ways.iter().find(|way| seconds(way) == 0.0) {
            return unknown;
        }
        if self.files.is_multiple_of(TRIAL) {
            return ways[self.files / TRIAL % ways.len()];
        }
        let fastest = ways.iter().min_by(|a, b| seconds(a).total_cmp(&seconds(b)));
        fastest.copied().unwrap_or(ALONE)
    }

    fn note(&mut self, way: usize, size: Size, start: Instant) {
        let pixels = f64::from(size.width) * f64::from(size.height);
        let seconds = start.elapsed().as_secs_f64() / pixels.max(1.0);
        let known = &mut self.seconds[way];
        *known = if *known == 0.0 {
            seconds
        } else {
            0.8 * *known + 0.2 * seconds
        };
    }
}

/// Two pieces of pinned memory: one is copied while the other is filled.
#[derive(Debug)]
struct Staging {
    buffers: [PinnedBuffer; 2],
    copied: [Marker; 2],
    next: usize,
}

impl Staging {
    fn new(card: &Card) -> Result<Self, GpuError> {
        Ok(Self {
            buffers: [
                PinnedBuffer::new(card.context()),
                PinnedBuffer::new(card.context()),
            ],
            copied: [Marker::new(card.context())?, Marker::new(card.context())?],
            next: 0,
        })
    }

    /// Bytes that `fill` writes, copied to an address of the card.
    fn upload(
        &mut self,
        bytes: usize,
        to: u64,
        stream: &CudaStream,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), GpuError> {
        let turn = self.next;
        self.copied[turn].wait()?;
        let staged = self.buffers[turn].bytes(bytes)?;
        fill(staged);
        // SAFETY: the bytes stay until the event, for which the next use waits; the round has room at the address.
        unsafe { upload(to, staged, stream)? };
        self.copied[turn].record(stream)?;
        self.next = 1 - turn;
        Ok(())
    }
}

/// What a thread that decodes keeps from run to run.
#[derive(Debug)]
pub(super) struct Thread {
    staging: Staging,
    workspace: Workspace,
    /// [`WITH_CARD`] and [`ON_CARD`].
    multiprocessors: Option<[Multiprocessors; 2]>,
    stream: Arc<CudaStream>,
    costs: Costs,
}

/// A decoder of the card's multiprocessors.
#[derive(Debug)]
struct Multiprocessors {
    hybrid: Hybrid,
    /// After the work of the last two files.
    marks: [Marker; 2],
    turn: usize,
}

impl Multiprocessors {
    fn new(card: &Card, hybrid: Hybrid) -> Result<Self, GpuError> {
        let context = card.context();
        Ok(Self {
            hybrid,
            marks: [Marker::new(context)?, Marker::new(context)?],
            turn: 0,
        })
    }

    /// Whether they took the file.
    fn decode<B: AsRef<[u8]>>(
        &mut self,
        item: &Item<B>,
        target: Target,
        stream: &CudaStream,
    ) -> Result<bool, GpuError> {
        let mark = &self.marks[self.turn];
        mark.wait()?;
        let on = stream.cu_stream().cast();
        // SAFETY: the round keeps file and memory until its work is done; the target has room for the picture; what the
        // last call but one did has just been waited for.
        match unsafe { self.hybrid.decode(item.bytes(), target, on) } {
            Ok(()) => {}
            Err(sightline_cuda::Error::Nvjpeg { status, .. }) if status.is_of_the_file() => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        mark.record(stream)?;
        self.turn = 1 - self.turn;
        Ok(true)
    }
}

impl Thread {
    pub(super) fn new(card: &Card, nvjpeg: Option<&Arc<Nvjpeg>>) -> Result<Self, GpuError> {
        Ok(Self {
            staging: Staging::new(card)?,
            workspace: Workspace::default(),
            multiprocessors: nvjpeg
                .map(|nvjpeg| {
                    Ok::<_, GpuError>([
                        Multiprocessors::new(card, Hybrid::new(nvjpeg)?)?,
                        Multiprocessors::new(card, Hybrid::on_card(nvjpeg)?)?,
                    ])
                })
                .transpose()?,
            stream: card.stream()?,
            costs: Costs::default(),
        })
    }

    /// Decodes files, alone or with the card's multiprocessors, until the queue ends.
    pub(super) fn work<T: Element, B: AsRef<[u8]> + Send + Sync>(
        &mut self,
        shared: &Shared<'_, B>,
        number: usize,
    ) -> Result<(), GpuError> {
        shared.card.bind()?;
        while let Some(items) = shared.queue.take(THREADS, &[1], |_| true) {
            for item in items {
                let start = Instant::now();
                let outcome = self.make::<T, B>(shared, &item)?;
                shared
                    .queue
                    .note(THREADS, shared.thread_workers, 1, start.elapsed(), true);
                done::<T, B>(shared, Some((number, &self.stream)), &item, outcome)?;
            }
        }
        Ok(())
    }

    fn make<T: Element, B: AsRef<[u8]> + Send + Sync>(
        &mut self,
        shared: &Shared<'_, B>,
        item: &Item<B>,
    ) -> Result<Result<Made, PrepareError>, GpuError> {
        let Some((target, size)) = item.target() else {
            shared.counts.values.fetch_add(1, Ordering::Relaxed);
            return self.values::<T, B>(shared, item);
        };
        let Some(sized) = shared.fitting(item) else {
            shared.counts.values.fetch_add(1, Ordering::Relaxed);
            return self.values::<T, B>(shared, item);
        };
        let ways: &[usize] = match (&self.multiprocessors, shared.options.decode) {
            _ if !item.card => &[ALONE],
            (None, _) => &[ALONE],
            (Some(_), Decode::Card) => &[WITH_CARD, ON_CARD],
            (Some(_), _) => &[ALONE, WITH_CARD, ON_CARD],
        };
        let way = self.costs.choose(ways);
        let start = Instant::now();
        if let Some(multiprocessors) = &mut self.multiprocessors
            && let Some(decoder) = way
                .checked_sub(WITH_CARD)
                .and_then(|number| multiprocessors.get_mut(number))
            && decoder.decode(item, target, &self.stream)?
        {
            self.costs.note(way, size, start);
            shared
                .counts
                .multiprocessors
                .fetch_add(1, Ordering::Relaxed);
            return Ok(Ok(Made::Pixels {
                sized,
                source: target.address,
                stride: target.stride,
                whole: true,
            }));
        }
        let start = Instant::now();
        let made = self.alone::<T, B>(shared, item, target, sized)?;
        self.costs.note(ALONE, size, start);
        shared.counts.threads.fetch_add(1, Ordering::Relaxed);
        Ok(made)
    }

    /// Decodes the pixels that are read.
    fn alone<T: Element, B: AsRef<[u8]> + Send + Sync>(
        &mut self,
        shared: &Shared<'_, B>,
        item: &Item<B>,
        target: Target,
        sized: Arc<Sized>,
    ) -> Result<Result<Made, PrepareError>, GpuError> {
        let preprocessor = shared.preprocessor;
        let decoded =
            self.workspace
                .decoder
                .decode_rgb_window(item.bytes(), &preprocessor.options, |_| sized.read);
        let pixels = match decoded {
            Ok(decoded) => decoded.pixels,
            Err(error) => return Ok(Err(error.into())),
        };
        if pixels.channels().has_alpha() {
            return self.values::<T, B>(shared, item);
        }
        let stride = row_bytes(sized.shift() + pixels.width());
        let bytes = stride as usize * pixels.height() as usize;
        self.staging
            .upload(bytes, target.address, &self.stream, |to| {
                copy_rows(&pixels, sized.shift() as usize, stride as usize, to);
            })?;
        self.workspace.decoder.recycle(pixels);
        Ok(Ok(Made::Pixels {
            sized,
            source: target.address,
            stride,
            whole: false,
        }))
    }

    /// Makes the values here.
    fn values<T: Element, B: AsRef<[u8]> + Send + Sync>(
        &mut self,
        shared: &Shared<'_, B>,
        item: &Item<B>,
    ) -> Result<Result<Made, PrepareError>, GpuError> {
        let preprocessor = shared.preprocessor;
        let mut values = vec![T::default(); preprocessor.len()];
        let made = preprocessor.prepare_into(item.bytes(), &mut self.workspace, &mut values);
        if let Err(error) = made {
            return Ok(Err(error));
        }
        let mut bytes = Vec::new();
        T::write_le(&values, &mut bytes);
        let to = item.round.slot.out_at(item.index * bytes.len());
        self.staging
            .upload(bytes.len(), to, &self.stream, |staged| {
                staged.copy_from_slice(&bytes);
            })?;
        Ok(Ok(Made::Values))
    }
}

/// Rows of pixels, as RGB, each `before` pixels behind the start of `stride` bytes.
fn copy_rows(pixels: &Pixels, before: usize, stride: usize, to: &mut [u8]) {
    let width = pixels.width() as usize;
    let channels = pixels.channels();
    let rows = pixels.data().chunks_exact(width * channels.count());
    for (row, to) in rows.zip(to.chunks_exact_mut(stride)) {
        let to = &mut to[3 * before..][..3 * width];
        if channels == Channels::Rgb {
            to.copy_from_slice(row);
        } else {
            for (grey, to) in row.iter().zip(to.as_chunks_mut::<3>().0) {
                *to = [*grey; 3];
            }
        }
    }
}
