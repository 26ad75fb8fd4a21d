//! The stack machine itself: one opcode at a time.

use std::collections::HashMap;

use super::{Element, Global, Object, Problem, State, Value, global};

/// Most axes of an array, as NumPy has it.
const RANK_LIMIT: usize = 64;

/// Opcodes in a pickle; the regions of an image take some hundred. An opcode of one byte takes up to 24 bytes of
/// memory, an array up to 500.
const OPCODE_LIMIT: usize = 1 << 18;

/// A machine on its way through a pickle.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    decoded_bytes: usize,
}

/// Why an opcode cannot be executed.
enum Stop {
    Reason(&'static str),
    Global(String),
}

impl From<&'static str> for Stop {
    fn from(reason: &'static str) -> Self {
        Self::Reason(reason)
    }
}

type Step<T> = Result<T, Stop>;

impl<'a> Machine<'a> {
    /// A machine before the first opcode.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            decoded_bytes: 0,
        }
    }

    /// Executes every opcode; the value on top of the stack at the end.
    pub(super) fn run(&mut self) -> Result<Value, Problem> {
        for _ in 0..OPCODE_LIMIT {
            let offset = self.at;
            match self.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(root),
                Err(Stop::Reason(reason)) => return Err(Problem::Pickle { offset, reason }),
                Err(Stop::Global(name)) => return Err(Problem::PickleGlobal { offset, name }),
            }
        }
        Err(Problem::Pickle {
            offset: self.at,
            reason: "more opcodes than any image needs",
        })
    }

    /// Everything that was built.
    pub(super) fn into_objects(self) -> Vec<Object> {
        self.objects
    }

    /// One opcode, whose numbers are those of Python's `pickletools`; the root at the end of the program.
    fn step(&mut self) -> Step<Option<Value>> {
        let opcode = self.number(1)? as u8;
        if opcode == b'.' {
            return self.pop().map(Some);
        }
        let is_known = self.atom(opcode)?
            || self.container(opcode)?
            || self.stack_or_memo(opcode)?
            || self.object(opcode)?;
        if is_known {
            Ok(None)
        } else {
            Err("an opcode that is not plain data".into())
        }
    }

    /// Values without parts. Like the three below, says whether the opcode was one of its own.
    fn atom(&mut self, opcode: u8) -> Step<bool> {
        let value = match opcode {
            b'N' => Value::None,
            0x88 => Value::Int(1),
            0x89 => Value::Int(0),
            b'K' => Value::Int(self.number(1)? as i64),
            b'M' => Value::Int(self.number(2)? as i64),
            b'J' => Value::Int(i64::from(self.number(4)? as u32 as i32)),
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'G' => {
                self.take(8)?;
                Value::Other
            }
            0x8c => self.sized(1, Value::Text)?,
            b'X' => self.sized(4, Value::Text)?,
            0x8d => self.sized(8, Value::Text)?,
            // Bytes and old strings.
            b'C' | b'U' => self.sized(1, Value::Bytes)?,
            b'B' | b'T' => self.sized(4, Value::Bytes)?,
            0x8e => self.sized(8, Value::Bytes)?,
            _ => return Ok(false),
        };
        self.stack.push(value);
        Ok(true)
    }

    /// Tuples, lists, dictionaries.
    fn container(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b')' => self.push_items(Vec::new(), Value::Tuple),
            b']' => self.push_items(Vec::new(), Value::List),
            b'}' => self.push_items(Vec::new(), Value::Dict),
            0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0x84..opcode {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push_items(items, Value::Tuple);
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push_items(items, Value::Tuple);
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item], false)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend(&[key, value], true)?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.extend(&items, false)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.extend(&items, true)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The stack, its marks, the memo; protocol and frame, which change nothing.
    fn stack_or_memo(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            0x80 => self.take(1).map(drop)?,
            0x95 => self.take(8).map(drop)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.pop().map(drop)?,
            b'1' => self.pop_mark().map(drop)?,
            b'2' => {
                let top = *self.stack.last().ok_or("empty stack")?;
                self.stack.push(top);
            }
            b'q' | b'r' => {
                let index = self.number(if opcode == b'q' { 1 } else { 4 })?;
                self.memoize(index)?;
            }
            0x94 => self.memoize(self.memo.len() as u64)?,
            b'h' | b'j' => {
                let index = self.number(if opcode == b'h' { 1 } else { 4 })?;
                let value = *self.memo.get(&index).ok_or("unknown memo entry")?;
                self.stack.push(value);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Names, what they stand for, and the state of arrays.
    fn object(&mut self, opcode: u8) -> Step<bool> {
        let value = match opcode {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                named(module, name)?
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module), Some(name)) = (self.text(module), self.text(name)) else {
                    return Err("a name that is no text".into());
                };
                named(module, name)?
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?
            }
            b'b' => {
                let state = self.pop()?;
                self.build(state)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        self.stack.push(value);
        Ok(true)
    }

    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or("unexpected end")?;
        self.at += count;
        Ok(taken)
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, size: usize) -> Step<u64> {
        let bytes = self.take(size)?.iter().rev();
        Ok(bytes.fold(0, |n, &byte| (n << 8) | u64::from(byte)))
    }

    fn line(&mut self) -> Step<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or("unexpected end")?;
        let line = self.take(len)?;
        self.take(1)?;
        Ok(line)
    }

    /// A text or bytes behind a length of `size` bytes.
    fn sized(&mut self, size: usize, kind: fn(usize, usize) -> Value) -> Step<Value> {
        let len = usize::try_from(self.number(size)?).map_err(|_| "unexpected end")?;
        let from = self.at;
        self.take(len)?;
        Ok(kind(from, self.at))
    }

    fn long(&mut self, size: usize) -> Step<Value> {
        let len = usize::try_from(self.number(size)?).map_err(|_| "unexpected end")?;
        let bytes = self.take(len)?;
        if bytes.len() > 8 {
            return Ok(Value::Other);
        }
        let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let fill = if is_negative { -1i64 } else { 0 };
        Ok(Value::Int(
            bytes
                .iter()
                .rev()
                .fold(fill, |n, &byte| (n << 8) | i64::from(byte)),
        ))
    }

    /// The top value above the last mark.
    fn pop(&mut self) -> Step<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "empty stack".into())
    }

    fn pop_mark(&mut self) -> Step<Vec<Value>> {
        let mark = self.marks.pop().ok_or("no mark on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn memoize(&mut self, index: u64) -> Step<()> {
        let top = *self.stack.last().ok_or("empty stack")?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn add(&mut self, object: Object) -> usize {
        self.objects.push(object);
        self.objects.len() - 1
    }

    fn push_items(&mut self, items: Vec<Value>, kind: fn(usize) -> Value) {
        let id = self.add(Object::Items(items));
        self.stack.push(kind(id));
    }

    /// Adds `items` to the list, or keys and values to the dictionary, on top of the stack.
    fn extend(&mut self, items: &[Value], are_pairs: bool) -> Step<()> {
        if are_pairs && !items.len().is_multiple_of(2) {
            return Err("a key without a value".into());
        }
        let id = match self.stack.last() {
            Some(&Value::List(id)) if !are_pairs => id,
            Some(&Value::Dict(id)) if are_pairs => id,
            _ => return Err("items for what is no container".into()),
        };
        if let Some(Object::Items(own)) = self.objects.get_mut(id) {
            own.extend(items);
        }
        Ok(())
    }

    fn text(&self, value: Value) -> Option<&[u8]> {
        match value {
            Value::Text(from, to) | Value::Bytes(from, to) => self.bytes.get(from..to),
            Value::Decoded(id) => match self.objects.get(id) {
                Some(Object::Decoded(bytes)) => Some(bytes),
                _ => None,
            },
            _ => None,
        }
    }

    fn tuple(&self, value: Value) -> &[Value] {
        match value {
            Value::Tuple(id) => match self.objects.get(id) {
                Some(Object::Items(items)) => items,
                _ => &[],
            },
            _ => &[],
        }
    }

    /// The known names with their arguments, as data.
    fn call(&mut self, callable: Value, arguments: Value) -> Step<Value> {
        let Value::Global(global) = callable else {
            return Err("a call of what is no name".into());
        };
        let made = match (global, self.tuple(arguments)) {
            (Global::Reconstruct, [Value::Global(Global::NdArray), ..]) => {
                Value::Array(self.add(Object::Array(None)))
            }
            (Global::Scalar, &[Value::Dtype(dtype), data]) if self.text(data).is_some() => {
                let state = State {
                    dtype,
                    shape: Vec::new(),
                    is_fortran: false,
                    data,
                };
                Value::Array(self.add(Object::Array(Some(state))))
            }
            (Global::Dtype, &[name, ..]) => {
                let name = self
                    .text(name)
                    .and_then(|name| std::str::from_utf8(name).ok());
                let element = Element::of_numpy(name.ok_or("an element type without a name")?);
                Value::Dtype(self.add(Object::Dtype {
                    element,
                    is_big_endian: false,
                }))
            }
            (Global::Encode, &[text, codec]) if self.is_latin(codec) => self.encode(text)?,
            (Global::Bytes, []) => Value::Bytes(0, 0),
            _ => return Err("a call that is not known".into()),
        };
        Ok(made)
    }

    fn is_latin(&self, codec: Value) -> bool {
        matches!(self.text(codec), Some(b"latin1" | b"latin-1"))
    }

    /// A text whose characters are bytes.
    fn encode(&mut self, text: Value) -> Step<Value> {
        let Value::Text(from, to) = text else {
            return Err("a call that is not known".into());
        };
        self.decoded_bytes += to - from;
        if self.decoded_bytes > self.bytes.len() {
            return Err("more bytes decoded than the pickle has".into());
        }
        let text = self
            .bytes
            .get(from..to)
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let bytes: Option<Vec<u8>> = text
            .ok_or("a text that is not UTF-8")?
            .chars()
            .map(|c| u8::try_from(c).ok())
            .collect();
        let bytes = bytes.ok_or("a character that is no byte")?;
        Ok(Value::Decoded(self.add(Object::Decoded(bytes))))
    }

    /// The state of the array or element type on top of the stack.
    fn build(&mut self, state: Value) -> Step<()> {
        let items = self.tuple(state);
        match (self.stack.last(), items) {
            (Some(&Value::Dtype(id)), &[Value::Int(3 | 4), order, ..]) => {
                let is_big = match self.text(order) {
                    Some(b"<" | b"|" | b"=") => false,
                    Some(b">") => true,
                    _ => return Err("an element type of no byte order".into()),
                };
                if let Some(Object::Dtype { is_big_endian, .. }) = self.objects.get_mut(id) {
                    *is_big_endian = is_big;
                }
            }
            (
                Some(&Value::Array(id)),
                &[
                    Value::Int(1),
                    shape,
                    Value::Dtype(dtype),
                    Value::Int(fortran),
                    data,
                ],
            ) => {
                let dims = self.tuple(shape);
                let dim = |dim: &Value| match dim {
                    Value::Int(n) => usize::try_from(*n).ok(),
                    _ => None,
                };
                let shape: Option<Vec<usize>> = dims.iter().take(RANK_LIMIT + 1).map(dim).collect();
                let shape = shape
                    .filter(|shape| shape.len() <= RANK_LIMIT)
                    .ok_or("an impossible shape")?;
                let state = State {
                    dtype,
                    shape,
                    is_fortran: fortran != 0,
                    data,
                };
                if let Some(Object::Array(filled)) = self.objects.get_mut(id) {
                    *filled = Some(state);
                }
            }
            _ => return Err("a state that is not known".into()),
        }
        Ok(())
    }
}

fn named(module: &[u8], name: &[u8]) -> Step<Value> {
    let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
    global(module, name)
        .map(Value::Global)
        .ok_or_else(|| Stop::Global(format!("{}.{}", show(module), show(name))))
}
