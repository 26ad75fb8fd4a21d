//! Plain files: a folder of members for each shard, and a list of them.
//!
//! # Format
//!
//! The shard `00017.files` is a list in JSON lines. Its members lie in the folder `00017/`, as img2dataset
//! lays them out and named as in a WebDataset archive: `KEY.jpg`, `KEY.json`, `KEY.txt`. The list is written last
//! and MUST be:
//!
//! ```text
//! {"schema": 1, "kind": "sightline-files"}
//! {"member": "000170000.jpg", "len_bytes": 4711, "sha256": "…"}
//! …
//! {"members": 3, "samples": 1, "sha256": "…"}
//! ```
//!
//! Files without a list are no shard, and a member whose length or digest is not the listed one is an error:
//! nothing half-written is taken for a sample. The last line holds the digest of the lines before it, and the
//! digest of the list names the whole shard. Members of a
//! sample are consecutive; which belong together and what they are is as in [`super::webdataset`].
//!
//! A folder that another program wrote has no list. It is opened by its own name, `00017`: then its files
//! are read in the order of their keys, and nothing is known about damage.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sightline_core::digest::Hasher;
use sightline_core::io::Sequential;
use sightline_core::{Digest, ObjectSink, ObjectSource, Sample, SampleKey, ShardId};

use super::{ShardFormat, ShardReader, ShardSummary, ShardWriter};
use crate::members::{self, Entry, MemberReader, Members, split_name};
use crate::output::{Digesting, Ledger};
use crate::{Error, Limits, Place, Problem, Result};

/// How the names of lists end.
const EXTENSION: &str = "files";
/// Version of the list.
const SCHEMA: u32 = 1;
/// What the first line says.
const KIND: &str = "sightline-files";
/// Longest line of a list.
const LINE_LEN_BYTES: u64 = 1 << 16;

/// The format of plain files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

/// The first line of a list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    schema: u32,
    kind: String,
}

/// Any further line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    /// A member.
    Member(Listed),
    /// The last line.
    End {
        /// Lines before this one, but the first.
        members: u64,
        /// Samples that they form.
        samples: u64,
        /// Digest of the lines before this one.
        sha256: Digest,
    },
}

/// A member in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    member: String,
    len_bytes: u64,
    sha256: Digest,
}

impl ShardFormat for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn extension(&self) -> &'static str {
        EXTENSION
    }

    fn has_checksums(&self) -> bool {
        true
    }

    fn file_name(&self, id: ShardId) -> String {
        format!("{id}.{EXTENSION}")
    }

    fn folder_name(&self, id: ShardId) -> Option<String> {
        Some(id.to_string())
    }

    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>> {
        Ok(Box::new(Writer {
            sink,
            folder: id.to_string(),
            ledger: Ledger::new(&self.file_name(id)),
            listed: Vec::new(),
            paths: HashMap::new(),
        }))
    }

    fn open(&self, source: &dyn ObjectSource, name: &str) -> Result<Box<dyn ShardReader>> {
        let limits = Limits::default();
        let files = FileMembers::open(source, name, limits)?;
        Ok(Box::new(MemberReader::new(files, limits)))
    }
}

struct Writer<'a> {
    sink: &'a mut dyn ObjectSink,
    folder: String,
    ledger: Ledger,
    listed: Vec<Listed>,
    /// Paths in the folder that are files, and that are folders.
    paths: HashMap<String, Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

