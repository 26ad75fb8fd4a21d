//! What a condition is for a sample.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

use super::tree::{Comparison, Constant, Function, Node, Operator};

/// A value while it is worked with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    /// Came of a value of another kind than was needed.
    Other,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Cow<'a, str>),
    List(&'a [Value]),
    Object,
}

/// Columns of a sample, by their numbers.
pub(super) type Columns = BTreeMap<usize, Option<Value>>;

/// What `node` is for a sample.
pub(super) fn value<'a>(node: &'a Node, columns: &'a Columns) -> Cell<'a> {
    let of = |node: &'a Node| value(node, columns);
    match node {
        Node::Constant(constant) => match constant {
            Constant::Null => Cell::Null,
            Constant::Bool(value) => Cell::Bool(*value),
            Constant::Int(value) => Cell::Int(*value),
            Constant::Float(value) => Cell::Float(*value),
            Constant::Text(text) => Cell::Text(Cow::Borrowed(text)),
        },
        Node::Column(at) => match columns.get(at) {
            Some(Some(value)) => Cell::of(value),
            _ => Cell::Null,
        },
        Node::Not(node) => match of(node) {
            Cell::Bool(value) => Cell::Bool(!value),
            cell => cell.missing(),
        },
        Node::All(nodes) => decided_by(false, nodes.iter().map(of)),
        Node::Any(nodes) => decided_by(true, nodes.iter().map(of)),
        Node::Compare(comparison, a, b) => compare(*comparison, &of(a), &of(b)),
        Node::IsNull(node) => Cell::Bool(of(node) == Cell::Null),
        Node::In(node, nodes) => {
            let cell = of(node);
            let equal = |other| compare(Comparison::Equal, &cell, &of(other));
            decided_by(true, nodes.iter().map(equal))
        }
        Node::Matches(node, regex) => match of(node) {
            Cell::Text(text) => Cell::Bool(regex.is_match(&text)),
            cell => cell.missing(),
        },
        Node::Negate(node) => match of(node) {
            Cell::Int(value) => value
                .checked_neg()
                .map_or(Cell::Float(-(value as f64)), Cell::Int),
            Cell::Float(value) => Cell::Float(-value),
            cell => cell.missing(),
        },
        Node::Arithmetic(operator, a, b) => arithmetic(*operator, &of(a), &of(b)),
        Node::Call(function, nodes) => call(*function, nodes.iter().map(of)),
    }
}

impl<'a> Cell<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match (number.as_i128(), number.as_f64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::Float(value),
                (None, None) => Self::Other,
            },
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(items) => Self::List(items),
            Value::Object(_) => Self::Object,
        }
    }

    /// What an operator makes of an operand that it cannot work with.
    fn missing<'b>(&self) -> Cell<'b> {
        match self {
            Self::Null => Cell::Null,
            _ => Cell::Other,
        }
    }

    /// The same for two, one of which it cannot work with: null when one is missing.
    fn either_missing<'b>(&self, other: &Self) -> Cell<'b> {
        if *self == Self::Null || *other == Self::Null {
            Cell::Null
        } else {
            Cell::Other
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }
}

/// Logic of three values: one cell that is `decisive` decides, else every one has to be the opposite.
fn decided_by<'a>(decisive: bool, cells: impl Iterator<Item = Cell<'a>>) -> Cell<'a> {
    let mut outcome = Cell::Bool(!decisive);
    for cell in cells {
        match cell {
            Cell::Bool(value) if value == decisive => return Cell::Bool(decisive),
            Cell::Null if outcome != Cell::Other => outcome = Cell::Null,
            Cell::Bool(_) | Cell::Null => {}
            _ => outcome = Cell::Other,
        }
    }
    outcome
}

fn compare<'b>(comparison: Comparison, a: &Cell<'_>, b: &Cell<'_>) -> Cell<'b> {
    let ordering = match (a, b) {
        (Cell::Int(a), Cell::Int(b)) => Some(a.cmp(b)),
        (Cell::Int(a), Cell::Float(b)) => whole_and_float(*a, *b),
        (Cell::Float(a), Cell::Int(b)) => whole_and_float(*b, *a).map(Ordering::reverse),
        (Cell::Text(a), Cell::Text(b)) => Some(a.cmp(b)),
        (Cell::Bool(a), Cell::Bool(b)) => Some(a.cmp(b)),
        _ => match (a.number(), b.number()) {
            (Some(a), Some(b)) => a.partial_cmp(&b),
            _ => return a.either_missing(b),
        },
    };
    let Some(ordering) = ordering else {
        return Cell::Other;
    };
    Cell::Bool(match comparison {
        Comparison::Equal => ordering == Ordering::Equal,
        Comparison::NotEqual => ordering != Ordering::Equal,
        Comparison::Less => ordering == Ordering::Less,
        Comparison::LessOrEqual => ordering != Ordering::Greater,
        Comparison::Greater => ordering == Ordering::Greater,
        Comparison::GreaterOrEqual => ordering != Ordering::Less,
    })
}

