//! Image specifications as files: TOML, or a config of Hugging Face, `open_clip` or timm.

use sightline_core::image_spec::ImageSpecError;
use sightline_core::{Hint, ImageSpec};

/// A file that no image specification can be made of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecFileError {
    /// Not TOML, or other fields than those of a specification.
    #[error("not an image specification")]
    Toml(#[from] toml::de::Error),
    /// Not JSON.
    #[error("not JSON")]
    Json(#[from] serde_json::Error),
    /// Its values cannot be honoured.
    #[error(transparent)]
    Spec(#[from] ImageSpecError),
}

impl Hint for SpecFileError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Toml(_) => vec![
                "`sightline preprocess --spec FILE --explain` shows a config in the TOML form."
                    .to_owned(),
            ],
            Self::Json(_) => {
                vec![
                    "A file in TOML needs the ending `.toml`; every other is read as JSON."
                        .to_owned(),
                ]
            }
            Self::Spec(error) => error.hints(),
        }
    }
}

/// Reads a specification. `name` tells TOML from JSON by its ending; whose JSON it is is told by its
/// keys.
///
/// ```
/// use sightline_manifest::read_image_spec;
///
/// let text = r#"
///     size = { width = 224, height = 224 }
///     fit = { kind = "shortest-edge", edge = 256, crop = "half-even" }
///     filter = "bilinear"
///     reference = "pillow13"
///     rescale = { kind = "divide255" }
///     mean = [0.485, 0.456, 0.406]
///     std = [0.229, 0.224, 0.225]
/// "#;
/// let spec = read_image_spec("imagenet.toml", text)?;
/// assert!(!spec.upright);
/// # Ok::<(), sightline_manifest::SpecFileError>(())
/// ```
pub fn read_image_spec(name: &str, text: &str) -> Result<ImageSpec, SpecFileError> {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    if !ending.is_some_and(|ending| ending.eq_ignore_ascii_case("toml")) {
        let text = text.trim_start_matches('\u{feff}');
        return Ok(ImageSpec::from_json(&serde_json::from_str(text)?)?);
    }
    let spec: ImageSpec = toml::from_str(text)?;
    spec.check()?;
    Ok(spec)
}

/// The TOML form of a specification, which [`read_image_spec`] reads.
///
/// # Errors
/// None that is known: a specification has only tables, numbers and names.
pub fn image_spec_toml(spec: &ImageSpec) -> Result<String, toml::ser::Error> {
    toml::to_string(spec)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_config_survives_its_toml_form() {
        for config in [
            json!({}),
            json!({ "image_processor_type": "CLIPImageProcessorFast" }),
            json!({ "image_processor_type": "EfficientNetImageProcessor" }),
            json!({ "preprocess_cfg": { "resize_mode": "longest", "size": [224, 336] } }),
            json!({ "pretrained_cfg": { "crop_pct": 0.95, "crop_mode": "border" } }),
        ] {
            let spec = read_image_spec("a.json", &config.to_string()).unwrap();
            let text = image_spec_toml(&spec).unwrap();
            assert_eq!(read_image_spec("a.toml", &text).unwrap(), spec, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let toml = "size = { width = 0, height = 9 }\nfit = { kind = \"crop-only\", crop = \"floor\" }\n\
                    filter = \"box\"\nreference = \"pillow13\"\nrescale = { kind = \"none\" }\n\
                    mean = [0, 0, 0]\nstd = [1, 1, 1]\n";
        let error = read_image_spec("a.toml", toml).unwrap_err();
        assert_eq!(error.to_string(), "size 0x9, allowed is 1 to 16384 a side");
        let text = format!("{toml}colour = \"sepia\"\n");
        let error = read_image_spec("a.TOML", &text).unwrap_err();
        let SpecFileError::Toml(source) = &error else {
            panic!("{error}");
        };
        assert!(source.to_string().contains("sepia"), "{source}");
        assert!(matches!(
            read_image_spec("a", "[]"),
            Err(SpecFileError::Spec(_))
        ));
        assert!(matches!(
            read_image_spec("a", "{"),
            Err(SpecFileError::Json(_))
        ));
    }
}
