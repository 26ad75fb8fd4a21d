//! What `index.json` beside the chunks says of their items.

use std::io;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use sightline_core::ObjectSource;

use super::INDEX;
use super::leaf::{Leaf, Leaves};
use crate::{Error, Limits, Problem, Result};

/// Longest list of chunks that is read beside a chunk.
const MAX_INDEX_LEN_BYTES: u64 = 64 << 20;

/// What `index.json` beside the chunk `name` says of its items, or what ours are when there is none.
pub(super) fn leaves(source: &dyn ObjectSource, name: &str, limits: &Limits) -> Result<Leaves> {
    let index = match name.rfind('/') {
        Some(slash) => format!("{}/{INDEX}", &name[..slash]),
        None => INDEX.to_owned(),
    };
    let failed = |source| Error::Io {
        action: "read",
        shard: index.clone(),
        source,
    };
    let object = match source.object(&index) {
        Ok(object) => object,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Ok(Leaves::of_ours());
        }
        Err(e) => return Err(failed(e)),
    };
    let damaged = |problem| Error::damaged_index(&index, problem);
    let len = object.len().map_err(failed)?;
    if len > MAX_INDEX_LEN_BYTES {
        return Err(damaged(Problem::Limit {
            what: "its length in bytes",
            value: len,
            limit: MAX_INDEX_LEN_BYTES,
        }));
    }
    let bytes = object.read_at(0..len).map_err(failed)?;
    parse_leaves(&bytes, limits).map_err(damaged)
}

/// What is read of an `index.json`.
#[derive(Deserialize)]
struct Index {
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    item_loader: Option<String>,
    encryption: Option<IgnoredAny>,
    compression_level: Option<String>,
    data_format: Option<Vec<String>>,
    data_spec: Option<String>,
}

/// The leaves that the contents of an `index.json` describe.
fn parse_leaves(index: &[u8], limits: &Limits) -> Result<Leaves, Problem> {
    let Index { config } = serde_json::from_slice(index).map_err(Problem::Json)?;
    if config
        .item_loader
        .is_some_and(|loader| loader != "PyTreeLoader")
    {
        let what = "a dataset of another item loader than litData's `PyTreeLoader`";
        return Err(Problem::Unsupported { what });
    }
    if config.encryption.is_some() {
        let what = "a dataset that litData has encrypted";
        return Err(Problem::Unsupported { what });
    }
    let serializers = config.data_format.ok_or(Problem::Head {
        what: "no texts in `config.data_format`",
    })?;
    let spec = config.data_spec.unwrap_or_default();
    if spec.len() as u64 > limits.header_len_bytes {
        return Err(Problem::Limit {
            what: "the length of `config.data_spec` in bytes",
            value: spec.len() as u64,
            limit: limits.header_len_bytes,
        });
    }
    let names = names_of(&spec, limits).filter(|names| names.len() == serializers.len());
    let leaves = serializers
        .iter()
        .enumerate()
        .map(|(at, serializer)| match &names {
            Some(names) => Leaf::new(&names[at], serializer),
            None => Leaf::new(&at.to_string(), serializer),
        })
        .collect();
    Ok(Leaves {
        leaves,
        are_compressed: config.compression_level.as_deref() == Some("sample"),
    })
}

/// The names of the leaves of a tree, in their order: `caption`, and of what lies deeper `exif.model` and `tags.0`. None where
/// one would be longer than names may be.
fn names_of(spec: &str, limits: &Limits) -> Option<Vec<String>> {
    let spec: Value = serde_json::from_str(spec).ok()?;
    let mut names = Vec::new();
    add_names(spec.get(1)?, "", limits, &mut names)?;
    Some(names)
}

/// Adds the names of the leaves below `node`, which is called `name`.
fn add_names(node: &Value, name: &str, limits: &Limits, names: &mut Vec<String>) -> Option<()> {
    if name.len() as u64 > limits.name_len_bytes {
        return None;
    }
    let Some(kind) = node["type"].as_str() else {
        names.push(name.to_owned());
        return Some(());
    };
    let children = node["children_spec"].as_array()?;
    let keys: Vec<String> = if kind.ends_with("dict") || kind.ends_with("Dict") {
        // Names may be numbers, and those of a `defaultdict` lie behind what makes its values.
        let context: Value = serde_json::from_str(node["context"].as_str()?).ok()?;
        let keys = context.as_array()?;
        let keys = match keys.last() {
            Some(Value::Array(keys)) if kind.ends_with("defaultdict") => keys,
            _ => keys,
        };
        let text = |key: &Value| key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        keys.iter().map(text).collect()
    } else {
        (0..children.len()).map(|at| at.to_string()).collect()
    };
    if keys.len() != children.len() {
        return None;
    }
    for (key, child) in keys.iter().zip(children) {
        let name = match name {
            "" => key.clone(),
            name => format!("{name}.{key}"),
        };
        add_names(child, &name, limits, names)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config;
    use super::*;

    #[test]
    fn our_own_index_describes_our_own_leaves() {
        let index = json!({ "config": config(None) }).to_string();
        let leaves = parse_leaves(index.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(leaves, Leaves::of_ours());
    }

    #[test]
    fn leaves_of_trees_are_called_by_their_path() {
        // What litData 0.2.76 writes for {"key": …, "exif": {"m": …}, "tags": […, …]}, its keys sorted.
        let leaf = r#"{"type": null, "context": null, "children_spec": []}"#;
        let spec = format!(
            r#"[1, {{"type": "builtins.dict", "context": "[\"exif\", \"key\", \"tags\"]", "children_spec": [
                {{"type": "builtins.dict", "context": "[\"m\"]", "children_spec": [{leaf}]}}, {leaf},
                {{"type": "builtins.list", "context": "null", "children_spec": [{leaf}, {leaf}]}}]}}]"#
        );
        let config = json!({ "data_format": ["int", "str", "str", "int"], "data_spec": spec });
        let index = json!({ "config": config }).to_string();
        let leaves = parse_leaves(index.as_bytes(), &Limits::default()).unwrap();
        let names: Vec<&str> = leaves.leaves.iter().map(|leaf| &leaf.name[..]).collect();
        assert_eq!(names, ["exif.m", "key", "tags.0", "tags.1"]);
    }
}
