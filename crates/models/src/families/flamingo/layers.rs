//! What Flamingo puts between an image tower and a language model: the perceiver resampler and gated cross-attention.

use candle_core::{DType, Tensor};
use sightline_nn::{
    Activation, Attention, AttentionSpec, Error, KeysValues, LayerNorm, Linear, Mask, Result,
    Weights,
};

use super::config::{FlamingoConfig, attention};

/// Added to the variance in every norm.
const NORM_EPS: f64 = 1e-5;

/// Reads `to_q`, `to_kv` (keys, then values) and `to_out`, none of which has a bias.
fn load_attention(weights: &Weights, spec: &AttentionSpec) -> Result<Attention> {
    let inner = spec.heads * spec.head_dim;
    let out = Linear::load_without_bias(&weights.scope(spec.names.out), inner, spec.width)?;
    Attention::load_with_out(weights, spec, out)
}

/// Norm, map, exact GELU, map, without biases: `0`, `1` and `3` of the program's sequence.
struct FeedForward {
    norm: LayerNorm,
    expand: Linear,
    contract: Linear,
}

impl FeedForward {
    fn load(weights: &Weights, width: usize, times: usize) -> Result<Self> {
        let hidden = width * times;
        Ok(Self {
            norm: LayerNorm::load(&weights.scope(0), width, NORM_EPS)?,
            expand: Linear::load_without_bias(&weights.scope(1), width, hidden)?,
            contract: Linear::load_without_bias(&weights.scope(3), hidden, width)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm.forward(x)?;
        let wide = self.expand.forward_activated(&normed, Activation::Gelu)?;
        self.contract.forward(&wide)
    }
}

/// Makes a fixed number of vectors of any number of image tokens (section 3.1.1).
pub struct Resampler {
    latents: Tensor,
    /// One for each frame, of checkpoints that have them.
    frames: Option<Tensor>,
    /// One for each place of an image in a prompt, of checkpoints that have them.
    places: Option<Tensor>,
    layers: Vec<ResamplerLayer>,
    norm: LayerNorm,
}

struct ResamplerLayer {
    media_norm: LayerNorm,
    latents_norm: LayerNorm,
    attention: Attention,
    feed_forward: FeedForward,
}

impl Resampler {
    pub(super) fn load(weights: &Weights, config: &FlamingoConfig) -> Result<Self> {
        let (width, perceiver) = (config.vision_width, config.perceiver);
        let spec = attention(width, width, perceiver.heads, perceiver.dim_head);
        let layer = |i| -> Result<_> {
            let weights = weights.scope("layers").scope(i);
            let looks = weights.scope(0);
            Ok(ResamplerLayer {
                media_norm: LayerNorm::load(&looks.scope("norm_media"), width, NORM_EPS)?,
                latents_norm: LayerNorm::load(&looks.scope("norm_latents"), width, NORM_EPS)?,
                attention: load_attention(&looks, &spec)?,
                feed_forward: FeedForward::load(&weights.scope(1), width, perceiver.ff_mult)?,
            })
        };
        let table = |name: &str, shape: fn(usize, usize) -> Vec<usize>| -> Result<_> {
            let rows = weights.shape(name).and_then(|shape| shape.first().copied());
            let read = |rows| weights.tensor(name, &shape(rows, width));
            rows.map(read).transpose()
        };
        Ok(Self {
            latents: weights.tensor("latents", &[perceiver.num_latents, width])?,
            frames: table("frame_embs", |rows, width| vec![rows, width])?,
            places: table("media_time_embs", |rows, width| vec![rows, 1, width])?,
            layers: (0..perceiver.depth).map(layer).collect::<Result<_>>()?,
            norm: LayerNorm::load(&weights.scope("norm"), width, NORM_EPS)?,
        })
    }

    /// Whether what it makes of an image depends on the image's place in the prompt.
    pub fn depends_on_place(&self) -> bool {
        self.places.is_some()
    }

    /// `tokens` `[N, F, v, width]` of images of `F` frames (1: a picture), the n-th at place `places[n]` among the images
    /// of its prompt, counted from 0. Returns `[N, latents, width]`.
    pub fn forward(&self, tokens: &Tensor, places: &[usize]) -> Result<Tensor> {
        let (images, frames, _, width) = tokens.dims4()?;
        let mut tokens = tokens.clone();
        if let Some(table) = &self.frames {
            let rows = table.dim(0)?;
            if frames > rows {
                return Err(Error::Length {
                    len: frames,
                    limit: rows,
                });
            }
            tokens = tokens.broadcast_add(&table.narrow(0, 0, frames)?.unsqueeze(1)?)?;
        }
        let mut media = tokens.flatten(1, 2)?;
        if let Some(table) = &self.places {
            let rows = table.dim(0)?;
            let index: Vec<u32> = places.iter().map(|&place| place as u32).collect();
            if let Some(&index) = index.iter().find(|&&place| place as usize >= rows) {
                let what = "place of an image in a prompt";
                return Err(Error::Index { what, index, rows });
            }
            let index = Tensor::from_vec(index, places.len(), table.device())?;
            media = media.broadcast_add(&table.index_select(&index, 0)?)?;
        }
        let (latents, _) = self.latents.dims2()?;
        let latents = self.latents.broadcast_as((images, latents, width))?;
        let mut latents = latents.contiguous()?;
        for layer in &self.layers {
            let normed = layer.latents_norm.forward(&latents)?;
            // Latents look at the image and at one another.
            let seen = Tensor::cat(&[&layer.media_norm.forward(&media)?, &normed], 1)?;
            latents = (latents + layer.attention.forward(&normed, Some(&seen), None)?)?;
            latents = (&latents + layer.feed_forward.forward(&latents)?)?;
        }
        self.norm.forward(&latents)
    }
}

/// What a layer of the language model does before it is run: look at images, as far as its gates are open (section 3.1.2,
/// figure 4).
pub(super) struct GatedLayer {
    norm: LayerNorm,
    attention: Attention,
    feed_forward: FeedForward,
    /// tanh of the gates, `[1]`.
    attention_gate: Tensor,
    feed_forward_gate: Tensor,
}

/// What a gated layer looks at.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// Of latents, `B` rows.
    pub(super) media: &'a KeysValues,
    /// Which of them each token may look at; `None`: all.
    pub(super) mask: Option<&'a Mask>,
    /// `[B, T or 1, 1]`: 0 where a token has no image before it, else 1; `None`: all have one.
    pub(super) has_image: Option<&'a Tensor>,
}

impl GatedLayer {
    /// `width` is that of the language model.
    pub(super) fn load(weights: &Weights, width: usize, config: &FlamingoConfig) -> Result<Self> {
        let (source, gated) = (config.vision_width, config.gated);
        let looks = weights.scope("attn");
        let spec = attention(width, source, gated.heads, gated.dim_head);
        let gate = |name: &str| -> Result<Tensor> {
            Ok(weights
                .tensor_f32(name, &[1])?
                .tanh()?
                .to_dtype(weights.dtype())?)
        };
        Ok(Self {
            norm: LayerNorm::load(&looks.scope("norm"), width, NORM_EPS)?,
            attention: load_attention(&looks, &spec)?,
            feed_forward: FeedForward::load(&weights.scope("ff"), width, gated.ff_mult)?,
            attention_gate: gate("attn_gate")?,
            feed_forward_gate: gate("ff_gate")?,
        })
    }

