#!/usr/bin/env bash
# Makes the reference programs of the training bench: a Python environment in .venv/train with pinned
# versions, wheels only. Does nothing when that is already there.
#
# PyPI's torch for Linux is linked against gigabytes of CUDA libraries, which it needs to start but never calls
# on a CPU. They are left out: ../common/stand_in.sh puts a library of empty functions in their place.
#
# PYTHON=/path/to/python chooses the interpreter (3.11 or 3.12).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."
venv=.venv/train
marker=$venv/complete
stand_in=$here/../common/stand_in.sh

wanted() { cat "$here/requirements.txt" "$stand_in"; }

# Everything that the bench loads, so that what is missing is found here.
try_imports() {
    OMP_NUM_THREADS=1 "$venv/bin/python" - <<'PYTHON'
import numpy, safetensors.torch, sentencepiece, tokenizers, torch
from PIL import Image
from transformers import AlignModel, CLIPModel, GPT2LMHeadModel, VisualBertForQuestionAnswering

if torch.cuda.is_available() or torch.ones(2, 3).matmul(torch.ones(3, 2))[0, 0] != 3:
    raise SystemExit("torch does not work as it should")
PYTHON
}

if [ -f "$marker" ] && wanted | cmp --silent - "$marker"; then
    say "the reference programs are set up in $venv"
    exit 0
fi

python=$(find_python)
say "making $venv with $("$python" --version)"
rm -rf "$venv"
"$python" -m venv "$venv"
say "installing the pinned packages (a download of 700 MB, of which torch is 540; 1.7 GB on disk)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --requirement "$here/requirements.txt"
bash "$stand_in" "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/torch/lib"
say "trying the packages"
try_imports
wanted >"$marker"
say "the reference programs are set up in $venv"
