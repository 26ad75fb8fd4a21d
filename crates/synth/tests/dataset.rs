//! A written dataset, read back from its files alone: what captions and answers say is worked out
//! again from the boxes and attributes.

#![expect(
    clippy::unwrap_used,
    reason = "a file that cannot be read back is a failure of the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use sightline_core::progress::Silent;
use sightline_core::{Digest, Hint, ImageFormat, Seed};
use sightline_synth::{Error, ScenesSpec, Summary, write_scenes};

const COLOURS: [&str; 8] = [
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "white",
];
const SHAPES: [&str; 6] = ["circle", "square", "triangle", "star", "diamond", "cross"];
const SPLITS: [&str; 3] = ["train", "val", "test"];

fn spec() -> ScenesSpec {
    ScenesSpec {
        train: 300,
        val: 120,
        test: 120,
        ..ScenesSpec::default()
    }
}

fn tiny() -> ScenesSpec {
    ScenesSpec {
        train: 6,
        val: 4,
        test: 2,
        ..ScenesSpec::default()
    }
}

fn write(spec: &ScenesSpec, out: &Path) -> Summary {
    write_scenes(spec, out, &Silent).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Every file below `root` with its digest.
fn digests(root: &Path) -> BTreeMap<String, Digest> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.insert(name, Digest::of(&fs::read(path).unwrap()));
            }
        }
    }
    found
}

/// An object as the instances file describes it.
#[derive(Debug)]
struct Seen {
    colour: String,
    shape: String,
    size: String,
    centre: [f64; 2],
}

/// The objects of every image of a split, from the COCO file alone.
fn objects(root: &Path, split: &str) -> BTreeMap<u64, Vec<Seen>> {
    let file = json(&root.join(format!("annotations/instances_{split}.json")));
    let mut shapes = BTreeMap::new();
    for category in file["categories"].as_array().unwrap() {
        shapes.insert(
            category["id"].as_u64().unwrap(),
            category["name"].as_str().unwrap(),
        );
    }
    let mut found = BTreeMap::<u64, Vec<Seen>>::new();
    for one in file["annotations"].as_array().unwrap() {
        let side = |i: usize| one["bbox"][i].as_f64().unwrap();
        found
            .entry(one["image_id"].as_u64().unwrap())
            .or_default()
            .push(Seen {
                colour: one["attributes"]["colour"].as_str().unwrap().to_owned(),
                shape: shapes[&one["category_id"].as_u64().unwrap()].to_owned(),
                size: one["attributes"]["size"].as_str().unwrap().to_owned(),
                centre: [side(0) + side(2) / 2.0, side(1) + side(3) / 2.0],
            });
    }
    found
}

/// The background of every image of a split.
fn backgrounds(root: &Path, split: &str) -> BTreeMap<u64, String> {
    let text = fs::read_to_string(root.join(format!("scenes_{split}.jsonl"))).unwrap();
    let lines = text
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    lines
        .map(|l| {
            let pattern = l["scene"]["background"]["pattern"].as_str().unwrap();
            (l["scene_id"].as_u64().unwrap(), pattern.to_owned())
        })
        .collect()
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect()
}

/// "colour shape" wherever the two words follow each other: position, size word before, words.
fn mentions(words: &[String]) -> Vec<(usize, Option<&str>, &str, &str)> {
    (1..words.len())
        .filter(|&i| COLOURS.contains(&&*words[i - 1]) && SHAPES.contains(&&*words[i]))
        .map(|i| {
            let before = i.checked_sub(2).map(|b| words[b].as_str());
            let size = before.filter(|w| ["large", "small"].contains(w));
            (i, size, words[i - 1].as_str(), words[i].as_str())
        })
        .collect()
}

fn number(word: &str) -> Option<usize> {
    ["no", "one", "two", "three", "four"]
        .iter()
        .position(|w| *w == word)
}

/// The one object that a mention stands for.
fn find<'a>(all: &'a [Seen], colour: &str, shape: &str, text: &str) -> &'a Seen {
    let mut like = all
        .iter()
        .filter(|o| o.colour == colour && o.shape == shape);
    let one = like
        .next()
        .unwrap_or_else(|| panic!("no such object: {text} {all:?}"));
    assert!(like.next().is_none(), "two such objects: {text} {all:?}");
    one
}

/// Whether `a` lies on the side of `b` that the words name, judged by the centres of the boxes.
fn lies(a: &Seen, word: &str, b: &Seen) -> bool {
    // Boxes are whole pixels, and a triangle's middle is above its centre.
    let slack = 4.0;
    let [dx, dy] = [a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]];
    match word {
        "left" => dx < 0.0 && dx.abs() + slack >= dy.abs(),
        "right" => dx > 0.0 && dx.abs() + slack >= dy.abs(),
        "above" => dy < 0.0 && dy.abs() + slack >= dx.abs(),
        "below" => dy > 0.0 && dy.abs() + slack >= dx.abs(),
        _ => panic!("no relation: {word}"),
    }
}

const SIDES: [&str; 4] = ["left", "right", "above", "below"];

/// Checks every claim of a caption; returns how many there were of each kind.
fn check_caption(
    text: &str,
    all: &[Seen],
    pattern: &str,
    claims: &mut BTreeMap<&'static str, u32>,
) {
    let words = words(text);
    let mentions = mentions(&words);
    for (_, size, colour, shape) in &mentions {
        let object = find(all, colour, shape, text);
        *claims.entry("object").or_default() += 1;
        if let Some(size) = size {
            assert_eq!(object.size, *size, "{text} {all:?}");
            *claims.entry("size").or_default() += 1;
        }
    }
    for pair in mentions.windows(2) {
        let between = &words[pair[0].0 + 1..pair[1].0];
        if let Some(side) = between.iter().find(|w| SIDES.contains(&w.as_str())) {
            let subject = find(all, mentions[0].2, mentions[0].3, text);
            let object = find(all, pair[1].2, pair[1].3, text);
            assert!(lies(subject, side, object), "{text} {all:?}");
            *claims.entry("relation").or_default() += 1;
        }
    }
    for (i, word) in words.iter().enumerate() {
        let next = words.get(i + 1).map(String::as_str);
        let last = words.get(i + 2).map(String::as_str);
        match (number(word), next, last) {
            (Some(n), Some("shape" | "shapes"), _) => {
                assert_eq!(all.len(), n, "{text} {all:?}");
                *claims.entry("number").or_default() += 1;
            }
            (Some(n), Some("small"), Some("shape" | "shapes")) => {
                assert_eq!(all.len() - 1, n, "{text} {all:?}");
                *claims.entry("number").or_default() += 1;
            }
            _ => {}
        }
        let adjective = match word.as_str() {
            "plain" => "flat",
            "shaded" => "gradient",
            "grainy" => "noise",
            "striped" => "stripes",
            "checkered" => "checker",
            _ => continue,
        };
        assert_eq!(pattern, adjective, "{text}");
        *claims.entry("background").or_default() += 1;
    }
    if ["alone", "nothing", "only"]
        .iter()
        .any(|w| words.iter().any(|x| x == w))
    {
        assert_eq!(all.len(), 1, "{text}");
        *claims.entry("alone").or_default() += 1;
    }
    if mentions.len() == 1 && (text.contains("at the ") || text.contains("in the centre")) {
        let [x, y] = all[0].centre.map(|v| v / 64.0);
        let has = |w: &str| words.iter().any(|x| x == w);
        // Words change at 0.4 and 0.6; a triangle's box is a quarter of its radius higher.
        assert!(!has("left") || x < 0.42, "{text} {x}");
        assert!(!has("right") || x > 0.58, "{text} {x}");
        assert!(!has("top") || y < 0.42, "{text} {y}");
        assert!(!has("bottom") || y > 0.52, "{text} {y}");
        *claims.entry("place").or_default() += 1;
    }
}

