//! What to fetch, and how; img2dataset's names and defaults where the meaning is the same.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use md5::Md5;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256, Sha512};
use sightline_core::registry::UnknownName;
use sightline_imaging::reshape::ReshapeSpec;
use sightline_imaging::{Channels, DecodeOptions, EncodeSpec, Pixels, encode};
use sightline_store::Stores;

use crate::dedup::{DUPLICATE_OF, Dedup, DedupSpec, PHASH};
use crate::error::{Error, Result};
use crate::filter::{RowFilter, RowFilterSpec};
use crate::join::{Join, JoinKey, JoinSpec};
use crate::layout::{Layout, PARQUET, ShardNames};
use crate::network::NetworkSpec;
use crate::status_table::EXIF;
use crate::table::InputFormat;

/// Name of the setting of [`FetchSpec::oom_shard_count`].
pub(crate) const OOM_SHARD_COUNT: &str = "oom_shard_count";

/// A request to fetch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchSpec {
    /// The table of URLs: a file, a folder of files of one format, or a pattern of files. Here and in [`Self::out`] a path or
    /// an address of an object store ([`sightline_store::Location`]).
    pub url_list: PathBuf,
    /// Format of the table; `None` to go by the name.
    pub input_format: Option<InputFormat>,
    /// Column of the URLs. A txt table has one column and no name for it.
    pub url_col: String,
    /// Column of the captions; without it shards hold none.
    pub caption_col: Option<String>,
    /// Further columns to keep in the status table and in each sample's metadata, in this order.
    pub save_additional_columns: Vec<String>,
    /// Columns of another table to keep beside them, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinSpec>,
    /// Folder of the output; made where it is missing.
    pub out: PathBuf,
    /// Name of the shard format, one of [`sightline_shard::FORMATS`]; `parquet` is a table with the images of img2dataset's
    /// kind, and `dummy` keeps no image.
    pub output_format: String,
    /// Rows of a shard. The last shard of each file of the table may have fewer.
    pub number_sample_per_shard: u64,
    /// Digits of a shard's number, at least, in its name and in its samples' keys: the order of magnitude of the number of
    /// shards, as img2dataset calls it.
    #[serde(default = "default_oom_shard_count")]
    pub oom_shard_count: usize,
    /// What to do when the output folder has shards already.
    pub incremental_mode: IncrementalMode,
    /// Which rows are asked for.
    #[serde(default)]
    pub filter: RowFilterSpec,
    /// Which images are stored once.
    #[serde(default)]
    pub dedup: DedupSpec,
    /// How files become pixels, and how large they may be.
    pub decode: DecodeOptions,
    /// Which sizes are kept, and what they become.
    pub image: ReshapeSpec,
    /// How images are stored.
    pub encode: EncodeSpec,
    /// When they are encoded at all.
    pub reencode: Reencode,
    /// What becomes of colour profiles.
    #[serde(default)]
    pub icc: IccMode,
    /// Column of the boxes to blur, lists of `[x0, y0, x1, y1]` as shares of the width and the height of the image as it
    /// is decoded, or such a list as JSON. It is kept, like [`Self::save_additional_columns`].
    pub bbox_col: Option<String>,
    /// Whether to record the EXIF of the downloaded bytes.
    pub extract_exif: bool,
    /// Which digest of the downloaded bytes to record.
    pub compute_hash: Option<HashKind>,
    /// What the downloaded bytes are compared with. A row without a digest in its column is not compared.
    pub verify_hash: Option<HashCheck>,
    /// How to behave on the network.
    pub network: NetworkSpec,
    /// Memory for images under way; `None` for 96 MiB and 16 MiB for each of `threads`. Half of it is for bodies and the
    /// buffers of their connections, half for finished samples that wait for their turn; one body of any allowed size may
    /// come on top, and on each of `threads` the pixels of one image within the limits of `decode`.
    pub memory_budget_bytes: Option<u64>,
    /// Threads that decode, resize and encode; `None` for one on each core.
    pub threads: Option<usize>,
    /// What addresses of object stores are opened with. No part of a plan: each machine has its own.
    #[serde(skip)]
    pub stores: Stores,
    /// Local folder for tables that are downloaded or rewritten, for outputs in object stores; local outputs have room
    /// themselves.
    #[serde(skip)]
    pub scratch: Option<PathBuf>,
}

