//! Columns of finished status tables, read back.
//!
//! A folder may hold tables of another program or damaged ones, so the reader is the one that only ends in errors.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sightline_core::ObjectSource;
use sightline_shard::columns::Table;
use sightline_store::Folder;

use crate::error::{Error, Result};

/// Names of the status tables in `folder`, in order; an error where there is none.
pub(crate) fn tables_of(folder: &Folder) -> Result<Vec<String>> {
    let mut tables = folder.names()?;
    tables.retain(|name| {
        name.strip_suffix(".parquet")
            .is_some_and(|id| !id.is_empty())
    });
    tables.sort();
    if tables.is_empty() {
        return Err(Error::NoShards {
            path: folder.root().to_owned(),
        });
    }
    Ok(tables)
}

/// A status table whose footer has been read.
pub(crate) struct StatusColumns {
    path: PathBuf,
    table: Table,
}

impl StatusColumns {
    /// Opens the table `name` of `folder`.
    pub(crate) fn open(folder: &Folder, name: &str) -> Result<Self> {
        let path = folder.shown(name);
        let object = folder.object(name).map_err(Error::output("read", &path))?;
        let table = Table::open(object).map_err(failed(&path))?;
        Ok(Self { path, table })
    }

    /// Hands over every row's values of some columns, in order; what is not in the table is null.
    pub(crate) fn values(&self, names: &[&str], each: &mut dyn FnMut(&[Value])) -> Result<()> {
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            if self.table.kind(name).is_none() {
                return Err(failed(&self.path)(Missing(name)));
            }
            columns.push(self.table.values(name).map_err(failed(&self.path))?);
        }
        loop {
            let mut row = Vec::with_capacity(columns.len());
            for column in &mut columns {
                match column.next() {
                    Some(value) => {
                        let value: Option<Value> = value.map_err(failed(&self.path))?;
                        row.push(value.unwrap_or(Value::Null));
                    }
                    None => break,
                }
            }
            if row.len() < names.len() {
                return Ok(());
            }
            each(&row);
        }
    }

    /// The same of columns of texts.
    pub(crate) fn rows(&self, names: &[&str], each: &mut dyn FnMut(&[Option<&str>])) -> Result<()> {
        self.values(names, &mut |row| {
            let texts: Vec<Option<&str>> = row.iter().map(Value::as_str).collect();
            each(&texts);
        })
    }
}

/// A column that is not there.
#[derive(Debug, thiserror::Error)]
#[error("it has no column `{0}`")]
struct Missing<'a>(&'a str);

fn failed<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> Error {
    let path = path.to_owned();
    move |problem| Error::ReadStatusTable {
        path: path.clone(),
        problem: problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert!(matches!(tables_of(&folder), Err(Error::NoShards { .. })));
        let name = "00000.parquet";
        folder.write(name, b"PAR1 and nothing more").unwrap();
        assert_eq!(tables_of(&folder).unwrap(), [name]);
        let error = StatusColumns::open(&folder, name).err().unwrap();
        let error = error.to_string();
        assert!(error.contains("00000.parquet` cannot be read: "), "{error}");
    }
}
