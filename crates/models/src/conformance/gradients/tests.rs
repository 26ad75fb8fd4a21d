//! The kit on every objective in the registry, on configurations of a few thousand parameters.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::objective::{
    DocumentPart, Need, ObjectiveSpec, RegionTarget, Reward, TRAINABLE, TrainingExample, find,
    start,
};
use crate::{ModelSpec, TokenizerChoice, VisualSpec};

/// An objective, where its configuration comes from, and what is special about it.
struct Case {
    family: &'static str,
    objective: &'static str,
    options: Value,
    folder: TempDir,
    /// Height and width of images, where the model takes any.
    side: Option<usize>,
    zeros: Vec<Zero>,
    jumps: bool,
    /// What stands in place of initial values.
    change: fn(&mut Tensors),
    tokenizer: TokenizerChoice,
}

fn fixture(name: &str) -> PathBuf {
    fs::canonicalize(Path::new("../../tests/fixtures/models").join(name)).unwrap()
}

/// The object in a fixture's file.
fn read(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

impl Case {
    /// Of a folder with the files of these names.
    fn new(family: &'static str, objective: &'static str, files: &[(&str, Value)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            fs::write(folder.path().join(name), value.to_string()).unwrap();
        }
        Self {
            family,
            objective,
            options: json!({}),
            folder,
            side: None,
            zeros: KEY_BIASES.to_vec(),
            jumps: false,
            change: |_| {},
            tokenizer: TokenizerChoice::WordHash,
        }
    }

    fn options(self, options: Value) -> Self {
        Self { options, ..self }
    }

    fn side(self, side: usize) -> Self {
        let side = Some(side);
        Self { side, ..self }
    }

    fn zero(mut self, ending: &'static str, why: &'static str) -> Self {
        self.zeros.push(Zero { ending, why });
        self
    }

    fn jumps(self) -> Self {
        let jumps = true;
        Self { jumps, ..self }
    }

    fn change(self, change: fn(&mut Tensors)) -> Self {
        Self { change, ..self }
    }

    fn run(&self) -> Vec<String> {
        let device = Device::Cpu;
        let model = ModelSpec {
            checkpoint: Some(self.folder.path().to_owned()),
            tokenizer: self.tokenizer,
            ..ModelSpec::without_checkpoint(Seed(0))
        };
        let reward: Arc<dyn Reward> = Arc::new(Variety);
        let spec = ObjectiveSpec {
            model: &model,
            options: &self.options,
            device: &device,
            reward: Some(&reward),
            keep: None,
        };
        let entry = find(self.family, self.objective).unwrap();
        let objective = (entry.open)(&spec).unwrap();
        assert_eq!(objective.name(), entry.name);
        let begun = start(objective.as_ref(), Vec::new(), Seed(11), &device).unwrap();
        assert_eq!(begun.fresh.len(), begun.tensors.len());
        let mut tensors = begun.tensors;
        for (name, tensor) in &mut tensors {
            if objective.is_trained(name) && tensor.rank() < 2 {
                *tensor = shifted(tensor, name);
            }
        }
        (self.change)(&mut tensors);
        let batch = batch(objective.as_ref(), self.side, &device);
        let special = Special {
            zeros: &self.zeros,
            jumps: self.jumps,
        };
        check(objective.as_ref(), &tensors, &batch, special, &device).unwrap()
    }
}

/// As they begin, biases are 0, and what is 0 before a ReLU is where it bends.
fn shifted(tensor: &Tensor, name: &str) -> Tensor {
    let noise = random(tensor.elem_count(), Seed(13).child(name, 0));
    let noise = Tensor::from_vec(noise, tensor.shape(), tensor.device()).unwrap();
    (tensor + (noise * 0.1).unwrap()).unwrap()
}

/// Likes captions with many different words.
struct Variety;

impl Reward for Variety {
    fn score(&self, candidates: &[String], references: &[&[String]]) -> Result<Vec<f64>> {
        assert_eq!(candidates.len(), references.len());
        let variety = |text: &String| {
            let words: BTreeSet<&str> = text.split_whitespace().collect();
            words.len() as f64 + text.len() as f64 / 10.0
        };
        Ok(candidates.iter().map(variety).collect())
    }
}

/// Three examples of everything that an objective may need.
fn batch(objective: &dyn Objective, side: Option<usize>, device: &Device) -> TrainingBatch {
    const CAPTIONS: [[&str; 2]; 3] = [
        ["a red square", "one small red square here"],
        ["two blue circles beside each other", "circles"],
        ["a green triangle above a star", "a star below something"],
    ];
    let pairs = objective.needs().contains(&Need::Label);
    let images = if pairs { 6 } else { 3 };
    let mut width = 0;
    let visual = match objective.input() {
        Some(VisualSpec::Encoded) | None => None,
        Some(VisualSpec::Pixels(spec)) => {
            let side = side.unwrap_or(spec.size.height as usize);
            let pixels = wave(&[images, 3, side, side], device).unwrap();
            Some(Visual::Pixels(pixels))
        }
        Some(VisualSpec::Regions { width: of, .. }) => {
            width = *of;
            Some(regions(images, 3, width, device).unwrap())
        }
    };
    let example = |i: usize| TrainingExample {
        id: format!("example-{i}"),
        images: if pairs { vec![i, i + 3] } else { vec![i] },
        captions: CAPTIONS[i].map(str::to_owned).to_vec(),
        document: if i == 2 {
            Vec::new()
        } else {
            vec![
                DocumentPart::Text("before any image".to_owned()),
                DocumentPart::Image(i),
                DocumentPart::Text(CAPTIONS[i][0].to_owned()),
                DocumentPart::Image(2),
                DocumentPart::Text(CAPTIONS[2][1].to_owned()),
            ]
        },
        question: Some(format!("what is there in place {i}")),
        answers: vec![
            ("LABEL_1".to_owned(), 1.0),
            (format!("LABEL_{}", 2 * i), 0.6),
        ],
        label: Some(format!("LABEL_{}", i % 2)),
        regions: (0..2)
            .map(|region| RegionTarget {
                class: match i + region {
                    0 => Some("cat".to_owned()),
                    1 => Some("dog".to_owned()),
                    2 => Some("owl".to_owned()),
                    _ => None,
                },
                edges: [4.0, 6.0, 20.0, 30.0 + i as f32],
                object: (region == 0).then_some([5.0, 4.0, 25.0, 28.0]),
            })
            .collect(),
    };
    TrainingBatch {
        teacher: (width > 0).then(|| wave(&[images, 3, 16], device).unwrap()),
        visual,
        examples: (0..3).map(example).collect(),
    }
}

/// A language model of each kind that is read.
fn languages() -> Vec<Value> {
    let tokens = json!({ "vocab_size": 31, "bos_token_id": 29, "eos_token_id": 30 });
    [
        json!({ "model_type": "gpt2", "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2 }),
        json!({ "model_type": "gptj", "n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2,
            "rotary_dim": 4 }),
        json!({ "model_type": "gpt_neox", "max_position_embeddings": 32, "hidden_size": 16,
            "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "hidden_act": "gelu", "rotary_pct": 0.5 }),
        json!({ "model_type": "mpt", "d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 32,
            "expansion_ratio": 2, "no_bias": true, "attn_config": { "alibi": true } }),
        json!({ "model_type": "opt", "max_position_embeddings": 32, "hidden_size": 16,
            "word_embed_proj_dim": 8, "ffn_dim": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "activation_function": "relu",
            "do_layer_norm_before": false }),
    ]
    .map(|mut config| {
        let all = config.as_object_mut().unwrap();
        all.extend(tokens.as_object().unwrap().clone());
        config
    })
    .into()
}

/// `config` with other values.
fn with(mut config: Value, values: Value) -> Value {
    let Value::Object(values) = values else {
        panic!("an object");
    };
    config.as_object_mut().unwrap().extend(values);
    config
}

fn contrastive() -> Vec<Case> {
    let hugging_face = read("clip/hf_quickgelu_eos2/config.json");
    let open_clip = read("clip/openclip_vit_quickgelu_bin/open_clip_config.json");
    let mut resnet = open_clip.clone();
    let vision = &mut resnet["model_cfg"]["vision_cfg"];
    *vision = json!({ "image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": null });
    resnet["preprocess_cfg"]["size"] = json!(64);
    let align = [
        ("config.json", read("align/small_3stage/config.json")),
        (
            "preprocessor_config.json",
            read("align/small_3stage/preprocessor_config.json"),
        ),
    ];
    let new = |files: &[(&str, Value)]| Case::new("clip", "contrastive", files);
    vec![
        new(&[("config.json", hugging_face.clone())]),
        new(&[("config.json", hugging_face)]).options(json!({ "frozen": "image" })),
        new(&[("open_clip_config.json", open_clip)]),
        new(&[("open_clip_config.json", resnet)]),
        Case::new("align", "contrastive", &align),
    ]
}

fn simvlm() -> Vec<Case> {
    let small = json!({ "image_size": 32, "n_enc": 1, "n_dec": 1, "d_model": 16, "d_ff": 24,
        "n_heads": 2, "stem_depths": [1, 1, 1], "stem_width": 4 });
    let apart = with(read("simvlm/encoder-decoder/config.json"), small.clone());
    let joined = with(read("simvlm/decoder-only/config.json"), small);
    let patches = with(
        apart.clone(),
        json!({ "stem": "patch", "tie_embeddings": false }),
    );
    let new = |objective, config: Value| Case::new("simvlm", objective, &[("config.json", config)]);
    vec![
        new("prefix-lm", apart.clone()),
        new("prefix-lm", with(joined, json!({ "n_dec": 2 }))).zero(
            "decoder.1.attn.rel_bias",
            "nobody sees what cells find in the last layer",
        ),
        new("prefix-lm", patches).options(json!({ "prefix": { "fixed": 2 } })),
        new("answers", apart.clone()),
        new("answers", apart).options(json!({ "head_only": true })),
    ]
}

fn frozen() -> Vec<Case> {
    // Standardised weights of two inputs would be signs.
    let small = json!({ "channels": [24, 24, 24, 24], "depths": [1, 2, 1, 1], "stem": 8,
        "image_size": 64 });
    let grid = with(read("frozen/grid-linear/config.json"), small);
    let features = read("frozen/clipcap-mlp/config.json");
    let new = |config: Value| Case::new("frozen", "captioning", &[("config.json", config)]);
    let relative = |name: &str| new(read(&format!("frozen/{name}/config.json")));
    vec![
        new(grid.clone()),
        new(grid).options(json!({ "language": "finetuned" })),
        new(features),
        relative("clipcap-transformer"),
        relative("limber"),
        relative("limber").options(json!({ "encoder": "frozen" })),
        relative("magma"),
        relative("magma").options(json!({ "language": "finetuned", "encoder": "frozen" })),
    ]
}

fn virtex() -> Vec<Case> {
    let config = read("virtex/r18_captioning_prenorm/config.json");
    let small = json!({
        "textual": { "name": "transdec_postnorm::L1_H16_A2_F24" },
        "visual": { "block": "BasicBlock", "layers": [1, 1, 1, 1], "stem_channels": 4 },
    });
    let of = |task: &'static str, written: &str| {
        let config = with(
            with(config.clone(), small.clone()),
            json!({ "task": written }),
        );
        Case::new("virtex", task, &[("config.json", config)]).side(64)
    };
    vec![
        of("bicaptioning", "bicaptioning"),
        of("captioning", "captioning"),
        of("masked-lm", "masked_lm"),
    ]
}

fn visualgpt() -> Vec<Case> {
    let small = json!({ "d_model": 16, "n_heads": 2, "enc_ff": 24, "n_layer": 1, "feature_dim": 8,
        "max_detections": 3, "beam_size": 2, "max_len": 4 });
    let config = with(read("visualgpt/tau02/config.json"), small);
    let new = |objective| Case::new("visualgpt", objective, &[("config.json", config.clone())]);
    vec![
        new("cross-entropy").jumps(),
        new("cross-entropy").options(json!({ "tau": 0.0 })),
        new("self-critical").options(json!({ "tau": 0.0 })),
    ]
}

fn visualbert() -> Vec<Case> {
    let small = json!({ "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24,
        "num_hidden_layers": 1 });
    let of = |objective, fixture: &str| {
        let config = with(
            read(&format!("visualbert/{fixture}/config.json")),
            small.clone(),
        );
        Case::new("visualbert", objective, &[("config.json", config)])
    };
    vec![
        of("pretraining", "pretraining"),
        of("answers", "vqa"),
        of("reasoning", "nlvr2"),
    ]
}

fn flamingo() -> Vec<Case> {
    let small = json!({
        "perceiver": { "depth": 1, "dim_head": 8, "ff_mult": 2, "heads": 2, "num_latents": 3 },
        "gated": { "dim_head": 8, "ff_mult": 2, "heads": 2 },
    });
    let config = with(read("flamingo/mpt/config.json"), small);
    // As they begin, gates let nothing through, and so no gradient either.
    let open = |tensors: &mut Tensors| {
        for (name, tensor) in tensors {
            if name.ends_with("_gate") {
                *tensor = (tensor.ones_like().unwrap() * 0.4).unwrap();
            }
        }
    };
    let new = |objective| {
        Case::new("flamingo", objective, &[("config.json", config.clone())]).change(open)
    };
    vec![new("interleaved"), new("captioning")]
}

fn language() -> Vec<Case> {
    let alone = |objective| {
        move |config: Value| Case::new("language", objective, &[("config.json", config)])
    };
    let mut cases: Vec<Case> = languages().into_iter().map(alone("next-token")).collect();
    cases.extend(languages().into_iter().take(1).map(|config| {
        alone("next-token")(config).options(json!({ "start": false, "vectors": 3 }))
    }));
    cases.extend(
        languages()
            .into_iter()
            .take(2)
            .map(alone("token-contrastive")),
    );

    let magic = Case::new(
        "magic",
        "token-contrastive",
        &[
            ("config.json", read("magic/tiny/config.json")),
            ("lm_config.json", read("magic/tiny/lm_config.json")),
        ],
    );
    let vocabulary = magic.folder.path().join("lm_tokenizer");
    fs::create_dir(&vocabulary).unwrap();
    for entry in fs::read_dir(fixture("magic/tiny/lm_tokenizer")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, vocabulary.join(path.file_name().unwrap())).unwrap();
    }
    cases.push(magic);
    cases
}

fn vild() -> Vec<Case> {
    let of = |ensemble: bool| {
        let clip = fixture("clip/hf_gelu_eosid_bin");
        let config = with(
            read("vild/ensemble/config.json"),
            json!({ "ensemble": ensemble, "clip": clip.to_str(), "channels": 2,
                "head_channels": 2, "head_convs": 1 }),
        );
        let options = json!({ "base": ["cat", "dog"], "novel": ["owl"] });
        Case::new("vild", "distillation", &[("config.json", config)]).options(options)
    };
    vec![of(true), of(false)]
}

fn hold(cases: Vec<Case>) {
    for case in cases {
        let broken = case.run();
        let Case {
            family,
            objective,
            options,
            ..
        } = case;
        assert!(
            broken.is_empty(),
            "{family} {objective} {options}: {broken:#?}"
        );
    }
}

fn every() -> Vec<Vec<Case>> {
    vec![
        contrastive(),
        simvlm(),
        frozen(),
        virtex(),
        visualgpt(),
        visualbert(),
        flamingo(),
        language(),
        vild(),
    ]
}

#[test]
fn contrastive_gradients_hold() {
    hold(contrastive());
}

#[test]
fn simvlm_gradients_hold() {
    hold(simvlm());
}

#[test]
fn frozen_gradients_hold() {
    hold(frozen());
}

#[test]
fn virtex_gradients_hold() {
    hold(virtex());
}

#[test]
fn visualgpt_gradients_hold() {
    hold(visualgpt());
}

#[test]
fn visualbert_gradients_hold() {
    hold(visualbert());
}

#[test]
fn flamingo_gradients_hold() {
    hold(flamingo());
}

#[test]
fn language_gradients_hold() {
    hold(language());
}

#[test]
fn vild_gradients_hold() {
    hold(vild());
}

#[test]
fn every_objective_of_the_registry_has_a_case() {
    let cases = every();
    let cases = cases.iter().flatten();
    let tested: BTreeSet<(&str, &str)> = cases.map(|case| (case.family, case.objective)).collect();
    let registered = TRAINABLE.iter().flat_map(|entry| {
        let names = entry.objectives.iter();
        names.map(|objective| (entry.family, objective.name))
    });
    assert_eq!(tested, registered.collect());
}

#[test]
fn names_are_sorted_and_unknown_ones_answer_with_the_nearest() {
    assert!(TRAINABLE.is_sorted_by(|a, b| a.family < b.family));
    let told = |family, name| find(family, name).unwrap_err().to_string();
    assert_eq!(
        told("asif", "contrastive"),
        "unknown family that can be trained `asif`"
    );
    assert_eq!(
        told("simvlm", "prefixlm"),
        "unknown objective of this family `prefixlm`"
    );
}

/// Breaks the rules of the kit: `cut` gets no gradient, and the first example counts more than the rest.
struct Broken;

impl Objective for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn needs(&self) -> &[Need] {
        &[]
    }

    fn input(&self) -> Option<&VisualSpec> {
        None
    }

    fn check_text(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn settings(&self) -> Value {
        json!({})
    }

    fn stored(&self, _: &Device) -> Result<Vec<crate::objective::Given>> {
        Ok(Vec::new())
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        weights.tensor("whole", &[3])?;
        weights.tensor("halved", &[3])?;
        weights.tensor("cut", &[3])?;
        Ok(())
    }

    fn loss(
        &self,
        weights: &Weights,
        batch: &TrainingBatch,
        _: Seed,
    ) -> Result<crate::objective::Loss> {
        let whole = weights.tensor("whole", &[3])?;
        let halved = weights.tensor("halved", &[3])?;
        let cut = weights.tensor("cut", &[3])?;
        // Half of it without a gradient.
        let halved = ((&halved * 0.5)? + (halved.detach() * 0.5)?)?;
        let sum = ((whole + halved)? + cut.detach())?;
        let first = batch.examples[0].id.len() as f64;
        let total = ((sum + 2.0)?.sqr()?.sum_all()? + first)?;
        Ok(crate::objective::Loss::of("broken", total, 1))
    }
}

#[test]
fn the_kit_notices_what_is_broken() {
    let device = Device::Cpu;
    let tensors = start(&Broken, Vec::new(), Seed(3), &device)
        .unwrap()
        .tensors;
    let example = |id: &str| TrainingExample {
        id: id.to_owned(),
        ..TrainingExample::default()
    };
    let batch = TrainingBatch {
        examples: vec![example("one"), example("three")],
        ..TrainingBatch::default()
    };
    let broken = check(&Broken, &tensors, &batch, Special::default(), &device).unwrap();
    let told = |start: &str| {
        broken
            .iter()
            .filter(|claim| claim.starts_with(start))
            .count()
    };
    assert_eq!(
        told("`cut` is trained and has no gradient"),
        1,
        "{broken:#?}"
    );
    assert_eq!(told("`halved` changes the value by"), 1, "{broken:#?}");
    assert_eq!(told("`whole`"), 0, "{broken:#?}");
    assert!(
        broken.last().unwrap().ends_with("in another order"),
        "{broken:#?}"
    );
    assert_eq!(broken.len(), 3, "{broken:#?}");
}
