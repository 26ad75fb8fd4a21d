//! What the tensors of a model are before it has learned anything.
//!
//! The value of a tensor depends on its name, its shape and a seed, on nothing else: a model with a layer more has the
//! same numbers in all others.
//!
//! | tensor | value | source |
//! | --- | --- | --- |
//! | a norm's `weight`, a convolution's `gain`, `running_var` | 1 | |
//! | `bias`, `running_mean`, the gates of gated layers | 0 | Flamingo, section 3.1.2, for the gates |
//! | `logit_scale` | ln(1 / 0.07) | CLIP, section 2.5 |
//! | `temperature` | 0.07 | the same, as ALIGN's checkpoints store it |
//! | tables of tokens and positions, single vectors | normal, 0.02 | BERT, GPT-2 |
//! | convolutions | normal, sqrt(2 / fan in) | He et al. 2015 |
//! | linear maps | normal, sqrt(1 / fan in) | LeCun et al. 1998 |

use candle_core::{Device, Tensor};
use sightline_core::Seed;

use crate::Result;

/// Standard deviation of tables and single vectors.
const TABLE: f64 = 0.02;

/// The temperature that contrastive training begins with.
const TEMPERATURE: f64 = 0.07;

/// Modules whose weight is a table with a row for each token, position or kind.
const TABLES: &[&str] = &[
    "embed",
    "embed_in",
    "embed_positions",
    "embed_tokens",
    "embedding",
    "embeddings",
    "frame_embs",
    "latents",
    "media_time_embs",
    "pos_image",
    "pos_text",
    "positions",
    "words",
    "wpe",
    "wte",
];

/// Modules of GPT-2 whose weight is `[input, output]`.
const TRANSPOSED: &[&str] = &["c_attn", "c_fc", "c_proj"];

/// The tensor called `name`.
pub(crate) fn initial(seed: Seed, name: &str, shape: &[usize]) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values = match kind(name, shape) {
        Kind::All(value) => vec![value as f32; count],
        Kind::Normal(deviation) => {
            let mut rng = seed.child(name, 0).rng();
            let value = |_| (rng.normal() * deviation) as f32;
            (0..count).map(value).collect()
        }
    };
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// How a tensor is filled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    All(f64),
    /// Around 0, with this standard deviation.
    Normal(f64),
}

fn kind(name: &str, shape: &[usize]) -> Kind {
    let mut parts = name.rsplit('.');
    let last = parts.next().unwrap_or_default();
    // A tensor without `weight` at its end is called as its module.
    let module = if last == "weight" {
        parts.next().unwrap_or_default()
    } else {
        last
    };
    match last {
        "running_var" | "gain" => return Kind::All(1.0),
        "running_mean" | "bias" | "attn_gate" | "ff_gate" => return Kind::All(0.0),
        "logit_scale" => return Kind::All(-TEMPERATURE.ln()),
        "temperature" => return Kind::All(TEMPERATURE),
        _ if last.ends_with("_bias") => return Kind::All(0.0),
        _ => {}
    }
    let is_table = TABLES.contains(&module)
        || module.ends_with("_embedding")
        || module.ends_with("_embeddings");
    match *shape {
        [_] if last == "weight" => Kind::All(1.0),
        [_, _] if is_table => Kind::Normal(TABLE),
        [output, input] => {
            let is_transposed = TRANSPOSED.contains(&module);
            let fan_in = if is_transposed { output } else { input };
            Kind::Normal((1.0 / fan_in.max(1) as f64).sqrt())
        }
        [_, input, height, width] => {
            let fan_in = input * height * width;
            Kind::Normal((2.0 / fan_in.max(1) as f64).sqrt())
        }
        _ => Kind::Normal(TABLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_tensor_begins_as_its_paper_says() {
        for (name, shape, expected) in [
            ("text.ln_1.weight", &[8][..], Kind::All(1.0)),
            ("text.ln_1.bias", &[8], Kind::All(0.0)),
            ("text.attn.in_proj_bias", &[24], Kind::All(0.0)),
            ("stem.bn1.running_var", &[8], Kind::All(1.0)),
            ("stem.bn1.running_mean", &[8], Kind::All(0.0)),
            ("encoder.stem.conv.gain", &[8, 1, 1, 1], Kind::All(1.0)),
            ("a.gated_cross_attn_layer.ff_gate", &[1], Kind::All(0.0)),
            ("logit_scale", &[], Kind::All((1.0f64 / 0.07).ln())),
            ("temperature", &[], Kind::All(0.07)),
            (
                "text_model.embeddings.token_embedding.weight",
                &[9, 4],
                Kind::Normal(0.02),
            ),
            (
                "bert.embeddings.word_embeddings.weight",
                &[9, 4],
                Kind::Normal(0.02),
            ),
            (
                "textual.embedding.words.weight",
                &[9, 4],
                Kind::Normal(0.02),
            ),
            ("transformer.wte.weight", &[9, 4], Kind::Normal(0.02)),
            ("perceiver.latents", &[9, 4], Kind::Normal(0.02)),
            (
                "vision_model.embeddings.class_embedding",
                &[4],
                Kind::Normal(0.02),
            ),
            ("encoder.0.attn.q.weight", &[9, 4], Kind::Normal(0.5)),
            (
                "embeddings.visual_projection.weight",
                &[9, 4],
                Kind::Normal(0.5),
            ),
            ("h.0.attn.c_attn.weight", &[4, 12], Kind::Normal(0.5)),
            ("stem.conv1.weight", &[9, 2, 2, 2], Kind::Normal(0.5)),
        ] {
            let found = kind(name, shape);
            let is_near = match (found, expected) {
                (Kind::All(a), Kind::All(b)) | (Kind::Normal(a), Kind::Normal(b)) => {
                    (a - b).abs() < 1e-12
                }
                _ => false,
            };
            assert!(is_near, "{name}: {found:?} instead of {expected:?}");
        }
    }

    #[test]
    fn numbers_depend_on_the_seed_and_the_name_and_have_their_deviation() {
        let values = |seed, name| {
            let tensor = initial(Seed(seed), name, &[64, 64]).unwrap();
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let first = values(1, "a.weight");
        assert_eq!(first, values(1, "a.weight"));
        assert_ne!(first, values(2, "a.weight"));
        assert_ne!(first, values(1, "b.weight"));
        let square = first.iter().map(|x| f64::from(x * x)).sum::<f64>();
        let deviation = (square / first.len() as f64).sqrt();
        assert!((deviation * 8.0 - 1.0).abs() < 0.05, "{deviation}");
    }
}
