//! The stack machine itself: one opcode at a time.

use crate::arena::{Arena, Span, Value};
use crate::error::{Error, Reason};
use crate::line;
use crate::meaning::{Call, Foreign, How, Meaning, Name};
use crate::memo::Memo;
use crate::opcode;

/// What a pickle built.
#[derive(Debug)]
pub struct Built<'a, M> {
    /// All values.
    pub arena: Arena<'a, M>,
    /// The value on top of the stack at the end.
    pub root: Value<M>,
    /// Bytes up to and including the final opcode.
    pub len_bytes: usize,
}

/// Runs the pickle at the start of `bytes`, as `meaning` understands it.
pub fn read<'a, M: Meaning>(bytes: &'a [u8], meaning: &mut M) -> Result<Built<'a, M::Made>, Error> {
    let mut machine = Machine {
        bytes,
        at: 0,
        offset: 0,
        meaning,
        arena: Arena::new(bytes),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Memo::new(),
    };
    let stopped = |offset, reason| Error { offset, reason };
    for _ in 0..M::OPCODE_LIMIT {
        machine.offset = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => {
                return Ok(Built {
                    root,
                    len_bytes: machine.at,
                    arena: machine.arena,
                });
            }
            Err(reason) => return Err(stopped(machine.offset, reason)),
        }
    }
    Err(stopped(machine.at, Reason::Opcodes(M::OPCODE_LIMIT)))
}

/// A machine on its way through a pickle.
struct Machine<'a, 'm, M: Meaning> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of the opcode that is being executed.
    offset: usize,
    meaning: &'m mut M,
    arena: Arena<'a, M::Made>,
    stack: Vec<Value<M::Made>>,
    marks: Vec<usize>,
    memo: Memo<M::Made>,
}

type Step<T> = Result<T, Reason>;

/// Makes a container of its items.
type Make<'a, M> = fn(&mut Arena<'a, M>, Vec<Value<M>>) -> Step<Value<M>>;

const UNEXPECTED_END: Reason = Reason::Malformed("unexpected end");

