//! `config.json` of a `VisualGPT` model. `VisualGPT` publishes none; the keys are this project's, the defaults those of its
//! program (`VisualGPT` as described in arXiv 2102.10407, GPT-2 small inside).

use std::path::Path;

use serde::Deserialize;

use crate::Result;
use crate::check::{Check, limit};
use crate::folder::read_json;

/// The form of a model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct VisualGptConfig {
    /// Width of encoder and decoder.
    pub d_model: usize,
    /// Width between the linear maps of the encoder's feed-forward layers.
    pub enc_ff: usize,
    /// Length of a region's feature.
    pub feature_dim: usize,
    /// Heads of every attention.
    pub n_heads: usize,
    /// Blocks of the decoder. The encoder always has [`super::LEVELS`].
    pub n_layer: usize,
    /// Positions of captions.
    pub n_positions: usize,
    /// Ids of captions.
    pub vocab_size: usize,
    /// Added to variances in norms.
    pub norm_eps: f64,
    /// Gates at or below it are cut; 0 for plain gates.
    pub tau: f64,
    /// Stands before a caption.
    pub bos_id: u32,
    /// Stands behind it.
    pub eos_id: u32,
    /// Fills rows; where it stands every block gives zeros.
    pub pad_id: u32,
    /// Which regions nobody looks at.
    pub padding: RegionPadding,
    /// Regions of an image: fewer are filled up with zeros, of more the first ones are taken.
    pub max_detections: usize,
    /// Hypotheses of the published beam search.
    pub beam_size: usize,
    /// Its steps.
    pub max_len: usize,
}

/// Which regions nobody looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionPadding {
    /// Those whose embedding sums to exactly 0, as the published program tests behind a norm: hardly ever one. Zeros
    /// that fill an image up are looked at like regions.
    #[default]
    Published,
    /// Those whose feature is all zeros.
    Features,
}

impl Default for VisualGptConfig {
    fn default() -> Self {
        Self {
            d_model: 768,
            enc_ff: 2048,
            feature_dim: 2048,
            n_heads: 12,
            n_layer: 12,
            n_positions: 1024,
            vocab_size: 50257,
            norm_eps: 1e-5,
            tau: 0.2,
            bos_id: 47934,
            eos_id: 50256,
            pad_id: 47932,
            padding: RegionPadding::Published,
            max_detections: 50,
            beam_size: 5,
            max_len: 20,
        }
    }
}

impl VisualGptConfig {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let (value, check) = (read_json(path)?, Check::new(path));
        let family = &value["family"];
        if !matches!(family.as_str(), None | Some("visualgpt")) {
            return Err(check.wrong("family", family, "`visualgpt`"));
        }
        let config: Self = serde_json::from_value(value).map_err(|e| check.json(e))?;
        config.check(check)?;
        Ok(config)
    }

    fn check(&self, check: Check<'_>) -> Result<()> {
        check.range("d_model", self.d_model, 1, limit::WIDTH)?;
        check.range("enc_ff", self.enc_ff, 1, limit::HIDDEN)?;
        check.range("feature_dim", self.feature_dim, 1, limit::WIDTH)?;
        check.range("n_heads", self.n_heads, 1, limit::WIDTH)?;
        if !self.d_model.is_multiple_of(self.n_heads) {
            let wanted = format!("a divisor of `d_model`, {}", self.d_model);
            return Err(check.wrong("n_heads", &self.n_heads, wanted));
        }
        check.range("n_layer", self.n_layer, 1, limit::DEPTH)?;
        check.range("n_positions", self.n_positions, 1, limit::CONTEXT)?;
        check.range("vocab_size", self.vocab_size, 3, limit::VOCABULARY)?;
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(check.wrong("norm_eps", &self.norm_eps, "a number between 0 and 1"));
        }
        if !(self.tau >= 0.0 && self.tau < 0.5) {
            let wanted = "0 to below 0.5: from there on both gates can be cut";
            return Err(check.wrong("tau", &self.tau, wanted));
        }
        for (field, id) in [
            ("bos_id", self.bos_id),
            ("eos_id", self.eos_id),
            ("pad_id", self.pad_id),
        ] {
            check.range(field, id as usize, 0, self.vocab_size - 1)?;
        }
        if self.bos_id == self.eos_id {
            let wanted = format!("another id than `bos_id`, {}", self.bos_id);
            return Err(check.wrong("eos_id", &self.eos_id, wanted));
        }
        check.range("max_detections", self.max_detections, 1, limit::CONTEXT)?;
        check.range("beam_size", self.beam_size, 1, 1 << 10)?;
        check.range("max_len", self.max_len, 1, limit::CONTEXT)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Result<VisualGptConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, value.to_string()).unwrap();
        VisualGptConfig::read(&path)
    }

    #[test]
    fn defaults_are_published_and_impossible_values_are_told() {
        assert_eq!(read(&json!({})).unwrap(), VisualGptConfig::default());
        for (key, value, told) in [
            ("family", json!("clip"), "expected `visualgpt`"),
            ("n_heads", json!(7), "a divisor of `d_model`, 768"),
            ("tau", json!(0.5), "both gates can be cut"),
            ("tau", json!(-0.1), "both gates can be cut"),
            ("eos_id", json!(47934), "another id than `bos_id`, 47934"),
            ("pad_id", json!(50257), "expected 0 to 50256"),
            ("feature_dim", json!(0), "expected 1 to"),
        ] {
            let mut config = json!({});
            config[key] = value;
            let error = read(&config).unwrap_err().to_string();
            assert!(error.contains(told), "{key}: {error}");
        }
        assert!(read(&json!({"padding": "none"})).is_err());
    }
}
