//! The claims of models that write text.

use candle_core::Device;
use sightline_core::Seed;

use super::BATCH_TOLERANCE;
use super::visual::{samples, stack};
use crate::{Decoding, Generate, Generated, Model, Prompt, Result, Segment, Strategy, Visual};

/// Samples of a batch.
const BATCH: usize = 5;

pub(super) fn check_generate(
    model: &dyn Model,
    generate: &dyn Generate,
    device: &Device,
) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let images = samples(model.input(), BATCH, device)?;
    let all = stack(&images)?;
    let own = generate.decoding();
    let short = |strategy| Decoding {
        strategy,
        max_tokens: Some(4),
    };
    for decoding in [
        own,
        short(Strategy::Greedy),
        short(Strategy::Beam { width: 2 }),
        short(Strategy::Nucleus { p: 0.9 }),
    ] {
        // The samples in another order than the images, and one of them twice.
        let order: Vec<usize> = (0..BATCH).rev().chain([2]).collect();
        let together = write(generate, &all, &order, &decoding)?;
        if together.len() != order.len() {
            let (found, wanted) = (together.len(), order.len());
            broken.push(format!("writes {found} texts for {wanted} prompts"));
            continue;
        }
        for (&sample, text) in order.iter().zip(&together) {
            broken.extend(check_text(text, &decoding));
            let prompt = prompts(&[0], &[sample]);
            let alone = generate.generate(&images[sample], &asked(&prompt), &decoding)?;
            broken.extend(check_alone(text, alone.first(), &decoding));
        }
    }
    if !generate.generate(&all, &[], &own)?.is_empty() {
        broken.push("writes texts for no prompts".to_owned());
    }
    if write(generate, &all, &[BATCH], &own).is_ok() {
        broken.push("writes about an image that is not there".to_owned());
    }
    Ok(broken)
}

/// For each prompt the image that it names, and the seed of its sample.
fn prompts(images: &[usize], samples: &[usize]) -> Vec<([Segment<'static>; 1], Seed)> {
    let prompt = |(&image, &sample)| {
        let seed = Seed(0).child("conformance", sample as u64);
        ([Segment::Image(image)], seed)
    };
    images.iter().zip(samples).map(prompt).collect()
}

fn asked<'a>(prompts: &'a [([Segment<'static>; 1], Seed)]) -> Vec<Prompt<'a>> {
    let prompt = |(segments, seed): &'a ([Segment<'static>; 1], Seed)| Prompt {
        segments,
        seed: *seed,
    };
    prompts.iter().map(prompt).collect()
}

fn write(
    generate: &dyn Generate,
    images: &Visual,
    samples: &[usize],
    decoding: &Decoding,
) -> Result<Vec<Generated>> {
    generate.generate(images, &asked(&prompts(samples, samples)), decoding)
}

fn check_text(text: &Generated, decoding: &Decoding) -> Vec<String> {
    let mut broken = Vec::new();
    if decoding
        .max_tokens
        .is_some_and(|most| text.tokens.len() > most)
    {
        let len = text.tokens.len();
        broken.push(format!(
            "writes {len} tokens where {decoding:?} was asked for"
        ));
    }
    if !text.score.is_finite() {
        broken.push(format!("scores a text as {}", text.score));
    }
    broken
}

fn check_alone(
    together: &Generated,
    alone: Option<&Generated>,
    decoding: &Decoding,
) -> Option<String> {
    let is_same = alone.is_some_and(|alone| {
        let difference = (alone.score - together.score).abs();
        (&alone.text, &alone.tokens) == (&together.text, &together.tokens)
            && difference <= BATCH_TOLERANCE * together.score.abs().max(1.0)
    });
    (!is_same).then(|| format!("writes {together:?} in a batch, {alone:?} alone, by {decoding:?}"))
}
