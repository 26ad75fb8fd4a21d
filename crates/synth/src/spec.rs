//! What is asked for.

use serde::{Deserialize, Serialize};
use sightline_core::{ImageFormat, Seed};
use sightline_imaging::EncodeSpec;

use crate::Error;

/// Quality of the JPEG files.
pub const JPEG_QUALITY: u8 = 95;

/// Most scenes of a split: keys have six digits, and a split is held in memory while it is written.
pub const MAX_SCENES: u32 = 200_000;

/// What to write. Scene `n` of a split depends on `seed` and `max_objects` only, not on how many
/// scenes there are, how large they are drawn or in which format they are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScenesSpec {
    /// Scenes to learn from.
    pub train: u32,
    /// Scenes to choose by.
    pub val: u32,
    /// Scenes to report.
    pub test: u32,
    /// Pixels of a side, 32 to 512.
    pub size: u32,
    /// What everything is drawn from.
    pub seed: Seed,
    /// JPEG (quality 95), PNG or lossless WebP.
    pub format: ImageFormat,
    /// Where the folder will be served.
    pub base_url: String,
    /// Most objects of a scene, 1 to 4.
    pub max_objects: u32,
}

impl Default for ScenesSpec {
    fn default() -> Self {
        Self {
            train: 2000,
            val: 500,
            test: 1000,
            size: 64,
            seed: Seed(17),
            format: ImageFormat::Jpg,
            base_url: "http://127.0.0.1:8000".to_owned(),
            max_objects: 4,
        }
    }
}

impl ScenesSpec {
    /// Checks every field; the base address loses slashes at its end.
    pub(crate) fn checked(&self) -> Result<Self, Error> {
        for (field, value, min, max) in [
            ("train", self.train, 0, MAX_SCENES),
            ("val", self.val, 0, MAX_SCENES),
            ("test", self.test, 0, MAX_SCENES),
            ("size", self.size, 32, 512),
            ("max_objects", self.max_objects, 1, 4),
        ] {
            if !(min..=max).contains(&value) {
                let [value, min, max] = [value, min, max].map(u64::from);
                return Err(Error::Range {
                    field,
                    value,
                    min,
                    max,
                });
            }
        }
        if self.train == 0 && self.val == 0 && self.test == 0 {
            return Err(Error::NoScenes);
        }
        let url = self.base_url.trim_end_matches('/');
        let host = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"));
        let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '?' | '#');
        if !host.is_some_and(|h| !h.is_empty() && !h.starts_with('/') && h.chars().all(is_plain)) {
            return Err(Error::BaseUrl {
                value: self.base_url.clone(),
            });
        }
        if !matches!(
            self.format,
            ImageFormat::Jpg | ImageFormat::Png | ImageFormat::Webp
        ) {
            return Err(Error::Encode {
                name: format!("000000.{}", self.format.extension()),
                source: sightline_imaging::EncodeError::Format {
                    format: self.format,
                },
            });
        }
        Ok(Self {
            base_url: url.to_owned(),
            ..self.clone()
        })
    }

    pub(crate) fn encoding(&self) -> EncodeSpec {
        match self.format {
            ImageFormat::Jpg => EncodeSpec::jpeg(JPEG_QUALITY),
            format => EncodeSpec::lossless(format),
        }
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Hint;

    use super::*;

    #[test]
    fn nonsense_is_refused_with_its_limits() {
        let default = ScenesSpec::default;
        for (spec, message) in [
            (
                ScenesSpec {
                    size: 16,
                    ..default()
                },
                "`size` is 16, allowed are 32 to 512",
            ),
            (
                ScenesSpec {
                    max_objects: 0,
                    ..default()
                },
                "`max_objects` is 0, allowed are 1 to 4",
            ),
            (
                ScenesSpec {
                    val: 200_001,
                    ..default()
                },
                "`val` is 200001, allowed are 0 to 200000",
            ),
            (
                ScenesSpec {
                    train: 0,
                    val: 0,
                    test: 0,
                    ..default()
                },
                "`train`, `val` and `test` are all 0, there is nothing to write",
            ),
        ] {
            assert_eq!(spec.checked().unwrap_err().to_string(), message);
        }
        for url in [
            "",
            "ftp://a",
            "http://",
            "http:///x",
            "https://a b",
            "http://a?b",
        ] {
            let spec = ScenesSpec {
                base_url: url.to_owned(),
                ..default()
            };
            let error = spec.checked().unwrap_err();
            assert!(matches!(error, Error::BaseUrl { .. }), "{url}");
            assert_eq!(error.hints().len(), 1);
        }
        let gif = ScenesSpec {
            format: ImageFormat::Gif,
            ..default()
        };
        assert_eq!(gif.checked().unwrap_err().hints().len(), 1);
    }

    #[test]
    fn slashes_at_the_end_of_the_address_do_not_count() {
        let spec = ScenesSpec {
            base_url: "https://host:1/a//".to_owned(),
            ..ScenesSpec::default()
        };
        assert_eq!(spec.checked().unwrap().base_url, "https://host:1/a");
    }
}
