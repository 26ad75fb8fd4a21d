//! An object of a store, read at offsets.

use std::io;
use std::ops::Range;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};
use sightline_core::ReadAt;

use super::{Object, PART, retried};
use crate::backend::past_end;
use crate::error::RemoteProblem;
use crate::{Error, Result};

/// Objects no longer than this are got whole with the first read.
const SMALL: u64 = 1 << 20;

/// An object. Who reads on from where the last read ended gets blocks that are read ahead, who jumps about gets what he asks
/// for. An object that is replaced while it is read is an error, never a mixture.
#[derive(Debug)]
pub(super) struct CloudAt {
    object: Object,
    len: u64,
    /// The version that was opened.
    e_tag: Option<String>,
    ahead: Mutex<Ahead>,
}

/// What was read ahead.
#[derive(Debug, Default)]
struct Ahead {
    /// Where the last read ended.
    next: u64,
    block: (u64, Bytes),
    /// The block behind that one, on its way.
    coming: Option<(Range<u64>, Receiver<object_store::Result<Bytes>>)>,
}

impl CloudAt {
    pub(super) fn new(object: Object, meta: ObjectMeta) -> Self {
        Self {
            object,
            len: meta.size,
            // A weak tag cannot be asked for.
            e_tag: meta.e_tag.filter(|tag| !tag.starts_with("W/")),
            ahead: Mutex::default(),
        }
    }

    fn request(
        &self,
        range: &Range<u64>,
    ) -> impl Future<Output = object_store::Result<Bytes>> + Send + 'static {
        let store = Arc::clone(&self.object.bucket.store);
        let key = self.object.key.clone();
        // All of it is asked for as such: some servers give nothing else.
        let is_whole = *range == (0..self.len);
        let options = GetOptions {
            range: (!is_whole).then(|| GetRange::Bounded(range.clone())),
            if_match: self.e_tag.clone(),
            ..GetOptions::default()
        };
        async move { retried(|| get(Arc::clone(&store), key.clone(), options.clone())).await }
    }

    /// The bytes of `range`, got now.
    fn get(&self, range: &Range<u64>) -> Result<Bytes> {
        let got = self.object.bucket.executor.run(self.request(range))?;
        self.checked(range, got)
    }

    fn checked(&self, range: &Range<u64>, got: object_store::Result<Bytes>) -> Result<Bytes> {
        let bytes = got.map_err(self.object.failed("read"))?;
        if bytes.len() as u64 != range.end - range.start {
            return Err(self.object.refused("read", RemoteProblem::Changed));
        }
        Ok(bytes)
    }

    /// The part of the block that `range` is, if it is.
    fn held(ahead: &Ahead, range: &Range<u64>) -> Option<Bytes> {
        let (start, block) = &ahead.block;
        let from = range.start.checked_sub(*start)?;
        let to = range.end - start;
        (to <= block.len() as u64).then(|| block.slice(from as usize..to as usize))
    }

    /// Reads on: the block that is coming, or one from here.
    fn read_on(&self, ahead: &mut Ahead, range: &Range<u64>) -> Result<Bytes> {
        if let Some((coming, block)) = ahead.coming.take()
            && coming.contains(&range.start)
        {
            let got = block.recv().map_err(|_| self.lost())?;
            ahead.block = (coming.start, self.checked(&coming, got)?);
            if Self::held(ahead, range).is_some() {
                self.expect_next(ahead);
                return Self::held(ahead, range).ok_or_else(|| self.lost());
            }
        }
        let goes_on = range.start > 0;
        let end = (range.start + PART as u64).max(range.end).min(self.len);
        let block = range.start..end;
        ahead.block = (block.start, self.get(&block)?);
        if goes_on {
            self.expect_next(ahead);
        }
        Self::held(ahead, range).ok_or_else(|| self.lost())
    }

    /// Asks for the block behind the one that is there.
    fn expect_next(&self, ahead: &mut Ahead) {
        let start = ahead.block.0 + ahead.block.1.len() as u64;
        if start < self.len {
            let block = start..self.len.min(start + PART as u64);
            let coming = self.object.bucket.executor.begin(self.request(&block));
            ahead.coming = Some((block, coming));
        }
    }

    fn lost(&self) -> Error {
        let words = "a request ended without an answer".to_owned();
        self.object.refused("read", RemoteProblem::Other { words })
    }
}

impl ReadAt for CloudAt {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.start > range.end || range.end > self.len {
            return Err(past_end());
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let reads_on = range.start == ahead.next;
        ahead.next = range.end;
        if let Some(bytes) = Self::held(&ahead, &range) {
            return Ok(bytes);
        }
        if self.len <= SMALL {
            ahead.block = (0, self.get(&(0..self.len))?);
            return Self::held(&ahead, &range).ok_or_else(|| self.lost().into());
        }
        if reads_on {
            return Ok(self.read_on(&mut ahead, &range)?);
        }
        drop(ahead);
        Ok(self.get(&range)?)
    }

    fn version(&self) -> Option<String> {
        self.e_tag.clone()
    }
}

async fn get(
    store: Arc<dyn ObjectStore>,
    key: Key,
    options: GetOptions,
) -> object_store::Result<Bytes> {
    store.get_opts(&key, options).await?.bytes().await
}
