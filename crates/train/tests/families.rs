//! Families' own objectives, a few steps each: what is kept loads as a model of the family.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use serde_json::Value;
use sightline_core::progress::Silent;
use sightline_core::{Progress, Seed};
use sightline_manifest::load_train;
use sightline_models::{Model, ModelSpec, family};
use sightline_synth::splits::{Pair, Pairs};
use sightline_train::{Error, Outcome, Roots, TrainSpec, objective, train};

/// What every run below has in common.
fn manifest(name: &str, family: &str, model: &str, objective: &str) -> String {
    format!(
        r#"schema = 1
train = "{name}"
family = "{family}"
description = "Small."
seed = 17

[model]
tokenizer = "words"
{model}

[data]
scenes = {{ train = 60, val = 16, size = 32, max_objects = 2 }}

[[stage]]
objective = "{objective}"
steps = 40
batch = 8

[stage.optimiser]
lr = 3e-3

[evaluation]
every = 20
batches = 2

[checkpoint]
weights = "f16"
"#
    )
}

/// Trains what `text` says in `folder`; the losses of the lines of metrics.
fn run(folder: &Path, name: &str, text: &str) -> Result<Vec<f64>, Error> {
    let outcome = run_until(folder, name, text, &AtomicBool::new(false), &Silent)?;
    assert!(matches!(outcome, Outcome::Complete(_)));
    Ok(losses(&folder.join(name), 1))
}

/// The losses of a stage, counted from 1.
fn losses(run: &Path, stage: u64) -> Vec<f64> {
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let losses = lines.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["loss"].as_f64().filter(|_| line["stage"] == stage)
    });
    losses.collect()
}

fn run_until(
    folder: &Path,
    name: &str,
    text: &str,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Outcome, Error> {
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text).unwrap();
    let plan = load_train(&path, &objective::families(), &[]).unwrap();
    let device = Device::Cpu;
    let roots = Roots {
        data: folder.to_owned(),
        manifest: folder.to_owned(),
    };
    let out = folder.join(name);
    let spec = TrainSpec {
        plan: &plan,
        roots: &roots,
        out: &out,
        overwrite: false,
        device: &device,
        tool: [None, None],
        open: &|stage, home, support| objective::open(&plan.family, stage, home, &device, support),
    };
    train(&spec, progress, stop)
}

/// Checks that a run learned, and that the family loads what it kept.
fn learns(folder: &Path, name: &str, of: &str, text: &str) {
    let losses = run(folder, name, text).unwrap();
    falls(name, &losses);
    if of != "language" {
        loads(folder, name, of);
    }
}

fn falls(name: &str, losses: &[f64]) {
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
    assert!(last < first * 0.95, "{name}: {losses:?}");
}

/// Checks that the family loads what a run kept.
fn loads(folder: &Path, name: &str, of: &str) -> Box<dyn Model> {
    let spec = ModelSpec {
        checkpoint: Some(folder.join(name).join("best")),
        ..ModelSpec::without_checkpoint(Seed(0))
    };
    let load = family(of).unwrap().load;
    load(&spec, &Device::Cpu).unwrap_or_else(|error| panic!("{name}: {error}"))
}

const CLIP: &str = r#"preprocessor = { size = { shortest_edge = 32 }, crop_size = { height = 32, width = 32 } }
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
bos_token_id = 0
eos_token_id = 1
[model.config.vision_config]
hidden_size = 32
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
image_size = 32
patch_size = 16"#;

const SIMVLM: &str = r#"[model.config]
family = "simvlm"
variant = "encoder_decoder"
stem = "patch"
image_size = 32
d_model = 32
d_ff = 64
n_heads = 4
n_enc = 1
n_dec = 1
vocab_size = 300
max_text_len = 40
bos_id = 1
eos_id = 2
tie_embeddings = true"#;

const LANGUAGE: &str = r#"model_type = "gpt2"
vocab_size = 700
n_positions = 64
n_embd = 32
n_layer = 1
n_head = 2
activation_function = "gelu_new"
bos_token_id = 0
eos_token_id = 0"#;

