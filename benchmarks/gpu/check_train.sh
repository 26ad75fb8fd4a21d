#!/usr/bin/env bash
# Training of every family on a GPU against the CPU: the first steps of the zoo's recipes, on both, and their losses side by side.
#
#   check_train.sh BINARY OUT [DEVICE] [NAME …]
#
# BINARY is sightline-cuda (or sightline, to see that a check of the CPU against itself holds), OUT a folder for what it writes, DEVICE
# cuda:0. Recipes begin with the checkpoints of zoo/ where they ask for those of an earlier training. A line for each recipe:
# the largest difference of a loss or of the length of a gradient, relative to it.
#
# STEPS=8              steps of each recipe
# TOLERANCE=1e-3       largest difference of a loss that is fine; steps amplify rounding
# THREADS=4            threads of each run
set -uo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,13s/^# \?//p' "$0" >&2
    exit 2
fi
binary=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
mkdir -p "$2"
out=$(cd "$2" && pwd) device=${3:-cuda:0}
shift 2
[ $# -gt 0 ] && shift
cd "$(dirname "$0")/../.."
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(align-tiny clip-tiny flamingo-tiny frozen-tiny frozen-finetuned-tiny lm-tiny magic-lm-tiny
    simvlm-tiny vild-tiny virtex-tiny visualbert-tiny visualgpt-tiny)
steps=${STEPS:-8}

# The recipe with few steps and scenes, beginning with what is in the zoo.
short() {
    sed -E -e "s#out/train/([a-z-]+)/best#zoo/\1#; s/^steps = .*/steps = $steps/; s/^warmup_steps = .*/warmup_steps = 2/" \
        -e "s/train = [0-9]+, val = [0-9]+/train = 640, val = 64/; s/^every = .*/every = $steps/; s/^batches = .*/batches = 1/" \
        "manifests/train/$1.toml" >"$out/$1.toml"
}

train() {
    # What an earlier run left must not be compared in the place of what this one did not write.
    rm -rf "${out:?}/$1-$3"
    RAYON_NUM_THREADS=${THREADS:-4} timeout 120 "$binary" train "$out/$1.toml" --out "$out/$1-$3" --device "$2" \
        >"$out/$1-$3.log" 2>&1
}

status=0
for name in "${names[@]}"; do
    short "$name"
    train "$name" cpu reference &
    train "$name" "$device" tried || true
    wait
    python3 - "$out/$name-reference" "$out/$name-tried" "$name" "${TOLERANCE:-1e-3}" <<'PYTHON' || status=1
import json, math, sys
from pathlib import Path

def losses(folder):
    """Losses, lengths of gradients and losses on what is held out, in their order."""
    found = []
    for file in sorted(Path(folder).glob("metrics*.jsonl")):
        for line in map(json.loads, file.read_text().splitlines()):
            found += [part[key] for part in (line, line.get("held_out", {})) for key in ("loss", "gradient") if key in part]
    return found

cpu, card, name, tolerance = losses(sys.argv[1]), losses(sys.argv[2]), sys.argv[3], float(sys.argv[4])
if not cpu or len(cpu) != len(card):
    log = Path(sys.argv[2] + ".log")
    print(f"FAILED {name:24} {len(cpu)} losses of the CPU, {len(card)} of the other: {log.read_text()[-300:] if log.exists() else ''}")
    raise SystemExit(1)
off = [abs(a - b) / max(abs(a), 1e-6) for a, b in zip(cpu, card)]
# A comparison with NaN is false: `max` would pass over it.
worst = max(off) if all(map(math.isfinite, off)) else math.inf
fine = worst <= tolerance
print(f"{'ok' if fine else 'FAILED':6} {name:24} {len(cpu)} losses and gradients, {cpu[0]:.4f} to {cpu[-1]:.4f}, off by {worst:.1e} at most")
raise SystemExit(not fine)
PYTHON
done
exit $status
