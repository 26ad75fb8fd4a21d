#!/usr/bin/env bash
# Makes the reference programs of the preprocessing bench: a Python environment in .venv/preprocess with pinned versions,
# wheels only. Does nothing when that is already there. Needs a C compiler.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."

wanted() { cat "$here/requirements.txt" "$stand_in"; }

finish() {
    without_cuda
    OMP_NUM_THREADS=1 "$venv/bin/python" - <<'PYTHON'
import cv2, open_clip, safetensors, torch
from torchvision.io import decode_jpeg
from torchvision.transforms.v2 import functional
from transformers import CLIPImageProcessor, CLIPImageProcessorFast

image = torch.arange(3 * 64 * 64, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(3, 64, 64)
if functional.resize(image, [32, 32], antialias=True).shape != (3, 32, 32) or torch.cuda.is_available():
    raise SystemExit("torch does not work as it should")
PYTHON
}

set_up preprocess "reference programs" "a download of 700 MB, of which torch is 540; 1.8 GB on disk" --no-deps --only-binary :all:
