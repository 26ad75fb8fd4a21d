//! The claims of capabilities that answer about an image and a text.

use candle_core::{Device, Tensor};

use super::visual::{samples, stack};
use super::{compare, texts};
use crate::{
    Choose, Classify, Ground, Match, Model, Phrases, Question, Result, TaggedText, Visual,
};

/// Samples of a batch.
const BATCH: usize = 32;

/// Texts for a batch, of unequal lengths.
fn batch_texts() -> Vec<String> {
    let few = texts();
    (0..BATCH)
        .map(|i| few[i % few.len()].repeat(1 + i % 2))
        .collect()
}

/// A batch of images and a text for each.
struct Asked {
    images: Vec<Visual>,
    texts: Vec<String>,
}

impl Asked {
    fn new(model: &dyn Model, device: &Device) -> Result<Self> {
        Ok(Self {
            images: samples(model.input(), BATCH, device)?,
            texts: batch_texts(),
        })
    }

    fn texts(&self) -> Vec<&str> {
        self.texts.iter().map(String::as_str).collect()
    }
}

pub(super) fn check_classify(
    model: &dyn Model,
    classify: &dyn Classify,
    device: &Device,
) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let asked = Asked::new(model, device)?;
    let (texts, labels) = (asked.texts(), classify.labels().len());
    let places = classify.images();
    if labels == 0 || places == 0 {
        broken.push(format!("classifies {places} images into {labels} labels"));
    }
    // Each place of a pair has an image of its own.
    let place = |k: usize, i: usize| &asked.images[(i + 7 * k) % BATCH];
    let batch = |k: usize| {
        let images: Vec<Visual> = (0..BATCH).map(|i| place(k, i).clone()).collect();
        stack(&images)
    };
    let images = (0..places).map(batch).collect::<Result<Vec<_>>>()?;
    let together = classify.classify(&images, &texts)?;
    broken.extend(check_logits("labels", &together, &[BATCH, labels])?);
    let mut alone = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let images: Vec<Visual> = (0..places).map(|k| place(k, i).clone()).collect();
        alone.push(classify.classify(&images, &[text])?);
    }
    broken.extend(compare("labels", &together, &Tensor::cat(&alone, 0)?)?);
    if classify.classify(&images[1..], &texts).is_ok() {
        broken.push("classifies with an image missing".to_owned());
    }
    Ok(broken)
}

pub(super) fn check_choose(
    model: &dyn Model,
    choose: &dyn Choose,
    device: &Device,
) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let asked = Asked::new(model, device)?;
    let texts = asked.texts();
    let questions: Vec<Question<'_>> = (0..BATCH)
        .map(|i| Question {
            question: tagged(texts[i], &asked.images[i]),
            candidates: (1..4).map(|k| texts[(i + k) % BATCH].into()).collect(),
        })
        .collect();
    let together = choose.choose(&stack(&asked.images)?, &questions)?;
    broken.extend(check_logits("choices", &together, &[BATCH, 3])?);
    let mut alone = Vec::new();
    for (image, question) in asked.images.iter().zip(&questions) {
        alone.push(choose.choose(image, std::slice::from_ref(question))?);
    }
    broken.extend(compare("choices", &together, &Tensor::cat(&alone, 0)?)?);
    Ok(broken)
}

/// The text with its first word naming the image's last region, if it has both.
fn tagged<'a>(text: &'a str, image: &Visual) -> TaggedText<'a> {
    let regions = match image {
        Visual::Regions { present, .. } => present.dims()[1],
        Visual::Pixels(_) | Visual::Encoded(_) => 0,
    };
    let word = text.find(' ').unwrap_or(0);
    let is_named = regions > 0 && word > 0;
    TaggedText {
        text,
        tags: is_named
            .then(|| (0..word, regions - 1))
            .into_iter()
            .collect(),
    }
}

pub(super) fn check_match(
    model: &dyn Model,
    matching: &dyn Match,
    device: &Device,
) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let asked = Asked::new(model, device)?;
    let texts = asked.texts();
    let together = matching.match_texts(&stack(&asked.images)?, &texts)?;
    broken.extend(check_logits("matches", &together, &[BATCH])?);
    let mut alone = Vec::new();
    for (image, text) in asked.images.iter().zip(&texts) {
        alone.push(matching.match_texts(image, &[text])?);
    }
    broken.extend(compare("matches", &together, &Tensor::cat(&alone, 0)?)?);
    Ok(broken)
}

pub(super) fn check_ground(
    model: &dyn Model,
    ground: &dyn Ground,
    device: &Device,
) -> Result<Vec<String>> {
    /// Largest difference of the sum of a phrase's shares from 1.
    const SUM_TOLERANCE: f32 = 1e-5;

    let mut broken = Vec::new();
    let asked = Asked::new(model, device)?;
    let captions: Vec<Phrases<'_>> = asked
        .texts
        .iter()
        .enumerate()
        .map(|(i, caption)| {
            // No phrase, or the first word and the first two.
            let words = caption.match_indices(' ').take(2).map(|(end, _)| 0..end);
            let phrases = if i % 3 == 0 {
                Vec::new()
            } else {
                words.collect()
            };
            Phrases { caption, phrases }
        })
        .collect();
    let together = ground.ground(&stack(&asked.images)?, &captions)?;
    if together.len() != BATCH {
        broken.push(format!("grounds {BATCH} captions as {}", together.len()));
    }
    for ((shares, image), caption) in together.iter().zip(&asked.images).zip(&captions) {
        let alone = ground.ground(image, std::slice::from_ref(caption))?;
        let here = match image {
            Visual::Regions { present, .. } => present.dim(1)?,
            Visual::Pixels(_) | Visual::Encoded(_) => 0,
        };
        let Some(alone) = alone.first().filter(|_| !caption.phrases.is_empty()) else {
            continue;
        };
        broken.extend(compare("regions", &shares.narrow(1, 0, here)?, alone)?);
        for (phrase, row) in shares.to_vec2::<f32>()?.iter().enumerate() {
            let sum: f32 = row[..here].iter().sum();
            let wanted = if here == 0 { 0.0 } else { 1.0 };
            let is_padded = row[here..].iter().any(|&share| share != 0.0);
            if is_padded || sum.is_nan() || (sum - wanted).abs() > SUM_TOLERANCE {
                broken.push(format!("the shares of phrase {phrase} are {row:?}"));
            }
        }
    }
    Ok(broken)
}

fn check_logits(what: &str, logits: &Tensor, shape: &[usize]) -> Result<Option<String>> {
    if logits.dims() != shape {
        let dims = logits.dims();
        return Ok(Some(format!("{what} are {dims:?} instead of {shape:?}")));
    }
    let values = logits.flatten_all()?.to_vec1::<f32>()?;
    let are_finite = values.iter().all(|value| value.is_finite());
    Ok((!are_finite).then(|| format!("{what} are not finite")))
}
