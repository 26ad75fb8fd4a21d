//! `VisualBERT`: layouts of its files.

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use sightline_models::families::visualbert::{Inputs, RegionInputs, VisualBert};
use sightline_models::{Capability, Model, Visual, family};
use sightline_nn::tower::BertInput;

use super::support::Checkpoint;

const FAMILY: &str = "visualbert";

/// Every tiny checkpoint and what it can do.
const CASES: [(&str, &[Capability]); 6] = [
    ("flickr", &[Capability::Ground]),
    ("model", &[]),
    ("nlvr2", &[Capability::Classify]),
    ("pretraining", &[Capability::Match]),
    ("vcr", &[Capability::Choose]),
    ("vqa", &[Capability::Classify]),
];

/// A copy with `model.safetensors`, whatever the fixture has.
fn copy(name: &str) -> Checkpoint {
    let folder = Checkpoint::copy(FAMILY, name);
    let torch = folder.file("pytorch_model.bin");
    if torch.is_file() {
        let tensors = candle_core::pickle::read_all(&torch).unwrap();
        let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
        let path = folder.file("model.safetensors");
        candle_core::safetensors::save(&tensors, path).unwrap();
        fs::remove_file(torch).unwrap();
    }
    folder
}

fn rename(tensors: &mut HashMap<String, Tensor>, new: impl Fn(&str) -> String) {
    let renamed = tensors.drain().map(|(name, tensor)| (new(&name), tensor));
    *tensors = renamed.collect();
}

fn load(folder: &Checkpoint) -> VisualBert {
    VisualBert::load(&folder.spec(), &Device::Cpu).unwrap()
}

fn regions(images: usize) -> Visual {
    let features = Tensor::arange(0f32, (images * 3 * 20) as f32, &Device::Cpu).unwrap();
    let features = (features * 0.7).unwrap().sin().unwrap();
    Visual::Regions {
        features: features.reshape((images, 3, 20)).unwrap(),
        present: Tensor::ones((images, 3), DType::F32, &Device::Cpu).unwrap(),
    }
}

