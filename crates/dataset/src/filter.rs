//! The samples for which a condition holds: `sightline shards filter`.

use std::cell::Cell;
use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use sightline_core::registry::nearest;
use sightline_core::{Progress, Sample};
use sightline_imaging::{DecodeOptions, Window, decode_rgb_window};
use sightline_store::Folder;

use crate::convert::NamedShard;
use crate::expression::{Column, Expression, Truth};
use crate::scores::Scores;
use crate::subset::{Judge, Output, Subset, check_vacant, write_subset};
use crate::{Error, Result};

/// Version of the serialised form.
const SCHEMA: u32 = 1;

/// Names of metadata that are remembered for advice.
const MAX_NAMES: usize = 1000;

/// Columns that every sample has, whatever its metadata are called: its key, the name of its shard, the bytes of its image and
/// their format, its first caption, the characters of that, and how many captions there are.
pub const BUILT_IN: [&str; 7] = [
    "bytes",
    "caption",
    "caption_length",
    "captions",
    "format",
    "key",
    "shard",
];

/// What is read off the image where the metadata do not say it.
const OF_IMAGES: [&str; 2] = ["height", "width"];

/// A condition and the tables that it may read beside the samples. Columns are looked for among [`BUILT_IN`], then in the
/// tables, then in the metadata; `width` and `height` also in the image.
#[derive(Clone, Debug)]
pub struct FilterSpec {
    /// The condition.
    pub condition: Expression,
    /// The tables; the first that has a column gives it.
    pub scores: Vec<Scores>,
}

/// What was kept, and why the rest was not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filtered {
    /// Version of this form: 1.
    pub schema: u32,
    /// Samples and shards.
    #[serde(flatten)]
    pub subset: Subset,
    /// For each of the conditions joined by `and` how many samples fell out at it; a sample falls out once, at the first
    /// that does not hold.
    pub reasons: Vec<Reason>,
    /// Samples of which a table of scores knows nothing, for each table.
    pub without_scores: Vec<u64>,
}

/// How many samples fell out at a condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The condition as it was written.
    pub condition: String,
    /// It is false.
    pub is_false: u64,
    /// A value that it needs is missing.
    pub is_null: u64,
    /// A value that it needs is of another kind, such as a text where a number is needed.
    pub is_other: u64,
}

impl FilterSpec {
    /// The first part of the condition that does not hold for a sample of the shard `shard`, and what it is.
    pub fn first_failing(&self, shard: &str, sample: &Sample) -> Option<(usize, Truth)> {
        self.condition
            .first_failing(&|column| self.column(column, shard, sample))
    }

    /// Columns that only samples can have.
    fn unsure(&self) -> impl Iterator<Item = &Column> {
        let is_known = |name: &str| {
            let mut scored = self.scores.iter().flat_map(Scores::columns);
            BUILT_IN.contains(&name) || OF_IMAGES.contains(&name) || scored.any(|c| c == name)
        };
        let columns = self.condition.columns().iter();
        columns.filter(move |column| !is_known(&column.name))
    }

    fn column(&self, name: &str, shard: &str, sample: &Sample) -> Option<Value> {
        if BUILT_IN.contains(&name) {
            return built_in(name, shard, sample);
        }
        for scores in &self.scores {
            if let Some(at) = scores.columns().iter().position(|column| column == name) {
                return scores.value(sample.key.as_str(), at).cloned();
            }
        }
        match sample.meta.get(name) {
            Some(value) if !value.is_null() => Some(value.clone()),
            _ if OF_IMAGES.contains(&name) => {
                let (width, height) = size(sample)?;
                Some(if name == "width" { width } else { height }.into())
            }
            found => found.cloned(),
        }
    }
}

