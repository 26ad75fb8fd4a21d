#!/usr/bin/env bash
# Makes the reference programs of linear probes: a Python environment in .venv/probe with pinned versions, wheels only. Does
# nothing when that is already there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."

finish() { "$venv/bin/python" -c 'import sklearn.linear_model, sklearn.svm'; }

set_up probe "reference programs" "about 60 MB" --only-binary :all:
