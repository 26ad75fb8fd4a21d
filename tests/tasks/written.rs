//! Candidates by their likelihood, and objects that captions make up, each scored again by hand from the predictions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Tasks, near, value};

/// Image files of the scenes' test split, in order.
fn images(tasks: &Tasks) -> Vec<String> {
    let folder = std::fs::read_dir(tasks.sandbox.path("data/scenes/images/test")).unwrap();
    let mut names: Vec<String> = folder
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_likeliest_candidate_is_chosen_by_sum_mean_or_byte() {
    const CANDIDATES: [&str; 3] = [
        "a red circle",
        "some squares beside a large green star",
        "nothing",
    ];
    let tasks = Tasks::with_scenes(4);
    let mut lines = String::new();
    for (image, number) in images(&tasks).iter().zip(0..) {
        // The third is of a test set and has no answer.
        let answer = (number != 2).then_some(number % 3);
        let line = json!({"id": number.to_string(), "image": image, "question": "", "choices": CANDIDATES,
            "answer": answer});
        let _ = writeln!(lines, "{line}");
    }
    tasks.sandbox.write("data/choices.jsonl", lines);
    tasks.dataset(
        "candidates",
        "images = \"scenes/images/test/*\"\n[annotations]\nform = \"choices\"\n[annotations.files]\n\
         questions = \"choices.jsonl\"\n",
    );
    let likelihoods = |how: &str, more: &str| {
        tasks.suite(
            &["captioner"],
            &format!("[[task]]\nkind = \"multiple-choice\"\ndataset = \"candidates\"\n{more}"),
        );
        let record = tasks.records(how, "").remove("captioner").unwrap();
        let outcome = &record["tasks"][0];
        assert_eq!(outcome["asked"]["capability"], "score", "{how}");
        assert_eq!(outcome["counts"]["scored"], 3, "{how}");
        assert_eq!(outcome["counts"]["skipped"], 1, "{how}");
        let (_, lines) = tasks.predictions(how, &record, 0);
        let found: Vec<Vec<f64>> = lines
            .iter()
            .map(|line| serde_json::from_value(line["prediction"]["likelihoods"].clone()).unwrap())
            .collect();
        let best = |row: &Vec<f64>| (0..3).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        let right = [0, 1, 3].map(|number: usize| best(&found[number]) == number % 3);
        let right = right.iter().filter(|right| **right).count();
        near(value(&record, 0, "accuracy@1"), right as f64 / 3.0);
        found
    };
    let sums = likelihoods("sum", "");
    let bytes = likelihoods("byte", "likelihood = \"byte\"\n");
    let means = likelihoods("mean", "likelihood = \"mean\"\n");
    for (row, number) in sums.iter().zip(0..) {
        for (&sum, at) in row.iter().zip(0..) {
            near(bytes[number][at], sum / CANDIDATES[at].len() as f64);
            // A token for each word and one for the end, in the fixture without a vocabulary.
            let tokens = CANDIDATES[at].split(' ').count() + 1;
            near(means[number][at], sum / tokens as f64);
        }
    }

    // Behind a question, only the candidate's own tokens count.
    let asked = likelihoods("asked", "prompt = \"What is there? {}\"\n");
    assert_ne!(asked, sums);
    assert!(asked.iter().flatten().all(|likelihood| *likelihood < 0.0));
}

#[test]
fn objects_that_captions_make_up_are_counted_by_mention_and_by_caption() {
    let tasks = Tasks::with_scenes(4);
    let images = images(&tasks);
    let entries: Vec<Value> = images
        .iter()
        .zip(1..)
        .map(|(image, id)| json!({"id": id, "file_name": image}))
        .collect();
    tasks.dataset(
        "objects",
        "images = \"scenes/images/test/*\"\n[annotations]\nform = \"chair\"\n[annotations.files]\n\
         instances = \"instances.json\"\nnames = \"names.txt\"\n",
    );
    tasks.suite(
        &["captioner"],
        "[[task]]\nkind = \"hallucination\"\ndataset = \"objects\"\n",
    );
    let write = |objects: &[&str], shown: &[(usize, &str)]| {
        let id = |object: &str| objects.iter().position(|other| *other == object).unwrap();
        let instances = json!({
            "images": entries,
            "categories": objects.iter().map(|object| json!({"id": id(object), "name": object})).collect::<Vec<_>>(),
            "annotations": shown.iter().map(|(image, object)| json!({"image_id": image, "category_id": id(object)}))
                .collect::<Vec<_>>(),
        });
        let instances = instances.to_string();
        tasks.sandbox.write("data/instances.json", instances);
        tasks.sandbox.write("data/names.txt", objects.join("\n"));
    };
    let run = |folder: &str| {
        let record = tasks.records(folder, "").remove("captioner").unwrap();
        let (_, lines) = tasks.predictions(folder, &record, 0);
        let captions: BTreeMap<usize, Vec<String>> = lines
            .iter()
            .map(|line| {
                let caption = line["prediction"]["caption"].as_str().unwrap();
                let words = caption.split(' ').map(str::to_owned).collect();
                (line["key"].as_str().unwrap().parse().unwrap(), words)
            })
            .collect();
        (record, captions)
    };

    // Captions that mention nothing of the list are without fault, and have no share of mentions.
    write(&["zebra"], &[]);
    let (record, captions) = run("none");
    assert_eq!(record["tasks"][0]["asked"]["capability"], "generate");
    near(value(&record, 0, "chair-s"), 0.0);
    assert_eq!(record["tasks"][0]["scores"][0]["metric"], "chair-i");
    assert!(record["tasks"][0]["scores"][0]["value"].is_null());

    // Now every word that the captions have is an object: the first image shows all of its own, the second the first of
    // its own, the others nothing.
    let all: BTreeSet<&str> = captions.values().flatten().map(String::as_str).collect();
    let all: Vec<&str> = all.into_iter().collect();
    let mut shown: Vec<(usize, &str)> =
        captions[&1].iter().map(|word| (1, word.as_str())).collect();
    shown.push((2, captions[&2][0].as_str()));
    write(&all, &shown);
    let (record, again) = run("all");
    assert_eq!(again, captions);
    let is_shown = |image: usize, word: &str| shown.contains(&(image, word));
    let absent = captions.iter().map(|(&image, words)| {
        let absent = words.iter().filter(|word| !is_shown(image, word));
        absent.count()
    });
    let absent: Vec<usize> = absent.collect();
    let mentions: usize = captions.values().map(Vec::len).sum();
    assert!(absent[0] == 0 && absent[3] > 0, "{captions:?}");
    let wrong = absent.iter().filter(|count| **count > 0).count();
    near(
        value(&record, 0, "chair-i"),
        absent.iter().sum::<usize>() as f64 / mentions as f64,
    );
    near(value(&record, 0, "chair-s"), wrong as f64 / 4.0);
}
