//! Tasks that learn from another dataset, or show examples of it.

mod golden;

use std::fs;
use std::path::Path;

use sightline_core::Hint;
use sightline_core::progress::Silent;
use sightline_harness::{Error, catalog, make_lock};
use sightline_manifest::{
    Place, PlannedAnnotations, PlannedDataset, PlannedDemonstrations, PlannedModel, PlannedTask,
};

use crate::support::{Suite, png, sample, score, workspace};

/// Images `first..` of so many classes, in one shard.
fn numbered(first: usize, count: usize, classes: usize) -> Vec<sightline_core::Sample> {
    (first..first + count).map(|n| sample(n, classes)).collect()
}

const CLASSES: [&str; 3] = ["circle", "square", "star"];

/// A suite of `kind` on twelve images, beside eighteen for training.
fn suite(kind: &str, change: impl Fn(&mut PlannedTask)) -> Suite {
    let mut suite = Suite::new(&[numbered(0, 12, 3), numbered(100, 18, 3)], &CLASSES, &[]);
    let shapes = suite.plan.datasets["shapes"].clone();
    let part = |pattern: &str| PlannedDataset {
        shards: Some(Place::Data(pattern.to_owned())),
        ..shapes.clone()
    };
    let files = fs::read_dir(suite.roots.data.join("shards")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| format!("shards/{}", file.unwrap().file_name().to_string_lossy()))
        .collect();
    names.sort();
    suite.plan.datasets = [
        ("test".to_owned(), part(&names[0])),
        ("train".to_owned(), part(&names[1])),
    ]
    .into();
    let mut task = PlannedTask {
        name: format!("{kind}-test"),
        kind: kind.to_owned(),
        dataset: "test".to_owned(),
        metrics: catalog().task(kind).unwrap().metrics.clone(),
        batch_size: 4,
        ..PlannedTask::default()
    };
    change(&mut task);
    suite.plan.tasks = vec![task];
    suite
}

/// Gives the task a model of `family`, with the checkpoint `folder` of the fixtures.
fn with_model(mut suite: Suite, family: &str, folder: Option<&str>) -> Suite {
    let model = PlannedModel {
        outside: None,
        description: format!("The model {family}."),
        family: family.to_owned(),
        checkpoint: folder.map(|_| Place::Given(family.to_owned())),
        tokenizer: if folder.is_some() {
            "word-hash"
        } else {
            "checkpoint"
        }
        .to_owned(),
        pixels: "exact".to_owned(),
        weights: None,
    };
    if let Some(folder) = folder {
        let path = workspace().join("tests/fixtures/models").join(folder);
        suite.roots.checkpoints.insert(family.to_owned(), path);
    }
    suite.plan.models.insert(family.to_owned(), model);
    suite.plan.tasks[0].models.push(family.to_owned());
    suite
}

/// The predictions of the only task of the only model, whatever the batch size is: the proof that it does not matter.
fn predictions(make: impl Fn() -> Suite) -> String {
    let of_size = |size| {
        let suite = make().with_batch_size(size);
        let record = suite.record().remove(0);
        String::from_utf8(suite.predictions(&record, 0)).unwrap()
    };
    let found = of_size(1);
    for size in [5, 32] {
        assert_eq!(found, of_size(size), "batch size {size}");
    }
    found
}

#[test]
fn probes_learn_from_the_training_split_and_keep_its_features() {
    for kind in ["linear-probe", "linear-probe-sgd"] {
        let make = || {
            let learn = |task: &mut PlannedTask| {
                task.train = Some("train".to_owned());
                task.metrics.push("mean-per-class-recall".to_owned());
            };
            match kind {
                "linear-probe" => {
                    with_model(suite(kind, learn), "clip", Some("clip/hf_quickgelu_eos2"))
                }
                _ => with_model(suite(kind, learn), "random", None),
            }
        };
        let found = predictions(make);
        assert!(found.contains("\"capability\":\"features\""), "{found}");
        let made = make();
        let record = made.record().remove(0);
        assert_eq!(record.tasks[0].counts.scored, 12);
        assert!(score(&record, "mean-per-class-recall").value.is_some());
        let owners: Vec<&str> = record
            .files
            .iter()
            .map(|file| file.owner.as_str())
            .collect();
        assert!(owners.contains(&"dataset:train"), "{owners:?}");

        // What is kept is taken: with other features in their file, predictions are others.
        let model = &record.model.name;
        let folder = made.records().join(format!("test/{model}/features"));
        let file = fs::read_dir(folder)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut bytes = fs::read(&file).unwrap();
        let values = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
        bytes[values..].reverse();
        fs::write(&file, &bytes).unwrap();
        let predictions = made.predictions_path(&record, 0);
        fs::remove_file(&predictions).unwrap();
        made.run().unwrap();
        assert_ne!(fs::read_to_string(&predictions).unwrap(), found);
        // What is torn is not.
        fs::write(&file, &bytes[..values + 4]).unwrap();
        fs::remove_file(&predictions).unwrap();
        made.run().unwrap();
        assert_eq!(fs::read_to_string(&predictions).unwrap(), found);
    }
}

#[test]
fn embeddings_are_features_by_a_rule_and_lists_of_classes_must_be_one() {
    let make = || {
        let learn = |task: &mut PlannedTask| task.train = Some("train".to_owned());
        with_model(suite("linear-probe", learn), "random", None)
    };
    let found = predictions(make);
    assert!(
        found.contains("from `embed`: the features of an image"),
        "{found}"
    );
    let mut other = make();
    let path = other.roots.manifests.join("datasets/other.txt");
    fs::write(path, "square\ncircle\nstar\n").unwrap();
    other.plan.datasets.get_mut("train").unwrap().classes =
        Some(Place::Manifests("datasets/other.txt".to_owned()));
    let error = other.run().unwrap_err();
    assert!(matches!(error, Error::TrainingClasses { .. }), "{error}");
}

#[test]
fn a_training_image_that_cannot_be_read_ends_the_task() {
    let learn = |task: &mut PlannedTask| task.train = Some("train".to_owned());
    let mut broken = numbered(100, 3, 3);
    broken[1].image.as_mut().unwrap().bytes = b"no image"[..].into();
    let mut suite = with_model(suite("linear-probe", learn), "random", None);
    let other = Suite::new(&[broken], &CLASSES, &[]);
    fs::copy(other.shard(0), suite.roots.data.join("broken.tar")).unwrap();
    suite.plan.datasets.get_mut("train").unwrap().shards =
        Some(Place::Data("broken.tar".to_owned()));
    let error = suite.run().unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("sample `000101` of dataset `train` cannot be learned from"),
        "{text}"
    );
    assert!(error.hints()[0].contains("`ids`"), "{:?}", error.hints());
}

/// VOC's files with images, below the data folder.
fn voc(suite: &mut Suite, split: &str, first: usize, count: usize) {
    let data = &suite.roots.data;
    fs::create_dir_all(data.join("images")).unwrap();
    fs::create_dir_all(data.join(split)).unwrap();
    let (mut circle, mut square) = (String::new(), String::new());
    for n in first..first + count {
        fs::write(data.join(format!("images/{n:06}.png")), png(n)).unwrap();
        let label = |k: usize| ["1", "-1", "-1", "0"][(n + k) % 4];
        let line = |k| format!("{n:06} {:>2}\n", label(k));
        circle += &line(0);
        square += &line(1);
    }
    fs::write(data.join(format!("{split}/circle_{split}.txt")), circle).unwrap();
    fs::write(data.join(format!("{split}/square_{split}.txt")), square).unwrap();
    fs::write(
        suite.roots.manifests.join("datasets/voc.txt"),
        "circle\nsquare\n",
    )
    .unwrap();
    let dataset = PlannedDataset {
        description: "Objects.".to_owned(),
        images: Some(Place::Data("images/*.png".to_owned())),
        annotations: Some(PlannedAnnotations {
            form: "voc07".to_owned(),
            split: None,
            files: [("labels".to_owned(), Place::Data(format!("{split}/*.txt")))].into(),
        }),
        classes: Some(Place::Manifests("datasets/voc.txt".to_owned())),
        ..PlannedDataset::default()
    };
    suite.plan.datasets.insert(split.to_owned(), dataset);
}

#[test]
fn several_labels_are_learned_and_found_without_learning() {
    for kind in ["svm-probe", "zero-shot-multi-label"] {
        let make = || {
            let mut suite = suite(kind, |task| {
                if kind == "svm-probe" {
                    task.train = Some("train".to_owned());
                } else {
                    task.templates = vec!["a {}".to_owned()];
                }
            });
            voc(&mut suite, "train", 100, 12);
            voc(&mut suite, "test", 1, 9);
            with_model(suite, "random", None)
        };
        let found = predictions(make);
        assert!(
            found.lines().nth(1).unwrap().contains("\"scores\":["),
            "{found}"
        );
        let record = make().record().remove(0);
        assert_eq!(
            (record.tasks[0].counts.scored, record.tasks[0].counts.failed),
            (9, 0)
        );
        assert!(score(&record, "map").value.is_some());
    }
}

