//! Tables in every format, and what is wrong with them.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use polars::prelude::*;
use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};
use sightline_core::ShardId;
use sightline_store::Stores;

use super::{Columns, InputFile, Scratch, ShardRows, TableReader, find};
use crate::error::{Error, Result};

const CSV: &str = "id,url,text,score,flag,code\n\
                   1,http://a/1.jpg,one,0.5,true,007\n\
                   2,http://a/2.jpg,\"two, \"\"quoted\"\"\nlines\",1,false,x\n\
                   3,http://a/3.jpg,,2,,\n";

fn reader(dir: &Path, caption: Option<&str>, additional: &[&str], rows: usize) -> TableReader {
    let columns = Columns {
        url: "url".to_owned(),
        caption: caption.map(str::to_owned),
        additional: additional.iter().map(|&c| c.to_owned()).collect(),
        check: None,
        join: None,
    };
    let (rows, scratch) = (NonZeroUsize::new(rows).unwrap(), Scratch::at(dir));
    TableReader::new(columns, rows, scratch, &Stores::default())
}

fn write(dir: &Path, name: &str, content: &[u8]) -> InputFile {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    find(&Stores::default(), &path, None).unwrap().remove(0)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Every row as compact JSON, batch by batch.
fn read(reader: &TableReader, file: &InputFile) -> Result<Vec<Vec<String>>> {
    let mut all = Vec::new();
    reader.read(file, &|| false, &mut |frame| {
        let shard = ShardRows::new(ShardId(0), frame).unwrap();
        let rows = shard.rows.iter();
        all.push(
            rows.map(|row| serde_json::to_string(&row.columns).unwrap())
                .collect(),
        );
        Ok(true)
    })?;
    Ok(all)
}

fn parquet(frame: &mut DataFrame) -> Vec<u8> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(frame).unwrap();
    bytes
}

#[test]
fn every_format_gives_the_same_rows_compressed_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let jsonl = "{\"url\":\"http://a/1.jpg\",\"text\":\"one\"}\n\
                 {\"text\":\"two, é\",\"url\":\"http://a/2.jpg\"}\n\
                 {\"url\":\"http://a/3.jpg\"}\n";
    let json = format!("[{}]", jsonl.trim_end().replace('\n', ",\n"));
    let csv = "text,url\none,http://a/1.jpg\n\"two, é\",http://a/2.jpg\n,http://a/3.jpg\n";
    let tsv = "text\turl\none\thttp://a/1.jpg\ntwo, é\thttp://a/2.jpg\n\thttp://a/3.jpg\n";
    let mut frame = DataFrame::new_infer_height(vec![
        Column::new("text".into(), [Some("one"), Some("two, é"), None]),
        Column::new(
            "url".into(),
            ["http://a/1.jpg", "http://a/2.jpg", "http://a/3.jpg"],
        ),
    ])
    .unwrap();
    let parquet = parquet(&mut frame);
    let row =
        |caption: &str, n: u32| format!(r#"{{"caption":{caption},"url":"http://a/{n}.jpg"}}"#);
    for (name, content, nothing) in [
        ("a.csv", csv.as_bytes(), "\"\""),
        ("a.tsv", tsv.as_bytes(), "\"\""),
        ("a.jsonl", jsonl.as_bytes(), "null"),
        ("a.json", json.as_bytes(), "null"),
        ("a.parquet", &parquet, "null"),
    ] {
        let expected = [
            vec![row("\"one\"", 1), row("\"two, é\"", 2)],
            vec![row(nothing, 3)],
        ];
        let reader = reader(dir.path(), Some("text"), &[], 2);
        let plain = write(dir.path(), name, content);
        assert_eq!(read(&reader, &plain).unwrap(), expected, "{name}");
        let compressed = write(dir.path(), &format!("{name}.gz"), &gzip(content));
        assert_eq!(read(&reader, &compressed).unwrap(), expected, "{name}.gz");
    }
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_txt_line_is_a_url_whatever_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let txt = "\u{feff}http://a/1,2.jpg\r\n\n  http://a/\"x\"\nlast \u{e9}";
    let reader = reader(dir.path(), None, &[], 2);
    let expected = [
        vec![
            r#"{"url":"http://a/1,2.jpg"}"#.to_owned(),
            r#"{"url":"  http://a/\"x\""}"#.to_owned(),
        ],
        vec![r#"{"url":"last é"}"#.to_owned()],
    ];
    for (name, content) in [
        ("a.txt", txt.as_bytes().to_vec()),
        ("a.txt.gz", gzip(txt.as_bytes())),
    ] {
        let file = write(dir.path(), name, &content);
        assert_eq!(read(&reader, &file).unwrap(), expected, "{name}");
    }
    let empty = write(dir.path(), "empty.txt", b"");
    assert!(read(&reader, &empty).unwrap().is_empty());
    let binary = write(dir.path(), "b.txt", b"http://a/\xff\n");
    assert_eq!(
        read(&reader, &binary).unwrap()[0][0],
        "{\"url\":\"http://a/\u{fffd}\"}"
    );
}

#[test]
fn a_txt_line_without_end_does_not_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = vec![b'x'; (2 << 20) + 1];
    content.extend_from_slice(b"\nhttp://a/");
    let file = write(dir.path(), "a.txt", &content);
    let rows = read(&reader(dir.path(), None, &[], 10), &file).unwrap();
    assert_eq!(rows[0].len(), 2);
    assert!(rows[0][0].len() < (1 << 20) + 100);
    assert_eq!(rows[0][1], r#"{"url":"http://a/"}"#);
}

#[test]
fn text_columns_have_the_type_that_all_their_rows_have() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(
        dir.path(),
        Some("text"),
        &["id", "score", "flag", "code"],
        10,
    );
    let file = write(dir.path(), "a.csv", CSV.as_bytes());
    assert_eq!(
        read(&reader, &file).unwrap()[0],
        [
            r#"{"id":1,"score":0.5,"flag":true,"code":"007","caption":"one","url":"http://a/1.jpg"}"#,
            r#"{"id":2,"score":1.0,"flag":false,"code":"x","caption":"two, \"quoted\"\nlines","url":"http://a/2.jpg"}"#,
            r#"{"id":3,"score":2.0,"flag":null,"code":"","caption":"","url":"http://a/3.jpg"}"#,
        ]
    );
}

