//! What is known of a published checkpoint: where it comes from, under which licence, and what others report of it.
//!
//! Nothing of this reaches a plan: a card says what a person wants to know before a download, and what a score may be
//! compared with.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use sightline_core::hub;

use crate::catalog::Catalog;
use crate::check::{Checker, texts};
use crate::error::{Error, Fault, Where};
use crate::folder::Kind;
use crate::rules;
use crate::schema::{Model, WrittenCompared, WrittenPublished, WrittenTarget};
use crate::span::SourceFile;

/// A model manifest, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelCard {
    /// Name of the manifest.
    pub name: String,
    /// Family.
    pub family: String,
    /// What it is.
    pub description: String,
    /// How it was published, if it was.
    pub published: Option<Published>,
    /// What others report of it.
    pub paper_targets: Vec<PaperTarget>,
}

/// How a checkpoint was published.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Published {
    /// `hf:OWNER/NAME`, or the URL of a page.
    pub source: String,
    /// Files of it that are needed.
    pub files: Vec<String>,
    /// Name of the licence, or what is said instead of one.
    pub licence: String,
    /// What else a person has to know.
    pub note: Option<String>,
    /// Millions of parameters.
    pub parameters_millions: f64,
    /// With which weights this program's code has been run.
    pub run_with: RunWith,
}

/// With which weights the code of a model has been run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunWith {
    /// Small random checkpoints in the same layout.
    RandomWeights,
    /// The published weights.
    PublishedWeights,
}

impl RunWith {
    /// Both.
    pub const ALL: [Self; 2] = [Self::RandomWeights, Self::PublishedWeights];

    /// As manifests name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RandomWeights => "random-weights",
            Self::PublishedWeights => "published-weights",
        }
    }
}

/// A value that a paper, or the page of a checkpoint, reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PaperTarget {
    /// What was done, as "zero-shot" or "linear probe".
    pub task: String,
    /// Data and split.
    pub dataset: String,
    /// What was measured.
    pub metric: String,
    /// As it is printed there.
    pub value: f64,
    /// Where it is printed.
    pub source: String,
    /// Whether somebody looked it up there; one quoted from memory is not to be printed.
    pub verified: bool,
    /// What here measures the same, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compared>,
}

/// What here measures what a paper did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Kind of task.
    pub kind: String,
    /// Name of the dataset's manifest.
    pub dataset: String,
    /// Metric id.
    pub metric: String,
    /// Demonstrations; `None` for kinds without any.
    pub shots: Option<u32>,
}

/// Reads and checks the card in the model manifest `name` below the manifests `folder`.
pub fn load_card(folder: &Path, name: &str, catalog: &Catalog) -> Result<ModelCard, Error> {
    let mut checker = Checker::new(folder.to_owned(), catalog);
    let card = checker.card(name);
    checker.finish(card)
}

impl Checker<'_> {
    fn card(&mut self, name: &str) -> Option<ModelCard> {
        let (file, written) = self.find::<Model>(Kind::Model, name, &Where::Nowhere)?;
        self.own_name(Kind::Model, &file, &written.name);
        let families = &self.catalog.families;
        let known: Vec<String> = families.iter().map(|family| family.name.clone()).collect();
        let family = self.known("family", &file, &written.family, &known);
        let (published, paper_targets) = self.published(&file, &written);
        Some(ModelCard {
            name: written.name.into_inner(),
            family: family?,
            description: written.description,
            published,
            paper_targets,
        })
    }

    /// What a manifest says of its model's publication, checked.
    pub(crate) fn published(
        &mut self,
        file: &Arc<SourceFile>,
        written: &Model,
    ) -> (Option<Published>, Vec<PaperTarget>) {
        let published = written.published.as_ref();
        let published = published.and_then(|published| self.publication(file, published));
        (published, self.targets(file, &written.paper_target))
    }

    fn publication(
        &mut self,
        file: &Arc<SourceFile>,
        written: &WrittenPublished,
    ) -> Option<Published> {
        let source = self.keep(
            file,
            written.source.span(),
            source(written.source.get_ref()),
        );
        self.list("files", "file", file, &written.files);
        self.filled("licence", file, &written.licence);
        let millions = &written.parameters_millions;
        let is_size = *millions.get_ref() > 0.0 && millions.get_ref().is_finite();
        let millions = self.keep(file, millions.span(), {
            let value = *millions.get_ref();
            is_size.then_some(value).ok_or_else(|| Fault::Range {
                field: "parameters_millions",
                value: value.to_string(),
                limit: "above 0, for example 151.3".to_owned(),
            })
        });
        let known = RunWith::ALL.map(|with| with.name().to_owned());
        let run_with = self.known("weights", file, &written.run_with, &known)?;
        Some(Published {
            source: source?,
            files: texts(&written.files),
            licence: written.licence.get_ref().clone(),
            note: written.note.clone(),
            parameters_millions: millions?,
            run_with: RunWith::ALL
                .into_iter()
                .find(|with| with.name() == run_with)?,
        })
    }

    /// What others report, checked.
    pub(crate) fn targets(
        &mut self,
        file: &Arc<SourceFile>,
        written: &[WrittenTarget],
    ) -> Vec<PaperTarget> {
        let targets = written.iter();
        targets
            .filter_map(|target| self.target(file, target))
            .collect()
    }

    fn target(&mut self, file: &Arc<SourceFile>, written: &WrittenTarget) -> Option<PaperTarget> {
        for (field, text) in [
            ("task", &written.task),
            ("dataset", &written.dataset),
            ("metric", &written.metric),
            ("source", &written.source),
        ] {
            self.filled(field, file, text);
        }
        let value = *written.value.get_ref();
        let checked = rules::range("value", value, &(0.0..=f64::MAX));
        let compare = match &written.compare {
            Some(compare) => Some(self.compared(file, compare)?),
            None => None,
        };
        Some(PaperTarget {
            task: written.task.get_ref().clone(),
            dataset: written.dataset.get_ref().clone(),
            metric: written.metric.get_ref().clone(),
            value: self.keep(file, written.value.span(), checked)?,
            source: written.source.get_ref().clone(),
            verified: written.verified,
            compare,
        })
    }

    fn compared(&mut self, file: &Arc<SourceFile>, written: &WrittenCompared) -> Option<Compared> {
        let tasks = &self.catalog.tasks;
        let kinds: Vec<String> = tasks.iter().map(|task| task.kind.clone()).collect();
        let kind = self.known("task kind", file, &written.kind, &kinds)?;
        let task = self.catalog.tasks.iter().find(|task| task.kind == kind)?;
        let metrics: Vec<String> = task
            .metrics
            .iter()
            .chain(&task.more_metrics)
            .cloned()
            .collect();
        self.filled("dataset", file, &written.dataset);
        Some(Compared {
            metric: self.known("metric", file, &written.metric, &metrics)?,
            kind,
            dataset: written.dataset.get_ref().clone(),
            shots: written.shots,
        })
    }

    /// Checks that a text says something.
    pub(crate) fn filled(
        &mut self,
        field: &'static str,
        file: &Arc<SourceFile>,
        text: &toml::Spanned<String>,
    ) {
        if text.get_ref().trim().is_empty() {
            self.tell_at(file, text.span(), Fault::Empty { field });
        }
    }
}

