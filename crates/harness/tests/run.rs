//! Runs of small suites from shards to records.

#![expect(
    clippy::unwrap_used,
    reason = "what these helpers unwrap fails the test that calls them"
)]

mod protocols;
mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64};

use serde_json::json;
use sightline_core::progress::Silent;
use sightline_core::{Hint, Sample, SampleKey};
use sightline_harness::predictions::{Header, Reader};
use sightline_harness::{Error, Options, State, make_lock, read_truth, run, score as score_file};
use sightline_manifest::{Place, PlannedModel};
use sightline_metrics::Resources;
use sightline_report::read_records;
use sightline_report::record::{Counts, Throughput};

use support::{StopAfter, Suite, meta, png, sample, score};

const CLASSES: [&str; 10] = [
    "circle", "square", "star", "ring", "cross", "heart", "moon", "arrow", "cube", "cone",
];

/// Two shards of samples, numbered through.
fn shards(samples: usize) -> Vec<Vec<Sample>> {
    let all: Vec<Sample> = (0..samples).map(|i| sample(i, CLASSES.len())).collect();
    let (first, second) = all.split_at(samples / 2);
    vec![first.to_vec(), second.to_vec()]
}

fn close(found: Option<f64>, expected: f64) {
    let found = found.expect("a value");
    assert!(
        (found - expected).abs() < 1e-12,
        "{found} instead of {expected}"
    );
}

#[test]
fn a_constant_model_has_exactly_the_value_of_the_tie_rule() {
    let suite = Suite::new(&shards(40), &CLASSES, &["constant"]);
    let record = &suite.record()[0];
    assert!(record.model.baseline);
    // Everything ties, so class 0, the captions of image 0 and image 0 itself come first.
    for (metric, value) in [
        ("accuracy@1", 0.1),
        ("accuracy@5", 0.5),
        ("recall@1.image-to-text", 1.0 / 40.0),
        ("recall@5.image-to-text", 3.0 / 40.0),
        ("recall@10.image-to-text", 5.0 / 40.0),
        ("recall@1.text-to-image", 2.0 / 80.0),
        ("recall@5.text-to-image", 10.0 / 80.0),
        ("recall@10.text-to-image", 20.0 / 80.0),
        ("median-rank.text-to-image", 20.5),
    ] {
        let score = score(record, metric);
        close(score.value, value);
        assert_eq!(score.ties, score.items, "{metric}");
        let interval = score.interval.as_ref().expect("an interval");
        assert!(interval.low <= value && value <= interval.high, "{metric}");
    }
    assert_eq!(score(record, "accuracy@1").items, 40);
    assert_eq!(score(record, "mrr.text-to-image").items, 80);
}

#[test]
fn a_random_model_scores_near_chance() {
    let suite = Suite::new(&shards(200), &CLASSES, &["random"]).with_batch_size(64);
    let record = &suite.record()[0];
    // Within four standard deviations of the binomial distribution.
    for (metric, chance, n) in [
        ("accuracy@1", 0.1, 200.0),
        ("accuracy@5", 0.5, 200.0),
        ("recall@10.text-to-image", 10.0 / 200.0, 400.0),
        // Ten of 400 captions, of which two are right.
        ("recall@10.image-to-text", 0.0494, 200.0),
    ] {
        let value = score(record, metric).value.unwrap();
        let deviation = 4.0 * f64::sqrt(chance * (1.0 - chance) / n);
        assert!((value - chance).abs() < deviation, "{metric}: {value}");
        assert_eq!(score(record, metric).ties, 0, "{metric}");
    }
}

#[test]
fn predictions_and_scores_have_the_same_bytes_for_every_batch_size() {
    let of_size = |batch_size| {
        let suite =
            Suite::new(&shards(37), &CLASSES, &["clip", "random"]).with_batch_size(batch_size);
        let mut all = Vec::new();
        for record in suite.record() {
            for (number, task) in record.tasks.iter().enumerate() {
                let throughput = Throughput::default();
                let task = sightline_report::record::TaskOutcome {
                    throughput,
                    cost: None,
                    ..task.clone()
                };
                all.push((suite.predictions(&record, number), task));
            }
        }
        all
    };
    let one = of_size(1);
    assert_eq!(one.len(), 4);
    for batch_size in [3, 32, 64] {
        assert!(one == of_size(batch_size), "batch size {batch_size}");
    }
}

