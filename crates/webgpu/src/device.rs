//! A GPU that is ready to work: pipelines, memory, and batches one after the other.

use std::fmt;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};

use wgpu::{
    BindGroupDescriptor, BindGroupEntry, BindGroupLayout, BindGroupLayoutDescriptor,
    BindGroupLayoutEntry, BindingResource, BindingType, Buffer, BufferAsyncError, BufferBinding,
    BufferBindingType, BufferSize, CommandEncoderDescriptor, ComputePassDescriptor,
    ComputePipeline, ComputePipelineDescriptor, DeviceDescriptor, MapMode,
    PipelineCompilationOptions, PipelineLayoutDescriptor, PollType, ShaderModuleDescriptor,
    ShaderSource, ShaderStages,
};

use crate::adapter::{Adapter, choose};
use crate::block_on::block_on;
use crate::buffers::{Buffers, Room, Use};
use crate::error::Trouble;
use crate::job::{Job, Tensors};
use crate::pack::{Needs, Packed, grid};
use crate::{Error, JobError};

/// The kernel counts bytes and words with 32 bits.
const LONGEST: u64 = 1 << 31;

/// The passes of the kernel, in their order.
const PASSES: [&str; 3] = ["first", "second", "values"];

/// How much a device may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the GPU's memory, at most; what is beyond counts as out of memory. `None`: what the driver gives.
    pub memory_bytes: Option<u64>,
    /// Bytes of the GPU's memory that images of one submission share; one that needs more is submitted alone.
    pub submission_bytes: u64,
}

impl Default for Options {
    /// What the driver gives, 512 MiB a submission: more makes none faster.
    fn default() -> Self {
        Self {
            memory_bytes: None,
            submission_bytes: 512 << 20,
        }
    }
}

/// What a device has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Images that became tensors.
    pub images: u64,
    /// Times that work was handed over.
    pub submissions: u64,
    /// Times that memory was short and a batch was halved.
    pub halvings: u64,
    /// Bytes of the GPU's memory that are kept.
    pub memory_bytes: u64,
}

/// A GPU with the kernel and the memory of the last batches. Results do not depend on what it did before.
pub struct Device {
    adapter: Adapter,
    gpu: wgpu::Device,
    queue: wgpu::Queue,
    layout: BindGroupLayout,
    passes: [ComputePipeline; 3],
    buffers: Buffers,
    packed: Packed,
    room: Room,
    /// Workgroups in a dimension.
    most_groups: u32,
    /// Bytes that images share; halved where memory was short.
    shared_bytes: u64,
    statistics: Statistics,
    trouble: Arc<Slot>,
}

/// The worst that was reported since it was last asked for.
#[derive(Debug, Default)]
struct Slot(Mutex<Option<Trouble>>);

impl Slot {
    fn put(&self, trouble: Trouble) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes after the first is its consequence, but for the loss of the device, which may be its cause.
        if slot.is_none() || matches!(trouble, Trouble::Lost(_)) {
            *slot = Some(trouble);
        }
    }

    fn check(&self) -> Result<(), Trouble> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            // A lost device stays lost.
            Some(trouble @ Trouble::Lost(_)) => Err(trouble.clone()),
            _ => slot.take().map_or(Ok(()), Err),
        }
    }
}