impl<'a, M: Meaning> Machine<'a, '_, M> {
    /// Executes one opcode; the root at the end of the program.
    fn step(&mut self) -> Step<Option<Value<M::Made>>> {
        let opcode = self.number(1)? as u8;
        if opcode == b'.' {
            return self.pop().map(Some);
        }
        let name = opcode::name(opcode).ok_or(Reason::UnknownOpcode(opcode))?;
        if M::FOREIGN == Foreign::Refused && !opcode::is_plain(opcode) {
            return Err(Reason::Opcode(name));
        }
        let is_known = self.atom(opcode)?
            || self.container(opcode)?
            || self.stack_or_memo(opcode)?
            || self.object(opcode, name)?;
        if is_known {
            Ok(None)
        } else {
            Err(Reason::Opcode(name))
        }
    }

    /// Values without parts. Like the three below, says whether the opcode was one of its own.
    fn atom(&mut self, opcode: u8) -> Step<bool> {
        let value = match opcode {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(self.number(1)? as i64),
            b'M' => Value::Int(self.number(2)? as i64),
            b'J' => Value::Int(i64::from(self.number(4)? as u32 as i32)),
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            // The one number that is big-endian.
            b'G' => Value::Float(f64::from_bits(self.number(8)?.swap_bytes())),
            b'I' => line::int(self.line()?).ok_or("no whole number")?,
            b'L' => line::long(self.line()?).ok_or("no whole number")?,
            b'F' => line::float(self.line()?).ok_or("no number")?,
            0x8c => Value::Text(self.sized(1)?),
            b'X' => Value::Text(self.sized(4)?),
            0x8d => Value::Text(self.sized(8)?),
            b'V' => {
                let text = line::unicode(self.line()?).ok_or("no text")?;
                Value::Text(self.arena.add_decoded(&text)?)
            }
            b'C' => Value::Bytes(self.sized(1)?),
            b'B' => Value::Bytes(self.sized(4)?),
            0x8e | 0x96 => Value::Bytes(self.sized(8)?),
            b'U' => Value::OldString(self.sized(1)?),
            b'T' => Value::OldString(self.sized(4)?),
            b'S' => {
                let string = line::string(self.line()?).ok_or("no string")?;
                Value::OldString(self.arena.add_decoded(&string)?)
            }
            _ => return Ok(false),
        };
        self.stack.push(value);
        Ok(true)
    }

    /// Tuples, lists, dictionaries, sets.
    fn container(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b')' => self.push_tuple(0)?,
            0x85..=0x87 => self.push_tuple(usize::from(opcode - 0x84))?,
            b't' => {
                let items = self.pop_mark()?;
                let tuple = self.arena.new_tuple(&items)?;
                self.stack.push(tuple);
            }
            b']' => self.push_container(Vec::new(), Arena::new_list)?,
            b'}' => self.push_container(Vec::new(), Arena::new_dict)?,
            b'l' => {
                let items = self.pop_mark()?;
                self.push_container(items, Arena::new_list)?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                self.push_container(items, Arena::new_dict)?;
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
            // Sets: made, filled, made from a mark.
            0x8f => self.stack.push(Value::Opaque),
            0x90 => self.pop_mark().map(drop)?,
            0x91 => {
                self.pop_mark()?;
                self.stack.push(Value::Opaque);
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
                let top = self.top()?;
                self.stack.push(top);
            }
            b'q' | b'r' => {
                let number = self.number(if opcode == b'q' { 1 } else { 4 })?;
                self.memoize(number)?;
            }
            b'p' => {
                let number = self.line_number()?;
                self.memoize(number)?;
            }
            0x94 => self.memoize(self.memo.len())?,
            b'h' | b'j' => {
                let number = self.number(if opcode == b'h' { 1 } else { 4 })?;
                self.recall(number)?;
            }
            b'g' => {
                let number = self.line_number()?;
                self.recall(number)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Names, calls, objects and what persistent ids stand for.
    fn object(&mut self, opcode: u8, name: &'static str) -> Step<bool> {
        let value = match opcode {
            b'c' => {
                let known = self.name_in_lines()?;
                self.named(known)?
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (module, name) {
                    (
                        Value::Text(module) | Value::OldString(module),
                        Value::Text(name) | Value::OldString(name),
                    ) => self.named(Name { module, name })?,
                    _ => Self::foreign("a name that is no text")?,
                }
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments, How::Function, name)?
            }
            0x81 => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.call(class, arguments, How::Class, name)?
            }
            0x92 => {
                let _keywords = self.pop()?;
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.call(class, arguments, How::Class, name)?
            }
            b'i' => {
                let class = self.name_in_lines()?;
                let class = self.named(class)?;
                let arguments = self.pop_mark()?;
                let arguments = self.arena.new_tuple(&arguments)?;
                self.call(class, arguments, How::Class, name)?
            }
            b'o' => {
                let items = self.pop_mark()?;
                let (&class, arguments) = items.split_first().ok_or("an object of no class")?;
                let arguments = self.arena.new_tuple(arguments)?;
                self.call(class, arguments, How::Class, name)?
            }
            b'P' => {
                let id = Value::Text(self.line_place()?);
                self.persistent(id)?
            }
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)?
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

    /// What becomes of something that the reader does not know.
    fn foreign(reason: &'static str) -> Step<Value<M::Made>> {
        match M::FOREIGN {
            Foreign::Opaque => Ok(Value::Opaque),
            Foreign::Refused => Err(reason.into()),
        }
    }

    fn named(&mut self, name: Name) -> Step<Value<M::Made>> {
        match self.meaning.name(&self.arena, name) {
            Some(made) => Ok(Value::Made(made)),
            None if M::FOREIGN == Foreign::Opaque => Ok(Value::Opaque),
            None => Err(Reason::Name(name.display(&self.arena))),
        }
    }

    fn call(
        &mut self,
        callable: Value<M::Made>,
        arguments: Value<M::Made>,
        how: How,
        opcode: &'static str,
    ) -> Step<Value<M::Made>> {
        let Value::Made(callable) = callable else {
            return Self::foreign("a call of what is no name");
        };
        let call = Call {
            callable,
            arguments,
            how,
            opcode,
            offset: self.offset,
        };
        match self.meaning.call(&mut self.arena, call)? {
            Some(value) => Ok(value),
            None => Self::foreign("a call that is not known"),
        }
    }

    /// The state of the object on top of the stack, which stays there.
    fn build(&mut self, state: Value<M::Made>) -> Step<()> {
        let taken = match self.stack.last() {
            Some(&Value::Made(object)) => self.meaning.build(&mut self.arena, object, state)?,
            _ => None,
        };
        match taken {
            Some(()) => Ok(()),
            None => Self::foreign("a state that is not known").map(drop),
        }
    }

    fn persistent(&mut self, id: Value<M::Made>) -> Step<Value<M::Made>> {
        match self.meaning.persistent(&mut self.arena, id) {
            Some(value) => Ok(value),
            None => Self::foreign("a persistent id that is not known"),
        }
    }

    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or(UNEXPECTED_END)?;
        self.at += count;
        Ok(taken)
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, size: usize) -> Step<u64> {
        let bytes = self.take(size)?.iter().rev();
        Ok(bytes.fold(0, |n, &byte| (n << 8) | u64::from(byte)))
    }

    /// A number of any length behind its length of `size` bytes.
    fn long(&mut self, size: usize) -> Step<Value<M::Made>> {
        let len = usize::try_from(self.number(size)?).map_err(|_| UNEXPECTED_END)?;
        let bytes = self.take(len)?;
        if bytes.len() > 8 {
            return Ok(Value::Opaque);
        }
        let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let fill = if is_negative { -1i64 } else { 0 };
        let bytes = bytes.iter().rev();
        Ok(Value::Int(
            bytes.fold(fill, |n, &byte| (n << 8) | i64::from(byte)),
        ))
    }

    /// The place of a text or bytes behind a length of `size` bytes.
    fn sized(&mut self, size: usize) -> Step<Span> {
        let len = usize::try_from(self.number(size)?).map_err(|_| UNEXPECTED_END)?;
        let start = self.at;
        self.take(len)?;
        Ok(Span::new(start, len).ok_or("a place beyond 4 GiB")?)
    }

    /// The place of the rest of the line.
    fn line_place(&mut self) -> Step<Span> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut bytes = rest.iter();
        let len = bytes.position(|&b| b == b'\n').ok_or(UNEXPECTED_END)?;
        let start = self.at;
        self.take(len + 1)?;
        Ok(Span::new(start, len).ok_or("a place beyond 4 GiB")?)
    }

    fn line(&mut self) -> Step<&'a [u8]> {
        let start = self.at;
        let len = self.line_place()?.len();
        let line = self.bytes.get(start..start + len);
        Ok(line.unwrap_or_default())
    }

    fn line_number(&mut self) -> Step<u64> {
        Ok(line::number(self.line()?).ok_or("no number of the memo")?)
    }

    fn name_in_lines(&mut self) -> Step<Name> {
        Ok(Name {
            module: self.line_place()?,
            name: self.line_place()?,
        })
    }

    /// The top value above the last mark.
    fn pop(&mut self) -> Step<Value<M::Made>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "empty stack".into())
    }

    fn top(&self) -> Step<Value<M::Made>> {
        Ok(*self.stack.last().ok_or("empty stack")?)
    }

    fn pop_mark(&mut self) -> Step<Vec<Value<M::Made>>> {
        let mark = self.marks.pop().ok_or("no mark on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn memoize(&mut self, number: u64) -> Step<()> {
        let top = self.top()?;
        self.memo.set(number, top);
        Ok(())
    }

    fn recall(&mut self, number: u64) -> Step<()> {
        let value = self.memo.get(number).ok_or("unknown memo entry")?;
        self.stack.push(value);
        Ok(())
    }

    fn push_tuple(&mut self, count: usize) -> Step<()> {
        let mut items = [Value::None; 3];
        for item in items[..count].iter_mut().rev() {
            *item = self.pop()?;
        }
        let tuple = self.arena.new_tuple(&items[..count])?;
        self.stack.push(tuple);
        Ok(())
    }

    fn push_container(&mut self, items: Vec<Value<M::Made>>, make: Make<'a, M::Made>) -> Step<()> {
        let value = make(&mut self.arena, items)?;
        self.stack.push(value);
        Ok(())
    }

    /// Adds `items` to the list, or keys and values to the dictionary, on top of the stack.
    fn extend(&mut self, items: &[Value<M::Made>], are_pairs: bool) -> Step<()> {
        if are_pairs && !items.len().is_multiple_of(2) {
            return Err("a key without a value".into());
        }
        match self.stack.last() {
            Some(&Value::List(id)) if !are_pairs => self.arena.extend(id, items),
            Some(&Value::Dict(id)) if are_pairs => self.arena.extend(id, items),
            // What it is nobody knows; it may have items.
            Some(Value::Opaque) => {}
            _ => return Err("items for what is no container".into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
