#!/usr/bin/env bash
# Builds the program with CUDA beside the usual one, as <target>/cuda/release/sightline-cuda. No GPU is needed.
#
#   build.sh              the program, without debug information
#   build.sh -- ARGS      cargo ARGS in the same environment: build.sh -- test -p sightline-nn --features cuda --no-run
#
# CUDA_COMPUTE_CAP=80 chooses the oldest card to run on (default 90: H100 and H200).
# The program needs no CUDA library to start; loader.c says where it looks for them when --device asks for a GPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
say() { printf '%s\n' "$*" >&2; }

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    say "building with CUDA works on Linux on x86-64 only (this is $(uname -sm))"
    exit 1
fi
"$here/setup.sh"
toolkit=$PWD/.venv/cuda/toolkit
# Beside the usual products, of which it would overwrite the program.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/cuda
export CUDA_HOME=$toolkit PATH=$toolkit/bin:$PATH CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
# Its search would find an installed toolkit before ours.
unset CUDA_PATH CUDA_ROOT CUDA_TOOLKIT_ROOT_DIR NVCC

crate() {
    cargo metadata --format-version 1 --features cuda --filter-platform x86_64-unknown-linux-gnu |
        python3 -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(*(os.path.dirname(p["manifest_path"]) for p in packages if p["name"] == sys.argv[1]))' "$1"
}
major=$(nvcc --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
loader=$(mktemp -d)
trap 'rm -rf "$loader"' EXIT
python3 "$here/loader.py" "$(crate cudarc)" "$(crate candle-kernels)" "$major" >"$loader/table.S"
cc -c -fPIC -o "$loader/table.o" "$loader/table.S"
cc -c -fPIC -O2 -Wall -o "$loader/loader.o" "$here/loader.c"
archive=$toolkit/lib64/libsightline_cuda.a
ar rcsD "$loader/libsightline_cuda.a" "$loader/table.o" "$loader/loader.o"
cmp --silent "$loader/libsightline_cuda.a" "$archive" || cp "$loader/libsightline_cuda.a" "$archive"

if [ "${1:-}" = -- ]; then
    shift
    cargo "$@"
    exit
fi
say "building the program with CUDA (the first build compiles every dependency and CUDA's kernels; 25 minutes on two cores)"
cargo build --release --package sightline --bin sightline --features cuda
program=$CARGO_TARGET_DIR/release/sightline-cuda
strip -o "$program" "$CARGO_TARGET_DIR/release/sightline"
say "built $program"
