//! Language models that other families plug in: GPT-2, OPT, GPT-NeoX (Pythia), GPT-J and MPT.
//!
//! The folder is one as Hugging Face publishes them: `config.json` and the weights, whose names may begin with the
//! model's own prefix (`transformer.`, `model.decoder.`, …) or not. [`config`] says what is read of the configuration;
//! [`CausalTransformer`] computes.
//!
//! ```no_run
//! use sightline_models::{Device, LanguageModel};
//!
//! let model = LanguageModel::from_folder("gpt2".as_ref(), &Device::Cpu)?;
//! let embeds = model.transformer().embed(&[vec![464, 2068]])?;
//! let hidden = model.transformer().forward(&embeds, None)?;
//! assert_eq!(model.transformer().logits(&hidden)?.dims(), [1, 2, 50_257]);
//! # Ok::<(), sightline_models::Error>(())
//! ```

pub mod config;
pub mod objective;

use std::path::Path;

use candle_core::{Device, Tensor};
use sightline_nn::{CausalTransformer, Linear, Precision, Weights};

pub use config::LanguageConfig;

pub(crate) use objective::TRAINABLE;

use crate::folder::{self, CONFIG};
use crate::{Error, Result};

/// A language model and what its configuration says of its tokens.
#[derive(Clone, Debug)]
pub struct LanguageModel {
    config: LanguageConfig,
    transformer: CausalTransformer,
}

impl LanguageModel {
    /// The checkpoint in `folder`.
    pub fn from_folder(folder: &Path, device: &Device) -> Result<Self> {
        Self::open(&folder.join(CONFIG), folder, device)
    }

    /// The model whose configuration is the file `config` and whose weights are in `weights`, a file or a folder.
    pub fn open(config: &Path, weights: &Path, device: &Device) -> Result<Self> {
        Self::open_in(config, weights, Precision::F32, device)
    }

    /// As [`Self::open`], with the weights of linear maps in `precision`.
    pub fn open_in(
        config: &Path,
        weights: &Path,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        let config = LanguageConfig::read(config)?;
        let opened = Weights::open(weights, device)?.with_precision(precision)?;
        let model = Self::load(config, &opened);
        // Problems with tensors first: they are the cause of whatever else went wrong.
        folder::finish(&opened, weights)?;
        model
    }

    /// Reads the model's tensors from `weights`.
    pub fn load(config: LanguageConfig, weights: &Weights) -> Result<Self> {
        let body = config.body(weights);
        let transformer = CausalTransformer::load(&body, weights, &config.spec)?;
        Ok(Self {
            config,
            transformer,
        })
    }

    /// The same model with other token vectors: see [`CausalTransformer::with_tokens`].
    pub fn with_tokens(mut self, tokens: Tensor, head: Option<Linear>) -> Result<Self> {
        self.transformer = self.transformer.with_tokens(tokens, head)?;
        self.config.spec = self.transformer.spec().clone();
        Ok(self)
    }

    /// The same model with the adapters in `weights`, which is where [`Self::load`] read it: see
    /// [`CausalTransformer::with_adapters`].
    pub fn with_adapters(mut self, weights: &Weights) -> Result<Self> {
        if self.config.spec.adapter.is_some() {
            let body = self.config.body(weights);
            self.transformer = self.transformer.with_adapters(&body)?;
        }
        Ok(self)
    }

    /// What the configuration says.
    pub fn config(&self) -> &LanguageConfig {
        &self.config
    }

    /// The network.
    pub fn transformer(&self) -> &CausalTransformer {
        &self.transformer
    }

