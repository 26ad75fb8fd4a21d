//! As much YAML as configuration files of training programs use, VirTex's for one.
//!
//! Read: mappings nested by spaces, one `key: value` or `key:` per line; plain and quoted values in one line, without
//! escapes; comments; a `---` before everything. Lists are skipped, and so are the values in brackets: nothing that
//! decides the model's form is in them. Anything else (tabs, anchors, tags, values over several lines) is an error
//! that names the line, never a guess.

use std::collections::BTreeMap;

/// The deepest nesting; VirTex's files have 3 levels.
const DEPTH_LIMIT: usize = 16;

/// A line that is not of the forms above.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct YamlError {
    /// Counted from 1.
    pub line: usize,
    /// What about it.
    pub reason: &'static str,
}

/// Every value of the text by its keys, joined with dots; of a key that is there twice the last value.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, String>, YamlError> {
    let mut values = BTreeMap::new();
    // Indentation and key of the mappings around the line.
    let mut around: Vec<(usize, &str)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = |reason| YamlError {
            line: number,
            reason,
        };
        let content = without_comment(line).trim_end();
        let trimmed = content.trim_start_matches(' ');
        if trimmed.is_empty() || content == "---" || trimmed == "-" || trimmed.starts_with("- ") {
            continue;
        }
        if trimmed.starts_with('\t') {
            return Err(wrong("a tab"));
        }
        let indent = content.len() - trimmed.len();
        while around.last().is_some_and(|(outer, _)| *outer >= indent) {
            around.pop();
        }
        let (key, value) = match trimmed.split_once(": ") {
            Some((key, value)) => (key, value.trim()),
            None => (
                trimmed.strip_suffix(':').ok_or_else(|| wrong("no key"))?,
                "",
            ),
        };
        let key = unquoted(key).ok_or_else(|| wrong("a key in unusual quotes"))?;
        if value.is_empty() {
            if around.len() == DEPTH_LIMIT {
                return Err(wrong("nested too deeply"));
            }
            around.push((indent, key));
        } else if value.starts_with(['&', '*', '!', '|', '>', '%', '@', '`']) {
            return Err(wrong("a value of a form that is not read"));
        } else {
            let value = unquoted(value).ok_or_else(|| wrong("a value in unusual quotes"))?;
            let keys = around.iter().map(|(_, key)| *key).chain([key]);
            values.insert(keys.collect::<Vec<_>>().join("."), value.to_owned());
        }
    }
    Ok(values)
}

/// The line up to a `#` that stands at its start or behind white space, outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '#' && before.is_whitespace() => return &line[..at],
            None if matches!(c, '"' | '\'') && !before.is_alphanumeric() => quote = Some(c),
            _ => {}
        }
        before = c;
    }
    line
}

/// What stands between quotes; `None` where they do not match, or where an escape would have to be understood.
fn unquoted(value: &str) -> Option<&str> {
    for (quote, escape) in [('"', '\\'), ('\'', '\'')] {
        if let Some(rest) = value.strip_prefix(quote) {
            let inner = rest.strip_suffix(quote)?;
            return (!inner.contains([quote, escape])).then_some(inner);
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        read(text).unwrap().into_iter().collect()
    }

    #[test]
    fn mappings_become_keys_with_dots() {
        let text = "---\n\
            # A comment.\n\
            _BASE_: \"../_base_bicaptioning_R_50_L1_H1024.yaml\"\n\
            DATA:\n  ROOT: 'data#sets'  # behind\n  LIST:\n    - \"a: b\"\n    - c\n  VOCAB_SIZE: 10000\n\
            \n\
            MODEL:\n  VISUAL:\n    NAME: torchvision::resnet50\n  NAME: virtex\n\
            EMPTY:\n";
        let expected = [
            ("DATA.ROOT", "data#sets"),
            ("DATA.VOCAB_SIZE", "10000"),
            ("MODEL.NAME", "virtex"),
            ("MODEL.VISUAL.NAME", "torchvision::resnet50"),
            ("_BASE_", "../_base_bicaptioning_R_50_L1_H1024.yaml"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn what_is_not_read_is_named() {
        let deep = (0..20)
            .map(|i| " ".repeat(i) + "k:")
            .collect::<Vec<_>>()
            .join("\n");
        for (text, line, reason) in [
            ("A: 1\n\tB: 2", 2, "a tab"),
            ("A", 1, "no key"),
            ("A: &x 1", 1, "a value of a form that is not read"),
            ("A: |\n  text", 1, "a value of a form that is not read"),
            ("A: 'it''s'", 1, "a value in unusual quotes"),
            ("A: \"open", 1, "a value in unusual quotes"),
            (deep.as_str(), 17, "nested too deeply"),
        ] {
            assert_eq!(read(text), Err(YamlError { line, reason }), "{text}");
        }
    }
}
