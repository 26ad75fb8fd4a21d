//! Which shards a person means, and of which format they are.

use std::collections::HashSet;
use std::path::Path;

use sightline_dataset::NamedShard;
use sightline_dataset::staging::MARK;
use sightline_shard::ShardFormat;
use sightline_shard::format::of_name;
use sightline_store::glob::locate_in;
use sightline_store::{Entry, Folder, Kind, is_address};

use super::{ShardsArgs, format_called};
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::note;
use crate::stores::{shown, stores};

/// Formats of one kind. A folder stands for the shards of the first kind that it holds any of: beside tar archives there
/// are often tables of what is in them.
const KINDS: &[&[&str]] = &[
    &["webdataset", "webdataset-gz", "webdataset-zst"],
    &["mds", "mds-zstd"],
    &["litdata", "litdata-zstd"],
    &["files"],
    &["tfrecord"],
    &["parquet"],
];

/// Shards of a folder.
pub(super) struct Located {
    /// The folder.
    pub(super) folder: Folder,
    /// Their names in it and their formats.
    pub(super) names: Vec<NamedShard>,
}

/// The shards that `args` mean.
pub(super) fn locate(args: &ShardsArgs) -> Result<Located, Failure> {
    let doing = || format!("looking into `{}`", shown(&args.shards));
    let typed = args
        .shards
        .to_str()
        .ok_or_else(|| Failure::usage(doing(), "the name is not valid UTF-8"))?;
    let failed = |error| Failure::new(exits::store(&error), doing(), &error);
    let locate_names = |typed: &str, default: &str| locate_in(&stores(), typed, default);
    if let Some(name) = &args.format {
        let format = format_called(name, &doing())?;
        // A folder of plain files without a list is a shard by itself.
        if name == "files"
            && let Some(located) = unlisted(args, format).map_err(failed)?
        {
            return Ok(located);
        }
        let (folder, names) =
            locate_names(typed, &format!("*.{}", format.extension())).map_err(failed)?;
        let names = names.into_iter().map(|name| (name, format)).collect();
        return Ok(Located { folder, names });
    }
    if is_folder(&args.shards).map_err(failed)? {
        let folder = stores().folder(&args.shards).map_err(failed)?;
        // Listed once: a store may take its time for that.
        let entries = folder.entries().map_err(failed)?;
        if entries.iter().any(|entry| entry.name == MARK) {
            return Err(unfinished(doing()));
        }
        let mut kinds = KINDS
            .iter()
            .map(|kind| of_kind(&entries, kind))
            .filter(|names| !names.is_empty());
        if let Some(names) = kinds.next() {
            for others in kinds {
                tell_of_others(&names, &others);
            }
            return Ok(Located { folder, names });
        }
        // Nothing is there: the words for that are those for archives.
        locate_names(typed, "*.tar").map_err(failed)?;
    }
    let (folder, names) = locate_names(typed, "*.tar").map_err(failed)?;
    let names: Result<Vec<NamedShard>, Failure> = names
        .into_iter()
        .map(|name| match of_name(&name) {
            Some(format) => Ok((name, format)),
            None => Err(Failure::usage(
                doing(),
                format!("`{name}` has the extension of no shard format"),
            )
            .with_hint("Say which it is with --format.")
            .with_exit(Exit::Usage)),
        })
        .collect();
    Ok(Located {
        folder,
        names: names?,
    })
}

/// Says that shards of a second kind are not read, but for tables that are called as the shards beside them.
fn tell_of_others(names: &[NamedShard], others: &[NamedShard]) {
    let stem = |name: &str| name.split('.').next().map(str::to_owned);
    let known: HashSet<_> = names.iter().map(|(name, _)| stem(name)).collect();
    let is_table = |name: &str| name.ends_with(".parquet") && known.contains(&stem(name));
    let mut unread = others.iter().filter(|(name, _)| !is_table(name));
    if let (Some((first, format)), (_, format_read)) = (unread.next(), &names[0]) {
        let count = 1 + unread.count();
        note(&format!(
            "{count} shards of another kind are not read ({}: `{first}`), only those of {}: name them by a pattern or with --format",
            format.name(),
            format_read.name()
        ));
    }
}

/// Refuses a folder that is still to get shards: what is missing would be missed in silence. Shards that are named are read.
fn unfinished(doing: String) -> Failure {
    let cause = format!("it is not finished: `{MARK}` is there until all shards are");
    let hint = "Run the command that writes it again, or remove the folder. Shards that are there can be named: 'FOLDER/*.tar'.";
    Failure::usage(doing, cause)
        .with_hint(hint)
        .with_exit(Exit::Incomplete)
}

/// The folder itself, when it holds files of samples but no lists.
fn unlisted(
    args: &ShardsArgs,
    format: &'static dyn ShardFormat,
) -> Result<Option<Located>, sightline_store::Error> {
    if !is_folder(&args.shards)? {
        return Ok(None);
    }
    let pattern = format!("*.{}", format.extension());
    if stores().folder(&args.shards)?.expand(&[pattern]).is_ok() {
        return Ok(None);
    }
    if is_address(&args.shards) {
        let (folder, name) = stores().object(&args.shards)?;
        let names = vec![(name, format)];
        return Ok(Some(Located { folder, names }));
    }
    let path = args
        .shards
        .canonicalize()
        .unwrap_or_else(|_| args.shards.clone());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Ok(None);
    };
    Ok(Some(Located {
        folder: Folder::open(parent)?,
        names: vec![(name.to_owned(), format)],
    }))
}

/// Whether `place` is a folder. A pattern in a store is none.
pub(super) fn is_folder(place: &Path) -> Result<bool, sightline_store::Error> {
    let has_wildcard = place.to_string_lossy().contains(['*', '?', '[', '{']);
    if is_address(place) && has_wildcard {
        return Ok(false);
    }
    Ok(stores().kind(place)? == Kind::Folder)
}

/// The shards of any of the formats `kind` among `entries`, sorted by name.
fn of_kind(entries: &[Entry], kind: &[&str]) -> Vec<NamedShard> {
    let names = entries.iter().map(|entry| &entry.name);
    names
        .filter(|name| !name.starts_with('.'))
        .filter_map(|name| of_name(name).map(|format| (name.clone(), format)))
        .filter(|(_, format)| kind.contains(&format.name()))
        .collect()
}
