//! An [`ImageSpec`] from a Hugging Face `preprocessor_config.json`.
//!
//! The file is the dictionary of a processor's attributes. Which processor decides what an absent key
//! means and whose arithmetic is used: the "slow" ones resize with Pillow, the "fast" ones with
//! torchvision's 8-bit tensors. Keys that do not concern pixels are passed over, because machines write
//! them; values that cannot be honoured are errors, because they would move scores.
//!
//! ```
//! use serde_json::json;
//! use sightline_core::image_spec::hugging_face::from_hugging_face;
//!
//! let spec = from_hugging_face(&json!({ "image_processor_type": "CLIPImageProcessor", "size": 336 }));
//! // The crop keeps its default of 224, so that is the size of the tensor.
//! assert_eq!(spec?.size.width, 224);
//! # Ok::<(), sightline_core::image_spec::ImageSpecError>(())
//! ```

use serde_json::Value;

use super::config::{Config, ImageSpecError, both_sides, side};
use super::{CropRounding, Filter, Fit, ImageSpec, Padding, Reference, Rescale, Size};
use crate::registry::UnknownName;

/// Mean of the images that CLIP was trained on.
pub(super) const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Their deviation.
pub(super) const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// Reads the value of a `preprocessor_config.json`.
///
/// Without `image_processor_type` (or the older `feature_extractor_type`) the file is CLIP's. Slow
/// processors follow Pillow 13.
pub fn from_hugging_face(json: &Value) -> Result<ImageSpec, ImageSpecError> {
    let config = Config::new(json)?;
    let processor = config.processor()?;
    let defaults = &processor.defaults;

    let filter = config.filter(defaults.filter)?;
    if processor.fast && matches!(filter, Filter::Box | Filter::Hamming) {
        return Err(config.cannot("resample", "a filter that the fast processor has"));
    }
    let resize = if config.boolean("do_resize", true)? {
        Some(config.resize(processor)?)
    } else {
        None
    };
    let crop = match config.boolean("do_center_crop", defaults.crop)? {
        true if !processor.can_crop => {
            return Err(config.cannot("do_center_crop", "false, this processor never crops"));
        }
        true => Some(config.crop(defaults.crop_size)?),
        false => None,
    };
    let (size, fit) = shape(resize, crop)?;
    let (rescale, mean, std) = config.values(processor)?;
    let (reference, padding) = if processor.fast {
        (Reference::TorchvisionU8, Padding::LargerAfter)
    } else {
        (Reference::Pillow13, Padding::LargerBefore)
    };
    Ok(ImageSpec {
        padding,
        rescale,
        mean,
        std,
        ..ImageSpec::new(size, fit, filter, reference)
    })
}

/// One processor class: its names, whose arithmetic it uses, and what absent keys mean.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a table row of independent facts, not a state"
)]
struct Processor {
    names: &'static [&'static str],
    fast: bool,
    /// Whether an integer `size` is both sides rather than the short one.
    square: bool,
    can_crop: bool,
    /// Whether `rescale_offset` and `include_top` mean anything.
    efficient: bool,
    defaults: Defaults,
}

struct Defaults {
    /// Short side for CLIP, both sides for the others.
    size: u32,
    filter: Filter,
    crop: bool,
    crop_size: u32,
    mean: [f64; 3],
    std: [f64; 3],
}

const CLIP: Defaults = Defaults {
    size: 224,
    filter: Filter::Bicubic,
    crop: true,
    crop_size: 224,
    mean: CLIP_MEAN,
    std: CLIP_STD,
};

const VIT: Defaults = Defaults {
    size: 224,
    filter: Filter::Bilinear,
    crop: false,
    crop_size: 224,
    mean: [0.5; 3],
    std: [0.5; 3],
};

const EFFICIENT_NET: Defaults = Defaults {
    size: 346,
    filter: Filter::Nearest,
    crop: false,
    crop_size: 289,
    mean: [0.5; 3],
    std: [0.5; 3],
};

