//! A small dataset and suite in a fresh folder.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};
use sightline_core::progress::Silent;
use sightline_core::{
    EncodedImage, ImageFormat, Metadata, Progress, Sample, SampleKey, Seed, ShardId,
};
use sightline_harness::{Options, Result, RunOutcome, State, catalog, make_lock, run};
use sightline_imaging::{Channels, EncodeSpec, Pixels, encode};
use sightline_manifest::plan::SCHEMA;
use sightline_manifest::{
    Bootstrap, Place, Plan, PlannedDataset, PlannedModel, PlannedTask, Roots,
};
use sightline_report::record::{Record, Score};
use sightline_shard::{ShardFormat, webdataset::WebDataset};
use sightline_store::Folder;
use tempfile::TempDir;

/// A folder with shards, classes and records, and a plan over them.
pub(crate) struct Suite {
    pub(crate) dir: TempDir,
    pub(crate) plan: Plan,
    pub(crate) roots: Roots,
}

impl Suite {
    /// `shards` become files; every model of `models` does zero-shot and retrieval on them.
    pub(crate) fn new(shards: &[Vec<Sample>], classes: &[&str], models: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(dir.path().join("data/shards")).unwrap();
        for (samples, id) in shards.iter().zip(0..) {
            let mut writer = WebDataset.create(&mut folder, ShardId(id)).unwrap();
            for sample in samples {
                writer.write(sample).unwrap();
            }
            writer.finish().unwrap();
        }
        let manifests = dir.path().join("manifests");
        fs::create_dir_all(manifests.join("datasets")).unwrap();
        fs::write(manifests.join("datasets/classes.txt"), classes.join("\n")).unwrap();

        let catalog = catalog();
        let task = |kind: &str, templates: &[&str]| PlannedTask {
            name: format!("{kind}-shapes"),
            kind: kind.to_owned(),
            dataset: "shapes".to_owned(),
            models: models.iter().map(|&name| name.to_owned()).collect(),
            metrics: catalog.task(kind).unwrap().metrics.clone(),
            templates: templates.iter().map(|&text| text.to_owned()).collect(),
            batch_size: 4,
            ..PlannedTask::default()
        };
        let plan = Plan {
            comparisons: Vec::new(),
            schema: SCHEMA,
            suite: "test".to_owned(),
            description: "A suite.".to_owned(),
            seed: Seed(17),
            bootstrap: Bootstrap {
                resamples: 50,
                confidence: 0.95,
            },
            datasets: [("shapes".to_owned(), dataset())].into(),
            models: models
                .iter()
                .map(|&name| (name.to_owned(), model(name)))
                .collect(),
            tasks: vec![
                task("zero-shot", &["a {}", "a picture of a {}."]),
                task("retrieval", &[]),
            ],
        };
        let clip = workspace().join("tests/fixtures/models/clip/hf_quickgelu_eos2");
        let roots = Roots {
            data: dir.path().join("data"),
            manifests,
            checkpoints: [("clip".to_owned(), clip)].into(),
            ..Roots::default()
        };
        Self { dir, plan, roots }
    }

    /// The same with another batch size.
    pub(crate) fn with_batch_size(mut self, batch_size: usize) -> Self {
        for task in &mut self.plan.tasks {
            task.batch_size = batch_size;
        }
        self
    }

    /// The same with the pixels of the fast mode.
    pub(crate) fn with_fast_pixels(mut self) -> Self {
        for model in self.plan.models.values_mut() {
            "fast".clone_into(&mut model.pixels);
        }
        self
    }

    pub(crate) fn with_weights(mut self, weights: &str) -> Self {
        for model in self.plan.models.values_mut() {
            model.weights = Some(weights.to_owned());
        }
        self
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.dir.path().join("records")
    }

    pub(crate) fn run(&self) -> Result<RunOutcome> {
        self.run_with(&Silent, &AtomicBool::new(false))
    }

