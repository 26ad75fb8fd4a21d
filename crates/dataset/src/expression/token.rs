//! An expression's text, cut into tokens.

use std::ops::Range;

use super::parse::SyntaxError;

/// A token and where it stands, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) what: What,
    pub(super) span: Range<usize>,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// A name, or a word of the language.
    Word(String),
    /// A column's name between backticks.
    Quoted(String),
    Text(String),
    Int(i128),
    Float(f64),
    /// An operator, a bracket or a comma.
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 17] = [
    "==", "!=", "<>", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",", ".",
];

/// Cuts `source`; the last token is the end.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = &source[at..];
        let blank = rest.len() - rest.trim_start().len();
        at += blank;
        let rest = &source[at..];
        let Some(first) = rest.chars().next() else {
            break;
        };
        let (what, len) = match first {
            '\'' | '"' | '`' => quoted(source, at, first)?,
            c if c.is_alphabetic() || c == '_' => {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                (What::Word(rest[..len].to_owned()), len)
            }
            c if c.is_ascii_digit() => number(source, at)?,
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => number(source, at)?,
            c => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| no_sign(source, at, c))?;
                (What::Sign(sign), sign.len())
            }
        };
        tokens.push(Token {
            what,
            span: at..at + len,
        });
        at += len;
    }
    tokens.push(Token {
        what: What::End,
        span: at..at,
    });
    Ok(tokens)
}

/// The error of a character that begins nothing.
fn no_sign(source: &str, at: usize, c: char) -> SyntaxError {
    let advice = match c {
        '&' => "; write `and`",
        '|' => "; write `or`",
        '!' | '~' => "; write `not`",
        _ => "",
    };
    let message = format!("`{}` means nothing here{advice}", c.escape_debug());
    SyntaxError::new(source, at..at + c.len_utf8(), message)
}

/// The token between two `quote`s from `at`, and its length.
fn quoted(source: &str, at: usize, quote: char) -> Result<(What, usize), SyntaxError> {
    let mut text = String::new();
    let mut chars = source[at + 1..].char_indices().peekable();
    while let Some((offset, c)) = chars.next() {
        if c != quote {
            text.push(c);
            continue;
        }
        if chars.peek().is_some_and(|&(_, next)| next == quote) {
            chars.next();
            text.push(quote);
            continue;
        }
        let what = if quote == '`' {
            What::Quoted(text)
        } else {
            What::Text(text)
        };
        return Ok((what, offset + 2));
    }
    Err(SyntaxError::new(
        source,
        at..at + 1,
        format!("this {quote} has no second one"),
    ))
}

/// The number from `at`, and its length.
fn number(source: &str, at: usize) -> Result<(What, usize), SyntaxError> {
    let bytes = &source.as_bytes()[at..];
    let digits = |from: usize| {
        let count = bytes[from..].iter().take_while(|b| b.is_ascii_digit());
        from + count.count()
    };
    let mut len = digits(0);
    let mut is_whole = true;
    if bytes.get(len) == Some(&b'.') {
        is_whole = false;
        len = digits(len + 1);
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let end = digits(len + 1 + sign);
        if end > len + 1 + sign {
            is_whole = false;
            len = end;
        }
    }
    let text = &source[at..at + len];
    let wrong = |message: String| SyntaxError::new(source, at..at + len, message);
    if source[at + len..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        return Err(wrong(
            "a name cannot begin with a digit; put it between backticks".to_owned(),
        ));
    }
    if is_whole && let Ok(number) = text.parse() {
        return Ok((What::Int(number), len));
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok((What::Float(number), len)),
        _ => Err(wrong(format!("`{text}` is no number that can be held"))),
    }
}
