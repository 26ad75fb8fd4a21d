//! Scenes to shards to records to board, and the laws of the way: counts, resume, locks.

use std::path::Path;

use serde_json::Value;
use sightline_testkit::http::Server;

use crate::util::{Sandbox, files, workspace};

/// Scenes fetched into `data/shards/test`, and the command line of a suite on them.
struct Scenes {
    sandbox: Sandbox,
}

impl Scenes {
    fn new(test: u32) -> Self {
        let sandbox = Sandbox::new();
        sandbox
            .sightline(&format!(
                "synth scenes --out data/scenes --train 1 --val 1 --test {test} --size 48"
            ))
            .expect(0);
        let server = Server::start(sandbox.path("data/scenes")).unwrap();
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
                "fetch urls.csv --out data/shards/test --caption-col caption \
                 --save-additional-columns captions,class_name --resize-mode no \
                 --number-sample-per-shard 16 --allow-private-addresses",
            )
            .expect(0);
        Self { sandbox }
    }

    /// The command line of `command` on the suite, with `more` arguments.
    fn arguments(command: &str, more: &str) -> Vec<String> {
        let suite = workspace().join("manifests/suites/scenes-embeddings.toml");
        let checkpoint = workspace().join("tests/fixtures/models/clip/hf_quickgelu_eos2");
        let mut arguments = vec![
            command.to_owned(),
            suite.display().to_string(),
            "--data".to_owned(),
            "data".to_owned(),
            "--checkpoint".to_owned(),
            format!("clip-tiny-random={}", checkpoint.display()),
        ];
        arguments.extend(more.split_whitespace().map(str::to_owned));
        arguments
    }
}

fn records(folder: &Path) -> Vec<(String, Value)> {
    files(folder, |name| name.ends_with(".json"))
        .into_iter()
        .map(|(name, bytes)| (name, serde_json::from_slice(&bytes).unwrap()))
        .collect()
}

#[test]
fn every_sample_is_accounted_for_from_url_to_board() {
    let scenes = Scenes::new(40);
    let sandbox = &scenes.sandbox;
    let run = sandbox
        .run(Scenes::arguments("run", "--records records"))
        .expect(0);
    for model in ["constant", "random", "clip-tiny-random"] {
        assert!(run.stdout.contains(model), "{}", run.stdout);
    }

    let records = records(&sandbox.path("records"));
    assert_eq!(records.len(), 3, "one record for each model");
    for (name, record) in &records {
        let tasks = record["tasks"].as_array().unwrap();
        assert_eq!(tasks.len(), 2, "{name}");
        for task in tasks {
            let count = |key: &str| task["counts"][key].as_u64().unwrap();
            assert_eq!(count("attempted"), 40, "{name}: {task}");
            assert_eq!(
                count("attempted"),
                count("scored") + count("failed") + count("skipped"),
                "{name}: {task}"
            );
            for score in task["scores"].as_array().unwrap() {
                let value = score["value"].as_f64().unwrap();
                let low = score["interval"]["low"].as_f64().unwrap();
                let high = score["interval"]["high"].as_f64().unwrap();
                assert!(low <= value && value <= high, "{name}: {score}");
            }
        }
    }

    sandbox.sightline("board records --out site").expect(0);
    let page = std::fs::read_to_string(sandbox.path("site/index.html")).unwrap();
    assert!(page.contains("clip-tiny-random"));
    for foreign in ["src=\"http", "href=\"http", "url(http", "@import"] {
        assert!(
            !page.contains(foreign),
            "the page loads {foreign} from elsewhere"
        );
    }
}

