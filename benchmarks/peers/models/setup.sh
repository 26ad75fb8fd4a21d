#!/usr/bin/env bash
# Makes the reference programs of the model bench: a Python environment in .venv/models with pinned versions, wheels only.
# Does nothing when that is already there. Needs a C compiler.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."

wanted() { cat "$here/requirements.txt" "$stand_in"; }

finish() {
    without_cuda
    OMP_NUM_THREADS=1 "$venv/bin/python" - <<'PYTHON'
import safetensors.torch, torch
from torchvision.models import resnet50
from transformers import CLIPModel, VisualBertForQuestionAnswering

if torch.cuda.is_available() or torch.ones(2, 3).matmul(torch.ones(3, 2))[0, 0] != 3:
    raise SystemExit("torch does not work as it should")
PYTHON
}

set_up models "reference programs" "a download of 700 MB, of which torch is 540; 1.7 GB on disk" --no-deps --only-binary :all:
