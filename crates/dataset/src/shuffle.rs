//! All samples of a dataset in a random order, with bounded memory.
//!
//! Every sample gets a random number of 64 bits, drawn in the order of the dataset, and samples are sorted by it: a uniform shuffle, the same
//! whatever the memory and whichever way is taken.
//!
//! - **By index**: where samples can be found by their number and the list of all numbers fits half of the memory, the list is sorted and samples are
//!   read one by one. Nothing is written on the way.
//! - **By buckets**: else samples are first spread over files, each for a range of the numbers, then each file is read, sorted in memory and
//!   written. A file that is larger than half of the memory is spread once more. All samples are written once more than without, or oftener
//!   where the memory is less than about a thousandth of the dataset.
//!
//! Memory beyond the limit: one sample, and the pieces of a shard that is read and one that is written.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sightline_core::seed::Rng;
use sightline_core::{ObjectSource, Progress, Sample, Seed};
use sightline_shard::{ReaderStats, SampleAt};
use tempfile::TempDir;

use crate::Result;
use crate::convert::{NamedShard, Samples};
use crate::count::check_count;
use crate::spool::{decode, encode};
use crate::staging::failed;

/// Most files that are written at the same time.
const MOST_BUCKETS: u64 = 256;
/// Most shards that are open at the same time.
const MOST_OPEN: usize = 512;
/// Memory of a sample in the sorted list, and of its place in an open shard.
const INDEX_LEN_BYTES: u64 = 24;
/// Smallest and largest buffer of a file that is written.
const BUFFER_LEN_BYTES: (u64, u64) = (4 << 10, 1 << 20);
/// What stands before a sample in a file: its number and its length.
const HEAD_LEN_BYTES: u64 = 16;
/// Memory of a sample of a bucket that is sorted, beside its bytes.
const ENTRY_LEN_BYTES: u64 = 24;

/// Whether `lens` samples are shuffled by their index.
pub(crate) fn by_index(names: &[NamedShard], lens: &[u64], memory_bytes: u64) -> bool {
    let samples: u64 = lens.iter().sum();
    names.len() <= MOST_OPEN
        && lens.iter().all(|len| u32::try_from(*len).is_ok())
        && samples.saturating_mul(INDEX_LEN_BYTES) <= memory_bytes / 2
}

/// The shards of `names`, which were counted to hold `lens` samples, if samples of all of them can be found by their number.
pub(crate) fn open_all(
    source: &dyn ObjectSource,
    names: &[NamedShard],
    lens: &[u64],
) -> Result<Option<Vec<Box<dyn SampleAt>>>> {
    let mut shards = Vec::new();
    for ((name, format), len) in names.iter().zip(lens) {
        let Some(shard) = format.open_at(source, name)? else {
            return Ok(None);
        };
        check_count(name, *len, shard.samples())?;
        shards.push(shard);
    }
    Ok(Some(shards))
}

fn numbers(seed: Seed) -> Rng {
    seed.child("reshard", 0).rng()
}

/// Samples by a sorted list.
pub(crate) struct ByIndex {
    shards: Vec<Box<dyn SampleAt>>,
    order: std::vec::IntoIter<(u64, u32, u32)>,
    /// What was seen of the samples so far.
    pub(crate) stats: ReaderStats,
}

impl ByIndex {
    pub(crate) fn new(shards: Vec<Box<dyn SampleAt>>, seed: Seed) -> Self {
        let mut rng = numbers(seed);
        let samples = shards.iter().map(|shard| shard.samples()).sum::<u64>();
        let mut order = Vec::with_capacity(samples as usize);
        for (shard, at) in (0..).zip(&shards) {
            for row in 0..at.samples() as u32 {
                order.push((rng.bits(), shard, row));
            }
        }
        order.sort_unstable();
        Self {
            shards,
            order: order.into_iter(),
            stats: ReaderStats::default(),
        }
    }

    /// Passes over the next `samples`.
    pub(crate) fn skip(&mut self, samples: u64) {
        self.order.by_ref().take(samples as usize).for_each(drop);
    }

    pub(crate) fn next(&mut self) -> Result<Option<Sample>> {
        let Some((_, shard, row)) = self.order.next() else {
            return Ok(None);
        };
        let shard = &self.shards[shard as usize];
        Ok(Some(shard.read(row.into(), &mut self.stats)?))
    }
}

/// Samples by files of ranges.
pub(crate) struct Buckets {
    folder: TempDir,
    memory_bytes: u64,
    /// The files that are left, the next one last.
    todo: Vec<Bucket>,
    /// Files so far, for their names.
    files: u64,
    bytes: Bytes,
    /// Numbers, offsets and ends of the samples in `bytes`, the next one last.
    sorted: Vec<(u64, usize, usize)>,
    /// What was seen of the samples.
    pub(crate) stats: ReaderStats,
}

/// A file of the samples whose numbers are in a range.
#[derive(Debug)]
struct Bucket {
    path: PathBuf,
    start: u128,
    end: u128,
    len_bytes: u64,
    samples: u64,
}

impl Buckets {
    /// Spreads `samples`, about `len_bytes` long together, over files in `folder`.
    pub(crate) fn spread(
        mut samples: Samples<'_>,
        len_bytes: u64,
        seed: Seed,
        memory_bytes: u64,
        folder: TempDir,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut buckets = Self {
            folder,
            memory_bytes,
            todo: Vec::new(),
            files: 0,
            bytes: Bytes::new(),
            sorted: Vec::new(),
            stats: ReaderStats::default(),
        };
        let mut rng = numbers(seed);
        let mut files = buckets.files(0, 1 << 64, len_bytes)?;
        let mut buffer = Vec::new();
        while let Some(sample) = samples.next()? {
            buffer.clear();
            encode(&sample, &mut buffer).map_err(failed("write", buckets.folder.path()))?;
            files.put(rng.bits(), &buffer)?;
            progress.advance(1);
        }
        buckets.todo.extend(files.finish()?);
        buckets.stats = samples.into_stats();
        Ok(buckets)
    }

    /// Files for the numbers from `start` to `end`, for samples of about `len_bytes`.
    fn files(&mut self, start: u128, end: u128, len_bytes: u64) -> Result<Files> {
        // A quarter of the memory for a file that is sorted, so that few are larger than half.
        let wanted = (len_bytes / (self.memory_bytes / 4).max(1)).saturating_add(1);
        let most = (self.memory_bytes / 4 / BUFFER_LEN_BYTES.0).clamp(2, MOST_BUCKETS);
        let number = wanted.clamp(2, most);
        let (least, most) = BUFFER_LEN_BYTES;
        let buffer = (self.memory_bytes / 4 / number).clamp(least, most) as usize;
        let width = end - start;
        let files: Result<Vec<(Bucket, BufWriter<File>)>> = (0..u128::from(number))
            .map(|n| {
                let path = self.folder.path().join(format!("{}", self.files));
                self.files += 1;
                let file = File::create_new(&path).map_err(failed("create", &path))?;
                let bucket = Bucket {
                    path,
                    start: start + (width * n).div_ceil(u128::from(number)),
                    end: start + (width * (n + 1)).div_ceil(u128::from(number)),
                    len_bytes: 0,
                    samples: 0,
                };
                Ok((bucket, BufWriter::with_capacity(buffer, file)))
            })
            .collect();
        Ok(Files {
            start,
            width,
            buckets: files?,
        })
    }

