#!/usr/bin/env bash
# Makes the readers and writers that our shards are compared with: a Python environment in .venv/shards with
# pinned versions, wheels only. Does nothing when that is already there.
#
# PYTHON=/path/to/python chooses the interpreter (3.11 or 3.12).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."
venv=.venv/shards
marker=$venv/complete

wanted() { cat "$here/requirements.txt" "$here/../common/stand_in.sh"; }

# Everything that the comparison loads, so that what is missing is found here.
#
# The code in tfrecord that protobuf's compiler made is old: only protobuf's plain Python accepts it.
try_imports() {
    PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python OMP_NUM_THREADS=1 "$venv/bin/python" - <<'PYTHON'
import crc32c, datasets, imagehash, litdata, pyarrow.parquet, streaming, tfrecord, torch, webdataset, wids
import megatron.energon
import scipy.fftpack
PYTHON
}

if [ -f "$marker" ] && wanted | cmp --silent - "$marker"; then
    say "the peers are set up in $venv"
    exit 0
fi

python=$(find_python)
say "making $venv with $("$python" --version)"
rm -rf "$venv"
"$python" -m venv "$venv"
say "installing the pinned packages (a download of 1 GB, of which torch is 540 MB)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --requirement "$here/requirements.txt"
bash "$here/../common/stand_in.sh" "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/torch/lib"
say "trying the packages"
try_imports
wanted >"$marker"
say "the peers are set up in $venv"
