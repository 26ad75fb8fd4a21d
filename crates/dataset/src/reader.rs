//! The samples that one process of a training run reads, in order and fetched ahead: `sightline shards read`.
//!
//! Which samples and in which order is [`sightline_shard::order`]'s to say. Here threads fetch them ahead of who takes them, up to a number of bytes, and
//! yield them in order. Each lane keeps the shards of its window open. A shard in which samples can be found by their number is read where it lies; any other
//! is first written to a file in which they can, in the cache or, without one, in a temporary file that is gone when the shard is left. With a cache, shards
//! are copied into it before they are read, and those of the next window while this one is read.
//!
//! Memory: `ahead_bytes` of samples, one sample for each thread, and for each lane the places of the samples of its window (16 bytes each).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use sightline_core::{ObjectSource, ReadAt, Sample};
use sightline_shard::order::{Located, Locator, Order, Positions, Remainder, Share, Window};
use sightline_shard::{Cursor, SampleAt, ShardFormat};
use sightline_store::FileAt;

use crate::cache::Cache;
use crate::convert::NamedShard;
use crate::count::check_count;
use crate::spool::{Spool, SpoolWriter};
use crate::staging::failed;
use crate::{Error, Result};

/// Memory of a sample beside its texts and its image, about.
const SAMPLE_LEN_BYTES: u64 = 512;

/// Bytes that are copied at a time.
const PIECE: u64 = 1 << 20;

/// What is read, by whom, and how.
#[derive(Clone, Debug)]
pub struct ReadSpec {
    /// Which process reads.
    pub share: Share,
    /// Where it begins.
    pub cursor: Cursor,
    /// What becomes of samples that are left over.
    pub remainder: Remainder,
    /// Threads that fetch ahead; at least 1.
    pub threads: usize,
    /// Bytes of samples that wait to be taken.
    pub ahead_bytes: u64,
    /// Where shards are kept.
    pub cache: Option<Cache>,
    /// What tells the dataset from others in the cache: its address.
    pub dataset: String,
    /// A folder for temporary files.
    pub scratch: PathBuf,
}

/// Yields samples with their positions in the epoch.
pub struct Reader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    left: usize,
}

impl Reader {
    /// A reader of the shards `names` of `source`, which hold `lens` samples.
    pub fn new(
        source: Arc<dyn ObjectSource>,
        names: &[NamedShard],
        lens: &[u64],
        spec: &ReadSpec,
    ) -> Result<Self> {
        let named: Vec<(&str, u64)> = names
            .iter()
            .zip(lens)
            .map(|((name, _), len)| (name.as_str(), *len))
            .collect();
        spec.cursor.check(&named)?;
        let order = spec.cursor.order(&named);
        let positions = spec
            .share
            .positions(&order, spec.cursor.sample, spec.remainder);
        let left = positions.len();
        let shared = Arc::new(Shared {
            shards: Shards {
                source,
                names: names.to_vec(),
                lens: lens.to_vec(),
                open: Mutex::default(),
                cache: spec.cache.clone(),
                dataset: spec.dataset.clone(),
                scratch: spec.scratch.clone(),
                warned: AtomicBool::new(false),
            },
            state: Mutex::new(State {
                locator: order.locator(),
                windows: HashMap::new(),
                positions,
                taken: 0,
                given: 0,
                ready: BTreeMap::new(),
                waiting_bytes: 0,
                to_copy: VecDeque::new(),
                is_over: false,
            }),
            order,
            changed: Condvar::new(),
            ahead_bytes: spec.ahead_bytes,
        });
        let mut threads = Vec::new();
        for _ in 0..spec.threads.max(1) {
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || shared.fetch()));
        }
        if spec.cache.is_some() {
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || shared.copy()));
        }
        Ok(Self {
            shared,
            threads,
            left,
        })
    }

    /// Samples that are still to come.
    pub fn left(&self) -> u64 {
        self.left as u64
    }
}

impl Iterator for Reader {
    type Item = Result<(u64, Sample)>;

