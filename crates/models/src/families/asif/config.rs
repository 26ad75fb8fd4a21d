//! `config.json` of an ASIF model.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::Deserialize;

use super::anchors::Anchors;
use super::relative::Relative;
use super::segment::Side;
use crate::check::{Check, limit};
use crate::folder::{CONFIG, read_json};
use crate::{Error, Result};

/// Powers beyond it make everything but the nearest anchor vanish.
const POWER_LIMIT: usize = 64;

/// How vectors are told by anchors, and whose vectors they are.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct AsifConfig {
    /// Anchors that count; all, if there are fewer.
    pub k: usize,
    /// Power of their cosines.
    pub p: u32,
    /// Folder of the image encoder's checkpoint.
    pub image_encoder: Option<PathBuf>,
    /// Folder of the text encoder's checkpoint.
    pub text_encoder: Option<PathBuf>,
    /// Of recorded outputs: prompts of a class, which stand together.
    pub prompts_per_class: usize,
}

impl Default for AsifConfig {
    /// The paper's, for 1.6 million anchors.
    fn default() -> Self {
        Self {
            k: 800,
            p: 8,
            image_encoder: None,
            text_encoder: None,
            prompts_per_class: 1,
        }
    }
}

impl AsifConfig {
    /// Reads the configuration in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let check = Check::new(&path);
        let config: Self = serde_json::from_value(read_json(&path)?).map_err(|e| check.json(e))?;
        config.check(folder)?;
        Ok(config)
    }

    /// Fails if the values cannot be those of a configuration in `folder`.
    pub(super) fn check(&self, folder: &Path) -> Result<()> {
        let path = folder.join(CONFIG);
        let check = Check::new(&path);
        check.range("k", self.k, 1, limit::ANCHORS)?;
        check.range("p", self.p as usize, 1, POWER_LIMIT)?;
        let prompts = self.prompts_per_class;
        check.range("prompts_per_class", prompts, 1, limit::LABELS)
    }

    /// The folder of the encoder of that side, as the configuration in `folder` names it.
    pub(super) fn encoder(&self, folder: &Path, side: Side) -> Result<PathBuf> {
        let (field, encoder) = match side {
            Side::Image => ("image_encoder", &self.image_encoder),
            Side::Text => ("text_encoder", &self.text_encoder),
        };
        let Some(named) = encoder else {
            let path = folder.join(CONFIG);
            let wanted = "the folder of a checkpoint whose family embeds";
            return Err(Check::new(&path).wrong(field, &"absent", wanted));
        };
        Ok(match (named.strip_prefix(".."), folder.parent()) {
            // Nobody gets through a folder that is still to be made.
            (Ok(rest), Some(above)) if !folder.exists() => above.join(rest),
            _ => folder.join(named),
        })
    }

    /// `vectors` `[B, D]` of one side's encoder, of any length but 0, told by `anchors`.
    pub fn relative(
        &self,
        anchors: &Anchors,
        side: Side,
        vectors: &Tensor,
    ) -> Result<Vec<Relative>, Error> {
        let near = anchors.nearest(side, vectors, self.k)?;
        let relative = near.iter().map(|near| Relative::new(near, self.p));
        Ok(relative.collect())
    }
}
