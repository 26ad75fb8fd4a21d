//! The keys of a BERT in `config.json`, which several families have.

use serde::Deserialize;
use serde_json::Value;
use sightline_nn::Activation;
use sightline_nn::tower::BertSpec;

use crate::Result;
use crate::check::{Check, TowerSizes, limit};

/// Sizes of a BERT, with the keys and defaults of Hugging Face's `BertConfig` (transformers 4).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// Rows of the word table.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads per block.
    pub num_attention_heads: usize,
    /// Rows of the position table: the longest sequence.
    pub max_position_embeddings: usize,
    /// Rows of the type table.
    pub type_vocab_size: usize,
    /// Activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to variances.
    pub layer_norm_eps: f64,
}

impl Default for BertConfig {
    /// BERT-base, uncased.
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
        }
    }
}

impl BertConfig {
    /// The keys of `value`, an object of the file that `check` is about, which are checked.
    pub(crate) fn from_value(value: &Value, check: Check<'_>) -> Result<Self> {
        let kind = &value["position_embedding_type"];
        if !matches!(kind.as_str(), Some("absolute")) && !kind.is_null() {
            return Err(check.wrong("position_embedding_type", kind, "`absolute`"));
        }
        let config = Self::deserialize(value).map_err(|source| check.json(source))?;
        check.tower(TowerSizes {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            layer_norm_eps: config.layer_norm_eps,
        })?;
        let context = config.max_position_embeddings;
        check.range("vocab_size", config.vocab_size, 3, limit::VOCABULARY)?;
        check.range("max_position_embeddings", context, 3, limit::CONTEXT)?;
        check.range("type_vocab_size", config.type_vocab_size, 1, limit::WIDTH)?;
        Ok(config)
    }

    /// The tower of these sizes.
    pub fn spec(&self) -> BertSpec {
        BertSpec {
            vocabulary_size: self.vocab_size,
            context_length: self.max_position_embeddings,
            token_types: self.type_vocab_size,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden: self.intermediate_size,
            depth: self.num_hidden_layers,
            activation: self.hidden_act,
            norm_eps: self.layer_norm_eps,
        }
    }
}
