//! Samples to rows.

use std::mem;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};
use serde_json::{Value, json};
use sightline_core::{Metadata, ObjectSink, Sample};

use super::{Column, Kind};
use crate::format::{ShardSummary, ShardWriter};
use crate::members::{self, CAPTIONS};
use crate::output::{Digesting, Ledger};
use crate::row::{self, IMAGE, JSON, KEY, is_special};
use crate::{Error, Result, python_json};

/// Most rows of a row group.
const MAX_ROWS: usize = 1000;
/// Bytes of images and texts after which a row group is written.
const MAX_LEN_BYTES: usize = 32 << 20;
/// Most fields of the metadata that have a column.
const MAX_FIELDS: usize = 200;

/// Writes samples as rows.
pub(super) struct Writer<'a> {
    state: State<'a>,
    ledger: Ledger,
    rows: Vec<Sample>,
    len_bytes: usize,
}

/// The columns are known when the first row group is written, if none are given.
enum State<'a> {
    Begun(Digesting<'a>, Option<Arc<[Column]>>),
    Open(Box<SerializedFileWriter<Digesting<'a>>>, Arc<[Column]>),
    Failed,
}

impl<'a> Writer<'a> {
    /// With `columns`, or those that fit the first rows.
    pub(super) fn create(
        sink: &'a mut dyn ObjectSink,
        name: &str,
        columns: Option<Arc<[Column]>>,
    ) -> Result<Self> {
        Ok(Self {
            state: State::Begun(Digesting::create(sink, name)?, columns),
            ledger: Ledger::new(name),
            rows: Vec::new(),
            len_bytes: 0,
        })
    }

    /// Writes the rows so far as a row group.
    fn flush(&mut self) -> Result<()> {
        let rows = mem::take(&mut self.rows);
        self.len_bytes = 0;
        let (mut writer, fields) = match mem::replace(&mut self.state, State::Failed) {
            State::Begun(out, columns) => {
                let fields = columns.unwrap_or_else(|| fields(&rows).into());
                let opened = open(out, &fields);
                (Box::new(self.ledger.wrote(opened.map_err(io))?), fields)
            }
            State::Open(writer, fields) => (writer, fields),
            State::Failed => return self.ledger.check(),
        };
        if !rows.is_empty() {
            let wrote = write_group(&mut writer, &fields, &rows);
            self.ledger.wrote(wrote.map_err(io))?;
        }
        self.state = State::Open(writer, fields);
        Ok(())
    }
}

impl ShardWriter for Writer<'_> {
    fn write(&mut self, sample: &Sample) -> Result<()> {
        self.ledger.check()?;
        let limits = self.ledger.limits;
        row::check_lens(sample, &self.ledger.shard, &limits)?;
        let json = python_json::to_line(&sample.meta).len();
        members::check_len(
            &self.ledger.shard,
            sample.key.as_str(),
            json as u64,
            limits.text_len_bytes,
        )?;
        self.ledger.admit(&sample.key)?;
        let image = sample.image.as_ref().map_or(0, |image| image.bytes.len());
        let captions: usize = sample.captions.iter().map(String::len).sum();
        self.len_bytes += image + captions + json;
        self.rows.push(sample.clone());
        if self.rows.len() >= MAX_ROWS || self.len_bytes >= MAX_LEN_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<ShardSummary> {
        self.ledger.check()?;
        self.flush()?;
        let State::Open(writer, _) = self.state else {
            return Err(Error::WriterFailed {
                shard: self.ledger.shard,
            });
        };
        let out = self.ledger.wrote(writer.into_inner().map_err(io))?;
        out.commit(&self.ledger)
    }
}

/// What the engine reports when writing is an error of what is below it.
fn io(error: ParquetError) -> std::io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => *source,
            Err(source) => std::io::Error::other(source),
        },
        error => std::io::Error::other(error),
    }
}

