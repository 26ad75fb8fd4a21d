//! What is checked before the first step: that data, objectives and model fit each other.

use std::collections::HashSet;
use std::sync::Arc;

use sightline_core::Sample;
use sightline_manifest::TrainPlan;
use sightline_models::VisualSpec;
use sightline_models::objective::{Need, Objective};

use crate::captions::Captions;
use crate::checkpoint::Parameter;
use crate::loader::Example;
use crate::objective::{has, words};
use crate::questions::{Question, questions};
use crate::regions::{RegionFeed, Wanted, image_name};
use crate::run::{Stage, TrainSpec};
use crate::source::{Data, Samples};
use crate::teacher::Teacher;
use crate::{Error, Result, pattern};

/// Samples whose texts are checked.
const CHECKED_SAMPLES: usize = 4096;
/// Threads that fetch samples of shards.
const FETCHERS: usize = 2;

/// The regions of each part of `data`, if an objective sees regions.
pub(crate) fn feeds(stages: &[Stage<'_>], data: &Data) -> Result<[Option<Arc<RegionFeed>>; 2]> {
    let needing = |need: Need| {
        let mut stages = stages.iter().map(|stage| &stage.objective);
        stages.find(|objective| objective.needs().contains(&need))
    };
    let mut feeds = [None, None];
    let Some(objective) = needing(Need::Regions) else {
        return Ok(feeds);
    };
    let Some(&VisualSpec::Regions { width, regions }) = objective.input() else {
        return Ok(feeds);
    };
    let of_classes = needing(Need::Classes);
    let wanted = Wanted {
        width,
        most: regions,
        classes: of_classes.is_some(),
    };
    for ((part, samples, place), feed) in data.parts().zip(&mut feeds) {
        let unnamed = |objective: &dyn Objective, need: Need, field: &str| Error::Unnamed {
            objective: objective.name().to_owned(),
            need: words(need),
            data: samples.name().to_owned(),
            field: format!("data.{part}_{field}"),
        };
        let Some(place) = place else {
            return Err(unnamed(&**objective, Need::Regions, "regions"));
        };
        let opened = RegionFeed::open(place, wanted)?;
        if let Some(objective) = of_classes {
            if place.lacks_objects() {
                return Err(unnamed(&**objective, Need::Classes, "objects"));
            }
            check_classes(&**objective, &opened)?;
        }
        *feed = Some(Arc::new(opened));
    }
    Ok(feeds)
}

fn check_classes(objective: &dyn Objective, feed: &RegionFeed) -> Result<()> {
    let Some(names) = objective.names() else {
        return Ok(());
    };
    match feed.classes().iter().find(|class| !names.contains(class)) {
        Some(class) => Err(Error::Unknown {
            what: "class",
            found: class.clone(),
            data: feed.name().to_owned(),
            objective: objective.name().to_owned(),
            known: names.len(),
        }),
        None => Ok(()),
    }
}

/// The teacher that an objective needs.
pub(crate) fn teacher(stages: &[Stage<'_>], spec: &TrainSpec<'_>) -> Result<Option<Teacher>> {
    let mut objectives = stages.iter().map(|stage| &stage.objective);
    let learning = objectives.find(|objective| objective.needs().contains(&Need::Teacher));
    let Some((objective, width)) = learning.and_then(|o| Some((o, o.teacher_width()?))) else {
        return Ok(None);
    };
    let Some(plan) = &spec.plan.model.teacher else {
        return Err(Error::Unnamed {
            objective: objective.name().to_owned(),
            need: words(Need::Teacher),
            data: spec.plan.name.clone(),
            field: "model.teacher".to_owned(),
        });
    };
    Teacher::open(plan, spec.roots, width, spec.device).map(Some)
}

/// The answers that `objective` has names for, if it answers.
pub(crate) fn answers(objective: &dyn Objective) -> Option<Arc<HashSet<String>>> {
    let answers = objective.needs().contains(&Need::Question);
    let names = objective.names().filter(|_| answers)?;
    Some(Arc::new(names.into_iter().collect()))
}

/// Checks that the data have what the objectives need: the first sample of each shard, and the texts of the first samples; and that batches hold
/// whole documents.
pub(crate) fn data(
    stages: &[Stage<'_>],
    data: &Data,
    feeds: &[Option<Arc<RegionFeed>>; 2],
    plan: &TrainPlan,
) -> Result<()> {
    for (number, stage) in stages.iter().enumerate() {
        check_documents(number, stage)?;
        check_together(number, stage, &plan.family)?;
    }
    let captions = Captions::of(&plan.data);
    for ((_, samples, _), feed) in data.parts().zip(feeds) {
        for (shard, sample) in &samples.first_of_each()? {
            for stage in stages {
                check_sample(&*stage.objective, shard, sample, &captions, feed.as_deref())?;
            }
        }
        check_texts(stages, samples, &captions)?;
    }
    Ok(())
}

fn check_documents(number: usize, stage: &Stage<'_>) -> Result<()> {
    let images = stage.objective.images_of_document().max(1);
    let (batch, parts) = (stage.plan.batch, stage.plan.accumulate);
    let part = batch.div_ceil(parts);
    if batch.is_multiple_of(images as u64) && part.is_multiple_of(images as u64) {
        return Ok(());
    }
    Err(Error::Documents {
        stage: number + 1,
        batch,
        part,
        images,
    })
}

/// Checks that a stage's batches are such that its objective can learn from them.
fn check_together(number: usize, stage: &Stage<'_>, family: &str) -> Result<()> {
    let (stage, number, objective) = (stage.plan, number + 1, &stage.objective);
    let name = || objective.name().to_owned();
    if objective.images_of_example() > 1 {
        return Err(Error::SeveralImages {
            objective: name(),
            images: objective.images_of_example(),
        });
    }
    let (part, least) = (
        stage.batch.div_ceil(stage.accumulate),
        objective.least_examples(),
    );
    // The last part of a batch may be smaller than the others.
    let last = stage.batch - (stage.batch - 1) / part * part;
    if part.min(last) < least as u64 {
        return Err(Error::FewTogether {
            stage: number,
            objective: name(),
            part: part.min(last),
            least,
        });
    }
    if stage.dropout > 0.0 && !objective.takes_dropout() {
        return Err(Error::NoDropout {
            stage: number,
            objective: name(),
            family: family.to_owned(),
        });
    }
    Ok(())
}

fn check_sample(
    objective: &dyn Objective,
    shard: &str,
    sample: &Sample,
    captions: &Captions,
    feed: Option<&RegionFeed>,
) -> Result<()> {
    let regions = feed.map(|feed| feed.of(image_name(sample))).transpose()?;
    let known = answers(objective);
    let is_known = |asked: &Question| {
        let mut asked = asked.clone();
        known.as_ref().is_none_or(|known| asked.keep(known))
    };
    let asked = questions(&sample.meta);
    let example = Example {
        key: sample.key.to_string(),
        captions: captions.all(sample),
        question: asked.first().cloned(),
        meta: sample.meta.clone(),
        regions: regions.flatten(),
    };
    let is_document = ["text_list", "image_info"]
        .iter()
        .all(|field| sample.meta.contains_key(*field));
    if is_document && sample.image.is_none() && objective.needs().contains(&Need::Pixels) {
        return Err(Error::Mmc4 {
            sample: example.key,
            shard: shard.to_owned(),
        });
    }
    let lacks = |need: &&Need| match need {
        Need::Pixels => sample.image.is_none(),
        // They are computed when all else fits.
        Need::Teacher => false,
        need => !has(&example, **need),
    };
    if let Some(need) = objective.needs().iter().find(lacks) {
        return Err(Error::Lacks {
            objective: objective.name().to_owned(),
            need: words(*need).to_owned(),
            sample: example.key,
            shard: shard.to_owned(),
        });
    }
    match asked.first() {
        Some(first) if !asked.iter().any(is_known) => {
            let found = first.answers.first();
            Err(Error::Unknown {
                what: "answer",
                found: found.map_or_else(String::new, |(answer, _)| answer.clone()),
                data: shard.to_owned(),
                objective: objective.name().to_owned(),
                known: known.map_or(0, |known| known.len()),
            })
        }
        _ => Ok(()),
    }
}

/// Checks that the vocabulary covers the texts of the first samples.
fn check_texts(stages: &[Stage<'_>], samples: &Samples, captions: &Captions) -> Result<()> {
    let needing = |need: Need| {
        let stages = stages.iter().map(|stage| &stage.objective);
        let needing = stages.filter(move |objective| objective.needs().contains(&need));
        needing.collect::<Vec<_>>()
    };
    let (reading, asking) = (needing(Need::Caption), needing(Need::Question));
    if reading.is_empty() && asking.is_empty() {
        return Ok(());
    }
    for sample in samples.in_order(FETCHERS).take(CHECKED_SAMPLES) {
        let sample = sample?;
        for text in captions.all(&sample) {
            reading.iter().try_for_each(|o| o.check_text(&text))?;
        }
        if asking.is_empty() {
            continue;
        }
        for asked in questions(&sample.meta) {
            asking.iter().try_for_each(|o| o.check_text(&asked.text))?;
        }
    }
    Ok(())
}

/// Checks that each of `patterns` matches a parameter.
pub(crate) fn patterns(
    what: &'static str,
    patterns: &[String],
    parameters: &[Parameter],
) -> Result<()> {
    let is_idle = |pattern: &&String| {
        let mut names = parameters.iter().map(|parameter| &parameter.name);
        !names.any(|name| pattern::any(&[pattern], name))
    };
    match patterns.iter().find(is_idle) {
        Some(pattern) => Err(Error::Pattern {
            what,
            pattern: pattern.clone(),
        }),
        None => Ok(()),
    }
}
