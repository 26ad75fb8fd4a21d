//! How suites are executed: parts and their merging, kept answers, self-checks, locks entry by entry, bundles, performance.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::outside::Outside;
use crate::util::{Outcome, Sandbox, files, whole_lines, workspace};

/// Models that know nothing, at retrieval and captions with a captioner of random weights.
struct Suite {
    sandbox: Sandbox,
}

const CAPTIONER: &str = "tests/fixtures/models/virtex/r18_captioning_prenorm";

impl Suite {
    fn new(scenes: u32) -> Self {
        let sandbox = Sandbox::new();
        let line =
            format!("synth scenes --out data/scenes --train 1 --val 1 --test {scenes} --size 32");
        sandbox.sightline(&line).expect(0);
        for name in [
            "datasets/scenes-captions-test",
            "models/random",
            "models/constant",
        ] {
            let name = format!("manifests/{name}.toml");
            sandbox.write(&name, std::fs::read(workspace().join(&name)).unwrap());
        }
        sandbox.write(
            "manifests/models/captioner.toml",
            "schema = 1\nmodel = \"captioner\"\nfamily = \"virtex\"\ndescription = \"Tiny, with random weights.\"\n\
             tokenizer = \"word-hash\"\n",
        );
        let suite = Self { sandbox };
        suite.write("", 4);
        suite
    }

    /// The suite's manifest, with more lines for the task of captions, and a batch size.
    fn write(&self, more: &str, batch_size: usize) {
        self.sandbox.write(
            "manifests/suites/s.toml",
            format!(
                "schema = 1\nsuite = \"s\"\ndescription = \"A suite.\"\nseed = 17\n\
                 [bootstrap]\nresamples = 20\n\
                 [[task]]\nkind = \"retrieval\"\ndataset = \"scenes-captions-test\"\nmodels = [\"random\", \"constant\"]\n\
                 batch_size = {batch_size}\n\
                 [[task]]\nkind = \"caption\"\ndataset = \"scenes-captions-test\"\nmodels = [\"captioner\"]\n\
                 metrics = [\"bleu-1\"]\nbatch_size = {batch_size}\n{more}"
            ),
        );
    }

