//! Chunks of Arrow batches, which litData writes since 0.2.74 where no value is a medium, a tensor or the like: images as
//! `bytes` are in them too.
//!
//! ```text
//! u32 n | u32 offsets[n + 1], all of them the end of this table
//! an Arrow IPC file: "ARROW1\0\0" | schema | batches | end of the stream | footer | u32 its length | "ARROW1"
//! u32 length of the Arrow IPC file | "LDARW01\0"
//! ```
//!
//! The file is read as the stream that its first part is. The crate `arrow-ipc` decodes the batches. It makes room for what a
//! compressed buffer says it holds, and finds buffers by numbers that it takes from the chunk, so these are
//! checked before, and its panics are errors.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch, StructArray};
use arrow_buffer::Buffer;
use arrow_ipc::reader::read_record_batch;
use arrow_ipc::{Message, MessageHeader, MetadataVersion};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::caught::caught;
use crate::input::Input;
use crate::packed::MAX_LEN_BYTES;
use crate::row::{self, Budget, Cell};
use crate::{Problem, Result};

/// What the batches begin with.
const MAGIC: &[u8; 8] = b"ARROW1\0\0";

/// What the chunk ends with.
const TRAILER: &[u8; 8] = b"LDARW01\0";

/// Longest description of a schema or a batch.
const MAX_MESSAGE_LEN_BYTES: u64 = 16 << 20;

/// Most values of a batch for each of its bytes, and each of its rows: truth values take an eighth of one.
const MAX_PER_BYTE: u64 = 64;

/// The values of a row by their names, or what is wrong with them.
pub(super) type Row = Result<Vec<(String, Cell)>, Problem>;

/// Reads the rows of a chunk in order.
#[derive(Debug)]
pub(super) struct Batches {
    pub(super) input: Input,
    /// Where the Arrow file begins.
    start: u64,
    count: u64,
    row: u64,
    schema: SchemaRef,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    at: usize,
    /// Where the batch is in the chunk.
    offset: u64,
}

/// What a message is about, and the bytes that follow it.
struct Encapsulated {
    offset: u64,
    message: Vec<u8>,
    body: Buffer,
}

impl Batches {
    /// Reads the schema of a chunk of `count` rows whose offsets have been read.
    pub(super) fn new(mut input: Input, count: u64) -> Result<Self> {
        let start = input.position();
        let mut magic = [0; MAGIC.len()];
        if !input.fill(&mut magic)? {
            return Err(input.damaged(start, None, Problem::Truncated));
        }
        if magic != *MAGIC {
            let problem = Problem::Head {
                what: "it has items without bytes, and no Arrow batches that hold them",
            };
            return Err(input.damaged(start, None, problem));
        }
        let Some(first) = next_message(&mut input)? else {
            return Err(input.damaged(start, None, no_schema()));
        };
        let schema = schema(&first.message)
            .map_err(|problem| input.damaged(first.offset, Some("schema".to_owned()), problem))?;
        Ok(Self {
            offset: input.position(),
            input,
            start,
            count,
            row: 0,
            schema,
            batch: None,
            at: 0,
        })
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Number of the next row.
    pub(super) fn row(&self) -> u64 {
        self.row
    }

    /// Where the batch of the row that was read last is.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next row.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>> {
        let batch = loop {
            match &self.batch {
                Some(batch) if self.at < batch.num_rows() => break batch,
                _ => {}
            }
            let Some(batch) = self.next_batch()? else {
                return Ok(None);
            };
            self.at = 0;
            self.batch = Some(batch);
        };
        let row = self.at;
        let mut budget = Budget::new(&self.input.limits);
        let cells = self.schema.fields().iter().zip(batch.columns());
        let cells = cells
            .map(|(field, column)| Ok((field.name().clone(), cell(column, row, &mut budget)?)))
            .collect();
        self.at += 1;
        self.row += 1;
        Ok(Some(cells))
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(next) = next_message(&mut self.input)? else {
            return self.check_end().map(|()| None);
        };
        self.offset = next.offset;
        let left = self.count - self.row;
        let batch = decode(&next, &self.schema, left).map_err(|problem| {
            let member = Some(format!("batch of the rows from {} on", self.row));
            self.input.damaged(next.offset, member, problem)
        })?;
        Ok(Some(batch))
    }

