//! The calls of nvJPEG against a library that stands in for it.
#![expect(unsafe_code, reason = "calls the stand-in, and reads its counters")]

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::Arc;

use libloading::Library;
use sightline_cuda::Error;
use sightline_cuda::library::{NVJPEG, Places};
use sightline_cuda::nvjpeg::{Hardware, Hybrid, Nvjpeg, Target};
use sightline_testkit::compiled;

/// A file of this crate.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The stand-in, and how to read its counters.
struct Fake {
    nvjpeg: Arc<Nvjpeg>,
    library: Library,
    _folder: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = compiled(here("tests/fake/nvjpeg.c"), folder.path(), &[]);
        let places = Places::default().with(NVJPEG, path.clone());
        Self {
            nvjpeg: Nvjpeg::open(&places).expect("it has the functions"),
            // SAFETY: it was just compiled, and has no initialisers.
            library: unsafe { Library::new(path) }.expect("it opens"),
            _folder: folder,
        }
    }

    fn counter(&self, name: &str) -> *mut c_int {
        // SAFETY: the counters are integers of that name.
        unsafe {
            *self
                .library
                .get::<*mut c_int>(name.as_bytes())
                .expect("it has the counter")
        }
    }

    fn count(&self, name: &str) -> c_int {
        // SAFETY: as above; nobody writes them meanwhile.
        unsafe { *self.counter(name) }
    }
}

fn target(pixels: &mut [u8], stride: u32) -> Target {
    Target {
        address: pixels.as_mut_ptr() as u64,
        stride,
    }
}

fn decode(engines: &mut Hardware, files: &[&[u8]], targets: &[Target]) -> Result<(), Error> {
    // SAFETY: the stand-in paints at once, in memory that the tests own and that is large enough.
    unsafe { engines.decode(files, targets, null_mut()) }
}

fn decode_one(decoder: &mut Hybrid, file: &[u8], target: Target) -> Result<(), Error> {
    // SAFETY: as above.
    unsafe { decoder.decode(file, target, null_mut()) }
}

#[test]
fn engines_decode_batches_and_everything_is_given_back() {
    let fake = Fake::new();
    let mut engines = Hardware::new(&fake.nvjpeg).unwrap();
    assert!(engines.accepts(b"F\x02\x02abc\0"));
    assert!(!engines.accepts(b"F\x02"));
    assert!(!engines.accepts(b"GIF89a."));
    let mut pixels = [0u8; 64];
    let (first, second) = pixels.split_at_mut(32);
    let (a, b) = (target(first, 16), target(second, 12));
    let (one, other): (&[u8], &[u8]) = (b"F\x02\x02abc\0", b"F\x01\x01xyz\0");
    for _ in 0..3 {
        decode(&mut engines, &[one, other], &[a, b]).unwrap();
    }
    // Each by itself, with the same state.
    assert_eq!(fake.count("fake_starts"), 1);
    assert_eq!(pixels[..7], *b"abcabc\0");
    assert_eq!(pixels[16..23], *b"abcabc\0");
    assert_eq!(pixels[32..36], *b"xyz\0");
    // Five are four and one.
    decode(
        &mut engines,
        &[other, other, other, one, other],
        &[b, b, b, a, b],
    )
    .unwrap();
    assert_eq!(fake.count("fake_starts"), 2);

    let broken: [&[u8]; 4] = [one, other, other, b"F\x01\x01xyz\x0a"];
    let error = decode(&mut engines, &broken, &[a, b, b, b]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nvJPEG's nvjpegDecodeBatched: incomplete file"
    );
    let Error::Nvjpeg { status, .. } = error else {
        panic!("{error:?}");
    };
    assert!(status.is_of_the_file());
    decode(&mut engines, &[one, other, one, other], &[a, b, a, b]).unwrap();
    assert_eq!(fake.count("fake_starts"), 3);
    drop(engines);
    assert_eq!(fake.count("fake_handles"), 0);
}

#[test]
fn single_files_are_decoded_and_broken_ones_are_errors_of_their_own() {
    let fake = Fake::new();
    let mut decoder = Hybrid::new(&fake.nvjpeg).unwrap();
    let mut pixels = [0u8; 32];
    let to = target(&mut pixels, 16);
    decode_one(&mut decoder, b"F\x01\x02abc\0", to).unwrap();
    let error = decode_one(&mut decoder, b"no file", to).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nvJPEG's nvjpegJpegStreamParse: bad JPEG file"
    );
    let error = decode_one(&mut decoder, b"F\x01\x02abc\x04", to).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nvJPEG's nvjpegDecodeJpegDevice: JPEG file of a kind that is not supported"
    );
    decode_one(&mut decoder, b"F\x01\x01xyz\0", to).unwrap();
    assert_eq!(
        (&pixels[..4], &pixels[16..20]),
        (&b"xyz\0"[..], &b"abc\0"[..])
    );
    drop(decoder);
    assert_eq!(fake.count("fake_handles"), 0);
}

#[test]
fn a_card_without_engines_says_so_and_has_the_other_way() {
    let fake = Fake::new();
    // SAFETY: nothing else uses this copy of the library.
    unsafe { *fake.counter("fake_engines") = 0 };
    let error = Hardware::new(&fake.nvjpeg).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nvJPEG's nvjpegCreateEx: the card is too old"
    );
    assert!(Hardware::without_engines(&fake.nvjpeg).is_ok());
    assert_eq!(fake.count("fake_handles"), 0);
}

#[test]
fn a_library_of_another_kind_is_refused_by_the_function_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = compiled(here("src/kernels/resize.cu"), folder.path(), &[]);
    let error = Nvjpeg::open(&Places::default().with(NVJPEG, path)).unwrap_err();
    assert_eq!(error.to_string(), "nvJPEG has no function `nvjpegCreateEx`");
}
