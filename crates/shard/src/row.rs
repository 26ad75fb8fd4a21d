//! A sample as named values: a row of a table, the features of a record, the columns of an MDS shard.
//!
//! # What the names mean
//!
//! | name | is |
//! | --- | --- |
//! | `key`, `__key__` | the sample's key, or the key that is nearest to a text that can be none; where there is none it is `SHARD/NUMBER`, from the shard's name and the row |
//! | `image`, `img`, `jpg`, `png`, … holding bytes | the image; further ones are passed over |
//! | `image_format` | the image's format, empty where there is no image |
//! | `captions` holding texts | all captions |
//! | `txt`; else `caption`, `text` | the caption, where there is no `captions` |
//! | `json` holding an object | all metadata; its `captions` count as the above, unless there are none and `txt` is a text |
//! | any other | a field of the metadata |
//!
//! Where there is `json`, other values only add fields that it lacks. The format of an image is what
//! `image_format` or its path says, else its first bytes, else its column's name. Values that metadata
//! cannot hold (arrays of numbers in binary, pickles) are passed over and counted.

use bytes::Bytes;
use serde_json::{Number, Value};
use sightline_core::{EncodedImage, ImageFormat, Metadata, Sample, SampleKey};

use crate::members::{self, CAPTIONS, reserved};
use crate::{Limits, Problem, ReaderStats, Result, python_json};

/// Name of the key.
pub(crate) const KEY: &str = "key";
/// Name of the image where its format is no part of the name.
pub(crate) const IMAGE: &str = "image";
/// Name of the image's format.
pub(crate) const IMAGE_FORMAT: &str = "image_format";
/// Name of the first caption.
pub(crate) const TEXT: &str = "txt";
/// Name of the metadata.
pub(crate) const JSON: &str = "json";

/// Names of captions where neither `captions` nor `txt` is there.
pub(crate) const CAPTION_NAMES: [&str; 2] = ["caption", "text"];

/// A value in a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Text, a number, a list.
    Value(Value),
    /// Bytes that may be an image or text.
    Bytes(Bytes),
    /// An image as a file, and what its name was.
    Image(Bytes, Option<String>),
    /// Something that a sample has no place for.
    Other,
}

impl Cell {
    /// What the bytes and the path of a file are, as `datasets` stores images.
    pub(crate) fn file(bytes: Option<Bytes>, path: Option<String>) -> Self {
        match (bytes, path) {
            (Some(bytes), path) => Self::Image(bytes, path),
            (None, None) => Self::Value(Value::Null),
            // The image is a file elsewhere.
            (None, Some(_)) => Self::Other,
        }
    }
}

/// What the values of a sample may still take of memory. A few bytes of a shard can stand for many values: those are counted,
/// not what they are stored as.
#[derive(Debug)]
pub(crate) struct Budget {
    left_bytes: u64,
    limit_bytes: u64,
}

impl Budget {
    /// Bytes that a value counts for beside its text: there may be a million of them.
    const VALUE_LEN_BYTES: u64 = 16;

    /// Of a sample.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            left_bytes: limits.text_len_bytes,
            limit_bytes: limits.text_len_bytes,
        }
    }

    /// Takes a value, or a name, with a text of `len` bytes.
    pub(crate) fn spend(&mut self, len: usize) -> Result<(), Problem> {
        let spent = Self::VALUE_LEN_BYTES + len as u64;
        let left = self.left_bytes.checked_sub(spent);
        self.left_bytes = left.ok_or(Problem::Limit {
            what: "the length of its metadata in bytes, 16 for each value among them,",
            value: self.limit_bytes - self.left_bytes + spent,
            limit: self.limit_bytes,
        })?;
        Ok(())
    }
}

/// A float as JSON, null where it is not finite.
pub(crate) fn float(float: f64) -> Value {
    Number::from_f64(float).map_or(Value::Null, Value::Number)
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Value(text.into())
    }
}

