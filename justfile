# The entry points of the project. `just --list` names them.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Loopback port on which `bench` and `bench-photos` serve their images.
port := "18417"
# Where `bench` writes everything.
quickstart := "out/quickstart"

# Snapshots of this checkout, also when the test binaries were built in another one.
export INSTA_WORKSPACE_ROOT := justfile_directory()

_default:
    @just --list --unsorted

# The main job, offline: scenes → URLs → shards → the tiny zoo → scores → board, under out/quickstart/ (docs/tutorial.md).
bench: (_build)
    @benchmarks/quickstart.sh "{{ quickstart }}" "{{ port }}"

# The same on photographs: DIR holds the photos and their manifest.csv, CHECKPOINT is a CLIP folder (either order).
bench-photos dir checkpoint="": (_build)
    @benchmarks/photos.sh "{{ dir }}" "{{ checkpoint }}" out/photos "{{ port }}"

# The tiny zoo: every model of manifests/train/, or those named, trained on drawn scenes and kept in zoo/ with its record and log.
train-zoo *names: (_build)
    @benchmarks/train-zoo.sh "${CARGO_TARGET_DIR:-target}/release/sightline" zoo {{ names }}

# The suites of manifests/suites/nightly.toml that are not recorded yet, the board, and 1 where a model got worse since the last night.
nightly *args: (_build)
    @test -d "{{ quickstart }}/shards/test" || just bench
    @"${CARGO_TARGET_DIR:-target}/release/sightline" nightly --records out/nightly/records --out out/nightly/site {{ args }}

# A plan of shards, and the parts of a suite, on a Ray cluster of two nodes on this machine, one of which is killed half-way (a download of 90 MB).
test-ray: (_build)
    @integrations/ray/setup.sh
    @.venv/ray/bin/python integrations/ray/test_cluster.py --sightline "${CARGO_TARGET_DIR:-target}/release/sightline"
    @.venv/ray/bin/python integrations/ray/test_suite.py --sightline "${CARGO_TARGET_DIR:-target}/release/sightline"

# The same on a Slurm cluster of two nodes on loopback: needs root and Slurm (Debian: apt-get install slurm-wlm munge).
test-slurm: (_build)
    @integrations/slurm/test_cluster.sh "${CARGO_TARGET_DIR:-target}/release/sightline"

# Shards in Azurite, Microsoft's stand-in for Azure Blob Storage, on loopback: needs node and npm (186 MB in .venv/azurite).
test-azure: (_build)
    @integrations/azure/test_azurite.sh "${CARGO_TARGET_DIR:-target}/release/sightline"

# Time AREA (fetch, metrics, models, preprocess, shards or train) against its reference programs, after checking that both give the same values.
bench-peers area *args: (_peers area) (_peers-build area)
    @.venv/{{ area }}/bin/python benchmarks/peers/{{ area }}/run.py {{ args }}

# Prove the shards of AREA (shards) with the programs from PyPI that read and write them, both ways.
test-peers area="shards" *args: (_peers area)
    cargo test --workspace --no-run
    @.venv/{{ area }}/bin/python benchmarks/peers/{{ area }}/check.py "${CARGO_TARGET_DIR:-target}/debug/sightline" {{ args }}

# What CI checks, before `test-peers`: format, lints, and every test.
test: fmt-check lint metrics-data objects-server cuda-kernels && test-webgpu test-view
    cargo test --workspace --no-fail-fast

# The build of the tests holds the program too; that of the program alone has other features of its libraries and compiles them once more.
# METEOR's tables, once: pip fetches the package that holds the data (104 MB), the program compiles them into its cache.
metrics-data:
    cargo test --workspace --no-run
    @"${CARGO_TARGET_DIR:-target}/debug/sightline" metrics setup \
        || echo "METEOR cannot be compared with the reference program: its tables are not there" >&2

# Object stores alone, with a real S3 server on loopback.
test-objects:
    @benchmarks/peers/objects/setup.sh
    cargo test --package sightline-store
    SIGHTLINE_REQUIRE_S3=1 cargo test --package sightline --test main objects::

# The S3 server of the tests of object stores, once: Python packages (30 MB) in .venv/objects. Without it these tests are skipped.
objects-server:
    @benchmarks/peers/objects/setup.sh \
        || echo "object stores cannot be compared with a real S3 server: it could not be set up" >&2

# Compare with the outputs of the reference programs below DIR (default: the full fixtures if they are there, else tests/fixtures).
golden dir="": metrics-data
    @{{ if dir != "" { "SIGHTLINE_FIXTURES='" + absolute_path(dir) + "'" } else { "" } }} cargo test --workspace --no-fail-fast --test golden -- --nocapture --test-threads 1

# The golden files of linear probes again, with scikit-learn (a download of 60 MB into .venv/probe).
golden-probe:
    @benchmarks/peers/probe/setup.sh
    @OMP_NUM_THREADS=1 .venv/probe/bin/python benchmarks/peers/probe/golden.py crates/harness/tests/fixtures/probe