    /// After an error nothing more comes.
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let mut state = self.shared.lock();
        let given = state.given;
        let (fetched, bytes) = loop {
            if let Some(fetched) = state.ready.remove(&given) {
                break fetched;
            }
            state = self.shared.wait(state);
        };
        state.given += 1;
        state.waiting_bytes -= bytes;
        drop(state);
        self.shared.changed.notify_all();
        self.left = if fetched.is_ok() { self.left - 1 } else { 0 };
        Some(fetched)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// What all threads of a reader see.
struct Shared {
    order: Order,
    shards: Shards,
    state: Mutex<State>,
    changed: Condvar,
    ahead_bytes: u64,
}

struct State {
    locator: Locator,
    /// The window that each lane is in.
    windows: HashMap<usize, Window>,
    positions: Positions,
    /// Samples that threads have taken on.
    taken: u64,
    /// Samples that were yielded.
    given: u64,
    /// Samples that wait, and their memory.
    ready: BTreeMap<u64, (Result<(u64, Sample)>, u64)>,
    waiting_bytes: u64,
    /// Shards that will be wanted.
    to_copy: VecDeque<usize>,
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics while it holds the lock leaves whole values: each change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches samples until there are no more.
    fn fetch(&self) {
        while let Some(Wanted {
            number,
            position,
            located,
            slot,
        }) = self.next_to_fetch()
        {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.shards.sample(located, &slot)
            }));
            let fetched = outcome.unwrap_or_else(|_| {
                // The panic was printed where it happened; whoever waits must not wait for ever.
                Err(Error::Io {
                    action: "read",
                    name: self.shards.names[located.shard].0.clone(),
                    source: io::ErrorKind::Other.into(),
                })
            });
            let bytes = fetched.as_ref().map_or(0, memory_of);
            let mut state = self.lock();
            state.waiting_bytes += bytes;
            let fetched = fetched.map(|sample| (position, sample));
            state.ready.insert(number, (fetched, bytes));
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The next sample, once there is room for it.
    fn next_to_fetch(&self) -> Option<Wanted> {
        let mut state = self.lock();
        // What is wanted next is always fetched.
        while !state.is_over
            && state.waiting_bytes >= self.ahead_bytes
            && state.taken != state.given
        {
            state = self.wait(state);
        }
        if state.is_over {
            return None;
        }
        let position = state.positions.next()?;
        let located = state.locator.locate(position);
        let number = state.taken;
        state.taken += 1;
        self.enter(
            &mut state,
            self.order.window_of(position % self.order.samples()),
        );
        Some(Wanted {
            number,
            position,
            located,
            slot: self.shards.slot(located.shard),
        })
    }

    /// Closes the shards of the window that a lane leaves, and has those of the next one copied.
    fn enter(&self, state: &mut State, window: Window) {
        let before = state.windows.insert(window.lane, window);
        if before == Some(window) {
            return;
        }
        self.shards.open(&self.order.shards_of(window));
        if let Some(before) = before {
            self.shards.close(&self.order.shards_of(before));
        }
        state.to_copy.extend(self.order.shards_of(window.next()));
        self.changed.notify_all();
    }

    /// Copies shards into the cache until there is nothing more to do.
    fn copy(&self) {
        loop {
            let mut state = self.lock();
            let shard = loop {
                if state.is_over {
                    return;
                }
                match state.to_copy.pop_front() {
                    Some(shard) => break shard,
                    None => state = self.wait(state),
                }
            };
            drop(state);
            let (name, format) = &self.shards.names[shard];
            // What goes wrong is told when the shard is wanted.
            let _ = self.shards.cached(name, *format);
        }
    }
}

/// A sample that is to be fetched.
struct Wanted {
    /// Its number among those of this reader.
    number: u64,
    position: u64,
    located: Located,
    /// Its shard, which stays open for it when all windows have left it.
    slot: Slot,
}

/// A shard that is open, once somebody has opened it.
type Slot = Arc<Mutex<Option<Arc<dyn SampleAt>>>>;

/// The memory of a sample, about.
fn memory_of(sample: &Sample) -> u64 {
    let image = sample.image.as_ref().map_or(0, |image| image.bytes.len());
    let captions: usize = sample.captions.iter().map(String::len).sum();
    (image + captions) as u64 + SAMPLE_LEN_BYTES * (1 + sample.meta.len() as u64 / 8)
}

/// The shards of a dataset, of which some are open.
struct Shards {
    source: Arc<dyn ObjectSource>,
    names: Vec<NamedShard>,
    /// Samples of each, as they were counted.
    lens: Vec<u64>,
    open: Mutex<HashMap<usize, Open>>,
    cache: Option<Cache>,
    dataset: String,
    scratch: PathBuf,
    /// Whether it was said that the cache is too small.
    warned: AtomicBool,
}

/// A shard that some windows have open.
#[derive(Default)]
struct Open {
    windows: usize,
    slot: Slot,
}

