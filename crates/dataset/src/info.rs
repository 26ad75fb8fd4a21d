//! What a dataset holds, shard by shard: `sightline shards info`.
//!
//! Every sample of every shard is read. A shard that cannot be read to its end does not stop the
//! others: it is listed with its error, and counted are the whole samples before the damage.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;
use sightline_core::io::Sequential;
use sightline_core::{Digest, ObjectSource, Progress, Sample};
use sightline_shard::{Error, ShardFormat};

use crate::PassedOver;
use crate::convert::NamedShard;
use crate::repair::{chain, hints, is_store_failure};

/// Version of the serialised form.
const SCHEMA: u32 = 1;

/// Distinct metadata fields that are counted one by one; a foreign dataset may hold any number.
const MAX_FIELDS: usize = 1000;

/// Where fields beyond the first [`MAX_FIELDS`] are counted.
const MORE: &str = "…";

/// What a dataset holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// Version of this form: 1.
    pub schema: u32,
    /// Name of the shard format, or `mixed`.
    pub format: &'static str,
    /// Shards that cannot be read to their end.
    pub damaged: u64,
    /// Bytes of all shards whose length is known.
    pub len_bytes: u64,
    /// Counts over all shards.
    pub total: Counts,
    /// Each shard, in the order given.
    pub shards: Vec<ShardInfo>,
}

/// What a shard holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardInfo {
    /// Its name.
    pub name: String,
    /// Its length in bytes, where it can be read.
    pub len_bytes: Option<u64>,
    /// The digest of all its bytes, where they can be read.
    pub sha256: Option<Digest>,
    /// Counts of its whole samples.
    pub counts: Counts,
    /// Why it cannot be read to its end.
    pub damage: Option<Damage>,
}

/// Why a shard cannot be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The error and its causes, with place and limit.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
    /// Whole samples before the damage.
    pub whole_samples: u64,
    /// Whether an object store failed, and nothing is known of the shard.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_unread: bool,
}

/// Counts of samples and what they hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Whole samples.
    pub samples: u64,
    /// Their images by file extension.
    pub images: BTreeMap<String, u64>,
    /// Bytes of an image.
    pub image_bytes: Range,
    /// Columns of an image, as the metadata field `width` says.
    pub width: Range,
    /// Rows of an image, as the metadata field `height` says.
    pub height: Range,
    /// Captions of a sample.
    pub captions: Range,
    /// How many samples have so many captions.
    pub samples_by_captions: BTreeMap<u64, u64>,
    /// How many samples have a metadata field.
    pub metadata: BTreeMap<String, u64>,
    /// What has no place in a sample.
    #[serde(flatten)]
    pub passed_over: PassedOver,
}

/// Smallest, mean and largest of some whole numbers; all zero when there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Range {
    /// How many numbers.
    pub count: u64,
    /// The smallest.
    pub min: u64,
    /// Their mean.
    pub mean: f64,
    /// The largest.
    pub max: u64,
    #[serde(skip)]
    sum: u128,
}

impl Range {
    fn add(&mut self, value: u64) {
        self.merge(&Self {
            count: 1,
            min: value,
            mean: 0.0,
            max: value,
            sum: value.into(),
        });
    }

    fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
        self.mean = self.sum as f64 / self.count as f64;
    }
}

