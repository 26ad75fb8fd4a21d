//! MDS: shards of Mosaic's `streaming`, version 2.
//!
//! # Format
//!
//! A shard is a table of offsets, its columns as JSON, and the samples: all of it little endian, written down
//! in `packed.rs`. The columns are `{"column_encodings", "column_names", "column_sizes", "compression",
//! "format": "mds", "hashes", "size_limit", "version": 2}`, sorted by name. A sample is the length of each column
//! that has no fixed one (u32), then the columns. A compressed shard is one zstd frame around all of it.
//! `streaming` reads a folder by its `index.json`, which is written when all shards are.
//!
//! Written shards have the columns `image` (bytes), `image_format`, `key`, `txt` (str) and `json` (json):
//! metadata, and all captions under `captions` where there are other than one. The image is `bytes` and not
//! `jpeg` because that encoding decodes, and a dataset may hold several formats.
//!
//! Read are the encodings of text, numbers, JSON, bytes and whole images. Arrays and lists of images have no
//! place in a sample and are passed over; so are pickles, which are programs. Offsets in errors are those of
//! the shard after decompression.

use bytes::Bytes;
use serde_json::{Number, Value, json};
use sightline_core::{Metadata, ObjectSink, ObjectSource, Sample, ShardId};

use super::{SampleAt, ShardFormat, ShardReader, ShardSummary, ShardWriter};
use crate::compression::Compression;
use crate::input::Input;
use crate::members;
use crate::packed::{self, Items, PackedReader, PackedWriter};
use crate::row::{self, Cell, Fixed, Origin};
use crate::{Limits, Problem, ReaderStats, Result, python_json};

/// Name of the list of shards.
pub const INDEX: &str = "index.json";

/// Default shard size of `streaming`; it only describes what its own writer would do.
const SIZE_LIMIT: u32 = 1 << 26;

/// The MDS format, compressed or not.
#[derive(Clone, Copy, Debug)]
pub struct Mds {
    name: &'static str,
    extension: &'static str,
    compression: Compression,
}

/// `shard.00017.mds`.
pub const PLAIN: Mds = Mds {
    name: "mds",
    extension: "mds",
    compression: Compression::None,
};

/// `shard.00017.mds.zstd`.
pub const ZSTD: Mds = Mds {
    name: "mds-zstd",
    extension: "mds.zstd",
    compression: Compression::Zstd,
};

impl ShardFormat for Mds {
    fn name(&self) -> &'static str {
        self.name
    }

    fn extension(&self) -> &'static str {
        self.extension
    }

    fn index_file(&self) -> Option<&'static str> {
        Some(INDEX)
    }

    fn has_checksums(&self) -> bool {
        self.compression == Compression::Zstd
    }

    fn file_name(&self, id: ShardId) -> String {
        format!("shard.{id}.{}", self.extension)
    }

    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>> {
        let name = self.file_name(id);
        let head = head(self.compression).into_bytes();
        let writer = PackedWriter::create(sink, &name, head, self.compression)?;
        Ok(Box::new(Writer(writer)))
    }

    fn open(&self, source: &dyn ObjectSource, name: &str) -> Result<Box<dyn ShardReader>> {
        Ok(Box::new(Reader::open(source, name, Limits::default())?))
    }

    fn finds_samples(&self) -> bool {
        self.compression == Compression::None
    }

    fn open_at(&self, source: &dyn ObjectSource, name: &str) -> Result<Option<Box<dyn SampleAt>>> {
        let reader = Reader::open(source, name, Limits::default())?;
        packed::open_at(source, name, reader.packed, reader.columns)
    }

    fn count(&self, source: &dyn ObjectSource, name: &str) -> Result<u64> {
        Ok(Reader::open(source, name, Limits::default())?.samples())
    }
}

/// What stands before the samples of every shard that we write.
fn head(compression: Compression) -> String {
    let encoding = |name: &str| match name {
        row::IMAGE => "bytes",
        row::JSON => "json",
        _ => "str",
    };
    let zip = match compression {
        Compression::Zstd => Some("zstd:3"),
        _ => None,
    };
    let head = json!({
        "column_encodings": Fixed::NAMES.map(encoding),
        "column_names": Fixed::NAMES,
        "column_sizes": [null, null, null, null, null],
        "compression": zip,
        "format": "mds",
        "hashes": [],
        "size_limit": SIZE_LIMIT,
        "version": 2,
    });
    python_json::to_line(head.as_object().expect("it is written as an object"))
}

