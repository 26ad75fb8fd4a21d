//! `sightline shards`: every format into every other, what is wrong and what is left of it.

use std::fs;

use sightline_core::{Sample, ShardId};
use sightline_shard::format::of_name;
use sightline_shard::webdataset::WebDataset;
use sightline_shard::{FORMATS, ShardFormat, conformance};
use sightline_store::Folder;

use crate::util::Sandbox;

/// Samples in two tar archives below `source/`.
fn source(sandbox: &Sandbox) -> Vec<Sample> {
    let samples = conformance::samples();
    let mut folder = Folder::create(sandbox.path("source")).unwrap();
    for (id, some) in (0..).zip(samples.chunks(8)) {
        let mut writer = WebDataset.create(&mut folder, ShardId(id)).unwrap();
        for sample in some {
            writer.write(sample).unwrap();
        }
        writer.finish().unwrap();
    }
    samples
}

/// An archive as others write them.
fn archive(sandbox: &Sandbox, name: &str, members: &[(&str, &str)]) {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        // As it is given, where the library would take a leading `./` away.
        if name.len() < 100 {
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        } else {
            builder
                .append_data(&mut header, name, data.as_bytes())
                .unwrap();
        }
    }
    sandbox.write(name, builder.into_inner().unwrap());
}

/// The samples of the shards in `folder` whose names end as those of a format do.
fn read(sandbox: &Sandbox, folder: &str) -> Vec<Sample> {
    let folder = Folder::open(sandbox.path(folder)).unwrap();
    let mut samples = Vec::new();
    for name in folder.expand(&["*"]).unwrap() {
        let Some(format) = of_name(&name) else {
            continue;
        };
        let mut reader = format.open(&folder, &name).unwrap();
        while let Some(sample) = reader.next_sample().unwrap() {
            samples.push(sample);
        }
    }
    samples
}

#[test]
fn every_format_becomes_every_other_without_loss() {
    let sandbox = Sandbox::new();
    let samples = source(&sandbox);
    let mut from = "source".to_owned();
    for format in FORMATS {
        let to = format.name();
        let line = format!("shards convert {from} --to {to} --out {to} --samples-per-shard 5");
        sandbox.sightline(&line).expect(0);
        assert_eq!(read(&sandbox, to), samples, "{to}");
        sandbox
            .sightline(&line)
            .expect(2)
            .says(&["exists", "--force"]);
        let verified = sandbox
            .sightline(&format!("shards verify {to} --json"))
            .expect(0)
            .json();
        assert_eq!(
            (verified["shards"].as_u64(), verified["samples"].as_u64()),
            (Some(3), Some(14))
        );
        let info = sandbox
            .sightline(&format!("shards info {to} --json"))
            .expect(0)
            .json();
        assert_eq!(
            (&info["format"], &info["total"]["samples"]),
            (&to.into(), &14.into())
        );
        from = to.to_owned();
    }
}

#[test]
fn a_torn_shard_is_found_and_its_whole_samples_are_salvaged() {
    let sandbox = Sandbox::new();
    let samples = source(&sandbox);
    sandbox
        .sightline("shards index source --kind manifest")
        .expect(0);
    sandbox.sightline("shards verify source").expect(0);

    let torn = sandbox.path("source/00000.tar");
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..9000]).unwrap();
    let verified = sandbox.sightline("shards verify source --json").expect(1);
    let kinds: Vec<String> = verified.json()["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["damaged", "other-bytes"]);
    sandbox
        .sightline("shards convert source --to mds --out mds")
        .expect(1)
        .says(&["00000.tar", "truncated", "shards repair"]);
    assert!(!sandbox.path("mds/shard.00000.mds").exists());

    let repaired = sandbox
        .sightline("shards repair source --out mended --json")
        .expect(0)
        .json();
    let whole = repaired["shards"][0]["samples"].as_u64().unwrap() as usize;
    assert!(whole > 0 && whole < 8, "{repaired}");
    assert_eq!(repaired["whole"], 1);
    assert_eq!(read(&sandbox, "mended"), samples[..whole]);

    fs::remove_file(&torn).unwrap();
    let out = sandbox.sightline("shards verify source").expect(1);
    assert!(
        out.stdout.contains("the manifest lists it with 8 samples"),
        "{}",
        out.stdout
    );
}

