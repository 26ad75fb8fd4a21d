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
    Need, Objective, ObjectiveSpec, Reward, TRAINABLE, TrainingBatch, TrainingExample, find,
};
use sightline_models::{ModelSpec, Visual};
use sightline_preprocess::Preprocessor;

use crate::loader::{Example, Prepared};
use crate::{Error, Result};

/// What samples of shards and scenes can give.
const GIVEN: [Need; 5] = [
    Need::Pixels,
    Need::Caption,
    Need::Question,
    Need::Label,
    Need::Reward,
];

/// Column of metadata with the name of a sample's class.
const CLASS: &str = "class_name";

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

/// Opens the objective of a stage for the model of `family` in `folder`. What it needs and nobody here can give is refused.
pub fn open(
    family: &str,
    stage: &PlannedStage,
    folder: &Path,
    device: &Device,
    reward: &Arc<dyn Reward>,
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
        reward: Some(reward),
    };
    let objective = (entry.open)(&spec)?;
    match objective.needs().iter().find(|need| !GIVEN.contains(need)) {
        Some(need) => Err(Error::Needs {
            objective: stage.objective.clone(),
            need: words(*need).to_owned(),
        }),
        None => Ok(objective),
    }
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
        Need::Question => !questions(&example.meta).is_empty(),
        Need::Label => label(&example.meta).is_some(),
        _ => true,
    }
}

/// The examples `range` of what was prepared, on `device`.
pub fn batch_of(
    prepared: &Prepared,
    range: Range<usize>,
    preprocessor: Option<&Preprocessor>,
    device: &Device,
) -> Result<TrainingBatch> {
    let examples = &prepared.examples[range.clone()];
    let mut visual = None;
    if let Some(preprocessor) = preprocessor.filter(|_| !prepared.pixels.is_empty()) {
        let (each, size) = (preprocessor.len(), preprocessor.spec().size);
        let (height, width) = (size.height as usize, size.width as usize);
        let shape = match preprocessor.layout() {
            Layout::Nchw => (examples.len(), 3, height, width),
            Layout::Nhwc => (examples.len(), height, width, 3),
        };
        let pixels = &prepared.pixels[range.start * each..range.end * each];
        visual = Some(Visual::Pixels(Tensor::from_slice(pixels, shape, device)?));
    }
    let has_images = visual.is_some();
    let examples = examples.iter().enumerate().map(|(row, example)| {
        let questions = questions(&example.meta);
        let asked = questions.get(example.choice as usize % questions.len().max(1));
        TrainingExample {
            id: example.key.clone(),
            images: if has_images { vec![row] } else { Vec::new() },
            captions: example.captions.clone(),
            question: asked.map(|(question, _)| question.clone()),
            answers: asked
                .map(|(_, answer)| (answer.clone(), 1.0))
                .into_iter()
                .collect(),
            label: label(&example.meta).map(str::to_owned),
            ..TrainingExample::default()
        }
    });
    Ok(TrainingBatch {
        visual,
        teacher: None,
        examples: examples.collect(),
    })
}

/// Questions with their answers: those of the list `questions`, or the texts `question` and `answer`.
fn questions(meta: &serde_json::Map<String, Value>) -> Vec<(String, String)> {
    let pair = |value: &Value| {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        Some((text("question")?, text("answer")?))
    };
    if let Some(Value::Array(questions)) = meta.get("questions") {
        return questions.iter().filter_map(pair).collect();
    }
    let text = |key: &str| meta.get(key).and_then(Value::as_str).map(str::to_owned);
    text("question").zip(text("answer")).into_iter().collect()
}

fn label(meta: &serde_json::Map<String, Value>) -> Option<&str> {
    meta.get(CLASS).and_then(Value::as_str)
}
