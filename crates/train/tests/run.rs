//! Whole runs of a toy model: what is kept, what goes on, what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use sightline_core::progress::Silent;
use sightline_core::{ImageSpec, Progress, Seed};
use sightline_manifest::{TrainPlan, load_train};
use sightline_models::objective::{Given, Loss, Need, TrainingBatch};
use sightline_models::{Objective, VisualSpec};
use sightline_nn::{Linear, Weights};
use sightline_train::objective::Support;
use sightline_train::{Error, Outcome, Roots, TrainSpec, train};

/// Tells from its pixels how long a scene's caption is, by a line.
struct Toy {
    input: VisualSpec,
    /// The step, counted from 0, whose loss is no number.
    diverges: Option<u64>,
    steps: AtomicU64,
}

impl Objective for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Pixels, Need::Caption]
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.input)
    }

    fn check_text(&self, _: &str) -> sightline_models::Result<()> {
        Ok(())
    }

    fn settings(&self) -> Value {
        Value::Null
    }

    fn stored(&self, _: &Device) -> sightline_models::Result<Vec<Given>> {
        Ok(Vec::new())
    }

    fn build(&self, weights: &Weights) -> sightline_models::Result<()> {
        weights.tensor("fixed", &[3])?;
        Linear::load(&weights.scope("line"), 3 * 8 * 8, 1)?;
        Ok(())
    }

    fn is_trained(&self, tensor: &str) -> bool {
        tensor != "fixed"
    }

    fn loss(
        &self,
        weights: &Weights,
        batch: &TrainingBatch,
        seed: Seed,
    ) -> sightline_models::Result<Loss> {
        weights.tensor("fixed", &[3])?;
        let line = Linear::load(&weights.scope("line"), 3 * 8 * 8, 1)?;
        let pixels = batch.visual.as_ref().unwrap().pixels()?.flatten_from(1)?;
        let lengths: Vec<f32> = batch
            .examples
            .iter()
            .map(|example| example.captions[0].len() as f32 / 50.0)
            .collect();
        let n = lengths.len();
        let lengths = Tensor::from_vec(lengths, (n, 1), pixels.device())?;
        // A little noise that depends on the step's seed.
        let noise = seed.rng().unit() * 1e-3;
        let error = (line.forward(&pixels)? - lengths)?.affine(1.0, noise)?;
        let mut total = error.sqr()?.mean_all()?;
        if self.diverges == Some(self.steps.fetch_add(1, Ordering::Relaxed)) {
            total = total.affine(f64::NAN, 0.0)?;
        }
        Ok(Loss::of("square", total, n))
    }
}

fn plan(folder: &Path, changes: &[(&str, &str)]) -> TrainPlan {
    let mut text = r#"schema = 1
train = "toy"
family = "toy"
description = "A line."
seed = 17

[model]
config = { width = 8 }

[data]
scenes = { train = 50, val = 20, size = 32 }

[[stage]]
objective = "toy"
steps = 30
batch = 8
accumulate = 2

[stage.optimiser]
lr = 1e-2
schedule = "linear"
warmup_steps = 3
clip_grad_norm = 1.0
ema = 0.9
group = [{ tensors = ["*.bias"], weight_decay = 0.0 }]

[evaluation]
every = 7
batches = 2

[checkpoint]
every = 10
"#
    .to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let path = folder.join("toy.toml");
    fs::write(&path, text).unwrap();
    let families = BTreeMap::from([("toy".to_owned(), vec!["toy".to_owned()])]);
    load_train(&path, &families, &["webdataset".to_owned()]).unwrap()
}

fn run(
    folder: &Path,
    plan: &TrainPlan,
    out: &str,
    diverges: Option<u64>,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let roots = Roots {
        data: folder.to_owned(),
        manifest: folder.to_owned(),
    };
    let open = |_: &_, home: &Path, _: Support<'_>| -> Result<Box<dyn Objective>, Error> {
        assert!(home.join("config.json").is_file());
        let image = json!({ "size": 8, "crop_size": 8 });
        Ok(Box::new(Toy {
            input: VisualSpec::Pixels(ImageSpec::from_json(&image).unwrap()),
            diverges,
            steps: AtomicU64::new(0),
        }))
    };
    let spec = TrainSpec {
        plan,
        roots: &roots,
        out: &folder.join(out),
        overwrite: false,
        device: &Device::Cpu,
        tool: [None, None],
        open: &open,
    };
    train(&spec, progress, stop)
}

fn complete(folder: &Path, plan: &TrainPlan, out: &str) -> Outcome {
    run(folder, plan, out, None, &Silent, &AtomicBool::new(false)).unwrap()
}

/// Every file that does not say how long something took, by its path without links.
fn bytes(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            match path.is_dir() {
                true => todo.push(path),
                false if name == "speed.jsonl" || name == "record.json" => {}
                false => drop(found.insert(name, fs::read(path).unwrap())),
            }
        }
    }
    found
}

