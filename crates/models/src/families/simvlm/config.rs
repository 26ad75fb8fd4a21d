//! `config.json` of a SimVLM model. There are no published weights, and so these keys are this project's own.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::check::{Check, limit};
use crate::folder::read_json;

/// Pixels of a cell of the image's grid on each side.
pub(super) const STRIDE: usize = 16;

/// The form of a model. Absent keys with a default mean SimVLM-base.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SimVlmConfig {
    /// One stack or two.
    pub variant: Variant,
    /// What cuts images into cells.
    pub stem: StemKind,
    /// Blocks of the three stages of a `resnet` stem: 3, 4, 23 of ResNet-101, 3, 8, 36 of ResNet-152.
    #[serde(default = "stem_depths")]
    pub stem_depths: Vec<usize>,
    /// Channels behind the first convolution of a `resnet` stem.
    #[serde(default = "stem_width")]
    pub stem_width: usize,
    /// Height and width of the images in pixels. If the tables in the checkpoint are of another grid, they are resized.
    pub image_size: usize,
    /// Width.
    pub d_model: usize,
    /// Width between the linear maps of the feed-forward layers.
    pub d_ff: usize,
    /// Heads.
    pub n_heads: usize,
    /// Blocks of the encoder; a `decoder_only` model has none, whatever stands here.
    #[serde(default)]
    pub n_enc: usize,
    /// Blocks of the decoder.
    pub n_dec: usize,
    /// Added to variances in norms.
    #[serde(default = "norm_eps")]
    pub norm_eps: f64,
    /// Ids of texts.
    pub vocab_size: usize,
    /// Positions of texts.
    pub max_text_len: usize,
    /// Stands before the text that is written.
    pub bos_id: u32,
    /// Stands behind it.
    pub eos_id: u32,
    /// Fills rows; it counts for nothing.
    #[serde(default)]
    pub pad_id: u32,
    /// Whether the image's cells have a relative bias.
    #[serde(default)]
    pub relative_2d: bool,
    /// Whether the output's weight is the table of tokens.
    #[serde(default)]
    pub tie_embeddings: bool,
    /// The position of the first token that is written.
    #[serde(default)]
    pub decoder_positions: DecoderPositions,
    /// How a training text is cut into prefix and rest.
    #[serde(default)]
    pub prefix: PrefixPolicy,
    /// Labels of the answer head; without it there is none.
    #[serde(default)]
    pub n_answers: Option<usize>,
    /// Their names, as many as `n_answers`.
    #[serde(default)]
    pub answers: Option<Vec<String>>,
    /// Images that an answer is about: 1, or 2 for pairs, as in NLVR2.
    #[serde(default = "answer_images")]
    pub answer_images: usize,
}

/// One stack or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// An encoder reads the prefix, a decoder writes the rest: the paper's.
    EncoderDecoder,
    /// One stack reads the prefix both ways and writes the rest.
    DecoderOnly,
}

/// What cuts images into cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StemKind {
    /// The first three stages of a residual network, and a linear map: the paper's.
    Resnet,
    /// A convolution of 16 x 16 pixels.
    Patch,
}

/// The position of the first token that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoderPositions {
    /// Behind the tokens of the prefix.
    #[default]
    Continue,
    /// 0.
    Zero,
}

/// How a training text is cut into a prefix, which is read both ways, and the rest, which is predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefixPolicy {
    /// A length drawn uniformly (section 3.1 of the paper).
    #[default]
    Random,
    /// The image is the whole prefix.
    ImageOnly,
    /// So many tokens, or as many as leave one to predict.
    Fixed(usize),
}

fn stem_depths() -> Vec<usize> {
    vec![3, 4, 23]
}

fn stem_width() -> usize {
    64
}

fn norm_eps() -> f64 {
    1e-5
}

fn answer_images() -> usize {
    1
}

impl PrefixPolicy {
    /// Tokens of the prefix of a text of `tokens` tokens, at least one of which is left to predict; `unit`, in 0..1, is
    /// the random number. Without an image a prefix has at least one token, if there are two.
    pub fn length(self, tokens: usize, has_image: bool, unit: f64) -> usize {
        let most = tokens.saturating_sub(1);
        let least = usize::from(!has_image).min(most);
        let wanted = match self {
            Self::Random => least + (unit * (most - least + 1) as f64) as usize,
            Self::ImageOnly => 0,
            Self::Fixed(tokens) => tokens,
        };
        wanted.clamp(least, most)
    }
}

