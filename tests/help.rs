//! What a person sees first.

use crate::util::{Sandbox, workspace};

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let help = Sandbox::new().sightline("--help").expect(0);
    insta::assert_snapshot!(help.stdout);
}

#[test]
fn help_of_fetch_documents_every_flag() {
    let help = Sandbox::new().sightline("fetch --help").expect(0);
    insta::assert_snapshot!(help.stdout);
}

#[test]
fn help_of_run_documents_every_flag() {
    let help = Sandbox::new().sightline("run --help").expect(0);
    insta::assert_snapshot!(help.stdout);
}

#[test]
fn an_unknown_command_is_a_usage_error_with_a_suggestion() {
    Sandbox::new()
        .sightline("fecth urls.csv")
        .expect(2)
        .says(&["fetch"]);
}

#[test]
fn families_as_json_are_an_object_with_a_schema() {
    let listed = Sandbox::new().sightline("models list --json").expect(0);
    let listed = listed.json();
    assert_eq!(listed["schema"], 1);
    let families = listed["families"].as_array().unwrap();
    assert!(families.iter().any(|family| family["name"] == "clip"));
    let shown = Sandbox::new()
        .sightline("models show clip --json")
        .expect(0);
    assert_eq!(shown.json()["schema"], 1);
    assert_eq!(shown.json()["name"], "clip");
}

#[test]
fn a_backbone_is_exported_and_other_files_are_kept() {
    let sandbox = Sandbox::new();
    let folder = workspace().join("tests/fixtures/models/virtex/r18_captioning_prenorm");
    let out = sandbox.path("backbone.safetensors");
    let export = |force: &str| {
        let (folder, out) = (folder.display(), out.display());
        sandbox.sightline(&format!(
            "models export-backbone {folder} --out {out} {force}"
        ))
    };
    export("").expect(0);
    let bytes = std::fs::read(&out).unwrap();
    let header = String::from_utf8_lossy(&bytes);
    assert!(header.contains("\"layer4.1.conv2.weight\"") && !header.contains("textual"));
    export("").expect(0);
    std::fs::write(&out, "mine").unwrap();
    export("").expect(2).says(&["--force"]);
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
    export("--force").expect(0);
    assert_eq!(std::fs::read(&out).unwrap(), bytes);
    sandbox
        .sightline(&format!(
            "models export-backbone nowhere --out {}",
            out.display()
        ))
        .expect(2)
        .says(&["nowhere"]);
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    use std::process::Stdio;
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command(["models", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{:?}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
