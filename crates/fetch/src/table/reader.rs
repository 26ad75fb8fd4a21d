//! Rows of a file, one shard's worth at a time.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;

use polars::prelude::*;
use sightline_store::Stores;

use super::diagnose::Refusal;
use super::engine::{batches, guard, scan};
use super::files::{InputFile, InputFormat};
use super::parquet;
use super::plain::Plain;
use super::problem::TableProblem;
use super::scratch::Scratch;
use super::select::Columns;
use super::txt;
use super::types::storable;
use crate::error::{Error, Result};

/// Reads the files of a table.
#[derive(Debug)]
pub(crate) struct TableReader {
    pub(super) columns: Columns,
    rows: NonZeroUsize,
    scratch: Scratch,
    stores: Stores,
}

/// A file that is on this machine; a download is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Brought {
    file: InputFile,
    is_download: bool,
}

impl Brought {
    /// The file.
    pub(crate) fn file(&self) -> &InputFile {
        &self.file
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        if self.is_download
            && let Some(path) = &self.file.local
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl TableReader {
    /// A reader of batches of `rows` rows, with room for downloaded and rewritten tables in `scratch`.
    pub(crate) fn new(
        columns: Columns,
        rows: NonZeroUsize,
        scratch: Scratch,
        stores: &Stores,
    ) -> Self {
        Self {
            columns,
            rows,
            scratch,
            stores: stores.clone(),
        }
    }

    /// Downloads `file` where it is in an object store; `None` when `is_stopped` before it is there.
    pub(crate) fn bring(
        &self,
        file: &InputFile,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Brought>> {
        let mut brought = Brought {
            file: file.clone(),
            is_download: false,
        };
        let Some(origin) = file.origin.as_ref().filter(|_| file.local.is_none()) else {
            return Ok(Some(brought));
        };
        let failed = |error| Error::read_from(&file.path)(error);
        let (folder, name) = self.stores.object(origin).map_err(failed)?;
        let path = Plain::download(self.scratch.path());
        brought.file.local = Some(path.clone());
        brought.is_download = true;
        let Some(found) = folder.download(&name, &path, is_stopped).map_err(failed)? else {
            return Ok(None);
        };
        let expected = file.expected.is_none_or(|(len_bytes, sha256)| {
            (len_bytes, sha256) == (found.len_bytes, found.sha256)
        });
        if !expected {
            return Err(Error::OtherTable {
                path: file.path.clone(),
            });
        }
        Ok(Some(brought))
    }

    /// Removes what killed runs left in the folder `scratch`, which no other process may be using.
    pub(crate) fn clean(scratch: &Path) -> Result<()> {
        Plain::clean(scratch)
    }

    /// Hands over the rows of `file` in order, in batches of exactly the wanted size but for the last,
    /// until `each` says to stop (`false`). Columns have the names of the status table. Long work before
    /// the first batch ends early, without any batch, when `is_stopped`.
    pub(crate) fn read(
        &self,
        file: &InputFile,
        is_stopped: &dyn Fn() -> bool,
        each: &mut dyn FnMut(DataFrame) -> Result<bool>,
    ) -> Result<()> {
        let Some(brought) = self.bring(file, is_stopped)? else {
            return Ok(());
        };
        let file = brought.file();
        if file.format == InputFormat::Txt {
            return self.read_txt(file, each);
        }
        let Some(plain) = Plain::of(file, self.scratch.path(), is_stopped)? else {
            return Ok(());
        };
        let refused = |refusal: Refusal| refusal.explain(file, &plain);
        let opened = File::open(&plain.path).map_err(Error::read_table(&file.path))?;
        if opened.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            if plain.format == InputFormat::Jsonl {
                return Ok(()); // no lines, no rows
            }
            return Err(match plain.format {
                InputFormat::Parquet => {
                    TableProblem::DamagedParquet("the file is empty".to_owned())
                }
                _ => TableProblem::Empty,
            }
            .of(file));
        }
        if plain.format == InputFormat::Parquet {
            let mut next = |row| Ok((!is_stopped()).then_some(row));
            return self.read_parquet(file, &plain, &mut next, &mut |_, frame| each(frame));
        }
        // Without the columns that nobody asked for, lines with too many fields would go unnoticed.
        let lazy = guard(|| scan(&plain)).map_err(refused)?;
        let mut lazy = lazy.with_projection_pushdown(false);
        let schema = guard(|| lazy.collect_schema()).map_err(refused)?;
        let is_text = matches!(plain.format, InputFormat::Csv | InputFormat::Tsv);
        let selection = if is_text {
            self.check_columns(file, &schema)?;
            let types = self.text_types(&lazy, &refused, is_stopped)?;
            if is_stopped() {
                return Ok(());
            }
            self.selection(true, |column| types.get(column).cloned())
        } else {
            self.check_columns(file, &schema)?;
            self.check_types(file, &schema)?;
            self.selection(false, |column| schema.get(column).map(storable))
        };
        batches(lazy.select(selection), self.rows, &refused, each)
    }

    /// Hands over batches of a file whose rows can be read without those before them ([`InputFile::can_seek`]), each with the
    /// number of its first row, until `each` says to stop. `next` is asked where the next one begins, at or behind a row.
    pub(crate) fn read_wanted(
        &self,
        file: &InputFile,
        next: &mut dyn FnMut(u64) -> Result<Option<u64>>,
        each: &mut dyn FnMut(u64, DataFrame) -> Result<bool>,
    ) -> Result<()> {
        let Some(plain) = Plain::of(file, self.scratch.path(), &|| false)? else {
            return Ok(());
        };
        self.read_parquet(file, &plain, next, each)
    }

    /// Rows of all `files`, as far as that is known without reading them at length: Parquet files say
    /// it, and other plain files are counted when together they are small.
    pub(crate) fn count(&self, files: &[InputFile]) -> Option<u64> {
        const SMALL: u64 = 64 << 20;
        let mut read = 0;
        let mut rows = 0;
        for file in files {
            if file.gzip || file.format == InputFormat::Json || file.origin.is_some() {
                return None;
            }
            if file.format != InputFormat::Parquet {
                read += std::fs::metadata(&file.path).ok()?.len();
                if read > SMALL {
                    return None;
                }
            }
            rows += count_rows(file, self.scratch.path())?;
        }
        Some(rows)
    }

    /// Rows of a batch.
    pub(super) fn batch_rows(&self) -> usize {
        self.rows.get()
    }
}

/// Rows of a plain file, `None` where it cannot be read.
fn count_rows(file: &InputFile, scratch: &Path) -> Option<u64> {
    match file.format {
        InputFormat::Txt => txt::count(file),
        InputFormat::Parquet => {
            let plain = Plain::of(file, scratch, &|| false).ok()??;
            Some(parquet::open(file, &plain).ok()?.rows())
        }
        _ => {
            let plain = Plain::of(file, scratch, &|| false).ok()??;
            let mut rows = 0;
            let batch = NonZeroUsize::new(1 << 16)?;
            let lazy = guard(|| scan(&plain)).ok()?;
            let refused = |refusal: Refusal| refusal.explain(file, &plain);
            batches(lazy, batch, &refused, &mut |frame| {
                rows += frame.height() as u64;
                Ok(true)
            })
            .ok()?;
            Some(rows)
        }
    }
}
