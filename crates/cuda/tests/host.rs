//! The kernel's body compiled as C for this machine against the same sums written plainly.
#![expect(unsafe_code, reason = "calls what was compiled")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libloading::{Library, Symbol};
use proptest::prelude::*;
use sightline_cuda::layout::{AxisTable, Batch, Image, Shape, VALUES, row_bytes};
use sightline_testkit::compiled;

/// `resize_on_host` of the kernel's source.
type Resize = unsafe extern "C" fn(
    jobs: *const u32,
    count: u32,
    tables: *const u32,
    values: *const u32,
    out: u64,
    shape: *const u32,
    memory: *mut u32,
);

/// A file of this crate.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Most bytes of shared memory of a block.
const MOST: u64 = 227 << 10;

static COMPILED: LazyLock<(tempfile::TempDir, Library)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = compiled(here("src/kernels/resize.cu"), folder.path(), &[]);
    // SAFETY: it was just compiled, and has no initialisers.
    let library = unsafe { Library::new(path) }.expect("it opens");
    (folder, library)
});

fn on_host(batch: &Batch, shape: &Shape, values: &[u32], out: &mut [u32]) {
    // SAFETY: the function of that name has that type.
    let resize: Symbol<'_, Resize> =
        unsafe { COMPILED.1.get(b"resize_on_host") }.expect("it has the function");
    let mut memory = vec![0xdead_beef_u128; batch.memory().div_ceil(16) as usize];
    let words = batch.shape_words(shape);
    // SAFETY: every slice is as long as the kernel expects for this batch.
    unsafe {
        resize(
            batch.jobs().as_ptr(),
            batch.len() as u32,
            batch.tables().as_ptr(),
            values.as_ptr(),
            out.as_mut_ptr() as u64,
            words.as_ptr(),
            memory.as_mut_ptr().cast(),
        );
    }
}

/// Weights along one axis.
#[derive(Clone, Debug)]
struct Sums {
    spans: Vec<(u32, u32)>,
    stride: usize,
    weights: Vec<i32>,
    bits: u32,
}

impl Sums {
    /// A target of `to` pixels of a source of `from`, each of some neighbours, with weights without order; now and then
    /// a target pixel has none.
    fn new(from: u32, to: u32, reach: u32, bits: u32, seed: u32) -> Self {
        let mut state = seed | 1;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let mut spans = Vec::new();
        for i in 0..to {
            let centre = (u64::from(i) * u64::from(from) / u64::from(to)) as u32;
            let first = centre
                .saturating_sub(reach)
                .max(spans.last().map_or(0, |s: &(u32, u32)| s.0));
            let count = (next() % (2 * reach + 2)).min(from - first);
            spans.push((first, count));
        }
        let stride = spans.iter().map(|span| span.1).max().unwrap_or(0) as usize;
        let one = 1i32 << bits;
        let weights = (0..to as usize * stride)
            .map(|_| next() as i32 % one - one / 4)
            .collect();
        Self {
            spans,
            stride,
            weights,
            bits,
        }
    }

    fn table(&self, shift: u32) -> AxisTable {
        AxisTable::new(&self.spans, self.stride, &self.weights, self.bits, shift)
    }

    fn sum(&self, target: usize, at: impl Fn(u32) -> u8) -> u8 {
        let (first, count) = self.spans[target];
        let mut sum = 1i32 << (self.bits - 1);
        for k in 0..count {
            let weight = self.weights[target * self.stride + k as usize];
            sum = sum.wrapping_add(i32::from(at(first + k)).wrapping_mul(weight));
        }
        (sum >> self.bits).clamp(0, 255) as u8
    }
}

/// An image and what becomes of it.
#[derive(Clone, Debug)]
struct Case {
    width: u32,
    height: u32,
    across: Sums,
    down: Sums,
    vertical_first: bool,
    place: (u32, u32),
    /// Pixels before the first that is read.
    shift: u32,
    seed: u32,
}

impl Case {
    fn pixels(&self) -> Vec<u8> {
        let mut state = self.seed | 1;
        (0..self.width * self.height * 3)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    }

    /// The rows with `shift` pixels before and padding behind them, none of which counts.
    fn padded(&self) -> (Vec<u128>, u32) {
        let stride = row_bytes(self.shift + self.width);
        let mut bytes = vec![0x5a; (stride * self.height) as usize];
        let rows = self.pixels();
        for (row, to) in rows
            .chunks_exact(3 * self.width as usize)
            .zip(bytes.chunks_exact_mut(stride as usize))
        {
            to[3 * self.shift as usize..][..row.len()].copy_from_slice(row);
        }
        // In memory that starts on a multiple of 16.
        let (words, _) = bytes.as_chunks::<16>();
        let words = words.iter().map(|&word| u128::from_le_bytes(word));
        (words.collect(), stride)
    }

