//! What a card does with JPEG files: `gpu_bench FOLDER OUT.json [--quick] [--kernel]`.
//!
//! FOLDER holds `small/*.jpg`, `large/*.jpg` and `odd/*.jpg`, read into memory first. In this order: the kernel's values
//! against the CPU's, bit for bit; nvJPEG's pixels against libjpeg-turbo's; bandwidth of a copy within the card; the
//! kernel alone; JPEG bytes to values, by number of threads and by who decodes. `benchmarks/gpu/run.sh` runs it beside
//! its peer.
#![expect(unsafe_code, reason = "launches the kernel by itself to time it")]
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a bench"
)]

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use half::{bf16, f16};
use serde_json::{Value, json};
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_core::image_spec::open_clip::from_open_clip;
use sightline_core::image_spec::{
    CropRounding, Filter, Fit, ImageSpec, Layout, Padding, Reference, Size,
};
use sightline_cuda::layout::{AxisTable, Batch, Image, PIXELS, Shape, row_bytes};
use sightline_cuda::library::Places;
use sightline_cuda::nvjpeg::{Hardware, Nvjpeg, Target};
use sightline_cuda::nvrtc::Nvrtc;
use sightline_cuda::{Addresses, Card, DeviceBuffer, Marker, PinnedBuffer, upload};
use sightline_imaging::resize::{Arithmetic, PassOrder, ResizeSpec};
use sightline_imaging::{JpegOutline, Limits, Window};
use sightline_preprocess::cuda::{Cuda, CudaOptions, Decode, Report};
use sightline_preprocess::{Element, Preprocessor, Workspace};

type Files = Vec<Vec<u8>>;

