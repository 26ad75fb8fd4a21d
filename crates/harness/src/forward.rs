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
//! Everything but embeddings is asked for one example at a time ([`Forward::each`]), examples at once on rayon's threads:
//! the rows of an example are a sequence of words and regions, or the hypotheses of a caption, so that there is no
//! shape that a batch could keep (`docs/decisions/0012-examples-and-ways-to-answer.md`).
//!
//! Measured with a CLIP ViT-B/32 of random weights on two cores that others used too (2026-11-24): images
//! in batches of 4 and of 32 have equal bits; one by one they would take twice as long. Texts in units of five
//! take about as long as in batches of 32; one by one they would take four times as long.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use sightline_adapters::side_by_side;
use sightline_core::Progress;
use sightline_models::{Capability, Embed, Error as ModelError, Features, Model, Visual, Way};

use crate::halves::in_halves;
use crate::predictions::Outcome;
use crate::task::Work;
use crate::visuals::{Prepared, Preparer, StackError};
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
    /// Name of the dataset, for messages.
    pub(crate) dataset: &'m str,
    /// The model.
    pub(crate) model: &'m dyn Model,
    /// What prepared the images.
    pub(crate) preparer: &'m Preparer,
    /// Where the model is.
    pub(crate) device: &'m Device,
    /// Told how many prompts are done.
    pub(crate) progress: &'m dyn Progress,
    /// Ends long work that no predictions file would hold.
    pub(crate) stop: &'m AtomicBool,
}

impl<'m> Forward<'m> {
    /// What embeds.
    pub(crate) fn embedder(self) -> Result<Embedder<'m>> {
        let embed = self.found(self.model.embed(), Capability::Embed)?;
        Ok(Embedder {
            forward: self,
            embed,
        })
    }

    /// What makes features of images, by this way.
    pub(crate) fn featurer(self, way: Way) -> Result<Featurer<'m>> {
        let features = self.found(way.features(self.model), Capability::Features)?;
        Ok(Featurer {
            forward: self,
            features,
        })
    }

    /// A row of `width` values for the one image of each of `works`, in order, of a batch that is filled up until a
    /// row's numbers depend on its image alone.
    fn rows(
        &self,
        works: &[Work],
        width: usize,
        call: impl Fn(&Visual) -> sightline_models::Result<Tensor>,
    ) -> Result<Vec<Vec<f32>>> {
        let mut rows: Vec<&Prepared> = works
            .iter()
            .filter_map(|work| work.images.first())
            .collect();
        let Some(&last) = rows.last() else {
            return Ok(Vec::new());
        };
        let wanted = rows.len();
        let least = if matches!(self.preparer, Preparer::Encoded) {
            1
        } else if width <= NARROW {
            NARROW_ROWS
        } else {
            WIDE_ROWS
        };
        rows.resize(wanted.max(least), last);
        let mut found = in_halves(&rows, &Error::is_out_of_memory, &|rows| {
            let visual = self.visual(rows)?;
            self.values(call(&visual), rows.len(), width)
        })?;
        found.truncate(wanted);
        Ok(found)
    }

    /// The values of a model's output for so many samples.
    fn values(
        &self,
        output: sightline_models::Result<Tensor>,
        samples: usize,
        width: usize,
    ) -> Result<Vec<Vec<f32>>> {
        let output = output.map_err(|source| self.broken(source))?;
        let expected = [samples, width];
        if output.dims() != expected {
            return Err(Error::Output {
                model: self.name.to_owned(),
                found: output.dims().to_vec(),
                expected: expected.to_vec(),
            });
        }
        output.to_vec2().map_err(|e| self.broken(e.into()))
    }

    /// What a model answers with, which it said that it has.
    pub(crate) fn found<T>(&self, found: Option<T>, capability: Capability) -> Result<T> {
        found.ok_or_else(|| Error::Capability {
            model: self.name.to_owned(),
            capability: capability.name().to_owned(),
            task: self.task.to_owned(),
        })
    }

    /// What `ask` makes of each of `works`, which it is given one by one, on rayon's threads.
    pub(crate) fn each(
        &self,
        works: &[Work],
        ask: impl Fn(&Work) -> Result<Answer> + Sync,
    ) -> Result<Vec<Outcome>> {
        let one = |work: &Work| {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            ask(work).map(|answer| answer.unwrap_or_else(|outcome| outcome))
        };
        match self.model.at_once() {
            None => works.par_iter().map(one).collect(),
            // They wait for something else than this machine's cores.
            Some(at_once) => side_by_side(works, at_once, one),
        }
    }

    /// Images of one example as a batch of one for each place.
    pub(crate) fn visuals(&self, images: &[Prepared]) -> Result<Vec<Visual>> {
        images.iter().map(|image| self.visual(&[image])).collect()
    }

    /// Images as one batch.
    pub(crate) fn visual(&self, images: &[&Prepared]) -> Result<Visual> {
        self.preparer
            .stack(images, self.device)
            .map_err(|error| match error {
                StackError::Pixels(source) => Error::Preprocess {
                    model: self.name.to_owned(),
                    source,
                },
                StackError::Regions(source) => Error::Regions {
                    dataset: self.dataset.to_owned(),
                    source: Box::new(source),
                },
            })
    }

    /// What a model said. What is wrong with one example alone, words that it does not read or regions that are not
    /// there, is that example's outcome.
    pub(crate) fn said<T>(
        &self,
        answer: sightline_models::Result<T>,
    ) -> Result<Result<T, Outcome>> {
        let failed = |why: &str| Ok(Err(Outcome::Failed(why.to_owned())));
        match answer {
            Ok(said) => Ok(Ok(said)),
            Err(ModelError::Span { .. }) => failed("words beyond the model's context"),
            Err(ModelError::Region { .. }) => failed("words name a region that is not there"),
            Err(ModelError::Unanswered { reason }) => Ok(Err(Outcome::unanswered(&reason))),
            Err(source) => Err(self.broken(source)),
        }
    }

    /// The finite values of a model's answer about one example, of which there must be `expected`.
    pub(crate) fn scores(
        &self,
        answer: sightline_models::Result<Tensor>,
        expected: usize,
    ) -> Result<Result<Vec<f64>, Outcome>> {
        let tensor = match self.said(answer)? {
            Ok(tensor) => tensor,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
        let values = values.map_err(|e| self.broken(e.into()))?;
        if values.len() != expected {
            return Err(Error::Output {
                model: self.name.to_owned(),
                found: tensor.dims().to_vec(),
                expected: vec![1, expected],
            });
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Ok(Err(Outcome::Failed(NOT_FINITE.to_owned())));
        }
        Ok(Ok(values.into_iter().map(f64::from).collect()))
    }

    /// What went wrong with the model itself.
    pub(crate) fn broken(&self, source: ModelError) -> Error {
        Error::Forward {
            model: self.name.to_owned(),
            task: self.task.to_owned(),
            source: Box::new(source),
        }
    }
}