    /// What is looked at, of latents `[B, S, width]`, which are not normalised.
    pub(super) fn media(&self, latents: &Tensor) -> Result<KeysValues> {
        self.attention.keys_values(latents)
    }

    /// `x` `[B, T, width]`; `None`: there is no image in the batch.
    pub(super) fn forward(&self, x: &Tensor, seen: Option<Seen<'_>>) -> Result<Tensor> {
        let x = match seen {
            None => x.clone(),
            Some(seen) => {
                let normed = self.norm.forward(x)?;
                let mut found = self.attention.look_at(&normed, seen.media, seen.mask)?;
                // The last map has no bias, so that nothing seen stays nothing behind it.
                if let Some(has_image) = seen.has_image {
                    found = found.broadcast_mul(&has_image.to_dtype(found.dtype())?)?;
                }
                (x + found.broadcast_mul(&self.attention_gate)?)?
            }
        };
        let more = self.feed_forward.forward(&x)?;
        Ok((x + more.broadcast_mul(&self.feed_forward_gate)?)?)
    }
}

/// Which latents the tokens of each row may look at: those of the image whose mark `image` was read last. `ids` are `B` rows
/// of one length, and there is room for `most` images of `latents` vectors each. Returns the mask `[B, 1, T, most * latents]`
/// and `[B, T, 1]`, 0 for tokens before any image.
pub(super) fn visible(
    ids: &[Vec<u32>],
    image: u32,
    most: usize,
    latents: usize,
    device: &candle_core::Device,
) -> Result<(Mask, Tensor)> {
    let len = ids.first().map_or(0, Vec::len);
    let (mut values, mut flags) = (Vec::new(), Vec::new());
    for row in ids {
        let mut count = 0;
        for &id in row {
            count += usize::from(id == image);
            flags.push(if count == 0 { 0f32 } else { 1.0 });
            let of_image = |number| if number == count { 0.0 } else { f32::MIN };
            let images = 1..=most;
            values.extend(images.flat_map(|number| std::iter::repeat_n(of_image(number), latents)));
        }
    }
    let mask = Tensor::from_vec(values, (ids.len(), 1, len, most * latents), device)?;
    let flags = Tensor::from_vec(flags, (ids.len(), len, 1), device)?.to_dtype(DType::F32)?;
    Ok((Mask::bias(&mask)?, flags))
}
