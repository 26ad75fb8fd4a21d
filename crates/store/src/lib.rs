//! Bytes at rest: local files read at offsets and written atomically.
