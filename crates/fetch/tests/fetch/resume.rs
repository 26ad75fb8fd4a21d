//! Stopped, killed, damaged and foreign output folders.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sightline_core::progress::Silent;
use sightline_core::{Hint, ShardId};
use sightline_fetch::{Error, FetchSpec, IncrementalMode, StopFlag, fetch};
use sightline_store::AtomicFile;

use crate::util::{StopAfter, World, check, column, files, names, run};

/// A finished output of three shards, its world and the request that made it.
fn finished() -> (World, FetchSpec) {
    let world = World::new(25);
    let spec = world.captioned(world.table("urls.csv", 25), "out");
    check(&spec.out, &run(&spec).unwrap(), 25);
    (world, spec)
}

#[test]
fn finished_shards_are_kept() {
    let (world, spec) = finished();
    let before = files(&spec.out);
    let asked = world.server.requests_total();
    let summary = run(&spec).unwrap();
    check(&spec.out, &summary, 25);
    assert_eq!((summary.shards_done, summary.shards_skipped), (0, 3));
    assert_eq!(summary.bytes_downloaded, 0);
    assert_eq!(world.server.requests_total(), asked);
    assert!(before == files(&spec.out));
}

#[test]
fn a_shard_without_statistics_is_made_again() {
    let (world, spec) = finished();
    let before = files(&spec.out);
    let asked = world.server.requests("/0.png");
    fs::remove_file(spec.out.join("00002_stats.json")).unwrap();
    let summary = run(&spec).unwrap();
    check(&spec.out, &summary, 25);
    assert_eq!((summary.shards_done, summary.shards_skipped), (1, 2));
    assert_eq!(world.server.requests("/0.png"), asked);
    assert!(before == files(&spec.out));
}

#[test]
fn every_state_that_a_kill_leaves_is_repaired() {
    type Damage = fn(&Path);
    let remove = |out: &Path, name: &str| fs::remove_file(out.join(name)).unwrap();
    let states: &[(&str, Damage, u64)] = &[
        (
            "a shard without table and statistics",
            |out| {
                fs::remove_file(out.join("00001.parquet")).unwrap();
                fs::remove_file(out.join("00001_stats.json")).unwrap();
            },
            1,
        ),
        (
            "a truncated shard with statistics",
            |out| {
                let tar = fs::read(out.join("00000.tar")).unwrap();
                fs::write(out.join("00000.tar"), &tar[..tar.len() - 512]).unwrap();
            },
            1,
        ),
        (
            "statistics without a shard",
            |out| fs::remove_file(out.join("00000.tar")).unwrap(),
            1,
        ),
        (
            "statistics without a table",
            |out| fs::remove_file(out.join("00000.parquet")).unwrap(),
            1,
        ),
        (
            "an empty table",
            |out| fs::write(out.join("00001.parquet"), "").unwrap(),
            1,
        ),
        (
            "a table of another length",
            |out| {
                let table = fs::read(out.join("00002.parquet")).unwrap();
                fs::write(out.join("00002.parquet"), [&table[..], b"x"].concat()).unwrap();
            },
            1,
        ),
        (
            "statistics that do not tell the length of the table",
            |out| {
                let path = out.join("00000_stats.json");
                let text = fs::read_to_string(&path).unwrap();
                let mut stats: serde_json::Value = serde_json::from_str(&text).unwrap();
                let origin = stats["sightline"].as_object_mut().unwrap();
                assert!(origin.remove("table_len_bytes").is_some());
                fs::write(&path, stats.to_string()).unwrap();
            },
            1,
        ),
        (
            "truncated statistics",
            |out| fs::write(out.join("00002_stats.json"), "{\"count\": 5").unwrap(),
            1,
        ),
        (
            "temporary files of a killed process",
            |out| {
                let stale = format!(".00001.tar.{}-7.tmp", u32::MAX);
                fs::write(out.join(stale), "half").unwrap();
                fs::write(out.join(".table.scratch"), "half").unwrap();
            },
            0,
        ),
        (
            "nothing but the first shard",
            |out| {
                for name in names(out) {
                    if !name.starts_with("00000") {
                        fs::remove_file(out.join(name)).unwrap();
                    }
                }
            },
            2,
        ),
    ];
    let (_world, spec) = finished();
    let before = files(&spec.out);
    for (state, damage, remade) in states {
        damage(&spec.out);
        let summary = run(&spec).unwrap();
        check(&spec.out, &summary, 25);
        assert_eq!(summary.shards_done, *remade, "{state}");
        assert!(before == files(&spec.out), "{state}");
    }
    // All at once.
    remove(&spec.out, "00000_stats.json");
    remove(&spec.out, "00001.tar");
    remove(&spec.out, "00002.parquet");
    assert_eq!(run(&spec).unwrap().shards_done, 3);
    assert!(before == files(&spec.out));
}

