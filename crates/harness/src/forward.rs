//! Calls of the model, made so that a sample's numbers do not depend on its batch.
//!
//! A row of a matrix product is summed in another order when the shape changes enough: `gemm` 0.19, which
//! candle uses, has paths of their own for one row or column, for at most 256 elements, and for at most 64 rows
//! and columns when more than 512 values are summed. Neither threads nor the place of a row matter. Texts
//! are also padded to the longest of their call, and a softmax over more elements is summed in another order.
//! Hence two rules:
//!
//! - Images are called by the batch, filled up with copies of the last one until none of those paths can be
//!   taken: to [`WIDE_ROWS`] rows, and to [`NARROW_ROWS`] for models whose space has at most [`NARROW`]
//!   dimensions, since their layers may be as narrow.
//! - Texts are called in units that do not depend on the batch: the captions of one sample, or
//!   [`PROMPTS`] prompts in the order of the classes. Units run at once on rayon's threads.
//!
//! Measured with a CLIP ViT-B/32 of random weights on two cores that others used too (2026-11-24): images
//! in batches of 4 and of 32 have equal bits; one by one they would take twice as long. Texts in units of five
//! take about as long as in batches of 32; one by one they would take four times as long.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use sightline_core::Progress;
use sightline_models::{Capability, Embed, Model};
use sightline_preprocess::Preprocessor;

use crate::{Error, Result};

/// Widest space of a model that may have layers of 64 columns and fewer.
const NARROW: usize = 128;
/// Least images in a call of a narrow model.
const NARROW_ROWS: usize = 65;
/// Least images in a call of a wide model.
const WIDE_ROWS: usize = 4;
/// Prompts in a call.
const PROMPTS: usize = 32;
/// Calls between two looks at the stop flag.
const CALLS: usize = 16;

/// Reason of samples for which the model answers with infinities or not-a-numbers.
pub(crate) const NOT_FINITE: &str = "the model's output is not finite";

/// A model at a task.
#[derive(Clone, Copy)]
pub(crate) struct Forward<'m> {
    /// Name of the model, for messages.
    pub(crate) name: &'m str,
    /// Name of the task, for messages.
    pub(crate) task: &'m str,
    /// What embeds.
    pub(crate) embed: &'m dyn Embed,
    /// What prepared the pixels.
    pub(crate) preprocessor: &'m Preprocessor,
    /// Where the model is.
    pub(crate) device: &'m Device,
    /// Told how many prompts are done.
    pub(crate) progress: &'m dyn Progress,
    /// Ends long work that no predictions file would hold.
    pub(crate) stop: &'m AtomicBool,
}

impl<'m> Forward<'m> {
    /// What embeds in `model`.
    pub(crate) fn embed_of(name: &str, task: &str, model: &'m dyn Model) -> Result<&'m dyn Embed> {
        model.embed().ok_or_else(|| Error::Capability {
            model: name.to_owned(),
            capability: Capability::Embed.name(),
            task: task.to_owned(),
        })
    }

    /// One embedding for each row of pixels, in order.
    pub(crate) fn images(&self, mut rows: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
        let Some(last) = rows.last().cloned() else {
            return Ok(Vec::new());
        };
        let wanted = rows.len();
        let least = if self.embed.width() <= NARROW {
            NARROW_ROWS
        } else {
            WIDE_ROWS
        };
        rows.resize(wanted.max(least), last);
        let pixels = self.preprocessor.stack(&rows, self.device);
        let pixels = pixels.map_err(|source| Error::Preprocess {
            model: self.name.to_owned(),
            source,
        })?;
        let mut embeddings = self.values(self.embed.embed_images(&pixels), rows.len())?;
        embeddings.truncate(wanted);
        Ok(embeddings)
    }

    /// One embedding for each text of each unit, in order. A text's numbers depend on its unit alone.
    pub(crate) fn texts(&self, units: &[Vec<String>]) -> Result<Vec<Vec<Vec<f32>>>> {
        units
            .par_iter()
            .map(|unit| {
                let texts: Vec<&str> = unit.iter().map(String::as_str).collect();
                self.values(self.embed.embed_texts(&texts), texts.len())
            })
            .collect()
    }

    /// One embedding for each prompt, in order, or [`Error::Stopped`].
    pub(crate) fn prompts(&self, prompts: &[String]) -> Result<Vec<Vec<f32>>> {
        let units: Vec<Vec<String>> = prompts.chunks(PROMPTS).map(<[String]>::to_vec).collect();
        self.progress.start("prompts", Some(prompts.len() as u64));
        let mut embeddings = Vec::with_capacity(prompts.len());
        for units in units.chunks(CALLS) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let before = embeddings.len();
            embeddings.extend(self.texts(units)?.into_iter().flatten());
            self.progress.advance((embeddings.len() - before) as u64);
        }
        self.progress.finish();
        Ok(embeddings)
    }

    /// The values of a model's output for so many samples.
    fn values(
        &self,
        output: sightline_models::Result<Tensor>,
        samples: usize,
    ) -> Result<Vec<Vec<f32>>> {
        let forward = |source| Error::Forward {
            model: self.name.to_owned(),
            task: self.task.to_owned(),
            source: Box::new(source),
        };
        let output = output.map_err(forward)?;
        let expected = [samples, self.embed.width()];
        if output.dims() != expected {
            return Err(Error::Output {
                model: self.name.to_owned(),
                found: output.dims().to_vec(),
                expected: expected.to_vec(),
            });
        }
        output.to_vec2().map_err(|e| forward(e.into()))
    }
}
