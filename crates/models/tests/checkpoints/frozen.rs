//! Frozen checkpoints: what is read, what is refused, and what a prompt may be.

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use sightline_core::{Hint, Seed};
use sightline_models::families::frozen::{Frozen, Sight};
use sightline_models::{
    Decoding, Error, Generate, Generated, Model, Prompt, Score, Segment, Strategy, Visual,
    VisualSpec,
};

use super::support::{Checkpoint, distance, pixels};

fn grid() -> Checkpoint {
    Checkpoint::copy("frozen", "grid-linear")
}

fn features() -> Checkpoint {
    Checkpoint::copy("frozen", "clipcap-mlp")
}

fn load(checkpoint: &Checkpoint) -> Frozen {
    Frozen::load(&checkpoint.spec(), &Device::Cpu).unwrap()
}

fn write(
    model: &Frozen,
    images: &Visual,
    segments: &[Segment<'_>],
    max_tokens: Option<usize>,
) -> Result<Generated, Error> {
    let prompt = Prompt {
        segments,
        seed: Seed(1),
    };
    let decoding = Decoding {
        strategy: Strategy::Greedy,
        max_tokens,
    };
    let written = Generate::generate(model, images, &[prompt], &decoding)?;
    Ok(written.into_iter().next().unwrap())
}

fn seen() -> Visual {
    Visual::Pixels(pixels(3, 64))
}

#[test]
fn images_and_texts_make_a_prompt_in_any_order() {
    let model = load(&grid());
    let shots = [
        Segment::Image(1),
        Segment::Text("this is red"),
        Segment::Image(0),
        Segment::Text("this is"),
    ];
    let one = write(&model, &seen(), &shots, Some(4)).unwrap();
    let mut other = shots;
    other[0] = Segment::Image(2);
    let two = write(&model, &seen(), &other, Some(4)).unwrap();
    assert!((one.score - two.score).abs() > 1e-6);
    assert!(write(&model, &seen(), &[Segment::Text("only words")], Some(4)).is_ok());
}

#[test]
fn a_prompt_that_cannot_be_is_refused_before_work() {
    let model = load(&grid());
    let long = "word ".repeat(60);
    let long = [Segment::Image(0), Segment::Text(&long)];
    let error = write(&model, &seen(), &long, Some(8)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the prompt with what is to be written has 72 tokens, the model's context is 64"
    );
    assert_eq!(error.hints().len(), 1);
    for wrong in [&[][..], &[Segment::Image(3)], &[Segment::Text("")]] {
        let error = write(&model, &seen(), wrong, Some(4)).unwrap_err();
        assert!(matches!(error, Error::Prompt { .. }), "{error}");
    }
    let small = Visual::Pixels(pixels(1, 32));
    let error = write(&model, &small, &[Segment::Image(0)], Some(4)).unwrap_err();
    assert!(error.to_string().contains("[B, 3, 64, 64]"), "{error}");
}

#[test]
fn features_of_another_program_come_as_a_region() {
    let model = load(&features());
    let spec = VisualSpec::Regions {
        width: 24,
        regions: 1,
    };
    assert_eq!(model.input(), &spec);
    let visual = |width: usize, present: f32| Visual::Regions {
        features: pixels(1, 8)
            .flatten_all()
            .unwrap()
            .narrow(0, 0, 2 * width)
            .unwrap()
            .reshape((1, 2, width))
            .unwrap(),
        present: Tensor::full(present, (1, 2), &Device::Cpu).unwrap(),
    };
    let score = |visual: &Visual| {
        Score::score(&model, visual, &["a red dog"])
            .unwrap()
            .concat()
    };
    let whole = score(&visual(24, 1.0));
    let none = Visual::Regions {
        features: Tensor::zeros((1, 0, 24), DType::F32, &Device::Cpu).unwrap(),
        present: Tensor::zeros((1, 0), DType::F32, &Device::Cpu).unwrap(),
    };
    // An image without a region is seen as zeros.
    assert_eq!(score(&none), score(&visual(24, 0.0)));
    assert_ne!(score(&none), whole);
    let error = write(&model, &visual(20, 1.0), &[Segment::Image(0)], None).unwrap_err();
    let told = "the regions' features have 20 values, the model takes 24";
    assert_eq!((error.to_string().as_str(), error.hints().len()), (told, 1));
    let error = write(&model, &seen(), &[Segment::Image(0)], None).unwrap_err();
    assert_eq!(error.to_string(), "the model takes regions, not pixels");
}

#[test]
fn a_blind_model_writes_the_same_about_every_image() {
    let checkpoint = grid();
    let score = |model: &Frozen, image| {
        write(model, &seen(), &[Segment::Image(image)], Some(4))
            .unwrap()
            .score
    };
    let model = load(&checkpoint);
    assert!((score(&model, 0) - score(&model, 1)).abs() > 1e-6);
    checkpoint.edit_json("config.json", |config| config["sight"] = json!("blind"));
    let blind = load(&checkpoint);
    assert!((score(&blind, 0) - score(&blind, 1)).abs() < 1e-6);
}

#[test]
fn a_checkpoint_of_another_form_is_told_with_both_sides() {
    let checkpoint = features();
    checkpoint.edit_json("config.json", |config| config["feature_dim"] = json!(512));
    let told = checkpoint.told(&checkpoint.spec());
    let wanted = "`clip_project.model.0.weight` is [64, 24] instead of [64, 512]";
    assert!(told.contains(wanted), "{told}");
    let checkpoint = grid();
    checkpoint.edit_json("config.json", |config| {
        config["lm_config"]["hidden_size"] = json!(64);
    });
    let told = checkpoint.told(&checkpoint.spec());
    assert!(told.contains("instead of [64, 128]"), "{told}");
    let checkpoint = grid();
    checkpoint.edit_json("config.json", |config| {
        config["lm_config"]["eos_token_id"] = json!(64);
    });
    let told = checkpoint.told(&checkpoint.spec());
    let wanted = "`lm_config.eos_token_id` is 64, expected a token below 64";
    assert!(told.contains(wanted), "{told}");
    let told = grid().told(&grid().published());
    assert!(told.contains("neither `tokenizer.json` nor"), "{told}");
}

#[test]
fn language_model_and_image_encoder_may_have_folders_of_their_own() {
    let checkpoint = Checkpoint::copy("frozen", "limber");
    let whole = load(&checkpoint);
    let path = checkpoint.file("model.safetensors");
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    fs::remove_file(path).unwrap();
    // LiMBeR publishes its map alone; beside it lie a CLIP, both towers of it, and a language model.
    let below = |prefix: &str, place: &str| -> HashMap<String, Tensor> {
        let named = tensors.iter();
        let named = named.filter_map(|(name, tensor)| {
            let rest = name.strip_prefix(prefix)?;
            Some((format!("{place}{rest}"), tensor.clone()))
        });
        named.collect()
    };
    let save = |tensors: &HashMap<String, Tensor>, file: &str| {
        candle_core::safetensors::save(tensors, checkpoint.file(file)).unwrap();
    };
    save(&below("mapper.", ""), "proj.safetensors");
    for folder in ["vision", "lm"] {
        fs::create_dir(checkpoint.file(folder)).unwrap();
    }
    save(&below("lm.", ""), "lm/model.safetensors");
    let mut towers = below("encoder.", "visual.");
    let other = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    towers.insert("visual.attnpool.k_proj.bias".to_owned(), other.clone());
    towers.insert("ln_final.weight".to_owned(), other);
    save(&towers, "vision/model.safetensors");
    checkpoint.edit_json("config.json", |config| {
        let language = config.as_object_mut().unwrap().remove("lm_config");
        let language = language.unwrap().to_string();
        fs::write(checkpoint.file("lm/config.json"), language).unwrap();
    });
    let parts = load(&checkpoint);
    let images = pixels(2, 64);
    let see = |model: &Frozen| model.visual_prefix(&images, Sight::Seen).unwrap();
    assert!(distance(&see(&whole), &see(&parts)) < 1e-7);
    let written = |model: &Frozen| {
        let visual = Visual::Pixels(images.clone());
        let text = write(model, &visual, &[Segment::Image(1)], Some(6)).unwrap();
        (text.tokens, text.score.to_bits())
    };
    assert_eq!(written(&whole), written(&parts));
    assert_eq!(
        checkpoint.listed(&checkpoint.spec()),
        [
            "Config config.json",
            "Weights proj.safetensors",
            "Weights model.safetensors",
            "Weights model.safetensors",
            "Config config.json",
        ]
    );
}

#[test]
fn relatives_of_another_form_are_told_with_both_sides() {
    let told = |name: &str, field: &str, value: serde_json::Value| {
        let checkpoint = Checkpoint::copy("frozen", name);
        checkpoint.edit_json("config.json", |config| config[field] = value);
        checkpoint.told(&checkpoint.spec())
    };
    for (name, field, value, wanted) in [
        (
            "clipcap-transformer",
            "clip_length",
            json!(2),
            "`clip_project.linear.weight` is [48, 24] instead of [32, 24]",
        ),
        (
            "clipcap-transformer",
            "mapper_heads",
            json!(3),
            "`mapper_heads` is 3, expected a divisor of the language model's width, 16",
        ),
        (
            "limber",
            "stem",
            json!(8),
            "`encoder.conv1.weight` is [2, 3, 3, 3] instead of [4, 3, 3, 3]",
        ),
        (
            "magma",
            "adapter_config",
            json!({ "mlp": { "adapter_type": "normal", "downsample_factor": 2 } }),
            "`lm.transformer.h.0.mlp.1.adapter.0.weight` is [4, 16] instead of [8, 16]",
        ),
        (
            "magma",
            "adapter_config",
            json!({ "mlp": { "adapter_type": "scaled_parallel" } }),
            "unknown variant `scaled_parallel`, expected `normal`",
        ),
        (
            "clipcap-transformer",
            "adapter_config",
            json!({ "mlp": { "adapter_type": "normal" } }),
            "`lm_config.model_type` is gpt2, expected `gptj`, which `adapter_config` is for",
        ),
    ] {
        let told = told(name, field, value);
        assert!(told.contains(wanted), "{told}");
    }
    // Without its adapters MAGMA's language model has other names.
    let told = told("magma", "adapter_config", json!(null));
    assert!(
        told.contains("lm.transformer.h.0.mlp.fc_in.weight"),
        "{told}"
    );
}
