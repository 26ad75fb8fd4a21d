//! The files that `sightline score` reads.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sightline_core::Digest;
use sightline_harness::captions::{
    CaptionColumns, CaptionError, Captions, Found, Paired, find, pair, read_predictions,
    read_references,
};

use super::ScoreArgs;
use crate::command::exits;
use crate::exit::Failure;

/// A file that was read.
#[derive(Debug, Serialize)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// Of the bytes that were read.
    pub(crate) sha256: Digest,
}

impl Source {
    pub(super) fn new(path: &Path, sha256: Digest) -> Self {
        Self {
            path: path.to_owned(),
            sha256,
        }
    }
}

/// Everything that was read, image by image.
pub(super) struct Files {
    pub(super) paired: Paired,
    pub(super) references: Source,
    pub(super) predictions: Source,
    pub(super) baseline: Option<Source>,
}

/// Reads references, predictions and baseline side by side.
pub(super) fn read(args: &ScoreArgs) -> Result<Files, Failure> {
    let own = columns(&args.id_col, &args.caption_col);
    let theirs = columns(
        args.references_id_col.as_ref().unwrap_or(&args.id_col),
        args.references_caption_col
            .as_ref()
            .unwrap_or(&args.caption_col),
    );
    let split = args.split.as_deref();
    let (references, (predictions, baseline)) = rayon::join(
        || references(&args.references, &theirs, split, args.partial),
        || {
            rayon::join(
                || predictions(&args.predictions, &own),
                || args.baseline.as_deref().map(|path| predictions(path, &own)),
            )
        },
    );
    let (references, references_digest) = references?;
    let (predictions, predictions_digest) = predictions?;
    let baseline = baseline.transpose()?;

    let found = found(args, &references, &args.predictions, &predictions)?;
    let other = match (&args.baseline, &baseline) {
        (Some(path), Some((captions, _))) => Some(self::found(args, &references, path, captions)?),
        _ => None,
    };
    let paired = pair(references, &found, other.as_ref())
        .map_err(|error| together(args, args.baseline.as_deref(), &error))?;
    let baseline = args.baseline.as_deref().zip(baseline);
    Ok(Files {
        paired,
        references: Source::new(&args.references, references_digest),
        predictions: Source::new(&args.predictions, predictions_digest),
        baseline: baseline.map(|(path, (_, digest))| Source::new(path, digest)),
    })
}

/// What the columns of a table are called.
pub(crate) fn columns(id: &str, caption: &str) -> CaptionColumns {
    CaptionColumns {
        id: id.to_owned(),
        caption: caption.to_owned(),
    }
}

/// Reads what people wrote.
pub(crate) fn references(
    path: &Path,
    columns: &CaptionColumns,
    split: Option<&str>,
    is_partial: bool,
) -> Result<(Captions, Digest), Failure> {
    read_references(path, columns, split, is_partial)
        .map_err(|error| Failure::new(exits::harness(&error), "reading references", &error))
}

fn predictions(path: &Path, columns: &CaptionColumns) -> Result<(Captions, Digest), Failure> {
    read_predictions(path, columns)
        .map_err(|error| Failure::new(exits::harness(&error), "reading predictions", &error))
}

fn found<'a>(
    args: &ScoreArgs,
    references: &Captions,
    path: &Path,
    predictions: &'a Captions,
) -> Result<Found<'a>, Failure> {
    find(references, predictions, args.partial).map_err(|error| together(args, Some(path), &error))
}

/// Captions of the references and of `path`, or else of the predictions, that do not belong together.
fn together(args: &ScoreArgs, path: Option<&Path>, error: &CaptionError) -> Failure {
    let doing = format!(
        "bringing together `{}` and `{}`",
        args.references.display(),
        path.unwrap_or(&args.predictions).display()
    );
    Failure::new(exits::captions(error), doing, error)
}
