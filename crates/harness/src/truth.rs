//! What a dataset says about its samples: the annotations that scores are computed against.

use serde_json::Value;
use sightline_core::{Sample, SampleKey};
use sightline_manifest::{Lock, Plan, PlannedTask, Roots};

use crate::Result;
use crate::dataset::{Classes, Dataset, Name};

/// The annotations of a task's samples, in the order of the dataset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// One entry for each sample.
    pub samples: Vec<SampleTruth>,
    /// Number of classes; 0 for tasks that need none.
    pub classes: usize,
}

/// The annotations of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleTruth {
    /// Its key.
    pub key: SampleKey,
    /// Its class.
    pub class: Class,
    /// Number of its captions, see [`captions`].
    pub captions: usize,
}

/// What is said about a sample's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// This one of the dataset's classes.
    Known(u32),
    /// Nothing.
    Missing,
    /// Something that the dataset's classes do not have.
    Unknown,
    /// A name that several of the dataset's classes have.
    Ambiguous,
}

/// Reads the annotations of a task's dataset from its locked shards, images unseen.
pub fn read_truth(plan: &Plan, lock: &Lock, roots: &Roots, task: &PlannedTask) -> Result<Truth> {
    let dataset = Dataset::open(plan, lock, roots, task)?;
    let mut samples = Vec::new();
    for sample in dataset.samples(task.limit) {
        samples.push(dataset.classes.truth(&sample?));
    }
    Ok(Truth {
        samples,
        classes: dataset.classes.names.len(),
    })
}

/// The captions of a sample that say something. Downloaders store an empty text for a row without a caption.
pub(crate) fn captions(sample: &Sample) -> impl Iterator<Item = &String> {
    sample
        .captions
        .iter()
        .filter(|caption| !caption.trim().is_empty())
}

impl Classes {
    /// The annotations of `sample`.
    pub(crate) fn truth(&self, sample: &Sample) -> SampleTruth {
        let field = self.field.as_deref();
        SampleTruth {
            key: sample.key.clone(),
            class: self.class(field.and_then(|field| sample.meta.get(field))),
            captions: captions(sample).count(),
        }
    }

    /// The class that a metadata value names: an index, or a name of the list.
    fn class(&self, value: Option<&Value>) -> Class {
        match value {
            None | Some(Value::Null) => Class::Missing,
            Some(Value::String(name)) => match self.named(name) {
                Some(Name::Of(index)) => Class::Known(index),
                Some(Name::Ambiguous) => Class::Ambiguous,
                None => Class::Unknown,
            },
            Some(value) => value
                .as_u64()
                .and_then(|index| u32::try_from(index).ok())
                .filter(|&index| (index as usize) < self.names.len())
                .map_or(Class::Unknown, Class::Known),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_is_an_index_or_a_name_of_the_list() {
        let names = ["circle", "square", "7", "crane", "crane"]
            .map(str::to_owned)
            .to_vec();
        let classes = Classes::new(Some("class".to_owned()), names);
        let class = |value: Value| classes.class(Some(&value));
        assert_eq!(class(json!(1)), Class::Known(1));
        assert_eq!(class(json!("square")), Class::Known(1));
        assert_eq!(class(json!("7")), Class::Known(2));
        for unknown in [
            json!(5),
            json!(-1),
            json!(1.5),
            json!("2"),
            json!("Square"),
            json!([1]),
        ] {
            assert_eq!(class(unknown.clone()), Class::Unknown, "{unknown}");
        }
        assert_eq!(class(json!("crane")), Class::Ambiguous);
        assert_eq!(class(json!(4)), Class::Known(4));
        assert_eq!(class(json!(null)), Class::Missing);
        assert_eq!(classes.class(None), Class::Missing);
    }
}
