//! What bad input gets: a message that names file, place, limit and remedy; the right exit code.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::util::{Outcome, Sandbox, workspace};

fn manifests(sandbox: &Sandbox, suite: &str) {
    for (folder, name) in [
        ("datasets", "scenes-test"),
        ("models", "constant"),
        ("models", "random"),
        ("models", "clip"),
        ("models", "clip-no-vocabulary"),
    ] {
        let file = format!("manifests/{folder}/{name}.toml");
        let text = std::fs::read_to_string(workspace().join(&file)).unwrap();
        sandbox.write(&file, text);
    }
    sandbox.write("manifests/suites/broken.toml", suite);
}

#[test]
fn a_missing_table_is_named() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("fetch nowhere.csv --out shards")
        .expect(2)
        .says(&["nowhere.csv"]);
}

#[test]
fn a_missing_column_is_named_beside_those_that_exist() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "table.csv",
        "link,caption\nhttp://example.com/a.jpg,a cat\n",
    );
    sandbox
        .sightline("fetch table.csv --out shards --url-col lnk")
        .expect(2)
        .says(&["table.csv", "`lnk`", "`link`", "hint:"]);
    assert!(!sandbox.path("shards/00000.tar").exists());
}

/// What the program says about a table that it cannot read.
fn unreadable(sandbox: &Sandbox, name: &str, content: &[u8]) -> Outcome {
    sandbox.write(name, content);
    let outcome = sandbox
        .sightline(&format!("fetch {name} --out shards --caption-col caption"))
        .expect(2)
        .says(&[name, "hint:"]);
    // The table engine's advice is about settings that nobody can make here.
    for advice in [
        "truncate_ragged_lines",
        "infer_schema_length",
        "schema_overrides",
        "ignore_errors",
        "null_values",
    ] {
        assert!(!outcome.stderr.contains(advice), "{}", outcome.stderr);
    }
    outcome
}

#[test]
fn an_unreadable_table_is_named_with_the_line_and_a_remedy() {
    let sandbox = Sandbox::new();
    let cases: &[(&str, &[u8], &str)] = &[
        (
            "fields.csv",
            b"url,caption\nhttp://a/1,x\nhttp://a/2,x,y\n",
            "line 3 has 3 fields, the header has 2",
        ),
        (
            "fields.tsv",
            b"url\tcaption\nhttp://a/1\tx\ty\n",
            "line 2 has 3 fields, the header has 2",
        ),
        (
            "open.csv",
            b"url,caption\nhttp://a/1,x\nhttp://a/2,\"x\nhttp://a/3,y\n",
            "line 3 opens a quoted field that never ends",
        ),
        (
            "after.csv",
            b"url,caption\nhttp://a/1,\"x\"y\n",
            "line 2 has text after the closing quote",
        ),
        (
            "stray.csv",
            b"url,caption\nhttp://a/1,5\" pipe\nhttp://a/2,x\n",
            "line 2 has a single quote sign",
        ),
        (
            "latin1.csv",
            b"url,caption\nhttp://a/1,x\nhttp://a/2,caf\xe9\n",
            "line 3 is not UTF-8",
        ),
        (
            "utf16.csv",
            b"\xff\xfeu\0r\0l\0,\0c\0\n\0",
            "line 1 is not UTF-8",
        ),
        (
            "latin1.jsonl",
            b"{\"url\":\"http://a/1\",\"caption\":\"caf\xe9\"}\n",
            "line 1 is not UTF-8",
        ),
        (
            "latin1.json",
            b"[{\"url\":\"http://a/1\"},\n{\"url\":\"http://a/1\",\"caption\":\"caf\xe9\"}]\n",
            "line 2 is not UTF-8",
        ),
        (
            "bad.jsonl",
            b"{\"url\":\"http://a/1\",\"caption\":\"x\"}\nnot json\n",
            "line 2 is no JSON object",
        ),
        (
            "mixed.jsonl",
            b"{\"url\":\"u\",\"caption\":\"x\",\"a\":[]}\n{\"url\":\"u\",\"a\":{\"b\":1}}\n",
            "line 2 has an object in `a`, where an earlier one has a list",
        ),
        (
            "mixed.json",
            b"[{\"url\":\"u\",\"caption\":\"x\",\"a\":[]},\n{\"a\":[]},{\"url\":\"u\",\"a\":{\"b\":1}}]",
            "object 3 has an object in `a`",
        ),
        (
            "open.json",
            b"[{\"url\":\"u\",\"caption\":\"x\"},\n{\"url\":",
            "EOF while parsing a value at line 2",
        ),
        (
            "lines.json",
            b"{\"url\":\"u\",\"caption\":\"x\"}\n",
            "expected an array of objects",
        ),
        ("empty.csv", b"", "the file is empty"),
        ("text.csv.gz", b"url,caption\n", "not compressed with gzip"),
        (
            "text.parquet",
            b"this is no parquet file",
            "damaged Parquet file",
        ),
        ("empty.parquet", b"", "damaged Parquet file"),
    ];
    for (name, content, problem) in cases {
        unreadable(&sandbox, name, content).says(&[problem]);
    }
}

