//! `sightline merge`: parts of a run become one record.

use std::path::PathBuf;

use clap::Args;
use sightline_harness::Options;

use crate::args::SuiteArgs;
use crate::command::device::DecodeArg;
use crate::command::model::DeviceArg;
use crate::command::{run, suite};
use crate::exit::{Exit, Failure};
use crate::output::Bar;
use crate::signal::Stop;

/// Arguments of `sightline merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    #[command(flatten)]
    suite: SuiteArgs,

    /// Folder for predictions and records
    #[arg(long, default_value = "records", value_name = "DIR")]
    records: PathBuf,

    /// Records folder of another machine, which has parts too; may be given several times
    #[arg(long, value_name = "DIR")]
    from: Vec<PathBuf>,

    #[command(flatten)]
    device: DeviceArg,

    /// Who decoded JPEG files on --device cuda: host, any or card [default: host]
    #[arg(long, value_enum, value_name = "WHO", hide_possible_values = true)]
    decode: Option<DecodeArg>,

    /// Print the records as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &MergeArgs) -> Result<Exit, Failure> {
    let mut suite = suite::load(&args.suite)?;
    suite.fetch_checkpoints(args.suite.offline)?;
    let stop = Stop::listen()?;
    let lock = suite.lock(&Bar::default(), &args.device)?;
    let folders = std::iter::once(&args.records).chain(&args.from).cloned();
    // Nothing is computed on the device; predictions are those of a kind of device.
    let options = Options {
        command: as_one_run(run::command()),
        merge: Some(folders.collect()),
        ..run::options(&suite, &args.records, &args.device, args.decode)?
    };
    let outcome = run::execute(&suite, &lock, &options, &stop)?;
    run::conclude(&suite.plan, &outcome, args.json, &stop)
}

/// The command that makes the same in one piece: a record says how it can be made again.
fn as_one_run(command: Vec<String>) -> Vec<String> {
    let mut run = Vec::with_capacity(command.len());
    let mut words = command.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--from" => {
                words.next();
            }
            "merge" if !run.contains(&"run".to_owned()) => run.push("run".to_owned()),
            word if word.starts_with("--from=") => {}
            _ => run.push(word),
        }
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_a_record_is_that_of_one_run() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let merged = words("sightline merge merge.toml --from a --data d --from=b --records r");
        let run = words("sightline run merge.toml --data d --records r");
        assert_eq!(as_one_run(merged), run);
    }
}
