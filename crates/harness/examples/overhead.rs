//! What a run costs beside its model: the time of a whole run against the time of the same questions to the model alone.
//!
//! ```text
//! cargo run --release -p sightline-harness --example overhead -- SUITE DATA MODEL CHECKPOINT [SAMPLES]
//! ```
//!
//! Each task of the suite with that model is asked twice about the same first samples, after a warm-up: once by `perf`, in batches
//! of the suite's size, with images prepared before; once by `run`, which reads and prepares images beside the model, writes
//! and scores. The difference is what the harness costs; images that take longer to prepare than to be
//! answered count as the harness's. Meant for a machine that does nothing else.

#![allow(
    clippy::print_stdout,
    reason = "an example that prints what it measured"
)]

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use sightline_core::progress::Silent;
use sightline_harness::perf::{Measure, measure};
use sightline_harness::{Options, catalog, make_lock, run};
use sightline_manifest::{Overrides, Roots, load_suite, manifests_folder};
use sightline_report::performance::Scenario;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [suite, data, model, checkpoint, rest @ ..] = &arguments[..] else {
        return Err("usage: overhead SUITE DATA MODEL CHECKPOINT [SAMPLES]".into());
    };
    let samples: u64 = rest.first().map_or(Ok(256), |text| text.parse())?;
    let suite = PathBuf::from(suite);
    let overrides = Overrides {
        models: Some(vec![model.clone()]),
        checkpoints: [model.clone()].into(),
        limit: Some(samples),
        ..Overrides::default()
    };
    let plan = load_suite(&suite, &catalog(), &overrides)?;
    let roots = Roots {
        data: data.into(),
        manifests: manifests_folder(&suite)?,
        checkpoints: [(model.clone(), checkpoint.into())].into(),
        ..Roots::default()
    };
    let lock = make_lock(&plan, &roots, &Silent)?;
    let folder = std::env::temp_dir().join(format!("sightline-overhead-{}", std::process::id()));
    let options = Options::new(&folder);
    let stop = AtomicBool::new(false);
    let what = Measure {
        scenario: Scenario::Offline,
        warm_up: Duration::from_secs(3),
        duration: Duration::from_secs(10),
        queries: 1,
        samples,
    };
    let mut alone = 0.0;
    measure(
        &plan,
        &lock,
        &roots,
        &options,
        &what,
        &Silent,
        &stop,
        |record, _| {
            let it = &record.measured;
            let of_task = samples as f64 / it.samples_per_second;
            println!(
                "{}: model alone {of_task:.3} s for {samples} samples",
                record.task
            );
            alone += of_task;
        },
    )?;
    let begun = Instant::now();
    let outcome = run(&plan, &lock, &roots, &options, &Silent, &stop)?;
    let whole = begun.elapsed().as_secs_f64();
    let complete = outcome.is_complete();
    println!(
        "run {whole:.3} s (loading the model and scoring too), complete: {complete}; overhead {:.2} % of {alone:.3} s",
        (whole - alone) / alone * 100.0
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
