//! Objects of named classes in images.

use candle_core::Device;
use sightline_models::detect::{
    Class, Detection, Judged, Proposal, RegionBatch, RegionView, Seen, Vocabulary, crop_of,
};
use sightline_models::{Capability, Detect};
use sightline_preprocess::regions::{BatchSpec, Regions, batch};
use sightline_preprocess::{Canvas, PrepareError, Preprocessor};

use super::{Direct, DirectError, PIXELS, REGIONS, Result};

/// Regions that are judged together: their crops are tensors at the same time.
const PART: usize = 32;

/// The most proposals of an image: what overlaps what is a table of each with each.
const MOST: usize = 8192;

/// A model that finds objects.
pub struct Detector<'m> {
    detect: &'m dyn Detect,
    /// What prepares crops; `None` for a model of features.
    preprocessor: Option<&'m Preprocessor>,
    device: &'m Device,
}

impl Direct {
    /// The model as one that finds objects.
    pub fn detector(&self) -> Result<Detector<'_>> {
        let detect = self.model.detect();
        let detect = detect.ok_or_else(|| self.cannot(&[Capability::Detect]))?;
        Ok(Detector::new(detect, self.preprocessor(), &self.device))
    }

    /// Decodes an image whose parts the model looks at.
    pub fn canvas(&self, bytes: &[u8]) -> Result<Result<Canvas, PrepareError>> {
        canvas(self.preprocessor(), bytes)
    }
}

fn canvas(
    preprocessor: Option<&Preprocessor>,
    bytes: &[u8],
) -> Result<Result<Canvas, PrepareError>> {
    let preprocessor = preprocessor.ok_or(DirectError::Input {
        wanted: REGIONS,
        found: PIXELS,
    })?;
    Ok(preprocessor.canvas(bytes))
}

impl<'m> Detector<'m> {
    pub(crate) fn new(
        detect: &'m dyn Detect,
        preprocessor: Option<&'m Preprocessor>,
        device: &'m Device,
    ) -> Self {
        Self {
            detect,
            preprocessor,
            device,
        }
    }
}

impl Detector<'_> {
    /// Decodes an image whose parts the model looks at.
    pub(crate) fn canvas(&self, bytes: &[u8]) -> Result<Result<Canvas, PrepareError>> {
        canvas(self.preprocessor, bytes)
    }

    /// The classes as the model reads them.
    pub fn vocabulary(&self, classes: &[Class<'_>]) -> Result<Vocabulary> {
        Ok(self.detect.vocabulary(classes)?)
    }

    /// Objects among `proposals` in an image, the surest first.
    pub fn in_image(
        &self,
        canvas: &Canvas,
        proposals: &[Proposal],
        vocabulary: &Vocabulary,
    ) -> Result<Vec<Detection>> {
        let RegionView::Crops(scales) = self.detect.view() else {
            return Err(DirectError::Input {
                wanted: REGIONS,
                found: PIXELS,
            });
        };
        let size = canvas.size();
        self.judge(proposals, size, vocabulary, |part| {
            let preprocessor = self.preprocessor.ok_or(DirectError::Input {
                wanted: PIXELS,
                found: REGIONS,
            })?;
            let mut crops = Vec::with_capacity(scales.len());
            for &scale in &scales {
                let parts = proposals[part.clone()].iter();
                let parts: Vec<[u32; 4]> = parts.map(|p| crop_of(p.edges, scale, size)).collect();
                let rows = preprocessor.prepare_crops(canvas, &parts)?;
                crops.push(preprocessor.stack(&rows, self.device)?);
            }
            Ok(Seen::Crops(crops))
        })
    }

    /// Objects among regions whose features were computed before, the surest first. Their boxes and the size of their image
    /// must be there.
    pub fn in_regions(&self, regions: &Regions, vocabulary: &Vocabulary) -> Result<Vec<Detection>> {
        let RegionView::Features(width) = self.detect.view() else {
            return Err(DirectError::Input {
                wanted: PIXELS,
                found: REGIONS,
            });
        };
        let parts = regions.parts();
        let lacks = |what| DirectError::RegionPart {
            id: regions.id().to_owned(),
            what,
        };
        let size = parts.size.ok_or_else(|| lacks("size of the image"))?;
        let boxes = parts.boxes.as_ref().ok_or_else(|| lacks("boxes"))?;
        // The heads do not look at it.
        let objectness = 1.0;
        let proposals: Vec<Proposal> = boxes
            .iter()
            .map(|&edges| Proposal { edges, objectness })
            .collect();
        let size = [size.width, size.height];
        let spec = BatchSpec {
            regions: regions.len().max(1),
            width: Some(width),
            ..BatchSpec::default()
        };
        let features = batch(std::slice::from_ref(regions), &spec, self.device)?;
        let features = features.visual_embeds.squeeze(0)?;
        self.judge(&proposals, size, vocabulary, |part| {
            Ok(Seen::Features(features.narrow(
                0,
                part.start,
                part.len(),
            )?))
        })
    }

    /// Judges `proposals` in parts, each with what `see` shows of it, and keeps the best of all.
    fn judge(
        &self,
        proposals: &[Proposal],
        [width, height]: [u32; 2],
        vocabulary: &Vocabulary,
        see: impl Fn(std::ops::Range<usize>) -> Result<Seen>,
    ) -> Result<Vec<Detection>> {
        if proposals.len() > MOST {
            let (found, most) = (proposals.len(), MOST);
            return Err(DirectError::Proposals { found, most });
        }
        let mut judged = Judged::default();
        for start in (0..proposals.len()).step_by(PART) {
            let part = start..(start + PART).min(proposals.len());
            let regions = RegionBatch {
                size: [width as f32, height as f32],
                proposals: &proposals[part.clone()],
                seen: see(part)?,
            };
            judged.extend(self.detect.judge(&regions, vocabulary)?);
        }
        Ok(self.detect.selection().select(&judged))
    }
}
