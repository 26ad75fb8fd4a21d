//! What every shard format must do, as one function that runs over any of them.
//!
//! ```no_run
//! for format in sightline_shard::FORMATS {
//!     sightline_shard::conformance::check(*format);
//! }
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::json;
use sightline_core::io::Memory;
use sightline_core::{
    Digest, EncodedImage, ImageFormat, Metadata, Sample, SampleKey, Seed, ShardId,
};

use crate::{Result, ShardFormat, ShardSummary};

/// Checks `format` with every check of this module.
///
/// # Panics
/// With the name of the format and the claim that does not hold.
pub fn check(format: &dyn ShardFormat) {
    names_are_kebab_case_and_differ(format);
    every_field_round_trips(format);
    equal_samples_give_equal_bytes(format);
    an_unfinished_shard_does_not_exist(format);
    a_second_sample_of_the_same_key_is_refused(format);
    skipping_equals_reading_and_dropping(format);
    a_cut_shard_yields_whole_samples_then_an_error(format);
    any_flipped_bit_is_survived(format);
    a_missing_shard_is_named(format);
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
fn read(format: &dyn ShardFormat, bytes: Bytes) -> (Vec<Sample>, Result<()>) {
    let shards = Memory::default();
    shards.insert("shard", bytes);
    let mut samples = Vec::new();
    let mut reader = match format.open(&shards, "shard") {
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

fn written(format: &dyn ShardFormat, samples: &[Sample]) -> Bytes {
    let mut shards = Memory::default();
    write(format, &mut shards, samples);
    let name = format.file_name(ShardId(0));
    shards.bytes(&name).expect("the shard has its name")
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
        format.file_name(ShardId(17)).starts_with("00017."),
        "{name}: a shard's file is called by its five digits"
    );
}

fn every_field_round_trips(format: &dyn ShardFormat) {
    let samples = samples();
    let (back, end) = read(format, written(format, &samples));
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
    let (none, end) = read(format, written(format, &[]));
    end.expect("an empty shard is read to its end");
    assert!(
        none.is_empty(),
        "{}: an empty shard holds samples",
        format.name()
    );
}

fn equal_samples_give_equal_bytes(format: &dyn ShardFormat) {
    let samples = samples();
    let mut shards = Memory::default();
    let summary = write(format, &mut shards, &samples);
    let bytes = shards
        .bytes(&format.file_name(ShardId(0)))
        .expect("the shard exists");
    assert_eq!(
        bytes,
        written(format, &samples),
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
        shards.names().is_empty(),
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
    let bytes = shards
        .bytes(&format.file_name(ShardId(0)))
        .expect("the shard exists");
    assert_eq!(
        read(format, bytes).0,
        &samples[..4],
        "{}: a refused sample left traces",
        format.name()
    );
}

fn skipping_equals_reading_and_dropping(format: &dyn ShardFormat) {
    let samples = samples();
    let shards = Memory::default();
    shards.insert("shard", written(format, &samples));
    let total = samples.len() as u64;
    for n in 0..=total + 1 {
        let mut reader = format.open(&shards, "shard").expect("the shard opens");
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

fn a_cut_shard_yields_whole_samples_then_an_error(format: &dyn ShardFormat) {
    let mut samples = samples();
    samples.truncate(6);
    let whole = written(format, &samples);
    for len in 0..whole.len() {
        let (back, end) = read(format, whole.slice(..len));
        assert!(
            back.len() <= samples.len() && back == samples[..back.len()],
            "{}: cut at byte {len}, it yields a sample that was not written",
            format.name()
        );
        assert!(
            end.is_err() || back.len() == samples.len(),
            "{}: cut at byte {len}, it ends without an error after {} samples",
            format.name(),
            back.len()
        );
    }
}

fn any_flipped_bit_is_survived(format: &dyn ShardFormat) {
    let samples = samples();
    let whole = written(format, &samples[..6]);
    let mut rng = Seed(2).rng();
    for _ in 0..2000 {
        let mut bytes = whole.to_vec();
        for _ in 0..=rng.below(3) {
            let bit = rng.below(8 * bytes.len() as u64);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        // Contents may change unseen, so nothing is claimed but a bounded, orderly end.
        let (back, _) = read(format, bytes.into());
        assert!(
            back.len() <= 20,
            "{}: samples out of nothing",
            format.name()
        );
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
    assert!(
        read(format, Bytes::new()).1.is_err(),
        "{}: no bytes are no shard",
        format.name()
    );
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
