//! What `sightline models show` says of a model manifest.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use sightline_core::registry::UnknownName;
use sightline_harness::catalog;
use sightline_manifest::{ModelCard, RunWith, list, load_card};
use sightline_models::FAMILIES;

use crate::command::exits;
use crate::exit::{Exit, Failure};

/// A card as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Card {
    schema: u32,
    #[serde(flatten)]
    card: ModelCard,
}

/// The card of the manifest called `name`, if there is one. A family of that name comes first.
pub(super) fn find(manifests: &Path, name: &str) -> Result<Option<Card>, Failure> {
    let is_family = FAMILIES.iter().any(|family| family.name == name);
    let is_listed = || {
        let found = list(manifests).unwrap_or_default();
        found.models.iter().any(|entry| entry.name == name)
    };
    if is_family || !is_listed() {
        return Ok(None);
    }
    let card = load_card(manifests, name, &catalog()).map_err(|error| {
        let doing = format!("reading model manifest `{name}`");
        Failure::new(exits::manifest(&error), doing, &error)
    })?;
    Ok(Some(Card {
        schema: super::SCHEMA,
        card,
    }))
}

/// The failure of a name that neither a family nor a manifest has.
pub(super) fn unknown(manifests: &Path, error: &UnknownName) -> Failure {
    let listed = list(manifests).unwrap_or_default();
    let known = listed.models.iter().map(|entry| entry.name.as_str());
    let families = FAMILIES.iter().map(|family| family.name);
    let error = UnknownName::among("model or family", &error.name, known.chain(families));
    Failure::new(Exit::Usage, "looking up a model", &error)
}

impl Card {
    /// In words; values that nobody looked up are counted and not printed.
    pub(super) fn text(&self) -> String {
        let card = &self.card;
        let mut text = format!(
            "{}\n{}\nfamily: {}",
            card.name, card.description, card.family
        );
        if let Some(published) = &card.published {
            let _ = write!(
                text,
                "\nsource: {}\nfiles: {}\nlicence: {}\nparameters: {} million\nrun with: {}",
                published.source,
                published.files.join(", "),
                published.licence,
                published.parameters_millions,
                match published.run_with {
                    RunWith::PublishedWeights => "the published weights",
                    RunWith::RandomWeights => "random weights only",
                }
            );
            if let Some(note) = &published.note {
                let _ = write!(text, "\nnote: {note}");
            }
        }
        let (verified, others): (Vec<_>, Vec<_>) = card
            .paper_targets
            .iter()
            .partition(|target| target.verified);
        for target in verified {
            let _ = write!(
                text,
                "\nreported, not measured here: {} {}, {} on {} ({})",
                target.metric, target.value, target.task, target.dataset, target.source
            );
        }
        if !others.is_empty() {
            let _ = write!(
                text,
                "\n{} more quoted from memory, to be looked up before they are printed",
                others.len()
            );
        }
        text
    }
}
