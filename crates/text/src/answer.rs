//! Short answers as the VQA evaluation compares them.
//!
//! [`clean`] is what the published script (`vqaEval.py`, the version for VQA v2) does to every answer,
//! [`normalize`] what it does to all answers of a question unless the ten of them are equal. Both are
//! equal to the script, its oddities included:
//!
//! * A punctuation character next to a space is deleted wherever it stands in the answer, any other
//!   becomes a space; with a comma between two digits anywhere, all punctuation is deleted. So `t-shirt`
//!   becomes `t shirt` and `1,000 t-shirts` becomes `1000 tshirts`. Apostrophes and colons stay.
//! * At most 32 periods are deleted, because the script passes a flag where the count belongs.
//! * Lower-casing comes before the contractions, so the four entries of the table with capitals never fire.
//!
//! ```
//! use sightline_text::answer;
//!
//! assert_eq!(answer::clean(" the\tdogs\n"), "the dogs");
//! assert_eq!(answer::normalize("The two dogs, isnt it?"), "2 dogs isn't it");
//! ```

use crate::answer_data::{CONTRACTIONS, DECIMAL_ZEROS};

/// Deleted or replaced by a space.
const PUNCTUATION: &str = r#";/[]"{}()=+\_-><@`,?!"#;

/// The value of Python's `re.UNICODE`, which the script passes as a count.
const MAX_PERIODS: usize = 32;

/// Line feeds and tabs become spaces, and white space at both ends goes.
pub fn clean(text: &str) -> String {
    text.replace(['\n', '\t'], " ")
        .trim_matches(is_python_space)
        .to_owned()
}

/// The form in which answers are compared: punctuation, number words, articles and contractions.
///
/// [`clean`] the text first: what stands next to a space counts, and a tab is no space here.
pub fn normalize(text: &str) -> String {
    let text = without_periods(&without_punctuation(text)).to_lowercase();
    let mut out = String::with_capacity(text.len());
    for word in text.split(is_python_space) {
        let word = digit(word);
        if !matches!(word, "" | "a" | "an" | "the") {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(contraction(word));
        }
    }
    out
}

fn without_punctuation(text: &str) -> String {
    let chars = || text.chars();
    let mut next_to_space = [false; 128];
    for (a, b) in chars().zip(chars().skip(1)) {
        if let (' ', other) | (other, ' ') = (a, b)
            && let Some(is_next) = next_to_space.get_mut(other as usize)
        {
            *is_next = true;
        }
    }
    let has_grouped_digits = chars()
        .zip(chars().skip(1))
        .zip(chars().skip(2))
        .any(|((a, b), c)| b == ',' && is_decimal_digit(a) && is_decimal_digit(c));
    let replaced = |c: char| match c {
        c if !PUNCTUATION.contains(c) => Some(c),
        c if has_grouped_digits || next_to_space[c as usize] => None,
        _ => Some(' '),
    };
    chars().filter_map(replaced).collect()
}

fn without_periods(text: &str) -> String {
    let mut left = MAX_PERIODS;
    let mut chars = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        if c == '.' && left > 0 && !chars.peek().is_some_and(|&next| is_decimal_digit(next)) {
            left -= 1;
        } else {
            out.push(c);
        }
    }
    out
}

fn digit(word: &str) -> &str {
    match word {
        "none" | "zero" => "0",
        "one" => "1",
        "two" => "2",
        "three" => "3",
        "four" => "4",
        "five" => "5",
        "six" => "6",
        "seven" => "7",
        "eight" => "8",
        "nine" => "9",
        "ten" => "10",
        _ => word,
    }
}

fn contraction(word: &str) -> &str {
    CONTRACTIONS
        .binary_search_by_key(&word, |&(without, _)| without)
        .map_or(word, |i| CONTRACTIONS[i].1)
}

/// White space as Python's `str.strip` and `str.split` have it: Unicode's and four separators of ASCII.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// A digit as Python's `\d` has it: Unicode's decimal digits, which come in runs of ten.
fn is_decimal_digit(c: char) -> bool {
    let c = u32::from(c);
    match DECIMAL_ZEROS.binary_search(&c) {
        Ok(_) => true,
        Err(after) => after > 0 && c - DECIMAL_ZEROS[after - 1] < 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cleaning_changes_white_space_only() {
        assert_eq!(clean("a\nb\tc"), "a b c");
        assert_eq!(clean("\u{1f}\u{3000} A.\r\n"), "A.");
        assert_eq!(clean("a\rb"), "a\rb");
    }

    #[test]
    fn punctuation_goes_or_becomes_a_space() {
        for (text, expected) in [
            ("t-shirt", "t shirt"),
            ("t-shirt - t-shirt", "tshirt tshirt"),
            ("1,000 t-shirts", "1000 tshirts"),
            ("٣,٤ t-shirts", "٣٤ tshirts"),
            ("red/blue", "red blue"),
            ("what ?!", "what"),
            ("o'clock: 10:30", "o'clock: 10:30"),
            ("a\tb", "b"),
            ("x,\ty", "x y"),
        ] {
            assert_eq!(normalize(text), expected, "{text:?}");
        }
    }

    #[test]
    fn periods_go_unless_a_digit_follows_and_at_most_32() {
        assert_eq!(normalize("3.5 U.S.A. .5 5."), "3.5 usa .5 5");
        // The slash goes first, and then a digit follows.
        assert_eq!(normalize("x./5 /"), "x.5");
        assert_eq!(normalize("x.\u{665} x.½"), "x.\u{665} x½");
        assert_eq!(normalize(&".".repeat(40)), ".".repeat(8));
    }

    #[test]
    fn words_are_mapped_after_lower_casing() {
        for (text, expected) in [
            ("The Two dogs", "2 dogs"),
            ("none, ten, eleven", "0 10 eleven"),
            ("a an the", ""),
            ("isnt", "isn't"),
            ("Ive Im", "ive im"),
            ("somebody'd", "somebodyd"),
        ] {
            assert_eq!(normalize(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_lower_case_contraction_fires() {
        assert!(CONTRACTIONS.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(CONTRACTIONS.len(), 120);
        for &(without, with) in CONTRACTIONS {
            let lower = without.to_lowercase();
            let expected = if lower == without { with } else { &lower };
            assert_eq!(normalize(without), expected);
        }
    }

    #[test]
    fn digits_are_those_of_unicode() {
        assert!(DECIMAL_ZEROS.is_sorted());
        for c in ['0', '9', '\u{660}', '\u{669}', '\u{1fbf9}'] {
            assert!(is_decimal_digit(c), "{c:?}");
        }
        for c in ['/', ':', '\u{65f}', '\u{66a}', '²', 'Ⅰ', '\0', char::MAX] {
            assert!(!is_decimal_digit(c), "{c:?}");
        }
    }

    #[test]
    fn an_answer_of_a_megabyte_is_only_a_long_answer() {
        for unit in [".", ". ", "-", " -", "1,", "the ", "aint ", "\u{3000}"] {
            let text = unit.repeat((1 << 20) / unit.len());
            assert!(normalize(&clean(&text)).len() <= 2 * text.len());
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_normalised(text in "\\PC{0,30}|[a-c ,./1-]{0,30}") {
            let cleaned = clean(&text);
            prop_assert_eq!(clean(&cleaned), cleaned.as_str());
            let normalized = normalize(&cleaned);
            prop_assert!(!normalized.contains("  ") && normalized.trim() == normalized);
        }

        #[test]
        fn plain_words_are_their_own_forms(text in "[0-9]{1,3}( [b-z]y[0-9]){0,5}") {
            prop_assert_eq!(normalize(&text), text);
        }
    }
}
