#!/usr/bin/env bash
# Trains the tiny zoo and keeps what models need of it, with records and logs, below a folder. A run that was done before is not done again.
#
#   benchmarks/train-zoo.sh SIGHTLINE ZOO [NAME…]
set -euo pipefail

sightline=$1 zoo=$2
shift 2
# The language model comes before those that take it.
names=("${@:-}")
if [ -z "${names[0]}" ]; then
    names=(lm-tiny)
    for manifest in manifests/train/*.toml; do
        name=$(basename "$manifest" .toml)
        [ "$name" = lm-tiny ] || names+=("$name")
    done
fi

for name in "${names[@]}"; do
    echo "training $name" >&2
    nice -n 10 "$sightline" train "manifests/train/$name.toml" >&2
    run=out/train/$name
    rm -rf "${zoo:?}/$name"
    mkdir -p "$zoo/$name"
    # The state of the optimiser is for going on, which nobody does from here.
    for file in "$run"/best/*; do
        case $(basename "$file") in
            optimizer.safetensors | training.json) ;;
            *) cp -r "$file" "$zoo/$name/" ;;
        esac
    done
    cp "$run/run.json" "$run/record.json" "$run/metrics.jsonl" "$zoo/$name/"
done
du -sh "$zoo" >&2
