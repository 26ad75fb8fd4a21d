//! `sightline score` and `sightline metrics`: captions in, scores out, no model.

use std::fmt::Write as _;
use std::fs;

use crate::util::{Outcome, Sandbox};

/// Images, each with two references and a candidate.
const CAPTIONS: [(u32, [&str; 2], &str); 4] = [
    (
        1,
        ["A dog runs on the grass.", "A brown dog is running."],
        "a dog running on grass",
    ),
    (
        2,
        ["Two cats sleep on a sofa.", "Cats lying on a couch."],
        "two dogs on a sofa",
    ),
    (
        3,
        ["A man rides a bicycle.", "A man on a bike in the street."],
        "A man riding a bike.",
    ),
    (
        4,
        ["A plate of food.", "Food on a white plate."],
        "a red car",
    ),
];

/// Without METEOR, whose tables are not there in every clone.
const METRICS: &str = "bleu-1,bleu-4,rouge-l,cider-d,meteor-lite";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut annotations = String::new();
    let mut results = String::new();
    for (id, references, candidate) in CAPTIONS {
        for reference in references {
            let _ = write!(
                annotations,
                r#",{{"image_id": {id}, "id": 0, "caption": "{reference}"}}"#
            );
        }
        let _ = write!(
            results,
            r#",{{"image_id": {id}, "caption": "{candidate}"}}"#
        );
    }
    sandbox.write(
        "references.json",
        format!(
            r#"{{"images": [{{"id": 1}}, {{"id": 2}}, {{"id": 3}}, {{"id": 4}}], "annotations": [{}]}}"#,
            &annotations[1..]
        ),
    );
    sandbox.write("results.json", format!("[{}]", &results[1..]));
    sandbox
}

fn score(sandbox: &Sandbox, more: &str) -> Outcome {
    sandbox.sightline(&format!(
        "score --references references.json --predictions results.json {more}"
    ))
}

#[test]
fn scores_are_printed_with_intervals_and_again_the_same() {
    let sandbox = sandbox();
    let first = score(&sandbox, &format!("--metrics {METRICS}")).expect(0);
    insta::assert_snapshot!(first.stdout);
    let second = score(&sandbox, &format!("--metrics {METRICS}")).expect(0);
    assert_eq!(first.stdout, second.stdout);
    let one = sandbox
        .command([
            "score",
            "--references",
            "references.json",
            "--predictions",
            "results.json",
        ])
        .args(["--metrics", METRICS])
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .unwrap();
    assert_eq!(Outcome::of(&one).expect(0).stdout, first.stdout);
}

#[test]
fn every_form_of_the_files_gives_the_same_scores() {
    let sandbox = sandbox();
    let scores = |references: &str, predictions: &str, more: &str| {
        let json = sandbox
            .sightline(&format!(
                "score --references {references} --predictions {predictions} --metrics {METRICS} --json {more}"
            ))
            .expect(0)
            .json();
        json["metrics"].clone()
    };
    let expected = scores("references.json", "results.json", "");

    let mut karpathy = Vec::new();
    let mut lines = String::new();
    let mut csv = "id,caption\n".to_owned();
    let mut tsv = "number\ttext\n".to_owned();
    let mut predictions = "{\"schema\":1,\"suite\":\"s\",\"model\":\"m\"}\n".to_owned();
    let mut by_file = String::new();
    for (id, references, candidate) in CAPTIONS {
        let sentences = references.map(|raw| serde_json::json!({"raw": raw, "tokens": []}));
        karpathy.push(serde_json::json!({
            "cocoid": id, "imgid": id + 100, "filename": format!("{id}.jpg"), "split": "test", "sentences": sentences
        }));
        let _ = writeln!(
            lines,
            "{}",
            serde_json::json!({"id": id, "captions": references})
        );
        for reference in references {
            let _ = writeln!(csv, "{id},\"{reference}\"");
        }
        let _ = writeln!(tsv, "{id}\t{candidate}");
        let prediction =
            serde_json::json!({"key": id.to_string(), "prediction": {"caption": candidate}});
        let _ = writeln!(predictions, "{prediction}");
        let _ = writeln!(
            by_file,
            "{}",
            serde_json::json!({"id": format!("{id}.jpg"), "caption": candidate})
        );
    }
    karpathy.push(serde_json::json!({"cocoid": 9, "imgid": 109, "filename": "9.jpg", "split": "train", "sentences": []}));
    sandbox.write(
        "karpathy.json",
        serde_json::json!({"images": karpathy, "dataset": "x"}).to_string(),
    );
    sandbox.write("references.jsonl", lines);
    sandbox.write("references.csv", csv);
    sandbox.write("predictions.jsonl", predictions);
    sandbox.write("by_file.jsonl", by_file);

    for (references, predictions) in [
        ("karpathy.json", "results.json"),
        ("karpathy.json", "by_file.jsonl"),
        ("references.jsonl", "predictions.jsonl"),
        ("references.csv", "results.json"),
    ] {
        assert_eq!(
            scores(references, predictions, ""),
            expected,
            "{references} {predictions}"
        );
    }
    sandbox.write("tsv/results.tsv", tsv);
    sandbox.write("tsv/references.tsv", {
        let mut text = "number\ttext\n".to_owned();
        for (id, references, _) in CAPTIONS {
            for reference in references {
                let _ = writeln!(text, "{id}\t{reference}");
            }
        }
        text
    });
    let columns = "--id-col number --caption-col text";
    assert_eq!(
        scores("tsv/references.tsv", "tsv/results.tsv", columns),
        expected
    );
}