/// `--force` is for an output of before, and for nothing else.
#[test]
fn neither_the_input_nor_what_is_no_dataset_is_replaced() {
    let sandbox = Sandbox::new();
    let samples = source(&sandbox);
    fs::create_dir(sandbox.path("home")).unwrap();
    fs::write(sandbox.path("home/thesis.txt"), "years").unwrap();
    let tools = [
        "convert SHARDS --to webdataset --samples-per-shard 4",
        "reshard SHARDS --samples-per-shard 4",
        "filter SHARDS --where true",
        "dedup SHARDS --by content",
        "split SHARDS --parts a=0.5,b=0.5",
        "export SHARDS",
    ];
    for tool in tools {
        let tool = tool.replace("SHARDS", "source");
        for (out, says) in [
            ("source", "holds the input"),
            (".", "holds the input"),
            ("home", "thesis.txt"),
        ] {
            sandbox
                .sightline(&format!("shards {tool} --out {out} --force"))
                .expect(2)
                .says(&[says, "another folder"]);
        }
        assert_eq!(read(&sandbox, "source"), samples, "{tool}");
        assert!(sandbox.path("home/thesis.txt").exists(), "{tool}");
    }
    // What is replaced leaves nothing behind.
    let convert = |samples: u64| {
        let shards = format!("shards convert source --to mds --samples-per-shard {samples}");
        sandbox
            .sightline(&format!("{shards} --out mds --force"))
            .expect(0);
    };
    convert(2);
    convert(9);
    assert!(!sandbox.path("mds/shard.00002.mds").exists());
    assert_eq!(read(&sandbox, "mds"), samples);
}

#[test]
fn keys_that_occur_twice_and_images_that_are_none_are_found() {
    let sandbox = Sandbox::new();
    source(&sandbox);
    fs::copy(
        sandbox.path("source/00001.tar"),
        sandbox.path("source/00002.tar"),
    )
    .unwrap();
    let verified = sandbox
        .sightline("shards verify source --decode --json")
        .expect(1)
        .json();
    let findings = verified["findings"].as_array().unwrap();
    let of_kind = |kind: &str| {
        findings
            .iter()
            .filter(|finding| finding["kind"] == kind)
            .count()
    };
    assert_eq!(of_kind("duplicate-key"), 6);
    // The bytes of the samples are noise.
    assert!(of_kind("image") > 6, "{verified}");
    sandbox
        .sightline("shards index source --kind energon")
        .expect(1)
        .says(&["00002.tar", "00001.tar", "already"]);
    assert!(!sandbox.path("source/.nv-meta/index.sqlite").exists());
}

#[test]
fn indexes_are_written_once_and_equal_shards_give_equal_ones() {
    let sandbox = Sandbox::new();
    source(&sandbox);
    let index = |more: &str| {
        sandbox.sightline(&format!(
            "shards index source --kind wids,manifest,energon --name photos --split train=0.5,val=0.5 {more}"
        ))
    };
    let written = index("").expect(0).stdout;
    let contents = |names: &str| -> Vec<Vec<u8>> {
        names
            .lines()
            .map(|name| fs::read(sandbox.path("source").join(name)).unwrap())
            .collect()
    };
    let first = contents(&written);
    assert_eq!(first.len(), 9, "{written}");
    index("")
        .expect(2)
        .says(&["index.wids.json", "exists", "--force"]);
    index("--force").expect(0);
    assert!(contents(&written) == first);
    let wids: serde_json::Value = serde_json::from_slice(&first[0]).unwrap();
    assert_eq!(wids["shardlist"][0]["nsamples"], 8);
    let split = fs::read_to_string(sandbox.path("source/.nv-meta/split.yaml")).unwrap();
    assert!(
        split.contains("train:") && split.contains("val:"),
        "{split}"
    );
    sandbox
        .sightline("shards index source --kind mds")
        .expect(2)
        .says(&["00000.tar", "shards convert"]);
    sandbox
        .sightline("shards index source --kind energon --force --split train=0.5")
        .expect(2)
        .says(&["0.5"]);
}