/// The first entry is what a file without a type means.
static PROCESSORS: &[Processor] = &[
    Processor {
        names: &["CLIPImageProcessor", "CLIPFeatureExtractor"],
        fast: false,
        square: false,
        can_crop: true,
        efficient: false,
        defaults: CLIP,
    },
    Processor {
        names: &["CLIPImageProcessorFast"],
        fast: true,
        square: false,
        can_crop: true,
        efficient: false,
        defaults: CLIP,
    },
    Processor {
        names: &["EfficientNetImageProcessor"],
        fast: false,
        square: true,
        can_crop: true,
        efficient: true,
        defaults: EFFICIENT_NET,
    },
    Processor {
        names: &["ViTImageProcessor", "ViTFeatureExtractor"],
        fast: false,
        square: true,
        can_crop: false,
        efficient: false,
        defaults: VIT,
    },
    Processor {
        names: &["ViTImageProcessorFast"],
        fast: true,
        square: true,
        can_crop: true,
        efficient: false,
        defaults: VIT,
    },
];

/// Classes whose steps are known.
pub(super) fn processors() -> Vec<&'static str> {
    PROCESSORS
        .iter()
        .map(|processor| processor.names[0])
        .collect()
}

/// A resize as the config asks for it.
enum Resize {
    ShortestEdge(u32),
    Exactly(Size),
}

/// Size of the tensor and way to get there.
fn shape(resize: Option<Resize>, crop: Option<Size>) -> Result<(Size, Fit), ImageSpecError> {
    let rounding = CropRounding::Floor;
    match (resize, crop) {
        (Some(Resize::ShortestEdge(edge)), Some(size)) => Ok((
            size,
            Fit::ShortestEdge {
                edge,
                crop: rounding,
            },
        )),
        (Some(Resize::Exactly(size)), crop) => Ok((
            crop.unwrap_or(size),
            Fit::Squash {
                size,
                crop: rounding,
            },
        )),
        (None, Some(size)) => Ok((size, Fit::CropOnly { crop: rounding })),
        (Some(Resize::ShortestEdge(_)) | None, None) => Err(ImageSpecError::NoFixedSize),
    }
}

