//! Writing text about images: what is asked for, and what comes back.

use std::ops::Range;

use sightline_core::Seed;
use sightline_nn::decode::{
    Choice, Greedy, Hypothesis, Predictions, Sampling, SamplingSpec, Search,
};

use crate::{Error, LanguageModel, Result, Visual};

/// Continues prompts of images and text.
pub trait Generate: Send + Sync {
    /// How the family's published program decodes: what is used unless a task asks for something else.
    fn decoding(&self) -> Decoding;

    /// Whether prompts may hold text, and not images alone.
    fn reads_text(&self) -> bool {
        true
    }

    /// What stands behind a demonstration in a prompt.
    fn end_of_shot(&self) -> &'static str {
        "\n"
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
    /// Contrastive search, of models that show the state behind each token; with an image, MAGIC's.
    Contrastive {
        /// k: how many of the most likely tokens are weighed.
        candidates: usize,
        /// α: how much it counts that a token is unlike those before it, 0 to 1.
        penalty: f32,
        /// β: how much the image counts, 0 for contrastive search.
        judgement: f32,
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

/// The widest beam; published ones have 3 to 10 hypotheses.
const WIDEST: usize = 1 << 10;

/// The rules of a [`Decoding`], for families whose programs have nothing of their own but the beam search.
pub(crate) struct Strategies {
    strategy: Strategy,
    end: u32,
}

/// A search of any kind, so that one function runs them all.
#[derive(Clone, Debug)]
pub(crate) enum AnySearch<B> {
    Greedy(Greedy),
    Beam(B),
    Sampling(Box<Sampling>),
}

impl<B: Search> Search for AnySearch<B> {
    fn advance(&mut self, predictions: Predictions<'_>) -> Vec<Choice> {
        match self {
            Self::Greedy(search) => search.advance(predictions),
            Self::Beam(search) => search.advance(predictions),
            Self::Sampling(search) => search.advance(predictions),
        }
    }

    fn looks_at(&self) -> Option<usize> {
        match self {
            Self::Greedy(search) => search.looks_at(),
            Self::Beam(search) => search.looks_at(),
            Self::Sampling(search) => search.looks_at(),
        }
    }

    fn finish(self) -> Vec<Hypothesis> {
        match self {
            Self::Greedy(search) => search.finish(),
            Self::Beam(search) => search.finish(),
            Self::Sampling(search) => search.finish(),
        }
    }
}

impl Strategies {
    /// Refuses what is no width or no probability. `end` ends a text.
    pub(crate) fn new(decoding: &Decoding, end: u32) -> Result<Self> {
        let can_be = match decoding.strategy {
            Strategy::Greedy => true,
            Strategy::Beam { width } => (1..=WIDEST).contains(&width),
            Strategy::Nucleus { p } => p > 0.0 && p <= 1.0,
            Strategy::Contrastive { .. } => false,
        };
        if !can_be {
            return Err(Error::Decoding {
                field: "strategy",
                found: format!("{:?}", decoding.strategy),
                wanted: format!(
                    "greedy search, a width of 1 to {WIDEST}, or a nucleus above 0 and at most 1"
                ),
            });
        }
        let strategy = decoding.strategy;
        Ok(Self { strategy, end })
    }

    /// The best of what `run` finds by a search for each text of at most so many tokens, drawn from such a seed; `beam`
    /// is the family's own, of a width and a limit.
    pub(crate) fn run<B: Search>(
        &self,
        texts: Vec<(usize, Seed)>,
        beam: impl Fn(usize, usize) -> B,
        run: impl FnOnce(Vec<AnySearch<B>>) -> Result<Vec<Vec<Hypothesis>>>,
    ) -> Result<Vec<Hypothesis>> {
        let search = |(limit, seed)| match self.strategy {
            // Contrastive search, which looks a token ahead, was refused: it is no such rule.
            Strategy::Greedy | Strategy::Contrastive { .. } => {
                AnySearch::Greedy(Greedy::new(&[self.end], limit))
            }
            Strategy::Beam { width } => AnySearch::Beam(beam(width, limit)),
            Strategy::Nucleus { p } => {
                let spec = SamplingSpec {
                    ends: vec![self.end],
                    ..SamplingSpec::nucleus(p, limit)
                };
                AnySearch::Sampling(Box::new(Sampling::new(spec, seed)))
            }
        };
        let found = run(texts.into_iter().map(search).collect())?;
        // Every search finds something: it starts from an empty text.
        Ok(found
            .into_iter()
            .filter_map(|found| found.into_iter().next())
            .collect())
    }
}

/// How much a language model may write behind prompts, and which of them it reads together.
pub(crate) struct Room {
    /// The most tokens behind each prompt.
    pub(crate) limits: Vec<usize>,
    /// Numbers of prompts that are read as one batch: all of them, unless what fills the shorter ones up would go beyond the
    /// context.
    pub(crate) groups: Vec<Range<usize>>,
}

impl Room {
    /// `lengths` are those of the prompts in tokens; `usual` is how many tokens are written behind a prompt of such a length
    /// if nobody says how many. A prompt that does not fit into the context with what may follow it is refused.
    pub(crate) fn new(
        language: &LanguageModel,
        lengths: &[usize],
        decoding: &Decoding,
        usual: impl Fn(usize) -> usize,
    ) -> Result<Self> {
        let context = language.config().spec.context;
        let limit = |&len: &usize| {
            let room = context.saturating_sub(len);
            let wanted = decoding
                .max_tokens
                .unwrap_or_else(|| usual(len).min(room))
                .max(1);
            let what = "the prompt with what is to be written";
            language.check_context(what, len.saturating_add(wanted))?;
            Ok(wanted)
        };
        let limits = lengths.iter().map(limit).collect::<Result<Vec<usize>>>()?;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let most = limits.iter().copied().max().unwrap_or(0);
        let all = 0..lengths.len();
        let groups = if longest + most <= context {
            Vec::from_iter((!all.is_empty()).then_some(all))
        } else {
            all.map(|number| number..number + 1).collect()
        };
        Ok(Self { limits, groups })
    }
}

/// Ids as a text, where there is no vocabulary.
pub(crate) fn numbers(ids: &[u32]) -> String {
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    words.join(" ")
}
