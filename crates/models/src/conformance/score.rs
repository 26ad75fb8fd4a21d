//! The claims of models that find texts likely.

use candle_core::{Device, Tensor};

use super::visual::{samples, stack};
use super::{compare, texts};
use crate::{Model, Result, Score};

pub(super) fn check_score(
    model: &dyn Model,
    score: &dyn Score,
    device: &Device,
) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let images = samples(model.input(), texts.len(), device)?;
    let all = stack(&images)?;
    let together = score.score(&all, &texts)?;
    if together.len() != texts.len() {
        let (found, wanted) = (together.len(), texts.len());
        broken.push(format!("scores {found} texts of {wanted}"));
        return Ok(broken);
    }
    for ((image, text), tokens) in images.iter().zip(&texts).zip(&together) {
        // NaN is no logarithm of a probability either.
        if tokens.is_empty() || !tokens.iter().all(|&value| value <= 0.0) {
            broken.push(format!(
                "finds the tokens of `{text:.20}` so likely: {tokens:?}"
            ));
            continue;
        }
        let [alone] = &score.score(image, &[text])?[..] else {
            broken.push("scores no text alone".to_owned());
            continue;
        };
        let tensor = |values: &[f32]| Tensor::new(values, device);
        broken.extend(compare("scores", &tensor(tokens)?, &tensor(alone)?)?);
    }
    if !score.score(&all, &[])?.is_empty() {
        broken.push("scores no texts as some".to_owned());
    }
    if score.score(&all, &texts[1..]).is_ok() {
        broken.push("scores with a text missing".to_owned());
    }
    Ok(broken)
}