#[test]
fn the_same_run_again_adds_no_record_and_another_batch_size_changes_no_score() {
    let scenes = Scenes::new(20);
    let sandbox = &scenes.sandbox;
    for _ in 0..2 {
        sandbox
            .run(Scenes::arguments("run", "--records records"))
            .expect(0);
    }
    let first = records(&sandbox.path("records"));
    assert_eq!(first.len(), 3, "the second run added a record");

    sandbox
        .run(Scenes::arguments("run", "--records other --batch-size 7"))
        .expect(0);
    let scores = |records: &[(String, Value)]| -> Vec<Value> {
        let mut scores: Vec<(String, Value)> = records
            .iter()
            .flat_map(|(_, record)| {
                let model = record["model"]["name"].as_str().unwrap().to_owned();
                let tasks = record["tasks"].as_array().unwrap().clone();
                tasks
                    .into_iter()
                    .map(move |task| (model.clone(), task["scores"].clone()))
            })
            .collect();
        scores.sort_by(|a, b| a.0.cmp(&b.0));
        scores.into_iter().map(|(_, scores)| scores).collect()
    };
    assert_eq!(scores(&first), scores(&records(&sandbox.path("other"))));
}

#[test]
fn a_lock_holds_a_run_to_its_bytes() {
    let scenes = Scenes::new(20);
    let sandbox = &scenes.sandbox;
    sandbox
        .run(Scenes::arguments("lock", "--out suite.lock.json"))
        .expect(0);
    sandbox
        .run(Scenes::arguments(
            "run",
            "--records records --locked suite.lock.json",
        ))
        .expect(0);

    sandbox
        .run(Scenes::arguments("lock", "--out suite.lock.json"))
        .expect(0);
    let lock = std::fs::read(sandbox.path("suite.lock.json")).unwrap();
    sandbox
        .run(Scenes::arguments(
            "lock",
            "--models constant --out suite.lock.json",
        ))
        .expect(2)
        .says(&["suite.lock.json", "hint:", "--force"]);
    assert!(
        std::fs::read(sandbox.path("suite.lock.json")).unwrap() == lock,
        "the lock was overwritten"
    );

    let shard = sandbox.path("data/shards/test/00000.tar");
    let mut bytes = std::fs::read(&shard).unwrap();
    // Inside the first image, so that the shard still reads.
    bytes[700] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    sandbox
        .run(Scenes::arguments(
            "run",
            "--records records --locked suite.lock.json",
        ))
        .expect(1)
        .says(&["00000.tar", "sha256"]);
}

/// File names of Unix are bytes, not text.
#[cfg(unix)]
#[test]
fn a_folder_whose_name_is_no_text_can_be_given() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;

    let scenes = Scenes::new(4);
    let folder = OsStr::from_bytes(b"records-\xff");
    let mut arguments: Vec<OsString> = Scenes::arguments("run", "--models constant --records")
        .into_iter()
        .map(OsString::from)
        .collect();
    arguments.push(folder.to_owned());
    scenes.sandbox.run(&arguments).expect(0);
    let records = records(&scenes.sandbox.path("").join(folder));
    let command = records[0].1["command"].as_array().unwrap();
    assert_eq!(command.last().unwrap(), "records-\u{fffd}");
}

#[test]
fn a_plan_is_the_same_whatever_the_machine() {
    let scenes = Scenes::new(2);
    let plan = scenes
        .sandbox
        .run(Scenes::arguments("plan", "--json"))
        .expect(0);
    let text = plan.stdout.clone();
    assert!(!text.contains(workspace().to_str().unwrap()), "{text}");
    assert_eq!(plan.json()["suite"], "scenes-embeddings");
}

/// Bytes of weights below links in the models of `zoo`: parts that are models of it themselves.
fn linked(zoo: &Path) -> usize {
    let models = std::fs::read_dir(zoo)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let parts = models.flat_map(|model| std::fs::read_dir(model).unwrap());
    let links = parts
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_symlink());
    links
        .map(|link| {
            std::fs::metadata(link.join("model.safetensors"))
                .unwrap()
                .len() as usize
        })
        .sum()
}

