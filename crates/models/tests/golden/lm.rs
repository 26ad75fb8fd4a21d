//! Golden files of language models: tensors of `io.safetensors`, searches of `expected.json`.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use sightline_models::LanguageModel;
use sightline_models::recorded::cases;
use sightline_nn::causal::{CausalNetwork, Next, continuation_log_probabilities};
use sightline_nn::decode::{self, Greedy, Hypothesis, LengthBeam, Search};
use sightline_testkit::golden::{Report, Root};

const AREA: &str = "models/lm";
const INPUTS: &[&str] = &[
    "input_ids",
    "inputs_embeds",
    "attention_mask",
    "continuation",
];
/// Absolute for tensors, relative for scores: that of the fixtures' README.
const TOLERANCE: f32 = 2e-4;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    generate: Vec<Generate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generate {
    row: usize,
    eos: u32,
    max_new_tokens: usize,
    greedy: Vec<u32>,
    #[serde(rename = "greedy_smallest_margin")]
    _margin: f32,
    beam: Vec<Beam>,
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
    model: LanguageModel,
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
    let model = LanguageModel::from_folder(path, super::device())?;
    let io = candle_core::safetensors::load(path.join("io.safetensors"), &Device::Cpu)?;
    let expected = serde_json::from_slice(&fs::read(path.join("expected.json"))?)?;
    Ok((Case { model, io }, expected))
}

impl Case {
    fn report(&self, report: &mut Report, group: &str, expected: &Expected) {
        let told = |outcome: Outcome| outcome.map_err(|error| super::chain(error.as_ref()));
        let mut outputs: Vec<&String> = self.io.keys().collect();
        outputs.sort();
        for output in outputs
            .into_iter()
            .filter(|name| !INPUTS.contains(&name.as_str()))
        {
            report.case(group, output, told(self.compare(output)));
        }
        for generate in &expected.generate {
            let name = |search: &str| format!("row {}, {search}", generate.row);
            report.case(group, &name("greedy"), told(self.greedy(generate)));
            for beam in &generate.beam {
                let search = format!("beam {}, penalty {}", beam.num_beams, beam.length_penalty);
                report.case(group, &name(&search), told(self.beam(generate, beam)));
            }
        }
    }

    fn input(&self, name: &str) -> Outcome<&Tensor> {
        Ok(self
            .io
            .get(name)
            .ok_or_else(|| format!("`{name}` is missing"))?)
    }

    fn rows<T: TryFrom<i64>>(&self, name: &str) -> Outcome<Vec<Vec<T>>>
    where
        T::Error: Error + 'static,
    {
        let rows = self.input(name)?.to_vec2::<i64>()?;
        let row = |row: &Vec<i64>| row.iter().map(|&id| Ok(T::try_from(id)?)).collect();
        rows.iter().map(row).collect()
    }

    fn compare(&self, output: &str) -> Outcome {
        let transformer = self.model.transformer();
        let ids = transformer.embed(&self.rows("input_ids")?)?;
        let mut expected = self.input(output)?.clone();
        let mut found = match output {
            "hidden" => transformer.forward(&ids, None)?,
            "logits" => transformer.logits(&transformer.forward(&ids, None)?)?,
            "logits_embeds" => {
                let embeds = self.input("inputs_embeds")?.to_device(super::device())?;
                let hidden = transformer.forward(&embeds, None)?;
                transformer.logits(&hidden)?
            }
            "logits_masked" => {
                let present: Vec<Vec<u8>> = self.rows("attention_mask")?;
                // Called without positions, only OPT's reference leaves padding out when it counts them.
                let counted: Vec<u32> = (0..).take(ids.dim(1)?).collect();
                let positions = vec![counted; ids.dim(0)?];
                let next = Next {
                    embeds: &ids,
                    present: Some(&present),
                    positions: (self.model.config().kind != "opt").then_some(&positions),
                };
                let hidden = transformer.advance(next, &mut transformer.start(ids.dim(0)?))?;
                let there = self
                    .input("attention_mask")?
                    .to_dtype(DType::F32)?
                    .unsqueeze(2)?;
                expected = expected.broadcast_mul(&there)?;
                let logits = transformer.logits(&hidden)?.to_device(&Device::Cpu)?;
                logits.broadcast_mul(&there)?
            }
            "continuation_logprob" => self.continuations(&ids)?,
            _ => return Err("no such output is known".into()),
        };
        if found.dims() != expected.dims() {
            return Err(format!("{:?} instead of {:?}", found.dims(), expected.dims()).into());
        }
        found = (found.to_device(&Device::Cpu)? - expected)?
            .abs()?
            .flatten_all()?;
        let worst = found
            .to_vec1::<f32>()?
            .into_iter()
            .fold(0.0, |worst: f32, value| {
                if value.is_nan() {
                    f32::INFINITY
                } else {
                    worst.max(value)
                }
            });
        if worst <= TOLERANCE {
            return Ok(());
        }
        Err(format!("{worst:e} off, {TOLERANCE:e} allowed").into())
    }

    fn continuations(&self, ids: &Tensor) -> Outcome<Tensor> {
        let transformer = self.model.transformer();
        let mut rows = Vec::new();
        for (b, continuation) in self.rows("continuation")?.into_iter().enumerate() {
            let mut cache = transformer.start(1);
            let prompt = ids.narrow(0, b, 1)?;
            let hidden = transformer.advance(Next::new(&prompt), &mut cache)?;
            let last = hidden.get(0)?.get(hidden.dim(1)? - 1)?;
            let last = transformer.logits(&last.unsqueeze(0)?)?.get(0)?;
            let found =
                continuation_log_probabilities(transformer, &cache, &last, &[continuation])?;
            rows.extend(found);
        }
        Ok(Tensor::new(rows, &Device::Cpu)?)
    }

    fn search<S: Search>(&self, row: usize, search: S) -> Outcome<Hypothesis> {
        let transformer = self.model.transformer();
        let ids: Vec<Vec<u32>> = self.rows("input_ids")?;
        let prompt = ids.get(row).ok_or("no such row")?.clone();
        let embeds = transformer.embed(&[prompt])?;
        let (mut network, hidden) = CausalNetwork::read(transformer, Next::new(&embeds))?;
        let last = hidden.narrow(1, hidden.dim(1)? - 1, 1)?.squeeze(1)?;
        let first = transformer.logits(&last)?;
        let found = decode::run(&mut network, &first, vec![search])?;
        Ok(found[0].first().ok_or("nothing was found")?.clone())
    }

    fn greedy(&self, expected: &Generate) -> Outcome {
        let search = Greedy::new(&[expected.eos], expected.max_new_tokens);
        same_ids(&self.search(expected.row, search)?.ids, &expected.greedy)
    }

    fn beam(&self, expected: &Generate, beam: &Beam) -> Outcome {
        let limit = expected.max_new_tokens;
        let search = LengthBeam::new(beam.num_beams, &[expected.eos], limit);
        let search = search.length_penalty(beam.length_penalty);
        let found = self.search(expected.row, search)?;
        same_ids(&found.ids, &beam.ids)?;
        if (found.score - beam.score).abs() <= TOLERANCE * beam.score.abs() {
            return Ok(());
        }
        Err(format!("score {} instead of {}", found.score, beam.score).into())
    }
}

fn same_ids(found: &[u32], expected: &[u32]) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{found:?} instead of {expected:?}").into())
}
