//! Models on Hugging Face's hub: a hub on loopback, its cache, and what locks and records say of it.

use std::fs;
use std::process::Command;

use sightline_testkit::hub::{File, Hub};

use crate::util::{Outcome, Sandbox, workspace};

/// A hub with the tiny CLIP.
fn hub() -> Hub {
    let folder = workspace().join("tests/fixtures/models/clip/hf_quickgelu_eos2");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let files = [
        ("config.json", File::small(read("config.json"))),
        (
            "preprocessor_config.json",
            File::small(read("preprocessor_config.json")),
        ),
        ("model.safetensors", File::large(read("model.safetensors"))),
        ("pytorch_model.bin", File::large("the same as a pickle")),
        ("README.md", File::small("# Tiny")),
    ];
    Hub::start("owner/tiny", files).unwrap()
}

/// The program with a cache in the sandbox, and the hub at `endpoint`.
fn command(sandbox: &Sandbox, line: &str, endpoint: &str) -> Command {
    let mut command = sandbox.command(line.split_whitespace());
    command
        .env("HF_HOME", sandbox.path("hf"))
        .env("HF_ENDPOINT", endpoint)
        .env_remove("HF_HUB_CACHE")
        .env_remove("HUGGINGFACE_HUB_CACHE")
        .env_remove("HF_HUB_OFFLINE");
    command
}

fn run(sandbox: &Sandbox, line: &str, endpoint: &str) -> Outcome {
    Outcome::of(&command(sandbox, line, endpoint).output().unwrap())
}

const EMBED: &str = "embed hf:owner/tiny@main --tokenizer word-hash --texts cat";

#[test]
fn a_model_of_the_hub_is_downloaded_once_and_then_read_without_it() {
    let (hub, sandbox) = (hub(), Sandbox::new());
    let first = run(&sandbox, EMBED, &hub.endpoint()).expect(0);
    let commit = hub.commit();
    assert!(
        first
            .stderr
            .contains(&format!("hf:owner/tiny@main is hf:owner/tiny@{commit}"))
    );
    assert!(
        first.stderr.contains("bytes downloaded"),
        "{}",
        first.stderr
    );
    let folder = sandbox
        .path("hf/hub/models--owner--tiny/snapshots")
        .join(&commit);
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "config.json",
            "model.safetensors",
            "preprocessor_config.json"
        ]
    );

    // The hub is gone: a commit needs no network, a branch needs the switch or is taken from the cache.
    let endpoint = hub.endpoint();
    drop(hub);
    let pinned = EMBED.replace("@main", &format!("@{commit}"));
    let offline = format!("{EMBED} --offline");
    for line in [&pinned, &offline] {
        assert_eq!(
            run(&sandbox, line, &endpoint).expect(0).stdout,
            first.stdout
        );
    }
    let switched = command(&sandbox, EMBED, &endpoint)
        .env("HF_HUB_OFFLINE", "1")
        .output();
    assert_eq!(
        Outcome::of(&switched.unwrap()).expect(0).stdout,
        first.stdout
    );

    let elsewhere = Sandbox::new();
    run(&elsewhere, &offline, &endpoint)
        .expect(4)
        .says(&["is not in the cache", "HF_HUB_OFFLINE"]);
    run(&elsewhere, &pinned, &endpoint)
        .expect(4)
        .says(&["cannot be read"]);
}

#[test]
fn what_is_wrong_with_a_name_or_a_download_is_told() {
    let (hub, sandbox) = (hub(), Sandbox::new());
    let told = |line: &str, code| run(&sandbox, line, &hub.endpoint()).expect(code);
    told("embed hf:owner/tiny --texts cat", 2).says(&["lacks `@` and a revision", "@main"]);
    told("embed hf:owner/tiny@../x --texts cat", 2).says(&["neither a commit nor a branch"]);
    told("embed hf:owner/tiny@v9 --texts cat", 2).says(&["does not show", "(404)"]);
    told("embed hf:owner/none@main --texts cat", 2).says(&["does not show"]);
    hub.lie(true);
    let lied = told(EMBED, 1).says(&["`model.safetensors` has the SHA-256", "the hub says"]);
    // What the large storage's address is signed with is nobody's business.
    assert!(!lied.stderr.contains("signature"), "{}", lied.stderr);
    hub.lie(false);
    told(EMBED, 0);
    // A model that cannot do it is told after its configuration is there.
    told("caption hf:owner/tiny@main photo.jpg", 2).says(&["can embed"]);
}

