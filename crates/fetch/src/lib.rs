//! URL table to polite download to filter to shards, resumable.