fn read(folder: &Path) -> Files {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn clip() -> ImageSpec {
    from_hugging_face(&json!({
        "size": { "shortest_edge": 224 }, "crop_size": { "height": 224, "width": 224 }, "resample": 3,
        "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73], "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
        "do_resize": true, "do_center_crop": true, "do_normalize": true, "do_rescale": true
    }))
    .unwrap()
}

/// Specifications with every filter, arithmetic, way of fitting and padding that the kernel knows.
fn specs() -> Vec<(&'static str, ImageSpec)> {
    let crop = CropRounding::Floor;
    let square = |side| Size::square(side);
    let new = |size, fit, filter, reference| ImageSpec::new(size, fit, filter, reference);
    let size = Size {
        width: 200,
        height: 120,
    };
    vec![
        ("clip", clip()),
        (
            "open_clip",
            from_open_clip(&json!({ "preprocess_cfg": { "size": 224 } })).unwrap(),
        ),
        (
            "align",
            new(
                square(289),
                Fit::Squash {
                    size: square(346),
                    crop,
                },
                Filter::Bilinear,
                Reference::Pillow13,
            ),
        ),
        (
            "lanczos",
            new(
                square(336),
                Fit::ShortestEdge { edge: 336, crop },
                Filter::Lanczos,
                Reference::Pillow12,
            ),
        ),
        (
            "torchvision",
            new(
                square(224),
                Fit::ShortestEdge { edge: 256, crop },
                Filter::Bicubic,
                Reference::TorchvisionU8,
            ),
        ),
        (
            "nearest",
            new(
                square(224),
                Fit::ShortestEdge { edge: 224, crop },
                Filter::Nearest,
                Reference::Pillow13,
            ),
        ),
        (
            "contain",
            ImageSpec {
                fill: [124, 116, 104],
                padding: Padding::LargerBefore,
                ..new(
                    size,
                    Fit::Contain { size, crop },
                    Filter::Hamming,
                    Reference::Pillow13,
                )
            },
        ),
        (
            "crop",
            new(
                size,
                Fit::CropOnly { crop },
                Filter::Box,
                Reference::Pillow13,
            ),
        ),
        (
            "tall",
            new(
                Size {
                    width: 300,
                    height: 40,
                },
                Fit::Squash {
                    size: Size {
                        width: 300,
                        height: 40,
                    },
                    crop,
                },
                Filter::Bicubic,
                Reference::Pillow13,
            ),
        ),
    ]
}

/// Values on the card against those of the CPU: files that differ, of how many, and the way they went.
fn differing<T: Element + PartialEq>(
    cuda: &Cuda,
    spec: &ImageSpec,
    files: &Files,
) -> (usize, usize, Report) {
    let preprocessor = Preprocessor::new(spec.clone(), Limits::default()).unwrap();
    let mut differing = 0;
    let mut compared = 0;
    let mut bytes = Vec::new();
    let refs: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let report = cuda
        .run::<T, &[u8]>(refs.chunks(48).map(<[_]>::to_vec), |batch| {
            batch.read(&mut bytes)?;
            let each = preprocessor.len() * size_of::<T>();
            for (i, (outcome, found)) in batch
                .outcomes
                .iter()
                .zip(bytes.chunks_exact(each))
                .enumerate()
            {
                let mut values = vec![T::default(); preprocessor.len()];
                let expected = preprocessor.prepare_into(
                    refs[batch.first + i],
                    &mut Workspace::default(),
                    &mut values,
                );
                let mut exact = Vec::new();
                if expected.is_ok() {
                    T::write_le(&values, &mut exact);
                } else {
                    exact.resize(each, 0);
                }
                compared += 1;
                differing += usize::from(expected.is_ok() != outcome.is_ok() || exact != found);
            }
            Ok(true)
        })
        .unwrap();
    (differing, compared, report)
}

fn report_of(report: &Report) -> Value {
    json!({
        "images": report.images, "broken": report.broken, "engines": report.engines,
        "multiprocessors": report.multiprocessors, "threads": report.threads, "values": report.values,
        "refused": report.refused, "halved": report.halved, "rates": report.rates,
        "feeding": {
            "waiting": report.feeding.waiting, "submitting": report.feeding.submitting,
            "decoding": report.feeding.decoding, "noting": report.feeding.noting,
        },
        "calling": report.calling,
    })
}

/// Everything that a part needs.
struct Bench {
    card: Arc<Card>,
    nvjpeg: Option<Arc<Nvjpeg>>,
    quick: bool,
}

impl Bench {
    fn cuda(&self, spec: ImageSpec, decode: Decode, threads: usize) -> Cuda {
        self.cuda_with(
            spec,
            CudaOptions {
                decode,
                threads: NonZeroUsize::new(threads).unwrap(),
                ..CudaOptions::default()
            },
        )
    }

    fn cuda_with(&self, spec: ImageSpec, options: CudaOptions) -> Cuda {
        let preprocessor = Preprocessor::new(spec, Limits::default()).unwrap();
        let nvjpeg = self
            .nvjpeg
            .clone()
            .filter(|_| options.decode != Decode::Host);
        Cuda::on(preprocessor, Arc::clone(&self.card), nvjpeg, options).unwrap()
    }

    /// The kernel's values are the CPU's.
    fn exactness(&self, files: &Files) -> Value {
        let mut rows = Vec::new();
        for (name, spec) in specs() {
            for layout in [Layout::Nchw, Layout::Nhwc] {
                let spec = ImageSpec {
                    layout,
                    ..spec.clone()
                };
                let cuda = self.cuda(spec.clone(), Decode::Host, 16);
                let (f32s, compared, report) = differing::<f32>(&cuda, &spec, files);
                let (f16s, ..) = differing::<f16>(&cuda, &spec, files);
                let (bf16s, ..) = differing::<bf16>(&cuda, &spec, files);
                println!(
                    "exact {name} {layout:?}: of {compared} files {f32s} differ in f32, {f16s} in f16, {bf16s} in bf16; made here {}",
                    report.values
                );
                rows.push(json!({ "spec": name, "layout": layout, "files": compared, "f32": f32s, "f16": f16s, "bf16": bf16s, "ways": report_of(&report) }));
            }
        }
        Value::Array(rows)
    }

    /// How far the card's pixels are from libjpeg-turbo's, in levels of the cropped and resized picture.
    fn distance(&self, files: &Files, decode: Decode) -> Value {
        let plain = ImageSpec {
            rescale: sightline_core::image_spec::Rescale::None,
            mean: [0.0; 3],
            std: [1.0; 3],
            ..clip()
        };
        let cuda = self.cuda(plain.clone(), decode, 16);
        let exact = Preprocessor::new(plain, Limits::default()).unwrap();
        let (mut most, mut sum, mut count) = (0f64, 0f64, 0f64);
        let mut bytes = Vec::new();
        let refs: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        let report = cuda
            .run::<f32, &[u8]>(refs.chunks(64).map(<[_]>::to_vec), |batch| {
                batch.read(&mut bytes)?;
                for (i, found) in bytes.chunks_exact(exact.len() * 4).enumerate() {
                    let Ok(expected) = exact.prepare(refs[batch.first + i]) else {
                        continue;
                    };
                    for (found, expected) in found.as_chunks::<4>().0.iter().zip(expected) {
                        let off = f64::from((f32::from_le_bytes(*found) - expected).abs());
                        most = most.max(off);
                        sum += off;
                        count += 1.0;
                    }
                }
                Ok(true)
            })
            .unwrap();
        println!(
            "nvJPEG {decode:?}: mean {:.4} levels, at most {most}; {report:?}",
            sum / count
        );
        json!({ "mean_levels": sum / count, "max_levels": most, "ways": report_of(&report) })
    }

    /// Writes the values of the first 64 files in bf16, for the peer to compare: cropped as torchvision does.
    fn dump(&self, files: &Files, to: &Path) {
        let spec = ImageSpec {
            fit: Fit::ShortestEdge {
                edge: 224,
                crop: CropRounding::HalfEven,
            },
            ..clip()
        };
        let cuda = self.cuda(spec, Decode::Card, 4);
        let first: Vec<&[u8]> = files.iter().take(64).map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        cuda.run::<bf16, &[u8]>([first], |batch| batch.read(&mut bytes).map(|()| true))
            .unwrap();
        fs::write(to, bytes).unwrap();
    }

    /// Files a second of the engines alone: `threads` threads that give them `batch` files at a time.
    fn engines_alone(&self, files: &Files, threads: usize, batch: usize) -> Option<f64> {
        let nvjpeg = self.nvjpeg.as_ref()?;
        let outlines: Vec<Size> = files
            .iter()
            .map(|file| JpegOutline::read(file, &Limits::default()).unwrap().size)
            .collect();
        let ready = Barrier::new(threads);
        let rates = std::thread::scope(|scope| {
            let work = || {
                self.card.bind().unwrap();
                let mut engines = Hardware::new(nvjpeg).ok()?;
                let stream = self.card.stream().unwrap();
                let done = Marker::new(self.card.context()).unwrap();
                let mut memory = DeviceBuffer::new(self.card.context());
                let sizes: Vec<usize> = outlines
                    .iter()
                    .map(|size| row_bytes(size.width) as usize * size.height as usize)
                    .map(|bytes| bytes.next_multiple_of(256))
                    .collect();
                let most = sizes.iter().max().unwrap();
                memory.reserve(most * batch).unwrap();
                let mut decode = |round: usize| {
                    let picked: Vec<usize> = (0..batch)
                        .map(|i| (round * batch + i) % files.len())
                        .collect();
                    let bytes: Vec<&[u8]> = picked.iter().map(|&i| files[i].as_slice()).collect();
                    let targets: Vec<Target> = picked
                        .iter()
                        .enumerate()
                        .map(|(place, &i)| Target {
                            address: memory.address() + (place * most) as u64,
                            stride: row_bytes(outlines[i].width),
                        })
                        .collect();
                    // SAFETY: there is room for each; the stream is waited for.
                    unsafe {
                        engines
                            .decode(&bytes, &targets, stream.cu_stream().cast())
                            .unwrap();
                    }
                    done.record(&stream).unwrap();
                    done.wait().unwrap();
                };
                for round in 0..files.len().div_ceil(batch).max(2) {
                    decode(round);
                }
                // All at the same time, or each would have the engines to itself.
                ready.wait();
                let (start, mut rounds) = (Instant::now(), 0);
                while start.elapsed() < Duration::from_millis(250) {
                    decode(rounds);
                    rounds += 1;
                }
                Some((rounds * batch) as f64 / start.elapsed().as_secs_f64())
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .collect::<Vec<_>>()
        });
        rates.into_iter().sum()
    }

    /// Bytes a second of a copy within the card, read and written.
    fn copy(&self) -> f64 {
        let stream = self.card.stream().unwrap();
        let bytes = 2usize << 30;
        let (mut from, mut to) = (
            DeviceBuffer::new(self.card.context()),
            DeviceBuffer::new(self.card.context()),
        );
        from.reserve(bytes).unwrap();
        to.reserve(bytes).unwrap();
        from.clear(0, bytes, &stream).unwrap();
        let (start, end) = (
            Marker::timed(self.card.context()).unwrap(),
            Marker::timed(self.card.context()).unwrap(),
        );
        let mut times = Vec::new();
        for _ in 0..12 {
            start.record(&stream).unwrap();
            to.copy(&from, bytes, &stream).unwrap();
            end.record(&stream).unwrap();
            end.wait().unwrap();
            times.push(f64::from(start.milliseconds_to(&end).unwrap()) / 1e3);
        }
        2.0 * bytes as f64 / median(times)
    }

    /// The kernel by itself on noise of one size, `sets` batches in turn so that no cache holds them.
    fn kernel(&self, size: Size, images: usize, sets: usize, copy: f64) -> Value {
        let card = &self.card;
        let stream = card.stream().unwrap();
        let spec = clip();
        let short = size.width.min(size.height);
        let to = Size {
            width: 224 * size.width / short,
            height: 224 * size.height / short,
        };
        let window = Window {
            left: (to.width - 224) / 2,
            top: (to.height - 224) / 2,
            width: 224,
            height: 224,
        };
        let resize = ResizeSpec {
            window,
            ..ResizeSpec::new(
                size,
                to,
                spec.filter,
                Arithmetic::Pillow(PassOrder::Adaptive),
            )
        };
        let taps = resize.fixed_taps().unwrap();
        let across = AxisTable::new(
            &taps.across.spans,
            taps.across.stride,
            &taps.across.weights,
            taps.across_bits,
            taps.read.left % PIXELS,
        );
        let down = AxisTable::new(
            &taps.down.spans,
            taps.down.stride,
            &taps.down.weights,
            taps.down_bits,
            0,
        );
        let stride = row_bytes(size.width);
        let each = (stride as usize * size.height as usize).next_multiple_of(256);
        let shape = Shape {
            width: 224,
            height: 224,
            fill: [0; 3],
            channels_last: false,
            wide: false,
        };
        let mut pixels = DeviceBuffer::new(card.context());
        pixels.reserve(each * images * sets).unwrap();
        let mut out = DeviceBuffer::new(card.context());
        out.reserve(images * 3 * 224 * 224 * 2).unwrap();
        // Noise: values that a photo may have, and no zeros.
        let mut pinned = PinnedBuffer::new(card.context());
        let mut state = 1u32;
        for byte in pinned.bytes(each).unwrap() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        for i in 0..images * sets {
            // SAFETY: there is room; the memory stays until the stream is waited for below.
            unsafe {
                upload(
                    pixels.address() + (i * each) as u64,
                    pinned.bytes(each).unwrap(),
                    &stream,
                )
                .unwrap();
            };
        }
        stream.synchronize().unwrap();
        let mut launches = Vec::new();
        for set in 0..sets {
            let mut batch = Batch::default();
            for i in 0..images {
                let start = pixels.address() + ((set * images + i) * each) as u64;
                let skipped = u64::from(taps.read.top) * u64::from(stride)
                    + 3 * u64::from(taps.read.left / PIXELS * PIXELS);
                let image = Image {
                    source: start + skipped,
                    stride,
                    rows: taps.read.height,
                    across: &across,
                    down: &down,
                    vertical_first: taps.vertical_first,
                    place: (0, 0),
                };
                assert!(batch.push(&image, i as u32, card.most_shared()));
            }
            let values: Vec<u32> = (0..768).collect();
            let words: Vec<u8> = [&values[..], batch.jobs(), batch.tables()]
                .concat()
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect();
            let mut tables = DeviceBuffer::new(card.context());
            tables.reserve(words.len()).unwrap();
            let mut pinned = PinnedBuffer::new(card.context());
            pinned.bytes(words.len()).unwrap().copy_from_slice(&words);
            // SAFETY: there is room, and the stream is waited for.
            unsafe {
                upload(
                    tables.address(),
                    pinned.bytes(words.len()).unwrap(),
                    &stream,
                )
                .unwrap();
            };
            stream.synchronize().unwrap();
            let addresses = Addresses {
                values: tables.address(),
                jobs: tables.address() + 4 * 768,
                tables: tables.address() + 4 * (768 + batch.jobs().len() as u64),
                out: out.address(),
            };
            launches.push((batch, addresses, tables));
        }
        let (start, end) = (
            Marker::timed(card.context()).unwrap(),
            Marker::timed(card.context()).unwrap(),
        );
        let mut times = Vec::new();
        for round in 0..if self.quick { 6 } else { 24 } {
            let (batch, addresses, _) = &launches[round % sets];
            start.record(&stream).unwrap();
            // SAFETY: everything named was reserved above and is kept.
            unsafe { card.resize(batch, &shape, addresses, &stream).unwrap() };
            end.record(&stream).unwrap();
            end.wait().unwrap();
            if round >= 2 {
                times.push(f64::from(start.milliseconds_to(&end).unwrap()) / 1e3);
            }
        }
        let spread = (
            times.iter().copied().fold(f64::INFINITY, f64::min),
            times.iter().copied().fold(0.0, f64::max),
        );
        let time = median(times);
        let read = 3 * taps.read.width as usize * taps.read.height as usize;
        let moved = (images * (read + 3 * 224 * 224 * 2)) as f64;
        let rate = images as f64 / time;
        println!(
            "kernel {}x{} x {images}: {:.3} ms ({:.3} to {:.3}), {:.0} images/s, {:.0} GB/s, {:.1} % of a copy; shared memory {} bytes",
            size.width,
            size.height,
            time * 1e3,
            spread.0 * 1e3,
            spread.1 * 1e3,
            rate,
            moved / time / 1e9,
            100.0 * moved / time / copy,
            launches[0].0.memory()
        );
        json!({
            "width": size.width, "height": size.height, "images": images, "seconds": time, "images_per_second": rate,
            "bytes": moved, "share_of_copy": moved / time / copy, "shared_memory": launches[0].0.memory(),
        })
    }

    /// JPEG bytes in memory to bf16 on the card.
    fn whole(&self, name: &str, files: &Files, batch: usize, options: CudaOptions) -> Value {
        let cuda = self.cuda_with(clip(), options);
        let refs: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        let run = |images: usize| {
            let stream = (0..images.div_ceil(batch)).map(|b| {
                (0..batch)
                    .map(|i| refs[(b * batch + i) % refs.len()])
                    .collect()
            });
            let start = Instant::now();
            let report = cuda.run::<bf16, &[u8]>(stream, |_| Ok(true)).unwrap();
            (start.elapsed(), report)
        };
        // The first runs make what later ones keep.
        run(12 * batch);
        let (took, report) = run(8 * batch);
        let rate = report.images as f64 / took.as_secs_f64();
        // Long enough that how it begins and ends, some tens of milliseconds, counts little.
        let wanted = Duration::from_millis(800);
        let images = ((rate * wanted.as_secs_f64()) as usize).max(8 * batch);
        let mut times = Vec::new();
        let mut last = report;
        for _ in 0..3 {
            let (took, report) = run(images);
            times.push(report.images as f64 / took.as_secs_f64());
            last = report;
        }
        let rate = median(times);
        let CudaOptions {
            decode,
            threads,
            engine_threads,
            in_flight,
            engine_batch,
        } = options;
        println!(
            "whole {name}, {decode:?}, {threads} threads, {engine_threads} for engines with {engine_batch}, {in_flight} batches of {batch}: {rate:.0} images/s; engines {} multiprocessors {} threads {} (rates {:.0} {:.0})",
            last.engines, last.multiprocessors, last.threads, last.rates[0], last.rates[1]
        );
        let (feeding, whole) = (last.feeding, last.images as f64 / rate);
        println!(
            "    of {whole:.2} s: feeding threads waited {:.2}, submitted {:.2}, decoded {:.2}, noted {:.2} s together; the caller read headers {:.2}, waited {:.2}",
            feeding.waiting,
            feeding.submitting,
            feeding.decoding,
            feeding.noting,
            last.calling[0],
            last.calling[1]
        );
        json!({
            "photos": name, "decode": format!("{decode:?}"), "threads": threads, "engine_threads": engine_threads,
            "in_flight": in_flight, "engine_batch": engine_batch, "batch": batch, "images_per_second": rate,
            "ways": report_of(&last),
        })
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .expect("gpu_bench FOLDER OUT.json [--quick]");
    let out = arguments
        .next()
        .expect("gpu_bench FOLDER OUT.json [--quick]");
    let flags: Vec<String> = arguments.collect();
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let (quick, kernel_only) = (has("--quick"), has("--kernel"));
    let folder = Path::new(&folder);
    let (small, large, odd) = (
        read(&folder.join("small")),
        read(&folder.join("large")),
        read(&folder.join("odd")),
    );
    let places = Places::new(|name| std::env::var_os(name));
    let nvrtc = Nvrtc::open(&places).unwrap();
    let start = Instant::now();
    let card = Arc::new(Card::open(0, &nvrtc).unwrap());
    println!(
        "{} (driver CUDA {}, kernel compiled and loaded in {:.2} s, {:?} registers and spilled bytes)",
        card.name(),
        card.driver(),
        start.elapsed().as_secs_f64(),
        card.kernel_registers().unwrap()
    );
    let nvjpeg = match Nvjpeg::open(&places) {
        Ok(nvjpeg) => {
            println!("{}", nvjpeg.path().display());
            Some(nvjpeg)
        }
        Err(error) => {
            println!("{error:?}");
            None
        }
    };
    let bench = Bench {
        card,
        nvjpeg,
        quick,
    };
    let copy = bench.copy();
    println!("copy: {:.0} GB/s", copy / 1e9);
    let mut result = json!({ "card": bench.card.name(), "driver": bench.card.driver(), "copy_bytes_per_second": copy });
    let mut note = |name: &str, value: Value| {
        result[name] = value;
        // What was measured is kept, whatever comes next.
        fs::write(&out, serde_json::to_vec_pretty(&result).unwrap()).unwrap();
    };
    let size = |width, height| Size { width, height };
    note(
        "kernel",
        json!([
            bench.kernel(size(500, 375), 256, 4, copy),
            bench.kernel(size(2000, 1500), 64, 3, copy),
            bench.kernel(size(640, 480), 256, 3, copy),
            bench.kernel(size(4000, 3000), 32, 2, copy),
        ]),
    );
    if kernel_only {
        return;
    }
    note(
        "engines",
        json!(bench.cuda(clip(), Decode::Any, 1).has_engines()),
    );
    let mixed: Files = small
        .iter()
        .take(if quick { 12 } else { 40 })
        .chain(large.iter().take(2))
        .chain(&odd)
        .cloned()
        .collect();
    note("exactness", bench.exactness(&mixed));
    note(
        "nvjpeg_engines_distance",
        bench.distance(&small, Decode::Any),
    );
    bench.dump(&small, &Path::new(&out).with_extension("values.bin"));
    let mut alone = Vec::new();
    for (name, files) in [("small", &small), ("large", &large)] {
        for threads in [1, 2, 4, 8] {
            for batch in [64] {
                if let Some(rate) = bench.engines_alone(files, threads, batch) {
                    println!(
                        "engines alone, {name}, {threads} threads, batch {batch}: {rate:.0} images/s"
                    );
                    alone.push(json!({ "photos": name, "threads": threads, "batch": batch, "images_per_second": rate }));
                }
            }
        }
    }
    note("engines_alone", json!(alone));
    let mut rows = Vec::new();
    for (name, files, batch) in [("small", &small, 256), ("large", &large, 64)] {
        for (decode, threads, engine_threads, in_flight) in [
            (Decode::Any, 1, 1, 3),
            (Decode::Any, 3, 1, 3),
            (Decode::Any, 14, 2, 6),
            (Decode::Any, 15, 1, 6),
            (Decode::Host, 16, 1, 3),
        ] {
            let options = CudaOptions {
                decode,
                threads: NonZeroUsize::new(threads).unwrap(),
                engine_threads: NonZeroUsize::new(engine_threads).unwrap(),
                in_flight: NonZeroUsize::new(in_flight).unwrap(),
                engine_batch: 64,
            };
            rows.push(bench.whole(name, files, batch, options));
            note("whole", json!(rows));
        }
    }
}
