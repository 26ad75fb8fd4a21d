//! The process is killed at random moments and run again: the end is what an undisturbed run gives.

use std::process::Stdio;
use std::time::{Duration, Instant};

use sightline_core::Seed;
use sightline_testkit::http::Server;

use crate::util::{Sandbox, files};

/// Kills before the command is allowed to finish.
const KILLS: u64 = 20;

#[test]
fn twenty_kills_at_random_moments_change_no_byte() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("synth scenes --out scenes --train 600 --val 1 --test 1 --size 96")
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
             --image-size 64 --resize-mode border --number-sample-per-shard 30 \
             --allow-private-addresses"
        )
    };

    let begun = Instant::now();
    sandbox.sightline(&line("undisturbed")).expect(0);
    let undisturbed = begun.elapsed();

    let mut rng = Seed(17).child("kill", 0).rng();
    let mut killed = 0;
    for _ in 0..KILLS {
        let mut child = sandbox
            .command(line("killed").split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moment = Duration::from_secs_f64(undisturbed.as_secs_f64() * rng.between(0.05, 0.6));
        let begun = Instant::now();
        while begun.elapsed() < moment && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        killed += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        no_torn_file_under_a_final_name(&sandbox);
    }
    assert!(
        killed >= 3,
        "only {killed} of {KILLS} kills hit a running process"
    );
    sandbox.sightline(&line("killed")).expect(0);

    let bytes = |out: &str| files(&sandbox.path(out), |name| !name.ends_with("_stats.json"));
    let (expected, found) = (bytes("undisturbed"), bytes("killed"));
    assert_eq!(
        expected.keys().collect::<Vec<_>>(),
        found.keys().collect::<Vec<_>>()
    );
    for (name, content) in &expected {
        assert!(found[name] == *content, "{name} differs");
    }
}

/// Whatever a kill left under a final name is whole: a tar ends with two zero blocks.
fn no_torn_file_under_a_final_name(sandbox: &Sandbox) {
    if !sandbox.path("killed").is_dir() {
        return;
    }
    for (name, bytes) in files(&sandbox.path("killed"), |name| name.ends_with(".tar")) {
        assert!(
            bytes.len() % 10_240 == 0 && bytes.ends_with(&[0; 1024]),
            "{name} is torn"
        );
    }
}