    /// Levels of the window, row by row.
    fn plain(&self) -> Vec<u8> {
        let pixels = self.pixels();
        let (out_width, out_height) = (self.across.spans.len(), self.down.spans.len());
        let at =
            |data: &[u8], width: usize, x: usize, y: usize, c: usize| data[(y * width + x) * 3 + c];
        let width = self.width as usize;
        let mut out = Vec::new();
        if self.vertical_first {
            let mut between = Vec::new();
            for y in 0..out_height {
                for x in 0..width {
                    for c in 0..3 {
                        between.push(
                            self.down
                                .sum(y, |row| at(&pixels, width, x, row as usize, c)),
                        );
                    }
                }
            }
            for y in 0..out_height {
                for x in 0..out_width {
                    for c in 0..3 {
                        out.push(
                            self.across
                                .sum(x, |column| at(&between, width, column as usize, y, c)),
                        );
                    }
                }
            }
        } else {
            let mut between = Vec::new();
            for y in 0..self.height as usize {
                for x in 0..out_width {
                    for c in 0..3 {
                        between.push(
                            self.across
                                .sum(x, |column| at(&pixels, width, column as usize, y, c)),
                        );
                    }
                }
            }
            for y in 0..out_height {
                for x in 0..out_width {
                    for c in 0..3 {
                        out.push(
                            self.down
                                .sum(y, |row| at(&between, out_width, x, row as usize, c)),
                        );
                    }
                }
            }
        }
        out
    }
}

/// A case within a tensor of the given size.
fn case(width: u32, height: u32) -> impl Strategy<Value = Case> {
    let window = (1..=width, 1..=height)
        .prop_flat_map(move |(w, h)| (Just((w, h)), (0..=width - w, 0..=height - h)));
    let bits = prop::sample::select(vec![15u32, 18, 22]);
    (
        window,
        (1u32..160, 1u32..160),
        (0u32..9, 0u32..9),
        bits,
        any::<bool>(),
        0u32..16,
        any::<u32>(),
    )
        .prop_map(
            |((window, place), from, reach, bits, vertical_first, shift, seed)| Case {
                width: from.0,
                height: from.1,
                across: Sums::new(from.0, window.0, reach.0, bits, seed),
                down: Sums::new(from.1, window.1, reach.1, bits, !seed),
                vertical_first,
                place,
                shift,
                seed,
            },
        )
}

fn batch() -> impl Strategy<Value = (Shape, Vec<Case>)> {
    (
        1u32..80,
        1u32..80,
        any::<[u8; 3]>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_flat_map(|(width, height, fill, channels_last, wide)| {
            let shape = Shape {
                width,
                height,
                fill,
                channels_last,
                wide,
            };
            (
                Just(shape),
                prop::collection::vec(case(width, height), 1..4),
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_kernel_makes_the_values_of_plain_sums((shape, cases) in batch()) {
        let values: Vec<u32> = (0..VALUES as u32).map(|i| if shape.wide { i * 77_777 + 5 } else { i * 77 + 5 }).collect();
        let tables: Vec<_> = cases.iter().map(|case| (case.across.table(case.shift), case.down.table(0))).collect();
        let sources: Vec<_> = cases.iter().map(Case::padded).collect();
        let mut batch = Batch::default();
        for (i, (case, ((across, down), (source, stride)))) in cases.iter().zip(tables.iter().zip(&sources)).enumerate() {
            let image = Image {
                source: source.as_ptr() as u64,
                stride: *stride,
                rows: case.height,
                across,
                down,
                vertical_first: case.vertical_first,
                place: case.place,
            };
            // The last image comes first, so that places count.
            prop_assert!(batch.push(&image, (cases.len() - 1 - i) as u32, MOST));
        }
        let pixels = (shape.width * shape.height) as usize;
        let count = cases.len() * 3 * pixels;
        let mut out = vec![0xdddd_dddd_u32; if shape.wide { count } else { count.div_ceil(2) }];
        on_host(&batch, &shape, &values, &mut out);
        let found = |i: usize| if shape.wide { out[i] } else { out[i / 2] >> (16 * (i % 2)) & 0xffff };
        for (i, case) in cases.iter().enumerate() {
            let plain = case.plain();
            let (window_width, window_height) = (case.across.spans.len() as u32, case.down.spans.len() as u32);
            for y in 0..shape.height {
                for x in 0..shape.width {
                    let inside = x.wrapping_sub(case.place.0) < window_width && y.wrapping_sub(case.place.1) < window_height;
                    for c in 0..3usize {
                        let level = if inside {
                            plain[((y - case.place.1) * window_width + x - case.place.0) as usize * 3 + c]
                        } else {
                            shape.fill[c]
                        };
                        let pixel = (y * shape.width + x) as usize;
                        let image = cases.len() - 1 - i;
                        let at = if shape.channels_last {
                            (image * pixels + pixel) * 3 + c
                        } else {
                            (image * 3 + c) * pixels + pixel
                        };
                        prop_assert_eq!(found(at), values[c * 256 + usize::from(level)], "image {} at {},{},{}", i, x, y, c);
                    }
                }
            }
        }
    }
}
