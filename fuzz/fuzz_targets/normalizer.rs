//! METEOR's normaliser and the stemmers on any text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline_text::{answer, meteor, porter, snowball};

fuzz_target!(|text: &str| {
    let normalizer = meteor::Normalizer::new("Mr\nNo #NUMERIC_ONLY#\n");
    let normalized = normalizer.normalize(text);
    for word in meteor::words(&normalized) {
        let _ = snowball::stem(word);
        let _ = porter::stem(word);
    }
    let _ = answer::normalize(&answer::clean(text));
});