/// Compares without rounding the whole number to a float.
fn whole_and_float(whole: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // Beyond what whole numbers reach the conversion gives the last one, which is on the right side.
    let below = float.floor();
    let order = whole.cmp(&(below as i128));
    Some(order.then(if float > below {
        Ordering::Less
    } else {
        Ordering::Equal
    }))
}

fn arithmetic<'b>(operator: Operator, a: &Cell<'_>, b: &Cell<'_>) -> Cell<'b> {
    if let (Cell::Int(a), Cell::Int(b)) = (a, b) {
        let whole = match operator {
            Operator::Add => a.checked_add(*b),
            Operator::Subtract => a.checked_sub(*b),
            Operator::Multiply => a.checked_mul(*b),
            Operator::Remainder => a.checked_rem_euclid(*b),
            Operator::Divide => None,
        };
        if let Some(whole) = whole {
            return Cell::Int(whole);
        }
    }
    let (Some(x), Some(y)) = (a.number(), b.number()) else {
        return a.either_missing(b);
    };
    let number = match operator {
        Operator::Add => x + y,
        Operator::Subtract => x - y,
        Operator::Multiply => x * y,
        Operator::Divide => x / y,
        Operator::Remainder => x.rem_euclid(y),
    };
    if number.is_finite() {
        Cell::Float(number)
    } else {
        Cell::Null
    }
}

fn call<'a>(function: Function, mut cells: impl Iterator<Item = Cell<'a>>) -> Cell<'a> {
    match function {
        Function::Coalesce => cells.find(|cell| *cell != Cell::Null).unwrap_or(Cell::Null),
        Function::Min => extreme(cells, Ordering::Less),
        Function::Max => extreme(cells, Ordering::Greater),
        Function::Contains | Function::StartsWith | Function::EndsWith => {
            let (a, b) = (cells.next(), cells.next());
            match (a.unwrap_or(Cell::Null), b.unwrap_or(Cell::Null)) {
                (Cell::Text(text), Cell::Text(part)) => Cell::Bool(match function {
                    Function::Contains => text.contains(&*part),
                    Function::StartsWith => text.starts_with(&*part),
                    _ => text.ends_with(&*part),
                }),
                (Cell::List(items), Cell::Text(part)) if function == Function::Contains => {
                    Cell::Bool(items.iter().any(|item| item.as_str() == Some(&*part)))
                }
                (a, b) => a.either_missing(&b),
            }
        }
        Function::Abs | Function::Len | Function::Lower | Function::Upper | Function::Words => {
            of_one(function, cells.next().unwrap_or(Cell::Null))
        }
    }
}

