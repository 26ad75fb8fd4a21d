//! `config.json` of a `VisualBERT` checkpoint: the keys and defaults of `VisualBertConfig` (transformers 4).

use std::path::Path;

use serde_json::Value;

use crate::check::{Check, limit};
use crate::folder::read_json;
use crate::{BertConfig, Result};

/// Sizes, head and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct VisualBertConfig {
    /// The encoder.
    pub bert: BertConfig,
    /// Length of a region's feature.
    pub visual_embedding_dim: usize,
    /// The head, if `architectures` names one.
    pub head: Option<HeadKind>,
    /// Names of the labels by their number, from `id2label`; from `num_labels` when that is all there is.
    pub labels: Option<Vec<String>>,
    /// Whether the output layer of masked words is the word table.
    pub tie_word_embeddings: bool,
}

/// What stands on the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// Nothing.
    Bare,
    /// Masked words, and whether the texts belong to the image (section 3.2 of the paper).
    Pretraining,
    /// Answers to questions: VQA.
    QuestionAnswering,
    /// Whether a statement about two images is true: NLVR2.
    VisualReasoning,
    /// One of several answers: VCR.
    MultipleChoice,
    /// Regions of phrases: Flickr30k Entities.
    RegionToPhrase,
}

/// Names in `architectures`.
const ARCHITECTURES: &[(&str, HeadKind)] = &[
    ("VisualBertModel", HeadKind::Bare),
    ("VisualBertForPreTraining", HeadKind::Pretraining),
    (
        "VisualBertForQuestionAnswering",
        HeadKind::QuestionAnswering,
    ),
    ("VisualBertForVisualReasoning", HeadKind::VisualReasoning),
    ("VisualBertForMultipleChoice", HeadKind::MultipleChoice),
    (
        "VisualBertForRegionToPhraseAlignment",
        HeadKind::RegionToPhrase,
    ),
];

impl Default for VisualBertConfig {
    /// What absent keys mean: BERT-base, regions of 512 values.
    fn default() -> Self {
        Self {
            bert: BertConfig::default(),
            visual_embedding_dim: 512,
            head: None,
            labels: None,
            tie_word_embeddings: true,
        }
    }
}

impl VisualBertConfig {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let value = read_json(path)?;
        let check = Check::new(path);
        if !value.is_object() {
            return Err(check.wrong("", &value, "an object"));
        }
        let model_type = &value["model_type"];
        if !matches!(model_type.as_str(), None | Some("visual_bert")) {
            return Err(check.wrong("model_type", model_type, "`visual_bert`"));
        }
        if flag(&value, "bypass_transformer", false, check)? {
            let wanted = "false: no program can run the other kind, the reference fails on it too";
            return Err(check.wrong("bypass_transformer", &true, wanted));
        }
        let default = Self::default();
        let visual_embedding_dim =
            number(&value, "visual_embedding_dim", check)?.unwrap_or(default.visual_embedding_dim);
        let wide = limit::WIDTH;
        check.range("visual_embedding_dim", visual_embedding_dim, 1, wide)?;
        let tied = default.tie_word_embeddings;
        Ok(Self {
            bert: BertConfig::from_value(&value, check)?,
            visual_embedding_dim,
            head: head(&value["architectures"], check)?,
            labels: labels(&value, check)?,
            tie_word_embeddings: flag(&value, "tie_word_embeddings", tied, check)?,
        })
    }
}

fn flag(value: &Value, key: &str, default: bool, check: Check<'_>) -> Result<bool> {
    match &value[key] {
        Value::Null => Ok(default),
        Value::Bool(flag) => Ok(*flag),
        other => Err(check.wrong(key, other, "true or false")),
    }
}

fn number(value: &Value, key: &str, check: Check<'_>) -> Result<Option<usize>> {
    let found = &value[key];
    if found.is_null() {
        return Ok(None);
    }
    let number = found.as_u64().and_then(|n| usize::try_from(n).ok());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(check.wrong(key, found, "a number from 0 on")),
    }
}

/// The head that `architectures`, a list of one name, is about.
fn head(architectures: &Value, check: Check<'_>) -> Result<Option<HeadKind>> {
    let name = match architectures {
        Value::Null => return Ok(None),
        Value::Array(names) if names.is_empty() => return Ok(None),
        Value::Array(names) => &names[0],
        other => other,
    };
    let known = ARCHITECTURES.iter().find(|(known, _)| name == *known);
    if let Some((_, head)) = known {
        return Ok(Some(*head));
    }
    let known: Vec<&str> = ARCHITECTURES.iter().map(|(known, _)| *known).collect();
    let wanted = format!("one of {}", known.join(", "));
    Err(check.wrong("architectures", name, wanted))
}

