//! A folder of an object store.
//!
//! Every request is tried again after failures that pass (see [`retry`]). Small objects are put with one request; larger ones
//! in parts of [`PART`] bytes, up to [`PARALLEL`] at a time, and appear when the last request completes them. What a killed
//! process leaves of them is out of sight and goes by the bucket's rule for incomplete uploads.
//!
//! Memory: a writer holds up to 6 parts, 48 MiB; a reader that reads on and on up to 2 blocks of the same size, 16 MiB, and
//! the range it is asked for otherwise.

use std::fmt;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};
use object_store::{PutMode, PutPayload};
use sightline_core::{ObjectWriter, ReadAt};

use crate::backend::{Backend, Entry, check_name};
use crate::error::RemoteProblem;
use crate::location::Address;
use crate::stores::Executor;
use crate::{Error, FileDigest, Result};

mod download;
mod problem;
mod read;
mod retry;
mod write;

use read::CloudAt;
pub(crate) use retry::inner as inner_retries;
use retry::retried;
use write::CloudWriter;

/// Bytes of a part of an upload, and of a block that is read ahead.
pub(crate) const PART: usize = 8 << 20;
/// Parts of one upload that are under way at the same time.
pub(crate) const PARALLEL: usize = 4;
/// Parts of an upload, as S3 limits them: objects of up to 78 GiB.
pub(crate) const MAX_PARTS: usize = 10_000;
/// Largest object that is read whole.
const MAX_WHOLE: u64 = 1 << 30;
/// Requests at the same time where many objects are read.
const MANY: usize = 16;
/// How long a reading of the store's clock is used.
const CLOCK: Duration = Duration::from_mins(1);

/// How the names of probes of the clock begin.
const CLOCK_PREFIX: &str = ".clock.";

/// Set apart the probes of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A bucket, and what its requests run on.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub(crate) executor: Arc<Executor>,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// `None` where nothing can be written.
    pub(crate) multipart: Option<Arc<dyn MultipartStore>>,
    /// Parts of one upload that are under way at the same time.
    pub(crate) parallel: usize,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.store)
    }
}

/// A folder of a store.
#[derive(Debug)]
pub(crate) struct Cloud {
    bucket: Bucket,
    address: Address,
    /// The store's time in milliseconds since 1970, and when it was read.
    clock: Mutex<Option<(Instant, i64)>>,
}

/// An object: where it is, and how it is called to people.
#[derive(Clone, Debug)]
struct Object {
    bucket: Bucket,
    key: Key,
    address: String,
}

impl Object {
    fn failed(&self, action: &'static str) -> impl FnOnce(StoreError) -> Error {
        let address = self.address.clone();
        move |error| Error::Remote {
            action,
            address,
            problem: problem::of(&error),
        }
    }

    fn refused(&self, action: &'static str, problem: RemoteProblem) -> Error {
        Error::Remote {
            action,
            address: self.address.clone(),
            problem,
        }
    }

    /// Runs `operation` until it succeeds or fails for good.
    fn run<T, F, R>(&self, action: &'static str, operation: F) -> Result<T>
    where
        F: Fn(Arc<dyn ObjectStore>, Key) -> R + Send + Sync + 'static,
        R: Future<Output = object_store::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let (store, key) = (Arc::clone(&self.bucket.store), self.key.clone());
        let outcome = self
            .bucket
            .executor
            .run(async move { retried(|| operation(Arc::clone(&store), key.clone())).await })?;
        outcome.map_err(self.failed(action))
    }

