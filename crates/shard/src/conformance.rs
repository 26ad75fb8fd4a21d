//! What every shard format must do, as one function that runs over any of them.
//!
//! ```no_run
//! for format in sightline_shard::FORMATS {
//!     sightline_shard::conformance::check(*format);
//! }
//! ```

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use sightline_core::io::Memory;
use sightline_core::{
    Digest, EncodedImage, ImageFormat, Metadata, Sample, SampleKey, Seed, ShardId,
};

use crate::compression::{Compressor, Stream};
use crate::{Error, Problem, Result, ShardFormat, ShardSummary};

/// Checks `format` with every check of this module.
///
/// # Panics
/// With the name of the format and the claim that does not hold.
pub fn check(format: &dyn ShardFormat) {
    names_are_kebab_case_and_differ(format);
    every_field_round_trips(format);
    what_readers_could_mistake_round_trips(format);
    equal_samples_give_equal_bytes(format);
    an_unfinished_shard_does_not_exist(format);
    a_second_sample_of_the_same_key_is_refused(format);
    skipping_equals_reading_and_dropping(format);
    samples_are_counted_and_found_by_their_numbers(format);
    a_cut_shard_yields_whole_samples_then_an_error(format);
    any_flipped_bit_is_survived(format);
    a_missing_shard_is_named(format);
    names_lead_to_the_format(format);
    hostile_keys_are_refused(format);
}

/// Samples that differ in everything a sample may differ in.
///
/// # Panics
/// Never: the keys are valid.
pub fn samples() -> Vec<Sample> {
    let sample = |key: &str, image: Option<(ImageFormat, &[u8])>, captions: &[&str], meta| Sample {
        key: SampleKey::new(key).expect("the key keeps the rules"),
        image: image.map(|(format, bytes)| EncodedImage {
            format,
            bytes: Bytes::copy_from_slice(bytes),
        }),
        captions: captions.iter().map(|&c| c.to_owned()).collect(),
        meta,
    };
    let meta = |value: serde_json::Value| value.as_object().cloned().unwrap_or_default();
    let noise: Vec<u8> = {
        let mut rng = Seed(1).rng();
        (0..3000).map(|_| rng.below(256) as u8).collect()
    };
    let long = "all work and no play ".repeat(2000);
    let mut samples = vec![
        sample(
            "000000000",
            Some((ImageFormat::Jpg, &noise)),
            &["a red circle"],
            meta(json!({"url": "http://a/b.jpg", "width": 640, "score": 0.25})),
        ),
        sample(
            "000000001",
            Some((ImageFormat::Png, b"\x89PNG")),
            &[""],
            Metadata::new(),
        ),
        sample("000000002", None, &[], Metadata::new()),
        sample(
            "000000003",
            None,
            &["only words"],
            meta(json!({"captions": "not a list", "empty": [], "none": null})),
        ),
        sample(
            "000000004",
            Some((ImageFormat::Webp, b"")),
            &["first", "second", "first", ""],
            meta(json!({"z": 1, "a": 2, "m": {"deep": [1, {"er": [true, null, -1.5e-7]}]}})),
        ),
        sample(
            "folder.v1/é ü/中文 😀",
            Some((ImageFormat::Jpg, &[0; 512])),
            &["ein Fuß — 犬 👩\u{200d}🚀 \u{2028} \t\r\n end"],
            meta(json!({"ключ": "знач\"ение\\", "nul": "\u{0}"})),
        ),
        sample(
            &"k".repeat(SampleKey::MAX_LEN_BYTES),
            None,
            &[&long, "b"],
            meta(
                json!({"captions_of": long.as_str(), "big": u64::MAX, "small": i64::MIN, "float": f64::MAX}),
            ),
        ),
    ];
    for format in ImageFormat::ALL {
        let key = format!("formats/{}", format.extension());
        samples.push(sample(
            &key,
            Some((format, &noise[..700])),
            &["x"],
            Metadata::new(),
        ));
    }
    samples
}

fn write(format: &dyn ShardFormat, sink: &mut Memory, samples: &[Sample]) -> ShardSummary {
    let mut writer = format.create(sink, ShardId(0)).expect("a shard begins");
    for sample in samples {
        writer.write(sample).expect("a sample is written");
    }
    writer.finish().expect("a shard is finished")
}

