//! `config.json` of a `ViLD` model. The published one is a program's flags; the keys are this project's, the defaults the
//! program's.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sightline_nn::{ConvolutionSpec, RoiAlignSpec};

use crate::check::{Check, limit};
use crate::detect::Selection;
use crate::folder::{CONFIG, read_json};
use crate::{Error, Result};

/// Bins of a region in height, and in width.
pub const REGION_SIDE: usize = 7;

/// The form of a model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct VildConfig {
    /// What judges a region.
    pub mode: Mode,
    /// Whether the head that learned from the image encoder is one of its own.
    pub ensemble: bool,
    /// Folder of the checkpoint whose encoders the heads learned from, counted from this one.
    pub clip: Option<PathBuf>,
    /// Channels of a region's feature; its height and width are [`REGION_SIDE`].
    pub channels: usize,
    /// Width of the common space.
    pub clip_dim: usize,
    /// Convolutions of a head.
    pub head_convs: usize,
    /// Their channels.
    pub head_channels: usize,
    /// Width of a head's two linear maps.
    pub fc_dim: usize,
    /// Factor from cosine to logit.
    pub temperature: f64,
    /// Of two boxes of a class whose intersection over union is above it, the better one is kept.
    pub nms_iou: f32,
    /// Scores that are not above it are left out.
    pub score_threshold: f32,
    /// The most detections of an image.
    pub max_detections: usize,
    /// The most proposals of an image.
    pub max_proposals: usize,
    /// Of recorded outputs: pixels from one cell of the map of features to the next.
    pub stride: f32,
    /// Of recorded outputs: rows and columns of the image.
    pub image_size: Option<[f32; 2]>,
}

/// What judges a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The heads, on features of regions.
    #[default]
    Head,
    /// CLIP, on crops of regions; there are no weights but CLIP's.
    Crops,
}

impl Default for VildConfig {
    /// `ViLD` with ResNet-50, on CLIP ViT-B/32.
    fn default() -> Self {
        Self {
            mode: Mode::Head,
            ensemble: false,
            clip: None,
            channels: 256,
            clip_dim: 512,
            head_convs: 4,
            head_channels: 256,
            fc_dim: 1024,
            temperature: 100.0,
            nms_iou: 0.5,
            score_threshold: 0.0,
            max_detections: 300,
            max_proposals: 1000,
            stride: 16.0,
            image_size: None,
        }
    }
}

