#!/usr/bin/env bash
# Makes the reference programs of linear probes: a Python environment in .venv/probe with pinned versions, wheels only.
# Does nothing when that is already there.
#
# PYTHON=/path/to/python chooses the interpreter (3.11 or 3.12).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."
venv=.venv/probe
marker=$venv/complete

if [ -f "$marker" ] && cmp --silent "$here/requirements.txt" "$marker"; then
    say "the reference programs of probes are set up in $venv"
    exit 0
fi

python=$(find_python)
say "making $venv with $("$python" --version)"
rm -rf "$venv"
"$python" -m venv "$venv"
say "installing the pinned packages (about 60 MB)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    --requirement "$here/requirements.txt"
"$venv/bin/python" -c 'import sklearn.linear_model, sklearn.svm'
cp "$here/requirements.txt" "$marker"
say "the reference programs of probes are set up in $venv"
