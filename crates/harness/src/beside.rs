//! What a task needs beside the examples that it asks about: what it learns from, and what stands before each question.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use candle_core::Device;
use serde_json::json;
use sightline_core::Digest;
use sightline_manifest::{LockedFile, PlannedTask};

use crate::batches::Feed;
use crate::dataset::{Dataset, owner};
use crate::demonstrations::{Demonstrations, Embedded};
use crate::execute::{At, Run};
use crate::forward::Forward;
use crate::models::{Loaded, Planned};
use crate::predictions;
use crate::task::{self, Task, Work};
use crate::training::Training;
use crate::{Error, Result};

/// Folder of the features of training images below that of a model.
const FEATURES: &str = "features";

/// What a task needs beside the examples that it asks about.
pub(crate) struct Beside<'l> {
    /// What it learns from.
    pub(crate) training: Option<Training<'l>>,
    /// What stands before each question.
    pub(crate) shown: Option<Demonstrations>,
}

impl Run<'_> {
    /// What a task needs beside the examples that it asks about.
    pub(crate) fn beside<'l>(
        &'l self,
        at: At<'l>,
        loaded: &'l Loaded,
        device: &Device,
        questions: &Dataset,
    ) -> Result<Beside<'l>> {
        let kind = task::task(&at.task.kind)?;
        Ok(Beside {
            training: self.training(at.planned, at.task, loaded, device)?,
            shown: self.demonstrations(at.task, kind, loaded, device, questions)?,
        })
    }

    /// What a task learns from.
    fn training<'l>(
        &'l self,
        planned: Planned<'l>,
        task: &PlannedTask,
        loaded: &'l Loaded,
        device: &Device,
    ) -> Result<Option<Training<'l>>> {
        let Some(name) = &task.train else {
            return Ok(None);
        };
        let dataset = Dataset::open_beside(self.plan, self.lock, self.roots, task, name)?;
        let library = dataset.library(loaded.model.input())?;
        let folder = format!("{}/{}/{FEATURES}", self.plan.suite, planned.name);
        Ok(Some(Training {
            inputs: self.features_of(planned, name, device)?,
            dataset,
            library,
            preparer: &loaded.preparer,
            model: planned.name,
            batch_size: task.batch_size.max(1),
            folder: self.options.records.join(folder),
            progress: self.progress,
            stop: self.stop,
        }))
    }

    /// What features of a dataset's images are made from.
    fn features_of(&self, planned: Planned<'_>, dataset: &str, device: &Device) -> Result<Digest> {
        let owners = [planned.owner(), owner(dataset)];
        let files = self.lock.files.iter();
        let mut files: Vec<&LockedFile> =
            files.filter(|file| owners.contains(&file.owner)).collect();
        files.sort();
        let mut inputs = json!({
            "what": FEATURES,
            "numerics": predictions::NUMERICS,
            "tool": self.options.tool.version,
            "model": planned.model,
            "seed": self.plan.seed,
            "dataset": self.plan.datasets.get(dataset),
            "cpu": device.is_cpu(),
            "files": files,
        });
        if let Some(decoder) = self.options.other_decoder() {
            inputs["decode"] = decoder.into();
        }
        Ok(Digest::of_json(&inputs)?)
    }

    /// What stands before each question.
    fn demonstrations(
        &self,
        task: &PlannedTask,
        kind: &dyn Task,
        loaded: &Loaded,
        device: &Device,
        questions: &Dataset,
    ) -> Result<Option<Demonstrations>> {
        let Some(planned) = &task.demonstrations else {
            return Ok(None);
        };
        let dataset =
            Dataset::open_beside(self.plan, self.lock, self.roots, task, &planned.dataset)?;
        let library = dataset.library(loaded.model.input())?;
        // The same for every model, and for every number of shots.
        let seed = self
            .plan
            .seed
            .child("demonstrations", 0)
            .child(&planned.dataset, 0);
        let embedded = match &planned.by {
            Some(name) => {
                let chooser = Planned::find(self.plan, self.roots, name, &task.name)?;
                let own = chooser.load(self.lock, device, self.options.card.as_ref())?;
                let embed = |dataset: &Dataset, limit| {
                    self.embedded(chooser, &own, task, kind, device, (dataset, limit))
                };
                Some((embed(&dataset, None)?, embed(questions, task.limit)?))
            }
            None => None,
        };
        Demonstrations::read(planned, kind, &dataset, library, seed, embedded).map(Some)
    }

    /// The embeddings of a dataset's images; those that cannot be prepared have none.
    fn embedded(
        &self,
        chooser: Planned<'_>,
        loaded: &Loaded,
        task: &PlannedTask,
        kind: &dyn Task,
        device: &Device,
        (dataset, limit): (&Dataset, Option<u64>),
    ) -> Result<Embedded> {
        let library = dataset.library(loaded.model.input())?;
        let feed = Feed {
            dataset,
            task: kind,
            library: &library,
            preparer: &loaded.preparer,
            model: chooser.name,
            batch_size: task.batch_size.max(1),
            limit,
            part: None,
            known: &HashMap::new(),
            cache: None,
            done: &[],
            path: &self.options.records,
            shown: None,
            stop: self.stop,
        };
        let forward = Forward {
            name: chooser.name,
            task: &task.name,
            dataset: &dataset.name,
            model: loaded.model.as_ref(),
            preparer: &loaded.preparer,
            device,
            progress: self.progress,
            stop: self.stop,
        };
        let embedder = forward.embedder()?;
        let mut all = Embedded::new();
        self.progress.start("images to choose by", None);
        feed.each(|batch| {
            let works: Vec<Work> = batch
                .items
                .into_iter()
                .filter_map(|item| item.work.ok())
                .collect();
            self.progress.advance(works.len() as u64);
            let vectors = embedder.images(&works)?;
            all.extend(works.into_iter().map(|work| work.key).zip(vectors));
            Ok(())
        })?;
        self.progress.finish();
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        Ok(all)
    }
}
