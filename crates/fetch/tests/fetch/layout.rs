//! What is written: names, keys, columns, types, order, bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use polars::prelude::DataType;
use sightline_core::Progress;
use sightline_core::progress::Silent;
use sightline_fetch::{
    FetchPlan, FetchStatus, IncrementalMode, Share, StopFlag, fetch, finish, shard_names, survey,
    work,
};
use sightline_shard::FORMATS;
use sightline_store::Folder;

use crate::util::{World, check, column, files, names, run, samples, status_table};

#[test]
fn the_layout_is_that_of_img2dataset() {
    let world = World::new(25);
    let spec = world.captioned(world.table("urls.csv", 25), "out");
    let summary = run(&spec).unwrap();
    check(&spec.out, &summary, 25);
    assert_eq!((summary.shards_done, summary.successes), (3, 22));
    assert_eq!(
        names(&spec.out),
        [
            "00000.parquet",
            "00000.tar",
            "00000_stats.json",
            "00001.parquet",
            "00001.tar",
            "00001_stats.json",
            "00002.parquet",
            "00002.tar",
            "00002_stats.json"
        ]
    );

    let table = status_table(&spec.out, 0);
    let columns: Vec<(&str, DataType)> = table
        .schema()
        .iter()
        .map(|(name, dtype)| (name.as_str(), dtype.clone()))
        .collect();
    let (text, int) = (DataType::String, DataType::Int32);
    assert_eq!(
        columns,
        [
            ("id", DataType::Int64),
            ("caption", text.clone()),
            ("url", text.clone()),
            ("key", text.clone()),
            ("status", text.clone()),
            ("error_message", text.clone()),
            ("width", int.clone()),
            ("height", int.clone()),
            ("original_width", int.clone()),
            ("original_height", int),
            ("exif", text.clone()),
            ("sha256", text),
        ]
    );
    let keys = column(&spec.out, "key");
    assert_eq!(keys[0].as_deref(), Some("000000"));
    assert_eq!(keys[24].as_deref(), Some("000024"));
    let messages = column(&spec.out, "error_message");
    assert_eq!(messages[5], None);
    assert_eq!(messages[6].as_deref(), Some("HTTP Error 404: Not Found"));
    let failed = &summary.failures[&FetchStatus::FailedToDownload];
    assert_eq!(failed["HTTP Error 404: Not Found"], 3);
    for (name, at, value) in [("width", 0, "32"), ("original_width", 1, "21")] {
        assert_eq!(
            column(&spec.out, name)[at].as_deref(),
            Some(value),
            "{name}"
        );
        assert_eq!(column(&spec.out, name)[6], None, "{name}");
    }
}

#[test]
fn a_sample_is_image_metadata_and_caption() {
    let world = World::new(3);
    let spec = world.captioned(world.table("urls.csv", 2), "out");
    run(&spec).unwrap();
    let tar = fs::read(spec.out.join("00000.tar")).unwrap();
    let members: Vec<(String, usize)> = tar_members(&tar);
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "000000.jpg",
            "000000.json",
            "000000.txt",
            "000001.jpg",
            "000001.json",
            "000001.txt"
        ]
    );
    let json = &tar[members[1].1..];
    let digest = column(&spec.out, "sha256")[0].clone().unwrap();
    let expected = format!(
        r#"{{
    "id": 0,
    "caption": "caption, 0 \u00e9",
    "url": "{}",
    "key": "000000",
    "status": "success",
    "error_message": null,
    "width": 32,
    "height": 32,
    "original_width": 20,
    "original_height": 30,
    "exif": "{{}}",
    "sha256": "{digest}"
}}"#,
        world.server.url("/0.png")
    );
    assert!(json.starts_with(expected.as_bytes()));
    assert_eq!(json[expected.len()], 0, "no line break at the end");
    let body = fs::read(world.site().join("0.png")).unwrap();
    assert_eq!(digest, sightline_core::Digest::of(&body).to_string());
    assert!(tar[members[2].1..].starts_with("caption, 0 é".as_bytes()));
    assert!(tar[members[0].1..].starts_with(b"\xff\xd8\xff"));
}

