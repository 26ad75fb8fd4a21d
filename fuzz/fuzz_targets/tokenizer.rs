//! The caption tokenizer on any text: tokens hold no white space, and all of the text is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline_text::ptb;

fuzz_target!(|text: &str| {
    for token in ptb::tokenize(text) {
        assert!(!token.is_empty() && !token.contains(' '), "{token:?}");
    }
    let caption = ptb::caption(text);
    assert!(caption.split(' ').all(|token| !ptb::is_dropped(token)));
});