#[test]
fn fast_pixels_are_told_in_the_record_and_kept_apart() {
    let shards = shards(9);
    let exact = Suite::new(&shards, &CLASSES, &["clip"]);
    let fast = Suite::new(&shards, &CLASSES, &["clip"]).with_fast_pixels();
    let (exact_record, record) = (exact.record().remove(0), fast.record().remove(0));
    assert_eq!(exact_record.tasks[0].pixel_deviation, None);
    for (number, task) in record.tasks.iter().enumerate() {
        let deviation = task.pixel_deviation.unwrap();
        assert_eq!((deviation.images, deviation.failed), (9, 0));
        let (ours, theirs) = (&task.predictions, &exact_record.tasks[number].predictions);
        assert_ne!(
            ours.path, theirs.path,
            "predictions of both modes have their own place"
        );
        assert_ne!(
            fast.predictions(&record, number),
            exact.predictions(&exact_record, number)
        );
    }
    let json = serde_json::to_string(&exact_record).unwrap();
    assert!(!json.contains("pixel_deviation"), "{json}");
}

#[test]
fn rounded_weights_are_told_in_the_record_and_kept_apart() {
    let shards = shards(9);
    let suite = || Suite::new(&shards, &CLASSES, &["clip"]);
    let exact = suite();
    let exact_record = exact.record().remove(0);
    assert_eq!(exact_record.model.weights, None);
    let json = serde_json::to_string(&exact_record.model).unwrap();
    assert!(!json.contains("\"weights\""), "{json}");
    for weights in ["bf16", "int8"] {
        let rounded = suite().with_weights(weights);
        let record = rounded.record().remove(0);
        assert_eq!(record.model.weights.as_deref(), Some(weights));
        for (number, task) in record.tasks.iter().enumerate() {
            assert_ne!(
                task.predictions.path,
                exact_record.tasks[number].predictions.path
            );
            assert_ne!(
                rounded.predictions(&record, number),
                exact.predictions(&exact_record, number)
            );
        }
    }
    // A plan made by hand may say anything.
    let error = suite().with_weights("int7").run().unwrap_err().to_string();
    assert!(error.contains("int7"), "{error}");
}

#[test]
fn predictions_cut_anywhere_are_continued_to_the_same_bytes() {
    let suite = Suite::new(&shards(9), &CLASSES, &["clip"]).with_batch_size(3);
    let record = suite.record().remove(0);
    for task in 0..2 {
        let whole = suite.predictions(&record, task);
        let path = suite.predictions_path(&record, task);
        let part = path.with_added_extension("part");
        let ends: Vec<usize> = (0..whole.len()).filter(|&i| whole[i] == b'\n').collect();
        // After every line, in its middle, and before its end.
        let mut start = 0;
        for end in ends {
            for cut in [usize::midpoint(start, end), end, end + 1] {
                fs::remove_file(&path).unwrap();
                fs::write(&part, &whole[..cut]).unwrap();
                assert_eq!(
                    suite.record(),
                    std::slice::from_ref(&record),
                    "task {task}, cut at {cut}"
                );
                assert_eq!(
                    suite.predictions(&record, task),
                    whole,
                    "task {task}, cut at {cut}"
                );
                assert!(!part.exists());
            }
            start = end + 1;
        }
    }
}

#[test]
fn a_stopped_run_goes_on_where_it_was() {
    let undisturbed = Suite::new(&shards(20), &CLASSES, &["random"]);
    let expected = undisturbed.record().remove(0);
    let suite = Suite::new(&shards(20), &CLASSES, &["random"]);
    let before = AtomicBool::new(true);
    assert!(suite.run_with(&Silent, &before).unwrap().stopped);
    for stops in 1..=2 {
        let stop = AtomicBool::new(false);
        let progress = StopAfter {
            stop: &stop,
            // After the twenty prompts.
            left: AtomicI64::new(20 + 7 * stops),
        };
        let outcome = suite.run_with(&progress, &stop).unwrap();
        assert!(outcome.stopped && !outcome.is_complete());
        assert!(matches!(outcome.models[0].state, State::Stopped));
        assert!(read_records(&suite.records()).unwrap().is_empty());
    }
    let record = suite.record().remove(0);
    // Eight samples of the first task were there, then sixteen.
    assert_eq!(record.tasks[0].throughput.samples, 4);
    assert_eq!(record.tasks[1].throughput.samples, 20);
    for task in 0..2 {
        assert_eq!(record.tasks[task].scores, expected.tasks[task].scores);
        assert_eq!(
            suite.predictions(&record, task),
            undisturbed.predictions(&expected, task)
        );
    }
}