#[test]
fn a_lock_and_a_record_hold_the_commit_that_a_branch_was() {
    let (hub, sandbox) = (hub(), Sandbox::new());
    let scenes = "synth scenes --out data/scenes --train 1 --val 1 --test 6 --size 48";
    sandbox.sightline(scenes).expect(0);
    let server = sightline_testkit::http::Server::start(sandbox.path("data/scenes")).unwrap();
    let table = fs::read_to_string(sandbox.path("data/scenes/urls/test.csv")).unwrap();
    sandbox.write(
        "urls.csv",
        table.replace(
            "http://127.0.0.1:8000",
            server.url("").trim_end_matches('/'),
        ),
    );
    sandbox
        .sightline(
            "fetch urls.csv --out data/shards/test --caption-col caption \
             --save-additional-columns captions,class_name --resize-mode no --allow-private-addresses",
        )
        .expect(0);
    let dataset = fs::read(workspace().join("manifests/datasets/scenes-test.toml")).unwrap();
    sandbox.write("manifests/datasets/scenes-test.toml", dataset);
    let model = "schema = 1\nmodel = \"tiny\"\nfamily = \"clip\"\ndescription = \"Tiny.\"\n\
                 tokenizer = \"word-hash\"\ncheckpoint = \"hf:owner/tiny@main\"\n";
    sandbox.write("manifests/models/tiny.toml", model);
    sandbox.write(
        "manifests/suites/small.toml",
        "schema = 1\nsuite = \"small\"\ndescription = \"\"\nseed = 1\nmodels = [\"tiny\"]\n\
         [[task]]\nkind = \"retrieval\"\ndataset = \"scenes-test\"\n",
    );
    let suite = "manifests/suites/small.toml --data data";
    // A plan needs no network.
    let plan = run(&sandbox, &format!("plan {suite}"), "http://127.0.0.1:1").expect(0);
    assert!(
        plan.stdout.contains("hf:owner/tiny@main"),
        "{}",
        plan.stdout
    );

    let lock = format!("lock {suite} --out small.lock");
    run(&sandbox, &lock, &hub.endpoint()).expect(0);
    let lock: serde_json::Value =
        serde_json::from_slice(&fs::read(sandbox.path("small.lock")).unwrap()).unwrap();
    let source = format!("hf:owner/tiny@{}", hub.commit());
    assert_eq!(lock["sources"][0]["owner"], "model:tiny");
    assert_eq!(lock["sources"][0]["source"], source.as_str());

    let locked = format!("run {suite} --records records --locked small.lock");
    let records = run(&sandbox, &format!("{locked} --json"), &hub.endpoint())
        .expect(0)
        .json();
    assert_eq!(records["records"][0]["model"]["source"], source.as_str());
    run(
        &sandbox,
        &format!("{locked} --offline"),
        "http://127.0.0.1:1",
    )
    .expect(0);

    // The branch moves on: the lock says so.
    let folder = workspace().join("tests/fixtures/models/clip/hf_gelu_eosid_bin");
    let config = fs::read(folder.join("preprocessor_config.json")).unwrap();
    hub.commit_file("extra.json", File::small(config));
    run(&sandbox, &locked, &hub.endpoint())
        .expect(1)
        .says(&["model:tiny is from elsewhere", &source]);
    // And so does a checkpoint on the command line, whose plan is another.
    let given = format!("{locked} --checkpoint tiny=hf:owner/tiny@{}", hub.commit());
    run(&sandbox, &given, &hub.endpoint()).expect(1);
}
