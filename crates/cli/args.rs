//! The command line as clap sees it. Long flags that img2dataset has keep its names, in kebab-case.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::command;

/// Prepares image-text datasets and measures vision-language models; every number can be traced to
/// its bytes and made again.
#[derive(Debug, Parser)]
#[command(
    name = "sightline",
    version,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 done; 1 done and the answer is no; 2 wrong arguments or manifest; 3 finished but
incomplete, run again to resume; 4 the environment failed (network, disk, device); 130 and 143
interrupted, run again to resume."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Log more to stderr; twice for every batch. `RUST_LOG` overrides
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Download a table of image URLs into shards
    Fetch(Box<command::fetch::FetchArgs>),
    /// Look into shards; check, mend, convert, cut, split, filter, deduplicate, export, index and read them
    #[command(subcommand)]
    Shards(command::shards::ShardsCommand),
    /// Make synthetic datasets
    #[command(subcommand)]
    Synth(command::synth::SynthCommand),
    /// Write exactly the tensors that a model would be fed
    Preprocess(command::preprocess::PreprocessArgs),
    /// Model families and what they can do; checkpoints of any form as safetensors;
    /// how far a checkpoint is from recorded outputs
    #[command(subcommand)]
    Models(command::models::ModelsCommand),
    /// Images or texts as vectors of one space
    Embed(Box<command::embed::EmbedArgs>),
    /// Write captions for images
    Caption(Box<command::caption::CaptionArgs>),
    /// Find objects of named classes in images
    Detect(Box<command::detect::DetectArgs>),
    /// Ask a model a question about an image
    Ask(Box<command::ask::AskArgs>),
    /// Metrics, and the data that some of them need
    #[command(subcommand)]
    Metrics(command::metrics::MetricsCommand),
    /// Score a file of captions against a file of references, without a model
    Score(Box<command::score::ScoreArgs>),
    /// Train a model with its family's own objective; a run that was cut short goes on
    Train(command::train::TrainArgs),
    /// Published datasets: what is known of them, and getting their files
    #[command(subcommand)]
    Datasets(command::datasets::DatasetsCommand),
    /// Print the JSON Schema of a kind of manifest, for editors
    Schema(command::schema::SchemaArgs),
    /// Show a suite with every name resolved and every default filled in
    Plan(command::plan::PlanArgs),
    /// Write the digest and size of every file a suite reads
    Lock(command::lock::LockArgs),
    /// Pack a suite with its lock, data and weights into one file, for a machine without a network
    Bundle(command::bundle::BundleArgs),
    /// Unpack a bundle, checking every byte
    Unbundle(command::bundle::UnbundleArgs),
    /// Run a suite: predictions, scores with intervals, records
    Run(command::run::RunArgs),
    /// Put the parts of a run together, and score and record the whole
    Merge(command::merge::MergeArgs),
    /// Make a record again and say how equal it is: bitwise, in its scores, statistically, or not
    Verify(command::verify::VerifyArgs),
    /// Measure how fast models answer, apart from their scores
    Perf(command::perf::PerfArgs),
    /// Compare two records sample by sample: differences, intervals, tests, what changed
    Compare(command::compare::CompareArgs),
    /// Make the static leaderboard from records
    Board(command::board::BoardArgs),
    /// Run the suites of a list that are not recorded yet, make the board, and compare with the last night
    Nightly(Box<command::nightly::NightlyArgs>),
}

/// A suite and what a person may change about it; shared by `plan`, `lock` and `run`.
#[derive(Debug, Args)]
pub(crate) struct SuiteArgs {
    /// Suite manifest, a TOML file in a folder `suites/` beside `datasets/` and `models/`; or an unpacked bundle
    pub(crate) suite: PathBuf,

    /// Folder below which datasets and checkpoints are
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) data: PathBuf,

    /// Checkpoint folder of a model, as NAME=DIR, or NAME=hf:OWNER/NAME@REVISION; may be given several times
    #[arg(long, value_name = "NAME=DIR", value_parser = parse_checkpoint)]
    pub(crate) checkpoint: Vec<(String, PathBuf)>,

    /// Ask nothing of the network: checkpoints on the hub (hf:…) have to be in its cache
    #[arg(long)]
    pub(crate) offline: bool,

    /// Run these models instead of the suite's
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) models: Option<Vec<String>>,

    /// Run only these tasks of the suite
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) tasks: Option<Vec<String>>,

    /// Only the first N samples of each dataset
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,

    /// Samples in a batch; changes speed and memory, never a score
    #[arg(long, value_name = "N", value_parser = parse_batch_size)]
    pub(crate) batch_size: Option<usize>,
}

/// Image formats that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormatArg {
    /// JPEG, 4:2:0
    Jpg,
    /// PNG
    Png,
    /// WebP
    Webp,
}

impl From<ImageFormatArg> for sightline_core::ImageFormat {
    fn from(format: ImageFormatArg) -> Self {
        match format {
            ImageFormatArg::Jpg => Self::Jpg,
            ImageFormatArg::Png => Self::Png,
            ImageFormatArg::Webp => Self::Webp,
        }
    }
}

fn parse_checkpoint(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !dir.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(dir)))
        }
        _ => {
            Err("expected NAME=DIR, for example clip=checkpoints/clip-vit-base-patch32".to_owned())
        }
    }
}

fn parse_batch_size(text: &str) -> Result<usize, String> {
    let most = sightline_manifest::MAX_BATCH_SIZE as usize;
    match text.parse() {
        Ok(size) if (1..=most).contains(&size) => Ok(size),
        _ => Err(format!("expected a whole number from 1 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn checkpoints_are_given_by_name() {
        assert_eq!(
            parse_checkpoint("clip=a=b").unwrap(),
            ("clip".to_owned(), PathBuf::from("a=b"))
        );
        assert!(parse_checkpoint("clip").is_err());
        assert!(parse_checkpoint("=dir").is_err());
    }
}
