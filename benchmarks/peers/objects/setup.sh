#!/usr/bin/env bash
# Makes a real S3 server for the tests of object stores: moto in a Python environment in .venv/objects, pinned versions,
# wheels only, and of moto no more than S3 and users need. Does nothing when that is already there.
#
# PYTHON=/path/to/python chooses the interpreter (3.11 or 3.12).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."
venv=.venv/objects
marker=$venv/complete

if [ -f "$marker" ] && cmp --silent "$here/requirements.txt" "$marker"; then
    say "the S3 server is set up in $venv"
    exit 0
fi

python=$(find_python)
say "making $venv with $("$python" --version)"
rm -rf "$venv"
"$python" -m venv "$venv"
say "installing the pinned packages (a download of 30 MB; 140 MB on disk)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --requirement "$here/requirements.txt"
"$venv/bin/python" -c 'import moto.server'
cp "$here/requirements.txt" "$marker"
say "the S3 server is set up in $venv"
