//! Where the samples of an archive lie, for indexes with random access.

use sightline_core::ObjectSource;

use crate::input::Input;
use crate::members::{self, Entry, Members, split_name};
use crate::tar::read::TarReader;
use crate::{Compression, Limits, Problem, Result};

/// Where the samples of an archive lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Each sample, in order.
    pub samples: Vec<PlacedSample>,
    /// Offset of the end mark.
    pub end: u64,
}

/// Where a sample lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedSample {
    /// Its key.
    pub key: String,
    /// Offset of its first header.
    pub offset: u64,
    /// Its members, in order.
    pub parts: Vec<PlacedPart>,
}

/// Where a member of a sample lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedPart {
    /// What follows the first dot of its name, as it is written there.
    pub extension: String,
    /// Offset of its data.
    pub offset: u64,
    /// Length of its data.
    pub len_bytes: u64,
}

/// Where the samples of the archive `name` lie. A compressed archive has no such places and is refused.
pub fn layout(source: &dyn ObjectSource, name: &str) -> Result<Layout> {
    let input = Input::open(source, name, Limits::default())?;
    if input.compression() != Compression::None {
        let what = "a compressed archive, in which nothing can be found by its offset";
        return Err(input.damaged(0, None, Problem::Unsupported { what }));
    }
    let mut layout = Layout::default();
    layout.end = walk(input, |member| {
        if member.is_first {
            layout.samples.push(PlacedSample {
                key: "./".repeat(member.entry.dots) + member.key,
                offset: member.entry.offset,
                parts: Vec::new(),
            });
        }
        if let Some(sample) = layout.samples.last_mut() {
            sample.parts.push(PlacedPart {
                extension: member.extension.to_owned(),
                offset: member.offset,
                len_bytes: member.entry.len,
            });
        }
    })?;
    Ok(layout)
}

/// A member of a sample, as [`walk`] meets it.
pub(super) struct Placed<'a> {
    pub(super) entry: &'a Entry,
    pub(super) key: &'a str,
    pub(super) extension: &'a str,
    /// Offset of its data.
    pub(super) offset: u64,
    /// Whether it begins a sample.
    pub(super) is_first: bool,
}

/// Shows every member of a sample to `visit`, in order; says where the end mark is.
pub(super) fn walk(input: Input, mut visit: impl FnMut(Placed<'_>)) -> Result<u64> {
    let mut tar = TarReader::new(input);
    let mut end = 0;
    let mut last: Option<String> = None;
    while let Some(entry) = tar.next_entry()? {
        end = tar.end_of(&entry);
        let Some((key, extension)) = split_name(&entry.name).filter(|_| entry.is_file) else {
            continue;
        };
        members::key(key).map_err(|problem| tar.at(&entry, problem))?;
        let is_first = last.as_deref() != Some(key);
        if is_first {
            tar.count_sample();
            last = Some(key.to_owned());
        }
        visit(Placed {
            entry: &entry,
            key,
            extension,
            offset: tar.position(),
            is_first,
        });
    }
    tar.check_end()?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use sightline_core::io::Memory;

    use super::*;

    #[test]
    fn offsets_are_those_of_headers_and_data() {
        // By Python's tarfile: each member has an extended header of two blocks before its own.
        let archive = include_bytes!("../../../tests/fixtures/pax-times.tar");
        let shards = Memory::default();
        shards.insert("a.tar", &archive[..]);
        let layout = layout(&shards, "a.tar").unwrap();
        assert_eq!(layout.samples.len(), 2);
        for sample in &layout.samples {
            let header = &archive[sample.offset as usize..];
            assert!(header.starts_with(b"././@PaxHeader"), "{sample:?}");
            for part in &sample.parts {
                let name = format!("{}.{}", sample.key, part.extension);
                let header = &archive[part.offset as usize - 512..];
                assert!(header.starts_with(name.as_bytes()), "{part:?}");
            }
        }
        let end = layout.end as usize;
        assert!(archive[end..end + 1024].iter().all(|&b| b == 0));
        assert!(archive[end - 512..end].iter().any(|&b| b != 0));
    }
}
