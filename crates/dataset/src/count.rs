//! How many samples each shard holds, without reading them where something else says it.

use rayon::prelude::*;
use sightline_core::{ObjectSource, Progress};

use crate::convert::NamedShard;
use crate::index::{MANIFEST, Manifest};
use crate::{Error, Result};

/// Longest list of shards that is read.
const MAX_MANIFEST_LEN_BYTES: u64 = 1 << 30;

/// The samples of each of the shards `names` of `source`.
///
/// The list beside them (`sightline shards index --kind manifest`) is believed where a shard in it has the length that it is listed with. What it does
/// not say, the shards do: their offsets or footers, else the headers of all members, on all cores.
pub fn count(
    source: &dyn ObjectSource,
    names: &[NamedShard],
    progress: &dyn Progress,
) -> Result<Vec<u64>> {
    let manifest = manifest(source);
    progress.start("counting shards", Some(names.len() as u64));
    let counts = names
        .par_iter()
        .map(|(name, format)| {
            let count = match manifest
                .as_ref()
                .and_then(|list| listed(source, list, name))
            {
                Some(samples) => samples,
                None => format.count(source, name)?,
            };
            progress.advance(1);
            Ok(count)
        })
        .collect();
    progress.finish();
    counts
}

/// An error where a shard that was counted holds another number of samples: it, or the list beside it, is not what it was.
pub(crate) fn check_count(shard: &str, counted: u64, found: u64) -> Result<()> {
    if counted == found {
        return Ok(());
    }
    Err(Error::OtherCount {
        shard: shard.to_owned(),
        counted,
        found,
    })
}

/// The list beside the shards, sorted by name. One that cannot be read is none: everything in it can be found out.
fn manifest(source: &dyn ObjectSource) -> Option<Manifest> {
    let object = source.object(MANIFEST).ok()?;
    let len = object
        .len()
        .ok()
        .filter(|len| *len <= MAX_MANIFEST_LEN_BYTES)?;
    let mut manifest: Manifest = serde_json::from_slice(&object.read_at(0..len).ok()?).ok()?;
    manifest.shards.sort_by(|a, b| a.name.cmp(&b.name));
    Some(manifest)
}

fn listed(source: &dyn ObjectSource, manifest: &Manifest, name: &str) -> Option<u64> {
    let at = manifest
        .shards
        .binary_search_by(|shard| shard.name.as_str().cmp(name))
        .ok()?;
    let shard = &manifest.shards[at];
    let len = source.object(name).ok()?.len().ok()?;
    (len == shard.len_bytes).then_some(shard.samples)
}

#[cfg(test)]
mod tests {
    use sightline_core::ShardId;
    use sightline_core::io::Memory;
    use sightline_core::progress::Silent;
    use sightline_shard::{FORMATS, conformance};

    use super::*;

    #[test]
    fn shards_of_every_format_are_counted_and_lists_are_believed() {
        let mut shards = Memory::default();
        let samples = conformance::samples();
        for format in FORMATS {
            let names = [(format.file_name(ShardId(0)), *format)];
            let mut writer = format.create(&mut shards, ShardId(0)).unwrap();
            for sample in &samples {
                writer.write(sample).unwrap();
            }
            let summary = writer.finish().unwrap();
            let counts = count(&shards, &names, &Silent).unwrap();
            assert_eq!(counts, [samples.len() as u64], "{}", format.name());

            let list = |len: u64| {
                let text = serde_json::json!({"schema": 1, "samples": 7, "len_bytes": len, "shards": [{
                    "name": names[0].0, "format": format.name(), "samples": 7, "len_bytes": len,
                    "sha256": summary.sha256,
                }]});
                shards.insert(MANIFEST, text.to_string().into_bytes());
                count(&shards, &names, &Silent).unwrap()[0]
            };
            assert_eq!(list(summary.len_bytes), 7);
            assert_eq!(list(summary.len_bytes + 1), samples.len() as u64);
            shards.insert(MANIFEST, &b"{"[..]);
            assert_eq!(count(&shards, &names, &Silent).unwrap(), counts);
        }
    }
}
