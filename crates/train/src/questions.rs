//! Questions of samples, with what people answered.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};
use sightline_text::answer::{clean, normalize};

/// A question about an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The question.
    pub text: String,
    /// Answers, each with its score from 0 to 1.
    pub answers: Vec<(String, f32)>,
}

impl Question {
    /// Leaves the answers that `names` has; whether any is left.
    pub fn keep(&mut self, names: &HashSet<String>) -> bool {
        self.answers.retain(|(answer, _)| names.contains(answer));
        !self.answers.is_empty()
    }
}

/// The questions of a sample that have answers: those of the list `questions` in its metadata, or its own `question`; with
/// the text `answer`, or the list `answers` of what several people said.
pub fn questions(meta: &Map<String, Value>) -> Vec<Question> {
    match meta.get("questions") {
        Some(Value::Array(all)) => all
            .iter()
            .filter_map(|one| question(one.as_object()?))
            .collect(),
        _ => question(meta).into_iter().collect(),
    }
}

fn question(meta: &Map<String, Value>) -> Option<Question> {
    let answers = match (meta.get("answers"), meta.get("answer")) {
        (Some(Value::Array(said)), _) => scores(said.iter().filter_map(Value::as_str)),
        (_, Some(Value::String(answer))) => vec![(answer.clone(), 1.0)],
        _ => Vec::new(),
    };
    let text = meta.get("question")?.as_str()?.to_owned();
    (!answers.is_empty()).then_some(Question { text, answers })
}

/// What each answer, in the form in which VQA's evaluation compares them, is worth there: `min(1, n / 3)`, `n` counting who
/// else said so, on average over the people. Of ten people: 0.3, 0.6, 0.9 and 1 for one, two, three and four or more.
fn scores<'a>(said: impl Iterator<Item = &'a str>) -> Vec<(String, f32)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut people = 0;
    for answer in said {
        *counts.entry(normalize(&clean(answer))).or_default() += 1;
        people += 1;
    }
    let worth = |others: usize| (others as f32 / 3.0).min(1.0);
    let score = |count: usize| {
        if people == 1 {
            return 1.0;
        }
        let among = count as f32 * worth(count - 1);
        (among + (people - count) as f32 * worth(count)) / people as f32
    };
    counts
        .into_iter()
        .map(|(answer, count)| (answer, score(count)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(meta: &Value) -> Vec<Question> {
        questions(meta.as_object().unwrap())
    }

    #[test]
    fn answers_of_ten_people_have_the_scores_of_the_evaluation() {
        let said = ["one", "2", "Two", "c", "c.", "c", "d", "d", "d", "d"];
        let asked = of(&json!({"question": "What?", "answers": said}));
        let scores: Vec<(&str, f32)> = asked[0]
            .answers
            .iter()
            .map(|(answer, score)| (answer.as_str(), (score * 1e4).round() / 1e4))
            .collect();
        assert_eq!(scores, [("1", 0.3), ("2", 0.6), ("c", 0.9), ("d", 1.0)]);
        let alone = of(&json!({"question": "What?", "answers": ["b"]}));
        assert_eq!(alone[0].answers, [("b".to_owned(), 1.0)]);
    }

    #[test]
    fn questions_stand_in_a_list_or_alone_and_need_an_answer() {
        let list = json!({"questions": [
            {"question": "What?", "answer": "a"}, {"question": "Why?"}, "no question",
            {"question": "Who?", "answers": []},
        ]});
        assert_eq!(of(&list).len(), 1);
        assert_eq!(of(&json!({"question": "What?", "answer": "a"})).len(), 1);
        assert!(of(&json!({"answer": "a"})).is_empty());
    }

    #[test]
    fn answers_without_a_name_are_left_out() {
        let said = json!({"question": "How many?", "answers": ["2", "two", "many"]});
        let mut asked = of(&said).remove(0);
        assert!(asked.keep(&HashSet::from(["2".to_owned()])));
        assert_eq!(asked.answers.len(), 1);
        assert!(!asked.keep(&HashSet::new()));
    }
}
