#!/usr/bin/env bash
# What a card does, and its peers on the same card in the same run: prints a table, writes every number to OUT.
#
#   run.sh PROGRAMS PHOTOS OUT [FIXTURES]
#
# PROGRAMS is a folder with gpu_bench, device_speed and device_check (`just bench-gpu` builds them; they may be carried to a machine
# without cargo), PHOTOS one with small/, large/ and odd/ (benchmarks/gpu/photos.sh makes it), FIXTURES `fixtures/models`
# for check_models.sh, if sightline-cuda lies in PROGRAMS too. Peers run where `python3` has torch and torchvision; where it
# has not, that is said. Everything ends within eight minutes, ten with FIXTURES; a part that runs out of its time is said to be missing.
set -uo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,9s/^# \?//p' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
programs=$(cd "$1" && pwd) photos=$(cd "$2" && pwd)
mkdir -p "$3"
out=$(cd "$3" && pwd) fixtures=${4:-}
part() { printf '\n== %s\n' "$*"; }
limited() {
    local seconds=$1
    shift
    timeout "$seconds" "$@"
    local code=$?
    [ $code -eq 0 ] && return
    echo "this part ended with $code (124: its $seconds s were over); what follows of it is missing"
    touch "$out/incomplete"
}
rm -f "$out/incomplete"
workloads=(clip-b32:1 clip-b32:256 clip-l14:256 gpt-124m:1 gpt-124m:32 gpt-1.3b:1)

part "the card"
limited 20 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem --format=csv,noheader |
    tee "$out/card.txt"
part "preprocessing"
limited 150 "$programs/gpu_bench" "$photos" "$out/preprocess.json" | tee "$out/preprocess.log"
part "preprocessing with torchvision"
if python3 -c 'import torch, torchvision; assert torch.cuda.is_available()' 2>"$out/torch.err"; then
    limited 60 python3 "$here/peer.py" "$photos" "$out/torchvision.json" --ours "$out/preprocess.values.bin" |
        tee "$out/torchvision.log"
    rm -f "$out/preprocess.values.bin"
else
    echo "no peer: python3 has no torch that sees the card"
fi
if [ -n "$fixtures" ] && [ -x "$programs/sightline-cuda" ]; then
    part "recorded models"
    LIMIT_S=80 limited 100 "$here/check_models.sh" "$programs/sightline-cuda" "$fixtures" "$out/check" cuda:0
fi
if [ -x "$programs/device_check" ]; then
    part "language models token by token against the CPU"
    limited 45 "$programs/device_check" cuda:0 | tee "$out/device_check.log"
fi
part "models"
if [ -x "$programs/device_speed" ]; then
    limited 60 "$programs/device_speed" --device cuda:0 --weights bf16 --seconds 1 "${workloads[@]}" \
        2>"$out/models.err" | tee "$out/models.jsonl" | cut -c 1-200
    part "models with torch"
    limited 120 python3 "$here/peers_models.py" --seconds 1 "${workloads[@]:1:4}" \
        2>"$out/torch-models.err" | tee "$out/torch-models.jsonl" | cut -c 1-200
else
    echo "device_speed is not there (just build-cuda)"
fi
part "table"
python3 "$here/table.py" "$out" | tee "$out/table.md"
[ ! -e "$out/incomplete" ]
