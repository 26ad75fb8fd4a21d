//! What can go wrong between observations and a score.

use std::fmt;

use sightline_core::Hint;

use crate::Input;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a score could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A metric asks for items that were not observed.
    #[error("metric `{metric}` needs {input} items, and none were observed", input = input.name())]
    NotObserved {
        /// Id of the metric.
        metric: &'static str,
        /// What it is computed from.
        input: Input,
    },
    /// A value came out as not a number, which no item should be able to cause.
    #[error("metric `{metric}` is not a number for these items")]
    NotANumber {
        /// Id of the metric.
        metric: &'static str,
    },
    /// Two lists of items that cannot be compared item by item.
    #[error("metric `{metric}`: {} items cannot be compared with {}", items[0], items[1])]
    Unpaired {
        /// Id of the metric.
        metric: &'static str,
        /// Items on both sides.
        items: [usize; 2],
    },
    /// A metric asks for a table that was not given.
    #[error("metric `{metric}` needs {needs}")]
    NeedsTable {
        /// Id of the metric.
        metric: &'static str,
        /// What the table holds.
        needs: &'static str,
        /// How to get it, a whole sentence.
        remedy: &'static str,
    },
    /// A caption that a metric cannot compare in bounded time.
    #[error("metric `{metric}`: {caption} of item {item} has {words} words, the limit is {limit}")]
    TooLong {
        /// Id of the metric.
        metric: &'static str,
        /// Index of the item.
        item: usize,
        /// Which of its captions.
        caption: WhichCaption,
        /// Words of the caption.
        words: usize,
        /// Most words that are compared.
        limit: usize,
    },
    /// Rows that do not fill a matrix.
    #[error("{len} values do not make {rows} rows of {width}")]
    Shape {
        /// Values given.
        len: usize,
        /// Rows.
        rows: usize,
        /// Values in a row.
        width: usize,
    },
    /// Images and texts of different spaces.
    #[error("image embeddings are {images} wide and text embeddings {texts}")]
    Width {
        /// Width of the image embeddings.
        images: usize,
        /// Width of the text embeddings.
        texts: usize,
    },
    /// A text that belongs to no image.
    #[error("text {text} belongs to image {image}, there are {images}")]
    Owner {
        /// Index of the text.
        text: usize,
        /// Index of the image it names.
        image: u32,
        /// Number of images.
        images: usize,
    },
    /// An item that a metric is not defined for.
    #[error("metric `{metric}` is not defined for item {item}, counted from 0: {reason}")]
    Undefined {
        /// Id of the metric.
        metric: &'static str,
        /// Index of the item.
        item: usize,
        /// Why.
        reason: &'static str,
    },
    /// A vector that has no direction.
    #[error("the embedding of {of} has no direction: it is all zeros or not finite")]
    NoDirection {
        /// What was embedded.
        of: &'static str,
    },
    /// A vector of another space than the one it is compared with.
    #[error("the embedding of {of} is {width} wide, expected {expected}")]
    EmbeddingWidth {
        /// What was embedded.
        of: &'static str,
        /// Its width.
        width: usize,
        /// The width of the other.
        expected: usize,
    },
    /// A number that an item cannot have.
    #[error("{what} is {value}, expected {expected}")]
    OutOfRange {
        /// What the number is.
        what: &'static str,
        /// The number.
        value: f64,
        /// Which numbers it may be.
        expected: &'static str,
    },
    /// A score that cannot be ranked.
    #[error("score {index} is not a number")]
    ScoreNotANumber {
        /// Its place among the scores of the item.
        index: usize,
    },
    /// Scores and labels of one item that do not fit.
    #[error("{scores} scores for {labels} labels")]
    Labels {
        /// Scores given.
        scores: usize,
        /// Labels given.
        labels: usize,
    },
    /// Items with scores for different classes.
    #[error("item {item} has {found} classes, item 0 has {classes}")]
    Classes {
        /// Index of the item that differs.
        item: usize,
        /// Its number of classes.
        found: usize,
        /// That of the first item.
        classes: usize,
    },
    /// An object of a category that the data set does not have.
    #[error("category {category} is not one of the data set")]
    UnknownCategory {
        /// The category.
        category: u32,
    },
    /// Images of data sets that have other categories, or of other frequency.
    #[error("images of different data sets: the frequencies of their categories differ")]
    Frequencies,
    /// A phrase that refers to no box, of which nothing can be right.
    #[error("a phrase without a box")]
    NoBox,
    /// A list of object names that is not in the form described at [`crate::chair::ObjectNames`].
    #[error("line {line} of the object names: {reason}")]
    ObjectNames {
        /// Number of the line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Document frequencies of no image at all.
    #[error("document frequencies are of no images")]
    FrequenciesOfNothing,
    /// Document frequencies in a form that this version does not read.
    #[error("document frequencies are of schema {found}, only {known} is known")]
    FrequenciesSchema {
        /// The schema they name.
        found: u32,
        /// The schema that is read.
        known: u32,
    },
    /// A file of document frequencies that cannot be read or written.
    #[error("document frequencies are not in the documented form")]
    FrequenciesFile {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A pickle of document frequencies that is damaged, or more than data.
    #[error("document frequencies are a pickle that is not read")]
    FrequenciesPickle {
        /// Where and why.
        #[source]
        source: sightline_pickle::Error,
    },
    /// A pickle without what a table of document frequencies has.
    #[error("document frequencies: the entry `{entry}` {reason}")]
    FrequenciesEntry {
        /// Its key.
        entry: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A document frequency that is no number of images.
    #[error("document frequencies: the number of `{ngram}` is not whole")]
    FrequencyNumber {
        /// The n-gram.
        ngram: String,
    },
    /// A document frequency of something else than an n-gram.
    #[error("document frequencies: `{ngram}` is not one to four words with single spaces between")]
    FrequencyNgram {
        /// What is there in its place.
        ngram: String,
    },
    /// An n-gram in more images than there are.
    #[error("document frequencies: `{ngram}` is in {count} of {images} images")]
    FrequencyCount {
        /// The n-gram.
        ngram: String,
        /// Images that mention it.
        count: u32,
        /// All images.
        images: u32,
    },
    /// An n-gram with two document frequencies.
    #[error("document frequencies: `{ngram}` is there twice")]
    FrequencyTwice {
        /// The n-gram.
        ngram: String,
    },
}

/// A caption of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichCaption {
    /// What the model wrote.
    Candidate,
    /// The reference of this number, from 0.
    Reference(usize),
}

impl fmt::Display for WhichCaption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Candidate => f.write_str("the candidate"),
            Self::Reference(number) => write!(f, "reference {number}"),
        }
    }
}

impl Error {
    /// Index of the item that the metric cannot score, where it is one.
    pub fn item(&self) -> Option<usize> {
        match self {
            Self::TooLong { item, .. } | Self::Undefined { item, .. } => Some(*item),
            _ => None,
        }
    }
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::NeedsTable { remedy, .. } => vec![(*remedy).to_owned()],
            Self::TooLong { metric, .. } => vec![format!(
                "No caption of an image is that long: mend the file, or compute other metrics than `{metric}`."
            )],
            Self::FrequenciesEntry { .. } => vec![
                "A published table is a dictionary with `document_frequency` and `ref_len`, the number of images. \
                 In Python: pickle.dump({'document_frequency': TABLE, 'ref_len': 40504}, open('df.p', 'wb'))."
                    .to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}
