//! Golden files of models: every recorded output of every CLIP checkpoint in the Hugging Face layout.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use serde_json::Value;
use sightline_core::Seed;
use sightline_models::families::clip::Clip;
use sightline_models::{Embed, ModelSpec, TokenizerChoice};
use sightline_nn::{Mask, unit_length};
use sightline_testkit::golden::{Report, Root, compare_f32};

/// Layouts that are recorded and that no crate reads yet.
const UNHANDLED_LAYOUTS: &[&str] = &["open_clip"];

type Outcome<T> = Result<T, String>;

#[test]
fn models_clip() {
    let Some(folder) = Root::find().area("models/clip") else {
        return;
    };
    let mut report = Report::new("models/clip");
    let mut cases: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_none_or(|name| name != "README.md"))
        .collect();
    cases.sort();
    for path in cases {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match layout(&path).as_deref() {
            Ok("hf") => match Case::open(&path) {
                Ok(case) => case.run(&name, &mut report),
                Err(reason) => report.case(&name, "case", Err(reason)),
            },
            Ok(layout) if UNHANDLED_LAYOUTS.contains(&layout) => {
                report.unhandled(&format!("layout {layout}"));
            }
            Ok(layout) => report.case(&name, "layout", Err(format!("`{layout}` is unknown"))),
            Err(reason) => report.case(&name, "meta.json", Err(reason.clone())),
        }
    }
    report.finish();
}

fn layout(folder: &Path) -> Outcome<String> {
    let text = fs::read(folder.join("meta.json")).map_err(|e| e.to_string())?;
    let meta: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    let layout = meta["layout"].as_str().ok_or("no layout")?;
    Ok(layout.to_owned())
}

struct Case {
    clip: Clip,
    values: HashMap<String, Tensor>,
    ids: Vec<Vec<u32>>,
    padding: Mask,
    pixels: Tensor,
}

impl Case {
    fn open(folder: &Path) -> Outcome<Self> {
        let spec = ModelSpec {
            checkpoint: Some(folder.to_owned()),
            tokenizer: TokenizerChoice::WordHash,
            seed: Seed(0),
        };
        let device = Device::Cpu;
        let clip = Clip::load(&spec, &device).map_err(|e| e.to_string())?;
        let values = candle_core::safetensors::load(folder.join("io.safetensors"), &device)
            .map_err(|e| e.to_string())?;
        let integers = |name: &str| -> Outcome<Vec<Vec<i64>>> {
            let tensor = values.get(name).ok_or(format!("no {name}"))?;
            tensor.to_vec2().map_err(|e| e.to_string())
        };
        let row = |row: &Vec<i64>| row.iter().map(|&id| id as u32).collect();
        let ids = integers("in.input_ids")?.iter().map(row).collect();
        let row = |row: &Vec<i64>| row.iter().map(|&id| id as u8).collect();
        let present: Vec<Vec<u8>> = integers("in.attention_mask")?.iter().map(row).collect();
        Ok(Self {
            clip,
            ids,
            padding: Mask::padding(&present, &device).map_err(|e| e.to_string())?,
            pixels: values.get("in.pixel_values").ok_or("no pixels")?.clone(),
            values,
        })
    }

    fn run(&self, group: &str, report: &mut Report) {
        let mut names: Vec<&String> = self.values.keys().collect();
        names.sort();
        for name in names {
            let Some(output) = name.strip_prefix("out.") else {
                continue;
            };
            let tolerance = match output {
                "loss" => (1e-4, 1e-4),
                _ if output.starts_with("logits_") => (1e-4, 1e-4),
                _ if output.starts_with("interp_") => (1e-4, 0.0),
                _ => (2e-5, 2e-5),
            };
            let outcome = self
                .compute(output)
                .and_then(|actual| compare(&actual, &self.values[name], tolerance));
            report.case(group, output, outcome);
        }
    }

    fn compute(&self, output: &str) -> Outcome<Tensor> {
        let clip = &self.clip;
        let run = || -> Result<Option<Tensor>, sightline_models::Error> {
            Ok(Some(match output {
                "image_features" => clip.image_features(&self.pixels)?,
                "image_embeds" => clip.embed_images(&self.pixels)?,
                "text_features" => clip.text_features(&self.ids, Some(&self.padding))?,
                "text_embeds" => self.text_embeds(Some(&self.padding))?,
                "logits_per_image" => self.logits(&self.text_embeds(Some(&self.padding))?)?,
                "logits_per_text" => self.logits(&self.text_embeds(Some(&self.padding))?)?.t()?,
                "logits_per_image_no_mask" => self.logits(&self.text_embeds(None)?)?,
                "logits_per_image_2_texts" => {
                    let two = clip.text_features(&self.ids[..2], None)?;
                    self.logits(&unit_length(&two)?)?
                }
                "loss" => loss(&self.logits(&self.text_embeds(Some(&self.padding))?)?)?,
                "vision.last_hidden_state" => clip.vision().forward(&self.pixels)?,
                "vision.pooler_output" => {
                    let sequence = clip.vision().forward(&self.pixels)?;
                    clip.vision().pool(&sequence)?
                }
                "text.last_hidden_state" => clip.text().forward(&self.ids, Some(&self.padding))?,
                "text.pooler_output" => {
                    let sequence = clip.text().forward(&self.ids, Some(&self.padding))?;
                    clip.pool_texts(&sequence, &self.ids)?
                }
                "interp_image_features" => {
                    let Some(pixels) = self.values.get("in.interp_pixel_values") else {
                        return Ok(None);
                    };
                    let (_, _, height, width) = pixels.dims4()?;
                    let vision = clip.vision().with_image_size(height, width)?;
                    clip.project_images(&vision.pool(&vision.forward(pixels)?)?)?
                }
                _ => {
                    let Some((tower, state)) = output.split_once(".hidden_") else {
                        return Ok(None);
                    };
                    let states = match tower {
                        "vision" => clip.vision().forward_with_hidden(&self.pixels)?.1,
                        "text" => {
                            let text = clip.text();
                            text.forward_with_hidden(&self.ids, Some(&self.padding))?.1
                        }
                        _ => return Ok(None),
                    };
                    let state = state
                        .parse()
                        .ok()
                        .and_then(|i: usize| states.get(i).cloned());
                    return Ok(state);
                }
            }))
        };
        match run() {
            Ok(Some(tensor)) => Ok(tensor),
            Ok(None) => Err("unknown to this test, or its input is missing".to_owned()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn text_embeds(&self, padding: Option<&Mask>) -> Result<Tensor, sightline_models::Error> {
        Ok(unit_length(&self.clip.text_features(&self.ids, padding)?)?)
    }

    /// `[images, texts]`.
    fn logits(&self, texts: &Tensor) -> Result<Tensor, sightline_models::Error> {
        let images = self.clip.embed_images(&self.pixels)?;
        Ok((images.matmul(&texts.t()?)? * f64::from(self.clip.scale()))?)
    }
}

/// Mean of the cross entropies of both directions, the diagonal being right.
fn loss(logits: &Tensor) -> candle_core::Result<Tensor> {
    let direction = |logits: &Tensor| -> candle_core::Result<Tensor> {
        let normaliser = logits.log_sum_exp(D::Minus1)?;
        let eye = Tensor::eye(logits.dim(0)?, DType::F32, logits.device())?;
        let right = (logits * eye)?.sum(D::Minus1)?;
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
