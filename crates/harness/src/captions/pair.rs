//! References and predictions of the same images.

use foldhash::{HashMap, HashMapExt};
use serde::Serialize;

use super::error::{CaptionError, Ids, Unpairable};
use super::read::Captions;

/// Images with references and a prediction in every file, in the order of the references.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paired {
    /// What the ids are: `image_id`, `filename`.
    pub id_name: &'static str,
    /// Ids of the images, as the predictions have them.
    pub ids: Vec<String>,
    /// For each the candidate and the references.
    pub captions: Vec<(String, Vec<String>)>,
    /// For each what the baseline wrote, if there is one.
    pub baseline: Option<Vec<String>>,
    /// What was left out.
    pub left_out: LeftOut,
}

/// How many images were left out, and what they lacked. An image may lack something in both files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Images of the references without a caption.
    pub without_references: usize,
    /// What the predictions lack or have too much.
    pub predictions: Unpaired,
    /// What the baseline lacks or has too much.
    pub baseline: Option<Unpaired>,
}

/// How many images of one file of predictions were left out, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unpaired {
    /// Images with references and no prediction.
    pub missing: usize,
    /// Predictions of images that the references do not have.
    pub extra: usize,
    /// Images whose prediction failed.
    pub failed: usize,
}

/// Which images of the references a file of predictions has. Images are known by their place in the
/// references, so that files that call them by different ids can be compared.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// Which of the ids of the references the file uses.
    kind: usize,
    /// For each image of the references, the caption.
    captions: Vec<Option<&'a str>>,
    unpaired: Unpaired,
}

/// Finds the images of the references among the predictions. What is left over is an error that names
/// it, or with `is_partial` is counted.
pub fn find<'a>(
    references: &Captions,
    predictions: &'a Captions,
    is_partial: bool,
) -> Result<Found<'a>, CaptionError> {
    let mut predicted = HashMap::with_capacity(predictions.entries.len());
    for (place, entry) in predictions.entries.iter().enumerate() {
        if let Some(id) = entry.ids.first() {
            predicted.insert(id.as_str(), place);
        }
    }
    let kind = kind_of_id(references, &predicted);

    let mut captions = Vec::with_capacity(references.entries.len());
    let mut left = Unpairable::default();
    let mut is_known = vec![false; predictions.entries.len()];
    for entry in &references.entries {
        let id = entry.ids.get(kind).map_or("", String::as_str);
        let place = predicted.get(id).copied();
        let caption = place.and_then(|place| predictions.entries[place].captions.first());
        captions.push(caption.map(String::as_str));
        if let Some(place) = place {
            is_known[place] = true;
        }
        if entry.captions.is_empty() {
            continue;
        }
        match (place, caption) {
            (None, _) => left.missing.0.push(id.to_owned()),
            (Some(_), None) => left.failed.0.push(id.to_owned()),
            (Some(_), Some(_)) => {}
        }
    }
    let extra = predictions.entries.iter().zip(is_known);
    left.extra = Ids(extra
        .filter(|(_, is_known)| !is_known)
        .filter_map(|(entry, _)| entry.ids.first().cloned())
        .collect());

    let unpaired = Unpaired {
        missing: left.missing.0.len(),
        extra: left.extra.0.len(),
        failed: left.failed.0.len(),
    };
    if !is_partial && left != Unpairable::default() {
        return Err(CaptionError::Unpaired(left));
    }
    Ok(Found {
        kind,
        captions,
        unpaired,
    })
}

/// Brings together what belongs to one image, of the images that all files have.
pub fn pair(
    references: Captions,
    predictions: &Found<'_>,
    baseline: Option<&Found<'_>>,
) -> Result<Paired, CaptionError> {
    let id_name = references.id_names.get(predictions.kind);
    let mut paired = Paired {
        id_name: id_name.copied().unwrap_or("id"),
        baseline: baseline.map(|_| Vec::new()),
        left_out: LeftOut {
            without_references: 0,
            predictions: predictions.unpaired,
            baseline: baseline.map(|found| found.unpaired),
        },
        ..Paired::default()
    };
    for (place, mut entry) in references.entries.into_iter().enumerate() {
        if entry.captions.is_empty() {
            paired.left_out.without_references += 1;
            continue;
        }
        let other = baseline.map(|found| found.captions[place]);
        let (Some(candidate), None | Some(Some(_))) = (predictions.captions[place], other) else {
            continue;
        };
        if predictions.kind < entry.ids.len() {
            paired.ids.push(entry.ids.swap_remove(predictions.kind));
        }
        paired.captions.push((candidate.to_owned(), entry.captions));
        if let (Some(all), Some(Some(other))) = (&mut paired.baseline, other) {
            all.push(other.to_owned());
        }
    }
    if paired.captions.is_empty() {
        return Err(CaptionError::Nothing {
            has_baseline: baseline.is_some(),
        });
    }
    Ok(paired)
}

