//! A sample as a few named members: `KEY.jpg`, `KEY.json`, `KEY.txt`. Tar archives and folders of plain
//! files hold them alike.

use bytes::Bytes;
use serde_json::Value;
use sightline_core::key::KeyError;
use sightline_core::{Metadata, Sample, SampleKey};

use crate::{Error, Limits, Problem, Result, python_json};

mod read;

pub(crate) use read::MemberReader;

/// Metadata field that holds all captions of a sample that has several.
pub(crate) const CAPTIONS: &str = "captions";

/// A member, before its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name, without a leading `./`.
    pub(crate) name: String,
    /// How many `./` led it.
    pub(crate) dots: usize,
    /// Length of its data.
    pub(crate) len: u64,
    /// Offset of its first header, or its place in a list.
    pub(crate) offset: u64,
    /// Whether it is a file.
    pub(crate) is_file: bool,
}

/// Where members come from, one after the other.
pub(crate) trait Members: Send {
    /// The next member, or `None` after the last. What is left of the current one is passed over.
    fn next_entry(&mut self) -> Result<Option<Entry>>;

    /// The data of `entry`, which must be the one that was read last, at most `limit` bytes long.
    fn data(&mut self, entry: &Entry, limit: u64) -> Result<Vec<u8>>;

    /// The error that `problem` is for `entry`.
    fn at(&self, entry: &Entry, problem: Problem) -> Error;

    /// After an error of [`Self::next_entry`]: goes to the next place where a member can begin. `false` where there is none.
    fn resync(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Says that one more sample is whole.
    fn count_sample(&mut self);

    /// Checks what comes after the last member.
    fn check_end(&mut self) -> Result<()>;
}

/// The members of `sample`, sorted by name, all of which readers accept. `shard` is named in errors.
pub(crate) fn of_sample(
    sample: &Sample,
    shard: &str,
    limits: &Limits,
) -> Result<Vec<(String, Bytes)>> {
    let key = &sample.key;
    if SampleKey::is_hidden(key.as_str()) {
        return Err(Error::HiddenKey {
            shard: shard.to_owned(),
            key: key.clone(),
        });
    }
    let mut members = vec![(format!("{key}.json"), metadata(sample, shard)?.into())];
    if let Some(caption) = sample.captions.first() {
        let text = Bytes::copy_from_slice(caption.as_bytes());
        members.push((format!("{key}.txt"), text));
    }
    let texts = members.len();
    if let Some(image) = &sample.image {
        let name = format!("{key}.{}", image.format.extension());
        members.push((name, image.bytes.clone()));
    }
    for (at, (name, data)) in members.iter().enumerate() {
        let limit_bytes = if at < texts {
            limits.text_len_bytes
        } else {
            limits.member_len_bytes
        };
        check_len(shard, name, data.len() as u64, limit_bytes)?;
    }
    members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(members)
}

/// Refuses what readers would refuse because of its length.
pub(crate) fn check_len(shard: &str, member: &str, len_bytes: u64, limit_bytes: u64) -> Result<()> {
    if len_bytes <= limit_bytes {
        return Ok(());
    }
    Err(Error::TooLarge {
        shard: shard.to_owned(),
        member: member.to_owned(),
        len_bytes,
        limit_bytes,
    })
}

/// The text of `KEY.json`.
fn metadata(sample: &Sample, shard: &str) -> Result<String> {
    let has_several = sample.captions.len() > 1;
    if let Some(value) = sample.meta.get(CAPTIONS)
        && ((has_several && !is_no_captions(value)) || captions_in(value).is_some())
    {
        return Err(reserved(sample, shard, CAPTIONS));
    }
    if !has_several {
        return Ok(python_json::to_string(&sample.meta));
    }
    let mut meta = sample.meta.clone();
    meta.insert(CAPTIONS.to_owned(), sample.captions.clone().into());
    Ok(python_json::to_string(&meta))
}

/// The error for metadata under a name that the format uses itself.
pub(crate) fn reserved(sample: &Sample, shard: &str, field: &'static str) -> Error {
    Error::ReservedField {
        shard: shard.to_owned(),
        key: sample.key.clone(),
        field,
    }
}

/// Metadata from the text of a JSON object, as Python may have written it.
pub(crate) fn parse_metadata(text: &str) -> Result<Metadata, Problem> {
    match parse_json(text)? {
        Value::Object(meta) => Ok(meta),
        _ => Err(Problem::NotAnObject),
    }
}

/// A value from JSON, as Python may have written it.
pub(crate) fn parse_json(text: &str) -> Result<Value, Problem> {
    let parsed =
        serde_json::from_str(text).or_else(
            |error| match python_json::without_what_only_python_reads(text) {
                Some(text) => serde_json::from_str(&text),
                None => Err(error),
            },
        );
    parsed.map_err(Problem::Json)
}

/// Text that must be UTF-8.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, Problem> {
    String::from_utf8(bytes).map_err(|e| not_utf8(e.utf8_error()))
}

/// What is wrong with a text that is not UTF-8.
pub(crate) fn not_utf8(error: std::str::Utf8Error) -> Problem {
    Problem::Text {
        valid_up_to: error.valid_up_to(),
    }
}

/// The key of a sample whose members are called `name` with an extension. A name that leads out of its folder is refused; one that is too long, or that
/// only some systems would keep, has the key that is nearest.
pub(crate) fn key(name: &str) -> Result<SampleKey, Problem> {
    match SampleKey::new(name) {
        Ok(key) => Ok(key),
        Err(KeyError::Length { len_bytes: 1.. }) if !leads_out(name) => {
            Ok(SampleKey::nearest(name))
        }
        Err(KeyError::Character {
            character: '\\', ..
        }) if !leads_out(&name.replace('\\', "/")) => Ok(SampleKey::nearest(name)),
        Err(error) => Err(Problem::Key(error)),
    }
}

/// Whether a path is absolute or has a part that is empty, `.` or `..`, or holds what acts on a terminal.
fn leads_out(path: &str) -> bool {
    let leads_out = |part: &str| matches!(part, "" | "." | "..") || part.ends_with(':');
    path.split('/').any(leads_out) || path.contains(char::is_control)
}

/// Cuts a member's name into key and extension; `None` for names that belong to no sample.
pub(crate) fn split_name(name: &str) -> Option<(&str, &str)> {
    let is_comment = !name.contains('/') && name.starts_with("__") && name.ends_with("__");
    if is_comment || SampleKey::is_hidden(name) {
        return None;
    }
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    (dot > base).then(|| (&name[..dot], &name[dot + 1..]))
}

/// Whether the metadata field `captions` says no more than that there are none.
pub(crate) fn is_no_captions(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// The captions that the metadata field `captions` holds, if it does.
pub(crate) fn captions_in(value: &Value) -> Option<Vec<String>> {
    let items = value.as_array().filter(|items| !items.is_empty())?;
    let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
    texts.collect()
}
