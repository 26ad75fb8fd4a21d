//! `sightline models import`.

use std::fs;
use std::path::PathBuf;

use crate::util::{Sandbox, workspace};

/// A checkpoint as PyTorch writes it; `crates/nn/tests/fixtures/torch/make.py` says what is in it.
fn fixture(name: &str) -> PathBuf {
    workspace()
        .join("crates/nn/tests/fixtures/torch")
        .join(name)
}

/// A folder `source` with a sharded checkpoint, its settings, and what else lies in such folders.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["pytorch_model.bin.index.json", "shard-0.bin", "shard-1.bin"] {
        sandbox.write(&format!("source/{name}"), fs::read(fixture(name)).unwrap());
    }
    sandbox.write("source/config.json", r#"{"model_type": "clip"}"#);
    sandbox.write("source/merges.txt", "#version: 0.2\n");
    sandbox.write("source/README.md", "# A model\n");
    sandbox
}

#[test]
fn a_sharded_checkpoint_becomes_one_file_with_its_settings() {
    let sandbox = sandbox();
    let imported = sandbox
        .sightline("models import source --out made --json")
        .expect(0)
        .json();
    assert_eq!(imported["schema"], 1);
    assert_eq!(imported["tensors"], 2);
    let names: Vec<&str> = imported["copied"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["config.json", "merges.txt"]);
    let mut written: Vec<String> = fs::read_dir(sandbox.path("made"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    written.sort();
    assert_eq!(written, ["config.json", "merges.txt", "model.safetensors"]);

    let bytes = fs::read(sandbox.path("made/model.safetensors")).unwrap();
    assert_eq!(imported["weights"]["bytes"], bytes.len());
    let digest = sightline_core::Digest::of(&bytes).to_string();
    assert_eq!(imported["weights"]["sha256"], digest.as_str());
    let header = String::from_utf8_lossy(&bytes[8..]);
    assert!(header.starts_with(
        r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b""#
    ));

    // What was made is made again, from itself too, and another form of the same tensors is the same file.
    let text = sandbox
        .sightline("models import source --out made")
        .expect(0)
        .stdout;
    let first = format!(
        "made/model.safetensors: 2 tensors, {} bytes, sha256 {digest}",
        bytes.len()
    );
    assert_eq!(text.lines().next().unwrap(), first);
    for source in [
        "made".into(),
        fixture("nested-twice.pt"),
        fixture("python2-old.pth"),
    ] {
        let again = [
            "models",
            "import",
            source.to_str().unwrap(),
            "--out",
            "again",
        ];
        let text = sandbox.run(again).expect(0).stdout;
        assert!(
            text.contains(&format!(
                "2 tensors, {} bytes, sha256 {digest}",
                bytes.len()
            )),
            "{text}"
        );
    }
}

#[test]
fn other_content_is_replaced_only_with_force_and_the_checkpoint_never() {
    let sandbox = sandbox();
    sandbox.write("made/config.json", "{}");
    let import = "models import source --out made";
    sandbox
        .sightline(import)
        .expect(2)
        .says(&["made/config.json", "--force"]);
    // Nothing is written when something is refused.
    assert!(!sandbox.path("made/model.safetensors").exists());
    sandbox.sightline(&format!("{import} --force")).expect(0);
    let config = fs::read_to_string(sandbox.path("made/config.json")).unwrap();
    assert!(config.contains("clip"));

    sandbox.write("made/model.safetensors", "something else");
    sandbox
        .sightline(import)
        .expect(2)
        .says(&["made/model.safetensors", "--force"]);
    sandbox.sightline(&format!("{import} --force")).expect(0);
    sandbox
        .sightline("models import made --out made --force")
        .expect(2)
        .says(&["that is the file of the checkpoint"]);
}

#[test]
fn an_attack_is_named_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let source = fixture("attack.bin");
    let import = [
        "models",
        "import",
        source.to_str().unwrap(),
        "--out",
        "made",
    ];
    sandbox.run(import).expect(2).says(&[
        "its pickle calls `posix.system` (REDUCE at byte",
        "nothing was run",
        "hint: Do not load the file with PyTorch",
    ]);
    assert!(!sandbox.path("made").exists());
    sandbox
        .sightline("models import nowhere --out made")
        .expect(2)
        .says(&["cannot read `nowhere`"]);
}
