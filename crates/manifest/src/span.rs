//! Places in source files, and the excerpt that shows one.
//!
//! A [`Location`] prints as compilers print theirs:
//!
//! ```
//! use std::sync::Arc;
//! use sightline_manifest::span::{Location, SourceFile};
//!
//! let file = Arc::new(SourceFile::new("suite.toml", "seed = 17\nsuite = \"Bad\"\n"));
//! let location = Location::new(&file, 18..23);
//! assert_eq!(location.to_string(), "
//!   --> suite.toml:2:9
//!    |
//!  2 | suite = \"Bad\"
//!    |         ^^^^^".trim_start_matches('\n'));
//! ```
//!
//! Manifests are foreign text: control characters and characters that reorder a line are shown by
//! their code, and a long line is cut around the place.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest manifest in bytes; real ones are a few kilobytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Most characters of a line that an excerpt shows.
const MAX_WIDTH: usize = 120;
/// Characters kept before the place when a line is cut.
const BEFORE: usize = 40;

/// A text and the name of the file it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    path: PathBuf,
    text: String,
}

impl SourceFile {
    /// `text`, said to come from `path`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// Reads the file at `path`, which must be UTF-8 of at most [`MAX_FILE_BYTES`].
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(ReadError::TooLong);
        }
        let text = String::from_utf8(bytes).map_err(|e| ReadError::NotUtf8 {
            offset: e.utf8_error().valid_up_to(),
        })?;
        Ok(Self::new(path, text))
    }

    /// The file's path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column, both from 1 and in characters, of the byte at `offset`.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[start..].chars().count() + 1)
    }
}

/// Why a manifest could not be read as text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system says no.
    #[error(transparent)]
    Io {
        /// What it says.
        #[from]
        source: io::Error,
    },
    /// More than [`MAX_FILE_BYTES`].
    #[error("longer than a manifest may be ({MAX_FILE_BYTES} bytes)")]
    TooLong,
    /// Bytes that are no text.
    #[error("not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// First such byte.
        offset: usize,
    },
}

/// A range of bytes in a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    file: Arc<SourceFile>,
    span: Range<usize>,
    is_beyond: bool,
}

impl Location {
    /// The bytes `span` of `file`; a span that ends past the end is cut there.
    pub fn new(file: &Arc<SourceFile>, span: Range<usize>) -> Self {
        let len = file.text.len();
        let start = span.start.min(len);
        Self {
            file: Arc::clone(file),
            span: start..span.end.clamp(start, len),
            is_beyond: span.start > len,
        }
    }

    /// Whether the span was given as one beyond the end: nothing in the file is meant.
    pub fn is_beyond(&self) -> bool {
        self.is_beyond
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The bytes.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Line, from 1.
    pub fn line(&self) -> usize {
        self.file.position(self.span.start).0
    }

    /// The line of text, without its end, and the part of it that the span covers.
    fn line_text(&self) -> (&str, Range<usize>) {
        let text = self.file.text();
        let at = text.floor_char_boundary(self.span.start);
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[at..].find('\n').map_or(text.len(), |len| at + len);
        let line = text[start..end].trim_end_matches('\r');
        let from = (at - start).min(line.len());
        let to = text.floor_char_boundary(self.span.end) - start;
        (line, from..to.clamp(from, line.len()))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.file.position(self.span.start);
        let path = printable(&self.path().display().to_string());
        let number = line.to_string();
        let gutter = " ".repeat(number.len() + 2);
        let (text, marked) = self.line_text();
        let (shown, before, width) = excerpt(text, &marked);
        writeln!(f, " {}--> {path}:{line}:{column}", " ".repeat(number.len()))?;
        writeln!(f, "{gutter}|")?;
        writeln!(f, " {number} | {shown}")?;
        write!(f, "{gutter}| {}{}", " ".repeat(before), "^".repeat(width))
    }
}

/// `line` as it is shown, the characters before the mark, and the characters under it.
fn excerpt(line: &str, marked: &Range<usize>) -> (String, usize, usize) {
    let mut cells: Vec<char> = Vec::new();
    let (mut from, mut to) = (None, None);
    for (at, c) in line.char_indices() {
        if at >= marked.start {
            from.get_or_insert(cells.len());
        }
        if at >= marked.end {
            to.get_or_insert(cells.len());
        }
        match c {
            '\t' => cells.extend("    ".chars()),
            c => cells.extend(printable(c.encode_utf8(&mut [0; 4])).chars()),
        }
    }
    let from = from.unwrap_or(cells.len());
    let to = to.unwrap_or(cells.len()).max(from + 1);

    let first = if cells.len() > MAX_WIDTH {
        from.saturating_sub(BEFORE)
    } else {
        0
    };
    let last = cells.len().min(first + MAX_WIDTH);
    let mut shown: String = cells[first..last].iter().collect();
    let mut before = from - first;
    if first > 0 {
        shown.insert(0, '…');
        before += 1;
    }
    if last < cells.len() {
        shown.push('…');
    }
    let width = to.min(last.max(from + 1)) - from;
    (shown, before, width)
}

/// `text` with characters that would act on a terminal, or reorder what follows, shown by their code.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let acts = c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if acts {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str, span: Range<usize>) -> String {
        Location::new(&Arc::new(SourceFile::new("a.toml", text)), span).to_string()
    }

    #[test]
    fn marks_the_last_line_without_newline_and_the_end_of_the_file() {
        insta::assert_snapshot!(show("a = 1\nb = zz", 10..12), @r"
          --> a.toml:2:5
           |
         2 | b = zz
           |     ^^
        ");
        insta::assert_snapshot!(show("a = ", 4..4), @r"
          --> a.toml:1:5
           |
         1 | a = 
           |     ^
        ");
        insta::assert_snapshot!(show("", 0..0), @r"
          --> a.toml:1:1
           |
         1 | 
           | ^
        ");
    }

    #[test]
    fn a_span_over_several_lines_is_marked_to_the_end_of_its_first() {
        insta::assert_snapshot!(show("a = [\n1,\n]\r\n", 4..9), @r"
          --> a.toml:1:5
           |
         1 | a = [
           |     ^
        ");
    }

    #[test]
    fn what_acts_on_a_terminal_is_shown_by_its_code() {
        insta::assert_snapshot!(show("é\t= \"\u{1b}[31m\u{202e}\" # x", 6..13), @r#"
          --> a.toml:1:6
           |
         1 | é    = "\u{1b}[31m\u{202e}" # x
           |         ^^^^^^^^^^
        "#);
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("a = \"{}\"", "x".repeat(500));
        let shown = show(&text, 300..303);
        assert!(
            shown.lines().all(|line| line.chars().count() < 140),
            "{shown}"
        );
        let line: Vec<char> = shown.lines().nth(2).unwrap().chars().collect();
        let marks = shown.lines().nth(3).unwrap();
        let at = marks.chars().position(|c| c == '^').unwrap();
        assert_eq!(line[at], 'x');
        assert_eq!(marks.matches('^').count(), 3);
        assert_eq!(shown.matches('…').count(), 2);
    }

    proptest::proptest! {
        #[test]
        fn any_text_and_any_span_can_be_shown(text in "(?s).{0,200}", start: u8, len: u8) {
            let shown = show(&text, usize::from(start)..usize::from(start) + usize::from(len));
            proptest::prop_assert!(shown.lines().count() == 4, "{}", shown);
        }
    }
}
