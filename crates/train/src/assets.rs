//! The folder of a model but for its weights: configuration, vocabulary, how images are prepared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sightline_core::Digest;
use sightline_manifest::train::{PlannedStart, PlannedVocabulary};
use sightline_store::{digest_file, write_atomic};
use sightline_text::subword::learn::{Form, learn};

use crate::captions::Captions;
use crate::questions::questions;
use crate::source::Samples;
use crate::{Error, Result, Roots};

/// Files with these endings hold weights or states of a training.
const WEIGHTS: [&str; 8] = [
    "safetensors",
    "bin",
    "pt",
    "pth",
    "th",
    "ckpt",
    "index.json",
    "training.json",
];
/// Files that a checkpoint has for its own training to go on.
const TRAINING: [&str; 2] = ["optimizer.safetensors", "training.json"];
/// The largest file that is copied; the largest published `tokenizer.json` has 35 MB.
const LIMIT_BYTES: u64 = 128 << 20;
/// Ids of a vocabulary whose configuration does not say how many there may be.
const DEFAULT_IDS: usize = 32_768;

/// Files by name.
pub type Assets = BTreeMap<String, Vec<u8>>;

/// What a vocabulary is made of.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    /// Samples with captions.
    pub samples: &'a Samples,
    /// What their captions are.
    pub captions: &'a Captions,
    /// Whether the samples' questions are read too.
    pub questions: bool,
}

/// What `plan` says the folder of a model of `family` holds, but for its parts. A vocabulary is made of `texts`.
pub fn assets(family: &str, plan: &PlannedStart, roots: &Roots, from: Texts<'_>) -> Result<Assets> {
    let mut files = Assets::new();
    if let Some(folder) = &plan.folder {
        copy(&roots.path(folder), &mut files)?;
    }
    let mut put = |name: &str, value: &Value| {
        let mut text = format!("{value:#}");
        text.push('\n');
        files.insert(name.to_owned(), text.into_bytes());
    };
    if let Some(config) = &plan.config {
        put("config.json", config);
    }
    if let Some(preprocessor) = &plan.preprocessor {
        put("preprocessor_config.json", preprocessor);
    }
    match &plan.tokenizer {
        PlannedVocabulary::Config => {}
        PlannedVocabulary::Folder(folder) => {
            let mut there = Assets::new();
            copy(&roots.path(folder), &mut there)?;
            there.retain(|name, _| name != "config.json" && name != "preprocessor_config.json");
            files.extend(there);
        }
        PlannedVocabulary::Words => {
            // Equal captions give equal files in any order; a set is as good as all of them but for frequencies, which a count keeps.
            let mut texts: BTreeMap<String, u64> = BTreeMap::new();
            for sample in from.samples.in_order(2) {
                let sample = sample?;
                let mut all = from.captions.all(&sample);
                if from.questions {
                    let asked = questions(&sample.meta).into_iter();
                    all.extend(asked.map(|asked| asked.text));
                }
                for text in all {
                    *texts.entry(text).or_default() += 1;
                }
            }
            let room = files
                .get("config.json")
                .and_then(|bytes| serde_json::from_slice(bytes).ok())
                .and_then(|config: Value| vocabulary_size(&config));
            let all = texts
                .iter()
                .flat_map(|(text, n)| (0..*n).map(move |_| text.as_str()));
            files.extend(
                learn(form(family), all, room.unwrap_or(DEFAULT_IDS))
                    .into_iter()
                    .map(|(name, bytes)| (name.to_owned(), bytes)),
            );
        }
    }
    Ok(files)
}

/// A file of another checkpoint, which the model's folder holds in a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it goes, below the model's folder.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Of its bytes.
    pub digest: Digest,
}

/// The files of the whole checkpoints that `plan` says the model's folder holds, without what only their own training needs.
pub fn parts(plan: &PlannedStart, roots: &Roots) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (name, place) in &plan.parts {
        let folder = roots.path(place);
        for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let path = entry.map_err(Error::io("read", &folder))?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let is_wanted = !TRAINING.contains(&&*file) && !file.starts_with('.');
            if is_wanted && path.is_file() {
                parts.push(Part {
                    name: format!("{name}/{file}"),
                    digest: digest_file(&path)?.sha256,
                    path,
                });
            }
        }
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(parts)
}

/// Writes `files` and `parts` to `folder`, and removes what else is there.
pub fn write(files: &Assets, parts: &[Part], folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Error::io("remove", folder))?;
    }
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    for (name, bytes) in files {
        write_atomic(folder.join(name), bytes)?;
    }
    for part in parts {
        let to = folder.join(&part.name);
        if let Some(inside) = to.parent() {
            fs::create_dir_all(inside).map_err(Error::io("create", inside))?;
        }
        fs::copy(&part.path, &to).map_err(Error::io("write", &to))?;
    }
    Ok(())
}

/// The digest of each file.
pub fn digests(files: &Assets, parts: &[Part]) -> BTreeMap<String, Digest> {
    let of_files = files
        .iter()
        .map(|(name, bytes)| (name.clone(), Digest::of(bytes)));
    let of_parts = parts.iter().map(|part| (part.name.clone(), part.digest));
    of_files.chain(of_parts).collect()
}

/// Which vocabulary the family reads.
fn form(family: &str) -> Form {
    match family {
        "clip" => Form::Clip,
        "simvlm" => Form::SentencePiece,
        "virtex" => Form::VirTex,
        "align" | "visualbert" => Form::Bert,
        _ => Form::Gpt2,
    }
}

/// The number of ids that a configuration has room for, at the top or in the part about text.
fn vocabulary_size(config: &Value) -> Option<usize> {
    let parts = [
        Some(config),
        config.get("text_config"),
        config.get("lm_config"),
    ];
    let sizes = parts
        .into_iter()
        .flatten()
        .map(|part| part.get("vocab_size"));
    let size = sizes.flatten().find_map(Value::as_u64)?;
    usize::try_from(size).ok()
}

fn copy(folder: &Path, files: &mut Assets) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_weight = WEIGHTS.iter().any(|end| name.ends_with(end));
        let is_small = path
            .metadata()
            .is_ok_and(|meta| meta.is_file() && meta.len() <= LIMIT_BYTES);
        if is_small && !is_weight && !name.starts_with('.') {
            let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
            files.insert(name.into_owned(), bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn weights_are_not_copied_and_sizes_are_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "config.json",
            "model.safetensors",
            "vocab.json",
            "pytorch_model.bin",
        ] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let mut files = Assets::new();
        copy(folder.path(), &mut files).unwrap();
        assert_eq!(
            files.keys().collect::<Vec<_>>(),
            ["config.json", "vocab.json"]
        );
        files.remove("vocab.json");
        write(&files, &[], &folder.path().join("assets")).unwrap();
        assert_eq!(
            vocabulary_size(&json!({ "text_config": { "vocab_size": 7 } })),
            Some(7)
        );
        assert_eq!(vocabulary_size(&json!({})), None);
    }
}
