//! What bad input gets: a message that names file, place, limit and remedy; the right exit code.

use crate::util::{Sandbox, workspace};

fn manifests(sandbox: &Sandbox, suite: &str) {
    for (folder, name) in [
        ("datasets", "scenes-test"),
        ("models", "constant"),
        ("models", "random"),
        ("models", "clip"),
        ("models", "clip-no-vocabulary"),
    ] {
        let file = format!("manifests/{folder}/{name}.toml");
        let text = std::fs::read_to_string(workspace().join(&file)).unwrap();
        sandbox.write(&file, text);
    }
    sandbox.write("manifests/suites/broken.toml", suite);
}

#[test]
fn a_missing_table_is_named() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("fetch nowhere.csv --out shards")
        .expect(2)
        .says(&["nowhere.csv"]);
}

#[test]
fn a_missing_column_is_named_beside_those_that_exist() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "table.csv",
        "link,caption\nhttp://example.com/a.jpg,a cat\n",
    );
    sandbox
        .sightline("fetch table.csv --out shards --url-col lnk")
        .expect(2)
        .says(&["table.csv", "`lnk`", "`link`", "hint:"]);
    assert!(!sandbox.path("shards/00000.tar").exists());
}

#[test]
fn an_unreadable_table_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("table.parquet", "this is no parquet file");
    sandbox
        .sightline("fetch table.parquet --out shards")
        .expect(2)
        .says(&["table.parquet"]);
}

#[test]
fn unknown_names_in_a_suite_are_all_reported_with_places_and_near_names() {
    let sandbox = Sandbox::new();
    manifests(
        &sandbox,
        r#"schema = 1
suite = "broken"
description = "Names that nobody knows."
seed = 1
models = ["randon"]

[[task]]
kind = "zeroshot"
dataset = "scenes-test"

[[task]]
kind = "retrieval"
dataset = "scenes-tset"
metrics = ["recal@1.image-to-text"]
"#,
    );
    let outcome = sandbox
        .sightline("plan manifests/suites/broken.toml")
        .expect(2)
        .says(&[
            "broken.toml:5",
            "`randon`",
            "`random`",
            "`zeroshot`",
            "`zero-shot`",
            "`scenes-tset`",
            "`scenes-test`",
        ]);
    insta::assert_snapshot!(outcome.stderr);
}

#[test]
fn a_syntax_error_in_a_suite_is_shown_where_it_is() {
    let sandbox = Sandbox::new();
    manifests(&sandbox, "schema = 1\nsuite = \"broken\nseed = 1\n");
    sandbox
        .sightline("plan manifests/suites/broken.toml")
        .expect(2)
        .says(&["broken.toml:2"]);
}

/// A suite with one zero-shot task for the CLIP model without vocabulary, and one fetched shard.
fn clip_suite(sandbox: &Sandbox) {
    manifests(
        sandbox,
        "schema = 1\nsuite = \"broken\"\ndescription = \"One model.\"\nseed = 1\n\
         models = [\"clip-no-vocabulary\"]\n\n[[task]]\nkind = \"retrieval\"\ndataset = \"scenes-test\"\n",
    );
    sandbox
        .sightline("synth scenes --out data/scenes --train 1 --val 1 --test 4")
        .expect(0);
    let server = sightline_testkit::http::Server::start(sandbox.path("data/scenes")).unwrap();
    let table = std::fs::read_to_string(sandbox.path("data/scenes/urls/test.csv")).unwrap();
    sandbox.write(
        "urls.csv",
        table.replace(
            "http://127.0.0.1:8000",
            server.url("").trim_end_matches('/'),
        ),
    );
    sandbox
        .sightline(
            "fetch urls.csv --out data/shards/test --caption-col caption --allow-private-addresses",
        )
        .expect(0);
    let fixture = workspace().join("tests/fixtures/models/clip/hf_quickgelu_eos2");
    for file in [
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
    ] {
        sandbox.write(
            &format!("checkpoint/{file}"),
            std::fs::read(fixture.join(file)).unwrap(),
        );
    }
}

const RUN_CLIP: &str = "run manifests/suites/broken.toml --data data --records records \
                        --checkpoint clip-no-vocabulary=checkpoint";

#[test]
fn a_checkpoint_with_missing_and_misshapen_tensors_lists_them_all() {
    let sandbox = Sandbox::new();
    clip_suite(&sandbox);
    let path = sandbox.path("checkpoint/model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let changed: Vec<(String, safetensors::tensor::TensorView<'_>)> = tensors
        .tensors()
        .into_iter()
        .filter(|(name, _)| name != "visual_projection.weight")
        .map(|(name, view)| {
            if name != "text_projection.weight" {
                return (name, view);
            }
            let shape: Vec<usize> = view.shape().iter().rev().copied().collect();
            let turned =
                safetensors::tensor::TensorView::new(view.dtype(), shape, view.data()).unwrap();
            (name, turned)
        })
        .collect();
    std::fs::write(&path, safetensors::serialize(changed, None).unwrap()).unwrap();
    sandbox.sightline(RUN_CLIP).expect(2).says(&[
        "model.safetensors",
        "`visual_projection.weight`",
        "`text_projection.weight`",
    ]);
}

#[test]
fn a_truncated_checkpoint_is_named() {
    let sandbox = Sandbox::new();
    clip_suite(&sandbox);
    let path = sandbox.path("checkpoint/model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for len in [0, 7, 100, bytes.len() / 2] {
        std::fs::write(&path, &bytes[..len]).unwrap();
        sandbox
            .sightline(RUN_CLIP)
            .expect(2)
            .says(&["model.safetensors"]);
    }
}

#[test]
fn a_checkpoint_that_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    clip_suite(&sandbox);
    std::fs::remove_dir_all(sandbox.path("checkpoint")).unwrap();
    sandbox.sightline(RUN_CLIP).expect(2).says(&["checkpoint"]);
}

#[test]
fn shards_that_are_not_there_are_named() {
    let sandbox = Sandbox::new();
    clip_suite(&sandbox);
    std::fs::remove_dir_all(sandbox.path("data/shards")).unwrap();
    sandbox.sightline(RUN_CLIP).expect(2).says(&["shards/test"]);
}
