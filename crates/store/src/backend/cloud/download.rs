//! An object of a store as a local file.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use object_store::{ObjectStoreExt, Result as StoreResult};
use sightline_core::Digest;
use sightline_core::digest::Hasher;
use sightline_core::io::Sequential;

use super::Object;
use super::read::CloudAt;
use crate::error::RemoteProblem;
use crate::{Error, FileDigest, Result};

/// Copies `object` into the file `to`, in bounded memory; `None` when `is_stopped` before it is there.
pub(super) fn download(
    object: &Object,
    to: &Path,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<FileDigest>> {
    let Some(meta) = object.meta()? else {
        return Err(object.refused("open", RemoteProblem::NotFound));
    };
    let file = File::create(to).map_err(Error::file("create", to))?;
    let source = CloudAt::new(object.clone(), meta);
    match in_pieces(source, &file, to, is_stopped) {
        Err(Error::Remote {
            problem: RemoteProblem::NoRanges,
            ..
        }) => whole(object, file, to).map(Some),
        outcome => outcome,
    }
}

fn in_pieces(
    source: CloudAt,
    mut file: &File,
    to: &Path,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<FileDigest>> {
    let mut hasher = Hasher::new();
    let mut len_bytes = 0;
    let failed = |error| Error::from_io("read", to, error);
    let mut source = Sequential::new(Arc::new(source)).map_err(failed)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        if is_stopped() {
            return Ok(None);
        }
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(&buffer[..n]);
                file.write_all(&buffer[..n])
                    .map_err(Error::file("write", to))?;
                len_bytes += n as u64;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Some(FileDigest {
        len_bytes,
        sha256: hasher.finish(),
    }))
}

/// With one request, from servers that do not give parts of files; after a failure from the beginning.
fn whole(object: &Object, file: File, to: &Path) -> Result<FileDigest> {
    let target = Arc::new(Mutex::new(file));
    let outcome = object.run("read", move |store, key| {
        let target = Arc::clone(&target);
        async move {
            let mut chunks = store.get(&key).await?.into_stream();
            if let Err(error) = rewind(&target) {
                return Ok(Err(error));
            }
            while let Some(chunk) = chunks.next().await {
                // Writing to a file blocks, but nothing else waits for this thread: a table is read by one.
                if let Err(error) = append(&target, &chunk?) {
                    return Ok(Err(error));
                }
            }
            StoreResult::Ok(io::Result::Ok(()))
        }
    })?;
    outcome.map_err(Error::file("write", to))?;
    let file = File::open(to).map_err(Error::file("open", to))?;
    let (sha256, len_bytes) = Digest::of_reader(file).map_err(Error::file("read", to))?;
    Ok(FileDigest { len_bytes, sha256 })
}

fn rewind(target: &Mutex<File>) -> io::Result<()> {
    let mut file = target.lock().unwrap_or_else(PoisonError::into_inner);
    file.rewind()?;
    file.set_len(0)
}

fn append(target: &Mutex<File>, chunk: &Bytes) -> io::Result<()> {
    let mut file = target.lock().unwrap_or_else(PoisonError::into_inner);
    file.write_all(chunk)
}
