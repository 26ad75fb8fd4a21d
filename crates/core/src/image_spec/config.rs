//! Reading the JSON configs of processors: keys, and what is wrong with them.

use serde_json::{Map, Value};

use super::{MAX_SIDE, Size, hugging_face};
use crate::Hint;
use crate::registry::UnknownName;

/// A config that no image specification can be made of.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageSpecError {
    /// The file holds something else.
    #[error("preprocessor config is not a JSON object")]
    NotAnObject,
    /// The processor is not one whose steps are known.
    #[error(transparent)]
    Processor(UnknownName),
    /// A key has a value of the wrong type or range, or one that cannot be honoured.
    #[error("`{key}` is {value}, expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What the file says, as JSON; `absent` when it says nothing.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// Images of different shapes would become tensors of different sizes.
    #[error("neither `do_center_crop` nor a fixed `size` gives the tensor one size")]
    NoFixedSize,
    /// A size that no tensor has.
    #[error("size {width}x{height}, allowed is 1 to {max} a side", width = size.width, height = size.height)]
    Size {
        /// The size.
        size: Size,
        /// [`MAX_SIDE`].
        max: u32,
    },
    /// Values that cannot be normalised with.
    #[error("mean {mean:?} and std {std:?}, expected finite numbers and no std of 0")]
    Statistics {
        /// The means.
        mean: [f32; 3],
        /// The deviations.
        std: [f32; 3],
    },
}

impl Hint for ImageSpecError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Processor(unknown) => {
                let mut hints = unknown.hints();
                hints.push(format!(
                    "Processors whose steps are known: {}.",
                    hugging_face::processors().join(", ")
                ));
                hints
            }
            _ => Vec::new(),
        }
    }
}

/// A config's keys; null counts as absent, as in the programs that write them.
#[derive(Clone, Copy)]
pub(super) struct Config<'a> {
    object: &'a Map<String, Value>,
}

impl<'a> Config<'a> {
    pub(super) fn new(json: &'a Value) -> Result<Self, ImageSpecError> {
        let object = json.as_object().ok_or(ImageSpecError::NotAnObject)?;
        Ok(Self { object })
    }

    pub(super) fn find(self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// The object below `key`; this one where there is none.
    pub(super) fn below(self, key: &'static str) -> Result<Self, ImageSpecError> {
        match self.find(key) {
            None => Ok(self),
            Some(Value::Object(object)) => Ok(Self { object }),
            Some(_) => Err(self.cannot(key, "an object")),
        }
    }

    /// That the value of `key` is not what was `expected`.
    pub(super) fn cannot(self, key: &'static str, expected: &'static str) -> ImageSpecError {
        ImageSpecError::Value {
            key,
            value: self
                .find(key)
                .map_or_else(|| "absent".to_owned(), ToString::to_string),
            expected,
        }
    }

    pub(super) fn boolean(self, key: &'static str, default: bool) -> Result<bool, ImageSpecError> {
        self.find(key).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| self.cannot(key, "true or false"))
        })
    }

    /// One of `choices` by name.
    pub(super) fn choice<T: Copy>(
        self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
        expected: &'static str,
    ) -> Result<T, ImageSpecError> {
        let Some(value) = self.find(key) else {
            return Ok(default);
        };
        let name = value.as_str().unwrap_or_default();
        choices
            .iter()
            .find(|(choice, _)| *choice == name)
            .map(|(_, choice)| *choice)
            .ok_or_else(|| self.cannot(key, expected))
    }

    /// One number a channel, or one for all.
    pub(super) fn triple(
        self,
        key: &'static str,
        default: [f64; 3],
    ) -> Result<[f32; 3], ImageSpecError> {
        let numbers = match self.find(key) {
            None => Some(default),
            Some(Value::Array(numbers)) => match numbers.as_slice() {
                [r, g, b] => r
                    .as_f64()
                    .zip(g.as_f64())
                    .zip(b.as_f64())
                    .map(|((r, g), b)| [r, g, b]),
                _ => None,
            },
            Some(value) => value.as_f64().map(|number| [number; 3]),
        };
        numbers
            .map(|numbers| numbers.map(|number| number as f32))
            .filter(|numbers| numbers.iter().all(|number| number.is_finite()))
            .ok_or_else(|| self.cannot(key, "three numbers"))
    }

    /// [`Self::triple`] without a zero.
    pub(super) fn deviation(
        self,
        key: &'static str,
        default: [f64; 3],
    ) -> Result<[f32; 3], ImageSpecError> {
        let std = self.triple(key, default)?;
        if std.contains(&0.0) {
            return Err(self.cannot(key, "numbers other than 0"));
        }
        Ok(std)
    }
}

/// `{height, width}` and nothing else.
pub(super) fn both_sides(sides: &Map<String, Value>) -> Option<Size> {
    let (height, width) = (sides.get("height")?, sides.get("width")?);
    (sides.len() == 2).then_some(Size {
        width: side(width)?,
        height: side(height)?,
    })
}

/// An integer, or `[height, width]`.
pub(super) fn square_or_sides(value: &Value) -> Option<Size> {
    match value {
        Value::Array(sides) => match sides.as_slice() {
            [one] => side(one).map(Size::square),
            [height, width] => Some(Size {
                width: side(width)?,
                height: side(height)?,
            }),
            _ => None,
        },
        value => side(value).map(Size::square),
    }
}

pub(super) fn side(value: &Value) -> Option<u32> {
    let side = u32::try_from(value.as_u64()?).ok()?;
    (1..=MAX_SIDE).contains(&side).then_some(side)
}
