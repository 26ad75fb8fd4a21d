//! The JSON forms.

use std::collections::BTreeSet;
use std::fmt;

use foldhash::HashSet;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::CaptionError;
use super::read::{CaptionColumns, Captions, Entry, Gathered, Role, Row, refuse_repeated};

/// An id, which is written as a number or as a text.
#[derive(Debug)]
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(IdVisitor).map(Self)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id: a number or a text")
    }

    fn visit_u64<E>(self, id: u64) -> Result<String, E> {
        Ok(id.to_string())
    }

    fn visit_i64<E>(self, id: i64) -> Result<String, E> {
        Ok(id.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, id: f64) -> Result<String, E> {
        of_float(id).ok_or_else(|| E::custom(format!("{INEXACT}: {id}")))
    }

    fn visit_str<E>(self, id: &str) -> Result<String, E> {
        Ok(id.to_owned())
    }
}

const INEXACT: &str = "a number that is not an exact id; write it as a text";

/// The id that a float stands for: `1.0` is `1`, as tables write whole numbers beside an empty cell. None
/// where floats are too coarse to tell ids apart.
pub(super) fn of_float(id: f64) -> Option<String> {
    if !id.is_finite() || id.abs() > 2f64.powi(53) {
        None
    } else if id.fract() == 0.0 {
        Some((id as i64).to_string())
    } else {
        Some(id.to_string())
    }
}

/// The parts by which the forms are told apart.
#[derive(Deserialize)]
struct Document {
    images: Option<Vec<Image>>,
    annotations: Option<Annotations>,
}

/// Annotations, brought together by image as they are read: of a file with millions, the list itself
/// would take more memory than its captions.
struct Annotations(Gathered);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(AnnotationsVisitor)
    }
}

struct AnnotationsVisitor;

impl<'de> Visitor<'de> for AnnotationsVisitor {
    type Value = Annotations;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut annotations: A) -> Result<Annotations, A::Error> {
        let mut gathered = Gathered::default();
        while let Some(one) = annotations.next_element::<Annotation>()? {
            gathered.add(Row {
                id: one.image_id.0,
                captions: vec![one.caption],
                ..Row::default()
            });
        }
        Ok(Annotations(gathered))
    }
}

#[derive(Deserialize)]
struct Annotation {
    image_id: Id,
    caption: String,
}

/// An image of COCO, which has an `id`, or of Karpathy's splits, which has `sentences`.
#[derive(Deserialize)]
struct Image {
    id: Option<Id>,
    cocoid: Option<Id>,
    imgid: Option<Id>,
    filename: Option<String>,
    split: Option<String>,
    sentences: Option<Vec<Sentence>>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: String,
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CaptionError> {
    serde_json::from_slice(bytes).map_err(|problem| CaptionError::Json { problem })
}

/// Reads a whole document.
pub(super) fn document(
    bytes: &[u8],
    split: Option<&str>,
    role: Role,
) -> Result<Captions, CaptionError> {
    let without_splits = || match split {
        None => Ok(()),
        Some(split) => Err(CaptionError::NoSplits {
            split: split.to_owned(),
        }),
    };
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        without_splits()?;
        let results: Annotations = parse(bytes)?;
        return results.0.finish("image_id", role);
    }
    let document: Document = parse(bytes)?;
    match (document.annotations, document.images) {
        (Some(annotations), images) => {
            without_splits()?;
            let captions = annotations.0.finish("image_id", role)?;
            match (images, role) {
                (Some(images), Role::References) => in_order_of(images, captions),
                _ => Ok(captions),
            }
        }
        (None, Some(images)) if images.iter().all(|image| image.sentences.is_some()) => {
            karpathy(images, split)
        }
        _ => Err(CaptionError::Shape),
    }
}

/// Puts entries in the order of the list of images, which is that of the reference programs, and adds
/// those that have no caption.
fn in_order_of(images: Vec<Image>, captions: Captions) -> Result<Captions, CaptionError> {
    let ids: Vec<String> = images.into_iter().filter_map(|i| Some(i.id?.0)).collect();
    refuse_repeated("entry of `images`", repeated(&ids))?;
    let empty = ids.into_iter().map(|id| Row {
        id,
        ..Row::default()
    });
    let annotated = captions.entries.into_iter().map(|entry| Row {
        id: entry.ids.into_iter().next().unwrap_or_default(),
        captions: entry.captions,
        ..Row::default()
    });
    Captions::of_rows("image_id", Role::References, empty.chain(annotated))
}

/// Those of `ids` that were there before.
fn repeated<'a>(ids: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut seen = HashSet::default();
    ids.into_iter()
        .filter(|id| !seen.insert(id.as_str()))
        .cloned()
        .collect()
}

/// Karpathy's splits. An image has up to three ids; predictions may use any.
fn karpathy(images: Vec<Image>, split: Option<&str>) -> Result<Captions, CaptionError> {
    let splits: BTreeSet<String> = images.iter().filter_map(|i| i.split.clone()).collect();
    if let (Some(split), true) = (split, splits.is_empty()) {
        return Err(CaptionError::NoSplits {
            split: split.to_owned(),
        });
    }
    let wanted = split.or((!splits.is_empty()).then_some("test"));
    if let Some(wanted) = wanted.filter(|wanted| !splits.contains(*wanted)) {
        return Err(CaptionError::Split {
            split: wanted.to_owned(),
            found: splits.into_iter().collect(),
        });
    }
    let images: Vec<Image> = images
        .into_iter()
        .filter(|image| wanted.is_none() || image.split.as_deref() == wanted)
        .collect();
    let has = |named: fn(&Image) -> bool| images.iter().all(named);
    let (cocoid, filename, imgid) = (
        has(|image| image.cocoid.is_some()),
        has(|image| image.filename.is_some()),
        has(|image| image.imgid.is_some()),
    );
    let mut id_names = Vec::new();
    id_names.extend(cocoid.then_some("cocoid"));
    id_names.extend(filename.then_some("filename"));
    id_names.extend(imgid.then_some("imgid"));
    if id_names.is_empty() {
        return Err(CaptionError::Shape);
    }
    let entries: Vec<Entry> = images
        .into_iter()
        .map(|image| {
            let ids = [
                image.cocoid.filter(|_| cocoid).map(|id| id.0),
                image.filename.filter(|_| filename),
                image.imgid.filter(|_| imgid).map(|id| id.0),
            ];
            Entry {
                ids: ids.into_iter().flatten().collect(),
                captions: image
                    .sentences
                    .into_iter()
                    .flatten()
                    .map(|sentence| sentence.raw)
                    .collect(),
                failed: None,
            }
        })
        .collect();
    for kind in 0..id_names.len() {
        let ids = entries.iter().filter_map(|entry| entry.ids.get(kind));
        refuse_repeated("entry of `images`", repeated(ids))?;
    }
    Ok(Captions { id_names, entries })
}

/// What a line may hold; which of it is the caller's to check.
#[derive(Deserialize)]
struct Line {
    schema: Option<Value>,
    key: Option<Id>,
    prediction: Option<Prediction>,
    failed: Option<String>,
    skipped: Option<String>,
    #[serde(flatten)]
    others: Members,
}

/// Members of an object as they stand, names that are there twice included.
struct Members(Vec<(String, Value)>);

