//! `sightline shards`: look into shards, check, mend, convert, cut, split, filter, deduplicate, export, index and read them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sightline_core::registry::UnknownName;
use sightline_core::text::counted;
use sightline_dataset::convert::NewShard;
use sightline_dataset::index::{MANIFEST, Manifest};
use sightline_dataset::verify::{Finding, FindingKind};
use sightline_dataset::{
    ConvertSpec, INDEXES, Index, IndexSpec, Info, PassedOver, Target, VerifySpec, convert, info,
    repair, verify,
};
use sightline_shard::{FORMATS, ShardFormat};
use sightline_store::{Folder, Location};

use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use crate::stores::{scratch, shown, stores};

mod condition;
mod dedup;
mod export;
mod filter;
mod locate;
mod read;
mod reshard;
mod split;
mod subset;
mod view;

use locate::{Located, is_folder, locate};

/// What to do with shards.
#[derive(Debug, Subcommand)]
pub(crate) enum ShardsCommand {
    /// Count what shards hold and find damaged ones; exit code 1 when there are any
    Info(InfoArgs),
    /// Check structure, checksums, keys, images and digests; exit code 1 and a list when something is wrong
    Verify(VerifyArgs),
    /// Write the whole samples of damaged shards into new ones of the same names; exit code 1 when one has none
    Repair(RepairArgs),
    /// Write shards of another format or size
    Convert(ConvertArgs),
    /// Write shards of another size, order or format: cut by samples, by bytes, or equal for every rank and worker; shuffled all together
    Reshard(reshard::ReshardArgs),
    /// Split a dataset into parts by a hash, so that samples stay in their part when others are added
    Split(split::SplitArgs),
    /// Write samples as plain files
    Export(export::ExportArgs),
    /// Write the files by which training programs find samples
    Index(IndexArgs),
    /// Keep the samples for which a condition holds
    Filter(filter::FilterArgs),
    /// Leave out samples whose image is there already
    Dedup(dedup::DedupArgs),
    /// Look at samples in a browser: a page that only this machine can reach
    View(view::ViewArgs),
    /// Write the samples of a rank and worker to standard output, in the order of an epoch, from any point on
    Read(Box<read::ReadArgs>),
}

/// Damages of a shard that are shown.
const DAMAGES: usize = 5;

/// Which shards.
#[derive(Debug, Args)]
pub(crate) struct ShardsArgs {
    /// A folder of shards, a shard, or a pattern such as 'shards/*.tar' or 'shards/{00000..00017}.tar', also at s3://, gs:// or
    /// az://; at http(s):// shards are named
    shards: PathBuf,

    /// Shard format; by default the names of the shards say it
    #[arg(long, value_name = "NAME")]
    format: Option<String>,
}

