//! Suites on annotation files: captions, questions, pairs, choices and phrases, each through the whole program with a
//! tiny model, and scored again by hand from its predictions.

mod written;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::util::{Outcome, Sandbox, files, workspace};

/// A folder with manifests of its own, and data below `data`.
struct Tasks {
    sandbox: Sandbox,
}

/// Models whose checkpoints are in the repository.
const FIXTURES: [(&str, &str, &str); 6] = [
    ("captioner", "virtex", "virtex/r18_captioning_prenorm"),
    ("answers", "visualbert", "visualbert/vqa"),
    ("pairs", "visualbert", "visualbert/nlvr2"),
    ("choices", "visualbert", "visualbert/vcr"),
    ("phrases", "visualbert", "visualbert/flickr"),
    ("matches", "visualbert", "visualbert/pretraining"),
];

/// Values of a region's feature in the fixtures.
const WIDTH: usize = 20;

impl Tasks {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        for (name, family, _) in FIXTURES {
            sandbox.write(
                &format!("manifests/models/{name}.toml"),
                format!(
                    "schema = 1\nmodel = \"{name}\"\nfamily = \"{family}\"\ndescription = \"Tiny, with random \
                     weights.\"\ntokenizer = \"word-hash\"\n"
                ),
            );
        }
        for name in ["constant", "random"] {
            let manifest = format!("manifests/models/{name}.toml");
            sandbox.write(
                &manifest,
                std::fs::read(workspace().join(&manifest)).unwrap(),
            );
        }
        Self { sandbox }
    }

    /// With synthetic scenes, their annotation files, and the repository's manifests about them.
    fn with_scenes(test: u32) -> Self {
        let tasks = Self::new();
        tasks
            .sandbox
            .sightline(&format!(
                "synth scenes --out data/scenes --train 1 --val 1 --test {test} --size 32"
            ))
            .expect(0);
        for name in [
            "scenes-captions-test.toml",
            "scenes-questions-test.toml",
            "scenes-answers.txt",
        ] {
            let manifest = format!("manifests/datasets/{name}");
            let text = std::fs::read(workspace().join(&manifest)).unwrap();
            tasks.sandbox.write(&manifest, text);
        }
        tasks
    }

    fn dataset(&self, name: &str, text: &str) {
        self.sandbox.write(
            &format!("manifests/datasets/{name}.toml"),
            format!("schema = 1\ndataset = \"{name}\"\ndescription = \"A dataset.\"\n{text}"),
        );
    }

    fn suite(&self, models: &[&str], tasks: &str) {
        self.sandbox.write(
            "manifests/suites/s.toml",
            format!(
                "schema = 1\nsuite = \"s\"\ndescription = \"A suite.\"\nseed = 17\nmodels = {models:?}\n\
                 [bootstrap]\nresamples = 50\n{tasks}"
            ),
        );
    }

    fn run(&self, more: &str) -> Outcome {
        let suite = std::fs::read_to_string(self.sandbox.path("manifests/suites/s.toml")).unwrap();
        let mut arguments: Vec<String> = "run manifests/suites/s.toml --data data"
            .split(' ')
            .map(str::to_owned)
            .collect();
        for (name, _, folder) in FIXTURES {
            if suite.contains(&format!("{name:?}")) {
                let folder = workspace().join("tests/fixtures/models").join(folder);
                arguments.push("--checkpoint".to_owned());
                arguments.push(format!("{name}={}", folder.display()));
            }
        }
        arguments.extend(more.split_whitespace().map(str::to_owned));
        self.sandbox.run(arguments)
    }

    /// Runs to the end and returns each model's record; what failed is told by the exit code.
    #[track_caller]
    fn records(&self, folder: &str, more: &str) -> BTreeMap<String, Value> {
        let ended = self.run(&format!("--records {folder} {more}"));
        let records: BTreeMap<String, Value> =
            files(&self.sandbox.path(folder), |name| name.ends_with(".json"))
                .into_values()
                .map(|bytes| {
                    let record: Value = serde_json::from_slice(&bytes).unwrap();
                    (record["model"]["name"].as_str().unwrap().to_owned(), record)
                })
                .collect();
        let tasks = records
            .values()
            .flat_map(|record| record["tasks"].as_array().unwrap());
        let failed: u64 = tasks
            .map(|task| task["counts"]["failed"].as_u64().unwrap())
            .sum();
        ended.expect(if failed > 0 { 3 } else { 0 });
        records
    }

    /// Where the predictions of a record's task are.
    fn path(&self, folder: &str, record: &Value, task: usize) -> PathBuf {
        let path = record["tasks"][task]["predictions"]["path"]
            .as_str()
            .unwrap();
        self.sandbox.path(folder).join(path)
    }

    /// Header and lines of the predictions of a record's task.
    fn predictions(&self, folder: &str, record: &Value, task: usize) -> (Value, Vec<Value>) {
        let text = std::fs::read_to_string(self.path(folder, record, task)).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (lines.next().unwrap(), lines.collect())
    }
}