#[test]
fn exif_is_recorded_as_img2dataset_records_it_unless_it_is_not_wanted() {
    let world = World::new(2);
    let plain = fs::read(world.site().join("1.jpg")).unwrap();
    let with = |order: &[u8; 2]| {
        let text = b"*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\x06\0\0\0\x1a\0\0\0\0\0\0\0caf\xc3\xa9\"";
        let segment = [b"\xff\xe1\0\x28Exif\0\0", &order[..], text].concat();
        [&plain[..2], &segment, &plain[2..]].concat()
    };
    fs::write(world.site().join("named.jpg"), with(b"II")).unwrap();
    fs::write(world.site().join("damaged.jpg"), with(b"XX")).unwrap();
    let urls = ["named.jpg", "damaged.jpg", "0.png", "missing.png"]
        .map(|name| world.server.url(&format!("/{name}")));
    let table = world.write("urls.txt", &urls.join("\n"));

    let mut spec = world.spec(table, "out");
    run(&spec).unwrap();
    let named = r#"{"Image ImageDescription": "caf\u00e9\""}"#;
    let expected = [Some(named), None, Some("{}"), None].map(|text| text.map(str::to_owned));
    assert_eq!(column(&spec.out, "exif"), expected);
    let found = samples(&spec.out, "00000.tar");
    assert_eq!(found[0].meta["exif"], named);
    assert!(found[1].meta["exif"].is_null());
    assert_eq!(found[2].meta["exif"], "{}");

    spec.extract_exif = false;
    let refused = run(&spec).unwrap_err().to_string();
    assert!(
        refused.contains("extract_exif was true and is false"),
        "{refused}"
    );
    spec.out = world.path("without");
    run(&spec).unwrap();
    assert!(status_table(&spec.out, 0).column("exif").is_err());
    assert!(!samples(&spec.out, "00000.tar")[0].meta.contains_key("exif"));
}

/// Names of the members of a USTAR archive and where their data begin.
fn tar_members(tar: &[u8]) -> Vec<(String, usize)> {
    let mut members = Vec::new();
    let mut at = 0;
    while tar[at] != 0 {
        let field = |range: std::ops::Range<usize>| {
            let bytes = &tar[at + range.start..at + range.end];
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            String::from_utf8(bytes[..end].to_vec()).unwrap()
        };
        let len = usize::from_str_radix(field(124..136).trim(), 8).unwrap();
        members.push((field(0..100), at + 512));
        at += 512 + len.div_ceil(512) * 512;
    }
    members
}

#[test]
fn equal_answers_give_equal_bytes_whatever_the_parallelism() {
    let world = World::new(60);
    let table = world.table("urls.csv", 60);
    let first = world.captioned(&table, "first");
    let mut second = world.captioned(&table, "second");
    second.threads = Some(1);
    second.network.concurrency = Some(1);
    let mut third = world.captioned(&table, "third");
    third.threads = Some(5);
    third.network.concurrency = Some(100);
    third.memory_budget_bytes = Some(1 << 16);
    for spec in [&first, &second, &third] {
        check(&spec.out, &run(spec).unwrap(), 60);
    }
    let bytes = files(&first.out);
    assert_eq!(bytes.len(), 12);
    assert!(bytes == files(&second.out), "one thread");
    assert!(
        bytes == files(&third.out),
        "many connections, little memory"
    );
}

#[test]
fn captions_without_a_column_are_not_written() {
    let world = World::new(3);
    let spec = world.spec(world.table("urls.csv", 3), "out");
    run(&spec).unwrap();
    let samples = samples(&spec.out, "00000.tar");
    assert!(samples.iter().all(|sample| sample.captions.is_empty()));
    assert!(!samples[0].meta.contains_key("caption"));
}

