//! Caption words as the COCO caption tools cut them: the Penn Treebank tokenizer of Stanford CoreNLP
//! 3.4.1 with `-preserveLines -lowerCase`, then punctuation dropped.
//!
//! BLEU, ROUGE-L, CIDEr and METEOR of published papers are computed on these words, and another
//! tokenizer moves them by up to a third. The reference program is a Java one; this is the same
//! behaviour rebuilt from its outputs: from probing it as a black box with some tens of millions of
//! strings, and from the golden files. Its rules, quirks included, are rules here.
//!
//! | text | tokens |
//! | --- | --- |
//! | `A dog isn't on John's mat.` | `a dog is n't on john 's mat .` |
//! | `cannot gonna gimme 'tis` | `can not gon na gim me 't is` |
//! | `the "red" (and 'blue') car` | ``the `` red '' -lrb- and ` blue ' -rrb- car`` |
//! | `$5, 5%, 1,000 and ½ at 10:30am` | `$ 5 , 5 % , 1,000 and 1/2 at 10:30 am` |
//! | `St. Louis, e.g. at 5 p.m. The end` | `st. louis , e.g. at 5 p.m. . the end` |
//! | `a 3-year-old -- and/or a t-shirt…` | `a 3-year-old -- and/or a t-shirt ...` |
//! | `AT&amp;T <unk> :-) 😀` | `at&t <unk> :--rrb-` |
//!
//! Three things may surprise. The tokenizer lower-cases its bracket names, so `-lrb-` and the like are
//! not in the list of dropped tokens and count as words. A token may hold a no-break space, as in
//! `3 1/2` and `(555) 123-4567`, which Python's `str.split()` would divide. And
//! characters the tokenizer does not know, emoji among them, leave no trace.
//!
//! # Where this differs from the reference
//!
//! - The reference reads all captions of an evaluation as one file, and an abbreviation at the end of
//!   a caption looks at the next caption: `by some art.` keeps its period if the next caption starts
//!   with a digit. [`tokenize`] takes a line as if it were alone; [`tokenize_before`] is given the
//!   lines that follow and agrees with the file.
//! - CR, VT, FF, U+2028 and U+2029 inside a caption break the reference's line, which shifts every later
//!   caption; here they are spaces.
//! - A tag whose quoted value or whose `<!` does not end on its line is not looked for on the next
//!   ones, and one with more than 1,024 bytes of attributes is not a tag.

mod abbreviation;
mod address;
mod apostrophe;
mod class;
mod form;
mod markup;
mod number;
mod quote;
mod scan;
mod symbol;
mod unicode;
mod word;

use std::borrow::Cow;

use scan::Scanner;

/// The tokens of one line, in lower case, with punctuation.
///
/// A token is never empty and holds no white space except U+00A0. Takes time linear in the length of
/// `line`, whatever it holds.
///
/// ```
/// use sightline_text::ptb;
///
/// assert_eq!(ptb::tokenize("Isn't it?"), ["is", "n't", "it", "?"]);
/// ```
pub fn tokenize(line: &str) -> Vec<String> {
    tokenize_before(line, "")
}

/// As [`tokenize`], for a line that `following` comes after: the text after the line break, of any
/// number of lines.
///
/// Only a period at the end of `line` can depend on `following`, and only if it ends an abbreviation,
/// an initial or an acronym.
///
/// ```
/// use sightline_text::ptb;
///
/// assert_eq!(ptb::tokenize("a flat T.V."), ["a", "flat", "t.v."]);
/// assert_eq!(ptb::tokenize_before("a flat T.V.", "A dog"), ["a", "flat", "t.v.", "."]);
/// ```
pub fn tokenize_before(line: &str, following: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let line = one_line(line);
    Scanner::new(&line, following).run(&mut |token| tokens.push(token.to_owned()));
    tokens
}

/// The words of a caption that metrics compare: its tokens less those that [`is_dropped`] names, joined
/// with one space.
///
/// ```
/// use sightline_text::ptb;
///
/// assert_eq!(ptb::caption("A man, a \"plan\":\nthe canal!"), "a man a plan the canal");
/// ```
pub fn caption(text: &str) -> String {
    let line = one_line(text);
    let mut words = String::with_capacity(line.len() + 8);
    let mut is_last_kept = false;
    Scanner::new(&line, "").run(&mut |token| {
        is_last_kept = !is_dropped(token);
        if is_last_kept {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(token);
        }
    });
    // The reference strips the line of tokens, and an address may end with white space of another kind.
    if is_last_kept {
        words.truncate(words.trim_end().len());
    }
    words
}

/// Whether a token is punctuation that the caption tools drop. The comparison is exact: `-LRB-` is
/// dropped, `-lrb-` is not.
pub fn is_dropped(token: &str) -> bool {
    matches!(
        token,
        "''" | "'"
            | "``"
            | "`"
            | "-LRB-"
            | "-RRB-"
            | "-LCB-"
            | "-RCB-"
            | "."
            | "?"
            | "!"
            | ","
            | ":"
            | "-"
            | "--"
            | "..."
            | ";"
    )
}

/// The text with a space for each character that would end the line.
fn one_line(text: &str) -> Cow<'_, str> {
    const BREAKS: [char; 6] = ['\n', '\r', '\x0B', '\x0C', '\u{2028}', '\u{2029}'];
    let has_breaks = text
        .bytes()
        .any(|byte| matches!(byte, b'\n'..=b'\r') || byte == 0xE2);
    if has_breaks && text.contains(BREAKS) {
        Cow::Owned(text.replace(BREAKS, " "))
    } else {
        Cow::Borrowed(text)
    }
}
