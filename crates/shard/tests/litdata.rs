//! Chunks that litData wrote (`fixtures/litdata/make.py`), in the forms that we do not write.

use bytes::Bytes;
use serde_json::{Value, json};
use sightline_core::io::Memory;
use sightline_core::{ImageFormat, Sample};
use sightline_shard::{Error, Problem, ReaderStats, ShardFormat, litdata};

struct Form {
    name: &'static str,
    chunk: &'static [u8],
    index: &'static [u8],
}

macro_rules! form {
    ($name:literal) => {
        Form {
            name: $name,
            chunk: include_bytes!(concat!("fixtures/litdata/", $name, ".bin")),
            index: include_bytes!(concat!("fixtures/litdata/", $name, ".json")),
        }
    };
}

const FORMS: [Form; 4] = [
    form!("arrow"),
    form!("arrow-zstd"),
    form!("frames"),
    form!("items"),
];

impl Form {
    fn is_arrow(&self) -> bool {
        self.name.starts_with("arrow")
    }

    fn shards(&self, chunk: impl Into<Bytes>) -> Memory {
        let shards = Memory::default();
        shards.insert("index.json", self.index);
        shards.insert("chunk-0-0.bin", chunk.into());
        shards
    }

    /// The whole samples of `chunk`, and why there are no more.
    fn read(&self, chunk: impl Into<Bytes>) -> (Vec<Sample>, ReaderStats, Option<Error>) {
        let shards = self.shards(chunk);
        let mut samples = Vec::new();
        let mut reader = match litdata::PLAIN.open(&shards, "chunk-0-0.bin") {
            Ok(reader) => reader,
            Err(error) => return (samples, ReaderStats::default(), Some(error)),
        };
        loop {
            match reader.next_sample() {
                Ok(Some(sample)) => samples.push(sample),
                Ok(None) => return (samples, reader.stats().clone(), None),
                Err(error) => return (samples, reader.stats().clone(), Some(error)),
            }
        }
    }

    /// What `make.py` gave it of the sample `i`. Items have the names of their leaves, and no values that are missing.
    fn meta(&self, i: usize) -> Value {
        let tags: Vec<String> = (0..i % 3).map(|k| format!("t{k}")).collect();
        let label = (i.is_multiple_of(2)).then_some("cat");
        let mut meta = json!({
            "tags": tags,
            "boxes": [{"x": 0.5 * i as f64, "label": label}],
            "width": i as i64 - 5,
            "score": i as f64 / 4.0,
        });
        let fields = meta.as_object_mut().expect("this is an object");
        if self.is_arrow() {
            let lens = json!({"mm": i, "sharp": i.is_multiple_of(2)});
            fields.insert("exif".to_owned(), json!({"model": "X", "lens": lens}));
            fields.insert("nothing".to_owned(), Value::Null);
            if i.is_multiple_of(7) {
                fields.insert("caption".to_owned(), Value::Null);
            }
        } else {
            fields.insert("exif.model".to_owned(), "X".into());
            fields.insert("exif.lens.mm".to_owned(), i.into());
            let is_sharp = i.is_multiple_of(2);
            fields.insert("exif.lens.sharp".to_owned(), is_sharp.into());
        }
        meta
    }
}

#[test]
fn every_form_is_read() {
    for form in &FORMS {
        let (samples, stats, error) = form.read(form.chunk);
        assert!(error.is_none(), "{}: {error:?}", form.name);
        assert_eq!(samples.len(), 300, "{}", form.name);
        for (i, sample) in samples.iter().enumerate() {
            assert_eq!(sample.key.as_str(), format!("s{i:03}"));
            let captions = match (i.is_multiple_of(7), form.is_arrow()) {
                (false, _) => vec![format!("été {i} 😀")],
                (true, true) => vec![],
                (true, false) => vec![String::new()],
            };
            assert_eq!(sample.captions, captions, "{} {i}", form.name);
            let image = sample.image.as_ref().map(|image| {
                assert_eq!(image.format, ImageFormat::Jpg);
                image.bytes.to_vec()
            });
            let expected = [&[0xff, 0xd8, 0xff][..], &[i as u8; 5]].concat();
            let expected = (form.name != "arrow-zstd").then_some(expected);
            assert_eq!(image, expected, "{} {i}", form.name);
            assert_eq!(json!(sample.meta), form.meta(i), "{} {i}", form.name);
        }
        // Python's `None` is a pickle.
        let pickles = stats.passed_over.get("nothing").copied();
        assert_eq!(pickles, (!form.is_arrow()).then_some(300), "{}", form.name);
        let shards = form.shards(form.chunk);
        let count = litdata::PLAIN.count(&shards, "chunk-0-0.bin").unwrap();
        assert_eq!(count, 300);
    }
}

