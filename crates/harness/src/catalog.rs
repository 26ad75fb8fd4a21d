//! The registries as plain data, for checking manifests.

use sightline_manifest::{Catalog, ENDPOINT, FamilyInfo, FormFile, FormInfo, PROCESS, TaskInfo};
use sightline_models::{Capability, FAMILIES, Precision, Way};
use sightline_preprocess::Mode;
use sightline_shard::FORMATS;

use crate::annotations::FORMS;
use crate::models::TOKENIZERS;
use crate::task::{ClassUse, TASKS, Task};

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
            .chain(outside())
            .collect(),
        tasks: TASKS
            .iter()
            .map(|task| TaskInfo {
                kind: task.kind().to_owned(),
                needs: needs(*task),
                metrics: owned(task.metrics()),
                more_metrics: owned(task.more_metrics()),
                forms: owned(task.forms()),
                options: owned(task.options()),
                needs_options: owned(task.needs_options()),
                needs_classes: task.classes() == ClassUse::Needed,
            })
            .collect(),
        forms: FORMS
            .iter()
            .map(|form| FormInfo {
                name: form.name().to_owned(),
                files: form
                    .files()
                    .iter()
                    .map(|role| FormFile {
                        name: role.name.to_owned(),
                        is_required: role.is_required,
                    })
                    .collect(),
                has_splits: form.has_splits(),
            })
            .collect(),
        formats: FORMATS
            .iter()
            .map(|format| format.name().to_owned())
            .collect(),
        tokenizers: owned(&TOKENIZERS.map(|(name, _)| name)),
        pixels: owned(&Mode::ALL.map(Mode::name)),
        weights: owned(&Precision::ALL.map(Precision::name)),
    }
}

/// Models outside the program: what any of them may offer. What one does is asked of it when a lock is made.
fn outside() -> Vec<FamilyInfo> {
    let family = |name: &str, capabilities: &[Capability]| FamilyInfo {
        name: name.to_owned(),
        capabilities: capabilities.iter().map(|it| it.name().to_owned()).collect(),
        needs_checkpoint: false,
    };
    vec![
        family(
            PROCESS,
            &[
                Capability::Embed,
                Capability::Classify,
                Capability::Match,
                Capability::Detect,
                Capability::Generate,
                Capability::Score,
                Capability::Answer,
            ],
        ),
        family(
            ENDPOINT,
            &[Capability::Generate, Capability::Score, Capability::Answer],
        ),
    ]
}

/// Names of the capabilities by which a model can do `task`: those that it needs, and those from which one follows.
fn needs(task: &dyn Task) -> Vec<String> {
    let able = |capability: &&Capability| Way::to(task.needs(), &[**capability]).is_some();
    let derived = Capability::ALL.iter().filter(able);
    let mut all: Vec<Capability> = task.needs().to_vec();
    all.extend(derived.filter(|capability| !task.needs().contains(capability)));
    all.iter()
        .map(|capability| capability.name().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use sightline_manifest::SHARDS;

    use super::*;

    #[test]
    fn the_catalog_names_what_is_registered() {
        let catalog = catalog();
        let kinds: Vec<&str> = catalog
            .tasks
            .iter()
            .map(|task| task.kind.as_str())
            .collect();
        assert_eq!(
            kinds,
            [
                "caption",
                "detection",
                "detection-lvis",
                "episodes",
                "few-shot-caption",
                "few-shot-vqa",
                "grounding",
                "hallucination",
                "linear-probe",
                "linear-probe-sgd",
                "matching",
                "multiple-choice",
                "nlvr2",
                "pope",
                "retrieval",
                "snli-ve",
                "svm-probe",
                "vcr",
                "vqa",
                "zero-shot",
                "zero-shot-multi-label"
            ]
        );
        assert!(
            catalog
                .task("zero-shot")
                .is_some_and(|task| task.needs_classes)
        );
        for format in ["mds", "parquet", "webdataset"] {
            assert!(
                catalog.formats.iter().any(|known| known == format),
                "{format}"
            );
        }
        assert_eq!(catalog.tokenizers, ["checkpoint", "word-hash"]);
        let vqa = catalog.task("vqa").unwrap();
        assert_eq!(vqa.needs, ["classify", "answer", "embed", "score"]);
        for task in &catalog.tasks {
            for form in &task.forms {
                assert!(form == SHARDS || catalog.form(form).is_some(), "{form}");
            }
            let able = |family: &&FamilyInfo| {
                let mut needs = task.needs.iter();
                needs.any(|need| family.capabilities.contains(need))
            };
            assert!(
                catalog.families.iter().any(|family| able(&family)),
                "{}",
                task.kind
            );
        }
    }
}
