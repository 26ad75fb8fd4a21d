//! What the families' tests share: walking the cases of an area, and comparing tensors.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{D, DType, Device, Tensor};
use serde_json::Value;
use sightline_core::Seed;
use sightline_models::{ModelSpec, TokenizerChoice};
use sightline_testkit::golden::{Report, Root, compare_f32};

pub(crate) type Outcome<T> = Result<T, String>;

/// Calls `run` with every case of the area `models/<family>`: each folder is one, and anything else but a
/// `README.md` is a failure of its own.
pub(crate) fn each_case(family: &str, run: impl Fn(&Path, &str, &mut Report)) {
    let area = format!("models/{family}");
    let Some(folder) = Root::find().area(&area) else {
        return;
    };
    let mut report = Report::new(&area);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the area's folder can be listed")
        .map(|entry| entry.expect("its entries too").path())
        .filter(|path| path.file_name().is_none_or(|name| name != "README.md"))
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        run(&path, &name, &mut report);
    }
    report.finish();
}

/// A string of the case's `meta.json`.
pub(crate) fn meta(folder: &Path, key: &str) -> Outcome<String> {
    let text = fs::read(folder.join("meta.json")).map_err(|e| e.to_string())?;
    let meta: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    let value = meta[key].as_str().ok_or(format!("no {key}"))?;
    Ok(value.to_owned())
}

/// The checkpoint in `folder`, whose texts come as ids.
pub(crate) fn spec(folder: &Path) -> ModelSpec {
    ModelSpec {
        checkpoint: Some(folder.to_owned()),
        tokenizer: TokenizerChoice::WordHash,
        seed: Seed(0),
    }
}

/// Inputs and recorded outputs of a case.
pub(crate) struct Recorded(HashMap<String, Tensor>);

impl Recorded {
    pub(crate) fn read(folder: &Path) -> Outcome<Self> {
        let values = candle_core::safetensors::load(folder.join("io.safetensors"), &Device::Cpu);
        Ok(Self(values.map_err(|e| e.to_string())?))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    pub(crate) fn tensor(&self, name: &str) -> Outcome<Tensor> {
        self.find(name).cloned().ok_or(format!("no {name}"))
    }

    /// Rows of integers.
    pub(crate) fn rows<T: TryFrom<i64>>(&self, name: &str) -> Outcome<Vec<Vec<T>>> {
        let rows: Vec<Vec<i64>> = self.tensor(name)?.to_vec2().map_err(|e| e.to_string())?;
        let number = |&n: &i64| T::try_from(n).map_err(|_| format!("{name} holds {n}"));
        rows.iter()
            .map(|row| row.iter().map(number).collect())
            .collect()
    }

    /// Compares what `compute` makes of the name of every recorded output, without its `out.`, with its values;
    /// `tolerance_of` gives the absolute and the relative one.
    pub(crate) fn check(
        &self,
        group: &str,
        report: &mut Report,
        tolerance_of: impl Fn(&str) -> (f64, f64),
        compute: impl Fn(&str) -> Outcome<Tensor>,
    ) {
        let mut names: Vec<&String> = self.0.keys().collect();
        names.sort();
        for name in names {
            if let Some(output) = name.strip_prefix("out.") {
                let outcome = compute(output)
                    .and_then(|actual| compare(&actual, &self.0[name], tolerance_of(output)));
                report.case(group, output, outcome);
            }
        }
    }
}

/// What [`Recorded::check`] is told about an output that a test has no way to compute.
pub(crate) fn unknown() -> String {
    "unknown to this test, or its input is missing".to_owned()
}

/// Mean of the cross entropies of both directions of the square `logits`, the diagonal being right; `smoothing` is
/// the share of the target that is spread over all columns.
pub(crate) fn contrastive_loss(logits: &Tensor, smoothing: f64) -> candle_core::Result<Tensor> {
    let direction = |logits: &Tensor| -> candle_core::Result<Tensor> {
        let count = logits.dim(0)?;
        let normaliser = logits.log_sum_exp(D::Minus1)?;
        let eye = Tensor::eye(count, DType::F32, logits.device())?;
        let target = ((eye * (1.0 - smoothing))? + smoothing / count as f64)?;
        let right = (logits * target)?.sum(D::Minus1)?;
        (normaliser - right)?.mean_all()
    };
    (direction(logits)? + direction(&logits.t()?.contiguous()?)?)? / 2.0
}

fn compare(actual: &Tensor, expected: &Tensor, (abs, rel): (f64, f64)) -> Outcome<()> {
    if actual.dims() != expected.dims() {
        return Err(format!(
            "{:?} instead of {:?}",
            actual.dims(),
            expected.dims()
        ));
    }
    let flat = |tensor: &Tensor| -> Outcome<Vec<f32>> {
        let flat = tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all());
        flat.and_then(|t| t.to_vec1()).map_err(|e| e.to_string())
    };
    compare_f32(&flat(actual)?, &flat(expected)?, abs, rel)
}