#[test]
fn a_compressed_table_that_was_cut_short_is_named() {
    let sandbox = Sandbox::new();
    let csv = format!("url,caption\n{}", "http://a/1,x\n".repeat(2000));
    let jsonl = "{\"url\":\"http://a/1\",\"caption\":\"x\"}\n".repeat(2000);
    let json = format!("[{}{{}}]", jsonl.replace('\n', ","));
    for (name, content) in [
        ("a.csv.gz", &csv),
        ("a.jsonl.gz", &jsonl),
        ("a.json.gz", &json),
    ] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(content.as_bytes()).unwrap();
        let whole = gzip.finish().unwrap();
        for len in [5, 30, whole.len() / 2, whole.len() - 4] {
            unreadable(&sandbox, name, &whole[..len]).says(&["truncated", "gzip -t"]);
        }
    }
}

#[test]
fn a_damaged_parquet_table_is_named_and_nothing_else_is_said() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("synth scenes --out scenes --train 1 --val 1 --test 300 --size 32")
        .expect(0);
    let whole = std::fs::read(sandbox.path("scenes/urls/test.parquet")).unwrap();
    let check = |content: &[u8]| {
        let outcome =
            unreadable(&sandbox, "table.parquet", content).says(&["damaged Parquet file"]);
        assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 3, "{}", outcome.stderr);
    };
    for len in [4, 12, whole.len() / 2, whole.len() - 1] {
        check(&whole[..len]);
    }
    // The pages of the first column, and the description of the columns at the end.
    for range in [4..whole.len() / 4, whole.len() - 60..whole.len() - 20] {
        let mut content = whole.clone();
        content[range].fill(0xff);
        check(&content);
    }
    // A field of the statistics of a column under the number of another, on which some readers panic: the
    // greatest value, number 5, as number 7.
    let (count, greatest, other) = ([0x36, 0x00], 0x28, 0x48);
    let at = whole
        .windows(3)
        .rposition(|bytes| bytes == [count[0], count[1], greatest]);
    let mut content = whole;
    content[at.unwrap() + 2] = other;
    check(&content);
}

#[test]
fn flags_that_cannot_be_are_named_as_they_were_given() {
    let sandbox = Sandbox::new();
    sandbox.write("urls.txt", "http://example.com/a.jpg\n");
    let fetch = |more: &str| sandbox.sightline(&format!("fetch urls.txt --out shards {more}"));
    fetch("--thread-count 0")
        .expect(2)
        .says(&["--thread-count"]);
    fetch("--per-host-connections 0")
        .expect(2)
        .says(&["--per-host-connections"]);
    fetch("--output-format tfrecords").expect(2).says(&[
        "--output-format",
        "`tfrecords`",
        "hint:",
        "`tfrecord`",
    ]);
    sandbox
        .sightline("shards info shards --format mdz")
        .expect(2)
        .says(&["`mdz`", "hint:", "`mds`"]);
}

#[test]
fn a_file_named_with_out_is_overwritten_only_by_force() {
    let sandbox = Sandbox::new();
    let fixture = workspace().join("tests/fixtures/models/preprocess");
    let spec =
        workspace().join("tests/fixtures/models/clip/hf_quickgelu_eos2/preprocessor_config.json");
    let preprocess = |image: &str, more: &str| {
        let (spec, image) = (spec.display(), fixture.join(image));
        let image = image.display();
        sandbox.sightline(&format!(
            "preprocess --spec {spec} --images {image} --out a.safetensors {more}"
        ))
    };
    let written = || std::fs::read(sandbox.path("a.safetensors")).unwrap();
    preprocess("photo.jpg", "").expect(0);
    let photo = written();
    preprocess("photo.jpg", "").expect(0);
    preprocess("tiny.png", "")
        .expect(2)
        .says(&["a.safetensors", "hint:", "--force"]);
    assert!(written() == photo, "the file was changed without --force");
    preprocess("tiny.png", "--force").expect(0);
    assert!(written() != photo);
}

