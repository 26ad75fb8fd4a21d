//! Single files that a person names with `--out`: never overwritten without being told.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use sightline_store::digest_file;

use crate::command::exits;
use crate::exit::Failure;

/// Whether `content` is to be written to `path`: not when it is there already. Another content is refused
/// unless `force`.
pub(crate) fn is_to_be_written(path: &Path, content: &[u8], force: bool) -> Result<bool, Failure> {
    let doing = || format!("writing `{}`", path.display());
    match holds(path, content) {
        Ok(true) => Ok(false),
        Ok(false) if force => Ok(true),
        Ok(false) => Err(another_file(path)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(Failure::io(doing(), &e).with_exit(exits::io(&e))),
    }
}

/// The same for content that is in another file.
pub(crate) fn is_to_be_replaced(path: &Path, by: &Path, force: bool) -> Result<bool, Failure> {
    let doing = || format!("writing `{}`", path.display());
    if !path.exists() {
        return Ok(true);
    }
    let digest = |path| digest_file(path).map_err(|e| Failure::new(exits::store(&e), doing(), &e));
    match digest(path)? == digest(by)? {
        true => Ok(false),
        false if force => Ok(true),
        false => Err(another_file(path)),
    }
}

fn another_file(path: &Path) -> Failure {
    let doing = format!("writing `{}`", path.display());
    Failure::usage(doing, "there is another file of that name")
        .with_hint("Choose another name, or overwrite the file with --force.")
}

/// Refuses to write over a file that is read, or two files of one name. Each is given with its flag.
pub(crate) fn refuse_overlap(
    targets: &[(&str, &Path)],
    sources: &[(&str, &Path)],
) -> Result<(), Failure> {
    for (at, (flag, path)) in targets.iter().enumerate() {
        let others = targets[..at].iter().chain(sources);
        let mut same = others.filter(|(_, other)| place(path) == place(other));
        if let Some((other, _)) = same.next() {
            let doing = format!("choosing files: {flag} `{}`", path.display());
            let cause = format!("that is the file of {other}");
            return Err(Failure::usage(doing, cause).with_hint(format!("Choose another {flag}.")));
        }
    }
    Ok(())
}

/// The file that `path` leads to, or would be made at, whatever links and dots it goes through.
fn place(path: &Path) -> PathBuf {
    let folder = |path: &Path| match path.parent() {
        Some(parent) if parent != Path::new("") => fs::canonicalize(parent),
        _ => fs::canonicalize("."),
    };
    fs::canonicalize(path)
        .or_else(|_| Ok::<_, io::Error>(folder(path)?.join(path.file_name().unwrap_or_default())))
        .unwrap_or_else(|_| path.to_owned())
}

/// Whether the file at `path` holds exactly `content`; no more of it is read than that.
fn holds(path: &Path, content: &[u8]) -> io::Result<bool> {
    if fs::metadata(path)?.len() != content.len() as u64 {
        return Ok(false);
    }
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut part = vec![0; 1 << 16];
    for expected in content.chunks(part.len()) {
        let part = &mut part[..expected.len()];
        match file.read_exact(part) {
            Ok(()) if part == expected => {}
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(e),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use crate::exit::Exit;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_file_is_known_by_its_place_not_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let (new, again) = (dir.path().join("new"), dir.path().join("./new"));
        let refused = |targets: &[(&str, &Path)]| {
            let refused = refuse_overlap(targets, &[("--in", file.as_path())]);
            refused.map_err(|failure| failure.to_string())
        };
        assert!(
            refused(&[("--out", &link)])
                .unwrap_err()
                .contains("the file of --in")
        );
        assert!(refused(&[("--out", &new), ("--more", &again)]).is_err());
        assert!(refused(&[("--out", &new)]).is_ok());
    }

    #[test]
    fn another_content_needs_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        assert!(is_to_be_written(&path, b"new", false).unwrap());
        fs::write(&path, "old").unwrap();
        let refused = is_to_be_written(&path, b"new", false).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage);
        assert!(refused.to_string().contains("--force"), "{refused}");
        assert!(is_to_be_written(&path, b"new", true).unwrap());
        assert!(is_to_be_written(&path, b"longer", true).unwrap());
        assert!(!is_to_be_written(&path, b"old", false).unwrap());
        assert!(!is_to_be_written(&path, b"old", true).unwrap());
        let long = vec![7; 200_000];
        fs::write(&path, &long).unwrap();
        assert!(!is_to_be_written(&path, &long, false).unwrap());
    }
}
