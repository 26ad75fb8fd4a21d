//! The registries as plain data, for checking manifests.

use sightline_manifest::{Catalog, FamilyInfo, TaskInfo};
use sightline_models::FAMILIES;
use sightline_preprocess::Mode;
use sightline_shard::FORMATS;

use crate::models::TOKENIZERS;
use crate::task::TASKS;

/// Every registered family, task kind, shard format, tokenizer and mode of pixels.
pub fn catalog() -> Catalog {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Catalog {
        families: FAMILIES
            .iter()
            .map(|family| FamilyInfo {
                name: family.name.to_owned(),
                capabilities: family
                    .capabilities
                    .iter()
                    .map(|capability| capability.name().to_owned())
                    .collect(),
                needs_checkpoint: family.needs_checkpoint,
            })
            .collect(),
        tasks: TASKS
            .iter()
            .map(|task| TaskInfo {
                kind: task.kind().to_owned(),
                needs: task.needs().name().to_owned(),
                metrics: owned(task.metrics()),
                needs_classes: task.needs_classes(),
            })
            .collect(),
        formats: FORMATS
            .iter()
            .map(|format| format.name().to_owned())
            .collect(),
        tokenizers: owned(&TOKENIZERS.map(|(name, _)| name)),
        pixels: owned(&Mode::ALL.map(Mode::name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_names_what_is_registered() {
        let catalog = catalog();
        let kinds: Vec<&str> = catalog
            .tasks
            .iter()
            .map(|task| task.kind.as_str())
            .collect();
        assert_eq!(kinds, ["retrieval", "zero-shot"]);
        assert!(
            catalog
                .task("zero-shot")
                .is_some_and(|task| task.needs_classes)
        );
        assert_eq!(catalog.formats, ["webdataset"]);
        assert_eq!(catalog.tokenizers, ["checkpoint", "word-hash"]);
        for task in &catalog.tasks {
            let able = |family: &&FamilyInfo| family.capabilities.contains(&task.needs);
            assert!(
                catalog.families.iter().any(|family| able(&family)),
                "{}",
                task.kind
            );
        }
    }
}
