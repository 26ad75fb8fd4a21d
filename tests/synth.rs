//! `sightline synth scenes`.

use crate::util::{Sandbox, files};

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
    let sandbox = Sandbox::new();
    for (out, seed) in [("a", 5), ("b", 5), ("c", 6)] {
        sandbox
            .sightline(&format!(
                "synth scenes --out {out} --train 20 --val 5 --test 8 --seed {seed}"
            ))
            .expect(0);
    }
    let [a, b, c] = ["a", "b", "c"].map(|out| files(&sandbox.path(out), |_| true));
    assert!(a.len() > 33, "33 images and their annotations: {}", a.len());
    assert!(a == b, "the same seed gave different bytes");
    assert!(a != c, "another seed gave the same bytes");
}

#[test]
fn an_existing_dataset_of_another_seed_is_not_overwritten() {
    let sandbox = Sandbox::new();
    let line = "synth scenes --out scenes --train 4 --val 2 --test 2";
    sandbox.sightline(line).expect(0);
    let before = files(&sandbox.path("scenes"), |_| true);
    sandbox.sightline(line).expect(0);
    sandbox
        .sightline(&format!("{line} --seed 99"))
        .expect(2)
        .says(&["scenes", "hint:"]);
    assert!(before == files(&sandbox.path("scenes"), |_| true));
}
