//! A file of anchors: safetensors with the vectors of both sides, mapped.

use std::io::Write;
use std::path::Path;

use half::f16;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_store::Mapped;

use super::screen::STEP;
use super::vectors::Rows;
use crate::check::limit;
use crate::{Error, Result};

/// Headers have a few hundred bytes.
const HEADER_LIMIT_BYTES: usize = 1 << 16;
/// Headers are padded to a multiple of this, so that values are aligned.
const ALIGN_BYTES: usize = 64;

/// How the values of anchors are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 4 bytes.
    F32,
    /// 2 bytes.
    #[default]
    F16,
    /// 1 byte, and 4 for each row's scale.
    Int8,
}

impl Precision {
    /// In safetensors.
    fn dtype(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Int8 => "I8",
        }
    }

    pub(super) fn value_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Int8 => 1,
        }
    }

    fn of(dtype: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::Int8]
            .into_iter()
            .find(|precision| precision.dtype() == dtype)
    }
}

/// One half of the pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Of the image encoder.
    Image,
    /// Of the text encoder.
    Text,
}

impl Side {
    /// As in the names of tensors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Text => "text",
        }
    }
}

/// Divides `vector` by its length.
pub(super) fn to_unit_length(side: Side, row: usize, vector: &mut [f32]) -> Result<()> {
    let length = vector.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    let length = length.sqrt();
    if !(length.is_finite() && length > 0.0) {
        let side = side.name();
        return Err(Error::NoDirection { side, row });
    }
    for value in vector {
        *value = (f64::from(*value) / length) as f32;
    }
    Ok(())
}

pub(super) fn write_segment<'a>(
    out: &mut dyn Write,
    precision: Precision,
    images: &'a mut dyn Rows,
    texts: &'a mut dyn Rows,
) -> Result<()> {
    let ((rows, image), (text_rows, text)) = (images.shape(), texts.shape());
    if rows != text_rows {
        return Err(Error::Count {
            what: "texts beside the images of anchors",
            found: text_rows,
            wanted: rows,
        });
    }
    if rows == 0 || image == 0 || text == 0 {
        return Err(Error::Count {
            what: "values in the vectors of anchors",
            found: 0,
            wanted: 1,
        });
    }
    write_all(out, &header(rows, image, text, precision)?)?;
    for (side, source) in [(Side::Image, images), (Side::Text, texts)] {
        let mut vector = vec![0.0; source.shape().1];
        let mut bytes = Vec::new();
        let mut scales = Vec::new();
        for row in 0..rows {
            source.next(&mut vector)?;
            to_unit_length(side, row, &mut vector)?;
            bytes.clear();
            match precision {
                Precision::F32 => bytes.extend(vector.iter().flat_map(|v| v.to_le_bytes())),
                Precision::F16 => {
                    let halves = vector.iter().map(|&v| f16::from_f32(v));
                    bytes.extend(halves.flat_map(f16::to_le_bytes));
                }
                Precision::Int8 => {
                    let largest = vector.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
                    let scale = largest / 127.0;
                    scales.extend(scale.to_le_bytes());
                    let whole = vector.iter().map(|v| (v / scale).round() as i8);
                    bytes.extend(whole.flat_map(i8::to_le_bytes));
                }
            }
            write_all(out, &bytes)?;
        }
        write_all(out, &scales)?;
    }
    Ok(())
}

fn write_all(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).map_err(|source| Error::Write {
        path: "anchors".into(),
        source,
    })
}

/// Length and JSON of a segment's header.
fn header(rows: usize, image: usize, text: usize, precision: Precision) -> Result<Vec<u8>> {
    let too_many = || Error::Count {
        what: "anchors",
        found: rows,
        wanted: limit::ANCHORS,
    };
    if rows > limit::ANCHORS || image.max(text) > limit::WIDTH {
        return Err(too_many());
    }
    let mut tensors = serde_json::Map::new();
    let mut at = 0;
    for (name, width) in [("image", image), ("text", text)] {
        let end = at + rows * width * precision.value_bytes();
        let value = json!({ "dtype": precision.dtype(), "shape": [rows, width], "data_offsets": [at, end] });
        tensors.insert(name.to_owned(), value);
        at = end;
        if precision == Precision::Int8 {
            let end = at + rows * 4;
            let value = json!({ "dtype": "F32", "shape": [rows], "data_offsets": [at, end] });
            tensors.insert(format!("{name}_scale"), value);
            at = end;
        }
    }
    let mut text = Value::Object(tensors).to_string().into_bytes();
    text.resize((text.len() + 8).next_multiple_of(ALIGN_BYTES) - 8, b' ');
    Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
}

/// Where a segment's bytes are.
pub(super) enum Bytes {
    Mapped(Mapped),
    Owned(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(mapped) => mapped.as_ref(),
            Self::Owned(bytes) => bytes,
        }
    }
}

