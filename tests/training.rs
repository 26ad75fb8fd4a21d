//! `sightline shards reshard`, `split`, `export` and `read`: shards for training, and reading them.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use sightline_core::{EncodedImage, ImageFormat, Metadata, Sample, SampleKey, ShardId};
use sightline_shard::webdataset::{GZIP, WebDataset};
use sightline_shard::{ShardFormat, conformance, files};
use sightline_store::Folder;

use crate::util::{Sandbox, files as files_of, workspace};

/// Shards of `lens` numbered samples in `source/`.
fn numbered(sandbox: &Sandbox, format: &dyn ShardFormat, lens: &[u64]) {
    let mut folder = Folder::create(sandbox.path("source")).unwrap();
    let mut number = 0u64;
    for (id, len) in (0..).zip(lens) {
        let mut writer = format.create(&mut folder, ShardId(id)).unwrap();
        for _ in 0..*len {
            let meta = serde_json::json!({ "picture": number / 2 });
            writer
                .write(&Sample {
                    key: SampleKey::new(format!("{number:06}")).unwrap(),
                    image: Some(EncodedImage {
                        format: ImageFormat::Png,
                        bytes: vec![number as u8; 3000].into(),
                    }),
                    captions: vec![format!("picture {number}")],
                    meta: meta.as_object().unwrap().clone(),
                })
                .unwrap();
            number += 1;
        }
        writer.finish().unwrap();
    }
}

/// The keys in a tar archive, in order.
fn keys(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let mut keys = Vec::new();
    for entry in archive.entries().unwrap() {
        let path = entry.unwrap().path().unwrap().display().to_string();
        let key = path.rsplit_once('.').unwrap().0.to_owned();
        if keys.last() != Some(&key) {
            keys.push(key);
        }
    }
    keys
}

/// The keys of all archives in `folder`.
fn keys_in(sandbox: &Sandbox, folder: &str) -> Vec<String> {
    let folder = Folder::open(sandbox.path(folder)).unwrap();
    let names = folder.expand(&["*.tar"]).unwrap();
    let bytes = names
        .iter()
        .map(|name| fs::read(folder.path_of(name).unwrap()).unwrap());
    bytes.flat_map(|bytes| keys(&bytes)).collect()
}

fn read(sandbox: &Sandbox, args: &str) -> Vec<String> {
    let line = format!("shards read source {args}");
    let output = sandbox.command(line.split_whitespace()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args}: {said}");
    keys(&output.stdout)
}