struct Writer<'a>(PackedWriter<'a>);

impl ShardWriter for Writer<'_> {
    fn write(&mut self, sample: &Sample) -> Result<()> {
        let ledger = self.0.ledger();
        let fixed = Fixed::of(sample, &ledger.shard, &ledger.limits)?;
        self.0.push(sample, &fixed.columns())
    }

    fn finish(self: Box<Self>) -> Result<ShardSummary> {
        self.0.finish()
    }
}

/// Reads the samples of a shard.
#[derive(Debug)]
pub struct Reader {
    shard: String,
    packed: PackedReader,
    head: Metadata,
    columns: Columns,
    stats: ReaderStats,
    is_over: bool,
    /// Whether what is damaged is a record whose end is known, and was passed.
    is_behind: bool,
}

/// The columns of a shard.
#[derive(Debug)]
struct Columns {
    columns: Vec<Column>,
    lens: Vec<Option<u32>>,
}

/// A column of a shard.
#[derive(Debug)]
struct Column {
    name: String,
    /// Without its arguments.
    encoding: String,
}

impl Reader {
    /// Opens the shard `name` of `source`.
    pub fn open(source: &dyn ObjectSource, name: &str, limits: Limits) -> Result<Self> {
        let input = Input::open(source, name, limits)?;
        let (mut packed, head_len) = PackedReader::new(input)?;
        let at = packed.input.position();
        let limit = limits.header_len_bytes;
        if head_len > limit {
            let problem = Problem::Limit {
                what: "the length of the list of columns in bytes",
                value: head_len,
                limit,
            };
            return Err(packed.input.damaged(at, None, problem));
        }
        let Some(head) = packed.input.next_bytes(head_len)? else {
            return Err(packed.input.damaged(at, None, Problem::Truncated));
        };
        let parsed = members::text(head)
            .and_then(|text| members::parse_metadata(&text))
            .and_then(|head| Ok((parse_columns(&head)?, head)));
        let (columns, head) = parsed.map_err(|p| packed.input.damaged(at, None, p))?;
        Ok(Self {
            shard: name.to_owned(),
            packed,
            head,
            columns,
            stats: ReaderStats::default(),
            is_over: false,
            is_behind: false,
        })
    }

    /// The shard's own description: columns, compression, version.
    pub fn head(&self) -> &Metadata {
        &self.head
    }

    /// Samples of the shard.
    pub fn samples(&self) -> u64 {
        self.packed.size().0
    }

    /// Length of the shard before compression, as its offsets say.
    pub fn raw_len_bytes(&self) -> u64 {
        self.packed.size().1
    }

    fn read(&mut self) -> Result<Option<Sample>> {
        let origin = Origin {
            shard: &self.shard,
            row: self.packed.row(),
        };
        let Some(item) = self.packed.next_item()? else {
            return Ok(None);
        };
        self.is_behind = true;
        let limits = self.packed.input.limits;
        let sample = self
            .columns
            .sample(item, origin, &limits, &mut self.stats)
            .map_err(|problem| {
                let member = Some(format!("{} {}", Columns::NAME, origin.row));
                self.packed
                    .input
                    .damaged(self.packed.offset(), member, problem)
            })?;
        self.is_behind = false;
        self.packed.input.samples += 1;
        Ok(Some(sample))
    }
}

impl ShardReader for Reader {
    fn next_sample(&mut self) -> Result<Option<Sample>> {
        if self.is_over {
            return Ok(None);
        }
        let next = self.read();
        self.is_over = !matches!(next, Ok(Some(_)));
        next
    }

    fn skip(&mut self, n: u64) -> Result<u64> {
        if self.is_over {
            return Ok(0);
        }
        let skipped = self.packed.skip(n);
        self.is_over = skipped.is_err();
        if let Ok(skipped) = skipped {
            self.stats.samples += skipped;
            self.packed.input.samples += skipped;
        }
        skipped
    }

    fn recover(&mut self) -> Result<bool> {
        let recovers = std::mem::take(&mut self.is_behind);
        self.is_over &= !recovers;
        Ok(recovers)
    }

    fn stats(&self) -> &ReaderStats {
        &self.stats
    }
}

impl Items for Columns {
    const NAME: &'static str = "sample";

