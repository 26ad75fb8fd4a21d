//! The whole way over a card, from files to values, with libraries that stand in for the driver and for nvJPEG: memory is
//! the host's, the kernel is the same source compiled as C. What only a real card shows is in `examples/gpu_bench.rs`.
#![expect(unsafe_code, reason = "sets what the stand-ins do")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use half::{bf16, f16};
use libloading::Library;
use serde_json::json;
use sightline_core::ImageFormat;
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_core::image_spec::open_clip::from_open_clip;
use sightline_core::image_spec::{
    CropRounding, Filter, Fit, ImageSpec, Layout, Padding, Reference, Size,
};
use sightline_cuda::library::{NVJPEG, NVRTC, Places};
use sightline_imaging::{Channels, EncodeSpec, Limits, Pixels, encode};
use sightline_preprocess::cuda::{Cuda, CudaOptions, Decode, GpuError, Report};
use sightline_preprocess::{Element, Preprocessor, Workspace};
use sightline_testkit::compiled;

/// The stand-ins. Whoever holds the lock has them for itself.
struct Fakes {
    driver: Library,
    nvjpeg: Library,
    places: Places,
    _folder: tempfile::TempDir,
}

static FAKES: LazyLock<Mutex<Fakes>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda/tests/fake");
    let driver = compiled(
        sources.join("driver.c"),
        folder.path(),
        &["-Wl,-soname,libcuda.so.1"],
    );
    let nvjpeg = compiled(sources.join("nvjpeg.c"), folder.path(), &[]);
    // SAFETY: they were just compiled and have no initialisers. Once the driver is open, its name finds it.
    let open = |path: &Path| unsafe { Library::new(path) }.expect("it opens");
    Mutex::new(Fakes {
        places: Places::default()
            .with(NVRTC, driver.clone())
            .with(NVJPEG, nvjpeg.clone()),
        driver: open(&driver),
        nvjpeg: open(&nvjpeg),
        _folder: folder,
    })
});

impl Fakes {
    /// The stand-ins as they are at first.
    fn take() -> MutexGuard<'static, Self> {
        let fakes = FAKES.lock().unwrap_or_else(PoisonError::into_inner);
        fakes.set("fake_version", 13_000i32);
        fakes.set("fake_cards", 1i32);
        fakes.set("fake_memory", 1usize << 40);
        fakes.set("fake_launches", 0i32);
        fakes.set("fake_lives", 1i32 << 30);
        fakes.set_nvjpeg("fake_engines", 1i32);
        fakes.set("fake_idle", 0i32);
        fakes.set_nvjpeg("fake_painted", 0i32);
        fakes.set_nvjpeg("fake_batches", 0i32);
        fakes.set_nvjpeg("fake_pause", 0i32);
        fakes
    }

    fn set<T>(&self, name: &str, value: T) {
        // SAFETY: the variable has that type, and nothing runs meanwhile.
        unsafe {
            **self
                .driver
                .get::<*mut T>(name.as_bytes())
                .expect("it is there") = value;
        };
    }

    fn set_nvjpeg<T>(&self, name: &str, value: T) {
        // SAFETY: as above.
        unsafe {
            **self
                .nvjpeg
                .get::<*mut T>(name.as_bytes())
                .expect("it is there") = value;
        };
    }

    fn get<T: Copy>(&self, name: &str) -> T {
        // SAFETY: as above.
        unsafe {
            **self
                .driver
                .get::<*mut T>(name.as_bytes())
                .expect("it is there")
        }
    }

    fn get_nvjpeg<T: Copy>(&self, name: &str) -> T {
        // SAFETY: as above.
        unsafe {
            **self
                .nvjpeg
                .get::<*mut T>(name.as_bytes())
                .expect("it is there")
        }
    }

    fn open(&self, spec: &ImageSpec, options: CudaOptions) -> Result<Cuda, GpuError> {
        let preprocessor =
            Preprocessor::new(spec.clone(), Limits::default()).expect("the specification is right");
        Cuda::open(preprocessor, 0, &self.places, options)
    }
}

fn options(decode: Decode) -> CudaOptions {
    CudaOptions {
        decode,
        threads: NonZeroUsize::new(3).expect("not zero"),
        ..CudaOptions::default()
    }
}

