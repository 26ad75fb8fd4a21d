//! TOML manifests with spans, validated plans and lock files.
