#!/usr/bin/env bash
# NVRTC alone, for tests of kernels on machines without a GPU: an environment .venv/nvrtc with the pinned package. Prints
# the folder of the library.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../../benchmarks/peers/common/python.sh"
cd "$here/../.."
venv=.venv/nvrtc
wanted=$(grep '^nvidia-cuda-nvrtc==' "$here/requirements.txt")
if [ "$(cat "$venv/complete" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    "$(find_python)" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "$wanted" >&2
    printf '%s' "$wanted" >"$venv/complete"
fi
library=$(find "$PWD/$venv" -name 'libnvrtc.so.*' | head -n 1)
dirname "$library"