fn picture(width: u32, height: u32, channels: Channels) -> Pixels {
    let count = width * height * channels.count() as u32;
    let data = (0..count)
        .map(|i| (i.wrapping_mul(0x9E37_79B1) >> 24) as u8)
        .collect();
    Pixels::new(width, height, channels, data).expect("the size is right")
}

fn jpeg(pixels: &Pixels) -> Vec<u8> {
    encode(pixels, &EncodeSpec::jpeg(90)).expect("it can be written")
}

/// A grey file, which both decoders make 128; one that nvJPEG answers with `answer`, if it is not 0.
fn grey(width: u32, height: u32, answer: u8) -> Vec<u8> {
    let pixels =
        Pixels::filled(width, height, Channels::Rgb, &[128; 3]).expect("the size is right");
    let mut file = jpeg(&pixels);
    file.splice(2..2, [0xff, 0xfe, 0, 3, answer]);
    file
}

fn clip() -> ImageSpec {
    from_hugging_face(&json!({ "size": 48, "crop_size": 48 })).expect("the configuration is right")
}

fn specs() -> Vec<ImageSpec> {
    let crop = CropRounding::Floor;
    let size = Size {
        width: 40,
        height: 24,
    };
    let new = |fit, filter, reference| ImageSpec::new(size, fit, filter, reference);
    vec![
        clip(),
        from_open_clip(&json!({ "preprocess_cfg": { "size": 48 } }))
            .expect("the configuration is right"),
        ImageSpec {
            fill: [9, 200, 31],
            padding: Padding::LargerBefore,
            layout: Layout::Nhwc,
            ..new(
                Fit::Contain { size, crop },
                Filter::Lanczos,
                Reference::Pillow12,
            )
        },
        new(
            Fit::Squash { size, crop },
            Filter::Nearest,
            Reference::Pillow13,
        ),
        new(
            Fit::CropOnly { crop },
            Filter::Box,
            Reference::TorchvisionU8,
        ),
        new(
            Fit::Squash { size, crop },
            Filter::Bilinear,
            Reference::OpenCv,
        ),
    ]
}

/// Values on the card and on the CPU, file by file.
fn assert_equal<T: Element + PartialEq + std::fmt::Debug>(
    cuda: &Cuda,
    files: &[Vec<u8>],
    batch: usize,
) -> Report {
    let preprocessor = cuda.preprocessor();
    let (mut bytes, mut seen) = (Vec::new(), 0);
    let batches = files
        .chunks(batch)
        .map(|files| files.iter().map(Vec::as_slice).collect::<Vec<&[u8]>>());
    let report = cuda
        .run::<T, &[u8]>(batches, |batch| {
            batch.read(&mut bytes)?;
            assert_eq!(batch.first, seen, "batches come in their order");
            let rows = bytes.chunks_exact(preprocessor.len() * size_of::<T>());
            assert_eq!(rows.len(), batch.outcomes.len());
            for (outcome, row) in batch.outcomes.iter().zip(rows) {
                let mut expected = vec![T::default(); preprocessor.len()];
                let made = preprocessor.prepare_into(
                    &files[seen],
                    &mut Workspace::default(),
                    &mut expected,
                );
                match (outcome, made) {
                    (Ok(()), Ok(())) => {
                        let mut values = Vec::new();
                        T::write_le(&expected, &mut values);
                        assert!(values == row, "file {seen} differs");
                    }
                    (Err(found), Err(expected)) => {
                        assert_eq!(found.to_string(), expected.to_string(), "file {seen}");
                        assert!(
                            row.iter().all(|&byte| byte == 0),
                            "values of the broken file {seen}"
                        );
                    }
                    (found, expected) => panic!("file {seen}: {found:?}, not {expected:?}"),
                }
                seen += 1;
            }
            Ok(true)
        })
        .expect("the card works");
    assert_eq!(seen, files.len());
    assert_eq!(report.images + report.broken, files.len());
    report
}

