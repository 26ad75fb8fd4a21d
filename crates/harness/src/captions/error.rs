//! What can be wrong with files of captions.

use std::fmt;
use std::io;

use sightline_core::Hint;
use sightline_core::text::{counted, printable};

/// Ids that a message names before it only counts.
const NAMED: usize = 10;

/// Why captions cannot be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptionError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The name does not tell the form.
    #[error("the form of the file is not known from its name")]
    Form,
    /// The file is longer than what is read into memory.
    #[error("the file has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Broken JSON, or JSON of another shape.
    #[error("{problem}")]
    Json {
        /// Where and what.
        problem: serde_json::Error,
    },
    /// A broken line.
    #[error("line {line}: {problem}")]
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// JSON that is none of the forms.
    #[error("the JSON is neither COCO captions, COCO results nor Karpathy's splits")]
    Shape,
    /// A table that cannot be read.
    #[error("{problem}")]
    Table {
        /// What is wrong.
        problem: String,
    },
    /// A column that is not there.
    #[error("there is no column `{}`; there are {}", printable(column), printable(&found.join(", ")))]
    Column {
        /// The column asked for.
        column: String,
        /// Those there are.
        found: Vec<String>,
    },
    /// A split that no image is in.
    #[error("no image is in split `{}`; there are {}", printable(split), printable(&found.join(", ")))]
    Split {
        /// The split asked for.
        split: String,
        /// Those there are.
        found: Vec<String>,
    },
    /// A split of a file that has none.
    #[error("the file has no splits, of which `{}` could be one", printable(split))]
    NoSplits {
        /// The split asked for.
        split: String,
    },
    /// A column that is there twice.
    #[error("there is more than one column `{}`", printable(column))]
    ColumnTwice {
        /// The column asked for.
        column: String,
    },
    /// A packed file that cannot be unpacked.
    #[error("the gzip data are damaged: {problem}")]
    Packed {
        /// What is wrong.
        problem: String,
    },
    /// A quoted field that does not end where a field does.
    #[error("line {line}: a quoted field {problem}")]
    Quotes {
        /// Number of the line on which it starts, from 1.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// Ids that occur twice where they may once.
    #[error("more than one {what} for {ids}")]
    Repeated {
        /// What is there more than once.
        what: &'static str,
        /// The ids.
        ids: Ids,
    },
    /// Images without a caption to compare with.
    #[error("no reference for {ids}")]
    NoReferences {
        /// The ids.
        ids: Ids,
    },
    /// Predictions that are missing, failed or of unknown images.
    #[error("{0}")]
    Unpaired(Unpairable),
    /// No image has both.
    #[error("no image has both a prediction and {}", if *has_baseline { "one of the baseline" } else { "references" })]
    Nothing {
        /// Whether there is a baseline.
        has_baseline: bool,
    },
}

/// References and predictions that do not belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpairable {
    /// Images with references and no prediction.
    pub missing: Ids,
    /// Predictions of images without references.
    pub extra: Ids,
    /// Images whose prediction failed.
    pub failed: Ids,
}

impl fmt::Display for Unpairable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("no prediction for", &self.missing),
            ("predictions without references for", &self.extra),
            ("failed predictions for", &self.failed),
        ];
        let mut kinds = kinds.iter().filter(|(_, ids)| !ids.0.is_empty());
        if let Some((what, ids)) = kinds.next() {
            write!(f, "{what} {ids}")?;
        }
        kinds.try_for_each(|(what, ids)| write!(f, "; {what} {ids}"))
    }
}

/// Ids of images: the first ten are named, all are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids(pub Vec<String>);

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self
            .0
            .iter()
            .take(NAMED)
            .map(|id| format!("`{}`", printable(id)))
            .collect();
        write!(
            f,
            "{}: {}",
            counted(self.0.len(), "image"),
            named.join(", ")
        )?;
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Hint for CaptionError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Form => {
                "Name it .json, .jsonl, .csv, .tsv or .parquet, with .gz behind if it is packed."
            }
            Self::Shape => "See `sightline score --help` for the forms.",
            Self::Column { .. } => {
                "Name the columns with --id-col and --caption-col, those of references alone with \
                 --references-id-col and --references-caption-col."
            }
            Self::Split { .. } => "Choose one with --split.",
            Self::NoSplits { .. } => "Leave --split out: only Karpathy's files have splits.",
            Self::Repeated { what, .. } if *what == "predicted caption" => {
                "Keep one caption for each image: which of several would be scored is not for this program to choose."
            }
            Self::Unpaired(_) => {
                "Give --partial to score the images that have both; the others are then counted."
            }
            Self::NoReferences { .. } => {
                "Give --partial to score the others; those without references are then counted."
            }
            Self::Quotes { .. } => {
                "A quote inside a quoted field is written twice; a field that starts with a quote must be quoted."
            }
            Self::Repeated { what, .. } if *what == "prediction" => {
                "Keep one prediction for each image."
            }
            Self::Repeated { .. } => {
                "Name each image once, or give rows with one caption each, which may repeat the id."
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_not_named_are_counted() {
        let ids = |number: u32| Ids((1..=number).map(|id| id.to_string()).collect()).to_string();
        let ten = "`1`, `2`, `3`, `4`, `5`, `6`, `7`, `8`, `9`, `10`";
        assert_eq!(ids(1), "1 image: `1`");
        assert_eq!(ids(10), format!("10 images: {ten}"));
        assert_eq!(ids(12), format!("12 images: {ten} and 2 more"));
    }
}
