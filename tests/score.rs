//! `sightline score` and `sightline metrics`: captions in, scores out, no model.

use std::fmt::Write as _;
use std::fs;

use sightline_core::Digest;

use crate::util::{Outcome, Sandbox, workspace};

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
        serde_json::json!({
            "without_references": 0,
            "predictions": {"missing": 3, "extra": 1, "failed": 0},
            "baseline": null,
        })
    );
    partial.says(&["left out for the predictions: 3 images without prediction"]);
    let one = score(&sandbox, "--metrics bleu-1 --partial --resamples 0").expect(0);
    assert!(one.stdout.ends_with("\n1 image\n"), "{}", one.stdout);
}

#[test]
fn images_without_references_are_an_error_or_counted() {
    let sandbox = sandbox();
    sandbox.write(
        "references.json",
        r#"{"images": [{"id": 1}, {"id": 2}], "annotations": [{"image_id": 1, "caption": "a dog"}]}"#,
    );
    sandbox.write("results.json", r#"[{"image_id": 1, "caption": "a"}]"#);
    score(&sandbox, "--metrics bleu-1")
        .expect(2)
        .says(&["no reference for 1 image: `2`", "hint: Give --partial"]);
    let partial = score(&sandbox, "--metrics bleu-1 --partial --json").expect(0);
    assert_eq!(partial.json()["left_out"]["without_references"], 1);
    assert_eq!(partial.json()["left_out"]["predictions"]["missing"], 0);
    partial.says(&["left out for the references: 1 image without a caption"]);
}

/// Karpathy's form of three images, and predictions of them by several kinds of ids.
fn karpathy() -> Sandbox {
    let sandbox = Sandbox::new();
    let images: Vec<_> = [
        "a dog runs on grass",
        "two cats on a sofa",
        "a plate of food",
    ]
    .iter()
    .enumerate()
    .map(|(at, raw)| {
        serde_json::json!({
            "imgid": at, "cocoid": 100 - at, "filename": format!("{at}.jpg"), "split": "test",
            "sentences": [{"raw": raw}],
        })
    })
    .collect();
    sandbox.write(
        "references.json",
        serde_json::json!({"images": images}).to_string(),
    );
    let predictions = |name: &str, ids: [&str; 3]| {
        let texts = ["a dog runs on grass", "two dogs on a bed", "a red car"];
        let lines = ids
            .iter()
            .zip(texts)
            .rev()
            .map(|(id, text)| serde_json::json!({"id": id, "caption": text}).to_string());
        sandbox.write(name, lines.collect::<Vec<_>>().join("\n"));
    };
    predictions("cocoid.jsonl", ["100", "99", "98"]);
    predictions("imgid.jsonl", ["0", "1", "2"]);
    predictions("filename.jsonl", ["0.jpg", "1.jpg", "2.jpg"]);
    sandbox
}

#[test]
fn a_baseline_with_other_ids_is_compared_image_by_image() {
    let sandbox = karpathy();
    for (predictions, baseline) in [
        ("cocoid", "imgid"),
        ("imgid", "filename"),
        ("filename", "cocoid"),
    ] {
        let scored = sandbox
            .sightline(&format!(
                "score --references references.json --predictions {predictions}.jsonl \
                 --baseline {baseline}.jsonl --metrics bleu-1,rouge-l --json --per-sample {predictions}.out"
            ))
            .expect(0);
        let scored = scored.json();
        assert_eq!(
            (&scored["images"], &scored["ids"]),
            (&3.into(), &predictions.into())
        );
        for metric in scored["metrics"].as_array().unwrap() {
            let comparison = &metric["comparison"];
            assert_eq!(
                comparison["difference"], 0.0,
                "the files say the same: {metric}"
            );
            assert_eq!(comparison["baseline"], metric["value"]);
            assert_eq!(comparison["p_randomisation"], 1.0);
        }
        let first = fs::read_to_string(sandbox.path(&format!("{predictions}.out"))).unwrap();
        let id = match predictions {
            "cocoid" => "100",
            "imgid" => "0",
            _ => "0.jpg",
        };
        assert!(first.starts_with(&format!("{{\"id\":\"{id}\"")), "{first}");
    }
}

#[test]
fn a_baseline_of_other_images_leaves_nothing_and_lacking_ones_are_counted_by_file() {
    let sandbox = karpathy();
    let score = |predictions: &str, baseline: &str| {
        sandbox.write("predictions.jsonl", predictions);
        sandbox.write("baseline.jsonl", baseline);
        sandbox.sightline(
            "score --references references.json --predictions predictions.jsonl \
             --baseline baseline.jsonl --metrics bleu-1 --partial --json",
        )
    };
    let (dog, cat) = (
        r#"{"id": 100, "caption": "a dog"}"#,
        r#"{"id": "1.jpg", "caption": "a cat"}"#,
    );
    score(dog, cat)
        .expect(2)
        .says(&["no image has both a prediction and one of the baseline"]);
    let more = format!(
        "{cat}\n{{\"id\": \"0.jpg\", \"caption\": \"a dog\"}}\n{{\"id\": 7, \"caption\": \"x\"}}"
    );
    let scored = score(dog, &more).expect(0);
    assert_eq!(scored.json()["images"], 1);
    assert_eq!(
        scored.json()["left_out"],
        serde_json::json!({
            "without_references": 0,
            "predictions": {"missing": 2, "extra": 0, "failed": 0},
            "baseline": {"missing": 1, "extra": 1, "failed": 0},
        })
    );
    scored.says(&[
        "left out for the predictions: 2 images without prediction",
        "left out for the baseline: 1 image without prediction, 0 failed predictions, 1 prediction without",
    ]);
}

#[test]
fn without_resamples_the_baseline_is_shown_and_not_tested() {
    let sandbox = sandbox();
    let line = "--baseline results.json --metrics bleu-1,cider-d --resamples 0";
    let text = score(&sandbox, line).expect(0).stdout;
    insta::assert_snapshot!(text);
    let json = score(&sandbox, &format!("{line} --json")).expect(0).json();
    let comparison = &json["metrics"][0]["comparison"];
    assert_eq!(comparison["difference"], 0.0);
    assert_eq!(comparison["images"], 4);
    for absent in [
        "interval",
        "standard_error",
        "p_bootstrap",
        "p_randomisation_corrected",
    ] {
        assert!(comparison[absent].is_null(), "{absent}: {comparison}");
    }
    score(&sandbox, "--resamples 99")
        .expect(2)
        .says(&["expected 0 or a number from 100 on"]);
}

#[test]
fn few_images_have_no_p_of_the_bootstrap() {
    let sandbox = sandbox();
    sandbox.write(
        "other.json",
        r#"[{"image_id": 1, "caption": "x"}, {"image_id": 2, "caption": "x"},
            {"image_id": 3, "caption": "x"}, {"image_id": 4, "caption": "x"}]"#,
    );
    let scored = score(&sandbox, "--baseline other.json --metrics bleu-1,rouge-l").expect(0);
    insta::assert_snapshot!(scored.stdout);
}

