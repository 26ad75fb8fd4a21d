//! The process is killed at random moments and run again: the end is what an undisturbed run gives.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use sightline_core::Seed;
use sightline_testkit::http::Server;

use crate::util::{Sandbox, files};

/// Processes that are killed while they work.
const KILLS: u32 = 20;
/// Runs that may end before they are killed; many more than a machine of changing speed brings about.
const MISSES: u32 = 60;

#[test]
fn twenty_kills_at_random_moments_change_no_byte() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("synth scenes --out scenes --train 400 --val 1 --test 1 --size 64")
        .expect(0);
    let server = Server::start(sandbox.path("scenes")).unwrap();
    sandbox.write(
        "urls.csv",
        std::fs::read_to_string(sandbox.path("scenes/urls/train.csv"))
            .unwrap()
            .replace(
                "http://127.0.0.1:8000",
                server.url("").trim_end_matches('/'),
            ),
    );
    let line = |out: &str| {
        format!(
            "fetch urls.csv --out {out} --caption-col caption --save-additional-columns captions \
             --image-size 64 --resize-mode border --number-sample-per-shard 20 \
             --allow-private-addresses"
        )
    };
    let content = |out: &str| files(&sandbox.path(out), |name| !name.ends_with("_stats.json"));
    let begin = |out: &str| {
        sandbox
            .command(line(out).split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };

    let begun = Instant::now();
    sandbox.sightline(&line("undisturbed")).expect(0);
    let undisturbed = begun.elapsed();
    let expected = content("undisturbed");

    let mut rng = Seed(17).child("kill", 0).rng();
    let (mut killed, mut missed) = (0, 0);
    // Kills that left the work of the folder half done, which only those that hit it in time do.
    let mut half_done = 0;
    let mut folder = 0;
    while killed < KILLS {
        assert!(missed <= MISSES, "{killed} of {KILLS} kills hit a process");
        let out = format!("killed-{folder}");
        let mut child = begin(&out);
        // Every other kill comes soon after the process has changed the folder, so that every folder
        // moves on however slow the machine is.
        let share = if (killed + missed) % 2 == 0 {
            wait_for_a_change(&mut child, &sandbox.path(&out));
            rng.between(0.0, 0.1)
        } else {
            rng.between(0.05, 0.9)
        };
        std::thread::sleep(undisturbed.mul_f64(share));
        child.kill().unwrap();
        // A process that a signal ended has no exit code.
        let was_killed = match child.wait().unwrap().code() {
            None => true,
            Some(code) => {
                assert_eq!(code, 0, "a resumed run failed");
                false
            }
        };
        if was_killed {
            killed += 1;
            no_torn_file_under_a_final_name(&sandbox.path(&out));
            let marks = files(&sandbox.path(&out), |name| name.ends_with("_stats.json")).len();
            half_done += u32::from((1..20).contains(&marks));
        } else {
            missed += 1;
            check(&expected, &content(&out), &out);
            folder += 1;
        }
    }
    assert!(
        half_done >= 3,
        "only {half_done} kills hit a folder at work"
    );
    let out = format!("killed-{folder}");
    sandbox.sightline(&line(&out)).expect(0);
    check(&expected, &content(&out), &out);
}

type Files = std::collections::BTreeMap<String, Vec<u8>>;

#[track_caller]
fn check(expected: &Files, found: &Files, out: &str) {
    assert_eq!(
        expected.keys().collect::<Vec<_>>(),
        found.keys().collect::<Vec<_>>(),
        "{out}"
    );
    for (name, content) in expected {
        assert!(found[name] == *content, "{out}/{name} differs");
    }
}

/// Waits until the list of files in `folder` changes, or the process ends.
fn wait_for_a_change(child: &mut Child, folder: &Path) {
    let list = || -> Vec<_> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    while list() == before && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whatever a kill left under a final name is whole: a tar ends with two zero blocks.
fn no_torn_file_under_a_final_name(folder: &Path) {
    if !folder.is_dir() {
        return;
    }
    for (name, bytes) in files(folder, |name| name.ends_with(".tar")) {
        assert!(
            bytes.len() % 10_240 == 0 && bytes.ends_with(&[0; 1024]),
            "{name} is torn"
        );
    }
}
