//! What a model can do, and the traits through which tasks ask it to.

use std::ops::Range;

use bytes::Bytes;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use sightline_core::ImageSpec;

use crate::detect::{Detect, FindObjects};
use crate::{Error, Generate, Result, Score};

/// Something a family can do; a task names the one it needs, before any weight is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Capability {
    /// Images and texts into one space: [`Embed`].
    Embed,
    /// Features of images, for classifiers that are trained on them: [`Features`].
    Features,
    /// Which of the model's own labels fits images and a text: [`Classify`].
    Classify,
    /// Which of several candidate texts answers a question about an image: [`Choose`].
    Choose,
    /// Whether a text belongs to an image: [`Match`].
    Match,
    /// Which region of an image a phrase means: [`Ground`].
    Ground,
    /// Objects of named classes in an image: [`Detect`] or [`FindObjects`].
    Detect,
    /// Text about images: [`Generate`].
    Generate,
    /// How likely texts about images are: [`Score`].
    Score,
    /// Text about images and a text: [`Generate`], of a model that [reads text](Generate::reads_text).
    Answer,
}

impl Capability {
    /// Every capability.
    pub const ALL: &'static [Self] = &[
        Self::Embed,
        Self::Features,
        Self::Classify,
        Self::Choose,
        Self::Match,
        Self::Ground,
        Self::Detect,
        Self::Generate,
        Self::Score,
        Self::Answer,
    ];

    /// The name in manifests and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Features => "features",
            Self::Classify => "classify",
            Self::Choose => "choose",
            Self::Match => "match",
            Self::Ground => "ground",
            Self::Detect => "detect",
            Self::Generate => "generate",
            Self::Score => "score",
            Self::Answer => "answer",
        }
    }

    /// What a model does that has it, in words after "can".
    pub fn verb(self) -> &'static str {
        match self {
            Self::Features => "give features",
            other => other.name(),
        }
    }

    /// Whether `model` answers when asked for it.
    pub fn is_answered_by(self, model: &dyn Model) -> bool {
        match self {
            Self::Embed => model.embed().is_some(),
            Self::Features => model.features().is_some(),
            Self::Classify => model.classify().is_some(),
            Self::Choose => model.choose().is_some(),
            Self::Match => model.matching().is_some(),
            Self::Ground => model.ground().is_some(),
            Self::Detect => model.detect().is_some() || model.find_objects().is_some(),
            Self::Generate => model.generate().is_some(),
            Self::Score => model.score().is_some(),
            Self::Answer => model.generate().is_some_and(Generate::reads_text),
        }
    }
}

/// What a model takes as its visual input.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum VisualSpec {
    /// Pixels prepared as the specification says.
    Pixels(ImageSpec),
    /// Regions that a detector found, each with a feature: [`Visual::Regions`].
    Regions {
        /// D: length of a region's feature.
        width: usize,
        /// The most regions of an image that the model was made for; of more, the first ones are taken.
        regions: usize,
    },
    /// Image files as they are, of models outside this process, which prepare them themselves.
    Encoded,
}

/// The visual inputs of `B` samples, in the form that [`VisualSpec`] names.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Visual {
    /// `[B, 3, H, W]`.
    Pixels(Tensor),
    /// Regions, padded to the same number `R`.
    Regions {
        /// `[B, R, D]`, zeros for padding.
        features: Tensor,
        /// `[B, R]`, 1 for a region, 0 for padding.
        present: Tensor,
    },
    /// `B` image files.
    Encoded(Vec<Bytes>),
}

impl Visual {
    /// `B`.
    pub fn batch(&self) -> Result<usize> {
        Ok(match self {
            Self::Pixels(pixels) => pixels.dim(0)?,
            Self::Regions { features, .. } => features.dim(0)?,
            Self::Encoded(files) => files.len(),
        })
    }

    /// The samples of these numbers, in this order; one may be there several times.
    pub fn select(&self, samples: &[u32]) -> Result<Self> {
        let select = |tensor: &Tensor| -> Result<Tensor> {
            let samples = Tensor::new(samples, tensor.device())?;
            Ok(tensor.index_select(&samples, 0)?)
        };
        Ok(match self {
            Self::Pixels(pixels) => Self::Pixels(select(pixels)?),
            Self::Regions { features, present } => Self::Regions {
                features: select(features)?,
                present: select(present)?,
            },
            Self::Encoded(files) => {
                let select = |&sample: &u32| {
                    let file = files.get(sample as usize);
                    file.cloned().ok_or(Error::Count {
                        what: "image files",
                        found: files.len(),
                        wanted: sample as usize + 1,
                    })
                };
                Self::Encoded(samples.iter().map(select).collect::<Result<_>>()?)
            }
        })
    }

    /// `[B, 3, H, W]`, for models that take pixels.
    pub fn pixels(&self) -> Result<&Tensor> {
        match self {
            Self::Pixels(pixels) => Ok(pixels),
            other => Err(Error::Visual {
                wanted: "pixels",
                found: other.name(),
            }),
        }
    }

    /// Features `[B, R, D]` and presence `[B, R]`, for models that take regions.
    pub fn regions(&self) -> Result<(&Tensor, &Tensor)> {
        match self {
            Self::Regions { features, present } => Ok((features, present)),
            other => Err(Error::Visual {
                wanted: "regions",
                found: other.name(),
            }),
        }
    }

    /// The image files, for models that take them.
    pub fn encoded(&self) -> Result<&[Bytes]> {
        match self {
            Self::Encoded(files) => Ok(files),
            other => Err(Error::Visual {
                wanted: "image files",
                found: other.name(),
            }),
        }
    }

