//! Runs one workload of `just bench-peers models`: warm-up passes and timed passes over batches, or the outputs of one.
//!
//! ```sh
//! RAYON_NUM_THREADS=1 cargo run --release -p sightline-bench --bin sightline-bench-models -- \
//!     clip-image CHECKPOINT inputs.safetensors 1,8,32 [--warmups 1] [--seconds 2] [--weights bf16] [--device cuda:0] [--out FILE]
//! ```
//!
//! Prints one JSON object: the seconds of loading, those of every pass of each batch (wall, and CPU over all threads),
//! and the peak of the resident memory. `benchmarks/peers/models/reference.py` does the same with torch.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use mimalloc::MiMalloc;
use serde_json::{Value, json};
use sightline_core::Seed;
use sightline_models::families::asif::{Anchors, Side};
use sightline_models::families::clip::Clip;
use sightline_models::families::flamingo::{Flamingo, Tokens};
use sightline_models::families::magic::Magic;
use sightline_models::families::virtex::{Parts, Start, VirTex};
use sightline_models::families::visualbert::{AnswerHead, Head, Inputs, RegionInputs, VisualBert};
use sightline_models::{DeviceName, Embed, LanguageModel, ModelSpec, Precision, TokenizerChoice};
use sightline_nn::causal::{CausalNetwork, Next};
use sightline_nn::decode::{self, ContrastiveSpec, Greedy};
use sightline_nn::tower::BertInput;
use sightline_nn::unit_length;

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Passes over a batch, at least and at most.
const PASSES: (usize, usize) = (1, 20);

/// Tokens of a text of GPT-2 and Pythia, of Flamingo, and of MAGIC's published search.
const TOKENS: (usize, usize, usize) = (64, 20, 15);

/// Anchors of ASIF that a query is told by.
const NEAREST: usize = 800;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Takes the first so many inputs, and gives the output.
type Run = Box<dyn Fn(usize) -> Outcome<Tensor>>;

type Tensors = HashMap<String, Tensor>;

struct Arguments {
    workload: String,
    checkpoint: PathBuf,
    inputs: PathBuf,
    batches: Vec<usize>,
    warmups: usize,
    seconds: f64,
    weights: Precision,
    device: DeviceName,
    out: Option<PathBuf>,
}

fn main() -> Outcome<()> {
    let arguments = arguments()?;
    let device = arguments.device.open()?;
    let inputs = candle_core::safetensors::load(&arguments.inputs, &device)?;
    let start = Instant::now();
    let run = workload(&arguments, &inputs, &device)?;
    let load_s = start.elapsed().as_secs_f64();
    // What the workload does not read is no part of its memory.
    drop(inputs);
    if let Some(out) = &arguments.out {
        let batch = *arguments.batches.first().ok_or("no batch")?;
        let output = run(batch)?.contiguous()?;
        candle_core::safetensors::save(&HashMap::from([("output", output)]), out)?;
        return Ok(());
    }
    let mut batches = serde_json::Map::new();
    for &batch in &arguments.batches {
        batches.insert(batch.to_string(), passes(&run, batch, &arguments, &device)?);
    }
    let told = json!({
        "schema": 1,
        "load_s": load_s,
        "batches": batches,
        "peak_bytes": memory_bytes("VmHWM:")?,
    });
    println!("{told}");
    Ok(())
}

fn arguments() -> Outcome<Arguments> {
    let mut words = std::env::args().skip(1);
    let mut next = |what: &'static str| words.next().ok_or(what);
    let mut arguments = Arguments {
        workload: next("a workload is needed")?,
        checkpoint: next("a checkpoint is needed")?.into(),
        inputs: next("a file of inputs is needed")?.into(),
        batches: next("batch sizes are needed")?
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()?,
        warmups: 1,
        seconds: 2.0,
        weights: Precision::F32,
        device: DeviceName::Cpu,
        out: None,
    };
    while let Some(flag) = words.next() {
        let value = words.next().ok_or("a flag has no value")?;
        match flag.as_str() {
            "--warmups" => arguments.warmups = value.parse()?,
            "--seconds" => arguments.seconds = value.parse()?,
            "--weights" => arguments.weights = serde_json::from_value(value.into())?,
            "--device" => arguments.device = value.parse()?,
            "--out" => arguments.out = Some(value.into()),
            _ => return Err(format!("unknown flag `{flag}`").into()),
        }
    }
    Ok(arguments)
}

