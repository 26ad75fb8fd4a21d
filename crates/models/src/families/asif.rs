//! ASIF: images and texts in one space without training (Norelli et al. 2022, arXiv 2210.01738).
//!
//! Any image encoder and any text encoder, which need not know of each other, and anchors: pairs of an image and a text that
//! belong together. An image is told by its nearest anchor images, a text by its nearest anchor texts (section 3, "ASIF"):
//!
//! 1. the cosine to every anchor;
//! 2. all but the `k` largest become 0;
//! 3. each is raised to the power `p`;
//! 4. the vector is divided by its length.
//!
//! The similarity of an image and a text is the dot product of the two sparse vectors. Anchors may be added and deleted at
//! any time ([`Anchors`]); those that both sides share explain an answer ([`Relative::explain`]).
//!
//! A checkpoint's folder holds the anchors and `config.json`: `{"family": "asif", "k": 800, "p": 8, "image_encoder": "FOLDER",
//! "text_encoder": "FOLDER"}`, folders counted from this one, each the checkpoint of a family that embeds.

pub mod anchors;
mod build;
mod config;
pub mod relative;
mod screen;
mod search;
mod segment;
mod vectors;

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};

pub use anchors::Anchors;
pub use build::build;
pub use config::AsifConfig;
pub use relative::{Near, Relative, Share};
pub use segment::{Precision, Side};
pub use vectors::{Rows, TensorRows, VectorFile};

use crate::folder::CONFIG;
use crate::{
    Capability, CheckpointFile, Embed, Error, Family, FileRole, Model, ModelSpec, Result,
    VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "asif",
    paper: "https://arxiv.org/abs/2210.01738",
    capabilities: &[Capability::Embed],
    needs_checkpoint: true,
    files,
    offers: |_| Ok(FAMILY.capabilities),
    input: |spec| {
        let config = AsifConfig::read(spec.folder(FAMILY.name)?)?;
        let (family, image) = encoder(spec, &config, Side::Image)?;
        (family.input)(&image)
    },
    load: |spec, device| Ok(Box::new(Asif::load(spec, device)?)),
};

/// Values that dense vectors may have together, 2 GiB. Beyond it they are no way to hold relative vectors.
const DENSE_LIMIT: usize = 1 << 29;

/// Two encoders and what couples them.
pub struct Asif {
    config: AsifConfig,
    anchors: Anchors,
    image: Arc<dyn Model>,
    text: Arc<dyn Model>,
    device: Device,
}

fn files(spec: &ModelSpec) -> Result<Vec<CheckpointFile>> {
    let folder = spec.folder(FAMILY.name)?;
    let config = AsifConfig::read(folder)?;
    let mut files = vec![CheckpointFile {
        path: folder.join(CONFIG),
        role: FileRole::Config,
    }];
    files.extend(Anchors::files(folder)?);
    for side in [Side::Image, Side::Text] {
        let (family, spec) = encoder(spec, &config, side)?;
        for file in (family.files)(&spec)? {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// The encoder of one side, as a model of its own.
fn encoder(
    spec: &ModelSpec,
    config: &AsifConfig,
    side: Side,
) -> Result<(&'static Family, ModelSpec)> {
    let folder = spec.folder(FAMILY.name)?;
    let checkpoint = config.encoder(folder, side)?;
    crate::encoder::encoder(spec, checkpoint, FAMILY.name)
}

impl Asif {
    /// Loads both encoders and maps the anchors.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let config = AsifConfig::read(folder)?;
        let anchors = Anchors::open(folder)?;
        let load = |side| -> Result<_> {
            let (family, spec) = encoder(spec, &config, side)?;
            let model: Arc<dyn Model> = Arc::from((family.load)(&spec, device)?);
            let found = embed(model.as_ref(), family.name)?.width();
            let wanted = anchors.width(side);
            if found != wanted {
                return Err(Error::AnchorWidth {
                    side: side.name(),
                    found,
                    wanted,
                });
            }
            Ok(model)
        };
        let image = load(Side::Image)?;
        let is_shared =
            config.encoder(folder, Side::Image)? == config.encoder(folder, Side::Text)?;
        let text = if is_shared {
            let (found, wanted) = (anchors.width(Side::Image), anchors.width(Side::Text));
            if found != wanted {
                let side = Side::Text.name();
                return Err(Error::AnchorWidth {
                    side,
                    found,
                    wanted,
                });
            }
            image.clone()
        } else {
            load(Side::Text)?
        };
        Ok(Self {
            config,
            anchors,
            image,
            text,
            device: device.clone(),
        })
    }

    /// How vectors are told.
    pub fn config(&self) -> &AsifConfig {
        &self.config
    }

    /// The anchors.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// `pixels` `[B, …]` as the image encoder takes them, told by the anchors.
    pub fn relative_images(&self, pixels: &Tensor) -> Result<Vec<Relative>> {
        let vectors = embed(self.image.as_ref(), FAMILY.name)?.embed_images(pixels)?;
        self.config.relative(&self.anchors, Side::Image, &vectors)
    }

    /// Texts, told by the anchors.
    pub fn relative_texts(&self, texts: &[&str]) -> Result<Vec<Relative>> {
        let vectors = embed(self.text.as_ref(), FAMILY.name)?.embed_texts(texts)?;
        self.config.relative(&self.anchors, Side::Text, &vectors)
    }
}

fn embed<'m>(model: &'m dyn Model, family: &'static str) -> Result<&'m dyn Embed> {
    model.embed().ok_or_else(|| Error::Encoder {
        folder: Path::new("").to_owned(),
        family,
    })
}

/// The vectors with their zeros: `[B, anchors]`, f32.
pub(crate) fn dense(relative: &[Relative], anchors: usize, device: &Device) -> Result<Tensor> {
    let count = relative.len().saturating_mul(anchors);
    if count > DENSE_LIMIT {
        return Err(Error::Count {
            what: "values of relative vectors with their zeros",
            found: count,
            wanted: DENSE_LIMIT,
        });
    }
    let mut values = vec![0.0; count];
    for (relative, row) in relative.iter().zip(values.chunks_mut(anchors)) {
        for &(anchor, value) in relative.values() {
            row[anchor] = value;
        }
    }
    Ok(Tensor::from_vec(values, (relative.len(), anchors), device)?)
}

impl Model for Asif {
    fn input(&self) -> &VisualSpec {
        self.image.input()
    }

    fn embed(&self) -> Option<&dyn Embed> {
        Some(self)
    }
}

/// Relative vectors with their zeros, as wide as there are anchors.
impl Embed for Asif {
    fn width(&self) -> usize {
        self.anchors.rows()
    }

    fn embed_images(&self, pixels: &Tensor) -> Result<Tensor> {
        dense(&self.relative_images(pixels)?, self.width(), &self.device)
    }

    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor> {
        dense(&self.relative_texts(texts)?, self.width(), &self.device)
    }

    fn scale(&self) -> f32 {
        1.0
    }
}