impl VildConfig {
    /// Reads and checks the configuration in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let (value, check) = (read_json(&path)?, Check::new(&path));
        let family = &value["family"];
        if !matches!(family.as_str(), None | Some("vild")) {
            return Err(check.wrong("family", family, "`vild`"));
        }
        let config: Self = serde_json::from_value(value).map_err(|e| check.json(e))?;
        config.check(check)?;
        Ok(config)
    }

    fn check(&self, check: Check<'_>) -> Result<()> {
        check.range("channels", self.channels, 1, limit::WIDTH)?;
        check.range("clip_dim", self.clip_dim, 1, limit::WIDTH)?;
        check.range("head_convs", self.head_convs, 0, limit::DEPTH)?;
        check.range("head_channels", self.head_channels, 1, limit::WIDTH)?;
        check.range("fc_dim", self.fc_dim, 1, limit::WIDTH)?;
        check.range("max_detections", self.max_detections, 1, limit::CONTEXT)?;
        // What overlaps what is a table of each with each.
        check.range("max_proposals", self.max_proposals, 1, 1 << 13)?;
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(check.wrong("temperature", &self.temperature, "a number above 0"));
        }
        for (field, share) in [
            ("nms_iou", self.nms_iou),
            ("score_threshold", self.score_threshold),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(check.wrong(field, &share, "a number from 0 to 1"));
            }
        }
        if !(self.stride >= 1.0 && self.stride.is_finite()) {
            return Err(check.wrong("stride", &self.stride, "a number of pixels, at least 1"));
        }
        let sides = self.image_size.iter().flatten();
        if let Some(side) = sides
            .copied()
            .find(|side| !(*side >= 1.0 && side.is_finite()))
        {
            return Err(check.wrong("image_size", &side, "rows and columns, at least 1"));
        }
        Ok(())
    }

    /// The folder of the encoders, as the configuration in `folder` names it.
    pub(super) fn encoders(&self, folder: &Path) -> Result<PathBuf> {
        let clip = self.clip.as_deref().map(|clip| folder.join(clip));
        clip.ok_or_else(|| Self::wrong(folder, "clip", &"absent"))
    }

    /// The error of a `field` that does not fit the encoders.
    pub(super) fn wrong(folder: &Path, field: &str, found: &dyn std::fmt::Display) -> Error {
        let wanted = match field {
            "clip" => "the folder of a checkpoint whose family embeds".to_owned(),
            _ => "the width of the encoders' space".to_owned(),
        };
        Check::new(&folder.join(CONFIG)).wrong(field, found, wanted)
    }

    /// What is kept of judged regions.
    pub fn selection(&self) -> Selection {
        Selection {
            nms_iou: self.nms_iou,
            score_threshold: self.score_threshold,
            max_detections: self.max_detections,
        }
    }

    /// How regions are cut out of a map of features.
    pub fn roi_align(&self) -> RoiAlignSpec {
        RoiAlignSpec {
            stride: self.stride,
            side: REGION_SIDE,
            samples: 2,
        }
    }

    /// Values of a region's feature.
    pub fn feature_width(&self) -> usize {
        self.channels * REGION_SIDE * REGION_SIDE
    }

    /// The convolutions of a head.
    pub(super) fn convolutions(&self) -> impl Iterator<Item = ConvolutionSpec> {
        let channels = std::iter::once(self.channels)
            .chain(std::iter::repeat(self.head_channels))
            .take(self.head_convs);
        channels.map(|input| ConvolutionSpec::new(input, self.head_channels, 3))
    }

    /// Channels behind the convolutions of a head.
    pub(super) fn last_channels(&self) -> usize {
        match self.head_convs {
            0 => self.channels,
            _ => self.head_channels,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Result<VildConfig> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG), value.to_string()).unwrap();
        VildConfig::read(folder.path())
    }

    #[test]
    fn defaults_are_published_and_impossible_values_are_told() {
        assert_eq!(read(&json!({})).unwrap(), VildConfig::default());
        for (key, value, told) in [
            ("family", json!("clip"), "expected `vild`"),
            ("channels", json!(0), "expected 1 to"),
            ("head_convs", json!(2000), "expected 0 to"),
            ("temperature", json!(0.0), "a number above 0"),
            ("nms_iou", json!(1.5), "a number from 0 to 1"),
            ("score_threshold", json!(-0.5), "a number from 0 to 1"),
            ("stride", json!(0.0), "at least 1"),
            ("image_size", json!([0, 5]), "rows and columns"),
            ("max_proposals", json!(100_000), "expected 1 to 8192"),
        ] {
            let mut config = json!({});
            config[key] = value;
            let error = read(&config).unwrap_err().to_string();
            assert!(error.contains(told), "{key}: {error}");
        }
        assert!(read(&json!({"mode": "masks"})).is_err());
    }

    #[test]
    fn convolutions_begin_with_the_channels_of_the_map() {
        let config = read(&json!({"channels": 12, "head_channels": 8, "head_convs": 2})).unwrap();
        let inputs: Vec<usize> = config.convolutions().map(|c| c.input).collect();
        assert_eq!((inputs, config.last_channels()), (vec![12, 8], 8));
        let none = read(&json!({"channels": 12, "head_convs": 0})).unwrap();
        assert_eq!((none.convolutions().count(), none.last_channels()), (0, 12));
    }
}
