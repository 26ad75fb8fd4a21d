//! A small suite whose nights a test controls: a model that is right about everything, and can be made worse.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use sightline_core::{EncodedImage, ImageFormat, Sample, SampleKey, ShardId};
use sightline_imaging::{Channels, EncodeSpec, Pixels, encode};
use sightline_shard::ShardFormat;
use sightline_shard::webdataset::WebDataset;
use sightline_store::Folder;

use crate::util::{Outcome, Sandbox, files, workspace};

const CLASSES: [&str; 6] = ["red", "green", "blue", "grey", "pink", "teal"];

/// A sandbox with manifests, a dataset of coloured rectangles and a checkpoint.
pub(crate) struct Watch {
    pub(crate) sandbox: Sandbox,
    samples: usize,
}

impl Watch {
    /// `samples` images, whose classes are what the checkpoint says of them.
    pub(crate) fn new(samples: usize) -> Self {
        let watch = Self {
            sandbox: Sandbox::new(),
            samples,
        };
        let sandbox = &watch.sandbox;
        sandbox.write(
            "manifests/datasets/colours.toml",
            "schema = 1\ndataset = 'colours'\ndescription = 'Coloured rectangles.'\nformat = 'webdataset'\n\
             shards = 'shards/*.tar'\nclass_field = 'class_name'\nclasses = 'classes.txt'\ntemplates = ['a {} thing']\n",
        );
        sandbox.write("data/classes.txt", CLASSES.join("\n") + "\n");
        for model in ["constant", "random", "clip-tiny-random"] {
            let name = format!("manifests/models/{model}.toml");
            sandbox.write(&name, fs::read(workspace().join(&name)).unwrap());
        }
        sandbox.write(
            "manifests/suites/watch.toml",
            "schema = 1\nsuite = 'watch'\ndescription = 'What is watched.'\nseed = 17\n\
             models = ['constant', 'random', 'clip-tiny-random']\n[bootstrap]\nresamples = 200\nconfidence = 0.95\n\
             [[task]]\nkind = 'zero-shot'\ndataset = 'colours'\nmetrics = ['accuracy@1', 'accuracy@5']\n\
             [[task]]\nkind = 'retrieval'\ndataset = 'colours'\nmetrics = ['recall@1.image-to-text', 'median-rank.text-to-image']\n",
        );
        watch.list("[[suite]]\nname = 'watch'\ndata = 'data'\ncheckpoints = { clip-tiny-random = 'checkpoint' }\n");
        let checkpoint = workspace().join("tests/fixtures/models/clip/hf_quickgelu_eos2");
        for (name, bytes) in files(&checkpoint, |_| true) {
            sandbox.write(&format!("checkpoint/{name}"), bytes);
        }
        // What the model says becomes what is right.
        watch.write_samples(&vec![0; samples], 0);
        sandbox
            .sightline(
                "run manifests/suites/watch.toml --data data --records first --models clip-tiny-random \
                 --tasks zero-shot-colours --checkpoint clip-tiny-random=checkpoint",
            )
            .expect(0);
        let predictions = files(&sandbox.path("first"), |name| name.ends_with(".jsonl"));
        let text = String::from_utf8(predictions.into_values().next().unwrap()).unwrap();
        let lines = text.lines().skip(1);
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let said = lines.map(|line| line["prediction"]["top"][0][0].as_u64().unwrap() as usize);
        watch.write_samples(&said.collect::<Vec<_>>(), 0);
        fs::remove_dir_all(sandbox.path("first")).unwrap();
        watch
    }

    /// Writes the list of the nights with these suites.
    pub(crate) fn list(&self, suites: &str) {
        let text = format!("schema = 1\nnightly = 'nightly'\ndescription = 'Nights.'\n{suites}");
        self.sandbox.write("manifests/suites/nightly.toml", text);
    }

    /// The dataset with these classes; `shade` changes every image.
    pub(crate) fn write_samples(&self, classes: &[usize], shade: u8) {
        let mut folder = Folder::create(self.sandbox.path("data/shards")).unwrap();
        let mut writer = WebDataset.create(&mut folder, ShardId(0)).unwrap();
        for (at, class) in classes.iter().enumerate() {
            let colour = [
                (at * 37 % 256) as u8,
                (at * 91 % 256) as u8,
                (at * 5) as u8 ^ shade,
            ];
            let pixels = Pixels::filled(48, 36, Channels::Rgb, &colour).unwrap();
            let meta = json!({"class_name": CLASSES[*class]});
            writer
                .write(&Sample {
                    key: SampleKey::new(format!("{at:06}")).unwrap(),
                    image: Some(EncodedImage {
                        format: ImageFormat::Png,
                        bytes: encode(&pixels, &EncodeSpec::lossless(ImageFormat::Png))
                            .unwrap()
                            .into(),
                    }),
                    captions: vec![format!("rectangle number {at} <b>of many</b>")],
                    meta: meta.as_object().unwrap().clone(),
                })
                .unwrap();
        }
        writer.finish().unwrap();
    }

    /// Other images under the same keys.
    pub(crate) fn other_data(&self) {
        self.write_samples(&vec![1; self.samples], 64);
    }

    fn weights(&self) -> PathBuf {
        self.sandbox.path("checkpoint/model.safetensors")
    }

    /// Turns the image vectors round: what was most likely becomes least likely. Done twice it is undone.
    pub(crate) fn worsen(&self) {
        let mut bytes = fs::read(self.weights()).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let tensor = &header["visual_projection.weight"];
        assert_eq!(tensor["dtype"], "F32", "{header}");
        let ends = [0, 1].map(|end| tensor["data_offsets"][end].as_u64().unwrap() as usize);
        for value in bytes[8 + length + ends[0]..8 + length + ends[1]].chunks_exact_mut(4) {
            value[3] ^= 0x80;
        }
        fs::write(self.weights(), bytes).unwrap();
    }

    /// Runs a night.
    pub(crate) fn night(&self) -> Outcome {
        self.sandbox.sightline("nightly --samples 12")
    }

    /// What the last night left.
    pub(crate) fn alerts(&self) -> Value {
        serde_json::from_slice(&fs::read(self.sandbox.path("site/alerts.json")).unwrap()).unwrap()
    }
}
