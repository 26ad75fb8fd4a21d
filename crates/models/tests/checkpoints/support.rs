//! Copies of tiny checkpoints, to be damaged, and what a person is told about them.

use std::collections::HashMap;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;
use sightline_core::{Hint, Seed};
use sightline_models::{Error, Model, ModelSpec, Precision, TokenizerChoice, family};
use tempfile::TempDir;

/// A copy of a checkpoint of `family`, whose texts come as ids.
pub(crate) struct Checkpoint {
    pub(crate) family: &'static str,
    folder: TempDir,
}

impl Checkpoint {
    /// A copy of the fixture `name`.
    pub(crate) fn copy(family: &'static str, name: &str) -> Self {
        let source = Path::new("../../tests/fixtures/models")
            .join(family)
            .join(name);
        let folder = tempfile::tempdir().unwrap();
        copy_all(&source, folder.path());
        Self { family, folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn spec(&self) -> ModelSpec {
        ModelSpec {
            checkpoint: Some(self.path().to_owned()),
            tokenizer: TokenizerChoice::WordHash,
            seed: Seed(0),
            precision: Precision::F32,
        }
    }

    /// The same with the tokenizer of the folder.
    pub(crate) fn published(&self) -> ModelSpec {
        ModelSpec {
            tokenizer: TokenizerChoice::Checkpoint,
            ..self.spec()
        }
    }

    pub(crate) fn load(&self, spec: &ModelSpec) -> Result<Box<dyn Model>, Error> {
        (family(self.family).unwrap().load)(spec, &Device::Cpu)
    }

    /// The chain of causes and the hints, as the command line prints them, with `FOLDER` for the folder.
    pub(crate) fn told(&self, spec: &ModelSpec) -> String {
        let error = self
            .load(spec)
            .map(|_| ())
            .expect_err("the checkpoint is damaged");
        let mut lines = vec![format!("error: {error}")];
        let mut cause = error.source();
        while let Some(e) = cause {
            lines.push(format!("cause: {e}"));
            cause = e.source();
        }
        let hints = error.hints().into_iter();
        lines.extend(hints.map(|hint| format!("hint: {hint}")));
        let folder = self.path().display().to_string();
        lines.join("\n").replace(&folder, "FOLDER")
    }

    pub(crate) fn edit_weights(&self, edit: impl FnOnce(&mut HashMap<String, Tensor>)) {
        self.edit_tensors("model.safetensors", edit);
    }

    pub(crate) fn edit_tensors(&self, name: &str, edit: impl FnOnce(&mut HashMap<String, Tensor>)) {
        let path = self.file(name);
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        edit(&mut tensors);
        candle_core::safetensors::save(&tensors, &path).unwrap();
    }

    pub(crate) fn edit_json(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        let path = self.file(name);
        let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut value);
        fs::write(path, value.to_string()).unwrap();
    }

    /// Role and name of each file that is said to be read.
    pub(crate) fn listed(&self, spec: &ModelSpec) -> Vec<String> {
        let files = (family(self.family).unwrap().files)(spec).unwrap();
        let line = |file: &sightline_models::CheckpointFile| {
            let name = file.path.file_name().unwrap().to_string_lossy();
            format!("{:?} {name}", file.role)
        };
        files.iter().map(line).collect()
    }
}

/// Everything below `from` but what was recorded.
fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() {
            fs::create_dir(to.join(name)).unwrap();
            copy_all(&path, &to.join(name));
        } else if name != "io.safetensors" && name != "meta.json" {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Pixels of `count` images, which differ.
pub(crate) fn pixels(count: usize, side: usize) -> Tensor {
    let len = count * 3 * side * side;
    let angles = Tensor::arange(0f32, len as f32, &Device::Cpu).unwrap();
    let wave = (angles * 0.37).unwrap().sin().unwrap();
    wave.reshape((count, 3, side, side)).unwrap()
}

/// The largest difference of two tensors.
pub(crate) fn distance(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar().unwrap()
}
