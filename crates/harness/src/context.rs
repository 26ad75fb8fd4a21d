//! What the answers of a model at a task share, by which kept ones are found again.

use serde_json::{Value, json};
use sightline_core::Digest;
use sightline_manifest::{PlannedOutside, PlannedTask};

use crate::Result;
use crate::execute::Run;
use crate::models::Planned;
use crate::predictions::{self, Header};
use crate::task::Setting;

impl Run<'_> {
    /// What the answers of a model at a task share. Names of models, datasets and files are not among it.
    pub(crate) fn context(
        &self,
        planned: Planned<'_>,
        task: &PlannedTask,
        header: &Header,
        setting: &Setting<'_>,
    ) -> Result<Option<Value>> {
        let model = planned.model;
        let owner = planned.owner();
        let files: Vec<(&str, Digest)> = self
            .lock
            .files
            .iter()
            .filter(|file| file.owner == owner)
            .map(|file| (file.role.as_str(), file.sha256))
            .collect();
        let is_named = match &model.outside {
            // Behind an address there may be another model tomorrow.
            Some(PlannedOutside::Endpoint(_)) => false,
            Some(PlannedOutside::Process(_)) => !files.is_empty(),
            None => true,
        };
        if !is_named {
            return Ok(None);
        }
        let adapter = self.lock.adapters.iter().find(|it| it.owner == owner);
        let input = self.lock.inputs.iter().find(|it| it.owner == owner);
        let floor = planned
            .is_baseline()?
            .then(|| self.plan.seed.child(planned.name, 0).0);
        let mut context = json!({
            "schema": predictions::SCHEMA,
            "model": {
                "family": model.family,
                "files": files,
                "tokenizer": model.tokenizer,
                "seed": floor,
                "adapter": adapter.map(|it| (it.command, it.hello)),
            },
            "preprocessing": {
                "pixels": model.pixels,
                "spec": input.map(|it| (it.image_spec, it.pixels)),
            },
            "numerics": {
                "revision": predictions::NUMERICS,
                "weights": model.weights,
                "device": if self.options.device.is_cpu() { "cpu" } else { "cuda" },
                "version": self.options.tool.version,
                "code": self.options.code,
            },
            "request": {
                "kind": task.kind,
                "asked": header.asked,
                "classes": setting.classes,
                "templates": setting.templates,
                "prompt": setting.prompt,
                "repeats": task.repeats,
                "likelihood": task.likelihood,
                "decoding": setting.decoding.map(|it| format!("{it:?}")),
            },
        });
        if let Some(decoder) = self.options.other_decoder() {
            context["preprocessing"]["decode"] = decoder.into();
        }
        Ok(Some(context))
    }
}
