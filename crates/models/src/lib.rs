//! Capabilities, model families and their registry.
