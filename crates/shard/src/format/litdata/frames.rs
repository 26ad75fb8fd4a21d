//! Chunks of batches that are compressed one by one, what litData writes for `compression="zstd"` since 0.2.74.
//!
//! ```text
//! "LDFZ01\0\0" | u16 version (1) | u16 flags (0) | u32 n | u32 items of a batch | u32 batches
//! u32 offsets[n + 1], of the items before compression
//! of each batch: u32 first item | u32 items | u64 offset in the chunk | u32 length | u32 length before compression
//! batches, each a zstd frame
//! ```
//!
//! All numbers are little endian.

use bytes::{Buf, Bytes};

use crate::input::Input;
use crate::packed::{self, MAX_LEN_BYTES};
use crate::{Problem, Result};

/// What stands where other chunks have the number of items.
pub(super) const MAGIC: [u8; 4] = *b"LDFZ";

const VERSION: u16 = 1;

/// Length of what a batch is described by.
const FRAME_LEN_BYTES: u64 = 24;

/// Reads the items of a chunk in order.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) input: Input,
    offsets: Vec<u32>,
    /// The batches behind it.
    ahead: std::vec::IntoIter<Frame>,
    /// What is left of the batch.
    batch: Bytes,
    /// Number of the item behind the batch.
    end: usize,
    /// Where the batch is in the chunk.
    offset: u64,
    next: usize,
}

#[derive(Debug)]
struct Frame {
    end: usize,
    offset: u64,
    len: u64,
    decompressed_len: u64,
}

impl Frames {
    /// Reads what describes the batches, after [`MAGIC`].
    pub(super) fn new(mut input: Input) -> Result<Self> {
        let mut head = [0; 20];
        if !input.fill(&mut head)? {
            return Err(input.damaged(0, None, Problem::Truncated));
        }
        let mut fields = &head[4..];
        let (version, flags) = (fields.get_u16_le(), fields.get_u16_le());
        if !head.starts_with(b"01\0\0") || version != VERSION || flags != 0 {
            let what = "a later version of litData's chunks of compressed batches";
            return Err(input.damaged(0, None, Problem::Unsupported { what }));
        }
        let (count, _, frames) = (
            fields.get_u32_le(),
            fields.get_u32_le(),
            fields.get_u32_le(),
        );
        let offsets = packed::offsets(&mut input, count)?;
        let frames = read_frames(&mut input, &offsets, frames)?;
        let offset = input.position();
        Ok(Self {
            input,
            offsets,
            ahead: frames.into_iter(),
            batch: Bytes::new(),
            end: 0,
            offset,
            next: 0,
        })
    }

    /// How many items there are.
    pub(super) fn count(&self) -> u64 {
        self.offsets.len() as u64 - 1
    }

    /// Number of the next item.
    pub(super) fn row(&self) -> u64 {
        self.next as u64
    }

    /// Where the batch of the item that was read last is.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes of the next item.
    pub(super) fn next_item(&mut self) -> Result<Option<Vec<u8>>> {
        if self.next == self.end && !self.next_batch()? {
            return Ok(None);
        }
        let len = self.offsets[self.next + 1] - self.offsets[self.next];
        self.next += 1;
        Ok(Some(self.batch.split_to(len as usize).into()))
    }

    fn next_batch(&mut self) -> Result<bool> {
        let Some(frame) = self.ahead.next() else {
            return self.check_end().map(|()| false);
        };
        self.offset = frame.offset;
        let member = format!("items {} to {}", self.next, frame.end - 1);
        let Some(bytes) = self.input.next_bytes(frame.len)? else {
            return Err(self
                .input
                .damaged(frame.offset, Some(member), Problem::Truncated));
        };
        let decompressed = zstd::bulk::decompress(&bytes, frame.decompressed_len as usize);
        match decompressed {
            Ok(batch) if batch.len() as u64 == frame.decompressed_len => {
                self.batch = batch.into();
                self.end = frame.end;
                Ok(true)
            }
            Ok(_) => Err(self
                .input
                .damaged(frame.offset, Some(member), Problem::Columns)),
            Err(error) => {
                let problem = Problem::Compression(error);
                Err(self.input.damaged(frame.offset, Some(member), problem))
            }
        }
    }

    fn check_end(&mut self) -> Result<()> {
        let offset = self.input.position();
        if self.input.fill(&mut [0])? {
            return Err(self.input.damaged(offset, None, Problem::DataAfterEnd));
        }
        Ok(())
    }
}

/// Reads where the batches are, which follow one another, and hold the items between `offsets`.
fn read_frames(input: &mut Input, offsets: &[u32], count: u32) -> Result<Vec<Frame>> {
    let start = input.position();
    let table_len = FRAME_LEN_BYTES * u64::from(count);
    let Some(table) = input.next_bytes(table_len)? else {
        return Err(input.damaged(start, None, Problem::Truncated));
    };
    let mut table = &table[..];
    let mut frames = Vec::new();
    let (mut item, mut offset) = (0, input.position());
    for at in 0..u64::from(count) {
        let (first, items) = (table.get_u32_le() as usize, table.get_u32_le() as usize);
        let frame_offset = table.get_u64_le();
        let (len, decompressed_len) = (table.get_u32_le().into(), table.get_u32_le().into());
        let place = start + FRAME_LEN_BYTES * at;
        let end = first.saturating_add(items);
        let held = offsets.get(end).map(|end| u64::from(end - offsets[item]));
        if first != item || items == 0 || frame_offset != offset || held != Some(decompressed_len) {
            let problem = Problem::Head {
                what: "its batches do not follow one another, or hold other items than their offsets say",
            };
            return Err(input.damaged(place, None, problem));
        }
        if decompressed_len > MAX_LEN_BYTES {
            let problem = Problem::Limit {
                what: "the length of a batch in bytes, decompressed",
                value: decompressed_len,
                limit: MAX_LEN_BYTES,
            };
            return Err(input.damaged(place, None, problem));
        }
        (item, offset) = (end, offset + len);
        frames.push(Frame {
            end,
            offset: frame_offset,
            len,
            decompressed_len,
        });
    }
    if item + 1 != offsets.len() {
        let problem = Problem::Head {
            what: "it has items that are in none of its batches",
        };
        return Err(input.damaged(start, None, problem));
    }
    Ok(frames)
}
