//! Conditions on samples, as `sightline shards filter --where` takes them.
//!
//! | written | means |
//! | --- | --- |
//! | `width`, `exif.Model`, `` `odd name` `` | the value of a column; a dot goes into an object; null where it is missing |
//! | `256`, `0.28`, `1e-3`, `'text'`, `"text"`, `true`, `null` | a value; a quote in a text is written twice |
//! | `+ - * / %` | arithmetic; `/` gives a fraction, a division by zero is null |
//! | `= == != <> < <= > >=` | comparisons; texts by their characters' numbers |
//! | `a between 1 and 3` | from 1 to 3, both included |
//! | `a in (1, 2, 'x')`, `a not in (…)` | one of some values |
//! | `a is null`, `a is not null` | whether a value is missing |
//! | `a like '%cat_'`, `ilike` | `%` is any text, `_` any character; `ilike` takes capital and small letters for the same |
//! | `a matches '^[0-9]+$'` | a regular expression of the crate `regex`, which looks anywhere in the text |
//! | `not`, `and`, `or` | logic; `not` binds strongest, `or` weakest |
//! | `len(a)`, `words(a)` | characters of a text or items of a list; words of a text |
//! | `lower(a)`, `upper(a)`, `contains(a, 'x')`, `starts_with(a, 'x')`, `ends_with(a, 'x')` | texts |
//! | `abs(a)`, `min(a, …)`, `max(a, …)`, `coalesce(a, …)` | numbers; the first value that is there |
//!
//! Names of operators and functions may be written in capitals. As in SQL and polars a comparison with null is null, `null
//! and false` is false, and a sample is kept only where the whole condition is true. A value of another kind than an
//! operator takes (`width > 5` where `width` is the text `wide`) is like null, but is told apart, so that it can be counted.
//!
//! ```
//! use serde_json::{Value, json};
//! use sightline_dataset::expression::{Expression, Truth};
//!
//! let condition = Expression::parse("width >= 256 and clip_score > 0.28")?;
//! let row = json!({"width": 512, "clip_score": 0.31});
//! assert_eq!(condition.truth(&|column| row.get(column).cloned()), Truth::True);
//! assert_eq!(condition.truth(&|column| (column == "width").then(|| json!(300))), Truth::Null);
//! let wrong = Expression::parse("width >= ").unwrap_err();
//! assert_eq!(wrong.to_string(), "a value is missing at the end\nwidth >= \n         ^");
//! # Ok::<(), sightline_dataset::expression::SyntaxError>(())
//! ```

mod evaluate;
mod parse;
mod token;
mod tree;

pub use parse::SyntaxError;
pub use tree::{Column, Expression, Truth};
