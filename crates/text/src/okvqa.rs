//! Answers as `open_flamingo`'s evaluation prepares them for OK-VQA: cut off, and stemmed word by word.
//!
//! The answers in the OK-VQA annotations are stems that were turned back into words. Version 2.0.1 of the
//! package (`eval/ok_vqa_utils.py`) brings what a model wrote to that form: it cuts the text where the
//! model goes on with another example, splits it into words, looks each up in a table of 168, and else
//! takes the `WordNet` verb of a word in `ing` and the singular of a word that nltk's tagger calls a
//! plural noun.
//!
//! [`cut`] and the table are exactly that. The tagger and `WordNet` are data that this crate does not have,
//! so that [`stem`] decides by spelling, and differs where spelling misleads:
//!
//! * Words in `ing` become what Porter's stemmer makes of the ending alone: `making` becomes `make`, but
//!   `dancing` becomes `danc`, and nouns such as `evening` lose the ending too.
//! * A word of more than three letters in `s`, but not in `ss`, `us`, `is` or `'s`, is a plural, and so
//!   are `men`, `women`, `children` and `people`. A verb such as `runs` is taken for one.
//! * Words are split as nltk 3.10.4 splits a text without quotation marks, runs of dots and double dashes,
//!   but `cannot`, `gonna` and their like stay whole.
//!
//! The singular of a plural is that of the package `inflection` 0.5.1.
//!
//! ```
//! use sightline_text::okvqa;
//!
//! let answer = okvqa::cut("surfing dogs, on boards Question: what");
//! assert_eq!(answer, "surfing dogs");
//! assert_eq!(okvqa::stem(answer), "surf dog");
//! ```

use crate::answer_data::OKVQA_STEMS;
use crate::porter;

/// Endings of plurals, with how many of their bytes stay and what is put in place of the rest. The first
/// one that fits decides.
const PLURALS: &[(&str, usize, &str)] = &[
    ("zombies", 6, ""),
    ("moves", 4, ""),
    ("sexes", 3, ""),
    ("children", 5, ""),
    ("men", 1, "an"),
    ("people", 1, "erson"),
    ("databases", 8, ""),
    ("quizzes", 4, ""),
    ("matrices", 4, "ix"),
    ("vertices", 4, "ex"),
    ("indices", 3, "ex"),
    ("aliases", 5, ""),
    ("alias", 5, ""),
    ("statuses", 6, ""),
    ("crises", 4, "is"),
    ("testes", 4, "is"),
    ("shoes", 4, ""),
    ("oes", 1, ""),
    ("buses", 3, ""),
    ("xes", 1, ""),
    ("ches", 2, ""),
    ("sses", 2, ""),
    ("shes", 2, ""),
    ("movies", 5, ""),
    ("series", 6, ""),
    ("aies", 3, ""),
    ("eies", 3, ""),
    ("iies", 3, ""),
    ("oies", 3, ""),
    ("quies", 2, "y"),
    ("uies", 3, ""),
    ("yies", 3, ""),
    ("ies", 0, "y"),
    ("lves", 1, "f"),
    ("rves", 1, "f"),
    ("tives", 4, ""),
    ("hives", 4, ""),
    ("fves", 3, ""),
    ("ves", 0, "fe"),
    ("theses", 4, "is"),
    ("synopses", 6, "is"),
    ("prognoses", 7, "is"),
    ("parentheses", 9, "is"),
    ("diagnoses", 7, "is"),
    ("bases", 3, "is"),
    ("analyses", 6, "is"),
    ("news", 4, ""),
    ("s", 0, ""),
];

/// What comes before the first `Question`, `Answer` or `Short`, and of that what comes before the first
/// comma with a space.
pub fn cut(generated: &str) -> &str {
    let until = |text: &str, mark: &str| text.find(mark).unwrap_or(text.len());
    let end = ["Question", "Answer", "Short"]
        .into_iter()
        .map(|mark| until(generated, mark))
        .min()
        .unwrap_or(generated.len());
    let first = &generated[..end];
    &first[..until(first, ", ")]
}

