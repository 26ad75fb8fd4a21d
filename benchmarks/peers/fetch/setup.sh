#!/usr/bin/env bash
# Makes the reference program of the fetch bench: img2dataset in a Python environment in .venv/fetch, pinned versions, wheels only
# but for img2dataset's own pure Python dependencies. Does nothing when that is already there. The server, nginx, comes from the
# system.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."

finish() { "$venv/bin/python" -c 'import img2dataset'; }

set_up fetch "reference program" "a download of 180 MB; 600 MB on disk" --no-deps
