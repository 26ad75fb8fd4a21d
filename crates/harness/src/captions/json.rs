//! The JSON forms.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use super::error::CaptionError;
use super::read::{CaptionColumns, Captions, Entry};

/// What a file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What people wrote.
    References,
    /// What a model wrote.
    Predictions,
}

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

    fn visit_f64<E>(self, id: f64) -> Result<String, E> {
        Ok(serde_json::Value::from(id).to_string())
    }

    fn visit_str<E>(self, id: &str) -> Result<String, E> {
        Ok(id.to_owned())
    }
}

/// The parts by which the forms are told apart.
#[derive(Deserialize)]
struct Document {
    images: Option<Vec<Image>>,
    annotations: Option<Vec<Annotation>>,
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
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        let results: Vec<Annotation> = parse(bytes)?;
        return Ok(of_annotations(results));
    }
    let document: Document = parse(bytes)?;
    match (document.annotations, document.images) {
        (Some(annotations), images) => {
            let mut captions = of_annotations(annotations);
            if let (Some(images), Role::References) = (images, role) {
                in_order_of(images, &mut captions);
            }
            Ok(captions)
        }
        (None, Some(images)) if images.iter().all(|image| image.sentences.is_some()) => {
            karpathy(images, split)
        }
        _ => Err(CaptionError::Shape),
    }
}

fn of_annotations(annotations: Vec<Annotation>) -> Captions {
    let rows = annotations
        .into_iter()
        .map(|one| (one.image_id.0, vec![one.caption], None));
    Captions::of_rows("image_id", rows)
}

/// Puts entries in the order of the list of images, which is that of the reference programs, and adds
/// those that have no caption.
fn in_order_of(images: Vec<Image>, captions: &mut Captions) {
    let ids = images.into_iter().filter_map(|image| image.id);
    let empty = ids.map(|id| (id.0, Vec::new(), None));
    let annotated = std::mem::take(&mut captions.entries)
        .into_iter()
        .map(|entry| {
            let id = entry.ids.into_iter().next().unwrap_or_default();
            (id, entry.captions, entry.failed)
        });
    *captions = Captions::of_rows("image_id", empty.chain(annotated));
}

/// Karpathy's splits. An image has up to three ids; predictions may use any.
fn karpathy(images: Vec<Image>, split: Option<&str>) -> Result<Captions, CaptionError> {
    let splits: BTreeSet<String> = images.iter().filter_map(|i| i.split.clone()).collect();
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
    let entries = images
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
    Ok(Captions { id_names, entries })
}

/// What a line may hold; which of it is the caller's to check.
#[derive(Deserialize)]
struct Line {
    schema: Option<serde_json::Value>,
    key: Option<Id>,
    prediction: Option<Prediction>,
    failed: Option<String>,
    skipped: Option<String>,
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Prediction {
    caption: String,
}

/// Reads a document a line: a predictions file, or objects with an id and one caption or several.
pub(super) fn lines(bytes: &[u8], columns: &CaptionColumns) -> Result<Captions, CaptionError> {
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
        if number == 1 && line.schema.is_some() && line.key.is_none() {
            continue; // The header of a predictions file.
        }
        rows.push(row(line, columns).map_err(problem)?);
    }
    Ok(Captions::of_rows("id", rows))
}

type Row = (String, Vec<String>, Option<String>);

fn row(mut line: Line, columns: &CaptionColumns) -> Result<Row, String> {
    let id = match line.key.take() {
        Some(key) => key.0,
        None => [columns.id.as_str(), "image_id"]
            .iter()
            .find_map(|name| match line.others.get(*name)? {
                serde_json::Value::Number(number) => Some(number.to_string()),
                serde_json::Value::String(text) => Some(text.clone()),
                _ => None,
            })
            .ok_or_else(|| format!("there is no number or text `{}`", columns.id))?,
    };
    if let Some(prediction) = line.prediction {
        return Ok((id, vec![prediction.caption], None));
    }
    if let Some(reason) = line.failed.or(line.skipped) {
        return Ok((id, Vec::new(), Some(reason)));
    }
    let texts = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Some(vec![text.clone()]),
        serde_json::Value::Array(texts) => texts
            .iter()
            .map(|text| text.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    };
    let captions = [columns.caption.as_str(), "captions"]
        .iter()
        .find_map(|name| line.others.get(*name))
        .and_then(texts)
        .ok_or_else(|| {
            format!(
                "there is no text `{}` and no list `captions`",
                columns.caption
            )
        })?;
    Ok((id, captions, None))
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
        let captions = lines(text.as_bytes(), &columns).unwrap();
        let found: Vec<(&str, usize)> = captions
            .entries
            .iter()
            .map(|entry| (entry.ids[0].as_str(), entry.captions.len()))
            .collect();
        assert_eq!(found, [("1", 1), ("2", 0), ("3", 2), ("4", 1)]);
        assert_eq!(captions.entries[1].failed.as_deref(), Some("truncated"));
        let error = lines(b"{\"caption\":\"a\"}", &columns).unwrap_err();
        assert_eq!(error.to_string(), "line 1: there is no number or text `id`");
        assert!(lines(b"{\"id\":1,\"caption\":\"\xff\"}", &columns).is_err());
    }
}