    fn sample(
        &self,
        item: Vec<u8>,
        origin: Origin<'_>,
        limits: &Limits,
        stats: &mut ReaderStats,
    ) -> Result<Sample, Problem> {
        let values = packed::columns(item, &self.lens)?;
        let cells = self.columns.iter().zip(values);
        let row: Result<Vec<_>, Problem> = cells
            .map(|(column, value)| Ok((column.name.clone(), column.cell(value)?)))
            .collect();
        row::to_sample(row?, origin, limits, stats)
    }
}

/// Name, encoding and fixed length of each column.
fn parse_columns(head: &Metadata) -> Result<Columns, Problem> {
    let field = |what| Problem::Head { what };
    if head.get("version").and_then(Value::as_u64) != Some(2) {
        return Err(field("no `version` 2"));
    }
    let list = |name: &str| head.get(name).and_then(Value::as_array);
    let texts =
        |name: &str| -> Option<Vec<&str>> { list(name)?.iter().map(Value::as_str).collect() };
    let names = texts("column_names").ok_or(field("no texts in `column_names`"))?;
    let encodings = texts("column_encodings").ok_or(field("no texts in `column_encodings`"))?;
    let sizes = list("column_sizes").ok_or(field("no list `column_sizes`"))?;
    if names.len() != encodings.len() || names.len() != sizes.len() {
        return Err(field("lists of different lengths"));
    }
    let size = |size: &Value| match size {
        Value::Null => Some(None),
        size => Some(Some(u32::try_from(size.as_u64()?).ok()?)),
    };
    let lens: Option<Vec<Option<u32>>> = sizes.iter().map(size).collect();
    let columns = names.iter().zip(encodings).map(|(name, encoding)| Column {
        name: (*name).to_owned(),
        encoding: encoding.split(':').next().unwrap_or_default().to_owned(),
    });
    Ok(Columns {
        columns: columns.collect(),
        lens: lens.ok_or(field("no lengths in `column_sizes`"))?,
    })
}

impl Column {
    /// The value that `bytes` are in this column.
    fn cell(&self, bytes: Bytes) -> Result<Cell, Problem> {
        let integer = |value: i64| Cell::Value(value.into());
        let float = |value: f64| Cell::Value(row::float(value));
        let text = || members::text(bytes.to_vec());
        Ok(match (self.encoding.as_str(), &bytes[..]) {
            ("bytes", _) => Cell::Bytes(bytes),
            ("jpeg" | "png", _) => Cell::Image(bytes, None),
            ("str" | "str_decimal", _) => Cell::Value(Value::String(text()?)),
            // Both are written as a number's text, which JSON knows; another text stays one.
            ("str_int" | "str_float", _) => {
                let text = text()?;
                let number = serde_json::from_str::<Number>(&text).ok();
                Cell::Value(number.map_or(Value::String(text), Value::Number))
            }
            ("json", _) => {
                let text = text()?;
                match members::parse_metadata(&text) {
                    Ok(object) => Cell::Value(Value::Object(object)),
                    Err(Problem::NotAnObject) => {
                        Cell::Value(serde_json::from_str(&text).map_err(Problem::Json)?)
                    }
                    Err(problem) => return Err(problem),
                }
            }
            ("int" | "int64", &[a, b, c, d, e, f, g, h]) => {
                integer(i64::from_le_bytes([a, b, c, d, e, f, g, h]))
            }
            ("uint64", &[a, b, c, d, e, f, g, h]) => {
                Cell::Value(u64::from_le_bytes([a, b, c, d, e, f, g, h]).into())
            }
            ("float64", &[a, b, c, d, e, f, g, h]) => {
                float(f64::from_le_bytes([a, b, c, d, e, f, g, h]))
            }
            ("int32", &[a, b, c, d]) => integer(i32::from_le_bytes([a, b, c, d]).into()),
            ("uint32", &[a, b, c, d]) => integer(u32::from_le_bytes([a, b, c, d]).into()),
            ("float32", &[a, b, c, d]) => float(f32::from_le_bytes([a, b, c, d]).into()),
            ("int16", &[a, b]) => integer(i16::from_le_bytes([a, b]).into()),
            ("uint16", &[a, b]) => integer(u16::from_le_bytes([a, b]).into()),
            ("int8", &[a]) => integer((a as i8).into()),
            ("uint8", &[a]) => integer(a.into()),
            (
                "int" | "int64" | "uint64" | "float64" | "int32" | "uint32" | "float32" | "int16"
                | "uint16" | "int8" | "uint8",
                _,
            ) => return Err(Problem::Columns),
            _ => Cell::Other,
        })
    }
}
