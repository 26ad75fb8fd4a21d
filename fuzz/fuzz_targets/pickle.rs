//! Any bytes as a pickle: read or refused by every reader that there is, without a panic; what the strictest one reads,
//! the most lenient one reads too.
//!
//! Inputs grow from small pickles of each kind.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use sightline_metrics::cider::DocumentFrequencies;
use sightline_pickle::{Plain, read};

// The meanings alone: the crates that they are of bring candle, which takes long to compile with coverage.
#[expect(dead_code, reason = "what else `nn` does with it is not here")]
#[path = "../../crates/nn/src/pickle/meaning.rs"]
mod pytorch;

#[expect(dead_code, reason = "what else `preprocess` does with it is not here")]
#[path = "../../crates/preprocess/src/regions/pickle/meaning.rs"]
mod numpy;

fuzz_target!(|bytes: &[u8]| {
    let mut torch = pytorch::Torch::default();
    let lenient = read(bytes, &mut torch);
    if let Ok(built) = &lenient {
        for view in &torch.views {
            // What was accepted as a view is one.
            let [shape, strides] =
                [view.shape, view.strides].map(|v| pytorch::sizes(&built.arena, v));
            assert_eq!(shape.map(|s| s.len()), strides.map(|s| s.len()));
            assert!((view.storage as usize) < torch.storages.len());
        }
    }
    let mut numpy = numpy::NumPy::default();
    if read(bytes, &mut numpy).is_ok() {
        for array in numpy.arrays.iter().flatten() {
            assert!((array.dtype as usize) < numpy.dtypes.len());
        }
    }
    let _ = DocumentFrequencies::from_bytes(bytes);
    if let Ok(built) = read(bytes, &mut Plain) {
        assert!(built.len_bytes <= bytes.len());
        let lenient = lenient.expect("plain data is read by everyone");
        assert_eq!(built.len_bytes, lenient.len_bytes);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let seeds = &*SEEDS;
    let pickle = seeds[seed as usize % seeds.len()];
    // Names do not grow by themselves.
    if (size < 2 || seed.is_multiple_of(512)) && pickle.len() <= max_size {
        data[..pickle.len()].copy_from_slice(pickle);
        return pickle.len();
    }
    fuzzer_mutate(data, size, max_size)
});

/// Bytes before the first entry of a zip archive whose name has `name_len` bytes.
const fn behind_header(name_len: usize) -> usize {
    30 + name_len
}

/// An array in a dictionary, by NumPy 2.4 and Python 3.11 in protocol 2.
const ARRAY: &[u8] = b"\x80\x02}q\x00(X\x04\x00\x00\x00bboxq\x01cnumpy._core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04c_codecs\nencode\nq\x05X\x01\x00\x00\x00bq\x06X\x06\x00\x00\x00latin1q\x07\x86q\x08Rq\t\x87q\nRq\x0b(K\x01K\x01K\x02\x86q\x0ccnumpy\ndtype\nq\rX\x02\x00\x00\x00f4q\x0e\x89\x88\x87q\x0fRq\x10(K\x03X\x01\x00\x00\x00<q\x11NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x12b\x89h\x05X\x08\x00\x00\x0012345678q\x13h\x07\x86q\x14Rq\x15tq\x16bX\t\x00\x00\x00num_boxesq\x17K\x02u.";

/// Small pickles.
static SEEDS: LazyLock<Vec<&[u8]>> = LazyLock::new(|| {
    vec![
        ARRAY,
        include_bytes!("../../crates/metrics/tests/fixtures/frequencies/python2-0.p"),
        include_bytes!("../../crates/metrics/tests/fixtures/frequencies/numpy-2.p"),
        include_bytes!("../../crates/metrics/tests/fixtures/frequencies/words-4.p"),
        // The pickle of an archive is its first entry.
        &include_bytes!("../../crates/nn/tests/fixtures/torch/zipped.bin")
            [behind_header("archive/data.pkl".len())..],
        &include_bytes!("../../crates/nn/tests/fixtures/torch/scripted.pt")
            [behind_header("ViT-tiny/data.pkl".len())..],
    ]
});
