# The entry points of the project. `just --list` names them.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Loopback port on which `bench` and `bench-photos` serve their images.
port := "18417"
# Where `bench` writes everything.
quickstart := "out/quickstart"

_default:
    @just --list --unsorted

# The main job, offline: scenes → URLs → shards → models → scores → board, under out/quickstart/.
bench: (_build)
    @benchmarks/quickstart.sh "{{ quickstart }}" "{{ port }}"

# The same on photographs: DIR holds the photos and their manifest.csv, CHECKPOINT is a CLIP folder (either order).
bench-photos dir checkpoint="": (_build)
    @benchmarks/photos.sh "{{ dir }}" "{{ checkpoint }}" out/photos "{{ port }}"

# Everything that CI checks: format, lints, and every test.
test: fmt-check lint
    cargo test --workspace --no-fail-fast

# Compare with the outputs of the reference programs below DIR (default: the full fixtures if they are there, else tests/fixtures).
golden dir="":
    @{{ if dir != "" { "SIGHTLINE_FIXTURES='" + absolute_path(dir) + "'" } else { "" } }} cargo test --workspace --no-fail-fast --test golden -- --nocapture --test-threads 1

# Is the source formatted?
fmt-check:
    cargo fmt --all -- --check

# Clippy with warnings denied, over every target.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Accept changed snapshots (help texts, errors, tables).
snapshots:
    INSTA_UPDATE=always cargo test --workspace

# Production lines per crate: everything before the first `#[cfg(test)]` of a file.
lines:
    @benchmarks/lines.sh

_build:
    @echo "building the release binary (the first build compiles every dependency; 15 to 25 minutes on two cores)" >&2
    cargo build --release --package sightline --package sightline-testkit --bin sightline --bin sightline-test-server
