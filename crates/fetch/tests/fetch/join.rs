//! Columns of another table beside those of the rows.

use std::fs::File;
use std::path::{Path, PathBuf};

use polars::prelude::*;
use sightline_core::progress::Silent;
use sightline_fetch::{
    Error, FetchPlan, FetchSpec, JoinKey, JoinSpec, Share, StopFlag, finish, work,
};

use crate::util::{World, check, column, files, names, run, samples};

fn write(path: &Path, columns: Vec<Column>) {
    let mut frame = DataFrame::new_infer_height(columns).unwrap();
    ParquetWriter::new(File::create(path).unwrap())
        .finish(&mut frame)
        .unwrap();
}

fn joined(world: &World, out: &str, path: &Path, on: JoinKey, columns: &[&str]) -> FetchSpec {
    let mut spec = world.captioned(world.table("urls.csv", 25), out);
    spec.join = Some(JoinSpec {
        columns: columns.iter().map(|&name| name.to_owned()).collect(),
        ..JoinSpec::new(path, on)
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

/// Captions of every third row under its number, which the list has as numbers, with one number twice.
const TEXTS: &str = "uid,text,weight\n0,none,0.5\n3,\"three, é\",1\n6,six,2\n3,other,3\n9,,4\n";

fn gzip(path: &Path, text: &str) {
    use std::io::Write as _;
    let file = File::create(path).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
}

#[test]
fn captions_come_from_tables_of_every_format_wherever_they_are() {
    let world = World::new(12);
    let gzipped = world.path("texts.csv.gz");
    gzip(&gzipped, TEXTS);
    let line = |uid: u32, text: &str, weight: f64| {
        format!("{{\"uid\":{uid},\"text\":{text},\"weight\":{weight}}}")
    };
    let lines = [
        line(0, "\"none\"", 0.5),
        line(3, "\"three, é\"", 1.0),
        line(6, "\"six\"", 2.0),
        line(3, "\"other\"", 3.0),
        line(9, "\"\"", 4.0),
    ];
    let parquet = world.path("texts.parquet");
    let texts = ["none", "three, é", "six", "other", ""];
    write(
        &parquet,
        vec![
            Column::new("text".into(), texts),
            Column::new("uid".into(), [0i64, 3, 6, 3, 9]),
            Column::new("weight".into(), [0.5, 1.0, 2.0, 3.0, 4.0]),
        ],
    );
    let stores = sightline_store::Stores::in_memory();
    let bucket = stores.create("s3://bucket/tables".as_ref()).unwrap();
    bucket
        .write(
            "texts.tsv",
            TEXTS
                .replace(',', "\t")
                .replace("three\t é", "three, é")
                .as_bytes(),
        )
        .unwrap();
    let mut made: Option<std::collections::BTreeMap<String, Vec<u8>>> = None;
    for (number, path) in [
        world.write("texts.csv", TEXTS),
        gzipped,
        world.write("texts.jsonl", &lines.join("\n")),
        world.write("texts.json", &format!("[{}]", lines.join(","))),
        parquet,
        "s3://bucket/tables/texts.tsv".into(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut spec = world.spec(world.table("urls.csv", 12), &format!("out{number}"));
        spec.stores = stores.clone();
        spec.scratch = Some(world.path("scratch"));
        spec.join = Some(JoinSpec {
            column: Some("uid".to_owned()),
            columns: vec!["weight".to_owned()],
            caption: Some("text".to_owned()),
            ..JoinSpec::new(&path, JoinKey::Column("id".to_owned()))
        });
        let summary = run(&spec).unwrap();
        check(&spec.out, &summary, 12);
        let join = summary.join.unwrap();
        assert_eq!(
            (join.table_rows, join.table_rows_repeated),
            (Some(5), Some(1))
        );
        assert_eq!(join.unmatched, 8, "{}", path.display());
        let first = ["000001", "000002", "000004"].map(str::to_owned);
        // The second shard has two rows, and row 1 of it is the last of the table.
        assert_eq!(join.unmatched_keys[..3], first);
        assert_eq!(
            join.unmatched_keys[3..],
            ["000010", "000011"].map(str::to_owned)
        );
        let captions = column(&spec.out, "caption");
        assert_eq!(
            captions[3].as_deref(),
            Some("three, é"),
            "the first row counts"
        );
        assert_eq!(
            (captions[1].as_deref(), captions[9].as_deref()),
            (None, Some(""))
        );
        let sample = &samples(&spec.out, "00000.tar")[3];
        assert_eq!(sample.captions, ["three, é"]);
        let names: Vec<&str> = sample.meta.keys().map(String::as_str).collect();
        assert_eq!(names[..4], ["weight", "caption", "url", "key"]);
        // Whatever the table is, the images and what stands beside them are the same.
        let files = files(&spec.out);
        assert!(
            made.get_or_insert_with(|| files.clone()) == &files,
            "{}",
            path.display()
        );
        // What was finished before is told of again.
        let again = run(&spec).unwrap();
        assert_eq!(
            (again.shards_skipped, again.join.unwrap().unmatched),
            (2, 8)
        );
    }
    assert!(names(&world.path("scratch")).is_empty());
}

#[test]
fn joined_captions_are_filtered_like_those_of_the_table() {
    let world = World::new(12);
    let path = world.write("texts.csv", TEXTS);
    let mut spec = world.spec(world.table("urls.csv", 12), "out");
    spec.join = Some(JoinSpec {
        column: Some("uid".to_owned()),
        caption: Some("text".to_owned()),
        ..JoinSpec::new(&path, JoinKey::Column("id".to_owned()))
    });
    spec.filter.min_caption_length = Some(4);
    let summary = run(&spec).unwrap();
    check(&spec.out, &summary, 12);
    assert_eq!(summary.successes, 2, "{:?}", summary.failures);
    spec.caption_col = Some("text".to_owned());
    let refused = run(&spec).unwrap_err().to_string();
    assert!(refused.starts_with("--join-caption-col"), "{refused}");
}

#[test]
fn a_table_that_needs_more_memory_than_it_may_is_refused_before_anything_is_written() {
    let world = World::new(1);
    let mut csv = "url,text\n".to_owned();
    for row in 0..40_000 {
        std::fmt::Write::write_fmt(
            &mut csv,
            format_args!("http://a/{row},{}\n", "x".repeat(40)),
        )
        .unwrap();
    }
    let path = world.write("large.csv", &csv);
    let mut spec = world.spec(world.table("urls.csv", 1), "out");
    let mut join = JoinSpec {
        columns: vec!["text".to_owned()],
        memory_bytes: 3 << 20,
        ..JoinSpec::new(&path, JoinKey::Url)
    };
    spec.join = Some(join.clone());
    let error = run(&spec).unwrap_err();
    assert!(
        matches!(error, Error::JoinTooLarge { limit_mib: 3, .. }),
        "{error}"
    );
    assert!(error.is_usage() && !spec.out.exists());
    // 40,000 rows of 40 letters, 8 bytes for where each ends, and 40 of the index while it grows.
    join.memory_bytes = 40_000 * (40 + 8 + 40);
    spec.join = Some(join);
    run(&spec).unwrap();
}