/// Where a row comes from, for what it does not say itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// The shard's name.
    pub(crate) shard: &'a str,
    /// Number of the row in its shard.
    pub(crate) row: u64,
}

impl Origin<'_> {
    /// A key for a row that has none: the shard's file name up to its first dot, and the row. What keys
    /// must not hold becomes `_`.
    fn key(&self) -> String {
        let base = self.shard.rsplit('/').next().unwrap_or_default();
        let stem: String = base
            .chars()
            .map(|c| {
                if c.is_control() || c == '\\' || c == '.' {
                    '_'
                } else {
                    c
                }
            })
            .collect();
        let stem = &stem[..stem.floor_char_boundary(60)];
        format!("{stem}/{:09}", self.row)
    }
}

/// What was found in a row so far.
#[derive(Default)]
struct Found {
    key: Option<String>,
    image: Option<(String, Bytes, Option<String>)>,
    format: Option<String>,
    captions: Option<Vec<String>>,
    text: Option<String>,
    json: Option<Metadata>,
    rest: Metadata,
}

/// The sample that `row` is.
pub(crate) fn to_sample(
    row: Vec<(String, Cell)>,
    origin: Origin<'_>,
    limits: &Limits,
    stats: &mut ReaderStats,
) -> Result<Sample, Problem> {
    let mut found = Found::default();
    for (name, cell) in row {
        stats.members += 1;
        found.add(name, cell, limits, stats)?;
    }
    let Found {
        key,
        image,
        format,
        captions,
        text,
        json,
        mut rest,
    } = found;
    let key = key.filter(|key| !key.is_empty());
    let name = key.unwrap_or_else(|| origin.key());
    let key = SampleKey::nearest(&name);
    stats.renamed += u64::from(key.as_str() != name);
    let image = image.and_then(|(name, bytes, path)| {
        let format = image_format(&name, &bytes, path.as_deref(), format.as_deref());
        if format.is_none() && !bytes.is_empty() {
            stats.pass_over(&name);
        }
        Some(EncodedImage {
            format: format?,
            bytes,
        })
    });
    if format.is_some_and(|format| !format.is_empty()) && image.is_none() {
        stats.pass_over(IMAGE_FORMAT);
    }
    let mut meta = Metadata::new();
    let mut captions = captions;
    let has_text = text.as_ref().is_some_and(|text| !text.is_empty());
    let has_json = json.is_some();
    if let Some(json) = json {
        meta = json;
        if captions.is_none()
            && let Some(listed) = meta.get(CAPTIONS).and_then(texts)
            && !(listed.is_empty() && has_text)
        {
            meta.shift_remove(CAPTIONS);
            captions = Some(listed);
        }
    }
    // An empty list beside a text is none.
    let captions = captions.filter(|listed| !(listed.is_empty() && has_text));
    if let (Some(listed), Some(text)) = (&captions, &text)
        && has_text
        && !listed.contains(text)
    {
        stats.pass_over(TEXT);
    }
    let captions = captions.unwrap_or_else(|| {
        let other = || {
            let name = CAPTION_NAMES
                .iter()
                .find(|name| rest.get(**name).is_some_and(Value::is_string))?;
            match rest.shift_remove(*name) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            }
        };
        text.or_else(other).into_iter().collect()
    });
    for (name, value) in rest {
        if !has_json {
            meta.insert(name, value);
        } else if !value.is_null() {
            match meta.get(&name) {
                None => {
                    meta.insert(name, value);
                }
                Some(known) if *known == value => {}
                Some(_) => stats.pass_over(&name),
            }
        }
    }
    let sample = Sample {
        key,
        image,
        captions,
        meta,
    };
    check_texts(&sample, limits)?;
    stats.samples += 1;
    Ok(sample)
}

