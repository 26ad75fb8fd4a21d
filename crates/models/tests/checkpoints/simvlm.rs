//! `SimVLM` checkpoints: what is read, what is refused, and the traps of the description.

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use sightline_core::{Hint, Seed};
use sightline_models::families::simvlm::{Prefix, SimVlm};
use sightline_models::{
    Classify, Decoding, Error, Generate, Generated, Model, Prompt, Score, Segment, Strategy, Visual,
};

use super::support::Checkpoint;

fn apart() -> Checkpoint {
    Checkpoint::copy("simvlm", "encoder-decoder")
}

fn joined() -> Checkpoint {
    Checkpoint::copy("simvlm", "decoder-only")
}

fn load(checkpoint: &Checkpoint) -> SimVlm {
    SimVlm::load(&checkpoint.spec(), &Device::Cpu).unwrap()
}

fn pixels(count: usize, height: usize, width: usize) -> Tensor {
    let len = count * 3 * height * width;
    let angles = Tensor::arange(0f32, len as f32, &Device::Cpu).unwrap();
    let wave = (angles * 0.37).unwrap().sin().unwrap();
    wave.reshape((count, 3, height, width)).unwrap()
}

fn distance(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar().unwrap()
}

fn write(
    model: &SimVlm,
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
    let images = Visual::Pixels(pixels(1, 64, 64));
    let written = Generate::generate(model, &images, &[prompt], &decoding)?;
    Ok(written.into_iter().next().unwrap())
}

#[test]
fn a_checkpoint_of_another_form_is_told_with_both_sides() {
    let checkpoint = apart();
    checkpoint.edit_weights(|tensors| {
        tensors.remove("encoder.1.attn.rel_bias");
        let wrong = Tensor::zeros((16, 30), DType::F32, &Device::Cpu).unwrap();
        tensors.insert("pos_image.weight".to_owned(), wrong);
    });
    let told = checkpoint.told(&checkpoint.spec());
    assert!(
        told.contains("`pos_image.weight` is [16, 30] instead of [16, 32]"),
        "{told}"
    );
    assert!(
        told.contains("`encoder.1.attn.rel_bias` [4, 7, 7] is missing"),
        "{told}"
    );
    assert!(
        told.contains("hint: The weights belong to another model"),
        "{told}"
    );

    let checkpoint = apart();
    checkpoint.edit_json("config.json", |config| {
        config["variant"] = json!("decoder_only");
    });
    let told = checkpoint.told(&checkpoint.spec());
    assert!(
        told.contains("`decoder.0.attn.rel_bias` [4, 7, 7] is missing"),
        "{told}"
    );
    let told = apart().told(&apart().published());
    assert!(
        told.contains("not exactly one SentencePiece file"),
        "{told}"
    );
}

#[test]
fn a_prompt_beyond_the_context_is_refused_before_work() {
    let model = load(&apart());
    let long = "word ".repeat(20);
    let error = write(&model, &[Segment::Image(0), Segment::Text(&long)], Some(8)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the prompt with what is to be written has 28 tokens, the model's context is 24"
    );
    assert_eq!(error.hints().len(), 1);
    // Without a number of tokens there is as much as fits.
    assert!(write(&model, &[Segment::Image(0), Segment::Text(&long)], None).is_ok());
    for wrong in [
        &[][..],
        &[Segment::Image(1)],
        &[Segment::Image(0), Segment::Image(0)],
    ] {
        assert!(matches!(
            write(&model, wrong, None),
            Err(Error::Prompt { .. })
        ));
    }
    let no_ids = vec![Vec::new()];
    let nothing = Prefix {
        cells: None,
        ids: &no_ids,
    };
    assert!(model.logits(nothing, &[vec![1]]).is_err());
    // 24 positions behind a prefix of one token.
    let prefix = Prefix {
        cells: None,
        ids: &[vec![5]],
    };
    assert!(model.logits(prefix, &[vec![1; 23]]).is_ok());
    assert!(matches!(
        model.logits(prefix, &[vec![1; 24]]),
        Err(Error::Context { .. })
    ));
    assert!(model.logits(prefix, &[vec![60]]).is_err());
}

#[test]
fn the_order_of_a_prompts_parts_does_not_matter_but_its_text_does() {
    for checkpoint in [apart(), joined()] {
        let model = load(&checkpoint);
        let before = write(
            &model,
            &[Segment::Text("a picture"), Segment::Image(0)],
            Some(6),
        );
        let behind = write(
            &model,
            &[Segment::Image(0), Segment::Text("a picture")],
            Some(6),
        );
        assert_eq!(before.unwrap(), behind.as_ref().unwrap().clone());
        let alone = write(&model, &[Segment::Image(0)], Some(6)).unwrap();
        assert!((alone.score - behind.unwrap().score).abs() > 1e-6);
        assert!(write(&model, &[Segment::Text("only words")], Some(6)).is_ok());
    }
}

#[test]
fn the_prefix_is_read_both_ways_and_the_rest_is_not() {
    for checkpoint in [apart(), joined()] {
        let model = load(&checkpoint);
        let logits = |prefix: [u32; 3], ids: [u32; 3]| {
            let prefix = Prefix {
                cells: None,
                ids: &[prefix.to_vec()],
            };
            model.logits(prefix, &[ids.to_vec()]).unwrap()
        };
        let first = |logits: Tensor| logits.narrow(1, 0, 1).unwrap();
        let base = first(logits([5, 6, 7], [1, 8, 9]));
        // A later token changes nothing before it; a later token of the prefix does.
        assert!(distance(&base, &first(logits([5, 6, 7], [1, 8, 10]))) < 1e-6);
        assert!(distance(&base, &first(logits([5, 6, 11], [1, 8, 9]))) > 1e-4);
    }
}

