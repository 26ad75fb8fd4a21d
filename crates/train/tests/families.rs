//! Families' own objectives, a few steps each: what is kept loads as a model of the family.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use serde_json::Value;
use sightline_core::Seed;
use sightline_core::progress::Silent;
use sightline_manifest::load_train;
use sightline_models::{ModelSpec, family};
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
        open: &|stage, home, reward| objective::open(&plan.family, stage, home, &device, reward),
    };
    let outcome = train(&spec, &Silent, &AtomicBool::new(false))?;
    assert!(matches!(outcome, Outcome::Complete(_)));
    let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let losses = lines.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["loss"].as_f64()
    });
    Ok(losses.collect())
}

/// Checks that a run learned, and that the family loads what it kept.
fn learns(folder: &Path, name: &str, of: &str, text: &str) {
    let losses = run(folder, name, text).unwrap();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
    assert!(last < first * 0.95, "{name}: {losses:?}");
    if of != "language" {
        loads(folder, name, of);
    }
}

/// Checks that the family loads what a run kept.
fn loads(folder: &Path, name: &str, of: &str) {
    let spec = ModelSpec {
        checkpoint: Some(folder.join(name).join("best")),
        ..ModelSpec::without_checkpoint(Seed(0))
    };
    let load = family(of).unwrap().load;
    load(&spec, &Device::Cpu).unwrap_or_else(|error| panic!("{name}: {error}"));
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
