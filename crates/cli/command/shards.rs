//! `sightline shards`: look into existing shards.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use sightline_core::ShardId;
use sightline_core::registry::UnknownName;
use sightline_dataset::{Info, info};
use sightline_shard::{FORMATS, ShardFormat};
use sightline_store::glob::locate;

use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};

/// What to do with shards.
#[derive(Debug, Subcommand)]
pub(crate) enum ShardsCommand {
    /// Count what shards hold and find damaged ones; exit code 1 when there are any
    Info(InfoArgs),
}

/// Arguments of `sightline shards info`.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// A folder of shards, a shard, or a pattern such as 'shards/*.tar' or 'shards/{00000..00017}.tar'
    shards: PathBuf,

    /// Shard format
    #[arg(long, default_value = "webdataset", value_name = "NAME")]
    format: String,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &ShardsCommand) -> Result<Exit, Failure> {
    let ShardsCommand::Info(args) = command;
    let doing = || format!("looking into `{}`", args.shards.display());
    let format = FORMATS
        .iter()
        .find(|format| format.name() == args.format)
        .ok_or_else(|| {
            let known = FORMATS.iter().map(|format| format.name());
            let error = UnknownName::among("shard format", &args.format, known);
            Failure::new(Exit::Usage, doing(), &error)
        })?;
    let typed = args
        .shards
        .to_str()
        .ok_or_else(|| Failure::usage(doing(), "the name is not valid UTF-8"))?;
    let (folder, names) = locate(typed, &all_of(*format))
        .map_err(|error| Failure::new(exits::store(&error), doing(), &error))?;
    let info = info(*format, &folder, &names, &Bar::default());
    print_either(args.json, &info, || text(&info))?;
    for shard in &info.shards {
        if let Some(damage) = &shard.damage {
            note(&format!(
                "damaged: {}\n  after {} whole samples",
                damage.message, damage.whole_samples
            ));
            for hint in &damage.hints {
                note(&format!("hint: {hint}"));
            }
        }
    }
    Ok(if info.damaged > 0 {
        Exit::No
    } else {
        Exit::Done
    })
}

/// The pattern of all shards of a folder.
fn all_of(format: &dyn ShardFormat) -> String {
    let first = format.file_name(ShardId(0));
    format!("*.{}", first.rsplit('.').next().unwrap_or_default())
}

fn text(info: &Info) -> String {
    let total = &info.total;
    let mut text = format!(
        "{} {} shards, {} damaged, {} bytes, {} samples\n",
        info.shards.len(),
        info.format,
        info.damaged,
        info.len_bytes,
        total.samples
    );
    let counts = |counts: &std::collections::BTreeMap<String, u64>| {
        let list: Vec<String> = counts.iter().map(|(k, n)| format!("{k} {n}")).collect();
        list.join(", ")
    };
    let _ = writeln!(text, "images: {}", counts(&total.images));
    for (name, range) in [
        ("width", &total.width),
        ("height", &total.height),
        ("image bytes", &total.image_bytes),
        ("captions a sample", &total.captions),
    ] {
        if range.count > 0 {
            let _ = writeln!(
                text,
                "{name}: {} to {}, mean {:.1}",
                range.min, range.max, range.mean
            );
        }
    }
    let _ = writeln!(text, "metadata: {}", counts(&total.metadata));
    if !total.passed_over.is_empty() {
        let _ = writeln!(text, "passed over: {}", counts(&total.passed_over));
    }
    for shard in &info.shards {
        let _ = writeln!(
            text,
            "  {}  {} samples  {} bytes  {}",
            shard.name,
            shard.counts.samples,
            shard.len_bytes.unwrap_or(0),
            match (&shard.damage, &shard.sha256) {
                (Some(_), _) => "DAMAGED".to_owned(),
                (None, Some(sha256)) => format!("sha256 {}", sha256.short()),
                (None, None) => String::new(),
            }
        );
    }
    text.truncate(text.trim_end().len());
    text
}
