//! VirTex's objectives (section 3 and table 2 of the paper): captions both ways or forwards, or masked words.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::Seed;
use sightline_nn::Weights;
use sightline_text::VirTexTokenizer;

use super::config::Objective as Kind;
use super::{Direction, FAMILY, Parts, VirTex, VirTexConfig, input, read_tokenizer};
use crate::objective::{
    Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily, TrainingBatch,
    check_covered, checkpoint, filled, options,
};
use crate::{Error, Result, VisualSpec};

/// The registry's entry.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: FAMILY.name,
    objectives: &[
        ObjectiveEntry {
            name: "bicaptioning",
            about: "captions forwards and backwards",
            asks: false,
            open: |spec| Ok(Box::new(Captions::open("bicaptioning", spec)?)),
        },
        ObjectiveEntry {
            name: "captioning",
            about: "captions forwards",
            asks: false,
            open: |spec| Ok(Box::new(Captions::open("captioning", spec)?)),
        },
        ObjectiveEntry {
            name: "masked-lm",
            about: "words of captions that were masked",
            asks: false,
            open: |spec| Ok(Box::new(Captions::open("masked-lm", spec)?)),
        },
    ],
};

/// Settings of masked language models, as in the published program.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Share of a caption's words that are to be guessed, one at least.
    masked_share: f64,
    /// Of these, the share in whose place the mask stands.
    mask_probability: f64,
    /// Of these, the share in whose place another word stands; the rest stay.
    replace_probability: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            masked_share: 0.15,
            mask_probability: 0.85,
            replace_probability: 0.1,
        }
    }
}

struct Captions {
    name: &'static str,
    folder: PathBuf,
    settings: Settings,
    config: VirTexConfig,
    tokenizer: Option<Arc<VirTexTokenizer>>,
    input: VisualSpec,
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Bicaptioning => "bicaptioning",
        Kind::Captioning => "captioning",
        Kind::MaskedLm => "masked-lm",
    }
}

impl Captions {
    fn open(name: &'static str, spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let folder = spec.model.folder(FAMILY.name)?;
        let config = VirTexConfig::read(folder)?;
        if name != name_of(config.objective) {
            return Err(Error::Objective {
                objective: name,
                folder: folder.to_owned(),
                why: format!("its configuration is of `{}`", name_of(config.objective)),
            });
        }
        Ok(Self {
            name,
            folder: folder.to_owned(),
            settings: options(name, spec)?,
            tokenizer: read_tokenizer(folder, &config, spec.model.tokenizer)?,
            input: VisualSpec::Pixels(input(config.image_size)),
            config,
        })
    }

    fn model(&self, weights: &Weights) -> Result<VirTex> {
        let tokenizer = self.tokenizer.clone();
        VirTex::assemble(self.config.clone(), weights, Parts::All, tokenizer)
    }

    /// A caption with words masked, and its labels: padding where nothing is to be guessed.
    fn masked(&self, ids: &[u32], seed: Seed) -> (Vec<u32>, Vec<u32>) {
        let Settings {
            masked_share,
            mask_probability,
            replace_probability,
        } = self.settings;
        let mut masked = ids.to_vec();
        let mut labels = vec![self.config.unk_index; ids.len()];
        // The marks at both ends stay.
        let mut places: Vec<usize> = (1..ids.len().saturating_sub(1)).collect();
        let mut rng = seed.rng();
        rng.shuffle(&mut places);
        let count = (places.len() as f64 * masked_share).ceil() as usize;
        for &place in &places[..count.min(places.len())] {
            labels[place] = ids[place];
            let unit = rng.unit();
            // A single word is always masked.
            if count == 1 || unit < mask_probability {
                masked[place] = self.config.mask_index;
            } else if unit < mask_probability + replace_probability {
                masked[place] = rng.below(self.config.vocab_size as u64) as u32;
            }
        }
        (masked, labels)
    }
}

impl Objective for Captions {
    fn name(&self) -> &'static str {
        self.name
    }

    fn needs(&self) -> &[Need] {
        &[Need::Pixels, Need::Caption]
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.input)
    }

    fn check_text(&self, text: &str) -> Result<()> {
        let Some(tokenizer) = &self.tokenizer else {
            return Ok(());
        };
        let ids = |text: &str| Ok(tokenizer.encode(text, usize::MAX));
        check_covered(&self.folder, text, Some(tokenizer.unknown()), ids)
    }

    fn settings(&self) -> Value {
        match self.config.objective {
            Kind::MaskedLm => json!(self.settings),
            Kind::Bicaptioning | Kind::Captioning => json!({}),
        }
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        checkpoint(&self.folder, device)
    }

    fn published_dropout(&self) -> f64 {
        0.1
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.model(weights).map(drop)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, seed: Seed) -> Result<Loss> {
        let model = self.model(weights)?;
        let images = batch.one_image_each(self.name)?;
        let grid = model.visual().forward(images.pixels()?)?;
        let memory = model.textual().project(&grid)?;
        let captions = batch.captions(self.name)?;
        let rows = captions.iter().map(|caption| model.ids(caption));
        let rows = rows.collect::<Result<Vec<Vec<u32>>>>()?;
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        let padding = self.config.unk_index;
        let lacking = || Error::Head {
            capability: "generate",
        };

        if self.config.objective == Kind::MaskedLm {
            let of_example = batch.examples.iter().zip(&rows);
            let masked = of_example
                .map(|(example, ids)| self.masked(ids, example.seed(seed).child("mask", 0)));
            let (masked, labels): (Vec<_>, Vec<_>) = masked.unzip();
            let (ids, labels) = (filled(&masked, padding).0, filled(&labels, padding).0);
            let loss = model.masked_loss(&memory, &ids, &lengths, &labels)?;
            let (loss, words) = loss.ok_or_else(lacking)?;
            return Ok(Loss::of("masked-lm", loss, words));
        }
        let of = |rows: &[Vec<u32>], direction: Direction| {
            let ids = filled(rows, padding).0;
            let loss = model.caption_loss(direction, &memory, &ids, &lengths)?;
            loss.ok_or_else(lacking)
        };
        let (loss, tokens) = of(&rows, Direction::Forward)?;
        if self.config.objective == Kind::Captioning {
            return Ok(Loss::of("forward", loss, tokens));
        }
        let turned = |row: &Vec<u32>| row.iter().rev().copied().collect();
        let turned: Vec<Vec<u32>> = rows.iter().map(turned).collect();
        let (back, _) = of(&turned, Direction::Backward)?;
        Ok(Loss {
            total: (&loss + &back)?,
            terms: vec![("forward", loss), ("backward", back)],
            predictions: tokens,
        })
    }
}
