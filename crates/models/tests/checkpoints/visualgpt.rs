//! `VisualGPT` checkpoints: what is read, what is refused, and the oddities of the published program.

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use sightline_core::{Hint, Seed};
use sightline_models::families::visualgpt::VisualGpt;
use sightline_models::{
    Decoding, Error, Generate, Generated, Prompt, Score, Segment, Strategy, Visual,
};

use super::support::Checkpoint;

fn tiny() -> Checkpoint {
    Checkpoint::copy("visualgpt", "tau02")
}

fn load(checkpoint: &Checkpoint) -> VisualGpt {
    VisualGpt::load(&checkpoint.spec(), &Device::Cpu).unwrap()
}

fn regions(count: usize, width: usize, filled: usize) -> Visual {
    let angles = Tensor::arange(0f32, (count * width) as f32, &Device::Cpu).unwrap();
    let wave = (angles * 0.37).unwrap().sin().unwrap();
    let features = wave.reshape((1, count, width)).unwrap();
    let present = Tensor::ones((1, count), DType::F32, &Device::Cpu).unwrap();
    Visual::Regions {
        features: features.pad_with_zeros(1, 0, filled).unwrap(),
        present: present.pad_with_zeros(1, 0, filled).unwrap(),
    }
}

fn write(model: &VisualGpt, images: &Visual, max_tokens: usize) -> Result<Generated, Error> {
    let prompt = Prompt {
        segments: &[Segment::Image(0)],
        seed: Seed(1),
    };
    let decoding = Decoding {
        strategy: Strategy::Beam { width: 3 },
        max_tokens: Some(max_tokens),
    };
    let written = Generate::generate(model, images, &[prompt], &decoding)?;
    Ok(written.into_iter().next().unwrap())
}

fn distance(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar().unwrap()
}

#[test]
fn features_of_another_width_and_too_many_tokens_are_refused_before_work() {
    let model = load(&tiny());
    let error = write(&model, &regions(4, 21, 0), 8).unwrap_err();
    let told = "the regions' features have 21 values, the model takes 20";
    assert_eq!((error.to_string().as_str(), error.hints().len()), (told, 1));
    let error = write(&model, &regions(4, 20, 0), 33).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Context {
                tokens: 33,
                limit: 32,
                ..
            }
        ),
        "{error}"
    );
    let pixels = Tensor::zeros((1, 3, 8, 8), DType::F32, &Device::Cpu).unwrap();
    let error = write(&model, &Visual::Pixels(pixels), 8).unwrap_err();
    assert_eq!(error.to_string(), "the model takes regions, not pixels");
    assert!(write(&model, &regions(4, 20, 0), 32).is_ok());
    let text = Prompt {
        segments: &[Segment::Image(0), Segment::Text("a")],
        seed: Seed(1),
    };
    let asked = Generate::generate(&model, &regions(4, 20, 0), &[text], &model.decoding());
    assert!(matches!(asked, Err(Error::Prompt { .. })));
}

#[test]
fn a_checkpoint_of_another_form_is_told_with_both_sides() {
    let checkpoint = tiny();
    checkpoint.edit_weights(|tensors| {
        tensors.remove("decoder.transformer.h.1.fc_alpha3.bias");
    });
    checkpoint.edit_json("config.json", |config| config["feature_dim"] = json!(2048));
    let told = checkpoint.told(&checkpoint.spec());
    assert!(
        told.contains("`encoder.fc.weight` is [48, 20] instead of [48, 2048]"),
        "{told}"
    );
    assert!(
        told.contains("`decoder.transformer.h.1.fc_alpha3.bias` [48] is missing"),
        "{told}"
    );
    let told = tiny().told(&tiny().published());
    assert!(
        told.contains("neither `tokenizer.json` nor `vocab.json` with `merges.txt` nor"),
        "{told}"
    );
}