#[test]
fn values_are_those_of_the_cpu_whatever_the_files_are() {
    let fakes = Fakes::take();
    let png = |channels| {
        let spec = EncodeSpec::lossless(ImageFormat::Png);
        encode(&picture(61, 50, channels), &spec).expect("it can be written")
    };
    let mut files = vec![
        png(Channels::Rgb),
        png(Channels::Rgba),
        b"no image".to_vec(),
        Vec::new(),
    ];
    for (width, height) in [
        (301, 203),
        (64, 211),
        (50, 49),
        (48, 48),
        (17, 9),
        (16, 700),
        (900, 5),
    ] {
        files.push(jpeg(&picture(width, height, Channels::Rgb)));
    }
    files.push(jpeg(&picture(99, 70, Channels::Grey)));
    let whole = jpeg(&picture(120, 90, Channels::Rgb));
    files.push(whole[..whole.len() / 2].to_vec());
    files.push([&whole[..], b"behind it"].concat());
    for spec in specs() {
        let cuda = fakes.open(&spec, options(Decode::Host)).unwrap();
        for batch in [1, 4, 100] {
            assert_equal::<f32>(&cuda, &files, batch);
        }
        assert_equal::<f16>(&cuda, &files, 5);
        assert_equal::<bf16>(&cuda, &files, 5);
    }
}

#[test]
fn engines_and_threads_share_a_queue_and_broken_files_are_their_own() {
    let fakes = Fakes::take();
    let mut files: Vec<Vec<u8>> = (0..150u32)
        .map(|i| grey(50 + i % 70, 49 + i % 31, 0))
        .collect();
    // One that nvJPEG calls bad and that is whole, one that is cut, one of another kind.
    files[40] = grey(77, 66, 10);
    let len = files[90].len();
    files[90].truncate(len - 30);
    files[120] = b"GIF89a".to_vec();
    for (decode, engines) in [(Decode::Any, 1), (Decode::Card, 1), (Decode::Card, 0)] {
        fakes.set_nvjpeg("fake_engines", engines);
        fakes.set_nvjpeg("fake_painted", 0);
        let cuda = fakes.open(&clip(), options(decode)).unwrap();
        assert_eq!(cuda.has_engines(), engines == 1);
        let report = assert_equal::<bf16>(&cuda, &files, 64);
        assert_eq!(report.broken, 2);
        let decoded = report.engines + report.multiprocessors + report.threads + report.values;
        assert_eq!(decoded, 150, "{report:?}");
        if engines == 0 {
            assert_eq!((report.engines, report.refused), (0, 0));
            assert_eq!(report.multiprocessors, 147, "{report:?}");
        }
        // Slots, streams and decoders are used again.
        assert_equal::<bf16>(&cuda, &files, 64);
    }
}

#[test]
fn shapes_that_the_kernel_has_no_room_for_are_the_hosts() {
    let fakes = Fakes::take();
    let files: Vec<Vec<u8>> = (0..12u32).map(|i| grey(12_000 + i % 3, 30, 0)).collect();
    let cuda = fakes.open(&specs()[4], options(Decode::Any)).unwrap();
    let cropped = assert_equal::<f32>(&cuda, &files, 5);
    let crop = CropRounding::Floor;
    let size = Size::square(48);
    let squash = ImageSpec::new(
        size,
        Fit::Squash { size, crop },
        Filter::Lanczos,
        Reference::Pillow13,
    );
    let cuda = fakes.open(&squash, options(Decode::Any)).unwrap();
    let lanczos = assert_equal::<f32>(&cuda, &files, 5);
    assert_eq!(
        (cropped.values, lanczos.values),
        (0, 12),
        "{cropped:?} {lanczos:?}"
    );
}

/// A batch takes as long as a file does, so whoever takes small ones wastes the engines.
#[test]
fn engines_are_given_large_batches_as_long_as_there_is_work() {
    let fakes = Fakes::take();
    fakes.set("fake_idle", 1i32);
    fakes.set_nvjpeg("fake_pause", 3000i32);
    let files: Vec<Vec<u8>> = (0..256u32)
        .map(|i| grey(50 + i % 70, 49 + i % 31, 0))
        .collect();
    let cuda = fakes.open(&clip(), options(Decode::Any)).unwrap();
    let batches = (0..24).map(|_| files.iter().map(Vec::as_slice).collect::<Vec<&[u8]>>());
    let report = cuda.run::<f32, &[u8]>(batches, |_| Ok(true)).unwrap();
    assert_eq!(report.images, 24 * 256);
    let calls: i32 = fakes.get_nvjpeg("fake_batches");
    assert!(
        report.engines as f64 > 16.0 * f64::from(calls),
        "{calls} calls, {report:?}"
    );
}

