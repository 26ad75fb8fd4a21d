//! Tokens into a tree.

use std::fmt;
use std::ops::Range;

use regex::RegexBuilder;
use sightline_core::registry::nearest;

use super::token::{Token, What, tokens};
use super::tree::{Column, Comparison, Constant, Expression, Function, Node, Operator};

/// Longest condition in bytes.
const MAX_LEN: usize = 1 << 16;

/// How deep brackets and operators may be nested: each level takes some of the stack.
const MAX_DEPTH: usize = 100;

/// Memory of a compiled regular expression in bytes.
const MAX_REGEX: usize = 1 << 20;

/// A condition that cannot be read: the message, the condition, and carets below what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    message: String,
    source: String,
    span: Range<usize>,
}

impl SyntaxError {
    pub(super) fn new(source: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: source.to_owned(),
            span,
        }
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where, in bytes of the condition.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

impl std::error::Error for SyntaxError {}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = &self.source[..self.span.start];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let end = self.source[self.span.start..]
            .find('\n')
            .map_or(self.source.len(), |at| self.span.start + at);
        // Characters that take no place or two are rare in conditions; the carets are then a little beside.
        let line = self.source[start..end].replace('\t', " ");
        let indent = self.source[start..self.span.start].chars().count();
        let marked = self.span.end.min(end).max(self.span.start);
        let carets = self.source[self.span.start..marked].chars().count().max(1);
        write!(
            f,
            "{}\n{line}\n{:indent$}{}",
            self.message,
            "",
            "^".repeat(carets)
        )
    }
}

/// Reads a condition.
pub(super) fn expression(source: &str) -> Result<Expression, SyntaxError> {
    if source.len() > MAX_LEN {
        let message = format!(
            "the condition has {} bytes, the limit is {MAX_LEN}",
            source.len()
        );
        return Err(SyntaxError::new("", 0..0, message));
    }
    let mut parser = Parser {
        source,
        tokens: tokens(source)?,
        at: 0,
        depth: 0,
        columns: Vec::new(),
    };
    let mut parts = Vec::new();
    let start = parser.span().start;
    let mut first = parser.not()?;
    if parser.takes_word("and") {
        parser.expect_bool(&first)?;
        parts.push((first.node, first.span));
        loop {
            let part = parser.not()?;
            parser.expect_bool(&part)?;
            parts.push((part.node, part.span));
            if !parser.takes_word("and") {
                break;
            }
        }
        if parser.is_word("or") {
            // `or` binds weaker, so that all of it is one part.
            let node = Node::All(parts.drain(..).map(|(node, _)| node).collect());
            let span = start..parser.previous_end();
            first = Typed::new(node, Kind::Bool, span, 2);
        } else {
            parser.expect_end()?;
            return Ok(Expression {
                source: source.to_owned(),
                parts,
                columns: parser.columns,
            });
        }
    }
    let whole = parser.or_from(first)?;
    parser.expect_end()?;
    parser.expect_bool(&whole)?;
    Ok(Expression {
        source: source.to_owned(),
        parts: vec![(whole.node, whole.span)],
        columns: parser.columns,
    })
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    columns: Vec<Column>,
}

/// A node, what is known of its kind, and where it stands.
struct Typed {
    node: Node,
    kind: Kind,
    span: Range<usize>,
    depth: usize,
}

/// Kinds of values, as far as the condition alone tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Number,
    Text,
    /// A column's, or null.
    Any,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Any => "anything",
        }
    }

    fn fits(self, wanted: Self) -> bool {
        self == wanted || self == Self::Any || wanted == Self::Any
    }
}

impl Typed {
    fn new(node: Node, kind: Kind, span: Range<usize>, depth: usize) -> Self {
        Self {
            node,
            kind,
            span,
            depth,
        }
    }
}

type Parsed = Result<Typed, SyntaxError>;

