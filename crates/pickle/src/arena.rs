//! Values, and where they live.

use crate::error::Reason;

/// A value; composite ones by their place in an [`Arena`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<M> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number of up to 64 bits.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text. Its bytes are UTF-8, but for the lone surrogates that Python allows.
    Text(Span),
    /// Bytes.
    Bytes(Span),
    /// A `str` of Python 2: text to some programs and bytes to others.
    OldString(Span),
    /// A tuple.
    Tuple(Items),
    /// A list.
    List(u32),
    /// A dictionary.
    Dict(u32),
    /// What the reader made.
    Made(M),
    /// Something that only running code could make, or a number of more than 64 bits.
    Opaque,
}

/// A place in the pickle, or behind it in what was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// `len` bytes from `start`; `None` beyond 4 GiB.
    pub(crate) fn new(start: usize, len: usize) -> Option<Self> {
        let start = u32::try_from(start).ok()?;
        let len = u32::try_from(len).ok()?;
        Some(Self { start, len })
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether there are no bytes.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// The items of a tuple, by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items {
    start: u32,
    len: u32,
}

/// Everything that a pickle built.
#[derive(Debug)]
pub struct Arena<'a, M> {
    pickle: &'a [u8],
    /// What escapes and codecs stood for; its first byte has the place behind the pickle's last.
    decoded: Vec<u8>,
    /// Bytes that [`Self::latin1`] decoded.
    latin1_bytes: usize,
    /// The items of all tuples. They never change, so that they need no room to grow.
    tuples: Vec<Value<M>>,
    /// Items of a list; keys and values of a dictionary in turn.
    containers: Vec<Vec<Value<M>>>,
}

impl<'a, M: Copy> Arena<'a, M> {
    pub(crate) fn new(pickle: &'a [u8]) -> Self {
        Self {
            pickle,
            decoded: Vec::new(),
            latin1_bytes: 0,
            tuples: Vec::new(),
            containers: Vec::new(),
        }
    }

    /// The bytes at a place.
    pub fn bytes(&self, span: Span) -> &[u8] {
        let (start, len) = (span.start as usize, span.len());
        let (from, start) = match start.checked_sub(self.pickle.len()) {
            None => (self.pickle, start),
            Some(start) => (self.decoded.as_slice(), start),
        };
        from.get(start..start + len).unwrap_or_default()
    }

    /// A text, or a string of Python 2, that is UTF-8.
    pub fn text(&self, value: Value<M>) -> Option<&str> {
        match value {
            Value::Text(span) | Value::OldString(span) => {
                std::str::from_utf8(self.bytes(span)).ok()
            }
            _ => None,
        }
    }

    /// The bytes of a text, of bytes, or of a string of Python 2.
    pub fn raw(&self, value: Value<M>) -> Option<&[u8]> {
        match value {
            Value::Text(span) | Value::Bytes(span) | Value::OldString(span) => {
                Some(self.bytes(span))
            }
            _ => None,
        }
    }

    /// The items of a tuple.
    pub fn tuple(&self, value: Value<M>) -> Option<&[Value<M>]> {
        let Value::Tuple(Items { start, len }) = value else {
            return None;
        };
        let (start, len) = (start as usize, len as usize);
        self.tuples.get(start..start + len)
    }

    /// The items of a list.
    pub fn list(&self, value: Value<M>) -> Option<&[Value<M>]> {
        match value {
            Value::List(id) => Some(self.container(id)),
            _ => None,
        }
    }

    /// Keys and values of a dictionary in the order in which they were set. A key may be there more than once; to
    /// Python the last one counts.
    pub fn entries(
        &self,
        value: Value<M>,
    ) -> Option<impl DoubleEndedIterator<Item = (Value<M>, Value<M>)>> {
        let Value::Dict(id) = value else { return None };
        let pairs = self.container(id).chunks_exact(2);
        Some(pairs.map(|pair| (pair[0], pair[1])))
    }

    fn container(&self, id: u32) -> &[Value<M>] {
        self.containers.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// A new dictionary, of keys and values in turn.
    pub fn new_dict(&mut self, items: Vec<Value<M>>) -> Result<Value<M>, Reason> {
        if !items.len().is_multiple_of(2) {
            return Err("a key without a value".into());
        }
        self.add_container(items).map(Value::Dict)
    }

    pub(crate) fn new_list(&mut self, items: Vec<Value<M>>) -> Result<Value<M>, Reason> {
        self.add_container(items).map(Value::List)
    }

    fn add_container(&mut self, items: Vec<Value<M>>) -> Result<u32, Reason> {
        let id = u32::try_from(self.containers.len()).map_err(|_| "too many containers")?;
        self.containers.push(items);
        Ok(id)
    }

    pub(crate) fn new_tuple(&mut self, items: &[Value<M>]) -> Result<Value<M>, Reason> {
        let place = |n| u32::try_from(n).map_err(|_| "too many items");
        let (start, len) = (place(self.tuples.len())?, place(items.len())?);
        self.tuples.extend_from_slice(items);
        Ok(Value::Tuple(Items { start, len }))
    }

    /// Adds items to the list, or keys and values to the dictionary, with the number `id`.
    pub(crate) fn extend(&mut self, id: u32, items: &[Value<M>]) {
        if let Some(own) = self.containers.get_mut(id as usize) {
            own.extend_from_slice(items);
        }
    }

    /// The place of bytes that do not stand in the pickle as they are.
    pub(crate) fn add_decoded(&mut self, bytes: &[u8]) -> Result<Span, Reason> {
        let start = self.pickle.len() + self.decoded.len();
        let span = Span::new(start, bytes.len()).ok_or("more than 4 GiB")?;
        self.decoded.extend_from_slice(bytes);
        Ok(span)
    }

    /// `_codecs.encode(text, codec)` for Latin-1: how Python 3 writes bytes in protocols 0 to 2. `None` for another
    /// codec. All together no more bytes are decoded than the pickle has, so that a text that is decoded again and
    /// again costs no more than one that is there once.
    pub fn latin1(&mut self, text: Value<M>, codec: Value<M>) -> Result<Option<Value<M>>, Reason> {
        let Value::Text(span) = text else {
            return Ok(None);
        };
        if !matches!(self.raw(codec), Some(b"latin1" | b"latin-1")) {
            return Ok(None);
        }
        self.latin1_bytes += span.len();
        if self.latin1_bytes > self.pickle.len() {
            return Err("more bytes decoded than the pickle has".into());
        }
        let text = std::str::from_utf8(self.bytes(span)).map_err(|_| "a text that is not UTF-8")?;
        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
        let bytes = bytes.ok_or("a character that is no byte")?;
        Ok(Some(Value::Bytes(self.add_decoded(&bytes)?)))
    }

    /// `bytes()`: how Python 3 writes no bytes in protocols 0 to 2.
    pub fn no_bytes(&self) -> Value<M> {
        Value::Bytes(Span { start: 0, len: 0 })
    }
}