#[test]
fn pixels_of_the_card_are_compared_with_those_of_the_cpu() {
    let fakes = Fakes::take();
    let cuda = fakes.open(&clip(), options(Decode::Any)).unwrap();
    let same = cuda
        .deviation_from_exact([grey(99, 80, 0), grey(60, 61, 0), b"no image".to_vec()])
        .unwrap();
    assert_eq!((same.images, same.failed, same.max_levels), (2, 1, 0));
    // The stand-in paints every file grey.
    let other = cuda
        .deviation_from_exact([jpeg(&picture(99, 80, Channels::Rgb))])
        .unwrap();
    assert!(
        other.max_levels > 20 && other.mean_levels > 1.0,
        "{other:?}"
    );
}

#[test]
fn without_memory_batches_are_halved_and_the_host_helps() {
    let fakes = Fakes::take();
    let files: Vec<Vec<u8>> = (0..24u32)
        .map(|i| jpeg(&picture(400 + i, 300, Channels::Rgb)))
        .collect();
    let before: usize = fakes.get("fake_used");
    fakes.set("fake_memory", before + (4 << 20));
    let cuda = fakes.open(&clip(), options(Decode::Host)).unwrap();
    let report = assert_equal::<f32>(&cuda, &files, 24);
    assert!(report.halved > 0, "{report:?}");
    // Not even one picture has room.
    drop(cuda);
    fakes.set("fake_memory", before + (300 << 10));
    let one = CudaOptions {
        in_flight: NonZeroUsize::MIN,
        ..options(Decode::Host)
    };
    let cuda = fakes.open(&clip(), one).unwrap();
    let report = assert_equal::<f32>(&cuda, &files[..2], 2);
    assert_eq!(report.values, 2, "{report:?}");
    drop(cuda);
    assert_eq!(
        fakes.get::<usize>("fake_used"),
        before,
        "everything was given back"
    );
}

#[test]
fn a_card_that_disappears_ends_the_work_by_name() {
    let fakes = Fakes::take();
    let files: Vec<Vec<u8>> = (0..40u32).map(|i| grey(60 + i, 50, 0)).collect();
    let cuda = fakes.open(&clip(), options(Decode::Any)).unwrap();
    fakes.set("fake_lives", 2i32);
    let batches = files.chunks(8).map(<[_]>::to_vec);
    let mut handed = 0;
    let error = cuda
        .run::<f32, Vec<u8>>(batches, |batch| {
            handed += batch.outcomes.len();
            Ok(true)
        })
        .unwrap_err();
    assert!(handed <= 16, "{handed}");
    let GpuError::Cuda(error) = error else {
        panic!("{error:?}");
    };
    assert!(error.is_lost(), "{error:?}");
    assert_eq!(error.to_string(), "the driver cannot launch the kernel");
}

#[test]
fn a_sink_that_has_enough_ends_the_work() {
    let fakes = Fakes::take();
    let cuda = fakes.open(&clip(), options(Decode::Any)).unwrap();
    let file = grey(80, 60, 0);
    let endless = std::iter::repeat_with(|| vec![file.as_slice(); 4]);
    let mut batches = 0;
    let report = cuda.run::<f32, &[u8]>(endless, |_| {
        batches += 1;
        Ok(batches < 5)
    });
    assert_eq!(report.unwrap().images, 20);
    assert_eq!(batches, 5);
}

#[test]
fn what_is_missing_is_named() {
    let fakes = Fakes::take();
    let open = || {
        fakes
            .open(&clip(), options(Decode::Any))
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    fakes.set("fake_version", 11_040i32);
    assert_eq!(
        open(),
        "the NVIDIA driver speaks CUDA 11.4, needed is 12.0 or newer"
    );
    fakes.set("fake_version", 13_000i32);
    fakes.set("fake_cards", 0i32);
    assert_eq!(open(), "there is no card cuda:0; the driver sees 0");
}
