//! Rules that single values obey: names, templates, paths, numbers.

use std::fmt::Display;
use std::ops::RangeInclusive;

use sightline_core::{HubName, hub};

use crate::error::Fault;
use crate::plan::Place;

/// Largest batch: a batch is held in memory as a whole.
pub const MAX_BATCH_SIZE: u64 = 1 << 16;
/// Most bootstrap resamples: more would only add digits that the sample cannot carry.
pub const MAX_RESAMPLES: u32 = 1_000_000;

/// What names look like, for people.
pub(crate) const KEBAB_CASE: &str =
    "lower-case letters and digits in parts joined by `-`, at most 80 characters";
/// Where a template takes the class name.
pub(crate) const TEMPLATE_MARK: &str = "{}";

const MAX_NAME_BYTES: usize = 80;

/// Checks a name that becomes part of file names: `[a-z0-9]+(-[a-z0-9]+)*`.
pub(crate) fn name(written: &str) -> Result<(), Fault> {
    let is_kebab_case = written.split('-').all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    });
    if is_kebab_case && written.len() <= MAX_NAME_BYTES {
        Ok(())
    } else {
        Err(Fault::Name {
            name: written.to_owned(),
        })
    }
}

/// Checks a prompt: one place for the class name.
pub(crate) fn template(written: &str) -> Result<(), Fault> {
    match written.matches(TEMPLATE_MARK).count() {
        1 => Ok(()),
        marks => Err(Fault::Template {
            template: written.to_owned(),
            marks,
        }),
    }
}

/// The place that a path means: with `./` below `folder` of the manifests, otherwise below the data
/// folder. It cannot leave either.
pub(crate) fn place(written: &str, folder: &str) -> Result<Place, Fault> {
    let below = written.strip_prefix("./");
    let path = below.unwrap_or(written);
    let is_drive = path.as_bytes().get(1) == Some(&b':');
    let reason = if path.is_empty() {
        "is empty"
    } else if path.starts_with('/') || is_drive {
        "is absolute"
    } else if path.split('/').any(|part| part == "..") {
        "has a `..` part"
    } else if path.split('/').any(|part| matches!(part, "" | ".")) {
        "has an empty or `.` part"
    } else if path.contains('\\') {
        "holds a backslash"
    } else if path.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(if below.is_some() {
            Place::Manifests(format!("{folder}/{path}"))
        } else {
            Place::Data(path.to_owned())
        });
    };
    Err(Fault::Path {
        path: written.to_owned(),
        reason,
    })
}

/// The place of a checkpoint: on the hub, or as [`place`].
pub(crate) fn checkpoint(written: &str, folder: &str) -> Result<Place, Fault> {
    if !written.starts_with(hub::PREFIX) {
        return place(written, folder);
    }
    match written.parse::<HubName>() {
        Ok(name) => Ok(Place::Hub(name.to_string())),
        Err(error) => Err(Fault::Path {
            path: written.to_owned(),
            reason: error.reason,
        }),
    }
}

/// Checks a number against the values it may have.
pub(crate) fn range<T: PartialOrd + Display>(
    field: &'static str,
    value: T,
    allowed: &RangeInclusive<T>,
) -> Result<T, Fault> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    Err(Fault::Range {
        field,
        value: value.to_string(),
        limit: format!("from {} to {}", allowed.start(), allowed.end()),
    })
}

/// Checks the share of values inside an interval.
pub(crate) fn confidence(value: f64) -> Result<f64, Fault> {
    if value > 0.0 && value < 1.0 {
        return Ok(value);
    }
    Err(Fault::Range {
        field: "confidence",
        value: value.to_string(),
        limit: "between 0 and 1, for example 0.95".to_owned(),
    })
}

/// Checks a probability that must not be nothing.
pub(crate) fn probability(field: &'static str, value: f64) -> Result<f64, Fault> {
    if value > 0.0 && value <= 1.0 {
        return Ok(value);
    }
    Err(Fault::Range {
        field,
        value: value.to_string(),
        limit: "above 0 and at most 1".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        for good in ["a", "clip-vit-b32", "2-x"] {
            assert!(name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(81);
        for bad in [
            "", "-", "a-", "-a", "a--b", "A", "a_b", "a.b", "a/b", "é", "..", &long,
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn templates_have_one_place() {
        assert!(template("a photo of a {}.").is_ok());
        for bad in ["", "a photo", "{} and {}", "{", "{ }"] {
            assert!(template(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_stay_below_their_folder() {
        let data = |path: &str| Place::Data(path.to_owned());
        assert_eq!(
            place("shards/*.tar", "datasets").unwrap(),
            data("shards/*.tar")
        );
        assert_eq!(place("a..b/...", "datasets").unwrap(), data("a..b/..."));
        assert_eq!(
            place("./x.txt", "datasets").unwrap(),
            Place::Manifests("datasets/x.txt".to_owned())
        );
        for bad in [
            "",
            "./",
            "/etc/passwd",
            ".//etc",
            "..",
            "../x",
            "./../x",
            "a/../b",
            "a/..",
            "a//b",
            "a/",
            "a/./b",
            "././a",
            "a\\..\\b",
            "C:\\x",
            "C:x",
            "a\0b",
            "a\nb",
        ] {
            assert!(place(bad, "datasets").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_checkpoint_may_be_on_the_hub_at_a_revision() {
        let on_hub = "hf:openai/clip-vit-base-patch32@main";
        let place = checkpoint(on_hub, "models").unwrap();
        assert_eq!(place, Place::Hub(on_hub.to_owned()));
        let error = checkpoint("hf:openai/clip-vit-base-patch32", "models").unwrap_err();
        let ending = "lacks `@` and a revision";
        assert!(error.to_string().ends_with(ending), "{error}");
        let below = checkpoint("clip", "models").unwrap();
        assert_eq!(below, Place::Data("clip".to_owned()));
    }

    #[test]
    fn numbers_outside_are_refused_with_the_limit() {
        for bad in [0.0, 1.0, -0.5, f64::NAN, f64::INFINITY] {
            assert!(confidence(bad).is_err(), "{bad}");
        }
        assert!(confidence(0.95).is_ok());
        let error = range("batch_size", 0, &(1..=MAX_BATCH_SIZE)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`batch_size` is 0, it must be from 1 to 65536"
        );
    }
}
