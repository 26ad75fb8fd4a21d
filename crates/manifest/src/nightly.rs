//! What runs every night: a list of suites, each with where its data and checkpoints are.
//!
//! ```toml
//! schema = 1
//! nightly = "nightly"                  # equals the file's name
//! description = "The floors and what we train."
//! fail_below = 0.0                     # optional: how much worse, in the unit of the metric, is still no alarm
//!
//! [[suite]]
//! name = "quickstart"                  # manifests/suites/quickstart.toml
//! data = "out/quickstart"              # optional: below the data folder of the command line
//! checkpoints = { clip = "checkpoints/clip" } # optional: as `--checkpoint` takes them
//! ```
//!
//! It stands among the suites, which it names, and is none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sightline_core::registry::UnknownName;
use toml::Spanned;

use crate::catalog::Catalog;
use crate::check::Checker;
use crate::error::{Error, Fault};
use crate::folder::{self, Kind, manifests_folder};
use crate::rules;

/// What runs every night.
#[derive(Clone, Debug, PartialEq)]
pub struct Nightly {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// By how much a metric may fall, in its own unit, without being an alarm, if it falls significantly.
    pub fail_below: f64,
    /// In the order in which they run.
    pub suites: Vec<NightlySuite>,
}

/// A suite of the night.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NightlySuite {
    /// Its name.
    pub name: String,
    /// Its manifest.
    pub path: PathBuf,
    /// Folder of its data, as written.
    pub data: Option<PathBuf>,
    /// Checkpoints by model, as written.
    pub checkpoints: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "schema")]
    _schema: u32,
    #[serde(rename = "nightly")]
    name: Spanned<String>,
    description: String,
    fail_below: Option<Spanned<f64>>,
    #[serde(default)]
    suite: Vec<WrittenSuite>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSuite {
    name: Spanned<String>,
    data: Option<PathBuf>,
    #[serde(default)]
    checkpoints: BTreeMap<String, String>,
}

/// Reads and checks the list at `path`, which stands in a folder `suites/`.
pub fn load_nightly(path: &Path) -> Result<Nightly, Error> {
    let catalog = Catalog::default();
    let mut checker = Checker::new(manifests_folder(path)?, &catalog);
    let nightly = checker.nightly(path);
    checker.finish(nightly)
}

/// Whether the text of a file among the suites is such a list.
pub(crate) fn is_nightly(text: &str) -> bool {
    let table = text.parse::<toml::Table>();
    table.is_ok_and(|table| table.contains_key("nightly"))
}

impl Checker<'_> {
    fn nightly(&mut self, path: &Path) -> Option<Nightly> {
        let (file, parsed) = self.read::<Written>(path)?;
        let written = &parsed.value;
        self.own_name(Kind::Suite, &file, &written.name);
        let fail_below = match &written.fail_below {
            None => Some(0.0),
            Some(drop) => {
                let checked = rules::range("fail_below", *drop.get_ref(), &(0.0..=f64::MAX));
                self.keep(&file, drop.span(), checked)
            }
        };
        if written.suite.is_empty() && parsed.is_whole {
            self.tell_at(&file, written.name.span(), Fault::Empty { field: "suite" });
        }
        let known = folder::names(&self.folder, Kind::Suite).unwrap_or_default();
        let mut seen = BTreeSet::new();
        let mut suites = Vec::new();
        for suite in &written.suite {
            let name = suite.name.get_ref();
            if !seen.insert(name) {
                let fault = Fault::Duplicate {
                    kind: "suite",
                    name: name.clone(),
                };
                self.tell_at(&file, suite.name.span(), fault);
            } else if !known.contains(name) || name == written.name.get_ref() {
                let others = known
                    .iter()
                    .filter(|other| *other != written.name.get_ref());
                let error = UnknownName::among("suite", name, others.map(String::as_str));
                self.tell_at(&file, suite.name.span(), Fault::UnknownName { error });
            } else {
                suites.push(NightlySuite {
                    path: folder::path_of(&self.folder, Kind::Suite, name),
                    name: name.clone(),
                    data: suite.data.clone(),
                    checkpoints: suite.checkpoints.clone(),
                });
            }
        }
        Some(Nightly {
            name: written.name.get_ref().clone(),
            description: written.description.clone(),
            fail_below: fail_below?,
            suites,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LIST: &str = "schema = 1\nnightly = 'n'\ndescription = 'All.'\nfail_below = 0.01\n\
                        [[suite]]\nname = 'a'\ndata = 'data'\ncheckpoints = { clip = 'hf:owner/clip' }\n\
                        [[suite]]\nname = 'b'\n";

    fn loaded(text: &str) -> Result<Nightly, String> {
        let folder = tempfile::tempdir().unwrap();
        let suites = folder.path().join("suites");
        fs::create_dir(&suites).unwrap();
        for (name, text) in [("a", ""), ("b", ""), ("n", text)] {
            fs::write(suites.join(format!("{name}.toml")), text).unwrap();
        }
        load_nightly(&suites.join("n.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_names_suites_of_its_folder() {
        let nightly = loaded(LIST).unwrap();
        assert_eq!((nightly.name.as_str(), nightly.suites.len()), ("n", 2));
        assert!((nightly.fail_below - 0.01).abs() < 1e-12);
        assert!(nightly.suites[0].path.ends_with("suites/a.toml"));
        assert_eq!(nightly.suites[0].checkpoints["clip"], "hf:owner/clip");
        assert!(is_nightly(LIST) && !is_nightly("suite = 'a'") && !is_nightly("nightly ="));
    }

    #[test]
    fn what_is_wrong_with_a_list_is_told() {
        for (from, to, told) in [
            ("name = 'b'", "name = 'c'", "unknown suite `c`"),
            ("name = 'b'", "name = 'n'", "unknown suite `n`"),
            ("name = 'b'", "name = 'a'", "suite `a` is listed twice"),
            ("0.01", "-1.0", "`fail_below` is -1"),
            (
                "nightly = 'n'",
                "nightly = 'm'",
                "`m` in a file called `n.toml`",
            ),
            ("data =", "date =", "unknown field `date`"),
        ] {
            let error = loaded(&LIST.replace(from, to)).unwrap_err();
            assert!(error.contains(told), "{to}: {error}");
        }
        let error = loaded(LIST.split("[[suite]]").next().unwrap()).unwrap_err();
        assert!(error.contains("`suite` is empty"), "{error}");
    }
}
