//! `sightline shards filter` and `dedup`: what stays, what is said about the rest, and that a failure leaves nothing.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use sightline_core::{EncodedImage, ImageFormat, Sample, SampleKey, ShardId};
use sightline_imaging::{Channels, EncodeSpec, Pixels, encode};
use sightline_shard::format::of_name;
use sightline_shard::webdataset::WebDataset;
use sightline_shard::{FORMATS, ShardFormat};
use sightline_store::Folder;

use crate::util::{Sandbox, files};

/// A picture of `side` pixels with waves of its own.
fn picture(seed: u32, side: u32) -> Pixels {
    let value = |at: u32| {
        let (x, y) = (at % side * 64 / side, at / side * 64 / side);
        let wave = |a: u32, b: u32| (f64::from(a * x + b * y) * 0.05).sin();
        let sum = wave(1 + seed % 5, 2 + seed % 7) + wave(3 + seed % 11, 1 + seed % 3);
        (127.0 + 60.0 * sum) as u8
    };
    let data = (0..side * side).map(value).collect();
    Pixels::new(side, side, Channels::Grey, data).unwrap()
}

fn sample(key: &str, image: Option<(ImageFormat, Vec<u8>)>, caption: &str, meta: &Value) -> Sample {
    Sample {
        key: SampleKey::new(key).unwrap(),
        image: image.map(|(format, bytes)| EncodedImage {
            format,
            bytes: bytes.into(),
        }),
        captions: vec![caption.to_owned()],
        meta: meta.as_object().unwrap().clone(),
    }
}

fn png(pixels: &Pixels) -> (ImageFormat, Vec<u8>) {
    let bytes = encode(pixels, &EncodeSpec::lossless(ImageFormat::Png)).unwrap();
    (ImageFormat::Png, bytes)
}

fn jpg(pixels: &Pixels, quality: u8) -> (ImageFormat, Vec<u8>) {
    let bytes = encode(pixels, &EncodeSpec::jpeg(quality)).unwrap();
    (ImageFormat::Jpg, bytes)
}

/// Writes shards of these samples into `source/`.
fn write(sandbox: &Sandbox, shards: &[Vec<Sample>]) {
    let mut folder = Folder::create(sandbox.path("source")).unwrap();
    for (id, samples) in (0..).zip(shards) {
        let mut writer = WebDataset.create(&mut folder, ShardId(id)).unwrap();
        for sample in samples {
            writer.write(sample).unwrap();
        }
        writer.finish().unwrap();
    }
}

/// Keys of the samples in each shard of a folder.
fn keys(sandbox: &Sandbox, folder: &str) -> BTreeMap<String, Vec<String>> {
    let folder = Folder::open(sandbox.path(folder)).unwrap();
    let mut keys = BTreeMap::new();
    for name in folder.expand(&["*"]).unwrap() {
        let Some(format) = of_name(&name) else {
            continue;
        };
        let mut reader = format.open(&folder, &name).unwrap();
        let of_shard: &mut Vec<String> = keys.entry(name).or_default();
        while let Some(sample) = reader.next_sample().unwrap() {
            of_shard.push(sample.key.to_string());
        }
    }
    keys
}

/// Three shards: of nothing in the second one anything stays where `width` is large.
fn scored(sandbox: &Sandbox) {
    let image = |side| Some(png(&picture(side, side)));
    write(
        sandbox,
        &[
            vec![
                sample(
                    "a",
                    image(20),
                    "a cat on a mat",
                    &json!({"width": 512, "tags": ["x"]}),
                ),
                sample("b", image(21), "dog", &json!({"width": 200})),
                sample(
                    "c",
                    image(22),
                    "Stock Photo of a cat",
                    &json!({"width": 512}),
                ),
            ],
            vec![sample("d", image(23), "", &json!({"width": 100}))],
            vec![
                sample("e", image(24), "a cat", &json!({"width": "wide"})),
                sample("f", image(25), "another cat", &json!({"width": 300})),
                sample("g", None, "no image", &json!({"width": null})),
            ],
        ],
    );
    sandbox.write(
        "scores.csv",
        "key,clip_score,language\na,0.31,en\nb,0.9,en\nc,0.3,de\nf,0.29,en\nz,1,en\n",
    );
    let row = |key, score: f64| format!("{}\n", json!({"id": key, "aesthetic": score}));
    sandbox.write("more.jsonl", row("a", 5.0) + &row("f", 3.5));
}

