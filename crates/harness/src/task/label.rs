//! Classifiers at a task: what their labels are called, and the best of them.
//!
//! The labels of a model are called as the dataset's list of classes says, where it has as many names as the model has
//! labels; else as the model's own configuration says; else, where that only numbers them (`LABEL_0`), as the task's
//! labels usually are, in their usual order. A model that takes any labels is given the dataset's, or the usual ones.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use sightline_models::{Capability, Classify, Way};

use super::{Setting, Work};
use crate::error::LineProblem;
use crate::forward::Forward;
use crate::predictions::Outcome;
use crate::{Error, Result};

/// Labels that a prediction holds.
const TOP: usize = 10;

/// How configurations call labels that have no names.
const NUMBERED: &str = "LABEL_";

/// A model that classifies, at a task.
pub(crate) struct Labeller<'m> {
    forward: Forward<'m>,
    classify: Box<dyn Classify + 'm>,
    names: Vec<String>,
    /// Numbers of the labels that may be chosen.
    choice: Vec<usize>,
}

/// What a task asks of a classifier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The labels that the task is about, in the usual order; none where any label may be chosen.
    pub(crate) labels: &'static [&'static str],
    /// Images of an example.
    pub(crate) images: usize,
    /// Labels that are never chosen.
    pub(crate) never: &'static [&'static str],
}

impl<'m> Labeller<'m> {
    pub(crate) fn new(
        forward: Forward<'m>,
        way: Way,
        setting: &Setting<'_>,
        wanted: Wanted,
    ) -> Result<Self> {
        let usual: Vec<String> = wanted
            .labels
            .iter()
            .map(|&label| label.to_owned())
            .collect();
        let unnamed = |labels| Error::Labels {
            model: forward.name.to_owned(),
            task: forward.task.to_owned(),
            labels,
            classes: setting.classes.len(),
        };
        let any = if setting.classes.is_empty() {
            &usual
        } else {
            setting.classes
        };
        if way.by.is_some() && any.is_empty() {
            return Err(unnamed(0));
        }
        let classify = way.classify(forward.model, any, wanted.images);
        let classify = forward.found(classify, Capability::Classify)?;
        let own = classify.labels();
        let found = classify.images();
        if found != wanted.images {
            return Err(Error::Images {
                model: forward.name.to_owned(),
                task: forward.task.to_owned(),
                found,
                expected: wanted.images,
            });
        }
        let names = names(own, setting.classes, &usual).ok_or_else(|| unnamed(own.len()))?;
        let choice = if wanted.labels.is_empty() {
            let may = |&at: &usize| !is_among(&names[at], wanted.never);
            (0..names.len()).filter(may).collect()
        } else {
            let at = |label: &&str| {
                let is_it = |name: &String| name.eq_ignore_ascii_case(label);
                names.iter().position(is_it).ok_or_else(|| Error::NoLabel {
                    model: forward.name.to_owned(),
                    task: forward.task.to_owned(),
                    label: (*label).to_owned(),
                })
            };
            wanted.labels.iter().map(at).collect::<Result<_>>()?
        };
        Ok(Self {
            forward,
            classify,
            names,
            choice,
        })
    }

    /// The model, for asking about many examples.
    pub(crate) fn forward(&self) -> Forward<'m> {
        self.forward
    }

    /// The labels that may be chosen, best first, for the images of `work` and `text`.
    pub(crate) fn label(
        &self,
        work: &Work,
        text: &str,
    ) -> Result<std::result::Result<Labelled, Outcome>> {
        let images = self.forward.visuals(&work.images)?;
        let answer = self.classify.classify(&images, &[text]);
        let scores = self.forward.scores(answer, self.classify.labels().len())?;
        Ok(scores.map(|scores| Labelled::best(&self.names, &scores, &self.choice)))
    }
}

/// What the labels are called; `None` where nobody says it.
fn names(own: &[String], classes: &[String], usual: &[String]) -> Option<Vec<String>> {
    if classes.len() == own.len() {
        return Some(classes.to_vec());
    }
    if !own.iter().all(|label| label.starts_with(NUMBERED)) {
        return Some(own.to_vec());
    }
    (usual.len() == own.len()).then(|| usual.to_vec())
}

fn is_among(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// What a prediction holds: the best labels with their scores, best first, equal ones in the order of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Labelled {
    pub(crate) labels: Vec<(String, f64)>,
}

impl Labelled {
    fn best(names: &[String], scores: &[f64], choice: &[usize]) -> Self {
        let mut order = choice.to_vec();
        // Finite, so that they have an order; the sort is stable.
        order.sort_unstable();
        order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap_or(Ordering::Equal));
        order.truncate(TOP);
        let labels = order.into_iter().map(|at| (names[at].clone(), scores[at]));
        Self {
            labels: labels.collect(),
        }
    }

    /// The best label.
    pub(crate) fn first(&self) -> Result<&str, LineProblem> {
        let first = self.labels.first().map(|(label, _)| label.as_str());
        first.ok_or_else(|| LineProblem::Value {
            what: "`labels`",
            found: "empty".to_owned(),
            expected: "at least one label".to_owned(),
        })
    }

    /// Checks that these are the labels `known`, each once.
    pub(crate) fn check(&self, known: &[&str]) -> Result<(), LineProblem> {
        let found = |known: &&str| {
            self.labels
                .iter()
                .any(|(label, _)| label.eq_ignore_ascii_case(known))
        };
        if self.labels.len() == known.len() && known.iter().all(found) {
            return Ok(());
        }
        let labels: Vec<&str> = self
            .labels
            .iter()
            .map(|(label, _)| label.as_str())
            .collect();
        Err(LineProblem::Value {
            what: "`labels`",
            found: labels.join(", "),
            expected: format!("{} in some order", known.join(", ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|&label| label.to_owned()).collect()
    }

    #[test]
    fn labels_are_called_by_the_list_then_the_model_then_the_task() {
        let numbered = owned(&["LABEL_0", "LABEL_1"]);
        let (own, list, usual) = (owned(&["a", "b"]), owned(&["c", "d"]), owned(&["e", "f"]));
        assert_eq!(names(&own, &list, &usual), Some(list.clone()));
        assert_eq!(names(&numbered, &list, &usual), Some(list.clone()));
        assert_eq!(names(&own, &[], &usual), Some(own));
        assert_eq!(names(&numbered, &owned(&["c"]), &usual), Some(usual));
        assert_eq!(names(&numbered, &[], &[]), None);
    }

    #[test]
    fn the_best_of_equal_labels_is_the_first_and_others_are_not_chosen() {
        let names = owned(&["<unk>", "yes", "no", "two"]);
        let labelled = Labelled::best(&names, &[9.0, 1.0, 2.0, 2.0], &[3, 1, 2]);
        let labels: Vec<&str> = labelled
            .labels
            .iter()
            .map(|(label, _)| label.as_str())
            .collect();
        assert_eq!(labels, ["no", "two", "yes"]);
        assert_eq!(labelled.first().unwrap(), "no");
        assert!(labelled.check(&["yes", "two", "no"]).is_ok());
        assert!(labelled.check(&["yes", "no"]).is_err());
        assert!(Labelled { labels: Vec::new() }.first().is_err());
    }
}
