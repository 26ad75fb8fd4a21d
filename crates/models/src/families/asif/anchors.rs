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
//! Segments are mapped, not read: each thread of a search holds one block of rows as whole numbers at a time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use sightline_store::{AtomicFile, Mapped, write_atomic};

use super::relative::Near;
use super::search;
use super::segment::{Bytes, Precision, Segment, Side, to_unit_length, write_segment};
use super::vectors::{Rows, TensorRows};
use crate::check::Check;
use crate::folder::read_limited;
use crate::{CheckpointFile, Error, FileRole, Result};

/// The list of segments.
pub const INDEX: &str = "anchors.json";
/// Version of [`INDEX`].
const SCHEMA: u32 = 1;

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
    /// any but 0. Of equal cosines the lower number comes first. The answer to a vector has the same bits in any batch and
    /// with any number of threads. Beside the results each thread holds one block of anchors.
    pub fn nearest(&self, side: Side, vectors: &Tensor, k: usize) -> Result<Vec<Vec<Near>>> {
        let (_, width) = vectors.dims2()?;
        check_width(side, width, self.width(side))?;
        let mut queries = vectors.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        for (row, query) in queries.chunks_exact_mut(width).enumerate() {
            to_unit_length(side, row, query)?;
        }
        let segments = self.segments.iter();
        let parts: Vec<_> = segments.map(|s| (s.values(side), s.rows)).collect();
        Ok(search::nearest(
            &parts,
            &self.deleted,
            &queries,
            k.min(self.live()),
        ))
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

#[cfg(test)]
mod tests {
    use candle_core::Device;
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

    /// One vector is compared with all anchors as they are, many by way of whole numbers; bits and threads differ by nothing.
    #[test]
    fn an_answer_is_the_same_alone_in_a_batch_and_on_any_number_of_threads() {
        for (precision, width) in [
            (Precision::F32, 64),
            (Precision::F16, 37),
            (Precision::Int8, 37),
        ] {
            let (images, texts) = (random(1700, width, "image"), random(1700, 2, "text"));
            let queries = random(40, width, "query");
            let mut anchors = Anchors::new(&images, &texts, precision).unwrap();
            anchors.remove(&[3, 1699]).unwrap();
            let pools = [1, 3].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                pool.build().unwrap()
            });
            let [together, again] = pools
                .map(|pool| pool.install(|| anchors.nearest(Side::Image, &queries, 9).unwrap()));
            assert_eq!(together, again);
            for (row, found) in together.iter().enumerate() {
                let query = queries.narrow(0, row, 1).unwrap();
                let alone = anchors.nearest(Side::Image, &query, 9).unwrap();
                assert_eq!(&alone[0], found);
                let next = anchors
                    .nearest(Side::Image, &query, 1698)
                    .unwrap()
                    .remove(0);
                assert_eq!(next[..9], found[..]);
                assert!(next.is_sorted_by(|a, b| a.cosine >= b.cosine));
            }
        }
    }

    /// More of them within the margin of whole numbers than are kept until they are settled.
    #[test]
    fn of_equal_anchors_the_lowest_numbers_are_nearest() {
        let one = random(1, 6, "image");
        let images = one.broadcast_as((3000, 6)).unwrap().contiguous().unwrap();
        for precision in [Precision::F32, Precision::F16, Precision::Int8] {
            let anchors = Anchors::new(&images, &images, precision).unwrap();
            for queries in [1, 5] {
                let queries = images.narrow(0, 0, queries).unwrap();
                for found in anchors.nearest(Side::Text, &queries, 3).unwrap() {
                    let numbers: Vec<usize> = found.iter().map(|near| near.anchor).collect();
                    assert_eq!(numbers, [0, 1, 2]);
                }
            }
        }
    }

    #[test]
    fn cosines_are_those_of_double_precision() {
        let (images, texts) = (random(300, 512, "image"), random(300, 2, "text"));
        let queries = random(5, 512, "query");
        let anchors = Anchors::new(&images, &texts, Precision::F32).unwrap();
        let rows = |tensor: &Tensor| tensor.to_vec2::<f32>().unwrap();
        let dot = |a: &[f32], b: &[f32]| {
            let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
            products.sum::<f64>()
        };
        let found = anchors.nearest(Side::Image, &queries, 300).unwrap();
        let images = rows(&images);
        for (query, found) in rows(&queries).iter().zip(found) {
            for near in found {
                let image = &images[near.anchor];
                let cosine = dot(query, image) / (dot(query, query) * dot(image, image)).sqrt();
                assert!((f64::from(near.cosine) - cosine).abs() < 5e-7);
            }
        }
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
