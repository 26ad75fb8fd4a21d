#!/usr/bin/env bash
# Makes the reference program of the fetch bench: img2dataset in a Python environment in .venv/fetch, pinned versions,
# wheels only but for img2dataset's own pure Python dependencies. Does nothing when that is already there.
#
# PYTHON=/path/to/python chooses the interpreter (3.11 or 3.12). The server, nginx, comes from the system.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."
venv=.venv/fetch
marker=$venv/complete

if [ -f "$marker" ] && cmp --silent "$here/requirements.txt" "$marker"; then
    say "the reference program is set up in $venv"
    exit 0
fi

python=$(find_python)
say "making $venv with $("$python" --version)"
rm -rf "$venv"
"$python" -m venv "$venv"
say "installing the pinned packages (a download of 180 MB; 600 MB on disk)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --requirement "$here/requirements.txt"
"$venv/bin/python" -c 'import img2dataset'
cp "$here/requirements.txt" "$marker"
say "the reference program is set up in $venv"