/// The value of a metric of a record's task. Where it has an interval (not where all items are alike), it has two ends.
#[track_caller]
fn value(record: &Value, task: usize, metric: &str) -> f64 {
    let scores = record["tasks"][task]["scores"].as_array().unwrap();
    let score = scores.iter().find(|score| score["metric"] == metric);
    let score = score.unwrap_or_else(|| panic!("no {metric} in {scores:?}"));
    let end = |end: &str| score["interval"][end].as_f64();
    assert!(end("low") <= end("high"), "{score}");
    let value = score["value"].as_f64();
    value.unwrap_or_else(|| panic!("{score}"))
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-9,
        "{found} instead of {expected}"
    );
}

fn base64(values: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let of = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = (of(0) << 16) | (of(1) << 8) | of(2);
        for place in 0..4usize {
            let letter = LETTERS[((bits >> (18 - 6 * place)) & 63) as usize];
            text.push(if place > three.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    text
}

/// A file of region features as bottom-up-attention writes them: for each image so many regions, region k at
/// `[10 k, 0, 10 k + 10, 10]`.
fn regions(images: &[(&str, usize)]) -> String {
    let mut text = String::new();
    for (image, count) in images {
        let boxes: Vec<f32> = (0..*count)
            .flat_map(|k| [10.0 * k as f32, 0.0, 10.0 * k as f32 + 10.0, 10.0])
            .collect();
        let seed = image.bytes().fold(7u32, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u32::from(byte))
        });
        let features: Vec<f32> = (0..count * WIDTH)
            .map(|i| {
                let mixed = seed.wrapping_add(i as u32).wrapping_mul(2_654_435_761) >> 16;
                f32::from(mixed as u16) / 16384.0 - 2.0
            })
            .collect();
        let _ = writeln!(
            text,
            "{image}\t640\t480\t{count}\t{}\t{}",
            base64(&boxes),
            base64(&features)
        );
    }
    text
}

/// The label with the greatest score of a prediction.
fn label(line: &Value) -> &str {
    line["prediction"]["labels"][0][0].as_str().unwrap()
}