#[test]
fn positions_go_on_behind_the_prefix_or_start_again() {
    let continued = joined();
    let zero = joined();
    zero.edit_json("config.json", |config| {
        config["decoder_positions"] = json!("zero");
    });
    let logits = |model: &SimVlm, prefix: &[u32]| {
        let cells = model.cells(&pixels(1, 64, 64)).unwrap();
        let prefix = Prefix {
            cells: Some(&cells),
            ids: &[prefix.to_vec()],
        };
        model.logits(prefix, &[vec![1, 4]]).unwrap()
    };
    let (continued, zero) = (load(&continued), load(&zero));
    assert!(distance(&logits(&continued, &[]), &logits(&zero, &[])) < 1e-6);
    assert!(distance(&logits(&continued, &[5, 6]), &logits(&zero, &[5, 6])) > 1e-4);
}

#[test]
fn images_of_another_size_are_read_with_resized_tables() {
    for checkpoint in [apart(), joined()] {
        let model = load(&checkpoint);
        let cells = model.cells(&pixels(2, 96, 48)).unwrap();
        assert_eq!(
            (cells.grid, cells.tokens.dims()),
            ((6, 3), &[2, 18, 32][..])
        );
        let prefix = Prefix {
            cells: Some(&cells),
            ids: &[vec![5], vec![6]],
        };
        let logits = model.logits(prefix, &[vec![1], vec![1]]).unwrap();
        assert_eq!(logits.dims(), [2, 1, 60]);

        // The configuration may say so from the start, the tables being of the old grid.
        checkpoint.edit_json("config.json", |config| config["image_size"] = json!(96));
        let larger = load(&checkpoint);
        let logits = |model: &SimVlm| {
            let cells = model.cells(&pixels(1, 96, 96)).unwrap();
            let prefix = Prefix {
                cells: Some(&cells),
                ids: &[vec![]],
            };
            model.logits(prefix, &[vec![1]]).unwrap()
        };
        assert!(distance(&logits(&model), &logits(&larger)) < 1e-6);
    }
}

#[test]
fn the_relative_bias_can_be_off_and_counts_when_on() {
    for (checkpoint, stack) in [(apart(), "encoder"), (joined(), "decoder")] {
        let logits = |model: &SimVlm| {
            let cells = model.cells(&pixels(1, 64, 64)).unwrap();
            let prefix = Prefix {
                cells: Some(&cells),
                ids: &[vec![5, 6]],
            };
            model.logits(prefix, &[vec![1, 7]]).unwrap()
        };
        let on = logits(&load(&checkpoint));
        checkpoint.edit_json("config.json", |config| config["relative_2d"] = json!(false));
        let off = logits(&load(&checkpoint));
        assert!(distance(&on, &off) > 1e-5);
        // Off is the same as tables of zeros.
        checkpoint.edit_json("config.json", |config| config["relative_2d"] = json!(true));
        checkpoint.edit_weights(|tensors| {
            for layer in 0..2 {
                let name = format!("{stack}.{layer}.attn.rel_bias");
                let zeros = tensors[&name].zeros_like().unwrap();
                tensors.insert(name, zeros);
            }
        });
        assert!(distance(&off, &logits(&load(&checkpoint))) < 1e-6);
    }
}

#[test]
fn pairs_are_read_one_after_the_other_and_put_side_by_side() {
    let checkpoint = apart();
    checkpoint.edit_json("config.json", |config| {
        config["answer_images"] = json!(2);
        config["n_answers"] = json!(2);
        config["answers"] = json!(["False", "True"]);
    });
    checkpoint.edit_weights(|tensors| {
        // The second image's half counts for the second label only.
        let mut weight = vec![0f32; 2 * 64];
        weight[..32].fill(1.0);
        weight[96..].fill(1.0);
        let weight = Tensor::from_vec(weight, (2, 64), &Device::Cpu).unwrap();
        tensors.insert("answer_head.weight".to_owned(), weight);
        let bias = Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap();
        tensors.insert("answer_head.bias".to_owned(), bias);
    });
    let model = load(&checkpoint);
    assert_eq!(model.labels(), ["False", "True"]);
    let image = |i| Visual::Pixels(pixels(3, 64, 64).narrow(0, i, 1).unwrap());
    let logits = |first, second| {
        let logits = Classify::classify(&model, &[image(first), image(second)], &["both are red"]);
        logits.unwrap().to_vec2::<f32>().unwrap().remove(0)
    };
    let (ab, ba) = (logits(0, 1), logits(1, 0));
    assert!((ab[0] - ba[1]).abs() < 1e-5 && (ab[1] - ba[0]).abs() < 1e-5);
    assert!((ab[0] - ab[1]).abs() > 1e-4, "{ab:?}");
    assert!(Classify::classify(&model, &[image(0)], &["one"]).is_err());
}

#[test]
fn without_an_answer_head_there_is_nothing_to_classify() {
    let model = load(&joined());
    assert!(Model::classify(&model).is_none());
    let cells = model.cells(&pixels(1, 64, 64)).unwrap();
    assert!(matches!(
        model.answer_logits(&[cells], &[vec![5]]),
        Err(Error::Head { .. })
    ));
    let images = Visual::Pixels(pixels(1, 64, 64));
    assert_eq!(Score::score(&model, &images, &[""]).unwrap()[0].len(), 1);
    assert!(Score::score(&model, &images, &[]).unwrap().is_empty());
}
