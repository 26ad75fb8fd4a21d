//! Preprocessing on any GPU that Vulkan, Metal or DX12 can use: files are decoded on CPU threads, everything after that is
//! done on the device.
//!
//! ```no_run
//! use std::num::NonZeroUsize;
//!
//! use sightline_core::image_spec::hugging_face::from_hugging_face;
//! use sightline_preprocess::webgpu::{Device, OnGpu, Options};
//! use sightline_preprocess::{Limits, Preprocessor};
//!
//! let spec = from_hugging_face(&serde_json::json!({}))?;
//! let preprocessor = Preprocessor::new(spec, Limits::default())?;
//! let device = Device::open(0, Options::default())?;
//! let mut on_gpu = OnGpu::new(preprocessor, device);
//! let files = [std::fs::read("cat.jpg")?];
//! on_gpu.prepare_stream(&files, NonZeroUsize::MIN, |values: Result<&[f32], _>| {
//!     println!("{} values", values.map_or(0, <[f32]>::len));
//! })?;
//! println!("{} on {}", on_gpu.counts().on_gpu, on_gpu.adapter());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use sightline_core::image_spec::Colour;
use sightline_imaging::resize as imaging;
use sightline_imaging::{Channels, Pixels, Scale};
use sightline_webgpu::{Job, Table, Taps, Tensors};

use crate::plan::Plan;
use crate::{Element, PrepareError, Preprocessor, Workspace};

pub use sightline_webgpu::{Adapter, Device, Error, JobError, Options, Statistics, adapters};

/// A preprocessor with a GPU. Its values are those of the [`Preprocessor`], bit for bit: an image that the GPU cannot do
/// is done on the CPU, and counted.
#[derive(Debug)]
pub struct OnGpu {
    preprocessor: Preprocessor,
    device: Device,
    counts: Counts,
}

/// Where images were resized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Images whose pixels the GPU resized.
    pub on_gpu: u64,
    /// Those that the CPU did, by the reason: `opencv-arithmetic`, `own-mode` (resized in the mode of the file, as
    /// `open_clip` does), `alpha`, `too-large-for-gpu`, `out-of-gpu-memory`.
    pub on_cpu: BTreeMap<&'static str, u64>,
}

/// An image on its way, and its values.
struct Slot<T> {
    work: Work,
    values: Vec<T>,
    outcome: Result<(), PrepareError>,
}

/// What is left to do with an image.
enum Work {
    /// Nothing; for a reason if the CPU has done it.
    None(Option<&'static str>),
    /// All that comes after decoding.
    Resize(Box<Resize>),
}

/// Decoded pixels, exactly those that are read, and what becomes of them.
struct Resize {
    pixels: Pixels,
    plan: Plan,
    channels: sightline_webgpu::Channels,
    vertical_first: bool,
    across: Taps,
    down: Taps,
}

impl OnGpu {
    /// The same preprocessing with a GPU.
    pub fn new(preprocessor: Preprocessor, device: Device) -> Self {
        Self {
            preprocessor,
            device,
            counts: Counts::default(),
        }
    }

    /// What is done.
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// The GPU.
    pub fn adapter(&self) -> &Adapter {
        self.device.adapter()
    }

    /// What the GPU has done so far.
    pub fn statistics(&self) -> Statistics {
        self.device.statistics()
    }

    /// Where images were resized so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The GPU, for another preprocessor.
    pub fn into_device(self) -> Device {
        self.device
    }

    /// Prepares `images` and calls `sink` with each one's values, in their order, on this thread. `batch` of them are
    /// handed to the GPU together while those of the next batch are decoded on rayon's threads.
    ///
    /// At most `2 * batch` images are taken from `images` before their values have been handed to `sink`, so memory is
    /// bounded by as many decoded images and tensors. An error of the device ends the stream.
    pub fn prepare_stream<T: Element, B: AsRef<[u8]> + Send>(
        &mut self,
        images: impl IntoIterator<Item = B>,
        batch: NonZeroUsize,
        mut sink: impl FnMut(Result<&[T], PrepareError>),
    ) -> Result<(), Error> {
        let mut images = images.into_iter().fuse();
        let mut now: Vec<Slot<T>> = Vec::new();
        let mut next: Vec<Slot<T>> = Vec::new();
        let mut spare: Vec<Slot<T>> = Vec::new();
        loop {
            let files: Vec<B> = images.by_ref().take(batch.get()).collect();
            next.extend(files.iter().map(|_| spare.pop().unwrap_or_default()));
            let mut finished = Ok(());
            let Self {
                preprocessor,
                device,
                counts,
            } = self;
            rayon::in_place_scope(|scope| {
                for (slot, file) in next.iter_mut().zip(files) {
                    let preprocessor = &*preprocessor;
                    scope.spawn(move |_| slot.decode(preprocessor, file.as_ref()));
                }
                finished = finish(preprocessor, device, counts, &mut now);
            });
            finished?;
            for mut slot in now.drain(..) {
                sink(slot.take().map(|()| slot.values.as_slice()));
                spare.push(slot);
            }
            if next.is_empty() {
                return Ok(());
            }
            std::mem::swap(&mut now, &mut next);
        }
    }