/// The stems of the words of `answer`, joined by one space. Linear in its length.
pub fn stem(answer: &str) -> String {
    let mut out = String::with_capacity(answer.len());
    for word in split(answer).split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        if let Ok(i) = OKVQA_STEMS.binary_search_by_key(&word, |&(word, _)| word) {
            out.push_str(OKVQA_STEMS[i].1);
        } else if word.ends_with("ing") {
            out.push_str(&porter::without_gerund(word));
        } else if is_plural(word) {
            out.push_str(&singular(word));
        } else {
            out.push_str(word);
        }
    }
    out
}

/// `answer` with spaces around symbols and before clitics.
fn split(answer: &str) -> String {
    let answer = answer.trim_end();
    let mut out = String::with_capacity(answer.len() + answer.len() / 4 + 2);
    let mut chars = answer.chars().peekable();
    let mut before = None;
    while let Some(c) = chars.next() {
        let stands_alone = match c {
            c if ";@#$%&?!*[](){}<>".contains(c) => true,
            ',' | ':' => !chars.peek().is_some_and(char::is_ascii_digit),
            '.' => chars.peek().is_none() && before.is_some_and(|before| before != '.'),
            _ => false,
        };
        if stands_alone {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
        before = Some(c);
    }
    let mut apart = String::with_capacity(out.len() + 2);
    for word in out.split_whitespace() {
        let lower = word.to_ascii_lowercase();
        let clitic = ["'s", "'m", "'d", "'ll", "'re", "'ve", "n't", "'"]
            .into_iter()
            .find(|clitic| lower.len() > clitic.len() && lower.ends_with(clitic));
        let (stem, clitic) = word.split_at(word.len() - clitic.map_or(0, str::len));
        apart.extend([stem, " ", clitic, " "]);
    }
    apart
}

fn is_plural(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let ends_in = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    if word.len() > 3 && word.ends_with('s') {
        return !ends_in(&["ss", "us", "is", "'s"]);
    }
    matches!(word.as_str(), "men" | "women" | "children" | "people")
}

fn singular(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    let fits = |ending: &str| lower.ends_with(ending);
    let (ending, stays, replacement) = match lower.as_str() {
        "axes" => ("es", 0, "is"),
        "species" => ("", 0, ""),
        _ => *PLURALS
            .iter()
            .find(|(ending, ..)| fits(ending))
            .unwrap_or(&("", 0, "")),
    };
    let stem = &word[..word.len() - ending.len() + stays];
    [stem, replacement].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_cut_at_the_next_example_then_at_a_comma() {
        for (generated, expected) in [
            ("", ""),
            ("a dog", "a dog"),
            ("a dog, a cat", "a dog"),
            ("1,000, or so", "1,000"),
            ("dogAnswer: cat Question", "dog"),
            (" dog Short answer, x", " dog "),
            ("questions, answers", "questions"),
        ] {
            assert_eq!(cut(generated), expected, "{generated}");
        }
    }

    #[test]
    fn the_table_comes_before_the_rules() {
        for (answer, expected) in [
            ("playing tennis", "play tennis"),
            ("leaves", "leaf"),
            ("morning", "morn"),
            ("making waves", "make wave"),
            ("2 dogs", "2 dog"),
            ("women and children", "woman and child"),
            ("Boxes", "Box"),
            ("blue jeans", "blue jean"),
            ("grass bus tennis", "grass bus tennis"),
            ("cherries", "cherry"),
            ("knives", "knife"),
            ("wolves", "wolf"),
            ("photos and potatoes", "photo and potato"),
            ("dog's bowl", "dog 's bowl"),
            ("5:30 p.m.", "5:30 p.m ."),
            ("yes: really?", "yes : really ?"),
        ] {
            assert_eq!(stem(answer), expected, "{answer}");
        }
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(OKVQA_STEMS.is_sorted_by(|a, b| a.0 < b.0));
    }

    proptest! {
        #[test]
        fn any_text_has_stems(text in "\\PC{0,20}|[a-z' ,.s]{0,20}") {
            let stems = stem(cut(&text));
            prop_assert!(!stems.contains("  ") && stems.trim() == stems);
        }
    }
}