#[test]
fn running_again_adds_no_record_and_predicts_nothing() {
    let mut suite = Suite::new(&shards(12), &CLASSES, &["random"]);
    let record = suite.record().remove(0);
    let State::Recorded { is_new, .. } = suite.run().unwrap().models.remove(0).state else {
        panic!("no record");
    };
    assert!(!is_new);
    let stored = read_records(&suite.records()).unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].record, record);

    // Another metric: the same predictions, another record.
    suite.plan.tasks[0].metrics.pop();
    let narrowed = suite.record().remove(0);
    assert_eq!(narrowed.tasks[0].predictions, record.tasks[0].predictions);
    assert_eq!(narrowed.tasks[0].throughput, Throughput::default());
    assert_eq!(read_records(&suite.records()).unwrap().len(), 2);

    // Another prompt: other predictions of that task, the same of the other.
    suite.plan.tasks[0].templates.pop();
    let reworded = suite.record().remove(0);
    assert_ne!(
        reworded.tasks[0].predictions.path,
        record.tasks[0].predictions.path
    );
    assert_eq!(reworded.tasks[1].predictions, record.tasks[1].predictions);
}

#[test]
fn every_sample_is_scored_failed_or_skipped_and_counted() {
    let mut shards = shards(10);
    let (first, second) = shards.split_at_mut(1);
    let (first, second) = (&mut first[0], &mut second[0]);
    let image = |sample: &mut Sample, bytes: &[u8]| {
        if let Some(image) = &mut sample.image {
            image.bytes = bytes.to_vec().into();
        }
    };
    image(&mut first[1], &png(1)[..200]);
    image(&mut first[2], b"<html>not found</html>");
    first[3].image = None;
    first[4].captions.clear();
    // What downloaders store for a row without a caption.
    first[0].captions = vec![String::new()];
    second[0].meta.clear();
    second[1].meta = meta(json!({"class": "dragon"}));
    second[2].meta = meta(json!({"class": "circle"}));
    second[3].key = SampleKey::new("000000").unwrap();

    let suite = Suite::new(&shards, &CLASSES, &["random"]).with_batch_size(3);
    let record = suite.record().remove(0);
    let [zero_shot, retrieval] = &record.tasks[..] else {
        panic!("{record:?}");
    };
    let expected = Counts {
        attempted: 10,
        scored: 4,
        failed: 3,
        skipped: 3,
    };
    assert_eq!(zero_shot.counts, expected);
    let reasons: Vec<(&str, u64)> = zero_shot
        .reasons
        .iter()
        .map(|(reason, &count)| (reason.as_str(), count))
        .collect();
    assert_eq!(
        reasons,
        [
            ("class is not in the list", 1),
            ("image: not-an-image", 1),
            ("image: truncated", 1),
            ("no class", 1),
            ("no image", 1),
            ("the key occurs twice", 1),
        ]
    );
    assert_eq!(score(&record, "accuracy@1").items, 4);

    let expected = Counts {
        attempted: 10,
        scored: 4,
        failed: 3,
        skipped: 3,
    };
    assert_eq!(retrieval.counts, expected);
    assert_eq!(retrieval.reasons["no caption"], 2);
    assert_eq!(score(&record, "recall@1.image-to-text").items, 4);
    assert_eq!(score(&record, "recall@1.text-to-image").items, 8);
}

#[test]
fn nothing_to_score_is_no_value_and_no_zero() {
    let mut shards = shards(3);
    for sample in shards.iter_mut().flatten() {
        sample.meta.clear();
        sample.captions.clear();
    }
    let suite = Suite::new(&shards, &CLASSES, &["random"]);
    let record = suite.record().remove(0);
    for score in record.tasks.iter().flat_map(|task| &task.scores) {
        assert_eq!((score.value, score.items), (None, 0), "{}", score.metric);
        assert!(score.interval.is_none());
    }
    assert_eq!(record.tasks[0].counts.skipped, 3);
}