#[test]
fn captions_are_written_scored_and_the_same_in_any_batch_and_after_any_stop() {
    let tasks = Tasks::with_scenes(6);
    let task = "[[task]]\nkind = \"caption\"\ndataset = \"scenes-captions-test\"\n\
                metrics = [\"cider-d\", \"bleu-1\", \"rouge-l\"]\n";
    tasks.suite(&["captioner"], task);
    let records = tasks.records("records", "");
    let record = &records["captioner"];
    let outcome = &record["tasks"][0];
    assert_eq!(outcome["counts"]["scored"], 6, "{outcome}");
    assert_eq!(outcome["asked"]["capability"], "generate");
    assert_eq!(
        outcome["asked"]["decoding"],
        "beam of width 5, as many tokens as the family's program"
    );
    let (header, lines) = tasks.predictions("records", record, 0);
    assert_eq!(header["asked"], outcome["asked"]);
    assert_eq!(lines.len(), 6);
    assert!(
        lines[0]["prediction"]["score"].as_f64().unwrap() < 0.0,
        "{}",
        lines[0]
    );

    // The same file is scored by `score`, against the same references.
    let path = tasks.path("records", record, 0);
    let scored = tasks
        .sandbox
        .run([
            "score",
            "--references",
            "data/scenes/annotations/captions_test.json",
            "--predictions",
            path.to_str().unwrap(),
            "--metrics",
            "cider-d,bleu-1,rouge-l",
            "--json",
        ])
        .expect(0)
        .json();
    for metric in ["cider-d", "bleu-1", "rouge-l"] {
        let scores = scored["metrics"]
            .as_array()
            .or(scored["scores"].as_array())
            .unwrap();
        let other = scores
            .iter()
            .find(|score| score["metric"] == metric || score["id"] == metric)
            .unwrap();
        near(value(record, 0, metric), other["value"].as_f64().unwrap());
    }

    // A run that was stopped after three lines goes on; other batches change nothing.
    let whole = std::fs::read(&path).unwrap();
    let cut: usize = whole
        .split_inclusive(|&b| b == b'\n')
        .take(4)
        .map(<[u8]>::len)
        .sum();
    std::fs::write(path.with_added_extension("part"), &whole[..cut]).unwrap();
    std::fs::remove_file(&path).unwrap();
    tasks.records("records", "--batch-size 2");
    let written = files(&tasks.sandbox.path("records"), |name| {
        name.ends_with(".json")
    });
    assert_eq!(written.len(), 1, "the same record");
    assert!(
        std::fs::read(&path).unwrap() == whole,
        "predictions after a stop"
    );

    // What a suite says about decoding is what is done, and another protocol.
    tasks.suite(
        &["captioner"],
        &format!("{task}decode = {{ strategy = \"greedy\", max_tokens = 3 }}\n"),
    );
    let greedy = &tasks.records("greedy", "")["captioner"];
    assert_eq!(
        greedy["tasks"][0]["asked"]["decoding"],
        "greedy, at most 3 tokens"
    );
    assert_ne!(greedy["tasks"][0]["protocol"], outcome["protocol"]);
    let (_, lines) = tasks.predictions("greedy", greedy, 0);
    assert!(
        lines
            .iter()
            .all(|line| line["prediction"]["tokens"].as_u64().unwrap() <= 3)
    );

    tasks
        .sandbox
        .sightline("board records --out site")
        .expect(0);
    let page = std::fs::read_to_string(tasks.sandbox.path("site/index.html")).unwrap();
    for part in ["cider-d", "bleu-1", "decoding: beam of width 5"] {
        assert!(page.contains(part), "the page lacks {part}");
    }
}

/// A dataset of questions about five scenes, for models of pixels and of regions.
const QUESTIONS: &str = "images = \"images/*\"\nregions = \"regions.tsv\"\nclasses = \"answers.txt\"\n\
                         [annotations]\nform = \"vqa\"\n[annotations.files]\n\
                         questions = \"scenes/annotations/questions_test.json\"\n\
                         answers = \"scenes/annotations/answers_test.json\"\n";

/// [`QUESTIONS`] with the regions of their images, and what people answered.
fn questions() -> (Tasks, Vec<Value>) {
    let tasks = Tasks::with_scenes(5);
    let answers = tasks
        .sandbox
        .path("data/scenes/annotations/answers_test.json");
    let document: Value = serde_json::from_slice(&std::fs::read(answers).unwrap()).unwrap();
    let annotations = document["annotations"].as_array().unwrap().clone();
    let mut ids: Vec<String> = annotations
        .iter()
        .map(|annotation| annotation["image_id"].to_string())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    // Questions name images by number, as COCO's files are named; the scenes are numbered otherwise.
    let scenes = tasks.sandbox.path("data/scenes/images/test");
    for (id, at) in ids.iter().zip(0..) {
        let image = std::fs::read(scenes.join(format!("{at:06}.jpg"))).unwrap();
        let name = format!("data/images/COCO_test2015_{id:0>12}.jpg");
        tasks.sandbox.write(&name, image);
    }
    let of_images: Vec<(&str, usize)> = ids
        .iter()
        .zip(2..)
        .map(|(id, n)| (id.as_str(), n))
        .collect();
    tasks.sandbox.write("data/regions.tsv", regions(&of_images));
    tasks.dataset("questions", QUESTIONS);
    (tasks, annotations)
}

#[test]
fn questions_are_answered_by_a_head_or_by_a_rule_and_records_say_which() {
    let (tasks, annotations) = questions();
    tasks.suite(
        &["constant", "random", "answers"],
        "[[task]]\nkind = \"vqa\"\ndataset = \"questions\"\nmetrics = [\"vqa-official\", \"vqa-classifier\"]\n",
    );

    // The head has 31 outputs without names: a list of other length names none of them.
    let names =
        std::fs::read_to_string(workspace().join("manifests/datasets/scenes-answers.txt")).unwrap();
    tasks.sandbox.write("data/answers.txt", &names);
    tasks.run("--records short").expect(2).says(&[
        "`answers` has 31 labels without names",
        "names 26",
        "hint: ",
    ]);

    let more: Vec<String> = (names.lines().count()..31)
        .map(|i| format!("answer {i}\n"))
        .collect();
    let more = more.concat();
    tasks
        .sandbox
        .write("data/answers.txt", format!("{names}{more}"));
    let records = tasks.records("records", "");
    let asked = |model: &str| &records[model]["tasks"][0]["asked"];
    assert_eq!(*asked("answers"), json!({"capability": "classify"}));
    for baseline in ["constant", "random"] {
        let rule = asked(baseline)["rule"].as_str().unwrap();
        assert!(
            rule.starts_with("from `embed`: the logit of a label is"),
            "{rule}"
        );
    }
    for (model, record) in &records {
        let (_, lines) = tasks.predictions("records", record, 0);
        assert_eq!(lines.len(), annotations.len());
        // The ten answers to each of these questions are equal.
        let right = lines.iter().zip(&annotations).filter(|(line, annotation)| {
            assert_eq!(
                line["key"].as_str().unwrap(),
                annotation["question_id"].to_string()
            );
            assert_eq!(
                line["prediction"]["answer"],
                line["prediction"]["labels"][0][0]
            );
            line["prediction"]["answer"] == annotation["answers"][0]["answer"]
        });
        let expected = right.count() as f64 / annotations.len() as f64;
        near(value(record, 0, "vqa-official"), expected);
        near(value(record, 0, "vqa-classifier"), expected);
        if model == "constant" {
            assert!(
                lines
                    .iter()
                    .all(|line| line["prediction"]["answer"] == "yes"),
                "the first"
            );
        }
    }

    let alone = tasks.records("alone", "--batch-size 1 --models answers");
    let bytes =
        |folder: &str, record: &Value| std::fs::read(tasks.path(folder, record, 0)).unwrap();
    assert!(bytes("records", &records["answers"]) == bytes("alone", &alone["answers"]));

    tasks
        .sandbox
        .sightline("board records --out site")
        .expect(0);
    let page = std::fs::read_to_string(tasks.sandbox.path("site/index.html")).unwrap();
    for part in ["by a rule", "random: classify from `embed`", "vqa-official"] {
        assert!(page.contains(part), "the page lacks {part}");
    }

    // Without regions the head has nothing to look at, which the lock finds.
    tasks.dataset(
        "questions",
        &QUESTIONS.replace("regions = \"regions.tsv\"\n", ""),
    );
    tasks.run("--records none").expect(2).says(&[
        "dataset `questions` has no `regions`",
        "hint: Add `regions`",
    ]);
}

