//! Golden files of Frozen and its relatives: tensors of `io.safetensors`, searches of `expected.json`.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;
use sightline_models::families::frozen::{Frozen, Part, Sight};
use sightline_models::recorded::cases;
use sightline_nn::causal::Next;
use sightline_nn::decode::{self, Greedy, Hypothesis, LengthBeam, Search};
use sightline_testkit::golden::{Report, Root};

const AREA: &str = "models/frozen";
const INPUTS: &[&str] = &[
    "pixel_values",
    "image_features",
    "caption_ids",
    "caption_mask",
];
/// Absolute for tensors, relative for scores: that of the fixtures' README.
const TOLERANCE: f32 = 2e-4;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    prompt: Vec<(String, Value)>,
    continuations: Vec<Continuation>,
    greedy: Vec<u32>,
    #[serde(rename = "greedy_smallest_margin")]
    _margin: f32,
    beam: Vec<Beam>,
    eos: u32,
    max_new_tokens: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Continuation {
    ids: Vec<u32>,
    sum: f32,
    per_token: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Beam {
    ids: Vec<u32>,
    score: f32,
    num_beams: usize,
    length_penalty: f64,
}

struct Case {
    frozen: Frozen,
    io: HashMap<String, Tensor>,
    expected: Expected,
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
            Ok(case) => case.report(&mut report, &name),
            Err(error) => report.case(&name, "case", Err(super::chain(error.as_ref()))),
        }
    }
    report.finish();
}

fn open(path: &Path) -> Outcome<Case> {
    let frozen = Frozen::load(path, super::device())?;
    let io = candle_core::safetensors::load(path.join("io.safetensors"), &Device::Cpu)?;
    let expected = serde_json::from_slice(&fs::read(path.join("expected.json"))?)?;
    Ok(Case {
        frozen,
        io,
        expected,
    })
}

impl Case {
    fn report(&self, report: &mut Report, group: &str) {
        let told = |outcome: Outcome| outcome.map_err(|error| super::chain(error.as_ref()));
        let mut outputs: Vec<&str> = self.io.keys().map(String::as_str).collect();
        outputs.sort_unstable();
        for output in outputs.into_iter().filter(|name| !INPUTS.contains(name)) {
            report.case(group, output, told(self.compare(output)));
        }
        report.case(group, "continuations", told(self.continuations()));
        let (ends, limit) = ([self.expected.eos], self.expected.max_new_tokens);
        let greedy = self.search(Greedy::new(&ends, limit));
        let greedy = greedy.and_then(|found| same_ids(&found.ids, &self.expected.greedy));
        report.case(group, "greedy", told(greedy));
        for beam in &self.expected.beam {
            let search = LengthBeam::new(beam.num_beams, &ends, limit);
            let found = self.search(search.length_penalty(beam.length_penalty));
            let outcome = found.and_then(|found| {
                same_ids(&found.ids, &beam.ids)?;
                near_relative(found.score, beam.score)
            });
            let name = format!("beam {}, penalty {}", beam.num_beams, beam.length_penalty);
            report.case(group, &name, told(outcome));
        }
    }

    fn input(&self, name: &str) -> Outcome<&Tensor> {
        let found = self.io.get(name);
        Ok(found.ok_or_else(|| format!("`{name}` is missing"))?)
    }

    fn prefix(&self) -> Outcome<Tensor> {
        let pixels = self.input("pixel_values");
        let images = pixels.or_else(|_| self.input("image_features"))?;
        let images = images.to_device(super::device())?;
        Ok(self.frozen.visual_prefix(&images, Sight::Seen)?)
    }

    fn prompt(&self) -> Outcome<Tensor> {
        let prefix = self.prefix()?;
        let mut owned: Vec<(Option<Tensor>, Vec<u32>)> = Vec::new();
        for (kind, value) in &self.expected.prompt {
            owned.push(match kind.as_str() {
                "image" => {
                    let image: usize = serde_json::from_value(value.clone())?;
                    (Some(prefix.get(image)?), Vec::new())
                }
                "text" => (None, serde_json::from_value(value.clone())?),
                _ => return Err(format!("a segment `{kind}` is unknown").into()),
            });
        }
        let part = |(image, ids)| match image {
            Some(image) => Part::Image(image),
            None => Part::Text(ids),
        };
        let owned = owned
            .iter()
            .map(|(image, ids)| (image.as_ref(), ids.as_slice()));
        let parts: Vec<Part<'_>> = owned.map(part).collect();
        Ok(self.frozen.prompt(&parts, self.expected.max_new_tokens)?)
    }

