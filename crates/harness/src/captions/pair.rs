//! References and predictions of the same images.

use foldhash::{HashMap, HashMapExt};

use super::error::{CaptionError, Ids, Unpairable};
use super::read::Captions;

/// Images with a prediction and references, in the order of the references.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paired {
    /// What the ids are: `image_id`, `filename`.
    pub id_name: &'static str,
    /// Ids of the images.
    pub ids: Vec<String>,
    /// For each the candidate and the references.
    pub captions: Vec<(String, Vec<String>)>,
    /// What was left out.
    pub unpaired: Unpaired,
}

/// How many images were left out, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Unpaired {
    /// Images with references and no prediction.
    pub missing: usize,
    /// Predictions of images without references.
    pub extra: usize,
    /// Images whose prediction failed.
    pub failed: usize,
}

/// Brings together what belongs to one image. What is left over is an error that names it, or with
/// `is_partial` is counted.
pub fn pair(
    references: Captions,
    predictions: &Captions,
    is_partial: bool,
) -> Result<Paired, CaptionError> {
    let mut predicted = HashMap::with_capacity(predictions.entries.len());
    for (place, entry) in predictions.entries.iter().enumerate() {
        if let Some(id) = entry.ids.first() {
            predicted.insert(id.as_str(), place);
        }
    }
    let kind = kind_of_id(&references, &predicted);

    let mut paired = Paired {
        id_name: references.id_names.get(kind).copied().unwrap_or("id"),
        ..Paired::default()
    };
    let mut left = Unpairable::default();
    let mut is_known = vec![false; predictions.entries.len()];
    for mut entry in references.entries {
        let id = if kind < entry.ids.len() {
            entry.ids.swap_remove(kind)
        } else {
            String::new()
        };
        let Some(&place) = predicted.get(id.as_str()) else {
            left.missing.0.push(id);
            continue;
        };
        is_known[place] = true;
        if let Some(candidate) = predictions.entries[place].captions.first() {
            paired.captions.push((candidate.clone(), entry.captions));
            paired.ids.push(id);
        } else {
            left.failed.0.push(id);
        }
    }
    let extra = predictions.entries.iter().zip(is_known);
    left.extra = Ids(extra
        .filter(|(_, is_known)| !is_known)
        .filter_map(|(entry, _)| entry.ids.first().cloned())
        .collect());

    if !is_partial && left != Unpairable::default() {
        return Err(CaptionError::Unpaired(left));
    }
    if paired.ids.is_empty() {
        return Err(CaptionError::Nothing);
    }
    paired.unpaired = Unpaired {
        missing: left.missing.0.len(),
        extra: left.extra.0.len(),
        failed: left.failed.0.len(),
    };
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
    use super::super::read::Entry;
    use super::*;

    fn captions(rows: &[(&str, &[&str])]) -> Captions {
        Captions::of_rows(
            "id",
            rows.iter().map(|(id, captions)| {
                let captions = captions.iter().map(|&c| c.to_owned()).collect();
                ((*id).to_owned(), captions, None)
            }),
        )
    }

    #[test]
    fn images_are_paired_in_the_order_of_the_references() {
        let references = captions(&[("2", &["b"]), ("1", &["a", "c"])]);
        let predictions = captions(&[("1", &["x"]), ("2", &["y"])]);
        let paired = pair(references, &predictions, false).unwrap();
        assert_eq!(paired.ids, ["2", "1"]);
        assert_eq!(paired.captions[0].0, "y");
        assert_eq!(paired.captions[1].1, ["a", "c"]);
    }

    #[test]
    fn what_is_left_over_is_named_or_counted() {
        let references = captions(&[("1", &["a"]), ("2", &["b"]), ("3", &["c"])]);
        let predictions = captions(&[("2", &["x"]), ("3", &[]), ("4", &["y"])]);
        let error = pair(references.clone(), &predictions, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no prediction for 1 image: `1`; predictions without references for 1 image: `4`; \
             failed predictions for 1 image: `3`"
        );
        let paired = pair(references.clone(), &predictions, true).unwrap();
        assert_eq!(paired.ids, ["2"]);
        let counts = (
            paired.unpaired.missing,
            paired.unpaired.extra,
            paired.unpaired.failed,
        );
        assert_eq!(counts, (1, 1, 1));
        let none = captions(&[("9", &["x"])]);
        assert!(matches!(
            pair(references, &none, true),
            Err(CaptionError::Nothing)
        ));
    }

    #[test]
    fn predictions_may_use_any_id_of_the_references() {
        let references = Captions {
            id_names: vec!["cocoid", "filename"],
            entries: vec![Entry {
                ids: vec!["7".to_owned(), "7.jpg".to_owned()],
                captions: vec!["a".to_owned()],
                failed: None,
            }],
        };
        let of = |id| {
            pair(references.clone(), &captions(&[(id, &["x"])]), false)
                .unwrap()
                .id_name
        };
        assert_eq!((of("7"), of("7.jpg")), ("cocoid", "filename"));
    }
}
