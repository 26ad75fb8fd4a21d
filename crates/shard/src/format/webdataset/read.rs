//! Members to samples.

use std::mem;
use std::sync::Arc;

use serde_json::{Number, Value};
use sightline_core::{EncodedImage, ImageFormat, Metadata, ReadAt, Sample, SampleKey};

use super::{CAPTIONS, CLASS, captions_in, split_name};
use crate::format::ShardReader;
use crate::tar::read::{Entry, TarReader};
use crate::{Limits, Problem, ReaderStats, Result, python_json};

/// Reads a tar archive as samples.
#[derive(Debug)]
pub struct Reader {
    tar: TarReader,
    limits: Limits,
    stats: ReaderStats,
    /// What closed the sample before.
    next: Next,
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

impl Reader {
    /// A reader of the archive in `source`, called `shard` in errors.
    pub fn new(source: Arc<dyn ReadAt>, shard: &str, limits: Limits) -> Result<Self> {
        Ok(Self {
            tar: TarReader::new(source, shard, limits)?,
            limits,
            stats: ReaderStats::default(),
            next: Next::Unknown,
        })
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
                self.tar.check_end()?;
                return Ok(None);
            }
            Next::Unknown | Next::Nothing => return Ok(None),
        };
        let key = SampleKey::new(member.key.as_str())
            .map_err(|e| self.tar.at(&member.entry, Problem::Key(e)))?;
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
                Next::Sample(next) if next.key == parts.key.as_str() => member = next,
                next => {
                    self.next = next;
                    break;
                }
            }
        }
        self.stats.samples += 1;
        self.tar.samples += 1;
        Ok(Some(parts))
    }

    /// The next member that belongs to a sample, or the end.
    fn next_member(&mut self) -> Result<Next> {
        while let Some(entry) = self.tar.next_entry()? {
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
        Ok(Next::End)
    }

    fn add(&mut self, parts: &mut Parts, member: Member, with_data: bool) -> Result<()> {
        let Member {
            entry, extension, ..
        } = member;
        if parts.extensions.contains(&extension) {
            return Err(self.tar.at(&entry, Problem::DuplicateMember));
        }
        let limit = self.limits.members_per_sample;
        if parts.extensions.len() as u64 == limit {
            let problem = Problem::Limit {
                what: "the number of members of the sample",
                value: limit + 1,
                limit,
            };
            return Err(self.tar.at(&entry, problem));
        }
        self.stats.members += 1;
        match (extension.as_str(), ImageFormat::from_extension(&extension)) {
            _ if !with_data => {}
            ("json", _) => parts.meta = Some(self.json(&entry)?),
            ("txt", _) => parts.text = Some(self.text(&entry)?),
            (CLASS, _) => parts.class = Some(class_value(&self.text(&entry)?)),
            (_, Some(format)) if parts.image.is_none() => {
                let bytes = self.tar.data(&entry, self.limits.member_len_bytes)?;
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
        let bytes = self.tar.data(entry, self.limits.text_len_bytes)?;
        String::from_utf8(bytes).map_err(|e| {
            let valid_up_to = e.utf8_error().valid_up_to();
            self.tar.at(entry, Problem::Text { valid_up_to })
        })
    }

    fn json(&mut self, entry: &Entry) -> Result<Metadata> {
        let text = self.text(entry)?;
        let parsed = serde_json::from_str(&text).or_else(|error| {
            match python_json::without_non_finite(&text) {
                Some(text) => serde_json::from_str(&text),
                None => Err(error),
            }
        });
        match parsed {
            Ok(Value::Object(meta)) => Ok(meta),
            Ok(_) => Err(self.tar.at(entry, Problem::NotAnObject)),
            Err(e) => Err(self.tar.at(entry, Problem::Json(e))),
        }
    }

    /// Puts the parts of a sample together.
    fn sample(&mut self, parts: Parts) -> Sample {
        let mut meta = parts.meta.unwrap_or_default();
        let mut captions: Vec<String> = parts.text.into_iter().collect();
        if let Some(several) = meta.get(CAPTIONS).and_then(captions_in) {
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

impl ShardReader for Reader {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Error;
    use crate::tar::write;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, data) in members {
            write::member(&mut bytes, name, data).unwrap();
        }
        let len = bytes.len() as u64;
        write::end(&mut bytes, len).unwrap();
        bytes
    }

    fn read(bytes: Vec<u8>, limits: Limits) -> (Vec<Sample>, Result<()>) {
        let mut samples = Vec::new();
        let opened = Reader::new(Arc::new(bytes::Bytes::from(bytes)), "x.tar", limits);
        let mut reader = match opened {
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

    /// Members, and a part of the message that refuses them.
    type Case<'a> = (&'a [(&'a str, &'a [u8])], &'a str);

    /// The message for a second sample with the given members, after one whole sample.
    fn refusal(members: &[(&str, &[u8])], limits: Limits) -> String {
        let mut all: Vec<(&str, &[u8])> = vec![("0.txt", b"whole")];
        all.extend_from_slice(members);
        let (samples, end) = read(archive(&all), limits);
        assert_eq!(samples.len(), 1, "{members:?}");
        assert_eq!(samples[0].captions, ["whole"]);
        end.unwrap_err().to_string()
    }

    #[test]
    fn hostile_and_broken_members_are_refused_where_they_stand() {
        let small = Limits {
            member_len_bytes: 1000,
            text_len_bytes: 100,
            name_len_bytes: 50,
            members_per_sample: 3,
            ..Limits::default()
        };
        let cases: &[Case<'_>] = &[
            (&[("/etc/x.txt", b"")], "is absolute"),
            (&[("../x.txt", b"")], "`..` part"),
            (&[("a/../../x.txt", b"")], "`..` part"),
            (&[("a\\b.txt", b"")], "would not keep"),
            (&[("1.txt", b"a"), ("1.TXT", b"b")], "second member"),
            (&[("1.txt", b"\xff")], "not UTF-8"),
            (&[("1.json", b"{")], "not JSON"),
            (&[("1.json", b"[1]")], "not an object"),
            (&[("1.json", &b"[".repeat(90))], "not JSON"),
            (&[("1.jpg", &[0; 1001])], "1001, the limit is 1000"),
            (&[("1.txt", &[b'a'; 101])], "101, the limit is 100"),
            (
                &[("1.a", b""), ("1.b", b""), ("1.c", b""), ("1.d", b"")],
                "4, the limit is 3",
            ),
        ];
        for (members, part) in cases {
            let message = refusal(members, small);
            assert!(message.contains(part), "{message} lacks {part}");
            assert!(message.contains("shard `x.tar`"), "{message}");
            assert!(message.contains("after 1 whole sample"), "{message}");
        }
        let message = refusal(&[("1.jpg", &[0; 1001])], small);
        assert_eq!(
            message,
            "shard `x.tar`: member `1.jpg` at byte 1024, after 1 whole sample: \
             its length in bytes is 1001, the limit is 1000"
        );
        let long = "n".repeat(60) + ".txt";
        let message = read(archive(&[(&long, b"")]), small).1.unwrap_err();
        assert!(
            message.to_string().contains("64, the limit is 50"),
            "{message}"
        );
    }

    #[test]
    fn an_interrupted_sample_is_two_samples() {
        let members: &[(&str, &[u8])] = &[("1.txt", b"a"), ("2.txt", b"b"), ("1.json", b"{}")];
        let (samples, end) = read(archive(members), Limits::default());
        end.unwrap();
        let keys: Vec<&str> = samples.iter().map(|s| s.key.as_str()).collect();
        assert_eq!(keys, ["1", "2", "1"]);
    }

    #[test]
    fn joined_archives_are_an_error_and_not_a_smaller_dataset() {
        let one = archive(&[("1.txt", b"a")]);
        let (samples, end) = read([one.clone(), one].concat(), Limits::default());
        assert_eq!(samples.len(), 1);
        let message = end.unwrap_err().to_string();
        assert!(message.contains("at byte 10240"), "{message}");
    }

    #[test]
    fn a_truncated_shard_says_where_and_after_how_many_samples() {
        let mut bytes = archive(&[("1.txt", b"a"), ("2.jpg", &[1; 2000]), ("2.txt", b"b")]);
        bytes.truncate(2000);
        let (samples, end) = read(bytes, Limits::default());
        assert_eq!(samples.len(), 1);
        let Err(Error::Damaged { place, problem }) = end else {
            panic!("{end:?}");
        };
        assert!(matches!(problem, Problem::Truncated));
        assert_eq!((place.offset, place.samples), (1536, 1));
        assert_eq!(place.member.as_deref(), Some("2.jpg"));
    }

    #[test]
    fn lengths_beyond_the_shard_take_no_memory() {
        let mut bytes = archive(&[("1.jpg", b"abc")]);
        bytes[124..136].copy_from_slice(b"00600000000\0");
        bytes[148..156].copy_from_slice(b"        ");
        let sum: u32 = bytes[..512].iter().map(|&b| u32::from(b)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let message = read(bytes, Limits::default()).1.unwrap_err().to_string();
        assert!(message.contains("truncated"), "{message}");
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_order(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let (samples, end) = read(bytes, Limits::default());
            prop_assert!(samples.is_empty());
            prop_assert!(end.is_err());
        }

        /// Headers with a right checksum over wrong fields reach the code behind it.
        #[test]
        fn any_header_fields_end_in_order(
            edits in proptest::collection::vec((0usize..1536, any::<u8>()), 1..12),
        ) {
            let mut bytes = archive(&[("1.txt", b"a"), ("1.json", b"{}"), ("2.jpg", b"b")]);
            for (at, byte) in edits {
                bytes[at] = byte;
            }
            for header in [0, 1024, 2048] {
                bytes[header + 148..header + 156].copy_from_slice(b"        ");
                let sum: u32 = bytes[header..header + 512].iter().map(|&b| u32::from(b)).sum();
                bytes[header + 148..header + 156]
                    .copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            let (samples, _) = read(bytes, Limits::default());
            prop_assert!(samples.len() <= 3);
        }

        #[test]
        fn any_sample_round_trips(
            captions in proptest::collection::vec(".*", 0..4),
            text in ".*",
            float in any::<f64>().prop_filter("finite", |f| f.is_finite()),
            integer in any::<i64>(),
            image in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            use crate::{ShardFormat, webdataset::WebDataset};
            let meta = serde_json::json!({ &text: text, "f": float, "i": [integer] });
            let sample = Sample {
                key: SampleKey::new("k").unwrap(),
                image: Some(EncodedImage { format: ImageFormat::Png, bytes: image.into() }),
                captions,
                meta: meta.as_object().unwrap().clone(),
            };
            let mut shards = sightline_core::io::Memory::default();
            let mut writer = WebDataset.create(&mut shards, sightline_core::ShardId(0)).unwrap();
            writer.write(&sample).unwrap();
            writer.finish().unwrap();
            let mut reader = WebDataset.open(&shards, "00000.tar").unwrap();
            prop_assert_eq!(reader.next_sample().unwrap(), Some(sample));
        }
    }
}
