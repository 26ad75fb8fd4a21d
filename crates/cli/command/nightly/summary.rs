//! What a night came to, for people and for machines.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use sightline_core::text::counted;
use sightline_harness::{MetricComparison, TaskComparison};
use sightline_manifest::Nightly;
use sightline_report::Stored;
use sightline_store::write_atomic;

use crate::command::exits;
use crate::exit::{Exit, Failure};

/// What a night came to: `alerts.json`.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    schema: u32,
    nightly: String,
    began: String,
    /// When the night began that this one is compared with.
    last: Option<String>,
    /// `regression`, `incomplete` or `ok`.
    verdict: &'static str,
    fail_below: f64,
    suites: Vec<SuiteSummary>,
}

/// What became of a suite.
#[derive(Debug, Serialize)]
pub(super) struct SuiteSummary {
    pub(super) suite: String,
    pub(super) standing: Standing,
    /// Why it failed, or what of it is incomplete.
    problems: Vec<String>,
    pub(super) models: Vec<Compared>,
}

/// Whether a suite ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Standing {
    /// It ran in this night.
    Ran,
    /// It was recorded already for this lock.
    Known,
    /// It could not run.
    Failed,
    /// It ran, and some of it could not be finished.
    Incomplete,
}

/// A model's record beside the one of the last night.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    model: String,
    record: String,
    pub(super) before: Option<String>,
    /// What there is to know, in sentences.
    said: Vec<String>,
    pub(super) metrics: Vec<Metric>,
    pub(super) regressions: Vec<Regression>,
}

/// A metric in both nights.
#[derive(Debug, Serialize)]
pub(super) struct Metric {
    task: String,
    #[serde(rename = "metric")]
    id: String,
    before: Option<f64>,
    now: Option<f64>,
    difference: Option<f64>,
    interval: Option<[f64; 2]>,
    /// Of randomisation, corrected (Holm) for all metrics of the model's tasks.
    p_corrected: Option<f64>,
    paired: u64,
    /// Samples that fell most: key, value before, value now.
    pub(super) worst: Vec<(String, f64, f64)>,
}

/// A metric that got worse: significantly, and by more than is allowed.
#[derive(Debug, Serialize)]
pub(super) struct Regression {
    pub(super) task: String,
    pub(super) metric: String,
    pub(super) drop: f64,
    pub(super) p: Option<f64>,
    pub(super) worst: Vec<(String, f64, f64)>,
}

impl SuiteSummary {
    pub(super) fn new(suite: &str) -> Self {
        Self {
            suite: suite.to_owned(),
            standing: Standing::Ran,
            problems: Vec::new(),
            models: Vec::new(),
        }
    }

    /// It could not run.
    pub(super) fn fail(&mut self, why: &str) {
        self.standing = Standing::Failed;
        self.problems.push(why.to_owned());
    }

    /// A part of it could not be finished.
    pub(super) fn incomplete(&mut self, why: &str) {
        self.standing = Standing::Incomplete;
        self.problems.push(why.to_owned());
    }
}

impl Compared {
    pub(super) fn new(stored: &Stored) -> Self {
        Self {
            model: stored.record.model.name.clone(),
            record: stored.path.clone(),
            before: None,
            said: Vec::new(),
            metrics: Vec::new(),
            regressions: Vec::new(),
        }
    }

    pub(super) fn say(&mut self, sentence: &str) {
        self.said.push(sentence.to_owned());
    }
}

impl Metric {
    pub(super) fn new(task: &TaskComparison, one: &MetricComparison) -> Self {
        let of = &one.comparison;
        let sign = if one.higher_is_better { 1.0 } else { -1.0 };
        let worse = one
            .flips
            .iter()
            .filter(|flip| sign * (flip.values[1] - flip.values[0]) < 0.0);
        let worst = worse.map(|flip| {
            let name = match &flip.key {
                Some(key) => key.to_string(),
                None => format!("item {}", flip.item),
            };
            (name, flip.values[0], flip.values[1])
        });
        Self {
            task: task.task.clone(),
            id: one.metric.clone(),
            before: of.a,
            now: of.b,
            difference: of.difference,
            interval: of.interval.map(|ends| [ends.low, ends.high]),
            p_corrected: one.p_corrected,
            paired: task.paired,
            worst: worst.collect(),
        }
    }
}