#[test]
fn statements_about_pairs_are_judged_and_sentences_counted_whole() {
    let tasks = Tasks::new();
    let mut examples = String::new();
    let mut images = Vec::new();
    for (pair, label) in [(0, "True"), (1, "False"), (2, "True")] {
        for sentence in 0..2 {
            let line = json!({"identifier": format!("dev-7-{pair}-{sentence}"), "label": label,
                "sentence": format!("There are {sentence} dogs in one image."), "validation": {}});
            let _ = writeln!(examples, "{line}");
        }
        images.extend((0..2).map(|side| format!("dev-7-{pair}-img{side}")));
    }
    tasks.sandbox.write("data/dev.json", examples);
    let of_images: Vec<(&str, usize)> = images
        .iter()
        .zip([3, 1, 4, 2, 1, 5])
        .map(|(i, n)| (i.as_str(), n))
        .collect();
    tasks.sandbox.write("data/regions.tsv", regions(&of_images));
    tasks.dataset(
        "nlvr2",
        "regions = \"regions.tsv\"\n[annotations]\nform = \"nlvr2\"\n[annotations.files]\nexamples = \"dev.json\"\n",
    );
    tasks.suite(
        &["pairs"],
        "[[task]]\nkind = \"nlvr2\"\ndataset = \"nlvr2\"\n",
    );
    let record = &tasks.records("records", "")["pairs"];
    let (_, lines) = tasks.predictions("records", record, 0);
    let is_right = |line: &Value| {
        let pair = line["key"].as_str().unwrap().split('-').nth(2).unwrap();
        label(line) == if pair == "1" { "False" } else { "True" }
    };
    let right = lines.iter().filter(|line| is_right(line)).count();
    near(value(record, 0, "nlvr2-accuracy"), right as f64 / 6.0);
    let consistent = (0..2).filter(|sentence| {
        let end = format!("-{sentence}");
        let mut own = lines
            .iter()
            .filter(|line| line["key"].as_str().unwrap().ends_with(&end));
        own.all(is_right)
    });
    near(
        value(record, 0, "nlvr2-consistency"),
        consistent.count() as f64 / 2.0,
    );

    // A sentence of a pair without regions fails, and is told.
    tasks
        .sandbox
        .write("data/regions.tsv", regions(&of_images[..4]));
    let record = &tasks.records("fewer", "")["pairs"];
    let outcome = &record["tasks"][0];
    assert_eq!(
        (&outcome["counts"]["scored"], &outcome["counts"]["failed"]),
        (&json!(4), &json!(2))
    );
    assert_eq!(outcome["reasons"]["no regions of the image"], 2);
}

#[test]
fn answers_and_their_reasons_are_chosen() {
    let tasks = Tasks::new();
    let example = |number: usize, answer: usize| {
        json!({"annot_id": format!("val-{number}"), "img_fn": format!("film/a_{number}@0.jpg"),
            "objects": ["person", "cup", "person"],
            "question": ["Why", "is", [number % 3], "smiling", "?"],
            "answer_choices": [[[0], "won", "."], [[2], "lost", "."], ["No", "reason", "."], [[1], "is", "full", "."]],
            "answer_label": answer,
            "rationale_choices": [["Because", "."], [[0, 2], "are", "friends", "."], ["So", "."], ["Cups", "."]],
            "rationale_label": 1})
    };
    let examples: Vec<Value> = (0..5).map(|number| example(number, number % 4)).collect();
    let text: Vec<String> = examples
        .iter()
        .map(|example| format!("{example}\n"))
        .collect();
    let text = text.concat();
    tasks.sandbox.write("data/val.jsonl", text);
    // The whole image and three objects; in the last image there are others.
    let names: Vec<String> = (0..5).map(|number| format!("a_{number}@0")).collect();
    let of_images: Vec<(&str, usize)> = names
        .iter()
        .zip([4, 4, 4, 4, 6])
        .map(|(name, n)| (name.as_str(), n))
        .collect();
    tasks.sandbox.write("data/regions.tsv", regions(&of_images));
    tasks.dataset(
        "vcr",
        "regions = \"regions.tsv\"\n[annotations]\nform = \"vcr\"\n[annotations.files]\nexamples = \"val.jsonl\"\n",
    );
    tasks.suite(
        &["choices"],
        "[[task]]\nkind = \"vcr\"\ndataset = \"vcr\"\n",
    );
    let record = &tasks.records("records", "")["choices"];
    let (_, lines) = tasks.predictions("records", record, 0);
    let best = |logits: &Value| {
        let logits: Vec<f64> = logits
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l.as_f64().unwrap())
            .collect();
        assert_eq!(logits.len(), 4);
        (0..4).reduce(|best, next| {
            if logits[next] > logits[best] {
                next
            } else {
                best
            }
        })
    };
    let right: Vec<[bool; 2]> = lines[..4]
        .iter()
        .zip(0..)
        .map(|(line, number)| {
            let logits = &line["prediction"]["logits"];
            [
                best(&logits[0]) == Some(number % 4),
                best(&logits[1]) == Some(1),
            ]
        })
        .collect();
    let share = |is: fn(&[bool; 2]) -> bool| right.iter().filter(|r| is(r)).count() as f64 / 4.0;
    near(value(record, 0, "vcr-q-a"), share(|right| right[0]));
    near(value(record, 0, "vcr-qa-r"), share(|right| right[1]));
    near(
        value(record, 0, "vcr-q-ar"),
        share(|right| right[0] && right[1]),
    );
    assert_eq!(
        record["tasks"][0]["reasons"]["the regions are not those of the annotated objects"],
        1
    );
}