/// All samples before the end or the first error.
fn read(format: &dyn ShardFormat, shards: &Memory) -> (Vec<Sample>, Result<()>) {
    let mut samples = Vec::new();
    let mut reader = match format.open(shards, &format.file_name(ShardId(0))) {
        Ok(reader) => reader,
        Err(e) => return (samples, Err(e)),
    };
    loop {
        match reader.next_sample() {
            Ok(Some(sample)) => samples.push(sample),
            Ok(None) => return (samples, Ok(())),
            Err(e) => {
                let after = reader.next_sample();
                assert!(
                    matches!(after, Ok(None)),
                    "{}: after an error a reader yields nothing more, not {after:?}",
                    format.name()
                );
                return (samples, Err(e));
            }
        }
    }
}

fn written(format: &dyn ShardFormat, samples: &[Sample]) -> Memory {
    let mut shards = Memory::default();
    write(format, &mut shards, samples);
    shards
}

/// The objects of `shards` by name.
fn objects(shards: &Memory) -> Vec<(String, Bytes)> {
    let names = shards.names().into_iter();
    names
        .filter_map(|name| shards.bytes(&name).map(|bytes| (name, bytes)))
        .collect()
}

/// The same objects, the one called `name` holding `bytes` instead.
fn replaced(shards: &Memory, name: &str, bytes: Bytes) -> Memory {
    let copy = Memory::default();
    for (other, bytes) in objects(shards) {
        copy.insert(&other, bytes);
    }
    copy.insert(name, bytes);
    copy
}

fn names_are_kebab_case_and_differ(format: &dyn ShardFormat) {
    let name = format.name();
    let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(
        !name.is_empty() && name.chars().all(is_kebab),
        "{name}: not kebab-case"
    );
    let names: BTreeSet<String> = [0, 1, 99_999, 100_000, u64::MAX]
        .map(|id| format.file_name(ShardId(id)))
        .into();
    assert_eq!(names.len(), 5, "{name}: shards share a file name");
    assert!(
        format.file_name(ShardId(17)).contains("17."),
        "{name}: a shard's file is called by its number"
    );
}

fn every_field_round_trips(format: &dyn ShardFormat) {
    let samples = samples();
    let (back, end) = read(format, &written(format, &samples));
    end.expect("a written shard is read to its end");
    assert_eq!(
        back.len(),
        samples.len(),
        "{}: number of samples",
        format.name()
    );
    for (back, sample) in back.iter().zip(&samples) {
        assert_eq!(back, sample, "{}: a sample changed", format.name());
        let order = |sample: &Sample| sample.meta.keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            order(back),
            order(sample),
            "{}: order of metadata",
            format.name()
        );
    }
    let (none, end) = read(format, &written(format, &[]));
    end.expect("an empty shard is read to its end");
    assert!(
        none.is_empty(),
        "{}: an empty shard holds samples",
        format.name()
    );
}

/// An image that is called what it is not, and metadata that are called as captions are.
fn what_readers_could_mistake_round_trips(format: &dyn ShardFormat) {
    let mut samples = samples();
    samples.truncate(2);
    samples[0].image = Some(EncodedImage {
        format: ImageFormat::Jpg,
        bytes: Bytes::from_static(b"\x89PNG\r\n"),
    });
    samples[0].captions = vec!["x".to_owned()];
    samples[0].meta.insert("captions".to_owned(), json!([]));
    let (back, end) = read(format, &written(format, &samples));
    end.expect("a written shard is read to its end");
    assert_eq!(back, samples, "{}: a sample changed", format.name());
}

fn equal_samples_give_equal_bytes(format: &dyn ShardFormat) {
    let samples = samples();
    let mut shards = Memory::default();
    let summary = write(format, &mut shards, &samples);
    let bytes = shards
        .bytes(&format.file_name(ShardId(0)))
        .expect("the shard exists");
    assert_eq!(
        objects(&shards),
        objects(&written(format, &samples)),
        "{}: two writes differ",
        format.name()
    );
    let expected = ShardSummary {
        samples: samples.len() as u64,
        len_bytes: bytes.len() as u64,
        sha256: Digest::of(&bytes),
    };
    assert_eq!(
        summary,
        expected,
        "{}: the summary is not of the bytes",
        format.name()
    );
}

fn an_unfinished_shard_does_not_exist(format: &dyn ShardFormat) {
    let mut shards = Memory::default();
    let mut writer = format
        .create(&mut shards, ShardId(0))
        .expect("a shard begins");
    writer.write(&samples()[0]).expect("a sample is written");
    drop(writer);
    assert!(
        read(format, &shards).1.is_err(),
        "{}: a dropped writer left a shard",
        format.name()
    );
}