#[test]
fn what_the_published_program_keeps_and_never_uses_is_passed_over() {
    let checkpoint = tiny();
    let before = write(&load(&checkpoint), &regions(4, 20, 0), 8).unwrap();
    checkpoint.edit_weights(|tensors| {
        for name in [
            "decoder.transformer.h.0.attn.bias",
            "decoder.transformer.h.0.attn.masked_bias",
            "decoder.transformer.h.0.enc_dec_attn.bias",
            "decoder.transformer.h.0.enc_dec_attn.c_attn.weight",
            "encoder.layers.0.mhatt.attention.c_attn_q.weight",
            "decoder.running_mask_self_attention",
            "decoder.lm_head.decoder.weight",
        ] {
            let ones = Tensor::ones((2, 2), DType::F32, &Device::Cpu).unwrap();
            tensors.insert(name.to_owned(), ones);
        }
    });
    let after = write(&load(&checkpoint), &regions(4, 20, 0), 8).unwrap();
    assert_eq!(before, after);
}

#[test]
fn zeros_that_fill_an_image_up_count_unless_features_are_masked() {
    let states = |checkpoint: &Checkpoint, filled: usize| {
        let Visual::Regions { features, .. } = regions(4, 20, filled) else {
            unreachable!("regions were made");
        };
        let memory = load(checkpoint).encoder().forward(&features).unwrap();
        memory.levels[2].narrow(1, 0, 4).unwrap()
    };
    let checkpoint = tiny();
    assert!(distance(&states(&checkpoint, 0), &states(&checkpoint, 3)) > 1e-4);
    // So that a caption never depends on its batch, every image is filled up to the same number.
    let model = load(&checkpoint);
    let few = write(&model, &regions(4, 20, 0), 8).unwrap();
    let filled = write(&model, &regions(4, 20, 3), 8).unwrap();
    assert_eq!(few, filled);

    checkpoint.edit_json("config.json", |config| {
        config["padding"] = json!("features");
    });
    assert!(distance(&states(&checkpoint, 0), &states(&checkpoint, 3)) < 1e-5);
    // Of more than the most the first ones are taken.
    checkpoint.edit_json("config.json", |config| config["max_detections"] = json!(4));
    let model = load(&checkpoint);
    let score = |images| Score::score(&model, &images, &["a dog"]).unwrap().concat();
    let Visual::Regions { features, .. } = regions(6, 20, 0) else {
        unreachable!("regions were made");
    };
    let first = Visual::Regions {
        features: features.narrow(1, 0, 4).unwrap(),
        present: Tensor::ones((1, 4), DType::F32, &Device::Cpu).unwrap(),
    };
    assert_eq!(score(regions(6, 20, 0)), score(first));
}

#[test]
fn gates_depend_on_tau_and_padding_gives_zeros() {
    let checkpoint = tiny();
    let logits = |checkpoint: &Checkpoint, ids: &[u32]| {
        let model = load(checkpoint);
        let Visual::Regions { features, .. } = regions(4, 20, 1) else {
            unreachable!("regions were made");
        };
        let memory = model.encoder().forward(&features).unwrap();
        model.logits(&memory, &[ids.to_vec()]).unwrap()
    };
    let cut = logits(&checkpoint, &[58, 3, 57, 57]);
    // Where padding stands the state is zero, whatever came before.
    let other = logits(&checkpoint, &[58, 9, 57, 57]);
    let at = |logits: &Tensor, place| logits.narrow(1, place, 1).unwrap();
    assert!(distance(&at(&cut, 2), &at(&cut, 3)) < 1e-6);
    assert!(distance(&at(&cut, 2), &at(&other, 2)) < 1e-6);
    assert!(distance(&at(&cut, 1), &at(&other, 1)) > 1e-4);
    checkpoint.edit_json("config.json", |config| config["tau"] = json!(0.45));
    assert!(distance(&cut, &logits(&checkpoint, &[58, 3, 57, 57])) > 1e-4);
}

#[test]
fn a_word_that_stands_twice_in_a_row_is_written_once() {
    let written = write(&load(&tiny()), &regions(4, 20, 0), 12).unwrap();
    let words: Vec<&str> = written.text.split(' ').collect();
    assert!(
        words.windows(2).all(|pair| pair[0] != pair[1]),
        "{written:?}"
    );
    let mut tokens = written.tokens.clone();
    tokens.retain(|&id| id != 60);
    tokens.dedup();
    assert_eq!(words.len(), tokens.len());
}
