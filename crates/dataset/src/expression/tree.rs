//! A condition as a tree.

use std::collections::BTreeMap;
use std::ops::Range;

use regex::Regex;
use serde_json::Value;

use super::evaluate::{Cell, value};
use super::parse::{self, SyntaxError};

/// A condition, checked as far as it can be without samples.
#[derive(Clone, Debug)]
pub struct Expression {
    pub(super) source: String,
    /// What is joined by `and` at the top, with its place in the source.
    pub(super) parts: Vec<(Node, Range<usize>)>,
    pub(super) columns: Vec<Column>,
}

/// A column that a condition reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name that samples are asked for.
    pub name: String,
    /// Names inside its value, when that is an object.
    pub path: Vec<String>,
    /// Where it stands in the source, in bytes.
    pub span: Range<usize>,
}

/// What a condition is for a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// A value that it needs is missing.
    Null,
    /// A value that it needs is of another kind than it takes.
    Other,
}

/// A part of a condition.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Constant(Constant),
    /// The number of a column in [`Expression::columns`].
    Column(usize),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    IsNull(Box<Self>),
    In(Box<Self>, Vec<Self>),
    Matches(Box<Self>, Regex),
    Negate(Box<Self>),
    Arithmetic(Operator, Box<Self>, Box<Self>),
    Call(Function, Vec<Self>),
}

/// A value that is written out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Coalesce,
    Contains,
    EndsWith,
    Len,
    Lower,
    Max,
    Min,
    StartsWith,
    Upper,
    Words,
}

impl Expression {
    /// Reads a condition.
    pub fn parse(source: &str) -> Result<Self, SyntaxError> {
        parse::expression(source)
    }

    /// The text that was read.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Every column that is read, in the order of their first places, each once.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The conditions that are joined by `and`, as they were written.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .map(|(_, span)| &self.source[span.clone()])
    }

    /// Whether it holds for the sample whose columns `column` gives: `None` where one is missing.
    pub fn truth(&self, column: &dyn Fn(&str) -> Option<Value>) -> Truth {
        self.first_failing(column)
            .map_or(Truth::True, |(_, truth)| truth)
    }

    /// The first of [`Self::parts`] that does not hold for a sample, by its number, and what it is instead of true.
    pub fn first_failing(&self, column: &dyn Fn(&str) -> Option<Value>) -> Option<(usize, Truth)> {
        let mut held = BTreeMap::new();
        for (at, (part, _)) in self.parts.iter().enumerate() {
            part.columns(&mut |column_at| {
                held.entry(column_at).or_insert_with(|| {
                    let Column { name, path, .. } = &self.columns[column_at];
                    let mut value = column(name)?;
                    for name in path {
                        value = value.as_object_mut()?.remove(name)?;
                    }
                    Some(value)
                });
            });
            let truth = match value(part, &held) {
                Cell::Bool(true) => continue,
                Cell::Bool(false) => Truth::False,
                Cell::Null => Truth::Null,
                _ => Truth::Other,
            };
            return Some((at, truth));
        }
        None
    }

    /// A mistake in the condition that only the samples show: `message` with the place of the column.
    pub fn wrong_column(&self, column: &Column, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(&self.source, column.span.clone(), message)
    }
}

impl Node {
    /// Calls `each` with every column in it.
    fn columns(&self, each: &mut impl FnMut(usize)) {
        match self {
            Self::Constant(_) => {}
            Self::Column(at) => each(*at),
            Self::Not(a) | Self::IsNull(a) | Self::Matches(a, _) | Self::Negate(a) => {
                a.columns(each);
            }
            Self::Compare(_, a, b) | Self::Arithmetic(_, a, b) => {
                a.columns(each);
                b.columns(each);
            }
            Self::All(nodes) | Self::Any(nodes) | Self::Call(_, nodes) => {
                for node in nodes {
                    node.columns(each);
                }
            }
            Self::In(a, nodes) => {
                a.columns(each);
                for node in nodes {
                    node.columns(each);
                }
            }
        }
    }
}
