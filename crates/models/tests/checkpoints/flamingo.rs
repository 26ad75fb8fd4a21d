//! Flamingo checkpoints: the layouts that are read, what is refused, and the traps of the description.

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use sightline_core::{Hint, Seed};
use sightline_models::families::flamingo::prompts::{Demonstration, Template};
use sightline_models::families::flamingo::{Flamingo, Tokens, labels};
use sightline_models::{
    Decoding, Error, Generate, Generated, Prompt, Score, Segment, Strategy, Visual,
};

use super::support::{Checkpoint, distance, pixels};

const WEIGHTS: &str = "flamingo.safetensors";

fn tiny() -> Checkpoint {
    Checkpoint::copy("flamingo", "mpt")
}

fn load(checkpoint: &Checkpoint) -> Flamingo {
    Flamingo::load(&checkpoint.spec(), &Device::Cpu).unwrap()
}

fn write(
    model: &Flamingo,
    segments: &[Segment<'_>],
    max_tokens: usize,
) -> Result<Generated, Error> {
    let prompt = Prompt {
        segments,
        seed: Seed(1),
    };
    let decoding = Decoding {
        strategy: Strategy::Greedy,
        max_tokens: Some(max_tokens),
    };
    let images = Visual::Pixels(pixels(3, 28));
    let written = Generate::generate(model, &images, &[prompt], &decoding)?;
    Ok(written.into_iter().next().unwrap())
}

/// Logits of one row of ids over the first `images` of three images.
fn logits(model: &Flamingo, ids: &[u32], images: &[u32]) -> Result<Tensor, Error> {
    let latents = latents(model);
    let tokens = Tokens {
        ids: &[ids.to_vec()],
        images: &[images.to_vec()],
        latents: &latents,
    };
    model.logits(tokens, &[vec![1; ids.len()]])
}

fn latents(model: &Flamingo) -> Tensor {
    let tokens = model.image_tokens(&pixels(3, 28)).unwrap();
    model
        .resample(&tokens.unsqueeze(1).unwrap(), &[0, 1, 2])
        .unwrap()
}

fn at(logits: &Tensor, place: usize) -> Tensor {
    logits.narrow(1, place, 1).unwrap()
}

#[test]
fn a_checkpoint_of_another_release_is_told_with_both_sides() {
    let checkpoint = tiny();
    checkpoint.edit_json("config.json", |config| {
        config["cross_attn_every_n_layers"] = json!(1);
        config["perceiver"]["num_latents"] = json!(32);
    });
    let told = checkpoint.told(&checkpoint.spec());
    for wanted in [
        "`perceiver.latents` is [64, 16] instead of [32, 16]",
        "`lang_encoder.transformer.blocks.0.gated_cross_attn_layer.attn.to_q.weight` [512, 32] is missing",
        "hint: The weights belong to another model",
    ] {
        assert!(told.contains(wanted), "{told}");
    }
}

#[test]
fn a_language_model_or_an_image_tower_of_another_width_is_told() {
    let checkpoint = tiny();
    checkpoint.edit_json("config.json", |config| {
        config["lm_config"]["d_model"] = json!(64);
    });
    let told = checkpoint.told(&checkpoint.spec());
    assert!(
        told.contains("is [66, 32] instead of [66, 64]") || told.contains("[64, 64]"),
        "{told}"
    );
    let checkpoint = tiny();
    checkpoint.edit_json("config.json", |config| config["vision_width"] = json!(32));
    let told = checkpoint.told(&checkpoint.spec());
    assert!(told.contains("instead of"), "{told}");
    let checkpoint = tiny();
    fs::remove_file(checkpoint.file(WEIGHTS)).unwrap();
    let told = checkpoint.told(&checkpoint.spec());
    assert!(
        told.contains("neither `flamingo.safetensors` nor"),
        "{told}"
    );
    let told = tiny().told(&tiny().published());
    assert!(told.contains("neither `tokenizer.json` nor"), "{told}");
    let checkpoint = tiny();
    checkpoint.edit_json("config.json", |config| config["pad_id"] = json!(66));
    let told = checkpoint.told(&checkpoint.spec());
    assert!(told.contains("`pad_id` is 66, expected below 66"), "{told}");
}

#[test]
fn a_whole_state_is_read_with_its_inner_layers_and_copies() {
    let checkpoint = tiny();
    let expected = logits(&load(&checkpoint), &[65, 3, 4], &[1]).unwrap();
    let read =
        |name: &str| candle_core::safetensors::load(checkpoint.file(name), &Device::Cpu).unwrap();
    let (plain, vision) = (read("lm.safetensors"), read("vision.safetensors"));
    checkpoint.edit_tensors(WEIGHTS, |tensors| {
        let mut more: HashMap<String, Tensor> = HashMap::new();
        for (name, tensor) in plain {
            let inner = match name.strip_prefix("transformer.blocks.") {
                Some(rest) => {
                    let (number, rest) = rest.split_once('.').unwrap();
                    let copy = format!("lang_encoder.old_decoder_blocks.{number}.{rest}");
                    more.insert(copy, tensor.clone());
                    format!("transformer.blocks.{number}.decoder_layer.{rest}")
                }
                None => name,
            };
            more.insert(format!("lang_encoder.{inner}"), tensor);
        }
        for (name, tensor) in vision {
            more.insert(format!("vision_encoder.{name}"), tensor);
        }
        for (name, tensor) in more {
            // The enlarged table is the checkpoint's.
            tensors.entry(name).or_insert(tensor);
        }
    });
    for name in ["lm.safetensors", "vision.safetensors"] {
        fs::remove_file(checkpoint.file(name)).unwrap();
    }
    assert_eq!(
        checkpoint.listed(&checkpoint.spec()),
        ["Config config.json", "Weights flamingo.safetensors"]
    );
    let found = logits(&load(&checkpoint), &[65, 3, 4], &[1]).unwrap();
    assert!(distance(&expected, &found) < 1e-6);
}

#[test]
fn a_clip_and_a_language_model_as_published_lie_in_folders_of_their_own() {
    let checkpoint = tiny();
    let expected = logits(&load(&checkpoint), &[65, 3, 4], &[1]).unwrap();
    let vision =
        candle_core::safetensors::load(checkpoint.file("vision.safetensors"), &Device::Cpu);
    let visual: HashMap<String, Tensor> = vision
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| (format!("visual.{name}"), tensor))
        .collect();
    let (own, lm) = (checkpoint.file("vision"), checkpoint.file("lm"));
    fs::create_dir(&own).unwrap();
    fs::create_dir(&lm).unwrap();
    candle_core::safetensors::save(&visual, own.join("open_clip_model.safetensors")).unwrap();
    let clip = json!({
        "model_cfg": {
            "embed_dim": 12, "quick_gelu": true,
            "vision_cfg": {
                "image_size": 28, "layers": 2, "width": 16, "head_width": 8, "patch_size": 7,
            },
            "text_cfg": {
                "context_length": 8, "vocab_size": 20, "width": 8, "heads": 2, "layers": 1,
            },
        },
        "preprocess_cfg": { "size": 28 },
    });
    fs::write(own.join("open_clip_config.json"), clip.to_string()).unwrap();
    fs::remove_file(checkpoint.file("vision.safetensors")).unwrap();
    fs::rename(
        checkpoint.file("lm.safetensors"),
        lm.join("model.safetensors"),
    )
    .unwrap();
    checkpoint.edit_json("config.json", |config| {
        let language = config["lm_config"].take();
        fs::write(lm.join("config.json"), language.to_string()).unwrap();
    });
    let found = logits(&load(&checkpoint), &[65, 3, 4], &[1]).unwrap();
    assert!(distance(&expected, &found) < 1e-6);
    assert_eq!(checkpoint.listed(&checkpoint.spec()).len(), 6);

    checkpoint.edit_json("config.json", |config| config["vision_width"] = json!(32));
    let told = checkpoint.told(&checkpoint.spec());
    assert!(
        told.contains("instead of") || told.contains("`vision_width` is 32"),
        "{told}"
    );
}

