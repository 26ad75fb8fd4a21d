//! Tables of one URL a line.

use std::io::{BufRead, Read};

use polars::prelude::*;

use super::diagnose::unreadable;
use super::files::InputFile;
use super::plain::open;
use super::problem::TableProblem;
use super::reader::TableReader;
use crate::error::{Error, Result};

/// Longest line of a txt table; what comes after it on the line is dropped, and the row fails as the
/// URL that it then is.
const MAX_LINE: u64 = 1 << 20;

impl TableReader {
    pub(super) fn read_txt(
        &self,
        file: &InputFile,
        each: &mut dyn FnMut(DataFrame) -> Result<bool>,
    ) -> Result<()> {
        if let Some(column) = self.asked().find(|column| **column != self.columns.url) {
            return Err(Error::MissingColumn {
                path: file.path.clone(),
                column: column.clone(),
                found: vec!["url".to_owned()],
            });
        }
        let mut source = open(file)?;
        let mut urls: Vec<String> = Vec::new();
        let mut send = |urls: &mut Vec<String>| {
            let column = Column::new("url".into(), std::mem::take(urls));
            let frame = DataFrame::new_infer_height(vec![column]);
            each(frame.map_err(|e| TableProblem::Other(e.to_string()).of(file))?)
        };
        let mut is_first = true;
        while let Some(line) = read_line(&mut *source).map_err(|e| unreadable(file, e))? {
            let mut line = line.as_slice();
            if std::mem::take(&mut is_first) {
                line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            }
            if line.is_empty() {
                continue;
            }
            urls.push(String::from_utf8_lossy(line).into_owned());
            if urls.len() == self.batch_rows() && !send(&mut urls)? {
                return Ok(());
            }
        }
        if !urls.is_empty() {
            send(&mut urls)?;
        }
        Ok(())
    }
}

/// Rows of a table, `None` where it cannot be read.
pub(super) fn count(file: &InputFile) -> Option<u64> {
    let mut source = open(file).ok()?;
    let mut rows = 0;
    while let Some(line) = read_line(&mut *source).ok()? {
        rows += u64::from(!line.is_empty());
    }
    Some(rows)
}

/// The next line without its end, or `None` after the last.
fn read_line(source: &mut dyn BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if source.take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else {
        source.skip_until(b'\n')?;
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}
