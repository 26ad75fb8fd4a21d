//! Samples to members.

use std::collections::HashSet;
use std::io::{self, Write};

use bytes::Bytes;
use sightline_core::digest::Hasher;
use sightline_core::{ObjectWriter, Sample, SampleKey};

use super::{CAPTIONS, captions_in, is_hidden};
use crate::format::{ShardSummary, ShardWriter};
use crate::tar::write;
use crate::{Error, Limits, Result, python_json};

/// Writes samples to a tar archive.
pub(super) struct Writer<'a> {
    out: Digesting<'a>,
    shard: String,
    limits: Limits,
    keys: HashSet<SampleKey>,
    failed: bool,
}

impl<'a> Writer<'a> {
    /// A writer of the archive `object`, called `shard` in errors.
    pub(super) fn new(object: Box<dyn ObjectWriter + 'a>, shard: String, limits: Limits) -> Self {
        Self {
            out: Digesting {
                object,
                hasher: Hasher::new(),
                len: 0,
            },
            shard,
            limits,
            keys: HashSet::new(),
            failed: false,
        }
    }

    /// The members of `sample`, sorted by name, all of which readers accept.
    fn members(&self, sample: &Sample) -> Result<Vec<(String, Bytes)>> {
        let key = &sample.key;
        if is_hidden(key.as_str()) {
            return Err(Error::HiddenKey {
                shard: self.shard.clone(),
                key: key.clone(),
            });
        }
        let mut members = vec![(format!("{key}.json"), self.metadata(sample)?.into())];
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
                self.limits.text_len_bytes
            } else {
                self.limits.member_len_bytes
            };
            if data.len() as u64 > limit_bytes {
                return Err(Error::TooLarge {
                    shard: self.shard.clone(),
                    member: name.clone(),
                    len_bytes: data.len() as u64,
                    limit_bytes,
                });
            }
        }
        members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(members)
    }

    /// The text of `KEY.json`.
    fn metadata(&self, sample: &Sample) -> Result<String> {
        let has_several = sample.captions.len() > 1;
        if let Some(value) = sample.meta.get(CAPTIONS)
            && (has_several || captions_in(value).is_some())
        {
            return Err(Error::ReservedField {
                shard: self.shard.clone(),
                key: sample.key.clone(),
                field: CAPTIONS,
            });
        }
        if !has_several {
            return Ok(python_json::to_string(&sample.meta));
        }
        let mut meta = sample.meta.clone();
        meta.insert(CAPTIONS.to_owned(), sample.captions.clone().into());
        Ok(python_json::to_string(&meta))
    }

    fn io(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io {
            action,
            shard: self.shard.clone(),
            source,
        }
    }

    fn writer_failed(&self) -> Error {
        Error::WriterFailed {
            shard: self.shard.clone(),
        }
    }
}

impl ShardWriter for Writer<'_> {
    fn write(&mut self, sample: &Sample) -> Result<()> {
        if self.failed {
            return Err(self.writer_failed());
        }
        let members = self.members(sample)?;
        if !self.keys.insert(sample.key.clone()) {
            return Err(Error::DuplicateKey {
                shard: self.shard.clone(),
                key: sample.key.clone(),
            });
        }
        for (name, data) in &members {
            if let Err(source) = write::member(&mut self.out, name, data) {
                self.failed = true;
                return Err(self.io("write", source));
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<ShardSummary> {
        if self.failed {
            return Err(self.writer_failed());
        }
        let len = self.out.len;
        if let Err(source) = write::end(&mut self.out, len) {
            return Err(self.io("write", source));
        }
        let Self {
            out, shard, keys, ..
        } = *self;
        match out.object.commit() {
            Ok(()) => Ok(ShardSummary {
                samples: keys.len() as u64,
                len_bytes: out.len,
                sha256: out.hasher.finish(),
            }),
            Err(source) => Err(Error::Io {
                action: "commit",
                shard,
                source,
            }),
        }
    }
}

/// Counts and digests what goes into an object.
struct Digesting<'a> {
    object: Box<dyn ObjectWriter + 'a>,
    hasher: Hasher,
    len: u64,
}

impl Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.object.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.object.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_core::ShardId;
    use sightline_core::io::Memory;
    use sightline_core::{EncodedImage, ImageFormat, ObjectSink};

    use super::*;
    use crate::{ShardFormat, webdataset::WebDataset};

    fn sample(key: &str, captions: &[&str], meta: &serde_json::Value) -> Sample {
        Sample {
            key: SampleKey::new(key).unwrap(),
            image: None,
            captions: captions.iter().map(|&c| c.to_owned()).collect(),
            meta: meta.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn what_readers_would_lose_is_refused() {
        let mut shards = Memory::default();
        let mut writer = WebDataset.create(&mut shards, ShardId(0)).unwrap();
        let mut refused = |sample: Sample| writer.write(&sample).unwrap_err().to_string();
        let message = refused(sample("__a__/b", &[], &json!({})));
        assert!(message.contains("`__a__/b`"), "{message}");
        for (captions, field) in [(&["a", "b"][..], json!(1)), (&[], json!(["x"]))] {
            let message = refused(sample("a", captions, &json!({ "captions": field })));
            assert!(message.contains("reserved name `captions`"), "{message}");
        }
        let long = "x".repeat((16 << 20) + 1);
        let message = refused(sample("a", &[&long], &json!({})));
        assert!(
            message.contains("16777217 bytes, the limit is 16777216"),
            "{message}"
        );
        assert_eq!(writer.finish().unwrap().samples, 0);
    }

    /// Takes a number of bytes, then is full.
    struct Disk(Memory, usize);

    struct DiskFile<'a>(Box<dyn ObjectWriter + 'a>, &'a mut usize);

    impl ObjectSink for Disk {
        fn create(&mut self, name: &str) -> io::Result<Box<dyn ObjectWriter + '_>> {
            Ok(Box::new(DiskFile(self.0.create(name)?, &mut self.1)))
        }
    }

    impl Write for DiskFile<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(*self.1);
            if n == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *self.1 -= n;
            self.0.write(&bytes[..n])
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    impl ObjectWriter for DiskFile<'_> {
        fn commit(self: Box<Self>) -> io::Result<()> {
            self.0.commit()
        }
    }

    #[test]
    fn a_full_disk_leaves_no_shard() {
        let objects = Memory::default();
        let mut image = sample("a", &[], &json!({}));
        image.image = Some(EncodedImage {
            format: ImageFormat::Jpg,
            bytes: vec![1; 5000].into(),
        });
        for room in [0, 511, 3000, 7000, 10_239] {
            let mut disk = Disk(objects.clone(), room);
            let mut writer = WebDataset.create(&mut disk, ShardId(0)).unwrap();
            let wrote = writer.write(&image);
            assert_eq!(wrote.is_ok(), room >= 7000, "{room}");
            let again = writer.write(&sample("b", &[], &json!({})));
            assert!(wrote.is_ok() || matches!(again, Err(Error::WriterFailed { .. })));
            assert!(writer.finish().is_err(), "{room}");
            assert!(objects.names().is_empty(), "{room}");
        }
        let mut disk = Disk(objects.clone(), 10_240);
        let mut writer = WebDataset.create(&mut disk, ShardId(0)).unwrap();
        writer.write(&image).unwrap();
        writer.finish().unwrap();
        assert_eq!(objects.names(), ["00000.tar"]);
    }
}