    /// What it is, in words.
    fn name(&self) -> &'static str {
        match self {
            Self::Pixels(_) => "pixels",
            Self::Regions { .. } => "regions",
            Self::Encoded(_) => "image files",
        }
    }
}

/// A loaded model. Each method answers `Some` exactly for the capabilities that its family's
/// [`offers`](crate::Family::offers) names for it.
pub trait Model: Send + Sync {
    /// What it takes as visual input.
    fn input(&self) -> &VisualSpec;

    /// How many examples it is asked about at once, where that is not for this process's threads to say.
    fn at_once(&self) -> Option<usize> {
        None
    }

    /// Images and texts into one space.
    fn embed(&self) -> Option<&dyn Embed> {
        None
    }

    /// Images to features.
    fn features(&self) -> Option<&dyn Features> {
        None
    }

    /// Images and a text to a label.
    fn classify(&self) -> Option<&dyn Classify> {
        None
    }

    /// Images, questions and candidates to a candidate.
    fn choose(&self) -> Option<&dyn Choose> {
        None
    }

    /// Images and texts to whether they belong together.
    fn matching(&self) -> Option<&dyn Match> {
        None
    }

    /// Images and phrases to regions.
    fn ground(&self) -> Option<&dyn Ground> {
        None
    }

    /// Images, proposals and names of classes to objects.
    fn detect(&self) -> Option<&dyn Detect> {
        None
    }

    /// Whole images and names of classes to objects.
    fn find_objects(&self) -> Option<&dyn FindObjects> {
        None
    }

    /// Images and prompts to text.
    fn generate(&self) -> Option<&dyn Generate> {
        None
    }

    /// Images and texts to how likely the texts are.
    fn score(&self) -> Option<&dyn Score> {
        None
    }
}

/// Embeds images and texts so that their dot product measures how well they fit.
pub trait Embed: Send + Sync {
    /// Width `D` of the space.
    fn width(&self) -> usize;

    /// `pixels` `[B, 3, H, W]` as [`Model::input`] prepares them; returns `[B, D]`, unit length, f32.
    fn embed_images(&self, pixels: &Tensor) -> Result<Tensor>;

    /// The same of images in the form that [`Model::input`] names.
    fn embed_visual(&self, images: &Visual) -> Result<Tensor> {
        self.embed_images(images.pixels()?)
    }

    /// Returns `[B, D]` for `B` texts, unit length, f32.
    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor>;

    /// Factor from cosine to logit (`exp(logit_scale)`).
    fn scale(&self) -> f32;
}

/// What a model sees in images, as linear classifiers take it.
pub trait Features: Send + Sync {
    /// Width `D` of a feature.
    fn width(&self) -> usize;

    /// `pixels` `[B, 3, H, W]` as [`Model::input`] prepares them; returns `[B, D]` of any length, f32.
    fn features(&self, pixels: &Tensor) -> Result<Tensor>;
}

/// Chooses among labels that a model was trained for: answers to questions, true or false.
pub trait Classify: Send + Sync {
    /// The labels in the order of the logits, as the checkpoint names them.
    fn labels(&self) -> &[String];

    /// Images that a text is about: 2 for models that compare a pair, else 1.
    fn images(&self) -> usize {
        1
    }

    /// `images`: as many as [`Self::images`] says, the k-th of all samples in the k-th place, each of `B` samples;
    /// `texts`: `B` questions or statements in plain words. Returns logits `[B, labels]`, f32.
    fn classify(&self, images: &[Visual], texts: &[&str]) -> Result<Tensor>;
}

/// Chooses among candidate answers to a question, as in visual commonsense reasoning.
pub trait Choose: Send + Sync {
    /// A question for each of the `B` images, all with the same number `C` of candidates. Returns logits `[B, C]`, f32.
    fn choose(&self, images: &Visual, questions: &[Question<'_>]) -> Result<Tensor>;
}

/// A question about an image, and what may answer it.
#[derive(Clone, Debug, Default)]
pub struct Question<'a> {
    /// The question.
    pub question: TaggedText<'a>,
    /// The candidates.
    pub candidates: Vec<TaggedText<'a>>,
}

/// A text, some of whose words name regions of the image.
#[derive(Clone, Debug, Default)]
pub struct TaggedText<'a> {
    /// The text.
    pub text: &'a str,
    /// Which bytes of it name which region, counted from 0. They begin and end where a word does.
    pub tags: Vec<(Range<usize>, usize)>,
}

impl<'a> From<&'a str> for TaggedText<'a> {
    fn from(text: &'a str) -> Self {
        Self {
            text,
            tags: Vec::new(),
        }
    }
}

/// Tells texts that belong to an image from those that do not.
pub trait Match: Send + Sync {
    /// A text for each of the `B` images. Returns `[B]`, f32: the logarithm of how much likelier it is that the two
    /// belong together than that they do not.
    fn match_texts(&self, images: &Visual, texts: &[&str]) -> Result<Tensor>;
}

/// Finds the regions that phrases of a caption mean.
pub trait Ground: Send + Sync {
    /// A caption for each of the `B` images of `R` regions. Returns for each caption `[phrases, R]`, f32: shares
    /// that sum to 1 over the regions that are there, 0 for padding.
    fn ground(&self, images: &Visual, captions: &[Phrases<'_>]) -> Result<Vec<Tensor>>;
}

/// A caption and phrases of it.
#[derive(Clone, Debug, Default)]
pub struct Phrases<'a> {
    /// The caption.
    pub caption: &'a str,
    /// The bytes of each phrase. They begin and end where a word does.
    pub phrases: Vec<Range<usize>>,
}