/// The fields of `rows` that have a column, in the order in which they first occur.
fn fields(rows: &[Sample]) -> Vec<Column> {
    let mut found: Vec<(&str, Option<Kind>, bool)> = Vec::new();
    for (name, value) in rows.iter().flat_map(|row| &row.meta) {
        let kind = Kind::of(value);
        let is_other = kind.is_none() && !value.is_null();
        let is_full = found.len() == MAX_FIELDS;
        match found.iter_mut().find(|(known, ..)| known == name) {
            Some((_, known, is_mixed)) => {
                *is_mixed |= is_other || (known.is_some() && kind.is_some() && *known != kind);
                *known = known.or(kind);
            }
            None if is_full => {}
            None => found.push((name, kind, is_other)),
        }
    }
    found
        .into_iter()
        .filter(|(name, _, is_mixed)| !is_mixed && !is_special(name))
        .map(|(name, kind, _)| Column {
            name: name.to_owned(),
            kind: kind.unwrap_or(Kind::Text),
        })
        .collect()
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(_) => Some(Self::Bool),
            Value::String(_) => Some(Self::Text),
            Value::Number(number) if number.is_f64() => Some(Self::Float),
            Value::Number(number) => number.as_i64().map(|_| Self::Integer),
            _ => None,
        }
    }

    fn physical(self) -> Physical {
        match self {
            Self::Integer => Physical::INT64,
            Self::Float => Physical::DOUBLE,
            Self::Bool => Physical::BOOLEAN,
            Self::Text => Physical::BYTE_ARRAY,
        }
    }

    /// What `datasets` calls the type.
    fn dtype(self) -> &'static str {
        match self {
            Self::Integer => "int64",
            Self::Float => "float64",
            Self::Bool => "bool",
            Self::Text => "string",
        }
    }
}

/// Whether the columns give `meta` back: the same names in the same order, each value null or of its type.
fn fits(fields: &[Column], meta: &Metadata) -> bool {
    fields.len() == meta.len()
        && fields.iter().zip(meta).all(|(field, (name, value))| {
            field.name == *name && (value.is_null() || Kind::of(value) == Some(field.kind))
        })
}

fn open<'a>(
    out: Digesting<'a>,
    fields: &[Column],
) -> ParquetResult<SerializedFileWriter<Digesting<'a>>> {
    let image = ColumnPath::from(vec![IMAGE.to_owned(), "bytes".to_owned()]);
    let json = ColumnPath::from(JSON);
    let properties = WriterProperties::builder()
        .set_created_by("sightline".to_owned())
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // Pages are closed between batches: small ones keep a page of images near its 1 MiB.
        .set_write_batch_size(16)
        .set_column_compression(image.clone(), Compression::UNCOMPRESSED)
        .set_column_dictionary_enabled(image.clone(), false)
        .set_column_statistics_enabled(image, EnabledStatistics::None)
        .set_column_dictionary_enabled(json.clone(), false)
        .set_column_statistics_enabled(json, EnabledStatistics::None)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "huggingface".to_owned(),
            features(fields).to_string(),
        )]))
        .build();
    SerializedFileWriter::new(out, schema(fields)?, Arc::new(properties))
}

/// What `datasets` calls the columns.
fn features(fields: &[Column]) -> Value {
    let value = |dtype: &str| json!({"dtype": dtype, "_type": "Value"});
    let mut features = json!({
        KEY: value("string"),
        IMAGE: {"_type": "Image"},
        CAPTIONS: [value("string")],
    });
    for field in fields {
        features[&field.name] = value(field.kind.dtype());
    }
    features[JSON] = value("string");
    json!({"info": {"features": features}})
}

fn schema(fields: &[Column]) -> ParquetResult<TypePtr> {
    let column = |name: &str, kind: Kind| leaf(name, kind.physical(), kind == Kind::Text);
    let image = group(
        IMAGE,
        Repetition::OPTIONAL,
        None,
        vec![
            leaf("bytes", Physical::BYTE_ARRAY, false)?,
            column("path", Kind::Text)?,
        ],
    )?;
    let list = group(
        "list",
        Repetition::REPEATED,
        None,
        vec![column("element", Kind::Text)?],
    )?;
    let captions = group(
        CAPTIONS,
        Repetition::OPTIONAL,
        Some(LogicalType::List),
        vec![list],
    )?;
    let mut columns = vec![column(KEY, Kind::Text)?, image, captions];
    for field in fields {
        columns.push(column(&field.name, field.kind)?);
    }
    columns.push(column(JSON, Kind::Text)?);
    let schema = Type::group_type_builder("schema").with_fields(columns);
    Ok(Arc::new(schema.build()?))
}

