//! `sightline models check` and `import`.

use std::fs;
use std::path::{Path, PathBuf};

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

/// A tiny checkpoint with recorded outputs.
fn recorded(name: &str) -> PathBuf {
    workspace().join("tests/fixtures/models").join(name)
}

/// A copy of it in the sandbox, as the folder `ported`.
fn ported(sandbox: &Sandbox, name: &str) {
    for entry in fs::read_dir(recorded(name)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        sandbox.write(&format!("ported/{name}"), fs::read(&path).unwrap());
    }
}

#[test]
fn every_recorded_output_is_compared_and_shown() {
    let sandbox = Sandbox::new();
    let folder = recorded("clip/hf_quickgelu_eos2");
    let check = ["models", "check", folder.to_str().unwrap()];
    let text = sandbox.run(check).expect(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("hf_quickgelu_eos2 (clip)"), "{text}");
    let columns: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(
        columns,
        ["output", "elements", "absolute", "relative", "allowed"]
    );
    assert!(text.contains("  image_features "), "{text}");
    assert!(
        text.ends_with("outputs: all within their tolerance\n"),
        "{text}"
    );

    let json = sandbox
        .run(check.iter().chain(&["--json"]))
        .expect(0)
        .json();
    assert_eq!(
        (&json["schema"], &json["within"]),
        (&1.into(), &true.into())
    );
    let outputs = json["cases"][0]["outputs"].as_array().unwrap();
    let loss = outputs
        .iter()
        .find(|output| output["name"] == "loss")
        .unwrap();
    assert_eq!(loss["difference"]["elements"], 1);
    assert_eq!(loss["difference"]["tolerance"]["absolute"], 1e-4);
    assert!(loss["difference"]["absolute"].as_f64().unwrap() < 1e-4);

    // A folder of such folders stands for all of them.
    let family = recorded("clip");
    let all = ["models", "check", family.to_str().unwrap(), "--json"];
    let all = sandbox.run(all).expect(0).json();
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.len() > 1 && cases.iter().all(|case| case["within"] == true));
}

#[test]
fn weights_that_were_ported_wrongly_end_the_check_with_1() {
    let sandbox = Sandbox::new();
    ported(&sandbox, "clip/hf_quickgelu_eos2");
    // The last bytes of the weights belong to the last tensor.
    let path = sandbox.path("ported/model.safetensors");
    let mut weights = fs::read(&path).unwrap();
    let end = weights.len();
    weights[end - 4..].copy_from_slice(&9f32.to_le_bytes());
    fs::write(&path, weights).unwrap();
    let told = sandbox.sightline("models check ported").expect(1).stdout;
    assert!(told.contains("NOT WITHIN"), "{told}");
    assert!(
        told.contains("times the tolerance 2e-5 + 2e-5 * |x|"),
        "{told}"
    );
    assert!(told.contains("not within their tolerance"), "{told}");
    let json = sandbox
        .sightline("models check ported --json")
        .expect(1)
        .json();
    assert_eq!(json["within"], false);
    // What is allowed may be said for all outputs.
    let wide = "models check ported --absolute 1e9 --relative 1";
    sandbox.sightline(wide).expect(0);
}

#[test]
fn an_unknown_output_a_wrong_family_and_an_empty_folder_are_told() {
    let sandbox = Sandbox::new();
    ported(&sandbox, "align/small_3stage");
    let check = "models check ported --family";
    sandbox
        .sightline(&format!("{check} clip"))
        .expect(2)
        .says(&["says that its family is `align`, not `clip`"]);
    sandbox
        .sightline(&format!("{check} alingn"))
        .expect(2)
        .says(&["Did you mean `align`?"]);
    sandbox
        .sightline("models check nowhere")
        .expect(2)
        .says(&["cannot read `nowhere`"]);
    sandbox.write("none/README.md", "nothing");
    sandbox
        .sightline("models check none")
        .expect(2)
        .says(&["holds no `io.safetensors`", "docs/models.md"]);
    // Beside a case, what is none is a failure of its own and the case is compared.
    let sandbox = Sandbox::new();
    ported(&sandbox, "align/small_3stage");
    sandbox.write("stray/notes.txt", "");
    let told = sandbox.sightline("models check .").expect(1).stdout;
    assert!(told.contains("./stray (no family)"), "{told}");
    assert!(
        told.ends_with("0 not within their tolerance; 1 folder without any\n"),
        "{told}"
    );
}

#[test]
fn weights_of_fewer_bits_are_further_from_the_recorded_outputs() {
    let sandbox = Sandbox::new();
    let folder = recorded("clip/hf_quickgelu_eos2");
    let largest = |weights: &str, exit: i32| {
        let checked = sandbox
            .run([
                "models",
                "check",
                folder.to_str().unwrap(),
                "--json",
                "--weights",
                weights,
            ])
            .expect(exit)
            .json();
        let outputs = checked["cases"][0]["outputs"].as_array().unwrap().iter();
        let largest = outputs
            .filter(|output| output["name"] == "image_embeds")
            .map(|output| output["difference"]["absolute"].as_f64().unwrap());
        largest.fold(0.0, f64::max)
    };
    let (whole, half, quarter) = (largest("f32", 0), largest("bf16", 1), largest("int8", 1));
    assert!(
        whole < 2e-5 && 2e-5 < half && half < quarter && quarter < 0.05,
        "{whole} {half} {quarter}"
    );
}

/// A model from vectors: asked, explained, grown and shrunk.
#[test]
fn anchors_are_built_asked_added_and_deleted() {
    let sandbox = Sandbox::new();
    let models = workspace().join("tests/fixtures/models");
    for name in ["photo.jpg", "grey.png", "tiny.png"] {
        let bytes = fs::read(models.join("preprocess").join(name)).unwrap();
        sandbox.write(&format!("photos/{name}"), bytes);
    }
    sandbox.write("texts.txt", "a photo\nsomething grey\nsomething tiny\n");
    let clip = models.join("clip/hf_quickgelu_eos2");
    let clip = clip.to_str().unwrap();
    let run = |command: &str| sandbox.sightline(&format!("{command} --tokenizer word-hash"));
    run(&format!("embed {clip} --images photos -o images.npy")).expect(0);
    run(&format!(
        "embed {clip} --texts-file texts.txt -o texts.safetensors"
    ))
    .expect(0);

    let pairs = "--images images.npy --texts texts.safetensors";
    let encoders = format!("--image-encoder {clip} --text-encoder {clip}");
    let built = run(&format!("models asif build made {pairs} {encoders} --json")).expect(0);
    let built = built.json();
    assert_eq!(
        (&built["anchors"], &built["image_width"]),
        (&3.into(), &24.into())
    );
    let again = run(&format!("models asif build made {pairs} {encoders}")).expect(2);
    assert!(again.stderr.contains("exists"), "{}", again.stderr);

    // Anchors that explain are named.
    let asked = "models asif query made --images photos/tiny.png --texts something --explain 1 --names texts.txt";
    let found = run(&format!("{asked} --json")).expect(0).json();
    assert_eq!((&found["anchors"], &found["k"]), (&3.into(), &800.into()));
    let text = &found["images"][0]["texts"][0];
    assert_eq!(text["text"], "something");
    let name = text["anchors"][0]["name"].as_str().unwrap();
    assert!(["a photo", "something grey", "something tiny"].contains(&name));

    let added = sandbox.sightline(&format!("models asif add made {pairs} --precision int8"));
    assert!(added.expect(0).stdout.starts_with("6 anchors (0 deleted)"));
    let deleted = sandbox.sightline("models asif delete made 2 5").expect(0);
    assert!(deleted.stdout.starts_with("4 anchors (2 deleted)"));
    let beyond = sandbox.sightline("models asif delete made 6").expect(2);
    assert!(beyond.stderr.contains("there is no anchor 6, there are 6"));
    let found = run(&format!("{asked} --json")).expect(0).json();
    let anchor = found["images"][0]["texts"][0]["anchors"][0]["anchor"]
        .as_u64()
        .unwrap();
    assert!(![2, 5].contains(&anchor));

    // An encoder beside the model is named from there, and found when both are moved.
    for (name, bytes) in crate::util::files(Path::new(clip), |_| true) {
        sandbox.write(&format!("zoo/clip/{name}"), bytes);
    }
    let beside = "--image-encoder zoo/clip --text-encoder zoo/clip";
    run(&format!("models asif build zoo/made {pairs} {beside}")).expect(0);
    std::fs::rename(sandbox.path("zoo"), sandbox.path("moved")).unwrap();
    run("models asif query moved/made --images photos/tiny.png --texts something").expect(0);

    // Vectors of another encoder.
    let small = models.join("clip/hf_gelu_eosid_bin");
    let small = small.to_str().unwrap();
    let other = format!("--image-encoder {small} --text-encoder {small}");
    let refused = run(&format!("models asif build other {pairs} {other}")).expect(2);
    let told = "the image vectors have 24 values, those of the encoder 16";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    assert!(!sandbox.path("other").exists());
}
