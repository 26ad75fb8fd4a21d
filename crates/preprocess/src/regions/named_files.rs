//! Folders with one file an image.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Place, Problem, RegionLimits, RegionsError};

/// Folders inside folders.
const DEPTH_LIMIT: usize = 32;

/// A file that is an image's, or every file of the folder whose name ends with `extension` and that `is_wanted`,
/// sorted by path; with the ids, which are the paths below the folder without extension.
pub(super) fn list(
    path: &Path,
    extension: &str,
    is_wanted: fn(&Path) -> bool,
    limits: &RegionLimits,
) -> Result<(Vec<Box<str>>, Vec<PathBuf>), RegionsError> {
    let failed = |problem: Problem| problem.of(path, Place::default());
    let meta = fs::metadata(path).map_err(|e| failed(e.into()))?;
    let mut files = Vec::new();
    let root = if meta.is_dir() {
        collect(path, extension, is_wanted, limits, DEPTH_LIMIT, &mut files).map_err(failed)?;
        files.sort();
        path
    } else {
        files.push(path.to_owned());
        path.parent().unwrap_or(Path::new(""))
    };
    let id = |file: &PathBuf| {
        let relative = file.strip_prefix(root).unwrap_or(file).with_extension("");
        let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
        let not_utf8 = || Problem::NotUtf8 { what: "its name" }.of(file, Place::default());
        parts
            .map(|parts| parts.join("/").into())
            .ok_or_else(not_utf8)
    };
    let ids = files.iter().map(id).collect::<Result<_, _>>()?;
    Ok((ids, files))
}

/// Whether the folder, or one in it, has a file whose name ends with `extension`.
pub(super) fn has(path: &Path, extension: &str) -> bool {
    let mut files = Vec::new();
    let one = RegionLimits {
        max_images: 0,
        ..RegionLimits::default()
    };
    collect(path, extension, |_| true, &one, DEPTH_LIMIT, &mut files).is_err() && !files.is_empty()
}

/// The whole file, unless it is larger than an image may be.
pub(super) fn read(path: &Path, limits: &RegionLimits) -> Result<Vec<u8>, Problem> {
    limits.check_bytes("bytes", fs::metadata(path)?.len())?;
    Ok(fs::read(path)?)
}

fn collect(
    folder: &Path,
    extension: &str,
    is_wanted: fn(&Path) -> bool,
    limits: &RegionLimits,
    depth: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), Problem> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            // Links to folders are not followed, so that there are no circles.
            if depth > 0 {
                collect(&path, extension, is_wanted, limits, depth - 1, files)?;
            }
        } else if path.extension().is_some_and(|e| e == extension) && is_wanted(&path) {
            files.push(path);
            limits.check_images(files.len())?;
        }
    }
    Ok(())
}
