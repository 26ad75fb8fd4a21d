//! Reading golden files, and comparing numbers with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sightline_core::Digest;
use sightline_testkit::golden::Report;

/// Runs every case of the file of this name (without `.gz`).
pub(crate) type Runner = fn(&Folder, &str, &mut Report) -> Result<(), String>;

/// Where the numbers of a file come from.
#[derive(Deserialize)]
pub(crate) struct Header {
    program: String,
    version: String,
    script: String,
    /// Versions of what the program was run with.
    #[serde(flatten)]
    others: BTreeMap<String, String>,
}

impl Header {
    /// Nothing that says so is left empty.
    pub(crate) fn names_its_origin(&self) -> Result<(), String> {
        let mut all = [&self.program, &self.version, &self.script]
            .into_iter()
            .chain(self.others.values());
        if all.any(String::is_empty) {
            return Err("an empty field".to_owned());
        }
        Ok(())
    }
}

/// The folder of the area.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// Names of the golden files in it, as they are.
    pub(crate) names: BTreeSet<String>,
}

impl Folder {
    /// Whether the file of this plain name is here.
    pub(crate) fn has(&self, plain: &str) -> bool {
        self.names.contains(plain) || self.names.contains(&format!("{plain}.gz"))
    }

    /// The bytes of the file of this plain name, unpacked.
    pub(crate) fn read(&self, plain: &str) -> Result<Vec<u8>, String> {
        if self.names.contains(plain) {
            return fs::read(self.path.join(plain)).map_err(|e| e.to_string());
        }
        let packed =
            fs::read(self.path.join(format!("{plain}.gz"))).map_err(|e| format!("{plain}: {e}"))?;
        let mut bytes = Vec::new();
        flate2::read::MultiGzDecoder::new(packed.as_slice())
            .read_to_end(&mut bytes)
            .map_err(|e| format!("{plain}: {e}"))?;
        Ok(bytes)
    }

    /// The value in a JSON file.
    pub(crate) fn json<T: DeserializeOwned>(&self, plain: &str) -> Result<T, String> {
        serde_json::from_slice(&self.read(plain)?).map_err(|e| format!("{plain}: {e}"))
    }

    /// The values of a file with one JSON value a line.
    pub(crate) fn json_lines<T: DeserializeOwned>(&self, plain: &str) -> Result<Vec<T>, String> {
        let text = String::from_utf8(self.read(plain)?).map_err(|e| format!("{plain}: {e}"))?;
        text.split_terminator('\n')
            .enumerate()
            .map(|(number, line)| {
                serde_json::from_str(line).map_err(|e| format!("{plain}: line {number}: {e}"))
            })
            .collect()
    }

    /// Every file here that `sha256.json` lists has the digest listed. A folder may hold some of the files
    /// only.
    pub(crate) fn checksums(&self) -> Result<(), String> {
        let text = fs::read(self.path.join("sha256.json")).map_err(|e| e.to_string())?;
        let listed: BTreeMap<String, Digest> =
            serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        for (name, expected) in listed {
            if !self.names.contains(&name) {
                continue;
            }
            let bytes = fs::read(self.path.join(&name)).map_err(|e| format!("{name}: {e}"))?;
            let actual = Digest::of(&bytes);
            if actual != expected {
                return Err(format!(
                    "`{name}` has digest {actual}, listed is {expected}"
                ));
            }
        }
        Ok(())
    }
}

/// Whether `name` is of this pattern, in which `*` stands for one or more characters but dots.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let parts: Vec<&str> = pattern.split('.').collect();
    let names: Vec<&str> = name.split('.').collect();
    parts.len() == names.len()
        && parts
            .iter()
            .zip(names)
            .all(|(part, name)| *part == name || (*part == "*" && !name.is_empty()))
}

/// Whether a value is the one expected, up to an absolute difference.
pub(crate) fn close(actual: Option<f64>, expected: f64, tolerance: f64) -> Result<(), String> {
    match actual {
        Some(actual) if (actual - expected).abs() <= tolerance => Ok(()),
        other => Err(format!("{other:?} instead of {expected}")),
    }
}