impl Summary {
    pub(super) fn new(
        list: &Nightly,
        began: String,
        last: Option<String>,
        suites: Vec<SuiteSummary>,
    ) -> Self {
        let models = || suites.iter().flat_map(|suite| &suite.models);
        let verdict = if models().any(|model| !model.regressions.is_empty()) {
            "regression"
        } else if suites.iter().any(|suite| !suite.problems.is_empty()) {
            "incomplete"
        } else {
            "ok"
        };
        Self {
            schema: 1,
            nightly: list.name.clone(),
            began,
            last,
            verdict,
            fail_below: list.fail_below,
            suites,
        }
    }

    /// How the program ends because of it.
    pub(super) fn exit(&self) -> Exit {
        match self.verdict {
            "regression" => Exit::No,
            "incomplete" => Exit::Incomplete,
            _ => Exit::Done,
        }
    }

    /// Writes `alerts.json` and `alerts.md` into `folder`.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::io("writing the summary", &std::io::Error::from(error)))?;
        for (name, text) in [("alerts.json", json + "\n"), ("alerts.md", self.markdown())] {
            let path = folder.join(name);
            write_atomic(&path, text.as_bytes()).map_err(|error| {
                let doing = format!("writing `{}`", path.display());
                Failure::new(exits::store(&error), doing, &error)
            })?;
        }
        Ok(())
    }

    /// For people: what got worse first.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("# Night of {}: {}\n\n", self.began, self.title());
        match &self.last {
            Some(last) => {
                let _ = writeln!(
                    text,
                    "List `{}`, compared with the night of {last}.",
                    self.nightly
                );
            }
            None => {
                let _ = writeln!(text, "List `{}`, its first night.", self.nightly);
            }
        }
        let models = || {
            self.suites
                .iter()
                .flat_map(|suite| suite.models.iter().map(move |model| (suite, model)))
        };
        if models().any(|(_, model)| !model.regressions.is_empty()) {
            text.push_str("\n## Worse\n\n| suite | model | task | metric | fell by | p, corrected | samples that fell most |\n");
            text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        }
        for (suite, model) in models() {
            for one in &model.regressions {
                let worst = one
                    .worst
                    .iter()
                    .map(|(key, before, now)| format!("`{key}` {before} → {now}"));
                let worst: Vec<String> = worst.collect();
                let p = one.p.map_or_else(|| "–".to_owned(), |p| format!("{p:.4}"));
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {:.4} | {p} | {} |",
                    suite.suite,
                    model.model,
                    one.task,
                    one.metric,
                    one.drop,
                    worst.join(", ")
                );
            }
        }
        for suite in &self.suites {
            let _ = writeln!(text, "\n## {}: {}\n", suite.suite, suite.standing.words());
            for problem in &suite.problems {
                let _ = writeln!(text, "- {}", problem.replace('\n', " "));
            }
            for model in &suite.models {
                let _ = writeln!(
                    text,
                    "- {} (`{}`): {}",
                    model.model,
                    model.record,
                    model.said.join(" ")
                );
                for one in &model.metrics {
                    let number = |value: Option<f64>| {
                        value.map_or_else(|| "–".to_owned(), |v| format!("{v:.4}"))
                    };
                    let difference = one
                        .difference
                        .map_or_else(|| "–".to_owned(), |d| format!("{d:+.4}"));
                    let interval = one
                        .interval
                        .map(|[low, high]| format!(" [{low:+.4}, {high:+.4}]"));
                    let _ = writeln!(
                        text,
                        "  - {} {}: {} → {}, {difference}{}, p {}, {} paired",
                        one.task,
                        one.id,
                        number(one.before),
                        number(one.now),
                        interval.unwrap_or_default(),
                        number(one.p_corrected),
                        counted(one.paired as usize, "sample"),
                    );
                }
            }
        }
        text
    }

    fn title(&self) -> String {
        let models = self.suites.iter().flat_map(|suite| &suite.models);
        let worse: usize = models.map(|model| model.regressions.len()).sum();
        match self.verdict {
            "regression" => format!("{} worse", counted(worse, "metric")),
            "incomplete" => "incomplete".to_owned(),
            _ => "nothing got worse".to_owned(),
        }
    }
}

impl Standing {
    fn words(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Known => "recorded already for this lock",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
        }
    }
}