#[test]
fn shards_are_cut_anew_equal_for_every_worker_and_shuffled_the_same_with_any_memory() {
    let sandbox = Sandbox::new();
    numbered(&sandbox, &WebDataset, &[20, 0, 17]);
    let reshard = |args: &str| sandbox.sightline(&format!("shards reshard source {args}"));

    let plan = reshard("--out a --ranks 2 --workers 2 --samples-per-shard 7 --remainder drop --shuffle 1 --dry-run --json")
        .expect(0)
        .json();
    assert!(!sandbox.path("a").exists());
    for (field, value) in [
        ("samples", 37),
        ("shards", 8),
        ("shards_per_worker", 2),
        ("dropped", 5),
    ] {
        assert_eq!(plan[field], value, "{plan}");
    }
    let line = "--ranks 2 --workers 2 --samples-per-shard 7 --remainder drop --shuffle 1";
    let done = reshard(&format!("--out a {line} --json"))
        .expect(0)
        .says(&["37 samples, shuffled by a list in memory, into 8 shards of 4, 2 for each worker; the last 5 are left out"])
        .json();
    let samples: Vec<&serde_json::Value> = done["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["samples"])
        .collect();
    assert_eq!(samples, [4; 8]);
    sandbox.sightline("shards verify a").expect(0);

    reshard(&format!("--out b {line} --memory 1kB"))
        .expect(0)
        .says(&["shuffled by files on the disk", "on the way"]);
    let (a, b) = (keys_in(&sandbox, "a"), keys_in(&sandbox, "b"));
    assert_eq!(a, b);
    assert_eq!(a.iter().collect::<BTreeSet<_>>().len(), 32);
    assert!(!a.is_sorted());
    for name in fs::read_dir(sandbox.path("a")).unwrap() {
        let name = name.unwrap().file_name();
        let same = |folder: &str| fs::read(sandbox.path(folder).join(&name)).unwrap();
        assert!(same("a") == same("b"), "{}", name.display());
    }

    reshard("--out mds --to mds --bytes-per-shard 60kB").expect(0);
    assert!(sandbox.path("mds/index.json").exists());
    let info = sandbox.sightline("shards info mds --json").expect(0).json();
    assert_eq!(info["total"]["samples"], 37);
    reshard("--out mds --samples-per-shard 9")
        .expect(2)
        .says(&["exists", "--force"]);
    reshard("--out mds --samples-per-shard 9 --force").expect(0);
    assert_eq!(keys_in(&sandbox, "mds"), keys_in(&sandbox, "source"));
    assert!(!sandbox.path("mds/index.json").exists());

    reshard("--out c").expect(2).says(&["--samples-per-shard"]);
    reshard("--out c --ranks 100 --remainder drop")
        .expect(2)
        .says(&["37 samples", "100 shards"]);
    reshard("--out c --samples-per-shard 5 --memory lots")
        .expect(2)
        .says(&["64MiB"]);
    let torn = sandbox.path("source/00002.tar");
    fs::write(&torn, &fs::read(&torn).unwrap()[..9000]).unwrap();
    reshard("--out c --samples-per-shard 5")
        .expect(1)
        .says(&["00002.tar", "shards repair"]);
    assert!(!sandbox.path("c").exists() && !sandbox.path(".c.partial").exists());
}

/// A run that was killed leaves nothing under the final name, and the same command goes on behind the shards that it finished.
#[test]
fn a_killed_run_goes_on() {
    let sandbox = Sandbox::new();
    numbered(&sandbox, &WebDataset, &[2000, 2000]);
    let line = |out: &str| {
        format!("shards reshard source --out {out} --samples-per-shard 20 --shuffle 3 --json")
    };
    sandbox.sightline(&line("whole")).expect(0);
    let mut kept = 0;
    for shards in [1, 20, 40] {
        let mut child = sandbox
            .command(line("out").split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let shard = sandbox.path(&format!(".out.partial/{shards:05}.tar"));
        while !shard.exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!sandbox.path("out").exists(), "too fast to be killed");
        kept = shards;
    }
    let done = sandbox.sightline(&line("out")).expect(0);
    let json = done.json();
    done.says(&["of an earlier run"]);
    assert!(json["kept"].as_u64().unwrap() >= kept);
    let left: BTreeSet<String> = fs::read_dir(sandbox.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        left,
        BTreeSet::from(["out", "source", "whole"].map(str::to_owned))
    );
    let files = |folder: &str| files_of(&sandbox.path(folder), |_| true);
    assert!(files("out") == files("whole"), "the bytes differ");
    // Another job begins anew.
    fs::create_dir(sandbox.path(".other.partial")).unwrap();
    fs::copy(
        sandbox.path("whole/00000.tar"),
        sandbox.path(".other.partial/00000.tar"),
    )
    .unwrap();
    let other = sandbox.sightline(&format!(
        "{} --samples-per-shard 30",
        line("other").replace("--samples-per-shard 20 ", "")
    ));
    assert_eq!(other.expect(0).json()["kept"], 0);
}

#[test]
fn samples_stay_in_their_part_and_copies_together() {
    let sandbox = Sandbox::new();
    numbered(&sandbox, &WebDataset, &[60, 60]);
    let split = |args: &str| sandbox.sightline(&format!("shards split source {args}"));
    split("--out a --parts train=0.8,val=0.2 --samples-per-shard 30").expect(0);
    let before = keys_in(&sandbox, "a/val");
    assert_eq!(before.len() + keys_in(&sandbox, "a/train").len(), 120);
    sandbox.sightline("shards verify a/train").expect(0);
    numbered(&sandbox, &WebDataset, &[60, 60, 80]);
    split("--out b --parts train=0.8,val=0.2").expect(0);
    let after: BTreeSet<String> = keys_in(&sandbox, "b/val").into_iter().collect();
    assert!(before.iter().all(|key| after.contains(key)) && after.len() > before.len());

    let done = split("--out c --parts train=0.5,val=0.25,test=0.25 --by picture --exact --json")
        .expect(0)
        .json();
    let sizes: Vec<&serde_json::Value> = done["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["samples"])
        .collect();
    assert_eq!(sizes, [100, 50, 50]);
    for part in ["train", "val", "test"] {
        let keys = keys_in(&sandbox, &format!("c/{part}"));
        assert!(
            keys.chunks(2).all(|pair| pair[0][..5] == pair[1][..5]),
            "{keys:?}"
        );
    }
    split("--out d --parts a=1 --by nothing")
        .expect(2)
        .says(&["no sample has `nothing`", "shards info"]);
    split("--out e --parts a=0.5").expect(2).says(&["0.5"]);
    split("--out e --parts ../a=1").expect(2).says(&["../a"]);
}

#[test]
fn shards_become_files_and_files_the_same_samples() {
    let sandbox = Sandbox::new();
    let samples = conformance::samples();
    let mut folder = Folder::create(sandbox.path("source")).unwrap();
    let mut writer = GZIP.create(&mut folder, ShardId(3)).unwrap();
    for sample in &samples {
        writer.write(sample).unwrap();
    }
    writer.finish().unwrap();
    let export = |args: &str| sandbox.sightline(&format!("shards export source {args}"));
    let done = export("--out files --json").expect(0).json();
    assert_eq!(done["samples"], samples.len());
    let image = fs::read(sandbox.path("files/00003/000000000.jpg")).unwrap();
    assert_eq!(image, samples[0].image.as_ref().unwrap().bytes);
    assert_eq!(
        fs::read_to_string(sandbox.path("files/00003/000000003.txt")).unwrap(),
        "only words"
    );
    let mut reader = files::Files
        .open(&Folder::open(sandbox.path("files")).unwrap(), "00003")
        .unwrap();
    let mut read = 0;
    while reader.next_sample().unwrap().is_some() {
        read += 1;
    }
    assert_eq!(read, samples.len());
    export("--out files").expect(2).says(&["exists"]);
    export("--out files --flat --force").expect(0);
    assert!(sandbox.path("files/000000000.jpg").exists());
}

#[test]
fn ranks_and_workers_read_an_epoch_and_any_others_go_on() {
    let sandbox = Sandbox::new();
    numbered(&sandbox, &WebDataset, &[20, 0, 17, 24]);
    let order = "--seed 5 --lanes 4 --window 2";
    let whole = read(&sandbox, order);
    assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), 61);
    assert!(!whole.is_sorted());
    assert_ne!(read(&sandbox, &format!("{order} --epoch 1")), whole);
    assert!(read(&sandbox, "--no-shuffle --lanes 1").is_sorted());

    let rank =
        |rank, world, more: &str| read(&sandbox, &format!("--rank {rank} --world {world} {more}"));
    let ranks: Vec<Vec<String>> = (0..3).map(|r| rank(r, 3, order)).collect();
    assert!(
        ranks.iter().all(|keys| keys.len() == 21),
        "61 samples and 2 once more"
    );
    // After five samples of each of three ranks, two ranks of two workers go on.
    let plan = sandbox
        .sightline(&format!("shards read source {order} --plan"))
        .expect(0)
        .json();
    assert_eq!((&plan["samples"], &plan["shards"]), (&61.into(), &4.into()));
    let mut cursor = plan["cursor"].clone();
    cursor["sample"] = 15.into();
    let cursor = cursor.to_string();
    assert!(cursor.len() < 200, "{cursor}");
    let mut seen: Vec<String> = ranks.iter().flat_map(|keys| keys[..5].to_vec()).collect();
    for (rank_of, worker) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let more = format!(
            "--cursor {cursor} --worker {worker} --workers 2 --batch-size 4 --remainder drop"
        );
        seen.extend(rank(rank_of, 2, &more));
    }
    let all: BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), all.len()), (61, 61));

    let lines = sandbox
        .sightline(&format!("shards read source {order} --to jsonl"))
        .expect(0)
        .stdout;
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["position"], first["key"].as_str()),
        (&0.into(), Some(whole[0].as_str()))
    );
    assert_eq!(first["image"]["len_bytes"], 3000);

    for (args, part) in [
        ("--rank 3 --world 3", "rank 3 of 3"),
        ("--cursor {}", "cursor"),
        (
            &format!("--cursor {cursor} --seed 3"),
            "cannot be used with",
        ),
    ] {
        sandbox
            .sightline(&format!("shards read source {args}"))
            .expect(2)
            .says(&[part]);
    }
    fs::remove_file(sandbox.path("source/00000.tar")).unwrap();
    sandbox
        .sightline(&format!("shards read source --cursor {cursor}"))
        .expect(2)
        .says(&["other shards"]);
}