impl Shards {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, shards: &[usize]) {
        let mut open = self.lock();
        for shard in shards {
            open.entry(*shard).or_default().windows += 1;
        }
    }

    fn close(&self, shards: &[usize]) {
        let mut open = self.lock();
        for shard in shards {
            if let Some(entry) = open.get_mut(shard) {
                entry.windows -= 1;
                if entry.windows == 0 {
                    open.remove(shard);
                }
            }
        }
    }

    fn slot(&self, shard: usize) -> Slot {
        Arc::clone(&self.lock().entry(shard).or_default().slot)
    }

    fn sample(&self, located: Located, slot: &Slot) -> Result<Sample> {
        let mut opened = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let shard = match &*opened {
            Some(shard) => Arc::clone(shard),
            None => Arc::clone(opened.insert(self.find(located.shard)?)),
        };
        drop(opened);
        Ok(shard.sample(located.row)?)
    }

    /// A shard whose samples are found by their number.
    fn find(&self, shard: usize) -> Result<Arc<dyn SampleAt>> {
        let (name, format) = &self.names[shard];
        let found = match self.cached(name, *format)? {
            Some(shard) => shard,
            None => self.find_here(name, *format)?,
        };
        check_count(name, self.lens[shard], found.samples())?;
        Ok(found)
    }

    /// The shard by way of the cache, if there is one that has room.
    fn cached(&self, name: &str, format: &dyn ShardFormat) -> Result<Option<Arc<dyn SampleAt>>> {
        let Some(cache) = &self.cache else {
            return Ok(None);
        };
        let found = match self.source.object(name) {
            Ok(object) => object.len().map(|len| (len, object.version())),
            // A folder of plain files without a list.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((0, None)),
            Err(e) => Err(e),
        };
        let (len, version) = found.map_err(|source| io_failed("read", name, source))?;
        let version = version.unwrap_or_default();
        let key = |form: &str| format!("{}\0{name}\0{len}\0{version}\0{form}", self.dataset);
        if format.finds_samples() {
            let mut fill = |file| self.copy(name, len, file);
            let Some(file) = cache.entry(&key("copy"), len, &mut fill)? else {
                return Ok(None);
            };
            let source = Cached {
                base: Arc::clone(&self.source),
                name: name.to_owned(),
                object: Arc::new(file),
            };
            if let Some(shard) = format.open_at(&source, name)? {
                return Ok(Some(shard.into()));
            }
            // Compressed behind a name that does not say so.
        }
        let mut fill = |file| self.spool(name, format, file).map(|_| ());
        match cache.entry(&key("spool"), len, &mut fill)? {
            Some(file) => open_spool(name, file).map(Some),
            None => Ok(None),
        }
    }

    /// The shard without the cache.
    fn find_here(&self, name: &str, format: &dyn ShardFormat) -> Result<Arc<dyn SampleAt>> {
        if self.cache.is_some() && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                shard = name,
                "the shards in use leave no room in the cache: reading them where they are; a larger cache, fewer lanes or a smaller window helps"
            );
        }
        if let Some(shard) = format.open_at(&*self.source, name)? {
            return Ok(shard.into());
        }
        let file = tempfile::tempfile_in(&self.scratch).map_err(failed("create", &self.scratch))?;
        let file = self.spool(name, format, file)?;
        open_spool(name, FileAt::of(file, &self.scratch)?)
    }

    /// Writes the samples of a shard to `file`.
    fn spool(&self, name: &str, format: &dyn ShardFormat, file: File) -> Result<File> {
        let failed = |source| io_failed("copy", name, source);
        let mut reader = format.open(&*self.source, name)?;
        let mut writer = SpoolWriter::new(BufWriter::with_capacity(PIECE as usize, file));
        while let Some(sample) = reader.next_sample()? {
            writer.write(&sample).map_err(failed)?;
        }
        let out = writer.finish().map_err(failed)?;
        out.into_inner().map_err(|e| failed(e.into_error()))
    }

    /// Copies a shard to `file`.
    fn copy(&self, name: &str, len: u64, mut file: File) -> Result<()> {
        let mut copy = || -> io::Result<()> {
            let object = self.source.object(name)?;
            let mut at = 0;
            while at < len {
                let end = len.min(at + PIECE);
                file.write_all(&object.read_at(at..end)?)?;
                at = end;
            }
            Ok(())
        };
        copy().map_err(|source| io_failed("copy", name, source))
    }
}

fn open_spool(name: &str, file: FileAt) -> Result<Arc<dyn SampleAt>> {
    let spool = Spool::open(Arc::new(file), name);
    let spool = spool.map_err(|source| io_failed("read the copy of", name, source))?;
    Ok(Arc::new(spool))
}

fn io_failed(action: &'static str, name: &str, source: io::Error) -> Error {
    Error::Io {
        action,
        name: name.to_owned(),
        source,
    }
}

