#!/usr/bin/env bash
# Makes the readers and writers that our shards are compared with: a Python environment in .venv/shards with pinned versions,
# wheels only. Does nothing when that is already there. Needs a C compiler.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."

wanted() { cat "$here/requirements.txt" "$stand_in"; }

# The code in tfrecord that protobuf's compiler made is old: only protobuf's plain Python accepts it.
finish() {
    without_cuda
    PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python OMP_NUM_THREADS=1 "$venv/bin/python" - <<'PYTHON'
import crc32c, datasets, imagehash, litdata, pyarrow.parquet, streaming, tfrecord, torch, webdataset, wids
import megatron.energon
import scipy.fftpack
PYTHON
}

set_up shards "peers" "a download of 1 GB, of which torch is 540 MB" --no-deps --only-binary :all:
