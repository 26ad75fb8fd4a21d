//! Runs golden files: outputs of the reference programs, compared case by case.
//!
//! A fixtures root holds one folder per *area* (`preprocess`, `models/clip`, `metrics`, …). Each crate
//! that computes what an area records has a test target called `golden` that walks the area's folder,
//! runs every case it finds and reports it here. `just golden [DIR]` runs all of them on one root.
//!
//! Rules: a case that cannot be read or that nobody knows how to run is a failure, never a skip; an
//! area no crate handles yet is printed as such; a handled area that is missing from the full fixtures is a
//! failure, and from this repository's own small fixtures a printed skip.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Which crate runs which area. `None`: recorded, but no crate handles it yet.
pub const AREAS: &[(&str, Option<&str>)] = &[
    ("hostile-images", Some("imaging")),
    ("images", Some("imaging")),
    ("metrics", Some("metrics")),
    ("models/align", Some("models")),
    ("models/asif", Some("models")),
    ("models/clip", Some("models")),
    ("models/flamingo", Some("models")),
    ("models/frozen", Some("models")),
    ("models/lm", Some("models")),
    ("models/magic", Some("models")),
    ("models/preprocess", Some("preprocess")),
    ("models/simvlm", Some("models")),
    ("models/tokenizers", Some("text")),
    ("models/vild", Some("models")),
    ("models/virtex", Some("models")),
    ("models/visualbert", Some("models")),
    ("models/visualgpt", Some("models")),
    ("preprocess", Some("preprocess")),
];

/// Files that tell about a folder of golden files and hold none themselves.
const ABOUT: &[&str] = &[
    "LICENSE",
    "README.md",
    "SHA256SUMS",
    "provenance.json",
    "sha256.json",
];

/// A folder of golden files.
#[derive(Clone, Debug)]
pub struct Root {
    /// The folder that holds the areas.
    pub path: PathBuf,
    /// Whether every handled area must be there.
    pub complete: bool,
}

/// The workspace's folder. Test binaries run in the folder of their package; asked at run time, because
/// one that was built in another checkout is not built again in this one.
fn workspace() -> PathBuf {
    let here = env::current_dir().expect("the working folder can be read");
    here.ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .map_or_else(|| here.clone(), Path::to_path_buf)
}

impl Root {
    /// The root to test against: `SIGHTLINE_FIXTURES` if set, else `../shared/fixtures` beside the
    /// workspace if it is there, else the workspace's own `tests/fixtures`.
    ///
    /// # Panics
    /// When `SIGHTLINE_FIXTURES` names no folder.
    pub fn find() -> Self {
        let workspace = workspace();
        let own = workspace.join("tests/fixtures");
        let (path, complete) = match env::var_os("SIGHTLINE_FIXTURES") {
            Some(given) => {
                let given = PathBuf::from(given);
                // Test binaries run in their crate's folder; a person means their own.
                let path = if given.is_absolute() {
                    given
                } else {
                    workspace.join(given)
                };
                assert!(
                    path.is_dir(),
                    "SIGHTLINE_FIXTURES: `{}` is not a folder",
                    path.display()
                );
                (path, false)
            }
            None if workspace.join("../shared/fixtures").is_dir() => {
                (workspace.join("../shared/fixtures"), true)
            }
            None => (own, false),
        };
        Self { path, complete }
    }

    /// The folder of `area`, or `None` (said aloud) when this root does not have it.
    ///
    /// # Panics
    /// When a complete root lacks it.
    pub fn area(&self, area: &str) -> Option<PathBuf> {
        let path = self.path.join(area);
        if path.is_dir() {
            return Some(path);
        }
        assert!(
            !self.complete,
            "golden {area}: missing from {}",
            self.path.display()
        );
        say(&format!(
            "golden {area}: skipped, {} has no such folder",
            self.path.display()
        ));
        None
    }

    /// Areas found below the root: folders that [`AREAS`] names, and any other folder that holds
    /// files directly or in folders below `models`.
    ///
    /// # Panics
    /// When the root cannot be read.
    pub fn areas_found(&self) -> Vec<String> {
        let folders = |path: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(path)
                .unwrap_or_else(|e| panic!("golden: cannot read {}: {e}", path.display()));
            let mut names: Vec<String> = entries
                .filter_map(Result::ok)
                .filter(|entry| entry.path().is_dir())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        let mut found = Vec::new();
        for name in folders(&self.path) {
            if name == "models" {
                let below = folders(&self.path.join("models"));
                found.extend(below.into_iter().map(|family| format!("models/{family}")));
            } else {
                found.push(name);
            }
        }
        found
    }
}

/// Collects the outcome of every case of one area and fails the test if any case failed.
#[derive(Debug)]
pub struct Report {
    area: String,
    ran: BTreeMap<String, u64>,
    unhandled: BTreeMap<String, u64>,
    /// What could not be checked, and the file that it needs.
    without: BTreeSet<(String, String)>,
    failures: Vec<String>,
}

impl Report {
    /// A report on `area`.
    pub fn new(area: &str) -> Self {
        Self {
            area: area.to_owned(),
            ran: BTreeMap::new(),
            unhandled: BTreeMap::new(),
            without: BTreeSet::new(),
            failures: Vec::new(),
        }
    }

    /// One case of `group` (a pipeline, a checkpoint) was run.
    pub fn case(&mut self, group: &str, name: &str, outcome: Result<(), String>) {
        *self.ran.entry(group.to_owned()).or_default() += 1;
        if let Err(reason) = outcome {
            self.failures.push(format!("{group}/{name}: {reason}"));
        }
    }

    /// One case of a group that no crate handles yet. The caller keeps the list of such groups, so
    /// that a new, unknown group fails instead of landing here.
    pub fn unhandled(&mut self, group: &str) {
        *self.unhandled.entry(group.to_owned()).or_default() += 1;
    }

    /// Something of `what` can only be checked with the file `partner`, which is not here: a folder may hold
    /// some of the files of an area only.
    pub fn without(&mut self, what: &str, partner: &str) {
        self.without.insert((what.to_owned(), partner.to_owned()));
    }

    /// The cases that failed so far, each with its reason.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Fails on what lies in `folder` without being among `named`: a golden file that no table names
    /// would never be compared with anything. Files that only tell about the folder may be there.
    pub fn listing<'a>(&mut self, folder: &Path, named: impl IntoIterator<Item = &'a str>) {
        let named: BTreeSet<&str> = named.into_iter().chain(ABOUT.iter().copied()).collect();
        let outcome = std::fs::read_dir(folder)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(|e| e.to_string())
            .and_then(|entries| {
                let names = entries.iter().map(std::fs::DirEntry::file_name);
                let mut strays: Vec<String> = names
                    .filter(|name| !name.to_str().is_some_and(|name| named.contains(name)))
                    .map(|name| format!("`{}`", name.display()))
                    .collect();
                strays.sort();
                match strays[..] {
                    [] => Ok(()),
                    _ => Err(format!("no table names {}", strays.join(", "))),
                }
            });
        let name = folder.file_name().unwrap_or_default();
        self.case("listing", &name.to_string_lossy(), outcome);
    }

    /// Prints the counts.
    ///
    /// # Panics
    /// When a case failed, or none was run at all.
    pub fn finish(self) {
        let total: u64 = self.ran.values().sum();
        let mut text = String::new();
        for (group, count) in &self.ran {
            let _ = writeln!(text, "golden {}/{group}: {count} cases", self.area);
        }
        for (group, count) in &self.unhandled {
            let _ = writeln!(
                text,
                "golden {}/{group}: {count} cases, no crate handles this yet",
                self.area
            );
        }
        for (what, partner) in &self.without {
            let _ = writeln!(
                text,
                "golden {}/{what}: not checked, `{partner}` is not here",
                self.area
            );
        }
        let _ = write!(
            text,
            "golden {}: {total} cases run, {} failed",
            self.area,
            self.failures.len()
        );
        say(&text);
        assert!(total > 0, "golden {}: no case found", self.area);
        assert!(
            self.failures.is_empty(),
            "golden {}:\n{}",
            self.area,
            self.failures.join("\n")
        );
    }
}

/// Compares floats: each `|a - e| <= abs + rel * |e|`, NaN equal to NaN. The message names the worst element.
pub fn compare_f32(actual: &[f32], expected: &[f32], abs: f64, rel: f64) -> Result<(), String> {
    same_len(actual.len(), expected.len())?;
    let mut worst = (0.0f64, 0usize);
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        if a.to_bits() == e.to_bits() || (a.is_nan() && e.is_nan()) {
            continue;
        }
        let excess = (f64::from(a) - f64::from(e)).abs() / (abs + rel * f64::from(e).abs());
        if excess.is_nan() || excess > worst.0 {
            worst = (
                if excess.is_nan() {
                    f64::INFINITY
                } else {
                    excess
                },
                i,
            );
        }
    }
    if worst.0 <= 1.0 {
        return Ok(());
    }
    let i = worst.1;
    Err(format!(
        "element {i}: {} instead of {} ({:.3} times the tolerance {abs:e} + {rel:e} * |x|)",
        actual[i], expected[i], worst.0
    ))
}

/// Compares bytes: at most `max_abs` levels apart, and at most a share `max_frac_diff` of them differing at all.
pub fn compare_u8(
    actual: &[u8],
    expected: &[u8],
    max_abs: u8,
    max_frac_diff: f64,
) -> Result<(), String> {
    same_len(actual.len(), expected.len())?;
    let stats = DiffU8::of(actual, expected);
    let frac = stats.differing as f64 / expected.len().max(1) as f64;
    if stats.max <= max_abs && frac <= max_frac_diff {
        return Ok(());
    }
    Err(format!(
        "{} of {} bytes differ (share {frac:.5}, allowed {max_frac_diff}), at most by {} (allowed {max_abs}), first at {:?}",
        stats.differing,
        expected.len(),
        stats.max,
        stats.first
    ))
}

/// How two byte arrays of the same length differ.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiffU8 {
    /// Bytes that differ.
    pub differing: usize,
    /// Largest absolute difference.
    pub max: u8,
    /// Mean absolute difference over all bytes.
    pub mean: f64,
    /// First differing byte.
    pub first: Option<usize>,
}

impl DiffU8 {
    /// Compares `a` and `b` up to the shorter length.
    pub fn of(a: &[u8], b: &[u8]) -> Self {
        let mut stats = Self::default();
        let mut sum = 0u64;
        for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
            let difference = a.abs_diff(b);
            if difference > 0 {
                stats.differing += 1;
                stats.max = stats.max.max(difference);
                stats.first = stats.first.or(Some(i));
                sum += u64::from(difference);
            }
        }
        stats.mean = sum as f64 / a.len().max(1) as f64;
        stats
    }
}

fn same_len(actual: usize, expected: usize) -> Result<(), String> {
    if actual == expected {
        Ok(())
    } else {
        Err(format!("{actual} elements instead of {expected}"))
    }
}

/// Written past the test harness's capture: what was run and what was not is always shown.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_no_table_names_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["README.md", "sha256.json", "a.png"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut report = Report::new("area");
        report.listing(dir.path(), ["a.png"]);
        assert_eq!(report.failures, Vec::<String>::new());
        std::fs::write(dir.path().join("new.png"), "").unwrap();
        report.listing(dir.path(), ["a.png"]);
        assert!(report.failures[0].ends_with("no table names `new.png`"));
        report.listing(&dir.path().join("nowhere"), []);
        assert_eq!(report.failures.len(), 2);
    }

    #[test]
    fn a_nan_or_a_different_length_is_not_equal() {
        assert!(compare_f32(&[f32::NAN], &[1.0], 1.0, 0.0).is_err());
        assert!(compare_f32(&[1.0], &[f32::NAN], 1.0, 0.0).is_err());
        assert!(compare_f32(&[f32::NAN], &[f32::NAN], 0.0, 0.0).is_ok());
        assert!(compare_f32(&[1.0], &[1.0, 2.0], 1.0, 0.0).is_err());
        assert!(compare_f32(&[1.0], &[1.1], 0.05, 0.0).is_err());
        assert!(compare_f32(&[1.0], &[1.1], 0.0, 0.1).is_ok());
    }

    #[test]
    fn u8_comparison_counts_share_and_size() {
        assert!(compare_u8(&[1, 2, 3, 4], &[1, 2, 3, 5], 1, 0.25).is_ok());
        assert!(compare_u8(&[1, 2, 3, 4], &[1, 2, 3, 5], 0, 1.0).is_err());
        assert!(compare_u8(&[1, 2, 3, 4], &[1, 2, 4, 5], 1, 0.25).is_err());
    }
}