#[test]
fn patches_are_those_before_the_towers_last_norm() {
    let checkpoint = tiny();
    let before = load(&checkpoint).image_tokens(&pixels(1, 28)).unwrap();
    assert_eq!(before.dims(), [1, 16, 16]);
    checkpoint.edit_tensors("vision.safetensors", |tensors| {
        let other = (&tensors["ln_post.weight"] * 3.0).unwrap();
        tensors.insert("ln_post.weight".to_owned(), other);
    });
    let after = load(&checkpoint).image_tokens(&pixels(1, 28)).unwrap();
    assert!(distance(&before, &after) == 0.0);
}

#[test]
fn a_token_looks_at_the_last_image_before_it_and_at_no_other() {
    let model = load(&tiny());
    let ids = [5, 65, 7, 65, 9];
    let base = logits(&model, &ids, &[0, 1]).unwrap();
    let first = logits(&model, &ids, &[2, 1]).unwrap();
    let second = logits(&model, &ids, &[0, 2]).unwrap();
    // Before any image nothing is seen.
    assert!(distance(&at(&base, 0), &at(&first, 0)) == 0.0);
    assert!(distance(&at(&base, 2), &at(&first, 2)) > 1e-5);
    assert!(distance(&at(&base, 2), &at(&second, 2)) == 0.0);
    assert!(distance(&at(&base, 4), &at(&second, 4)) > 1e-5);
}

