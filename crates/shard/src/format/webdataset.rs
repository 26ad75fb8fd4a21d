//! WebDataset: tar archives in which members that share a key form a sample.
//!
//! # Format
//!
//! Written shards MUST be plain USTAR archives, so that every tar reader opens them and equal samples
//! give equal bytes. A sample is up to three members, sorted by name:
//!
//! | member | holds | when |
//! | --- | --- | --- |
//! | `KEY.jpg` (`.png`, `.webp`, …) | the image as stored | there is an image |
//! | `KEY.json` | metadata, as [`crate::python_json`] writes them | always |
//! | `KEY.txt` | the first caption, UTF-8, without a line break | there is a caption |
//!
//! With more than one caption, the metadata hold all of them in order as a list named `captions`.
//! Mode is 0444, owner 0 and `bigdata`, time 0. Keys MUST be unique and their members consecutive.
//!
//! Reading follows the `webdataset` package. What is no file, has no extension, or stands in
//! `__…__` belongs to no sample. A name is cut at the first dot after its last slash; the extension
//! counts without regard to case; a new key, or the end mark, closes a sample. The captions are the
//! list `captions` of the metadata where there is a non-empty list of strings, else the text of
//! `KEY.txt`. `KEY.cls` becomes the metadata field `cls`, a number where it is one. Other extensions,
//! and images after the first, are passed over and counted in [`crate::ReaderStats`].
//!
//! An archive may be one gzip or zstd stream (`00017.tar.gz`, `00017.tar.zst`); readers see that from its
//! first bytes, whatever its name. Offsets in errors are those of the archive inside.
//!
//! Beyond that package: archives without an end mark or with data after it, absolute names and names
//! with `..` are errors, and a leading `./` is dropped. Floats that JSON cannot hold (`NaN`) are read
//! as `null`, whole numbers beyond 64 bits as floats.

use sightline_core::{ObjectSink, ObjectSource, ShardId};

use super::{SampleAt, ShardFormat, ShardReader, ShardWriter};
use crate::compression::Compression;
use crate::input::Input;
use crate::members::MemberReader;
use crate::tar::read::TarReader;
use crate::{Limits, Result};

mod at;
mod layout;
mod stream;
mod write;

pub use layout::{Layout, PlacedPart, PlacedSample, layout};
pub use stream::{END_LEN_BYTES, StreamWriter, len_bytes, members};
use write::Writer;

/// The WebDataset format, not compressed.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebDataset;

/// The WebDataset format as one compressed stream.
#[derive(Clone, Copy, Debug)]
pub struct CompressedWebDataset {
    name: &'static str,
    extension: &'static str,
    compression: Compression,
}

/// `00017.tar.gz`.
pub const GZIP: CompressedWebDataset = CompressedWebDataset {
    name: "webdataset-gz",
    extension: "tar.gz",
    compression: Compression::Gzip,
};

/// `00017.tar.zst`.
pub const ZSTD: CompressedWebDataset = CompressedWebDataset {
    name: "webdataset-zst",
    extension: "tar.zst",
    compression: Compression::Zstd,
};

impl ShardFormat for WebDataset {
    fn name(&self) -> &'static str {
        "webdataset"
    }

    fn extension(&self) -> &'static str {
        "tar"
    }

    fn file_name(&self, id: ShardId) -> String {
        format!("{id}.tar")
    }

    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>> {
        let name = self.file_name(id);
        Ok(Box::new(Writer::new(sink, &name, Compression::None)?))
    }

    fn open(&self, source: &dyn ObjectSource, name: &str) -> Result<Box<dyn ShardReader>> {
        let input = Input::open(source, name, Limits::default())?;
        Ok(Box::new(reader(input)))
    }

    fn finds_samples(&self) -> bool {
        true
    }

    fn open_at(&self, source: &dyn ObjectSource, name: &str) -> Result<Option<Box<dyn SampleAt>>> {
        at::open(source, name)
    }
}

impl ShardFormat for CompressedWebDataset {
    fn name(&self) -> &'static str {
        self.name
    }

    fn extension(&self) -> &'static str {
        self.extension
    }

    fn has_checksums(&self) -> bool {
        true
    }

    fn file_name(&self, id: ShardId) -> String {
        format!("{id}.{}", self.extension)
    }

    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>> {
        let name = self.file_name(id);
        Ok(Box::new(Writer::new(sink, &name, self.compression)?))
    }

    fn open(&self, source: &dyn ObjectSource, name: &str) -> Result<Box<dyn ShardReader>> {
        WebDataset.open(source, name)
    }

    fn open_at(&self, source: &dyn ObjectSource, name: &str) -> Result<Option<Box<dyn SampleAt>>> {
        WebDataset.open_at(source, name)
    }
}

fn reader(input: Input) -> MemberReader<TarReader> {
    let limits = input.limits;
    MemberReader::new(TarReader::new(input), limits)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use sightline_core::{EncodedImage, ImageFormat, Sample, SampleKey};

    use super::*;
    use crate::tar::write;
    use crate::{Error, Problem};

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
        let object = Arc::new(bytes::Bytes::from(bytes));
        let opened = Input::new(object, "x.tar", limits).map(reader);
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
            (&[("a\\..\\b.txt", b"")], "would not keep"),
            (&[("C:\\b.txt", b"")], "would not keep"),
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
    fn names_that_only_some_systems_keep_have_the_nearest_key() {
        let members: &[(&str, &[u8])] =
            &[("a\\b.json", b"{}"), ("a\\b.txt", b"x"), ("1.txt", b"y")];
        let (samples, end) = read(archive(members), Limits::default());
        end.unwrap();
        let found = samples.iter().map(|sample| &sample.key);
        let expected = [SampleKey::nearest("a\\b"), SampleKey::nearest("1")];
        assert!(found.eq(&expected), "{samples:?}");
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
