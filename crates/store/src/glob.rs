//! Patterns that stand for several objects of a folder.
//!
//! | pattern | stands for |
//! | --- | --- |
//! | `*.tar` | every name in the folder that ends so; a leading dot is not matched |
//! | `**/*.tar` | the same at any depth |
//! | `[ab]?.tar` | one of the letters, then any letter |
//! | `{train,val}/*.tar` | both in turn |
//! | `{00000..00017}.tar` | eighteen names, each of which must be there |
//!
//! Every alternative that the braces make must match something: a gap in a range is an error, not a
//! smaller dataset. Names come sorted by their bytes, each once.

use std::path::{Component, MAIN_SEPARATOR, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use sightline_core::ObjectSource;

use crate::backend::check_name;
use crate::error::PatternProblem;
use crate::{Error, Folder, Kind, Location, Result, Stores};

/// Most names that the braces of one pattern may stand for.
const MAX_ALTERNATIVES: usize = 1_000_000;

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

impl Folder {
    /// Names of the objects that match any of `patterns`, sorted.
    pub fn expand(&self, patterns: &[impl AsRef<str>]) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for pattern in patterns {
            for alternative in braces(pattern.as_ref())? {
                self.matching(&alternative, &mut names)?;
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn matching(&self, pattern: &str, names: &mut Vec<String>) -> Result<()> {
        let no_match = || Error::NoMatch {
            pattern: pattern.to_owned(),
            folder: self.root().to_owned(),
        };
        if !pattern.contains(['*', '?', '[']) {
            // A plain name: no need to list anything.
            if self.entry(pattern)?.is_none() {
                return Err(no_match());
            }
            names.push(pattern.to_owned());
            return Ok(());
        }
        // The same rules as for names; wildcards are ordinary letters to them.
        check_name(pattern)?;
        let before = names.len();
        if self.is_local() {
            self.matching_files(pattern, names)?;
        } else {
            self.matching_objects(pattern, names)?;
        }
        if names.len() == before {
            return Err(no_match());
        }
        Ok(())
    }

    fn matching_files(&self, pattern: &str, names: &mut Vec<String>) -> Result<()> {
        let root = self.root().to_str().ok_or_else(|| Error::NotUtf8 {
            path: self.root().to_owned(),
        })?;
        let full = format!("{}/{pattern}", Pattern::escape(root));
        let paths = glob::glob_with(&full, OPTIONS).map_err(|e| unknown(pattern, e))?;
        // What is listed below `./data` begins with `data`.
        let parts = self.root().components();
        let bare: PathBuf = parts.filter(|part| *part != Component::CurDir).collect();
        for path in paths {
            let path = path.map_err(|e| Error::file("list", e.path().to_owned())(e.into()))?;
            if path.is_dir() {
                continue;
            }
            let relative = path.strip_prefix(self.root());
            let relative = relative
                .or_else(|_| path.strip_prefix(&bare))
                .unwrap_or(&path);
            match relative.to_str() {
                Some(name) => names.push(name.replace(MAIN_SEPARATOR, "/")),
                None => return Err(Error::NotUtf8 { path }),
            }
        }
        Ok(())
    }

    /// Lists what is below the last folder without a wildcard, once.
    fn matching_objects(&self, pattern: &str, names: &mut Vec<String>) -> Result<()> {
        let compiled = Pattern::new(pattern).map_err(|e| unknown(pattern, e))?;
        let wildcard = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
        let listed = match pattern[..wildcard].rfind('/') {
            Some(slash) => self
                .list(&pattern[..slash])
                .map_err(|e| Error::from_io("list", &self.shown(&pattern[..slash]), e))?,
            // Most patterns are of one folder, which may have large ones below it.
            None if !pattern.contains('/') => self.entries()?.into_iter().map(|e| e.name).collect(),
            None => self.names()?,
        };
        names.extend(
            listed
                .into_iter()
                .filter(|name| compiled.matches_with(name, OPTIONS)),
        );
        Ok(())
    }
}

fn unknown(pattern: &str, error: glob::PatternError) -> Error {
    Error::Pattern {
        pattern: pattern.to_owned(),
        reason: error.into(),
    }
}

/// Splits what a person typed into a folder and the names of objects in it: a folder stands for
/// what `default` matches there, a file for itself, anything else is a pattern below its last part
/// without wildcards. Addresses of stores are opened with `stores`.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # for name in ["00000.tar", "00001.tar", "00000.parquet"] { std::fs::write(dir.path().join(name), b"")?; }
/// # let shards = dir.path().to_str().unwrap();
/// use sightline_store::glob::locate;
/// let (folder, names) = locate(shards, "*.tar")?;
/// assert_eq!(names, ["00000.tar", "00001.tar"]);
/// assert_eq!(locate(&format!("{shards}/{{00000..00001}}.tar"), "*.tar")?.1, names);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn locate(typed: &str, default: &str) -> Result<(Folder, Vec<String>)> {
    locate_in(&Stores::default(), typed, default)
}

/// [`locate`] also in object stores.
pub fn locate_in(stores: &Stores, typed: &str, default: &str) -> Result<(Folder, Vec<String>)> {
    let typed = match Location::parse(typed)? {
        Location::Local(path) => path,
        Location::Remote(_) => typed.into(),
    };
    let text = typed.to_str().ok_or_else(|| Error::NotUtf8 {
        path: typed.clone(),
    })?;
    // A bucket of many folders is not listed for a pattern's sake; local names may hold braces.
    let is_local = Location::parse(text)?.is_local();
    let wildcard = text.find(['*', '?', '[', '{']);
    let kind = match wildcard {
        Some(_) if !is_local => Kind::Nothing,
        _ => stores.kind(&typed)?,
    };
    match kind {
        Kind::Folder => {
            let folder = stores.folder(&typed)?;
            let names = folder.expand(&[default])?;
            Ok((folder, names))
        }
        Kind::Object => {
            let (folder, name) = stores.object(&typed)?;
            Ok((folder, vec![name]))
        }
        Kind::Nothing => {
            let (root, pattern) = split(text, wildcard.unwrap_or(text.len()));
            let folder = stores.folder(Path::new(root))?;
            let pattern = if pattern.is_empty() { default } else { pattern };
            let names = folder.expand(&[pattern])?;
            Ok((folder, names))
        }
    }
}

/// Folder and pattern of `typed`, whose first wildcard is at `wildcard`; the pattern of a mere bucket is empty.
fn split(typed: &str, wildcard: usize) -> (&str, &str) {
    // The slashes before that of the bucket part nothing.
    let bucket = typed.find("://").map(|at| {
        let slash = typed[at + 3..].find('/');
        slash.map_or(typed.len(), |slash| at + 3 + slash)
    });
    let slash = typed[..wildcard]
        .rfind('/')
        .filter(|slash| bucket.is_none_or(|bucket| *slash >= bucket));
    match (slash, bucket) {
        (Some(0), _) => ("/", &typed[1..]),
        (Some(slash), _) => (&typed[..slash], &typed[slash + 1..]),
        (None, None) => (".", typed),
        (None, Some(_)) => (typed, ""),
    }
}

/// Expands the braces of `pattern`: `{a,b}` and `{first..last}`, nested or one after the other.
fn braces(pattern: &str) -> Result<Vec<String>> {
    let fail = |reason| Error::Pattern {
        pattern: pattern.to_owned(),
        reason,
    };
    let mut done = Vec::new();
    let mut todo = vec![pattern.to_owned()];
    while let Some(text) = todo.pop() {
        let Some(open) = text.find('{') else {
            if let Some(at) = text.find('}') {
                return Err(fail(PatternProblem::Unbalanced { at }));
            }
            done.push(text);
            continue;
        };
        let Some(close) = partner(&text[open..]).map(|at| open + at) else {
            return Err(fail(PatternProblem::Unbalanced { at: open }));
        };
        let room = MAX_ALTERNATIVES.saturating_sub(done.len() + todo.len());
        let Some(choices) = alternatives(&text[open + 1..close], room) else {
            return Err(fail(PatternProblem::TooMany {
                limit: MAX_ALTERNATIVES,
            }));
        };
        let (head, tail) = (&text[..open], &text[close + 1..]);
        let expanded = choices.iter().map(|choice| format!("{head}{choice}{tail}"));
        todo.extend(expanded.rev());
    }
    Ok(done)
}

/// Offset of the brace that closes the one at the start of `text`.
fn partner(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// What the inside of a pair of braces stands for, or `None` when that is more than `room`.
fn alternatives(inside: &str, room: usize) -> Option<Vec<String>> {
    if let Some((first, last)) = inside.split_once("..")
        && let Some((from, to)) = number(first).zip(number(last))
        && from <= to
    {
        if to - from >= room as u64 {
            return None;
        }
        let width = first.len();
        return Some((from..=to).map(|n| format!("{n:0width$}")).collect());
    }
    let mut parts = vec![String::new()];
    let mut depth = 0usize;
    for letter in inside.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    (parts.len() <= room).then_some(parts)
}

fn number(text: &str) -> Option<u64> {
    let is_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(names: &[&str]) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        let folder = Folder::open(dir.path()).unwrap();
        (dir, folder)
    }

    /// Tests run in the folder of the crate.
    #[test]
    fn names_are_those_below_the_folder_however_it_is_written() {
        for root in ["src", "./src", "././src/", "../store/src"] {
            let folder = Folder::open(root).unwrap();
            let names = folder.expand(&["backend/l*.rs"]).unwrap();
            assert_eq!(names, ["backend/local.rs"], "{root}");
        }
    }

    #[test]
    fn braces_expand_like_a_shell() {
        for (pattern, expected) in [
            ("a.tar", "a.tar"),
            ("{08..11}.tar", "08.tar 09.tar 10.tar 11.tar"),
            ("x{0..1}{a,b}", "x0a x0b x1a x1b"),
            ("{a,b{1..2}}", "a b1 b2"),
            ("{a,}", "a "),
            ("{9..11}", "9 10 11"),
            ("{b..a}", "b..a"),
        ] {
            assert_eq!(braces(pattern).unwrap().join(" "), expected, "{pattern}");
        }
    }

    #[test]
    fn broken_or_endless_braces_are_refused() {
        for pattern in [
            "{a",
            "a}",
            "{a{b}",
            "{0..18446744073709551615}",
            "{0..9999999}",
        ] {
            assert!(
                matches!(braces(pattern), Err(Error::Pattern { .. })),
                "{pattern}"
            );
        }
        let many = "{0..999}".repeat(3);
        assert!(matches!(braces(&many), Err(Error::Pattern { .. })));
    }

    #[test]
    fn patterns_match_in_order_and_once() {
        let (_dir, folder) = folder(&[
            "s/2.tar",
            "s/10.tar",
            "s/1.tar",
            "s/.3.tar.1-1.tmp",
            "s/.4.tar",
            "t/a/5.tar",
        ]);
        assert_eq!(
            folder.expand(&["s/*.tar", "s/1.tar"]).unwrap(),
            ["s/1.tar", "s/10.tar", "s/2.tar"]
        );
        assert_eq!(folder.expand(&["**/5.tar"]).unwrap(), ["t/a/5.tar"]);
        assert_eq!(
            folder.expand(&["s/{1..2}.tar"]).unwrap(),
            ["s/1.tar", "s/2.tar"]
        );
    }

    #[test]
    fn a_gap_or_an_empty_match_is_an_error_that_names_it() {
        let (dir, folder) = folder(&["0.tar", "2.tar"]);
        for (pattern, part) in [("{0..2}.tar", "`1.tar`"), ("*.zip", "`*.zip`")] {
            let message = folder.expand(&[pattern]).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
            assert!(message.contains(dir.path().to_str().unwrap()), "{message}");
        }
        for pattern in ["../*.tar", "/etc/*", "a/../*.tar"] {
            assert!(
                matches!(folder.expand(&[pattern]), Err(Error::Name { .. })),
                "{pattern}"
            );
        }
        assert!(matches!(folder.expand(&["[a"]), Err(Error::Pattern { .. })));
    }

    #[test]
    fn what_a_person_types_is_a_folder_a_file_or_a_pattern() {
        let (dir, _) = folder(&["s{1}/0.tar", "s{1}/1.tar", "s{1}/0.json"]);
        let root = dir.path().to_str().unwrap();
        let names = |typed: String| locate(&typed, "*.tar").unwrap().1;
        assert_eq!(names(format!("{root}/s{{1}}")), ["0.tar", "1.tar"]);
        assert_eq!(names(format!("{root}/s{{1}}/1.tar")), ["1.tar"]);
        assert_eq!(names(format!("{root}/*/*.json")), ["s{1}/0.json"]);
        assert!(locate(&format!("{root}/none/*.tar"), "*.tar").is_err());
        assert!(locate(&format!("{root}/none.tar"), "*.tar").is_err());
    }

    #[test]
    fn addresses_are_buckets_folders_objects_and_patterns() {
        let stores = Stores::in_memory();
        let bucket = stores.create(Path::new("s3://b")).unwrap();
        for name in ["s/0.tar", "s/1.tar", "s/0.json", "s/t/2.tar", "3.tar"] {
            bucket.write(name, b"").unwrap();
        }
        for (typed, root, names) in [
            ("s3://b/s", "s3://b/s", &["0.tar", "1.tar"][..]),
            ("s3://b/s/", "s3://b/s", &["0.tar", "1.tar"]),
            ("s3://b", "s3://b", &["3.tar"]),
            ("s3://b/s/1.tar", "s3://b/s", &["1.tar"]),
            ("s3://b/s/{0..1}.tar", "s3://b/s", &["0.tar", "1.tar"]),
            ("s3://b/*.tar", "s3://b", &["3.tar"]),
            (
                "s3://b/**/*.tar",
                "s3://b",
                &["3.tar", "s/0.tar", "s/1.tar", "s/t/2.tar"],
            ),
            ("s3://b/s/*/*.tar", "s3://b/s", &["t/2.tar"]),
            ("https://b/x.tar", "https://b", &["x.tar"]),
        ] {
            let (folder, found) = locate_in(&stores, typed, "*.tar").unwrap();
            assert_eq!(folder.root(), Path::new(root), "{typed}");
            assert_eq!(found, names, "{typed}");
        }
        for typed in [
            "s3://b/none",
            "s3://b/s/{0..2}.tar",
            "s3://empty",
            "s3://b/*.zip",
            "https://b/*.tar",
        ] {
            assert!(locate_in(&stores, typed, "*.tar").is_err(), "{typed}");
        }
    }
}