/// Refuses captions and metadata that no shard may hold.
fn check_texts(sample: &Sample, limits: &Limits) -> Result<(), Problem> {
    let limit = limits.text_len_bytes;
    let check = |what, len: usize| {
        let value = len as u64;
        let problem = Problem::Limit { what, value, limit };
        if value > limit { Err(problem) } else { Ok(()) }
    };
    let texts = sample.captions.iter().map(String::len).sum();
    check("the length of its captions in bytes", texts)?;
    // A character takes six bytes at most where metadata are written, and two where there are many; most need not be counted.
    if 12 * (len_of(&sample.meta) + texts) as u64 > limit {
        let mut len = python_json::to_string(&sample.meta).len();
        if sample.captions.len() != 1 {
            let captions = Value::from(sample.captions.clone());
            let captions = Metadata::from_iter([(CAPTIONS.to_owned(), captions)]);
            len += python_json::to_string(&captions).len();
        }
        check("the length of its metadata in bytes", len)?;
    }
    Ok(())
}

/// Bytes of the names and texts in `fields`, and some for each value.
fn len_of(fields: &Metadata) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len() + 8,
            Value::Array(items) => items.iter().map(of).sum::<usize>() + 8,
            Value::Object(fields) => len_of(fields),
            _ => 8,
        }
    }
    let fields = fields.iter();
    fields.map(|(name, value)| name.len() + 8 + of(value)).sum()
}

impl Found {
    fn add(
        &mut self,
        name: String,
        cell: Cell,
        limits: &Limits,
        stats: &mut ReaderStats,
    ) -> Result<(), Problem> {
        let value = match cell {
            Cell::Other => {
                stats.pass_over(&name);
                return Ok(());
            }
            Cell::Image(bytes, path) => return self.add_image(name, bytes, path, limits, stats),
            Cell::Bytes(bytes) if is_image_name(&name) => {
                return self.add_image(name, bytes, None, limits, stats);
            }
            Cell::Bytes(bytes) => {
                let Ok(text) = std::str::from_utf8(&bytes) else {
                    stats.pass_over(&name);
                    return Ok(());
                };
                Value::String(text.to_owned())
            }
            Cell::Value(value) => value,
        };
        match (name.as_str(), value) {
            (KEY | "__key__", Value::String(text)) if self.key.is_none() => self.key = Some(text),
            (KEY | "__key__", Value::Number(number)) if self.key.is_none() => {
                self.key = Some(number.to_string());
            }
            (IMAGE_FORMAT, Value::String(text)) => self.format = Some(text),
            (TEXT, Value::String(text)) => self.text = Some(text),
            (TEXT | JSON, Value::Null) => {}
            (name, Value::Null) if is_image_name(name) => {}
            (JSON, Value::Object(json)) => self.json = Some(json),
            (JSON, Value::String(text)) if text.trim_start().starts_with('{') => {
                self.json = Some(members::parse_metadata(&text)?);
            }
            (CAPTIONS, value) if texts(&value).is_some() => self.captions = texts(&value),
            // A list that is missing in this row.
            (CAPTIONS, Value::Null) => {}
            (_, value) => {
                if self.rest.insert(name.clone(), value).is_some() {
                    stats.pass_over(&name);
                }
            }
        }
        Ok(())
    }

    fn add_image(
        &mut self,
        name: String,
        bytes: Bytes,
        path: Option<String>,
        limits: &Limits,
        stats: &mut ReaderStats,
    ) -> Result<(), Problem> {
        if bytes.len() as u64 > limits.member_len_bytes {
            return Err(Problem::Limit {
                what: "the length of its image in bytes",
                value: bytes.len() as u64,
                limit: limits.member_len_bytes,
            });
        }
        if self.image.is_some() {
            stats.pass_over(&name);
        } else {
            self.image = Some((name, bytes, path));
        }
        Ok(())
    }
}

/// A list of texts, the empty one too.
pub(crate) fn texts(value: &Value) -> Option<Vec<String>> {
    let items = value.as_array()?.iter();
    items.map(|item| item.as_str().map(str::to_owned)).collect()
}

