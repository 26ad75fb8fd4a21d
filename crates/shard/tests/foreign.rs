//! Archives made by Python's tarfile (`fixtures/make.py`), in every form that it writes.

use bytes::Bytes;
use serde_json::json;
use sightline_core::io::Memory;
use sightline_core::{ImageFormat, Sample, ShardId};
use sightline_shard::{ReaderStats, ShardFormat, webdataset::WebDataset};

/// All samples of `archive` and what was counted on the way.
fn read(archive: &'static [u8]) -> (Vec<Sample>, ReaderStats) {
    let shards = Memory::default();
    shards.insert("a.tar", archive);
    let mut reader = WebDataset
        .open(&shards, "a.tar")
        .expect("the archive opens");
    let mut samples = Vec::new();
    while let Some(sample) = reader.next_sample().expect("the archive is whole") {
        samples.push(sample);
    }
    (samples, reader.stats().clone())
}

#[test]
fn our_shards_are_byte_for_byte_what_python_writes_as_ustar() {
    let archive = include_bytes!("fixtures/ustar.tar");
    let (samples, _) = read(archive);
    let mut shards = Memory::default();
    let mut writer = WebDataset.create(&mut shards, ShardId(0)).unwrap();
    for sample in &samples {
        writer.write(sample).unwrap();
    }
    writer.finish().unwrap();
    let ours = shards.bytes("00000.tar").unwrap();
    let differing = ours.iter().zip(archive).position(|(a, b)| a != b);
    assert_eq!((differing, ours.len()), (None, archive.len()));
}

#[test]
fn shards_as_img2dataset_writes_them_are_read() {
    let (samples, stats) = read(include_bytes!("fixtures/pax-times.tar"));
    assert_eq!(samples, read(include_bytes!("fixtures/ustar.tar")).0);
    assert_eq!(
        (samples.len(), stats.members, stats.outside_samples),
        (2, 6, 0)
    );
    let first = &samples[0];
    assert_eq!(first.key.as_str(), "000000000");
    assert_eq!(first.captions, ["une été 😀"]);
    assert_eq!(
        json!(first.meta),
        json!({"url": "http://a/é.jpg", "caption": "une été 😀", "width": 17, "score": 1e-5, "exif": "{}"})
    );
    let image = first.image.as_ref().unwrap();
    assert_eq!((image.format, image.bytes.len()), (ImageFormat::Jpg, 40));
    assert_eq!(samples[1].captions, [""]);
}

#[test]
fn long_names_are_read_in_every_form() {
    let key = format!("folder/with/parts/{}", "k".repeat(72));
    let gnu = read(include_bytes!("fixtures/long-names-gnu.tar"));
    let pax = read(include_bytes!("fixtures/long-names-pax.tar"));
    let ustar = read(include_bytes!("fixtures/long-names-ustar.tar"));
    assert_eq!(gnu, pax);
    assert_eq!(gnu.0[..1], ustar.0);
    assert_eq!(
        (gnu.0[0].key.as_str(), &gnu.0[0].captions[0][..]),
        (&key[..], "long")
    );
    assert_eq!(gnu.0[1].key.as_str(), "é".repeat(45));
    assert_eq!(gnu.1.passed_over["segmentation.json"], 1);
    assert_eq!(gnu.1.passed_over["a.very.long.extension.of.a.member"], 1);
}

#[test]
fn members_of_every_kind_are_kept_or_counted() {
    let (samples, stats) = read(include_bytes!("fixtures/mixed.tar"));
    let [first, second] = &samples[..] else {
        panic!("{samples:?}");
    };
    assert_eq!(first.key.as_str(), "b/0001");
    assert_eq!(first.image.as_ref().unwrap().format, ImageFormat::Jpg);
    assert_eq!(first.captions, ["upper case"]);
    assert_eq!(json!(first.meta), json!({"cls": 17}));
    assert_eq!(second.key.as_str(), "0002");
    assert_eq!(
        second.image.as_ref().unwrap().bytes,
        Bytes::from_static(b"\x89PNG mask")
    );
    assert_eq!(second.captions, ["one", "two"]);
    assert_eq!(
        json!(second.meta),
        json!({"score": null, "big": 18_446_744_073_709_551_616.0, "cls": "tabby cat"})
    );
    let passed: Vec<(&str, u64)> = stats
        .passed_over
        .iter()
        .map(|(e, &n)| (&e[..], n))
        .collect();
    // The text of 0002 is none of its captions.
    assert_eq!(passed, [("jpg", 1), ("npy", 1), ("seg.png", 1), ("txt", 1)]);
    assert_eq!(
        (stats.samples, stats.members, stats.outside_samples),
        (2, 10, 8)
    );
}

#[test]
fn a_tar_reader_from_elsewhere_reads_our_shards() {
    let samples = sightline_shard::conformance::samples();
    let mut shards = Memory::default();
    let mut writer = WebDataset.create(&mut shards, ShardId(3)).unwrap();
    for sample in &samples {
        writer.write(sample).unwrap();
    }
    writer.finish().unwrap();
    let bytes = shards.bytes("00003.tar").unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(
            (header.mode().unwrap(), header.mtime().unwrap()),
            (0o444, 0)
        );
        assert_eq!(header.username().unwrap(), Some("bigdata"));
        assert!(header.as_ustar().is_some());
        names.push(String::from_utf8(entry.path_bytes().into_owned()).unwrap());
    }
    let expected: usize = samples
        .iter()
        .map(|s| 1 + usize::from(s.image.is_some()) + usize::from(!s.captions.is_empty()))
        .sum();
    assert_eq!(names.len(), expected);
    assert_eq!(
        names[..3],
        ["000000000.jpg", "000000000.json", "000000000.txt"]
    );
}