/// The names in `id2label`, whose keys MUST be the numbers from 0 on, or as many as `num_labels` says.
fn labels(value: &Value, check: Check<'_>) -> Result<Option<Vec<String>>> {
    let Some(named) = value["id2label"].as_object() else {
        let count = number(value, "num_labels", check)?;
        if let Some(count) = count {
            check.range("num_labels", count, 1, limit::LABELS)?;
        }
        return Ok(count.map(|count| (0..count).map(|i| format!("LABEL_{i}")).collect()));
    };
    check.range("id2label", named.len(), 1, limit::LABELS)?;
    let mut labels = vec![None; named.len()];
    for (key, name) in named {
        let place = key.parse().ok().and_then(|i: usize| labels.get_mut(i));
        let (Some(place), Some(name)) = (place, name.as_str()) else {
            let wanted = "names under the numbers from 0 on";
            return Err(check.wrong("id2label", &format!("{key}: {name}"), wanted));
        };
        *place = Some(name.to_owned());
    }
    let named: Option<Vec<String>> = labels.into_iter().collect();
    match named {
        Some(labels) => Ok(Some(labels)),
        None => Err(check.wrong("id2label", &value["id2label"], "each number once")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<VisualBertConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, value.to_string()).unwrap();
        VisualBertConfig::read(&path)
    }

    #[test]
    fn absent_keys_are_those_of_bert_base() {
        let config = read(&json!({ "architectures": null, "num_labels": null }));
        assert_eq!(config.unwrap(), VisualBertConfig::default());
    }

    #[test]
    fn head_and_labels_are_read() {
        let config = read(&json!({
            "architectures": ["VisualBertForQuestionAnswering"],
            "id2label": { "1": "no", "0": "yes", "2": "two" },
            "num_labels": 7,
        }))
        .unwrap();
        assert_eq!(config.head, Some(HeadKind::QuestionAnswering));
        assert_eq!(config.labels.unwrap(), ["yes", "no", "two"]);
        let counted = read(&json!({ "num_labels": 2 })).unwrap();
        assert_eq!(counted.labels.unwrap(), ["LABEL_0", "LABEL_1"]);
    }

    #[test]
    fn values_outside_what_can_be_are_named() {
        for (value, expected) in [
            (json!([]), "`` is [], expected an object"),
            (
                json!({ "model_type": "bert" }),
                "`model_type` is \"bert\", expected `visual_bert`",
            ),
            (
                json!({ "bypass_transformer": true }),
                "`bypass_transformer` is true, expected false: no program can run the other kind, the \
                 reference fails on it too",
            ),
            (
                json!({ "bypass_transformer": 1 }),
                "`bypass_transformer` is 1, expected true or false",
            ),
            (
                json!({ "visual_embedding_dim": 0 }),
                "`visual_embedding_dim` is 0, expected 1 to 65536",
            ),
            (
                json!({ "visual_embedding_dim": -1 }),
                "`visual_embedding_dim` is -1, expected a number from 0 on",
            ),
            (
                json!({ "id2label": { "0": "a", "2": "b" } }),
                "`id2label` is 2: \"b\", expected names under the numbers from 0 on",
            ),
            (
                json!({ "id2label": { "0": "a", "00": "b" } }),
                "`id2label` is {\"0\":\"a\",\"00\":\"b\"}, expected each number once",
            ),
            (
                json!({ "position_embedding_type": "relative_key" }),
                "`position_embedding_type` is \"relative_key\", expected `absolute`",
            ),
            (
                json!({ "num_attention_heads": 7 }),
                "`num_attention_heads` is 7, expected a divisor of `hidden_size`, 768",
            ),
        ] {
            let error = read(&value).unwrap_err().to_string();
            let (_, after) = error.split_once("config.json`: ").unwrap();
            assert_eq!(after, expected);
        }
        let error = read(&json!({ "architectures": ["VisualBertForGames"] })).unwrap_err();
        assert!(error.to_string().contains(
            "`architectures` is \"VisualBertForGames\", expected one of VisualBertModel, "
        ));
    }
}