impl Writer<'_> {
    /// Refuses `member` where its path is a folder of other members, or leads through a file.
    fn place(&mut self, key: &SampleKey, member: &str) -> Result<()> {
        let folders = member.match_indices('/').map(|(at, _)| &member[..at]);
        let parts = folders.map(|path| (path, Kind::Folder));
        for (path, kind) in parts.chain([(member, Kind::File)]) {
            match self.paths.get(path) {
                None => {
                    self.paths.insert(path.to_owned(), kind);
                }
                Some(known) if *known == kind => {}
                Some(_) => {
                    return Err(Error::FileAndFolder {
                        shard: self.ledger.shard.clone(),
                        key: key.clone(),
                        path: path.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    fn write_member(&mut self, name: &str, data: &[u8]) -> Result<()> {
        let path = format!("{}/{name}", self.folder);
        let wrote = self.sink.create(&path).and_then(|mut object| {
            object.write_all(data)?;
            object.commit()
        });
        self.ledger.wrote(wrote)?;
        self.listed.push(Listed {
            member: name.to_owned(),
            len_bytes: data.len() as u64,
            sha256: Digest::of(data),
        });
        Ok(())
    }
}

impl ShardWriter for Writer<'_> {
    fn write(&mut self, sample: &Sample) -> Result<()> {
        self.ledger.check()?;
        let members = members::of_sample(sample, &self.ledger.shard, &self.ledger.limits)?;
        self.ledger.admit(&sample.key)?;
        for (name, _) in &members {
            self.place(&sample.key, name)?;
        }
        for (name, data) in &members {
            self.write_member(name, data)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<ShardSummary> {
        let Self {
            sink,
            mut ledger,
            listed,
            ..
        } = *self;
        ledger.check()?;
        let head = Head {
            schema: SCHEMA,
            kind: KIND.to_owned(),
        };
        let mut out = Digesting::create(sink, &ledger.shard)?;
        let mut hasher = Hasher::new();
        let mut write = || -> std::io::Result<()> {
            write_line(&mut out, &mut hasher, &head)?;
            for member in &listed {
                write_line(&mut out, &mut hasher, member)?;
            }
            let end = Line::End {
                members: listed.len() as u64,
                samples: ledger.samples(),
                sha256: hasher.clone().finish(),
            };
            write_line(&mut out, &mut hasher, &end)
        };
        let wrote = write();
        ledger.wrote(wrote)?;
        out.commit(&ledger)
    }
}

fn write_line(
    out: &mut impl Write,
    hasher: &mut Hasher,
    line: &impl Serialize,
) -> std::io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    hasher.update(text.as_bytes());
    out.write_all(text.as_bytes())
}

/// The members of a shard, in order.
struct FileMembers {
    source: Arc<dyn ObjectSource>,
    shard: String,
    /// The folder of the members.
    folder: String,
    list: List,
    samples: u64,
    /// Digest of the current member, where one is listed.
    sha256: Option<Digest>,
}

/// Where the names of members come from.
enum List {
    /// Lines of a list.
    Lines {
        lines: Sequential,
        /// Of the lines so far.
        hasher: Hasher,
        members: u64,
    },
    /// The names that a folder holds.
    Names(std::vec::IntoIter<String>),
}

impl FileMembers {
    fn open(source: &dyn ObjectSource, name: &str, limits: Limits) -> Result<Self> {
        let failed = |source| Error::Io {
            action: "open",
            shard: name.to_owned(),
            source,
        };
        let mut files = Self {
            source: source.shared(),
            shard: name.to_owned(),
            folder: name.to_owned(),
            list: List::Names(Vec::new().into_iter()),
            samples: 0,
            sha256: None,
        };
        match source.object(name) {
            Ok(object) => {
                let stem = name
                    .strip_suffix(EXTENSION)
                    .and_then(|name| name.strip_suffix('.'));
                name[..stem.map_or(name.len(), str::len)].clone_into(&mut files.folder);
                files.list = List::Lines {
                    lines: Sequential::new(object).map_err(failed)?,
                    hasher: Hasher::new(),
                    members: 0,
                };
                files.check_head()?;
            }
            Err(error) => {
                let names = source.list(name).unwrap_or_default();
                if names.is_empty() {
                    return Err(failed(error));
                }
                let start = name.len() + 1;
                let mut names: Vec<String> = names.iter().map(|n| n[start..].to_owned()).collect();
                if let Some(long) = names
                    .iter()
                    .find(|n| n.len() as u64 > limits.name_len_bytes)
                {
                    let problem = Problem::Limit {
                        what: "the length of a name in bytes",
                        value: long.len() as u64,
                        limit: limits.name_len_bytes,
                    };
                    return Err(files.damaged(0, None, problem));
                }
                // A key that another one continues stands between its members in the order of names.
                names.sort_by(|a, b| split_name(a).cmp(&split_name(b)));
                files.list = List::Names(names.into_iter());
            }
        }
        Ok(files)
    }

    fn check_head(&mut self) -> Result<()> {
        let (offset, line) = self.next_line()?;
        match serde_json::from_slice::<Head>(&line) {
            Ok(head) if head.schema == SCHEMA && head.kind == KIND => {
                self.digest(&line);
                Ok(())
            }
            _ => {
                let what = "no first line `{\"schema\":1,\"kind\":\"sightline-files\"}`";
                Err(self.damaged(offset, None, Problem::Head { what }))
            }
        }
    }

    /// The next line of the list, without its end, and its offset.
    fn next_line(&mut self) -> Result<(u64, Vec<u8>)> {
        let List::Lines { lines, .. } = &mut self.list else {
            return Ok((0, Vec::new()));
        };
        let offset = lines.position();
        let mut line = Vec::new();
        let mut byte = [0];
        let problem = loop {
            match lines.read(&mut byte) {
                Ok(0) => break Problem::Truncated,
                Ok(_) if byte == *b"\n" => return Ok((offset, line)),
                Ok(_) => line.push(byte[0]),
                Err(source) => return Err(self.io("read", source)),
            }
            if line.len() as u64 > LINE_LEN_BYTES {
                break Problem::Limit {
                    what: "the length of a line in bytes",
                    value: line.len() as u64,
                    limit: LINE_LEN_BYTES,
                };
            }
        };
        Err(self.damaged(offset, None, problem))
    }

    /// Adds a line to the digest of all lines.
    fn digest(&mut self, line: &[u8]) {
        if let List::Lines { hasher, .. } = &mut self.list {
            hasher.update(line);
            hasher.update(b"\n");
        }
    }

    fn next_listed(&mut self) -> Result<Option<Entry>> {
        let (offset, text) = self.next_line()?;
        let line: Line = match serde_json::from_slice(&text) {
            Ok(line) => line,
            Err(e) => return Err(self.damaged(offset, None, Problem::Json(e))),
        };
        let List::Lines {
            members, hasher, ..
        } = &mut self.list
        else {
            return Ok(None);
        };
        match line {
            Line::Member(listed) => {
                *members += 1;
                hasher.update(&text);
                hasher.update(b"\n");
                self.sha256 = Some(listed.sha256);
                Ok(Some(Entry {
                    dots: 0,
                    name: listed.member,
                    len: listed.len_bytes,
                    offset,
                    is_file: true,
                }))
            }
            Line::End {
                members: said,
                sha256,
                ..
            } => {
                if said == *members && sha256 == hasher.clone().finish() {
                    return Ok(None);
                }
                let problem = Problem::Head {
                    what: "its last line does not fit the lines before it",
                };
                Err(self.damaged(offset, None, problem))
            }
        }
    }

    fn io(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::Io {
            action,
            shard: self.shard.clone(),
            source,
        }
    }

    fn damaged(&self, offset: u64, member: Option<String>, problem: Problem) -> Error {
        Error::Damaged {
            place: Box::new(Place {
                shard: self.shard.clone(),
                member,
                offset,
                samples: self.samples,
            }),
            problem,
        }
    }
}

impl Members for FileMembers {
    fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.sha256 = None;
        let entry = match &mut self.list {
            List::Lines { .. } => self.next_listed()?,
            List::Names(names) => names.next().map(|name| Entry {
                dots: 0,
                name,
                len: 0,
                offset: 0,
                is_file: true,
            }),
        };
        let Some(entry) = entry else {
            return Ok(None);
        };
        // Before a name becomes a path: nothing outside the shard's folder is opened.
        if let Some((key, _)) = split_name(&entry.name) {
            members::key(key).map_err(|problem| self.at(&entry, problem))?;
        }
        Ok(Some(entry))
    }

    fn data(&mut self, entry: &Entry, limit: u64) -> Result<Vec<u8>> {
        let path = format!("{}/{}", self.folder, entry.name);
        let io = |source: std::io::Error| Error::Io {
            action: "read",
            shard: path.clone(),
            source,
        };
        let object = match self.source.object(&path) {
            Ok(object) => object,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.sha256.is_some() => {
                return Err(self.at(entry, Problem::MissingMember));
            }
            Err(e) => return Err(io(e)),
        };
        let len = object.len().map_err(io)?;
        if self.sha256.is_some() && len != entry.len {
            let problem = Problem::MemberLength {
                len_bytes: len,
                listed: entry.len,
            };
            return Err(self.at(entry, problem));
        }
        if len > limit {
            let problem = Problem::Limit {
                what: "its length in bytes",
                value: len,
                limit,
            };
            return Err(self.at(entry, problem));
        }
        let data = object.read_at(0..len).map_err(io)?;
        match self.sha256 {
            Some(sha256) if Digest::of(&data) != sha256 => {
                Err(self.at(entry, Problem::MemberDigest))
            }
            _ => Ok(data.into()),
        }
    }

    fn at(&self, entry: &Entry, problem: Problem) -> Error {
        self.damaged(entry.offset, Some(entry.name.clone()), problem)
    }

    fn count_sample(&mut self) {
        self.samples += 1;
    }

    /// Checks that nothing follows the last line.
    fn check_end(&mut self) -> Result<()> {
        match &self.list {
            List::Lines { lines, .. } if lines.remaining() > 0 => {
                Err(self.damaged(lines.position(), None, Problem::DataAfterEnd))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::io::Memory;

    use super::*;

    fn read(shards: &Memory, name: &str) -> (Vec<Sample>, Result<()>) {
        let mut samples = Vec::new();
        let mut reader = match Files.open(shards, name) {
            Ok(reader) => reader,
            Err(e) => return (samples, Err(e)),
        };
        loop {
            match reader.next_sample() {
                Ok(Some(sample)) => samples.push(sample),
                Ok(None) => return (samples, Ok(())),
                Err(e) => return (samples, Err(e)),
            }
        }
    }

    #[test]
    fn a_file_of_one_sample_is_no_folder_of_another() {
        let sample = |key: &str| Sample {
            key: SampleKey::new(key).unwrap(),
            image: None,
            captions: vec!["a".to_owned()],
            meta: sightline_core::Metadata::new(),
        };
        let orders = [["x", "x.txt/y"], ["x.txt/y", "x"]];
        for [first, second] in orders {
            let mut shards = Memory::default();
            let mut writer = Files.create(&mut shards, ShardId(0)).unwrap();
            writer.write(&sample(first)).unwrap();
            writer.write(&sample("x/y")).unwrap();
            let error = writer.write(&sample(second)).unwrap_err();
            assert!(
                matches!(&error, Error::FileAndFolder { key, path, .. } if key.as_str() == second && path == "x.txt"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_folder_without_a_list_is_read_by_its_own_name() {
        let shards = Memory::default();
        for (name, data) in [
            ("d/00000/000000001.jpg", "i"),
            ("d/00000/000000001.txt", "b"),
            ("d/00000/000000000.txt", "a"),
            ("d/00000/000000000.json", "{\"x\": 1}"),
            ("d/00000/sub/7.txt", "c"),
        ] {
            shards.insert(name, data.as_bytes().to_vec());
        }
        let (samples, end) = read(&shards, "d/00000");
        end.unwrap();
        let captions: Vec<&str> = samples.iter().map(|s| &s.captions[0][..]).collect();
        assert_eq!(captions, ["a", "b", "c"]);
        assert_eq!(samples[2].key.as_str(), "sub/7");
        assert!(read(&shards, "d/00001").1.is_err());
    }

    #[test]
    fn a_list_opens_nothing_outside_its_folder() {
        let shards = Memory::default();
        shards.insert("secret.txt", &b"secret"[..]);
        let head = "{\"schema\":1,\"kind\":\"sightline-files\"}\n";
        let sha256 = Digest::of(b"secret");
        for member in ["../secret.txt", "/secret.txt", "a/../../secret.txt"] {
            let line =
                format!("{{\"member\":\"{member}\",\"len_bytes\":6,\"sha256\":\"{sha256}\"}}\n");
            let end = Digest::of(format!("{head}{line}").as_bytes());
            let list =
                format!("{head}{line}{{\"members\":1,\"samples\":1,\"sha256\":\"{end}\"}}\n");
            shards.insert("00000.files", list.into_bytes());
            let (samples, end) = read(&shards, "00000.files");
            assert!(samples.is_empty());
            assert!(
                end.unwrap_err().to_string().contains("sample key"),
                "{member}"
            );
        }
    }
}
