//! Which family a checkpoint's folder is of.

use std::path::Path;

use serde_json::Value;

use crate::folder::{CONFIG, read_json};
use crate::{Error, Family, Result, family};

/// `model_type` of Hugging Face's configurations, or `family` of ours, and the family that reads them.
const TYPES: &[(&str, &str)] = &[
    ("align", "align"),
    ("asif", "asif"),
    ("clip", "clip"),
    ("flamingo", "flamingo"),
    ("frozen", "frozen"),
    ("magic", "magic"),
    ("simvlm", "simvlm"),
    ("vild", "vild"),
    ("virtex", "virtex"),
    ("visual_bert", "visualbert"),
    ("visualgpt", "visualgpt"),
];

/// The family of the checkpoint in `folder`, by its configuration: `model_type` or `family` in `config.json`, an
/// `open_clip_config.json`, VirTex's YAML. A folder without any of them may hold OpenAI's CLIP, whose weights are all
/// that was published; it is not recognised, nor is one that says something else.
pub fn recognise(folder: &Path) -> Result<&'static Family> {
    let unrecognised = |found: Option<String>| Error::Unrecognised {
        folder: folder.to_owned(),
        found,
    };
    let known = |name: &str| family(name).map_err(|_| unrecognised(Some(name.to_owned())));
    if folder.join("open_clip_config.json").is_file() {
        return known("clip");
    }
    let path = folder.join(CONFIG);
    if path.is_file() {
        let config = read_json(&path)?;
        let named = ["model_type", "family"]
            .iter()
            .find_map(|key| config.get(key).and_then(Value::as_str));
        let found = TYPES.iter().find(|(written, _)| Some(*written) == named);
        return match found {
            Some((_, name)) => known(name),
            None => Err(unrecognised(named.map(str::to_owned))),
        };
    }
    match crate::families::virtex::VirTexConfig::files(folder) {
        Ok(_) => known("virtex"),
        Err(Error::NoConfig { .. }) => Err(unrecognised(None)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::FAMILIES;

    #[test]
    fn every_tiny_checkpoint_is_recognised() {
        let root = Path::new("../../tests/fixtures/models");
        for family in FAMILIES.iter().filter(|family| family.needs_checkpoint) {
            for entry in fs::read_dir(root.join(family.name)).unwrap() {
                let folder = entry.unwrap().path();
                if folder.is_dir() {
                    assert_eq!(recognise(&folder).unwrap().name, family.name, "{folder:?}");
                }
            }
        }
    }

    #[test]
    fn what_nobody_reads_is_told_with_its_type() {
        let folder = tempfile::tempdir().unwrap();
        let told = |folder: &Path| recognise(folder).unwrap_err().to_string();
        assert!(told(folder.path()).ends_with("is of no family that is known"));
        fs::write(folder.path().join(CONFIG), r#"{"model_type": "blip"}"#).unwrap();
        assert!(told(folder.path()).ends_with("is of the type `blip`, which no family reads"));
        fs::remove_file(folder.path().join(CONFIG)).unwrap();
        fs::write(folder.path().join("a.yaml"), "MODEL:\n  NAME: virtex\n").unwrap();
        assert_eq!(recognise(folder.path()).unwrap().name, "virtex");
    }
}