    /// Checks what follows the last batch.
    fn check_end(&mut self) -> Result<()> {
        let here = self.input.position();
        if self.row < self.count {
            let problem = Problem::Head {
                what: "it has fewer rows than offsets",
            };
            return Err(self.input.damaged(here, None, problem));
        }
        let mut end = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let len = self.input.fill_or_end(&mut piece)?;
            // Only the last bytes say something.
            end.extend_from_slice(&piece[..len]);
            let before = end.len().saturating_sub(piece.len());
            end.drain(..before);
            if len < piece.len() {
                break;
            }
        }
        let all = self.input.position();
        let file_len = all - self.start - 12;
        let expected = [&(file_len as u32).to_le_bytes()[..], TRAILER].concat();
        if !end.ends_with(&expected) {
            return Err(self.input.damaged(all, None, Problem::Truncated));
        }
        Ok(())
    }
}

/// The next message of the stream, unless it has ended.
fn next_message(input: &mut Input) -> Result<Option<Encapsulated>> {
    let offset = input.position();
    let mut head = [0; 8];
    if !input.fill(&mut head)? {
        return Err(input.damaged(offset, None, Problem::Truncated));
    }
    let [a, b, c, d, len @ ..] = head;
    if [a, b, c, d] != [0xff; 4] {
        return Err(input.damaged(offset, None, malformed("no message begins here")));
    }
    let len = u64::from(u32::from_le_bytes(len));
    if len == 0 {
        return Ok(None);
    }
    let limited = |what, value, limit| Problem::Limit { what, value, limit };
    if len > MAX_MESSAGE_LEN_BYTES {
        let problem = limited("the length of a message", len, MAX_MESSAGE_LEN_BYTES);
        return Err(input.damaged(offset, None, problem));
    }
    let Some(message) = input.next_bytes(len)? else {
        return Err(input.damaged(offset, None, Problem::Truncated));
    };
    let body_len = match parse(&message) {
        Ok(message) => u64::try_from(message.bodyLength()).unwrap_or(u64::MAX),
        Err(problem) => return Err(input.damaged(offset, None, problem)),
    };
    if body_len > MAX_LEN_BYTES {
        let problem = limited("the length of a batch in bytes", body_len, MAX_LEN_BYTES);
        return Err(input.damaged(offset, None, problem));
    }
    let Some(body) = input.next_bytes(body_len)? else {
        return Err(input.damaged(offset, None, Problem::Truncated));
    };
    Ok(Some(Encapsulated {
        offset,
        message,
        body: Buffer::from_vec(body),
    }))
}

fn parse(message: &[u8]) -> Result<Message<'_>, Problem> {
    arrow_ipc::root_as_message(message).map_err(|error| malformed(&error.to_string()))
}

fn malformed(words: &str) -> Problem {
    Problem::Arrow(ArrowError::IpcError(words.to_owned()))
}

fn no_schema() -> Problem {
    malformed("there is no schema before the batches")
}

fn schema(message: &[u8]) -> Result<SchemaRef, Problem> {
    let message = parse(message)?;
    let schema = message.header_as_schema().ok_or_else(no_schema)?;
    let schema = caught(|| arrow_ipc::convert::try_fb_to_schema(schema));
    let schema = schema.map_err(|words| malformed(&words))?;
    Ok(schema.map_err(Problem::Arrow)?.into())
}

/// The batch of at most `left` rows that `next` is.
fn decode(next: &Encapsulated, schema: &SchemaRef, left: u64) -> Result<RecordBatch, Problem> {
    let message = parse(&next.message)?;
    if message.header_type() == MessageHeader::DictionaryBatch {
        let what = "a chunk of Arrow batches with dictionaries";
        return Err(Problem::Unsupported { what });
    }
    let batch = message
        .header_as_record_batch()
        .ok_or_else(|| malformed("this message is no batch"))?;
    check(batch, &next.body, left)?;
    let version = MetadataVersion(message.version().0);
    let decoded = caught(|| {
        read_record_batch(
            &next.body,
            batch,
            SchemaRef::clone(schema),
            &HashMap::new(),
            None,
            &version,
        )
    });
    let decoded = decoded.map_err(|words| malformed(&words))?;
    decoded.map_err(Problem::Arrow)
}

