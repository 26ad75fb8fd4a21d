//! Golden files of MAGIC: losses and image vectors of `io.safetensors`, searches of `expected.json`.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::Deserialize;
use sightline_models::families::magic::{Found, Magic, losses};
use sightline_models::recorded::cases;
use sightline_nn::decode::ContrastiveSpec;
use sightline_nn::unit_length;
use sightline_testkit::golden::{Report, Root};

const AREA: &str = "models/magic";
const INPUTS: &[&str] = &["pixel_values", "train_ids"];
/// Absolute: that of the fixtures' README.
const TOLERANCE: f32 = 2e-4;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    contrastive: Vec<Contrastive>,
    magic: Vec<Search>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contrastive {
    k: usize,
    alpha: f32,
    ids: Vec<u32>,
    steps: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    k: usize,
    alpha: f32,
    beta: f32,
    image: usize,
    total_length: usize,
    ids: Vec<u32>,
    text: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    candidates: Vec<u32>,
    texts: Vec<String>,
    confidence: Vec<f32>,
    penalty: Vec<f32>,
    magic: Vec<f32>,
    score: Vec<f32>,
    #[serde(rename = "margin")]
    _margin: f32,
}

struct Case {
    magic: Magic,
    io: HashMap<String, Tensor>,
}

/// Compares everything that every case of the area records.
pub(crate) fn run() {
    let Some(folder) = Root::find().area(AREA) else {
        return;
    };
    let mut report = Report::new(AREA);
    for path in cases(&folder).expect("the area's folder can be listed") {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match open(&path) {
            Ok((case, expected)) => case.report(&mut report, &name, &expected),
            Err(error) => report.case(&name, "case", Err(super::chain(error.as_ref()))),
        }
    }
    report.finish();
}

fn open(path: &Path) -> Outcome<(Case, Expected)> {
    let magic = Magic::load(path, super::device())?;
    let io = candle_core::safetensors::load(path.join("io.safetensors"), &Device::Cpu)?;
    let expected = serde_json::from_slice(&fs::read(path.join("expected.json"))?)?;
    Ok((Case { magic, io }, expected))
}

impl Case {
    fn report(&self, report: &mut Report, group: &str, expected: &Expected) {
        let told = |outcome: Outcome| outcome.map_err(|error| super::chain(error.as_ref()));
        let mut outputs: Vec<&str> = self.io.keys().map(String::as_str).collect();
        outputs.sort_unstable();
        for output in outputs.into_iter().filter(|name| !INPUTS.contains(name)) {
            report.case(group, output, told(self.compare(output)));
        }
        for (i, search) in expected.contrastive.iter().enumerate() {
            let name = format!("contrastive {i}");
            report.case(group, &name, told(self.contrastive(search)));
        }
        for (i, search) in expected.magic.iter().enumerate() {
            report.case(group, &format!("magic {i}"), told(self.search(search)));
        }
    }

    fn input(&self, name: &str) -> Outcome<&Tensor> {
        let found = self.io.get(name);
        Ok(found.ok_or_else(|| format!("`{name}` is missing"))?)
    }

    fn compare(&self, output: &str) -> Outcome {
        let expected = self.input(output)?.flatten_all()?.to_vec1::<f32>()?;
        let found = match output {
            "image_embeds" => {
                let pixels = self.input("pixel_values")?.to_device(super::device())?;
                let images = self.magic.clip().image_features(&pixels)?;
                images.flatten_all()?.to_vec1::<f32>()?
            }
            "mle_loss" | "cl_loss" => {
                let rows = self.input("train_ids")?.to_vec2::<i64>()?;
                let row = |row: &Vec<i64>| row.iter().map(|&id| u32::try_from(id)).collect();
                let rows = rows.iter().map(row).collect::<Result<Vec<Vec<u32>>, _>>()?;
                let (entropy, contrast) = losses(&self.magic, &rows)?;
                vec![if output == "mle_loss" {
                    entropy
                } else {
                    contrast
                }]
            }
            _ => return Err("no such output is known".into()),
        };
        near(output, &found, &expected)
    }

    fn found(&self, image: Option<usize>, spec: &ContrastiveSpec) -> Outcome<Found> {
        let embedded = unit_length(self.input("image_embeds")?)?;
        let image = image.map(|image| embedded.get(image)).transpose()?;
        let start = [self.magic.config().sos_id];
        Ok(self.magic.search(&start, image.as_ref(), spec)?)
    }

    fn contrastive(&self, expected: &Contrastive) -> Outcome {
        let spec = ContrastiveSpec {
            candidates: expected.k,
            penalty: expected.alpha,
            judgement: 0.0,
            ends: Vec::new(),
            limit: expected.steps,
        };
        self.same_ids(&self.found(None, &spec)?, &expected.ids)
    }

    fn same_ids(&self, found: &Found, expected: &[u32]) -> Outcome {
        let ids = [&[self.magic.config().sos_id], &found.hypothesis.ids[..]].concat();
        if ids == expected {
            return Ok(());
        }
        Err(format!("{ids:?} instead of {expected:?}").into())
    }

    fn search(&self, expected: &Search) -> Outcome {
        let spec = ContrastiveSpec {
            candidates: expected.k,
            penalty: expected.alpha,
            judgement: expected.beta,
            ends: Vec::new(),
            limit: expected.total_length.saturating_sub(1),
        };
        let found = self.found(Some(expected.image), &spec)?;
        for (i, (step, wanted)) in found.steps.iter().zip(&expected.steps).enumerate() {
            if step.candidates != wanted.candidates {
                let (found, wanted) = (&step.candidates, &wanted.candidates);
                return Err(format!("step {i}: {found:?} instead of {wanted:?}").into());
            }
            if found.texts[i] != wanted.texts {
                let (found, wanted) = (&found.texts[i], &wanted.texts);
                return Err(format!("step {i}: {found:?} instead of {wanted:?}").into());
            }
            for (what, found, wanted) in [
                ("confidence", &step.confidence, &wanted.confidence),
                ("penalty", &step.penalty, &wanted.penalty),
                ("magic", &step.judged, &wanted.magic),
                ("score", &step.score, &wanted.score),
            ] {
                near(&format!("step {i}: {what}"), found, wanted)?;
            }
        }
        if found.steps.len() != expected.steps.len() {
            return Err(format!("{} steps", found.steps.len()).into());
        }
        self.same_ids(&found, &expected.ids)?;
        if found.text == expected.text {
            return Ok(());
        }
        Err(format!("`{}` instead of `{}`", found.text, expected.text).into())
    }
}

fn near(what: &str, found: &[f32], expected: &[f32]) -> Outcome {
    let is_near = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE;
    if found.len() == expected.len() && found.iter().zip(expected).all(is_near) {
        return Ok(());
    }
    Err(format!("{what}: {found:?} instead of {expected:?}").into())
}
