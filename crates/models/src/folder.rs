//! Configuration files of a checkpoint's folder.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// Published configurations have a few kilobytes; those with thousands of label names reach a megabyte.
const LIMIT_BYTES: u64 = 16 << 20;

/// The JSON in the file at `path`.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            limit_bytes: LIMIT_BYTES,
        });
    }
    serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}
