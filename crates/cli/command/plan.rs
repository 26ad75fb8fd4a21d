//! `sightline plan`: a suite with every name resolved and every default filled in.

use std::fmt::Write as _;

use clap::Args;
use sightline_manifest::{Place, Plan};

use crate::args::SuiteArgs;
use crate::command::suite;
use crate::exit::{Exit, Failure};
use crate::output::print_either;

/// Arguments of `sightline plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    suite: SuiteArgs,

    /// Print the plan itself as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &PlanArgs) -> Result<Exit, Failure> {
    let plan = suite::load(&args.suite)?.plan;
    print_either(args.json, &plan, || text(&plan))?;
    Ok(Exit::Done)
}

fn text(plan: &Plan) -> String {
    let mut text = format!("suite {}: {}\n", plan.suite, plan.description);
    let _ = writeln!(
        text,
        "seed {}, intervals of {} % from {} resamples",
        plan.seed.0,
        plan.bootstrap.confidence * 100.0,
        plan.bootstrap.resamples
    );
    if let Ok(digest) = plan.digest() {
        let _ = writeln!(text, "plan {digest}");
    }
    for (name, dataset) in &plan.datasets {
        let form = match &dataset.annotations {
            Some(annotations) => annotations.form.as_str(),
            None => dataset.format.as_deref().unwrap_or_default(),
        };
        let annotations = dataset.annotations.iter().flat_map(|a| a.files.values());
        let places: Vec<String> = dataset
            .shards
            .iter()
            .chain(annotations)
            .chain(&dataset.images)
            .chain(&dataset.regions)
            .map(place)
            .collect();
        let _ = writeln!(text, "dataset {name}: {form} {}", places.join(", "));
    }
    for (name, model) in &plan.models {
        let checkpoint = model.checkpoint.as_ref().map_or_else(String::new, |at| {
            format!(", checkpoint {}, tokenizer {}", place(at), model.tokenizer)
        });
        let weights = model
            .weights
            .as_ref()
            .map_or_else(String::new, |weights| format!(", weights in {weights}"));
        let _ = writeln!(
            text,
            "model {name}: family {}{checkpoint}{weights}",
            model.family
        );
    }
    for task in &plan.tasks {
        let limit = task
            .limit
            .map_or_else(String::new, |n| format!(", first {n} samples"));
        let _ = writeln!(
            text,
            "task {}: {} on {}{limit}\n  models: {}\n  metrics: {}",
            task.name,
            task.kind,
            task.dataset,
            task.models.join(", "),
            task.metrics.join(", ")
        );
    }
    text.truncate(text.trim_end().len());
    text
}

fn place(place: &Place) -> String {
    match place {
        Place::Data(path) => format!("DATA/{path}"),
        Place::Manifests(path) => format!("MANIFESTS/{path}"),
        Place::Hub(name) => name.clone(),
        Place::Given(name) => format!("given for {name}"),
    }
}