/// Checks where a checkpoint was published.
fn source(written: &str) -> Result<String, Fault> {
    let is_known = match written.strip_prefix(hub::PREFIX) {
        Some(repo) => hub::check_repo(repo).is_ok(),
        None => written
            .strip_prefix("https://")
            .is_some_and(|rest| !rest.is_empty()),
    };
    if is_known {
        return Ok(written.to_owned());
    }
    Err(Fault::Path {
        path: written.to_owned(),
        reason: "is neither `hf:OWNER/NAME` nor the `https://` address of a page",
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::catalog::{FamilyInfo, TaskInfo};

    const CARD: &str = "schema = 1\nmodel = 'tiny'\nfamily = 'clip'\ndescription = 'Tiny.'\n\
                        [published]\nsource = 'hf:owner/tiny'\nfiles = ['config.json']\nlicence = 'MIT'\n\
                        parameters_millions = 0.1\nrun_with = 'random-weights'\n\
                        [[paper_target]]\ntask = 'zero-shot'\ndataset = 'ImageNet val'\nmetric = 'accuracy'\n\
                        value = 63.2\nsource = 'a paper'\nverified = true\n";

    fn card(text: &str) -> Result<ModelCard, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("models")).unwrap();
        fs::write(folder.path().join("models/tiny.toml"), text).unwrap();
        let catalog = Catalog {
            families: vec![FamilyInfo {
                name: "clip".to_owned(),
                capabilities: vec!["embed".to_owned()],
                needs_checkpoint: true,
            }],
            tasks: vec![TaskInfo {
                kind: "retrieval".to_owned(),
                metrics: vec!["recall@1".to_owned()],
                ..TaskInfo::default()
            }],
            ..Catalog::default()
        };
        load_card(folder.path(), "tiny", &catalog).map_err(|error| error.to_string())
    }

    #[test]
    fn a_card_says_what_is_known_of_a_checkpoint() {
        let found = card(CARD).unwrap();
        let published = found.published.unwrap();
        assert_eq!(published.source, "hf:owner/tiny");
        assert_eq!(published.run_with, RunWith::RandomWeights);
        assert!((found.paper_targets[0].value - 63.2).abs() < 1e-9);
        let without = CARD.split("[published]").next().unwrap();
        assert_eq!(card(without).unwrap().published, None);
    }

    #[test]
    fn what_measures_the_same_is_named_and_checked() {
        let with = |metric: &str| {
            let compare = format!(
                "compare = {{ kind = 'retrieval', dataset = 'coco', metric = '{metric}' }}\n"
            );
            card(&format!("{CARD}{compare}"))
        };
        let found = with("recall@1").unwrap().paper_targets[0]
            .compare
            .clone()
            .unwrap();
        assert_eq!((found.metric.as_str(), found.shots), ("recall@1", None));
        assert!(
            with("recal@1")
                .unwrap_err()
                .contains("unknown metric `recal@1`")
        );
    }

    #[test]
    fn what_a_card_cannot_say_is_told() {
        for (from, to, told) in [
            ("hf:owner/tiny", "owner/tiny", "neither `hf:OWNER/NAME` nor"),
            ("hf:owner/tiny", "hf:tiny", "neither `hf:OWNER/NAME` nor"),
            ("'MIT'", "' '", "`licence` is empty"),
            ("= 0.1", "= -1.0", "`parameters_millions` is -1"),
            ("random-weights", "random", "unknown weights `random`"),
            ("['config.json']", "[]", "`files` is empty"),
            ("= 63.2", "= nan", "`value` is NaN"),
            ("'zero-shot'", "''", "`task` is empty"),
            ("verified = true", "", "missing field `verified`"),
            ("licence =", "license =", "unknown field `license`"),
        ] {
            let error = card(&CARD.replace(from, to)).unwrap_err();
            assert!(error.contains(told), "{to}: {error}");
        }
    }
}