    /// Fails when `tokens` do not fit into the model's context; `what` they are is told.
    pub fn check_context(&self, what: &'static str, tokens: usize) -> Result<()> {
        let limit = self.config.spec.context;
        if tokens <= limit {
            return Ok(());
        }
        Err(Error::Context {
            what,
            tokens,
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use candle_core::DType;
    use serde_json::{Value, json};
    use sightline_core::Hint;
    use tempfile::TempDir;

    use super::*;

    /// A GPT-2 of one layer, width 4.
    fn gpt2() -> (Value, Vec<(&'static str, Vec<usize>)>) {
        let config = json!({
            "model_type": "gpt2", "vocab_size": 7, "n_positions": 6, "n_embd": 4, "n_layer": 1,
            "n_head": 2, "activation_function": "gelu_new", "bos_token_id": 6, "eos_token_id": 6,
        });
        let tensors = vec![
            ("wte.weight", vec![7, 4]),
            ("wpe.weight", vec![6, 4]),
            ("h.0.ln_1.weight", vec![4]),
            ("h.0.ln_1.bias", vec![4]),
            ("h.0.attn.c_attn.weight", vec![4, 12]),
            ("h.0.attn.c_attn.bias", vec![12]),
            ("h.0.attn.c_proj.weight", vec![4, 4]),
            ("h.0.attn.c_proj.bias", vec![4]),
            ("h.0.ln_2.weight", vec![4]),
            ("h.0.ln_2.bias", vec![4]),
            ("h.0.mlp.c_fc.weight", vec![4, 16]),
            ("h.0.mlp.c_fc.bias", vec![16]),
            ("h.0.mlp.c_proj.weight", vec![16, 4]),
            ("h.0.mlp.c_proj.bias", vec![4]),
            ("ln_f.weight", vec![4]),
            ("ln_f.bias", vec![4]),
        ];
        (config, tensors)
    }

    /// An OPT of the form of the one with 350 million parameters.
    fn opt_350m() -> (Value, Vec<(&'static str, Vec<usize>)>) {
        let config = json!({
            "model_type": "opt", "vocab_size": 7, "max_position_embeddings": 6, "hidden_size": 4,
            "word_embed_proj_dim": 2, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "activation_function": "relu", "do_layer_norm_before": false, "eos_token_id": [2, 3],
        });
        let tensors = vec![
            ("embed_tokens.weight", vec![7, 2]),
            ("embed_positions.weight", vec![8, 4]),
            ("project_in.weight", vec![4, 2]),
            ("project_out.weight", vec![2, 4]),
            ("layers.0.self_attn.q_proj.weight", vec![4, 4]),
            ("layers.0.self_attn.q_proj.bias", vec![4]),
            ("layers.0.self_attn.k_proj.weight", vec![4, 4]),
            ("layers.0.self_attn.k_proj.bias", vec![4]),
            ("layers.0.self_attn.v_proj.weight", vec![4, 4]),
            ("layers.0.self_attn.v_proj.bias", vec![4]),
            ("layers.0.self_attn.out_proj.weight", vec![4, 4]),
            ("layers.0.self_attn.out_proj.bias", vec![4]),
            ("layers.0.self_attn_layer_norm.weight", vec![4]),
            ("layers.0.self_attn_layer_norm.bias", vec![4]),
            ("layers.0.fc1.weight", vec![8, 4]),
            ("layers.0.fc1.bias", vec![8]),
            ("layers.0.fc2.weight", vec![4, 8]),
            ("layers.0.fc2.bias", vec![4]),
            ("layers.0.final_layer_norm.weight", vec![4]),
            ("layers.0.final_layer_norm.bias", vec![4]),
        ];
        (config, tensors)
    }

    /// A folder with `config` and numbers for `tensors`, whose names begin with `prefix`, beside those of `more`.
    fn folder(
        config: &Value,
        tensors: &[(&str, Vec<usize>)],
        prefix: &str,
        more: &[(&str, Vec<usize>)],
    ) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
        let values = |salt: usize, shape: &Vec<usize>| {
            let len: usize = shape.iter().product();
            let angles = Tensor::arange(0f32, len as f32, &Device::Cpu).unwrap();
            let wave = angles.affine(0.7, salt as f64).unwrap().sin().unwrap();
            wave.reshape(shape.as_slice()).unwrap()
        };
        let named = tensors.iter().enumerate();
        let mut all: HashMap<String, Tensor> = named
            .map(|(i, (name, shape))| (format!("{prefix}{name}"), values(i, shape)))
            .collect();
        let more = more.iter();
        all.extend(more.map(|(name, shape)| ((*name).to_owned(), values(0, shape))));
        candle_core::safetensors::save(&all, folder.path().join("model.safetensors")).unwrap();
        folder
    }

    fn logits(folder: &TempDir) -> Vec<Vec<f32>> {
        let weights = Weights::open(folder.path(), &Device::Cpu).unwrap();
        let config = LanguageConfig::read(&folder.path().join(CONFIG)).unwrap();
        let model = LanguageModel::load(config, &weights).unwrap();
        assert_eq!(weights.finish().unwrap(), [""; 0], "unused");
        let network = model.transformer();
        let embeds = network.embed(&[vec![1, 5, 2]]).unwrap();
        let hidden = network.forward(&embeds, None).unwrap();
        let logits = network.logits(&hidden).unwrap();
        logits.get(0).unwrap().to_vec2().unwrap()
    }

    fn told(folder: &TempDir) -> String {
        let error = LanguageModel::from_folder(folder.path(), &Device::Cpu).unwrap_err();
        let path = folder.path().display().to_string();
        format!("{error}\n{}", error.hints().join("\n")).replace(&path, "FOLDER")
    }

    #[test]
    fn names_may_have_their_prefix_or_not_and_old_buffers_are_passed_over() {
        let (config, tensors) = gpt2();
        let buffers = |prefix: &str| -> Vec<(String, Vec<usize>)> {
            ["bias", "masked_bias"]
                .map(|name| (format!("{prefix}h.0.attn.{name}"), vec![1, 1, 6, 6]))
                .into()
        };
        let with = |prefix: &str| {
            let buffers = buffers(prefix);
            let mut more: Vec<(&str, Vec<usize>)> = buffers
                .iter()
                .map(|(name, shape)| (name.as_str(), shape.clone()))
                .collect();
            // The tied copy that some files hold.
            more.push(("lm_head.weight", vec![7, 4]));
            logits(&folder(&config, &tensors, prefix, &more))
        };
        assert_eq!(with("transformer."), with(""));
        let (config, tensors) = opt_350m();
        let of = |prefix| logits(&folder(&config, &tensors, prefix, &[]));
        let published = of("model.decoder.");
        assert_eq!((published.len(), published[0].len()), (3, 7));
        assert_eq!(published, of("decoder."));
        assert_eq!(published, of(""));
    }

    #[test]
    fn tokens_that_end_a_text_may_be_several() {
        let (config, tensors) = opt_350m();
        let folder = folder(&config, &tensors, "model.decoder.", &[]);
        let model = LanguageModel::from_folder(folder.path(), &Device::Cpu).unwrap();
        assert_eq!(
            (model.config().bos, model.config().eos.as_slice()),
            (None, &[2, 3][..])
        );
    }

    #[test]
    fn weights_of_another_size_are_told_with_both_sizes() {
        let (mut config, tensors) = gpt2();
        config["n_embd"] = json!(8);
        let told = told(&folder(&config, &tensors, "transformer.", &[]));
        let wrong = "`transformer.wte.weight` is [7, 4] instead of [7, 8]";
        assert!(told.contains(wrong), "{told}");
        assert!(
            told.contains("The weights belong to another model"),
            "{told}"
        );
    }

    #[test]
    fn what_is_not_computed_is_refused_before_a_tensor_is_read() {
        let refused = |field: &str, value: Value, wanted: &str| {
            let (mut config, _) = gpt2();
            config[field] = value;
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
            let told = told(&folder);
            assert!(told.contains(wanted), "{told}");
        };
        refused(
            "model_type",
            json!("t5"),
            "`model_type` is t5, expected `gpt2`, `gptj`",
        );
        refused("scale_attn_weights", json!(false), "expected true");
        refused("n_head", json!(3), "a divisor of the layers' width, 4");
        refused("n_layer", json!(0), "`number of layers` is 0");
        refused(
            "vocab_size",
            json!(-1),
            "is not a configuration that can be read",
        );
        refused(
            "activation_function",
            json!("mish"),
            "is not a configuration",
        );
    }

    #[test]
    fn a_text_beyond_the_context_is_refused_with_a_way_out() {
        let (config, tensors) = gpt2();
        let folder = folder(&config, &tensors, "", &[]);
        let model = LanguageModel::from_folder(folder.path(), &Device::Cpu).unwrap();
        assert!(model.check_context("a prompt", 6).is_ok());
        let error = model.check_context("a prompt", 7).unwrap_err();
        let told = "a prompt has 7 tokens, the model's context is 6";
        assert_eq!(error.to_string(), told);
        assert!(error.hints()[0].starts_with("Shorten the text"));
        let embeds = Tensor::zeros((1, 7, 4), DType::F32, &Device::Cpu).unwrap();
        assert!(model.transformer().forward(&embeds, None).is_err());
    }
}