#[test]
fn a_stopped_run_leaves_whole_shards_and_resumes() {
    let world = World::new(40);
    let table = world.table("urls.csv", 95);
    let whole = world.captioned(&table, "whole");
    check(&whole.out, &run(&whole).unwrap(), 95);
    let expected = files(&whole.out);
    for after in [0, 1, 10, 23, 49, 94] {
        let spec = world.captioned(&table, &format!("stopped-{after}"));
        let stop = StopAfter::new(after);
        if after == 0 {
            stop.flag.stop();
        }
        let summary = fetch(&spec, &*stop, &stop.flag).unwrap();
        assert!(summary.interrupted, "{after}");
        assert_eq!(summary.shards_done, after / 10, "{after}");
        assert_eq!(summary.rows, summary.shards_done * 10);
        let left = names(&spec.out);
        assert_eq!(left.len() as u64, summary.shards_done * 3, "{left:?}");
        let summary = run(&spec).unwrap();
        check(&spec.out, &summary, 95);
        assert!(files(&spec.out) == expected, "{after}");
    }
}

#[test]
fn a_run_that_waits_for_servers_stops_at_once() {
    let world = World::new(1);
    let urls: Vec<String> = (0..40).map(|_| world.server.url("/fault/stall")).collect();
    let mut spec = world.spec(world.write("urls.txt", &urls.join("\n")), "out");
    spec.network.timeout = Duration::from_mins(1);
    let stop = StopFlag::new();
    let start = Instant::now();
    let summary = thread::scope(|scope| {
        scope.spawn(|| {
            while world.server.requests("/fault/stall") == 0 {
                thread::yield_now();
            }
            stop.stop();
        });
        fetch(&spec, &Silent, &stop).unwrap()
    });
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(summary.interrupted);
    assert!(names(&spec.out).is_empty());
}

#[test]
fn another_process_is_kept_out() {
    let (_world, spec) = finished();
    let folder = fs::File::open(&spec.out).unwrap();
    folder.try_lock().unwrap();
    assert!(matches!(run(&spec), Err(Error::Busy { .. })));
    drop(folder);
    assert!(run(&spec).is_ok());
}

#[test]
fn a_file_that_is_being_written_is_not_taken_for_stale() {
    let (_world, spec) = finished();
    let other = AtomicFile::create(spec.out.join("other")).unwrap();
    run(&spec).unwrap();
    other.commit().unwrap();
    assert!(spec.out.join("other").exists());
}

#[test]
fn a_folder_made_with_other_settings_is_left_alone() {
    let (_world, mut spec) = finished();
    let before = files(&spec.out);
    spec.image.image_size = 48;
    spec.encode.quality = 90;
    let error = run(&spec).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("00000_stats.json` was made with other settings"),
        "{text}"
    );
    assert!(text.contains("image.image-size was 32 and is 48"), "{text}");
    assert!(text.contains("encode.quality was 95 and is 90"), "{text}");
    assert!(error.hints()[0].contains("--incremental-mode overwrite"));
    assert!(before == files(&spec.out));

    spec.incremental_mode = IncrementalMode::Overwrite;
    let summary = run(&spec).unwrap();
    check(&spec.out, &summary, 25);
    assert_eq!(summary.shards_done, 3);
    assert_eq!(column(&spec.out, "width")[0].as_deref(), Some("48"));
}

#[test]
fn overwriting_takes_only_shards() {
    let (world, mut spec) = finished();
    fs::write(spec.out.join("notes.txt"), "mine").unwrap();
    spec.url_list = world.table("short.csv", 5);
    spec.incremental_mode = IncrementalMode::Overwrite;
    check(&spec.out, &run(&spec).unwrap(), 5);
    assert_eq!(
        names(&spec.out),
        [
            "00000.parquet",
            "00000.tar",
            "00000_stats.json",
            "notes.txt"
        ]
    );
}

