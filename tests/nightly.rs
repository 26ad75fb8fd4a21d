//! `sightline nightly`: what is an alarm, what is only said, and what is never lost. And the files that start it elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sightline_testkit::gpu::skip;

use crate::util::{files, workspace};
use crate::watch::Watch;

/// What is said about the watched model.
fn said(alerts: &Value) -> String {
    let models = alerts["suites"][0]["models"].as_array().unwrap();
    let model = models.iter().find(|it| it["model"] == "clip-tiny-random");
    let said = model.unwrap()["said"].as_array().unwrap().iter();
    said.map(|it| it.as_str().unwrap())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_model_that_got_worse_is_an_alarm_and_everything_else_is_a_sentence() {
    let watch = Watch::new(24);
    let sandbox = &watch.sandbox;
    let record_count = || files(&sandbox.path("records"), |name| name.ends_with(".json")).len();

    watch.night().expect(0);
    assert!(
        said(&watch.alerts()).contains("The first night"),
        "{}",
        said(&watch.alerts())
    );
    assert_eq!(record_count(), 3);

    // An equal night runs nothing.
    let night = watch.night().expect(0);
    let alerts = watch.alerts();
    assert_eq!(alerts["suites"][0]["standing"], "known");
    assert!(
        said(&alerts).contains("nothing that it is made from has changed"),
        "{}",
        said(&alerts)
    );
    assert!(
        night.stdout.contains("nothing got worse"),
        "{}",
        night.stdout
    );
    assert_eq!(record_count(), 3);

    // A worse model is an alarm that names the task and samples.
    watch.worsen();
    let night = watch.night().expect(1);
    for part in [
        "zero-shot-colours",
        "accuracy@1",
        "clip-tiny-random",
        "`0000",
    ] {
        assert!(night.stdout.contains(part), "{part}: {}", night.stdout);
    }
    let alerts = watch.alerts();
    assert_eq!(alerts["verdict"], "regression");
    assert!(
        said(&alerts).contains("files of the model changed"),
        "{}",
        said(&alerts)
    );
    let markdown = fs::read_to_string(sandbox.path("site/alerts.md")).unwrap();
    assert!(markdown.contains("## Worse"), "{markdown}");
    // The board has both nights of the model: a row, and a trend.
    let page = fs::read_to_string(sandbox.path("site/index.html")).unwrap();
    assert!(page.contains("class=\"spark\"") && page.contains("2 records from"));

    // Other data cannot be compared, and are no alarm.
    watch.other_data();
    watch.night().expect(0);
    let alerts = watch.alerts();
    assert!(
        said(&alerts).contains("is not comparable with the last night"),
        "{}",
        said(&alerts)
    );
    assert!(
        said(&alerts).contains("files of datasets changed"),
        "{}",
        said(&alerts)
    );
    assert_eq!(
        fs::read_to_string(sandbox.path("records/nights.jsonl"))
            .unwrap()
            .lines()
            .count(),
        4
    );
}

#[test]
fn what_is_gone_or_broken_is_named_and_the_rest_is_done() {
    let watch = Watch::new(12);
    let sandbox = &watch.sandbox;
    watch.night().expect(0);
    // A suite that cannot run keeps no other from running.
    let suite = fs::read_to_string(sandbox.path("manifests/suites/watch.toml")).unwrap();
    sandbox.write(
        "manifests/suites/other.toml",
        suite.replace("'watch'", "'other'"),
    );
    watch.list(
        "[[suite]]\nname = 'other'\ndata = 'nowhere'\ncheckpoints = { clip-tiny-random = 'checkpoint' }\n\
         [[suite]]\nname = 'watch'\ndata = 'data'\ncheckpoints = { clip-tiny-random = 'checkpoint' }\n",
    );
    let before = fs::read(sandbox.path("records/nights.jsonl")).unwrap();
    let night = watch.night().expect(3);
    assert!(
        night.stdout.contains("## other: failed"),
        "{}",
        night.stdout
    );
    assert!(
        night.stdout.contains("## watch: recorded already"),
        "{}",
        night.stdout
    );
    assert!(
        fs::read(sandbox.path("records/nights.jsonl"))
            .unwrap()
            .len()
            > before.len()
    );

    // Predictions that are gone are named; the model is worse, but nobody can tell.
    watch.list("[[suite]]\nname = 'watch'\ndata = 'data'\ncheckpoints = { clip-tiny-random = 'checkpoint' }\n");
    for (name, _) in files(&sandbox.path("records"), |name| {
        name.ends_with("zero-shot-colours.jsonl")
    }) {
        fs::remove_file(sandbox.path("records").join(name)).unwrap();
    }
    watch.worsen();
    let night = watch.night();
    assert!(matches!(night.code, Some(0 | 1)), "{night:?}");
    let alerts = watch.alerts();
    assert!(
        said(&alerts).contains("Task zero-shot-colours is not compared: the predictions"),
        "{}",
        said(&alerts)
    );

    // One night at a time, and a list that names no suite.
    let held = fs::File::create(sandbox.path("records/.nightly.lock")).unwrap();
    held.try_lock().unwrap();
    watch
        .night()
        .expect(4)
        .says(&["another night is running", "hint:"]);
    drop(held);
    watch.list("[[suite]]\nname = 'wach'\n");
    watch
        .night()
        .expect(2)
        .says(&["unknown suite `wach`", "watch"]);
}

#[test]
fn a_night_that_was_cut_short_is_compared_with_the_same_night_again() {
    let watch = Watch::new(24);
    watch.night().expect(0);
    watch.worsen();
    // As if it had been killed after the records and before the end.
    watch
        .sandbox
        .sightline(
            "run manifests/suites/watch.toml --data data --records records --checkpoint clip-tiny-random=checkpoint",
        )
        .expect(0);
    watch.night().expect(1);
}

fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    found.is_ok_and(|output| output.status.success())
}