fn is_image_name(name: &str) -> bool {
    matches!(name, IMAGE | "img" | "image/encoded") || ImageFormat::from_extension(name).is_some()
}

/// The format of an image in the column `name`, by what the row says of it, by its file's name, its first bytes or its column's name.
pub(crate) fn image_format(
    name: &str,
    bytes: &[u8],
    path: Option<&str>,
    said: Option<&str>,
) -> Option<ImageFormat> {
    if said == Some("") && bytes.is_empty() {
        return None;
    }
    // An extension, or the type of a medium.
    let said = said
        .and_then(|said| ImageFormat::from_extension(said.strip_prefix("image/").unwrap_or(said)));
    let of_path = path.and_then(|path| ImageFormat::from_extension(path.rsplit('.').next()?));
    said.or(of_path)
        .or_else(|| sniff(bytes))
        .or_else(|| ImageFormat::from_extension(name))
}

/// What the first bytes of an image say.
fn sniff(bytes: &[u8]) -> Option<ImageFormat> {
    Some(match bytes {
        [0xff, 0xd8, 0xff, ..] => ImageFormat::Jpg,
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        [b'G', b'I', b'F', b'8', ..] => ImageFormat::Gif,
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => ImageFormat::Webp,
        [b'B', b'M', ..] => ImageFormat::Bmp,
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => ImageFormat::Tiff,
        [b'P', b'1'..=b'6', b' ' | b'\n' | b'\r' | b'\t', ..] => ImageFormat::Pnm,
        _ => return None,
    })
}

/// Whether metadata under `name` would be read as something else, beside `captions` or `txt`.
pub(crate) fn is_special(name: &str) -> bool {
    matches!(
        name,
        KEY | "__key__" | IMAGE_FORMAT | CAPTIONS | TEXT | JSON
    ) || is_image_name(name)
}

/// The values of the five columns `image`, `image_format`, `json`, `key`, `txt`, in this order: how formats
/// whose columns are fixed hold a sample. With other than one caption the metadata hold all of them.
pub(crate) struct Fixed {
    pub(crate) image: Bytes,
    pub(crate) image_format: &'static str,
    pub(crate) json: String,
    pub(crate) key: String,
    pub(crate) text: String,
}

