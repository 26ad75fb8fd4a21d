//! A record beside the one that the same command makes again.
//!
//! Predictions that are the same, line by line, are *bitwise equal*. Else *equal scores* have the same values at every
//! metric. Else the two are *statistically equal* if no metric tells them apart: the corrected p-value of randomisation is at
//! least 0.05. Anything else *differs*.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use sightline_core::Progress;
use sightline_manifest::Plan;
use sightline_report::Stored;
use sightline_report::record::{Record, TaskOutcome};

use crate::compare::{Comparing, TaskComparison};
use crate::{Error, Result};

/// Chance of telling apart what is the same.
const LEVEL: f64 = 0.05;

/// How much two outcomes agree, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agreement {
    /// Every prediction is the same.
    Bitwise,
    /// Every score is the same.
    Scores,
    /// No metric tells them apart.
    Statistically,
    /// Some metric does, or another number of samples failed.
    Differs,
}

impl Agreement {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Bitwise => "bitwise equal",
            Self::Scores => "equal scores",
            Self::Statistically => "statistically equal",
            Self::Differs => "differs",
        }
    }
}

/// How a task of a record came out again.
#[derive(Clone, Debug)]
pub struct VerifiedTask {
    /// Name of the task.
    pub task: String,
    /// How much both agree.
    pub agreement: Agreement,
    /// Metrics whose values are not the same: id, value in the record, value now.
    pub changed: Vec<(String, Option<f64>, Option<f64>)>,
}

/// Refuses a plan that asks something else than it did when `record` was made.
pub fn check_protocols(plan: &Plan, record: &Record) -> Result<()> {
    for outcome in &record.tasks {
        let task = plan.tasks.iter().find(|task| task.name == outcome.task);
        let protocol = task.map(|task| plan.protocol(task)).transpose()?;
        if protocol != Some(outcome.protocol) {
            return Err(Error::OtherProtocol {
                task: outcome.task.clone(),
            });
        }
    }
    Ok(())
}

/// Compares `recorded` with `again`, which the same suite made of the same files.
pub fn verify(
    recorded: &Stored,
    again: &Stored,
    comparing: &Comparing<'_>,
    progress: &dyn Progress,
) -> Result<Vec<VerifiedTask>> {
    let mut all = Vec::new();
    let mut unequal = false;
    for old in &recorded.record.tasks {
        let mut tasks = again.record.tasks.iter();
        let new = tasks
            .find(|new| new.task == old.task)
            .ok_or_else(|| Error::Unplanned {
                task: old.task.clone(),
                kind: "task",
                name: old.task.clone(),
            })?;
        let path =
            |stored: &Stored, outcome: &TaskOutcome| stored.folder.join(&outcome.predictions.path);
        let same = same_lines(&path(recorded, old), &path(again, new))?;
        let changed = changed(old, new);
        let agreement = match same {
            Some(true) => Agreement::Bitwise,
            _ if changed.is_empty() && old.counts == new.counts => Agreement::Scores,
            // Without its predictions a record has nothing to pair.
            None => Agreement::Differs,
            Some(false) => {
                unequal = true;
                Agreement::Statistically
            }
        };
        all.push(VerifiedTask {
            task: old.task.clone(),
            agreement,
            changed,
        });
    }
    if unequal {
        let compared = comparing.records(recorded, again, progress)?;
        for task in &mut all {
            let told_apart = compared
                .iter()
                .any(|it| it.task == task.task && is_told_apart(it));
            if task.agreement == Agreement::Statistically && told_apart {
                task.agreement = Agreement::Differs;
            }
        }
    }
    Ok(all)
}

fn is_told_apart(task: &TaskComparison) -> bool {
    let by = |p: Option<f64>| p.is_some_and(|p| p < LEVEL);
    task.failed[0] != task.failed[1] || task.metrics.iter().any(|one| by(one.p_corrected))
}

/// The scores that are not the same.
fn changed(old: &TaskOutcome, new: &TaskOutcome) -> Vec<(String, Option<f64>, Option<f64>)> {
    let now = |metric: &str| {
        let mut scores = new.scores.iter();
        scores
            .find(|score| score.metric == metric)
            .and_then(|score| score.value)
    };
    let both = old
        .scores
        .iter()
        .map(|score| (score.metric.clone(), score.value, now(&score.metric)));
    both.filter(|(_, old, new)| old != new).collect()
}

/// Whether two files of predictions hold the same lines behind their headers, which name the program; `None` if the first is gone.
fn same_lines(old: &Path, new: &Path) -> Result<Option<bool>> {
    let open = |path: &Path| -> io::Result<BufReader<File>> {
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
        reader.skip_until(b'\n')?;
        Ok(reader)
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    let mut a = match open(old) {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(old)(error)),
    };
    let mut b = open(new).map_err(failed(new))?;
    loop {
        let (of_a, of_b) = (
            a.fill_buf().map_err(failed(old))?,
            b.fill_buf().map_err(failed(new))?,
        );
        let len = of_a.len().min(of_b.len());
        if of_a[..len] != of_b[..len] || (len == 0 && of_a.len() != of_b.len()) {
            return Ok(Some(false));
        }
        if len == 0 {
            return Ok(Some(true));
        }
        a.consume(len);
        b.consume(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_whatever_the_headers_say() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let long = "x".repeat(200_000);
        let old = write("old", &format!("header 1\n{long}\nb\n"));
        let same = write("same", &format!("another header\n{long}\nb\n"));
        let other = write("other", &format!("header 1\n{long}\nc\n"));
        let longer = write("longer", &format!("header 1\n{long}\nb\nc\n"));
        assert_eq!(same_lines(&old, &same).unwrap(), Some(true));
        assert_eq!(same_lines(&old, &other).unwrap(), Some(false));
        assert_eq!(same_lines(&old, &longer).unwrap(), Some(false));
        assert_eq!(same_lines(&longer, &old).unwrap(), Some(false));
        assert_eq!(same_lines(&dir.path().join("none"), &old).unwrap(), None);
        assert!(same_lines(&old, &dir.path().join("none")).is_err());
    }
}
