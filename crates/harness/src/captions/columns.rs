//! Delimited text: a row for each caption.

use sightline_core::text::counted;

use super::error::CaptionError;
use super::read::{CaptionColumns, Captions, Role, Row};

/// Reads a table of delimited text with a header. With commas it is quoted, with tabs it is not.
pub(super) fn delimited(
    bytes: &[u8],
    delimiter: u8,
    columns: &CaptionColumns,
    role: Role,
) -> Result<Captions, CaptionError> {
    let is_quoted = delimiter == b',';
    if is_quoted {
        check_quotes(bytes)?;
    }
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(is_quoted)
        .from_reader(bytes);
    let problem = |error: csv::Error| CaptionError::Line {
        line: error.position().map_or(1, csv::Position::line),
        problem: match error.kind() {
            csv::ErrorKind::Utf8 { err, .. } => format!("field {}: {err}", err.field() + 1),
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => format!(
                "{} instead of {expected_len}",
                counted(*len as usize, "field")
            ),
            _ => error.to_string(),
        },
    };
    let header = reader.headers().map_err(problem)?.clone();
    let place = |column: &str| {
        let mut found = (0..header.len()).filter(|&at| &header[at] == column);
        match (found.next(), found.next()) {
            (Some(place), None) => Ok(place),
            (None, _) => Err(CaptionError::Column {
                column: column.to_owned(),
                found: header.iter().map(str::to_owned).collect(),
            }),
            (Some(_), Some(_)) => Err(CaptionError::ColumnTwice {
                column: column.to_owned(),
            }),
        }
    };
    let (id, caption) = (place(&columns.id)?, place(&columns.caption)?);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(problem)?;
        let field = |place: usize| record.get(place).unwrap_or_default().to_owned();
        rows.push(Row {
            id: field(id),
            captions: vec![field(caption)],
            ..Row::default()
        });
    }
    Captions::of_rows("id", role, rows)
}

/// Refuses a quoted field that does not end, or that goes on after its last quote: both mean a stray quote,
/// which would take the rows behind it into one caption.
fn check_quotes(bytes: &[u8]) -> Result<(), CaptionError> {
    let mut line = 1;
    let mut starts_field = true;
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'"' || !starts_field {
            line += u64::from(byte == b'\n');
            starts_field = matches!(byte, b',' | b'\n' | b'\r');
            continue;
        }
        let opened = line;
        let refused = |problem| CaptionError::Quotes {
            line: opened,
            problem,
        };
        loop {
            match rest.next() {
                None => return Err(refused("starts here and does not end")),
                Some(b'"') if rest.next_if_eq(&b'"').is_none() => break,
                Some(byte) => line += u64::from(byte == b'\n'),
            }
        }
        if !matches!(rest.peek(), None | Some(b',' | b'\n' | b'\r')) {
            return Err(refused("starts here and goes on after its last quote"));
        }
        starts_field = false;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, delimiter: u8, role: Role) -> Result<Vec<(String, Vec<String>)>, String> {
        let read = delimited(text.as_bytes(), delimiter, &CaptionColumns::default(), role);
        let entries = read.map_err(|e| e.to_string())?.entries;
        Ok(entries
            .into_iter()
            .map(|mut entry| (entry.ids.remove(0), entry.captions))
            .collect())
    }

    fn rows(expected: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        expected
            .iter()
            .map(|&(id, captions)| (id.to_owned(), owned(captions)))
            .collect()
    }

    #[test]
    fn tabs_have_no_quotes_and_swallow_no_row() {
        let text = "id\tcaption\n1\t\"big horse\n1\ta \"red\" bus\n2\t12\" pizza \"\n3\t\n";
        assert_eq!(
            read(text, b'\t', Role::References).unwrap(),
            rows(&[
                ("1", &["\"big horse", "a \"red\" bus"]),
                ("2", &["12\" pizza \""]),
                ("3", &[""]),
            ])
        );
        let error = read("id\tcaption\n1\ta\tb\n", b'\t', Role::Predictions).unwrap_err();
        assert_eq!(error, "line 2: 3 fields instead of 2");
        let error = read("id\tcaption\n1\n", b'\t', Role::Predictions).unwrap_err();
        assert_eq!(error, "line 2: 1 field instead of 2");
    }

    #[test]
    fn quoted_fields_of_commas_end_where_a_field_ends() {
        let text = "id,caption\n1,\"a, \"\"b\"\"\nc\"\r\n2,a \"dog\" runs\n3,\"\"\n4,";
        assert_eq!(
            read(text, b',', Role::Predictions).unwrap(),
            rows(&[
                ("1", &["a, \"b\"\nc"]),
                ("2", &["a \"dog\" runs"]),
                ("3", &[""]),
                ("4", &[""]),
            ])
        );
        for (text, line, problem) in [
            ("id,caption\n1,x\n2,\"a\n3,b\n", 3, "does not end"),
            ("id,caption\n1,\"a\nb\n2,\"c\n", 2, "goes on after"),
            ("id,caption\n1,\"a\nb\"\n2,\"c\" d\n", 4, "goes on after"),
        ] {
            let error = read(text, b',', Role::Predictions).unwrap_err();
            let start = format!("line {line}: a quoted field starts here and {problem}");
            assert!(error.starts_with(&start), "{error}");
        }
    }

    #[test]
    fn a_column_or_a_prediction_that_is_there_twice_is_refused() {
        let error = read("id,id,caption\n1,2,a\n", b',', Role::References).unwrap_err();
        assert_eq!(error, "there is more than one column `id`");
        let twice = "id,caption\n1,a\n1,b\n";
        assert!(read(twice, b',', Role::References).is_ok());
        assert_eq!(
            read(twice, b',', Role::Predictions).unwrap_err(),
            "more than one prediction for 1 image: `1`"
        );
    }
}