/// Checks that the numbers in a batch can be true.
fn check(batch: arrow_ipc::RecordBatch<'_>, body: &[u8], left: u64) -> Result<(), Problem> {
    let number = |n: i64| u64::try_from(n).map_err(|_| malformed("a length is negative"));
    let rows = number(batch.length())?;
    if rows > left {
        let what = "it has more rows than offsets";
        return Err(Problem::Head { what });
    }
    let mut len_bytes = 0u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let (start, len) = (number(buffer.offset())?, number(buffer.length())?);
        let end = start.saturating_add(len);
        if end > body.len() as u64 {
            return Err(malformed("a buffer ends behind its batch"));
        }
        let bytes = &body[start as usize..end as usize];
        let held = match (batch.compression(), bytes.first_chunk()) {
            (None, _) => len,
            (Some(_), None) => 0,
            // How long a compressed buffer is stands before it, -1 where it is not.
            (Some(_), Some(said)) => match i64::from_le_bytes(*said) {
                -1 => len,
                said => number(said)?,
            },
        };
        len_bytes = len_bytes.saturating_add(held);
    }
    if len_bytes > MAX_LEN_BYTES {
        return Err(Problem::Limit {
            what: "the length of a batch in bytes, decompressed",
            value: len_bytes,
            limit: MAX_LEN_BYTES,
        });
    }
    // Columns of nothing have no bytes.
    let limit = (rows + len_bytes).saturating_mul(MAX_PER_BYTE);
    let mut value = 0u64;
    for node in batch.nodes().into_iter().flatten() {
        value = value.saturating_add(number(node.length())?);
        if value > limit {
            let what = "the number of values of a batch";
            return Err(Problem::Limit { what, value, limit });
        }
    }
    Ok(())
}

/// What a sample holds of the value in `row`.
fn cell(column: &dyn Array, row: usize, budget: &mut Budget) -> Result<Cell, Problem> {
    if column.is_null(row) {
        return Ok(Cell::Value(Value::Null));
    }
    if let Some(bytes) = binary(column, row) {
        return Ok(Cell::Bytes(bytes));
    }
    match column.as_struct_opt() {
        Some(fields) if fields.column_by_name("bytes").is_some_and(is_binary) => {
            image(fields, row, budget)
        }
        _ => Ok(value(column, row, budget)?.map_or(Cell::Other, Cell::Value)),
    }
}

/// A struct of the bytes and the path of a file, as `datasets` gives images.
fn image(fields: &StructArray, row: usize, budget: &mut Budget) -> Result<Cell, Problem> {
    let field = |name| {
        let column = fields.column_by_name(name)?;
        (!column.is_null(row)).then_some(column)
    };
    let bytes = field("bytes").and_then(|column| binary(column, row));
    let path = field("path").map(|column| value(column, row, budget));
    let path = match path.transpose()?.flatten() {
        Some(Value::String(path)) => Some(path),
        _ => None,
    };
    Ok(Cell::file(bytes, path))
}

fn is_binary(column: &std::sync::Arc<dyn Array>) -> bool {
    matches!(column.data_type(), DataType::Binary | DataType::LargeBinary)
}

/// The bytes in `row` of a binary column.
fn binary(column: &dyn Array, row: usize) -> Option<Bytes> {
    let bytes = match column.data_type() {
        DataType::Binary => column.as_binary::<i32>().value(row),
        DataType::LargeBinary => column.as_binary::<i64>().value(row),
        _ => return None,
    };
    Some(Bytes::copy_from_slice(bytes))
}

/// The value in `row` as JSON; `None` where JSON has no such value, or Python's values do not become such a column.
fn value(column: &dyn Array, row: usize, budget: &mut Budget) -> Result<Option<Value>, Problem> {
    budget.spend(0)?;
    if column.is_null(row) {
        return Ok(Some(Value::Null));
    }
    let mut text = |text: &str| {
        budget.spend(text.len())?;
        Ok(Value::from(text))
    };
    Ok(Some(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float16 => row::float(column.as_primitive::<Float16Type>().value(row).into()),
        DataType::Float32 => row::float(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => row::float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => text(column.as_string::<i32>().value(row))?,
        DataType::LargeUtf8 => text(column.as_string::<i64>().value(row))?,
        DataType::List(_) => return list(&column.as_list::<i32>().value(row), budget),
        DataType::LargeList(_) => return list(&column.as_list::<i64>().value(row), budget),
        DataType::Struct(fields) => {
            let mut object = Map::new();
            for (field, column) in fields.iter().zip(column.as_struct().columns()) {
                budget.spend(field.name().len())?;
                let Some(value) = value(column, row, budget)? else {
                    return Ok(None);
                };
                object.insert(field.name().clone(), value);
            }
            Value::Object(object)
        }
        _ => return Ok(None),
    }))
}

fn list(items: &dyn Array, budget: &mut Budget) -> Result<Option<Value>, Problem> {
    let mut values = Vec::new();
    for at in 0..items.len() {
        let Some(value) = value(items, at, budget)? else {
            return Ok(None);
        };
        values.push(value);
    }
    Ok(Some(Value::Array(values)))
}
