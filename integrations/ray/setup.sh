#!/usr/bin/env bash
# Makes .venv/ray with pinned versions, for the test of fetch_on_ray.py. Does nothing when it is already there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../../benchmarks/peers/common/python.sh"
cd "$here/../.."
venv=.venv/ray
marker=$venv/complete
if [ -f "$marker" ] && cmp --silent "$here/requirements.txt" "$marker"; then
    exit 0
fi
python=$(find_python)
say "making $venv with $("$python" --version) (a download of 90 MB; 350 MB on disk)"
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --requirement "$here/requirements.txt"
"$venv/bin/python" -c 'import ray'
cp "$here/requirements.txt" "$marker"
