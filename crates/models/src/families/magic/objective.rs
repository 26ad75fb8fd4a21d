//! MAGIC's objective: its language model learns captions, and states that are unlike each other (section 3.1 of the paper).

use super::{FAMILY, LanguageFiles, MagicConfig};
use crate::Result;
use crate::folder::CONFIG;
use crate::language::objective::{Marks, Place, TOKEN_CONTRASTIVE, TokenContrastive};
use crate::objective::{ObjectiveEntry, ObjectiveSpec, TrainableFamily, options};

/// The registry's entry.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: FAMILY.name,
    objectives: &[ObjectiveEntry {
        name: TOKEN_CONTRASTIVE,
        about: "captions without images, and states that are unlike each other",
        asks: false,
        open: |spec| Ok(Box::new(open(spec)?)),
    }],
};

/// Everything is said by the configuration.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {}

fn open(spec: &ObjectiveSpec<'_>) -> Result<TokenContrastive> {
    let Settings {} = options(TOKEN_CONTRASTIVE, spec)?;
    let folder = spec.model.folder(FAMILY.name)?;
    let config = MagicConfig::read(&folder.join(CONFIG))?;
    let files = LanguageFiles::of(folder);
    let place = Place {
        config: &files.config,
        weights: &files.weights,
        vocabulary: &files.vocabulary,
        file: files.file,
    };
    let marks = Marks {
        start: Some(config.sos_id),
        end: config.eos_id,
        pad: config.pad_id,
    };
    TokenContrastive::inside(&place, marks, config.margin)
}