#[test]
fn the_limit_takes_the_first_samples_in_shard_order() {
    let mut suite = Suite::new(&shards(10), &CLASSES, &["random"]);
    let whole = suite.record().remove(0);
    for task in &mut suite.plan.tasks {
        task.limit = Some(7);
    }
    let limited = suite.record().remove(0);
    assert_eq!(limited.tasks[0].counts.attempted, 7);
    let (whole, limited) = (suite.predictions(&whole, 0), suite.predictions(&limited, 0));
    let lines = |bytes: &[u8]| -> Vec<String> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.lines().skip(1).map(str::to_owned).collect()
    };
    assert_eq!(lines(&whole)[..7], lines(&limited));
}

#[test]
fn a_truncated_shard_leaves_the_model_incomplete_with_its_predictions() {
    let suite = Suite::new(&shards(10), &CLASSES, &["random"]).with_batch_size(4);
    let bytes = fs::read(suite.shard(1)).unwrap();
    fs::write(suite.shard(1), &bytes[..bytes.len() / 2]).unwrap();
    let outcome = suite.run().unwrap();
    assert!(!outcome.is_complete() && !outcome.stopped);
    let State::Incomplete { tasks } = &outcome.models[0].state else {
        panic!("{outcome:?}");
    };
    assert_eq!(tasks.len(), 2);
    let message = tasks[0].error.to_string();
    assert!(message.contains("shards/00001.tar"), "{message}");
    assert!(message.contains("after 2 whole samples"), "{message}");
    assert!(!tasks[0].error.hints().is_empty());
    assert!(read_records(&suite.records()).unwrap().is_empty());

    let mut parts = Vec::new();
    find(&suite.records(), "part", &mut parts);
    assert_eq!(parts.len(), 2);
    for part in parts {
        // The header, five samples of the first shard, two of the second.
        assert_eq!(fs::read_to_string(part).unwrap().lines().count(), 8);
    }
}

#[test]
fn a_file_that_changed_since_it_was_locked_is_refused() {
    let suite = Suite::new(&shards(4), &CLASSES, &["random"]);
    let lock = make_lock(&suite.plan, &suite.roots, &Silent).unwrap();
    let mut bytes = fs::read(suite.shard(1)).unwrap();
    bytes.push(0);
    fs::write(suite.shard(1), bytes).unwrap();
    let options = Options::new(suite.records());
    let stop = AtomicBool::new(false);
    let run = |plan| run(plan, &lock, &suite.roots, &options, &Silent, &stop);
    let error = run(&suite.plan).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    assert!(error.to_string().contains("00001.tar"), "{error}");

    let mut other = suite.plan.clone();
    other.tasks[0].templates.pop();
    let error = run(&other).unwrap_err();
    assert!(matches!(error, Error::OtherPlan { .. }), "{error}");
}

#[test]
fn a_checkpoint_that_cannot_be_loaded_is_named() {
    let mut suite = Suite::new(&shards(4), &CLASSES, &["clip"]);
    let folder = suite.dir.path().join("broken");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(&suite.roots.checkpoints["clip"]).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let weights = folder.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    suite.roots.checkpoints.insert("clip".to_owned(), folder);

    // A name in the header changes by one letter: a tensor is missing, another is not used.
    let name = b"visual_projection.weight";
    let at = bytes
        .windows(name.len())
        .position(|part| part == name)
        .unwrap();
    let mut renamed = bytes.clone();
    renamed[at] = b'V';
    fs::write(&weights, renamed).unwrap();
    let error = suite.run().unwrap_err();
    assert_eq!(error.to_string(), "model `clip` cannot be loaded");
    let chain = chain(&error);
    assert!(chain.contains("visual_projection.weight"), "{chain}");

    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let chain = self::chain(&suite.run().unwrap_err());
    assert!(chain.contains("model.safetensors"), "{chain}");

    suite.roots.checkpoints.clear();
    let error = suite.run().unwrap_err();
    assert!(matches!(error, Error::NotGiven { .. }), "{error}");
    assert!(
        error.hints()[0].contains("--checkpoint clip="),
        "{:?}",
        error.hints()
    );
}

