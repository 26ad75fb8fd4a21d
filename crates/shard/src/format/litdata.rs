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
//! A chunk with an `index.json` beside it is read by its serializers: text, numbers, lists and dictionaries as JSON
//! ([`nested`]), bytes and images as files; other leaves are passed over. One without is taken for one of ours.
//!
//! Since 0.2.74 `litdata` itself writes other chunks too, which are read and not written: batches of items that are compressed
//! one by one ([`frames`], what `compression="zstd"` alone means), items that are, and rows of plain values as Arrow
//! batches ([`arrow`]).

mod arrow;
mod frames;
mod index;
mod leaf;
mod nested;

use serde_json::{Value, json};
use sightline_core::{ObjectSink, ObjectSource, Sample, ShardId};

use super::{SampleAt, ShardFormat, ShardReader, ShardSummary, ShardWriter};
use crate::compression::Compression;
use crate::input::Input;
use crate::packed::{self, Items, PackedReader, PackedWriter};
use crate::row::{self, Fixed, Origin};
use crate::{Limits, Problem, ReaderStats, Result};
use arrow::Batches;
use frames::Frames;
use leaf::Leaves;

/// Name of the list of chunks.
pub const INDEX: &str = "index.json";

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
        let Reader { body, leaves, .. } = Reader::open(source, name, Limits::default())?;
        match body {
            Body::Items(packed) => packed::open_at(source, name, packed, leaves),
            // To find a sample is to decode its batch.
            Body::Frames(_) | Body::Batches(_) => Ok(None),
        }
    }

    fn count(&self, source: &dyn ObjectSource, name: &str) -> Result<u64> {
        let reader = Reader::open(source, name, Limits::default())?;
        Ok(match &reader.body {
            Body::Items(packed) => packed.size().0,
            Body::Frames(frames) => frames.count(),
            Body::Batches(batches) => batches.count(),
        })
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

/// How many items the chunk `name` has, and how long it is before compression. Chunks that we do not write are refused: what
/// their items are stands in the `index.json` that litData wrote, and nowhere else.
pub fn size(source: &dyn ObjectSource, name: &str) -> Result<(u64, u64)> {
    let mut reader = Reader::open(source, name, Limits::default())?;
    if let Body::Items(packed) = &reader.body
        && reader.leaves == Leaves::of_ours()
    {
        let size = packed.size();
        // Without an index a chunk of others looks like one of ours until it is read.
        if size.0 > 0 {
            reader.next_sample()?;
        }
        return Ok(size);
    }
    let what = "a chunk that litData wrote, whose items only the `index.json` of litData describes";
    let input = reader.body.input();
    Err(input.damaged(0, None, Problem::Unsupported { what }))
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
    body: Body,
    leaves: Leaves,
    stats: ReaderStats,
    is_over: bool,
    /// Whether what is damaged is a record whose end is known, and was passed.
    is_behind: bool,
}

/// How a chunk holds its items.
#[derive(Debug)]
enum Body {
    /// One after the other.
    Items(PackedReader),
    /// In compressed batches.
    Frames(Frames),
    /// As rows of Arrow batches.
    Batches(Batches),
}

/// An item.
enum Entry {
    Item(Vec<u8>),
    Row(arrow::Row),
}

impl Body {
    fn open(mut input: Input) -> Result<Self> {
        let mut first = [0; 4];
        if !input.fill(&mut first)? {
            return Err(input.damaged(0, None, Problem::Truncated));
        }
        if first == frames::MAGIC {
            return Ok(Self::Frames(Frames::new(input)?));
        }
        let (packed, head_len) = PackedReader::of(input, u32::from_le_bytes(first))?;
        if head_len > 0 {
            let problem = Problem::Head {
                what: "bytes between offsets and items, which no chunk has",
            };
            return Err(packed.input.damaged(packed.input.position(), None, problem));
        }
        let (count, end) = packed.size();
        // An item of ours has the lengths of its leaves at least.
        if count > 0 && end == packed.input.position() {
            return Ok(Self::Batches(Batches::new(packed.input, count)?));
        }
        Ok(Self::Items(packed))
    }

    fn next(&mut self) -> Result<Option<Entry>> {
        Ok(match self {
            Self::Items(packed) => packed.next_item()?.map(Entry::Item),
            Self::Frames(frames) => frames.next_item()?.map(Entry::Item),
            Self::Batches(batches) => batches.next_row()?.map(Entry::Row),
        })
    }

    /// Number of the next item.
    fn row(&self) -> u64 {
        match self {
            Self::Items(packed) => packed.row(),
            Self::Frames(frames) => frames.row(),
            Self::Batches(batches) => batches.row(),
        }
    }

    /// Offset of the item that was read last, or of its batch.
    fn offset(&self) -> u64 {
        match self {
            Self::Items(packed) => packed.offset(),
            Self::Frames(frames) => frames.offset(),
            Self::Batches(batches) => batches.offset(),
        }
    }

    fn input(&self) -> &Input {
        match self {
            Self::Items(packed) => &packed.input,
            Self::Frames(frames) => &frames.input,
            Self::Batches(batches) => &batches.input,
        }
    }

    fn input_mut(&mut self) -> &mut Input {
        match self {
            Self::Items(packed) => &mut packed.input,
            Self::Frames(frames) => &mut frames.input,
            Self::Batches(batches) => &mut batches.input,
        }
    }
}

impl Reader {
    fn open(source: &dyn ObjectSource, name: &str, limits: Limits) -> Result<Self> {
        let leaves = index::leaves(source, name, &limits)?;
        let input = Input::open(source, name, limits)?;
        Ok(Self {
            shard: name.to_owned(),
            body: Body::open(input)?,
            leaves,
            stats: ReaderStats::default(),
            is_over: false,
            is_behind: false,
        })
    }

    fn read(&mut self) -> Result<Option<Sample>> {
        let origin = Origin {
            shard: &self.shard,
            row: self.body.row(),
        };
        let Some(entry) = self.body.next()? else {
            return Ok(None);
        };
        self.is_behind = true;
        let limits = self.body.input().limits;
        let sample = match entry {
            Entry::Item(item) => self.leaves.sample(item, origin, &limits, &mut self.stats),
            Entry::Row(cells) => {
                cells.and_then(|cells| row::to_sample(cells, origin, &limits, &mut self.stats))
            }
        };
        let sample = sample.map_err(|problem| {
            let member = Some(format!("{} {}", Leaves::NAME, origin.row));
            let offset = self.body.offset();
            self.body.input().damaged(offset, member, problem)
        })?;
        self.is_behind = false;
        self.body.input_mut().samples += 1;
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
