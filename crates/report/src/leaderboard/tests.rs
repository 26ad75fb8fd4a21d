//! Boards of records that are made here.

use super::*;
use crate::record::examples;
use crate::store::{read_records, write_record};

/// A folder of records, as the harness writes them, and what is read back.
fn stored(records: &[Record]) -> (tempfile::TempDir, Vec<Stored>) {
    let folder = tempfile::tempdir().unwrap();
    let records_folder = folder.path().join("records");
    fs::create_dir(&records_folder).unwrap();
    for record in records {
        write_record(&records_folder, record).unwrap();
    }
    let stored = read_records(&records_folder).unwrap();
    (folder, stored)
}

fn made(records: &[Record]) -> (String, serde_json::Value, Summary) {
    let (folder, stored) = stored(records);
    let summary = board(&stored, &[], &[], &folder.path().join("site")).unwrap();
    let html = fs::read_to_string(&summary.page).unwrap();
    let data = fs::read_to_string(&summary.data).unwrap();
    (html, serde_json::from_str(&data).unwrap(), summary)
}

fn three() -> [Record; 3] {
    ["constant", "random", "clip-tiny-random"].map(examples::record)
}

#[test]
fn a_page_has_a_table_for_each_task_and_a_row_for_each_model() {
    let (html, data, summary) = made(&three());
    assert_eq!(
        (
            summary.records,
            summary.shown,
            summary.suites,
            summary.tasks,
            summary.incomparable
        ),
        (3, 3, 1, 2, 0)
    );
    // The two tasks, and both side by side.
    assert_eq!(html.matches("<table ").count(), 3);
    assert_eq!(html.matches("<caption").count(), 3);
    assert_eq!(html.matches("scope=\"row\"").count(), 9);
    assert_eq!(
        html.matches("scope=\"col\"").count(),
        (7 + 2) + (7 + 6) + (1 + 2)
    );
    assert_eq!(
        html.matches("<tr role=\"row\" class=\"baseline\"").count(),
        6
    );
    assert_eq!(html.matches("class=\"value best\"").count(), 2 + 6 + 2);
    assert!(html.contains("1 failed"), "failures are on the page");
    assert!(html.contains("2 × no label"), "and their reasons");
    let command = "sightline run manifests/suites/quickstart.toml --data 'out/my data'";
    let html = html.replace("&#x2f;", "/").replace("&#x27;", "'");
    assert_eq!(html.matches(command).count(), 3);
    assert_eq!(html.matches("sightline verify quickstart/").count(), 3);
    assert_eq!(data["schema"], 1);
    assert_eq!(data["records"].as_array().unwrap().len(), 3);
    let rows = &data["suites"][0]["tasks"][0]["tables"][0]["rows"];
    assert_eq!(rows[0]["model"], "clip-tiny-random");
    assert_eq!(rows[0]["scores"][0]["mark"], "best");
    let value = rows[0]["scores"][0]["score"]["value"].as_f64();
    assert_eq!(value, three()[2].tasks[0].scores[0].value, "digit by digit");
}

#[test]
fn the_same_records_give_the_same_bytes_in_any_order() {
    let (folder, mut stored) = stored(&three());
    let site = folder.path().join("site");
    let files = |stored: &[Stored]| {
        let summary = board(stored, &[], &[], &site).unwrap();
        (
            fs::read(summary.page).unwrap(),
            fs::read(summary.data).unwrap(),
        )
    };
    let first = files(&stored);
    assert_eq!(files(&stored), first);
    stored.rotate_left(1);
    let page = files(&stored).0;
    assert!(
        page == first.0,
        "the page does not depend on the order of the records"
    );
}

#[test]
fn links_lead_from_the_page_to_the_files() {
    let (folder, stored) = stored(&three());
    let predictions = folder
        .path()
        .join("records")
        .join(&stored[0].record.tasks[0].predictions.path);
    fs::create_dir_all(predictions.parent().unwrap()).unwrap();
    fs::write(&predictions, "{}\n").unwrap();
    let site = folder.path().join("public/my site");
    let summary = board(&stored, &[], &[], &site).unwrap();
    let html = fs::read_to_string(summary.page)
        .unwrap()
        .replace("&#x2f;", "/");
    let links: Vec<&str> = html
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|link| link.starts_with(".."))
        .collect();
    assert_eq!(
        links.len(),
        3 * (1 + 2),
        "a record and two predictions each"
    );
    assert!(
        links.iter().all(|link| link.starts_with("../../records/")),
        "{links:?}"
    );
    let exists = |link: &&&str| site.join(link).exists();
    assert_eq!(links.iter().filter(exists).count(), 3 + 1, "{links:?}");
}

