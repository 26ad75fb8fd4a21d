//! Records by the names that people give them.

use std::path::{Path, PathBuf};

use sightline_core::Hint;

use crate::store::{Stored, current};

/// Fewest digits by which a record is named.
const FEWEST_DIGITS: usize = 4;

/// Why a name is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No record has it.
    #[error("no record in `{}` is called `{name}`", folder.display())]
    Unknown {
        /// The name.
        name: String,
        /// The records folder.
        folder: PathBuf,
    },
    /// More than one has it.
    #[error("`{name}` is the beginning of several ids: {}", found.join(", "))]
    Several {
        /// The name.
        name: String,
        /// The records, by their paths below the folder.
        found: Vec<String>,
    },
    /// Two records that say nothing about the same suite.
    #[error("the records are of different suites, `{}` and `{}`", suites[0], suites[1])]
    Suites {
        /// Their suites.
        suites: [String; 2],
    },
}

impl Hint for FindError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unknown { .. } => vec![
                "A record is named by its file, by the first digits of its id, or by its model, whose latest is taken."
                    .to_owned(),
            ],
            Self::Several { .. } => vec!["Give more digits.".to_owned()],
            Self::Suites { .. } => Vec::new(),
        }
    }
}

/// Two records of one suite among `records`, all of those below `folder`. Each is named by its file, by the first digits of
/// its id, or by its model, of which the latest that nothing supersedes is taken.
pub fn find_pair<'r>(
    records: &'r [Stored],
    folder: &Path,
    names: [&str; 2],
) -> Result<[&'r Stored; 2], FindError> {
    let [a, b] = names.map(|name| find_record(records, folder, name));
    let (a, b) = (a?, b?);
    if a.record.suite != b.record.suite {
        let suites = [a, b].map(|stored| stored.record.suite.clone());
        return Err(FindError::Suites { suites });
    }
    Ok([a, b])
}

/// The record called `name`, as in [`find_pair`].
pub fn find_record<'r>(
    records: &'r [Stored],
    folder: &Path,
    name: &str,
) -> Result<&'r Stored, FindError> {
    let unknown = || FindError::Unknown {
        name: name.to_owned(),
        folder: folder.to_owned(),
    };
    let path = Path::new(name);
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        let is_it = |stored: &&Stored| {
            path == Path::new(&stored.path) || path == stored.folder.join(&stored.path)
        };
        return records.iter().find(is_it).ok_or_else(unknown);
    }
    let of_model = current(records).into_iter();
    let of_model = of_model.filter(|stored| stored.record.model.name == name);
    if let Some(latest) = of_model.max_by(|a, b| a.record.created.cmp(&b.record.created)) {
        return Ok(latest);
    }
    if name.len() < FEWEST_DIGITS || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    let digits = name.to_ascii_lowercase();
    let found = records.iter();
    let found = found.filter(|stored| stored.id.to_string().starts_with(&digits));
    match found.collect::<Vec<_>>()[..] {
        [one] => Ok(one),
        [] => Err(unknown()),
        ref several => Err(FindError::Several {
            name: name.to_owned(),
            found: several.iter().map(|stored| stored.path.clone()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Digest;

    use super::*;
    use crate::record::examples;

    fn stored(model: &str, created: &str) -> Stored {
        let mut record = examples::record(model);
        record.created = created.to_owned();
        let id = Digest::of_json(&record).unwrap();
        Stored {
            id,
            path: format!("quickstart/{model}/{}-{}.json", &created[..10], id.short()),
            folder: "records".into(),
            record,
        }
    }

    #[test]
    fn a_record_is_found_by_file_digits_or_model() {
        let days = ["2026-11-23T17:04:11Z", "2026-11-24T17:04:11Z"];
        let mut records = days.map(|day| stored("clip", day)).to_vec();
        records.push(stored("random", days[0]));
        let find = |name: &str| find_record(&records, Path::new("records"), name);
        assert_eq!(find("clip").unwrap().record.created, days[1]);
        for one in &records {
            let id = one.id.to_string();
            for name in [
                one.path.clone(),
                format!("records/{}", one.path),
                id[..12].to_owned(),
                id[..12].to_uppercase(),
            ] {
                assert_eq!(find(&name).unwrap().id, one.id, "{name}");
            }
        }
        for name in [
            "nobody",
            "abc",
            "",
            "quickstart/clip/none.json",
            "ffffffffffff",
        ] {
            assert!(
                matches!(find(name), Err(FindError::Unknown { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn names_that_are_not_enough_and_suites_that_differ_are_told() {
        let mut records = vec![
            stored("clip", "2026-11-23T17:04:11Z"),
            stored("random", "2026-11-23T17:04:11Z"),
        ];
        let folder = Path::new("records");
        records[1].id = records[0].id;
        let error = find_record(&records, folder, &records[0].id.to_string()[..6]).unwrap_err();
        assert!(matches!(&error, FindError::Several { found, .. } if found.len() == 2));
        records[1].record.suite = "nightly".to_owned();
        let error = find_pair(&records, folder, ["clip", "random"]).unwrap_err();
        assert!(error.to_string().contains("`quickstart` and `nightly`"));
    }
}