fn shown(shots: u32, texts: Option<u32>, by: Option<&str>) -> PlannedDemonstrations {
    PlannedDemonstrations {
        dataset: "train".to_owned(),
        shots,
        texts,
        choice: if by.is_some() { "nearest" } else { "random" }.to_owned(),
        by: by.map(str::to_owned),
        pool: None,
    }
}

/// Captions behind demonstrations, by a tiny Frozen with random weights.
fn few_shot(demonstrations: &PlannedDemonstrations) -> Suite {
    let nearest = &demonstrations.by;
    let ask = |task: &mut PlannedTask| {
        task.demonstrations = Some(demonstrations.clone());
        task.decode = Some(sightline_manifest::PlannedDecode {
            strategy: "greedy".to_owned(),
            max_tokens: Some(3),
            ..sightline_manifest::PlannedDecode::default()
        });
        task.limit = Some(6);
    };
    let mut suite = with_model(
        suite("few-shot-caption", ask),
        "frozen",
        Some("frozen/grid-linear"),
    );
    if nearest.is_some() {
        suite = with_model(suite, "random", None);
        suite.plan.tasks[0].models.retain(|name| name == "frozen");
    }
    suite
}

#[test]
fn demonstrations_are_functions_of_keys_and_seeds_alone() {
    let random = predictions(|| few_shot(&shown(2, None, None)));
    let nearest = predictions(|| few_shot(&shown(2, None, Some("random"))));
    let texts = predictions(|| few_shot(&shown(0, Some(2), None)));
    let none = predictions(|| few_shot(&shown(0, None, None)));
    let all = [&random, &nearest, &texts, &none];
    for (number, found) in all.iter().enumerate() {
        assert_eq!(found.lines().count(), 7, "{found}");
        assert!(!found.contains("failed"), "{found}");
        let others = all[..number].iter();
        let body = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert!(
            others.into_iter().all(|other| body(other) != body(found)),
            "{found}"
        );
    }
    let record = few_shot(&shown(2, None, Some("random"))).record().remove(0);
    let owners: Vec<&str> = record
        .files
        .iter()
        .map(|file| file.owner.as_str())
        .collect();
    assert!(owners.contains(&"dataset:train"), "{owners:?}");
}

#[test]
fn more_demonstrations_than_there_are_is_an_error() {
    let error = few_shot(&shown(18, None, None)).run().unwrap_err();
    assert_eq!(
        error.to_string(),
        "dataset `train` has 18 samples that can be shown, needed are more than 18"
    );
}

#[test]
fn an_episode_shows_its_images_in_order_and_again() {
    let make = |repeats: Option<u32>, induction: Option<&str>| {
        let mut suite = suite("episodes", |task| {
            task.repeats = repeats;
            task.prompt = induction.map(str::to_owned);
            task.decode = Some(sightline_manifest::PlannedDecode {
                strategy: "greedy".to_owned(),
                max_tokens: Some(2),
                ..sightline_manifest::PlannedDecode::default()
            });
        });
        let data = suite.roots.data.clone();
        fs::create_dir_all(data.join("mi")).unwrap();
        let mut questions = Vec::new();
        for id in 0..3 {
            let name = |what: &str| format!("open_ended_mi_shots_1_ways_2_id_{id}_{what}.png");
            for (number, what) in ["image_1", "image_2", "question"].into_iter().enumerate() {
                fs::write(data.join("mi").join(name(what)), png(3 * id + number)).unwrap();
            }
            questions.push(serde_json::json!({
                "image_1": name("image_1"), "caption_1": "This is a dax.",
                "image_2": name("image_2"), "caption_2": "This is a blicket.",
                "question_image": name("question"), "question": "This is a", "answer": "dax",
            }));
        }
        let json = serde_json::to_string(&questions).unwrap();
        fs::write(data.join("questions.json"), json).unwrap();
        let dataset = PlannedDataset {
            description: "Episodes.".to_owned(),
            images: Some(Place::Data("mi/*.png".to_owned())),
            annotations: Some(PlannedAnnotations {
                form: "open-ended".to_owned(),
                split: None,
                files: [(
                    "questions".to_owned(),
                    Place::Data("questions.json".to_owned()),
                )]
                .into(),
            }),
            ..PlannedDataset::default()
        };
        suite.plan.datasets = [("test".to_owned(), dataset)].into();
        with_model(suite, "frozen", Some("frozen/grid-linear"))
    };
    let once = predictions(|| make(None, None));
    let again = predictions(|| make(Some(1), Some("Answer with dax or blicket.")));
    assert_eq!(once.lines().count(), 4);
    assert!(
        !once.contains("failed") && !again.contains("failed"),
        "{once}{again}"
    );
    assert!(
        again.contains("\"prompt\":\"Answer with dax or blicket.\""),
        "{again}"
    );
    let record = make(None, None).record().remove(0);
    assert_eq!(score(&record, "exact-match").items, 3);
}