#[test]
fn the_quickstart_is_planned_without_a_flag_and_makes_its_points() {
    let sandbox = Sandbox::new();
    let suite = workspace().join("manifests/suites/quickstart.toml");
    let suite = suite.display();
    let plan = sandbox
        .sightline(&format!("plan {suite} --json"))
        .expect(0)
        .json();
    let models = plan["models"].as_object().unwrap();
    for family in [
        "align",
        "asif",
        "clip",
        "constant",
        "flamingo",
        "frozen",
        "magic",
        "random",
        "simvlm",
        "vild",
        "virtex",
        "visualbert",
        "visualgpt",
    ] {
        let mut of_family = models.values().filter(|model| model["family"] == family);
        assert!(of_family.next().is_some(), "{family}");
    }
    // Trained models are kept with the program: small, whole, and with what says how they were made.
    let zoo = workspace().join("zoo");
    for name in models.keys().filter(|name| name.ends_with("-tiny")) {
        assert!(zoo.join(name).join("config.json").is_file(), "{name}");
    }
    let kept = files(&zoo, |name| name.ends_with(".safetensors"));
    let bytes: usize = kept.values().map(Vec::len).sum();
    assert!(bytes <= 12_000_000 + linked(&zoo), "{bytes}");
    for name in kept
        .keys()
        .filter_map(|file| file.strip_suffix("/model.safetensors"))
    {
        assert!(zoo.join(name).join("record.json").is_file(), "{name}");
    }
    let text = sandbox.sightline(&format!("plan {suite}")).expect(0).stdout;
    for point in [
        "frozen-sees",
        "few-shot",
        "vild-novel",
        "low-data",
        "visualgpt-gates",
        "asif-anchors",
        "magic-judge",
        "held-out",
    ] {
        assert!(text.contains(&format!("comparison {point}: ")), "{text}");
    }
}

#[test]
fn a_truncated_shard_is_named_and_the_run_is_incomplete() {
    let scenes = Scenes::new(40);
    let sandbox = &scenes.sandbox;
    let shard = sandbox.path("data/shards/test/00001.tar");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[..bytes.len() / 2]).unwrap();
    let info = sandbox
        .sightline("shards info data/shards/test --json")
        .expect(1);
    assert!(info.stdout.contains("00001.tar"), "{}", info.stdout);
    sandbox
        .run(Scenes::arguments(
            "run",
            "--records records --models random",
        ))
        .expect(3)
        .says(&["00001.tar"]);
    assert!(
        records(&sandbox.path("records")).is_empty(),
        "a record of an incomplete run"
    );

    std::fs::write(&shard, bytes).unwrap();
    sandbox
        .run(Scenes::arguments(
            "run",
            "--records records --models random",
        ))
        .expect(0);
    assert_eq!(records(&sandbox.path("records")).len(), 1);
}