impl Counts {
    fn add(&mut self, sample: &Sample) {
        self.samples += 1;
        if let Some(image) = &sample.image {
            let extension = image.format.extension().to_owned();
            *self.images.entry(extension).or_default() += 1;
            self.image_bytes.add(image.bytes.len() as u64);
        }
        for (field, range) in [("width", &mut self.width), ("height", &mut self.height)] {
            if let Some(value) = sample.meta.get(field).and_then(Value::as_u64) {
                range.add(value);
            }
        }
        let captions = sample.captions.len() as u64;
        self.captions.add(captions);
        *self.samples_by_captions.entry(captions).or_default() += 1;
        for field in sample.meta.keys() {
            add_field(&mut self.metadata, field, 1);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.samples += other.samples;
        let passed_over = &other.passed_over;
        self.passed_over.outside_samples += passed_over.outside_samples;
        self.passed_over.renamed += passed_over.renamed;
        for (extension, n) in &passed_over.members {
            add_field(&mut self.passed_over.members, extension, *n);
        }
        self.image_bytes.merge(&other.image_bytes);
        self.width.merge(&other.width);
        self.height.merge(&other.height);
        self.captions.merge(&other.captions);
        for (extension, n) in &other.images {
            *self.images.entry(extension.clone()).or_default() += n;
        }
        for (captions, n) in &other.samples_by_captions {
            *self.samples_by_captions.entry(*captions).or_default() += n;
        }
        for (field, n) in &other.metadata {
            add_field(&mut self.metadata, field, *n);
        }
    }
}

/// Reads the shards called `names` in `source`, on all cores, and counts what they hold.
pub fn info(source: &dyn ObjectSource, names: &[NamedShard], progress: &dyn Progress) -> Info {
    progress.start("shards", Some(names.len() as u64));
    let shards: Vec<ShardInfo> = names
        .par_iter()
        .map(|(name, format)| {
            let shard = shard_info(*format, source, name);
            progress.advance(1);
            shard
        })
        .collect();
    progress.finish();
    let mut total = Counts::default();
    for shard in &shards {
        total.merge(&shard.counts);
    }
    Info {
        schema: SCHEMA,
        format: common_format(names),
        damaged: shards.iter().filter(|s| s.damage.is_some()).count() as u64,
        len_bytes: shards.iter().filter_map(|s| s.len_bytes).sum(),
        total,
        shards,
    }
}

/// The name of the format of all shards.
fn common_format(names: &[NamedShard]) -> &'static str {
    let mut formats = names.iter().map(|(_, format)| format.name());
    let first = formats.next().unwrap_or("mixed");
    if formats.all(|name| name == first) {
        first
    } else {
        "mixed"
    }
}

fn shard_info(format: &dyn ShardFormat, source: &dyn ObjectSource, name: &str) -> ShardInfo {
    let mut counts = Counts::default();
    let error = count(format, source, name, &mut counts).err();
    // A shard that cannot be read says so above; here only its digest stays unknown.
    let digest = source
        .object(name)
        .and_then(Sequential::new)
        .and_then(Digest::of_reader)
        .ok();
    ShardInfo {
        name: name.to_owned(),
        len_bytes: digest.map(|(_, len)| len),
        sha256: digest.map(|(sha256, _)| sha256),
        damage: error.map(|error| Damage {
            message: chain(&error),
            hints: hints(&error),
            whole_samples: counts.samples,
            is_unread: is_store_failure(&error),
        }),
        counts,
    }
}

fn count(
    format: &dyn ShardFormat,
    source: &dyn ObjectSource,
    name: &str,
    counts: &mut Counts,
) -> Result<(), Error> {
    let mut reader = format.open(source, name)?;
    loop {
        let next = reader.next_sample();
        if let Ok(Some(sample)) = &next {
            counts.add(sample);
            continue;
        }
        counts.passed_over = reader.stats().clone().into();
        return next.map(|_| ());
    }
}

