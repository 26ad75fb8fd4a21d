//! What every family must do, as a kit that runs on any of them.
//!
//! A family declares its capabilities before a weight is read, and tasks trust that: a declared capability
//! answers, another does not. Answers do not depend on the batch they are asked in, whatever the sizes of the samples in
//! it. [`check`] loads a model and returns the claims that do not hold; a test in this crate runs it on every registered
//! family.

mod answer;
mod detect;
mod generate;
pub mod gradients;
mod score;
mod visual;

use candle_core::{Device, Tensor};

use crate::{Capability, Embed, Family, Features, Model, ModelSpec, Result, Visual};

/// Largest difference between an answer in a batch and alone, for values up to 1 and in proportion above: sums of `f32`
/// are taken in another order.
const BATCH_TOLERANCE: f32 = 2e-5;

/// Largest difference of a vector's length from 1.
const LENGTH_TOLERANCE: f32 = 1e-5;

/// Texts of different lengths: empty, short, with other scripts, longer than any context.
fn texts() -> Vec<String> {
    vec![
        "a photo of a red square".to_owned(),
        String::new(),
        "eine Katze, 猫, кошка 🐈".to_owned(),
        "a small blue circle to the left of a large green triangle".to_owned(),
        "word after word ".repeat(200),
    ]
}

/// Loads a model and returns every claim that does not hold, in words; an error when it could not even be asked.
pub fn check(family: &Family, spec: &ModelSpec, device: &Device) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let files = (family.files)(spec)?;
    for file in files.iter().filter(|file| !file.path.is_file()) {
        broken.push(format!("lists `{}`, which is no file", file.path.display()));
    }
    if files.is_empty() == family.needs_checkpoint {
        broken.push(format!(
            "lists {} files and says that it needs a checkpoint: {}",
            files.len(),
            family.needs_checkpoint
        ));
    }
    let bare = ModelSpec {
        checkpoint: None,
        ..spec.clone()
    };
    if (family.load)(&bare, device).is_err() != family.needs_checkpoint {
        broken.push("loads without a checkpoint although it says it cannot, or not".to_owned());
    }

    let model = (family.load)(spec, device)?;
    if (family.input)(spec)? != *model.input() {
        broken.push("takes another input than it says before it is loaded".to_owned());
    }
    let offers = (family.offers)(spec)?;
    for capability in Capability::ALL {
        let (name, declared) = (capability.name(), offers.contains(capability));
        let answered = capability.is_answered_by(model.as_ref());
        if declared != answered {
            broken.push(format!(
                "declares `{name}`: {declared}, answers: {answered}"
            ));
        }
        if declared && !family.capabilities.contains(capability) {
            broken.push(format!("offers `{name}`, which its family does not name"));
        }
    }
    if let Some(embed) = model.embed() {
        broken.extend(check_embed(model.as_ref(), embed, device)?);
    }
    if let Some(features) = model.features() {
        broken.extend(check_features(model.as_ref(), features, device)?);
    }
    if let Some(classify) = model.classify() {
        broken.extend(answer::check_classify(model.as_ref(), classify, device)?);
    }
    if let Some(choose) = model.choose() {
        broken.extend(answer::check_choose(model.as_ref(), choose, device)?);
    }
    if let Some(matching) = model.matching() {
        broken.extend(answer::check_match(model.as_ref(), matching, device)?);
    }
    if let Some(ground) = model.ground() {
        broken.extend(answer::check_ground(model.as_ref(), ground, device)?);
    }
    if let Some(generate) = model.generate() {
        broken.extend(generate::check_generate(model.as_ref(), generate, device)?);
    }
    if let Some(score) = model.score() {
        broken.extend(score::check_score(model.as_ref(), score, device)?);
    }
    if let Some(detect) = model.detect() {
        broken.extend(detect::check_detect(model.as_ref(), detect, device)?);
    }
    Ok(broken)
}

/// Features have their width, are finite, and are those of the image alone.
fn check_features(
    model: &dyn Model,
    features: &dyn Features,
    device: &Device,
) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let images = visual::samples(model.input(), 2, device)?;
    let Visual::Pixels(pixels) = visual::stack(&images)? else {
        broken.push("makes features of images and takes no pixels".to_owned());
        return Ok(broken);
    };
    let both = features.features(&pixels)?;
    if both.dims() != [2, features.width()] {
        let (found, width) = (both.dims().to_vec(), features.width());
        broken.push(format!(
            "features have the shape {found:?}, and the width {width}"
        ));
        return Ok(broken);
    }
    let both: Vec<Vec<f32>> = both.to_vec2()?;
    if both.iter().flatten().any(|value| !value.is_finite()) {
        broken.push("features are not finite".to_owned());
    }
    let alone: Vec<Vec<f32>> = features.features(&pixels.narrow(0, 1, 1)?)?.to_vec2()?;
    let largest = both[1].iter().fold(0.0f32, |a, v| a.max(v.abs()));
    let pairs = both[1].iter().zip(&alone[0]);
    let apart = pairs.fold(0.0f32, |a, (x, y)| a.max((x - y).abs()));
    if apart > 1e-4 * largest.max(1e-3) {
        broken.push(format!("features of an image alone differ by {apart}"));
    }
    Ok(broken)
}