fn of_one(function: Function, cell: Cell<'_>) -> Cell<'_> {
    match (function, cell) {
        (Function::Abs, Cell::Int(value)) => match value.checked_abs() {
            Some(value) => Cell::Int(value),
            None => Cell::Float((value as f64).abs()),
        },
        (Function::Abs, Cell::Float(value)) => Cell::Float(value.abs()),
        (Function::Len, Cell::Text(text)) => Cell::Int(text.chars().count() as i128),
        (Function::Len, Cell::List(items)) => Cell::Int(items.len() as i128),
        (Function::Words, Cell::Text(text)) => Cell::Int(text.split_whitespace().count() as i128),
        (Function::Lower, Cell::Text(text)) => Cell::Text(text.to_lowercase().into()),
        (Function::Upper, Cell::Text(text)) => Cell::Text(text.to_uppercase().into()),
        (_, cell) => cell.missing(),
    }
}

/// The least or the greatest of some numbers; missing when one is.
fn extreme<'a>(cells: impl Iterator<Item = Cell<'a>>, wanted: Ordering) -> Cell<'a> {
    let mut found: Option<Cell<'a>> = None;
    for cell in cells {
        let Some(number) = cell.number() else {
            return cell.missing();
        };
        let is_better = found
            .as_ref()
            .and_then(Cell::number)
            .is_none_or(|best| number.partial_cmp(&best) == Some(wanted));
        if is_better {
            found = Some(cell);
        }
    }
    found.unwrap_or(Cell::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Expression, Truth};

    fn truth(condition: &str) -> Truth {
        let row = json!({
            "width": 300, "height": 200, "score": 0.3, "caption": "Ein Fuß im Schnee", "none": null,
            "size": "512", "nsfw": false, "tags": ["a", "cat"], "exif": {"Model": "X-100", "n": {"x": 1}},
            "big": 9_007_199_254_740_993_i64, "odd name": 7, "hash": u64::MAX,
        });
        let condition = Expression::parse(condition).unwrap_or_else(|e| panic!("{e}"));
        condition.truth(&|column| row.get(column).cloned())
    }

    #[test]
    fn conditions_hold_or_do_not() {
        for (condition, expected) in [
            ("width >= 256 and score > 0.28", true),
            ("width >= 256 and score > 0.31", false),
            ("width = 300.0 and width == 300", true),
            ("width <> 300 or not nsfw", true),
            ("not nsfw and not (width < 300)", true),
            (
                "1 + 2 * 3 = 7 and (1 + 2) * 3 = 9 and 7 % 4 = 3 and -7 % 4 = 1",
                true,
            ),
            ("7 / 2 = 3.5 and 2 - 3 - 4 = -5", true),
            ("9223372036854775807 + 1 > 9223372036854775807", true),
            ("big = 9007199254740993 and big != 9007199254740992", true),
            (
                "big != 9007199254740992.0 and big > 9007199254740992.0",
                true,
            ),
            (
                "9007199254740994.0 > big and big < 1e300 and big > -1e300",
                true,
            ),
            ("3 > 2.5 and 2 < 2.5 and 2.5 >= 2 and -3 < -2.5", true),
            (
                "hash = 18446744073709551615 and hash > 18446744073709551614",
                true,
            ),
            (
                "width between 300 and 400 and height not between 1 and 199",
                true,
            ),
            ("width in (1, 300, 'x')", true),
            ("width not in (1, 2)", true),
            ("none is null and width is not null", true),
            ("none is not null or lost is not null", false),
            (
                "caption like 'Ein%Schnee' and caption not like 'Ein_'",
                true,
            ),
            (
                "caption like 'Ein Fu_ im%' and caption ilike '%SCHNEE'",
                true,
            ),
            (
                "caption matches '^Ein' and caption not matches '[0-9]'",
                true,
            ),
            (
                "len(caption) = 17 and words(caption) = 4 and len(tags) = 2",
                true,
            ),
            (
                "lower(caption) = 'ein fuß im schnee' and upper('a') = \"A\"",
                true,
            ),
            (
                "contains(caption, 'Fuß') and contains(tags, 'cat') and not contains(tags, 'at')",
                true,
            ),
            (
                "starts_with(caption, 'Ein') AND ends_with(caption, 'nee')",
                true,
            ),
            ("max(width, height) / min(width, height) <= 1.5", true),
            ("coalesce(none, lost, 5) = 5 and abs(-3) = 3", true),
            ("exif.Model = 'X-100' and exif.n.x = 1", true),
            ("`odd name` = 7 and 'it''s' = \"it's\"", true),
            ("nsfw = false and true", true),
        ] {
            let expected = if expected { Truth::True } else { Truth::False };
            assert_eq!(truth(condition), expected, "{condition}");
        }
    }

    #[test]
    fn what_is_missing_or_of_another_kind_is_told_apart() {
        for (condition, expected) in [
            ("lost > 3", Truth::Null),
            ("none = none", Truth::Null),
            ("not (none > 1)", Truth::Null),
            ("lost > 3 or width = 300", Truth::True),
            ("lost > 3 and width = 1", Truth::Null),
            ("(lost > 3 and width = 1)", Truth::False),
            ("width in (1, null)", Truth::Null),
            ("width / 0 > 1", Truth::Null),
            ("size > 256", Truth::Other),
            ("width", Truth::Other),
            ("(size > 3 and width = 1)", Truth::False),
            ("exif > 1", Truth::Other),
            ("exif.lost.x = 1", Truth::Null),
            ("lower(width) = 'x'", Truth::Other),
            ("size + 1 > none", Truth::Null),
        ] {
            assert_eq!(truth(condition), expected, "{condition}");
        }
    }

    #[test]
    fn the_first_part_that_fails_is_named() {
        let condition = Expression::parse("a > 1 and (b or c) and d = 'x'").unwrap();
        let parts: Vec<&str> = condition.parts().collect();
        assert_eq!(parts, ["a > 1", "(b or c)", "d = 'x'"]);
        let row = json!({"a": 2, "b": false, "c": false});
        let failing = condition.first_failing(&|column| row.get(column).cloned());
        assert_eq!(failing, Some((1, Truth::False)));
    }
}
