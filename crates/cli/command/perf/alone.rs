//! A model alone, without a suite: everything that it does by itself, on input that is made here.
//!
//! The input is synthetic scenes with their texts, in a temporary folder; images that a person gives take the places of
//! the scenes' own. What the texts say is of no matter for how fast a model answers; how long they are is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sightline_core::Seed;
use sightline_core::registry::UnknownName;
use sightline_harness::bundle::CONTENTS;
use sightline_harness::{catalog, offers};
use sightline_manifest::{
    Bootstrap, Place, Plan, PlannedAnnotations, PlannedDataset, PlannedModel, PlannedOutside,
    PlannedTask, Roots, load_model, plan,
};
use sightline_models::{Capability, recognise};
use sightline_synth::{ScenesSpec, write_scenes};
use tempfile::TempDir;

use crate::command::exits;
use crate::command::inputs::Inputs;
use crate::command::suite::{Suite, variables};
use crate::exit::{Exit, Failure};
use crate::hub;
use crate::output::Bar;

/// Name of the suite that there is none of, in records.
const NAME: &str = "alone";
/// The list of the scenes' shapes, in the order of their ids.
const SHAPES: &str = "shapes.txt";
/// Pixels of a side of the scenes.
const SIZE: u32 = 256;
/// Samples in a batch where nothing else is said, as in suites.
const BATCH_SIZE: usize = 32;

/// What is asked of a model that can do it: capability, kind of task, annotation form, its file, and the scenes' file.
const ASKED: [(Capability, &str, &str, &str, &str); 5] = [
    (
        Capability::Embed,
        "retrieval",
        "coco-captions",
        "captions",
        "captions_test.json",
    ),
    (
        Capability::Match,
        "matching",
        "valse",
        "examples",
        "foils_test.json",
    ),
    (
        Capability::Detect,
        "detection",
        "coco-instances",
        "instances",
        "instances_test.json",
    ),
    (
        Capability::Generate,
        "caption",
        "coco-captions",
        "captions",
        "captions_test.json",
    ),
    (
        Capability::Score,
        "multiple-choice",
        "valse",
        "examples",
        "foils_test.json",
    ),
];

/// Which model, and on what.
pub(super) struct Alone<'a> {
    /// Name of a manifest, a checkpoint folder, or `hf:OWNER/NAME@REVISION`.
    pub(super) model: &'a Path,
    /// Folder of the manifests.
    pub(super) manifests: &'a Path,
    /// Folder below which checkpoints of manifests are.
    pub(super) data: &'a Path,
    /// Checkpoints that are given by name.
    pub(super) checkpoints: &'a [(String, PathBuf)],
    /// Images instead of the scenes' own.
    pub(super) images: &'a [PathBuf],
    /// Samples at most.
    pub(super) samples: u64,
    /// Kinds of task, of those that it can do.
    pub(super) kinds: Option<&'a [String]>,
    /// Samples in a batch.
    pub(super) batch_size: Option<usize>,
    /// Whether the network is to be left alone.
    pub(super) offline: bool,
}

/// Whether what was named in the place of a suite is a model: no file, and no bundle.
pub(super) fn is_model(named: &Path) -> bool {
    let is_suite = named.extension().is_some_and(|end| end == "toml") || named.is_file();
    !is_suite && !named.join(CONTENTS).is_file()
}

