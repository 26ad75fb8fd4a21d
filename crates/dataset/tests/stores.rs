//! The tools on shards in an object store, here one in memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use sightline_core::progress::Silent;
use sightline_core::{Sample, ShardId};
use sightline_dataset::index::Manifest;
use sightline_dataset::{
    ConvertSpec, INDEXES, IndexSpec, NamedShard, VerifySpec, convert, info, repair, verify,
};
use sightline_shard::webdataset::WebDataset;
use sightline_shard::{FORMATS, ShardFormat, conformance};
use sightline_store::{Folder, Stores};

/// A store with two shards in the folder `source`.
fn source() -> (Stores, Folder, Vec<NamedShard>) {
    let stores = Stores::in_memory();
    let mut folder = stores.create(Path::new("s3://bucket/source")).unwrap();
    let mut names: Vec<NamedShard> = Vec::new();
    for (id, some) in (0..).zip(conformance::samples().chunks(8)) {
        let mut writer = WebDataset.create(&mut folder, ShardId(id)).unwrap();
        for sample in some {
            writer.write(sample).unwrap();
        }
        writer.finish().unwrap();
        names.push((WebDataset.file_name(ShardId(id)), &WebDataset));
    }
    (stores, folder, names)
}

fn read(folder: &Folder, names: &[NamedShard]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (name, format) in names {
        let mut reader = format.open(folder, name).unwrap();
        while let Some(sample) = reader.next_sample().unwrap() {
            samples.push(sample);
        }
    }
    samples
}

#[test]
fn every_format_is_converted_read_and_verified() {
    let (stores, source, names) = source();
    for format in FORMATS.iter().copied() {
        let out = format!("gs://other/{}", format.name());
        let out = stores.create(Path::new(&out)).unwrap();
        let spec = ConvertSpec {
            to: format,
            samples_per_shard: Some(5),
            force: false,
        };
        let converted = convert(&source, &names, &out, &spec, &Silent).unwrap();
        let new: Vec<NamedShard> = converted
            .shards
            .iter()
            .map(|shard| (shard.name.clone(), format))
            .collect();
        assert_eq!(new.len(), 3, "{}", format.name());
        assert_eq!(read(&out, &new), conformance::samples());
        let verified = verify(&out, &new, VerifySpec::default(), &Silent);
        assert!(verified.findings.is_empty(), "{:?}", verified.findings);
        // Nothing is replaced unless it is said.
        assert!(convert(&source, &names, &out, &spec, &Silent).is_err());
    }
}

#[test]
fn shards_are_indexed_and_mended_where_they_are() {
    let (stores, source, names) = source();
    let shards: Vec<String> = names.iter().map(|(name, _)| name.clone()).collect();
    let spec = IndexSpec {
        scratch: Some(std::env::temp_dir()),
        ..IndexSpec::default()
    };
    for index in INDEXES
        .iter()
        .filter(|i| ["energon", "manifest", "wids"].contains(&i.name()))
    {
        index.write(&source, &shards, &spec, &Silent).unwrap();
        assert!(source.entry(index.file()).unwrap().is_some(), "{index:?}");
    }
    let sqlite = source.read(".nv-meta/index.sqlite").unwrap().unwrap();
    assert!(sqlite.starts_with(b"SQLite format 3"));
    let manifest = source.read("shards.manifest.json").unwrap().unwrap();
    let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
    let spec = VerifySpec {
        decode: false,
        manifest: Some(&manifest),
    };
    assert!(verify(&source, &names, spec, &Silent).findings.is_empty());

    let whole = source.read("00000.tar").unwrap().unwrap();
    source
        .write("00000.tar", &whole[..whole.len() / 2])
        .unwrap();
    assert!(!verify(&source, &names, spec, &Silent).findings.is_empty());
    assert_eq!(info(&source, &names, &Silent).damaged, 1);
    let mended = stores.create(Path::new("s3://bucket/mended")).unwrap();
    let repaired = repair(&source, &names, &mended, false, &Silent).unwrap();
    assert_eq!((repaired.shards.len(), repaired.whole), (1, 1));
    let new = repaired.shards[0].new.clone().unwrap();
    let new: [NamedShard; 1] = [(new, &WebDataset)];
    assert_eq!(info(&mended, &new, &Silent).damaged, 0);
}