    /// The same for one batch of decoded images.
    pub fn prepare_pixels<T: Element>(
        &mut self,
        images: Vec<Pixels>,
        mut sink: impl FnMut(Result<&[T], PrepareError>),
    ) -> Result<(), Error> {
        let plan = |pixels| {
            let mut slot = Slot::default();
            slot.plan(&self.preprocessor, pixels);
            slot
        };
        let mut slots: Vec<Slot<T>> = images.into_iter().map(plan).collect();
        finish(
            &self.preprocessor,
            &mut self.device,
            &mut self.counts,
            &mut slots,
        )?;
        for slot in &mut slots {
            sink(slot.take().map(|()| slot.values.as_slice()));
        }
        Ok(())
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            work: Work::None(None),
            values: Vec::new(),
            outcome: Ok(()),
        }
    }
}

impl<T: Element> Slot<T> {
    /// From a file to pixels, or to values where the GPU cannot make them.
    fn decode(&mut self, preprocessor: &Preprocessor, bytes: &[u8]) {
        self.values.resize(preprocessor.len(), T::default());
        self.outcome = preprocessor.pool.with(|workspace| {
            if let Work::Resize(done) = std::mem::replace(&mut self.work, Work::None(None)) {
                workspace.decoder.recycle(done.pixels);
            }
            let Some((plan, pixels)) = preprocessor.read(bytes, workspace)? else {
                self.work = Work::None(Some(whole(preprocessor)));
                return preprocessor.prepare_whole(bytes, workspace, &mut self.values);
            };
            self.resize(preprocessor, plan, pixels, workspace)
        });
    }

    /// The same from pixels.
    fn plan(&mut self, preprocessor: &Preprocessor, pixels: Pixels) {
        self.values.resize(preprocessor.len(), T::default());
        self.outcome = preprocessor.pool.with(|workspace| {
            if !preprocessor.is_planned() {
                self.work = Work::None(Some(whole(preprocessor)));
                return preprocessor.prepare_pixels_into(&pixels, workspace, &mut self.values);
            }
            let plan = preprocessor.plan(Scale::Full.announce(pixels.size()))?;
            let pixels = plan.read.cut(pixels);
            self.resize(preprocessor, plan, pixels, workspace)
        });
    }

    /// From the pixels that a plan reads to work for the GPU.
    fn resize(
        &mut self,
        preprocessor: &Preprocessor,
        plan: Plan,
        pixels: Pixels,
        workspace: &mut Workspace,
    ) -> Result<(), PrepareError> {
        let channels = match pixels.channels() {
            Channels::Rgb => sightline_webgpu::Channels::Rgb,
            Channels::Grey => sightline_webgpu::Channels::Grey,
            Channels::GreyAlpha | Channels::Rgba => {
                self.work = Work::None(Some("alpha"));
                let part = plan.part(&pixels);
                return preprocessor.finish(&plan, part, workspace, &mut self.values);
            }
        };
        let taps = plan.resize.fixed_taps()?;
        self.work = Work::Resize(Box::new(Resize {
            vertical_first: taps.vertical_first,
            across: as_taps(taps.across, taps.across_bits),
            down: as_taps(taps.down, taps.down_bits),
            pixels,
            plan,
            channels,
        }));
        Ok(())
    }

    fn take(&mut self) -> Result<(), PrepareError> {
        std::mem::replace(&mut self.outcome, Ok(()))
    }
}

impl Resize {
    fn job(&self) -> Job<'_> {
        Job {
            pixels: self.pixels.data(),
            channels: self.channels,
            size: self.pixels.size(),
            across: &self.across,
            down: &self.down,
            vertical_first: self.vertical_first,
            place: self.plan.place,
        }
    }
}

