//! Parts of a run: each predicts every n-th example of a task, on any machine, and all are put together again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::execute::At;
use crate::outcome::PredictedPart;
use crate::predictions::{Outcome, Reader};
use crate::{Error, Result};

/// One of several parts of a task's examples: every `count`-th, so that each part has as much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which, from 1.
    pub number: usize,
    /// How many there are.
    pub count: usize,
}

impl Part {
    /// Whether the example `index`, from 0, is in it.
    pub fn has(self, index: usize) -> bool {
        index % self.count.max(1) + 1 == self.number
    }
}

/// Where a part of the predictions `whole` is.
pub(crate) fn part_path(whole: &Path, part: Part) -> PathBuf {
    let stem = whole.file_stem().unwrap_or_default().to_string_lossy();
    whole.with_file_name(format!("{stem}.{}-of-{}.jsonl", part.number, part.count))
}

/// The parts of a task in the records `folders`: as many as their names say.
pub(crate) fn parts_in(folders: &[PathBuf], at: At<'_>) -> Result<Vec<PathBuf>> {
    let missing = || Error::NoParts {
        task: at.task.name.clone(),
        path: at.path.parent().unwrap_or(at.path).to_owned(),
    };
    let mut counts = BTreeMap::new();
    let places: Vec<PathBuf> = folders
        .iter()
        .map(|folder| folder.join(at.relative))
        .collect();
    for place in &places {
        let entries = place
            .parent()
            .and_then(|folder| std::fs::read_dir(folder).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(count) = count_in_name(&name, &at.task.name) {
                *counts.entry(count).or_insert(0usize) += 1;
            }
        }
    }
    // Of runs in other numbers of parts, the one of which the most is there.
    let by_share = |(count, found): &(&usize, &usize)| (**found * 1000 / **count, **count);
    let (&count, _) = counts.iter().max_by_key(by_share).ok_or_else(missing)?;
    (1..=count)
        .map(|number| {
            let part = Part { number, count };
            let mut paths = places.iter().map(|place| part_path(place, part));
            paths
                .find(|path| path.is_file())
                .ok_or_else(|| Error::NoPart {
                    task: at.task.name.clone(),
                    part: number,
                    of: count,
                    path: part_path(at.path, part),
                })
        })
        .collect()
}

/// Of how many parts a file with this name is one, if it is one of `task`.
fn count_in_name(name: &str, task: &str) -> Option<usize> {
    let numbers = name
        .strip_prefix(task)?
        .strip_prefix('.')?
        .strip_suffix(".jsonl")?;
    let (number, count) = numbers.split_once("-of-")?;
    let (number, count): (usize, usize) = (number.parse().ok()?, count.parse().ok()?);
    (1..=count).contains(&number).then_some(count)
}

/// What a whole part holds.
pub(crate) fn of_part(at: At<'_>) -> Result<PredictedPart> {
    let mut reader = Reader::open(at.path, at.header)?;
    let (mut examples, mut failed) = (0, 0);
    while let Some(line) = reader.next_line()? {
        examples += 1;
        failed += u64::from(matches!(line.outcome, Outcome::Failed(_)));
    }
    Ok(PredictedPart {
        task: at.task.name.clone(),
        path: at.path.to_owned(),
        examples,
        failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_in_one_part() {
        for count in 1..6 {
            for index in 0..50 {
                let parts = (1..=count).filter(|&number| Part { number, count }.has(index));
                assert_eq!(parts.count(), 1, "{index} of {count}");
            }
        }
    }

    #[test]
    fn the_name_of_a_part_says_of_how_many_it_is_one() {
        let whole = Path::new("r/s/caption-coco.v2.jsonl");
        let path = part_path(
            whole,
            Part {
                number: 2,
                count: 14,
            },
        );
        assert_eq!(path, Path::new("r/s/caption-coco.v2.2-of-14.jsonl"));
        assert_eq!(
            count_in_name("caption-coco.v2.2-of-14.jsonl", "caption-coco.v2"),
            Some(14)
        );
        for other in [
            "caption.2-of-14.jsonl.part",
            "caption.15-of-14.jsonl",
            "caption.jsonl",
            "x.1-of-2.jsonl",
        ] {
            assert_eq!(count_in_name(other, "caption"), None, "{other}");
        }
    }
}