fn workload(arguments: &Arguments, inputs: &Tensors, device: &Device) -> Outcome<Run> {
    let spec = ModelSpec {
        checkpoint: Some(arguments.checkpoint.clone()),
        tokenizer: TokenizerChoice::WordHash,
        seed: Seed(0),
        precision: arguments.weights,
    };
    let virtex = || VirTex::load(&spec, Parts::Captions, device);
    Ok(match arguments.workload.as_str() {
        "clip-image" => {
            let clip = Clip::load(&spec, device)?;
            let pixels = input(inputs, "pixels")?;
            Box::new(move |batch| Ok(clip.embed_images(&pixels.narrow(0, 0, batch)?)?))
        }
        "clip-text" => {
            let clip = Clip::load(&spec, device)?;
            let ids = ids(&input(inputs, "clip_ids")?)?;
            Box::new(move |batch| Ok(unit_length(&clip.text_features(&ids[..batch], None)?)?))
        }
        "visualbert" => {
            let model = VisualBert::load(&spec, device)?;
            let ids = ids(&input(inputs, "bert_ids")?)?;
            let regions = input(inputs, "regions")?;
            Box::new(move |batch| answers(&model, &ids[..batch], &regions.narrow(0, 0, batch)?))
        }
        "r50" => {
            let model = virtex()?;
            let pixels = input(inputs, "pixels")?;
            Box::new(move |batch| Ok(model.visual().forward(&pixels.narrow(0, 0, batch)?)?))
        }
        "captions" => {
            let model = virtex()?;
            let pixels = input(inputs, "pixels")?;
            Box::new(move |batch| captions(&model, &pixels.narrow(0, 0, batch)?))
        }
        "gpt2" | "pythia" => {
            let (folder, precision) = (&arguments.checkpoint, arguments.weights);
            let config = folder.join("config.json");
            let model = LanguageModel::open_in(&config, folder, precision, device)?;
            let prompts = ids(&input(inputs, "prompts")?)?;
            Box::new(move |batch| texts(&model, &prompts[..batch]))
        }
        "flamingo" => {
            let model = Flamingo::load(&spec, device)?;
            let pixels = input(inputs, "small_pixels")?;
            let prompts = ids(&input(inputs, "small_prompts")?)?;
            Box::new(move |batch| shown(&model, &pixels.narrow(0, 0, batch)?, &prompts[..batch]))
        }
        "magic" => {
            let model = Magic::load(&spec, device)?;
            let pixels = input(inputs, "pixels")?;
            Box::new(move |batch| searched(&model, &pixels.narrow(0, 0, batch)?))
        }
        "asif" | "asif-int8" => {
            let anchors = Anchors::open(&arguments.checkpoint)?;
            let queries = input(inputs, "queries")?;
            Box::new(move |batch| nearest(&anchors, &queries.narrow(0, 0, batch)?))
        }
        other => return Err(format!("unknown workload `{other}`").into()),
    })
}

/// Ids behind prompts of one length, greedily; none ends.
fn texts(model: &LanguageModel, prompts: &[Vec<u32>]) -> Outcome<Tensor> {
    let network = model.transformer();
    let embeds = network.embed(prompts)?;
    let (mut reading, hidden) = CausalNetwork::read(network, Next::new(&embeds))?;
    let last = hidden.narrow(1, hidden.dim(1)? - 1, 1)?.squeeze(1)?;
    let searches = vec![Greedy::new(&[], TOKENS.0); prompts.len()];
    let found = decode::run(&mut reading, &network.logits(&last)?, searches)?;
    rows(found.into_iter().map(|mut found| found.swap_remove(0).ids))
}

/// Ids behind an image each and words, greedily; what stands behind the end is filled up with it.
fn shown(model: &Flamingo, pixels: &Tensor, prompts: &[Vec<u32>]) -> Outcome<Tensor> {
    let marks = model.marks();
    let cells = model.image_tokens(pixels)?.unsqueeze(1)?;
    let latents = model.resample(&cells, &vec![0; prompts.len()])?;
    let ids: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| [&[marks.image], prompt.as_slice()].concat())
        .collect();
    let images: Vec<Vec<u32>> = (0..prompts.len() as u32).map(|row| vec![row]).collect();
    let tokens = Tokens {
        ids: &ids,
        images: &images,
        latents: &latents,
    };
    let searches = vec![Greedy::new(&[marks.end], TOKENS.1); prompts.len()];
    let found = model.search(tokens, searches)?;
    rows(found.into_iter().map(|mut found| {
        let mut ids = found.swap_remove(0).ids;
        ids.resize(TOKENS.1, marks.end);
        ids
    }))
}

/// Ids of MAGIC's search with its published values for COCO, one image after the other.
fn searched(model: &Magic, pixels: &Tensor) -> Outcome<Tensor> {
    let config = model.config();
    let spec = ContrastiveSpec {
        candidates: config.k,
        penalty: config.alpha,
        judgement: config.beta,
        ends: Vec::new(),
        limit: TOKENS.2,
    };
    let images = model.clip().embed_images(pixels)?;
    let mut found = Vec::new();
    for row in 0..images.dim(0)? {
        let image = images.get(row)?;
        let text = model.search(&[config.sos_id], Some(&image), &spec)?;
        found.push(text.hypothesis.ids);
    }
    rows(found.into_iter())
}

