//! litData: chunks of items, each the leaves of a tree of Python values.
//!
//! # Format
//!
//! A chunk is a table of offsets and the items, all of it little endian, written down in `packed.rs`. An item is the
//! length of each leaf (u32), then the leaves. What the leaves are stands in `index.json` beside the chunks,
//! which `litdata` needs and which is written when all chunks are. A compressed chunk is one zstd frame around all of
//! it.
//!
//! Written items are a dictionary of `image` (bytes), `image_format`, `json`, `key` and `txt` (str):
//! metadata as JSON, and all captions in it under `captions` where there are other than one.
//!
//! A chunk with an `index.json` beside it is read by its serializers: text, numbers, lists as JSON, bytes and images as
//! files; other leaves are passed over. One without is taken for one of ours. Chunks whose batches or
//! samples are compressed one by one, and those that hold Arrow batches, as `litdata` writes rows of plain
//! values since 0.2.70, are refused.

use std::io;

use bytes::Bytes;
use serde_json::{Number, Value, json};
use sightline_core::{ObjectSink, ObjectSource, Sample, ShardId};

use super::{SampleAt, ShardFormat, ShardReader, ShardSummary, ShardWriter};
use crate::compression::Compression;
use crate::input::Input;
use crate::members;
use crate::packed::{self, Items, PackedReader, PackedWriter};
use crate::row::{self, Cell, Fixed, Origin};
use crate::{Error, Limits, Problem, ReaderStats, Result};

/// Name of the list of chunks.
pub const INDEX: &str = "index.json";

/// Longest list of chunks that is read beside a chunk.
const MAX_INDEX_LEN_BYTES: u64 = 64 << 20;

/// Serializers of the leaves that we write.
const SERIALIZERS: [&str; 5] = ["bytes", "str", "str", "str", "str"];

/// The litData format, compressed or not.
#[derive(Clone, Copy, Debug)]
pub struct LitData {
    name: &'static str,
    extension: &'static str,
    compression: Compression,
}

/// `chunk-0-17.bin`.
pub const PLAIN: LitData = LitData {
    name: "litdata",
    extension: "bin",
    compression: Compression::None,
};

/// `chunk-0-17.zstd.bin`.
pub const ZSTD: LitData = LitData {
    name: "litdata-zstd",
    extension: "zstd.bin",
    compression: Compression::Zstd,
};

impl ShardFormat for LitData {
    fn name(&self) -> &'static str {
        self.name
    }

    fn extension(&self) -> &'static str {
        self.extension
    }

    fn has_checksums(&self) -> bool {
        self.compression == Compression::Zstd
    }

    fn index_file(&self) -> Option<&'static str> {
        Some(INDEX)
    }

    fn file_name(&self, id: ShardId) -> String {
        format!("chunk-0-{}.{}", id.0, self.extension)
    }

    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>> {
        let name = self.file_name(id);
        let writer = PackedWriter::create(sink, &name, Vec::new(), self.compression)?;
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
        packed::open_at(source, name, reader.packed, reader.leaves)
    }

    fn count(&self, source: &dyn ObjectSource, name: &str) -> Result<u64> {
        Ok(size(source, name)?.0)
    }
}

/// The description of our chunks that `index.json` holds, `compression` being `zstd` or nothing.
pub fn config(compression: Option<&str>) -> Value {
    // torch's treespec of a dictionary of five leaves, as `torch.utils._pytree.treespec_dumps` writes it.
    let leaf = json!({"type": null, "context": null, "children_spec": []});
    let context = Value::from(Fixed::NAMES.to_vec())
        .to_string()
        .replace(',', ", ");
    let spec = json!([1, {
        "type": "builtins.dict",
        "context": context,
        "children_spec": vec![leaf; Fixed::NAMES.len()],
    }]);
    json!({
        "chunk_bytes": 1 << 26,
        "chunk_size": null,
        "compression": compression,
        "data_format": SERIALIZERS,
        "data_spec": spec.to_string(),
        "encryption": null,
        "item_loader": "PyTreeLoader",
    })
}

/// How many items the chunk `name` has, and how long it is before compression.
pub fn size(source: &dyn ObjectSource, name: &str) -> Result<(u64, u64)> {
    let input = Input::open(source, name, Limits::default())?;
    Ok(PackedReader::new(input)?.0.size())
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

/// Reads the samples of a chunk.
#[derive(Debug)]
struct Reader {
    shard: String,
    packed: PackedReader,
    leaves: Leaves,
    stats: ReaderStats,
    is_over: bool,
    /// Whether what is damaged is a record whose end is known, and was passed.
    is_behind: bool,
}

/// The leaves of every item.
#[derive(Debug)]
struct Leaves(Vec<Leaf>);

/// A leaf of every item.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaf {
    name: String,
    serializer: String,
}