/// Does on the GPU what is left of a batch, and on the CPU what the GPU cannot.
fn finish<T: Element>(
    preprocessor: &Preprocessor,
    device: &mut Device,
    counts: &mut Counts,
    slots: &mut [Slot<T>],
) -> Result<(), Error> {
    let spec = preprocessor.spec();
    let tensors = Tensors {
        size: spec.size,
        layout: spec.layout,
        fill: spec.fill,
        table: &table(T::table(preprocessor.tables())),
    };
    let (mut jobs, mut values, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (place, slot) in slots.iter_mut().enumerate() {
        match &slot.work {
            Work::Resize(resize) => {
                jobs.push(resize.job());
                values.push(&mut slot.values);
                places.push(place);
            }
            Work::None(Some(reason)) if slot.outcome.is_ok() => counts.add(reason, 1),
            Work::None(_) => {}
        }
    }
    let mut refused = Vec::new();
    device.run(&tensors, &jobs, |job, tensor| match tensor {
        Ok(bytes) => T::read_ne(bytes, values[job]),
        Err(error) => refused.push((places[job], error)),
    })?;
    counts.on_gpu += (places.len() - refused.len()) as u64;
    for (place, error) in refused {
        let slot = &mut slots[place];
        let Work::Resize(resize) = &slot.work else {
            continue;
        };
        counts.add(error.class(), 1);
        let part = resize.plan.part(&resize.pixels);
        slot.outcome = preprocessor
            .pool
            .with(|workspace| preprocessor.finish(&resize.plan, part, workspace, &mut slot.values));
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, reason: &'static str, images: u64) {
        *self.on_cpu.entry(reason).or_default() += images;
    }
}

/// Why an image is resized whole.
fn whole(preprocessor: &Preprocessor) -> &'static str {
    match preprocessor.spec().colour {
        Colour::PillowLast => "own-mode",
        _ => "opencv-arithmetic",
    }
}

fn as_taps(taps: imaging::Taps<i32>, bits: u32) -> Taps {
    Taps {
        spans: taps.spans,
        stride: taps.stride,
        weights: taps.weights,
        bits,
    }
}

/// The bits of the values of a table.
fn table<T: Element>(table: &crate::Table<T>) -> Table {
    let mut bytes = Vec::new();
    for channel in &table.channels {
        T::write_le(channel, &mut bytes);
    }
    if size_of::<T>() == 2 {
        let mut bits = bytes
            .as_chunks()
            .0
            .iter()
            .map(|&bits| u16::from_le_bytes(bits));
        Table::Bits16(Box::new(channels(|| bits.next().unwrap_or_default())))
    } else {
        let mut bits = bytes
            .as_chunks()
            .0
            .iter()
            .map(|&bits| u32::from_le_bytes(bits));
        Table::Bits32(Box::new(channels(|| bits.next().unwrap_or_default())))
    }
}

fn channels<B>(mut next: impl FnMut() -> B) -> [[B; 256]; 3] {
    std::array::from_fn(|_| std::array::from_fn(|_| next()))
}

#[cfg(test)]
mod tests {
    use std::sync::{LazyLock, Mutex, PoisonError};

    use half::{bf16, f16};
    use proptest::prelude::*;
    use serde_json::json;
    use sightline_core::ImageFormat;
    use sightline_core::image_spec::open_clip::from_open_clip;
    use sightline_core::image_spec::{
        CropRounding, Filter, Fit, ImageSpec, Layout, Padding, Reference, Rescale, Size,
    };
    use sightline_imaging::{EncodeSpec, Limits, encode};
    use sightline_testkit as testkit;

    use super::*;
    use crate::Mode;
    use crate::batch::tests::{png, preprocessor};

    fn open(options: Options) -> Option<Device> {
        let opened = Device::open(0, options);
        testkit::gpu::device(opened, Error::is_missing, "SIGHTLINE_REQUIRE_WEBGPU")
    }

    /// One device for all tests of this process, which take turns; `None` where there is no GPU.
    static DEVICE: LazyLock<Mutex<Option<Device>>> = LazyLock::new(|| {
        let options = Options {
            submission_bytes: 1 << 20,
            ..Options::default()
        };
        Mutex::new(open(options))
    });

