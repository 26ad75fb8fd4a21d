#!/usr/bin/env bash
# Makes a real S3 server for the tests of object stores: moto in a Python environment in .venv/objects, pinned versions, wheels
# only, and of moto no more than S3 and users need. Does nothing when that is already there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."

finish() { "$venv/bin/python" -c 'import moto.server'; }

set_up objects "S3 server" "a download of 30 MB; 140 MB on disk" --no-deps