#[test]
fn a_lock_holds_every_file_once_in_order() {
    let suite = Suite::new(&shards(4), &CLASSES, &["random", "clip"]);
    let lock = make_lock(&suite.plan, &suite.roots, &Silent).unwrap();
    assert_eq!(lock.plan, suite.plan.digest().unwrap());
    let files: Vec<[&str; 3]> = lock
        .files
        .iter()
        .map(|file| [file.owner.as_str(), file.name.as_str(), file.role.as_str()])
        .collect();
    assert_eq!(
        files,
        [
            ["dataset:shapes", "datasets/classes.txt", "classes"],
            ["dataset:shapes", "shards/00000.tar", "shard"],
            ["dataset:shapes", "shards/00001.tar", "shard"],
            ["model:clip", "config.json", "config"],
            ["model:clip", "model.safetensors", "weights"],
            ["model:clip", "preprocessor_config.json", "preprocessor"],
        ]
    );
    let bytes = fs::read(suite.shard(1)).unwrap();
    assert_eq!(lock.files[2].bytes, bytes.len() as u64);
    assert_eq!(lock.files[2].sha256, sightline_core::Digest::of(&bytes));
}

#[test]
fn scores_are_a_function_of_predictions_and_annotations() {
    let suite = Suite::new(&shards(15), &CLASSES, &["clip"]);
    let record = suite.record().remove(0);
    let lock = make_lock(&suite.plan, &suite.roots, &Silent).unwrap();
    for (number, outcome) in record.tasks.iter().enumerate() {
        let task = &suite.plan.tasks[number];
        let truth = read_truth(&suite.plan, &lock, &suite.roots, task).unwrap();
        let path = suite.predictions_path(&record, number);
        let text = fs::read_to_string(&path).unwrap();
        let header: Header = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let open = |text: &str| {
            let copy = suite.dir.path().join("copy.jsonl");
            fs::write(&copy, text).unwrap();
            Reader::open(&copy, &header).unwrap()
        };
        let scored = score_file(
            &suite.plan,
            task,
            open(&text),
            &truth,
            &Resources::default(),
        )
        .unwrap();
        assert_eq!(scored.scores, outcome.scores);
        assert_eq!(scored.counts, outcome.counts);
        assert_eq!(scored.sha256, outcome.predictions.sha256);
        assert_eq!(scored.lines, 16);

        // A line less, a line twice, two lines exchanged.
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let exchanged = [&lines[..1], &[lines[2], lines[1]], &lines[3..]].concat();
        for (lines, part) in [
            (
                lines[..15].to_vec(),
                "the dataset has 15 samples, the file has 14",
            ),
            (
                [&lines[..], &lines[15..]].concat(),
                "the dataset has 15 samples, the file has 16",
            ),
            (
                exchanged,
                "line 2: is of sample `000001`, the dataset has `000000` here",
            ),
        ] {
            let scored = score_file(
                &suite.plan,
                task,
                open(&lines.concat()),
                &truth,
                &Resources::default(),
            );
            let message = scored.unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn a_model_that_cannot_do_its_task_is_refused_before_anything_is_locked() {
    let mut suite = Suite::new(&shards(2), &CLASSES, &["random"]);
    let folder = support::workspace().join("tests/fixtures/models/visualbert/vqa");
    let regions = PlannedModel {
        family: "visualbert".to_owned(),
        checkpoint: Some(Place::Given("regions".to_owned())),
        tokenizer: "word-hash".to_owned(),
        ..suite.plan.models["random"].clone()
    };
    suite.plan.models.insert("regions".to_owned(), regions);
    suite.roots.checkpoints.insert("regions".to_owned(), folder);
    // Regions are taken as they are: such a model has no image specification to lock.
    let lock = make_lock(&suite.plan, &suite.roots, &Silent).unwrap();
    let owners: Vec<&str> = lock
        .inputs
        .iter()
        .map(|input| input.owner.as_str())
        .collect();
    assert_eq!(owners, ["model:random"]);
    suite.plan.tasks[1].models.push("regions".to_owned());
    let error = make_lock(&suite.plan, &suite.roots, &Silent).unwrap_err();
    assert_eq!(
        error.to_string(),
        "model `regions` does not offer `embed`, which task `retrieval-shapes` needs"
    );
}

#[test]
fn a_damaged_record_is_told_before_anything_is_predicted() {
    let suite = Suite::new(&shards(4), &CLASSES, &["random"]);
    suite.record();
    let stored = read_records(&suite.records()).unwrap().remove(0);
    let path = stored.folder.join(&stored.path);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"attempted\": 4", "\"attempted\": 5")).unwrap();
    let error = suite.run().unwrap_err();
    assert!(matches!(error, Error::Report { .. }), "{error}");
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn find(folder: &Path, extension: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}