#[test]
fn what_is_trained_loads_as_a_model_of_its_family() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    learns(
        folder,
        "clip",
        "clip",
        &manifest("clip", "clip", CLIP, "contrastive"),
    );
    learns(
        folder,
        "simvlm",
        "simvlm",
        &manifest("simvlm", "simvlm", SIMVLM, "prefix-lm"),
    );
    let language = format!("[model.config]\n{LANGUAGE}");
    learns(
        folder,
        "lm",
        "language",
        &manifest("lm", "language", &language, "next-token"),
    );

    let frozen = format!(
        r#"[model.config]
family = "frozen"
encoder = "nf_resnet"
mapper = "linear"
prefix_tokens = 2
image_size = 32
stem = 8
depths = [1, 1, 1, 1]
channels = [16, 16, 32, 32]
[model.config.lm_config]
{LANGUAGE}
[[model.take]]
from = "lm/best"
into = "lm.""#
    );
    let text = manifest("frozen", "frozen", &frozen, "captioning")
        .replace("tokenizer = \"words\"", "tokenizer = \"lm/best\"");
    // A language model of 40 steps reads no vectors yet: only what is kept is looked at.
    run(folder, "frozen", &text).unwrap();
    loads(folder, "frozen", "frozen");
    // The language model stays as it was.
    let tensors = |name: &str| {
        let path = folder.join(name).join("best/model.safetensors");
        candle_core::safetensors::load(path, &Device::Cpu).unwrap()
    };
    let (before, after) = (tensors("lm"), tensors("frozen"));
    for (name, tensor) in before {
        let kept = &after[&format!("lm.{name}")];
        let bits = |tensor: &candle_core::Tensor| {
            let flat = tensor
                .to_dtype(candle_core::DType::F32)
                .unwrap()
                .flatten_all()
                .unwrap();
            flat.to_vec1::<f32>().unwrap()
        };
        assert!(bits(&tensor) == bits(kept), "{name}");
    }
}

#[test]
fn a_vocabulary_that_does_not_cover_the_captions_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = manifest("simvlm", "simvlm", SIMVLM, "prefix-lm");
    run(folder, "simvlm", &text.replace("steps = 40", "steps = 1")).unwrap();
    // Captions of other words: the names of classes are lower case, and these are numbers.
    let other = folder.join("other");
    fs::create_dir(&other).unwrap();
    for (name, bytes) in sightline_text::subword::learn::learn(
        sightline_text::subword::learn::Form::SentencePiece,
        ["1 2 3"],
        300,
    ) {
        fs::write(other.join(name), bytes).unwrap();
    }
    let text = manifest("words", "simvlm", SIMVLM, "prefix-lm")
        .replace("tokenizer = \"words\"", "tokenizer = \"other\"");
    let error = run(folder, "words", &text).unwrap_err().to_string();
    assert!(error.contains("has nothing for"), "{error}");
    assert!(!folder.join("words/metrics.jsonl").exists());
}

const VISUALBERT: &str = r#"[model.config]
model_type = "visual_bert"
vocab_size = 400
hidden_size = 32
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 48
visual_embedding_dim = 245
[model.config.id2label]
0 = "yes"
1 = "no"
2 = "1"
3 = "2""#;

/// A second stage like the first, but for its objective.
fn then(text: &str, objective: &str) -> String {
    let stage = format!(
        "[[stage]]\nobjective = \"{objective}\"\nsteps = 40\nbatch = 8\n[stage.optimiser]\nlr = 3e-3\n\n[evaluation]"
    );
    text.replace("[evaluation]", &stage)
}

#[test]
fn visualbert_learns_words_of_regions_and_then_answers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = manifest("visualbert", "visualbert", VISUALBERT, "pretraining");
    let text = then(&first, "answers");
    run(folder, "visualbert", &text).unwrap();
    for stage in 1..=2 {
        falls("visualbert", &losses(&folder.join("visualbert"), stage));
    }
    // The folder is that of the last stage's model: no part of the other head is left.
    let model = loads(folder, "visualbert", "visualbert");
    assert_eq!(model.classify().unwrap().labels(), ["yes", "no", "1", "2"]);
    let path = folder.join("visualbert/best/model.safetensors");
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    assert!(tensors.keys().all(|name| !name.starts_with("cls.pred")));
    // Questions are in the vocabulary too.
    let words = fs::read_to_string(folder.join("visualbert/best/vocab.txt")).unwrap();
    assert!(words.lines().any(|word| word == "what"));
}

#[test]
fn visualgpt_learns_to_write_and_then_to_please_a_judge() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let language = format!("[model.config]\n{LANGUAGE}");
    run(
        folder,
        "lm",
        &manifest("lm", "language", &language, "next-token"),
    )
    .unwrap();
    let model = r#"[model.config]
