//! Whether what was written is the right answer.

/// What was written up to the first end of a line that has something before it, in lower case, without the blanks and
/// punctuation around it.
pub(super) fn word(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let is_around = |c: char| c.is_whitespace() || (c.is_ascii_punctuation() && c != '\'');
    line.trim_matches(is_around).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_ends_with_its_line_and_has_no_case() {
        assert_eq!(word(" Dax.\nblicket"), "dax");
        assert_eq!(word("\n\"golden retriever\" "), "golden retriever");
        assert_eq!(word("dax blicket"), "dax blicket");
        assert_eq!(word(""), "");
    }
}