/// Works out the answer to a question from the objects.
fn answer(question: &str, all: &[Seen]) -> String {
    let words = words(question);
    let mentions = mentions(&words);
    let start: Vec<&str> = words.iter().take(3).map(String::as_str).collect();
    let has = |w: &str| words.iter().any(|x| x == w);
    let is_meant = |o: &&Seen| {
        words.iter().skip(2).all(|w| {
            let w = w.as_str();
            match w {
                "large" | "small" => o.size == w,
                _ if COLOURS.contains(&w) => o.colour == w,
                _ => SHAPES
                    .iter()
                    .filter(|s| w == **s || w == format!("{s}s") || w == format!("{s}es"))
                    .all(|s| o.shape == *s),
            }
        })
    };
    let meant: Vec<&Seen> = all.iter().filter(is_meant).collect();
    match start[..] {
        ["what", what, "is"] => {
            assert_eq!(meant.len(), 1, "ambiguous: {question} {all:?}");
            match what {
                "colour" => meant[0].colour.clone(),
                "shape" => meant[0].shape.clone(),
                _ => panic!("{question}"),
            }
        }
        ["how", "many", _] => meant.len().to_string(),
        ["is", "there", _] => if meant.is_empty() { "no" } else { "yes" }.to_owned(),
        ["is", "the", _] | ["where", "is", "the"] => {
            let [one, other] = [0, 1].map(|i| find(all, mentions[i].2, mentions[i].3, question));
            if start[0] == "where" {
                let sides: Vec<&str> = SIDES.into_iter().filter(|s| lies(one, s, other)).collect();
                assert!(!sides.is_empty());
                // The clear one is that of the longer axis.
                let [dx, dy] = [0, 1].map(|i| one.centre[i] - other.centre[i]);
                return match (dx.abs() > dy.abs(), dx < 0.0, dy < 0.0) {
                    (true, true, _) => "left",
                    (true, false, _) => "right",
                    (false, _, true) => "above",
                    (false, _, false) => "below",
                }
                .to_owned();
            }
            let side = SIDES.into_iter().find(|s| has(s)).unwrap();
            if lies(one, side, other) { "yes" } else { "no" }.to_owned()
        }
        _ => panic!("unknown question: {question}"),
    }
}

#[test]
fn captions_and_answers_are_true_and_held_out_classes_stay_out_of_training() {
    let dir = tempfile::tempdir().unwrap();
    let summary = write(&spec(), dir.path());
    let held_out: BTreeSet<&str> = summary
        .held_out_classes
        .iter()
        .map(String::as_str)
        .collect();
    assert_eq!(held_out.len(), 8);
    let mut claims = BTreeMap::new();
    for split in SPLITS {
        let objects = objects(dir.path(), split);
        let backgrounds = backgrounds(dir.path(), split);
        let annotations = |kind: &str, key: &str| {
            let file = json(&dir.path().join(format!("annotations/{kind}_{split}.json")));
            file[key].as_array().unwrap().clone()
        };
        let mut texts = Vec::new();
        for caption in annotations("captions", "annotations") {
            let id = caption["image_id"].as_u64().unwrap();
            let text = caption["caption"].as_str().unwrap();
            check_caption(text, &objects[&id], &backgrounds[&id], &mut claims);
            texts.push(text.to_owned());
        }
        let mut answers = BTreeMap::new();
        for given in annotations("answers", "annotations") {
            let all = given["answers"].as_array().unwrap();
            assert_eq!(all.len(), 10);
            assert!(
                all.iter()
                    .all(|a| a["answer"] == given["multiple_choice_answer"])
            );
            let text = given["multiple_choice_answer"].as_str().unwrap().to_owned();
            let kind = match text.as_str() {
                "yes" | "no" => "yes/no",
                t if t.parse::<u32>().is_ok() => "number",
                _ => "other",
            };
            assert_eq!(given["answer_type"], kind);
            answers.insert(given["question_id"].as_u64().unwrap(), text);
        }
        for asked in annotations("questions", "questions") {
            let id = asked["image_id"].as_u64().unwrap();
            let text = asked["question"].as_str().unwrap();
            let right = answer(text, &objects[&id]);
            let given = &answers[&asked["question_id"].as_u64().unwrap()];
            assert_eq!(*given, right, "{text} {:?}", objects[&id]);
            texts.push(text.to_owned());
        }

        let is_held_out = |o: &Seen| held_out.contains(&*format!("{} {}", o.colour, o.shape));
        let with = objects
            .values()
            .filter(|all| all.iter().any(is_held_out))
            .count();
        match split {
            "train" => {
                assert_eq!(with, 0);
                for text in &texts {
                    for (_, _, colour, shape) in mentions(&words(text)) {
                        assert!(!held_out.contains(&*format!("{colour} {shape}")), "{text}");
                    }
                }
            }
            _ => assert_eq!(with, 30),
        }
    }
    for (kind, at_least) in [
        ("object", 4000),
        ("size", 4000),
        ("relation", 1000),
        ("number", 800),
        ("background", 500),
        ("alone", 100),
        ("place", 100),
    ] {
        assert!(claims[kind] >= at_least, "{claims:?}");
    }
}

