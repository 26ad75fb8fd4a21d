//! Foreign text, made safe to look at.

use serde::Serialize;
use sightline_core::text::is_hidden;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Piece {
    /// What is shown.
    pub(super) text: String,
    /// Whether it stands for a character that would not be seen.
    pub(super) is_mark: bool,
}

/// `text` in pieces. A character that is not seen, or that acts on the text around it, becomes a mark
/// like `U+202E`, and several of them in a row `U+202E × 3`.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if !is_hidden(c) {
            match pieces.last_mut() {
                Some(last) if !last.is_mark => last.text.push(c),
                _ => pieces.push(Piece {
                    text: c.to_string(),
                    is_mark: false,
                }),
            }
            continue;
        }
        let mut n = 1;
        while characters.next_if_eq(&c).is_some() {
            n += 1;
        }
        let times = if n == 1 {
            String::new()
        } else {
            format!(" × {n}")
        };
        pieces.push(Piece {
            text: format!("U+{:04X}{times}", u32::from(c)),
            is_mark: true,
        });
    }
    pieces
}

/// The first `most` characters of `text`, and how many characters follow.
pub(super) fn cut(text: &str, most: usize) -> (&str, usize) {
    match text.char_indices().nth(most) {
        Some((end, _)) => (&text[..end], text[end..].chars().count()),
        None => (text, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(String, bool)> {
        let pieces = pieces(text).into_iter();
        pieces.map(|piece| (piece.text, piece.is_mark)).collect()
    }

    #[test]
    fn hidden_characters_become_marks() {
        let mark = |text: &str| (text.to_owned(), true);
        let text = |text: &str| (text.to_owned(), false);
        assert_eq!(
            shown("a\u{202e}b\0\0\0\n"),
            [
                text("a"),
                mark("U+202E"),
                text("b"),
                mark("U+0000 × 3"),
                mark("U+000A")
            ]
        );
        assert_eq!(shown("\u{e0041}"), [mark("U+E0041")]);
        assert_eq!(
            shown("<b> & \"é\" 👩\u{200d}🚀"),
            [text("<b> & \"é\" 👩\u{200d}🚀")]
        );
        assert_eq!(shown(""), []);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 2), ("äö", 1));
        assert_eq!(cut("äöü", 3), ("äöü", 0));
        assert_eq!(cut("äöü", 0), ("", 3));
    }
}