#[test]
fn an_interval_that_is_not_defined_says_why() {
    let sandbox = sandbox();
    sandbox.write(
        "references.json",
        r#"{"images": [{"id": 1}, {"id": 2}, {"id": 3}], "annotations": [{"image_id": 1, "caption": "a dog"},
            {"image_id": 2, "caption": "a cat"}, {"image_id": 3, "caption": "a red bus"}]}"#,
    );
    sandbox.write(
        "results.json",
        r#"[{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "a cat"},
            {"image_id": 3, "caption": "a red bus"}]"#,
    );
    let line = "--metrics rouge-l --baseline results.json";
    let scored = score(&sandbox, &format!("{line} --interval bca")).expect(0);
    let said = "\nno interval for rouge-l: BCa is not defined where all images, or nearly all, have one value; \
                percentile and basic are";
    assert!(scored.stdout.contains(said), "{}", scored.stdout);
    let scored = score(&sandbox, line).expect(0);
    assert!(!scored.stdout.contains("no interval"), "{}", scored.stdout);

    sandbox.write("one.json", r#"[{"image_id": 1, "caption": "a dog"}]"#);
    let one = "score --references references.json --predictions one.json --baseline one.json \
               --metrics rouge-l --partial";
    let scored = sandbox.sightline(one).expect(0);
    let said = "\nno interval for rouge-l, the difference of rouge-l: it takes two images\n";
    assert!(scored.stdout.contains(said), "{}", scored.stdout);
}

