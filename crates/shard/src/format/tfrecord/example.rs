//! `tf.train.Example`: features by name, as protocol buffers.
//!
//! ```text
//! Example  { 1: Features { 1: repeated entry { 1: name, 2: Feature } } }
//! Feature  { 1: BytesList { 1: repeated bytes }
//!          | 2: FloatList { 1: repeated float, packed or not }
//!          | 3: Int64List { 1: repeated varint, packed or not } }
//! ```

use bytes::Bytes;
use serde_json::Value;
use sightline_core::Sample;

use crate::members::{self, CAPTIONS};
use crate::row::{
    self, CAPTION_NAMES, Cell, IMAGE_FORMAT, JSON, KEY, TEXT, image_format, is_special, texts,
};
use crate::{Limits, Problem, Result, python_json};

/// A wire type of protocol buffers.
const VARINT: u64 = 0;
const LEN: u64 = 2;
const FIXED32: u64 = 5;

/// Most features of an example; a hostile record may hold any number of empty ones.
const MAX_FEATURES: usize = 10_000;

/// The bytes of `sample` as an example.
pub(super) fn encode(sample: &Sample, shard: &str, limits: &Limits) -> Result<Vec<u8>> {
    let mut features = Vec::new();
    put_entry(&mut features, KEY, &bytes_list([sample.key.as_str()]));
    if let Some(image) = &sample.image {
        let list = bytes_list([&image.bytes[..]]);
        let name = image.format.extension();
        put_entry(&mut features, name, &list);
        // Readers believe the first bytes rather than the name, which others give to all images alike.
        if image_format(name, &image.bytes, None, None) != Some(image.format) {
            put_entry(&mut features, IMAGE_FORMAT, &bytes_list([name]));
        }
    }
    if let Some(caption) = sample.captions.first() {
        put_entry(&mut features, TEXT, &bytes_list([caption]));
    }
    // Readers of others trip over lists without items, so that no caption has no feature. Then nothing in the
    // metadata may look like one.
    let captions = sample.meta.get(CAPTIONS);
    let captions = captions.filter(|value| !members::is_no_captions(value));
    if sample.captions.len() > 1 || (captions.is_some() && !sample.captions.is_empty()) {
        put_entry(&mut features, CAPTIONS, &bytes_list(&sample.captions));
    }
    let has_none = sample.captions.is_empty();
    if has_none && captions.is_some_and(|captions| texts(captions).is_some()) {
        return Err(members::reserved(sample, shard, CAPTIONS));
    }
    let mut is_exact = !(has_none
        && CAPTION_NAMES
            .iter()
            .any(|name| sample.meta.contains_key(*name)));
    for (name, value) in &sample.meta {
        if is_special(name) {
            is_exact = false;
            continue;
        }
        if value.as_array().is_some_and(Vec::is_empty) {
            is_exact = false;
            continue;
        }
        let (feature, reads_back) = feature_of(value);
        is_exact &= reads_back;
        put_entry(&mut features, name, &feature);
    }
    if !is_exact {
        let json = python_json::to_line(&sample.meta);
        let len = json.len() as u64;
        members::check_len(shard, sample.key.as_str(), len, limits.text_len_bytes)?;
        put_entry(&mut features, JSON, &bytes_list([&json]));
    }
    let mut example = Vec::with_capacity(features.len() + 8);
    put_bytes(&mut example, 1, &features);
    Ok(example)
}

/// A field of the metadata as img2dataset stores it, and whether it is read back as it was.
fn feature_of(value: &Value) -> (Vec<u8>, bool) {
    match value {
        Value::Null => (bytes_list([""]), false),
        Value::Bool(flag) => (int64_list([i64::from(*flag)]), false),
        Value::Number(number) => {
            if let Some(integer) = number.as_i64() {
                return (int64_list([integer]), true);
            }
            let float = number.as_f64().unwrap_or(f64::NAN);
            let is_exact = f64::from(float as f32).to_bits() == float.to_bits();
            (float_list([float as f32]), is_exact && number.is_f64())
        }
        Value::String(text) => (bytes_list([text]), true),
        Value::Array(items) => (list_of(items), false),
        Value::Object(object) => (bytes_list([&python_json::to_line(object)]), false),
    }
}

