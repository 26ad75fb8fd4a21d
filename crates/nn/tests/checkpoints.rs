//! Checkpoints in every form that PyTorch has written, as `fixtures/torch/make.py` imitates them.

#![expect(clippy::unwrap_used, reason = "a broken fixture fails the test")]

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use sightline_core::Hint;
use sightline_core::progress::Silent;
use sightline_nn::{Error, Tensors, Weights};

/// What `expected.json` says of a file.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Tensors(BTreeMap<String, Described>),
    Refused(String),
}

#[derive(Debug, Deserialize, PartialEq)]
struct Described {
    dtype: String,
    shape: Vec<usize>,
    values: Vec<f64>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch")
}

/// Everything in a checkpoint, through the safetensors file that it becomes.
fn described(path: &Path) -> Result<BTreeMap<String, Described>, Error> {
    let mut file = Vec::new();
    Tensors::open(path)?.write_safetensors(&mut file, &Silent)?;
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let mut found = BTreeMap::new();
    for (name, view) in tensors.tensors() {
        let described = Described {
            dtype: format!("{:?}", view.dtype()),
            shape: view.shape().to_vec(),
            values: numbers(view.dtype(), view.data()),
        };
        found.insert(name, described);
    }
    Ok(found)
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    let one = |bytes: &[u8]| match dtype {
        Dtype::F64 => f64::from_le_bytes(bytes.try_into().unwrap()),
        Dtype::F32 => f32::from_le_bytes(bytes.try_into().unwrap()).into(),
        Dtype::F16 => f16::from_le_bytes(bytes.try_into().unwrap()).into(),
        Dtype::BF16 => bf16::from_le_bytes(bytes.try_into().unwrap()).into(),
        Dtype::I64 => i64::from_le_bytes(bytes.try_into().unwrap()) as f64,
        Dtype::I32 => i32::from_le_bytes(bytes.try_into().unwrap()).into(),
        Dtype::I16 => i16::from_le_bytes(bytes.try_into().unwrap()).into(),
        Dtype::I8 => i8::from_le_bytes(bytes.try_into().unwrap()).into(),
        Dtype::U8 | Dtype::BOOL => bytes[0].into(),
        other => panic!("{other:?}"),
    };
    bytes.chunks(dtype.bitsize() / 8).map(one).collect()
}

#[test]
fn every_form_holds_what_its_writer_put_in() {
    let text = fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_str(&text).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "make.py" || name == "expected.json" {
            continue;
        }
        seen += 1;
        match (&expected[&name], described(&path)) {
            (Expected::Tensors(tensors), found) => {
                let found = found.unwrap_or_else(|error| panic!("{name}: {error:?}"));
                assert_eq!(&found, tensors, "{name}");
            }
            (Expected::Refused(because), Err(error)) => {
                let cause = error.source().unwrap().to_string();
                assert!(cause.contains(because), "{name}: {cause}");
                assert!(!error.hints().is_empty(), "{name}");
            }
            (Expected::Refused(because), Ok(_)) => panic!("{name}: not refused: {because}"),
        }
    }
    assert_eq!(seen, expected.len());
}

#[test]
fn a_model_reads_every_form_alike() {
    for name in [
        "state-dict.ckpt",
        "model-state-dict.ckpt",
        "nested-twice.pt",
        "other-name.pt",
        "python2-old.pth",
        "pytorch_model.bin.index.json",
    ] {
        let weights = Weights::open(&folder().join(name), &Device::Cpu).unwrap();
        let read = |name: &str, len: usize| -> Vec<f32> {
            let tensor: Tensor = weights.tensor(name, &[len]).unwrap();
            tensor.to_vec1().unwrap()
        };
        assert_eq!((read("a", 2), read("b", 1)), (vec![1.0, 2.0], vec![3.0]));
        assert!(weights.finish().unwrap().is_empty(), "{name}");
    }
}

#[test]
fn a_folder_with_one_file_of_weights_needs_no_usual_name() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        fs::copy(self::folder().join(from), folder.path().join(to)).unwrap();
    };
    let open = || Weights::open(folder.path(), &Device::Cpu).map(|_| ());
    copy("state-dict.ckpt", "optimizer.pt");
    copy("state-dict.ckpt", "training_args.bin");
    let error = open().unwrap_err().to_string();
    assert!(error.contains("has no weights: none of `open_clip_model.safetensors`, "));
    copy("state-dict.ckpt", "epoch_30.pt");
    assert!(open().is_ok());
    copy("state-dict.ckpt", "epoch_31.pt");
    let error = open().unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("has several files of weights: `epoch_30.pt`, `epoch_31.pt`")
    );
    assert_eq!(error.hints(), ["Name the file instead of the folder."]);
    copy("state-dict.ckpt", "open_clip_pytorch_model.bin");
    let files = Weights::files(folder.path()).unwrap();
    assert_eq!(files, [folder.path().join("open_clip_pytorch_model.bin")]);
}

#[test]
fn one_storage_under_a_thousand_names_is_not_written_a_thousand_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    // The older form: three pickles that say nothing, the object, the keys, the only storage.
    let mut bytes = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02K\x01.\x80\x02}.".to_vec();
    bytes.extend(b"\x80\x02}(");
    let values = 100_000u32;
    for i in 0..1000 {
        bytes.extend(format!("V{i}\nctorch._utils\n_rebuild_tensor_v2\n(").as_bytes());
        bytes.extend(
            b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0aX\x03\0\0\0cpuK\x01NtQK\0",
        );
        bytes.extend(format!("(I{values}\nt(I1\ntI00\nNtR").as_bytes());
    }
    bytes.extend(b"u.\x80\x02]X\x01\0\0\0aa.");
    bytes.extend(u64::from(values).to_le_bytes());
    bytes.extend(vec![0; 4 * values as usize]);
    fs::write(&path, bytes).unwrap();
    let tensors = Tensors::open(&path).unwrap();
    assert_eq!(tensors.count(), 1000);
    let mut written = Vec::new();
    let error = tensors
        .write_safetensors(&mut written, &Silent)
        .unwrap_err();
    let cause = error.source().unwrap().to_string();
    assert_eq!(
        cause,
        "its content has 400000000 bytes, the limit is 67108864"
    );
    assert!(written.is_empty());
}

#[test]
fn no_changed_byte_of_a_form_panics() {
    let work = tempfile::tempdir().unwrap();
    for name in [
        "scripted.pt",
        "old.bin",
        "python2-old.pth",
        "storage-view-old.pth",
    ] {
        let whole = fs::read(folder().join(name)).unwrap();
        let path = work.path().join(name);
        for at in 0..whole.len() {
            for value in [0x00, 0xff, whole[at].wrapping_add(1)] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                fs::write(&path, &bytes).unwrap();
                if let Ok(tensors) = Tensors::open(&path) {
                    let _ = tensors.write_safetensors(&mut Vec::new(), &Silent);
                }
            }
        }
    }
}