#[test]
fn images_without_a_value_are_counted_and_models_compared_on_the_others() {
    let sandbox = sandbox();
    let scored = score(
        &sandbox,
        "--metrics nltk-bleu-method6,bleu-1 --baseline results.json --report page.html",
    )
    .expect(0);
    assert!(
        scored
            .stdout
            .contains("nltk-bleu-method6: not defined for 3 of 4 images"),
        "{}",
        scored.stdout
    );
    assert!(
        scored
            .stdout
            .contains("nltk-bleu-method6: compared on 1 image with a value on both sides")
    );
    let json = score(
        &sandbox,
        "--metrics nltk-bleu-method6,bleu-1 --baseline results.json --json",
    );
    let json = json.expect(0).json();
    assert_eq!(json["metrics"][0]["without_value"], 3);
    assert_eq!(json["metrics"][0]["comparison"]["images"], 1);
    assert_eq!(json["metrics"][1]["without_value"], 0);
    let page = fs::read_to_string(sandbox.path("page.html")).unwrap();
    assert!(page.contains("n 1 of 4, the others have no value"));
}

#[test]
fn published_pickles_of_document_frequencies_score_like_our_form() {
    let sandbox = sandbox();
    sandbox.write(
        "df.json",
        r#"{"schema":1,"images":40504,"frequencies":{"a":40120,"a dog":2311,"a dog on a":77,"café <eos>":3,"it's":9}}"#,
    );
    let scored = |frequencies: &str| {
        let line = format!("--metrics cider-d,cider --document-frequencies {frequencies} --json");
        score(&sandbox, &line)
    };
    let expected = scored("df.json").expect(0).json();
    let fixtures = workspace().join("crates/metrics/tests/fixtures/frequencies");
    for name in ["python2-0.p", "logarithm-2.p", "numpy-4.p"] {
        fs::copy(fixtures.join(name), sandbox.path(name)).unwrap();
        let read = scored(name).expect(0).json();
        assert_eq!(read["metrics"], expected["metrics"], "{name}");
        assert_eq!(read["document_frequencies"]["path"], name);
    }
    for (name, message) in [
        ("attack-0.p", "it names `posix.system` at byte 0"),
        ("bare-2.p", "hint: A published table is a dictionary"),
    ] {
        fs::copy(fixtures.join(name), sandbox.path(name)).unwrap();
        scored(name).expect(2).says(&[message]);
    }
}

#[test]
fn what_a_value_depends_on_is_shown() {
    let sandbox = sandbox();
    let frequencies = "metrics document-frequencies --references references.json --out";
    sandbox
        .sightline(&format!("{frequencies} df.json"))
        .expect(0);
    let own = score(&sandbox, "--metrics cider-d --json").expect(0).json();
    let signature = "nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0";
    let given = "--metrics sacrebleu-bleu,cider-d --document-frequencies df.json";
    let json = score(&sandbox, &format!("{given} --report page.html --json"))
        .expect(0)
        .json();
    assert_eq!(json["metrics"][0]["signature"], signature);
    assert_eq!(json["metrics"][1]["value"], own["metrics"][0]["value"]);
    assert_eq!(json["document_frequencies"]["path"], "df.json");
    let digest = digest_of(&sandbox, "df.json");
    assert_eq!(json["document_frequencies"]["sha256"], digest.as_str());
    let text = score(&sandbox, given).expect(0).stdout;
    assert!(
        text.contains(&format!("sacrebleu-bleu: {signature}")),
        "{text}"
    );
    assert!(text.contains("document frequencies: df.json"), "{text}");
    let page = fs::read_to_string(sandbox.path("page.html")).unwrap();
    assert!(
        page.contains(signature) && page.contains("Document frequencies") && page.contains(&digest)
    );
    let listed = sandbox.sightline("metrics list --json").expect(0).json();
    let listed = listed["metrics"].as_array().unwrap();
    let ter = listed.iter().find(|m| m["id"] == "sacrebleu-ter").unwrap();
    assert_eq!(
        ter["signature"],
        "case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0"
    );

    sandbox.write("df.json", "{}");
    sandbox
        .sightline(&format!("{frequencies} df.json"))
        .expect(2)
        .says(&["df.json", "--force"]);
    sandbox
        .sightline(&format!("{frequencies} references.json --force"))
        .expect(2)
        .says(&["that is the file of --references"]);
}

fn digest_of(sandbox: &Sandbox, name: &str) -> String {
    Digest::of(&fs::read(sandbox.path(name)).unwrap()).to_string()
}

