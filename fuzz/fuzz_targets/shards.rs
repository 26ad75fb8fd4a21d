//! Any bytes as a shard of any format: read to an orderly end, without a panic and with bounded memory.
//!
//! The first byte chooses the format. Inputs grow from small shards of each. The crate that decodes Parquet panics on some damaged files, which
//! `sightline_shard` catches: these panics are answers here.
#![no_main]

use std::panic;
use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use sightline_core::io::Memory;
use sightline_core::{Sample, ShardId};
use sightline_shard::{FORMATS, ShardFormat, conformance};

fuzz_target!(init: let_parquet_panic(), |bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let format = FORMATS[*choice as usize % FORMATS.len()];
    let shards = Memory::default();
    let name = format.file_name(ShardId(0));
    shards.insert(&name, bytes.to_vec());
    let mut read = Vec::new();
    if let Ok(mut reader) = format.open(&shards, &name) {
        let mut samples = 0;
        while let Ok(Some(sample)) = reader.next_sample() {
            samples += 1;
            // A row of nulls takes no bytes in some formats, but their number is bounded by the length.
            assert!(samples <= 64 * bytes.len());
            if read.len() < 16 {
                read.push(sample);
            }
        }
    }
    let _ = format.count(&shards, &name);
    // A sample that is found by its number is the one that is read in order.
    if let Ok(Some(shard)) = format.open_at(&shards, &name) {
        for (row, sample) in (0..shard.samples().min(16)).zip(&read) {
            if let Ok(found) = shard.sample(row) {
                assert_eq!(&found, sample);
            }
        }
    }
    if format.name() == "webdataset" {
        let _ = sightline_shard::webdataset::layout(&shards, &name);
    }
});

/// Panics of the Parquet crate end nothing; all others do, as ever.
fn let_parquet_panic() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", |location| location.file());
        if !file.contains("/parquet-") {
            others(panic);
        }
    }));
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let seeds = &*SEEDS;
    let shard = &seeds[seed as usize % seeds.len()];
    if (size < 2 || seed.is_multiple_of(512)) && shard.len() <= max_size {
        data[..shard.len()].copy_from_slice(shard);
        return shard.len();
    }
    fuzzer_mutate(data, size, max_size)
});

/// Small shards of each format, behind the byte that chooses it. Archives are filled to records of 10 KiB, which few inputs are long enough for: they
/// end after their end mark here.
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let samples = conformance::samples();
    let seed = |(at, format): (usize, &&dyn ShardFormat), samples: &[Sample]| {
        let mut shards = Memory::default();
        let mut writer = format.create(&mut shards, ShardId(0)).ok()?;
        for sample in samples {
            writer.write(sample).ok()?;
        }
        writer.finish().ok()?;
        let mut bytes = shards.bytes(&format.file_name(ShardId(0)))?.to_vec();
        while format.name() == "webdataset" && bytes.ends_with(&[0; 3 * 512]) {
            bytes.truncate(bytes.len() - 512);
        }
        Some([&[at as u8], &bytes[..]].concat())
    };
    let some = [&samples[1..4], &samples[3..4], &samples[2..3]];
    let of_all = some.map(|samples| {
        FORMATS
            .iter()
            .enumerate()
            .filter_map(move |format| seed(format, samples))
    });
    of_all.into_iter().flatten().collect()
});