impl Alone<'_> {
    /// The plan, and the folder of its input, which is removed when it is dropped.
    pub(super) fn plan(&self) -> Result<(Suite, TempDir), Failure> {
        let folder = TempDir::new().map_err(|error| failed(&error))?;
        self.write_input(folder.path())?;
        let (name, model, checkpoints) = self.find()?;
        let mut suite = Suite {
            plan: Plan {
                comparisons: Vec::new(),
                schema: plan::SCHEMA,
                suite: NAME.to_owned(),
                description: "A model alone, on scenes.".to_owned(),
                seed: Seed(0),
                bootstrap: Bootstrap {
                    resamples: 0,
                    confidence: 0.95,
                },
                datasets: BTreeMap::new(),
                models: BTreeMap::from([(name.clone(), model)]),
                tasks: Vec::new(),
            },
            roots: Roots {
                data: folder.path().to_owned(),
                manifests: self.manifests.to_owned(),
                checkpoints,
                variables: variables(),
                ..Roots::default()
            },
            lock: None,
        };
        suite.fetch_checkpoints(self.offline)?;
        let offered = offers(&suite.plan, &suite.roots, &name).map_err(|error| {
            let doing = format!("asking what model `{name}` can do");
            Failure::new(exits::harness(&error), doing, &error)
        })?;
        self.check_kinds()?;
        for (capability, kind, form, role, file) in ASKED {
            let is_chosen = self
                .kinds
                .is_none_or(|kinds| kinds.iter().any(|chosen| chosen == kind));
            if !offered.contains(&capability) || !is_chosen {
                continue;
            }
            suite
                .plan
                .datasets
                .insert(kind.to_owned(), dataset(form, role, file));
            suite.plan.tasks.push(PlannedTask {
                name: kind.to_owned(),
                kind: kind.to_owned(),
                dataset: kind.to_owned(),
                models: vec![name.clone()],
                batch_size: self.batch_size.unwrap_or(BATCH_SIZE),
                ..PlannedTask::default()
            });
        }
        if suite.plan.tasks.is_empty() {
            let offered: Vec<&str> = offered.iter().map(|it| it.name()).collect();
            let cause = format!(
                "`{name}` offers {}, and nothing that can be asked without a suite{}",
                offered.join(", "),
                if self.kinds.is_some() {
                    " among `--tasks`"
                } else {
                    ""
                },
            );
            let doing = format!("choosing what to ask of model `{name}`");
            let hint =
                "Name a suite with a task that the model can do, and the model with `--models`.";
            return Err(Failure::usage(doing, cause).with_hint(hint));
        }
        Ok((suite, folder))
    }

    /// Name and plan of the model, and where checkpoints are.
    fn find(&self) -> Result<(String, PlannedModel, BTreeMap<String, PathBuf>), Failure> {
        let mut checkpoints: BTreeMap<_, _> = self.checkpoints.iter().cloned().collect();
        let folder = match hub::name(self.model) {
            Some(on_hub) => Some(hub::fetch(&on_hub?, self.offline)?.0),
            None => Some(self.model.to_owned()).filter(|folder| folder.is_dir()),
        };
        if let Some(folder) = folder {
            let name = name_of(self.model);
            let family = recognise(&folder).map_err(|error| {
                let doing = format!("recognising model `{}`", self.model.display());
                Failure::new(exits::models(&error), doing, &error)
            })?;
            checkpoints.insert(name.clone(), folder);
            let model = PlannedModel {
                description: format!("The checkpoint `{name}`."),
                family: family.name.to_owned(),
                checkpoint: Some(Place::Given(name.clone())),
                tokenizer: "checkpoint".to_owned(),
                pixels: "exact".to_owned(),
                weights: None,
                outside: None,
            };
            return Ok((name, model, checkpoints));
        }
        let name = self.model.to_string_lossy().into_owned();
        let given: BTreeSet<String> = checkpoints.keys().cloned().collect();
        let model = load_model(self.manifests, &name, &catalog(), &given);
        let mut model = model.map_err(|error| {
            let doing = format!("reading the manifest of model `{name}`");
            Failure::new(exits::manifest(&error), doing, &error)
                .with_hint("Name a suite's file, a model of the manifests, or a checkpoint folder.")
        })?;
        // The data folder is that of the input: what the manifest has below the person's is given by its path.
        let place = match &mut model.outside {
            Some(PlannedOutside::Process(process)) => Some(&mut process.folder),
            Some(PlannedOutside::Endpoint(_)) => None,
            None => model.checkpoint.as_mut(),
        };
        if let Some(place) = place
            && let Place::Data(below) = place
        {
            checkpoints.insert(name.clone(), self.data.join(&*below));
            *place = Place::Given(name.clone());
        }
        Ok((name, model, checkpoints))
    }

    fn check_kinds(&self) -> Result<(), Failure> {
        let known = ASKED.map(|(_, kind, ..)| kind);
        let mut kinds = self.kinds.into_iter().flatten();
        let Some(other) = kinds.find(|kind| !known.contains(&kind.as_str())) else {
            return Ok(());
        };
        let error = UnknownName::among("task of a model alone", other, known);
        Err(Failure::new(Exit::Usage, "choosing what to ask", &error))
    }

    /// Writes scenes, and puts the given images in the places of theirs.
    fn write_input(&self, folder: &Path) -> Result<(), Failure> {
        let most = usize::try_from(self.samples).unwrap_or(usize::MAX);
        let mut images = Vec::new();
        for input in Inputs::new(self.images)?.take(most) {
            images.push(input?.bytes);
        }
        let count = if images.is_empty() {
            self.samples
        } else {
            images.len() as u64
        };
        let spec = ScenesSpec {
            train: 0,
            val: 0,
            test: u32::try_from(count).unwrap_or(u32::MAX),
            size: SIZE,
            ..ScenesSpec::default()
        };
        let scenes = folder.join("scenes");
        write_scenes(&spec, &scenes, &Bar::default()).map_err(|error| {
            Failure::new(exits::synth(&error), "making scenes to ask about", &error)
        })?;
        let mut write = || -> io::Result<()> {
            for (image, number) in images.drain(..).zip(0..) {
                // Whatever it is called, a file is recognised by its bytes.
                let file = format!("images/test/{number:06}.jpg");
                fs::write(scenes.join(file), image)?;
            }
            let instances = fs::read(scenes.join("annotations/instances_test.json"))?;
            let instances: Value = serde_json::from_slice(&instances)?;
            let categories = instances["categories"].as_array().into_iter().flatten();
            let names = categories.filter_map(|category| category["name"].as_str());
            let mut names: Vec<&str> = names.collect();
            names.push("");
            fs::write(scenes.join(SHAPES), names.join("\n"))
        };
        write().map_err(|error| failed(&error))
    }
}