/// A column that may be null.
fn leaf(name: &str, physical: Physical, is_text: bool) -> ParquetResult<TypePtr> {
    let leaf = Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(is_text.then_some(LogicalType::String));
    Ok(Arc::new(leaf.build()?))
}

fn group(
    name: &str,
    repetition: Repetition,
    logical: Option<LogicalType>,
    fields: Vec<TypePtr>,
) -> ParquetResult<TypePtr> {
    let group = Type::group_type_builder(name)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .with_fields(fields);
    Ok(Arc::new(group.build()?))
}

fn write_group(
    writer: &mut SerializedFileWriter<Digesting<'_>>,
    fields: &[Column],
    rows: &[Sample],
) -> ParquetResult<()> {
    let mut group = writer.next_row_group()?;
    let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
    let keys = rows.iter().map(|row| Some(text(row.key.as_str())));
    flat::<ByteArrayType>(&mut group, 1, keys)?;

    let images = rows.iter().map(|row| row.image.as_ref());
    let bytes = images
        .clone()
        .map(|i| Some(ByteArray::from(i?.bytes.clone())));
    flat::<ByteArrayType>(&mut group, 2, bytes)?;
    let paths = rows.iter().map(|row| {
        let extension = row.image.as_ref()?.format.extension();
        Some(text(&format!("{}.{extension}", row.key)))
    });
    flat::<ByteArrayType>(&mut group, 2, paths)?;

    let (mut captions, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        for (at, caption) in row.captions.iter().enumerate() {
            captions.push(text(caption));
            definitions.push(3);
            repetitions.push(i16::from(at > 0));
        }
        if row.captions.is_empty() {
            definitions.push(1);
            repetitions.push(0);
        }
    }
    column::<ByteArrayType>(&mut group, &captions, &definitions, Some(&repetitions))?;

    let fit: Vec<bool> = rows.iter().map(|row| fits(fields, &row.meta)).collect();
    for field in fields {
        let values = rows.iter().map(|row| {
            let value = row.meta.get(&field.name)?;
            (Kind::of(value) == Some(field.kind)).then_some(value)
        });
        match field.kind {
            Kind::Integer => flat::<Int64Type>(&mut group, 1, values.map(|v| v?.as_i64()))?,
            Kind::Float => flat::<DoubleType>(&mut group, 1, values.map(|v| v?.as_f64()))?,
            Kind::Bool => flat::<BoolType>(&mut group, 1, values.map(|v| v?.as_bool()))?,
            Kind::Text => {
                flat::<ByteArrayType>(&mut group, 1, values.map(|v| v?.as_str().map(text)))?;
            }
        }
    }
    let json = rows
        .iter()
        .zip(fit)
        .map(|(row, fits)| (!fits).then(|| text(&python_json::to_line(&row.meta))));
    flat::<ByteArrayType>(&mut group, 1, json)?;
    group.close()?;
    Ok(())
}

/// Writes a column that is in no list; `depth` is the definition level of a value that is there.
fn flat<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Digesting<'_>>,
    depth: i16,
    values: impl Iterator<Item = Option<T::T>>,
) -> ParquetResult<()> {
    let mut definitions = Vec::new();
    let mut present = Vec::new();
    for value in values {
        definitions.push(if value.is_some() { depth } else { 0 });
        present.extend(value);
    }
    column::<T>(group, &present, &definitions, None)
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Digesting<'_>>,
    values: &[T::T],
    definitions: &[i16],
    repetitions: Option<&[i16]>,
) -> ParquetResult<()> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General(
            "the schema has fewer columns".to_owned(),
        ));
    };
    column
        .typed::<T>()
        .write_batch(values, Some(definitions), repetitions)?;
    column.close()
}