/// Arguments of `sightline shards info`.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline shards verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// Decode every image
    #[arg(long)]
    decode: bool,

    /// A list of shards as `index --kind manifest` writes it; by default the one beside them, where it is
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline shards repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// Folder for the new shards, also at s3://, gs:// or az://
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Replace shards that are there
    #[arg(long)]
    force: bool,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline shards convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// Format of the new shards
    #[arg(long, value_name = "NAME")]
    to: String,

    /// Folder for the new shards, also at s3://, gs:// or az://; on this machine it appears whole at the end
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Samples of a new shard; by default as many as the old one has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples_per_shard: Option<u64>,

    /// Replace an output that is there
    #[arg(long)]
    force: bool,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline shards index`.
#[derive(Debug, Args)]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// Kinds of index: energon, litdata, manifest, mds, wids
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    kind: Vec<String>,

    /// Name of the dataset, for wids
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Parts of the dataset and their shares, for energon: train=0.9,val=0.1
    #[arg(long, value_name = "PART=SHARE,…", value_delimiter = ',', value_parser = parse_share)]
    split: Vec<(String, f64)>,

    /// Replace an index that is there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(command: &ShardsCommand) -> Result<Exit, Failure> {
    match command {
        ShardsCommand::Info(args) => run_info(args),
        ShardsCommand::Verify(args) => run_verify(args),
        ShardsCommand::Repair(args) => run_repair(args),
        ShardsCommand::Convert(args) => run_convert(args),
        ShardsCommand::Reshard(args) => reshard::run(args),
        ShardsCommand::Split(args) => split::run(args),
        ShardsCommand::Export(args) => export::run(args),
        ShardsCommand::Index(args) => run_index(args),
        ShardsCommand::Filter(args) => filter::run(args),
        ShardsCommand::Dedup(args) => dedup::run(args),
        ShardsCommand::View(args) => view::run(args),
        ShardsCommand::Read(args) => read::run(args),
    }
}

fn run_info(args: &InfoArgs) -> Result<Exit, Failure> {
    let Located { folder, names } = locate(&args.shards)?;
    let info = info(&folder, &names, &Bar::default());
    print_either(args.json, &info, || text(&info))?;
    for shard in &info.shards {
        if let Some(damage) = &shard.damage {
            let what = if damage.is_unread {
                "unread"
            } else {
                "damaged"
            };
            note(&format!(
                "{what}: {}\n  after {} whole samples",
                damage.message, damage.whole_samples
            ));
            for hint in &damage.hints {
                note(&format!("hint: {hint}"));
            }
        }
    }
    let mut damages = info.shards.iter().filter_map(|shard| shard.damage.as_ref());
    Ok(if damages.any(|damage| damage.is_unread) {
        Exit::Environment
    } else if info.damaged > 0 {
        Exit::No
    } else {
        Exit::Done
    })
}

fn run_verify(args: &VerifyArgs) -> Result<Exit, Failure> {
    let Located { folder, names } = locate(&args.shards)?;
    let manifest = manifest(args.manifest.as_ref(), &folder)?;
    let is_whole_folder = is_folder(&args.shards.shards).map_err(|error| {
        let doing = format!("looking into `{}`", shown(&args.shards.shards));
        Failure::new(exits::store(&error), doing, &error)
    })?;
    let spec = VerifySpec {
        decode: args.decode,
        index: is_whole_folder,
        manifest: manifest.as_ref(),
    };
    let verified = verify(&folder, &names, spec, &Bar::default());
    print_either(args.json, &verified, || {
        let mut text = String::new();
        for finding in &verified.findings {
            let key = finding.key.as_ref().map(|key| format!(": sample `{key}`"));
            let _ = writeln!(
                text,
                "{}{}: {}",
                finding.shard,
                key.unwrap_or_default(),
                finding.message
            );
        }
        let _ = write!(
            text,
            "{} shards, {} whole samples, {} things wrong",
            verified.shards,
            verified.samples,
            verified.findings.len()
        );
        text
    })?;
    let mut hints: Vec<&String> = verified
        .findings
        .iter()
        .flat_map(|finding| &finding.hints)
        .collect();
    hints.sort_unstable();
    hints.dedup();
    for hint in hints {
        note(&format!("hint: {hint}"));
    }
    for kind in &verified.unchecked {
        note(&format!(
            "digests of the kind `{kind}` in `index.json` were not compared"
        ));
    }
    let is_unread = |finding: &Finding| finding.kind == FindingKind::Unread;
    Ok(if verified.findings.is_empty() {
        Exit::Done
    } else if verified.findings.iter().any(is_unread) {
        Exit::Environment
    } else {
        Exit::No
    })
}

/// The manifest that was named, else the one beside the shards.
fn manifest(named: Option<&PathBuf>, folder: &Folder) -> Result<Option<Manifest>, Failure> {
    let path = named.cloned().unwrap_or_else(|| folder.shown(MANIFEST));
    let doing = || format!("reading manifest `{}`", shown(&path));
    let read = match named {
        Some(path) => stores()
            .object(path)
            .and_then(|(folder, name)| folder.read(&name)),
        None => folder.read(MANIFEST),
    };
    let failed = |error| Failure::new(exits::store(&error), doing(), &error);
    let text = match (read.map_err(failed)?, named) {
        (Some(text), _) => text,
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err(Failure::usage(doing(), "there is no such file")),
    };
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| Failure::usage(doing(), error.to_string()))?;
    if manifest.schema != 1 {
        let cause = format!("its schema is {}, known is 1", manifest.schema);
        return Err(Failure::usage(doing(), cause));
    }
    Ok(Some(manifest))
}

fn run_repair(args: &RepairArgs) -> Result<Exit, Failure> {
    let Located { folder, names } = locate(&args.shards)?;
    let doing = || format!("repairing shards of `{}`", shown(&args.shards.shards));
    let out = create(&args.out)?;
    let repaired = repair(&folder, &names, &out, args.force, &Bar::default())
        .map_err(|error| Failure::new(exits::dataset(&error), doing(), &error))?;
    print_either(args.json, &repaired, || {
        let mut text = String::new();
        for shard in &repaired.shards {
            let new = shard.new.as_ref().map_or_else(
                || "nothing was whole".to_owned(),
                |new| {
                    format!(
                        "{} samples in {}",
                        shard.samples,
                        args.out.join(new).display()
                    )
                },
            );
            let _ = writeln!(text, "{}: {new}", shard.name);
            for damage in shard.damages.iter().take(DAMAGES) {
                let _ = writeln!(text, "  {damage}");
            }
            if shard.damages.len() > DAMAGES {
                let more = shard.damages.len() - DAMAGES;
                let _ = writeln!(text, "  and {more} more, which --json lists");
            }
        }
        let _ = write!(
            text,
            "{} damaged, {} whole",
            repaired.shards.len(),
            repaired.whole
        );
        text
    })?;
    let is_new = |name: &str| {
        let mut shards = repaired.shards.iter();
        shards.any(|shard| shard.name == name && shard.new.is_some())
    };
    let mut new = names.iter().filter(|(name, _)| is_new(name));
    if let Some(index) = new.find_map(|(_, format)| format.index_file()) {
        note(&format!(
            "hint: Leave the new shards in a folder of their own, with an index that `sightline shards index` writes: beside shards of another program they would not fit its `{index}`. `sightline shards convert` brings both into one form."
        ));
    }
    let is_lost = repaired.shards.iter().any(|shard| shard.new.is_none());
    Ok(if is_lost { Exit::No } else { Exit::Done })
}

fn run_convert(args: &ConvertArgs) -> Result<Exit, Failure> {
    let Located { folder, names } = locate(&args.shards)?;
    let doing = || format!("converting shards of `{}`", shown(&args.shards.shards));
    let to = format_called(&args.to, &doing())?;
    let out = target(&args.out, &folder)?;
    let spec = ConvertSpec {
        to,
        samples_per_shard: args.samples_per_shard,
        force: args.force,
    };
    let converted = convert(&folder, &names, out, &spec, &Bar::default())
        .map_err(|error| stopped(&error, doing()))?;
    note_kept(converted.kept);
    print_either(args.json, &converted, || {
        let mut text = String::new();
        for NewShard {
            name,
            samples,
            len_bytes,
            ..
        } in &converted.shards
        {
            let _ = writeln!(text, "{name}  {samples} samples  {len_bytes} bytes");
        }
        let _ = write!(
            text,
            "{} shards, {} samples",
            converted.shards.len(),
            converted.samples
        );
        text + &passed_over(&converted.passed_over)
    })?;
    Ok(Exit::Done)
}

fn run_index(args: &IndexArgs) -> Result<Exit, Failure> {
    let Located { folder, names } = locate(&args.shards)?;
    let doing = || format!("indexing shards of `{}`", shown(&args.shards.shards));
    let kinds: Result<Vec<&'static dyn Index>, Failure> = args
        .kind
        .iter()
        .map(|kind| {
            let known = || INDEXES.iter().map(|index| index.name());
            let found = INDEXES.iter().copied().find(|index| index.name() == kind);
            found.ok_or_else(|| {
                let error = UnknownName::among("kind of index", kind, known());
                Failure::new(Exit::Usage, doing(), &error)
            })
        })
        .collect();
    let mut spec = IndexSpec {
        name: args.name.clone(),
        scratch: Some(scratch()),
        ..IndexSpec::default()
    };
    if !args.split.is_empty() {
        spec.split.clone_from(&args.split);
    }
    let shards: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    let mut written = Vec::new();
    for index in kinds? {
        let failed =
            |error: sightline_dataset::Error| Failure::new(exits::dataset(&error), doing(), &error);
        let is_there = folder
            .entry(index.file())
            .map_err(|error| failed(error.into()))?;
        if !args.force && is_there.is_some() {
            return Err(failed(sightline_dataset::Error::Exists {
                name: index.file().to_owned(),
            }));
        }
        written.extend(
            index
                .write(&folder, &shards, &spec, &Bar::default())
                .map_err(failed)?,
        );
    }
    crate::output::print(&written.join("\n"))?;
    Ok(Exit::Done)
}

/// The failure of a run of which the shards that are finished are kept, if a disk or a store failed.
fn stopped(error: &sightline_dataset::Error, doing: String) -> Failure {
    let failure = Failure::new(exits::dataset(error), doing, error);
    if error.is_of_environment() {
        let hint = "Shards that are finished are kept: the same command goes on behind them.";
        return failure.with_hint(hint);
    }
    failure
}

/// Says that a run went on behind the shards of another.
fn note_kept(shards: u64) {
    if shards > 0 {
        let kept = counted(shards as usize, "shard");
        note(&format!("went on behind {kept} of an earlier run"));
    }
}

fn create(out: &Path) -> Result<Folder, Failure> {
    stores()
        .create(out)
        .map_err(|error| cannot_make(out, &error))
}

/// Where an output goes that appears whole, and is made of what is in `input`.
fn target(out: &Path, input: &Folder) -> Result<Target, Failure> {
    let target = match Location::of(out).map_err(|error| cannot_make(out, &error))? {
        Location::Local(path) => Target::Local(path),
        Location::Remote(_) => create(out).map(Target::Store)?,
    };
    target.check_apart(input).map_err(|error| {
        let doing = format!("writing into `{}`", shown(out));
        Failure::new(exits::dataset(&error), doing, &error)
    })?;
    Ok(target)
}

fn cannot_make(out: &Path, error: &sightline_store::Error) -> Failure {
    let doing = format!("making folder `{}`", shown(out));
    Failure::new(exits::store(error), doing, error)
}

/// What was not taken over, a line each, for the end of a text.
fn passed_over(passed: &PassedOver) -> String {
    let mut text = String::new();
    if !passed.members.is_empty() {
        let members = passed.members.iter().map(|(name, n)| format!("{name} {n}"));
        let members: Vec<String> = members.collect();
        let _ = write!(text, "\npassed over: {}", members.join(", "));
    }
    if passed.outside_samples > 0 {
        let outside = counted(passed.outside_samples as usize, "member");
        let _ = write!(text, "\noutside samples: {outside}");
    }
    if passed.renamed > 0 {
        let renamed = counted(passed.renamed as usize, "sample");
        let _ = write!(
            text,
            "\nrenamed: {renamed} whose key in the shard can be none (too long, with a dot or a backslash, a URL)"
        );
    }
    text
}

/// The format called `name`.
fn format_called(name: &str, doing: &str) -> Result<&'static dyn ShardFormat, Failure> {
    let found = FORMATS.iter().copied().find(|format| format.name() == name);
    found.ok_or_else(|| {
        let known = FORMATS.iter().map(|format| format.name());
        let error = UnknownName::among("shard format", name, known);
        Failure::new(Exit::Usage, doing, &error)
    })
}

fn parse_share(text: &str) -> Result<(String, f64), String> {
    let parsed = text
        .split_once('=')
        .and_then(|(part, share)| Some((part, share.parse::<f64>().ok()?)));
    match parsed {
        Some((part, share)) if !part.is_empty() && (0.0..=1.0).contains(&share) => {
            Ok((part.to_owned(), share))
        }
        _ => Err("expected PART=SHARE with a share from 0 to 1, for example train=0.9".to_owned()),
    }
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
    let passed_over = passed_over(&total.passed_over);
    if !passed_over.is_empty() {
        let _ = writeln!(text, "{}", passed_over.trim_start());
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