/// Numbers of the nearest anchors, ascending: of cosines that differ by rounding the order is nobody's.
fn nearest(anchors: &Anchors, queries: &Tensor) -> Outcome<Tensor> {
    let found = anchors.nearest(Side::Image, queries, NEAREST)?;
    rows(found.into_iter().map(|near| {
        let mut numbers: Vec<u32> = near.iter().map(|near| near.anchor as u32).collect();
        numbers.sort_unstable();
        numbers
    }))
}

/// Rows of ids as a tensor, as torch has them.
fn rows(found: impl Iterator<Item = Vec<u32>>) -> Outcome<Tensor> {
    let wide = |ids: Vec<u32>| ids.into_iter().map(i64::from).collect();
    let found: Vec<Vec<i64>> = found.map(wide).collect();
    Ok(Tensor::new(found, &Device::Cpu)?)
}

/// Logits of answers.
fn answers(model: &VisualBert, ids: &[Vec<u32>], regions: &Tensor) -> Outcome<Tensor> {
    let present = vec![vec![1; ids.first().map_or(0, Vec::len)]; ids.len()];
    let lens: Vec<usize> = ids.iter().map(Vec::len).collect();
    let shape = (ids.len(), regions.dim(1)?);
    let regions_present = Tensor::ones(shape, DType::F32, regions.device())?;
    let inputs = Inputs {
        text: BertInput::new(ids),
        present: Some(&present),
        regions: Some(RegionInputs {
            features: regions,
            present: Some(&regions_present),
            types: None,
            alignment: None,
        }),
    };
    let places = AnswerHead::places(&lens, lens.first().copied().unwrap_or(0))?;
    match model.head() {
        Head::QuestionAnswering(head) => Ok(head.answers(&model.encode_at(inputs, &places)?)?),
        _ => Err("the model does not answer questions".into()),
    }
}

/// Ids of captions.
fn captions(model: &VirTex, pixels: &Tensor) -> Outcome<Tensor> {
    let memory = model.textual().project(&model.visual().forward(pixels)?)?;
    let config = model.config();
    let searches = vec![model.beam(5, 2, config.max_decoding_steps); pixels.dim(0)?];
    let found = model.search(&memory, searches, Start::Dropped)?;
    rows(found.into_iter().map(|mut found| found.swap_remove(0).ids))
}

fn input(inputs: &Tensors, name: &str) -> Outcome<Tensor> {
    let tensor = inputs.get(name).ok_or("an input is missing")?;
    Ok(tensor.clone())
}

fn ids(tensor: &Tensor) -> Outcome<Vec<Vec<u32>>> {
    Ok(tensor.to_dtype(DType::U32)?.to_vec2()?)
}

/// The timed passes over a batch.
fn passes(run: &Run, batch: usize, arguments: &Arguments, device: &Device) -> Outcome<Value> {
    for _ in 0..arguments.warmups {
        run(batch)?;
    }
    device.synchronize()?;
    let (mut made, mut seconds) = (Vec::new(), 0.0);
    while made.len() < PASSES.0 || (made.len() < PASSES.1 && seconds < arguments.seconds) {
        let (start, cpu) = (Instant::now(), cpu_s()?);
        run(batch)?;
        device.synchronize()?;
        let wall_s = start.elapsed().as_secs_f64();
        seconds += wall_s;
        made.push(json!({ "wall_s": wall_s, "cpu_s": cpu_s()? - cpu }));
    }
    Ok(Value::Array(made))
}

/// CPU time of all threads so far, in steps of 10 ms.
fn cpu_s() -> Outcome<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    // The name of the program, in brackets, may hold spaces; user and system time follow as fields 14 and 15.
    let (_, fields) = text.rsplit_once(')').ok_or("no name")?;
    let mut ticks = fields.split_whitespace().skip(11).take(2);
    let mut next = || Ok::<f64, Box<dyn Error>>(ticks.next().ok_or("no time")?.parse()?);
    Ok((next()? + next()?) / 100.0)
}

/// A line of the status of this process that tells memory in kB.
fn memory_bytes(line: &str) -> Outcome<u64> {
    let text = fs::read_to_string(Path::new("/proc/self/status"))?;
    let rest = text.lines().find_map(|text| text.strip_prefix(line));
    let kb = rest.and_then(|rest| rest.split_whitespace().next());
    Ok(kb.ok_or("no such line")?.parse::<u64>()? * 1024)
}