/// Asks for an end after some steps.
struct StopAfter<'a> {
    samples: u64,
    seen: Mutex<u64>,
    stop: &'a AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn start(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, steps: u64) {
        let mut seen = self.seen.lock().unwrap();
        *seen += steps;
        if *seen >= self.samples {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}

#[test]
fn a_run_made_twice_or_in_pieces_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let two = [(
        "[evaluation]",
        "[[stage]]\nobjective = \"toy\"\nepochs = 1\nbatch = 10\n[stage.optimiser]\nlr = 1e-3\n[evaluation]",
    )];
    for changes in [&[][..], &two[..]] {
        let plan = plan(folder, changes);
        let out = |name: &str| format!("{name}-{}", changes.len());
        let Outcome::Complete(record) = complete(folder, &plan, &out("whole")) else {
            panic!("it was not stopped");
        };
        assert_eq!(record.steps, if changes.is_empty() { 30 } else { 35 });
        complete(folder, &plan, &out("again"));
        let whole = bytes(&folder.join(out("whole")));
        assert!(
            whole.keys().any(|name| name == "best/model.safetensors"),
            "{:?}",
            whole.keys()
        );
        assert_eq!(whole, bytes(&folder.join(out("again"))));

        let mut pieces = 0;
        loop {
            let stop = AtomicBool::new(false);
            let progress = StopAfter {
                samples: 8 * 4,
                seen: Mutex::new(0),
                stop: &stop,
            };
            // What a resumed run has done counts as seen.
            let outcome = run(folder, &plan, &out("pieces"), None, &progress, &stop);
            pieces += 1;
            assert!(pieces < 40);
            if matches!(outcome.unwrap(), Outcome::Complete(_)) {
                break;
            }
        }
        assert!(pieces > 10, "{pieces}");
        assert_eq!(whole, bytes(&folder.join(out("pieces"))));
        // A run that is done has nothing to do.
        complete(folder, &plan, &out("pieces"));
        assert_eq!(whole, bytes(&folder.join(out("pieces"))));
    }
}

#[test]
fn numbers_that_are_none_end_the_run_and_the_last_good_checkpoint_stays() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(
        folder.path(),
        &[("accumulate = 2\n", ""), ("every = 7", "every = 100")],
    );
    let no = AtomicBool::new(false);
    // Step 10 of 30 is kept; the loss of step 13 is none.
    let error = run(folder.path(), &plan, "out", Some(12), &Silent, &no).unwrap_err();
    assert_eq!(
        error.to_string(),
        "step 13: the loss is not finite; the last good checkpoint is that of step 10"
    );
    assert!(error.is_no());
    assert!(folder.path().join("out/last/model.safetensors").is_file());
}

#[test]
fn what_does_not_fit_is_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = plan(folder, &[]);
    complete(folder, &good, "out");
    let no = AtomicBool::new(false);
    let refused = |plan: &TrainPlan, out: &str| {
        let error = run(folder, plan, out, None, &Silent, &no).unwrap_err();
        error.to_string()
    };

    let changed = plan(
        folder,
        &[("lr = 1e-2", "lr = 2e-2"), ("val = 20", "val = 21")],
    );
    let error = refused(&changed, "out");
    for part in [
        "`stage[0].optimiser.lr`: 0.01 → 0.02",
        "`data.source.scenes.val`: 20 → 21",
        "`data.validation`",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let described = plan(folder, &[("A line.", "The same line.")]);
    complete(folder, &described, "out");

    let idle = plan(folder, &[("*.bias", "*.bais")]);
    assert_eq!(
        refused(&idle, "idle"),
        "group `*.bais` matches no tensor of the model"
    );
    let frozen = plan(
        folder,
        &[(
            "group = [{ tensors = [\"*.bias\"], weight_decay = 0.0 }]",
            "group = [{ tensors = [\"*\"], frozen = true }]",
        )],
    );
    assert_eq!(
        refused(&frozen, "frozen"),
        "stage 1 trains nothing: every tensor is frozen"
    );
    fs::create_dir(folder.join("other")).unwrap();
    fs::write(folder.join("other/thesis.txt"), "mine").unwrap();
    assert!(refused(&good, "other").contains("holds no training run"));
    let start = plan(folder, &[("config = {", "start = \"small\"\nconfig = {")]);
    fs::create_dir(folder.join("small")).unwrap();
    let tensor = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    tensor
        .save_safetensors("fixed", folder.join("small/model.safetensors"))
        .unwrap();
    assert!(
        refused(&start, "start").contains("it has no `line.bias` and 1 more")
            || refused(&start, "start").contains("it has no `line.bias`, `line.weight`")
            || refused(&start, "start").contains("`line.bias`")
    );
}