fn a_second_sample_of_the_same_key_is_refused(format: &dyn ShardFormat) {
    let mut shards = Memory::default();
    let samples = samples();
    let mut writer = format
        .create(&mut shards, ShardId(0))
        .expect("a shard begins");
    for sample in &samples[..3] {
        writer.write(sample).expect("a sample is written");
    }
    assert!(
        writer.write(&samples[0]).is_err(),
        "{}: a key was taken twice",
        format.name()
    );
    writer
        .write(&samples[3])
        .expect("a refused sample does not end a shard");
    let summary = writer.finish().expect("a shard is finished");
    assert_eq!(
        summary.samples,
        4,
        "{}: the refused sample was counted",
        format.name()
    );
    assert_eq!(
        read(format, &shards).0,
        &samples[..4],
        "{}: a refused sample left traces",
        format.name()
    );
}

fn skipping_equals_reading_and_dropping(format: &dyn ShardFormat) {
    let samples = samples();
    let shards = written(format, &samples);
    let name = format.file_name(ShardId(0));
    let total = samples.len() as u64;
    for n in 0..=total + 1 {
        let mut reader = format.open(&shards, &name).expect("the shard opens");
        let skipped = reader.skip(n).expect("samples are skipped");
        assert_eq!(skipped, n.min(total), "{}: samples skipped", format.name());
        let next = reader.next_sample().expect("a sample is read");
        assert_eq!(
            next.as_ref(),
            samples.get(n as usize),
            "{}: after {n}",
            format.name()
        );
        let seen = total.min(n + 1);
        assert_eq!(
            reader.stats().samples,
            seen,
            "{}: counted after {n}",
            format.name()
        );
    }
}

fn samples_are_counted_and_found_by_their_numbers(format: &dyn ShardFormat) {
    for samples in [samples(), Vec::new()] {
        let shards = written(format, &samples);
        let name = format.file_name(ShardId(0));
        let total = samples.len() as u64;
        let count = format.count(&shards, &name).expect("samples are counted");
        assert_eq!(count, total, "{}: samples counted", format.name());
        let shard = format.open_at(&shards, &name).expect("the shard opens");
        assert_eq!(
            shard.is_some(),
            format.finds_samples(),
            "{}: it finds samples",
            format.name()
        );
        let Some(shard) = shard else {
            continue;
        };
        assert_eq!(shard.samples(), total, "{}: samples", format.name());
        for (row, sample) in samples.iter().enumerate().rev() {
            let found = shard.sample(row as u64).expect("a sample is read");
            assert_eq!(&found, sample, "{}: sample {row}", format.name());
        }
        for row in [total, total + 1, u64::MAX] {
            let error = shard.sample(row).expect_err("there is no such sample");
            assert!(
                matches!(error, Error::NoSample { .. }),
                "{}: {error}",
                format.name()
            );
        }
    }
}

/// Checks that samples found by their numbers are those that are read in order, as far as both can be read.
fn check_by_number(format: &dyn ShardFormat, shards: &Memory, read: &[Sample]) {
    let name = format.file_name(ShardId(0));
    let _ = format.count(shards, &name);
    if let Ok(Some(shard)) = format.open_at(shards, &name) {
        for row in 0..shard.samples().min(20) {
            if let (Ok(found), Some(sample)) = (shard.sample(row), read.get(row as usize)) {
                assert_eq!(&found, sample, "{}: sample {row}", format.name());
            }
        }
    }
}

fn a_cut_shard_yields_whole_samples_then_an_error(format: &dyn ShardFormat) {
    let mut samples = samples();
    samples.truncate(6);
    let whole = written(format, &samples);
    for (name, bytes) in objects(&whole) {
        for len in 0..bytes.len() {
            let cut = replaced(&whole, &name, bytes.slice(..len));
            let (back, end) = read(format, &cut);
            // Cuts of one member are alike here.
            if len % 7 == 0 {
                check_by_number(format, &cut, &back);
            }
            assert!(
                back.len() <= samples.len() && back == samples[..back.len()],
                "{}: `{name}` cut at byte {len}, it yields a sample that was not written",
                format.name()
            );
            let ends_between_samples = format.has_no_end_mark();
            assert!(
                end.is_err() || back.len() == samples.len() || ends_between_samples,
                "{}: `{name}` cut at byte {len}, it ends without an error after {} samples",
                format.name(),
                back.len()
            );
        }
    }
}