impl Parser<'_> {
    /// Alternatives joined by `or`.
    fn or(&mut self) -> Parsed {
        let first = self.and()?;
        self.or_from(first)
    }

    fn or_from(&mut self, first: Typed) -> Parsed {
        self.joined("or", first, Self::and, Node::Any)
    }

    fn and(&mut self) -> Parsed {
        let first = self.not()?;
        self.joined("and", first, Self::not, Node::All)
    }

    /// `first`, or it and what follows with `word` between.
    fn joined(
        &mut self,
        word: &str,
        first: Typed,
        next: fn(&mut Self) -> Parsed,
        join: fn(Vec<Node>) -> Node,
    ) -> Parsed {
        if !self.is_word(word) {
            return Ok(first);
        }
        self.expect_bool(&first)?;
        let mut depth = first.depth;
        let start = first.span.start;
        let mut nodes = vec![first.node];
        while self.takes_word(word) {
            let node = next(self)?;
            self.expect_bool(&node)?;
            depth = depth.max(node.depth);
            nodes.push(node.node);
        }
        self.built(join(nodes), Kind::Bool, start, depth)
    }

    fn not(&mut self) -> Parsed {
        let start = self.span().start;
        if !self.takes_word("not") {
            return self.comparison();
        }
        let node = self.deeper(Self::not)?;
        self.expect_bool(&node)?;
        self.built(
            Node::Not(Box::new(node.node)),
            Kind::Bool,
            start,
            node.depth,
        )
    }

    fn comparison(&mut self) -> Parsed {
        let left = self.sum()?;
        let start = left.span.start;
        if let Some(comparison) = self.takes_comparison() {
            let right = self.sum()?;
            self.expect_same(&left, &right)?;
            if self.clone_comparison().is_some() {
                return Err(self.wrong(
                    self.span(),
                    "comparisons cannot be chained; write `a < b and b < c`",
                ));
            }
            let depth = left.depth.max(right.depth);
            let node = Node::Compare(comparison, Box::new(left.node), Box::new(right.node));
            return self.built(node, Kind::Bool, start, depth);
        }
        if self.takes_word("is") {
            let is_negated = self.takes_word("not");
            if !self.takes_word("null") {
                return Err(self.wrong(self.span(), "`is` is followed by `null` or `not null`"));
            }
            let node = Node::IsNull(Box::new(left.node));
            return self.maybe_not(is_negated, node, start, left.depth);
        }
        let not_at = self.span();
        let is_negated = self.takes_word("not");
        if self.takes_word("in") {
            return self.list(left, is_negated);
        }
        if self.takes_word("between") {
            return self.between(&left, is_negated);
        }
        for (word, is_pattern, ignores_case) in [
            ("like", true, false),
            ("ilike", true, true),
            ("matches", false, false),
        ] {
            if self.takes_word(word) {
                return self.matches(left, is_negated, is_pattern, ignores_case);
            }
        }
        if is_negated {
            return Err(self.wrong(
                not_at,
                "after a value, `not` is followed by `in`, `between`, `like`, `ilike` or `matches`",
            ));
        }
        Ok(left)
    }

    fn list(&mut self, left: Typed, is_negated: bool) -> Parsed {
        self.expect_sign("(", "`in` is followed by values in brackets")?;
        let mut depth = left.depth;
        let mut nodes = Vec::new();
        loop {
            let node = self.sum()?;
            depth = depth.max(node.depth);
            nodes.push(node.node);
            if !self.takes_sign(",") {
                break;
            }
        }
        self.expect_sign(")", "a `)` is missing")?;
        let node = Node::In(Box::new(left.node), nodes);
        self.maybe_not(is_negated, node, left.span.start, depth)
    }

    fn between(&mut self, left: &Typed, is_negated: bool) -> Parsed {
        let low = self.sum()?;
        if !self.takes_word("and") {
            return Err(self.wrong(
                self.span(),
                "`between` is followed by two values with `and` between",
            ));
        }
        let high = self.sum()?;
        self.expect_same(left, &low)?;
        self.expect_same(left, &high)?;
        let depth = left.depth.max(low.depth).max(high.depth) + 1;
        let compare = |comparison, bound: Node| {
            Node::Compare(comparison, Box::new(left.node.clone()), Box::new(bound))
        };
        let node = Node::All(vec![
            compare(Comparison::GreaterOrEqual, low.node),
            compare(Comparison::LessOrEqual, high.node),
        ]);
        self.maybe_not(is_negated, node, left.span.start, depth)
    }

    fn matches(
        &mut self,
        left: Typed,
        is_negated: bool,
        is_pattern: bool,
        ignores_case: bool,
    ) -> Parsed {
        self.expect_kind(&left, Kind::Text)?;
        let token = self.next();
        let What::Text(text) = token.what else {
            return Err(self.wrong(token.span, "a text between quotes is needed here"));
        };
        let pattern = if is_pattern { like(&text) } else { text };
        let regex = RegexBuilder::new(&pattern)
            .case_insensitive(ignores_case)
            .dot_matches_new_line(is_pattern)
            .size_limit(MAX_REGEX)
            .build();
        let regex = regex.map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default();
            let why = why.trim_start_matches("error: ");
            self.wrong(
                token.span,
                format!("this regular expression cannot be used: {why}"),
            )
        })?;
        let node = Node::Matches(Box::new(left.node), regex);
        self.maybe_not(is_negated, node, left.span.start, left.depth)
    }

    fn maybe_not(&mut self, is_negated: bool, node: Node, start: usize, depth: usize) -> Parsed {
        let node = if is_negated {
            Node::Not(Box::new(node))
        } else {
            node
        };
        self.built(node, Kind::Bool, start, depth + usize::from(is_negated))
    }

    fn sum(&mut self) -> Parsed {
        self.operators(
            &[("+", Operator::Add), ("-", Operator::Subtract)],
            Self::product,
        )
    }

    fn product(&mut self) -> Parsed {
        let operators = [
            ("*", Operator::Multiply),
            ("/", Operator::Divide),
            ("%", Operator::Remainder),
        ];
        self.operators(&operators, Self::signed)
    }

    fn operators(
        &mut self,
        operators: &[(&'static str, Operator)],
        next: fn(&mut Self) -> Parsed,
    ) -> Parsed {
        let mut left = next(self)?;
        loop {
            let found = operators.iter().find(|(sign, _)| self.takes_sign(sign));
            let Some((_, operator)) = found else {
                return Ok(left);
            };
            let right = next(self)?;
            self.expect_kind(&left, Kind::Number)?;
            self.expect_kind(&right, Kind::Number)?;
            let (start, depth) = (left.span.start, left.depth.max(right.depth));
            let node = Node::Arithmetic(*operator, Box::new(left.node), Box::new(right.node));
            left = self.built(node, Kind::Number, start, depth)?;
        }
    }

    fn signed(&mut self) -> Parsed {
        let start = self.span().start;
        if self.takes_sign("+") {
            return self.deeper(Self::signed);
        }
        if !self.takes_sign("-") {
            return self.primary();
        }
        let node = self.deeper(Self::signed)?;
        self.expect_kind(&node, Kind::Number)?;
        self.built(
            Node::Negate(Box::new(node.node)),
            Kind::Number,
            start,
            node.depth,
        )
    }

    fn primary(&mut self) -> Parsed {
        let token = self.next();
        let span = token.span.clone();
        let constant =
            |constant, kind| Ok(Typed::new(Node::Constant(constant), kind, span.clone(), 1));
        match token.what {
            What::Int(value) => constant(Constant::Int(value), Kind::Number),
            What::Float(value) => constant(Constant::Float(value), Kind::Number),
            What::Text(text) => constant(Constant::Text(text), Kind::Text),
            What::Sign("(") => {
                let node = self.deeper(Self::or)?;
                self.expect_sign(")", "a `)` is missing")?;
                Ok(Typed {
                    span: span.start..self.previous_end(),
                    ..node
                })
            }
            What::Quoted(name) => Ok(self.column(name, span)),
            What::Word(word) => match word.to_ascii_lowercase().as_str() {
                "true" => constant(Constant::Bool(true), Kind::Bool),
                "false" => constant(Constant::Bool(false), Kind::Bool),
                "null" => constant(Constant::Null, Kind::Any),
                "and" | "or" | "not" | "in" | "is" | "like" | "ilike" | "matches" | "between" => {
                    let message = format!(
                        "a value is missing before `{word}`; a column of that name is written `{word}` in backticks"
                    );
                    Err(self.wrong(span, message))
                }
                _ if self.is_sign("(") => self.call(&word, span),
                _ => Ok(self.column(word, span)),
            },
            What::End => Err(self.wrong(span, "a value is missing at the end")),
            What::Sign(sign) => {
                Err(self.wrong(span, format!("a value is missing before `{sign}`")))
            }
        }
    }

    fn column(&mut self, name: String, span: Range<usize>) -> Typed {
        let mut path = Vec::new();
        while self.is_sign(".") {
            let part = match &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].what {
                What::Word(part) | What::Quoted(part) => part.clone(),
                _ => break,
            };
            path.push(part);
            self.at += 2;
        }
        let span = span.start..self.previous_end();
        let known = |column: &Column| column.name == name && column.path == path;
        let at = self.columns.iter().position(known).unwrap_or_else(|| {
            self.columns.push(Column {
                name,
                path,
                span: span.clone(),
            });
            self.columns.len() - 1
        });
        Typed::new(Node::Column(at), Kind::Any, span, 1)
    }

    fn call(&mut self, word: &str, span: Range<usize>) -> Parsed {
        let lower = word.to_ascii_lowercase();
        let Some((_, function)) = FUNCTIONS.iter().find(|(name, _)| *name == lower) else {
            let names = FUNCTIONS.iter().map(|(name, _)| *name);
            let near = nearest(&lower, names)
                .first()
                .map(|name| format!("; is `{name}` meant?"));
            let message = format!("there is no function `{word}`{}", near.unwrap_or_default());
            return Err(self.wrong(span, message));
        };
        let signature = function.signature();
        self.expect_sign("(", "a `(` is missing")?;
        let mut nodes = Vec::new();
        let mut depth = 0;
        if !self.is_sign(")") {
            loop {
                let node = self.deeper(Self::or)?;
                depth = depth.max(node.depth);
                let wanted = signature.takes.get(nodes.len()).or(signature.takes.last());
                self.expect_kind(&node, wanted.copied().unwrap_or(Kind::Any))?;
                nodes.push(node.node);
                if !self.takes_sign(",") {
                    break;
                }
            }
        }
        self.expect_sign(")", "a `)` is missing")?;
        let whole = span.start..self.previous_end();
        let count = signature.takes.len();
        let fits = if signature.takes_more {
            nodes.len() >= count
        } else {
            nodes.len() == count
        };
        if !fits {
            let more = if signature.takes_more { " or more" } else { "" };
            let message = format!("`{lower}` takes {count}{more} values, not {}", nodes.len());
            return Err(self.wrong(whole, message));
        }
        self.built(
            Node::Call(*function, nodes),
            signature.gives,
            span.start,
            depth,
        )
    }

    /// A node around others of at most `depth`, that begins at `start` and ends before the next token.
    fn built(&self, node: Node, kind: Kind, start: usize, depth: usize) -> Parsed {
        let span = start..self.previous_end();
        if depth >= MAX_DEPTH {
            return Err(self.wrong(span, TOO_DEEP));
        }
        Ok(Typed::new(node, kind, span, depth + 1))
    }

    /// `next`, one level deeper.
    fn deeper(&mut self, next: fn(&mut Self) -> Parsed) -> Parsed {
        if self.depth >= MAX_DEPTH {
            return Err(self.wrong(self.span(), TOO_DEEP));
        }
        self.depth += 1;
        let parsed = next(self);
        self.depth -= 1;
        parsed
    }

    fn expect_bool(&self, node: &Typed) -> Result<(), SyntaxError> {
        self.expect_kind(node, Kind::Bool)
    }

    fn expect_kind(&self, node: &Typed, wanted: Kind) -> Result<(), SyntaxError> {
        if node.kind.fits(wanted) {
            return Ok(());
        }
        let message = format!(
            "this is {}, and {} is needed",
            node.kind.name(),
            wanted.name()
        );
        Err(self.wrong(node.span.clone(), message))
    }

    fn expect_same(&self, a: &Typed, b: &Typed) -> Result<(), SyntaxError> {
        if a.kind.fits(b.kind) {
            return Ok(());
        }
        let message = format!("{} is compared with {}", a.kind.name(), b.kind.name());
        Err(self.wrong(a.span.start..b.span.end, message))
    }

    fn expect_end(&self) -> Result<(), SyntaxError> {
        match &self.tokens[self.at].what {
            What::End => Ok(()),
            What::Sign(")") => Err(self.wrong(self.span(), "this `)` has no `(`")),
            _ => Err(self.wrong(self.span(), "an operator is missing before this")),
        }
    }

    fn expect_sign(&mut self, sign: &str, message: &str) -> Result<(), SyntaxError> {
        if self.takes_sign(sign) {
            return Ok(());
        }
        Err(self.wrong(self.span(), message))
    }

    fn takes_comparison(&mut self) -> Option<Comparison> {
        let found = self.clone_comparison();
        self.at += usize::from(found.is_some());
        found
    }

    /// The comparison that the next token is.
    fn clone_comparison(&self) -> Option<Comparison> {
        let What::Sign(sign) = self.tokens[self.at].what else {
            return None;
        };
        Some(match sign {
            "=" | "==" => Comparison::Equal,
            "!=" | "<>" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        })
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.tokens[self.at].what, What::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.tokens[self.at].what, What::Sign(found) if found == sign)
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    /// The next token; the end stays.
    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        self.at += usize::from(token.what != What::End);
        token
    }

    fn span(&self) -> Range<usize> {
        self.tokens[self.at].span.clone()
    }

    fn previous_end(&self) -> usize {
        self.at
            .checked_sub(1)
            .map_or(0, |before| self.tokens[before].span.end)
    }

    fn wrong(&self, span: Range<usize>, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.source, span, message)
    }
}

