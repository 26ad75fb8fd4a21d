//! Golden files of `VisualBERT`: every recorded output of every head.

use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use sightline_models::families::visualbert::{Head, Inputs, RegionInputs, VisualBert};
use sightline_nn::tower::BertInput;
use sightline_testkit::golden::Report;

use super::support::{Outcome, Recorded, each_case, spec, unknown};

#[test]
fn models_visualbert() {
    each_case("visualbert", |path, name, report| match Case::open(path) {
        Ok(case) => case.run(name, report),
        Err(reason) => report.case(name, "case", Err(reason)),
    });
}

struct Case {
    model: VisualBert,
    recorded: Recorded,
}

/// What an output was computed from.
#[derive(Default)]
struct Arguments {
    ids: Vec<Vec<u32>>,
    present: Option<Vec<Vec<u8>>>,
    types: Option<Vec<Vec<u32>>>,
    positions: Option<Vec<Vec<u32>>>,
    features: Option<Tensor>,
    region_present: Option<Tensor>,
    region_types: Option<Vec<Vec<u32>>>,
    alignment: Option<Vec<Vec<Vec<u32>>>>,
}

impl Arguments {
    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            text: BertInput {
                ids: &self.ids,
                types: self.types.as_deref(),
                positions: self.positions.as_deref(),
            },
            present: self.present.as_deref(),
            regions: self.features.as_ref().map(|features| RegionInputs {
                features,
                present: self.region_present.as_ref(),
                types: self.region_types.as_deref(),
                alignment: self.alignment.as_deref(),
            }),
        }
    }

    /// Words of each text, padding not counted.
    fn lens(&self) -> Vec<usize> {
        match &self.present {
            Some(present) => present
                .iter()
                .map(|row| row.iter().map(|&p| usize::from(p)).sum())
                .collect(),
            None => self.ids.iter().map(Vec::len).collect(),
        }
    }
}

impl Case {
    fn open(folder: &Path) -> Outcome<Self> {
        let model = VisualBert::load(&spec(folder), &Device::Cpu).map_err(|e| e.to_string())?;
        let recorded = Recorded::read(folder)?;
        Ok(Self { model, recorded })
    }

    fn run(&self, group: &str, report: &mut Report) {
        let tolerance_of = |output: &str| {
            let is_loss = output.starts_with("loss");
            if is_loss { (5e-5, 5e-5) } else { (2e-5, 2e-5) }
        };
        let compute = |output: &str| self.compute(output);
        self.recorded.check(group, report, tolerance_of, compute);
    }

    fn compute(&self, output: &str) -> Outcome<Tensor> {
        let (variant, output) = output.split_once('.').unwrap_or(("", output));
        let arguments = self.arguments(variant)?;
        let run = || -> Result<Option<Tensor>, sightline_models::Error> {
            let (last, states) = self.model.encode_with_hidden(arguments.inputs())?;
            Ok(Some(match (self.model.head(), output) {
                (_, "last_hidden_state") => last,
                (_, "embeddings") => states[0].clone(),
                (Head::Bare(pooler), "pooler_output") => pooler.forward(&last)?,
                (Head::Pretraining(head), "prediction_logits") => head.predictions(&last)?,
                (Head::Pretraining(head), "seq_relationship_logits") => head.relationship(&last)?,
                (Head::Pretraining(head), "loss" | "loss_mlm_only") => {
                    let words = self.cross_entropy("labels", &head.predictions(&last)?)?;
                    if output == "loss_mlm_only" {
                        words
                    } else {
                        let fits = head.relationship(&last)?;
                        (words + self.cross_entropy("sentence_image_labels", &fits)?)?
                    }
                }
                (Head::QuestionAnswering(head), _) => {
                    let logits = head.forward(&last, &arguments.lens())?;
                    match output {
                        "logits" => logits,
                        "log_softmax_with_labels" => log_softmax(&logits)?,
                        "loss" => self.divergence(&logits)?,
                        "answer" => logits.argmax(D::Minus1)?,
                        _ => return Ok(None),
                    }
                }
                (Head::VisualReasoning(head), "logits") => head.forward(&last)?,
                (Head::VisualReasoning(head), "loss") => {
                    self.cross_entropy("labels", &head.forward(&last)?)?
                }
                (Head::MultipleChoice(head), "logits" | "loss") => {
                    let Some(ids) = self.recorded.find("in.input_ids") else {
                        return Ok(None);
                    };
                    let shape = &ids.dims()[..ids.rank() - 1];
                    let logits = head.forward(&last)?.reshape(shape)?;
                    match output {
                        "logits" => logits,
                        _ => self.cross_entropy("labels", &logits)?,
                    }
                }
                (Head::RegionToPhrase(head), _) => {
                    let (Some(positions), Some(present)) = (
                        self.recorded.find("in.region_to_phrase_position"),
                        &arguments.region_present,
                    ) else {
                        return Ok(None);
                    };
                    let positions: Vec<Vec<u32>> = positions
                        .to_vec2::<i64>()?
                        .iter()
                        .map(|row| row.iter().map(|&p| p.max(0) as u32).collect())
                        .collect();
                    let words = arguments.ids[0].len();
                    let scores = head.scores(&last, words, &positions, present)?;
                    let valid = present.unsqueeze(1)?.broadcast_as(scores.shape())?;
                    match output {
                        "region_valid" => valid.contiguous()?,
                        "logits_where_region_valid" => {
                            valid.ne(0f32)?.where_cond(&scores, &scores.zeros_like()?)?
                        }
                        "loss" => self.divergence(&scores)?,
                        _ => return Ok(None),
                    }
                }
                _ => {
                    let state = output.strip_prefix("hidden_").and_then(|i| i.parse().ok());
                    return Ok(state.and_then(|i: usize| states.get(i).cloned()));
                }
            }))
        };
        match run() {
            Ok(Some(tensor)) => Ok(tensor),
            Ok(None) => Err(unknown()),
            Err(e) => Err(e.to_string()),
        }
    }