/// A list, of the kind of its first item.
fn list_of(items: &[Value]) -> Vec<u8> {
    match items.first() {
        Some(Value::Number(first)) if first.is_f64() => {
            float_list(items.iter().map(|v| v.as_f64().unwrap_or(f64::NAN) as f32))
        }
        Some(Value::Number(_)) => int64_list(items.iter().map(|v| v.as_i64().unwrap_or(0))),
        _ => bytes_list(items.iter().map(|item| match item {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })),
    }
}

fn bytes_list<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut list = Vec::new();
    for value in values {
        put_bytes(&mut list, 1, value.as_ref());
    }
    let mut feature = Vec::with_capacity(list.len() + 8);
    put_bytes(&mut feature, 1, &list);
    feature
}

fn float_list(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    let packed: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    packed_list(2, &packed)
}

fn int64_list(values: impl IntoIterator<Item = i64>) -> Vec<u8> {
    let mut packed = Vec::new();
    for value in values {
        put_varint(&mut packed, value as u64);
    }
    packed_list(3, &packed)
}

fn packed_list(field: u64, packed: &[u8]) -> Vec<u8> {
    let (mut list, mut feature) = (Vec::new(), Vec::new());
    put_bytes(&mut list, 1, packed);
    put_bytes(&mut feature, field, &list);
    feature
}

fn put_entry(features: &mut Vec<u8>, name: &str, feature: &[u8]) {
    let mut entry = Vec::with_capacity(name.len() + feature.len() + 16);
    put_bytes(&mut entry, 1, name.as_bytes());
    put_bytes(&mut entry, 2, feature);
    put_bytes(features, 1, &entry);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | LEN);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of a message.
enum Field {
    Varint(u64),
    Bytes(Bytes),
    Fixed32([u8; 4]),
    /// Eight bytes, which nothing here holds.
    Fixed64,
}

/// The fields of a message, in order.
struct Message(Bytes);

impl Message {
    fn next(&mut self) -> Result<Option<(u64, Field)>, Problem> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            VARINT => Field::Varint(self.varint()?),
            LEN => {
                let len = self.varint()?;
                if len > self.0.len() as u64 {
                    return Err(Problem::Example);
                }
                Field::Bytes(self.0.split_to(len as usize))
            }
            FIXED32 if self.0.len() >= 4 => {
                let bytes = self.0.split_to(4);
                Field::Fixed32([bytes[0], bytes[1], bytes[2], bytes[3]])
            }
            1 if self.0.len() >= 8 => {
                let _ = self.0.split_to(8);
                Field::Fixed64
            }
            _ => return Err(Problem::Example),
        };
        Ok(Some((tag >> 3, field)))
    }

    fn varint(&mut self) -> Result<u64, Problem> {
        let mut value = 0;
        for (at, &byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                let _ = self.0.split_to(at + 1);
                return Ok(value);
            }
        }
        Err(Problem::Example)
    }
}

/// The features of an example, in the order they are stored; of two with one name the last counts.
pub(super) fn decode(data: Vec<u8>) -> Result<Vec<(String, Cell)>, Problem> {
    let mut row: Vec<(String, Cell)> = Vec::new();
    let mut example = Message(data.into());
    while let Some((field, value)) = example.next()? {
        let (1, Field::Bytes(features)) = (field, value) else {
            continue;
        };
        let mut features = Message(features);
        while let Some((field, value)) = features.next()? {
            let (1, Field::Bytes(entry)) = (field, value) else {
                continue;
            };
            if row.len() == MAX_FEATURES {
                return Err(Problem::Limit {
                    what: "the number of features",
                    value: MAX_FEATURES as u64 + 1,
                    limit: MAX_FEATURES as u64,
                });
            }
            row.push(decode_entry(entry)?);
        }
    }
    Ok(row)
}