#[test]
fn unknown_names_in_a_suite_are_all_reported_with_places_and_near_names() {
    let sandbox = Sandbox::new();
    manifests(
        &sandbox,
        r#"schema = 1
suite = "broken"
description = "Names that nobody knows."
seed = 1
models = ["randon"]

[[task]]
kind = "zeroshot"
dataset = "scenes-test"

[[task]]
kind = "retrieval"
dataset = "scenes-tset"
metrics = ["recal@1.image-to-text"]
"#,
    );
    let outcome = sandbox
        .sightline("plan manifests/suites/broken.toml")
        .expect(2)
        .says(&[
            "broken.toml:5",
            "`randon`",
            "`random`",
            "`zeroshot`",
            "`zero-shot`",
            "`scenes-tset`",
            "`scenes-test`",
        ]);
    insta::assert_snapshot!(outcome.stderr);
}

#[test]
fn a_syntax_error_in_a_suite_is_shown_where_it_is() {
    let sandbox = Sandbox::new();
    manifests(&sandbox, "schema = 1\nsuite = \"broken\nseed = 1\n");
    sandbox
        .sightline("plan manifests/suites/broken.toml")
        .expect(2)
        .says(&["broken.toml:2"]);
}

/// A suite with one zero-shot task for the CLIP model without vocabulary, and one fetched shard.
fn clip_suite(sandbox: &Sandbox) {
    manifests(
        sandbox,
        "schema = 1\nsuite = \"broken\"\ndescription = \"One model.\"\nseed = 1\n\
         models = [\"clip-no-vocabulary\"]\n\n[[task]]\nkind = \"retrieval\"\ndataset = \"scenes-test\"\n",
    );
    sandbox
        .sightline("synth scenes --out data/scenes --train 1 --val 1 --test 4")
        .expect(0);
    let server = sightline_testkit::http::Server::start(sandbox.path("data/scenes")).unwrap();
    let table = std::fs::read_to_string(sandbox.path("data/scenes/urls/test.csv")).unwrap();
    sandbox.write(
        "urls.csv",
        table.replace(
            "http://127.0.0.1:8000",
            server.url("").trim_end_matches('/'),
        ),
    );
    sandbox
        .sightline(
            "fetch urls.csv --out data/shards/test --caption-col caption --allow-private-addresses",
        )
        .expect(0);
    let fixture = workspace().join("tests/fixtures/models/clip/hf_quickgelu_eos2");
    for file in [
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
    ] {
        sandbox.write(
            &format!("checkpoint/{file}"),
            std::fs::read(fixture.join(file)).unwrap(),
        );
    }
}

const RUN_CLIP: &str = "run manifests/suites/broken.toml --data data --records records \
                        --checkpoint clip-no-vocabulary=checkpoint";

#[test]
fn a_checkpoint_with_missing_and_misshapen_tensors_lists_them_all() {
    let sandbox = Sandbox::new();
    clip_suite(&sandbox);
    let path = sandbox.path("checkpoint/model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let changed: Vec<(String, safetensors::tensor::TensorView<'_>)> = tensors
        .tensors()
        .into_iter()
        .filter(|(name, _)| name != "visual_projection.weight")
        .map(|(name, view)| {
            if name != "text_projection.weight" {
                return (name, view);
            }
            let shape: Vec<usize> = view.shape().iter().rev().copied().collect();
            let turned =
                safetensors::tensor::TensorView::new(view.dtype(), shape, view.data()).unwrap();
            (name, turned)
        })
        .collect();
    std::fs::write(&path, safetensors::serialize(changed, None).unwrap()).unwrap();
    sandbox.sightline(RUN_CLIP).expect(2).says(&[
        "model.safetensors",
        "`visual_projection.weight`",
        "`text_projection.weight`",
    ]);
}

#[test]
fn a_truncated_checkpoint_is_named() {
    let sandbox = Sandbox::new();
    clip_suite(&sandbox);
    let path = sandbox.path("checkpoint/model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for len in [0, 7, 100, bytes.len() / 2] {
        std::fs::write(&path, &bytes[..len]).unwrap();
        sandbox
            .sightline(RUN_CLIP)
            .expect(2)
            .says(&["model.safetensors"]);
    }
}

#[test]
fn a_checkpoint_that_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    clip_suite(&sandbox);
    std::fs::remove_dir_all(sandbox.path("checkpoint")).unwrap();
    sandbox.sightline(RUN_CLIP).expect(2).says(&["checkpoint"]);
}

#[test]
fn shards_that_are_not_there_are_named() {
    let sandbox = Sandbox::new();
    clip_suite(&sandbox);
    std::fs::remove_dir_all(sandbox.path("data/shards")).unwrap();
    sandbox.sightline(RUN_CLIP).expect(2).says(&["shards/test"]);
}