fn check_embed(model: &dyn Model, embed: &dyn Embed, device: &Device) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    if !(embed.scale().is_finite() && embed.scale() > 0.0) {
        broken.push(format!("its scale is {}", embed.scale()));
    }

    let images = visual::samples(model.input(), 3, device)?;
    let Visual::Pixels(pixels) = visual::stack(&images)? else {
        broken.push("embeds images and takes no pixels".to_owned());
        return Ok(broken);
    };
    let images = embed.embed_images(&pixels)?;
    broken.extend(check_vectors("images", &images, 3, embed.width())?);
    let mut alone = Vec::new();
    for i in 0..3 {
        alone.push(embed.embed_images(&pixels.narrow(0, i, 1)?)?);
    }
    broken.extend(compare("images", &images, &Tensor::cat(&alone, 0)?)?);

    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = embed.embed_texts(&texts)?;
    broken.extend(check_vectors(
        "texts",
        &vectors,
        texts.len(),
        embed.width(),
    )?);
    let mut alone = Vec::new();
    for text in &texts {
        alone.push(embed.embed_texts(&[text])?);
    }
    broken.extend(compare("texts", &vectors, &Tensor::cat(&alone, 0)?)?);

    let none = embed.embed_texts(&[])?;
    if none.dims() != [0, embed.width()] {
        broken.push(format!("embeds no texts as {:?}", none.dims()));
    }
    Ok(broken)
}

fn check_vectors(what: &str, vectors: &Tensor, count: usize, width: usize) -> Result<Vec<String>> {
    if vectors.dims() != [count, width] {
        let dims = vectors.dims();
        return Ok(vec![format!(
            "embeds {count} {what} as {dims:?} at a width of {width}"
        )]);
    }
    let mut broken = Vec::new();
    for (i, vector) in vectors.to_vec2::<f32>()?.iter().enumerate() {
        let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
        // NaN is no length either.
        if length.is_nan() || (length - 1.0).abs() > LENGTH_TOLERANCE {
            broken.push(format!("vector {i} of the {what} has the length {length}"));
        }
    }
    Ok(broken)
}

fn compare(what: &str, together: &Tensor, alone: &Tensor) -> Result<Option<String>> {
    if together.dims() != alone.dims() {
        return Ok(Some(format!(
            "{what} are {:?} in a batch and {:?} alone",
            together.dims(),
            alone.dims()
        )));
    }
    if alone.elem_count() == 0 {
        return Ok(None);
    }
    let difference = (together - alone)?.abs()?.max_all()?.to_scalar::<f32>()?;
    let largest = alone.abs()?.max_all()?.to_scalar::<f32>()?;
    let is_same = difference <= BATCH_TOLERANCE * largest.max(1.0);
    Ok((!is_same).then(|| format!("{what} differ by {difference} in a batch and alone")))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use candle_core::DType;
    use sightline_core::Seed;

    use super::*;
    use crate::{FAMILIES, TokenizerChoice, VisualSpec, family};

    /// The tiny random checkpoints of a family that needs one.
    fn checkpoints(family: &Family) -> Vec<Option<PathBuf>> {
        if !family.needs_checkpoint {
            return vec![None];
        }
        let fixtures = Path::new("../../tests/fixtures/models");
        let folder = fixtures.join(family.name);
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{} has no tiny checkpoint: {e}", family.name));
        let folders: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .map(Some)
            .collect();
        assert!(
            !folders.is_empty(),
            "{} has no tiny checkpoint",
            family.name
        );
        folders
    }

    #[test]
    fn every_registered_family_conforms() {
        for family in FAMILIES {
            for checkpoint in checkpoints(family) {
                let spec = ModelSpec {
                    checkpoint,
                    tokenizer: TokenizerChoice::WordHash,
                    seed: Seed(1),
                    precision: crate::Precision::F32,
                };
                let broken = check(family, &spec, &Device::Cpu).unwrap();
                assert!(
                    broken.is_empty(),
                    "{} of {spec:?}: {broken:#?}",
                    family.name
                );
            }
        }
    }

    /// Breaks each rule of the kit.
    struct Bad(VisualSpec);

    impl Model for Bad {
        fn input(&self) -> &VisualSpec {
            &self.0
        }

        fn embed(&self) -> Option<&dyn Embed> {
            Some(self)
        }
    }

    impl Embed for Bad {
        fn width(&self) -> usize {
            4
        }

        /// Too long, and not the same alone.
        fn embed_images(&self, pixels: &Tensor) -> Result<Tensor> {
            let count = pixels.dim(0)?;
            Ok(Tensor::full(count as f32, (count, 4), &Device::Cpu)?)
        }

        fn embed_texts(&self, texts: &[&str]) -> Result<Tensor> {
            Ok(Tensor::ones((texts.len(), 1), DType::F32, &Device::Cpu)?)
        }

        fn scale(&self) -> f32 {
            f32::NAN
        }
    }

    #[test]
    fn the_kit_notices_what_is_broken() {
        let bad = Family {
            name: "bad",
            paper: "",
            capabilities: &[],
            needs_checkpoint: true,
            files: |_| Ok(Vec::new()),
            offers: |_| Ok(&[Capability::Match]),
            input: family("constant").unwrap().input,
            load: |_, device| {
                let random = family("random").unwrap();
                let spec = ModelSpec::without_checkpoint(Seed(1));
                let input = (random.load)(&spec, device)?.input().clone();
                Ok(Box::new(Bad(input)))
            },
        };
        let spec = ModelSpec::without_checkpoint(Seed(1));
        let broken = check(&bad, &spec, &Device::Cpu).unwrap();
        assert_eq!(
            broken,
            [
                "lists 0 files and says that it needs a checkpoint: true",
                "loads without a checkpoint although it says it cannot, or not",
                "declares `embed`: false, answers: true",
                "declares `match`: true, answers: false",
                "offers `match`, which its family does not name",
                "its scale is NaN",
                "vector 0 of the images has the length 6",
                "vector 1 of the images has the length 6",
                "vector 2 of the images has the length 6",
                "images differ by 2 in a batch and alone",
                "embeds 5 texts as [5, 1] at a width of 4",
                "embeds no texts as [0, 1]",
            ]
        );
    }
}
