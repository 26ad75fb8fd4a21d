//! Dataset manifests.
//!
//! ```toml
//! schema = 1
//! dataset = "scenes-test"          # equals the file's name
//! description = "Synthetic scenes, test split."
//! format = "webdataset"            # of the shards
//! shards = "shards/test/*.tar"     # below the data folder; "./x": beside the manifest
//! regions = "regions/*.tsv"        # optional: files of region features, for models that take regions
//! class_field = "class_name"       # optional: metadata field with a sample's class
//! classes = "scenes/classes.txt"   # optional: one class name a line
//! templates = ["a picture of {}."] # optional: prompts for zero-shot classification
//! ids = "./scenes.ids.txt"         # optional: only these samples, one key a line
//! ```
//!
//! A dataset whose annotations are published as files names them instead of shards:
//!
//! ```toml
//! schema = 1
//! dataset = "vqa-v2-val"
//! description = "VQA 2.0, validation."
//! images = "coco/val2014/*.jpg"    # for models that take pixels; found by their names
//! regions = "coco/val2014/*.tsv"   # for models that take regions; one of the two
//! classes = "vqa/answers.txt"      # optional: what a classifier's labels are called
//!
//! [annotations]
//! form = "vqa"
//! # split = "test"                 # for forms that hold several
//!
//! [annotations.files]
//! questions = "vqa/v2_OpenEnded_mscoco_val2014_questions.json"
//! answers = "vqa/v2_mscoco_val2014_annotations.json"
//! ```
//!
//! How it was published, for people and for `sightline datasets prepare`; no part of a plan:
//!
//! ```toml
//! [published]
//! page = "https://visualqa.org/download.html"
//! licence = "CC BY 4.0; images under the terms of Flickr"
//! citation = "Goyal et al. 2017, arXiv 1612.00837"
//! access = "open"                  # or "login", "agreement": what a person has to do there first
//! examples = 214354                # optional: how many there are
//! images = 40504                   # optional: how many files of images
//! note = "The server scores test sets." # optional
//!
//! [[source]]                       # any number
//! file = "v2_Questions_Val_mscoco.zip" # as it is published
//! url = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa/v2_Questions_Val_mscoco.zip" # optional: fetched from there
//! to = "vqa"                       # below the data folder: the folder that an archive is unpacked into, else the file
//! unpack = true                    # optional: it is a .zip, .tar, .tar.gz or .gz
//! strip = 1                        # optional: so many leading folders of the members are left out
//! bytes = 3494929                  # optional
//! sha256 = "…"                     # optional
//! md5 = "…"                        # optional, where that is what is published
//!
//! [[paper_target]]                 # any number, as in models' manifests
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{Names, WrittenTarget};

/// A dataset as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dataset {
    /// [`SCHEMA`](super::SCHEMA), checked before the rest is read.
    #[serde(rename = "schema")]
    pub(crate) _schema: u32,
    /// Name, equal to the file's.
    #[serde(rename = "dataset")]
    pub(crate) name: Spanned<String>,
    /// What it is, for people.
    pub(crate) description: String,
    /// Shard format.
    pub(crate) format: Option<Spanned<String>>,
    /// Pattern of the shards' files.
    pub(crate) shards: Option<Spanned<String>>,
    /// Pattern of image files.
    pub(crate) images: Option<Spanned<String>>,
    /// Pattern of files of region features.
    pub(crate) regions: Option<Spanned<String>>,
    /// Published annotations, instead of shards.
    pub(crate) annotations: Option<Spanned<Annotations>>,
    /// Metadata field with a sample's class.
    pub(crate) class_field: Option<Spanned<String>>,
    /// File with one class name a line.
    pub(crate) classes: Option<Spanned<String>>,
    /// Prompts, each with one `{}`.
    pub(crate) templates: Option<Names>,
    /// File with one key a line.
    pub(crate) ids: Option<Spanned<String>>,
    /// How it was published.
    pub(crate) published: Option<WrittenDatasetPublished>,
    /// Files that it is made of.
    #[serde(default)]
    pub(crate) source: Vec<WrittenSource>,
    /// What others report on it.
    #[serde(default)]
    pub(crate) paper_target: Vec<WrittenTarget>,
}

/// Annotation files as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Annotations {
    /// Annotation form.
    pub(crate) form: Spanned<String>,
    /// Which part of the files.
    pub(crate) split: Option<Spanned<String>>,
    /// Patterns of the files by what they are for.
    pub(crate) files: Spanned<BTreeMap<String, Spanned<String>>>,
}

/// How a dataset was published, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenDatasetPublished {
    /// Where.
    pub(crate) page: Spanned<String>,
    /// Under which licence.
    pub(crate) licence: Spanned<String>,
    /// What to cite.
    pub(crate) citation: Spanned<String>,
    /// What a person has to do first.
    pub(crate) access: Spanned<String>,
    /// Examples.
    pub(crate) examples: Option<Spanned<u64>>,
    /// Files of images.
    pub(crate) images: Option<Spanned<u64>>,
    /// What else there is to know.
    pub(crate) note: Option<String>,
}

/// A published file, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenSource {
    /// What it is called.
    pub(crate) file: Spanned<String>,
    /// Where it is.
    pub(crate) url: Option<Spanned<String>>,
    /// Where it goes, below the data folder.
    pub(crate) to: Spanned<String>,
    /// Whether it is unpacked.
    #[serde(default)]
    pub(crate) unpack: bool,
    /// Leading folders of its members that are left out.
    pub(crate) strip: Option<Spanned<u32>>,
    /// Its length.
    pub(crate) bytes: Option<Spanned<u64>>,
    /// Its digest.
    pub(crate) sha256: Option<Spanned<String>>,
    /// Its digest, where that one is published.
    pub(crate) md5: Option<Spanned<String>>,
}
