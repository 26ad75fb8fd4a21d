//! The crate `parquet` within bounds: what it reads of a damaged file is an error, and takes little memory.
//!
//! The crate believes what a file says of itself in places: it makes room for the values that a dictionary or a
//! list of lengths announces, and for a page's announced length, before it looks whether they are there. Room for
//! 2⁴⁰ values ends the process. So a file is read through [`File`], which
//!
//! - refuses a footer that would fill the stack ([`footer`]),
//! - compares the numbers of rows and values in the footer with each other and with the file's length,
//! - reads each page's header first, and has its numbers checked before the crate sees the page
//!   ([`pages::Pages`]),
//! - turns the crate's panics into errors ([`guarded`]).

mod footer;
mod header;
mod pages;
mod thrift;
mod value;

use std::io::Read;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::PageReader;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{
    ChunkReader, FileReader, Length, RowGroupReader, SerializedFileReader,
};
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use sightline_core::ReadAt;

use crate::Problem;
use crate::caught::caught;
use pages::Pages;
pub(crate) use value::value;

/// Most rows of a file, and values of a column, for each byte of it. Run-length encoding stores many in few
/// bytes, but not more than this.
const MAX_PER_BYTE: u64 = 64;

/// A file whose footer has been read and can be true.
pub(crate) struct File {
    read: SerializedFileReader<Source>,
    object: Arc<dyn ReadAt>,
    groups: Vec<Group>,
}

/// Where a row group is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// Rows of the file up to its end.
    pub(crate) end: u64,
    /// Offset of its first column.
    pub(crate) offset: u64,
}

impl File {
    /// Reads the footer of `object`, whose length is `len`.
    pub(crate) fn open(object: Arc<dyn ReadAt>, len: u64) -> Result<Self, Problem> {
        let source = Source {
            object: Arc::clone(&object),
            len,
        };
        let read = guarded(|| {
            footer::check(&*object, len).map_err(|error| {
                ParquetError::General(format!("the footer is malformed: {error}"))
            })?;
            SerializedFileReader::new(source)
        })?;
        let groups = groups(read.metadata(), len)?;
        Ok(Self {
            read,
            object,
            groups,
        })
    }

    /// The row groups in order.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }
}

impl FileReader for File {
    fn metadata(&self) -> &ParquetMetaData {
        self.read.metadata()
    }

    fn num_row_groups(&self) -> usize {
        self.read.num_row_groups()
    }

    fn get_row_group(&self, i: usize) -> ParquetResult<Box<dyn RowGroupReader + '_>> {
        Ok(Box::new(RowGroup {
            read: self.read.get_row_group(i)?,
            object: Arc::clone(&self.object),
        }))
    }

    fn get_row_iter(&self, projection: Option<Type>) -> ParquetResult<RowIter<'_>> {
        RowIter::from_file(projection, self)
    }
}

/// A row group whose pages are checked.
struct RowGroup<'a> {
    read: Box<dyn RowGroupReader + 'a>,
    object: Arc<dyn ReadAt>,
}

impl RowGroupReader for RowGroup<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.read.metadata()
    }

    fn num_columns(&self) -> usize {
        self.read.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> ParquetResult<Box<dyn PageReader>> {
        let read = self.read.get_column_page_reader(i)?;
        let column = self.metadata().column(i);
        Ok(Box::new(Pages::new(read, column, Arc::clone(&self.object))))
    }

    fn get_column_bloom_filter(&self, i: usize) -> Option<&Sbbf> {
        self.read.get_column_bloom_filter(i)
    }

    fn get_row_iter(&self, projection: Option<Type>) -> ParquetResult<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// Calls the crate, which gives errors for most damaged files and panics on some.
pub(crate) fn guarded<T>(call: impl FnOnce() -> ParquetResult<T>) -> Result<T, Problem> {
    match caught(call) {
        Ok(outcome) => outcome.map_err(Problem::Parquet),
        Err(words) => Err(Problem::Parquet(ParquetError::General(words))),
    }
}

/// The row groups, after checking that the numbers of rows can be true: the crate would make rows of nulls for
/// those that are not there.
fn groups(metadata: &ParquetMetaData, len: u64) -> Result<Vec<Group>, Problem> {
    let limit = len.saturating_mul(MAX_PER_BYTE);
    let within = |what, value| {
        let problem = Problem::Limit { what, value, limit };
        if value > limit { Err(problem) } else { Ok(()) }
    };
    let mut rows = 0u64;
    let mut groups = Vec::new();
    for group in metadata.row_groups() {
        let declared = u64::try_from(group.num_rows()).unwrap_or(u64::MAX);
        for column in group.columns() {
            let values = u64::try_from(column.num_values()).unwrap_or(u64::MAX);
            let is_list = column.column_descr().max_rep_level() > 0;
            if values < declared || (values > declared && !is_list) {
                let what = "a column has another number of values than its row group has rows";
                return Err(Problem::Parquet(ParquetError::General(what.to_owned())));
            }
            within("the number of values of a column", values)?;
        }
        rows = rows.saturating_add(declared);
        let offset = group.columns().first().map_or(0, |column| {
            let dictionary = column.dictionary_page_offset();
            dictionary.unwrap_or_else(|| column.data_page_offset())
        });
        let offset = u64::try_from(offset).unwrap_or(0);
        groups.push(Group { end: rows, offset });
    }
    within("the number of rows", rows)?;
    Ok(groups)
}

/// The object as the crate reads it.
struct Source {
    object: Arc<dyn ReadAt>,
    len: u64,
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Source {
    type T = Pieces;

    fn get_read(&self, start: u64) -> ParquetResult<Pieces> {
        Ok(Pieces::new(Arc::clone(&self.object), start, self.len))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start
            .checked_add(length as u64)
            .filter(|end| *end <= self.len);
        let Some(end) = end else {
            let message = format!("{length} bytes at {start} of {} are not there", self.len);
            return Err(ParquetError::EOF(message));
        };
        Ok(self.object.read_at(start..end)?)
    }
}

/// Reads an object from some offset on, in pieces that suit headers.
struct Pieces {
    object: Arc<dyn ReadAt>,
    at: u64,
    end: u64,
    piece: Bytes,
}

impl Pieces {
    /// Reads from `at` up to `end`, which is not beyond the object's end.
    fn new(object: Arc<dyn ReadAt>, at: u64, end: u64) -> Self {
        Self {
            object,
            at: at.min(end),
            end,
            piece: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() {
            let end = self.end.min(self.at.saturating_add(4096));
            self.piece = self.object.read_at(self.at..end)?;
            self.at = end;
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece[..n]);
        self.piece.advance(n);
        Ok(n)
    }
}