/// A tool that reads samples says what it did not take over, whichever way it reads them.
#[test]
fn what_samples_have_no_place_for_is_counted_by_every_tool() {
    let sandbox = Sandbox::new();
    let long = format!("{}/{}", "folder.v1".repeat(9), "k".repeat(40));
    let (text, array) = (format!("{long}.txt"), format!("{long}.npy"));
    let names = [
        "1.txt",
        "1.npy",
        "1.seg.png",
        "__meta__",
        "2.txt",
        "2.npy",
        &text,
        &array,
    ];
    archive(&sandbox, "in/00000.tar", &names.map(|name| (name, "x")));
    for (at, tool) in [
        "convert --to tfrecord",
        "convert --to mds --samples-per-shard 2",
        "reshard --samples-per-shard 2",
        "reshard --ranks 2 --remainder pad",
        "reshard --samples-per-shard 2 --shuffle 1",
        "reshard --samples-per-shard 2 --shuffle 1 --memory 64",
        "split --parts a=0.5,b=0.5",
        "split --parts a=0.5,b=0.5 --exact",
        "filter --where captions>=1",
        "dedup --by content",
        "export",
    ]
    .into_iter()
    .enumerate()
    {
        let run = |more: &str| sandbox.sightline(&format!("shards {tool} in --out {at}{more}"));
        let told = run("j --json").expect(0).json();
        assert_eq!(
            told["passed_over"],
            serde_json::json!({"npy": 3, "seg.png": 1}),
            "{tool}"
        );
        assert_eq!(told["renamed"], 1, "{tool}");
        assert_eq!(told["outside_samples"], 1, "{tool}");
        let told = run("t").expect(0).stdout;
        assert!(told.contains("passed over: npy 3, seg.png 1"), "{told}");
        assert!(told.contains("renamed: 1 sample"), "{told}");
    }
    let info = sandbox.sightline("shards info in --json").expect(0).json();
    assert_eq!(info["total"]["passed_over"]["npy"], 3);
    assert_eq!(info["total"]["renamed"], 1);
}

#[test]
fn an_index_that_fails_leaves_nothing() {
    let sandbox = Sandbox::new();
    source(&sandbox);
    let first = sandbox.path("source/00000.tar");
    fs::copy(&first, sandbox.path("source/00002.tar")).unwrap();
    let before = fs::read_dir(sandbox.path("source")).unwrap().count();
    sandbox
        .sightline("shards index source --kind energon")
        .expect(1)
        .says(&["`000000000`", "00002.tar", "00000.tar"]);
    assert_eq!(
        fs::read_dir(sandbox.path("source")).unwrap().count(),
        before
    );
}

/// Archives are filled up, so that a shard may be replaced by one of equal length.
#[test]
fn a_list_that_is_older_than_its_shard_is_found_out() {
    let sandbox = Sandbox::new();
    let few = [
        ("a.txt", "x"),
        ("b.txt", "x"),
        ("c.txt", "x"),
        ("d.bin", &*"-".repeat(512 * 5)),
    ];
    let many = ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "f.txt"].map(|name| (name, "y"));
    for (first, second, counted, found) in
        [(&few[..], &many[..], 4, 6), (&many[..], &few[..], 6, 4)]
    {
        archive(&sandbox, "in/0.tar", first);
        archive(&sandbox, "in/1.tar", &[("z.txt", "x")]);
        let len = fs::metadata(sandbox.path("in/0.tar")).unwrap().len();
        sandbox
            .sightline("shards index in --kind manifest --force")
            .expect(0);
        sandbox
            .sightline("shards read in --cache cache --to jsonl")
            .expect(0);
        archive(&sandbox, "in/0.tar", second);
        assert_eq!(fs::metadata(sandbox.path("in/0.tar")).unwrap().len(), len);
        for tool in [
            "reshard in --out out --samples-per-shard 4",
            "reshard in --out out --samples-per-shard 4 --shuffle 1",
            "reshard in --out out --samples-per-shard 4 --shuffle 1 --memory 64",
            "reshard in --out out --ranks 2 --remainder pad",
            "read in --to jsonl",
            "read in --to jsonl --cache cache",
        ] {
            sandbox
                .sightline(&format!("shards {tool}"))
                .expect(4)
                .says(&[
                    "`0.tar`",
                    &format!("hold {counted} samples, it holds"),
                    "--kind manifest --force",
                ]);
            assert!(!sandbox.path("out").exists(), "{tool}");
        }
        sandbox
            .sightline("shards index in --kind manifest --force")
            .expect(0);
        let read = sandbox
            .sightline("shards read in --to jsonl --cache cache")
            .expect(0)
            .stdout;
        assert_eq!(read.lines().count(), found + 1);
        let text = second[0].1;
        let of_new = read.matches(&format!("[\"{text}\"]")).count();
        assert!(of_new >= 3, "{read}");
    }
}

#[test]
fn copies_of_samples_are_called_like_no_other() {
    let sandbox = Sandbox::new();
    let long = "p".repeat(89);
    let keys = [
        "a",
        "b",
        "a~1",
        "c",
        &*format!("{long}1"),
        &*format!("{long}2"),
    ];
    let names = keys.map(|key| format!("{key}.txt"));
    let members: Vec<(&str, &str)> = names.iter().map(|name| (&name[..], "x")).collect();
    archive(&sandbox, "in/0.tar", &members);
    for (from, to, ranks) in [
        ("in", "once", 8),
        ("once", "twice", 9),
        ("twice", "thrice", 40),
    ] {
        sandbox
            .sightline(&format!(
                "shards reshard {from} --out {to} --ranks {ranks} --remainder pad"
            ))
            .expect(0);
        sandbox.sightline(&format!("shards verify {to}")).expect(0);
    }
    let keys: Vec<String> = read(&sandbox, "once")
        .iter()
        .map(|s| s.key.to_string())
        .collect();
    assert_eq!(keys[6..], ["a~2", "b~1"]);
}

