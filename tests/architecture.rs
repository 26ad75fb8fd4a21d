//! The layers of the workspace: fails on a dependency that `docs/architecture.md` does not list.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Layer, crate, and the crates of lower layers it may use.
const LAYERS: &[(u8, &str, &[&str])] = &[
    (0, "core", &[]),
    (1, "text", &["core"]),
    (1, "imaging", &["core"]),
    (1, "shard", &["core"]),
    (1, "store", &["core"]),
    (1, "manifest", &["core"]),
    (1, "report", &["core"]),
    (2, "synth", &["core", "imaging", "shard", "store"]),
    (2, "metrics", &["core", "text"]),
    (2, "fetch", &["core", "imaging", "shard", "store"]),
    (2, "dataset", &["core", "imaging", "shard", "store"]),
    (2, "preprocess", &["core", "imaging"]),
    (2, "nn", &["core"]),
    (3, "models", &["core", "text", "nn"]),
    (
        4,
        "harness",
        &[
            "core",
            "text",
            "shard",
            "store",
            "manifest",
            "report",
            "metrics",
            "dataset",
            "preprocess",
            "nn",
            "models",
        ],
    ),
    (
        5,
        "sightline",
        &[
            "core",
            "text",
            "imaging",
            "shard",
            "store",
            "manifest",
            "report",
            "synth",
            "metrics",
            "fetch",
            "dataset",
            "preprocess",
            "nn",
            "models",
            "harness",
        ],
    ),
];

/// Heavy outside crates, and the only crates of the workspace that may name them.
const OUTSIDE: &[(&str, &[&str])] = &[
    (
        "candle-core",
        &["preprocess", "nn", "models", "harness", "sightline"],
    ),
    ("candle-nn", &["nn"]),
    ("clap", &["sightline"]),
    ("image", &["imaging"]),
    ("indicatif", &["sightline"]),
    ("minijinja", &["report"]),
    ("polars", &["fetch", "dataset", "harness", "synth"]),
    ("reqwest", &["fetch"]),
    ("tokenizers", &["text"]),
    ("tokio", &["store", "fetch"]),
    ("toml", &["manifest"]),
    ("tracing-subscriber", &["sightline"]),
];

/// Used by tests of every crate, built on `core` alone.
const TESTKIT: &str = "testkit";

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .expect("cargo metadata runs")
}

fn short(name: &str) -> &str {
    name.strip_prefix("sightline-").unwrap_or(name)
}

/// Names of this workspace's crates that `package` depends on, by kind.
fn edges<'a>(package: &'a Package, crates: &BTreeSet<&str>) -> Vec<(&'a str, DependencyKind)> {
    package
        .dependencies
        .iter()
        .map(|d| (short(&d.name), d.kind))
        .filter(|(name, _)| crates.contains(name))
        .collect()
}

#[test]
fn every_crate_stands_in_the_table_and_every_row_exists() {
    let metadata = metadata();
    let found: BTreeSet<&str> = metadata.packages.iter().map(|p| short(&p.name)).collect();
    let listed: BTreeSet<&str> = LAYERS
        .iter()
        .map(|(_, name, _)| *name)
        .chain([TESTKIT])
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn no_edge_points_up_or_sideways() {
    let metadata = metadata();
    let layers: BTreeMap<&str, (u8, &[&str])> = LAYERS
        .iter()
        .map(|&(layer, name, uses)| (name, (layer, uses)))
        .collect();
    let crates: BTreeSet<&str> = layers.keys().copied().chain([TESTKIT]).collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let name = short(&package.name);
        for (used, kind) in edges(package, &crates) {
            let allowed = if name == TESTKIT {
                used == "core"
            } else if kind == DependencyKind::Development {
                used == TESTKIT || layers[used].0 < layers[name].0
            } else {
                used != TESTKIT && layers[name].1.contains(&used)
            };
            if !allowed {
                wrong.push(format!("{name} -> {used} ({kind})"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges the table does not list: {wrong:?}");
    for (name, (layer, uses)) in &layers {
        for used in *uses {
            assert!(
                layers[used].0 < *layer,
                "the table itself: {name} -> {used}"
            );
        }
    }
}

#[test]
fn heavy_outside_crates_enter_where_the_table_says() {
    let allowed: BTreeMap<&str, &[&str]> = OUTSIDE.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in &metadata().packages {
        let name = short(&package.name);
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            if let Some(owners) = allowed.get(dependency.name.as_str())
                && !owners.contains(&name)
            {
                wrong.push(format!("{name} -> {}", dependency.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "outside crates in the wrong place: {wrong:?}"
    );
}

#[test]
fn unsafe_code_is_denied_in_every_crate() {
    for package in &metadata().packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} does not inherit the workspace's lints",
            package.name
        );
    }
}
