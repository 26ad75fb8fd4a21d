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
    /// Known names, nearest first; at most three.
    pub nearest: Vec<String>,
}

impl UnknownName {
    /// The error for `name` among `known`.
    pub fn among<'a>(
        kind: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            nearest: nearest(name, known),
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
        if self.nearest.is_empty() {
            return Vec::new();
        }
        let names: Vec<String> = self.nearest.iter().map(|n| format!("`{n}`")).collect();
        vec![format!("Did you mean {}?", names.join(" or "))]
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
}