const TOO_DEEP: &str = "this is nested too deeply, the limit is 100 levels";

/// Every function, sorted by name.
const FUNCTIONS: &[(&str, Function)] = &[
    ("abs", Function::Abs),
    ("coalesce", Function::Coalesce),
    ("contains", Function::Contains),
    ("ends_with", Function::EndsWith),
    ("len", Function::Len),
    ("lower", Function::Lower),
    ("max", Function::Max),
    ("min", Function::Min),
    ("starts_with", Function::StartsWith),
    ("upper", Function::Upper),
    ("words", Function::Words),
];

/// What a function takes and gives.
struct Signature {
    takes: &'static [Kind],
    /// Whether more values of the last kind may follow.
    takes_more: bool,
    gives: Kind,
}

impl Function {
    fn signature(self) -> Signature {
        use Kind::{Any, Bool, Number, Text};
        let (takes, takes_more, gives): (&[Kind], bool, Kind) = match self {
            Self::Abs => (&[Number], false, Number),
            Self::Coalesce => (&[Any], true, Any),
            Self::Contains => (&[Any, Text], false, Bool),
            Self::StartsWith | Self::EndsWith => (&[Text, Text], false, Bool),
            // A list has a length too.
            Self::Len | Self::Words => (&[Text], false, Number),
            Self::Lower | Self::Upper => (&[Text], false, Text),
            Self::Min | Self::Max => (&[Number], true, Number),
        };
        Signature {
            takes,
            takes_more,
            gives,
        }
    }
}