#[test]
fn a_late_row_changes_the_type_and_does_not_fail() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = "url,n\n".to_owned();
    let mut jsonl = String::new();
    for n in 0..200_000 {
        writeln!(csv, "http://a/,{n}").unwrap();
        writeln!(jsonl, "{{\"url\":\"http://a/\",\"n\":{n}}}").unwrap();
    }
    csv.push_str("http://a/,many\n");
    jsonl.push_str("{\"url\":\"http://a/\",\"n\":\"many\",\"new\":1}\n");
    let reader = reader(dir.path(), None, &["n"], 100_000);
    for file in [
        write(dir.path(), "a.csv", csv.as_bytes()),
        write(dir.path(), "a.jsonl", jsonl.as_bytes()),
    ] {
        let batches = read(&reader, &file).unwrap();
        let lens: Vec<usize> = batches.iter().map(Vec::len).collect();
        assert_eq!(lens, [100_000, 100_000, 1]);
        assert_eq!(batches[0][7], r#"{"n":"7","url":"http://a/"}"#);
        assert_eq!(batches[2][0], r#"{"n":"many","url":"http://a/"}"#);
    }
}

#[test]
fn lists_of_captions_stay_lists() {
    let dir = tempfile::tempdir().unwrap();
    let jsonl = "{\"url\":\"u\",\"captions\":[\"a\",\"b\"],\"caption\":\"a\"}\n\
                 {\"url\":\"v\",\"captions\":[],\"caption\":\"c\"}\n\
                 {\"url\":\"w\",\"captions\":null,\"caption\":null}\n";
    let file = write(dir.path(), "a.jsonl", jsonl.as_bytes());
    let lists = reader(dir.path(), Some("caption"), &["captions"], 10);
    assert_eq!(
        read(&lists, &file).unwrap()[0],
        [
            r#"{"captions":["a","b"],"caption":"a","url":"u"}"#,
            r#"{"captions":[],"caption":"c","url":"v"}"#,
            r#"{"captions":null,"caption":null,"url":"w"}"#,
        ]
    );
    let wrong = reader(dir.path(), Some("captions"), &[], 10);
    let error = read(&wrong, &file).unwrap_err().to_string();
    assert!(
        error.contains("column `captions` holds list[str], which is no text"),
        "{error}"
    );
}

#[test]
fn one_column_may_be_caption_and_saved() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(dir.path(), Some("text"), &["text"], 10);
    let file = write(dir.path(), "a.csv", b"url,text\nu,t\n");
    assert_eq!(
        read(&reader, &file).unwrap()[0],
        [r#"{"text":"t","caption":"t","url":"u"}"#]
    );
}

#[test]
fn missing_columns_are_named_with_those_that_exist() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(dir.path(), Some("caption"), &[], 10);
    for (name, content) in [
        ("a.csv", "URL,TEXT\nu,t\n"),
        ("a.jsonl", "{\"URL\":1,\"TEXT\":2}\n"),
    ] {
        let file = write(dir.path(), name, content.as_bytes());
        let error = read(&reader, &file).unwrap_err().to_string();
        assert!(
            error.ends_with("has no column `caption`; its columns are `URL`, `TEXT`"),
            "{error}"
        );
    }
    let txt = write(dir.path(), "a.txt", b"http://a/\n");
    let error = read(&reader, &txt).unwrap_err().to_string();
    assert!(error.ends_with("its columns are `url`"), "{error}");
}

#[test]
fn unreadable_tables_name_file_and_cause() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(dir.path(), None, &[], 10);
    for (name, content) in [
        ("empty.csv", &b""[..]),
        ("ragged.csv", b"url,a\nu,1\nv,2,3\n"),
        ("bad.jsonl", b"{\"url\":\"u\"}\nnot json\n"),
        ("scalar.jsonl", b"3\n"),
        ("bad.json", b"[{\"url\":\"u\"}"),
        ("table.json", b"{\"url\":{\"0\":\"u\"}}"),
        ("bad.parquet", b"PAR1 is how it starts"),
        ("empty.parquet", b""),
        ("bad.csv.gz", b"url\nu\n"),
    ] {
        let file = write(dir.path(), name, content);
        let error = read(&reader, &file).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(matches!(error, Error::Table { .. }), "{error:?}");
    }
}

#[test]
fn parquet_types_are_kept_or_refused_and_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut frame = DataFrame::new_infer_height(vec![
        Column::new("url".into(), ["u", "v"]),
        Column::new("small".into(), [1i32, 2]),
        Column::new("float".into(), [0.5f32, 1.5]),
        Column::new("bytes".into(), [b"a".as_slice(), b"b"]),
        Column::new("nothing".into(), [None::<i64>, None])
            .cast(&DataType::Null)
            .unwrap(),
        Column::new("day".into(), [0i32, 19_000])
            .cast(&DataType::Date)
            .unwrap(),
    ])
    .unwrap();
    let file = write(dir.path(), "a.parquet", &parquet(&mut frame));
    let kept = reader(dir.path(), None, &["small", "float", "nothing", "day"], 10);
    assert_eq!(
        read(&kept, &file).unwrap()[0],
        [
            r#"{"small":1,"float":0.5,"nothing":null,"day":"1970-01-01","url":"u"}"#,
            r#"{"small":2,"float":1.5,"nothing":null,"day":"2022-01-08","url":"v"}"#,
        ]
    );
    let refused = reader(dir.path(), None, &["bytes"], 10);
    let error = read(&refused, &file).unwrap_err().to_string();
    assert!(error.contains("column `bytes` holds binary"), "{error}");
}

