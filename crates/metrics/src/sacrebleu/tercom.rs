//! How TER splits a caption into words: the tokenizer of the program Tercom, as sacrebleu has it.

use super::Ter;
use super::tokenizer::{separate_ascii, separate_marks, surround, without_entities};
use crate::words;

impl Ter {
    /// The text with white space between words, which may be any white space and any number of it.
    pub(super) fn tokenize(self, text: &str) -> String {
        let text = text.trim_end_matches(words::is_space);
        let mut text = if self.case_sensitive {
            text.to_owned()
        } else {
            text.to_lowercase()
        };
        if text.is_empty() {
            return text;
        }
        if self.normalized {
            text = normalized(&text);
            if self.asian_support {
                text = surround(&text, |c| is_ideograph(c) || is_asian_punctuation(c));
            }
        }
        if self.no_punct {
            text.retain(|c| {
                let is_mark = matches!(c, '.' | ',' | '?' | ':' | ';' | '!' | '"' | '(' | ')');
                !(is_mark || self.asian_support && is_asian_punctuation(c))
            });
        }
        text
    }
}

/// Joins lines, reads four XML entities, and makes words of punctuation and of a possessive `'s`.
fn normalized(text: &str) -> String {
    let joined = text.replace("\n-", "").replace('\n', " ");
    let text = format!(" {} ", without_entities(joined));
    separate_marks(&separate_ascii(&text).replace("'s ", " 's "))
}

/// Characters that become words: ideographs, strokes, radicals, compatibility forms, and all that the
/// reference program takes for enclosed letters, which it lets end at U+3F22. Kana, which it means to
/// separate too, it never does: its patterns ask for the start of a text that begins with a space.
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{2e80}'..='\u{2eff}'
        | '\u{31c0}'..='\u{31ef}'
        | '\u{3200}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe4f}')
}

/// Asian and full-width punctuation.
fn is_asian_punctuation(c: char) -> bool {
    matches!(c,
        '\u{3001}' | '\u{3002}'
        | '\u{3008}'..='\u{3011}'
        | '\u{3014}'..='\u{301f}'
        | '\u{30fb}'
        | '\u{ff01}' | '\u{ff02}' | '\u{ff08}' | '\u{ff09}' | '\u{ff0c}' | '\u{ff0e}'
        | '\u{ff1a}' | '\u{ff1b}' | '\u{ff1f}'
        | '\u{ff61}'..='\u{ff65}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(ter: Ter, text: &str) -> Vec<String> {
        let text = ter.tokenize(text);
        words::split(&text).map(str::to_owned).collect()
    }

    #[test]
    fn by_default_only_case_goes() {
        assert_eq!(
            tokens(Ter::default(), "A  Dog's (bone). \n"),
            ["a", "dog's", "(bone)."]
        );
    }

    /// Right sides are sacrebleu's.
    #[test]
    fn normalizing_separates_punctuation_and_possessives() {
        let ter = Ter {
            normalized: true,
            ..Ter::default()
        };
        assert_eq!(
            tokens(ter, "A dog's &quot;bone&quot;, 1,000.5 x\n-y 5-6."),
            [
                "a", "dog", "'s", "\"", "bone", "\"", ",", "1,000.5", "xy", "5", "-", "6", "."
            ]
        );
    }

    #[test]
    fn asian_support_separates_ideographs_and_drops_their_punctuation() {
        let ter = Ter {
            normalized: true,
            no_punct: true,
            asian_support: true,
            ..Ter::default()
        };
        assert_eq!(
            tokens(ter, "猫が、マットの上に。(座る)"),
            ["猫", "が", "マットの", "上", "に", "座", "る"]
        );
        let without_support = Ter {
            asian_support: false,
            ..ter
        };
        assert_eq!(tokens(without_support, "猫、上.").concat(), "猫、上");
    }
}