    /// Passes over the next `samples`; whole files are not read. Only before anything is read.
    pub(crate) fn skip(&mut self, mut samples: u64) -> Result<()> {
        while let Some(bucket) = self.todo.pop_if(|bucket| bucket.samples <= samples) {
            samples -= bucket.samples;
            fs::remove_file(&bucket.path).map_err(failed("remove", &bucket.path))?;
        }
        for _ in 0..samples {
            self.next()?;
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<Option<Sample>> {
        loop {
            if let Some((_, start, end)) = self.sorted.pop() {
                let sample = decode(self.bytes.slice(start..end));
                return Ok(Some(sample.map_err(failed("read", self.folder.path()))?));
            }
            // Before the next file is read.
            self.bytes = Bytes::new();
            let Some(bucket) = self.todo.pop() else {
                return Ok(None);
            };
            let need = bucket.len_bytes + bucket.samples * ENTRY_LEN_BYTES;
            let fits = need <= self.memory_bytes / 2;
            if fits || bucket.samples <= 1 || bucket.end - bucket.start <= 1 {
                self.load(&bucket)?;
            } else {
                self.split(&bucket)?;
            }
            fs::remove_file(&bucket.path).map_err(failed("remove", &bucket.path))?;
        }
    }

    fn load(&mut self, bucket: &Bucket) -> Result<()> {
        let bytes = fs::read(&bucket.path).map_err(failed("read", &bucket.path))?;
        let mut at = 0;
        self.sorted.clear();
        self.sorted.reserve_exact(bucket.samples as usize);
        while let Some(head) = bytes[at..].first_chunk::<{ HEAD_LEN_BYTES as usize }>() {
            let (number, len) = parse_head(*head);
            let start = at + head.len();
            at = start.saturating_add(len as usize).min(bytes.len());
            self.sorted.push((number, start, at));
        }
        // Samples with equal numbers in the order of the dataset; taken from the end.
        self.sorted.sort_unstable_by(|a, b| b.cmp(a));
        self.bytes = bytes.into();
        Ok(())
    }

    fn split(&mut self, bucket: &Bucket) -> Result<()> {
        let file = File::open(&bucket.path).map_err(failed("open", &bucket.path))?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut files = self.files(bucket.start, bucket.end, bucket.len_bytes)?;
        let mut buffer = Vec::new();
        for _ in 0..bucket.samples {
            let mut head = [0; HEAD_LEN_BYTES as usize];
            let mut read = || -> std::io::Result<u64> {
                reader.read_exact(&mut head)?;
                let (number, len) = parse_head(head);
                buffer.resize(len as usize, 0);
                reader.read_exact(&mut buffer)?;
                Ok(number)
            };
            let number = read().map_err(failed("read", &bucket.path))?;
            files.put(number, &buffer)?;
        }
        self.todo.extend(files.finish()?);
        Ok(())
    }
}

fn parse_head(head: [u8; HEAD_LEN_BYTES as usize]) -> (u64, u64) {
    let [number, len] = [0, 8].map(|at| {
        let bytes = head[at..at + 8].iter().rev();
        bytes.fold(0, |value, byte| value << 8 | u64::from(*byte))
    });
    (number, len)
}

/// Files that are being written.
struct Files {
    start: u128,
    width: u128,
    buckets: Vec<(Bucket, BufWriter<File>)>,
}

impl Files {
    fn put(&mut self, number: u64, sample: &[u8]) -> Result<()> {
        let at = (u128::from(number) - self.start) * self.buckets.len() as u128 / self.width;
        let (bucket, file) = &mut self.buckets[at as usize];
        file.write_all(&number.to_le_bytes())
            .and_then(|()| file.write_all(&(sample.len() as u64).to_le_bytes()))
            .and_then(|()| file.write_all(sample))
            .map_err(failed("write", &bucket.path))?;
        bucket.samples += 1;
        bucket.len_bytes += HEAD_LEN_BYTES + sample.len() as u64;
        Ok(())
    }

    /// The files, the first one last.
    fn finish(self) -> Result<Vec<Bucket>> {
        let mut buckets = Vec::new();
        for (bucket, mut file) in self.buckets.into_iter().rev() {
            file.flush().map_err(failed("write", &bucket.path))?;
            buckets.push(bucket);
        }
        Ok(buckets)
    }
}

/// Samples that are kept in a file, to be had again.
pub(crate) struct Kept {
    path: PathBuf,
    writer: Option<crate::spool::SpoolWriter<BufWriter<File>>>,
    spool: Option<crate::spool::Spool>,
}

impl Kept {
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let path = folder.join("kept");
        let file = File::create_new(&path).map_err(failed("create", &path))?;
        Ok(Self {
            writer: Some(crate::spool::SpoolWriter::new(BufWriter::new(file))),
            spool: None,
            path,
        })
    }

    pub(crate) fn keep(&mut self, sample: &Sample) -> Result<()> {
        match &mut self.writer {
            Some(writer) => writer.write(sample).map_err(failed("write", &self.path)),
            None => Ok(()),
        }
    }

    /// The sample number `row`, after which none is kept any more.
    pub(crate) fn sample(&mut self, row: u64) -> Result<Sample> {
        if let Some(writer) = self.writer.take() {
            writer.finish().map_err(failed("write", &self.path))?;
            let file = sightline_store::FileAt::open(&self.path)?;
            let spool = crate::spool::Spool::open(std::sync::Arc::new(file), "kept");
            self.spool = Some(spool.map_err(failed("read", &self.path))?);
        }
        match &self.spool {
            Some(spool) => Ok(spool.sample(row)?),
            None => Err(failed("read", &self.path)(
                std::io::ErrorKind::NotFound.into(),
            )),
        }
    }
}
