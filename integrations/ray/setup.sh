#!/usr/bin/env bash
# Makes .venv/ray with pinned versions, for the test of fetch_on_ray.py. Does nothing when it is already there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../../benchmarks/peers/common/python.sh"
cd "$here/../.."

finish() { "$venv/bin/python" -c 'import ray'; }

set_up ray "cluster" "a download of 90 MB; 350 MB on disk" --no-deps --only-binary :all:
