//! Tables of every format through the whole run, and tables that cannot be.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use polars::prelude::*;
use sightline_core::Hint;
use sightline_fetch::{Error, InputFormat};

use crate::util::{World, check, column, files, image_name, names, run, status_table};

#[test]
fn every_format_gives_the_same_shards() {
    let world = World::new(12);
    let rows: Vec<String> = (0..12)
        .map(|n| world.server.url(&format!("/{}", image_name(n).0)))
        .collect();
    let objects: Vec<String> = rows
        .iter()
        .map(|url| format!("{{\"url\":\"{url}\"}}"))
        .collect();
    let mut parquet = Vec::new();
    let column = Column::new("url".into(), &rows);
    let mut frame = DataFrame::new_infer_height(vec![column]).unwrap();
    ParquetWriter::new(&mut parquet).finish(&mut frame).unwrap();
    let tables = [
        ("txt", rows.join("\n").into_bytes()),
        ("csv", format!("url\n{}\n", rows.join("\n")).into_bytes()),
        (
            "tsv",
            format!("n\turl\n1\t{}\n", rows.join("\n1\t")).into_bytes(),
        ),
        ("jsonl", objects.join("\n").into_bytes()),
        ("json", format!("[{}]", objects.join(",")).into_bytes()),
        ("parquet", parquet),
    ];
    let mut expected = None;
    for (format, content) in tables {
        for gzip in [false, true] {
            let name = format!("urls.{format}{}", if gzip { ".gz" } else { "" });
            let mut content = content.clone();
            if gzip {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&content).unwrap();
                content = encoder.finish().unwrap();
            }
            fs::write(world.path(&name), content).unwrap();
            let spec = world.spec(world.path(&name), &format!("out-{name}"));
            check(&spec.out, &run(&spec).unwrap(), 12);
            let bytes = files(&spec.out);
            assert!(
                *expected.get_or_insert_with(|| bytes.clone()) == bytes,
                "{name}"
            );
        }
    }
}

#[test]
fn a_folder_is_cut_file_by_file() {
    let world = World::new(12);
    world.table("tables/b.csv", 12);
    world.table("tables/a.csv", 11);
    world.write("tables/notes.md", "not a table");
    let spec = world.captioned(world.path("tables"), "out");
    let summary = run(&spec).unwrap();
    check(&spec.out, &summary, 23);
    let rows: Vec<usize> = (0..4)
        .map(|id| status_table(&spec.out, id).height())
        .collect();
    assert_eq!(rows, [10, 1, 10, 2]);
    assert_eq!(column(&spec.out, "key")[11].as_deref(), Some("000020"));
}

#[test]
fn tables_that_cannot_be_read_are_named() {
    let world = World::new(0);
    let csv = world.write("urls.csv", "URL,TEXT\nhttp://a/,t\n");
    let error = run(&world.spec(&csv, "out")).unwrap_err();
    assert!(matches!(&error, Error::MissingColumn { column, .. } if column == "url"));
    assert_eq!(error.hints()[0], "Did you mean `URL`?");
    assert!(error.is_usage());

    let mut spec = world.spec(&csv, "out");
    spec.url_col = "URL".to_owned();
    spec.save_additional_columns = vec!["LICENSE".to_owned()];
    let error = run(&spec).unwrap_err().to_string();
    assert!(
        error.ends_with("has no column `LICENSE`; its columns are `URL`, `TEXT`"),
        "{error}"
    );

    let missing = run(&world.spec(world.path("none.csv"), "out")).unwrap_err();
    assert!(missing.to_string().contains("none.csv"), "{missing}");
    let bad = world.write("bad.parquet", "this is no parquet");
    let error = run(&world.spec(&bad, "out")).unwrap_err().to_string();
    assert!(
        error.contains("bad.parquet` is not readable as parquet"),
        "{error}"
    );
    assert!(names(&world.path("out")).is_empty());
}

#[test]
fn a_broken_line_is_found_before_the_first_download() {
    let world = World::new(12);
    let url = world.server.url("/0.png");
    let table = world.write(
        "urls.jsonl",
        &format!("{{\"url\":\"{url}\"}}\n").repeat(300_000),
    );
    let mut text = fs::read_to_string(&table).unwrap();
    text.push_str("{\"url\": broken\n");
    fs::write(&table, text).unwrap();
    // The types of JSON columns are found by reading every line.
    let error = run(&world.spec(&table, "out")).unwrap_err().to_string();
    assert!(
        error.contains("urls.jsonl` is not readable as jsonl"),
        "{error}"
    );
    assert_eq!(world.server.requests_total(), 0);
}

#[test]
fn a_column_type_that_cannot_be_read_is_named() {
    // Written by pyarrow 26.0.1: columns url (string) and dec (decimal128(10, 2)).
    let file = Path::new("tests/fixtures/decimal.parquet");
    let world = World::new(0);
    let mut spec = world.spec(file, "out");
    spec.save_additional_columns = vec!["dec".to_owned()];
    let error = run(&spec).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("column `dec` holds decimal, which cannot be saved"),
        "{error}"
    );
}

#[test]
fn the_format_may_be_given() {
    let world = World::new(1);
    let table = world.write("list", &format!("{}\n", world.server.url("/0.png")));
    let mut spec = world.spec(&table, "out");
    assert!(matches!(run(&spec), Err(Error::TableFormat { .. })));
    spec.input_format = Some(InputFormat::Txt);
    check(&spec.out, &run(&spec).unwrap(), 1);
}