#[test]
fn a_filter_keeps_what_the_condition_holds_for_and_says_why_not() {
    let sandbox = Sandbox::new();
    scored(&sandbox);
    let run = |more: &[&str]| {
        let where_ = "width >= 256 and clip_score > 0.28 and not caption matches '(?i)stock'";
        let mut args = vec![
            "shards",
            "filter",
            "source",
            "--where",
            where_,
            "--scores",
            "scores.csv",
        ];
        args.extend(more);
        sandbox.run(args)
    };
    let counted = run(&["--dry-run", "--json"]).expect(0).json();
    assert_eq!(
        (&counted["read"], &counted["kept"], &counted["shards"]),
        (&json!(7), &json!(2), &json!([]))
    );
    assert!(!sandbox.path("out").exists());
    assert_eq!(
        counted["reasons"],
        json!([
            {"condition": "width >= 256", "is_false": 2, "is_null": 1, "is_other": 1},
            {"condition": "clip_score > 0.28", "is_false": 0, "is_null": 0, "is_other": 0},
            {"condition": "not caption matches '(?i)stock'", "is_false": 1, "is_null": 0, "is_other": 0},
        ])
    );
    assert_eq!(counted["without_scores"], json!([3]));

    let written = run(&["--out", "out"])
        .expect(0)
        .says(&["scores.csv", "3 of 7"]);
    let text = &written.stdout;
    assert!(
        text.contains("2 of 7 samples (28.6 %) in 2 shards"),
        "{text}"
    );
    assert!(
        text.contains("4 fell out at width >= 256 (1 because a value is missing, 1 because"),
        "{text}"
    );
    assert_eq!(
        keys(&sandbox, "out"),
        [
            ("00000.tar".to_owned(), vec!["a".to_owned()]),
            ("00001.tar".to_owned(), vec!["f".to_owned()])
        ]
        .into()
    );
    run(&["--out", "out"])
        .expect(2)
        .says(&["exists", "--force"]);
    let first = files(&sandbox.path("out"), |_| true);
    run(&["--out", "out", "--force"]).expect(0);
    assert!(files(&sandbox.path("out"), |_| true) == first);
    // Nothing is left beside it.
    let names = fs::read_dir(sandbox.path("")).unwrap();
    assert_eq!(names.count(), 4);
}

#[test]
fn built_in_columns_are_there_without_metadata_and_in_every_format() {
    let sandbox = Sandbox::new();
    let image = |side| Some(png(&picture(side, side)));
    write(
        &sandbox,
        &[vec![
            sample("small", image(16), "one two", &json!({})),
            sample("large", image(48), "one two three", &json!({})),
            sample("none", None, "", &json!({})),
        ]],
    );
    let holds = |condition: &str| -> Vec<String> {
        let args = [
            "shards", "filter", "source", "--where", condition, "--out", "some", "--force",
        ];
        sandbox.run(args).expect(0);
        keys(&sandbox, "some").into_values().flatten().collect()
    };
    for (condition, expected) in [
        ("width > 16 and height = 48", &["large"][..]),
        ("min(width, height) >= 16", &["small", "large"]),
        ("bytes is null", &["none"]),
        ("bytes > 0 and format = 'png'", &["small", "large"]),
        ("caption_length = 7 and words(caption) = 2", &["small"]),
        (
            "captions = 1 and shard = '00000.tar' and key in ('none', 'small')",
            &["small", "none"],
        ),
        ("key like '%a_ge'", &["large"]),
    ] {
        assert_eq!(holds(condition), expected, "{condition}");
    }
    for format in FORMATS {
        let to = format.name();
        sandbox
            .run([
                "shards",
                "filter",
                "source",
                "--where",
                "bytes > 0",
                "--to",
                to,
                "--out",
                to,
            ])
            .expect(0);
        let found: Vec<String> = keys(&sandbox, to).into_values().flatten().collect();
        assert_eq!(found, ["small", "large"], "{to}");
        // What has no format of its own to be written in keeps that of its source.
        sandbox
            .run([
                "shards",
                "filter",
                to,
                "--where",
                "height < 20",
                "--out",
                &format!("{to}-2"),
            ])
            .expect(0);
        let again = keys(&sandbox, &format!("{to}-2"));
        assert_eq!(again.len(), 1, "{to}");
        assert_eq!(of_name(again.keys().next().unwrap()).unwrap().name(), to);
    }
}