#[test]
fn every_changed_byte_of_a_parquet_table_gives_every_row_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut frame = DataFrame::new_infer_height(vec![
        Column::new("url".into(), ["http://a/1", "http://a/2", "http://b/"]),
        Column::new("text".into(), [Some("one"), None, Some("three")]),
        Column::new("id".into(), [1i64, 2, 3]),
    ])
    .unwrap();
    let whole = parquet(&mut frame);
    let reader = reader(dir.path(), Some("text"), &["id"], 2);
    let (mut read_on, mut refused) = (0, 0);
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let file = write(dir.path(), "urls.parquet", &bytes);
            match read(&reader, &file) {
                Ok(batches) => {
                    let rows: usize = batches.iter().map(Vec::len).sum();
                    assert_eq!(rows, 3, "byte {at} ^ {flip}");
                    read_on += 1;
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(
                        error.contains("urls.parquet"),
                        "byte {at} ^ {flip}: {error}"
                    );
                    refused += 1;
                }
            }
        }
    }
    assert!(read_on > 0 && refused > 0, "{read_on} and {refused}");
}

#[test]
fn any_wanted_batches_of_a_parquet_table_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let urls: Vec<String> = (0..95).map(|n| format!("http://a/{n}")).collect();
    let mut frame = DataFrame::new_infer_height(vec![Column::new("url".into(), urls)]).unwrap();
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_row_group_size(Some(17))
        .finish(&mut frame)
        .unwrap();
    let file = write(dir.path(), "a.parquet", &bytes);
    let reader = reader(dir.path(), None, &[], 10);
    let wanted = [20u64, 30, 60, 90, 100];
    let mut next = |row| Ok(wanted.iter().copied().find(|first| *first >= row));
    let mut found = Vec::new();
    let mut each = |first: u64, frame: DataFrame| {
        let urls = frame.column("url").unwrap().str().unwrap().clone();
        found.push((first, urls.get(0).unwrap().to_owned(), frame.height()));
        Ok(true)
    };
    reader.read_wanted(&file, &mut next, &mut each).unwrap();
    let expected = [(20, 10), (30, 10), (60, 10), (90, 5)]
        .map(|(first, rows)| (first, format!("http://a/{first}"), rows));
    assert_eq!(found, expected);
}

#[test]
fn reading_stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let csv = format!("url\n{}", "http://a/\n".repeat(100_000));
    let file = write(dir.path(), "a.csv", csv.as_bytes());
    let mut batches = 0;
    reader(dir.path(), None, &[], 10)
        .read(&file, &|| false, &mut |_| {
            batches += 1;
            Ok(batches < 3)
        })
        .unwrap();
    assert_eq!(batches, 3);
    for name in ["a.csv", "a.csv.gz", "a.json"] {
        let file = match name {
            "a.json" => write(dir.path(), name, b"[{\"url\":\"u\"}]"),
            "a.csv.gz" => write(dir.path(), name, &gzip(csv.as_bytes())),
            _ => file.clone(),
        };
        let reader = reader(dir.path(), None, &[], 10);
        let mut batches = 0;
        reader
            .read(&file, &|| true, &mut |_| {
                batches += 1;
                Ok(false)
            })
            .unwrap();
        assert!(batches <= u32::from(name == "a.csv"), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_lines_give_a_row_each(lines in prop::collection::vec("[^\r\n\u{feff}]{1,20}", 0..40), rows in 1usize..20) {
        let dir = tempfile::tempdir().unwrap();
        let file = write(dir.path(), "a.txt", lines.join("\n").as_bytes());
        let batches = read(&reader(dir.path(), None, &[], rows), &file).unwrap();
        prop_assert!(batches.iter().rev().skip(1).all(|batch| batch.len() == rows));
        let read: Vec<String> = batches.into_iter().flatten().collect();
        let expected: Vec<String> = lines
            .iter()
            .map(|line| format!("{{\"url\":{}}}", serde_json::to_string(line).unwrap()))
            .collect();
        prop_assert_eq!(read, expected);
    }
}
