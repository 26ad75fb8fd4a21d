//! The `sightline` binary: parses arguments, calls the libraries, prints, chooses an exit code.

mod args;
mod cache;
mod command;
mod exit;
mod hub;
mod monitor;
mod output;
mod panics;
mod signal;
mod stores;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Cli, Command};

/// Threads hand many small and some large buffers to each other; the system's allocator spends a tenth of
/// the time of `score` on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    subscribe(cli.verbose);
    panics::log_those_of_the_table_engine();
    let outcome = match cli.command {
        Command::Fetch(args) => command::fetch::run(&args),
        Command::Shards(command) => command::shards::run(&command),
        Command::Synth(command) => command::synth::run(&command),
        Command::Preprocess(args) => command::preprocess::run(&args),
        Command::Models(command) => command::models::run(&command),
        Command::Embed(args) => command::embed::run(&args),
        Command::Caption(args) => command::caption::run(&args),
        Command::Detect(args) => command::detect::run(&args),
        Command::Ask(args) => command::ask::run(&args),
        Command::Metrics(command) => command::metrics::run(&command),
        Command::Score(args) => command::score::run(&args),
        Command::Train(args) => command::train::run(&args),
        Command::Datasets(command) => command::datasets::run(&command),
        Command::Schema(args) => command::schema::run(&args),
        Command::Plan(args) => command::plan::run(&args),
        Command::Lock(args) => command::lock::run(&args),
        Command::Bundle(args) => command::bundle::pack(&args),
        Command::Unbundle(args) => command::bundle::unpack(&args),
        Command::Run(args) => command::run::run(&args),
        Command::Merge(args) => command::merge::run(&args),
        Command::Verify(args) => command::verify::run(&args),
        Command::Perf(args) => command::perf::run(&args),
        Command::Compare(args) => command::compare::run(&args),
        Command::Board(args) => command::board::run(&args),
        Command::Nightly(args) => command::nightly::run(&args),
    };
    outcome
        .unwrap_or_else(|failure| output::fail(&failure))
        .into()
}

/// Sends what the libraries log to stderr: warnings, or more with `-v` and `RUST_LOG`.
fn subscribe(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,sightline=info",
        _ => "info,sightline=debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .without_time()
        .init();
}