impl Fixed {
    /// The names of the columns, sorted.
    pub(crate) const NAMES: [&'static str; 5] = [IMAGE, IMAGE_FORMAT, JSON, KEY, TEXT];

    /// The columns of `sample`, all of which readers accept.
    pub(crate) fn of(sample: &Sample, shard: &str, limits: &Limits) -> Result<Self> {
        check_lens(sample, shard, limits)?;
        let is_one = sample.captions.len() == 1;
        // A list without captions beside one caption is read as what it is, if that is no empty text.
        let is_told = |listed: &[String]| listed.is_empty() && !sample.captions[0].is_empty();
        let is_in_the_way = |value: &Value| {
            if is_one {
                texts(value).is_some_and(|listed| !is_told(&listed))
            } else {
                !members::is_no_captions(value)
            }
        };
        if sample.meta.get(CAPTIONS).is_some_and(is_in_the_way) {
            return Err(reserved(sample, shard, CAPTIONS));
        }
        let json = if is_one {
            python_json::to_line(&sample.meta)
        } else {
            let mut meta = sample.meta.clone();
            meta.insert(CAPTIONS.to_owned(), sample.captions.clone().into());
            python_json::to_line(&meta)
        };
        members::check_len(
            shard,
            &sample.key.to_string(),
            json.len() as u64,
            limits.text_len_bytes,
        )?;
        let image = sample.image.as_ref();
        Ok(Self {
            image: image.map(|image| image.bytes.clone()).unwrap_or_default(),
            image_format: image.map_or("", |image| image.format.extension()),
            json,
            key: sample.key.to_string(),
            text: sample.captions.first().cloned().unwrap_or_default(),
        })
    }

    /// The bytes of each column.
    pub(crate) fn columns(&self) -> [&[u8]; 5] {
        [
            &self.image,
            self.image_format.as_bytes(),
            self.json.as_bytes(),
            self.key.as_bytes(),
            self.text.as_bytes(),
        ]
    }
}

/// Refuses samples whose image or captions readers would refuse.
pub(crate) fn check_lens(sample: &Sample, shard: &str, limits: &Limits) -> Result<()> {
    let name = sample.key.as_str();
    if let Some(image) = &sample.image {
        let len = image.bytes.len() as u64;
        members::check_len(shard, name, len, limits.member_len_bytes)?;
    }
    let texts: usize = sample.captions.iter().map(String::len).sum();
    members::check_len(shard, name, texts as u64, limits.text_len_bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(row: Vec<(&str, Cell)>) -> (Sample, ReaderStats) {
        let mut stats = ReaderStats::default();
        let row = row.into_iter().map(|(n, c)| (n.to_owned(), c)).collect();
        let origin = Origin {
            shard: "a/part-0.v1.parquet",
            row: 7,
        };
        let sample = to_sample(row, origin, &Limits::default(), &mut stats).unwrap();
        (sample, stats)
    }

    #[test]
    fn rows_of_others_are_understood() {
        let (sample, stats) = read(vec![
            ("id", Cell::Value(json!(3))),
            ("png", Cell::Bytes(Bytes::from_static(b"\xff\xd8\xff\xe0"))),
            ("jpg", Cell::Bytes(Bytes::from_static(b"x"))),
            ("text", Cell::from("later")),
            ("caption", Cell::from("a dog")),
            ("embedding", Cell::Other),
            ("url", Cell::Bytes(Bytes::from_static(b"http://a"))),
        ]);
        assert_eq!(sample.key.as_str(), "part-0_v1_parquet/000000007");
        assert_eq!(sample.image.unwrap().format, ImageFormat::Jpg);
        assert_eq!(sample.captions, ["a dog"]);
        assert_eq!(
            json!(sample.meta),
            json!({"id": 3, "text": "later", "url": "http://a"})
        );
        assert_eq!(
            stats.passed_over,
            [("embedding".into(), 1), ("jpg".into(), 1)].into()
        );
    }

    #[test]
    fn json_is_all_the_metadata_and_others_only_add() {
        let (sample, _) = read(vec![
            ("__key__", Cell::Value(json!(17))),
            ("json", Cell::from(r#"{"a": 1, "captions": ["x", "y"]}"#)),
            ("a", Cell::Value(json!(2))),
            ("b", Cell::Value(json!(3))),
            ("c", Cell::Value(Value::Null)),
            ("txt", Cell::from("x")),
        ]);
        assert_eq!(sample.key.as_str(), "17");
        assert_eq!(sample.captions, ["x", "y"]);
        assert_eq!(json!(sample.meta), json!({"a": 1, "b": 3}));
    }

    #[test]
    fn an_empty_list_of_captions_is_metadata_where_there_is_a_caption() {
        for (text, captions, left) in [
            ("x", vec!["x"], json!({"captions": []})),
            ("", vec![], json!({})),
        ] {
            let (sample, _) = read(vec![
                ("json", Cell::from(r#"{"captions": []}"#)),
                ("txt", Cell::from(text)),
            ]);
            assert_eq!(
                (sample.captions, json!(sample.meta)),
                (
                    captions.iter().map(|&c: &&str| c.to_owned()).collect(),
                    left
                )
            );
        }
    }

    #[test]
    fn captions_that_are_none_give_way_to_a_text_and_others_count_it() {
        let list = |texts: &[&str]| Cell::Value(json!(texts));
        let (sample, stats) = read(vec![("captions", list(&[])), ("txt", Cell::from("alt"))]);
        assert_eq!(
            (sample.captions, stats.passed_over.len()),
            (vec!["alt".to_owned()], 0)
        );
        let (sample, stats) = read(vec![("captions", list(&["x"])), ("txt", Cell::from("alt"))]);
        assert_eq!(
            (&sample.captions[..], stats.passed_over["txt"]),
            (&["x".to_owned()][..], 1)
        );
    }

    #[test]
    fn images_keep_their_bytes_whatever_their_format_is_called() {
        for (said, bytes, format) in [
            ("image/jpeg", &b"x"[..], Some(ImageFormat::Jpg)),
            ("png", b"\xff\xd8\xff", Some(ImageFormat::Png)),
            ("some/thing", b"\xff\xd8\xff", Some(ImageFormat::Jpg)),
            ("", b"\x89PNG", Some(ImageFormat::Png)),
            ("", b"", None),
        ] {
            let (sample, _) = read(vec![
                ("image_format", Cell::from(said)),
                ("image", Cell::Bytes(Bytes::from_static(bytes))),
            ]);
            assert_eq!(sample.image.map(|image| image.format), format, "{said}");
        }
    }

    #[test]
    fn what_json_says_otherwise_is_counted() {
        let (sample, stats) = read(vec![
            ("caption", Cell::from("c")),
            ("width", Cell::Value(7.into())),
            ("height", Cell::Value(2.into())),
            (
                "json",
                Cell::from(r#"{"caption": "inner", "width": 1, "height": 2}"#),
            ),
        ]);
        assert_eq!(sample.captions, ["c"]);
        let meta = json!({"caption": "inner", "width": 1, "height": 2});
        assert_eq!(json!(sample.meta), meta);
        assert_eq!(json!(stats.passed_over), json!({"width": 1}));
    }

    #[test]
    fn what_finds_no_place_is_counted() {
        let (sample, stats) = read(vec![
            ("a.b", Cell::from("first")),
            ("a.b", Cell::from("second")),
            ("image_format", Cell::from("JPEG2000")),
            ("captions", Cell::Value(Value::Null)),
        ]);
        assert_eq!(json!(sample.meta), json!({"a.b": "second"}));
        let passed_over = json!({"a.b": 1, "image_format": 1});
        assert_eq!(json!(stats.passed_over), passed_over);
    }

    #[test]
    fn texts_that_no_shard_may_hold_are_refused() {
        let limits = Limits {
            text_len_bytes: 100,
            ..Limits::default()
        };
        let problem = |name: &str, cell| {
            let origin = Origin { shard: "s", row: 0 };
            let row = vec![(name.to_owned(), cell)];
            to_sample(row, origin, &limits, &mut ReaderStats::default()).err()
        };
        for (name, text, is_refused) in [
            ("txt", "a".repeat(100), false),
            ("txt", "a".repeat(101), true),
            ("x", "a".repeat(60), false),
            ("x", "a".repeat(90), true),
            // Twenty characters of six bytes each, as Python writes them.
            ("x", "é".repeat(20), true),
        ] {
            let problem = problem(name, Cell::from(&text[..]));
            let is_limit = matches!(problem, Some(Problem::Limit { limit: 100, .. }));
            assert_eq!(is_limit, is_refused, "{name} {text}");
        }
    }

    #[test]
    fn what_can_be_no_key_has_the_nearest() {
        let (sample, stats) = read(vec![("key", Cell::from("__a__/1"))]);
        assert_eq!(sample.key, SampleKey::nearest("__a__/1"));
        assert_eq!(stats.renamed, 1);
        let (sample, stats) = read(vec![("key", Cell::from("http://a/b.jpg"))]);
        assert!(sample.key.as_str().starts_with("http:%2f%2fa%2fb%2ejpg~"));
        assert_eq!(stats.renamed, 1);
        let (sample, stats) = read(vec![("key", Cell::from(""))]);
        assert_eq!(sample.key.as_str(), "part-0_v1_parquet/000000007");
        assert_eq!(stats.renamed, 0);
    }
}