#[test]
fn mistakes_in_a_condition_are_pointed_at_and_leave_nothing() {
    let sandbox = Sandbox::new();
    scored(&sandbox);
    let filter = |condition: &str, more: &[&str]| {
        let mut args = vec![
            "shards", "filter", "source", "--out", "out", "--where", condition,
        ];
        args.extend(more);
        sandbox.run(args).expect(2)
    };
    filter("width >= and x", &[]).says(&[
        "a value is missing before `and`",
        "    width >= and x\n             ^^^",
        "--help",
    ]);
    filter("widht >= 3", &[]).says(&[
        "no sample has a column `widht`; is `width` meant?",
        "    widht >= 3\n    ^^^^^",
    ]);
    filter("clip_scroe > 3", &["--scores", "scores.csv"]).says(&["clip_scroe"]);
    filter("x > 3", &["--scores", "more.jsonl"]).says(&["more.jsonl", "no column `key`", "--on"]);
    filter("x > 3", &["--scores", "lost.csv"]).says(&["lost.csv"]);
    filter("x > 3", &["--scores", "source/00000.tar"]).says(&[".parquet, .csv, .jsonl"]);
    sandbox.write("twice.csv", "key,x\na,1\na,2\n");
    filter("x > 3", &["--scores", "twice.csv"]).says(&["two rows with the key `a`"]);
    sandbox.write("broken.jsonl", "{\"key\": \"a\", \"x\": 1}\n{\"key\"\n");
    filter("x > 3", &["--scores", "broken.jsonl"]).says(&["broken.jsonl`, line 2"]);
    assert!(!sandbox.path("out").exists());
    sandbox
        .run([
            "shards",
            "filter",
            "source",
            "--where",
            "aesthetic > 4",
            "--scores",
            "more.jsonl",
            "--on",
            "id",
            "--out",
            "out",
        ])
        .expect(0);
    assert_eq!(
        keys(&sandbox, "out")
            .into_values()
            .flatten()
            .collect::<Vec<_>>(),
        ["a"]
    );
    // A torn shard ends it with its place, and the output does not appear.
    let torn = sandbox.path("source/00002.tar");
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    sandbox
        .run([
            "shards", "filter", "source", "--where", "true", "--out", "torn",
        ])
        .expect(1)
        .says(&["00002.tar", "truncated", "shards repair"]);
    assert!(!sandbox.path("torn").exists() && !sandbox.path(".torn.partial").exists());
}

#[test]
fn scores_are_read_from_parquet_too() {
    let sandbox = Sandbox::new();
    scored(&sandbox);
    // The shards of this format are tables: of these samples, with a column for the width.
    sandbox
        .sightline("shards convert source --to parquet --out tables --samples-per-shard 9")
        .expect(0);
    let scores = "tables/00000.parquet";
    sandbox
        .run([
            "shards",
            "filter",
            "source",
            "--where",
            "json like '%512%'",
            "--scores",
            scores,
            "--out",
            "out",
        ])
        .expect(0);
    assert_eq!(
        keys(&sandbox, "out")
            .into_values()
            .flatten()
            .collect::<Vec<_>>(),
        ["a", "c"]
    );
}

/// Two pictures, each in several files.
fn doubled(sandbox: &Sandbox) {
    let (one, two) = (picture(1, 128), picture(8, 128));
    let meta = json!({});
    write(
        sandbox,
        &[
            vec![
                sample("one", Some(png(&one)), "", &meta),
                sample("two", Some(png(&two)), "", &meta),
                sample("one-smaller", Some(png(&picture(1, 64))), "", &meta),
            ],
            vec![
                sample("one-again", Some(png(&one)), "", &meta),
                sample("one-jpg", Some(jpg(&one, 60)), "", &meta),
                sample(
                    "one-webp",
                    Some((
                        ImageFormat::Webp,
                        encode(&one, &EncodeSpec::lossless(ImageFormat::Webp)).unwrap(),
                    )),
                    "",
                    &meta,
                ),
                sample("two-larger", Some(png(&picture(8, 256))), "", &meta),
                sample(
                    "broken",
                    Some((ImageFormat::Jpg, b"no image".to_vec())),
                    "",
                    &meta,
                ),
                sample("none", None, "", &meta),
            ],
        ],
    );
}