#[test]
fn values_of_every_image_are_written_in_order() {
    let sandbox = sandbox();
    score(
        &sandbox,
        "--metrics bleu-1,cider-d --per-sample values.jsonl --resamples 0",
    )
    .expect(0);
    let text = fs::read_to_string(sandbox.path("values.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let ids: Vec<&str> = lines
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["1", "2", "3", "4"]);
    assert!(lines[0]["bleu-1"].as_f64().unwrap() > 0.9);
    assert!(lines[3]["cider-d"].as_f64().unwrap() < 0.5);
}

#[test]
fn predictions_left_over_are_named_or_counted() {
    let sandbox = sandbox();
    sandbox.write(
        "results.json",
        r#"[{"image_id": 1, "caption": "a"}, {"image_id": 9, "caption": "b"}]"#,
    );
    score(&sandbox, "--metrics bleu-1").expect(2).says(&[
        "no prediction for 3 images: `2`, `3`, `4`",
        "predictions without references for 1 image: `9`",
        "hint: Give --partial",
    ]);
    let partial = score(&sandbox, "--metrics bleu-1 --partial --json").expect(0);
    let left_out = partial.json()["left_out"].clone();
    assert_eq!(
        left_out,
        serde_json::json!({"missing": 3, "extra": 1, "failed": 0})
    );
    partial.says(&["left out: 3 images without prediction"]);
}

#[test]
fn broken_files_are_named_with_the_place() {
    let sandbox = sandbox();
    for (text, parts) in [
        (
            "[{\"image_id\": 1, \"caption\": \"a\"}",
            &["results.json", "line 1"][..],
        ),
        ("{\"a\": 1}", &["neither COCO captions"]),
        (
            "[{\"image_id\": 1, \"caption\": \"a\"}, {\"image_id\": 1, \"caption\": \"b\"}]",
            &["more than one prediction for 1 image: `1`"],
        ),
        (
            "[{\"image_id\": 1}]",
            &["missing field `caption`", "line 1 column 16"],
        ),
    ] {
        sandbox.write("results.json", text);
        score(&sandbox, "--metrics bleu-1").expect(2).says(parts);
    }
    sandbox.write(
        "results.json",
        b"[{\"image_id\": 1, \"caption\": \"\xff\xfe\"}]",
    );
    score(&sandbox, "--metrics bleu-1")
        .expect(2)
        .says(&["results.json"]);

    let sandbox = self::sandbox();
    sandbox.write(
        "references.json",
        r#"{"images": [{"id": 1}, {"id": 7}], "annotations": [{"image_id": 1, "caption": "a"}]}"#,
    );
    score(&sandbox, "--metrics bleu-1")
        .expect(2)
        .says(&["no reference for 1 image: `7`"]);
    score(&sandbox, "--metrics blue-1")
        .expect(2)
        .says(&["unknown metric `blue-1`", "bleu-1"]);
    score(&sandbox, "--metrics accuracy@1")
        .expect(2)
        .says(&["class-rank", "not from captions"]);
    sandbox
        .sightline("score --references nowhere.json --predictions results.json")
        .expect(2)
        .says(&["nowhere.json"]);
}

#[test]
fn strange_captions_shift_no_line_and_crash_nothing() {
    let sandbox = Sandbox::new();
    let strange = [
        "a dog\u{2028}on a bench",
        "a dog\r\non a bench",
        "a dog on a bench\u{0}",
        "",
        "   ",
        "🐶 狗 كلب",
        "||| SCORE ||| EVAL",
    ];
    let mut references = String::new();
    let mut predictions = String::new();
    for (id, text) in strange.iter().enumerate() {
        let _ = writeln!(
            references,
            "{}",
            serde_json::json!({"id": id, "captions": [text, "a dog on a bench"]})
        );
        let _ = writeln!(
            predictions,
            "{}",
            serde_json::json!({"id": id, "caption": text})
        );
    }
    let long = "word ".repeat(200_000);
    let _ = writeln!(
        references,
        "{}",
        serde_json::json!({"id": "long", "captions": ["a dog on a bench"]})
    );
    let _ = writeln!(
        predictions,
        "{}",
        serde_json::json!({"id": "long", "caption": long})
    );
    sandbox.write("references.jsonl", references);
    sandbox.write("predictions.jsonl", predictions);
    let line = "score --references references.jsonl --predictions predictions.jsonl --resamples 10";
    let outcome = sandbox
        .sightline(&format!(
            "{line} --metrics bleu-4,rouge-l,cider-d --per-sample out.jsonl"
        ))
        .expect(0);
    assert!(outcome.stdout.contains("8 images"));
    let first: serde_json::Value = serde_json::from_str(
        fs::read_to_string(sandbox.path("out.jsonl"))
            .unwrap()
            .lines()
            .next()
            .unwrap(),
    )
    .unwrap();
    assert!(first["bleu-4"].as_f64().unwrap() > 0.99, "{first}");
    sandbox
        .sightline(&format!("{line} --metrics meteor-lite"))
        .expect(2)
        .says(&["a caption of item 7 has 200000 words, the limit is 2000"]);
}

#[test]
fn meteor_without_its_tables_refuses_and_says_what_to_do() {
    let sandbox = sandbox();
    let output = sandbox
        .command([
            "score",
            "--references",
            "references.json",
            "--predictions",
            "results.json",
        ])
        .env("SIGHTLINE_CACHE", sandbox.path("cache"))
        .output()
        .unwrap();
    Outcome::of(&output).expect(2).says(&[
        "metric `meteor` needs",
        "hint: Run `sightline metrics setup`",
        "meteor-lite",
    ]);
}

#[test]
fn setup_refuses_what_is_not_the_published_data() {
    let sandbox = Sandbox::new();
    sandbox.write("wheel.whl", "no archive");
    let setup = |wheel: &str| {
        let output = sandbox
            .command(["metrics", "setup", "--wheel", wheel])
            .env("SIGHTLINE_CACHE", sandbox.path("cache"))
            .output()
            .unwrap();
        Outcome::of(&output).expect(2)
    };
    setup("wheel.whl").says(&["wheel.whl", "cannot be read as an archive", "hint:"]);
    setup("nowhere.whl").says(&["nowhere.whl"]);
    let left = fs::read_dir(sandbox.path("cache")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "nothing half-done is left");
}

#[test]
fn metrics_are_listed() {
    let list = Sandbox::new().sightline("metrics list").expect(0);
    for id in [
        "bleu-4",
        "cider-d",
        "meteor",
        "rouge-l",
        "vqa-official",
        "coco-ap",
    ] {
        assert!(
            list.stdout
                .lines()
                .any(|line| line.split_whitespace().next() == Some(id)),
            "{id}"
        );
    }
    let json = Sandbox::new()
        .sightline("metrics list --json")
        .expect(0)
        .json();
    assert_eq!(json["schema"], 1);
}
