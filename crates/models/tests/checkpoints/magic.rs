//! MAGIC's folders: what is read, what is refused, and what the image does.

use std::fs;

use candle_core::Device;
use serde_json::json;
use sightline_core::{Hint, Seed};
use sightline_models::families::magic::Magic;
use sightline_models::{
    Decoding, Error, Generate, Generated, Model, Prompt, Segment, Strategy, Visual,
};

use super::support::{Checkpoint, pixels};

fn tiny() -> Checkpoint {
    let checkpoint = Checkpoint::copy("magic", "tiny");
    checkpoint.edit_json("config.json", |config| config["k"] = json!(5));
    checkpoint
}

fn load(checkpoint: &Checkpoint) -> Magic {
    Magic::load(&checkpoint.spec(), &Device::Cpu).unwrap()
}

fn write(model: &Magic, segments: &[Segment<'_>], decoding: &Decoding) -> Result<Generated, Error> {
    let prompt = Prompt {
        segments,
        seed: Seed(1),
    };
    let images = Visual::Pixels(pixels(2, 32));
    let written = Generate::generate(model, &images, &[prompt], decoding)?;
    Ok(written.into_iter().next().unwrap())
}

#[test]
fn the_image_counts_in_the_familys_own_search_and_in_no_other() {
    let model = load(&tiny());
    let own = model.decoding();
    let wanted = Strategy::Contrastive {
        candidates: 5,
        penalty: 0.1,
        judgement: 2.0,
    };
    assert_eq!((own.strategy, own.max_tokens), (wanted, None));
    let of =
        |image, decoding: &Decoding| write(&model, &[Segment::Image(image)], decoding).unwrap();
    assert_ne!(of(0, &own).tokens, of(1, &own).tokens);
    assert!(of(0, &own).tokens.len() <= 15);
    let greedy = Decoding {
        strategy: Strategy::Greedy,
        max_tokens: Some(6),
    };
    assert_eq!(of(0, &greedy), of(1, &greedy));
    // A search in which the image does not count is contrastive search, as without an image.
    let blind = Decoding {
        strategy: Strategy::Contrastive {
            candidates: 5,
            penalty: 0.6,
            judgement: 0.0,
        },
        max_tokens: Some(6),
    };
    assert_eq!(of(0, &blind), write(&model, &[], &blind).unwrap());
    let behind = [Segment::Image(0), Segment::Text(" with a")];
    assert_ne!(
        write(&model, &behind, &own).unwrap().tokens,
        of(0, &own).tokens
    );
}

#[test]
fn what_cannot_be_searched_is_refused_before_work() {
    let model = load(&tiny());
    let own = model.decoding();
    let long = " a".repeat(70);
    let error = write(&model, &[Segment::Image(0), Segment::Text(&long)], &own).unwrap_err();
    assert!(matches!(error, Error::Context { .. }), "{error}");
    assert_eq!(error.hints().len(), 1);
    for wrong in [
        &[Segment::Image(2)][..],
        &[Segment::Image(0), Segment::Image(1)],
    ] {
        let error = write(&model, wrong, &own).unwrap_err();
        assert!(matches!(error, Error::Prompt { .. }), "{error}");
    }
    let none = Decoding {
        strategy: Strategy::Contrastive {
            candidates: 0,
            penalty: 0.1,
            judgement: 1.0,
        },
        max_tokens: None,
    };
    let error = write(&model, &[Segment::Image(0)], &none).unwrap_err();
    assert!(error.to_string().contains("candidates"), "{error}");
}

#[test]
fn folders_as_published_are_read_too() {
    let checkpoint = tiny();
    let before = load(&checkpoint);
    for (own, parts) in [
        ("lm", ["lm_config.json", "lm.safetensors", "lm_tokenizer"]),
        (
            "clip",
            ["clip_config.json", "clip.safetensors", "clip_tokenizer"],
        ),
    ] {
        let folder = checkpoint.file(own);
        fs::rename(checkpoint.file(parts[2]), &folder).unwrap();
        fs::rename(checkpoint.file(parts[0]), folder.join("config.json")).unwrap();
        fs::rename(checkpoint.file(parts[1]), folder.join("model.safetensors")).unwrap();
    }
    let after = load(&checkpoint);
    let own = before.decoding();
    let about = [Segment::Image(1)];
    let written = [&before, &after].map(|model| write(model, &about, &own).unwrap());
    assert_eq!(written[0], written[1]);
    assert_eq!(before.input(), after.input());
    let listed = checkpoint.listed(&checkpoint.spec());
    assert_eq!(
        listed
            .iter()
            .filter(|file| file.starts_with("Weights"))
            .count(),
        2
    );
    assert_eq!(
        listed
            .iter()
            .filter(|file| file.starts_with("Tokenizer"))
            .count(),
        4
    );
}

#[test]
fn settings_that_cannot_be_are_told_with_both_sides() {
    let told = |field: &str, value: serde_json::Value| {
        let checkpoint = tiny();
        checkpoint.edit_json("config.json", |config| config[field] = value);
        checkpoint.told(&checkpoint.spec())
    };
    let found = told("sos_id", json!(5000));
    assert!(
        found.contains("`sos_id` is 5000, expected below"),
        "{found}"
    );
    let found = told("k", json!(0));
    assert!(found.contains("`k` is 0, expected 1 to"), "{found}");
    let found = told("alpha", json!(1.5));
    assert!(found.contains("`alpha` is 1.5, expected 0 to 1"), "{found}");
    let found = told("family", json!("clip"));
    assert!(
        found.contains("`family` is clip, expected `magic`"),
        "{found}"
    );
}
