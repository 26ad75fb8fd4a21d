//! Anchors: coupled pairs of an image and a text, as vectors of two encoders that know nothing of each other.
//!
//! A folder of anchors holds
//!
//! | file | rules |
//! | --- | --- |
//! | `anchors.json` | `{"schema": 1, "segments": ["anchors-00000.safetensors", …], "deleted": [7, …]}`. Names are of files in the folder; deleted numbers ascend. |
//! | `anchors-NNNNN.safetensors` | `image` `[N, Di]` and `text` `[N, Dt]`, row i of one coupled with row i of the other, both F32, F16 or I8. With I8 also `image_scale` and `text_scale` `[N]`, F32: a value is the whole number times its row's scale. |
//!
//! Rows have unit length before they are rounded. An anchor's number is its row, counted through the segments; it stays when
//! others are deleted. Adding anchors writes a new segment, deleting some writes only the list: no vector is ever rewritten.
//! Segments are mapped, not read: a search holds one block of rows as f32 at a time.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::f16;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_store::{AtomicFile, Mapped, write_atomic};

use super::relative::{Near, Nearest};
use crate::check::{Check, limit};
use crate::folder::read_limited;
use crate::{CheckpointFile, Error, FileRole, Result};

/// The list of segments.
pub const INDEX: &str = "anchors.json";
/// Version of [`INDEX`].
const SCHEMA: u32 = 1;
/// Rows of a block: 16 MiB as f32 at a width of 1,024.
const BLOCK_ROWS: usize = 4096;
/// Queries that are compared with a block together.
const QUERIES: usize = 256;
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

    fn value_bytes(self) -> usize {
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

/// Vectors that are read one after the other, as often as there are rows.
pub trait Rows {
    /// Rows and values of each.
    fn shape(&self) -> (usize, usize);

    /// Reads the next row into `row`, whose length is the width.
    fn next(&mut self, row: &mut [f32]) -> Result<()>;
}

/// The rows of a tensor `[N, D]`.
pub struct TensorRows<'t> {
    tensor: &'t Tensor,
    shape: (usize, usize),
    row: usize,
}

impl<'t> TensorRows<'t> {
    /// Of `tensor` `[N, D]`.
    pub fn new(tensor: &'t Tensor) -> Result<Self> {
        let shape = tensor.dims2()?;
        Ok(Self {
            tensor,
            shape,
            row: 0,
        })
    }
}

impl Rows for TensorRows<'_> {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn next(&mut self, row: &mut [f32]) -> Result<()> {
        let values = self.tensor.get(self.row)?.to_dtype(DType::F32)?;
        row.copy_from_slice(&values.to_vec1::<f32>()?);
        self.row += 1;
        Ok(())
    }
}

/// `anchors.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Index {
    schema: u32,
    segments: Vec<String>,
    #[serde(default)]
    deleted: BTreeSet<usize>,
}

impl Index {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(INDEX);
        let check = Check::new(&path);
        let index: Self =
            serde_json::from_slice(&read_limited(&path)?).map_err(|e| check.json(e))?;
        if index.schema != SCHEMA {
            return Err(check.wrong("schema", &index.schema, format!("{SCHEMA}")));
        }
        for name in &index.segments {
            let is_plain = Path::new(name).file_name().is_some_and(|n| n == &name[..]);
            if !is_plain {
                return Err(check.wrong("segments", name, "names of files in the same folder"));
            }
        }
        Ok(index)
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|source| Error::Json {
            path: folder.join(INDEX),
            source,
        })?;
        Ok(write_atomic(folder.join(INDEX), &text)?)
    }
}

/// The anchors of a folder, or of matrices.
pub struct Anchors {
    segments: Vec<Segment>,
    deleted: BTreeSet<usize>,
    rows: usize,
}

impl Anchors {
    /// Maps the anchors in `folder`.
    pub fn open(folder: &Path) -> Result<Self> {
        let index = Index::read(folder)?;
        let segments = index.segments.iter().map(|name| {
            let path = folder.join(name);
            Segment::new(Bytes::Mapped(Mapped::open(&path)?), &path)
        });
        Self::of(segments.collect::<Result<_>>()?, index.deleted, folder)
    }

    /// Anchors in memory: `images` `[N, Di]` coupled with `texts` `[N, Dt]`, of any length.
    pub fn new(images: &Tensor, texts: &Tensor, precision: Precision) -> Result<Self> {
        let mut bytes = Vec::new();
        let (mut images, mut texts) = (TensorRows::new(images)?, TensorRows::new(texts)?);
        write_segment(&mut bytes, precision, &mut images, &mut texts)?;
        let path = Path::new("");
        let segment = Segment::new(Bytes::Owned(bytes), path)?;
        Self::of(vec![segment], BTreeSet::new(), path)
    }

