//! The folder of a model but for its weights: configuration, vocabulary, how images are prepared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use sightline_core::Digest;
use sightline_manifest::train::{PlannedStart, PlannedVocabulary};
use sightline_store::write_atomic;
use sightline_text::subword::learn::{Form, learn};

use crate::loader::captions;
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
/// The largest file that is copied; the largest published `tokenizer.json` has 35 MB.
const LIMIT_BYTES: u64 = 128 << 20;
/// Ids of a vocabulary whose configuration does not say how many there may be.
const DEFAULT_IDS: usize = 32_768;

/// Files by name.
pub type Assets = BTreeMap<String, Vec<u8>>;

/// What `plan` says the folder of a model of `family` holds. A vocabulary is made of the captions of `samples`.
pub fn assets(
    family: &str,
    plan: &PlannedStart,
    roots: &Roots,
    samples: &Samples,
    caption_column: Option<&str>,
) -> Result<Assets> {
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
            for sample in samples.in_order(2) {
                for caption in captions(&sample?, caption_column) {
                    *texts.entry(caption).or_default() += 1;
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

/// Writes `files` to `folder`, and removes what else is there.
pub fn write(files: &Assets, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        there.insert(entry.file_name().to_string_lossy().into_owned());
    }
    for name in there.iter().filter(|name| !files.contains_key(*name)) {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(Error::io("remove", path))?;
    }
    for (name, bytes) in files {
        write_atomic(folder.join(name), bytes)?;
    }
    Ok(())
}

/// The digest of each file.
pub fn digests(files: &Assets) -> BTreeMap<String, Digest> {
    let digest = |(name, bytes): (&String, &Vec<u8>)| (name.clone(), Digest::of(bytes));
    files.iter().map(digest).collect()
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
        write(&files, &folder.path().join("assets")).unwrap();
        assert_eq!(
            vocabulary_size(&json!({ "text_config": { "vocab_size": 7 } })),
            Some(7)
        );
        assert_eq!(vocabulary_size(&json!({})), None);
    }
}