    /// Runs `test` with a preprocessor on the device, if there is one.
    fn on_gpu<R>(preprocessor: Preprocessor, test: impl FnOnce(&mut OnGpu) -> R) -> Option<R> {
        let mut kept = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gpu = OnGpu::new(preprocessor, kept.take()?);
        let result = test(&mut gpu);
        *kept = Some(gpu.into_device());
        Some(result)
    }

    fn noise(width: u32, height: u32, channels: Channels, seed: u32) -> Pixels {
        let mut state = seed | 1;
        let data = (0..width * height * channels.count() as u32)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        Pixels::new(width, height, channels, data).unwrap()
    }

    /// Files of many kinds, with a broken one in the middle.
    fn files() -> Vec<Vec<u8>> {
        let mut files = Vec::new();
        for (i, channels) in [
            Channels::Rgb,
            Channels::Grey,
            Channels::Rgba,
            Channels::GreyAlpha,
        ]
        .into_iter()
        .enumerate()
        {
            let pixels = noise(60 + 31 * i as u32, 90 - 11 * i as u32, channels, i as u32);
            files.push(encode(&pixels, &EncodeSpec::lossless(ImageFormat::Png)).unwrap());
            if !channels.has_alpha() {
                files.push(encode(&pixels, &EncodeSpec::jpeg(80)).unwrap());
            }
        }
        files.insert(3, b"<html></html>".to_vec());
        files.push(png(300, 9));
        files.push(png(9, 9));
        files
    }

    /// The stream of a preprocessor on the GPU is the one on the CPU; says where images were resized.
    fn check<T: Element + PartialEq>(
        preprocessor: &Preprocessor,
        files: &[Vec<u8>],
    ) -> Option<Counts> {
        on_gpu(preprocessor.clone(), |gpu| {
            let mut expected = Vec::new();
            let in_flight = NonZeroUsize::new(4).unwrap();
            preprocessor.prepare_stream::<T, _>(files, in_flight, |values| {
                expected.push(values.map(<[T]>::to_vec).map_err(|e| e.class()));
            });
            for batch in [1, 3, 100] {
                let mut made = Vec::new();
                gpu.prepare_stream::<T, _>(files, NonZeroUsize::new(batch).unwrap(), |values| {
                    made.push(values.map(<[T]>::to_vec).map_err(|e| e.class()));
                })
                .unwrap();
                assert!(made == expected, "batches of {batch}");
            }
            let counts = gpu.counts().clone();
            let good = expected.iter().filter(|values| values.is_ok()).count() as u64;
            let all = counts.on_gpu + counts.on_cpu.values().sum::<u64>();
            assert_eq!(all, 3 * good);
            counts
        })
    }

    #[test]
    fn a_stream_on_the_gpu_equals_the_one_on_the_cpu_in_every_type() {
        let files = files();
        for layout in [Layout::Nchw, Layout::Nhwc] {
            for mode in Mode::ALL {
                let preprocessor = preprocessor().with_layout(layout).with_mode(mode);
                for counts in [
                    check::<f32>(&preprocessor, &files),
                    check::<f16>(&preprocessor, &files),
                    check::<bf16>(&preprocessor, &files),
                ] {
                    assert!(counts.is_none_or(|counts| counts.on_cpu.is_empty()));
                }
            }
        }
    }

    #[test]
    fn what_the_gpu_cannot_do_is_done_on_the_cpu_and_counted() {
        let files = files();
        let size = Size {
            width: 20,
            height: 16,
        };
        let crop = CropRounding::Floor;
        let opencv = ImageSpec::new(
            size,
            Fit::Squash { size, crop },
            Filter::Bilinear,
            Reference::OpenCv,
        );
        let preprocessor = Preprocessor::new(opencv, Limits::default()).unwrap();
        if let Some(counts) = check::<f32>(&preprocessor, &files) {
            assert_eq!(counts.on_gpu, 0);
            assert_eq!(counts.on_cpu["opencv-arithmetic"], 3 * 8);
        }
        // JPEG files of colour or grey are resized on the GPU, PNG files in their own mode.
        let last = from_open_clip(&json!({ "preprocess_cfg": { "size": 48 } })).unwrap();
        let preprocessor = Preprocessor::new(last, Limits::default()).unwrap();
        if let Some(counts) = check::<f32>(&preprocessor, &files) {
            assert_eq!((counts.on_gpu, counts.on_cpu["own-mode"]), (3 * 2, 3 * 6));
        }
    }