# Is the source formatted?
fmt-check:
    cargo fmt --all -- --check

# Clippy with warnings denied, over every target.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# What a GPU computes, bit for bit as the CPU does: on the first that Vulkan finds, else on Mesa's software Vulkan (installs
# Debian's mesa-vulkan-drivers and libvulkan1 where it may; without a driver the tests are skipped).
test-webgpu:
    cargo clippy --workspace --features webgpu --all-targets -- -D warnings
    @if integrations/webgpu/setup.sh; then export SIGHTLINE_REQUIRE_WEBGPU=1; fi; NODEVICE_SELECT=1 \
        cargo test --workspace --features webgpu --lib --test golden --test main --no-fail-fast -- gpu

# The page of `shards view` and the board in headless Chromium (installs Debian's chromium where it may; without one the tests are skipped).
test-view:
    @if browser=$(integrations/chromium/setup.sh); then export SIGHTLINE_REQUIRE_CHROMIUM=1 SIGHTLINE_CHROMIUM="$browser"; fi; \
        cargo test --workspace --test main --no-fail-fast -- view:: board::

# Accept changed snapshots (help texts, errors, tables).
snapshots:
    INSTA_UPDATE=always cargo test --workspace

# Production lines per crate: everything before the first `#[cfg(test)]` of a file.
lines:
    @benchmarks/lines.sh

# The CUDA kernels without a card: NVRTC compiles those of preprocessing (a download of 50 MB), whose way over a card is tested; those of
# models are compiled as C++.
cuda-kernels:
    cargo clippy --package sightline --package sightline-cuda --package sightline-preprocess --features sightline/cuda-kernels --all-targets -- -D warnings
    @if nvrtc=$(integrations/cuda/nvrtc.sh); then export SIGHTLINE_REQUIRE_NVRTC=1 SIGHTLINE_NVRTC="$nvrtc"; \
        else echo "NVRTC cannot be fetched: whether the kernels compile for cards is not checked" >&2; fi; \
        cargo test --package sightline-cuda
    cargo test --package sightline-preprocess --features cuda-kernels --test cuda
    SIGHTLINE_REQUIRE_CXX=1 cargo test --package sightline-nn --test kernels

# What a card does beside its peers, in less than nine minutes: PHOTOS is a folder of JPEG files. Needs a GPU.
bench-gpu photos out="out/bench-gpu": (_peers "preprocess")
    cargo build --release --package sightline-preprocess --features cuda-kernels --example gpu_bench
    @integrations/cuda/build.sh -- build --release --package sightline-models --features cuda --example device_speed --example device_check
    @benchmarks/gpu/photos.sh "{{ photos }}" "{{ out }}/photos"
    @mkdir -p "{{ out }}/programs"
    @cp "${CARGO_TARGET_DIR:-target}/release/examples/gpu_bench" "${CARGO_TARGET_DIR:-target}/cuda/release/examples/device_speed" "${CARGO_TARGET_DIR:-target}/cuda/release/examples/device_check" "{{ out }}/programs/"
    @benchmarks/gpu/run.sh "{{ out }}/programs" "{{ out }}/photos" "{{ out }}"

# What a build with CUDA needs besides a C compiler: NVIDIA's compiler as Python wheels (500 MB), or CUDA_HOME's. No GPU is needed.
cuda-toolchain:
    @integrations/cuda/setup.sh

# The program with CUDA, beside the usual one: sightline-cuda (CUDA_COMPUTE_CAP=90 is the oldest card that it runs on).
build-cuda:
    @integrations/cuda/build.sh

_peers area:
    @benchmarks/peers/{{ area }}/setup.sh

# Where libraries are called, by programs that do just that. All packages are named so that crates from outside get the features that they have in the program.
_peers-build area:
    @{{ if area == "models" { "true" } else { just_executable() + " _build" } }}
    @{{ if area =~ "models|shards" { "cargo build --release --package sightline --package sightline-testkit --package sightline-bench --bin sightline-bench-" + area } else { "true" } }}

_build:
    @echo "building the release binary (the first build compiles every dependency; 15 to 35 minutes on two cores)" >&2
    cargo build --release --package sightline --package sightline-testkit --bin sightline --bin sightline-test-server

# Decoding and resizing on 64-bit ARM, under emulation: needs rustup and qemu-aarch64-static (Debian: qemu-user-static).
test-aarch64:
    rustup target add aarch64-unknown-linux-musl
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER=qemu-aarch64-static \
        cargo test --package sightline-imaging --target aarch64-unknown-linux-musl

# Fuzz one of tokenizer, normalizer, sentencepiece, meteor-tables, exif, decode, pickle, shards for some seconds, on stable Rust (needs g++).
fuzz target seconds="60":
    cd fuzz && RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1" \
        cargo run --release --target "$(rustc -vV | sed -n 's/^host: //p')" --bin "{{ target }}" -- -max_total_time="{{ seconds }}" -max_len=4096
