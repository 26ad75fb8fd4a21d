//! Cases of the preprocessing goldens: one object of `cases.json` each, with its expected array.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::{Map, Value};
use sightline_imaging::decode::JPEG_DECODER;
use sightline_testkit::golden::{DiffU8, Report, compare_f32, compare_u8};

/// One case, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// `pipeline/key`.
    pub(crate) id: String,
    /// Which runner it belongs to.
    pub(crate) pipeline: String,
    /// File in `images/`.
    pub(crate) image: String,
    /// All settings. A runner reads every one of them, or the case fails.
    pub(crate) params: Params,
    /// Where the expected array is; without it only the shape (and mean or hash) is compared.
    pub(crate) file: Option<String>,
    /// Name of the array in `file`.
    pub(crate) key: Option<String>,
    /// `u8` or `f32`.
    pub(crate) dtype: Option<String>,
    /// Shape of the expected array.
    pub(crate) shape: Option<Vec<usize>>,
    /// `HWC` or `CHW`.
    pub(crate) layout: Option<String>,
    /// Largest allowed absolute difference of an element.
    #[serde(default)]
    pub(crate) max_abs: f64,
    /// Allowed share of elements of a `u8` array that differ at all.
    #[serde(default)]
    pub(crate) max_frac_diff: f64,
    /// The reference refuses the file.
    pub(crate) error: Option<String>,
    /// SHA-256 of the RGB bytes, row by row.
    pub(crate) sha256_rgb: Option<String>,
    /// Mean of each channel.
    pub(crate) mean_rgb: Option<Vec<f64>>,
    /// Remarks for people.
    #[serde(rename = "note")]
    _note: Option<String>,
    /// The area's folder.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
    /// The folder of the images.
    #[serde(skip)]
    pub(crate) images: PathBuf,
}

/// What a runner computed.
#[derive(Debug)]
pub(crate) struct Output {
    /// `[height, width, channels]` or `[channels, height, width]`, as the case's layout says;
    /// `[height, width]` for one channel.
    pub(crate) shape: Vec<usize>,
    /// The elements.
    pub(crate) values: Values,
}

/// Elements of an output.
#[derive(Debug)]
pub(crate) enum Values {
    /// Bytes.
    U8(Vec<u8>),
    /// Floats.
    F32(Vec<f32>),
}

/// Allowances of the fixtures' README for a JPEG decoder other than libjpeg-turbo.
mod other_jpeg {
    pub(super) const U8_MEAN: f64 = 0.3;
    pub(super) const U8_MAX: u8 = 8;
    pub(super) const F32_MEAN: f64 = 0.005;
    pub(super) const MEAN_RGB: f64 = 0.5;
}

/// Reads all cases of `folder`.
pub(crate) fn read(folder: &Path) -> Vec<Case> {
    let path = folder.join("cases.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut cases: Vec<Case> =
        serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for case in &mut cases {
        folder.clone_into(&mut case.folder);
        case.images = folder.join("images");
    }
    cases
}

/// Fails on files of `folder`, and on arrays in them, that no case names.
pub(crate) fn check_listing(folder: &Path, cases: &[Case], report: &mut Report) {
    report.listing(folder, ["cases.json", "expected", "images"]);
    report.listing(
        &folder.join("images"),
        cases.iter().map(|case| &*case.image),
    );
    let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for case in cases {
        if let (Some(file), Some(key)) = (&case.file, &case.key) {
            keys.entry(file).or_default().insert(key);
        }
    }
    report.listing(
        &folder.join("expected"),
        keys.keys()
            .filter_map(|file| file.strip_prefix("expected/")),
    );
    for (file, keys) in keys {
        report.case("arrays", file, check_arrays(&folder.join(file), &keys));
    }
}

fn check_arrays(path: &Path, keys: &BTreeSet<&str>) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let arrays = SafeTensors::deserialize(&bytes).map_err(|e| e.to_string())?;
    let names = arrays.names();
    let strays: Vec<&&str> = names.iter().filter(|name| !keys.contains(*name)).collect();
    match strays[..] {
        [] => Ok(()),
        _ => Err(format!("no case names the arrays {strays:?}")),
    }
}