/// What to do when the output folder has shards already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncrementalMode {
    /// Keep finished shards and make the others.
    #[default]
    Incremental,
    /// Remove all shards and start over.
    Overwrite,
    /// Number the shards of this table after the existing ones.
    Extend,
}

/// A digest of the downloaded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HashKind {
    /// MD5, for tables that were made with it; it does not resist an attacker.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl HashKind {
    /// Name of its column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The digest of `bytes` in lower-case hexadecimal digits.
    pub(crate) fn digest(self, bytes: &[u8]) -> String {
        let digest: &[u8] = match self {
            Self::Md5 => &Md5::digest(bytes),
            Self::Sha256 => &Sha256::digest(bytes),
            Self::Sha512 => &Sha512::digest(bytes),
        };
        digest.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// A column of digests that the downloaded bytes must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashCheck {
    /// Column of the table, which is not kept.
    pub column: String,
    /// Digest of what kind.
    pub kind: HashKind,
}

/// When images are encoded anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reencode {
    /// Always.
    #[default]
    Always,
    /// Files of the wanted format are stored as they are if nothing was done to their pixels.
    WhenChanged,
    /// Files are stored as they are and not even decoded, so they have no sizes; what is no image is refused.
    Never,
}

/// What becomes of the colour profiles (ICC) of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IccMode {
    /// Files that are encoded anew have none, and the levels of the file.
    #[default]
    Drop,
    /// Pixels with a profile are brought to sRGB before they are resized.
    Srgb,
    /// Levels stay, and the profile of a grey or RGB picture goes into the new file.
    Keep,
}

fn default_oom_shard_count() -> usize {
    ShardNames::DIGITS
}

