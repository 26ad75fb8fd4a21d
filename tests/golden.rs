//! The overview of golden areas: which crate runs what is found, and that nothing goes unnoticed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use sightline_testkit::golden::{AREAS, Root};

fn files_below(folder: &Path) -> u64 {
    std::fs::read_dir(folder)
        .expect("the folder was found")
        .map(|entry| {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() { files_below(&path) } else { 1 }
        })
        .sum()
}

#[test]
fn every_area_found_is_in_the_table() {
    let root = Root::find();
    let table: BTreeMap<&str, Option<&str>> = AREAS.iter().copied().collect();
    let mut unknown = Vec::new();
    let mut lines = vec![format!("golden: fixtures below {}", root.path.display())];
    for area in root.areas_found() {
        match table.get(area.as_str()) {
            Some(Some(krate)) => lines.push(format!("golden {area}: run by the crate {krate}")),
            Some(None) => lines.push(format!(
                "golden {area}: no crate handles this area yet ({} files)",
                files_below(&root.path.join(&area))
            )),
            None => unknown.push(area),
        }
    }
    let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
    assert!(
        unknown.is_empty(),
        "folders that the table of areas does not name: {unknown:?}"
    );
}

#[test]
fn every_crate_of_the_table_has_a_golden_target() {
    for krate in AREAS.iter().filter_map(|(_, krate)| *krate) {
        let tests = Path::new("crates").join(krate).join("tests");
        assert!(
            tests.join("golden.rs").is_file() || tests.join("golden/main.rs").is_file(),
            "{} has no target `golden`",
            tests.display()
        );
    }
}