fn built_in(name: &str, shard: &str, sample: &Sample) -> Option<Value> {
    let image = sample.image.as_ref();
    let caption = sample.captions.first();
    match name {
        "bytes" => image.map(|image| image.bytes.len().into()),
        "caption" => caption.map(|caption| caption.clone().into()),
        "caption_length" => caption.map(|caption| caption.chars().count().into()),
        "captions" => Some(sample.captions.len().into()),
        "format" => image.map(|image| image.format.extension().into()),
        "key" => Some(sample.key.as_str().into()),
        "shard" => Some(shard.into()),
        _ => None,
    }
}

/// Columns and rows of a sample's image when it is upright; of JPEG files only the header is read.
pub(crate) fn size(sample: &Sample) -> Option<(u32, u32)> {
    let image = sample.image.as_ref()?;
    let found = Cell::new(None);
    // A window without pixels, of which nothing has to be decoded.
    let none = Window {
        left: 0,
        top: 0,
        width: 0,
        height: 0,
    };
    let decoded = decode_rgb_window(&image.bytes, &DecodeOptions::sane(), |announced| {
        found.set(Some((announced.full.width, announced.full.height)));
        none
    });
    drop(decoded);
    found.get()
}

/// Writes the samples for which the condition of `spec` holds. A column that neither any sample nor any table has is an error,
/// and nothing is written then.
pub fn filter(
    source: &Folder,
    names: &[NamedShard],
    spec: &FilterSpec,
    output: &Output,
    progress: &dyn Progress,
) -> Result<Filtered> {
    check_vacant(output)?;
    let reason = |condition: &str| Reason {
        condition: condition.to_owned(),
        ..Reason::default()
    };
    let mut filtering = Filtering {
        spec,
        reasons: spec.condition.parts().map(reason).collect(),
        without_scores: vec![0; spec.scores.len()],
        missing: spec.unsure().collect(),
        names: BTreeSet::new(),
        has_samples: false,
    };
    let subset = write_subset(source, names, output, progress, &mut filtering)?;
    Ok(Filtered {
        schema: SCHEMA,
        subset,
        reasons: filtering.reasons,
        without_scores: filtering.without_scores,
    })
}

/// A condition and what it has said so far.
struct Filtering<'a> {
    spec: &'a FilterSpec,
    reasons: Vec<Reason>,
    without_scores: Vec<u64>,
    /// Columns that no sample has had yet.
    missing: Vec<&'a Column>,
    /// Names of metadata that samples had while one was missing.
    names: BTreeSet<String>,
    has_samples: bool,
}

impl Judge for Filtering<'_> {
    fn keeps(&mut self, shard: &str, sample: &Sample) -> Result<bool> {
        self.has_samples = true;
        if !self.missing.is_empty() {
            self.missing
                .retain(|column| !sample.meta.contains_key(&column.name));
            for name in sample.meta.keys() {
                if self.names.len() < MAX_NAMES && !self.names.contains(name) {
                    self.names.insert(name.clone());
                }
            }
        }
        for (without, scores) in self.without_scores.iter_mut().zip(&self.spec.scores) {
            *without += u64::from(!scores.has(sample.key.as_str()));
        }
        let Some((at, truth)) = self.spec.first_failing(shard, sample) else {
            return Ok(true);
        };
        let reason = &mut self.reasons[at];
        match truth {
            Truth::True => {}
            Truth::False => reason.is_false += 1,
            Truth::Null => reason.is_null += 1,
            Truth::Other => reason.is_other += 1,
        }
        Ok(false)
    }

    fn check(&self) -> Result<()> {
        let Some(column) = self.missing.first().filter(|_| self.has_samples) else {
            return Ok(());
        };
        let scored = self.spec.scores.iter().flat_map(Scores::columns);
        let known = BUILT_IN
            .into_iter()
            .chain(OF_IMAGES)
            .chain(scored.map(String::as_str))
            .chain(self.names.iter().map(String::as_str));
        let near = nearest(&column.name, known);
        let advice = near.first().map(|name| format!("; is `{name}` meant?"));
        let message = format!(
            "no sample has a column `{}`{}",
            column.name,
            advice.unwrap_or_default()
        );
        Err(Error::Condition(
            self.spec.condition.wrong_column(column, message),
        ))
    }
}