/// The last hidden states of fixed words and regions.
fn states(model: &VisualBert) -> Vec<f32> {
    let ids = [vec![1, 20, 30, 2]];
    let images = regions(1);
    let (features, present) = images.regions().unwrap();
    let states = model.encode(Inputs {
        text: BertInput::new(&ids),
        present: None,
        regions: Some(RegionInputs {
            features,
            present: Some(present),
            types: None,
            alignment: None,
        }),
    });
    flat(&states.unwrap())
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn matches(model: &VisualBert) -> Vec<f32> {
    let matching = model.matching().unwrap();
    flat(&matching.match_texts(&regions(1), &["a cat"]).unwrap())
}

#[test]
fn the_head_is_told_by_the_configuration_or_by_the_tensors() {
    for (name, expected) in CASES {
        let folder = copy(name);
        let offers = || (family(FAMILY).unwrap().offers)(&folder.spec()).unwrap();
        let input = || (family(FAMILY).unwrap().input)(&folder.spec()).unwrap();
        assert_eq!(offers(), expected, "{name}");
        let (whole, takes) = (states(&load(&folder)), input());
        folder.edit_json("config.json", |config| {
            let config = config.as_object_mut().unwrap();
            for key in ["architectures", "id2label", "label2id", "model_type"] {
                config.remove(key);
            }
        });
        assert_eq!(offers(), expected, "{name}");
        assert_eq!(input(), takes, "{name}");
        assert_eq!(states(&load(&folder)), whole, "{name}");
    }
}

#[test]
fn tensors_of_the_encoder_are_found_with_and_without_their_prefix() {
    const PREFIX: &str = "visual_bert.";
    for (name, _) in CASES {
        let folder = copy(name);
        let expected = states(&load(&folder));
        let is_body = |name: &str| !name.starts_with("cls") && !name.starts_with("attention.");
        folder.edit_weights(|tensors| {
            rename(tensors, |name| match name.strip_prefix(PREFIX) {
                Some(bare) => bare.to_owned(),
                None if is_body(name) => format!("{PREFIX}{name}"),
                None => name.to_owned(),
            });
        });
        assert_eq!(states(&load(&folder)), expected, "{name}");
    }
}

#[test]
fn the_authors_own_layout_is_read() {
    let older = |name: &str| {
        let name = name
            .replace("visual_projection", "projection")
            .replace("visual_position_embeddings", "position_embeddings_visual")
            .replace(
                "visual_token_type_embeddings",
                "token_type_embeddings_visual",
            );
        match name.strip_prefix("visual_bert.") {
            Some(body) => format!("bert.bert.{body}"),
            None if name == "cls.weight" || name == "cls.bias" => {
                format!("bert.classifier.{}", &name[4..])
            }
            None => format!("bert.{name}"),
        }
    };
    let folder = copy("pretraining");
    let expected = (states(&load(&folder)), matches(&load(&folder)));
    folder.edit_weights(|tensors| {
        // The old program had no bias in the decoder and a detector beside the encoder.
        tensors.remove("cls.predictions.decoder.bias").unwrap();
        let detector = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
        tensors.insert("detector.weight".to_owned(), detector);
        rename(tensors, |name| match name {
            "detector.weight" => name.to_owned(),
            _ => older(name),
        });
    });
    folder.edit_json("config.json", |config| {
        config["architectures"] = Value::Null;
    });
    let model = load(&folder);
    assert_eq!((states(&model), matches(&model)), expected);

    let folder = copy("vqa");
    let expected = states(&load(&folder));
    folder.edit_weights(|tensors| rename(tensors, older));
    let model = load(&folder);
    assert_eq!(states(&model), expected);
    assert_eq!(model.classify().unwrap().labels().len(), 31);
}

#[test]
fn what_is_tied_may_be_missing_or_there_twice() {
    let predictions = |folder: &Checkpoint| {
        use sightline_models::families::visualbert::Head;
        let model = load(folder);
        let Head::Pretraining(head) = model.head() else {
            panic!("another head");
        };
        let sequence = Tensor::ones((1, 2, 32), DType::F32, &Device::Cpu).unwrap();
        flat(&head.predictions(&sequence).unwrap())
    };
    let expected = predictions(&copy("pretraining"));
    let bias = "cls.predictions.bias";
    let (weight, same_bias) = (
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
    );
    for missing in [
        &[weight][..],
        &[weight, same_bias],
        &[weight, bias],
        &[same_bias],
        &[bias],
    ] {
        let folder = copy("pretraining");
        folder.edit_weights(|tensors| {
            for name in missing {
                tensors.remove(*name).unwrap();
            }
        });
        assert_eq!(predictions(&folder), expected, "{missing:?}");
    }

    let folder = copy("pretraining");
    folder.edit_weights(|tensors| {
        let zeros = tensors[weight].zeros_like().unwrap();
        tensors.insert(weight.to_owned(), zeros);
    });
    assert_eq!(predictions(&folder), expected, "tied: the word table");
    folder.edit_json("config.json", |config| {
        config["tie_word_embeddings"] = json!(false);
    });
    assert_ne!(predictions(&folder), expected, "not tied: its own");
    folder.edit_weights(|tensors| {
        tensors.remove(weight).unwrap();
        tensors.remove(bias).unwrap();
        tensors.remove(same_bias).unwrap();
    });
    assert!(folder.told(&folder.spec()).starts_with(
        "error: `FOLDER/model.safetensors` does not hold the model: \
         `cls.predictions.decoder.weight` [140, 32] is missing; `cls.predictions.bias` [140] is missing\n"
    ));
}

#[test]
fn missing_and_misshapen_tensors_are_listed_together() {
    let folder = copy("vqa");
    folder.edit_weights(|tensors| {
        tensors.remove("visual_bert.embeddings.visual_projection.bias");
        tensors.remove("visual_bert.encoder.layer.1.attention.output.LayerNorm.weight");
        // Nothing that the answer depends on.
        tensors.remove("visual_bert.pooler.dense.bias");
        let wrong = Tensor::zeros((7, 32), DType::F32, &Device::Cpu).unwrap();
        tensors.insert("cls.weight".to_owned(), wrong);
    });
    assert_eq!(
        folder.told(&folder.spec()),
        "error: `FOLDER/model.safetensors` does not hold the model: \
         `visual_bert.embeddings.visual_projection.bias` [32] is missing; \
         `visual_bert.encoder.layer.1.attention.output.LayerNorm.weight` [32] is missing; \
         `cls.weight` is [7, 32] instead of [31, 32]\n\
         hint: The weights belong to another model or size than `config.json` describes: take both \
         from the same checkpoint."
    );
}

#[test]
fn a_configuration_that_no_program_can_run_is_refused() {
    let folder = copy("vqa");
    folder.edit_json("config.json", |config| {
        config["bypass_transformer"] = json!(true);
    });
    assert_eq!(
        folder.told(&folder.spec()),
        "error: `FOLDER/config.json`: `bypass_transformer` is true, expected false: no program can run \
         the other kind, the reference fails on it too\n\
         hint: The checkpoint is of another family, or its configuration was edited: fetch it again."
    );
}

#[test]
fn the_tokenizer_has_to_be_brought() {
    let folder = copy("vqa");
    assert_eq!(folder.listed(&folder.spec()).len(), 2);
    assert!(
        folder
            .told(&folder.published())
            .starts_with("error: `FOLDER` has neither `tokenizer.json` nor `vocab.txt`\nhint: ")
    );
    let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"];
    let write = |len: usize| {
        let more = (pieces.len()..len).map(|i| format!("w{i}"));
        let all: Vec<String> = pieces.map(str::to_owned).into_iter().chain(more).collect();
        fs::write(folder.file("vocab.txt"), all.join("\n")).unwrap();
    };
    write(140);
    assert!(folder.load(&folder.published()).is_ok());
    assert_eq!(
        folder.listed(&folder.published()),
        [
            "Config config.json",
            "Weights model.safetensors",
            "Tokenizer vocab.txt"
        ]
    );
    write(141);
    assert_eq!(
        folder.told(&folder.published()),
        "error: the tokenizer of `FOLDER` has 141 ids, the token table 140 rows\n\
         hint: Take the tokenizer's files from the same checkpoint."
    );
}
