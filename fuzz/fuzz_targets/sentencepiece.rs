//! A SentencePiece model of any bytes, and a text cut by it: no panic, and every id can be decoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline_text::SentencePiece;

fuzz_target!(|input: (&[u8], &str)| {
    let (model, text) = input;
    if let Ok(tokenizer) = SentencePiece::from_bytes(model) {
        let ids = tokenizer.encode(text);
        tokenizer
            .decode(&ids)
            .expect("ids of a text are in the vocabulary");
    }
});
