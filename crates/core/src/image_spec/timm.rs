//! An [`ImageSpec`] from timm's `pretrained_cfg`.
//!
//! The settings of a model's `config.json` on the hub, or of `model.pretrained_cfg`. Images are
//! converted to RGB, resized to `size / crop_pct` and cropped (timm 1.0, `transforms_imagenet_eval`).

use serde_json::Value;

use super::config::{Config, ImageSpecError, square_or_sides};
use super::{CropRounding, Filter, Fit, ImageSpec, Reference, Rescale, Size};

const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];
const CROP_SHARE: f64 = 0.875;

#[derive(Clone, Copy)]
enum CropMode {
    Center,
    Squash,
    Border,
}

/// Reads a `pretrained_cfg`, or a file that has one.
///
/// ```
/// use serde_json::json;
/// use sightline_core::image_spec::Fit;
/// use sightline_core::image_spec::timm::from_timm;
///
/// let spec = from_timm(&json!({ "input_size": [3, 224, 224], "crop_pct": 0.9 }))?;
/// assert!(matches!(spec.fit, Fit::ShortestEdge { edge: 248, .. }));
/// # Ok::<(), sightline_core::image_spec::ImageSpecError>(())
/// ```
pub fn from_timm(json: &Value) -> Result<ImageSpec, ImageSpecError> {
    let config = Config::new(json)?.below("pretrained_cfg")?;
    let size = match config.find("input_size") {
        None => Some(Size::square(224)),
        Some(Value::Array(shape)) if shape.len() == 3 && shape[0] == 3 => {
            square_or_sides(&Value::Array(shape[1..].to_vec()))
        }
        Some(_) => None,
    }
    .ok_or_else(|| config.cannot("input_size", "[3, height, width], sides 1 to 16384"))?;
    let share = match config.find("crop_pct") {
        None => CROP_SHARE,
        Some(value) => value
            .as_f64()
            .filter(|share| (0.01..=4.0).contains(share))
            .ok_or_else(|| config.cannot("crop_pct", "a number of 0.01 to 4"))?,
    };
    let scaled = |side: u32| ((f64::from(side) / share).floor() as u32).max(1);
    let scaled = Size {
        width: scaled(size.width),
        height: scaled(size.height),
    };
    let filter = config.choice(
        "interpolation",
        Filter::Bilinear,
        FILTERS,
        "one of timm's filters",
    )?;
    let mean = config.triple("mean", IMAGENET_MEAN)?;
    let crop = CropRounding::HalfEven;
    let mode = config.choice(
        "crop_mode",
        CropMode::Center,
        &[
            ("center", CropMode::Center),
            ("squash", CropMode::Squash),
            ("border", CropMode::Border),
        ],
        "center, squash or border",
    )?;
    let (fit, filter, fill) = match mode {
        CropMode::Squash => (Fit::Squash { size: scaled, crop }, filter, [0; 3]),
        CropMode::Border => {
            let fill = mean.map(|mean| (255.0 * f64::from(mean)).round_ties_even() as u8);
            (Fit::Contain { size: scaled, crop }, filter, fill)
        }
        CropMode::Center if scaled.width == scaled.height => {
            let edge = scaled.width;
            (Fit::ShortestEdge { edge, crop }, filter, [0; 3])
        }
        // For a tensor that is not square timm forgets the setting; its default is bilinear.
        CropMode::Center => (Fit::Cover { size: scaled, crop }, Filter::Bilinear, [0; 3]),
    };
    Ok(ImageSpec {
        fill,
        rescale: Rescale::Divide255,
        mean,
        std: config.deviation("std", IMAGENET_STD)?,
        ..ImageSpec::new(size, fit, filter, Reference::Pillow13)
    })
}

const FILTERS: &[(&str, Filter)] = &[
    ("nearest", Filter::Nearest),
    ("box", Filter::Box),
    ("bilinear", Filter::Bilinear),
    ("hamming", Filter::Hamming),
    ("bicubic", Filter::Bicubic),
    ("lanczos", Filter::Lanczos),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_grow_by_the_share_that_is_cropped() {
        let spec = |json: Value| from_timm(&json!({ "pretrained_cfg": json }));
        let crop = CropRounding::HalfEven;
        let plain = spec(json!({})).unwrap();
        assert_eq!(plain.fit, Fit::ShortestEdge { edge: 256, crop });
        assert_eq!(plain.filter, Filter::Bilinear);
        let squash =
            spec(json!({ "input_size": [3, 100, 200], "crop_pct": 1.0, "crop_mode": "squash" }));
        let size = Size {
            width: 200,
            height: 100,
        };
        assert_eq!(squash.unwrap().fit, Fit::Squash { size, crop });
        let border = spec(json!({ "crop_mode": "border", "crop_pct": 1, "mean": [0.5, 0.5, 0.5] }));
        assert_eq!(border.unwrap().fill, [128; 3]);
        let error = spec(json!({ "input_size": [1, 28, 28] })).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`input_size` is [1,28,28], expected [3, height, width], sides 1 to 16384"
        );
    }
}