/// Which of the ids of the references the predictions use: the one that finds most of them.
fn kind_of_id(references: &Captions, predicted: &HashMap<&str, usize>) -> usize {
    let found = |kind: usize| {
        let ids = references.entries.iter().filter_map(|e| e.ids.get(kind));
        ids.filter(|id| predicted.contains_key(id.as_str())).count()
    };
    // The first of equally good ones.
    (0..references.id_names.len())
        .rev()
        .max_by_key(|&kind| found(kind))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::read::{Entry, Role, Row};
    use super::*;

    fn captions(rows: &[(&str, &[&str])]) -> Captions {
        let rows = rows.iter().map(|(id, captions)| Row {
            id: (*id).to_owned(),
            captions: captions.iter().map(|&c| c.to_owned()).collect(),
            ..Row::default()
        });
        Captions::of_rows("id", Role::References, rows).unwrap()
    }

    fn together(
        references: &Captions,
        predictions: &Captions,
        is_partial: bool,
    ) -> Result<Paired, CaptionError> {
        let found = find(references, predictions, is_partial)?;
        pair(references.clone(), &found, None)
    }

    #[test]
    fn images_are_paired_in_the_order_of_the_references() {
        let references = captions(&[("2", &["b"]), ("1", &["a", "c"])]);
        let predictions = captions(&[("1", &["x"]), ("2", &["y"])]);
        let paired = together(&references, &predictions, false).unwrap();
        assert_eq!(paired.ids, ["2", "1"]);
        assert_eq!(paired.captions[0].0, "y");
        assert_eq!(paired.captions[1].1, ["a", "c"]);
    }

    #[test]
    fn what_is_left_over_is_named_or_counted() {
        let references = captions(&[("1", &["a"]), ("2", &["b"]), ("3", &["c"]), ("5", &[])]);
        let predictions = captions(&[("2", &["x"]), ("3", &[]), ("4", &["y"]), ("5", &["z"])]);
        let error = together(&references, &predictions, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no prediction for 1 image: `1`; predictions without references for 1 image: `4`; \
             failed predictions for 1 image: `3`"
        );
        let paired = together(&references, &predictions, true).unwrap();
        assert_eq!(paired.ids, ["2"]);
        let one = Unpaired {
            missing: 1,
            extra: 1,
            failed: 1,
        };
        assert_eq!(
            paired.left_out,
            LeftOut {
                without_references: 1,
                predictions: one,
                baseline: None,
            }
        );
        let none = captions(&[("9", &["x"])]);
        let error = together(&references, &none, true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no image has both a prediction and references"
        );
    }

    fn karpathy() -> Captions {
        let image = |number: u32| Entry {
            ids: vec![number.to_string(), format!("{number}.jpg")],
            captions: vec![format!("reference {number}")],
            failed: None,
        };
        Captions {
            id_names: vec!["cocoid", "filename"],
            entries: vec![image(7), image(8), image(9)],
        }
    }

    #[test]
    fn predictions_may_use_any_id_of_the_references() {
        let of = |id| {
            let paired = together(&karpathy(), &captions(&[(id, &["x"])]), true).unwrap();
            paired.id_name
        };
        assert_eq!((of("7"), of("7.jpg")), ("cocoid", "filename"));
    }

    #[test]
    fn files_with_other_kinds_of_ids_are_compared_image_by_image() {
        let references = karpathy();
        let predictions = captions(&[("9", &["p9"]), ("7", &["p7"]), ("8", &["p8"])]);
        let baseline = captions(&[("7.jpg", &["b7"]), ("9.jpg", &["b9"])]);
        let predictions = find(&references, &predictions, true).unwrap();
        let found = find(&references, &baseline, true).unwrap();
        let paired = pair(references.clone(), &predictions, Some(&found)).unwrap();
        assert_eq!(paired.ids, ["7", "9"]);
        assert_eq!(
            paired.captions[1],
            ("p9".to_owned(), vec!["reference 9".to_owned()])
        );
        assert_eq!(
            paired.baseline.as_deref(),
            Some(&["b7".to_owned(), "b9".to_owned()][..])
        );
        let missing = |unpaired: Option<Unpaired>| unpaired.map(|one| one.missing);
        let left_out = paired.left_out;
        assert_eq!(missing(Some(left_out.predictions)), Some(0));
        assert_eq!(missing(left_out.baseline), Some(1));

        let none = captions(&[("8.jpg", &[])]);
        let none = find(&references, &none, true).unwrap();
        let error = pair(references, &predictions, Some(&none)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no image has both a prediction and one of the baseline"
        );
    }
}
