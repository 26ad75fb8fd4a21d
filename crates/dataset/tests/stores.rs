//! The tools on shards in an object store, here one in memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use sightline_core::progress::Silent;
use sightline_core::{Sample, Seed, ShardId};
use sightline_dataset::dedup::{Keep, Same};
use sightline_dataset::expression::Expression;
use sightline_dataset::index::Manifest;
use sightline_dataset::reshard::plan;
use sightline_dataset::staging::{MARK, is_unfinished};
use sightline_dataset::{
    All, ConvertSpec, Cut, DedupSpec, ExportSpec, FilterSpec, INDEXES, IndexSpec, NamedShard,
    Output, ReshardSpec, SplitSpec, Target, VerifySpec, convert, dedup, export, filter, info,
    repair, reshard, split, verify,
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
        let converted =
            convert(&source, &names, Target::Store(out.clone()), &spec, &Silent).unwrap();
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
        assert!(convert(&source, &names, Target::Store(out.clone()), &spec, &Silent).is_err());
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
        manifest: Some(&manifest),
        ..VerifySpec::default()
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

/// Names and bytes of all objects.
fn objects(folder: &Folder) -> Vec<(String, Vec<u8>)> {
    let names = folder.names().unwrap().into_iter();
    names
        .map(|name| {
            let bytes = folder.read(&name).unwrap().unwrap().to_vec();
            (name, bytes)
        })
        .collect()
}

/// A tool that writes into a target, by force or not.
type Tool<'a> = &'a dyn Fn(&Target, bool) -> sightline_dataset::Result<()>;

/// Every tool writes into a store what it writes into a folder, and replaces it only when it is told to.
#[test]
fn every_output_in_a_store_is_the_local_one_byte_by_byte() {
    let (stores, source, names) = source();
    let dir = tempfile::tempdir().unwrap();
    let output = |out: &Target, force| Output {
        folder: Some(out.clone()),
        to: None,
        samples_per_shard: Some(3),
        force,
    };
    let resharded: Tool<'_> = &|out, force| {
        let spec = ReshardSpec {
            to: FORMATS[FORMATS.len() - 1],
            cut: Cut {
                samples_per_shard: Some(4),
                ..Cut::default()
            },
            shuffle: Some(Seed(5)),
            memory_bytes: 1000,
            scratch: None,
            force,
        };
        let plan = plan(&source, &names, out, &spec, &Silent)?;
        reshard(&source, &names, out, &spec, plan, &Silent).map(drop)
    };
    let parted: Tool<'_> = &|out, force| {
        let spec = SplitSpec {
            to: &WebDataset,
            parts: vec![("train".to_owned(), 0.7), ("val".to_owned(), 0.3)],
            by: None,
            seed: Seed(2),
            exact: true,
            samples_per_shard: 3,
            select: &All,
            force,
        };
        split(&source, &names, out, &spec, &Silent).map(drop)
    };
    let filtered: Tool<'_> = &|out, force| {
        let spec = FilterSpec {
            condition: Expression::parse("captions > 0")?,
            scores: Vec::new(),
        };
        filter(&source, &names, &spec, &output(out, force), &Silent).map(drop)
    };
    let different: Tool<'_> = &|out, force| {
        let spec = DedupSpec {
            same: Same::Content,
            keep: Keep::First,
            groups: false,
        };
        dedup(&source, &names, &spec, &output(out, force), &Silent).map(drop)
    };
    let exported: Tool<'_> = &|out, force| {
        let spec = ExportSpec {
            flat: false,
            select: &All,
            force,
        };
        export(&source, &names, out, &spec, &Silent).map(drop)
    };
    for (name, tool) in [
        ("resharded", resharded),
        ("parted", parted),
        ("filtered", filtered),
        ("different", different),
        ("exported", exported),
    ] {
        let local = dir.path().join(name);
        tool(&Target::from(&local), false).unwrap();
        let expected = objects(&Folder::open(&local).unwrap());
        assert!(expected.len() > 1, "{name}");
        let folder = stores
            .create(format!("s3://bucket/{name}").as_ref())
            .unwrap();
        let out = Target::Store(folder.clone());
        tool(&out, false).unwrap();
        assert!(objects(&folder) == expected, "{name}");
        assert!(!is_unfinished(&folder).unwrap());

        let error = tool(&out, false).unwrap_err().to_string();
        assert!(error.contains(&format!("s3://bucket/{name}")), "{error}");
        folder.write("older.tar", b"x").unwrap();
        tool(&out, true).unwrap();
        assert!(objects(&folder) == expected, "{name}, again");
        // One that a killed run left is no output.
        folder.write(MARK, b"{}").unwrap();
        folder.write("older.tar", b"x").unwrap();
        tool(&out, false).unwrap();
        assert!(
            objects(&folder) == expected,
            "{name}, after one that was killed"
        );
    }
}