#[test]
fn phrases_are_grounded_in_the_boxes_of_the_regions() {
    let tasks = Tasks::new();
    tasks.sandbox.write(
        "data/entities/Sentences/36979.txt",
        "[/EN#1/people Two men] with [/EN#2/bodyparts long hair] in [/EN#3/scene a yard] .\nNobody is here .\n",
    );
    let object = |id: u32, left: u32| {
        format!(
            "<object><name>{id}</name><bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>11</ymax></bndbox></object>\n",
            left + 1,
            left + 11
        )
    };
    let boxes = [object(1, 0), object(1, 20), object(2, 10)].concat();
    tasks.sandbox.write(
        "data/entities/Annotations/36979.xml",
        format!("<annotation>\n{boxes}<object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object>\n</annotation>\n"),
    );
    tasks.sandbox.write("data/entities/test.txt", "36979\n");
    tasks
        .sandbox
        .write("data/regions.tsv", regions(&[("36979", 4)]));
    tasks.dataset(
        "entities",
        "regions = \"regions.tsv\"\n[annotations]\nform = \"flickr30k-entities\"\n[annotations.files]\n\
         sentences = \"entities/Sentences/*.txt\"\nboxes = \"entities/Annotations/*.xml\"\nlist = \"entities/test.txt\"\n",
    );
    tasks.suite(
        &["phrases"],
        "[[task]]\nkind = \"grounding\"\ndataset = \"entities\"\n",
    );
    let record = &tasks.records("records", "")["phrases"];
    let outcome = &record["tasks"][0];
    assert_eq!(outcome["reasons"], json!({"no phrase with a box": 1}));
    let (_, lines) = tasks.predictions("records", record, 0);
    let phrases = lines[0]["prediction"]["phrases"].as_array().unwrap();
    assert_eq!(phrases.len(), 2, "the yard has no box");
    // Region k is the box at 10 k: the first phrase means 0 and 2, the second 1.
    let first = |phrase: usize| phrases[phrase]["boxes"][0][0].as_f64().unwrap() as u32 / 10;
    let found = [[0, 2].contains(&first(0)), first(1) == 1];
    let share = found.iter().filter(|&&found| found).count() as f64 / 2.0;
    near(value(record, 0, "grounding-recall@1.any-box"), share);
    near(value(record, 0, "grounding-recall@5.any-box"), 1.0);
    // The box around 0 to 30 is of three regions' size, so that no region covers half of it.
    let merged = if found[1] { 0.5 } else { 0.0 };
    near(value(record, 0, "grounding-recall@1.merged-boxes"), merged);
}

