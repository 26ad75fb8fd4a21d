//! An object of a store, being written.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::{Error as StoreError, MultipartId, ObjectStoreExt, PutPayload};
use sightline_core::ObjectWriter;

use super::{MAX_PARTS, Object, PART, retried};
use crate::Result;
use crate::error::RemoteProblem;

/// How long the end of an upload that is given up may take.
const ABORT: Duration = Duration::from_secs(10);

/// Writes an object, which appears when it is committed. An upload that is not is given up when this is dropped.
pub(super) struct CloudWriter {
    object: Object,
    buffer: Vec<u8>,
    written: u64,
    upload: Option<Upload>,
}

/// An upload in parts.
struct Upload {
    store: Arc<dyn MultipartStore>,
    id: MultipartId,
    parts: Vec<PartId>,
    /// Parts under way, oldest first.
    under_way: VecDeque<Receiver<object_store::Result<PartId>>>,
    sent: usize,
}

impl CloudWriter {
    pub(super) fn new(object: Object) -> Self {
        Self {
            object,
            buffer: Vec::new(),
            written: 0,
            upload: None,
        }
    }

    /// Sends what was gathered as the next part, and waits while too many are under way.
    fn send_part(&mut self) -> Result<()> {
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        if self.upload.is_none() {
            self.upload = Some(self.begin()?);
        }
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        if upload.sent == MAX_PARTS {
            let limit = (MAX_PARTS * PART) as u64;
            return Err(self
                .object
                .refused("write", RemoteProblem::TooLarge { limit }));
        }
        while upload.under_way.len() >= self.object.bucket.parallel {
            upload.take_oldest(&self.object)?;
        }
        let (store, key, id) = (
            Arc::clone(&upload.store),
            self.object.key.clone(),
            upload.id.clone(),
        );
        let number = upload.sent;
        upload.sent += 1;
        let part = self.object.bucket.executor.begin(async move {
            retried(|| store.put_part(&key, &id, number, PutPayload::from(bytes.clone()))).await
        });
        upload.under_way.push_back(part);
        Ok(())
    }

    fn begin(&self) -> Result<Upload> {
        let store = match &self.object.bucket.multipart {
            Some(store) => Arc::clone(store),
            None => return Err(self.object.refused("write", RemoteProblem::ReadOnly)),
        };
        let (asked, key) = (Arc::clone(&store), self.object.key.clone());
        let id = self
            .object
            .bucket
            .executor
            .run(async move { retried(|| asked.create_multipart(&key)).await })?;
        Ok(Upload {
            store,
            id: id.map_err(self.object.failed("write"))?,
            parts: Vec::new(),
            under_way: VecDeque::new(),
            sent: 0,
        })
    }

    fn finish(&mut self) -> Result<()> {
        if self.upload.is_none() {
            let bytes = std::mem::take(&mut self.buffer);
            return self.object.put(bytes.into());
        }
        if !self.buffer.is_empty() {
            self.send_part()?;
        }
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        while !upload.under_way.is_empty() {
            upload.take_oldest(&self.object)?;
        }
        let (store, key, id) = (
            Arc::clone(&upload.store),
            self.object.key.clone(),
            upload.id.clone(),
        );
        let (parts, len) = (upload.parts.clone(), self.written);
        let objects = Arc::clone(&self.object.bucket.store);
        let completed = self.object.bucket.executor.run(async move {
            let completed = retried(|| store.complete_multipart(&key, &id, parts.clone())).await;
            match completed {
                // The answer to the first try was lost: the upload is gone and the object is there.
                Err(StoreError::NotFound { .. })
                    if objects.head(&key).await.is_ok_and(|meta| meta.size == len) =>
                {
                    Ok(())
                }
                outcome => outcome.map(drop),
            }
        })?;
        completed.map_err(self.object.failed("write"))?;
        self.upload = None;
        Ok(())
    }
}

impl Upload {
    fn take_oldest(&mut self, object: &Object) -> Result<()> {
        let Some(part) = self.under_way.pop_front() else {
            return Ok(());
        };
        let part = part.recv().map_err(|_| {
            let words = "a request ended without an answer".to_owned();
            object.refused("write", RemoteProblem::Other { words })
        })?;
        self.parts.push(part.map_err(object.failed("write"))?);
        Ok(())
    }
}

impl Write for CloudWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == PART {
            self.send_part()?;
        }
        let n = bytes.len().min(PART - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    /// Nothing is visible before the commit.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter for CloudWriter {
    fn commit(mut self: Box<Self>) -> io::Result<()> {
        Ok(self.finish()?)
    }
}

impl Drop for CloudWriter {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else {
            return;
        };
        for part in upload.under_way {
            let _ = part.recv_timeout(ABORT);
        }
        let key = self.object.key.clone();
        let _ = self.object.bucket.executor.run(async move {
            let abort = upload.store.abort_multipart(&key, &upload.id);
            // What stays is out of sight.
            let _ = tokio::time::timeout(ABORT, abort).await;
        });
    }
}
