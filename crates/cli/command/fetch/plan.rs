//! `sightline fetch plan`, `work`, `status`, `finish`: the shards of one plan on many machines.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use sightline_fetch::{DUPLICATES_FILE, FetchPlan, INDEX_FILE, Share, finish, state, work};

use super::{RequestArgs, end, failure, rows, write_index};
use crate::exit::{Exit, Failure};
use crate::monitor::{Monitor, MonitorArgs};
use crate::output::print_either;
use crate::signal::Stop;
use crate::stores::{scratch, shown, stores};

/// Names a plan.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The plan, or the folder that holds it, also at s3://, gs:// or az://
    plan: PathBuf,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline fetch work`. Without a share the worker takes any shard that nobody else is making.
#[derive(Debug, Args)]
pub(super) struct WorkArgs {
    #[command(flatten)]
    plan: PlanArgs,

    #[command(flatten)]
    monitor: MonitorArgs,

    /// Make these shards only, such as 0-99,120
    #[arg(long, value_name = "RANGES", value_parser = parse_ranges, conflicts_with_all = ["index", "count"])]
    shards: Option<Shards>,

    /// Make every COUNT-th shard, from this one on
    #[arg(long, value_name = "N", requires = "count")]
    index: Option<u64>,

    /// Number of workers that share the plan by --index
    #[arg(long, value_name = "COUNT", requires = "index", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Numbers of shards.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shards(Vec<u64>);

impl WorkArgs {
    fn share(&self) -> Share {
        match (&self.shards, self.index, self.count) {
            (Some(Shards(shards)), ..) => Share::Shards(shards.clone()),
            (None, Some(index), Some(count)) => Share::Index { index, count },
            _ => Share::Any,
        }
    }
}

pub(super) fn make_plan(request: &RequestArgs) -> Result<Exit, Failure> {
    let doing = format!("planning `{}`", shown(&request.url_list));
    let plan = FetchPlan::new(&request.spec(), &Monitor::new(request.monitor())?)
        .map_err(failure(&doing))?;
    let path = plan.save().map_err(failure(&doing))?;
    let shown = serde_json::json!({
        "schema": plan.schema,
        "plan": path,
        "digest": plan.digest,
        "rows": plan.rows,
        "shards": plan.shards.len(),
    });
    print_either(request.json, &shown, || {
        format!(
            "{} rows in {} shards; plan {} in `{}`\non each machine: sightline fetch work {}",
            plan.rows,
            plan.shards.len(),
            plan.digest.short(),
            path.display(),
            plan.spec.out.display()
        )
    })?;
    Ok(Exit::Done)
}

fn read_plan(args: &PlanArgs) -> Result<(FetchPlan, String), Failure> {
    let doing = format!("plan `{}`", args.plan.display());
    let mut plan = FetchPlan::read(&args.plan, &stores()).map_err(failure(&doing))?;
    plan.spec.scratch = Some(scratch());
    Ok((plan, doing))
}

pub(super) fn make_shards(args: &WorkArgs) -> Result<Exit, Failure> {
    let (plan, doing) = read_plan(&args.plan)?;
    let stop = Stop::listen()?;
    let monitor = Monitor::new(args.monitor)?;
    let summary =
        work(&plan, &args.share(), &monitor, &stop.flag().into()).map_err(failure(&doing))?;
    end(&summary, args.plan.json, &stop)
}

pub(super) fn show_state(args: &PlanArgs) -> Result<Exit, Failure> {
    let (plan, doing) = read_plan(args)?;
    let state = state(&plan).map_err(failure(&doing))?;
    print_either(args.json, &state, || {
        let mut text = format!(
            "{} of {} shards finished, {} under way, {} open; {} of {} rows, {} images",
            state.finished,
            state.shards,
            state.under_way.len(),
            state.open.len(),
            state.done.rows,
            state.rows,
            state.done.successes
        );
        for (id, (worker, seconds)) in &state.under_way {
            let _ = write!(text, "\n  {id:05}: {worker}, {seconds:.0} s ago");
        }
        text
    })?;
    Ok(if state.finished == state.shards {
        Exit::Done
    } else {
        Exit::Incomplete
    })
}

pub(super) fn finish_plan(args: &PlanArgs) -> Result<Exit, Failure> {
    let (plan, doing) = read_plan(args)?;
    match finish(&plan).map_err(failure(&doing))? {
        Ok(index) => {
            let names: Vec<String> = index.shards.iter().map(|s| s.name.clone()).collect();
            write_index(&plan.spec, &names, &doing)?;
            print_either(args.json, &index, || {
                let mut text = format!(
                    "{} samples in {} shards of {} bytes: `{}`\n",
                    index.samples,
                    index.shards.len(),
                    index.len_bytes,
                    plan.spec.out.join(INDEX_FILE).display()
                );
                text.push_str(&rows(&index.summary));
                if let Some(duplicates) = index.duplicates_across_shards {
                    let list = plan.spec.out.join(DUPLICATES_FILE);
                    let _ = writeln!(
                        text,
                        "{duplicates} images are equal to one of an earlier shard: `{}`",
                        list.display()
                    );
                }
                text.trim_end().to_owned()
            })?;
            Ok(Exit::Done)
        }
        Err(missing) => {
            let shown = serde_json::json!({ "schema": 1, "missing": missing });
            print_either(args.json, &shown, || {
                let first: Vec<String> = missing.iter().take(20).map(u64::to_string).collect();
                let more = missing.len().saturating_sub(first.len());
                let more = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                format!(
                    "{} of {} shards are missing: {}{more}\nmake them with `sightline fetch work`",
                    missing.len(),
                    plan.shards.len(),
                    first.join(", ")
                )
            })?;
            Ok(Exit::Incomplete)
        }
    }
}

/// Numbers and ranges of numbers, both ends included.
fn parse_ranges(text: &str) -> Result<Shards, String> {
    const MOST: usize = 1 << 24;
    let mut shards = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let parsed = text.trim().parse::<u64>();
            parsed.map_err(|_| format!("`{part}` is neither a number nor a range such as 0-99"))
        };
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(format!("`{part}` ends before it begins"));
        }
        if last - first >= (MOST - shards.len()) as u64 {
            return Err(format!("more than {MOST} shards"));
        }
        shards.extend(first..=last);
    }
    Ok(Shards(shards))
}