#[test]
fn no_file_is_written_over_without_being_told() {
    let sandbox = sandbox();
    let before = fs::read(sandbox.path("results.json")).unwrap();
    for (more, part) in [
        ("--report results.json", "--report `results.json`"),
        (
            "--per-sample ./references.json --force",
            "that is the file of --references",
        ),
        (
            "--per-sample out --report out",
            "that is the file of --per-sample",
        ),
    ] {
        score(&sandbox, &format!("--metrics bleu-1 {more}"))
            .expect(2)
            .says(&[part]);
    }
    assert_eq!(fs::read(sandbox.path("results.json")).unwrap(), before);

    let write = "--metrics bleu-1 --per-sample values --report page";
    score(&sandbox, write).expect(0);
    score(&sandbox, write).expect(0);
    let values = fs::read(sandbox.path("values")).unwrap();
    sandbox.write("page", "mine");
    sandbox.write("values", "mine too");
    score(&sandbox, write)
        .expect(2)
        .says(&["there is another file of that name", "--force"]);
    assert_eq!(fs::read(sandbox.path("values")).unwrap(), b"mine too");
    score(&sandbox, &format!("{write} --force")).expect(0);
    assert_eq!(fs::read(sandbox.path("values")).unwrap(), values);
}

#[test]
fn an_explanation_is_json_too_and_goes_with_no_other_result() {
    let sandbox = sandbox();
    let line = "--metrics cider-d,cider,meteor-lite --explain 1";
    let text = score(&sandbox, line).expect(0).stdout;
    insta::assert_snapshot!(text);
    let json = score(&sandbox, &format!("{line} --json")).expect(0).json();
    assert_eq!((&json["schema"], &json["id"]), (&1.into(), &"1".into()));
    for (at, ngrams) in json["ngrams"].as_array().unwrap().iter().enumerate() {
        let parts = ngrams["references"].as_array().unwrap().iter();
        let parts = parts.flat_map(|one| one["parts"].as_array().unwrap());
        let sum: f64 = parts.map(|part| part["adds"].as_f64().unwrap()).sum();
        let value = json["metrics"][at]["value"].as_f64().unwrap();
        assert!((sum - value).abs() < 1e-12, "{ngrams}");
    }
    let first = &json["alignments"][0]["matches"][0]["candidate"];
    assert_eq!(first["text"], "a");
    assert_eq!((&first["start"], &first["end"]), (&0.into(), &1.into()));
    for more in ["--report x", "--per-sample x", "--baseline results.json"] {
        score(&sandbox, &format!("{line} {more}"))
            .expect(2)
            .says(&["cannot be used with"]);
    }
}

#[test]
fn nothing_foreign_acts_on_the_terminal() {
    let sandbox = sandbox();
    let evil = "\u{1b}[2J\u{9b}31m\r\u{202e}x";
    let line = |id: &str, text: &str| serde_json::json!({"id": id, "caption": text}).to_string();
    sandbox.write("references.jsonl", line(evil, evil));
    sandbox.write("predictions.jsonl", line("other", evil));
    let run = |more: &[&str]| {
        let files = ["score", "--references", "references.jsonl", "--predictions"];
        sandbox.run(files.iter().chain(more))
    };
    let harmless = |outcome: &Outcome| {
        let shown = format!("{}{}", outcome.stdout, outcome.stderr);
        let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!shown.contains(acts), "{shown:?}");
        assert!(
            shown.contains("u{1b}") || shown.contains("u001b"),
            "{shown}"
        );
    };
    harmless(&run(&["predictions.jsonl", "--metrics", "bleu-1"]).expect(2));
    sandbox.write("predictions.jsonl", line(evil, evil));
    let explain = [
        "predictions.jsonl",
        "--metrics",
        "bleu-1",
        "--explain",
        evil,
    ];
    harmless(&run(&explain).expect(0));
    harmless(&run(&[&explain[..], &["--json"]].concat()).expect(0));
    sandbox.write("table.csv", format!("{evil},b\n1,2\n"));
    harmless(&run(&["table.csv"]).expect(2));
    harmless(&run(&[&format!("{evil}.json")]).expect(2));
}