    /// What the store says of the object; `None` where there is none.
    fn meta(&self) -> Result<Option<ObjectMeta>> {
        self.run("read", |store, key| async move {
            match store.head(&key).await {
                Ok(meta) => Ok(Some(meta)),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn put(&self, bytes: Bytes) -> Result<()> {
        self.run("write", move |store, key| {
            let payload = PutPayload::from(bytes.clone());
            async move { store.put(&key, payload).await.map(drop) }
        })
    }

    fn remove(&self) -> Result<bool> {
        self.run("remove", |store, key| async move {
            match store.delete(&key).await {
                Ok(()) => Ok(true),
                Err(StoreError::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }
}

impl Cloud {
    pub(crate) fn new(bucket: Bucket, address: Address) -> Self {
        Self {
            bucket,
            address,
            clock: Mutex::new(None),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The folder called `name` in this one.
    pub(crate) fn below(&self, name: &str) -> Result<Self> {
        check_name(name)?;
        let address = self.address.with_key(self.key_of(name));
        Ok(Self::new(self.bucket.clone(), address))
    }

    fn key_of(&self, name: &str) -> String {
        match self.address.key() {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        }
    }

    fn object(&self, name: &str) -> Result<Object> {
        check_name(name)?;
        let key = self.key_of(name);
        let address = self.address.with_key(&key).to_string();
        let key = Key::parse(&key).map_err(|_| Error::Name {
            name: name.to_owned(),
        })?;
        Ok(Object {
            bucket: self.bucket.clone(),
            key,
            address,
        })
    }

    fn writable(&self, name: &str) -> Result<Object> {
        let object = self.object(name)?;
        if self.bucket.multipart.is_none() {
            return Err(object.refused("write", RemoteProblem::ReadOnly));
        }
        Ok(object)
    }

    /// The folder `name` (empty: this one) as an object, for errors, and as the prefix of listings.
    fn folder(&self, name: &str) -> Result<(Object, Option<Key>)> {
        let key = match name {
            "" => self.address.key().to_owned(),
            name => self.key_of(name),
        };
        let address = self.address.with_key(&key).to_string();
        let key = Key::parse(&key).map_err(|_| Error::Name {
            name: name.to_owned(),
        })?;
        let prefix = (!key.as_ref().is_empty()).then(|| key.clone());
        let object = Object {
            bucket: self.bucket.clone(),
            key,
            address,
        };
        if self.address.scheme().is_web() {
            return Err(object.refused("list", RemoteProblem::Unlistable));
        }
        Ok((object, prefix))
    }

    /// The name of a listed object in this folder; `None` for the folder's own mark.
    fn name_of(&self, key: &Key) -> Option<String> {
        let name = match self.address.key() {
            "" => key.as_ref(),
            folder => key.as_ref().strip_prefix(folder)?.strip_prefix('/')?,
        };
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// The store's time, in milliseconds since 1970: stores date what is written, and tell no time otherwise.
    fn now_ms(&self) -> Result<i64> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, ms)) = *clock
            && read.elapsed() < CLOCK
        {
            return Ok(ms + read.elapsed().as_millis() as i64);
        }
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let probe = self.writable(&format!("{CLOCK_PREFIX}{}-{n}.tmp", process::id()))?;
        probe.put(Bytes::new())?;
        let read = Instant::now();
        let meta = probe.meta()?;
        probe.remove()?;
        let ms = meta.map_or(0, |meta| meta.last_modified.timestamp_millis());
        *clock = Some((read, ms));
        Ok(ms)
    }
}

impl Backend for Cloud {
    fn open(&self, name: &str) -> Result<Arc<dyn ReadAt>> {
        let object = self.object(name)?;
        match object.meta()? {
            Some(meta) => Ok(Arc::new(CloudAt::new(object, meta))),
            None => Err(object.refused("open", RemoteProblem::NotFound)),
        }
    }

    fn entry(&self, name: &str) -> Result<Option<Entry>> {
        let meta = self.object(name)?.meta()?;
        Ok(meta.map(|meta| Entry {
            name: name.to_owned(),
            len_bytes: meta.size,
        }))
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let (folder, prefix) = self.folder("")?;
        let listed = folder.run("list", move |store, _| {
            let prefix = prefix.clone();
            async move { store.list_with_delimiter(prefix.as_ref()).await }
        })?;
        let entry = |meta: &ObjectMeta| {
            let name = self.name_of(&meta.location)?;
            let len_bytes = meta.size;
            Some(Entry { name, len_bytes })
        };
        let mut entries: Vec<Entry> = listed.objects.iter().filter_map(entry).collect();
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// A listing that fails half-way goes on behind the last object that it showed.
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let (folder, prefix) = self.folder(folder)?;
        let found: Arc<Mutex<Vec<Key>>> = Arc::default();
        let listed = Arc::clone(&found);
        folder.run("list", move |store, _| {
            let (prefix, listed) = (prefix.clone(), Arc::clone(&listed));
            async move {
                let last = {
                    let listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
                    listed.last().cloned()
                };
                let mut objects = match last {
                    Some(last) => store.list_with_offset(prefix.as_ref(), &last),
                    None => store.list(prefix.as_ref()),
                };
                while let Some(object) = objects.next().await {
                    let location = object?.location;
                    listed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(location);
                }
                Ok(())
            }
        })?;
        let found = found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = found.iter().filter_map(|key| self.name_of(key)).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn is_empty(&self) -> Result<bool> {
        let (folder, prefix) = self.folder("")?;
        folder.run("list", move |store, _| {
            let prefix = prefix.clone();
            async move {
                let first = store.list(prefix.as_ref()).next().await;
                Ok(first.transpose()?.is_none())
            }
        })
    }

    fn create(&self, name: &str) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(CloudWriter::new(self.writable(name)?)))
    }

    /// A put whose answer was lost finds its own bytes there when it is tried again; so bytes should be the caller's own.
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let object = self.writable(name)?;
        let bytes = Bytes::copy_from_slice(bytes);
        let own = bytes.clone();
        object.run("write", move |store, key| {
            let payload = PutPayload::from(bytes.clone());
            let own = own.clone();
            async move {
                let put = store.put_opts(&key, payload, PutMode::Create.into());
                let Err(error) = put.await else {
                    return Ok(true);
                };
                if !matches!(
                    error,
                    StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }
                ) {
                    return Err(error);
                }
                match store.get(&key).await {
                    Ok(there) => Ok(there.bytes().await? == own),
                    // Gone again: somebody has what the caller wanted, or had it.
                    Err(StoreError::NotFound { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        })
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let object = self.object(name)?;
        let read = object.run("read", whole)?;
        read.ok_or_else(|| object.refused("read", RemoteProblem::TooLarge { limit: MAX_WHOLE }))
    }

    fn read_all(&self, names: &[String]) -> Result<Vec<Option<Bytes>>> {
        let objects: Result<Vec<Object>> = names.iter().map(|name| self.object(name)).collect();
        let objects = objects?;
        let requests: Vec<(Arc<dyn ObjectStore>, Key)> = objects
            .iter()
            .map(|object| (Arc::clone(&object.bucket.store), object.key.clone()))
            .collect();
        let reads: Vec<_> = requests
            .into_iter()
            .enumerate()
            .map(|(at, (store, key))| {
                let read = async move {
                    let read = retried(|| whole(Arc::clone(&store), key.clone())).await;
                    read.map_err(|error| (at, error))
                };
                read.boxed()
            })
            .collect();
        let read = self.bucket.executor.run(async move {
            let read = stream::iter(reads).buffered(MANY);
            read.try_collect::<Vec<_>>().await
        })?;
        let read = read.map_err(|(at, error)| objects[at].failed("read")(error))?;
        let too_large =
            |object: &Object| object.refused("read", RemoteProblem::TooLarge { limit: MAX_WHOLE });
        read.into_iter()
            .zip(&objects)
            .map(|(read, object)| read.ok_or_else(|| too_large(object)))
            .collect()
    }

    fn download(
        &self,
        name: &str,
        to: &Path,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<FileDigest>> {
        download::download(&self.object(name)?, to, is_stopped)
    }

    fn remove(&self, name: &str) -> Result<bool> {
        self.writable(name)?.remove()
    }

    fn remove_folder(&self, _: &str) -> Result<()> {
        Ok(())
    }

    /// Probes of the clock by processes that were killed right then.
    fn remove_stale_temporaries(&self) -> Result<u64> {
        let mut removed = 0;
        for Entry { name, .. } in self.entries()? {
            let probe = name.strip_prefix(CLOCK_PREFIX);
            if probe.is_some_and(|rest| rest.strip_suffix(".tmp").is_some()) {
                removed += u64::from(self.remove(&name)?);
            }
        }
        Ok(removed)
    }

    fn age(&self, name: &str) -> Result<Option<Duration>> {
        let Some(meta) = self.object(name)?.meta()? else {
            return Ok(None);
        };
        let ms = self.now_ms()? - meta.last_modified.timestamp_millis();
        Ok(Some(Duration::from_millis(ms.max(0) as u64)))
    }
}

/// All bytes of an object: `Some(None)` where there is none, `None` where there are too many.
async fn whole(
    store: Arc<dyn ObjectStore>,
    key: Key,
) -> object_store::Result<Option<Option<Bytes>>> {
    match store.get_opts(&key, GetOptions::default()).await {
        Ok(object) if object.meta.size > MAX_WHOLE => Ok(None),
        Ok(object) => Ok(Some(Some(object.bytes().await?))),
        Err(StoreError::NotFound { .. }) => Ok(Some(None)),
        Err(error) => Err(error),
    }
}