    fn of(segments: Vec<Segment>, deleted: BTreeSet<usize>, folder: &Path) -> Result<Self> {
        let path = folder.join(INDEX);
        let check = Check::new(&path);
        let Some(first) = segments.first() else {
            return Err(check.wrong("segments", &"empty", "at least one"));
        };
        for segment in &segments {
            for side in [Side::Image, Side::Text] {
                check_width(side, segment.part(side).width, first.part(side).width)?;
            }
        }
        let rows = segments.iter().map(|segment| segment.rows).sum();
        if let Some(beyond) = deleted.last().filter(|&&number| number >= rows) {
            return Err(check.wrong("deleted", beyond, format!("numbers below {rows}")));
        }
        Ok(Self {
            segments,
            deleted,
            rows,
        })
    }

    /// Begins a folder with these anchors. There MUST be none in it yet.
    pub fn create(
        folder: &Path,
        precision: Precision,
        images: &mut dyn Rows,
        texts: &mut dyn Rows,
    ) -> Result<Self> {
        let path = folder.join(INDEX);
        if path.exists() {
            return Err(Error::Exists { path });
        }
        fs::create_dir_all(folder).map_err(|source| Error::Write {
            path: folder.to_owned(),
            source,
        })?;
        let index = Index {
            schema: SCHEMA,
            segments: Vec::new(),
            deleted: BTreeSet::new(),
        };
        append(folder, index, precision, images, texts)
    }

    /// Adds anchors to those in `folder`, of the same widths. They get the next numbers.
    pub fn add(
        folder: &Path,
        precision: Precision,
        images: &mut dyn Rows,
        texts: &mut dyn Rows,
    ) -> Result<Self> {
        let old = Self::open(folder)?;
        for (side, rows) in [(Side::Image, &*images), (Side::Text, &*texts)] {
            check_width(side, rows.shape().1, old.width(side))?;
        }
        append(folder, Index::read(folder)?, precision, images, texts)
    }

    /// Takes the anchors of these numbers out of those in `folder`; some may be out already.
    pub fn delete(folder: &Path, numbers: &[usize]) -> Result<Self> {
        let mut anchors = Self::open(folder)?;
        anchors.remove(numbers)?;
        let mut index = Index::read(folder)?;
        index.deleted.clone_from(&anchors.deleted);
        index.write(folder)?;
        Ok(anchors)
    }

    /// Takes the anchors of these numbers out, here and not in the folder.
    pub fn remove(&mut self, numbers: &[usize]) -> Result<()> {
        if let Some(&anchor) = numbers.iter().find(|&&number| number >= self.rows) {
            let anchors = self.rows;
            return Err(Error::NoAnchor { anchor, anchors });
        }
        self.deleted.extend(numbers);
        Ok(())
    }

    /// How many there are, deleted ones included: numbers are below this.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many are not deleted.
    pub fn live(&self) -> usize {
        self.rows - self.deleted.len()
    }

    /// Length of the vectors on that side.
    pub fn width(&self, side: Side) -> usize {
        self.segments[0].part(side).width
    }

    /// Files that [`Self::open`] reads.
    pub fn files(folder: &Path) -> Result<Vec<CheckpointFile>> {
        let index = Index::read(folder)?;
        let file = |name: &str, role| CheckpointFile {
            path: folder.join(name),
            role,
        };
        let segments = index.segments.iter();
        let segments = segments.map(|name| file(name, FileRole::Weights));
        Ok([file(INDEX, FileRole::Config)]
            .into_iter()
            .chain(segments)
            .collect())
    }

    /// The `k` anchors (all, if there are fewer) with the largest cosine to each of `vectors` `[B, D]`, whose length may be
    /// any but 0. Of equal cosines the lower number comes first. Beside the results this holds one block of anchors.
    pub fn nearest(&self, side: Side, vectors: &Tensor, k: usize) -> Result<Vec<Vec<Near>>> {
        let (count, width) = vectors.dims2()?;
        check_width(side, width, self.width(side))?;
        let mut all = Vec::with_capacity(count);
        for start in (0..count).step_by(QUERIES) {
            let part = vectors.narrow(0, start, QUERIES.min(count - start))?;
            all.extend(self.nearest_of_part(side, &part, k.min(self.live()))?);
        }
        Ok(all)
    }