#[test]
fn a_cache_serves_compressed_shards_and_a_reader_may_leave() {
    let sandbox = Sandbox::new();
    numbered(&sandbox, &GZIP, &[20, 17]);
    let whole = read(&sandbox, "--seed 1");
    for limit in ["1MiB", "10kB"] {
        let more = format!("--seed 1 --cache cache --cache-size {limit}");
        assert_eq!(read(&sandbox, &more), whole);
        assert_eq!(read(&sandbox, &more), whole);
    }
    let mut child = sandbox
        .command(["shards", "read", "source", "--ahead", "1kB"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The Python module reads what the program writes, without torch.
#[test]
fn python_reads_the_stream() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let sandbox = Sandbox::new();
    let mut folder = Folder::create(sandbox.path("source")).unwrap();
    let mut writer = WebDataset.create(&mut folder, ShardId(0)).unwrap();
    let mut samples = conformance::samples();
    samples.truncate(6);
    for sample in &samples {
        writer.write(sample).unwrap();
    }
    writer.finish().unwrap();
    let script = r#"
import json, sys
import sightline_data
shards, program = sys.argv[1:]
samples = list(sightline_data.read(shards, program=program, no_shuffle=True, lanes=1))
for sample in samples:
    sample["image"] = None if sample["image"] is None else len(sample["image"])
print(json.dumps(samples))
stream = sightline_data.Stream(shards, program=program)
next(stream)
stream.close()
try:
    list(sightline_data.read(shards + "/none", program=program))
except sightline_data.SightlineError as error:
    assert "none" in str(error), error
else:
    raise SystemExit("what is not there was read")
"#;
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(sandbox.path("source"))
        .arg(env!("CARGO_BIN_EXE_sightline"))
        .env("PYTHONPATH", workspace().join("integrations/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read.len(), samples.len());
    for (read, sample) in read.iter().zip(&samples) {
        let format = sample.image.as_ref().map(|image| image.format.extension());
        assert_eq!(read["key"], sample.key.as_str());
        assert_eq!(read["image_format"].as_str(), format);
        assert_eq!(
            read["image"].as_u64(),
            sample.image.as_ref().map(|image| image.bytes.len() as u64)
        );
        assert_eq!(read["captions"], serde_json::json!(sample.captions));
        let meta: Metadata = serde_json::from_value(read["meta"].clone()).unwrap();
        assert_eq!(meta, sample.meta);
    }
}
