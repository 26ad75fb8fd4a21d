//! Images that a GPU prepares for the model on it, without a way over the host.

use std::time::{Duration, Instant};

use sightline_core::Decoded;
use sightline_preprocess::PrepareError;

use super::{Direct, DirectError, PIXELS, Picture, REGIONS, Result};
use crate::pixels::{CardOptions, PixelPreparer};

/// A model and what prepares its images, on one card.
pub struct OnCard<'m> {
    model: &'m Direct,
    pixels: PixelPreparer,
}

/// A unit vector, or why there is none.
type Embedded = std::result::Result<Vec<f32>, PrepareError>;

/// What preparing images took beside the model.
#[derive(Clone, Copy, Debug)]
pub struct Preparation {
    /// Time in which neither the model nor who took the vectors was at work.
    pub waiting: Duration,
    /// By whom files were decoded; `None` where the CPU prepared them.
    pub decoded: Option<Decoded>,
}

impl Direct {
    /// The model with its card to prepare images; on a CPU that does.
    pub fn on_card(&self, options: &CardOptions) -> Result<OnCard<'_>> {
        let preprocessor = self.preprocessor().ok_or(DirectError::Input {
            wanted: REGIONS,
            found: PIXELS,
        })?;
        let pixels = PixelPreparer::new(preprocessor.clone());
        Ok(OnCard {
            model: self,
            pixels: pixels.on_card(&self.device, self.pixel_type, options)?,
        })
    }
}

impl OnCard<'_> {
    /// Unit vectors of the image files of each of `batches`, handed to `sink` in their order, perhaps in parts; while the
    /// model is at one batch, the next ones are decoded. `sink` says whether to go on.
    pub fn embed<B: AsRef<[u8]> + Send + Sync>(
        &self,
        batches: impl IntoIterator<Item = Vec<B>>,
        mut sink: impl FnMut(Vec<Embedded>) -> bool,
    ) -> Result<Preparation> {
        let (start, mut busy) = (Instant::now(), Duration::ZERO);
        self.pixels.each(batches, |prepared| {
            let start = Instant::now();
            let mut pictures = Vec::with_capacity(prepared.len());
            let outcomes: Vec<_> = prepared
                .into_iter()
                .map(|one| one.map(|pixels| pictures.push(Picture::Pixels(pixels))))
                .collect();
            let mut vectors = match &pictures[..] {
                [] => Vec::new(),
                pictures => self.model.embed_images(pictures)?,
            }
            .into_iter();
            let vectors = outcomes
                .into_iter()
                .map(|outcome| outcome.map(|()| vectors.next().unwrap_or_default()));
            let goes_on = sink(vectors.collect());
            busy += start.elapsed();
            Ok::<_, DirectError>(goes_on)
        })?;
        Ok(Preparation {
            waiting: start.elapsed().saturating_sub(busy),
            decoded: self.pixels.take_decoded(),
        })
    }
}