#[test]
fn entailment_and_objects_are_asked_of_baselines_and_heads() {
    let tasks = Tasks::with_scenes(3);
    let images: Vec<String> = std::fs::read_dir(tasks.sandbox.path("data/scenes/images/test"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let stem = |image: &str| {
        Path::new(image)
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let (mut entailment, mut objects) = (String::new(), String::new());
    for (image, number) in images.iter().zip(0..) {
        let gold = ["entailment", "contradiction", "-"][number % 3];
        let line = json!({"Flickr30K_ID": stem(image), "gold_label": gold,
            "pairID": format!("{image}#0r1e"), "sentence1": "Shapes.", "sentence2": "There is a shape."});
        let _ = writeln!(entailment, "{line}");
        let answer = ["no", "yes"][number % 2];
        let line = json!({"question_id": number + 1, "image": image, "text": "Is there a dog in the image?",
            "label": answer});
        let _ = writeln!(objects, "{line}");
    }
    tasks.sandbox.write("data/snli_ve_test.jsonl", entailment);
    tasks.sandbox.write("data/pope.json", objects);
    let of_images: Vec<(&str, usize)> = images.iter().map(|image| (image.as_str(), 3)).collect();
    tasks.sandbox.write("data/regions.tsv", regions(&of_images));
    let names: Vec<String> = (2..31).map(|i| format!("answer {i}\n")).collect();
    let names = names.concat();
    tasks
        .sandbox
        .write("data/answers.txt", format!("yes\n{names}no\n"));
    let visuals = "images = \"scenes/images/test/*\"\nregions = \"regions.tsv\"\n";
    tasks.dataset(
        "snli",
        &format!("{visuals}[annotations]\nform = \"snli-ve\"\n[annotations.files]\nexamples = \"snli_ve_test.jsonl\"\n"),
    );
    tasks.dataset(
        "pope",
        &format!("{visuals}classes = \"answers.txt\"\n[annotations]\nform = \"pope\"\n[annotations.files]\nquestions = \"pope.json\"\n"),
    );
    tasks.suite(
        &["constant", "random", "captioner"],
        "[[task]]\nkind = \"snli-ve\"\ndataset = \"snli\"\n\
         [[task]]\nkind = \"pope\"\ndataset = \"pope\"\nmodels = [\"constant\", \"answers\"]\n",
    );
    let records = tasks.records("records", "");
    let constant = &records["constant"];
    // All labels are as good, so the first of the usual order; one of three has no label.
    assert_eq!(constant["tasks"][0]["counts"]["skipped"], 1);
    near(value(constant, 0, "accuracy@1"), 0.5);
    assert_eq!(constant["tasks"][0]["scores"][0]["ties"], 2);
    let (_, lines) = tasks.predictions("records", constant, 0);
    assert!(lines.iter().all(|line| label(line) == "contradiction"));

    let captioner = &records["captioner"]["tasks"][0];
    let rule = captioner["asked"]["rule"].as_str().unwrap();
    assert!(
        rule.starts_with("from `score`: the logit of a label is the sum"),
        "{rule}"
    );
    assert_eq!(captioner["counts"]["scored"], 2);

    let heads = &records["answers"];
    let (_, lines) = tasks.predictions("records", heads, 0);
    let said_yes: Vec<bool> = lines
        .iter()
        .map(|line| line["prediction"]["answer"] == "yes")
        .collect();
    let right = said_yes
        .iter()
        .zip([false, true, false])
        .filter(|(said, right)| **said == *right);
    near(value(heads, 0, "pope-accuracy"), right.count() as f64 / 3.0);
    let yes = said_yes.iter().filter(|said| **said).count();
    near(value(heads, 0, "pope-yes-ratio"), yes as f64 / 3.0);
    assert!(
        lines
            .iter()
            .all(|line| line["prediction"]["labels"].as_array().unwrap().len() == 2)
    );
}

#[test]
fn captions_are_told_from_foils_by_a_head_and_by_nearness() {
    let tasks = Tasks::with_scenes(4);
    let images: Vec<String> = std::fs::read_dir(tasks.sandbox.path("data/scenes/images/test"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let examples: serde_json::Map<String, Value> = images
        .iter()
        .zip(0..)
        .map(|(image, number)| {
            let example = json!({"image_file": image, "caption": "There are shapes.", "foil": "There are dogs.",
                "mturk": {"caption": 3, "foil": 0, "other": 0}});
            (format!("existence_{number}"), example)
        })
        .collect();
    tasks
        .sandbox
        .write("data/existence.json", Value::Object(examples).to_string());
    let of_images: Vec<(&str, usize)> = images.iter().map(|image| (image.as_str(), 2)).collect();
    tasks.sandbox.write("data/regions.tsv", regions(&of_images));
    tasks.dataset(
        "valse",
        "images = \"scenes/images/test/*\"\nregions = \"regions.tsv\"\n[annotations]\nform = \"valse\"\n\
         [annotations.files]\nexamples = \"existence.json\"\n",
    );
    tasks.suite(
        &["constant", "random", "matches"],
        "[[task]]\nkind = \"matching\"\ndataset = \"valse\"\n",
    );
    let records = tasks.records("records", "");
    assert_eq!(records["constant"]["tasks"][0]["scores"][0]["ties"], 4);
    for (model, record) in &records {
        let outcome = &record["tasks"][0];
        assert_eq!(outcome["counts"]["scored"], 4, "{model}");
        assert_eq!(outcome["asked"]["rule"].is_string(), model != "matches");
        assert!((0.0..=1.0).contains(&value(record, 0, "accuracy@1")));
        let (_, lines) = tasks.predictions("records", record, 0);
        assert!(
            lines
                .iter()
                .all(|line| line["prediction"]["odds"].as_array().unwrap().len() == 2)
        );
    }
}

#[test]
fn annotations_that_do_not_fit_are_told_with_file_place_and_remedy() {
    let tasks = Tasks::with_scenes(2);
    let questions = std::fs::read_to_string(
        tasks
            .sandbox
            .path("data/scenes/annotations/questions_test.json"),
    )
    .unwrap();
    tasks.sandbox.write(
        "data/questions.json",
        questions.replacen("\"question_id\"", "\"question_no\"", 1),
    );
    tasks.dataset(
        "broken",
        "images = \"scenes/images/test/*\"\n[annotations]\nform = \"vqa\"\n[annotations.files]\nquestions = \"questions.json\"\n",
    );
    tasks.suite(
        &["constant"],
        "[[task]]\nkind = \"vqa\"\ndataset = \"broken\"\n",
    );
    tasks.run("").expect(2).says(&[
        "questions.json`: missing field `question_id`",
        "hint: The file should be like `v2_OpenEnded_mscoco_val2014_questions.json`",
    ]);

    // What no file is needed for is told by the manifest.
    for (text, parts) in [
        (
            "images = \"x/*\"\n[annotations]\nform = \"vqua\"\nfiles = { questions = \"q\" }\n",
            &["unknown annotation form `vqua`", "Did you mean `vqa`?"][..],
        ),
        (
            "images = \"x/*\"\n[annotations]\nform = \"vqa\"\nfiles = { question = \"q\" }\n",
            &["unknown annotation file `question`", "has no `questions`"][..],
        ),
        (
            "images = \"x/*\"\n[annotations]\nform = \"karpathy\"\nfiles = { dataset = \"q\" }\n",
            &["`split` is missing, the form `karpathy` needs it"][..],
        ),
        (
            "[annotations]\nform = \"vqa\"\nfiles = { questions = \"q\" }\n",
            &["has neither `images` nor `regions`"][..],
        ),
        (
            "images = \"x/*\"\n[annotations]\nform = \"nlvr2\"\nfiles = { examples = \"q\" }\n",
            &["dataset `broken` is annotations of the form `nlvr2`, a `vqa` task reads"][..],
        ),
    ] {
        tasks.dataset("broken", text);
        tasks.run("").expect(2).says(parts);
    }
}

#[test]
fn the_repositorys_suites_are_plans() {
    let folder = workspace().join("manifests/suites");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        // A list of suites lies beside them.
        if text.contains("\nnightly = ") {
            continue;
        }
        let sandbox = Sandbox::new();
        let mut arguments = vec!["plan".to_owned(), path.display().to_string()];
        // Every model of theirs that has a checkpoint may be given one.
        for name in text.split('"').filter(|part| {
            let manifest = workspace().join(format!("manifests/models/{part}.toml"));
            !part.is_empty() && manifest.is_file() && !["constant", "random"].contains(part)
        }) {
            arguments.push("--checkpoint".to_owned());
            arguments.push(format!("{name}=nowhere"));
        }
        sandbox.run(arguments).expect(0);
    }
}
