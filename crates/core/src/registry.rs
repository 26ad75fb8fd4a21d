//! Names in a registry, and the nearest known ones when a name is unknown.

use std::fmt;

use crate::Hint;

/// A name that no entry of a registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// What was looked for: "model", "task", "metric".
    pub kind: &'static str,
    /// The name as given.
    pub name: String,
    /// Known names that were perhaps meant, nearest first; at most three.
    pub nearest: Vec<String>,
    /// Every known name, as far as the list is short enough to be read; else none.
    pub known: Vec<String>,
}

/// Most known names that are listed where none is near.
const LISTED: usize = 20;

impl UnknownName {
    /// The error for `name` among `known`.
    pub fn among<'a>(
        kind: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let listed = if known.len() <= LISTED {
            &known[..]
        } else {
            &[]
        };
        Self {
            kind,
            name: name.to_owned(),
            nearest: nearest(name, known.iter().copied()),
            known: listed.iter().map(|&name| name.to_owned()).collect(),
        }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} `{}`", self.kind, self.name)
    }
}

impl std::error::Error for UnknownName {}

impl Hint for UnknownName {
    fn hints(&self) -> Vec<String> {
        let quote = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| format!("`{name}`")).collect()
        };
        if !self.nearest.is_empty() {
            vec![format!(
                "Did you mean {}?",
                quote(&self.nearest).join(" or ")
            )]
        } else if !self.known.is_empty() {
            vec![format!("Known: {}.", quote(&self.known).join(", "))]
        } else {
            Vec::new()
        }
    }
}

/// Up to three of `known` that a person may have meant by `name`, nearest first: one contains the
/// other, or at most a third of the letters (and at least two) differ.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let name = name.to_lowercase();
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|candidate| {
            let lower = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&name, &lower);
            let limit = 2.max(name.chars().count().max(lower.chars().count()) / 3);
            let contained = !name.is_empty() && (lower.contains(&name) || name.contains(&lower));
            (distance <= limit || contained).then_some((distance, candidate))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(3);
    found.into_iter().map(|(_, c)| c.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_come_first_and_far_ones_not_at_all() {
        let known = ["zero-shot", "retrieval", "caption"];
        assert_eq!(nearest("retreival", known), ["retrieval"]);
        assert_eq!(nearest("zeroshot", known), ["zero-shot"]);
        assert_eq!(nearest("segment", known), Vec::<String>::new());
        let error = UnknownName::among("task", "captoin", known);
        assert_eq!(error.to_string(), "unknown task `captoin`");
        assert_eq!(error.hints(), ["Did you mean `caption`?"]);
    }

    #[test]
    fn where_no_name_is_near_all_are_listed_if_they_are_few() {
        let error = UnknownName::among("task", "segment", ["zero-shot", "caption"]);
        assert_eq!(error.hints(), ["Known: `zero-shot`, `caption`."]);
        let many: Vec<String> = (100..200).map(|n| n.to_string()).collect();
        let error = UnknownName::among("task", "segment", many.iter().map(String::as_str));
        assert!(error.hints().is_empty());
    }
}