impl Device {
    /// Makes the GPU that [`adapters`](crate::adapters) counts as `index` ready.
    pub fn open(index: usize, options: Options) -> Result<Self, Error> {
        let chosen = choose(index)?;
        let adapter = Adapter::of(&chosen);
        let limits = chosen.limits();
        let request = chosen.request_device(&DeviceDescriptor {
            required_limits: limits.clone(),
            ..DeviceDescriptor::default()
        });
        let (device, queue) = block_on(request).map_err(|error| Error::Refused {
            adapter: adapter.name.clone(),
            reason: error.to_string(),
        })?;
        let trouble = Arc::new(Slot::default());
        let slot = Arc::clone(&trouble);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            slot.put(match error {
                wgpu::Error::OutOfMemory { .. } => Trouble::OutOfMemory,
                error => Trouble::Refused(error.to_string()),
            });
        }));
        let slot = Arc::clone(&trouble);
        device.set_device_lost_callback(move |_, reason| slot.put(Trouble::Lost(reason)));
        let (layout, passes) = pipelines(&device);
        let each = limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size)
            .min(LONGEST);
        let opened = Self {
            adapter,
            gpu: device,
            queue,
            layout,
            passes,
            buffers: Buffers::default(),
            packed: Packed::default(),
            room: Room {
                each: each - each % 4,
                all: options.memory_bytes,
            },
            most_groups: limits.max_compute_workgroups_per_dimension,
            shared_bytes: options.submission_bytes,
            statistics: Statistics::default(),
            trouble,
        };
        match opened.trouble.check() {
            Ok(()) => Ok(opened),
            Err(trouble) => Err(opened.error(trouble)),
        }
    }

    /// The GPU.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            memory_bytes: self.buffers.bytes(),
            ..self.statistics
        }
    }

    /// Turns every job into a tensor and calls `sink` with its place in `jobs` and the bytes of its tensor in the
    /// machine's order, once each, in any order. Where memory is short, the batch is halved and so are those after it; a
    /// job that is wrong or too large alone is an error of its own. After an error of the device some jobs have not been
    /// handed to `sink`.
    pub fn run(
        &mut self,
        tensors: &Tensors<'_>,
        jobs: &[Job<'_>],
        mut sink: impl FnMut(usize, Result<&[u8], JobError>),
    ) -> Result<(), Error> {
        let mut good = Vec::with_capacity(jobs.len());
        for (place, job) in jobs.iter().enumerate() {
            match self.check(tensors, job) {
                Ok(needs) => good.push((place, job, needs)),
                Err(error) => sink(place, Err(error)),
            }
        }
        let mut rest = good.as_slice();
        while !rest.is_empty() {
            let count = self.fitting(rest);
            let (now, later) = rest.split_at(count);
            let is_fresh = self.buffers.bytes() == 0;
            let read = |tensor: usize, bytes: &[u8]| sink(now[tensor].0, Ok(bytes));
            match self.submit(tensors, now.iter().map(|&(_, job, _)| job), read) {
                Ok(()) => {
                    self.statistics.images += count as u64;
                    rest = later;
                }
                Err(Trouble::OutOfMemory) => {
                    self.buffers = Buffers::default();
                    // Gives back what the driver still holds for work that is done.
                    let _ = self.gpu.poll(PollType::wait_indefinitely());
                    if !is_fresh {
                        // Buffers of earlier batches, larger than this one's, have taken the memory.
                        continue;
                    }
                    if count == 1 {
                        sink(now[0].0, Err(JobError::OutOfMemory));
                        rest = later;
                    } else {
                        self.statistics.halvings += 1;
                        self.shared_bytes = together(now).total() / 2;
                    }
                }
                Err(trouble) => return Err(self.error(trouble)),
            }
        }
        Ok(())
    }

    /// What a job needs, if it can be done at all.
    fn check(&self, tensors: &Tensors<'_>, job: &Job<'_>) -> Result<Needs, JobError> {
        job.check(tensors)?;
        let needs = Needs::of(job, tensors);
        let (what, bytes) = Needs::fixed().plus(needs).longest();
        let limit = self.room.each;
        if bytes > limit {
            return Err(JobError::TooLarge { what, bytes, limit });
        }
        Ok(needs)
    }

    /// How many of the first jobs share a submission: one at least.
    fn fitting(&self, jobs: &[(usize, &Job<'_>, Needs)]) -> usize {
        let mut sum = Needs::fixed();
        let within = jobs.iter().take_while(|&&(_, _, needs)| {
            sum = sum.plus(needs);
            sum.total() <= self.shared_bytes && sum.longest().1 <= self.room.each
        });
        within.count().max(1)
    }

    /// Does jobs whose needs are within the limits; `read` gets each one's tensor.
    fn submit<'a>(
        &mut self,
        tensors: &Tensors<'_>,
        jobs: impl Iterator<Item = &'a Job<'a>> + Clone,
        mut read: impl FnMut(usize, &[u8]),
    ) -> Result<(), Trouble> {
        self.packed.pack(tensors, jobs.clone());
        self.buffers
            .grow(&self.gpu, &self.packed.needs, self.room)?;
        self.trouble.check()?;
        self.upload(jobs)?;

        let entries: Vec<_> = self.bindings().collect();
        let bindings = self.gpu.create_bind_group(&BindGroupDescriptor {
            label: None,
            layout: &self.layout,
            entries: &entries,
        });
        let mut encoder = self
            .gpu
            .create_command_encoder(&CommandEncoderDescriptor::default());
        let buffer = |at| self.buffers.of(at);
        let bytes = self.packed.sections[3].end;
        encoder.copy_buffer_to_buffer(buffer(Use::Upload), 0, buffer(Use::Input), 0, bytes);
        {
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            pass.set_bind_group(0, &bindings, &[]);
            for (pipeline, groups) in self.passes.iter().zip(self.packed.groups) {
                let (x, y) = grid(groups, self.most_groups);
                pass.set_pipeline(pipeline);
                pass.dispatch_workgroups(x, y, 1);
            }
        }
        let bytes = self.packed.needs.tensors;
        encoder.copy_buffer_to_buffer(buffer(Use::Tensors), 0, buffer(Use::Download), 0, bytes);
        self.queue.submit([encoder.finish()]);
        self.statistics.submissions += 1;

        let download = buffer(Use::Download);
        self.map(download, MapMode::Read, bytes)?;
        let view = download.get_mapped_range(..bytes).map_err(refused)?;
        let tensor_bytes = tensors.bytes() as usize;
        for (place, tensor) in view.chunks_exact(tensor_bytes).enumerate() {
            read(place, tensor);
        }
        drop(view);
        download.unmap();
        self.trouble.check()
    }

    /// Writes the input where the GPU can copy it from.
    fn upload<'a>(&self, jobs: impl Iterator<Item = &'a Job<'a>>) -> Result<(), Trouble> {
        let upload = self.buffers.of(Use::Upload);
        let len = self.packed.sections[3].end;
        self.map(upload, MapMode::Write, len)?;
        let mut view = upload.get_mapped_range_mut(..len).map_err(refused)?;
        view.slice(..self.packed.head.len())
            .copy_from_slice(&self.packed.head);
        for (job, &start) in jobs.zip(&self.packed.pixels) {
            let start = start as usize;
            view.slice(start..start + job.pixels.len())
                .copy_from_slice(job.pixels);
        }
        drop(view);
        upload.unmap();
        Ok(())
    }

    /// Waits until the host may use the first `bytes` of a buffer.
    fn map(&self, buffer: &Buffer, mode: MapMode, bytes: u64) -> Result<(), Trouble> {
        let (sender, mapped): (_, Receiver<Result<(), BufferAsyncError>>) = channel();
        buffer.map_async(mode, ..bytes, move |result| {
            // Nobody waits any more if the device was lost.
            let _ = sender.send(result);
        });
        let polled = self.gpu.poll(PollType::wait_indefinitely());
        self.trouble.check()?;
        polled.map_err(refused)?;
        match mapped.try_recv() {
            Ok(result) => result.map_err(refused),
            Err(_) => Err(Trouble::Lost("it has not finished its work".to_owned())),
        }
    }

    /// The sections of the input, then the other buffers, as the kernel numbers them.
    fn bindings(&self) -> impl Iterator<Item = BindGroupEntry<'_>> {
        let input = self.buffers.of(Use::Input);
        let sections = self.packed.sections.iter().map(move |section| {
            BindingResource::Buffer(BufferBinding {
                buffer: input,
                offset: section.start,
                size: BufferSize::new(section.end - section.start),
            })
        });
        let needs = &self.packed.needs;
        let others = [
            (Use::Between, needs.between),
            (Use::Resized, needs.resized),
            (Use::Tensors, needs.tensors),
        ];
        let others = others.map(|(at, bytes)| {
            BindingResource::Buffer(BufferBinding {
                buffer: self.buffers.of(at),
                offset: 0,
                size: BufferSize::new(bytes.max(4)),
            })
        });
        (0..)
            .zip(sections.chain(others))
            .map(|(binding, resource)| BindGroupEntry { binding, resource })
    }

    fn error(&self, trouble: Trouble) -> Error {
        let adapter = self.adapter.name.clone();
        match trouble {
            Trouble::Lost(reason) => Error::Lost { adapter, reason },
            Trouble::Refused(reason) => Error::Refused { adapter, reason },
            Trouble::OutOfMemory => Error::Refused {
                adapter,
                reason: "out of memory".to_owned(),
            },
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("adapter", &self.adapter)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}

/// The bytes that jobs need together.
fn together(jobs: &[(usize, &Job<'_>, Needs)]) -> Needs {
    jobs.iter()
        .fold(Needs::fixed(), |sum, &(_, _, needs)| sum.plus(needs))
}

fn refused(error: impl fmt::Display) -> Trouble {
    Trouble::Refused(error.to_string())
}

#[cfg(test)]
impl Device {
    /// Gives the GPU up, as a driver does that was reset.
    pub(crate) fn lose(&self) {
        self.gpu.destroy();
    }
}

/// What the kernel binds, and its passes.
fn pipelines(device: &wgpu::Device) -> (BindGroupLayout, [ComputePipeline; 3]) {
    let module = device.create_shader_module(ShaderModuleDescriptor {
        label: Some("kernel.wgsl"),
        source: ShaderSource::Wgsl(include_str!("kernel.wgsl").into()),
    });
    let entries: Vec<_> = (0..7)
        .map(|binding| BindGroupLayoutEntry {
            binding,
            visibility: ShaderStages::COMPUTE,
            ty: BindingType::Buffer {
                ty: BufferBindingType::Storage {
                    read_only: binding < 4,
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    let layout = device.create_bind_group_layout(&BindGroupLayoutDescriptor {
        label: None,
        entries: &entries,
    });
    let pipeline_layout = device.create_pipeline_layout(&PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let passes = PASSES.map(|entry| {
        device.create_compute_pipeline(&ComputePipelineDescriptor {
            label: Some(entry),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(entry),
            compilation_options: PipelineCompilationOptions::default(),
            cache: None,
        })
    });
    (layout, passes)
}

#[cfg(test)]
mod on_a_gpu {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use sightline_core::image_spec::{Layout, Size};
    use sightline_testkit as testkit;

    use super::*;
    use crate::{Channels, Table, Taps};

    /// A job with what it borrows.
    #[derive(Clone, Debug)]
    struct Owned {
        pixels: Vec<u8>,
        channels: Channels,
        size: Size,
        across: Taps,
        down: Taps,
        vertical_first: bool,
        place: (u32, u32),
    }

    impl Owned {
        fn job(&self) -> Job<'_> {
            Job {
                pixels: &self.pixels,
                channels: self.channels,
                size: self.size,
                across: &self.across,
                down: &self.down,
                vertical_first: self.vertical_first,
                place: self.place,
            }
        }

        /// The resized image, RGB, as the documentation of [`Taps`] says it.
        fn resized(&self) -> Vec<[u8; 3]> {
            let rgb = |i: usize| match self.channels {
                Channels::Grey => [self.pixels[i]; 3],
                Channels::Rgb => std::array::from_fn(|c| self.pixels[3 * i + c]),
            };
            let source: Vec<_> = (0..(self.size.width * self.size.height) as usize)
                .map(rgb)
                .collect();
            let (width, columns) = (self.size.width as usize, self.across.spans.len());
            if self.vertical_first {
                across(&self.across, &down(&self.down, &source, width), width)
            } else {
                down(&self.down, &across(&self.across, &source, width), columns)
            }
        }
    }

    fn across(taps: &Taps, source: &[[u8; 3]], width: usize) -> Vec<[u8; 3]> {
        let rows = source.chunks(width);
        rows.flat_map(|row| {
            (0..taps.spans.len()).map(|x| {
                let first = taps.spans[x].0 as usize;
                sum(taps, x, |k| row[first + k])
            })
        })
        .collect()
    }

    fn down(taps: &Taps, source: &[[u8; 3]], width: usize) -> Vec<[u8; 3]> {
        (0..taps.spans.len() * width)
            .map(|i| {
                let first = taps.spans[i / width].0 as usize;
                sum(taps, i / width, |k| source[(first + k) * width + i % width])
            })
            .collect()
    }

    fn sum(taps: &Taps, target: usize, at: impl Fn(usize) -> [u8; 3]) -> [u8; 3] {
        std::array::from_fn(|c| {
            let mut sum = 1i32 << (taps.bits - 1);
            for (k, weight) in taps.of(target).iter().enumerate() {
                sum = sum.wrapping_add(i32::from(at(k)[c]).wrapping_mul(*weight));
            }
            (sum >> taps.bits).clamp(0, 255) as u8
        })
    }

    /// The tensor of a job in the machine's order of bytes.
    fn expected(tensors: &Tensors<'_>, job: &Owned) -> Vec<u8> {
        let resized = job.resized();
        let Size { width, height } = tensors.size;
        let (columns, rows) = (job.across.spans.len() as u32, job.down.spans.len() as u32);
        let value = |c: usize, x: u32, y: u32| {
            let inside = x.checked_sub(job.place.0).zip(y.checked_sub(job.place.1));
            let colour = inside
                .filter(|&(x, y)| x < columns && y < rows)
                .map_or(tensors.fill, |(x, y)| resized[(y * columns + x) as usize]);
            match tensors.table {
                Table::Bits32(table) => table[c][usize::from(colour[c])].to_ne_bytes().to_vec(),
                Table::Bits16(table) => table[c][usize::from(colour[c])].to_ne_bytes().to_vec(),
            }
        };
        let len = width * height;
        (0..3 * len)
            .flat_map(|i| match tensors.layout {
                Layout::Nchw => value((i / len) as usize, i % len % width, i % len / width),
                Layout::Nhwc => value((i % 3) as usize, i / 3 % width, i / 3 / width),
            })
            .collect()
    }

    /// A device with little memory for a submission, so that batches are split; `None` where there is no GPU.
    fn open(options: Options) -> Option<Device> {
        let opened = Device::open(0, options);
        testkit::gpu::device(opened, Error::is_missing, "SIGHTLINE_REQUIRE_WEBGPU")
    }

    static DEVICE: LazyLock<Option<Mutex<Device>>> = LazyLock::new(|| {
        open(Options {
            submission_bytes: 40_000,
            ..Options::default()
        })
        .map(Mutex::new)
    });

    fn all(
        device: &mut Device,
        tensors: &Tensors<'_>,
        jobs: &[Owned],
    ) -> Vec<Option<Result<Vec<u8>, JobError>>> {
        let jobs: Vec<_> = jobs.iter().map(Owned::job).collect();
        let mut made = vec![None; jobs.len()];
        device
            .run(tensors, &jobs, |place, tensor| {
                assert!(made[place].is_none(), "{place} twice");
                made[place] = Some(tensor.map(<[u8]>::to_vec));
            })
            .unwrap();
        made
    }

    fn taps(targets: u32, source: u32) -> impl Strategy<Value = Taps> {
        let most = source.min(9);
        let spans = prop::collection::vec((0..source, 0..=most), targets as usize);
        let spans = spans.prop_map(move |spans| {
            let clip = |(first, count): (u32, u32)| (first, count.min(source - first));
            spans.into_iter().map(clip).collect::<Vec<_>>()
        });
        // Weights that make colours, and some that overflow.
        let weight = prop_oneof![9 => -200..400i32, 1 => any::<i32>()];
        let weights = prop::collection::vec(weight, (targets * most) as usize);
        (spans, weights, prop_oneof![3 => 8u32..=11, 1 => 1u32..=30]).prop_map(
            move |(spans, weights, bits)| Taps {
                spans,
                stride: most as usize,
                weights,
                bits,
            },
        )
    }

    fn job(within: Size) -> impl Strategy<Value = Owned> {
        let size = (1u32..40, 1u32..40);
        let part = |side: u32| (0..side).prop_flat_map(move |at| (Just(at), 1..=side - at));
        let channels = prop_oneof![Just(Channels::Grey), Just(Channels::Rgb)];
        (size, part(within.width), part(within.height), channels).prop_flat_map(
            |((width, height), (left, columns), (top, rows), channels)| {
                let len = (width * height * channels.count()) as usize;
                (
                    prop::collection::vec(any::<u8>(), len),
                    taps(columns, width),
                    taps(rows, height),
                    any::<bool>(),
                )
                    .prop_map(move |(pixels, across, down, vertical_first)| {
                        Owned {
                            pixels,
                            channels,
                            size: Size { width, height },
                            across,
                            down,
                            vertical_first,
                            place: (left, top),
                        }
                    })
            },
        )
    }

    /// A table in which no two bytes are alike.
    fn table(is_half: bool, seed: u32) -> Table {
        let bits = move |c: usize, v: usize| {
            (seed | 1)
                .wrapping_mul((c * 256 + v) as u32)
                .wrapping_add(seed)
        };
        if is_half {
            Table::Bits16(Box::new(std::array::from_fn(|c| {
                std::array::from_fn(|v| bits(c, v) as u16)
            })))
        } else {
            Table::Bits32(Box::new(std::array::from_fn(|c| {
                std::array::from_fn(|v| bits(c, v))
            })))
        }
    }

    fn batch() -> impl Strategy<Value = (Size, Vec<Owned>)> {
        (1u32..24, 1u32..24).prop_flat_map(|(width, height)| {
            let size = Size { width, height };
            (Just(size), prop::collection::vec(job(size), 1..6))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn tensors_are_those_of_the_cpu_bit_for_bit(
            (size, jobs) in batch(), is_last: bool, is_half: bool, fill: [u8; 3], seed: u32,
        ) {
            let Some(device) = &*DEVICE else { return Ok(()) };
            let mut device = device.lock().unwrap();
            let table = table(is_half, seed);
            let layout = if is_last { Layout::Nhwc } else { Layout::Nchw };
            let tensors = Tensors { size, layout, fill, table: &table };
            for (made, job) in all(&mut device, &tensors, &jobs).iter().zip(&jobs) {
                prop_assert!(*made == Some(Ok(expected(&tensors, job))));
            }
        }
    }

    /// Each target pixel is one of the source.
    fn copied(width: u32, height: u32) -> Owned {
        let single = |side: u32| Taps {
            spans: (0..side).map(|at| (at, 1)).collect(),
            stride: 1,
            weights: vec![1 << 22; side as usize],
            bits: 22,
        };
        Owned {
            pixels: (0..3 * width * height)
                .map(|i| (i * 31 % 253) as u8)
                .collect(),
            channels: Channels::Rgb,
            size: Size { width, height },
            across: single(width),
            down: single(height),
            vertical_first: false,
            place: (0, 0),
        }
    }

    fn square(side: u32, table: &Table) -> Tensors<'_> {
        Tensors {
            size: Size {
                width: side,
                height: side,
            },
            layout: Layout::Nchw,
            fill: [9, 8, 7],
            table,
        }
    }

    #[test]
    fn short_memory_halves_the_batch_and_all_images_are_there() {
        let table = table(false, 5);
        let tensors = square(64, &table);
        let jobs: Vec<Owned> = (30..46).map(|side| copied(side, side)).collect();
        let memory_bytes = Some(600_000);
        let Some(mut device) = open(Options {
            memory_bytes,
            ..Options::default()
        }) else {
            return;
        };
        for (made, job) in all(&mut device, &tensors, &jobs).iter().zip(&jobs) {
            assert!(*made == Some(Ok(expected(&tensors, job))));
        }
        let first = device.statistics();
        assert!(first.halvings > 0 && first.submissions > 1, "{first:?}");
        assert!(Some(first.memory_bytes) <= memory_bytes, "{first:?}");
        assert_eq!(first.images, 16);
        // The next batch knows.
        all(&mut device, &tensors, &jobs);
        assert_eq!(device.statistics().halvings, first.halvings);
        assert_eq!(device.statistics().memory_bytes, first.memory_bytes);
    }

    #[test]
    fn an_image_that_is_too_large_is_an_error_of_its_own() {
        let table = table(true, 5);
        let tensors = square(64, &table);
        let mut jobs = vec![copied(20, 20), copied(60, 60), copied(21, 20), copied(9, 9)];
        jobs[3].place = (60, 0);
        let large = copied(100, 100);
        (jobs[1].pixels, jobs[1].size) = (large.pixels, large.size);
        let check = |mut device: Device, wrong: fn(&JobError) -> bool| {
            let made = all(&mut device, &tensors, &jobs);
            for at in [0, 2] {
                assert!(made[at] == Some(Ok(expected(&tensors, &jobs[at]))), "{at}");
            }
            let error = |at: usize| made[at].as_ref().unwrap().as_ref().unwrap_err();
            assert!(wrong(error(1)), "{}", error(1));
            assert_eq!(error(3).class(), "malformed-job");
        };
        // Memory ends.
        if let Some(device) = open(Options {
            memory_bytes: Some(140_000),
            ..Options::default()
        }) {
            check(device, |e| *e == JobError::OutOfMemory);
        }
        // The driver's limit is lower than one buffer.
        if let Some(mut device) = open(Options::default()) {
            device.room.each = 26_000;
            check(device, |e| {
                matches!(e, JobError::TooLarge { limit: 26_000, .. })
            });
        }
    }

    #[test]
    fn more_workgroups_than_a_dimension_has_are_done() {
        let table = table(false, 77);
        let tensors = square(64, &table);
        let jobs = [copied(33, 64), copied(64, 50), copied(64, 64)];
        let Some(mut device) = open(Options::default()) else {
            return;
        };
        device.most_groups = 7;
        for (made, job) in all(&mut device, &tensors, &jobs).iter().zip(&jobs) {
            assert!(*made == Some(Ok(expected(&tensors, job))));
        }
    }

    #[test]
    fn a_lost_device_is_named_and_stays_lost() {
        let table = table(false, 1);
        let (tensors, owned) = (square(8, &table), copied(8, 8));
        let Some(mut device) = open(Options::default()) else {
            return;
        };
        device
            .run(&tensors, &[owned.job()], |_, tensor| {
                assert!(tensor.is_ok());
            })
            .unwrap();
        device.lose();
        for _ in 0..2 {
            let error = device.run(&tensors, &[owned.job()], |_, _| panic!("no tensor is made"));
            assert!(matches!(error, Err(Error::Lost { .. })), "{error:?}");
        }
    }

    #[test]
    fn a_gpu_that_is_not_there_is_named_with_those_that_are() {
        let error = Device::open(1000, Options::default()).unwrap_err();
        let count = crate::adapters().len();
        assert!(
            matches!(&error, Error::NoAdapter { index: 1000, found, .. } if found.len() == count),
            "{error}"
        );
    }
}
