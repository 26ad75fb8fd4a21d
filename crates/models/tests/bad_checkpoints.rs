//! What a person is told about a checkpoint that cannot be used.

#![expect(clippy::unwrap_used, reason = "a broken fixture fails the test")]

use std::collections::HashMap;
use std::error::Error as _;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use sightline_core::{Hint, Seed};
use sightline_models::{Error, Model, ModelSpec, TokenizerChoice, family};
use tempfile::TempDir;

/// A copy of the tiny checkpoint, to be damaged.
fn checkpoint() -> TempDir {
    let source = Path::new("../../tests/fixtures/models/clip/hf_quickgelu_eos2");
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
    ] {
        fs::copy(source.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn spec(folder: &Path) -> ModelSpec {
    ModelSpec {
        checkpoint: Some(folder.to_owned()),
        tokenizer: TokenizerChoice::WordHash,
        seed: Seed(0),
    }
}

fn load(spec: &ModelSpec) -> Result<Box<dyn Model>, Error> {
    (family("clip").unwrap().load)(spec, &Device::Cpu)
}

/// The chain of causes and the hints, as the command line prints them.
fn told(spec: &ModelSpec) -> String {
    let error = load(spec)
        .map(|_| ())
        .expect_err("the checkpoint is damaged");
    let mut lines = vec![format!("error: {error}")];
    let mut cause = error.source();
    while let Some(e) = cause {
        lines.push(format!("cause: {e}"));
        cause = e.source();
    }
    lines.extend(
        error
            .hints()
            .into_iter()
            .map(|hint| format!("hint: {hint}")),
    );
    let text = lines.join("\n");
    match &spec.checkpoint {
        Some(folder) => text.replace(&folder.display().to_string(), "CLIP"),
        None => text,
    }
}

fn edit_weights(folder: &Path, edit: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let path = folder.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    edit(&mut tensors);
    candle_core::safetensors::save(&tensors, &path).unwrap();
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn missing_and_misshapen_tensors_are_listed_together() {
    let folder = checkpoint();
    edit_weights(folder.path(), |tensors| {
        tensors.remove("vision_model.post_layernorm.bias");
        tensors.remove("text_model.encoder.layers.1.mlp.fc2.weight");
        let wrong = Tensor::zeros((24, 7), DType::F32, &Device::Cpu).unwrap();
        tensors.insert("text_projection.weight".to_owned(), wrong);
    });
    assert_eq!(
        told(&spec(folder.path())),
        "error: `CLIP/model.safetensors` does not hold the model: \
         `vision_model.post_layernorm.bias` [48] is missing; \
         `text_model.encoder.layers.1.mlp.fc2.weight` [32, 64] is missing; \
         `text_projection.weight` is [24, 7] instead of [24, 32]\n\
         hint: The weights belong to another model or size than `config.json` describes: take both \
         from the same checkpoint."
    );
}

#[test]
fn a_configuration_of_another_size_is_about_tensors_too() {
    let folder = checkpoint();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    fs::remove_file(folder.path().join("preprocessor_config.json")).unwrap();
    let text = told(&spec(folder.path()));
    // The complete list, a line each: of both towers only what does not depend on a size fits.
    let (first, list) = text.split_once('\n').unwrap();
    let count: usize = first
        .strip_prefix("error: `CLIP/model.safetensors` does not hold the model: ")
        .and_then(|rest| rest.strip_suffix(" problems")?.parse().ok())
        .unwrap_or_else(|| panic!("{first}"));
    assert!(
        list.starts_with("`vision_model.embeddings.class_embedding` is [48] instead of [768]\n"),
        "{text}"
    );
    // The last line is the hint.
    assert_eq!(list.lines().count(), count + 1, "{text}");
    assert!(count > 300, "{text}");
}

#[test]
fn cut_weights_say_how_much_is_missing() {
    let folder = checkpoint();
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(
        told(&spec(folder.path())),
        format!(
            "error: `CLIP/model.safetensors` is not a readable file of weights\n\
             cause: it ends after {} bytes, its header promises {}\n\
             hint: The file was probably not copied completely: fetch it again.",
            bytes.len() / 2,
            bytes.len()
        )
    );
}

#[test]
fn files_that_are_not_there_are_named() {
    let folder = checkpoint();
    let none = ModelSpec {
        checkpoint: None,
        ..spec(folder.path())
    };
    assert_eq!(
        told(&none),
        "error: the family `clip` needs a checkpoint\n\
         hint: Set `checkpoint` in the model's manifest to the folder that holds `config.json` and \
         the weights."
    );

    let published = ModelSpec {
        tokenizer: TokenizerChoice::Checkpoint,
        ..spec(folder.path())
    };
    assert_eq!(
        told(&published),
        "error: `CLIP` has neither `tokenizer.json` nor `vocab.json` with `merges.txt`\n\
         hint: Copy the tokenizer files of the published checkpoint into the folder, or choose the \
         tokenizer `word-hash` for a checkpoint that has no vocabulary, such as random weights."
    );
    assert!((family("clip").unwrap().files)(&published).is_err());

    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    assert!(told(&spec(folder.path())).starts_with("error: `CLIP` has no weights: none of"));
    fs::remove_file(folder.path().join("config.json")).unwrap();
    let text = told(&spec(folder.path()));
    assert!(
        text.starts_with("error: cannot read `CLIP/config.json`\ncause: "),
        "{text}"
    );
}

#[test]
fn image_sizes_must_agree() {
    let folder = checkpoint();
    edit_json(&folder.path().join("preprocessor_config.json"), |value| {
        value["crop_size"] = json!({ "height": 24, "width": 40 });
    });
    assert_eq!(
        told(&spec(folder.path())),
        "error: `CLIP/preprocessor_config.json` prepares images of 40 x 24 pixels, the vision tower \
         of `config.json` takes 32 x 32\n\
         hint: Take `config.json` and `preprocessor_config.json` from the same checkpoint."
    );
}

#[test]
fn a_tokenizer_of_another_checkpoint_is_refused() {
    let folder = checkpoint();
    let names = ["a", "b", "ab", "<|startoftext|>", "<|endoftext|>"];
    let mut vocabulary: serde_json::Map<String, Value> = (0..)
        .zip(names)
        .map(|(id, name)| (name.to_owned(), json!(id)))
        .collect();
    let write = |vocabulary: &serde_json::Map<String, Value>| {
        let text = serde_json::to_string(vocabulary).unwrap();
        fs::write(folder.path().join("vocab.json"), text).unwrap();
    };
    fs::write(folder.path().join("merges.txt"), "#version: 0.2\na b\n").unwrap();
    write(&vocabulary);
    let published = ModelSpec {
        tokenizer: TokenizerChoice::Checkpoint,
        ..spec(folder.path())
    };
    assert!(load(&published).is_ok());
    vocabulary["<|endoftext|>"] = json!(99);
    write(&vocabulary);
    assert_eq!(
        told(&published),
        "error: the tokenizer of `CLIP` has 100 ids, the token table 99 rows\n\
         hint: Take the tokenizer's files from the same checkpoint."
    );
}

#[test]
fn every_file_that_is_read_is_listed() {
    let folder = checkpoint();
    fs::write(folder.path().join("merges.txt"), "").unwrap();
    fs::write(folder.path().join("vocab.json"), "{}").unwrap();
    let published = ModelSpec {
        tokenizer: TokenizerChoice::Checkpoint,
        ..spec(folder.path())
    };
    let listed = |spec: &ModelSpec| -> Vec<String> {
        let files = (family("clip").unwrap().files)(spec).unwrap();
        let line = |file: &sightline_models::CheckpointFile| {
            let name = file.path.file_name().unwrap().to_string_lossy();
            format!("{:?} {name}", file.role)
        };
        files.iter().map(line).collect()
    };
    assert_eq!(
        listed(&published),
        [
            "Config config.json",
            "Weights model.safetensors",
            "Tokenizer vocab.json",
            "Tokenizer merges.txt",
            "Preprocessor preprocessor_config.json",
        ]
    );
    assert_eq!(listed(&spec(folder.path())).len(), 3);
}

#[test]
fn unusable_inputs_are_errors() {
    let folder = checkpoint();
    let model = load(&spec(folder.path())).unwrap();
    let embed = model.embed().unwrap();
    let pixels = Tensor::zeros((2, 3, 16, 32), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(
        embed.embed_images(&pixels).unwrap_err().to_string(),
        "the batch of images has the shape [2, 3, 16, 32], needed is [B, 3, 32, 32]"
    );

    let clip = sightline_models::families::clip::Clip::load(&spec(folder.path()), &Device::Cpu);
    let clip = clip.unwrap();
    let error = clip.text_features(&[vec![97, 99, 98]], None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "token id 99 is outside the vocabulary of 99"
    );
    let error = clip.text_features(&[vec![1; 17]], None).unwrap_err();
    assert_eq!(error.to_string(), "sequence of 17 tokens, the limit is 16");
}