    /// The arguments that the variant of a call was given.
    fn arguments(&self, variant: &str) -> Outcome<Arguments> {
        let integers = |name: &str| self.integers(name);
        let defaults = Arguments {
            ids: integers("input_ids")?.ok_or("no ids")?,
            features: self.value("visual_embeds", 2)?,
            ..Arguments::default()
        };
        if variant == "defaults" {
            return Ok(defaults);
        }
        let bytes = |rows: Vec<Vec<u32>>| -> Vec<Vec<u8>> {
            let row = |row: Vec<u32>| row.into_iter().map(|p| u8::from(p != 0)).collect();
            rows.into_iter().map(row).collect()
        };
        let mut all = Arguments {
            present: integers("attention_mask")?.map(bytes),
            types: integers("token_type_ids")?,
            region_present: self.value("visual_attention_mask", 1)?,
            region_types: integers("visual_token_type_ids")?,
            ..defaults
        };
        match variant {
            "" => {}
            "text_only" => all.features = None,
            "positions" => all.positions = integers("position_ids")?,
            "alignment" => all.alignment = Some(self.alignment("image_text_alignment")?),
            "alignment_long" => {
                all.alignment = Some(self.alignment("image_text_alignment_long")?);
            }
            _ => return Err(format!("the variant `{variant}` is unknown to this test")),
        }
        Ok(all)
    }

    /// An input with all dimensions before its last `kept` taken as one.
    fn value(&self, name: &str, kept: usize) -> Outcome<Option<Tensor>> {
        let Some(tensor) = self.recorded.find(&format!("in.{name}")) else {
            return Ok(None);
        };
        let leading = tensor.rank().saturating_sub(kept + 1);
        let flat = tensor.flatten(0, leading).map_err(|e| e.to_string())?;
        Ok(Some(flat))
    }

    fn integers(&self, name: &str) -> Outcome<Option<Vec<Vec<u32>>>> {
        let Some(tensor) = self.value(name, 1)? else {
            return Ok(None);
        };
        let rows = tensor.to_vec2::<i64>().map_err(|e| e.to_string())?;
        let row = |row: Vec<i64>| row.into_iter().map(|id| id as u32).collect();
        Ok(Some(rows.into_iter().map(row).collect()))
    }

    fn alignment(&self, name: &str) -> Outcome<Vec<Vec<Vec<u32>>>> {
        let tensor = self.value(name, 2)?.ok_or(format!("no {name}"))?;
        let all = tensor.to_vec3::<i64>().map_err(|e| e.to_string())?;
        let words = |words: Vec<i64>| words.into_iter().filter_map(|p| p.try_into().ok());
        let image = |regions: Vec<Vec<i64>>| {
            let regions = regions.into_iter();
            regions.map(|region| words(region).collect()).collect()
        };
        Ok(all.into_iter().map(image).collect())
    }

    fn labels(&self, name: &str) -> candle_core::Result<Tensor> {
        let labels = self.recorded.tensor(&format!("in.{name}"));
        labels.map_err(candle_core::Error::msg)
    }

    /// Mean cross entropy of `logits` `[.., C]` at the labels that are not -100.
    fn cross_entropy(&self, labels: &str, logits: &Tensor) -> candle_core::Result<Tensor> {
        let labels = self.labels(labels)?.flatten_all()?.to_vec1::<i64>()?;
        let rows = log_softmax(logits)?.reshape((labels.len(), ()))?;
        let rows = rows.to_vec2::<f32>()?;
        let counted: Vec<f64> = labels
            .iter()
            .zip(rows)
            .filter_map(|(&label, row)| Some(f64::from(-row[usize::try_from(label).ok()?])))
            .collect();
        let mean = counted.iter().sum::<f64>() / counted.len() as f64;
        Tensor::new(mean as f32, logits.device())
    }

    /// Kullback-Leibler divergence of the shares in `in.labels` from softmax of `logits`, per item.
    fn divergence(&self, logits: &Tensor) -> candle_core::Result<Tensor> {
        let labels = self.labels("labels")?;
        let items = labels.dim(0)? as f64;
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let (labels, logs) = (flat(&labels)?, flat(&log_softmax(logits)?)?);
        let terms = labels.iter().zip(logs).filter(|(share, _)| **share > 0.0);
        let sum: f64 = terms
            .map(|(&share, log)| f64::from(share) * (f64::from(share).ln() - f64::from(log)))
            .sum();
        Tensor::new((sum / items) as f32, logits.device())
    }
}

fn log_softmax(logits: &Tensor) -> candle_core::Result<Tensor> {
    let logits = logits.to_dtype(DType::F32)?;
    logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)
}
