//! Members to samples.

use std::mem;

use serde_json::{Number, Value};
use sightline_core::{EncodedImage, ImageFormat, Metadata, Sample, SampleKey};

use super::{CAPTIONS, Entry, Members, captions_in, split_name};
use crate::format::ShardReader;
use crate::{Limits, Problem, ReaderStats, Result};

/// Metadata field that takes the text of `KEY.cls`.
const CLASS: &str = "cls";

/// Reads members as samples.
#[derive(Debug)]
pub(crate) struct MemberReader<M> {
    members: M,
    limits: Limits,
    stats: ReaderStats,
    /// What closed the sample before.
    next: Next,
    /// The key of the sample that is being read.
    open: Option<String>,
    /// Whether an error was between members, and not in what one holds.
    is_torn: bool,
    /// Whether the last member was read.
    is_over: bool,
}

/// What comes after the samples read so far.
#[derive(Debug)]
enum Next {
    /// Nobody has looked.
    Unknown,
    /// A sample that begins with this member.
    Sample(Member),
    /// The end mark.
    End,
    /// Nothing: the end was checked, or an error was returned.
    Nothing,
}

/// A member that belongs to a sample.
#[derive(Debug)]
struct Member {
    entry: Entry,
    key: String,
    extension: String,
}

/// What was read of a sample so far.
#[derive(Debug)]
struct Parts {
    key: SampleKey,
    extensions: Vec<String>,
    image: Option<EncodedImage>,
    meta: Option<Metadata>,
    text: Option<String>,
    class: Option<Value>,
}

impl<M: Members> MemberReader<M> {
    /// A reader of the samples in `members`.
    pub(crate) fn new(members: M, limits: Limits) -> Self {
        Self {
            members,
            limits,
            stats: ReaderStats::default(),
            next: Next::Unknown,
            open: None,
            is_torn: false,
            is_over: false,
        }
    }

    /// The members of the next sample: with their data, or with their names only.
    fn next_parts(&mut self, with_data: bool) -> Result<Option<Parts>> {
        // An error leaves `Nothing` in its place.
        let mut next = mem::replace(&mut self.next, Next::Nothing);
        if matches!(next, Next::Unknown) {
            next = self.next_member()?;
        }
        let mut member = match next {
            Next::Sample(member) => member,
            Next::End => {
                self.is_over = true;
                self.members.check_end()?;
                return Ok(None);
            }
            Next::Unknown | Next::Nothing => return Ok(None),
        };
        self.open = Some(member.key.clone());
        let name = member.key.clone();
        let key = super::key(&name).map_err(|p| self.members.at(&member.entry, p))?;
        let is_renamed = key.as_str() != name;
        let mut parts = Parts {
            key,
            extensions: Vec::new(),
            image: None,
            meta: None,
            text: None,
            class: None,
        };
        loop {
            self.add(&mut parts, member, with_data)?;
            match self.next_member()? {
                Next::Sample(next) if next.key == name => member = next,
                next => {
                    self.next = next;
                    break;
                }
            }
        }
        self.open = None;
        self.stats.samples += 1;
        self.stats.renamed += u64::from(is_renamed);
        self.members.count_sample();
        Ok(Some(parts))
    }

    /// The next member that belongs to a sample, or the end.
    fn next_member(&mut self) -> Result<Next> {
        loop {
            let entry = self.members.next_entry();
            let Some(entry) = entry.inspect_err(|_| self.is_torn = true)? else {
                return Ok(Next::End);
            };
            let split = split_name(&entry.name).filter(|_| entry.is_file);
            match split {
                Some((key, extension)) => {
                    let (key, extension) = (key.to_owned(), extension.to_lowercase());
                    return Ok(Next::Sample(Member {
                        entry,
                        key,
                        extension,
                    }));
                }
                None => self.stats.outside_samples += 1,
            }
        }
    }