#[test]
fn what_foreign_text_says_is_shown_and_never_done() {
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onclick='x";
    let mut record = examples::record("clip");
    evil.clone_into(&mut record.model.description);
    evil.clone_into(&mut record.model.family);
    evil.clone_into(&mut record.tool.version);
    evil.clone_into(&mut record.machine.device);
    record.tool.commit = Some(evil.to_owned());
    record.machine.processor = Some(evil.to_owned());
    record.command.push(evil.to_owned());
    record.files[0].owner = evil.to_owned();
    record.tasks[0].reasons = [(evil.to_owned(), 3)].into();
    record.tasks[0].scores[0].metric = evil.to_owned();
    evil.clone_into(&mut record.tasks[0].task);
    evil.clone_into(&mut record.tasks[0].kind);
    evil.clone_into(&mut record.tasks[0].dataset);
    "javascript:alert(1)".clone_into(&mut record.tasks[0].predictions.path);
    "../../../etc/passwd".clone_into(&mut record.tasks[1].predictions.path);
    let plain = made(&[examples::record("clip")]).0;
    let (html, ..) = made(&[record]);
    for tag in ["<script", "<img", "</script", "<svg"] {
        let at_least = plain.matches(tag).count();
        assert!(html.matches(tag).count() <= at_least, "{tag}");
    }
    assert!(
        html.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "it is shown"
    );
    assert!(!html.contains("onclick='x"));
    assert!(!html.contains("href=\"javascript:"));
    assert!(!html.contains("etc/passwd\"") && !html.contains("etc&#x2f;passwd\""));
}

#[test]
fn the_page_loads_nothing_and_its_policy_says_so() {
    let (html, ..) = made(&three());
    for foreign in [
        "http://", "https://", "//cdn", "@import", "url(", "src=", "<link", " style=", " onload",
    ] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    let policy = html
        .split("Content-Security-Policy\" content=\"")
        .nth(1)
        .unwrap();
    let policy = policy.split('"').next().unwrap().replace("&#x2f;", "/");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let text = html.split(&format!("<{tag}>")).nth(1).unwrap();
        let text = text.split(&format!("</{tag}>")).next().unwrap();
        let digest = Digest::of(text.as_bytes());
        let hash = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, digest.as_bytes());
        assert!(
            policy.contains(&format!("{directive} 'sha256-{hash}'")),
            "{policy}"
        );
    }
}

