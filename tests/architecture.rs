//! The layers of the workspace: fails on a dependency that the table of `docs/architecture.md` does not list.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// The page whose table is the law.
const PAGE: &str = include_str!("../docs/architecture.md");

/// Used by tests of every crate, built on `core` alone.
const TESTKIT: &str = "testkit";

/// A row of the table.
struct Row {
    /// `None` for what only tests use.
    layer: Option<u8>,
    /// Name of the crate's folder; the binary's is `cli`.
    name: &'static str,
    /// Crates of lower layers that it may use.
    uses: BTreeSet<&'static str>,
    /// Heavy outside crates that it may use.
    outside: BTreeSet<&'static str>,
}

/// The table of crates, row by row.
fn table() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let lines = PAGE
        .lines()
        .skip_while(|line| !line.starts_with("| layer |"));
    for line in lines.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [layer, name, _, uses, outside] = cells[..] else {
            panic!("a row with other than five cells: {line}");
        };
        let layer = layer.parse().ok();
        assert!(layer.is_some() || name == format!("`{TESTKIT}`"), "{line}");
        let below = || {
            rows.iter()
                .filter(|row| row.layer < layer)
                .map(|row| row.name)
        };
        let uses = match uses.strip_prefix("all") {
            None => list(uses),
            Some(rest) => {
                let but = list(
                    rest.trim_start_matches(" above")
                        .trim_start_matches(" but "),
                );
                below().filter(|name| !but.contains(name)).collect()
            }
        };
        rows.push(Row {
            layer,
            name: name.trim_matches('`'),
            uses,
            outside: list(outside),
        });
    }
    rows
}

/// The names in a cell.
fn list(cell: &'static str) -> BTreeSet<&'static str> {
    cell.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && *name != "–")
        .collect()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path("Cargo.toml")
        .no_deps()
        .other_options(vec!["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .expect("cargo metadata runs")
}

fn short(name: &str) -> &str {
    match name {
        "sightline" => "cli",
        name => name.strip_prefix("sightline-").unwrap_or(name),
    }
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
    let listed: BTreeSet<&str> = table().iter().map(|row| row.name).collect();
    assert_eq!(found, listed);
}

#[test]
fn no_edge_points_up_or_sideways() {
    let metadata = metadata();
    let table: BTreeMap<&str, Row> = table().into_iter().map(|row| (row.name, row)).collect();
    let crates: BTreeSet<&str> = table.keys().copied().collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let row = &table[short(&package.name)];
        for (used, kind) in edges(package, &crates) {
            // Tests may use the test kit and whatever is below them.
            let in_tests = kind == DependencyKind::Development
                && (used == TESTKIT || table[used].layer < row.layer);
            if !in_tests && !row.uses.contains(used) {
                wrong.push(format!("{} -> {used} ({kind})", row.name));
            }
        }
    }
    assert!(wrong.is_empty(), "edges the table does not list: {wrong:?}");
    for row in table.values() {
        for used in &row.uses {
            let is_lower = table[used].layer.is_some()
                && row
                    .layer
                    .is_none_or(|layer| table[used].layer < Some(layer));
            assert!(is_lower, "the table itself: {} -> {used}", row.name);
        }
    }
}

#[test]
fn heavy_outside_crates_enter_where_the_table_says() {
    let table = table();
    let heavy: BTreeSet<&str> = table.iter().flat_map(|row| row.outside.clone()).collect();
    let mut wrong = Vec::new();
    for package in &metadata().packages {
        let name = short(&package.name);
        let allowed = table.iter().find(|row| row.name == name);
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            if dependency.kind != DependencyKind::Development
                && heavy.contains(used)
                && !allowed.is_some_and(|row| row.outside.contains(used))
            {
                wrong.push(format!("{name} -> {used}"));
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