#[test]
fn several_captions_survive() {
    let world = World::new(3);
    let url = world.server.url("/0.png");
    let lines = [
        format!(r#"{{"url":"{url}","text":"b","captions":["a","b","c"]}}"#),
        format!(r#"{{"url":"{url}","text":null,"captions":[]}}"#),
        format!(r#"{{"url":"{url}","text":"only","captions":null}}"#),
    ];
    let table = world.write("urls.jsonl", &lines.join("\n"));
    let mut spec = world.spec(table, "out");
    spec.caption_col = Some("text".to_owned());
    spec.save_additional_columns = vec!["captions".to_owned()];
    run(&spec).unwrap();
    let captions: Vec<Vec<String>> = samples(&spec.out, "00000.tar")
        .into_iter()
        .map(|sample| sample.captions)
        .collect();
    assert_eq!(captions, [vec!["b", "a", "c"], vec![""], vec!["only"]]);
    let table = status_table(&spec.out, 0);
    let dtype = table.column("captions").unwrap().dtype();
    assert_eq!(*dtype, DataType::List(Box::new(DataType::String)));
}

#[test]
fn an_empty_table_is_done_at_once() {
    let world = World::new(0);
    for (name, content) in [("a.txt", ""), ("a.csv", "url\n"), ("a.json", "[]")] {
        let spec = world.spec(world.write(name, content), name.trim_start_matches("a."));
        let summary = run(&spec).unwrap();
        check(&spec.out, &summary, 0);
        assert!(names(&spec.out).is_empty(), "{name}");
    }
}

#[test]
fn a_row_too_large_for_a_shard_fails_alone() {
    let world = World::new(3);
    let url = world.server.url("/0.png");
    let long = "x".repeat(17 << 20);
    let table = world.write(
        "urls.csv",
        &format!("url,text\n{url},{long}\n{url},short\n"),
    );
    let mut spec = world.spec(table, "out");
    spec.caption_col = Some("text".to_owned());
    let summary = run(&spec).unwrap();
    check(&spec.out, &summary, 2);
    assert_eq!(summary.successes, 1);
    assert_eq!(
        column(&spec.out, "error_message")[0].as_deref(),
        Some("sample larger than 16777216 bytes")
    );
    assert_eq!(column(&spec.out, "width")[0], None);
}

#[derive(Default)]
struct Recorder(Mutex<(Vec<Option<u64>>, u64, u32)>);

impl Progress for Recorder {
    fn start(&self, what: &str, total: Option<u64>) {
        assert_eq!(what, "rows");
        self.0.lock().unwrap().0.push(total);
    }
    fn advance(&self, steps: u64) {
        self.0.lock().unwrap().1 += steps;
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {
        self.0.lock().unwrap().2 += 1;
    }
}

#[test]
fn progress_counts_every_row_now_and_when_resumed() {
    let world = World::new(25);
    let spec = world.captioned(world.table("urls.csv", 25), "out");
    for _ in 0..2 {
        let recorder = Recorder::default();
        fetch(&spec, &recorder, &StopFlag::new()).unwrap();
        assert_eq!(*recorder.0.lock().unwrap(), (vec![Some(25)], 25, 1));
    }
}

#[test]
fn a_parquet_shard_is_the_status_table_with_the_images_last() {
    let world = World::new(12);
    let table = world.table("urls.csv", 12);
    let tars = world.captioned(&table, "tars");
    run(&tars).unwrap();
    let mut spec = world.captioned(&table, "out");
    spec.output_format = "parquet".to_owned();
    let summary = run(&spec).unwrap();
    assert_eq!((summary.shards_done, summary.successes), (2, 11));
    let expected = [
        "00000.parquet",
        "00000_stats.json",
        "00001.parquet",
        "00001_stats.json",
    ];
    assert_eq!(names(&spec.out), expected);
    let table = status_table(&spec.out, 0);
    let without = status_table(&tars.out, 0);
    let images = table.column("jpg").unwrap();
    assert_eq!(images.dtype(), &DataType::Binary);
    assert!(table.drop("jpg").unwrap().equals_missing(&without));
    assert_eq!(table.get_column_index("jpg"), Some(table.width() - 1));
    assert_eq!(images.null_count(), 1);
    let expected = samples(&tars.out, "00000.tar");
    let stored: Vec<&[u8]> = images.binary().unwrap().iter().flatten().collect();
    let of_tars: Vec<&[u8]> = expected
        .iter()
        .map(|sample| &sample.image.as_ref().unwrap().bytes[..])
        .collect();
    assert_eq!(stored, of_tars);

    let mut taken = spec.clone();
    taken.save_additional_columns = vec!["jpg".to_owned()];
    assert!(run(&taken).unwrap_err().to_string().contains("jpg"));
}

#[test]
fn a_dummy_output_has_every_row_and_no_image() {
    let world = World::new(12);
    let table = world.table("urls.csv", 12);
    let tars = world.captioned(&table, "tars");
    run(&tars).unwrap();
    let mut spec = world.captioned(&table, "out");
    spec.output_format = "dummy".to_owned();
    assert_eq!(run(&spec).unwrap().successes, 11);
    let expected = [
        "00000.parquet",
        "00000_stats.json",
        "00001.parquet",
        "00001_stats.json",
    ];
    assert_eq!(names(&spec.out), expected);
    assert!(status_table(&spec.out, 1).equals_missing(&status_table(&tars.out, 1)));
}

/// Files by path, those in folders included; times differ from run to run, so statistics are left out.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_str().unwrap().ends_with("_stats.json") {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Every format: the same samples, whole after a shard was lost, begun anew, added to, and made by workers of a plan.
#[test]
fn every_output_format_resumes_overwrites_extends_and_is_planned() {
    let world = World::new(12);
    let table = world.table("urls.csv", 12);
    let tars = world.captioned(&table, "tars");
    run(&tars).unwrap();
    let expected = samples(&tars.out, "00001.tar");
    let mut formats: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
    formats.push("dummy");
    for name in formats {
        let mut spec = world.captioned(&table, name);
        spec.output_format = name.to_owned();
        assert_eq!(run(&spec).unwrap().shards_done, 2, "{name}");
        let shards = shard_names(&spec).unwrap();
        // The images of img2dataset's tables are not those of `datasets`, and there are rows without one.
        if let Some(format) = FORMATS
            .iter()
            .find(|format| format.name() == name && name != "parquet")
        {
            let folder = Folder::open(&spec.out).unwrap();
            let mut reader = format.open(&folder, &shards[1]).unwrap();
            let mut found = Vec::new();
            while let Some(sample) = reader.next_sample().unwrap() {
                found.push(sample);
            }
            assert_eq!(found, expected, "{name}");
        }
        let whole = tree(&spec.out);
        let look = survey(&Folder::open(&spec.out).unwrap(), 5, &Silent).unwrap();
        let shown = if name == "dummy" { 0 } else { 5 };
        assert_eq!(
            (look.summary.rows, look.samples.len()),
            (12, shown),
            "{name}"
        );

        assert_eq!(run(&spec).unwrap().shards_skipped, 2, "{name}");
        fs::remove_file(spec.out.join("00001_stats.json")).unwrap();
        if name == "files" {
            // A killed run may have had another answer of the server.
            fs::write(spec.out.join("00001/000019.jpg"), "torn").unwrap();
        }
        assert_eq!(run(&spec).unwrap().shards_done, 1, "{name}");
        assert!(tree(&spec.out) == whole, "{name} resumed");

        spec.incremental_mode = IncrementalMode::Overwrite;
        assert_eq!(run(&spec).unwrap().shards_done, 2, "{name}");
        assert!(tree(&spec.out) == whole, "{name} overwritten");

        let mut planned = spec.clone();
        planned.incremental_mode = IncrementalMode::Incremental;
        planned.out = world.path(&format!("{name}-planned"));
        let plan = FetchPlan::new(&planned, &Silent).unwrap();
        for index in [1, 0] {
            let share = Share::Index { index, count: 2 };
            let made = work(&plan, &share, &Silent, &StopFlag::new()).unwrap();
            assert_eq!(made.shards_done, 1, "{name}");
        }
        let index = finish(&plan).unwrap().unwrap();
        let listed: Vec<&String> = index.shards.iter().map(|shard| &shard.name).collect();
        assert_eq!(listed, shards.iter().collect::<Vec<_>>(), "{name}");
        let mut made = tree(&planned.out);
        made.remove(Path::new("dataset.json"));
        assert!(made == whole, "{name} planned");

        spec.incremental_mode = IncrementalMode::Extend;
        spec.url_list = world.table("more.csv", 5);
        assert_eq!(run(&spec).unwrap().shards_done, 1, "{name}");
        let extended = tree(&spec.out);
        assert!(extended.len() > whole.len(), "{name}");
        assert!(
            whole.iter().all(|(path, bytes)| extended[path] == *bytes),
            "{name} extended"
        );
    }
}

#[test]
fn names_and_keys_have_as_many_digits_as_img2dataset_gives_them() {
    let world = World::new(25);
    for (format, shard) in [
        ("webdataset", "017.tar"),
        ("files", "017"),
        ("parquet", "017.parquet"),
        ("tfrecord", "017.tfrecord"),
        ("dummy", "017.parquet"),
    ] {
        let mut spec = world.captioned(world.table("urls.csv", 25), format);
        format.clone_into(&mut spec.output_format);
        (spec.oom_shard_count, spec.number_sample_per_shard) = (3, 1);
        let summary = run(&spec).unwrap();
        assert_eq!(summary.shards_done, 25);
        let found = names(&spec.out);
        for name in [shard, "000.parquet", "017_stats.json", "024_stats.json"] {
            assert!(
                found.iter().any(|found| found == name),
                "{format}: {name} of {found:?}"
            );
        }
        assert!(
            !found.iter().any(|name| name.starts_with("0000")),
            "{format}: {found:?}"
        );
        // Found again, read by the page about it, and not taken for those of other settings.
        assert_eq!(run(&spec).unwrap().shards_skipped, 25);
        let folder = Folder::open(&spec.out).unwrap();
        let seen = survey(&folder, 4, &Silent).unwrap();
        assert_eq!(seen.summary.rows, 25);
        assert_eq!(seen.samples.is_empty(), format == "dummy", "{format}");
        spec.oom_shard_count = 4;
        let other = run(&spec).unwrap_err().to_string();
        assert!(other.contains("oom_shard_count was 3 and is 4"), "{other}");
        // Nothing of the old names stays behind.
        spec.incremental_mode = IncrementalMode::Overwrite;
        run(&spec).unwrap();
        assert!(
            names(&spec.out).iter().all(|name| name.starts_with("00")),
            "{format}"
        );
    }
    // f"{10**k*shard_id+i:0{k+oom_shard_count}d}" with k = ceil(log10(10)), as img2dataset 1.47.0 has it.
    let mut spec = world.captioned(world.table("urls.csv", 25), "keys");
    spec.oom_shard_count = 1;
    run(&spec).unwrap();
    let keys: Vec<String> = samples(&spec.out, "1.tar")
        .iter()
        .map(|sample| sample.key.to_string())
        .collect();
    assert_eq!(keys[..3], ["10", "11", "12"]);
    let mut refused = spec.clone();
    refused.oom_shard_count = 0;
    assert!(
        run(&refused)
            .unwrap_err()
            .to_string()
            .starts_with("--oom-shard-count: 0 is not")
    );
    refused.oom_shard_count = 6;
    "mds".clone_into(&mut refused.output_format);
    assert!(
        run(&refused)
            .unwrap_err()
            .to_string()
            .contains("names of their own")
    );
}
