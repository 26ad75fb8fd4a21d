//! `VisualGPT`'s objectives (section 3.4 of the paper): cross entropy, then captions that a judge likes (self-critical
//! training, Rennie et al. 2017, arXiv 1612.00563, with the mean of a beam as the baseline: Cornia et al. 2020, arXiv
//! 1912.08226, equation 8).

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{D, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::Seed;
use sightline_nn::Weights;
use sightline_nn::decode::Hypothesis;
use sightline_text::Gpt2Tokenizer;

use super::{FAMILY, VisualGpt, VisualGptConfig, input, open, read_tokenizer};
use crate::folder::CONFIG;
use crate::loss::log_softmax;
use crate::objective::{
    Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, Reward, TrainableFamily,
    TrainingBatch, filled, found, options,
};
use crate::{Error, Result, VisualSpec};

/// The registry's entry.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: FAMILY.name,
    objectives: &[
        ObjectiveEntry {
            name: CROSS_ENTROPY,
            about: "captions of regions",
            asks: false,
            open: |spec| Ok(Box::new(CrossEntropy(Base::open(CROSS_ENTROPY, spec)?))),
        },
        ObjectiveEntry {
            name: SELF_CRITICAL,
            about: "captions that a judge finds better than others of the same beam",
            asks: false,
            open: |spec| Ok(Box::new(SelfCritical::open(spec)?)),
        },
    ],
};

const CROSS_ENTROPY: &str = "cross-entropy";
const SELF_CRITICAL: &str = "self-critical";
/// The mean reward of what was written.
const REWARD: &str = "reward";

struct Base {
    folder: PathBuf,
    settings: Settings,
    config: VisualGptConfig,
    tokenizer: Option<Arc<Gpt2Tokenizer>>,
    input: VisualSpec,
}

/// Settings of both objectives.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Below which share a gate is cut; the configuration's when absent. 0: plain gates.
    tau: Option<f64>,
}

impl Base {
    fn open(name: &'static str, spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let folder = spec.model.folder(FAMILY.name)?;
        let settings: Settings = options(name, spec)?;
        let mut config = VisualGptConfig::read(&folder.join(CONFIG))?;
        if let Some(tau) = settings.tau {
            config.tau = tau;
        }
        Ok(Self {
            folder: folder.to_owned(),
            tokenizer: read_tokenizer(folder, &config, spec.model.tokenizer)?,
            input: input(&config),
            settings,
            config,
        })
    }

    fn model(&self, weights: &Weights) -> Result<VisualGpt> {
        VisualGpt::assemble(self.config.clone(), weights, self.tokenizer.clone())
    }

    fn settings(&self) -> Value {
        json!({ "tau": self.settings.tau.unwrap_or(self.config.tau) })
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        match open(&self.folder, device) {
            Ok(weights) => found(Ok(weights)),
            Err(Error::Nn(error)) => found(Err(error)),
            Err(error) => Err(error),
        }
    }
}

struct CrossEntropy(Base);

impl Objective for CrossEntropy {
    fn name(&self) -> &'static str {
        CROSS_ENTROPY
    }

    fn needs(&self) -> &[Need] {
        &[Need::Regions, Need::Caption]
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.0.input)
    }

    /// Pieces of bytes write every text.
    fn check_text(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn settings(&self) -> Value {
        self.0.settings()
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        self.0.stored(device)
    }

    fn published_dropout(&self) -> f64 {
        0.1
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.0.model(weights).map(drop)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, _: Seed) -> Result<Loss> {
        let model = self.0.model(weights)?;
        let memory = model.memory(&batch.one_image_each(CROSS_ENTROPY)?)?;
        let config = &self.0.config;
        let framed = |caption: &str| {
            let mut ids = vec![config.bos_id];
            ids.extend(model.ids(caption)?);
            ids.truncate(config.n_positions.saturating_sub(1));
            ids.push(config.eos_id);
            Ok(ids)
        };
        let captions = batch.captions(CROSS_ENTROPY)?.into_iter();
        let rows = captions.map(framed).collect::<Result<Vec<Vec<u32>>>>()?;
        let (ids, _) = filled(&rows, config.pad_id);
        let (loss, tokens) = model.caption_loss(&memory, &ids)?;
        Ok(Loss::of(CROSS_ENTROPY, loss, tokens))
    }
}

struct SelfCritical {
    base: Base,
    reward: Arc<dyn Reward>,
}

impl SelfCritical {
    fn open(spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let reward = spec.reward.map(Arc::clone).ok_or(Error::Example {
            objective: SELF_CRITICAL,
            wanted: "a judge of captions",
            example: "the run".to_owned(),
        })?;
        Ok(Self {
            base: Base::open(SELF_CRITICAL, spec)?,
            reward,
        })
    }

