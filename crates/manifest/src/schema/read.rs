//! From text to a structure, telling everything that is wrong and not only the first thing.
//!
//! serde stops at the first error. So the text becomes a tree first; when the structure refuses a
//! part of the tree, that part is noted, cut out, and the rest is tried again. A missing field is
//! noted and a stand-in put in its place, which stands beyond the end of the file: what later checks
//! find wrong with a stand-in is a consequence, and [`Location::is_beyond`] tells it apart.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use sightline_core::registry::nearest;
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue, Error as TomlError, ValueDeserializer};

use super::SCHEMA;
use crate::error::{Fault, Problem, Where};
use crate::span::{Location, SourceFile};

/// Most problems told about one file: what follows so many is usually their consequence.
const MAX_PROBLEMS: usize = 20;

/// What a file holds.
pub(crate) struct Parsed<T> {
    /// The structure.
    pub(crate) value: T,
    /// Whether nothing had to be cut out or made up.
    pub(crate) is_whole: bool,
}

/// Reads `file` as a `T` and adds what is wrong with it to `problems`; `None` when too little of a
/// `T` is left.
pub(crate) fn parse<T: DeserializeOwned>(
    file: &Arc<SourceFile>,
    problems: &mut Vec<Problem>,
) -> Option<Parsed<T>> {
    let mut tell = |span: Range<usize>, fault: Fault| {
        problems.push(Problem {
            fault,
            place: Where::File(Location::new(file, span)),
        });
    };
    let (root, errors) = DeTable::parse_recoverable(file.text());
    if !errors.is_empty() {
        for error in errors.iter().take(MAX_PROBLEMS) {
            let message = error.message().to_owned();
            tell(error.span().unwrap_or(0..0), Fault::Syntax { message });
        }
        return None;
    }
    if let Some(schema) = root.get_ref().get("schema")
        && let DeValue::Integer(number) = schema.get_ref()
        && number.to_string() != SCHEMA.to_string()
    {
        let found = number.to_string();
        tell(schema.span(), Fault::Schema { found });
        return None;
    }

    let mut rest = Rest {
        root,
        cut: BTreeSet::new(),
        stand_ins: 0,
    };
    let mut told = 0;
    while told < MAX_PROBLEMS {
        let error = match T::deserialize(rest.deserializer()) {
            Ok(value) => {
                let is_whole = rest.cut.is_empty() && rest.stand_ins == 0;
                return Some(Parsed { value, is_whole });
            }
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| rest.root.span());
        match fault(&error) {
            Fault::MissingField { field } => {
                // A field that was cut out because of its value is not missing.
                if !rest.cut.contains(&field) {
                    let field = field.clone();
                    tell(span.clone(), Fault::MissingField { field });
                    told += 1;
                }
                rest.stand_in(&field, &span)?;
            }
            _ if rest.is_stand_in(&span) => rest.change_stand_in(&span)?,
            fault => {
                tell(span.clone(), fault);
                told += 1;
                rest.cut_out(&span)?;
            }
        }
    }
    None
}

/// What is left of a tree while its problems are being found.
struct Rest<'i> {
    root: Spanned<DeTable<'i>>,
    /// Names of the entries that were cut out.
    cut: BTreeSet<String>,
    /// Missing fields for which something was put into the tree.
    stand_ins: usize,
}

impl<'i> Rest<'i> {
    fn deserializer(&self) -> ValueDeserializer<'i> {
        let table = DeValue::Table(self.root.get_ref().clone());
        ValueDeserializer::from(Spanned::new(self.root.span(), table))
    }

    /// Removes what stands at `span`; `None` when nothing does.
    fn cut_out(&mut self, span: &Range<usize>) -> Option<()> {
        let key = cut_out(self.root.get_mut(), span)?;
        self.cut.insert(key);
        Some(())
    }

    /// Puts an empty text in the place of a missing field of the table at `span`, so that serde goes
    /// on to the next one.
    fn stand_in(&mut self, field: &str, span: &Range<usize>) -> Option<()> {
        // No text has such a span.
        let at = usize::MAX - self.stand_ins;
        self.stand_ins += 1;
        let insert = |table: &mut DeTable<'i>| {
            let key = Spanned::new(at..at, field.to_owned().into());
            let value = DeValue::String(String::new().into());
            table.insert(key, Spanned::new(at..at, value));
        };
        if *span == self.root.span() {
            insert(self.root.get_mut());
            return Some(());
        }
        change(self.root.get_mut(), span, &mut |value| {
            if let DeValue::Table(table) = value {
                insert(table);
            }
        })
    }

    fn is_stand_in(&self, span: &Range<usize>) -> bool {
        span.start > usize::MAX - self.stand_ins
    }

    /// Makes a number of the stand-in at `span`; `None` when it is one already.
    fn change_stand_in(&mut self, span: &Range<usize>) -> Option<()> {
        let mut was_text = false;
        change(self.root.get_mut(), span, &mut |value| {
            was_text = matches!(value, DeValue::String(_));
            *value = DeValue::Integer(DeInteger::default());
        })?;
        was_text.then_some(())
    }
}