#[test]
fn two_records_are_compared_sample_by_sample() {
    let scenes = Scenes::new(40);
    let sandbox = &scenes.sandbox;
    sandbox
        .run(Scenes::arguments("run", "--records records"))
        .expect(0);
    let suite = workspace().join("manifests/suites/scenes-embeddings.toml");
    let suite = suite.display().to_string();
    let compare = |line: &str| {
        let given = ["--suite", &suite, "--data", "data"];
        sandbox.run(line.split_whitespace().chain(given))
    };

    let json = compare("compare constant clip-tiny-random --json --flips 40")
        .expect(0)
        .json();
    let records = records(&sandbox.path("records"));
    let score_of = |model: &str, task: &str, metric: &str| {
        let record = records
            .iter()
            .find(|(_, record)| record["model"]["name"] == model);
        let tasks = record.unwrap().1["tasks"].as_array().unwrap();
        let task = tasks.iter().find(|it| it["task"] == task).unwrap();
        let scores = task["scores"].as_array().unwrap().iter();
        scores.clone().find(|it| it["metric"] == metric).unwrap()["value"].as_f64()
    };
    let tasks = json["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 2);
    for task in tasks {
        assert_eq!(
            (&task["samples"], &task["paired"]),
            (&40.into(), &40.into())
        );
        for metric in task["metrics"].as_array().unwrap() {
            let text = |key: &str| metric[key].as_str().unwrap();
            let name = task["task"].as_str().unwrap();
            // The values are those of the records, and what changed adds up.
            for (side, model) in [("a", "constant"), ("b", "clip-tiny-random")] {
                assert_eq!(metric[side].as_f64(), score_of(model, name, text("metric")));
            }
            let count = |key: &str| metric[key].as_u64().unwrap();
            let flips = metric["flips"].as_array().unwrap();
            assert_eq!(
                flips.len() as u64,
                count("wins") + count("losses"),
                "{metric}"
            );
            assert_eq!(
                count("wins") + count("losses") + count("ties"),
                count("items")
            );
            let sum: f64 = flips
                .iter()
                .map(|it| it["b"].as_f64().unwrap() - it["a"].as_f64().unwrap())
                .sum();
            let mean = sum / count("items") as f64;
            assert!(
                (mean - metric["difference"].as_f64().unwrap()).abs() < 1e-9,
                "{metric}"
            );
        }
    }
    // A record beside itself differs in nothing, named by its file or by the beginning of its id.
    let (path, _) = records
        .iter()
        .find(|(name, _)| name.contains("constant"))
        .unwrap();
    let id = path.rsplit('-').next().unwrap().trim_end_matches(".json");
    let same = compare(&format!("compare {path} {id} --fail-below 0")).expect(0);
    assert!(same.stdout.contains("+0.0000"), "{}", same.stdout);

    // Worse, significantly, and by more than is allowed.
    let task = "--tasks zero-shot-scenes-test";
    let [a, b] = if score_of("constant", "zero-shot-scenes-test", "accuracy@1")
        > score_of("random", "zero-shot-scenes-test", "accuracy@1")
    {
        ["constant", "random"]
    } else {
        ["random", "constant"]
    };
    compare(&format!("compare {a} {b} {task} --fail-below 1")).expect(0);

    // What cannot be compared is refused by name.
    compare("compare constant nobody")
        .expect(2)
        .says(&["`nobody`", "hint:"]);
    compare("compare constant random --limit 7")
        .expect(2)
        .says(&["asks task", "--limit"]);
    let predictions = files(&sandbox.path("records"), |name| name.ends_with(".jsonl"));
    let (name, bytes) = predictions
        .iter()
        .find(|(name, _)| name.contains("constant"))
        .unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    sandbox.write(
        &format!("records/{name}"),
        text.replacen("\"prediction\"", " \"prediction\"", 1),
    );
    compare("compare constant random")
        .expect(2)
        .says(&["are not those that the record"]);
}

#[test]
fn a_record_is_made_again_and_what_changed_is_told() {
    let scenes = Scenes::new(20);
    let sandbox = &scenes.sandbox;
    sandbox
        .run(Scenes::arguments("run", "--records records --limit 18"))
        .expect(0);
    let suite = workspace()
        .join("manifests/suites/scenes-embeddings.toml")
        .display()
        .to_string();
    let checkpoint = workspace().join("tests/fixtures/models/clip/hf_quickgelu_eos2");
    let checkpoint = checkpoint.display().to_string();
    let verify = |line: &str| {
        let given = ["--suite", &suite, "--data", "data"];
        sandbox.run(
            ["verify"]
                .into_iter()
                .chain(line.split_whitespace())
                .chain(given),
        )
    };
    let clip = format!("clip-tiny-random --limit 18 --checkpoint {checkpoint}");
    for line in [
        &format!("{clip} --batch-size 3")[..],
        "random --limit 18",
        "constant --limit 18",
    ] {
        let json = verify(&format!("{line} --json")).expect(0).json();
        assert_eq!(json["agreement"], "bitwise equal", "{line}");
        assert_eq!(json["tasks"].as_array().unwrap().len(), 2, "{line}");
    }
    assert!(!sandbox.path("records.verify").exists());

    // Asked otherwise, and other files.
    verify("random").expect(2).says(&["asks task", "--limit"]);
    // Predictions that are gone leave the scores to compare.
    let predictions = |model: &str| {
        files(&sandbox.path("records"), |name| {
            name.ends_with(".jsonl") && name.contains(model)
        })
    };
    for (name, _) in predictions("/random/") {
        std::fs::remove_file(sandbox.path("records").join(name)).unwrap();
    }
    let gone = verify("random --limit 18").expect(0);
    assert!(gone.stdout.contains("equal scores"), "{}", gone.stdout);
    let shard = sandbox.path("data/shards/test/00000.tar");
    let mut bytes = std::fs::read(&shard).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    verify("random --limit 18")
        .expect(1)
        .says(&["not as recorded", "00000.tar", "other bytes"]);
}