#[test]
fn samples_that_are_compressed_one_by_one_are_found_by_their_number() {
    for form in &FORMS {
        let shards = form.shards(form.chunk);
        let found = litdata::PLAIN.open_at(&shards, "chunk-0-0.bin").unwrap();
        let Some(found) = found else {
            assert_ne!(form.name, "items");
            continue;
        };
        let sample = found.read(299, &mut ReaderStats::default()).unwrap();
        assert_eq!(sample, form.read(form.chunk).0[299]);
    }
}

#[test]
fn cut_chunks_give_the_samples_before_the_cut() {
    for form in &FORMS {
        let (whole, ..) = form.read(form.chunk);
        for len in (0..form.chunk.len()).step_by(37) {
            let (samples, _, error) = form.read(&form.chunk[..len]);
            assert_eq!(
                samples,
                whole[..samples.len()],
                "{} cut at {len}",
                form.name
            );
            let is_told = matches!(
                error,
                Some(Error::Damaged {
                    problem: Problem::Truncated,
                    ..
                })
            );
            assert!(is_told, "{} cut at {len}: {error:?}", form.name);
        }
    }
}

#[test]
fn damaged_chunks_are_read_or_refused() {
    for form in &FORMS {
        for at in (0..form.chunk.len()).step_by(53) {
            let mut chunk = form.chunk.to_vec();
            chunk[at] ^= 1 << (at % 8);
            let (samples, ..) = form.read(chunk);
            assert!(samples.len() <= 300, "{} at {at}", form.name);
        }
    }
}

#[test]
fn numbers_that_cannot_be_true_are_refused_before_memory_is_taken() {
    let [arrow, _, frames, _] = &FORMS;
    // The length of the first batch before compression: the last field of the first entry behind 301 offsets.
    let mut chunk = frames.chunk.to_vec();
    let field = 24 + 4 * 301 + 20;
    chunk[field..field + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let (_, _, error) = frames.read(chunk);
    assert!(
        error
            .unwrap()
            .to_string()
            .contains("do not follow one another")
    );
    // One row more than there are.
    let mut chunk = arrow.chunk.to_vec();
    chunk[..4].copy_from_slice(&299u32.to_le_bytes());
    assert!(arrow.read(chunk).2.is_some());
}

#[test]
fn no_index_of_ours_is_written_over_chunks_that_litdata_wrote() {
    for form in &FORMS {
        let shards = form.shards(form.chunk);
        assert!(litdata::size(&shards, "chunk-0-0.bin").is_err());
        // Nor where its own index is lost.
        let alone = Memory::default();
        alone.insert("chunk-0-0.bin", form.chunk);
        assert!(litdata::size(&alone, "chunk-0-0.bin").is_err());
    }
}

#[test]
fn long_names_of_leaves_are_numbers() {
    let [_, _, _, items] = &FORMS;
    let mut index: Value = serde_json::from_slice(items.index).unwrap();
    let spec = index["config"]["data_spec"].as_str().unwrap();
    let spec = spec.replace("exif", &"x".repeat(5000));
    index["config"]["data_spec"] = spec.into();
    let shards = items.shards(items.chunk);
    shards.insert("index.json", index.to_string());
    let mut reader = litdata::PLAIN.open(&shards, "chunk-0-0.bin").unwrap();
    let sample = reader.next_sample().unwrap().unwrap();
    assert_eq!(sample.meta["8"], 0, "{:?}", sample.meta);
    index["config"]["data_spec"] = "x".repeat(2 << 20).into();
    shards.insert("index.json", index.to_string());
    assert!(litdata::PLAIN.open(&shards, "chunk-0-0.bin").is_err());
}

#[test]
fn an_encrypted_dataset_is_refused_by_name() {
    let [_, _, _, items] = &FORMS;
    let mut index: Value = serde_json::from_slice(items.index).unwrap();
    index["config"]["encryption"] = json!({"algorithm": "fernet", "level": "sample"});
    let shards = items.shards(items.chunk);
    shards.insert("index.json", index.to_string());
    let error = litdata::PLAIN.open(&shards, "chunk-0-0.bin").err().unwrap();
    assert!(error.to_string().contains("encrypted"), "{error}");
}
