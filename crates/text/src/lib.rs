//! Turns captions into tokens: byte-pair tokenizers today.
