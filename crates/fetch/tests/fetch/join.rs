//! Columns of another table beside those of the rows.

use std::fs::File;
use std::path::{Path, PathBuf};

use polars::prelude::*;
use sightline_core::progress::Silent;
use sightline_fetch::{
    Error, FetchPlan, FetchSpec, JoinKey, JoinSpec, Share, StopFlag, finish, work,
};

use crate::util::{World, check, column, files, run, samples};

fn write(path: &Path, columns: Vec<Column>) {
    let mut frame = DataFrame::new_infer_height(columns).unwrap();
    ParquetWriter::new(File::create(path).unwrap())
        .finish(&mut frame)
        .unwrap();
}

fn joined(world: &World, out: &str, path: &Path, on: JoinKey, columns: &[&str]) -> FetchSpec {
    let mut spec = world.captioned(world.table("urls.csv", 25), out);
    spec.join = Some(JoinSpec {
        path: path.to_owned(),
        on,
        columns: columns.iter().map(|&name| name.to_owned()).collect(),
        sha256: None,
    });
    spec
}

/// Scores of every second row by its URL, the first of them twice.
fn scores(world: &World) -> PathBuf {
    let url = |n: u32| {
        world
            .server
            .url(&format!("/{}", crate::util::image_name(n).0))
    };
    let rows = [0, 2, 4, 8, 10, 0];
    let urls: Vec<String> = rows.iter().map(|&n| url(n)).collect();
    let scores: Vec<f64> = (0..)
        .zip(rows)
        .map(|(at, n)| f64::from(n * 10 + at))
        .collect();
    let path = world.path("scores.parquet");
    write(
        &path,
        vec![
            Column::new("score".into(), scores),
            Column::new("url".into(), urls),
            Column::new("other".into(), [1i32; 6]),
        ],
    );
    path
}

#[test]
fn columns_come_by_url_and_missing_rows_have_none() {
    let world = World::new(25);
    let spec = joined(&world, "out", &scores(&world), JoinKey::Url, &["score"]);
    check(&spec.out, &run(&spec).unwrap(), 25);
    let scores = column(&spec.out, "score");
    assert_eq!(scores[0].as_deref(), Some("0.0"), "the first row counts");
    assert_eq!(scores[2].as_deref(), Some("21.0"));
    assert_eq!((&scores[1], &scores[24]), (&None, &None));
    let sample = &samples(&spec.out, "00000.tar")[2];
    assert_eq!(sample.meta["score"], 21.0);
    let names: Vec<&str> = sample.meta.keys().map(String::as_str).collect();
    assert_eq!(names[..4], ["id", "score", "caption", "url"]);

    // Other values are another table.
    let again = joined(
        &world,
        "out",
        &spec.join.unwrap().path,
        JoinKey::Url,
        &["score"],
    );
    assert_eq!(run(&again).unwrap().shards_skipped, 3);
    let changed = again.join.as_ref().unwrap().path.clone();
    write(
        &changed,
        vec![
            Column::new("url".into(), ["http://a/"]),
            Column::new("score".into(), [1.0]),
        ],
    );
    assert!(matches!(run(&again), Err(Error::OtherSettings { .. })));
}

#[test]
fn columns_come_by_key_from_an_earlier_output_also_to_workers() {
    let world = World::new(25);
    let first = world.captioned(world.table("urls.csv", 25), "first");
    run(&first).unwrap();
    let table = first.out.join("00001.parquet");
    let spec = joined(
        &world,
        "alone",
        &table,
        JoinKey::Key,
        &["sha256", "original_width"],
    );
    let refused = run(&spec).unwrap_err().to_string();
    assert!(
        refused.contains("column `sha256` cannot be saved"),
        "{refused}"
    );
    let spec = joined(&world, "alone", &table, JoinKey::Key, &["key"]);
    assert!(run(&spec).is_err(), "the status table has such a column");

    let named = world.path("named.parquet");
    let keys = column(&first.out, "key");
    let digests = column(&first.out, "sha256");
    write(
        &named,
        vec![
            Column::new("key".into(), keys),
            Column::new("before".into(), digests.clone()),
        ],
    );
    let alone = joined(&world, "alone", &named, JoinKey::Key, &["before"]);
    run(&alone).unwrap();
    assert_eq!(column(&alone.out, "before"), digests);
    assert_eq!(column(&alone.out, "before"), column(&alone.out, "sha256"));

    let planned = joined(&world, "planned", &named, JoinKey::Key, &["before"]);
    let plan = FetchPlan::new(&planned, &Silent).unwrap();
    plan.save().unwrap();
    for share in [Share::Shards(vec![2, 0]), Share::Any] {
        work(&plan, &share, &Silent, &StopFlag::new()).unwrap();
    }
    finish(&plan).unwrap().unwrap();
    for (name, bytes) in files(&alone.out) {
        assert!(files(&planned.out)[&name] == bytes, "{name}");
    }
    std::fs::copy(scores(&world), &named).unwrap();
    let changed = work(&plan, &Share::Any, &Silent, &StopFlag::new());
    assert!(matches!(changed, Err(Error::OtherTable { .. })));
}

#[test]
fn another_table_that_lacks_something_is_named() {
    let world = World::new(1);
    let path = scores(&world);
    for (on, columns, missing) in [
        (JoinKey::Key, ["score"], "key"),
        (JoinKey::Url, ["mark"], "mark"),
    ] {
        let error = run(&joined(&world, "out", &path, on, &columns)).unwrap_err();
        assert!(
            matches!(&error, Error::MissingColumn { column, .. } if column == missing),
            "{error}"
        );
    }
    let none = joined(&world, "out", &path, JoinKey::Url, &[]);
    assert!(
        run(&none)
            .unwrap_err()
            .to_string()
            .starts_with("--join-columns")
    );
}
