//! Sniff, decode, orient, resize, crop and encode images, with limits on every input.