/// What became of one example: what is written, in either case.
pub(crate) type Answer = std::result::Result<Outcome, Outcome>;

/// A model that embeds, at a task.
#[derive(Clone, Copy)]
pub(crate) struct Embedder<'m> {
    forward: Forward<'m>,
    embed: &'m dyn Embed,
}

impl Embedder<'_> {
    /// One embedding for the one image of each of `works`, in order.
    pub(crate) fn images(&self, works: &[Work]) -> Result<Vec<Vec<f32>>> {
        let embed = self.embed;
        let call = |visual: &Visual| embed.embed_visual(visual);
        self.forward.rows(works, embed.width(), call)
    }

    /// One embedding for each text of each unit, in order. A text's numbers depend on its unit alone.
    pub(crate) fn texts(&self, units: &[Vec<String>]) -> Result<Vec<Vec<Vec<f32>>>> {
        units
            .par_iter()
            .map(|unit| {
                let texts: Vec<&str> = unit.iter().map(String::as_str).collect();
                let output = self.embed.embed_texts(&texts);
                self.forward.values(output, texts.len(), self.embed.width())
            })
            .collect()
    }

    /// One embedding for each prompt, in order, or [`Error::Stopped`].
    pub(crate) fn prompts(&self, prompts: &[String]) -> Result<Vec<Vec<f32>>> {
        let units: Vec<Vec<String>> = prompts.chunks(PROMPTS).map(<[String]>::to_vec).collect();
        self.forward
            .progress
            .start("prompts", Some(prompts.len() as u64));
        let mut embeddings = Vec::with_capacity(prompts.len());
        for units in units.chunks(CALLS) {
            if self.forward.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let before = embeddings.len();
            embeddings.extend(self.texts(units)?.into_iter().flatten());
            self.forward
                .progress
                .advance((embeddings.len() - before) as u64);
        }
        self.forward.progress.finish();
        Ok(embeddings)
    }
}

/// A model that makes features of images, at a task.
pub(crate) struct Featurer<'m> {
    forward: Forward<'m>,
    features: Box<dyn Features + 'm>,
}

impl Featurer<'_> {
    /// Values of a feature.
    pub(crate) fn width(&self) -> usize {
        self.features.width()
    }

    /// The features of the one image of each of `works`, in order.
    pub(crate) fn images(&self, works: &[Work]) -> Result<Vec<Vec<f32>>> {
        let call = |visual: &Visual| self.features.features(visual.pixels()?);
        self.forward.rows(works, self.features.width(), call)
    }
}