#[test]
fn closed_gates_leave_the_language_model_as_it_was() {
    let checkpoint = tiny();
    let gates = ["attn_gate", "ff_gate"]
        .map(|gate| format!("lang_encoder.transformer.blocks.1.gated_cross_attn_layer.{gate}"));
    checkpoint.edit_tensors(WEIGHTS, |tensors| {
        for gate in &gates {
            let closed = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
            tensors.insert(gate.clone(), closed);
        }
    });
    let model = load(&checkpoint);
    let found = logits(&model, &[65, 3, 4], &[0]).unwrap();
    let plain = model.language().transformer();
    let embeds = plain.embed(&[vec![65, 3, 4]]).unwrap();
    let alone = plain
        .logits(&plain.forward(&embeds, None).unwrap())
        .unwrap();
    assert!(distance(&found, &alone) < 1e-6);
}

#[test]
fn what_is_written_looks_at_the_prompts_last_image_and_the_cache_changes_nothing() {
    let model = load(&tiny());
    let latents = latents(&model);
    let (prompt, behind) = (vec![65, 5, 65, 6], vec![7, 8, 9]);
    let tokens = Tokens {
        ids: std::slice::from_ref(&prompt),
        images: &[vec![0, 1]],
        latents: &latents,
    };
    let found = model
        .continuations(tokens, &[behind.clone(), vec![8]])
        .unwrap();
    let whole = [prompt.as_slice(), &behind].concat();
    let all = logits(&model, &whole, &[0, 1]).unwrap();
    for (place, (&id, value)) in behind.iter().zip(&found[0]).enumerate() {
        let row = at(&all, 3 + place)
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        let total: f32 = row.iter().map(|v| v.exp()).sum();
        assert!((row[id as usize] - total.ln() - value).abs() < 1e-5);
    }
    assert_eq!(found[1].len(), 1);
}

