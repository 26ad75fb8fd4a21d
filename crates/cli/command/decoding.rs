//! How a model that writes chooses its words.

use clap::Args;
use sightline_models::{Decoding, Strategy};

/// Decoding, where the family's own is not wanted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Decoding [default: as the family's published program]")]
pub(crate) struct DecodingArgs {
    /// The likeliest token, always
    #[arg(long, conflicts_with_all = ["beam", "nucleus"])]
    greedy: bool,

    /// So many hypotheses side by side
    #[arg(long, value_name = "N", conflicts_with = "nucleus")]
    beam: Option<usize>,

    /// At random among the likeliest tokens that together have the probability P; `--seed` chooses other ones
    #[arg(long, value_name = "P")]
    nucleus: Option<f32>,

    /// The most tokens, the end included
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
}

impl DecodingArgs {
    /// Whether nothing was asked for.
    pub(crate) fn is_default(&self) -> bool {
        !self.greedy && self.beam.is_none() && self.nucleus.is_none() && self.max_tokens.is_none()
    }

    /// The family's decoding with what was asked for.
    pub(crate) fn over(&self, mut decoding: Decoding) -> Decoding {
        if self.greedy {
            decoding.strategy = Strategy::Greedy;
        }
        if let Some(width) = self.beam {
            decoding.strategy = Strategy::Beam { width };
        }
        if let Some(p) = self.nucleus {
            decoding.strategy = Strategy::Nucleus { p };
        }
        decoding.max_tokens = self.max_tokens.or(decoding.max_tokens);
        decoding
    }
}

/// A strategy in words.
pub(crate) fn words(strategy: Strategy) -> String {
    match strategy {
        Strategy::Greedy => "greedy".to_owned(),
        Strategy::Beam { width } => format!("beam {width}"),
        Strategy::Nucleus { p } => format!("nucleus {p}"),
        Strategy::Contrastive {
            candidates,
            penalty,
            judgement,
        } => format!("contrastive {candidates}, {penalty}, {judgement}"),
        _ => "another".to_owned(),
    }
}