fn integration(name: &str) -> PathBuf {
    workspace().join("integrations").join(name)
}

#[test]
fn the_units_for_systemd_are_well_formed() {
    if !has("systemd-analyze") {
        skip(
            &"there is no systemd-analyze (Debian: apt-get install systemd)",
            "SIGHTLINE_REQUIRE_SYSTEMD",
        );
        return;
    }
    // A copy whose program exists here.
    let sandbox = crate::util::Sandbox::new();
    for name in ["sightline-nightly.service", "sightline-nightly.timer"] {
        let text = fs::read_to_string(integration("systemd").join(name)).unwrap();
        sandbox.write(name, text.replace("/usr/local/bin/sightline", "/bin/true"));
    }
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg("--man=no")
        .args(
            ["sightline-nightly.service", "sightline-nightly.timer"].map(|name| sandbox.path(name)),
        )
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let told: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("sightline-nightly"))
        .collect();
    assert!(output.status.success() && told.is_empty(), "{told:?}");
}

#[test]
fn the_workflow_is_yaml_and_the_script_is_bash() {
    let workflow = integration("github-actions/nightly.yml");
    let parse = "import sys, yaml; it = yaml.safe_load(open(sys.argv[1])); \
                 steps = it['jobs']['nightly']['steps']; assert any('nightly' in s.get('run', '') for s in steps)";
    let can = Command::new("python3").args(["-c", "import yaml"]).output();
    if can.is_ok_and(|output| output.status.success()) {
        let output = Command::new("python3")
            .args(["-c", parse])
            .arg(&workflow)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    } else {
        skip(
            &"there is no python3 with PyYAML (Debian: apt-get install python3-yaml)",
            "SIGHTLINE_REQUIRE_YAML",
        );
    }
    let script: &Path = &integration("slurm/nightly.sbatch");
    let output = Command::new("bash").arg("-n").arg(script).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
