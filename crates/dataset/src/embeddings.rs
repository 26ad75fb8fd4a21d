//! Tables of embeddings: a Parquet file with a name and a vector in each row.
//!
//! Columns are one of text, called as the caller wants, and `embedding`, a list of 32-bit floats. Row groups have 4,096
//! rows, compressed with Snappy. Types are Parquet's own, without an Arrow schema beside them, as in the tables of
//! `fetch`.
//!
//! ```
//! use sightline_dataset::embeddings::EmbeddingTable;
//!
//! let mut table = EmbeddingTable::new(Vec::new(), "image")?;
//! table.push("a.jpg", &[0.6, 0.8])?;
//! let bytes = table.finish()?;
//! assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polars::prelude::*;

/// Rows of a row group: 12 MiB of vectors of 768 values.
const ROW_GROUP: usize = 4096;

/// Column of the vectors.
const EMBEDDING: &str = "embedding";

/// A table being written.
pub struct EmbeddingTable<W: Write + Send> {
    /// The writer of row groups keeps its sink for itself; this is the way back to it.
    sink: Shared<W>,
    writer: polars::io::parquet::write::BatchedWriter<Shared<W>>,
    name_column: String,
    names: Vec<String>,
    /// The vectors of all names, one behind the other.
    values: Vec<f32>,
    /// Where the vector of each name ends.
    ends: Vec<usize>,
}

impl<W: Write + Send> EmbeddingTable<W> {
    /// Begins a table whose names stand in the column `name_column`.
    pub fn new(sink: W, name_column: &str) -> io::Result<Self> {
        let sink = Shared(Arc::new(Mutex::new(sink)));
        let schema = Schema::from_iter([
            Field::new(name_column.into(), DataType::String),
            Field::new(
                EMBEDDING.into(),
                DataType::List(Box::new(DataType::Float32)),
            ),
        ]);
        let writer = ParquetWriter::new(sink.clone())
            .with_compression(ParquetCompression::Snappy)
            .set_parallel(false)
            .batched(&schema)
            .map_err(failed)?;
        Ok(Self {
            sink,
            writer,
            name_column: name_column.to_owned(),
            names: Vec::new(),
            values: Vec::new(),
            ends: Vec::new(),
        })
    }

    /// Adds a row.
    pub fn push(&mut self, name: &str, embedding: &[f32]) -> io::Result<()> {
        self.names.push(name.to_owned());
        self.values.extend_from_slice(embedding);
        self.ends.push(self.values.len());
        if self.names.len() == ROW_GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    /// Writes what is left and the end of the file, and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.names.is_empty() {
            self.write_group()?;
        }
        // No metadata: the writer would add an Arrow schema that makes readers see its own string types.
        let writer = self.writer.get_writer();
        let ended = writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .end(Some(Vec::new()));
        ended.map_err(failed)?;
        drop(self.writer);
        let sink = Arc::into_inner(self.sink.0);
        let sink = sink.map(|sink| sink.into_inner().unwrap_or_else(PoisonError::into_inner));
        sink.ok_or_else(|| io::Error::other("the table's file is still being written"))
    }

    fn write_group(&mut self) -> io::Result<()> {
        let mut vectors = ListPrimitiveChunkedBuilder::<Float32Type>::new(
            EMBEDDING.into(),
            self.ends.len(),
            self.values.len(),
            DataType::Float32,
        );
        let mut start = 0;
        for &end in &self.ends {
            vectors.append_slice(&self.values[start..end]);
            start = end;
        }
        let names = Column::new(
            self.name_column.as_str().into(),
            std::mem::take(&mut self.names),
        );
        let vectors = vectors.finish().into_series().into_column();
        let group = DataFrame::new_infer_height(vec![names, vectors]).map_err(failed)?;
        self.writer.write_batch(&group).map_err(failed)?;
        self.values.clear();
        self.ends.clear();
        Ok(())
    }
}

/// A sink with two owners, one of which only gives it back.
struct Shared<W>(Arc<Mutex<W>>);

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, W> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> Write for Shared<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

fn failed(error: PolarsError) -> io::Error {
    match error {
        PolarsError::IO { error, .. } => io::Error::new(error.kind(), error.to_string()),
        error => io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_comes_back_across_row_groups() {
        let mut table = EmbeddingTable::new(Vec::new(), "text").unwrap();
        let rows = ROW_GROUP + 3;
        for row in 0..rows {
            let value = row as f32;
            table
                .push(&format!("text {row}"), &[value, -value])
                .unwrap();
        }
        let bytes = table.finish().unwrap();
        let read = ParquetReader::new(io::Cursor::new(bytes)).finish().unwrap();
        assert_eq!(read.get_column_names(), ["text", EMBEDDING]);
        assert_eq!(read.height(), rows);
        let last = read.column(EMBEDDING).unwrap().list().unwrap();
        let last = last.get_as_series(rows - 1).unwrap();
        let value = (rows - 1) as f32;
        assert_eq!(last.f32().unwrap().to_vec(), [Some(value), Some(-value)]);
    }

    #[test]
    fn a_table_without_rows_is_a_table() {
        let bytes = EmbeddingTable::new(Vec::new(), "image")
            .unwrap()
            .finish()
            .unwrap();
        let read = ParquetReader::new(io::Cursor::new(bytes)).finish().unwrap();
        assert_eq!((read.height(), read.width()), (0, 2));
    }
}
