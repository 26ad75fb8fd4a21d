//! What signatures of all three metrics share.

use std::fmt;

use crate::CaptionItem;

/// The version of sacrebleu that scores equal.
pub const VERSION: &str = "2.6.0";

/// How many references items have, as signatures say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// As many for every item.
    Each(usize),
    /// Not as many for every item.
    Vary,
}

impl References {
    /// Counts the references of items; of no items there are none.
    pub fn of(items: &[CaptionItem]) -> Self {
        let mut counts = items.iter().map(|item| item.references.len());
        let first = counts.next().unwrap_or(0);
        if counts.all(|count| count == first) {
            Self::Each(first)
        } else {
            Self::Vary
        }
    }
}

impl fmt::Display for References {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each(count) => write!(f, "{count}"),
            Self::Vary => f.write_str("var"),
        }
    }
}

/// The signature over these items; without items that of the settings, which does not say how many
/// references there are.
pub(super) fn over(
    items: Option<&[CaptionItem]>,
    signature: impl Fn(References) -> String,
) -> String {
    if let Some(items) = items {
        return signature(References::of(items));
    }
    let signature = signature(References::Vary);
    let settings = signature.split_once('|').map(|(_, settings)| settings);
    settings.unwrap_or_default().to_owned()
}

/// How signatures write a switch.
pub(super) fn yes_no(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

/// How signatures write whether upper and lower case differ.
pub(super) fn case(lowercase: bool) -> &'static str {
    if lowercase { "lc" } else { "mixed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_references_are_equal_or_vary() {
        let item = |references: &[&str]| CaptionItem::new("a", references);
        assert_eq!(References::of(&[]), References::Each(0));
        assert_eq!(
            References::of(&[item(&["a", "b"]), item(&["a", "a"])]).to_string(),
            "2"
        );
        assert_eq!(
            References::of(&[item(&["a", "b"]), item(&["a"])]).to_string(),
            "var"
        );
    }
}