    fn nearest_of_part(&self, side: Side, vectors: &Tensor, k: usize) -> Result<Vec<Vec<Near>>> {
        let (count, width) = vectors.dims2()?;
        let mut values = vectors.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        for (row, vector) in values.chunks_exact_mut(width).enumerate() {
            to_unit_length(side, row, vector)?;
        }
        let queries = Tensor::from_vec(values, (count, width), &Device::Cpu)?;

        let mut best = vec![Nearest::new(k); count];
        let mut first = 0;
        for segment in &self.segments {
            for start in (0..segment.rows).step_by(BLOCK_ROWS) {
                let rows = BLOCK_ROWS.min(segment.rows - start);
                let block = segment.decode(side, start, rows);
                let block = Tensor::from_vec(block, (rows, width), &Device::Cpu)?;
                let cosines = queries.matmul(&block.t()?)?.to_vec2::<f32>()?;
                let from = first + start;
                let mut deleted = self.deleted.range(from..from + rows).peekable();
                let live: Vec<usize> = (from..from + rows)
                    .filter(|number| deleted.next_if_eq(&number).is_none())
                    .collect();
                for (best, cosines) in best.iter_mut().zip(&cosines) {
                    for &anchor in &live {
                        let cosine = cosines[anchor - from];
                        best.push(Near { anchor, cosine });
                    }
                }
            }
            first += segment.rows;
        }
        Ok(best.into_iter().map(Nearest::finish).collect())
    }
}

/// Writes a new segment, then the list with it.
fn append(
    folder: &Path,
    mut index: Index,
    precision: Precision,
    images: &mut dyn Rows,
    texts: &mut dyn Rows,
) -> Result<Anchors> {
    let name = format!("anchors-{:05}.safetensors", index.segments.len());
    let mut file = AtomicFile::create(folder.join(&name))?;
    write_segment(&mut file, precision, images, texts)?;
    file.commit()?;
    index.segments.push(name);
    index.write(folder)?;
    Anchors::open(folder)
}

fn check_width(side: Side, found: usize, wanted: usize) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::AnchorWidth {
        side: side.name(),
        found,
        wanted,
    })
}

/// Divides `vector` by its length.
fn to_unit_length(side: Side, row: usize, vector: &mut [f32]) -> Result<()> {
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

fn write_segment<'a>(
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
enum Bytes {
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
struct Segment {
    bytes: Bytes,
    rows: usize,
    precision: Precision,
    image: Part,
    text: Part,
}

/// The vectors of one side.
struct Part {
    width: usize,
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
    fn new(bytes: Bytes, path: &Path) -> Result<Self> {
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

    fn part(&self, side: Side) -> &Part {
        match side {
            Side::Image => &self.image,
            Side::Text => &self.text,
        }
    }

    /// The vectors from row `start` on, one behind the other.
    fn decode(&self, side: Side, start: usize, rows: usize) -> Vec<f32> {
        let part = self.part(side);
        let size = self.precision.value_bytes();
        let from = part.values + start * part.width * size;
        let bytes = &self.bytes.get()[from..from + rows * part.width * size];
        match self.precision {
            Precision::F32 => floats(bytes),
            Precision::F16 => {
                let (halves, _) = bytes.as_chunks::<2>();
                let halves = halves.iter();
                halves.map(|b| f16::from_le_bytes(*b).to_f32()).collect()
            }
            Precision::Int8 => {
                let from = part.scales + start * 4;
                let scales = floats(&self.bytes.get()[from..from + rows * 4]);
                let rows = bytes.chunks_exact(part.width).zip(scales);
                rows.flat_map(|(row, scale)| {
                    row.iter().map(move |&b| f32::from(b.cast_signed()) * scale)
                })
                .collect()
            }
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;

    use super::*;

    fn random(rows: usize, width: usize, name: &str) -> Tensor {
        let mut rng = Seed(3).child(name, 0).rng();
        let values: Vec<f32> = (0..rows * width).map(|_| rng.normal() as f32).collect();
        Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
    }

    fn numbers(near: &[Vec<Near>]) -> Vec<Vec<usize>> {
        let row = |row: &Vec<Near>| row.iter().map(|near| near.anchor).collect();
        near.iter().map(row).collect()
    }

    /// More anchors than a block, so that the running best of several blocks is what counts.
    #[test]
    fn blocks_segments_and_deletions_change_no_answer() {
        let (images, texts) = (random(5000, 8, "image"), random(5000, 6, "text"));
        let queries = random(3, 8, "query");
        let folder = tempfile::tempdir().unwrap();
        let cut = |tensor: &Tensor, from, count| tensor.narrow(0, from, count).unwrap();
        let parts = [(0, 4500), (4500, 500)].map(|(from, count)| {
            let side = |tensor| cut(tensor, from, count);
            (side(&images), side(&texts))
        });
        for (number, (images, texts)) in parts.iter().enumerate() {
            let mut images = TensorRows::new(images).unwrap();
            let mut texts = TensorRows::new(texts).unwrap();
            let write = if number == 0 {
                Anchors::create
            } else {
                Anchors::add
            };
            write(folder.path(), Precision::F32, &mut images, &mut texts).unwrap();
        }
        let whole = Anchors::new(&images, &texts, Precision::F32).unwrap();
        let found = whole.nearest(Side::Image, &queries, 7).unwrap();
        let mapped = Anchors::open(folder.path()).unwrap();
        assert_eq!(mapped.nearest(Side::Image, &queries, 7).unwrap(), found);

        let gone = [found[0][0].anchor, found[1][2].anchor];
        Anchors::delete(folder.path(), &gone).unwrap();
        let left = Anchors::open(folder.path()).unwrap();
        assert_eq!((left.rows(), left.live()), (5000, 4998));
        let wanted: Vec<Vec<usize>> = numbers(&whole.nearest(Side::Image, &queries, 9).unwrap())
            .into_iter()
            .map(|row| row.into_iter().filter(|n| !gone.contains(n)).take(7))
            .map(Iterator::collect)
            .collect();
        let after = left.nearest(Side::Image, &queries, 7).unwrap();
        assert_eq!(numbers(&after), wanted);
        // `k` beyond what there is gives all there is.
        let all = left.nearest(Side::Image, &queries, 1_000_000).unwrap();
        assert_eq!(all[0].len(), 4998);
    }

    #[test]
    fn fewer_bits_move_cosines_by_little() {
        let (images, texts) = (random(50, 64, "image"), random(50, 32, "text"));
        let exact = Anchors::new(&images, &texts, Precision::F32).unwrap();
        let exact = exact.nearest(Side::Image, &images, 1).unwrap();
        for (precision, tolerance) in [(Precision::F16, 5e-4), (Precision::Int8, 1e-2)] {
            let anchors = Anchors::new(&images, &texts, precision).unwrap();
            let found = anchors.nearest(Side::Image, &images, 1).unwrap();
            for (found, exact) in found.iter().zip(&exact) {
                assert_eq!(found[0].anchor, exact[0].anchor);
                assert!((found[0].cosine - exact[0].cosine).abs() < tolerance);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (images, texts) = (random(4, 3, "image"), random(4, 2, "text"));
        let told = |result: Result<Anchors>| result.map(|_| ()).unwrap_err().to_string();
        let few = texts.narrow(0, 0, 3).unwrap();
        assert_eq!(
            told(Anchors::new(&images, &few, Precision::F16)),
            "3 texts beside the images of anchors, needed are 4"
        );
        let zero = images.zeros_like().unwrap();
        assert_eq!(
            told(Anchors::new(&zero, &texts, Precision::F16)),
            "the image vector of row 0 has no direction"
        );
        let folder = tempfile::tempdir().unwrap();
        let rows = |tensor| TensorRows::new(tensor).unwrap();
        let (int8, at) = (Precision::Int8, folder.path());
        Anchors::create(at, int8, &mut rows(&images), &mut rows(&texts)).unwrap();
        let again = Anchors::create(at, int8, &mut rows(&images), &mut rows(&texts));
        assert!(told(again).ends_with("exists"));
        assert_eq!(
            told(Anchors::add(at, int8, &mut rows(&texts), &mut rows(&texts))),
            "image vectors have 2 values, those of the anchors 3"
        );
        assert_eq!(
            told(Anchors::delete(at, &[4])),
            "there is no anchor 4, there are 4, counted from 0"
        );

        // Every way to cut a file is told.
        let path = at.join("anchors-00000.safetensors");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(Anchors::open(at).is_err(), "{length}");
        }
        for index in [
            r#"{"schema":2,"segments":[]}"#,
            r#"{"schema":1,"segments":[]}"#,
            r#"{"schema":1,"segments":["../a"]}"#,
            "[]",
        ] {
            fs::write(at.join(INDEX), index).unwrap();
            assert!(Anchors::open(at).is_err(), "{index}");
        }
    }
}
