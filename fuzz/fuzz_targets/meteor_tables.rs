//! A file of compiled tables of any content is opened or refused, and asked without a panic.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sightline_metrics::meteor::{Tables, align_words};

fuzz_target!(|bytes: Vec<u8>| {
    // The checksum is made right, so that what lies behind it is reached.
    let mut bytes = bytes;
    if bytes.len() > 16 {
        bytes[..8].copy_from_slice(b"SLMETEOR");
        bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
        let checksum = crc32(&bytes[16..]).to_le_bytes();
        bytes[12..16].copy_from_slice(&checksum);
    }
    if let Ok(tables) = Tables::open(Arc::new(bytes)) {
        let words = ["a", "dogs", "in", "the", "park"];
        let _ = align_words(&words, &["the", "dog", "a"], &Arc::new(tables));
    }
});

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc: u32, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