impl SimVlmConfig {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let (value, check) = (read_json(path)?, Check::new(path));
        let family = &value["family"];
        if !matches!(family.as_str(), None | Some("simvlm")) {
            return Err(check.wrong("family", family, "`simvlm`"));
        }
        let config: Self = serde_json::from_value(value).map_err(|e| check.json(e))?;
        config.check(check)?;
        Ok(config)
    }

    fn check(&self, check: Check<'_>) -> Result<()> {
        check.range("d_model", self.d_model, 1, limit::WIDTH)?;
        check.range("d_ff", self.d_ff, 1, limit::HIDDEN)?;
        check.range("n_heads", self.n_heads, 1, limit::WIDTH)?;
        if !self.d_model.is_multiple_of(self.n_heads) {
            let wanted = format!("a divisor of `d_model`, {}", self.d_model);
            return Err(check.wrong("n_heads", &self.n_heads, wanted));
        }
        let least = usize::from(self.variant == Variant::EncoderDecoder);
        check.range("n_enc", self.n_enc, least, limit::DEPTH)?;
        check.range("n_dec", self.n_dec, 1, limit::DEPTH)?;
        check.range("image_size", self.image_size, STRIDE, limit::IMAGE)?;
        if !self.image_size.is_multiple_of(STRIDE) {
            let wanted = format!("a multiple of {STRIDE}");
            return Err(check.wrong("image_size", &self.image_size, wanted));
        }
        if self.stem == StemKind::Resnet {
            check.range("stem_width", self.stem_width, 1, limit::WIDTH >> 4)?;
            check.range("stem_depths", self.stem_depths.len(), 3, 3)?;
            for &depth in &self.stem_depths {
                check.range("stem_depths", depth, 1, limit::DEPTH)?;
            }
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(check.wrong("norm_eps", &self.norm_eps, "a number between 0 and 1"));
        }
        check.range("vocab_size", self.vocab_size, 3, limit::VOCABULARY)?;
        check.range("max_text_len", self.max_text_len, 1, limit::CONTEXT)?;
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
        check.range("answer_images", self.answer_images, 1, 2)?;
        if let Some(answers) = self.n_answers {
            check.range("n_answers", answers, 1, limit::LABELS)?;
        }
        if let Some(names) = &self.answers {
            let wanted = self.n_answers.unwrap_or_default();
            if names.len() != wanted {
                let wanted = format!("as many names as `n_answers`, {wanted}");
                return Err(check.wrong("answers", &names.len(), wanted));
            }
        }
        Ok(())
    }

    /// Names of the answer head's labels; `None` without one.
    pub fn labels(&self) -> Option<Vec<String>> {
        let count = self.n_answers?;
        let numbered = || (0..count).map(|i| format!("LABEL_{i}")).collect();
        Some(self.answers.clone().unwrap_or_else(numbered))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn tiny() -> Value {
        let path = "../../tests/fixtures/models/simvlm/encoder-decoder/config.json";
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn read(value: &Value) -> Result<SimVlmConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, value.to_string()).unwrap();
        SimVlmConfig::read(&path)
    }

    #[test]
    fn impossible_values_are_told() {
        assert!(read(&tiny()).is_ok());
        for (key, value, told) in [
            ("family", json!("virtex"), "expected `simvlm`"),
            ("n_heads", json!(5), "a divisor of `d_model`, 32"),
            ("n_enc", json!(0), "expected 1 to 1024"),
            ("image_size", json!(60), "a multiple of 16"),
            (
                "stem_depths",
                json!([1, 2]),
                "`stem_depths` is 2, expected 3 to 3",
            ),
            ("eos_id", json!(1), "another id than `bos_id`, 1"),
            ("bos_id", json!(60), "expected 0 to 59"),
            ("answers", json!(["yes"]), "as many names as `n_answers`, 7"),
            ("answer_images", json!(3), "expected 1 to 2"),
            ("norm_eps", json!(0), "a number between 0 and 1"),
        ] {
            let mut config = tiny();
            config[key] = value;
            let error = read(&config).unwrap_err().to_string();
            assert!(error.contains(told), "{key}: {error}");
        }
        let mut config = tiny();
        config["stem"] = json!("vgg");
        assert!(read(&config).is_err());
    }

    #[test]
    fn prefixes_leave_something_to_predict() {
        let mut config = tiny();
        config["prefix"] = json!({"fixed": 4});
        assert_eq!(read(&config).unwrap().prefix, PrefixPolicy::Fixed(4));
        config["prefix"] = json!("image_only");
        assert_eq!(read(&config).unwrap().prefix, PrefixPolicy::ImageOnly);

        let drawn = |unit| PrefixPolicy::Random.length(5, true, unit);
        assert_eq!([0.0, 0.19, 0.2, 0.99].map(drawn), [0, 0, 1, 4]);
        assert_eq!(PrefixPolicy::Random.length(5, false, 0.0), 1);
        assert_eq!(PrefixPolicy::ImageOnly.length(5, true, 0.9), 0);
        assert_eq!(PrefixPolicy::Fixed(3).length(9, true, 0.9), 3);
        assert_eq!(PrefixPolicy::Fixed(9).length(4, true, 0.9), 3);
        for policy in [PrefixPolicy::Random, PrefixPolicy::Fixed(2)] {
            assert_eq!(policy.length(1, false, 0.5), 0);
            assert_eq!(policy.length(0, true, 0.5), 0);
        }
    }
}