impl Config<'_> {
    fn processor(self) -> Result<&'static Processor, ImageSpecError> {
        let key = ["image_processor_type", "feature_extractor_type"]
            .into_iter()
            .find(|key| self.find(key).is_some());
        let Some(key) = key else {
            return Ok(&PROCESSORS[0]);
        };
        let name = self
            .find(key)
            .and_then(Value::as_str)
            .ok_or_else(|| self.cannot(key, "the name of a processor"))?;
        PROCESSORS
            .iter()
            .find(|processor| processor.names.contains(&name))
            .ok_or_else(|| {
                let known = PROCESSORS.iter().flat_map(|p| p.names.iter().copied());
                ImageSpecError::Processor(UnknownName::among("image processor", name, known))
            })
    }

    fn filter(self, default: Filter) -> Result<Filter, ImageSpecError> {
        let Some(value) = self.find("resample") else {
            return Ok(default);
        };
        Ok(match value.as_u64() {
            Some(0) => Filter::Nearest,
            Some(1) => Filter::Lanczos,
            Some(2) => Filter::Bilinear,
            Some(3) => Filter::Bicubic,
            Some(4) => Filter::Box,
            Some(5) => Filter::Hamming,
            _ => return Err(self.cannot("resample", "an integer of 0 to 5")),
        })
    }

    /// `size`: an integer, `{shortest_edge}` or `{height, width}`.
    fn resize(self, processor: &Processor) -> Result<Resize, ImageSpecError> {
        let expected = if processor.square {
            "an integer or {height, width}, each 1 to 16384"
        } else {
            "an integer, {shortest_edge} or {height, width}, each 1 to 16384"
        };
        let edge = |edge| {
            if processor.square {
                Resize::Exactly(Size::square(edge))
            } else {
                Resize::ShortestEdge(edge)
            }
        };
        let wrong = || self.cannot("size", expected);
        match self.find("size") {
            None => Ok(edge(processor.defaults.size)),
            Some(Value::Object(sides)) => match (sides.get("shortest_edge"), both_sides(sides)) {
                (Some(shortest), None) if !processor.square && sides.len() == 1 => {
                    side(shortest).map(Resize::ShortestEdge).ok_or_else(wrong)
                }
                (None, Some(size)) => Ok(Resize::Exactly(size)),
                _ => Err(wrong()),
            },
            Some(value) => side(value).map(edge).ok_or_else(wrong),
        }
    }

    /// `crop_size`: an integer or `{height, width}`.
    fn crop(self, default: u32) -> Result<Size, ImageSpecError> {
        match self.find("crop_size") {
            None => Some(Size::square(default)),
            Some(Value::Object(sides)) => both_sides(sides),
            Some(value) => side(value).map(Size::square),
        }
        .ok_or_else(|| {
            self.cannot(
                "crop_size",
                "an integer or {height, width}, each 1 to 16384",
            )
        })
    }

    /// From bytes to the values of the tensor.
    fn values(
        self,
        processor: &Processor,
    ) -> Result<(Rescale, [f32; 3], [f32; 3]), ImageSpecError> {
        let factor = self
            .find("rescale_factor")
            .map_or(Ok(1.0 / 255.0), |value| {
                value
                    .as_f64()
                    .filter(|factor| factor.is_finite() && *factor != 0.0)
                    .ok_or_else(|| self.cannot("rescale_factor", "a number other than 0"))
            })?;
        let do_rescale = self.boolean("do_rescale", true)?;
        let do_normalize = self.boolean("do_normalize", true)?;
        let offset = processor.efficient && self.boolean("rescale_offset", false)?;
        let top = processor.efficient && self.boolean("include_top", true)?;
        let mean = self.triple("image_mean", processor.defaults.mean)?;
        let std = self.triple("image_std", processor.defaults.std)?;
        if std.contains(&0.0) {
            return Err(self.cannot("image_std", "numbers other than 0"));
        }

        // `include_top` divides by the deviation even where nothing was normalised before.
        let (mean, std, top) = match (do_normalize, top) {
            (true, top) => (mean, std, top),
            (false, true) => ([0.0; 3], std, false),
            (false, false) => ([0.0; 3], [1.0; 3], false),
        };
        let rescale = match (do_rescale, processor.fast) {
            (true, true) if do_normalize => Rescale::Fused { factor },
            (true, true) => Rescale::Single { factor },
            (true, false) if top => Rescale::FactorTop { factor, offset },
            (true, false) => Rescale::Factor { factor, offset },
            (false, _) if top => {
                return Err(self.cannot("do_rescale", "true, together with `include_top`"));
            }
            (false, _) => Rescale::None,
        };
        Ok((rescale, mean, std))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Hint;

    fn square(side: u32) -> Size {
        Size::square(side)
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the constants are taken over unchanged")]
    fn an_empty_file_is_clip() {
        let spec = from_hugging_face(&json!({})).unwrap();
        let crop = CropRounding::Floor;
        assert_eq!(spec.size, square(224));
        assert_eq!(spec.fit, Fit::ShortestEdge { edge: 224, crop });
        assert_eq!(
            (spec.filter, spec.reference),
            (Filter::Bicubic, Reference::Pillow13)
        );
        let factor = 1.0 / 255.0;
        assert_eq!(
            spec.rescale,
            Rescale::Factor {
                factor,
                offset: false
            }
        );
        assert_eq!(spec.mean, CLIP_MEAN.map(|v| v as f32));
    }

    #[test]
    fn the_same_size_means_what_the_processor_makes_of_it() {
        let fit = |processor: &str, size: Value| {
            let json = json!({ "image_processor_type": processor, "size": size });
            from_hugging_face(&json).map(|spec| spec.fit)
        };
        let crop = CropRounding::Floor;
        let edge = Fit::ShortestEdge { edge: 64, crop };
        let squash = Fit::Squash {
            size: square(64),
            crop,
        };
        assert_eq!(fit("CLIPImageProcessor", json!(64)), Ok(edge));
        assert_eq!(
            fit("CLIPImageProcessorFast", json!({"shortest_edge": 64})),
            Ok(edge)
        );
        assert_eq!(
            fit("CLIPImageProcessor", json!({"height": 64, "width": 64})),
            Ok(squash)
        );
        assert_eq!(fit("ViTImageProcessor", json!(64)), Ok(squash));
        assert!(fit("ViTImageProcessor", json!({"shortest_edge": 64})).is_err());
        for size in [
            json!({"longest_edge": 64}),
            json!({"shortest_edge": 64, "longest_edge": 99}),
            json!({"height": 64}),
            json!(0),
            json!(-1),
            json!(1e9),
            json!("64"),
        ] {
            let error = fit("CLIPImageProcessor", size).unwrap_err();
            assert!(error.to_string().starts_with("`size` is "), "{error}");
        }
    }

    #[test]
    fn align_rescales_with_an_offset_and_does_not_normalise() {
        let spec = from_hugging_face(&json!({
            "image_processor_type": "EfficientNetImageProcessor",
            "size": {"height": 346, "width": 346}, "resample": 2,
            "do_center_crop": true, "crop_size": {"height": 289, "width": 289},
            "rescale_factor": 0.007_843_137_254_901_96, "rescale_offset": true,
            "do_normalize": false, "include_top": false,
        }))
        .unwrap();
        assert_eq!((spec.size, spec.filter), (square(289), Filter::Bilinear));
        assert_eq!((spec.mean, spec.std), ([0.0; 3], [1.0; 3]));
        let factor = 0.007_843_137_254_901_96;
        assert_eq!(
            spec.rescale,
            Rescale::Factor {
                factor,
                offset: true
            }
        );
        let plain = json!({ "image_processor_type": "EfficientNetImageProcessor" });
        let spec = from_hugging_face(&plain).unwrap();
        assert!(matches!(
            spec.rescale,
            Rescale::FactorTop { offset: false, .. }
        ));
        assert_eq!((spec.size, spec.filter), (square(346), Filter::Nearest));
    }

    #[test]
    fn fast_processors_fuse_and_use_tensors() {
        let fast = |extra: Value| {
            let mut json = json!({ "image_processor_type": "CLIPImageProcessorFast" });
            json.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            from_hugging_face(&json)
        };
        let spec = fast(json!({})).unwrap();
        assert_eq!(spec.reference, Reference::TorchvisionU8);
        assert!(matches!(spec.rescale, Rescale::Fused { .. }));
        let plain = fast(json!({ "do_normalize": false })).unwrap();
        assert!(matches!(plain.rescale, Rescale::Single { .. }));
        assert!(fast(json!({ "resample": 4 })).is_err());
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        let message = |json: Value| from_hugging_face(&json).unwrap_err().to_string();
        assert_eq!(
            message(json!([])),
            "preprocessor config is not a JSON object"
        );
        assert_eq!(
            message(json!({"resample": "bicubic"})),
            "`resample` is \"bicubic\", expected an integer of 0 to 5"
        );
        assert_eq!(
            message(json!({"image_mean": [0.5, 0.5]})),
            "`image_mean` is [0.5,0.5], expected three numbers"
        );
        assert_eq!(
            message(json!({"image_std": [0.5, 0, 0.5]})),
            "`image_std` is [0.5,0,0.5], expected numbers other than 0"
        );
        assert_eq!(
            message(json!({"do_center_crop": false})),
            "neither `do_center_crop` nor a fixed `size` gives the tensor one size"
        );
        assert_eq!(
            message(
                json!({"do_center_crop": true, "feature_extractor_type": "ViTFeatureExtractor"})
            ),
            "`do_center_crop` is true, expected false, this processor never crops"
        );
        let error = from_hugging_face(&json!({"image_processor_type": "ClipImageProcessor"}));
        let error = error.unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown image processor `ClipImageProcessor`"
        );
        assert!(
            error.hints()[0].contains("CLIPImageProcessor"),
            "{:?}",
            error.hints()
        );
    }
}