#[test]
fn ids_are_consistent_and_the_tables_agree_with_the_annotations() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec();
    let summary = write(&spec, dir.path());
    let classes = fs::read_to_string(dir.path().join("classes.txt")).unwrap();
    let classes: Vec<&str> = classes.lines().collect();
    assert_eq!(classes.len(), 48);
    let list = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let (seen, held_out) = (list("classes_seen.txt"), list("classes_held_out.txt"));
    assert_eq!(held_out, summary.held_out_classes);
    assert_eq!(seen.len() + held_out.len(), classes.len());
    assert!(classes.iter().all(|class| {
        let is_in = |list: &[String]| list.iter().any(|name| name == class);
        is_in(&seen) != is_in(&held_out)
    }));
    let mut image_ids = BTreeSet::new();
    for (split, counts) in SPLITS.into_iter().zip(&summary.splits) {
        let mut images = BTreeMap::new();
        for kind in ["captions", "instances"] {
            let file = json(&dir.path().join(format!("annotations/{kind}_{split}.json")));
            images.clear();
            for image in file["images"].as_array().unwrap() {
                let name = image["file_name"].as_str().unwrap();
                assert!(dir.path().join("images").join(split).join(name).exists());
                let url = image["coco_url"].as_str().unwrap().to_owned();
                assert!(url.ends_with(&format!("/images/{split}/{name}")));
                assert_eq!(
                    (&image["width"], &image["height"]),
                    (&64.into(), &64.into())
                );
                images.insert(image["id"].as_u64().unwrap(), url);
            }
            let mut ids = BTreeSet::new();
            for one in file["annotations"].as_array().unwrap() {
                let id = one["id"].as_u64().unwrap();
                assert!(id > 0 && ids.insert(id));
                assert!(images.contains_key(&one["image_id"].as_u64().unwrap()));
            }
            let expected = if kind == "captions" {
                counts.captions
            } else {
                counts.objects
            };
            assert_eq!(ids.len() as u64, expected);
        }
        assert_eq!(images.len() as u64, counts.scenes);
        let questions = json(
            &dir.path()
                .join(format!("annotations/questions_{split}.json")),
        );
        let answers = json(&dir.path().join(format!("annotations/answers_{split}.json")));
        let ids = |list: &Value| -> Vec<(u64, u64)> {
            let of = |v: &Value| {
                (
                    v["question_id"].as_u64().unwrap(),
                    v["image_id"].as_u64().unwrap(),
                )
            };
            list.as_array().unwrap().iter().map(of).collect()
        };
        let asked = ids(&questions["questions"]);
        assert_eq!(asked, ids(&answers["annotations"]));
        assert_eq!(asked.len() as u64, counts.questions);
        let distinct: BTreeSet<u64> = asked.iter().map(|(q, _)| *q).collect();
        assert_eq!(distinct.len(), asked.len());
        assert!(asked.iter().all(|(_, image)| images.contains_key(image)));

        let objects = objects(dir.path(), split);
        let mut rows =
            csv::Reader::from_path(dir.path().join(format!("urls/{split}.csv"))).unwrap();
        let mut n = 0;
        for row in rows.deserialize::<BTreeMap<String, String>>() {
            let row = row.unwrap();
            let id: u64 = row["scene_id"].parse().unwrap();
            assert!(image_ids.insert(id));
            assert_eq!(row["url"], images[&id]);
            let captions: Vec<String> = serde_json::from_str(&row["captions"]).unwrap();
            assert_eq!((captions.len(), &captions[0]), (5, &row["caption"]));
            let class = row["class_label"].parse::<usize>().unwrap();
            assert_eq!(row["class_name"], classes[class]);
            let large: Vec<&Seen> = objects[&id].iter().filter(|o| o.size == "large").collect();
            assert_eq!(large.len(), 1);
            let name = format!("{} {}", large[0].colour, large[0].shape);
            assert_eq!(row["class_name"], name);
            let is_held_out = summary.held_out_classes.contains(&name);
            assert_eq!(row["held_out"], is_held_out.to_string());
            assert_eq!(row["split"], split);
            n += 1;
        }
        assert_eq!(n, counts.scenes);
    }
}

#[test]
fn boxes_of_classes_are_those_of_shapes_and_training_lacks_the_held_out_ones() {
    let dir = tempfile::tempdir().unwrap();
    let summary = write(&spec(), dir.path());
    for split in ["train", "val", "test"] {
        let file = |kind: &str| json(&dir.path().join(format!("annotations/{kind}_{split}.json")));
        let classes = file("objects");
        let names = classes["categories"].as_array().unwrap();
        assert_eq!(names.len(), 48);
        let mut named = BTreeMap::<u64, Vec<String>>::new();
        for one in classes["annotations"].as_array().unwrap() {
            let category = &names[one["category_id"].as_u64().unwrap() as usize - 1];
            assert_eq!(category["id"], one["category_id"]);
            let name = category["name"].as_str().unwrap().to_owned();
            if split == "train" {
                assert!(!summary.held_out_classes.contains(&name));
            }
            let image = one["image_id"].as_u64().unwrap();
            named.entry(image).or_default().push(name);
        }
        for (image, seen) in objects(dir.path(), split) {
            let wanted: Vec<String> = seen
                .iter()
                .map(|s| format!("{} {}", s.colour, s.shape))
                .collect();
            assert_eq!(named[&image], wanted);
        }
    }
}

#[test]
fn parquet_holds_the_rows_of_the_csv() {
    use polars::prelude::{ParquetReader, SerReader};
    let dir = tempfile::tempdir().unwrap();
    write(&tiny(), dir.path());
    let file = fs::File::open(dir.path().join("urls/val.parquet")).unwrap();
    let table = ParquetReader::new(file).finish().unwrap();
    let mut rows = csv::Reader::from_path(dir.path().join("urls/val.csv")).unwrap();
    let header = rows.headers().unwrap().clone();
    assert_eq!(table.get_column_names(), header.iter().collect::<Vec<_>>());
    assert_eq!(table.height(), 4);
    for (i, row) in rows.records().enumerate() {
        let row = row.unwrap();
        for (name, text) in header.iter().zip(&row) {
            let column = table.column(name).unwrap();
            if name == "captions" {
                let series = column.list().unwrap().get_as_series(i).unwrap();
                let list: Vec<&str> = series.str().unwrap().iter().flatten().collect();
                let expected: Vec<String> = serde_json::from_str(text).unwrap();
                assert_eq!(list, expected);
            } else {
                let value = column.get(i).unwrap();
                let value = value
                    .get_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                assert_eq!(value, text, "{name}");
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_byte_and_seeds_do() {
    let all: Vec<BTreeMap<String, Digest>> = [(1, 17), (4, 17), (2, 18)]
        .into_iter()
        .map(|(threads, seed)| {
            let dir = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let spec = ScenesSpec {
                seed: Seed(seed),
                ..spec()
            };
            pool.install(|| write(&spec, dir.path()));
            digests(dir.path())
        })
        .collect();
    assert_eq!(all[0].len(), 540 + 3 * 12 + 4);
    assert_eq!(all[0], all[1]);
    assert_ne!(
        all[0]["images/test/000000.jpg"],
        all[2]["images/test/000000.jpg"]
    );
    assert_ne!(all[0]["urls/val.parquet"], all[2]["urls/val.parquet"]);
}

#[test]
fn a_scene_does_not_depend_on_how_many_there_are() {
    let (few, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(&tiny(), few.path());
    write(
        &ScenesSpec {
            train: 9,
            val: 7,
            test: 5,
            ..tiny()
        },
        many.path(),
    );
    let (few, many) = (digests(few.path()), digests(many.path()));
    for (name, digest) in few.iter().filter(|(name, _)| name.starts_with("images/")) {
        assert_eq!(many[name], *digest, "{name}");
    }
}

#[test]
fn a_complete_folder_is_left_alone_and_another_spec_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = write(&tiny(), dir.path());
    assert!(!first.unchanged);
    let before = digests(dir.path());
    assert_eq!(first.files as usize, before.len());
    let second = write(&tiny(), dir.path());
    assert_eq!(
        second,
        Summary {
            unchanged: true,
            ..first
        }
    );
    let other = ScenesSpec {
        size: 32,
        seed: Seed(1),
        ..tiny()
    };
    let error = write_scenes(&other, dir.path(), &Silent).unwrap_err();
    let message = error.to_string();
    for part in ["`size` is 64 there, 32 was asked for", "`seed` is 17"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(error.hints()[0].contains("another folder"));
    assert_eq!(digests(dir.path()), before);
}

#[test]
fn a_killed_run_is_begun_anew_and_damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write(&tiny(), dir.path());
    let whole = digests(dir.path());

    let image = dir.path().join("images/val/000002.jpg");
    fs::write(&image, b"else").unwrap();
    let error = write_scenes(&tiny(), dir.path(), &Silent).unwrap_err();
    assert!(error.to_string().contains("images/val"), "{error}");
    fs::remove_file(&image).unwrap();
    let error = write_scenes(&tiny(), dir.path(), &Silent).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("000002.jpg`: the file is missing"),
        "{error}"
    );
    fs::write(dir.path().join("urls/val.csv"), b"url\n").unwrap();
    let error = write_scenes(&tiny(), dir.path(), &Silent).unwrap_err();
    assert!(error.to_string().contains("urls/val.csv"), "{error}");
    assert_eq!(error.hints().len(), 1);

    // What a run leaves that ends before `dataset.json` is written.
    let complete = dir.path().join("dataset.json");
    fs::rename(&complete, dir.path().join("dataset.partial.json")).unwrap();
    fs::write(dir.path().join("images/train/.000000.jpg.1-1.tmp"), b"half").unwrap();
    let other = ScenesSpec { val: 5, ..tiny() };
    let error = write_scenes(&other, dir.path(), &Silent).unwrap_err();
    assert!(matches!(error, Error::OtherSpec { .. }), "{error}");
    assert!(!write(&tiny(), dir.path()).unchanged);
    assert_eq!(digests(dir.path()), whole);
}

#[test]
fn a_folder_with_other_files_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), b"mine").unwrap();
    let error = write_scenes(&tiny(), dir.path(), &Silent).unwrap_err();
    assert!(error.to_string().contains("holds `thesis.txt`"), "{error}");
    assert_eq!(digests(dir.path()).len(), 1);

    fs::write(dir.path().join("dataset.json"), b"{}").unwrap();
    let error = write_scenes(&tiny(), dir.path(), &Silent).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn every_format_size_and_empty_split_works() {
    for (format, size) in [
        (ImageFormat::Png, 32),
        (ImageFormat::Webp, 100),
        (ImageFormat::Jpg, 512),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let spec = ScenesSpec {
            format,
            size,
            val: 0,
            max_objects: 1,
            ..tiny()
        };
        let summary = write(&spec, dir.path());
        assert_eq!(summary.splits.len(), 2);
        assert!(summary.splits.iter().all(|s| s.objects == s.scenes));
        let name = format!("images/test/000001.{}", format.extension());
        let bytes = fs::read(dir.path().join(name)).unwrap();
        let options = sightline_imaging::DecodeOptions::pillow();
        let decoded = sightline_imaging::decode_rgb(&bytes, &options).unwrap();
        assert_eq!(
            (decoded.pixels.width(), decoded.pixels.height()),
            (size, size)
        );
        assert!(!dir.path().join("urls/val.csv").exists());
        assert!(write(&spec, dir.path()).unchanged);
    }
}

/// The colour in the middle of each box is the one that the annotation names.
#[test]
fn pixels_have_the_colours_of_the_annotations() {
    let dir = tempfile::tempdir().unwrap();
    let spec = ScenesSpec {
        format: ImageFormat::Png,
        test: 200,
        ..tiny()
    };
    write(&spec, dir.path());
    let palette = sightline_synth::scene::Colour::ALL.map(|c| (c.name(), c.rgb()));
    for (id, all) in objects(dir.path(), "test") {
        let name = format!("images/test/{:06}.png", id - 2_000_001);
        let bytes = fs::read(dir.path().join(name)).unwrap();
        let options = sightline_imaging::DecodeOptions::pillow();
        let pixels = sightline_imaging::decode_rgb(&bytes, &options)
            .unwrap()
            .pixels;
        for object in all {
            let [x, y] = object.centre.map(|v| v as usize);
            let at = (y * 64 + x) * 3;
            let found = &pixels.data()[at..at + 3];
            let distance = |rgb: [u8; 3]| -> u32 {
                rgb.iter()
                    .zip(found)
                    .map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2))
                    .sum()
            };
            let (nearest, _) = palette
                .iter()
                .min_by_key(|(_, rgb)| distance(*rgb))
                .unwrap();
            assert_eq!(*nearest, object.colour, "{id} {object:?}");
        }
    }
}