fn any_flipped_bit_is_survived(format: &dyn ShardFormat) {
    let samples = samples();
    let whole = written(format, &samples[..6]);
    let objects = objects(&whole);
    let mut rng = Seed(2).rng();
    for round in 0..2000 {
        let (name, bytes) = &objects[rng.below(objects.len() as u64) as usize];
        let mut bytes = bytes.to_vec();
        if bytes.is_empty() {
            continue;
        }
        let flips = 1 + rng.below(3);
        for _ in 0..flips {
            let bit = rng.below(8 * bytes.len() as u64);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        let flipped = replaced(&whole, name, bytes.into());
        let (back, end) = read(format, &flipped);
        if round % 4 == 0 {
            check_by_number(format, &flipped, &back);
        }
        assert!(
            back.len() <= 20,
            "{}: samples out of nothing",
            format.name()
        );
        // Where there are checksums, no change of contents stays unseen. Two flips may undo each other.
        if format.has_checksums() && flips == 1 {
            assert!(
                end.is_err() || back == samples[..6],
                "{}: a flipped bit in `{name}` stays unseen",
                format.name()
            );
        }
    }
}

fn a_missing_shard_is_named(format: &dyn ShardFormat) {
    let error = format.open(&Memory::default(), "none.xyz").err();
    let message = error.map(|e| e.to_string()).unwrap_or_default();
    assert!(
        message.contains("none.xyz"),
        "{}: `{message}`",
        format.name()
    );
    let empty = Memory::default();
    empty.insert(&format.file_name(ShardId(0)), Bytes::new());
    assert!(
        format.has_no_end_mark() || read(format, &empty).1.is_err(),
        "{}: no bytes are no shard",
        format.name()
    );
}

fn names_lead_to_the_format(format: &dyn ShardFormat) {
    for id in [0, 17, 123_456] {
        let name = format!("a.tar/{}", format.file_name(ShardId(id)));
        let found = crate::format::of_name(&name).map(ShardFormat::name);
        assert_eq!(found, Some(format.name()), "`{name}`");
    }
}

/// Keys that leave the folder or that file systems would change are refused by every reader: a sample with
/// such a key stands in place of one whose key has as many bytes.
fn hostile_keys_are_refused(format: &dyn ShardFormat) {
    for (key, hostile) in [
        ("aaaaaa", "../aaa"),
        ("aaaaaa", "/etc/a"),
        ("aaaaaa", "a/../a"),
        ("aaaaaa", "a\\aaaa"),
        ("aaaaaa", "aa\naaa"),
    ] {
        let mut sample = samples().swap_remove(3);
        sample.key = SampleKey::new(key).expect("the key keeps the rules");
        let shards = written(format, &[sample]);
        // Refused, or given the key that is nearest, which is that of no other text.
        let nearest = SampleKey::nearest(hostile);
        for (name, bytes) in objects(&shards) {
            let object = || Stream::new(Arc::new(bytes.clone())).expect("it is in memory");
            let plain = object().next_bytes(u64::MAX).expect("it is whole");
            let changed = with_key(&plain, key, hostile);
            let mut packed = Compressor::new(object().compression(), Vec::new())
                .expect("it is written to memory");
            packed.write_all(&changed).expect("memory takes it");
            let changed = packed.finish().expect("memory takes it");
            let shards = replaced(&shards, &name, changed.into());
            let (back, end) = read(format, &shards);
            assert!(
                back.iter()
                    .all(|sample| sample.key.as_str() == key || sample.key == nearest),
                "{}: the key {hostile:?} is read",
                format.name()
            );
            if let Err(Error::Damaged { place, problem }) = end {
                assert!(
                    !matches!(problem, Problem::Key(_)) || !place.shard.is_empty(),
                    "{}: the shard is not named",
                    format.name()
                );
            }
        }
    }
}

/// `bytes` with each occurrence of one key as the other.
fn with_key(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while at + from.len() <= bytes.len() {
        if &bytes[at..at + from.len()] == from.as_bytes() {
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        }
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use crate::FORMATS;

    #[test]
    fn every_registered_format_conforms() {
        for format in FORMATS {
            super::check(*format);
        }
    }

    #[test]
    fn formats_are_sorted_by_name() {
        assert!(FORMATS.is_sorted_by(|a, b| a.name() < b.name()));
    }
}