#[test]
fn prompts_of_shots_are_read_and_answers_are_cut() {
    let model = load(&tiny());
    let template = Template::named("vqa").unwrap();
    let shots: Vec<Demonstration<'_>> = (1..3)
        .map(|image| Demonstration {
            image,
            text: "which colour",
            answer: "red",
        })
        .collect();
    for count in [0, 4, 8, 16, 32] {
        let prompt = template.few_shot(&shots, count, 0, "which shape");
        assert!(write(&model, &prompt.segments(), 4).is_ok(), "{count}");
    }
    // The end of a demonstration is one token, which the model knows.
    let ended = [Segment::Image(0), Segment::Text("red<|endofchunk|>blue")];
    let apart = [Segment::Image(0), Segment::Text("red blue")];
    let scores = [&ended[..], &apart].map(|segments| write(&model, segments, 4).unwrap().score);
    assert!((scores[0] - scores[1]).abs() > 1e-6);
}

#[test]
fn images_and_marks_must_be_as_many_and_the_context_is_a_limit() {
    let model = load(&tiny());
    let error = logits(&model, &[65, 3, 65], &[0]).unwrap_err();
    assert_eq!(error.to_string(), "1 images of a prompt, needed are 2");
    let long = "word ".repeat(60);
    let long = [Segment::Image(0), Segment::Text(&long)];
    let error = write(&model, &long, 8).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the prompt with what is to be written has 69 tokens, the model's context is 64"
    );
    assert_eq!(error.hints().len(), 1);
    for wrong in [
        &[][..],
        &[Segment::Image(3)],
        &[Segment::Image(0), Segment::Text("an <image> of")],
    ] {
        let error = write(&model, wrong, 4).unwrap_err();
        assert!(matches!(error, Error::Prompt { .. }), "{error}");
    }
    assert!(write(&model, &[Segment::Text("only words")], 4).is_ok());
    let wide = Visual::Pixels(pixels(1, 30));
    assert!(Score::score(&model, &wide, &["a"]).is_err());
}

#[test]
fn an_image_alone_is_asked_for_a_caption() {
    let model = load(&tiny());
    let alone = write(&model, &[Segment::Image(1)], 6).unwrap();
    let asked = write(&model, &[Segment::Image(1), Segment::Text("Output:")], 6).unwrap();
    assert_eq!(alone, asked);
}

#[test]
fn tables_of_frames_and_places_count_where_a_checkpoint_has_them() {
    let checkpoint = tiny();
    let plain = latents(&load(&checkpoint));
    checkpoint.edit_tensors(WEIGHTS, |tensors| {
        let table = |shape: &[usize]| {
            let angles = Tensor::arange(0f32, 32.0, &Device::Cpu).unwrap();
            angles.sin().unwrap().reshape(shape).unwrap()
        };
        tensors.insert("perceiver.media_time_embs".to_owned(), table(&[2, 1, 16]));
        tensors.insert("perceiver.frame_embs".to_owned(), table(&[2, 16]));
    });
    let model = load(&checkpoint);
    let tokens = model
        .image_tokens(&pixels(3, 28))
        .unwrap()
        .unsqueeze(1)
        .unwrap();
    let found = model.resample(&tokens, &[0, 0, 0]).unwrap();
    assert!(distance(&plain, &found) > 1e-5);
    let place = model.resample(&tokens, &[1, 1, 1]).unwrap();
    assert!(distance(&place, &found) > 1e-5);
    // The table has room for two images.
    let error = model.resample(&tokens, &[0, 1, 2]).unwrap_err();
    assert!(
        error.to_string().contains("place of an image in a prompt"),
        "{error}"
    );
}

#[test]
fn texts_without_an_image_are_learned_of_captions_only() {
    let marks = load(&tiny()).marks();
    assert_eq!((marks.end, marks.image, marks.pad), (64, 65, 1));
    let ids = [7, 65, 8, 64, 9, 65, 10, 1];
    let interleaved = labels(marks, &ids, true);
    let none = None;
    assert_eq!(
        interleaved,
        [none, none, Some(8), Some(64), none, none, Some(10), none]
    );
    let captions = labels(marks, &ids, false);
    assert_eq!(
        (captions[0], captions[4], captions[7]),
        (Some(7), Some(9), None)
    );
}
