//! Shards of samples behind one format trait.