/// What serde's error says, as data. The words are serde's own (`serde::de::Error`), which are stable;
/// a text of another form is kept as it is.
fn fault(error: &TomlError) -> Fault {
    let message = error.message();
    if let Some(rest) = message.strip_prefix("missing field `") {
        return Fault::MissingField {
            field: rest.trim_end_matches('`').to_owned(),
        };
    }
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return Fault::Syntax {
            message: message.to_owned(),
        };
    };
    if let Some(field) = found.strip_prefix("unknown field `") {
        let field = field.strip_suffix('`').unwrap_or(field);
        let known: Vec<String> = expected
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        return Fault::UnknownField {
            nearest: nearest(field, known.iter().map(String::as_str)),
            field: field.to_owned(),
            known,
        };
    }
    let expected = match expected {
        "u32" | "u64" => "a whole number from 0 on",
        "f64" => "a number",
        "a sequence" => "an array",
        "a string" => "a string",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    let found = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|prefix| found.strip_prefix(prefix))
        .unwrap_or(found);
    Fault::WrongType {
        found: found.to_owned(),
        expected: expected.to_owned(),
    }
}

/// Removes the entry or element of `table` at `span`, the deepest if there are several (an array of
/// tables stands where its first table does), and returns the key it had (that of the array for an
/// element); `None` when nothing starts and ends there.
fn cut_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let below = table.iter_mut().find_map(|(key, value)| {
        cut_out_of_value(value.get_mut(), span).then(|| key.get_ref().to_string())
    });
    if below.is_some() {
        return below;
    }
    let key = table
        .iter()
        .find(|(key, value)| key.span() == *span || value.span() == *span)
        .map(|(key, _)| key.get_ref().to_string())?;
    table.remove(key.as_str());
    Some(key)
}

/// Whether something was removed below `value`.
fn cut_out_of_value(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => cut_out(table, span).is_some(),
        DeValue::Array(array) => {
            let Some(at) = array.iter().position(|item| item.span() == *span) else {
                return array
                    .iter_mut()
                    .any(|item| cut_out_of_value(item.get_mut(), span));
            };
            let mut rest = DeArray::new();
            for (_, item) in array.iter().enumerate().filter(|(index, _)| *index != at) {
                rest.push(item.clone());
            }
            *array = rest;
            true
        }
        _ => false,
    }
}

/// Lets `act` change the value at `span` below `table`, the deepest if there are several; `None` when
/// there is none.
fn change<'i>(
    table: &mut DeTable<'i>,
    span: &Range<usize>,
    act: &mut dyn FnMut(&mut DeValue<'i>),
) -> Option<()> {
    table
        .iter_mut()
        .find_map(|(_, value)| change_value(value, span, act))
}

fn change_value<'i>(
    value: &mut Spanned<DeValue<'i>>,
    span: &Range<usize>,
    act: &mut dyn FnMut(&mut DeValue<'i>),
) -> Option<()> {
    let below = match value.get_mut() {
        DeValue::Table(table) => change(table, span, act),
        DeValue::Array(array) => array
            .iter_mut()
            .find_map(|item| change_value(item, span, act)),
        _ => None,
    };
    if below.is_none() && value.span() == *span {
        act(value.get_mut());
        return Some(());
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Suite;

    fn problems(text: &str) -> (bool, Vec<String>) {
        let file = Arc::new(SourceFile::new("s.toml", text));
        let mut problems = Vec::new();
        let parsed = parse::<Suite>(&file, &mut problems);
        let told = problems
            .iter()
            .map(|problem| match &problem.place {
                Where::File(at) => format!("{}: {}", at.line(), problem.fault),
                other => panic!("{other:?}"),
            })
            .collect();
        (parsed.is_some(), told)
    }

    const GOOD: &str = "schema = 1\nsuite = 's'\ndescription = ''\nseed = 1\n";

    #[test]
    fn every_wrong_field_is_told_at_its_line() {
        let text = format!(
            "{GOOD}sed = 2\nmodels = ['a', 3]\n[bootstrap]\nresamples = 'many'\nconfidnce = 1\n\
             [[task]]\nkind = 'k'\n[[task]]\nkind = 7\ndataset = 'd'\nmetrics = 'm'\n\
             [[task]]\nkind = 'k'\ndataset = 'd'\nlimit = -1\n[[task]]\n"
        );
        let (parsed, told) = problems(&text);
        assert!(parsed);
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn every_missing_field_is_told() {
        let (parsed, told) = problems("schema = 1\nsuite = 3\n");
        assert!(parsed);
        assert_eq!(
            told,
            [
                "2: integer `3`, expected a string",
                "1: missing field `description`",
                "1: missing field `seed`"
            ]
        );
    }

    #[test]
    fn another_schema_is_the_only_thing_told() {
        let (parsed, told) = problems("schema = 2\nsuite = 's'\nnew_field = 1\n");
        assert!(!parsed);
        assert_eq!(told, ["1: schema 2, this version reads 1"]);
    }

    #[test]
    fn every_syntax_error_is_told_and_nothing_else() {
        let (parsed, told) = problems("schema = 1\nsuite = \nunknown = 3\nmodels = [1,\n");
        assert!(!parsed);
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_flood_of_problems_is_cut() {
        let fields: Vec<String> = (0..5_000).map(|i| format!("x{i} = {i}\n")).collect();
        let (parsed, told) = problems(&format!("{GOOD}{}", fields.concat()));
        assert!(!parsed);
        assert_eq!(told.len(), MAX_PROBLEMS);
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        for open in ["[", "{a="] {
            let (parsed, told) = problems(&format!("{GOOD}x = {}", open.repeat(200_000)));
            assert!(!parsed);
            assert!(!told.is_empty());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "(?s)[a-z\\[\\]{}=\"'\n#., 0-9]{0,120}") {
            let (parsed, told) = problems(&format!("{GOOD}{text}"));
            proptest::prop_assert!(parsed || !told.is_empty());
        }
    }
}
