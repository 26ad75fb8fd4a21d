//! An [`ImageSpec`] from `open_clip`'s `open_clip_config.json`.
//!
//! Its `preprocess_cfg` holds the settings, its `model_cfg` the size of the image; a file that is a
//! `preprocess_cfg` itself does as well. The image is resized and cropped in the file's own mode and
//! converted to RGB last (`open_clip` 3.3, `transform.py`).

use serde_json::Value;

use super::config::{Config, ImageSpecError, square_or_sides};
use super::hugging_face::{CLIP_MEAN, CLIP_STD};
use super::{Colour, CropRounding, Filter, Fit, ImageSpec, Reference, Rescale, Size};

#[derive(Clone, Copy)]
enum ResizeMode {
    Shortest,
    Longest,
    Squash,
}

/// Reads the value of an `open_clip_config.json`.
///
/// ```
/// use serde_json::json;
/// use sightline_core::image_spec::open_clip::from_open_clip;
///
/// let spec = from_open_clip(&json!({
///     "model_cfg": { "vision_cfg": { "image_size": 384 } },
///     "preprocess_cfg": { "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "squash" },
/// }))?;
/// assert_eq!(spec.size.width, 384);
/// # Ok::<(), sightline_core::image_spec::ImageSpecError>(())
/// ```
pub fn from_open_clip(json: &Value) -> Result<ImageSpec, ImageSpecError> {
    let file = Config::new(json)?;
    let config = file.below("preprocess_cfg")?;
    let size = size(file, config)?;
    let mode = config.choice(
        "resize_mode",
        ResizeMode::Shortest,
        &[
            ("shortest", ResizeMode::Shortest),
            ("longest", ResizeMode::Longest),
            ("squash", ResizeMode::Squash),
        ],
        "shortest, longest or squash",
    )?;
    let filter = config.choice(
        "interpolation",
        Filter::Bicubic,
        // At random is only for training; `open_clip` evaluates with bicubic then.
        &[
            ("bicubic", Filter::Bicubic),
            ("bilinear", Filter::Bilinear),
            ("random", Filter::Bicubic),
        ],
        "bicubic, bilinear or random",
    )?;
    let crop = CropRounding::HalfEven;
    let (fit, filter) = match mode {
        ResizeMode::Squash => (Fit::Squash { size, crop }, filter),
        ResizeMode::Longest => (Fit::Contain { size, crop }, filter),
        ResizeMode::Shortest if size.width == size.height => {
            let edge = size.width;
            (Fit::ShortestEdge { edge, crop }, filter)
        }
        // For a tensor that is not square `open_clip` forgets the setting.
        ResizeMode::Shortest => (Fit::Cover { size, crop }, Filter::Bicubic),
    };
    Ok(ImageSpec {
        colour: Colour::PillowLast,
        fill: fill(config)?,
        rescale: Rescale::Divide255,
        mean: config.triple("mean", CLIP_MEAN)?,
        std: config.deviation("std", CLIP_STD)?,
        ..ImageSpec::new(size, fit, filter, Reference::Pillow13)
    })
}

/// The settings' `size`, else the model's.
fn size(file: Config<'_>, config: Config<'_>) -> Result<Size, ImageSpecError> {
    let expected = "an integer or [height, width], each 1 to 16384";
    if let Some(value) = config.find("size") {
        return square_or_sides(value).ok_or_else(|| config.cannot("size", expected));
    }
    let vision = file.below("model_cfg")?.below("vision_cfg")?;
    match vision.find("image_size") {
        None => Ok(Size::square(224)),
        Some(value) => square_or_sides(value).ok_or_else(|| vision.cannot("image_size", expected)),
    }
}

/// One level for all channels.
fn fill(config: Config<'_>) -> Result<[u8; 3], ImageSpecError> {
    let Some(value) = config.find("fill_color") else {
        return Ok([0; 3]);
    };
    let level = value.as_u64().and_then(|level| u8::try_from(level).ok());
    // Colours are padded before they are converted: what one number means depends on the file's mode.
    level
        .filter(|level| *level == 0)
        .map(|level| [level; 3])
        .ok_or_else(|| config.cannot("fill_color", "0"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_decide_over_the_model() {
        let spec = |settings: Value| {
            from_open_clip(&json!({
                "model_cfg": { "vision_cfg": { "image_size": [240, 320] } },
                "preprocess_cfg": settings,
            }))
        };
        let crop = CropRounding::HalfEven;
        let wide = Size {
            width: 320,
            height: 240,
        };
        let of_model = spec(json!({ "interpolation": "bilinear" })).unwrap();
        assert_eq!(of_model.fit, Fit::Cover { size: wide, crop });
        assert_eq!(of_model.filter, Filter::Bicubic);
        let own =
            spec(json!({ "size": 64, "interpolation": "bilinear", "resize_mode": "longest" }));
        let own = own.unwrap();
        let size = Size::square(64);
        assert_eq!((own.size, own.fit), (size, Fit::Contain { size, crop }));
        assert_eq!(
            (own.filter, own.colour),
            (Filter::Bilinear, Colour::PillowLast)
        );
        let error = spec(json!({ "fill_color": 7 })).unwrap_err();
        assert_eq!(error.to_string(), "`fill_color` is 7, expected 0");
        let error = spec(json!({ "resize_mode": "any" })).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`resize_mode` is \"any\", expected shortest, longest or squash"
        );
    }
}
