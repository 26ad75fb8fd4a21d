//! Tools over whole datasets of shards.