family = "visualgpt"
d_model = 32
enc_ff = 32
feature_dim = 245
n_heads = 2
n_layer = 1
n_positions = 64
vocab_size = 700
bos_id = 1
eos_id = 0
pad_id = 2
padding = "features"
max_detections = 3
beam_size = 2
max_len = 8
[[model.take]]
from = "lm/best"
into = "decoder.""#;
    let text = manifest("visualgpt", "visualgpt", model, "cross-entropy")
        .replace("tokenizer = \"words\"", "tokenizer = \"lm/best\"")
        .replace(
            "max_objects = 2 }",
            "max_objects = 2 }\ncaption_column = \"description\"",
        );
    let text = then(&text, "self-critical").replacen(
        "steps = 40\nbatch = 8\n[stage.optimiser]",
        "steps = 2\nbatch = 4\n[stage.optimiser]",
        1,
    );
    run(folder, "visualgpt", &text).unwrap();
    falls("visualgpt", &losses(&folder.join("visualgpt"), 1));
    assert_eq!(losses(&folder.join("visualgpt"), 2).len(), 2);
    loads(folder, "visualgpt", "visualgpt");
}

/// A CLIP and a language model, of which others are made.
fn teachers(folder: &Path) {
    let clip = manifest("clip", "clip", CLIP, "contrastive");
    run(folder, "clip", &clip.replace("steps = 40", "steps = 2")).unwrap();
}

const VILD: &str = r#"[model.teacher]
family = "clip"
checkpoint = "clip/best"
[model.parts]
clip = "clip/best"
[model.config]
family = "vild"
clip = "clip"
ensemble = true
channels = 5
clip_dim = 16
head_convs = 1
head_channels = 4
fc_dim = 16
temperature = 20.0
max_proposals = 9"#;

fn vild(name: &str) -> String {
    let quoted = |pairs: &[Pair]| {
        let names: Vec<String> = pairs.iter().map(|pair| format!("\"{pair}\"")).collect();
        names.join(", ")
    };
    let pairs = Pairs::draw(Seed(17));
    let options = format!(
        "steps = 40\noptions = {{ base = [{}], novel = [{}] }}",
        quoted(pairs.seen()),
        quoted(pairs.held_out())
    );
    manifest(name, "vild", VILD, "distillation")
        .replace("tokenizer = \"words\"\n", "")
        .replace("steps = 40", &options)
}

/// Asks for an end after some samples.
struct StopAfter<'a> {
    left: Mutex<u64>,
    stop: &'a AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn start(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, samples: u64) {
        let mut left = self.left.lock().unwrap();
        *left = left.saturating_sub(samples);
        if *left == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}

/// Every file that does not say how long something took, by its path without links.
fn bytes(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            match path.is_dir() {
                true => todo.push(path),
                false if name == "speed.jsonl" || name == "record.json" => {}
                false => drop(found.insert(name, fs::read(path).unwrap())),
            }
        }
    }
    found
}

#[test]
fn vild_learns_of_a_teacher_and_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    teachers(folder);
    learns(folder, "whole", "vild", &vild("whole"));
    let record = fs::read_to_string(folder.join("whole/record.json")).unwrap();
    assert!(record.contains("\"teacher\""), "{record}");
    let mut whole = bytes(&folder.join("whole"));
    assert!(whole.contains_key("teacher/validation.f32"));
    assert!(whole.contains_key("best/clip/model.safetensors"));

    // In pieces, the first of which ends while the teacher looks.
    let mut pieces = 0;
    loop {
        let stop = AtomicBool::new(false);
        let progress = StopAfter {
            left: Mutex::new(8 * (5 + 3 * pieces)),
            stop: &stop,
        };
        let outcome = run_until(folder, "pieces", &vild("pieces"), &stop, &progress).unwrap();
        pieces += 1;
        assert!(pieces < 40);
        if matches!(outcome, Outcome::Complete(_)) {
            break;
        }
    }
    assert!(pieces > 3, "{pieces}");
    let mut other = bytes(&folder.join("pieces"));
    // The plan has the run's name.
    for of in [&mut whole, &mut other] {
        of.remove("run.json");
        of.remove("loss.html");
    }
    assert!(
        whole.keys().eq(other.keys()),
        "{:?} {:?}",
        whole.keys(),
        other.keys()
    );
    for (name, bytes) in &whole {
        assert!(bytes == &other[name], "{name}");
    }
}