#[test]
fn a_table_that_changed_is_noticed() {
    let (world, spec) = finished();
    let before = files(&spec.out);
    let original = fs::read_to_string(&spec.url_list).unwrap();
    for (changed, what) in [
        (
            original.replace("caption, 13 ", "caption, 14 "),
            "00001_stats.json",
        ),
        (
            format!("{original}99,http://127.0.0.1:1/,more\n"),
            "00002_stats.json",
        ),
    ] {
        fs::write(&spec.url_list, changed).unwrap();
        let error = run(&spec).unwrap_err();
        assert!(matches!(error, Error::OtherRows { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    world.table("urls.csv", 20);
    let error = run(&spec).unwrap_err();
    assert!(
        matches!(error, Error::ShardsBeyondTable { first: 2, .. }),
        "{error}"
    );
    assert!(before == files(&spec.out));
}

#[test]
fn shards_of_other_programs_are_left_alone() {
    let (world, spec) = finished();
    let out = world.path("foreign");
    fs::create_dir(&out).unwrap();
    for id in 0..2 {
        fs::write(out.join(format!("{}.tar", ShardId(id))), "theirs").unwrap();
    }
    let mut spec = FetchSpec {
        out: out.clone(),
        ..spec
    };
    assert!(matches!(run(&spec), Err(Error::ForeignShard { .. })));
    fs::remove_file(out.join("00001.tar")).unwrap();
    fs::write(
        out.join("00000_stats.json"),
        r#"{"count": 1, "successes": 1, "failed_to_download": 0, "failed_to_resize": 0,
            "duration": 1.0, "start_time": 1.0, "end_time": 2.0, "status_dict": {"success": 1}}"#,
    )
    .unwrap();
    assert!(matches!(run(&spec), Err(Error::ForeignShard { .. })));
    fs::write(out.join("00000_stats.json"), "[]").unwrap();
    assert!(matches!(run(&spec), Err(Error::ForeignShard { .. })));
    assert_eq!(fs::read(out.join("00000.tar")).unwrap(), b"theirs");
    spec.incremental_mode = IncrementalMode::Overwrite;
    check(&spec.out, &run(&spec).unwrap(), 25);
}

#[test]
fn a_table_is_added_to_a_folder_once() {
    let (world, mut spec) = finished();
    let before = files(&spec.out);
    let second = world.write(
        "second.csv",
        &fs::read_to_string(world.table("more.csv", 15))
            .unwrap()
            .replace("caption", "other"),
    );
    spec.url_list = second;
    spec.incremental_mode = IncrementalMode::Extend;
    let stop = StopAfter::new(12);
    let summary = fetch(&spec, &*stop, &stop.flag).unwrap();
    assert_eq!((summary.shards_done, summary.interrupted), (1, true));
    // Resumed, not added again.
    for done in [1, 0] {
        let summary = run(&spec).unwrap();
        assert_eq!((summary.shards_done, summary.rows), (done, 15));
    }
    let after = files(&spec.out);
    assert_eq!(after.len(), 10);
    assert!(before.iter().all(|(name, bytes)| after[name] == *bytes));
    assert_eq!(column(&spec.out, "key")[25].as_deref(), Some("000030"));

    // The first table is still finished.
    spec.url_list = world.path("urls.csv");
    spec.incremental_mode = IncrementalMode::Incremental;
    assert_eq!(run(&spec).unwrap().shards_skipped, 3);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error_and_loses_nothing() {
    for name in ["00001.tar", "00001.parquet", "00001_stats.json"] {
        let world = World::new(25);
        let spec = world.captioned(world.table("urls.csv", 25), "out");
        // A folder in the place of a file cannot be replaced by it.
        fs::create_dir_all(spec.out.join(name).join("inside")).unwrap();
        let error = run(&spec).unwrap_err();
        assert!(!error.is_usage(), "{error}");
        fs::remove_dir_all(spec.out.join(name)).unwrap();
        let summary = run(&spec).unwrap();
        check(&spec.out, &summary, 25);
    }
}
