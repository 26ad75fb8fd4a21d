//! Models outside the program: a real Python process that is good, or stalls, crashes and lies; and a server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use sightline_core::Digest;
use sightline_testkit::chat::Chat;

use crate::util::{Outcome, Sandbox, files, whole_lines, workspace};

/// Scenes with captions, and a model that is `adapter.py` in some mode.
pub(crate) struct Outside {
    pub(crate) sandbox: Sandbox,
}

impl Outside {
    pub(crate) fn new(scenes: u32) -> Self {
        let sandbox = Sandbox::new();
        let line =
            format!("synth scenes --out data/scenes --train 1 --val 1 --test {scenes} --size 32");
        sandbox.sightline(&line).expect(0);
        let dataset = "manifests/datasets/scenes-captions-test.toml";
        sandbox.write(dataset, std::fs::read(workspace().join(dataset)).unwrap());
        let adapter = std::fs::read(workspace().join("tests/adapters/adapter.py")).unwrap();
        sandbox.write("manifests/models/adapter.py", adapter);
        sandbox.write(
            "manifests/suites/s.toml",
            "schema = 1\nsuite = \"s\"\ndescription = \"A suite.\"\nseed = 17\nmodels = [\"mine\"]\n\
             [bootstrap]\nresamples = 20\n\
             [[task]]\nkind = \"caption\"\ndataset = \"scenes-captions-test\"\n\
             metrics = [\"bleu-1\"]\nbatch_size = 8\n",
        );
        Self { sandbox }
    }

    /// The model, whose program is started with these words, and more lines below `[process]`.
    pub(crate) fn model(&self, words: &[&str], more: &str) {
        let command: Vec<&str> = ["python3", "adapter.py"]
            .iter()
            .chain(words)
            .copied()
            .collect();
        self.sandbox.write(
            "manifests/models/mine.toml",
            format!(
                "schema = 1\nmodel = \"mine\"\nfamily = \"process\"\ndescription = \"A test.\"\n\
                 [process]\ncommand = {command:?}\nfiles = [\"adapter.py\"]\nrestarts = 10\n{more}"
            ),
        );
    }

    pub(crate) fn run(&self, more: &str) -> Outcome {
        let line = format!("run manifests/suites/s.toml --data data --no-cache {more}");
        self.sandbox.sightline(&line)
    }

    /// Whether each image is one that bad modes show themselves at.
    fn bad_images(&self) -> usize {
        let images = files(&self.sandbox.path("data/scenes/images/test"), |_| true);
        images
            .values()
            .filter(|bytes| Digest::of(bytes).as_bytes()[0].is_multiple_of(4))
            .count()
    }

    /// The lines of the predictions below `records` behind their header, by key.
    pub(crate) fn lines(&self, records: &str) -> BTreeMap<String, Value> {
        let found = files(&self.sandbox.path(records), |name| name.ends_with(".jsonl"));
        assert_eq!(found.len(), 1, "{:?}", found.keys());
        let text = String::from_utf8(found.into_values().next().unwrap()).unwrap();
        let lines = text
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str(line).unwrap());
        let by_key = lines.map(|line: Value| (line["key"].as_str().unwrap().to_owned(), line));
        by_key.collect()
    }

    fn records(&self, records: &str) -> Vec<Value> {
        let found = files(&self.sandbox.path(records), |name| name.ends_with(".json"));
        found
            .values()
            .map(|bytes| serde_json::from_slice(bytes).unwrap())
            .collect()
    }

    fn log(&self, records: &str) -> String {
        let path: PathBuf = self.sandbox.path(records).join("s/mine/adapter.log");
        std::fs::read_to_string(path).unwrap()
    }
}

const SCENES: u32 = 12;

#[test]
fn a_good_program_answers_in_any_order_and_in_batches_and_is_recorded() {
    let outside = Outside::new(SCENES);
    outside.model(&["good"], "");
    outside.run("--records good").expect(0);
    let good = outside.lines("good");
    assert_eq!(good.len(), SCENES as usize);
    for line in good.values() {
        let caption = line["prediction"]["caption"].as_str().unwrap();
        assert!(caption.starts_with("a picture of "), "{caption}");
    }
    let records = outside.records("good");
    assert_eq!(
        (&records[0]["model"]["family"], records.len()),
        (&"process".into(), 1)
    );
    assert_eq!(records[0]["model"]["baseline"], false);
    outside
        .run("--records good")
        .expect(0)
        .says(&["the same as before"]);

    for (words, more) in [
        (["shuffled"], "at_once = 4\n"),
        (["batched"], "images = \"path\"\n"),
        (["slow"], "at_once = 3\n"),
    ] {
        outside.model(&words, more);
        outside.run(&format!("--records {}", words[0])).expect(0);
        assert_eq!(outside.lines(words[0]), good, "{}", words[0]);
    }
}

#[test]
fn a_program_gets_the_variables_that_its_manifest_names() {
    let outside = Outside::new(2);
    for (more, told) in [
        ("", "the adapter starts with []"),
        (
            "env = [\"SIGHTLINE_MINE\"]\n",
            "the adapter starts with ['SIGHTLINE_MINE']",
        ),
    ] {
        outside.model(&["good"], more);
        let mut command = outside
            .sandbox
            .command("run manifests/suites/s.toml --data data --no-cache --records r".split(' '));
        let output = command
            .env("SIGHTLINE_MINE", "1")
            .env("SIGHTLINE_OTHER", "2")
            .output()
            .unwrap();
        Outcome::of(&output).expect(0);
        assert!(outside.log("r").contains(told), "{}", outside.log("r"));
    }
}

#[test]
fn whatever_a_program_does_wrong_is_one_samples_failure() {
    let outside = Outside::new(SCENES);
    let bad = outside.bad_images();
    assert!(
        bad > 0 && bad < SCENES as usize,
        "{bad} bad images show nothing"
    );
    outside.model(&["good"], "");
    outside.run("--records good").expect(0);
    let good = outside.lines("good");
    for (mode, more, reason) in [
        ("crash", "", "adapter: ended without an answer"),
        ("crash", "at_once = 4\n", "adapter: ended without an answer"),
        (
            "stall",
            "timeout_s = 1.0\n",
            "adapter: no answer within 1 s",
        ),
        ("not-json", "", "adapter: answered what is not JSON"),
        ("nan", "", "adapter: answered what is not JSON"),
        ("wrong-id", "", "adapter: answered an id that was not asked"),
        (
            "wrong-length",
            "",
            "adapter: answered 3 `texts` instead of 1",
        ),
        ("error", "", "adapter: error `bad_image`"),
        ("half", "", "adapter: ended within an answer"),
        (
            "endless",
            "timeout_s = 30.0\n",
            "adapter: answered a line of more than",
        ),
    ] {
        outside.model(&[mode], more);
        let records = format!("{mode}-{}", more.len());
        outside
            .run(&format!("--records {records}"))
            .expect(3)
            .says(&[&format!("{bad} of {SCENES} failed"), reason]);
        let lines = outside.lines(&records);
        assert_eq!(lines.len(), SCENES as usize, "{mode}");
        let mut failed = 0;
        for (key, line) in &lines {
            if let Some(told) = line["failed"].as_str() {
                assert!(told.starts_with(reason), "{mode}: {told}");
                failed += 1;
            } else {
                assert_eq!(line, &good[key], "{mode}");
            }
        }
        assert_eq!(failed, bad, "{mode}");
        let counts = &outside.records(&records)[0]["tasks"][0]["counts"];
        assert_eq!(counts["failed"], bad, "{mode}");
        assert_eq!(counts["scored"], SCENES as usize - bad, "{mode}");
    }
}

#[test]
fn what_was_left_without_an_answer_is_asked_again_by_the_same_command() {
    let outside = Outside::new(SCENES);
    outside.model(&["good"], "");
    outside.run("--records good").expect(0);
    let state = outside.sandbox.path("healed");
    outside.model(&["healed", state.to_str().unwrap()], "");
    outside.run("--records r").expect(3);
    assert_ne!(outside.lines("r"), outside.lines("good"));
    std::fs::write(&state, "").unwrap();
    outside.run("--records r").expect(0);
    assert_eq!(outside.lines("r"), outside.lines("good"));
    let records = outside.records("r");
    assert_eq!(records.len(), 2);
    let superseding = records
        .iter()
        .filter(|record| record["supersedes"].is_string());
    assert_eq!(superseding.count(), 1);
    let left = files(&outside.sandbox.path("r"), |name| name.ends_with(".before"));
    assert!(left.is_empty(), "{:?}", left.keys());
}

#[test]
fn a_dead_program_ends_the_run_early_which_can_be_resumed() {
    let outside = Outside::new(SCENES);
    outside.model(&["dead"], "");
    outside
        .run("--records dead")
        .expect(3)
        .says(&["ended 11 times in a row", "run the same command again"]);
    assert!(
        outside.records("dead").is_empty(),
        "a record without answers"
    );

    // Five answers and an end, over and over: what it ended at is asked again by the next run.
    outside.model(&["good"], "");
    outside.run("--records good").expect(0);
    outside.model(&["dies-at"], "");
    outside
        .run("--records dies-at")
        .expect(3)
        .says(&["2 of 12 failed"]);
    outside.run("--records dies-at").expect(0);
    assert_eq!(outside.lines("dies-at"), outside.lines("good"));
}

#[test]
fn what_cannot_be_asked_is_refused_before_the_run() {
    let outside = Outside::new(2);
    let retrieval = "schema = 1\nsuite = \"s\"\ndescription = \"A suite.\"\nseed = 17\nmodels = [\"mine\"]\n\
                     [[task]]\nkind = \"retrieval\"\ndataset = \"scenes-captions-test\"\n";
    outside.sandbox.write("manifests/suites/s.toml", retrieval);
    outside.model(&["captions"], "");
    outside
        .run("--records r")
        .expect(2)
        .says(&["model `mine` does not offer `embed`"]);
    outside.model(&["old"], "");
    outside
        .run("--records r")
        .expect(2)
        .says(&["protocol 99, this version speaks 1"]);
    outside.model(&["good"], "timeout = 3\n");
    outside
        .run("--records r")
        .expect(2)
        .says(&["unknown field `timeout`", "timeout_s"]);
    outside.sandbox.write(
        "manifests/models/mine.toml",
        "schema = 1\nmodel = \"mine\"\nfamily = \"process\"\ndescription = \"A test.\"\n\
         [process]\ncommand = [\"no-such-program-17\"]\n",
    );
    outside
        .run("--records r")
        .expect(2)
        .says(&["`no-such-program-17` cannot be started", "hint: "]);
    outside.sandbox.write(
        "manifests/models/mine.toml",
        "schema = 1\nmodel = \"mine\"\nfamily = \"process\"\ndescription = \"A test.\"\n",
    );
    outside
        .run("--records r")
        .expect(2)
        .says(&["`process` is missing"]);
    assert!(!outside.sandbox.path("r/s/mine/predictions").exists());

    outside.model(&["good"], "");
    outside.run("--records r").expect(0);
}

#[test]
fn a_run_costs_next_to_nothing_beside_its_model() {
    let outside = Outside::new(40);
    // It takes 50 ms for a sample, as a small model does, and leaves the processors to others.
    outside.model(&["slow"], "");
    // Other programs on this machine only add to what is measured, so that one of several tries has to do.
    let tries = (0..4).map(|number| {
        let records = format!("r{number}");
        outside.run(&format!("--records {records}")).expect(0);
        let cost = outside.records(&records)[0]["tasks"][0]["cost"].clone();
        let seconds = |field: &str| cost[field].as_f64().unwrap();
        assert!(seconds("model_seconds") > 40.0 * 0.05, "{cost}");
        seconds("beside_seconds") / seconds("model_seconds")
    });
    let shares: Vec<f64> = tries.collect();
    let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least <= 0.02, "{shares:?}");
}

#[test]
fn a_program_that_detects_does_the_task_of_detection() {
    let outside = Outside::new(SCENES);
    outside.sandbox.write(
        "manifests/datasets/boxes.toml",
        "schema = 1\ndataset = \"boxes\"\ndescription = \"Boxes.\"\nimages = \"scenes/images/test/*\"\n\
         classes = \"./shapes.txt\"\n[annotations]\nform = \"coco-instances\"\n[annotations.files]\n\
         instances = \"scenes/annotations/instances_test.json\"\n",
    );
    let folder = outside.sandbox.path("data/scenes");
    let truth = std::fs::read(folder.join("annotations/instances_test.json")).unwrap();
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    let names = truth["categories"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|one| one["name"].as_str().unwrap()).collect();
    let classes = "manifests/datasets/shapes.txt";
    outside.sandbox.write(classes, names.join("\n"));
    outside.sandbox.write(
        "manifests/suites/s.toml",
        "schema = 1\nsuite = \"s\"\ndescription = \"A suite.\"\nseed = 17\nmodels = [\"mine\"]\n\
         [bootstrap]\nresamples = 20\n\
         [[task]]\nkind = \"detection\"\ndataset = \"boxes\"\nmetrics = [\"coco-ap\"]\nbatch_size = 8\n",
    );
    let folder = folder.to_str().unwrap();

    // A program that says what the annotations say is right about everything, which shows that boxes, classes and
    // scores arrive as they were sent.
    outside.model(&["detects", folder], "at_once = 3\n");
    outside.run("--records good").expect(0);
    let record = outside.records("good").remove(0);
    assert_eq!(record["tasks"][0]["asked"]["capability"], "detect");
    let score = &record["tasks"][0]["scores"][0];
    assert_eq!(
        (&score["metric"], &score["value"]),
        (&"coco-ap".into(), &1.0.into())
    );

    let bad = outside.bad_images();
    outside.model(&["detects-nonsense", folder], "");
    outside.run("--records bad").expect(3).says(&[
        &format!("{bad} of {SCENES} failed"),
        "adapter: answered a detection that is no box of a class",
    ]);

    outside.model(&["captions"], "");
    outside
        .run("--records none")
        .expect(2)
        .says(&["model `mine` does not offer `detect`"]);
}

#[test]
fn a_lock_holds_a_program_to_its_files_and_its_hello() {
    let outside = Outside::new(2);
    outside.model(&["good"], "env = [\"ADAPTER_VERSION\"]\n");
    let line = "lock manifests/suites/s.toml --data data --out s.lock";
    outside.sandbox.sightline(line).expect(0);
    outside.run("--records r --locked s.lock").expect(0);
    let mut command = outside.sandbox.command(
        "run manifests/suites/s.toml --data data --no-cache --records r --locked s.lock".split(' '),
    );
    let output = command.env("ADAPTER_VERSION", "2").output().unwrap();
    Outcome::of(&output)
        .expect(1)
        .says(&["model:mine says something else about itself"]);
    let path = outside.sandbox.path("manifests/models/adapter.py");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + "\n# changed\n").unwrap();
    outside
        .run("--records r --locked s.lock")
        .expect(1)
        .says(&["model:mine `adapter.py` changed"]);
}

#[test]
fn a_run_that_is_killed_ends_its_program_and_goes_on_where_it_was() {
    let outside = Outside::new(40);
    outside.model(&["good"], "");
    outside.run("--records good").expect(0);
    outside.model(&["slow"], "");
    let mut child = outside
        .sandbox
        .command("run manifests/suites/s.toml --data data --no-cache --records r".split(' '))
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let has_lines = || {
        let parts = files(&outside.sandbox.path(""), |name| {
            name.starts_with("r/") && name.ends_with(".part")
        });
        parts.values().any(|bytes| whole_lines(bytes) > 8)
    };
    while !has_lines() {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "no line was written"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    outside.run("--records r").expect(0);
    assert_eq!(outside.lines("r"), outside.lines("good"));
}

#[test]
fn a_server_answers_and_what_it_does_not_is_counted_and_asked_again() {
    let outside = Outside::new(6);
    let server = Chat::start_with_key("secret-17").unwrap();
    let model = |name: &str| {
        outside.sandbox.write(
            "manifests/models/mine.toml",
            format!(
                "schema = 1\nmodel = \"mine\"\nfamily = \"openai\"\ndescription = \"A test.\"\n\
                 [endpoint]\nurl = \"{}\"\nmodel = \"{name}\"\ncapabilities = [\"generate\"]\n\
                 key_env = \"TEST_KEY\"\nretries = 0\ntimeout_s = 5\n",
                server.url()
            ),
        );
    };
    let run = |records: &str| {
        let line = format!("run manifests/suites/s.toml --data data --records {records}");
        let mut command = outside.sandbox.command(line.split(' '));
        Outcome::of(&command.env("TEST_KEY", "secret-17").output().unwrap())
    };
    model("good");
    outside
        .run("--records r")
        .expect(2)
        .says(&["`TEST_KEY`", "is not set"]);
    run("good").expect(0);
    let lines = outside.lines("good");
    assert!(
        lines
            .values()
            .all(|line| line["prediction"]["caption"] == "1 images: "),
        "{lines:?}"
    );

    model("limited");
    run("limited")
        .expect(3)
        .says(&["failed", "adapter: status 429"]);
    let failed = |records: &str| {
        let lines = outside.lines(records);
        lines
            .values()
            .filter(|line| line["failed"].is_string())
            .count()
    };
    let before = failed("limited");
    assert!(before > 0);
    run("limited");
    assert!(failed("limited") < before, "nothing was asked again");

    let everything = files(&outside.sandbox.path(""), |_| true);
    for (name, bytes) in everything {
        let has = bytes.windows(9).any(|part| part == b"secret-17");
        assert!(!has, "the key is in {name}");
    }
}

#[test]
fn the_helper_for_python_needs_a_function_and_no_packages() {
    let outside = Outside::new(5);
    let helper = workspace().join("integrations/python/adapters/sightline_adapter.py");
    outside.sandbox.write(
        "data/mine/sightline_adapter.py",
        std::fs::read(helper).unwrap(),
    );
    outside.sandbox.write(
        "data/mine/mine.py",
        "from sightline_adapter import data, serve\n\
         print('not an answer', flush=True)\n\
         def generate(prompts, decoding, seeds):\n    \
             return {'texts': [f\"{len(data(prompt[0]['image']))} bytes\" for prompt in prompts]}\n\
         serve({'generate': generate}, info={'name': 'mine'}, batch=3)\n",
    );
    outside.sandbox.write(
        "manifests/models/mine.toml",
        "schema = 1\nmodel = \"mine\"\nfamily = \"process\"\ndescription = \"A test.\"\n\
         [process]\ncommand = [\"python3\", \"mine.py\"]\nfolder = \"mine\"\nfiles = [\"*.py\"]\n",
    );
    // What is printed before the helper is there to take care of it is no answer.
    outside
        .run("--records r")
        .expect(4)
        .says(&["did not say hello", "not JSON"]);
    let path = outside.sandbox.path("data/mine/mine.py");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("print('not an answer', flush=True)\n", ""),
    )
    .unwrap();
    outside.run("--records r").expect(0);
    let lines = outside.lines("r");
    assert!(lines.values().all(|line| {
        line["prediction"]["caption"]
            .as_str()
            .unwrap()
            .ends_with(" bytes")
    }));
}