#[test]
fn what_vild_cannot_learn_from_is_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    teachers(folder);
    let refused = |changes: &[(&str, &str)], parts: &[&str]| {
        let mut text = vild("refused");
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let error = run(folder, "refused", &text).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{error}");
        }
        assert!(!folder.join("refused/metrics.jsonl").exists());
        let _ = fs::remove_dir_all(folder.join("refused"));
    };
    refused(
        &[("channels = 5", "channels = 4")],
        &["`scenes` have 245 values, the model takes 196"],
    );
    refused(
        &[("clip_dim = 16", "clip_dim = 24")],
        &["`clip_dim` is 24", "16"],
    );
    let first = Pairs::draw(Seed(17)).seen()[0].to_string();
    refused(
        &[(&format!("\"{first}\", "), "")],
        &[
            &format!("class `{first}` of `scenes` is none of the 47"),
            "distillation",
        ],
    );
    refused(
        &[(
            "[model.teacher]\nfamily = \"clip\"\ncheckpoint = \"clip/best\"\n",
            "",
        )],
        &[
            "a teacher's vectors of regions",
            "`model.teacher` says nothing",
        ],
    );
    refused(
        &[("family = \"clip\"", "family = \"clop\"")],
        &["clip/best` cannot be the teacher", "clop"],
    );
}

#[test]
fn flamingo_learns_from_documents_of_several_images() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    teachers(folder);
    let language = format!("[model.config]\n{LANGUAGE}");
    let lm = manifest("lm", "language", &language, "next-token");
    run(folder, "lm", &lm).unwrap();
    let model = r#"[model.parts]
lm = "lm/best"
vision = "clip/best"
[model.config]
family = "flamingo"
image_size = 32
patch_size = 16
vision_width = 32
vision_layers = 1
vision_heads = 2
perceiver = { depth = 1, dim_head = 8, heads = 2, ff_mult = 2, num_latents = 4 }
gated = { dim_head = 8, heads = 2, ff_mult = 2 }"#;
    let text = manifest("flamingo", "flamingo", model, "interleaved")
        .replace("tokenizer = \"words\"\n", "")
        .replace("steps = 40", "steps = 40\noptions = { images = 2 }");
    learns(folder, "flamingo", "flamingo", &text);
    let line = fs::read_to_string(folder.join("flamingo/metrics.jsonl")).unwrap();
    assert!(line.contains("\"interleaved\"") && !line.contains("\"captioning\""));
    assert!(folder.join("flamingo/best/vision/config.json").is_file());

    let odd = text
        .replace("images = 2", "images = 3")
        .replace("train = \"flamingo\"", "train = \"odd\"");
    let error = run(folder, "odd", &odd).unwrap_err().to_string();
    assert_eq!(
        error,
        "stage 1 has batches of 8 samples, in parts of 8, and documents of 3 samples"
    );
}

/// The recipes of the tiny zoo that this crate's own data are for, each a few steps long: what one takes of another fits.
#[test]
fn recipes_on_regions_and_documents_run_and_learn() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/train");
    for name in [
        "lm-tiny",
        "clip-tiny",
        "visualbert-tiny",
        "visualgpt-tiny",
        "flamingo-tiny",
        "vild-tiny",
    ] {
        let text = fs::read_to_string(recipes.join(format!("{name}.toml"))).unwrap();
        let lines = text.lines().map(|line| {
            let key = line.split(" = ").next().unwrap_or_default();
            match key {
                "steps" => "steps = 20",
                "batch" => "batch = 20",
                "warmup_steps" => "warmup_steps = 1",
                "scenes" => {
                    "scenes = { train = 120, val = 24, size = 64, max_objects = 2, seed = 17 }"
                }
                _ => line,
            }
        });
        let text = lines
            .collect::<Vec<_>>()
            .join("\n")
            .replace("out/train/", "");
        run(folder, name, &text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let losses = losses(&folder.join(name), 1);
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        assert!(
            mean(&losses[15..]) < mean(&losses[..5]),
            "{name}: {losses:?}"
        );
        let record = fs::read_to_string(folder.join(name).join("record.json")).unwrap();
        let record: Value = serde_json::from_str(&record).unwrap();
        assert!(record["parameters"].as_u64().unwrap() < 1_000_000, "{name}");
        println!(
            "{name}: {} parameters, {:.3} to {:.3}",
            record["parameters"], losses[0], losses[19]
        );
    }
}
