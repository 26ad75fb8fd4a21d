//! The status table of a shard: one Parquet row for each row of the input, in its order.
//!
//! Columns are the input columns, then `key`, `status`, `error_message` (text), `width`, `height`,
//! `original_width`, `original_height` (32-bit integers), `exif` (JSON as text) and the digest, the last two if
//! they are recorded, and where images are compared `phash` and `duplicate_of` (text). With `--output-format parquet` the table is the shard: its last column holds the images, called by their extension,
//! null for failures; a shard's images are then in memory until it is written. Row groups have 100 rows,
//! compressed with Snappy. Types are Parquet's own, without an Arrow schema beside them, so that every reader
//! sees plain strings and lists, as in img2dataset's files.

use std::io::{self, Write};
use std::sync::PoisonError;

use bytes::Bytes;
use polars::prelude::*;
use sightline_core::digest::Hasher;
use sightline_core::{Metadata, ObjectWriter, SampleKey};
use sightline_store::{FileDigest, Folder};

use crate::dedup::{DUPLICATE_OF, PHASH};
use crate::error::{Error, Result};
use crate::layout::Images;
use crate::process::Outcome;
use crate::spec::{FetchSpec, HashKind};

/// Rows of a row group.
const ROW_GROUP: usize = 100;

/// Collects the columns that we add.
#[derive(Debug)]
pub(crate) struct StatusTable {
    extract_exif: bool,
    hash: Option<HashKind>,
    keys: Vec<String>,
    statuses: Vec<&'static str>,
    messages: Vec<Option<String>>,
    /// Width, height, original width, original height.
    sizes: [Vec<Option<i32>>; 4],
    exifs: Vec<Option<String>>,
    digests: Vec<Option<String>>,
    /// Perceptual hashes, where they are wanted.
    phashes: Option<Vec<Option<String>>>,
    /// Keys of the rows that hold the image, where images are compared.
    duplicates: Option<Vec<Option<String>>>,
    /// The images and the name of their column, where the table is the shard.
    images: Option<(&'static str, Vec<Option<Bytes>>)>,
}

const SIZES: [&str; 4] = ["width", "height", "original_width", "original_height"];
/// Column of the EXIF.
pub(crate) const EXIF: &str = "exif";

impl StatusTable {
    pub(crate) fn new(rows: usize, spec: &FetchSpec) -> Self {
        Self {
            extract_exif: spec.extract_exif,
            hash: spec.compute_hash,
            keys: Vec::with_capacity(rows),
            statuses: Vec::with_capacity(rows),
            messages: Vec::with_capacity(rows),
            sizes: std::array::from_fn(|_| Vec::with_capacity(rows)),
            exifs: Vec::with_capacity(rows),
            digests: Vec::with_capacity(rows),
            phashes: spec.dedup.needs_looks().then(Vec::new),
            duplicates: spec.dedup.is_wanted().then(Vec::new),
            images: spec
                .layout()
                .is_ok_and(|layout| matches!(layout.images, Images::Table))
                .then(|| (spec.encode.format.extension(), Vec::with_capacity(rows))),
        }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, key: &SampleKey, outcome: &Outcome) {
        self.push_text(key.to_string(), outcome);
    }

    fn push_text(&mut self, key: String, outcome: &Outcome) {
        let done = outcome.done.as_ref();
        self.keys.push(key);
        self.statuses.push(outcome.status.as_str());
        self.messages.push(outcome.message.clone());
        for (at, column) in self.sizes.iter_mut().enumerate() {
            column.push(done.and_then(|done| done.sizes).map(|sizes| sizes[at]));
        }
        self.exifs.push(done.and_then(|done| done.exif.clone()));
        self.digests.push(done.and_then(|done| done.digest.clone()));
        if let Some(phashes) = &mut self.phashes {
            phashes.push(
                done.and_then(|done| done.phash)
                    .map(|phash| phash.to_string()),
            );
        }
        if let Some(duplicates) = &mut self.duplicates {
            duplicates.push(outcome.duplicate_of.clone());
        }
        if let Some((_, images)) = &mut self.images {
            images.push(done.map(|done| done.image.bytes.clone()));
        }
    }

    /// Gives the last row another outcome.
    pub(crate) fn replace_last(&mut self, outcome: &Outcome) {
        let Some(key) = self.keys.pop() else { return };
        self.statuses.pop();
        self.messages.pop();
        self.exifs.pop();
        self.digests.pop();
        for column in [&mut self.phashes, &mut self.duplicates]
            .into_iter()
            .flatten()
        {
            column.pop();
        }
        if let Some((_, images)) = &mut self.images {
            images.pop();
        }
        for column in &mut self.sizes {
            column.pop();
        }
        self.push_text(key, outcome);
    }