    /// Logits that predict each caption token `[B, L, V]`.
    fn caption_logits(&self) -> Outcome<Tensor> {
        let network = self.frozen.language().transformer();
        let prefix = self.prefix()?;
        let tokens = prefix.dim(1)?;
        let ids = self.input("caption_ids")?.to_vec2::<i64>()?;
        let row = |row: &Vec<i64>| row.iter().map(|&id| u32::try_from(id)).collect();
        let ids = ids.iter().map(row).collect::<Result<Vec<Vec<u32>>, _>>()?;
        let embeds = Tensor::cat(&[&prefix, &network.embed(&ids)?], 1)?;
        // The reference masks padding, and counts it.
        let mask = self.input("caption_mask")?.to_dtype(DType::U8)?;
        let present = |row: Vec<u8>| [vec![1; tokens], row].concat();
        let present: Vec<Vec<u8>> = mask.to_vec2()?.into_iter().map(present).collect();
        let positions: Vec<u32> = (0..).take(embeds.dim(1)?).collect();
        let positions = vec![positions; ids.len()];
        let next = Next {
            embeds: &embeds,
            present: Some(&present),
            positions: Some(&positions),
        };
        let hidden = network.advance(next, &mut network.start(ids.len()))?;
        let logits = network.logits(&hidden)?.to_device(&Device::Cpu)?;
        Ok(logits.narrow(1, tokens - 1, logits.dim(1)? - tokens)?)
    }

    fn compare(&self, output: &str) -> Outcome {
        let network = self.frozen.language().transformer();
        let expected = self.input(output)?;
        let found = match output {
            "visual_prefix" => self.prefix()?,
            "caption_logits" => self.caption_logits()?,
            "prompt_logits" => network.logits(&network.forward(&self.prompt()?, None)?)?,
            "caption_loss" => {
                let logits = self.caption_logits()?.contiguous()?;
                let total = logits.log_sum_exp(D::Minus1)?.unsqueeze(2)?;
                let ids = self.input("caption_ids")?.unsqueeze(2)?;
                let own = logits.gather(&ids, 2)?;
                let mask = self.input("caption_mask")?.to_dtype(total.dtype())?;
                let losses = ((total - own)?.squeeze(2)? * &mask)?;
                let mean = (losses.sum_all()? / mask.sum_all()?)?.to_scalar::<f32>()?;
                let expected = expected.flatten_all()?.to_vec1::<f32>()?;
                return near_relative(mean, expected.first().copied().unwrap_or(f32::NAN));
            }
            _ => return Err("no such output is known".into()),
        };
        if found.dims() != expected.dims() {
            return Err(format!("{:?} instead of {:?}", found.dims(), expected.dims()).into());
        }
        let difference = (found.to_device(&Device::Cpu)? - expected)?
            .abs()?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let is_off = |value: &&f32| value.is_nan() || **value > TOLERANCE;
        match difference.iter().find(is_off) {
            None => Ok(()),
            Some(value) => Err(format!("{value:e} off, {TOLERANCE:e} allowed").into()),
        }
    }

    fn continuations(&self) -> Outcome {
        let all = &self.expected.continuations;
        let ids: Vec<Vec<u32>> = all.iter().map(|expected| expected.ids.clone()).collect();
        let found = self.frozen.continuations(&self.prompt()?, &ids)?;
        for (found, expected) in found.iter().zip(all) {
            if found.len() != expected.per_token.len() {
                return Err(format!("{} tokens", found.len()).into());
            }
            for (found, expected) in found.iter().zip(&expected.per_token) {
                near_relative(*found, *expected)?;
            }
            near_relative(found.iter().sum(), expected.sum)?;
        }
        Ok(())
    }

    fn search<S: Search>(&self, search: S) -> Outcome<Hypothesis> {
        let prompt = self.prompt()?;
        let (mut network, first) = self.frozen.read(&prompt)?;
        let found = decode::run(&mut network, &first, vec![search])?;
        Ok(found[0].first().ok_or("nothing was found")?.clone())
    }
}

fn same_ids(found: &[u32], expected: &[u32]) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{found:?} instead of {expected:?}").into())
}

fn near_relative(found: f32, expected: f32) -> Outcome {
    if (found - expected).abs() <= TOLERANCE * expected.abs() {
        return Ok(());
    }
    Err(format!("{found} instead of {expected}").into())
}
