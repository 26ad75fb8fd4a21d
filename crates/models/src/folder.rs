//! What families do alike with a checkpoint's folder.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sightline_core::ImageSpec;
use sightline_nn::Weights;

use crate::{CheckpointFile, Error, FileRole, ModelSpec, Result, TokenizerChoice};

/// The configuration's file.
pub(crate) const CONFIG: &str = "config.json";

/// Published configurations have a few kilobytes; those with thousands of label names reach a megabyte.
const LIMIT_BYTES: u64 = 16 << 20;

/// The JSON in the file at `path`.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    serde_json::from_slice(&read_limited(path)?).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}

/// The bytes of the configuration file at `path`.
pub(crate) fn read_limited(path: &Path) -> Result<Vec<u8>> {
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
    Ok(bytes)
}

/// The files that loading the model of `spec` from `folder` reads: configuration, weights, those of `tokenizer`
/// if it is the checkpoint's own.
pub(crate) fn files(
    spec: &ModelSpec,
    folder: &Path,
    tokenizer: impl FnOnce(&Path) -> sightline_text::Result<Vec<PathBuf>>,
) -> Result<Vec<CheckpointFile>> {
    let config = CheckpointFile {
        path: folder.join(CONFIG),
        role: FileRole::Config,
    };
    let others = weights_and_tokenizer(spec, folder, tokenizer)?;
    Ok([vec![config], others].concat())
}

/// As [`files`], for families whose configuration lies elsewhere.
pub(crate) fn weights_and_tokenizer(
    spec: &ModelSpec,
    folder: &Path,
    tokenizer: impl FnOnce(&Path) -> sightline_text::Result<Vec<PathBuf>>,
) -> Result<Vec<CheckpointFile>> {
    let weights = Weights::files(folder)?.into_iter();
    let mut files: Vec<_> = weights.map(|path| (path, FileRole::Weights)).collect();
    if spec.tokenizer == TokenizerChoice::Checkpoint {
        let paths = tokenizer(folder)?.into_iter();
        files.extend(paths.map(|path| (path, FileRole::Tokenizer)));
    }
    let file = |(path, role)| CheckpointFile { path, role };
    Ok(files.into_iter().map(file).collect())
}

/// Fails if `tokenizer` gives ids for which the token table has no row.
pub(crate) fn check_vocabulary(folder: &Path, tokenizer: usize, rows: usize) -> Result<()> {
    if tokenizer <= rows {
        return Ok(());
    }
    Err(Error::Vocabulary {
        folder: folder.to_owned(),
        tokenizer,
        model: rows,
    })
}

/// Fails if the preparation `spec`, of the file at `path`, makes other images than a tower takes, whose height and width
/// are `image_size`.
pub(crate) fn check_image_size(path: PathBuf, spec: &ImageSpec, image_size: usize) -> Result<()> {
    let (width, height) = (spec.size.width, spec.size.height);
    if (width as usize, height as usize) == (image_size, image_size) {
        return Ok(());
    }
    Err(Error::ImageSize {
        path,
        width,
        height,
        image_size,
    })
}

/// Takes the balance of `weights`: fails with every problem, warns of tensors that nobody asked for.
pub(crate) fn finish(weights: &Weights, folder: &Path) -> Result<()> {
    let unused = weights.finish()?;
    if !unused.is_empty() {
        tracing::warn!(
            folder = %folder.display(),
            count = unused.len(),
            names = unused.join(", "),
            "checkpoint holds tensors that the model does not use"
        );
    }
    Ok(())
}
