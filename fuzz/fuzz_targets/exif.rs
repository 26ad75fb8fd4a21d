//! Tags of any bytes are read or refused without a panic, and are bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline_imaging::exif;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tags) = exif(bytes) {
        let len: usize = tags
            .iter()
            .map(|(name, text)| name.len() + text.as_str().map_or(0, str::len))
            .sum();
        assert!(len <= 1 << 20);
    }
});
