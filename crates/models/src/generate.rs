//! Writing text about images: what is asked for, and what comes back.

use sightline_core::Seed;

use crate::{Result, Visual};

/// Continues prompts of images and text.
pub trait Generate: Send + Sync {
    /// How the family's published program decodes: what is used unless a task asks for something else.
    fn decoding(&self) -> Decoding;

    /// Whether prompts may hold text, and not images alone.
    fn reads_text(&self) -> bool {
        true
    }

    /// A text for each of `prompts`, which name samples of `images`.
    fn generate(
        &self,
        images: &Visual,
        prompts: &[Prompt<'_>],
        decoding: &Decoding,
    ) -> Result<Vec<Generated>>;
}

/// What a text is written behind.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// Images and text in their order.
    pub segments: &'a [Segment<'a>],
    /// From which random choices are drawn: the same for a sample in any batch.
    pub seed: Seed,
}

/// A part of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'a> {
    /// The sample of this number among those that are given with the prompts.
    Image(usize),
    /// A text.
    Text(&'a str),
}

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decoding {
    /// The rule.
    pub strategy: Strategy,
    /// The most tokens of a text, its end included; `None` for as many as the family's published program writes.
    pub max_tokens: Option<usize>,
}

/// A rule by which tokens are chosen. Details are those of each family's published program.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Strategy {
    /// Always the most likely token.
    Greedy,
    /// Several hypotheses side by side.
    Beam {
        /// How many.
        width: usize,
    },
    /// At random among the most likely tokens that together have the probability `p`.
    Nucleus {
        /// Above 0, at most 1.
        p: f32,
    },
}

/// A text that a model wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The text.
    pub text: String,
    /// Its tokens, the end token included if it came to that.
    pub tokens: Vec<u32>,
    /// How the rule ranks it: usually the sum of the tokens' log-probabilities.
    pub score: f32,
}
