//! The stack machine itself: one opcode at a time.

use std::collections::HashMap;
use std::ops::Range;

use super::{Global, Object, Storage, Value, View, global, text};

/// Longest text that is kept.
const TEXT_LIMIT_BYTES: usize = 256;

/// Most dimensions of a tensor.
const RANK_LIMIT: usize = 16;

/// No known function takes more arguments.
const ARGUMENT_LIMIT: usize = 8;

/// A machine on its way through a pickle.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
}

type Step<T> = Result<T, String>;

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
        }
    }

    /// Offset of the next opcode.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Everything that was built.
    pub(super) fn into_objects(self) -> Vec<Object> {
        self.objects
    }

    /// Executes one opcode, whose numbers are those of Python's `pickletools`; the root at the end of the program.
    pub(super) fn step(&mut self) -> Step<Option<Value>> {
        let opcode = self.number(1)? as u8;
        if opcode == b'.' {
            return self.pop().map(Some);
        }
        let is_known = self.atom(opcode)?
            || self.container(opcode)?
            || self.stack_or_memo(opcode)?
            || self.object(opcode)?;
        if is_known {
            return Ok(None);
        }
        Err(format!("unsupported opcode {opcode:#04x}"))
    }

    /// Values without parts. Like the three below, says whether the opcode was one of its own.
    fn atom(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool),
            b'K' => self.push_number(1)?,
            b'M' => self.push_number(2)?,
            b'J' => {
                let number = self.number(4)? as u32;
                self.push(Value::Int(i64::from(number as i32)));
            }
            0x8a => self.push_long(1)?,
            0x8b => self.push_long(4)?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Opaque);
            }
            0x8c => self.push_text(1)?,
            b'X' => self.push_text(4)?,
            0x8d => self.push_text(8)?,
            // Bytes, old strings and byte arrays.
            b'C' | b'U' => self.push_bytes(1)?,
            b'B' | b'T' => self.push_bytes(4)?,
            0x8e | 0x96 => self.push_bytes(8)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Tuples, lists, dictionaries, sets.
    fn container(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b')' => self.push_object(Vec::new(), Value::Tuple),
            b']' => self.push_object(Vec::new(), Value::List),
            b'}' => self.push_object(Vec::new(), Value::Dict),
            0x85..=0x87 => self.push_tuple(usize::from(opcode - 0x84))?,
            b't' | b'l' | b'd' => {
                let items = self.pop_mark()?;
                let kind = match opcode {
                    b't' => Value::Tuple,
                    b'l' => Value::List,
                    _ => Value::Dict,
                };
                self.push_object(items, kind);
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend(vec![key, value])?;
            }
            b'e' | b'u' => {
                let items = self.pop_mark()?;
                self.extend(items)?;
            }
            // Sets are of no use here: made, filled, made from a mark.
            0x8f => self.push(Value::Opaque),
            0x90 => {
                self.pop_mark()?;
            }
            0x91 => {
                self.pop_mark()?;
                self.push(Value::Opaque);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The stack, its marks, the memo; protocol and frame, which change nothing.
    fn stack_or_memo(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            0x80 => {
                self.take(1)?;
            }
            0x95 => {
                self.take(8)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let top = *self.stack.last().ok_or("empty stack")?;
                self.push(top);
            }
            b'q' => self.memoize(1)?,
            b'r' => self.memoize(4)?,
            0x94 => {
                let index = self.memo.len() as u64;
                self.memoize_as(index)?;
            }
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Globals, calls, objects.
    fn object(&mut self, opcode: u8) -> Step<bool> {
        let value = match opcode {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                global(&self.bytes[module], &self.bytes[name])
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (text(self.bytes, module), text(self.bytes, name)) {
                    (Some(module), Some(name)) => global(module.as_bytes(), name.as_bytes()),
                    _ => Value::Opaque,
                }
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)
            }
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)
            }
            // An object of any class, without and with keyword arguments.
            0x81 | 0x92 => {
                for _ in 0..(if opcode == 0x81 { 2 } else { 3 }) {
                    self.pop()?;
                }
                Value::Opaque
            }
            // The state of an object, such as a dictionary's `_metadata`.
            b'b' => {
                self.pop()?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        self.push(value);
        Ok(true)
    }

    fn take(&mut self, count: usize) -> Step<Range<usize>> {
        let end = self
            .at
            .checked_add(count)
            .filter(|&end| end <= self.bytes.len());
        let end = end.ok_or("unexpected end")?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, size: usize) -> Step<u64> {
        let range = self.take(size)?;
        let bytes = self.bytes[range].iter().rev();
        Ok(bytes.fold(0, |n, &byte| (n << 8) | u64::from(byte)))
    }

    fn line(&mut self) -> Step<Range<usize>> {
        let rest = &self.bytes[self.at..];
        let len = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or("unexpected end")?;
        let line = self.take(len)?;
        self.take(1)?;
        Ok(line)
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    /// The top value above the last mark.
    fn pop(&mut self) -> Step<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("empty stack".to_owned());
        }
        self.stack.pop().ok_or_else(|| "empty stack".to_owned())
    }

    fn pop_mark(&mut self) -> Step<Vec<Value>> {
        let mark = self.marks.pop().ok_or("no mark on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn push_number(&mut self, size: usize) -> Step<()> {
        let number = self.number(size)?;
        self.push(Value::Int(number as i64));
        Ok(())
    }

    fn push_long(&mut self, size: usize) -> Step<()> {
        let len = self.number(size)? as usize;
        let range = self.take(len)?;
        let bytes = &self.bytes[range];
        if bytes.len() > 8 {
            self.push(Value::Opaque);
            return Ok(());
        }
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) {
            -1i64
        } else {
            0
        };
        let number = bytes
            .iter()
            .rev()
            .fold(fill, |n, &byte| (n << 8) | i64::from(byte));
        self.push(Value::Int(number));
        Ok(())
    }

    fn push_text(&mut self, size: usize) -> Step<()> {
        let len = usize::try_from(self.number(size)?).map_err(|_| "unexpected end")?;
        let range = self.take(len)?;
        // Python writes lone surrogates in a way that is not UTF-8; no tensor is called so.
        let is_name =
            len <= TEXT_LIMIT_BYTES && std::str::from_utf8(&self.bytes[range.clone()]).is_ok();
        self.push(if is_name {
            Value::Text(range.start, range.end)
        } else {
            Value::Opaque
        });
        Ok(())
    }

    fn push_bytes(&mut self, size: usize) -> Step<()> {
        let len = usize::try_from(self.number(size)?).map_err(|_| "unexpected end")?;
        self.take(len)?;
        self.push(Value::Opaque);
        Ok(())
    }

    fn add(&mut self, object: Object) -> usize {
        self.objects.push(object);
        self.objects.len() - 1
    }

    fn push_object(&mut self, items: Vec<Value>, kind: fn(usize) -> Value) {
        let id = self.add(Object::Items(items));
        self.push(kind(id));
    }

    fn push_tuple(&mut self, count: usize) -> Step<()> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push_object(items, Value::Tuple);
        Ok(())
    }

    /// Adds `items` to the list or dictionary on top of the stack.
    fn extend(&mut self, items: Vec<Value>) -> Step<()> {
        match self.stack.last() {
            Some(&(Value::List(id) | Value::Dict(id))) => match self.objects.get_mut(id) {
                Some(Object::Items(own)) => {
                    own.extend(items);
                    Ok(())
                }
                _ => Err("items for what is no container".to_owned()),
            },
            Some(Value::Opaque) => Ok(()),
            _ => Err("items for what is no container".to_owned()),
        }
    }

    fn memoize(&mut self, size: usize) -> Step<()> {
        let index = self.number(size)?;
        self.memoize_as(index)
    }

    fn memoize_as(&mut self, index: u64) -> Step<()> {
        let top = *self.stack.last().ok_or("empty stack")?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, size: usize) -> Step<()> {
        let index = self.number(size)?;
        let value = *self.memo.get(&index).ok_or("unknown memo entry")?;
        self.push(value);
        Ok(())
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

    /// The known functions, as data.
    fn call(&mut self, callable: Value, arguments: Value) -> Value {
        let Value::Global(global) = callable else {
            return Value::Opaque;
        };
        let arguments = self.tuple(arguments);
        if arguments.len() > ARGUMENT_LIMIT {
            return Value::Opaque;
        }
        match (global, arguments) {
            (Global::OrderedDict, []) => Value::Dict(self.add(Object::Items(Vec::new()))),
            (Global::RebuildParameter, [data, ..]) => *data,
            (Global::Size, [tuple @ Value::Tuple(_)]) => *tuple,
            (
                Global::RebuildTensor,
                [
                    Value::Storage(storage),
                    Value::Int(offset),
                    shape,
                    strides,
                    ..,
                ],
            ) => match self.rebuild_tensor(*storage, *offset, *shape, *strides) {
                Some(view) => Value::Tensor(self.add(Object::View(view))),
                None => Value::Opaque,
            },
            _ => Value::Opaque,
        }
    }

    fn rebuild_tensor(
        &self,
        storage: usize,
        offset: i64,
        shape: Value,
        strides: Value,
    ) -> Option<View> {
        let sizes = |value| -> Option<Vec<usize>> {
            let items = self.tuple(value);
            let size = |item: &Value| match item {
                Value::Int(n) => usize::try_from(*n).ok(),
                _ => None,
            };
            let is_short = items.len() <= RANK_LIMIT;
            is_short.then(|| items.iter().map(size).collect())?
        };
        let view = View {
            storage,
            offset: usize::try_from(offset).ok()?,
            shape: sizes(shape)?,
            strides: sizes(strides)?,
        };
        (view.shape.len() == view.strides.len()).then_some(view)
    }

    /// `('storage', type, key, location, elements)`, in older files with a sixth item that is `None`.
    fn persistent(&mut self, id: Value) -> Value {
        let (Value::Tuple(_), [kind, element, key, _, Value::Int(_), rest @ ..]) =
            (id, self.tuple(id))
        else {
            return Value::Opaque;
        };
        let is_storage = text(self.bytes, *kind) == Some("storage");
        match (element, text(self.bytes, *key), rest) {
            (Value::Global(Global::Storage(element)), Some(key), [] | [Value::None])
                if is_storage =>
            {
                let storage = Storage {
                    element: *element,
                    key: key.to_owned(),
                };
                Value::Storage(self.add(Object::Storage(storage)))
            }
            _ => Value::Opaque,
        }
    }
}