/// The scenes, with annotations of this form in this file.
fn dataset(form: &str, role: &str, file: &str) -> PlannedDataset {
    let place = |path: String| Some(Place::Data(format!("scenes/{path}")));
    PlannedDataset {
        description: "Synthetic scenes.".to_owned(),
        images: place("images/test/*".to_owned()),
        regions: place("regions/test.tsv".to_owned()),
        annotations: Some(PlannedAnnotations {
            form: form.to_owned(),
            split: None,
            files: place(format!("annotations/{file}"))
                .map(|place| (role.to_owned(), place))
                .into_iter()
                .collect(),
        }),
        classes: place(SHAPES.to_owned()),
        ..PlannedDataset::default()
    }
}

/// A name for records of what is called by a path or by its name on the hub: its last part, in letters of names.
fn name_of(model: &Path) -> String {
    let text = model.to_string_lossy();
    let text = text
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let text = text.split('@').next().unwrap_or_default().to_lowercase();
    let of_name = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = text.chars().map(of_name).collect();
    match name.trim_matches('-') {
        "" => "model".to_owned(),
        name => name.to_owned(),
    }
}

fn failed(error: &io::Error) -> Failure {
    Failure::io("writing input for the model to a temporary folder", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_called_by_its_last_part() {
        for (path, name) in [
            ("checkpoints/CLIP_ViT-B.32/", "clip-vit-b-32"),
            (
                "hf:openai/clip-vit-base-patch32@main",
                "clip-vit-base-patch32",
            ),
            ("..", "model"),
        ] {
            assert_eq!(name_of(Path::new(path)), name);
        }
    }
}