    fn arguments(command: &str, more: &str) -> Vec<String> {
        let checkpoint = format!("captioner={}", workspace().join(CAPTIONER).display());
        let line = format!(
            "{command} manifests/suites/s.toml --data data --checkpoint {checkpoint} {more}"
        );
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn call(&self, command: &str, more: &str) -> Outcome {
        self.sandbox.run(Self::arguments(command, more))
    }

    fn run(&self, more: &str) -> Outcome {
        self.call("run", more)
    }

    fn predictions(&self, records: &str) -> BTreeMap<String, Vec<u8>> {
        files(&self.sandbox.path(records), |name| {
            name.ends_with(".jsonl") && !name.contains("-of-")
        })
    }

    /// The records of each model, without what depends on the moment.
    fn records(&self, records: &str) -> BTreeMap<String, Value> {
        records_of(&self.sandbox.path(records))
    }
}

fn records_of(folder: &Path) -> BTreeMap<String, Value> {
    let found = files(folder, |name| {
        name.ends_with(".json") && !name.contains("performance")
    });
    let timeless = |bytes: Vec<u8>| {
        let mut record: Value = serde_json::from_slice(&bytes).unwrap();
        record["created"].take();
        record["command"].take();
        for task in record["tasks"].as_array_mut().unwrap() {
            task["throughput"].take();
            task["cost"].take();
        }
        (record["model"]["name"].as_str().unwrap().to_owned(), record)
    };
    found.into_values().map(timeless).collect()
}

#[test]
fn parts_on_several_machines_make_the_record_of_one_run() {
    let suite = Suite::new(11);
    suite.run("--no-cache --records whole").expect(0);
    for (part, records) in [("1/3", "a"), ("3/3", "a"), ("2/3", "b")] {
        suite
            .run(&format!("--no-cache --part {part} --records {records}"))
            .expect(0);
    }
    assert!(suite.records("a").is_empty(), "a part has no record");
    suite
        .call("merge", "--records a")
        .expect(3)
        .says(&["part 2 of 3", "--part 2/3"]);
    suite.call("merge", "--records a --from b").expect(0);
    assert_eq!(suite.predictions("a"), suite.predictions("whole"));
    assert_eq!(suite.records("a"), suite.records("whole"));
    let record = files(&suite.sandbox.path("a"), |name| name.ends_with(".json"));
    let text = String::from_utf8(record.into_values().next().unwrap()).unwrap();
    assert!(
        text.contains("\"run\"") && !text.contains("\"merge\""),
        "{text}"
    );
    // Other batches, and other numbers of parts.
    suite.write("", 3);
    for part in ["1/2", "2/2"] {
        suite
            .run(&format!("--no-cache --part {part} --records c"))
            .expect(0);
    }
    suite.call("merge", "--records c").expect(0);
    assert_eq!(suite.predictions("c"), suite.predictions("whole"));
    suite
        .call("run", "--part 3/2")
        .expect(2)
        .says(&["expected I/N"]);
    suite
        .call("merge", "--records none")
        .expect(3)
        .says(&["no parts of the predictions"]);
}

#[test]
fn a_part_that_is_killed_goes_on_where_it_was() {
    let outside = Outside::new(24);
    outside.model(&["good"], "");
    outside.run("--records whole").expect(0);
    outside.model(&["slow"], "");
    outside.run("--records r --part 1/2").expect(0);
    for _ in 0..2 {
        let line = "run manifests/suites/s.toml --data data --cache kept --records r --part 2/2 --batch-size 2";
        let mut child = outside
            .sandbox
            .command(line.split(' '))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let lines = || {
            let parts = files(&outside.sandbox.path(""), |name| {
                name.starts_with("r/") && name.ends_with(".part")
            });
            parts
                .values()
                .map(|bytes| whole_lines(bytes))
                .sum::<usize>()
        };
        let (begun, before) = (Instant::now(), lines());
        while lines() < before + 3 {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "no line was written"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    outside.run("--records r --part 2/2").expect(0);
    outside
        .sandbox
        .sightline("merge manifests/suites/s.toml --data data --records r")
        .expect(0);
    let merged = files(&outside.sandbox.path("r"), |name| {
        name.ends_with(".jsonl") && !name.contains("-of-")
    });
    let lines = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = files(&outside.sandbox.path("whole"), |name| {
        name.ends_with(".jsonl")
    });
    assert_eq!(
        lines(merged.values().next().unwrap()),
        lines(whole.values().next().unwrap())
    );
}

/// Answers that are kept below the folder, by context.
fn kept(suite: &Sandbox, folder: &str) -> (usize, usize) {
    let path = suite.path(folder);
    if !path.is_dir() {
        return (0, 0);
    }
    let found = files(&path, |_| true);
    let contexts: std::collections::BTreeSet<&str> = found
        .keys()
        .filter_map(|name| name.split('/').next())
        .collect();
    let lines = found.values().map(|bytes| whole_lines(bytes));
    (contexts.len(), lines.sum())
}

#[test]
fn kept_answers_are_taken_for_the_same_question_to_the_same_model_only() {
    let suite = Suite::new(6);
    let run = |more: &str| {
        std::fs::remove_dir_all(suite.sandbox.path("r")).ok();
        suite
            .run(&format!("--cache kept --records r {more}"))
            .expect(0);
        kept(&suite.sandbox, "kept")
    };
    // Two models at retrieval, one at captions: three contexts of six answers, nobody's answers for another.
    assert_eq!(run(""), (3, 18));
    let first = suite.predictions("r");
    let made = |records: &str| {
        let all = records_of(&suite.sandbox.path(records));
        drop(all);
        let found = files(&suite.sandbox.path(records), |name| name.ends_with(".json"));
        let of = |bytes: &Vec<u8>| {
            let record: Value = serde_json::from_slice(bytes).unwrap();
            record["tasks"][0]["throughput"]["samples"]
                .as_u64()
                .unwrap()
        };
        found.values().map(of).sum::<u64>()
    };
    assert_eq!(made("r"), 18);
    assert_eq!(run(""), (3, 18));
    assert_eq!(made("r"), 0, "models were asked again");
    assert_eq!(suite.predictions("r"), first);
    let random = |all: &BTreeMap<String, Vec<u8>>, name: &str| {
        let found = all.iter().find(|(path, _)| path.contains(name));
        found.unwrap().1.clone()
    };
    assert_ne!(random(&first, "/random/"), random(&first, "/constant/"));

    // Another decoding, another prompt, other weights, other numerics: each a context of its own.
    suite.write("decode = { strategy = \"greedy\" }\n", 4);
    assert_eq!(run("--models captioner"), (4, 24));
    suite.write("decode = { strategy = \"greedy\", max_tokens = 3 }\n", 4);
    assert_eq!(run("--models captioner"), (5, 30));
    suite.write("", 4);
    let manifest = suite.sandbox.path("manifests/models/captioner.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}weights = \"bf16\"\n")).unwrap();
    assert_eq!(run("--models captioner"), (6, 36));
    std::fs::write(&manifest, format!("{text}pixels = \"fast\"\n")).unwrap();
    assert_eq!(run("--models captioner"), (7, 42));
    std::fs::write(&manifest, &text).unwrap();

    // Another image of the same name is another question; the others are not asked again.
    let images = files(&suite.sandbox.path("data/scenes/images/test"), |_| true);
    let mut names = images.keys();
    let (one, other) = (names.next().unwrap(), names.next().unwrap());
    let folder = suite.sandbox.path("data/scenes/images/test");
    let bytes = std::fs::read(folder.join(other)).unwrap();
    std::fs::write(folder.join(one), bytes).unwrap();
    // The captioner is asked about an image alone, and that image it has seen.
    assert_eq!(run("--models captioner"), (7, 42));
    // Retrieval asks about the captions too: one new question.
    assert_eq!(run("--models random"), (7, 43));
    assert_eq!(
        kept(&suite.sandbox, "cache/predictions"),
        (0, 0),
        "a folder was named"
    );
    std::fs::remove_dir_all(suite.sandbox.path("r")).ok();
    suite.run("--models random --records r").expect(0);
    assert_eq!(
        kept(&suite.sandbox, "cache/predictions").1,
        6,
        "the cache folder is the default"
    );
    std::fs::remove_dir_all(suite.sandbox.path("r")).ok();
    suite
        .run("--models constant --no-cache --records r")
        .expect(0);
    assert_eq!(kept(&suite.sandbox, "cache/predictions").1, 6);

    // The limit holds when the run ends, and what the next one asks for is asked again.
    assert_eq!(run("--models captioner --cache-limit 0"), (0, 0));
    assert_eq!(run("--models captioner --cache-limit 1MiB"), (1, 6));
    assert_eq!(made("r"), 6);
}

#[test]
fn another_checkpoint_under_the_same_name_is_another_model() {
    let suite = Suite::new(3);
    suite
        .run("--cache kept --records r --models captioner")
        .expect(0);
    let copy = suite.sandbox.path("copy");
    std::fs::create_dir_all(&copy).unwrap();
    for (name, bytes) in files(&workspace().join(CAPTIONER), |_| true) {
        std::fs::create_dir_all(copy.join(&name).parent().unwrap()).unwrap();
        std::fs::write(copy.join(&name), bytes).unwrap();
    }
    let run = |records: &str| {
        let line = format!(
            "run manifests/suites/s.toml --data data --checkpoint captioner=copy --cache kept --models captioner \
             --records {records}"
        );
        suite.sandbox.sightline(&line).expect(0);
        kept(&suite.sandbox, "kept")
    };
    assert_eq!(
        run("same"),
        (1, 3),
        "the same bytes elsewhere are the same model"
    );
    let weights = files(&copy, |name| name == "model.safetensors");
    let (name, mut bytes) = weights.into_iter().next().unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(copy.join(name), bytes).unwrap();
    assert_eq!(run("changed"), (2, 6));
}

#[test]
fn what_failed_is_not_kept() {
    let outside = Outside::new(12);
    outside.model(&["error"], "");
    let line = "run manifests/suites/s.toml --data data --cache kept --records r";
    let run = outside.sandbox.sightline(line).expect(3);
    drop(run);
    let lines = outside.lines("r");
    let good = lines
        .values()
        .filter(|line| line["prediction"].is_object())
        .count();
    assert!(good < lines.len());
    assert_eq!(kept(&outside.sandbox, "kept"), (1, good));
}

#[test]
fn a_self_check_asks_again_in_other_ways_and_is_recorded() {
    let suite = Suite::new(20);
    suite
        .run("--no-cache --records r --self-check 12")
        .expect(0)
        .says(&["12 examples have the same answers in 3 other ways"]);
    for record in suite.records("r").values() {
        let check = &record["tasks"][0]["self_check"];
        assert_eq!(check["examples"], 12);
        assert_eq!(check["ways"].as_array().unwrap().len(), 3);
        assert!(check["differing"].as_array().unwrap().is_empty());
    }
}

#[test]
fn a_self_check_finds_answers_that_depend_on_what_was_asked_before() {
    let outside = Outside::new(5);
    outside.model(&["counting"], "");
    outside.run("--records r --self-check 3").expect(1).says(&[
        "of 3 examples these have other answers in another batch, order or number of threads: ",
    ]);
}

/// A lock, changed at one place, holds the run to it, and says where it differs.
#[expect(clippy::too_many_lines, reason = "a row for each entry of a lock")]
#[test]
fn a_run_that_is_locked_names_what_differs_entry_by_entry() {
    let suite = Suite::new(4);
    suite.call("lock", "--out s.lock").expect(0);
    suite
        .run("--no-cache --records r --locked s.lock")
        .expect(0);
    let path = suite.sandbox.path("s.lock");
    let lock: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let other = "00".repeat(32);
    let at = |list: &str, field: &str, is: &str| {
        let entries = lock[list].as_array().unwrap();
        entries
            .iter()
            .position(|entry| entry[field] == is)
            .unwrap_or_else(|| panic!("{list} {is}"))
    };
    let file = |role: &str| at("files", "role", role);
    let captions = at("tasks", "task", "caption-scenes-captions-test");
    let captioner = at("inputs", "owner", "model:captioner");
    let weights = at("weights", "owner", "model:captioner");
    for (pointer, value, told) in [
        (
            format!("/files/{}/sha256", file("image")),
            other.as_str(),
            "dataset:scenes-captions-test `",
        ),
        (
            format!("/files/{}/sha256", file("annotations-captions")),
            &other,
            "captions_test.json` changed",
        ),
        (
            format!("/files/{}/sha256", file("weights")),
            &other,
            "model:captioner `",
        ),
        (
            format!("/files/{}/sha256", file("config")),
            &other,
            "model:captioner `",
        ),
        (
            format!("/inputs/{captioner}/image_spec"),
            &other,
            "prepares its images otherwise",
        ),
        (
            format!("/inputs/{captioner}/pixels"),
            &other,
            "a test picture became",
        ),
        (
            format!("/tasks/{captions}/prompts"),
            &other,
            "prompts and decoding of task `caption-",
        ),
        (
            format!("/tasks/{captions}/metrics/0"),
            "bleu-1@999",
            "metrics of task `caption-",
        ),
        (
            format!("/tasks/{captions}/keys"),
            &other,
            "list of keys of task `caption-",
        ),
        (
            format!("/weights/{weights}/dtype"),
            "int8",
            "type of the weights of model:captioner",
        ),
        (
            "/program/version".to_owned(),
            "99.0.0",
            "version of the program",
        ),
        (
            "/program/commit".to_owned(),
            "0123456789ab",
            "commit of the program",
        ),
        (
            "/program/dependencies".to_owned(),
            &other,
            "Cargo.lock of the program",
        ),
        ("/program/device".to_owned(), "cuda", "kind of device"),
        ("/plan".to_owned(), &other, "the plan changed"),
    ] {
        let mut changed = lock.clone();
        *changed
            .pointer_mut(&pointer)
            .unwrap_or_else(|| panic!("{pointer}")) = value.into();
        std::fs::write(&path, serde_json::to_vec(&changed).unwrap()).unwrap();
        let ended = suite
            .run("--no-cache --records r --locked s.lock")
            .expect(1)
            .says(&[told]);
        let lines = ended
            .stderr
            .lines()
            .filter(|line| line.starts_with("not as locked: "));
        assert_eq!(lines.count(), 1, "{pointer}: {}", ended.stderr);
    }
}

#[test]
fn a_bundle_is_the_same_bytes_each_time_and_runs_without_anything_else() {
    let suite = Suite::new(4);
    suite.run("--no-cache --records whole").expect(0);
    suite.call("bundle", "-o one.tar").expect(0);
    suite.call("bundle", "-o two.tar").expect(0);
    let read = |name: &str| std::fs::read(suite.sandbox.path(name)).unwrap();
    assert!(
        read("one.tar") == read("two.tar"),
        "two bundles of one suite differ"
    );
    suite
        .call("bundle", "-o one.tar")
        .expect(2)
        .says(&["--force"]);

    let elsewhere = Sandbox::new();
    elsewhere.write("b.tar", read("one.tar"));
    elsewhere.sightline("unbundle b.tar --out b").expect(0);
    elsewhere
        .sightline("run b --no-cache --records r")
        .expect(0);
    let predictions = files(&elsewhere.path("r"), |name| name.ends_with(".jsonl"));
    assert_eq!(predictions, suite.predictions("whole"));
    elsewhere
        .sightline("unbundle b.tar --out b")
        .expect(2)
        .says(&["not empty"]);

    let images = files(&elsewhere.path("b/data"), |name| name.contains("images"));
    let image = elsewhere.path("b/data").join(images.keys().next().unwrap());
    let mut bytes = std::fs::read(&image).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&image, bytes).unwrap();
    elsewhere
        .sightline("run b --no-cache --records r")
        .expect(1)
        .says(&["not as locked", "changed"]);

    let mut damaged = read("one.tar");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    elsewhere.write("d.tar", &damaged);
    elsewhere.sightline("unbundle d.tar --out d").expect(1);
    assert!(
        !elsewhere.path("d/bundle.json").exists(),
        "a damaged bundle looks whole"
    );
}

#[test]
fn performance_is_measured_apart_from_scores() {
    let suite = Suite::new(6);
    for scenario in ["single-stream", "offline"] {
        let line = format!(
            "--models captioner --scenario {scenario} --seconds 0.2 --warm-up 0.05 --queries 3 --samples 4 --json"
        );
        let told = suite.call("perf", &line).expect(0).json();
        let record = &told["records"][0];
        assert_eq!(
            (&record["kind"], &record["settings"]["scenario"]),
            (&"performance".into(), &scenario.into())
        );
        let measured = &record["measured"];
        let number = |value: &Value| value.as_f64().unwrap();
        assert!(measured["queries"].as_u64().unwrap() >= 3);
        assert!(number(&measured["samples_per_second"]) > 0.0);
        let latency = &measured["latency"];
        assert_eq!(latency["count"], measured["queries"]);
        let (p50, p90, p99) = (&latency["p50_ms"], &latency["p90_ms"], &latency["p99_ms"]);
        assert!(number(p50) <= number(p90) && number(p90) <= number(p99));
        assert_eq!(measured["meets_mlperf"], false);
        let per_query = if scenario == "offline" { 4 } else { 1 };
        assert_eq!(record["settings"]["batch_size"], per_query);
        if cfg!(target_os = "linux") {
            assert!(measured["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
        }
    }
    let found = files(&suite.sandbox.path("records"), |name| {
        name.ends_with(".json")
    });
    assert_eq!(found.len(), 2);
    assert!(
        found
            .keys()
            .all(|name| name.starts_with("s/captioner/performance/"))
    );
    // Neither a board nor a run takes them for scores.
    suite
        .run("--no-cache --models captioner --records records")
        .expect(0);
    suite
        .sandbox
        .sightline("board records --out site")
        .expect(0);
}

#[test]
fn a_model_alone_is_measured_at_everything_that_it_does() {
    let suite = Suite::new(3);
    let fixtures = workspace().join("tests/fixtures/models");
    let captioner = fixtures.join("virtex/r18_captioning_prenorm");
    let settings = "--seconds 0.05 --warm-up 0 --samples 3 --batch-size 2 --json";
    let perf = |model: &str, more: &str| {
        let line = format!("perf {model} {settings} {more}");
        suite.sandbox.sightline(&line)
    };
    let given = format!("--checkpoint captioner={}", captioner.display());
    let tasks = |told: &Value| -> Vec<String> {
        let records = told["records"].as_array().unwrap();
        let of =
            |record: &Value| format!("{}/{}", record["model"], record["task"]).replace('"', "");
        records.iter().map(of).collect()
    };
    let told = perf("captioner", &format!("{given} --scenario offline"));
    let told = told.expect(0).json();
    assert_eq!(
        tasks(&told),
        ["captioner/caption", "captioner/multiple-choice"]
    );
    assert_eq!(told["records"][0]["suite"], "alone");
    assert_eq!(told["records"][0]["measured"]["preparation"]["samples"], 3);
    assert_eq!(told["records"][0]["measured"]["failed"], 0);

    // Images of one's own, and one kind of task.
    let images = "--images data/scenes/images/test --tasks caption";
    let told = perf("captioner", &format!("{given} {images}"))
        .expect(0)
        .json();
    assert_eq!(tasks(&told), ["captioner/caption"]);

    // A checkpoint folder needs no manifest.
    let clip = fixtures.join("vild/crops");
    let told = perf(&clip.display().to_string(), "--tasks detection");
    told.expect(2).says(&["vocab"]);

    perf("captoiner", "")
        .expect(2)
        .says(&["`captioner`", "hint: "]);
    perf("captioner", &format!("{given} --tasks captoin"))
        .expect(2)
        .says(&["`caption`"]);
    perf("captioner", &format!("{given} --tasks retrieval"))
        .expect(2)
        .says(&["nothing that can be asked without a suite"]);
    let left = files(&suite.sandbox.path("records"), |_| true);
    assert!(
        left.keys()
            .all(|name| name.starts_with("alone/captioner/performance/")),
        "{:?}",
        left.keys()
    );
}

/// A disk that is full ends the run with what to do; what was written is taken up when there is room.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_the_run_goes_on_later() {
    let suite = Suite::new(6);
    suite
        .run("--no-cache --records whole --models captioner")
        .expect(0);
    let predictions = suite.predictions("whole");
    let (name, bytes) = predictions.iter().next().unwrap();
    let part = suite.sandbox.path("r").join(format!("{name}.part"));
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    suite
        .run("--no-cache --records r --models captioner")
        .expect(4)
        .says(&[
            "No space left on device",
            "hint: Free space on that disk and run the same command again.",
        ]);
    std::fs::remove_file(&part).unwrap();
    std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    suite
        .run("--no-cache --records r --models captioner")
        .expect(0);
    assert_eq!(suite.predictions("r"), predictions);
}
