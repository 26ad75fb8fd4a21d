//! Foreign text and counts as people read them.

use std::fmt::Write as _;

/// `text` without characters that would act on a terminal or on the text around it: they are escaped as Rust
/// writes them.
///
/// ```
/// use sightline_core::text::printable;
/// assert_eq!(printable("a\u{1b}[2Jb\n"), r"a\u{1b}[2Jb\n");
/// ```
pub fn printable(text: &str) -> String {
    escaped(text, |c, shown| shown.extend(c.escape_default()))
}

/// The same of a text of several lines, whose line ends and tabs stay.
pub fn printable_lines(text: &str) -> String {
    escaped(text, |c, shown| match c {
        '\n' | '\t' => shown.push(c),
        _ => shown.extend(c.escape_default()),
    })
}

/// The same of a JSON document, which says the same afterwards.
pub fn printable_json(text: &str) -> String {
    escaped(text, |c, shown| match c {
        '\n' | '\t' => shown.push(c),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // A string takes whatever is written to it.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            escape(c, &mut shown);
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether a character is not seen: control characters, those that turn the reading direction, spaces
/// without width, line separators and tags. Joiners are not among them, since scripts and emoji need
/// them.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A count with its thousands apart: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and what is counted: `1 record`, `2 records`.
pub fn counted(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count(n as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_left() {
        let text = "é\u{1b}]0;x\u{7}\u{9b}31m\r\n\u{202e}\u{e0001}👩\u{200d}🚒";
        assert_eq!(
            printable(text),
            "é\\u{1b}]0;x\\u{7}\\u{9b}31m\\r\\n\\u{202e}\\u{e0001}👩\u{200d}🚒"
        );
        assert!(printable_lines(text).contains("\\r\n\\u{202e}"));
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let shown = printable_json(&json);
        assert!(!shown.replace('\n', "").chars().any(is_hidden), "{shown}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [text]);
    }

    #[test]
    fn counts() {
        let counts = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [1, 2].map(|n| counted(n, "record")),
            ["1 record", "2 records"]
        );
    }
}