/// A file of anchors.
pub(super) struct Segment {
    bytes: Bytes,
    pub(super) rows: usize,
    precision: Precision,
    image: Part,
    text: Part,
}

/// The vectors of one side.
pub(super) struct Part {
    pub(super) width: usize,
    /// First byte of the values.
    values: usize,
    /// First byte of the scales, of [`Precision::Int8`].
    scales: usize,
}

/// A tensor in a header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl Segment {
    /// Reads the header; everything that [`Self::decode`] looks at is inside of `bytes` afterwards.
    pub(super) fn new(bytes: Bytes, path: &Path) -> Result<Self> {
        let all = bytes.get();
        let damaged = |problem| Error::Anchors {
            path: path.to_owned(),
            problem,
        };
        let length = all.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
        let length = length.and_then(|n| usize::try_from(n).ok());
        let length = length.filter(|&n| n <= HEADER_LIMIT_BYTES);
        let length = length.ok_or_else(|| damaged("begins with no header of safetensors"))?;
        let json = all.get(8..8 + length);
        let json = json.ok_or_else(|| damaged("ends within its header"))?;
        let header: serde_json::Map<String, Value> =
            serde_json::from_slice(json).map_err(|source| Error::Json {
                path: path.to_owned(),
                source,
            })?;
        let entry = |name: &str| -> Option<Entry> {
            serde_json::from_value(header.get(name)?.clone()).ok()
        };
        let data = 8 + length;
        let find = |name: &str, dtype: &str, shape: &[usize], bytes: usize| {
            let entry = entry(name)?;
            let count = shape.iter().try_fold(bytes, |n, &d| n.checked_mul(d))?;
            let [start, end] = entry.data_offsets;
            let is_whole = end.checked_sub(start) == Some(count) && end <= all.len() - data;
            (is_whole && entry.dtype == dtype && entry.shape == shape).then_some(data + start)
        };

        let wrong = || damaged("does not hold `image` and `text` as anchors have them");
        let image = entry("image").ok_or_else(wrong)?;
        let precision = Precision::of(&image.dtype).ok_or_else(wrong)?;
        let rows = image.shape.first().copied().unwrap_or(0);
        if rows == 0 || rows > limit::ANCHORS {
            return Err(wrong());
        }
        let part = |side: Side| {
            let name = side.name();
            let width = entry(name)?.shape.get(1).copied()?;
            if !(1..=limit::WIDTH).contains(&width) {
                return None;
            }
            let size = precision.value_bytes();
            let values = find(name, precision.dtype(), &[rows, width], size)?;
            let scales = if precision == Precision::Int8 {
                find(&format!("{name}_scale"), "F32", &[rows], 4)?
            } else {
                0
            };
            Some(Part {
                width,
                values,
                scales,
            })
        };
        let (image, text) = (part(Side::Image), part(Side::Text));
        let (image, text) = (image.ok_or_else(wrong)?, text.ok_or_else(wrong)?);
        Ok(Self {
            bytes,
            rows,
            precision,
            image,
            text,
        })
    }

    pub(super) fn part(&self, side: Side) -> &Part {
        match side {
            Side::Image => &self.image,
            Side::Text => &self.text,
        }
    }

    /// The vectors of one side.
    pub(super) fn values(&self, side: Side) -> Values<'_> {
        let part = self.part(side);
        let bytes = self.bytes.get();
        let size = self.rows * part.width * self.precision.value_bytes();
        let scales = if self.precision == Precision::Int8 {
            &bytes[part.scales..part.scales + self.rows * 4]
        } else {
            &[]
        };
        Values {
            precision: self.precision,
            width: part.width,
            bytes: &bytes[part.values..part.values + size],
            scales: scales.as_chunks().0,
        }
    }
}

/// Vectors as a segment keeps them, one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) precision: Precision,
    pub(super) width: usize,
    bytes: &'a [u8],
    /// Of each row, of [`Precision::Int8`].
    scales: &'a [[u8; 4]],
}

impl<'a> Values<'a> {
    /// The bytes of so many rows from `start` on.
    pub(super) fn rows(self, start: usize, rows: usize) -> &'a [u8] {
        let row = self.width * self.precision.value_bytes();
        &self.bytes[start * row..(start + rows) * row]
    }

    /// What one of the whole numbers of that row is worth, of [`Precision::Int8`].
    pub(super) fn scale(self, row: usize) -> f32 {
        f32::from_le_bytes(self.scales[row])
    }

    /// What the product of one and one is worth, of that row and a query as whole numbers.
    pub(super) fn worth(self, row: usize) -> f32 {
        match self.precision {
            Precision::Int8 => self.scale(row) * STEP,
            Precision::F32 | Precision::F16 => STEP * STEP,
        }
    }
}