/// A source of which one object is in the cache.
struct Cached {
    base: Arc<dyn ObjectSource>,
    name: String,
    object: Arc<dyn ReadAt>,
}

impl ObjectSource for Cached {
    fn object(&self, name: &str) -> io::Result<Arc<dyn ReadAt>> {
        if name == self.name {
            return Ok(Arc::clone(&self.object));
        }
        self.base.object(name)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.base.list(folder)
    }

    fn shared(&self) -> Arc<dyn ObjectSource> {
        Arc::new(Self {
            base: Arc::clone(&self.base),
            name: self.name.clone(),
            object: Arc::clone(&self.object),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Range;
    use std::sync::atomic::AtomicU64;

    use bytes::Bytes;
    use sightline_core::io::Memory;
    use sightline_core::progress::Silent;
    use sightline_core::{EncodedImage, ImageFormat, Metadata, SampleKey, Seed, ShardId};
    use sightline_shard::order::OrderSpec;
    use sightline_shard::{FORMATS, webdataset};

    use super::*;
    use crate::count;

    /// Shards of `format` that hold `lens` samples, the image of each `len` bytes long.
    fn shards(
        format: &'static dyn ShardFormat,
        lens: &[u64],
        len: usize,
    ) -> (Memory, Vec<NamedShard>) {
        let mut shards = Memory::default();
        let mut names = Vec::new();
        let mut number = 0;
        for (id, samples) in (0..).zip(lens) {
            let mut writer = format.create(&mut shards, ShardId(id)).unwrap();
            for _ in 0..*samples {
                let sample = Sample {
                    key: SampleKey::new(format!("{number:06}")).unwrap(),
                    image: Some(EncodedImage {
                        format: ImageFormat::Png,
                        bytes: vec![number as u8; len].into(),
                    }),
                    captions: vec!["x".to_owned()],
                    meta: Metadata::new(),
                };
                writer.write(&sample).unwrap();
                number += 1;
            }
            writer.finish().unwrap();
            names.push((format.file_name(ShardId(id)), format));
        }
        (shards, names)
    }

    /// A source that counts the bytes that are read.
    #[derive(Clone)]
    struct Counted(Memory, Arc<AtomicU64>);

    struct CountedObject(Arc<dyn ReadAt>, Arc<AtomicU64>);

    impl ObjectSource for Counted {
        fn object(&self, name: &str) -> io::Result<Arc<dyn ReadAt>> {
            let object = self.0.object(name)?;
            Ok(Arc::new(CountedObject(object, Arc::clone(&self.1))))
        }
        fn list(&self, folder: &str) -> io::Result<Vec<String>> {
            self.0.list(folder)
        }
        fn shared(&self) -> Arc<dyn ObjectSource> {
            Arc::new(self.clone())
        }
    }

    impl ReadAt for CountedObject {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read_at(&self, range: Range<u64>) -> io::Result<Bytes> {
            self.1.fetch_add(range.end - range.start, Ordering::Relaxed);
            self.0.read_at(range)
        }
    }

    fn spec(names: &[NamedShard], lens: &[u64], share: Share) -> ReadSpec {
        let named: Vec<(&str, u64)> = names
            .iter()
            .zip(lens)
            .map(|((n, _), l)| (n.as_str(), *l))
            .collect();
        let order = OrderSpec {
            seed: Seed(5),
            lanes: 2,
            window: 2,
            ..OrderSpec::default()
        };
        ReadSpec {
            share,
            cursor: Cursor::new(&named, order, 0),
            remainder: Remainder::Pad,
            threads: 2,
            ahead_bytes: 4000,
            cache: None,
            dataset: "here".to_owned(),
            scratch: std::env::temp_dir(),
        }
    }

    fn alone() -> Share {
        Share::new(0, 1, 0, 0, 1).unwrap()
    }

    fn keys(reader: Reader) -> Vec<String> {
        reader.map(|read| read.unwrap().1.key.to_string()).collect()
    }

    #[test]
    fn every_format_yields_the_same_order_with_and_without_a_cache() {
        let lens = [5, 0, 9, 4, 7, 1];
        let mut orders = BTreeSet::new();
        for format in FORMATS {
            let (source, names) = shards(*format, &lens, 700);
            assert_eq!(count(&source, &names, &Silent).unwrap(), lens);
            for cached in [None, Some(1 << 20), Some(6000)] {
                let dir = tempfile::tempdir().unwrap();
                let mut spec = spec(&names, &lens, alone());
                spec.cache = cached.map(|limit| Cache::open(dir.path(), limit).unwrap());
                let reader = Reader::new(source.shared(), &names, &lens, &spec).unwrap();
                assert_eq!(reader.left(), 26);
                // The names of the shards are not part of the order.
                orders.insert(keys(reader));
            }
        }
        assert_eq!(orders.len(), 1);
        let order = orders.into_iter().next().unwrap();
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 26);
        assert!(!order.is_sorted());
    }

    #[test]
    fn ranks_and_workers_read_everything_and_another_world_goes_on() {
        let lens = [5, 0, 9, 4, 7, 1];
        let (source, names) = shards(&webdataset::WebDataset, &lens, 10);
        let whole = keys(
            Reader::new(
                source.shared(),
                &names,
                &lens,
                &spec(&names, &lens, alone()),
            )
            .unwrap(),
        );
        for taken in 0..=8 {
            let mut read = Vec::new();
            for rank in 0..3 {
                let share = Share::new(rank, 3, 0, 0, 1).unwrap();
                let reader =
                    Reader::new(source.shared(), &names, &lens, &spec(&names, &lens, share))
                        .unwrap();
                read.extend(reader.take(taken).map(|read| read.unwrap()));
            }
            for (rank, worker) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let mut spec = spec(&names, &lens, Share::new(rank, 2, worker, 2, 3).unwrap());
                spec.cursor = spec.cursor.after(taken as u64, 3);
                spec.remainder = Remainder::Drop;
                let reader = Reader::new(source.shared(), &names, &lens, &spec).unwrap();
                read.extend(reader.map(|read| read.unwrap()));
            }
            read.sort_by_key(|(position, _)| *position);
            let keys: Vec<String> = read
                .iter()
                .map(|(_, sample)| sample.key.to_string())
                .collect();
            // Two ranks drop one of an odd number.
            assert_eq!(keys, whole[..keys.len()]);
            assert!(keys.len() >= 25);
        }
    }

    #[test]
    fn a_cache_is_filled_once_for_all_epochs_and_processes() {
        let lens = [20; 6];
        for format in [
            &webdataset::WebDataset as &'static dyn ShardFormat,
            &webdataset::GZIP,
        ] {
            let (memory, names) = shards(format, &lens, 2000);
            let read = Arc::new(AtomicU64::new(0));
            let source = Counted(memory.clone(), Arc::clone(&read));
            let total: u64 = names
                .iter()
                .map(|(name, _)| memory.bytes(name).unwrap().len() as u64)
                .sum();
            let dir = tempfile::tempdir().unwrap();
            for epoch in 0..3 {
                for rank in 0..2 {
                    let mut spec = spec(&names, &lens, Share::new(rank, 2, 0, 0, 1).unwrap());
                    spec.cursor.epoch = epoch;
                    spec.cache = Some(Cache::open(dir.path(), 1 << 20).unwrap());
                    let reader = Reader::new(source.shared(), &names, &lens, &spec).unwrap();
                    assert_eq!(keys(reader).len(), 60);
                }
            }
            // Once, and some bytes by which formats are known.
            let read = read.load(Ordering::Relaxed);
            assert!(
                read <= total + total / 10,
                "{}: {read} of {total}",
                format.name()
            );
        }
    }

    #[test]
    fn what_is_read_ahead_is_bounded_and_a_reader_can_be_left() {
        let lens = [50; 4];
        let (source, names) = shards(&webdataset::WebDataset, &lens, 3000);
        let spec = spec(&names, &lens, alone());
        let mut reader = Reader::new(source.shared(), &names, &lens, &spec).unwrap();
        for _ in 0..20 {
            reader.next().unwrap().unwrap();
            let state = reader.shared.lock();
            // The limit, the sample that reached it, and one for each thread.
            assert!(state.waiting_bytes <= 4000 + 3 * (3000 + 2 * SAMPLE_LEN_BYTES));
            let open = reader.shared.shards.lock().len();
            assert!(open <= 2 * 2 + 4, "{open}");
        }
        drop(reader);
    }

    #[test]
    fn a_damaged_shard_ends_the_reading_with_its_place() {
        let lens = [10, 10];
        let (source, names) = shards(&webdataset::WebDataset, &lens, 600);
        let bytes = source.bytes("00001.tar").unwrap();
        source.insert("00001.tar", bytes.slice(..8000));
        let reader = Reader::new(
            source.shared(),
            &names,
            &lens,
            &spec(&names, &lens, alone()),
        )
        .unwrap();
        let read: Vec<Result<(u64, Sample)>> = reader.collect();
        let error = read.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(
            error.contains("00001.tar") && error.contains("truncated"),
            "{error}"
        );
        assert!(read.len() < 20);
    }
}
