#!/usr/bin/env bash
# Photos for run.sh: `photos.sh DIR TO` takes small ones and composes large ones from the JPEG files in DIR, as the bench
# of the CPU does, and lays them out in TO/small, TO/large and TO/odd. Needs benchmarks/peers/preprocess/setup.sh.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
.venv/preprocess/bin/python benchmarks/peers/preprocess/photos.py --photos "$1" --small 128 --large 16 --out "$made"
.venv/preprocess/bin/python - "$made/photos.json" "$2" <<'PYTHON'
import json
import shutil
import sys
from pathlib import Path

for name, found in json.loads(Path(sys.argv[1]).read_text()).items():
    folder = Path(sys.argv[2]) / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, file in enumerate(found["files"]):
        shutil.copy(file, folder / f"{number:03d}_{Path(file).name}")
    print(f"{name}: {found['images']} files, {found['source']}")
PYTHON