impl Reader {
    fn open(source: &dyn ObjectSource, name: &str, limits: Limits) -> Result<Self> {
        let leaves = Leaves(leaves(source, name)?);
        let input = Input::open(source, name, limits)?;
        let (packed, head_len) = PackedReader::new(input)?;
        if head_len > 0 {
            let problem = Problem::Head {
                what: "bytes between offsets and items, which no chunk has",
            };
            return Err(packed.input.damaged(packed.input.position(), None, problem));
        }
        Ok(Self {
            shard: name.to_owned(),
            packed,
            leaves,
            stats: ReaderStats::default(),
            is_over: false,
            is_behind: false,
        })
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
            .leaves
            .sample(item, origin, &limits, &mut self.stats)
            .map_err(|problem| {
                let member = Some(format!("{} {}", Leaves::NAME, origin.row));
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

    fn recover(&mut self) -> Result<bool> {
        let recovers = std::mem::take(&mut self.is_behind);
        self.is_over &= !recovers;
        Ok(recovers)
    }

    fn stats(&self) -> &ReaderStats {
        &self.stats
    }
}

impl Items for Leaves {
    const NAME: &'static str = "item";

    fn sample(
        &self,
        item: Vec<u8>,
        origin: Origin<'_>,
        limits: &Limits,
        stats: &mut ReaderStats,
    ) -> Result<Sample, Problem> {
        let Self(leaves) = self;
        let values = packed::columns(item, &vec![None; leaves.len()])?;
        let cells = leaves.iter().zip(values);
        let row: Result<Vec<_>, Problem> = cells
            .map(|(leaf, value)| Ok((leaf.name.clone(), leaf.cell(value)?)))
            .collect();
        row::to_sample(row?, origin, limits, stats)
    }
}

/// The leaves that `index.json` beside the chunk `name` describes, or ours when there is none.
fn leaves(source: &dyn ObjectSource, name: &str) -> Result<Vec<Leaf>> {
    let index = match name.rfind('/') {
        Some(slash) => format!("{}/{INDEX}", &name[..slash]),
        None => INDEX.to_owned(),
    };
    let failed = |source| Error::Io {
        action: "read",
        shard: index.clone(),
        source,
    };
    let object = match source.object(&index) {
        Ok(object) => object,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let named = Fixed::NAMES.iter().zip(SERIALIZERS);
            return Ok(named
                .map(|(name, serializer)| Leaf::new(name, serializer))
                .collect());
        }
        Err(e) => return Err(failed(e)),
    };
    let damaged = |problem| Error::damaged_index(&index, problem);
    let len = object.len().map_err(failed)?;
    if len > MAX_INDEX_LEN_BYTES {
        return Err(damaged(Problem::Limit {
            what: "its length in bytes",
            value: len,
            limit: MAX_INDEX_LEN_BYTES,
        }));
    }
    let bytes = object.read_at(0..len).map_err(failed)?;
    let json = serde_json::from_slice(&bytes).map_err(|e| damaged(Problem::Json(e)))?;
    parse_leaves(&json).map_err(damaged)
}

/// The leaves that the contents of an `index.json` describe.
fn parse_leaves(index: &Value) -> Result<Vec<Leaf>, Problem> {
    let config = &index["config"];
    if !matches!(&config["item_loader"], Value::Null)
        && config["item_loader"].as_str() != Some("PyTreeLoader")
    {
        let what = "a dataset of another item loader than litData's `PyTreeLoader`";
        return Err(Problem::Unsupported { what });
    }
    if config["compression_level"].as_str() == Some("sample") {
        let what =
            "chunks of samples compressed one by one (litData's `compression_level=\"sample\"`)";
        return Err(Problem::Unsupported { what });
    }
    let serializers = config["data_format"].as_array();
    let serializers: Option<Vec<&str>> =
        serializers.and_then(|list| list.iter().map(Value::as_str).collect());
    let serializers = serializers.ok_or(Problem::Head {
        what: "no texts in `config.data_format`",
    })?;
    let names = names_of(&config["data_spec"]).filter(|names| names.len() == serializers.len());
    Ok(serializers
        .iter()
        .enumerate()
        .map(|(at, serializer)| match &names {
            Some(names) => Leaf::new(&names[at], serializer),
            None => Leaf::new(&at.to_string(), serializer),
        })
        .collect())
}

/// The names of the leaves of a tree, in their order: `caption`, and of what lies deeper `exif.model` and `tags.0`.
fn names_of(spec: &Value) -> Option<Vec<String>> {
    let spec: Value = serde_json::from_str(spec.as_str()?).ok()?;
    let mut names = Vec::new();
    add_names(spec.get(1)?, "", &mut names)?;
    Some(names)
}

/// Adds the names of the leaves below `node`, which is called `name`.
fn add_names(node: &Value, name: &str, names: &mut Vec<String>) -> Option<()> {
    let Some(kind) = node["type"].as_str() else {
        names.push(name.to_owned());
        return Some(());
    };
    let children = node["children_spec"].as_array()?;
    let keys: Vec<String> = if kind.ends_with("dict") || kind.ends_with("Dict") {
        // Names may be numbers, and those of a `defaultdict` lie behind what makes its values.
        let context: Value = serde_json::from_str(node["context"].as_str()?).ok()?;
        let keys = context.as_array()?;
        let keys = match keys.last() {
            Some(Value::Array(keys)) if kind.ends_with("defaultdict") => keys,
            _ => keys,
        };
        let text = |key: &Value| key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        keys.iter().map(text).collect()
    } else {
        (0..children.len()).map(|at| at.to_string()).collect()
    };
    if keys.len() != children.len() {
        return None;
    }
    for (key, child) in keys.iter().zip(children) {
        let name = match name {
            "" => key.clone(),
            name => format!("{name}.{key}"),
        };
        add_names(child, &name, names)?;
    }
    Some(())
}

impl Leaf {
    fn new(name: &str, serializer: &str) -> Self {
        Self {
            name: name.to_owned(),
            serializer: serializer.to_owned(),
        }
    }

    /// The value that `bytes` are in this leaf.
    fn cell(&self, bytes: Bytes) -> Result<Cell, Problem> {
        let (kind, argument) = self
            .serializer
            .split_once(':')
            .unwrap_or((&self.serializer, ""));
        Ok(match (kind, &bytes[..]) {
            ("bytes", _) => Cell::Bytes(bytes),
            ("jpeg", _) => Cell::Image(bytes, None),
            ("image", _) => Cell::Image(bytes, Some(format!(".{argument}"))),
            ("str" | "text", _) => Cell::Value(Value::String(members::text(bytes.to_vec())?)),
            // Lists, since 0.2.70 in a binary form that begins below a space.
            ("json", &[first, ..]) if first > b' ' => {
                let text = members::text(bytes.to_vec())?;
                Cell::Value(serde_json::from_str(&text).map_err(Problem::Json)?)
            }
            ("bool", &[flag]) => Cell::Value((flag != 0).into()),
            ("int", &[a, b, c, d, e, f, g, h]) => {
                Cell::Value(i64::from_le_bytes([a, b, c, d, e, f, g, h]).into())
            }
            ("float", &[a, b, c, d, e, f, g, h]) => {
                let float = f64::from_le_bytes([a, b, c, d, e, f, g, h]);
                Cell::Value(Number::from_f64(float).map_or(Value::Null, Value::Number))
            }
            ("bool" | "int" | "float", _) => return Err(Problem::Columns),
            _ => Cell::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_index_describes_our_own_leaves() {
        let leaves = parse_leaves(&json!({ "config": config(None) })).unwrap();
        let ours: Vec<Leaf> = Fixed::NAMES
            .iter()
            .zip(SERIALIZERS)
            .map(|(name, serializer)| Leaf::new(name, serializer))
            .collect();
        assert_eq!(leaves, ours);
    }

    #[test]
    fn leaves_of_trees_are_called_by_their_path() {
        // What litData 0.2.76 writes for {"key": …, "exif": {"m": …}, "tags": […, …]}, its keys sorted.
        let leaf = r#"{"type": null, "context": null, "children_spec": []}"#;
        let spec = format!(
            r#"[1, {{"type": "builtins.dict", "context": "[\"exif\", \"key\", \"tags\"]", "children_spec": [
                {{"type": "builtins.dict", "context": "[\"m\"]", "children_spec": [{leaf}]}}, {leaf},
                {{"type": "builtins.list", "context": "null", "children_spec": [{leaf}, {leaf}]}}]}}]"#
        );
        let config = json!({ "data_format": ["int", "str", "str", "int"], "data_spec": spec });
        let leaves = parse_leaves(&json!({ "config": config })).unwrap();
        let names: Vec<&str> = leaves.iter().map(|leaf| &leaf.name[..]).collect();
        assert_eq!(names, ["exif.m", "key", "tags.0", "tags.1"]);
    }
}