#[test]
fn tables_lose_no_row_to_a_quote() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "references.tsv",
        "number\ttext\n1\ta horse\n1\t\"big horse\n2\ta red bus\n3\tpizza\n",
    );
    sandbox.write(
        "predictions.tsv",
        "id\tcaption\n1\t\"big horse\n2\ta red bus\n3\t\n",
    );
    let columns = "--references-id-col number --references-caption-col text";
    let scored = sandbox
        .sightline(&format!(
            "score --references references.tsv --predictions predictions.tsv {columns} --json \
             --resamples 0 --metrics bleu-1"
        ))
        .expect(0);
    assert_eq!(scored.json()["images"], 3);
    let spaced = sandbox.run([
        "score",
        "--references",
        "references.tsv",
        "--predictions",
        "predictions.tsv",
        "--references-id-col",
        "number",
        "--references-caption-col",
        "text",
        "--metrics",
        "bleu-1, rouge-l",
    ]);
    assert!(spaced.expect(0).stdout.contains("rouge-l"));
    sandbox.write(
        "predictions.csv",
        "id,caption\n1,\"big horse\n2,a red bus\n3,pizza\n",
    );
    sandbox
        .sightline(&format!(
            "score --references references.tsv --predictions predictions.csv {columns}"
        ))
        .expect(2)
        .says(&[
            "line 2: a quoted field starts here and does not end",
            "hint:",
        ]);
}

#[test]
fn packed_and_marked_files_are_read_or_refused_as_plain_ones() {
    let sandbox = sandbox();
    let text = fs::read(sandbox.path("results.json")).unwrap();
    sandbox.write("marked.json", [b"\xEF\xBB\xBF", &text[..]].concat());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, &text).unwrap();
    let packed = packed.finish().unwrap();
    sandbox.write("whole.json.gz", &packed);
    sandbox.write("cut.json.gz", &packed[..40]);
    let score = |predictions: &str| {
        sandbox.sightline(&format!(
            "score --references references.json --predictions {predictions} --metrics bleu-1 --json"
        ))
    };
    score("marked.json").expect(0);
    let whole = score("whole.json.gz").expect(0).json();
    let digest = digest_of(&sandbox, "whole.json.gz");
    assert_eq!(
        whole["predictions"]["sha256"],
        digest.as_str(),
        "of the file as it is"
    );
    score("cut.json.gz").expect(2).says(&[
        "cut.json.gz",
        "the gzip data are damaged: it ends too early",
    ]);
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
fn parquet_is_scored_and_damaged_files_are_named() {
    let sandbox = Sandbox::new();
    let fixture = |name: &str| {
        let folder = "crates/harness/tests/fixtures/parquet";
        fs::read(format!("{folder}/{name}.parquet")).unwrap()
    };
    sandbox.write("references.parquet", fixture("polars-lists"));
    let predictions = fixture("pyarrow-snappy");
    sandbox.write("predictions.parquet", &predictions);
    let line =
        "score --references references.parquet --predictions predictions.parquet --metrics bleu-1";
    sandbox
        .sightline(line)
        .expect(2)
        .says(&["no reference for 2 images: `2`, `30`"]);
    let partial = sandbox.sightline(&format!("{line} --partial --json"));
    let json = partial.expect(0).json();
    assert_eq!(json["images"], 2);
    assert_eq!(json["left_out"]["predictions"]["extra"], 0);

    // A page whose header is wrong, and a file that is cut.
    let cut = predictions[..predictions.len() - 20].to_vec();
    let mut wrong = predictions;
    wrong[7] = 0xff;
    for damaged in [wrong, cut] {
        sandbox.write("predictions.parquet", damaged);
        let refused = sandbox
            .sightline(&format!("{line} --partial"))
            .expect(2)
            .says(&[
                "predictions.parquet",
                "the Parquet file cannot be read here",
            ]);
        assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
    }
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
    let line =
        "score --references references.jsonl --predictions predictions.jsonl --resamples 100";
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
        .says(&[
            "failed scoring image `long`",
            "the candidate of item 7 has 200000 words, the limit is 2000",
            "hint: ",
        ]);
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

#[test]
fn what_could_be_scored_in_several_ways_is_refused() {
    let sandbox = sandbox();
    sandbox.write(
        "several.jsonl",
        "{\"id\": 1, \"captions\": [\"a dog\", \"a cat\"]}\n",
    );
    sandbox
        .sightline("score --references references.json --predictions several.jsonl --partial")
        .expect(2)
        .says(&[
            "more than one predicted caption for 1 image: `1`",
            "Keep one caption",
        ]);
    sandbox.write(
        "both.jsonl",
        "{\"id\": 1, \"prediction\": {\"caption\": \"a\"}, \"failed\": \"oom\"}\n",
    );
    sandbox
        .sightline("score --references references.json --predictions both.jsonl --partial")
        .expect(2)
        .says(&["line 1: there is a prediction and a reason why there is none"]);
    score(&sandbox, "--split val")
        .expect(2)
        .says(&["the file has no splits, of which `val` could be one"]);
}
