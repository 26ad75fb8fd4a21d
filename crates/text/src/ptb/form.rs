//! How a stretch of text is written as a token.

use super::class::{self, Class};
use super::quote::straightened;

/// How a token is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lower case without soft hyphens; soft hyphens alone are `-`.
    Word,
    /// As [`Form::Word`], and a `.` of its own after it.
    WordAndPeriod,
    /// Lower case, the apostrophe straight.
    Contraction,
    /// Lower case, with `&` for `&amp;`.
    Ampersand,
    /// Lower case, every character kept.
    Verbatim,
    /// Lower case, with no-break spaces for spaces.
    Tag,
    /// As [`Form::Tag`], with `-lrb-` and `-rrb-` for round brackets.
    Bound,
    /// Quotation marks in ASCII.
    Quotes,
    /// This text instead.
    As(&'static str),
    /// No token.
    Nothing,
}

impl Form {
    /// Calls `emit` with what `raw` is written as. `buffer` is any string, used between calls.
    pub(super) fn write(self, raw: &str, buffer: &mut String, emit: &mut impl FnMut(&str)) {
        match self {
            Self::Nothing => {}
            Self::As(text) => emit(text),
            Self::Word => word(raw, buffer, emit),
            Self::WordAndPeriod => {
                word(raw, buffer, emit);
                emit(".");
            }
            Self::Verbatim => lower(raw, buffer, emit),
            Self::Contraction => {
                let straight = raw
                    .replace(['\u{92}', '\u{2019}'], "'")
                    .replace(['\u{91}', '\u{2018}', '\u{201B}'], "`")
                    .replace("&apos;", "'");
                lower(&straight, buffer, emit);
            }
            Self::Ampersand => emit(&lower_case(raw).replace("&amp;", "&")),
            Self::Tag => emit(&lower_case(raw).replace(' ', "\u{A0}")),
            Self::Bound => emit(
                &lower_case(raw)
                    .replace(' ', "\u{A0}")
                    .replace('(', "-lrb-")
                    .replace(')', "-rrb-"),
            ),
            Self::Quotes => emit(&raw.chars().filter_map(straightened).collect::<String>()),
        }
    }
}

fn word(raw: &str, buffer: &mut String, emit: &mut impl FnMut(&str)) {
    if raw.is_ascii() || !raw.contains('\u{AD}') {
        return lower(raw, buffer, emit);
    }
    let visible = raw.replace('\u{AD}', "");
    lower(
        if visible.is_empty() { "-" } else { &visible },
        buffer,
        emit,
    );
}

fn lower(raw: &str, buffer: &mut String, emit: &mut impl FnMut(&str)) {
    if !raw.is_ascii() {
        emit(&lower_case(raw));
    } else if raw.bytes().any(|byte| byte.is_ascii_uppercase()) {
        buffer.clear();
        buffer.push_str(raw);
        buffer.make_ascii_lowercase();
        emit(buffer);
    } else {
        emit(raw);
    }
}

/// Lower case as Java has it. It differs from Rust's in what surrounds a capital sigma: here that is a
/// stretch of letters, digits, marks, dots, hyphens and low lines.
fn lower_case(text: &str) -> String {
    if !text.contains('\u{3A3}') {
        return text.to_lowercase();
    }
    let joins = |c: char| {
        let class = class::of(c);
        matches!(c, '-' | '_' | '.')
            || matches!(
                class,
                Class::Letter | Class::Mark | Class::Digit | Class::Hyphen
            )
    };
    let is_cased = |c: char| c.is_lowercase() || c.is_uppercase();
    // The last cased character of each stretch, so that each sigma is settled by one comparison.
    let mut last_cased = Vec::new();
    let mut current = None;
    for (at, character) in text.char_indices() {
        if !joins(character) {
            last_cased.extend(current.take());
        } else if is_cased(character) {
            current = Some(at);
        }
    }
    last_cased.extend(current);

    let mut lower = String::with_capacity(text.len());
    let mut follows_cased = false;
    for (at, character) in text.char_indices() {
        if character == '\u{3A3}' {
            let is_last = last_cased.binary_search(&at).is_ok();
            lower.push(if follows_cased && is_last {
                '\u{3C2}'
            } else {
                '\u{3C3}'
            });
        } else {
            lower.extend(character.to_lowercase());
        }
        follows_cased = joins(character) && (follows_cased || is_cased(character));
    }
    lower
}
