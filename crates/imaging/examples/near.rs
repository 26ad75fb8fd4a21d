//! How long it takes to look for near duplicates among random hashes, a tenth of which are a few bits from an earlier one.
//!
//! ```sh
//! cargo run --release -p sightline-imaging --example near -- 10000000 4
//! ```
//!
//! Prints how many hashes were kept, the seconds, and the peak of the resident memory.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use std::error::Error;
use std::fs;
use std::time::Instant;

use sightline_imaging::hash::{ALIKE, ImageHash, NearIndex};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let distance = arguments.next().map_or(Ok(ALIKE), |n| n.parse())?;
    let mut random = Random(17);
    let mut hashes: Vec<u64> = Vec::with_capacity(count);
    for at in 0..count {
        let fresh = random.next();
        let is_near = at > 0 && at % 10 == 9;
        let hash = if is_near {
            let earlier = hashes[fresh as usize % at];
            (0..distance).fold(earlier, |hash, _| hash ^ 1 << (random.next() % 64))
        } else {
            fresh
        };
        hashes.push(hash);
    }
    let began = Instant::now();
    let mut kept = NearIndex::new(distance);
    for hash in hashes.into_iter().map(ImageHash) {
        if kept.find(hash).is_none() {
            kept.insert(hash);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!(
        "{count} hashes, distance {distance}: {} kept, {seconds:.1} s, {:.2} µs each, {}",
        kept.len(),
        1e6 * seconds / count as f64,
        peak.unwrap_or("peak unknown")
    );
    Ok(())
}

/// `SplitMix64`, by Steele, Lea and Flood (2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