    pub(crate) fn run_with(
        &self,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<RunOutcome> {
        let lock = make_lock(&self.plan, &self.roots, &Silent)?;
        let options = Options::new(self.records());
        run(&self.plan, &lock, &self.roots, &options, progress, stop)
    }

    /// Runs to the end and returns the record of each model.
    pub(crate) fn record(&self) -> Vec<Record> {
        let outcome = self.run().unwrap();
        assert!(outcome.is_complete(), "{outcome:?}");
        let records = outcome.models.into_iter().map(|model| match model.state {
            State::Recorded { record, .. } => *record,
            other => panic!("{other:?}"),
        });
        records.collect()
    }

    /// Bytes of the predictions of a model's task.
    pub(crate) fn predictions(&self, record: &Record, task: usize) -> Vec<u8> {
        fs::read(self.predictions_path(record, task)).unwrap()
    }

    pub(crate) fn predictions_path(&self, record: &Record, task: usize) -> PathBuf {
        self.records().join(&record.tasks[task].predictions.path)
    }

    pub(crate) fn shard(&self, number: u64) -> PathBuf {
        self.roots
            .data
            .join("shards")
            .join(WebDataset.file_name(ShardId(number)))
    }
}

fn dataset() -> PlannedDataset {
    PlannedDataset {
        description: "Shapes.".to_owned(),
        format: Some("webdataset".to_owned()),
        shards: Some(Place::Data("shards/*.tar".to_owned())),
        images: None,
        regions: None,
        annotations: None,
        class_field: Some("class".to_owned()),
        classes: Some(Place::Manifests("datasets/classes.txt".to_owned())),
        templates: Vec::new(),
        ids: None,
    }
}

fn model(name: &str) -> PlannedModel {
    let is_clip = name == "clip";
    PlannedModel {
        description: format!("The model {name}."),
        family: name.to_owned(),
        checkpoint: is_clip.then(|| Place::Given(name.to_owned())),
        tokenizer: if is_clip { "word-hash" } else { "checkpoint" }.to_owned(),
        pixels: "exact".to_owned(),
        weights: None,
        outside: None,
    }
}

pub(crate) fn workspace() -> PathBuf {
    std::path::absolute("../..").unwrap()
}

/// A sample with a little image of its own, whose class is `number % classes`, with two captions.
pub(crate) fn sample(number: usize, classes: usize) -> Sample {
    Sample {
        key: SampleKey::new(format!("{number:06}")).unwrap(),
        image: Some(EncodedImage {
            format: ImageFormat::Png,
            bytes: png(number),
        }),
        captions: vec![
            format!("picture number {number}"),
            format!("a shape, the {number}th of them, before a background"),
        ],
        meta: meta(json!({ "class": number % classes })),
    }
}

pub(crate) fn meta(value: Value) -> Metadata {
    match value {
        Value::Object(meta) => meta,
        _ => Metadata::new(),
    }
}

/// A picture of 40 by 34 pixels in which every number looks different.
pub(crate) fn png(number: usize) -> Bytes {
    let mut rng = Seed(3).child("image", number as u64).rng();
    let data = (0..40 * 34 * 3).map(|_| rng.below(256) as u8).collect();
    let pixels = Pixels::new(40, 34, Channels::Rgb, data).unwrap();
    encode(&pixels, &EncodeSpec::lossless(ImageFormat::Png))
        .unwrap()
        .into()
}

/// The score of a metric in a record.
pub(crate) fn score<'a>(record: &'a Record, metric: &str) -> &'a Score {
    let mut scores = record.tasks.iter().flat_map(|task| &task.scores);
    scores.find(|score| score.metric == metric).unwrap()
}

/// Sets `stop` when so many samples are done.
pub(crate) struct StopAfter<'a> {
    pub(crate) stop: &'a AtomicBool,
    pub(crate) left: std::sync::atomic::AtomicI64,
}

impl Progress for StopAfter<'_> {
    fn start(&self, _: &str, _: Option<u64>) {}
    fn message(&self, _: &str) {}
    fn finish(&self) {}

    fn advance(&self, steps: u64) {
        let before = self.left.fetch_sub(steps as i64, Ordering::Relaxed);
        if before <= steps as i64 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
