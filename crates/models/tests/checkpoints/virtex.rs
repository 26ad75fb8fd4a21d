//! VirTex checkpoints: what can be read, what cannot, and what captions come of them.

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use sightline_core::Seed;
use sightline_models::families::virtex::{Parts, VirTex, export_backbone};
use sightline_models::{Capability, Decoding, Generate, Prompt, Segment, Strategy, Visual, family};

use super::support::Checkpoint;

/// A forward captioner with norms before its layers.
fn captioner() -> Checkpoint {
    Checkpoint::copy("virtex", "r18_captioning_prenorm")
}

fn pixels(count: usize) -> Visual {
    let shape = (count, 3, 64, 64);
    let len = count * 3 * 64 * 64;
    let angles = Tensor::arange(0f32, len as f32, &Device::Cpu).unwrap();
    let wave = (angles * 0.37).unwrap().sin().unwrap();
    Visual::Pixels(wave.reshape(shape).unwrap())
}

#[test]
fn missing_and_misshapen_tensors_are_listed_together() {
    let checkpoint = captioner();
    checkpoint.edit_weights(|tensors| {
        tensors.remove("visual.cnn.layer2.0.bn1.running_var");
        tensors.remove("textual.transformer.layers.1.multihead_attn.in_proj_bias");
        let wrong = Tensor::zeros((19, 48), DType::F32, &Device::Cpu).unwrap();
        tensors.insert("textual.embedding.positions.weight".to_owned(), wrong);
    });
    assert_eq!(
        checkpoint.told(&checkpoint.spec()),
        "error: `FOLDER/model.safetensors` does not hold the model: \
         `visual.cnn.layer2.0.bn1.running_var` [8] is missing; \
         `textual.embedding.positions.weight` is [19, 48] instead of [20, 48]; \
         `textual.transformer.layers.1.multihead_attn.in_proj_bias` [144] is missing\n\
         hint: The weights belong to another model or size than `config.json` describes: take both \
         from the same checkpoint."
    );
}

#[test]
fn the_output_may_be_stored_beside_the_words_or_not() {
    let with = captioner();
    let without = captioner();
    without.edit_weights(|tensors| {
        tensors.remove("textual.output.weight").unwrap();
    });
    let ids = |checkpoint: &Checkpoint| {
        let model = checkpoint.load(&checkpoint.spec()).unwrap();
        let generate = model.generate().unwrap();
        let segments = [Segment::Image(0)];
        let prompt = Prompt {
            segments: &segments,
            seed: Seed(1),
        };
        let found = generate.generate(&pixels(1), &[prompt], &generate.decoding());
        found.unwrap().remove(0).tokens
    };
    assert_eq!(ids(&with), ids(&without));
}

#[test]
fn files_that_are_not_there_are_named() {
    let checkpoint = captioner();
    let published = checkpoint.published();
    assert_eq!(
        checkpoint.told(&published),
        "error: `FOLDER` has not exactly one SentencePiece file (`*.model`)\n\
         hint: Copy the published vocabulary, `coco_10k.model` for VirTex, into the folder."
    );
    fs::remove_file(checkpoint.file("config.json")).unwrap();
    assert_eq!(
        checkpoint.told(&checkpoint.spec()),
        "error: `FOLDER` has neither `config.json` nor exactly one YAML file whose name does not \
         begin with `_`\n\
         hint: Put the configuration that belongs to the weights into the folder, beside them."
    );
}

#[test]
fn a_vocabulary_of_another_checkpoint_is_refused() {
    let checkpoint = captioner();
    let vocabulary = "../../tests/fixtures/models/tokenizers/vocab/coco_10k.model";
    fs::copy(vocabulary, checkpoint.file("coco_10k.model")).unwrap();
    assert_eq!(
        checkpoint.told(&checkpoint.published()),
        "error: the tokenizer of `FOLDER` has 10000 ids, the token table 150 rows\n\
         hint: Take the tokenizer's files from the same checkpoint."
    );
    assert_eq!(
        checkpoint.listed(&checkpoint.published()),
        [
            "Config config.json",
            "Weights model.safetensors",
            "Tokenizer coco_10k.model"
        ]
    );
    assert_eq!(checkpoint.listed(&checkpoint.spec()).len(), 2);
}

#[test]
fn a_masked_language_model_offers_no_captions() {
    let checkpoint = Checkpoint::copy("virtex", "r50w2x_masked_lm_trainckpt");
    let spec = checkpoint.spec();
    let offers = family("virtex").unwrap().offers;
    assert_eq!(offers(&spec).unwrap(), [Capability::Features]);
    assert!(checkpoint.load(&spec).unwrap().generate().is_none());
    let captioner = captioner();
    assert_eq!(
        offers(&captioner.spec()).unwrap(),
        [
            Capability::Features,
            Capability::Generate,
            Capability::Score
        ]
    );
}

#[test]
fn unusable_requests_are_errors() {
    let checkpoint = captioner();
    let model = VirTex::load(&checkpoint.spec(), Parts::Captions, &Device::Cpu).unwrap();
    let told = |segments: &[Segment<'_>], strategy, max_tokens| {
        let decoding = Decoding {
            strategy,
            max_tokens,
        };
        let seed = Seed(0);
        let prompts = [Prompt { segments, seed }];
        let found = Generate::generate(&model, &pixels(1), &prompts, &decoding);
        found.unwrap_err().to_string()
    };
    let image = [Segment::Image(0)];
    let (greedy, beam) = (Strategy::Greedy, |width| Strategy::Beam { width });
    let form = "a prompt of this model is one of the images and no text";
    assert_eq!(told(&[], greedy, None), form);
    assert_eq!(told(&[Segment::Image(1)], greedy, None), form);
    assert_eq!(told(&[image[0], Segment::Text("a")], greedy, None), form);
    let limit = "`max_tokens` is 21, expected 1 to 20";
    assert_eq!(told(&image, greedy, Some(21)), limit);
    let strategy = "expected a width of 1 to 1024, or a nucleus above 0 and at most 1";
    for wrong in [
        beam(0),
        Strategy::Nucleus { p: 0.0 },
        Strategy::Nucleus { p: f32::NAN },
    ] {
        assert!(told(&image, wrong, None).ends_with(strategy));
    }
    let features = Tensor::zeros((1, 2, 4), DType::F32, &Device::Cpu).unwrap();
    let present = Tensor::ones((1, 2), DType::F32, &Device::Cpu).unwrap();
    let regions = Visual::Regions { features, present };
    let error = Generate::generate(&model, &regions, &[], &model.decoding()).unwrap_err();
    assert_eq!(error.to_string(), "the model takes pixels, not regions");
}

#[test]
fn every_strategy_keeps_to_its_limit_and_random_ones_to_their_seed() {
    let checkpoint = captioner();
    let model = checkpoint.load(&checkpoint.spec()).unwrap();
    let generate = model.generate().unwrap();
    let write = |strategy, seed| {
        let segments = [Segment::Image(0)];
        let prompts = [Prompt {
            segments: &segments,
            seed: Seed(seed),
        }];
        let decoding = Decoding {
            strategy,
            max_tokens: Some(7),
        };
        let mut found = generate.generate(&pixels(1), &prompts, &decoding).unwrap();
        found.remove(0)
    };
    let nucleus = Strategy::Nucleus { p: 0.9 };
    for strategy in [Strategy::Greedy, Strategy::Beam { width: 3 }, nucleus] {
        let text = write(strategy, 1);
        assert!((1..=7).contains(&text.tokens.len()), "{text:?}");
        let words = text.tokens.iter().filter(|&&id| id != 2);
        let words: Vec<String> = words.map(u32::to_string).collect();
        assert_eq!(text.text, words.join(" "));
        assert_eq!(text, write(strategy, 1));
    }
    let drawn: Vec<Vec<u32>> = (0..9).map(|seed| write(nucleus, seed).tokens).collect();
    assert!(drawn.iter().any(|ids| *ids != drawn[0]));
    let wide = write(Strategy::Beam { width: 3 }, 1).score;
    assert!(wide >= write(Strategy::Greedy, 1).score);
}

#[test]
fn captions_are_decoded_with_the_vocabulary() {
    let checkpoint = captioner();
    let vocabulary = "../../tests/fixtures/models/tokenizers/vocab/coco_10k.model";
    fs::copy(vocabulary, checkpoint.file("coco_10k.model")).unwrap();
    checkpoint.edit_json("config.json", |config| config["vocab_size"] = json!(10_000));
    checkpoint.edit_weights(|tensors| {
        let first = tensors["textual.embedding.words.weight"].clone();
        let words = first.repeat((67, 1)).unwrap().narrow(0, 0, 10_000).unwrap();
        let bias = Tensor::zeros(10_000, DType::F32, &Device::Cpu).unwrap();
        tensors.insert("textual.embedding.words.weight".to_owned(), words);
        tensors.insert("textual.output.bias".to_owned(), bias);
        tensors.remove("textual.output.weight");
    });
    let model = checkpoint.load(&checkpoint.published()).unwrap();
    let generate = model.generate().unwrap();
    let segments = [Segment::Image(0)];
    let prompt = Prompt {
        segments: &segments,
        seed: Seed(1),
    };
    let found = generate.generate(&pixels(1), &[prompt], &generate.decoding());
    let text = found.unwrap().remove(0).text;
    assert!(!text.is_empty() && !text.contains("[EOS]"), "{text}");
}

#[test]
fn the_backbone_is_exported_under_the_names_of_torchvision() {
    let checkpoint = captioner();
    let to = checkpoint.file("backbone.out");
    export_backbone(checkpoint.path(), &to).unwrap();
    let exported: HashMap<String, Tensor> =
        candle_core::safetensors::load(&to, &Device::Cpu).unwrap();
    let conv1 = &exported["conv1.weight"];
    assert_eq!(conv1.dims(), [4, 3, 7, 7]);
    assert!(exported.contains_key("layer4.1.bn2.running_var"));
    assert!(exported.contains_key("layer2.0.downsample.0.weight"));
    assert!(
        !exported
            .keys()
            .any(|name| name.contains("textual") || name.contains("tracked"))
    );
}