impl FetchSpec {
    /// The defaults, for the table `url_list` and the folder `out`.
    pub fn new(url_list: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            url_list: url_list.into(),
            input_format: None,
            url_col: "url".to_owned(),
            caption_col: None,
            save_additional_columns: Vec::new(),
            join: None,
            out: out.into(),
            output_format: "webdataset".to_owned(),
            number_sample_per_shard: 10_000,
            oom_shard_count: ShardNames::DIGITS,
            incremental_mode: IncrementalMode::default(),
            filter: RowFilterSpec::default(),
            dedup: DedupSpec::default(),
            decode: DecodeOptions::sane(),
            image: ReshapeSpec::default(),
            encode: EncodeSpec::default(),
            reencode: Reencode::default(),
            icc: IccMode::default(),
            bbox_col: None,
            extract_exif: true,
            compute_hash: Some(HashKind::Sha256),
            verify_hash: None,
            network: NetworkSpec::default(),
            memory_budget_bytes: None,
            threads: None,
            stores: Stores::default(),
            scratch: None,
        }
    }

    /// The same with digests of what the earlier outputs and the other table hold that it names.
    pub(crate) fn with_earlier(
        &self,
        filter: &RowFilter,
        dedup: Option<&Dedup>,
        join: Option<&Join>,
    ) -> Self {
        let mut spec = self.clone();
        if let (Some(spec), Some(join)) = (&mut spec.join, join) {
            spec.sha256 = Some(join.digest);
        }
        spec.filter.earlier = filter.earlier();
        spec.dedup.earlier = dedup.and_then(Dedup::earlier);
        spec
    }

    /// Threads that make images.
    pub(crate) fn image_threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.unwrap_or_else(cores).max(1)
    }

    /// Memory for images under way, see [`Self::memory_budget_bytes`].
    pub(crate) fn memory_budget(&self) -> u64 {
        let of_threads = || (self.image_threads() as u64).saturating_mul(16 << 20);
        self.memory_budget_bytes
            .unwrap_or_else(|| of_threads().saturating_add(96 << 20))
    }

    /// Columns that are kept beside URL and caption: those that were asked for and that of the boxes.
    pub(crate) fn saved_columns(&self) -> Vec<String> {
        let mut columns = self.save_additional_columns.clone();
        let boxes = self.bbox_col.iter();
        columns.extend(
            boxes
                .filter(|column| !self.save_additional_columns.contains(column))
                .cloned(),
        );
        columns
    }

    /// Whether there is a column of captions, in the table or the one that is joined.
    pub(crate) fn has_captions(&self) -> bool {
        let joined = self.join.as_ref().and_then(|join| join.caption.as_ref());
        self.caption_col.is_some() || joined.is_some()
    }

    /// Digits of a sample's number within its shard.
    pub(crate) fn sample_digits(&self) -> u32 {
        // ceil(log10(n)): the digits of n - 1, and none for n = 1.
        match self.number_sample_per_shard.saturating_sub(1) {
            0 => 0,
            last => last.ilog10() + 1,
        }
    }

    /// Digits of a key, at least.
    pub(crate) fn key_digits(&self) -> usize {
        self.sample_digits() as usize + self.oom_shard_count
    }

    /// What decides the bytes of the output when the servers answer the same, by field. Two runs may
    /// share a folder only if these are equal; patience and parallelism are not among them.
    pub(crate) fn settings(&self) -> Map<String, Value> {
        let DecodeOptions {
            limits,
            orient,
            alpha,
            deep,
            scale,
            coarse,
        } = self.decode;
        let network = &self.network;
        let mut settings = Map::new();
        flatten(
            &mut settings,
            "",
            json!({
                "caption": self.has_captions(),
                "save_additional_columns": self.saved_columns(),
                "output_format": self.output_format,
                "number_sample_per_shard": self.number_sample_per_shard,
                "filter": self.filter.settings(),
                "decode": {
                    "limits": limits,
                    "orient": orient,
                    "alpha": format!("{alpha:?}"),
                    "deep": format!("{deep:?}"),
                    "scale": format!("{scale:?}"),
                    "coarse": coarse,
                },
                "image": self.image,
                "encode": self.encode,
                "reencode": self.reencode,
                "blur": self.bbox_col.is_some(),
                "extract_exif": self.extract_exif,
                "compute_hash": self.compute_hash,
                "verify_hash": self.verify_hash.as_ref().map(|check| check.kind),
                "max_body_bytes": network.max_body_bytes,
                "max_redirects": network.max_redirects,
                "user_agent_token": network.user_agent_token,
                "disallowed_header_directives": network.disallowed_header_directives,
                "obey_robots_txt": network.obey_robots_txt,
                "accept_invalid_certificates": network.accept_invalid_certificates,
                "allow_private_addresses": network.allow_private_addresses,
            }),
        );
        // Folders that were begun before there was such a choice go on.
        if self.dedup.is_wanted() {
            let DedupSpec {
                by,
                max_distance,
                earlier,
                ..
            } = &self.dedup;
            let max_distance = self.dedup.needs_looks().then_some(max_distance);
            let dedup = json!({ "by": by, "max_distance": max_distance, "earlier": earlier });
            flatten(&mut settings, "dedup", dedup);
        }
        if self.icc != IccMode::Drop {
            settings.insert("icc".to_owned(), json!(self.icc));
        }
        if self.oom_shard_count != ShardNames::DIGITS {
            settings.insert(OOM_SHARD_COUNT.to_owned(), json!(self.oom_shard_count));
        }
        if let Some(join) = &self.join {
            let JoinSpec {
                on,
                columns,
                sha256,
                ..
            } = join;
            let common = json!({ "on": on, "columns": columns, "sha256": sha256 });
            flatten(&mut settings, "join", common);
            for (name, column) in [("column", &join.column), ("caption", &join.caption)] {
                if let Some(column) = column {
                    settings.insert(format!("join.{name}"), json!(column));
                }
            }
        }
        settings
    }

    /// Refuses what cannot work before anything is written.
    pub(crate) fn validate(&self) -> Result<()> {
        let refuse = |field, problem: String| Err(Error::Spec { field, problem });
        if self.number_sample_per_shard == 0 {
            return refuse("--number-sample-per-shard", "must be at least 1".to_owned());
        }
        if self.number_sample_per_shard > 10_000_000 {
            let n = self.number_sample_per_shard;
            return refuse(
                "--number-sample-per-shard",
                format!("{n} is more than 10000000, the rows of a shard that are kept in memory"),
            );
        }
        if !(1..=ShardNames::MOST_DIGITS).contains(&self.oom_shard_count) {
            let digits = self.oom_shard_count;
            let problem =
                format!("{digits} is not 1 to 20 digits, as many as the largest number has");
            return refuse("--oom-shard-count", problem);
        }
        let layout = self.layout()?;
        if self.oom_shard_count != ShardNames::DIGITS && !layout.has_free_names() {
            let format = &self.output_format;
            let problem = format!("the shards of {format} have names of their own");
            return refuse("--oom-shard-count", problem);
        }
        self.filter.regex()?;
        if self.filter.skip_urls_of.contains(&self.out) {
            let problem = "is the output folder, whose own images would not be asked for when the run is resumed";
            return refuse("--skip-urls-of", problem.to_owned());
        }
        self.dedup.validate(self)?;
        if let Some(join) = &self.join {
            if join.columns.is_empty() && join.caption.is_none() {
                return refuse("--join-columns", "names no column".to_owned());
            }
            if join.caption.is_some() && self.caption_col.is_some() {
                let problem = "captions are in the table already, in the column of --caption-col";
                return refuse("--join-caption-col", problem.to_owned());
            }
            if join.on == JoinKey::Key && self.incremental_mode == IncrementalMode::Extend {
                let problem =
                    "keys of rows that are added to a folder are known only when it is read";
                return refuse("--join-on", problem.to_owned());
            }
        }
        if self.filter.needs_captions() && !self.has_captions() {
            return refuse(
                "--caption-col",
                "captions can be filtered only where there is a column of them".to_owned(),
            );
        }
        if self.image.image_size == 0 {
            return refuse("--image-size", "must be at least 1".to_owned());
        }
        // One pixel tells whether the format and its quality can be written.
        if let Ok(pixel) = Pixels::filled(1, 1, Channels::Rgb, &[0; 3])
            && let Err(error) = encode(&pixel, &self.encode)
        {
            return refuse("--encode-format", error.to_string());
        }
        if self.bbox_col.is_some() && self.reencode == Reencode::Never {
            let problem = "files are stored as they are, so --bbox-col cannot blur anything";
            return refuse("--disable-all-reencoding", problem.to_owned());
        }
        if self.icc == IccMode::Srgb && self.reencode == Reencode::Never {
            let problem = "files are stored as they are, so --icc srgb cannot convert anything";
            return refuse("--disable-all-reencoding", problem.to_owned());
        }
        if self.network.timeout.is_zero() {
            return refuse("--timeout", "must be more than 0 seconds".to_owned());
        }
        for (field, connections) in [
            ("--thread-count", self.network.concurrency.unwrap_or(1)),
            ("--per-host-connections", self.network.per_host_concurrency),
        ] {
            if connections == 0 {
                return refuse(field, "must be at least 1".to_owned());
            }
        }
        if !self.network.token_is_valid() {
            let problem = "must be 1 to 64 letters, digits, `-`, `_` or `.`".to_owned();
            return refuse("--user-agent-token", problem);
        }
        self.validate_columns()
    }

    /// How shards are called.
    pub(crate) fn names(&self) -> ShardNames {
        ShardNames {
            digits: self.oom_shard_count,
        }
    }

    /// Where the images go.
    pub(crate) fn layout(&self) -> Result<Layout> {
        let name = &self.output_format;
        Layout::named(name, self.names()).ok_or_else(|| Error::UnknownName {
            field: "--output-format",
            source: UnknownName::among("shard format", name, Layout::names()),
        })
    }

    /// Refuses saved columns that the output uses itself, or that are named twice.
    fn validate_columns(&self) -> Result<()> {
        const OURS: [&str; 11] = [
            "url",
            "key",
            "status",
            "error_message",
            "width",
            "height",
            "original_width",
            "original_height",
            "md5",
            "sha256",
            "sha512",
        ];
        let mut saved = self.saved_columns();
        saved.extend(
            self.join
                .iter()
                .flat_map(|join| join.columns.iter().cloned()),
        );
        for (at, column) in saved.iter().enumerate() {
            let problem = if saved[..at].contains(column) {
                "it is named twice"
            } else if OURS.contains(&column.as_str())
                || (column == "caption" && self.has_captions())
                || (column == EXIF && self.extract_exif)
                || (column == PHASH && self.dedup.needs_looks())
                || (column == DUPLICATE_OF && self.dedup.is_wanted())
            {
                "the status table has a column of that name"
            } else if self.output_format == PARQUET && *column == self.encode.format.extension() {
                "the images have a column of that name"
            } else if column.starts_with("__") {
                "shard readers keep names that begin with `__` for themselves"
            } else {
                continue;
            };
            return Err(Error::SavedColumn {
                column: column.clone(),
                problem,
            });
        }
        Ok(())
    }
}