    fn add(&mut self, parts: &mut Parts, member: Member, with_data: bool) -> Result<()> {
        let Member {
            entry, extension, ..
        } = member;
        if parts.extensions.contains(&extension) {
            return Err(self.members.at(&entry, Problem::DuplicateMember));
        }
        let limit = self.limits.members_per_sample;
        if parts.extensions.len() as u64 == limit {
            let problem = Problem::Limit {
                what: "the number of members of the sample",
                value: limit + 1,
                limit,
            };
            return Err(self.members.at(&entry, problem));
        }
        self.stats.members += 1;
        match (extension.as_str(), ImageFormat::from_extension(&extension)) {
            _ if !with_data => {}
            ("json", _) => parts.meta = Some(self.json(&entry)?),
            ("txt", _) => parts.text = Some(self.text(&entry)?),
            (CLASS, _) => parts.class = Some(class_value(&self.text(&entry)?)),
            (_, Some(format)) if parts.image.is_none() => {
                let bytes = self.members.data(&entry, self.limits.member_len_bytes)?;
                parts.image = Some(EncodedImage {
                    format,
                    bytes: bytes.into(),
                });
            }
            _ => self.stats.pass_over(&extension),
        }
        parts.extensions.push(extension);
        Ok(())
    }

    fn text(&mut self, entry: &Entry) -> Result<String> {
        let bytes = self.members.data(entry, self.limits.text_len_bytes)?;
        super::text(bytes).map_err(|p| self.members.at(entry, p))
    }

    fn json(&mut self, entry: &Entry) -> Result<Metadata> {
        let text = self.text(entry)?;
        super::parse_metadata(&text).map_err(|p| self.members.at(entry, p))
    }

    /// Puts the parts of a sample together.
    fn sample(&mut self, parts: Parts) -> Sample {
        let mut meta = parts.meta.unwrap_or_default();
        let mut captions: Vec<String> = parts.text.into_iter().collect();
        if let Some(several) = meta.get(CAPTIONS).and_then(captions_in) {
            // That of `KEY.txt` is one of them, or has no place.
            if captions.iter().any(|text| !several.contains(text)) {
                self.stats.pass_over("txt");
            }
            captions = several;
            meta.shift_remove(CAPTIONS);
        }
        if let Some(class) = parts.class {
            if meta.contains_key(CLASS) {
                self.stats.pass_over(CLASS);
            } else {
                meta.insert(CLASS.to_owned(), class);
            }
        }
        Sample {
            key: parts.key,
            image: parts.image,
            captions,
            meta,
        }
    }
}

impl<M: Members> ShardReader for MemberReader<M> {
    fn next_sample(&mut self) -> Result<Option<Sample>> {
        let parts = self.next_parts(true)?;
        Ok(parts.map(|parts| self.sample(parts)))
    }

    fn skip(&mut self, n: u64) -> Result<u64> {
        for skipped in 0..n {
            if self.next_parts(false)?.is_none() {
                return Ok(skipped);
            }
        }
        Ok(n)
    }

    fn recover(&mut self) -> Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        let mut damaged: Vec<String> = self.open.take().into_iter().collect();
        let is_torn = mem::take(&mut self.is_torn);
        if is_torn && !self.members.resync()? {
            return Ok(false);
        }
        // Where it is torn, members may be missing of the sample that was open, and of the one that follows.
        let most = damaged.len() + usize::from(is_torn);
        loop {
            self.next = match self.next_member()? {
                Next::Sample(member) if damaged.contains(&member.key) => continue,
                Next::Sample(member) if damaged.len() < most => {
                    damaged.push(member.key);
                    continue;
                }
                next => next,
            };
            return Ok(true);
        }
    }

    fn stats(&self) -> &ReaderStats {
        &self.stats
    }
}

fn class_value(text: &str) -> Value {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(number) => Value::Number(Number::from(number)),
        Err(_) => Value::String(text.to_owned()),
    }
}