#[test]
fn tables_of_scores_find_samples_whose_keys_are_renamed() {
    let sandbox = Sandbox::new();
    let long = format!("{}/x", "folder".repeat(20));
    archive(
        &sandbox,
        "in/0.tar",
        &[(&format!("{long}.txt"), "x"), ("b.txt", "y")],
    );
    sandbox.write("scores.csv", format!("key,score\n{long},0.5\nb,0.1\n"));
    let kept = sandbox
        .run([
            "shards",
            "filter",
            "in",
            "--out",
            "out",
            "--scores",
            "scores.csv",
            "--where",
            "score > 0.2",
        ])
        .expect(0)
        .stdout;
    assert!(kept.contains("1 of 2 samples"), "{kept}");
    assert_eq!(read(&sandbox, "out")[0].captions, ["x"]);
    // A condition may begin with a sign; what keeps nothing is a dataset too.
    for condition in ["-1 > 2", "false"] {
        sandbox
            .run([
                "shards", "filter", "in", "--out", "none", "--force", "--where", condition,
            ])
            .expect(0);
        assert!(sandbox.path("none/shards.manifest.json").exists());
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_those_to_nothing_are_told() {
    use std::os::unix::fs::symlink;
    let sandbox = Sandbox::new();
    source(&sandbox);
    fs::create_dir(sandbox.path("elsewhere")).unwrap();
    symlink("elsewhere", sandbox.path("link")).unwrap();
    for force in ["", " --force"] {
        sandbox
            .sightline(&format!(
                "shards convert source --to tfrecord --out link{force}"
            ))
            .expect(0);
        assert!(sandbox.path("link").is_symlink());
        assert!(sandbox.path("elsewhere/00000.tfrecord").exists());
    }
    symlink("/nowhere/at/all", sandbox.path("source/00007.tar")).unwrap();
    let told = sandbox.sightline("shards verify source").expect(1).stdout;
    assert!(told.contains("00007.tar"), "{told}");
    sandbox
        .sightline("shards convert source --to mds --out out")
        .says(&["00007.tar"]);
    assert!(!sandbox.path("out").exists());
}

/// `tar -C folder -cf x.tar .` writes such names, and Energon's index has them as they are.
#[test]
fn energons_index_has_the_names_of_the_archive() {
    let sandbox = Sandbox::new();
    archive(
        &sandbox,
        "in/0.tar",
        &[("./dot/k.txt", "x"), ("plain.txt", "y")],
    );
    sandbox
        .sightline("shards index in --kind energon")
        .expect(0);
    let bytes = fs::read(sandbox.path("in/.nv-meta/index.sqlite")).unwrap();
    assert!(bytes.windows(7).any(|found| found == b"./dot/k"));
    assert_eq!(read(&sandbox, "in")[0].key.as_str(), "dot/k");
}

#[test]
fn a_caption_that_is_not_in_the_list_is_passed_over_and_counted() {
    let sandbox = Sandbox::new();
    archive(
        &sandbox,
        "in/0.tar",
        &[
            ("a.json", r#"{"captions": ["one", "two"]}"#),
            ("a.txt", "alt text"),
            ("b.json", r#"{"captions": ["one", "two"]}"#),
            ("b.txt", "one"),
        ],
    );
    let info = sandbox.sightline("shards info in --json").expect(0).json();
    assert_eq!(info["total"]["passed_over"], serde_json::json!({"txt": 1}));
}

#[test]
fn shards_of_a_second_kind_are_told() {
    let sandbox = Sandbox::new();
    archive(&sandbox, "in/00000.tar", &[("a.txt", "one")]);
    archive(&sandbox, "other/00000.tar", &[("b.txt", "two")]);
    sandbox
        .sightline("shards convert other --to parquet --out tables")
        .expect(0);
    // The table of an archive is no shard, another one may be.
    let folder = sandbox.path("in");
    let table = sandbox.path("tables/00000.parquet");
    std::fs::copy(&table, folder.join("00000.parquet")).unwrap();
    let info = sandbox.sightline("shards info in").expect(0);
    assert!(!info.stderr.contains("not read"), "{}", info.stderr);
    std::fs::copy(&table, folder.join("00007.parquet")).unwrap();
    let info = sandbox.sightline("shards info in").expect(0);
    assert!(
        info.stderr
            .contains("1 shards of another kind are not read"),
        "{}",
        info.stderr
    );
}