#[test]
fn a_list_of_ids_leaves_the_others_out_and_must_be_there() {
    let with_ids = |ids: &str| {
        let mut suite = suite("zero-shot", |task| task.templates = vec!["a {}".to_owned()]);
        suite.plan.datasets.retain(|name, _| name == "test");
        fs::write(suite.roots.manifests.join("datasets/few.txt"), ids).unwrap();
        suite.plan.datasets.get_mut("test").unwrap().ids =
            Some(Place::Manifests("datasets/few.txt".to_owned()));
        with_model(suite, "random", None)
    };
    let suite = with_ids("# two of twelve\n000003\n000001 # and this one\n");
    let record = suite.record().remove(0);
    assert_eq!(record.tasks[0].counts.attempted, 2);
    let lock = make_lock(&suite.plan, &suite.roots, &Silent).unwrap();
    assert!(
        lock.files.iter().any(|file| file.role == "ids"),
        "{:?}",
        lock.files
    );
    for (ids, message) in [
        (
            "000001\n000099\n",
            "dataset `test` has no sample `000099`, which its list of ids names",
        ),
        ("000001\n000001\n", "line 2: `000001` was there before"),
        ("\n", "line 1: holds no key"),
    ] {
        let text = match with_ids(ids).run() {
            Err(error) => error.to_string(),
            Ok(outcome) => panic!("{outcome:?}"),
        };
        assert!(text.ends_with(message), "{text}");
    }
    assert!(Path::new("tests").is_dir());
}

#[test]
fn objects_of_named_classes_are_found_and_scored_by_both_protocols() {
    for kind in ["detection", "detection-lvis"] {
        let mut suite = suite(kind, |_| {});
        let data = suite.roots.data.clone();
        fs::create_dir_all(data.join("images")).unwrap();
        for id in 1..3 {
            fs::write(data.join(format!("images/{id:012}.png")), png(id)).unwrap();
        }
        let image = |id: usize| {
            serde_json::json!({
                "id": id, "file_name": format!("{id:012}.jpg"), "neg_category_ids": [7],
                "not_exhaustive_category_ids": [],
            })
        };
        let category = |id: usize, frequency: &str| serde_json::json!({"id": id, "name": format!("thing {id}"), "frequency": frequency});
        let instances = serde_json::json!({
            "images": [image(1), image(2)],
            "categories": [category(7, "r"), category(3, "f")],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 3, "bbox": [2, 2, 20, 20], "area": 400, "iscrowd": 0},
                {"id": 2, "image_id": 2, "category_id": 7, "bbox": [5, 5, 25, 25], "area": 625, "iscrowd": 0},
            ],
        });
        fs::write(data.join("instances.json"), instances.to_string()).unwrap();
        let classes = suite.roots.manifests.join("datasets/things.txt");
        fs::write(classes, "thing 3\nthing 7\n").unwrap();
        let form = if kind == "detection" {
            "coco-instances"
        } else {
            "lvis"
        };
        let dataset = PlannedDataset {
            description: "Boxes.".to_owned(),
            images: Some(Place::Data("images/*.png".to_owned())),
            annotations: Some(PlannedAnnotations {
                form: form.to_owned(),
                split: None,
                files: [(
                    "instances".to_owned(),
                    Place::Data("instances.json".to_owned()),
                )]
                .into(),
            }),
            classes: Some(Place::Manifests("datasets/things.txt".to_owned())),
            ..PlannedDataset::default()
        };
        suite.plan.datasets = [("test".to_owned(), dataset)].into();
        let suite = with_model(suite, "vild", Some("vild/crops"));
        let record = suite.record().remove(0);
        assert_eq!(
            (record.tasks[0].counts.scored, record.tasks[0].counts.failed),
            (2, 0)
        );
        let metric = if kind == "detection" {
            "coco-ap50"
        } else {
            "lvis-ap50"
        };
        assert!(score(&record, metric).value.is_some());
        let found = String::from_utf8(suite.predictions(&record, 0)).unwrap();
        assert!(found.contains("\"objects\":[["), "{found}");
    }
}