/// Puts `value` into `settings`, objects field by field under names joined with dots.
fn flatten(settings: &mut Map<String, Value>, name: &str, value: Value) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = match name {
                    "" => field,
                    name => format!("{name}.{field}"),
                };
                flatten(settings, &name, value);
            }
        }
        value => drop(settings.insert(name.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Hint;

    use super::*;

    #[test]
    fn keys_have_as_many_digits_as_img2dataset_gives_them() {
        let mut spec = FetchSpec::new("urls.csv", "out");
        for (rows, digits) in [
            (1, 0),
            (2, 1),
            (10, 1),
            (11, 2),
            (132, 3),
            (1000, 3),
            (10_000, 4),
        ] {
            spec.number_sample_per_shard = rows;
            assert_eq!(spec.sample_digits(), digits, "{rows}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let spec = || FetchSpec::new("urls.csv", "out");
        assert!(spec().validate().is_ok());
        let mut bad = spec();
        bad.number_sample_per_shard = 0;
        assert!(bad.validate().is_err());
        let mut bad = spec();
        bad.output_format = "webdatset".to_owned();
        let error = bad.validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "--output-format: unknown shard format `webdatset`"
        );
        assert!(error.hints()[0].starts_with("Did you mean `webdataset`"));
        for columns in [vec!["a", "a"], vec!["status"], vec!["url"], vec!["__key__"]] {
            let mut bad = spec();
            bad.save_additional_columns = columns.iter().map(|&c| c.to_owned()).collect();
            assert!(bad.validate().is_err(), "{columns:?}");
        }
        let mut caption = spec();
        caption.save_additional_columns = vec!["caption".to_owned()];
        assert!(caption.validate().is_ok());
        caption.caption_col = Some("text".to_owned());
        assert!(caption.validate().is_err());
        let mut exif = spec();
        exif.save_additional_columns = vec!["exif".to_owned()];
        assert!(exif.validate().is_err());
        exif.extract_exif = false;
        assert!(exif.validate().is_ok());
        let mut bad = spec();
        bad.network.user_agent_token = Some("a b".to_owned());
        assert!(bad.validate().is_err());
        let mut bad = spec();
        bad.network.concurrency = Some(0);
        let error = bad.validate().unwrap_err();
        assert_eq!(error.to_string(), "--thread-count: must be at least 1");
        let mut bad = spec();
        bad.network.per_host_concurrency = 0;
        let error = bad.validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "--per-host-connections: must be at least 1"
        );
        let mut bad = spec();
        bad.encode.quality = 0;
        assert!(bad.validate().is_err());
    }

    #[test]
    fn settings_are_flat_and_leave_patience_out() {
        let mut spec = FetchSpec::new("urls.csv", "out");
        let settings = spec.settings();
        assert_eq!(settings["image.image-size"], 256);
        assert_eq!(settings["decode.orient"], true);
        spec.network.timeout *= 2;
        spec.network.retries = 3;
        spec.threads = Some(1);
        spec.url_col = "URL".to_owned();
        assert_eq!(spec.settings(), settings);
        spec.image.image_size = 512;
        assert_ne!(spec.settings(), settings);
    }
}