#[test]
fn duplicates_are_left_out_by_bytes_by_pixels_and_by_looks() {
    let sandbox = Sandbox::new();
    doubled(&sandbox);
    let dedup = |by: &str, more: &str| {
        let line = format!(
            "shards dedup source --by {by} --out {by} --report {by}.json --json --force {more}"
        );
        let found = sandbox.sightline(&line).expect(0).json();
        let kept: Vec<String> = keys(&sandbox, by).into_values().flatten().collect();
        let report: Value =
            serde_json::from_slice(&fs::read(sandbox.path(&format!("{by}.json"))).unwrap())
                .unwrap();
        assert_eq!(found["kept"], kept.len(), "{found}");
        (found, kept, report)
    };
    let (found, kept, report) = dedup("content", "");
    assert_eq!(
        kept,
        [
            "one",
            "two",
            "one-smaller",
            "one-jpg",
            "one-webp",
            "two-larger",
            "broken",
            "none"
        ]
    );
    assert_eq!(
        (&found["duplicates"], &found["without_image"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        report,
        json!({"schema": 1, "groups": [{
            "kept": {"shard": "00000.tar", "key": "one", "distance": 0},
            "left_out": [{"shard": "00001.tar", "key": "one-again", "distance": 0}],
        }]})
    );

    let (found, kept, _) = dedup("pixels", "");
    assert_eq!(
        kept,
        [
            "one",
            "two",
            "one-smaller",
            "one-jpg",
            "two-larger",
            "broken",
            "none"
        ]
    );
    assert_eq!(
        (&found["duplicates"], &found["undecodable"]),
        (&json!(2), &json!(1))
    );

    let (found, kept, report) = dedup("phash", "");
    assert_eq!(kept, ["one", "two", "broken", "none"]);
    assert_eq!(
        (&found["duplicates"], &found["with_duplicates"]),
        (&json!(5), &json!(2))
    );
    let left_out: Vec<&str> = report["groups"][0]["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["key"].as_str().unwrap())
        .collect();
    assert_eq!(
        left_out,
        ["one-smaller", "one-again", "one-jpg", "one-webp"]
    );
    let (_, kept, _) = dedup("phash", "--keep largest");
    assert_eq!(kept, ["one", "two-larger", "broken", "none"]);
    let first = files(&sandbox.path("phash"), |_| true);
    dedup("phash", "--keep largest");
    assert!(files(&sandbox.path("phash"), |_| true) == first);

    let counted = sandbox
        .sightline("shards dedup source --by content --dry-run --out none")
        .expect(0);
    assert!(
        counted.stdout.contains("8 of 9 samples"),
        "{}",
        counted.stdout
    );
    assert!(!sandbox.path("none").exists());
    sandbox
        .sightline("shards dedup source --by phash --distance 17 --dry-run")
        .expect(2);
    sandbox
        .sightline("shards dedup source --by phash")
        .expect(2)
        .says(&["--out"]);
    sandbox
        .sightline("shards dedup source --by content --out content")
        .expect(2)
        .says(&["--force"]);
}

#[test]
fn export_and_split_take_the_samples_that_a_condition_names() {
    let sandbox = Sandbox::new();
    scored(&sandbox);
    let run = |line: &str, condition: &str| {
        let args = line
            .split_whitespace()
            .chain(["--where", condition, "--json"]);
        sandbox.run(args)
    };
    let with_scores = "--scores scores.csv";
    let line = format!("shards export source --out files --flat {with_scores}");
    let exported = run(&line, "width >= 256 and clip_score > 0.295")
        .expect(0)
        .json();
    assert_eq!(
        (&exported["samples"], &exported["left_out"]),
        (&json!(2), &json!(5))
    );
    let images = files(&sandbox.path("files"), |name| name.ends_with(".png"));
    assert_eq!(images.into_keys().collect::<Vec<_>>(), ["a.png", "c.png"]);

    let line = "shards split source --out parts --parts one=0.5,two=0.5";
    let split = run(line, "shard != '00002.tar' and width >= 200")
        .expect(0)
        .json();
    assert_eq!(
        (&split["samples"], &split["left_out"]),
        (&json!(3), &json!(4))
    );
    let mut kept: Vec<String> = ["parts/one", "parts/two"]
        .iter()
        .flat_map(|part| keys(&sandbox, part).into_values().flatten())
        .collect();
    kept.sort();
    assert_eq!(kept, ["a", "b", "c"]);

    run("shards export source --out other", "width >")
        .expect(2)
        .says(&["--where"]);
    let line = format!("shards export source --out other {with_scores}");
    sandbox
        .sightline(&line)
        .expect(2)
        .says(&["--scores", "--where"]);
    assert!(!sandbox.path("other").exists());
}