    #[test]
    fn an_image_that_the_memory_is_too_short_for_is_done_on_the_cpu() {
        let options = Options {
            memory_bytes: Some(300_000),
            ..Options::default()
        };
        let Some(device) = open(options) else {
            return;
        };
        let sides = [20, 300, 24, 400];
        let images: Vec<Pixels> = sides
            .iter()
            .map(|&side| noise(side, side, Channels::Rgb, side))
            .collect();
        let preprocessor = preprocessor();
        let mut gpu = OnGpu::new(preprocessor.clone(), device);
        let mut made = Vec::new();
        gpu.prepare_pixels::<f32>(images.clone(), |values| made.push(values.unwrap().to_vec()))
            .unwrap();
        for (made, pixels) in made.iter().zip(&images) {
            assert!(*made == preprocessor.prepare_pixels(pixels).unwrap());
        }
        assert_eq!(gpu.counts().on_gpu, 2);
        assert_eq!(gpu.counts().on_cpu["out-of-gpu-memory"], 2);
        assert!(gpu.statistics().halvings > 0);
    }

    fn side() -> impl Strategy<Value = u32> {
        prop_oneof![Just(24u32), 1u32..40, 1u32..200]
    }

    fn spec() -> impl Strategy<Value = ImageSpec> {
        const FILTERS: [Filter; 6] = [
            Filter::Nearest,
            Filter::Box,
            Filter::Bilinear,
            Filter::Hamming,
            Filter::Bicubic,
            Filter::Lanczos,
        ];
        const PADDINGS: [Padding; 3] =
            [Padding::LargerAfter, Padding::LargerBefore, Padding::Refuse];
        const REFERENCES: [Reference; 3] = [
            Reference::Pillow12,
            Reference::Pillow13,
            Reference::TorchvisionU8,
        ];
        let sides = (1u32..40, 1u32..40, 1u32..60, side(), side());
        (
            sides,
            (0usize..6, 0usize..3),
            0usize..6,
            0usize..3,
            any::<[u8; 3]>(),
            any::<bool>(),
        )
            .prop_map(
                |(
                    (width, height, edge, w, h),
                    (fit, padding),
                    filter,
                    reference,
                    fill,
                    is_last,
                )| {
                    let (size, crop) = (Size { width, height }, CropRounding::Floor);
                    let other = Size {
                        width: w,
                        height: h,
                    };
                    let fit = match fit {
                        0 => Fit::ShortestEdge { edge, crop },
                        1 => Fit::SmallestMaxSize { edge, crop },
                        2 => Fit::Squash { size: other, crop },
                        3 => Fit::Cover { size: other, crop },
                        4 => Fit::Contain { size: other, crop },
                        _ => Fit::CropOnly { crop },
                    };
                    ImageSpec {
                        padding: PADDINGS[padding],
                        fill,
                        rescale: Rescale::Divide255,
                        layout: if is_last { Layout::Nhwc } else { Layout::Nchw },
                        ..ImageSpec::new(size, fit, FILTERS[filter], REFERENCES[reference])
                    }
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]

        #[test]
        fn pixels_of_any_size_become_the_values_of_the_cpu(
            spec in spec(),
            images in prop::collection::vec((side(), side(), any::<bool>(), any::<u32>()), 1..5),
            is_fast: bool,
        ) {
            let mode = if is_fast { Mode::Fast } else { Mode::Exact };
            let preprocessor = Preprocessor::new(spec, Limits::default()).unwrap().with_mode(mode);
            let images: Vec<Pixels> = images
                .into_iter()
                .map(|(width, height, is_grey, seed)| {
                    noise(width, height, if is_grey { Channels::Grey } else { Channels::Rgb }, seed)
                })
                .collect();
            let made = on_gpu(preprocessor.clone(), |gpu| {
                let mut made = Vec::new();
                gpu.prepare_pixels::<f32>(images.clone(), |values| {
                    made.push(values.map(<[f32]>::to_vec).map_err(|e| e.class()));
                })
                .unwrap();
                (made, gpu.counts().on_cpu.len())
            });
            if let Some((made, on_cpu)) = made {
                prop_assert_eq!(on_cpu, 0);
                let expected: Vec<_> = images
                    .iter()
                    .map(|pixels| preprocessor.prepare_pixels(pixels).map_err(|e| e.class()))
                    .collect();
                prop_assert!(made == expected);
            }
        }
    }
}
