//! The claims of models that find objects.

use candle_core::{Device, Tensor};

use super::compare;
use super::visual::random;
use crate::detect::proposals::{Sliding, sliding};
use crate::detect::{Class, Detect, Judged, Proposal, RegionBatch, RegionView, Seen};
use crate::{Model, Result, VisualSpec};

/// Of the image, in pixels.
const SIZE: [f32; 2] = [64.0, 48.0];
/// Regions.
const REGIONS: usize = 5;

pub(super) fn check_detect(
    model: &dyn Model,
    detect: &dyn Detect,
    device: &Device,
) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let class = |names: &[&'static str], is_base| Class {
        names: names.to_vec(),
        is_base,
    };
    let classes = [
        class(&["cat"], true),
        class(&["alarm_clock", "clock"], false),
        class(&["red square"], true),
    ];
    let vocabulary = detect.vocabulary(&classes)?;
    let rows = vocabulary.embeddings.dim(0)?;
    if rows != classes.len() || vocabulary.is_base != [true, false, true] {
        broken.push(format!("reads {} classes as {rows}", classes.len()));
        return Ok(broken);
    }
    if detect.vocabulary(&[class(&[], true)]).is_ok() {
        broken.push("reads a class without a name".to_owned());
    }

    let windows = Sliding {
        limit: REGIONS,
        ..Sliding::default()
    };
    let proposals = sliding(SIZE, &windows);
    let Some(seen) = seen(model, detect, proposals.len(), device)? else {
        broken.push("looks at regions in a way that its input does not have".to_owned());
        return Ok(broken);
    };
    let judge = |proposals: &[Proposal], seen: Seen| {
        let batch = RegionBatch {
            size: SIZE,
            proposals,
            seen,
        };
        detect.judge(&batch, &vocabulary)
    };
    let together = judge(&proposals, seen.clone())?;
    let is_whole = together.edges.len() == proposals.len()
        && together.scores.len() == proposals.len()
        && together.scores.iter().all(|row| row.len() == rows);
    if !is_whole {
        broken.push(format!(
            "judges {} regions as {}",
            proposals.len(),
            together.scores.len()
        ));
        return Ok(broken);
    }
    let scores = together.scores.iter().flatten();
    // NaN is no score either.
    if !scores.copied().all(|score| (0.0..=1.0).contains(&score)) {
        broken.push("gives scores outside 0 to 1".to_owned());
    }
    let is_within = |edges: &[f32; 4]| {
        let [left, top, right, bottom] = *edges;
        left >= 0.0 && top >= 0.0 && right <= SIZE[0] && bottom <= SIZE[1]
    };
    if !together.edges.iter().all(is_within) {
        broken.push("finds objects outside the image".to_owned());
    }

    let mut alone = Judged::default();
    for region in 0..proposals.len() {
        let one = judge(&proposals[region..=region], part(&seen, region, 1)?)?;
        alone.extend(one);
    }
    let tensor = |judged: &Judged| Tensor::new(judged.scores.clone(), device);
    broken.extend(compare("scores", &tensor(&together)?, &tensor(&alone)?)?);
    let edges = |judged: &Judged| Tensor::new(judged.edges.concat(), device);
    broken.extend(compare("boxes", &edges(&together)?, &edges(&alone)?)?);

    if !judge(&[], part(&seen, 0, 0)?)?.scores.is_empty() {
        broken.push("judges no regions as some".to_owned());
    }
    if judge(&proposals[1..], seen).is_ok() {
        broken.push("judges with a region missing".to_owned());
    }
    broken.extend(check_selection(detect, &together));
    Ok(broken)
}

fn check_selection(detect: &dyn Detect, judged: &Judged) -> Option<String> {
    let selection = detect.selection();
    let found = selection.select(judged);
    let is_sorted = found.is_sorted_by(|a, b| a.score >= b.score);
    let is_few = found.len() <= selection.max_detections;
    (!is_sorted || !is_few).then(|| format!("selects {} detections badly", found.len()))
}

/// Random things to look at; `None` where the model's input is of another kind.
fn seen(
    model: &dyn Model,
    detect: &dyn Detect,
    regions: usize,
    device: &Device,
) -> Result<Option<Seen>> {
    Ok(Some(match (detect.view(), model.input()) {
        (RegionView::Features(wanted), &VisualSpec::Regions { width, .. }) if wanted == width => {
            Seen::Features(random(0, &[regions, width], device)?)
        }
        (RegionView::Crops(scales), VisualSpec::Pixels(spec)) => {
            let (height, width) = (spec.size.height as usize, spec.size.width as usize);
            let crops = (0..scales.len()).map(|i| random(i, &[regions, 3, height, width], device));
            Seen::Crops(crops.collect::<Result<_>>()?)
        }
        _ => return Ok(None),
    }))
}

fn part(seen: &Seen, from: usize, count: usize) -> Result<Seen> {
    Ok(match seen {
        Seen::Features(features) => Seen::Features(features.narrow(0, from, count)?),
        Seen::Crops(crops) => {
            let crops = crops.iter().map(|crops| Ok(crops.narrow(0, from, count)?));
            Seen::Crops(crops.collect::<Result<_>>()?)
        }
    })
}
