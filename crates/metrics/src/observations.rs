//! What a task observed: the items metrics are computed from.

use std::collections::BTreeMap;

use crate::Rank;

/// What a metric is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Input {
    /// For each image, the rank of its true class among all classes.
    ClassRank,
    /// For each image, the rank of the best of its captions among all captions.
    ImageToText,
    /// For each caption, the rank of its image among all images.
    TextToImage,
}

impl Input {
    /// Every input.
    pub const ALL: [Self; 3] = [Self::ClassRank, Self::ImageToText, Self::TextToImage];

    /// The name in messages and in the derivation of seeds.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClassRank => "class-rank",
            Self::ImageToText => "image-to-text",
            Self::TextToImage => "text-to-image",
        }
    }
}

/// The items of each [`Input`] that a task observed. An observed input may have no items; an input
/// that was never set is an error for the metrics that need it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observations {
    ranks: BTreeMap<Input, Vec<Rank>>,
}

impl Observations {
    /// Sets the ranks of `input`, in the order of the dataset.
    pub fn set_ranks(&mut self, input: Input, ranks: Vec<Rank>) {
        self.ranks.insert(input, ranks);
    }

    /// The ranks of `input`, if they were observed.
    pub fn ranks(&self, input: Input) -> Option<&[Rank]> {
        self.ranks.get(&input).map(Vec::as_slice)
    }
}

/// One thing a metric counts.
pub trait Item: Sized + Send + Sync + 'static {
    /// The items of `input` in `observations`, if they were observed.
    fn observed(observations: &Observations, input: Input) -> Option<&[Self]>;
}

impl Item for Rank {
    fn observed(observations: &Observations, input: Input) -> Option<&[Self]> {
        observations.ranks(input)
    }
}