impl Members {
    /// The member of this name.
    fn find(&self, name: &str) -> Result<Option<&Value>, String> {
        let mut found = self.0.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(format!("`{name}` is there twice")),
            (found, None) => Ok(found.map(|(_, value)| value)),
        }
    }

    /// The member of the first of these names that is there and read by `read`.
    fn first<T>(
        &self,
        names: [&str; 2],
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        for name in names {
            if let Some(found) = self.find(name)?.and_then(&read) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[derive(Deserialize)]
struct Prediction {
    caption: String,
}

/// Reads a document a line: a predictions file, or objects with an id and one caption or several.
pub(super) fn lines(
    bytes: &[u8],
    columns: &CaptionColumns,
    role: Role,
) -> Result<Captions, CaptionError> {
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let problem = |problem: String| CaptionError::Line {
            line: number,
            problem,
        };
        let line: Line = serde_json::from_slice(line).map_err(|e| problem(e.to_string()))?;
        let is_header = line.schema.is_some()
            && line.key.is_none()
            && line.others.0.iter().all(|(name, _)| *name != columns.id);
        if number == 1 && is_header {
            continue; // The header of a predictions file.
        }
        rows.push(row(line, columns).map_err(problem)?);
    }
    Captions::of_rows("id", role, rows)
}

fn row(line: Line, columns: &CaptionColumns) -> Result<Row, String> {
    let id = match line.key {
        Some(key) => key.0,
        None => line
            .others
            .first([&columns.id, "image_id"], id)?
            .ok_or_else(|| format!("there is no number or text `{}`", columns.id))?,
    };
    if line.prediction.is_some() && (line.failed.is_some() || line.skipped.is_some()) {
        return Err("there is a prediction and a reason why there is none".to_owned());
    }
    if let Some(prediction) = line.prediction {
        return Ok(Row {
            id,
            captions: vec![prediction.caption],
            ..Row::default()
        });
    }
    if let Some(reason) = line.failed.or(line.skipped) {
        return Ok(Row {
            id,
            failed: Some(reason),
            ..Row::default()
        });
    }
    let (captions, is_list) = line
        .others
        .first([&columns.caption, "captions"], captions)?
        .ok_or_else(|| {
            format!(
                "there is no text `{}` and no list `captions`",
                columns.caption
            )
        })?;
    Ok(Row {
        id,
        captions,
        is_list,
        failed: None,
    })
}

fn id(value: &Value) -> Option<String> {
    serde_json::from_value(value.clone()).ok().map(|Id(id)| id)
}

/// One caption or several, and whether they are a list.
fn captions(value: &Value) -> Option<(Vec<String>, bool)> {
    match value {
        Value::String(text) => Some((vec![text.clone()], false)),
        Value::Array(texts) => {
            let texts = texts.iter().map(|text| text.as_str().map(str::to_owned));
            Some((texts.collect::<Option<_>>()?, true))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids and captions of an image.
    type Read = (Vec<String>, Vec<String>);

    fn read(text: &str) -> Result<Vec<Read>, String> {
        let captions =
            document(text.as_bytes(), None, Role::References).map_err(|e| e.to_string())?;
        Ok(captions
            .entries
            .into_iter()
            .map(|entry| (entry.ids, entry.captions))
            .collect())
    }

    fn entry(ids: &[&str], captions: &[&str]) -> Read {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        (owned(ids), owned(captions))
    }

    #[test]
    fn coco_captions_come_in_the_order_of_the_images() {
        let text = r#"{"info": {}, "images": [{"id": 2, "width": 1}, {"id": 1}],
            "annotations": [{"image_id": 1, "id": 7, "caption": "a"}, {"image_id": 2, "caption": "b"},
                            {"image_id": 1, "caption": "c"}]}"#;
        assert_eq!(
            read(text).unwrap(),
            [entry(&["2"], &["b"]), entry(&["1"], &["a", "c"])]
        );
        assert_eq!(
            read(r#"[{"image_id": "x", "caption": "a"}]"#).unwrap(),
            [entry(&["x"], &["a"])]
        );
    }

    #[test]
    fn karpathy_images_have_every_id_and_only_those_of_the_split_count() {
        let text = r#"{"dataset": "coco", "images": [
            {"cocoid": 9, "imgid": 0, "filename": "9.jpg", "split": "test", "sentences": [{"raw": "a"}]},
            {"cocoid": 8, "imgid": 1, "filename": "8.jpg", "split": "val", "sentences": []}]}"#;
        assert_eq!(read(text).unwrap(), [entry(&["9", "9.jpg", "0"], &["a"])]);
        let error = document(text.as_bytes(), Some("tset"), Role::References).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no image is in split `tset`; there are test, val"
        );
    }

    #[test]
    fn other_json_is_refused_with_its_place() {
        assert!(read("{}").unwrap_err().contains("neither COCO captions"));
        assert!(
            read("[{\"image_id\": 1}]")
                .unwrap_err()
                .contains("missing field `caption`")
        );
        assert!(read("[{").unwrap_err().contains("line 1 column 2"));
        assert!(read("[{\"image_id\": 1, \"caption\": \"\u{0}\"}]").is_err());
    }

    #[test]
    fn lines_are_predictions_or_objects() {
        let columns = CaptionColumns::default();
        let text = concat!(
            "{\"schema\":1,\"suite\":\"s\"}\n",
            "{\"key\":\"1\",\"prediction\":{\"caption\":\"a\"}}\n\n",
            "{\"key\":\"2\",\"failed\":\"truncated\"}\n",
            "{\"id\":3,\"captions\":[\"b\",\"c\"]}\r\n",
            "{\"image_id\":4,\"caption\":\"d\"}",
        );
        let captions = lines(text.as_bytes(), &columns, Role::References).unwrap();
        let found: Vec<(&str, usize)> = captions
            .entries
            .iter()
            .map(|entry| (entry.ids[0].as_str(), entry.captions.len()))
            .collect();
        assert_eq!(found, [("1", 1), ("2", 0), ("3", 2), ("4", 1)]);
        assert_eq!(captions.entries[1].failed.as_deref(), Some("truncated"));
        let refused = |text: &[u8]| {
            let error = lines(text, &columns, Role::References).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            refused(b"{\"caption\":\"a\"}"),
            "line 1: there is no number or text `id`"
        );
        assert_eq!(
            refused(b"{\"id\":1,\"caption\":\"a\",\"id\":2}"),
            "line 1: `id` is there twice"
        );
        refused(b"{\"id\":1,\"caption\":\"\xff\"}");
    }

    #[test]
    fn whole_numbers_are_one_id_however_they_are_written() {
        let text = r#"[{"image_id": 1.0, "caption": "a"}, {"image_id": -0.0, "caption": "b"},
            {"image_id": 1.5, "caption": "c"}]"#;
        let expected = [
            entry(&["1"], &["a"]),
            entry(&["0"], &["b"]),
            entry(&["1.5"], &["c"]),
        ];
        assert_eq!(read(text).unwrap(), expected);
        let text = r#"{"id": 7.0, "caption": "a"}"#;
        let read_line = lines(
            text.as_bytes(),
            &CaptionColumns::default(),
            Role::References,
        );
        assert_eq!(read_line.unwrap().entries[0].ids, ["7"]);
        let large = r#"[{"image_id": 123456789012345678901, "caption": "a"}]"#;
        assert!(read(large).unwrap_err().contains("write it as a text"));
    }

    #[test]
    fn an_image_that_is_there_twice_is_refused_and_rows_of_one_caption_are_not() {
        let twice = r#"{"images": [{"id": 1}, {"id": 2}, {"id": 1}], "annotations": []}"#;
        assert_eq!(
            read(twice).unwrap_err(),
            "more than one entry of `images` for 1 image: `1`"
        );
        let twice = r#"{"images": [{"cocoid": 1, "imgid": 5, "sentences": [{"raw": "a"}]},
            {"cocoid": 1, "imgid": 6, "sentences": [{"raw": "b"}]}]}"#;
        assert_eq!(
            read(twice).unwrap_err(),
            "more than one entry of `images` for 1 image: `1`"
        );
        let read = |text: &str, role| {
            let read = lines(text.as_bytes(), &CaptionColumns::default(), role);
            read.map_err(|e| e.to_string())
        };
        let rows = "{\"id\":1,\"caption\":\"a\"}\n{\"id\":1,\"caption\":\"b\"}";
        let together = read(rows, Role::References).unwrap();
        assert_eq!(together.entries[0].captions, ["a", "b"]);
        assert_eq!(
            read(rows, Role::Predictions).unwrap_err(),
            "more than one prediction for 1 image: `1`"
        );
        let failed = "{\"key\":1,\"failed\":\"x\"}\n{\"key\":1,\"prediction\":{\"caption\":\"b\"}}";
        assert!(read(failed, Role::Predictions).is_err());
        let lists = "{\"id\":1,\"captions\":[\"a\"]}\n{\"id\":1,\"caption\":\"b\"}";
        assert_eq!(
            read(lists, Role::References).unwrap_err(),
            "more than one list of captions for 1 image: `1`"
        );
    }
}
