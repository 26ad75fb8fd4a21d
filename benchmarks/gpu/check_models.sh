#!/usr/bin/env bash
# Every recorded model on a GPU, in three types, against the reference programs' outputs.
#
#   check_models.sh BINARY FIXTURES OUT [DEVICE]
#
# BINARY is sightline-cuda, FIXTURES the folder `fixtures/models` (or one of its families, or a case), OUT a folder for
# what it prints. A line for each case and type, then a summary; what fails does not stop the rest. The whole takes about
# a minute on a fast card; most of it is the driver compiling kernels on first use, which it keeps.
#
# In f32 outputs have to be within the tolerance of `models check` on that device (docs/gpu.md). In f16 and bf16 they have
# to be within HALF_TOLERANCE, absolute and relative, where they are numbers and no search's result: the tokens of a
# search over random weights hang on differences that rounding exceeds.
#
# HALF_TOLERANCE=0.1 0.4   of f16 and of bf16
# LIMIT_S=85               ends after so many seconds; what was not checked is told
set -uo pipefail
binary=$1 fixtures=$2 out=$3 device=${4:-cuda:0}
read -r f16_tolerance bf16_tolerance <<<"${HALF_TOLERANCE:-0.1 0.4}"
limit_s=${LIMIT_S:-85}
mkdir -p "$out"
binary=$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")

# Folders with recorded outputs that `models check` reads.
cases() {
    find "$fixtures" -name io.safetensors -printf '%h\n' | sort |
        grep -E "/(align|asif|clip|flamingo|frozen|magic|simvlm|vild|virtex|visualbert|visualgpt)(/|$)"
}

# The largest differences of what is no result of a search, and what is beyond the tolerance.
told() {
    python3 - "$1" <<'PYTHON'
import json, sys

try:
    case = json.load(open(sys.argv[1]))["cases"][0]
except (OSError, ValueError, LookupError):
    print("no result")
    raise SystemExit(1)
SEARCHED = ("beam", "greedy", "nucleus", "generate", "items", "predicted", "predictions", "image_top_index", "detections")
problems, worst, absolute = [], 0.0, 0.0
if case["problem"]:
    problems.append(case["problem"])
for output in case["outputs"]:
    searched = any(part in output["name"] for part in SEARCHED)
    difference = output["difference"]
    if difference is None:
        problems.append(f"{output['name']}: {output['problem']}")
        continue
    if not searched:
        absolute = max(absolute, float("inf") if difference["absolute"] is None else difference["absolute"])
        found = difference["worst"]
        if found:
            times = found["times_tolerance"]
            worst = max(worst, float("inf") if times is None else times)
    if not output["within"] and (sys.argv[1].endswith(".f32.json") or not searched):
        problems.append(f"{output['name']} off by {difference['absolute']}")
print(f"{len(case['outputs'])} outputs, off by {absolute:.1e} at most, {worst:.3f} times the tolerance"
      + "".join(f"; {problem[:300]}" for problem in problems))
raise SystemExit(bool(problems))
PYTHON
}

start=$SECONDS passed=0 failed=0 skipped=0
for weights in f32 f16 bf16; do
    for case in $(cases); do
        if [ $((SECONDS - start)) -ge "$limit_s" ]; then
            skipped=$((skipped + 1))
            continue
        fi
        name=$(basename "$(dirname "$case")")/$(basename "$case")
        file=$out/${name//\//.}.$weights.json
        case $weights in
        f32) tolerance=() ;;
        f16) tolerance=(--absolute "$f16_tolerance" --relative "$f16_tolerance") ;;
        bf16) tolerance=(--absolute "$bf16_tolerance" --relative "$bf16_tolerance") ;;
        esac
        timeout 60 "$binary" models check "$case" --device "$device" --weights "$weights" "${tolerance[@]}" --json \
            >"$file" 2>"${file%.json}.err"
        code=$?
        line=$(told "$file") && status=ok || status=FAILED
        if [ "$status" = FAILED ] && [ "$code" -gt 1 ]; then
            line="exit code $code: $(tr '\n' ' ' <"${file%.json}.err" | cut -c 1-300)"
        fi
        [ "$status" = ok ] && passed=$((passed + 1)) || failed=$((failed + 1))
        printf '%-6s %-4s %-44s %s\n' "$status" "$weights" "$name" "$line"
    done
done | tee "$out/lines.txt"
# The loop's counts were a subshell's.
passed=$(grep -c '^ok' "$out/lines.txt")
failed=$(grep -c '^FAILED' "$out/lines.txt")
total=$(($(cases | wc -l) * 3))
printf '%s of %s checks passed, %s failed, %s not made, %s s\n' \
    "$passed" "$total" "$failed" "$((total - passed - failed))" "$((SECONDS - start))" | tee "$out/summary.txt"
[ "$passed" -eq "$total" ]
