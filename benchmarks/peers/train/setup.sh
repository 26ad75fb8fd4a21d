#!/usr/bin/env bash
# Makes the reference programs of the training bench: a Python environment in .venv/train with pinned versions, wheels only.
# Does nothing when that is already there. Needs a C compiler.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."

wanted() { cat "$here/requirements.txt" "$stand_in"; }

finish() {
    without_cuda
    OMP_NUM_THREADS=1 "$venv/bin/python" - <<'PYTHON'
import numpy, safetensors.torch, sentencepiece, tokenizers, torch
from PIL import Image
from transformers import AlignModel, CLIPModel, GPT2LMHeadModel, VisualBertForQuestionAnswering

if torch.cuda.is_available() or torch.ones(2, 3).matmul(torch.ones(3, 2))[0, 0] != 3:
    raise SystemExit("torch does not work as it should")
PYTHON
}

set_up train "reference programs" "a download of 700 MB, of which torch is 540; 1.7 GB on disk" --no-deps --only-binary :all:
