//! `sightline train`: models trained by the real program, stopped, killed and refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::util::{Outcome, Sandbox, workspace};

/// A CLIP of one block on scenes of 32 pixels; a second's work.
const MANIFEST: &str = r#"schema = 1
train = "small"
family = "clip"
description = "Small."
seed = 17

[model]
tokenizer = "words"

[model.config]
model_type = "clip"
projection_dim = 16

[model.config.text_config]
vocab_size = 900
hidden_size = 32
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 40
hidden_act = "gelu"
bos_token_id = 0
eos_token_id = 1

[model.config.vision_config]
hidden_size = 32
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
image_size = 32
patch_size = 16
hidden_act = "gelu"

[model.preprocessor]
size = { shortest_edge = 32 }
crop_size = { height = 32, width = 32 }
image_mean = [0.5, 0.5, 0.5]
image_std = [0.25, 0.25, 0.25]

[data]
scenes = { train = 80, val = 32, size = 32, max_objects = 2 }

[[stage]]
objective = "contrastive"
steps = 24
batch = 16

[stage.optimiser]
lr = 2e-3
schedule = "cosine"
warmup_steps = 2

[evaluation]
every = 8
batches = 2

[checkpoint]
every = 3
"#;

fn manifest(sandbox: &Sandbox, changes: &[(&str, &str)]) {
    let mut text = MANIFEST.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    sandbox.write("small.toml", text);
}

fn train(sandbox: &Sandbox, out: &str) -> Outcome {
    sandbox.sightline(&format!("train small.toml --out {out} --json"))
}

/// Every file that does not say how long something took.
fn bytes(root: &Path) -> BTreeMap<String, Vec<u8>> {
    crate::util::files(root, |name| {
        !matches!(name, "speed.jsonl" | "record.json" | ".lock")
    })
}

#[test]
fn a_trained_model_is_a_checkpoint_like_any_other() {
    let sandbox = Sandbox::new();
    manifest(&sandbox, &[]);
    let plan = sandbox
        .sightline("train small.toml --dry-run")
        .expect(0)
        .json();
    assert_eq!(plan["stage"][0]["optimiser"]["betas"][1], 0.999);
    let printed = train(&sandbox, "run").expect(0).json();
    assert_eq!(printed["complete"], true);
    assert_eq!(printed["record"]["steps"], 24);

    let lines = fs::read_to_string(sandbox.path("run/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let loss = |line: &Value| line["loss"].as_f64();
    let losses: Vec<f64> = lines.iter().filter_map(loss).collect();
    assert!(losses[losses.len() - 1] < losses[0], "{losses:?}");
    let held_out = lines.iter().filter(|line| line["held_out"].is_object());
    assert_eq!(held_out.count(), 3);
    let page = fs::read_to_string(sandbox.path("run/loss.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http:"));

    sandbox
        .sightline("synth scenes --out scenes --train 0 --val 0 --test 3 --size 32")
        .expect(0);
    let embedded = sandbox
        .sightline("embed run/best --images scenes/images/test/000000.jpg --out vectors.npy --json")
        .expect(0);
    assert_eq!(embedded.json()["rows"], 1, "{}", embedded.stdout);
}

#[test]
fn a_run_that_is_killed_goes_on_to_the_same_bytes() {
    let sandbox = Sandbox::new();
    manifest(&sandbox, &[]);
    train(&sandbox, "whole").expect(0);
    let whole = bytes(&sandbox.path("whole"));
    // Ends at places that no clock repeats: what they have in common is that nothing of them shows.
    let mut killed = 0;
    for attempt in 0..12u64 {
        let mut child = sandbox
            .command(["train", "small.toml", "--out", "killed"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(60 + 83 * attempt));
        child.kill().unwrap();
        if !child.wait().unwrap().success() {
            killed += 1;
        }
    }
    assert!(killed > 0);
    train(&sandbox, "killed").expect(0);
    assert_eq!(
        whole.keys().collect::<Vec<_>>(),
        bytes(&sandbox.path("killed")).keys().collect::<Vec<_>>()
    );
    assert!(whole == bytes(&sandbox.path("killed")));
}

#[test]
fn a_signal_leaves_a_checkpoint_and_its_exit_code() {
    let sandbox = Sandbox::new();
    manifest(
        &sandbox,
        &[
            ("steps = 24", "steps = 5000"),
            ("every = 3", "every = 4000"),
        ],
    );
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let child = sandbox
            .command(["train", "small.toml", "--out", "run", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !sandbox.path("run/metrics.jsonl").exists() {
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(300));
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        let outcome = Outcome::of(&child.wait_with_output().unwrap())
            .expect(code)
            .says(&["run the same command again to go on"]);
        assert_eq!(outcome.json()["complete"], false);
        assert!(sandbox.path("run/last/optimizer.safetensors").is_file());
    }
}

#[test]
fn what_does_not_fit_is_refused_with_both_sides_named() {
    let sandbox = Sandbox::new();
    let refused = |changes: &[(&str, &str)], parts: &[&str]| {
        manifest(&sandbox, changes);
        train(&sandbox, "refused").expect(2).says(parts);
        assert!(!sandbox.path("refused/metrics.jsonl").exists());
    };
    refused(
        &[("\"contrastive\"", "\"prefix-lm\"")],
        &[
            "objective `prefix-lm` does not fit the family `clip`",
            "small.toml:44",
        ],
    );
    refused(
        &[("steps = 24", "stesp = 24")],
        &["unknown field `stesp`", "Did you mean `steps`?"],
    );
    refused(
        &[("family = \"clip\"", "family = \"asif\"")],
        &["unknown trainable family `asif`"],
    );
    refused(
        &[(
            "size = { shortest_edge = 32 }\ncrop_size = { height = 32, width = 32 }",
            "size = { shortest_edge = 16 }\ncrop_size = { height = 16, width = 16 }",
        )],
        &["16 x 16", "32 x 32"],
    );
    refused(&[("tokenizer = \"words\"\n", "")], &["tokenizer"]);

    // A vocabulary that was made of other captions.
    manifest(&sandbox, &[]);
    train(&sandbox, "first").expect(0);
    refused(
        &[
            ("vocab_size = 900", "vocab_size = 300"),
            ("tokenizer = \"words\"", "tokenizer = \"first/best\""),
        ],
        &["the tokenizer of", "the token table 300 rows"],
    );

    // Shards whose samples have no captions.
    sandbox
        .sightline("synth scenes --out scenes --train 4 --val 0 --test 0 --size 32")
        .expect(0);
    sandbox.write(
        "bare/000000.jpg",
        fs::read(sandbox.path("scenes/images/train/000000.jpg")).unwrap(),
    );
    sandbox
        .sightline("shards convert bare --format files --to webdataset --out shards")
        .expect(0);
    refused(
        &[
            (
                "scenes = { train = 80, val = 32, size = 32, max_objects = 2 }",
                "train = \"shards/*.tar\"",
            ),
            ("[evaluation]\nevery = 8\nbatches = 2\n", ""),
        ],
        &[
            "the objective `contrastive` needs captions",
            "`000000`",
            ".tar` has none",
        ],
    );
    refused(
        &[
            (
                "scenes = { train = 80, val = 32, size = 32, max_objects = 2 }",
                "train = \"nowhere/*.tar\"",
            ),
            ("[evaluation]\nevery = 8\nbatches = 2\n", ""),
        ],
        &["nowhere"],
    );

    // Another manifest in the folder of a run.
    manifest(
        &sandbox,
        &[("lr = 2e-3", "lr = 3e-3"), ("steps = 24", "steps = 25")],
    );
    train(&sandbox, "first").expect(2).says(&[
        "`stage[0].optimiser.lr`: 0.002 → 0.003",
        "`stage[0].length.steps`: 24 → 25",
        "--overwrite",
    ]);
    sandbox
        .sightline("train small.toml --out first --overwrite")
        .expect(0);
    sandbox.write("mine/thesis.txt", "years of work");
    train(&sandbox, "mine")
        .expect(2)
        .says(&["holds no training run"]);
    sandbox
        .sightline("train small.toml --out mine --overwrite")
        .expect(2);
    assert!(sandbox.path("mine/thesis.txt").exists());
}

#[test]
fn numbers_that_are_none_end_with_one() {
    let sandbox = Sandbox::new();
    manifest(
        &sandbox,
        &[
            ("lr = 2e-3", "lr = 1e30"),
            (
                "schedule = \"cosine\"\nwarmup_steps = 2",
                "schedule = \"constant\"",
            ),
        ],
    );
    train(&sandbox, "run").expect(1).says(&["is not finite"]);
    // The weights of each step would be kept, also those that are none.
    manifest(
        &sandbox,
        &[
            ("lr = 2e-3", "lr = 1e30"),
            (
                "schedule = \"cosine\"\nwarmup_steps = 2",
                "schedule = \"constant\"",
            ),
            ("[evaluation]\nevery = 8\nbatches = 2\n", ""),
            ("every = 3", "every = 1"),
        ],
    );
    train(&sandbox, "each")
        .expect(1)
        .says(&["not", "no checkpoint yet"]);
    assert!(!sandbox.path("each/last").exists());
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let sandbox = Sandbox::new();
    manifest(&sandbox, &[]);
    sandbox.write("mine/assets/photo.txt", "precious");
    for overwrite in ["", " --overwrite"] {
        sandbox
            .sightline(&format!("train small.toml --out mine{overwrite}"))
            .expect(2)
            .says(&["holds no training run"]);
    }
    assert!(sandbox.path("mine/assets/photo.txt").exists());
    // What others put beside a run stays when it is made anew.
    train(&sandbox, "run").expect(0);
    sandbox.write("run/notes.txt", "which run is which");
    sandbox
        .sightline("train small.toml --out run --overwrite")
        .expect(0);
    assert!(sandbox.path("run/notes.txt").exists());
}

#[test]
fn every_stage_is_checked_before_the_first_step() {
    let sandbox = Sandbox::new();
    let second = |batch: &str, rest: &str| {
        let stage = format!(
            "[[stage]]\nobjective = \"contrastive\"\nsteps = 4\nbatch = {batch}\n{rest}\n[evaluation]"
        );
        manifest(&sandbox, &[("[evaluation]", &stage)]);
        train(&sandbox, "out").expect(2)
    };
    second(
        "16",
        "[stage.optimiser]\nlr = 1e-3\ngroup = [{ tensors = [\"*nothere*\"], weight_decay = 0.0 }]\n",
    )
    .says(&["group `*nothere*` matches no tensor"]);
    second("1", "[stage.optimiser]\nlr = 1e-3\n").says(&["stage 2", "parts of 1", "needs 2"]);
    second("8", "accumulate = 8\n[stage.optimiser]\nlr = 1e-3\n").says(&["stage 2", "accumulate"]);
    assert!(!sandbox.path("out/metrics.jsonl").exists());
}

#[test]
fn batches_of_broken_images_are_passed_over() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("synth scenes --out scenes --train 4 --val 0 --test 0 --size 32")
        .expect(0);
    let image = fs::read(sandbox.path("scenes/images/train/000000.jpg")).unwrap();
    for number in 0..12 {
        let whole = if number % 3 == 0 { image.len() } else { 40 };
        sandbox.write(&format!("some/{number:06}.jpg"), &image[..whole]);
        sandbox.write(&format!("some/{number:06}.txt"), "a red circle");
    }
    sandbox
        .sightline("shards convert some --format files --to webdataset --out shards")
        .expect(0);
    manifest(
        &sandbox,
        &[
            (
                "scenes = { train = 80, val = 32, size = 32, max_objects = 2 }",
                "train = \"shards/*.tar\"",
            ),
            ("[evaluation]\nevery = 8\nbatches = 2\n", ""),
            ("batch = 16", "batch = 2"),
        ],
    );
    train(&sandbox, "out").expect(0);
    let metrics = fs::read_to_string(sandbox.path("out/metrics.jsonl")).unwrap();
    // Each step has a line here; of those without a sample there is no loss.
    let nothing = |line: &&str| line.contains("\"loss\":null");
    assert!(metrics.lines().any(|line| nothing(&line)), "{metrics}");
    assert!(!metrics.lines().all(|line| nothing(&line)), "{metrics}");
}

#[test]
fn captions_of_spaces_are_none() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("synth scenes --out scenes --train 4 --val 0 --test 0 --size 32")
        .expect(0);
    let image = fs::read(sandbox.path("scenes/images/train/000000.jpg")).unwrap();
    sandbox.write("blank/000000.jpg", image);
    sandbox.write("blank/000000.txt", " \n");
    sandbox
        .sightline("shards convert blank --format files --to webdataset --out shards")
        .expect(0);
    manifest(
        &sandbox,
        &[
            (
                "scenes = { train = 80, val = 32, size = 32, max_objects = 2 }",
                "train = \"shards/*.tar\"",
            ),
            ("[evaluation]\nevery = 8\nbatches = 2\n", ""),
        ],
    );
    train(&sandbox, "out").expect(2).says(&["needs captions"]);
}

#[test]
fn help_of_train_documents_every_flag() {
    let help = Sandbox::new().sightline("train --help").expect(0);
    insta::assert_snapshot!(help.stdout);
}

/// A VisualBERT of one block; the names of answers are those of `scenes-questions-test`, in its order.
fn visualbert() -> String {
    let answers = workspace().join("manifests/datasets/scenes-answers.txt");
    let answers = fs::read_to_string(answers).unwrap();
    let labels: Vec<String> = answers
        .lines()
        .enumerate()
        .map(|(number, answer)| format!("{number} = \"{answer}\"\n"))
        .collect();
    let stage = |objective: &str, steps: u32| {
        format!(
            "[[stage]]\nobjective = \"{objective}\"\nsteps = {steps}\nbatch = 16\n[stage.optimiser]\nlr = 3e-3\n"
        )
    };
    format!(
        r#"schema = 1
train = "small"
family = "visualbert"
description = "Small."
seed = 17

[model]
tokenizer = "words"

[model.config]
model_type = "visual_bert"
vocab_size = 400
hidden_size = 32
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 48
visual_embedding_dim = 245

[model.config.id2label]
{}
[data]
scenes = {{ train = 80, val = 32, size = 32, max_objects = 2 }}

{}{}[checkpoint]
every = 7
"#,
        labels.concat(),
        stage("pretraining", 10),
        stage("answers", 10)
    )
}

#[test]
fn a_head_that_was_trained_on_drawn_scenes_answers_the_questions_of_a_suite() {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", visualbert());
    train(&sandbox, "run").expect(0);

    // Killed in the second stage: to the same bytes.
    let mut child = sandbox
        .command(["train", "small.toml", "--out", "killed"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while child.try_wait().unwrap().is_none() && !sandbox.path("killed/last").exists() {
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    train(&sandbox, "killed").expect(0);
    assert!(bytes(&sandbox.path("run")) == bytes(&sandbox.path("killed")));

    sandbox
        .sightline(
            "synth scenes --out data/scenes --train 0 --val 0 --test 6 --size 32 --max-objects 2",
        )
        .expect(0);
    for name in ["scenes-questions-test.toml", "scenes-answers.txt"] {
        let manifest = format!("manifests/datasets/{name}");
        sandbox.write(&manifest, fs::read(workspace().join(&manifest)).unwrap());
    }
    sandbox.write(
        "manifests/models/small.toml",
        "schema = 1\nmodel = \"small\"\nfamily = \"visualbert\"\ndescription = \"Small.\"\ntokenizer = \"checkpoint\"\n",
    );
    sandbox.write(
        "manifests/suites/s.toml",
        "schema = 1\nsuite = \"s\"\ndescription = \"A suite.\"\nseed = 17\nmodels = [\"small\"]\n\
         [[task]]\nkind = \"vqa\"\ndataset = \"scenes-questions-test\"\nmetrics = [\"vqa-official\"]\n",
    );
    sandbox
        .sightline(
            "run manifests/suites/s.toml --data data --checkpoint small=run/best --records records",
        )
        .expect(0);
    let records = crate::util::files(&sandbox.path("records"), |name| name.ends_with(".json"));
    let record = records.values().next().unwrap();
    let record: Value = serde_json::from_slice(record).unwrap();
    let task = &record["tasks"][0];
    assert_eq!(task["asked"]["capability"], "classify", "{task}");
    assert_eq!(task["counts"]["failed"], 0, "{task}");
}

#[test]
fn questions_of_prepared_shards_are_learned_with_the_regions_of_their_images() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline(
            "synth scenes --out data/scenes --train 30 --val 0 --test 0 --size 32 --max-objects 2",
        )
        .expect(0);
    for name in ["scenes-questions-train.toml", "scenes-answers.txt"] {
        let manifest = format!("manifests/datasets/{name}");
        sandbox.write(&manifest, fs::read(workspace().join(&manifest)).unwrap());
    }
    sandbox
        .sightline("datasets prepare scenes-questions-train --data data --shards data/vqa")
        .expect(0);
    let pretraining = "[[stage]]\nobjective = \"pretraining\"\nsteps = 10\nbatch = 16\n[stage.optimiser]\nlr = 3e-3\n";
    let scenes = "scenes = { train = 80, val = 32, size = 32, max_objects = 2 }";
    let shards = "train = \"data/vqa\"\ntrain_regions = \"data/scenes/regions/train.tsv\"";
    let written = visualbert();
    assert!(written.contains(pretraining) && written.contains(scenes));
    sandbox.write(
        "small.toml",
        written.replace(pretraining, "").replace(scenes, shards),
    );
    train(&sandbox, "run").expect(0);
    let metrics = fs::read_to_string(sandbox.path("run/metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(serde_json::from_str::<Value>);
    for line in lines.map(Result::unwrap) {
        assert_eq!(line["left_out"], 0, "{line}");
    }
}

#[test]
fn every_recipe_is_a_manifest() {
    let sandbox = Sandbox::new();
    let recipes = workspace().join("manifests/train");
    let written = crate::util::files(&recipes, |name| name.ends_with(".toml"));
    assert!(written.len() > 15);
    for name in written.keys() {
        let path = recipes.join(name).display().to_string();
        let planned = sandbox.run(["train", &path, "--dry-run"]);
        planned.expect(0);
    }
}

#[test]
fn regions_that_do_not_fit_are_refused_with_both_sides_named() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("synth scenes --out scenes --train 4 --val 0 --test 0 --size 32")
        .expect(0);
    for number in 0..4 {
        let image = fs::read(sandbox.path(&format!("scenes/images/train/{number:06}.jpg")));
        sandbox.write(&format!("files/{number:06}.jpg"), image.unwrap());
        sandbox.write(&format!("files/{number:06}.txt"), "A red circle.");
    }
    sandbox
        .sightline("shards convert files --format files --to webdataset --out shards")
        .expect(0);
    let first = visualbert()
        .split("[[stage]]\nobjective = \"answers\"")
        .next()
        .unwrap()
        .to_owned();
    let scenes = "scenes = { train = 80, val = 32, size = 32, max_objects = 2 }";
    let refused = |data: &str, changes: &[(&str, &str)], parts: &[&str]| {
        let mut text = first.replace(scenes, &format!("train = \"shards/*.tar\"\n{data}"));
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        sandbox.write("small.toml", text);
        train(&sandbox, "refused").expect(2).says(parts);
        assert!(!sandbox.path("refused/metrics.jsonl").exists());
    };
    refused(
        "",
        &[],
        &[
            "`pretraining` needs regions with features",
            "`data.train_regions`",
            "shards",
        ],
    );
    let table = "train_regions = \"scenes/regions/train.tsv\"";
    refused(
        table,
        &[("visual_embedding_dim = 245", "visual_embedding_dim = 2048")],
        &["have 245 values, the model takes 2048"],
    );
    refused(
        "train_objects = \"scenes/annotations/objects_train.json\"",
        &[],
        &["`train_objects` means nothing with no `train_regions`"],
    );
    // A table without the first sample of the shard.
    let text = fs::read_to_string(sandbox.path("scenes/regions/train.tsv")).unwrap();
    let rest: Vec<&str> = text.lines().skip(1).collect();
    sandbox.write("rest.tsv", rest.join("\n") + "\n");
    refused(
        "train_regions = \"rest.tsv\"",
        &[],
        &[
            "`pretraining` needs regions with features",
            "`000000`",
            "has none",
        ],
    );

    // The rest trains, and another table afterwards is another run.
    let text = first.replace(scenes, &format!("train = \"shards/*.tar\"\n{table}"));
    sandbox.write("small.toml", text);
    train(&sandbox, "trained").expect(0);
    sandbox.write("scenes/regions/train.tsv", rest.join("\n") + "\n");
    train(&sandbox, "trained")
        .expect(2)
        .says(&["`data.train_regions`"]);
}