/// The regular expression of a pattern with `%` and `_`.
fn like(pattern: &str) -> String {
    let mut regex = "^".to_owned();
    for c in pattern.chars() {
        match c {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    regex
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(condition: &str) -> String {
        match Expression::parse(condition) {
            Ok(parsed) => panic!("{condition} is read as {parsed:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn mistakes_are_pointed_at() {
        for (condition, message, carets) in [
            ("", "a value is missing at the end", "^"),
            ("a >", "a value is missing at the end", "   ^"),
            ("a > > 3", "a value is missing before `>`", "    ^"),
            ("a = 3 b", "an operator is missing before this", "      ^"),
            ("a = 3)", "this `)` has no `(`", "     ^"),
            ("(a = 3", "a `)` is missing", "      ^"),
            ("a = 'x", "this ' has no second one", "    ^"),
            (
                "1 < a < 3",
                "comparisons cannot be chained; write `a < b and b < c`",
                "      ^",
            ),
            ("a & b", "`&` means nothing here; write `and`", "  ^"),
            (
                "len(a, 'b') > 3",
                "`len` takes 1 values, not 2",
                "^^^^^^^^^^^",
            ),
            (
                "lenn(a) > 3",
                "there is no function `lenn`; is `len` meant?",
                "^^^^",
            ),
            (
                "width + 1",
                "this is a number, and true or false is needed",
                "^^^^^^^^^",
            ),
            (
                "a and 'x'",
                "this is a text, and true or false is needed",
                "      ^^^",
            ),
            (
                "'a' + 1 > 3",
                "this is a text, and a number is needed",
                "^^^",
            ),
            ("3 > 'x'", "a number is compared with a text", "^^^^^^^"),
            (
                "a is 3",
                "`is` is followed by `null` or `not null`",
                "     ^",
            ),
            ("a in 3", "`in` is followed by values in brackets", "     ^"),
            (
                "a not 3",
                "after a value, `not` is followed by `in`, `between`, `like`, `ilike` or `matches`",
                "  ^^^",
            ),
            (
                "a like b",
                "a text between quotes is needed here",
                "       ^",
            ),
            (
                "3d = 4",
                "a name cannot begin with a digit; put it between backticks",
                "^",
            ),
            (
                "1e999 > 3",
                "`1e999` is no number that can be held",
                "^^^^^",
            ),
        ] {
            assert_eq!(
                error(condition),
                format!("{message}\n{condition}\n{carets}")
            );
        }
        assert!(error("a matches '('").contains("unclosed group"));
        assert!(error(&"(".repeat(5000)).contains("nested too deeply"));
        assert!(error(&format!("1{} > 0", "+1".repeat(5000))).contains("nested too deeply"));
        assert!(error(&format!("{}a", "not ".repeat(5000))).contains("nested too deeply"));
        assert!(error(&"a and ".repeat(50_000)).contains("the limit is 65536"));
    }

    #[test]
    fn columns_are_listed_once_with_their_places() {
        let parsed = Expression::parse("a > 1 and exif.`x y`.z = a or `b c` is null").unwrap();
        let columns: Vec<_> = parsed
            .columns()
            .iter()
            .map(|c| (c.name.as_str(), c.path.join("/"), c.span.clone()))
            .collect();
        assert_eq!(
            columns,
            [
                ("a", String::new(), 0..1),
                ("exif", "x y/z".to_owned(), 10..22),
                ("b c", String::new(), 30..35)
            ]
        );
        assert_eq!(parsed.parts().collect::<Vec<_>>(), [parsed.source()]);
    }

    /// Pieces of conditions, in any order.
    const PIECES: [&str; 36] = [
        "a",
        "b.c",
        "`x y`",
        "1",
        "2.5",
        "'t'",
        "\"u\"",
        "null",
        "true",
        "+",
        "-",
        "*",
        "/",
        "%",
        "(",
        ")",
        ",",
        "=",
        "!=",
        "<",
        ">=",
        "and",
        "or",
        "not",
        "in",
        "is",
        "between",
        "like",
        "matches",
        "len(",
        "min(",
        "coalesce(",
        "contains(",
        "'('",
        "'é%_'",
        ".",
    ];

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in any::<String>()) {
            if let Err(error) = Expression::parse(&text) {
                let _ = error.to_string();
            }
        }

        #[test]
        fn what_is_read_can_be_evaluated(
            pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24),
            numbers in prop::collection::vec(any::<i64>(), 3),
        ) {
            let text = pieces.join(" ");
            match Expression::parse(&text) {
                Err(error) => {
                    prop_assert!(error.span().end <= text.len());
                    let _ = error.to_string();
                }
                Ok(parsed) => {
                    for number in numbers {
                        let of = |name: &str| match name {
                            "a" => Some(number.into()),
                            "b" => Some(serde_json::json!({"c": "t"})),
                            _ => None,
                        };
                        let _ = parsed.truth(&of);
                    }
                    // Brackets around the whole change nothing.
                    let again = Expression::parse(&format!("({text})")).unwrap();
                    let of = |name: &str| (name == "a").then(|| 3.into());
                    if parsed.parts().count() == 1 {
                        prop_assert_eq!(parsed.truth(&of), again.truth(&of));
                    }
                }
            }
        }
    }
}