impl Case {
    /// The bytes of the case's image.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        let path = self.images.join(&self.image);
        std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Whether the image is a JPEG file.
    pub(crate) fn is_jpeg(&self) -> bool {
        Path::new(&self.image)
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("jpg"))
    }

    /// Whether the README's allowance for another JPEG decoder applies.
    pub(crate) fn other_jpeg_decoder(&self) -> bool {
        !JPEG_DECODER.exact && self.is_jpeg()
    }

    /// Compares what a runner computed (or why it could not) with what the case expects.
    pub(crate) fn check(&self, outcome: Result<Output, String>) -> Result<(), String> {
        if self.error.is_some() {
            return match outcome {
                Ok(_) => Err("succeeded, the reference refuses it".to_owned()),
                Err(_) => self.params.all_read(),
            };
        }
        let output = outcome?;
        self.params.all_read()?;
        if self.shape.as_ref() != Some(&output.shape) {
            return Err(format!(
                "shape {:?} instead of {:?}",
                output.shape, self.shape
            ));
        }
        match (&self.file, &self.key) {
            (Some(file), Some(key)) => self.compare_array(&output, file, key),
            (None, None) => self.compare_summary(&output),
            _ => Err("names `file` without `key` or `key` without `file`".to_owned()),
        }
    }

    fn compare_array(&self, output: &Output, file: &str, key: &str) -> Result<(), String> {
        let layout = match &output.values {
            Values::U8(_) => "HWC",
            Values::F32(_) => "CHW",
        };
        if self.layout.as_deref() != Some(layout) {
            return Err(format!(
                "layout {:?}, the runner gives {layout}",
                self.layout
            ));
        }
        let path = self.folder.join(file);
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let arrays = SafeTensors::deserialize(&bytes).map_err(|e| format!("{file}: {e}"))?;
        let array = arrays.tensor(key).map_err(|e| format!("{file}: {e}"))?;
        if array.shape() != output.shape {
            return Err(format!("`{key}` has the shape {:?}", array.shape()));
        }
        match (&output.values, array.dtype(), self.dtype.as_deref()) {
            (Values::U8(actual), Dtype::U8, Some("u8")) => {
                if !self.other_jpeg_decoder() {
                    return compare_u8(
                        actual,
                        array.data(),
                        self.max_abs as u8,
                        self.max_frac_diff,
                    );
                }
                let diff = DiffU8::of(actual, array.data());
                let allowed = f64::from(other_jpeg::U8_MAX).max(self.max_abs) as u8;
                within("mean difference", diff.mean, other_jpeg::U8_MEAN)?;
                within("largest difference", diff.max.into(), allowed.into())
            }
            (Values::F32(actual), Dtype::F32, Some("f32")) => {
                let expected = floats(array.data());
                if !self.other_jpeg_decoder() {
                    return compare_f32(actual, &expected, self.max_abs, 0.0);
                }
                let sum: f64 = actual
                    .iter()
                    .zip(&expected)
                    .map(|(&a, &e)| (f64::from(a) - f64::from(e)).abs())
                    .sum();
                // The allowance is for normalised values; levels have that of bytes.
                let levels = self.params.settings.get("range") == Some(&Value::from("0..255"));
                let allowed = if levels {
                    other_jpeg::U8_MEAN
                } else {
                    other_jpeg::F32_MEAN
                };
                within(
                    "mean difference",
                    sum / expected.len().max(1) as f64,
                    allowed,
                )
            }
            (_, dtype, named) => Err(format!("`{key}` is {dtype:?}, the case says {named:?}")),
        }
    }

    fn compare_summary(&self, output: &Output) -> Result<(), String> {
        if let Some(expected) = &self.sha256_rgb
            && !self.other_jpeg_decoder()
        {
            let Values::U8(data) = &output.values else {
                return Err("the runner gives no bytes to hash".to_owned());
            };
            let actual = sightline_core::Digest::of(data).to_string();
            if actual != *expected {
                return Err(format!("SHA-256 {actual} instead of {expected}"));
            }
        }
        if let Some(expected) = &self.mean_rgb {
            let Values::U8(data) = &output.values else {
                return Err("the runner gives no bytes to average".to_owned());
            };
            let count = expected.len();
            for (channel, &mean) in expected.iter().enumerate() {
                let sum: u64 = data
                    .iter()
                    .skip(channel)
                    .step_by(count)
                    .map(|&v| u64::from(v))
                    .sum();
                let actual = sum as f64 / (data.len() / count).max(1) as f64;
                within(
                    "difference of a mean",
                    (actual - mean).abs(),
                    other_jpeg::MEAN_RGB,
                )?;
            }
        }
        Ok(())
    }
}

/// Little-endian floats.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect()
}

fn within(what: &str, actual: f64, allowed: f64) -> Result<(), String> {
    // A NaN is not within anything.
    if actual <= allowed {
        Ok(())
    } else {
        Err(format!("{what} {actual}, allowed {allowed}"))
    }
}

/// The settings of a case. Reading one marks it; [`Self::all_read`] fails on the others, so that a
/// setting which a runner does not know cannot be passed over.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Params {
    settings: Map<String, Value>,
    #[serde(skip)]
    read: RefCell<BTreeSet<String>>,
}

impl Params {
    /// The setting `name`, if it is there and not null.
    pub(crate) fn find(&self, name: &str) -> Option<&Value> {
        self.read.borrow_mut().insert(name.to_owned());
        self.settings.get(name).filter(|value| !value.is_null())
    }

    /// A setting of any type that serde reads.
    pub(crate) fn get<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        self.optional(name)?
            .ok_or_else(|| format!("setting `{name}` is missing"))
    }

    /// The same, `None` when it is absent or null.
    pub(crate) fn optional<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, String> {
        self.find(name)
            .map(|value| {
                serde_json::from_value(value.clone()).map_err(|e| format!("setting `{name}`: {e}"))
            })
            .transpose()
    }

    /// A setting that must have this value: the only one the runner knows.
    pub(crate) fn expect(&self, name: &str, known: &Value) -> Result<(), String> {
        match self.find(name) {
            Some(value) if value == known => Ok(()),
            other => Err(format!(
                "setting `{name}` is {other:?}, known is only {known}"
            )),
        }
    }

    /// Fails when a setting was never looked at.
    pub(crate) fn all_read(&self) -> Result<(), String> {
        let read = self.read.borrow();
        let unread: Vec<&String> = self
            .settings
            .keys()
            .filter(|k| !read.contains(*k))
            .collect();
        if unread.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "settings that the runner does not know: {unread:?}"
            ))
        }
    }
}