#[test]
fn later_records_stand_for_earlier_ones_and_corrections_for_wrong_ones() {
    let mut wrong = examples::record("clip-tiny-random");
    wrong.created = "2026-11-24T00:00:00Z".to_owned();
    let mut corrected = wrong.clone();
    corrected.created = "2026-11-25T00:00:00Z".to_owned();
    corrected.supersedes = Some(Digest::of_json(&wrong).unwrap());
    let records = [examples::record("clip-tiny-random"), wrong, corrected];
    let (html, data, summary) = made(&records);
    assert_eq!(
        (summary.shown, summary.older, summary.superseded),
        (1, 1, 1)
    );
    assert!(html.contains("1 older record and 1 superseded record"));
    let standing: Vec<&str> = data["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["standing"].as_str().unwrap())
        .collect();
    assert_eq!(standing, ["older", "superseded", "shown"]);
}

#[test]
fn incomparable_outcomes_are_ranked_apart_with_a_warning() {
    let mut records = three();
    records[0].files[0].sha256 = Digest::of(b"other bytes");
    let (html, _, summary) = made(&records);
    assert_eq!(summary.incomparable, 2);
    assert_eq!(
        html.matches("Not comparable with the table above").count(),
        2
    );
    assert_eq!(html.matches("<table ").count(), 5);
    assert_eq!(
        html.matches(">not comparable<").count(),
        2,
        "in the table of all"
    );
}

#[test]
fn no_records_make_an_empty_board() {
    let (html, data, summary) = made(&[]);
    assert!(html.contains("No records yet."));
    assert_eq!(summary.records, 0);
    assert_eq!(data["suites"], serde_json::json!([]));
}

#[test]
fn another_page_is_not_overwritten() {
    let (folder, stored) = stored(&three());
    fs::write(
        folder.path().join("index.html"),
        "<!doctype html><title>Home</title>",
    )
    .unwrap();
    let error = board(&stored, &[], &[], folder.path()).unwrap_err();
    assert!(matches!(error, Error::ForeignPage { .. }), "{error}");
    assert!(!folder.path().join("board.json").exists());
}

fn evidence(stored: &[Stored]) -> TaskEvidence {
    use crate::evidence::{Answer, Pair, PairMetric, Said, Shown, Thumbnail};
    let metric = PairMetric {
        metric: "accuracy@1".to_owned(),
        higher_is_better: true,
        values: [Some(0.41), Some(0.1)],
        difference: Some(-0.31),
        interval: Some([-0.34, -0.28]),
        p: Some(0.001),
        wins: 3,
        losses: 313,
        ties: 684,
        flips: vec![("000001".to_owned(), [1.0, 0.0])],
    };
    let id = |model: &str| {
        let mut stored = stored.iter();
        stored
            .find(|one| one.record.model.name == model)
            .unwrap()
            .id
    };
    TaskEvidence {
        suite: "quickstart".to_owned(),
        task: "zero-shot-scenes-test".to_owned(),
        pairs: vec![Pair {
            records: [id("clip-tiny-random"), id("random")],
            paired: 1000,
            metrics: vec![metric],
        }],
        samples: vec![Shown {
            key: "000001".to_owned(),
            differs: true,
            images: vec![
                Ok(Thumbnail {
                    jpeg: vec![0xff, 0xd8, 0xff],
                    width: 2,
                    height: 1,
                }),
                Err("truncated".to_owned()),
            ],
            asked: "what is <b>this</b>?".to_owned(),
            references: vec!["a fox".to_owned()],
            answers: vec![Answer {
                record: id("random"),
                said: Said::Failed("broken".to_owned()),
                values: Vec::new(),
            }],
        }],
        of_samples: 1000,
        chosen: "1 of 1000 samples.".to_owned(),
        problems: vec!["The predictions of constant are gone.".to_owned()],
    }
}

#[test]
fn what_predictions_say_is_on_the_page_and_on_one_of_its_own() {
    let mut records = three();
    records[2] = examples::measured("clip-tiny-random");
    let (folder, stored) = stored(&records);
    let evidence = [evidence(&stored)];
    let site = folder.path().join("site");
    let summary = board(&stored, &evidence, &[], &site).unwrap();
    let html = fs::read_to_string(&summary.page).unwrap();
    for part in [
        "The predictions of constant are gone.",
        "−31.0 pp",
        "differs</span>",
        "paper 50.0",
        "−9.0 pp",
        "2.50 ms · 3.12 ms",
        "1.0 GiB",
        "151.3 M",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert_eq!(summary.pages, 1);
    let page = fs::read_dir(site.join("pages"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let page = fs::read_to_string(page.path())
        .unwrap()
        .replace("&#x2f;", "/");
    for part in [
        "data:image/jpeg;base64,/9j/",
        "truncated",
        "what is &lt;b&gt;this&lt;/b&gt;?",
        "failed: broken",
        "href=\"#sample-0\"",
        "data-differs",
        "data-failed",
        "[−34.0 pp, −28.0 pp]",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(
        fs::read_to_string(site.join("board.csv"))
            .unwrap()
            .lines()
            .count(),
        1 + 3 * 8
    );

    // The next board of other content keeps this page, the one after that does not.
    let pages = || fs::read_dir(site.join("pages")).unwrap().count();
    let mut other = evidence.clone();
    other[0].chosen = "Others.".to_owned();
    board(&stored, &other, &[], &site).unwrap();
    assert_eq!(pages(), 2);
    board(&stored, &other, &[], &site).unwrap();
    assert_eq!(pages(), 1);
}

#[test]
fn limited_runs_are_said_not_to_be_ranked() {
    let mut records = three();
    for record in &mut records {
        record.tasks[0].limit = Some(10);
    }
    let (html, ..) = made(&records);
    assert_eq!(html.matches("Not ranked:").count(), 1);
    assert_eq!(
        html.matches("class=\"value best\"").count(),
        6,
        "those of the other task"
    );
}

#[test]
fn relative_links_go_up_and_down() {
    let link = |from: &str, to: &str| relative(Path::new(from), Path::new(to));
    assert_eq!(link("/a/site", "/a/records").as_deref(), Some("../records"));
    assert_eq!(link("/a", "/a/b c").as_deref(), Some("b%20c"));
    assert_eq!(link("/a", "/a").as_deref(), Some("."));
    assert_eq!(link("/x/y", "/").as_deref(), Some("../.."));
}

#[test]
fn comparisons_are_drawn_and_lead_to_their_rows() {
    let (folder, stored) = stored(&three());
    let comparison = crate::comparison::examples::comparison();
    let site = folder.path().join("site");
    let summary = board(&stored, &[], &[comparison], &site).unwrap();
    let html = fs::read_to_string(&summary.page).unwrap();
    let figure = html.split("<figure ").nth(1).unwrap();
    let figure = figure.split("</figure>").next().unwrap();
    for part in [
        "Whoever sees nothing is no better than one who guesses.",
        "accuracy@1, %",
        "95 % bootstrap interval",
        "<b>41.0</b>",
        "[39.0, 43.0]",
        "no record",
        "10.4",
    ] {
        assert!(figure.contains(part), "{part}\n{figure}");
    }
    assert_eq!(figure.matches("class=\"fill\"").count(), 2, "bars");
    assert_eq!(figure.matches("class=\"floor\"").count(), 4, "one line");
    let links = figure.split("href=\"#").skip(1);
    let links: Vec<&str> = links.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(links.len(), 3, "two rows and the line");
    for link in links {
        assert_eq!(html.matches(&format!("id=\"{link}\"")).count(), 1, "{link}");
    }
    assert!(!html.contains(" style="), "the policy of the page");
    let data = fs::read_to_string(&summary.data).unwrap();
    let data: serde_json::Value = serde_json::from_str(&data).unwrap();
    let comparisons = &data["suites"][0]["comparisons"];
    let value = three()[2].tasks[0].scores[0].value;
    assert_eq!(comparisons[0]["rows"][0]["score"]["value"].as_f64(), value);
    assert!(comparisons[0]["rows"][2]["score"].is_null());
    assert_eq!(comparisons[0]["line"]["label"], "a guess");
}