/// Adds to the count of `field`, or of all further fields when there are too many.
fn add_field(counts: &mut BTreeMap<String, u64>, field: &str, n: u64) {
    if let Some(count) = counts.get_mut(field) {
        *count += n;
        return;
    }
    let field = if counts.len() < MAX_FIELDS {
        field
    } else {
        MORE
    };
    *counts.entry(field.to_owned()).or_default() += n;
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_core::io::Memory;
    use sightline_core::progress::Silent;
    use sightline_core::{EncodedImage, ImageFormat, SampleKey, ShardId};
    use sightline_shard::ShardFormat as _;
    use sightline_shard::webdataset::WebDataset;

    use super::*;

    fn sample(index: u64, captions: usize) -> Sample {
        let meta = json!({"width": 10 * index, "height": 7, "url": "u"});
        Sample {
            key: SampleKey::new(format!("{index:09}")).unwrap(),
            image: Some(EncodedImage {
                format: if index.is_multiple_of(2) {
                    ImageFormat::Jpg
                } else {
                    ImageFormat::Png
                },
                bytes: vec![1; 600 + index as usize].into(),
            }),
            captions: vec!["a caption".to_owned(); captions],
            meta: meta.as_object().unwrap().clone(),
        }
    }

    fn tars(names: &[String]) -> Vec<NamedShard> {
        let name = |name: &String| (name.clone(), &WebDataset as &'static dyn ShardFormat);
        names.iter().map(name).collect()
    }

    /// Two shards of three samples, and one that is cut inside its third.
    fn dataset() -> Memory {
        let mut shards = Memory::default();
        for id in 0..3 {
            let mut writer = WebDataset.create(&mut shards, ShardId(id)).unwrap();
            for i in 0..3 {
                writer.write(&sample(3 * id + i, i as usize)).unwrap();
            }
            writer.finish().unwrap();
        }
        let last = shards.bytes("00002.tar").unwrap();
        // The first two samples are 2560 and 3584 bytes long.
        shards.insert("00002.tar", last.slice(..7000));
        shards
    }

    #[test]
    fn everything_is_counted_and_damage_is_listed() {
        let shards = dataset();
        let info = info(&shards, &tars(&shards.names()), &Silent);
        assert_eq!(
            (info.schema, info.format, info.damaged),
            (1, "webdataset", 1)
        );
        let total = &info.total;
        assert_eq!(total.samples, 8);
        assert_eq!(
            total.images,
            [("jpg".to_owned(), 4), ("png".to_owned(), 4)].into()
        );
        assert_eq!(total.samples_by_captions, [(0, 3), (1, 3), (2, 2)].into());
        assert_eq!((total.captions.min, total.captions.max), (0, 2));
        assert!((total.captions.mean - 7.0 / 8.0).abs() < 1e-12);
        assert_eq!(
            (total.width.min, total.width.max, total.height.count),
            (0, 70, 8)
        );
        assert_eq!((total.image_bytes.min, total.image_bytes.max), (600, 607));
        assert_eq!(total.metadata["url"], 8);
        for shard in &info.shards {
            let bytes = shards.bytes(&shard.name).unwrap();
            assert_eq!(shard.len_bytes, Some(bytes.len() as u64));
            assert_eq!(shard.sha256, Some(Digest::of(&bytes)));
        }
        let damage = info.shards[2].damage.as_ref().unwrap();
        assert_eq!(damage.whole_samples, 2);
        assert!(
            damage.message.contains("shard `00002.tar`"),
            "{}",
            damage.message
        );
        assert!(damage.message.contains("truncated"), "{}", damage.message);
        assert_eq!(damage.hints.len(), 1);
    }

    #[test]
    fn a_missing_shard_is_listed_with_its_cause() {
        let names = ["none.tar".to_owned()];
        let info = info(&Memory::default(), &tars(&names), &Silent);
        let shard = &info.shards[0];
        assert_eq!((shard.len_bytes, shard.sha256), (None, None));
        let message = &shard.damage.as_ref().unwrap().message;
        assert_eq!(
            message,
            "cannot open shard `none.tar`: no object `none.tar`"
        );
    }

    #[test]
    fn json_has_a_schema_and_no_surprises() {
        let shards = dataset();
        let info = info(&shards, &tars(&shards.names()[..1]), &Silent);
        let json = serde_json::to_value(&info).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(json["shards"][0]["damage"], Value::Null);
        assert_eq!(
            json["total"]["width"],
            json!({"count": 3, "min": 0, "mean": 10.0, "max": 20})
        );
        assert_eq!(
            json["total"]["samples_by_captions"],
            json!({"0": 1, "1": 1, "2": 1})
        );
    }

    #[test]
    fn the_number_of_fields_is_bounded_and_none_is_lost() {
        let mut counts = BTreeMap::new();
        for i in 0..2 * MAX_FIELDS {
            add_field(&mut counts, &format!("f{i}"), 2);
        }
        assert_eq!(counts.len(), MAX_FIELDS + 1);
        assert_eq!(counts.values().sum::<u64>(), 4 * MAX_FIELDS as u64);
    }
}
