//! Samples to members of an archive.

use std::io;

use bytes::Bytes;
use sightline_core::{ObjectSink, Sample};

use crate::compression::{Compression, Compressor};
use crate::format::{ShardSummary, ShardWriter};
use crate::output::{Digesting, Ledger};
use crate::tar::{BLOCK, padding, write};
use crate::{Result, members};

/// Writes samples to a tar archive.
pub(super) struct Writer<'a> {
    out: Compressor<Digesting<'a>>,
    /// Length of the archive before compression.
    len: u64,
    ledger: Ledger,
}

impl<'a> Writer<'a> {
    /// Begins the archive `name`.
    pub(super) fn new(
        sink: &'a mut dyn ObjectSink,
        name: &str,
        compression: Compression,
    ) -> Result<Self> {
        let mut ledger = Ledger::new(name);
        let object = Digesting::create(sink, name)?;
        Ok(Self {
            out: ledger.wrote(Compressor::new(compression, object))?,
            len: 0,
            ledger,
        })
    }

    fn write_members(&mut self, members: &[(String, Bytes)]) -> io::Result<()> {
        for (name, data) in members {
            write::member(&mut self.out, name, data)?;
            let len = data.len() as u64;
            self.len += BLOCK as u64 + len + padding(len);
        }
        Ok(())
    }
}

impl ShardWriter for Writer<'_> {
    fn write(&mut self, sample: &Sample) -> Result<()> {
        self.ledger.check()?;
        let members = members::of_sample(sample, &self.ledger.shard, &self.ledger.limits)?;
        self.ledger.admit(&sample.key)?;
        let wrote = self.write_members(&members);
        self.ledger.wrote(wrote)
    }

    fn finish(self: Box<Self>) -> Result<ShardSummary> {
        let Self {
            mut out,
            len,
            mut ledger,
        } = *self;
        ledger.check()?;
        ledger.wrote(write::end(&mut out, len))?;
        let object = ledger.wrote(out.finish())?;
        object.commit(&ledger)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use serde_json::json;
    use sightline_core::io::Memory;
    use sightline_core::{
        EncodedImage, ImageFormat, ObjectSink, ObjectWriter, Sample, SampleKey, ShardId,
    };

    use crate::{Error, ShardFormat, webdataset::WebDataset};

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