fn decode_entry(entry: Bytes) -> Result<(String, Cell), Problem> {
    let (mut name, mut feature) = (Bytes::new(), Bytes::new());
    let mut entry = Message(entry);
    while let Some(field) = entry.next()? {
        match field {
            (1, Field::Bytes(bytes)) => name = bytes,
            (2, Field::Bytes(bytes)) => feature = bytes,
            _ => {}
        }
    }
    let name = members::text(name.to_vec())?;
    let cell = decode_feature(&name, feature)?;
    Ok((name, cell))
}

fn decode_feature(name: &str, feature: Bytes) -> Result<Cell, Problem> {
    let mut feature = Message(feature);
    let mut cell = Cell::Value(Value::Null);
    while let Some((kind, value)) = feature.next()? {
        let Field::Bytes(list) = value else { continue };
        cell = match kind {
            1 => decode_bytes(name, Message(list))?,
            2 => one_or_list(decode_floats(Message(list))?),
            3 => one_or_list(decode_integers(Message(list))?),
            _ => continue,
        };
    }
    Ok(cell)
}

fn decode_bytes(name: &str, mut list: Message) -> Result<Cell, Problem> {
    let mut values = Vec::new();
    while let Some(field) = list.next()? {
        if let (1, Field::Bytes(bytes)) = field {
            values.push(bytes);
        }
    }
    if values.len() == 1 && name != CAPTIONS {
        return Ok(values.pop().map_or(Cell::Other, Cell::Bytes));
    }
    let texts = values.iter().map(|bytes| std::str::from_utf8(bytes).ok());
    let texts: Option<Vec<Value>> = texts.map(|text| text.map(Value::from)).collect();
    Ok(texts.map_or(Cell::Other, |texts| Cell::Value(Value::Array(texts))))
}

fn decode_floats(mut list: Message) -> Result<Vec<Value>, Problem> {
    let mut floats = Vec::new();
    let mut add = |bytes: [u8; 4]| {
        floats.push(row::float(f32::from_le_bytes(bytes).into()));
    };
    while let Some(field) = list.next()? {
        match field {
            (1, Field::Fixed32(bytes)) => add(bytes),
            (1, Field::Bytes(packed)) => {
                let (floats, rest) = packed.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(Problem::Example);
                }
                floats.iter().copied().for_each(&mut add);
            }
            _ => {}
        }
    }
    Ok(floats)
}

fn decode_integers(mut list: Message) -> Result<Vec<Value>, Problem> {
    let mut integers = Vec::new();
    while let Some(field) = list.next()? {
        match field {
            (1, Field::Varint(value)) => integers.push(Value::from(value as i64)),
            (1, Field::Bytes(packed)) => {
                let mut packed = Message(packed);
                while !packed.0.is_empty() {
                    integers.push(Value::from(packed.varint()? as i64));
                }
            }
            _ => {}
        }
    }
    Ok(integers)
}

fn one_or_list(mut values: Vec<Value>) -> Cell {
    match values.len() {
        1 => Cell::Value(values.remove(0)),
        _ => Cell::Value(Value::Array(values)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn features_are_the_bytes_that_protobuf_writes() {
        // By protobuf 7.36: Features with "a" -> Int64List [300, -1], serialised.
        let mut features = Vec::new();
        put_entry(&mut features, "a", &int64_list([300, -1]));
        let expected =
            b"\x0a\x15\x0a\x01a\x12\x10\x1a\x0e\x0a\x0c\xac\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(features, expected);
    }

    #[test]
    fn unpacked_numbers_are_read_too() {
        // Int64List {1: 5, 1: 6} as plain varints.
        let row = decode_feature("x", Bytes::from_static(b"\x1a\x04\x08\x05\x08\x06")).unwrap();
        assert_eq!(row, Cell::Value(serde_json::json!([5, 6])));
        let row = decode_feature("x", Bytes::from_static(b"\x12\x05\x0d\0\0\x80\x3e")).unwrap();
        assert_eq!(row, Cell::Value(serde_json::json!(0.25)));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_order(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(data);
        }
    }
}
