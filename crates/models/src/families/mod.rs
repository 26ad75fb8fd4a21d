//! The families, and the registry that names them.

pub mod align;
pub mod asif;
pub mod clip;
pub mod constant;
pub mod flamingo;
pub mod frozen;
pub mod magic;
pub mod random;
pub mod simvlm;
pub mod vild;
pub mod virtex;
pub mod visualbert;
pub mod visualgpt;

use sightline_core::registry::UnknownName;

use crate::Family;

/// Every family, sorted by name.
pub static FAMILIES: &[&Family] = &[
    &align::FAMILY,
    &asif::FAMILY,
    &clip::FAMILY,
    &constant::FAMILY,
    &flamingo::FAMILY,
    &frozen::FAMILY,
    &magic::FAMILY,
    &random::FAMILY,
    &simvlm::FAMILY,
    &vild::FAMILY,
    &virtex::FAMILY,
    &visualbert::FAMILY,
    &visualgpt::FAMILY,
];

/// The family called `name`, or the nearest names.
pub fn family(name: &str) -> Result<&'static Family, UnknownName> {
    FAMILIES
        .iter()
        .find(|family| family.name == name)
        .copied()
        .ok_or_else(|| UnknownName::among("model family", name, FAMILIES.iter().map(|f| f.name)))
}

#[cfg(test)]
mod tests {
    use sightline_core::Hint;

    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(FAMILIES.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn an_unknown_name_answers_with_the_nearest() {
        let error = family("clipp").unwrap_err();
        assert_eq!(error.to_string(), "unknown model family `clipp`");
        assert_eq!(error.hints(), ["Did you mean `clip`?"]);
        assert_eq!(family("random").unwrap().name, "random");
    }
}