    /// For each caption of each image how much better it is than the mean of its image's; and the mean of all rewards.
    fn advantages(
        &self,
        model: &VisualGpt,
        batch: &TrainingBatch,
        written: &[Vec<Hypothesis>],
    ) -> Result<(Vec<f32>, f64)> {
        let (mut candidates, mut references) = (Vec::new(), Vec::new());
        for (example, captions) in batch.examples.iter().zip(written) {
            if example.captions.is_empty() {
                return Err(example.lacks(SELF_CRITICAL, "a caption"));
            }
            for caption in captions {
                candidates.push(model.text(&caption.ids)?);
                references.push(example.captions.as_slice());
            }
        }
        let rewards = self.reward.score(&candidates, &references)?;
        if rewards.len() != candidates.len() {
            return Err(Error::Count {
                what: "rewards",
                found: rewards.len(),
                wanted: candidates.len(),
            });
        }
        let mean = rewards.iter().sum::<f64>() / rewards.len().max(1) as f64;
        let mut advantages = Vec::with_capacity(rewards.len());
        let mut rest = rewards.as_slice();
        for captions in written {
            let (own, others) = rest.split_at(captions.len());
            let baseline = own.iter().sum::<f64>() / own.len().max(1) as f64;
            advantages.extend(own.iter().map(|reward| (reward - baseline) as f32));
            rest = others;
        }
        Ok((advantages, mean))
    }
}

impl Objective for SelfCritical {
    fn name(&self) -> &'static str {
        SELF_CRITICAL
    }

    fn needs(&self) -> &[Need] {
        &[Need::Regions, Need::Caption, Need::Reward]
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.base.input)
    }

    /// Pieces of bytes write every text.
    fn check_text(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn judged_by(&self) -> Option<&'static str> {
        Some(REWARD)
    }

    fn settings(&self) -> Value {
        let mut settings = self.base.settings();
        settings["beam"] = json!(self.base.config.beam_size);
        settings["max_len"] = json!(self.base.config.max_len);
        settings
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        self.base.stored(device)
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.base.model(weights).map(drop)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, _: Seed) -> Result<Loss> {
        let config = &self.base.config;
        let images = batch.one_image_each(SELF_CRITICAL)?;
        let most = config.n_positions.saturating_sub(1);
        let steps = config.max_len.min(most).max(1);
        // What is written needs no gradient, and so takes the fast path.
        let writer = self.base.model(&weights.detached())?;
        let memory = writer.memory(&images)?;
        let searches = vec![writer.beam(config.beam_size, steps); batch.examples.len()];
        let written = writer.search(&memory, searches)?;
        let (advantages, reward) = self.advantages(&writer, batch, &written)?;

        let model = self.base.model(weights)?;
        let owners = written.iter().zip(0u32..);
        let owners: Vec<u32> = owners
            .flat_map(|(captions, image)| std::iter::repeat_n(image, captions.len()))
            .collect();
        let memory = model.memory(&images)?.select(&owners)?;
        let captions = written.iter().flatten();
        let targets: Vec<Vec<u32>> = captions.map(|caption| caption.ids.clone()).collect();
        let rows = targets.iter().map(|ids| {
            let before = ids.split_last().map_or(&[][..], |(_, before)| before);
            [&[config.bos_id][..], before].concat()
        });
        let rows: Vec<Vec<u32>> = rows.collect();
        // Behind a caption anything may stand: no token sees what comes later.
        let (ids, _) = filled(&rows, config.eos_id);
        let (labels, present) = filled(&targets, config.eos_id);
        let logits = model.logits(&memory, &ids)?;
        let (count, len, _) = logits.dims3()?;
        let device = logits.device();
        let labels = Tensor::from_vec(labels.concat(), (count, len, 1), device)?;
        let there: Vec<f32> = present.iter().flatten().map(|&p| f32::from(p)).collect();
        let there = Tensor::from_vec(there, (count, len), device)?;
        let told = log_softmax(&logits)?.gather(&labels, D::Minus1)?;
        // The published program takes the mean over all steps of the search, those behind the end with 0.
        let told = ((told.squeeze(D::Minus1)? * there)?.sum(1)? / steps as f64)?;
        let advantages = Tensor::from_vec(advantages, count, device)?;
        let loss = (told * advantages)?.mean_all()?.neg()?;
        Ok(Loss {
            terms: vec![
                (SELF_CRITICAL, loss.clone()),
                (REWARD, Tensor::new(reward as f32, device)?),
            ],
            total: loss,
            predictions: count,
        })
    }
}
