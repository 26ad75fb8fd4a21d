//! Captions made of columns of metadata.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Fault;

/// A text with columns of metadata in it: `"{title}. {alt}"`. Braces stand for nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CaptionForm {
    /// What stands before each column, and the column.
    columns: Vec<(String, String)>,
    /// What stands behind the last one.
    rest: String,
}

impl CaptionForm {
    /// The texts of a column alone.
    pub fn column(name: &str) -> Self {
        Self {
            columns: vec![(String::new(), name.to_owned())],
            rest: String::new(),
        }
    }

    /// The texts that `meta` gives: as many as its longest column has, of shorter ones from the beginning again. None
    /// where a column is missing, empty, or no text and no list of texts.
    pub fn texts(&self, meta: &Map<String, Value>) -> Vec<String> {
        let columns: Vec<Vec<&str>> = self
            .columns
            .iter()
            .map(|(_, column)| texts_of(meta.get(column)))
            .collect();
        if columns.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        let count = columns.iter().map(Vec::len).max().unwrap_or(0);
        let written = |number: usize| {
            let mut text = String::new();
            for ((before, _), texts) in self.columns.iter().zip(&columns) {
                text.push_str(before);
                text.push_str(texts[number % texts.len()]);
            }
            text.push_str(&self.rest);
            text
        };
        (0..count).map(written).collect()
    }
}

fn texts_of(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

impl fmt::Display for CaptionForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (before, column) in &self.columns {
            write!(f, "{before}{{{column}}}")?;
        }
        f.write_str(&self.rest)
    }
}

impl From<CaptionForm> for String {
    fn from(form: CaptionForm) -> Self {
        form.to_string()
    }
}

impl TryFrom<String> for CaptionForm {
    type Error = Fault;

    fn try_from(written: String) -> Result<Self, Fault> {
        let fault = |problem| Fault::CaptionForm {
            form: written.clone(),
            problem,
        };
        let mut columns = Vec::new();
        let mut rest = written.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            let (column, behind) = behind
                .split_once('}')
                .ok_or_else(|| fault("`{` without `}`"))?;
            if column.trim().is_empty() || column.contains('{') {
                return Err(fault("`{` without the name of a column behind it"));
            }
            if before.contains('}') {
                return Err(fault("`}` without `{`"));
            }
            columns.push((before.to_owned(), column.to_owned()));
            rest = behind;
        }
        if rest.contains('}') {
            return Err(fault("`}` without `{`"));
        }
        if columns.is_empty() {
            return Err(fault("no column"));
        }
        Ok(Self {
            columns,
            rest: rest.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_stand_in_texts_and_lists_go_side_by_side() {
        let form = CaptionForm::try_from("{captions} {title}!".to_owned()).unwrap();
        assert_eq!(form.to_string(), "{captions} {title}!");
        let meta = json!({"title": "T", "captions": ["a", "b"], "none": [], "number": 3});
        let meta = meta.as_object().unwrap();
        assert_eq!(form.texts(meta), ["a T!", "b T!"]);
        assert_eq!(CaptionForm::column("title").texts(meta), ["T"]);
        for lacking in ["none", "number", "other"] {
            let form = CaptionForm::try_from(format!("{{title}} {{{lacking}}}")).unwrap();
            assert!(form.texts(meta).is_empty());
        }
    }

    #[test]
    fn what_is_no_form_is_refused_with_the_reason() {
        for (written, problem) in [
            ("a title", "no column"),
            ("", "no column"),
            ("{title", "without `}`"),
            ("{ }", "without the name"),
            ("{a{b}}", "without the name"),
            ("a} {b}", "`}` without `{`"),
            ("{b} a}", "`}` without `{`"),
        ] {
            let refused = CaptionForm::try_from(written.to_owned()).unwrap_err();
            assert!(
                refused.to_string().contains(problem),
                "{written}: {refused}"
            );
        }
    }
}
