//! What was asked for, written down before the first step, and how it differs from what is asked for now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_core::Digest;
use sightline_manifest::TrainPlan;

/// Version of `run.json`.
pub const SCHEMA: u32 = 1;

/// The content of `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The plan.
    pub plan: TrainPlan,
    /// What is learned from, and what is measured on.
    pub data: BTreeMap<String, Digest>,
    /// Configuration and vocabulary.
    pub assets: BTreeMap<String, Digest>,
    /// Checkpoints that the run begins with, by their place in the plan.
    pub start: BTreeMap<String, Digest>,
}

impl Settings {
    /// What differs, as `key: before → now`. Descriptions may change.
    pub fn changes(&self, before: &Self) -> Vec<String> {
        let flat = |settings: &Self| {
            let mut settings = settings.clone();
            settings.plan.description.clear();
            let mut keys = BTreeMap::new();
            let value = serde_json::to_value(&settings).unwrap_or_default();
            flatten("", &value, &mut keys);
            keys
        };
        let (before, now) = (flat(before), flat(self));
        let keys: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let show = |value: Option<&String>| value.map_or("nothing", String::as_str).to_owned();
        keys.into_iter()
            .filter(|key| before.get(*key) != now.get(*key))
            .map(|key| {
                let shown = key.strip_prefix("plan.").unwrap_or(key);
                format!(
                    "`{shown}`: {} → {}",
                    show(before.get(key)),
                    show(now.get(key))
                )
            })
            .collect()
    }
}

/// Every value that is neither a table nor a list, by the way to it.
fn flatten(key: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                flatten(&key, value, into);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                flatten(&format!("{key}[{at}]"), value, into);
            }
        }
        Value::Null => {}
        other => {
            into.insert(key.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_found_by_the_way_to_them() {
        let mut keys = BTreeMap::new();
        let value = json!({ "stage": [{ "optimiser": { "lr": 0.1, "ema": null } }], "seed": 1 });
        flatten("", &value, &mut keys);
        let found: Vec<_> = keys
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(found, ["seed=1", "stage[0].optimiser.lr=0.1"]);
    }
}
