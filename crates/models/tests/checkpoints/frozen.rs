//! Frozen checkpoints: what is read, what is refused, and what a prompt may be.

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use sightline_core::{Hint, Seed};
use sightline_models::families::frozen::Frozen;
use sightline_models::{
    Decoding, Error, Generate, Generated, Model, Prompt, Score, Segment, Strategy, Visual,
    VisualSpec,
};

use super::support::{Checkpoint, pixels};

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
