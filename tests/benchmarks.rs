//! What the benchmark scripts share: whose output a folder is, and the advice when a port is taken.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::util::{Outcome, Sandbox, workspace};

/// Runs `script` in the sandbox's folder after the functions of `benchmarks/serve.sh`.
fn bash(sandbox: &Sandbox, script: &str) -> Outcome {
    let functions = workspace().join("benchmarks/serve.sh");
    let output = Command::new("bash")
        .arg("-c")
        .arg(format!(
            "set -euo pipefail; bin=bin; source '{}'; {script}",
            functions.display()
        ))
        .current_dir(sandbox.path(""))
        .output()
        .unwrap();
    Outcome::of(&output)
}

#[test]
fn the_output_of_another_port_is_kept_and_comes_back() {
    let sandbox = Sandbox::new();
    let run = |port: &str| {
        bash(
            &sandbox,
            &format!("settle out {port}; keep out {port}; echo {port} >>out/runs; cat out/runs"),
        )
        .expect(0)
        .stdout
    };
    assert_eq!(run("18417"), "18417\n");
    assert_eq!(run("18417"), "18417\n18417\n");
    assert_eq!(run("18418"), "18418\n");
    assert_eq!(run("18417"), "18417\n18417\n18417\n");
    assert_eq!(run("18418"), "18418\n18418\n");
    assert!(sandbox.path("out.18417").is_dir());
    assert!(!sandbox.path("out.18418").exists());
}

#[test]
fn a_run_whose_server_did_not_start_holds_no_folder() {
    let sandbox = Sandbox::new();
    let server = sandbox.write(
        "bin/sightline-test-server",
        "#!/bin/sh\necho taken >&2\nexit 2\n",
    );
    std::fs::set_permissions(&server, PermissionsExt::from_mode(0o755)).unwrap();
    let first = "settle out 18417; serve out 18417 bench-photos photos; keep out 18417";
    bash(&sandbox, first)
        .expect(1)
        .says(&["taken", "just port=18418 bench-photos photos"]);
    bash(&sandbox, "settle out 18418; keep out 18418").expect(0);
    assert!(!sandbox.path("out.18417").exists());
}
