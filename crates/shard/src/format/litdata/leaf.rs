//! The leaves of an item: their names, and their bytes as values.

use std::io::Read;

use bytes::Bytes;
use serde_json::Value;
use sightline_core::Sample;

use super::{SERIALIZERS, nested};
use crate::compression::MAX_WINDOW_LOG;
use crate::members;
use crate::packed::{self, Items};
use crate::row::{self, Cell, Fixed, Origin};
use crate::{Limits, Problem, ReaderStats, Result};

/// The leaves of every item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaves {
    pub(super) leaves: Vec<Leaf>,
    /// Whether each item is a zstd frame.
    pub(super) are_compressed: bool,
}

/// A leaf of every item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) name: String,
    serializer: String,
}

impl Leaves {
    /// Those that we write.
    pub(super) fn of_ours() -> Self {
        let named = Fixed::NAMES.iter().zip(SERIALIZERS);
        Self {
            leaves: named
                .map(|(name, serializer)| Leaf::new(name, serializer))
                .collect(),
            are_compressed: false,
        }
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
        let item = if self.are_compressed {
            decompress(&item, packed::max_item_len(limits))?
        } else {
            item
        };
        let values = packed::columns(item, &vec![None; self.leaves.len()])?;
        let cells = self.leaves.iter().zip(values);
        let row: Result<Vec<_>, Problem> = cells
            .map(|(leaf, value)| Ok((leaf.name.clone(), leaf.cell(value, limits)?)))
            .collect();
        row::to_sample(row?, origin, limits, stats)
    }
}

/// What the zstd frame `bytes` holds, which is no longer than `limit`.
fn decompress(bytes: &[u8], limit: u64) -> Result<Vec<u8>, Problem> {
    let mut decoder = zstd::Decoder::new(bytes).map_err(Problem::Compression)?;
    decoder
        .window_log_max(MAX_WINDOW_LOG)
        .map_err(Problem::Compression)?;
    let mut item = Vec::new();
    decoder
        .take(limit + 1)
        .read_to_end(&mut item)
        .map_err(Problem::Compression)?;
    if item.len() as u64 > limit {
        return Err(Problem::Limit {
            what: "its length in bytes, decompressed",
            value: item.len() as u64,
            limit,
        });
    }
    Ok(item)
}

impl Leaf {
    pub(super) fn new(name: &str, serializer: &str) -> Self {
        Self {
            name: name.to_owned(),
            serializer: serializer.to_owned(),
        }
    }

    /// The value that `bytes` are in this leaf.
    fn cell(&self, bytes: Bytes, limits: &Limits) -> Result<Cell, Problem> {
        let (kind, argument) = self
            .serializer
            .split_once(':')
            .unwrap_or((&self.serializer, ""));
        Ok(match (kind, &bytes[..]) {
            ("bytes", _) => Cell::Bytes(bytes),
            ("jpeg", _) => Cell::Image(bytes, None),
            ("image", _) => Cell::Image(bytes, Some(format!(".{argument}"))),
            ("str" | "text", _) => Cell::Value(Value::String(members::text(bytes.to_vec())?)),
            ("json", _) => Cell::Value(nested::value(&bytes, limits)?),
            ("bool", &[flag]) => Cell::Value((flag != 0).into()),
            ("int", &[a, b, c, d, e, f, g, h]) => {
                Cell::Value(i64::from_le_bytes([a, b, c, d, e, f, g, h]).into())
            }
            ("float", &[a, b, c, d, e, f, g, h]) => {
                let float = f64::from_le_bytes([a, b, c, d, e, f, g, h]);
                Cell::Value(row::float(float))
            }
            ("bool" | "int" | "float", _) => return Err(Problem::Columns),
            _ => Cell::Other,
        })
    }
}
