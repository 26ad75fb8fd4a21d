//! Batches and objectives as the crate `models` has them, made of what the loader prepares.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde_json::Value;
use sightline_core::image_spec::Layout;
use sightline_core::registry::UnknownName;
use sightline_manifest::TrainableFamilies;
use sightline_manifest::train::PlannedStage;
use sightline_models::objective::{
    DocumentPart, Keep, Need, Objective, ObjectiveSpec, Reward, TRAINABLE, TrainingBatch,
    TrainingExample, find,
};
use sightline_models::{ModelSpec, Visual};
use sightline_preprocess::Preprocessor;
use sightline_preprocess::regions::{Regions, stack};

use crate::loader::{Example, Prepared};
use crate::regions::{Seen, Wanted};
use crate::{Error, Result};

/// Column of metadata with the name of a sample's class.
const CLASS: &str = "class_name";

/// What a run has for the objectives that ask for it.
#[derive(Clone, Copy)]
pub struct Support<'a> {
    /// What judges captions.
    pub reward: &'a Arc<dyn Reward>,
    /// What keeps tensors that take long to compute.
    pub keep: &'a dyn Keep,
}

/// Families that can be trained, with their objectives.
pub fn families() -> TrainableFamilies {
    let named = TRAINABLE.iter().map(|entry| {
        let objectives = entry.objectives.iter().map(|objective| objective.name);
        (
            entry.family.to_owned(),
            objectives.map(str::to_owned).collect(),
        )
    });
    named.collect()
}

/// Opens the objective of a stage for the model of `family` in `folder`.
pub fn open(
    family: &str,
    stage: &PlannedStage,
    folder: &Path,
    device: &Device,
    support: Support<'_>,
) -> Result<Box<dyn Objective>> {
    let entry = find(family, &stage.objective).map_err(|error: UnknownName| Error::Objective {
        error: Box::new(error),
        family: family.to_owned(),
    })?;
    let model = ModelSpec {
        checkpoint: Some(folder.to_owned()),
        ..ModelSpec::without_checkpoint(sightline_core::Seed(0))
    };
    let spec = ObjectiveSpec {
        model: &model,
        options: &stage.options,
        device,
        reward: Some(support.reward),
        keep: Some(support.keep),
    };
    Ok((entry.open)(&spec)?)
}

/// Whether the objective called `name` of `family` asks questions.
pub fn asks(family: &str, name: &str) -> bool {
    find(family, name).is_ok_and(|entry| entry.asks)
}

/// What a sample has to have, in words.
pub fn words(need: Need) -> &'static str {
    match need {
        Need::Pixels => "images",
        Need::Regions => "regions with features",
        Need::Caption => "captions",
        Need::Question => "questions with answers",
        Need::Label => "labels",
        Need::Classes => "classes of regions",
        Need::Teacher => "a teacher's vectors of regions",
        Need::Reward => "a judge of captions",
        _ => "something that is not known here",
    }
}

/// Whether a sample's metadata and captions give `need`; images are looked at elsewhere.
pub fn has(example: &Example, need: Need) -> bool {
    match need {
        Need::Caption => !example.captions.is_empty(),
        Need::Question => example.question.is_some(),
        Need::Label => label(&example.meta).is_some(),
        Need::Regions => example.regions.is_some(),
        Need::Classes => seen(example, |seen| !seen.targets.is_empty()),
        Need::Teacher => seen(example, |seen| !seen.vectors.is_empty()),
        _ => true,
    }
}

fn seen(example: &Example, is_good: impl Fn(&Seen) -> bool) -> bool {
    example.regions.as_deref().is_some_and(is_good)
}

/// How the images of a stage's batches look.
#[derive(Clone, Copy)]
pub struct Form<'a> {
    /// What made the pixels.
    pub preprocessor: Option<&'a Preprocessor>,
    /// What was wanted of regions.
    pub regions: Option<Wanted>,
    /// How many samples one after the other make an example.
    pub images: usize,
}

/// The examples of the samples `range` of what was prepared, on `device`.
pub fn batch_of(
    prepared: &Prepared,
    range: Range<usize>,
    form: Form<'_>,
    device: &Device,
) -> Result<TrainingBatch> {
    let examples = &prepared.examples[range.clone()];
    let mut visual = None;
    if let Some(preprocessor) = form.preprocessor.filter(|_| !prepared.pixels.is_empty()) {
        let (each, size) = (preprocessor.len(), preprocessor.spec().size);
        let (height, width) = (size.height as usize, size.width as usize);
        let shape = match preprocessor.layout() {
            Layout::Nchw => (examples.len(), 3, height, width),
            Layout::Nhwc => (examples.len(), height, width, 3),
        };
        let pixels = &prepared.pixels[range.start * each..range.end * each];
        visual = Some(Visual::Pixels(Tensor::from_slice(pixels, shape, device)?));
    }
    let mut teacher = None;
    let seen: Vec<&Seen> = examples
        .iter()
        .filter_map(|e| e.regions.as_deref())
        .collect();
    if let Some(wanted) = form.regions.filter(|_| seen.len() == examples.len()) {
        let regions: Vec<&Regions> = seen.iter().map(|seen| &seen.regions).collect();
        let batch = stack(&regions, wanted.width, wanted.most, device)
            .map_err(|error| Error::Regions(Box::new(error)))?;
        teacher = vectors(&seen, batch.visual_embeds.dim(1)?, device)?;
        visual = Some(Visual::Regions {
            features: batch.visual_embeds,
            present: batch.visual_attention_mask,
        });
    }
    let has_images = visual.is_some();
    let examples = if form.images > 1 {
        let documents = examples.chunks(form.images).enumerate();
        documents
            .map(|(number, samples)| document(number * form.images, samples, has_images))
            .collect()
    } else {
        let one = |(row, example)| example_of(row, example, has_images);
        examples.iter().enumerate().map(one).collect()
    };
    Ok(TrainingBatch {
        visual,
        teacher,
        examples,
    })
}

/// The sample whose image is the row `row`.
fn example_of(row: usize, example: &Example, has_images: bool) -> TrainingExample {
    let asked = example.question.as_ref();
    TrainingExample {
        id: example.key.clone(),
        images: if has_images { vec![row] } else { Vec::new() },
        captions: example.captions.clone(),
        question: asked.map(|asked| asked.text.clone()),
        answers: asked.map_or_else(Vec::new, |asked| asked.answers.clone()),
        label: label(&example.meta).map(str::to_owned),
        regions: example
            .regions
            .as_ref()
            .map_or_else(Vec::new, |seen| seen.targets.clone()),
        ..TrainingExample::default()
    }
}

/// A document of samples, each an image with its caption, whose images are the rows from `row` on; or of captions alone.
fn document(row: usize, samples: &[Example], has_images: bool) -> TrainingExample {
    let parts = samples.iter().zip(row..).flat_map(|(sample, row)| {
        let caption = sample.captions.first().cloned().unwrap_or_default();
        let image = has_images.then_some(DocumentPart::Image(row));
        image.into_iter().chain([DocumentPart::Text(caption)])
    });
    TrainingExample {
        id: samples.first().map(|s| s.key.clone()).unwrap_or_default(),
        images: if has_images {
            (row..row + samples.len()).collect()
        } else {
            Vec::new()
        },
        document: parts.collect(),
        ..TrainingExample::default()
    }
}

/// `[B, R, D]`, the teacher's vectors of the `most` regions that each sample has or is filled up to; `None` without a teacher.
fn vectors(seen: &[&Seen], most: usize, device: &Device) -> Result<Option<Tensor>> {
    let width = |seen: &&Seen| seen.vectors.len() / seen.regions.len().max(1);
    let width = seen.iter().map(width).max().unwrap_or(0);
    if width == 0 {
        return Ok(None);
    }
    let mut all = Vec::with_capacity(seen.len() * most * width);
    for seen in seen {
        all.extend_from_slice(&seen.vectors);
        all.resize(all.len() + most * width - seen.vectors.len(), 0.0);
    }
    let shape = (seen.len(), most, width);
    Ok(Some(Tensor::from_vec(all, shape, device)?))
}

fn label(meta: &serde_json::Map<String, Value>) -> Option<&str> {
    meta.get(CLASS).and_then(Value::as_str)
}