    /// Adds what the table says of its last row to a sample's metadata.
    pub(crate) fn describe_last(&self, meta: &mut Metadata) {
        let Some(last) = self.keys.len().checked_sub(1) else {
            return;
        };
        meta.insert("key".to_owned(), self.keys[last].as_str().into());
        meta.insert("status".to_owned(), self.statuses[last].into());
        meta.insert(
            "error_message".to_owned(),
            self.messages[last].clone().into(),
        );
        for (name, column) in SIZES.iter().zip(&self.sizes) {
            meta.insert((*name).to_owned(), column[last].into());
        }
        if self.extract_exif {
            meta.insert(EXIF.to_owned(), self.exifs[last].clone().into());
        }
        if let Some(hash) = self.hash {
            meta.insert(hash.as_str().to_owned(), self.digests[last].clone().into());
        }
        if let Some(phashes) = &self.phashes {
            meta.insert(PHASH.to_owned(), phashes[last].clone().into());
        }
    }

    /// Writes the table beside the input columns in `frame` as the object `name` of `folder`; returns its length and digest.
    pub(crate) fn write(
        self,
        frame: &DataFrame,
        folder: &Folder,
        name: &str,
    ) -> Result<FileDigest> {
        let path = folder.shown(name);
        let failed = |e: PolarsError| match e {
            PolarsError::IO { error, .. } => {
                let source = io::Error::new(error.kind(), error.to_string());
                Error::output("write", &path)(source)
            }
            e => Error::StatusTable {
                path: path.clone(),
                problem: e.to_string(),
            },
        };
        let mut columns = frame.columns().to_vec();
        columns.push(Column::new("key".into(), self.keys));
        columns.push(Column::new("status".into(), self.statuses));
        columns.push(Column::new("error_message".into(), self.messages));
        for (name, column) in SIZES.iter().zip(self.sizes) {
            columns.push(Column::new((*name).into(), column));
        }
        if self.extract_exif {
            columns.push(Column::new(EXIF.into(), self.exifs));
        }
        if let Some(hash) = self.hash {
            columns.push(Column::new(hash.as_str().into(), self.digests));
        }
        for (name, column) in [(PHASH, self.phashes), (DUPLICATE_OF, self.duplicates)] {
            columns.extend(column.map(|column| Column::new(name.into(), column)));
        }
        let table = DataFrame::new_infer_height(columns).map_err(failed)?;
        let mut file = Hashed {
            writer: folder.begin(name)?,
            hasher: Hasher::new(),
            len_bytes: 0,
            error: None,
        };
        let images = self
            .images
            .as_ref()
            .map(|(name, images)| (*name, &images[..]));
        let written = write_parquet(&table, images, &mut file);
        // The writer of Parquet keeps no causes, only words.
        if let Some(source) = file.error.take() {
            return Err(Error::output("write", &path)(source));
        }
        written.map_err(failed)?;
        file.writer
            .commit()
            .map_err(Error::output("write", &path))?;
        Ok(FileDigest {
            len_bytes: file.len_bytes,
            sha256: file.hasher.finish(),
        })
    }
}

/// Knows the length and the digest of what is written through it, and why that failed.
struct Hashed {
    writer: Box<dyn ObjectWriter>,
    hasher: Hasher,
    len_bytes: u64,
    error: Option<io::Error>,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.writer.write(bytes) {
            Ok(n) => {
                self.hasher.update(&bytes[..n]);
                self.len_bytes += n as u64;
                Ok(n)
            }
            Err(error) => {
                let shown = io::Error::new(error.kind(), error.to_string());
                self.error.get_or_insert(error);
                Err(shown)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Name and values of the column of images.
type ImageColumn<'a> = (&'static str, &'a [Option<Bytes>]);

/// The rows from `start` on that are a row group, with their images.
fn row_group(
    table: &DataFrame,
    images: Option<ImageColumn<'_>>,
    start: usize,
) -> PolarsResult<DataFrame> {
    let mut group = table.slice(start as i64, ROW_GROUP);
    if let Some((name, images)) = images {
        let some = images.iter().skip(start).take(group.height());
        let some = BinaryChunked::from_iter_options(name.into(), some.map(Option::as_ref));
        group.with_column(some.into_column())?;
    }
    // Each chunk becomes a row group.
    group.rechunk_mut();
    Ok(group)
}

fn write_parquet(
    table: &DataFrame,
    images: Option<ImageColumn<'_>>,
    file: &mut Hashed,
) -> PolarsResult<()> {
    let first = row_group(table, images, 0)?;
    let mut writer = ParquetWriter::new(&mut *file)
        .with_compression(ParquetCompression::Snappy)
        .set_parallel(false)
        .batched(first.schema())?;
    for start in (0..table.height()).step_by(ROW_GROUP) {
        writer.write_batch(&row_group(table, images, start)?)?;
    }
    // No metadata: the writer would add an Arrow schema that makes readers see its own string types.
    let mut inner = writer
        .get_writer()
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    inner.end(Some(Vec::new()))?;
    drop(inner);
    drop(writer);
    Ok(file.flush()?)
}
