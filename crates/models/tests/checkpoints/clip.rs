//! CLIP.

use std::fs;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use sightline_models::{ModelSpec, family};

use super::support::Checkpoint;

#[test]
fn missing_and_misshapen_tensors_are_listed_together() {
    let folder = Checkpoint::copy("clip", "hf_quickgelu_eos2");
    folder.edit_weights(|tensors| {
        tensors.remove("vision_model.post_layernorm.bias");
        tensors.remove("text_model.encoder.layers.1.mlp.fc2.weight");
        let wrong = Tensor::zeros((24, 7), DType::F32, &Device::Cpu).unwrap();
        tensors.insert("text_projection.weight".to_owned(), wrong);
    });
    assert_eq!(
        folder.told(&folder.spec()),
        "error: `FOLDER/model.safetensors` does not hold the model: \
         `vision_model.post_layernorm.bias` [48] is missing; \
         `text_model.encoder.layers.1.mlp.fc2.weight` [32, 64] is missing; \
         `text_projection.weight` is [24, 7] instead of [24, 32]\n\
         hint: The weights belong to another model or size than `config.json` describes: take both \
         from the same checkpoint."
    );
}

#[test]
fn a_configuration_of_another_size_is_about_tensors_too() {
    let folder = Checkpoint::copy("clip", "hf_quickgelu_eos2");
    fs::write(folder.file("config.json"), "{}").unwrap();
    fs::remove_file(folder.file("preprocessor_config.json")).unwrap();
    let text = folder.told(&folder.spec());
    // The complete list, a line each: of both towers only what does not depend on a size fits.
    let (first, list) = text.split_once('\n').unwrap();
    let count: usize = first
        .strip_prefix("error: `FOLDER/model.safetensors` does not hold the model: ")
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
    let folder = Checkpoint::copy("clip", "hf_quickgelu_eos2");
    let path = folder.file("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(
        folder.told(&folder.spec()),
        format!(
            "error: `FOLDER/model.safetensors` is not a readable file of weights\n\
             cause: it ends after {} bytes, its header promises {}\n\
             hint: The file was probably not copied completely: fetch it again.",
            bytes.len() / 2,
            bytes.len()
        )
    );
}

#[test]
fn files_that_are_not_there_are_named() {
    let folder = Checkpoint::copy("clip", "hf_quickgelu_eos2");
    let none = ModelSpec {
        checkpoint: None,
        ..folder.spec()
    };
    assert_eq!(
        folder.told(&none),
        "error: the family `clip` needs a checkpoint\n\
         hint: Set `checkpoint` in the model's manifest to the folder that holds `config.json` and \
         the weights."
    );

    let published = folder.published();
    assert_eq!(
        folder.told(&published),
        "error: `FOLDER` has neither `tokenizer.json` nor `vocab.json` with `merges.txt`\n\
         hint: Copy the tokenizer files of the published checkpoint into the folder, or choose the \
         tokenizer `word-hash` for a checkpoint that has no vocabulary, such as random weights."
    );
    assert!((family("clip").unwrap().files)(&published).is_err());

    fs::remove_file(folder.file("config.json")).unwrap();
    let text = folder.told(&folder.spec());
    assert!(
        text.starts_with("error: cannot read `FOLDER/config.json`\ncause: "),
        "{text}"
    );
    fs::remove_file(folder.file("model.safetensors")).unwrap();
    let text = folder.told(&folder.spec());
    assert!(
        text.starts_with("error: `FOLDER` has no weights: none of"),
        "{text}"
    );
}

#[test]
fn image_sizes_must_agree() {
    let folder = Checkpoint::copy("clip", "hf_quickgelu_eos2");
    folder.edit_json("preprocessor_config.json", |value| {
        value["crop_size"] = json!({ "height": 24, "width": 40 });
    });
    assert_eq!(
        folder.told(&folder.spec()),
        "error: `FOLDER/preprocessor_config.json` prepares images of 40 x 24 pixels, the vision tower \
         takes 32 x 32\n\
         hint: Take the configuration of the model and of its image preparation from the same checkpoint."
    );
}

#[test]
fn a_tokenizer_of_another_checkpoint_is_refused() {
    let folder = Checkpoint::copy("clip", "hf_quickgelu_eos2");
    let names = ["a", "b", "ab", "<|startoftext|>", "<|endoftext|>"];
    let mut vocabulary: serde_json::Map<String, Value> = (0..)
        .zip(names)
        .map(|(id, name)| (name.to_owned(), json!(id)))
        .collect();
    let write = |vocabulary: &serde_json::Map<String, Value>| {
        let text = serde_json::to_string(vocabulary).unwrap();
        fs::write(folder.file("vocab.json"), text).unwrap();
    };
    fs::write(folder.file("merges.txt"), "#version: 0.2\na b\n").unwrap();
    write(&vocabulary);
    let published = folder.published();
    assert!(folder.load(&published).is_ok());
    vocabulary["<|endoftext|>"] = json!(99);
    write(&vocabulary);
    assert_eq!(
        folder.told(&published),
        "error: the tokenizer of `FOLDER` has 100 ids, the token table 99 rows\n\
         hint: Take the tokenizer's files from the same checkpoint."
    );
}

#[test]
fn every_file_that_is_read_is_listed() {
    let folder = Checkpoint::copy("clip", "hf_quickgelu_eos2");
    fs::write(folder.file("merges.txt"), "").unwrap();
    fs::write(folder.file("vocab.json"), "{}").unwrap();
    let published = folder.published();
    assert_eq!(
        folder.listed(&published),
        [
            "Config config.json",
            "Weights model.safetensors",
            "Tokenizer vocab.json",
            "Tokenizer merges.txt",
            "Preprocessor preprocessor_config.json",
        ]
    );
    assert_eq!(folder.listed(&folder.spec()).len(), 3);
}

#[test]
fn unusable_inputs_are_errors() {
    let folder = Checkpoint::copy("clip", "hf_quickgelu_eos2");
    let model = folder.load(&folder.spec()).unwrap();
    let embed = model.embed().unwrap();
    let pixels = Tensor::zeros((2, 3, 16, 32), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(
        embed.embed_images(&pixels).unwrap_err().to_string(),
        "the batch of images has the shape [2, 3, 16, 32], needed is [B, 3, 32, 32]"
    );

    let clip = sightline_models::families::clip::Clip::load(&folder.spec(), &Device::Cpu);
    let clip = clip.unwrap();
    let error = clip.text_features(&[vec![97, 99, 98]], None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "token id 99 is outside the vocabulary of 99"
    );
    let error = clip.text_features(&[vec![1; 17]], None).unwrap_err();
    assert_eq!(error.to_string(), "sequence of 17 tokens, the limit is 16");
}
